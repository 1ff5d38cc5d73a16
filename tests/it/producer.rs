//! Producers through their public API: order, batching, memory, failures, closing.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, OnceLock, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use logstead::Error;
use logstead::cluster::{Cluster, Driver};
use logstead::config::{Acks, BrokerConfig, Durability, LogConfig, ProducerConfig, TopicConfig};
use logstead::error::{ErrorClass, Written};
use logstead::producer::{Keyless, Producer, Record};
use logstead::storage::{Fault, MemStorage, OperationKind};
use logstead::time::{Clock, ManualClock};
use logstead::types::{Compression, Timestamp};

const TOPIC: &str = "orders";

/// A cluster on a memory disk with one topic, and the hands of its clock.
struct Home {
    storage: MemStorage,
    clock: Arc<ManualClock>,
    cluster: Cluster,
}

impl Home {
    fn new(driver: Driver, partitions: u32, durability: Durability) -> Home {
        Home::with(driver, BrokerConfig::new(), partitions, durability)
    }

    fn with(driver: Driver, config: BrokerConfig, partitions: u32, durability: Durability) -> Home {
        let (storage, clock) = (MemStorage::new(), Arc::new(ManualClock::new()));
        let builder = Cluster::builder().storage(storage.clone()).clock(Arc::clone(&clock) as Arc<dyn Clock>);
        let cluster = builder.driver(driver).config(config).seed(1).open("/data").unwrap();
        let home = Home { storage, clock, cluster };
        home.create_topic(TOPIC, partitions, durability);
        home
    }

    fn create_topic(&self, name: &str, partitions: u32, durability: Durability) {
        let config = TopicConfig::new().partitions(partitions).durability(durability);
        self.cluster.create_topic(name, config).unwrap();
    }

    /// Nobody but the test drives the engine.
    fn manual(partitions: u32, durability: Durability) -> Home {
        Home::new(Driver::Manual, partitions, durability)
    }

    fn producer(&self) -> Producer {
        self.cluster.producer().seed(1).build().unwrap()
    }

    fn poll(&self) {
        self.cluster.poll(self.clock.now());
    }

    fn batches(&self) -> u64 {
        self.cluster.metrics().batches_appended
    }

    fn fail_syncs(&self) {
        self.storage.fail(Fault::nth(0).of_kind(OperationKind::Sync).on_paths_ending_with(".log").sticky());
    }
}

#[derive(Default)]
struct CountingWake(AtomicUsize);

impl Wake for CountingWake {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn to(topic: &str) -> Record<'_> {
    Record::to(topic).value("value")
}

