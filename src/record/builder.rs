//! [P] Building a batch: each record is encoded straight into the batch's buffer, sizes are exact.
//!
//! The buffer starts with room for the header, which is filled in by `build`; the payload is copied once. With a codec,
//! `build` compresses all records in one go into a second buffer; both are kept for the next batch.
//! The builder hands out indexes 0, 1, 2, .. as offset deltas, so what it builds needs no validation afterwards.
//! Kafka's counterpart: `MemoryRecordsBuilder`.

use std::mem;

use super::built::BuiltBatch;
use super::codec::{Codec, Packer};
use super::header::{ABSENT, BATCH_HEADER_LEN, BatchHeader, MAGIC, ProducerStamp, seal, timestamp};
use super::varint::{self, ShortRun};
use crate::error::{Error, Result};
use crate::types::{Compression, Offset, Timestamp, TimestampType};

/// The largest batch, in bytes, that `build` can describe; Kafka's sizes are 32-bit.
const BATCH_SIZE_MAX: u64 = i32::MAX as u64;
/// The most bytes that the fields of a record take besides key, value and headers: length 5, attributes 1, timestamp
/// delta 10, offset delta 5 (Kafka: `DefaultRecord.MAX_RECORD_OVERHEAD`).
const RECORD_OVERHEAD_MAX: u64 = 21;

/// As long as a batch is smaller than this, a short record fits whatever it holds.
const SHORT_BATCH_END: u64 = BATCH_SIZE_MAX - (1 << 22);

/// What a whole batch says about its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchOptions {
    /// What the timestamps mean. A log stamps [`TimestampType::LogAppendTime`] itself. Default: `CreateTime`.
    pub timestamp_type: TimestampType,
    /// Who produces the batch. Default: nobody, that is no duplicate detection.
    pub producer: Option<ProducerStamp>,
    /// Does the batch belong to a transaction? Needs a producer. Default: no.
    pub transactional: bool,
    /// What the records are compressed with. A batch of more than
    /// [`DECOMPRESSED_BYTES_MAX`](super::DECOMPRESSED_BYTES_MAX) bytes stays uncompressed: readers would refuse it. One that
    /// compression makes larger is kept compressed, as Kafka does. Default: nothing.
    pub codec: Codec,
}

/// A header to be added to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// The key; it may be empty, and may repeat within a record.
    pub key: &'a str,
    /// The value; `None` is Kafka's null.
    pub value: Option<&'a [u8]>,
}

/// Encodes records into one batch after the other.
///
/// ```
/// use logstead::record::{BatchBuilder, BatchOptions, Header};
/// let mut builder = BatchBuilder::new(BatchOptions::default());
/// assert_eq!(builder.append(None, Some(b"k"), Some(b"v"), &[Header { key: "trace", value: Some(b"1") }])?, 0);
/// assert_eq!(builder.append(None, None, Some(b"w"), &[])?, 1);
/// let announced = builder.size_in_bytes();
///
/// let batch = builder.build()?;
/// assert_eq!(batch.bytes().len(), announced);
/// builder.reuse(batch.into_buffer());
/// assert!(builder.is_empty());
/// # Ok::<(), logstead::Error>(())
/// ```
#[derive(Debug)]
pub struct BatchBuilder {
    options: BatchOptions,
    is_control: bool,
    /// Header room and records; anything while `count` is 0.
    buffer: Vec<u8>,
    /// Where the records are compressed to; its contents mean nothing in between.
    packed: Vec<u8>,
    packer: Option<Box<Packer>>,
    count: u32,
    /// Timestamps as stored: -1 is "none".
    base_millis: i64,
    max_millis: i64,
    /// The earliest of the timestamps that are not "none".
    min_timestamp: Option<Timestamp>,
}

impl BatchBuilder {
    /// An empty builder that allocates its buffer when the first record comes.
    pub const fn new(options: BatchOptions) -> BatchBuilder {
        BatchBuilder {
            options,
            is_control: false,
            buffer: Vec::new(),
            packed: Vec::new(),
            packer: None,
            count: 0,
            base_millis: ABSENT as i64,
            max_millis: ABSENT as i64,
            min_timestamp: None,
        }
    }

    /// An empty builder that writes into `buffer`; its contents are dropped, its capacity is used.
    pub fn with_buffer(options: BatchOptions, buffer: Vec<u8>) -> BatchBuilder {
        BatchBuilder { buffer, ..BatchBuilder::new(options) }
    }

