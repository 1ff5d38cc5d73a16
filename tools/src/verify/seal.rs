//! A finished segment against its seal: every byte of the log and of the files beside it.

use std::path::{Path, PathBuf};

use logstead::log::{FileSum, SEAL_BLOCK_BYTES, Seal, SegmentFile};
use logstead::types::{Offset, PartitionId, TopicId};

use super::files::{self, Opened};
use super::report::{Findings, Spot};

/// Blocks that are read at a time.
const BLOCKS_PER_READ: usize = 64;

/// A segment that has a seal.
pub(crate) struct Sealed<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) log_path: &'a Path,
    pub(crate) topic_id: Option<TopicId>,
    pub(crate) partition: Option<PartitionId>,
    pub(crate) base: Offset,
    pub(crate) next_base: Option<Offset>,
    pub(crate) offset_index: Option<FileSum>,
    pub(crate) time_index: Option<FileSum>,
    pub(crate) transaction_index: Option<FileSum>,
    pub(crate) snapshot: Option<FileSum>,
    /// What has been told of the log already.
    pub(crate) bad_positions: &'a [(u64, u64)],
}

/// Compares.
pub(crate) fn check(findings: &mut Findings, sealed: &Sealed<'_>) {
    let path = sealed.folder.join(SegmentFile::Seal.name(sealed.base));
    let Some(bytes) = files::read(findings, &path) else { return };
    let seal = match Seal::from_bytes(&bytes) {
        Ok(seal) => seal,
        Err(error) => return files::damaged(findings, "seal", &path, &error),
    };
    let subject = seal.subject;
    if subject.base_offset != sealed.base || sealed.partition.is_some_and(|partition| partition != subject.partition) {
        return findings.damage("seal", Spot::of(&path), "it belongs to another segment");
    }
    if sealed.topic_id.is_some_and(|topic_id| topic_id != subject.topic_id) {
        let what = format!("the topic id is not {}, which the seals of the log name", subject.topic_id);
        let metadata = sealed.folder.join(super::partition::METADATA_FILE);
        findings.damage("metadata", Spot::of(&metadata), what);
    }
    if sealed.next_base.is_some_and(|next_base| seal.next_offset > next_base) {
        let what = format!("it leads to offset {}, behind the next segment's start", seal.next_offset);
        findings.damage("seal", Spot::of(&path), what);
    }
    check_log(findings, sealed, &seal);
    for (kind, stored, found) in [
        (SegmentFile::OffsetIndex, Some(seal.offset_index), sealed.offset_index),
        (SegmentFile::TimeIndex, Some(seal.time_index), sealed.time_index),
        (SegmentFile::TransactionIndex, seal.transaction_index, sealed.transaction_index),
        (SegmentFile::Snapshot, seal.snapshot, sealed.snapshot),
    ] {
        check_file(findings, sealed.folder.join(kind.name(sealed.base)), stored, found);
    }
}

/// A missing file was told already, or may be gone: all of them are derived from the log.
fn check_file(findings: &mut Findings, path: PathBuf, stored: Option<FileSum>, found: Option<FileSum>) {
    match (stored, found) {
        (Some(stored), Some(found)) if stored != found => {
            let what = format!(
                "it is not as it was sealed: {} bytes with checksum {:08x}, now {} with {:08x}",
                stored.len, stored.crc, found.len, found.crc
            );
            findings.damage("index", Spot::of(&path), what);
        }
        (Some(_), None) => findings.note("missing-index", Spot::of(&path), "the seal names it and it is not there"),
        (Some(_), Some(_)) | (None, _) => {}
    }
}

/// The blocks of the log; those that hold damage which was told already are passed over.
fn check_log(findings: &mut Findings, sealed: &Sealed<'_>, seal: &Seal) {
    // The log's bytes were counted when its batches were read.
    let mut uncounted = Findings::default();
    let Some(Opened { file, len }) = files::open(&mut uncounted, sealed.log_path) else { return };
    if len != seal.log_len && sealed.bad_positions.is_empty() {
        let what = format!("the file is {len} bytes long; it was sealed with {}", seal.log_len);
        findings.damage("missing", Spot::at(sealed.log_path, len.min(seal.log_len)), what);
    }
    let mut buffer = vec![0; SEAL_BLOCK_BYTES * BLOCKS_PER_READ];
    let (mut position, end) = (0, len.min(seal.log_len));
    while position < end {
        let want = usize::try_from(end - position).unwrap_or(usize::MAX).min(buffer.len());
        let piece = buffer.get_mut(..want).unwrap_or_default();
        match file.read_full_at(position, piece) {
            Ok(read) if read == want => {}
            Ok(_) => return,
            Err(error) => return files::complain(findings, sealed.log_path, "read", &error),
        }
        check_blocks(findings, sealed, seal, position, piece);
        position += want as u64;
    }
}

fn check_blocks(findings: &mut Findings, sealed: &Sealed<'_>, seal: &Seal, start: u64, bytes: &[u8]) {
    let (mut start, mut bytes) = (start, bytes);
    while let Some(at) = seal.first_difference(start, bytes) {
        let block = SEAL_BLOCK_BYTES as u64;
        let end = at.saturating_add(block);
        // The last block of a file of another length: the length was told.
        let is_cut = end > seal.log_len.min(sealed_len(start, bytes)) && end < seal.log_len;
        let is_known = sealed.bad_positions.iter().any(|(from, to)| *from < end && at < *to);
        if !is_cut && !is_known {
            let what = format!("the bytes from here to {} are not those that were sealed", end.min(seal.log_len));
            findings.damage("seal", Spot::at(sealed.log_path, at), what);
        }
        let skip = usize::try_from(end - start).unwrap_or(usize::MAX);
        let Some(rest) = bytes.get(skip..).filter(|rest| !rest.is_empty()) else { return };
        (start, bytes) = (end, rest);
    }
}

fn sealed_len(start: u64, bytes: &[u8]) -> u64 {
    start.saturating_add(bytes.len() as u64)
}
