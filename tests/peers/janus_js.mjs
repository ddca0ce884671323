// Two pages use Meetecho's own browser client, as its video room demo does: both publish sound, picture and data and
// subscribe to each other; then a second picture, a pause, and leaving and coming back. Prints what the second page saw.
// config: {url, room, seconds}
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { run } from './browser.mjs';

const client = createRequire(import.meta.url).resolve('janus-gateway');
const adapter = createRequire(client).resolve('webrtc-adapter/out/adapter.js');
const library = `${readFileSync(join(dirname(client), 'janus.es.js'), 'utf8')}\nwindow.Janus = Janus;`;

// What pages share: janus.js speaks in callbacks, a scenario wants to wait.
function helpers() {
  window.connect = (server) =>
    new Promise((resolve, reject) => {
      Janus.init({
        debug: ['error'],
        dependencies: Janus.useDefaultDependencies({ adapter: window.adapter }),
        callback: () => {
          const janus = new Janus({ server, success: () => resolve(janus), error: reject });
        },
      });
    });
  // Attaches to the video room; `seen` collects what the callbacks are told.
  window.attach = (janus, seen) =>
    new Promise((resolve, reject) =>
      janus.attach({
        plugin: 'janus.plugin.videoroom',
        success: resolve,
        error: reject,
        webrtcState: (on) => on && seen.note('webrtcup'),
        mediaState: (type, on, mid) => seen.note(`media ${type} ${on}`, mid),
        onmessage: (message, jsep) => {
          seen.messages.push({ message, jsep });
          seen.wake();
        },
        onremotetrack: (track, mid, on) => {
          seen.note(`track ${track.kind} ${on}`, mid);
          if (on && seen.stream) seen.stream.addTrack(track);
        },
        ondata: (text, label) => seen.note(`data ${label} ${text}`),
        ondataopen: (label) => seen.note(`dataopen ${label}`),
        oncleanup: () => seen.note('cleanup'),
      }),
    );
  window.Seen = class {
    constructor() {
      this.messages = [];
      this.words = [];
      this.waiters = [];
    }
    note(word) {
      this.words.push(word);
      this.wake();
    }
    wake() {
      for (const waiter of [...this.waiters]) waiter();
    }
    // The first message or word that `test` accepts, taken out.
    until(list, test, what) {
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`waited in vain for ${what}: ${JSON.stringify(this.words)} ${JSON.stringify(this.messages).slice(0, 1500)}`)), 15000);
        const waiter = () => {
          const at = this[list].findIndex(test);
          if (at < 0) return;
          clearTimeout(timer);
          this.waiters = this.waiters.filter((other) => other !== waiter);
          resolve(this[list].splice(at, 1)[0]);
        };
        this.waiters.push(waiter);
        waiter();
      });
    }
    message(test, what) {
      return this.until('messages', ({ message }) => test(message), what);
    }
    word(word) {
      return this.until('words', (other) => other === word, word);
    }
  };
  window.offer = (handle, tracks) => new Promise((success, error) => handle.createOffer({ tracks, success, error }));
  window.answer = (handle, jsep) => new Promise((success, error) => handle.createAnswer({ jsep, tracks: [{ type: 'data' }], success, error }));

  // Joins as a publisher and publishes; gives its id.
  window.publish = async (janus, room, display) => {
    const seen = new Seen();
    const handle = await attach(janus, seen);
    handle.send({ message: { request: 'join', room, ptype: 'publisher', display } });
    const joined = await seen.message((m) => m.videoroom === 'joined', 'joined');
    await sendTracks(handle, seen);
    return { handle, seen, id: joined.message.id, others: joined.message.publishers };
  };
  window.sendTracks = async (handle, seen) => {
    const jsep = await offer(handle, [
      { type: 'audio', capture: true, recv: false },
      { type: 'video', capture: { width: 640, height: 480 }, recv: false },
      { type: 'data' },
    ]);
    handle.send({ message: { request: 'publish', audiocodec: 'opus', videocodec: 'vp8' }, jsep });
    const configured = await seen.message((m) => m.configured === 'ok', 'configured');
    handle.handleRemoteJsep({ jsep: configured.jsep });
    await seen.word('webrtcup');
    await seen.word('dataopen JanusDataChannel');
  };
  // Subscribes to everything that somebody sends and waits until it flows.
  window.subscribe = async (janus, room, feed) => {
    const seen = new Seen();
    const element = Object.assign(document.createElement('video'), { autoplay: true });
    document.body.append(element);
    element.srcObject = seen.stream = new MediaStream();
    const handle = await attach(janus, seen);
    handle.send({ message: { request: 'join', room, ptype: 'subscriber', use_msid: false, streams: [{ feed }] } });
    const attached = await seen.message((m) => m.videoroom === 'attached', 'attached');
    handle.send({ message: { request: 'start', room }, jsep: await answer(handle, attached.jsep) });
    await seen.word('webrtcup');
    return { handle, seen, streams: attached.message.streams, element };
  };
}

