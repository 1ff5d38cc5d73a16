//! [P] The time index: up to which offset a segment holds only records that are not newer than a timestamp.
//!
//! An entry (T, offset) says that no record up to `offset` has a timestamp above T; `offset` is the last offset of the
//! batch that brought T.
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 0..8 | timestamp, int64 | the largest timestamp in the segment so far |
//! | 8..12 | relative offset, int32 | last offset of the batch that has it, minus the segment's base offset |
//!
//! Invariants: timestamps strictly ascend and are not negative, offsets do not descend; a [`TimeIndex`] never changes;
//! the entries of a [`TimeIndexBuilder`] that are marked as written are a prefix of its entries. Kafka: `TimeIndex`.

use std::fmt;
use std::sync::Arc;

use crate::error::{Damage, Error, Result};
use crate::types::{Offset, Timestamp};

/// Bytes of one entry.
const ENTRY_BYTES: usize = 12;

/// The largest relative offset that an entry can hold: Kafka reads it as signed.
const RELATIVE_MAX: u32 = i32::MAX.unsigned_abs();

/// One entry of a [`TimeIndex`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeIndexEntry {
    /// No record up to `offset` is newer.
    pub timestamp: Timestamp,
    /// The last offset of the batch that brought the timestamp.
    pub offset: Offset,
}

/// A segment's time index: checked, immutable, cheap to clone.
///
/// ```
/// use logstead::log::TimeIndex;
/// use logstead::types::{Offset, Timestamp};
///
/// // One entry of a segment with base offset 100: up to offset 109 nothing is newer than 5 ms.
/// let bytes = [0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 9];
/// let index = TimeIndex::from_bytes(Offset::from(100), bytes)?;
/// let found = index.lookup(Timestamp::from_millis(7)).map(|entry| entry.offset);
/// assert_eq!(found, Some(Offset::from(109)));
/// assert_eq!(index.lookup(Timestamp::from_millis(4)), None); // start at the segment's first record
/// # Ok::<(), logstead::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct TimeIndex {
    base_offset: Offset,
    bytes: Arc<[u8]>,
}

impl TimeIndex {
    /// Bytes of one entry in the file.
    pub const ENTRY_BYTES: usize = ENTRY_BYTES;

    /// Checks the bytes of a `.timeindex` file whose segment starts at `base_offset`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] at the first entry that is incomplete, lies outside the segment, or does not ascend.
    pub fn from_bytes(base_offset: Offset, bytes: impl Into<Arc<[u8]>>) -> Result<TimeIndex> {
        let bytes = bytes.into();
        check(base_offset, &bytes)?;
        Ok(TimeIndex { base_offset, bytes })
    }

    /// An index without entries.
    pub(crate) fn empty(base_offset: Offset) -> TimeIndex {
        TimeIndex { base_offset, bytes: Arc::from([]) }
    }

    /// The base offset of the segment.
    pub fn base_offset(&self) -> Offset {
        self.base_offset
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        entries(&self.bytes).len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The entry number `index`, from 0.
    pub fn entry(&self, index: usize) -> Option<TimeIndexEntry> {
        entries(&self.bytes).get(index).map(|raw| decode(self.base_offset, raw))
    }

    /// All entries in ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = TimeIndexEntry> + ExactSizeIterator {
        entries(&self.bytes).iter().map(|raw| decode(self.base_offset, raw))
    }

    /// How many entries there are before the first that does not fulfil a condition which holds for a prefix.
    pub(crate) fn partition_point(&self, mut holds: impl FnMut(TimeIndexEntry) -> bool) -> usize {
        entries(&self.bytes).partition_point(|raw| holds(decode(self.base_offset, raw)))
    }

    /// The entry with the lowest timestamp.
    pub fn first(&self) -> Option<TimeIndexEntry> {
        self.entry(0)
    }

    /// The entry with the highest timestamp.
    pub fn last(&self) -> Option<TimeIndexEntry> {
        last(self.base_offset, &self.bytes)
    }

    /// The entry with the largest timestamp that is not above `timestamp`.
    ///
    /// `None` means that nothing is known: a scan for `timestamp` starts at the segment's first record.
    pub fn lookup(&self, timestamp: Timestamp) -> Option<TimeIndexEntry> {
        lookup(self.base_offset, &self.bytes, timestamp)
    }

