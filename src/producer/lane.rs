//! [S] One lane: the records of one producer on their way into one partition, in order.
//!
//! Invariants: at most one open batch; sealed batches are appended in the order of their numbers, by one drainer at a time
//! (`drain`); the memory of a batch is reserved before it is opened; no clock is read, no memory reserved and nothing is
//! appended under the lock. Lock rank: `ProducerLane`. Kafka's counterpart: one deque of `RecordAccumulator`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::broker::{Appended, FetchSource, HostedPartition, SyncBy};
use crate::error::{Error, Result};
use crate::producer::batch::{Batch, InFlight, OpenBatch, Pending};
use crate::producer::memory::Reservation;
use crate::producer::record::Fields;
use crate::producer::shared::Shared;
use crate::record::{BatchBuilder, BatchOptions};
use crate::sync::{Condition, Rank, RankedMutex};
use crate::time::Now;
use crate::types::{Timestamp, TopicPartition};

/// Settled batches whose outcome a ticket can still ask for.
const REMEMBERED_MAX: usize = 8;

/// More than a record without headers takes besides its key and value.
const OVERHEAD_MAX: usize = 40;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) shared: Arc<Shared>,
    /// Its place among the lanes of its producer.
    pub(super) number: u64,
    pub(super) partition: Arc<HostedPartition>,
    /// The size that a batch of more than one record does not exceed before it is compressed. A limit that a moment ago was another one does no harm
    /// but that of a batch begun a moment ago, hence `Relaxed`.
    limit: AtomicUsize,
    /// Whether nothing lingers.
    is_immediate: bool,
    pub(super) state: RankedMutex<LaneState>,
    /// The drainer has appended a batch for which somebody waits, or has left.
    pub(super) moved: Condition,
}

#[derive(Debug, Default)]
pub(super) struct LaneState {
    pub(super) open: Option<OpenBatch>,
    pub(super) sealed: VecDeque<OpenBatch>,
    /// What the drainer is about to append.
    pub(super) appending: Option<Arc<Batch>>,
    pub(super) in_flight: VecDeque<InFlight>,
    /// What has an outcome that is being told.
    pub(super) settling: Vec<Arc<Batch>>,
    remembered: VecDeque<(u64, Result<Appended>)>,
    pub(super) is_draining: bool,
    /// Batches up to this number are to be appended although they may not be full.
    pub(super) requested: u64,
    /// Batches up to this number were appended, or have failed.
    pub(super) appended: u64,
    /// Threads that wait for `appended` to move.
    pub(super) waiting: usize,
    /// The number of the newest batch.
    newest: u64,
    /// Bytes of records without a key since the producer turned to this partition.
    sticky_bytes: usize,
    is_closed: bool,
}

/// What the caller gets for a record.
pub(super) trait Receipt: Sized {
    fn take(pending: &mut Pending, index: u32, timestamp: Timestamp) -> Self;
}

/// How an append went.
pub(super) enum Attempt<R> {
    Done(R),
    /// There is no open batch that the record fits into.
    NeedsBatch,
    /// The record has no key and is to go to another partition.
    TurnAway,
}

/// Whether the partition was chosen because the record has no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chosen {
    ForRecord,
    Sticky,
}

/// What to do where there is no memory for another batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IfFull {
    Wait,
    Refuse,
}

/// A record for one lane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Append<'a> {
    pub(super) fields: Fields<'a>,
    pub(super) chosen: Chosen,
    pub(super) if_full: IfFull,
}

impl Lane {
    pub(super) fn new(shared: Arc<Shared>, number: u64, partition: Arc<HostedPartition>, limit: usize) -> Arc<Lane> {
        let state = RankedMutex::new(Rank::ProducerLane, LaneState::default());
        let is_immediate = shared.linger.is_zero();
        let limit = AtomicUsize::new(limit);
        Arc::new(Lane { shared, number, partition, limit, is_immediate, state, moved: Condition::new() })
    }

    fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// The topic's limits have changed.
    pub(super) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    pub(super) fn is_immediate(&self) -> bool {
        self.is_immediate
    }

    pub(super) fn topic_partition(&self) -> &TopicPartition {
        self.partition.topic_partition()
    }