await run(async (open, config) => {
  const start = async (name) => {
    const page = await open(name);
    await page.addScriptTag({ path: adapter });
    await page.addScriptTag({ content: library, type: 'module' });
    await page.waitForFunction(() => window.Janus);
    await page.evaluate(helpers);
    return page;
  };
  const alice = await start('alice');
  const bob = await start('bob');
  const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

  for (const [page, display] of [[alice, 'alice'], [bob, 'bob']]) {
    await page.evaluate(async ({ url, room, display }) => {
      window.janus = await connect(url);
      window.me = await publish(janus, room, display);
    }, { ...config, display });
  }
  const feed = await alice.evaluate(() => me.id);
  await bob.evaluate(async ({ room, feed }) => {
    window.her = await subscribe(janus, room, feed);
  }, { ...config, feed });
  const frames = async (seconds) => {
    const before = await bob.evaluate(() => figures(her.handle.webrtcStuff.pc));
    await pause(seconds);
    const after = await bob.evaluate(() => figures(her.handle.webrtcStuff.pc));
    return { frames: after.framesDecoded - before.framesDecoded, energy: after.audioEnergy - before.audioEnergy, lost: after.packetsLost };
  };
  const result = { streams: await bob.evaluate(() => her.streams.map((s) => s.type)), flowing: await frames(config.seconds) };

  await alice.evaluate(() => me.handle.data({ text: 'hello', success: () => {}, error: console.error }));
  await bob.evaluate(() => her.seen.word('data JanusDataChannel hello'));

  // A second picture, as a shared screen: the publisher negotiates anew, the subscriber updates.
  await alice.evaluate(async () => {
    const screen = restlessPicture(320, 240).getVideoTracks()[0];
    const jsep = await offer(me.handle, [{ type: 'video', add: true, capture: screen, recv: false }]);
    me.handle.send({ message: { request: 'configure' }, jsep });
    const configured = await me.seen.message((m) => m.configured === 'ok', 'configured again');
    me.handle.handleRemoteJsep({ jsep: configured.jsep });
  });
  result.updated = await bob.evaluate(async ({ feed }) => {
    const told = await me.seen.message((m) => m.publishers?.some((p) => p.id === feed && p.streams.length === 4), 'the second picture');
    const screen = told.message.publishers[0].streams.at(-1);
    her.handle.send({ message: { request: 'update', subscribe: [{ feed, mid: screen.mid }] } });
    const updated = await her.seen.message((m) => m.videoroom === 'updated', 'updated');
    her.handle.send({ message: { request: 'start' }, jsep: await answer(her.handle, updated.jsep) });
    await her.seen.message((m) => m.started === 'ok', 'started');
    return updated.message.streams.map((s) => s.type);
  }, { feed });
  await pause(0.5);
  result.both = await frames(config.seconds);

  const send = (mid, send) =>
    bob.evaluate(async ({ mid, send }) => {
      her.handle.send({ message: { request: 'configure', streams: [{ mid, send }] } });
      await her.seen.message((m) => m.configured === 'ok', 'configured');
    }, { mid, send });
  const pictures = ['1', '3'];
  for (const mid of pictures) await send(mid, false);
  await pause(0.3);
  result.paused = await frames(1);
  for (const mid of pictures) await send(mid, true);
  await pause(0.3);
  result.resumed = await frames(1);

  // She stops publishing, and comes back with a PeerConnection of its own.
  await alice.evaluate(async () => {
    me.handle.send({ message: { request: 'unpublish' } });
    await me.seen.message((m) => m.unpublished === 'ok', 'unpublished');
    await me.seen.word('cleanup');
  });
  await bob.evaluate(({ feed }) => me.seen.message((m) => m.unpublished === feed, 'her unpublishing'), { feed });
  await alice.evaluate(() => sendTracks(me.handle, me.seen));
  await bob.evaluate(async ({ room, feed }) => {
    await me.seen.message((m) => m.publishers?.some((p) => p.id === feed), 'her being back');
    her.handle.detach();
    window.her = await subscribe(janus, room, feed);
  }, { ...config, feed });
  result.back = await frames(config.seconds);

  await alice.evaluate(async () => {
    me.handle.send({ message: { request: 'leave' } });
    await me.seen.message((m) => m.leaving === 'ok', 'leaving');
    await new Promise((success, error) => janus.destroy({ success, error }));
  });
  await bob.evaluate(({ feed }) => me.seen.message((m) => m.leaving === feed, 'her leaving'), { feed });
  return result;
});
