//! [S] Making a log durable, split in two: what to sync is decided under the lock, the sync runs outside it.
//!
//! [`Log::begin_flush`] takes note of everything appended so far; [`FlushTicket::run`] blocks in the operating system;
//! [`Log::complete_flush`] counts the result. Anything may happen in between: appends go on, other flushes overlap, and a
//! truncation makes the result void. A sync that failed takes the log offline and is never tried again.

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::Durability;
use crate::error::{Error, IoContext, Result};
use crate::log::Log;
use crate::log::active::SegmentFiles;
use crate::log::context::LogContext;
use crate::log::epoch_file::EpochFile;
use crate::log::index_sums::IndexSums;
use crate::log::layout::SegmentFile;
use crate::log::producer_snapshot;
use crate::log::sealing::SealingSegment;
use crate::log::state::{DurablePoint, LogState};
use crate::storage::{StorageFile, SyncMode, publish};
use crate::sync::{CommitLane, Flush, RankedMutex};
use crate::types::Offset;

/// Bytes appended after which a flush also writes what recovery needs to start from here.
pub(crate) const CHECKPOINT_INTERVAL_BYTES: u64 = 64 << 20;

/// What one flush is to make durable: everything that was in the log when it was taken.
#[derive(Debug)]
#[must_use = "a flush does nothing until it is run and completed"]
pub struct FlushTicket {
    context: Arc<LogContext>,
    upto: Offset,
    generation: u64,
    sealing: Vec<Arc<SealingSegment>>,
    files: SegmentFiles,
    durable: DurablePoint,
    sync_names: Option<u64>,
    epochs: Option<(u64, Vec<u8>)>,
    epoch_file: Arc<EpochFile>,
    gate: Arc<FlushGate>,
    checkpoint: Option<Checkpoint>,
}

/// The generation of the log whose flushes may still run; `None` once the log was closed. A token: whoever changes the log's
/// files waits here for a flush that runs, and a flush that comes too late finds that it must not touch them.
pub(crate) type FlushGate = RankedMutex<Option<u64>>;

/// What recovery needs in order to start at the flushed offset.
#[derive(Debug)]
struct Checkpoint {
    snapshot: Vec<u8>,
    index_tails: Vec<(Arc<dyn StorageFile>, u64, Vec<u8>)>,
    sums: Option<IndexSums>,
}

impl FlushTicket {
    /// The offset up to which the log is durable once this has run.
    pub fn upto(&self) -> Offset {
        self.upto
    }

    /// Blocks until everything is durable. Holds no lock that an append or a read waits for. After a truncation, or the
    /// log's close, it does nothing: what it was to make durable is gone, or durable already.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::OutOfSpace`]; give it to [`Log::complete_flush`].
    pub fn run(&self) -> Result<()> {
        let gate = self.gate.lock();
        if *gate != Some(self.generation) {
            return Ok(());
        }
        let storage = &*self.context.storage;
        // In log order: a later segment must not be durable while an earlier one is not.
        for sealing in &self.sealing {
            sealing.finish()?;
        }
        if self.sync_names.is_some() {
            storage.sync_dir(&self.context.folder).in_doubt_context("sync", &self.context.folder)?;
        }
        if let Some((version, epochs)) = &self.epochs {
            self.epoch_file.write(&self.context, *version, epochs)?;
        }
        if let Some(file) = &self.files.transaction_index {
            file.sync(SyncMode::Data).in_doubt_context("sync", file.path())?;
        }
        self.files.log.sync(SyncMode::Data).in_doubt_context("sync", self.files.log.path())?;
        match &self.checkpoint {
            Some(checkpoint) => self.write_checkpoint(checkpoint),
            None => Ok(()),
        }
    }

