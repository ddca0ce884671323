// One page talks to the echo test with audio, video and a data channel. Prints what came back. config: {url, seconds}
import { run } from './browser.mjs';

await run(async (open, config) => {
  const page = await open('page');
  return page.evaluate(async ({ url, seconds }) => {
    const api = await Api.open(url, 'page');
    const handle = await api.attach('janus.plugin.echotest');
    const refused = await handle.message({ audio: 'yes' });
    const empty = await handle.message({});
    const pc = new RTCPeerConnection();
    play(pc);
    const stream = await media({ audio: true, video: { width: 320, height: 240 } });
    for (const track of stream.getTracks()) pc.addTrack(track, stream);
    const channel = pc.createDataChannel('JanusDataChannel');
    channel.binaryType = 'arraybuffer';
    const received = [];
    channel.onmessage = ({ data }) => received.push(described(data));
    handle.trickles(pc);
    await pc.setLocalDescription(await pc.createOffer());
    const answer = await handle.message({ audio: true, video: true, bitrate: 512000 }, { type: 'offer', sdp: pc.localDescription.sdp });
    await pc.setRemoteDescription(answer.jsep);
    await handle.until((m) => m.janus === 'webrtcup', 'webrtcup');
    await opened(channel);
    channel.send('hello');
    channel.send(new Uint8Array([1, 2, 3]));
    await pause(seconds * 1000);
    const heard = await figures(pc);
    await handle.message({ audio: false, video: false });
    await pause(500);
    const muted = await figures(pc);
    await pause(1000);
    const still = await figures(pc);
    const name = (m) => m.plugindata?.data.result ?? m.plugindata?.data.error ?? (m.hint ? `ack ${m.hint}` : word(m));
    pc.close();
    await handle.until((m) => m.plugindata?.data.result === 'done', 'done');
    await handle.until((m) => m.janus === 'hangup', 'hangup');
    return {
      refused: refused.plugindata.data, empty: empty.plugindata.data, received, heard,
      whileMuted: still.packetsReceived - muted.packetsReceived,
      acks: api.log.filter((m) => m.hint).map((m) => m.hint),
      events: api.log.filter((m) => m.sender === handle.id).map(name),
      direction: pc.getTransceivers().map((t) => t.currentDirection),
    };
  }, config);
});
