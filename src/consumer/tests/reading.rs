//! What a consumer reads, from where, and what it says when it cannot.

use std::sync::Arc;
use std::time::Duration;

use super::fake::Watched;
use super::{Rig, TOPIC, at, marker, read, tp, transactional, values};
use crate::config::{Durability, Isolation, LogConfig};
use crate::consumer::{SeekTo, StartAt};
use crate::error::Error;
use crate::log::OffsetSpec;
use crate::record::TransactionOutcome::{Abort, Commit};
use crate::types::Timestamp;

const NOW: Duration = Duration::ZERO;

#[test]
fn records_are_read_in_order_from_the_beginning() {
    let rig = Rig::new(1);
    rig.append_values(0, &["a", "b"]);
    rig.append_values(0, &["c"]);
    let mut consumer = rig.consumer();
    let records = consumer.poll(NOW).unwrap();
    assert_eq!(read(&records), [(0, "a".into()), (1, "b".into()), (2, "c".into())]);
    assert_eq!((records.len(), records.is_empty()), (3, false));
    assert_eq!(consumer.position(&tp(0)).unwrap(), at(3));
    assert_eq!(consumer.lag(&tp(0)).unwrap(), 0);
    assert!(consumer.poll(NOW).unwrap().is_empty());
}

#[test]
fn a_record_tells_everything_about_itself_also_detached() {
    let rig = Rig::new(1);
    rig.append_values(0, &["a", "b"]);
    let records = rig.consumer().poll(NOW).unwrap();
    let record = records.iter().nth(1).unwrap();
    let detached = record.detach();
    assert_eq!((record.topic().as_str(), record.partition().get()), (TOPIC, 0));
    assert_eq!((record.offset(), record.key(), record.value()), (at(1), None, Some(&b"b"[..])));
    assert_eq!((detached.offset(), detached.key(), detached.value()), (at(1), None, Some(&b"b"[..])));
    assert_eq!(detached.timestamp(), record.timestamp());
    assert_eq!(detached.leader_epoch(), record.leader_epoch());
    assert_eq!(detached.size_in_bytes(), record.size_in_bytes());
    assert_eq!((detached.headers().count(), record.headers().len()), (0, 0));
    assert_eq!(detached.topic_partition(), record.topic_partition());
}

#[test]
fn every_form_of_seek_finds_its_place() {
    let rig = Rig::new(1);
    rig.append_numbered(0, 10);
    let mut consumer = rig.consumer();
    let time = Timestamp::from_millis(1_700_000_000_000);
    let forms = [
        (SeekTo::Offset(at(4)), 4),
        (OffsetSpec::Earliest.into(), 0),
        (OffsetSpec::Latest.into(), 10),
        (SeekTo::Last(3), 7),
        (SeekTo::Last(11), 0),
        (SeekTo::Last(u64::MAX), 0),
        (OffsetSpec::Timestamp(time).into(), 0),
        (OffsetSpec::MaxTimestamp.into(), 0),
        (OffsetSpec::Timestamp(Timestamp::from_millis(time.as_millis() + 1)).into(), 10),
    ];
    for (form, expected) in forms {
        consumer.seek(&tp(0), form).unwrap();
        assert_eq!(consumer.position(&tp(0)).unwrap(), at(expected), "{form:?}");
        assert_eq!(consumer.lag(&tp(0)).unwrap(), u64::from(10 - expected));
        let first = read(&consumer.poll(NOW).unwrap()).first().map(|(offset, _)| *offset);
        assert_eq!(first, (expected < 10).then_some(i64::from(expected)), "{form:?}");
    }
}

#[test]
fn a_seek_into_a_batch_leaves_out_its_first_records() {
    let rig = Rig::new(1);
    rig.append_values(0, &["a", "b", "c"]);
    let mut consumer = rig.consumer();
    consumer.seek(&tp(0), at(1)).unwrap();
    assert_eq!(values(&consumer.poll(NOW).unwrap()), ["b", "c"]);
}

