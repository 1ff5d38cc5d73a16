//! [D] What all handles of one producer share: its memory, its lanes, its timer, its failures.
//!
//! Invariants: an idle producer is called by nobody: the timer is armed while a batch is open and at no other time; waiting
//! for memory makes progress itself before it sleeps; with nobody to drive the engine no call sleeps where only a later call
//! could wake it. Lock ranks: `ClientMetadata`, `ProducerBuffer`. Kafka's counterparts: `KafkaProducer`, `Sender`,
//! `RecordAccumulator`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::Duration;

use crate::broker::{Catalog, Router, SyncBy, TimedClient};
use crate::config::Acks;
use crate::error::{Error, Result, Written};
use crate::producer::batch::Batch;
use crate::producer::lane::Lane;
use crate::producer::memory::{BufferPool, Memory, PackerPool, Reservation};
use crate::producer::partitioner::Choice;
use crate::producer::timer::LaneTimer;
use crate::producer::topic::Topic;
use crate::record::Codec;
use crate::rng::Rng;
use crate::sync::{Rank, RankedMutex};
use crate::time::{Instant, Now};
use crate::types::TopicName;

/// The shortest time after which work is tried again that panicked.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(1);

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) this: Weak<Shared>,
    pub(super) router: Arc<Router>,
    pub(super) acks: Acks,
    pub(super) linger: Duration,
    pub(super) batch_bytes: u64,
    /// What batches are compressed with where the topic does not say.
    pub(super) codec: Codec,
    /// The largest size of a record's batch, and which key says so.
    pub(super) record_limits: [(u64, &'static str); 2],
    pub(super) block_time_max: Duration,
    pub(super) delivery_timeout: Duration,
    pub(super) choice: Choice,
    pub(super) memory: Arc<Memory>,
    pub(super) buffers: BufferPool,
    pub(super) packers: PackerPool,
    pub(super) failures: Failures,
    pub(super) metrics: Counters,
    pub(super) rng: RankedMutex<Rng>,
    pub(super) metadata: RankedMutex<Metadata>,
    pub(super) timer: RankedMutex<LaneTimer>,
    /// Somebody waits for memory who may not block.
    pub(super) is_room_wanted: AtomicBool,
}

/// What was resolved so far.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    pub(super) topics: BTreeMap<TopicName, Arc<Topic>>,
    /// Every lane that was ever made.
    pub(super) lanes: Vec<Arc<Lane>>,
    /// How many were made.
    pub(super) lanes_made: u64,
    pub(super) is_closed: bool,
}

/// Failed records that nobody holds a delivery of, since they were told the last time.
#[derive(Debug)]
pub(super) struct Failures(RankedMutex<(u64, Option<Error>)>);

impl Failures {
    pub(super) fn new() -> Failures {
        Failures(RankedMutex::new(Rank::ProducerBuffer, (0, None)))
    }

    pub(super) fn count(&self, records: u64, error: &Error) {
        if records > 0 {
            let mut state = self.0.lock();
            state.0 = state.0.saturating_add(records);
            state.1.get_or_insert_with(|| error.clone());
        }
    }

    /// Tells of them, once.
    fn tell(&self) -> Result<()> {
        let (count, first) = std::mem::take(&mut *self.0.lock());
        match first {
            Some(first) => Err(Error::DeliveriesFailed { count, first: Arc::new(first) }),
            None => Ok(()),
        }
    }
}

/// What the producer has done so far.
#[derive(Debug, Default)]
pub(super) struct Counters {
    // Each is a statistic of its own that orders nothing, hence `Relaxed` everywhere.
    pub(super) records: AtomicU64,
    pub(super) batches: AtomicU64,
    pub(super) failed: AtomicU64,
}

impl Counters {
    pub(super) fn on_batch(&self, records: u32) {
        self.records.fetch_add(records.into(), Ordering::Relaxed);
        self.batches.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn on_failed(&self, records: u32) {
        self.failed.fetch_add(records.into(), Ordering::Relaxed);
    }
}

impl Shared {
    pub(super) fn now(&self) -> Now {
        self.router.clock().now()
    }

