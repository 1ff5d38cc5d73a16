//! [S] A data folder: who owns it, what it holds, and the only way to a writable log (Kafka: `LogManager`).
//!
//! A data folder is a Kafka log.dir: partition folders beside `meta.properties`, the text checkpoints, and the mark of a
//! clean shutdown. Ours in addition: the witness and the manifest. One process owns it at a time, through two kinds of
//! lock on `.lock`. Lock ranks: `DirectoryFiles` (a token that serialises writing the files) and `LogDirectory`.

mod departed;
mod departure;
pub(crate) mod files;
mod opening;
mod removal;
mod unopened;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};

use crate::config::LogConfig;
use crate::error::{Error, IoContext, Result};
use crate::log::properties::FolderIdentity;
use crate::log::slice::BufferPool;
use crate::log::state::WitnessCopies;
use crate::log::{Log, flush};
use crate::rng::Rng;
use crate::storage::{LockGuard, OsStorage, Storage, StorageFile, SyncMode};
use crate::sync::{Rank, RankedMutex};
use crate::time::Now;
use crate::types::{BrokerId, Offset, TopicId, TopicPartition};

use files::{FolderFiles, Loaded};
pub(crate) use removal::Doomed;
use removal::Pending;

/// Read buffers that a folder keeps for reuse.
const READ_BUFFERS_MAX: usize = 16;

/// A data folder that this process owns. Dropping it touches no file; [`close`](Self::close) leaves it as Kafka leaves a
/// log.dir after a clean stop.
#[derive(Debug)]
pub struct LogDirectory {
    core: Arc<DirectoryCore>,
}

/// How to open a data folder.
#[derive(Debug, Clone)]
pub struct LogDirectoryOptions {
    storage: Arc<dyn Storage>,
    node_id: Option<BrokerId>,
    cluster_id: Option<String>,
    seed: Option<u64>,
}

/// What opening a data folder found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirectoryReport {
    /// Whether the last owner had closed it.
    pub was_clean: bool,
    /// The file that shows that somebody else has owned the folder since we last did.
    pub foreign_file: Option<String>,
    /// Partitions that the manifest lists and whose folders are gone.
    pub missing_partitions: Vec<TopicPartition>,
    /// Checkpoint files that could not be read; they count as empty, so more is checked.
    pub unreadable_files: Vec<String>,
    /// Entries that are neither Kafka's nor ours; left alone.
    pub unknown_entries: Vec<String>,
}

