//! Consumers of partitions in memory.

mod fake;
mod limits;
mod model;
mod packed;
mod reading;
mod waiting;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::broker::{Catalog, Host, HostedPartition, Produce, Router, SyncBy, TopicRoute};
use crate::config::{Acks, BrokerConfig, Durability, LogConfig};
use crate::consumer::{Consumer, ConsumerBuilder, ConsumerRecords};
use crate::log::{Log, LogDirectory, SegmentFile};
use crate::record::{
    BATCH_HEADER_LEN, BatchBuilder, BatchOptions, BuiltBatch, EndTransactionMarker, ProducerStamp, TransactionOutcome,
    crc32c,
};
use crate::storage::{MemStorage, OpenMode, Storage};
use crate::sync::completion;
use crate::time::{Clock, ManualClock, SystemClock};
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TopicId, TopicName, TopicPartition};

pub(super) const TOPIC: &str = "orders";

pub(super) fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new(TOPIC, partition).unwrap()
}

pub(super) fn at(offset: u32) -> Offset {
    Offset::from(offset)
}

/// One topic on a memory disk, with nobody in the background.
#[derive(Debug)]
pub(super) struct Rig {
    pub(super) storage: MemStorage,
    pub(super) router: Arc<Router>,
    pub(super) partitions: Vec<Arc<HostedPartition>>,
}

impl Rig {
    /// What is appended can be read at once.
    pub(super) fn new(partitions: i32) -> Rig {
        Rig::with(partitions, LogConfig::new().durability(Durability::Os), true)
    }

    /// `may_sleep`: as under a driver with threads.
    pub(super) fn with(partitions: i32, config: LogConfig, may_sleep: bool) -> Rig {
        Rig::with_clock(partitions, config, may_sleep, Arc::new(SystemClock::new()))
    }

    pub(super) fn with_clock(partitions: i32, config: LogConfig, may_sleep: bool, clock: Arc<dyn Clock>) -> Rig {
        let storage = MemStorage::new();
        let directory = LogDirectory::options().storage(storage.clone()).seed(1).open("/data").unwrap();
        let host =
            Arc::new(Host::new(directory.identity().node_id, directory, Arc::clone(&clock), &BrokerConfig::new()));
        let router = Arc::new(Router::new(Arc::clone(&host), may_sleep));
        let id = TopicId::from_bytes([7; 16]);
        let hosted =
            |number| HostedPartition::new(Arc::clone(&host), tp(number), id, LeaderEpoch::ZERO, config.clone());
        let partitions: Vec<_> = (0..partitions).map(hosted).collect();
        let name = TopicName::new(TOPIC).unwrap();
        router.insert(TopicRoute {
            name,
            id,
            config: config.clone(),
            without_effect: BTreeMap::new(),
            partitions: partitions.clone().into(),
        });
        Rig { storage, router, partitions }
    }

    pub(super) fn builder(&self) -> ConsumerBuilder {
        ConsumerBuilder::new(Arc::clone(&self.router) as Arc<dyn Catalog>)
    }

    /// Reads all partitions from the beginning.
    pub(super) fn consumer(&self) -> Consumer {
        self.builder().topic(TOPIC).build().unwrap()
    }

    pub(super) fn log(&self, partition: usize) -> Arc<Log> {
        self.partitions[partition].log().unwrap()
    }

    /// Appends a batch as a producer with `acks=1` does.
    pub(super) fn append(&self, partition: usize, mut batch: BuiltBatch) {
        let (done, handle) = completion();
        let produce = Produce { batch: &mut batch, acks: Acks::Leader, deadline: None, sync_by: SyncBy::Caller, done };
        self.partitions[partition].produce(produce, ManualClock::new().now());
        handle.wait().unwrap();
    }

    /// Appends a batch compressed.
    pub(super) fn append_packed(&self, partition: usize, batch: BuiltBatch) {
        self.append_edited(partition, batch, |records| zstd::bulk::compress(&records, 1).unwrap());
    }

    /// Appends a batch that says that it is compressed, with these bytes in place of its records. Its checksum is right.
    pub(super) fn append_edited(&self, partition: usize, mut batch: BuiltBatch, edit: impl FnOnce(Vec<u8>) -> Vec<u8>) {
        let log = self.log(partition);
        batch.stamp(log.log_end_offset(), LeaderEpoch::ZERO);
        let mut bytes = batch.into_buffer();
        let records = edit(bytes.split_off(BATCH_HEADER_LEN));
        bytes.extend(records);
        let length = u32::try_from(bytes.len() - 12).unwrap();
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[22] |= 4;
        let crc = crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        log.append_as_follower(&bytes, ManualClock::new().now()).unwrap();
        log.advance_high_watermark(log.log_end_offset()).unwrap();
    }

    pub(super) fn append_values(&self, partition: usize, values: &[&str]) {
        self.append(partition, batch(values));
    }

    /// Batches of one record each: `a0`, `a1`, ..
    pub(super) fn append_numbered(&self, partition: usize, count: usize) {
        (0..count).for_each(|number| self.append_values(partition, &[&format!("{partition}-{number}")]));
    }

    /// Flips a bit in the checksummed part of the first batch of the segment that starts at `base`.
    pub(super) fn damage(&self, partition: i32, base: u32) {
        let name = SegmentFile::Log.name(at(base));
        let path = Path::new("/data").join(tp(partition).to_string()).join(name);
        let file = self.storage.open(&path, OpenMode::Write).unwrap();
        let mut byte = [0];
        file.read_exact_at(30, &mut byte).unwrap();
        file.write_all_at(30, &[byte[0] ^ 1]).unwrap();
    }
}

pub(super) fn batch(values: &[&str]) -> BuiltBatch {
    batch_by(BatchOptions::default(), values)
}

fn batch_by(options: BatchOptions, values: &[&str]) -> BuiltBatch {
    let mut builder = BatchBuilder::new(options);
    for value in values {
        builder.append(Some(ManualClock::new().now().wall), None, Some(value.as_bytes()), &[]).unwrap();
    }
    builder.build().unwrap()
}

/// Records of a transaction of this producer.
pub(super) fn transactional(producer: i64, sequence: i32, values: &[&str]) -> BuiltBatch {
    let stamp = ProducerStamp {
        id: ProducerId::new(producer).unwrap(),
        epoch: ProducerEpoch::ZERO,
        base_sequence: Sequence::new(sequence),
    };
    batch_by(BatchOptions { producer: Some(stamp), transactional: true, ..BatchOptions::default() }, values)
}

pub(super) fn marker(producer: i64, outcome: TransactionOutcome) -> BuiltBatch {
    let marker = EndTransactionMarker { outcome, coordinator_epoch: 0 };
    marker.to_batch(ProducerId::new(producer).unwrap(), ProducerEpoch::ZERO, ManualClock::new().now().wall)
}

/// Offsets and values, as the records are iterated.
pub(super) fn read(records: &ConsumerRecords) -> Vec<(i64, String)> {
    let pair = |value: Option<&[u8]>| String::from_utf8(value.unwrap().to_vec()).unwrap();
    records.iter().map(|record| (record.offset().get(), pair(record.value()))).collect()
}

pub(super) fn values(records: &ConsumerRecords) -> Vec<String> {
    read(records).into_iter().map(|(_, value)| value).collect()
}
