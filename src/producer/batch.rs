//! [S] One batch from its opening to its acknowledgement: what its deliveries share, and its one outcome.
//!
//! Invariants:
//! - The outcome is told exactly once, after the memory was given back and the failure counted; a batch that is dropped
//!   without one tells [`Error::Closed`].
//! - Until it is told the lane can find the batch; wakers of those who wait for memory are called after that.
//! - A failed record is either told to whoever holds its delivery, or counted for `flush` and `close`: never both, never
//!   neither. A delivery that was dropped unread counts as not held.
//!
//! Kafka's counterparts: `ProducerBatch`, `FutureRecordMetadata`.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Wake;

use crate::broker::Appended;
use crate::config::Acks;
use crate::error::{Error, Result};
use crate::producer::lane::Lane;
use crate::producer::memory::Reservation;
use crate::record::BatchBuilder;
use crate::sync::{Completion, Handle, completion};
use crate::time::Now;
use crate::types::Offset;

/// Set in [`Batch::dropped`] once the batch's failure was counted.
const IS_COUNTED: u32 = 1 << 31;

/// What the deliveries of one batch share.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) lane: Arc<Lane>,
    /// Its place among the batches of its lane, from 1.
    pub(super) number: u64,
    pub(super) opened: Now,
    pub(super) handle: Handle<Appended>,
    /// Deliveries that were dropped before they told anybody the outcome, and [`IS_COUNTED`].
    dropped: AtomicU32,
    /// Why it failed; set before [`IS_COUNTED`].
    failure: OnceLock<Error>,
}

/// The one owner of a batch that has no outcome yet.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) batch: Arc<Batch>,
    /// `None` once the outcome was told.
    completion: Option<Completion<Appended>>,
    reservation: Option<Reservation>,
    /// Records in the batch.
    records: u32,
    /// Records that a delivery was handed out for.
    pub(super) deliveries: u32,
}

/// A batch that still takes records, or waits to be appended.
#[derive(Debug)]
pub(super) struct OpenBatch {
    pub(super) pending: Pending,
    pub(super) builder: BatchBuilder,
}

/// A batch that is in the log and not acknowledged yet.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) pending: Pending,
    /// The end of the batch in the log; acknowledged once the high watermark is here.
    pub(super) upto: Offset,
    /// What the broker will resolve.
    pub(super) acknowledged: Handle<Appended>,
}

impl Pending {
    pub(super) fn new(lane: Arc<Lane>, number: u64, opened: Now, reservation: Reservation) -> Pending {
        let (completion, handle) = completion();
        let batch =
            Arc::new(Batch { lane, number, opened, handle, dropped: AtomicU32::new(0), failure: OnceLock::new() });
        Pending { batch, completion: Some(completion), reservation: Some(reservation), records: 0, deliveries: 0 }
    }

    /// The batch is full, and has so many records.
    pub(super) fn seal(&mut self, records: u32) {
        self.records = records;
    }

    /// Tells the outcome. The caller holds no lock.
    pub(super) fn resolve(mut self, outcome: Result<Appended>) {
        self.tell(outcome);
    }

    fn tell(&mut self, outcome: Result<Appended>) {
        let Some(completion) = self.completion.take() else { return };
        let shared = &self.batch.lane.shared;
        if outcome.is_err() {
            shared.metrics.on_failed(self.records);
        }
        let outcome = match outcome {
            // Nobody is told of an offset or of a failure, but failures count.
            Err(error) if shared.acks == Acks::None => {
                shared.failures.count(self.records.into(), &error);
                Ok(Appended { base_offset: Offset::ZERO, log_append_time: None })
            }
            Err(error) => {
                let _ = self.batch.failure.set(error.clone());
                // Whoever drops a delivery later sees the mark and counts itself.
                let dropped = self.batch.dropped.fetch_or(IS_COUNTED, Ordering::AcqRel);
                let unheld = self.records.saturating_sub(self.deliveries).saturating_add(dropped);
                shared.failures.count(unheld.into(), &error);
                Err(error)
            }
            Ok(appended) => Ok(appended),
        };
        let lane = &self.batch.lane;
        lane.remember(self.batch.number, outcome.clone());
        let freed = self.reservation.take().map(Reservation::release);
        completion.complete(outcome);
        lane.forget_settling(self.batch.number);
        drop(freed);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // Only when a thread unwinds with the batch in its hands.
        self.tell(Err(Error::Closed));
    }
}

impl OpenBatch {
    /// Takes no more records.
    pub(super) fn seal(mut self) -> OpenBatch {
        self.pending.seal(self.builder.count());
        self
    }

    pub(super) fn number(&self) -> u64 {
        self.pending.batch.number
    }
}

impl Batch {
    /// One delivery is gone whose holder never saw the outcome.
    pub(super) fn on_delivery_dropped(&self) {
        let before = self.dropped.fetch_add(1, Ordering::AcqRel);
        if before & IS_COUNTED != 0
            && let Some(error) = self.failure.get()
        {
            self.lane.shared.failures.count(1, error);
        }
    }
}

impl Wake for Batch {
    /// The broker has acknowledged the batch, or given it up.
    fn wake(self: Arc<Self>) {
        self.lane.on_acknowledged(self.number);
    }
}
