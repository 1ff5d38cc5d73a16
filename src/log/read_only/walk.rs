//! [S] Walking over what is committed, batch by batch, once: bounds, indexes, producers, damage.
//!
//! Nothing is written: indexes that lag or are lost are completed in memory, and producer state comes from the newest
//! snapshot and the batches behind it. Every batch that is walked over was checked. Invariant: no batch that reaches
//! past [`Target::end`] is taken note of, so that what its writer may still take back leaves no trace here. Kafka has no
//! counterpart.

use std::sync::Arc;

use crate::config::LogConfig;
use crate::error::{Corrupt, Damage, DamagedOffsets, Error, IoContext, Result};
use crate::log::context::LogContext;
use crate::log::indexer::{ResumePoint, SegmentIndexer};
use crate::log::layout::SegmentFile;
use crate::log::producer_snapshot;
use crate::log::producer_state::ProducerStates;
use crate::log::recovery::{load_indexes, observe};
use crate::log::scan::{BatchScanner, ScannedBatch};
use crate::log::segment::{INDEX_BYTES_MAX, Segment, SegmentBounds};
use crate::log::txn_index::AbortedTransaction;
use crate::record::{BATCH_HEADER_LEN, BatchHeader};
use crate::storage::{EntryKind, FileIdentity, OpenMode, StorageFile, read_file};
use crate::types::Offset;

/// How far a walk goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    /// What is below was deleted.
    pub(crate) log_start: Offset,
    /// What is below is in the files, or they are damaged.
    pub(crate) committed: Offset,
    /// Where the walk ends at the latest; above `committed` it ends at the last intact batch.
    pub(crate) end: Offset,
    /// Whether offsets may be missing between two batches.
    pub(crate) has_gaps: bool,
}

/// What was walked over so far.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// In offset order; the last one is the tail's.
    segments: Vec<Segment>,
    tail: Option<Tail>,
    producers: ProducerStates,
    damage: Vec<Corrupt>,
    /// Damage that reaches to the committed end: looked at again on every advance, for more may follow it.
    end_damage: Option<Corrupt>,
}

/// The segment that the walk has come to.
#[derive(Debug)]
struct Tail {
    segment: Segment,
    file: Arc<dyn StorageFile>,
    identity: FileIdentity,
    /// Where the last batch that was walked over ends.
    position: u64,
    next_offset: Offset,
    last: Option<(u64, BatchHeader)>,
    /// Batches below are in the producer state already.
    replay_from: Offset,
    /// Whether the batch at `position` has its index entry, so that what is before it was not walked over.
    is_indexed: bool,
    /// What ended the walk before the file's end.
    stop: Option<Error>,
}

/// Where a walk starts.
struct Start {
    /// Which segment.
    at: usize,
    replay_from: Offset,
    producers: ProducerStates,
    /// The aborted transactions of that segment that end below `replay_from`.
    aborted: Vec<AbortedTransaction>,
}

/// What is listed in a partition's folder.
struct Names {
    bases: Vec<Offset>,
    snapshots: Vec<Offset>,
}

impl Walk {
    /// Every segment that was walked over or stands before the first such one.
    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The offset after the last batch that was walked over.
    pub(crate) fn end_offset(&self) -> Offset {
        self.tail.as_ref().map_or(Offset::ZERO, |tail| tail.next_offset)
    }

    /// All damage that was met.
    pub(crate) fn damage(&self) -> Vec<Corrupt> {
        self.damage.iter().chain(&self.end_damage).cloned().collect()
    }

    /// Where the first transaction starts that is undecided below this high watermark.
    pub(crate) fn first_unstable_offset(&mut self, high_watermark: Offset) -> Option<Offset> {
        self.producers.on_high_watermark(high_watermark);
        self.producers.first_unstable_offset()
    }

    /// Goes on to the target. `Ok(false)` when damage was met that was not known before: a writer that truncates at the
    /// same time can look like it, so the caller makes sure. After an error the walk is of no use any more.
    pub(crate) fn advance(&mut self, context: &Arc<LogContext>, target: Target) -> Result<bool> {
        if !self.is_as_walked(context, target)? {
            *self = Walk::default();
        }
        let known = self.damage.len();
        match &self.tail {
            Some(_) => self.go_on(context, target)?,
            None => self.begin(context, target)?,
        }
        let gone = self.segments.iter().skip(1).take_while(|next| next.base_offset() <= target.log_start).count();
        self.segments.drain(..gone);
        Ok(self.damage.len() == known && self.end_damage.is_none())
    }

