//! Encodings and layers: what a subscriber wants of each line, what flows, and what it is told of that.

use std::time::Duration;

use serde_json::{Map, Value, json};
use voex_base::SubscriptionId;
use voex_sfu::command::{Command, LayerChange, Layers};
use voex_sfu::limits::FALLBACK_DEFAULT;

use super::VideoRoom;
use super::error::Error;
use super::publisher::{PublishedStream, StreamKind};
use super::room::object;
use super::subscriber::{Line, Subscriber};
use crate::host::{HandleId, Host};
use crate::plugin::fields::{Field, Fields, Type, check, optional};
use crate::plugin::id::Id;

const LAYERS: [Field; 5] = [
    optional("substream", Type::Unsigned),
    optional("temporal", Type::Unsigned),
    optional("fallback", Type::Unsigned),
    optional("spatial_layer", Type::Unsigned),
    optional("temporal_layer", Type::Unsigned),
];

/// Highest layer that a request may name.
const LAYER_MAX: u64 = 2;

/// Layers that a request names.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct LayerWish {
    substream: Option<u8>,
    temporal: Option<u8>,
    fallback_us: Option<u32>,
    spatial_layer: Option<u8>,
    temporal_layer: Option<u8>,
}

/// What flows on a line and what is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LineLayers {
    family: Family,
    pub(super) wanted: Layers,
    /// Fallback as the client named it, in µs.
    fallback_us: Option<u32>,
    flowing_spatial: Option<u8>,
    flowing_temporal: Option<u8>,
}

/// How the API speaks of the layers of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Family {
    /// Not at all.
    None,
    /// `substream` and `temporal`.
    Simulcast,
    /// `spatial_layer` and `temporal_layer`.
    Svc,
}

impl Family {
    /// Names of the spatial and of the temporal choice.
    fn names(self) -> Option<[&'static str; 2]> {
        match self {
            Self::None => None,
            Self::Simulcast => Some(["substream", "temporal"]),
            Self::Svc => Some(["spatial_layer", "temporal_layer"]),
        }
    }
}

/// Checks the fields of a choice of layers.
pub(super) fn check_layers(body: &Map<String, Value>) -> Result<(), Error> {
    check(body, &LAYERS)?;
    let too_high = |names: [&str; 2]| {
        names
            .iter()
            .any(|name| body.number(name).is_some_and(|layer| layer > LAYER_MAX))
    };
    if too_high(["spatial_layer", "substream"]) {
        return Err(Error::invalid(
            "Invalid value (substream/spatial_layer should be 0, 1 or 2)",
        ));
    }
    if too_high(["temporal_layer", "temporal"]) {
        return Err(Error::invalid(
            "Invalid value (temporal/temporal_layer should be 0, 1 or 2)",
        ));
    }
    Ok(())
}

impl LayerWish {
    /// Reads fields that `check_layers` has passed.
    pub(super) fn of(body: &Map<String, Value>) -> Self {
        let layer = |name: &str| body.number(name).and_then(|layer| u8::try_from(layer).ok());
        Self {
            substream: layer("substream"),
            temporal: layer("temporal"),
            fallback_us: body.number32("fallback"),
            spatial_layer: layer("spatial_layer"),
            temporal_layer: layer("temporal_layer"),
        }
    }
}

impl LineLayers {
    /// The highest layers of a stream, but for what the wish names.
    pub(super) fn new(stream: &PublishedStream, wish: &LayerWish) -> Self {
        let family = match (stream.is_simulcast(), stream.svc) {
            (true, _) => Family::Simulcast,
            (false, true) => Family::Svc,
            (false, false) => Family::None,
        };
        let mut layers = Self {
            family,
            wanted: Layers::default(),
            fallback_us: None,
            flowing_spatial: None,
            flowing_temporal: None,
        };
        layers.want(wish);
        layers
    }

    /// Takes over what a wish names; gives what of it flows already.
    fn want(&mut self, wish: &LayerWish) -> [Option<u8>; 2] {
        let [spatial, temporal] = match self.family {
            Family::None => [None, None],
            Family::Simulcast => [wish.substream, wish.temporal],
            Family::Svc => [wish.spatial_layer, wish.temporal_layer],
        };
        if let Some(spatial) = spatial {
            match self.family {
                Family::Svc => self.wanted.spatial = spatial,
                _ => self.wanted.encoding = spatial,
            }
        }
        self.wanted.temporal = temporal.unwrap_or(self.wanted.temporal);
        if let Some(us) = wish.fallback_us.filter(|_| self.family == Family::Simulcast) {
            self.fallback_us = Some(us).filter(|us| *us > 0);
            let told = self.fallback_us.map(|us| Duration::from_micros(us.into()));
            self.wanted.fallback = told.unwrap_or(FALLBACK_DEFAULT);
        }
        [
            spatial.filter(|_| self.flowing_spatial == spatial),
            temporal.filter(|_| self.flowing_temporal == temporal),
        ]
    }

