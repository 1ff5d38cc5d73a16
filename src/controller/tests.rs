//! Tests of the controller's decisions, and of images, replays and snapshots.

use proptest::prelude::*;

use super::control::MetadataControl;
use super::records::tests::{broker_record, partition_change, partition_record};
use super::records::{
    AbortTransactionRecord, BeginTransactionRecord, BrokerRegistrationChangeRecord, EndTransactionRecord,
    FeatureLevelRecord, FenceBrokerRecord, NoOpRecord, ProducerIdsRecord, UnfenceBrokerRecord, UnregisterBrokerRecord,
};
use super::replay::Replay;
use super::snapshot::{self, SnapshotContent, SnapshotId};
use super::*;
use crate::config::Durability;
use crate::error::{Damage, Error};
use crate::record::{BatchBuilder, BatchOptions, BuiltBatch, RecordBatchRef};
use crate::types::{Offset, ProducerId, Timestamp};

const T: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// What a broker of Kafka 4.0.2 wrote, from its first start to its second stop.
const KAFKA_LOG: &[u8] =
    include_bytes!("../../tests/fixtures/kafka-4.0-metadata/__cluster_metadata-0/00000000000000000000.log");
const KAFKA_SNAPSHOT: &[u8] = include_bytes!(
    "../../tests/fixtures/kafka-4.0-metadata/__cluster_metadata-0/00000000000000000237-0000000002.checkpoint"
);
const KAFKA_BOOTSTRAP: &[u8] = include_bytes!("../../tests/fixtures/kafka-4.0-metadata/bootstrap.checkpoint");

fn broker(id: i32) -> BrokerId {
    BrokerId::new(id).unwrap()
}

fn id(byte: u8) -> TopicId {
    TopicId::from_bytes([byte; 16])
}

fn apply(image: &mut ClusterImage, records: Vec<MetadataRecord>) {
    records.iter().for_each(|record| image.apply(record).unwrap());
}

/// A cluster of brokers 0 to `brokers` - 1, each with one data folder.
fn cluster(brokers: i32) -> ClusterImage {
    let mut image = ClusterImage::default();
    for number in 0..brokers {
        let log_dirs = vec![id(0xd0 + u8::try_from(number).unwrap())];
        let registration = records::RegisterBrokerRecord { broker_id: broker(number), log_dirs, ..broker_record() };
        image.apply(&MetadataRecord::RegisterBroker(registration)).unwrap();
    }
    image
}

fn with_topic(image: &mut ClusterImage, name: &str, topic_id: u8, config: &TopicConfig) {
    let records = create_topic(image, name, config, id(topic_id), &[broker(0)]).unwrap();
    apply(image, records);
}

fn batches(bytes: &[u8]) -> Vec<RecordBatchRef<'_>> {
    let (mut rest, mut found) = (bytes, Vec::new());
    while !rest.is_empty() {
        let batch = RecordBatchRef::from_bytes(rest).unwrap();
        rest = &rest[batch.bytes().len()..];
        found.push(batch);
    }
    found
}

fn batch_of(records: &[MetadataRecord]) -> BuiltBatch {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for record in records {
        builder.append(Some(T), None, Some(&record.encode()), &[]).unwrap();
    }
    builder.build().unwrap()
}

fn damage<T: std::fmt::Debug>(outcome: Result<T>) -> Damage {
    match outcome {
        Err(Error::Corrupt(corrupt)) => corrupt.what,
        other => panic!("{other:?}"),
    }
}

fn snapshot_of(image: &ClusterImage) -> Vec<u8> {
    let content = SnapshotContent { image, kraft_version: None, voters: None, last_timestamp: T };
    snapshot::encode(&content, LeaderEpoch::ZERO, T).unwrap()
}

// ---- topics ---------------------------------------------------------------------------------------------------------

#[test]
fn a_new_topic_has_its_configurations_and_its_partitions() {
    let mut image = cluster(1);
    let config = TopicConfig::new().partitions(2).segment_bytes(99);
    let records = create_topic(&image, "orders", &config, id(0xaa), &[broker(0)]).unwrap();
    let kinds: Vec<_> = records.iter().map(MetadataRecord::kind_and_version).collect();
    assert_eq!(kinds, [(2, 0), (4, 0), (4, 0), (4, 0), (3, 1), (3, 1)]);
    apply(&mut image, records);
    let topic = image.topic("orders").unwrap();
    assert_eq!(image.topic_by_id(id(0xaa)).unwrap().name.as_str(), "orders");
    assert_eq!(StoredConfig::from_pairs(&topic.configs).unwrap().log, *config.get_log());
    let partition = &topic.partitions[&PartitionId::new(1).unwrap()];
    assert_eq!((partition.leader, partition.leader_epoch), (Some(broker(0)), LeaderEpoch::ZERO));
    assert_eq!((&partition.isr, &partition.directories), (&vec![broker(0)], &vec![id(0xd0)]));
}

