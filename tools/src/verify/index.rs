//! Index files against the log: every entry must name a batch that is there.
//!
//! Brokers before 4.0 write one offset entry for all batches of an append, as a follower does for what it has fetched:
//! where the first of them starts, and the last offset of all. Their time entries may name the record with the largest
//! timestamp instead of the last one of its batch. Both find what they must, and are no damage.
//!
//! An index is read before its log, and a log is written before its index: what an index names is in the log, even
//! while an owner writes. Entries are compared as the batches pass by; those that do not fit are judged at the end of
//! the segment, when it is known where the log itself is damaged.

use std::path::{Path, PathBuf};

use logstead::Error;
use logstead::log::{FileSum, OffsetIndex, OffsetIndexEntry, SegmentFile, TimeIndex, TimeIndexEntry};
use logstead::types::{Offset, Timestamp};

use super::files;
use super::report::{Findings, Spot};

/// Entries that do not fit and are remembered; a bad index has many, and a few say it all.
const SUSPECTS_MAX: usize = 1000;

/// What an index may name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed {
    pub(crate) position: u64,
    pub(crate) last_offset: Offset,
    pub(crate) max_timestamp: Option<Timestamp>,
}

/// Where a segment's log ends, and where it is damaged.
#[derive(Debug)]
pub(crate) struct SegmentExtent<'a> {
    pub(crate) next_offset: Offset,
    pub(crate) len: u64,
    /// Whether the log may have lost a tail that an index still names.
    pub(crate) may_lack_tail: bool,
    /// Damaged positions, end exclusive.
    pub(crate) bad_positions: &'a [(u64, u64)],
    /// Damaged offsets, end exclusive.
    pub(crate) bad_offsets: &'a [(Offset, Offset)],
}

impl SegmentExtent<'_> {
    fn is_damaged_at(&self, position: u64) -> bool {
        self.bad_positions.iter().any(|(from, to)| (*from..*to).contains(&position))
    }

    fn has_lost(&self, offset: Offset) -> bool {
        self.bad_offsets.iter().any(|(from, to)| (*from..*to).contains(&offset))
    }
}

/// An entry that does not fit.
#[derive(Debug)]
struct Suspect<E> {
    entry: E,
    at: u64,
    what: String,
}

/// One index file, and how far it has been compared.
#[derive(Debug)]
struct Comparison<E> {
    path: PathBuf,
    entries: std::vec::IntoIter<E>,
    next: Option<E>,
    /// Position of `next` in the file.
    at: u64,
    entry_len: u64,
    suspects: Vec<Suspect<E>>,
}

impl<E: Copy> Comparison<E> {
    fn new(path: PathBuf, entries: Vec<E>, entry_len: usize) -> Comparison<E> {
        let mut entries = entries.into_iter();
        let next = entries.next();
        Comparison { path, entries, next, at: 0, entry_len: entry_len as u64, suspects: Vec::new() }
    }

    fn advance(&mut self) {
        self.next = self.entries.next();
        self.at += self.entry_len;
    }

    /// The next entry does not fit.
    fn suspect(&mut self, entry: E, what: String) {
        self.suspect_at(self.at, entry, what);
    }

    fn suspect_at(&mut self, at: u64, entry: E, what: String) {
        if self.suspects.len() < SUSPECTS_MAX {
            self.suspects.push(Suspect { entry, at, what });
        }
    }

    /// The entries that no batch came for.
    fn finish(&mut self, what: impl Fn(&E) -> String) {
        while let Some(entry) = self.next {
            self.suspect(entry, what(&entry));
            self.advance();
        }
    }
}

