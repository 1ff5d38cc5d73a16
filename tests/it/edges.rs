//! The edges of a cluster: failures in the middle of something, panics of wakers, topics that come and go under their users.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use logstead::Error;
use logstead::cluster::{Cluster, Driver};
use logstead::config::{Acks, Durability, TopicConfig};
use logstead::error::Written;
use logstead::producer::Record;
use logstead::storage::{Fault, MemStorage, OperationKind};
use logstead::time::{Clock, ManualClock};
use logstead::types::{Offset, TopicPartition};

const TOPIC: &str = "orders";

struct Home {
    storage: MemStorage,
    clock: Arc<ManualClock>,
    cluster: Cluster,
}

impl Home {
    fn manual(partitions: u32, durability: Durability) -> Home {
        let (storage, clock) = (MemStorage::new(), Arc::new(ManualClock::new()));
        let builder = Cluster::builder().storage(storage.clone()).clock(Arc::clone(&clock) as Arc<dyn Clock>);
        let cluster = builder.driver(Driver::Manual).seed(1).open("/data").unwrap();
        let config = TopicConfig::new().partitions(partitions).durability(durability);
        cluster.create_topic(TOPIC, config).unwrap();
        Home { storage, clock, cluster }
    }

    fn poll(&self) {
        self.cluster.poll(self.clock.now());
    }

    fn advance(&self, millis: u64) {
        self.clock.advance(Duration::from_millis(millis));
        self.poll();
    }

    fn high_watermark(&self, partition: usize) -> u64 {
        self.cluster.describe_topic(TOPIC).unwrap()[partition].high_watermark.get() as u64
    }

    fn log_end(&self, partition: usize) -> u64 {
        self.cluster.describe_topic(TOPIC).unwrap()[partition].log_end_offset.get() as u64
    }
}

struct PanickingWaker;

impl Wake for PanickingWaker {
    fn wake(self: Arc<Self>) {
        panic!("the user's executor is broken");
    }
}

fn poll_once(future: Pin<&mut impl Future>, waker: &Waker) {
    assert!(future.poll(&mut Context::from_waker(waker)).is_pending());
}

#[test]
fn a_record_is_synced_within_the_flush_interval_also_after_a_checkpoint() {
    let home = Home::manual(1, Durability::Synced);
    let producer = home.cluster.producer().acks(Acks::Leader).linger(Duration::ZERO).build().unwrap();
    let orders = producer.topic(TOPIC).unwrap();
    orders.push((), "one").unwrap();
    home.advance(100);
    assert_eq!(home.high_watermark(0), 1, "the flush interval works at first");
    home.advance(59_850); // 59.95 s
    orders.push((), "two").unwrap(); // to be flushed at 60.05 s
    home.advance(50); // 60 s: the checkpoint syncs it
    assert_eq!(home.high_watermark(0), 2);
    home.advance(50); // the flush finds nothing to do
    orders.push((), "three").unwrap();
    for _ in 0..100 {
        home.advance(100); // ten seconds
    }
    assert_eq!(home.high_watermark(0), 3, "a hundred flush intervals have passed");
}

#[test]
fn waiting_that_gives_up_does_not_claim_that_nothing_was_written() {
    let home = Home::manual(1, Durability::Synced);
    home.cluster.alter_topic(TOPIC, [("segment.bytes", Some("1048576"))]).unwrap();
    let producer = home.cluster.producer().build().unwrap();
    let orders = producer.topic(TOPIC).unwrap();
    let large = vec![b'x'; 700_000];
    orders.send((), &large[..]).unwrap().wait().unwrap();
    // Sealing the first segment finds no space, and so does the sync of the second one.
    let no_space = std::io::ErrorKind::StorageFull;
    home.storage.fail(Fault::nth(0).on_paths_ending_with(".snapshot.tmp").with_error_kind(no_space).sticky());
    home.storage.fail(Fault::nth(0).on_paths_ending_with(".snapshot").with_error_kind(no_space).sticky());
    let refused = orders.send((), &large[..]).unwrap().wait();
    home.storage.clear_faults();
    home.advance(1000);
    let is_there = home.high_watermark(0) == 2;
    let Err(refused) = refused else { panic!("the fault did not strike") };
    assert!(
        !is_there || refused.written() != Written::No,
        "{refused:?} says {:?}, but it is committed",
        refused.written()
    );
}

