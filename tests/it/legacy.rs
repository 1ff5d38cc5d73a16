//! Logs that began before magic 2: message sets of magic 0 and 1 are read, and magic 2 is written behind them.

use std::path::{Path, PathBuf};

use logstead::Error;
use logstead::cluster::{Cluster, Driver};
use logstead::config::LogConfig;
use logstead::log::{BatchScanner, LogDirectory, OffsetSpec, ReadIsolation, ReadOnlyDirectory};
use logstead::record::{BatchHeader, BuiltBatch, RecordBatch, RecordBatchRef};
use logstead::storage::{MemStorage, OpenMode, Storage};
use logstead::types::{LeaderEpoch, Offset, Timestamp};

use crate::support::{FOLDER, Home, now, partition_file, read, tp};

/// Records in the fixture.
const END: i64 = 60;
/// Where its batch of magic 2 starts.
const UPGRADE: i64 = 55;

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/legacy").join(name)).unwrap()
}

fn log_bytes() -> Vec<u8> {
    fixture("orders-0/00000000000000000000.log")
}

/// Offset and line of every record, as `records.tsv` has them.
fn expected() -> Vec<(i64, String)> {
    let listed = String::from_utf8(fixture("records.tsv")).unwrap();
    listed.lines().map(|line| (line.split('\t').next().unwrap().parse().unwrap(), line.to_owned())).collect()
}

fn line(offset: Offset, time: Option<Timestamp>, key: Option<&[u8]>, value: Option<&[u8]>) -> (i64, String) {
    let text =
        |bytes: Option<&[u8]>| bytes.map_or("null".into(), |bytes| format!("{:?}", str::from_utf8(bytes).unwrap()));
    let millis = time.map_or(-1, Timestamp::as_millis);
    (offset.get(), format!("{offset}\t{millis}\t{}\t{}", text(key), text(value)))
}

fn lines_of(batch: &RecordBatch<'_>) -> Vec<(i64, String)> {
    batch.records().map(|record| line(record.offset(), record.timestamp(), record.key(), record.value())).collect()
}

fn log_path() -> PathBuf {
    partition_file("00000000000000000000.log")
}

/// A data folder with these bytes as the log of the partition.
fn storage_of(bytes: &[u8]) -> MemStorage {
    let storage = MemStorage::new();
    storage.create_dir(FOLDER.as_ref()).unwrap();
    let properties = Path::new(FOLDER).join("meta.properties");
    let identity = b"cluster.id=MkU3OEVBNTcwNTJENDM2Qg\ndirectory.id=yiZe1jLUT8LNhhRxfvMvHA\nnode.id=0\nversion=1\n";
    storage.open(&properties, OpenMode::CreateNew).unwrap().write_all_at(0, identity).unwrap();
    storage.create_dir(log_path().parent().unwrap()).unwrap();
    let file = storage.open(&log_path(), OpenMode::CreateNew).unwrap();
    file.write_all_at(0, bytes).unwrap();
    storage
}

fn home_of(bytes: &[u8]) -> Home {
    Home::on(storage_of(bytes), LogConfig::new().index_interval_bytes(1))
}

fn lines_from(home: &Home, from: i64) -> Vec<(i64, String)> {
    let (mut lines, mut next) = (Vec::new(), from);
    while next < home.log.log_end_offset().get() {
        let slice = read(&home.log, next).unwrap();
        for batch in slice.batches() {
            lines.extend(lines_of(&batch.unwrap()));
        }
        next = slice.next_offset().get();
    }
    lines.retain(|(offset, _)| *offset >= from);
    lines
}

/// Where the batches of the fixture start, and their offsets.
fn batches() -> Vec<(usize, BatchHeader)> {
    let bytes = log_bytes();
    let storage = storage_of(&bytes);
    let file = storage.open(&log_path(), OpenMode::Read).unwrap();
    let mut scanner = BatchScanner::new(file, 0, bytes.len() as u64);
    let mut found = Vec::new();
    while let Some(batch) = scanner.next_batch().unwrap() {
        found.push((batch.position as usize, batch.header));
    }
    found
}

