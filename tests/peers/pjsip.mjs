// A page with the SIP plugin and a PJSIP telephone that insists on 100rel and session timers: each calls the other, both
// hold and resume, and each asks the other for a transfer. Prints what the page saw and what PJSIP said.
// config: {url, proxy, address, folder}
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { run } from './browser.mjs';
import { level } from './level.mjs';

const PORT = 5092;
const here = (path) => new URL(path, import.meta.url).pathname;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function pjsip({ address, folder }) {
  const child = spawn(here('.venv/bin/python'), [here('pjsip.py'), JSON.stringify({ address, port: PORT, folder })], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const said = [];
  const waiters = [];
  createInterface({ input: child.stdout }).on('line', (line) => {
    if (!line.startsWith('{')) return;
    said.push(JSON.parse(line));
    for (const waiter of [...waiters]) waiter();
  });
  process.on('exit', () => child.kill('SIGKILL'));
  let at = 0;
  // The next thing said that `test` accepts; what was said before it is passed over.
  const until = (test, what) =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`PJSIP did not say ${what}: ${JSON.stringify(said.slice(-12))}`)), 10000);
      const waiter = () => {
        const found = said.findIndex((word, index) => index >= at && test(word));
        if (found < 0) return;
        at = found + 1;
        clearTimeout(timer);
        waiters.splice(waiters.indexOf(waiter), 1);
        resolve(said[found]);
      };
      waiters.push(waiter);
      waiter();
    });
  return {
    said,
    until,
    order: (order) => child.stdin.write(`${JSON.stringify(order)}\n`),
    ended: new Promise((resolve) => child.on('exit', resolve)),
  };
}

await run(async (open, config) => {
  const phone = pjsip(config);
  await phone.until((word) => word.ready, 'that it is ready');
  const page = await open('page');
  await page.evaluate(async ({ url, proxy, address, port }) => {
    window.api = await Api.open(url, 'page');
    window.handle = await api.attach('janus.plugin.sip');
    await handle.message({ request: 'register', type: 'guest', username: `sip:page@${proxy}`, proxy: `sip:${address}:${port}` });
    // The next event of the plugin with this name.
    let seen = 0;
    window.next = async (name) => {
      const is = (m) => m.sender === handle.id && m.plugindata?.data.result?.event === name;
      const found = await api.until((m) => api.log.indexOf(m) >= seen && is(m), name);
      seen = api.log.indexOf(found) + 1;
      return { ...found.plugindata.data.result, jsep: found.jsep };
    };
    window.connect = async () => {
      window.pc = new RTCPeerConnection();
      play(pc, 'audio');
      handle.trickles(pc);
    };
    window.addMicrophone = async () => {
      const stream = await media({ audio: true });
      for (const track of stream.getTracks()) pc.addTrack(track, stream);
    };
  }, { ...config, port: PORT });

  const flow = async (ms) => {
    const before = await page.evaluate(() => figures(pc));
    await pause(ms);
    const after = await page.evaluate(() => figures(pc));
    return { energy: after.audioEnergy - before.audioEnergy, packets: after.packetsReceived - before.packetsReceived };
  };
  const ask = (body) => page.evaluate((body) => handle.message(body), body);
  const result = {};

  await page.evaluate(async (uri) => {
    await connect();
    await addMicrophone();
    await pc.setLocalDescription(await pc.createOffer());
    await handle.message({ request: 'call', uri }, { type: 'offer', sdp: pc.localDescription.sdp });
    await next('ringing');
    const accepted = await next('accepted');
    await pc.setRemoteDescription(accepted.jsep);
    await handle.until((m) => m.janus === 'webrtcup', 'webrtcup');
  }, `sip:telephone@${config.address}:${PORT}`);
  result.talking = await flow(1500);

  phone.order({ do: 'hold' });
  await phone.until((word) => word.media === 'held', 'that it holds');
  await pause(300);
  result.held = await flow(700);
  phone.order({ do: 'resume' });
  await phone.until((word) => word.media === 'active', 'that it resumed');
  result.resumed = await flow(1500);

  await ask({ request: 'hold' });
  await phone.until((word) => word.heard?.startsWith('INVITE'), 'that it was put on hold');
  await pause(500);
  await ask({ request: 'unhold' });
  await phone.until((word) => word.heard?.startsWith('INVITE'), 'that it was taken off hold');
  await pause(500);
  result.backAgain = await flow(1000);

  phone.order({ do: 'refer', to: `sip:other@${config.address}:5099` });
  const transfer = await page.evaluate(() => next('transfer'));
  result.transfer = { to: transfer.refer_to, by: transfer.referred_by };
  await ask({ request: 'decline', refer_id: transfer.refer_id, code: 480 });
  result.declined = await phone.until((word) => word.transferred >= 200 && word.last, 'what became of the transfer');

  await ask({ request: 'transfer', uri: `sip:other@${config.address}:5099` });
  result.asked = (await phone.until((word) => word.transfer, 'that it was asked')).transfer;
  result.refused = await page.evaluate(async () => (await next('notify')).content);

  phone.order({ do: 'hangup' });
  result.end = await page.evaluate(() => next('hangup'));
  await page.evaluate(() => pc.close());
  await phone.until((word) => word.state === 'DISCONNECTED', 'that the call is over');

  phone.order({ do: 'call', uri: `sip:page@${config.proxy}` });
  await page.evaluate(async () => {
    const invited = await next('incomingcall');
    await connect();
    await pc.setRemoteDescription(invited.jsep);
    await addMicrophone();
    await pc.setLocalDescription(await pc.createAnswer());
    await handle.message({ request: 'accept' }, { type: 'answer', sdp: pc.localDescription.sdp });
  });
  await phone.until((word) => word.state === 'CONFIRMED', 'that the page answered');
  await pause(500);
  result.called = await flow(1500);
  await ask({ request: 'hangup' });
  await phone.until((word) => word.state === 'DISCONNECTED', 'that the page hung up');
  phone.order({ do: 'quit' });
  const code = await phone.ended;
  return { ...result, code, heard: level('heard.wav', config.folder), said: phone.said };
});
