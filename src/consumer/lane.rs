//! [S] One assigned partition: where its reader stands, what is fetched of it and not handed out, and what went wrong.
//!
//! Invariants: the position never skips a record that is to be seen; bytes are fetched, checked and decoded once; the answer
//! about aborted transactions is as old as the segments that the bytes came from. Kafka's counterparts: `SubscriptionState`,
//! `FetchCollector`.

use std::sync::Arc;

use crate::broker::{FetchSource, Parked};
use crate::consumer::buffered::{Budget, Buffered, HandedOut};
use crate::consumer::held::Pinned;
use crate::consumer::records::Contents;
use crate::consumer::subscription::SeekTo;
use crate::error::{Error, Result};
use crate::log::{AbortedTransaction, LogSlice, OffsetSpec, ReadIsolation, ReadLimits};
use crate::sync::Signal;
use crate::types::{Offset, TopicPartition};

/// How all lanes of one consumer read.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) isolation: ReadIsolation,
    pub(super) limits: ReadLimits,
    pub(super) pinned: Pinned,
}

impl Reading {
    /// Whether the slice reaches to the end of what could be seen when it was read.
    fn is_at_end(&self, slice: &LogSlice) -> bool {
        let position = slice.position();
        let end = match self.isolation {
            ReadIsolation::LastStable => position.last_stable_offset,
            ReadIsolation::HighWatermark | ReadIsolation::LogEnd => position.high_watermark,
        };
        position.next_offset >= end
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Lane {
    source: Arc<dyn FetchSource>,
    position: Position,
    is_paused: bool,
    is_parked: bool,
    buffered: Option<Buffered>,
    /// Where the last fetch ended, as long as the position is there.
    fetched_to: Option<LogSlice>,
    trouble: Option<Trouble>,
}

#[derive(Debug, Clone, Copy)]
enum Position {
    /// The log start, wherever that is when it is read.
    Beginning,
    At(Offset),
}

/// Why nothing more can be read at the position.
#[derive(Debug)]
struct Trouble {
    error: Error,
    is_told: bool,
}

/// Why a lane hands out no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filled {
    /// There is no more, or the budget is spent, or something is wrong.
    Done,
    /// There is more, and no memory for it.
    OverLimit,
}

impl Lane {
    /// Reads from `start` on.
    ///
    /// # Errors
    /// As [`seek`](Self::seek).
    pub(super) fn new(source: Arc<dyn FetchSource>, start: SeekTo, isolation: ReadIsolation) -> Result<Lane> {
        let mut lane = Lane {
            source,
            position: Position::Beginning,
            is_paused: false,
            is_parked: false,
            buffered: None,
            fetched_to: None,
            trouble: None,
        };
        lane.seek(start, isolation)?;
        Ok(lane)
    }

    pub(super) fn tp(&self) -> &TopicPartition {
        self.source.topic_partition()
    }

    pub(super) fn source(&self) -> &Arc<dyn FetchSource> {
        &self.source
    }

    /// Goes on reading somewhere else.
    ///
    /// # Errors
    /// Why the partition cannot be asked where that is; the position is as before.
    pub(super) fn seek(&mut self, to: SeekTo, isolation: ReadIsolation) -> Result<()> {
        self.position = match to {
            SeekTo::Offset(offset) => Position::At(offset),
            SeekTo::Spec(OffsetSpec::Earliest) => Position::Beginning,
            SeekTo::Spec(spec) => {
                // Asked first: what is appended in between must not be left out.
                let end = self.source.offsets()?.end_for(isolation);
                Position::At(self.source.list_offset(spec, isolation)?.map_or(end, |found| found.offset))
            }
            SeekTo::Last(count) => {
                let offsets = self.source.offsets()?;
                let from = Offset::new(offsets.end_for(isolation).get().saturating_sub_unsigned(count));
                Position::At(from.unwrap_or(Offset::ZERO).max(offsets.log_start))
            }
        };
        self.buffered = None;
        self.fetched_to = None;
        self.trouble = None;
        Ok(())
    }

    /// The offset of the next record, if it is there.
    ///
    /// # Errors
    /// Why the partition cannot be asked.
    pub(super) fn position(&self) -> Result<Offset> {
        match self.position {
            Position::Beginning => Ok(self.source.offsets()?.log_start),
            Position::At(offset) => Ok(offset),
        }
    }

    /// Hands out nothing until told otherwise.
    pub(super) fn set_paused(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
        if is_paused {
            self.forget_buffered();
        }
    }

    pub(super) fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Gives up what is fetched ahead, to be fetched again; whether there was something.
    pub(super) fn forget_buffered(&mut self) -> bool {
        let had_some = self.buffered.take().is_some();
        if had_some {
            self.fetched_to = None;
        }
        had_some
    }

    /// What went wrong, if the caller was not told yet.
    pub(super) fn take_untold(&mut self) -> Option<Error> {
        let trouble = self.trouble.as_mut().filter(|trouble| !trouble.is_told)?;
        trouble.is_told = true;
        Some(trouble.error.clone())
    }

    fn fail(&mut self, error: Error) {
        self.trouble = Some(Trouble { error, is_told: false });
    }