    /// The bytes as in the file.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes without the zeros that follow the last entry in a file that Kafka preallocated and did not trim.
    ///
    /// An all-zero entry reads as (timestamp 0, base offset). Behind another entry that cannot be one, since timestamps
    /// ascend. As the very first it would say that the batch at the base offset has one record, from the first
    /// millisecond of 1970; dropping that one only makes a search by time start where it starts anyway. So a file of
    /// nothing but zeros has no entries. Bytes that are not whole entries are left for
    /// [`from_bytes`](TimeIndex::from_bytes) to reject.
    ///
    /// ```
    /// use logstead::log::TimeIndex;
    /// let entry = [0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 9];
    /// let preallocated = [&entry[..], &[0; 10 * TimeIndex::ENTRY_BYTES]].concat();
    /// assert_eq!(TimeIndex::trim_zero_tail(&preallocated), entry);
    /// ```
    pub fn trim_zero_tail(bytes: &[u8]) -> &[u8] {
        let (whole, rest) = bytes.as_chunks::<ENTRY_BYTES>();
        if !rest.is_empty() {
            return bytes;
        }
        let kept = whole.iter().rposition(|raw| *raw != [0; ENTRY_BYTES]).map_or(0, |index| index + 1);
        bytes.get(..kept * ENTRY_BYTES).unwrap_or(bytes)
    }
}

impl fmt::Debug for TimeIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeIndex")
            .field("base_offset", &self.base_offset)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// The growing time index of an active segment: entries in memory, encoded, of which a prefix is in the file.
///
/// One slot of the configured size is reserved for the entry that sealing adds.
pub(crate) struct TimeIndexBuilder {
    base_offset: Offset,
    entries_max: usize,
    bytes: Vec<u8>,
    written_len: usize,
}

impl TimeIndexBuilder {
    /// An empty index; `segment_index_bytes` is the topic's `segment.index.bytes`.
    pub(crate) fn new(base_offset: Offset, segment_index_bytes: u64) -> TimeIndexBuilder {
        let index_bytes = usize::try_from(segment_index_bytes).unwrap_or(usize::MAX);
        TimeIndexBuilder { base_offset, entries_max: index_bytes / ENTRY_BYTES, bytes: Vec::new(), written_len: 0 }
    }

    /// Continues an index that was read from its file: all its entries count as written.
    pub(crate) fn from_index(index: &TimeIndex, segment_index_bytes: u64) -> TimeIndexBuilder {
        let mut builder = TimeIndexBuilder::new(index.base_offset, segment_index_bytes);
        builder.bytes.extend_from_slice(&index.bytes);
        builder.written_len = builder.bytes.len();
        builder
    }

    /// Adds the segment's largest timestamp so far and the last offset of the batch that has it; `false` when that is
    /// nothing new or the index is full. Leaving an entry out only makes searches by time scan further.
    ///
    /// # Errors
    /// [`Error::Internal`] when the timestamp or the offset is below the last entry's, or the offset does not fit.
    pub(crate) fn maybe_append(&mut self, timestamp: Timestamp, offset: Offset) -> Result<bool> {
        self.append(timestamp, offset, Reserve::Keep)
    }

    /// As [`maybe_append`](Self::maybe_append), for the entry that closes the segment: it may take the reserved slot.
    ///
    /// # Errors
    /// As [`maybe_append`](Self::maybe_append).
    pub(crate) fn append_final(&mut self, timestamp: Timestamp, offset: Offset) -> Result<bool> {
        self.append(timestamp, offset, Reserve::Use)
    }