#[test]
fn offsets_of_many_threads_are_dense_and_in_order() {
    const THREADS: usize = 4;
    const RECORDS: usize = 300;
    for durability in [Durability::Synced, Durability::Os] {
        let home = Home::new(Driver::Threads, 2, durability);
        let producer = home.cluster.producer().batch_bytes(500).buffer_bytes(5_000).build().unwrap();
        let stored = std::thread::scope(|scope| {
            let send = |thread: usize| {
                let topic = producer.topic(TOPIC).unwrap();
                let deliveries = (0..RECORDS).map(|index| {
                    let delivery = topic.send_record(&to(TOPIC).partition((thread % 2) as i32)).unwrap();
                    // Some are waited for at once, which makes for small batches in between.
                    if index % 7 == 0 { (None, Some(delivery.wait().unwrap())) } else { (Some(delivery), None) }
                });
                let deliveries: Vec<_> = deliveries.collect();
                let stored = deliveries.into_iter().map(|(waiting, stored)| match waiting {
                    Some(delivery) => delivery.wait().unwrap(),
                    None => stored.unwrap(),
                });
                stored.map(|stored| stored.offset.unwrap().get()).collect::<Vec<_>>()
            };
            let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || send(thread))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(stored.iter().all(|offsets| offsets.is_sorted()), "{durability:?}");
        for partition in 0..2 {
            let offsets: BTreeSet<_> = stored.iter().skip(partition).step_by(2).flatten().copied().collect();
            assert!(offsets.into_iter().eq(0..(2 * RECORDS) as i64), "{durability:?}");
        }
        producer.close().unwrap();
    }
}

#[test]
fn a_batch_waits_for_more_records_as_long_as_it_may_linger() {
    let home = Home::manual(1, Durability::Os);
    let producer = home.producer();
    let orders = producer.topic(TOPIC).unwrap();
    for value in ["1", "2", "3"] {
        orders.push((), value).unwrap();
    }
    home.clock.advance(Duration::from_millis(4));
    home.poll();
    assert_eq!(home.batches(), 0);
    home.clock.advance(Duration::from_millis(1));
    home.poll();
    assert_eq!((home.batches(), home.cluster.metrics().records_appended), (1, 3));
}

#[test]
fn an_idle_producer_asks_for_no_call() {
    let home = Home::manual(1, Durability::Os);
    let producer = home.producer();
    producer.send(to(TOPIC)).unwrap().wait().unwrap();
    home.clock.advance(Duration::from_millis(5));
    let next = home.cluster.poll(home.clock.now()).unwrap();
    // What is left are the checkpoint and the like.
    assert!(next.since(home.clock.now().mono) > Duration::from_secs(1), "{next:?}");
}

#[test]
fn a_full_batch_is_appended_by_the_thread_that_finds_it_full() {
    let home = Home::manual(1, Durability::Os);
    let producer = home.cluster.producer().batch_bytes(300).build().unwrap();
    let orders = producer.topic(TOPIC).unwrap();
    orders.push((), [0; 100]).unwrap();
    orders.push((), [0; 100]).unwrap();
    assert_eq!(home.batches(), 0);
    orders.push((), [0; 100]).unwrap();
    assert_eq!((home.batches(), home.cluster.metrics().records_appended), (1, 2));
}

#[test]
fn without_linger_a_record_is_in_the_log_when_send_returns() {
    let home = Home::manual(1, Durability::Os);
    let producer = home.cluster.producer().linger(Duration::ZERO).build().unwrap();
    let mut delivery = producer.send(to(TOPIC)).unwrap();
    assert_eq!(delivery.try_get().unwrap().unwrap().offset.unwrap().get(), 0);
}

#[test]
fn waiting_appends_and_syncs_on_the_callers_thread() {
    let home = Home::manual(1, Durability::Synced);
    let producer = home.producer();
    let first = producer.send(to(TOPIC)).unwrap();
    let mut second = producer.send(to(TOPIC)).unwrap();
    assert!(second.try_get().is_none());
    assert_eq!(first.wait().unwrap().offset.unwrap().get(), 0);
    assert_eq!(second.try_get().unwrap().unwrap().offset.unwrap().get(), 1);
    assert_eq!((home.batches(), home.cluster.metrics().syncs), (1, 1));
}

#[test]
fn a_record_tells_its_partition_and_time() {
    let home = Home::manual(3, Durability::Os);
    let producer = home.producer();
    let record = to(TOPIC).partition(2).timestamp(Timestamp::from_millis(1_600_000_000_000));
    let stored = producer.send(record).unwrap().wait().unwrap();
    assert_eq!(stored.topic_partition.to_string(), "orders-2");
    assert_eq!(stored.timestamp.as_millis(), 1_600_000_000_000);
    home.clock.advance(Duration::from_secs(1));
    let stored = producer.send(to(TOPIC)).unwrap().wait().unwrap();
    assert_eq!(stored.timestamp, home.clock.now().wall);
}

#[test]
fn acks_none_tells_no_offset_and_acks_leader_does_not_wait_for_the_disk() {
    let home = Home::manual(1, Durability::Synced);
    let producer = home.cluster.producer().acks(Acks::None).build().unwrap();
    assert_eq!(producer.send(to(TOPIC)).unwrap().wait().unwrap().offset, None);
    let producer = home.cluster.producer().acks(Acks::Leader).build().unwrap();
    assert_eq!(producer.send(to(TOPIC)).unwrap().wait().unwrap().offset.unwrap().get(), 1);
    assert_eq!(home.cluster.metrics().syncs, 0);
}

#[test]
fn a_key_goes_where_kafka_puts_it_and_a_named_partition_wins() {
    let home = Home::manual(7, Durability::Os);
    let producer = home.producer();
    // 479470107, Kafka's murmur2 of abc, is 4 modulo 7.
    let partition = |record: Record<'_>| {
        let stored = producer.send(record).unwrap().wait().unwrap();
        stored.topic_partition.partition.get()
    };
    assert_eq!(partition(to(TOPIC).key("abc")), 479_470_107 % 7);
    assert_eq!(partition(to(TOPIC).key("abc").partition(0)), 0);
}

