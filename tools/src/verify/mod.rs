//! `logstead verify`: reads every byte of data folders or partition folders and says what is wrong with them.
//!
//! Nothing is changed and no lock is taken, so that a folder may be checked while its owner works. What an owner may be
//! in the midst of is no damage, and damage counts only once a second look has found it again. Kafka's counterparts:
//! `DumpLogSegments` with its sanity checks, and what a broker checks when it loads a log.

mod batch;
mod epochs;
mod facts;
mod files;
mod folder;
mod index;
mod leftover;
mod log;
mod metadata;
mod partition;
mod producers;
mod promise;
mod report;
mod seal;
mod segment;
mod snapshots;

use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use logstead::log::{MANIFEST_FILE, SegmentFile};
use logstead::storage::{DirEntry, EntryKind, OsStorage, Storage};
use logstead::types::TopicPartition;

use crate::{Outcome, complain};
use epochs::EPOCH_FILE;
use facts::{CHECKPOINTS, IDENTITY_FILE};
use partition::{METADATA_FILE, Partition};
use report::{Findings, Report, Spot, steadily};

const EXAMPLES: &str = "\
Examples:
  Everything that a broker keeps:
    logstead --data data verify

  One partition, as JSON, and only what is damaged:
    logstead --data data/orders-0 verify --json | jq 'select(.severity == \"damage\")'

Exit codes: 0 done (also with notes), 1 damage or error (told on stderr), 2 wrong usage.";

/// Check every byte of every file of a data folder; nothing is changed.
///
/// DIR is a log.dir, a folder of several (broker.N), or one partition folder, written by logstead or by Kafka. Its
/// owner may be at work meanwhile. One line is printed for each finding: `damage` where bytes are not what they must
/// be, `note` for what is worth knowing (gaps as compaction leaves them, unknown files, leftovers, an unfinished tail,
/// records whose codec is not built in). The offsets of a finding do not include the last one named.
///
/// Compressed records are decompressed and checked like others. A batch whose records would take more than 64 MiB is
/// damage (`decompression limit`), though its checksum is right: no reader with the default limits can read it.
///
/// A segment that is gone altogether is a gap, unless the witness of the data folder says that its offsets were
/// durable and the log had no gaps, or its indexes are still there in a folder that a broker has closed: then it is
/// damage.
///
/// Files that derive from the log are compared with it: both kinds of index, aborted transactions, leader epochs, and
/// producer snapshots where the log goes back to offset 0 without a gap. Indexes may be those of any broker version.
///
/// A partition folder by itself is judged without what its data folder knows: that a last batch is cut off is a note
/// there, unless a producer snapshot shows that the log had gone on.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Verify {
    /// Print one JSON object per line: the findings, and a last one named summary.
    #[arg(long)]
    json: bool,
}

impl Verify {
    /// Checks `dir` and prints to `out`.
    ///
    /// # Errors
    /// Only what `out` refuses.
    pub(crate) fn run(&self, dir: &Path, out: &mut dyn Write) -> io::Result<Outcome> {
        let entries = match OsStorage::new().list(dir) {
            Ok(entries) => entries,
            Err(error) => {
                complain(format_args!("error: cannot list {}: {error}", dir.display()));
                return Ok(Outcome::Incomplete);
            }
        };
        let Some(target) = Target::of(dir, &entries) else {
            complain(format_args!("error: {} is no data folder and no partition folder", dir.display()));
            return Ok(Outcome::Incomplete);
        };
        let progress = Progress::new();
        let mut report = Report::new(out, self.json);
        match target {
            Target::Partition(tp) => {
                let told = |path: &Path| progress.tell(path);
                let partition = Partition { folder: dir, tp, facts: None, progress: &told };
                let (findings, ()) = steadily(|findings| partition::check(findings, &partition));
                report.print(&findings)?;
            }
            Target::Folder => folder::check(&mut report, dir, &progress)?,
            Target::Brokers(names) => {
                let mut others = Findings::default();
                for entry in entries.iter().filter(|entry| !names.contains(&entry.name)) {
                    leftover::note(&mut others, &dir.join(&entry.name), entry);
                }
                for name in names {
                    folder::check(&mut report, &dir.join(name), &progress)?;
                }
                report.print(&others)?;
            }
        }
        progress.clear();
        match report.finish()? {
            0 => Ok(Outcome::Complete),
            damage => {
                out.flush()?;
                complain(format_args!("damage: {damage} findings in {}", dir.display()));
                Ok(Outcome::Incomplete)
            }
        }
    }
}

/// What a folder is.
enum Target {
    Partition(Option<TopicPartition>),
    Folder,
    /// Folders named `broker.N`, sorted.
    Brokers(Vec<String>),
}

impl Target {
    fn of(dir: &Path, entries: &[DirEntry]) -> Option<Target> {
        let has_file = |name: &str| entries.iter().any(|entry| entry.kind == EntryKind::File && entry.name == name);
        let folders = || entries.iter().filter(|entry| entry.kind == EntryKind::Dir);
        let is_data_folder =
            has_file(IDENTITY_FILE) || has_file(MANIFEST_FILE) || CHECKPOINTS.into_iter().any(has_file);
        if is_data_folder {
            return Some(Target::Folder);
        }
        let has_segment_files = entries.iter().any(|entry| SegmentFile::parse(&entry.name).is_some());
        if has_segment_files || has_file(METADATA_FILE) || has_file(EPOCH_FILE) {
            // The name may have a path of several parts behind it, or be a link.
            let name =
                dir.canonicalize().ok().and_then(|path| path.file_name().and_then(OsStr::to_str).map(str::to_owned));
            return Some(Target::Partition(name.and_then(|name| TopicPartition::from_folder_name(&name))));
        }
        let is_broker = |name: &str| name.strip_prefix("broker.").is_some_and(|number| number.parse::<u32>().is_ok());
        let mut brokers: Vec<String> =
            folders().map(|entry| entry.name.clone()).filter(|name| is_broker(name)).collect();
        if !brokers.is_empty() {
            brokers.sort();
            return Some(Target::Brokers(brokers));
        }
        folders().any(|entry| TopicPartition::from_folder_name(&entry.name).is_some()).then_some(Target::Folder)
    }
}

/// Tells a terminal on stderr which file is being read.
pub(crate) struct Progress {
    is_terminal: bool,
}

impl Progress {
    fn new() -> Progress {
        Progress { is_terminal: io::stderr().is_terminal() }
    }

    /// The file that is read from here on.
    pub(crate) fn tell(&self, path: &Path) {
        if self.is_terminal {
            // Nobody is left to tell when this fails.
            let _ = write!(io::stderr(), "\r\x1b[2Kchecking {}", path.display().to_string().escape_default());
        }
    }

    fn clear(&self) {
        if self.is_terminal {
            let _ = write!(io::stderr(), "\r\x1b[2K");
        }
    }
}

/// The path of an entry.
fn path_of(folder: &Path, entry: &DirEntry) -> PathBuf {
    folder.join(&entry.name)
}

/// A folder or file that is named and is not there.
fn missing(findings: &mut Findings, is_damage: bool, path: &Path, what: String) {
    findings.found(is_damage, "missing", Spot::of(path), what);
}