    fn append(&mut self, timestamp: Timestamp, offset: Offset, reserve: Reserve) -> Result<bool> {
        let relative = offset.get().checked_sub(self.base_offset.get());
        let relative = relative.and_then(|relative| i32::try_from(relative).ok()).filter(|relative| *relative >= 0);
        let Some(relative) = relative else {
            return Err(Error::Internal { invariant: "time index entries lie within 2^31 of the segment's start" });
        };
        if let Some(last) = self.last()
            && (timestamp < last.timestamp || offset < last.offset)
        {
            return Err(Error::Internal { invariant: "time index entries ascend" });
        }
        let is_new = self.last().map_or(timestamp >= Timestamp::from_millis(0), |last| timestamp > last.timestamp);
        if !is_new || (reserve == Reserve::Keep && self.is_full()) {
            return Ok(false);
        }
        self.bytes.extend_from_slice(&timestamp.as_millis().to_be_bytes());
        self.bytes.extend_from_slice(&relative.to_be_bytes());
        Ok(true)
    }

    /// Whether only the reserved slot is left of what `segment.index.bytes` allows, so that the segment must be rolled.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full_without(0)
    }

    /// The same as if the last `count` entries were not there.
    pub(crate) fn is_full_without(&self, count: usize) -> bool {
        self.len().saturating_sub(count) >= self.entries_max.saturating_sub(1)
    }

    /// Drops the last entry. In the file it stays until another is written in its place: what it says remains true.
    pub(crate) fn remove_last(&mut self) {
        self.bytes.truncate(self.bytes.len().saturating_sub(ENTRY_BYTES));
        self.written_len = self.written_len.min(self.bytes.len());
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        entries(&self.bytes).len()
    }

    /// The entry with the highest timestamp.
    pub(crate) fn last(&self) -> Option<TimeIndexEntry> {
        last(self.base_offset, &self.bytes)
    }

    /// Drops all entries at or above `target`. When [`written_len`](Self::written_len) shrinks by that, the caller
    /// shortens the file to it.
    pub(crate) fn truncate_to(&mut self, target: Offset) {
        let kept = entries(&self.bytes).partition_point(|raw| decode(self.base_offset, raw).offset < target);
        self.bytes.truncate(kept * ENTRY_BYTES);
        self.written_len = self.written_len.min(self.bytes.len());
    }

    /// The encoded entries that are not in the file yet; they belong at [`written_len`](Self::written_len).
    pub(crate) fn unwritten(&self) -> &[u8] {
        self.bytes.get(self.written_len..).unwrap_or_default()
    }

    /// Bytes of the file that hold entries of this index.
    pub(crate) fn written_len(&self) -> u64 {
        self.written_len as u64
    }

    /// The first `len` bytes of [`unwritten`](Self::unwritten) are in the file now.
    pub(crate) fn mark_written(&mut self, len: usize) {
        self.written_len = self.written_len.saturating_add(len).min(self.bytes.len());
    }

    /// The entries so far, for readers.
    pub(crate) fn snapshot(&self) -> TimeIndex {
        TimeIndex { base_offset: self.base_offset, bytes: Arc::from(self.bytes.as_slice()) }
    }
}

impl fmt::Debug for TimeIndexBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeIndexBuilder")
            .field("base_offset", &self.base_offset)
            .field("len", &self.len())
            .field("written_len", &self.written_len)
            .finish_non_exhaustive()
    }
}

/// What to do with the slot that is reserved for the closing entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reserve {
    Keep,
    Use,
}

fn entries(bytes: &[u8]) -> &[[u8; ENTRY_BYTES]] {
    bytes.as_chunks::<ENTRY_BYTES>().0
}

/// The two fields as stored. The offset is unsigned: a negative value shows as one above [`RELATIVE_MAX`].
fn fields(raw: &[u8; ENTRY_BYTES]) -> (i64, u32) {
    let [t0, t1, t2, t3, t4, t5, t6, t7, a, b, c, d] = *raw;
    (i64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]), u32::from_be_bytes([a, b, c, d]))
}

fn decode(base_offset: Offset, raw: &[u8; ENTRY_BYTES]) -> TimeIndexEntry {
    let (timestamp, relative) = fields(raw);
    TimeIndexEntry { timestamp: Timestamp::from_millis(timestamp), offset: base_offset.plus(u64::from(relative)) }
}

fn last(base_offset: Offset, bytes: &[u8]) -> Option<TimeIndexEntry> {
    entries(bytes).last().map(|raw| decode(base_offset, raw))
}