    /// The topic, resolved on first use.
    ///
    /// # Errors
    /// [`Error::UnknownTopicOrPartition`], [`Error::Closed`].
    pub(super) fn topic(&self, name: &str) -> Result<Arc<Topic>> {
        if let Some(topic) = self.metadata.lock().topics.get(name) {
            return Ok(Arc::clone(topic));
        }
        let first = self.rng.lock().next_u64();
        let mut metadata = self.metadata.lock();
        if metadata.is_closed {
            return Err(Error::Closed);
        }
        if let Some(topic) = metadata.topics.get(name) {
            return Ok(Arc::clone(topic));
        }
        let topic = Arc::new(Topic::resolve(self, &mut metadata, name, first)?);
        metadata.topics.insert(topic.name().clone(), Arc::clone(&topic));
        Ok(topic)
    }

    fn lanes(&self) -> Vec<Arc<Lane>> {
        self.metadata.lock().lanes.clone()
    }

    /// Has the timer look at the lane.
    pub(super) fn call_lane_at(&self, lane: &Arc<Lane>, at: Instant) {
        let is_earliest = self.timer.lock().arm(lane, at);
        if is_earliest {
            self.call_at(at);
        }
    }

    fn call_at(&self, at: Instant) {
        let client: Weak<dyn TimedClient> = Weak::<Shared>::clone(&self.this);
        self.router.host().background.call_at(&client, at);
    }

    /// Reserves memory; makes some free on this thread, and waits for it, where need be. Also returns the time then.
    ///
    /// # Errors
    /// [`Error::Timeout`] after `max.block.ms`; [`Error::NoProgress`].
    pub(super) fn reserve_memory(&self, bytes: u64, now: Now) -> Result<(Reservation, Now)> {
        if let Ok(reservation) = self.memory.reserve(bytes) {
            return Ok((reservation, now));
        }
        let began = now.mono;
        loop {
            let has_progressed = self.make_room();
            let now = self.now();
            if let Ok(reservation) = self.memory.reserve(bytes) {
                return Ok((reservation, now));
            }
            let left = self.block_time_max.saturating_sub(now.mono.since(began));
            if !has_progressed && !self.router.may_sleep() {
                return Err(Error::NoProgress { until: None });
            }
            if left.is_zero() || (!has_progressed && !self.memory.wait_for(bytes, left)) {
                let waiting_for = "memory for another batch";
                return Err(Error::Timeout { waiting_for, after: self.block_time_max, written: Written::No });
            }
        }
    }

    /// Appends everything there is, and leads or joins the sync of the oldest batch; whether that led to anything.
    fn make_room(&self) -> bool {
        let (lanes, now) = (self.lanes(), self.now());
        for lane in &lanes {
            lane.drain_all(now, SyncBy::Background);
        }
        let in_flight = lanes.iter().filter_map(|lane| lane.oldest_in_flight().map(|oldest| (oldest, lane)));
        match in_flight.min_by_key(|((opened, _), _)| *opened) {
            Some(((_, end), lane)) => lane.partition.sync_to(end).is_ok(),
            None => false,
        }
    }

    /// Appends everything there is, and has it synced.
    fn start_making_room(&self, now: Now) {
        for lane in self.lanes() {
            lane.drain_all(now, SyncBy::Background);
            if lane.oldest_in_flight().is_some() {
                lane.partition.sync_in_background();
            }
        }
    }

    /// Has the background make memory free, and `waker` woken when there is some.
    pub(super) fn want_room(&self, waker: Option<&Waker>) {
        if let Some(waker) = waker {
            self.memory.register(waker);
        }
        self.is_room_wanted.store(true, Ordering::Release);
        self.call_at(self.now().mono);
    }

    /// Waits until everything sent so far has an outcome, and tells of failures that nobody else was told of.
    pub(super) fn flush(&self) -> Result<()> {
        if self.metadata.lock().is_closed {
            return Err(Error::Closed);
        }
        for batch in self.hand_over() {
            batch.settle()?;
        }
        self.failures.tell()
    }

