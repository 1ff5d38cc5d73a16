//! What a producer allocates: nothing for a record, and a few things for a batch, whatever its codec.

use logstead::cluster::{Cluster, Driver};
use logstead::config::{Durability, TopicConfig};
use logstead::producer::TopicProducer;
use logstead::storage::MemStorage;
use logstead::types::Compression;

use crate::allocation::allocations_of;

const BATCH_BYTES: usize = 16 << 10;
const VALUE: [u8; 100] = [7; 100];
/// The bytes of a record of this value on the disk.
const RECORD_BYTES: usize = 110;

/// Allocations of this thread for so many records, after a warm-up.
fn allocations(compression: Compression, records: usize, send: impl Fn(&TopicProducer)) -> usize {
    let cluster = Cluster::builder().storage(MemStorage::new()).driver(Driver::Manual).seed(1).open("/data").unwrap();
    cluster.create_topic("orders", TopicConfig::new().durability(Durability::Os)).unwrap();
    let producer = cluster.producer().batch_bytes(BATCH_BYTES as u64).compression(compression).build().unwrap();
    let orders = producer.topic("orders").unwrap();
    for _ in 0..10 * BATCH_BYTES / RECORD_BYTES {
        send(&orders);
    }
    let ((), count) = allocations_of(|| (0..records).for_each(|_| send(&orders)));
    count
}

fn check(send: impl Fn(&TopicProducer)) {
    let batches = 100;
    let records = batches * BATCH_BYTES / RECORD_BYTES;
    use Compression::{Gzip, Lz4, None, Snappy, Zstd};
    for codec in [None, Gzip, Snappy, Lz4, Zstd] {
        let count = allocations(codec, records, &send);
        // For a batch two completions and what its deliveries share, and what the log and the disk in memory need. What a
        // codec needs is kept from batch to batch.
        assert!(count <= 12 * batches, "{codec:?}: {count} allocations for {records} records in {batches} batches");
        // Within one batch: none at all.
        let least = (0..20).map(|_| allocations(codec, BATCH_BYTES / RECORD_BYTES / 2, &send)).min();
        assert_eq!(least, Some(0), "{codec:?}");
    }
}

#[test]
fn a_pushed_record_allocates_nothing() {
    check(|orders| {
        orders.push((), VALUE).unwrap();
    });
}

#[test]
fn a_sent_record_allocates_nothing_even_if_it_is_waited_for_later() {
    check(|orders| drop(orders.send((), VALUE).unwrap()));
}
