//! `logstead consume`: prints records, up to the end of the log or as they come.
//!
//! It only looks: it works on a folder that another process owns. Kafka's counterpart: `kafka-console-consumer`.

mod format;
mod growth;
mod place;

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use logstead::cluster::{Cluster, ReadOnlyCluster, Topic};
use logstead::config::Isolation;
use logstead::consumer::{Consumer, ConsumerRecords};
use logstead::types::TopicName;

use crate::arguments;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::until_end::UntilEnd;
use format::Format;
use growth::Growth;
use place::Place;

/// How long one wait for new records lasts; they end it as soon as they come.
const WAIT: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "\
Examples:
  All values, one a line:
    logstead --data data consume orders

  What comes from now on, as JSON:
    logstead --data data consume orders --follow --format json | jq -r .key

  Ten records of one partition from a moment on:
    logstead --data data consume orders --partition 0 --from-time 2026-01-02T03:04:05Z --max-records 10

Exit codes: 0 done, also when the reader of the output stops early; 1 error (told on stderr), 2 wrong usage.";

/// Print the records of a topic.
///
/// Without --follow it ends where the log ended when it started. Records of one partition come in their order;
/// partitions are read in turn.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Consume {
    /// The topic.
    topic: TopicName,

    /// Read this partition only.
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,

    #[command(flatten)]
    place: Place,

    /// End after so many records.
    #[arg(long, value_name = "N")]
    max_records: Option<u64>,

    /// Wait for more at the end of the log. Without --partition, partitions that the topic gets meanwhile are read too,
    /// from their beginning.
    #[arg(long)]
    follow: bool,

    /// read_committed: records outside of transactions and of committed ones, up to the first transaction that is open.
    /// read_uncommitted: those of aborted and open transactions too.
    #[arg(long, default_value = "read_committed", hide_possible_values = true, value_parser = arguments::isolation())]
    isolation: Isolation,

    /// text: the value and a newline, a null value as an empty line. json: one object a line with topic, partition,
    /// offset, timestamp (ms or null), key, value and headers; bytes that are not UTF-8 are base64, in fields named
    /// *_base64.
    #[arg(long, value_enum, default_value_t = Format::Text, hide_possible_values = true)]
    format: Format,
}

/// What is read, and how much of it is still wanted.
struct Reader {
    consumer: Consumer,
    /// `None` when there is no end.
    until_end: Option<UntilEnd>,
    /// `None` when only the partitions that were there at the start are read.
    growth: Option<Growth>,
    records_left: u64,
    format: Format,
    progress: Progress,
}

impl Consume {
    /// Prints to `out`.
    ///
    /// # Errors
    /// What the library refuses, or `out`.
    pub(crate) fn run(&self, data: &Path, out: &mut dyn Write) -> Result<(), Failure> {
        let cluster = Cluster::open_read_only(data)?;
        let topic = cluster.topic(self.topic.as_str())?;
        let mut consumer = self.consumer(&cluster, &topic)?;
        let until_end = UntilEnd::of(&consumer)?;
        self.place.seek(&mut consumer, &until_end, self.follow)?;
        let mut reader = Reader {
            consumer,
            until_end: (!self.follow).then_some(until_end),
            growth: (self.follow && self.partition.is_none()).then(|| Growth::of(cluster, topic)),
            records_left: self.max_records.unwrap_or(u64::MAX),
            format: self.format,
            progress: Progress::beside_output("read", None),
        };
        while reader.wants_more()? {
            let records = reader.poll(out)?;
            reader.print(&records, out)?;
        }
        Ok(())
    }

    /// A consumer of the partitions asked for, all at their beginning.
    fn consumer(&self, cluster: &ReadOnlyCluster, topic: &Topic) -> Result<Consumer, Failure> {
        let builder = cluster.consumer().isolation(self.isolation);
        let builder = match self.partition {
            Some(partition) => builder.assign([(topic.name(), partition)]),
            None => builder.assign(topic.partitions()),
        };
        Ok(builder.build()?)
    }
}

impl Reader {
    /// Whether there is anything left to read.
    fn wants_more(&mut self) -> Result<bool, Failure> {
        let is_at_end = match &mut self.until_end {
            Some(until_end) => until_end.is_reached(&mut self.consumer)?,
            None => false,
        };
        Ok(self.records_left > 0 && !is_at_end)
    }

    /// The next records. What was printed reaches its reader before there is anything to wait for.
    fn poll(&mut self, out: &mut dyn Write) -> Result<ConsumerRecords, Failure> {
        if let Some(growth) = &mut self.growth {
            growth.look(&mut self.consumer)?;
        }
        let records = self.consumer.poll(Duration::ZERO)?;
        if !records.is_empty() {
            return Ok(records);
        }
        out.flush()?;
        if let Some(until_end) = &mut self.until_end {
            until_end.lower(&self.consumer)?;
        }
        if !self.wants_more()? {
            return Ok(records);
        }
        Ok(self.consumer.poll(WAIT)?)
    }

    fn print(&mut self, records: &ConsumerRecords, out: &mut dyn Write) -> Result<(), Failure> {
        for record in records {
            if self.records_left == 0 {
                break;
            }
            if self.until_end.as_ref().is_some_and(|until_end| !until_end.has(&record)) {
                continue;
            }
            self.format.write(&record, out)?;
            self.records_left -= 1;
            self.progress.add();
        }
        Ok(())
    }
}
