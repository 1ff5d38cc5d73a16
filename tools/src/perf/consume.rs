//! Reading what `perf produce` wrote. It only looks: it works on a folder that another process owns.

use std::path::Path;
use std::thread;
use std::time::Duration;

use clap::Args;
use logstead::cluster::{Cluster, ReadOnlyCluster, Topic};
use logstead::consumer::{Consumer, PollLimits};
use logstead::time::{Clock, SystemClock};

use super::report::Report;
use super::topic::PerfName;
use super::{cannot_start, join, share};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::until_end::UntilEnd;

/// Bytes of records that one poll returns.
const POLL_BYTES: usize = 1 << 20;
/// How long one wait for more records lasts.
const WAIT: Duration = Duration::from_secs(1);

/// Read the newest topic that perf produce or perf latency made in this folder, up to its end.
#[derive(Debug, Args)]
pub(crate) struct Consume {
    /// End after so many records, over all threads.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    records: Option<u64>,

    /// Read the newest topic with records of this size.
    #[arg(long, value_name = "BYTES")]
    record_size: Option<u64>,

    /// How many threads read; no more than the topic has partitions.
    #[arg(long, value_name = "T", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: u32,

    /// Print one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

/// What was read.
#[derive(Debug, Default)]
struct Amount {
    records: u64,
    bytes: u64,
}

impl Consume {
    pub(super) fn run(&self, data: &Path) -> Result<Report, Failure> {
        let cluster = Cluster::open_read_only(data)?;
        let (name, topic) = self.newest(&cluster)?;
        let threads = self.threads.min(topic.partition_count());
        let clock = SystemClock::new();
        let started = clock.now().mono;
        let amount = self.read(&cluster, &topic, threads)?;
        Ok(Report {
            test: "consume",
            topic: topic.name().to_owned(),
            durability: topic.config().get_durability(),
            acks: None,
            batch_bytes: None,
            record_size: name.record_size,
            threads,
            records: amount.records,
            bytes: amount.bytes,
            elapsed: clock.now().mono.since(started),
            latency: None,
        })
    }

    fn newest(&self, cluster: &ReadOnlyCluster) -> Result<(PerfName, Topic), Failure> {
        let named = |topic: Topic| Some((PerfName::parse(topic.name())?, topic));
        let is_wanted = |name: &PerfName| self.record_size.is_none_or(|size| size == name.record_size);
        let topics = cluster.topics()?.into_iter().filter_map(named).filter(|(name, _)| is_wanted(name));
        topics.max_by_key(|(name, _)| name.number).ok_or_else(|| {
            let size = self.record_size.map_or_else(|| "100".to_owned(), |size| size.to_string());
            let first = format!("logstead --data DIR perf produce --records 1000000 --record-size {size}");
            Failure::Told(format!("there is nothing to read yet; run this first: {first}"))
        })
    }

    /// Partitions are dealt out to the threads in turn.
    fn read(&self, cluster: &ReadOnlyCluster, topic: &Topic, threads: u32) -> Result<Amount, Failure> {
        thread::scope(|scope| {
            let mut running = Vec::new();
            for number in 0..threads {
                let first = usize::try_from(number).unwrap_or(usize::MAX);
                let step = usize::try_from(threads).unwrap_or(usize::MAX);
                let partitions = topic.partitions().skip(first).step_by(step);
                let consumer = cluster.consumer().assign(partitions).build()?;
                let limit = self.records.map_or(u64::MAX, |records| share(records, threads, number));
                let run = move || read_all(consumer, limit);
                running.push(thread::Builder::new().spawn_scoped(scope, run).map_err(cannot_start)?);
            }
            let mut total = Amount::default();
            for thread in running {
                let amount = join(thread)?;
                total.records += amount.records;
                total.bytes += amount.bytes;
            }
            Ok(total)
        })
    }
}

fn read_all(mut consumer: Consumer, limit: u64) -> Result<Amount, Failure> {
    let mut until_end = UntilEnd::of(&consumer)?;
    let mut progress = Progress::new("read", None);
    let mut amount = Amount::default();
    while amount.records < limit && !until_end.is_reached(&mut consumer)? {
        let left = usize::try_from(limit - amount.records).unwrap_or(usize::MAX);
        let records = consumer.poll_with(PollLimits { records: left, bytes: POLL_BYTES }, WAIT)?;
        if records.is_empty() {
            until_end.lower(&consumer)?;
        }
        for record in &records {
            let size = record.key().map_or(0, <[u8]>::len) + record.value().map_or(0, <[u8]>::len);
            amount.records += 1;
            amount.bytes += size as u64;
        }
        progress.set(amount.records);
    }
    Ok(amount)
}
