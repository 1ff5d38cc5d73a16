//! [P] The offset index: where in the `.log` the batch that ends at an offset starts.
//!
//! An entry names the **last** offset of a batch and the position of that batch's **first** byte.
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 0..4 | relative offset, int32 | last offset of the batch, minus the segment's base offset |
//! | 4..8 | position, int32 | first byte of the batch in the `.log` |
//!
//! Invariants: offsets and positions strictly ascend and are not negative; an [`OffsetIndex`] never changes; the entries
//! of an [`OffsetIndexBuilder`] that are marked as written are a prefix of its entries. Kafka: `OffsetIndex`.

use std::fmt;
use std::sync::Arc;

use crate::error::{Damage, Error, Result};
use crate::types::Offset;

/// Bytes of one entry.
const ENTRY_BYTES: usize = 8;

/// The largest relative offset and the largest position that an entry can hold: Kafka reads both as signed.
const FIELD_MAX: u32 = i32::MAX.unsigned_abs();

/// One entry of an [`OffsetIndex`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetIndexEntry {
    /// The last offset of the batch.
    pub offset: Offset,
    /// The batch's first byte in the `.log`, in bytes from its start.
    pub position: u64,
}

/// A segment's offset index: checked, immutable, cheap to clone.
///
/// ```
/// use logstead::log::OffsetIndex;
/// use logstead::types::Offset;
///
/// // Two entries of a segment with base offset 100: (109, position 4200) and (119, position 8400).
/// let bytes = [[0, 0, 0, 9, 0, 0, 0x10, 0x68], [0, 0, 0, 19, 0, 0, 0x20, 0xd0]].concat();
/// let index = OffsetIndex::from_bytes(Offset::from(100), bytes)?;
/// assert_eq!(index.len(), 2);
/// assert_eq!(index.lookup(Offset::from(118)).map(|entry| entry.position), Some(4200));
/// assert_eq!(index.lookup(Offset::from(108)), None); // start at the segment's first byte
/// # Ok::<(), logstead::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct OffsetIndex {
    base_offset: Offset,
    bytes: Arc<[u8]>,
}

impl OffsetIndex {
    /// Bytes of one entry in the file.
    pub const ENTRY_BYTES: usize = ENTRY_BYTES;

    /// Checks the bytes of an `.index` file whose segment starts at `base_offset`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] at the first entry that is incomplete, lies outside the segment, or does not ascend.
    pub fn from_bytes(base_offset: Offset, bytes: impl Into<Arc<[u8]>>) -> Result<OffsetIndex> {
        let bytes = bytes.into();
        check(base_offset, &bytes)?;
        Ok(OffsetIndex { base_offset, bytes })
    }

    /// An index without entries.
    pub(crate) fn empty(base_offset: Offset) -> OffsetIndex {
        OffsetIndex { base_offset, bytes: Arc::from([]) }
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
    pub fn entry(&self, index: usize) -> Option<OffsetIndexEntry> {
        entries(&self.bytes).get(index).map(|raw| decode(self.base_offset, raw))
    }

    /// All entries in ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = OffsetIndexEntry> + ExactSizeIterator {
        entries(&self.bytes).iter().map(|raw| decode(self.base_offset, raw))
    }

    /// How many entries there are before the first that does not fulfil a condition which holds for a prefix.
    pub(crate) fn partition_point(&self, mut holds: impl FnMut(OffsetIndexEntry) -> bool) -> usize {
        entries(&self.bytes).partition_point(|raw| holds(decode(self.base_offset, raw)))
    }

    /// The entry with the lowest offset.
    pub fn first(&self) -> Option<OffsetIndexEntry> {
        self.entry(0)
    }

    /// The entry with the highest offset.
    pub fn last(&self) -> Option<OffsetIndexEntry> {
        last(self.base_offset, &self.bytes)
    }

    /// The entry with the largest offset that is not above `target`.
    ///
    /// `None` means that nothing is known: a scan for `target` starts at the segment's first byte.
    pub fn lookup(&self, target: Offset) -> Option<OffsetIndexEntry> {
        lookup(self.base_offset, &self.bytes, target)
    }

