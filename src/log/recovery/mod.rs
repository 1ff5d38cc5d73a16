//! [S] Opening a partition folder after any end: list it, check what is not known to be durable, cut a torn tail, keep
//! away from damage, rebuild what is derived (Kafka: `LogLoader`).
//!
//! The rule that everything follows: bytes below the *durable point* (recovery point, or newest witness) were
//! acknowledged, so a bad batch there is damage; it is reported and never cut. Bytes above were promised to nobody, so a
//! bad batch there is the torn end of an unfinished write; it is cut. Crashing a recovery and running it again gives the
//! same log.

mod folder;
mod producers;
mod segment;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::LogConfig;
use crate::error::{Corrupt, Damage, DamagedOffsets, Error, IoContext, Result};
use crate::log::active::{ActiveSegment, Recovered, SegmentFiles};
use crate::log::checkpoint::decode_epochs;
use crate::log::context::LogContext;
use crate::log::epoch_cache::{EpochCache, EpochEntry};
use crate::log::index_sums::IndexSums;
use crate::log::layout::{EPOCH_FILE, SegmentFile};
use crate::log::producer_state::ProducerStates;
use crate::log::redo;
use crate::log::segment::{INDEX_BYTES_MAX, Segment, SegmentBounds};
use crate::log::state::DurablePoint;
use crate::log::witness::Witness;
use crate::log::{epoch_cache, sealing};
use crate::rng::Rng;
use crate::storage::{OpenMode, SyncMode, read_file};
use crate::time::Now;
use crate::types::Offset;

pub(crate) use folder::{remove_log, remove_segment_files};
pub(crate) use producers::{
    LoadedProducers, TransactionIndexes, Vouched, find_aborted, load as load_producers, observe, remove_snapshots,
};
use segment::{Expected, Scanned};
pub(crate) use segment::{load_indexes, resume};

/// A producer without an open transaction is forgotten after this time without a batch (Kafka:
/// `producer.id.expiration.ms`).
const PRODUCER_EXPIRATION: Duration = Duration::from_secs(24 * 60 * 60);

/// What is known about a log before its folder is looked at.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// Everything below was durable, indexed and covered by a producer snapshot.
    pub(crate) recovery_point: Offset,
    pub(crate) log_start: Offset,
    pub(crate) high_watermark: Offset,
    pub(crate) witness: Option<Witness>,
    /// Whether the log was closed soundly, by the last owner of the folder or in this session.
    pub(crate) is_clean: bool,
    /// Whether somebody else may have owned the folder since we did: our own files count for nothing.
    pub(crate) is_foreign: bool,
}

impl Known {
    /// Below this offset every byte was durable.
    fn durable(&self) -> Offset {
        if self.is_foreign && self.is_clean {
            return Offset::MAX;
        }
        self.recovery_point.max(self.witnessed())
    }

    /// Below this offset every byte was durable, by the witness alone.
    fn witnessed(&self) -> Offset {
        self.witness.as_ref().map_or(Offset::ZERO, |witness| witness.synced_offset)
    }

    /// Whether the witness says that the log has offset gaps.
    fn witnessed_gaps(&self) -> bool {
        !self.is_foreign && self.witness.as_ref().is_some_and(|witness| witness.has_gaps)
    }

    /// What the indexes of the segment that holds the recovery point say below it.
    pub(crate) fn index_sums(&self) -> Option<IndexSums> {
        self.witness.as_ref().filter(|_| !self.is_foreign).and_then(|witness| witness.index_sums)
    }

    /// From where on segments are read again.
    fn trusted_up_to(&self) -> Offset {
        if self.is_foreign { Offset::ZERO } else { self.recovery_point }
    }
}

/// A log that is ready for use.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) active: ActiveSegment,
    pub(crate) segments: Vec<Segment>,
    pub(crate) epochs: EpochCache,
    pub(crate) epochs_changed: bool,
    pub(crate) producers: ProducerStates,
    /// The offset of the producer snapshot that they were made from.
    pub(crate) snapshot: Offset,
    pub(crate) log_start: Offset,
    pub(crate) has_gaps: bool,
    pub(crate) report: RecoveryReport,
    pub(crate) durable: DurablePoint,
}

/// What opening a log found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Whether the log had been closed, so that there was nothing to recover.
    pub was_clean: bool,
    /// Whether everything was checked because somebody else may have owned the folder.
    pub was_foreign: bool,
    /// Bytes of log that were read and checked.
    pub scanned_bytes: u64,
    /// Bytes of an unacknowledged tail that were written again before they count as durable.
    pub rewritten_bytes: u64,
    /// Segments whose indexes were rebuilt from the log.
    pub rebuilt_indexes: u32,
    /// Tails that were cut off.
    pub cuts: Vec<CutTail>,
    /// Damage below the durable point: nothing of it was cut; the log takes no appends.
    pub damage: Vec<Corrupt>,
    /// Files and folders that are neither Kafka's nor ours; left alone.
    pub unknown_files: Vec<String>,
}