    fn write_checkpoint(&self, checkpoint: &Checkpoint) -> Result<()> {
        for (file, position, tail) in &checkpoint.index_tails {
            file.write_all_at(*position, tail).context("append to", file.path())?;
            file.sync(SyncMode::Data).in_doubt_context("sync", file.path())?;
        }
        if self.upto == Offset::ZERO {
            return Ok(());
        }
        publish(&*self.context.storage, &self.context.path(SegmentFile::Snapshot, self.upto), &checkpoint.snapshot)
    }
}

/// How much a flush does beyond the sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FlushKind {
    /// Only what acknowledgements need, unless a checkpoint is due.
    Sync,
    /// Also what recovery needs to start from here.
    Checkpoint,
}

impl Log {
    /// Makes everything that was appended so far durable; returns the offset up to which the log is durable.
    ///
    /// # Errors
    /// [`Error::Io`]: the log is now offline for writing. [`Error::OutOfSpace`]: nothing was lost; flush again when there
    /// is space. [`Error::Offline`], [`Error::InvalidState`]: it was offline or closed before.
    pub fn flush(&self) -> Result<Offset> {
        self.flush_as(FlushKind::Sync)
    }

    pub(crate) fn flush_as(&self, kind: FlushKind) -> Result<Offset> {
        if kind == FlushKind::Sync && self.state.lock().is_flushed(&self.epoch_file) {
            return Ok(self.synced_offset());
        }
        let ticket = self.begin_as(kind)?;
        let result = ticket.run();
        self.complete_flush(ticket, result)
    }

    /// Takes note of what a flush has to make durable. Never blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Offline`], [`Error::InvalidState`]: there is nothing that a flush could promise.
    ///
    /// # Examples
    /// ```
    /// # use logstead::{log::LogDirectory, config::LogConfig, types::*, record::*, storage::MemStorage};
    /// # use logstead::time::{Clock, ManualClock};
    /// # let clock = ManualClock::new();
    /// # let directory = LogDirectory::options().storage(MemStorage::new()).open("/data")?;
    /// # let log = directory.open_log(&TopicPartition::new("orders", 0)?, None, LogConfig::new(), clock.now())?;
    /// # log.begin_epoch(LeaderEpoch::ZERO)?;
    /// # let mut builder = BatchBuilder::new(BatchOptions::default());
    /// # builder.append(None, None, Some(b"value"), &[])?;
    /// # log.append_as_leader(&mut builder.build()?, clock.now())?;
    /// let ticket = log.begin_flush()?;
    /// let result = ticket.run(); // on any thread, while appends go on
    /// assert_eq!(log.complete_flush(ticket, result)?, Offset::from(1));
    /// assert_eq!(log.synced_offset(), Offset::from(1));
    /// # Ok::<(), logstead::Error>(())
    /// ```
    pub fn begin_flush(&self) -> Result<FlushTicket> {
        self.begin_as(FlushKind::Sync)
    }

    fn begin_as(&self, kind: FlushKind) -> Result<FlushTicket> {
        let state = self.state.lock();
        state.check_writable(&self.context.tp)?;
        Ok(self.begin(&state, kind))
    }

    /// The ticket for everything that is in the log now.
    pub(crate) fn begin(&self, state: &LogState, kind: FlushKind) -> FlushTicket {
        let is_due = state.bytes_since_checkpoint >= CHECKPOINT_INTERVAL_BYTES;
        let checkpoint = (kind == FlushKind::Checkpoint || is_due).then(|| checkpoint_of(state));
        FlushTicket {
            context: Arc::clone(&self.context),
            upto: state.log_end(),
            generation: state.generation,
            sealing: state.sealing.clone(),
            files: state.active.files().clone(),
            durable: DurablePoint {
                segment_base: state.active.base_offset(),
                position: state.active.position(),
                last_batch_crc: state.active.last_batch_crc(),
            },
            sync_names: (state.names_created > state.names_synced).then_some(state.names_created),
            epochs: self.epoch_file.is_behind(state.epochs_version).then(|| state.encoded_epochs()),
            epoch_file: Arc::clone(&self.epoch_file),
            gate: Arc::clone(&self.flush_gate),
            checkpoint,
        }
    }