/// The offset index and the time index of one segment.
#[derive(Debug)]
pub(crate) struct Indexes {
    offsets: Comparison<OffsetIndexEntry>,
    /// An entry whose first batch has passed, and its last one has not, with its position in the file.
    spanning: Option<(OffsetIndexEntry, u64)>,
    times: Comparison<TimeIndexEntry>,
    /// The last offset of the batch before.
    before: Option<Offset>,
    max_timestamp: Option<Timestamp>,
    last_time: Option<Timestamp>,
    /// Length and checksum of the files, for the seal.
    pub(crate) offset_sum: Option<FileSum>,
    pub(crate) time_sum: Option<FileSum>,
}

impl Indexes {
    /// Reads both files, where they are.
    pub(crate) fn load(
        findings: &mut Findings,
        folder: &Path,
        base: Offset,
        has: impl Fn(SegmentFile) -> bool,
    ) -> Indexes {
        let mut read = |kind: SegmentFile| -> (PathBuf, Option<Vec<u8>>) {
            let path = folder.join(kind.name(base));
            if has(kind) {
                let bytes = files::read(findings, &path);
                return (path, bytes);
            }
            findings.note("missing-index", Spot::of(&path), "it is not there, and is rebuilt when the log is opened");
            (path, None)
        };
        let (offset_path, offset_bytes) = read(SegmentFile::OffsetIndex);
        let (time_path, time_bytes) = read(SegmentFile::TimeIndex);
        let (offset_sum, time_sum) = (offset_bytes.as_deref().map(FileSum::of), time_bytes.as_deref().map(FileSum::of));
        let offset_bytes = offset_bytes.unwrap_or_default();
        let kept = OffsetIndex::trim_zero_tail(&offset_bytes);
        note_zeros(findings, &offset_path, kept.len(), offset_bytes.len());
        let read_offsets = |bytes: &[u8]| OffsetIndex::from_bytes(base, bytes).map(|index| index.iter().collect());
        let offsets = up_to_damage(findings, &offset_path, kept, read_offsets);
        let time_bytes = time_bytes.unwrap_or_default();
        let kept = TimeIndex::trim_zero_tail(&time_bytes);
        note_zeros(findings, &time_path, kept.len(), time_bytes.len());
        let read_times = |bytes: &[u8]| TimeIndex::from_bytes(base, bytes).map(|index| index.iter().collect());
        let times: Vec<TimeIndexEntry> = up_to_damage(findings, &time_path, kept, read_times);
        Indexes {
            last_time: times.last().map(|entry| entry.timestamp),
            offsets: Comparison::new(offset_path, offsets, OffsetIndex::ENTRY_BYTES),
            spanning: None,
            times: Comparison::new(time_path, times, TimeIndex::ENTRY_BYTES),
            before: None,
            max_timestamp: None,
            offset_sum,
            time_sum,
        }
    }

    /// A batch whose place is beyond doubt.
    pub(crate) fn on_batch(&mut self, batch: Placed) {
        self.compare_offsets(batch);
        self.compare_times(batch);
        self.before = Some(batch.last_offset);
    }

    fn compare_offsets(&mut self, batch: Placed) {
        let is_next_here = self.offsets.next.is_some_and(|next| next.position <= batch.position);
        if let Some((entry, at)) = self.spanning.take_if(|(entry, _)| is_next_here || entry.offset <= batch.last_offset)
            && (is_next_here || entry.offset < batch.last_offset)
        {
            let what = format!("no batch of those from position {} on ends at offset {}", entry.position, entry.offset);
            self.offsets.suspect_at(at, entry, what);
        }
        while let Some(entry) = self.offsets.next.filter(|entry| entry.position <= batch.position) {
            if entry.position < batch.position {
                self.offsets.suspect(entry, format!("no batch starts at position {}", entry.position));
            } else if entry.offset > batch.last_offset {
                self.spanning = Some((entry, self.offsets.at));
            } else if entry.offset < batch.last_offset {
                let what = format!("offset {} for the batch that ends at {}", entry.offset, batch.last_offset);
                self.offsets.suspect(entry, what);
            }
            self.offsets.advance();
        }
    }

