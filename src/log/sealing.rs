//! [S] From active to sealed, outside the log's lock: sync, trim, snapshot, seal.
//!
//! A roll swaps the active segment under the lock and leaves this behind. Its steps run on whichever thread flushes the
//! log next; each may be repeated after a crash, and none changes what the segment holds. Lock rank: `LogSealing`, a
//! token that may be held across a sync.

use std::sync::Arc;

use crate::error::{IoContext, Result};
use crate::log::active::{SegmentFiles, write_index_pages};
use crate::log::context::LogContext;
use crate::log::layout::SegmentFile;
use crate::log::seal::{BlockSums, FileSum, SEAL_BLOCK_BYTES, Seal};
use crate::log::segment::{INDEX_BYTES_MAX, Segment};
use crate::storage::{SyncMode, publish, read_file};
use crate::sync::{Rank, RankedMutex};
use crate::types::Offset;

/// The producer state where the next segment begins, which is behind this one's last offset when the log has a gap there.
#[derive(Debug)]
pub(crate) struct EndSnapshot {
    pub(crate) offset: Offset,
    pub(crate) bytes: Vec<u8>,
}

/// A segment that takes no more appends and is not yet all durable.
#[derive(Debug)]
pub(crate) struct SealingSegment {
    context: Arc<LogContext>,
    segment: Segment,
    files: SegmentFiles,
    sums: Option<Vec<u32>>,
    snapshot_at_base: Option<FileSum>,
    snapshot_at_end: EndSnapshot,
    done: RankedMutex<bool>,
}

impl SealingSegment {
    pub(crate) fn new(
        context: Arc<LogContext>,
        segment: Segment,
        files: SegmentFiles,
        sums: Option<Vec<u32>>,
        snapshot_at_base: Option<FileSum>,
        snapshot_at_end: EndSnapshot,
    ) -> SealingSegment {
        let done = RankedMutex::new(Rank::LogSealing, false);
        SealingSegment { context, segment, files, sums, snapshot_at_base, snapshot_at_end, done }
    }

    pub(crate) fn base_offset(&self) -> Offset {
        self.segment.base_offset()
    }

    /// Makes the segment's bytes durable and the segment immutable. Only the first call does anything.
    pub(crate) fn finish(&self) -> Result<()> {
        let mut done = self.done.lock();
        if *done {
            return Ok(());
        }
        let bounds = self.segment.bounds();
        // The bytes first: they are what somebody waits for.
        self.files.log.set_len(bounds.len).context("trim", self.files.log.path())?;
        sync(&self.files.log, SyncMode::All)?;
        finish_indexes(&self.segment, &self.files)?;
        if self.files.transaction_index.is_some() {
            // A recovery that finds the snapshot looks no more at the markers below it: their index must have its name.
            let folder = &self.context.folder;
            self.context.storage.sync_dir(folder).in_doubt_context("sync", folder)?;
        }
        let snapshot_path = self.context.path(SegmentFile::Snapshot, self.snapshot_at_end.offset);
        publish(&*self.context.storage, &snapshot_path, &self.snapshot_at_end.bytes)?;
        seal(&self.context, &self.segment, self.sums.clone(), self.snapshot_at_base)?;
        self.segment.finish_sealing();
        *done = true;
        Ok(())
    }
}

fn finish_indexes(segment: &Segment, files: &SegmentFiles) -> Result<()> {
    write_index_pages(segment, files, 0)?;
    trim_indexes(segment, files)?;
    sync(&files.offset_index, SyncMode::All)?;
    sync(&files.time_index, SyncMode::All)?;
    match &files.transaction_index {
        Some(file) => sync(file, SyncMode::All),
        None => Ok(()),
    }
}

/// Cuts the index files to their entries, so that no reader takes what stands behind for entries.
pub(crate) fn trim_indexes(segment: &Segment, files: &SegmentFiles) -> Result<()> {
    let lengths = segment.with_indexer(|indexer| (indexer.offsets().written_len(), indexer.times().written_len()));
    let Some((offsets_len, times_len)) = lengths else { return Ok(()) };
    for (file, len) in [(&files.offset_index, offsets_len), (&files.time_index, times_len)] {
        if file.len().context("read the length of", file.path())? != len {
            file.set_len(len).context("trim", file.path())?;
        }
    }
    Ok(())
}

/// Cuts the `.log` to its batches: space reserved or zeroed ahead is given back.
pub(crate) fn trim_log(segment: &Segment, files: &SegmentFiles) -> Result<()> {
    let len = segment.bounds().len;
    if files.log.len().context("read the length of", files.log.path())? != len {
        files.log.set_len(len).context("trim", files.log.path())?;
        sync(&files.log, SyncMode::All)?;
    }
    Ok(())
}

/// Finishes a segment that a crash caught between roll and seal; its bytes have been checked.
pub(crate) fn finish_recovered(context: &LogContext, segment: &Segment, files: &SegmentFiles) -> Result<()> {
    sync(&files.log, SyncMode::All)?;
    finish_indexes(segment, files)?;
    seal(context, segment, None, None)
}

/// Writes the seal of a segment whose files are durable. Without `sums` the log is read back to compute them.
pub(crate) fn seal(
    context: &LogContext,
    segment: &Segment,
    sums: Option<Vec<u32>>,
    snapshot_at_base: Option<FileSum>,
) -> Result<()> {
    let base_offset = segment.base_offset();
    let bounds = segment.bounds();
    let sum_of = |kind: SegmentFile| -> Result<Option<FileSum>> {
        let bytes = read_file(&*context.storage, &context.path(kind, base_offset), INDEX_BYTES_MAX)?;
        Ok(bytes.map(|bytes| FileSum::of(&bytes)))
    };
    let seal = Seal {
        subject: context.seal_subject(base_offset),
        next_offset: bounds.next_offset,
        log_len: bounds.len,
        offset_index: sum_of(SegmentFile::OffsetIndex)?.unwrap_or(FileSum::of(&[])),
        time_index: sum_of(SegmentFile::TimeIndex)?.unwrap_or(FileSum::of(&[])),
        transaction_index: sum_of(SegmentFile::TransactionIndex)?,
        snapshot: match snapshot_at_base {
            Some(sum) => Some(sum),
            None => sum_of(SegmentFile::Snapshot)?,
        },
        blocks: match sums {
            Some(sums) => sums,
            None => block_sums(context, segment)?,
        },
    };
    publish(&*context.storage, &context.path(SegmentFile::Seal, base_offset), &seal.to_bytes())
}

fn block_sums(context: &LogContext, segment: &Segment) -> Result<Vec<u32>> {
    let file = segment.file()?;
    let len = segment.bounds().len;
    let mut sums = BlockSums::new(context.seal_subject(segment.base_offset()));
    let mut buffer = vec![0; SEAL_BLOCK_BYTES * 64];
    let mut position = 0;
    while position < len {
        let want = usize::try_from(len - position).unwrap_or(usize::MAX).min(buffer.len());
        let piece = buffer.get_mut(..want).unwrap_or_default();
        file.read_exact_at(position, piece).context("read", file.path())?;
        sums.update(piece);
        position += want as u64;
    }
    Ok(sums.finish())
}

fn sync(file: &Arc<dyn crate::storage::StorageFile>, mode: SyncMode) -> Result<()> {
    file.sync(mode).in_doubt_context("sync", file.path())
}
