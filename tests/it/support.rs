//! A folder on a memory disk with one log, and the few things that all tests do with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use logstead::config::LogConfig;
use logstead::log::{Log, LogDirectory, LogSlice, ReadIsolation, ReadLimits, SegmentFile};
use logstead::record::{BatchBuilder, BatchOptions, BuiltBatch};
use logstead::storage::{MemStorage, OpenMode, Storage};
use logstead::time::{Clock, ManualClock, Now};
use logstead::types::{LeaderEpoch, Offset, Timestamp, TopicPartition};

pub(crate) const FOLDER: &str = "/data";

pub(crate) fn tp() -> TopicPartition {
    TopicPartition::new("orders", 0).unwrap()
}

pub(crate) fn now() -> Now {
    ManualClock::new().now()
}

pub(crate) fn epoch(raw: i32) -> LeaderEpoch {
    LeaderEpoch::new(raw).unwrap()
}

/// A batch of records with this value and the clock's time.
pub(crate) fn batch_of(count: usize, value: &[u8]) -> BuiltBatch {
    batch_at(count, value, Some(now().wall))
}

pub(crate) fn batch_at(count: usize, value: &[u8], timestamp: Option<Timestamp>) -> BuiltBatch {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for _ in 0..count {
        builder.append(timestamp, None, Some(value), &[]).unwrap();
    }
    builder.build().unwrap()
}

/// A batch as a leader of `epoch` would send it.
pub(crate) fn replicated(base: i64, epoch_raw: i32, count: usize) -> Vec<u8> {
    let mut batch = batch_of(count, b"replicated");
    batch.stamp(Offset::new(base).unwrap(), epoch(epoch_raw));
    batch.into_buffer()
}

/// A data folder with one log. Dropping it is the death of the process.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) storage: MemStorage,
    pub(crate) directory: LogDirectory,
    pub(crate) log: Arc<Log>,
}

impl Home {
    pub(crate) fn new(config: LogConfig) -> Home {
        Home::on(MemStorage::new(), config)
    }

    pub(crate) fn on(storage: MemStorage, config: LogConfig) -> Home {
        let directory = LogDirectory::options().storage(storage.clone()).seed(1).open(FOLDER).unwrap();
        let log = directory.open_log(&tp(), None, config, now()).unwrap();
        Home { storage, directory, log }
    }

    /// A new log that leads.
    pub(crate) fn leading(config: LogConfig) -> Home {
        let home = Home::new(config);
        home.log.begin_epoch(LeaderEpoch::ZERO).unwrap();
        home
    }

    /// The process dies, and the next one opens the folder.
    pub(crate) fn crash(self) -> Home {
        let (storage, config) = (self.storage.clone(), LogConfig::clone(&self.log.config()));
        drop(self);
        Home::on(storage, config)
    }

    /// A clean stop; what is left is the disk.
    pub(crate) fn close(self) -> (MemStorage, LogConfig) {
        let config = LogConfig::clone(&self.log.config());
        self.directory.close().unwrap();
        (self.storage, config)
    }

    pub(crate) fn restart(self) -> Home {
        let (storage, config) = self.close();
        Home::on(storage, config)
    }

    pub(crate) fn append(&self, count: usize, value: &[u8]) {
        self.log.append_as_leader(&mut batch_of(count, value), now()).unwrap();
    }

    /// The base offsets of the segments.
    pub(crate) fn bases(&self) -> Vec<i64> {
        self.log.segments().iter().map(|segment| segment.base_offset().get()).collect()
    }

    pub(crate) fn path(&self, kind: SegmentFile, base: i64) -> PathBuf {
        partition_file(&kind.name(Offset::new(base).unwrap()))
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let entries = self.storage.list(&Path::new(FOLDER).join("orders-0")).unwrap();
        entries.into_iter().map(|entry| entry.name).collect()
    }
}

pub(crate) fn partition_file(name: &str) -> PathBuf {
    Path::new(FOLDER).join("orders-0").join(name)
}

pub(crate) fn bytes_of(storage: &dyn Storage, path: &Path) -> Vec<u8> {
    let file = storage.open(path, OpenMode::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(0, &mut bytes).unwrap();
    bytes
}

pub(crate) fn overwrite(storage: &dyn Storage, path: &Path, bytes: &[u8]) {
    let file = storage.open(path, OpenMode::Create).unwrap();
    file.set_len(0).unwrap();
    file.write_all_at(0, bytes).unwrap();
}

pub(crate) fn to_the_end(bytes_max: usize) -> ReadLimits {
    ReadLimits::bytes(bytes_max).isolation(ReadIsolation::LogEnd)
}

pub(crate) fn read(log: &Log, from: i64) -> logstead::Result<LogSlice> {
    log.read(Offset::new(from).unwrap(), to_the_end(1))
}

/// All batches from the log start on.
pub(crate) fn all_bytes(log: &Log) -> Vec<u8> {
    let (mut bytes, mut from) = (Vec::new(), log.log_start_offset());
    while from < log.log_end_offset() {
        let slice = log.read(from, to_the_end(1 << 20)).unwrap();
        bytes.extend_from_slice(slice.as_bytes());
        from = slice.next_offset();
    }
    bytes
}
