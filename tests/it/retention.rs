//! Old records go: by age, by size, by hand, and never because a clock was set.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use logstead::Error;
use logstead::cluster::{Cluster, Driver, RecordsToDelete};
use logstead::config::{BrokerConfig, CleanupPolicy, LogConfig, TopicConfig};
use logstead::log::{Log, RetentionClock, RetentionReason, RetentionTime, SegmentFile};
use logstead::producer::Record;
use logstead::storage::{CrashModel, Fault, MemStorage, OperationKind, Storage};
use logstead::time::{Clock, ManualClock, Now};
use logstead::types::{Offset, Timestamp, TopicPartition};

use crate::support::{FOLDER, Home, all_bytes, batch_at, batch_of, now, overwrite, read, to_the_end, tp};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
const WEEK: i64 = 7 * DAY;

fn offset(raw: i64) -> Offset {
    Offset::new(raw).unwrap()
}

fn millis(count: i64) -> Duration {
    Duration::from_millis(u64::try_from(count).unwrap())
}

/// What no configuration at all means to Kafka, as to age.
fn weekly() -> LogConfig {
    LogConfig::new().retention_time(Some(millis(WEEK)))
}

/// So long after the tests' clock began.
fn later(after: i64) -> Now {
    let now = now();
    Now { mono: now.mono.after(millis(after)), wall: Timestamp::from_millis(now.wall.as_millis() + after) }
}

/// A time that the clock has come to evenly.
fn confirmed(after: i64) -> RetentionTime {
    let mut clock = RetentionClock::new(Duration::ZERO);
    clock.look(later(after - 1));
    clock.look(later(after))
}

/// Segments of two records each, the last one with one; all of it committed.
fn filled(config: LogConfig) -> Home {
    let home = Home::leading(config.segment_bytes(250));
    (0..7).for_each(|round: u8| home.append(1, &[round; 40]));
    commit(&home.log);
    home
}

fn commit(log: &Log) {
    log.advance_high_watermark(log.flush().unwrap()).unwrap();
}

fn deleted(home: &Home) -> Vec<String> {
    home.names().into_iter().filter(|name| name.ends_with(".deleted")).collect()
}

#[test]
fn expired_segments_lose_their_names_at_once_and_their_files_later() {
    let home = filled(weekly().timestamp_after_max(None));
    assert_eq!(home.bases(), [0, 2, 4, 6]);
    assert_eq!(home.log.apply_retention(confirmed(WEEK)).unwrap().removed, []);
    // The last record is younger than the others.
    let young = later(DAY).wall;
    home.log.append_as_leader(&mut batch_at(1, b"young", Some(young)), now()).unwrap();
    commit(&home.log);
    let outcome = home.log.apply_retention(confirmed(WEEK + 1)).unwrap();
    let removed: Vec<_> = outcome.removed.iter().map(|gone| (gone.base_offset.get(), gone.reason)).collect();
    assert_eq!(removed, [0, 2, 4].map(|base| (base, RetentionReason::Time)));
    assert_eq!((outcome.log_start, home.log.log_start_offset()), (offset(6), offset(6)));
    assert_eq!(outcome.next.at, Some(Timestamp::from_millis(young.as_millis() + WEEK + 1)));
    assert_eq!(home.bases(), [6]);
    assert!(matches!(read(&home.log, 5), Err(Error::OffsetOutOfRange { .. })));
    assert_eq!(read(&home.log, 6).unwrap().next_offset(), offset(7));

    let files = deleted(&home);
    for kind in ["log", "index", "timeindex", "seal"] {
        assert!(files.contains(&format!("00000000000000000002.{kind}.deleted")), "{files:?}");
    }
    assert!(files.contains(&"00000000000000000004.snapshot.deleted".to_owned()), "{files:?}");
    assert!(!home.names().iter().any(|name| name.starts_with("00000000000000000002") && !name.ends_with(".deleted")));
    let due = home.directory.remove_due(later(0)).unwrap();
    assert_eq!(due, Some(later(60_000).mono));
    assert_eq!(home.directory.remove_due(later(59_999)).unwrap(), due);
    assert_eq!(deleted(&home), files);
    assert_eq!(home.directory.remove_due(later(60_000)).unwrap(), None);
    assert_eq!(deleted(&home), [""; 0]);
}