    /// An empty builder of a control batch.
    pub(crate) fn control(options: BatchOptions) -> BatchBuilder {
        BatchBuilder { is_control: true, ..BatchBuilder::new(options) }
    }

    /// Adds a record; returns its index in the batch, which is also its offset delta.
    ///
    /// # Errors
    /// [`Error::InvalidRecord`] for a timestamp before 1970, and when the batch would be larger than 2^31 - 1 bytes.
    /// The builder is unchanged then.
    pub fn append(
        &mut self,
        timestamp: Option<Timestamp>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) -> Result<u32> {
        let index = self.count;
        let invalid = |what| Error::InvalidRecord { index: Some(index), what };
        let millis = timestamp.map_or(ABSENT.into(), Timestamp::as_millis);
        if timestamp.is_some() && millis < 0 {
            return Err(invalid("a timestamp before 1970 cannot be stored"));
        }
        let base_millis = if self.is_empty() { millis } else { self.base_millis };
        let too_large = || invalid("the batch would be larger than 2^31 - 1 bytes");
        let record = Encoder {
            // The reader adds with wrapping arithmetic too, as Kafka does, so that every pair of timestamps works.
            timestamp_delta: millis.wrapping_sub(base_millis),
            offset_delta: i32::try_from(index).map_err(|_| too_large())?,
            key,
            value,
            headers,
        };
        match record.short() {
            Some(short) if (self.size_in_bytes() as u64) < SHORT_BATCH_END => {
                self.begin();
                short.encode(&mut self.buffer);
            }
            _ => self.append_long(record).ok_or_else(too_large)?,
        }
        self.count += 1;
        self.base_millis = base_millis;
        self.max_millis = self.max_millis.max(millis);
        self.min_timestamp = match (self.min_timestamp, timestamp) {
            (Some(earliest), Some(timestamp)) => Some(earliest.min(timestamp)),
            (earliest, timestamp) => earliest.or(timestamp),
        };
        Ok(index)
    }

    /// Encodes a record of any form; `None` when the batch would become too large.
    #[inline(never)]
    fn append_long(&mut self, record: Encoder<'_>) -> Option<()> {
        let body_len = i32::try_from(record.body_len()).ok()?;
        let record_len = varint::len_i32(body_len) as u64 + u64::from(body_len.unsigned_abs());
        if self.size_in_bytes() as u64 + record_len > BATCH_SIZE_MAX {
            return None;
        }
        self.begin();
        self.buffer.reserve(usize::try_from(record_len).ok()?);
        record.encode(body_len, &mut self.buffer);
        Some(())
    }

    /// Makes room for the header before the first record.
    #[inline]
    fn begin(&mut self) {
        if self.is_empty() {
            self.buffer.clear();
            self.buffer.resize(BATCH_HEADER_LEN, 0);
        }
    }

    /// Records added since the last [`build`](Self::build).
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Is there no record yet?
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The exact size of the batch as it is now in bytes, before it is compressed, its header included.
    pub const fn size_in_bytes(&self) -> usize {
        if self.is_empty() { BATCH_HEADER_LEN } else { self.buffer.len() }
    }

    /// The most bytes that the batch takes with one more record, before it is compressed; at most 18 more than it really
    /// takes.
    pub fn size_with(&self, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header<'_>]) -> u64 {
        let record = Encoder { timestamp_delta: 0, offset_delta: 0, key, value, headers };
        (self.size_in_bytes() as u64).saturating_add(RECORD_OVERHEAD_MAX).saturating_add(record.payload_len())
    }

    /// Does one more record certainly fit into `limit` bytes before the batch is compressed? The first record always does, whatever its size, so that
    /// every record gets into some batch; the log's own limit judges that batch.
    ///
    /// ```
    /// use logstead::record::{BatchBuilder, BatchOptions};
    /// let mut builder = BatchBuilder::new(BatchOptions::default());
    /// assert!(builder.has_room_for(100, None, Some(&[0; 1000]), &[]));
    /// builder.append(None, None, Some(b"small"), &[])?;
    /// assert!(!builder.has_room_for(100, None, Some(&[0; 1000]), &[]));
    /// # Ok::<(), logstead::Error>(())
    /// ```
    pub fn has_room_for(&self, limit: usize, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header<'_>]) -> bool {
        self.is_empty() || self.size_with(key, value, headers) <= limit as u64
    }

