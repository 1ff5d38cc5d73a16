//! [D] Reading records: partitions assigned by hand, positions that the caller moves, polls that wait without spinning.
//!
//! ```
//! use std::time::Duration;
//! use logstead::cluster::Cluster;
//! use logstead::consumer::SeekTo;
//! use logstead::types::TopicPartition;
//! # use logstead::config::TopicConfig;
//! # use logstead::storage::MemStorage;
//! # let cluster = Cluster::builder().storage(MemStorage::new()).open("/data")?;
//! # cluster.create_topic("orders", TopicConfig::new())?;
//! let mut consumer = cluster.consumer().assign([("orders", 0)]).build()?;
//! consumer.seek(&TopicPartition::new("orders", 0)?, SeekTo::Last(100))?;
//! let records = consumer.poll(Duration::from_millis(1))?;
//! for record in &records {
//!     // The record's bytes are borrowed from what was fetched.
//!     let _ = (record.offset(), record.key(), record.value());
//! }
//! # assert!(records.is_empty());
//! # Ok::<(), logstead::Error>(())
//! ```
//!
//! What holds for every consumer:
//! - Records of one partition come in the order of their offsets, each one once, unless the caller seeks. Partitions take
//!   turns to be first.
//! - Nothing is skipped silently. What cannot be read is an error of a poll, and the position stays where it was until
//!   [`Consumer::seek`] moves it; the other partitions go on, in every second poll at the latest.
//! - A poll returns what there is rather than an error: the error comes with the next poll.
//! - Only [`Consumer::poll`] and its likes do anything: a consumer costs nothing while nobody polls.
//!
//! Kafka's counterpart: `KafkaConsumer` without `subscribe`.
//!
//! [D]: crate

mod buffered;
mod builder;
mod detached;
mod each;
mod future;
mod held;
mod lane;
mod records;
mod subscription;
#[cfg(test)]
mod tests;
mod waiting;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::broker::{Catalog, Parked};
use crate::config::ConsumerConfig;
use crate::error::{Error, Result};
use crate::log::{ListedOffset, OffsetSpec, ReadIsolation, ReadLimits};
use crate::types::{Offset, Timestamp, TopicPartition};

use buffered::Budget;
use held::Pinned;
use lane::{Filled, Lane, Reading};
use records::ContentsPool;
use subscription::not_assigned;
use waiting::{Alarm, Patience, Sleep};

pub use builder::ConsumerBuilder;
pub use detached::DetachedRecord;
pub use each::EachRecord;
pub use future::PollFuture;
pub use records::{ConsumerRecord, ConsumerRecords, ConsumerRecordsIter};
pub use subscription::{IntoTopicPartition, SeekTo, StartAt};
pub use waiting::WakeHandle;

/// Bytes of one read where the limits allow more: larger reads are not faster, and keep more memory.
const READ_BYTES: u64 = 256 << 10;

/// Steps without a record that a poll takes before it sleeps all the same.
const EAGER_STEPS_MAX: u32 = 3;

/// How much one poll returns.
///
/// ```
/// use logstead::consumer::PollLimits;
/// let limits = PollLimits { records: 1_000, bytes: 1 << 20 };
/// # assert_eq!(limits.records, 1_000);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PollLimits {
    /// Records, at most. 0 is taken for 1.
    pub records: usize,
    /// Bytes of records as encoded, at most; one record that is larger is returned alone.
    pub bytes: usize,
}

/// Reads records from the partitions assigned to it. See the [module documentation](self).
///
/// For one thread at a time. It may outlive its cluster, and then answers [`Error::Closed`].
#[derive(Debug)]
pub struct Consumer {
    catalog: Arc<dyn Catalog>,
    reading: Reading,
    limits: PollLimits,
    start_at: StartAt,
    /// By partition.
    lanes: Vec<Lane>,
    /// Which lane comes first in the next poll.
    first: usize,
    alarm: Alarm,
    pool: Arc<ContentsPool>,
}

/// What a consumer without records can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Idle {
    /// Look at once.
    Look,
    /// Sync what was appended to this lane.
    Sync(usize),
    /// Sleep.
    Sleep(Sleep),
}

impl Consumer {
    fn new(catalog: Arc<dyn Catalog>, config: ConsumerConfig, start_at: StartAt) -> Consumer {
        let isolation = ReadIsolation::from(config.get_isolation());
        let as_usize = |value| usize::try_from(value).unwrap_or(usize::MAX);
        let read_bytes = as_usize(config.get_partition_fetch_bytes_max().min(READ_BYTES));
        Consumer {
            catalog,
            reading: Reading {
                isolation,
                limits: ReadLimits::bytes(read_bytes).isolation(isolation),
                pinned: Pinned::new(config.get_pinned_bytes_max(), as_usize(config.get_decompressed_bytes_max())),
            },
            limits: PollLimits {
                records: as_usize(config.get_poll_records_max()),
                bytes: as_usize(config.get_fetch_bytes_max()),
            },
            start_at,
            lanes: Vec::new(),
            first: 0,
            alarm: Alarm::new(),
            pool: ContentsPool::new(),
        }
    }

