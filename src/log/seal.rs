//! [P] The seal: what a finished segment's files must look like, one `<base offset>.seal` per sealed segment.
//!
//! Kafka's batch checksum leaves out the base offset, the length and the leader epoch, and the index files have no
//! checksum at all. The seal covers every byte of all of them. It is derived from the log: losing it loses the extra
//! check and nothing else.
//!
//! Big-endian: magic `LSSL`, version int16 = 1, flags int16 = 0, topic id 16 bytes, partition int32, base offset int64,
//! next offset int64, log length uint64, then four times (offset index, time index, transaction index, producer
//! snapshot at the base offset) present int8, length uint64, CRC-32 uint32, then the block count uint32, one CRC-32 per
//! 4,096 bytes of the log (seeded with topic id, partition and base offset, so that a block of another place or
//! partition does not pass), and the CRC-32 of everything before it.

use crate::error::{Damage, Error, Result};
use crate::record::cursor::{Reader, Writer};
use crate::types::{Offset, PartitionId, TopicId};

/// Bytes of log that one checksum covers.
pub const SEAL_BLOCK_BYTES: usize = 4096;

const MAGIC: u32 = u32::from_be_bytes(*b"LSSL");
const VERSION: u16 = 1;

/// Which segment a seal belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealSubject {
    /// The topic's id.
    pub topic_id: TopicId,
    /// The partition's number.
    pub partition: PartitionId,
    /// The segment's base offset.
    pub base_offset: Offset,
}

/// Length and checksum of a whole file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSum {
    /// Length in bytes.
    pub len: u64,
    /// CRC-32 of its bytes.
    pub crc: u32,
}

impl FileSum {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> FileSum {
        FileSum { len: bytes.len() as u64, crc: crc32fast::hash(bytes) }
    }
}

/// What a sealed segment's files must look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// The segment.
    pub subject: SealSubject,
    /// The offset after the segment's last: the base offset of the next segment.
    pub next_offset: Offset,
    /// Length of the `.log` in bytes.
    pub log_len: u64,
    /// The `.index`.
    pub offset_index: FileSum,
    /// The `.timeindex`.
    pub time_index: FileSum,
    /// The `.txnindex`; `None` when the segment has no aborted transaction.
    pub transaction_index: Option<FileSum>,
    /// The `.snapshot` at the base offset; `None` when there is none (the first segment of a log).
    pub snapshot: Option<FileSum>,
    /// One checksum per [`SEAL_BLOCK_BYTES`] of the `.log`, the last block may be shorter.
    pub blocks: Vec<u32>,
}

impl Seal {
    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(128 + self.blocks.len() * 4);
        let mut writer = Writer::new(&mut bytes);
        writer.put_u32(MAGIC);
        writer.put_u16(VERSION);
        writer.put_u16(0);
        writer.put_bytes(self.subject.topic_id.as_bytes());
        writer.put_i32(self.subject.partition.get());
        writer.put_i64(self.subject.base_offset.get());
        writer.put_i64(self.next_offset.get());
        writer.put_u64(self.log_len);
        for sum in [Some(self.offset_index), Some(self.time_index), self.transaction_index, self.snapshot] {
            writer.put_u8(u8::from(sum.is_some()));
            let sum = sum.unwrap_or(FileSum { len: 0, crc: 0 });
            writer.put_u64(sum.len);
            writer.put_u32(sum.crc);
        }
        writer.put_u32(u32::try_from(self.blocks.len()).unwrap_or(u32::MAX));
        for block in &self.blocks {
            writer.put_u32(*block);
        }
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// Parses a seal file.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a wrong checksum, version or structure.
    pub fn from_bytes(bytes: &[u8]) -> Result<Seal> {
        let (checked, crc) = bytes
            .split_last_chunk::<4>()
            .ok_or_else(|| Error::corrupt(0, Damage::Truncated { needed: 4, available: bytes.len() as u64 }))?;
        let (stored, computed) = (u32::from_be_bytes(*crc), crc32fast::hash(checked));
        if stored != computed {
            return Err(Error::corrupt(checked.len() as u64, Damage::Checksum { stored, computed }));
        }
        let mut reader = Reader::new(checked);
        let (magic, version, _flags) = (reader.u32()?, reader.u16()?, reader.u16()?);
        if magic != MAGIC || version != VERSION {
            return Err(Error::corrupt(0, Damage::Magic { stored: i64::from(magic) }));
        }
        let negative = || Error::corrupt(8, Damage::Structure("a negative number in a seal"));
        let subject = SealSubject {
            topic_id: TopicId::from_bytes(reader.array()?),
            partition: PartitionId::new(reader.i32()?).ok_or_else(negative)?,
            base_offset: Offset::new(reader.i64()?).ok_or_else(negative)?,
        };
        let next_offset = Offset::new(reader.i64()?).ok_or_else(negative)?;
        let log_len = reader.u64()?;
        let mut sum = || -> Result<Option<FileSum>> {
            let present = reader.u8()? != 0;
            let sum = FileSum { len: reader.u64()?, crc: reader.u32()? };
            Ok(present.then_some(sum))
        };
        let (offset_index, time_index, transaction_index, snapshot) = (sum()?, sum()?, sum()?, sum()?);
        let (Some(offset_index), Some(time_index)) = (offset_index, time_index) else {
            return Err(Error::corrupt(0, Damage::Structure("a seal without index checksums")));
        };
        let count = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
        if Some(reader.remaining()) != count.checked_mul(4) || log_len.div_ceil(SEAL_BLOCK_BYTES as u64) != count as u64
        {
            return Err(Error::corrupt(0, Damage::Structure("a seal's block count does not fit its length")));
        }
        let blocks = (0..count).map(|_| reader.u32()).collect::<Result<Vec<u32>>>()?;
        Ok(Seal { subject, next_offset, log_len, offset_index, time_index, transaction_index, snapshot, blocks })
    }