#[test]
fn doing_it_twice_at_the_same_time_is_doing_it_once() {
    let home = filled(weekly().retention_bytes(Some(250)));
    assert!(!home.log.apply_retention(confirmed(5)).unwrap().removed.is_empty());
    let (names, operations) = (home.names(), home.storage.operation_count());
    assert!(home.log.apply_retention(confirmed(5)).unwrap().removed.is_empty());
    assert_eq!((home.names(), home.storage.operation_count()), (names, operations));
}

#[test]
fn a_log_that_has_expired_as_a_whole_goes_on_empty() {
    let home = filled(weekly());
    let outcome = home.log.apply_retention(confirmed(WEEK + 1)).unwrap();
    assert_eq!((outcome.removed.len(), outcome.log_start), (4, offset(7)));
    assert_eq!((outcome.next.at, outcome.next.after_bytes), (None, Some(1)));
    assert_eq!((home.bases(), home.log.log_end_offset()), (vec![7], offset(7)));
    home.append(1, b"after");
    commit(&home.log);
    assert_eq!(read(&home.log, 7).unwrap().next_offset(), offset(8));
    let home = home.crash();
    assert_eq!(home.log.recovery_report().damage, []);
    assert_eq!((home.log.log_start_offset(), home.log.log_end_offset()), (offset(7), offset(8)));
    assert_eq!(deleted(&home), [""; 0], "opening removes what a crash has left");
}

#[test]
fn the_newest_segment_is_never_deleted_as_it_is() {
    let home = Home::leading(weekly().retention_bytes(Some(0)));
    assert_eq!(home.log.apply_retention(confirmed(5)).unwrap().removed, []);
    home.append(3, b"value");
    // What is not committed stays, however large or old.
    assert_eq!(home.log.apply_retention(confirmed(WEEK + 1)).unwrap().removed, []);
    assert_eq!(home.bases(), [0]);
    commit(&home.log);
    let outcome = home.log.apply_retention(confirmed(5)).unwrap();
    assert_eq!((outcome.removed.len(), home.bases()), (1, vec![3]));
    assert_eq!(outcome.removed[0].reason, RetentionReason::Size);
}

#[test]
fn only_what_is_committed_goes() {
    let home = Home::leading(weekly().segment_bytes(250).retention_bytes(Some(0)));
    (0..7).for_each(|round: u8| home.append(1, &[round; 40]));
    home.log.flush().unwrap();
    home.log.advance_high_watermark(offset(5)).unwrap();
    let outcome = home.log.apply_retention(confirmed(5)).unwrap();
    assert_eq!((outcome.removed.len(), outcome.log_start), (2, offset(4)));
    assert_eq!(home.bases(), [4, 6]);
}

#[test]
fn segments_that_wait_to_be_sealed_are_sealed_first() {
    let home = Home::leading(
        weekly().segment_bytes(250).retention_bytes(Some(200)).durability(logstead::config::Durability::Os),
    );
    (0..5).for_each(|round: u8| home.append(1, &[round; 40]));
    home.log.advance_high_watermark(offset(5)).unwrap();
    let outcome = home.log.apply_retention(confirmed(5)).unwrap();
    assert_eq!((outcome.removed.len(), outcome.log_start), (1, offset(2)));
    let kept = all_bytes(&home.log);
    let home = home.crash();
    assert_eq!((home.log.log_start_offset(), all_bytes(&home.log)), (offset(2), kept));
}

#[test]
fn a_log_that_kafka_compacts_loses_only_what_is_below_its_start() {
    let home = filled(weekly().cleanup_policy(CleanupPolicy::Compact).retention_bytes(Some(0)));
    assert_eq!(home.log.apply_retention(confirmed(10 * WEEK)).unwrap().removed, []);
    let both = weekly().cleanup_policy(CleanupPolicy::CompactAndDelete);
    home.log.update_config(both).unwrap();
    assert_eq!(home.log.apply_retention(confirmed(10 * WEEK)).unwrap().removed.len(), 4);
}