#[test]
fn every_record_is_read_from_every_offset() {
    let home = home_of(&log_bytes());
    assert_eq!((home.log.log_end_offset().get(), &home.log.recovery_report().damage[..]), (END, &[][..]));
    for from in 0..END {
        let wanted: Vec<_> = expected().into_iter().filter(|(offset, _)| *offset >= from).collect();
        assert_eq!(lines_from(&home, from), wanted, "from {from}");
    }
}

#[test]
fn a_scan_knows_the_base_offset_of_every_set() {
    let offsets: Vec<_> = batches()
        .iter()
        .filter(|(_, header)| header.last_offset() != header.base_offset())
        .map(|(_, header)| {
            (header.magic(), header.base_offset().get(), header.next_offset().get(), header.record_count())
        })
        .collect();
    let sets = [(0, 5, 10, 5), (0, 10, 15, 5), (0, 15, 20, 5), (1, 25, 30, 5), (1, 30, 35, 5), (1, 35, 40, 5)];
    assert_eq!(offsets, [&sets[..], &[(1, 45, 50, 5), (1, 51, 55, 3), (2, 55, 60, 5)]].concat());
}

#[test]
fn new_batches_go_behind_old_messages() {
    let mut home = home_of(&log_bytes());
    home.log.begin_epoch(LeaderEpoch::new(3).unwrap()).unwrap();
    home.append(2, b"new");
    home.log.flush().unwrap();
    for _ in 0..2 {
        let lines = lines_from(&home, 0);
        assert_eq!(lines[..expected().len()], expected());
        assert_eq!(lines.len(), expected().len() + 2);
        home = home.restart();
    }
}

#[test]
fn a_torn_message_is_cut_and_nothing_before_it() {
    let bytes = log_bytes();
    let batches = batches();
    for window in batches.windows(2) {
        let ((start, _), (end, next)) = (window[0], window[1]);
        for len in [start + 1, start + 17, end - 1] {
            let home = home_of(&bytes[..len]);
            assert_eq!(home.log.log_end_offset(), window[0].1.base_offset().min(home.log.log_end_offset()), "{next:?}");
            let kept = expected().into_iter().take_while(|(offset, _)| *offset < window[0].1.base_offset().get());
            assert_eq!(lines_from(&home, 0), kept.collect::<Vec<_>>(), "{len} bytes");
        }
    }
}

#[test]
fn flipped_bytes_are_never_read_as_records() {
    let bytes = log_bytes();
    let truth = expected();
    for at in (0..bytes.len()).step_by(7) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x10;
        let storage = storage_of(&bytes);
        let file = storage.open(&log_path(), OpenMode::Read).unwrap();
        let mut scanner = BatchScanner::new(file, 0, bytes.len() as u64);
        let mut lowest = Offset::ZERO;
        loop {
            match scanner.next_batch() {
                Ok(None) => break,
                Ok(Some(batch)) => {
                    lowest = batch.header.next_offset();
                    let Ok(read) = RecordBatch::from_bytes(batch.bytes) else { continue };
                    // Offsets lie outside the checksum.
                    let is_offset = (batch.position as usize..batch.position as usize + 8).contains(&at);
                    // And so does the epoch of magic 2.
                    assert!(is_offset || lines_of(&read).iter().all(|line| truth.contains(line)), "{at}");
                }
                Err(Error::Corrupt(_)) => {
                    scanner.skip_damage(lowest, Offset::new(END).unwrap()).unwrap();
                }
                Err(other) => panic!("{at}: {other}"),
            }
        }
    }
}

#[test]
fn a_search_behind_damage_finds_old_messages() {
    let bytes = log_bytes();
    for window in batches().windows(2) {
        let ((start, _), (end, next)) = (window[0], window[1]);
        for at in [start + 9, start + 16, start + 20] {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x41;
            let file = storage_of(&bytes).open(&log_path(), OpenMode::Read).unwrap();
            let mut scanner = BatchScanner::new(file, start as u64, bytes.len() as u64);
            assert!(scanner.next_batch().is_err());
            // A damaged set may hold messages as they are: only their offsets tell that they are none of the log.
            assert!(scanner.skip_damage(next.base_offset(), Offset::new(END).unwrap()).unwrap(), "{at}");
            assert_eq!(scanner.position(), end as u64, "{at}");
            assert_eq!(scanner.next_batch().unwrap().unwrap().header.base_offset(), next.base_offset());
        }
    }
}

