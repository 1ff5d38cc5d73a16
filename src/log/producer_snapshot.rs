//! [P] The `.snapshot` file: the producer state as of the offset that the file is named by (exclusive).
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 0..2 | version, int16 | 1 |
//! | 2..6 | crc, uint32 | CRC-32C of everything from byte 6 on |
//! | 6..10 | count, int32 | entries |
//!
//! Then `count` entries of 46 bytes, here sorted by producer id (Kafka writes them in no order):
//!
//! | bytes | field | absent |
//! |---|---|---|
//! | 0..8 | producer id, int64 | |
//! | 8..10 | producer epoch, int16 | -1 |
//! | 10..14 | last sequence, int32 | -1 |
//! | 14..22 | last offset, int64 | -1 |
//! | 22..26 | offset delta, int32 | 0 |
//! | 26..34 | timestamp, int64 | -1 |
//! | 34..38 | coordinator epoch, int32 | -1 |
//! | 38..46 | first offset of the open transaction, int64 | -1 |
//!
//! Only the last batch of each producer is stored, so after a reload duplicates are found one batch back.
//! Kafka: `ProducerStateManager` (`ProducerSnapshot.json`).

use std::collections::{BTreeSet, VecDeque};

use super::producer_state::{ProducerBatch, ProducerEntry, ProducerStates};
use crate::error::{Damage, Error, Result};
use crate::types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

const VERSION: i16 = 1;
const HEADER_BYTES: usize = 10;
const ENTRY_BYTES: usize = 46;

/// Where the checksummed part starts.
const CHECKED_FROM: usize = 6;

/// The bytes of a snapshot file.
pub(crate) fn encode(states: &ProducerStates) -> Vec<u8> {
    let entries = states.entries();
    let mut checked = Vec::with_capacity(HEADER_BYTES + entries.len() * ENTRY_BYTES);
    // More than 2^31 producers do not fit in memory.
    checked.extend(i32::try_from(entries.len()).unwrap_or(i32::MAX).to_be_bytes());
    for entry in entries {
        encode_entry(entry, &mut checked);
    }
    let mut bytes = Vec::with_capacity(CHECKED_FROM + checked.len());
    bytes.extend(VERSION.to_be_bytes());
    bytes.extend(checksum(&checked).to_be_bytes());
    bytes.extend(checked);
    bytes
}

/// The producers in a `.snapshot` file, in the file's order. One checksum covers all of them: they are read together or not
/// at all.
///
/// # Errors
/// [`Error::Corrupt`] when the file is too short or too long, of an unknown version, fails its checksum, or holds values
/// that no producer has.
///
/// # Examples
/// ```
/// use logstead::log::decode_producer_snapshot;
/// use logstead::record::crc32c;
///
/// let count = 0_i32.to_be_bytes();
/// let version = 1_i16.to_be_bytes();
/// let snapshot = [&version[..], &crc32c(&count).to_be_bytes(), &count].concat();
/// assert!(decode_producer_snapshot(&snapshot)?.is_empty());
/// assert!(decode_producer_snapshot(&snapshot[..9]).is_err());
/// # Ok::<(), logstead::Error>(())
/// ```
pub fn decode(bytes: &[u8]) -> Result<Vec<ProducerEntry>> {
    let available = bytes.len() as u64;
    let truncated = |needed| Error::corrupt(0, Damage::Truncated { needed, available });
    let too_short = || truncated(HEADER_BYTES as u64);
    let mut header = bytes;
    let version = i16::from_be_bytes(take(&mut header).ok_or_else(too_short)?);
    if version != VERSION {
        return Err(Error::corrupt(0, Damage::Magic { stored: i64::from(version) }));
    }
    let stored = u32::from_be_bytes(take(&mut header).ok_or_else(too_short)?);
    let checked = header;
    let count = i32::from_be_bytes(take(&mut header).ok_or_else(too_short)?);
    let computed = checksum(checked);
    if stored != computed {
        return Err(Error::corrupt(2, Damage::Checksum { stored, computed }));
    }
    let (entries, rest) = header.as_chunks::<ENTRY_BYTES>();
    if !rest.is_empty() || i32::try_from(entries.len()) != Ok(count) {
        return Err(Error::corrupt(CHECKED_FROM as u64, Damage::Length { stored: i64::from(count) }));
    }
    let mut producers = Vec::with_capacity(entries.len());
    let mut seen = BTreeSet::new();
    let mut at = HEADER_BYTES as u64;
    for raw in entries {
        let impossible = || Error::corrupt(at, Damage::Structure("a producer in a snapshot has impossible values"));
        let entry = decode_entry(raw).ok_or_else(impossible)?;
        if !seen.insert(entry.producer_id) {
            return Err(Error::corrupt(at, Damage::Structure("a snapshot holds a producer twice")));
        }
        producers.push(entry);
        at += ENTRY_BYTES as u64;
    }
    Ok(producers)
}

