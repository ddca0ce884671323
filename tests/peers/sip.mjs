// A page with the SIP plugin calls a telephone, or is called by it. Prints what the page and the telephone saw.
// config: {url, proxy, address, telephone: "sipp"|"baresip", caller: "page"|"telephone", hangup: "page"|"telephone", seconds, folder}
import { run } from './browser.mjs';
import { spawn } from 'node:child_process';
import { createConnection } from 'node:net';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { level } from './level.mjs';

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const here = (path) => new URL(path, import.meta.url).pathname;

// A telephone is a process with an `ended` promise, `uri` to call it at, and `hangup()` where it can be told to.
function started(command, args, options = {}) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (output += data));
  const ended = new Promise((resolve) => child.on('exit', (code) => resolve({ code, output })));
  process.on('exit', () => child.kill('SIGKILL') && console.error(output.slice(-4000)));
  return { child, ended };
}

function sipp({ proxy, address, caller, hangup, seconds, folder }) {
  const port = 5090;
  const common = ['-i', address, '-p', String(port), '-m', '1', '-rtp_echo', '-nostdin', '-timeout', '60s', '-trace_err', '-trace_msg'];
  const talk = ['-d', String(seconds * 1000)];
  let args;
  if (caller === 'telephone') args = ['-sn', 'uac', proxy, '-s', 'page', ...talk];
  else if (hangup === 'telephone') args = ['-sf', here('sipp/answers_then_hangs_up.xml'), ...talk];
  else args = ['-sn', 'uas'];
  return { ...started('sipp', [...args, ...common], { cwd: folder }), uri: `sip:telephone@${address}:${port}` };
}

function baresip({ address, proxy, caller, seconds, hangup, folder }) {
  const port = 5091;
  mkdirSync(`${folder}/baresip`, { recursive: true });
  writeFileSync(
    `${folder}/baresip/config`,
    [
      'poll_method epoll',
      `sip_listen ${address}:${port}`,
      'audio_player aubridge,void',
      'audio_source ausine,440',
      'audio_alert aubridge,void',
      'ausrc_srate 48000',
      'ausrc_channels 2',
      'auplay_srate 48000',
      'module_path /usr/lib/baresip/modules',
      ...['g711', 'ausine', 'aubridge', 'sndfile'].map((m) => `module ${m}.so`),
      ...['account', 'menu', 'ctrl_tcp'].map((m) => `module_app ${m}.so`),
      'ctrl_tcp_listen 127.0.0.1:4444',
      `snd_path ${folder}/baresip`,
      'rtp_ports 10000-10100',
      '',
    ].join('\n'),
  );
  writeFileSync(`${folder}/baresip/accounts`, `<sip:telephone@${address}:${port}>;regint=0;answermode=auto;audio_codecs=PCMA/8000/1\n`);
  const phone = started('baresip', ['-v', '-f', `${folder}/baresip`]);
  const order = (command, params) =>
    new Promise((resolve, reject) => {
      const socket = createConnection(4444, '127.0.0.1', () => {
        const text = JSON.stringify({ command, params });
        socket.write(`${text.length}:${text},`);
        setTimeout(() => resolve(socket.destroy()), 300);
      });
      socket.on('error', reject);
    });
  return {
    ...phone,
    uri: `sip:telephone@${address}:${port}`,
    dial: () => order('dial', `sip:page@${proxy}`),
    hangup: () => order('hangup'),
    quit: () => phone.child.kill('SIGTERM'),
    heard: () => level(readdirSync(`${folder}/baresip`).find((f) => f.endsWith('-dec.wav')), `${folder}/baresip`),
  };
}

await run(async (open, config) => {
  const page = await open('page');
  await page.evaluate(async ({ url, proxy }) => {
    const api = await Api.open(url, 'page');
    const handle = await api.attach('janus.plugin.sip');
    await handle.message({ request: 'register', type: 'guest', username: `sip:page@${proxy}`, proxy: `sip:${proxy}` });
    Object.assign(window, { api, handle });
  }, { url: config.url, proxy: config.caller === 'page' ? `${config.address}:${config.telephone === 'sipp' ? 5090 : 5091}` : config.proxy });

  const phone = (config.telephone === 'sipp' ? sipp : baresip)(config);
  await pause(1000);
  if (config.caller === 'page') {
    await page.evaluate(async ({ uri }) => {
      const pc = new RTCPeerConnection();
      play(pc, 'audio');
      const stream = await media({ audio: true });
      for (const track of stream.getTracks()) pc.addTrack(track, stream);
      handle.trickles(pc);
      await pc.setLocalDescription(await pc.createOffer());
      await handle.message({ request: 'call', uri }, { type: 'offer', sdp: pc.localDescription.sdp });
      const answered = await handle.until((m) => m.jsep, 'an answer');
      await pc.setRemoteDescription(answered.jsep);
      await handle.until((m) => m.plugindata?.data.result?.event === 'accepted', 'accepted');
      Object.assign(window, { pc });
    }, { uri: phone.uri });
  } else {
    if (phone.dial) await phone.dial();
    await page.evaluate(async () => {
      const invited = await handle.until((m) => m.plugindata?.data.result?.event === 'incomingcall', 'an incoming call');
      const pc = new RTCPeerConnection();
      play(pc, 'audio');
      handle.trickles(pc);
      await pc.setRemoteDescription(invited.jsep);
      const stream = await media({ audio: true });
      for (const track of stream.getTracks()) pc.addTrack(track, stream);
      await pc.setLocalDescription(await pc.createAnswer());
      await handle.message({ request: 'accept' }, { type: 'answer', sdp: pc.localDescription.sdp });
      Object.assign(window, { pc });
    });
  }
  await page.evaluate(() => handle.until((m) => m.janus === 'webrtcup', 'webrtcup'));
  await pause(config.seconds * 1000 - (config.hangup === 'telephone' ? 1500 : 0));
  const received = await page.evaluate(() => figures(pc));
  if (config.hangup === 'page') await page.evaluate(() => handle.message({ request: 'hangup' }));
  else if (phone.hangup) await phone.hangup();
  const end = await page.evaluate(async () => (await handle.until((m) => m.plugindata?.data.result?.event === 'hangup', 'hangup')).plugindata.data.result);
  await page.evaluate(() => handle.until((m) => m.janus === 'hangup', 'the hangup of the core'));
  await pause(500);
  phone.quit?.();
  const telephone = await Promise.race([phone.ended, pause(15000).then(() => (phone.child.kill(), { code: 'still running' }))]);
  return {
    received,
    end,
    telephone: { code: telephone.code, heard: phone.heard?.() },
    output: telephone.code === 0 ? undefined : telephone.output,
    page: await page.evaluate(() => api.log.filter((m) => m.sender === handle.id).map(word)),
  };
});