    /// Reads these partitions and no others from now on. One that was assigned before goes on where it stands; others begin
    /// where [`ConsumerBuilder::start_at`] says.
    ///
    /// # Errors
    /// As [`ConsumerBuilder::build`]; the assignment is as before.
    pub fn assign<P: IntoTopicPartition>(&mut self, partitions: impl IntoIterator<Item = P>) -> Result<()> {
        let wanted = partitions.into_iter().map(IntoTopicPartition::into_topic_partition);
        let mut wanted = wanted.collect::<Result<Vec<_>>>()?;
        wanted.sort_unstable();
        wanted.dedup();
        let (mut added, mut kept) = (Vec::new(), Vec::new());
        for tp in wanted {
            let source = self.catalog.source(&tp)?;
            match self.lanes.iter().any(|lane| Arc::ptr_eq(lane.source(), &source)) {
                true => kept.push(tp),
                // Also a partition of that name that was deleted and created again.
                false => added.push(Lane::new(source, self.start_at.into(), self.reading.isolation)?),
            }
        }
        self.lanes.retain(|lane| kept.binary_search(lane.tp()).is_ok());
        self.lanes.append(&mut added);
        self.lanes.sort_unstable_by(|a, b| a.tp().cmp(b.tp()));
        Ok(())
    }

    /// The partitions that it reads, in order.
    pub fn assignment(&self) -> impl ExactSizeIterator<Item = &TopicPartition> {
        self.lanes.iter().map(Lane::tp)
    }

    /// Goes on reading this partition somewhere else, given as a [`SeekTo`], an [`OffsetSpec`] or an [`Offset`].
    ///
    /// # Errors
    /// [`Error::InvalidState`]: the partition is not assigned. Otherwise why the partition cannot be asked, for example
    /// [`Error::Closed`]. Whether the log has a given offset turns out at the next poll.
    pub fn seek(&mut self, tp: &TopicPartition, to: impl Into<SeekTo>) -> Result<()> {
        let isolation = self.reading.isolation;
        self.lane_mut(tp, "seek")?.seek(to.into(), isolation)
    }

    /// Goes on reading all partitions somewhere else.
    ///
    /// # Errors
    /// The first of those of [`seek`](Self::seek); partitions before it are moved.
    pub fn seek_all(&mut self, to: impl Into<SeekTo>) -> Result<()> {
        let to = to.into();
        let isolation = self.reading.isolation;
        self.lanes.iter_mut().try_for_each(|lane| lane.seek(to, isolation))
    }

    /// The offset that the next poll goes on with in this partition: behind the last record returned.
    ///
    /// # Errors
    /// [`Error::InvalidState`]: the partition is not assigned. Otherwise why it cannot be asked.
    pub fn position(&self, tp: &TopicPartition) -> Result<Offset> {
        self.lane(tp, "tell the position")?.position()
    }

    /// The end of what this consumer may see of a partition: the last stable offset, or with
    /// [`Isolation::ReadUncommitted`](crate::config::Isolation::ReadUncommitted) the high watermark.
    ///
    /// # Errors
    /// [`Error::UnknownTopicOrPartition`], or why the partition cannot be asked.
    pub fn end_offset(&self, tp: &TopicPartition) -> Result<Offset> {
        Ok(self.source(tp)?.offsets()?.end_for(self.reading.isolation))
    }

    /// The first offset that a partition holds.
    ///
    /// # Errors
    /// As [`end_offset`](Self::end_offset).
    pub fn beginning_offset(&self, tp: &TopicPartition) -> Result<Offset> {
        Ok(self.source(tp)?.offsets()?.log_start)
    }

    /// The first record of each partition whose time is the one given or later, among what this consumer may see; `None`
    /// where there is none.
    ///
    /// # Errors
    /// As [`end_offset`](Self::end_offset), and those of reading the records that have to be looked at.
    pub fn offsets_for_times(
        &self,
        times: impl IntoIterator<Item = (TopicPartition, Timestamp)>,
    ) -> Result<BTreeMap<TopicPartition, Option<ListedOffset>>> {
        let answers = times.into_iter().map(|(tp, time)| {
            let found = self.source(&tp)?.list_offset(OffsetSpec::Timestamp(time), self.reading.isolation)?;
            Ok((tp, found))
        });
        answers.collect()
    }

