//! [S] Draining a lane: one thread at a time appends its sealed batches, whoever it is.
//!
//! Invariants: batches leave in order; the drainer gives its part up also by unwinding; a thread that finds another at it
//! leaves its batch to that one, and may wait until it is appended; nothing is resolved or synced under the lane's lock.
//! Kafka's counterpart: `Sender.sendProducerData`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::broker::{Appended, Deadline, Produce, SyncBy};
use crate::error::{Error, Result, Written};
use crate::producer::batch::{Batch, InFlight, OpenBatch, Pending};
use crate::producer::lane::{Lane, LaneState};
use crate::producer::shared::Shared;
use crate::record::{BatchBuilder, BuiltBatch, Compression};
use crate::sync::{Handle, completion};
use crate::time::{Instant, Now};
use crate::types::Offset;

/// Batches that one call appends before it leaves the rest to the timer: a thread must not work for the others for ever.
const DRAINED_MAX: usize = 256;

/// The right to drain a lane.
struct Drainer<'a> {
    lane: &'a Arc<Lane>,
    /// The batch that is being appended.
    in_hand: u64,
    has_left: bool,
}

impl<'a> Drainer<'a> {
    /// `None` when another thread drains, or there is nothing to do.
    fn enter(lane: &'a Arc<Lane>) -> Option<Drainer<'a>> {
        let mut state = lane.state.lock();
        if state.is_draining || !has_next(lane, &state) {
            return None;
        }
        state.is_draining = true;
        Some(Drainer { lane, in_hand: state.appended, has_left: false })
    }

    /// The next batch; without one the drainer has left.
    fn next(&mut self) -> Option<OpenBatch> {
        let mut state = self.lane.state.lock();
        if state.appended < self.in_hand {
            state.appended = self.in_hand;
            if state.waiting > 0 {
                self.lane.moved.notify_all();
            }
        }
        let next = state.sealed.pop_front().or_else(|| {
            let is_due = has_next(self.lane, &state);
            if is_due { state.open.take().map(OpenBatch::seal) } else { None }
        });
        match &next {
            Some(batch) => {
                self.in_hand = batch.number();
                state.appending = Some(Arc::clone(&batch.pending.batch));
            }
            None => self.leave(state),
        }
        next
    }

    fn leave(&mut self, mut state: crate::sync::RankedGuard<'_, LaneState>) {
        self.has_left = true;
        state.is_draining = false;
        state.appending = None;
        state.appended = state.appended.max(self.in_hand);
        let has_waiters = state.waiting > 0;
        drop(state);
        if has_waiters {
            self.lane.moved.notify_all();
        }
    }
}

impl Drop for Drainer<'_> {
    fn drop(&mut self) {
        if !self.has_left {
            let state = self.lane.state.lock();
            self.leave(state);
        }
    }
}

/// Whether there is a batch to append now.
fn has_next(lane: &Lane, state: &LaneState) -> bool {
    let is_wanted = |open: &OpenBatch| lane.is_immediate() || open.number() <= state.requested;
    !state.sealed.is_empty() || state.open.as_ref().is_some_and(is_wanted)
}

impl Lane {
    /// Appends what is sealed or requested, unless another thread is at it, which then does that too. Returns the end in
    /// the log of the last batch appended that still waits to be acknowledged.
    pub(super) fn drain(self: &Arc<Self>, now: Now, sync_by: SyncBy) -> Option<Offset> {
        let mut drainer = Drainer::enter(self)?;
        let mut end = None;
        for _ in 0..DRAINED_MAX {
            let Some(batch) = drainer.next() else { return end };
            end = self.send(batch, now, sync_by).or(end);
        }
        drop(drainer);
        self.shared.call_lane_at(self, now.mono);
        end
    }

    /// Asks for everything that is here now to be appended, and does it unless another thread is at it.
    pub(super) fn drain_all(self: &Arc<Self>, now: Now, sync_by: SyncBy) {
        {
            let mut state = self.state.lock();
            state.requested = state.open.as_ref().map_or(state.requested, OpenBatch::number);
        }
        self.drain(now, sync_by);
    }

    /// Sees to it that the batch is appended, on this thread if no other is at it; then it was, or has failed.
    /// Returns what [`drain`](Self::drain) does.
    pub(super) fn push_out(self: &Arc<Self>, number: u64, now: Now, sync_by: SyncBy) -> Option<Offset> {
        let mut end = None;
        loop {
            {
                let mut state = self.state.lock();
                state.requested = state.requested.max(number);
            }
            end = self.drain(now, sync_by).or(end);
            let mut state = self.state.lock();
            while state.is_draining && state.appended < number {
                state.waiting += 1;
                self.moved.wait(&mut state);
                state.waiting -= 1;
            }
            if state.appended >= number {
                return end;
            }
        }
    }

    /// Appends one batch. The caller is the drainer. Returns its end in the log if it waits to be acknowledged.
    fn send(&self, open: OpenBatch, now: Now, sync_by: SyncBy) -> Option<Offset> {
        let OpenBatch { pending, builder } = open;
        let allowed = self.shared.delivery_timeout;
        let deadline = Deadline { at: pending.batch.opened.mono.after(allowed), allowed };
        self.shared.metrics.on_batch(builder.count());
        if deadline.at <= now.mono {
            let waiting_for = "a batch to be appended";
            pending.resolve(Err(Error::Timeout { waiting_for, after: allowed, written: Written::No }));
            return None;
        }
        let mut batch = match self.build(builder) {
            Ok(batch) => batch,
            Err(error) => {
                pending.resolve(Err(error));
                return None;
            }
        };
        let (done, acknowledged) = completion();
        let produce = Produce { batch: &mut batch, acks: self.shared.acks, deadline: Some(deadline), sync_by, done };
        self.partition.produce(produce, now);
        let upto = batch.header().base_offset().plus(batch.count().into());
        self.shared.buffers.give_back(batch.into_buffer());
        match acknowledged.try_get() {
            Some(outcome) => {
                pending.resolve(outcome);
                None
            }
            None => {
                self.await_acknowledgement(pending, upto, acknowledged);
                Some(upto)
            }
        }
    }

