//! Compressed batches: what is decompressed and what is not, what it may cost, and what is said when it fails.

use std::time::Duration;

use super::{Rig, TOPIC, at, batch, marker, read, tp, transactional, values};
use crate::config::{ConsumerConfig, Isolation};
use crate::consumer::{Consumer, PollLimits};
use crate::error::{Damage, Error, ErrorClass};
use crate::record::TransactionOutcome::{Abort, Commit};

const NOW: Duration = Duration::ZERO;

fn consumer(rig: &Rig, config: ConsumerConfig) -> Consumer {
    rig.builder().topic(TOPIC).config(config).build().unwrap()
}

/// Appends a batch whose records are no stream of its codec.
fn append_garbage(rig: &Rig, batch: crate::record::BuiltBatch) {
    rig.append_edited(0, batch, |_| b"nothing that a codec has written".to_vec());
}

#[test]
fn compressed_records_come_like_others() {
    let rig = Rig::new(1);
    rig.append_values(0, &["a", "b"]);
    rig.append_packed(0, batch(&["c", "d", "e"]));
    rig.append_packed(0, batch(&["f"]));
    rig.append_values(0, &["g"]);
    let records = rig.consumer().poll(NOW).unwrap();
    let expected = ["a", "b", "c", "d", "e", "f", "g"].map(str::to_owned);
    assert_eq!(read(&records), (0..).zip(expected).collect::<Vec<_>>());
    let detached: Vec<_> = records.iter().map(|record| record.detach()).collect();
    drop(records);
    let kept: Vec<_> = detached.iter().map(|record| record.value().unwrap()).collect();
    assert_eq!(kept, [b"a", b"b", b"c", b"d", b"e", b"f", b"g"]);
    assert_eq!((detached[4].offset(), detached[4].size_in_bytes()), (at(4), detached[0].size_in_bytes()));
}

#[test]
fn limits_and_seeks_split_a_compressed_batch() {
    let rig = Rig::new(1);
    rig.append_packed(0, batch(&["a", "b", "c", "d", "e"]));
    let mut consumer = rig.consumer();
    let two = PollLimits { records: 2, bytes: usize::MAX };
    let polls: Vec<_> = (0..4).map(|_| values(&consumer.poll_with(two, NOW).unwrap())).collect();
    assert_eq!(polls, [vec!["a", "b"], vec!["c", "d"], vec!["e"], vec![]]);
    consumer.seek(&tp(0), at(3)).unwrap();
    assert_eq!(values(&consumer.poll_with(PollLimits { records: 9, bytes: 1 }, NOW).unwrap()), ["d"]);
    assert_eq!(values(&consumer.poll(NOW).unwrap()), ["e"]);
}

#[test]
fn what_nobody_is_to_see_is_not_decompressed() {
    let rig = Rig::new(1);
    append_garbage(&rig, batch(&["below the position"])); // 0
    append_garbage(&rig, transactional(1, 0, &["aborted"])); // 1
    rig.append_packed(0, transactional(2, 0, &["committed"])); // 2
    rig.append(0, marker(1, Abort)); // 3
    rig.append(0, marker(2, Commit)); // 4
    let mut consumer = rig.consumer();
    consumer.seek(&tp(0), at(1)).unwrap();
    assert_eq!(values(&consumer.poll(NOW).unwrap()), ["committed"]);
    let mut all = rig.builder().topic(TOPIC).isolation(Isolation::ReadUncommitted).build().unwrap();
    all.seek(&tp(0), at(1)).unwrap();
    assert!(matches!(all.poll(NOW), Err(Error::Corrupt(_))));
}

#[test]
fn a_batch_is_decompressed_when_there_is_room_in_the_poll_for_it() {
    let rig = Rig::new(1);
    rig.append_values(0, &["plain"]);
    rig.append_packed(0, batch(&["packed"]));
    append_garbage(&rig, batch(&["broken"]));
    let mut consumer = rig.consumer();
    let one = PollLimits { records: 1, bytes: usize::MAX };
    let first = consumer.poll_with(one, NOW).unwrap();
    let pinned = consumer.pinned_bytes();
    let second = consumer.poll_with(one, NOW).unwrap();
    assert!(consumer.pinned_bytes() > pinned);
    assert_eq!((values(&first), values(&second)), (vec!["plain".to_owned()], vec!["packed".to_owned()]));
    assert!(matches!(consumer.poll_with(one, NOW), Err(Error::Corrupt(_))));
}

