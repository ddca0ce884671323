// Two pages write to each other in a room. Prints what each was told. config: {url}
import { run } from './browser.mjs';

await run(async (open, config) => {
  const pages = [await open('ann'), await open('ben')];
  for (const page of pages) {
    await page.evaluate(async ({ url }) => {
      const api = await Api.open(url, 'page');
      const handle = await api.attach('janus.plugin.textroom');
      const setup = await handle.message({ request: 'setup' });
      const pc = new RTCPeerConnection();
      const told = [];
      const channel = pc.createDataChannel('JanusDataChannel');
      channel.onmessage = ({ data }) => told.push(JSON.parse(data));
      handle.trickles(pc);
      await pc.setRemoteDescription(setup.jsep);
      await pc.setLocalDescription(await pc.createAnswer());
      const acked = await handle.message({ request: 'ack' }, { type: 'answer', sdp: pc.localDescription.sdp });
      await opened(channel);
      // Sends a request and resolves with its answer.
      const ask = async (request) => {
        const transaction = Math.random().toString(36).slice(2);
        channel.send(JSON.stringify({ ...request, transaction }));
        for (let waited = 0; waited < 5000; waited += 20) {
          const answer = told.find((t) => t.transaction === transaction);
          if (answer) return answer;
          await pause(20);
        }
        throw new Error(`no answer to ${JSON.stringify(request)}`);
      };
      Object.assign(window, { api, handle, pc, told, ask, setup: setup.plugindata.data, acked: acked.plugindata.data });
    }, config);
  }
  const [ann, ben] = pages;
  const room = 66;
  const api = (body) => ann.evaluate(async (body) => (await handle.message(body)).plugindata.data, body);
  const ask = (page, request) => page.evaluate((request) => ask(request), request);
  const seen = {};
  seen.created = await api({ request: 'create', room, description: 'Scenario', history: 2, pin: 'p' });
  seen.wrongPin = await ask(ann, { textroom: 'join', room, username: 'ann', pin: 'q' });
  seen.joined = await ask(ann, { textroom: 'join', room, username: 'ann', pin: 'p', display: 'Ann' });
  seen.said = await ask(ann, { textroom: 'message', room, text: 'to an empty room' });
  seen.second = await ask(ben, { textroom: 'join', room, username: 'ben', pin: 'p' });
  await ask(ben, { textroom: 'message', room, text: 'hi all' });
  seen.whispered = await ask(ben, { textroom: 'message', room, text: 'only you', to: 'ann' });
  seen.listed = await api({ request: 'listparticipants', room });
  seen.announced = await api({ request: 'announcement', room, text: 'tea' });
  seen.left = await ask(ben, { textroom: 'leave', room });
  seen.outside = await ask(ben, { textroom: 'message', room, text: 'still here?' });
  seen.destroyed = await api({ request: 'destroy', room });
  await ann.evaluate(() => pause(200));
  const told = (page) => page.evaluate(() => told.filter((t) => t.transaction === undefined));
  return { ...seen, setup: await ann.evaluate(() => [setup, acked]), ann: await told(ann), ben: await told(ben) };
});
