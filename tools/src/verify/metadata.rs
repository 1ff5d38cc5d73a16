//! The files that only a metadata log has: snapshots of it (`.checkpoint`) and the state of its quorum.

use std::path::Path;

use logstead::log::BatchScanner;
use logstead::storage::{DirEntry, EntryKind};

use super::batch::BatchReader;
use super::files::{self, Opened};
use super::report::{Findings, Spot};

const QUORUM_STATE: &str = "quorum-state";
/// Digits of the offset, a dash, digits of the epoch.
const SNAPSHOT_NAME: (usize, usize) = (20, 10);

/// Checks a file of a metadata log; `false` when the name is none of its.
pub(crate) fn check(findings: &mut Findings, path: &Path, entry: &DirEntry) -> bool {
    if entry.kind != EntryKind::File {
        return false;
    }
    if entry.name == QUORUM_STATE {
        check_quorum_state(findings, path);
        return true;
    }
    if is_snapshot(&entry.name) {
        check_snapshot(findings, path);
        return true;
    }
    false
}

fn is_snapshot(name: &str) -> bool {
    let digits = |text: &str, len: usize| text.len() == len && text.bytes().all(|byte| byte.is_ascii_digit());
    let stem = name.strip_suffix(".checkpoint").and_then(|stem| stem.split_once('-'));
    stem.is_some_and(|(offset, epoch)| digits(offset, SNAPSHOT_NAME.0) && digits(epoch, SNAPSHOT_NAME.1))
}

fn check_quorum_state(findings: &mut Findings, path: &Path) {
    let Some(bytes) = files::read(findings, path) else { return };
    let is_object = matches!(serde_json::from_slice(&bytes), Ok(serde_json::Value::Object(_)));
    if !is_object {
        findings.damage("quorum-state", Spot::of(path), "it is not a JSON object");
    }
}

/// A file of batches that was published as a whole: all of them must be intact, one behind the other.
pub(crate) fn check_snapshot(findings: &mut Findings, path: &Path) {
    let Some(Opened { file, len }) = files::open(findings, path) else { return };
    let mut scanner = BatchScanner::new(file, 0, len);
    let mut reader = BatchReader::new(path);
    let mut expected = None;
    loop {
        match scanner.next_batch() {
            Ok(None) => return,
            Ok(Some(batch)) => {
                reader.read(findings, &batch);
                let (first, next) = (batch.header.base_offset(), batch.header.next_offset());
                if let Some(expected) = expected.replace(next).filter(|expected| *expected != first) {
                    let what = format!("offset {first} where {expected} was expected");
                    findings.damage("offset", Spot::at(path, batch.position).offsets(first, next), what);
                }
            }
            Err(error) => {
                let what = files::position_and_text(&error).1;
                findings.damage("batch", Spot::at(path, scanner.position()), what);
                return;
            }
        }
    }
}
