//! [P] The fixed fields of a batch: parsing and encoding the first 61 bytes, attribute bits, checksum.
//!
//! A `BatchHeader` only exists for fields that agree with each other, so everything derived from them (last offset,
//! size, sequences) is exact. Base offset, length and leader epoch lie outside the checksum: the leader stamps them
//! without computing it again. Kafka's counterpart: `DefaultRecordBatch`.

use super::cursor::Reader;
use super::{crc32c, legacy};
use crate::error::{Damage, Error, Result};
use crate::types::{Compression, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, TimestampType};

/// Bytes of a batch before its first record.
pub const BATCH_HEADER_LEN: usize = 61;

/// Where each field of the header starts, in bytes from the start of the batch.
pub(super) mod field {
    pub(crate) const BASE_OFFSET: usize = 0;
    pub(crate) const BATCH_LENGTH: usize = 8;
    pub(crate) const LEADER_EPOCH: usize = 12;
    pub(crate) const MAGIC: usize = 16;
    pub(crate) const CRC: usize = 17;
    pub(crate) const ATTRIBUTES: usize = 21;
    pub(crate) const LAST_OFFSET_DELTA: usize = 23;
    pub(crate) const BASE_TIMESTAMP: usize = 27;
    pub(crate) const MAX_TIMESTAMP: usize = 35;
    pub(crate) const PRODUCER_ID: usize = 43;
    pub(crate) const PRODUCER_EPOCH: usize = 51;
    pub(crate) const BASE_SEQUENCE: usize = 53;
    pub(crate) const RECORD_COUNT: usize = 57;
}

/// Bytes that the length field does not count: the base offset and the length itself.
pub(super) const UNCOUNTED_LEN: usize = field::LEADER_EPOCH;
/// The smallest value of the length field: a batch without records.
const BATCH_LENGTH_MIN: i32 = 49;
/// The smallest value that the length field has in any version: an empty message of magic 0 (Kafka:
/// `LegacyRecord.RECORD_OVERHEAD_V0`). Smaller ones, such as the zeros behind the end of a file, are no batch at all.
const MESSAGE_LENGTH_MIN: i32 = 14;
/// The version of the format that this module writes; older ones are read by [`legacy`].
pub(super) const MAGIC: u8 = 2;

pub(super) const CODEC_MASK: u8 = 0x07;
pub(super) const LOG_APPEND_TIME_BIT: u8 = 0x08;
const TRANSACTIONAL_BIT: u8 = 0x10;
const CONTROL_BIT: u8 = 0x20;
const DELETE_HORIZON_BIT: u8 = 0x40;

/// Kafka's "no timestamp", "no producer", "no epoch", "no sequence".
pub(super) const ABSENT: i8 = -1;

impl Compression {
    /// The codec of attribute bits 0 to 2.
    pub(super) const fn from_attributes(attributes: u8) -> Option<Compression> {
        match attributes & CODEC_MASK {
            0 => Some(Compression::None),
            1 => Some(Compression::Gzip),
            2 => Some(Compression::Snappy),
            3 => Some(Compression::Lz4),
            4 => Some(Compression::Zstd),
            _ => None,
        }
    }

    pub(super) const fn attributes(self) -> u8 {
        match self {
            Compression::None => 0,
            Compression::Gzip => 1,
            Compression::Snappy => 2,
            Compression::Lz4 => 3,
            Compression::Zstd => 4,
        }
    }
}

/// Who produced a batch, for duplicate detection and transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProducerStamp {
    /// The producer.
    pub id: ProducerId,
    /// Its incarnation.
    pub epoch: ProducerEpoch,
    /// The sequence of the batch's first record; `None` in transaction markers.
    pub base_sequence: Option<Sequence>,
}

