//! [P] Where a consumer reads from: a partition that this process owns, or one that it only looks at.

use std::fmt::Debug;
use std::sync::Arc;

use crate::error::Result;
use crate::log::{AbortedTransaction, ListedOffset, LogSlice, OffsetSpec, ReadIsolation, ReadLimits};
use crate::sync::Signal;
use crate::time::Clock;
use crate::types::{Offset, TopicPartition};

/// Where one partition stands, all at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartitionOffsets {
    pub(crate) log_start: Offset,
    pub(crate) last_stable: Offset,
    pub(crate) high_watermark: Offset,
}

impl PartitionOffsets {
    /// The end of what a reader of this isolation may see.
    pub(crate) fn end_for(&self, isolation: ReadIsolation) -> Offset {
        match isolation {
            ReadIsolation::LastStable => self.last_stable,
            ReadIsolation::HighWatermark | ReadIsolation::LogEnd => self.high_watermark,
        }
    }
}

/// How a consumer that has read everything goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parked {
    /// There is something to read after all.
    Ready,
    /// Something was appended and only has to be synced: [`FetchSource::make_visible`] does that.
    Unsynced,
    /// The signal will be raised when there is something to read.
    Waiting,
    /// Nobody will raise the signal: look again after a while.
    LookAgain,
}

/// One partition to read from.
pub(crate) trait FetchSource: Debug + Send + Sync {
    fn topic_partition(&self) -> &TopicPartition;

    /// Where the partition stands now.
    fn offsets(&self) -> Result<PartitionOffsets>;

    /// See [`Log::read`](crate::log::Log::read).
    fn fetch(&self, from: Offset, limits: ReadLimits) -> Result<LogSlice>;

    /// See [`Log::read_after`](crate::log::Log::read_after).
    fn fetch_after(&self, slice: &LogSlice, limits: ReadLimits) -> Result<LogSlice>;

    /// Transactions that were aborted and have records in `[from, upper)`.
    fn aborted_transactions(&self, from: Offset, upper: Offset) -> Result<Vec<AbortedTransaction>>;

    /// See [`Log::list_offset`](crate::log::Log::list_offset).
    fn list_offset(&self, spec: OffsetSpec, isolation: ReadIsolation) -> Result<Option<ListedOffset>>;

    /// Asks for `signal` to be raised when a reader who has read up to `position` may see more, or when the partition is
    /// gone. It may also be raised without a cause.
    fn park(&self, signal: &Arc<Signal>, position: Offset, isolation: ReadIsolation) -> Result<Parked>;

    /// The signal is not needed any more.
    fn unpark(&self, signal: &Arc<Signal>);

    /// Makes what was appended so far visible: the calling thread leads the sync, or waits for the one that covers it.
    fn make_visible(&self) -> Result<()>;

    /// As `make_visible`, but on another thread: the parked signal is raised when it is done.
    fn make_visible_later(&self);

    /// Counts what was read.
    fn on_read(&self, records: u64, bytes: u64);
}

/// What there is to read from.
pub(crate) trait Catalog: Debug + Send + Sync {
    /// The partition.
    ///
    /// # Errors
    /// [`Error::UnknownTopicOrPartition`](crate::Error::UnknownTopicOrPartition).
    fn source(&self, tp: &TopicPartition) -> Result<Arc<dyn FetchSource>>;

    /// The partitions of a topic, in order.
    ///
    /// # Errors
    /// [`Error::UnknownTopicOrPartition`](crate::Error::UnknownTopicOrPartition).
    fn partitions_of(&self, topic: &str) -> Result<Vec<TopicPartition>>;

    fn clock(&self) -> &Arc<dyn Clock>;

    /// Whether a waiting thread may sleep: others drive the engine meanwhile.
    fn may_sleep(&self) -> bool;
}