/// A tail that was cut off: bytes that no acknowledgement vouched for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CutTail {
    /// The `.log` that was cut.
    pub path: PathBuf,
    /// Where it ends now.
    pub position: u64,
    /// Bytes that were cut.
    pub len: u64,
    /// Where the bytes were kept: only when intact batches followed the bad one, so that something may have been lost.
    pub kept_in: Option<PathBuf>,
}

/// Opens a partition folder.
pub(crate) fn open(
    context: &Arc<LogContext>,
    config: &Arc<LogConfig>,
    known: &Known,
    now: Now,
    rng: &mut Rng,
) -> Result<Opened> {
    let mut report =
        RecoveryReport { was_clean: known.is_clean, was_foreign: known.is_foreign, ..RecoveryReport::default() };
    let folder::Prepared { bases, has_removed } = folder::prepare(context, known, &mut report)?;
    let stored_epochs = read_epochs(context)?;
    let mut walk = Walk::new(context, config, known, stored_epochs.as_ref(), &mut report);
    for (index, base) in bases.iter().enumerate() {
        if !walk.visit(*base, bases.get(index + 1).copied())? {
            break;
        }
    }
    let mut walked = walk.finish()?;
    if report.damage.is_empty() && was_starting_anew(known, walked.log_end) {
        walked = start_anew(context, &bases, known.log_start)?;
    }
    let Walked { mut segments, epochs: seen_epochs, log_end, has_gaps, mut tail } = walked;
    let is_as_left = segments.len() + usize::from(tail.is_some()) == bases.len()
        && tail.as_ref().is_some_and(|tail| has_index_files(context, tail.base_offset));
    let (mut epochs, mut epochs_changed) = load_epochs(context, &segments, tail.as_ref(), stored_epochs)?;
    epochs_changed |= note_epochs(&mut epochs, &seen_epochs, known.log_start);
    let active = match tail.take() {
        Some(tail) => {
            let base = tail.base_offset;
            ActiveSegment::from_recovered(
                context,
                config,
                base,
                finish_tail(context, known, tail, &mut report)?,
                now,
                rng,
            )
        }
        None => ActiveSegment::create(context, config, log_end, now, rng)?,
    };
    segments.push(active.segment().clone());
    let log_start = known.log_start.max(lowest_start(known, &segments)).min(log_end);
    // The start first: of a log whose records are all deleted the history is then empty, whether or not the deletion had
    // reached the epoch file.
    epochs_changed |= epochs.truncate_from_start(log_start);
    epochs_changed |= epochs.truncate_from_end(log_end);
    let indexes = if known.is_clean { TransactionIndexes::Durable } else { TransactionIndexes::InDoubt };
    let vouched = (!known.is_foreign)
        .then(|| Vouched { up_to: known.recovery_point, sum: known.index_sums().map(|sums| sums.transactions) });
    let mut producers = producers::load(context, &segments, log_end, indexes, vouched)?;
    producers.states.expire(now.wall, PRODUCER_EXPIRATION);
    if !known.is_clean || !is_as_left || has_removed || producers.has_removed {
        // Names that were found, names that were given, and names that are gone for good.
        context.storage.sync_dir(&context.folder).in_doubt_context("sync", &context.folder)?;
    }
    let durable = DurablePoint {
        segment_base: active.base_offset(),
        position: active.position(),
        last_batch_crc: active.last_batch_crc(),
    };
    let LoadedProducers { states: producers, snapshot, has_removed: _ } = producers;
    Ok(Opened { active, segments, epochs, epochs_changed, producers, snapshot, log_start, has_gaps, report, durable })
}

/// Below this offset no log can start. A start inside a gap before the first segment stays where it was promised to be, as
/// does the high watermark; Kafka, which takes no note of it, starts at that segment.
fn lowest_start(known: &Known, segments: &[Segment]) -> Offset {
    let first_base = segments.first().map_or(Offset::ZERO, Segment::base_offset);
    if known.witnessed_gaps() { Offset::ZERO } else { first_base }
}

/// Whether nothing of a segment's index files has to be created.
fn has_index_files(context: &LogContext, base: Offset) -> bool {
    let exists = |kind| context.storage.identity(&context.path(kind, base)).is_ok();
    exists(SegmentFile::OffsetIndex) && exists(SegmentFile::TimeIndex)
}

