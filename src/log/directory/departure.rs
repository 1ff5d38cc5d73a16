//! [S] How a partition leaves its data folder: deleted, or set aside (Kafka: `LogManager.asyncDelete`).
//!
//! One rename decides: before it is durable the partition is whole, afterwards it is gone. What witness, manifest and
//! checkpoints still say of it then counts for nothing, and the renamed folder is the proof of that until they are silent:
//! it holds the topic's id, and is removed only afterwards. So is the old name's next partition created only afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use crate::error::{Error, IoContext, Result};
use crate::log::Log;
use crate::log::directory::departed::Departure;
use crate::log::directory::files::{FolderFiles, Listing, clear_slot, random_id, read_topic_id};
use crate::log::directory::{DirectoryCore, LogDirectory, PartitionFacts};
use crate::log::witness::WitnessSlot;
use crate::storage::{EntryKind, Storage};
use crate::types::{TopicId, TopicPartition};

impl LogDirectory {
    /// Deletes a partition, whether its log is open, closed or was never opened. From here on an open log answers
    /// [`Error::InvalidState`], while slices that were read stay readable; the name is free for another partition.
    ///
    /// The files stay in a folder of Kafka's name for it until [`remove_deleted`](Self::remove_deleted). Deleting what is not
    /// there changes nothing. After a crash the partition is still whole, or gone.
    ///
    /// # Errors
    /// [`Error::InvalidState`] when the log is just being opened, or the folder was closed. [`Error::Io`]: the log is out of
    /// service; whether the partition is gone may be known only when the folder is opened anew.
    ///
    /// # Examples
    /// ```
    /// # use logstead::{log::LogDirectory, config::LogConfig, types::*, storage::MemStorage};
    /// # use logstead::time::{Clock, ManualClock};
    /// # let clock = ManualClock::new();
    /// # let directory = LogDirectory::options().storage(MemStorage::new()).open("/data")?;
    /// # let tp = TopicPartition::new("orders", 0)?;
    /// let log = directory.open_log(&tp, None, LogConfig::new(), clock.now())?;
    /// directory.delete_log(&tp)?;
    /// assert!(directory.partitions()?.is_empty());
    /// assert!(log.flush().is_err());
    /// assert_eq!(directory.remove_deleted()?, 1);
    /// # Ok::<(), logstead::Error>(())
    /// ```
    pub fn delete_log(&self, tp: &TopicPartition) -> Result<()> {
        self.core.depart(tp, Departure::Deleted).map(|_folder| ())
    }

    /// Takes a partition that nobody knows out of the data folder without losing it: as [`delete_log`](Self::delete_log),
    /// but its files are never removed. Returns the folder that holds them now.
    ///
    /// # Errors
    /// [`Error::UnknownTopicOrPartition`] when it has no folder; otherwise as [`delete_log`](Self::delete_log).
    pub fn set_aside(&self, tp: &TopicPartition) -> Result<PathBuf> {
        self.core.depart(tp, Departure::SetAside)?.ok_or_else(|| Error::UnknownTopicOrPartition {
            topic: tp.topic.to_string(),
            partition: Some(tp.partition.get()),
            nearest: None,
        })
    }

    /// Removes the files of deleted partitions, also of those that earlier owners left, Kafka included. Returns how many
    /// folders it removed.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be removed; the rest is left for the next call.
    pub fn remove_deleted(&self) -> Result<usize> {
        let files = &self.core.files;
        let deleted = self.core.settle_departed()?;
        for name in &deleted {
            remove_tree(&*files.storage, &files.path.join(name))?;
        }
        if !deleted.is_empty() {
            files.storage.sync_dir(&files.path).in_doubt_context("sync", &files.path)?;
        }
        Ok(deleted.len())
    }

    /// The topic id in a partition's folder, without opening its log; `None` when the folder, or the id in it, is missing.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when `partition.metadata` is not what it should be; [`Error::Io`].
    pub fn partition_topic_id(&self, tp: &TopicPartition) -> Result<Option<TopicId>> {
        let files = &self.core.files;
        read_topic_id(&*files.storage, &files.path.join(tp.to_string())).map_err(|error| error.in_partition(tp))
    }

    /// The topic id that the manifest has of a partition, where the last owner's clean stop vouches for it: of thousands of
    /// partitions, without a look at their folders.
    pub(crate) fn listed_topic_id(&self, tp: &TopicPartition) -> Option<TopicId> {
        let state = self.core.state.lock();
        state.partitions.get(tp).filter(|_| self.core.report.was_clean).and_then(|facts| facts.topic_id)
    }
}

impl DirectoryCore {
    /// Renames a partition's folder and forgets the partition; `None` when there is no folder.
    pub(super) fn depart(&self, tp: &TopicPartition, departure: Departure) -> Result<Option<PathBuf>> {
        let log = {
            let mut state = self.state.lock();
            state.claim(tp, "delete a log", "it is just being opened or deleted")?;
            state.logs.get(tp).and_then(Weak::upgrade)
        };
        let departed = self.depart_claimed(tp, departure, log);
        self.state.lock().opening.remove(tp);
        departed
    }