    /// Names the producer of the batch that is being built: sequences are often known only when it is full.
    pub const fn set_producer(&mut self, producer: ProducerStamp) {
        self.options.producer = Some(producer);
    }

    /// Finishes the batch, at base offset 0 and without a leader epoch, and takes its buffer out. The builder is empty
    /// afterwards, keeps its options, and goes on at the next sequence.
    ///
    /// # Errors
    /// - [`Error::InvalidRecord`] when there is no record, when the batch is transactional without a producer, or has a
    ///   producer without a base sequence.
    /// - [`Error::UnsupportedCodec`] when the codec is not built in for writing; [`Error::InvalidConfig`] for a level that it
    ///   does not have.
    ///
    /// The builder is unchanged then.
    pub fn build(&mut self) -> Result<BuiltBatch> {
        let producer = self.options.producer;
        let what = if self.is_empty() {
            "a batch needs at least one record"
        } else if self.options.transactional && producer.is_none() {
            "a transactional batch needs a producer id"
        } else if !self.is_control && producer.is_some_and(|stamp| stamp.base_sequence.is_none()) {
            "a producer id needs a base sequence"
        } else {
            let codec = self.pack()?;
            return Ok(self.finish(codec));
        };
        Err(Error::InvalidRecord { index: None, what })
    }

    /// Gives the builder another buffer: its contents are dropped, its capacity is used. Records that were not built
    /// are dropped too.
    pub fn reuse(&mut self, buffer: Vec<u8>) {
        self.restart();
        if self.options.codec.compression != Compression::None && self.buffer.capacity() > 0 {
            // It still has the one that the records were encoded into: a batch that was compressed took the other.
            self.packed = buffer;
        } else {
            self.buffer = buffer;
        }
    }

    /// Has the batch that is being built compressed, by `packer` and into `buffer`, whose contents are dropped.
    pub(crate) fn set_packer(&mut self, packer: Box<Packer>, buffer: Vec<u8>) {
        self.options.codec = packer.codec();
        self.packer = Some(packer);
        self.packed = buffer;
    }

    /// What is left for the next builder once a batch is built: the buffer that the records were encoded into, unless the
    /// batch took it, and the packer.
    pub(crate) fn into_parts(self) -> (Vec<u8>, Option<Box<Packer>>) {
        (self.buffer, self.packer)
    }

    /// Puts the compressed records, behind room for a header, in place of the records, which go where those were. Returns the
    /// codec that the batch has now.
    fn pack(&mut self) -> Result<Compression> {
        let codec = self.options.codec;
        let area = self.buffer.get(BATCH_HEADER_LEN..).unwrap_or_default();
        if self.is_control || !codec.applies_to(area.len()) {
            return Ok(Compression::None);
        }
        let packer = match self.packer.take().filter(|packer| packer.codec() == codec) {
            Some(packer) => packer,
            None => Box::new(Packer::new(codec)?),
        };
        self.packed.clear();
        self.packed.resize(BATCH_HEADER_LEN, 0);
        self.packer.insert(packer).pack(area, &mut self.packed)?;
        mem::swap(&mut self.buffer, &mut self.packed);
        Ok(codec.compression)
    }

    /// Writes the header over the room left for it.
    pub(super) fn finish(&mut self, codec: Compression) -> BuiltBatch {
        let next_buffer = mem::take(&mut self.packed);
        let mut buffer = mem::replace(&mut self.buffer, next_buffer);
        let last_offset_delta = i32::try_from(self.count.saturating_sub(1)).unwrap_or(i32::MAX);
        let mut header = BatchHeader {
            magic: MAGIC,
            base_offset: Offset::ZERO,
            size_in_bytes: buffer.len(),
            leader_epoch: None,
            crc: 0,
            codec,
            timestamp_type: self.options.timestamp_type,
            is_transactional: self.options.transactional,
            is_control: self.is_control,
            has_delete_horizon: false,
            last_offset_delta,
            base_millis: self.base_millis,
            max_millis: self.max_millis,
            producer: self.options.producer,
            record_count: self.count,
        };
        if let Some(room) = buffer.first_chunk_mut() {
            *room = header.encode();
        }
        header.crc = seal(&mut buffer);
        let min_timestamp = match self.options.timestamp_type {
            TimestampType::CreateTime => self.min_timestamp,
            TimestampType::LogAppendTime => timestamp(self.max_millis),
        };
        // A second batch under the same sequences would be dropped as a duplicate of the first.
        if let Some(stamp) = &mut self.options.producer {
            stamp.base_sequence = stamp.base_sequence.map(|base| base.plus(last_offset_delta).plus(1));
        }
        self.restart();
        BuiltBatch { buffer, header, min_timestamp }
    }