/// Whether a crash caught the log while it was emptied to start at a higher offset: what is left of it lies below its log
/// start. Only the witness is believed so much; a checkpoint's text has no checksum.
fn was_starting_anew(known: &Known, log_end: Offset) -> bool {
    !known.is_foreign && known.witness.as_ref().is_some_and(|witness| witness.log_start > log_end)
}

/// Completes that.
fn start_anew(context: &LogContext, bases: &[Offset], log_start: Offset) -> Result<Walked> {
    remove_snapshots(context)?;
    for base in bases.iter().rev() {
        remove_segment_files(context, *base)?;
    }
    Ok(Walked { segments: Vec::new(), epochs: Vec::new(), log_end: log_start, has_gaps: false, tail: None })
}

/// The walk over a folder's segments in offset order.
struct Walk<'a> {
    context: &'a Arc<LogContext>,
    config: &'a Arc<LogConfig>,
    known: &'a Known,
    /// The history that the batches below the durable point must agree with.
    epochs: Option<&'a EpochCache>,
    report: &'a mut RecoveryReport,
    walked: Walked,
    visited: bool,
}

/// What a walk found.
struct Walked {
    segments: Vec<Segment>,
    epochs: Vec<EpochEntry>,
    log_end: Offset,
    has_gaps: bool,
    tail: Option<Scanned>,
}

