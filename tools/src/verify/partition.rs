//! One partition folder: its segments in order, then everything that is derived from them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use logstead::log::{FileSum, SegmentFile, decode_partition_metadata};
use logstead::storage::{DirEntry, EntryKind};
use logstead::types::{Offset, TopicId, TopicPartition};

use super::epochs::{EPOCH_FILE, Epochs};
use super::facts::{CLEANER_OFFSETS, FolderFacts, HIGH_WATERMARKS, LOG_STARTS, RECOVERY_POINTS};
use super::files;
use super::index::Indexes;
use super::leftover;
use super::log::{Bounds, LogWalk};
use super::metadata;
use super::producers::Aborts;
use super::promise::Promise;
use super::report::{Findings, Spot};
use super::seal::{self, Sealed};
use super::segment::{self, Beside};
use super::snapshots;

pub(crate) const METADATA_FILE: &str = "partition.metadata";

/// A folder to be checked.
pub(crate) struct Partition<'a> {
    pub(crate) folder: &'a Path,
    /// By the folder's name.
    pub(crate) tp: Option<TopicPartition>,
    /// What the data folder says; none for a partition folder by itself.
    pub(crate) facts: Option<&'a FolderFacts>,
    /// Called with the path of each segment before it is read.
    pub(crate) progress: &'a dyn Fn(&Path),
}

/// The names in a folder, sorted by what they are.
#[derive(Default)]
struct Names {
    by_kind: BTreeMap<SegmentFile, BTreeSet<Offset>>,
    others: Vec<DirEntry>,
}

impl Names {
    fn sort(entries: Vec<DirEntry>) -> Names {
        let mut names = Names::default();
        for entry in entries {
            match SegmentFile::parse(&entry.name).filter(|_| entry.kind == EntryKind::File) {
                Some((kind, base)) => drop(names.by_kind.entry(kind).or_default().insert(base)),
                None => names.others.push(entry),
            }
        }
        names
    }

    fn has(&self, kind: SegmentFile, base: Offset) -> bool {
        self.by_kind.get(&kind).is_some_and(|bases| bases.contains(&base))
    }

    fn all(&self, kind: SegmentFile) -> impl DoubleEndedIterator<Item = Offset> {
        self.by_kind.get(&kind).into_iter().flatten().copied()
    }

    fn has_file(&self, name: &str) -> bool {
        self.others.iter().any(|entry| entry.name == name && entry.kind == EntryKind::File)
    }
}

/// Checks a partition folder.
pub(crate) fn check(findings: &mut Findings, partition: &Partition<'_>) {
    findings.tally.partitions += 1;
    let Some(entries) = files::list(findings, partition.folder) else { return };
    let names = Names::sort(entries);
    let topic_id = check_topic_id(findings, partition, &names);
    let promise = match (partition.facts, &partition.tp) {
        (Some(facts), Some(tp)) => Promise::of_folder(facts, tp),
        (Some(_), None) | (None, _) => Promise::of_snapshots(names.all(SegmentFile::Snapshot).next_back()),
    };
    let epochs = Epochs::load(findings, partition.folder, names.has_file(EPOCH_FILE));
    let mut log = LogWalk::new(promise, epochs);
    let bases: Vec<Offset> = names.all(SegmentFile::Log).collect();
    let nexts = bases.iter().skip(1).copied().map(Some).chain([None]);
    for (base, next_base) in bases.iter().copied().zip(nexts) {
        check_segment(findings, partition, &names, &mut log, (Bounds { base, next_base }, topic_id));
    }
    let log_end = log.end().unwrap_or(Offset::ZERO);
    check_end(findings, partition, &log, bases.last().copied(), log_end);
    for offset in names.all(SegmentFile::Snapshot) {
        snapshots::check(findings, partition.folder, offset, &log.promise, log_end);
    }
    if bases.last() != Some(&log_end) && names.has(SegmentFile::Snapshot, log_end) {
        snapshots::compare(findings, partition.folder, log_end, &log);
    }
    if let (Some(facts), Some(tp)) = (partition.facts, &partition.tp) {
        check_claims(findings, facts, tp, &log.promise, log_end);
    }
    let LogWalk { promise, epochs, .. } = log;
    // Whoever opens a log removes files without one, so that a broker leaves none when it closes.
    let is_closed_by_broker = promise.is_closed && partition.facts.is_some_and(|facts| facts.manifest.is_none());
    epochs.finish(findings, &promise, (bases.first().copied().unwrap_or(log_end), log_end));
    check_others(findings, partition, &names, is_closed_by_broker);
}

/// Reads a segment, then compares it with its seal.
fn check_segment(
    findings: &mut Findings,
    partition: &Partition<'_>,
    names: &Names,
    log: &mut LogWalk,
    (bounds, topic_id): (Bounds, Option<TopicId>),
) {
    let Bounds { base, next_base } = bounds;
    let path = partition.folder.join(SegmentFile::Log.name(base));
    (partition.progress)(&path);
    if names.has(SegmentFile::Snapshot, base) {
        snapshots::compare(findings, partition.folder, base, log);
    }
    let indexes = Indexes::load(findings, partition.folder, base, |kind| names.has(kind, base));
    let aborts = Aborts::load(findings, partition.folder, base, names.has(SegmentFile::TransactionIndex, base));
    let mut sealed = Sealed {
        folder: partition.folder,
        log_path: &path,
        topic_id,
        partition: partition.tp.as_ref().map(|tp| tp.partition),
        base,
        next_base,
        offset_index: indexes.offset_sum,
        time_index: indexes.time_sum,
        transaction_index: aborts.sum,
        snapshot: None,
        bad_positions: &[],
    };
    segment::check(findings, log, &path, bounds, Beside { indexes, aborts });
    if !names.has(SegmentFile::Seal, base) {
        return;
    }
    if partition.facts.is_some_and(|facts| facts.is_foreign) {
        let spot = Spot::of(&partition.folder.join(SegmentFile::Seal.name(base)));
        findings.note("foreign", spot, "somebody else has owned the folder since: the seal is not compared");
        return;
    }
    if names.has(SegmentFile::Snapshot, base) {
        // It is read again, and counted, with the other snapshots.
        let mut uncounted = Findings::default();
        let bytes = files::read(&mut uncounted, &partition.folder.join(SegmentFile::Snapshot.name(base)));
        sealed.snapshot = bytes.as_deref().map(FileSum::of);
    }
    sealed.bad_positions = &log.bad_positions;
    seal::check(findings, &sealed);
}

