//! What must hold of a disk after a crash, and of a log after it was opened.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use logstead::log::{Log, LogDirectory, ReadIsolation, ReadLimits, SegmentFile};
use logstead::record::{BatchBuilder, BatchOptions};
use logstead::storage::{CrashModel, EntryKind, MemStorage, OpenMode, Storage};
use logstead::time::{Clock, ManualClock};
use logstead::types::LeaderEpoch;

use crate::lying::Disk;
use crate::model::{Batch, Expected, Found, Keep, Replay, read_snapshot};
use crate::session::{Script, offset, open_directory, partition};

pub(crate) type Checked<T> = Result<T, String>;

pub(crate) fn same<T: PartialEq + Debug>(what: &str, found: T, expected: T) -> Checked<()> {
    if found == expected { Ok(()) } else { Err(format!("{what} is {found:?}, not {expected:?}")) }
}

fn holds(what: &str, is_so: bool, of: &dyn Debug) -> Checked<()> {
    if is_so { Ok(()) } else { Err(format!("not so: {what}: {of:?}")) }
}

/// Nothing in a folder of ours looks as if somebody else had been there, or as if something were missing.
pub(crate) fn directory_report(directory: &LogDirectory) -> Checked<()> {
    let report = directory.report();
    let is_ours = report.foreign_file.is_none()
        && report.unreadable_files.is_empty()
        && report.missing_partitions.is_empty()
        && report.unknown_entries.iter().all(|name| name.ends_with(".tmp"));
    holds("the folder is ours and whole", is_ours, report)
}

/// Checks everything that an open log tells against what is owed.
pub(crate) fn inspect(log: &Log, expected: &Expected, keep: Keep) -> Checked<Found> {
    let report = log.recovery_report();
    holds("there is no damage", report.damage.is_empty() && report.unknown_files.is_empty(), report)?;
    if let Some(topic_id) = expected.topic_id {
        same("the topic id", log.topic_id(), topic_id)?;
    }
    let found = Found {
        topic_id: log.topic_id(),
        log_start: log.log_start_offset().get(),
        log_end: log.log_end_offset().get(),
        high_watermark: log.high_watermark().get(),
        batches: read_all(log)?,
    };
    check_bounds(&found, log, expected, keep)?;
    check_content(&found, expected)?;
    check_derived(&found, log, expected)?;
    Ok(found)
}

fn check_bounds(found: &Found, log: &Log, expected: &Expected, keep: Keep) -> Checked<()> {
    let last_stable = log.last_stable_offset().get();
    let in_order = found.log_start <= last_stable
        && last_stable <= found.high_watermark
        && found.high_watermark <= found.log_end
        && log.synced_offset().get() == found.log_end;
    holds("start <= stable <= committed <= end = synced", in_order, &(found, last_stable, log.synced_offset()))?;
    let start_is_right = expected.start.0.min(found.log_end) <= found.log_start && found.log_start <= expected.start.1;
    holds("the log start is as promised", start_is_right, &(found.log_start, expected.start))?;
    let owed = match keep {
        Keep::Everything => expected.appended,
        Keep::Synced => expected.synced,
    };
    holds("nothing acknowledged is lost", found.log_end >= owed, &(found, owed))?;
    let (committed, asked) = expected.high_watermark;
    let limit = asked.max(found.log_start);
    holds("nothing is committed that was not", found.high_watermark <= limit, &(found, limit))?;
    let is_kept = keep == Keep::Synced || found.high_watermark >= committed.min(found.log_end);
    holds("the high watermark outlives the process", is_kept, &(found, committed))
}

/// The log is a prefix of what was written, byte for byte.
fn check_content(found: &Found, expected: &Expected) -> Checked<()> {
    let written: Vec<&Batch> = expected.history.iter().chain(&expected.attempted).collect();
    let Some(first) = found.batches.first() else {
        return same("the end of an empty log", found.log_end, found.log_start);
    };
    let from = written.iter().position(|batch| batch.header.base_offset() == first.header.base_offset());
    let from = from.ok_or_else(|| format!("{first:?} was never written"))?;
    let covers_start = first.header.base_offset().get() <= found.log_start && found.log_start < first.next();
    holds("the first batch covers the log start", covers_start, &found)?;
    for (index, batch) in found.batches.iter().enumerate() {
        let Some(expected) = written.get(from + index) else { return Err(format!("{batch:?} was never written")) };
        same("a batch", batch, *expected)?;
    }
    same("the end of the last batch", found.batches.last().map_or(0, Batch::next), found.log_end)
}

