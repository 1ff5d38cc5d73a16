//! [P] Kafka's record batches: reading and checking them, and building those of magic 2. What Kafka wrote before those
//! (magic 0 and 1) is read by `legacy`, as if it were magic 2.
//!
//! All integers are big-endian two's complement. A batch is one header and its records:
//!
//! | offset | size | field | meaning |
//! |---|---|---|---|
//! | 0 | 8 | base_offset | offset of the first record appended; compaction keeps it |
//! | 8 | 4 | batch_length | bytes behind this field |
//! | 12 | 4 | leader_epoch | stamped by the leader at append; -1 before |
//! | 16 | 1 | magic | 2 |
//! | 17 | 4 | crc | CRC-32C of everything behind this field |
//! | 21 | 2 | attributes | see below |
//! | 23 | 4 | last_offset_delta | last offset - base offset; compaction keeps it |
//! | 27 | 8 | base_timestamp | ms, of the first record appended, or -1; or the delete horizon |
//! | 35 | 8 | max_timestamp | ms, the latest of the records, or -1; or the append time |
//! | 43 | 8 | producer_id | or -1 |
//! | 51 | 2 | producer_epoch | or -1 |
//! | 53 | 4 | base_sequence | or -1 |
//! | 57 | 4 | record_count | 0 when compaction removed all records |
//!
//! Attribute bits: 0 to 2 the codec ([`Compression`]), 3 the timestamp type ([`TimestampType`]), 4 transactional, 5
//! control, 6 "the base timestamp is a delete horizon"; the others are ignored.
//!
//! The records follow at offset 61, compressed as one stream when there is a codec. Their lengths and deltas are
//! zig-zag varints:
//!
//! | field | type | meaning |
//! |---|---|---|
//! | length | varint32 | bytes behind this field |
//! | attributes | int8 | 0 |
//! | timestamp_delta | varint64 | ms from the batch's base timestamp, may be negative |
//! | offset_delta | varint32 | from the batch's base offset; 0, 1, 2, .. before compaction |
//! | key | varint32 length, bytes | length -1 is null |
//! | value | varint32 length, bytes | length -1 is null |
//! | header_count | varint32 | |
//! | headers | per header: key, value | as above; a key is UTF-8 and never null |
//!
//! One record with key `k` and value `v` at 1,700,000,000,000 ms:
//!
//! ```
//! use logstead::record::{BatchBuilder, BatchOptions};
//! use logstead::types::{LeaderEpoch, Offset, Timestamp};
//! let mut builder = BatchBuilder::new(BatchOptions::default());
//! builder.append(Some(Timestamp::from_millis(1_700_000_000_000)), Some(b"k"), Some(b"v"), &[])?;
//! let mut batch = builder.build()?;
//! batch.stamp(Offset::ZERO, LeaderEpoch::ZERO);
//! assert_eq!(batch.size_in_bytes(), 70);
//! assert_eq!(batch.bytes()[61..], [0x10, 0, 0, 0, 2, b'k', 2, b'v', 0]);
//! # Ok::<(), logstead::Error>(())
//! ```
//!
//! [P]: crate

mod batch;
mod builder;
mod built;
mod codec;
mod compression;
mod control;
pub(crate) mod cursor;
mod header;
pub(crate) mod legacy;
pub(crate) mod varint;
mod view;

pub use crate::types::{Compression, TimestampType};
pub use batch::{DECOMPRESSED_BYTES_MAX, RecordBatch};
pub(crate) use batch::{is_plain, unpack_into};
pub use builder::{BatchBuilder, BatchOptions, Header};
pub use built::BuiltBatch;
pub use codec::Codec;
pub(crate) use codec::Packer;
pub(crate) use compression::Decompressor;
pub use control::{ControlRecord, EndTransactionMarker, TransactionOutcome};
pub use header::{BATCH_HEADER_LEN, BatchHeader, ProducerStamp};
pub(crate) use view::LEGACY;
pub use view::{HeaderRef, RecordBatchRef, RecordHeaders, RecordRef, Records};

