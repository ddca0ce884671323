//! YAML as a tree that remembers lines and keeps every scalar as the text that was written.
//!
//! Types are the keys' business: `1e5` is a password under one key and a number under another, so nothing is
//! resolved here.

use granit_parser::{Event, Parser, ScalarStyle, ScanError};

use crate::problem::{Place, Wrong};

/// Most nodes one file may have, aliases expanded; a settings file has hundreds.
const NODES_MAX: usize = 20_000;

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

/// The three shapes of a value.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// Text as written; `plain` when it had no quotes.
    Scalar { text: String, plain: bool },
    /// `[a, b]` or `- a`.
    List(Vec<Node>),
    /// `key: value`, in the order of the file.
    Map(Vec<Entry>),
}

/// One `key: value`.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) place: Place,
    pub(crate) node: Node,
}

impl Node {
    pub(crate) fn scalar(place: Place, text: &str) -> Self {
        let value = Value::Scalar {
            text: text.to_owned(),
            plain: true,
        };
        Self { place, value }
    }

    /// Tells whether nothing was written: `key:`, `key: ~`, `key: null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// Gives the scalar's text.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Tells whether two nodes say the same, places aside.
    pub(crate) fn same(&self, other: &Self) -> bool {
        match (&self.value, &other.value) {
            (Value::Scalar { text: a, .. }, Value::Scalar { text: b, .. }) => a == b,
            (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b)),
            (Value::Map(a), Value::Map(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.key == b.key && a.node.same(&b.node))
            }
            _ => false,
        }
    }
}

/// Parses a file to its top-level entries.
///
/// # Errors
/// With a place and a fix when the text is not YAML or its top is not a map.
pub(crate) fn parse(text: &str) -> Result<Vec<Entry>, Wrong> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let node = parse_node(text, None).map_err(|wrong| stray_line(text).unwrap_or(wrong))?;
    match node {
        None => Ok(Vec::new()),
        Some(node) if node.is_null() => Ok(Vec::new()),
        Some(Node {
            value: Value::Map(entries),
            ..
        }) => Ok(entries),
        Some(node) => Err(stray_line(text)
            .unwrap_or_else(|| wrong(node.place, "the file must be a list of `key: value` lines".to_owned()))),
    }
}

/// Parses the value of a `--set` that is written as a YAML flow, `[..]` or `{..}`.
pub(crate) fn parse_flow(text: &str) -> Result<Node, Wrong> {
    let node = parse_node(text, Some(Place::CommandLine))?;
    Ok(node.unwrap_or_else(|| Node::scalar(Place::CommandLine, "")))
}

fn parse_node(text: &str, place: Option<Place>) -> Result<Option<Node>, Wrong> {
    let mut builder = Builder {
        place,
        nodes: 0,
        open: Vec::new(),
        anchors: Vec::new(),
        root: None,
    };
    for next in Parser::new_from_str(text) {
        let (event, span) = next.map_err(|error| syntax(&error, place))?;
        let place = place.unwrap_or(Place::Line(span.start.line()));
        builder.event(event, place)?;
    }
    Ok(builder.root)
}

fn syntax(error: &ScanError, place: Option<Place>) -> Wrong {
    let place = place.unwrap_or(Place::Line(error.marker().line()));
    wrong(place, format!("this is not valid YAML: {}", error.info()))
}

/// Finds a line that begins at column 0 and is no `key:`: the continuation of a long value, printed on a line of its
/// own, as the guide does with `redis_userdb`. YAML parsers blame it with words that help nobody.
fn stray_line(text: &str) -> Option<Wrong> {
    let stray = |line: &str| {
        let first = line.chars().next()?;
        let is_key = line.contains(": ") || line.trim_end().ends_with(':');
        (first.is_alphanumeric() && !is_key).then(|| line.trim_end().to_owned())
    };
    text.lines().enumerate().skip(1).find_map(|(index, line)| {
        let line = stray(line)?;
        let shown = line.split_once("password=").map_or(line.as_str(), |(head, _)| head);
        let text = format!(
            "the line `{shown}` stands at column 0 and is no `key: value`; if it continues the value above, \
             indent it by two blanks or write it at the end of that line"
        );
        Some(wrong(Place::Line(index + 1), text))
    })
}

fn wrong(place: Place, text: String) -> Wrong {
    Wrong {
        place,
        value: String::new(),
        text,
    }
}

/// A collection whose end has not come yet.
struct Open {
    place: Place,
    anchor: usize,
    value: Value,
    key: Option<(String, Place)>,
}

