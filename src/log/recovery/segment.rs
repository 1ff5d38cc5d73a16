//! [S] Checking one segment: from the last index entry below the recovery point to the end, every batch.

use std::sync::Arc;

use crate::config::LogConfig;
use crate::error::{Corrupt, Damage, DamagedOffsets, Error, IoContext, Result};
use crate::log::active::Recovered;
use crate::log::context::LogContext;
use crate::log::epoch_cache::{EpochCache, EpochEntry};
use crate::log::index_sums;
use crate::log::indexer::{ResumePoint, SegmentIndexer};
use crate::log::layout::SegmentFile;
use crate::log::offset_index::OffsetIndex;
use crate::log::recovery::{CutTail, Known, RecoveryReport, empty_bounds, finish_tail};
use crate::log::scan::BatchScanner;
use crate::log::segment::{INDEX_BYTES_MAX, Segment, SegmentBounds};
use crate::log::time_index::TimeIndex;
use crate::record::{BATCH_HEADER_LEN, BatchHeader};
use crate::storage::{OpenMode, StorageFile, SyncMode, copy_range, read_file};
use crate::types::{LeaderEpoch, Offset, Timestamp};

/// What a scan found in one segment.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub(crate) base_offset: Offset,
    /// Where the scan started: everything below was durable and indexed.
    pub(crate) start_position: u64,
    pub(crate) start_offset: Offset,
    pub(crate) indexer: SegmentIndexer,
    pub(crate) bounds: SegmentBounds,
    pub(crate) first_timestamp: Option<Option<Timestamp>>,
    pub(crate) last_batch_crc: u32,
    /// Where the scanned batches change their leader epoch.
    pub(crate) epochs: Vec<EpochEntry>,
    pub(crate) has_gaps: bool,
    /// Whether no damage stands below the durable point.
    pub(crate) is_intact: bool,
    pub(crate) rebuilt_index: bool,
    /// Where the intact part ends, when something else follows that may be cut.
    pub(crate) stop: Option<Error>,
    file_len: u64,
    last_epoch: Option<LeaderEpoch>,
    follows_damage: bool,
}

/// A segment that its seal vouches for; `None` when there is no seal, or it does not lead to the next segment.
pub(crate) fn trusted(
    context: &Arc<LogContext>,
    config: &Arc<LogConfig>,
    base: Offset,
    next_base: Offset,
) -> Option<Segment> {
    let unknown = Segment::sealed(Arc::clone(context), Arc::clone(config), base, empty_bounds(base));
    let seal = unknown.read_seal().ok().flatten().filter(|seal| seal.next_offset <= next_base)?;
    let bounds = SegmentBounds { len: seal.log_len, next_offset: seal.next_offset };
    Some(Segment::sealed(Arc::clone(context), Arc::clone(config), base, bounds))
}

/// What the batches of a segment are measured by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected<'a> {
    pub(crate) config: &'a LogConfig,
    /// Below this offset the segment need not be read.
    pub(crate) trusted_up_to: Offset,
    /// Where the next segment starts: no batch of this one reaches further.
    pub(crate) next_base: Option<Offset>,
    /// Whether the log may have offset gaps.
    pub(crate) has_gaps: bool,
    /// The epoch history, which is durable before the batches that it speaks of.
    pub(crate) epochs: Option<&'a EpochCache>,
    /// What its indexes said below `trusted_up_to`; `None` when they cannot have changed since this process wrote them.
    pub(crate) index_sum: Option<u32>,
}

