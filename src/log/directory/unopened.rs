//! [S] What retention has to know of a log that nobody has opened: a list of its folder, and the age of its oldest segment.
//!
//! Nothing is decided here: where a segment may have expired, the log is opened, which looks more closely. Thousands of
//! partitions that hold nothing old cost a list of names each, once.

use std::io::ErrorKind;
use std::path::Path;

use crate::config::LogConfig;
use crate::error::{IoContext, Result};
use crate::log::LogDirectory;
use crate::log::layout::SegmentFile;
use crate::log::retention::{
    NextLook, RetentionLimits, RetentionSubject, RetentionTime, SegmentAge, SegmentFacts, plan,
};
use crate::storage::{OpenMode, Storage};
use crate::types::{Offset, Timestamp, TopicPartition};

/// Of a time index the last entry tells the largest timestamp: 8 bytes of it, and 4 of an offset.
const TIME_ENTRY_BYTES: u64 = 12;

impl LogDirectory {
    /// When a log that is not open may lose something; `None` when it may now, so that it has to be opened.
    pub(crate) fn next_look_unopened(
        &self,
        tp: &TopicPartition,
        config: &LogConfig,
        at: RetentionTime,
    ) -> Result<Option<NextLook>> {
        let files = &self.core.files;
        let folder = files.path.join(tp.to_string());
        let limits = RetentionLimits::of(config);
        let log_start = self.core.state.lock().partitions.get(tp).map_or(Offset::ZERO, |facts| facts.log_start);
        let bases = list_bases(&*files.storage, &folder)?;
        let mut segments = Vec::with_capacity(bases.len());
        for (place, base) in bases.iter().enumerate() {
            let next = bases.get(place + 1);
            // Only where size counts, and of the newest one whether it is empty.
            let needs_size = limits.bytes.is_some() || next.is_none();
            let size = if needs_size { file_len(&*files.storage, &SegmentFile::Log.path(&folder, *base))? } else { 1 };
            // Where the newest one ends, and what is committed, only the opened log knows.
            segments.push(SegmentFacts { next: *next.unwrap_or(&Offset::MAX), size });
        }
        let subject = RetentionSubject { segments: &segments, log_start, high_watermark: Offset::MAX, limits };
        let age = |place: usize| age_of(&*files.storage, &folder, *bases.get(place).unwrap_or(&Offset::ZERO));
        let plan = plan(subject, at, age)?;
        Ok(plan.reasons.is_empty().then_some(plan.next))
    }
}

fn list_bases(storage: &dyn Storage, folder: &Path) -> Result<Vec<Offset>> {
    let entries = match storage.list(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.context("list", folder)?,
    };
    let files = entries.iter().filter_map(|entry| SegmentFile::parse(&entry.name));
    Ok(files.filter(|(kind, _)| *kind == SegmentFile::Log).map(|(_, base)| base).collect())
}

fn file_len(storage: &dyn Storage, path: &Path) -> Result<u64> {
    let file = storage.open(path, OpenMode::Read).context("open", path)?;
    file.len().context("read the length of", path)
}

fn age_of(storage: &dyn Storage, folder: &Path, base: Offset) -> Result<SegmentAge> {
    let path = SegmentFile::Log.path(folder, base);
    let file = storage.open(&path, OpenMode::Read).context("open", &path)?;
    let modified = file.metadata().context("look at", &path)?.modified;
    let path = SegmentFile::TimeIndex.path(folder, base);
    let index = match storage.open(&path, OpenMode::Read) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(SegmentAge { largest: None, modified }),
        other => other.context("open", &path)?,
    };
    let len = index.len().context("read the length of", &path)?;
    let Some(last) = (len - len % TIME_ENTRY_BYTES).checked_sub(TIME_ENTRY_BYTES) else {
        return Ok(SegmentAge { largest: None, modified });
    };
    let mut timestamp = [0; 8];
    index.read_exact_at(last, &mut timestamp).context("read", &path)?;
    Ok(SegmentAge { largest: Some(Timestamp::from_millis(i64::from_be_bytes(timestamp))), modified })
}