#[test]
fn records_without_a_key_stay_in_a_partition_until_a_batch_is_full() {
    let home = Home::manual(16, Durability::Os);
    let producer = home.cluster.producer().batch_bytes(1000).seed(1).build().unwrap();
    let orders = producer.topic(TOPIC).unwrap();
    let partitions: Vec<_> = (0..200).map(|_| orders.push((), [0; 100]).unwrap().partition().get()).collect();
    let runs: Vec<usize> = partitions.chunk_by(|a, b| a == b).map(<[i32]>::len).collect();
    assert!(runs.iter().rev().skip(1).all(|run| run % 8 == 0), "{runs:?}");
    assert!(partitions.iter().collect::<BTreeSet<_>>().len() > 8, "{partitions:?}");
}

#[test]
fn round_robin_goes_through_the_partitions_in_turn() {
    let home = Home::manual(3, Durability::Os);
    let producer = home.cluster.producer().keyless(Keyless::RoundRobin).seed(1).build().unwrap();
    let orders = producer.topic(TOPIC).unwrap();
    let partitions: Vec<_> = (0..6).map(|_| orders.push((), "v").unwrap().partition().get()).collect();
    assert!(partitions.windows(2).all(|pair| pair[1] == (pair[0] + 1) % 3), "{partitions:?}");
}

#[test]
fn an_own_partitioner_decides_and_its_mistakes_fail_one_call() {
    let home = Home::manual(3, Durability::Os);
    let own = |_: &str, _: Option<&[u8]>, value: Option<&[u8]>, count: u32| match value {
        Some(b"panic") => panic!("unlucky"),
        Some(b"beyond") => count,
        _ => 1,
    };
    let producer = home.cluster.producer().partitioner(own).build().unwrap();
    let orders = producer.topic(TOPIC).unwrap();
    let refused = orders.push("key", "panic");
    let Err(Error::CallbackPanicked { callback: "partitioner", message }) = refused else { panic!("{refused:?}") };
    assert_eq!(message, "unlucky");
    let refused = orders.push("key", "beyond");
    assert!(matches!(refused, Err(Error::UnknownTopicOrPartition { partition: Some(3), .. })), "{refused:?}");
    assert_eq!(orders.push("key", "fine").unwrap().partition().get(), 1);
    producer.close().unwrap();
}