#[test]
fn a_stream_that_is_damaged_is_named_and_can_be_passed_over() {
    let rig = Rig::new(1);
    rig.append_packed(0, batch(&["before"]));
    append_garbage(&rig, batch(&["broken", "broken"]));
    // Intact as a stream, but cut off as records.
    let cut = |mut records: Vec<u8>| {
        records.pop();
        zstd::bulk::compress(&records, 1).unwrap()
    };
    rig.append_edited(0, batch(&["cut"]), cut);
    rig.append_packed(0, batch(&["behind"]));
    let mut consumer = rig.consumer();
    assert_eq!(values(&consumer.poll(NOW).unwrap()), ["before"]);
    let Error::Corrupt(corrupt) = consumer.poll(NOW).unwrap_err() else { panic!("no damage") };
    let offsets = corrupt.offsets.unwrap();
    assert!(matches!(corrupt.what, Damage::Compression { codec: "zstd", .. }), "{corrupt}");
    assert_eq!((corrupt.tp, offsets.next_intact), (Some(tp(0)), at(3)));
    consumer.seek(&tp(0), offsets.next_intact).unwrap();
    let Error::Corrupt(corrupt) = consumer.poll(NOW).unwrap_err() else { panic!("no damage") };
    assert_eq!(corrupt.what, Damage::Structure("a record is longer than its batch"));
    consumer.seek(&tp(0), corrupt.offsets.unwrap().next_intact).unwrap();
    assert_eq!(values(&consumer.poll(NOW).unwrap()), ["behind"]);
}

#[test]
fn a_batch_that_is_larger_than_the_limit_is_unreadable() {
    assert_eq!(ConsumerConfig::new().get_decompressed_bytes_max(), crate::record::DECOMPRESSED_BYTES_MAX as u64);
    let rig = Rig::new(1);
    let large = "x".repeat(1_000);
    rig.append_packed(0, batch(&[&large]));
    rig.append_packed(0, batch(&["small"]));
    let mut reader = consumer(&rig, ConsumerConfig::new().decompressed_bytes_max(1_000));
    let refused = reader.poll(NOW).unwrap_err();
    let Error::UnreadableBatch { first, next, ref cause, .. } = refused else { panic!("{refused}") };
    assert!(matches!(**cause, Error::DecompressedTooLarge { codec: "zstd", max: 1_000 }), "{cause}");
    assert_eq!((first, next), (at(0), at(1)));
    assert_eq!((refused.class(), refused.kafka_code()), (ErrorClass::Config, 10));
    reader.seek(&tp(0), next).unwrap();
    assert_eq!(values(&reader.poll(NOW).unwrap()), ["small"]);
    let mut reader = consumer(&rig, ConsumerConfig::new().decompressed_bytes_max(1_100));
    assert_eq!(values(&reader.poll(NOW).unwrap()), [large, "small".to_owned()]);
}

#[test]
fn decompressed_records_count_as_pinned_until_they_are_dropped() {
    let rig = Rig::new(1);
    let value = "x".repeat(10_000);
    (0..4).for_each(|_| rig.append_packed(0, batch(&[&value])));
    let mut reader = consumer(&rig, ConsumerConfig::new().pinned_bytes_max(1));
    let held = reader.poll(NOW).unwrap();
    assert_eq!(held.len(), 1);
    assert!(reader.pinned_bytes() >= 10_000);
    let refused = reader.poll(NOW).unwrap_err();
    assert!(matches!(refused, Error::PinnedMemory { pinned, max: 1 } if pinned >= 10_000), "{refused}");
    let detached = held.iter().next().unwrap().detach();
    drop(held);
    assert!(matches!(reader.poll(NOW), Err(Error::PinnedMemory { .. })));
    drop(detached);
    // One at a time, and none is left out.
    let offsets: Vec<_> = (0..3).map(|_| read(&reader.poll(NOW).unwrap())[0].0).collect();
    assert_eq!(offsets, [1, 2, 3]);
    assert!(reader.poll(NOW).unwrap().is_empty());
    assert_eq!(reader.pinned_bytes(), 0);
}

#[test]
fn a_poll_decompresses_no_more_than_may_be_pinned() {
    let rig = Rig::new(1);
    let value = "x".repeat(10_000);
    (0..50).for_each(|_| rig.append_packed(0, batch(&[&value])));
    let slice = {
        let mut reader = rig.consumer();
        let _one = reader.poll_with(PollLimits { records: 1, bytes: usize::MAX }, NOW).unwrap();
        reader.pinned_bytes()
    };
    let max = slice + 40_000;
    let mut reader = consumer(&rig, ConsumerConfig::new().pinned_bytes_max(max));
    let mut seen = 0;
    while let records = reader.poll(NOW).unwrap()
        && !records.is_empty()
    {
        assert!(reader.pinned_bytes() < max + slice + 20_000, "{}", reader.pinned_bytes());
        assert!(records.len() < 50);
        seen += records.len();
    }
    assert_eq!(seen, 50);
}

#[test]
fn little_memory_starves_no_partition_of_compressed_records() {
    let rig = Rig::new(3);
    for partition in 0..3 {
        (0..6).for_each(|number| rig.append_packed(partition, batch(&[&format!("{number}")])));
    }
    let mut reader = consumer(&rig, ConsumerConfig::new().pinned_bytes_max(1));
    let mut seen = [0; 3];
    for _ in 0..9 {
        let records = reader.poll(NOW).unwrap();
        records.iter().for_each(|record| seen[record.partition().get() as usize] += 1);
    }
    assert_eq!(seen, [3; 3]);
}
