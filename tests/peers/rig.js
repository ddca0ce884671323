// Runs inside the page: a raw client of the Janus API and the WebRTC helpers of the scenarios.
// It is deliberately naive: no retry, no tolerance; whatever the server says is kept in `log`.

class Api {
  static async open(url, name) {
    const api = new Api();
    api.name = name;
    api.log = [];
    api.waiting = new Map();
    api.listeners = [];
    await api.reopen(url);
    api.session = (await api.send({ janus: 'create' })).data.id;
    setInterval(() => api.send({ janus: 'keepalive', session_id: api.session }), 20000);
    return api;
  }

  // Takes a new connection, to which no session belongs yet.
  async reopen(url) {
    this.socket = new WebSocket(url, 'janus-protocol');
    await new Promise((resolve, reject) => {
      this.socket.onopen = resolve;
      this.socket.onerror = () => reject(new Error(`no WebSocket at ${url}`));
    });
    this.socket.onmessage = ({ data }) => this.receive(JSON.parse(data));
  }

  receive(message) {
    this.log.push(message);
    const wait = this.waiting.get(message.transaction);
    if (wait && (message.janus !== 'ack' || wait.ackIsFinal)) {
      this.waiting.delete(message.transaction);
      wait.resolve(message);
    }
    for (const listener of [...this.listeners]) listener(message);
  }

  // Sends a request and resolves with its final answer (the event, where the plugin answers with ack first).
  send(request) {
    const transaction = Math.random().toString(36).slice(2);
    const ackIsFinal = ['keepalive', 'trickle'].includes(request.janus);
    return new Promise((resolve, reject) => {
      this.waiting.set(transaction, { resolve, ackIsFinal });
      setTimeout(() => reject(new Error(`${this.name}: no answer to ${JSON.stringify(request).slice(0, 200)}`)), 15000);
      this.socket.send(JSON.stringify({ ...request, transaction }));
    });
  }

  async attach(plugin) {
    const answer = await this.send({ janus: 'attach', session_id: this.session, plugin });
    return new Handle(this, answer.data.id);
  }

