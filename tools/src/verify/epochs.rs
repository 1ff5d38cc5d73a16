//! The leader epochs of the batches against `leader-epoch-checkpoint`.
//!
//! A batch's epoch lies outside its checksum and the file has none: when they differ, the other batches tell which is
//! wrong.

use std::path::{Path, PathBuf};

use logstead::log::{EpochCache, EpochEntry, decode_epoch_checkpoint};
use logstead::record::BatchHeader;
use logstead::types::{LeaderEpoch, Offset};

use super::files;
use super::promise::Promise;
use super::report::{Findings, Spot};

pub(crate) const EPOCH_FILE: &str = "leader-epoch-checkpoint";

/// Batches that differ and are remembered.
const DIFFERENT_MAX: usize = 1000;

/// The epoch history and how the batches agree with it.
#[derive(Debug)]
pub(crate) struct Epochs {
    path: PathBuf,
    /// Empty when there is no file, or a damaged one.
    history: EpochCache,
    /// Batches that agree, by entry of the history.
    agreeing: Vec<u64>,
    /// The first offset of the last batch that agrees, by entry of the history.
    last_agreeing: Vec<Option<Offset>>,
    different: Vec<Different>,
    latest: Option<LeaderEpoch>,
    /// Entries whose start lies inside a batch.
    inside: Vec<EpochEntry>,
}

/// A batch whose epoch is not that of the history.
#[derive(Debug)]
struct Different {
    path: PathBuf,
    position: u64,
    offsets: (Offset, Offset),
    found: Option<LeaderEpoch>,
    /// The entry that holds for it.
    entry: usize,
}

impl Epochs {
    /// Reads the file, if it is there.
    pub(crate) fn load(findings: &mut Findings, folder: &Path, has_file: bool) -> Epochs {
        let path = folder.join(EPOCH_FILE);
        let mut history = EpochCache::default();
        if !has_file {
            findings.note("missing-file", Spot::of(&path), "it is not there, and is rebuilt when the log is opened");
        } else if let Some(bytes) = files::read(findings, &path) {
            let (entries, damage) = decode_epoch_checkpoint(&bytes);
            match damage {
                Some(error) => files::damaged(findings, "epochs", &path, &error),
                None => history = EpochCache::from_entries(entries).unwrap_or_default(),
            }
        }
        let agreeing = vec![0; history.entries().len()];
        let last_agreeing = vec![None; agreeing.len()];
        Epochs { path, history, agreeing, last_agreeing, different: Vec::new(), latest: None, inside: Vec::new() }
    }

    /// A batch at `position` of the log at `path`.
    pub(crate) fn on_batch(&mut self, findings: &mut Findings, path: &Path, position: u64, header: &BatchHeader) {
        // Message sets of magic 0 and 1 were written before there were epochs.
        if header.is_legacy() {
            return;
        }
        let (first, end) = (header.base_offset(), header.next_offset());
        let found = header.leader_epoch();
        let not_above = self.history.entries().partition_point(|entry| entry.start_offset <= first);
        let next = self.history.entries().get(not_above).filter(|entry| entry.start_offset < end && not_above > 0);
        if let Some(entry) = next.filter(|entry| self.inside.last() != Some(entry)) {
            self.inside.push(*entry);
        }
        let Some((index, expected)) =
            not_above.checked_sub(1).and_then(|index| Some((index, self.history.entries().get(index)?.epoch)))
        else {
            if found < self.latest {
                let what = format!("leader epoch {} behind {}", or_none(found), or_none(self.latest));
                findings.damage("epoch", Spot::at(path, position).offsets(first, end), what);
            }
            self.latest = self.latest.max(found);
            return;
        };
        if found == Some(expected) {
            if let Some((count, last)) = self.agreeing.get_mut(index).zip(self.last_agreeing.get_mut(index)) {
                *count += 1;
                *last = Some(first);
            }
        } else if self.different.len() < DIFFERENT_MAX {
            let path = path.to_path_buf();
            self.different.push(Different { path, position, offsets: (first, end), found, entry: index });
        }
    }