#[test]
fn replicas_and_leaders_go_round_among_the_brokers() {
    let image = cluster(3);
    let brokers = [broker(0), broker(1), broker(2)];
    let config = TopicConfig::new().partitions(3).replication_factor(2).durability(Durability::Os);
    let records = create_topic(&image, "orders", &config, id(1), &brokers).unwrap();
    let placed: Vec<_> = records
        .iter()
        .filter_map(|record| match record {
            MetadataRecord::Partition(partition) => Some((partition.leader.unwrap(), partition.replicas.clone())),
            _ => None,
        })
        .collect();
    let expected = [(0, [0, 1]), (1, [1, 2]), (2, [2, 0])];
    assert_eq!(placed, expected.map(|(leader, replicas)| (broker(leader), replicas.map(broker).to_vec())));
}

#[test]
fn names_that_kafka_cannot_tell_apart_are_refused() {
    let mut image = cluster(1);
    with_topic(&mut image, "a.b", 1, &TopicConfig::new());
    let refusal = |name: &str| create_topic(&image, name, &TopicConfig::new(), id(2), &[broker(0)]).unwrap_err();
    assert_eq!(
        refusal("a_b").to_string(),
        "topic a_b cannot be created: a.b exists already, and names that differ in '.' and '_' only collide"
    );
    assert_eq!(refusal("a.b").to_string(), "topic a.b cannot be created: a.b exists already");
    for name in ["__cluster_metadata", "__consumer_offsets", "..cluster.metadata", "a/b", ""] {
        assert!(matches!(refusal(name), Error::InvalidTopicName { .. }), "{name}");
    }
}

#[test]
fn impossible_numbers_of_partitions_and_replicas_are_refused() {
    let mut image = cluster(1);
    with_topic(&mut image, "first", 1, &TopicConfig::new().partitions(10));
    let refusal =
        |config: TopicConfig| create_topic(&image, "t", &config, id(2), &[broker(0)]).unwrap_err().to_string();
    assert_eq!(refusal(TopicConfig::new().partitions(0)), "topic t cannot have 0 partitions: 1 to 99990 are accepted");
    assert_eq!(
        refusal(TopicConfig::new().partitions(99_991)),
        "topic t cannot have 99991 partitions: all topics together may have 100000, the others have 10: up to 99990 are \
         accepted"
    );
    for replicas in [0, 2] {
        assert!(refusal(TopicConfig::new().replication_factor(replicas)).contains("1 brokers run here"));
    }
    assert!(refusal(TopicConfig::new().segment_bytes(1)).starts_with("invalid configuration"));
}

#[test]
fn a_topic_grows_but_never_shrinks() {
    let mut image = cluster(1);
    with_topic(&mut image, "orders", 1, &TopicConfig::new().partitions(3));
    let grow = |image: &ClusterImage, total| add_partitions(image, "orders", total, &[broker(0)]);
    for total in [0, 2, 3] {
        assert_eq!(
            grow(&image, total).unwrap_err().to_string(),
            format!(
                "topic orders cannot have {total} partitions: it has 3 already and none can be removed: 4 to 100000 are accepted"
            )
        );
    }
    let records = grow(&image, 5).unwrap();
    assert_eq!(records.len(), 2);
    apply(&mut image, records);
    let numbers: Vec<_> = image.topic("orders").unwrap().partitions.keys().map(|number| number.get()).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
    assert!(matches!(add_partitions(&image, "orders", 6, &[]), Err(Error::InvalidReplicationFactor { .. })));
}

#[test]
fn an_unknown_topic_is_answered_with_the_nearest_one() {
    let mut image = cluster(1);
    with_topic(&mut image, "orders", 1, &TopicConfig::new());
    for error in [
        delete_topic(&image, "order").unwrap_err(),
        add_partitions(&image, "order", 2, &[broker(0)]).unwrap_err(),
        alter_configs(&image, "order", &[]).unwrap_err(),
    ] {
        assert_eq!(error.to_string(), "unknown topic \"order\"; the nearest existing one is orders");
    }
}