/// The fixed fields of one batch.
///
/// ```
/// use logstead::record::{BatchBuilder, BatchHeader, BatchOptions};
/// use logstead::types::Offset;
/// let mut builder = BatchBuilder::new(BatchOptions::default());
/// builder.append(None, None, Some(b"first"), &[])?;
/// builder.append(None, None, Some(b"second"), &[])?;
/// let batch = builder.build()?;
///
/// let header = BatchHeader::parse(batch.bytes())?;
/// header.verify_crc(batch.bytes())?;
/// assert_eq!(header.record_count(), 2);
/// assert_eq!(header.next_offset(), Offset::from(2));
/// assert_eq!(header.size_in_bytes(), batch.bytes().len());
/// # Ok::<(), logstead::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    pub(super) magic: u8,
    pub(super) base_offset: Offset,
    pub(super) size_in_bytes: usize,
    pub(super) leader_epoch: Option<LeaderEpoch>,
    pub(super) crc: u32,
    pub(super) codec: Compression,
    pub(super) timestamp_type: TimestampType,
    pub(super) is_transactional: bool,
    pub(super) is_control: bool,
    pub(super) has_delete_horizon: bool,
    pub(super) last_offset_delta: i32,
    /// As stored: what the records' timestamp deltas count from, whatever it means.
    pub(super) base_millis: i64,
    /// As stored.
    pub(super) max_millis: i64,
    pub(super) producer: Option<ProducerStamp>,
    pub(super) record_count: u32,
}