#[test]
fn a_batch_that_is_in_the_file_when_the_log_fails_is_not_called_unwritten() {
    let home = Home::manual(1, Durability::Synced);
    let producer = home.cluster.producer().linger(Duration::from_millis(50)).build().unwrap();
    let orders = producer.topic(TOPIC).unwrap();
    orders.send((), "first").unwrap().wait().unwrap(); // arms the checkpoint, 60 s from now
    home.clock.advance(Duration::from_millis(59_950));
    let mut delivery = orders.send((), "v").unwrap(); // lingers until then
    home.storage.fail(Fault::nth(0).of_kind(OperationKind::Sync).on_paths_ending_with(".log").sticky());
    home.advance(50);
    let refused = delivery.try_get().expect("the log is offline").unwrap_err();
    assert_eq!(home.log_end(0), 2, "it is in the file, and recovery would keep it");
    assert_ne!(refused.written(), Written::No, "{refused:?}");
}

#[test]
fn a_panicking_waker_harms_nobody_else() {
    let home = Home::manual(1, Durability::Synced);
    let (a, b) = (home.cluster.producer().build().unwrap(), home.cluster.producer().build().unwrap());
    let mut first = pin!(a.topic(TOPIC).unwrap().send((), "a").unwrap());
    poll_once(first.as_mut(), &Waker::from(Arc::new(PanickingWaker)));
    let mut second = b.topic(TOPIC).unwrap().send((), "b").unwrap();
    home.advance(5); // both linger no longer, and are synced together
    home.poll();
    let told = second.try_get();
    assert!(matches!(told, Some(Ok(_))), "the other producer's batch: {told:?}");
    let later = b.send(Record::to(TOPIC).value("later")).and_then(|delivery| delivery.wait());
    assert!(later.is_ok(), "{later:?}");
}

#[test]
fn a_panicking_waker_does_not_stop_the_linger_of_other_lanes() {
    let home = Home::manual(2, Durability::Os);
    let producer = home.cluster.producer().acks(Acks::Leader).linger(Duration::from_millis(5)).build().unwrap();
    let mut first = pin!(producer.send(Record::to(TOPIC).partition(0).value("a")).unwrap());
    {
        // Registers the waker without asking for the batch at once.
        let _ = first.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::new(PanickingWaker))));
    }
    let mut second = producer.send(Record::to(TOPIC).partition(1).value("b")).unwrap();
    for _ in 0..100 {
        home.advance(10);
    }
    assert!(second.try_get().is_some(), "a second has passed, the linger is 5 ms");
}

#[test]
fn an_onlooker_may_seek_to_whatever_is_committed() {
    let folder = tempfile::tempdir().unwrap();
    let owner = Cluster::open(folder.path()).unwrap();
    owner.create_topic(TOPIC, TopicConfig::new()).unwrap();
    let producer = owner.producer().build().unwrap();
    producer.send(Record::to(TOPIC).value("0")).unwrap().wait().unwrap();
    let looked_at = Cluster::open_read_only(folder.path()).unwrap();
    let mut consumer = looked_at.consumer().topic(TOPIC).build().unwrap();
    assert_eq!(consumer.poll(Duration::ZERO).unwrap().len(), 1);
    for _ in 0..10 {
        producer.send(Record::to(TOPIC).value("v")).unwrap().wait().unwrap();
    }
    consumer.seek(&TopicPartition::new(TOPIC, 0).unwrap(), Offset::from(5)).unwrap();
    let found = consumer.poll(Duration::ZERO);
    assert!(!matches!(found, Err(Error::OffsetOutOfRange { .. })), "{found:?}");
}

#[test]
fn a_deleted_topic_leaves_no_open_files_behind() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::open(folder.path()).unwrap();
    let producer = cluster.producer().build().unwrap();
    let open_files = || {
        let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let paths = links.filter_map(|link| std::fs::read_link(link.path()).ok());
        paths.filter(|path| path.starts_with(folder.path()) && path.to_string_lossy().contains("orders")).count()
    };
    for _ in 0..20 {
        cluster.create_topic(TOPIC, TopicConfig::new()).unwrap();
        producer.send(Record::to(TOPIC).value("v")).unwrap().wait().unwrap();
        cluster.delete_topic(TOPIC).unwrap();
    }
    assert!(open_files() <= 3, "{} files of deleted topics are open", open_files());
}

