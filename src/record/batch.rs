//! [P] Reading a batch whatever its codec: the records are decompressed into memory of their own where they have to be.
//!
//! What stands behind a codec is laid out like the records of an uncompressed batch, so that everything above reads one
//! form. No size that the bytes announce is believed: decompression stops at the reader's limit. Kafka's counterpart:
//! `DefaultRecordBatch.streamingIterator`.

use std::borrow::Cow;

use super::compression::Decompressor;
use super::header::{BATCH_HEADER_LEN, BatchHeader};
use super::legacy;
use super::view::{RecordBatchRef, Records, check_records};
use crate::error::{Error, Result};
use crate::types::Compression;

/// The bytes that the records of one batch may have when they are decompressed, where the reader sets no limit of his own.
/// Batches that are written here never have more.
pub const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;

/// A valid batch, compressed or not.
///
/// ```
/// use logstead::record::{BatchBuilder, BatchOptions, RecordBatch};
/// let mut builder = BatchBuilder::new(BatchOptions::default());
/// builder.append(None, Some(b"customer-7"), Some(b"order 1"), &[])?;
/// let bytes = builder.build()?.into_buffer();
///
/// let batch = RecordBatch::from_bytes(&bytes)?;
/// let values: Vec<_> = batch.records().map(|record| record.value()).collect();
/// assert_eq!(values, [Some(&b"order 1"[..])]);
/// # Ok::<(), logstead::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct RecordBatch<'a> {
    header: BatchHeader,
    bytes: &'a [u8],
    area: Cow<'a, [u8]>,
}

impl<'a> RecordBatch<'a> {
    /// Checks the batch at the front of `bytes`: header, checksum, and one pass over the records, which are decompressed up
    /// to [`DECOMPRESSED_BYTES_MAX`]. Bytes behind the batch are ignored.
    ///
    /// # Errors
    /// - [`Error::Corrupt`] when a check fails or the batch is longer than `bytes`.
    /// - [`Error::UnsupportedCodec`] when the codec is not built in.
    /// - [`Error::DecompressedTooLarge`] when the records are larger than the limit.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<RecordBatch<'a>> {
        RecordBatch::from_bytes_with_limit(bytes, DECOMPRESSED_BYTES_MAX)
    }

    /// Like [`from_bytes`](Self::from_bytes), where compressed records may have at most `decompressed_bytes_max` bytes. The
    /// limit says nothing about records that are not compressed: those are borrowed.
    ///
    /// # Errors
    /// Those of [`from_bytes`](Self::from_bytes).
    pub fn from_bytes_with_limit(bytes: &'a [u8], decompressed_bytes_max: usize) -> Result<RecordBatch<'a>> {
        let header = BatchHeader::parse(bytes)?;
        header.verify_crc(bytes)?;
        RecordBatch::check(header, bytes, decompressed_bytes_max)
    }

    /// Like [`from_bytes`](Self::from_bytes), for bytes whose checksum was verified a moment ago: it is not computed
    /// again.
    ///
    /// # Errors
    /// Those of [`from_bytes`](Self::from_bytes), except a wrong checksum.
    pub fn from_checked_bytes(bytes: &'a [u8]) -> Result<RecordBatch<'a>> {
        RecordBatch::check(BatchHeader::parse(bytes)?, bytes, DECOMPRESSED_BYTES_MAX)
    }

    fn check(header: BatchHeader, bytes: &'a [u8], limit: usize) -> Result<RecordBatch<'a>> {
        let bytes = header.batch_of(bytes)?;
        if is_plain(&header) {
            let area = bytes.get(BATCH_HEADER_LEN..).unwrap_or_default();
            check_records(&header, area)?;
            return Ok(RecordBatch { header, bytes, area: Cow::Borrowed(area) });
        }
        let mut area = Vec::new();
        let header = unpack_into(&mut Decompressor::default(), &header, bytes, limit, &mut area)?;
        Ok(RecordBatch { header, bytes, area: Cow::Owned(area) })
    }

    /// The fixed fields.
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The bytes of this batch and no more, as they were given.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The batch for reading; nothing is checked again.
    pub fn view(&self) -> RecordBatchRef<'_> {
        RecordBatchRef::unpacked(self.header, self.bytes, &self.area)
    }

    /// The CRC-32 of each message of a set of magic 0 or 1, in order: none for a batch of magic 2, whose records have no
    /// checksums of their own. A compressed set is decompressed again for it.
    ///
    /// # Errors
    /// Those of [`from_checked_bytes`](Self::from_checked_bytes).
    pub fn message_checksums(&self) -> Result<Vec<u32>> {
        match self.header.is_legacy() {
            true => legacy::checksums(&self.header, self.bytes, DECOMPRESSED_BYTES_MAX),
            false => Ok(Vec::new()),
        }
    }

    /// The records, in offset order.
    pub fn records(&self) -> Records<'_> {
        self.view().records()
    }
}

/// Whether the records of the batch are read where they lie.
pub(crate) fn is_plain(header: &BatchHeader) -> bool {
    header.codec() == Compression::None && !header.is_legacy()
}

/// Replaces what is in `area` by the records of the batch at the front of `bytes`, laid out as in an uncompressed batch of
/// magic 2, and checks them. Returns the header that they are read with. At most `limit` bytes are decompressed.
///
/// # Errors
/// Those of [`RecordBatch::from_checked_bytes`]. `area` holds anything then.
pub(crate) fn unpack_into(
    decompressor: &mut Decompressor,
    header: &BatchHeader,
    bytes: &[u8],
    limit: usize,
    area: &mut Vec<u8>,
) -> Result<BatchHeader> {
    if header.is_legacy() {
        return legacy::unpack(decompressor, header, bytes, limit, area);
    }
    let packed = header.batch_of(bytes)?.get(BATCH_HEADER_LEN..).unwrap_or_default();
    if header.record_count == 0 && packed.is_empty() {
        // Kafka's reader does not look for a stream where no record is left.
        return Ok(*header);
    }
    let unpacked = decompressor.decompress(header.codec(), packed, limit, area);
    unpacked.map_err(|error| in_batch(error, BATCH_HEADER_LEN))?;
    // Positions behind the codec would tell nobody anything: the damage is where the compressed records start.
    check_records(header, area).map_err(|error| match error {
        Error::Corrupt(corrupt) => Error::corrupt(BATCH_HEADER_LEN as u64, corrupt.what),
        other => other,
    })?;
    Ok(*header)
}

/// Counts the positions of damage from the start of the batch.
pub(super) fn in_batch(error: Error, area_starts_at: usize) -> Error {
    match error {
        Error::Corrupt(corrupt) => Error::corrupt(corrupt.position + area_starts_at as u64, corrupt.what),
        other => other,
    }
}