    /// Adds a record: to the open batch, or to a new one.
    #[inline]
    pub(super) fn append<R: Receipt>(self: &Arc<Self>, append: &Append<'_>) -> Result<Attempt<R>> {
        let attempt = match self.append_to_open(&append.fields, append.chosen)? {
            Some(receipt) => Attempt::Done(receipt),
            None => self.append_to_new(append)?,
        };
        if self.is_immediate && matches!(attempt, Attempt::Done(_)) {
            self.drain(self.shared.now(), SyncBy::Background);
        }
        Ok(attempt)
    }

    /// The quick way: one lock, one encoding. `None` when a batch has to be opened first.
    #[inline]
    fn append_to_open<R: Receipt>(&self, fields: &Fields<'_>, chosen: Chosen) -> Result<Option<R>> {
        let mut state = self.state.lock();
        // The rare way tells that the lane is closed.
        if state.is_closed { Ok(None) } else { self.add(&mut state, fields, chosen) }
    }

    /// Adds a record to the open batch, if there is one and it fits.
    #[inline]
    fn add<R: Receipt>(&self, state: &mut LaneState, fields: &Fields<'_>, chosen: Chosen) -> Result<Option<R>> {
        let Some(open) = &mut state.open else { return Ok(None) };
        let Fields { key, value, headers, .. } = *fields;
        let before = open.builder.size_in_bytes();
        // Most records are far from the limit, which takes no varints to tell.
        let payload = key.map_or(0, <[u8]>::len).saturating_add(value.map_or(0, <[u8]>::len));
        let fits = headers.is_empty() && before.saturating_add(payload).saturating_add(OVERHEAD_MAX) <= self.limit();
        if !fits && !open.builder.has_room_for(self.limit(), key, value, headers) {
            return Ok(None);
        }
        let timestamp = fields.timestamp.unwrap_or(open.pending.batch.opened.wall);
        let index = open.builder.append(Some(timestamp), key, value, headers)?;
        if chosen == Chosen::Sticky {
            state.sticky_bytes += open.builder.size_in_bytes() - before;
        }
        Ok(Some(R::take(&mut open.pending, index, timestamp)))
    }

    /// The rare way: appends the full batch on this thread, reserves memory for the next and opens it.
    #[inline(never)]
    fn append_to_new<R: Receipt>(self: &Arc<Self>, append: &Append<'_>) -> Result<Attempt<R>> {
        if self.state.lock().is_closed {
            return Err(Error::Closed);
        }
        let needed = self.check_size(&append.fields)?;
        let now = self.shared.now();
        if self.seal_full(&append.fields) {
            self.drain(now, SyncBy::Background);
        }
        if append.chosen == Chosen::Sticky && self.turns_away(needed) {
            return Ok(Attempt::TurnAway);
        }
        let capacity = needed.max(self.limit());
        let (reservation, now) = match append.if_full {
            IfFull::Refuse => (self.shared.memory.reserve(capacity as u64)?, now),
            IfFull::Wait => self.shared.reserve_memory(capacity as u64, now)?,
        };
        let buffer = self.shared.buffers.take(capacity);
        self.open(append, now, reservation, buffer)
    }

    /// The size that the record's batch has if it is the only one in it.
    ///
    /// # Errors
    /// [`Error::RecordTooLarge`], [`Error::InvalidRecord`].
    fn check_size(&self, fields: &Fields<'_>) -> Result<usize> {
        if fields.timestamp.is_some_and(|timestamp| timestamp.as_millis() < 0) {
            return Err(Error::InvalidRecord { index: None, what: "a timestamp before 1970 cannot be stored" });
        }
        let alone = BatchBuilder::new(BatchOptions::default());
        let size = alone.size_with(fields.key, fields.value, fields.headers);
        for (max, limit) in self.shared.record_limits {
            if size > max {
                return Err(Error::RecordTooLarge { size, max, limit });
            }
        }
        usize::try_from(size).map_err(|_| Error::InvalidRecord { index: None, what: "it does not fit into memory" })
    }

    /// Seals the open batch if the record does not fit; whether there is anything to append now.
    fn seal_full(&self, fields: &Fields<'_>) -> bool {
        let mut state = self.state.lock();
        let Fields { key, value, headers, .. } = *fields;
        let is_full = |open: &mut OpenBatch| !open.builder.has_room_for(self.limit(), key, value, headers);
        if let Some(full) = state.open.take_if(is_full) {
            state.sealed.push_back(full.seal());
        }
        !state.sealed.is_empty()
    }

