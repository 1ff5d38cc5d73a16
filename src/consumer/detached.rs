//! [P] A record on its own: it holds a share of the fetched bytes instead of borrowing them.

use std::fmt;

use crate::consumer::held::Share;
use crate::record::{BatchHeader, HeaderRef, RecordRef, Records};
use crate::types::{LeaderEpoch, Offset, PartitionId, Timestamp, TimestampType, TopicName, TopicPartition};

/// A record that can be kept, sent to another thread, and outlives the poll, the consumer and the cluster.
///
/// It keeps the buffer that it was fetched in, which is up to
/// [`partition_fetch_bytes_max`](crate::config::ConsumerConfig::partition_fetch_bytes_max) large and shared with the other
/// records from it, or, of a compressed batch, the decompressed records; both count as pinned. Whoever keeps a few records
/// for long copies their bytes instead.
#[derive(Clone)]
pub struct DetachedRecord {
    tp: TopicPartition,
    held: Share,
    header: BatchHeader,
    /// Where the record lies in these bytes.
    start: usize,
    end: usize,
    offset: Offset,
    timestamp: Option<Timestamp>,
}

impl DetachedRecord {
    pub(super) fn new(
        tp: TopicPartition,
        held: Share,
        header: BatchHeader,
        (start, end): (usize, usize),
        record: &RecordRef<'_>,
    ) -> DetachedRecord {
        DetachedRecord { tp, held, header, start, end, offset: record.offset(), timestamp: record.timestamp() }
    }

    /// The record where it lies, decoded again.
    fn view(&self) -> Option<RecordRef<'_>> {
        Records::resume(&self.header, self.held.bytes(self.start, self.end), 1).next()
    }

    /// The partition that it was read from.
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.tp
    }

    /// The topic's name.
    pub fn topic(&self) -> &TopicName {
        &self.tp.topic
    }

    /// The partition's number.
    pub fn partition(&self) -> PartitionId {
        self.tp.partition
    }

    /// Its position in the partition.
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// Its time, whose meaning [`timestamp_type`](Self::timestamp_type) tells; `None` when it has none.
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.timestamp
    }

    /// Whose clock gave the time.
    pub fn timestamp_type(&self) -> TimestampType {
        self.header.timestamp_type()
    }

    /// The key; `None` (Kafka's null) is not the same as an empty one.
    pub fn key(&self) -> Option<&[u8]> {
        self.view()?.key()
    }

    /// The value; `None` is a tombstone in a compacted topic.
    pub fn value(&self) -> Option<&[u8]> {
        self.view()?.value()
    }

    /// The headers in the order in which they were added; keys may repeat.
    pub fn headers(&self) -> impl Iterator<Item = HeaderRef<'_>> {
        self.view().into_iter().flat_map(|record| record.headers())
    }

    /// The epoch of the leader that appended it.
    pub fn leader_epoch(&self) -> Option<LeaderEpoch> {
        self.header.leader_epoch()
    }

    /// Bytes of the record as encoded.
    pub fn size_in_bytes(&self) -> usize {
        self.end.saturating_sub(self.start)
    }
}

impl fmt::Debug for DetachedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DetachedRecord")
            .field("topic_partition", &format_args!("{}", self.tp))
            .field("offset", &self.offset)
            .field("timestamp", &self.timestamp)
            .finish_non_exhaustive()
    }
}