/// Reads a segment from its resume point to its end.
pub(crate) fn scan(
    context: &LogContext,
    known: &Known,
    expected: Expected<'_>,
    base: Offset,
    report: &mut RecoveryReport,
) -> Result<Scanned> {
    let path = context.path(SegmentFile::Log, base);
    let file = context.storage.open(&path, OpenMode::Read).context("open", &path)?;
    let file_len = file.len().context("read the length of", &path)?;
    let (indexer, resume, rebuilt_index) = load_indexer(context, &file, file_len, base, expected);
    let mut scanned = Scanned {
        base_offset: base,
        start_position: resume.position,
        start_offset: resume.indexed.unwrap_or(base),
        indexer,
        bounds: SegmentBounds { len: resume.position, next_offset: base },
        first_timestamp: first_timestamp(&file, file_len)?,
        last_batch_crc: 0,
        epochs: Vec::new(),
        has_gaps: expected.has_gaps,
        is_intact: true,
        rebuilt_index,
        stop: None,
        file_len,
        last_epoch: None,
        follows_damage: false,
    };
    let mut scanner = BatchScanner::new(file, resume.position, file_len);
    let mut indexed = resume.indexed;
    loop {
        let step = match scanner.next_batch() {
            Ok(None) => break,
            Ok(Some(batch)) => {
                let position = batch.position;
                match scanned.check(&batch.header, indexed.is_some(), known, expected) {
                    Ok(()) => Ok((position, batch.header)),
                    Err(error) => Err((error.in_file(&path, position), true)),
                }
            }
            Err(error @ Error::Corrupt(_)) => Err((error, false)),
            Err(other) => return Err(other),
        };
        match step {
            Ok((position, header)) => {
                scanned.accept(&header, position, indexed.take().is_some())?;
                scanned.check_witness(context, known, &header, report);
            }
            Err((error, has_good_length)) => {
                if scanned.bounds.next_offset >= known.durable() || (known.is_foreign && scanner.rest_is_zero()?) {
                    scanned.stop = Some(error);
                    break;
                }
                scanned.note_damage(context, &mut scanner, error, has_good_length, report)?;
            }
        }
    }
    report.scanned_bytes += file_len - resume.position.min(file_len);
    if !scanned.is_intact {
        // Nothing of a damaged file is cut: its length stays what it is.
        scanned.bounds.len = file_len;
    }
    Ok(scanned)
}

impl Scanned {
    /// Whether an intact batch is where it belongs.
    fn check(&self, header: &BatchHeader, is_indexed: bool, known: &Known, limits: Expected<'_>) -> Result<()> {
        let (expected, found) = (self.bounds.next_offset, header.base_offset_or(self.bounds.next_offset));
        // Behind damage the log goes on somewhere, but not behind what was durable, for all of the damage is below that.
        let is_behind_damage = self.follows_damage && found <= known.durable();
        let may_jump = is_indexed || self.has_gaps || known.is_foreign || is_behind_damage;
        // No index can hold an offset that far from the base, so no batch of this segment can have it.
        let is_too_far = header.last_offset().since(self.base_offset) > u64::from(i32::MAX.unsigned_abs())
            || limits.next_base.is_some_and(|next_base| header.next_offset() > next_base);
        if found < expected || (found > expected && !may_jump) || is_too_far {
            return Err(Error::corrupt(0, Damage::Offset { expected, found: found.get() }));
        }
        // What was written before there were epochs tells of none.
        if header.is_legacy() {
            return Ok(());
        }
        let recorded = limits.epochs.filter(|_| found < known.durable()).and_then(|epochs| epochs.epoch_for(found));
        if recorded.is_some() && recorded != header.leader_epoch() {
            let what = Damage::LeaderEpoch { expected: recorded, found: header.leader_epoch() };
            return Err(Error::corrupt(12, what));
        }
        if header.leader_epoch() < self.last_epoch {
            let what = Damage::LeaderEpoch { expected: self.last_epoch, found: header.leader_epoch() };
            return Err(Error::corrupt(12, what));
        }
        Ok(())
    }

    fn accept(&mut self, header: &BatchHeader, position: u64, is_indexed: bool) -> Result<()> {
        if is_indexed {
            self.indexer.on_indexed_batch(header);
        } else {
            let expected = self.bounds.next_offset;
            self.has_gaps |= header.base_offset_or(expected) > expected && !self.follows_damage;
            self.indexer.on_batch(header, position)?;
        }
        if let Some(epoch) = header.leader_epoch().filter(|epoch| Some(*epoch) != self.last_epoch) {
            self.epochs.push(EpochEntry { epoch, start_offset: header.base_offset() });
        }
        if !header.is_legacy() {
            self.last_epoch = header.leader_epoch();
        }
        self.follows_damage = false;
        self.last_batch_crc = header.crc();
        self.bounds = SegmentBounds {
            len: position.saturating_add(header.size_in_bytes() as u64),
            next_offset: header.next_offset(),
        };
        Ok(())
    }