/// Epochs, aborted transactions and the last stable offset are what a replay of the batches gives.
fn check_derived(found: &Found, log: &Log, expected: &Expected) -> Checked<()> {
    let written = expected.history.iter().chain(&expected.attempted);
    let kept: Vec<Batch> = written.filter(|batch| batch.next() <= found.log_end).cloned().collect();
    let epochs = log.epochs();
    for batch in &found.batches {
        let base = batch.header.base_offset();
        same("the epoch of a batch", epochs.epoch_for(base.max(log.log_start_offset())), batch.header.leader_epoch())?;
    }
    let are_known = epochs.entries().iter().all(|entry| {
        let first = found.batches.iter().find(|batch| batch.header.leader_epoch() == Some(entry.epoch));
        let starts_right =
            first.is_none_or(|first| entry.start_offset.get() <= first.header.base_offset().get().max(found.log_start));
        expected.begun.contains(&entry.epoch.get()) && starts_right
    });
    holds("every epoch was begun", are_known, &(epochs.entries(), found))?;
    if found.log_start == found.log_end && expected.may_be_empty {
        return Ok(());
    }
    let replay = Replay::of(&kept);
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    let aborted: Vec<_> = replay.aborted.iter().copied().filter(|entry| entry.last_offset >= start).collect();
    let listed = log.aborted_transactions(start, end).map_err(|error| error.to_string())?;
    same("the list of aborted transactions", listed, aborted)?;
    let (least, most) = replay.last_stable(found.high_watermark);
    let stable = log.last_stable_offset().get();
    let is_right = least.max(found.log_start) <= stable && stable <= most.max(found.log_start);
    holds("the last stable offset is right", is_right, &(stable, least, most, found))
}

/// Everything in the log, read piece by piece, and again from the middle of each batch.
fn read_all(log: &Log) -> Checked<Vec<Batch>> {
    let (mut batches, mut next) = (Vec::new(), log.log_start_offset());
    let limits = ReadLimits::bytes(700).isolation(ReadIsolation::LogEnd);
    while next < log.log_end_offset() {
        let slice = log.read(next, limits).map_err(|error| format!("cannot read at {next}: {error}"))?;
        holds("a read makes progress", slice.next_offset() > next, &(next, log.recovery_report()))?;
        for batch in slice.batches() {
            batches.push(Batch::parse(batch.map_err(|error| error.to_string())?.bytes()));
        }
        next = slice.next_offset();
    }
    for batch in batches.iter().step_by(3) {
        let at = batch.header.last_offset();
        let slice = log.read(at, ReadLimits::bytes(1).isolation(ReadIsolation::LogEnd));
        let slice = slice.map_err(|error| format!("cannot read at {at}: {error}"))?;
        same("a batch that is looked up", slice.as_bytes(), &batch.bytes[..])?;
    }
    Ok(batches)
}

/// Opens the folder and every log that may exist in it, and checks them.
pub(crate) fn open_all(disk: &MemStorage, script: &Script, expected: &[Expected], keep: Keep) -> Checked<Opened> {
    let clock = ManualClock::new();
    let directory = open_directory(Disk::honest(disk)).map_err(|error| format!("cannot open: {error}"))?;
    directory_report(&directory)?;
    let mut opened = Opened { directory, clock, logs: BTreeMap::new(), expected: expected.to_vec() };
    for (index, owed) in expected.iter().enumerate().filter(|(_, owed)| owed.was_opened) {
        let now = opened.clock.now();
        let log = opened.directory.open_log(&partition(index), None, script.config(), now);
        let log = log.map_err(|error| format!("cannot open log {index}: {error}"))?;
        let found = inspect(&log, owed, keep).map_err(|what| format!("log {index}: {what}"))?;
        opened.expected[index].settle(&found);
        opened.logs.insert(index, log);
    }
    Ok(opened)
}

/// A folder that was opened after a crash, and what it owes from here on.
pub(crate) struct Opened {
    pub(crate) directory: LogDirectory,
    clock: ManualClock,
    logs: BTreeMap<usize, Arc<Log>>,
    pub(crate) expected: Vec<Expected>,
}

/// Opens a disk after a crash and checks it. Then, in turn: the process is killed at once, or the power goes, or it goes on
/// working, closes and opens again.
pub(crate) fn recover(disk: &MemStorage, script: &Script, expected: &[Expected], keep: Keep, turn: u64) -> Checked<()> {
    let opened = open_all(disk, script, expected, keep)?;
    let (model, keep) = match turn % 3 {
        0 => (CrashModel::KeepAll, Keep::Everything),
        1 => (CrashModel::DropAll, Keep::Synced),
        _ => return go_on(disk, script, opened),
    };
    let second = open_all(&disk.crash_image(&model, 0), script, &opened.expected, keep)
        .map_err(|what| format!("opened a second time after {model:?}: {what}"))?;
    let differs = opened.expected.iter().zip(&second.expected).any(|(first, second)| {
        (first.synced, first.start, &first.history) != (second.synced, second.start, &second.history)
    });
    holds("recovering twice changes nothing", !differs, &model)
}