    /// Notes what flows from now on; gives the name and the layer to tell.
    fn note(&mut self, change: LayerChange) -> Option<(&'static str, u8)> {
        let [spatial, temporal] = self.family.names()?;
        let (flowing, name, layer) = match (change, self.family) {
            (LayerChange::Encoding(layer), Family::Simulcast) => (&mut self.flowing_spatial, spatial, layer),
            (LayerChange::Spatial(layer), Family::Svc) => (&mut self.flowing_spatial, spatial, layer),
            (LayerChange::Temporal(layer), _) => (&mut self.flowing_temporal, temporal, layer),
            _ => return None,
        };
        *flowing = Some(layer);
        Some((name, layer))
    }

    /// Gives the members `simulcast` and `svc` of a stream object.
    pub(super) fn to_json(self) -> [Option<Value>; 2] {
        let flowing = |layer: Option<u8>| json!(layer.map_or(-1, i16::from));
        let (spatial, temporal) = (flowing(self.flowing_spatial), flowing(self.flowing_temporal));
        match self.family {
            Family::None => [None, None],
            Family::Simulcast => {
                let simulcast = object([
                    ("substream", Some(spatial)),
                    ("substream-target", Some(json!(self.wanted.encoding))),
                    ("temporal-layer", Some(temporal)),
                    ("temporal-layer-target", Some(json!(self.wanted.temporal))),
                    ("fallback", self.fallback_us.map(|us| json!(us))),
                ]);
                [Some(simulcast), None]
            }
            Family::Svc => {
                let svc = json!({
                    "spatial-layer": spatial, "target-spatial-layer": self.wanted.spatial,
                    "temporal-layer": temporal, "target-temporal-layer": self.wanted.temporal,
                });
                [None, Some(svc)]
            }
        }
    }
}

impl Subscriber {
    /// Applies what a `configure` says of layers: of every video line, or of the one that each object names.
    pub(super) fn choose_layers(&mut self, host: &mut Host, room: &Id, body: &Map<String, Value>) {
        self.want_layers(host, room, None, &LayerWish::of(body));
        for stream in super::publish::objects(body, "streams") {
            let mid = stream.text("mid").unwrap_or_default();
            self.want_layers(host, room, Some(mid), &LayerWish::of(stream));
        }
    }

    fn want_layers(&mut self, host: &mut Host, room: &Id, mid: Option<&str>, wish: &LayerWish) {
        let worker = host.peer_connection(self.handle).map(|pc| pc.worker);
        let is_meant = |line: &&mut Line| line.kind == StreamKind::Video && mid.is_none_or(|mid| line.mid == mid);
        for line in self.lines.iter_mut().filter(is_meant) {
            let Some(source) = &mut line.source else { continue };
            let before = source.layers.wanted;
            let flowing = source.layers.want(wish);
            let names = source.layers.family.names().unwrap_or_default();
            for (name, layer) in names.into_iter().zip(flowing) {
                if let Some(layer) = layer {
                    tell(host, self.handle, room, &line.mid, name, layer);
                }
            }
            if let (Some(worker), Some(subscription)) = (worker, source.subscription)
                && source.layers.wanted != before
            {
                let command = Command::SetSubscriptionLayers(subscription, source.layers.wanted);
                host.media(worker, command);
            }
        }
    }
}

impl VideoRoom {
    /// What is forwarded on a line of a subscriber changed.
    pub(super) fn layer_changed(
        &mut self,
        host: &mut Host,
        room: &Id,
        handle: HandleId,
        subscription: SubscriptionId,
        change: LayerChange,
    ) {
        let Ok((_, subscriber)) = self.subscriber(room, handle) else {
            return;
        };
        for line in &mut subscriber.lines {
            let Some(source) = &mut line.source else { continue };
            if source.subscription != Some(subscription) {
                continue;
            }
            if let Some((name, layer)) = source.layers.note(change) {
                tell(host, handle, room, &line.mid, name, layer);
            }
        }
    }
}

fn tell(host: &mut Host, handle: HandleId, room: &Id, mid: &str, name: &str, layer: u8) {
    let event = object([
        ("videoroom", Some(json!("event"))),
        ("room", Some(json!(room))),
        ("mid", Some(json!(mid))),
        (name, Some(json!(layer))),
    ]);
    host.push_event(handle, None, event, None);
}
