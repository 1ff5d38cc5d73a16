//! The data folder: who owns it, whose it is, and what in it is left alone.

use std::path::Path;

use logstead::Error;
use logstead::config::LogConfig;
use logstead::log::{LogDirectory, Manifest, SegmentFile};
use logstead::storage::{MemStorage, OpenMode, OsStorage, Storage};
use logstead::types::{BrokerId, LeaderEpoch, Offset, TopicId, TopicPartition};

use crate::support::{FOLDER, Home, all_bytes, bytes_of, now, overwrite, partition_file, tp};

fn in_folder(name: &str) -> std::path::PathBuf {
    Path::new(FOLDER).join(name)
}

#[test]
fn a_folder_has_one_owner_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let owner = LogDirectory::open(folder.path()).unwrap();
    let refused = LogDirectory::open(folder.path());
    let Err(Error::AlreadyOpen { pid, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(pid, Some(std::process::id()));
    drop(owner);
    LogDirectory::open(folder.path()).unwrap();
}

#[cfg(unix)]
#[test]
fn a_link_to_a_folder_is_the_same_folder() {
    let parent = tempfile::tempdir().unwrap();
    let (folder, link) = (parent.path().join("data"), parent.path().join("link"));
    let owner = LogDirectory::open(&folder).unwrap();
    std::os::unix::fs::symlink(&folder, &link).unwrap();
    assert!(matches!(LogDirectory::open(&link), Err(Error::AlreadyOpen { .. })));
    drop(owner);
    LogDirectory::open(&link).unwrap();
}

#[test]
fn a_folder_with_other_things_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("thesis.txt"), "important").unwrap();
    let refused = LogDirectory::open(folder.path());
    assert!(matches!(refused, Err(Error::InvalidState { operation: "open the data folder", .. })), "{refused:?}");
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["thesis.txt"]);
}

#[test]
fn a_log_is_open_once() {
    let home = Home::new(LogConfig::new());
    let refused = home.directory.open_log(&tp(), None, LogConfig::new(), now());
    assert!(matches!(refused, Err(Error::InvalidState { operation: "open a log", .. })), "{refused:?}");
}

