//! Message sets of magic 0 and 1: their checksums and offsets; what is in them cannot be read yet.

use std::sync::Arc;

use logstead::storage::StorageFile;
use logstead::types::{Offset, Timestamp};

/// Offset and size, which the size does not count.
const UNCOUNTED_BYTES: u64 = 12;
/// Up to the attributes.
const FIXED_BYTES: usize = 18;
/// The smallest message of magic 0, and of magic 1.
const SIZE_MIN: [u64; 2] = [14, 22];
/// Bytes checksummed at a time.
const PIECE_BYTES: usize = 64 << 10;

/// What stands at a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message {
    /// Of a compressed set, that of its last message.
    pub(crate) offset: Offset,
    pub(crate) end: u64,
    pub(crate) magic: u8,
    pub(crate) is_compressed: bool,
    pub(crate) max_timestamp: Option<Timestamp>,
    pub(crate) is_intact: bool,
}

/// The message at `position`, if the bytes there can be one that ends at or before `file_end`.
pub(crate) fn message_at(
    file: &Arc<dyn StorageFile>,
    position: u64,
    file_end: u64,
) -> std::io::Result<Option<Message>> {
    let mut fixed = [0; FIXED_BYTES + 8];
    let read = file.read_full_at(position, &mut fixed)?;
    let fixed = fixed.get(..read).unwrap_or_default();
    let Some((offset, size, crc, magic, attributes)) = split(fixed) else { return Ok(None) };
    let least = SIZE_MIN.get(usize::from(magic)).copied();
    let (Some(offset), Some(size)) = (Offset::new(offset), u64::try_from(size).ok()) else { return Ok(None) };
    let end = position.saturating_add(UNCOUNTED_BYTES).saturating_add(size);
    if least.is_none_or(|least| size < least) || end > file_end {
        return Ok(None);
    }
    let timestamp = fixed.get(FIXED_BYTES..).and_then(|bytes| bytes.first_chunk()).map(|raw| i64::from_be_bytes(*raw));
    let max_timestamp = timestamp.filter(|millis| magic == 1 && *millis >= 0).map(Timestamp::from_millis);
    let is_intact = checksum(file, position.saturating_add(16), end)? == Some(crc);
    Ok(Some(Message { offset, end, magic, is_compressed: attributes & 7 != 0, max_timestamp, is_intact }))
}

/// Where the message or batch at `position` ends by its length field alone.
pub(crate) fn end_by_length(file: &Arc<dyn StorageFile>, position: u64) -> std::io::Result<Option<u64>> {
    let mut fixed = [0; FIXED_BYTES];
    let read = file.read_full_at(position, &mut fixed)?;
    let size = split(fixed.get(..read).unwrap_or_default()).and_then(|(_, size, ..)| u64::try_from(size).ok());
    Ok(size.and_then(|size| position.checked_add(UNCOUNTED_BYTES)?.checked_add(size)))
}

/// Offset, size, checksum, magic, attributes.
fn split(bytes: &[u8]) -> Option<(i64, i32, u32, u8, u8)> {
    let (offset, rest) = bytes.split_first_chunk()?;
    let (size, rest) = rest.split_first_chunk()?;
    let (crc, rest) = rest.split_first_chunk()?;
    let [magic, attributes] = rest.first_chunk::<2>()?;
    Some((i64::from_be_bytes(*offset), i32::from_be_bytes(*size), u32::from_be_bytes(*crc), *magic, *attributes))
}

/// The CRC-32 of `[from, to)`; `None` when the file ends before.
fn checksum(file: &Arc<dyn StorageFile>, from: u64, to: u64) -> std::io::Result<Option<u32>> {
    let mut crc = crc32fast::Hasher::new();
    let mut position = from;
    let mut buffer = vec![0; PIECE_BYTES.min(usize::try_from(to - from).unwrap_or(PIECE_BYTES))];
    while position < to {
        let want = usize::try_from(to - position).unwrap_or(usize::MAX).min(buffer.len());
        let piece = buffer.get_mut(..want).unwrap_or_default();
        if file.read_full_at(position, piece)? < want {
            return Ok(None);
        }
        crc.update(piece);
        position += want as u64;
    }
    Ok(Some(crc.finalize()))
}
