//! [S] Removing what was deleted, once `file.delete.delay.ms` has passed (Kafka: `LogManager.deleteLogs`).
//!
//! What is deleted has lost its name at once, durably; only its bytes stay for a while, and for as long as somebody in this
//! process holds one of the segments, who may not have opened all of its files yet. Closing the folder removes all of
//! it, and opening a folder or a log removes what a crash has left.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{IoContext, Result};
use crate::log::LogDirectory;
use crate::log::directory::DirectoryCore;
use crate::log::directory::departed::Departure;
use crate::log::directory::departure::remove_tree;
use crate::log::segment::SegmentHold;
use crate::time::{Instant, Now};
use crate::types::TopicPartition;

/// What is to be removed.
#[derive(Debug, Clone)]
pub(crate) enum Doomed {
    /// Files of deleted segments, in this order, which stay while one of the segments is held.
    Files(Vec<PathBuf>, Vec<SegmentHold>),
    /// The folder of a deleted partition.
    Folder(PathBuf),
}

impl Doomed {
    /// Whether somebody may still want to open one of the files.
    fn is_held(&self) -> bool {
        matches!(self, Doomed::Files(_, holds) if holds.iter().any(SegmentHold::is_held))
    }
}

/// What waits to be removed.
#[derive(Debug)]
pub(crate) struct Pending {
    doomed: Doomed,
    delay: Duration,
    /// Counted from the first look after the deletion, which itself has no clock.
    due: Option<Instant>,
}

impl LogDirectory {
    /// Removes the files of deleted segments, and the folders that a cluster deleted, whose `file.delete.delay.ms` has passed.
    /// The delay counts from the first call after the deletion. Returns when the next is due; `None` when nothing waits.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) when something cannot be removed: it waits for another delay.
    ///
    /// # Examples
    /// ```
    /// # use logstead::{log::LogDirectory, config::LogConfig, types::*, record::*, storage::*};
    /// # use logstead::time::{Clock, ManualClock};
    /// # let (clock, storage) = (ManualClock::new(), MemStorage::new());
    /// # let directory = LogDirectory::options().storage(storage.clone()).open("/data")?;
    /// let config = LogConfig::new().segment_bytes(100).file_delete_delay(std::time::Duration::from_secs(60));
    /// # let log = directory.open_log(&TopicPartition::new("orders", 0)?, None, config, clock.now())?;
    /// # log.begin_epoch(LeaderEpoch::ZERO)?;
    /// # for _ in 0..2 {
    /// #     let mut builder = BatchBuilder::new(BatchOptions::default());
    /// #     builder.append(None, None, Some(b"value"), &[])?;
    /// #     log.append_as_leader(&mut builder.build()?, clock.now())?;
    /// # }
    /// # log.advance_high_watermark(log.flush()?)?;
    /// log.delete_before(Offset::from(1))?;
    /// let due = directory.remove_due(clock.now())?;
    /// assert_eq!(due, Some(clock.now().mono.after(std::time::Duration::from_secs(60))));
    /// clock.advance(std::time::Duration::from_secs(60));
    /// assert_eq!(directory.remove_due(clock.now())?, None);
    /// # Ok::<(), logstead::Error>(())
    /// ```
    pub fn remove_due(&self, now: Now) -> Result<Option<Instant>> {
        self.core.remove_pending(Some(now.mono))?;
        Ok(self.core.state.lock().pending.iter().filter_map(|pending| pending.due).min())
    }

    /// As [`delete_log`](Self::delete_log); the files are removed by [`remove_due`](Self::remove_due).
    pub(crate) fn delete_log_later(&self, tp: &TopicPartition, delay: Duration) -> Result<()> {
        if let Some(folder) = self.core.depart(tp, Departure::Deleted)? {
            self.core.remove_later(Doomed::Folder(folder), delay);
        }
        Ok(())
    }
}

impl DirectoryCore {
    /// What was given another name is removed after this delay; files without one at once.
    pub(crate) fn remove_later(&self, doomed: Doomed, delay: Duration) {
        let is_done = match &doomed {
            Doomed::Files(files, _) => {
                files.is_empty() || (delay.is_zero() && !doomed.is_held() && self.remove_files(files).is_ok())
            }
            Doomed::Folder(_) => false,
        };
        if !is_done {
            self.state.lock().pending.push(Pending { doomed, delay, due: None });
        }
    }

    /// Removes what is due, or everything.
    pub(super) fn remove_pending(&self, now: Option<Instant>) -> Result<()> {
        let due: Vec<Pending> = {
            let mut state = self.state.lock();
            if let Some(now) = now {
                for pending in &mut state.pending {
                    pending.due.get_or_insert(now.after(pending.delay));
                }
            }
            state
                .pending
                .extract_if(.., |pending| now.is_none_or(|now| pending.due.is_some_and(|due| due <= now)))
                .collect()
        };
        // Asked once, and only if there are any: it writes the files that still speak of their partitions.
        let has_folders = due.iter().any(|pending| matches!(pending.doomed, Doomed::Folder(_)));
        let free = if has_folders { self.settle_departed() } else { Ok(Vec::new()) };
        let mut result = Ok(());
        for pending in due {
            let removed = match &pending.doomed {
                // Whoever closes the folder waits for nobody.
                held if held.is_held() && now.is_some() => Ok(false),
                Doomed::Files(files, _) => self.remove_files(files).map(|()| true),
                Doomed::Folder(folder) => free.clone().and_then(|free| self.remove_folder(folder, &free)),
            };
            if !matches!(removed, Ok(true)) {
                let due = now.map(|now| now.after(pending.delay.max(RETRY_AFTER)));
                self.state.lock().pending.push(Pending { due, ..pending });
            }
            result = result.and(removed.map(drop));
        }
        result
    }

    fn remove_files(&self, files: &[PathBuf]) -> Result<()> {
        for path in files {
            match self.files.storage.remove(path) {
                // The log was opened anew meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                other => other.context("remove", path)?,
            }
        }
        Ok(())
    }

    /// Whether it could be removed already: no file speaks of its partition any more.
    fn remove_folder(&self, folder: &Path, free: &[String]) -> Result<bool> {
        let is_free = folder.file_name().is_some_and(|name| free.iter().any(|free| name == free.as_str()));
        if is_free {
            remove_tree(&*self.files.storage, folder)?;
        }
        Ok(is_free)
    }
}

/// What could not be removed, or is held, is tried again after this time at the earliest.
const RETRY_AFTER: Duration = Duration::from_secs(60);