    /// The bytes as in the file.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes without the zeros that follow the last entry in a file that Kafka preallocated and did not trim.
    ///
    /// An all-zero entry reads as (base offset, position 0). Behind another entry that cannot be one, since offsets
    /// ascend. As the very first it may be real (a first batch of one record), but it says no more than an empty index
    /// does, whose lookups start at position 0 as well, while a padding entry that is taken for real names a wrong batch.
    /// So a file of nothing but zeros has no entries. Bytes that are not whole entries are left for
    /// [`from_bytes`](OffsetIndex::from_bytes) to reject.
    ///
    /// ```
    /// use logstead::log::OffsetIndex;
    /// let entry = [0, 0, 0, 9, 0, 0, 0x10, 0x68];
    /// let preallocated = [&entry[..], &[0; 10 * OffsetIndex::ENTRY_BYTES]].concat();
    /// assert_eq!(OffsetIndex::trim_zero_tail(&preallocated), entry);
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

impl fmt::Debug for OffsetIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OffsetIndex")
            .field("base_offset", &self.base_offset)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// The growing offset index of an active segment: entries in memory, encoded, of which a prefix is in the file.
pub(crate) struct OffsetIndexBuilder {
    base_offset: Offset,
    entries_max: usize,
    bytes: Vec<u8>,
    written_len: usize,
}

impl OffsetIndexBuilder {
    /// An empty index; `segment_index_bytes` is the topic's `segment.index.bytes`.
    pub(crate) fn new(base_offset: Offset, segment_index_bytes: u64) -> OffsetIndexBuilder {
        let index_bytes = usize::try_from(segment_index_bytes).unwrap_or(usize::MAX);
        OffsetIndexBuilder { base_offset, entries_max: index_bytes / ENTRY_BYTES, bytes: Vec::new(), written_len: 0 }
    }

    /// Continues an index that was read from its file: all its entries count as written.
    pub(crate) fn from_index(index: &OffsetIndex, segment_index_bytes: u64) -> OffsetIndexBuilder {
        let mut builder = OffsetIndexBuilder::new(index.base_offset, segment_index_bytes);
        builder.bytes.extend_from_slice(&index.bytes);
        builder.written_len = builder.bytes.len();
        builder
    }

    /// Adds the batch that ends at `offset` and starts at `position`.
    ///
    /// A full index still takes entries: being full is a reason to roll before the next append, and one append may hold
    /// many batches.
    ///
    /// # Errors
    /// [`Error::Internal`] when the entry does not ascend or does not fit; the log checks its batches before it gets here.
    pub(crate) fn append(&mut self, offset: Offset, position: u64) -> Result<()> {
        if let Some(last) = self.last()
            && (offset <= last.offset || position <= last.position)
        {
            return Err(Error::Internal { invariant: "offset index entries ascend" });
        }
        let relative = offset.get().checked_sub(self.base_offset.get());
        let relative = relative.and_then(|relative| i32::try_from(relative).ok()).filter(|relative| *relative >= 0);
        let (Some(relative), Ok(position)) = (relative, i32::try_from(position)) else {
            return Err(Error::Internal { invariant: "offset index entries lie within 2^31 of the segment's start" });
        };
        self.bytes.extend_from_slice(&relative.to_be_bytes());
        self.bytes.extend_from_slice(&position.to_be_bytes());
        Ok(())
    }

    /// Whether the index has as many entries as `segment.index.bytes` allows, so that the segment must be rolled.
    pub(crate) fn is_full(&self) -> bool {
        self.len() >= self.entries_max
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        entries(&self.bytes).len()
    }

    /// As [`OffsetIndex::lookup`].
    pub(crate) fn lookup(&self, target: Offset) -> Option<OffsetIndexEntry> {
        lookup(self.base_offset, &self.bytes, target)
    }

    /// The entry with the highest offset.
    pub(crate) fn last(&self) -> Option<OffsetIndexEntry> {
        last(self.base_offset, &self.bytes)
    }

    /// Drops all entries at or above `target`. When [`written_len`](Self::written_len) shrinks by that, the caller
    /// shortens the file to it.
    pub(crate) fn truncate_to(&mut self, target: Offset) {
        let kept = count_below(self.base_offset, &self.bytes, target);
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
    pub(crate) fn snapshot(&self) -> OffsetIndex {
        OffsetIndex { base_offset: self.base_offset, bytes: Arc::from(self.bytes.as_slice()) }
    }
}

impl fmt::Debug for OffsetIndexBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OffsetIndexBuilder")
            .field("base_offset", &self.base_offset)
            .field("len", &self.len())
            .field("written_len", &self.written_len)
            .finish_non_exhaustive()
    }
}

fn entries(bytes: &[u8]) -> &[[u8; ENTRY_BYTES]] {
    bytes.as_chunks::<ENTRY_BYTES>().0
}