    /// Counts the result of a flush: on success the synced offset moves and the witness is written, on failure the log
    /// goes offline. Returns the offset up to which the log is durable.
    ///
    /// # Errors
    /// The error that was given, or [`Error::Io`] when the witness cannot be written.
    pub fn complete_flush(&self, ticket: FlushTicket, result: Result<()>) -> Result<Offset> {
        let mut state = self.state.lock();
        if let Err(error) = result {
            // Running out of space is known before a byte is in doubt; anything else is not.
            if !matches!(error, Error::OutOfSpace { .. }) {
                state.go_offline(&error);
            }
            return Err(error);
        }
        if state.generation != ticket.generation {
            // What was synced may have been cut and written anew since.
            return Ok(state.synced);
        }
        state.sealing.retain(|waiting| !ticket.sealing.iter().any(|done| Arc::ptr_eq(waiting, done)));
        state.names_synced = state.names_synced.max(ticket.sync_names.unwrap_or(0));
        let mut stale_snapshot = None;
        let is_checkpoint = ticket.checkpoint.is_some() && ticket.upto > state.recovery_point;
        let checkpoint_sums = ticket.checkpoint.as_ref().and_then(|checkpoint| checkpoint.sums);
        if is_checkpoint {
            stale_snapshot = self.stale_snapshot(&state, ticket.upto);
            state.recovery_point = ticket.upto;
            state.index_sums = checkpoint_sums.map(|sums| (ticket.upto, sums));
            state.snapshot = ticket.upto;
            state.bytes_since_checkpoint = 0;
        }
        if is_checkpoint || ticket.upto > state.synced {
            // An overlapping flush that began later may have finished first: its position goes with its offset.
            let is_newest = ticket.upto >= state.synced;
            let durable = if is_newest { ticket.durable } else { state.witness.durable() };
            state.synced = state.synced.max(ticket.upto);
            state.write_witness(&self.context, durable).inspect_err(|error| state.go_offline(error))?;
        }
        let synced = state.synced;
        self.published.lock().synced = synced;
        drop(state);
        if let Some(path) = stale_snapshot {
            // A snapshot too many is harmless and recognised at the next open.
            let _ = self.context.storage.remove(&path);
        }
        Ok(synced)
    }

    /// The snapshot of the checkpoint before this one, which nothing needs any more; those at segment bases stay.
    fn stale_snapshot(&self, state: &LogState, next: Offset) -> Option<PathBuf> {
        let old = state.recovery_point;
        let at_base = state.segments.iter().any(|segment| segment.base_offset() == old);
        (!at_base && old != next).then(|| self.context.path(SegmentFile::Snapshot, old))
    }

    /// Up to where the log is durable: survives a power cut.
    pub fn synced_offset(&self) -> Offset {
        self.published.lock().synced
    }

    /// Whether acknowledgements of this log wait for a sync.
    pub fn durability(&self) -> Durability {
        self.published.lock().config.get_durability()
    }
}

fn checkpoint_of(state: &LogState) -> Checkpoint {
    let files = state.active.files();
    let tails = state.active.segment().with_indexer(|indexer| {
        vec![
            (Arc::clone(&files.offset_index), indexer.offsets().written_len(), indexer.offsets().unwritten().to_vec()),
            (Arc::clone(&files.time_index), indexer.times().written_len(), indexer.times().unwritten().to_vec()),
        ]
    });
    Checkpoint {
        snapshot: producer_snapshot::encode(&state.producers),
        index_tails: tails.unwrap_or_default(),
        sums: state.active.segment().index_sums(state.log_end()),
    }
}

impl Flush for Log {
    fn synced(&self) -> Offset {
        self.synced_offset()
    }

    fn flush(&self) -> Result<Offset> {
        Log::flush(self)
    }

    fn lane(&self) -> &CommitLane {
        &self.lane
    }
}
