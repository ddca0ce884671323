// The connection over which a publisher is steered breaks twice: the first time another takes the session over, the second
// time nobody does. Prints what a subscriber saw meanwhile.
// config: {url, room, seconds}
import { run } from './browser.mjs';

await run(async (open, config) => {
  const publisher = await open('publisher');
  const subscriber = await open('subscriber');

  const feed = await publisher.evaluate(async ({ url, room }) => {
    const api = await Api.open(url, 'publisher');
    const handle = await api.attach('janus.plugin.videoroom');
    const joined = await handle.message({ request: 'join', ptype: 'publisher', room, display: 'camera' });
    const pc = new RTCPeerConnection({});
    const stream = await media({ audio: true, video: { width: 640, height: 480 } });
    for (const track of stream.getTracks()) pc.addTrack(track, stream);
    handle.trickles(pc);
    await pc.setLocalDescription(await pc.createOffer());
    const answer = await handle.message({ request: 'publish' }, { type: 'offer', sdp: pc.localDescription.sdp });
    await pc.setRemoteDescription(answer.jsep);
    Object.assign(window, { api, handle, pc });
    await handle.until((m) => m.janus === 'webrtcup', 'webrtcup');
    return joined.plugindata.data.id;
  }, config);

  await subscriber.evaluate(async ({ url, room, feed }) => {
    const api = await Api.open(url, 'subscriber');
    const watch = await api.attach('janus.plugin.videoroom');
    await watch.message({ request: 'join', ptype: 'publisher', room, display: 'watcher' });
    const handle = await api.attach('janus.plugin.videoroom');
    const attached = await handle.message({ request: 'join', ptype: 'subscriber', room, streams: [{ feed }] });
    const pc = new RTCPeerConnection({});
    play(pc);
    handle.trickles(pc);
    await pc.setRemoteDescription(attached.jsep);
    await pc.setLocalDescription(await pc.createAnswer());
    await handle.message({ request: 'start' }, { type: 'answer', sdp: pc.localDescription.sdp });
    await handle.until((m) => m.janus === 'webrtcup', 'webrtcup');
    Object.assign(window, { api, watch, pc });
  }, { ...config, feed });

  const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  const framesIn = async (seconds) => {
    const before = await subscriber.evaluate(() => figures(pc));
    await pause(seconds);
    return (await subscriber.evaluate(() => figures(pc))).framesDecoded - before.framesDecoded;
  };
  await pause(1);

  // The sender of the media does not notice: only the connection of its application server is gone.
  await publisher.evaluate(() => api.socket.close());
  const orphaned = await framesIn(config.seconds);
  const claimed = await publisher.evaluate(async ({ url }) => {
    await api.reopen(url);
    const claim = await api.send({ janus: 'claim', session_id: api.session });
    const configured = await handle.message({ request: 'configure', bitrate: 300000 });
    return { claim: claim.janus, configured: configured.plugindata.data.configured };
  }, config);
  const reclaimed = await framesIn(config.seconds);

  await publisher.evaluate(() => api.socket.close());
  const lost = performance.now();
  await subscriber.evaluate(
    ({ feed }) => watch.until((m) => m.plugindata?.data.leaving === feed, 'the publisher being given up', 20000),
    { feed },
  );
  const givenUpAfter = (performance.now() - lost) / 1000;
  await pause(1);
  return { orphaned, claimed, reclaimed, givenUpAfter, afterwards: await framesIn(1) };
});
