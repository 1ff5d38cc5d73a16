//! [P] An encoded, valid batch on its way into a log: what appending needs is known without decoding.
//!
//! A `BuiltBatch` holds exactly one batch of magic 2, compressed or not, with at least one record, offset deltas 0, 1, 2, ..
//! and a right checksum and maximal timestamp. It comes from the builder, or from foreign bytes after full validation.
//! Kafka's counterpart: `LogValidator` (the part that looks at one batch alone).

use std::fmt;

use super::batch::{DECOMPRESSED_BYTES_MAX, RecordBatch, is_plain};
use super::codec::Codec;
use super::compression::{compress, decompress};
use super::header::{
    ABSENT, BATCH_HEADER_LEN, BatchHeader, CODEC_MASK, LOG_APPEND_TIME_BIT, UNCOUNTED_LEN, field, put, seal,
};
use super::view::{LEGACY, RecordBatchRef};
use crate::error::{Error, Result};
use crate::types::{Compression, LeaderEpoch, Offset, Timestamp, TimestampType};

/// A batch that is ready to be appended.
#[derive(Clone, PartialEq, Eq)]
pub struct BuiltBatch {
    pub(super) buffer: Vec<u8>,
    pub(super) header: BatchHeader,
    pub(super) min_timestamp: Option<Timestamp>,
}

impl BuiltBatch {
    /// Takes over a batch that somebody else encoded, as a client sends it, and checks everything about it, its records
    /// decompressed where need be; it stays as it was compressed. A wrong maximal timestamp is corrected; topic rules (size, compaction, distance from the wall clock) are the log's.
    ///
    /// # Errors
    /// - [`Error::Corrupt`] when the bytes are no batch, or not a whole one.
    /// - [`Error::InvalidRecord`] when they hold no batch or more than one, a batch of magic 0 or 1, or one that a
    ///   client may not write: it does not start at offset 0, is empty, has gaps, is a control batch, has a delete
    ///   horizon, is transactional without a producer, has a producer but no sequence, or a timestamp before 1970.
    /// - [`Error::UnsupportedCodec`] when the records are compressed with a codec that is not built in.
    /// - [`Error::DecompressedTooLarge`] when they are larger than
    ///   [`DECOMPRESSED_BYTES_MAX`](super::DECOMPRESSED_BYTES_MAX).
    pub fn from_foreign(bytes: Vec<u8>) -> Result<BuiltBatch> {
        let one_batch = "exactly one batch is expected";
        if bytes.is_empty() {
            return Err(Error::InvalidRecord { index: None, what: one_batch });
        }
        if BatchHeader::parse(&bytes)?.is_legacy() {
            return Err(Error::InvalidRecord { index: None, what: LEGACY });
        }
        let batch = RecordBatch::from_bytes(&bytes)?;
        let header = *batch.header();
        let producer = header.producer();
        let offsets = u64::from(header.last_offset_delta().unsigned_abs()) + 1;
        let rules = [
            (header.size_in_bytes() == bytes.len(), one_batch),
            (header.base_offset() == Offset::ZERO, "the base offset of a client's batch is 0"),
            // Deltas increase strictly up to the last: with as many records as offsets, they are 0, 1, 2, ..
            (u64::from(header.record_count()) == offsets, "the offsets of a client's batch have no gaps"),
            (!header.is_control(), "clients cannot write control records"),
            (!header.has_delete_horizon(), "only compaction sets a delete horizon"),
            (producer.is_some() || !header.is_transactional(), "a transactional batch needs a producer id"),
            (producer.is_none() || header.base_sequence().is_some(), "a producer id needs a base sequence"),
        ];
        if let Some((_, what)) = rules.iter().find(|(holds, _)| !holds) {
            return Err(Error::InvalidRecord { index: None, what });
        }
        let bounds = TimestampBounds::of(&batch.view())?;
        drop(batch);
        let mut built = BuiltBatch { buffer: bytes, header, min_timestamp: bounds.min };
        if bounds.max != built.header.max_timestamp() {
            built.header.max_millis = bounds.max.map_or(ABSENT.into(), Timestamp::as_millis);
            put(&mut built.buffer, field::MAX_TIMESTAMP, built.header.max_millis.to_be_bytes());
            built.header.crc = seal(&mut built.buffer);
        }
        Ok(built)
    }

