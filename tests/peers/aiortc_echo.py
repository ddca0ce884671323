"""aiortc, with OpenSSL's DTLS and an SCTP of its own, talks to the echo test. Prints what came back. argv: {"url"}"""

import asyncio
import fractions
import json
import sys

import av
import websockets
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription

PREFIX = "Janus EchoTest here! You wrote: "


class Tone(MediaStreamTrack):
    """20 ms of noise each 20 ms."""

    kind = "audio"
    pts = 0

    async def recv(self):
        await asyncio.sleep(0.02)
        frame = av.AudioFrame(format="s16", layout="mono", samples=960)
        frame.planes[0].update(bytes((i * 37) % 251 for i in range(1920)))
        frame.sample_rate, frame.pts, frame.time_base = 48000, self.pts, fractions.Fraction(1, 48000)
        self.pts += 960
        return frame


class Api:
    def __init__(self, socket):
        self.socket, self.count = socket, 0

    async def ask(self, **request):
        self.count += 1
        transaction = str(self.count)
        await self.socket.send(json.dumps({**request, "transaction": transaction}))
        while True:
            answer = json.loads(await self.socket.recv())
            if answer.get("transaction") == transaction and answer["janus"] != "ack":
                return answer


async def main(url):
    async with websockets.connect(url, subprotocols=["janus-protocol"]) as socket:
        api = Api(socket)
        session = (await api.ask(janus="create"))["data"]["id"]
        attached = await api.ask(janus="attach", session_id=session, plugin="janus.plugin.echotest")
        handle = attached["data"]["id"]
        pc = RTCPeerConnection()
        pc.addTrack(Tone())
        channel = pc.createDataChannel("JanusDataChannel")
        loose = pc.createDataChannel("loose", ordered=False, maxRetransmits=3)
        received, frames, ready = [], 0, asyncio.Event()

        for one in (channel, loose):

            @one.on("message")
            def take(message, label=one.label):
                is_text = isinstance(message, str)
                received.append([label, message if is_text else len(message)])
                if len(received) == 5:
                    ready.set()

        @pc.on("track")
        def play(track):
            async def count():
                nonlocal frames
                while True:
                    await track.recv()
                    frames += 1

            asyncio.ensure_future(count())

        # They open one after the other.
        opened = [asyncio.Event(), asyncio.Event()]
        channel.on("open", opened[0].set)
        loose.on("open", opened[1].set)
        await pc.setLocalDescription(await pc.createOffer())
        answer = await api.ask(
            janus="message",
            session_id=session,
            handle_id=handle,
            body={"audio": True},
            jsep={"type": "offer", "sdp": pc.localDescription.sdp},
        )
        await pc.setRemoteDescription(RTCSessionDescription(**answer["jsep"]))
        for event in opened:
            await asyncio.wait_for(event.wait(), 15)
        channel.send("hello")
        channel.send(bytes(50000))
        channel.send("")
        channel.send(b"")
        loose.send("loose")
        await asyncio.wait_for(ready.wait(), 15)
        await asyncio.sleep(1)
        await pc.close()
        print(json.dumps({"received": received, "frames": frames, "prefix": PREFIX}))


asyncio.run(main(json.loads(sys.argv[1])["url"]))