    /// Judges what differs, and whether the history fits the log.
    pub(crate) fn finish(self, findings: &mut Findings, promise: &Promise, (log_base, log_end): (Offset, Offset)) {
        for different in &self.different {
            let (first, end) = different.offsets;
            let expected = self.history.entries().get(different.entry).map(|entry| entry.epoch);
            let (found, expected) = (or_none(different.found), or_none(expected));
            if self.is_history_wrong(different) {
                let batch = format!("position {} of {}", different.position, different.path.display());
                let what =
                    format!("it gives leader epoch {expected} for offset {first}; the batch at {batch} has {found}");
                findings.damage("epochs", Spot::of(&self.path).offsets(first, end), what);
                break;
            }
            let what = format!("leader epoch {found} where {} gives {expected}", self.path.display());
            findings.damage("epoch", Spot::at(&different.path, different.position).offsets(first, end), what);
        }
        for entry in &self.inside {
            let what = format!("epoch {} starts at {}, inside a batch", entry.epoch, entry.start_offset);
            findings.damage("epochs", Spot::of(&self.path), what);
        }
        // An epoch that began just before a crash may outlive the records before it.
        for entry in self.history.entries().iter().filter(|entry| entry.start_offset > log_end) {
            let what = format!("epoch {} starts at {}; the log ends at {log_end}", entry.epoch, entry.start_offset);
            findings.found(!promise.may_be_open, "epochs", Spot::of(&self.path), what);
        }
        // Where the log starts inside a segment, the history starts there too.
        let log_start = promise.log_start.or_else(|| promise.is_closed.then_some(log_base));
        let lowest = log_start.unwrap_or(log_base);
        let first = self.history.entries().first().map_or(log_base, |first| first.start_offset);
        if first > lowest && lowest < log_end {
            let what = format!("it starts at offset {first}; the log starts at {lowest}");
            // A broker that is killed has not checkpointed the log starts of its last minute.
            let is_certain = promise.witness.is_some() || !promise.may_be_open;
            findings.found(log_start.is_some() && is_certain, "epochs", Spot::of(&self.path), what);
        }
    }

    /// Whether the entry is wrong rather than the batch: the batches up to a neighbour's bounds carry that one's
    /// epoch, or several batches disagree with the entry, all alike, and none agrees.
    fn is_history_wrong(&self, different: &Different) -> bool {
        let peers = self.different.iter().filter(|other| other.entry == different.entry);
        let alike = || peers.clone().filter(|other| other.found == different.found);
        let entry = |index: Option<usize>| {
            let found = index.and_then(|index| self.history.entries().get(index));
            found.filter(|entry| Some(entry.epoch) == different.found)
        };
        let reaches_next = entry(different.entry.checked_add(1))
            .is_some_and(|next| alike().any(|other| other.offsets.1 == next.start_offset));
        let start = self.history.entries().get(different.entry).map(|entry| entry.start_offset);
        let continues_previous =
            entry(different.entry.checked_sub(1)).is_some() && alike().any(|other| Some(other.offsets.0) == start);
        let all_disagree = self.agreeing.get(different.entry) == Some(&0)
            && peers.clone().count() > 1
            && alike().count() == peers.clone().count();
        reaches_next || continues_previous || all_disagree || self.lacks_entry(different)
    }

    /// Whether an entry is missing behind the one of the batch: all batches from it up to the next entry carry an epoch
    /// between the two. One batch alone does not tell.
    fn lacks_entry(&self, different: &Different) -> bool {
        let entry = |index: usize| self.history.entries().get(index).map(|entry| entry.epoch);
        let next = different.entry.checked_add(1).and_then(entry);
        let is_between =
            |other: &&Different| other.found > entry(other.entry) && next.is_none_or(|next| other.found < Some(next));
        let peers = || self.different.iter().filter(|other| other.entry == different.entry);
        let first = peers().next().map(|other| other.offsets.0);
        let is_run =
            self.last_agreeing.get(different.entry).is_none_or(|last| last.is_none_or(|last| Some(last) < first));
        peers().count() > 1 && is_run && peers().all(|other| is_between(&other))
    }
}

fn or_none(epoch: Option<LeaderEpoch>) -> String {
    epoch.map_or_else(|| "none".to_owned(), |epoch| epoch.to_string())
}