/// The topic's id by `partition.metadata`, which must be that of our own files.
fn check_topic_id(findings: &mut Findings, partition: &Partition<'_>, names: &Names) -> Option<TopicId> {
    let path = partition.folder.join(METADATA_FILE);
    let known = partition.facts.zip(partition.tp.as_ref()).and_then(|(facts, tp)| facts.topic_id(tp));
    if !names.has_file(METADATA_FILE) {
        findings.note("missing-file", Spot::of(&path), "it is not there: the topic's id is not known");
        return known;
    }
    let bytes = files::read(findings, &path)?;
    match decode_partition_metadata(&bytes) {
        Ok(found) => {
            if bytes.trim_ascii_end() != format!("version: 0\ntopic_id: {found}").as_bytes() {
                findings.damage("metadata", Spot::at(&path, 0), "it is not written as it must be");
            }
            if let Some(known) = known.filter(|known| *known != found) {
                let what = format!("topic id {found}; the data folder knows the partition by {known}");
                findings.damage("metadata", Spot::of(&path), what);
            }
            known.or(Some(found))
        }
        Err(error) => {
            files::damaged(findings, "metadata", &path, &error);
            known
        }
    }
}

/// Nothing that was durable may be missing at the end, and a log that was closed ends where it did then.
fn check_end(findings: &mut Findings, partition: &Partition<'_>, log: &LogWalk, last: Option<Offset>, log_end: Offset) {
    let promise = &log.promise;
    let path = match last {
        Some(base) => partition.folder.join(SegmentFile::Log.name(base)),
        None => partition.folder.to_path_buf(),
    };
    let is_deleted = promise.log_start.is_some_and(|log_start| log_start >= promise.end);
    if log_end < promise.end && !is_deleted {
        let what = format!("the log ends at {log_end}; {} says that it reached {}", promise.source, promise.end);
        findings.damage("missing", Spot::of(&path).offsets(log_end, promise.end), what);
    }
    if promise.is_closed && log_end > promise.end {
        let what = format!("the log ends at {log_end}; when it was closed, it ended at {}", promise.end);
        findings.damage("offset", Spot::of(&path).offsets(promise.end, log_end), what);
    }
}

/// The checkpoint files must not claim more than the log holds. After a crash they may, but for what was durable.
fn check_claims(findings: &mut Findings, facts: &FolderFacts, tp: &TopicPartition, promise: &Promise, log_end: Offset) {
    for name in [RECOVERY_POINTS, HIGH_WATERMARKS, LOG_STARTS, CLEANER_OFFSETS] {
        let Some(claimed) = facts.checkpointed(name, tp).filter(|claimed| *claimed > log_end.max(promise.end)) else {
            continue;
        };
        let what = format!("offset {claimed} for {tp}, whose log ends at {log_end}");
        let spot = Spot::of(&facts.path.join(name)).offsets(log_end, claimed);
        findings.found(!promise.may_be_open, "checkpoint", spot, what);
    }
}

/// Files without a segment, leftovers, and what is not known.
fn check_others(findings: &mut Findings, partition: &Partition<'_>, names: &Names, is_closed_by_broker: bool) {
    for (kind, bases) in &names.by_kind {
        for base in bases {
            let path = partition.folder.join(kind.name(*base));
            match kind {
                SegmentFile::Log | SegmentFile::Snapshot => {}
                SegmentFile::Redo => leftover::check_redo(findings, &path),
                SegmentFile::Cut => leftover::check_cut(findings, &path),
                SegmentFile::OffsetIndex
                | SegmentFile::TimeIndex
                | SegmentFile::TransactionIndex
                | SegmentFile::Seal => {
                    if !names.has(SegmentFile::Log, *base) {
                        let what = "there is no log of this name beside it";
                        // A broker does not know seals.
                        let is_lost = is_closed_by_broker && *kind != SegmentFile::Seal;
                        findings.found(is_lost, "orphan", Spot::of(&path), what);
                    }
                }
            }
        }
    }
    for entry in &names.others {
        let path = partition.folder.join(&entry.name);
        let is_known = entry.kind == EntryKind::File && [EPOCH_FILE, METADATA_FILE].contains(&entry.name.as_str());
        if is_misnamed(entry) {
            let what = "20 digits must stand before the dot: a broker cannot load it, or takes it for another offset";
            findings.damage("name", Spot::of(&path), what);
        } else if !is_known && !metadata::check(findings, &path, entry) {
            leftover::note(findings, &path, entry);
        }
    }
}

/// Whether a broker takes a file for one of a segment and its name does not say of which.
fn is_misnamed(entry: &DirEntry) -> bool {
    const ENDINGS: [&str; 5] = [".log", ".index", ".timeindex", ".txnindex", ".snapshot"];
    entry.kind == EntryKind::File && ENDINGS.iter().any(|ending| entry.name.ends_with(ending))
}
