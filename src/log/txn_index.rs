//! [P] The transaction index: the aborted transactions whose marker is in a segment.
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 0..2 | version, int16 | 0 |
//! | 2..10 | producer id, int64 | whose transaction it was |
//! | 10..18 | first offset, int64 | first record of the transaction, often in an earlier segment |
//! | 18..26 | last offset, int64 | the abort marker |
//! | 26..34 | last stable offset, int64 | as it was right after the abort |
//!
//! Invariants: last offsets strictly ascend and none is below the segment's base offset. Kafka: `TransactionIndex`,
//! `AbortedTxn`.

use std::fmt;
use std::sync::Arc;

use crate::error::{Damage, Error, Result};
use crate::types::{Offset, ProducerId};

/// Bytes of one entry.
pub(crate) const ENTRY_BYTES: usize = 34;

/// The only version of an entry.
const VERSION: i16 = 0;

/// A transaction that ended with an abort marker: its records are hidden from readers of committed data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose transaction it was.
    pub producer_id: ProducerId,
    /// The offset of its first record in this partition.
    pub first_offset: Offset,
    /// The offset of its abort marker.
    pub last_offset: Offset,
    /// The last stable offset right after the abort: no aborted transaction of a later entry starts below it.
    pub last_stable_offset: Offset,
}

/// A segment's transaction index: checked, immutable, cheap to clone.
///
/// ```
/// use logstead::log::TransactionIndex;
/// use logstead::types::Offset;
///
/// let mut bytes = vec![0, 0]; // version, then producer 7, records from 1000, marker at 1010, last stable offset 1005
/// for field in [7_i64, 1000, 1010, 1005] {
///     bytes.extend(field.to_be_bytes());
/// }
/// let index = TransactionIndex::from_bytes(Offset::from(900), bytes)?;
/// let mut aborted = Vec::new();
/// let complete = index.collect(Offset::from(1001), Offset::from(1004), &mut aborted);
/// assert!(complete); // later segments have nothing to add
/// assert_eq!(aborted[0].last_offset, Offset::from(1010));
/// # Ok::<(), logstead::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct TransactionIndex {
    entries: Arc<[AbortedTransaction]>,
}

impl TransactionIndex {
    /// Bytes of one entry in the file.
    pub const ENTRY_BYTES: usize = ENTRY_BYTES;

