//! Fields of plugin requests: presence and type, checked in the order of a table, with the texts that clients know.

use std::fmt;

use serde_json::{Map, Value};

/// Type that a field must have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Type {
    String,
    Integer,
    /// An integer from zero on; `positive` in the texts.
    Unsigned,
    Boolean,
    Array,
    Object,
    /// An id of the plugin: `Ids::check` says what it must be.
    Id,
}

impl Type {
    fn text(self) -> &'static str {
        match self {
            Self::String => "a string",
            Self::Integer => "an integer",
            Self::Unsigned | Self::Id => "a positive integer",
            Self::Boolean => "a boolean",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }

    pub(crate) fn is_type_of(self, value: &Value) -> bool {
        match self {
            Self::String => value.is_string(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Unsigned | Self::Id => value.is_u64(),
            Self::Boolean => value.is_boolean(),
            Self::Array => value.is_array(),
            Self::Object => value.is_object(),
        }
    }
}

/// One row of a table of fields.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    name: &'static str,
    r#type: Type,
    required: bool,
}

impl Field {
    /// Puts what ids are in place of [`Type::Id`].
    pub(crate) fn with_ids(self, ids: Type) -> Self {
        let r#type = match self.r#type {
            Type::Id => ids,
            other => other,
        };
        Self { r#type, ..self }
    }
}

/// Names a field that must be there.
pub(crate) const fn required(name: &'static str, r#type: Type) -> Field {
    Field {
        name,
        r#type,
        required: true,
    }
}

/// Names a field that may be absent.
pub(crate) const fn optional(name: &'static str, r#type: Type) -> Field {
    Field {
        name,
        r#type,
        required: false,
    }
}

/// What is wrong with a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FieldError {
    Missing(&'static str),
    WrongType(&'static str, Type),
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => write!(f, "Missing mandatory element ({name})"),
            Self::WrongType(name, should_be) => {
                write!(f, "Invalid element type ({name} should be {})", should_be.text())
            }
        }
    }
}

/// Checks the fields of a table; fields that are not in it are ignored.
pub(crate) fn check(body: &Map<String, Value>, table: &[Field]) -> Result<(), FieldError> {
    for field in table {
        match body.get(field.name) {
            None if field.required => return Err(FieldError::Missing(field.name)),
            Some(value) if !field.r#type.is_type_of(value) => {
                return Err(FieldError::WrongType(field.name, field.r#type));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Readers of fields that `check` has passed; an absent field is `None`.
pub(crate) trait Fields {
    fn text(&self, name: &str) -> Option<&str>;
    fn number(&self, name: &str) -> Option<u64>;
    fn flag(&self, name: &str) -> Option<bool>;
    fn list(&self, name: &str) -> Option<&Vec<Value>>;

    /// Reads a number as 32 bits; larger ones become the largest.
    fn number32(&self, name: &str) -> Option<u32> {
        self.number(name).map(|n| u32::try_from(n).unwrap_or(u32::MAX))
    }
}

impl Fields for Map<String, Value> {
    fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.as_u64()
    }

    fn flag(&self, name: &str) -> Option<bool> {
        self.get(name)?.as_bool()
    }

    fn list(&self, name: &str) -> Option<&Vec<Value>> {
        self.get(name)?.as_array()
    }
}
