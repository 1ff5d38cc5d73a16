//! [S] What a poll returns: records that borrow the fetched bytes, in runs of neighbours from one batch.
//!
//! Iterating decodes a record where it lies; it allocates nothing, takes no lock and counts no references. The lists of a
//! result that was dropped are used again by a later poll. Lock rank: `BufferPool`. Kafka's counterpart: `ConsumerRecords`.

use std::fmt;
use std::iter::FusedIterator;
use std::sync::Arc;

use crate::consumer::detached::DetachedRecord;
use crate::consumer::held::Share;
use crate::record::{BatchHeader, RecordHeaders, RecordRef, Records};
use crate::sync::{Rank, RankedMutex};
use crate::types::{LeaderEpoch, Offset, PartitionId, Timestamp, TimestampType, TopicName, TopicPartition};

/// The records that one poll returned: those of one partition together, in the order of their offsets.
///
/// They keep the bytes that were fetched in memory until they are dropped, also after the log has deleted its segment or the
/// cluster was closed; see [`ConsumerConfig::pinned_bytes_max`](crate::config::ConsumerConfig::pinned_bytes_max).
pub struct ConsumerRecords {
    contents: Contents,
    pool: Arc<ContentsPool>,
}

/// The lists of a result.
#[derive(Debug, Default)]
pub(super) struct Contents {
    parts: Vec<Part>,
    runs: Vec<Run>,
    records: usize,
    bytes: u64,
}

/// The records of one partition.
#[derive(Debug)]
struct Part {
    tp: TopicPartition,
    /// Its runs: from here to where those of the next part start.
    first_run: usize,
    /// Where its reader goes on.
    next_offset: Offset,
}

/// Records that stand behind each other in one batch.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) part: usize,
    pub(super) held: Share,
    pub(super) header: BatchHeader,
    /// Where in these bytes the first of them starts.
    pub(super) start: usize,
    /// Where in these bytes the last of them ends.
    pub(super) end: usize,
    pub(super) records: u32,
}

impl ConsumerRecords {
    pub(super) fn new(contents: Contents, pool: &Arc<ContentsPool>) -> ConsumerRecords {
        ConsumerRecords { contents, pool: Arc::clone(pool) }
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.contents.records
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.contents.records == 0
    }

    /// Bytes of the records, as encoded.
    pub fn size_in_bytes(&self) -> u64 {
        self.contents.bytes
    }

    /// All records.
    pub fn iter(&self) -> ConsumerRecordsIter<'_> {
        ConsumerRecordsIter { parts: &self.contents.parts, runs: self.contents.runs.iter(), open: None }
    }

    /// The partitions that have records here.
    pub fn partitions(&self) -> impl ExactSizeIterator<Item = &TopicPartition> {
        self.contents.parts.iter().map(|part| &part.tp)
    }

    /// The records of one partition; none if it has none here.
    pub fn by_partition(&self, tp: &TopicPartition) -> ConsumerRecordsIter<'_> {
        let parts = &self.contents.parts;
        let index = parts.iter().position(|part| part.tp == *tp);
        let first = index.and_then(|index| parts.get(index)).map(|part| part.first_run);
        let end = index.and_then(|index| parts.get(index + 1)).map_or(self.contents.runs.len(), |part| part.first_run);
        let runs = first.and_then(|first| self.contents.runs.get(first..end)).unwrap_or_default();
        ConsumerRecordsIter { parts, runs: runs.iter(), open: None }
    }

    /// Where reading goes on in each partition that has records here: behind its last record, and behind what is not to be
    /// seen after that.
    pub fn next_offsets(&self) -> impl ExactSizeIterator<Item = (&TopicPartition, Offset)> {
        self.contents.parts.iter().map(|part| (&part.tp, part.next_offset))
    }
}

impl fmt::Debug for ConsumerRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.contents.parts.iter().map(|part| (part.tp.to_string(), part.next_offset));
        f.debug_struct("ConsumerRecords")
            .field("len", &self.len())
            .field("next_offsets", &parts.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Drop for ConsumerRecords {
    fn drop(&mut self) {
        self.pool.put(std::mem::take(&mut self.contents));
    }
}

impl<'a> IntoIterator for &'a ConsumerRecords {
    type Item = ConsumerRecord<'a>;
    type IntoIter = ConsumerRecordsIter<'a>;

    fn into_iter(self) -> ConsumerRecordsIter<'a> {
        self.iter()
    }
}

impl Contents {
    pub(super) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Records and bytes so far.
    pub(super) fn size(&self) -> (u64, u64) {
        (self.records as u64, self.bytes)
    }

    /// Adds records of a partition. Those of one partition come in a row.
    pub(super) fn push(&mut self, tp: &TopicPartition, run: Run) {
        if self.parts.last().is_none_or(|part| part.tp != *tp) {
            self.parts.push(Part { tp: tp.clone(), first_run: self.runs.len(), next_offset: Offset::ZERO });
        }
        self.records += run.records as usize;
        self.bytes += run.end.saturating_sub(run.start) as u64;
        self.runs.push(Run { part: self.parts.len().saturating_sub(1), ..run });
    }

    /// Says where the reader of this partition goes on, if it has records here.
    pub(super) fn set_next_offset(&mut self, tp: &TopicPartition, next_offset: Offset) {
        if let Some(part) = self.parts.last_mut().filter(|part| part.tp == *tp) {
            part.next_offset = next_offset;
        }
    }

