//! [S] Producer state after opening or truncating: the newest snapshot, and the batches behind it replayed.

use std::ops::Range;

use crate::error::{Error, IoContext, Result};
use crate::log::append::{aborted_entry, facts_of};
use crate::log::context::LogContext;
use crate::log::index_sums;
use crate::log::layout::SegmentFile;
use crate::log::producer_snapshot;
use crate::log::producer_state::ProducerStates;
use crate::log::scan::{BatchScanner, ScannedBatch};
use crate::log::segment::{INDEX_BYTES_MAX, Segment, SegmentPhase};
use crate::log::txn_index::{self, AbortedTransaction};
use crate::storage::{OpenMode, publish, read_file, remove_published};
use crate::types::Offset;

/// What is known of the transaction indexes that a replay meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TransactionIndexes {
    /// The log was closed: what is in the files is durable.
    Durable,
    /// A sync may never have been made, or have failed: even right entries are written again, to a new file.
    InDoubt,
}

/// What vouches for the transaction index of a segment that has no seal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vouched {
    /// The recovery point.
    pub(crate) up_to: Offset,
    /// What the transaction index of the segment that holds it said below it.
    pub(crate) sum: Option<u32>,
}

impl Vouched {
    /// Whether the segment's transaction index below `offset`, which lies inside the segment, is the one that was written.
    fn covers(&self, segment: &Segment, offset: Offset, aborted: &[AbortedTransaction]) -> bool {
        let is_sealed = segment.phase() == SegmentPhase::Sealed && segment.next_offset() <= self.up_to;
        let sum = || index_sums::transactions(segment.base_offset(), aborted, self.up_to);
        is_sealed || (offset <= self.up_to && self.sum.is_some_and(|stored| stored == sum()))
    }
}

/// Producer state as of the log's end.
#[derive(Debug)]
pub(crate) struct LoadedProducers {
    pub(crate) states: ProducerStates,
    /// The snapshot that it was made from; at 0 there need not be one.
    pub(crate) snapshot: Offset,
    /// Whether a snapshot went whose name a power cut may bring back.
    pub(crate) has_removed: bool,
}

/// Producer state as of `log_end`. Snapshots past it, and damaged ones, are removed: both are derived. The caller syncs the
/// folder before the log grows. Without `vouched` this process has written every transaction index, or nobody knows better.
pub(crate) fn load(
    context: &LogContext,
    segments: &[Segment],
    log_end: Offset,
    indexes: TransactionIndexes,
    vouched: Option<Vouched>,
) -> Result<LoadedProducers> {
    let mut has_removed = false;
    let mut snapshots = list_snapshots(context)?;
    let mut start = (Offset::ZERO, ProducerStates::default());
    // A snapshot inside a segment needs what the segment's transaction index says of the part below it.
    let needs = |offset| {
        let index = segments.partition_point(|segment| segment.base_offset() < offset).checked_sub(1);
        index
            .and_then(|index| segments.get(index))
            .filter(|segment| segment.next_offset() > offset || is_last(segments, segment))
    };
    let is_unsure = |offset| {
        needs(offset).is_some_and(|segment| match segment.aborted_transactions() {
            Ok(aborted) => vouched.is_some_and(|vouched| !vouched.covers(segment, offset, &aborted)),
            Err(_) => true,
        })
    };
    while let Some(offset) = snapshots.pop() {
        let path = context.path(SegmentFile::Snapshot, offset);
        let bytes = read_file(&*context.storage, &path, INDEX_BYTES_MAX)?.unwrap_or_default();
        match producer_snapshot::decode(&bytes) {
            Ok(_) if offset <= log_end && is_unsure(offset) => {}
            Ok(entries) if offset <= log_end => {
                start = (offset, ProducerStates::from_snapshot(entries));
                break;
            }
            Ok(_) | Err(_) => {
                context.storage.remove(&path).context("remove", &path)?;
                has_removed = true;
            }
        }
    }
    let (snapshot, states) = start;
    let states = replay(context, segments, snapshot..log_end, states, indexes)?;
    Ok(LoadedProducers { states, snapshot, has_removed })
}

