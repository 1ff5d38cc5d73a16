//! Consumers of a cluster, through the public API.

use std::path::Path;
use std::thread;
use std::time::Duration;

use logstead::cluster::{Cluster, Driver};
use logstead::config::{ConsumerConfig, Durability, LogConfig, TopicConfig};
use logstead::consumer::{Consumer, ConsumerRecords, DetachedRecord, StartAt, WakeHandle};
use logstead::log::LogDirectory;
use logstead::storage::{MemStorage, Storage};
use logstead::types::{LeaderEpoch, Offset, TopicPartition};
use logstead::{Error, OffsetSpec};

use crate::support::{FOLDER, batch_of, now};

const TOPIC: &str = "orders";
const PARTITIONS: u32 = 2;
const BATCHES: usize = 5;

fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new(TOPIC, partition).unwrap()
}

/// A cluster with one topic, whose partitions hold five batches of three records each.
fn cluster(driver: Driver) -> (MemStorage, Cluster) {
    let storage = MemStorage::new();
    let config = LogConfig::new().durability(Durability::Os);
    let directory = LogDirectory::options().storage(storage.clone()).seed(1).open(FOLDER).unwrap();
    for partition in 0..PARTITIONS as i32 {
        let log = directory.open_log(&tp(partition), None, config.clone(), now()).unwrap();
        log.begin_epoch(LeaderEpoch::ZERO).unwrap();
        for batch in 0..BATCHES {
            log.append_as_leader(&mut batch_of(3, format!("{partition}-{batch}").as_bytes()), now()).unwrap();
        }
    }
    directory.close().unwrap();
    for partition in 0..PARTITIONS as i32 {
        // The topic that adopts the partition brings an id of its own.
        let path = Path::new(FOLDER).join(tp(partition).to_string()).join("partition.metadata");
        storage.remove(&path).unwrap();
    }
    let cluster = Cluster::builder().storage(storage.clone()).driver(driver).seed(1).open(FOLDER).unwrap();
    cluster.create_topic(TOPIC, TopicConfig::new().partitions(PARTITIONS).log(config)).unwrap();
    (storage, cluster)
}

fn values(records: &ConsumerRecords) -> Vec<String> {
    records.iter().map(|record| String::from_utf8(record.value().unwrap().to_vec()).unwrap()).collect()
}

#[test]
fn a_topic_is_read_from_its_beginning_to_its_end() {
    let (_storage, cluster) = cluster(Driver::Threads);
    let mut consumer = cluster.consumer().topic(TOPIC).build().unwrap();
    let records = consumer.poll(Duration::MAX).unwrap();
    let expected = (0..2).flat_map(|partition| (0..5).map(move |batch| format!("{partition}-{batch}")));
    assert_eq!(values(&records), expected.flat_map(|value| vec![value; 3]).collect::<Vec<_>>());
    assert!(consumer.poll(Duration::ZERO).unwrap().is_empty());
    let metrics = cluster.metrics();
    assert_eq!((metrics.records_read, metrics.bytes_read), (30, records.size_in_bytes()));
}

#[test]
fn records_outlive_their_cluster_and_the_consumer_says_that_it_is_closed() {
    let (_storage, cluster) = cluster(Driver::Threads);
    let mut consumer = cluster.consumer().assign([(TOPIC, 1)]).build().unwrap();
    let records = consumer.poll(Duration::MAX).unwrap();
    let last = records.iter().last().unwrap().detach();
    cluster.close().unwrap();
    assert!(matches!(consumer.poll(Duration::MAX), Err(Error::Closed)));
    assert!(matches!(consumer.seek(&tp(1), OffsetSpec::Latest), Err(Error::Closed)));
    drop(consumer);
    assert_eq!(values(&records)[0], "1-0");
    drop(records);
    assert_eq!((last.offset(), last.value()), (Offset::from(14), Some(&b"1-4"[..])));
}

#[test]
fn closing_the_cluster_ends_a_wait() {
    let (_storage, cluster) = cluster(Driver::Threads);
    let mut consumer = cluster.consumer().topic(TOPIC).start_at(StartAt::Latest).build().unwrap();
    let waiting = thread::spawn(move || consumer.poll(Duration::MAX).map(|records| records.len()));
    cluster.close().unwrap();
    assert!(matches!(waiting.join().unwrap(), Err(Error::Closed)));
}

#[test]
fn under_a_manual_driver_no_poll_sleeps() {
    let (_storage, cluster) = cluster(Driver::Manual);
    let mut consumer = cluster.consumer().topic(TOPIC).build().unwrap();
    assert_eq!(consumer.poll(Duration::MAX).unwrap().len(), 30);
    assert!(consumer.poll(Duration::MAX).unwrap().is_empty());
}

#[test]
fn what_is_held_stands_in_the_way_of_more() {
    let (_storage, cluster) = cluster(Driver::Manual);
    let config = ConsumerConfig::new().pinned_bytes_max(1).partition_fetch_bytes_max(1);
    let mut consumer = cluster.consumer().assign([tp(0)]).config(config).build().unwrap();
    let held = consumer.poll(Duration::MAX).unwrap();
    let refused = consumer.poll(Duration::MAX).unwrap_err();
    assert!(matches!(refused, Error::PinnedMemory { max: 1, .. }), "{refused}");
    drop(held);
    assert_eq!(values(&consumer.poll(Duration::MAX).unwrap()), ["0-1"; 3]);
}

#[test]
fn an_unknown_topic_is_refused_with_the_nearest_name() {
    let (_storage, cluster) = cluster(Driver::Manual);
    let refused = cluster.consumer().topic("oders").build().unwrap_err();
    assert!(
        matches!(&refused, Error::UnknownTopicOrPartition { nearest: Some(near), .. } if near == TOPIC),
        "{refused}"
    );
}

#[test]
fn what_crosses_threads_may_cross_threads() {
    fn is_send<T: Send + 'static>() {}
    fn is_sync<T: Sync>() {}
    is_send::<Consumer>();
    is_send::<ConsumerRecords>();
    is_sync::<ConsumerRecords>();
    is_send::<DetachedRecord>();
    is_sync::<DetachedRecord>();
    is_send::<WakeHandle>();
    is_sync::<WakeHandle>();
}
