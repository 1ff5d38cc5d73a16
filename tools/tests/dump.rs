//! `logstead dump` from outside: what it prints for folders that Kafka wrote and for those that the library writes, and what
//! it says of damage.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test works on real files and fails by panicking"
)]

mod support;

use std::fs;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use logstead::record::BatchHeader;
use serde_json::{Value, json};

use support::{Run, command, correct_checksum, dump, dump_in, fixture, fixtures, flip, json_of, path_of, write_folder};

// ---- Kafka's folders ---------------------------------------------------------------------------------------------

#[test]
fn the_text_of_kafkas_folders_is_that_of_kafkas_own_tool() {
    let expected = fs::read_to_string(fixtures().join("dump.txt")).unwrap();
    let files: Vec<&str> = expected.lines().filter_map(|line| line.strip_prefix("Dumping ")).collect();
    let run = dump_in(&fixtures(), &[&["--deep"], &files[..]].concat());
    assert_eq!(run.stderr, "");
    for (line, expected) in run.stdout.lines().zip(expected.lines()) {
        assert_eq!(line, expected);
    }
    assert_eq!(run.stdout, expected);
    assert_eq!(run.code, 0);
}

#[test]
fn a_batch_is_one_line_of_json_with_kafkas_names_in_order() {
    let run = dump(&["--json", &fixture("plain-0/00000000000000000000.log")]);
    assert_eq!((run.code, run.stdout.lines().count()), (0, 4));
    assert_eq!(
        run.stdout.lines().next().unwrap(),
        r#"{"baseOffset":0,"lastOffset":0,"count":1,"baseSequence":-1,"lastSequence":-1,"producerId":-1,"producerEpoch":-1,"partitionLeaderEpoch":0,"isTransactional":false,"isControl":false,"deleteHorizonMs":null,"position":0,"timestampType":"CreateTime","maxTimestamp":1700000000000,"size":80,"magic":2,"compression":"none","crc":4061602249,"isValid":true}"#
    );
}

#[test]
fn a_record_is_json_with_null_apart_from_empty() {
    let lines = dump(&["--json", "--deep", &fixture("plain-0/00000000000000000000.log")]).json_lines();
    assert_eq!(
        lines[1]["records"].to_string(),
        r#"[{"headers":[],"key":null,"offset":1,"sequence":-1,"timestamp":1700000000001,"value":"null key"},{"headers":[],"key":"null value","offset":2,"sequence":-1,"timestamp":1700000000002,"value":null},{"headers":[],"key":null,"offset":3,"sequence":-1,"timestamp":1700000000003,"value":null},{"headers":[],"key":"","offset":4,"sequence":-1,"timestamp":1700000000004,"value":""}]"#
    );
    let headers: Vec<_> = lines[2]["records"].as_array().unwrap().iter().map(|record| &record["headers"]).collect();
    assert_eq!(headers[2], &json!([{"key": "nothing", "value": null}]));
    let keys: Vec<_> = headers[1].as_array().unwrap().iter().map(|header| &header["key"]).collect();
    assert_eq!(keys, ["trace", "empty", "trace"]);
}

