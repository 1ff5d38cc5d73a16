//! Many threads on a real folder, panics of other people's code included.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use logstead::Error;
use logstead::cluster::{Cluster, Driver};
use logstead::config::{Acks, BrokerConfig, Durability, TopicConfig};
use logstead::producer::{Delivery, Record};
use logstead::storage::{
    DirEntry, FileIdentity, FileMetadata, FrozenBytes, Hint, LockGuard, MemStorage, OpenMode, Storage, StorageFile,
    SyncMode,
};
use logstead::time::{Clock, ManualClock};
use logstead::types::{Timestamp, TopicPartition};

use super::rig::Watchdog;
use super::session::look;
use crate::support::FOLDER;

const PARTITIONS: i32 = 3;
const RECORDS: usize = 120;

/// What was acknowledged: partition, offset, value.
type Acknowledged = Vec<(i32, i64, String)>;

fn config() -> BrokerConfig {
    let millis = Duration::from_millis;
    BrokerConfig::new().checkpoint_interval(millis(2)).flush_interval(millis(1))
}

fn is_gone(error: &Error) -> bool {
    matches!(error, Error::UnknownTopicOrPartition { .. })
}

/// Creates, uses, changes and deletes a topic again and again.
fn administer(cluster: &Cluster, name: &str) {
    for round in 0..12 {
        let durability = if round % 2 == 0 { Durability::Synced } else { Durability::Os };
        cluster.create_topic(name, TopicConfig::new().durability(durability).segment_bytes(500)).unwrap();
        cluster.alter_topic(name, [("segment.bytes", Some("400"))]).unwrap();
        cluster.add_partitions(name, 2).unwrap();
        assert_eq!(cluster.describe_topic(name).unwrap().len(), 2);
        cluster.delete_topic(name).unwrap();
        assert!(cluster.delete_topic(name).is_err_and(|error| is_gone(&error)));
    }
}

/// Sends to a topic that others create and delete.
fn disturb(cluster: &Cluster, name: &str) {
    let producer = cluster.producer().linger(Duration::ZERO).build().unwrap();
    for _ in 0..RECORDS {
        let sent = producer.send(Record::to(name).value("passing")).and_then(Delivery::wait);
        assert!(sent.as_ref().is_ok() || sent.as_ref().is_err_and(is_gone), "{sent:?}");
    }
    // What nobody was told of is told now.
    let closed = producer.close();
    assert!(closed.is_ok(), "{closed:?}");
}

/// Reads from a topic that others create and delete.
fn watch(cluster: &Cluster, name: &str) {
    for _ in 0..40 {
        let read = cluster.consumer().topic(name).build().and_then(|mut consumer| {
            let records = consumer.poll(Duration::from_millis(1))?;
            assert!(records.iter().all(|record| record.value() == Some(b"passing")));
            Ok(())
        });
        assert!(read.as_ref().is_ok() || read.as_ref().is_err_and(is_gone), "{read:?}");
    }
}

fn produce(cluster: &Cluster, thread: usize) -> Acknowledged {
    let producer = cluster.producer().batch_bytes(300).build().unwrap();
    let mut acknowledged = Vec::new();
    let mut waiting = Vec::new();
    for number in 0..RECORDS {
        let value = format!("{thread}/{number}");
        let partition = (number % 3) as i32;
        waiting.push((partition, producer.send(Record::to("kept").partition(partition).value(&value)).unwrap(), value));
        if number % 10 == 9 {
            acknowledged.extend(waiting.drain(..).map(|(partition, delivery, value)| {
                (partition, delivery.wait().unwrap().offset.unwrap().get(), value)
            }));
        }
    }
    producer.close().unwrap();
    acknowledged
}

fn consume(cluster: &Cluster, count: usize) {
    let mut consumer = cluster.consumer().topic("kept").build().unwrap();
    let mut next: BTreeMap<TopicPartition, i64> = BTreeMap::new();
    let mut read = 0;
    while read < count {
        for record in &consumer.poll(Duration::MAX).unwrap() {
            let next = next.entry(record.topic_partition().clone()).or_default();
            assert_eq!(record.offset().get(), *next);
            *next += 1;
            read += 1;
        }
    }
}

/// Sends until the cluster is closed.
fn produce_until_closed(producer: &logstead::producer::Producer, thread: usize, started: &Barrier) -> Acknowledged {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        let value = format!("late {thread}/{number}");
        let partition = number % 3;
        let stored = producer.send(Record::to("kept").partition(partition).value(&value)).and_then(Delivery::wait);
        match stored {
            Ok(stored) => acknowledged.push((partition, stored.offset.unwrap().get(), value)),
            Err(Error::Closed) => break,
            Err(other) => panic!("{other:?}"),
        }
        if number == 5 {
            started.wait();
        }
    }
    acknowledged
}

