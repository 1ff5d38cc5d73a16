//! [P] Reading a batch where it lies: checked once, iterated without copying.
//!
//! A `RecordBatchRef` exists only for bytes whose whole structure has been walked, so its iterators cannot fail and
//! check nothing again beyond the slice bounds that safe Rust asks for. Nothing is allocated, whatever the bytes say.
//! Kafka's counterparts: `DefaultRecordBatch.iterator`, `DefaultRecord.readFrom`.

use std::iter::FusedIterator;

use super::header::{BATCH_HEADER_LEN, BatchHeader, timestamp};
use super::varint::{VarintError, decode_i32, decode_i64};
use crate::error::{Damage, Error, Result};
use crate::types::{Compression, Offset, Sequence, Timestamp, TimestampType};

/// The rule of the format that a record breaks.
type Rule = &'static str;

/// What is said of a message of magic 0 or 1 where only batches will do.
pub(crate) const LEGACY: Rule = "message sets of magic 0 and 1 are read by RecordBatch only, and never written";

/// A valid batch in borrowed bytes, whose records are not compressed, or were decompressed by a [`RecordBatch`].
///
/// [`RecordBatch`]: super::RecordBatch
///
/// ```
/// use logstead::record::{BatchBuilder, BatchOptions, RecordBatchRef};
/// let mut builder = BatchBuilder::new(BatchOptions::default());
/// builder.append(None, Some(b"customer-7"), Some(b"order 1"), &[])?;
/// builder.append(None, Some(b"customer-7"), None, &[])?;
/// let bytes = builder.build()?.into_buffer();
///
/// let batch = RecordBatchRef::from_bytes(&bytes)?;
/// let values: Vec<_> = batch.records().map(|record| record.value()).collect();
/// assert_eq!(values, [Some(&b"order 1"[..]), None]);
/// # Ok::<(), logstead::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct RecordBatchRef<'a> {
    header: BatchHeader,
    bytes: &'a [u8],
    /// The records, as they stand in an uncompressed batch.
    area: &'a [u8],
}

