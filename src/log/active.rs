//! [S] The segment that takes appends (Kafka: the active `LogSegment` of `LocalLog`).
//!
//! Owned by the log's state, so there is one writer. The bytes go out with positioned writes; index entries stay in
//! memory, where readers find them, and reach the index files a page at a time, since recovery can rebuild them.

use std::sync::Arc;
use std::time::Duration;

use crate::config::LogConfig;
use crate::error::{Error, IoContext, Result};
use crate::log::context::LogContext;
use crate::log::indexer::SegmentIndexer;
use crate::log::layout::SegmentFile;
use crate::log::seal::{BlockSums, FileSum};
use crate::log::sealing::{EndSnapshot, SealingSegment};
use crate::log::segment::{Segment, SegmentBounds};
use crate::log::txn_index::{self, AbortedTransaction};
use crate::record::BatchHeader;
use crate::rng::Rng;
use crate::storage::{Hint, OpenMode, StorageFile};
use crate::time::Now;
use crate::types::{Offset, Timestamp};

/// Bytes of one positioned write at most: the source stays in the processor's cache.
const WRITE_BYTES_MAX: usize = 256 << 10;
/// Index bytes that are kept in memory until they are worth a write.
const INDEX_PAGE_BYTES: usize = 4096;

/// The files of a segment that is being written.
#[derive(Debug, Clone)]
pub(crate) struct SegmentFiles {
    pub(crate) log: Arc<dyn StorageFile>,
    pub(crate) offset_index: Arc<dyn StorageFile>,
    pub(crate) time_index: Arc<dyn StorageFile>,
    pub(crate) transaction_index: Option<Arc<dyn StorageFile>>,
}

impl SegmentFiles {
    /// Opens the files of a segment, creating what is missing; the `.txnindex` comes with the first aborted transaction.
    pub(crate) fn open(context: &LogContext, base_offset: Offset) -> Result<SegmentFiles> {
        let open = |kind: SegmentFile, mode| {
            let path = context.path(kind, base_offset);
            context.storage.open(&path, mode).context("open", &path)
        };
        Ok(SegmentFiles {
            log: open(SegmentFile::Log, OpenMode::Create)?,
            offset_index: open(SegmentFile::OffsetIndex, OpenMode::Create)?,
            time_index: open(SegmentFile::TimeIndex, OpenMode::Create)?,
            transaction_index: None,
        })
    }
}

/// What an append must know of its batches to decide about a roll.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incoming {
    /// Bytes that the same append puts before it into the segment.
    pub(crate) bytes_before: u64,
    pub(crate) size: u64,
    pub(crate) last_offset: Offset,
    pub(crate) max_timestamp: Option<Timestamp>,
}

/// Why an append failed, and what that means for the log.
#[derive(Debug)]
pub(crate) enum AppendFailure {
    /// Nothing of it remains in the file; the log may go on.
    Undone(Error),
    /// The file's content is in doubt; the log must go offline.
    Broken(Error),
}

/// The segment that takes appends.
#[derive(Debug)]
pub(crate) struct ActiveSegment {
    context: Arc<LogContext>,
    config: Arc<LogConfig>,
    segment: Segment,
    files: SegmentFiles,
    position: u64,
    next_offset: Offset,
    /// The largest timestamp of the first batch, by which the segment's age is told; outer `None` = no batch yet.
    first_timestamp: Option<Option<Timestamp>>,
    created: Timestamp,
    jitter: Duration,
    last_batch_crc: u32,
    /// Kept here so that an append need not ask the segment, which readers lock too.
    index_is_full: bool,
    /// `None` when bytes were there before this object: sealing then reads them back.
    sums: Option<BlockSums>,
    /// Of the producer snapshot at the base offset, where this log wrote it.
    snapshot: Option<FileSum>,
}

/// What recovery found in a segment that becomes the active one.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) files: SegmentFiles,
    pub(crate) indexer: SegmentIndexer,
    pub(crate) bounds: SegmentBounds,
    pub(crate) first_timestamp: Option<Option<Timestamp>>,
    pub(crate) last_batch_crc: u32,
}

