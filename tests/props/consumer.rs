//! What a consumer allocates: per fetch at most, never per record.

use std::path::Path;
use std::time::Duration;

use logstead::cluster::Cluster;
use logstead::config::{Durability, LogConfig, TopicConfig};
use logstead::consumer::{Consumer, OffsetSpec, PollLimits};
use logstead::log::LogDirectory;
use logstead::record::{BatchBuilder, BatchOptions};
use logstead::storage::{MemStorage, Storage};
use logstead::time::{Clock, ManualClock};
use logstead::types::{LeaderEpoch, TopicPartition};

use crate::allocation::allocations_of;

const BATCHES: usize = 100;

/// A cluster whose one partition holds this many records a batch.
fn cluster_with(records_per_batch: usize) -> Cluster {
    let (storage, now) = (MemStorage::new(), ManualClock::new().now());
    let config = LogConfig::new().durability(Durability::Os);
    let directory = LogDirectory::options().storage(storage.clone()).open("/data").unwrap();
    let tp = TopicPartition::new("orders", 0).unwrap();
    let log = directory.open_log(&tp, None, config.clone(), now).unwrap();
    log.begin_epoch(LeaderEpoch::ZERO).unwrap();
    for _ in 0..BATCHES {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        for _ in 0..records_per_batch {
            builder.append(None, Some(b"key"), Some(b"value"), &[]).unwrap();
        }
        log.append_as_leader(&mut builder.build().unwrap(), now).unwrap();
    }
    directory.close().unwrap();
    // The topic that adopts the partition brings an id of its own.
    storage.remove(Path::new("/data/orders-0/partition.metadata")).unwrap();
    let cluster = Cluster::builder().storage(storage).open("/data").unwrap();
    cluster.create_topic("orders", TopicConfig::new().log(config)).unwrap();
    cluster
}

fn scan(consumer: &mut Consumer, limits: PollLimits) -> usize {
    let mut bytes = 0;
    loop {
        let records = consumer.poll_with(limits, Duration::ZERO).unwrap();
        if records.is_empty() {
            return bytes;
        }
        bytes +=
            records.iter().map(|record| record.key().unwrap().len() + record.value().unwrap().len()).sum::<usize>();
    }
}

#[test]
fn polls_of_what_is_fetched_allocate_nothing() {
    let cluster = cluster_with(200);
    let mut consumer = cluster.consumer().topic("orders").build().unwrap();
    let limits = PollLimits { records: 7, bytes: usize::MAX };
    // The first poll fetches, the next ones make the lists as long as they get.
    (0..3).for_each(|_| drop(consumer.poll_with(limits, Duration::ZERO).unwrap()));
    let (records, allocations) = allocations_of(|| {
        let mut records = 0;
        for _ in 0..100 {
            let polled = consumer.poll_with(limits, Duration::ZERO).unwrap();
            records += polled.iter().filter(|record| record.value() == Some(b"value")).count();
        }
        records
    });
    assert_eq!((records, allocations), (700, 0));
}

#[test]
fn a_scan_of_more_records_in_as_many_reads_allocates_no_more() {
    let counts = [10, 100].map(|records_per_batch| {
        let cluster = cluster_with(records_per_batch);
        let mut consumer = cluster.consumer().topic("orders").build().unwrap();
        let limits = PollLimits { records: 500, bytes: usize::MAX };
        scan(&mut consumer, limits);
        consumer.seek_all(OffsetSpec::Beginning).unwrap();
        let (bytes, allocations) = allocations_of(|| scan(&mut consumer, limits));
        assert_eq!(bytes, BATCHES * records_per_batch * 8);
        allocations
    });
    assert_eq!(counts[0], counts[1]);
    assert!(counts[0] < 20, "{counts:?}");
}
