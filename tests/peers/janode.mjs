// Meetecho's Node client makes every call that it has for the video room. Prints what it was told.
// config: {url, admin, secret, room, offer}
import Janode from 'janode';
import VideoRoom from 'janode/plugins/videoroom';

const { url, admin, secret, room, offer } = JSON.parse(process.argv[2]);
const connection = await Janode.connect({ is_admin: false, address: { url } });
const info = await connection.getInfo();
const session = await connection.create();
const attach = () => session.attach(VideoRoom);
const manager = await attach();
const seen = { server: info.name, plugins: Object.keys(info.plugins) };
const refused = (promise) => promise.then(() => 'taken', (error) => error.message ?? String(error));
const once = (handle, event) => new Promise((resolve) => handle.once(VideoRoom.EVENT[event], resolve));
/** An answer to an offer of the server, of a browser that never comes. */
const answer = ({ sdp }) => ({
  type: 'answer',
  sdp: sdp
    .replace(/a=sendonly/g, 'a=recvonly')
    .replace(/a=setup:actpass/g, 'a=setup:active')
    .replace(/a=(candidate|end-of-candidates|ssrc|msid|ice-lite)[^\r]*\r\n/g, '')
    .replace(/a=fingerprint:sha-256 ../g, 'a=fingerprint:sha-256 00'),
});

seen.created = await manager.create({
  room, description: 'Janode', max_publishers: 4, is_private: false, secret: 's', pin: 'p', bitrate: 512000,
  bitrate_cap: true, fir_freq: 10, audiocodec: 'opus', videocodec: 'vp8,h264', talking_events: true,
  talking_level_threshold: 30, talking_packets_threshold: 50, notify_joining: true, threads: 0,
});
seen.exists = await manager.exists({ room });
seen.listed = (await manager.list()).list.find((r) => r.room === room);
seen.allowed = await manager.allow({ room, action: 'add', list: ['t1', 't2'], secret: 's' });
// The answer to `disable` holds no list, with Janus too, and the client does not know what to make of it.
seen.open = await refused(manager.allow({ room, action: 'disable', secret: 's' }));
seen.recording = await manager.enable_recording({ room, secret: 's', record: false });

// A participant that publishes, and one that only joins.
const participant = await attach();
seen.joined = await participant.joinPublisher({ room, display: 'node', pin: 'p' });
const guest = await attach();
const peer_joined = once(participant, 'VIDEOROOM_PUB_PEER_JOINED');
await guest.joinPublisher({ room, display: 'guest', pin: 'p', feed: 42 });
seen.peer_joined = await peer_joined;
seen.participants = await manager.listParticipants({ room });
const jsep = { type: 'offer', sdp: offer };
seen.published = await participant.publish({ bitrate: 128000, display: 'publisher', jsep });
seen.configured = await participant.configure({ bitrate: 64000, keyframe: true, streams: [{ mid: '0', send: false }] });
const { feed } = seen.joined;
const streams = [{ mid: '0', port: 9000, rtcp_port: 9001 }];
seen.forward = await manager.startForward({ room, feed, host: '127.0.0.1', streams, secret: 's' });
seen.old_forward = await manager.startForward({ room, feed, host: '127.0.0.1', video_port: 9002, secret: 's' });
seen.forwards = await manager.listForward({ room, secret: 's' });
const stream = seen.forward.forwarders[0].audio_stream;
seen.forward_stopped = await manager.stopForward({ room, feed, stream, secret: 's' });
seen.unpublished = await participant.unpublish();
const kicked = once(participant, 'VIDEOROOM_KICKED');
seen.kick = await manager.kick({ room, feed: 42, secret: 's' });
seen.kicked = await kicked;

// Subscribers, to placeholders that are always there.
const dummies = room + 1;
await manager.message({ request: 'create', room: dummies, dummy_publisher: true });
const [{ feed: dummy }] = (await manager.listParticipants({ room: dummies })).participants;
const subscriber = await attach();
seen.attached = await subscriber.joinSubscriber({ room: dummies, streams: [{ feed: dummy, mid: '0' }] });
seen.started = await subscriber.start({ jsep: answer(seen.attached.jsep) });
seen.paused = await subscriber.pause();
seen.updated = await subscriber.update({ subscribe: [{ feed: dummy, mid: '1' }] });
await subscriber.start({ jsep: answer(seen.updated.jsep) });
seen.removed = await subscriber.update({ unsubscribe: [{ sub_mid: '1' }] });
await subscriber.start({ jsep: answer(seen.removed.jsep) });
seen.switched = await subscriber.switch({ streams: [{ feed: dummy, mid: '0', sub_mid: '0' }] });
seen.layers = await subscriber.configure({ streams: [{ mid: '0', send: false }] });
seen.left_subscription = await subscriber.leave();
const listener = await attach();
seen.listener = await listener.joinListener({ room: dummies, feed: dummy, offer_video: false });
const late = await attach();
seen.joined_at_once = await late.joinConfigurePublisher({ room: dummies, feed: 7, jsep });

// The admin API of the same client.
const watch = await Janode.connect({ is_admin: true, address: { url: admin, apisecret: secret } });
seen.sessions = await watch.listSessions();
seen.handles = await watch.listHandles(session.id);
seen.handle = (await watch.handleInfo(session.id, late.id)).info;
await watch.close();

seen.left = await participant.leave();
seen.emptied = await manager.listParticipants({ room });
seen.destroyed = await manager.destroy({ room, secret: 's' });
seen.gone = await manager.exists({ room });
seen.refused = await refused(manager.destroy({ room }));
await participant.detach();
await session.destroy();
await connection.close();
console.log(JSON.stringify(seen));
process.exit(0);
