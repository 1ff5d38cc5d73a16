//! The indexes of the segment that still grows, lost or replaced while nobody has the folder open: no answer changes.

use std::path::PathBuf;
use std::time::Duration;

use logstead::config::LogConfig;
use logstead::log::{ListedOffset, LogDirectory, OffsetSpec, ReadIsolation, RetentionClock, SegmentFile};
use logstead::record::{BatchBuilder, BatchOptions, EndTransactionMarker, ProducerStamp, TransactionOutcome};
use logstead::storage::{MemStorage, Storage};
use logstead::time::Now;
use logstead::types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

use crate::support::{FOLDER, Home, batch_at, bytes_of, now, overwrite, partition_file, tp};

const HOUR: i64 = 3_600_000;

fn offset(raw: u32) -> Offset {
    Offset::from(raw)
}

fn later(millis: i64) -> Timestamp {
    Timestamp::from_millis(now().wall.as_millis() + millis)
}

fn path(kind: SegmentFile) -> PathBuf {
    partition_file(&kind.name(Offset::ZERO))
}

fn dense() -> LogConfig {
    LogConfig::new().index_interval_bytes(0).timestamp_after_max(None)
}

fn commit(home: &Home) {
    home.log.advance_high_watermark(home.log.flush().unwrap()).unwrap();
}

/// One record at each of these times after the clock's, with an index entry for all but the first.
fn at_times(millis: &[i64]) -> Home {
    let home = Home::leading(dense());
    for millis in millis {
        home.log.append_as_leader(&mut batch_at(1, b"value", Some(later(*millis))), now()).unwrap();
    }
    commit(&home);
    home
}

fn newest(home: &Home) -> Option<ListedOffset> {
    home.log.list_offset(OffsetSpec::MaxTimestamp, ReadIsolation::HighWatermark).unwrap()
}

fn die(home: Home) -> (MemStorage, LogConfig) {
    let (storage, config) = (home.storage.clone(), LogConfig::clone(&home.log.config()));
    drop(home);
    (storage, config)
}

/// Every way to spoil a time index so that it still looks like one.
fn plausible(good: &[u8]) -> Vec<Vec<u8>> {
    let mut lower = good.to_vec();
    for (entry, millis) in lower.chunks_mut(12).zip(1_i64..) {
        entry[..8].copy_from_slice(&millis.to_be_bytes());
    }
    vec![Vec::new(), good[..12].to_vec(), lower]
}

#[test]
fn a_time_index_that_was_emptied_or_replaced_changes_no_answer() {
    for case in 0..3 {
        for is_clean in [true, false] {
            let home = at_times(&[0, HOUR, 5 * HOUR, 2 * HOUR]);
            home.directory.checkpoint().unwrap();
            let expected = newest(&home);
            assert_eq!(expected.map(|found| found.offset), Some(offset(2)));
            let (storage, config) = if is_clean { home.close() } else { die(home) };
            let good = bytes_of(&storage, &path(SegmentFile::TimeIndex));
            overwrite(&storage, &path(SegmentFile::TimeIndex), &plausible(&good)[case]);
            let home = Home::on(storage, config);
            assert_eq!(newest(&home), expected, "case {case}, clean {is_clean}");
            assert_eq!(home.log.recovery_report().rebuilt_indexes, 1);
            let (storage, _) = home.close();
            assert_eq!(bytes_of(&storage, &path(SegmentFile::TimeIndex)), good, "case {case}, clean {is_clean}");
        }
    }
}

#[test]
fn a_time_index_that_was_replaced_deletes_nothing_too_early() {
    let config = |home: &Home| LogConfig::clone(&home.log.config()).retention_time(Some(Duration::from_secs(3600)));
    let home = at_times(&[0, 5 * HOUR, HOUR]);
    let config = config(&home);
    let (storage, _) = home.close();
    overwrite(&storage, &path(SegmentFile::TimeIndex), &[]);
    let home = Home::on(storage, config);
    let mut clock = RetentionClock::new(Duration::ZERO);
    let at = |millis: i64| Now {
        mono: now().mono.after(Duration::from_millis(u64::try_from(millis).unwrap())),
        wall: later(millis),
    };
    clock.look(at(6 * HOUR - 1));
    assert_eq!(home.log.apply_retention(clock.look(at(6 * HOUR))).unwrap().removed, []);
    clock.look(at(6 * HOUR));
    assert_eq!(home.log.apply_retention(clock.look(at(6 * HOUR + 1))).unwrap().removed.len(), 1);
}

#[test]
fn an_offset_index_that_was_replaced_is_built_again() {
    let home = at_times(&[0, 1, 2, 3]);
    let (storage, config) = home.close();
    let good = bytes_of(&storage, &path(SegmentFile::OffsetIndex));
    overwrite(&storage, &path(SegmentFile::OffsetIndex), &good[..8]);
    let home = Home::on(storage, config);
    assert_eq!(home.log.recovery_report().rebuilt_indexes, 1);
    let (storage, _) = home.close();
    assert_eq!(bytes_of(&storage, &path(SegmentFile::OffsetIndex)), good);
}