impl BatchHeader {
    /// Reads the header at the front of `bytes`, which may end behind it: a file can be walked by headers alone.
    ///
    /// Combinations that Kafka's own reader lets pass are not damage here either: a transactional batch without a
    /// producer id, or a sequence without one (which is then ignored).
    ///
    /// # Errors
    /// [`Error::Corrupt`] when fewer bytes are there than the fixed fields have (61, of messages of magic 0 and 1 up to 26),
    /// or a field is impossible, alone or beside the others.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader> {
        let mut reader = Reader::new(bytes);
        let base_offset = reader.i64()?;
        let batch_length = reader.i32()?;
        if batch_length < MESSAGE_LENGTH_MIN {
            return Err(impossible_length(batch_length));
        }
        let leader_epoch = reader.i32()?;
        match reader.u8()? {
            MAGIC => {}
            0 | 1 => return legacy::parse_header(bytes),
            other => return Err(damage(field::MAGIC, Damage::Magic { stored: i64::from(other.cast_signed()) })),
        }
        if batch_length < BATCH_LENGTH_MIN {
            return Err(impossible_length(batch_length));
        }
        let size = usize::try_from(batch_length).ok().and_then(|length| length.checked_add(UNCOUNTED_LEN));
        let size_in_bytes = size.ok_or_else(|| impossible_length(batch_length))?;
        let crc = reader.u32()?;
        // Kafka defines the low byte only and ignores the other.
        let [_, attributes] = reader.array()?;
        let codec = Compression::from_attributes(attributes)
            .ok_or_else(|| broken(field::ATTRIBUTES, "the compression codec is none of Kafka's"))?;
        let last_offset_delta = reader.i32()?;
        let base_millis = reader.i64()?;
        let max_millis = reader.i64()?;
        let producer = parse_producer(&mut reader)?;
        let record_count = u32::try_from(reader.i32()?)
            .map_err(|_| broken(field::RECORD_COUNT, "the number of records is negative"))?;
        Ok(BatchHeader {
            magic: MAGIC,
            base_offset: check_offsets(base_offset, last_offset_delta, record_count)?,
            size_in_bytes,
            leader_epoch: optional(leader_epoch, LeaderEpoch::new, field::LEADER_EPOCH)?,
            crc,
            codec,
            timestamp_type: match attributes & LOG_APPEND_TIME_BIT {
                0 => TimestampType::CreateTime,
                _ => TimestampType::LogAppendTime,
            },
            is_transactional: attributes & TRANSACTIONAL_BIT != 0,
            is_control: attributes & CONTROL_BIT != 0,
            has_delete_horizon: attributes & DELETE_HORIZON_BIT != 0,
            last_offset_delta,
            base_millis,
            max_millis,
            producer,
            record_count,
        })
    }

    /// Compares the stored checksum with that of the batch at the front of `batch_bytes`; bytes behind it are ignored.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when they differ, or when the batch is longer than `batch_bytes`.
    pub fn verify_crc(&self, batch_bytes: &[u8]) -> Result<()> {
        let batch = self.batch_of(batch_bytes)?;
        let (at, computed) = match self.magic {
            MAGIC => (field::CRC, crc_of_batch(batch)),
            _ => (legacy::CRC_AT, legacy::crc_of(batch)),
        };
        if computed == self.crc {
            return Ok(());
        }
        Err(damage(at, Damage::Checksum { stored: self.crc, computed }))
    }

    /// The version of the format: 2, or 0 or 1 for a message, or a compressed set of messages, that Kafka wrote before 0.11.
    pub const fn magic(&self) -> u8 {
        self.magic
    }

    /// Whether this is a message, or a compressed set of messages, of magic 0 or 1. Those have no leader epoch, no producer
    /// and no headers.
    pub const fn is_legacy(&self) -> bool {
        self.magic < MAGIC
    }

    /// Whether [`base_offset`](Self::base_offset) and [`record_count`](Self::record_count) say something: of a compressed set
    /// of magic 0 or 1 they are known only when it is decompressed, as a [`RecordBatch`](super::RecordBatch) or a
    /// [`BatchScanner`](crate::log::BatchScanner) does. Until then they are the last offset and 0.
    pub const fn is_base_offset_known(&self) -> bool {
        !self.is_legacy() || self.record_count > 0
    }

    /// The base offset; where it is not known, `expected`, as far as the last offset allows that.
    pub fn base_offset_or(&self, expected: Offset) -> Offset {
        if self.is_base_offset_known() { self.base_offset } else { self.base_offset.min(expected) }
    }

    /// Whether both headers were read from the same bytes, though one may know more of what they mean.
    pub(crate) fn is_of_same_bytes(&self, other: &BatchHeader) -> bool {
        let identity = |header: &BatchHeader| (header.magic, header.size_in_bytes, header.last_offset(), header.crc);
        self == other || (self.is_legacy() && identity(self) == identity(other))
    }

    /// The offset that the batch's first record had when it was appended; compaction keeps it.
    pub const fn base_offset(&self) -> Offset {
        self.base_offset
    }

    /// Size of the whole batch in bytes, this header included.
    pub const fn size_in_bytes(&self) -> usize {
        self.size_in_bytes
    }

    /// The epoch of the leader that appended the batch; `None` before it was appended. Not protected by the checksum.
    pub const fn leader_epoch(&self) -> Option<LeaderEpoch> {
        self.leader_epoch
    }

    /// The stored CRC-32C of everything from the attributes to the end of the batch; of a message of magic 0 or 1 the CRC-32
    /// of everything from the magic on.
    pub const fn crc(&self) -> u32 {
        self.crc
    }

    /// How the records are compressed.
    pub const fn codec(&self) -> Compression {
        self.codec
    }

    /// What the records' timestamps mean.
    pub const fn timestamp_type(&self) -> TimestampType {
        self.timestamp_type
    }

    /// Is the batch part of a transaction?
    pub const fn is_transactional(&self) -> bool {
        self.is_transactional
    }

    /// Is this a control batch, whose records are never shown to consumers?
    pub const fn is_control(&self) -> bool {
        self.is_control
    }

    /// Has compaction set a [`delete_horizon`](Self::delete_horizon)?
    pub const fn has_delete_horizon(&self) -> bool {
        self.has_delete_horizon
    }

    /// Offset of the last record less the base offset, as appended; compaction keeps it.
    pub const fn last_offset_delta(&self) -> i32 {
        self.last_offset_delta
    }

    /// The offset that the batch's last record had when it was appended.
    pub const fn last_offset(&self) -> Offset {
        self.base_offset.plus(self.last_offset_delta.unsigned_abs() as u64)
    }

    /// The offset after the batch, also when compaction removed its last records.
    pub const fn next_offset(&self) -> Offset {
        self.last_offset().next()
    }

    /// The timestamp of the first record appended; `None` when it has none, or when compaction replaced it by the
    /// delete horizon.
    pub const fn base_timestamp(&self) -> Option<Timestamp> {
        if self.has_delete_horizon { None } else { timestamp(self.base_millis) }
    }

    /// The time from which compaction may drop the batch's tombstones or its marker; `None` when it has set none.
    pub const fn delete_horizon(&self) -> Option<Timestamp> {
        if self.has_delete_horizon { timestamp(self.base_millis) } else { None }
    }

    /// The latest timestamp of the records, or the append time; `None` when no record has one.
    pub const fn max_timestamp(&self) -> Option<Timestamp> {
        timestamp(self.max_millis)
    }

    /// Who produced the batch; `None` for a producer without duplicate detection.
    pub const fn producer(&self) -> Option<ProducerStamp> {
        self.producer
    }

    /// The sequence of the first record appended.
    pub fn base_sequence(&self) -> Option<Sequence> {
        self.producer?.base_sequence
    }

    /// The sequence of the last record appended.
    pub fn last_sequence(&self) -> Option<Sequence> {
        Some(self.base_sequence()?.plus(self.last_offset_delta))
    }

    /// Records in the batch now; 0 when compaction removed them all.
    pub const fn record_count(&self) -> u32 {
        self.record_count
    }

    /// The bytes of this batch at the front of `bytes`.
    pub(super) fn batch_of<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8]> {
        bytes.get(..self.size_in_bytes).ok_or_else(|| {
            let what = Damage::Truncated { needed: self.size_in_bytes as u64, available: bytes.len() as u64 };
            damage(field::BASE_OFFSET, what)
        })
    }

    /// The header's bytes. The checksum is written as it is in `self`; [`seal`] computes it.
    pub(super) fn encode(&self) -> [u8; BATCH_HEADER_LEN] {
        let mut bytes = [0; BATCH_HEADER_LEN];
        // No batch is built or parsed whose length is not an i32.
        let length = i32::try_from(self.size_in_bytes.saturating_sub(UNCOUNTED_LEN)).unwrap_or(i32::MAX);
        let producer = self.producer;
        let sequence = producer.and_then(|stamp| stamp.base_sequence);
        put(&mut bytes, field::BASE_OFFSET, self.base_offset.get().to_be_bytes());
        put(&mut bytes, field::BATCH_LENGTH, length.to_be_bytes());
        put(&mut bytes, field::LEADER_EPOCH, self.leader_epoch.map_or(ABSENT.into(), LeaderEpoch::get).to_be_bytes());
        put(&mut bytes, field::MAGIC, [MAGIC]);
        put(&mut bytes, field::CRC, self.crc.to_be_bytes());
        put(&mut bytes, field::ATTRIBUTES, [0, self.attributes()]);
        put(&mut bytes, field::LAST_OFFSET_DELTA, self.last_offset_delta.to_be_bytes());
        put(&mut bytes, field::BASE_TIMESTAMP, self.base_millis.to_be_bytes());
        put(&mut bytes, field::MAX_TIMESTAMP, self.max_millis.to_be_bytes());
        put(&mut bytes, field::PRODUCER_ID, producer.map_or(ABSENT.into(), |p| p.id.get()).to_be_bytes());
        put(&mut bytes, field::PRODUCER_EPOCH, producer.map_or(ABSENT.into(), |p| p.epoch.get()).to_be_bytes());
        put(&mut bytes, field::BASE_SEQUENCE, sequence.map_or(ABSENT.into(), Sequence::get).to_be_bytes());
        put(&mut bytes, field::RECORD_COUNT, self.record_count.to_be_bytes());
        bytes
    }

    fn attributes(&self) -> u8 {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        self.codec.attributes()
            | bit(self.timestamp_type == TimestampType::LogAppendTime, LOG_APPEND_TIME_BIT)
            | bit(self.is_transactional, TRANSACTIONAL_BIT)
            | bit(self.is_control, CONTROL_BIT)
            | bit(self.has_delete_horizon, DELETE_HORIZON_BIT)
    }
}