/// Appending works, and survives a clean close, which a later open finds.
fn go_on(disk: &MemStorage, script: &Script, opened: Opened) -> Checked<()> {
    let Opened { directory, clock, logs, mut expected } = opened;
    let fail = |error: logstead::Error| format!("after recovery: {error}");
    for (index, log) in &logs {
        let owed = &mut expected[*index];
        let epoch = LeaderEpoch::new(50).unwrap();
        owed.begun.insert(50);
        log.begin_epoch(epoch).map_err(fail)?;
        for number in 0..2 {
            let mut builder = BatchBuilder::new(BatchOptions::default());
            let value = format!("after the crash {number} {:->60}", "");
            builder.append(Some(clock.now().wall), None, Some(value.as_bytes()), &[]).unwrap();
            let mut batch = builder.build().unwrap();
            log.append_as_leader(&mut batch, clock.now()).map_err(fail)?;
            owed.history.push(Batch::parse(batch.bytes()));
            if number == 0 {
                owed.synced = log.flush().map_err(fail)?.get();
            }
        }
        (owed.appended, owed.synced) = (owed.end(), owed.end());
    }
    directory.close().map_err(fail)?;
    drop(logs);
    nothing_is_pending(disk)?;
    let before = logs_of(disk);
    let reopened = open_all(disk, script, &expected, Keep::Everything).map_err(|what| format!("closed: {what}"))?;
    holds("the folder was closed cleanly", reopened.directory.report().was_clean, reopened.directory.report())?;
    for (index, owed) in expected.iter().enumerate().filter(|(_, owed)| owed.was_opened) {
        check_snapshot(disk, index, owed)?;
    }
    same("the bytes of the logs", logs_of(disk) == before, true)
}

/// The producer snapshot at the log end is what a replay of the whole history gives.
fn check_snapshot(disk: &MemStorage, index: usize, owed: &Expected) -> Checked<()> {
    if owed.unsure_of_producers {
        return Ok(());
    }
    let name = SegmentFile::Snapshot.name(offset(owed.end()));
    let path = Path::new("/data").join(partition(index).to_string()).join(name);
    let bytes = read(disk, &path).ok_or_else(|| format!("there is no {}", path.display()))?;
    same("the producers of a snapshot", read_snapshot(&bytes), Replay::of(&owed.history).producers)
}

pub(crate) fn is_marked_clean(disk: &MemStorage) -> bool {
    disk.open(Path::new("/data/.kafka_cleanshutdown"), OpenMode::Read).is_ok()
}

/// After a clean close a power cut changes nothing.
pub(crate) fn nothing_is_pending(disk: &MemStorage) -> Checked<()> {
    let live = files_of(disk);
    for (model, seed) in [(CrashModel::DropAll, 0), (CrashModel::Subset, 1), (CrashModel::Subset, 2)] {
        let after = files_of(&disk.crash_image(&model, seed));
        let differing = live.iter().find(|(path, bytes)| after.get(*path) != Some(bytes));
        // A producer snapshot too many is harmless, and so is what was deleted before: their removal may wait.
        let is_harmless = |path: &PathBuf| path.extension().is_some_and(|name| name == "snapshot" || name == "deleted");
        let extra = after.keys().find(|path| !live.contains_key(*path) && !is_harmless(path));
        if let Some(path) = differing.map(|(path, _)| path).or(extra) {
            return Err(format!("closed, but {} is not durable ({model:?} {seed})", path.display()));
        }
    }
    Ok(())
}

fn logs_of(disk: &MemStorage) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = files_of(disk);
    files.retain(|path, _| path.extension().is_some_and(|extension| extension == "log"));
    files
}

fn files_of(disk: &MemStorage) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![PathBuf::from("/data")];
    while let Some(folder) = folders.pop() {
        for entry in disk.list(&folder).unwrap_or_default() {
            let path = folder.join(&entry.name);
            match entry.kind {
                EntryKind::Dir => folders.push(path),
                EntryKind::File | EntryKind::Other => {
                    let bytes = read(disk, &path).unwrap_or_default();
                    files.insert(path, bytes);
                }
            }
        }
    }
    files
}

fn read(disk: &MemStorage, path: &Path) -> Option<Vec<u8>> {
    let file = disk.open(path, OpenMode::Read).ok()?;
    let mut bytes = vec![0; usize::try_from(file.len().ok()?).ok()?];
    file.read_exact_at(0, &mut bytes).ok()?;
    Some(bytes)
}
