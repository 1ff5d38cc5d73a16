//! [P] The witness: what was durable in each partition at its last acknowledgement, one file per data folder.
//!
//! A record batch whose checksum fails may be a torn, never acknowledged tail, or damage to acknowledged data. The
//! witness tells the two apart: everything below its `synced_offset` was durable before anyone was told so.
//!
//! The file is an array of slots of 1,024 bytes; slot 0 is reserved for the header. A slot holds two blocks of 512
//! bytes (one disk sector each) that are written in turn, so a torn write spoils only the older of the two; the valid
//! block with the higher generation counts. Each block names its partition, so slots are found by reading the file.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | magic `LSWT` |
//! | 4 | 2 | version, 1 |
//! | 6 | 2 | flags: bit 0 = the log has offset gaps, bit 1 = the checksums at 500 are there |
//! | 8 | 8 | generation |
//! | 16 | 16 | topic id |
//! | 32 | 4 | partition |
//! | 36 | 4 | CRC-32C field of the last durable batch, 0 if none |
//! | 40 | 8 | log start offset |
//! | 48 | 8 | high watermark |
//! | 56 | 8 | synced offset: the first offset that is not durable |
//! | 64 | 8 | base offset of the segment that holds the synced position |
//! | 72 | 8 | synced position: bytes of that segment that are durable |
//! | 80 | 8 | recovery point: the offset that recovery may start from |
//! | 88 | 2 | length of the topic name |
//! | 90 | 249 | topic name |
//! | 500 | 4 | CRC-32 of the offset and time index entries below the recovery point, of the segment that holds it |
//! | 504 | 4 | CRC-32 of its transaction index entries below the recovery point |
//! | 508 | 4 | CRC-32 of bytes 0 to 507 |

use crate::error::{Damage, Error, Result};
use crate::log::index_sums::IndexSums;
use crate::record::cursor::{Reader, Writer};
use crate::types::{Offset, PartitionId, TopicId, TopicName, TopicPartition};

/// Name of the witness in its data folder.
pub const WITNESS_FILE: &str = "logstead.witness";
/// Bytes of one slot of the witness, two blocks that are written in turn; slot `n` starts at `n` times this.
pub const SLOT_BYTES: usize = 2 * BLOCK_BYTES;
/// Bytes of one block: a disk sector, the unit that is written wholly or not at all.
pub(crate) const BLOCK_BYTES: usize = 512;

const MAGIC: u32 = u32::from_be_bytes(*b"LSWT");
const VERSION: u16 = 1;
const FLAG_GAPS: u16 = 1;
const FLAG_SUMS: u16 = 2;
const SUMS_AT: usize = 500;
const CHECKED_BYTES: usize = BLOCK_BYTES - 4;

/// What a log knew to be durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// Counts the writes of this slot; the higher one counts.
    pub generation: u64,
    /// The partition.
    pub tp: TopicPartition,
    /// Its topic's id.
    pub topic_id: TopicId,
    /// Log start offset.
    pub log_start: Offset,
    /// High watermark.
    pub high_watermark: Offset,
    /// The first offset that is not known to be durable.
    pub synced_offset: Offset,
    /// Base offset of the segment that holds `synced_position`.
    pub segment_base: Offset,
    /// Durable bytes of that segment.
    pub synced_position: u64,
    /// The recovery point: everything below is durable, indexed and covered by a producer snapshot.
    pub recovery_point: Offset,
    /// The checksum field of the batch that ends at `synced_position`; 0 when the segment holds none.
    pub last_batch_crc: u32,
    /// Whether the log has offset gaps (compacted, or truncated by Kafka inside a batch).
    pub has_gaps: bool,
    /// What the indexes of the segment that holds the recovery point say below it; `None` in what an older version wrote, or
    /// when the recovery point is a segment's first offset.
    pub index_sums: Option<IndexSums>,
}

