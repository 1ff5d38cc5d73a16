//! Partitions leave their data folder: whole before, gone afterwards, whatever happens in between.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use logstead::Error;
use logstead::config::LogConfig;
use logstead::log::{Log, LogDirectory};
use logstead::storage::{CrashModel, Fault, MemStorage, OperationKind, StopPoint, Storage};
use logstead::types::{LeaderEpoch, Offset, TopicId, TopicPartition};

use crate::support::{FOLDER, Home, all_bytes, batch_of, now, overwrite, read, to_the_end, tp};

const OLD: TopicId = TopicId::from_bytes([1; 16]);
const NEW: TopicId = TopicId::from_bytes([2; 16]);

const IMAGES: [CrashModel; 6] = [
    CrashModel::KeepAll,
    CrashModel::DropAll,
    CrashModel::Prefix,
    CrashModel::Subset,
    CrashModel::Subset,
    CrashModel::Subset,
];

fn open(storage: &MemStorage) -> LogDirectory {
    LogDirectory::options().storage(storage.clone()).open(FOLDER).unwrap()
}

fn names(storage: &dyn Storage) -> Vec<String> {
    storage.list(Path::new(FOLDER)).unwrap().into_iter().map(|entry| entry.name).collect()
}

fn departed(storage: &dyn Storage, suffix: &str) -> Vec<String> {
    names(storage).into_iter().filter(|name| name.starts_with("orders-0.") && name.ends_with(suffix)).collect()
}

fn open_log(directory: &LogDirectory, topic_id: Option<TopicId>) -> logstead::Result<Arc<Log>> {
    directory.open_log(&tp(), topic_id, LogConfig::new().segment_bytes(300), now())
}

fn append(log: &Log, value: &[u8]) -> logstead::Result<Offset> {
    log.append_as_leader(&mut batch_of(1, value), now())?;
    log.flush()
}

/// A log of five records that begins at its second, committed up to the fourth, with checkpoints that say so.
fn filled(storage: &MemStorage) -> (LogDirectory, Arc<Log>) {
    let directory = open(storage);
    let log = open_log(&directory, Some(OLD)).unwrap();
    log.begin_epoch(LeaderEpoch::ZERO).unwrap();
    for value in 0..5 {
        append(&log, &[value; 40]).unwrap();
    }
    log.advance_high_watermark(Offset::from(4)).unwrap();
    log.delete_before(Offset::from(2)).unwrap();
    directory.checkpoint().unwrap();
    (directory, log)
}

#[test]
fn a_deleted_log_answers_no_more_and_what_readers_hold_stays() {
    let storage = MemStorage::new();
    let (directory, log) = filled(&storage);
    let slice = read(&log, 2).unwrap();
    let held = slice.as_bytes().to_vec();
    directory.delete_log(&tp()).unwrap();
    let gone = |result: logstead::Result<()>| {
        let Err(Error::InvalidState { state, .. }) = result else { panic!("{result:?}") };
        assert_eq!(state, "it was deleted");
    };
    gone(log.flush().map(drop));
    gone(log.append_as_leader(&mut batch_of(1, b"value"), now()).map(drop));
    gone(log.begin_epoch(LeaderEpoch::new(7).unwrap()));
    gone(log.truncate_to(Offset::ZERO, now()).map(drop));
    gone(log.delete_before(Offset::from(3)).map(drop));
    gone(log.advance_high_watermark(Offset::from(5)).map(drop));
    gone(log.update_config(LogConfig::new()));
    gone(log.read(Offset::from(3), to_the_end(1)).map(drop));
    gone(log.read_after(&slice, to_the_end(1)).map(drop));
    gone(log.aborted_transactions(Offset::ZERO, Offset::MAX).map(drop));
    gone(log.segments()[0].aborted_transactions().map(drop));
    log.close().unwrap();
    assert_eq!(directory.remove_deleted().unwrap(), 1);
    assert_eq!(slice.as_bytes(), held);
}

