// Two pages call each other by name, with audio, video and a data channel. Prints what both saw. config: {url, seconds}
import { run } from './browser.mjs';

await run(async (open, config) => {
  const [alice, bob] = [await open('alice'), await open('bob')];
  for (const [page, name] of [[alice, 'alice'], [bob, 'bob']]) {
    await page.evaluate(async ({ url, name }) => {
      const api = await Api.open(url, name);
      const handle = await api.attach('janus.plugin.videocall');
      const registered = (await handle.message({ request: 'register', username: name })).plugindata.data;
      const pc = new RTCPeerConnection();
      play(pc);
      const received = [];
      const take = (channel) => {
        channel.onmessage = ({ data }) => received.push(described(data));
      };
      pc.ondatachannel = ({ channel }) => take(channel);
      const stream = await media({ audio: true, video: { width: 320, height: 240 } });
      for (const track of stream.getTracks()) pc.addTrack(track, stream);
      const channel = pc.createDataChannel('JanusDataChannel');
      take(channel);
      handle.trickles(pc);
      Object.assign(window, { api, handle, pc, channel, received, registered });
    }, { ...config, name });
  }

  const refused = await alice.evaluate(async () => {
    const offer = { type: 'offer', sdp: (await pc.createOffer()).sdp };
    const ask = async (username) => (await handle.message({ request: 'call', username }, offer)).plugindata.data;
    const list = (await handle.message({ request: 'list' })).plugindata.data;
    return { nobody: await ask('nobody'), myself: await ask('alice'), list };
  });

  await alice.evaluate(async () => {
    await pc.setLocalDescription(await pc.createOffer());
    await handle.message({ request: 'call', username: 'bob' }, { type: 'offer', sdp: pc.localDescription.sdp });
  });
  await bob.evaluate(async () => {
    const isCall = (m) => m.plugindata?.data.result?.event === 'incomingcall';
    const call = await handle.until(isCall, 'the call');
    await pc.setRemoteDescription(call.jsep);
    await pc.setLocalDescription(await pc.createAnswer());
    await handle.message({ request: 'accept' }, { type: 'answer', sdp: pc.localDescription.sdp });
  });
  await alice.evaluate(async () => {
    const accepted = await handle.until((m) => m.plugindata?.data.result?.event === 'accepted', 'the answer');
    await pc.setRemoteDescription(accepted.jsep);
  });
  const pages = [[alice, 'alice'], [bob, 'bob']];
  await Promise.all(pages.map(([page]) => page.evaluate(() => handle.until((m) => m.janus === 'webrtcup', 'webrtcup').then(() => opened(channel)))));
  await pause(500);
  await Promise.all(pages.map(([page, name]) => page.evaluate((name) => channel.send(`hello of ${name}`), name)));
  await pause(config.seconds * 1000);
  const seen = await Promise.all(pages.map(([page]) => page.evaluate(async () => ({ figures: await figures(pc), received }))));
  const set = await alice.evaluate(async () => (await handle.message({ request: 'set', audio: false, bitrate: 128000 })).plugindata.data);
  await bob.evaluate(() => handle.message({ request: 'hangup' }));
  await alice.evaluate(() => handle.until((m) => m.janus === 'hangup', 'hangup'));
  const told = (page) => page.evaluate(() => api.log
    .filter((m) => m.sender === handle.id && m.plugindata?.data.result?.event)
    .map(({ plugindata }) => plugindata.data.result));
  return { refused, seen, set, told: [await told(alice), await told(bob)] };
});

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
