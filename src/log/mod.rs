//! [S] One partition's log in Kafka's format: open, append, read, roll, flush, truncate, recover.
//!
//! [`LogDirectory`] owns a data folder and opens the [`Log`]s in it. A `Log` needs no cluster and starts no thread: its
//! owner says which leader epoch it writes under and how far it is committed. See `ARCHITECTURE.md` for the life of a
//! record. Kafka's counterparts: `LogManager`, `UnifiedLog`, `LocalLog`.
//!
//! Lock ranks of a log, in the order in which they are taken: `LogMaintenance` (a token: truncation, epoch changes,
//! deletion), `LogFlush` (a token), `LogSealing` (a token), `LogState` (appends), `SegmentIndex`, `LogPublished` (what readers see).
//!
//! [S]: crate

mod active;
mod append;
mod checkpoint;
mod clean_shutdown;
mod context;
mod damage;
mod deletion;
mod directory;
mod epoch_cache;
mod epoch_file;
mod flush;
mod index_sums;
mod indexer;
mod layout;
mod list_offset;
mod manifest;
mod offset_by_time;
mod offset_index;
mod partition_metadata;
mod producer_snapshot;
mod producer_state;
mod properties;
mod read;
mod read_only;
mod recovery;
mod redo;
mod retention;
mod scan;
mod seal;
mod sealing;
mod segment;
mod slice;
mod state;
mod time_index;
mod truncate;
mod txn_index;
mod witness;

use std::path::Path;
use std::sync::Arc;

use crate::config::LogConfig;
use crate::error::{Error, Result};
use crate::log::context::LogContext;
use crate::log::directory::{DirectoryCore, PartitionFacts};
use crate::log::epoch_file::EpochFile;
use crate::log::flush::FlushGate;
use crate::log::recovery::{Known, Opened};
use crate::log::slice::BufferPool;
use crate::log::state::{Availability, LogState, Published, WitnessWriter};
use crate::rng::Rng;
use crate::sync::{CommitLane, Rank, RankedMutex};
use crate::types::{LeaderEpoch, Offset, TopicId, TopicPartition};

pub use append::AppendInfo;
pub use checkpoint::{decode_epoch_checkpoint, decode_offset_checkpoint};
pub use clean_shutdown::decode as decode_clean_shutdown;
pub use deletion::{RemovedSegment, RetentionOutcome};
pub use directory::{DirectoryReport, LogDirectory, LogDirectoryOptions};
pub use epoch_cache::{EpochCache, EpochEnd, EpochEntry};
pub use flush::FlushTicket;
pub use index_sums::IndexSums;
pub use layout::SegmentFile;
pub use list_offset::{ListedOffset, OffsetSpec};
pub use manifest::{FORMAT, MANIFEST_FILE, Manifest, ManifestPartition};
pub use offset_index::{OffsetIndex, OffsetIndexEntry};
pub use partition_metadata::decode as decode_partition_metadata;
pub use producer_snapshot::decode as decode_producer_snapshot;
pub use producer_state::{ProducerBatch, ProducerEntry};
pub use properties::FolderIdentity;
pub use read::{ReadIsolation, ReadLimits};
pub use read_only::{ReadOnlyDirectory, ReadOnlyDirectoryOptions, ReadOnlyLog};
pub use recovery::{CutTail, RecoveryReport};
pub use redo::{RedoFile, decode as decode_redo};
pub use retention::{NextLook, RetentionClock, RetentionReason, RetentionTime};
pub use scan::{BatchScanner, ScannedBatch};
pub use seal::{FileSum, SEAL_BLOCK_BYTES, Seal, SealSubject};
pub use segment::{Segment, SegmentPhase};
pub use slice::{LogSlice, SlicePosition};
pub use time_index::{TimeIndex, TimeIndexEntry};
pub use truncate::Truncated;
pub use txn_index::{AbortedTransaction, TransactionIndex};
pub use witness::{SLOT_BYTES as WITNESS_SLOT_BYTES, WITNESS_FILE, Witness, WitnessSlot, decode_witness};