    /// Whether what was walked over still stands there: the file may have been cut and written anew, or replaced.
    fn is_as_walked(&self, context: &LogContext, target: Target) -> Result<bool> {
        let Some(tail) = &self.tail else { return Ok(true) };
        if tail.next_offset > target.end {
            return Ok(false);
        }
        match context.storage.identity(tail.file.path()) {
            Ok(identity) if identity == tail.identity => {}
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error).context("look at", tail.file.path()),
        }
        let Some((position, last)) = &tail.last else { return Ok(true) };
        let mut bytes = [0; BATCH_HEADER_LEN];
        let read = tail.file.read_full_at(*position, &mut bytes).context("read", tail.file.path())?;
        let found = bytes.get(..read).and_then(|bytes| BatchHeader::parse(bytes).ok());
        Ok(found.is_some_and(|found| found.is_of_same_bytes(last)))
    }

    /// Starts from the newest producer snapshot that the log reaches.
    fn begin(&mut self, context: &Arc<LogContext>, target: Target) -> Result<()> {
        let mut snapshots_up_to = target.end;
        loop {
            *self = Walk::default();
            let replay_from = self.start(context, target, snapshots_up_to)?;
            self.go_on(context, target)?;
            if self.end_offset() >= replay_from {
                return Ok(());
            }
            // The log ends before it: the snapshot speaks of records that are not there.
            snapshots_up_to = self.end_offset();
        }
    }

    /// Finds the segments and the first one to walk over; returns where the producers' replay starts.
    fn start(&mut self, context: &Arc<LogContext>, target: Target, snapshots_up_to: Offset) -> Result<Offset> {
        let Names { mut bases, snapshots } = list(context)?;
        bases.retain(|base| *base < target.end);
        // A deleted segment that is still there may be all that tells of a transaction that began in it.
        let is_first = |base: &Offset| *base <= target.log_start && snapshots.contains(base);
        let gone = bases.iter().rposition(is_first).unwrap_or(0);
        let mut found = Vec::new();
        for base in bases.into_iter().skip(gone) {
            let len = log_len(context, base)?;
            // A roll that failed may have left an empty file; a segment without a batch tells nothing anyway.
            if len > 0 {
                found.push((base, len));
            }
        }
        let Some(start) = choose_start(context, &found, snapshots, snapshots_up_to)? else { return Ok(Offset::ZERO) };
        let Start { at, replay_from, producers, aborted } = start;
        for (index, (base, len)) in found.iter().enumerate().take(at + 1) {
            if index < at {
                let next_offset = found.get(index + 1).map_or(*base, |next| next.0);
                let bounds = SegmentBounds { len: *len, next_offset };
                self.segments.push(Segment::sealed(Arc::clone(context), Arc::default(), *base, bounds));
            } else {
                let tail = Tail::open(context, *base, replay_from)?;
                tail.segment.set_aborted(aborted.clone());
                self.segments.push(tail.segment.clone());
                self.tail = Some(tail);
            }
        }
        self.producers = producers;
        Ok(replay_from)
    }

    /// Walks on through this segment and those behind it.
    fn go_on(&mut self, context: &Arc<LogContext>, target: Target) -> Result<()> {
        self.end_damage = None;
        while let Some(tail) = &mut self.tail {
            if tail.walk(target, &mut self.producers, &mut self.damage)? {
                return Ok(());
            }
            let Some(next) = self.next_base(context, target)? else { break };
            // Its writer may have gone on here before it rolled.
            if let Some(tail) = &mut self.tail
                && tail.walk(target, &mut self.producers, &mut self.damage)?
            {
                return Ok(());
            }
            self.move_to(context, next, target)?;
        }
        self.end_damage = self.missing_at_end(context, target);
        Ok(())
    }

    /// The segment behind the tail, if there is one with a batch below the target.
    fn next_base(&mut self, context: &LogContext, target: Target) -> Result<Option<Offset>> {
        let Some(tail) = &self.tail else { return Ok(None) };
        let (base, next_offset) = (tail.segment.base_offset(), tail.next_offset);
        let names = list(context)?;
        // A broker deletes segments without telling anybody.
        let gone = self.segments.iter().take_while(|segment| !names.bases.contains(&segment.base_offset())).count();
        self.segments.drain(..gone.min(self.segments.len().saturating_sub(1)));
        let later = names.bases.into_iter().filter(|at| *at > base && *at >= next_offset && *at < target.end);
        for candidate in later {
            if log_len(context, candidate)? > 0 {
                return Ok(Some(candidate));
            }
        }
        Ok(None)
    }

    /// The tail is complete: the walk goes on in the segment at `base`.
    fn move_to(&mut self, context: &Arc<LogContext>, base: Offset, target: Target) -> Result<()> {
        let Some(tail) = self.tail.take() else { return Ok(()) };
        tail.segment.start_sealing()?;
        tail.segment.finish_sealing();
        let first = tail.next_offset.max(target.log_start);
        if first < base && (tail.stop.is_some() || !target.has_gaps) {
            self.damage.push(tail.damage_between(context, first, base));
        }
        let next = Tail::open(context, base, base)?;
        next.segment.set_aborted(Vec::new());
        self.segments.push(next.segment.clone());
        self.tail = Some(next);
        Ok(())
    }

    /// What is committed and not there.
    fn missing_at_end(&self, context: &LogContext, target: Target) -> Option<Corrupt> {
        let first = self.end_offset().max(target.log_start);
        if first >= target.committed {
            return None;
        }
        match &self.tail {
            Some(tail) if tail.stop.is_some() || !target.has_gaps => {
                Some(tail.damage_between(context, first, target.committed))
            }
            None if !target.has_gaps => {
                let path = context.path(SegmentFile::Log, target.log_start);
                Some(missing(context, path, 0, first, target.committed))
            }
            Some(_) | None => None,
        }
    }
}

