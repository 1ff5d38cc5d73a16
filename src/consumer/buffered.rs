//! [P] Handing out a fetched slice, record by record as far as the limits go.
//!
//! Invariants: each batch is decompressed and checked once, however many polls it takes to hand it out, and only if something
//! of it is to be seen; the position only moves over what was handed out or is not to be seen; nothing is allocated, but for
//! memory that decompressed records need beyond what earlier ones left. Kafka's counterpart: `CompletedFetch`.

use std::sync::Arc;

use crate::consumer::held::{Pinned, Share};
use crate::consumer::records::{Contents, Run};
use crate::error::{Error, Result};
use crate::log::{AbortedTransaction, LogSlice};
use crate::record::{BATCH_HEADER_LEN, BatchHeader, RecordBatchRef, Records, is_plain};
use crate::types::{Offset, TopicPartition};

/// What one poll may still return.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    records: usize,
    bytes: usize,
    /// Nothing was returned yet: one record passes whatever its size.
    is_untouched: bool,
}

impl Budget {
    pub(super) fn new(records: usize, bytes: usize) -> Budget {
        Budget { records, bytes, is_untouched: true }
    }

    pub(super) fn is_spent(&self) -> bool {
        self.records == 0 || (self.bytes == 0 && !self.is_untouched)
    }

    fn spend(&mut self, records: usize, bytes: usize) {
        self.records = self.records.saturating_sub(records);
        self.bytes = self.bytes.saturating_sub(bytes);
        self.is_untouched = false;
    }

    fn has_room_for(&self, record_bytes: usize) -> bool {
        self.records > 0 && (record_bytes <= self.bytes || self.is_untouched)
    }

    /// The next record does not fit: neither may a smaller one behind it.
    fn close(&mut self) {
        self.records = 0;
    }
}

/// Why handing out ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HandedOut {
    /// The slice is exhausted.
    All,
    /// The budget is spent.
    Enough,
    /// There is no memory to decompress the next batch.
    OverLimit,
}

/// A fetched slice and how far it is handed out.
#[derive(Debug)]
pub(super) struct Buffered {
    slice: LogSlice,
    /// The slice, counted.
    held: Share,
    /// Where in the slice the batch behind `open` starts.
    next_batch: usize,
    open: Option<OpenBatch>,
    /// The aborted transactions with records in the slice, by producer and then offset; none where they are to be seen.
    aborted: Vec<AbortedTransaction>,
}

/// A batch that is checked and not handed out to its end.
#[derive(Debug)]
struct OpenBatch {
    header: BatchHeader,
    /// The bytes with its records: the slice, or what was decompressed.
    held: Share,
    /// Where in them its next record starts.
    start: usize,
    /// Where in them its last record ends.
    end: usize,
    remaining: u32,
}

impl Buffered {
    pub(super) fn new(slice: LogSlice, pinned: &Pinned, mut aborted: Vec<AbortedTransaction>) -> Buffered {
        aborted.sort_unstable_by_key(|entry| (entry.producer_id, entry.first_offset));
        Buffered { held: pinned.hold(slice.clone()), slice, next_batch: 0, open: None, aborted }
    }

    pub(super) fn slice(&self) -> &LogSlice {
        &self.slice
    }

    /// Hands out records from `position` on, which moves with them, until there is a reason to end.
    ///
    /// # Errors
    /// Why the batch at `position` cannot be read. What was handed out before stays so.
    pub(super) fn hand_out(
        &mut self,
        tp: &TopicPartition,
        position: &mut Offset,
        pinned: &Pinned,
        budget: &mut Budget,
        out: &mut Contents,
    ) -> Result<HandedOut> {
        loop {
            if self.open.is_none()
                && let Some(end) = self.open_next(tp, position, pinned, budget)?
            {
                return Ok(end);
            }
            if budget.is_spent() {
                return Ok(HandedOut::Enough);
            }
            if let Some(run) = self.take(position, budget) {
                out.push(tp, run);
            }
        }
    }

    /// Opens the next batch with records to be seen, moving the position over what is not. Says why, if it does not.
    fn open_next(
        &mut self,
        tp: &TopicPartition,
        position: &mut Offset,
        pinned: &Pinned,
        budget: &Budget,
    ) -> Result<Option<HandedOut>> {
        loop {
            let start = self.next_batch;
            let rest = self.slice.as_bytes().get(start..).unwrap_or_default();
            if rest.is_empty() {
                *position = self.slice.next_offset().max(*position);
                return Ok(Some(HandedOut::All));
            }
            let header = BatchHeader::parse(rest).map_err(|error| error.in_partition(tp))?;
            let end = start.saturating_add(header.size_in_bytes());
            if header.is_control() || header.last_offset() < *position || self.is_aborted(&header) {
                *position = header.next_offset().max(*position);
                self.next_batch = end;
                continue;
            }
            if budget.is_spent() {
                return Ok(Some(HandedOut::Enough));
            }
            // The slice itself does not count: without it nothing gets on.
            if !is_plain(&header) && !pinned.has_room_beside(self.held.counted()) {
                return Ok(Some(HandedOut::OverLimit));
            }
            let mut open =
                self.open(header, rest, start, pinned).map_err(|error| unreadable(error, tp, &header, *position))?;
            if open.header.base_offset() < *position {
                open.skip_to(*position);
            }
            self.next_batch = end;
            if open.remaining > 0 {
                self.open = Some(open);
                return Ok(None);
            }
            *position = header.next_offset().max(*position);
        }
    }