#[test]
fn a_jump_of_the_wall_clock_deletes_nothing() {
    for jump in [HOUR, -HOUR, 3650 * DAY, -3650 * DAY] {
        let home = filled(weekly().retention_time(Some(Duration::from_secs(1800))));
        let clock = ManualClock::new();
        let mut retention = RetentionClock::new(Duration::from_secs(300));
        let mut look = |clock: &ManualClock| home.log.apply_retention(retention.look(clock.now())).unwrap();
        assert_eq!(look(&clock).removed, []);
        clock.advance(Duration::from_secs(300));
        assert_eq!(look(&clock).removed, []);
        let wall = clock.now().wall.as_millis();
        clock.set_wall(Timestamp::from_millis(wall + jump));
        for _ in 0..3 {
            assert_eq!(look(&clock).removed, [], "{jump}");
        }
        clock.advance(Duration::from_secs(299));
        assert_eq!(look(&clock).removed, [], "{jump}");
        clock.advance(Duration::from_secs(1));
        // A time that lasts counts.
        assert_eq!(look(&clock).removed.len(), if jump > 0 { 4 } else { 0 }, "{jump}");
    }
}

#[test]
fn a_record_from_the_future_does_not_stay_for_ever() {
    let home = Home::leading(weekly().timestamp_after_max(None));
    let in_years = Timestamp::from_millis(now().wall.as_millis() + 3650 * DAY);
    home.log.append_as_leader(&mut batch_at(1, b"early", Some(in_years)), now()).unwrap();
    commit(&home.log);
    // Its file was changed a little after the clock began.
    assert_eq!(home.log.apply_retention(confirmed(WEEK)).unwrap().removed, []);
    assert_eq!(home.log.apply_retention(confirmed(WEEK + 60_000)).unwrap().removed.len(), 1);
    // Records without a time are as old as their file as well.
    home.log.append_as_leader(&mut batch_at(1, b"timeless", None), now()).unwrap();
    commit(&home.log);
    assert_eq!(home.log.apply_retention(confirmed(WEEK)).unwrap().removed, []);
    assert_eq!(home.log.apply_retention(confirmed(WEEK + 60_000)).unwrap().removed.len(), 1);
}

#[test]
fn a_damaged_time_index_deletes_nothing() {
    let (storage, config) = filled(weekly()).close();
    let old = [&1i64.to_be_bytes()[..], &1i32.to_be_bytes()[..]].concat();
    overwrite(&storage, &crate::support::partition_file(&SegmentFile::TimeIndex.name(Offset::ZERO)), &old);
    let home = Home::on(storage, config);
    assert_eq!(home.log.apply_retention(confirmed(WEEK)).unwrap().removed, []);
}

#[test]
fn whoever_has_begun_to_read_goes_on() {
    let (storage, config) = filled(weekly()).close();
    let home = Home::on(storage, config);
    // Nothing of it was opened yet.
    let held = home.log.segments();
    home.log.delete_before(offset(4)).unwrap();
    assert!(home.names().contains(&"00000000000000000000.log.deleted".to_owned()));
    for segment in &held[..2] {
        assert!(segment.verify_seal().unwrap());
        assert_eq!(segment.aborted_transactions().unwrap(), []);
        assert_eq!(segment.max_timestamp().unwrap().map(|(time, _)| time), Some(now().wall));
    }
    home.directory.remove_due(later(0)).unwrap();
    assert!(home.directory.remove_due(later(60_000)).unwrap().is_some());
    assert!(!deleted(&home).is_empty(), "somebody holds the segments");
    drop(held);
    assert_eq!(home.directory.remove_due(later(120_000)).unwrap(), None);
    assert_eq!(deleted(&home), [] as [String; 0]);
}

#[test]
fn whoever_holds_a_deleted_segment_opens_it_late_and_the_close_waits_for_nobody() {
    for delay in [0, 60_000] {
        let (storage, config) = filled(weekly().file_delete_delay(millis(delay))).close();
        let home = Home::on(storage, config);
        let held = home.log.segments();
        home.log.delete_before(offset(4)).unwrap();
        home.directory.remove_due(later(0)).unwrap();
        home.directory.remove_due(later(3 * 60_000)).unwrap();
        // None of its files was opened before.
        assert_eq!(held[0].max_timestamp().unwrap().map(|(time, _)| time), Some(now().wall));
        assert!(held[1].verify_seal().unwrap());
        let refused = read(&home.log, 0).unwrap_err();
        assert!(matches!(&refused, Error::OffsetOutOfRange { start, .. } if *start == offset(4)), "{refused:?}");
        let (storage, _) = home.close();
        let names = storage.list(&Path::new(FOLDER).join("orders-0")).unwrap();
        assert!(names.iter().all(|entry| !entry.name.ends_with(".deleted")));
        drop(held);
    }
}