impl ActiveSegment {
    /// Creates the files of an empty segment. Leftovers of the same name are removed first.
    pub(crate) fn create(
        context: &Arc<LogContext>,
        config: &Arc<LogConfig>,
        base_offset: Offset,
        now: Now,
        rng: &mut Rng,
    ) -> Result<ActiveSegment> {
        for kind in [
            SegmentFile::Log,
            SegmentFile::OffsetIndex,
            SegmentFile::TimeIndex,
            SegmentFile::TransactionIndex,
            SegmentFile::Seal,
        ] {
            let path = context.path(kind, base_offset);
            match context.storage.remove(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).context("remove a leftover", &path),
            }
        }
        let files = SegmentFiles::open(context, base_offset)?;
        if config.get_preallocate() {
            let len = config.get_segment_bytes();
            files.log.hint(Hint::Preallocate { len }).context("preallocate", files.log.path())?;
        }
        let recovered = Recovered {
            files,
            indexer: SegmentIndexer::new(base_offset, config),
            bounds: SegmentBounds { len: 0, next_offset: base_offset },
            first_timestamp: None,
            last_batch_crc: 0,
        };
        let mut active = ActiveSegment::from_recovered(context, config, base_offset, recovered, now, rng);
        active.sums = Some(BlockSums::new(context.seal_subject(base_offset)));
        Ok(active)
    }

    /// Goes on with a segment that exists.
    pub(crate) fn from_recovered(
        context: &Arc<LogContext>,
        config: &Arc<LogConfig>,
        base_offset: Offset,
        recovered: Recovered,
        now: Now,
        rng: &mut Rng,
    ) -> ActiveSegment {
        let Recovered { files, indexer, bounds, first_timestamp, last_batch_crc } = recovered;
        let log = Arc::clone(&files.log);
        let jitter_max = config.get_segment_jitter().min(config.get_segment_time()).as_millis();
        let index_is_full = indexer.is_full();
        let jitter_millis = rng.below(u64::try_from(jitter_max).unwrap_or(u64::MAX).max(1));
        ActiveSegment {
            context: Arc::clone(context),
            config: Arc::clone(config),
            segment: Segment::active(Arc::clone(context), Arc::clone(config), base_offset, log, indexer, bounds),
            files,
            position: bounds.len,
            next_offset: bounds.next_offset,
            first_timestamp,
            created: now.wall,
            jitter: Duration::from_millis(jitter_millis),
            last_batch_crc,
            index_is_full,
            sums: None,
            snapshot: None,
        }
    }

    pub(crate) fn config(&self) -> &Arc<LogConfig> {
        &self.config
    }

    /// From here on these limits decide about the roll. The segment's indexes and its jitter stay what they are.
    pub(crate) fn set_config(&mut self, config: &Arc<LogConfig>) {
        self.config = Arc::clone(config);
    }

    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    pub(crate) fn files(&self) -> &SegmentFiles {
        &self.files
    }

    pub(crate) fn base_offset(&self) -> Offset {
        self.segment.base_offset()
    }

    pub(crate) fn next_offset(&self) -> Offset {
        self.next_offset
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn last_batch_crc(&self) -> u32 {
        self.last_batch_crc
    }

    /// Whether the segment must be finished before these batches, by Kafka's rules (`LogSegment.shouldRoll`).
    pub(crate) fn should_roll(&self, incoming: &Incoming, now: Now) -> bool {
        let config = &self.config;
        let position = self.position.saturating_add(incoming.bytes_before);
        let is_empty = position == 0;
        let too_large = incoming.size > config.get_segment_bytes().saturating_sub(position);
        let too_far = incoming.last_offset.since(self.base_offset()) > i32::MAX as u64;
        too_far || !is_empty && (too_large || self.index_is_full || self.is_too_old(incoming, now))
    }

    /// With record timestamps, their distance tells the segment's age, not the wall clock.
    fn is_too_old(&self, incoming: &Incoming, now: Now) -> bool {
        let waited = match (self.first_timestamp.flatten(), incoming.max_timestamp) {
            (Some(first), Some(incoming)) => incoming.millis_since(first),
            (Some(_), None) => 0,
            (None, _) => now.wall.millis_since(self.created),
        };
        let limit = self.config.get_segment_time().saturating_sub(self.jitter);
        u128::try_from(waited).is_ok_and(|waited| waited > limit.as_millis())
    }

    /// Writes batches that follow each other and indexes them. `headers` describe them in order.
    pub(crate) fn append(&mut self, bytes: &[u8], headers: &[BatchHeader]) -> std::result::Result<(), AppendFailure> {
        if let Err(error) = self.write(bytes) {
            return Err(match self.files.log.set_len(self.position) {
                Ok(()) if matches!(error, Error::OutOfSpace { .. }) => AppendFailure::Undone(error),
                _ => AppendFailure::Broken(error),
            });
        }
        if let Some(sums) = &mut self.sums {
            sums.update(bytes);
        }
        let start = self.position;
        self.position += bytes.len() as u64;
        for header in headers {
            self.next_offset = header.next_offset();
            self.last_batch_crc = header.crc();
            self.first_timestamp.get_or_insert(header.max_timestamp());
        }
        let bounds = SegmentBounds { len: self.position, next_offset: self.next_offset };
        let fed = self.segment.on_append(bounds, |indexer| {
            let mut position = start;
            for header in headers {
                indexer.on_batch(header, position)?;
                position += header.size_in_bytes() as u64;
            }
            Ok((indexer.is_full(), indexer.has_unwritten(INDEX_PAGE_BYTES)))
        });
        let (index_is_full, has_page) = fed.map_err(AppendFailure::Broken)?;
        self.index_is_full = index_is_full;
        if has_page {
            // The log end has moved; a failed index write is made good by the next one, at the latest when sealing.
            let _ = self.write_index_pages(INDEX_PAGE_BYTES);
        }
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> Result<()> {
        let mut position = self.position;
        for piece in bytes.chunks(WRITE_BYTES_MAX) {
            self.files.log.write_all_at(position, piece).context("append to", self.files.log.path()).map_err(
                |error| match error {
                    Error::OutOfSpace { operation, path, .. } => {
                        let free = self.context.storage.free_space(&path).unwrap_or(0);
                        Error::OutOfSpace { operation, path, needed: bytes.len() as u64, free }
                    }
                    other => other,
                },
            )?;
            position += piece.len() as u64;
        }
        Ok(())
    }

    /// Writes index entries to the index files once at least `least` bytes of them wait.
    pub(crate) fn write_index_pages(&self, least: usize) -> Result<()> {
        write_index_pages(&self.segment, &self.files, least)
    }

    /// Adds an aborted transaction, creating the `.txnindex` with the first; `true` when the file is new. The marker is in the
    /// log already, so that a failure is never one that left no trace.
    pub(crate) fn append_aborted(&mut self, entry: AbortedTransaction) -> Result<bool> {
        let path = self.context.path(SegmentFile::TransactionIndex, self.base_offset());
        let file = match &self.files.transaction_index {
            Some(file) => Arc::clone(file),
            None => self.context.storage.open(&path, OpenMode::Create).in_doubt_context("create", &path)?,
        };
        let known = self.segment.aborted_count()? as u64;
        file.write_all_at(known * txn_index::ENTRY_BYTES as u64, &txn_index::encode(&entry))
            .in_doubt_context("append to", &path)?;
        self.files.transaction_index = Some(file);
        self.segment.on_aborted(entry);
        Ok(known == 0)
    }

    /// Ends the segment: no more appends. `snapshot` is the producer state at the next segment's base offset.
    pub(crate) fn into_sealing(self, snapshot: EndSnapshot) -> Result<SealingSegment> {
        self.segment.start_sealing()?;
        let sums = self.sums.map(BlockSums::finish);
        Ok(SealingSegment::new(self.context, self.segment, self.files, sums, self.snapshot, snapshot))
    }

    /// Tells the segment which snapshot stands at its base offset.
    pub(crate) fn set_snapshot(&mut self, sum: FileSum) {
        self.snapshot = Some(sum);
    }
}

/// Writes index entries that wait in memory, once at least `least` bytes of one index do.
pub(crate) fn write_index_pages(segment: &Segment, files: &SegmentFiles, least: usize) -> Result<()> {
    let written = segment.with_indexer(|indexer| -> Result<()> {
        let (waiting, at) = (indexer.offsets().unwritten(), indexer.offsets().written_len());
        if !waiting.is_empty() && waiting.len() >= least {
            let len = waiting.len();
            files.offset_index.write_all_at(at, waiting).context("append to", files.offset_index.path())?;
            indexer.offsets_mut().mark_written(len);
        }
        let (waiting, at) = (indexer.times().unwritten(), indexer.times().written_len());
        if !waiting.is_empty() && waiting.len() >= least {
            let len = waiting.len();
            files.time_index.write_all_at(at, waiting).context("append to", files.time_index.path())?;
            indexer.times_mut().mark_written(len);
        }
        Ok(())
    });
    written.unwrap_or(Ok(()))
}