fn encode_entry(entry: &ProducerEntry, bytes: &mut Vec<u8>) {
    let batch = entry.last_batch();
    bytes.extend(entry.producer_id.get().to_be_bytes());
    bytes.extend(entry.epoch.map_or(-1, ProducerEpoch::get).to_be_bytes());
    bytes.extend(batch.map_or(-1, |batch| batch.last_sequence.get()).to_be_bytes());
    bytes.extend(batch.map_or(-1, |batch| batch.last_offset.get()).to_be_bytes());
    bytes.extend(batch.map_or(0, |batch| batch.offset_delta).to_be_bytes());
    bytes.extend(entry.last_timestamp.map_or(-1, Timestamp::as_millis).to_be_bytes());
    bytes.extend(entry.coordinator_epoch.unwrap_or(-1).to_be_bytes());
    bytes.extend(entry.current_txn_first_offset.map_or(-1, Offset::get).to_be_bytes());
}

fn decode_entry(raw: &[u8; ENTRY_BYTES]) -> Option<ProducerEntry> {
    let mut fields = raw.as_slice();
    let producer_id = ProducerId::new(i64::from_be_bytes(take(&mut fields)?))?;
    let epoch = present(i16::from_be_bytes(take(&mut fields)?), ProducerEpoch::new)?;
    let last_sequence = present(i32::from_be_bytes(take(&mut fields)?), Sequence::new)?;
    let last_offset = present(i64::from_be_bytes(take(&mut fields)?), Offset::new)?;
    let offset_delta = i32::from_be_bytes(take(&mut fields)?);
    let millis = i64::from_be_bytes(take(&mut fields)?);
    let coordinator_epoch = present(i32::from_be_bytes(take(&mut fields)?), |raw| (raw >= 0).then_some(raw))?;
    let current_txn_first_offset = present(i64::from_be_bytes(take(&mut fields)?), Offset::new)?;

    // The file has one timestamp for the producer and its last batch.
    let timestamp = (millis != -1).then_some(Timestamp::from_millis(millis));
    let mut batches = VecDeque::new();
    if let (Some(last_sequence), Some(last_offset)) = (last_sequence, last_offset) {
        if offset_delta < 0 || i64::from(offset_delta) > last_offset.get() {
            return None;
        }
        batches.push_back(ProducerBatch { last_sequence, last_offset, offset_delta, timestamp });
    }
    let last_timestamp = timestamp;
    Some(ProducerEntry { producer_id, epoch, batches, last_timestamp, coordinator_epoch, current_txn_first_offset })
}

/// `Some(None)` for Kafka's -1, `None` for any other value that `new` refuses.
fn present<R: PartialEq + From<i8>, T>(raw: R, new: impl Fn(R) -> Option<T>) -> Option<Option<T>> {
    if raw == R::from(-1_i8) { Some(None) } else { new(raw).map(Some) }
}

/// Takes the next `N` bytes.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

