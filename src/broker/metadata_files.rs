//! [S] The files beside the metadata log: its snapshots, and the quorum's state (Kafka: `Snapshots`, `FileRawSnapshotWriter`).
//!
//! A snapshot has its name only when all its bytes are durable; before it is called `.checkpoint.part`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::controller::quorum_state::QuorumState;
use crate::controller::replay::Replay;
use crate::controller::snapshot::{self, PART_SUFFIX, SnapshotContent, SnapshotId};
use crate::error::{Error, IoContext, Result};
use crate::storage::{EntryKind, Storage, publish_through, read_file};
use crate::types::Timestamp;

/// No snapshot is larger: a partition takes about 80 bytes, and there are 100,000 at most.
const SNAPSHOT_BYTES_MAX: u64 = 1 << 30;
const QUORUM_STATE_BYTES_MAX: u64 = 1 << 20;

/// A snapshot that is there and intact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoredSnapshot {
    /// Which part of the log it stands for.
    pub(crate) id: SnapshotId,
    /// Its size in bytes.
    pub(crate) len: u64,
}

/// The snapshots that were found.
#[derive(Debug, Default)]
pub(crate) struct FoundSnapshots {
    /// The content of the newest one that is intact.
    pub(crate) newest: Option<(SnapshotId, Replay)>,
    /// The two newest that are intact, the newest first.
    pub(crate) intact: Vec<StoredSnapshot>,
    /// Those that are damaged, among the ones that were looked at.
    pub(crate) damaged: Vec<PathBuf>,
}

/// Reads and writes the files beside the metadata log.
#[derive(Debug)]
pub(crate) struct MetadataFiles {
    storage: Arc<dyn Storage>,
    folder: PathBuf,
}

impl MetadataFiles {
    pub(crate) fn new(storage: Arc<dyn Storage>, folder: &Path) -> MetadataFiles {
        MetadataFiles { storage, folder: folder.to_path_buf() }
    }

    /// Looks for snapshots from the newest on, until two are intact.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::UnsupportedMetadataRecord`] from one that is intact. Damage is no error here.
    pub(crate) fn load_snapshots(&self) -> Result<FoundSnapshots> {
        let mut found = FoundSnapshots::default();
        for id in self.snapshot_ids()? {
            let path = self.folder.join(id.file_name());
            let Some(bytes) = self.read(&path)? else { continue };
            match snapshot::decode(&bytes) {
                Ok(replay) => {
                    found.intact.push(StoredSnapshot { id, len: bytes.len() as u64 });
                    found.newest.get_or_insert((id, replay));
                }
                // A flipped magic byte looks like a batch of an old format.
                Err(Error::Corrupt(_) | Error::InvalidRecord { .. }) => found.damaged.push(path),
                Err(other) => return Err(other),
            }
            if found.intact.len() == 2 {
                break;
            }
        }
        Ok(found)
    }

    /// Publishes a snapshot.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::OutOfSpace`].
    pub(crate) fn write_snapshot(
        &self,
        id: SnapshotId,
        content: &SnapshotContent<'_>,
        now: Timestamp,
    ) -> Result<StoredSnapshot> {
        let bytes = snapshot::encode(content, id.epoch, now)?;
        let name = id.file_name();
        let part = self.folder.join(format!("{name}{PART_SUFFIX}"));
        publish_through(&*self.storage, &part, &self.folder.join(name), &bytes)?;
        Ok(StoredSnapshot { id, len: bytes.len() as u64 })
    }

    /// Removes every snapshot but these, and those that were never finished.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn remove_snapshots_except(&self, kept: &[SnapshotId]) -> Result<()> {
        for entry in self.storage.list(&self.folder).context("list", &self.folder)? {
            let (name, is_part) = match entry.name.strip_suffix(PART_SUFFIX) {
                Some(name) => (name, true),
                None => (entry.name.as_str(), false),
            };
            let Some(id) = SnapshotId::from_file_name(name) else { continue };
            if is_part || !kept.contains(&id) {
                let path = self.folder.join(&entry.name);
                // A name that comes back after a power cut is only an old snapshot, and goes with the next one.
                self.storage.remove(&path).context("remove", &path)?;
            }
        }
        Ok(())
    }

    /// Reads a snapshot or a `bootstrap.checkpoint`; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::UnsupportedMetadataRecord`], [`Error::Io`].
    pub(crate) fn read_checkpoint(&self, path: &Path) -> Result<Option<Replay>> {
        match self.read(path)? {
            Some(bytes) => snapshot::decode(&bytes).map(Some).map_err(|error| error.in_file(path, 0)),
            None => Ok(None),
        }
    }

    /// Reads `quorum-state`; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Io`].
    pub(crate) fn read_quorum_state(&self, path: &Path) -> Result<Option<QuorumState>> {
        match read_file(&*self.storage, path, QUORUM_STATE_BYTES_MAX)? {
            Some(bytes) => QuorumState::decode(&bytes).map(Some).map_err(|error| error.in_file(path, 0)),
            None => Ok(None),
        }
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        read_file(&*self.storage, path, SNAPSHOT_BYTES_MAX)
    }

    /// The snapshots that have a name, the newest first.
    fn snapshot_ids(&self) -> Result<Vec<SnapshotId>> {
        let entries = self.storage.list(&self.folder).context("list", &self.folder)?;
        let files = entries.iter().filter(|entry| entry.kind == EntryKind::File);
        let mut ids: Vec<_> = files.filter_map(|entry| SnapshotId::from_file_name(&entry.name)).collect();
        ids.sort_by(|left, right| right.cmp(left));
        Ok(ids)
    }
}