impl LogDirectory {
    /// Opens a data folder on the operating system's disk, creating it if it does not exist.
    ///
    /// # Errors
    /// - [`Error::AlreadyOpen`]: this or another process owns it.
    /// - [`Error::InvalidState`]: the folder holds something, but is not a log.dir; nothing was changed.
    /// - [`Error::UnsupportedFormat`]: a newer version wrote it; nothing was changed.
    /// - [`Error::Io`].
    ///
    /// # Examples
    /// ```
    /// use logstead::log::LogDirectory;
    /// let folder = tempfile::tempdir()?;
    /// let directory = LogDirectory::open(folder.path())?;
    /// assert!(LogDirectory::open(folder.path()).is_err()); // one owner at a time
    /// directory.close()?;
    /// assert!(LogDirectory::open(folder.path())?.report().was_clean);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<LogDirectory> {
        Self::options().open(path)
    }

    /// Options other than the defaults: another storage, a given identity, a fixed seed.
    pub fn options() -> LogDirectoryOptions {
        LogDirectoryOptions { storage: Arc::new(OsStorage::new()), node_id: None, cluster_id: None, seed: None }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.core.files.path
    }

    /// The same folder again, for those who close it while others still hold it.
    pub(crate) fn share(&self) -> LogDirectory {
        LogDirectory { core: Arc::clone(&self.core) }
    }

    /// Cluster, node and folder ids, as in `meta.properties`.
    pub fn identity(&self) -> &FolderIdentity {
        &self.core.files.identity
    }

    /// What opening it found.
    pub fn report(&self) -> &DirectoryReport {
        &self.core.report
    }

    /// The partitions that have a folder here, sorted.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder cannot be listed.
    pub fn partitions(&self) -> Result<Vec<TopicPartition>> {
        Ok(self.core.files.list()?.folders)
    }

    /// Opens a partition's log, creating its folder if it does not exist, and recovering it if the last owner did not close
    /// it. `topic_id`: `None` takes the folder's own, or a new random one.
    ///
    /// # Errors
    /// - [`Error::InvalidState`]: the log is open already, or the folder was closed.
    /// - [`Error::InconsistentTopicId`]: the folder belongs to another topic of that name.
    /// - [`Error::InvalidConfig`]; [`Error::Io`].
    ///
    /// Damage does not keep a log from opening: it is in [`Log::recovery_report`], what is intact is readable, and appends
    /// are refused with [`Error::Offline`].
    ///
    /// # Examples
    /// ```
    /// # use logstead::{log::LogDirectory, config::LogConfig, types::*, storage::MemStorage};
    /// # use logstead::time::{Clock, ManualClock};
    /// # let clock = ManualClock::new();
    /// let directory = LogDirectory::options().storage(MemStorage::new()).open("/data")?;
    /// let tp = TopicPartition::new("orders", 0)?;
    /// let log = directory.open_log(&tp, None, LogConfig::new(), clock.now())?;
    /// assert_eq!(log.log_end_offset(), Offset::ZERO);
    /// assert_eq!(directory.partitions()?, [tp]);
    /// # Ok::<(), logstead::Error>(())
    /// ```
    pub fn open_log(
        &self,
        tp: &TopicPartition,
        topic_id: Option<TopicId>,
        config: LogConfig,
        now: Now,
    ) -> Result<Arc<Log>> {
        config.validate()?;
        self.core.begin_opening(tp)?;
        let opened = self.core.open_log(tp, topic_id, config, now);
        let mut state = self.core.state.lock();
        state.opening.remove(tp);
        let log = opened?;
        state.logs.insert(tp.clone(), Arc::downgrade(&log));
        state.unrecovered.remove(tp);
        Ok(log)
    }

    /// The disk that the folder is on.
    pub(crate) fn storage(&self) -> &Arc<dyn Storage> {
        &self.core.files.storage
    }

    /// The path of `bootstrap.checkpoint`.
    pub(crate) fn bootstrap_path(&self) -> PathBuf {
        self.path().join(files::BOOTSTRAP_FILE)
    }

    /// The path of `quorum-state`, whose folder exists once the metadata log was opened.
    pub(crate) fn quorum_state_path(&self) -> PathBuf {
        self.path().join(files::QUORUM_STATE)
    }

    /// Publishes `quorum-state`, which tells owners of the folder from each other.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::OutOfSpace`].
    pub(crate) fn publish_quorum_state(&self, bytes: &[u8]) -> Result<()> {
        let _token = self.core.writing.lock();
        let partitions = self.core.state.lock().partitions.clone();
        self.core.files.publish_quorum_state(&partitions, bytes)
    }

    /// Flushes every open log and writes the checkpoint files, so that a later recovery starts from here.
    ///
    /// # Errors
    /// The first failure of a log; the others are flushed and the files written all the same.
    pub fn checkpoint(&self) -> Result<()> {
        let mut first_error = None;
        for log in self.core.open_logs() {
            if let Err(error) = log.flush_as(flush::FlushKind::Checkpoint)
                && !log.is_closed()
            {
                first_error.get_or_insert(error);
            }
        }
        self.core.write_checkpoints(false)?;
        first_error.map_or(Ok(()), Err)
    }

    /// Closes every log, removes the files of what was deleted, writes the checkpoint files, marks the folder as cleanly shut down (if every log in it was opened
    /// and is undamaged) and gives up the lock. Logs that are still held answer [`Error::InvalidState`] from here on;
    /// slices that were read stay readable.
    ///
    /// # Errors
    /// The first failure. The lock is given up all the same; the next open recovers.
    pub fn close(self) -> Result<()> {
        let mut result = Ok(());
        for log in self.core.open_logs() {
            result = result.and(log.close());
        }
        let result = result.and_then(|()| self.core.write_checkpoints(true));
        // What cannot be removed now is removed by the next owner.
        let _ = self.core.remove_pending(None);
        let mut state = self.core.state.lock();
        state.closed = true;
        let (lock, blocked) = (state.lock.take(), state.blocked.values().next().cloned());
        drop((state, lock));
        result.and(blocked.map_or(Ok(()), Err))
    }
}

impl LogDirectoryOptions {
    /// The disk. Default: the operating system's.
    #[must_use]
    pub fn storage(self, storage: impl Storage + 'static) -> Self {
        self.shared_storage(Arc::new(storage))
    }

    /// The disk, when others use it too.
    #[must_use]
    pub(crate) fn shared_storage(mut self, storage: Arc<dyn Storage>) -> Self {
        self.storage = storage;
        self
    }