/// Milliseconds as stored; -1 is "none".
pub(super) const fn timestamp(millis: i64) -> Option<Timestamp> {
    if millis == ABSENT as i64 { None } else { Some(Timestamp::from_millis(millis)) }
}

/// Writes a field into a whole batch or header; `at` is one of [`field`], so there is always room.
pub(super) fn put<const N: usize>(batch: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(slot) = batch.get_mut(at..).and_then(|tail| tail.first_chunk_mut::<N>()) {
        *slot = value;
    }
}

/// Computes the checksum of a whole batch, stores it, and returns it.
pub(super) fn seal(batch: &mut [u8]) -> u32 {
    let crc = crc_of_batch(batch);
    put(batch, field::CRC, crc.to_be_bytes());
    crc
}

fn crc_of_batch(batch: &[u8]) -> u32 {
    crc32c(batch.get(field::ATTRIBUTES..).unwrap_or_default())
}

fn parse_producer(reader: &mut Reader<'_>) -> Result<Option<ProducerStamp>> {
    let id = optional(reader.i64()?, ProducerId::new, field::PRODUCER_ID)?;
    let epoch = optional(reader.i16()?, ProducerEpoch::new, field::PRODUCER_EPOCH)?;
    let base_sequence = optional(reader.i32()?, Sequence::new, field::BASE_SEQUENCE)?;
    match (id, epoch) {
        (Some(id), Some(epoch)) => Ok(Some(ProducerStamp { id, epoch, base_sequence })),
        (Some(_), None) => Err(broken(field::PRODUCER_EPOCH, "a producer id has no producer epoch")),
        (None, _) => Ok(None),
    }
}