#[test]
fn the_fields_of_a_record_keep_their_order() {
    let run = dump(&["--json", "--deep", &fixture("transactions-0/00000000000000000000.log")]);
    let records = run.stdout.split_once(r#""records":"#).unwrap().1;
    assert_eq!(
        records,
        concat!(
            r#"[{"offset":0,"timestamp":1700000000000,"sequence":0,"key":"a","value":"committed 0","headers":[]},"#,
            r#"{"offset":1,"timestamp":1700000000001,"sequence":1,"key":"b","value":"committed 1","headers":[]}]}"#,
            "\n"
        )
    );
}

#[test]
fn a_control_record_is_decoded() {
    let lines = dump(&["--json", "--deep", &fixture("transactions-0/00000000000000000002.log")]).json_lines();
    let controls: Vec<_> = lines.iter().filter(|batch| batch["isControl"] == true).collect();
    let types: Vec<_> = controls.iter().map(|batch| &batch["records"][0]["control"]["type"]).collect();
    assert_eq!(types, ["COMMIT", "COMMIT", "ABORT", "ABORT", "COMMIT"]);
    assert_eq!(controls[0]["records"][0]["control"]["coordinatorEpoch"], 0);
    assert_eq!(controls[0]["records"][0]["key_base64"], "AAAAAQ==");
}

#[test]
fn timestamp_type_and_delete_horizon_are_shown() {
    let lines = dump(&["--json", &fixture("appendtime-0/00000000000000000000.log")]).json_lines();
    assert_eq!(
        (&lines[0]["timestampType"], &lines[0]["maxTimestamp"]),
        (&json!("LogAppendTime"), &json!(1795353016855_i64))
    );
    let lines = dump(&["--json", &fixture("compacted-0/00000000000000000000.log")]).json_lines();
    let horizons: Vec<_> = lines.iter().map(|batch| batch["deleteHorizonMs"].clone()).collect();
    assert_eq!(horizons, [Value::Null, json!(1795439417717_i64), Value::Null]);
}

#[test]
fn compressed_records_are_shown_as_json() {
    let lines = dump(&["--json", "--deep", &fixture("codecs-0/00000000000000000000.log")]).json_lines();
    let codecs: Vec<_> = lines.iter().map(|batch| batch["compression"].as_str().unwrap()).collect();
    assert_eq!(codecs, ["none", "gzip", "snappy", "lz4", "zstd"]);
    for (batch, codec) in lines.iter().zip(&codecs) {
        let records = batch["records"].as_array().unwrap();
        let keys: Vec<_> = records.iter().map(|record| record["key"].clone()).collect();
        assert_eq!(keys, [0, 1, 2, 3].map(|number| json!(format!("{codec}-{number}"))));
        assert_eq!(records[3]["headers"], json!([{"key": "codec", "value": codec}]));
    }
}

#[test]
fn compressed_records_beyond_the_limit_are_not_shown_and_what_follows_them_is() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("00000000000000000000.log");
    let plain = fs::read(fixture("plain-0/00000000000000000000.log")).unwrap();
    let mut second = plain[..BatchHeader::parse(&plain).unwrap().size_in_bytes()].to_vec();
    second[7] = 1;
    fs::write(&log, [support::bomb::bomb(1 << 30), second].concat()).unwrap();
    let run = dump(&["--json", "--deep", log.to_str().unwrap()]);
    let lines = run.json_lines();
    assert_eq!((run.code, lines.len()), (1, 2), "{}", run.stderr);
    assert!(lines[0]["records"].is_null() && lines[0]["isValid"] == true);
    assert!(lines[0]["error"].as_str().unwrap().contains("larger than 67108864 bytes"), "{}", lines[0]);
    assert!(run.stderr.contains("at position 0: the records, compressed with zstd"), "{}", run.stderr);
    assert_eq!(lines[1]["records"].as_array().unwrap().len(), 1);
}

