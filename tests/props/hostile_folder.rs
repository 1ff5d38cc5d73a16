//! Opening a data folder whose files were changed, cut, replaced or removed: no panic, a typed error or a log that answers;
//! and whatever is derived from the `.log` may be lost without anybody noticing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use logstead::config::LogConfig;
use logstead::log::{AbortedTransaction, EpochEntry, Log, LogDirectory, ReadIsolation, ReadLimits};
use logstead::record::{
    BatchBuilder, BatchHeader, BatchOptions, EndTransactionMarker, ProducerStamp, TransactionOutcome,
};
use logstead::storage::{EntryKind, MemStorage, OpenMode, Storage};
use logstead::time::{Clock, ManualClock, Now};
use logstead::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TopicPartition};
use logstead::{Error, Result};
use proptest::prelude::*;

type Files = BTreeMap<PathBuf, Vec<u8>>;

const FOLDER: &str = "/data";

fn tp() -> TopicPartition {
    TopicPartition::new("orders", 0).unwrap()
}

fn config() -> LogConfig {
    LogConfig::new().segment_bytes(700).index_interval_bytes(100)
}

fn now() -> Now {
    ManualClock::new().now()
}

fn files_of(storage: &MemStorage, folder: &Path, files: &mut Files) {
    for entry in storage.list(folder).unwrap() {
        let path = folder.join(&entry.name);
        match entry.kind {
            EntryKind::Dir => files_of(storage, &path, files),
            EntryKind::File | EntryKind::Other => {
                let file = storage.open(&path, OpenMode::Read).unwrap();
                let mut bytes = vec![0; file.len().unwrap() as usize];
                file.read_exact_at(0, &mut bytes).unwrap();
                files.insert(path, bytes);
            }
        }
    }
}

fn storage_with(files: &Files) -> MemStorage {
    let storage = MemStorage::new();
    storage.create_dir(FOLDER.as_ref()).unwrap();
    storage.create_dir(&Path::new(FOLDER).join(tp().to_string())).unwrap();
    for (path, bytes) in files {
        storage.open(path, OpenMode::CreateNew).unwrap().write_all_at(0, bytes).unwrap();
    }
    storage
}

fn append(log: &Log, producer: Option<i64>, value: u8) {
    let stamp = producer.map(|id| ProducerStamp {
        id: ProducerId::new(id).unwrap(),
        epoch: ProducerEpoch::ZERO,
        base_sequence: Some(Sequence::ZERO),
    });
    let options = BatchOptions { producer: stamp, transactional: stamp.is_some(), ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    for at in 0..2 {
        builder.append(Some(now().wall), Some(&[at]), Some(&[value; 20]), &[]).unwrap();
    }
    log.append_as_leader(&mut builder.build().unwrap(), now()).unwrap();
}

fn abort(log: &Log, producer: i64) {
    let marker = EndTransactionMarker { outcome: TransactionOutcome::Abort, coordinator_epoch: 0 };
    let id = ProducerId::new(producer).unwrap();
    log.append_as_leader(&mut marker.to_batch(id, ProducerEpoch::ZERO, now().wall), now()).unwrap();
}

/// A folder with several segments, aborted transactions and two epochs.
fn build(closed: bool) -> Files {
    let storage = MemStorage::new();
    let directory = LogDirectory::options().storage(storage.clone()).seed(7).open(FOLDER).unwrap();
    let log = directory.open_log(&tp(), None, config(), now()).unwrap();
    log.begin_epoch(LeaderEpoch::ZERO).unwrap();
    for value in 0..5 {
        append(&log, None, value);
        append(&log, Some(1), value);
        append(&log, Some(2), value);
        abort(&log, 1);
        if value == 3 {
            log.begin_epoch(LeaderEpoch::new(2).unwrap()).unwrap();
            directory.checkpoint().unwrap();
        }
    }
    abort(&log, 2);
    log.flush().unwrap();
    log.advance_high_watermark(log.log_end_offset()).unwrap();
    if closed {
        directory.close().unwrap();
    } else {
        append(&log, None, 7);
    }
    let mut files = Files::new();
    files_of(&storage, FOLDER.as_ref(), &mut files);
    files
}

fn reference(closed: bool) -> &'static Files {
    static CLOSED: OnceLock<Files> = OnceLock::new();
    static DROPPED: OnceLock<Files> = OnceLock::new();
    if closed { CLOSED.get_or_init(|| build(true)) } else { DROPPED.get_or_init(|| build(false)) }
}

