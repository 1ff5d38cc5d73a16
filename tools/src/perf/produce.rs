//! Writing as fast as records are taken.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use logstead::cluster::Cluster;
use logstead::config::{Acks, ProducerConfig};
use logstead::producer::{Delivery, Record, TopicProducer};
use logstead::time::{Clock, Instant, SystemClock};
use logstead::types::TopicName;

use super::histogram::Histogram;
use super::report::Report;
use super::{Load, cannot_start, join};
use crate::failure::Failure;
use crate::progress::Progress;

/// One record in so many is timed; the others cost no more than they do without a measurement.
const BETWEEN_SAMPLES: u64 = 64;

pub(super) fn measure(load: &Load, cluster: &Cluster, topic: &TopicName) -> Result<Report, Failure> {
    let producer = load.producer(cluster, ProducerConfig::new())?;
    let handle = producer.topic(topic.as_str())?;
    let payload = load.payload()?;
    let clock = SystemClock::new();
    let written = AtomicU64::new(0);
    let started = clock.now().mono;
    let latency = thread::scope(|scope| {
        let mut threads = Vec::new();
        for number in 0..load.threads {
            let partition = i32::try_from(number).unwrap_or(i32::MAX);
            let record = Record::to(topic.as_str()).partition(partition).value(&payload);
            let writer = Writer { topic: &handle, record, clock, written: &written, records: load.records };
            let run = move || writer.run(load.share_of(number));
            threads.push(thread::Builder::new().spawn_scoped(scope, run).map_err(cannot_start)?);
        }
        let mut latency = Histogram::new();
        for thread in threads {
            latency.merge(&join(thread)?);
        }
        Ok::<_, Failure>(latency)
    })?;
    producer.close()?;
    let elapsed = clock.now().mono.since(started);
    let latency = (load.acks != Acks::None).then_some(latency);
    Ok(Report { elapsed, latency, ..load.report("produce", topic) })
}

/// One thread, which writes the same record again and again.
struct Writer<'a> {
    topic: &'a TopicProducer,
    record: Record<'a>,
    clock: SystemClock,
    written: &'a AtomicU64,
    records: u64,
}

impl Writer<'_> {
    fn run(&self, count: u64) -> Result<Histogram, Failure> {
        let mut progress = Progress::new("written", Some(self.records));
        let mut latency = Histogram::new();
        let mut under_way: VecDeque<(Instant, Delivery)> = VecDeque::new();
        for number in 0..count {
            if !number.is_multiple_of(BETWEEN_SAMPLES) {
                self.topic.push_record(&self.record)?;
                continue;
            }
            // A relaxed counter is enough: nothing is read on the strength of it.
            progress.set(self.written.fetch_add(BETWEEN_SAMPLES, Ordering::Relaxed));
            let sent = self.clock.now().mono;
            under_way.push_back((sent, self.topic.send_record(&self.record)?));
            self.collect(&mut under_way, &mut latency)?;
        }
        for (sent, delivery) in under_way {
            delivery.wait()?;
            latency.record(self.clock.now().mono.since(sent));
        }
        Ok(latency)
    }

    /// Looks for acknowledgements without asking for any: a record that is waited for takes its batch with it, full or
    /// not.
    fn collect(&self, under_way: &mut VecDeque<(Instant, Delivery)>, latency: &mut Histogram) -> Result<(), Failure> {
        while let Some((sent, delivery)) = under_way.front_mut() {
            let Some(outcome) = delivery.try_get() else { break };
            outcome?;
            latency.record(self.clock.now().mono.since(*sent));
            under_way.pop_front();
        }
        Ok(())
    }
}
