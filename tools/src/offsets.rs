//! `logstead offsets`: the offsets that a topic's partitions answer with, by what they stand for.
//!
//! It only looks: it works on a folder that another process owns. Kafka's counterpart: `kafka-get-offsets`.

use std::io::Write;
use std::path::Path;

use clap::Args;
use logstead::types::{PartitionId, TopicName, TopicPartition};
use logstead::{Cluster, Isolation, ListedOffset, OffsetSpec};

use crate::failure::Failure;
use crate::moment;
use crate::row::{Cell, Row};

const EXAMPLES: &str = "\
Examples:
    logstead --data data offsets orders --at latest
    logstead --data data offsets orders --at 2026-01-02T03:04:05Z --partition 0 --json | jq .offset

Exit codes: 0 done, also when nothing is found; 1 error (told on stderr), 2 wrong usage.";

/// Print an offset of each partition: where it begins or ends, or the record of a time.
///
/// A partition in which no record is found has the offset none. Only committed records count.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Offsets {
    /// The topic.
    topic: TopicName,

    /// earliest: the log start. latest: the end of what a consumer sees. max-timestamp: the record with the largest time, the
    /// first of several. A time: the first record of this time or later; milliseconds since 1970, or a time such as
    /// 2026-01-02T03:04:05Z.
    #[arg(long, value_name = "earliest|latest|max-timestamp|TIME", value_parser = spec)]
    at: OffsetSpec,

    /// Ask this partition only.
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,

    /// Print one JSON object a line, a partition each: partition, offset, timestamp, leader_epoch; null where there is none.
    #[arg(long)]
    json: bool,
}

impl Offsets {
    /// Prints to `out`.
    ///
    /// # Errors
    /// What the library refuses, or `out`.
    pub(crate) fn run(&self, data: &Path, out: &mut dyn Write) -> Result<(), Failure> {
        let cluster = Cluster::open_read_only(data)?;
        let topic = cluster.topic(self.topic.as_str())?;
        let partitions: Vec<_> = match self.partition {
            Some(number) => vec![TopicPartition::new(topic.name(), number)?],
            None => topic.partitions().collect(),
        };
        let asked = partitions.into_iter().map(|tp| (tp, self.at));
        for (tp, found) in cluster.list_offsets(asked, Isolation::ReadCommitted)? {
            let row = row(tp.partition, found);
            match self.json {
                true => row.write_json(out)?,
                false => writeln!(out, "{row}")?,
            }
        }
        Ok(())
    }
}

fn row(partition: PartitionId, found: Option<ListedOffset>) -> Row<'static> {
    let timestamp = found.and_then(|found| found.timestamp);
    let leader_epoch = found.and_then(|found| found.leader_epoch);
    Row(vec![
        ("partition", partition.get().into()),
        ("offset", found.map_or(Cell::Null, |found| found.offset.get().into())),
        ("timestamp", timestamp.map_or(Cell::Null, |timestamp| timestamp.as_millis().into())),
        ("leader_epoch", leader_epoch.map_or(Cell::Null, |epoch| epoch.get().into())),
    ])
}

fn spec(text: &str) -> Result<OffsetSpec, String> {
    match text {
        "earliest" => Ok(OffsetSpec::Earliest),
        "latest" => Ok(OffsetSpec::Latest),
        "max-timestamp" => Ok(OffsetSpec::MaxTimestamp),
        time => moment::parse(time)
            .map(OffsetSpec::Timestamp)
            .map_err(|expected| format!("earliest, latest, max-timestamp, {expected}")),
    }
}
