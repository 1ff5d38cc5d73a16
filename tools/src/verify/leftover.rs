//! What an unfinished operation has left, and what is not known at all. Neither is damage.

use std::path::Path;

use logstead::Error;
use logstead::log::{BatchScanner, decode_redo};
use logstead::storage::{DirEntry, EntryKind};
use logstead::types::Offset;

use super::files::{self, Opened};
use super::report::{Findings, Spot};

/// Endings of names, and what they mean.
const FILE_ENDINGS: [(&str, &str); 6] = [
    (".deleted", "it is logically gone and waits to be removed"),
    (".cleaned", "compaction was writing it"),
    (".swap", "compaction had finished it and not yet put it in its place"),
    (".tmp", "it was being published"),
    (".part", "it was being received"),
    (".orig", "an older version kept it"),
];
const FOLDER_ENDINGS: [(&str, &str); 3] = [
    ("-delete", "the partition was deleted; its files are not looked at"),
    ("-stray", "a broker did not know the partition any more; its files are not looked at"),
    ("-future", "the partition was being moved; its files are not looked at"),
];

/// Notes an entry that is none of the files that a folder needs.
pub(crate) fn note(findings: &mut Findings, path: &Path, entry: &DirEntry) {
    let endings: &[(&str, &str)] = match entry.kind {
        EntryKind::File => &FILE_ENDINGS,
        EntryKind::Dir => &FOLDER_ENDINGS,
        EntryKind::Other => &[],
    };
    match endings.iter().find(|(ending, _)| entry.name.ends_with(ending)) {
        Some((_, what)) => findings.note("leftover", Spot::of(path), *what),
        None => {
            findings.note("unknown", Spot::of(path), "neither Kafka nor logstead has such a name; it is not looked at")
        }
    }
}

/// A tail that recovery was writing again.
pub(crate) fn check_redo(findings: &mut Findings, path: &Path) {
    let Some(bytes) = files::read(findings, path) else { return };
    match decode_redo(&bytes) {
        Ok(redo) => {
            let what = format!("recovery was writing {} bytes at position {} again", redo.tail.len(), redo.position);
            findings.note("leftover", Spot::of(path), what);
        }
        Err(error) => files::damaged(findings, "redo", path, &error),
    }
}

/// Bytes that recovery has cut off; damage in them is why they were.
pub(crate) fn check_cut(findings: &mut Findings, path: &Path) {
    let Some(Opened { file, len }) = files::open(findings, path) else { return };
    let mut scanner = BatchScanner::new(file, 0, len);
    let mut intact = 0_u64;
    loop {
        match scanner.next_batch() {
            Ok(Some(_)) => intact += 1,
            Ok(None) => break,
            Err(Error::Corrupt(_) | Error::InvalidRecord { .. }) => {
                match scanner.skip_damage(Offset::ZERO, Offset::MAX) {
                    Ok(true) => {}
                    Ok(false) | Err(_) => break,
                }
            }
            Err(error) => {
                findings.damage("unreadable", Spot::of(path), error.to_string());
                return;
            }
        }
    }
    let what = format!("recovery cut {len} bytes off, with {intact} intact batches in them");
    findings.note("leftover", Spot::of(path), what);
}
