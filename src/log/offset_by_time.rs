//! [S] Offsets by time: the first record that is not older than a timestamp, and the one with the largest (Kafka:
//! `UnifiedLog.fetchOffsetByTimestamp`, `LogSegment.findOffsetByTimestamp`).
//!
//! The time indexes say where to begin; what decides are the records themselves, read and checked like any other read. A
//! sealed segment without a record new enough is passed over by its last index entry.

use crate::error::{Error, Result};
use crate::log::state::Published;
use crate::log::{ListedOffset, LogSlice, ReadIsolation, ReadLimits, Segment, SegmentPhase};
use crate::record::{BatchHeader, RecordBatch};
use crate::types::{Offset, Timestamp};

/// Bytes of log that are read at a time.
const READ_BYTES: usize = 64 << 10;

/// A search in one view of a log, whoever reads it.
pub(crate) struct Search<'a> {
    pub(crate) view: &'a Published,
    pub(crate) read: &'a dyn Fn(Offset, ReadLimits) -> Result<LogSlice>,
}

impl Search<'_> {
    /// The first record from the log start on whose time is `timestamp` or later.
    pub(crate) fn first_not_older_than(&self, timestamp: Timestamp) -> Result<Option<ListedOffset>> {
        let view = self.view;
        for segment in view.segments.iter() {
            let end = segment.next_offset().min(view.log_end);
            if end <= view.log_start || is_older(segment, timestamp)? {
                continue;
            }
            // Everything up to the entry is older, or its batch is the first with this very time.
            let floor = segment.time_index()?.lookup(timestamp).map_or(segment.base_offset(), |entry| entry.offset);
            let found = self.first_from(floor.max(view.log_start), end, timestamp)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The first of the records with the largest time.
    pub(crate) fn first_with_largest_time(&self) -> Result<Option<ListedOffset>> {
        let view = self.view;
        let mut best: Option<(Timestamp, Offset)> = None;
        for segment in view.segments.iter().filter(|segment| segment.next_offset() > view.log_start) {
            let is_whole = segment.base_offset() >= view.log_start;
            let largest = match segment.with_indexer(|indexer| indexer.max_timestamp()).filter(|_| is_whole) {
                Some(growing) => growing,
                None if is_whole => segment.max_timestamp()?,
                None => self.largest_in(view.log_start, segment.next_offset())?,
            };
            // Among equals the first counts.
            best = best.into_iter().chain(largest).reduce(|first, next| if next.0 > first.0 { next } else { first });
        }
        let Some((timestamp, near)) = best else { return Ok(None) };
        self.first_from(near.max(view.log_start), view.log_end, timestamp)
    }

    /// The first record of `[from, end)` whose time is `timestamp` or later.
    fn first_from(&self, from: Offset, end: Offset, timestamp: Timestamp) -> Result<Option<ListedOffset>> {
        self.walk(from, end, |header, bytes| {
            if header.max_timestamp().is_none_or(|max| max < timestamp) {
                return Ok(None);
            }
            let batch = RecordBatch::from_checked_bytes(bytes)?;
            let leader_epoch = header.leader_epoch();
            let is_it =
                |found: &ListedOffset| found.timestamp >= Some(timestamp) && found.offset >= self.view.log_start;
            let mut records = batch.records().map(|record| ListedOffset {
                offset: record.offset(),
                timestamp: record.timestamp(),
                leader_epoch,
            });
            Ok(records.find(is_it))
        })
    }

    /// The largest time in `[from, end)`, and the last offset of the first batch that carries it.
    fn largest_in(&self, from: Offset, end: Offset) -> Result<Option<(Timestamp, Offset)>> {
        let mut largest: Option<(Timestamp, Offset)> = None;
        self.walk(from, end, |header, bytes| {
            let is_whole = header.is_base_offset_known() && header.base_offset() >= self.view.log_start;
            let max = match header.max_timestamp() {
                Some(_) if !is_whole => {
                    let batch = RecordBatch::from_checked_bytes(bytes)?;
                    let kept = batch.records().filter(|record| record.offset() >= self.view.log_start);
                    kept.filter_map(|record| record.timestamp()).max()
                }
                max => max,
            };
            if let Some(max) = max.filter(|max| largest.is_none_or(|(best, _)| *max > best)) {
                largest = Some((max, header.last_offset()));
            }
            Ok(None::<()>)
        })?;
        Ok(largest)
    }

    /// Shows every batch from the one that holds `from` up to `end` to `look`, until that has found something.
    fn walk<T>(
        &self,
        from: Offset,
        end: Offset,
        mut look: impl FnMut(&BatchHeader, &[u8]) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let limits = ReadLimits::bytes(READ_BYTES).isolation(ReadIsolation::LogEnd);
        let mut next = from;
        while next < end.min(self.view.log_end) {
            let slice = (self.read)(next, limits)?;
            let mut rest = slice.as_bytes();
            for header in slice.headers() {
                let header = header?;
                let (batch, later) = rest
                    .split_at_checked(header.size_in_bytes())
                    .ok_or(Error::Internal { invariant: "a slice holds whole batches" })?;
                rest = later;
                if let Some(found) = look(&header, batch)? {
                    return Ok(Some(found));
                }
            }
            if slice.next_offset() <= next {
                break;
            }
            next = slice.next_offset();
        }
        Ok(None)
    }
}

/// Whether a finished segment is known to hold no record of this time or a later one. Times before 1970 are in no index.
fn is_older(segment: &Segment, timestamp: Timestamp) -> Result<bool> {
    if segment.phase() != SegmentPhase::Sealed || timestamp < Timestamp::from_millis(0) {
        return Ok(false);
    }
    Ok(segment.max_timestamp()?.is_none_or(|(max, _)| max < timestamp))
}