    /// The node id that the folder must have, and gets when it is new. Default: 0 for a new folder.
    #[must_use]
    pub fn node_id(mut self, node_id: BrokerId) -> Self {
        self.node_id = Some(node_id);
        self
    }

    /// The cluster id that the folder must have, and gets when it is new. Default: random for a new folder.
    #[must_use]
    pub fn cluster_id(mut self, cluster_id: impl Into<String>) -> Self {
        self.cluster_id = Some(cluster_id.into());
        self
    }

    /// Fixes every random choice (ids, segment jitter). Default: seeded by the operating system.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Opens the folder; see [`LogDirectory::open`].
    ///
    /// # Errors
    /// As [`LogDirectory::open`]; [`Error::InconsistentIdentity`] when the folder has other ids than those given.
    pub fn open(self, path: impl AsRef<Path>) -> Result<LogDirectory> {
        let mut rng = self.seed.map_or_else(Rng::from_entropy, Rng::from_seed);
        let expected = files::Expected { node_id: self.node_id, cluster_id: self.cluster_id };
        let (files, loaded, lock) = files::open(self.storage, path.as_ref(), &expected, &mut rng)?;
        let Loaded { report, folders, partitions, witness_file, next_slot } = loaded;
        let unrecovered = if report.was_clean { BTreeSet::new() } else { folders.into_iter().collect() };
        let state = DirectoryState {
            logs: BTreeMap::new(),
            opening: BTreeSet::new(),
            closed_logs: BTreeMap::new(),
            partitions,
            unrecovered,
            departed: BTreeSet::new(),
            blocked: BTreeMap::new(),
            next_slot,
            free_slots: Vec::new(),
            pending: Vec::new(),
            witness_failure: None,
            rng,
            lock: Some(lock),
            closed: false,
        };
        let core = DirectoryCore {
            files,
            witness_file,
            report,
            pool: BufferPool::new(READ_BUFFERS_MAX),
            was_mapped: Arc::default(),
            writing: RankedMutex::new(Rank::DirectoryFiles, ()),
            state: RankedMutex::new(Rank::LogDirectory, state),
        };
        Ok(LogDirectory { core: Arc::new(core) })
    }
}

/// What the logs of a folder share.
#[derive(Debug)]
pub(crate) struct DirectoryCore {
    files: FolderFiles,
    witness_file: Arc<dyn StorageFile>,
    report: DirectoryReport,
    pool: Arc<BufferPool>,
    was_mapped: Arc<AtomicBool>,
    writing: RankedMutex<()>,
    state: RankedMutex<DirectoryState>,
}

#[derive(Debug)]
struct DirectoryState {
    logs: BTreeMap<TopicPartition, Weak<Log>>,
    opening: BTreeSet<TopicPartition>,
    /// Logs that were closed soundly, and not opened again since, with what they left in the witness.
    closed_logs: BTreeMap<TopicPartition, WitnessCopies>,
    /// What the files say of each partition, open or not: it must not get lost when they are written again.
    partitions: BTreeMap<TopicPartition, PartitionFacts>,
    /// Partitions that nobody has recovered since the last unclean stop.
    unrecovered: BTreeSet<TopicPartition>,
    /// Partitions that are gone, while manifest and checkpoints still speak of them.
    departed: BTreeSet<TopicPartition>,
    /// Partitions of which a failure left open whether they are gone: the next owner will know.
    blocked: BTreeMap<TopicPartition, Error>,
    next_slot: u32,
    /// Slots of the witness that were given up.
    free_slots: Vec<u32>,
    /// What was deleted and still lies there under another name.
    pending: Vec<Pending>,
    /// The first failed sync of the witness.
    witness_failure: Option<Error>,
    rng: Rng,
    lock: Option<Box<dyn LockGuard>>,
    closed: bool,
}

/// What checkpoints, manifest and witness say of one partition.
#[derive(Debug, Clone, Default)]
pub(crate) struct PartitionFacts {
    pub(crate) topic_id: Option<TopicId>,
    pub(crate) slot: Option<u32>,
    pub(crate) log_start: Offset,
    /// Whether the log start lies above the first segment's base, so that Kafka must be told.
    pub(crate) starts_inside: bool,
    pub(crate) high_watermark: Offset,
    pub(crate) recovery_point: Offset,
}

/// The most that the files may claim of a partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claims {
    pub(crate) log_start: Offset,
    pub(crate) high_watermark: Offset,
    pub(crate) recovery_point: Offset,
}

