//! [S] The offset that a log answers with when it is asked for one by what it stands for (Kafka: `ListOffsets`,
//! `Partition.fetchOffsetForTimestamp`).

use crate::error::Result;
use crate::log::offset_by_time::Search;
use crate::log::{Log, ReadIsolation};
use crate::types::{LeaderEpoch, Offset, Timestamp};

/// What an offset is asked for by.
///
/// ```
/// use logstead::OffsetSpec;
/// use logstead::types::Timestamp;
/// let noon = Timestamp::from_millis(1_767_355_200_000);
/// assert_ne!(OffsetSpec::Timestamp(noon), OffsetSpec::MaxTimestamp);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The log start: the first offset that may be read.
    Earliest,
    /// The end of what may be seen: the high watermark, or the last stable offset.
    Latest,
    /// The record with the largest time, the first of several.
    MaxTimestamp,
    /// The first record, by offset, whose time is this one or later.
    Timestamp(Timestamp),
}

/// An offset that was asked for by an [`OffsetSpec`] (Kafka: `ListOffsetsResultInfo`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset.
    pub offset: Offset,
    /// The time of the record that was found; `None` for the log start and the end, which are no records.
    pub timestamp: Option<Timestamp>,
    /// The leader epoch of the record that was found, of the log start, or that the next record would be written under, as
    /// far as it is known.
    pub leader_epoch: Option<LeaderEpoch>,
}

impl Log {
    /// The offset that `spec` stands for. `None` when no record is such, or when the one that is lies beyond what `isolation`
    /// lets a reader see; then no other record takes its place, as in Kafka.
    ///
    /// Records that carry no time are passed over; those of aborted transactions and transaction markers count. The answer is
    /// what a scan of all records from the log start on finds. Kafka looks for a time in one segment only, the first whose
    /// largest time, or without one the modification time of whose file, is not older: when the records that made it so lie
    /// below the log start, or carry no time, it finds nothing where this finds a later record. For the largest time it counts
    /// records below the log start too, and where no record has a time it names the first offset, with a time of -1.
    ///
    /// # Errors
    /// As [`read`](Log::read), of the records that have to be looked at.
    ///
    /// # Examples
    /// ```
    /// # use logstead::{log::*, config::LogConfig, types::*, record::*, storage::MemStorage};
    /// # use logstead::time::{Clock, ManualClock};
    /// # let clock = ManualClock::new();
    /// # let directory = LogDirectory::options().storage(MemStorage::new()).open("/data")?;
    /// # let log = directory.open_log(&TopicPartition::new("orders", 0)?, None, LogConfig::new(), clock.now())?;
    /// # log.begin_epoch(LeaderEpoch::ZERO)?;
    /// # let time = |after: i64| Timestamp::from_millis(clock.now().wall.as_millis() + after);
    /// let mut builder = BatchBuilder::new(BatchOptions::default());
    /// builder.append(Some(time(10)), None, Some(b"one"), &[])?;
    /// builder.append(Some(time(30)), None, Some(b"two"), &[])?;
    /// builder.append(Some(time(20)), None, Some(b"three"), &[])?;
    /// log.append_as_leader(&mut builder.build()?, clock.now())?;
    /// let offset = |spec, isolation| log.list_offset(spec, isolation).map(|found| found.map(|found| found.offset.get()));
    /// assert_eq!(offset(OffsetSpec::Earliest, ReadIsolation::LogEnd)?, Some(0));
    /// assert_eq!(offset(OffsetSpec::Timestamp(time(11)), ReadIsolation::LogEnd)?, Some(1));
    /// assert_eq!(offset(OffsetSpec::MaxTimestamp, ReadIsolation::LogEnd)?, Some(1));
    /// assert_eq!(offset(OffsetSpec::Latest, ReadIsolation::LogEnd)?, Some(3));
    /// assert_eq!(offset(OffsetSpec::Timestamp(time(11)), ReadIsolation::HighWatermark)?, None); // not committed yet
    /// # Ok::<(), logstead::Error>(())
    /// ```
    pub fn list_offset(&self, spec: OffsetSpec, isolation: ReadIsolation) -> Result<Option<ListedOffset>> {
        loop {
            let view = self.published.lock().clone();
            view.check_present()?;
            let read = |from, limits| self.read(from, limits);
            let answer = Search { view: &view, read: &read }.list_offset(spec, isolation);
            let published = self.published.lock();
            // What was cut meanwhile may have been found, and what was deleted may have been missed.
            let is_cut = published.generation != view.generation;
            if !is_cut && (answer.is_ok() || published.log_start == view.log_start) {
                return answer;
            }
        }
    }
}

impl Search<'_> {
    /// See [`Log::list_offset`].
    pub(crate) fn list_offset(&self, spec: OffsetSpec, isolation: ReadIsolation) -> Result<Option<ListedOffset>> {
        let (start, end) = (self.view.log_start, self.view.end_for(isolation));
        let place = |offset, leader_epoch| ListedOffset { offset, timestamp: None, leader_epoch };
        let found = match spec {
            OffsetSpec::Earliest => return Ok(Some(place(start, self.view.epochs.epoch_for(start)))),
            OffsetSpec::Latest => {
                let latest = self.view.epochs.latest().map(|entry| entry.epoch);
                return Ok(Some(place(end, latest)));
            }
            OffsetSpec::MaxTimestamp => self.first_with_largest_time()?,
            OffsetSpec::Timestamp(timestamp) => self.first_not_older_than(timestamp)?,
        };
        Ok(found.filter(|found| found.offset < end))
    }
}