#[test]
fn index_files_and_snapshots_are_shown_with_absolute_offsets() {
    for (file, first) in [
        ("segments-0/00000000000000000008.index", r#"{"offset":11,"position":111}"#),
        ("segments-0/00000000000000000008.timeindex", r#"{"timestamp":1700000004011,"offset":11}"#),
        (
            "transactions-0/00000000000000000002.txnindex",
            r#"{"version":0,"producerId":1,"firstOffset":3,"lastOffset":8,"lastStableOffset":9}"#,
        ),
        (
            "transactions-0/00000000000000000002.snapshot",
            r#"{"producerId":1,"producerEpoch":0,"lastSequence":1,"lastOffset":1,"offsetDelta":1,"lastTimestamp":1700000000001,"coordinatorEpoch":-1,"currentTxnFirstOffset":0}"#,
        ),
        (
            "transactions-0/00000000000000000013.snapshot",
            r#"{"producerId":1,"producerEpoch":3,"lastSequence":-1,"lastOffset":-1,"offsetDelta":0,"lastTimestamp":1795353016773,"coordinatorEpoch":0,"currentTxnFirstOffset":-1}"#,
        ),
        ("segments-0/leader-epoch-checkpoint", r#"{"epoch":0,"startOffset":0}"#),
    ] {
        let run = dump(&["--json", &fixture(file)]);
        assert_eq!((run.code, run.stdout.lines().next()), (0, Some(first)), "{file}: {}", run.stderr);
    }
}

// ---- folders of the library --------------------------------------------------------------------------------------

#[test]
fn records_of_the_library_come_back() {
    let folder = write_folder();
    let first = json_of(&folder, &["--deep"], "orders-0/00000000000000000000.log");
    assert_eq!(first.len(), 1);
    let record = |index: usize| first[0]["records"][index].clone();
    assert_eq!(
        record(0),
        json!({
            "offset": 0, "timestamp": 1000, "sequence": 7, "key": "key", "value": "value",
            "headers": [{"key": "trace", "value": "1"}, {"key": "null", "value": null}, {"key": "raw", "value_base64": "/wA="}],
        })
    );
    assert_eq!(
        record(1),
        json!({"offset": 1, "timestamp": -1, "sequence": 8, "key_base64": "//4=", "value_base64": "gA==", "headers": []})
    );
    assert_eq!(
        record(2),
        json!({"offset": 2, "timestamp": 1002, "sequence": 9, "key": null, "value": null, "headers": []})
    );
    assert_eq!(
        (&first[0]["producerId"], &first[0]["baseSequence"], &first[0]["lastSequence"]),
        (&json!(5), &json!(7), &json!(9))
    );
}

#[test]
fn each_segment_of_the_library_is_a_file_of_its_own() {
    let folder = write_folder();
    let second = json_of(&folder, &[], "orders-0/00000000000000000003.log");
    assert_eq!((&second[0]["baseOffset"], &second[0]["lastOffset"]), (&json!(3), &json!(3)));
    assert_eq!((&second[0]["producerId"], &second[0]["maxTimestamp"]), (&json!(-1), &json!(-1)));
    let stamped = json_of(&folder, &["--deep"], "stamped-0/00000000000000000000.log");
    assert_eq!((&stamped[0]["timestampType"], &stamped[0]["maxTimestamp"]), (&json!("LogAppendTime"), &json!(5000)));
    assert_eq!(stamped[0]["records"][0]["timestamp"], 5000);
}

#[test]
fn the_state_files_of_a_data_folder_are_shown() {
    let folder = write_folder();
    for (file, expected) in [
        ("orders-0/leader-epoch-checkpoint", json!([{"epoch": 4, "startOffset": 0}])),
        ("orders-0/partition.metadata", json!([{"version": 0, "topicId": "BwcHBwcHBwcHBwcHBwcHBw"}])),
        (".kafka_cleanshutdown", json!([{"version": 0, "brokerEpoch": -1}])),
        (
            "recovery-point-offset-checkpoint",
            json!([{"topic": "orders", "partition": 0, "offset": 5}, {"topic": "stamped", "partition": 0, "offset": 1}]),
        ),
    ] {
        assert_eq!(Value::Array(json_of(&folder, &[], file)), expected, "{file}");
    }
    let identity = &json_of(&folder, &[], "meta.properties")[0];
    assert_eq!((&identity["clusterId"], &identity["nodeId"]), (&json!("the-cluster"), &json!(3)));
    assert_eq!(identity["directoryId"].as_str().unwrap().len(), 22);
}

#[test]
fn our_own_files_are_shown() {
    let folder = write_folder();
    let slot = &json_of(&folder, &[], "logstead.witness")[0];
    assert_eq!((&slot["topic"], &slot["syncedOffset"]), (&json!("orders"), &json!(5)));

    let manifest = json_of(&folder, &[], "logstead.manifest");
    assert_eq!((&manifest[0]["format"], &manifest[0]["clusterId"]), (&json!(1), &json!("the-cluster")));
    assert!(manifest.iter().any(|line| line["file"] == "meta.properties" && line["states"][0]["size"].is_u64()));
    assert!(manifest.iter().any(|line| line["topic"] == "orders" && line["recoveryPoint"] == 5));

    let seal = &json_of(&folder, &["--deep"], "orders-0/00000000000000000000.seal")[0];
    let log_len = fs::metadata(folder.path().join("orders-0/00000000000000000000.log")).unwrap().len();
    assert_eq!((&seal["nextOffset"], &seal["logSize"]), (&json!(3), &json!(log_len)));
    assert_eq!((seal["blockCrcs"].as_array().unwrap().len(), &seal["transactionIndex"]), (1, &Value::Null));
}

#[test]
fn a_redo_file_says_which_bytes_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("00000000000000000009.redo");
    let header = [&b"LSRD"[..], &[0, 1, 0, 0], &[7; 16], &9_i64.to_be_bytes(), &300_u64.to_be_bytes()].concat();
    let mut bytes = [&header[..], &[1; 50]].concat();
    bytes.extend(logstead::log::FileSum::of(&bytes).crc.to_be_bytes());
    fs::write(&path, &bytes).unwrap();
    let lines = dump(&["--json", path.to_str().unwrap()]).json_lines();
    assert_eq!(lines, [json!({"topicId": "BwcHBwcHBwcHBwcHBwcHBw", "baseOffset": 9, "position": 300, "size": 50})]);
}

#[test]
fn a_dump_changes_nothing_not_even_times() {
    let folder = write_folder();
    let log = path_of(&folder, "orders-0/00000000000000000000.log");
    let (accessed, modified) = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
    let times = fs::FileTimes::new().set_accessed(accessed).set_modified(modified);
    fs::File::options().write(true).open(&log).unwrap().set_times(times).unwrap();
    let before = support::contents(folder.path());
    // Reading the contents just now has moved the access time.
    fs::File::options().write(true).open(&log).unwrap().set_times(times).unwrap();
    assert_eq!(dump(&["--deep", &log]).code, 0);
    let metadata = fs::metadata(&log).unwrap();
    assert_eq!((metadata.accessed().unwrap(), metadata.modified().unwrap()), (accessed, modified));
    assert_eq!(support::contents(folder.path()), before);
}

// ---- ends and damage ---------------------------------------------------------------------------------------------

/// The log of `orders-0` that is still active, which has no seal: two batches.
const ACTIVE: &str = "orders-0/00000000000000000003.log";

#[test]
fn zeros_behind_the_last_batch_of_an_active_log_are_its_end() {
    for zeros in [1, 61, 600_000] {
        let folder = write_folder();
        support::append(&folder, ACTIVE, &vec![0; zeros]);
        let run = dump(&["--json", &path_of(&folder, ACTIVE)]);
        assert_eq!((run.code, run.stdout.lines().count(), run.stderr.as_str()), (0, 2, ""), "{zeros}");
    }
}

#[test]
fn zeros_inside_a_sealed_log_are_damage() {
    let sealed = "orders-0/00000000000000000000.log";
    let folder = write_folder();
    let log = folder.path().join(sealed);
    let zeros = vec![0; usize::try_from(fs::metadata(&log).unwrap().len()).unwrap()];
    fs::write(&log, zeros).unwrap();
    assert_damage(&dump(&["--json", &path_of(&folder, sealed)]), 0, "position 8: the length 0 is impossible");
}

#[test]
fn bytes_that_a_sealed_log_lacks_are_damage() {
    let sealed = "orders-0/00000000000000000000.log";
    let folder = write_folder();
    fs::write(folder.path().join(sealed), b"").unwrap();
    assert_damage(&dump(&["--json", &path_of(&folder, sealed)]), 0, "position 0: the file was");
}

#[test]
fn zeros_behind_the_end_that_a_seal_names_are_not_damage_and_other_bytes_are() {
    let sealed = "orders-0/00000000000000000000.log";
    let folder = write_folder();
    support::append(&folder, sealed, &[0; 100]);
    assert_eq!(dump(&["--json", &path_of(&folder, sealed)]).code, 0);
    support::append(&folder, sealed, &[1]);
    assert_damage(&dump(&["--json", &path_of(&folder, sealed)]), 1, "bytes follow the end that the seal names");
}

#[test]
fn a_damaged_seal_is_told_and_the_log_is_shown_without_it() {
    let folder = write_folder();
    flip(&folder, "orders-0/00000000000000000000.seal", 20);
    let run = dump(&["--json", &path_of(&folder, "orders-0/00000000000000000000.log")]);
    assert_damage(&run, 1, "00000000000000000000.seal: damaged at position");
}

#[test]
fn an_unfinished_batch_at_the_end_is_damage() {
    let folder = write_folder();
    let log = folder.path().join(ACTIVE);
    let bytes = fs::read(&log).unwrap();
    fs::write(&log, &bytes[..bytes.len() - 1]).unwrap();
    assert_damage(&dump(&["--json", &path_of(&folder, ACTIVE)]), 1, "bytes are needed");
    let first_len = usize::try_from(json_of(&write_folder(), &[], ACTIVE)[0]["size"].as_u64().unwrap()).unwrap();
    fs::write(&log, &bytes[..first_len + 9]).unwrap();
    assert_damage(&dump(&["--json", &path_of(&folder, ACTIVE)]), 1, "61 bytes are needed, 9 are there");
}

#[test]
fn a_batch_with_a_wrong_checksum_is_the_last_one_shown() {
    let folder = write_folder();
    // In the first batch: the second one is intact, but behind the damage.
    flip(&folder, ACTIVE, 70);
    for options in [&["--json"][..], &["--json", "--deep"]] {
        let log = path_of(&folder, ACTIVE);
        let run = dump(&[options, &[log.as_str()]].concat());
        assert_damage(&run, 1, "position 17: the stored checksum is");
        assert!(run.stderr.starts_with(&log), "{}", run.stderr);
        assert_eq!(run.json_lines()[0]["isValid"], false);
    }
    assert!(dump(&[&path_of(&folder, ACTIVE)]).stdout.contains("isvalid: false"));
}

#[test]
fn a_batch_in_the_wrong_place_is_damage_although_its_checksum_is_right() {
    // The base offset is not part of the checksum. The second batch goes down to 0, or up by 2^56.
    for (bytes, found) in
        [([0; 8], "offset 0 where 4 was expected"), ([1, 0, 0, 0, 0, 0, 0, 4], "where 4 was expected")]
    {
        let folder = write_folder();
        let position = usize::try_from(json_of(&folder, &[], ACTIVE)[1]["position"].as_u64().unwrap()).unwrap();
        let log = folder.path().join(ACTIVE);
        let mut content = fs::read(&log).unwrap();
        content[position..position + 8].copy_from_slice(&bytes);
        fs::write(&log, content).unwrap();
        assert_damage(&dump(&["--json", &path_of(&folder, ACTIVE)]), 1, found);
    }
}

/// A log of message sets of magic 0 and 1.
fn old_fixtures() -> std::path::PathBuf {
    fixtures().parent().unwrap().join("legacy")
}

#[test]
fn old_message_sets_are_printed_as_kafka_prints_them() {
    let run = dump_in(&old_fixtures(), &["--deep", "orders-0/00000000000000000000.log"]);
    let expected = fs::read_to_string(old_fixtures().join("dump.txt")).unwrap();
    for (line, expected) in run.stdout.lines().zip(expected.lines()) {
        assert_eq!(line, expected);
    }
    assert_eq!((run.stdout, run.stderr.as_str(), run.code), (expected, "", 0));
}

#[test]
fn old_message_sets_are_json_like_other_batches() {
    let run = dump_in(&old_fixtures(), &["--deep", "--json", "orders-0/00000000000000000000.log"]);
    let batches: Vec<serde_json::Value> = run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let set = batches.iter().find(|batch| batch["lastOffset"] == 29).unwrap();
    assert_eq!((&set["baseOffset"], &set["count"], &set["magic"]), (&25.into(), &5.into(), &1.into()));
    assert_eq!((&set["timestampType"], &set["compression"]), (&"CreateTime".into(), &"gzip".into()));
    assert_eq!(set["records"][1]["value"], "no key");
    assert_eq!(batches[0]["timestampType"], "NoTimestampType");
}

#[test]
fn what_looks_like_an_old_message_with_a_wrong_checksum_is_damage() {
    for magic in [0, 1] {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("00000000000000000000.log");
        // Offset 0, 30 bytes: checksum, magic, no codec and the rest of a short message.
        let message = [&[0; 8][..], &30_i32.to_be_bytes(), &[1, 2, 3, 4], &[magic, 0], &[9; 24]].concat();
        fs::write(&log, message).unwrap();
        assert_damage(&dump(&["--json", log.to_str().unwrap()]), 1, "checksum");
    }
}

#[test]
fn records_that_break_the_format_are_damage_in_spite_of_the_checksum() {
    let folder = write_folder();
    let log = folder.path().join(ACTIVE);
    let mut bytes = fs::read(&log).unwrap();
    // The length of the first record.
    bytes[61] = 0x7e;
    correct_checksum(&mut bytes);
    fs::write(&log, bytes).unwrap();
    assert_eq!(dump(&["--json", &path_of(&folder, ACTIVE)]).code, 0);
    let run = dump(&["--json", "--deep", &path_of(&folder, ACTIVE)]);
    assert_damage(&run, 1, "position 61: a record");
    assert_eq!((&run.json_lines()[0]["isValid"], &run.json_lines()[0]["records"]), (&json!(true), &Value::Null));
}

#[test]
fn a_cut_tail_is_shown_past_its_damage() {
    let folder = write_folder();
    let cut = "orders-0/00000000000000000003.cut";
    fs::copy(folder.path().join(ACTIVE), folder.path().join(cut)).unwrap();
    flip(&folder, cut, 70);
    let run = dump(&["--json", &path_of(&folder, cut)]);
    let valid: Vec<_> = run.json_lines().iter().map(|batch| batch["isValid"].clone()).collect();
    assert_eq!((run.code, valid), (1, vec![json!(false), json!(true)]));
}

#[test]
fn zeros_behind_the_entries_of_an_index_are_its_end() {
    for name in ["00000000000000000008.index", "00000000000000000008.timeindex"] {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = fs::read(fixture(&format!("segments-0/{name}"))).unwrap();
        bytes.extend([0; 2400]);
        fs::write(folder.path().join(name), bytes).unwrap();
        assert_eq!(json_of(&folder, &[], name).len(), 1, "{name}");
    }
}

#[test]
fn an_index_is_shown_up_to_its_first_damaged_entry() {
    // The entry after the second loses its order, is cut short, or is of another version.
    for (name, entry, damage) in [
        ("00000000000000000002.index", 8, &[0, 0, 0, 1, 0, 0, 0, 1][..]),
        ("00000000000000000002.index", 8, &[9][..]),
        ("00000000000000000002.timeindex", 12, &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]),
        ("00000000000000000002.txnindex", 34, &[0, 9]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let bytes = fs::read(fixture(&format!("transactions-0/{name}"))).unwrap();
        fs::write(folder.path().join(name), [&bytes[..2 * entry], damage].concat()).unwrap();
        let run = dump(&["--json", folder.path().join(name).to_str().unwrap()]);
        assert_damage(&run, 2, &format!("position {}: ", 2 * entry));
    }
}

#[test]
fn a_checkpoint_is_shown_up_to_its_first_damaged_line() {
    for (name, text, position) in [
        ("leader-epoch-checkpoint", "0\n2\n3 10\n4 x\n", 9),
        ("leader-epoch-checkpoint", "0\n2\n3 10\n2 20\n", 9),
        ("replication-offset-checkpoint", "0\n2\norders 0 10\norders\n", 16),
        ("log-start-offset-checkpoint", "0\n2\norders 0 10\n", 2),
    ] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(name), text).unwrap();
        let run = dump(&["--json", folder.path().join(name).to_str().unwrap()]);
        assert_damage(&run, 1, &format!("{name}: damaged at position {position}: "));
    }
}