    /// Whether records without a key have filled a batch here, so that they go elsewhere now.
    fn turns_away(&self, needed: usize) -> bool {
        let mut state = self.state.lock();
        let turns_away = state.open.is_none() && state.sticky_bytes.saturating_add(needed) > self.limit();
        let turns_away = turns_away && state.sticky_bytes > 0;
        if turns_away {
            state.sticky_bytes = 0;
        }
        turns_away
    }

    /// Opens a batch with the record in it. Where another thread was quicker the record goes into its batch.
    fn open<R: Receipt>(
        self: &Arc<Self>,
        append: &Append<'_>,
        now: Now,
        reservation: Reservation,
        buffer: Vec<u8>,
    ) -> Result<Attempt<R>> {
        let Append { fields, chosen, .. } = append;
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(Error::Closed);
        }
        if state.open.is_some() {
            let added = self.add(&mut state, fields, *chosen);
            drop(state);
            self.shared.buffers.give_back(buffer);
            return Ok(added?.map_or(Attempt::NeedsBatch, Attempt::Done));
        }
        let timestamp = fields.timestamp.unwrap_or(now.wall);
        let mut builder = BatchBuilder::with_buffer(BatchOptions::default(), buffer);
        let index = builder.append(Some(timestamp), fields.key, fields.value, fields.headers)?;
        if *chosen == Chosen::Sticky {
            state.sticky_bytes += builder.size_in_bytes();
        }
        state.newest += 1;
        let mut pending = Pending::new(Arc::clone(self), state.newest, now, reservation);
        let receipt = R::take(&mut pending, index, timestamp);
        state.open = Some(OpenBatch { pending, builder });
        drop(state);
        if !self.is_immediate {
            self.shared.call_lane_at(self, now.mono.after(self.shared.linger));
        }
        Ok(Attempt::Done(receipt))
    }

    /// The timer calls: appends what has lingered long enough.
    pub(super) fn on_timer(self: &Arc<Self>, now: Now) {
        let due = {
            let mut state = self.state.lock();
            let due = state.open.as_ref().map(|open| open.pending.batch.opened.mono.after(self.shared.linger));
            if due.is_some_and(|due| due <= now.mono) {
                state.requested = state.newest;
            }
            due.filter(|due| *due > now.mono)
        };
        if let Some(due) = due {
            self.shared.call_lane_at(self, due);
        }
        self.drain(now, SyncBy::Background);
    }

    /// Takes no records any more.
    pub(super) fn close(&self) {
        self.state.lock().is_closed = true;
    }

    /// Keeps the outcome of a batch for a while, for tickets.
    pub(super) fn remember(&self, number: u64, outcome: Result<Appended>) {
        let mut state = self.state.lock();
        let forgotten = if state.remembered.len() >= REMEMBERED_MAX { state.remembered.pop_front() } else { None };
        state.remembered.push_back((number, outcome));
        drop(state);
        drop(forgotten);
    }

    /// The outcome of a batch was told.
    pub(super) fn forget_settling(&self, number: u64) {
        self.state.lock().settling.retain(|batch| batch.number != number);
    }

    /// The batch of this number, if it has no outcome yet, or its outcome, if that is still known.
    pub(super) fn find(&self, number: u64) -> Option<Result<Arc<Batch>, Result<Appended>>> {
        let state = self.state.lock();
        let waiting = state.sealed.iter().chain(&state.open).map(|open| &open.pending.batch);
        let in_flight = state.in_flight.iter().map(|in_flight| &in_flight.pending.batch);
        let found = waiting
            .chain(in_flight)
            .chain(&state.appending)
            .chain(&state.settling)
            .find(|batch| batch.number == number);
        if let Some(batch) = found {
            return Some(Ok(Arc::clone(batch)));
        }
        let remembered = state.remembered.iter().find(|(other, _)| *other == number);
        remembered.map(|(_, outcome)| Err(outcome.clone()))
    }

    /// Every batch whose outcome was not told yet.
    pub(super) fn outstanding(&self, into: &mut Vec<Arc<Batch>>) {
        let state = self.state.lock();
        let in_flight = state.in_flight.iter().map(|in_flight| &in_flight.pending.batch);
        let waiting = state.sealed.iter().chain(&state.open).map(|open| &open.pending.batch);
        into.extend(in_flight.chain(&state.appending).chain(&state.settling).chain(waiting).map(Arc::clone));
    }
}
