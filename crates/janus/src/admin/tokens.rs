//! Stored tokens: added, limited to plugins, shown, removed.

use serde_json::{Map, Value, json};

use super::{Rest, one};
use crate::auth::TOKENS_MAX;
use crate::error::{Code, Error};
use crate::gateway::Gateway;
use crate::plugin::Kind;
use crate::plugin::fields::{Field, Fields, Type, check, optional, required};
use crate::request::NAME_BYTES_MAX;

const TOKEN: [Field; 1] = [required("token", Type::String)];
const TOKEN_AND_PLUGINS: [Field; 2] = [required("token", Type::String), optional("plugins", Type::Array)];

impl Gateway {
    pub(super) fn token_request(&mut self, verb: &str, members: &Map<String, Value>) -> Result<Rest, Error> {
        let Some(tokens) = self.host.auth.stored() else {
            return Err(Error::new(Code::Unknown, "Stored-Token based authentication disabled"));
        };
        match verb {
            "list_tokens" => {
                // One without plugins opens the API all the same.
                let shown: Vec<_> = tokens
                    .iter()
                    .map(|(token, plugins)| json!({"token": token, "allowed_plugins": packages(plugins)}))
                    .collect();
                return Ok(one("data", json!({ "tokens": shown })));
            }
            "remove_token" => {
                check(members, &TOKEN)?;
                let removed = tokens.remove(members.text("token").unwrap_or_default());
                let failed = || Error::new(Code::Unknown, "Error removing token");
                return removed.map(|_| Rest::new()).ok_or_else(failed);
            }
            _ => check(members, &TOKEN_AND_PLUGINS)?,
        }
        let is_new = verb == "add_token";
        let listed = members.list("plugins").filter(|plugins| !plugins.is_empty());
        if !is_new && listed.is_none() {
            return Err(Error::wrong_type("plugins", "a non-empty array"));
        }
        let token = members.text("token").unwrap_or_default();
        if is_new && token.len() > NAME_BYTES_MAX {
            return Err(Error::wrong_type("token", "at most 1024 bytes long"));
        }
        if is_new && tokens.len() >= TOKENS_MAX && !tokens.contains_key(token) {
            return Err(Error::new(Code::Unknown, "Error adding token"));
        }
        if !is_new && !tokens.contains_key(token) {
            return Err(Error::new(Code::TokenNotFound, format!("Token {token} not found")));
        }
        let named = match listed {
            Some(listed) => plugins(listed, is_new)?,
            None => Kind::ALL.to_vec(),
        };
        let allowed = tokens.entry(token.to_owned()).or_default();
        if verb == "disallow_token" {
            allowed.retain(|plugin| !named.contains(plugin));
        } else {
            let fresh: Vec<_> = named.into_iter().filter(|plugin| !allowed.contains(plugin)).collect();
            allowed.extend(fresh);
        }
        Ok(one("data", json!({ "plugins": packages(allowed) })))
    }
}

/// Reads the plugins of a list; what is none is left out of a new token, and refused otherwise.
fn plugins(listed: &[Value], is_new: bool) -> Result<Vec<Kind>, Error> {
    let known: Vec<_> = listed
        .iter()
        .map(|item| item.as_str().and_then(Kind::of_package))
        .collect();
    if !is_new && known.iter().any(Option::is_none) {
        let text = "Invalid element type (some of the provided plugins are invalid)";
        return Err(Error::new(Code::InvalidElementType, text));
    }
    Ok(known.into_iter().flatten().collect())
}

fn packages(plugins: &[Kind]) -> Vec<&'static str> {
    plugins.iter().map(|plugin| plugin.about().package).collect()
}