#[test]
fn a_flipped_bit_in_a_file_that_is_checked_as_a_whole_leaves_nothing_to_show() {
    for (file, at) in [
        ("orders-0/00000000000000000003.snapshot", 12),
        ("orders-0/00000000000000000000.seal", 20),
        ("orders-0/partition.metadata", 0),
        ("meta.properties", 0),
        (".kafka_cleanshutdown", 0),
        ("logstead.manifest", 30),
    ] {
        let folder = write_folder();
        flip(&folder, file, at);
        if file == "meta.properties" {
            fs::write(folder.path().join(file), "version=9\n").unwrap();
        }
        assert_damage(&dump(&["--json", &path_of(&folder, file)]), 0, "damaged at position");
    }
}

#[test]
fn a_witness_is_shown_around_a_slot_without_a_valid_copy() {
    let folder = write_folder();
    for copy in [0, 512] {
        flip(&folder, "logstead.witness", 1024 + copy + 20);
    }
    let run = dump(&["--json", &path_of(&folder, "logstead.witness")]);
    assert_damage(&run, 1, "damaged at position 1024: slot 1 has no valid copy");
    assert_eq!(run.json_lines()[0]["slot"], 2);
}

#[test]
fn a_manifest_of_a_newer_version_is_not_taken_for_damage() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("logstead.manifest"), "logstead-manifest 2\n").unwrap();
    assert_damage(&dump(&["--json", &path_of(&folder, "logstead.manifest")]), 0, "format version 2 is not known here");
}