#[test]
fn only_what_changes_is_recorded() {
    let mut image = cluster(1);
    with_topic(&mut image, "orders", 1, &TopicConfig::new().segment_bytes(99));
    let change = |key: &str, value: Option<&str>| (key.to_owned(), value.map(str::to_owned));
    let same = [change("segment.bytes", Some("99"))];
    assert_eq!(alter_configs(&image, "orders", &same).unwrap(), []);
    let changes = [change("segment.bytes", None), change("segment.ms", Some("60000"))];
    let records = alter_configs(&image, "orders", &changes).unwrap();
    assert_eq!(records.len(), 2);
    apply(&mut image, records);
    let configs: Vec<_> = image.topic("orders").unwrap().configs.iter().collect();
    let expected = [("flush.messages", "1"), ("retention.ms", "-1"), ("segment.ms", "60000")];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(configs, expected.iter().map(|(key, value)| (key, value)).collect::<Vec<_>>());
}

#[test]
fn a_deleted_topic_leaves_nothing_behind() {
    let mut image = cluster(1);
    let before = image.clone();
    with_topic(&mut image, "orders", 1, &TopicConfig::new());
    let records = delete_topic(&image, "orders").unwrap();
    apply(&mut image, records);
    assert_eq!(image, before);
}

#[test]
fn a_broker_leads_what_nobody_leads_and_it_is_in_sync_with() {
    let mut image = cluster(2);
    with_topic(&mut image, "orders", 1, &TopicConfig::new().partitions(3));
    let number = |number| PartitionId::new(number).unwrap();
    let change = |partition, leader, isr: Option<Vec<BrokerId>>| {
        let (partition_id, topic_id) = (number(partition), id(1));
        MetadataRecord::PartitionChange(PartitionChangeRecord {
            partition_id,
            topic_id,
            leader,
            isr,
            ..partition_change()
        })
    };
    let changes = vec![change(0, Some(None), None), change(1, Some(None), Some(vec![broker(1)]))];
    apply(&mut image, changes);
    let records = elect_leaders(&image, broker(0));
    assert_eq!(records, [change(0, Some(Some(broker(0))), None)]);
    apply(&mut image, records);
    let first = &image.topic("orders").unwrap().partitions[&number(0)];
    assert_eq!((first.leader, first.leader_epoch.get(), first.partition_epoch), (Some(broker(0)), 2, 2));
    assert_eq!(elect_leaders(&image, broker(0)), []);
}

// ---- images ---------------------------------------------------------------------------------------------------------

#[test]
fn records_that_change_what_does_not_exist_are_damage_and_change_nothing() {
    let mut image = cluster(1);
    with_topic(&mut image, "orders", 1, &TopicConfig::new());
    let before = image.clone();
    use MetadataRecord as R;
    for record in [
        R::Topic(TopicRecord { name: "orders".into(), topic_id: id(9) }),
        R::Topic(TopicRecord { name: "other".into(), topic_id: id(1) }),
        R::Topic(TopicRecord { name: "other".into(), topic_id: TopicId::ZERO }),
        R::Topic(TopicRecord { name: "../x".into(), topic_id: id(9) }),
        R::Partition(partition_record()),
        R::PartitionChange(partition_change()),
        R::PartitionChange(PartitionChangeRecord {
            topic_id: id(1),
            partition_id: PartitionId::MAX,
            ..partition_change()
        }),
        R::RemoveTopic(RemoveTopicRecord { topic_id: id(9) }),
        R::FenceBroker(FenceBrokerRecord { id: broker(9), epoch: 1 }),
        R::UnfenceBroker(UnfenceBrokerRecord { id: broker(9), epoch: 1 }),
        R::UnregisterBroker(UnregisterBrokerRecord { broker_id: broker(9), broker_epoch: 1 }),
    ] {
        assert!(matches!(damage(image.apply(&record)), Damage::Structure(_)), "{record:?}");
        assert_eq!(image, before, "{record:?}");
    }
}

#[test]
fn configurations_of_a_topic_that_does_not_exist_say_nothing() {
    let mut image = cluster(1);
    let before = image.clone();
    image.apply(&config_changes("gone", &BTreeMap::new(), &BTreeMap::from([("a".into(), "b".into())]))[0]).unwrap();
    assert_eq!(image, before);
}

