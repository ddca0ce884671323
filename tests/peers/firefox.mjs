// Firefox and Chromium in one room: each publishes sound, picture and data and subscribes to the other; then Firefox's
// subscription is paused and resumed, one of its streams taken out and back in, and Firefox leaves and comes back.
// Prints what both saw.
// config: {url, room, seconds}
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import puppeteer from 'puppeteer-core';
import { run } from './browser.mjs';

// Stock Firefox, steered over WebDriver BiDi.
async function firefox() {
  const home = mkdtempSync(join(tmpdir(), 'voex-firefox-'));
  const browser = await puppeteer.launch({
    browser: 'firefox',
    executablePath: process.env.FIREFOX ?? '/usr/bin/firefox-esr',
    headless: true,
    env: { ...process.env, HOME: home },
    extraPrefsFirefox: {
      'media.navigator.streams.fake': true,
      'media.navigator.permission.disabled': true,
      'media.autoplay.default': 0,
      'media.peerconnection.ice.obfuscate_host_addresses': false,
      'media.gmp-manager.updateEnabled': false,
    },
  });
  return {
    browser,
    close: async () => {
      await browser.close();
      rmSync(home, { recursive: true, force: true });
    },
  };
}

const publish = async ({ url, room, name }) => {
  window.api ??= await Api.open(url, name);
  const handle = await api.attach('janus.plugin.videoroom');
  const joined = await handle.message({ request: 'join', ptype: 'publisher', room, display: name });
  const pc = new RTCPeerConnection({});
  const stream = await media({ audio: true, video: { width: 640, height: 480 } });
  for (const track of stream.getTracks()) pc.addTrack(track, stream);
  const channel = pc.createDataChannel('chat');
  handle.trickles(pc);
  await pc.setLocalDescription(await pc.createOffer());
  const answer = await handle.message({ request: 'publish' }, { type: 'offer', sdp: pc.localDescription.sdp });
  await pc.setRemoteDescription(answer.jsep);
  window.sending = { handle, pc, channel, id: joined.plugindata.data.id };
  await handle.until((m) => m.janus === 'webrtcup', 'webrtcup of the publisher');
  await opened(channel);
  return sending.id;
};

const subscribe = async ({ room, feed }) => {
  const handle = await api.attach('janus.plugin.videoroom');
  const attached = await handle.message({ request: 'join', ptype: 'subscriber', room, streams: [{ feed }] });
  if (!attached.jsep) throw new Error(`no offer: ${JSON.stringify(attached)}`);
  const pc = new RTCPeerConnection({});
  const heard = [];
  pc.ondatachannel = ({ channel }) => (channel.onmessage = ({ data }) => heard.push(data));
  play(pc);
  handle.trickles(pc);
  await pc.setRemoteDescription(attached.jsep);
  await pc.setLocalDescription(await pc.createAnswer());
  await handle.message({ request: 'start' }, { type: 'answer', sdp: pc.localDescription.sdp });
  window.receiving = { handle, pc, heard };
  await handle.until((m) => m.janus === 'webrtcup', 'webrtcup of the subscriber');
  return attached.plugindata.data.streams.map((s) => s.type);
};

const update = async (body) => {
  const updated = await receiving.handle.message({ request: 'update', ...body });
  await receiving.pc.setRemoteDescription(updated.jsep);
  await receiving.pc.setLocalDescription(await receiving.pc.createAnswer());
  await receiving.handle.message({ request: 'start' }, { type: 'answer', sdp: receiving.pc.localDescription.sdp });
  return updated.plugindata.data.streams.map((s) => `${s.type} ${s.active}`);
};

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

await run(async (open, config) => {
  const chrome = await open('chromium');
  const fox = await firefox();
  try {
    const page = await fox.browser.newPage();
    page.on('console', (message) => console.error(`[firefox] ${message.text()}`));
    page.on('pageerror', (error) => console.error(`[firefox] ${error.message}`));
    await page.goto(chrome.url());
    const flow = async (seconds) => {
      const both = [page, chrome];
      const look = () => Promise.all(both.map((one) => one.evaluate(() => figures(receiving.pc))));
      const before = await look();
      await pause(seconds);
      const after = await look();
      const grown = after.map((now, at) => ({
        frames: now.framesDecoded - before[at].framesDecoded,
        packets: now.packetsReceived - before[at].packetsReceived,
        energy: now.audioEnergy - before[at].audioEnergy,
        lost: now.packetsLost,
        codec: now.videoDecoder,
      }));
      return { firefox: grown[0], chromium: grown[1] };
    };

    const ids = {
      firefox: await page.evaluate(publish, { ...config, name: 'firefox' }),
      chromium: await chrome.evaluate(publish, { ...config, name: 'chromium' }),
    };
    const streams = {
      firefox: await page.evaluate(subscribe, { ...config, feed: ids.chromium }),
      chromium: await chrome.evaluate(subscribe, { ...config, feed: ids.firefox }),
    };
    await pause(1);
    const result = { streams, flowing: await flow(config.seconds) };

    await page.evaluate(() => sending.channel.send('from firefox'));
    await chrome.evaluate(() => sending.channel.send('from chromium'));
    await pause(0.5);
    result.heard = {
      firefox: await page.evaluate(() => receiving.heard),
      chromium: await chrome.evaluate(() => receiving.heard),
    };

    const send = (on) => page.evaluate((send) => receiving.handle.message({ request: 'configure', streams: [{ mid: '1', send }] }), on);
    await send(false);
    await pause(0.3);
    result.paused = await flow(1);
    await send(true);
    await pause(0.3);
    result.resumed = await flow(1);

    result.without = await page.evaluate(update, { unsubscribe: [{ feed: ids.chromium, mid: '1' }] });
    result.again = await page.evaluate(update, { subscribe: [{ feed: ids.chromium, mid: '1' }] });
    await pause(0.5);
    result.updated = await flow(1);

    await page.evaluate(async () => {
      await sending.handle.message({ request: 'leave' });
      sending.pc.close();
    });
    await chrome.evaluate((id) => sending.handle.until((m) => m.plugindata?.data.leaving === id, 'Firefox leaving'), ids.firefox);
    const back = await page.evaluate(publish, { ...config, name: 'firefox' });
    await chrome.evaluate(subscribe, { ...config, feed: back });
    await pause(0.5);
    result.back = await flow(config.seconds);
    return result;
  } finally {
    await fox.close();
  }
});
