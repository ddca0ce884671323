//! `janus.plugin.videoroom`: each publisher is forwarded to any number of subscribers.

mod codec;
mod error;
mod management;
mod publisher;
mod room;

use indexmap::IndexMap;
use serde_json::{Map, Value};
use voex_base::WorkerId;

pub use codec::RoomCodec;
pub use error::Code;
pub use room::RoomConfig;

use error::Error;
use room::Room;

use super::fields::Fields;
use super::{Answer, MediaEvent, Message, Plugin};
use crate::host::{HandleId, Host};

/// Most rooms at once; `create` beyond is answered 499.
pub(crate) const ROOMS_MAX: usize = 65_536;

/// State of the plugin.
pub(crate) struct VideoRoom {
    /// Rooms by id, in the order of creation.
    rooms: IndexMap<u64, Room>,
}

impl VideoRoom {
    /// Makes the plugin with the rooms of the configuration.
    pub(crate) fn new(host: &mut Host) -> Self {
        let mut plugin = Self { rooms: IndexMap::new() };
        for (id, config) in std::mem::take(&mut host.config.rooms) {
            plugin.add_room(host, id, config);
        }
        plugin
    }

    /// Answers the requests that are answered at once; `None` when the request is not one of them.
    fn synchronous(
        &mut self,
        host: &mut Host,
        request: &str,
        body: &Map<String, Value>,
    ) -> Option<Result<Value, Error>> {
        Some(match request {
            "create" => self.create(host, body),
            "edit" => self.edit(body),
            "exists" => self.exists(body),
            "list" => Ok(self.list()),
            "listparticipants" => self.list_participants(body),
            "allowed" => self.allowed(body),
            _ => return None,
        })
    }

    /// Gives the worker with the fewest rooms.
    fn home_worker(&self, host: &Host) -> WorkerId {
        let rooms_on = |worker: WorkerId| self.rooms.values().filter(|room| room.worker == worker).count();
        let workers = host.config.workers.iter().map(|media| media.worker);
        workers.min_by_key(|worker| rooms_on(*worker)).unwrap_or(WorkerId(0))
    }
}

impl Plugin for VideoRoom {
    fn handle_attach(&mut self, _host: &mut Host, _handle: HandleId) {}

    fn handle_message(&mut self, host: &mut Host, _handle: HandleId, message: Message) -> Answer {
        let request = message.body.text("request").unwrap_or_default();
        let result = match self.synchronous(host, request, &message.body) {
            Some(result) => result,
            None => Err(Error::new(Code::InvalidRequest, format!("Unknown request '{request}'"))),
        };
        Answer::Success(result.unwrap_or_else(|error| {
            host.metrics.videoroom_errors.of(error.code).inc();
            error.to_json()
        }))
    }

    fn handle_acked(&mut self, _host: &mut Host, _handle: HandleId, _message: Message) {}

    fn handle_media(&mut self, _host: &mut Host, _handle: HandleId, _event: MediaEvent) {}

    fn handle_detach(&mut self, _host: &mut Host, _handle: HandleId) {}
}