fn close_while_it_is_used(cluster: Cluster) -> Acknowledged {
    const THREADS: usize = 3;
    let started = Arc::new(Barrier::new(THREADS + 1));
    let writers: Vec<_> = (0..THREADS)
        .map(|thread| {
            let producer = cluster.producer().batch_bytes(200).build().unwrap();
            let started = Arc::clone(&started);
            std::thread::spawn(move || produce_until_closed(&producer, thread, &started))
        })
        .collect();
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let mut consumer = cluster.consumer().topic("kept").build().unwrap();
            std::thread::spawn(move || {
                loop {
                    match consumer.poll(Duration::MAX) {
                        Ok(records) => drop(records),
                        Err(error) => return error,
                    }
                }
            })
        })
        .collect();
    started.wait();
    cluster.close().unwrap();
    for reader in readers {
        let error = reader.join().unwrap();
        assert!(matches!(error, Error::Closed), "{error:?}");
    }
    writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
}

#[test]
fn many_threads_use_a_cluster_while_topics_come_and_go_and_while_it_is_closed() {
    let _watchdog = Watchdog::start(Duration::from_secs(300));
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::builder().config(config()).open(folder.path()).unwrap();
    cluster.create_topic("kept", TopicConfig::new().partitions(PARTITIONS as u32).segment_bytes(3_000)).unwrap();
    let mut acknowledged = Acknowledged::new();
    std::thread::scope(|scope| {
        let cluster = &cluster;
        let writers: Vec<_> = (0..3).map(|thread| scope.spawn(move || produce(cluster, thread))).collect();
        for name in ["first", "second"] {
            scope.spawn(move || administer(cluster, name));
            scope.spawn(move || disturb(cluster, name));
            scope.spawn(move || watch(cluster, name));
            scope.spawn(move || consume(cluster, 3 * RECORDS));
        }
        acknowledged.extend(writers.into_iter().flat_map(|writer| writer.join().unwrap()));
    });
    acknowledged.extend(close_while_it_is_used(cluster));

    let cluster = Cluster::open(folder.path()).unwrap();
    assert!(cluster.report().was_clean, "{:?}", cluster.report());
    let found = look(&cluster).unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), ["kept"]);
    for (partition, offset, value) in acknowledged {
        assert_eq!(found["kept"].partitions[partition as usize][offset as usize], value);
    }
    for partition in &found["kept"].partitions {
        let mut values = partition.clone();
        values.sort();
        values.dedup();
        assert_eq!(values.len(), partition.len());
    }
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a waker of the embedder");
    }
}

/// Polls once with a waker that panics when it is woken.
fn poll_carelessly(delivery: &mut Delivery) {
    let waker = Waker::from(Arc::new(Panics));
    assert!(matches!(Pin::new(delivery).poll(&mut Context::from_waker(&waker)), Poll::Pending));
}

#[test]
fn a_waker_that_panics_harms_nobody_else() {
    for driver in [Driver::Manual, Driver::Threads] {
        let _watchdog = Watchdog::start(Duration::from_secs(120));
        let (storage, clock) = (MemStorage::new(), Arc::new(ManualClock::new()));
        let builder = Cluster::builder().storage(storage.clone()).driver(driver).seed(1);
        let cluster = builder.clock(Arc::clone(&clock) as Arc<dyn Clock>).open(FOLDER).unwrap();
        cluster.create_topic("orders", TopicConfig::new()).unwrap();
        let producer = cluster.producer().batch_bytes(100).build().unwrap();
        let mut deliveries: Vec<_> =
            (0..4).map(|_| producer.send(Record::to("orders").value(&[0; 60])).unwrap()).collect();
        for delivery in &mut deliveries {
            if delivery.try_get().is_none() {
                poll_carelessly(delivery);
            }
        }
        cluster.poll(clock.now());
        for (offset, delivery) in deliveries.into_iter().enumerate() {
            assert_eq!(delivery.wait().unwrap().offset.unwrap().get(), offset as i64, "{driver:?}");
        }
        producer.send(Record::to("orders").value("next")).unwrap().wait().unwrap();
        cluster.close().unwrap();
        let cluster = Cluster::builder().storage(storage).driver(Driver::Manual).open(FOLDER).unwrap();
        assert!(cluster.report().was_clean);
    }
}

