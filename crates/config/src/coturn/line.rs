//! Lines of a turnserver.conf: an option's long name, then blanks or `=`, then a value to the end of the line.

/// One option as it was given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Line {
    /// Line number, from 1.
    pub(super) number: u32,
    /// Long name of the option.
    pub(super) name: String,
    /// What follows; empty when the name stands alone. Quotes around it are taken off.
    pub(super) value: String,
}

/// All options of a file, in its order.
#[derive(Default, Debug)]
pub(super) struct Lines(Vec<Line>);

impl Lines {
    /// Reads a file. Blank lines and those that begin with `#` say nothing; a `#` further on belongs to the value. Lines
    /// that are not UTF-8 are given back by number.
    pub(super) fn read(text: &[u8]) -> (Self, Vec<u32>) {
        let (mut lines, mut unreadable) = (Vec::new(), Vec::new());
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            match std::str::from_utf8(line) {
                Ok(line) => lines.extend(read_line(number, line.trim_matches(is_blank))),
                Err(_) => unreadable.push(number),
            }
        }
        (Self(lines), unreadable)
    }

    /// Gives every line.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Line> {
        self.0.iter()
    }

    /// Gives the lines of an option.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Line> {
        self.0.iter().filter(move |line| line.name == name)
    }

    /// Gives the line of an option that counts: the last one.
    pub(super) fn last(&self, name: &str) -> Option<&Line> {
        self.0.iter().rev().find(|line| line.name == name)
    }

    /// Gives the value of an option that counts.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.last(name).map(|line| line.value.as_str())
    }

    /// Tells whether a switch is on.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.value(name).is_some_and(|value| switch(value) == Ok(true))
    }
}

/// Reads the value of a switch; a name that stands alone is on.
///
/// # Errors
/// With what is allowed.
pub(super) fn switch(value: &str) -> Result<bool, String> {
    let value = value.to_ascii_lowercase();
    match value.as_bytes() {
        [] | [b'1'..=b'9' | b'y' | b't', ..] | b"on" => Ok(true),
        [b'0' | b'n' | b'f', ..] | b"off" => Ok(false),
        _ => Err("on or off is expected".to_owned()),
    }
}

fn read_line(number: u32, line: &str) -> Option<Line> {
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let is_separator = |c: char| c == '=' || is_blank(c);
    let (name, value) = line.split_once(is_separator).unwrap_or((line, ""));
    let value = value.trim_start_matches(is_separator);
    let value = match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').unwrap_or(rest),
        None => value,
    };
    Some(Line {
        number,
        name: name.to_owned(),
        value: value.to_owned(),
    })
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\x0b' | '\x0c')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(u32, String, String)> {
        let (lines, _) = Lines::read(text.as_bytes());
        lines
            .iter()
            .map(|line| (line.number, line.name.clone(), line.value.clone()))
            .collect()
    }

    #[test]
    fn a_value_stands_behind_equals_signs_blanks_or_both_with_or_without_quotes() {
        for line in [
            "realm=a b",
            "  realm  a b\t",
            "realm\t=\ta b",
            "realm==a b\r",
            "realm = \"a b\"",
            "realm \"a b\" ",
        ] {
            assert_eq!(read(line), [(1, "realm".to_owned(), "a b".to_owned())], "{line}");
        }
        assert_eq!(read("realm=\"a\"b\"")[0].2, "a\"b");
        assert_eq!(read("user=a:b=c")[0].2, "a:b=c");
        assert_eq!(read("no-tls")[0].2, "");
    }

    #[test]
    fn only_a_line_that_begins_with_a_hash_is_a_comment() {
        let text = "# realm=a\n\n \t# realm=b\nrealm=c # d\r\n;x\n";
        let expected = [(4, "realm", "c # d"), (5, ";x", "")];
        assert_eq!(
            read(text),
            expected.map(|(number, name, value)| (number, name.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn a_switch_is_on_when_it_stands_alone_and_reads_what_people_write() {
        for on in ["", "on", "ON", "yes", "true", "True", "1"] {
            assert_eq!(switch(on), Ok(true), "{on}");
        }
        for off in ["off", "no", "false", "0", "False"] {
            assert_eq!(switch(off), Ok(false), "{off}");
        }
        assert!(switch("maybe").is_err() && switch("o").is_err());
    }

    #[test]
    fn of_several_lines_the_last_one_counts_and_what_is_not_text_is_named() {
        let (lines, unreadable) = Lines::read(b"realm=a\nuser=\xff:x\nrealm=b\nno-tls=off\n");
        assert_eq!((lines.value("realm"), unreadable), (Some("b"), vec![2]));
        assert_eq!(lines.all("realm").count(), 2);
        assert!(!lines.is_on("no-tls") && !lines.is_on("no-dtls"));
    }
}