/// Everything that a log answers.
#[derive(Debug, PartialEq, Eq)]
struct Answers {
    /// The checksum of all batches: the bytes themselves would make a failure unreadable.
    bytes: u32,
    len: usize,
    log_start: Offset,
    log_end: Offset,
    aborted: Vec<AbortedTransaction>,
    epochs: Vec<EpochEntry>,
}

fn answers(log: &Log) -> Answers {
    let (log_start, log_end) = (log.log_start_offset(), log.log_end_offset());
    let (mut bytes, mut from) = (Vec::new(), log_start);
    while from < log_end {
        let slice = log.read(from, ReadLimits::bytes(500).isolation(ReadIsolation::LogEnd)).unwrap();
        bytes.extend_from_slice(slice.as_bytes());
        from = slice.next_offset();
    }
    let aborted = log.aborted_transactions(log_start, log_end).unwrap();
    let (len, bytes) = (bytes.len(), logstead::record::crc32c(&bytes));
    Answers { bytes, len, log_start, log_end, aborted, epochs: log.epochs().entries().to_vec() }
}

fn expected(closed: bool) -> &'static Answers {
    static CLOSED: OnceLock<Answers> = OnceLock::new();
    static DROPPED: OnceLock<Answers> = OnceLock::new();
    let open = || {
        let directory = LogDirectory::options().storage(storage_with(reference(closed))).open(FOLDER).unwrap();
        answers(&directory.open_log(&tp(), None, config(), now()).unwrap())
    };
    if closed { CLOSED.get_or_init(open) } else { DROPPED.get_or_init(open) }
}

/// Opens the folder twice, with a clean stop in between; both times it must answer as if nothing had happened.
fn assert_unharmed(files: &Files, closed: bool, what: &str) {
    let storage = storage_with(files);
    for time in ["first", "second"] {
        let directory = LogDirectory::options().storage(storage.clone()).open(FOLDER);
        let directory = directory.unwrap_or_else(|error| panic!("{what}: {time} open: {error}"));
        let log = directory.open_log(&tp(), None, config(), now());
        let log = log.unwrap_or_else(|error| panic!("{what}: {time} open: {error}"));
        let report = log.recovery_report();
        assert!(report.damage.is_empty() && report.cuts.is_empty(), "{what}: {time} open: {report:?}");
        assert_eq!(&answers(&log), expected(closed), "{what}: {time} open");
        if time == "second" {
            assert!(directory.report().was_clean, "{what}");
            assert_eq!(directory.report().foreign_file, None, "{what}");
        }
        directory.close().unwrap();
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// Changes every file that `is_derived` in every way: removed, emptied, cut, longer, each byte flipped.
fn damage_each(closed: bool, is_derived: fn(&str) -> bool) -> usize {
    damage_each_unless(closed, is_derived, |_| false)
}

/// As [`damage_each`], but for changes that make another file of which nothing shows that it is wrong.
fn damage_each_unless(closed: bool, is_derived: fn(&str) -> bool, is_plausible: fn(&[u8]) -> bool) -> usize {
    let reference = reference(closed);
    let mut count = 0;
    for (path, bytes) in reference.iter().filter(|(path, _)| is_derived(&name_of(path))) {
        let mut check = |changed: Option<Vec<u8>>, what: String| {
            if changed.as_deref().is_some_and(is_plausible) {
                return;
            }
            let mut files = reference.clone();
            match changed {
                Some(bytes) => files.insert(path.clone(), bytes),
                None => files.remove(path),
            };
            assert_unharmed(&files, closed, &format!("{} {what}", path.display()));
            count += 1;
        };
        check(None, "removed".to_owned());
        for len in [0, bytes.len() / 2] {
            check(Some(bytes[..len].to_vec()), format!("cut to {len}"));
        }
        check(Some([bytes.as_slice(), &[0; 24]].concat()), "with zeros behind".to_owned());
        check(Some([bytes.as_slice(), b"\xffgarbage"].concat()), "with garbage behind".to_owned());
        let step = (bytes.len() / 9).max(1);
        for at in (0..bytes.len()).step_by(step) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            check(Some(flipped), format!("flipped at {at}"));
        }
    }
    count
}

#[test]
fn lost_or_damaged_indexes_change_nothing() {
    for closed in [true, false] {
        let count = damage_each(closed, |name| name.ends_with(".index") || name.ends_with(".timeindex"));
        assert!(count > 20, "{count}");
    }
}

/// Of the segment that takes appends nothing tells after a clean stop which transaction index it had.
#[test]
fn lost_or_damaged_transaction_indexes_of_sealed_segments_change_nothing() {
    let is_sealed = |name: &str| {
        let base: Option<u32> = name.strip_suffix(".txnindex").and_then(|base| base.parse().ok());
        base.is_some_and(|base| base < 21)
    };
    for closed in [true, false] {
        let count = damage_each(closed, is_sealed);
        assert!(count > 20, "{count}");
    }
}

#[test]
fn lost_or_damaged_snapshots_change_nothing() {
    for closed in [true, false] {
        let count = damage_each(closed, |name| name.ends_with(".snapshot"));
        assert!(count > 20, "{count}");
    }
}

#[test]
fn lost_or_damaged_seals_change_nothing() {
    for closed in [true, false] {
        let count = damage_each(closed, |name| name.ends_with(".seal"));
        assert!(count > 20, "{count}");
    }
}

/// Whether a text is a history of epochs, if not the right one.
fn is_history(bytes: &[u8]) -> bool {
    let entry = |line: &str| {
        let (epoch, start) = line.split_once(' ')?;
        Some((epoch.parse::<u32>().ok()?, start.parse::<u32>().ok()?))
    };
    let lines: Vec<&str> = std::str::from_utf8(bytes).unwrap_or("").lines().collect();
    let entries: Vec<_> = lines.iter().skip(2).filter_map(|line| entry(line)).collect();
    entries.len() + 2 == lines.len() && !entries.is_empty() && entries.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1)
}