#[test]
fn what_cannot_be_sent_is_refused_by_name() {
    let home = Home::manual(1, Durability::Os);
    let config = ProducerConfig::new().request_bytes_max(1000).buffer_bytes(50_000);
    let producer = home.cluster.producer().config(config.clone()).build().unwrap();
    let refused = producer.send(Record::to(TOPIC).value(&[0; 1000]));
    assert!(matches!(refused, Err(Error::RecordTooLarge { limit: "max.request.size", max: 1000, .. })), "{refused:?}");
    let small = home.cluster.producer().config(config.request_bytes_max(1 << 20).buffer_bytes(800)).build().unwrap();
    let refused = small.send(Record::to(TOPIC).value(&[0; 1000]));
    assert!(matches!(refused, Err(Error::RecordTooLarge { limit: "buffer.memory", max: 800, .. })), "{refused:?}");
    let refused = producer.send(to("order"));
    let Err(Error::UnknownTopicOrPartition { nearest, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(nearest.as_deref(), Some(TOPIC));
    let refused = producer.send(to(TOPIC).partition(1));
    assert!(matches!(refused, Err(Error::UnknownTopicOrPartition { partition: Some(1), .. })), "{refused:?}");
    assert!(matches!(producer.send(to(TOPIC).partition(-1)), Err(Error::InvalidPartition { partition: -1 })));
    let refused = producer.send(to(TOPIC).timestamp(Timestamp::from_millis(-5)));
    assert!(matches!(refused, Err(Error::InvalidRecord { .. })), "{refused:?}");
    let refused = producer.topic(TOPIC).unwrap().send_record(&to("others"));
    assert!(matches!(refused, Err(Error::InvalidState { .. })), "{refused:?}");
    assert_eq!(producer.metrics().buffered_bytes, 0);
}

#[test]
fn a_configuration_that_cannot_be_kept_is_refused() {
    let home = Home::manual(1, Durability::Os);
    let build = |config| home.cluster.producer().config(config).build();
    let level = ProducerConfig::new().compression(Compression::Gzip).compression_gzip_level(0);
    assert!(matches!(build(level), Err(Error::InvalidConfig { .. })));
    let refused = build(ProducerConfig::new().delivery_timeout(Duration::from_millis(4)));
    assert!(matches!(refused, Err(Error::InvalidConfig { .. })), "{refused:?}");
    assert!(matches!(build(ProducerConfig::new().buffer_bytes(0)), Err(Error::InvalidConfig { .. })));
}

#[test]
fn try_send_gives_the_record_back_when_memory_is_full() {
    let home = Home::manual(1, Durability::Synced);
    let producer = home.cluster.producer().batch_bytes(300).buffer_bytes(600).build().unwrap();
    let mut taken = 0;
    let rejected = loop {
        match producer.try_send(Record::to(TOPIC).value(&[7; 100])) {
            Ok(_) => taken += 1,
            Err(rejected) => break rejected,
        }
    };
    assert_eq!(taken, 4);
    let (record, error) = rejected.into_parts();
    assert!(matches!(error, Error::BufferFull { needed: 300, free: 0, max: 600 }), "{error:?}");
    assert_eq!((error.class(), record.get_value()), (ErrorClass::Retry, Some(&[7; 100][..])));
    home.poll();
    producer.try_send(record).unwrap();
}

#[test]
fn send_makes_memory_free_itself_where_nobody_else_would() {
    let home = Home::manual(2, Durability::Synced);
    let producer = home.cluster.producer().batch_bytes(300).buffer_bytes(600).build().unwrap();
    for index in 0..50 {
        drop(producer.send(Record::to(TOPIC).partition(index % 2).value(&[7; 100])).unwrap());
        assert!(producer.metrics().buffered_bytes <= 600);
    }
    producer.flush().unwrap();
    assert_eq!((producer.metrics().buffered_bytes, home.cluster.metrics().records_appended), (0, 50));
}

#[test]
fn many_threads_share_a_little_memory() {
    let home = Home::new(Driver::Threads, 3, Durability::Synced);
    let producer = home.cluster.producer().batch_bytes(300).buffer_bytes(900).build().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let orders = producer.topic(TOPIC).unwrap();
                for _ in 0..200 {
                    orders.push((), [7; 100]).unwrap();
                }
            });
        }
    });
    producer.flush().unwrap();
    assert_eq!((producer.metrics().buffered_bytes, home.cluster.metrics().records_appended), (0, 800));
}