    fn compare_times(&mut self, batch: Placed) {
        let before = self.max_timestamp;
        self.max_timestamp = before.max(batch.max_timestamp);
        while let Some(entry) = self.times.next.filter(|entry| entry.offset <= batch.last_offset) {
            if self.before.is_some_and(|before| entry.offset <= before) {
                self.times.suspect(entry, format!("no batch ends at offset {}", entry.offset));
            } else if batch.max_timestamp != Some(entry.timestamp) {
                let found = batch.max_timestamp.map_or(-1, Timestamp::as_millis);
                let what =
                    format!("timestamp {} for a batch whose largest one is {found}", entry.timestamp.as_millis());
                self.times.suspect(entry, what);
            } else if before.is_some_and(|before| before > entry.timestamp) {
                let what = format!("older records are newer than timestamp {}", entry.timestamp.as_millis());
                self.times.suspect(entry, what);
            }
            self.times.advance();
        }
    }

    /// Judges what did not fit. `is_finished` = the segment takes no more batches.
    pub(crate) fn finish(&mut self, findings: &mut Findings, extent: &SegmentExtent<'_>, is_finished: bool) {
        let unfinished = self.spanning.take();
        if let Some((entry, at)) = unfinished {
            let what = format!("offset {} for batches that end at {}", entry.offset, or_none(self.before));
            self.offsets.suspect_at(at, entry, what);
        }
        self.offsets.finish(|entry| {
            format!("it names offset {} at position {}, behind the log's end", entry.offset, entry.position)
        });
        self.times.finish(|entry| format!("it names offset {}, behind the segment's end", entry.offset));
        for Suspect { entry, at, what } in self.offsets.suspects.drain(..) {
            if extent.is_damaged_at(entry.position) || extent.has_lost(entry.offset) {
                continue;
            }
            let is_behind = entry.position >= extent.len || unfinished.is_some_and(|(_, from)| from == at);
            let is_beyond = entry.offset >= extent.next_offset && is_behind;
            let spot = Spot::at(&self.offsets.path, at).offsets(entry.offset, entry.offset.next());
            findings.found(!(is_beyond && extent.may_lack_tail), "index", spot, what);
        }
        for Suspect { entry, at, what } in self.times.suspects.drain(..) {
            if extent.has_lost(entry.offset) {
                continue;
            }
            let is_beyond = entry.offset >= extent.next_offset;
            let spot = Spot::at(&self.times.path, at).offsets(entry.offset, entry.offset.next());
            findings.found(!(is_beyond && extent.may_lack_tail), "index", spot, what);
        }
        if is_finished
            && self.time_sum.is_some()
            && self.last_time < self.max_timestamp
            && extent.bad_positions.is_empty()
        {
            let what = "its last entry is not the segment's largest timestamp: searches by time read further";
            findings.note("index", Spot::of(&self.times.path), what);
        }
    }
}

fn or_none(offset: Option<Offset>) -> String {
    offset.map_or_else(|| "none".to_owned(), |offset| offset.to_string())
}

fn note_zeros(findings: &mut Findings, path: &Path, kept: usize, len: usize) {
    if kept < len {
        let what = format!("{} bytes of zeros follow the last entry: the file was preallocated", len - kept);
        findings.note("zeros", Spot::at(path, kept as u64), what);
    }
}

/// Reads entries, or else those that stand before the first damaged one, and reports that.
pub(crate) fn up_to_damage<E>(
    findings: &mut Findings,
    path: &Path,
    bytes: &[u8],
    read: impl Fn(&[u8]) -> Result<Vec<E>, Error>,
) -> Vec<E> {
    let error = match read(bytes) {
        Ok(entries) => return entries,
        Err(error) => error,
    };
    let (position, what) = files::position_and_text(&error);
    findings.damage("index", Spot::at(path, position), what);
    let intact = usize::try_from(position).ok().and_then(|len| bytes.get(..len));
    read(intact.unwrap_or_default()).unwrap_or_default()
}