#[test]
fn files_that_cannot_be_removed_are_removed_later() {
    let home = filled(weekly().file_delete_delay(Duration::from_secs(5)));
    home.log.delete_before(offset(2)).unwrap();
    home.directory.remove_due(later(0)).unwrap();
    home.storage.fail(Fault::nth(0).of_kind(OperationKind::Remove).on_paths_ending_with("0.timeindex.deleted"));
    assert!(home.directory.remove_due(later(5_000)).is_err());
    let due = home.directory.remove_due(later(5_000)).unwrap();
    assert_eq!(due, Some(later(65_000).mono));
    assert!(!deleted(&home).is_empty());
    assert_eq!(home.directory.remove_due(later(65_000)).unwrap(), None);
    assert_eq!(deleted(&home), [""; 0]);
    home.log.check_online().unwrap();
}

#[test]
fn closing_the_folder_removes_what_waits() {
    let home = filled(weekly());
    home.log.delete_before(offset(4)).unwrap();
    let (storage, config) = home.close();
    let home = Home::on(storage, config);
    assert!(home.log.recovery_report().was_clean);
    assert_eq!((deleted(&home), home.bases()), (vec![], vec![4, 6]));
}

#[test]
fn want_of_space_does_not_stop_deletion() {
    let home = filled(weekly());
    for kind in [OperationKind::Create, OperationKind::Write, OperationKind::SetLen, OperationKind::Preallocate] {
        for suffix in [".log", "index", ".tmp", ".snapshot", ".seal"] {
            let full = Fault::nth(0).of_kind(kind).on_paths_ending_with(suffix).sticky();
            home.storage.fail(full.with_error_kind(std::io::ErrorKind::StorageFull));
        }
    }
    let refused = home.log.apply_retention(confirmed(WEEK + 1)).unwrap_err();
    assert!(matches!(refused, Error::OutOfSpace { .. }), "{refused}");
    assert_eq!((home.bases(), home.log.log_start_offset()), (vec![6], offset(6)));
    home.directory.remove_due(later(0)).unwrap();
    home.directory.remove_due(later(60_000)).unwrap();
    assert_eq!(deleted(&home), [""; 0]);
    home.storage.clear_faults();
    assert_eq!(home.log.apply_retention(confirmed(WEEK + 1)).unwrap().removed.len(), 1);
    home.append(1, b"on");
}

// ---- clusters ----------------------------------------------------------------------------------------------------------

const TOPIC: &str = "orders";

struct Town {
    storage: MemStorage,
    clock: Arc<ManualClock>,
    cluster: Cluster,
}

impl Town {
    fn open(storage: MemStorage, clock: Arc<ManualClock>) -> Town {
        let builder = Cluster::builder().storage(storage.clone()).clock(Arc::clone(&clock) as Arc<dyn Clock>);
        let config = BrokerConfig::new().retention_check_interval(Duration::from_secs(60));
        let cluster = builder.driver(Driver::Manual).config(config).seed(3).open(FOLDER).unwrap();
        Town { storage, clock, cluster }
    }

    fn with_topic(config: TopicConfig) -> Town {
        let town = Town::open(MemStorage::new(), Arc::new(ManualClock::new()));
        town.cluster.create_topic(TOPIC, config).unwrap();
        town
    }

    fn restart(self) -> Town {
        let Town { storage, clock, cluster } = self;
        cluster.close().unwrap();
        Town::open(storage, clock)
    }

    fn produce(&self, count: usize) {
        let producer = self.cluster.producer().seed(1).build().unwrap();
        for _ in 0..count {
            let record = Record::to(TOPIC).value(&[7; 40]).timestamp(self.clock.now().wall);
            producer.send(record).unwrap().wait().unwrap();
        }
    }

