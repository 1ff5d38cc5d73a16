//! What a log takes, what it refuses, and that a refusal leaves no trace.

use std::time::Duration;

use logstead::Error;
use logstead::config::{Durability, LogConfig};
use logstead::error::Damage;
use logstead::record::{BatchBuilder, BatchOptions, EndTransactionMarker, ProducerStamp, TransactionOutcome};
use logstead::types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, TimestampType};

use crate::support::{Home, all_bytes, batch_at, batch_of, epoch, now, replicated};

#[test]
fn records_get_the_next_offsets() {
    let home = Home::leading(LogConfig::new());
    let first = home.log.append_as_leader(&mut batch_of(3, b"a"), now()).unwrap();
    let second = home.log.append_as_leader(&mut batch_of(2, b"b"), now()).unwrap();
    assert_eq!((first.first_offset, first.last_offset), (Offset::from(0), Offset::from(2)));
    assert_eq!((second.first_offset, second.last_offset), (Offset::from(3), Offset::from(4)));
    assert_eq!(second.leader_epoch, Some(epoch(0)));
}

#[test]
fn a_batch_above_max_message_bytes_is_refused() {
    let home = Home::leading(LogConfig::new().batch_bytes_max(100));
    let refused = home.log.append_as_leader(&mut batch_of(1, &[0; 100]), now());
    let expected = |size: u64| size > 100;
    assert!(
        matches!(refused, Err(Error::RecordTooLarge { size, max: 100, limit: "max.message.bytes" }) if expected(size)),
        "{refused:?}"
    );
    assert_eq!(home.log.log_end_offset(), Offset::ZERO);
}

#[test]
fn a_batch_larger_than_a_segment_is_refused() {
    let home = Home::leading(LogConfig::new().segment_bytes(100));
    let refused = home.log.append_as_leader(&mut batch_of(1, &[0; 100]), now());
    assert!(matches!(refused, Err(Error::RecordTooLarge { max: 100, limit: "segment.bytes", .. })), "{refused:?}");
}

#[test]
fn a_follower_takes_whatever_size_its_leader_took() {
    let home = Home::new(LogConfig::new().segment_bytes(14).batch_bytes_max(0));
    home.log.append_as_follower(&replicated(0, 0, 3), now()).unwrap();
    assert_eq!(home.log.log_end_offset(), Offset::from(3));
}

