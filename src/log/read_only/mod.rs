//! [S] Looking at a data folder that somebody else owns, or nobody: no lock is taken and no byte is changed.
//!
//! The owner's witness tells how far each log is committed, while it lives and after it died. Where there is none, or
//! where it tells of another owner's time, a log reaches to its last valid batch. Everything goes through reads of
//! [`Storage`]: opening for reading, listing, asking for identities. Kafka has no counterpart.

mod partition;
mod walk;
mod witness_reader;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, IoContext, Result};
use crate::log::directory::files::{self, IDENTITY_FILE, LOCK_FILE, TEXT_BYTES_MAX, foreign_file, read_manifest};
use crate::log::layout::{PARTITION_METADATA_FILE, SegmentFile};
use crate::log::manifest::MANIFEST_FILE;
use crate::log::properties::FolderIdentity;
use crate::log::slice::BufferPool;
use crate::storage::{DirEntry, EntryKind, OsStorage, Storage, read_file};
use crate::types::{TopicId, TopicPartition};

pub use partition::ReadOnlyLog;

/// Read buffers that are kept for reuse.
const READ_BUFFERS_MAX: usize = 16;
/// How often a question about the owner is asked again because the owner was writing the answer.
const ATTEMPTS_MAX: u32 = 16;

/// A data folder, opened for looking. Any number of processes may look, beside the one that owns it.
#[derive(Debug, Clone)]
pub struct ReadOnlyDirectory {
    folder: Folder,
    identity: Option<FolderIdentity>,
    pool: Arc<BufferPool>,
}

/// How to open a data folder for looking.
#[derive(Debug, Clone)]
pub struct ReadOnlyDirectoryOptions {
    storage: Arc<dyn Storage>,
    to_last_batch: bool,
}

impl ReadOnlyDirectory {
    /// Opens a data folder on the operating system's disk: ours, or one that a Kafka broker wrote.
    ///
    /// # Errors
    /// - [`Error::Io`]: there is no such folder, it is a file, or it cannot be read.
    /// - [`Error::InvalidState`]: it is no data folder, or only one partition's folder.
    /// - [`Error::UnsupportedFormat`]: a newer version wrote it.
    ///
    /// # Examples
    /// ```
    /// use logstead::log::{LogDirectory, ReadOnlyDirectory};
    /// let folder = tempfile::tempdir()?;
    /// assert!(ReadOnlyDirectory::open(folder.path()).is_err()); // empty: no data folder
    /// let owner = LogDirectory::open(folder.path())?;
    /// let look = ReadOnlyDirectory::open(folder.path())?;
    /// assert_eq!(look.identity(), Some(owner.identity()));
    /// assert_eq!(look.owner()?, Some(std::process::id()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<ReadOnlyDirectory> {
        Self::options().open(path)
    }

    /// Options other than the defaults: another storage, or all that is in the files.
    pub fn options() -> ReadOnlyDirectoryOptions {
        ReadOnlyDirectoryOptions { storage: Arc::new(OsStorage::new()), to_last_batch: false }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.folder.path
    }

    /// The disk that it is on.
    pub(crate) fn storage(&self) -> &Arc<dyn Storage> {
        &self.folder.storage
    }

    /// Cluster, node and folder ids, as in `meta.properties`; `None` when that file is missing or unreadable.
    pub fn identity(&self) -> Option<&FolderIdentity> {
        self.identity.as_ref()
    }

    /// The process that owns the folder now; `None` when nobody does.
    ///
    /// # Errors
    /// [`Error::Io`] when the lock cannot be looked at.
    pub fn owner(&self) -> Result<Option<u32>> {
        let path = self.folder.path.join(LOCK_FILE);
        self.folder.storage.lock_holder(&path).context("look at the lock", &path)
    }

    /// The partitions that have a folder now, sorted.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder cannot be listed.
    pub fn partitions(&self) -> Result<Vec<TopicPartition>> {
        self.folder.partitions()
    }

    /// The topic's id in a partition's folder; `None` for a folder without one, as old brokers wrote them.
    ///
    /// # Errors
    /// [`Error::UnknownTopicOrPartition`]; [`Error::Corrupt`] when the file that holds it is damaged; [`Error::Io`].
    pub fn topic_id(&self, tp: &TopicPartition) -> Result<Option<TopicId>> {
        if self.partitions()?.binary_search(tp).is_err() {
            return Err(self.folder.unknown(tp));
        }
        self.topic_id_in(tp)
    }

    /// The topic's id in a partition's folder; `None` also where there is no such folder.
    pub(crate) fn topic_id_in(&self, tp: &TopicPartition) -> Result<Option<TopicId>> {
        let folder = self.folder.path.join(tp.to_string());
        files::read_topic_id(&*self.folder.storage, &folder).map_err(|error| error.in_partition(tp))
    }

    /// Opens a partition's log for looking, also one whose folder was created since.
    ///
    /// # Errors
    /// [`Error::UnknownTopicOrPartition`] when there is no such folder; otherwise as [`ReadOnlyLog::refresh`]. Damage does
    /// not keep a log from opening: reads report it.
    ///
    /// # Examples
    /// ```
    /// # use logstead::{log::*, config::LogConfig, types::*, storage::MemStorage};
    /// # use logstead::time::{Clock, ManualClock};
    /// # let (clock, storage) = (ManualClock::new(), MemStorage::new());
    /// let owner = LogDirectory::options().storage(storage.clone()).open("/data")?;
    /// let look = ReadOnlyDirectory::options().storage(storage).open("/data")?;
    /// let tp = TopicPartition::new("orders", 0)?;
    /// assert!(matches!(look.open_log(&tp), Err(logstead::Error::UnknownTopicOrPartition { .. })));
    /// let log = owner.open_log(&tp, None, LogConfig::new(), clock.now())?;
    /// assert_eq!(look.open_log(&tp)?.topic_id(), Some(log.topic_id()));
    /// # Ok::<(), logstead::Error>(())
    /// ```
    pub fn open_log(&self, tp: &TopicPartition) -> Result<ReadOnlyLog> {
        ReadOnlyLog::open(&self.folder, tp, Arc::clone(&self.pool))
    }
}

