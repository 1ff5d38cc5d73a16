//! [P] Message sets of magic 0 and 1, as Kafka wrote them before 0.11: read, never written.
//!
//! | field | type | meaning |
//! |---|---|---|
//! | offset | int64 | of a compressed set: that of its last message |
//! | size | int32 | bytes behind this field |
//! | crc | int32 | CRC-32 (not CRC-32C) of everything behind this field |
//! | magic | int8 | 0 or 1 |
//! | attributes | int8 | bits 0 to 2 the codec, never zstd; bit 3 the timestamp type, of magic 1 |
//! | timestamp | int64 | of magic 1 only: ms, or -1 |
//! | key | int32 length, bytes | length -1 is null |
//! | value | int32 length, bytes | length -1 is null |
//!
//! A message that is not compressed is a batch of one record. A compressed one has a set of messages as its value: with
//! absolute offsets in magic 0; in magic 1 with offsets that count towards that of the last message, so that the first
//! offset is known only when the set is decompressed. [`unpack`] lays both out as records of magic 2, so that everything
//! above reads one form; that never takes more bytes. Kafka's counterpart: `AbstractLegacyRecordBatch`, `LegacyRecord`.

use super::batch::in_batch;
use super::builder::Encoder;
use super::compression::{Decompressor, HeaderChecksum};
use super::cursor::Reader;
use super::header::{ABSENT, BatchHeader, LOG_APPEND_TIME_BIT};
use crate::error::{Damage, Error, Result};
use crate::types::{Compression, Offset, TimestampType};

/// Bytes of the smallest message: of magic 0, with neither key nor value.
pub(crate) const MESSAGE_BYTES_MIN: usize = UNCOUNTED_LEN + 14;

/// Where each field starts, in bytes from the start of the message.
const SIZE_AT: usize = 8;
pub(super) const CRC_AT: usize = 12;
const MAGIC_AT: usize = 16;
const ATTRIBUTES_AT: usize = 17;
/// Bytes that the size does not count: the offset and the size itself.
const UNCOUNTED_LEN: usize = 12;

/// The rule of the format that a message breaks.
type Rule = &'static str;

/// Reads the fixed fields of the message at the front of `bytes`, which may end behind them. A compressed set has no base
/// offset yet, and no number of records: [`BatchHeader::is_base_offset_known`].
pub(super) fn parse_header(bytes: &[u8]) -> Result<BatchHeader> {
    let mut reader = Reader::new(bytes);
    let raw_offset = reader.i64()?;
    let size = reader.i32()?;
    let crc = reader.u32()?;
    let magic = reader.u8()?;
    let attributes = reader.u8()?;
    let size_min = if magic == 0 { 14 } else { 22 };
    let size_in_bytes = usize::try_from(size)
        .ok()
        .filter(|size| *size >= size_min)
        .and_then(|size| size.checked_add(UNCOUNTED_LEN))
        .ok_or_else(|| Error::corrupt(SIZE_AT as u64, Damage::Length { stored: i64::from(size) }))?;
    let millis = if magic == 0 { ABSENT.into() } else { reader.i64()? };
    // The largest possible number leaves no offset for the log's end.
    let offset = Offset::new(raw_offset)
        .filter(|offset| *offset < Offset::MAX)
        .ok_or_else(|| Error::corrupt(0, Damage::Offset { expected: Offset::ZERO, found: raw_offset }))?;
    let codec = Compression::from_attributes(attributes)
        .filter(|codec| *codec != Compression::Zstd)
        .ok_or_else(|| broken(ATTRIBUTES_AT, "the compression codec is none of message sets"))?;
    let is_append_time = magic > 0 && attributes & LOG_APPEND_TIME_BIT != 0;
    Ok(BatchHeader {
        magic,
        base_offset: offset,
        size_in_bytes,
        leader_epoch: None,
        crc,
        codec,
        timestamp_type: if is_append_time { TimestampType::LogAppendTime } else { TimestampType::CreateTime },
        is_transactional: false,
        is_control: false,
        has_delete_horizon: false,
        last_offset_delta: 0,
        base_millis: millis,
        max_millis: millis,
        producer: None,
        record_count: if codec == Compression::None { 1 } else { 0 },
    })
}

/// The checksum of a whole message.
pub(super) fn crc_of(message: &[u8]) -> u32 {
    crc32fast::hash(message.get(MAGIC_AT..).unwrap_or_default())
}

/// Whether the lengths of key and value, as far as they are in `bytes`, fit the message that starts there: a test that costs
/// less than its checksum.
pub(crate) fn is_plausible(header: &BatchHeader, bytes: &[u8]) -> bool {
    let fixed = fixed_len(header.magic);
    let Some(key) = bytes.get(fixed..).and_then(|bytes| bytes.first_chunk()) else { return true };
    let room = header.size_in_bytes.saturating_sub(fixed + 8);
    let Ok(key) = usize::try_from(i32::from_be_bytes(*key).max(0)) else { return false };
    let Some(room) = room.checked_sub(key) else { return false };
    let Some(value) = bytes.get(fixed + 4 + key..).and_then(|bytes| bytes.first_chunk()) else { return true };
    usize::try_from(i32::from_be_bytes(*value).max(0)).is_ok_and(|value| value == room)
}

