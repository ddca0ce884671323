// One page publishes Opus and VP8, another subscribes. Prints what both saw.
// config: {url, room, seconds, ice: {iceServers, iceTransportPolicy}}
import { run } from './browser.mjs';

await run(async (open, config) => {
  const publisher = await open('publisher');
  const subscriber = await open('subscriber');

  // The subscriber's participant handle stands in the room first, so that it sees the publisher being announced.
  await subscriber.evaluate(async ({ url, room }) => {
    const api = await Api.open(url, 'subscriber');
    const watch = await api.attach('janus.plugin.videoroom');
    await watch.message({ request: 'join', ptype: 'publisher', room, display: 'watcher' });
    Object.assign(window, { api, watch });
  }, config);

  const feed = await publisher.evaluate(async ({ url, room, ice }) => {
    const api = await Api.open(url, 'publisher');
    const handle = await api.attach('janus.plugin.videoroom');
    const joined = await handle.message({ request: 'join', ptype: 'publisher', room, display: 'camera' });
    const pc = new RTCPeerConnection(ice);
    const stream = await media({ audio: true, video: { width: 640, height: 480 } });
    for (const track of stream.getTracks()) pc.addTrack(track, stream);
    handle.trickles(pc);
    await pc.setLocalDescription(await pc.createOffer());
    const answer = await handle.message({ request: 'publish' }, { type: 'offer', sdp: pc.localDescription.sdp });
    await pc.setRemoteDescription(answer.jsep);
    Object.assign(window, { api, handle, pc });
    await handle.until((m) => m.janus === 'webrtcup', 'webrtcup');
    return { id: joined.plugindata.data.id, answer: answer.jsep.sdp, offer: pc.localDescription.sdp };
  }, config);

  const offer = await subscriber.evaluate(async ({ room, ice, feed }) => {
    await watch.until((m) => m.plugindata?.data.publishers?.some((p) => p.id === feed), 'the publisher to be announced');
    const handle = await api.attach('janus.plugin.videoroom');
    const attached = await handle.message({ request: 'join', ptype: 'subscriber', room, streams: [{ feed }] });
    if (!attached.jsep) throw new Error(`no offer: ${JSON.stringify(attached)}`);
    const pc = new RTCPeerConnection(ice);
    play(pc);
    handle.trickles(pc);
    await pc.setRemoteDescription(attached.jsep);
    await pc.setLocalDescription(await pc.createAnswer());
    await handle.message({ request: 'start' }, { type: 'answer', sdp: pc.localDescription.sdp });
    Object.assign(window, { handle, pc });
    await handle.until((m) => m.janus === 'webrtcup', 'webrtcup');
    return { offer: attached.jsep.sdp };
  }, { ...config, feed: feed.id });

  await new Promise((resolve) => setTimeout(resolve, config.seconds * 1000));
  const received = await subscriber.evaluate(() => figures(pc));
  const sent = await publisher.evaluate(() => figures(pc));
  if (config.verbose) console.error(feed.offer, feed.answer, offer.offer);

  await publisher.evaluate(async () => {
    await handle.message({ request: 'unpublish' });
    await handle.message({ request: 'leave' });
  });
  await subscriber.evaluate(() => watch.until((m) => m.plugindata?.data.leaving, 'the publisher leaving'));
  const told = (page, handle) => page.evaluate((name) => api.log.filter((m) => m.sender === window[name].id).map(word), handle);
  return {
    received,
    sent,
    publisher: await told(publisher, 'handle'),
    watcher: await told(subscriber, 'watch'),
    subscriber: await told(subscriber, 'handle'),
  };
});