    /// Lets time pass, stopping wherever something is due.
    fn pass(&self, time: Duration) {
        let end = self.clock.now().mono.after(time);
        loop {
            let now = self.clock.now();
            match self.cluster.poll(now).filter(|next| *next <= end) {
                Some(next) => self.clock.advance(next.since(now.mono)),
                None => return self.clock.advance(end.since(now.mono)),
            }
        }
    }

    fn start(&self) -> i64 {
        self.cluster.describe_topic(TOPIC).unwrap()[0].log_start_offset.get()
    }

    /// The files of the partition that have this in their names, without opening it.
    fn files(&self, part: &str) -> Vec<String> {
        let entries = self.storage.list(&Path::new(FOLDER).join("orders-0")).unwrap_or_default();
        entries.into_iter().map(|entry| entry.name).filter(|name| name.contains(part)).collect()
    }

    fn folders(&self, suffix: &str) -> usize {
        let entries = self.storage.list(Path::new(FOLDER)).unwrap();
        entries.iter().filter(|entry| entry.name.starts_with(TOPIC) && entry.name.ends_with(suffix)).count()
    }
}

fn small() -> TopicConfig {
    TopicConfig::new().log(weekly().segment_bytes(250))
}

#[test]
fn a_topic_loses_what_is_a_week_old_and_then_nothing_is_armed() {
    let town = Town::with_topic(small());
    town.produce(7);
    town.pass(millis(WEEK));
    assert_eq!(town.start(), 0);
    town.pass(Duration::from_secs(3600 + 60));
    assert_eq!((town.start(), town.files(".deleted").len()), (7, 0));
    assert_eq!(town.cluster.poll(town.clock.now()), None, "an idle cluster wakes nobody up");
    town.produce(1);
    assert!(town.cluster.poll(town.clock.now()).is_some());
}

#[test]
fn nobody_loses_records_for_their_age_without_having_asked_for_it() {
    let stored = |town: &Town| town.cluster.topic(TOPIC).unwrap().config().get_retention_time();
    let town = Town::with_topic(TopicConfig::new().segment_bytes(250));
    town.produce(7);
    town.pass(millis(100 * WEEK));
    town.cluster.alter_topic(TOPIC, [("segment.bytes", Some("300"))]).unwrap();
    let town = town.restart();
    town.pass(millis(100 * WEEK));
    assert_eq!((stored(&town), town.start()), (None, 0));
    // Asked for and taken back, it is as before.
    town.cluster.alter_topic(TOPIC, [("retention.ms", Some("9223372036854775807"))]).unwrap();
    town.cluster.alter_topic(TOPIC, [("retention.ms", None::<&str>)]).unwrap();
    assert_eq!(stored(&town), None);
    // What Kafka means by no key.
    let kafkas = Town::with_topic(TopicConfig::from_pairs([("segment.bytes", "250")]).unwrap());
    kafkas.produce(7);
    kafkas.pass(millis(WEEK + 2 * HOUR));
    assert_eq!((stored(&kafkas), kafkas.start()), (Some(millis(WEEK)), 7));
}

#[test]
fn nothing_is_armed_where_nothing_can_expire() {
    let town = Town::with_topic(small().retention_time(None));
    town.produce(7);
    town.pass(Duration::from_secs(120));
    assert_eq!(town.cluster.poll(town.clock.now()), None);
    let town = town.restart();
    town.pass(Duration::from_secs(120));
    assert_eq!(town.cluster.poll(town.clock.now()), None);
    town.produce(7);
    town.pass(Duration::from_secs(120));
    assert_eq!((town.cluster.poll(town.clock.now()), town.start()), (None, 0));
}

#[test]
fn a_topic_stays_within_its_size() {
    let town = Town::with_topic(small().retention_time(None).retention_bytes(Some(500)));
    town.produce(20);
    assert_eq!(town.start(), 0, "nobody has looked yet");
    town.pass(Duration::from_secs(60));
    let size = town.cluster.describe_topic(TOPIC).unwrap()[0].size_in_bytes;
    assert!((500..750).contains(&size), "{size}");
    assert!(!town.files(".deleted").is_empty());
    town.pass(Duration::from_secs(60));
    assert!(town.files(".deleted").is_empty());
    let before = town.start();
    town.produce(4);
    town.pass(Duration::from_secs(120));
    assert!(town.start() > before);
    assert_eq!(town.cluster.poll(town.clock.now()), None);
}

