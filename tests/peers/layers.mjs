// One page publishes a 1280x720 picture in several encodings (VP8 simulcast) or layers (VP9 SVC); another subscribes and
// asks for one after the other. Prints what both saw.
// config: {url, room, secret, codec: 'VP8' | 'VP9', encodings, mode, choices: [{field: value}], seconds}
import { run } from './browser.mjs';

await run(async (open, config) => {
  const publisher = await open('publisher');
  const subscriber = await open('subscriber');

  const feed = await publisher.evaluate(async ({ url, room, codec, encodings, mode }) => {
    const api = await Api.open(url, 'publisher');
    const handle = await api.attach('janus.plugin.videoroom');
    await handle.message({ request: 'create', room, videocodec: codec.toLowerCase(), bitrate: 0 });
    const joined = await handle.message({ request: 'join', ptype: 'publisher', room, display: 'camera' });
    const pc = new RTCPeerConnection({});
    const stream = await media({ audio: false, video: { width: 1280, height: 720, frameRate: 30 } });
    const transceiver = pc.addTransceiver(stream.getVideoTracks()[0], { direction: 'sendonly', streams: [stream], sendEncodings: encodings });
    const codecs = RTCRtpSender.getCapabilities('video').codecs;
    const wanted = codecs.filter((c) => c.mimeType === `video/${codec}` || c.mimeType === 'video/rtx');
    transceiver.setCodecPreferences(wanted);
    handle.trickles(pc);
    await pc.setLocalDescription(await pc.createOffer());
    const jsep = { type: 'offer', sdp: pc.localDescription.sdp, ...(mode && { svc: [{ mindex: 0, mid: '0', svc: mode }] }) };
    const answer = await handle.message({ request: 'publish' }, jsep);
    await pc.setRemoteDescription(answer.jsep);
    Object.assign(window, { api, handle, pc });
    await handle.until((m) => m.janus === 'webrtcup', 'webrtcup');
    return { id: joined.plugindata.data.id, streams: answer.plugindata.data.streams };
  }, config);

  // The bandwidth estimate grows until everything is sent.
  const layersSent = () =>
    publisher.evaluate(async () => {
      const sent = [];
      (await pc.getStats()).forEach((s) => s.type === 'outbound-rtp' && sent.push([s.rid ?? '', s.frameWidth ?? 0, s.framesPerSecond ?? 0]));
      return sent;
    });
  const isWhole = (sent) => sent.filter(([, width, rate]) => width && rate > 5).length === config.encodings.length && sent.some(([, width]) => width === 1280);
  let sent = [];
  for (let wait = 0; wait < 60 && !isWhole(sent); wait++) {
    await new Promise((resolve) => setTimeout(resolve, 500));
    sent = await layersSent();
  }

  const offered = await subscriber.evaluate(async ({ url, room, feed }) => {
    const api = await Api.open(url, 'subscriber');
    const handle = await api.attach('janus.plugin.videoroom');
    const attached = await handle.message({ request: 'join', ptype: 'subscriber', room, streams: [{ feed }] });
    if (!attached.jsep) throw new Error(`no offer: ${JSON.stringify(attached)}`);
    const pc = new RTCPeerConnection({});
    const video = play(pc);
    handle.trickles(pc);
    await pc.setRemoteDescription(attached.jsep);
    await pc.setLocalDescription(await pc.createAnswer());
    await handle.message({ request: 'start' }, { type: 'answer', sdp: pc.localDescription.sdp });
    Object.assign(window, { api, handle, pc, video });
    await handle.until((m) => m.janus === 'webrtcup', 'webrtcup');
    return attached.plugindata.data.streams;
  }, { ...config, feed: feed.id });

  const look = async (choice) => {
    const before = await subscriber.evaluate(() => figures(pc));
    const asked = await publisher.evaluate(() => figures(pc));
    if (choice) await subscriber.evaluate((choice) => handle.message({ request: 'configure', streams: [{ mid: '0', ...choice }] }), choice);
    await new Promise((resolve) => setTimeout(resolve, config.seconds * 1000));
    const after = await subscriber.evaluate(() => figures(pc));
    return {
      choice,
      width: await subscriber.evaluate(() => video.videoWidth),
      frames: after.framesDecoded - before.framesDecoded,
      bytes: after.bytesReceived - before.bytesReceived,
      keyFrames: after.keyFramesDecoded - before.keyFramesDecoded,
      freezes: after.freezes - before.freezes,
      frozenSeconds: after.frozenSeconds - (before.frozenSeconds ?? 0),
      plisOfSubscriber: after.pliSent - (before.pliSent ?? 0),
      plisToPublisher: (await publisher.evaluate(() => figures(pc))).pliReceived - asked.pliReceived,
    };
  };
  const looks = [await look(null)];
  for (const choice of config.choices) looks.push(await look(choice));
  const events = await subscriber.evaluate(() => api.log.map((m) => m.plugindata?.data).filter((d) => d?.mid !== undefined && d.videoroom === 'event'));
  return { streams: feed.streams, offered, sent, looks, events };
});
