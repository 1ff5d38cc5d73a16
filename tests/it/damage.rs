//! Bits that flip below the durable point: found, named, walked around, and never cut.

use std::path::{Path, PathBuf};

use logstead::Error;
use logstead::config::LogConfig;
use logstead::error::{Corrupt, Damage};
use logstead::log::SegmentFile;
use logstead::storage::{MemStorage, Storage};
use logstead::types::Offset;

use crate::support::{Home, batch_of, bytes_of, overwrite, partition_file, read};

/// Every field of a batch header by its first and last byte, and two places in the records.
const PLACES: [(&str, usize); 32] = [
    ("base offset", 0),
    ("base offset", 3),
    ("base offset", 6),
    ("base offset", 7),
    ("length", 8),
    ("length", 10),
    ("length", 11),
    ("leader epoch", 12),
    ("leader epoch", 14),
    ("leader epoch", 15),
    ("magic", 16),
    ("crc", 17),
    ("crc", 20),
    ("attributes", 21),
    ("attributes", 22),
    ("last offset delta", 23),
    ("last offset delta", 26),
    ("base timestamp", 27),
    ("base timestamp", 34),
    ("max timestamp", 35),
    ("max timestamp", 42),
    ("producer id", 43),
    ("producer id", 50),
    ("producer epoch", 51),
    ("producer epoch", 52),
    ("base sequence", 53),
    ("base sequence", 56),
    ("record count", 57),
    ("record count", 60),
    ("records", 61),
    ("records", 70),
    ("records", 80),
];

const BATCHES: i64 = 6;
const RECORDS: i64 = 2;

fn value(batch: i64) -> [u8; 20] {
    [batch as u8; 20]
}

fn size() -> usize {
    batch_of(RECORDS as usize, &value(0)).size_in_bytes()
}

/// Where the damage is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    Active,
    Sealed,
}

/// A log of six durable batches, three in each segment or all in one, and its files after a clean stop or a crash.
fn written(place: Where, closed: bool) -> (MemStorage, LogConfig) {
    let segment_bytes = if place == Where::Sealed { 3 * size() as u64 } else { 1 << 20 };
    let home = Home::leading(LogConfig::new().segment_bytes(segment_bytes).index_interval_bytes(0));
    (0..BATCHES).for_each(|batch| home.append(RECORDS as usize, &value(batch)));
    home.log.flush().unwrap();
    home.log.advance_high_watermark(home.log.log_end_offset()).unwrap();
    match closed {
        true => home.close(),
        false => {
            let config = LogConfig::clone(&home.log.config());
            let Home { storage, directory, log } = home;
            drop((directory, log));
            (storage, config)
        }
    }
}

/// The batches to damage: first, inner and last of the segment at offset 0, and the last of the log.
fn targets(place: Where) -> [i64; 3] {
    match place {
        Where::Active => [0, 1, 5],
        Where::Sealed => [0, 1, 2],
    }
}

/// Flips one bit of byte `at` of the batch number `target`; returns the path of its file and the bytes that are in it now.
fn flip(storage: &dyn Storage, target: i64, at: usize, bit: u8) -> (PathBuf, Vec<u8>) {
    let path = partition_file(&SegmentFile::Log.name(Offset::ZERO));
    let mut bytes = bytes_of(storage, &path);
    bytes[target as usize * size() + at] ^= 1 << bit;
    overwrite(storage, &path, &bytes);
    (path, bytes)
}

fn assert_names(target: i64, corrupt: &Corrupt, path: &Path, what: &str) {
    assert_eq!(corrupt.tp.as_ref().unwrap().to_string(), "orders-0", "{what}");
    assert_eq!(corrupt.path.as_deref(), Some(path), "{what}");
    let (target_at, size) = (target as u64 * size() as u64, size() as u64);
    assert!((target_at..target_at + size).contains(&corrupt.position), "{what}: {corrupt:?}");
    let offsets = corrupt.offsets.unwrap();
    let named = (offsets.first.get(), offsets.next_intact.get());
    assert_eq!(named, (target * RECORDS, (target + 1) * RECORDS), "{what}: {corrupt:?}");
}

/// Reads every batch; the damaged one is refused, the others are what they were.
fn assert_the_rest_is_readable(home: &Home, target: i64, path: &Path, what: &str) {
    for batch in 0..BATCHES {
        for from in [batch * RECORDS, batch * RECORDS + 1] {
            match read(&home.log, from) {
                Ok(slice) => {
                    assert_ne!(batch, target, "{what}: the damaged batch was served at {from}");
                    let first = slice.batches().next().unwrap().unwrap();
                    assert_eq!(first.records().next().unwrap().value(), Some(&value(batch)[..]), "{what}: at {from}");
                    assert_eq!(first.header().base_offset().get(), batch * RECORDS, "{what}: at {from}");
                }
                Err(Error::Corrupt(corrupt)) => {
                    assert_eq!(batch, target, "{what}: at {from}: {corrupt:?}");
                    assert_names(target, &corrupt, path, what);
                }
                Err(other) => panic!("{what}: at {from}: {other}"),
            }
        }
    }
}

