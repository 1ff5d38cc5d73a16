//! Reading what `perf produce` wrote. It only looks: it works on a folder that another process owns.

use std::path::Path;
use std::thread;
use std::time::Duration;

use clap::Args;
use logstead::cluster::{Cluster, ReadOnlyCluster, Topic};
use logstead::config::{Acks, Durability};
use logstead::consumer::{Consumer, PollLimits};
use logstead::time::{Clock, SystemClock};

use super::report::{Report, durability_word};
use super::topic::PerfName;
use super::{cannot_start, join};
use crate::arguments;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::until_end::UntilEnd;

/// Bytes of records that one poll returns.
const POLL_BYTES: usize = 1 << 20;
/// How long one wait for more records lasts.
const WAIT: Duration = Duration::from_secs(1);

/// Read the newest topic that perf produce or perf latency made in this folder, up to its end.
///
/// --record-size and --durability choose among those topics. --batch-bytes and --acks are taken so that one set of
/// options fits all three measurements; they say how records are written, and reading does not depend on them.
#[derive(Debug, Args)]
pub(crate) struct Consume {
    /// End after so many records, over all threads; an error when the topic has fewer.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    records: Option<u64>,

    /// Read the newest topic with records of this size.
    #[arg(long, value_name = "BYTES")]
    record_size: Option<u64>,

    /// Read the newest topic with this durability.
    #[arg(long, value_parser = arguments::durability())]
    durability: Option<Durability>,

    /// Ignored: it says how records are written.
    #[arg(long, value_name = "B")]
    batch_bytes: Option<u64>,

    /// Ignored: it says how records are written.
    #[arg(long, value_parser = arguments::acks())]
    acks: Option<Acks>,

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
        let shares = self.shares(&cluster, &name, &topic)?;
        let threads = u32::try_from(shares.len()).unwrap_or(u32::MAX);
        let clock = SystemClock::new();
        let started = clock.now().mono;
        let amount = read(shares)?;
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
        let topics = cluster.topics()?.into_iter().filter_map(named).filter(|(name, topic)| self.wants(name, topic));
        topics.max_by_key(|(name, _)| name.number).ok_or_else(|| {
            let first = self.produce_first(self.record_size.unwrap_or(100));
            Failure::Told(format!("there is nothing to read yet; run this first: {first}"))
        })
    }

    fn wants(&self, name: &PerfName, topic: &Topic) -> bool {
        self.record_size.is_none_or(|size| size == name.record_size)
            && self.durability.is_none_or(|durability| durability == topic.config().get_durability())
    }

    /// The command that makes what is asked for.
    fn produce_first(&self, record_size: u64) -> String {
        let records = self.records.unwrap_or(1_000_000);
        let durability = self.durability.map(|durability| format!(" --durability {}", durability_word(durability)));
        let durability = durability.unwrap_or_default();
        format!("logstead --data DIR perf produce --records {records} --record-size {record_size}{durability}")
    }

    /// What each thread reads, and how many records of it. Partitions are dealt out in turn.
    fn shares(
        &self,
        cluster: &ReadOnlyCluster,
        name: &PerfName,
        topic: &Topic,
    ) -> Result<Vec<(Consumer, u64)>, Failure> {
        let threads = usize::try_from(self.threads.min(topic.partition_count())).unwrap_or(usize::MAX);
        let mut consumers = Vec::new();
        for first in 0..threads {
            let partitions = topic.partitions().skip(first).step_by(threads);
            let consumer = cluster.consumer().assign(partitions).build()?;
            consumers.push((consumer.total_lag()?, consumer));
        }
        let Some(wanted) = self.records else {
            return Ok(consumers.into_iter().map(|(_, consumer)| (consumer, u64::MAX)).collect());
        };
        let there: u64 = consumers.iter().map(|(there, _)| there).sum();
        if there < wanted {
            let first = self.produce_first(name.record_size);
            let topic = topic.name();
            return Err(Failure::Told(format!("{topic} has {there} records, not {wanted}; run this first: {first}")));
        }
        Ok(deal(wanted, consumers))
    }
}

/// Deals out `total` as evenly as what is there allows; it is no more than what is there in all.
fn deal<T>(total: u64, mut there: Vec<(u64, T)>) -> Vec<(T, u64)> {
    // Whoever has less than his part comes first, so that the others take over the rest.
    there.sort_by_key(|(there, _)| *there);
    let mut left = total;
    let mut takers = there.len() as u64;
    let mut dealt = Vec::with_capacity(there.len());
    for (there, taker) in there {
        let part = there.min(left.div_ceil(takers));
        left -= part;
        takers -= 1;
        dealt.push((taker, part));
    }
    dealt
}

fn read(shares: Vec<(Consumer, u64)>) -> Result<Amount, Failure> {
    thread::scope(|scope| {
        let mut running = Vec::new();
        for (consumer, limit) in shares {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_dealt_out_as_evenly_as_there_are_some() {
        let dealt = |total, there| deal::<char>(total, there).into_iter().map(|(_, part)| part).collect::<Vec<_>>();
        assert_eq!(dealt(9, vec![(5, 'a'), (5, 'b'), (5, 'c')]), [3, 3, 3]);
        assert_eq!(dealt(700, vec![(467, 'a'), (233, 'b')]), [233, 467]);
        assert_eq!(dealt(10, vec![(100, 'a'), (0, 'b'), (3, 'c')]), [0, 3, 7]);
        assert_eq!(dealt(1, vec![(2, 'a'), (2, 'b')]), [1, 0]);
    }
}