    /// The batch's fixed fields.
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Size of the batch in bytes.
    pub const fn size_in_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Records in the batch; at least one.
    pub const fn count(&self) -> u32 {
        self.header.record_count
    }

    /// The earliest timestamp of its records; `None` when none has one.
    pub const fn min_timestamp(&self) -> Option<Timestamp> {
        self.min_timestamp
    }

    /// The latest timestamp of its records; `None` when none has one.
    pub const fn max_timestamp(&self) -> Option<Timestamp> {
        self.header.max_timestamp()
    }

    /// The encoded batch.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// The batch for reading, its records decompressed where need be.
    ///
    /// # Errors
    /// [`Error::UnsupportedCodec`] when the codec is built in for writing only.
    pub fn decode(&self) -> Result<RecordBatch<'_>> {
        RecordBatch::from_checked_bytes(&self.buffer)
    }

    /// Whether the batch is to be compressed anew to be stored in this codec. Levels alone make no difference, control
    /// batches are never compressed, and neither is what would be too large for readers.
    pub(crate) fn differs_from(&self, codec: Codec) -> bool {
        let area_bytes = self.buffer.len().saturating_sub(BATCH_HEADER_LEN);
        let header = &self.header;
        !header.is_control && header.codec != codec.compression && (!is_plain(header) || codec.applies_to(area_bytes))
    }

    /// Stores the records in another codec; nothing else of the batch changes but size and checksum.
    ///
    /// # Errors
    /// [`Error::UnsupportedCodec`] when the codec is not built in for writing. The batch is unchanged then.
    pub(crate) fn recompress(&mut self, codec: Codec) -> Result<()> {
        let (head, mut area) = self.buffer.split_at_checked(BATCH_HEADER_LEN).unwrap_or_default();
        let mut unpacked = Vec::new();
        if !is_plain(&self.header) {
            decompress(self.header.codec, area, DECOMPRESSED_BYTES_MAX, &mut unpacked)?;
            area = &unpacked;
        }
        let mut buffer = head.to_vec();
        match codec.compression {
            Compression::None => buffer.extend_from_slice(area),
            other => compress(other, codec.level, area, &mut buffer)?,
        }
        // At most DECOMPRESSED_BYTES_MAX, and what a codec adds at worst.
        let length = i32::try_from(buffer.len().saturating_sub(UNCOUNTED_LEN)).unwrap_or(i32::MAX);
        put(&mut buffer, field::BATCH_LENGTH, length.to_be_bytes());
        if let Some(attributes) = buffer.get_mut(field::ATTRIBUTES + 1) {
            *attributes = *attributes & !CODEC_MASK | codec.compression.attributes();
        }
        self.header.size_in_bytes = buffer.len();
        self.header.codec = codec.compression;
        self.header.crc = seal(&mut buffer);
        self.buffer = buffer;
        Ok(())
    }

    /// Assigns the offset of the first record and the epoch of the leader that appends it. Both lie outside the
    /// checksum.
    ///
    /// The caller makes sure that offsets are left for all records; the header's getters saturate.
    pub fn stamp(&mut self, base_offset: Offset, leader_epoch: LeaderEpoch) {
        self.header.base_offset = base_offset;
        self.header.leader_epoch = Some(leader_epoch);
        put(&mut self.buffer, field::BASE_OFFSET, base_offset.get().to_be_bytes());
        put(&mut self.buffer, field::LEADER_EPOCH, leader_epoch.get().to_be_bytes());
    }

    /// Replaces the records' times by the time of their append, and computes the checksum again if that changes
    /// anything.
    pub fn stamp_log_append_time(&mut self, now: Timestamp) {
        let header = &mut self.header;
        let millis = now.as_millis();
        if header.timestamp_type == TimestampType::LogAppendTime && header.max_millis == millis {
            return;
        }
        header.timestamp_type = TimestampType::LogAppendTime;
        header.max_millis = millis;
        self.min_timestamp = header.max_timestamp();
        // Only this bit is touched: a foreign batch may have set some that are not known here.
        if let Some(attributes) = self.buffer.get_mut(field::ATTRIBUTES + 1) {
            *attributes |= LOG_APPEND_TIME_BIT;
        }
        put(&mut self.buffer, field::MAX_TIMESTAMP, millis.to_be_bytes());
        header.crc = seal(&mut self.buffer);
    }

    /// The buffer, for writing it out or for building the next batch in it.
    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }
}

