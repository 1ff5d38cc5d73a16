//! Leader epochs: who may write, and what is known of those who did.

use logstead::Error;
use logstead::config::LogConfig;
use logstead::log::EpochEntry;
use logstead::types::{LeaderEpoch, Offset};

use crate::support::{Home, batch_of, bytes_of, epoch, now, partition_file, replicated};

fn entries(home: &Home) -> Vec<(i32, i64)> {
    home.log.epochs().entries().iter().map(|entry| (entry.epoch.get(), entry.start_offset.get())).collect()
}

#[test]
fn nobody_writes_before_an_epoch_is_begun() {
    let home = Home::new(LogConfig::new());
    let refused = home.log.append_as_leader(&mut batch_of(1, b"early"), now());
    assert!(matches!(refused, Err(Error::InvalidState { operation: "append", .. })), "{refused:?}");
}

#[test]
fn an_older_epoch_is_fenced() {
    let home = Home::new(LogConfig::new());
    home.log.begin_epoch(epoch(4)).unwrap();
    let refused = home.log.begin_epoch(epoch(3));
    let Err(Error::FencedLeaderEpoch { given, current, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!((given, current), (epoch(3), epoch(4)));
}

#[test]
fn a_leader_that_took_a_newer_leaders_batches_writes_no_more() {
    let home = Home::new(LogConfig::new());
    home.log.begin_epoch(epoch(3)).unwrap();
    home.append(1, b"three");
    home.log.append_as_follower(&replicated(1, 5, 1), now()).unwrap();
    let refused = home.log.append_as_leader(&mut batch_of(1, b"three again"), now());
    let Err(Error::FencedLeaderEpoch { given, current, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!((given, current), (epoch(3), epoch(5)));
    assert_eq!(entries(&home), [(3, 0), (5, 1)]);
}

#[test]
fn an_epoch_is_on_disk_when_it_is_begun() {
    let home = Home::leading(LogConfig::new());
    home.append(1, b"zero");
    home.log.begin_epoch(epoch(7)).unwrap();
    assert_eq!(bytes_of(&home.storage, &partition_file("leader-epoch-checkpoint")), b"0\n2\n0 0\n7 1\n");
}

#[test]
fn the_history_survives_the_death_of_the_process() {
    let home = Home::leading(LogConfig::new());
    home.append(2, b"zero");
    home.directory.checkpoint().unwrap();
    home.append(1, b"zero too");
    home.log.begin_epoch(epoch(2)).unwrap();
    home.append(1, b"two");
    let home = home.crash();
    assert_eq!(entries(&home), [(0, 0), (2, 3)]);
    assert_eq!(home.crash().log.epochs().latest(), Some(EpochEntry { epoch: epoch(2), start_offset: Offset::from(3) }));
}

#[test]
fn a_truncation_forgets_the_epochs_that_it_cuts_and_ends_the_leadership() {
    let home = Home::leading(LogConfig::new());
    home.append(2, b"zero");
    home.log.begin_epoch(epoch(2)).unwrap();
    home.append(1, b"two");
    home.log.truncate_to(Offset::from(2), now()).unwrap();
    assert_eq!(entries(&home), [(0, 0)]);
    assert_eq!(home.log.leader_epoch(), None);
}

#[test]
fn deleting_records_keeps_the_epoch_of_those_that_stay() {
    let home = Home::leading(LogConfig::new());
    home.append(1, b"zero");
    home.log.begin_epoch(epoch(2)).unwrap();
    home.append(1, b"two");
    home.append(1, b"two");
    home.log.flush().unwrap();
    home.log.advance_high_watermark(Offset::from(3)).unwrap();
    home.log.delete_before(Offset::from(2)).unwrap();
    assert_eq!(entries(&home), [(2, 2)]);
}

#[test]
fn deleting_everything_gives_the_same_history_however_often_it_is_opened() {
    let home = Home::leading(LogConfig::new());
    home.append(3, b"zero");
    home.log.flush().unwrap();
    home.log.advance_high_watermark(Offset::from(3)).unwrap();
    home.log.delete_before(Offset::from(3)).unwrap();
    let first = home.crash();
    let once = entries(&first);
    assert_eq!(entries(&first.crash()), once);
}

#[test]
fn a_log_that_starts_anew_remembers_no_epoch() {
    let home = Home::leading(LogConfig::new());
    home.append(3, b"zero");
    home.log.truncate_fully_and_start_at(Offset::from(100), now()).unwrap();
    assert!(entries(&home).is_empty());
    home.log.begin_epoch(LeaderEpoch::ZERO).unwrap();
    assert_eq!(entries(&home), [(0, 100)]);
}