/// The file has no checksum: a history that contradicts the batches makes reads fail, which other tests show.
#[test]
fn a_lost_or_unreadable_epoch_file_changes_nothing() {
    for closed in [true, false] {
        let count = damage_each_unless(closed, |name| name == "leader-epoch-checkpoint", is_history);
        assert!(count > 10, "{count}");
    }
}

#[test]
fn lost_or_damaged_checkpoints_change_nothing() {
    for closed in [true, false] {
        damage_each(closed, |name| name.ends_with("-offset-checkpoint"));
    }
}

#[test]
fn a_lost_or_damaged_manifest_changes_nothing() {
    for closed in [true, false] {
        damage_each(closed, |name| name == "logstead.manifest");
    }
}

#[test]
fn a_lost_or_damaged_witness_changes_nothing() {
    for closed in [true, false] {
        damage_each(closed, |name| name == "logstead.witness");
    }
}

#[test]
fn a_lost_or_damaged_mark_of_a_clean_stop_changes_nothing() {
    damage_each(true, |name| name == ".kafka_cleanshutdown");
}

/// Opens and asks a log, whatever is wrong with it; what it gives out must be what was written.
fn ask(files: &Files, originals: &[u8]) -> Result<()> {
    let directory = LogDirectory::options().storage(storage_with(files)).open(FOLDER)?;
    let log = directory.open_log(&tp(), None, config(), now())?;
    let (mut from, log_end) = (log.log_start_offset(), log.log_end_offset());
    let mut steps = 0;
    while from < log_end {
        steps += 1;
        assert!(steps < 1_000, "reading makes no progress at {from}");
        match log.read(from, ReadLimits::bytes(400).isolation(ReadIsolation::LogEnd)) {
            Ok(slice) => {
                for batch in slice.batches() {
                    let batch = batch.unwrap();
                    // No checksum covers a batch's offset and epoch. Where nothing of ours tells better, and in the tail
                    // that nobody was promised, they are taken at their word.
                    let is_tail = batch.header().next_offset() >= expected(false).log_end;
                    let is_unvouched = log.recovery_report().was_foreign || is_tail;
                    let from = if is_unvouched { 16 } else { 0 };
                    let covered = &batch.bytes()[from..];
                    let is_original = originals.windows(covered.len()).any(|window| window == covered);
                    assert!(is_original, "a batch that nobody wrote at {}", batch.header().base_offset());
                }
                if slice.next_offset() <= from {
                    break;
                }
                from = slice.next_offset();
            }
            Err(Error::Corrupt(corrupt)) => {
                let offsets = corrupt.offsets.unwrap();
                assert!(offsets.first <= from && from < offsets.next_intact, "{corrupt:?} from {from}");
                from = offsets.next_intact;
            }
            Err(other) => return Err(other),
        }
    }
    let _ = log.aborted_transactions(Offset::ZERO, log_end);
    for segment in log.segments() {
        let _ = (segment.offset_index(), segment.time_index(), segment.verify_seal(), segment.max_timestamp());
    }
    if log.recovery_report().damage.is_empty() {
        log.begin_epoch(LeaderEpoch::new(1_000).unwrap())?;
        append(&log, None, 9);
        log.flush()?;
    }
    directory.close()
}