#[test]
fn what_is_as_it_was_left_is_not_read_again() {
    let home = at_times(&(0..50).collect::<Vec<_>>());
    let last = home.log.segments()[0].offset_index().unwrap().last().unwrap().position;
    let len = home.log.segments()[0].size_in_bytes();
    for _ in 0..2 {
        home.directory.checkpoint().unwrap();
    }
    let home = home.crash();
    assert_eq!((home.log.recovery_report().scanned_bytes, home.log.recovery_report().rebuilt_indexes), (len - last, 0));
    let home = home.restart().restart();
    assert_eq!((home.log.recovery_report().scanned_bytes, home.log.recovery_report().rebuilt_indexes), (len - last, 0));
}

/// A plain record, one in a transaction, the marker that aborts it, a plain record.
fn aborted(producer: i64, home: &Home) {
    let id = ProducerId::new(producer).unwrap();
    let stamp = ProducerStamp { id, epoch: ProducerEpoch::ZERO, base_sequence: Some(Sequence::ZERO) };
    let options = BatchOptions { producer: Some(stamp), transactional: true, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    builder.append(Some(now().wall), None, Some(b"in a transaction"), &[]).unwrap();
    home.append(1, b"plain");
    home.log.append_as_leader(&mut builder.build().unwrap(), now()).unwrap();
    let marker = EndTransactionMarker { outcome: TransactionOutcome::Abort, coordinator_epoch: 0 };
    home.log.append_as_leader(&mut marker.to_batch(id, ProducerEpoch::ZERO, now().wall), now()).unwrap();
    home.append(1, b"plain");
    commit(home);
}

fn aborted_in(home: &Home) -> Vec<(i64, i64)> {
    let found = home.log.aborted_transactions(offset(0), home.log.log_end_offset()).unwrap();
    found.iter().map(|entry| (entry.first_offset.get(), entry.last_offset.get())).collect()
}

#[test]
fn a_transaction_index_that_was_lost_or_cut_hides_no_aborted_transaction() {
    for segment_bytes in [1 << 20, 900] {
        for kept in [0, 1] {
            for is_clean in [true, false] {
                let home = Home::leading(dense().segment_bytes(segment_bytes));
                (0..8).for_each(|producer| aborted(producer, &home));
                home.directory.checkpoint().unwrap();
                let expected = aborted_in(&home);
                assert_eq!(expected.len(), 8);
                let base = *home.bases().last().unwrap();
                let path = home.path(SegmentFile::TransactionIndex, base);
                let (storage, config) = if is_clean { home.close() } else { die(home) };
                let good = bytes_of(&storage, &path);
                assert!(good.len() > kept * 34);
                match kept {
                    0 => storage.remove(&path).unwrap(),
                    _ => overwrite(&storage, &path, &good[..kept * 34]),
                }
                let home = Home::on(storage, config);
                let what = format!("{segment_bytes} bytes, {kept} kept, clean {is_clean}");
                assert_eq!(aborted_in(&home), expected, "{what}");
                let home = home.restart();
                assert_eq!(aborted_in(&home), expected, "{what}");
                assert_eq!(bytes_of(&home.storage, &path), good, "{what}");
            }
        }
    }
}

#[test]
fn a_log_without_the_checksums_is_read_once_and_gets_them() {
    let home = at_times(&[0, 5 * HOUR, HOUR]);
    let expected = newest(&home);
    let (storage, config) = home.close();
    // As an older version left the witness: both blocks without the flag.
    let witness = PathBuf::from(FOLDER).join("logstead.witness");
    let mut bytes = bytes_of(&storage, &witness);
    for block in bytes.chunks_mut(512).filter(|block| block.starts_with(b"LSWT")) {
        block[7] &= !2;
        block[500..508].fill(0);
        let sum = crc32fast::hash(&block[..508]);
        block[508..].copy_from_slice(&sum.to_be_bytes());
    }
    overwrite(&storage, &witness, &bytes);
    overwrite(&storage, &path(SegmentFile::TimeIndex), &[]);
    let home = Home::on(storage, config.clone());
    assert_eq!(newest(&home), expected);
    let scanned = home.log.recovery_report().scanned_bytes;
    assert_eq!(scanned, home.log.segments()[0].size_in_bytes());
    let (storage, _) = home.close();
    let directory = LogDirectory::options().storage(storage).open(FOLDER).unwrap();
    let log = directory.open_log(&tp(), None, config, now()).unwrap();
    assert!(log.recovery_report().scanned_bytes < scanned);
}
