//! [S] Writing a recovered tail again before it counts as durable.
//!
//! After a crash the page cache may hold bytes that a failed sync left clean: they read back fine, a new sync returns
//! `Ok`, and a power cut loses them. So a tail that nobody vouches for is first published as a synced redo file, then
//! written over itself (which makes the pages dirty again) and synced, and then the redo file is removed. A crash in
//! between is completed from the redo file at the next open.
//!
//! Big-endian: magic `LSRD`, version int16 = 1, reserved int16, topic id 16 bytes, base offset int64, position uint64, the
//! bytes, CRC-32 of everything before it.

use std::sync::Arc;

use crate::error::{Damage, Error, IoContext, Result};
use crate::log::context::LogContext;
use crate::log::layout::SegmentFile;
use crate::record::cursor::{Reader, Writer};
use crate::storage::{OpenMode, StorageFile, SyncMode, publish, read_file, remove_published};
use crate::types::{Offset, TopicId};

const MAGIC: u32 = u32::from_be_bytes(*b"LSRD");
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 40;
/// Bytes of tail in one redo file at most: a longer tail is written again in several rounds.
const PIECE_BYTES: usize = 8 << 20;

/// What a `.redo` file holds: a piece of a segment's `.log` that is being written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedoFile<'a> {
    /// The topic's id.
    pub topic_id: TopicId,
    /// The segment's base offset.
    pub base_offset: Offset,
    /// Where in the `.log` the piece belongs, in bytes from its start.
    pub position: u64,
    /// The piece; it need not start or end with a batch.
    pub tail: &'a [u8],
}

/// Reads a `.redo` file.
///
/// # Errors
/// [`Error::Corrupt`] for a wrong checksum, magic, version or offset.
///
/// # Examples
/// ```
/// assert!(logstead::log::decode_redo(b"LSRD").is_err());
/// ```
pub fn decode(bytes: &[u8]) -> Result<RedoFile<'_>> {
    let truncated = || {
        let (needed, available) = (HEADER_BYTES as u64 + 4, bytes.len() as u64);
        Error::corrupt(0, Damage::Truncated { needed, available })
    };
    let (checked, crc) = bytes.split_last_chunk::<4>().ok_or_else(truncated)?;
    let (header, tail) = checked.split_at_checked(HEADER_BYTES).ok_or_else(truncated)?;
    let (stored, computed) = (u32::from_be_bytes(*crc), crc32fast::hash(checked));
    if stored != computed {
        return Err(Error::corrupt(checked.len() as u64, Damage::Checksum { stored, computed }));
    }
    let mut reader = Reader::new(header);
    let magic = reader.u32()?;
    if (magic, reader.u16()?, reader.u16()?) != (MAGIC, VERSION, 0) {
        return Err(Error::corrupt(0, Damage::Magic { stored: i64::from(magic) }));
    }
    let topic_id = TopicId::from_bytes(reader.array()?);
    let base_offset = Offset::new(reader.i64()?)
        .ok_or_else(|| Error::corrupt(24, Damage::Structure("the base offset of a redo file is negative")))?;
    Ok(RedoFile { topic_id, base_offset, position: reader.u64()?, tail })
}

/// Writes `[from, to)` of a segment's log again and makes it durable.
pub(crate) fn rewrite_tail(context: &LogContext, base_offset: Offset, from: u64, to: u64) -> Result<()> {
    let log_path = context.path(SegmentFile::Log, base_offset);
    let log = context.storage.open(&log_path, OpenMode::Write).context("open", &log_path)?;
    let mut position = from;
    while position < to {
        let len = usize::try_from(to - position).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let mut tail = vec![0; len];
        log.read_exact_at(position, &mut tail).context("read", &log_path)?;
        let redo_path = context.path(SegmentFile::Redo, base_offset);
        publish(&*context.storage, &redo_path, &encode(context, base_offset, position, &tail))?;
        apply(&log, position, &tail)?;
        remove_published(&*context.storage, &redo_path)?;
        position += len as u64;
    }
    Ok(())
}

