//! Damage of every kind, and what looks like it and is none.

use std::fs;
use std::path::{Path, PathBuf};

use logstead::record::{BatchHeader, crc32c};
use logstead::time::ManualClock;
use logstead::types::LeaderEpoch;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{PARTITION, append, copy_of_fixture, fixtures, open, open_log, verify, write_folder};

/// A copy of one of Kafka's folders.
fn kafka(name: &str) -> (TempDir, PathBuf) {
    let copy = copy_of_fixture(name);
    let folder = copy.path().join(name);
    (copy, folder)
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Kinds and files, for comparing.
fn pairs(found: &[(&str, &str)]) -> Vec<(String, String)> {
    found.iter().map(|(kind, file)| ((*kind).to_owned(), (*file).to_owned())).collect()
}

/// Gives the batch at `at` the checksum of its bytes.
fn correct_checksum(log: &mut [u8], at: usize) {
    let size = BatchHeader::parse(&log[at..]).unwrap().size_in_bytes();
    let crc = crc32c(&log[at + 21..at + size]);
    log[at + 17..at + 21].copy_from_slice(&crc.to_be_bytes());
}

const LOG_0: &str = "00000000000000000000.log";

// ---- The end of a log --------------------------------------------------------------------------------------------

#[test]
fn a_torn_tail_is_a_note_unless_a_snapshot_shows_that_the_log_went_on() {
    let (_copy, folder) = kafka("plain-0");
    edit(&folder.join(LOG_0), |log| log.truncate(400));
    let run = verify(&folder);
    assert_eq!(run.found("damage", &folder), pairs(&[("batch", LOG_0)]));
    let line = &run.json_lines()[0];
    assert_eq!((&line["position"], &line["firstOffset"], &line["endOffset"]), (&json!(374), &json!(8), &json!(9)));

    fs::remove_file(folder.join("00000000000000000009.snapshot")).unwrap();
    edit(&folder.join("leader-epoch-checkpoint"), |text| *text = b"0\n1\n0 0\n".to_vec());
    let run = verify(&folder);
    assert_eq!(run.code, 0, "{}", run.stdout);
    assert_eq!(run.found("note", &folder), pairs(&[("tail", LOG_0), ("index", "00000000000000000000.timeindex")]));
}

#[test]
fn what_was_appended_after_the_last_flush_may_be_torn() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let directory = open(folder.path());
    let log = open_log(&directory, &clock);
    log.begin_epoch(LeaderEpoch::ZERO).unwrap();
    (0..2).for_each(|n| append(&log, &clock, 1000 + n, None));
    log.flush().unwrap();
    append(&log, &clock, 2000, None);
    drop((log, directory));
    let path = folder.path().join(PARTITION).join(LOG_0);
    let whole = fs::read(&path).unwrap();
    let batch = whole.len() / 3;
    for kept in 0..batch {
        edit(&path, |log| *log = whole[..2 * batch + kept].to_vec());
        let run = verify(folder.path());
        assert_eq!(run.code, 0, "{kept}: {}", run.stdout);
        // A batch starts with zeros, the high bytes of its offset.
        let kind = if kept <= 7 { "zeros" } else { "tail" };
        let expected = if kept == 0 { vec![] } else { vec![(kind.to_owned(), format!("{PARTITION}/{LOG_0}"))] };
        assert_eq!(run.found("note", folder.path()), expected, "{kept}");
    }
    // A byte less, and durable bytes are gone.
    edit(&path, |log| *log = whole[..2 * batch - 1].to_vec());
    let run = verify(folder.path());
    assert_eq!(run.code, 1);
    assert!(run.found("damage", folder.path()).iter().all(|(_, file)| file.ends_with(LOG_0)), "{}", run.stdout);
}