/// Checks that all offsets of the batch, and the one after it, exist and that the records fit between them.
fn check_offsets(base: i64, last_delta: i32, record_count: u32) -> Result<Offset> {
    let out_of_range = || damage(field::BASE_OFFSET, Damage::Offset { expected: Offset::ZERO, found: base });
    let base = Offset::new(base).ok_or_else(out_of_range)?;
    let span =
        u32::try_from(last_delta).map_err(|_| broken(field::LAST_OFFSET_DELTA, "the last offset delta is negative"))?;
    let span = u64::from(span) + 1;
    base.checked_plus(span)
        .ok_or_else(|| broken(field::LAST_OFFSET_DELTA, "the last offset is past the largest possible offset"))?;
    if u64::from(record_count) > span {
        return Err(broken(field::RECORD_COUNT, "there are more records than offsets"));
    }
    Ok(base)
}

/// Translates Kafka's -1 to `None`; other negative numbers are damage.
fn optional<R: Copy + Into<i64>, T>(raw: R, wrap: impl Fn(R) -> Option<T>, position: usize) -> Result<Option<T>> {
    match wrap(raw) {
        Some(value) => Ok(Some(value)),
        None if raw.into() == i64::from(ABSENT) => Ok(None),
        None => Err(broken(position, "an id, epoch or sequence is below -1")),
    }
}

fn impossible_length(stored: i32) -> Error {
    damage(field::BATCH_LENGTH, Damage::Length { stored: i64::from(stored) })
}

fn broken(position: usize, rule: &'static str) -> Error {
    damage(position, Damage::Structure(rule))
}

#[cold]
fn damage(position: usize, what: Damage) -> Error {
    Error::corrupt(position as u64, what)
}

#[cfg(test)]
mod tests {
    use super::super::golden;
    use super::*;

    /// The golden batch with other bytes at one field.
    fn with<const N: usize>(at: usize, value: [u8; N]) -> Vec<u8> {
        let mut bytes = golden::bytes(golden::ONE_RECORD);
        put(&mut bytes, at, value);
        bytes
    }

    fn damage_with<const N: usize>(at: usize, value: [u8; N]) -> (u64, Damage) {
        golden::damage(BatchHeader::parse(&with(at, value)))
    }

    #[test]
    fn the_fields_of_a_plain_batch_are_read() {
        let header = BatchHeader::parse(&golden::bytes(golden::ONE_RECORD)).unwrap();
        assert_eq!(header.base_offset(), Offset::ZERO);
        assert_eq!(header.size_in_bytes(), 70);
        assert_eq!(header.leader_epoch(), Some(LeaderEpoch::ZERO));
        assert_eq!(header.crc(), 0xe99b_8dd8);
        assert_eq!((header.codec(), header.timestamp_type()), (Compression::None, TimestampType::CreateTime));
        assert!(!header.is_transactional() && !header.is_control() && !header.has_delete_horizon());
        assert_eq!((header.last_offset_delta(), header.next_offset()), (0, Offset::from(1)));
        assert_eq!(header.base_timestamp(), Some(Timestamp::from_millis(1_700_000_000_000)));
        assert_eq!(header.max_timestamp(), header.base_timestamp());
        assert_eq!((header.producer(), header.base_sequence(), header.last_sequence()), (None, None, None));
        assert_eq!(header.record_count(), 1);
    }

