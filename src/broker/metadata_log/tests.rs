//! Tests of the metadata log: a real `LogDirectory` on a disk in memory that loses power and fails calls.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::config::TopicConfig;
use crate::controller::records::{BeginTransactionRecord, NoOpRecord, RemoveTopicRecord, TopicRecord};
use crate::controller::{create_topic, delete_topic};
use crate::storage::{CrashModel, Fault, MemStorage, OpenMode, OperationKind, StopPoint, Storage, SyncMode, read_file};
use crate::time::Instant;

const MODELS: [CrashModel; 4] = [CrashModel::KeepAll, CrashModel::DropAll, CrashModel::Prefix, CrashModel::Subset];
const FOLDER: &str = "/data/__cluster_metadata-0";

macro_rules! kafka {
    ($name:literal) => {
        (
            concat!("__cluster_metadata-0/", $name),
            include_bytes!(concat!("../../../tests/fixtures/kafka-4.0-metadata/__cluster_metadata-0/", $name)),
        )
    };
}
/// The files of a log.dir that a broker of Kafka 4.0.2 wrote.
const KAFKA: [(&str, &[u8]); 8] = [
    ("meta.properties", include_bytes!("../../../tests/fixtures/kafka-4.0-metadata/meta.properties")),
    ("bootstrap.checkpoint", include_bytes!("../../../tests/fixtures/kafka-4.0-metadata/bootstrap.checkpoint")),
    kafka!("00000000000000000000.log"),
    kafka!("00000000000000000204-0000000002.checkpoint"),
    kafka!("00000000000000000237-0000000002.checkpoint"),
    kafka!("leader-epoch-checkpoint"),
    kafka!("partition.metadata"),
    kafka!("quorum-state"),
];

fn now() -> Now {
    Now { mono: Instant::from_nanos(0), wall: Timestamp::from_millis(1_700_000_000_000) }
}

fn broker() -> BrokerId {
    BrokerId::ZERO
}

fn id(byte: u8) -> TopicId {
    TopicId::from_bytes([byte; 16])
}

/// An open metadata log, the image of its end, and the folder that it is in.
#[derive(Debug)]
struct Opened {
    metadata: MetadataLog,
    image: ClusterImage,
    report: MetadataReport,
    directory: LogDirectory,
}

fn open_as(storage: &MemStorage, broker: BrokerId) -> Result<Opened> {
    let directory = LogDirectory::options().storage(storage.clone()).seed(1).open("/data")?;
    let (metadata, image, report) = MetadataLog::open(&directory, broker, now(), &mut Rng::from_seed(2))?;
    Ok(Opened { metadata, image, report, directory })
}

fn open(storage: &MemStorage) -> Result<Opened> {
    open_as(storage, broker())
}

impl Opened {
    fn change(&mut self, records: Vec<MetadataRecord>) -> Result<()> {
        self.metadata.append(&records, now())?;
        records.iter().try_for_each(|record| self.image.apply(record))
    }

    fn create(&mut self, name: &str, topic_id: u8, partitions: u32) -> Result<()> {
        // Kafka's retention is not stored: the golden bytes hold none.
        let week = std::time::Duration::from_secs(7 * 24 * 3600);
        let config = TopicConfig::new().partitions(partitions).retention_time(Some(week));
        let records = create_topic(&self.image, name, &config, id(topic_id), &[broker()])?;
        self.change(records)
    }

    fn close(self) {
        self.directory.close().unwrap();
    }

    fn snapshot(&mut self) -> Result<()> {
        self.metadata.snapshot(&self.image, now())
    }
}

/// Topics with the number of their partitions.
fn topics(image: &ClusterImage) -> BTreeMap<String, usize> {
    image.topics().map(|topic| (topic.name.to_string(), topic.partitions.len())).collect()
}