#[test]
fn what_a_failed_alteration_left_is_what_the_cluster_says() {
    let home = Home::manual(1, Durability::Synced);
    let producer = home.cluster.producer().acks(Acks::Leader).linger(Duration::ZERO).build().unwrap();
    producer.topic(TOPIC).unwrap().push((), "v").unwrap(); // not synced: the change of durability commits it
    home.storage.fail(Fault::nth(2).of_kind(OperationKind::Write).on_paths_ending_with("witness"));
    let altered = home.cluster.alter_topic(TOPIC, [("flush.messages", Some("9223372036854775807"))]);
    home.storage.clear_faults();
    let before = home.cluster.topic(TOPIC).unwrap().config().get_durability();
    let storage = home.storage.clone();
    drop(producer);
    drop(home);
    let cluster = Cluster::builder().storage(storage).driver(Driver::Manual).seed(2).open("/data").unwrap();
    let after = cluster.topic(TOPIC).unwrap().config().get_durability();
    assert_eq!(before, after, "the alteration said {altered:?}");
}

struct Count(std::sync::atomic::AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
}

#[test]
fn an_async_poll_is_woken_when_the_sync_that_it_asked_for_fails() {
    let home = Home::manual(1, Durability::Synced);
    let producer = home.cluster.producer().acks(Acks::Leader).linger(Duration::ZERO).build().unwrap();
    let mut consumer = home.cluster.consumer().topic(TOPIC).build().unwrap();
    producer.topic(TOPIC).unwrap().push((), "v").unwrap();
    let count = Arc::new(Count(Default::default()));
    let mut future = pin!(consumer.poll_async());
    poll_once(future.as_mut(), &Waker::from(Arc::clone(&count)));
    home.storage.fail(Fault::nth(0).of_kind(OperationKind::Sync).on_paths_ending_with(".log").sticky());
    for _ in 0..10 {
        home.advance(1000);
    }
    assert_eq!(home.cluster.metrics().offline_logs, 1);
    assert!(
        count.0.load(std::sync::atomic::Ordering::SeqCst) > 0,
        "the log is offline, and the future sleeps for ever"
    );
}

#[test]
fn assigning_a_topic_again_after_it_was_recreated_reads_the_new_one() {
    let home = Home::manual(1, Durability::Os);
    let mut consumer = home.cluster.consumer().topic(TOPIC).build().unwrap();
    home.cluster.delete_topic(TOPIC).unwrap();
    home.cluster.create_topic(TOPIC, TopicConfig::new()).unwrap();
    home.cluster.producer().build().unwrap().send(Record::to(TOPIC).value("v")).unwrap().wait().unwrap();
    consumer.assign([(TOPIC, 0)]).unwrap();
    let found = consumer.poll(Duration::ZERO);
    assert!(matches!(&found, Ok(records) if records.len() == 1), "{found:?}");
}

#[test]
fn a_damaged_partition_metadata_file_keeps_only_its_partition_from_use() {
    use logstead::storage::{OpenMode, Storage};
    let home = Home::manual(1, Durability::Synced);
    home.cluster.create_topic("others", TopicConfig::new()).unwrap();
    let producer = home.cluster.producer().build().unwrap();
    for topic in [TOPIC, "others"] {
        producer.send(Record::to(topic).value("v")).unwrap().wait().unwrap();
    }
    producer.close().unwrap();
    let storage = home.storage.clone();
    home.cluster.close().unwrap();
    let file = storage.open(std::path::Path::new("/data/orders-0/partition.metadata"), OpenMode::Write).unwrap();
    file.write_at(0, b"X").unwrap();
    let opened = Cluster::builder().storage(storage).driver(Driver::Manual).seed(2).open("/data");
    let cluster = opened.expect("the other topic is sound");
    let mut consumer = cluster.consumer().topic("others").build().unwrap();
    assert_eq!(consumer.poll(Duration::ZERO).unwrap().len(), 1);
}