#[test]
fn the_end_is_where_it_was_when_it_was_asked_for() {
    let rig = Rig::new(1);
    rig.append_values(0, &["old"]);
    let mut consumer = rig.builder().topic(TOPIC).start_at(StartAt::Latest).build().unwrap();
    rig.append_values(0, &["new"]);
    assert_eq!(values(&consumer.poll(NOW).unwrap()), ["new"]);
}

#[test]
fn an_offset_outside_the_log_is_an_error_of_every_poll_until_a_seek() {
    let rig = Rig::new(1);
    rig.append_numbered(0, 3);
    let mut consumer = rig.consumer();
    consumer.seek(&tp(0), at(4)).unwrap();
    for _ in 0..3 {
        let refused = consumer.poll(NOW).unwrap_err();
        let Error::OffsetOutOfRange { requested, start, end, .. } = refused else { panic!("{refused}") };
        assert_eq!((requested, start, end), (at(4), at(0), at(3)));
        assert_eq!(consumer.position(&tp(0)).unwrap(), at(4));
    }
    consumer.seek(&tp(0), OffsetSpec::Earliest).unwrap();
    assert_eq!(consumer.poll(NOW).unwrap().len(), 3);
}

#[test]
fn a_log_start_that_passes_the_position_is_told() {
    let rig = Rig::new(1);
    rig.append_numbered(0, 10);
    let mut consumer = rig.consumer();
    consumer.seek(&tp(0), at(2)).unwrap();
    rig.log(0).delete_before(at(5)).unwrap();
    let refused = consumer.poll(NOW).unwrap_err();
    assert!(matches!(refused, Error::OffsetOutOfRange { start, .. } if start == at(5)), "{refused}");
    assert_eq!(consumer.beginning_offset(&tp(0)).unwrap(), at(5));
    let mut fresh = rig.consumer();
    assert_eq!(read(&fresh.poll(NOW).unwrap())[0].0, 5);
}

#[test]
fn reading_goes_on_across_rolled_segments() {
    let rig = Rig::with(1, LogConfig::new().durability(Durability::Os).segment_bytes(300), true);
    let mut consumer = rig.consumer();
    let mut seen = Vec::new();
    for number in 0..40 {
        rig.append_values(0, &[&format!("record {number}")]);
        rig.partitions[0].sync().unwrap();
        if number % 3 == 0 {
            seen.extend(read(&consumer.poll(NOW).unwrap()));
        }
    }
    assert!(rig.log(0).segments().len() > 5);
    seen.extend(read(&consumer.poll(NOW).unwrap()));
    let expected: Vec<_> = (0..40).map(|number| (number, format!("record {number}"))).collect();
    assert_eq!(seen, expected);
}

#[test]
fn damage_in_one_partition_does_not_stop_the_others() {
    let rig = Rig::new(2);
    rig.append_numbered(0, 3);
    rig.append_numbered(1, 3);
    rig.damage(0, 0);
    let mut consumer = rig.consumer();
    assert_eq!(values(&consumer.poll(NOW).unwrap()), ["1-0", "1-1", "1-2"]);
    let Error::Corrupt(corrupt) = consumer.poll(NOW).unwrap_err() else { panic!("no damage") };
    let next_intact = corrupt.offsets.unwrap().next_intact;
    assert_eq!((corrupt.tp.unwrap(), next_intact), (tp(0), at(1)));
    assert_eq!(consumer.position(&tp(0)).unwrap(), at(0));
    rig.append_values(1, &["more"]);
    assert_eq!(values(&consumer.poll(NOW).unwrap()), ["more"]);
    assert!(matches!(consumer.poll(NOW), Err(Error::Corrupt(_))));
    consumer.seek(&tp(0), next_intact).unwrap();
    assert_eq!(values(&consumer.poll(NOW).unwrap()), ["0-1", "0-2"]);
}