/// One partition's log.
///
/// Shared by reference between any number of threads: one appends at a time, readers and flushes go on meanwhile.
/// Dropping it touches no file; [`close`](Log::close) leaves the folder as Kafka leaves it after a clean stop.
#[derive(Debug)]
pub struct Log {
    context: Arc<LogContext>,
    directory: Arc<DirectoryCore>,
    report: RecoveryReport,
    pool: Arc<BufferPool>,
    lane: CommitLane,
    epoch_file: Arc<EpochFile>,
    flush_gate: Arc<FlushGate>,
    maintenance: RankedMutex<()>,
    state: RankedMutex<LogState>,
    published: RankedMutex<Published>,
}

impl Log {
    /// The partition.
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.context.tp
    }

    /// The topic's id, as in `partition.metadata`.
    pub fn topic_id(&self) -> TopicId {
        self.context.topic_id
    }

    /// The partition's folder.
    pub fn folder(&self) -> &Path {
        &self.context.folder
    }

    /// The configuration that it works under now.
    pub fn config(&self) -> Arc<LogConfig> {
        Arc::clone(&self.published.lock().config)
    }

    /// Replaces the configuration, for the next append, roll, flush and read on. What shapes the files of a segment (index
    /// size and interval, preallocation, jitter) holds from the next segment on.
    ///
    /// A change from [`Durability::Os`](crate::config::Durability::Os) to `Synced` does not take back what was committed
    /// already: the high watermark stays, and moves again once the synced offset has passed it.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`]: nothing was changed; [`Error::InvalidState`]: the log was closed.
    ///
    /// # Examples
    /// ```
    /// # use logstead::{log::LogDirectory, config::{Durability, LogConfig}, types::*, storage::MemStorage};
    /// # use logstead::time::{Clock, ManualClock};
    /// # let clock = ManualClock::new();
    /// # let directory = LogDirectory::options().storage(MemStorage::new()).open("/data")?;
    /// # let log = directory.open_log(&TopicPartition::new("orders", 0)?, None, LogConfig::new(), clock.now())?;
    /// log.update_config(LogConfig::new().durability(Durability::Os))?;
    /// assert_eq!(log.config().get_durability(), Durability::Os);
    /// # Ok::<(), logstead::Error>(())
    /// ```
    pub fn update_config(&self, config: LogConfig) -> Result<()> {
        config.validate()?;
        let config = Arc::new(config);
        // A truncation puts another segment in the active one's place.
        let _token = self.maintenance.lock();
        let mut state = self.state.lock();
        if matches!(state.availability, Availability::Closed(_)) {
            return state.check_writable(&self.context.tp);
        }
        for segment in &state.segments {
            segment.set_config(&config);
        }
        state.active.set_config(&config);
        self.published.lock().config = config;
        Ok(())
    }

    /// What opening it found and did.
    pub fn recovery_report(&self) -> &RecoveryReport {
        &self.report
    }

    /// The first offset that may be read.
    pub fn log_start_offset(&self) -> Offset {
        self.published.lock().log_start
    }

    /// The offset of the next record.
    pub fn log_end_offset(&self) -> Offset {
        self.published.lock().log_end
    }

    /// The offset below which everything is committed.
    pub fn high_watermark(&self) -> Offset {
        self.published.lock().high_watermark
    }

    /// The offset below which everything is committed and belongs to no open transaction.
    pub fn last_stable_offset(&self) -> Offset {
        self.published.lock().last_stable
    }

    /// The offset below which recovery need not look: durable, indexed and covered by a producer snapshot.
    pub fn recovery_point(&self) -> Offset {
        self.state.lock().recovery_point
    }

    /// The epoch that was begun here; `None` for a follower.
    pub fn leader_epoch(&self) -> Option<LeaderEpoch> {
        self.state.lock().leader_epoch
    }

    /// The leader-epoch history as of now.
    pub fn epochs(&self) -> EpochCache {
        self.state.lock().epochs.clone()
    }

    /// Its segments in offset order; the last one is active.
    pub fn segments(&self) -> Vec<Segment> {
        self.published.lock().segments.to_vec()
    }

    /// Aborted transactions that a `read_committed` reader of `[from, upper)` must filter out.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Corrupt`] when a `.txnindex` cannot be read.
    pub fn aborted_transactions(&self, from: Offset, upper: Offset) -> Result<Vec<AbortedTransaction>> {
        let view = self.published.lock().clone();
        view.check_present()?;
        read::aborted_between(&view.segments, from, upper)
    }

    /// Begins leading under `epoch`: from here on appends carry it. The epoch's start is durable when this returns, so that
    /// a follower that asks for the end of an older epoch gets the right answer even after a crash.
    ///
    /// # Errors
    /// [`Error::FencedLeaderEpoch`] when a higher epoch is known; [`Error::Io`] when the epoch file cannot be written, in
    /// which case the log leads no more; [`Error::Offline`], [`Error::InvalidState`].
    ///
    /// # Examples
    /// ```
    /// # use logstead::{log::LogDirectory, config::LogConfig, types::*, storage::MemStorage};
    /// # use logstead::time::{Clock, ManualClock};
    /// # let clock = ManualClock::new();
    /// # let directory = LogDirectory::options().storage(MemStorage::new()).open("/data")?;
    /// # let log = directory.open_log(&TopicPartition::new("orders", 0)?, None, LogConfig::new(), clock.now())?;
    /// let (three, four) = (LeaderEpoch::new(3).unwrap(), LeaderEpoch::new(4).unwrap());
    /// log.begin_epoch(four)?;
    /// assert_eq!(log.leader_epoch(), Some(four));
    /// assert!(log.begin_epoch(three).is_err());
    /// # Ok::<(), logstead::Error>(())
    /// ```
    pub fn begin_epoch(&self, epoch: LeaderEpoch) -> Result<()> {
        let _token = self.maintenance.lock();
        let (version, bytes) = {
            let mut state = self.state.lock();
            state.check_writable(&self.context.tp)?;
            if let Some(latest) = state.epochs.latest().filter(|latest| latest.epoch > epoch) {
                let tp = self.context.tp.clone();
                return Err(Error::FencedLeaderEpoch { tp, given: epoch, current: latest.epoch });
            }
            let log_end = state.log_end();
            if state.epochs.assign(epoch, log_end) {
                state.epochs_version += 1;
            }
            // Nothing is appended until the epoch's start is durable.
            state.leader_epoch = None;
            state.encoded_epochs()
        };
        self.write_epochs(version, &bytes)?;
        let mut state = self.state.lock();
        state.leader_epoch = Some(epoch);
        *self.published.lock() = state.publish();
        Ok(())
    }

    /// Publishes the epoch history. A failure leaves names of the folder in doubt, unless it was a want of space.
    fn write_epochs(&self, version: u64, bytes: &[u8]) -> Result<()> {
        self.epoch_file.write(&self.context, version, bytes).inspect_err(|error| {
            if !matches!(error, Error::OutOfSpace { .. }) {
                self.state.lock().go_offline(error);
            }
        })
    }

    /// Stops leading: appends as leader are refused until the next [`begin_epoch`](Self::begin_epoch).
    pub fn end_epoch(&self) {
        self.state.lock().leader_epoch = None;
    }

    /// Moves the high watermark up to `offset`, but never down, never past the log end, and with
    /// [`Durability::Synced`](crate::config::Durability::Synced) never past what is durable. Returns where it stands now.
    ///
    /// # Errors
    /// [`Error::Io`] when the witness, which readers in other processes go by, cannot be written: the log is then offline.
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
    /// let end = log.log_end_offset();
    /// assert_eq!(log.advance_high_watermark(end)?, Offset::ZERO); // nothing is on disk yet
    /// log.flush()?;
    /// assert_eq!(log.advance_high_watermark(end)?, end);
    /// # Ok::<(), logstead::Error>(())
    /// ```
    pub fn advance_high_watermark(&self, offset: Offset) -> Result<Offset> {
        let mut state = self.state.lock();
        let limit = state.high_watermark_limit();
        let moved = offset.min(limit);
        if moved <= state.high_watermark {
            return Ok(state.high_watermark);
        }
        if matches!(state.availability, Availability::Closed(_)) {
            state.check_writable(&self.context.tp)?;
        }
        state.high_watermark = moved;
        state.producers.on_high_watermark(moved);
        let durable = state.witness.durable();
        let written = state.write_witness(&self.context, durable);
        written.inspect_err(|error| state.go_offline(error))?;
        let last_stable = state.last_stable();
        let mut published = self.published.lock();
        published.high_watermark = moved;
        published.last_stable = last_stable;
        Ok(moved)
    }

    /// Makes everything durable and leaves the folder as Kafka does after a clean stop: indexes complete and trimmed, a
    /// producer snapshot at the log end. Later calls fail with [`Error::InvalidState`]; slices stay readable.
    ///
    /// A log that was not changed since it was opened, or since a checkpoint, costs no sync. Once the last reference to it is
    /// gone it can be [opened](LogDirectory::open_log) again, as after a clean stop.
    ///
    /// [`LogDirectory::close`] closes every log and then marks the whole folder as cleanly shut down.
    ///
    /// # Errors
    /// As [`flush`](Self::flush). A log that is offline is closed as it is.
    pub fn close(&self) -> Result<()> {
        let _token = self.maintenance.lock();
        let is_online = {
            let mut state = self.state.lock();
            match &state.availability {
                Availability::Closed(_) => return Ok(()),
                Availability::Offline(_) => false,
                // From here on nothing is appended that the last flush would miss.
                Availability::Open | Availability::Changing(_) => {
                    state.availability = Availability::Changing("the log is being closed");
                    true
                }
            }
        };
        let finished = if is_online { self.finish() } else { Ok(()) };
        // A flush that was begun before and has not run yet must leave the folder alone from here on.
        *self.flush_gate.lock() = None;
        self.state.lock().availability = Availability::Closed("it was closed");
        if finished.is_ok() && self.is_sound() && is_online {
            let copies = self.state.lock().witness.copies();
            self.directory.on_log_closed(&self.context.tp, self.facts(), copies);
        }
        finished
    }

    /// Takes the log offline for writing, because of a failure that it has not noticed itself.
    pub(crate) fn fail(&self, cause: &Error) {
        self.state.lock().go_offline(cause);
    }

    /// Takes the log out of service for good, since its files are about to get another name: from here on nothing is
    /// written, and nothing is read but what readers hold already.
    fn retire(&self, why: &'static str) {
        let _token = self.maintenance.lock();
        // Waits for a flush that runs; one that comes later leaves the folder alone.
        *self.flush_gate.lock() = None;
        let mut state = self.state.lock();
        state.availability = Availability::Closed(why);
        state.leader_epoch = None;
        state.generation += 1;
        state.witness.retire();
        for segment in &state.segments {
            segment.retire(why);
        }
        let mut published = self.published.lock();
        published.gone = Some(why);
        published.generation = state.generation;
    }

    /// Whether it was closed or taken out of service.
    fn is_closed(&self) -> bool {
        matches!(self.state.lock().availability, Availability::Closed(_))
    }

    /// Completes and trims the files of the active segment, and then makes them durable.
    fn finish(&self) -> Result<()> {
        let (segment, files) = {
            let state = self.state.lock();
            (state.active.segment().clone(), state.active.files().clone())
        };
        segment.with_indexer(indexer::SegmentIndexer::finish).unwrap_or(Ok(()))?;
        active::write_index_pages(&segment, &files, 0)?;
        sealing::trim_indexes(&segment, &files)?;
        sealing::trim_log(&segment, &files)?;
        if self.state.lock().is_checkpointed(&self.epoch_file) {
            // Nothing was changed since it was opened, or since the last checkpoint.
            return Ok(());
        }
        let ticket = self.begin(&self.state.lock(), flush::FlushKind::Checkpoint);
        let result = ticket.run();
        self.complete_flush(ticket, result).map(|_synced| ())
    }

    /// Starts a log that recovery has opened.
    fn start(new: NewLog) -> Result<Log> {
        let NewLog { context, directory, pool, opened, known, witness, rng } = new;
        let log_end = opened.active.next_offset();
        let offline = recovery::first_damage(&opened.report).map(|error| Availability::Offline(Arc::new(error)));
        let mut state = LogState {
            active: opened.active,
            sealing: Vec::new(),
            segments: opened.segments,
            log_start: opened.log_start,
            high_watermark: known.high_watermark.min(log_end).max(opened.log_start),
            synced: log_end,
            recovery_point: known.recovery_point.min(log_end),
            index_sums: None,
            snapshot: opened.snapshot,
            epochs: opened.epochs,
            epochs_version: 0,
            leader_epoch: None,
            producers: opened.producers,
            // Recovery has made every name durable.
            names_created: 0,
            names_synced: 0,
            generation: 0,
            bytes_since_checkpoint: 0,
            has_gaps: opened.has_gaps,
            damage: opened.report.damage.clone().into(),
            availability: offline.unwrap_or(Availability::Open),
            has_failed: false,
            witness,
            rng,
        };
        state.index_sums = state.index_sums_of(known.index_sums());
        let high_watermark = state.high_watermark;
        state.producers.on_high_watermark(high_watermark);
        let epoch_file = Arc::new(EpochFile::at(0));
        if opened.epochs_changed {
            state.epochs_version = 1;
            let (version, bytes) = state.encoded_epochs();
            epoch_file.write(&context, version, &bytes)?;
        }
        // Of a damaged log the witness must go on saying what was promised.
        if state.damage.is_empty() {
            state.write_witness(&context, opened.durable)?;
        }
        Ok(Log {
            published: RankedMutex::new(Rank::LogPublished, state.publish()),
            state: RankedMutex::new(Rank::LogState, state),
            maintenance: RankedMutex::new(Rank::LogMaintenance, ()),
            lane: CommitLane::new(),
            report: opened.report,
            context,
            directory,
            pool,
            epoch_file,
            flush_gate: Arc::new(RankedMutex::new(Rank::LogFlush, Some(0))),
        })
    }

    /// Whether the log is undamaged and has met no failure.
    fn is_sound(&self) -> bool {
        let state = self.state.lock();
        state.damage.is_empty() && !state.has_failed
    }

    /// Which generation of the witness was written last.
    fn witness_generation(&self) -> u64 {
        self.state.lock().witness.generation()
    }

    /// The witness file was synced after this generation was written.
    fn on_witness_synced(&self, generation: u64) {
        self.state.lock().witness.on_synced(generation);
    }

    /// Whether opening the log found damage.
    fn is_damaged(&self) -> bool {
        !self.report.damage.is_empty()
    }

    /// What the checkpoint files say of this log.
    fn facts(&self) -> PartitionFacts {
        let state = self.state.lock();
        let first_base = state.segments.first().map_or(Offset::ZERO, Segment::base_offset);
        PartitionFacts {
            topic_id: Some(self.context.topic_id),
            slot: Some(state.witness.slot()),
            log_start: state.log_start,
            starts_inside: state.log_start > first_base,
            high_watermark: state.high_watermark,
            recovery_point: state.recovery_point,
        }
    }
}

/// What a log is made of.
struct NewLog {
    context: Arc<LogContext>,
    directory: Arc<DirectoryCore>,
    pool: Arc<BufferPool>,
    opened: Opened,
    known: Known,
    witness: WitnessWriter,
    rng: Rng,
}