/// A disk whose syncs of one partition panic, once it is told to.
#[derive(Debug, Clone)]
struct PanickingDisk {
    inner: MemStorage,
    is_armed: Arc<AtomicBool>,
}

#[derive(Debug)]
struct PanickingFile {
    inner: Arc<dyn StorageFile>,
    is_armed: Arc<AtomicBool>,
}

impl Storage for PanickingDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        let inner = self.inner.open(path, mode)?;
        if !path.to_string_lossy().contains("orders-0") {
            return Ok(inner);
        }
        Ok(Arc::new(PanickingFile { inner, is_armed: Arc::clone(&self.is_armed) }))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<DirEntry>> {
        self.inner.list(folder)
    }

    fn create_dir(&self, folder: &Path) -> io::Result<()> {
        self.inner.create_dir(folder)
    }

    fn remove_dir(&self, folder: &Path) -> io::Result<()> {
        self.inner.remove_dir(folder)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn sync_dir(&self, folder: &Path) -> io::Result<()> {
        self.inner.sync_dir(folder)
    }

    fn lock(&self, path: &Path) -> logstead::Result<Box<dyn LockGuard>> {
        self.inner.lock(path)
    }

    fn lock_holder(&self, path: &Path) -> io::Result<Option<u32>> {
        self.inner.lock_holder(path)
    }

    fn identity(&self, path: &Path) -> io::Result<FileIdentity> {
        self.inner.identity(path)
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        self.inner.free_space(path)
    }
}

impl StorageFile for PanickingFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read_at(position, buffer)
    }

    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write_at(position, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn metadata(&self) -> io::Result<FileMetadata> {
        self.inner.metadata()
    }

    fn set_modified(&self, time: Timestamp) -> io::Result<()> {
        self.inner.set_modified(time)
    }

    fn hint(&self, hint: Hint) -> io::Result<()> {
        self.inner.hint(hint)
    }

    fn sync(&self, mode: SyncMode) -> io::Result<()> {
        assert!(!self.is_armed.load(Ordering::SeqCst), "a bug in the disk");
        self.inner.sync(mode)
    }

    fn freeze(&self) -> io::Result<FrozenBytes> {
        self.inner.freeze()
    }

    fn path(&self) -> &Path {
        self.inner.path()
    }
}

#[test]
fn a_background_job_that_panics_takes_its_partition_out_of_service_and_nothing_else() {
    for driver in [Driver::Manual, Driver::Threads] {
        let _watchdog = Watchdog::start(Duration::from_secs(120));
        let disk = PanickingDisk { inner: MemStorage::new(), is_armed: Arc::default() };
        let builder = Cluster::builder().storage(disk.clone()).config(config());
        let cluster = builder.driver(driver).open(FOLDER).unwrap();
        cluster.create_topic("orders", TopicConfig::new().partitions(2)).unwrap();
        let producer = cluster.producer().linger(Duration::ZERO).build().unwrap();
        let to = |partition| Record::to("orders").partition(partition).value("value");
        producer.send(to(0)).unwrap().wait().unwrap();
        disk.is_armed.store(true, Ordering::SeqCst);
        let mut failing = producer.send(to(0)).unwrap();
        let mut consumer = cluster.consumer().assign([("orders", 0)]).build().unwrap();
        cluster.poll(logstead::time::SystemClock::new().now());
        let failed = failing.wait_timeout(Duration::from_secs(100));
        assert!(matches!(failed, Some(Err(Error::Internal { .. }))), "{driver:?}: {failed:?}");
        disk.is_armed.store(false, Ordering::SeqCst);
        let refused = producer.send(to(0)).and_then(Delivery::wait);
        assert!(matches!(refused, Err(Error::Internal { .. })), "{refused:?}");
        assert!(matches!(consumer.poll(Duration::ZERO), Err(Error::Internal { .. })));
        assert_eq!(producer.send(to(1)).unwrap().wait().unwrap().offset.unwrap().get(), 0);
        let background = cluster.producer().acks(Acks::Leader).linger(Duration::ZERO).build().unwrap();
        background.send(to(1)).unwrap().wait().unwrap();
        cluster.create_topic("later", TopicConfig::new()).unwrap();
        assert!(cluster.close().is_err(), "{driver:?}");
        let cluster = Cluster::builder().storage(disk.inner).driver(Driver::Manual).open(FOLDER).unwrap();
        assert!(!cluster.report().was_clean);
        let found = look(&cluster).unwrap();
        assert_eq!(found["orders"].partitions[1], ["value"; 2]);
        assert!(found["orders"].partitions[0].len() <= 2 && !found["orders"].partitions[0].is_empty());
    }
}