impl<'a> RecordBatchRef<'a> {
    /// Checks the batch at the front of `bytes`: header, checksum, and one pass over the records. Bytes behind the
    /// batch are ignored.
    ///
    /// # Errors
    /// - [`Error::Corrupt`] when a check fails or the batch is longer than `bytes`.
    /// - [`Error::InvalidRecord`] for a message set of magic 0 or 1, and when the records are compressed: those take a
    ///   [`RecordBatch`](super::RecordBatch).
    pub fn from_bytes(bytes: &'a [u8]) -> Result<RecordBatchRef<'a>> {
        let header = BatchHeader::parse(bytes)?;
        if !header.is_legacy() {
            header.verify_crc(bytes)?;
        }
        RecordBatchRef::check(header, bytes)
    }

    /// Like [`from_bytes`](Self::from_bytes), for bytes whose checksum was verified a moment ago: it is not computed
    /// again.
    ///
    /// # Errors
    /// Those of [`from_bytes`](Self::from_bytes), except a wrong checksum.
    pub fn from_checked_bytes(bytes: &'a [u8]) -> Result<RecordBatchRef<'a>> {
        RecordBatchRef::check(BatchHeader::parse(bytes)?, bytes)
    }

    /// Like [`from_checked_bytes`](Self::from_checked_bytes), where the header at the front of `bytes` was parsed already.
    pub(crate) fn check(header: BatchHeader, bytes: &'a [u8]) -> Result<RecordBatchRef<'a>> {
        let batch = RecordBatchRef::trusted(header, header.batch_of(bytes)?);
        if header.is_legacy() {
            return Err(Error::InvalidRecord { index: None, what: LEGACY });
        }
        if header.codec() != Compression::None {
            return Err(Error::InvalidRecord { index: None, what: "the records are compressed" });
        }
        check_records(&header, batch.area)?;
        Ok(batch)
    }

    /// For bytes that this module encoded, or checked, itself.
    pub(super) fn trusted(header: BatchHeader, bytes: &'a [u8]) -> RecordBatchRef<'a> {
        RecordBatchRef { header, bytes, area: bytes.get(BATCH_HEADER_LEN..).unwrap_or_default() }
    }

    /// For records that this module has decompressed and checked.
    pub(super) const fn unpacked(header: BatchHeader, bytes: &'a [u8], area: &'a [u8]) -> RecordBatchRef<'a> {
        RecordBatchRef { header, bytes, area }
    }

    /// The fixed fields.
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The bytes of this batch and no more.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The records, in offset order.
    pub fn records(&self) -> Records<'a> {
        Records::resume(&self.header, self.area, self.header.record_count)
    }
}

/// The records of one batch.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    rest: &'a [u8],
    remaining: u32,
    base_offset: Offset,
    base_sequence: Option<Sequence>,
    base_millis: i64,
    append_millis: Option<i64>,
}

impl<'a> Records<'a> {
    /// Goes on in a batch that was checked: `rest` begins with a record of it, and this many are left.
    pub(crate) fn resume(header: &BatchHeader, rest: &'a [u8], remaining: u32) -> Records<'a> {
        Records {
            rest,
            remaining,
            base_offset: header.base_offset,
            base_sequence: header.base_sequence(),
            base_millis: header.base_millis,
            append_millis: match header.timestamp_type {
                TimestampType::CreateTime => None,
                TimestampType::LogAppendTime => Some(header.max_millis),
            },
        }
    }

    /// The bytes of the records that are left.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Steps over so many records by their lengths; nothing else of them is decoded.
    pub(crate) fn skip_records(&mut self, count: u32) {
        for _ in 0..count.min(self.remaining) {
            // The structural pass has parsed these very bytes.
            let Ok((_, rest)) = split_record(self.rest) else { return };
            self.rest = rest;
            self.remaining -= 1;
        }
    }

    /// Steps over one record and returns its offset; the rest of it is not decoded.
    pub(crate) fn skip_record(&mut self) -> Option<Offset> {
        self.remaining = self.remaining.checked_sub(1)?;
        // The structural pass has parsed these very bytes.
        let (body, rest) = split_record(self.rest).ok()?;
        let (_attributes, body) = body.split_first()?;
        let (_timestamp_delta, body) = decode_i64(body).ok()?;
        let (offset_delta, _) = decode_i32(body).ok()?;
        self.rest = rest;
        Some(self.base_offset.plus(u64::from(offset_delta.unsigned_abs())))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = RecordRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<RecordRef<'a>> {
        self.remaining = self.remaining.checked_sub(1)?;
        // The structural pass has parsed these very bytes, so neither step fails.
        let (body, rest) = split_record(self.rest).ok()?;
        let fields = parse_record(body).ok()?;
        let size_in_bytes = self.rest.len() - rest.len();
        self.rest = rest;
        // Deltas are computed with wrapping arithmetic, in Kafka as here, so that they undo each other.
        let millis = self.append_millis.unwrap_or(self.base_millis.wrapping_add(fields.timestamp_delta));
        Some(RecordRef {
            offset: self.base_offset.plus(u64::from(fields.offset_delta.unsigned_abs())),
            timestamp: timestamp(millis),
            sequence: self.base_sequence.map(|base| base.plus(fields.offset_delta)),
            key: fields.key,
            value: fields.value,
            headers: fields.headers,
            size_in_bytes,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // A record takes several bytes of memory, so their number fits.
        let remaining = usize::try_from(self.remaining).unwrap_or(usize::MAX);
        (remaining, Some(remaining))
    }
}

impl ExactSizeIterator for Records<'_> {}
impl FusedIterator for Records<'_> {}

/// One record of a batch, borrowing the batch's bytes.
#[derive(Debug, Clone)]
pub struct RecordRef<'a> {
    offset: Offset,
    timestamp: Option<Timestamp>,
    sequence: Option<Sequence>,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: RecordHeaders<'a>,
    size_in_bytes: usize,
}

impl<'a> RecordRef<'a> {
    /// The record's position in the partition.
    pub const fn offset(&self) -> Offset {
        self.offset
    }

    /// The producer's time, or the append time of the whole batch; `None` when the producer gave none.
    pub const fn timestamp(&self) -> Option<Timestamp> {
        self.timestamp
    }

    /// The producer's sequence number; `None` without duplicate detection.
    pub const fn sequence(&self) -> Option<Sequence> {
        self.sequence
    }

    /// The key; `None` (Kafka's null) is not the same as an empty one.
    pub const fn key(&self) -> Option<&'a [u8]> {
        self.key
    }

    /// The value; `None` is a tombstone in a compacted topic.
    pub const fn value(&self) -> Option<&'a [u8]> {
        self.value
    }

