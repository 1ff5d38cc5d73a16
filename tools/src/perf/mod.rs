//! `logstead perf`: how fast this machine writes and reads, with the records and the durability that matter to the
//! asker.
//!
//! Kafka's counterparts: `kafka-producer-perf-test`, `kafka-consumer-perf-test`, `EndToEndLatency`.

mod consume;
mod histogram;
mod latency;
mod produce;
mod report;
mod topic;

use std::io::{self, Write};
use std::path::Path;
use std::thread::ScopedJoinHandle;

use clap::{Args, Subcommand};
use logstead::cluster::Cluster;
use logstead::config::{Acks, Durability, ProducerConfig};
use logstead::producer::Producer;
use logstead::types::TopicName;

use crate::arguments;
use crate::failure::Failure;

const EXAMPLES: &str = "\
Examples:
    logstead --data /tmp/perf perf produce --records 10000000 --record-size 100 --durability os
    logstead --data /tmp/perf perf consume
    logstead --data /tmp/perf perf latency --records 100000 --record-size 100 --json

Each run of produce and latency makes a topic perf-SIZE-NUMBER, named in the report; topics delete removes it.

Exit codes: 0 done, 1 error (told on stderr), 2 wrong usage.";

/// Measure throughput and latency.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Perf {
    #[command(subcommand)]
    test: Test,
}

#[derive(Debug, Subcommand)]
enum Test {
    /// Write records into a new topic, as fast as they are taken. The latency is the time from a send until its
    /// acknowledgement is seen, of one record in 64.
    Produce(Load),
    Consume(consume::Consume),
    /// Write records one by one into a new topic, and wait until a consumer, which sleeps until then, has read each.
    /// The latency is the time from before the send until the consumer has the record.
    Latency(Load),
}

/// What is written.
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// How many records, over all threads.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    records: u64,

    /// Bytes of each record's value; there are no keys.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(0..=256 << 20))]
    record_size: u64,

    /// Bytes that a batch of records does not exceed.
    #[arg(long, value_name = "B", default_value_t = ProducerConfig::new().get_batch_bytes())]
    batch_bytes: u64,

    /// When a record counts as delivered: 0 at once, 1 when it is in the log file, all when it is as durable as
    /// --durability says.
    #[arg(long, default_value = "all", value_parser = arguments::acks())]
    acks: Acks,

    /// synced: what is acknowledged survives a power cut. os: it survives the death of the process.
    #[arg(long, default_value = "synced", value_parser = arguments::durability())]
    durability: Durability,

    /// How many threads write, each into a partition of its own.
    #[arg(long, value_name = "T", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: u32,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Perf {
    /// Measures, and prints to `out`.
    ///
    /// # Errors
    /// What the library refuses, or `out`.
    pub(crate) fn run(&self, data: &Path, out: &mut dyn Write) -> Result<(), Failure> {
        let (report, is_json) = match &self.test {
            Test::Produce(load) => (load.run(data, produce::measure)?, load.json),
            Test::Consume(consume) => (consume.run(data)?, consume.json),
            Test::Latency(load) => (load.run(data, latency::measure)?, load.json),
        };
        Ok(report.print(is_json, out)?)
    }
}

impl Load {
    fn run(
        &self,
        data: &Path,
        measure: fn(&Load, &Cluster, &TopicName) -> Result<report::Report, Failure>,
    ) -> Result<report::Report, Failure> {
        let cluster = Cluster::open(data)?;
        let topic = topic::create(&cluster, self)?;
        let outcome = measure(self, &cluster, &topic);
        let closed = cluster.close();
        let report = outcome?;
        closed?;
        Ok(report)
    }

    fn producer(&self, cluster: &Cluster, config: ProducerConfig) -> Result<Producer, Failure> {
        let largest = i32::MAX.unsigned_abs().into();
        let buffer_bytes = config.get_buffer_bytes().max(topic::batch_bytes_max(self).saturating_mul(2));
        let config = config.acks(self.acks).batch_bytes(self.batch_bytes).request_bytes_max(largest);
        Ok(cluster.producer().config(config.buffer_bytes(buffer_bytes)).build()?)
    }

    fn payload(&self) -> Result<Vec<u8>, Failure> {
        let size =
            usize::try_from(self.record_size).map_err(|_| Failure::Told("the record is too large".to_owned()))?;
        Ok(vec![b'x'; size])
    }

    /// How many of the records a thread writes.
    fn share_of(&self, thread: u32) -> u64 {
        share(self.records, self.threads, thread)
    }

    fn report(&self, test: &'static str, topic: &TopicName) -> report::Report {
        report::Report {
            test,
            topic: topic.to_string(),
            durability: self.durability,
            acks: Some(self.acks),
            batch_bytes: Some(self.batch_bytes),
            record_size: self.record_size,
            threads: self.threads,
            records: self.records,
            bytes: self.records.saturating_mul(self.record_size),
            elapsed: std::time::Duration::ZERO,
            latency: None,
        }
    }
}

/// The part of `total` that one of several threads, counted from 0, has to do.
fn share(total: u64, threads: u32, thread: u32) -> u64 {
    let threads = u64::from(threads.max(1));
    total / threads + u64::from(u64::from(thread) < total % threads)
}

/// What a thread found.
fn join<T>(thread: ScopedJoinHandle<'_, Result<T, Failure>>) -> Result<T, Failure> {
    thread.join().unwrap_or_else(|_| Err(Failure::Told("a thread of the measurement panicked".to_owned())))
}

fn cannot_start(error: io::Error) -> Failure {
    Failure::Told(format!("cannot start a thread: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_differ_by_one_at_most() {
        for (total, threads) in [(10, 3), (2, 5), (0, 1), (7, 7)] {
            let shares: Vec<_> = (0..threads).map(|thread| share(total, threads, thread)).collect();
            assert_eq!(shares.iter().sum::<u64>(), total);
            assert!(shares.iter().max() <= shares.iter().min().map(|min| min + 1).as_ref());
        }
    }
}