fn lookup(base_offset: Offset, bytes: &[u8], timestamp: Timestamp) -> Option<TimeIndexEntry> {
    let not_above = entries(bytes).partition_point(|raw| decode(base_offset, raw).timestamp <= timestamp);
    entries(bytes).get(not_above.checked_sub(1)?).map(|raw| decode(base_offset, raw))
}

fn check(base_offset: Offset, bytes: &[u8]) -> Result<()> {
    let (whole, rest) = bytes.as_chunks::<ENTRY_BYTES>();
    let mut previous: Option<TimeIndexEntry> = None;
    let mut at = 0;
    for raw in whole {
        let (timestamp, relative) = fields(raw);
        let entry = decode(base_offset, raw);
        if timestamp < 0 || previous.is_some_and(|previous| entry.timestamp <= previous.timestamp) {
            return Err(Error::corrupt(at, Damage::Structure("the timestamps of a time index must ascend")));
        }
        let in_segment = relative <= RELATIVE_MAX && base_offset.checked_plus(u64::from(relative)).is_some();
        if !in_segment || previous.is_some_and(|previous| entry.offset < previous.offset) {
            let expected = previous.map_or(base_offset, |previous| previous.offset);
            // The stored field is signed: a negative one stands for an offset below the base.
            let found = base_offset.get().saturating_add(i64::from(relative.cast_signed()));
            return Err(Error::corrupt(at, Damage::Offset { expected, found }));
        }
        previous = Some(entry);
        at += ENTRY_BYTES as u64;
    }
    if !rest.is_empty() {
        let (needed, available) = (ENTRY_BYTES as u64, rest.len() as u64);
        return Err(Error::corrupt(at, Damage::Truncated { needed, available }));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn offset(raw: i64) -> Offset {
        Offset::new(raw).unwrap()
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn builder(entries: &[(i64, i64)]) -> TimeIndexBuilder {
        let mut builder = TimeIndexBuilder::new(offset(100), 1024);
        for &(timestamp, last) in entries {
            assert!(builder.maybe_append(at(timestamp), offset(last)).unwrap());
        }
        builder
    }

    fn damage(base_offset: i64, bytes: &[u8]) -> (u64, Damage) {
        match TimeIndex::from_bytes(offset(base_offset), bytes) {
            Err(Error::Corrupt(corrupt)) => (corrupt.position, corrupt.what),
            other => panic!("damage expected, got {other:?}"),
        }
    }

    #[test]
    fn entries_are_timestamp_and_relative_offset_in_big_endian() {
        let builder = builder(&[(1_700_000_000_000, 119)]);
        assert_eq!(builder.unwritten(), [0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 0, 0, 0, 0, 19]);
    }

    #[test]
    fn lookup_finds_the_last_entry_not_newer_than_the_timestamp() {
        let index = builder(&[(5, 109), (8, 119)]).snapshot();
        let found = |timestamp| index.lookup(at(timestamp)).map(|entry| entry.offset.get());
        assert_eq!([-1, 4, 5, 7, 8, i64::MAX].map(found), [None, None, Some(109), Some(109), Some(119), Some(119)]);
        assert_eq!((index.first(), index.last()), (index.entry(0), index.entry(1)));
    }

    #[test]
    fn a_timestamp_that_is_not_newer_adds_nothing() {
        let mut builder = builder(&[]);
        assert!(!builder.maybe_append(at(-1), offset(105)).unwrap());
        assert!(builder.maybe_append(at(0), offset(105)).unwrap());
        assert!(!builder.maybe_append(at(0), offset(106)).unwrap());
        assert_eq!(builder.len(), 1);
    }

    #[test]
    fn entries_that_descend_or_do_not_fit_are_refused() {
        let mut builder = builder(&[(5, 109)]);
        for (timestamp, last) in [(4, 110), (6, 108), (6, 99), (6, 101 + i64::from(i32::MAX))] {
            let refused = builder.maybe_append(at(timestamp), offset(last));
            assert!(matches!(refused, Err(Error::Internal { .. })), "{timestamp} {last}");
        }
        assert!(builder.maybe_append(at(6), offset(109)).unwrap());
    }

    #[test]
    fn the_last_slot_is_kept_for_the_final_entry() {
        let mut builder = TimeIndexBuilder::new(Offset::ZERO, 35);
        assert!(!builder.is_full());
        assert!(builder.maybe_append(at(1), offset(1)).unwrap());
        assert!(builder.is_full());
        assert!(!builder.maybe_append(at(2), offset(2)).unwrap());
        assert!(builder.append_final(at(2), offset(2)).unwrap());
        assert!(!builder.append_final(at(2), offset(2)).unwrap());
        assert_eq!(builder.len(), 2);
    }

    #[test]
    fn truncation_below_what_is_written_shortens_the_written_part() {
        let mut builder = builder(&[(5, 109), (6, 119), (7, 129)]);
        builder.mark_written(24);
        builder.truncate_to(offset(119));
        assert_eq!((builder.written_len(), builder.len()), (12, 1));
        assert!(builder.maybe_append(at(6), offset(115)).unwrap());
        assert_eq!(builder.unwritten(), [0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 15]);
    }

    #[test]
    fn an_index_read_from_its_file_counts_as_written() {
        let mut builder = TimeIndexBuilder::from_index(&builder(&[(5, 109)]).snapshot(), 1024);
        assert!(builder.unwritten().is_empty());
        assert!(builder.maybe_append(at(6), offset(119)).unwrap());
        assert_eq!(builder.written_len(), 12);
    }

    #[test]
    fn damage_is_reported_at_the_entry() {
        let good = [0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 9];
        let with =
            |timestamp: i64, relative: i32| [&good[..], &timestamp.to_be_bytes(), &relative.to_be_bytes()].concat();
        let ascend = Damage::Structure("the timestamps of a time index must ascend");
        assert_eq!(damage(100, &with(5, 10)), (12, ascend));
        assert_eq!(damage(100, &with(-1, 10)), (12, ascend));
        assert_eq!(damage(100, &with(6, 8)), (12, Damage::Offset { expected: offset(109), found: 108 }));
        assert_eq!(damage(100, &with(6, -1)), (12, Damage::Offset { expected: offset(109), found: 99 }));
        assert_eq!(damage(100, &good[..11]), (0, Damage::Truncated { needed: 12, available: 11 }));
        assert!(matches!(damage(i64::MAX, &good), (0, Damage::Offset { .. })));
    }

    #[test]
    fn preallocated_zeros_are_not_entries() {
        let entry = [0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 9];
        assert_eq!(TimeIndex::trim_zero_tail(&[entry, [0; 12], [0; 12]].concat()), entry);
        assert!(TimeIndex::trim_zero_tail(&[0; 120]).is_empty());
        assert_eq!(TimeIndex::trim_zero_tail(&[0; 13]), [0; 13]);
    }

    proptest! {
        #[test]
        fn lookup_equals_a_linear_scan(steps in prop::collection::vec((1..50i64, 0..50i64), 0..40), target in 0..2500i64) {
            let mut builder = TimeIndexBuilder::new(offset(100), 1 << 20);
            let (mut timestamp, mut last) = (0, 100);
            for (millis, records) in steps {
                (timestamp, last) = (timestamp + millis, last + records);
                builder.maybe_append(at(timestamp), offset(last)).unwrap();
            }
            let index = TimeIndex::from_bytes(offset(100), builder.unwritten()).unwrap();
            let scanned = index.iter().rfind(|entry| entry.timestamp <= at(target));
            prop_assert_eq!(index.lookup(at(target)), scanned);
            prop_assert_eq!(builder.snapshot().lookup(at(target)), scanned);
            let below: Vec<_> = index.iter().filter(|entry| entry.offset < offset(target)).collect();
            builder.truncate_to(offset(target));
            prop_assert_eq!(builder.snapshot().iter().collect::<Vec<_>>(), below);
        }

        #[test]
        fn arbitrary_bytes_are_checked_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), base in 0..=i64::MAX) {
            if let Ok(index) = TimeIndex::from_bytes(offset(base), TimeIndex::trim_zero_tail(&bytes)) {
                prop_assert!(index.iter().is_sorted_by(|a, b| a.timestamp < b.timestamp && a.offset <= b.offset));
            }
        }
    }
}