    /// The batch that ends where the witness says durable bytes end must be the one that the witness saw.
    fn check_witness(
        &mut self,
        context: &LogContext,
        known: &Known,
        header: &BatchHeader,
        report: &mut RecoveryReport,
    ) {
        let Some(witness) = known.witness.as_ref().filter(|witness| witness.segment_base == self.base_offset) else {
            return;
        };
        let is_the_one = witness.synced_position == self.bounds.len && witness.last_batch_crc != 0;
        if !is_the_one || witness.last_batch_crc == header.crc() {
            return;
        }
        self.is_intact = false;
        report.damage.push(Corrupt {
            tp: Some(context.tp.clone()),
            path: Some(context.path(SegmentFile::Log, self.base_offset)),
            position: self.bounds.len - header.size_in_bytes() as u64,
            offsets: Some(DamagedOffsets { first: header.base_offset(), next_intact: header.next_offset() }),
            what: Damage::Structure("the last durable batch is not the one that was acknowledged"),
        });
    }

    /// Damage at the segment's end reaches to where the log is known to go on: those offsets are lost, not free.
    pub(crate) fn extend_damage(&mut self, next_expected: Option<Offset>, report: &mut RecoveryReport) {
        let Some(next) = next_expected.filter(|next| *next > self.bounds.next_offset && !self.is_intact) else {
            return;
        };
        let first = self.bounds.next_offset;
        let at_end = report.damage.last_mut().and_then(|damage| damage.offsets.as_mut());
        if let Some(offsets) = at_end.filter(|offsets| offsets.first == first) {
            offsets.next_intact = next;
            self.bounds.next_offset = next;
        }
    }

    /// Damage below the durable point: takes note of it and finds the next intact batch. Nothing is cut.
    fn note_damage(
        &mut self,
        context: &LogContext,
        scanner: &mut BatchScanner,
        error: Error,
        has_good_length: bool,
        report: &mut RecoveryReport,
    ) -> Result<()> {
        let first = self.bounds.next_offset;
        self.is_intact = false;
        self.follows_damage = true;
        if !has_good_length {
            scanner.skip_damage(first, Offset::MAX)?;
        }
        let next_intact = scanner.peek_offset()?.filter(|next| *next > first);
        let error = error.in_partition(&context.tp).with_offsets(first, next_intact.unwrap_or(first.next()));
        if let Error::Corrupt(corrupt) = error {
            report.damage.push(*corrupt);
        }
        Ok(())
    }
}

/// Deals with what follows the intact part; `false` when the log ends in this segment.
pub(crate) fn settle(context: &LogContext, scanned: &mut Scanned, report: &mut RecoveryReport) -> Result<bool> {
    let Some(_why) = scanned.stop.take() else { return Ok(true) };
    let path = context.path(SegmentFile::Log, scanned.base_offset);
    let file = context.storage.open(&path, OpenMode::Write).context("open", &path)?;
    let position = scanned.bounds.len;
    let mut rest = BatchScanner::new(Arc::clone(&file), position, scanned.file_len);
    let was_written = !rest.rest_is_zero()?;
    let mut kept_in = None;
    let may_hold_batches =
        was_written && (rest.skip_damage(scanned.bounds.next_offset, Offset::MAX)? || rest.gave_up());
    if may_hold_batches {
        let kept = context.path(SegmentFile::Cut, scanned.bounds.next_offset);
        copy_range(&*context.storage, &*file, position, scanned.file_len, &kept)?;
        context.storage.sync_dir(&context.folder).in_doubt_context("sync", &context.folder)?;
        kept_in = Some(kept);
    }
    file.set_len(position).context("cut the torn tail of", &path)?;
    file.sync(SyncMode::All).in_doubt_context("sync", &path)?;
    report.cuts.push(CutTail { path, position, len: scanned.file_len - position, kept_in });
    Ok(false)
}

/// Takes up a segment that was cut at `end` while the log was open.
pub(crate) fn resume(
    context: &LogContext,
    config: &LogConfig,
    base: Offset,
    end: Offset,
    has_gaps: bool,
) -> Result<Recovered> {
    let known = Known {
        recovery_point: end,
        log_start: Offset::ZERO,
        high_watermark: Offset::ZERO,
        witness: None,
        is_clean: true,
        is_foreign: false,
    };
    let mut report = RecoveryReport::default();
    let expected = Expected { config, trusted_up_to: end, next_base: None, has_gaps, epochs: None, index_sum: None };
    let scanned = scan(context, &known, expected, base, &mut report)?;
    match report.damage.pop() {
        Some(damage) => Err(Error::Corrupt(Box::new(damage))),
        None => finish_tail(context, &known, scanned, &mut report),
    }
}

