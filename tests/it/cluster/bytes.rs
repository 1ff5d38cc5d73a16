//! What a clean stop leaves, read by a small parser of its own that knows Kafka's format and nothing of this library.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use logstead::cluster::{Cluster, Driver};
use logstead::config::{LogConfig, TopicConfig};
use logstead::producer::Record;
use logstead::rng::Rng;
use logstead::storage::{MemStorage, Storage};
use logstead::time::{Clock, ManualClock};

use crate::support::{FOLDER, bytes_of};

const INTERVAL: u64 = 700;
const PARTITIONS: i32 = 3;

struct Batch {
    position: u64,
    base: i64,
    last: i64,
    max_timestamp: i64,
    records: i64,
    size: u64,
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().unwrap()
}

fn long(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(number(bytes, at))
}

fn int(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(number(bytes, at))
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 })
    })
}

fn batches(log: &[u8]) -> Vec<Batch> {
    let mut batches = Vec::new();
    let mut at = 0;
    while at < log.len() {
        let batch = &log[at..];
        let size = 12 + int(batch, 8) as usize;
        let batch = &batch[..size];
        assert_eq!(batch[16], 2, "magic");
        assert_eq!(u32::from_be_bytes(number(batch, 17)), crc32c(&batch[21..]), "checksum");
        let (base, delta) = (long(batch, 0), i64::from(int(batch, 23)));
        batches.push(Batch {
            position: at as u64,
            base,
            last: base + delta,
            max_timestamp: long(batch, 35),
            records: i64::from(int(batch, 57)),
            size: size as u64,
        });
        at += size;
    }
    batches
}

/// An entry where more than the interval was appended since the last one: last offset, relative, and start of its batch.
fn offset_entries(base: i64, batches: &[Batch]) -> Vec<(i64, u64)> {
    let mut since = 0;
    let mut entries = Vec::new();
    for batch in batches {
        if since > INTERVAL {
            entries.push((batch.last - base, batch.position));
            since = 0;
        }
        since += batch.size;
    }
    entries
}

/// Checks one segment; returns the offset at which the next one begins, and how many index entries it has.
fn check_segment(storage: &MemStorage, folder: &Path, base: i64) -> (i64, usize) {
    let file = |kind: &str| bytes_of(storage, &folder.join(format!("{base:020}.{kind}")));
    let batches = batches(&file("log"));
    let mut next = base;
    for batch in &batches {
        assert_eq!(batch.base, next, "offsets follow each other");
        assert_eq!(batch.records, batch.last - batch.base + 1);
        next = batch.last + 1;
    }
    let index: Vec<_> = file("index").chunks(8).map(|entry| (i64::from(int(entry, 0)), int(entry, 4) as u64)).collect();
    assert_eq!(index, offset_entries(base, &batches), "{}/{base}.index", folder.display());

    let times: Vec<_> =
        file("timeindex").chunks(12).map(|entry| (long(entry, 0), base + i64::from(int(entry, 8)))).collect();
    assert!(times.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1), "{times:?}");
    for (timestamp, offset) in &times {
        let named = batches.iter().find(|batch| (batch.base..=batch.last).contains(offset)).unwrap();
        assert_eq!(named.max_timestamp, *timestamp);
        assert!(
            batches.iter().take_while(|batch| batch.base <= *offset).all(|batch| batch.max_timestamp <= *timestamp)
        );
    }
    let latest = batches.iter().map(|batch| batch.max_timestamp).max();
    assert_eq!(times.last().map(|(timestamp, _)| *timestamp), latest, "the last entry is the latest time");
    (next, index.len())
}

#[test]
fn a_clean_stop_leaves_what_kafkas_format_says() {
    let (storage, clock) = (MemStorage::new(), Arc::new(ManualClock::new()));
    let open = || {
        let builder = Cluster::builder().storage(storage.clone()).clock(Arc::clone(&clock) as Arc<dyn Clock>);
        builder.driver(Driver::Manual).seed(3).open(FOLDER).unwrap()
    };
    let mut rng = Rng::from_seed(11);
    let log = LogConfig::new().segment_bytes(9_000).index_interval_bytes(INTERVAL);
    for session in 0..3 {
        let cluster = open();
        if session == 0 {
            cluster.create_topic("orders", TopicConfig::new().partitions(PARTITIONS as u32).log(log.clone())).unwrap();
        }
        let producer = cluster.producer().batch_bytes(400).seed(session).build().unwrap();
        for _ in 0..400 {
            let value = vec![7; rng.below(150) as usize];
            let timestamp = clock.now().wall.as_millis() - i64::try_from(rng.below(2_000)).unwrap();
            let record = Record::to("orders").partition(rng.below(PARTITIONS as u64) as i32).value(&value);
            let record = record.timestamp(logstead::types::Timestamp::from_millis(timestamp));
            drop(producer.send(record).unwrap());
            clock.advance(Duration::from_millis(rng.below(7)));
            cluster.poll(clock.now());
        }
        producer.close().unwrap();
        cluster.close().unwrap();
    }
    let (mut segments, mut entries, mut records) = (0, 0, 0);
    for partition in 0..PARTITIONS {
        let folder = Path::new(FOLDER).join(format!("orders-{partition}"));
        let names = storage.list(&folder).unwrap();
        let bases = names.iter().filter_map(|entry| entry.name.strip_suffix(".log"));
        let mut next = 0;
        for base in bases {
            assert_eq!(base.parse::<i64>().unwrap(), next, "segments follow each other");
            let (end, found) = check_segment(&storage, &folder, next);
            (next, segments, entries) = (end, segments + 1, entries + found);
        }
        records += next;
    }
    assert_eq!(records, 3 * 400);
    assert!(segments > 10 && entries > 50, "{segments} segments, {entries} entries");
}
