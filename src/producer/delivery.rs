//! [D] What the caller gets for a record: a delivery to wait for, or a ticket to ask with.
//!
//! Invariants: `wait` does the work itself before it sleeps; `poll` never blocks; dropping a delivery cancels nothing.
//! Kafka's counterparts: `FutureRecordMetadata`, `RecordMetadata`.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::broker::{Appended, Catalog, SyncBy};
use crate::config::Acks;
use crate::error::{Error, Result};
use crate::producer::batch::{Batch, Pending};
use crate::producer::lane::{Lane, Receipt};
use crate::sync::Handle;
use crate::types::{Offset, PartitionId, Timestamp, TopicPartition};

/// Where a record went.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordMetadata {
    /// The partition.
    pub topic_partition: TopicPartition,
    /// Its offset; `None` with [`Acks::None`].
    pub offset: Option<Offset>,
    /// Its time: the one it was sent with, or that of its append where the topic says `LogAppendTime`.
    pub timestamp: Timestamp,
}

impl fmt::Display for RecordMetadata {
    /// `TOPIC-PARTITION@OFFSET`, without the offset where it is not known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset {
            Some(offset) => write!(f, "{}@{offset}", self.topic_partition),
            None => write!(f, "{}", self.topic_partition),
        }
    }
}

/// One record on its way: to be waited for, by a thread or a future.
///
/// Dropping it cancels nothing; if the record fails then, `flush` and `close` count it.
#[derive(Debug)]
pub struct Delivery {
    batch: Arc<Batch>,
    index: u32,
    timestamp: Timestamp,
    /// Whether the outcome was told to the holder.
    is_told: bool,
    /// Holds the waker, once it was polled.
    polled: Option<Handle<Appended>>,
}

/// Names a record that was pushed: its lane, its batch and its place there. A number, to be kept or thrown away.
///
/// [`TopicProducer::wait`](super::TopicProducer::wait) waits for the record while its batch is on its way, and knows where it
/// went for a few batches longer. Whether a record failed whose ticket was thrown away, `flush` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket {
    partition: PartitionId,
    batch: u64,
    index: u32,
    timestamp: Timestamp,
}

impl Ticket {
    /// The partition that the record was put into.
    pub const fn partition(&self) -> PartitionId {
        self.partition
    }

    pub(super) fn wait(self, lane: &Arc<Lane>) -> Result<RecordMetadata> {
        let outcome = match lane.find(self.batch) {
            Some(Ok(batch)) => {
                batch.settle()?;
                batch.handle.wait()
            }
            Some(Err(outcome)) => outcome,
            None => {
                let state = "its batch has had its outcome too long ago";
                return Err(Error::InvalidState { operation: "wait for the ticket", state });
            }
        };
        outcome.map(|appended| metadata(lane, appended, self.index, self.timestamp))
    }
}

impl Receipt for Ticket {
    fn take(pending: &mut Pending, index: u32, timestamp: Timestamp) -> Ticket {
        let batch = &pending.batch;
        Ticket { partition: batch.lane.topic_partition().partition, batch: batch.number, index, timestamp }
    }
}

impl Receipt for Delivery {
    fn take(pending: &mut Pending, index: u32, timestamp: Timestamp) -> Delivery {
        pending.deliveries += 1;
        Delivery { batch: Arc::clone(&pending.batch), index, timestamp, is_told: false, polled: None }
    }
}

impl Delivery {
    /// Blocks until the record is acknowledged. What is missing for that happens on this thread: the batch is appended
    /// although it is not full, and synced, together with those of all threads that wait at the moment.
    ///
    /// # Errors
    /// Why the batch was not acknowledged, of which [`Error::written`] tells whether it may be in the log:
    /// [`Error::Timeout`] after `delivery.timeout.ms`, [`Error::Offline`], [`Error::OutOfSpace`], [`Error::Io`],
    /// [`Error::RecordTooLarge`], [`Error::InvalidTimestamp`], [`Error::UnknownTopicOrPartition`], [`Error::Closed`].
    /// [`Error::NoProgress`]: with `Driver::Manual`, when waiting would never end; the record may still be acknowledged.
    pub fn wait(mut self) -> Result<RecordMetadata> {
        self.batch.settle()?;
        let outcome = self.batch.handle.wait();
        self.tell(outcome)
    }

    /// Blocks until the record is acknowledged, for `timeout` at most; `None` when it is not then. Its batch is appended on
    /// this thread and synced by the background.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&mut self, timeout: Duration) -> Option<Result<RecordMetadata>> {
        let lane = &self.batch.lane;
        if lane.shared.router.may_sleep() {
            lane.push_out(self.batch.number, lane.shared.now(), SyncBy::Background);
        } else if let Err(error) = self.batch.settle() {
            return Some(Err(error));
        }
        let outcome = self.batch.handle.wait_timeout(timeout)?;
        Some(self.tell(outcome))
    }

    /// The outcome, if it is known. Never blocks, and makes nothing happen.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn try_get(&mut self) -> Option<Result<RecordMetadata>> {
        let outcome = self.batch.handle.try_get()?;
        Some(self.tell(outcome))
    }

    fn tell(&mut self, outcome: Result<Appended>) -> Result<RecordMetadata> {
        self.is_told = true;
        outcome.map(|appended| metadata(&self.batch.lane, appended, self.index, self.timestamp))
    }
}

impl Future for Delivery {
    type Output = Result<RecordMetadata>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Some(outcome) = this.batch.handle.try_get() {
            return Poll::Ready(this.tell(outcome));
        }
        let is_first = this.polled.is_none();
        let polled = this.polled.get_or_insert_with(|| this.batch.handle.clone());
        match Pin::new(polled).poll(context) {
            Poll::Ready(outcome) => Poll::Ready(this.tell(outcome)),
            Poll::Pending => {
                if is_first {
                    this.batch.drive_in_background();
                }
                Poll::Pending
            }
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.is_told {
            self.batch.on_delivery_dropped();
        }
    }
}

impl Batch {
    /// Blocks until the batch has an outcome, doing on this thread what it takes.
    ///
    /// # Errors
    /// [`Error::NoProgress`]; the outcome itself is not told.
    pub(super) fn settle(&self) -> Result<()> {
        if self.handle.try_get().is_some() {
            return Ok(());
        }
        let driven = self.drive();
        if driven.is_err() && self.handle.try_get().is_none() && !self.lane.shared.router.may_sleep() {
            let expires = self.opened.mono.after(self.lane.shared.delivery_timeout);
            return Err(Error::NoProgress { until: Some(expires) });
        }
        // Resolved, or about to be by the thread that led the sync, or by a later one.
        let _ = self.handle.wait();
        Ok(())
    }
}

fn metadata(lane: &Lane, appended: Appended, index: u32, timestamp: Timestamp) -> RecordMetadata {
    let offset = match lane.shared.acks {
        Acks::All | Acks::Leader => Some(appended.base_offset.plus(index.into())),
        Acks::None => None,
    };
    let timestamp = appended.log_append_time.unwrap_or(timestamp);
    RecordMetadata { topic_partition: lane.topic_partition().clone(), offset, timestamp }
}