    /// The headers in the order in which they were added; keys may repeat.
    pub fn headers(&self) -> RecordHeaders<'a> {
        self.headers.clone()
    }

    /// The record's size in the batch in bytes, its length field included.
    pub const fn size_in_bytes(&self) -> usize {
        self.size_in_bytes
    }
}

/// The headers of one record.
#[derive(Debug, Clone)]
pub struct RecordHeaders<'a> {
    rest: &'a [u8],
    remaining: u32,
}

impl<'a> Iterator for RecordHeaders<'a> {
    type Item = HeaderRef<'a>;

    fn next(&mut self) -> Option<HeaderRef<'a>> {
        self.remaining = self.remaining.checked_sub(1)?;
        // The structural pass has parsed these very bytes.
        let (header, rest) = parse_header(self.rest).ok()?;
        self.rest = rest;
        Some(header)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let remaining = usize::try_from(self.remaining).unwrap_or(usize::MAX);
        (remaining, Some(remaining))
    }
}

impl ExactSizeIterator for RecordHeaders<'_> {}
impl FusedIterator for RecordHeaders<'_> {}

/// One header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderRef<'a> {
    key: &'a [u8],
    value: Option<&'a [u8]>,
}

impl<'a> HeaderRef<'a> {
    /// The key as stored.
    pub const fn key_bytes(&self) -> &'a [u8] {
        self.key
    }

    /// The key as text; `None` when it is not valid UTF-8, which the format asks for but no reader enforces.
    pub fn key(&self) -> Option<&'a str> {
        str::from_utf8(self.key).ok()
    }

    /// The value; `None` is Kafka's null.
    pub const fn value(&self) -> Option<&'a [u8]> {
        self.value
    }
}

/// The pass that makes the iterators infallible.
pub(super) fn check_records(header: &BatchHeader, records: &[u8]) -> Result<()> {
    let broken_at = |rest: &[u8], rule: Rule| {
        let position = BATCH_HEADER_LEN + (records.len() - rest.len());
        Error::corrupt(position as u64, Damage::Structure(rule))
    };
    let mut rest = records;
    let mut previous_delta = -1;
    for _ in 0..header.record_count {
        let (offset_delta, behind) = check_record(rest).map_err(|rule| broken_at(rest, rule))?;
        if offset_delta <= previous_delta {
            return Err(broken_at(rest, "offsets within a batch do not increase"));
        }
        previous_delta = offset_delta;
        if offset_delta > header.last_offset_delta {
            return Err(broken_at(rest, "a record's offset is past the last offset of its batch"));
        }
        rest = behind;
    }
    if rest.is_empty() { Ok(()) } else { Err(broken_at(rest, "bytes are left behind the last record")) }
}

/// Walks one record, headers included; returns its offset delta and the bytes behind it.
#[inline(always)]
fn check_record(bytes: &[u8]) -> Result<(i32, &[u8]), Rule> {
    let (body, behind) = split_record(bytes)?;
    let fields = parse_record(body)?;
    let mut headers = fields.headers.rest;
    for _ in 0..fields.headers.remaining {
        (_, headers) = parse_header(headers)?;
    }
    if headers.is_empty() {
        Ok((fields.offset_delta, behind))
    } else {
        Err("a record's length is larger than its fields")
    }
}

