//! Running the program, and folders for it to look at.

pub(crate) mod bomb;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use logstead::config::LogConfig;
use logstead::log::{Log, LogDirectory};
use logstead::record::{BatchBuilder, BatchHeader, BatchOptions, Header, ProducerStamp, crc32c};
use logstead::time::{Clock, ManualClock};
use logstead::types::{
    BrokerId, LeaderEpoch, ProducerEpoch, ProducerId, Sequence, Timestamp, TimestampType, TopicId, TopicPartition,
};
use serde_json::Value;
use tempfile::TempDir;

/// What a run of the program left.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// The output, a JSON value a line.
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// `logstead dump`, its arguments still missing.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_logstead"));
    command.arg("dump");
    command
}

/// Runs `logstead dump`.
pub(crate) fn dump(arguments: &[&str]) -> Run {
    dump_in(Path::new("."), arguments)
}

/// Runs `logstead dump` in a folder.
pub(crate) fn dump_in(folder: &Path, arguments: &[&str]) -> Run {
    let output = command().args(arguments).current_dir(folder).output().unwrap();
    Run {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// What a file of a folder holds; there must be nothing to complain of.
pub(crate) fn json_of(folder: &TempDir, options: &[&str], file: &str) -> Vec<Value> {
    let run = dump(&[&["--json"], options, &[&path_of(folder, file)]].concat());
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{file}");
    run.json_lines()
}

/// The folder that Kafka wrote.
pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/kafka-4.0")
}

/// The path of a file that Kafka wrote.
pub(crate) fn fixture(file: &str) -> String {
    fixtures().join(file).to_str().unwrap().to_owned()
}

/// The path of a file in a folder.
pub(crate) fn path_of(folder: &TempDir, file: &str) -> String {
    folder.path().join(file).to_str().unwrap().to_owned()
}

/// Turns a bit of a file.
pub(crate) fn flip(folder: &TempDir, file: &str, at: usize) {
    let path = folder.path().join(file);
    let mut bytes = fs::read(&path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

/// Adds bytes to the end of a file.
pub(crate) fn append(folder: &TempDir, file: &str, more: &[u8]) {
    let path = folder.path().join(file);
    let bytes = fs::read(&path).unwrap();
    fs::write(path, [&bytes, more].concat()).unwrap();
}

/// Gives the first batch of a log the checksum of its bytes.
pub(crate) fn correct_checksum(log: &mut [u8]) {
    let size = BatchHeader::parse(log).unwrap().size_in_bytes();
    let crc = crc32c(&log[21..size]);
    log[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// All files below a folder.
pub(crate) fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut contents(&path));
        } else {
            found.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    found
}

/// A data folder that was closed in order.
///
/// - `orders-0`: segment 0 with a batch of three records of producer 5; segment 3 with two batches of one record each.
/// - `stamped-0`: one record, stamped on append at 5,000 ms.
pub(crate) fn write_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    clock.set_wall(Timestamp::from_millis(5000));
    let options = LogDirectory::options().node_id(BrokerId::new(3).unwrap()).cluster_id("the-cluster").seed(1);
    let directory = options.open(folder.path()).unwrap();
    // A log that is dropped before the folder is closed needs recovery.
    let _orders = write_orders(&directory, &clock);
    let tp = TopicPartition::new("stamped", 0).unwrap();
    let config = LogConfig::new().timestamp_type(TimestampType::LogAppendTime);
    let log = directory.open_log(&tp, None, config, clock.now()).unwrap();
    log.begin_epoch(LeaderEpoch::ZERO).unwrap();
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(Some(Timestamp::from_millis(1)), None, Some(b"late"), &[]).unwrap();
    log.append_as_leader(&mut builder.build().unwrap(), clock.now()).unwrap();
    directory.close().unwrap();
    folder
}

fn write_orders(directory: &LogDirectory, clock: &ManualClock) -> Arc<Log> {
    let tp = TopicPartition::new("orders", 0).unwrap();
    let config = LogConfig::new().segment_bytes(220).index_interval_bytes(0);
    let log = directory.open_log(&tp, Some(TopicId::from_bytes([7; 16])), config, clock.now()).unwrap();
    log.begin_epoch(LeaderEpoch::new(4).unwrap()).unwrap();
    let producer = ProducerStamp {
        id: ProducerId::new(5).unwrap(),
        epoch: ProducerEpoch::ZERO,
        base_sequence: Some(Sequence::new(7).unwrap()),
    };
    let headers = [
        Header { key: "trace", value: Some(b"1") },
        Header { key: "null", value: None },
        Header { key: "raw", value: Some(&[0xff, 0]) },
    ];
    let mut builder = BatchBuilder::new(BatchOptions { producer: Some(producer), ..BatchOptions::default() });
    builder.append(Some(Timestamp::from_millis(1000)), Some(b"key"), Some(b"value"), &headers).unwrap();
    builder.append(None, Some(&[0xff, 0xfe]), Some(&[0x80]), &[]).unwrap();
    builder.append(Some(Timestamp::from_millis(1002)), None, None, &[]).unwrap();
    log.append_as_leader(&mut builder.build().unwrap(), clock.now()).unwrap();
    for value in [[b'x'; 40], [b'y'; 40]] {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        builder.append(None, None, Some(&value), &[]).unwrap();
        log.append_as_leader(&mut builder.build().unwrap(), clock.now()).unwrap();
    }
    log
}
