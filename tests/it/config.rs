//! The configuration of an open log can be replaced, and what is done next goes by the new one.

use std::time::Duration;

use logstead::Error;
use logstead::config::{Durability, LogConfig, ReadMode};
use logstead::log::SegmentPhase;
use logstead::types::{LeaderEpoch, Offset, Timestamp, TimestampType};

use crate::support::{Home, all_bytes, batch_of, now, read};

#[test]
fn the_next_append_goes_by_the_new_limits() {
    let home = Home::leading(LogConfig::new());
    home.append(1, &[7; 40]);
    home.log.update_config(LogConfig::new().batch_bytes_max(60)).unwrap();
    let refused = home.log.append_as_leader(&mut batch_of(1, &[7; 40]), now());
    assert!(matches!(refused, Err(Error::RecordTooLarge { max: 60, .. })), "{refused:?}");
    home.log.update_config(LogConfig::new().timestamp_type(TimestampType::LogAppendTime)).unwrap();
    let info = home.log.append_as_leader(&mut batch_of(1, b"value"), now()).unwrap();
    assert_eq!(info.log_append_time, Some(now().wall));
    assert_eq!(home.log.config().get_timestamp_type(), TimestampType::LogAppendTime);
}

#[test]
fn the_next_roll_goes_by_the_new_segment_size() {
    let home = Home::leading(LogConfig::new());
    (0..3).for_each(|_| home.append(1, &[7; 40]));
    assert_eq!(home.bases(), [0]);
    home.log.update_config(LogConfig::new().segment_bytes(200)).unwrap();
    (0..2).for_each(|_| home.append(1, &[7; 40]));
    assert_eq!(home.bases(), [0, 3, 4]);
    home.log.update_config(LogConfig::new()).unwrap();
    (0..3).for_each(|_| home.append(1, &[7; 40]));
    assert_eq!(home.bases(), [0, 3, 4]);
}

#[test]
fn the_next_roll_goes_by_the_new_segment_time() {
    let home = Home::leading(LogConfig::new());
    home.append(1, b"old");
    let later = Timestamp::from_millis(now().wall.as_millis() + 2_000);
    let append = || home.log.append_as_leader(&mut crate::support::batch_at(1, b"new", Some(later)), now()).unwrap();
    assert!(!append().rolled);
    home.log.update_config(LogConfig::new().segment_time(Duration::from_secs(1))).unwrap();
    assert!(append().rolled);
}

#[test]
fn a_new_durability_moves_the_limit_of_the_high_watermark_but_not_the_high_watermark() {
    let home = Home::leading(LogConfig::new().durability(Durability::Os));
    home.append(3, b"value");
    assert_eq!(home.log.advance_high_watermark(Offset::from(2)).unwrap(), Offset::from(2));
    home.log.update_config(LogConfig::new().durability(Durability::Synced)).unwrap();
    assert_eq!(home.log.durability(), Durability::Synced);
    assert_eq!(home.log.advance_high_watermark(Offset::from(3)).unwrap(), Offset::from(2));
    assert_eq!(home.log.high_watermark(), Offset::from(2));
    home.log.flush().unwrap();
    assert_eq!(home.log.advance_high_watermark(Offset::from(3)).unwrap(), Offset::from(3));
    home.append(1, b"value");
    assert_eq!(home.log.advance_high_watermark(Offset::from(4)).unwrap(), Offset::from(3));
    home.log.update_config(LogConfig::new().durability(Durability::Os)).unwrap();
    assert_eq!(home.log.advance_high_watermark(Offset::from(4)).unwrap(), Offset::from(4));
}

#[test]
fn a_log_whose_maps_are_still_held_can_be_cut_under_another_read_mode() {
    let mapped = LogConfig::new().segment_bytes(200).read_mode(ReadMode::Mapped);
    let home = Home::leading(mapped.clone());
    (0..3).for_each(|value| home.append(1, &[value; 40]));
    home.log.flush().unwrap();
    assert_eq!(home.log.segments()[0].phase(), SegmentPhase::Sealed);
    let slice = read(&home.log, 0).unwrap();
    let held = slice.as_bytes().to_vec();
    home.log.update_config(mapped.read_mode(ReadMode::Positioned)).unwrap();
    assert_eq!(all_bytes(&home.log)[..held.len()], held);
    // The disk refuses to shorten a file that is mapped.
    home.log.truncate_to(Offset::ZERO, now()).unwrap();
    home.log.begin_epoch(LeaderEpoch::new(1).unwrap()).unwrap();
    home.append(1, b"other");
    assert_eq!(slice.as_bytes(), held);
}

#[test]
fn a_truncation_leaves_the_new_configuration_in_force() {
    let home = Home::leading(LogConfig::new());
    (0..3).for_each(|_| home.append(1, &[7; 40]));
    home.log.update_config(LogConfig::new().segment_bytes(200)).unwrap();
    home.log.truncate_to(Offset::from(1), now()).unwrap();
    home.log.begin_epoch(LeaderEpoch::new(1).unwrap()).unwrap();
    home.append(1, &[7; 40]);
    assert_eq!((home.bases(), home.log.config().get_segment_bytes()), (vec![0, 1], 200));
}

#[test]
fn an_illegal_configuration_changes_nothing_and_a_closed_log_takes_none() {
    let home = Home::new(LogConfig::new());
    let refused = home.log.update_config(LogConfig::new().segment_bytes(1));
    assert!(matches!(refused, Err(Error::InvalidConfig { .. })), "{refused:?}");
    assert_eq!(*home.log.config(), LogConfig::new());
    home.log.close().unwrap();
    let refused = home.log.update_config(LogConfig::new());
    assert!(matches!(refused, Err(Error::InvalidState { .. })), "{refused:?}");
}
