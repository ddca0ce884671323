// One page publishes Opus and a 1280x720 picture, another subscribes; both sit behind the same line. Prints what the
// subscriber saw and heard in each step.
// config: {url, room, codec?, steps: [{configure?: {field: value}, restless?: true, settle?: seconds, seconds}]}
import { run } from './browser.mjs';

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

await run(async (open, config) => {
  const publisher = await open('publisher');
  const subscriber = await open('subscriber');

  const feed = await publisher.evaluate(async ({ url, room, codec = 'VP8' }) => {
    const api = await Api.open(url, 'publisher');
    const handle = await api.attach('janus.plugin.videoroom');
    await handle.message({ request: 'create', room, videocodec: codec.toLowerCase(), bitrate: 0 });
    const joined = await handle.message({ request: 'join', ptype: 'publisher', room, display: 'camera' });
    const pc = new RTCPeerConnection({});
    const stream = await media({ audio: true, video: { width: 1280, height: 720, frameRate: 30 } });
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
    const handle = await api.attach('janus.plugin.videoroom');
    const attached = await handle.message({ request: 'join', ptype: 'subscriber', room, streams: [{ feed }] });
    if (!attached.jsep) throw new Error(`no offer: ${JSON.stringify(attached)}`);
    const pc = new RTCPeerConnection({});
    play(pc);
    handle.trickles(pc);
    await pc.setRemoteDescription(attached.jsep);
    await pc.setLocalDescription(await pc.createAnswer());
    await handle.message({ request: 'start' }, { type: 'answer', sdp: pc.localDescription.sdp });
    await handle.until((m) => m.janus === 'webrtcup', 'webrtcup');
    Object.assign(window, { pc, gaps: [] });
    // How long the picture stands still, to 50 ms.
    let frames = 0;
    let moved = performance.now();
    setInterval(async () => {
      const now = performance.now();
      const decoded = (await figures(pc)).framesDecoded;
      if (decoded === frames) return;
      if (frames) gaps.push(now - moved);
      [frames, moved] = [decoded, now];
    }, 50);
  }, { ...config, feed });
  const moving = async () => (await subscriber.evaluate(() => figures(pc))).framesDecoded > 0;
  for (let wait = 0; wait < 150 && !(await moving()); wait++) await pause(0.1);

  const steps = [];
  for (const step of config.steps) {
    if (step.restless) {
      await publisher.evaluate(() => pc.getSenders().find((s) => s.track.kind === 'video').replaceTrack(restlessPicture(640, 360).getVideoTracks()[0]));
    }
    if (step.configure) await publisher.evaluate((fields) => handle.message({ request: 'configure', ...fields }), step.configure);
    await pause(step.settle ?? 0);
    await subscriber.evaluate(() => (gaps.length = 0));
    const before = await subscriber.evaluate(() => figures(pc));
    const asked = await publisher.evaluate(() => figures(pc));
    const start = performance.now();
    await pause(step.seconds);
    const after = await subscriber.evaluate(() => figures(pc));
    const seconds = (performance.now() - start) / 1000;
    const sent = await publisher.evaluate(() => figures(pc));
    const grown = (field, from = before, to = after) => (to[field] ?? 0) - (from[field] ?? 0);
    steps.push({
      framesPerSecond: grown('framesDecoded') / seconds,
      longestGapMs: Math.max(...(await subscriber.evaluate(() => gaps))),
      freezes: grown('freezes'),
      frozenSeconds: grown('frozenSeconds'),
      videoKbps: (grown('videoBytes') * 8) / 1000 / seconds,
      audioKbps: (grown('audioBytes') * 8) / 1000 / seconds,
      audioConcealed: grown('concealed') / grown('audioSamples'),
      audioEnergy: grown('audioEnergy'),
      keyFrames: grown('keyFramesDecoded'),
      nacksOfSubscriber: grown('nackSent'),
      plisOfSubscriber: grown('pliSent'),
      nacksToPublisher: grown('nackReceived', asked, sent),
      plisToPublisher: grown('pliReceived', asked, sent),
      roundTripMs: Math.round((sent.roundTripSeconds ?? 0) * 1000),
      width: after.width,
    });
  }
  return { steps };
});
