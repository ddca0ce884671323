// Meetecho's Node client runs the life of a room. Prints what it was told. config: {url, room}
import Janode from 'janode';
import VideoRoom from 'janode/plugins/videoroom';

const { url, room } = JSON.parse(process.argv[2]);
const connection = await Janode.connect({ is_admin: false, address: { url } });
const info = await connection.getInfo();
const session = await connection.create();
const manager = await session.attach(VideoRoom);
const seen = { server: info.name, plugins: Object.keys(info.plugins) };
seen.created = await manager.create({ room, description: 'Janode', max_publishers: 4, is_private: false });
seen.exists = await manager.exists({ room });
seen.listed = (await manager.list()).list.find((r) => r.room === room);
const participant = await session.attach(VideoRoom);
seen.joined = await participant.joinPublisher({ room, display: 'node' });
seen.participants = await manager.listParticipants({ room });
seen.left = await participant.leave();
seen.emptied = await manager.listParticipants({ room });
seen.destroyed = await manager.destroy({ room });
seen.gone = await manager.exists({ room });
seen.refused = await manager.destroy({ room }).catch((error) => error.message ?? String(error));
await participant.detach();
await session.destroy();
await connection.close();
console.log(JSON.stringify(seen));
process.exit(0);