impl Tail {
    /// Opens a segment for walking: from the last index entry below `replay_from`, else from its start.
    fn open(context: &Arc<LogContext>, base: Offset, replay_from: Offset) -> Result<Tail> {
        let path = context.path(SegmentFile::Log, base);
        // First, so that a file that takes its place meanwhile is noticed.
        let identity = context.storage.identity(&path).context("look at", &path)?;
        let file = context.storage.open(&path, OpenMode::Read).context("open", &path)?;
        let (indexer, resume) = resume_index(context, &file, base, replay_from)?;
        let bounds = SegmentBounds { len: resume.position, next_offset: base };
        Ok(Tail {
            segment: Segment::active(Arc::clone(context), Arc::default(), base, Arc::clone(&file), indexer, bounds),
            file,
            identity,
            position: resume.position,
            next_offset: base,
            last: None,
            replay_from,
            is_indexed: resume.indexed.is_some(),
            stop: None,
        })
    }

    /// Walks on to the target's end, and tells whether it got there; otherwise nothing intact follows in this file.
    fn walk(&mut self, target: Target, producers: &mut ProducerStates, damage: &mut Vec<Corrupt>) -> Result<bool> {
        self.stop = None;
        if self.next_offset >= target.end {
            return Ok(true);
        }
        let len = self.file.len().context("read the length of", self.file.path())?;
        let mut scanner = BatchScanner::new(Arc::clone(&self.file), self.position, len);
        let mut follows_damage = false;
        while self.next_offset < target.end {
            match scanner.next_batch() {
                Ok(None) => return Ok(false),
                Ok(Some(batch)) if batch.header.last_offset() >= target.end => return Ok(true),
                Ok(Some(batch)) => {
                    let found = batch.header.base_offset_or(self.next_offset);
                    let reach = batch.header.last_offset().since(self.segment.base_offset());
                    if found < self.next_offset || reach > u64::from(i32::MAX.unsigned_abs()) {
                        // It has no business here; a reader who comes by says so.
                        continue;
                    }
                    let may_jump = self.is_indexed || follows_damage || target.has_gaps;
                    if found > self.next_offset && !may_jump {
                        let what = Damage::Offset { expected: self.next_offset, found: found.get() };
                        let error = Error::corrupt(0, what).in_file(self.file.path(), batch.position);
                        note(damage, error, self.next_offset, found);
                    }
                    self.accept(&batch, producers)?;
                    follows_damage = false;
                }
                Err(error @ Error::Corrupt(_)) => {
                    if scanner.rest_is_zero()? {
                        return Ok(false);
                    }
                    if !scanner.skip_damage(self.next_offset, target.end)? {
                        self.stop = Some(error);
                        return Ok(false);
                    }
                    let next_intact = scanner.peek_offset()?.unwrap_or(self.next_offset);
                    note(damage, error, self.next_offset, next_intact);
                    follows_damage = true;
                }
                Err(other) => return Err(other),
            }
        }
        Ok(true)
    }

    fn accept(&mut self, batch: &ScannedBatch<'_>, producers: &mut ProducerStates) -> Result<()> {
        let (position, header) = (batch.position, batch.header);
        let bounds = SegmentBounds {
            len: position.saturating_add(header.size_in_bytes() as u64),
            next_offset: header.next_offset(),
        };
        let is_indexed = std::mem::take(&mut self.is_indexed);
        self.segment.on_append(bounds, |indexer| match is_indexed {
            true => {
                indexer.on_indexed_batch(&header);
                Ok(())
            }
            false => indexer.on_batch(&header, position),
        })?;
        if header.base_offset() >= self.replay_from
            && let Some(aborted) = observe(producers, batch)
        {
            self.segment.on_aborted(aborted);
        }
        (self.position, self.next_offset) = (bounds.len, bounds.next_offset);
        self.last = Some((position, header));
        Ok(())
    }