#[test]
fn brokers_features_and_producer_ids_follow_their_records() {
    let mut image = cluster(1);
    use MetadataRecord as R;
    let change = |fenced, in_controlled_shutdown, log_dirs| {
        R::BrokerRegistrationChange(BrokerRegistrationChangeRecord {
            broker_id: broker(0),
            broker_epoch: 2,
            fenced,
            in_controlled_shutdown,
            log_dirs,
        })
    };
    let state = |image: &ClusterImage| {
        let registered = image.broker(broker(0)).unwrap();
        (registered.fenced, registered.in_controlled_shutdown, registered.log_dirs.clone())
    };
    apply(&mut image, vec![change(1, 1, vec![])]);
    assert_eq!(state(&image), (true, true, vec![id(0xd0)]));
    apply(&mut image, vec![change(-1, 0, vec![id(7)])]);
    assert_eq!(state(&image), (false, true, vec![id(7)]));
    apply(&mut image, vec![R::FenceBroker(FenceBrokerRecord { id: broker(0), epoch: 2 })]);
    assert!(state(&image).0);
    apply(&mut image, vec![R::UnfenceBroker(UnfenceBrokerRecord { id: broker(0), epoch: 2 })]);
    assert!(!state(&image).0);
    apply(&mut image, vec![R::UnregisterBroker(UnregisterBrokerRecord { broker_id: broker(0), broker_epoch: 2 })]);
    assert_eq!(image.brokers().count(), 0);

    let level = |feature_level| R::FeatureLevel(FeatureLevelRecord { name: "x.version".into(), feature_level });
    apply(&mut image, vec![level(3)]);
    assert_eq!(image.feature("x.version"), Some(3));
    apply(&mut image, vec![level(0)]);
    assert_eq!(image.feature("x.version"), None);
    let next_producer_id = ProducerId::new(2000).unwrap();
    apply(&mut image, vec![R::ProducerIds(ProducerIdsRecord { broker_id: None, broker_epoch: -1, next_producer_id })]);
    assert_eq!(image.next_producer_id(), next_producer_id);
}

#[test]
fn configurations_of_brokers_are_kept() {
    let mut image = ClusterImage::default();
    let config = |value: Option<&str>| {
        let (name, value) = ("log.retention.ms".to_owned(), value.map(str::to_owned));
        MetadataRecord::Config(ConfigRecord { resource_type: 4, resource_name: "1".into(), name, value })
    };
    apply(&mut image, vec![config(Some("1"))]);
    assert_eq!(image.to_records().collect::<Vec<_>>(), [config(Some("1"))]);
    apply(&mut image, vec![config(None)]);
    assert_eq!(image, ClusterImage::default());
}

// ---- replays and snapshots ------------------------------------------------------------------------------------------

#[test]
fn a_transaction_takes_effect_at_its_end_or_not_at_all() {
    let topic = |name: &str, byte| MetadataRecord::Topic(TopicRecord { name: name.into(), topic_id: id(byte) });
    let begin = MetadataRecord::BeginTransaction(BeginTransactionRecord { name: None });
    let end = MetadataRecord::EndTransaction(EndTransactionRecord {});
    let abort = MetadataRecord::AbortTransaction(AbortTransactionRecord { reason: None });
    let removal = MetadataRecord::RemoveTopic(RemoveTopicRecord { topic_id: id(1) });
    let mut replay = Replay::default();
    for record in [topic("a", 1), begin.clone(), removal.clone(), topic("b", 2)] {
        replay.apply(&record).unwrap();
    }
    assert!(replay.in_transaction() && replay.image().topic("a").is_some() && replay.removed().is_empty());
    replay.apply(&abort).unwrap();
    assert!(replay.image().topic("a").is_some() && replay.image().topic("b").is_none());
    for record in [begin.clone(), removal, topic("b", 2), end.clone()] {
        replay.apply(&record).unwrap();
    }
    assert!(!replay.in_transaction() && replay.image().topic("b").is_some());
    assert_eq!(replay.removed().iter().collect::<Vec<_>>(), [&id(1)]);
    damage(replay.apply(&end));
    damage(replay.apply(&abort));
    replay.apply(&begin).unwrap();
    damage(replay.apply(&begin));
}

/// The image after the batches of a metadata log.
fn apply_batches<'a>(batches: impl IntoIterator<Item = RecordBatchRef<'a>>) -> Result<ClusterImage> {
    let mut replay = Replay::default();
    batches.into_iter().try_for_each(|batch| replay.apply_batch(&batch, Offset::ZERO))?;
    Ok(replay.into_parts().0)
}

