//! Opening again: what a log knows after a clean stop, after a crash, and after it was used before in the same session.

use logstead::config::{Durability, LogConfig};
use logstead::log::SegmentFile;
use logstead::record::{BatchBuilder, BatchOptions, EndTransactionMarker, ProducerStamp, TransactionOutcome};
use logstead::types::{Offset, ProducerEpoch, ProducerId, Sequence};

use crate::support::{Home, all_bytes, bytes_of, epoch, now, overwrite, tp};

fn offset(raw: i64) -> Offset {
    Offset::new(raw).unwrap()
}

fn append_transactional(home: &Home, producer: i64) {
    let id = ProducerId::new(producer).unwrap();
    let stamp = ProducerStamp { id, epoch: ProducerEpoch::ZERO, base_sequence: Some(Sequence::ZERO) };
    let options = BatchOptions { producer: Some(stamp), transactional: true, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    builder.append(None, None, Some(b"in a transaction"), &[]).unwrap();
    home.log.append_as_leader(&mut builder.build().unwrap(), now()).unwrap();
}

fn abort(home: &Home, producer: i64) {
    let marker = EndTransactionMarker { outcome: TransactionOutcome::Abort, coordinator_epoch: 0 };
    let id = ProducerId::new(producer).unwrap();
    home.log.append_as_leader(&mut marker.to_batch(id, ProducerEpoch::ZERO, now().wall), now()).unwrap();
}

/// Lets go of the log and opens it again under the same `LogDirectory`.
fn reopen(home: Home) -> Home {
    let Home { storage, directory, log } = home;
    let config = LogConfig::clone(&log.config());
    drop(log);
    let log = directory.open_log(&tp(), None, config, now()).unwrap();
    Home { storage, directory, log }
}

#[test]
fn what_was_appended_survives_the_death_of_the_process_unflushed() {
    let home = Home::leading(LogConfig::new().segment_bytes(200));
    (0..7).for_each(|value| home.append(1, &[value; 20]));
    let before = all_bytes(&home.log);
    let home = home.crash();
    assert_eq!(all_bytes(&home.log), before);
    assert!(!home.log.recovery_report().was_clean);
}

#[test]
fn recovering_twice_changes_nothing() {
    let home = Home::leading(LogConfig::new().segment_bytes(200).index_interval_bytes(0));
    (0..7).for_each(|value| home.append(1, &[value; 20]));
    let files = |home: &Home| -> Vec<(String, Vec<u8>)> {
        let names = home.names();
        names
            .into_iter()
            .map(|name| (name.clone(), bytes_of(&home.storage, &crate::support::partition_file(&name))))
            .collect()
    };
    let once = home.crash();
    let after_one = files(&once);
    let twice = once.crash();
    assert_eq!(files(&twice), after_one);
    assert_eq!(twice.log.recovery_report().rebuilt_indexes, 0);
}

#[test]
fn a_clean_stop_leaves_nothing_to_recover() {
    let home = Home::leading(LogConfig::new().segment_bytes(200));
    (0..7).for_each(|value| home.append(1, &[value; 20]));
    let home = home.restart();
    let report = home.log.recovery_report();
    assert!(report.was_clean);
    assert_eq!((report.rewritten_bytes, report.rebuilt_indexes, report.cuts.len()), (0, 0, 0));
}

#[test]
fn a_log_that_is_opened_again_in_one_session_keeps_its_high_watermark() {
    let home = Home::leading(LogConfig::new().durability(Durability::Os));
    home.append(1, b"value");
    home.log.advance_high_watermark(offset(1)).unwrap();
    let home = reopen(home);
    assert_eq!(home.log.high_watermark(), offset(1));
}

#[test]
fn a_log_that_was_truncated_and_is_opened_again_in_one_session_is_not_damaged() {
    let home = Home::leading(LogConfig::new());
    (0..3).for_each(|value| home.append(1, &[value]));
    let home = home.restart();
    home.log.truncate_to(offset(1), now()).unwrap();
    let home = reopen(home);
    assert_eq!(home.log.recovery_report().damage, []);
    assert_eq!(home.log.log_end_offset(), offset(1));
}

#[test]
fn what_was_written_after_opening_twice_in_one_session_counts_at_the_next_start() {
    let home = Home::leading(LogConfig::new());
    home.append(3, b"value");
    home.log.flush().unwrap();
    home.log.advance_high_watermark(offset(3)).unwrap();
    home.directory.checkpoint().unwrap();
    let home = reopen(home);
    home.log.truncate_to(offset(0), now()).unwrap();
    let home = home.crash();
    assert_eq!((home.log.log_end_offset(), home.log.high_watermark()), (offset(0), offset(0)));
    assert_eq!(home.log.recovery_report().damage, []);
}

#[test]
fn a_log_start_that_fell_is_not_raised_again_by_an_old_checkpoint() {
    let home = Home::leading(LogConfig::new());
    home.append(1, b"value");
    (0..9).for_each(|_| home.append(1, b"value"));
    home.log.flush().unwrap();
    home.log.advance_high_watermark(offset(10)).unwrap();
    home.log.delete_before(offset(8)).unwrap();
    home.directory.checkpoint().unwrap();
    home.log.truncate_fully_and_start_at(offset(2), now()).unwrap();
    home.log.begin_epoch(epoch(1)).unwrap();
    (0..9).for_each(|_| home.append(1, b"value"));
    home.log.flush().unwrap();
    assert_eq!(home.crash().log.log_start_offset(), offset(2));
}

#[test]
fn segments_below_the_log_start_that_a_crash_left_are_removed() {
    let home = Home::leading(LogConfig::new().segment_bytes(100).durability(Durability::Os));
    (0..3).for_each(|value| home.append(1, &[value; 20]));
    home.log.advance_high_watermark(offset(3)).unwrap();
    // The segment still waits to be sealed, so its files stay for now.
    home.log.delete_before(offset(1)).unwrap();
    let home = home.crash();
    assert_eq!(home.log.log_start_offset(), offset(1));
    assert!(home.bases()[0] >= 1);
}

#[test]
fn a_truncation_inside_the_first_batch_that_is_left_empties_the_log() {
    let home = Home::leading(LogConfig::new());
    home.append(4, b"value");
    home.append(4, b"value");
    home.log.flush().unwrap();
    home.log.advance_high_watermark(offset(8)).unwrap();
    home.log.delete_before(offset(2)).unwrap();
    assert_eq!(home.log.truncate_to(offset(3), now()).unwrap().log_end, offset(2));
    assert_eq!((home.log.log_start_offset(), home.log.log_end_offset()), (offset(2), offset(2)));
    let home = home.crash();
    assert_eq!((home.log.log_start_offset(), home.log.log_end_offset()), (offset(2), offset(2)));
}

#[test]
fn an_aborted_transaction_that_was_truncated_is_forgotten() {
    let home = Home::leading(LogConfig::new());
    home.append(1, b"value");
    home.directory.checkpoint().unwrap();
    append_transactional(&home, 7);
    abort(&home, 7);
    home.log.truncate_to(offset(1), now()).unwrap();
    assert_eq!(home.log.aborted_transactions(offset(0), offset(9)).unwrap(), []);
}

#[test]
fn an_open_transaction_is_known_after_the_segments_before_it_are_deleted() {
    let home = Home::leading(LogConfig::new().segment_bytes(100).durability(Durability::Os));
    append_transactional(&home, 7);
    (0..3).for_each(|value| home.append(1, &[value; 20]));
    let home = home.crash();
    home.log.begin_epoch(epoch(1)).unwrap();
    home.log.advance_high_watermark(offset(4)).unwrap();
    home.log.delete_before(offset(2)).unwrap();
    assert!(home.bases()[0] > 0);
    let home = home.crash();
    home.log.begin_epoch(epoch(2)).unwrap();
    assert_eq!(home.log.last_stable_offset(), offset(2));
    abort(&home, 7);
    assert_eq!(home.log.aborted_transactions(offset(2), offset(9)).unwrap().len(), 1);
}

#[test]
fn an_open_transaction_is_known_after_its_segment_was_deleted_before_any_flush() {
    let home = Home::leading(LogConfig::new().segment_bytes(100).durability(Durability::Os));
    append_transactional(&home, 7);
    home.append(1, &[1; 20]);
    home.log.advance_high_watermark(offset(2)).unwrap();
    home.log.delete_before(offset(1)).unwrap();
    assert_eq!(home.log.last_stable_offset(), offset(1));
    let home = home.crash();
    assert_eq!((home.bases()[0], home.log.high_watermark()), (1, offset(2)));
    assert_eq!(home.log.last_stable_offset(), offset(1));
    home.log.begin_epoch(epoch(1)).unwrap();
    abort(&home, 7);
    assert_eq!(home.log.aborted_transactions(offset(1), offset(9)).unwrap().len(), 1);
}

#[test]
fn a_transaction_that_is_open_before_damage_stays_open_when_its_segment_is_dropped() {
    let home = Home::leading(LogConfig::new().segment_bytes(180).durability(Durability::Os));
    append_transactional(&home, 7);
    home.append(1, &[1; 20]);
    home.append(1, &[2; 20]);
    assert_eq!(home.bases(), [0, 2]);
    home.log.advance_high_watermark(offset(3)).unwrap();
    home.log.delete_before(offset(2)).unwrap();
    let path = home.path(SegmentFile::Log, 0);
    let (storage, config) = (home.storage.clone(), LogConfig::clone(&home.log.config()));
    drop(home);
    let bytes = bytes_of(&storage, &path);
    overwrite(&storage, &path, &bytes[..bytes.len() - 1]);
    let home = Home::on(storage, config);
    assert_eq!((home.bases(), home.log.recovery_report().damage.len()), (vec![2], 0));
    assert_eq!((home.log.last_stable_offset(), home.log.high_watermark()), (offset(2), offset(3)));
}

#[test]
fn a_log_start_inside_a_gap_stays_where_it_is() {
    for clean in [false, true] {
        let home = Home::new(LogConfig::new().segment_bytes(100));
        home.log.append_as_follower(&crate::support::replicated(0, 0, 1), now()).unwrap();
        home.log.append_as_follower(&crate::support::replicated(9, 3, 1), now()).unwrap();
        home.log.flush().unwrap();
        home.log.advance_high_watermark(offset(5)).unwrap();
        home.log.delete_before(offset(5)).unwrap();
        assert_eq!(home.bases(), [9]);
        let seen = |home: &Home| (home.log.log_start_offset(), home.log.high_watermark(), home.log.epochs());
        let before = seen(&home);
        let home = if clean { home.restart() } else { home.crash() };
        assert_eq!(seen(&home), before);
        assert_eq!((before.0, before.1), (offset(5), offset(5)));
        let slice = crate::support::read(&home.log, 5).unwrap();
        assert_eq!(slice.next_offset(), offset(10));
    }
}

#[test]
fn an_epoch_that_began_inside_a_gap_is_remembered_although_earlier_records_are_deleted() {
    let home = Home::leading(LogConfig::new().segment_bytes(200));
    home.append(2, b"value");
    home.log.begin_epoch(epoch(1)).unwrap();
    home.log.append_as_follower(&crate::support::replicated(5, 1, 1), now()).unwrap();
    home.log.flush().unwrap();
    home.log.advance_high_watermark(offset(1)).unwrap();
    home.log.delete_before(offset(1)).unwrap();
    // Writes the history, which has forgotten what lies below the log start.
    home.log.begin_epoch(epoch(2)).unwrap();
    home.append(1, b"value");
    let before = home.log.epochs();
    let starts: Vec<_> = before.entries().iter().map(|entry| entry.start_offset.get()).collect();
    assert_eq!(starts, [1, 2, 6]);
    assert_eq!(home.crash().log.epochs(), before);
}

#[test]
fn a_segment_behind_a_gap_has_its_snapshot() {
    let home = Home::new(LogConfig::new().segment_bytes(100));
    home.log.append_as_follower(&crate::support::replicated(0, 0, 1), now()).unwrap();
    home.log.append_as_follower(&crate::support::replicated(9, 0, 1), now()).unwrap();
    home.log.append_as_follower(&crate::support::replicated(10, 0, 1), now()).unwrap();
    home.log.flush().unwrap();
    assert_eq!(home.bases(), [0, 9, 10]);
    assert!(home.log.segments()[1].verify_seal().unwrap());
    assert!(home.names().contains(&SegmentFile::Snapshot.name(offset(9))));
}

#[test]
fn a_torn_tail_is_cut() {
    let home = Home::leading(LogConfig::new());
    home.append(1, b"whole");
    let whole = all_bytes(&home.log);
    home.append(1, b"torn");
    let path = home.path(SegmentFile::Log, 0);
    let (storage, config, bytes) =
        (home.storage.clone(), LogConfig::clone(&home.log.config()), bytes_of(&home.storage, &path));
    drop(home);
    for len in whole.len() + 1..bytes.len() {
        overwrite(&storage, &path, &bytes[..len]);
        let home = Home::on(storage.clone(), config.clone());
        let report = home.log.recovery_report();
        assert_eq!((report.damage.len(), report.cuts.len()), (0, 1), "{len}");
        assert_eq!((report.cuts[0].position, report.cuts[0].kept_in.as_ref()), (whole.len() as u64, None));
        assert_eq!(all_bytes(&home.log), whole);
    }
}

#[test]
fn zeros_behind_the_last_batch_are_cut() {
    let home = Home::leading(LogConfig::new());
    home.append(1, b"whole");
    let (path, before) = (home.path(SegmentFile::Log, 0), all_bytes(&home.log));
    let (storage, config) = (home.storage.clone(), LogConfig::clone(&home.log.config()));
    drop(home);
    overwrite(&storage, &path, &[before.as_slice(), &[0; 5_000]].concat());
    let home = Home::on(storage, config);
    assert_eq!(all_bytes(&home.log), before);
    assert_eq!(bytes_of(&home.storage, &path), before);
}

/// A torn header whose second half never arrived has a magic of 0, like a message of old Kafka.
#[test]
fn a_torn_header_is_not_taken_for_an_old_message() {
    let home = Home::leading(LogConfig::new());
    home.append(1, b"whole");
    let whole = all_bytes(&home.log);
    home.append(1, b"torn");
    let path = home.path(SegmentFile::Log, 0);
    let (storage, config, mut bytes) =
        (home.storage.clone(), LogConfig::clone(&home.log.config()), bytes_of(&home.storage, &path));
    drop(home);
    bytes[whole.len() + 13..].fill(0);
    overwrite(&storage, &path, &bytes);
    let home = Home::on(storage, config);
    assert_eq!(all_bytes(&home.log), whole);
}

#[test]
fn intact_batches_behind_a_torn_one_are_kept_aside_and_reported() {
    let home = Home::leading(LogConfig::new());
    home.append(1, b"whole");
    let whole = all_bytes(&home.log);
    home.append(1, b"bad");
    home.append(1, b"good");
    let path = home.path(SegmentFile::Log, 0);
    let (storage, config, mut bytes) =
        (home.storage.clone(), LogConfig::clone(&home.log.config()), bytes_of(&home.storage, &path));
    drop(home);
    bytes[whole.len() + 70] ^= 1;
    overwrite(&storage, &path, &bytes);
    let home = Home::on(storage, config);
    let cut = home.log.recovery_report().cuts[0].clone();
    assert_eq!(bytes_of(&home.storage, &cut.kept_in.unwrap()), bytes[whole.len()..]);
    assert_eq!(all_bytes(&home.log), whole);
}