#[test]
fn a_log_that_is_shorter_than_the_witness_says_is_damage() {
    let folder = write_folder();
    let log = folder.path().join(PARTITION).join("00000000000000000016.log");
    edit(&log, |bytes| bytes.clear());
    let run = verify(folder.path());
    assert_eq!(run.code, 1);
    assert!(
        run.found("damage", folder.path())
            .contains(&("missing".into(), format!("{PARTITION}/00000000000000000016.log")))
    );
    assert!(run.stderr.contains("damage"), "{}", run.stderr);
}

#[test]
fn zeros_end_a_log_that_grows_and_damage_one_that_is_finished() {
    let (_copy, folder) = kafka("segments-0");
    edit(&folder.join("00000000000000000013.log"), |log| log.resize(4096, 0));
    let run = verify(&folder);
    assert_eq!((run.code, run.found("note", &folder)), (0, pairs(&[("zeros", "00000000000000000013.log")])));
    edit(&folder.join(LOG_0), |log| log.resize(4096, 0));
    assert_eq!(verify(&folder).found("damage", &folder), pairs(&[("batch", LOG_0)]));
}

#[test]
fn a_bad_batch_with_intact_ones_behind_it_is_damage_with_its_offsets() {
    let (_copy, folder) = kafka("plain-0");
    fs::remove_file(folder.join("00000000000000000009.snapshot")).unwrap();
    edit(&folder.join(LOG_0), |log| log[100] ^= 1);
    let run = verify(&folder);
    assert_eq!(run.found("damage", &folder), pairs(&[("batch", LOG_0)]));
    let line = &run.json_lines()[0];
    assert_eq!((&line["position"], &line["firstOffset"], &line["endOffset"]), (&json!(80), &json!(1), &json!(5)));
    assert_eq!((run.code, run.summary("batches")), (1, 3));
}

// ---- Segments ----------------------------------------------------------------------------------------------------

#[test]
fn a_lost_segment_is_a_gap_in_kafkas_folder_and_damage_where_the_witness_knows_better() {
    let (_copy, folder) = kafka("segments-0");
    fs::remove_file(folder.join("00000000000000000004.log")).unwrap();
    let run = verify(&folder);
    assert_eq!(run.code, 0, "{}", run.stdout);
    let gap = &run.json_lines()[0];
    assert_eq!((&gap["kind"], &gap["firstOffset"], &gap["endOffset"]), (&json!("gap"), &json!(4), &json!(8)));
    assert_eq!(run.found("note", &folder).iter().filter(|(kind, _)| kind == "orphan").count(), 2);

    let folder = write_folder();
    fs::remove_file(folder.path().join(PARTITION).join("00000000000000000006.log")).unwrap();
    let run = verify(folder.path());
    let missing = run.json_lines().into_iter().find(|line| line["kind"] == "missing").unwrap();
    assert_eq!((&missing["firstOffset"], &missing["endOffset"], run.code), (&json!(6), &json!(12), 1));
}

#[test]
fn a_lost_first_or_last_segment_is_damage_by_the_witness() {
    for base in [0, 16] {
        let folder = write_folder();
        fs::remove_file(folder.path().join(PARTITION).join(format!("{base:020}.log"))).unwrap();
        let run = verify(folder.path());
        assert!(run.found("damage", folder.path()).iter().any(|(kind, _)| kind == "missing"), "{base}: {}", run.stdout);
    }
}

#[test]
fn lost_index_files_and_leftovers_are_notes() {
    let folder = write_folder();
    let partition = folder.path().join(PARTITION);
    for name in ["00000000000000000000.index", "00000000000000000016.timeindex", "leader-epoch-checkpoint"] {
        fs::remove_file(partition.join(name)).unwrap();
    }
    for name in ["00000000000000000000.log.deleted", "00000000000000000000.log.swap", "x.cleaned", "x.tmp", "notes.txt"]
    {
        fs::write(partition.join(name), "anything").unwrap();
    }
    fs::create_dir(folder.path().join("orders-1.0123456789abcdef0123456789abcdef-delete")).unwrap();
    fs::create_dir(folder.path().join("strange")).unwrap();
    let run = verify(folder.path());
    assert_eq!(run.code, 0, "{}", run.stdout);
    let kinds: Vec<_> = run.found("note", folder.path()).into_iter().map(|(kind, _)| kind).collect();
    let count = |kind: &str| kinds.iter().filter(|found| *found == kind).count();
    // The seal names the lost index as well.
    assert_eq!((count("leftover"), count("unknown"), count("missing-file"), count("missing-index")), (5, 2, 1, 3));
}

