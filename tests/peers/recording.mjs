// One page publishes Opus and a picture into a room that records it. Prints what it sent.
// config: {url, room, codec: 'VP8' | 'VP9' | 'H264' | 'AV1', encodings, filename, seconds}
import { run } from './browser.mjs';

await run(async (open, config) => {
  const page = await open('publisher');
  await page.evaluate(async ({ url, room, codec, encodings, filename }) => {
    const api = await Api.open(url, 'publisher');
    const handle = await api.attach('janus.plugin.videoroom');
    await handle.message({ request: 'create', room, videocodec: codec.toLowerCase() });
    await handle.message({ request: 'join', ptype: 'publisher', room });
    const pc = new RTCPeerConnection({});
    const stream = await media({ audio: true, video: { width: 640, height: 480, frameRate: 30 } });
    pc.addTrack(stream.getAudioTracks()[0], stream);
    const sendEncodings = encodings ?? [{}];
    const transceiver = pc.addTransceiver(stream.getVideoTracks()[0], { direction: 'sendonly', streams: [stream], sendEncodings });
    const codecs = RTCRtpSender.getCapabilities('video').codecs;
    transceiver.setCodecPreferences(codecs.filter((c) => c.mimeType === `video/${codec}` || c.mimeType === 'video/rtx'));
    handle.trickles(pc);
    await pc.setLocalDescription(await pc.createOffer());
    const wish = { request: 'publish', record: true, ...(filename && { filename }) };
    const answer = await handle.message(wish, { type: 'offer', sdp: pc.localDescription.sdp });
    await pc.setRemoteDescription(answer.jsep);
    Object.assign(window, { api, handle, pc });
    await handle.until((m) => m.janus === 'webrtcup', 'webrtcup');
  }, config);
  await new Promise((resolve) => setTimeout(resolve, config.seconds * 1000));
  const sent = await page.evaluate(() => figures(pc));
  await page.evaluate(() => handle.message({ request: 'configure', record: false }));
  return { sent };
});