#[test]
fn files_after_a_damaged_or_missing_one_are_shown_too() {
    let folder = write_folder();
    flip(&folder, ACTIVE, 70);
    let [damaged, missing, intact] =
        [ACTIVE, "orders-0/00000000000000000099.log", "stamped-0/00000000000000000000.log"]
            .map(|file| path_of(&folder, file));
    let run = dump(&["--json", &damaged, &missing, &intact]);
    assert_eq!((run.code, run.stdout.lines().count()), (1, 2));
    let complaints: Vec<_> = run.stderr.lines().collect();
    assert!(complaints[0].starts_with(&damaged), "{}", run.stderr);
    assert!(complaints[1].starts_with(&format!("{missing}: cannot open the file: ")), "{}", run.stderr);
    assert_eq!(complaints.len(), 2);
}

// ---- the command itself ------------------------------------------------------------------------------------------

#[test]
fn wrong_usage_exits_with_2_before_anything_is_printed() {
    let intact = fixture("plain-0/00000000000000000000.log");
    for arguments in [&[][..], &["--json"], &["--jsn", &intact], &[&intact, "notes.txt"], &[&intact, "/tmp"]] {
        let run = dump(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(run.stderr.starts_with("error: "), "{}", run.stderr);
    }
}

#[test]
fn the_help_has_examples() {
    let run = dump(&["--help"]);
    assert_eq!(run.code, 0);
    assert!(run.stdout.contains("Examples:") && run.stdout.contains("logstead dump --deep --json"), "{}", run.stdout);
}

#[test]
fn a_reader_that_stops_early_is_not_an_error() {
    // More than fits into any buffer on the way.
    let files = vec![fixture("plain-0/00000000000000000000.log"); 50];
    let mut child = command().arg("--deep").args(files).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), ""));
}

/// Damage is told on stderr, with `code` 1, after `lines` lines of output.
#[track_caller]
fn assert_damage(run: &Run, lines: usize, text: &str) {
    assert!(run.stderr.contains(text), "{text:?} expected in {:?}", run.stderr);
    assert_eq!((run.code, run.stdout.lines().count()), (1, lines), "{}", run.stdout);
}