    /// Finishes a batch, on this thread and with no lock held: compressed as the topic says, or else the producer.
    fn build(&self, mut builder: BatchBuilder) -> Result<BuiltBatch> {
        let Shared { buffers, packers, codec, .. } = &*self.shared;
        let codec = self.partition.codec().unwrap_or(*codec);
        if codec.compression == Compression::None {
            return builder.build();
        }
        builder.set_packer(packers.take(codec)?, buffers.take(builder.size_in_bytes()));
        let built = builder.build();
        let (buffer, packer) = builder.into_parts();
        buffers.give_back(buffer);
        packers.give_back(packer);
        built
    }

    /// The broker will wake the batch.
    fn await_acknowledgement(&self, pending: Pending, upto: Offset, acknowledged: Handle<Appended>) {
        let number = pending.batch.number;
        let waker = Waker::from(Arc::clone(&pending.batch));
        let mut state = self.state.lock();
        let mut in_flight = InFlight { pending, upto, acknowledged };
        // The batch is woken under this lock at the earliest, and so finds itself in the list.
        let polled = Pin::new(&mut in_flight.acknowledged).poll(&mut Context::from_waker(&waker));
        match polled {
            Poll::Pending => {
                state.in_flight.push_back(in_flight);
                state.appended = state.appended.max(number);
                state.appending = None;
            }
            Poll::Ready(outcome) => {
                drop(state);
                in_flight.pending.resolve(outcome);
            }
        }
    }

    /// The broker has told the outcome of a batch.
    pub(super) fn on_acknowledged(&self, number: u64) {
        let settled = {
            let mut state = self.state.lock();
            let at = state.in_flight.iter().position(|in_flight| in_flight.pending.batch.number == number);
            let settled = at.and_then(|at| state.in_flight.remove(at));
            state.settling.extend(settled.iter().map(|in_flight| Arc::clone(&in_flight.pending.batch)));
            settled
        };
        let Some(InFlight { pending, acknowledged, .. }) = settled else { return };
        pending.resolve(acknowledged.try_get().unwrap_or(Err(Error::Closed)));
    }

    /// The end in the log of the batch, if it is appended and not acknowledged.
    pub(super) fn in_flight_end(&self, number: u64) -> Option<Offset> {
        let state = self.state.lock();
        let found = state.in_flight.iter().find(|in_flight| in_flight.pending.batch.number == number);
        found.map(|in_flight| in_flight.upto)
    }

    /// The oldest batch that is appended and not acknowledged: when it was opened, and its end in the log.
    pub(super) fn oldest_in_flight(&self) -> Option<(Instant, Offset)> {
        let state = self.state.lock();
        state.in_flight.front().map(|in_flight| (in_flight.pending.batch.opened.mono, in_flight.upto))
    }

    /// Gives everything up that has no outcome yet. What is being appended at this moment goes on without being told of.
    pub(super) fn give_up(&self, timed_out: impl Fn(Written) -> Error) {
        let (unwritten, in_flight) = {
            let mut state = self.state.lock();
            let mut unwritten = std::mem::take(&mut state.sealed);
            unwritten.extend(state.open.take().map(OpenBatch::seal));
            let in_flight = std::mem::take(&mut state.in_flight);
            let given_up = unwritten.iter().map(|open| &open.pending);
            let given_up = given_up.chain(in_flight.iter().map(|in_flight| &in_flight.pending));
            state.settling.extend(given_up.map(|pending| Arc::clone(&pending.batch)));
            (unwritten, in_flight)
        };
        for open in unwritten {
            open.pending.resolve(Err(timed_out(Written::No)));
        }
        for in_flight in in_flight {
            in_flight.pending.resolve(Err(timed_out(Written::Maybe)));
        }
    }
}

impl Batch {
    /// Does on this thread what the batch needs to be acknowledged: appends it, and leads or joins the group commit.
    ///
    /// # Errors
    /// Those of the sync, where the batch still waits for a later one.
    pub(super) fn drive(&self) -> Result<()> {
        let lane = &self.lane;
        let drained = lane.push_out(self.number, lane.shared.now(), SyncBy::Caller);
        match (lane.in_flight_end(self.number), drained) {
            // Other threads' batches that were appended here are synced here too.
            (Some(end), drained) => lane.partition.sync_to(drained.map_or(end, |drained| end.max(drained))),
            (None, Some(_)) => {
                lane.partition.sync_in_background();
                Ok(())
            }
            (None, None) => Ok(()),
        }
    }

    /// Has the background do what the batch needs to be acknowledged.
    pub(super) fn drive_in_background(&self) {
        let lane = &self.lane;
        if lane.in_flight_end(self.number).is_some() {
            lane.partition.sync_in_background();
            return;
        }
        {
            let mut state = lane.state.lock();
            state.requested = state.requested.max(self.number);
        }
        lane.shared.call_lane_at(lane, lane.shared.now().mono);
    }
}
