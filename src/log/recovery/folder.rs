//! [S] What stands in a partition folder: sorting names, removing leftovers, setting orphans aside.

use crate::error::{Error, IoContext, Result};
use crate::log::context::LogContext;
use crate::log::layout::{DELETED_SUFFIX, EPOCH_FILE, PARTITION_METADATA_FILE, SegmentFile, TEMPORARY_SUFFIX};
use crate::log::recovery::{CutTail, Known, RecoveryReport, producers};
use crate::log::redo;
use crate::storage::{EntryKind, OpenMode};
use crate::types::Offset;

/// A partition folder without leftovers.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The base offsets of its segments.
    pub(crate) bases: Vec<Offset>,
    /// Whether a name went that a power cut may bring back.
    pub(crate) has_removed: bool,
}

/// Removes what an unfinished operation left, completes redo files, and finds the segments.
pub(crate) fn prepare(context: &LogContext, known: &Known, report: &mut RecoveryReport) -> Result<Prepared> {
    let entries = context.storage.list(&context.folder).context("list", &context.folder)?;
    let (mut bases, mut redos, mut others) = (Vec::new(), Vec::new(), Vec::new());
    let mut has_removed = false;
    for entry in &entries {
        let name = entry.name.as_str();
        match SegmentFile::parse(name) {
            Some((SegmentFile::Log, base)) if entry.kind == EntryKind::File => bases.push(base),
            Some((SegmentFile::Redo, base)) => redos.push(base),
            Some((SegmentFile::Seal, _)) if known.is_foreign => {
                remove(context, name)?;
                has_removed = true;
            }
            Some((kind, base)) => others.push((kind, base)),
            None if name.ends_with(DELETED_SUFFIX) || name.ends_with(TEMPORARY_SUFFIX) => {
                remove(context, name)?;
                has_removed = true;
            }
            None if name.ends_with(".cleaned") || name.ends_with(".swap") => {
                return Err(Error::InvalidState {
                    operation: "open a partition whose compaction was interrupted",
                    state: "completing Kafka's .swap and .cleaned files is not built in yet; let Kafka open the folder once",
                });
            }
            None if name == EPOCH_FILE || name == PARTITION_METADATA_FILE => {}
            None => report.unknown_files.push(name.to_owned()),
        }
    }
    has_removed |= !redos.is_empty();
    for base in redos {
        if known.is_foreign {
            remove(context, &SegmentFile::Redo.name(base))?;
        } else {
            redo::complete(context, base)?;
        }
    }
    has_removed |= drop_below_start(context, known.log_start, &mut bases)?;
    // A seal without its log is the only witness of a lost segment: the walk reports the gap, so it may go as well.
    others.retain(|(kind, base)| !bases.contains(base) && !matches!(kind, SegmentFile::Snapshot | SegmentFile::Cut));
    has_removed |= !others.is_empty();
    if !others.is_empty() {
        // Their log is gone for now; before they go it must be gone for good.
        context.storage.sync_dir(&context.folder).in_doubt_context("sync", &context.folder)?;
    }
    for (kind, base) in others {
        // Those of a segment that was just dropped are gone already.
        remove(context, &kind.name(base))?;
    }
    Ok(Prepared { bases, has_removed })
}

/// Segments that end at or below the log start were deleted; a crash may bring their names back, or have come before they
/// went. Whether there were any.
fn drop_below_start(context: &LogContext, log_start: Offset, bases: &mut Vec<Offset>) -> Result<bool> {
    let below = bases.partition_point(|base| *base <= log_start).saturating_sub(1);
    let kept = bases.split_off(below);
    let dropped = std::mem::replace(bases, kept);
    let (false, Some(first_kept)) = (dropped.is_empty(), bases.first()) else { return Ok(false) };
    // Nothing else tells of the transactions that are open where the log begins.
    producers::keep_snapshot_at(context, *first_kept, &dropped)?;
    for base in dropped {
        remove_segment_files(context, base)?;
    }
    Ok(true)
}

/// Removes the `.log` of the segment at this base offset. As long as that may come back after a power cut, what is derived
/// from it stays: a log without its transaction index would show aborted records as committed.
pub(crate) fn remove_log(context: &LogContext, base: Offset) -> Result<()> {
    remove_file_of(context, SegmentFile::Log, base)
}

/// Removes every file of the segment at this base offset, the log first. The names are durable after the next sync of the
/// folder.
pub(crate) fn remove_segment_files(context: &LogContext, base: Offset) -> Result<()> {
    for kind in [
        SegmentFile::Log,
        SegmentFile::OffsetIndex,
        SegmentFile::TimeIndex,
        SegmentFile::TransactionIndex,
        SegmentFile::Seal,
    ] {
        remove_file_of(context, kind, base)?;
    }
    Ok(())
}

fn remove_file_of(context: &LogContext, kind: SegmentFile, base: Offset) -> Result<()> {
    let name = kind.name(base);
    let path = context.folder.join(&name);
    let deleted = context.folder.join(format!("{name}{DELETED_SUFFIX}"));
    match context.storage.rename(&path, &deleted) {
        Ok(()) => context.storage.remove(&deleted).context("remove", &deleted),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).context("remove", &path),
    }
}

/// The log ends before the segment at `first`: it and all later ones are kept under another name and reported, since they
/// may hold intact batches.
pub(crate) fn set_aside(context: &LogContext, first: Offset, report: &mut RecoveryReport) -> Result<()> {
    let entries = context.storage.list(&context.folder).context("list", &context.folder)?;
    let later =
        || entries.iter().filter_map(|entry| SegmentFile::parse(&entry.name)).filter(|(_, base)| *base >= first);
    for (_, base) in later().filter(|(kind, _)| *kind == SegmentFile::Log) {
        let path = context.path(SegmentFile::Log, base);
        let file = context.storage.open(&path, OpenMode::Read).context("open", &path)?;
        let len = file.len().context("read the length of", &path)?;
        if len == 0 {
            context.storage.remove(&path).context("remove", &path)?;
            continue;
        }
        let kept = context.path(SegmentFile::Cut, base);
        context.storage.rename(&path, &kept).context("set aside", &path)?;
        report.cuts.push(CutTail { path, position: 0, len, kept_in: Some(kept) });
    }
    context.storage.sync_dir(&context.folder).in_doubt_context("sync", &context.folder)?;
    for (kind, base) in later() {
        match kind {
            SegmentFile::OffsetIndex | SegmentFile::TimeIndex | SegmentFile::TransactionIndex | SegmentFile::Seal => {
                remove(context, &kind.name(base))?;
            }
            SegmentFile::Log | SegmentFile::Snapshot | SegmentFile::Redo | SegmentFile::Cut => {}
        }
    }
    Ok(())
}

/// Removes a file that may be gone already: with its segment, or because the list of names is older than that.
fn remove(context: &LogContext, name: &str) -> Result<()> {
    let path = context.folder.join(name);
    match context.storage.remove(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result.context("remove", &path),
    }
}
