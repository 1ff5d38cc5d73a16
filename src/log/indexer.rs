//! [P] Feeds a segment's offset and time index, batch by batch, by Kafka's rules (Kafka: `LogSegment.append`).
//!
//! The same code indexes a batch when it is appended, when it is recovered and when a lost index is rebuilt, so all
//! three give the same bytes.

use crate::config::LogConfig;
use crate::error::Result;
use crate::log::offset_index::{OffsetIndex, OffsetIndexBuilder};
use crate::log::time_index::{TimeIndex, TimeIndexBuilder, TimeIndexEntry};
use crate::record::BatchHeader;
use crate::types::{Offset, Timestamp};

/// The indexes of a segment that still grows, and what decides about the next entry.
#[derive(Debug)]
pub(crate) struct SegmentIndexer {
    offsets: OffsetIndexBuilder,
    times: TimeIndexBuilder,
    interval_bytes: u64,
    bytes_since_entry: u64,
    max_timestamp: Option<(Timestamp, Offset)>,
    /// The one entry that the file has beyond those that were resumed.
    stored_final: Option<TimeIndexEntry>,
    /// Whether the last time entry is the one that closed the segment, which goes when another batch follows.
    has_final: bool,
}

impl SegmentIndexer {
    /// For a segment without batches.
    pub(crate) fn new(base_offset: Offset, config: &LogConfig) -> SegmentIndexer {
        SegmentIndexer {
            offsets: OffsetIndexBuilder::new(base_offset, config.get_segment_index_bytes()),
            times: TimeIndexBuilder::new(base_offset, config.get_segment_index_bytes()),
            interval_bytes: config.get_index_interval_bytes(),
            bytes_since_entry: 0,
            max_timestamp: None,
            stored_final: None,
            has_final: false,
        }
    }

    /// Continues from indexes that were read from disk, keeping what speaks of offsets below `keep_below`. Returns the
    /// indexer and the position from which batches must be fed again: that of the last batch with an entry, whose size
    /// starts the count to the next one.
    pub(crate) fn resume(
        offsets: &OffsetIndex,
        times: &TimeIndex,
        keep_below: Offset,
        config: &LogConfig,
    ) -> (SegmentIndexer, ResumePoint) {
        let base = offsets.base_offset();
        let mut offsets = OffsetIndexBuilder::from_index(offsets, config.get_segment_index_bytes());
        offsets.truncate_to(keep_below);
        let stored_last = times.last();
        let mut times = TimeIndexBuilder::from_index(times, config.get_segment_index_bytes());
        let stored = times.len();
        times.truncate_to(offsets.last().map_or(base, |entry| entry.offset.next()));
        if times.is_full() {
            // It took no more entries: only up to its last one does it tell the largest timestamp.
            offsets.truncate_to(times.last().map_or(base, |entry| entry.offset.next()));
            times.truncate_to(offsets.last().map_or(base, |entry| entry.offset.next()));
        }
        let last = offsets.last();
        let stored_final = stored_last.filter(|_| times.len() + 1 == stored);
        let resume = match last {
            Some(entry) => ResumePoint { position: entry.position, indexed: Some(entry.offset) },
            None => ResumePoint { position: 0, indexed: None },
        };
        let max_timestamp = times.last().map(|entry| (entry.timestamp, entry.offset));
        let interval_bytes = config.get_index_interval_bytes();
        let indexer = SegmentIndexer {
            offsets,
            times,
            interval_bytes,
            bytes_since_entry: 0,
            max_timestamp,
            stored_final,
            has_final: false,
        };
        (indexer, resume)
    }

    /// Every batch of the segment was fed. The file's last entry stays if it is the one that closes the segment, so that a
    /// log that is only opened and closed leaves its files alone.
    ///
    /// # Errors
    /// As [`on_batch`](Self::on_batch).
    pub(crate) fn keep_final(&mut self) -> Result<()> {
        let Some(stored) = self.stored_final.take() else { return Ok(()) };
        let is_closing = self.max_timestamp == Some((stored.timestamp, stored.offset));
        if is_closing && self.times.unwritten().is_empty() {
            self.has_final = self.times.append_final(stored.timestamp, stored.offset)?;
            self.times.mark_written(self.times.unwritten().len());
        }
        Ok(())
    }

    /// The batch that starts at `position` follows those fed before.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) when the entry does not fit the index: its offset is not above the last
    /// one's, or too far from the segment's base.
    pub(crate) fn on_batch(&mut self, header: &BatchHeader, position: u64) -> Result<()> {
        if std::mem::take(&mut self.has_final) {
            self.times.remove_last();
        }
        self.observe_timestamp(header);
        if self.bytes_since_entry > self.interval_bytes && !self.offsets.is_full() {
            self.offsets.append(header.last_offset(), position)?;
            if let Some((timestamp, offset)) = self.max_timestamp {
                self.times.maybe_append(timestamp, offset)?;
            }
            self.bytes_since_entry = 0;
        }
        self.bytes_since_entry = self.bytes_since_entry.saturating_add(header.size_in_bytes() as u64);
        Ok(())
    }

