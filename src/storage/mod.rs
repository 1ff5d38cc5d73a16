//! [P] The disk as a trait: what the engine may ask of it, what it may assume, and what it must survive.
//!
//! Two implementations: [`OsStorage`] (real files) and [`MemStorage`] (memory, with what would survive a power cut
//! kept apart from what a running process sees). The engine is the same code on both.
//!
//! # The contract
//!
//! **What the engine may assume.**
//! 1. A write that returned is seen by every later read of the same file in this machine until it goes down, also
//!    when this process is killed.
//! 2. After [`StorageFile::sync`] returned `Ok`, the bytes and the length that the file had when the call was made
//!    survive a power cut. The file's *name* does not yet.
//! 3. After [`Storage::sync_dir`] returned `Ok`, the creations, renames and removals in that folder that were made
//!    before the call survive a power cut.
//! 4. A rename replaces its target in one step: after a crash a name leads to the old file or to the new one.
//! 5. An open file stays readable after it was renamed or removed.
//!
//! **What the engine must survive.** Until a sync returns, a power cut keeps *any subset* of the writes, length
//! changes and directory changes, in any order; a kept write may be torn at 512-byte sectors; a file may have its new
//! length without its bytes (zeros). A failed sync says nothing about which bytes are durable and leaves the file in
//! doubt for ever: a second sync that returns `Ok` proves nothing, so the engine never retries one. Any call may fail
//! with any error and may have had its effect or not. Reads may return damaged bytes: everything that is read is
//! checked.
//!
//! [P]: crate

mod atomic_file;
mod mapping;
mod mem;
mod os;

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::Result;
use crate::types::Timestamp;

pub use mapping::FrozenBytes;
pub use mem::MemStorage;
#[cfg(any(test, feature = "testkit"))]
pub use mem::{CrashModel, Fault, Operation, OperationKind, StopPoint};
pub use os::OsStorage;

pub(crate) use atomic_file::{copy_range, publish, publish_through, read_file, remove_published};

/// A file system, or something that behaves like one. See the [module documentation](self) for the contract.
pub trait Storage: Debug + Send + Sync {
    /// Opens a file.
    ///
    /// # Errors
    /// `NotFound` when it does not exist and `mode` does not create it; `AlreadyExists` for [`OpenMode::CreateNew`].
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>>;

    /// The entries of a folder, sorted by name (bytewise).
    fn list(&self, folder: &Path) -> io::Result<Vec<DirEntry>>;

    /// Creates a folder. Its parent must exist.
    fn create_dir(&self, folder: &Path) -> io::Result<()>;

    /// Removes an empty folder.
    fn remove_dir(&self, folder: &Path) -> io::Result<()>;

    /// Renames a file or folder, replacing a target file in one step.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name. Open handles stay readable.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the folder's entries durable.
    fn sync_dir(&self, folder: &Path) -> io::Result<()>;

    /// Takes the exclusive lock of a data folder through the file at `path`, creating it if need be. The lock ends when
    /// the returned guard is dropped or the process dies.
    ///
    /// # Errors
    /// [`Error::AlreadyOpen`](crate::Error::AlreadyOpen) when this or another process holds it.
    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>>;

    /// The process that holds the lock at `path`; `None` when nobody does. Changes nothing.
    fn lock_holder(&self, path: &Path) -> io::Result<Option<u32>>;

    /// What stays the same while a file or folder is renamed, and differs between any two that exist at once.
    fn identity(&self, path: &Path) -> io::Result<FileIdentity>;

    /// Bytes that may still be written in the file system that holds `path`.
    fn free_space(&self, path: &Path) -> io::Result<u64>;
}

/// An open file: positioned reads and writes, no cursor. See the [module documentation](self) for the contract.
pub trait StorageFile: Debug + Send + Sync {
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads up to `buffer.len()` bytes; may return fewer, and 0 only at the end of the file or for an empty buffer.
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes up to `bytes.len()` bytes, extending the file with zeros up to `position` if need be; may write fewer.
    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<usize>;

    /// Shortens the file, or extends it with zeros. Never below what a frozen view of it covers.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Length and modification time.
    fn metadata(&self) -> io::Result<FileMetadata>;

    /// Sets the modification time.
    fn set_modified(&self, time: Timestamp) -> io::Result<()>;

    /// Advice that may be ignored; the content never changes.
    fn hint(&self, hint: Hint) -> io::Result<()> {
        let _ = hint;
        Ok(())
    }

    /// Blocks until the file's bytes and length are durable. After an error the content is unknown: never retry.
    fn sync(&self, mode: SyncMode) -> io::Result<()>;

    /// A read-only view of the file as it is now. From here on the file must neither be written nor shortened while the
    /// view, or a clone of it, exists.
    fn freeze(&self) -> io::Result<FrozenBytes>;

    /// The path that it was opened with.
    fn path(&self) -> &Path;

    /// Reads exactly `buffer.len()` bytes.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before the buffer is full.
    fn read_exact_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        let read = self.read_full_at(position, buffer)?;
        if read == buffer.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Reads until the buffer is full or the file ends; returns how many bytes were read. Retries short reads and
    /// interruptions.
    fn read_full_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.read_at(position.saturating_add(done as u64), rest) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// Writes all of `bytes`, retrying short writes and interruptions.
    ///
    /// # Errors
    /// `WriteZero` when the storage takes no more bytes without saying why.
    fn write_all_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            match self.write_at(position.saturating_add(done as u64), rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OpenMode {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    Write,
    /// For reading and writing; created empty when it does not exist.
    Create,
    /// For reading and writing; must not exist yet.
    CreateNew,
}

/// How much a sync must make durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SyncMode {
    /// The bytes, and the length as far as it is needed to read them back (`fdatasync`).
    Data,
    /// The bytes and all metadata, modification time included (`fsync`).
    All,
}

/// Advice to the storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hint {
    /// The file will grow to this many bytes: reserve the space, leave the length.
    Preallocate {
        /// Bytes from the start of the file.
        len: u64,
    },
    /// Start writing this range back now; do not wait.
    WriteBack {
        /// First byte.
        position: u64,
        /// Bytes.
        len: u64,
    },
    /// This range will be read soon.
    WillRead {
        /// First byte.
        position: u64,
        /// Bytes.
        len: u64,
    },
    /// The file will be read from start to end.
    Sequential,
}

/// Length and modification time of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMetadata {
    /// Length in bytes.
    pub len: u64,
    /// Time of the last change of its bytes.
    pub modified: Timestamp,
}

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The name; a name that is not UTF-8 is replaced lossily and then leads nowhere, so that it is reported as unknown.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
}

/// The kind of a folder's entry. Links are not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// Anything else: links, sockets, devices.
    Other,
}

/// Device and inode number, or what stands for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileIdentity {
    /// The file system.
    pub device: u64,
    /// The file within it.
    pub inode: u64,
}

/// Holds the lock of a data folder until it is dropped.
pub trait LockGuard: Debug + Send + Sync {
    /// The lock file's path.
    fn path(&self) -> &Path;
}

/// The folder that holds `path`: `.` for a bare name, the path itself when it is a root.
pub(crate) fn parent_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_path_buf(),
        None => path.to_path_buf(),
    }
}

#[cfg(test)]
mod parent_tests {
    use super::*;

    #[test]
    fn the_folder_of_a_bare_name_is_the_current_one() {
        for (path, parent) in [("data", "."), ("./data", "."), ("a/data", "a"), ("/data", "/"), ("/", "/")] {
            assert_eq!(parent_of(Path::new(path)), Path::new(parent), "{path}");
        }
    }
}