    fn restart(&mut self) {
        self.count = 0;
        self.base_millis = ABSENT.into();
        self.max_millis = ABSENT.into();
        self.min_timestamp = None;
    }
}

/// A record on its way into the buffer.
#[derive(Clone, Copy)]
pub(super) struct Encoder<'a> {
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: i32,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: &'a [Header<'a>],
}

impl Encoder<'_> {
    /// Bytes behind the record's length field.
    pub(super) fn body_len(&self) -> u64 {
        let deltas = varint::len_i64(self.timestamp_delta) + varint::len_i32(self.offset_delta);
        self.payload_len().saturating_add(1 + deltas as u64)
    }

    /// Bytes of key, value and headers with their lengths. Saturating: headers may share memory, so that their sum need
    /// not fit.
    fn payload_len(&self) -> u64 {
        let headers = self.headers.iter().fold(0u64, |sum, header| {
            let key_len = bytes_len(Some(header.key.as_bytes()));
            sum.saturating_add(key_len).saturating_add(bytes_len(header.value))
        });
        let count_len = varint::len_i32(length(self.headers.len())) as u64;
        bytes_len(self.key).saturating_add(bytes_len(self.value)).saturating_add(count_len).saturating_add(headers)
    }

    /// Appends the record, whose [`body_len`](Self::body_len) the caller has computed.
    pub(super) fn encode(&self, body_len: i32, buffer: &mut Vec<u8>) {
        varint::encode_i32(buffer, body_len);
        buffer.push(0);
        varint::encode_i64(buffer, self.timestamp_delta);
        varint::encode_i32(buffer, self.offset_delta);
        encode_bytes(buffer, self.key);
        encode_bytes(buffer, self.value);
        varint::encode_i32(buffer, length(self.headers.len()));
        for header in self.headers {
            encode_bytes(buffer, Some(header.key.as_bytes()));
            encode_bytes(buffer, header.value);
        }
    }

    /// The record as most are, for the quick way into the buffer: without headers, and no number in it takes more than
    /// three bytes. `None` when it is not like that.
    #[inline]
    fn short(&self) -> Option<ShortRecord<'_>> {
        if !self.headers.is_empty() {
            return None;
        }
        let timestamp_delta = ShortRun::varint(self.timestamp_delta)?;
        let offset_delta = ShortRun::varint(self.offset_delta.into())?;
        let key_len = ShortRun::varint(self.key.map_or(ABSENT.into(), |key| length(key.len()).into()))?;
        let value_len = ShortRun::varint(self.value.map_or(ABSENT.into(), |value| length(value.len()).into()))?;
        let (key, value) = (self.key.unwrap_or_default(), self.value.unwrap_or_default());
        let deltas = ShortRun::ZERO.then(timestamp_delta).then(offset_delta);
        let lengths_len = deltas.len() + key_len.len() + value_len.len() + ShortRun::ZERO.len();
        let body_len = lengths_len + key.len() + value.len();
        let record_len = ShortRun::varint(i64::try_from(body_len).ok()?)?;
        Some(ShortRecord { record_len, deltas, key_len, key, value_len, value, body_len })
    }
}

/// A record whose numbers are encoded and whose size is known.
struct ShortRecord<'a> {
    record_len: ShortRun,
    /// The attributes and both deltas.
    deltas: ShortRun,
    key_len: ShortRun,
    key: &'a [u8],
    value_len: ShortRun,
    value: &'a [u8],
    body_len: usize,
}

impl ShortRecord<'_> {
    /// Appends the record with as few copies as there can be.
    #[inline]
    fn encode(&self, buffer: &mut Vec<u8>) {
        buffer.reserve(self.body_len + 2 * ShortRun::ROOM);
        if self.record_len.len() + self.deltas.len() <= ShortRun::ROOM {
            self.record_len.then(self.deltas).append_to(buffer);
        } else {
            self.record_len.append_to(buffer);
            self.deltas.append_to(buffer);
        }
        if self.key.is_empty() {
            self.key_len.then(self.value_len).append_to(buffer);
        } else {
            self.key_len.append_to(buffer);
            buffer.extend_from_slice(self.key);
            self.value_len.append_to(buffer);
        }
        buffer.extend_from_slice(self.value);
        buffer.push(0);
    }
}

