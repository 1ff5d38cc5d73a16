//! The producer snapshots: each by itself, and those taken where the log was read against what it says.

use std::path::Path;

use logstead::log::{ProducerEntry, SegmentFile, decode_producer_snapshot};
use logstead::types::Offset;

use super::files;
use super::log::LogWalk;
use super::promise::Promise;
use super::report::{Findings, Spot};

/// Differences of one snapshot that are told; a few say it all.
const DIFFERENCES_MAX: usize = 10;

/// Checks a snapshot by itself, and that the log reaches it.
pub(crate) fn check(findings: &mut Findings, folder: &Path, offset: Offset, promise: &Promise, log_end: Offset) {
    let path = folder.join(SegmentFile::Snapshot.name(offset));
    let Some(bytes) = files::read(findings, &path) else { return };
    match decode_producer_snapshot(&bytes) {
        Err(error) => files::damaged(findings, "snapshot", &path, &error),
        Ok(producers) => {
            for producer in producers {
                let last = producer.last_batch().map(|batch| batch.last_offset);
                if last.max(producer.current_txn_first_offset).is_some_and(|last| last >= offset) {
                    let what =
                        format!("producer {} is said to have written at or above {offset}", producer.producer_id);
                    findings.damage("snapshot", Spot::of(&path), what);
                }
            }
        }
    }
    if offset > log_end.max(promise.end) {
        let what = format!("it stands for offset {offset}; the log ends at {log_end}");
        findings.found(!promise.may_be_open, "snapshot", Spot::of(&path).offsets(log_end, offset), what);
    }
}

/// Compares the snapshot at `offset`, which the walk has just reached. Without every batch from offset 0 on, the log
/// does not say what has to be in it.
pub(crate) fn compare(findings: &mut Findings, folder: &Path, offset: Offset, log: &LogWalk) {
    let is_known = log.producers.is_complete && log.end().unwrap_or(Offset::ZERO) == offset;
    if !is_known {
        return;
    }
    let path = folder.join(SegmentFile::Snapshot.name(offset));
    // The file is counted, and what is wrong with it by itself told, with the other snapshots.
    let bytes = files::read(&mut Findings::default(), &path);
    let entries = bytes.and_then(|bytes| decode_producer_snapshot(&bytes).ok());
    let reaches_beyond = |entry: &ProducerEntry| {
        entry.last_batch().map(|batch| batch.last_offset).max(entry.current_txn_first_offset) >= Some(offset)
    };
    let Some(entries) = entries.filter(|entries| !entries.iter().any(reaches_beyond)) else { return };
    for what in log.producers.differences(&entries).into_iter().take(DIFFERENCES_MAX) {
        findings.damage("snapshot", Spot::of(&path), what);
    }
}