/// The two fields as stored. Unsigned: a negative value shows as one above [`FIELD_MAX`].
fn fields(raw: &[u8; ENTRY_BYTES]) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = *raw;
    (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
}

fn decode(base_offset: Offset, raw: &[u8; ENTRY_BYTES]) -> OffsetIndexEntry {
    let (relative, position) = fields(raw);
    OffsetIndexEntry { offset: base_offset.plus(u64::from(relative)), position: u64::from(position) }
}

fn last(base_offset: Offset, bytes: &[u8]) -> Option<OffsetIndexEntry> {
    entries(bytes).last().map(|raw| decode(base_offset, raw))
}

fn lookup(base_offset: Offset, bytes: &[u8], target: Offset) -> Option<OffsetIndexEntry> {
    let not_above = entries(bytes).partition_point(|raw| decode(base_offset, raw).offset <= target);
    entries(bytes).get(not_above.checked_sub(1)?).map(|raw| decode(base_offset, raw))
}

/// How many entries have an offset below `target`.
fn count_below(base_offset: Offset, bytes: &[u8], target: Offset) -> usize {
    entries(bytes).partition_point(|raw| decode(base_offset, raw).offset < target)
}

fn check(base_offset: Offset, bytes: &[u8]) -> Result<()> {
    let (whole, rest) = bytes.as_chunks::<ENTRY_BYTES>();
    let mut previous: Option<OffsetIndexEntry> = None;
    let mut at = 0;
    for raw in whole {
        let (relative, position) = fields(raw);
        let in_segment = relative <= FIELD_MAX && base_offset.checked_plus(u64::from(relative)).is_some();
        let entry = decode(base_offset, raw);
        if !in_segment || previous.is_some_and(|previous| entry.offset <= previous.offset) {
            let expected = previous.map_or(base_offset, |previous| previous.offset.next());
            // The stored field is signed: a negative one stands for an offset below the base.
            let found = base_offset.get().saturating_add(i64::from(relative.cast_signed()));
            return Err(Error::corrupt(at, Damage::Offset { expected, found }));
        }
        if position > FIELD_MAX || previous.is_some_and(|previous| entry.position <= previous.position) {
            return Err(Error::corrupt(at, Damage::Structure("the positions of an offset index must ascend")));
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

    fn builder(entries: &[(i64, u64)]) -> OffsetIndexBuilder {
        let mut builder = OffsetIndexBuilder::new(offset(100), 1024);
        for &(last, position) in entries {
            builder.append(offset(last), position).unwrap();
        }
        builder
    }

    fn damage(base_offset: i64, bytes: &[u8]) -> (u64, Damage) {
        match OffsetIndex::from_bytes(offset(base_offset), bytes) {
            Err(Error::Corrupt(corrupt)) => (corrupt.position, corrupt.what),
            other => panic!("damage expected, got {other:?}"),
        }
    }

    #[test]
    fn entries_are_relative_offset_and_position_in_big_endian() {
        let builder = builder(&[(109, 0x1068), (119, 0x20d0)]);
        assert_eq!(builder.unwritten(), [0, 0, 0, 9, 0, 0, 0x10, 0x68, 0, 0, 0, 19, 0, 0, 0x20, 0xd0]);
    }

    #[test]
    fn lookup_finds_the_last_entry_not_above_the_target() {
        let index = builder(&[(109, 10), (119, 20)]).snapshot();
        let position = |target| index.lookup(offset(target)).map(|entry| entry.position);
        assert_eq!([108, 109, 118, 119, i64::MAX].map(position), [None, Some(10), Some(10), Some(20), Some(20)]);
        assert_eq!(index.first().map(|entry| entry.position), Some(10));
        assert_eq!(index.last().map(|entry| entry.position), Some(20));
    }

    #[test]
    fn entries_that_do_not_ascend_are_refused() {
        let mut builder = builder(&[(109, 10)]);
        assert!(matches!(builder.append(offset(109), 20), Err(Error::Internal { .. })));
        assert!(matches!(builder.append(offset(110), 10), Err(Error::Internal { .. })));
        assert_eq!(builder.len(), 1);
    }

    #[test]
    fn entries_that_do_not_fit_are_refused() {
        let mut builder = builder(&[]);
        for (last, position) in [(99, 0), (101 + i64::from(i32::MAX), 0), (100, 1 << 31)] {
            assert!(matches!(builder.append(offset(last), position), Err(Error::Internal { .. })), "{last} {position}");
        }
        builder.append(offset(100 + i64::from(i32::MAX)), (1 << 31) - 1).unwrap();
    }

    #[test]
    fn an_index_is_full_at_the_configured_size() {
        let mut builder = OffsetIndexBuilder::new(Offset::ZERO, 17);
        builder.append(offset(1), 1).unwrap();
        assert!(!builder.is_full());
        builder.append(offset(2), 2).unwrap();
        assert!(builder.is_full());
    }

    #[test]
    fn truncation_below_what_is_written_shortens_the_written_part() {
        let mut builder = builder(&[(109, 10), (119, 20), (129, 30)]);
        builder.mark_written(16);
        builder.truncate_to(offset(129));
        assert_eq!((builder.written_len(), builder.unwritten().len()), (16, 0));
        builder.truncate_to(offset(110));
        assert_eq!((builder.written_len(), builder.len()), (8, 1));
        builder.append(offset(115), 15).unwrap();
        assert_eq!(builder.unwritten(), [0, 0, 0, 15, 0, 0, 0, 15]);
    }

    #[test]
    fn an_index_read_from_its_file_counts_as_written() {
        let index = builder(&[(109, 10)]).snapshot();
        let mut builder = OffsetIndexBuilder::from_index(&index, 1024);
        assert!(builder.unwritten().is_empty());
        builder.append(offset(119), 20).unwrap();
        assert_eq!(builder.written_len(), 8);
        builder.mark_written(8);
        assert!(builder.unwritten().is_empty());
    }

    #[test]
    fn damage_is_reported_at_the_entry() {
        let good = [0, 0, 0, 9, 0, 0, 0, 50];
        let with = |second: [u8; 8]| [good, second].concat();
        let offset_damage = |found| Damage::Offset { expected: offset(110), found };
        let ascend = Damage::Structure("the positions of an offset index must ascend");
        assert_eq!(damage(100, &with([0, 0, 0, 9, 0, 0, 0, 60])), (8, offset_damage(109)));
        assert_eq!(damage(100, &with([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 60])), (8, offset_damage(99)));
        assert_eq!(damage(100, &with([0, 0, 0, 10, 0, 0, 0, 50])), (8, ascend));
        assert_eq!(damage(100, &with([0, 0, 0, 10, 0x80, 0, 0, 0])), (8, ascend));
        assert_eq!(damage(100, &good[..7]), (0, Damage::Truncated { needed: 8, available: 7 }));
        assert!(matches!(damage(i64::MAX, &good), (0, Damage::Offset { .. })));
    }

    #[test]
    fn preallocated_zeros_are_not_entries() {
        let entry = [0, 0, 0, 9, 0, 0, 0, 50];
        assert_eq!(OffsetIndex::trim_zero_tail(&[entry, [0; 8], [0; 8]].concat()), entry);
        assert_eq!(OffsetIndex::trim_zero_tail(&[[0; 8], entry, [0; 8]].concat()), [[0; 8], entry].concat());
        assert!(OffsetIndex::trim_zero_tail(&[0; 64]).is_empty());
        assert_eq!(OffsetIndex::trim_zero_tail(&[0; 9]), [0; 9]);
    }

    proptest! {
        #[test]
        fn lookup_equals_a_linear_scan(steps in prop::collection::vec((1..50i64, 1..50u64), 0..40), target in 0..2500i64) {
            let mut builder = OffsetIndexBuilder::new(offset(100), 1 << 20);
            let (mut last, mut position) = (99, 0);
            for (records, size) in steps {
                (last, position) = (last + records, position + size);
                builder.append(offset(last), position).unwrap();
            }
            let index = OffsetIndex::from_bytes(offset(100), builder.unwritten()).unwrap();
            let scanned = index.iter().rfind(|entry| entry.offset <= offset(target));
            prop_assert_eq!(index.lookup(offset(target)), scanned);
            prop_assert_eq!(builder.lookup(offset(target)), scanned);
            let below: Vec<_> = index.iter().filter(|entry| entry.offset < offset(target)).collect();
            builder.truncate_to(offset(target));
            prop_assert_eq!(builder.snapshot().iter().collect::<Vec<_>>(), below);
        }

        #[test]
        fn arbitrary_bytes_are_checked_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), base in 0..=i64::MAX) {
            if let Ok(index) = OffsetIndex::from_bytes(offset(base), OffsetIndex::trim_zero_tail(&bytes)) {
                prop_assert!(index.iter().is_sorted_by(|a, b| a.offset < b.offset && a.position < b.position));
            }
        }
    }
}
