//! A disk that says "synced" and does nothing: the proof that the rig can fail.

use std::io;
use std::path::Path;
use std::sync::Arc;

use logstead::Result;
use logstead::storage::{
    DirEntry, FileIdentity, FileMetadata, FrozenBytes, Hint, LockGuard, MemStorage, OpenMode, Storage, StorageFile,
    SyncMode,
};
use logstead::types::Timestamp;

/// What is not true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    None,
    /// Files are not synced.
    Files,
    /// Names are not synced.
    Names,
    /// The disk is honest, but whoever appended is told that the record is durable.
    Acknowledge,
}

/// `MemStorage`, honest or not.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    pub(crate) inner: MemStorage,
    pub(crate) lie: Lie,
}

impl Disk {
    pub(crate) fn honest(inner: &MemStorage) -> Disk {
        Disk { inner: inner.clone(), lie: Lie::None }
    }
}

impl Storage for Disk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        let file = self.inner.open(path, mode)?;
        Ok(if self.lie == Lie::Files { Arc::new(LyingFile(file)) } else { file })
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<DirEntry>> {
        self.inner.list(folder)
    }

    fn create_dir(&self, folder: &Path) -> io::Result<()> {
        self.inner.create_dir(folder)
    }

    fn remove_dir(&self, folder: &Path) -> io::Result<()> {
        self.inner.remove_dir(folder)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn sync_dir(&self, folder: &Path) -> io::Result<()> {
        if self.lie == Lie::Names { Ok(()) } else { self.inner.sync_dir(folder) }
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>> {
        self.inner.lock(path)
    }

    fn lock_holder(&self, path: &Path) -> io::Result<Option<u32>> {
        self.inner.lock_holder(path)
    }

    fn identity(&self, path: &Path) -> io::Result<FileIdentity> {
        self.inner.identity(path)
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        self.inner.free_space(path)
    }
}

#[derive(Debug)]
struct LyingFile(Arc<dyn StorageFile>);

impl StorageFile for LyingFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(position, buffer)
    }

    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_at(position, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn metadata(&self) -> io::Result<FileMetadata> {
        self.0.metadata()
    }

    fn set_modified(&self, time: Timestamp) -> io::Result<()> {
        self.0.set_modified(time)
    }

    fn hint(&self, hint: Hint) -> io::Result<()> {
        self.0.hint(hint)
    }

    fn sync(&self, _mode: SyncMode) -> io::Result<()> {
        Ok(())
    }

    fn freeze(&self) -> io::Result<FrozenBytes> {
        self.0.freeze()
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}