    #[test]
    fn the_fields_of_a_transaction_marker_are_read() {
        let header = BatchHeader::parse(&golden::bytes(golden::COMMIT_MARKER)).unwrap();
        assert_eq!((header.base_offset(), header.last_offset()), (Offset::from(5), Offset::from(5)));
        assert_eq!(header.leader_epoch(), LeaderEpoch::new(3));
        assert!(header.is_transactional() && header.is_control());
        let id = ProducerId::new(1).unwrap();
        assert_eq!(header.producer(), Some(ProducerStamp { id, epoch: ProducerEpoch::ZERO, base_sequence: None }));
        assert_eq!(header.last_sequence(), None);
    }

    #[test]
    fn encoding_gives_back_the_bytes_that_were_parsed() {
        for hex in [golden::ONE_RECORD, golden::COMMIT_MARKER] {
            let bytes = golden::bytes(hex);
            assert_eq!(BatchHeader::parse(&bytes).unwrap().encode(), bytes[..BATCH_HEADER_LEN]);
        }
    }

    #[test]
    fn the_first_61_bytes_are_enough_to_parse() {
        let bytes = golden::bytes(golden::ONE_RECORD);
        assert_eq!(BatchHeader::parse(&bytes[..61]).unwrap(), BatchHeader::parse(&bytes).unwrap());
        for length in 0..61 {
            let (_, what) = golden::damage(BatchHeader::parse(&bytes[..length]));
            assert!(matches!(what, Damage::Truncated { .. }), "{length}: {what}");
        }
    }

    #[test]
    fn minus_one_means_none_in_every_optional_field() {
        let mut bytes = with(field::LEADER_EPOCH, (-1i32).to_be_bytes());
        put(&mut bytes, field::BASE_TIMESTAMP, (-1i64).to_be_bytes());
        put(&mut bytes, field::MAX_TIMESTAMP, (-1i64).to_be_bytes());
        let header = BatchHeader::parse(&bytes).unwrap();
        assert_eq!((header.leader_epoch(), header.base_timestamp(), header.max_timestamp()), (None, None, None));
    }

    #[test]
    fn a_delete_horizon_takes_the_place_of_the_base_timestamp() {
        let header = BatchHeader::parse(&with(field::ATTRIBUTES, [0, DELETE_HORIZON_BIT])).unwrap();
        assert!(header.has_delete_horizon());
        assert_eq!(header.base_timestamp(), None);
        assert_eq!(header.delete_horizon(), Some(Timestamp::from_millis(1_700_000_000_000)));
    }

    #[test]
    fn every_attribute_bit_survives_a_round_trip() {
        for attributes in 0..0x80u8 {
            let parsed = BatchHeader::parse(&with(field::ATTRIBUTES, [0, attributes]));
            if attributes & CODEC_MASK > 4 {
                assert_eq!(golden::damage(parsed).0, 21);
            } else {
                assert_eq!(parsed.unwrap().attributes(), attributes);
            }
        }
    }

    #[test]
    fn attribute_bits_without_a_meaning_are_ignored() {
        let header = BatchHeader::parse(&with(field::ATTRIBUTES, [0xff, 0x80])).unwrap();
        assert_eq!(header.attributes(), 0);
    }

    #[test]
    fn sequences_wrap_at_the_end_of_their_range() {
        let mut bytes = golden::bytes(golden::COMMIT_MARKER);
        put(&mut bytes, field::BASE_SEQUENCE, (i32::MAX - 1).to_be_bytes());
        put(&mut bytes, field::LAST_OFFSET_DELTA, 3i32.to_be_bytes());
        let header = BatchHeader::parse(&bytes).unwrap();
        assert_eq!(header.base_sequence(), Sequence::new(i32::MAX - 1));
        assert_eq!(header.last_sequence(), Sequence::new(1));
    }

    #[test]
    fn a_batch_without_records_keeps_its_offsets() {
        let mut bytes = with(field::RECORD_COUNT, 0i32.to_be_bytes());
        put(&mut bytes, field::LAST_OFFSET_DELTA, 9i32.to_be_bytes());
        let header = BatchHeader::parse(&bytes).unwrap();
        assert_eq!((header.record_count(), header.next_offset()), (0, Offset::from(10)));
    }