    /// Hands out what there is, as far as the budget goes.
    pub(super) fn fill(&mut self, reading: &Reading, budget: &mut Budget, out: &mut Contents) -> Filled {
        if let Some(trouble) = &mut self.trouble
            && is_lasting(&trouble.error)
        {
            trouble.is_told = false;
            return Filled::Done;
        }
        self.trouble = None;
        let (records, bytes) = out.size();
        let filled = self.try_fill(reading, budget, out).unwrap_or_else(|error| {
            self.fail(error);
            Filled::Done
        });
        let (records, bytes) = (out.size().0 - records, out.size().1 - bytes);
        if records > 0 {
            if let Position::At(next_offset) = self.position {
                out.set_next_offset(self.source.topic_partition(), next_offset);
            }
            self.source.on_read(records, bytes);
        }
        filled
    }

    fn try_fill(&mut self, reading: &Reading, budget: &mut Budget, out: &mut Contents) -> Result<Filled> {
        let mut has_fetched = false;
        loop {
            if let (Some(buffered), Position::At(position)) = (&mut self.buffered, &mut self.position) {
                match buffered.hand_out(self.source.topic_partition(), position, &reading.pinned, budget, out)? {
                    HandedOut::Enough => return Ok(Filled::Done),
                    HandedOut::OverLimit => return Ok(Filled::OverLimit),
                    HandedOut::All => {}
                }
                let has_seen_end = has_fetched && reading.is_at_end(buffered.slice());
                self.fetched_to = Some(buffered.slice().without_bytes());
                self.buffered = None;
                // Looking once more, a moment later, would keep the caller from what there is.
                if has_seen_end && !out.is_empty() {
                    return Ok(Filled::Done);
                }
            }
            if budget.is_spent() {
                return Ok(Filled::Done);
            }
            if !reading.pinned.has_room_beside(0) {
                let has_more = self.source.offsets()?.end_for(reading.isolation) > self.position()?;
                return Ok(if has_more { Filled::OverLimit } else { Filled::Done });
            }
            if !self.fetch(reading)? {
                return Ok(Filled::Done);
            }
            has_fetched = true;
        }
    }

    /// Fetches what is at the position; `false` when there is nothing (yet).
    fn fetch(&mut self, reading: &Reading) -> Result<bool> {
        let (from, slice) = loop {
            let from = self.position()?;
            let fetched = match &self.fetched_to {
                Some(before) if before.next_offset() == from => self.source.fetch_after(before, reading.limits),
                Some(_) | None => self.source.fetch(from, reading.limits),
            };
            match fetched {
                // Records were deleted since the beginning was asked for: it is elsewhere now.
                Err(Error::OffsetOutOfRange { start, .. })
                    if from < start && matches!(self.position, Position::Beginning) => {}
                other => break (from, other?),
            }
        };
        if slice.is_empty() {
            let next_offset = slice.next_offset().max(from);
            self.position = Position::At(next_offset);
            return Ok(next_offset > from);
        }
        let aborted = self.aborted_in(&slice, reading.isolation)?;
        self.position = Position::At(from);
        self.buffered = Some(Buffered::new(slice, &reading.pinned, aborted));
        Ok(true)
    }

    /// The aborted transactions with records in the slice, asked for where it has records of transactions at all.
    fn aborted_in(&self, slice: &LogSlice, isolation: ReadIsolation) -> Result<Vec<AbortedTransaction>> {
        let is_of_transaction = || slice.headers().flatten().any(|header| header.is_transactional());
        if isolation != ReadIsolation::LastStable || !is_of_transaction() {
            return Ok(Vec::new());
        }
        let from = slice.position().fetch_offset;
        let aborted = self.source.aborted_transactions(from, slice.next_offset())?;
        // Segments that were deleted meanwhile took what they knew about aborted transactions along.
        let offsets = self.source.offsets()?;
        if offsets.log_start > from {
            let (start, end) = (offsets.log_start, slice.position().log_end);
            return Err(Error::OffsetOutOfRange { tp: self.tp().clone(), requested: from, start, end });
        }
        Ok(aborted)
    }

    /// Asks for the signal to be raised when there may be more.
    pub(super) fn park(&mut self, signal: &Arc<Signal>, isolation: ReadIsolation) -> Parked {
        let parked = self.position().and_then(|position| {
            self.is_parked = true;
            self.source.park(signal, position, isolation)
        });
        self.or_fail(parked)
    }

    pub(super) fn unpark(&mut self, signal: &Arc<Signal>) {
        if std::mem::take(&mut self.is_parked) {
            self.source.unpark(signal);
        }
    }

    /// Leads the sync that makes appended records visible.
    pub(super) fn make_visible(&mut self) {
        if let Err(error) = self.source.make_visible() {
            self.fail(error);
        }
    }

    /// What happened; trouble is something to be told, that is to return with.
    fn or_fail(&mut self, parked: Result<Parked>) -> Parked {
        parked.unwrap_or_else(|error| {
            self.fail(error);
            Parked::Ready
        })
    }
}

/// Whether the same read fails the same way until the position is another one.
fn is_lasting(error: &Error) -> bool {
    matches!(error, Error::Corrupt(_) | Error::UnreadableBatch { .. })
}