impl Witness {
    /// Encodes one block.
    pub(crate) fn to_block(&self) -> [u8; BLOCK_BYTES] {
        let mut bytes = Vec::with_capacity(BLOCK_BYTES);
        let mut writer = Writer::new(&mut bytes);
        writer.put_u32(MAGIC);
        writer.put_u16(VERSION);
        let gaps = if self.has_gaps { FLAG_GAPS } else { 0 };
        writer.put_u16(gaps | self.index_sums.map_or(0, |_| FLAG_SUMS));
        writer.put_u64(self.generation);
        writer.put_bytes(self.topic_id.as_bytes());
        writer.put_i32(self.tp.partition.get());
        writer.put_u32(self.last_batch_crc);
        writer.put_i64(self.log_start.get());
        writer.put_i64(self.high_watermark.get());
        writer.put_i64(self.synced_offset.get());
        writer.put_i64(self.segment_base.get());
        writer.put_u64(self.synced_position);
        writer.put_i64(self.recovery_point.get());
        let name = self.tp.topic.as_str().as_bytes();
        writer.put_u16(u16::try_from(name.len()).unwrap_or(0));
        writer.put_bytes(name);
        bytes.resize(SUMS_AT, 0);
        let IndexSums { positions, transactions } = self.index_sums.unwrap_or_default();
        let mut writer = Writer::new(&mut bytes);
        writer.put_u32(positions);
        writer.put_u32(transactions);
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_be_bytes());
        let mut block = [0; BLOCK_BYTES];
        block.copy_from_slice(&bytes);
        block
    }

    /// Decodes one block; `None` for a block that was never written (all zeros).
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the checksum or a field is wrong, or the version is unknown.
    pub fn from_block(block: &[u8]) -> Result<Option<Witness>> {
        if block.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let (checked, crc) = block
            .split_at_checked(CHECKED_BYTES)
            .ok_or_else(|| Error::corrupt(0, truncated(BLOCK_BYTES, block.len())))?;
        let stored = Reader::new(crc).u32()?;
        let computed = crc32fast::hash(checked);
        if stored != computed {
            return Err(Error::corrupt(CHECKED_BYTES as u64, Damage::Checksum { stored, computed }));
        }
        let mut reader = Reader::new(checked);
        let magic = reader.u32()?;
        let version = reader.u16()?;
        if magic != MAGIC || version != VERSION {
            return Err(Error::corrupt(0, Damage::Magic { stored: i64::from(magic) }));
        }
        let flags = reader.u16()?;
        let has_gaps = flags & FLAG_GAPS != 0;
        let generation = reader.u64()?;
        let topic_id = TopicId::from_bytes(reader.array()?);
        let partition = PartitionId::new(reader.i32()?);
        let last_batch_crc = reader.u32()?;
        let log_start = offset(&mut reader)?;
        let high_watermark = offset(&mut reader)?;
        let synced_offset = offset(&mut reader)?;
        let segment_base = offset(&mut reader)?;
        let synced_position = reader.u64()?;
        let recovery_point = offset(&mut reader)?;
        let name_len = usize::from(reader.u16()?);
        let name = std::str::from_utf8(reader.take(name_len)?).ok().and_then(|name| TopicName::new(name).ok());
        let (Some(topic), Some(partition)) = (name, partition) else {
            return Err(Error::corrupt(32, Damage::Structure("the partition's name is illegal")));
        };
        let mut sums = Reader::new(checked.get(SUMS_AT..).unwrap_or_default());
        let sums = IndexSums { positions: sums.u32()?, transactions: sums.u32()? };
        Ok(Some(Witness {
            generation,
            tp: TopicPartition { topic, partition },
            topic_id,
            log_start,
            high_watermark,
            synced_offset,
            segment_base,
            synced_position,
            recovery_point,
            last_batch_crc,
            has_gaps,
            index_sums: (flags & FLAG_SUMS != 0).then_some(sums),
        }))
    }
}

/// One slot as read from the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessSlot {
    /// The slot's number, from 1.
    pub slot: u32,
    /// The block that counts.
    pub witness: Witness,
}