impl fmt::Debug for BuiltBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The header says what matters; the payload is not for logs.
        f.debug_struct("BuiltBatch")
            .field("header", &self.header)
            .field("min_timestamp", &self.min_timestamp)
            .finish_non_exhaustive()
    }
}

/// The earliest and the latest timestamp that readers of a batch see.
struct TimestampBounds {
    min: Option<Timestamp>,
    max: Option<Timestamp>,
}

impl TimestampBounds {
    /// Looks at every record, unless the append time stands for them all.
    fn of(batch: &RecordBatchRef<'_>) -> Result<TimestampBounds> {
        let mut bounds = TimestampBounds { min: None, max: None };
        if batch.header().timestamp_type() == TimestampType::LogAppendTime {
            bounds.include(batch.header().max_timestamp(), None)?;
            return Ok(bounds);
        }
        for (index, record) in (0u32..).zip(batch.records()) {
            bounds.include(record.timestamp(), Some(index))?;
        }
        Ok(bounds)
    }

    fn include(&mut self, timestamp: Option<Timestamp>, index: Option<u32>) -> Result<()> {
        let Some(timestamp) = timestamp else { return Ok(()) };
        if timestamp.as_millis() < 0 {
            return Err(Error::InvalidRecord { index, what: "a timestamp before 1970 cannot be stored" });
        }
        self.min = Some(self.min.map_or(timestamp, |min| min.min(timestamp)));
        self.max = Some(self.max.map_or(timestamp, |max| max.max(timestamp)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{BatchBuilder, BatchOptions, golden};
    use super::*;
    use crate::error::Damage;

    fn millis(millis: i64) -> Option<Timestamp> {
        Some(Timestamp::from_millis(millis))
    }

    /// Three records at 1000, 3000 and 2000 ms, as a client would send them.
    fn three_records() -> Vec<u8> {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        for timestamp in [1000, 3000, 2000] {
            builder.append(millis(timestamp), Some(b"k"), Some(b"v"), &[]).unwrap();
        }
        builder.build().unwrap().into_buffer()
    }

    /// Changes one field of a client's batch, with a right checksum, and hands it in.
    fn with<const N: usize>(at: usize, value: [u8; N]) -> Result<BuiltBatch> {
        let mut bytes = three_records();
        put(&mut bytes, at, value);
        seal(&mut bytes);
        BuiltBatch::from_foreign(bytes)
    }

    fn rule(result: Result<BuiltBatch>) -> &'static str {
        golden::invalid(result).1
    }

    #[test]
    fn a_right_batch_is_taken_over_unchanged() {
        let batch = BuiltBatch::from_foreign(three_records()).unwrap();
        assert_eq!(batch.bytes(), three_records());
        assert_eq!((batch.count(), batch.min_timestamp(), batch.max_timestamp()), (3, millis(1000), millis(3000)));
    }

    #[test]
    fn stamping_changes_neither_checksum_nor_records() {
        let mut batch = BuiltBatch::from_foreign(three_records()).unwrap();
        let crc = batch.header().crc();
        batch.stamp(Offset::from(500), LeaderEpoch::new(7).unwrap());
        let read = RecordBatchRef::from_bytes(batch.bytes()).unwrap();
        assert_eq!(read.header(), batch.header());
        assert_eq!((read.header().crc(), read.header().leader_epoch()), (crc, LeaderEpoch::new(7)));
        assert!(read.records().map(|record| record.offset().get()).eq(500..503));
    }

    #[test]
    fn stamping_the_append_time_renews_the_checksum() {
        let mut batch = BuiltBatch::from_foreign(three_records()).unwrap();
        batch.stamp_log_append_time(Timestamp::from_millis(99));
        let read = RecordBatchRef::from_bytes(batch.bytes()).unwrap();
        assert_eq!(read.header(), batch.header());
        assert_eq!(read.header().timestamp_type(), TimestampType::LogAppendTime);
        assert!(read.records().all(|record| record.timestamp() == millis(99)));
        assert_eq!((batch.min_timestamp(), batch.max_timestamp()), (millis(99), millis(99)));
    }

    #[test]
    fn stamping_the_same_append_time_again_changes_nothing() {
        let mut batch = BuiltBatch::from_foreign(three_records()).unwrap();
        batch.stamp_log_append_time(Timestamp::from_millis(99));
        let stamped = batch.clone();
        batch.stamp_log_append_time(Timestamp::from_millis(99));
        assert_eq!(batch, stamped);
    }

    #[test]
    fn stamping_keeps_attribute_bits_without_a_meaning() {
        let mut batch = with(field::ATTRIBUTES, [0x40, 0x80]).unwrap();
        batch.stamp_log_append_time(Timestamp::from_millis(99));
        assert_eq!(batch.bytes()[21..23], [0x40, 0x88]);
    }

    #[test]
    fn a_wrong_maximal_timestamp_is_corrected() {
        let batch = with(field::MAX_TIMESTAMP, 12_345i64.to_be_bytes()).unwrap();
        assert_eq!(batch.bytes(), three_records());
        assert_eq!(batch.header().max_timestamp(), millis(3000));
    }

    #[test]
    fn the_bounds_of_a_batch_of_append_time_are_that_time() {
        let mut bytes = three_records();
        put(&mut bytes, field::MAX_TIMESTAMP, 500i64.to_be_bytes());
        put(&mut bytes, field::ATTRIBUTES, [0, LOG_APPEND_TIME_BIT]);
        seal(&mut bytes);
        let batch = BuiltBatch::from_foreign(bytes).unwrap();
        assert_eq!((batch.min_timestamp(), batch.max_timestamp()), (millis(500), millis(500)));
    }

    #[test]
    fn nothing_or_more_than_one_batch_is_refused() {
        assert_eq!(rule(BuiltBatch::from_foreign(Vec::new())), "exactly one batch is expected");
        let twice = [three_records(), three_records()].concat();
        assert_eq!(rule(BuiltBatch::from_foreign(twice)), "exactly one batch is expected");
    }

    #[test]
    fn an_incomplete_batch_is_damage() {
        let mut bytes = three_records();
        let needed = bytes.len() as u64;
        bytes.pop();
        let expected = (0, Damage::Truncated { needed, available: needed - 1 });
        assert_eq!(golden::damage(BuiltBatch::from_foreign(bytes)), expected);
    }

    #[test]
    fn a_wrong_checksum_is_damage() {
        let mut bytes = three_records();
        *bytes.last_mut().unwrap() ^= 1;
        assert_eq!(golden::damage(BuiltBatch::from_foreign(bytes)).0, 17);
    }

    #[test]
    fn a_batch_of_magic_1_is_refused() {
        assert_eq!(rule(with(field::MAGIC, [1])), LEGACY);
    }

    const CODECS: [Compression; 4] = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    /// What readers see of a batch's records.
    fn content(batch: &RecordBatch<'_>) -> Vec<(i64, Option<Timestamp>, Option<Vec<u8>>)> {
        let records = batch.records();
        records.map(|r| (r.offset().get(), r.timestamp(), r.value().map(<[u8]>::to_vec))).collect()
    }

    /// [`three_records`], compressed.
    fn compressed(codec: Compression) -> Vec<u8> {
        let mut batch = BuiltBatch::from_foreign(three_records()).unwrap();
        batch.recompress(codec.into()).unwrap();
        batch.into_buffer()
    }

    #[test]
    fn a_compressed_batch_is_checked_and_taken_over_unchanged() {
        for codec in CODECS {
            let bytes = compressed(codec);
            let batch = BuiltBatch::from_foreign(bytes.clone()).unwrap();
            assert_eq!((batch.bytes(), batch.header().codec()), (&bytes[..], codec));
            assert_eq!((batch.min_timestamp(), batch.max_timestamp()), (millis(1000), millis(3000)));
        }
    }

    #[test]
    fn recompressing_changes_codec_size_and_checksum_only() {
        let plain = BuiltBatch::from_foreign(three_records()).unwrap();
        for (from, to) in CODECS.into_iter().flat_map(|from| CODECS.map(|to| (from, to))) {
            let mut batch = plain.clone();
            batch.recompress(from.into()).unwrap();
            batch.recompress(to.into()).unwrap();
            let read = RecordBatch::from_bytes(batch.bytes()).unwrap();
            assert_eq!((read.header(), read.header().codec()), (batch.header(), to));
            assert_eq!(content(&read), content(&plain.decode().unwrap()));
            drop(read);
            batch.recompress(Codec::NONE).unwrap();
            assert_eq!(batch, plain, "there and back, from {from:?} by {to:?}");
        }
    }

    #[test]
    fn only_another_codec_is_a_reason_to_recompress() {
        let batch = BuiltBatch::from_foreign(compressed(Compression::Gzip)).unwrap();
        assert!(!batch.differs_from(Codec { compression: Compression::Gzip, level: Some(9) }));
        assert!(batch.differs_from(Codec::NONE) && batch.differs_from(Compression::Lz4.into()));
        let marker = golden::bytes(golden::COMMIT_MARKER);
        let header = BatchHeader::parse(&marker).unwrap();
        let marker = BuiltBatch { buffer: marker, header, min_timestamp: None };
        assert!(!marker.differs_from(Compression::Zstd.into()), "control batches stay as they are");
    }

    #[test]
    fn a_codec_that_cannot_be_written_leaves_the_batch_as_it_is() {
        let mut batch = BuiltBatch::from_foreign(three_records()).unwrap();
        let refused = batch.recompress(Codec { compression: Compression::Gzip, level: Some(99) });
        assert!(refused.is_err());
        assert_eq!(batch.bytes(), three_records());
    }

    #[test]
    fn the_append_time_of_a_compressed_batch_is_stamped_without_decompressing() {
        for codec in CODECS {
            let mut batch = BuiltBatch::from_foreign(compressed(codec)).unwrap();
            let area = batch.bytes()[BATCH_HEADER_LEN..].to_vec();
            batch.stamp_log_append_time(Timestamp::from_millis(99));
            assert_eq!(batch.bytes()[BATCH_HEADER_LEN..], area);
            let read = RecordBatch::from_bytes(batch.bytes()).unwrap();
            assert_eq!(read.header(), batch.header());
            assert!(read.records().all(|record| record.timestamp() == millis(99)));
        }
    }

    #[test]
    fn a_wrong_maximal_timestamp_of_a_compressed_batch_is_corrected() {
        let mut bytes = compressed(Compression::Snappy);
        put(&mut bytes, field::MAX_TIMESTAMP, 12_345i64.to_be_bytes());
        seal(&mut bytes);
        assert_eq!(BuiltBatch::from_foreign(bytes).unwrap().bytes(), compressed(Compression::Snappy));
    }

    #[test]
    fn damage_behind_a_codec_is_found_under_a_right_checksum() {
        for codec in CODECS {
            let mut other_codec = three_records();
            put(&mut other_codec, field::ATTRIBUTES, [0, codec.attributes()]);
            let mut cut = compressed(codec);
            cut.truncate(cut.len() - 3);
            let length = i32::try_from(cut.len() - UNCOUNTED_LEN).unwrap();
            put(&mut cut, field::BATCH_LENGTH, length.to_be_bytes());
            let mut too_many = compressed(codec);
            put(&mut too_many, field::LAST_OFFSET_DELTA, 3i32.to_be_bytes());
            put(&mut too_many, field::RECORD_COUNT, 4i32.to_be_bytes());
            let mut too_few = compressed(codec);
            put(&mut too_few, field::LAST_OFFSET_DELTA, 1i32.to_be_bytes());
            put(&mut too_few, field::RECORD_COUNT, 2i32.to_be_bytes());
            for mut bytes in [other_codec, cut, too_many, too_few] {
                seal(&mut bytes);
                let refused = BuiltBatch::from_foreign(bytes);
                assert!(matches!(refused, Err(Error::Corrupt(_))), "{codec:?}: {refused:?}");
            }
        }
    }

    #[test]
    fn records_that_readers_would_refuse_for_their_size_are_refused() {
        let zeros = vec![0; DECOMPRESSED_BYTES_MAX + 1];
        for codec in CODECS {
            let mut bytes = three_records();
            bytes.truncate(BATCH_HEADER_LEN);
            compress(codec, None, &zeros, &mut bytes).unwrap();
            let length = i32::try_from(bytes.len() - UNCOUNTED_LEN).unwrap();
            put(&mut bytes, field::BATCH_LENGTH, length.to_be_bytes());
            put(&mut bytes, field::ATTRIBUTES, [0, codec.attributes()]);
            seal(&mut bytes);
            let refused = BuiltBatch::from_foreign(bytes);
            assert!(matches!(refused, Err(Error::DecompressedTooLarge { .. })), "{codec:?}: {refused:?}");
        }
    }

    #[test]
    fn a_base_offset_other_than_0_is_refused() {
        let refused = with(field::BASE_OFFSET, 1i64.to_be_bytes());
        assert_eq!(rule(refused), "the base offset of a client's batch is 0");
    }

    #[test]
    fn gaps_between_offsets_are_refused() {
        let refused = with(field::LAST_OFFSET_DELTA, 3i32.to_be_bytes());
        assert_eq!(rule(refused), "the offsets of a client's batch have no gaps");
    }

    #[test]
    fn a_batch_without_records_is_refused() {
        let mut bytes = three_records();
        bytes.truncate(61);
        put(&mut bytes, field::BATCH_LENGTH, 49i32.to_be_bytes());
        put(&mut bytes, field::RECORD_COUNT, 0i32.to_be_bytes());
        seal(&mut bytes);
        assert_eq!(rule(BuiltBatch::from_foreign(bytes)), "the offsets of a client's batch have no gaps");
    }

    #[test]
    fn attributes_that_only_brokers_set_are_refused() {
        assert_eq!(rule(with(field::ATTRIBUTES, [0, 0x20])), "clients cannot write control records");
        assert_eq!(rule(with(field::ATTRIBUTES, [0, 0x40])), "only compaction sets a delete horizon");
    }

    #[test]
    fn a_transactional_batch_without_a_producer_is_refused() {
        assert_eq!(rule(with(field::ATTRIBUTES, [0, 0x10])), "a transactional batch needs a producer id");
    }

    #[test]
    fn a_producer_without_a_sequence_is_refused() {
        let mut id_and_epoch = [0; 10];
        id_and_epoch[7] = 9;
        assert_eq!(rule(with(field::PRODUCER_ID, id_and_epoch)), "a producer id needs a base sequence");
    }

    #[test]
    fn a_timestamp_before_1970_is_refused_with_its_index() {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        builder.append(millis(3000), None, None, &[]).unwrap();
        builder.append(millis(1000), None, None, &[]).unwrap();
        let mut bytes = builder.build().unwrap().into_buffer();
        put(&mut bytes, field::BASE_TIMESTAMP, 1500i64.to_be_bytes());
        seal(&mut bytes);
        let refused = BuiltBatch::from_foreign(bytes);
        assert_eq!(golden::invalid(refused), (Some(1), "a timestamp before 1970 cannot be stored"));
    }

    proptest! {
        #[test]
        fn a_changed_batch_is_refused_or_valid(position in 12usize..100, value: u8) {
            let mut bytes = three_records();
            let position = position % bytes.len();
            bytes[position] = value;
            seal(&mut bytes);
            if let Ok(batch) = BuiltBatch::from_foreign(bytes) {
                let read = RecordBatchRef::from_bytes(batch.bytes()).unwrap();
                prop_assert_eq!(read.header(), batch.header());
                prop_assert_eq!(read.records().map(|r| r.timestamp()).max().unwrap(), batch.max_timestamp());
                prop_assert!(read.records().map(|record| record.offset().get()).eq(0..i64::from(batch.count())));
            }
        }
    }
}