#[test]
fn preallocated_index_files_are_notes() {
    let (_copy, folder) = kafka("segments-0");
    edit(&folder.join("00000000000000000013.index"), |bytes| bytes.resize(8 * 100, 0));
    edit(&folder.join("00000000000000000013.timeindex"), |bytes| bytes.resize(12 * 100, 0));
    let run = verify(&folder);
    let names = [("zeros", "00000000000000000013.index"), ("zeros", "00000000000000000013.timeindex")];
    assert_eq!((run.code, run.found("note", &folder)), (0, pairs(&names)));
}

#[test]
fn an_aborted_transaction_must_be_indexed() {
    let (_copy, folder) = kafka("transactions-0");
    let name = "00000000000000000002.txnindex";
    edit(&folder.join(name), |bytes| bytes.truncate(34));
    // The segment is the last one: its index may be behind. A finished one's may not.
    let run = verify(&folder);
    assert_eq!((run.code, run.found("note", &folder)), (0, pairs(&[("index", name)])));
    fs::write(folder.join("00000000000000000013.log"), "").unwrap();
    assert_eq!(verify(&folder).found("damage", &folder), pairs(&[("index", name)]));
}

// ---- Batches with the right checksum -----------------------------------------------------------------------------

#[test]
fn what_a_right_checksum_hides_is_found() {
    for (batch, field, value, severity, kind) in [
        (0, 21, 0x80, "note", "attributes"),
        (0, 42, 0x7f, "damage", "timestamp"),
        // Its first record has no key.
        (80, 22, 0x20, "damage", "control"),
        // The first record's length.
        (0, 61, 0x01, "damage", "record"),
    ] {
        let (_copy, folder) = kafka("plain-0");
        edit(&folder.join(LOG_0), |log| {
            log[batch + field] = value;
            correct_checksum(log, batch);
        });
        let run = verify(&folder);
        assert!(run.found(severity, &folder).contains(&(kind.into(), LOG_0.into())), "byte {field}: {}", run.stdout);
        assert_eq!(run.code, i32::from(severity == "damage"), "byte {field}: {}", run.stdout);
    }
}

#[test]
fn a_sequence_that_does_not_go_on_is_a_note() {
    let (_copy, folder) = kafka("segments-0");
    edit(&folder.join("00000000000000000008.log"), |log| {
        log[56] ^= 0x40;
        correct_checksum(log, 0);
    });
    let run = verify(&folder);
    let notes = run.found("note", &folder);
    assert_eq!((run.code, notes.len()), (0, 2), "{}", run.stdout);
    assert!(notes.iter().all(|(kind, _)| kind == "sequence"));
}

/// A message of magic 1: offset, size, checksum, magic, attributes, timestamp, no key, a value of 30 bytes.
fn message(offset: i64) -> Vec<u8> {
    let mut checked = vec![1, 0];
    checked.extend(1_700_000_000_000_i64.to_be_bytes());
    checked.extend((-1_i32).to_be_bytes());
    checked.extend(30_i32.to_be_bytes());
    checked.extend([b'v'; 30]);
    let mut bytes = offset.to_be_bytes().to_vec();
    bytes.extend((checked.len() as u32 + 4).to_be_bytes());
    bytes.extend(crc32fast::hash(&checked).to_be_bytes());
    bytes.extend(checked);
    bytes
}