/// A record's fields as stored.
struct Fields<'a> {
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: RecordHeaders<'a>,
}

/// Splits off the record at the front of `bytes`, without its length field.
#[inline(always)]
fn split_record(bytes: &[u8]) -> Result<(&[u8], &[u8]), Rule> {
    let (length, rest) = decode_i32(bytes).map_err(varint_rule)?;
    let length = usize::try_from(length).map_err(|_| "a record's length is negative")?;
    rest.split_at_checked(length).ok_or("a record is longer than its batch")
}

/// Reads the fields of a record up to its headers.
#[inline(always)]
fn parse_record(body: &[u8]) -> Result<Fields<'_>, Rule> {
    // No attribute of a record has a meaning yet; Kafka ignores the byte.
    let (_attributes, rest) = body.split_first().ok_or("a record is shorter than its fields")?;
    let (timestamp_delta, rest) = decode_i64(rest).map_err(varint_rule)?;
    let (offset_delta, rest) = decode_i32(rest).map_err(varint_rule)?;
    let (key, rest) = parse_bytes(rest)?;
    let (value, rest) = parse_bytes(rest)?;
    let (count, rest) = decode_i32(rest).map_err(varint_rule)?;
    let remaining = u32::try_from(count).map_err(|_| "the number of headers is negative")?;
    Ok(Fields { timestamp_delta, offset_delta, key, value, headers: RecordHeaders { rest, remaining } })
}

#[inline]
fn parse_header(bytes: &[u8]) -> Result<(HeaderRef<'_>, &[u8]), Rule> {
    let (key, rest) = parse_bytes(bytes)?;
    let key = key.ok_or("a header has a null key")?;
    let (value, rest) = parse_bytes(rest)?;
    Ok((HeaderRef { key, value }, rest))
}

/// Reads bytes behind their length; -1 is null.
#[inline(always)]
fn parse_bytes(bytes: &[u8]) -> Result<(Option<&[u8]>, &[u8]), Rule> {
    let (length, rest) = decode_i32(bytes).map_err(varint_rule)?;
    match usize::try_from(length) {
        Ok(length) => {
            let (taken, rest) = rest.split_at_checked(length).ok_or("a field is longer than its record")?;
            Ok((Some(taken), rest))
        }
        Err(_) if length == -1 => Ok((None, rest)),
        Err(_) => Err("a length is below -1"),
    }
}