    /// The first byte position at which `log` differs from what was sealed; `None` when it does not. `log` is the bytes
    /// of the segment from a multiple of [`SEAL_BLOCK_BYTES`], `start`, on.
    pub fn first_difference(&self, start: u64, log: &[u8]) -> Option<u64> {
        let first_block = usize::try_from(start / SEAL_BLOCK_BYTES as u64).unwrap_or(usize::MAX);
        let stored = self.blocks.get(first_block..).unwrap_or_default();
        for (index, chunk) in log.chunks(SEAL_BLOCK_BYTES).enumerate() {
            let mut hasher = seeded(&self.subject);
            hasher.update(chunk);
            if stored.get(index) != Some(&hasher.finalize()) {
                return Some(start + (index * SEAL_BLOCK_BYTES) as u64);
            }
        }
        None
    }
}

/// Computes a segment's block checksums while its bytes pass by.
#[derive(Debug)]
pub(crate) struct BlockSums {
    subject: SealSubject,
    done: Vec<u32>,
    current: crc32fast::Hasher,
    in_current: usize,
}

impl BlockSums {
    /// For a segment that is still empty.
    pub(crate) fn new(subject: SealSubject) -> BlockSums {
        BlockSums { subject, done: Vec::new(), current: seeded(&subject), in_current: 0 }
    }

    /// The next bytes of the log.
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = SEAL_BLOCK_BYTES - self.in_current;
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.current.update(now);
            self.in_current += now.len();
            if self.in_current == SEAL_BLOCK_BYTES {
                self.done.push(std::mem::replace(&mut self.current, seeded(&self.subject)).finalize());
                self.in_current = 0;
            }
            bytes = later;
        }
    }

    /// The checksums of everything that passed by.
    pub(crate) fn finish(mut self) -> Vec<u32> {
        if self.in_current > 0 {
            self.done.push(self.current.finalize());
        }
        self.done
    }
}

/// A hasher that has already seen which segment this is.
fn seeded(subject: &SealSubject) -> crc32fast::Hasher {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(subject.topic_id.as_bytes());
    hasher.update(&subject.partition.get().to_be_bytes());
    hasher.update(&subject.base_offset.get().to_be_bytes());
    hasher
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(base: u32) -> SealSubject {
        SealSubject {
            topic_id: TopicId::from_bytes([3; 16]),
            partition: PartitionId::ZERO,
            base_offset: Offset::from(base),
        }
    }

    fn seal_of(log: &[u8], pieces: usize) -> Seal {
        let mut sums = BlockSums::new(subject(5));
        log.chunks(pieces).for_each(|piece| sums.update(piece));
        Seal {
            subject: subject(5),
            next_offset: Offset::from(9),
            log_len: log.len() as u64,
            offset_index: FileSum::of(b"index"),
            time_index: FileSum::of(b""),
            transaction_index: None,
            snapshot: Some(FileSum::of(b"snapshot")),
            blocks: sums.finish(),
        }
    }

    #[test]
    fn seals_round_trip_however_the_log_was_cut_into_writes() {
        let log: Vec<u8> = (0..10_000u32).map(|i| (i * 7) as u8).collect();
        let seal = seal_of(&log, 4096);
        assert_eq!(seal.blocks.len(), 3);
        assert_eq!(seal_of(&log, 1), seal);
        assert_eq!(seal_of(&log, 9_999), seal);
        assert_eq!(Seal::from_bytes(&seal.to_bytes()).unwrap(), seal);
    }

    #[test]
    fn a_flipped_bit_is_placed_in_its_block() {
        let log = vec![1; 10_000];
        let seal = seal_of(&log, 512);
        assert_eq!(seal.first_difference(0, &log), None);
        assert_eq!(seal.first_difference(4096, &log[4096..]), None);
        let mut bad = log.clone();
        bad[5000] ^= 1;
        assert_eq!(seal.first_difference(0, &bad), Some(4096));
        bad.push(0);
        assert_eq!(seal.first_difference(8192, &bad[8192..]), Some(8192));
    }

    #[test]
    fn the_same_bytes_in_another_segment_do_not_pass() {
        let log = vec![1; 100];
        let seal = Seal { subject: subject(6), ..seal_of(&log, 100) };
        assert_eq!(seal.first_difference(0, &log), Some(0));
    }

    #[test]
    fn damaged_seals_are_refused() {
        let bytes = seal_of(&[1; 5000], 100).to_bytes();
        for position in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[position] ^= 4;
            assert!(Seal::from_bytes(&bad).is_err(), "byte {position}");
            assert!(Seal::from_bytes(&bytes[..position]).is_err(), "cut at {position}");
        }
    }
}