/// Where the batches of a segment change their leader epoch, by their headers.
pub(crate) fn epochs_of(file: &Arc<dyn StorageFile>, len: u64) -> Result<Vec<EpochEntry>> {
    let mut scanner = BatchScanner::new(Arc::clone(file), 0, len);
    let (mut epochs, mut last) = (Vec::new(), None);
    loop {
        match scanner.next_batch() {
            Ok(Some(batch)) => {
                let epoch = batch.header.leader_epoch();
                if let Some(epoch) = epoch.filter(|epoch| Some(*epoch) != last) {
                    epochs.push(EpochEntry { epoch, start_offset: batch.header.base_offset() });
                }
                last = epoch;
            }
            Ok(None) => return Ok(epochs),
            Err(Error::Corrupt(_)) => {
                scanner.skip_damage(Offset::ZERO, Offset::MAX)?;
            }
            Err(other) => return Err(other),
        }
    }
}

/// The indexer to go on with: from the index files as far as they are trusted, else from nothing.
fn load_indexer(
    context: &LogContext,
    file: &Arc<dyn StorageFile>,
    file_len: u64,
    base: Offset,
    expected: Expected<'_>,
) -> (SegmentIndexer, ResumePoint, bool) {
    let trusted_up_to = expected.trusted_up_to;
    let fresh = || {
        let start = ResumePoint { position: 0, indexed: None };
        (SegmentIndexer::new(base, expected.config), start)
    };
    if trusted_up_to <= base {
        let (indexer, start) = fresh();
        return (indexer, start, false);
    }
    match load_indexes(context, base) {
        Ok((offsets, times))
            if expected.index_sum.is_none_or(|sum| index_sums::positions(&offsets, &times, trusted_up_to) == sum) =>
        {
            let (indexer, resume) = SegmentIndexer::resume(&offsets, &times, trusted_up_to, expected.config);
            if is_as_indexed(file, file_len, resume, expected.epochs) {
                return (indexer, resume, false);
            }
            let (indexer, start) = fresh();
            (indexer, start, true)
        }
        Ok(_) | Err(_) => {
            let (indexer, start) = fresh();
            (indexer, start, true)
        }
    }
}

/// The indexes of a segment that may still grow, without a tail that was reserved and never written.
pub(crate) fn load_indexes(context: &LogContext, base: Offset) -> Result<(OffsetIndex, TimeIndex)> {
    let read = |kind| -> Result<Vec<u8>> {
        let path = context.path(kind, base);
        let missing = || Error::corrupt(0, Damage::Missing { expected: None, found: 0 }).in_file(&path, 0);
        read_file(&*context.storage, &path, INDEX_BYTES_MAX)?.ok_or_else(missing)
    };
    let offsets = read(SegmentFile::OffsetIndex)?;
    let times = read(SegmentFile::TimeIndex)?;
    let offsets = OffsetIndex::from_bytes(base, OffsetIndex::trim_zero_tail(&offsets))?;
    Ok((offsets, TimeIndex::from_bytes(base, TimeIndex::trim_zero_tail(&times))?))
}

/// Whether the batch that the last kept index entry names is intact and where it belongs: the scan starts from it, and
/// would not know what is lost if it were damaged.
fn is_as_indexed(file: &Arc<dyn StorageFile>, file_len: u64, resume: ResumePoint, epochs: Option<&EpochCache>) -> bool {
    let Some(indexed) = resume.indexed else { return true };
    let mut scanner = BatchScanner::new(Arc::clone(file), resume.position, file_len);
    let Ok(Some(batch)) = scanner.next_batch() else { return false };
    let recorded = epochs.and_then(|epochs| epochs.epoch_for(batch.header.base_offset()));
    let is_of_epoch = recorded.is_none() || batch.header.is_legacy() || recorded == batch.header.leader_epoch();
    batch.header.last_offset() == indexed && is_of_epoch
}

fn first_timestamp(file: &Arc<dyn StorageFile>, file_len: u64) -> Result<Option<Option<Timestamp>>> {
    let mut bytes = [0; BATCH_HEADER_LEN];
    let len = usize::try_from(file_len).unwrap_or(usize::MAX).min(BATCH_HEADER_LEN);
    let window = bytes.get_mut(..len).unwrap_or_default();
    file.read_exact_at(0, window).context("read", file.path())?;
    Ok(BatchHeader::parse(window).ok().map(|header| header.max_timestamp()))
}
