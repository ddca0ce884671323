//! Ids that clients choose or are given: of rooms, feeds, users.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::fields::{Field, FieldError, Fields, Type, check};
use crate::host::Host;

/// An id of a room or of somebody in it: a number, or with `string_ids` a text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Id {
    /// A number greater than zero.
    Number(u64),
    /// A text.
    Text(Arc<str>),
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl From<u64> for Id {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Id {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

/// Length of an id that is drawn where ids are texts; as many characters as the UUIDs that clients are used to.
const TEXT_LENGTH: usize = 36;

/// What ids of a plugin are.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Ids {
    #[default]
    Numbers,
    Texts,
}

impl Ids {
    /// Tells what a setting asks for.
    pub(crate) fn of(string_ids: bool) -> Self {
        if string_ids { Self::Texts } else { Self::Numbers }
    }

    /// Checks a table in which [`Type::Id`] stands for what ids are here.
    pub(crate) fn check(self, body: &Map<String, Value>, table: &[Field]) -> Result<(), FieldError> {
        table
            .iter()
            .try_for_each(|field| check(body, &[field.with_ids(self.r#type())]))
    }

    /// Reads an id that `check` has passed; zero and the empty text are none.
    pub(crate) fn read(self, body: &Map<String, Value>, name: &str) -> Option<Id> {
        match self {
            Self::Numbers => body.number(name).filter(|id| *id != 0).map(Id::Number),
            Self::Texts => body.text(name).filter(|id| !id.is_empty()).map(Id::from),
        }
    }

    /// Reads a required id that `check` has passed.
    pub(crate) fn read_required(self, body: &Map<String, Value>, name: &str) -> Id {
        self.read(body, name).unwrap_or_else(|| match self {
            Self::Numbers => Id::Number(0),
            Self::Texts => Id::from(""),
        })
    }

    /// Draws an id that is not taken.
    pub(crate) fn draw(self, host: &mut Host, is_taken: impl Fn(&Id) -> bool) -> Id {
        loop {
            let id = match self {
                Self::Numbers => Id::Number(host.new_api_id()),
                Self::Texts => Id::from(host.rng.token(TEXT_LENGTH).as_str()),
            };
            if !is_taken(&id) {
                return id;
            }
        }
    }

    fn r#type(self) -> Type {
        match self {
            Self::Numbers => Type::Unsigned,
            Self::Texts => Type::String,
        }
    }
}