/// Completes a redo file that a crash left behind; `true` when there was one. A redo file that is itself damaged was
/// never published whole, so nothing depends on it: it is removed.
pub(crate) fn complete(context: &LogContext, base_offset: Offset) -> Result<bool> {
    let redo_path = context.path(SegmentFile::Redo, base_offset);
    let Some(bytes) = read_file(&*context.storage, &redo_path, u64::MAX)? else { return Ok(false) };
    let is_ours = |redo: &RedoFile<'_>| redo.topic_id == context.topic_id && redo.base_offset == base_offset;
    if let Some(redo) = decode(&bytes).ok().filter(is_ours) {
        let log_path = context.path(SegmentFile::Log, base_offset);
        let log = context.storage.open(&log_path, OpenMode::Write).context("open", &log_path)?;
        apply(&log, redo.position, redo.tail)?;
    }
    remove_published(&*context.storage, &redo_path)?;
    Ok(true)
}

fn apply(log: &Arc<dyn StorageFile>, position: u64, tail: &[u8]) -> Result<()> {
    log.write_all_at(position, tail).context("write again", log.path())?;
    log.sync(SyncMode::All).in_doubt_context("sync", log.path())
}

fn encode(context: &LogContext, base_offset: Offset, position: u64, tail: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + tail.len() + 4);
    let mut writer = Writer::new(&mut bytes);
    writer.put_u32(MAGIC);
    writer.put_u16(VERSION);
    writer.put_u16(0);
    writer.put_bytes(context.topic_id.as_bytes());
    writer.put_i64(base_offset.get());
    writer.put_u64(position);
    writer.put_bytes(tail);
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{MemStorage, Storage};
    use crate::types::{TopicId, TopicPartition};

    fn context() -> LogContext {
        let storage = MemStorage::new();
        storage.create_dir("/t-0".as_ref()).unwrap();
        LogContext {
            storage: Arc::new(storage),
            folder: "/t-0".into(),
            tp: TopicPartition::new("t", 0).unwrap(),
            topic_id: TopicId::from_bytes([1; 16]),
            was_mapped: Arc::default(),
        }
    }

    #[test]
    fn a_redo_file_left_by_a_crash_is_completed_once() {
        let context = context();
        let path = context.path(SegmentFile::Log, Offset::ZERO);
        let log = context.storage.open(&path, OpenMode::Create).unwrap();
        log.write_all_at(0, b"abc???").unwrap();
        let redo = context.path(SegmentFile::Redo, Offset::ZERO);
        publish(&*context.storage, &redo, &encode(&context, Offset::ZERO, 3, b"def")).unwrap();
        assert!(complete(&context, Offset::ZERO).unwrap());
        assert_eq!(read_file(&*context.storage, &path, 100).unwrap().unwrap(), b"abcdef");
        assert!(!complete(&context, Offset::ZERO).unwrap());
    }

    #[test]
    fn a_damaged_or_foreign_redo_file_is_removed_and_not_applied() {
        let context = context();
        let path = context.path(SegmentFile::Log, Offset::ZERO);
        context.storage.open(&path, OpenMode::Create).unwrap().write_all_at(0, b"abc").unwrap();
        let mut damaged = encode(&context, Offset::ZERO, 0, b"xyz");
        damaged[41] ^= 1;
        for bytes in [damaged, encode(&context, Offset::from(7), 0, b"xyz"), Vec::new()] {
            publish(&*context.storage, &context.path(SegmentFile::Redo, Offset::ZERO), &bytes).unwrap();
            assert!(complete(&context, Offset::ZERO).unwrap());
            assert_eq!(read_file(&*context.storage, &path, 100).unwrap().unwrap(), b"abc");
        }
    }

    #[test]
    fn rewriting_changes_no_byte() {
        let context = context();
        let path = context.path(SegmentFile::Log, Offset::ZERO);
        context.storage.open(&path, OpenMode::Create).unwrap().write_all_at(0, b"abcdef").unwrap();
        rewrite_tail(&context, Offset::ZERO, 2, 6).unwrap();
        assert_eq!(read_file(&*context.storage, &path, 100).unwrap().unwrap(), b"abcdef");
        assert!(!complete(&context, Offset::ZERO).unwrap());
    }
}