    /// The batch at a [`ResumePoint`], whose entry is already there.
    pub(crate) fn on_indexed_batch(&mut self, header: &BatchHeader) {
        self.observe_timestamp(header);
        self.bytes_since_entry = header.size_in_bytes() as u64;
    }

    /// Adds the last time entry, for the largest timestamp of the segment, as Kafka does at roll and at close.
    ///
    /// # Errors
    /// As [`on_batch`](Self::on_batch).
    pub(crate) fn finish(&mut self) -> Result<()> {
        if let Some((timestamp, offset)) = self.max_timestamp {
            self.times.append_final(timestamp, offset)?;
        }
        Ok(())
    }

    /// Whether another batch might find no room for its entry.
    pub(crate) fn is_full(&self) -> bool {
        self.offsets.is_full() || self.times.is_full_without(usize::from(self.has_final))
    }

    /// Whether at least `least` bytes of one index wait to be written to its file.
    pub(crate) fn has_unwritten(&self, least: usize) -> bool {
        self.offsets.unwritten().len() >= least || self.times.unwritten().len() >= least
    }

    /// The largest timestamp, and the last offset of the first batch that carried it.
    pub(crate) fn max_timestamp(&self) -> Option<(Timestamp, Offset)> {
        self.max_timestamp
    }

    pub(crate) fn offsets(&self) -> &OffsetIndexBuilder {
        &self.offsets
    }

    pub(crate) fn offsets_mut(&mut self) -> &mut OffsetIndexBuilder {
        &mut self.offsets
    }

    pub(crate) fn times(&self) -> &TimeIndexBuilder {
        &self.times
    }

    pub(crate) fn times_mut(&mut self) -> &mut TimeIndexBuilder {
        &mut self.times
    }

    fn observe_timestamp(&mut self, header: &BatchHeader) {
        let Some(timestamp) = header.max_timestamp() else { return };
        if self.max_timestamp.is_none_or(|(max, _)| timestamp > max) {
            self.max_timestamp = Some((timestamp, header.last_offset()));
        }
    }
}

/// Where feeding batches must go on after [`SegmentIndexer::resume`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ResumePoint {
    /// Start of the next batch to feed.
    pub(crate) position: u64,
    /// That batch's last offset, when it has an entry already.
    pub(crate) indexed: Option<Offset>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BatchBuilder, BatchOptions};
    use crate::types::LeaderEpoch;

    /// One record a batch, at these times.
    fn headers(millis: &[i64]) -> Vec<BatchHeader> {
        let header = |(offset, millis): (u32, &i64)| {
            let mut builder = BatchBuilder::new(BatchOptions::default());
            builder.append(Some(Timestamp::from_millis(*millis)), None, None, &[]).unwrap();
            let mut batch = builder.build().unwrap();
            batch.stamp(Offset::from(offset), LeaderEpoch::ZERO);
            *batch.header()
        };
        (0..).zip(millis).map(header).collect()
    }

    #[test]
    fn a_time_index_that_was_full_does_not_hide_a_larger_timestamp() {
        // Room for one entry and the reserved one, and for three in the offset index.
        let config = LogConfig::new().index_interval_bytes(0).segment_index_bytes(24);
        let headers = headers(&[1, 2, 5, 3]);
        let size = headers[0].size_in_bytes() as u64;
        let mut fed = SegmentIndexer::new(Offset::ZERO, &config);
        for (header, index) in headers.iter().zip(0..) {
            fed.on_batch(header, index * size).unwrap();
        }
        let offsets = OffsetIndex::from_bytes(Offset::ZERO, fed.offsets().unwritten()).unwrap();
        let times = TimeIndex::from_bytes(Offset::ZERO, fed.times().unwritten()).unwrap();
        assert_eq!((offsets.len(), times.len()), (3, 1));
        let (mut resumed, point) = SegmentIndexer::resume(&offsets, &times, Offset::MAX, &config);
        let first = usize::try_from(point.position / size).unwrap();
        for (index, header) in headers.iter().enumerate().skip(first) {
            match point.indexed == Some(header.last_offset()) {
                true => resumed.on_indexed_batch(header),
                false => resumed.on_batch(header, index as u64 * size).unwrap(),
            }
        }
        assert_eq!(resumed.max_timestamp(), fed.max_timestamp());
        assert_eq!(resumed.offsets().last(), fed.offsets().last());
    }
}