/// Replaces what is in `area` by the records of the message at the front of `bytes`, laid out as in magic 2, and returns
/// the header that they are read with. At most `limit` bytes are decompressed.
pub(super) fn unpack(
    decompressor: &mut Decompressor,
    header: &BatchHeader,
    bytes: &[u8],
    limit: usize,
    area: &mut Vec<u8>,
) -> Result<BatchHeader> {
    area.clear();
    let outer = outer_message(header, bytes)?;
    if header.codec == Compression::None {
        outer.encode(area, outer.millis, 0);
        return Ok(*header);
    }
    let mut set = Vec::new();
    let (unpacked, shift) = open_set(decompressor, header, bytes, limit, &mut set)?;
    let mut rest = set.as_slice();
    let base = unpacked.base_offset.get();
    while !rest.is_empty() {
        let (message, behind) = split_message(rest).map_err(|rule| broken(fixed_len(header.magic), rule))?;
        let delta = message.offset.saturating_add(shift).saturating_sub(base);
        // The set was walked over: its offsets span no more than that.
        message.encode(area, unpacked.base_millis, i32::try_from(delta).unwrap_or(i32::MAX));
        rest = behind;
    }
    Ok(unpacked)
}

/// The checksums of the messages that are unpacked from the batch at the front of `bytes`, in order.
pub(super) fn checksums(header: &BatchHeader, bytes: &[u8], limit: usize) -> Result<Vec<u32>> {
    if header.codec == Compression::None {
        return Ok(vec![header.crc]);
    }
    let mut set = Vec::new();
    open_set(&mut Decompressor::default(), header, bytes, limit, &mut set)?;
    let (mut checksums, mut rest) = (Vec::new(), set.as_slice());
    while !rest.is_empty() {
        let (message, behind) = split_message(rest).map_err(|rule| broken(fixed_len(header.magic), rule))?;
        checksums.push(message.crc);
        rest = behind;
    }
    Ok(checksums)
}

/// The header of the compressed set at the front of `bytes` with what only its messages tell: base offset and number of
/// records. `set` is room to decompress them.
///
/// # Errors
/// Why they cannot be read.
pub(crate) fn resolve(header: &BatchHeader, bytes: &[u8], limit: usize, set: &mut Vec<u8>) -> Result<BatchHeader> {
    open_set(&mut Decompressor::default(), header, bytes, limit, set).map(|(resolved, _)| resolved)
}

/// Decompresses and checks a set; also tells what makes absolute offsets of those in it.
fn open_set(
    decompressor: &mut Decompressor,
    header: &BatchHeader,
    bytes: &[u8],
    limit: usize,
    set: &mut Vec<u8>,
) -> Result<(BatchHeader, i64)> {
    let outer = outer_message(header, bytes)?;
    let at = value_position(header, &outer);
    let value = outer.value.ok_or_else(|| broken(at, "a compressed message set has no value"))?;
    let checksum = if header.magic == 0 { HeaderChecksum::Ignored } else { HeaderChecksum::Verified };
    let unpacked = decompressor.decompress_checking(checksum, header.codec, value, limit, set);
    unpacked.map_err(|error| in_batch(error, at))?;
    let found = Summary::of(header, set).map_err(|rule| broken(at, rule))?;
    found.applied_to(header).map_err(|rule| broken(at, rule))
}

/// What a walk over a set tells of its messages.
#[derive(Debug)]
struct Summary {
    first_offset: i64,
    last_offset: i64,
    first_millis: i64,
    count: u32,
}

impl Summary {
    /// Checks every message of a set.
    fn of(header: &BatchHeader, set: &[u8]) -> Result<Summary, Rule> {
        let mut found: Option<Summary> = None;
        let mut rest = set;
        while !rest.is_empty() {
            let (message, behind) = split_message(rest)?;
            message.check(header)?;
            let previous = found.get_or_insert(Summary {
                first_offset: message.offset,
                last_offset: -1,
                first_millis: message.millis,
                count: 0,
            });
            if message.offset <= previous.last_offset {
                return Err("offsets within a compressed message set do not increase");
            }
            previous.last_offset = message.offset;
            previous.count = previous.count.saturating_add(1);
            rest = behind;
        }
        found.ok_or("a compressed message set has no messages")
    }

