//! Topics of a cluster: created, listed, changed, deleted, there after a restart, and after a crash at any moment.

use std::path::Path;

use logstead::Error;
use logstead::cluster::{Cluster, Driver};
use logstead::config::{Durability, LogConfig, TopicConfig};
use logstead::log::LogDirectory;
use logstead::storage::{CrashModel, Fault, MemStorage, OperationKind, StopPoint, Storage};
use logstead::types::{Offset, TopicPartition};

use crate::support::{FOLDER, batch_of, now};

fn open(storage: &MemStorage) -> logstead::Result<Cluster> {
    Cluster::builder().storage(storage.clone()).driver(Driver::Manual).seed(7).open(FOLDER)
}

fn folders(storage: &MemStorage) -> Vec<String> {
    let entries = storage.list(Path::new(FOLDER)).unwrap();
    entries.into_iter().map(|entry| entry.name).filter(|name| name.starts_with("orders")).collect()
}

/// Everything that a user can tell of the topics.
fn state(cluster: &Cluster) -> Vec<(String, u32, u64)> {
    let topics = cluster.topics();
    topics.iter().map(|t| (t.name().to_owned(), t.partition_count(), t.config().get_segment_bytes())).collect()
}

#[test]
fn a_topic_is_created_once_and_is_there_after_a_restart() {
    let storage = MemStorage::new();
    let cluster = open(&storage).unwrap();
    let config = TopicConfig::new().partitions(3).segment_bytes(1 << 20).durability(Durability::Os);
    let created = cluster.create_topic("orders", config).unwrap();
    assert_eq!(created.partitions().count(), 3);
    assert_eq!(cluster.topic("orders").unwrap(), created);
    cluster.close().unwrap();
    let cluster = open(&storage).unwrap();
    assert!(cluster.report().was_clean);
    assert_eq!(cluster.topics(), [created]);
    assert_eq!(cluster.topic("orders").unwrap().config().get_durability(), Durability::Os);
}

#[test]
fn after_a_clean_stop_no_partition_folder_is_looked_at() {
    let storage = MemStorage::new();
    let directory = LogDirectory::options().storage(storage.clone()).seed(1).open(FOLDER).unwrap();
    directory.open_log(&TopicPartition::new("orders", 0).unwrap(), None, LogConfig::new(), now()).unwrap();
    directory.close().unwrap();
    let cluster = open(&storage).unwrap();
    assert_eq!(cluster.report().adopted.len(), 1);
    cluster.close().unwrap();
    let unreadable =
        || Fault::nth(0).of_kind(OperationKind::Read).on_paths_ending_with("orders-0/partition.metadata").sticky();
    storage.fail(unreadable());
    let cluster = open(&storage).unwrap();
    assert_eq!((cluster.report().set_aside.len(), cluster.topics().len()), (0, 1));
    let killed = storage.crash_image(&CrashModel::KeepAll, 1);
    killed.fail(unreadable());
    assert!(open(&killed).is_err(), "after a crash the folder must be looked at");
}

#[test]
fn names_and_numbers_that_cannot_be_are_refused_with_what_would_be() {
    let cluster = open(&MemStorage::new()).unwrap();
    cluster.create_topic("order.items", TopicConfig::new().partitions(2)).unwrap();
    let create = |name: &str, partitions| cluster.create_topic(name, TopicConfig::new().partitions(partitions));
    for name in ["", ".", "..", "a/b", "a b", &"x".repeat(250)] {
        assert!(matches!(create(name, 1), Err(Error::InvalidTopicName { .. })), "{name:?}");
    }
    for name in ["order.items", "order_items"] {
        let refused = create(name, 1);
        assert!(matches!(&refused, Err(Error::TopicAlreadyExists { existing, .. }) if existing == "order.items"));
    }
    assert!(matches!(create("none", 0), Err(Error::InvalidPartitions { requested: 0, .. })));
    let three = TopicConfig::new().replication_factor(3);
    let refused = cluster.create_topic("three", three);
    assert!(matches!(refused, Err(Error::InvalidReplicationFactor { requested: 3, brokers: 1, .. })));
    for total in [0, 1, 2] {
        let refused = cluster.add_partitions("order.items", total).unwrap_err();
        assert!(matches!(refused, Error::InvalidPartitions { .. }), "{refused}");
        assert!(refused.to_string().contains("it has 2 already"), "{refused}");
    }
    let refused = cluster.topic("order.itms").unwrap_err();
    assert_eq!(refused.to_string(), "unknown topic \"order.itms\"; the nearest existing one is order.items");
    let refused = cluster.alter_topic("order.items", [("segment.byte", Some("1")), ("segment.ms", Some("0"))]);
    assert!(matches!(refused, Err(Error::InvalidConfig { violations }) if violations.len() == 2));
    assert_eq!(cluster.topics().len(), 1);
}

#[test]
fn partitions_and_configurations_change_while_the_topic_is_used() {
    let storage = MemStorage::new();
    let cluster = open(&storage).unwrap();
    cluster.create_topic("orders", TopicConfig::new()).unwrap();
    assert_eq!(cluster.describe_topic("orders").unwrap().len(), 1);
    assert_eq!(cluster.add_partitions("orders", 4).unwrap().partition_count(), 4);
    let altered = cluster.alter_topic("orders", [("segment.bytes", Some("99999"))]).unwrap();
    assert_eq!(altered.config().get_segment_bytes(), 99_999);
    let reset = cluster.alter_topic("orders", [("segment.bytes", None::<&str>)]).unwrap();
    assert_eq!(reset.config(), &LogConfig::new());
    drop(cluster);
    assert_eq!(state(&open(&storage).unwrap()), [("orders".to_owned(), 4, 1 << 30)]);
}