impl<'a> Walk<'a> {
    fn new(
        context: &'a Arc<LogContext>,
        config: &'a Arc<LogConfig>,
        known: &'a Known,
        stored_epochs: Option<&'a EpochCache>,
        report: &'a mut RecoveryReport,
    ) -> Walk<'a> {
        let has_gaps = known.witnessed_gaps();
        let walked =
            Walked { segments: Vec::new(), epochs: Vec::new(), log_end: known.log_start, has_gaps, tail: None };
        let epochs = stored_epochs.filter(|_| !known.is_foreign);
        Walk { context, config, known, epochs, report, walked, visited: false }
    }

    /// Takes in the segment at `base`; `false` when the log ends before it and the rest was set aside.
    fn visit(&mut self, base: Offset, next_base: Option<Offset>) -> Result<bool> {
        let expected = match (self.visited, &self.known.witness) {
            (true, _) => self.walked.log_end,
            // Kafka keeps no note of a log start that is a segment's base; our witness does.
            (false, Some(_)) if !self.known.is_foreign => self.known.log_start.min(base),
            (false, _) => base,
        };
        self.visited = true;
        if base < expected && self.is_empty(base)? {
            // A roll that failed created it, and the segment before went on past its base.
            return remove_segment_files(self.context, base).map(|()| true);
        }
        if base != expected && !self.accept_gap(expected, base)? {
            folder::set_aside(self.context, base, self.report)?;
            return Ok(false);
        }
        if let Some(scanned) = self.walked.tail.take() {
            self.seal_former_tail(scanned)?;
        }
        if let Some(next_base) = next_base
            && next_base <= self.known.trusted_up_to()
            && let Some(segment) = segment::trusted(self.context, self.config, base, next_base)
        {
            let end = segment.next_offset();
            self.check_length(&segment)?;
            self.walked.segments.push(segment);
            self.walked.log_end = end;
            return Ok(true);
        }
        // A whole segment below the recovery point that no seal vouches for is checked from its start; so is the one that
        // holds it, if the witness does not tell what its indexes said.
        let index_sum = self.known.index_sums().map(|sums| sums.positions);
        let trusted_up_to = match next_base {
            Some(next_base) if next_base <= self.known.trusted_up_to() => Offset::ZERO,
            Some(_) | None if index_sum.is_none() => Offset::ZERO,
            Some(_) | None => self.known.trusted_up_to(),
        };
        let has_gaps = self.walked.has_gaps;
        // An empty file says nothing of where this segment ends: a failed roll may have left it, and the log gone on.
        let limit = match next_base {
            Some(next_base) if !self.is_empty(next_base)? => Some(next_base),
            Some(_) | None => None,
        };
        let config = self.config;
        let expected = Expected { config, trusted_up_to, next_base: limit, has_gaps, epochs: self.epochs, index_sum };
        let mut scanned = segment::scan(self.context, self.known, expected, base, self.report)?;
        let next_expected = match next_base {
            Some(next_base) => Some(next_base),
            // Of a folder that somebody else closed only the checkpoint says where it ended.
            None => Some(self.known.recovery_point.max(self.known.witnessed())),
        };
        scanned.extend_damage(next_expected, self.report);
        let goes_on = segment::settle(self.context, &mut scanned, self.report)?;
        self.walked.has_gaps |= scanned.has_gaps;
        self.walked.log_end = scanned.bounds.next_offset;
        self.walked.epochs.append(&mut scanned.epochs);
        self.walked.tail = Some(scanned);
        if !goes_on && let Some(next_base) = next_base {
            folder::set_aside(self.context, next_base, self.report)?;
        }
        Ok(goes_on)
    }

    fn is_empty(&self, base: Offset) -> Result<bool> {
        let path = self.context.path(SegmentFile::Log, base);
        let file = self.context.storage.open(&path, OpenMode::Read).context("open", &path)?;
        file.is_empty().context("read the length of", &path)
    }

    /// Whether the log may go on at `base` although its last offset so far is below: it has gaps by nature, or what is
    /// missing in between was durable and is lost.
    fn accept_gap(&mut self, expected: Offset, base: Offset) -> Result<bool> {
        if base < expected {
            return Ok(false);
        }
        if expected < self.known.durable() && !self.known.is_foreign && !self.walked.has_gaps {
            let path = self.context.path(SegmentFile::Log, expected);
            self.report.damage.push(self.missing(path, expected, base, None, 0));
            self.walked.log_end = base;
            return Ok(true);
        }
        self.walked.has_gaps |= self.known.is_foreign;
        Ok(self.walked.has_gaps)
    }

    /// A segment that its seal vouches for must still have its sealed length.
    fn check_length(&mut self, segment: &Segment) -> Result<()> {
        let file = segment.file()?;
        let found = file.len().context("read the length of", file.path())?;
        let expected = segment.size_in_bytes();
        if found < expected {
            let (first, next) = (segment.base_offset(), segment.next_offset());
            let damage = self.missing(file.path().to_path_buf(), first, next, Some(expected), found);
            self.report.damage.push(damage);
        }
        Ok(())
    }

    /// The segment scanned last is not the last one: it is complete, so it is sealed unless it is damaged.
    fn seal_former_tail(&mut self, scanned: Scanned) -> Result<()> {
        let base = scanned.base_offset;
        let is_intact = scanned.is_intact;
        let bounds = scanned.bounds;
        let recovered = finish_tail(self.context, self.known, scanned, self.report)?;
        let segment = Segment::active(
            Arc::clone(self.context),
            Arc::clone(self.config),
            base,
            Arc::clone(&recovered.files.log),
            recovered.indexer,
            bounds,
        );
        segment.start_sealing()?;
        if is_intact {
            sealing::finish_recovered(self.context, &segment, &recovered.files)?;
        }
        segment.finish_sealing();
        self.walked.segments.push(segment);
        Ok(())
    }

    /// Checks that nothing durable is missing at the end.
    fn finish(self) -> Result<Walked> {
        let durable = self.known.durable();
        let is_known = !(self.known.is_foreign && self.known.is_clean);
        // What was durable below the log start is deleted, not missing.
        let is_missing = self.walked.log_end < durable && durable > self.known.log_start;
        if is_known && is_missing && self.report.damage.is_empty() {
            let (path, found) = match &self.walked.tail {
                Some(tail) => (self.context.path(SegmentFile::Log, tail.base_offset), tail.bounds.len),
                None => (self.context.path(SegmentFile::Log, self.walked.log_end), 0),
            };
            let witness = self.known.witness.as_ref();
            let expected = witness.filter(|witness| witness.synced_offset == durable).map(|w| w.synced_position);
            let damage = self.missing(path, self.walked.log_end, durable, expected, found);
            self.report.damage.push(damage);
        }
        Ok(self.walked)
    }

    fn missing(&self, path: PathBuf, first: Offset, next_intact: Offset, expected: Option<u64>, found: u64) -> Corrupt {
        Corrupt {
            tp: Some(self.context.tp.clone()),
            path: Some(path),
            position: found,
            offsets: Some(DamagedOffsets { first, next_intact }),
            what: Damage::Missing { expected, found },
        }
    }
}

/// Makes a scanned segment fit for use: bytes that nobody vouches for are written again, index files are brought in
/// line with the log.
fn finish_tail(
    context: &LogContext,
    known: &Known,
    mut scanned: Scanned,
    report: &mut RecoveryReport,
) -> Result<Recovered> {
    if !known.is_clean && scanned.is_intact {
        make_durable(context, known, &scanned, report)?;
    }
    report.rebuilt_indexes += u32::from(scanned.rebuilt_index);
    scanned.indexer.keep_final()?;
    let files = SegmentFiles::open(context, scanned.base_offset)?;
    for (file, len) in [
        (&files.offset_index, scanned.indexer.offsets().written_len()),
        (&files.time_index, scanned.indexer.times().written_len()),
    ] {
        if file.len().context("read the length of", file.path())? != len {
            file.set_len(len).context("trim", file.path())?;
        }
    }
    Ok(Recovered {
        files,
        indexer: scanned.indexer,
        bounds: scanned.bounds,
        first_timestamp: scanned.first_timestamp,
        last_batch_crc: scanned.last_batch_crc,
    })
}