#[test]
fn a_timestamp_too_far_in_the_future_is_refused() {
    let home = Home::leading(LogConfig::new().timestamp_after_max(Some(Duration::from_millis(10))));
    let at = |millis| Some(Timestamp::from_millis(now().wall.as_millis() + millis));
    home.log.append_as_leader(&mut batch_at(1, b"", at(10)), now()).unwrap();
    let refused = home.log.append_as_leader(&mut batch_at(1, b"", at(11)), now());
    let Err(Error::InvalidTimestamp { timestamp, latest, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!((Some(timestamp), Some(latest)), (at(11), at(10)));
}

#[test]
fn a_timestamp_too_far_in_the_past_is_refused() {
    let home = Home::leading(LogConfig::new().timestamp_before_max(Some(Duration::from_millis(10))));
    let at = |millis| Some(Timestamp::from_millis(now().wall.as_millis() - millis));
    home.log.append_as_leader(&mut batch_at(1, b"", at(10)), now()).unwrap();
    let refused = home.log.append_as_leader(&mut batch_at(1, b"", at(11)), now());
    assert!(matches!(refused, Err(Error::InvalidTimestamp { .. })), "{refused:?}");
}

#[test]
fn an_append_time_is_not_taken_from_a_client() {
    let home = Home::leading(LogConfig::new());
    let options = BatchOptions { timestamp_type: TimestampType::LogAppendTime, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    builder.append(Some(now().wall), None, Some(b"value"), &[]).unwrap();
    let refused = home.log.append_as_leader(&mut builder.build().unwrap(), now());
    assert!(matches!(refused, Err(Error::InvalidRecord { .. })), "{refused:?}");
}

#[test]
fn with_log_append_time_every_record_carries_the_time_of_the_append() {
    let home = Home::leading(LogConfig::new().timestamp_type(TimestampType::LogAppendTime));
    let old = Some(Timestamp::from_millis(5));
    let info = home.log.append_as_leader(&mut batch_at(2, b"value", old), now()).unwrap();
    assert_eq!(info.log_append_time, Some(now().wall));
    let slice = crate::support::read(&home.log, 0).unwrap();
    let batch = slice.batches().next().unwrap().unwrap();
    assert_eq!(batch.header().timestamp_type(), TimestampType::LogAppendTime);
    assert!(batch.records().all(|record| record.timestamp() == Some(now().wall)));
}

#[test]
fn replicated_bytes_must_not_start_below_the_log_end() {
    let home = Home::new(LogConfig::new());
    home.log.append_as_follower(&replicated(0, 0, 3), now()).unwrap();
    let refused = home.log.append_as_follower(&replicated(2, 0, 1), now());
    let Err(Error::UnexpectedAppendOffset { first, log_end, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!((first, log_end), (Offset::from(2), Offset::from(3)));
}

#[test]
fn replicated_bytes_with_a_bad_checksum_are_refused_whole() {
    let home = Home::new(LogConfig::new());
    let mut bytes = [replicated(0, 0, 1), replicated(1, 0, 1)].concat();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let refused = home.log.append_as_follower(&bytes, now());
    let Err(Error::Corrupt(corrupt)) = refused else { panic!("{refused:?}") };
    assert!(matches!(corrupt.what, Damage::Checksum { .. }));
    assert_eq!(home.log.log_end_offset(), Offset::ZERO);
}

#[test]
fn replicated_bytes_that_end_inside_a_batch_are_refused() {
    let home = Home::new(LogConfig::new());
    let bytes = replicated(0, 0, 1);
    for len in [1, 60, bytes.len() - 1] {
        let refused = home.log.append_as_follower(&bytes[..len], now());
        assert!(matches!(refused, Err(Error::Corrupt(_))), "{len}: {refused:?}");
    }
    assert_eq!(home.log.log_end_offset(), Offset::ZERO);
}

#[test]
fn replicated_batches_must_ascend() {
    let home = Home::new(LogConfig::new());
    let refused = home.log.append_as_follower(&[replicated(5, 0, 3), replicated(6, 0, 1)].concat(), now());
    let Err(Error::Corrupt(corrupt)) = refused else { panic!("{refused:?}") };
    assert_eq!(corrupt.what, Damage::Offset { expected: Offset::from(8), found: 6 });
}

#[test]
fn replicated_epochs_must_not_fall() {
    let home = Home::new(LogConfig::new());
    home.log.append_as_follower(&replicated(0, 5, 1), now()).unwrap();
    let refused = home.log.append_as_follower(&replicated(1, 4, 1), now());
    let Err(Error::Corrupt(corrupt)) = refused else { panic!("{refused:?}") };
    assert_eq!(corrupt.what, Damage::LeaderEpoch { expected: Some(epoch(5)), found: Some(epoch(4)) });
}

#[test]
fn a_replicated_gap_survives_the_death_of_the_process() {
    let home = Home::new(LogConfig::new());
    home.log.append_as_follower(&replicated(0, 0, 1), now()).unwrap();
    home.log.append_as_follower(&replicated(7, 0, 1), now()).unwrap();
    let before = all_bytes(&home.log);
    let home = home.crash();
    assert!(home.log.recovery_report().cuts.is_empty());
    assert_eq!(all_bytes(&home.log), before);
}

#[test]
fn no_bytes_are_no_append() {
    let home = Home::new(LogConfig::new());
    assert!(matches!(home.log.append_as_follower(&[], now()), Err(Error::InvalidRecord { .. })));
}

#[test]
fn an_old_incarnation_of_a_producer_cannot_end_a_transaction() {
    let home = Home::leading(LogConfig::new());
    let stamp = ProducerStamp {
        id: ProducerId::ZERO,
        epoch: ProducerEpoch::new(3).unwrap(),
        base_sequence: Some(Sequence::ZERO),
    };
    let options = BatchOptions { producer: Some(stamp), transactional: true, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    builder.append(None, None, Some(b"value"), &[]).unwrap();
    home.log.append_as_leader(&mut builder.build().unwrap(), now()).unwrap();
    let marker = EndTransactionMarker { outcome: TransactionOutcome::Commit, coordinator_epoch: 0 };
    let mut old = marker.to_batch(ProducerId::ZERO, ProducerEpoch::new(2).unwrap(), now().wall);
    let refused = home.log.append_as_leader(&mut old, now());
    assert!(matches!(refused, Err(Error::ProducerFenced { .. })), "{refused:?}");
}

#[test]
fn an_old_coordinator_cannot_end_a_transaction() {
    let home = Home::leading(LogConfig::new());
    let end = |coordinator_epoch| {
        let marker = EndTransactionMarker { outcome: TransactionOutcome::Abort, coordinator_epoch };
        home.log.append_as_leader(&mut marker.to_batch(ProducerId::ZERO, ProducerEpoch::ZERO, now().wall), now())
    };
    end(5).unwrap();
    let refused = end(4);
    assert!(matches!(refused, Err(Error::TransactionCoordinatorFenced { given: 4, current: 5, .. })), "{refused:?}");
}

#[test]
fn out_of_space_is_undone_and_over_when_space_is_back() {
    let home = Home::leading(LogConfig::new());
    home.append(1, b"before");
    let before = all_bytes(&home.log);
    home.storage.set_capacity(Some(1));
    let refused = home.log.append_as_leader(&mut batch_of(1, &[0; 500]), now());
    assert!(matches!(refused, Err(Error::OutOfSpace { .. })), "{refused:?}");
    assert_eq!(all_bytes(&home.log), before);
    home.storage.set_capacity(None);
    home.append(1, b"after");
    assert_eq!(home.log.log_end_offset(), Offset::from(2));
    assert_eq!(all_bytes(&home.crash().log).len(), before.len() + batch_of(1, b"after").size_in_bytes());
}

#[test]
fn the_high_watermark_waits_for_the_disk_only_when_synced() {
    for (durability, expected) in [(Durability::Synced, 0), (Durability::Os, 1)] {
        let home = Home::leading(LogConfig::new().durability(durability));
        home.append(1, b"value");
        assert_eq!(home.log.advance_high_watermark(Offset::from(1)).unwrap(), Offset::from(expected));
    }
}

#[test]
fn a_closed_log_takes_nothing() {
    let home = Home::leading(LogConfig::new());
    home.log.close().unwrap();
    let refused = home.log.append_as_leader(&mut batch_of(1, b"late"), now());
    assert!(matches!(refused, Err(Error::InvalidState { .. })), "{refused:?}");
    assert!(matches!(home.log.flush(), Err(Error::InvalidState { .. })));
    home.log.close().unwrap();
}