    fn applied_to(&self, header: &BatchHeader) -> Result<(BatchHeader, i64), Rule> {
        let wrapper = header.last_offset().get();
        let too_low = "the offset of a compressed message set is below that of its last message";
        let shift = match header.magic {
            0 => 0,
            // What clients sent before a broker had numbered it.
            _ if wrapper == 0 => 0,
            _ => wrapper.checked_sub(self.last_offset).filter(|shift| *shift >= 0).ok_or(too_low)?,
        };
        if header.magic == 0 && self.last_offset > wrapper {
            return Err(too_low);
        }
        let first = Offset::new(self.first_offset.saturating_add(shift)).ok_or(too_low)?;
        let last = self.last_offset.saturating_add(shift).max(wrapper);
        if last == Offset::MAX.get() {
            // As of a plain message: what follows would have no offset. Only a set that no broker numbered gets here.
            return Err("the last offset is past the largest possible offset");
        }
        let span = last.checked_sub(first.get()).and_then(|span| i32::try_from(span).ok());
        let last_offset_delta = span.ok_or("a compressed message set spans too many offsets")?;
        let base_millis = self.first_millis;
        let unpacked =
            BatchHeader { base_offset: first, last_offset_delta, record_count: self.count, base_millis, ..*header };
        Ok((unpacked, shift))
    }
}

/// One message, whole.
#[derive(Debug)]
struct Message<'a> {
    bytes: &'a [u8],
    offset: i64,
    crc: u32,
    magic: u8,
    attributes: u8,
    millis: i64,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
}

impl Message<'_> {
    /// Whether it may stand in this compressed set.
    fn check(&self, set: &BatchHeader) -> Result<(), Rule> {
        let rules = [
            (self.magic == set.magic, "a message has another magic than its compressed set"),
            (
                Compression::from_attributes(self.attributes) == Some(Compression::None),
                "compressed message sets are nested",
            ),
            (self.offset >= 0, "a message in a compressed set has a negative offset"),
            (crc_of(self.bytes) == self.crc, "the checksum of a message in a compressed set is wrong"),
        ];
        rules.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, rule)| Err(rule))
    }

    /// Appends it as a record of magic 2.
    fn encode(&self, area: &mut Vec<u8>, base_millis: i64, offset_delta: i32) {
        let timestamp_delta = self.millis.wrapping_sub(base_millis);
        let record = Encoder { timestamp_delta, offset_delta, key: self.key, value: self.value, headers: &[] };
        // The fields come from a message, whose length is an i32, and take no more room here.
        record.encode(i32::try_from(record.body_len()).unwrap_or(i32::MAX), area);
    }
}

/// The whole message that the header speaks of.
fn outer_message<'a>(header: &BatchHeader, bytes: &'a [u8]) -> Result<Message<'a>> {
    let (message, _) = split_message(header.batch_of(bytes)?).map_err(|rule| broken(fixed_len(header.magic), rule))?;
    Ok(message)
}

/// Splits off the message at the front of `bytes`.
fn split_message(bytes: &[u8]) -> Result<(Message<'_>, &[u8]), Rule> {
    let too_short = |_| "a message is longer than its set";
    let mut reader = Reader::new(bytes);
    let offset = reader.i64().map_err(too_short)?;
    let size = usize::try_from(reader.i32().map_err(too_short)?).map_err(|_| "the size of a message is negative")?;
    let whole = size.checked_add(UNCOUNTED_LEN).and_then(|len| bytes.split_at_checked(len));
    let (bytes, behind) = whole.ok_or("a message is longer than its set")?;
    let message = parse_message(offset, bytes).map_err(|_| "a message is shorter than its fields")?;
    let message = message.ok_or("the length of a key or value is impossible, or bytes follow them")?;
    Ok((message, behind))
}

/// Reads a message of exactly these bytes; `None` when key and value are not all that follows its fixed fields.
fn parse_message(offset: i64, bytes: &[u8]) -> Result<Option<Message<'_>>> {
    let mut reader = Reader::new(bytes.get(CRC_AT..).unwrap_or_default());
    let (crc, magic, attributes) = (reader.u32()?, reader.u8()?, reader.u8()?);
    let millis = if magic == 0 { ABSENT.into() } else { reader.i64()? };
    let (Some(key), Some(value)) = (parse_bytes(&mut reader)?, parse_bytes(&mut reader)?) else { return Ok(None) };
    let message = Message { bytes, offset, crc, magic, attributes, millis, key, value };
    Ok((reader.remaining() == 0).then_some(message))
}

/// Reads bytes behind their length; `None` for a length below that of null.
#[allow(clippy::option_option, reason = "null and an impossible length are two answers")]
fn parse_bytes<'a>(reader: &mut Reader<'a>) -> Result<Option<Option<&'a [u8]>>> {
    let length = reader.i32()?;
    match usize::try_from(length) {
        Ok(length) => Ok(Some(Some(reader.take(length)?))),
        Err(_) => Ok((length == ABSENT.into()).then_some(None)),
    }
}

/// Bytes of a message before the length of its key.
const fn fixed_len(magic: u8) -> usize {
    if magic == 0 { ATTRIBUTES_AT + 1 } else { ATTRIBUTES_AT + 9 }
}

/// Where the value of the message begins, whose lengths were checked.
fn value_position(header: &BatchHeader, message: &Message<'_>) -> usize {
    fixed_len(header.magic) + 8 + message.key.map_or(0, <[u8]>::len)
}

fn broken(position: usize, rule: Rule) -> Error {
    Error::corrupt(position as u64, Damage::Structure(rule))
}

#[cfg(test)]
mod tests;