/// Makes the bytes of a segment durable that nothing vouches for, and its length: a dead owner may have cut the file and not
/// lived to sync it.
fn make_durable(context: &LogContext, known: &Known, scanned: &Scanned, report: &mut RecoveryReport) -> Result<()> {
    let (base, len) = (scanned.base_offset, scanned.bounds.len);
    let path = context.path(SegmentFile::Log, base);
    let file = context.storage.open(&path, OpenMode::Write).context("open", &path)?;
    file.set_len(len).context("set the length of", &path)?;
    let from = unvouched_from(known, scanned);
    if from >= len {
        return file.sync(SyncMode::All).in_doubt_context("sync", &path);
    }
    report.rewritten_bytes += len - from;
    redo::rewrite_tail(context, base, from, len)
}

/// From which position on nothing says that the segment's bytes are durable.
fn unvouched_from(known: &Known, scanned: &Scanned) -> u64 {
    let trusted = if scanned.start_offset <= known.recovery_point { scanned.start_position } else { 0 };
    match &known.witness {
        Some(witness) if witness.segment_base > scanned.base_offset => scanned.bounds.len,
        Some(witness) if witness.segment_base == scanned.base_offset => trusted.max(witness.synced_position),
        Some(_) | None => trusted,
    }
}

/// The epoch history in its file; `None` when the file is lost or damaged.
pub(crate) fn read_epochs(context: &LogContext) -> Result<Option<EpochCache>> {
    let path = context.folder.join(EPOCH_FILE);
    let stored = read_file(&*context.storage, &path, INDEX_BYTES_MAX)?;
    Ok(stored.and_then(|bytes| decode_epochs(&bytes).and_then(EpochCache::from_entries).ok()))
}

/// The epoch history as stored; from the batches themselves when it is lost. Of a log with batches, an empty history is a
/// lost one. The flag tells whether the file must be written.
fn load_epochs(
    context: &LogContext,
    segments: &[Segment],
    tail: Option<&Scanned>,
    stored: Option<EpochCache>,
) -> Result<(EpochCache, bool)> {
    let has_batches = !segments.is_empty() || tail.is_some_and(|tail| tail.bounds.len > 0);
    match stored {
        Some(cache) if cache.latest().is_some() || !has_batches => return Ok((cache, false)),
        None if !has_batches => return Ok((EpochCache::default(), false)),
        Some(_) | None => {}
    }
    let mut cache = epoch_cache::EpochCache::default();
    for segment in segments {
        for entry in segment::epochs_of(&segment.file()?, segment.bounds().len)? {
            cache.assign(entry.epoch, entry.start_offset);
        }
    }
    if let Some(tail) = tail {
        let path = context.path(SegmentFile::Log, tail.base_offset);
        let file = context.storage.open(&path, OpenMode::Read).context("open", &path)?;
        for entry in segment::epochs_of(&file, tail.bounds.len)? {
            cache.assign(entry.epoch, entry.start_offset);
        }
    }
    Ok((cache, true))
}

/// Adds what the batches tell of epochs to the history, which may have forgotten what lies below the log start. Whether it
/// changed.
fn note_epochs(epochs: &mut EpochCache, seen: &[EpochEntry], log_start: Offset) -> bool {
    let mut news = EpochCache::default();
    for entry in seen {
        news.assign(entry.epoch, entry.start_offset);
    }
    news.truncate_from_start(log_start);
    let mut has_changed = false;
    for entry in news.entries() {
        // The scan may have begun inside an epoch: only what the history does not know is news.
        if epochs.epoch_for(entry.start_offset) != Some(entry.epoch) {
            has_changed |= epochs.assign(entry.epoch, entry.start_offset);
        }
    }
    has_changed
}

/// The bounds of a segment that has no batch.
pub(crate) fn empty_bounds(base_offset: Offset) -> SegmentBounds {
    SegmentBounds { len: 0, next_offset: base_offset }
}

/// Damage found in a log, as one error for whoever wants to append.
pub(crate) fn first_damage(report: &RecoveryReport) -> Option<Error> {
    report.damage.first().map(|damage| Error::Corrupt(Box::new(damage.clone())))
}
