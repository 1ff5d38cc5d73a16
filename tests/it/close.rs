//! Closing and reopening a log within one session: cheap where nothing was changed, and as good as a clean stop.

use std::sync::Arc;

use logstead::config::LogConfig;
use logstead::log::{Log, LogDirectory};
use logstead::storage::{CrashModel, MemStorage, OperationKind, StopPoint};
use logstead::types::{LeaderEpoch, Offset, TopicPartition};

use crate::support::{FOLDER, Home, all_bytes, batch_of, now, tp};

fn open(storage: &MemStorage) -> LogDirectory {
    LogDirectory::options().storage(storage.clone()).open(FOLDER).unwrap()
}

fn reopen(directory: &LogDirectory) -> logstead::Result<Arc<Log>> {
    directory.open_log(&tp(), None, LogConfig::new().segment_bytes(300), now())
}

/// The calls since operation `first` that wait for the disk, or give something a name.
fn costly(storage: &MemStorage, first: u64) -> Vec<OperationKind> {
    let made = storage.operations().into_iter().skip(usize::try_from(first).unwrap()).map(|operation| operation.kind);
    made.filter(|kind| !matches!(kind, OperationKind::Write | OperationKind::SetLen)).collect()
}

#[test]
fn closing_what_was_not_changed_and_opening_it_again_costs_no_sync() {
    let home = Home::leading(LogConfig::new().segment_bytes(300));
    (0..7).for_each(|value| home.append(1, &[value; 40]));
    let (bytes, (storage, _)) = (all_bytes(&home.log), home.close());
    let directory = open(&storage);
    for _ in 0..3 {
        let first = storage.operation_count();
        let log = reopen(&directory).unwrap();
        assert!(log.recovery_report().was_clean);
        assert_eq!(all_bytes(&log), bytes);
        log.close().unwrap();
        assert_eq!(costly(&storage, first), []);
    }
}

#[test]
fn after_a_kill_every_log_is_recovered_once_and_then_counts_as_closed() {
    let storage = MemStorage::new();
    let partitions: Vec<_> = (0..5).map(|number| TopicPartition::new("orders", number).unwrap()).collect();
    let directory = open(&storage);
    let logs: Vec<_> = partitions
        .iter()
        .map(|tp| directory.open_log(tp, None, LogConfig::new(), now()).unwrap())
        .inspect(|log| {
            log.begin_epoch(LeaderEpoch::ZERO).unwrap();
            log.append_as_leader(&mut batch_of(2, b"value"), now()).unwrap();
        })
        .collect();
    directory.checkpoint().unwrap();
    // The last one has more than the checkpoint knows.
    logs[4].append_as_leader(&mut batch_of(1, b"more"), now()).unwrap();
    drop((directory, logs));
    let directory = open(&storage);
    for (number, tp) in partitions.iter().enumerate() {
        let log = directory.open_log(tp, None, LogConfig::new(), now()).unwrap();
        assert!(!log.recovery_report().was_clean);
        let first = storage.operation_count();
        log.close().unwrap();
        assert_eq!(costly(&storage, first).is_empty(), number < 4, "{tp}");
    }
    let first = storage.operation_count();
    for (number, tp) in partitions.iter().enumerate() {
        let log = directory.open_log(tp, None, LogConfig::new(), now()).unwrap();
        assert!(log.recovery_report().was_clean);
        assert_eq!(log.log_end_offset(), Offset::from(if number < 4 { 2 } else { 3 }));
        log.close().unwrap();
    }
    assert_eq!(costly(&storage, first), []);
    directory.close().unwrap();
    assert!(open(&storage).report().was_clean);
}

#[test]
fn a_log_that_was_dropped_open_is_checked_when_it_is_opened_again() {
    let home = Home::leading(LogConfig::new());
    home.append(3, b"value");
    let Home { storage: _storage, directory, log } = home;
    drop(log);
    assert!(!reopen(&directory).unwrap().recovery_report().was_clean);
}

#[test]
fn a_truncated_log_gets_its_snapshot_when_it_is_closed() {
    let home = Home::leading(LogConfig::new());
    (0..4).for_each(|value| home.append(1, &[value; 40]));
    home.directory.checkpoint().unwrap();
    home.log.truncate_to(Offset::from(2), now()).unwrap();
    home.log.flush().unwrap();
    home.log.close().unwrap();
    let names = home.names();
    assert!(names.contains(&"00000000000000000002.snapshot".to_owned()), "{names:?}");
}

/// Appends, closes and reopens; tells how many records were acknowledged so far.
fn work(directory: &LogDirectory, acknowledged: &mut u64) -> logstead::Result<()> {
    for round in 0..2 {
        let log = reopen(directory)?;
        log.begin_epoch(LeaderEpoch::new(round).unwrap())?;
        log.append_as_leader(&mut batch_of(1, &[7; 40]), now())?;
        *acknowledged = log.flush()?.get().unsigned_abs();
        log.advance_high_watermark(Offset::MAX)?;
        log.append_as_leader(&mut batch_of(1, &[8; 40]), now())?;
        log.close()?;
        *acknowledged = log.log_end_offset().get().unsigned_abs();
        drop(log);
        // Unchanged in between.
        reopen(directory)?.close()?;
    }
    Ok(())
}

#[test]
fn what_was_acknowledged_between_closes_survives_every_crash() {
    let reference = MemStorage::new();
    let mut acknowledged = 0;
    work(&open(&reference), &mut acknowledged).unwrap();
    assert_eq!(acknowledged, 4);
    for index in 0..reference.operation_count() {
        let storage = MemStorage::new();
        storage.stop_at(StopPoint::After(index));
        let mut acknowledged = 0;
        let options = LogDirectory::options().storage(storage.clone());
        let _ = options.open(FOLDER).and_then(|directory| work(&directory, &mut acknowledged));
        for (seed, model) in
            (0..).zip([CrashModel::DropAll, CrashModel::Prefix, CrashModel::Subset, CrashModel::Subset])
        {
            let log = reopen(&open(&storage.crash_image(&model, seed + index))).unwrap();
            let end = log.log_end_offset().get().unsigned_abs();
            let case = format!("{:?}, {model:?} {seed}", storage.operations().last());
            assert_eq!(log.recovery_report().damage, [], "{case}");
            assert!(end >= acknowledged, "{case}: {end} of {acknowledged}");
        }
    }
}