#[test]
fn send_async_awaits_memory_without_blocking() {
    let home = Home::manual(1, Durability::Synced);
    let producer = home.cluster.producer().batch_bytes(300).buffer_bytes(300).build().unwrap();
    drop(producer.send(Record::to(TOPIC).value(&[7; 200])).unwrap());
    let wake = Arc::new(CountingWake::default());
    let waker = Waker::from(Arc::clone(&wake));
    let mut context = Context::from_waker(&waker);
    let mut sending = pin!(producer.send_async(Record::to(TOPIC).value(&[8; 200])));
    assert!(sending.as_mut().poll(&mut context).is_pending());
    assert!(sending.as_mut().poll(&mut context).is_pending());
    assert_eq!(wake.0.load(Ordering::SeqCst), 0);
    home.poll();
    assert_eq!(wake.0.load(Ordering::SeqCst), 1);
    let Poll::Ready(Ok(delivery)) = sending.as_mut().poll(&mut context) else { panic!("there is memory now") };
    assert_eq!(delivery.wait().unwrap().offset.unwrap().get(), 1);
}

#[test]
fn a_polled_delivery_is_synced_by_the_background() {
    let home = Home::manual(1, Durability::Synced);
    let producer = home.producer();
    let mut delivery = pin!(producer.send(to(TOPIC)).unwrap());
    let wake = Arc::new(CountingWake::default());
    let waker = Waker::from(Arc::clone(&wake));
    let mut context = Context::from_waker(&waker);
    assert!(delivery.as_mut().poll(&mut context).is_pending());
    assert_eq!(home.batches(), 0);
    home.poll();
    assert_eq!(wake.0.load(Ordering::SeqCst), 1);
    let Poll::Ready(Ok(stored)) = delivery.as_mut().poll(&mut context) else { panic!("it was woken") };
    assert_eq!(stored.offset.unwrap().get(), 0);
}

#[test]
fn waiting_with_a_limit_leaves_the_sync_to_the_background() {
    let home = Home::new(Driver::Threads, 1, Durability::Synced);
    let producer = home.producer();
    let mut delivery = producer.send(to(TOPIC)).unwrap();
    let stored = delivery.wait_timeout(Duration::from_secs(60)).unwrap().unwrap();
    assert_eq!(stored.offset.unwrap().get(), 0);
}

#[test]
fn a_ticket_can_be_waited_for_until_its_batch_is_forgotten() {
    let home = Home::manual(1, Durability::Synced);
    let producer = home.producer();
    let orders = producer.topic(TOPIC).unwrap();
    let (first, second) = (orders.push("k", "1").unwrap(), orders.push("k", "2").unwrap());
    assert_eq!(orders.wait(second).unwrap().offset.unwrap().get(), 1);
    assert_eq!(orders.wait(first).unwrap().offset.unwrap().get(), 0);
    for _ in 0..8 {
        orders.send((), "v").unwrap().wait().unwrap();
    }
    assert!(matches!(orders.wait(first), Err(Error::InvalidState { .. })));
}

#[test]
fn a_failed_sync_is_told_to_everybody_and_later_records_find_the_log_offline() {
    let home = Home::manual(1, Durability::Synced);
    let producer = home.producer();
    let deliveries: Vec<_> = (0..3).map(|_| producer.send(to(TOPIC)).unwrap()).collect();
    home.fail_syncs();
    for delivery in deliveries {
        let failed = delivery.wait();
        assert!(matches!(failed, Err(Error::Io { .. })), "{failed:?}");
    }
    let failed = producer.send(to(TOPIC)).unwrap().wait();
    assert!(matches!(failed, Err(Error::Offline { .. })), "{failed:?}");
    assert_eq!(producer.metrics().failed_records, 4);
    producer.flush().unwrap();
}