impl DirectoryState {
    /// Sees to it that only the caller opens or deletes this partition, until it is removed from `opening`.
    fn claim(&mut self, tp: &TopicPartition, operation: &'static str, taken: &'static str) -> Result<()> {
        if self.closed {
            return Err(Error::InvalidState { operation, state: "the folder was closed" });
        }
        if let Some(error) = self.blocked.get(tp) {
            return Err(error.clone());
        }
        if !self.opening.insert(tp.clone()) {
            return Err(Error::InvalidState { operation, state: taken });
        }
        Ok(())
    }
}

impl DirectoryCore {
    /// Takes back what the files claim of a partition, before the bytes that they speak of are cut.
    pub(crate) fn lower_claims(&self, tp: &TopicPartition, claims: Claims) -> Result<()> {
        let _token = self.writing.lock();
        let known = self.state.lock().partitions.get(tp).cloned();
        let mut lowered = known.unwrap_or_default();
        let facts = &mut lowered;
        let claimed = [
            (&mut facts.log_start, claims.log_start),
            (&mut facts.high_watermark, claims.high_watermark),
            (&mut facts.recovery_point, claims.recovery_point),
        ];
        let mut is_lower = false;
        for (claimed, highest) in claimed {
            is_lower |= *claimed > highest;
            *claimed = (*claimed).min(highest);
        }
        if !is_lower {
            return Ok(());
        }
        let mut partitions = self.state.lock().partitions.clone();
        partitions.insert(tp.clone(), lowered.clone());
        self.files.write_checkpoints(&partitions)?;
        // Only now: after a failure the files still have to be lowered.
        self.state.lock().partitions.insert(tp.clone(), lowered);
        Ok(())
    }

    /// Makes the witness durable. After a failure every unsynced word in it is in doubt for ever, so that no later sync
    /// counts: the folder is not marked clean any more, and the next owner writes the witness anew.
    pub(crate) fn sync_witness(&self) -> Result<()> {
        if let Some(error) = &self.state.lock().witness_failure {
            return Err(error.clone());
        }
        let synced = self.witness_file.sync(SyncMode::All).in_doubt_context("sync", self.witness_file.path());
        synced.inspect_err(|error| self.state.lock().witness_failure = Some(error.clone()))
    }

    /// A log was closed and is sound: what it says of itself outlives it.
    pub(crate) fn on_log_closed(&self, tp: &TopicPartition, last: PartitionFacts, copies: WitnessCopies) {
        let mut state = self.state.lock();
        state.partitions.insert(tp.clone(), last);
        state.closed_logs.insert(tp.clone(), copies);
    }

    fn open_logs(&self) -> Vec<Arc<Log>> {
        self.state.lock().logs.values().filter_map(Weak::upgrade).collect()
    }

    /// Writes the checkpoint files; with `is_closing` also the mark of a clean shutdown, if it is deserved.
    fn write_checkpoints(&self, is_closing: bool) -> Result<()> {
        let _token = self.writing.lock();
        let logs = self.open_logs();
        let all_sound = logs.iter().all(|log| log.is_sound());
        // Of a damaged log the files must go on saying what was promised, or the damage would pass for a torn tail.
        let intact = logs.iter().filter(|log| !log.is_damaged());
        let updates: Vec<_> = intact.map(|log| (log.topic_partition().clone(), log.facts())).collect();
        let (partitions, is_complete) = {
            let mut state = self.state.lock();
            state.partitions.extend(updates);
            // A weak reference keeps the memory of what it led to.
            for log in state.logs.values_mut().filter(|log| log.strong_count() == 0) {
                *log = Weak::new();
            }
            // A log that was dropped without being closed needs recovery.
            let none_dropped =
                state.logs.iter().all(|(tp, log)| log.strong_count() > 0 || state.closed_logs.contains_key(tp));
            let is_complete = state.unrecovered.is_empty() && state.blocked.is_empty() && none_dropped;
            (state.partitions.clone(), is_complete)
        };
        let generations: Vec<_> = logs.iter().map(|log| log.witness_generation()).collect();
        self.sync_witness()?;
        for (log, generation) in logs.iter().zip(generations) {
            log.on_witness_synced(generation);
        }
        self.files.write_checkpoints(&partitions)?;
        self.state.lock().departed.clear();
        if is_closing && all_sound && is_complete {
            self.files.mark_clean()?;
        }
        Ok(())
    }
}

/// The path of a file of the data folder.
fn file_in(folder: &Path, name: &str) -> PathBuf {
    folder.join(name)
}