    /// Checks the batch at the front of `bytes`, which is the one at `start`, and decompresses it if need be.
    fn open(&self, header: BatchHeader, bytes: &[u8], start: usize, pinned: &Pinned) -> Result<OpenBatch> {
        let remaining = header.record_count();
        if is_plain(&header) {
            let end = start.saturating_add(RecordBatchRef::check(header, bytes)?.bytes().len());
            return Ok(OpenBatch { header, held: self.held.clone(), start: start + BATCH_HEADER_LEN, end, remaining });
        }
        let (held, header) = pinned.unpack(&header, bytes)?;
        Ok(OpenBatch { remaining: header.record_count(), start: 0, end: held.len(), header, held })
    }

    /// Whether the batch belongs to an aborted transaction.
    fn is_aborted(&self, header: &BatchHeader) -> bool {
        let Some(producer) = header.producer().filter(|_| header.is_transactional()) else { return false };
        // One producer's transactions follow each other, so that only the first that ends behind the batch can hold it.
        let key = (producer.id, header.base_offset());
        let first = self.aborted.partition_point(|entry| (entry.producer_id, entry.last_offset) < key);
        let found = self.aborted.get(first).filter(|entry| entry.producer_id == producer.id);
        found.is_some_and(|entry| entry.first_offset <= header.last_offset())
    }

    /// Takes as much of the open batch as the budget has room for.
    fn take(&mut self, position: &mut Offset, budget: &mut Budget) -> Option<Run> {
        let open = self.open.as_mut()?;
        let (start, size) = (open.start, open.end - open.start);
        let count = open.remaining as usize;
        if count <= budget.records && size <= budget.bytes {
            budget.spend(count, size);
            let OpenBatch { header, held, start, end, remaining } = self.open.take()?;
            *position = header.next_offset();
            return Some(Run { part: 0, held, header, start, end, records: remaining });
        }
        let mut records = open.records();
        let mut taken = 0;
        if size <= budget.bytes
            && let Some(all_but_one) = u32::try_from(budget.records).ok().and_then(|count| count.checked_sub(1))
        {
            // Only their number counts, and they are more: the last one that fits is to be found, and its offset.
            records.skip_records(all_but_one);
            taken = all_but_one;
            budget.spend(all_but_one as usize, open.end - start - records.rest().len());
        }
        while taken < open.remaining {
            let mut ahead = records.clone();
            let Some(offset) = ahead.skip_record() else {
                // Cannot be, since the batch was checked; ending the poll keeps a mistake from becoming a hang.
                budget.close();
                break;
            };
            let record_bytes = records.rest().len() - ahead.rest().len();
            if !budget.has_room_for(record_bytes) {
                budget.close();
                break;
            }
            budget.spend(1, record_bytes);
            records = ahead;
            taken += 1;
            *position = offset.next();
        }
        let end = open.end - records.rest().len();
        let run = Run { part: 0, held: open.held.clone(), header: open.header, start, end, records: taken };
        open.start = end;
        open.remaining -= taken;
        if open.remaining == 0 {
            *position = open.header.next_offset();
            self.open = None;
        }
        (taken > 0).then_some(run)
    }
}

impl OpenBatch {
    fn records(&self) -> Records<'_> {
        Records::resume(&self.header, self.held.bytes(self.start, self.end), self.remaining)
    }

    /// Leaves out the records below `position`.
    fn skip_to(&mut self, position: Offset) {
        let (mut records, mut remaining) = (self.records(), self.remaining);
        loop {
            let mut ahead = records.clone();
            match ahead.skip_record() {
                Some(offset) if offset < position => records = ahead,
                Some(_) | None => break,
            }
            remaining -= 1;
        }
        (self.start, self.remaining) = (self.end - records.rest().len(), remaining);
    }
}

/// Says which batch it is that cannot be read.
fn unreadable(error: Error, tp: &TopicPartition, header: &BatchHeader, position: Offset) -> Error {
    let (first, next) = (header.base_offset_or(position), header.next_offset());
    match error {
        corrupt @ Error::Corrupt(_) => corrupt.in_partition(tp).with_offsets(first, next),
        cause => Error::UnreadableBatch { tp: tp.clone(), first, next, cause: Arc::new(cause) },
    }
}