/// CRC-32C, the checksum of Kafka's files.
fn checksum(bytes: &[u8]) -> u32 {
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes);
    // A 32-bit checksum in 64 bits: the upper half is zero.
    u32::try_from(crc & u64::from(u32::MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOLDEN: [u8; 56] = [
        0, 1, 0xa0, 0x20, 0x45, 0xd7, 0, 0, 0, 1, // version, crc, count
        0, 0, 0, 0, 0, 0, 0, 7, 0, 3, 0, 0, 0, 0x29, 0, 0, 0, 0, 0, 0, 4, 0x11, 0, 0, 0, 1, // 7, 3, 41, 1041, 1
        0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 0, 0xff, 0xff, 0xff, 0xff, // 1700000000000, no coordinator
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // no transaction
    ];

    fn golden_entry() -> ProducerEntry {
        let timestamp = Some(Timestamp::from_millis(1_700_000_000_000));
        let batch = ProducerBatch {
            last_sequence: Sequence::new(41).unwrap(),
            last_offset: Offset::from(1041),
            offset_delta: 1,
            timestamp,
        };
        ProducerEntry {
            epoch: ProducerEpoch::new(3),
            batches: VecDeque::from([batch]),
            last_timestamp: timestamp,
            ..ProducerEntry::new(ProducerId::new(7).unwrap())
        }
    }

    /// Puts the right checksum into bytes that were changed.
    fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
        let crc = checksum(&bytes[CHECKED_FROM..]);
        bytes[2..CHECKED_FROM].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    fn damage(bytes: &[u8]) -> (u64, Damage) {
        match decode(bytes) {
            Err(Error::Corrupt(corrupt)) => (corrupt.position, corrupt.what),
            other => panic!("damage expected, got {other:?}"),
        }
    }

    #[test]
    fn one_producer_has_kafkas_bytes() {
        assert_eq!(encode(&ProducerStates::from_snapshot([golden_entry()])), GOLDEN);
        assert_eq!(decode(&GOLDEN).unwrap(), [golden_entry()]);
    }

    #[test]
    fn no_producers_are_ten_bytes() {
        let bytes = encode(&ProducerStates::default());
        assert_eq!(bytes.len(), 10);
        assert_eq!(decode(&bytes).unwrap(), []);
    }

    #[test]
    fn entries_are_sorted_by_producer_id() {
        let entry = |raw| ProducerEntry::new(ProducerId::new(raw).unwrap());
        let bytes = encode(&ProducerStates::from_snapshot([entry(300), entry(2), entry(10)]));
        let ids: Vec<_> = decode(&bytes).unwrap().iter().map(|entry| entry.producer_id.get()).collect();
        assert_eq!(ids, [2, 10, 300]);
    }

    #[test]
    fn only_the_last_batch_is_stored() {
        let mut entry = golden_entry();
        let earlier = ProducerBatch { last_offset: Offset::from(9), ..entry.batches[0] };
        entry.batches.push_front(earlier);
        assert_eq!(encode(&ProducerStates::from_snapshot([entry])), GOLDEN);
    }

    #[test]
    fn every_flipped_bit_is_found() {
        for bit in 0..GOLDEN.len() * 8 {
            let mut bytes = GOLDEN;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(decode(&bytes), Err(Error::Corrupt(_))), "bit {bit}");
        }
    }

    #[test]
    fn every_truncation_is_found() {
        for len in 0..GOLDEN.len() {
            assert!(matches!(decode(&GOLDEN[..len]), Err(Error::Corrupt(_))), "length {len}");
        }
    }

    #[test]
    fn a_count_that_is_not_that_of_the_entries_is_damage() {
        for count in [0, 2, i32::MAX, -1] {
            let mut bytes = GOLDEN.to_vec();
            bytes[6..10].copy_from_slice(&count.to_be_bytes());
            assert_eq!(damage(&sealed(bytes)), (6, Damage::Length { stored: i64::from(count) }));
        }
        assert!(matches!(damage(&sealed([&GOLDEN[..], &[0]].concat())), (6, Damage::Length { .. })));
    }

    #[test]
    fn impossible_values_are_damage_in_spite_of_the_checksum() {
        for field in [10, 18, 20, 24, 32, 44, 48] {
            let mut bytes = GOLDEN.to_vec();
            bytes[field] = 0x80;
            assert!(matches!(damage(&sealed(bytes)), (10, Damage::Structure(_))), "field at {field}");
        }
    }

    #[test]
    fn a_producer_that_is_there_twice_is_damage() {
        let mut bytes = [&GOLDEN[..], &GOLDEN[10..]].concat();
        bytes[9] = 2;
        assert_eq!(damage(&sealed(bytes)), (56, Damage::Structure("a snapshot holds a producer twice")));
    }

    fn entry() -> impl Strategy<Value = ProducerEntry> {
        let batch = prop::option::of((0..=i32::MAX, 0..=i32::MAX, any::<u32>()));
        let rest = (prop::option::of(0..=i64::MAX), prop::option::of(0..=i32::MAX), prop::option::of(0..=i64::MAX));
        (0..=i64::MAX, prop::option::of(0..=i16::MAX), batch, rest).prop_map(|(id, epoch, batch, rest)| {
            let timestamp = rest.0.map(Timestamp::from_millis);
            let batch = batch.map(|(sequence, offset_delta, base)| ProducerBatch {
                last_sequence: Sequence::new(sequence).unwrap(),
                last_offset: Offset::from(base).plus(u64::from(offset_delta.unsigned_abs())),
                offset_delta,
                timestamp,
            });
            ProducerEntry {
                producer_id: ProducerId::new(id).unwrap(),
                epoch: epoch.and_then(ProducerEpoch::new),
                batches: batch.into_iter().collect(),
                last_timestamp: timestamp,
                coordinator_epoch: rest.1,
                current_txn_first_offset: rest.2.and_then(Offset::new),
            }
        })
    }

    proptest! {
        #[test]
        fn decoding_gives_back_what_was_encoded(entries in prop::collection::vec(entry(), 0..8)) {
            let states = ProducerStates::from_snapshot(entries);
            let decoded = decode(&encode(&states)).unwrap();
            prop_assert_eq!(ProducerStates::from_snapshot(decoded), states);
        }

        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), plausible: bool) {
            if plausible && bytes.len() >= HEADER_BYTES {
                bytes[..2].copy_from_slice(&VERSION.to_be_bytes());
                let count = (bytes.len() - HEADER_BYTES) / ENTRY_BYTES;
                bytes[6..10].copy_from_slice(&(count as i32).to_be_bytes());
                bytes.truncate(HEADER_BYTES + count * ENTRY_BYTES);
                bytes = sealed(bytes);
            }
            if let Ok(entries) = decode(&bytes) {
                prop_assert!(entries.len() * ENTRY_BYTES < bytes.len());
            }
        }
    }
}