#[test]
fn committed_readers_see_no_markers_no_aborted_and_no_open_transactions() {
    let rig = Rig::new(1);
    rig.append(0, transactional(1, 0, &["aborted 0"])); // 0
    rig.append(0, transactional(2, 0, &["committed"])); // 1
    rig.append_values(0, &["plain"]); // 2
    rig.append(0, transactional(1, 1, &["aborted 1"])); // 3
    rig.append(0, marker(1, Abort)); // 4
    rig.append(0, marker(2, Commit)); // 5
    rig.append(0, transactional(1, 2, &["again"])); // 6
    rig.append(0, marker(1, Commit)); // 7
    rig.append(0, transactional(2, 1, &["open"])); // 8
    rig.append_values(0, &["behind"]); // 9
    let mut committed = rig.consumer();
    let seen = read(&committed.poll(NOW).unwrap());
    assert_eq!(seen, [(1, "committed".into()), (2, "plain".into()), (6, "again".into())]);
    assert_eq!(committed.end_offset(&tp(0)).unwrap(), at(8));
    assert_eq!((committed.position(&tp(0)).unwrap(), committed.lag(&tp(0)).unwrap()), (at(8), 0));
    let mut all = rig.builder().topic(TOPIC).isolation(Isolation::ReadUncommitted).build().unwrap();
    let offsets: Vec<_> = read(&all.poll(NOW).unwrap()).into_iter().map(|(offset, _)| offset).collect();
    assert_eq!(offsets, [0, 1, 2, 3, 6, 8, 9]);
    rig.append(0, marker(2, Abort)); // 10
    assert_eq!(values(&committed.poll(NOW).unwrap()), ["behind"]);
    assert_eq!(committed.position(&tp(0)).unwrap(), at(11));
}

#[test]
fn aborted_records_stay_hidden_when_their_marker_is_deleted_meanwhile() {
    let rig = Rig::with(1, LogConfig::new().durability(Durability::Os).segment_bytes(80), true);
    rig.append(0, transactional(1, 0, &["aborted"]));
    rig.append(0, marker(1, Abort));
    rig.append_values(0, &["plain"]);
    rig.partitions[0].sync().unwrap();
    assert_eq!(rig.log(0).segments().len(), 3);
    let source = Arc::new(Watched { fading: Some(at(2)), ..Watched::of(&rig.partitions[0]) });
    let mut consumer = source.consumer();
    let refused = consumer.poll(NOW).unwrap_err();
    assert!(
        matches!(refused, Error::OffsetOutOfRange { requested, start, .. } if (requested, start) == (at(0), at(2)))
    );
    assert_eq!(values(&consumer.poll(NOW).unwrap()), ["plain"]);
}

#[test]
fn the_beginning_is_where_it_is_when_it_is_read() {
    let rig = Rig::new(1);
    rig.append_values(0, &["old"]);
    rig.append_values(0, &["young"]);
    rig.partitions[0].sync().unwrap();
    let source = Arc::new(Watched { fleeting: Some(at(1)), ..Watched::of(&rig.partitions[0]) });
    assert_eq!(values(&source.consumer().poll(NOW).unwrap()), ["young"]);
}

#[test]
fn the_position_moves_over_what_nobody_sees() {
    let rig = Rig::new(1);
    rig.append(0, transactional(1, 0, &["aborted"]));
    rig.append(0, marker(1, Abort));
    let mut consumer = rig.consumer();
    assert!(consumer.poll(NOW).unwrap().is_empty());
    assert_eq!(consumer.position(&tp(0)).unwrap(), at(2));
}