    fn clear(&mut self) {
        self.parts.clear();
        self.runs.clear();
        (self.records, self.bytes) = (0, 0);
    }
}

/// Lists to be used again.
#[derive(Debug)]
pub(super) struct ContentsPool {
    free: RankedMutex<Vec<Contents>>,
}

/// A caller seldom holds more results than this at a time.
const POOLED_MAX: usize = 4;

impl ContentsPool {
    pub(super) fn new() -> Arc<ContentsPool> {
        Arc::new(ContentsPool { free: RankedMutex::new(Rank::BufferPool, Vec::with_capacity(POOLED_MAX)) })
    }

    pub(super) fn take(&self) -> Contents {
        self.free.lock().pop().unwrap_or_default()
    }

    pub(super) fn put(&self, mut contents: Contents) {
        // Before the lock: a buffer that nobody holds any more goes back to its own pool.
        contents.clear();
        let mut free = self.free.lock();
        if free.len() < POOLED_MAX {
            free.push(contents);
        }
    }
}

/// The records of a [`ConsumerRecords`], or those of one partition.
#[derive(Debug, Clone)]
pub struct ConsumerRecordsIter<'a> {
    parts: &'a [Part],
    runs: std::slice::Iter<'a, Run>,
    open: Option<OpenRun<'a>>,
}

#[derive(Debug, Clone)]
struct OpenRun<'a> {
    tp: &'a TopicPartition,
    run: &'a Run,
    records: Records<'a>,
}

impl<'a> ConsumerRecordsIter<'a> {
    fn open_next(&mut self) -> Option<()> {
        let run = self.runs.next()?;
        let tp = &self.parts.get(run.part)?.tp;
        let records = Records::resume(&run.header, run.held.bytes(run.start, run.end), run.records);
        self.open = Some(OpenRun { tp, run, records });
        Some(())
    }
}

impl<'a> Iterator for ConsumerRecordsIter<'a> {
    type Item = ConsumerRecord<'a>;

    #[inline]
    fn next(&mut self) -> Option<ConsumerRecord<'a>> {
        loop {
            if let Some(OpenRun { tp, run, records }) = &mut self.open {
                let left = records.rest().len();
                if let Some(record) = records.next() {
                    return Some(ConsumerRecord { tp, run, left, record });
                }
            }
            self.open_next()?;
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let open = self.open.as_ref().map_or(0, |open| open.records.len());
        let left = self.runs.as_slice().iter().fold(open, |sum, run| sum.saturating_add(run.records as usize));
        (left, Some(left))
    }
}

impl ExactSizeIterator for ConsumerRecordsIter<'_> {}
impl FusedIterator for ConsumerRecordsIter<'_> {}

/// One record that a poll returned. It borrows the bytes that were fetched; [`detach`](Self::detach) gives one that does not.
#[derive(Clone)]
pub struct ConsumerRecord<'a> {
    tp: &'a TopicPartition,
    run: &'a Run,
    /// Bytes from where the record starts to the end of its run.
    left: usize,
    record: RecordRef<'a>,
}

impl<'a> ConsumerRecord<'a> {
    /// The partition that it was read from.
    pub fn topic_partition(&self) -> &'a TopicPartition {
        self.tp
    }

    /// The topic's name.
    pub fn topic(&self) -> &'a TopicName {
        &self.tp.topic
    }

    /// The partition's number.
    pub fn partition(&self) -> PartitionId {
        self.tp.partition
    }

    /// Its position in the partition.
    #[inline]
    pub fn offset(&self) -> Offset {
        self.record.offset()
    }

    /// Its time, whose meaning [`timestamp_type`](Self::timestamp_type) tells; `None` when it has none.
    #[inline]
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.record.timestamp()
    }

    /// Whose clock gave the time.
    pub fn timestamp_type(&self) -> TimestampType {
        self.run.header.timestamp_type()
    }

    /// The key; `None` (Kafka's null) is not the same as an empty one.
    #[inline]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.record.key()
    }

    /// The value; `None` is a tombstone in a compacted topic.
    #[inline]
    pub fn value(&self) -> Option<&'a [u8]> {
        self.record.value()
    }

    /// The headers in the order in which they were added; keys may repeat.
    pub fn headers(&self) -> RecordHeaders<'a> {
        self.record.headers()
    }

    /// The epoch of the leader that appended it.
    pub fn leader_epoch(&self) -> Option<LeaderEpoch> {
        self.run.header.leader_epoch()
    }

    /// Bytes of the record as encoded.
    pub fn size_in_bytes(&self) -> usize {
        self.record.size_in_bytes()
    }

    /// The same record on its own: it shares the fetched bytes, copies nothing, and keeps them in memory until it is dropped.
    #[must_use]
    pub fn detach(&self) -> DetachedRecord {
        let start = self.run.end.saturating_sub(self.left);
        let end = start.saturating_add(self.record.size_in_bytes());
        DetachedRecord::new(self.tp.clone(), self.run.held.clone(), self.run.header, (start, end), &self.record)
    }
}

impl fmt::Debug for ConsumerRecord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerRecord")
            .field("topic_partition", &format_args!("{}", self.tp))
            .field("offset", &self.offset())
            .field("timestamp", &self.timestamp())
            .field("key_bytes", &self.key().map(<[u8]>::len))
            .field("value_bytes", &self.value().map(<[u8]>::len))
            .finish_non_exhaustive()
    }
}
