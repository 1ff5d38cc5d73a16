//! [S] What retention has to know of a log that nobody has opened: a list of its folder, and the age of its oldest segment.
//!
//! Nothing is decided here: where a segment may have expired, the log is opened, which looks more closely. Thousands of
//! partitions that hold nothing old cost a list of names each, once.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Weak;

use crate::config::LogConfig;
use crate::error::{IoContext, Result};
use crate::log::layout::SegmentFile;
use crate::log::retention::{
    NextLook, RetentionLimits, RetentionSubject, RetentionTime, SegmentAge, SegmentFacts, plan,
};
use crate::log::{Log, LogDirectory};
use crate::storage::{OpenMode, Storage};
use crate::time::Now;
use crate::types::{Offset, Timestamp, TopicId, TopicPartition};

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
        if limits.is_none() {
            // Not even its folder is listed. What a crash has left below the log start goes once somebody uses the log.
            return Ok(Some(NextLook::default()));
        }
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

    /// Opens a log for this work only and closes it again. Nobody else gets hold of it meanwhile, not even a checkpoint, which
    /// would keep it from being opened again right afterwards, or write down where it stood before.
    ///
    /// # Errors
    /// Those of [`open_log`](Self::open_log), of the work, and of [`Log::close`].
    pub(crate) fn with_log<T>(
        &self,
        tp: &TopicPartition,
        topic_id: TopicId,
        (config, now): (LogConfig, Now),
        work: impl FnOnce(&Log) -> Result<T>,
    ) -> Result<T> {
        config.validate()?;
        self.core.begin_opening(tp)?;
        let worked = self.core.open_log(tp, Some(topic_id), config, now).and_then(|log| {
            {
                // If it is not closed soundly, it counts as dropped.
                let mut state = self.core.state.lock();
                state.logs.insert(tp.clone(), Weak::new());
                state.unrecovered.remove(tp);
            }
            let worked = work(&log);
            let closed = log.close();
            worked.and_then(|worked| closed.map(|()| worked))
        });
        self.core.state.lock().opening.remove(tp);
        worked
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::storage::MemStorage;
    use crate::time::{Clock, ManualClock};

    #[test]
    fn a_log_that_was_opened_for_some_work_can_be_opened_right_afterwards() {
        let (storage, now) = (MemStorage::new(), ManualClock::new().now());
        let open = || LogDirectory::options().seed(1).storage(storage.clone()).open("/data").unwrap();
        let (directory, tp) = (open(), TopicPartition::new("orders", 0).unwrap());
        let topic_id = TopicId::from_random([7, 7]).unwrap();
        let mut held = Vec::new();
        let worked = directory.with_log(&tp, topic_id, (LogConfig::new(), now), |log| {
            // What a checkpoint has in its hands while it syncs one log after the other.
            held = directory.core.open_logs();
            let refused = directory.open_log(&tp, None, LogConfig::new(), now);
            assert!(matches!(refused, Err(Error::InvalidState { .. })));
            Ok(log.log_end_offset())
        });
        assert_eq!(worked.unwrap(), Offset::ZERO);
        directory.open_log(&tp, None, LogConfig::new(), now).unwrap().close().unwrap();
        let failed = directory.with_log(&tp, topic_id, (LogConfig::new(), now), |_| Err::<(), _>(Error::Closed));
        assert!(matches!(failed, Err(Error::Closed)));
        drop(held);
        directory.close().unwrap();
        assert!(open().report().was_clean, "it was closed, whatever became of the work");
    }
}