#[test]
fn failures_that_nobody_was_told_of_are_counted_by_flush() {
    let home = Home::manual(1, Durability::Synced);
    let producer = home.producer();
    let orders = producer.topic(TOPIC).unwrap();
    for value in ["1", "2", "3"] {
        orders.push((), value).unwrap();
    }
    drop(orders.send((), "dropped").unwrap());
    let held = orders.send((), "held").unwrap();
    let waited_for = orders.send((), "waited for").unwrap();
    home.fail_syncs();
    let failed = producer.flush();
    let Err(Error::DeliveriesFailed { count: 4, first }) = &failed else { panic!("{failed:?}") };
    assert!(matches!(**first, Error::Io { .. }), "{first:?}");
    assert_eq!(failed.unwrap_err().written(), Written::Maybe);
    producer.flush().unwrap();
    waited_for.wait().unwrap_err();
    drop(held);
    let failed = producer.close();
    assert!(matches!(failed, Err(Error::DeliveriesFailed { count: 1, .. })), "{failed:?}");
}

#[test]
fn with_acks_none_every_failure_is_counted() {
    let home = Home::manual(1, Durability::Os);
    let producer = home.cluster.producer().acks(Acks::None).build().unwrap();
    let refused = to(TOPIC).timestamp(Timestamp::from_millis(1_900_000_000_000));
    assert_eq!(producer.send(refused).unwrap().wait().unwrap().offset, None);
    let failed = producer.flush();
    let Err(Error::DeliveriesFailed { count: 1, first }) = &failed else { panic!("{failed:?}") };
    assert!(matches!(**first, Error::InvalidTimestamp { .. }), "{first:?}");
}

#[test]
fn out_of_space_fails_one_batch_and_later_ones_go_on() {
    let home = Home::manual(1, Durability::Os);
    let producer = home.producer();
    producer.send(to(TOPIC)).unwrap().wait().unwrap();
    home.storage.fail(
        Fault::nth(0)
            .of_kind(OperationKind::Write)
            .on_paths_ending_with(".log")
            .with_error_kind(std::io::ErrorKind::StorageFull),
    );
    let failed = producer.send(to(TOPIC)).unwrap().wait();
    assert!(matches!(failed, Err(Error::OutOfSpace { .. })), "{failed:?}");
    assert_eq!(producer.send(to(TOPIC)).unwrap().wait().unwrap().offset.unwrap().get(), 1);
}

#[test]
fn a_batch_that_is_not_appended_in_time_fails_unwritten() {
    let home = Home::manual(1, Durability::Os);
    let producer = home.producer();
    let delivery = producer.send(to(TOPIC)).unwrap();
    home.clock.advance(Duration::from_secs(120));
    let failed = delivery.wait();
    assert!(matches!(failed, Err(Error::Timeout { written: Written::No, .. })), "{failed:?}");
    assert_eq!(home.batches(), 0);
}

#[test]
fn closing_waits_for_everything_and_closes_the_handles() {
    let home = Home::new(Driver::Threads, 2, Durability::Synced);
    let producer = home.producer();
    let orders = producer.topic(TOPIC).unwrap();
    let deliveries: Vec<_> = (0..100).map(|index: i32| orders.send(index.to_be_bytes(), "v").unwrap()).collect();
    producer.close_timeout(Duration::from_secs(60)).unwrap();
    for mut delivery in deliveries {
        delivery.try_get().unwrap().unwrap();
    }
    assert!(matches!(orders.send((), "late"), Err(Error::Closed)));
}

#[test]
fn closing_with_a_limit_does_not_hang_where_syncs_fail() {
    let home = Home::new(Driver::Threads, 1, Durability::Synced);
    let producer = home.producer();
    let orders = producer.topic(TOPIC).unwrap();
    orders.push((), "lost").unwrap();
    let delivery = orders.send((), "lost too").unwrap();
    home.fail_syncs();
    let failed = producer.close_timeout(Duration::from_secs(60));
    assert!(matches!(failed, Err(Error::DeliveriesFailed { count: 1, .. })), "{failed:?}");
    assert!(delivery.wait().is_err());
}

/// Keeps whoever wakes it busy until the test lets it go.
struct BlockingWake {
    /// Tells the name of the thread that is busy now.
    entered: mpsc::Sender<String>,
    leave: Barrier,
}