    /// Appends everything there is; returns what has no outcome yet.
    fn hand_over(&self) -> Vec<Arc<Batch>> {
        let (lanes, now) = (self.lanes(), self.now());
        let mut outstanding = Vec::new();
        for lane in &lanes {
            lane.outstanding(&mut outstanding);
            lane.drain_all(now, SyncBy::Background);
        }
        outstanding.retain(|batch| batch.handle.try_get().is_none());
        outstanding
    }

    /// Takes no records any more, and appends what there is.
    pub(super) fn shut(&self) -> Vec<Arc<Batch>> {
        self.metadata.lock().is_closed = true;
        for lane in self.lanes() {
            lane.close();
        }
        self.hand_over()
    }

    /// As [`flush`](Self::flush), for the last time, and for so long at most.
    pub(super) fn close(&self, limit: Option<Duration>) -> Result<()> {
        let began = self.now().mono;
        let outstanding = self.shut();
        let is_settled = |batch: &Arc<Batch>| match limit {
            Some(limit) if self.router.may_sleep() => {
                let left = limit.saturating_sub(self.now().mono.since(began));
                batch.handle.wait_timeout(left).is_some()
            }
            Some(_) | None => batch.settle().is_ok(),
        };
        if outstanding.iter().all(is_settled) {
            return self.failures.tell();
        }
        let after = limit.unwrap_or_default();
        let timed_out = |written| Error::Timeout { waiting_for: "the producer to be closed", after, written };
        for lane in self.lanes() {
            lane.give_up(timed_out);
        }
        self.failures.tell().and(Err(timed_out(Written::Maybe)))
    }

    /// Lets go of everything, so that nothing keeps the producer in memory once its batches have their outcomes.
    pub(super) fn forget(&self) {
        loop {
            // The lanes are closed, so that there is less to append with each round.
            let timed = self.timer.lock().take_all();
            if timed.is_empty() {
                break;
            }
            let now = self.now();
            for lane in timed {
                lane.drain_all(now, SyncBy::Background);
            }
        }
        let nothing = Metadata { is_closed: true, ..Metadata::default() };
        let forgotten = std::mem::replace(&mut *self.metadata.lock(), nothing);
        drop(forgotten);
    }
}

impl TimedClient for Shared {
    fn step(&self, now: Now) -> Option<Instant> {
        if self.is_room_wanted.swap(false, Ordering::AcqRel) {
            let _unfinished = Unfinished { shared: self, work: Work::Room, now: now.mono };
            self.start_making_room(now);
        }
        loop {
            let (due, next) = {
                let mut timer = self.timer.lock();
                (timer.take_due(now.mono), timer.earliest())
            };
            let Some(lane) = due else { return next };
            let _unfinished = Unfinished { shared: self, work: Work::Lane(&lane), now: now.mono };
            lane.on_timer(now);
        }
    }

    fn close(&self, _now: Now) {
        self.shut();
    }
}

/// Work of the timer that may be cut short: a waker is user code, and may panic. What is left is done by a later call.
pub(super) struct Unfinished<'a> {
    pub(super) shared: &'a Shared,
    pub(super) work: Work<'a>,
    pub(super) now: Instant,
}

pub(super) enum Work<'a> {
    Room,
    Lane(&'a Arc<Lane>),
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        // Later, so that who panics each time does not keep the others from their turn.
        let later = self.now.after(self.shared.linger.max(RETRY_AFTER_MIN));
        match self.work {
            Work::Room => {
                self.shared.is_room_wanted.store(true, Ordering::Release);
                self.shared.call_at(later);
            }
            Work::Lane(lane) => {
                self.shared.timer.lock().arm(lane, later);
            }
        }
        // Nobody learns from `step` when the next lane is due.
        let next = self.shared.timer.lock().earliest();
        if let Some(next) = next {
            self.shared.call_at(next);
        }
    }
}