/// CRC-32C (Castagnoli), the checksum of batches and snapshots.
///
/// ```
/// assert_eq!(logstead::record::crc32c(b"123456789"), 0xe306_9283);
/// ```
pub fn crc32c(bytes: &[u8]) -> u32 {
    // A 32-bit algorithm yields a number below 2^32 in the u64 that crc-fast uses for all of them.
    let [_, _, _, _, crc @ ..] = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes).to_be_bytes();
    u32::from_be_bytes(crc)
}

/// Bytes as Kafka writes them, for the tests of this module.
#[cfg(test)]
mod golden {
    /// Key `k`, value `v`, 1,700,000,000,000 ms, leader epoch 0, no producer.
    pub(super) const ONE_RECORD: &str = "0000000000000000 0000003a 00000000 02 e99b8dd8 0000 00000000 0000018bcfe56800
        0000018bcfe56800 ffffffffffffffff ffff ffffffff 00000001 | 10 00 00 00 02 6b 02 76 00";
    /// COMMIT of producer 1, epoch 0, by coordinator epoch 15, at offset 5 of leader epoch 3, at 1,700,000,000,000 ms.
    pub(super) const COMMIT_MARKER: &str =
        "0000000000000005 00000042 00000003 02 c8e628f1 0030 00000000 0000018bcfe56800
        0000018bcfe56800 0000000000000001 0000 ffffffff 00000001 | 20 00 00 00 08 0000 0001 0c 0000 0000000f 00";

    /// The bytes that hexadecimal digits stand for; everything else is skipped.
    pub(super) fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u32> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
        digits.chunks_exact(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
    }

    /// What is wrong with the bytes, and where.
    pub(super) fn damage<T: std::fmt::Debug>(result: crate::Result<T>) -> (u64, crate::error::Damage) {
        match result {
            Err(crate::Error::Corrupt(corrupt)) => (corrupt.position, corrupt.what),
            other => panic!("expected damage, got {other:?}"),
        }
    }

    /// The rule that a record breaks, and its index.
    pub(super) fn invalid<T: std::fmt::Debug>(result: crate::Result<T>) -> (Option<u32>, &'static str) {
        match result {
            Err(crate::Error::InvalidRecord { index, what }) => (index, what),
            other => panic!("expected an invalid record, got {other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::header::field;
    use super::*;

    /// The rows of the batch table in this module's docs: offset, size, name.
    fn documented_fields() -> Vec<(usize, usize, &'static str)> {
        let rows = include_str!("mod.rs").lines().filter_map(|line| line.strip_prefix("//! | "));
        rows.filter_map(|row| {
            let mut cells = row.split(" | ");
            let offset = cells.next()?.parse().ok()?;
            Some((offset, cells.next()?.parse().ok()?, cells.next()?))
        })
        .collect()
    }

    #[test]
    fn the_documented_table_is_the_layout_that_the_code_uses() {
        let documented: Vec<_> = documented_fields().iter().map(|(offset, _, name)| (*name, *offset)).collect();
        let used = [
            ("base_offset", field::BASE_OFFSET),
            ("batch_length", field::BATCH_LENGTH),
            ("leader_epoch", field::LEADER_EPOCH),
            ("magic", field::MAGIC),
            ("crc", field::CRC),
            ("attributes", field::ATTRIBUTES),
            ("last_offset_delta", field::LAST_OFFSET_DELTA),
            ("base_timestamp", field::BASE_TIMESTAMP),
            ("max_timestamp", field::MAX_TIMESTAMP),
            ("producer_id", field::PRODUCER_ID),
            ("producer_epoch", field::PRODUCER_EPOCH),
            ("base_sequence", field::BASE_SEQUENCE),
            ("record_count", field::RECORD_COUNT),
        ];
        assert_eq!(documented, used);
    }

    #[test]
    fn the_documented_fields_follow_each_other_without_gaps() {
        let end = documented_fields().iter().fold(0, |expected, (offset, size, name)| {
            assert_eq!(*offset, expected, "{name}");
            offset + size
        });
        assert_eq!(end, BATCH_HEADER_LEN);
    }
}