#[test]
fn another_configuration_takes_effect_on_what_is_there() {
    let town = Town::with_topic(small());
    town.produce(7);
    town.pass(Duration::from_secs(3600));
    town.cluster.alter_topic(TOPIC, [("retention.bytes", Some("0"))]).unwrap();
    town.pass(Duration::from_secs(60));
    assert_eq!(town.start(), 7);
    let refused = town.cluster.alter_topic(TOPIC, [("cleanup.policy", Some("compact"))]).unwrap_err();
    assert!(refused.to_string().contains("compaction"), "{refused}");
}

#[test]
fn a_partition_that_nobody_has_opened_expires_and_stays_closed() {
    let town = Town::with_topic(small()).restart();
    town.produce(7);
    let town = town.restart();
    town.pass(millis(WEEK - HOUR));
    assert_eq!((town.cluster.metrics().open_logs, town.files(".log").len()), (0, 4));
    town.pass(Duration::from_secs(2 * 3600));
    assert_eq!(town.files(".log"), ["00000000000000000007.log"]);
    assert_eq!(town.cluster.metrics().open_logs, 0);
    assert_eq!(town.cluster.poll(town.clock.now()), None);
    assert_eq!(town.start(), 7);
    town.produce(1);
    assert_eq!(town.restart().start(), 7);
}

#[test]
fn a_jump_of_the_clock_takes_nothing_from_a_cluster() {
    let town = Town::with_topic(small());
    town.produce(7);
    town.pass(Duration::from_secs(300));
    let wall = town.clock.now().wall.as_millis();
    town.clock.set_wall(Timestamp::from_millis(wall + 3650 * DAY));
    // As long as the clock shows a wrong time for less than an hour and a check interval, nothing is lost.
    town.pass(Duration::from_secs(59));
    town.clock.set_wall(Timestamp::from_millis(wall + 59_000));
    town.pass(Duration::from_secs(3 * 3600));
    assert_eq!(town.start(), 0);
    let town = town.restart();
    let wall = town.clock.now().wall.as_millis();
    town.clock.set_wall(Timestamp::from_millis(wall + 3650 * DAY));
    town.pass(Duration::from_secs(59));
    assert_eq!(town.start(), 0, "the first look after an opening only looks");
}

#[test]
fn records_are_deleted_by_hand_and_stay_deleted() {
    let town = Town::with_topic(small());
    town.produce(7);
    let delete = |town: &Town, records| town.cluster.delete_records(&tp(), records);
    assert_eq!(delete(&town, RecordsToDelete::Before(offset(3))).unwrap(), offset(3));
    assert_eq!(delete(&town, RecordsToDelete::Before(offset(1))).unwrap(), offset(3));
    let beyond = delete(&town, RecordsToDelete::Before(offset(8))).unwrap_err();
    assert!(matches!(beyond, Error::OffsetOutOfRange { end, .. } if end == offset(7)), "{beyond}");
    let killed = Town::open(town.storage.crash_image(&CrashModel::DropAll, 1), Arc::new(ManualClock::new()));
    assert_eq!(killed.start(), 3);
    let town = town.restart();
    assert_eq!((town.start(), town.files("00000000000000000000.log").len()), (3, 0));
    assert_eq!(delete(&town, RecordsToDelete::UpToHighWatermark).unwrap(), offset(7));
    // The newest segment lies wholly below the start, but takes the next append.
    assert_eq!(
        town.files(".log"),
        ["00000000000000000002.log.deleted", "00000000000000000004.log.deleted", "00000000000000000006.log"]
    );
    town.pass(Duration::from_secs(120));
    assert_eq!(town.files(".log"), ["00000000000000000006.log"]);
    town.produce(1);
    assert_eq!(town.restart().start(), 7);
}

