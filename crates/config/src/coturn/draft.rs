//! Settings as they are gathered, and how they are written: in the order of the key table, each with its source lines.

use std::fmt::Write as _;

use crate::key;

/// Settings to be written.
#[derive(Default, Debug)]
pub(super) struct Draft(Vec<Setting>);

/// One key with its value.
#[derive(Debug)]
struct Setting {
    key: &'static str,
    value: Value,
    /// Where it comes from.
    sources: Vec<String>,
}

/// A value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Value {
    /// `true` or `false`.
    Switch(bool),
    /// A whole number.
    Number(u64),
    /// Whole numbers.
    Numbers(Vec<u64>),
    /// Any text; quoted when it is written.
    Text(String),
    /// Texts.
    List(Vec<String>),
    /// Texts by name.
    Map(Vec<(String, String)>),
}

impl Draft {
    /// Sets a key, or adds to what is there when it is a list or a map.
    ///
    /// # Errors
    /// When this program has no such key.
    pub(super) fn set(&mut self, name: &str, value: Value, source: String) -> Result<(), String> {
        let key = key::KEYS.iter().find(|key| key.name == name);
        let key = key.ok_or_else(|| format!("this version has no {name}"))?.name;
        let Some(known) = self.0.iter_mut().find(|setting| setting.key == key) else {
            self.0.push(Setting {
                key,
                value,
                sources: vec![source],
            });
            return Ok(());
        };
        match (&mut known.value, value) {
            (Value::List(known), Value::List(more)) => {
                let fresh: Vec<_> = more.into_iter().filter(|item| !known.contains(item)).collect();
                known.extend(fresh);
            }
            (Value::Map(known), Value::Map(more)) => {
                for (name, value) in more {
                    known.retain(|(other, _)| *other != name);
                    known.push((name, value));
                }
            }
            (known, value) => *known = value,
        }
        known.sources.push(source);
        Ok(())
    }

    /// Gives what a key was set to.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0
            .iter()
            .find(|setting| setting.key == name)
            .map(|setting| &setting.value)
    }

    /// Takes names out of a map: they stand in another one now.
    pub(super) fn remove_entry(&mut self, name: &str, entry: &str) {
        for setting in self.0.iter_mut().filter(|setting| setting.key == name) {
            if let Value::Map(entries) = &mut setting.value {
                entries.retain(|(known, _)| known != entry);
            }
        }
    }

    /// Writes YAML.
    pub(super) fn write(&self) -> String {
        let mut text = String::new();
        let mut open: Vec<&str> = Vec::new();
        for setting in key::KEYS
            .iter()
            .filter_map(|key| self.0.iter().find(|setting| setting.key == key.name))
        {
            if matches!(&setting.value, Value::Map(entries) if entries.is_empty()) {
                continue;
            }
            let path: Vec<&str> = setting.key.split('.').collect();
            let (name, sections) = path.split_last().expect("a key has a name");
            let shared = open.iter().zip(sections).take_while(|(a, b)| a == b).count();
            open.truncate(shared);
            for section in &sections[shared..] {
                line(&mut text, open.len(), &format!("{section}:"), "");
                open.push(section);
            }
            setting.write(&mut text, open.len(), name);
        }
        text
    }
}

impl Setting {
    fn write(&self, text: &mut String, depth: usize, name: &str) {
        let comment = format!("  # {}", self.sources.join(", "));
        match &self.value {
            Value::Switch(on) => line(text, depth, &format!("{name}: {on}"), &comment),
            Value::Number(number) => line(text, depth, &format!("{name}: {number}"), &comment),
            Value::Text(value) => line(text, depth, &format!("{name}: {}", quoted(value)), &comment),
            Value::Numbers(numbers) => line(text, depth, &format!("{name}: {numbers:?}"), &comment),
            Value::List(items) if items.is_empty() => line(text, depth, &format!("{name}: []"), &comment),
            Value::List(items) => {
                line(text, depth, &format!("{name}:"), &comment);
                for item in items {
                    line(text, depth + 1, &format!("- {}", quoted(item)), "");
                }
            }
            Value::Map(entries) => {
                line(text, depth, &format!("{name}:"), &comment);
                for (entry, value) in entries {
                    line(text, depth + 1, &format!("{}: {}", quoted(entry), quoted(value)), "");
                }
            }
        }
    }
}

fn line(text: &mut String, depth: usize, content: &str, comment: &str) {
    for _ in 0..depth {
        text.push_str("  ");
    }
    text.push_str(content);
    text.push_str(comment);
    text.push('\n');
}

/// Writes a text as YAML's double-quoted scalar.
fn quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => {
                text.push('\\');
                text.push(c);
            }
            ' '..='~' => text.push(c),
            c if c.is_alphanumeric() => text.push(c),
            c => write!(text, "\\U{:08x}", u32::from(c)).expect("writing to a string cannot fail"),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_nested_in_the_order_of_the_table_whatever_order_they_came_in() {
        let mut draft = Draft::default();
        let mut set = |key: &str, value| draft.set(key, value, format!("for {key}")).unwrap();
        set("workers", Value::Number(4));
        set("turn.users.secrets", Value::List(vec!["a\"\\\u{7f}б".to_owned()]));
        set("turn.listen", Value::List(vec!["192.0.2.1".to_owned()]));
        set(
            "turn.listen",
            Value::List(vec!["192.0.2.1".to_owned(), "192.0.2.2".to_owned()]),
        );
        set("turn.realm", Value::Text("r".to_owned()));
        assert_eq!(
            draft.write(),
            "turn:\n  listen:  # for turn.listen, for turn.listen\n    - \"192.0.2.1\"\n    - \"192.0.2.2\"\n  \
             realm: \"r\"  # for turn.realm\n  users:\n    secrets:  # for turn.users.secrets\n      \
             - \"a\\\"\\\\\\U0000007fб\"\nworkers: 4  # for workers\n"
        );
    }

    #[test]
    fn a_key_that_does_not_exist_cannot_be_written() {
        let set = Draft::default().set("turn.nothing", Value::Switch(true), String::new());
        assert_eq!(set, Err("this version has no turn.nothing".to_owned()));
    }
}