impl Wake for BlockingWake {
    fn wake(self: Arc<Self>) {
        let _ = self.entered.send(std::thread::current().name().unwrap_or_default().to_owned());
        self.leave.wait();
    }
}

/// Sends until the thread that syncs, rather than the one that appended, tells of an acknowledgement: it is busy then.
fn keep_the_syncing_thread_busy(home: &Home, producer: &Producer) -> Arc<BlockingWake> {
    loop {
        let mut delivery = pin!(producer.send(to(TOPIC).partition(0)).unwrap());
        let (entered, entries) = mpsc::channel();
        let wake = Arc::new(BlockingWake { entered, leave: Barrier::new(2) });
        assert!(delivery.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(&wake)))).is_pending());
        home.clock.advance(Duration::from_millis(5));
        if entries.recv().unwrap().contains("sync") {
            return wake;
        }
        wake.leave.wait();
    }
}

#[test]
fn what_is_not_acknowledged_within_the_limit_fails_with_a_timeout() {
    let home = Home::with(Driver::Threads, BrokerConfig::new().sync_threads(1), 2, Durability::Synced);
    let producer = home.producer();
    let wake = keep_the_syncing_thread_busy(&home, &producer);
    let second = producer.send(to(TOPIC).partition(1)).unwrap();
    let failed = producer.close_timeout(Duration::ZERO);
    wake.leave.wait();
    assert!(matches!(failed, Err(Error::Timeout { written: Written::Maybe, .. })), "{failed:?}");
    let failed = second.wait();
    assert!(matches!(failed, Err(Error::Timeout { written: Written::Maybe, .. })), "{failed:?}");
}

#[test]
fn a_dropped_producer_hands_its_records_on() {
    let home = Home::manual(1, Durability::Os);
    let producer = home.producer();
    let orders = producer.topic(TOPIC).unwrap();
    orders.push((), "v").unwrap();
    drop(producer);
    assert_eq!(home.batches(), 1);
    assert!(matches!(orders.push((), "late"), Err(Error::Closed)));
}

#[test]
fn closing_the_cluster_delivers_what_its_producers_hold() {
    let home = Home::new(Driver::Threads, 1, Durability::Synced);
    let producer = home.producer();
    let orders = producer.topic(TOPIC).unwrap();
    let delivery = orders.send((), "v").unwrap();
    home.cluster.close().unwrap();
    assert_eq!(delivery.wait().unwrap().offset.unwrap().get(), 0);
    assert!(matches!(orders.send((), "late"), Err(Error::Closed)));
    assert!(matches!(producer.send(to(TOPIC)), Err(Error::Closed)));
    assert!(matches!(producer.flush(), Err(Error::Closed)));
    producer.close().unwrap();
}

#[test]
fn a_record_keeps_nulls_empties_and_headers() {
    let home = Home::manual(1, Durability::Os);
    let producer = home.producer();
    let orders = producer.topic(TOPIC).unwrap();
    orders.send_record(&Record::to(TOPIC).key("").header("a", "1").header_without_value("b")).unwrap();
    orders.send(None::<&str>, "").unwrap().wait().unwrap();
    drop((orders, producer));
    home.cluster.close().unwrap();
    let directory = logstead::log::LogDirectory::options().storage(home.storage).open("/data").unwrap();
    let tp = logstead::types::TopicPartition::new(TOPIC, 0).unwrap();
    let log = directory.open_log(&tp, None, LogConfig::new(), home.clock.now()).unwrap();
    let slice = crate::support::read(&log, 0).unwrap();
    let batch = slice.batches().next().unwrap().unwrap();
    let records: Vec<_> = batch.records().collect();
    assert_eq!((records[0].key(), records[0].value()), (Some(&b""[..]), None));
    let headers: Vec<_> = records[0].headers().map(|header| (header.key(), header.value())).collect();
    assert_eq!(headers, [(Some("a"), Some(&b"1"[..])), (Some("b"), None)]);
    assert_eq!((records[1].key(), records[1].value()), (None, Some(&b""[..])));
    assert_eq!(batch.header().producer(), None);
}