    /// How many offsets lie between the position and the end.
    ///
    /// # Errors
    /// As [`position`](Self::position).
    pub fn lag(&self, tp: &TopicPartition) -> Result<u64> {
        let lane = self.lane(tp, "tell the lag")?;
        let end = lane.source().offsets()?.end_for(self.reading.isolation);
        Ok(end.since(lane.position()?))
    }

    /// How many offsets lie between the positions and the ends of all assigned partitions.
    ///
    /// # Errors
    /// As [`position`](Self::position).
    ///
    /// # Examples
    /// ```
    /// # use logstead::{Cluster, Record, TopicConfig, storage::MemStorage};
    /// # use std::time::Duration;
    /// # let cluster = Cluster::builder().storage(MemStorage::new()).open("/data")?;
    /// # cluster.create_topic("orders", TopicConfig::new())?;
    /// # cluster.producer().build()?.send(Record::to("orders").value("order 1"))?.wait()?;
    /// let mut consumer = cluster.consumer().topic("orders").build()?;
    /// while consumer.total_lag()? > 0 {
    ///     assert_eq!(consumer.poll(Duration::from_secs(1))?.len(), 1);
    /// }
    /// # Ok::<(), logstead::Error>(())
    /// ```
    pub fn total_lag(&self) -> Result<u64> {
        self.assignment().try_fold(0_u64, |sum, tp| Ok(sum.saturating_add(self.lag(tp)?)))
    }

    /// Returns no records of this partition until [`resume`](Self::resume); it keeps its position.
    ///
    /// # Errors
    /// [`Error::InvalidState`]: the partition is not assigned.
    pub fn pause(&mut self, tp: &TopicPartition) -> Result<()> {
        self.lane_mut(tp, "pause")?.set_paused(true);
        Ok(())
    }

    /// Undoes [`pause`](Self::pause).
    ///
    /// # Errors
    /// [`Error::InvalidState`]: the partition is not assigned.
    pub fn resume(&mut self, tp: &TopicPartition) -> Result<()> {
        self.lane_mut(tp, "resume")?.set_paused(false);
        Ok(())
    }

    /// Bytes that records handed out, and what is fetched ahead of them, keep in memory now.
    pub fn pinned_bytes(&self) -> u64 {
        self.reading.pinned.bytes()
    }

    /// Wakes this consumer from other threads.
    pub fn wake_handle(&self) -> WakeHandle {
        WakeHandle { alarm: self.alarm.clone() }
    }

    /// Returns the next records, and waits up to `timeout` for the first one. No record means that the time is over, that the
    /// consumer was woken, or, with [`Driver::Manual`](crate::cluster::Driver::Manual), which never lets it sleep, that there
    /// is nothing to read.
    ///
    /// With a timeout above zero the calling thread syncs what was appended and waits for its sync. A timeout of zero never
    /// blocks on anything but reading.
    ///
    /// # Errors
    /// - [`Error::OffsetOutOfRange`]: the position is not, or not any more, in the log; it names where the log starts and ends.
    /// - [`Error::Corrupt`]: the bytes at the position are damaged; it names the next offset that is intact.
    /// - [`Error::UnreadableBatch`]: the batch at the position is compressed with a codec that is not built in, or larger than
    ///   [`decompressed_bytes_max`](ConsumerConfig::decompressed_bytes_max) when decompressed.
    /// - [`Error::PinnedMemory`]: too much is held to fetch or decompress more.
    /// - [`Error::InvalidState`]: no partition is assigned.
    /// - [`Error::Closed`], [`Error::UnknownTopicOrPartition`]: the cluster or the topic is gone.
    /// - [`Error::Io`], and what a failed sync says.
    ///
    /// The position stays where it was, and the same error comes back until the cause is gone or [`seek`](Self::seek) moves
    /// the position; the records of other partitions come in between.
    pub fn poll(&mut self, timeout: Duration) -> Result<ConsumerRecords> {
        self.poll_with(self.limits, timeout)
    }

    /// As [`poll`](Self::poll), with other limits than the configuration's.
    ///
    /// # Errors
    /// As [`poll`](Self::poll).
    pub fn poll_with(&mut self, limits: PollLimits, timeout: Duration) -> Result<ConsumerRecords> {
        let outcome = self.poll_until(limits, Patience::new(timeout));
        self.unpark();
        outcome
    }

