//! What a consumer allocates: per fetch at most, never per record.

use std::path::Path;
use std::time::Duration;

use logstead::cluster::Cluster;
use logstead::config::{ConsumerConfig, Durability, LogConfig, TopicConfig};
use logstead::consumer::{Consumer, PollLimits};
use logstead::log::LogDirectory;
use logstead::record::{BatchBuilder, BatchOptions, Compression};
use logstead::storage::{MemStorage, Storage};
use logstead::time::{Clock, ManualClock};
use logstead::types::{LeaderEpoch, TopicPartition};
use logstead::{Error, OffsetSpec};

use crate::allocation::{allocations_of, peak_of};
use crate::packed::{CODECS, packed};

const BATCHES: usize = 100;

/// A cluster whose one partition holds this many records a batch.
fn cluster_with(records_per_batch: usize, codec: Compression) -> Cluster {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for _ in 0..records_per_batch {
        builder.append(None, Some(b"key"), Some(b"value"), &[]).unwrap();
    }
    cluster_of(BATCHES, &packed(builder.build().unwrap().into_buffer(), codec))
}

/// A cluster whose one partition holds a batch this many times.
fn cluster_of(count: usize, batch: &[u8]) -> Cluster {
    let (storage, now) = (MemStorage::new(), ManualClock::new().now());
    let config = LogConfig::new().durability(Durability::Os);
    let directory = LogDirectory::options().storage(storage.clone()).open("/data").unwrap();
    let tp = TopicPartition::new("orders", 0).unwrap();
    let log = directory.open_log(&tp, None, config.clone(), now).unwrap();
    log.begin_epoch(LeaderEpoch::ZERO).unwrap();
    let mut batch = batch.to_vec();
    // The leader epoch, which lies outside the checksum, as the offset does.
    batch[12..16].copy_from_slice(&[0; 4]);
    for _ in 0..count {
        batch[..8].copy_from_slice(&log.log_end_offset().get().to_be_bytes());
        log.append_as_follower(&batch, now).unwrap();
    }
    log.advance_high_watermark(log.log_end_offset()).unwrap();
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
    let cluster = cluster_with(200, Compression::None);
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
        let cluster = cluster_with(records_per_batch, Compression::None);
        let mut consumer = cluster.consumer().topic("orders").build().unwrap();
        let limits = PollLimits { records: 500, bytes: usize::MAX };
        scan(&mut consumer, limits);
        consumer.seek_all(OffsetSpec::Earliest).unwrap();
        let (bytes, allocations) = allocations_of(|| scan(&mut consumer, limits));
        assert_eq!(bytes, BATCHES * records_per_batch * 8);
        allocations
    });
    assert_eq!(counts[0], counts[1]);
    assert!(counts[0] < 20, "{counts:?}");
}

#[test]
fn a_scan_of_compressed_batches_allocates_nothing_for_a_batch() {
    for codec in CODECS {
        let cluster = cluster_with(100, codec);
        let mut consumer = cluster.consumer().topic("orders").build().unwrap();
        let limits = PollLimits { records: 500, bytes: usize::MAX };
        scan(&mut consumer, limits);
        consumer.seek_all(OffsetSpec::Earliest).unwrap();
        let (bytes, allocations) = allocations_of(|| scan(&mut consumer, limits));
        assert_eq!(bytes, BATCHES * 100 * 8);
        assert!(allocations < 20, "{codec:?}: {allocations}");
    }
}

#[test]
fn a_batch_that_becomes_too_large_costs_no_more_than_the_limit() {
    let value = vec![0; 16 << 20];
    for codec in [Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        builder.append(None, None, Some(&value), &[]).unwrap();
        let bomb = packed(builder.build().unwrap().into_buffer(), codec);
        let cluster = cluster_of(1, &bomb);
        let config = ConsumerConfig::new().decompressed_bytes_max(1 << 20);
        let mut consumer = cluster.consumer().topic("orders").config(config).build().unwrap();
        let (refused, peak) = peak_of(|| consumer.poll(Duration::ZERO).unwrap_err());
        assert!(matches!(refused, Error::UnreadableBatch { .. }), "{refused}");
        assert!(peak < 2 * bomb.len() + (4 << 20), "{codec:?}: {peak} bytes for {}", bomb.len());
    }
}