fn is_last(segments: &[Segment], segment: &Segment) -> bool {
    segments.last().is_some_and(|last| last.base_offset() == segment.base_offset())
}

/// Sees to it that there is a producer snapshot at `offset`, where the log begins, before the segments below it go: a
/// deletion may have reached a segment that was not sealed yet. What damage in them hides cannot be known; a transaction
/// that is open before it stays open.
pub(crate) fn keep_snapshot_at(context: &LogContext, offset: Offset, below: &[Offset]) -> Result<()> {
    let mut start = (Offset::ZERO, ProducerStates::default());
    for at in list_snapshots(context)?.into_iter().rev().filter(|at| *at <= offset) {
        let path = context.path(SegmentFile::Snapshot, at);
        let bytes = read_file(&*context.storage, &path, INDEX_BYTES_MAX)?.unwrap_or_default();
        if let Ok(entries) = producer_snapshot::decode(&bytes) {
            start = (at, ProducerStates::from_snapshot(entries));
            break;
        }
    }
    let (from, mut states) = start;
    if from == offset {
        return Ok(());
    }
    let first = below.partition_point(|base| *base <= from).saturating_sub(1);
    for base in below.iter().skip(first) {
        let path = context.path(SegmentFile::Log, *base);
        let file = context.storage.open(&path, OpenMode::Read).context("open", &path)?;
        let len = file.len().context("read the length of", &path)?;
        let mut scanner = BatchScanner::new(file, 0, len);
        loop {
            match scanner.next_batch() {
                Ok(Some(batch)) if (from..offset).contains(&batch.header.base_offset()) => {
                    observe(&mut states, &batch);
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(Error::Corrupt(_) | Error::InvalidRecord { .. }) => {
                    scanner.skip_damage(*base, offset)?;
                }
                Err(other) => return Err(other),
            }
        }
    }
    publish(&*context.storage, &context.path(SegmentFile::Snapshot, offset), &producer_snapshot::encode(&states))
}

/// Removes every snapshot: no record is left that one of them could speak of. The caller syncs the folder.
pub(crate) fn remove_snapshots(context: &LogContext) -> Result<()> {
    for offset in list_snapshots(context)? {
        let path = context.path(SegmentFile::Snapshot, offset);
        context.storage.remove(&path).context("remove", &path)?;
    }
    Ok(())
}

/// The offsets of all snapshots, ascending.
fn list_snapshots(context: &LogContext) -> Result<Vec<Offset>> {
    let entries = context.storage.list(&context.folder).context("list", &context.folder)?;
    let files = entries.iter().filter_map(|entry| SegmentFile::parse(&entry.name));
    Ok(files.filter(|(kind, _)| *kind == SegmentFile::Snapshot).map(|(_, offset)| offset).collect())
}

/// Applies the batches of a range to producer state as of its start, and brings the transaction indexes of their
/// segments in line. Each segment that begins in between gets its snapshot: once the segments before it are deleted,
/// nothing else tells of the transactions that were open at its base.
fn replay(
    context: &LogContext,
    segments: &[Segment],
    range: Range<Offset>,
    mut states: ProducerStates,
    indexes: TransactionIndexes,
) -> Result<ProducerStates> {
    let from = range.start;
    let first = segments.partition_point(|segment| segment.base_offset() <= from).saturating_sub(1);
    let mut is_intact = true;
    for segment in segments.iter().skip(first) {
        let bounds = segment.bounds();
        if segment.base_offset() > range.start && is_intact {
            let path = segment.path(SegmentFile::Snapshot);
            publish(&*context.storage, &path, &producer_snapshot::encode(&states))?;
        }
        if bounds.next_offset <= range.start && !is_last(segments, segment) {
            continue;
        }
        // A segment that ends at `from` has nothing to replay, but its transaction index may tell of what was cut.
        let stored = segment.aborted_transactions().unwrap_or_default();
        let mut aborted: Vec<_> = stored.iter().copied().take_while(|entry| entry.last_offset < from).collect();
        let start = segment.index_floor(from)?.map_or(0, |entry| entry.position);
        let mut scanner = BatchScanner::new(segment.file()?, start, bounds.len);
        let mut expected = segment.base_offset();
        loop {
            let batch = match scanner.next_batch() {
                Ok(Some(batch)) => batch,
                Ok(None) => break,
                Err(Error::Corrupt(_) | Error::InvalidRecord { .. }) => {
                    // What damage says of producers cannot be known; what stands behind it can.
                    is_intact = false;
                    scanner.skip_damage(expected, bounds.next_offset)?;
                    continue;
                }
                Err(other) => return Err(other),
            };
            expected = batch.header.next_offset();
            if range.contains(&batch.header.base_offset()) {
                aborted.extend(observe(&mut states, &batch));
            }
        }
        if !is_intact {
            // The index may know of markers, and of beginnings, that the damage hides: nothing of it is taken back.
            let unseen =
                stored.iter().filter(|entry| !aborted.iter().any(|seen| seen.last_offset == entry.last_offset));
            let unseen: Vec<_> = unseen.copied().collect();
            aborted.extend(unseen);
            aborted.sort_by_key(|entry| entry.last_offset);
            segment.set_aborted(aborted);
            continue;
        }
        let is_in_doubt = indexes == TransactionIndexes::InDoubt && !stored.is_empty();
        if is_in_doubt || aborted != stored || has_ragged_end(context, segment, aborted.len())? {
            rewrite_transaction_index(context, segment, &aborted)?;
        }
        segment.set_aborted(aborted);
    }
    Ok(states)
}

/// Takes note of one batch; the transaction that it aborts, if it does. A control batch that makes no sense, although its
/// checksum is good, says nothing of producers.
pub(crate) fn observe(states: &mut ProducerStates, batch: &ScannedBatch<'_>) -> Option<AbortedTransaction> {
    let facts = facts_of(&batch.header, batch.bytes).ok().flatten()?;
    let completed = states.update(&facts)?;
    let aborted = aborted_entry(states, &completed);
    states.complete(&completed);
    aborted
}

/// The aborted transactions of one segment, from its log and the snapshot at its base.
pub(crate) fn find_aborted(context: &LogContext, segment: &Segment) -> Result<Vec<AbortedTransaction>> {
    let path = segment.path(SegmentFile::Snapshot);
    let mut states = match read_file(&*context.storage, &path, INDEX_BYTES_MAX)? {
        Some(bytes) => {
            let entries = producer_snapshot::decode(&bytes).map_err(|error| error.in_file(&path, 0))?;
            ProducerStates::from_snapshot(entries)
        }
        // The first segment of a log that began with it has none.
        None => ProducerStates::default(),
    };
    let mut scanner = BatchScanner::new(segment.file()?, 0, segment.bounds().len);
    let mut found = Vec::new();
    while let Some(batch) = scanner.next_batch()? {
        found.extend(observe(&mut states, &batch));
    }
    Ok(found)
}

fn has_ragged_end(context: &LogContext, segment: &Segment, entries: usize) -> Result<bool> {
    let path = segment.path(SegmentFile::TransactionIndex);
    let len = read_file(&*context.storage, &path, INDEX_BYTES_MAX)?.map_or(0, |bytes| bytes.len());
    Ok(len != entries * txn_index::ENTRY_BYTES)
}

fn rewrite_transaction_index(context: &LogContext, segment: &Segment, aborted: &[AbortedTransaction]) -> Result<()> {
    let path = segment.path(SegmentFile::TransactionIndex);
    let bytes: Vec<u8> = aborted.iter().flat_map(txn_index::encode).collect();
    if bytes.is_empty() {
        return remove_published(&*context.storage, &path).map(|_existed| ());
    }
    publish(&*context.storage, &path, &bytes)
}
