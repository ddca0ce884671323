"""Relays datagrams through a TURN server with aioice's client and prints what came back.

python turn_echo.py '{"server": [host, port], "transport": "udp", "tls": false, "user": .., "password": ..,
                      "local": address of the peer, "packets": n}'
The peer is a plain UDP socket that answers each datagram reversed.
"""

import asyncio
import json
import ssl
import sys

from aioice.turn import create_turn_endpoint


class Peer(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport
        self.sources = set()

    def datagram_received(self, data, addr):
        self.sources.add(addr)
        self.transport.sendto(data[::-1], addr)


class Relayed(asyncio.DatagramProtocol):
    def __init__(self):
        self.received = asyncio.Queue()

    def datagram_received(self, data, addr):
        self.received.put_nowait((data, addr))


def tls_context():
    # The certificate of the test server is signed by itself.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def main(config):
    loop = asyncio.get_running_loop()
    peer_transport, peer = await loop.create_datagram_endpoint(Peer, local_addr=(config["local"], 0))
    peer_address = peer_transport.get_extra_info("sockname")[:2]
    transport, client = await create_turn_endpoint(
        Relayed,
        server_addr=tuple(config["server"]),
        username=config["user"],
        password=config["password"],
        transport=config["transport"],
        ssl=tls_context() if config["tls"] else None,
    )
    echoed = 0
    for number in range(config["packets"]):
        # Every length modulo four, so that padding on streams is seen.
        sent = bytes([number % 251]) * 3 + b"datagram"[: number % 7] + number.to_bytes(4, "big")
        transport.sendto(sent, peer_address)
        data, source = await asyncio.wait_for(client.received.get(), 5)
        echoed += data == sent[::-1] and tuple(source) == tuple(peer_address)
    relayed = transport.get_extra_info("sockname")
    transport.close()
    await asyncio.sleep(0.3)
    print(json.dumps({"echoed": echoed, "relayed": list(relayed), "sources": sorted(map(list, peer.sources))}))


asyncio.run(main(json.loads(sys.argv[1])))