#[test]
fn a_name_is_free_as_soon_as_its_partition_is_deleted() {
    let storage = MemStorage::new();
    let (directory, old) = filled(&storage);
    for id in [NEW, OLD] {
        directory.delete_log(&tp()).unwrap();
        let log = open_log(&directory, Some(id)).unwrap();
        assert_eq!((log.log_start_offset(), log.high_watermark(), log.log_end_offset()), Default::default());
        assert_eq!((log.recovery_report().damage.len(), log.recovery_report().was_foreign), (0, false));
        log.begin_epoch(LeaderEpoch::ZERO).unwrap();
        append(&log, b"new").unwrap();
        // Whoever still holds the old one reads nothing of the new.
        assert!(read(&old, 2).is_err());
        assert!(log.read(Offset::ZERO, to_the_end(1)).is_ok());
        log.close().unwrap();
    }
    assert_eq!(departed(&storage, "-delete").len(), 2);
    directory.close().unwrap();
    let directory = open(&storage);
    assert!(directory.report().was_clean);
    assert_eq!(open_log(&directory, Some(OLD)).unwrap().log_end_offset(), Offset::from(1));
    assert_eq!(directory.remove_deleted().unwrap(), 2);
}

#[test]
fn a_log_that_is_closed_or_was_never_opened_can_be_deleted() {
    let storage = MemStorage::new();
    let (directory, log) = filled(&storage);
    log.close().unwrap();
    drop(log);
    directory.delete_log(&tp()).unwrap();
    directory.close().unwrap();
    let storage = MemStorage::new();
    drop(filled(&storage));
    let directory = open(&storage);
    directory.delete_log(&tp()).unwrap();
    assert_eq!(directory.remove_deleted().unwrap(), 1);
    directory.close().unwrap();
    let directory = open(&storage);
    assert!(directory.report().was_clean, "nothing is left that was not recovered");
    assert_eq!(directory.report().missing_partitions, []);
}

#[test]
fn deleting_what_is_not_there_changes_nothing() {
    let storage = MemStorage::new();
    let directory = open(&storage);
    let before = storage.operation_count();
    directory.delete_log(&tp()).unwrap();
    assert_eq!((storage.operation_count(), directory.remove_deleted().unwrap()), (before, 0));
    assert!(matches!(directory.set_aside(&tp()), Err(Error::UnknownTopicOrPartition { .. })));
}

#[test]
fn a_partition_that_was_set_aside_keeps_its_files() {
    let storage = MemStorage::new();
    let (directory, log) = filled(&storage);
    let files = storage.list(&Path::new(FOLDER).join("orders-0")).unwrap();
    let folder = directory.set_aside(&tp()).unwrap();
    assert!(matches!(log.flush(), Err(Error::InvalidState { state: "it was set aside", .. })));
    assert_eq!(directory.remove_deleted().unwrap(), 0);
    drop((directory, log));
    let directory = open(&storage);
    assert_eq!((directory.partitions().unwrap(), directory.report().unknown_entries.len()), (vec![], 0));
    assert_eq!(directory.report().missing_partitions, []);
    assert_eq!(directory.remove_deleted().unwrap(), 0);
    assert_eq!(storage.list(&folder).unwrap(), files);
    assert_eq!(departed(&storage, "-stray"), [folder.file_name().unwrap().to_str().unwrap()]);
}

#[test]
fn what_kafka_left_of_deleted_partitions_is_removed_and_other_names_are_not() {
    let storage = MemStorage::new();
    drop(open(&storage));
    let id = "0123456789abcdef0123456789abcdef";
    let entries = [format!("payments-7.{id}-delete"), format!("payments-8.{id}-stray"), "notes-delete".to_owned()];
    for name in &entries {
        let folder = Path::new(FOLDER).join(name);
        storage.create_dir(&folder).unwrap();
        storage.create_dir(&folder.join("nested")).unwrap();
        overwrite(&storage, &folder.join("nested/file"), b"bytes");
    }
    let directory = open(&storage);
    assert_eq!(directory.report().unknown_entries, ["notes-delete"]);
    assert_eq!(directory.partitions().unwrap(), []);
    assert_eq!(directory.remove_deleted().unwrap(), 1);
    assert!(entries[1..].iter().all(|name| names(&storage).contains(name)));
    assert!(!names(&storage).contains(&entries[0]));
}