#[test]
fn records_stay_readable_when_their_segment_and_their_cluster_are_gone() {
    let rig = Rig::with(1, LogConfig::new().durability(Durability::Os).segment_bytes(200), true);
    for number in 0..20 {
        rig.append_values(0, &[&format!("0-{number}")]);
        rig.partitions[0].sync().unwrap();
    }
    let mut consumer = rig.consumer();
    let records = consumer.poll(NOW).unwrap();
    let first = records.iter().next().unwrap().detach();
    rig.log(0).delete_before(at(19)).unwrap();
    rig.partitions[0].retire(Error::Closed).resolve(&Err(Error::Closed));
    assert!(matches!(consumer.poll(NOW), Err(Error::Closed)));
    drop((consumer, rig));
    assert_eq!(records.len(), 20);
    assert_eq!(read(&records)[19], (19, "0-19".into()));
    drop(records);
    let kept = std::thread::spawn(move || first.value().map(<[u8]>::to_vec)).join().unwrap();
    assert_eq!(kept.unwrap(), b"0-0");
}

#[test]
fn records_are_grouped_by_partition() {
    let rig = Rig::new(3);
    rig.append_numbered(0, 2);
    rig.append_numbered(2, 3);
    let records = rig.consumer().poll(NOW).unwrap();
    assert_eq!(records.partitions().cloned().collect::<Vec<_>>(), [tp(0), tp(2)]);
    let of = |partition| records.by_partition(&tp(partition)).map(|record| record.offset().get()).collect::<Vec<_>>();
    assert_eq!((of(0), of(1), of(2)), (vec![0, 1], vec![], vec![0, 1, 2]));
    let next: Vec<_> = records.next_offsets().map(|(tp, next)| (tp.clone(), next)).collect();
    assert_eq!(next, [(tp(0), at(2)), (tp(2), at(3))]);
}

#[test]
fn another_assignment_keeps_the_positions_of_those_that_stay() {
    let rig = Rig::new(3);
    (0..3).for_each(|partition| rig.append_numbered(partition, 2));
    let mut consumer = rig.builder().assign([(TOPIC, 0), (TOPIC, 1)]).build().unwrap();
    assert_eq!(consumer.poll(NOW).unwrap().len(), 4);
    consumer.assign([tp(1), tp(2), tp(2)]).unwrap();
    assert_eq!(consumer.assignment().cloned().collect::<Vec<_>>(), [tp(1), tp(2)]);
    assert_eq!(values(&consumer.poll(NOW).unwrap()), ["2-0", "2-1"]);
    assert!(matches!(consumer.seek(&tp(0), OffsetSpec::Latest), Err(Error::InvalidState { operation: "seek", .. })));
}

#[test]
fn what_cannot_be_assigned_is_refused_and_changes_nothing() {
    let rig = Rig::new(1);
    let refused = rig.builder().assign([(TOPIC, 1)]).build();
    assert!(matches!(refused, Err(Error::UnknownTopicOrPartition { partition: Some(1), .. })));
    assert!(matches!(rig.builder().assign([("a b", 1)]).build(), Err(Error::InvalidTopicName { .. })));
    assert!(matches!(rig.builder().topic("order").build(), Err(Error::UnknownTopicOrPartition { .. })));
    let mut consumer = rig.consumer();
    assert!(consumer.assign([(TOPIC, 0), (TOPIC, 9)]).is_err());
    assert_eq!(consumer.assignment().len(), 1);
    let mut nothing = rig.builder().build().unwrap();
    assert!(matches!(nothing.poll(NOW), Err(Error::InvalidState { operation: "poll", .. })));
}

#[test]
fn a_paused_partition_gives_nothing_and_keeps_its_place() {
    let rig = Rig::new(2);
    rig.append_numbered(0, 4);
    rig.append_numbered(1, 1);
    let mut consumer = rig.consumer();
    let two = crate::consumer::PollLimits { records: 2, bytes: usize::MAX };
    assert_eq!(values(&consumer.poll_with(two, NOW).unwrap()), ["0-0", "0-1"]);
    consumer.pause(&tp(0)).unwrap();
    assert_eq!(values(&consumer.poll(NOW).unwrap()), ["1-0"]);
    assert!(consumer.poll(NOW).unwrap().is_empty());
    consumer.resume(&tp(0)).unwrap();
    assert_eq!(values(&consumer.poll(NOW).unwrap()), ["0-2", "0-3"]);
}