  // Resolves with the first message, past or future, that satisfies `test`.
  until(test, what, ms = 20000) {
    const past = this.log.find(test);
    if (past) return Promise.resolve(past);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${this.name}: waited in vain for ${what}`)), ms);
      const listener = (message) => {
        if (!test(message)) return;
        clearTimeout(timer);
        this.listeners.splice(this.listeners.indexOf(listener), 1);
        resolve(message);
      };
      this.listeners.push(listener);
    });
  }
}

class Handle {
  constructor(api, id) {
    this.api = api;
    this.id = id;
  }

  message(body, jsep) {
    return this.api.send({ janus: 'message', session_id: this.api.session, handle_id: this.id, body, ...(jsep && { jsep }) });
  }

  // Sends candidates one by one as a browser finds them, then the end mark.
  trickles(pc) {
    pc.onicecandidate = ({ candidate }) =>
      this.api.send({
        janus: 'trickle',
        session_id: this.api.session,
        handle_id: this.id,
        candidate: candidate ? candidate.toJSON() : { completed: true },
      });
  }

  until(test, what, ms) {
    return this.api.until((m) => m.sender === this.id && test(m), what, ms);
  }
}

// One word for each message, so that a test can compare an order of events with a list.
function word(message) {
  const data = message.plugindata?.data;
  if (!data) return message.janus === 'media' ? `media ${message.type} ${message.receiving}` : message.janus;
  if (data.error_code) return `error ${data.error_code}`;
  const name = data.videoroom ?? data.sip;
  if (data.result) return `sip ${data.result.event}`;
  if (name !== 'event') return name;
  const what = ['publishers', 'configured', 'started', 'paused', 'unpublished', 'leaving', 'left', 'joining'].find((k) => k in data);
  return what === 'unpublished' || what === 'leaving' ? `${what} ${data[what] === 'ok' ? 'ok' : 'other'}` : (what ?? 'event');
}

const media = (constraints) => navigator.mediaDevices.getUserMedia(constraints);

// A picture that no encoder makes small, of the given size, at 25 frames a second: coloured tiles, a quarter of them new in each frame.
function restlessPicture(width, height) {
  const canvas = Object.assign(document.createElement('canvas'), { width, height });
  const context = canvas.getContext('2d');
  const tile = 16;
  const any = (bound) => Math.floor(Math.random() * bound);
  const tiles = (width * height) / tile / tile;
  setInterval(() => {
    for (let count = 0; count < tiles / 4; count++) {
      context.fillStyle = `rgb(${any(256)} ${any(256)} ${any(256)})`;
      context.fillRect(any(width / tile) * tile, any(height / tile) * tile, tile, tile);
    }
  }, 40);
  return canvas.captureStream(25);
}

// Puts a remote stream into an element, so that audio is really decoded and played.
function play(pc, kind = 'video') {
  const element = document.createElement(kind);
  element.autoplay = true;
  document.body.append(element);
  const stream = new MediaStream();
  element.srcObject = stream;
  pc.addEventListener('track', ({ track }) => stream.addTrack(track));
  return element;
}

// The figures a scenario asserts on, out of getStats().
async function figures(pc) {
  const found = { framesDecoded: 0, audioEnergy: 0, packetsReceived: 0, packetsLost: 0, bytesReceived: 0, bytesSent: 0, keyFramesDecoded: 0, freezes: 0 };
  const stats = await pc.getStats();
  const byId = new Map();
  stats.forEach((s) => byId.set(s.id, s));
  stats.forEach((s) => {
    if (s.type === 'inbound-rtp') {
      found.packetsReceived += s.packetsReceived;
      found.bytesReceived += s.bytesReceived;
      found.packetsLost += s.packetsLost;
      found[`${s.kind}Bytes`] = (found[`${s.kind}Bytes`] ?? 0) + s.bytesReceived;
      if (s.kind === 'video') {
        found.framesDecoded += s.framesDecoded;
        found.keyFramesDecoded += s.keyFramesDecoded;
        found.freezes += s.freezeCount ?? 0;
        found.frozenSeconds = s.totalFreezesDuration ?? 0;
        found.width = s.frameWidth;
        found.pliSent = s.pliCount;
        found.nackSent = s.nackCount;
        found.videoDecoder = byId.get(s.codecId)?.mimeType;
      } else {
        found.audioEnergy += s.totalAudioEnergy;
        found.audioSamples = s.totalSamplesReceived;
        found.concealed = s.concealedSamples;
        found.audioCodec = byId.get(s.codecId)?.mimeType;
      }
    }
    if (s.type === 'outbound-rtp') {
      found.bytesSent += s.bytesSent;
      found.nackReceived = (found.nackReceived ?? 0) + (s.nackCount ?? 0);
      found.pliReceived = (found.pliReceived ?? 0) + (s.pliCount ?? 0);
    }
    if (s.type === 'remote-inbound-rtp') found.roundTripSeconds = s.roundTripTime;
    if (s.type === 'transport') {
      const pair = byId.get(s.selectedCandidatePairId);
      if (pair) {
        const local = byId.get(pair.localCandidateId);
        found.localCandidate = local?.candidateType;
        found.relayProtocol = local?.relayProtocol;
        found.remoteAddress = byId.get(pair.remoteCandidateId)?.address;
      }
      found.dtls = s.dtlsState;
      found.srtp = s.srtpCipher;
    }
  });
  return found;
}

// Resolves when a data channel is open.
const opened = (channel) => new Promise((resolve, reject) => {
  if (channel.readyState === 'open') return resolve();
  channel.addEventListener('open', resolve);
  setTimeout(() => reject(new Error(`the channel ${channel.label} did not open`)), 15000);
});

// A message of a data channel as JSON: its text, or length and sum of its bytes.
function described(data) {
  if (typeof data === 'string') return { text: data };
  const bytes = new Uint8Array(data);
  return { bytes: bytes.length, sum: bytes.reduce((sum, byte) => sum + byte, 0) };
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

Object.assign(window, { Api, Handle, word, media, restlessPicture, play, figures, opened, described, pause });