#[test]
fn records_of_no_topic_or_of_the_engine_are_not_deleted() {
    let town = Town::with_topic(small());
    let delete = |topic: &str, partition| {
        let partition = TopicPartition::new(topic, partition).unwrap();
        town.cluster.delete_records(&partition, RecordsToDelete::UpToHighWatermark).unwrap_err()
    };
    assert!(matches!(delete("nothing", 0), Error::UnknownTopicOrPartition { .. }));
    assert!(matches!(delete(TOPIC, 1), Error::UnknownTopicOrPartition { partition: Some(1), .. }));
    for internal in ["__consumer_offsets", "__transaction_state", "__cluster_metadata"] {
        assert!(matches!(delete(internal, 0), Error::InvalidTopicName { .. }), "{internal}");
    }
}

#[test]
fn a_consumer_below_the_new_start_is_out_of_range() {
    let town = Town::with_topic(small());
    town.produce(7);
    let mut consumer = town.cluster.consumer().assign([tp()]).build().unwrap();
    consumer.seek(&tp(), offset(1)).unwrap();
    town.cluster.delete_records(&tp(), RecordsToDelete::Before(offset(4))).unwrap();
    let refused = consumer.poll(Duration::ZERO).unwrap_err();
    assert!(matches!(refused, Error::OffsetOutOfRange { start, .. } if start == offset(4)), "{refused}");
    consumer.seek(&tp(), offset(4)).unwrap();
    let records = consumer.poll(Duration::ZERO).unwrap();
    assert_eq!(records.iter().map(|record| record.offset().get()).next(), Some(4));
}

#[test]
fn a_slice_that_was_read_outlives_its_segment() {
    let home = filled(weekly().file_delete_delay(Duration::ZERO));
    let slice = home.log.read(Offset::ZERO, to_the_end(1 << 20)).unwrap();
    let bytes = slice.as_bytes().to_vec();
    home.log.apply_retention(confirmed(WEEK + 1)).unwrap();
    home.directory.remove_due(later(0)).unwrap();
    assert_eq!(deleted(&home), [""; 0]);
    assert_eq!(slice.as_bytes(), bytes);
    assert!(matches!(home.log.read_after(&slice, to_the_end(1)), Err(Error::OffsetOutOfRange { .. })));
    let next = home.log.append_as_leader(&mut batch_of(1, b"next"), now()).unwrap();
    assert_eq!(next.first_offset, offset(7));
}

#[test]
fn the_folders_of_a_deleted_topic_stay_for_a_while() {
    let town = Town::with_topic(small().file_delete_delay(Duration::from_secs(30)));
    town.produce(3);
    town.cluster.delete_topic(TOPIC).unwrap();
    assert_eq!((town.folders("-0"), town.folders("-delete")), (0, 1));
    town.cluster.create_topic(TOPIC, small()).unwrap();
    assert_eq!(town.start(), 0);
    town.pass(Duration::from_secs(29));
    assert_eq!(town.folders("-delete"), 1);
    town.pass(Duration::from_secs(2));
    assert_eq!((town.folders("-0"), town.folders("-delete")), (1, 0));
    town.cluster.delete_topic(TOPIC).unwrap();
    let killed = Town::open(town.storage.crash_image(&CrashModel::KeepAll, 1), Arc::new(ManualClock::new()));
    assert_eq!(killed.folders("-delete"), 0, "opening removes what a crash has left");
    assert_eq!(town.restart().folders("-delete"), 0, "and so does closing");
}

#[test]
fn a_file_that_cannot_be_removed_does_not_keep_others_waiting() {
    let town = Town::with_topic(small());
    town.produce(7);
    town.storage.fail(Fault::nth(0).of_kind(OperationKind::Remove).on_paths_ending_with("00.log.deleted"));
    town.cluster.delete_records(&tp(), RecordsToDelete::Before(offset(2))).unwrap();
    town.pass(Duration::from_secs(30));
    town.cluster.delete_records(&tp(), RecordsToDelete::Before(offset(4))).unwrap();
    town.pass(Duration::from_secs(61));
    assert_eq!(town.files(".log.deleted"), ["00000000000000000000.log.deleted"], "the first attempt failed");
    town.pass(Duration::from_secs(60));
    assert_eq!(town.files(".deleted"), [""; 0]);
}