#[test]
fn the_topic_id_is_told_without_opening_the_log() {
    let storage = MemStorage::new();
    let (directory, log) = filled(&storage);
    drop(log);
    assert_eq!(directory.partition_topic_id(&tp()).unwrap(), Some(OLD));
    assert_eq!(directory.partition_topic_id(&TopicPartition::new("orders", 1).unwrap()).unwrap(), None);
    overwrite(&storage, &crate::support::partition_file("partition.metadata"), b"version: 9\n");
    assert!(matches!(directory.partition_topic_id(&tp()), Err(Error::Corrupt(_))));
}

#[test]
fn the_next_partition_in_a_slot_is_not_taken_for_the_one_before() {
    let storage = MemStorage::new();
    let (directory, _old) = filled(&storage);
    let other = TopicPartition::new("payments", 3).unwrap();
    directory.delete_log(&tp()).unwrap();
    let log = directory.open_log(&other, None, LogConfig::new(), now()).unwrap();
    log.begin_epoch(LeaderEpoch::ZERO).unwrap();
    append(&log, b"value").unwrap();
    let witness = Path::new(FOLDER).join("logstead.witness");
    assert_eq!(crate::support::bytes_of(&storage, &witness).len(), 2 * 1024, "one slot beside the header");
    let bytes = all_bytes(&log);
    drop((directory, log));
    let directory = open(&storage.crash_image(&CrashModel::DropAll, 0));
    let log = directory.open_log(&other, None, LogConfig::new(), now()).unwrap();
    assert_eq!(all_bytes(&log), bytes);
    assert_eq!(open_log(&directory, Some(OLD)).unwrap().log_end_offset(), Offset::ZERO);
}

/// How far a process came.
#[derive(Debug, Default)]
struct Progress {
    deleted: bool,
    appended: bool,
}

/// Deletes the partition, creates it again, and removes the files of the old one.
fn replace(directory: &LogDirectory, id: TopicId, progress: &mut Progress) -> logstead::Result<()> {
    directory.delete_log(&tp())?;
    progress.deleted = true;
    let log = open_log(directory, Some(id))?;
    log.begin_epoch(LeaderEpoch::ZERO)?;
    append(&log, b"new")?;
    progress.appended = true;
    directory.remove_deleted()?;
    Ok(())
}

/// The partition is the old one, whole, or gone, or the new one.
fn check(image: &MemStorage, id: TopicId, progress: &Progress, old: &[u8], case: &str) {
    let directory = open(image);
    assert_eq!(directory.report().missing_partitions, [], "{case}");
    // What was being published is no folder of a partition.
    assert!(directory.report().unknown_entries.iter().all(|name| name.ends_with(".tmp")), "{case}");
    let found = directory.partition_topic_id(&tp()).unwrap();
    let log = open_log(&directory, found.or(Some(id))).unwrap();
    let report = log.recovery_report();
    assert_eq!(report.damage, [], "{case}");
    if log.log_start_offset() > Offset::ZERO {
        assert!(!progress.deleted, "{case}: it came back");
        assert!(!report.was_foreign && report.cuts.is_empty(), "{case}");
        assert_eq!(all_bytes(&log), old, "{case}");
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (Offset::from(2), Offset::from(5)), "{case}");
        assert_eq!(log.high_watermark(), Offset::from(4), "{case}");
        return;
    }
    assert!(log.log_end_offset() <= Offset::from(1), "{case}");
    assert!(!progress.appended || log.log_end_offset() == Offset::from(1), "{case}: the new record is lost");
    assert_eq!(log.high_watermark(), Offset::ZERO, "{case}");
    directory.remove_deleted().unwrap();
    assert_eq!(departed(image, "-delete"), [""; 0], "{case}");
}

