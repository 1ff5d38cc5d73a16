//! Running the program, and folders for it to check.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use logstead::config::LogConfig;
use logstead::log::{Log, LogDirectory};
use logstead::record::{BatchBuilder, BatchOptions, EndTransactionMarker, ProducerStamp, TransactionOutcome};
use logstead::time::{Clock, ManualClock};
use logstead::types::{LeaderEpoch, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId, TopicPartition};
use serde_json::Value;
use tempfile::TempDir;

/// The partition that [`write_folder`] fills.
pub(crate) const PARTITION: &str = "orders-0";

/// What a run of the program left.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// The findings of one severity: kind and path below the folder.
    pub(crate) fn found(&self, severity: &str, folder: &Path) -> Vec<(String, String)> {
        let findings = self.json_lines().into_iter().filter(|line| line["severity"] == severity);
        let relative = |line: &Value| {
            let path = Path::new(line["file"].as_str().unwrap());
            path.strip_prefix(folder).unwrap_or(path).to_str().unwrap().to_owned()
        };
        findings.map(|line| (line["kind"].as_str().unwrap().to_owned(), relative(&line))).collect()
    }

    /// The output, a JSON value a line.
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// One count of the last line.
    pub(crate) fn summary(&self, name: &str) -> u64 {
        self.json_lines().last().unwrap()["summary"][name].as_u64().unwrap()
    }
}

/// Runs the program.
pub(crate) fn run(arguments: &[&str]) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_logstead")).args(arguments).output().unwrap();
    Run {
        code: output.status.code().expect("the program must not be killed"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs `logstead verify --json`; it must never panic.
pub(crate) fn verify(folder: &Path) -> Run {
    let run = run(&["--data", folder.to_str().unwrap(), "verify", "--json"]);
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
    assert_eq!(run.code, i32::from(!run.stderr.is_empty()), "{}\n{}", run.stdout, run.stderr);
    run
}

/// The folder that Kafka wrote.
pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/kafka-4.0")
}

/// A copy of a partition folder that Kafka wrote.
pub(crate) fn copy_of_fixture(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join(name);
    fs::create_dir(&target).unwrap();
    for path in files_in(&fixtures().join(name)) {
        fs::copy(&path, target.join(path.file_name().unwrap())).unwrap();
    }
    folder
}

/// The files right in a folder, sorted.
pub(crate) fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.is_file());
    files.sort();
    files
}

/// Opens a data folder.
pub(crate) fn open(folder: &Path) -> LogDirectory {
    LogDirectory::options().seed(1).open(folder).unwrap()
}

/// Opens `orders-0` with segments of a few batches each.
pub(crate) fn open_log(directory: &LogDirectory, clock: &ManualClock) -> Arc<Log> {
    let tp = TopicPartition::new("orders", 0).unwrap();
    let config = LogConfig::new().segment_bytes(400).index_interval_bytes(0);
    directory.open_log(&tp, Some(TopicId::from_bytes([7; 16])), config, clock.now()).unwrap()
}

/// Appends a batch of two records.
pub(crate) fn append(log: &Log, clock: &ManualClock, at: i64, producer: Option<ProducerStamp>) {
    let options = BatchOptions { producer, transactional: producer.is_some(), ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    builder.append(Some(Timestamp::from_millis(at)), Some(b"key"), Some(b"value"), &[]).unwrap();
    builder.append(Some(Timestamp::from_millis(at + 1)), None, Some(&[b'x'; 40]), &[]).unwrap();
    log.append_as_leader(&mut builder.build().unwrap(), clock.now()).unwrap();
}

/// A data folder that was closed in order: `orders-0` has several segments, two leader epochs, a committed and two
/// aborted transactions.
pub(crate) fn write_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    clock.set_wall(Timestamp::from_millis(5000));
    let directory = open(folder.path());
    let log = open_log(&directory, &clock);
    log.begin_epoch(LeaderEpoch::ZERO).unwrap();
    (0..5).for_each(|n| append(&log, &clock, 1000 + 10 * n, None));
    log.begin_epoch(LeaderEpoch::new(3).unwrap()).unwrap();
    for (n, outcome) in
        [(0, TransactionOutcome::Abort), (2, TransactionOutcome::Commit), (4, TransactionOutcome::Abort)]
    {
        let (id, epoch) = (ProducerId::new(9).unwrap(), ProducerEpoch::ZERO);
        let base_sequence = Sequence::new(n);
        append(&log, &clock, 2000 + i64::from(n) * 10, Some(ProducerStamp { id, epoch, base_sequence }));
        let marker = EndTransactionMarker { outcome, coordinator_epoch: 1 };
        let mut batch = marker.to_batch(id, epoch, Timestamp::from_millis(3000));
        log.append_as_leader(&mut batch, clock.now()).unwrap();
    }
    append(&log, &clock, 4000, None);
    directory.close().unwrap();
    folder
}

/// Changes a file, runs `work`, and puts the file back.
pub(crate) fn with_changed<T>(path: &Path, change: impl FnOnce(&mut Vec<u8>), work: impl FnOnce() -> T) -> T {
    let before = fs::read(path).unwrap();
    let mut bytes = before.clone();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
    let result = work();
    fs::write(path, before).unwrap();
    result
}
