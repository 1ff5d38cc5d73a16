//! What reads return, and what becomes of it when the log moves on.

use logstead::Error;
use logstead::config::{LogConfig, ReadMode};
use logstead::log::{LogDirectory, LogSlice, ReadIsolation, ReadLimits};
use logstead::record::{BatchBuilder, BatchOptions, EndTransactionMarker, ProducerStamp, TransactionOutcome};
use logstead::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};

use crate::support::{Home, all_bytes, batch_of, now, read, to_the_end, tp};

fn offset(raw: i64) -> Offset {
    Offset::new(raw).unwrap()
}

fn values(slice: &LogSlice) -> Vec<Vec<u8>> {
    let batches = slice.batches().map(|batch| batch.unwrap());
    batches
        .flat_map(|batch| batch.records().map(|record| record.value().unwrap().to_vec()).collect::<Vec<_>>())
        .collect()
}

#[test]
fn below_the_log_start_and_above_the_log_end_is_out_of_range() {
    let home = Home::leading(LogConfig::new());
    home.append(5, b"value");
    home.log.flush().unwrap();
    home.log.advance_high_watermark(offset(5)).unwrap();
    home.log.delete_before(offset(2)).unwrap();
    for from in [1, 6] {
        let refused = read(&home.log, from);
        let Err(Error::OffsetOutOfRange { requested, start, end, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!((requested, start, end), (offset(from), offset(2), offset(5)));
    }
}

#[test]
fn at_the_log_end_there_is_nothing_yet() {
    let home = Home::leading(LogConfig::new());
    home.append(1, b"value");
    let slice = read(&home.log, 1).unwrap();
    assert_eq!((slice.len(), slice.next_offset()), (0, offset(1)));
}

#[test]
fn a_read_from_inside_a_batch_returns_the_whole_batch() {
    let home = Home::leading(LogConfig::new());
    home.append(2, b"first");
    home.append(3, b"second");
    let slice = read(&home.log, 3).unwrap();
    assert_eq!(slice.headers().next().unwrap().unwrap().base_offset(), offset(2));
    assert_eq!((slice.position().fetch_offset, slice.next_offset()), (offset(3), offset(5)));
}

#[test]
fn the_byte_limit_lets_one_batch_pass_unless_it_is_strict() {
    let home = Home::leading(LogConfig::new());
    home.append(1, &[0; 500]);
    home.append(1, &[0; 500]);
    let limits = to_the_end(100);
    assert_eq!(home.log.read(offset(0), limits).unwrap().next_offset(), offset(1));
    assert!(home.log.read(offset(0), limits.strict()).unwrap().is_empty());
}

#[test]
fn consumers_see_what_is_committed_and_followers_everything() {
    let home = Home::leading(LogConfig::new());
    home.append(1, b"committed");
    home.log.flush().unwrap();
    home.log.advance_high_watermark(offset(1)).unwrap();
    home.append(1, b"not yet");
    let seen =
        |isolation| home.log.read(offset(0), ReadLimits::bytes(1_000).isolation(isolation)).unwrap().next_offset();
    assert_eq!(seen(ReadIsolation::HighWatermark), offset(1));
    assert_eq!(seen(ReadIsolation::LogEnd), offset(2));
}

#[test]
fn read_committed_stops_before_an_open_transaction() {
    let home = Home::leading(LogConfig::new());
    home.append(1, b"plain");
    let stamp = ProducerStamp { id: ProducerId::ZERO, epoch: ProducerEpoch::ZERO, base_sequence: Some(Sequence::ZERO) };
    let options = BatchOptions { producer: Some(stamp), transactional: true, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    builder.append(None, None, Some(b"open"), &[]).unwrap();
    home.log.append_as_leader(&mut builder.build().unwrap(), now()).unwrap();
    home.log.flush().unwrap();
    home.log.advance_high_watermark(offset(2)).unwrap();
    let limits = ReadLimits::bytes(1_000).isolation(ReadIsolation::LastStable);
    assert_eq!(home.log.read(offset(0), limits).unwrap().next_offset(), offset(1));
    let marker = EndTransactionMarker { outcome: TransactionOutcome::Abort, coordinator_epoch: 0 };
    home.log.append_as_leader(&mut marker.to_batch(stamp.id, stamp.epoch, now().wall), now()).unwrap();
    home.log.flush().unwrap();
    home.log.advance_high_watermark(offset(3)).unwrap();
    assert_eq!(home.log.read(offset(0), limits).unwrap().next_offset(), offset(3));
    let aborted = home.log.aborted_transactions(offset(0), offset(3)).unwrap();
    assert_eq!(aborted.len(), 1);
    assert_eq!((aborted[0].first_offset, aborted[0].last_offset), (offset(1), offset(2)));
}

#[test]
fn a_transaction_that_began_before_a_restart_of_the_log_does_not_hold_back_readers() {
    let home = Home::leading(LogConfig::new());
    let stamp = ProducerStamp { id: ProducerId::ZERO, epoch: ProducerEpoch::ZERO, base_sequence: Some(Sequence::ZERO) };
    let options = BatchOptions { producer: Some(stamp), transactional: true, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    builder.append(None, None, Some(b"open"), &[]).unwrap();
    home.log.append_as_leader(&mut builder.build().unwrap(), now()).unwrap();
    home.directory.checkpoint().unwrap();
    home.log.truncate_fully_and_start_at(offset(100), now()).unwrap();
    home.log.begin_epoch(LeaderEpoch::ZERO).unwrap();
    home.append(1, b"plain");
    home.log.flush().unwrap();
    home.log.advance_high_watermark(offset(101)).unwrap();
    assert_eq!(home.log.last_stable_offset(), offset(101));
}

#[test]
fn slices_outlive_the_deletion_of_their_segment() {
    for mode in [ReadMode::Positioned, ReadMode::Mapped] {
        let home = Home::leading(LogConfig::new().segment_bytes(100).read_mode(mode));
        (0..4).for_each(|value| home.append(1, &[value; 20]));
        home.log.flush().unwrap();
        home.log.advance_high_watermark(offset(4)).unwrap();
        let slice = read(&home.log, 0).unwrap();
        home.log.delete_before(offset(2)).unwrap();
        assert_eq!(home.bases(), [2, 3]);
        assert_eq!(values(&slice), [[0; 20]]);
    }
}

#[test]
fn slices_outlive_the_log() {
    for mode in [ReadMode::Positioned, ReadMode::Mapped] {
        let home = Home::leading(LogConfig::new().segment_bytes(100).read_mode(mode));
        (0..3).for_each(|value| home.append(1, &[value; 20]));
        home.log.flush().unwrap();
        let slices: Vec<_> = (0..3).map(|from| read(&home.log, from).unwrap()).collect();
        let _disk = home.close();
        for (value, slice) in (0..).zip(&slices) {
            assert_eq!(values(slice), [[value; 20]]);
        }
    }
}

#[test]
fn both_read_modes_give_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = Vec::new();
    for (time, mode) in [ReadMode::Positioned, ReadMode::Mapped, ReadMode::Positioned].into_iter().enumerate() {
        let directory = LogDirectory::open(folder.path()).unwrap();
        let config = LogConfig::new().segment_bytes(300).read_mode(mode);
        let log = directory.open_log(&tp(), None, config, now()).unwrap();
        if time == 0 {
            log.begin_epoch(LeaderEpoch::ZERO).unwrap();
            for value in 0..20 {
                log.append_as_leader(&mut batch_of(2, &[value; 15]), now()).unwrap();
            }
        }
        assert!(log.segments().len() > 4);
        seen.push(all_bytes(&log));
        directory.close().unwrap();
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
}

/// On a real disk, where a map of a file that was shortened would end the process.
#[test]
fn a_mapped_slice_survives_the_truncation_of_its_segment() {
    let folder = tempfile::tempdir().unwrap();
    let directory = LogDirectory::open(folder.path()).unwrap();
    let config = LogConfig::new().segment_bytes(16_000).read_mode(ReadMode::Mapped);
    let log = directory.open_log(&tp(), None, config, now()).unwrap();
    log.begin_epoch(LeaderEpoch::ZERO).unwrap();
    for value in 0..6 {
        log.append_as_leader(&mut batch_of(1, &[value; 5_000]), now()).unwrap();
    }
    log.flush().unwrap();
    assert_eq!(log.segments().len(), 2);
    let (kept, cut) = (read(&log, 0).unwrap(), read(&log, 2).unwrap());
    log.truncate_to(offset(1), now()).unwrap();
    log.begin_epoch(LeaderEpoch::new(1).unwrap()).unwrap();
    log.append_as_leader(&mut batch_of(1, &[9; 5_000]), now()).unwrap();
    assert_eq!(values(&kept), [[0; 5_000]]);
    assert_eq!(values(&cut), [[2; 5_000]]);
    assert_eq!(values(&read(&log, 1).unwrap()), [[9; 5_000]]);
}

#[test]
fn a_mapped_slice_of_an_earlier_opening_survives_a_truncation() {
    let home = Home::leading(LogConfig::new().segment_bytes(400).read_mode(ReadMode::Mapped));
    (0..8).for_each(|value| home.append(1, &[value; 100]));
    home.log.flush().unwrap();
    let slice = read(&home.log, 1).unwrap();
    let home = home.crash();
    home.log.truncate_to(offset(1), now()).unwrap();
    assert_eq!(values(&slice), [[1; 100]]);
}

#[test]
fn reading_on_from_a_slice_is_like_reading_from_its_next_offset() {
    let home = Home::leading(LogConfig::new().segment_bytes(300));
    (0..9).for_each(|value| home.append(2, &[value; 15]));
    let mut slice = read(&home.log, 0).unwrap();
    while slice.next_offset() < offset(18) {
        let fresh = home.log.read(slice.next_offset(), to_the_end(1)).unwrap();
        let next = home.log.read_after(&slice, to_the_end(1)).unwrap();
        assert_eq!((next.as_bytes(), next.position()), (fresh.as_bytes(), fresh.position()));
        slice = next;
    }
}