impl ReadOnlyDirectoryOptions {
    /// The disk. Default: the operating system's.
    #[must_use]
    pub fn storage(mut self, storage: impl Storage + 'static) -> Self {
        self.storage = Arc::new(storage);
        self
    }

    /// Also shows what is in the files and not committed, up to the last valid batch of each log. Such records may
    /// disappear again. They are seen by reads of [`ReadIsolation::LogEnd`](crate::log::ReadIsolation::LogEnd). Default: no.
    #[must_use]
    pub fn to_last_batch(mut self, to_last_batch: bool) -> Self {
        self.to_last_batch = to_last_batch;
        self
    }

    /// Opens the folder; see [`ReadOnlyDirectory::open`].
    ///
    /// # Errors
    /// As [`ReadOnlyDirectory::open`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<ReadOnlyDirectory> {
        let ReadOnlyDirectoryOptions { storage, to_last_batch } = self;
        let folder = Folder { storage, path: path.as_ref().to_path_buf(), to_last_batch };
        folder.check_kind()?;
        // Refuses what a newer version wrote.
        read_manifest(&*folder.storage, &folder.path)?;
        let identity = read_file(&*folder.storage, &folder.path.join(IDENTITY_FILE), TEXT_BYTES_MAX)?;
        let identity = identity.and_then(|bytes| FolderIdentity::decode(&bytes).ok());
        Ok(ReadOnlyDirectory { folder, identity, pool: BufferPool::new(READ_BUFFERS_MAX) })
    }
}

/// The folder that is looked at, and how.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) path: PathBuf,
    pub(crate) to_last_batch: bool,
}

impl Folder {
    /// Refuses what is no data folder.
    fn check_kind(&self) -> Result<()> {
        let operation = "look into the data folder";
        let entries = self.list(&self.path)?;
        let has_file = |name: &str| entries.iter().any(|entry| entry.kind == EntryKind::File && entry.name == name);
        if has_file(IDENTITY_FILE) || has_file(MANIFEST_FILE) {
            return Ok(());
        }
        if has_file(PARTITION_METADATA_FILE) || entries.iter().any(is_log) {
            let state = "it is the folder of one partition; name the data folder that holds it";
            return Err(Error::InvalidState { operation, state });
        }
        for entry in entries.iter().filter(|entry| partition_of(entry).is_some()) {
            if self.list(&self.path.join(&entry.name))?.iter().any(is_log) {
                return Ok(());
            }
        }
        let state = "it holds neither meta.properties nor a partition's folder, so it is no data folder";
        Err(Error::InvalidState { operation, state })
    }

    fn partitions(&self) -> Result<Vec<TopicPartition>> {
        let mut partitions: Vec<_> = self.list(&self.path)?.iter().filter_map(partition_of).collect();
        partitions.sort();
        Ok(partitions)
    }

    fn list(&self, folder: &Path) -> Result<Vec<DirEntry>> {
        self.storage.list(folder).context("list", folder)
    }

    /// Whether our own files speak of the folder as it is: there is a manifest, and nobody else has owned the folder since.
    fn is_ours(&self) -> Result<bool> {
        let manifest_file = self.path.join(MANIFEST_FILE);
        let stamp = || read_file(&*self.storage, &manifest_file, files::TEXT_BYTES_MAX);
        let mut before = stamp()?;
        for _ in 0..ATTEMPTS_MAX {
            let Some(manifest) = read_manifest(&*self.storage, &self.path)? else { return Ok(false) };
            let foreign = foreign_file(&*self.storage, &self.path, &manifest)?;
            if foreign.is_none() {
                return Ok(true);
            }
            // The manifest is published before the files that it tells of: if it was replaced, they are newer than it.
            let after = stamp()?;
            if after == before {
                return Ok(false);
            }
            before = after;
        }
        Ok(false)
    }

    /// That there is no such partition.
    fn unknown(&self, tp: &TopicPartition) -> Error {
        let others = self.partitions().unwrap_or_default();
        if others.iter().any(|other| other.topic == tp.topic) {
            let (topic, partition) = (tp.topic.to_string(), Some(tp.partition.get()));
            return Error::UnknownTopicOrPartition { topic, partition, nearest: None };
        }
        Error::unknown_topic(tp.topic.as_str(), others.iter().map(|other| other.topic.as_str()))
    }
}

/// The partition whose folder this is; folders that are being deleted, or that a broker has set aside, are nobody's.
fn partition_of(entry: &DirEntry) -> Option<TopicPartition> {
    TopicPartition::from_folder_name(&entry.name).filter(|_| entry.kind == EntryKind::Dir)
}

fn is_log(entry: &DirEntry) -> bool {
    entry.kind == EntryKind::File && matches!(SegmentFile::parse(&entry.name), Some((SegmentFile::Log, _)))
}
