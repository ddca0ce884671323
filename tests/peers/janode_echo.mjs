// Meetecho's Node client asks the echo test, without media of its own. Prints what it was told. config: {url, sdp}
import Janode from 'janode';
import EchoTest from 'janode/plugins/echotest';

const { url, sdp } = JSON.parse(process.argv[2]);
const connection = await Janode.connect({ is_admin: false, address: { url } });
const session = await connection.create();
const handle = await session.attach(EchoTest);
const started = await handle.start({ audio: true, video: true, bitrate: 128000, jsep: { type: 'offer', sdp } });
await handle.detach();
await session.destroy();
await connection.close();
console.log(JSON.stringify({ result: started.result, type: started.jsep.type, sdp: started.jsep.sdp }));
process.exit(0);