/// Decodes a whole witness file: every slot with at least one valid block, in slot order. Blocks that are damaged are
/// passed over, as a torn write must be; a slot with none left is reported in `damaged`.
///
/// ```
/// let (slots, damaged) = logstead::log::decode_witness(&[0; 4096]);
/// assert!(slots.is_empty() && damaged.is_empty());
/// ```
pub fn decode_witness(bytes: &[u8]) -> (Vec<WitnessSlot>, Vec<u32>) {
    let (mut slots, mut damaged) = (Vec::new(), Vec::new());
    for (slot, chunk) in (0u32..).zip(bytes.chunks(SLOT_BYTES)).skip(1) {
        let (best, seen_damage) = newest_block(chunk);
        match best {
            Some(witness) => slots.push(WitnessSlot { slot, witness }),
            None if seen_damage => damaged.push(slot),
            None => {}
        }
    }
    (slots, damaged)
}

/// The valid block of a slot with the highest generation, and whether a damaged one was passed over.
pub(crate) fn newest_block(slot: &[u8]) -> (Option<Witness>, bool) {
    let (mut best, mut seen_damage) = (None::<Witness>, false);
    for block in slot.chunks(BLOCK_BYTES) {
        match Witness::from_block(block) {
            Ok(Some(witness)) if best.as_ref().is_none_or(|best| witness.generation > best.generation) => {
                best = Some(witness);
            }
            Ok(_) => {}
            Err(_) => seen_damage = true,
        }
    }
    (best, seen_damage)
}

/// Where the block with this generation stands in the file.
pub(crate) fn block_position(slot: u32, generation: u64) -> u64 {
    u64::from(slot) * SLOT_BYTES as u64 + (generation % 2) * BLOCK_BYTES as u64
}

fn offset(reader: &mut Reader<'_>) -> Result<Offset> {
    Offset::new(reader.i64()?).ok_or_else(|| Error::corrupt(40, Damage::Structure("a negative offset")))
}

fn truncated(needed: usize, available: usize) -> Damage {
    Damage::Truncated { needed: needed as u64, available: available as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(generation: u64) -> Witness {
        Witness {
            generation,
            tp: TopicPartition::new("orders", 3).unwrap(),
            topic_id: TopicId::from_bytes([7; 16]),
            log_start: Offset::from(1),
            high_watermark: Offset::from(90),
            synced_offset: Offset::from(100),
            segment_base: Offset::from(50),
            synced_position: 4096,
            recovery_point: Offset::from(80),
            last_batch_crc: 0xdead_beef,
            has_gaps: true,
            index_sums: Some(IndexSums { positions: 5, transactions: 6 }),
        }
    }

    #[test]
    fn a_block_is_one_sector_and_round_trips() {
        let block = sample(9).to_block();
        assert_eq!(block.len(), 512);
        assert_eq!(block[..8], [b'L', b'S', b'W', b'T', 0, 1, 0, 3]);
        assert_eq!(Witness::from_block(&block).unwrap(), Some(sample(9)));
    }

    #[test]
    fn every_flipped_bit_of_a_block_is_noticed() {
        let block = sample(9).to_block();
        for position in 0..BLOCK_BYTES {
            let mut bad = block;
            bad[position] ^= 0x10;
            assert!(Witness::from_block(&bad).is_err(), "byte {position}");
        }
    }

    #[test]
    fn the_higher_valid_generation_counts_and_a_torn_block_falls_back() {
        let mut file = vec![0; 3 * 1024];
        for generation in [4, 5] {
            let at = block_position(2, generation) as usize;
            file[at..at + 512].copy_from_slice(&sample(generation).to_block());
        }
        assert_eq!(decode_witness(&file).0, [WitnessSlot { slot: 2, witness: sample(5) }]);
        file[block_position(2, 5) as usize + 100] ^= 1;
        assert_eq!(decode_witness(&file).0, [WitnessSlot { slot: 2, witness: sample(4) }]);
        file[block_position(2, 4) as usize + 100] ^= 1;
        assert_eq!(decode_witness(&file), (vec![], vec![2]));
    }

    #[test]
    fn arbitrary_lengths_never_panic() {
        for len in 0..2100 {
            let _ = decode_witness(&vec![0xa5; len]);
        }
    }
}