/// Flushes when memory comes free: as any other thread might at that moment.
struct FlushOnWake {
    producer: OnceLock<Arc<Producer>>,
    outcome: OnceLock<logstead::Result<()>>,
}

impl Wake for FlushOnWake {
    fn wake(self: Arc<Self>) {
        let outcome = self.producer.get().unwrap().flush();
        let _ = self.outcome.set(outcome);
    }
}

/// A producer whose memory is full of one batch, and a waker that is called when it comes free.
fn full_of_one_batch(home: &Home) -> (Arc<Producer>, Arc<FlushOnWake>, Waker) {
    let config = ProducerConfig::new().batch_bytes(1000).buffer_bytes(1000).request_bytes_max(1000);
    let producer = Arc::new(home.cluster.producer().config(config.linger(Duration::ZERO)).build().unwrap());
    let wake = Arc::new(FlushOnWake { producer: OnceLock::new(), outcome: OnceLock::new() });
    wake.producer.set(Arc::clone(&producer)).unwrap_or_else(|_| panic!("set once"));
    let waker = Waker::from(Arc::clone(&wake));
    (producer, wake, waker)
}

#[test]
fn a_flush_beside_a_failing_batch_tells_of_the_failure() {
    let home = Home::manual(1, Durability::Synced);
    let (producer, wake, waker) = full_of_one_batch(&home);
    let orders = producer.topic(TOPIC).unwrap();
    orders.push((), "v").unwrap();
    {
        let mut future = pin!(producer.send_async(Record::to(TOPIC).value("later")));
        assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    home.storage.fail(Fault::nth(0).of_kind(OperationKind::Sync).sticky());
    home.poll();
    let told = wake.outcome.get().expect("memory came free");
    assert!(matches!(told, Err(Error::DeliveriesFailed { count: 1, .. })), "{told:?}");
}

/// Waits for a ticket when memory comes free.
struct WaitOnWake {
    wait: Box<dyn Fn() -> logstead::Result<()> + Send + Sync>,
    outcome: OnceLock<logstead::Result<()>>,
}

impl Wake for WaitOnWake {
    fn wake(self: Arc<Self>) {
        let outcome = (self.wait)();
        let _ = self.outcome.set(outcome);
    }
}

#[test]
fn a_ticket_is_known_while_its_batch_is_being_acknowledged() {
    let home = Home::manual(1, Durability::Synced);
    let (producer, _, _) = full_of_one_batch(&home);
    let orders = producer.topic(TOPIC).unwrap();
    let ticket = orders.push((), "v").unwrap();
    let handle = orders.clone();
    let wait = Box::new(move || handle.wait(ticket).map(|_| ()));
    let wake = Arc::new(WaitOnWake { wait, outcome: OnceLock::new() });
    let waker = Waker::from(Arc::clone(&wake));
    {
        let mut future = pin!(producer.send_async(Record::to(TOPIC).value("later")));
        assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    home.poll();
    let told = wake.outcome.get().expect("memory came free");
    assert!(!matches!(told, Err(Error::InvalidState { .. })), "{told:?}");
}

#[test]
fn a_lower_message_limit_is_kept_by_producers_that_are_there_already() {
    let home = Home::manual(1, Durability::Os);
    let producer = home.cluster.producer().build().unwrap();
    let orders = producer.topic(TOPIC).unwrap();
    orders.push((), "before").unwrap();
    producer.flush().unwrap();
    home.cluster.alter_topic(TOPIC, [("max.message.bytes", Some("1000"))]).unwrap();
    for _ in 0..100 {
        orders.push((), [b'x'; 100]).unwrap();
    }
    producer.flush().unwrap();
}
