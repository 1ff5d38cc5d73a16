//! What brokers of other versions leave, and what only a look at several files tells.

use std::fs;
use std::path::{Path, PathBuf};

use logstead::record::crc32c;
use tempfile::TempDir;

use crate::support::{copy_of_fixture, files_in, fixtures, verify, with_changed};

const LOG_0: &str = "00000000000000000000.log";
const INDEX_4: &str = "00000000000000000004.index";
const TIME_INDEX_0: &str = "00000000000000000000.timeindex";

/// A copy of one of Kafka's folders.
fn kafka(name: &str) -> (TempDir, PathBuf) {
    let copy = copy_of_fixture(name);
    let folder = copy.path().join(name);
    (copy, folder)
}

/// The damage after `file` was replaced: kinds and files.
fn damage_with(folder: &Path, file: &str, bytes: Vec<u8>) -> Vec<(String, String)> {
    with_changed(&folder.join(file), |content| *content = bytes, || verify(folder).found("damage", folder))
}

fn pair(kind: &str, file: &str) -> Vec<(String, String)> {
    vec![(kind.to_owned(), file.to_owned())]
}

/// A data folder with two of Kafka's partitions under these names, and what a broker writes when it closes.
fn closed_by_broker(partitions: [(&str, &str); 2]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (fixture, name) in partitions {
        fs::create_dir(folder.path().join(name)).unwrap();
        for path in files_in(&fixtures().join(fixture)) {
            fs::copy(&path, folder.path().join(name).join(path.file_name().unwrap())).unwrap();
        }
    }
    let identity = "version=1\ncluster.id=MkU3OEVBNTcwNTJENDM2Qg\nnode.id=1\n";
    fs::write(folder.path().join("meta.properties"), identity).unwrap();
    fs::write(folder.path().join("recovery-point-offset-checkpoint"), "0\n2\nplain 0 9\nsegments 0 14\n").unwrap();
    fs::write(folder.path().join(".kafka_cleanshutdown"), r#"{"version":0,"brokerEpoch":5}"#).unwrap();
    folder
}

fn closed() -> TempDir {
    closed_by_broker([("plain-0", "plain-0"), ("segments-0", "segments-0")])
}

/// Brokers before 4.0, and followers above all, write one entry for all batches of an append.
#[test]
fn an_entry_of_the_offset_index_may_stand_for_several_batches() {
    let (_copy, folder) = kafka("segments-0");
    let entry = |offset: u32, position: u32| [offset.to_be_bytes(), position.to_be_bytes()].concat();
    // Batches at 0 (offsets 4 and 5) and at 111 (6 and 7).
    assert_eq!(damage_with(&folder, INDEX_4, entry(3, 0)), []);
    let misplaced = pair("index", INDEX_4);
    assert_eq!(damage_with(&folder, INDEX_4, entry(2, 0)), misplaced, "no batch ends there");
    assert_eq!(damage_with(&folder, INDEX_4, entry(4, 0)), misplaced, "the log ends before");
    assert_eq!(damage_with(&folder, INDEX_4, entry(3, 7)), misplaced, "no batch starts there");
    let overlapping = [entry(3, 0), entry(4, 111)].concat();
    assert!(damage_with(&folder, INDEX_4, overlapping).contains(&misplaced[0]), "the second begins within the first");
}

/// Brokers before 4.0 name the record that has the largest timestamp.
#[test]
fn an_entry_of_the_time_index_may_name_a_record_within_its_batch() {
    let (_copy, folder) = kafka("plain-0");
    let entry = |millis: u64, offset: u32| [&millis.to_be_bytes()[..], &offset.to_be_bytes()].concat();
    let last = entry(1_700_000_000_040, 8);
    // The batch from 5 to 7 has its largest timestamp, 30, in its first record.
    let with_first = |first: Vec<u8>| damage_with(&folder, TIME_INDEX_0, [first, last.clone()].concat());
    assert_eq!(with_first(entry(1_700_000_000_030, 5)), []);
    assert_eq!(with_first(entry(1_700_000_000_029, 5)), pair("index", TIME_INDEX_0));
    assert_eq!(with_first(entry(1_700_000_000_030, 4)), pair("index", TIME_INDEX_0));
}

#[test]
fn a_producer_snapshot_must_say_what_the_log_says() {
    let (_copy, folder) = kafka("transactions-0");
    let file = "00000000000000000002.snapshot";
    let original = fs::read(folder.join(file)).unwrap();
    let with_changed_field = |position: usize, value: &[u8]| {
        let mut bytes = original.clone();
        bytes[position..position + value.len()].copy_from_slice(value);
        let crc = crc32c(&bytes[6..]);
        bytes[2..6].copy_from_slice(&crc.to_be_bytes());
        damage_with(&folder, file, bytes)
    };
    assert_eq!(with_changed_field(10, &1_i64.to_be_bytes()), [], "producer 1 it is");
    let fields: [(&str, usize, &[u8]); 5] = [
        ("producer id", 10, &2_i64.to_be_bytes()),
        ("epoch", 18, &1_i16.to_be_bytes()),
        ("last sequence", 20, &2_i32.to_be_bytes()),
        ("last offset", 24, &0_i64.to_be_bytes()),
        ("open transaction", 48, &1_i64.to_be_bytes()),
    ];
    for (name, position, value) in fields {
        let damage = with_changed_field(position, value);
        assert!(damage.iter().all(|found| *found == pair("snapshot", file)[0]) && !damage.is_empty(), "{name}");
    }
    // A producer with an open transaction is never forgotten.
    let checked = 0_u32.to_be_bytes();
    let none = [&[0, 1][..], &crc32c(&checked).to_be_bytes(), &checked].concat();
    assert_eq!(damage_with(&folder, file, none), pair("snapshot", file));
}

#[test]
fn a_missing_epoch_is_the_histories_fault_and_told_once() {
    let (_copy, folder) = kafka("segments-0");
    assert_eq!(
        damage_with(&folder, "leader-epoch-checkpoint", b"0\n1\n0 0\n".to_vec()),
        pair("epochs", "leader-epoch-checkpoint")
    );
    // One batch alone may be the wrong one.
    let log = "00000000000000000013.log";
    let mut bytes = fs::read(folder.join(log)).unwrap();
    bytes[15] = 3;
    assert_eq!(damage_with(&folder, log, bytes), pair("epoch", log));
}

#[test]
fn a_batch_that_is_there_twice_is_told_once() {
    let (_copy, folder) = kafka("segments-0");
    let bytes = fs::read(folder.join(LOG_0)).unwrap();
    let twice = [&bytes[..111], &bytes].concat();
    assert_eq!(damage_with(&folder, LOG_0, twice), pair("offset", LOG_0));
}

#[test]
fn a_file_of_a_segment_whose_name_is_no_offset_is_damage() {
    let (_copy, folder) = kafka("plain-0");
    for name in ["abc.log", "12.index", "0000000000000000000.snapshot"] {
        let path = folder.join(name);
        fs::write(&path, []).unwrap();
        assert_eq!(verify(&folder).found("damage", &folder), pair("name", name));
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn one_topic_has_one_id() {
    for (second, found) in [("plain-1", "plain-1"), ("plain-0-copy-0", "plain-0-copy-0")] {
        let source = if second == "plain-1" { "segments-0" } else { "plain-0" };
        let folder = closed_by_broker([("plain-0", "plain-0"), (source, second)]);
        fs::remove_file(folder.path().join("recovery-point-offset-checkpoint")).unwrap();
        let damage = verify(folder.path()).found("damage", folder.path());
        assert_eq!(damage, pair("metadata", &format!("{found}/partition.metadata")));
    }
}

#[test]
fn a_partition_or_log_that_a_broker_had_when_it_closed_must_be_there() {
    let folder = closed();
    assert_eq!(verify(folder.path()).code, 0);
    fs::remove_file(folder.path().join("segments-0/00000000000000000004.log")).unwrap();
    let orphans = ["00000000000000000004.index", "00000000000000000004.timeindex"];
    let orphans = orphans.map(|name| ("orphan".to_owned(), format!("segments-0/{name}")));
    assert_eq!(verify(folder.path()).found("damage", folder.path()), orphans);
    fs::remove_dir_all(folder.path().join("segments-0")).unwrap();
    assert_eq!(verify(folder.path()).found("damage", folder.path()), pair("missing", "segments-0"));
    // A broker that was killed leaves such states behind.
    fs::remove_file(folder.path().join(".kafka_cleanshutdown")).unwrap();
    assert_eq!(verify(folder.path()).code, 0);
}