#[test]
fn damage_in_a_record_names_its_offset() {
    let bad = MetadataRecord::RemoveTopic(RemoveTopicRecord { topic_id: id(1) });
    let batch = batch_of(&[MetadataRecord::NoOp(NoOpRecord {}), bad]);
    match apply_batches([batch.decode().unwrap().view()]) {
        Err(Error::Corrupt(corrupt)) => assert_eq!(corrupt.offsets.unwrap().first, Offset::from(1)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_log_and_the_snapshot_of_kafka_give_the_same_image() {
    let log = batches(KAFKA_LOG).into_iter().filter(|batch| batch.header().base_offset() < Offset::from(237));
    let from_log = apply_batches(log).unwrap();
    let (from_snapshot, _) = snapshot::decode(KAFKA_SNAPSHOT).unwrap().into_parts();
    assert_eq!(sorted_records(&from_log), sorted_records(&from_snapshot));
    let topics: Vec<_> = from_log.topics().map(|topic| (topic.name.as_str(), topic.partitions.len())).collect();
    assert_eq!(topics, [("events", 2), ("orders", 3)]);
    assert_eq!(from_log.topic("orders").unwrap().configs["retention.ms"], "86400000");
    assert_eq!((from_log.feature("metadata.version"), from_log.feature("group.version")), (Some(25), Some(1)));
    assert_eq!(from_log.next_producer_id(), ProducerId::new(1000).unwrap());
    assert_eq!(from_log.broker(broker(1)).unwrap().end_points[0].port, 29092);
}

/// The records of an image; Kafka lists the features of a node in any order.
fn sorted_records(image: &ClusterImage) -> Vec<MetadataRecord> {
    let mut records: Vec<_> = image.to_records().collect();
    for record in &mut records {
        match record {
            MetadataRecord::RegisterBroker(node) => node.features.sort_by(|left, right| left.name.cmp(&right.name)),
            MetadataRecord::RegisterController(node) => node.features.sort_by(|left, right| left.name.cmp(&right.name)),
            _ => {}
        }
    }
    records
}

#[test]
fn every_record_of_kafka_survives_being_written_again() {
    let mut count = 0;
    for batch in batches(KAFKA_LOG).iter().chain(&batches(KAFKA_SNAPSHOT)).filter(|batch| !batch.header().is_control())
    {
        for record in batch.records() {
            let decoded = MetadataRecord::decode(record.value().unwrap()).unwrap();
            assert_eq!(MetadataRecord::decode(&decoded.encode()).unwrap(), decoded);
            count += 1;
        }
    }
    assert_eq!(count, 259);
}

#[test]
fn an_empty_cluster_begins_with_what_kafka_formatted() {
    let replay = snapshot::decode(KAFKA_BOOTSTRAP).unwrap();
    let records: Vec<_> = replay.image().to_records().collect();
    assert_eq!(records.len(), 3);
    assert!(matches!(&records[0], MetadataRecord::FeatureLevel(feature) if feature.name == "metadata.version"));
    let written = snapshot::encode_bootstrap(&records, T).unwrap();
    assert_eq!(snapshot::decode(&written).unwrap().image(), replay.image());
}

#[test]
fn a_snapshot_gives_back_the_image_and_the_quorum() {
    let (image, _) = snapshot::decode(KAFKA_SNAPSHOT).unwrap().into_parts();
    let content = SnapshotContent {
        image: &image,
        kraft_version: Some(&[0, 0, 0, 1, 0]),
        voters: Some(&[0, 0, 1, 0]),
        last_timestamp: T,
    };
    let epoch = LeaderEpoch::new(7).unwrap();
    let bytes = snapshot::encode(&content, epoch, T).unwrap();
    let replay = snapshot::decode(&bytes).unwrap();
    assert_eq!(replay.image(), &image);
    assert_eq!(replay.kraft_version.as_deref(), Some(&[0, 0, 0, 1, 0][..]));
    assert_eq!(replay.voters.as_deref(), Some(&[0, 0, 1, 0][..]));
    assert!(batches(&bytes).iter().all(|batch| batch.header().leader_epoch() == Some(epoch)));
}

#[test]
fn a_large_snapshot_has_batches_of_bounded_size() {
    let mut image = cluster(1);
    with_topic(&mut image, "orders", 1, &TopicConfig::new().partitions(20_000));
    let bytes = snapshot_of(&image);
    let batches = batches(&bytes);
    assert!(batches.len() > 4 && batches.iter().all(|batch| batch.bytes().len() < 600 << 10));
    assert_eq!(snapshot::decode(&bytes).unwrap().image(), &image);
}

#[test]
fn a_snapshot_without_all_of_its_frame_is_damage() {
    let bytes = snapshot_of(&cluster(1));
    let parts = batches(&bytes);
    assert_eq!(parts.len(), 3);
    let joined = |order: &[usize]| order.iter().flat_map(|index| parts[*index].bytes()).copied().collect::<Vec<u8>>();
    for order in [&[][..], &[0], &[0, 1], &[1, 2], &[0, 2], &[0, 1, 2, 2], &[0, 0, 1, 2]] {
        damage(snapshot::decode(&joined(order)));
    }
    for position in 17..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[position] ^= 1;
        if !matches!(snapshot::decode(&flipped), Err(Error::Corrupt(_) | Error::InvalidRecord { .. })) {
            // The checksum covers neither a batch's offset nor its epoch.
            let at = parts.iter().map(|part| part.bytes().as_ptr() as usize - bytes.as_ptr() as usize);
            let inside = at.filter(|at| *at <= position).max().unwrap();
            assert!((12..16).contains(&(position - inside)), "{position}");
        }
    }
    for length in 0..bytes.len() {
        damage(snapshot::decode(&bytes[..length]));
    }
}

#[test]
fn snapshots_are_named_as_kafka_names_them() {
    let snapshot = SnapshotId { end_offset: Offset::from(237), epoch: LeaderEpoch::new(2).unwrap() };
    assert_eq!(snapshot.file_name(), "00000000000000000237-0000000002.checkpoint");
    assert_eq!(SnapshotId::from_file_name(&snapshot.file_name()), Some(snapshot));
    for name in
        ["", "237-2.checkpoint", "00000000000000000237-0000000002.checkpoint.part", "00000000000000000237.snapshot"]
    {
        assert_eq!(SnapshotId::from_file_name(name), None, "{name}");
    }
}

#[test]
fn a_control_batch_needs_a_record() {
    assert!(matches!(MetadataControl::to_batch(&[], T), Err(Error::InvalidRecord { .. })));
}

/// What a caller may ask of the controller.
#[derive(Debug, Clone)]
enum Step {
    Create(u8, u32),
    Grow(u8, u32),
    Alter(u8, bool),
    Delete(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let topic = 0u8..6;
    let step = prop_oneof![
        (topic.clone(), 0u32..5).prop_map(|(topic, count)| Step::Create(topic, count)),
        (topic.clone(), 0u32..9).prop_map(|(topic, count)| Step::Grow(topic, count)),
        (topic.clone(), any::<bool>()).prop_map(|(topic, set)| Step::Alter(topic, set)),
        topic.prop_map(Step::Delete),
    ];
    prop::collection::vec(step, 0..40)
}

proptest! {
    #[test]
    fn what_the_controller_decides_applies_and_a_snapshot_says_the_same(steps in steps()) {
        let mut image = cluster(2);
        let mut log = Vec::new();
        let brokers = [broker(0), broker(1)];
        for (count, step) in steps.into_iter().enumerate() {
            let name = |topic: u8| format!("topic-{topic}");
            let decided = match step {
                Step::Create(topic, partitions) => {
                    let config = TopicConfig::new().partitions(partitions).replication_factor(2);
                    create_topic(&image, &name(topic), &config, id(u8::try_from(count).unwrap() + 1), &brokers)
                }
                Step::Grow(topic, partitions) => add_partitions(&image, &name(topic), partitions, &brokers),
                Step::Alter(topic, set) => {
                    alter_configs(&image, &name(topic), &[("segment.ms".into(), set.then(|| "7".into()))])
                }
                Step::Delete(topic) => delete_topic(&image, &name(topic)),
            };
            let Ok(records) = decided else { continue };
            for record in &records {
                image.apply(record).unwrap();
            }
            log.extend(records);
        }
        let from_snapshot = snapshot::decode(&snapshot_of(&image)).unwrap();
        prop_assert_eq!(from_snapshot.image(), &image);
        let mut replay = Replay::from_image(cluster(2));
        for record in &log {
            replay.apply(&MetadataRecord::decode(&record.encode()).unwrap()).unwrap();
        }
        prop_assert_eq!(replay.image(), &image);
        prop_assert!(replay.removed().iter().all(|removed| image.topic_by_id(*removed).is_none()));
    }
}
