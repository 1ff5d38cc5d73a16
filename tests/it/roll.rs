//! When a segment ends and the next begins.

use std::time::Duration;

use logstead::config::LogConfig;
use logstead::log::SegmentPhase;
use logstead::time::{Clock, ManualClock};
use logstead::types::Timestamp;

use crate::support::{Home, batch_at, batch_of, now, replicated};

fn millis(after_start: i64) -> Option<Timestamp> {
    Some(Timestamp::from_millis(now().wall.as_millis() + after_start))
}

#[test]
fn a_batch_that_does_not_fit_begins_a_segment_at_its_first_offset() {
    let size = batch_of(2, b"value").size_in_bytes() as u64;
    let home = Home::leading(LogConfig::new().segment_bytes(2 * size));
    let rolled = |_| home.log.append_as_leader(&mut batch_of(2, b"value"), now()).unwrap().rolled;
    assert_eq!([0; 5].map(rolled), [false, false, true, false, true]);
    assert_eq!(home.bases(), [0, 4, 8]);
}

#[test]
fn the_time_of_the_records_and_not_the_clock_ends_a_segment() {
    let home = Home::leading(LogConfig::new().segment_time(Duration::from_secs(1)));
    let clock = ManualClock::new();
    home.log.append_as_leader(&mut batch_at(1, b"", millis(0)), clock.now()).unwrap();
    clock.advance(Duration::from_secs(3_600));
    let same_time = home.log.append_as_leader(&mut batch_at(1, b"", millis(1_000)), clock.now()).unwrap();
    let later = home.log.append_as_leader(&mut batch_at(1, b"", millis(1_001)), clock.now()).unwrap();
    assert_eq!((same_time.rolled, later.rolled), (false, true));
    assert_eq!(home.bases(), [0, 2]);
}

#[test]
fn without_record_times_the_clock_ends_a_segment() {
    let home = Home::leading(LogConfig::new().segment_time(Duration::from_secs(1)));
    let clock = ManualClock::new();
    home.log.append_as_leader(&mut batch_at(1, b"", None), clock.now()).unwrap();
    clock.advance(Duration::from_millis(1_001));
    assert!(home.log.append_as_leader(&mut batch_at(1, b"", None), clock.now()).unwrap().rolled);
}

#[test]
fn an_empty_segment_does_not_age() {
    let home = Home::leading(LogConfig::new().segment_time(Duration::from_secs(1)));
    let clock = ManualClock::new();
    clock.advance(Duration::from_secs(3_600));
    assert!(!home.log.append_as_leader(&mut batch_at(1, b"", None), clock.now()).unwrap().rolled);
}

#[test]
fn a_full_offset_index_ends_a_segment() {
    let home = Home::leading(LogConfig::new().segment_index_bytes(24).index_interval_bytes(0));
    for _ in 0..5 {
        home.log.append_as_leader(&mut batch_at(1, b"", None), now()).unwrap();
    }
    // The first batch has no entry, and three entries fill the index.
    assert_eq!(home.bases(), [0, 4]);
}

#[test]
fn a_full_time_index_ends_a_segment_one_entry_early() {
    let home = Home::leading(LogConfig::new().segment_index_bytes(36).index_interval_bytes(0));
    for at in 0..4 {
        home.log.append_as_leader(&mut batch_at(1, b"", millis(at)), now()).unwrap();
    }
    // Three entries fit; the first batch has none, and the third is reserved for closing the segment.
    assert_eq!(home.bases(), [0, 3]);
    assert_eq!(home.log.segments()[0].time_index().unwrap().len(), 2);
}

#[test]
fn an_offset_that_no_index_entry_can_hold_begins_a_segment() {
    let home = Home::new(LogConfig::new());
    home.log.append_as_follower(&replicated(0, 0, 1), now()).unwrap();
    home.log.append_as_follower(&replicated(i64::from(i32::MAX), 0, 1), now()).unwrap();
    assert_eq!(home.bases(), [0]);
    let far = i64::from(i32::MAX) + 5;
    assert!(home.log.append_as_follower(&replicated(far, 0, 1), now()).unwrap().rolled);
    assert_eq!(home.bases(), [0, far]);
}

#[test]
fn several_replicated_batches_may_span_segments() {
    let size = replicated(0, 0, 1).len() as u64;
    let home = Home::new(LogConfig::new().segment_bytes(2 * size));
    let bytes: Vec<u8> = (0..5).flat_map(|base| replicated(base, 0, 1)).collect();
    home.log.append_as_follower(&bytes, now()).unwrap();
    assert_eq!(home.bases(), [0, 2, 4]);
}

#[test]
fn a_rolled_segment_is_sealed_by_the_next_flush() {
    let home = Home::leading(LogConfig::new().segment_bytes(100));
    home.append(1, &[0; 20]);
    home.append(1, &[0; 20]);
    let phase = || home.log.segments()[0].phase();
    assert_eq!(phase(), SegmentPhase::Sealing);
    home.log.flush().unwrap();
    assert_eq!(phase(), SegmentPhase::Sealed);
    assert!(home.log.segments()[0].verify_seal().unwrap());
}

#[test]
fn segments_do_not_wait_for_a_flush_without_bound() {
    let home = Home::leading(LogConfig::new().segment_bytes(100));
    for _ in 0..10 {
        home.append(1, &[0; 20]);
    }
    let waiting = home.log.segments().iter().filter(|segment| segment.phase() == SegmentPhase::Sealing).count();
    assert!(waiting <= 2, "{waiting}");
}