fn originals() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let logs = [reference(true), reference(false)].into_iter().flatten();
        logs.filter(|(path, _)| name_of(path).ends_with(".log")).flat_map(|(_, bytes)| bytes.clone()).collect()
    })
}

#[derive(Debug, Clone)]
enum Change {
    Remove,
    Replace(Vec<u8>),
    Flip(Vec<(prop::sample::Index, u8)>),
    Cut(prop::sample::Index),
    Zeros(u16),
    CopyOf(prop::sample::Index),
}

fn change() -> impl Strategy<Value = (prop::sample::Index, Change)> {
    let flips = prop::collection::vec((any::<prop::sample::Index>(), 1..=255u8), 1..4);
    let change = prop_oneof![
        1 => Just(Change::Remove),
        2 => prop::collection::vec(any::<u8>(), 0..600).prop_map(Change::Replace),
        4 => flips.prop_map(Change::Flip),
        2 => any::<prop::sample::Index>().prop_map(Change::Cut),
        1 => (0..3_000u16).prop_map(Change::Zeros),
        1 => any::<prop::sample::Index>().prop_map(Change::CopyOf),
    ];
    (any::<prop::sample::Index>(), change)
}

fn apply(files: &mut Files, (which, change): (prop::sample::Index, Change)) {
    let path = files.keys().nth(which.index(files.len())).unwrap().clone();
    let bytes = files.get_mut(&path).unwrap();
    match change {
        Change::Remove => _ = files.remove(&path),
        Change::Replace(new) => *bytes = new,
        Change::Flip(flips) if !bytes.is_empty() => {
            for (at, mask) in flips {
                let at = at.index(bytes.len());
                bytes[at] ^= mask;
            }
        }
        Change::Cut(at) if !bytes.is_empty() => bytes.truncate(at.index(bytes.len())),
        Change::Zeros(count) => bytes.extend(vec![0; usize::from(count)]),
        Change::CopyOf(other) => {
            let copy = files.values().nth(other.index(files.len())).unwrap().clone();
            files.insert(path, copy);
        }
        Change::Flip(_) | Change::Cut(_) => {}
    }
}

proptest! {
    #![proptest_config(crate::cases(96))]

    #[test]
    fn any_change_of_any_files_gives_a_typed_error_or_a_log(
        closed: bool,
        changes in prop::collection::vec(change(), 1..4),
    ) {
        let mut files = reference(closed).clone();
        changes.into_iter().for_each(|change| apply(&mut files, change));
        match ask(&files, originals()) {
            Ok(()) => {}
            Err(Error::Internal { invariant }) => panic!("{invariant}"),
            Err(_) => {}
        }
    }
}

#[test]
fn the_reference_has_every_kind_of_file() {
    let names: Vec<String> = reference(true).keys().map(|path| name_of(path)).collect();
    for ending in [".log", ".index", ".timeindex", ".txnindex", ".snapshot", ".seal", "leader-epoch-checkpoint"] {
        assert!(names.iter().filter(|name| name.ends_with(ending)).count() >= 1, "{ending}: {names:?}");
    }
    assert!(BatchHeader::parse(originals()).is_ok());
}