    fn depart_claimed(
        &self,
        tp: &TopicPartition,
        departure: Departure,
        log: Option<Arc<Log>>,
    ) -> Result<Option<PathBuf>> {
        if let Some(log) = log {
            log.retire(departure.state());
        }
        let _token = self.writing.lock();
        let storage = &*self.files.storage;
        let from = self.files.path.join(tp.to_string());
        let to = self.free_name(tp, departure);
        let renamed = storage.rename(&from, &to);
        if renamed.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            return self.forget(tp).inspect_err(|error| self.block(tp, error)).map(|()| None);
        }
        if let Err(error) = renamed.context("rename", &from) {
            // Perhaps it took effect all the same.
            if storage.identity(&from).is_err() {
                self.block(tp, &error);
            }
            return Err(error);
        }
        let synced = storage.sync_dir(&self.files.path).in_doubt_context("sync", &self.files.path);
        let forgotten = synced.and_then(|()| self.forget(tp));
        forgotten.inspect_err(|error| self.block(tp, error))?;
        Ok(Some(to))
    }

    /// A path that no folder has, whatever the seed of the random ids.
    fn free_name(&self, tp: &TopicPartition, departure: Departure) -> PathBuf {
        loop {
            let id = random_id(&mut self.state.lock().rng);
            let path = self.files.path.join(departure.folder_name(tp, id));
            if self.files.storage.identity(&path).is_err() {
                return path;
            }
        }
    }

    /// What becomes of this partition is not known before the folder is opened anew.
    fn block(&self, tp: &TopicPartition, error: &Error) {
        self.state.lock().blocked.insert(tp.clone(), error.clone());
    }

    /// Nothing that was known of a partition without a folder counts any more. The witness forgets it at once; manifest and
    /// checkpoints when they are written next.
    fn forget(&self, tp: &TopicPartition) -> Result<()> {
        let slot = {
            let mut state = self.state.lock();
            state.logs.remove(tp);
            state.closed_logs.remove(tp);
            state.unrecovered.remove(tp);
            let Some(facts) = state.partitions.remove(tp) else { return Ok(()) };
            state.departed.insert(tp.clone());
            facts.slot
        };
        let Some(slot) = slot else { return Ok(()) };
        clear_slot(&self.witness_file, slot)?;
        self.sync_witness()?;
        self.state.lock().free_slots.push(slot);
        Ok(())
    }

    /// The folders of deleted partitions, of which no file speaks any more.
    pub(super) fn settle_departed(&self) -> Result<Vec<String>> {
        let (is_listed, blocked) = {
            let state = self.state.lock();
            (!state.departed.is_empty(), state.blocked.values().next().cloned())
        };
        if let Some(error) = blocked {
            return Err(error);
        }
        if is_listed {
            self.write_checkpoints(false)?;
        }
        // A folder that was renamed since is left for the next time: the manifest may still speak of its partition.
        let _token = self.writing.lock();
        let listing = self.files.list()?;
        let state = self.state.lock();
        let speaks = |stem: &str| state.departed.iter().any(|tp| Departure::Deleted.stem(tp) == stem);
        let deleted = listing
            .departed
            .into_iter()
            .filter(|(departure, stem, _)| *departure == Departure::Deleted && !speaks(stem));
        Ok(deleted.map(|(_, _, name)| name).collect())
    }
}

/// Of the partitions without a folder those that were deleted or set aside: a renamed folder holds their topic's id.
pub(super) fn find_departed(
    files: &FolderFiles,
    listing: &Listing,
    partitions: &BTreeMap<TopicPartition, PartitionFacts>,
    slots: &[WitnessSlot],
) -> Result<BTreeSet<TopicPartition>> {
    let mut found = BTreeSet::new();
    if listing.departed.is_empty() {
        return Ok(found);
    }
    let mut renamed: BTreeMap<(Departure, &str), Vec<&str>> = BTreeMap::new();
    for (departure, stem, name) in &listing.departed {
        renamed.entry((*departure, stem)).or_default().push(name);
    }
    for (tp, facts) in partitions.iter().filter(|(tp, _)| !listing.has(tp)) {
        let witnessed = slots.iter().filter(|slot| slot.witness.tp == *tp).map(|slot| slot.witness.topic_id);
        let known: Vec<TopicId> = facts.topic_id.into_iter().chain(witnessed).collect();
        for departure in Departure::ALL {
            for name in renamed.get(&(departure, departure.stem(tp).as_str())).into_iter().flatten() {
                // Of a folder whose id is lost, or a partition of which only a checkpoint speaks, the name must do.
                let id = read_topic_id(&*files.storage, &files.path.join(name)).ok().flatten();
                if known.is_empty() || id.is_none_or(|id| known.contains(&id)) {
                    found.insert(tp.clone());
                }
            }
        }
    }
    Ok(found)
}

/// Removes a folder and everything in it. What is gone already, or was never there, does not matter.
pub(super) fn remove_tree(storage: &dyn Storage, folder: &Path) -> Result<()> {
    let tolerate_missing = |result: std::io::Result<()>| match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    };
    let entries = match storage.list(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other.context("list", folder)?,
    };
    for entry in entries {
        let path = folder.join(&entry.name);
        match entry.kind {
            EntryKind::Dir => remove_tree(storage, &path)?,
            EntryKind::File | EntryKind::Other => tolerate_missing(storage.remove(&path)).context("remove", &path)?,
        }
    }
    tolerate_missing(storage.remove_dir(folder)).context("remove", folder)
}