#[test]
fn a_deleted_topic_is_gone_and_its_successor_begins_empty() {
    let storage = MemStorage::new();
    let cluster = open(&storage).unwrap();
    let first = cluster.create_topic("orders", TopicConfig::new().partitions(2)).unwrap();
    cluster.describe_topic("orders").unwrap();
    assert_eq!(folders(&storage), ["orders-0", "orders-1"]);
    cluster.delete_topic("orders").unwrap();
    assert!(folders(&storage).iter().all(|name| name.ends_with("-delete")), "their files stay for a while");
    assert!(matches!(cluster.topic("orders"), Err(Error::UnknownTopicOrPartition { .. })));
    let second = cluster.create_topic("orders", TopicConfig::new()).unwrap();
    assert_ne!(first.id(), second.id());
    assert_eq!(cluster.describe_topic("orders").unwrap()[0].log_end_offset, Offset::ZERO);
}

#[test]
fn a_folder_that_no_topic_knows_is_set_aside_and_one_without_metadata_is_adopted() {
    let storage = MemStorage::new();
    let directory = LogDirectory::options().storage(storage.clone()).open(FOLDER).unwrap();
    let tp = TopicPartition::new("orders", 1).unwrap();
    let log = directory.open_log(&tp, None, LogConfig::new(), now()).unwrap();
    log.begin_epoch(logstead::types::LeaderEpoch::ZERO).unwrap();
    log.append_as_leader(&mut batch_of(5, b"value"), now()).unwrap();
    directory.close().unwrap();
    let cluster = open(&storage).unwrap();
    assert_eq!(cluster.report().adopted.len(), 1);
    let partitions = cluster.describe_topic("orders").unwrap();
    assert_eq!(partitions.iter().map(|p| p.high_watermark).collect::<Vec<_>>(), [Offset::ZERO, Offset::from(5)]);
    cluster.close().unwrap();

    let directory = LogDirectory::options().storage(storage.clone()).open(FOLDER).unwrap();
    let stranger = TopicPartition::new("orders-of-somebody", 0).unwrap();
    directory.open_log(&stranger, None, LogConfig::new(), now()).unwrap();
    directory.close().unwrap();
    let cluster = open(&storage).unwrap();
    let [aside] = cluster.report().set_aside.as_slice() else { panic!("{:?}", cluster.report()) };
    assert!(aside.to_string_lossy().ends_with("-stray"), "{aside:?}");
    assert_eq!(cluster.topics().len(), 1);
}

#[test]
fn a_folder_has_one_owner_until_it_is_closed() {
    let storage = MemStorage::new();
    let cluster = open(&storage).unwrap();
    assert!(matches!(open(&storage), Err(Error::AlreadyOpen { .. })));
    cluster.close().unwrap();
    open(&storage).unwrap();
}

/// One change of the topics, and what is there before and after it.
type Change = fn(&Cluster) -> logstead::Result<()>;

fn crash_everywhere(prepare: Change, change: Change) {
    let base = MemStorage::new();
    let cluster = open(&base).unwrap();
    prepare(&cluster).unwrap();
    let before = state(&cluster);
    cluster.close().unwrap();
    let opened_at = {
        let storage = base.crash_image(&CrashModel::KeepAll, 0);
        let cluster = open(&storage).unwrap();
        let opened_at = storage.operation_count();
        change(&cluster).unwrap();
        let after = state(&cluster);
        (opened_at, storage.operation_count(), after)
    };
    let (first, last, after) = opened_at;
    assert_ne!(before, after);
    let mut seen = [0, 0];
    for call in first..last {
        for point in [StopPoint::Before(call), StopPoint::After(call)] {
            let storage = base.crash_image(&CrashModel::KeepAll, 0);
            let cluster = open(&storage).unwrap();
            storage.stop_at(point);
            let _ = change(&cluster);
            drop(cluster);
            for (seed, model) in
                [CrashModel::KeepAll, CrashModel::DropAll, CrashModel::Subset, CrashModel::Subset].iter().enumerate()
            {
                let image = storage.crash_image(model, seed as u64);
                let cluster = open(&image).unwrap();
                let found = state(&cluster);
                assert!(found == before || found == after, "{point:?} {model:?}: {found:?}");
                seen[usize::from(found == after)] += 1;
                for (name, ..) in &found {
                    for partition in cluster.describe_topic(name).unwrap() {
                        assert!(partition.is_writable, "{point:?} {model:?}");
                    }
                }
                cluster.close().unwrap();
                assert!(open(&image).unwrap().report().was_clean);
            }
        }
    }
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
}

fn create(cluster: &Cluster) -> logstead::Result<()> {
    cluster.create_topic("orders", TopicConfig::new().partitions(2)).map(drop)
}

fn create_and_use(cluster: &Cluster) -> logstead::Result<()> {
    create(cluster)?;
    cluster.describe_topic("orders").map(drop)
}

#[test]
fn a_crash_leaves_a_topic_created_or_not() {
    crash_everywhere(|_| Ok(()), create);
}

#[test]
fn a_crash_leaves_partitions_added_or_not() {
    crash_everywhere(create_and_use, |cluster| cluster.add_partitions("orders", 5).map(drop));
}

#[test]
fn a_crash_leaves_a_configuration_changed_or_not() {
    crash_everywhere(create_and_use, |cluster| {
        cluster.alter_topic("orders", [("segment.bytes", Some("4096")), ("segment.ms", Some("5"))]).map(drop)
    });
}

#[test]
fn a_crash_leaves_a_topic_deleted_or_not() {
    crash_everywhere(create_and_use, |cluster| cluster.delete_topic("orders"));
}
