//! `logstead dump`: prints what the files of partition folders and data folders hold.
//!
//! Every file is opened for reading only. A damaged file is printed up to the damage, which goes to stderr, and the next
//! file follows. Kafka's counterpart: `DumpLogSegments`, whose names and text this follows.

mod batch;
mod index;
mod input;
mod output;
mod own;
mod segment;
mod state;
mod trouble;

use std::io::{self, Write};

use clap::Args;
use clap::builder::{PathBufValueParser, TypedValueParser};
use logstead::log::SegmentFile;

use crate::Outcome;
use input::{FileKind, Input};
use output::Session;
use trouble::Stop;

const EXAMPLES: &str = "\
Examples:
  Batches of a segment, one line each:
    logstead dump data/orders-0/00000000000000000000.log

  The same with all records, as JSON, and only the values of one key:
    logstead dump --deep --json data/orders-0/*.log | jq '.records[] | select(.key == \"customer-7\") | .value'

  Where the index leads, and who produced:
    logstead dump data/orders-0/*.index data/orders-0/*.snapshot

  What a data folder knows of its partitions:
    logstead dump data/*-offset-checkpoint data/logstead.witness data/logstead.manifest

Exit codes: 0 done, 1 damage or error (told on stderr), 2 wrong usage.";

/// Print what the files of a partition folder or a data folder hold; nothing is changed.
///
/// The name of a file tells what is in it: .log, .index, .timeindex, .txnindex and .snapshot (named by an offset of 20
/// digits), leader-epoch-checkpoint, *-offset-checkpoint, partition.metadata, meta.properties, .kafka_cleanshutdown, and
/// logstead's own .seal, .redo, .cut, logstead.witness and logstead.manifest.
///
/// A damaged file is printed up to the damage, which is then told on stderr; a batch whose checksum is wrong is printed with
/// isValid false. Zeros at the end of a file that is still growing are its end, not damage; a .log with a .seal beside it
/// ends where the seal says.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Dump {
    /// The files, printed one after the other.
    #[arg(value_name = "FILE", required = true, value_parser = PathBufValueParser::new().try_map(Input::new))]
    files: Vec<Input>,

    /// Print the records of every batch as well, and the block checksums of a seal. Compressed records are shown unless
    /// their codec is not built in, or a batch of them takes more than 64 MiB.
    #[arg(long)]
    deep: bool,

    /// Print one JSON object per line. What is absent is -1 where Kafka stores -1; bytes that are not UTF-8 are base64, in
    /// fields named *_base64.
    #[arg(long)]
    json: bool,
}

impl Dump {
    /// Prints to `out`.
    ///
    /// # Errors
    /// Only what `out` refuses; what is wrong with the files goes to stderr.
    pub(crate) fn run(&self, out: &mut dyn Write) -> io::Result<Outcome> {
        let mut session = Session::new(out, self.json, self.deep);
        for file in &self.files {
            session.heading(format_args!("Dumping {}", file.path.display()))?;
            match dump_file(&mut session, file) {
                Ok(()) => {}
                Err(Stop::Output(error)) => return Err(error),
                Err(Stop::File(trouble)) => session.report(&file.path, &trouble)?,
            }
        }
        Ok(session.outcome())
    }
}

fn dump_file(session: &mut Session<'_>, file: &Input) -> Result<(), Stop> {
    let path = &file.path;
    match file.kind {
        FileKind::Segment(SegmentFile::Log, base_offset) => segment::dump_log(session, path, base_offset),
        FileKind::Segment(SegmentFile::Cut, base_offset) => segment::dump_cut(session, path, base_offset),
        FileKind::Segment(SegmentFile::OffsetIndex, base_offset) => index::dump_offsets(session, path, base_offset),
        FileKind::Segment(SegmentFile::TimeIndex, base_offset) => index::dump_times(session, path, base_offset),
        FileKind::Segment(SegmentFile::TransactionIndex, base_offset) => {
            index::dump_transactions(session, path, base_offset)
        }
        FileKind::Segment(SegmentFile::Snapshot, _) => state::dump_snapshot(session, path),
        FileKind::Segment(SegmentFile::Seal, _) => own::dump_seal(session, path),
        FileKind::Segment(SegmentFile::Redo, _) => own::dump_redo(session, path),
        FileKind::EpochCheckpoint => state::dump_epochs(session, path),
        FileKind::OffsetCheckpoint => state::dump_offsets(session, path),
        FileKind::PartitionMetadata => state::dump_partition_metadata(session, path),
        FileKind::MetaProperties => state::dump_meta_properties(session, path),
        FileKind::CleanShutdown => state::dump_clean_shutdown(session, path),
        FileKind::Witness => own::dump_witness(session, path),
        FileKind::Manifest => own::dump_manifest(session, path),
    }
}