struct Builder {
    place: Option<Place>,
    nodes: usize,
    open: Vec<Open>,
    anchors: Vec<(usize, Node)>,
    root: Option<Node>,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, place: Place) -> Result<(), Wrong> {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let value = Value::Scalar {
                    text: text.into_owned(),
                    plain: style == ScalarStyle::Plain,
                };
                self.complete(Node { place, value }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                self.begin(Value::List(Vec::new()), place, anchor);
                Ok(())
            }
            Event::MappingStart(_, anchor, _) => {
                self.begin(Value::Map(Vec::new()), place, anchor);
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => self.complete(
                    Node {
                        place: open.place,
                        value: open.value,
                    },
                    open.anchor,
                ),
                None => Ok(()),
            },
            Event::Alias(id) => {
                let target = self.anchors.iter().rev().find(|(anchor, _)| *anchor == id);
                let node = target.map(|(_, node)| node.clone());
                self.complete(node.unwrap_or_else(|| Node::scalar(place, "")), 0)
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, value: Value, place: Place, anchor: usize) {
        self.open.push(Open {
            place,
            anchor,
            value,
            key: None,
        });
    }

    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), Wrong> {
        self.nodes += weight(&node);
        if self.nodes > NODES_MAX {
            return Err(wrong(node.place, format!("the file has more than {NODES_MAX} values")));
        }
        if anchor != 0 {
            self.anchors.push((anchor, node.clone()));
        }
        let Some(open) = self.open.last_mut() else {
            // A second document in the same file would be lost without a word.
            if self.root.is_some() {
                return Err(wrong(
                    node.place,
                    "a second document begins here (`---`); keep one".to_owned(),
                ));
            }
            self.root = Some(node);
            return Ok(());
        };
        match (&mut open.value, open.key.take()) {
            (Value::List(items), _) => items.push(node),
            (Value::Map(entries), Some((key, place))) => entries.push(Entry { key, place, node }),
            (Value::Map(_), None) => {
                let place = self.place.unwrap_or(node.place);
                let key = node
                    .text()
                    .ok_or_else(|| wrong(place, "a key must be a plain word".to_owned()))?;
                open.key = Some((key.to_owned(), place));
            }
            (Value::Scalar { .. }, _) => {}
        }
        Ok(())
    }
}

/// Counts the values of a node, aliases expanded. Nested ones are counted once a level, which only tightens the bound.
fn weight(node: &Node) -> usize {
    match &node.value {
        Value::Scalar { .. } => 1,
        Value::List(items) => 1 + items.iter().map(weight).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|entry| weight(&entry.node)).sum::<usize>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_keep_the_text_that_was_written() {
        let entries = parse("a: 1.2.3.4\nb: 0123\nc: 1e5\nd: 'no'\ne: yes\nf: 0x1F\n").unwrap();
        let texts: Vec<_> = entries.iter().map(|entry| entry.node.text().unwrap()).collect();
        assert_eq!(texts, ["1.2.3.4", "0123", "1e5", "no", "yes", "0x1F"]);
    }

    #[test]
    fn lines_are_counted_from_one() {
        let entries = parse("# comment\na: 1\nb:\n  - x\n  - y\n").unwrap();
        let Value::List(items) = &entries[1].node.value else {
            panic!("b is a list")
        };
        assert_eq!((entries[0].place, items[1].place), (Place::Line(2), Place::Line(5)));
    }

    #[test]
    fn a_value_continued_on_an_indented_line_is_one_string() {
        let entries = parse("redis_userdb: ip=localhost password=x dbname=1\n  port=6379\n").unwrap();
        assert_eq!(
            entries[0].node.text(),
            Some("ip=localhost password=x dbname=1 port=6379")
        );
    }

    #[test]
    fn a_value_continued_at_column_0_is_named_with_its_line_and_the_fix() {
        let error = parse("a: 1\nredis_userdb: ip=localhost dbname=1\nport=6379\nb: 2\n").unwrap_err();
        assert_eq!(error.place, Place::Line(3));
        assert!(
            error.text.contains("`port=6379`") && error.text.contains("indent"),
            "{}",
            error.text
        );
    }

    #[test]
    fn aliases_that_multiply_are_bounded() {
        let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for n in 1..12 {
            let items = vec![format!("*a{}", n - 1); 10].join(",");
            text.push_str(&format!("a{n}: &a{n} [{items}]\n"));
        }
        assert!(parse(&text).unwrap_err().text.contains("more than"));
    }
}
