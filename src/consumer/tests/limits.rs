//! How much a poll returns, and how much memory may be held.

use std::time::Duration;

use super::{Rig, TOPIC, batch, read, tp, values};
use crate::config::ConsumerConfig;
use crate::consumer::PollLimits;
use crate::error::{Error, ErrorClass};

const NOW: Duration = Duration::ZERO;

#[test]
fn the_record_limit_splits_a_batch_and_the_rest_comes_next() {
    let rig = Rig::new(1);
    rig.append_values(0, &["a", "b", "c", "d", "e"]);
    rig.append_values(0, &["f"]);
    let mut consumer = rig.consumer();
    let two = PollLimits { records: 2, bytes: usize::MAX };
    let polls: Vec<_> = (0..4).map(|_| values(&consumer.poll_with(two, NOW).unwrap())).collect();
    assert_eq!(polls, [vec!["a", "b"], vec!["c", "d"], vec!["e", "f"], vec![]]);
}

#[test]
fn the_byte_limit_counts_whole_records_and_lets_one_pass() {
    let rig = Rig::new(1);
    rig.append_values(0, &["aaaa", "bbbb", "a record that is larger than the limit", "c", "d"]);
    let mut consumer = rig.consumer();
    let size = rig.consumer().poll(NOW).unwrap().iter().next().unwrap().size_in_bytes();
    let limits = PollLimits { records: 100, bytes: 2 * size };
    let polls: Vec<_> = (0..4).map(|_| values(&consumer.poll_with(limits, NOW).unwrap())).collect();
    let large = "a record that is larger than the limit";
    assert_eq!(polls, [vec!["aaaa", "bbbb"], vec![large], vec!["c", "d"], vec![]]);
    consumer.seek(&tp(0), super::at(0)).unwrap();
    assert_eq!(values(&consumer.poll_with(PollLimits { records: 0, bytes: 0 }, NOW).unwrap()), ["aaaa"]);
}

#[test]
fn partitions_take_turns_to_be_first() {
    let rig = Rig::new(3);
    (0..3).for_each(|partition| rig.append_numbered(partition, 4));
    let mut consumer = rig.consumer();
    let two = PollLimits { records: 2, bytes: usize::MAX };
    let firsts: Vec<_> = (0..6).map(|_| read(&consumer.poll_with(two, NOW).unwrap())[0].1.clone()).collect();
    assert_eq!(firsts, ["0-0", "1-0", "2-0", "0-2", "1-2", "2-2"]);
}

#[test]
fn held_records_stop_fetching_until_they_are_dropped() {
    let rig = Rig::new(1);
    rig.append_numbered(0, 3);
    let config = ConsumerConfig::new().pinned_bytes_max(1);
    let mut consumer = rig.builder().topic(TOPIC).config(config).build().unwrap();
    let one = PollLimits { records: 1, bytes: usize::MAX };
    let held = consumer.poll_with(one, NOW).unwrap();
    // What is fetched ahead still comes.
    assert_eq!(values(&consumer.poll(NOW).unwrap()), ["0-1", "0-2"]);
    assert!(consumer.poll(NOW).unwrap().is_empty());
    rig.append_values(0, &["more"]);
    let refused = consumer.poll(Duration::MAX).unwrap_err();
    assert!(matches!(refused, Error::PinnedMemory { pinned, max: 1 } if pinned > 1), "{refused}");
    assert_eq!(refused.class(), ErrorClass::Retry);
    let detached = held.iter().next().unwrap().detach();
    drop(held);
    assert!(matches!(consumer.poll(NOW), Err(Error::PinnedMemory { .. })));
    drop(detached);
    assert_eq!(consumer.pinned_bytes(), 0);
    assert_eq!(values(&consumer.poll(NOW).unwrap()), ["more"]);
}

#[test]
fn little_memory_makes_partitions_wait_for_their_turn_and_starves_none() {
    let rig = Rig::new(4);
    (0..4).for_each(|partition| rig.append_numbered(partition, 10));
    let config = ConsumerConfig::new().pinned_bytes_max(1).poll_records_max(3);
    let mut consumer = rig.builder().topic(TOPIC).config(config).build().unwrap();
    let mut seen = [0; 4];
    for _ in 0..8 {
        let records = consumer.poll(NOW).unwrap();
        records.iter().for_each(|record| seen[record.partition().get() as usize] += 1);
    }
    assert_eq!(seen, [6; 4]);
}

#[test]
fn memory_is_counted_once_however_many_share_it() {
    let rig = Rig::new(1);
    rig.append(0, batch(&["a", "b"]));
    let mut consumer = rig.consumer();
    let records = consumer.poll(NOW).unwrap();
    let pinned = consumer.pinned_bytes();
    assert!(pinned > 0);
    let all: Vec<_> = records.iter().flat_map(|record| [record.detach(), record.detach().clone()]).collect();
    assert_eq!(consumer.pinned_bytes(), pinned);
    drop(records);
    assert_eq!(consumer.pinned_bytes(), pinned);
    drop(all);
    assert_eq!(consumer.pinned_bytes(), 0);
}
