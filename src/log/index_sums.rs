//! [P] Checksums of what a segment's indexes say below the recovery point. They stand in the witness beside it.
//!
//! Below the recovery point a log is opened without reading its batches again, so nothing but these would tell that an index of
//! the segment that still grows was lost, or replaced by another that looks right. Entries are only ever added, so that the
//! sums stay true while the files grow. A sealed segment has its seal. Kafka has no counterpart.

use crate::log::offset_index::OffsetIndex;
use crate::log::time_index::TimeIndex;
use crate::log::txn_index::{self, AbortedTransaction};
use crate::types::Offset;

/// Checksums of what a segment's indexes say below an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IndexSums {
    /// CRC-32 of the base offset, of the offset index entries, and of the time index entries up to the last of those.
    pub positions: u32,
    /// CRC-32 of the base offset and of the transaction index entries.
    pub transactions: u32,
}

/// [`IndexSums::positions`] below `up_to`. The time entry that closes a segment does not count: it goes when the segment grows.
pub(crate) fn positions(offsets: &OffsetIndex, times: &TimeIndex, up_to: Offset) -> u32 {
    let mut sum = hasher(offsets.base_offset());
    let kept = offsets.partition_point(|entry| entry.offset < up_to);
    sum.update(offsets.as_bytes().get(..kept * OffsetIndex::ENTRY_BYTES).unwrap_or_default());
    let end = kept.checked_sub(1).and_then(|last| offsets.entry(last)).map(|last| last.offset);
    let kept = times.partition_point(|entry| Some(entry.offset) <= end);
    sum.update(times.as_bytes().get(..kept * TimeIndex::ENTRY_BYTES).unwrap_or_default());
    sum.finalize()
}

/// [`IndexSums::transactions`] below `up_to`.
pub(crate) fn transactions(base: Offset, aborted: &[AbortedTransaction], up_to: Offset) -> u32 {
    let mut sum = hasher(base);
    for entry in aborted.iter().take_while(|entry| entry.last_offset < up_to) {
        sum.update(&txn_index::encode(entry));
    }
    sum.finalize()
}

fn hasher(base: Offset) -> crc32fast::Hasher {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&base.get().to_be_bytes());
    sum
}
