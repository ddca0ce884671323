// Two pages in a room, each publishing audio and data channels and subscribed to the other's. Prints what each received.
// config: {url, room}
import { run } from './browser.mjs';

await run(async (open, config) => {
  const pages = [await open('first'), await open('second')];

  const feeds = await Promise.all(pages.map((page) => page.evaluate(async ({ url, room }) => {
    const api = await Api.open(url, 'page');
    const publisher = await api.attach('janus.plugin.videoroom');
    const joined = await publisher.message({ request: 'join', ptype: 'publisher', room });
    const pc = new RTCPeerConnection();
    for (const track of (await media({ audio: true })).getTracks()) pc.addTrack(track);
    const channel = pc.createDataChannel('JanusDataChannel');
    const loose = pc.createDataChannel('loose', { ordered: false, maxRetransmits: 0, protocol: 'p' });
    publisher.trickles(pc);
    await pc.setLocalDescription(await pc.createOffer());
    const descriptions = [{ mid: '1', description: 'chat' }];
    const answer = await publisher.message({ request: 'publish', descriptions }, { type: 'offer', sdp: pc.localDescription.sdp });
    await pc.setRemoteDescription(answer.jsep);
    await Promise.all([opened(channel), opened(loose)]);
    Object.assign(window, { api, publisher, publishing: pc, channel, loose });
    return joined.plugindata.data.id;
  }, config)));

  await Promise.all(pages.map((page, at) => page.evaluate(async ({ room, feed }) => {
    const isThere = (m) => m.plugindata?.data.publishers?.some((p) => p.id === feed);
    await publisher.until(isThere, 'the other');
    const subscriber = await api.attach('janus.plugin.videoroom');
    const attached = await subscriber.message({ request: 'join', ptype: 'subscriber', room, streams: [{ feed }] });
    const pc = new RTCPeerConnection();
    play(pc, 'audio');
    const received = [];
    const channels = [];
    const take = (channel) => {
      channel.binaryType = 'arraybuffer';
      channels.push({ label: channel.label, ordered: channel.ordered, maxRetransmits: channel.maxRetransmits, protocol: channel.protocol });
      channel.onmessage = ({ data }) => received.push({ label: channel.label, ...described(data) });
    };
    pc.ondatachannel = ({ channel }) => take(channel);
    // A browser sets the association up for a channel of its own only.
    const own = pc.createDataChannel('JanusDataChannel');
    take(own);
    subscriber.trickles(pc);
    await pc.setRemoteDescription(attached.jsep);
    await pc.setLocalDescription(await pc.createAnswer());
    await subscriber.message({ request: 'start' }, { type: 'answer', sdp: pc.localDescription.sdp });
    await opened(own);
    Object.assign(window, { subscriber, subscribing: pc, received, channels, streams: attached.plugindata.data.streams });
  }, { ...config, feed: feeds[1 - at] })));

  return Promise.all(pages.map((page, at) => page.evaluate(async (name) => {
    // The other page may have come a little later.
    await pause(500);
    channel.send(`hello of ${name}`);
    channel.send(new Uint8Array(60000).map((_, i) => i));
    channel.send('');
    loose.send(`loose of ${name}`);
    for (let i = 0; i < 200; i += 1) channel.send(`${i}`);
    const last = () => received.some(({ text }) => text === '199');
    for (let waited = 0; waited < 10000 && !last(); waited += 100) await pause(100);
    await pause(200);
    const { audioEnergy, packetsLost } = await figures(subscribing);
    return { received, channels, streams, audioEnergy, packetsLost };
  }, ['first', 'second'][at])));
});