fn expected(list: &[(&str, usize)]) -> BTreeMap<String, usize> {
    list.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

fn names(storage: &MemStorage, ending: &str) -> Vec<String> {
    let entries = storage.list(Path::new(FOLDER)).unwrap();
    entries.into_iter().map(|entry| entry.name).filter(|name| name.ends_with(ending)).collect()
}

fn write(storage: &MemStorage, path: &str, bytes: &[u8]) {
    let file = storage.open(Path::new(path), OpenMode::Create).unwrap();
    file.set_len(0).unwrap();
    file.write_all_at(0, bytes).unwrap();
    file.sync(SyncMode::All).unwrap();
    storage.sync_dir(Path::new(path).parent().unwrap()).unwrap();
}

fn read(storage: &MemStorage, path: &str) -> Vec<u8> {
    read_file(storage, Path::new(path), 1 << 30).unwrap().unwrap()
}

fn flip(storage: &MemStorage, path: &str, position: usize) {
    let mut bytes = read(storage, path);
    bytes[position] ^= 1;
    write(storage, path, &bytes);
}

fn kafkas_folder() -> MemStorage {
    let storage = MemStorage::new();
    storage.create_dir(Path::new("/data")).unwrap();
    storage.create_dir(Path::new(FOLDER)).unwrap();
    for (name, bytes) in KAFKA {
        write(&storage, &format!("/data/{name}"), bytes);
    }
    storage.sync_dir(Path::new("/")).unwrap();
    storage
}

#[test]
fn a_new_folder_begins_a_cluster_with_one_broker() {
    let storage = MemStorage::new();
    let opened = open(&storage).unwrap();
    assert!(opened.report.is_new);
    assert_eq!((opened.report.epoch, opened.metadata.epoch().get()), (1, 1));
    assert_eq!(opened.image.feature(METADATA_VERSION), Some(25));
    let registered = opened.image.broker(broker()).unwrap();
    assert_eq!(registered.log_dirs, [opened.directory.identity().directory_id.unwrap()]);
    assert_eq!((registered.fenced, registered.broker_epoch), (false, 2));
    assert_eq!(opened.metadata.log().high_watermark(), opened.metadata.log().log_end_offset());
    assert!(opened.directory.report().unknown_entries.is_empty());
    assert_eq!(
        String::from_utf8(read(&storage, "/data/__cluster_metadata-0/quorum-state")).unwrap(),
        "{\"clusterId\":\"\",\"leaderId\":0,\"leaderEpoch\":1,\"votedId\":-1,\"appliedOffset\":0,\
         \"currentVoters\":[{\"voterId\":0}],\"data_version\":0}"
    );
    let bootstrap = crate::controller::snapshot::decode(&read(&storage, "/data/bootstrap.checkpoint")).unwrap();
    assert_eq!(bootstrap.image().feature(METADATA_VERSION), Some(25));
}

#[test]
fn what_was_appended_is_there_when_the_log_is_opened_again() {
    let storage = MemStorage::new();
    let mut opened = open(&storage).unwrap();
    opened.create("orders", 1, 3).unwrap();
    opened.create("gone", 2, 1).unwrap();
    let records = delete_topic(&opened.image, "gone").unwrap();
    opened.change(records).unwrap();
    let image = opened.image.clone();
    opened.close();
    let again = open(&storage).unwrap();
    assert_eq!(again.image, image);
    assert_eq!((again.report.epoch, again.report.is_new, again.report.snapshot), (2, false, None));
    assert_eq!(again.metadata.removed_topic_ids().collect::<Vec<_>>(), [id(2)]);
    assert!(again.directory.report().foreign_file.is_none());
}

#[test]
fn opening_adds_one_control_batch_and_nothing_else() {
    let storage = MemStorage::new();
    drop(open(&storage).unwrap());
    for expected in 2..6 {
        let opened = open(&storage).unwrap();
        assert_eq!(opened.report.epoch, expected);
        // The features and the broker, once; and one change of the leader for each opening.
        assert_eq!(opened.metadata.log().log_end_offset().get(), 2 + i64::from(expected));
        assert!(opened.directory.report().foreign_file.is_none());
    }
}

#[test]
fn an_append_that_is_too_large_changes_nothing() {
    let storage = MemStorage::new();
    let mut opened = open(&storage).unwrap();
    let end = opened.metadata.log().log_end_offset();
    let refused = opened.metadata.append(&[config_of(9 << 20)], now());
    assert!(matches!(refused, Err(Error::RecordTooLarge { .. })), "{refused:?}");
    assert_eq!(opened.metadata.log().log_end_offset(), end);
    opened.create("orders", 1, 1).unwrap();
    assert_eq!(topics(&open_again(opened, &storage).image), expected(&[("orders", 1)]));
}

/// A record of about this many bytes.
fn config_of(bytes: usize) -> MetadataRecord {
    MetadataRecord::Config(crate::controller::records::ConfigRecord {
        resource_type: 4,
        resource_name: String::new(),
        name: "x".into(),
        value: Some("v".repeat(bytes)),
    })
}

fn open_again(opened: Opened, storage: &MemStorage) -> Opened {
    drop(opened);
    open(storage).unwrap()
}

#[test]
fn a_topic_of_the_most_partitions_fits_one_batch_and_brings_about_a_snapshot() {
    let storage = MemStorage::new();
    let mut opened = open(&storage).unwrap();
    assert!(!opened.metadata.maybe_snapshot(&opened.image, now()).unwrap());
    opened.create("orders", 1, 100_000).unwrap();
    assert!(opened.metadata.maybe_snapshot(&opened.image, now()).unwrap());
    assert!(!opened.metadata.maybe_snapshot(&opened.image, now()).unwrap());
    let image = opened.image.clone();
    let again = open_again(opened, &storage);
    assert_eq!(again.image, image);
    assert_eq!((again.report.snapshot, again.report.replayed_records), (Some(Offset::from(100_005)), 0));
}

#[test]
fn two_snapshots_stay_and_the_log_from_the_older_one_on() {
    let storage = MemStorage::new();
    let mut opened = open(&storage).unwrap();
    let mut ends = Vec::new();
    for topic in 1..5 {
        opened.create(&format!("topic-{topic}"), topic, 1).unwrap();
        opened.snapshot().unwrap();
        ends.push(opened.metadata.log().log_end_offset());
    }
    assert_eq!(names(&storage, ".checkpoint").len(), 2);
    assert_eq!(opened.metadata.log().log_start_offset(), ends[2]);
    let image = opened.image.clone();
    let again = open_again(opened, &storage);
    assert_eq!((&again.image, again.report.snapshot), (&image, Some(ends[3])));
}

#[test]
fn a_damaged_snapshot_is_replaced_by_the_one_before_and_the_log() {
    let storage = MemStorage::new();
    let mut opened = open(&storage).unwrap();
    for topic in 1..4 {
        opened.create(&format!("topic-{topic}"), topic, 1).unwrap();
        opened.snapshot().unwrap();
    }
    opened.create("last", 9, 1).unwrap();
    let image = opened.image.clone();
    drop(opened);
    let [older, newest] = <[String; 2]>::try_from(names(&storage, ".checkpoint")).unwrap();
    flip(&storage, &format!("{FOLDER}/{newest}"), 100);
    let mut again = open(&storage).unwrap();
    assert_eq!(again.image, image);
    assert_eq!(again.report.damaged_snapshots, [Path::new(FOLDER).join(&newest)]);
    // The next snapshot takes the damaged one's place.
    again.snapshot().unwrap();
    assert!(!names(&storage, ".checkpoint").contains(&newest));
    assert!(names(&storage, ".checkpoint").contains(&older));
    assert_eq!(open_again(again, &storage).image, image);
}

#[test]
fn without_any_snapshot_for_a_log_that_starts_late_nothing_is_guessed() {
    let storage = MemStorage::new();
    let mut opened = open(&storage).unwrap();
    for topic in 1..4 {
        opened.create(&format!("topic-{topic}"), topic, 1).unwrap();
        opened.snapshot().unwrap();
    }
    drop(opened);
    for name in names(&storage, ".checkpoint") {
        flip(&storage, &format!("{FOLDER}/{name}"), 100);
    }
    let before = files_of(&storage);
    match open(&storage) {
        Err(Error::Corrupt(corrupt)) => assert!(matches!(corrupt.what, Damage::Offset { .. })),
        other => panic!("{other:?}"),
    }
    assert_eq!(files_of(&storage), before);
}

/// The content of everything in the folder but what opening any log rewrites.
fn files_of(storage: &MemStorage) -> BTreeMap<String, Vec<u8>> {
    let relevant = |name: &String| name.ends_with(".log") || name.ends_with(".checkpoint") || name == "quorum-state";
    let names = names(storage, "").into_iter().filter(relevant);
    names.map(|name| (name.clone(), read(storage, &format!("{FOLDER}/{name}")))).collect()
}

#[test]
fn a_damaged_log_is_an_error_and_stays_as_it_is() {
    let storage = MemStorage::new();
    let mut opened = open(&storage).unwrap();
    opened.create("orders", 1, 1).unwrap();
    opened.create("more", 2, 1).unwrap();
    opened.close();
    flip(&storage, &format!("{FOLDER}/00000000000000000000.log"), 200);
    let before = files_of(&storage);
    for _ in 0..2 {
        let refused = open(&storage);
        assert!(matches!(refused, Err(Error::Corrupt(_) | Error::Offline { .. })), "{refused:?}");
        assert_eq!(files_of(&storage), before);
    }
}

#[test]
fn a_record_that_is_not_known_is_an_error_and_nothing_is_written() {
    let storage = MemStorage::new();
    let mut opened = open(&storage).unwrap();
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(Some(now().wall), None, Some(&[1, 18, 0, 0]), &[]).unwrap();
    opened.metadata.append_batch(builder.build().unwrap(), now()).unwrap();
    opened.close();
    let before = files_of(&storage);
    let refused = open(&storage);
    assert!(matches!(refused, Err(Error::UnsupportedMetadataRecord { record_type: 18, version: 0 })), "{refused:?}");
    assert_eq!(files_of(&storage), before);
}

#[test]
fn a_record_that_does_not_fit_is_damage_with_its_offset() {
    let storage = MemStorage::new();
    let mut opened = open(&storage).unwrap();
    let end = opened.metadata.log().log_end_offset();
    let bad = MetadataRecord::RemoveTopic(RemoveTopicRecord { topic_id: id(7) });
    opened.metadata.append(&[MetadataRecord::NoOp(NoOpRecord {}), bad], now()).unwrap();
    drop(opened);
    match open(&storage) {
        Err(Error::Corrupt(corrupt)) => {
            assert_eq!(corrupt.offsets.unwrap().first, end.next());
            assert_eq!(corrupt.tp.unwrap().to_string(), "__cluster_metadata-0");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_transaction_without_an_end_is_aborted() {
    let storage = MemStorage::new();
    let mut opened = open(&storage).unwrap();
    let begin = MetadataRecord::BeginTransaction(BeginTransactionRecord { name: None });
    let topic = MetadataRecord::Topic(TopicRecord { name: "half".into(), topic_id: id(1) });
    opened.metadata.append(&[begin, topic], now()).unwrap();
    let mut again = open_again(opened, &storage);
    assert!(again.report.aborted_transaction);
    assert_eq!(topics(&again.image), expected(&[]));
    again.create("whole", 2, 1).unwrap();
    let third = open_again(again, &storage);
    assert!(!third.report.aborted_transaction);
    assert_eq!(topics(&third.image), expected(&[("whole", 1)]));
}

#[test]
fn removed_topics_are_known_until_their_folders_are_gone() {
    let storage = MemStorage::new();
    let mut opened = open(&storage).unwrap();
    opened.create("big", 1, 20_000).unwrap();
    let records = delete_topic(&opened.image, "big").unwrap();
    opened.change(records).unwrap();
    assert!(!opened.metadata.maybe_snapshot(&opened.image, now()).unwrap());
    let mut again = open_again(opened, &storage);
    assert_eq!(again.metadata.removed_topic_ids().collect::<Vec<_>>(), [id(1)]);
    assert!(!again.metadata.maybe_snapshot(&again.image, now()).unwrap());
    again.metadata.on_folders_removed(id(1));
    assert!(again.metadata.maybe_snapshot(&again.image, now()).unwrap());
    assert_eq!(open_again(again, &storage).metadata.removed_topic_ids().count(), 0);
}

#[test]
fn a_folder_of_kafka_is_taken_over() {
    let storage = kafkas_folder();
    let one = BrokerId::new(1).unwrap();
    let opened = open_as(&storage, one).unwrap();
    assert_eq!(opened.report.snapshot, Some(Offset::from(237)));
    assert_eq!((opened.report.replayed_records, opened.report.epoch, opened.report.is_new), (8, 3, false));
    assert_eq!(topics(&opened.image), expected(&[("events", 2), ("orders", 3)]));
    assert_eq!(opened.image.feature("transaction.version"), Some(2));
    // Kafka stopped cleanly: its broker was fenced, and nobody led.
    let registered = opened.image.broker(one).unwrap();
    assert_eq!((registered.fenced, registered.in_controlled_shutdown, registered.broker_epoch), (false, false, 246));
    let leaders = opened.image.topics().flat_map(|topic| topic.partitions.values());
    assert!(leaders.into_iter().all(|partition| partition.leader == Some(one)));
    let image = opened.image.clone();
    drop(opened);
    // Without Kafka's snapshots its log alone says the same.
    for name in names(&storage, ".checkpoint") {
        storage.remove(&Path::new(FOLDER).join(name)).unwrap();
    }
    let again = open_as(&storage, one).unwrap();
    assert_eq!((again.report.snapshot, topics(&again.image)), (None, topics(&image)));
    assert_eq!(again.image.topic("orders"), image.topic("orders"));
}

#[test]
fn a_folder_that_kafka_only_formatted_begins_with_its_features() {
    let storage = MemStorage::new();
    storage.create_dir(Path::new("/data")).unwrap();
    for (name, bytes) in &KAFKA[..2] {
        write(&storage, &format!("/data/{name}"), bytes);
    }
    let opened = open_as(&storage, BrokerId::new(1).unwrap()).unwrap();
    assert_eq!(opened.image.feature("group.version"), Some(1));
    assert_eq!(read(&storage, "/data/bootstrap.checkpoint"), KAFKA[1].1);
}

/// A `Voters` value with one voter, as formatting a standalone node of kraft.version 1 writes it.
fn voters_value(voter: u8) -> Vec<u8> {
    let mut value = vec![0, 0, 2, 0, 0, 0, voter];
    value.extend([9; 16]);
    value.extend([1, 0, 0, 0, 1, 0, 0, 0]);
    value
}

/// A folder whose voters are in the log.
fn folder_with_voters_in_the_log(voter: u8) -> MemStorage {
    let storage = MemStorage::new();
    storage.create_dir(Path::new("/data")).unwrap();
    storage.create_dir(Path::new(FOLDER)).unwrap();
    let content = SnapshotContent {
        image: &ClusterImage::default(),
        kraft_version: Some(&[0, 0, 0, 1, 0]),
        voters: Some(&voters_value(voter)),
        last_timestamp: now().wall,
    };
    let bytes = crate::controller::snapshot::encode(&content, LeaderEpoch::ZERO, now().wall).unwrap();
    write(&storage, &format!("{FOLDER}/00000000000000000000-0000000000.checkpoint"), &bytes);
    write(&storage, "/data/meta.properties", b"version=1\nnode.id=0\ncluster.id=x\n");
    storage.sync_dir(Path::new("/")).unwrap();
    storage
}

#[test]
fn voters_that_are_in_the_log_stay_there() {
    let storage = folder_with_voters_in_the_log(0);
    let mut opened = open(&storage).unwrap();
    opened.create("orders", 1, 1).unwrap();
    opened.snapshot().unwrap();
    let state = QuorumState::decode(&read(&storage, "/data/__cluster_metadata-0/quorum-state")).unwrap();
    assert_eq!(state.voters, VoterSource::Log);
    let newest = names(&storage, ".checkpoint").pop().unwrap();
    let replay = crate::controller::snapshot::decode(&read(&storage, &format!("{FOLDER}/{newest}"))).unwrap();
    assert_eq!((replay.voters, replay.kraft_version), (Some(voters_value(0)), Some(vec![0, 0, 0, 1, 0])));
    let refused = open(&folder_with_voters_in_the_log(7));
    assert!(matches!(refused, Err(Error::InvalidState { operation: "lead the metadata log", .. })), "{refused:?}");
}

#[test]
fn the_log_of_a_quorum_with_other_voters_is_not_led() {
    let storage = kafkas_folder();
    let before = files_of(&storage);
    let refused = open_as(&storage, BrokerId::new(2).unwrap());
    assert!(matches!(refused, Err(Error::InvalidState { operation: "lead the metadata log", .. })), "{refused:?}");
    assert_eq!(files_of(&storage), before);
}

// ---- crashes and failures -------------------------------------------------------------------------------------------

/// Dies before and after every call of `work` on a folder that `prepare` made, and opens each image of what is left.
fn for_each_crash(
    prepare: impl Fn() -> MemStorage,
    work: impl Fn(&MemStorage) -> Result<()>,
    check: impl Fn(&Opened, &str),
) {
    let reference = prepare();
    let first = reference.operation_count();
    work(&reference).unwrap();
    assert!(reference.operation_count() > first + 10);
    for index in first..reference.operation_count() {
        for point in [StopPoint::Before(index), StopPoint::After(index)] {
            let storage = prepare();
            storage.stop_at(point);
            let _ = work(&storage);
            for model in MODELS {
                for seed in 0..3 {
                    let case = format!("{point:?}, {model:?}, seed {seed}");
                    let image = storage.crash_image(&model, seed);
                    let opened = open(&image).unwrap_or_else(|error| panic!("{case}: {error}"));
                    check(&opened, &case);
                }
            }
        }
    }
}

fn with_one_topic() -> MemStorage {
    let storage = MemStorage::new();
    let mut opened = open(&storage).unwrap();
    opened.create("old", 1, 2).unwrap();
    storage
}

#[test]
fn a_crash_while_a_topic_is_created_leaves_all_of_it_or_nothing() {
    let (old, new) = (expected(&[("old", 2)]), expected(&[("new", 3), ("old", 2)]));
    let work = |storage: &MemStorage| open(storage)?.create("new", 2, 3);
    for_each_crash(with_one_topic, work, |opened, case| {
        let found = topics(&opened.image);
        assert!(found == old || found == new, "{case}: {found:?}");
    });
}

#[test]
fn what_was_acknowledged_before_a_crash_is_there() {
    let all = expected(&[("new", 3), ("old", 2)]);
    let storage = with_one_topic();
    open(&storage).unwrap().create("new", 2, 3).unwrap();
    for model in MODELS {
        for seed in 0..20 {
            let opened = open(&storage.crash_image(&model, seed)).unwrap();
            assert_eq!(topics(&opened.image), all, "{model:?} {seed}");
        }
    }
}

#[test]
fn a_crash_while_a_cluster_begins_leaves_a_folder_that_can_be_opened() {
    let work = |storage: &MemStorage| open(storage).map(|_| ());
    for_each_crash(MemStorage::new, work, |opened, case| {
        assert_eq!(opened.image.feature(METADATA_VERSION), Some(25), "{case}");
        assert!(opened.image.broker(broker()).is_some(), "{case}");
    });
}

#[test]
fn a_crash_while_a_snapshot_is_taken_changes_no_image() {
    let prepare = || {
        let storage = MemStorage::new();
        let mut opened = open(&storage).unwrap();
        for topic in 1..4 {
            opened.create(&format!("topic-{topic}"), topic, 1).unwrap();
            opened.snapshot().unwrap();
        }
        opened.create("old", 9, 2).unwrap();
        storage
    };
    let all = topics(&open(&prepare()).unwrap().image);
    let work = |storage: &MemStorage| open(storage)?.snapshot();
    for_each_crash(prepare, work, |opened, case| assert_eq!(topics(&opened.image), all, "{case}"));
}

#[test]
fn no_record_carries_an_epoch_before_the_quorum_state_does() {
    let work = |storage: &MemStorage| open(storage)?.create("new", 2, 3);
    let reference = with_one_topic();
    let first = reference.operation_count();
    work(&reference).unwrap();
    for index in first..reference.operation_count() {
        let storage = with_one_topic();
        storage.stop_at(StopPoint::After(index));
        let _ = work(&storage);
        for model in MODELS {
            let image = storage.crash_image(&model, 5);
            let stored = QuorumState::decode(&read(&image, "/data/__cluster_metadata-0/quorum-state")).unwrap();
            // The next epoch follows the highest one that quorum state or log know.
            assert_eq!(open(&image).unwrap().report.epoch, stored.leader_epoch.get() + 1, "{index} {model:?}");
        }
    }
}

#[test]
fn after_a_failed_call_the_log_refuses_or_goes_on_but_never_tells_two_stories() {
    let probe = with_one_topic();
    let mut opened = open(&probe).unwrap();
    let first = probe.operation_count();
    opened.create("new", 2, 3).unwrap();
    let count = probe.operation_count() - first;
    for nth in 0..count {
        for kind in [std::io::ErrorKind::StorageFull, std::io::ErrorKind::Other] {
            for takes_effect in [false, true] {
                let storage = with_one_topic();
                let mut opened = open(&storage).unwrap();
                let fault = Fault::nth(nth).with_error_kind(kind);
                storage.fail(if takes_effect { fault.taking_effect() } else { fault });
                let outcome = opened.create("new", 2, 3);
                storage.clear_faults();
                let later = opened.create("later", 3, 1);
                let told = topics(&opened.image);
                let case = format!("{nth} {kind:?} {takes_effect}: {outcome:?}, {later:?}");
                let is_uncertain = later.is_err();
                let found = topics(&open_again(opened, &storage).image);
                let mut with_new = told.clone();
                with_new.insert("new".to_owned(), 3);
                assert!(found == told || (is_uncertain && found == with_new), "{case}: {found:?}, told {told:?}");
            }
        }
    }
}

#[test]
fn after_a_failed_sync_every_append_is_refused() {
    let storage = with_one_topic();
    let mut opened = open(&storage).unwrap();
    storage.fail(
        Fault::nth(0).of_kind(OperationKind::Sync).with_error_kind(std::io::ErrorKind::StorageFull).taking_effect(),
    );
    let failed = opened.create("new", 2, 1).unwrap_err();
    assert_eq!(failed.written(), crate::error::Written::Maybe, "{failed:?}");
    assert!(matches!(opened.create("later", 3, 1), Err(Error::Offline { .. })));
    assert!(!opened.metadata.maybe_snapshot(&opened.image, now()).unwrap());
}

#[test]
fn after_a_flush_that_lacked_space_for_another_file_every_append_is_refused() {
    let storage = with_one_topic();
    let mut opened = open(&storage).unwrap();
    for _ in 0..2 {
        opened.change(vec![config_of(7 << 20)]).unwrap();
    }
    // The third one begins a new segment, and the old one's seal finds no space: the log itself would go on.
    storage.fail(Fault::nth(0).on_paths_ending_with(".seal.tmp").with_error_kind(std::io::ErrorKind::StorageFull));
    let failed = opened.change(vec![config_of(7 << 20)]).unwrap_err();
    assert_eq!(failed.written(), crate::error::Written::Maybe, "{failed:?}");
    opened.metadata.log().check_online().unwrap();
    assert!(matches!(opened.create("later", 3, 1), Err(Error::Offline { .. })));
}

// ---- bytes that Kafka has judged ------------------------------------------------------------------------------------

/// What the folder `golden/__cluster_metadata-0` holds: `tests/kafka/judge.sh` lets Kafka read it.
#[test]
fn the_bytes_of_log_and_snapshot_are_those_that_kafka_has_read() {
    let storage = MemStorage::new();
    let mut opened = open(&storage).unwrap();
    opened.create("orders", 0xaa, 3).unwrap();
    opened.create("gone", 0xbb, 1).unwrap();
    let records = delete_topic(&opened.image, "gone").unwrap();
    opened.change(records).unwrap();
    opened.snapshot().unwrap();
    drop(opened);
    let mut opened = open(&storage).unwrap();
    opened.create("events", 0xcc, 1).unwrap();
    let golden: [(&str, &[u8]); 2] = [
        (
            "00000000000000000000.log",
            include_bytes!("../../../tests/fixtures/golden/__cluster_metadata-0/00000000000000000000.log"),
        ),
        (
            "00000000000000000012-0000000001.checkpoint",
            include_bytes!(
                "../../../tests/fixtures/golden/__cluster_metadata-0/00000000000000000012-0000000001.checkpoint"
            ),
        ),
    ];
    for (name, bytes) in golden {
        let written = read(&storage, &format!("{FOLDER}/{name}"));
        assert!(written == bytes, "{name} differs");
    }
}