#[test]
fn offsets_are_found_by_time() {
    let home = home_of(&log_bytes());
    let at = |millis| {
        let spec = OffsetSpec::Timestamp(Timestamp::from_millis(millis));
        let found = home.log.list_offset(spec, ReadIsolation::LogEnd).unwrap();
        found.map(|found| (found.offset.get(), found.timestamp.unwrap().as_millis()))
    };
    assert_eq!(at(0), Some((20, 1_700_000_000_200)), "magic 0 has no times");
    assert_eq!(at(1_700_000_000_253), Some((27, 1_700_000_000_254)), "inside a set");
    assert_eq!(at(1_700_000_000_355), Some((40, 1_700_000_009_999)), "the time of the append");
}

#[test]
fn a_log_is_truncated_at_old_messages_and_in_sets() {
    for (target, end) in [(3, 3), (7, 7), (22, 22), (27, 27), (57, 57)] {
        let home = home_of(&log_bytes());
        home.log.truncate_to(Offset::new(target).unwrap(), now()).unwrap();
        let lines = lines_from(&home, 0);
        assert!(lines.iter().all(|(offset, _)| *offset < end), "{target}");
        let whole = batches().iter().filter(|(_, header)| header.next_offset().get() <= target).count();
        let kept: u32 = batches()[..whole].iter().map(|(_, header)| header.record_count()).sum();
        assert_eq!(lines.len(), kept as usize, "{target}");
    }
}

#[test]
fn old_messages_are_not_taken_for_appending() {
    let is_refused = |result: logstead::Result<()>| match result {
        Err(Error::InvalidRecord { what, .. }) => assert!(what.contains("never written"), "{what}"),
        other => panic!("{other:?}"),
    };
    let home = Home::leading(LogConfig::new());
    for (start, header) in batches().into_iter().filter(|(_, header)| header.is_legacy()) {
        let bytes = log_bytes()[start..start + header.size_in_bytes()].to_vec();
        is_refused(RecordBatchRef::from_bytes(&bytes).map(drop));
        is_refused(BuiltBatch::from_foreign(bytes.clone()).map(drop));
        is_refused(home.log.append_as_follower(&bytes, now()).map(drop));
    }
    assert_eq!(home.log.log_end_offset(), Offset::ZERO);
}

#[test]
fn a_consumer_reads_them_and_seeks_into_a_set() {
    let storage = storage_of(&log_bytes());
    let directory = LogDirectory::options().storage(storage.clone()).seed(1).open(FOLDER).unwrap();
    drop(directory.open_log(&tp(), None, LogConfig::new(), now()).unwrap());
    directory.close().unwrap();
    let cluster = Cluster::builder().storage(storage).driver(Driver::Manual).seed(1).open(FOLDER).unwrap();
    let mut consumer = cluster.consumer().assign([tp()]).build().unwrap();
    for from in [0, 7, 27, 52, UPGRADE] {
        consumer.seek(&tp(), Offset::new(from).unwrap()).unwrap();
        let mut lines = Vec::new();
        loop {
            let records = consumer.poll(std::time::Duration::ZERO).unwrap();
            if records.is_empty() {
                break;
            }
            let read =
                records.iter().map(|record| line(record.offset(), record.timestamp(), record.key(), record.value()));
            lines.extend(read);
        }
        let wanted: Vec<_> = expected().into_iter().filter(|(offset, _)| *offset >= from).collect();
        assert_eq!(lines, wanted, "from {from}");
    }
}

#[test]
fn somebody_who_only_looks_reads_them() {
    let storage = storage_of(&log_bytes());
    let options = ReadOnlyDirectory::options().storage(storage).to_last_batch(true);
    let log = options.open(FOLDER).unwrap().open_log(&tp()).unwrap();
    let (mut lines, mut next) = (Vec::new(), Offset::ZERO);
    loop {
        let slice = log.read(next, crate::support::to_the_end(1 << 20)).unwrap();
        if slice.is_empty() {
            break;
        }
        slice.batches().for_each(|batch| lines.extend(lines_of(&batch.unwrap())));
        next = slice.next_offset();
    }
    assert_eq!(lines, expected());
}