    fn poll_until(&mut self, limits: PollLimits, mut patience: Patience) -> Result<ConsumerRecords> {
        let mut eager_steps = 0;
        loop {
            let records = self.collect(limits)?;
            if !records.is_empty() || self.alarm.take_wake() || patience.is_over() {
                return Ok(records);
            }
            let idle = match self.park() {
                Idle::Look | Idle::Sync(_) if eager_steps >= EAGER_STEPS_MAX => Idle::Sleep(Sleep::LookAgain),
                other => other,
            };
            eager_steps += 1;
            let clock = Arc::clone(self.catalog.clock());
            match idle {
                Idle::Look => {}
                Idle::Sync(index) => {
                    let Some(lane) = self.lanes.get_mut(index) else { continue };
                    patience.spend(&*clock, || lane.make_visible());
                }
                Idle::Sleep(_) if !self.catalog.may_sleep() => return Ok(records),
                Idle::Sleep(sleep) => {
                    patience.sleep(&self.alarm.signal, &*clock, sleep);
                    eager_steps = 0;
                }
            }
        }
    }

    /// What there is, without waiting; an error only where there is nothing.
    fn collect(&mut self, limits: PollLimits) -> Result<ConsumerRecords> {
        if self.lanes.is_empty() {
            return Err(Error::InvalidState { operation: "poll", state: "no partition is assigned" });
        }
        if let Some(error) = self.take_untold() {
            return Err(error);
        }
        let mut contents = self.pool.take();
        let mut budget = Budget::new(limits.records.max(1), limits.bytes);
        let mut is_over_limit = false;
        let (count, first) = (self.lanes.len(), self.first);
        self.first = first.wrapping_add(1);
        for turn in 0..count {
            let index = first.wrapping_add(turn) % count;
            let Some(lane) = self.lanes.get_mut(index).filter(|lane| !lane.is_paused()) else { continue };
            let mut filled = lane.fill(&self.reading, &mut budget, &mut contents);
            while filled == Filled::OverLimit && self.make_room(index) {
                let Some(lane) = self.lanes.get_mut(index) else { break };
                filled = lane.fill(&self.reading, &mut budget, &mut contents);
            }
            is_over_limit |= filled == Filled::OverLimit;
            if budget.is_spent() {
                break;
            }
        }
        let records = ConsumerRecords::new(contents, &self.pool);
        if !records.is_empty() {
            return Ok(records);
        }
        match self.take_untold() {
            Some(error) => Err(error),
            None if is_over_limit => {
                Err(Error::PinnedMemory { pinned: self.pinned_bytes(), max: self.reading.pinned.bytes_max() })
            }
            None => Ok(records),
        }
    }

    /// Gives up what another lane has fetched ahead, so that this one gets its turn; whether there was something.
    fn make_room(&mut self, index: usize) -> bool {
        let count = self.lanes.len();
        // Those that were first lately come last: what they hold is needed the latest.
        let mut others = (1..count).map(|turn| index.wrapping_add(count - turn) % count);
        others.any(|other| self.lanes.get_mut(other).is_some_and(Lane::forget_buffered))
    }

    fn take_untold(&mut self) -> Option<Error> {
        self.lanes.iter_mut().find_map(Lane::take_untold)
    }

    /// Asks all lanes to raise the signal when there is something to read.
    fn park(&mut self) -> Idle {
        let mut idle = Idle::Sleep(Sleep::UntilRaised);
        for (index, lane) in self.lanes.iter_mut().enumerate().filter(|(_, lane)| !lane.is_paused()) {
            match lane.park(&self.alarm.signal, self.reading.isolation) {
                Parked::Ready => return Idle::Look,
                Parked::Unsynced => idle = Idle::Sync(index),
                Parked::LookAgain if idle == Idle::Sleep(Sleep::UntilRaised) => idle = Idle::Sleep(Sleep::LookAgain),
                Parked::LookAgain | Parked::Waiting => {}
            }
        }
        idle
    }

    fn unpark(&mut self) {
        self.lanes.iter_mut().for_each(|lane| lane.unpark(&self.alarm.signal));
    }

    fn index_of(&self, tp: &TopicPartition) -> Option<usize> {
        self.lanes.binary_search_by(|lane| lane.tp().cmp(tp)).ok()
    }

    fn lane(&self, tp: &TopicPartition, operation: &'static str) -> Result<&Lane> {
        let lane = self.index_of(tp).and_then(|index| self.lanes.get(index));
        lane.ok_or_else(|| not_assigned(operation))
    }

    fn lane_mut(&mut self, tp: &TopicPartition, operation: &'static str) -> Result<&mut Lane> {
        let lane = self.index_of(tp).and_then(|index| self.lanes.get_mut(index));
        lane.ok_or_else(|| not_assigned(operation))
    }

    fn source(&self, tp: &TopicPartition) -> Result<Arc<dyn crate::broker::FetchSource>> {
        match self.index_of(tp).and_then(|index| self.lanes.get(index)) {
            Some(lane) => Ok(Arc::clone(lane.source())),
            None => self.catalog.source(tp),
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // A future that was leaked while it waited leaves the signal behind.
        self.unpark();
    }
}