#[test]
fn a_topic_that_was_created_again_does_not_get_the_old_ones_records() {
    let home = Home::leading(LogConfig::new());
    let old = home.log.topic_id();
    let (storage, config) = home.close();
    let directory = LogDirectory::options().storage(storage).open(FOLDER).unwrap();
    let new = TopicId::from_bytes([9; 16]);
    let refused = directory.open_log(&tp(), Some(new), config, now());
    let Err(Error::InconsistentTopicId { expected, found, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!((expected, found), (new, old));
}

#[test]
fn another_cluster_or_node_is_refused() {
    let storage = MemStorage::new();
    let options = || LogDirectory::options().storage(storage.clone());
    options().cluster_id("ours").node_id(BrokerId::new(3).unwrap()).open(FOLDER).unwrap().close().unwrap();
    let refused = options().cluster_id("theirs").open(FOLDER);
    assert!(matches!(refused, Err(Error::InconsistentIdentity { field: "cluster.id", .. })), "{refused:?}");
    let refused = options().node_id(BrokerId::new(4).unwrap()).open(FOLDER);
    assert!(matches!(refused, Err(Error::InconsistentIdentity { field: "node.id", .. })), "{refused:?}");
    assert_eq!(options().open(FOLDER).unwrap().identity().node_id, BrokerId::new(3).unwrap());
}

#[test]
fn a_newer_format_is_refused_and_the_folder_left_alone() {
    let (storage, _) = Home::leading(LogConfig::new()).close();
    let text = String::from_utf8(bytes_of(&storage, &in_folder("logstead.manifest"))).unwrap();
    let body = text.replacen("logstead-manifest 1\n", "logstead-manifest 2\n", 1);
    let body = &body[..body.rfind("crc32 ").unwrap()];
    let newer = format!("{body}crc32 {:08x}\n", crc32fast::hash(body.as_bytes()));
    overwrite(&storage, &in_folder("logstead.manifest"), newer.as_bytes());
    let names =
        || -> Vec<String> { storage.list(FOLDER.as_ref()).unwrap().into_iter().map(|entry| entry.name).collect() };
    let before = names();
    let refused = LogDirectory::options().storage(storage.clone()).open(FOLDER);
    assert!(matches!(refused, Err(Error::UnsupportedFormat { found: 2, known: 1, .. })), "{refused:?}");
    assert_eq!(names(), before);
    assert_eq!(bytes_of(&storage, &in_folder("logstead.manifest")), newer.as_bytes());
}

#[test]
fn a_flipped_bit_in_the_format_is_damage_and_not_a_newer_format() {
    let (storage, config) = Home::leading(LogConfig::new()).close();
    let mut bytes = bytes_of(&storage, &in_folder("logstead.manifest"));
    bytes[b"logstead-manifest ".len()] = b'3';
    overwrite(&storage, &in_folder("logstead.manifest"), &bytes);
    Home::on(storage, config);
}

#[test]
fn unknown_files_are_reported_and_left_alone() {
    let home = Home::leading(LogConfig::new());
    home.append(1, b"value");
    let (storage, config) = home.close();
    overwrite(&storage, &in_folder("notes.txt"), b"mine");
    overwrite(&storage, &partition_file("todo.txt"), b"mine too");
    let home = Home::on(storage, config);
    assert_eq!(home.directory.report().unknown_entries, ["notes.txt"]);
    assert_eq!(home.log.recovery_report().unknown_files, ["todo.txt"]);
    let (storage, _) = home.close();
    assert_eq!(bytes_of(&storage, &in_folder("notes.txt")), b"mine");
    assert_eq!(bytes_of(&storage, &partition_file("todo.txt")), b"mine too");
}

#[test]
fn a_partition_folder_that_is_gone_is_reported() {
    let (storage, _) = Home::leading(LogConfig::new()).close();
    let folder = in_folder("orders-0");
    for entry in storage.list(&folder).unwrap() {
        storage.remove(&folder.join(entry.name)).unwrap();
    }
    storage.remove_dir(&folder).unwrap();
    let directory = LogDirectory::options().storage(storage).open(FOLDER).unwrap();
    assert_eq!(directory.report().missing_partitions, [tp()]);
}

#[test]
fn without_the_witness_a_crashed_log_keeps_its_records() {
    let home = Home::leading(LogConfig::new());
    (0..3).for_each(|value| home.append(1, &[value; 20]));
    home.log.flush().unwrap();
    let before = all_bytes(&home.log);
    let (storage, config) = (home.storage.clone(), LogConfig::clone(&home.log.config()));
    drop(home);
    storage.remove(&in_folder("logstead.witness")).unwrap();
    let home = Home::on(storage, config);
    assert_eq!((all_bytes(&home.log), home.log.recovery_report().damage.len()), (before, 0));
}

/// A broker that owned the folder in between rewrites Kafka's files, and knows nothing of ours.
#[test]
fn after_another_owner_our_own_files_are_rebuilt() {
    let home = Home::leading(LogConfig::new().segment_bytes(200));
    (0..6).for_each(|value| home.append(1, &[value; 40]));
    let before = all_bytes(&home.log);
    let (storage, config) = home.close();
    let checkpoint = in_folder("recovery-point-offset-checkpoint");
    overwrite(&storage, &checkpoint, b"0\n1\norders 0 5\n");
    let seal = partition_file(&SegmentFile::Seal.name(Offset::ZERO));
    let (old_witness, old_seal) = (bytes_of(&storage, &in_folder("logstead.witness")), bytes_of(&storage, &seal));
    overwrite(&storage, &seal, b"about a log that is no more");
    let home = Home::on(storage, config);
    assert_eq!(home.directory.report().foreign_file.as_deref(), Some("recovery-point-offset-checkpoint"));
    assert!(home.log.recovery_report().was_foreign);
    assert_eq!(all_bytes(&home.log), before);
    assert_eq!(bytes_of(&home.storage, &seal), old_seal);
    assert_ne!(bytes_of(&home.storage, &in_folder("logstead.witness")), old_witness);
    let home = home.restart();
    assert_eq!(home.directory.report().foreign_file, None);
    assert!(home.log.recovery_report().was_clean);
}

#[test]
fn a_damaged_checkpoint_is_reported_and_not_needed() {
    let home = Home::leading(LogConfig::new());
    home.append(1, b"value");
    let before = all_bytes(&home.log);
    let (storage, config) = home.close();
    overwrite(&storage, &in_folder("replication-offset-checkpoint"), b"\xff\xfe");
    let home = Home::on(storage, config);
    assert_eq!(home.directory.report().unreadable_files, ["replication-offset-checkpoint"]);
    assert_eq!(all_bytes(&home.log), before);
}

#[test]
fn damaged_identity_is_an_error_that_names_the_file() {
    let (storage, _) = Home::leading(LogConfig::new()).close();
    overwrite(&storage, &in_folder("meta.properties"), b"version=1\n");
    let refused = LogDirectory::options().storage(storage).open(FOLDER);
    let Err(Error::Corrupt(corrupt)) = refused else { panic!("{refused:?}") };
    assert_eq!(corrupt.path, Some(in_folder("meta.properties")));
}

#[test]
fn a_second_session_finds_what_the_first_one_wrote_on_a_real_disk() {
    let folder = tempfile::tempdir().unwrap();
    for session in 0..3 {
        let directory = LogDirectory::open(folder.path()).unwrap();
        let log = directory.open_log(&tp(), None, LogConfig::new().segment_bytes(200), now()).unwrap();
        assert_eq!(log.log_end_offset().get(), session * 4);
        log.begin_epoch(LeaderEpoch::new(session as i32).unwrap()).unwrap();
        for _ in 0..4 {
            log.append_as_leader(&mut crate::support::batch_of(1, &[7; 40]), now()).unwrap();
        }
        if session % 2 == 0 {
            directory.close().unwrap();
        }
    }
}

#[test]
fn every_partition_of_a_folder_is_listed() {
    let home = Home::new(LogConfig::new());
    let other = TopicPartition::new("invoices", 7).unwrap();
    home.directory.open_log(&other, None, LogConfig::new(), now()).unwrap();
    assert_eq!(home.directory.partitions().unwrap(), [other, tp()]);
}

#[test]
fn a_folder_is_not_marked_clean_while_a_crashed_partition_was_not_opened() {
    let home = Home::leading(LogConfig::new());
    home.append(1, b"value");
    let (storage, config) = (home.storage.clone(), LogConfig::clone(&home.log.config()));
    drop(home);
    LogDirectory::options().storage(storage.clone()).open(FOLDER).unwrap().close().unwrap();
    let home = Home::on(storage, config);
    assert!(!home.directory.report().was_clean);
}

#[test]
fn the_manifest_lists_what_the_folder_holds() {
    let home = Home::leading(LogConfig::new());
    home.append(2, b"value");
    home.log.flush().unwrap();
    home.log.advance_high_watermark(Offset::from(1)).unwrap();
    let (storage, _) = home.close();
    let manifest = Manifest::from_bytes(&bytes_of(&storage, &in_folder("logstead.manifest"))).unwrap();
    let listed = manifest.partitions[&tp()];
    assert_eq!((listed.high_watermark, listed.recovery_point), (Offset::from(1), Offset::from(2)));
}

/// The owner may always look at its files behind the library's back, even with a second handle of the storage.
#[test]
fn reading_the_files_of_an_open_log_disturbs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let directory = LogDirectory::open(folder.path()).unwrap();
    let _ = OsStorage::new().open(&folder.path().join("meta.properties"), OpenMode::Read).unwrap();
    assert!(LogDirectory::open(folder.path()).is_err());
    drop(directory);
}

#[test]
fn logs_that_were_closed_and_dropped_leave_a_clean_folder() {
    let storage = MemStorage::new();
    let directory = LogDirectory::options().storage(storage.clone()).open(FOLDER).unwrap();
    let log = directory.open_log(&tp(), None, LogConfig::new(), now()).unwrap();
    log.begin_epoch(LeaderEpoch::ZERO).unwrap();
    log.append_as_leader(&mut crate::support::batch_of(3, b"value"), now()).unwrap();
    log.close().unwrap();
    drop(log);
    directory.close().unwrap();
    let again = LogDirectory::options().storage(storage).open(FOLDER).unwrap();
    assert!(again.report().was_clean);
    let log = again.open_log(&tp(), None, LogConfig::new(), now()).unwrap();
    assert_eq!((log.log_end_offset(), log.recovery_report().scanned_bytes > 0), (Offset::from(3), true));
}

#[test]
fn a_log_that_was_dropped_open_leaves_the_folder_unclean() {
    let storage = MemStorage::new();
    let directory = LogDirectory::options().storage(storage.clone()).open(FOLDER).unwrap();
    drop(directory.open_log(&tp(), None, LogConfig::new(), now()).unwrap());
    directory.close().unwrap();
    assert!(!LogDirectory::options().storage(storage).open(FOLDER).unwrap().report().was_clean);
}
