// One page gathers candidates. Prints how many it found.
// config: {ice: {iceServers, iceTransportPolicy}}
import { run } from './browser.mjs';

await run(async (open, config) => {
  const page = await open('gatherer');
  return page.evaluate(async ({ ice }) => {
    const pc = new RTCPeerConnection(ice);
    let candidates = 0;
    const gathered = new Promise((resolve) => {
      pc.onicecandidate = ({ candidate }) => (candidate?.candidate ? (candidates += 1) : resolve());
    });
    pc.createDataChannel('any');
    await pc.setLocalDescription(await pc.createOffer());
    await Promise.race([gathered, pause(20000)]);
    return { candidates };
  }, config);
});