#[test]
fn old_message_sets_are_checked_like_other_batches() {
    let folder = tempfile::tempdir().unwrap();
    let log: Vec<u8> = (0..5).flat_map(message).collect();
    let path = folder.path().join(LOG_0);
    fs::write(&path, &log).unwrap();
    let run = verify(folder.path());
    assert_eq!((run.code, run.summary("batches")), (0, 5), "{}", run.stdout);
    let size = log.len() / 5;
    for at in (0..4 * size).filter(|at| at % size >= 16) {
        edit(&path, |bytes| {
            bytes.clone_from(&log);
            bytes[at] ^= 0x20;
        });
        let run = verify(folder.path());
        assert!(run.found("damage", folder.path()).iter().any(|(_, file)| file == LOG_0), "{at}: {}", run.stdout);
    }
}

// ---- The data folder ---------------------------------------------------------------------------------------------

#[test]
fn a_partition_that_is_gone_is_damage() {
    let folder = write_folder();
    fs::remove_dir_all(folder.path().join(PARTITION)).unwrap();
    let run = verify(folder.path());
    assert_eq!((run.code, run.found("damage", folder.path())), (1, pairs(&[("missing", PARTITION)])));
}

#[test]
fn after_another_owner_our_own_files_do_not_count() {
    let folder = write_folder();
    fs::write(folder.path().join(".kafka_cleanshutdown"), r#"{"version":0,"brokerEpoch":17}"#).unwrap();
    fs::write(folder.path().join("cleaner-offset-checkpoint"), "0\n0\n").unwrap();
    // The broker has deleted the first segment.
    let partition = folder.path().join(PARTITION);
    for extension in ["log", "index", "timeindex"] {
        fs::remove_file(partition.join(format!("00000000000000000000.{extension}"))).unwrap();
    }
    let run = verify(folder.path());
    assert_eq!(run.code, 0, "{}", run.stdout);
    assert!(run.found("note", folder.path()).contains(&("foreign".into(), "logstead.manifest".into())));
}

#[test]
fn a_copy_of_the_witness_that_was_being_written_is_a_note() {
    let folder = write_folder();
    fs::remove_file(folder.path().join(".kafka_cleanshutdown")).unwrap();
    let witness = folder.path().join("logstead.witness");
    let bytes = fs::read(&witness).unwrap();
    let generation = |at: usize| u64::from_be_bytes(bytes[at + 8..at + 16].try_into().unwrap());
    let older = if generation(1024) < generation(1536) { 1024 } else { 1536 };
    edit(&witness, |bytes| bytes[older + 100] ^= 1);
    let run = verify(folder.path());
    assert_eq!((run.code, run.found("note", folder.path())), (0, pairs(&[("witness", "logstead.witness")])));
}

#[test]
fn the_files_of_a_metadata_log_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let metadata = folder.path().join("__cluster_metadata-0");
    fs::create_dir(&metadata).unwrap();
    let batches = fs::read(fixtures().join("plain-0").join(LOG_0)).unwrap();
    let names = [
        metadata.join(LOG_0),
        metadata.join("00000000000000000000-0000000000.checkpoint"),
        folder.path().join("bootstrap.checkpoint"),
    ];
    names.iter().for_each(|path| fs::write(path, &batches).unwrap());
    fs::write(metadata.join("quorum-state"), r#"{"leaderId":1,"data_version":0}"#).unwrap();
    let sound = verify(folder.path());
    assert_eq!((sound.code, sound.summary("batches"), sound.summary("partitions")), (0, 12, 1), "{}", sound.stdout);
    assert!(!sound.stdout.contains("unknown"), "{}", sound.stdout);
    for path in &names[1..] {
        edit(path, |bytes| bytes[5000] ^= 1);
    }
    fs::write(metadata.join("quorum-state"), "{").unwrap();
    let kinds: Vec<_> =
        verify(folder.path()).found("damage", folder.path()).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["batch", "batch", "quorum-state"]);
}