/// A length as the format stores it. What does not fit is refused by its size before anything is encoded.
fn length(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

fn bytes_len(bytes: Option<&[u8]>) -> u64 {
    match bytes {
        Some(bytes) => varint::len_i32(length(bytes.len())) as u64 + bytes.len() as u64,
        None => 1,
    }
}

fn encode_bytes(buffer: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            varint::encode_i32(buffer, length(bytes.len()));
            buffer.extend_from_slice(bytes);
        }
        None => varint::encode_i32(buffer, ABSENT.into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{RecordBatchRef, golden};
    use super::*;
    use crate::types::{LeaderEpoch, ProducerEpoch, ProducerId, Sequence};

    fn plain() -> BatchBuilder {
        BatchBuilder::new(BatchOptions::default())
    }

    fn millis(millis: i64) -> Option<Timestamp> {
        Some(Timestamp::from_millis(millis))
    }

    fn stamp(base_sequence: Option<i32>) -> ProducerStamp {
        let base_sequence = base_sequence.map(|raw| Sequence::new(raw).unwrap());
        ProducerStamp { id: ProducerId::new(9).unwrap(), epoch: ProducerEpoch::ZERO, base_sequence }
    }

    #[test]
    fn one_record_is_encoded_as_kafka_does() {
        let mut builder = plain();
        builder.append(millis(1_700_000_000_000), Some(b"k"), Some(b"v"), &[]).unwrap();
        let mut batch = builder.build().unwrap();
        batch.stamp(Offset::ZERO, LeaderEpoch::ZERO);
        assert_eq!(batch.bytes(), golden::bytes(golden::ONE_RECORD));
    }

    #[test]
    fn an_empty_builder_builds_nothing() {
        assert_eq!(golden::invalid(plain().build()), (None, "a batch needs at least one record"));
    }

    #[test]
    fn a_transactional_batch_needs_a_producer() {
        let mut builder = BatchBuilder::new(BatchOptions { transactional: true, ..BatchOptions::default() });
        builder.append(None, None, None, &[]).unwrap();
        assert_eq!(golden::invalid(builder.build()), (None, "a transactional batch needs a producer id"));
        builder.set_producer(stamp(Some(0)));
        assert!(builder.build().unwrap().header().is_transactional());
    }

    #[test]
    fn a_producer_needs_a_base_sequence() {
        let mut builder = BatchBuilder::new(BatchOptions { producer: Some(stamp(None)), ..BatchOptions::default() });
        builder.append(None, None, None, &[]).unwrap();
        assert_eq!(golden::invalid(builder.build()), (None, "a producer id needs a base sequence"));
        assert_eq!(builder.count(), 1);
    }

    #[test]
    fn the_next_batch_goes_on_at_the_next_sequence() {
        let producer = Some(stamp(Some(i32::MAX)));
        let mut builder = BatchBuilder::new(BatchOptions { producer, ..BatchOptions::default() });
        for (expected_base, expected_last) in [(i32::MAX, 0), (1, 2)] {
            builder.append(None, None, None, &[]).unwrap();
            builder.append(None, None, None, &[]).unwrap();
            let header = *builder.build().unwrap().header();
            assert_eq!(header.base_sequence(), Sequence::new(expected_base));
            assert_eq!(header.last_sequence(), Sequence::new(expected_last));
        }
    }

    #[test]
    fn a_refused_record_leaves_the_builder_as_it_was() {
        let mut builder = plain();
        builder.append(millis(5), None, Some(b"first"), &[]).unwrap();
        let size = builder.size_in_bytes();
        let refused = builder.append(millis(-1), None, Some(b"second"), &[]);
        assert_eq!(golden::invalid(refused), (Some(1), "a timestamp before 1970 cannot be stored"));
        assert_eq!((builder.count(), builder.size_in_bytes()), (1, size));
        let batch = builder.build().unwrap();
        assert_eq!((batch.count(), batch.min_timestamp()), (1, millis(5)));
    }

    #[test]
    fn a_batch_larger_than_its_length_field_is_refused() {
        // The same bytes forty times over, which are never read, let alone copied.
        let value = vec![0; 64 << 20];
        let headers = [Header { key: "", value: Some(&value) }; 40];
        let refused = plain().append(None, None, None, &headers);
        assert_eq!(golden::invalid(refused), (Some(0), "the batch would be larger than 2^31 - 1 bytes"));
    }

    #[test]
    fn timestamp_bounds_ignore_records_without_one() {
        let mut builder = plain();
        for timestamp in [None, millis(30), millis(10), None] {
            builder.append(timestamp, None, None, &[]).unwrap();
        }
        let batch = builder.build().unwrap();
        assert_eq!((batch.min_timestamp(), batch.max_timestamp()), (millis(10), millis(30)));
        let read: Vec<_> = batch.decode().unwrap().records().map(|record| record.timestamp()).collect();
        assert_eq!(read, [None, millis(30), millis(10), None]);
    }

    #[test]
    fn the_most_distant_timestamps_share_a_batch() {
        let mut builder = plain();
        let timestamps = [None, millis(i64::MAX), millis(0)];
        for timestamp in timestamps {
            builder.append(timestamp, None, None, &[]).unwrap();
        }
        let batch = builder.build().unwrap();
        assert!(batch.decode().unwrap().records().map(|record| record.timestamp()).eq(timestamps));
    }

    #[test]
    fn a_batch_of_append_time_has_one_timestamp() {
        let options = BatchOptions { timestamp_type: TimestampType::LogAppendTime, ..BatchOptions::default() };
        let mut builder = BatchBuilder::new(options);
        builder.append(millis(10), None, None, &[]).unwrap();
        builder.append(millis(30), None, None, &[]).unwrap();
        let batch = builder.build().unwrap();
        assert_eq!((batch.min_timestamp(), batch.max_timestamp()), (millis(30), millis(30)));
    }

    #[test]
    fn a_reused_buffer_keeps_its_room_and_none_of_its_bytes() {
        let mut builder = plain();
        builder.append(millis(77), Some(&[1; 500]), None, &[]).unwrap();
        builder.reuse(vec![0xee; 1000]);
        assert!(builder.is_empty());
        assert_eq!(builder.size_in_bytes(), BATCH_HEADER_LEN);
        builder.append(None, None, Some(b"v"), &[]).unwrap();
        let batch = builder.build().unwrap();
        assert_eq!((batch.size_in_bytes(), batch.max_timestamp()), (69, None));
        assert!(batch.into_buffer().capacity() >= 1000);
    }

    #[test]
    fn the_builder_goes_on_without_being_given_a_buffer() {
        let mut builder = BatchBuilder::with_buffer(BatchOptions::default(), vec![0xee; 10]);
        for value in [b"a", b"b"] {
            assert_eq!(builder.append(None, None, Some(value), &[]).unwrap(), 0);
            let batch = builder.build().unwrap();
            assert_eq!(
                RecordBatchRef::from_bytes(batch.bytes()).unwrap().records().next().unwrap().value(),
                Some(&value[..])
            );
        }
    }

    type OwnedRecord = (Option<i64>, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>);

    fn record() -> impl Strategy<Value = OwnedRecord> {
        let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..150));
        let headers = proptest::collection::vec(("[a-z]{0,3}", bytes()), 0..3);
        (proptest::option::of(prop_oneof![0..20_000i64, 0..=i64::MAX]), bytes(), bytes(), headers)
    }

    const CODECS: [Compression; 4] = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    fn with_codec(codec: impl Into<Codec>) -> BatchBuilder {
        BatchBuilder::new(BatchOptions { codec: codec.into(), ..BatchOptions::default() })
    }

    #[test]
    fn a_codec_compresses_the_records_and_changes_nothing_else() {
        let fill = |builder: &mut BatchBuilder| {
            for index in 0..100 {
                builder.append(Some(Timestamp::from_millis(index)), Some(b"key"), Some(&[b'v'; 50]), &[]).unwrap();
            }
            builder.build().unwrap()
        };
        let plain = fill(&mut BatchBuilder::new(BatchOptions::default()));
        for codec in CODECS {
            let batch = fill(&mut with_codec(codec));
            assert!(batch.size_in_bytes() < plain.size_in_bytes() / 4, "{codec:?}");
            let read = super::super::RecordBatch::from_bytes(batch.bytes()).unwrap();
            assert_eq!((read.header(), read.header().codec()), (batch.header(), codec));
            let mut unpacked = batch.clone();
            unpacked.recompress(Codec::NONE).unwrap();
            assert_eq!(unpacked, plain);
            assert_eq!(BuiltBatch::from_foreign(batch.bytes().to_vec()).unwrap(), batch);
        }
    }

    #[test]
    fn what_does_not_compress_keeps_its_codec() {
        for codec in CODECS {
            let mut builder = with_codec(codec);
            builder.append(None, None, None, &[]).unwrap();
            let announced = builder.size_in_bytes();
            let batch = builder.build().unwrap();
            assert!(batch.size_in_bytes() > announced);
            assert_eq!(batch.header().codec(), codec);
        }
    }

    #[test]
    fn compressed_batches_reuse_both_buffers() {
        for codec in CODECS {
            let mut builder = with_codec(codec);
            let mut places = Vec::new();
            for _ in 0..4 {
                builder.append(None, None, Some(&[7; 5_000]), &[]).unwrap();
                let encoded = builder.buffer.as_ptr();
                let batch = builder.build().unwrap();
                places.push((encoded, batch.bytes().as_ptr()));
                builder.reuse(batch.into_buffer());
            }
            assert!(places[1..].iter().all(|place| *place == places[1]), "{codec:?}: {places:?}");
        }
    }

    #[test]
    fn what_readers_would_refuse_when_decompressed_stays_uncompressed() {
        let value = vec![0; super::super::DECOMPRESSED_BYTES_MAX];
        let mut builder = with_codec(Compression::Lz4);
        builder.append(None, None, Some(&value), &[]).unwrap();
        let too_large = builder.build().unwrap();
        assert_eq!(too_large.header().codec(), Compression::None);
        assert!(!too_large.differs_from(Compression::Lz4.into()), "nor does a log compress it");
        // What else the record takes: its length, attributes, deltas, key, value length and headers.
        builder.append(None, None, Some(&value[..value.len() - 13]), &[]).unwrap();
        assert_eq!(builder.size_in_bytes() - BATCH_HEADER_LEN, value.len());
        let largest = builder.build().unwrap();
        assert_eq!(largest.header().codec(), Compression::Lz4);
        assert_eq!(largest.decode().unwrap().records().count(), 1);
    }

    #[test]
    fn a_level_that_the_codec_does_not_have_leaves_the_builder_as_it_is() {
        let mut builder = with_codec(Codec { compression: Compression::Gzip, level: Some(99) });
        builder.append(None, None, Some(b"v"), &[]).unwrap();
        assert!(matches!(builder.build(), Err(Error::InvalidConfig { .. })));
        assert_eq!(builder.count(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_was_appended_is_read_back(records in proptest::collection::vec(record(), 1..20)) {
            let mut builder = plain();
            for (timestamp, key, value, headers) in &records {
                let headers: Vec<_> =
                    headers.iter().map(|(key, value)| Header { key, value: value.as_deref() }).collect();
                let (key, value) = (key.as_deref(), value.as_deref());
                let (size, estimate) = (builder.size_in_bytes() as u64, builder.size_with(key, value, &headers));
                prop_assert!(builder.has_room_for(usize::try_from(estimate).unwrap(), key, value, &headers));
                builder.append(timestamp.map(Timestamp::from_millis), key, value, &headers).unwrap();
                let added = builder.size_in_bytes() as u64;
                prop_assert!(size < added && added <= estimate && estimate <= added + 18);
            }
            let announced = builder.size_in_bytes();
            let batch = builder.build().unwrap();
            prop_assert_eq!(batch.size_in_bytes(), announced);

            let view = RecordBatchRef::from_bytes(batch.bytes()).unwrap();
            prop_assert_eq!(view.header(), batch.header());
            prop_assert_eq!(view.records().len(), records.len());
            for (index, (record, (timestamp, key, value, headers))) in view.records().zip(&records).enumerate() {
                prop_assert_eq!(record.offset(), Offset::new(i64::try_from(index).unwrap()).unwrap());
                prop_assert_eq!(record.timestamp(), timestamp.map(Timestamp::from_millis));
                prop_assert_eq!((record.key(), record.value()), (key.as_deref(), value.as_deref()));
                let read: Vec<_> =
                    record.headers().map(|h| (h.key().unwrap().to_owned(), h.value().map(<[u8]>::to_vec))).collect();
                prop_assert_eq!(&read, headers);
            }
            prop_assert_eq!(BuiltBatch::from_foreign(batch.bytes().to_vec()).unwrap(), batch);
        }
    }
}
