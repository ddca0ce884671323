//! `voex mjr`: what recordings hold, and other files out of them.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use voex_mjr::{Found, Header, Kind, OpenError, Reader, Target, convert, inspect, repair};

use crate::cli;

/// Runs the command. Exit code 1 when something could not be read or written.
pub(crate) fn mjr(args: &cli::Mjr) -> ExitCode {
    let done = match &args.out {
        Some(out) => write(args, out),
        None if args.repair => Err("--repair needs --out FILE.mjr".to_owned()),
        None => args.files.iter().try_for_each(describe),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("error: {text}");
            ExitCode::FAILURE
        }
    }
}

fn write(args: &cli::Mjr, out: &Path) -> Result<(), String> {
    let readers: Result<Vec<_>, _> = args.files.iter().map(open).collect();
    let mut readers = readers?;
    if args.info {
        args.files.iter().try_for_each(describe)?;
    }
    let extension = out.extension().and_then(|extension| extension.to_str());
    let target = match extension.map(str::to_ascii_lowercase).as_deref() {
        Some("webm" | "mkv" | "mka") => Some(Target::Matroska),
        Some("opus" | "ogg") => Some(Target::OggOpus),
        Some("wav") => Some(Target::Wav),
        Some("mjr") => None,
        _ => {
            return Err(format!(
                "{}: the name tells what it shall be: .webm, .mkv, .opus, .wav, or .mjr for a repair",
                out.display()
            ));
        }
    };
    match (target, readers.len()) {
        (Some(target), _) => write_whole(out, |file| {
            let found = convert(readers, target, file).map_err(|error| error.to_string())?;
            for (file, found) in args.files.iter().zip(found) {
                eprintln!("{}: {}", file.display(), counts(&found));
            }
            Ok(())
        }),
        (None, 1) => write_whole(out, |file| {
            let reader = readers.pop().ok_or("there is no recording")?;
            let (records, skipped) = repair(reader, file).map_err(|error| error.to_string())?;
            eprintln!("{}: {records} packets, {skipped} bytes left out", out.display());
            Ok(())
        }),
        (None, _) => Err("a repair takes one recording".to_owned()),
    }
}

/// Writes a new file; one that could not be finished is removed again.
fn write_whole(path: &Path, action: impl FnOnce(&mut BufWriter<File>) -> Result<(), String>) -> Result<(), String> {
    let named = |error: String| format!("{}: {error}", path.display());
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = BufWriter::new(file.map_err(|error| named(error.to_string()))?);
    let done = action(&mut file).and_then(|()| finish(file).map_err(|error| error.to_string()));
    done.map_err(|error| {
        // Nobody is helped by half a file.
        let _ = fs::remove_file(path);
        named(error)
    })
}

fn finish<W: Write + Seek>(mut file: W) -> std::io::Result<()> {
    file.flush()
}

fn open(path: &PathBuf) -> Result<Reader<File>, String> {
    let named = |error: String| format!("{}: {error}", path.display());
    let file = File::open(path).map_err(|error| named(error.to_string()))?;
    Reader::new(file).map_err(|error| {
        named(match error {
            OpenError::Io(error) => error.to_string(),
            OpenError::NoRecording => "this is no recording of version 2".to_owned(),
            OpenError::Header => "the header is damaged: it does not say what the recording is of".to_owned(),
        })
    })
}

#[expect(clippy::print_stdout, reason = "what the command is asked for")]
fn describe(path: &PathBuf) -> Result<(), String> {
    let reader = open(path)?;
    println!("{}: {}", path.display(), what(reader.header()));
    match inspect(reader) {
        Ok(found) => println!("  {}", counts(&found)),
        Err(error) => println!("  {error}"),
    }
    Ok(())
}

fn what(header: &Header) -> String {
    let kind = match header.kind {
        Kind::Audio => "audio",
        Kind::Video => "video",
        Kind::Data => "data",
    };
    let fmtp = header
        .fmtp
        .as_ref()
        .map(|fmtp| format!(" ({fmtp})"))
        .unwrap_or_default();
    let encrypted = if header.is_encrypted {
        ", encrypted end to end"
    } else {
        ""
    };
    let began_s = header.first_us / 1_000_000;
    format!(
        "{kind}, {}{fmtp}{encrypted}, began {began_s} s after 1970",
        header.codec
    )
}

fn counts(found: &Found) -> String {
    format!(
        "{}.{:03} s, {} packets, {} lost, {} not used, {} frames left out, {} bytes damaged",
        found.length_ms / 1_000,
        found.length_ms % 1_000,
        found.packets,
        found.lost,
        found.unused,
        found.incomplete_frames,
        found.skipped_bytes
    )
}