    /// Checks and decodes the bytes of a `.txnindex` file whose segment starts at `base_offset`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] at the first entry that is incomplete, of an unknown version, impossible, below the segment, or
    /// out of order.
    pub fn from_bytes(base_offset: Offset, bytes: impl AsRef<[u8]>) -> Result<TransactionIndex> {
        let (whole, rest) = bytes.as_ref().as_chunks::<ENTRY_BYTES>();
        let mut entries = Vec::with_capacity(whole.len());
        let mut at = 0;
        let mut lowest = base_offset;
        for raw in whole {
            let entry = decode(raw).map_err(|what| Error::corrupt(at, what))?;
            if entry.last_offset < lowest {
                let found = entry.last_offset.get();
                return Err(Error::corrupt(at, Damage::Offset { expected: lowest, found }));
            }
            lowest = entry.last_offset.next();
            entries.push(entry);
            at += ENTRY_BYTES as u64;
        }
        if !rest.is_empty() {
            let (needed, available) = (ENTRY_BYTES as u64, rest.len() as u64);
            return Err(Error::corrupt(at, Damage::Truncated { needed, available }));
        }
        Ok(TransactionIndex { entries: entries.into() })
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All entries, by ascending marker offset.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = AbortedTransaction> + ExactSizeIterator {
        self.entries.iter().copied()
    }

    /// Adds the aborted transactions that may concern a fetch of `[fetch_offset, upper_bound)` to `found`.
    ///
    /// `true` means that the answer is complete; otherwise the index of the next segment must be asked as well.
    pub fn collect(&self, fetch_offset: Offset, upper_bound: Offset, found: &mut Vec<AbortedTransaction>) -> bool {
        for entry in self.iter() {
            if entry.last_offset >= fetch_offset && entry.first_offset < upper_bound {
                found.push(entry);
            }
            if entry.last_stable_offset >= upper_bound {
                return true;
            }
        }
        false
    }
}

impl fmt::Debug for TransactionIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransactionIndex").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// One entry as in the file.
pub(crate) fn encode(entry: &AbortedTransaction) -> [u8; ENTRY_BYTES] {
    let mut raw = [0; ENTRY_BYTES];
    let fields =
        [entry.producer_id.get(), entry.first_offset.get(), entry.last_offset.get(), entry.last_stable_offset.get()];
    let (version, rest) = raw.split_at_mut(size_of_val(&VERSION));
    version.copy_from_slice(&VERSION.to_be_bytes());
    for (to, field) in rest.as_chunks_mut::<8>().0.iter_mut().zip(fields) {
        *to = field.to_be_bytes();
    }
    raw
}

fn decode(raw: &[u8; ENTRY_BYTES]) -> Result<AbortedTransaction, Damage> {
    let impossible = Damage::Structure("an entry of a transaction index is impossible");
    let (version, fields) = raw.split_first_chunk::<2>().ok_or(impossible)?;
    let version = i16::from_be_bytes(*version);
    if version != VERSION {
        return Err(Damage::Magic { stored: i64::from(version) });
    }
    let ([producer_id, first, last, last_stable], []) = fields.as_chunks::<8>() else {
        return Err(impossible);
    };
    let offset = |raw: &[u8; 8]| Offset::new(i64::from_be_bytes(*raw)).ok_or(impossible);
    let entry = AbortedTransaction {
        producer_id: ProducerId::new(i64::from_be_bytes(*producer_id)).ok_or(impossible)?,
        first_offset: offset(first)?,
        last_offset: offset(last)?,
        last_stable_offset: offset(last_stable)?,
    };
    if entry.first_offset < entry.last_offset { Ok(entry) } else { Err(impossible) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn offset(raw: i64) -> Offset {
        Offset::new(raw).unwrap()
    }

    fn aborted(producer_id: i64, first: i64, last: i64, last_stable: i64) -> AbortedTransaction {
        AbortedTransaction {
            producer_id: ProducerId::new(producer_id).unwrap(),
            first_offset: offset(first),
            last_offset: offset(last),
            last_stable_offset: offset(last_stable),
        }
    }

    fn bytes_of(entries: &[AbortedTransaction]) -> Vec<u8> {
        entries.iter().flat_map(encode).collect()
    }

    fn index(entries: &[AbortedTransaction]) -> TransactionIndex {
        TransactionIndex::from_bytes(Offset::ZERO, bytes_of(entries)).unwrap()
    }

    fn damage(base_offset: i64, bytes: &[u8]) -> (u64, Damage) {
        match TransactionIndex::from_bytes(offset(base_offset), bytes) {
            Err(Error::Corrupt(corrupt)) => (corrupt.position, corrupt.what),
            other => panic!("damage expected, got {other:?}"),
        }
    }

    #[test]
    fn an_entry_has_kafkas_bytes() {
        let golden = [
            0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 3, 0xe8, 0, 0, 0, 0, 0, 0, 3, 0xf2, 0, 0, 0, 0, 0, 0, 3,
            0xed,
        ];
        let entry = aborted(7, 1000, 1010, 1005);
        assert_eq!(encode(&entry), golden);
        assert_eq!(TransactionIndex::from_bytes(offset(900), golden).unwrap().iter().collect::<Vec<_>>(), [entry]);
    }

    #[test]
    fn collect_takes_what_overlaps_the_fetch_and_stops_when_it_is_complete() {
        let index = index(&[aborted(1, 0, 4, 3), aborted(2, 3, 9, 10), aborted(3, 20, 30, 31)]);
        let collect = |from, upper| {
            let mut found = Vec::new();
            let complete = index.collect(offset(from), offset(upper), &mut found);
            (found.iter().map(|entry| entry.producer_id.get()).collect::<Vec<_>>(), complete)
        };
        assert_eq!(collect(0, 3), (vec![1], true));
        assert_eq!(collect(0, 10), (vec![1, 2], true));
        assert_eq!(collect(5, 10), (vec![2], true));
        assert_eq!(collect(9, 10), (vec![2], true), "the marker itself is part of the transaction");
        assert_eq!(collect(10, 25), (vec![3], true));
        assert_eq!(collect(10, 40), (vec![3], false));
        assert_eq!(collect(31, 40), (vec![], false));
    }

    #[test]
    fn damage_is_reported_at_the_entry() {
        let two = bytes_of(&[aborted(1, 0, 4, 3), aborted(2, 3, 4, 10)]);
        assert_eq!(damage(0, &two), (34, Damage::Offset { expected: offset(5), found: 4 }));
        assert_eq!(damage(5, &two), (0, Damage::Offset { expected: offset(5), found: 4 }));
        assert_eq!(damage(0, &two[..60]), (34, Damage::Truncated { needed: 34, available: 26 }));
        let mut newer = encode(&aborted(1, 0, 4, 3));
        newer[1] = 1;
        assert_eq!(damage(0, &newer), (0, Damage::Magic { stored: 1 }));
        let mut negative = encode(&aborted(1, 0, 4, 3));
        negative[10] = 0xff;
        assert!(matches!(damage(0, &negative), (0, Damage::Structure(_))));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_checked_without_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..140), plausible: bool) {
            if plausible {
                for entry in bytes.as_chunks_mut::<ENTRY_BYTES>().0 {
                    for at in [0, 1, 2, 10, 18, 26] {
                        entry[at] = 0;
                    }
                }
            }
            if let Ok(index) = TransactionIndex::from_bytes(Offset::ZERO, &bytes) {
                prop_assert_eq!(bytes_of(&index.iter().collect::<Vec<_>>()), bytes);
            }
        }
    }
}