fn varint_rule(error: VarintError) -> Rule {
    match error {
        VarintError::Truncated => "a record is shorter than its fields",
        VarintError::TooLong => "a varint is too long",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::header::{field, put, seal};
    use super::super::{BatchBuilder, BatchOptions, Header, RecordBatch, golden};
    use super::*;

    /// A batch of hand-made record bytes, its header made to fit them.
    fn batch(record_count: i32, last_offset_delta: i32, records: &[u8]) -> Vec<u8> {
        let mut bytes = golden::bytes(golden::ONE_RECORD);
        bytes.truncate(BATCH_HEADER_LEN);
        bytes.extend_from_slice(records);
        let length = i32::try_from(bytes.len() - 12).unwrap();
        put(&mut bytes, field::BATCH_LENGTH, length.to_be_bytes());
        put(&mut bytes, field::RECORD_COUNT, record_count.to_be_bytes());
        put(&mut bytes, field::LAST_OFFSET_DELTA, last_offset_delta.to_be_bytes());
        seal(&mut bytes);
        bytes
    }

    #[test]
    fn a_compressed_batch_without_records_needs_no_stream() {
        for codec in 1..=4 {
            for (area, is_sound) in [(&[][..], true), (&[0; 9][..], false)] {
                let mut bytes = batch(0, 5, area);
                put(&mut bytes, field::ATTRIBUTES, [0, codec]);
                seal(&mut bytes);
                let read = RecordBatch::from_bytes(&bytes).map(|batch| batch.records().len());
                assert_eq!(read.ok(), is_sound.then_some(0), "{codec}");
            }
        }
    }

    /// The damage found in a batch of one record, which starts at position 61.
    fn damage_of(record: &[u8]) -> Damage {
        let (position, what) = golden::damage(RecordBatchRef::from_bytes(&batch(1, 0, record)));
        assert_eq!(position, 61);
        what
    }

    /// Reads everything that a batch has to give.
    fn read_all(batch: &RecordBatchRef<'_>) -> (usize, usize) {
        let (mut records, mut bytes) = (0, BATCH_HEADER_LEN);
        for record in batch.records() {
            assert_eq!(record.headers().count(), record.headers().len());
            records += 1;
            bytes += record.size_in_bytes();
        }
        (records, bytes)
    }

    #[test]
    fn a_batch_of_kafka_is_read() {
        let bytes = golden::bytes(golden::ONE_RECORD);
        let batch = RecordBatchRef::from_bytes(&bytes).unwrap();
        let record = batch.records().next().unwrap();
        assert_eq!((record.key(), record.value()), (Some(&b"k"[..]), Some(&b"v"[..])));
        assert_eq!(record.timestamp(), Some(Timestamp::from_millis(1_700_000_000_000)));
        assert_eq!((record.offset(), record.sequence(), record.size_in_bytes()), (Offset::ZERO, None, 9));
        assert_eq!(record.headers().len(), 0);
    }

    #[test]
    fn bytes_behind_the_batch_are_ignored() {
        let mut bytes = golden::bytes(golden::ONE_RECORD);
        bytes.extend_from_slice(b"the next batch");
        assert_eq!(RecordBatchRef::from_bytes(&bytes).unwrap().bytes().len(), 70);
    }

    #[test]
    fn null_and_empty_are_different() {
        let bytes = batch(1, 0, &[20, 0, 0, 0, 0, 1, 4, 0, 1, 0, 0]);
        let record = RecordBatchRef::from_bytes(&bytes).unwrap().records().next().unwrap();
        assert_eq!((record.key(), record.value()), (Some(&[][..]), None));
        let values: Vec<_> = record.headers().map(|header| (header.key_bytes(), header.value())).collect();
        assert_eq!(values, [(&[][..], None), (&[][..], Some(&[][..]))]);
    }

    #[test]
    fn duplicate_header_keys_keep_their_order() {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        let headers = [
            Header { key: "a", value: Some(b"1") },
            Header { key: "b", value: None },
            Header { key: "a", value: Some(b"2") },
        ];
        builder.append(None, None, None, &headers).unwrap();
        let built = builder.build().unwrap();
        let record = RecordBatchRef::from_bytes(built.bytes()).unwrap().records().next().unwrap();
        let read: Vec<_> = record.headers().map(|header| (header.key().unwrap(), header.value())).collect();
        assert_eq!(read, [("a", Some(&b"1"[..])), ("b", None), ("a", Some(&b"2"[..]))]);
    }

    #[test]
    fn a_header_key_that_is_not_utf_8_is_given_as_bytes() {
        let bytes = batch(1, 0, &[18, 0, 0, 0, 1, 1, 2, 2, 0xff, 1]);
        let record = RecordBatchRef::from_bytes(&bytes).unwrap().records().next().unwrap();
        let header = record.headers().next().unwrap();
        assert_eq!((header.key(), header.key_bytes()), (None, &[0xff][..]));
    }

    #[test]
    fn timestamp_deltas_may_be_negative() {
        // Two records of 6 bytes each: deltas 0 and -1000 ms, offsets 0 and 1.
        let bytes = batch(2, 1, &[12, 0, 0, 0, 1, 1, 0, 14, 0, 0xcf, 0x0f, 2, 1, 1, 0]);
        let millis: Vec<_> = RecordBatchRef::from_bytes(&bytes)
            .unwrap()
            .records()
            .map(|record| record.timestamp().unwrap().as_millis())
            .collect();
        assert_eq!(millis, [1_700_000_000_000, 1_699_999_999_000]);
    }

    #[test]
    fn the_append_time_stands_for_every_record() {
        let mut bytes = batch(2, 1, &[12, 0, 0, 0, 1, 1, 0, 12, 0, 9, 2, 1, 1, 0]);
        put(&mut bytes, field::ATTRIBUTES, [0, 0x08]);
        put(&mut bytes, field::MAX_TIMESTAMP, 42i64.to_be_bytes());
        seal(&mut bytes);
        let batch = RecordBatchRef::from_bytes(&bytes).unwrap();
        assert!(batch.records().all(|record| record.timestamp() == Some(Timestamp::from_millis(42))));
    }

    #[test]
    fn gaps_of_a_compacted_batch_show_in_offsets_and_sequences() {
        let mut bytes = batch(2, 9, &[12, 0, 0, 4, 1, 1, 0, 12, 0, 0, 14, 1, 1, 0]);
        put(&mut bytes, field::PRODUCER_ID, 1i64.to_be_bytes());
        put(&mut bytes, field::PRODUCER_EPOCH, 0i16.to_be_bytes());
        put(&mut bytes, field::BASE_SEQUENCE, (i32::MAX - 4).to_be_bytes());
        seal(&mut bytes);
        let batch = RecordBatchRef::from_bytes(&bytes).unwrap();
        let read: Vec<_> =
            batch.records().map(|record| (record.offset().get(), record.sequence().unwrap().get())).collect();
        assert_eq!(read, [(2, i32::MAX - 2), (7, 2)]);
        assert_eq!(batch.header().next_offset(), Offset::from(10));
    }

    #[test]
    fn a_batch_without_records_is_legal() {
        let bytes = batch(0, 9, &[]);
        let batch = RecordBatchRef::from_bytes(&bytes).unwrap();
        assert_eq!(batch.records().len(), 0);
        assert_eq!(batch.header().next_offset(), Offset::from(10));
    }

    #[test]
    fn compressed_records_are_not_taken_for_plain_ones() {
        let mut bytes = golden::bytes(golden::ONE_RECORD);
        put(&mut bytes, field::ATTRIBUTES, [0, 1]);
        seal(&mut bytes);
        let refused = golden::invalid(RecordBatchRef::from_bytes(&bytes));
        assert_eq!(refused, (None, "the records are compressed"));
    }

    #[test]
    fn the_checksum_is_verified_unless_it_was_before() {
        let mut bytes = golden::bytes(golden::ONE_RECORD);
        bytes[17] ^= 1;
        assert_eq!(golden::damage(RecordBatchRef::from_bytes(&bytes)).0, 17);
        assert!(RecordBatchRef::from_checked_bytes(&bytes).is_ok());
    }

    #[test]
    fn a_batch_cut_short_is_damage() {
        let bytes = golden::bytes(golden::ONE_RECORD);
        let expected = (0, Damage::Truncated { needed: 70, available: 69 });
        assert_eq!(golden::damage(RecordBatchRef::from_checked_bytes(&bytes[..69])), expected);
    }

    #[test]
    fn records_that_break_a_rule_are_damage() {
        let rules: &[(&[u8], &str)] = &[
            (&[], "a record is shorter than its fields"),
            (&[13, 0, 0, 0, 1, 1, 0], "a record's length is negative"),
            (&[14, 0, 0, 0, 1, 1, 0], "a record is longer than its batch"),
            (&[0], "a record is shorter than its fields"),
            (&[4, 0, 0], "a record is shorter than its fields"),
            (&[12, 0, 0, 0, 3, 1, 0], "a length is below -1"),
            (&[12, 0, 0, 0, 1, 8, 0], "a field is longer than its record"),
            (&[12, 0, 0, 0, 1, 1, 1], "the number of headers is negative"),
            (&[12, 0, 0, 0, 1, 1, 2], "a record is shorter than its fields"),
            (&[16, 0, 0, 0, 1, 1, 2, 1, 1], "a header has a null key"),
            (&[14, 0, 0, 0, 1, 1, 0, 0], "a record's length is larger than its fields"),
            (&[16, 0, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0], "a varint is too long"),
            (&[12, 0, 0, 2, 1, 1, 0], "a record's offset is past the last offset of its batch"),
            (&[12, 0, 0, 1, 1, 1, 0], "offsets within a batch do not increase"),
        ];
        for (record, rule) in rules {
            assert_eq!(damage_of(record), Damage::Structure(rule), "{record:?}");
        }
    }

    #[test]
    fn repeated_offsets_are_damage_at_the_second_record() {
        let bytes = batch(2, 1, &[12, 0, 0, 0, 1, 1, 0, 12, 0, 0, 0, 1, 1, 0]);
        let expected = (68, Damage::Structure("offsets within a batch do not increase"));
        assert_eq!(golden::damage(RecordBatchRef::from_bytes(&bytes)), expected);
    }

    #[test]
    fn bytes_behind_the_last_record_are_damage() {
        let bytes = batch(1, 0, &[12, 0, 0, 0, 1, 1, 0, 0]);
        let expected = (68, Damage::Structure("bytes are left behind the last record"));
        assert_eq!(golden::damage(RecordBatchRef::from_bytes(&bytes)), expected);
    }

    #[test]
    fn reading_goes_on_behind_records_that_were_stepped_over() {
        let bytes = batch(3, 9, &[12, 0, 0, 4, 1, 1, 0, 12, 0, 0, 14, 1, 1, 0, 12, 0, 1, 16, 1, 1, 0]);
        let view = RecordBatchRef::from_bytes(&bytes).unwrap();
        let mut records = view.records();
        assert_eq!(records.skip_record(), Some(Offset::from(2)));
        let mut resumed = Records::resume(view.header(), records.rest(), 2);
        assert_eq!(resumed.next().unwrap().offset(), Offset::from(7));
        assert_eq!(resumed.skip_record(), Some(Offset::from(8)));
        assert_eq!((resumed.skip_record(), resumed.rest()), (None, &[][..]));
        let mut skipped = view.records();
        skipped.skip_records(2);
        let left: Vec<_> = skipped.map(|record| record.offset()).collect();
        assert_eq!(left, view.records().skip(2).map(|record| record.offset()).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = RecordBatchRef::from_bytes(&bytes);
        }

        #[test]
        fn arbitrary_records_are_read_whole_or_refused(
            records in proptest::collection::vec(prop_oneof![0u8..20, any::<u8>()], 0..60),
            count in 0i32..5,
        ) {
            if let Ok(view) = RecordBatchRef::from_checked_bytes(&batch(count, 9, &records)) {
                prop_assert_eq!(read_all(&view), (usize::try_from(count).unwrap(), view.bytes().len()));
            }
        }

        #[test]
        fn a_damaged_batch_is_read_whole_or_refused(position in 0usize..400, value: u8) {
            let mut builder = BatchBuilder::new(BatchOptions::default());
            for _ in 0..5 {
                builder.append(None, Some(b"key"), Some(&[7; 40]), &[Header { key: "h", value: Some(b"x") }]).unwrap();
            }
            let mut bytes = builder.build().unwrap().into_buffer();
            let position = position % bytes.len();
            let changed = bytes[position] != value;
            bytes[position] = value;
            if let Ok(view) = RecordBatchRef::from_checked_bytes(&bytes) {
                let (records, size) = read_all(&view);
                prop_assert_eq!(records, view.records().len());
                prop_assert_eq!(size, view.bytes().len());
            }
            if changed && position >= field::CRC {
                prop_assert!(RecordBatchRef::from_bytes(&bytes).is_err());
            }
        }
    }
}
