//! `logstead records`: deletes records from the front of a partition.
//!
//! Kafka's counterpart: `kafka-delete-records`.

use std::io::Write;
use std::path::Path;

use clap::{Args, Subcommand};
use logstead::cluster::RecordsToDelete;
use logstead::types::{Offset, TopicName, TopicPartition};

use crate::arguments;
use crate::failure::Failure;

const EXAMPLES: &str = "\
Examples:
    logstead --data data records delete orders --partition 0 --before 1000
    logstead --data data records delete orders --partition 0 --before -1

Exit codes: 0 done, also when those records were deleted already; 1 error (told on stderr), 2 wrong usage.";

/// Delete records.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Records {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Delete(Delete),
}

/// Delete the records of a partition below an offset, for good; prints where the log starts now.
#[derive(Debug, Args)]
struct Delete {
    /// The topic.
    topic: TopicName,

    /// The partition.
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(i32).range(0..))]
    partition: i32,

    /// The first offset that stays; -1 is the high watermark, and nothing that is committed stays.
    #[arg(long, value_name = "O", allow_negative_numbers = true, value_parser = before)]
    before: RecordsToDelete,
}

impl Records {
    /// Does it; the new log start goes to `out`.
    ///
    /// # Errors
    /// What the library refuses, or `out`.
    pub(crate) fn run(&self, data: &Path, out: &mut dyn Write) -> Result<(), Failure> {
        let Action::Delete(delete) = &self.action;
        let cluster = arguments::open_existing(data)?;
        let tp = TopicPartition::new(delete.topic.as_str(), delete.partition)?;
        let log_start = cluster.delete_records(&tp, delete.before)?;
        cluster.close()?;
        Ok(writeln!(out, "{log_start}")?)
    }
}

fn before(text: &str) -> Result<RecordsToDelete, String> {
    if text == "-1" {
        return Ok(RecordsToDelete::UpToHighWatermark);
    }
    let offset = text.parse().ok().and_then(Offset::new).map(RecordsToDelete::Before);
    offset.ok_or_else(|| "a whole number from 0, or -1, is expected".to_owned())
}