    #[test]
    fn a_length_below_that_of_a_header_is_damage() {
        assert_eq!(damage_with(field::BATCH_LENGTH, 48i32.to_be_bytes()), (8, Damage::Length { stored: 48 }));
        assert_eq!(damage_with(field::BATCH_LENGTH, (-1i32).to_be_bytes()), (8, Damage::Length { stored: -1 }));
    }

    #[test]
    fn zeros_are_damage_and_not_an_old_message_set() {
        assert_eq!(golden::damage(BatchHeader::parse(&[0; 61])), (8, Damage::Length { stored: 0 }));
    }

    #[test]
    fn an_unknown_magic_is_damage() {
        assert_eq!(damage_with(field::MAGIC, [3]), (16, Damage::Magic { stored: 3 }));
        assert_eq!(damage_with(field::MAGIC, [0xff]), (16, Damage::Magic { stored: -1 }));
    }

    #[test]
    fn a_negative_base_offset_is_damage() {
        let expected = Damage::Offset { expected: Offset::ZERO, found: -1 };
        assert_eq!(damage_with(field::BASE_OFFSET, (-1i64).to_be_bytes()), (0, expected));
    }

    #[test]
    fn a_negative_last_offset_delta_is_damage() {
        assert_eq!(damage_with(field::LAST_OFFSET_DELTA, (-1i32).to_be_bytes()).0, 23);
    }

    #[test]
    fn offsets_past_the_largest_are_damage() {
        assert_eq!(damage_with(field::BASE_OFFSET, i64::MAX.to_be_bytes()).0, 23);
        assert!(BatchHeader::parse(&with(field::BASE_OFFSET, (i64::MAX - 1).to_be_bytes())).is_ok());
    }

    #[test]
    fn impossible_record_counts_are_damage() {
        assert_eq!(damage_with(field::RECORD_COUNT, (-1i32).to_be_bytes()).0, 57);
        let more_than_offsets = Damage::Structure("there are more records than offsets");
        assert_eq!(damage_with(field::RECORD_COUNT, 2i32.to_be_bytes()), (57, more_than_offsets));
    }

    #[test]
    fn ids_epochs_and_sequences_below_minus_one_are_damage() {
        assert_eq!(damage_with(field::LEADER_EPOCH, (-2i32).to_be_bytes()).0, 12);
        assert_eq!(damage_with(field::PRODUCER_ID, (-2i64).to_be_bytes()).0, 43);
        assert_eq!(damage_with(field::PRODUCER_EPOCH, (-2i16).to_be_bytes()).0, 51);
        assert_eq!(damage_with(field::BASE_SEQUENCE, (-2i32).to_be_bytes()).0, 53);
    }

    #[test]
    fn a_producer_id_without_an_epoch_is_damage() {
        assert_eq!(damage_with(field::PRODUCER_ID, 7i64.to_be_bytes()).0, 51);
    }

    #[test]
    fn the_checksum_covers_everything_behind_it() {
        let intact = golden::bytes(golden::ONE_RECORD);
        for position in field::ATTRIBUTES..intact.len() {
            let mut bytes = intact.clone();
            bytes[position] ^= 1;
            let header = BatchHeader::parse(&intact).unwrap();
            let (at, what) = golden::damage(header.verify_crc(&bytes));
            assert!(at == 17 && matches!(what, Damage::Checksum { stored: 0xe99b_8dd8, .. }), "{position}: {what}");
        }
    }

    #[test]
    fn the_checksum_leaves_out_what_the_leader_stamps() {
        let mut bytes = with(field::BASE_OFFSET, 99i64.to_be_bytes());
        put(&mut bytes, field::LEADER_EPOCH, 7i32.to_be_bytes());
        BatchHeader::parse(&bytes).unwrap().verify_crc(&bytes).unwrap();
    }

    #[test]
    fn the_checksum_of_an_incomplete_batch_is_not_computed() {
        let bytes = golden::bytes(golden::ONE_RECORD);
        let header = BatchHeader::parse(&bytes).unwrap();
        let expected = Damage::Truncated { needed: 70, available: 69 };
        assert_eq!(golden::damage(header.verify_crc(&bytes[..69])), (0, expected));
    }
}