#[test]
fn after_a_crash_anywhere_a_partition_is_whole_or_gone() {
    for id in [OLD, NEW] {
        let reference = MemStorage::new();
        let (directory, log) = filled(&reference);
        let (first, old) = (reference.operation_count(), all_bytes(&log));
        replace(&directory, id, &mut Progress::default()).unwrap();
        assert!(reference.operation_count() > first + 20);
        for index in first..reference.operation_count() {
            for point in [StopPoint::Before(index), StopPoint::After(index)] {
                let storage = MemStorage::new();
                let (directory, _log) = filled(&storage);
                storage.stop_at(point);
                let mut progress = Progress::default();
                replace(&directory, id, &mut progress).unwrap_err();
                for (seed, model) in (0..).zip(&IMAGES) {
                    let image = storage.crash_image(model, seed + 10 * index);
                    let case = format!("{point:?} {:?}, {model:?} {seed}", storage.operations().last());
                    check(&image, id, &progress, &old, &case);
                    // The next owner may die as well, right after it opened the folder or later.
                    let again = image.crash_image(&CrashModel::Subset, seed);
                    check(&again, id, &progress, &old, &format!("{case}, again"));
                }
            }
        }
    }
}

#[test]
fn after_a_failure_anywhere_a_partition_is_whole_or_gone() {
    let reference = MemStorage::new();
    let (directory, log) = filled(&reference);
    let (first, old) = (reference.operation_count(), all_bytes(&log));
    replace(&directory, OLD, &mut Progress::default()).unwrap();
    for nth in 0..reference.operation_count() - first {
        let fault = || Fault::nth(nth);
        for fault in [fault(), fault().taking_effect(), fault().with_error_kind(std::io::ErrorKind::StorageFull)] {
            let storage = MemStorage::new();
            let (directory, log) = filled(&storage);
            storage.fail(fault.clone());
            let mut progress = Progress::default();
            let failed = replace(&directory, OLD, &mut progress);
            let operation = storage.operations()[usize::try_from(first + nth).unwrap()].clone();
            let case = format!("{operation:?} {fault:?}");
            drop(log);
            if !progress.deleted {
                failed.unwrap_err();
                // In this session it is refused, or whole, or empty; the next one knows.
                if let Ok(log) = open_log(&directory, Some(OLD)) {
                    let end = log.log_end_offset();
                    assert!([Offset::ZERO, Offset::from(5)].contains(&end), "{case}: {end}");
                }
            }
            let _ = directory.close();
            // Names whose sync failed are in doubt for ever.
            let lasts = operation.kind != OperationKind::SyncDir;
            for model in IMAGES.iter().filter(|model| lasts || **model == CrashModel::KeepAll) {
                check(&storage.crash_image(model, nth), OLD, &progress, &old, &case);
            }
        }
    }
}

#[test]
fn deleting_twice_is_deleting_once() {
    let home = Home::leading(LogConfig::new());
    home.append(1, b"value");
    home.directory.delete_log(&tp()).unwrap();
    home.directory.delete_log(&tp()).unwrap();
    assert_eq!(departed(&home.storage, "-delete").len(), 1);
}

#[test]
fn deletion_works_on_real_files() {
    let parent = tempfile::tempdir().unwrap();
    let folder: PathBuf = parent.path().join("data");
    let directory = LogDirectory::open(&folder).unwrap();
    let log = directory.open_log(&tp(), None, LogConfig::new(), now()).unwrap();
    log.begin_epoch(LeaderEpoch::ZERO).unwrap();
    append(&log, b"value").unwrap();
    let slice = read(&log, 0).unwrap();
    directory.delete_log(&tp()).unwrap();
    let again = directory.open_log(&tp(), None, LogConfig::new(), now()).unwrap();
    assert_eq!(again.log_end_offset(), Offset::ZERO);
    assert_eq!(directory.remove_deleted().unwrap(), 1);
    assert_eq!(slice.batches().count(), 1);
    let kept = directory.set_aside(&tp()).unwrap();
    assert!(kept.is_dir());
}
