//! What the recorder is told, and where recordings may be.

use std::path::{Component, Path, PathBuf};

use voex_base::{SocketId, WallTime};
use voex_sfu::command::MediaKind;

/// An order to the recorder. Packets come to it by the id of the recording, from the media workers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RecorderOrder {
    /// Keep what comes for a recording.
    Open(Box<RecordingSpec>),
    /// Nothing more is to be kept; packets of the last moment may still be on their way.
    Close(SocketId),
}

/// A recording of one stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordingSpec {
    /// Its id, which is a [recording's](SocketId::recording).
    pub id: SocketId,
    /// The file below the folder of recordings, without `.mjr`; goes nowhere else.
    pub path: PathBuf,
    /// What it is of.
    pub kind: MediaKind,
    /// The codec by its name in the API.
    pub codec: &'static str,
    /// Format parameters of the codec.
    pub fmtp: Option<String>,
    /// RTP header extensions that packets carry, as (id, URI).
    pub extensions: Vec<(u8, &'static str)>,
    /// When it was ordered.
    pub created: WallTime,
    /// The media is encrypted end to end.
    pub is_encrypted: bool,
}

/// Longest path below the folder of recordings, and longest name in it, in bytes; a number and `.mjr` still fit behind.
const PATH_BYTES_MAX: usize = 1_024;
const NAME_BYTES_MAX: usize = 200;

/// Gives where a path of the API lies below `root`; `None` when it leaves it, or no file system should be bothered with it.
///
/// A path that begins at the root of the file system has to name `root` itself.
pub(crate) fn path_within(root: &Path, path: &str) -> Option<PathBuf> {
    let is_clean = path.len() <= PATH_BYTES_MAX && !path.contains(char::is_control);
    let path = Path::new(path);
    let below = if path.has_root() {
        path.strip_prefix(root).ok()?
    } else {
        path
    };
    let mut within = PathBuf::new();
    for component in below.components() {
        match component {
            Component::Normal(name) if name.len() <= NAME_BYTES_MAX => within.push(name),
            Component::CurDir => {}
            _ => return None,
        }
    }
    is_clean.then_some(within)
}

/// Makes a text of the API fit to be part of a file's name.
pub(crate) fn name_part(text: &str) -> String {
    let kept = |c: char| if c.is_alphanumeric() || c == '-' { c } else { '_' };
    text.chars().take(NAME_PART_CHARACTERS_MAX).map(kept).collect()
}

/// Two of these and what stands around them stay below [`NAME_BYTES_MAX`], with four bytes for each.
const NAME_PART_CHARACTERS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn within(path: &str) -> Option<String> {
        let within = path_within(Path::new("/srv/rec"), path)?;
        Some(within.to_str().expect("UTF-8").to_owned())
    }

    #[test]
    fn paths_below_the_folder_are_taken_and_no_other() {
        assert_eq!(within("").as_deref(), Some(""));
        assert_eq!(within("a").as_deref(), Some("a"));
        assert_eq!(within("./a//b/").as_deref(), Some("a/b"));
        assert_eq!(within("/srv/rec").as_deref(), Some(""));
        assert_eq!(within("/srv/rec/2026/x").as_deref(), Some("2026/x"));
        let longest = "n".repeat(NAME_BYTES_MAX);
        assert_eq!(within(&longest), Some(longest.clone()));
        let long_path = "n/".repeat(PATH_BYTES_MAX);
        let long_name = longest + "n";
        for outside in [
            "..",
            "../x",
            "a/../../x",
            "a/..",
            "/",
            "/etc/passwd",
            "/srv/recordings",
            "/srv/rec/../x",
            "/srv/rec/a/../../../etc/x",
            "a\0b",
            "a\nb",
            &long_name,
            &long_path,
        ] {
            assert_eq!(within(outside), None, "{outside:?}");
        }
    }

    #[test]
    fn ids_that_are_texts_make_names_without_separators() {
        assert_eq!(name_part("1234"), "1234");
        assert_eq!(name_part("../../etc/x"), "______etc_x");
        assert_eq!(name_part(&"ж".repeat(100)).chars().count(), NAME_PART_CHARACTERS_MAX);
    }
}