fn assert_found_at_open(place: Where) {
    for (target, (field, at)) in targets(place).into_iter().flat_map(|target| PLACES.map(|at| (target, at))) {
        for bit in [0, 7] {
            let what = format!("{place:?}, bit {bit} of byte {at} ({field}) of batch {target}");
            let (storage, config) = written(place, false);
            let (path, bytes) = flip(&storage, target, at, bit);
            let home = Home::on(storage.clone(), config.clone());
            let report = home.log.recovery_report();
            assert_eq!((report.damage.len(), report.cuts.len()), (1, 0), "{what}: {report:?}");
            assert_names(target, &report.damage[0], &path, &what);
            assert_the_rest_is_readable(&home, target, &path, &what);
            assert_eq!(home.log.log_end_offset().get(), BATCHES * RECORDS, "{what}");
            let refused = home.log.begin_epoch(crate::support::epoch(1));
            assert!(matches!(refused, Err(Error::Offline { .. })), "{what}: {refused:?}");
            home.directory.close().unwrap();
            assert_eq!(bytes_of(&storage, &path), bytes, "{what}");
            // The next start finds the same: a close must not make damage look like a clean stop.
            let again = Home::on(storage, config);
            assert_eq!(again.log.recovery_report().damage.len(), 1, "{what}");
            assert_the_rest_is_readable(&again, target, &path, &what);
        }
    }
}

fn assert_found_by_reads(place: Where) {
    for (target, (field, at)) in targets(place).into_iter().flat_map(|target| PLACES.map(|at| (target, at))) {
        for bit in [0, 7] {
            let what = format!("{place:?}, bit {bit} of byte {at} ({field}) of batch {target}");
            let (storage, config) = written(place, true);
            let (path, bytes) = flip(&storage, target, at, bit);
            let home = Home::on(storage.clone(), config);
            assert_the_rest_is_readable(&home, target, &path, &what);
            drop(home);
            assert_eq!(bytes_of(&storage, &path), bytes, "{what}");
        }
    }
}

#[test]
fn a_flipped_bit_in_the_active_segment_is_found_when_a_crashed_log_is_opened() {
    assert_found_at_open(Where::Active);
}

#[test]
fn a_flipped_bit_in_a_sealed_segment_is_found_when_a_crashed_log_is_opened() {
    assert_found_at_open(Where::Sealed);
}

#[test]
fn a_flipped_bit_in_the_active_segment_is_found_by_reads_after_a_clean_stop() {
    assert_found_by_reads(Where::Active);
}

#[test]
fn a_flipped_bit_in_a_sealed_segment_is_found_by_reads_after_a_clean_stop() {
    assert_found_by_reads(Where::Sealed);
}

#[test]
fn a_flipped_bit_in_a_sealed_segment_does_not_match_its_seal() {
    for (field, at) in PLACES {
        let (storage, config) = written(Where::Sealed, true);
        let (path, _) = flip(&storage, 1, at, 3);
        let home = Home::on(storage, config);
        let refused = home.log.segments()[0].verify_seal();
        let Err(Error::Corrupt(corrupt)) = refused else { panic!("{field} at {at}: {refused:?}") };
        assert_eq!(corrupt.path.as_deref(), Some(path.as_path()));
    }
}

#[test]
fn a_lost_segment_file_is_damage_and_not_a_gap() {
    for closed in [true, false] {
        let (storage, config) = written(Where::Sealed, closed);
        let path = partition_file(&SegmentFile::Log.name(Offset::ZERO));
        storage.remove(&path).unwrap();
        let home = Home::on(storage, config);
        let damage = &home.log.recovery_report().damage;
        assert_eq!(damage.len(), 1, "closed: {closed}");
        assert!(matches!(damage[0].what, Damage::Missing { .. }));
        assert_eq!(damage[0].offsets.map(|offsets| (offsets.first.get(), offsets.next_intact.get())), Some((0, 6)));
        assert!(read(&home.log, 6).is_ok());
        let refused = home.log.begin_epoch(crate::support::epoch(1));
        assert!(matches!(refused, Err(Error::Offline { .. })), "{refused:?}");
    }
}

#[test]
fn a_lost_newest_segment_is_damage() {
    for closed in [true, false] {
        let (storage, config) = written(Where::Sealed, closed);
        storage.remove(&partition_file(&SegmentFile::Log.name(Offset::from(6)))).unwrap();
        let home = Home::on(storage, config);
        let damage = &home.log.recovery_report().damage;
        assert_eq!(damage.len(), 1, "closed: {closed}");
        assert_eq!(damage[0].offsets.map(|offsets| (offsets.first.get(), offsets.next_intact.get())), Some((6, 12)));
        assert!(read(&home.log, 0).is_ok());
    }
}

#[test]
fn a_file_that_lost_durable_bytes_is_damage_and_not_a_torn_tail() {
    let (storage, config) = written(Where::Active, false);
    let path = partition_file(&SegmentFile::Log.name(Offset::ZERO));
    let bytes = bytes_of(&storage, &path);
    for len in [bytes.len() - 1, 3 * size(), 3 * size() + 7, 0] {
        overwrite(&storage, &path, &bytes[..len]);
        let home = Home::on(storage.clone(), config.clone());
        let report = home.log.recovery_report();
        assert!(!report.damage.is_empty(), "{len}: {report:?}");
        assert!(report.cuts.is_empty(), "{len}: {report:?}");
        drop(home);
        assert_eq!(bytes_of(&storage, &path).len(), len);
    }
}
