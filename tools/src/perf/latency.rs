//! The way of single records from a producer to a consumer of the same process, which sleeps until they come.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use logstead::cluster::Cluster;
use logstead::config::{Acks, ProducerConfig};
use logstead::consumer::Consumer;
use logstead::producer::{Record, TopicProducer};
use logstead::time::{Clock, Instant, SystemClock};
use logstead::types::TopicName;

use super::histogram::Histogram;
use super::report::Report;
use super::{Load, cannot_start, join};
use crate::failure::Failure;
use crate::progress::Progress;

/// How long one wait for a record lasts; the record ends it.
const WAIT: Duration = Duration::from_secs(1);

pub(super) fn measure(load: &Load, cluster: &Cluster, topic: &TopicName) -> Result<Report, Failure> {
    let producer = load.producer(cluster, ProducerConfig::new().linger(Duration::ZERO))?;
    let handle = producer.topic(topic.as_str())?;
    let payload = load.payload()?;
    let clock = SystemClock::new();
    let has_failed = AtomicBool::new(false);
    let started = clock.now().mono;
    let latency = thread::scope(|scope| {
        let mut threads = Vec::new();
        for number in 0..load.threads {
            let partition = i32::try_from(number).unwrap_or(i32::MAX);
            let consumer = cluster.consumer().assign([(topic.as_str(), partition)]).build()?;
            let (arrivals, arrived) = sync_channel(1);
            let count = load.share_of(number);
            let reader = Reader { consumer, clock, arrivals, has_failed: &has_failed };
            let read = thread::Builder::new().spawn_scoped(scope, move || reader.run(count)).map_err(cannot_start)?;
            let record = Record::to(topic.as_str()).partition(partition).value(&payload);
            let writer = Writer { topic: &handle, record, clock, arrived, acks: load.acks, has_failed: &has_failed };
            let write = thread::Builder::new().spawn_scoped(scope, move || writer.run(count));
            if write.is_err() {
                has_failed.store(true, Ordering::Relaxed);
            }
            threads.push((read, write.map_err(cannot_start)?));
        }
        let mut latency = Histogram::new();
        for (read, write) in threads {
            // What the reader met is the cause, where both failed.
            let (read, written) = (join(read), join(write));
            read?;
            latency.merge(&written?);
        }
        Ok::<_, Failure>(latency)
    })?;
    producer.close()?;
    let elapsed = clock.now().mono.since(started);
    Ok(Report { elapsed, latency: Some(latency), ..load.report("latency", topic) })
}

/// Sends a record when the one before has arrived.
struct Writer<'a> {
    topic: &'a TopicProducer,
    record: Record<'a>,
    clock: SystemClock,
    arrived: Receiver<Instant>,
    acks: Acks,
    has_failed: &'a AtomicBool,
}

impl Writer<'_> {
    fn run(&self, count: u64) -> Result<Histogram, Failure> {
        let outcome = self.send_all(count);
        if outcome.is_err() {
            // The flag publishes nothing but itself.
            self.has_failed.store(true, Ordering::Relaxed);
        }
        outcome
    }

    fn send_all(&self, count: u64) -> Result<Histogram, Failure> {
        let mut progress = Progress::new("passed on by one thread", Some(count));
        let mut latency = Histogram::new();
        for _ in 0..count {
            let sent = self.clock.now().mono;
            let delivery = self.topic.send_record(&self.record)?;
            if self.acks != Acks::None {
                delivery.wait()?;
            }
            let Ok(arrived) = self.arrived.recv() else {
                return Err(Failure::Told("the consumer of the measurement has stopped".to_owned()));
            };
            latency.record(arrived.since(sent));
            progress.add();
        }
        Ok(latency)
    }
}

/// Tells when a record is there.
struct Reader<'a> {
    consumer: Consumer,
    clock: SystemClock,
    arrivals: SyncSender<Instant>,
    has_failed: &'a AtomicBool,
}

impl Reader<'_> {
    fn run(mut self, count: u64) -> Result<(), Failure> {
        let mut left = count;
        while left > 0 && !self.has_failed.load(Ordering::Relaxed) {
            let records = self.consumer.poll(WAIT)?;
            let arrived = self.clock.now().mono;
            for _ in &records {
                left = left.saturating_sub(1);
                if self.arrivals.send(arrived).is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