    /// The damage behind the last intact batch.
    fn damage_between(&self, context: &LogContext, first: Offset, next_intact: Offset) -> Corrupt {
        let mut found = missing(context, self.file.path().to_path_buf(), self.position, first, next_intact);
        if let Some(Error::Corrupt(stop)) = &self.stop {
            (found.what, found.position) = (stop.what, stop.position);
        }
        found
    }
}

fn note(damage: &mut Vec<Corrupt>, error: Error, first: Offset, next_intact: Offset) {
    if let Error::Corrupt(corrupt) = error.with_offsets(first, next_intact)
        && first < next_intact
    {
        damage.push(*corrupt);
    }
}

fn missing(
    context: &LogContext,
    path: std::path::PathBuf,
    position: u64,
    first: Offset,
    next_intact: Offset,
) -> Corrupt {
    Corrupt {
        tp: Some(context.tp.clone()),
        path: Some(path),
        position,
        offsets: Some(DamagedOffsets { first, next_intact }),
        what: Damage::Missing { expected: None, found: position },
    }
}

/// The segments and the producer snapshots of the folder, each in offset order.
fn list(context: &LogContext) -> Result<Names> {
    let entries = context.storage.list(&context.folder).context("list", &context.folder)?;
    let mut names = Names { bases: Vec::new(), snapshots: Vec::new() };
    for entry in entries.iter().filter(|entry| entry.kind == EntryKind::File) {
        match SegmentFile::parse(&entry.name) {
            Some((SegmentFile::Log, base)) => names.bases.push(base),
            Some((SegmentFile::Snapshot, offset)) => names.snapshots.push(offset),
            Some(_) | None => {}
        }
    }
    Ok(names)
}

fn log_len(context: &LogContext, base: Offset) -> Result<u64> {
    let path = context.path(SegmentFile::Log, base);
    let file = context.storage.open(&path, OpenMode::Read).context("open", &path)?;
    file.len().context("read the length of", &path)
}

/// The newest usable producer snapshot up to an offset, and the segment that it leads to; `None` without segments.
/// Without a snapshot everything is replayed.
fn choose_start(
    context: &Arc<LogContext>,
    segments: &[(Offset, u64)],
    snapshots: Vec<Offset>,
    up_to: Offset,
) -> Result<Option<Start>> {
    let Some((first, _)) = segments.first().copied() else { return Ok(None) };
    for offset in snapshots.into_iter().rev().filter(|offset| *offset <= up_to) {
        let path = context.path(SegmentFile::Snapshot, offset);
        let Some(bytes) = read_file(&*context.storage, &path, INDEX_BYTES_MAX)? else { continue };
        let Ok(entries) = producer_snapshot::decode(&bytes) else { continue };
        let replay_from = offset.max(first);
        let at = segments.partition_point(|(base, _)| *base <= replay_from).saturating_sub(1);
        let (base, len) = segments.get(at).copied().unwrap_or((first, 0));
        // Inside a segment, its transaction index must tell of the part below.
        let bounds = SegmentBounds { len, next_offset: replay_from };
        let mut aborted = match replay_from > base {
            true => match Segment::sealed(Arc::clone(context), Arc::default(), base, bounds).aborted_transactions() {
                Ok(aborted) => aborted,
                Err(Error::Corrupt(_) | Error::InvalidRecord { .. }) => continue,
                Err(other) => return Err(other),
            },
            false => Vec::new(),
        };
        aborted.retain(|entry| entry.last_offset < replay_from);
        let producers = ProducerStates::from_snapshot(entries);
        return Ok(Some(Start { at, replay_from, producers, aborted }));
    }
    let producers = ProducerStates::default();
    Ok(Some(Start { at: 0, replay_from: first, producers, aborted: Vec::new() }))
}

/// The indexer to go on with: from the index files when the batch that they lead to is the one that they name.
fn resume_index(
    context: &LogContext,
    file: &Arc<dyn StorageFile>,
    base: Offset,
    keep_below: Offset,
) -> Result<(SegmentIndexer, ResumePoint)> {
    if keep_below > base
        && let Ok((offsets, times)) = load_indexes(context, base)
    {
        let (indexer, resume) = SegmentIndexer::resume(&offsets, &times, keep_below, &LogConfig::new());
        let len = file.len().context("read the length of", file.path())?;
        let mut scanner = BatchScanner::new(Arc::clone(file), resume.position, len);
        let named = scanner.next_batch().ok().flatten().map(|batch| batch.header.last_offset());
        if resume.indexed.is_none() || resume.indexed == named {
            return Ok((indexer, resume));
        }
    }
    Ok((SegmentIndexer::new(base, &LogConfig::new()), ResumePoint { position: 0, indexed: None }))
}
