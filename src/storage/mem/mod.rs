//! [S] Storage in memory: what a running process sees, kept apart from what a power cut would leave.
//!
//! The engine runs on it unchanged. With feature `testkit` it is the hostile disk: crash images, injected failures and
//! a log of operations. It keeps up to three copies of what was not synced yet, and serves tests, not production.
//!
//! Invariants kept here: every call checks legality first, then asks the test kit, then takes effect, all under one
//! mutex (innermost; nothing is called out of it); a write under a live frozen view, or a length below it, is refused,
//! so that breaches of [`StorageFile::freeze`]'s contract come to light.

#[cfg(any(test, feature = "testkit"))]
mod crash;
mod file;
#[cfg(any(test, feature = "testkit"))]
mod kit;
#[cfg(not(any(test, feature = "testkit")))]
#[path = "no_kit.rs"]
mod kit;
mod operation;
mod state;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{
    DirEntry, EntryKind, FileIdentity, FileMetadata, FrozenBytes, Hint, LockGuard, OpenMode, Storage, StorageFile,
    SyncMode, parent_of,
};
use crate::error::{Error, IoContext, Result};
use crate::sync::{Rank, RankedGuard, RankedMutex, check_sync_allowed};
use crate::types::Timestamp;
use file::{Edit, FILE_BYTES_MAX, FileNode};
use operation::Call;
use state::{DirNode, EntryEdit, Inode, Node, State};

#[cfg(any(test, feature = "testkit"))]
pub use crash::CrashModel;
#[cfg(any(test, feature = "testkit"))]
pub use kit::{Fault, Operation, StopPoint};
#[cfg(any(test, feature = "testkit"))]
pub use operation::OperationKind;
#[cfg(not(any(test, feature = "testkit")))]
use operation::OperationKind;

type Shared = Arc<RankedMutex<State>>;

/// A file system in memory. Clones are handles to the same one.
///
/// Paths start at an empty root folder, with or without a leading `/`; `..` is refused. Files hold up to 2 GiB.
/// Modification times come from a counter, not from a clock.
///
/// ```
/// use logstead::storage::{MemStorage, OpenMode, Storage, StorageFile};
/// use std::path::Path;
/// let storage = MemStorage::new();
/// storage.create_dir(Path::new("/data"))?;
/// let file = storage.open(Path::new("/data/a"), OpenMode::Create)?;
/// file.write_all_at(3, b"abc")?;
/// assert_eq!(&file.freeze()?[..], b"\0\0\0abc");
/// assert_eq!(storage.clone().list(Path::new("/data"))?.len(), 1);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct MemStorage {
    shared: Shared,
}

impl Default for MemStorage {
    fn default() -> MemStorage {
        MemStorage::new()
    }
}

impl MemStorage {
    /// An empty file system without a limit of space.
    pub fn new() -> MemStorage {
        MemStorage::with_state(State::default())
    }

    /// Limits the bytes of all files that have a name or are open. Existing files stay, however many they are.
    ///
    /// At the limit a write is cut short, and one that fits not at all fails with `StorageFull`.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    fn with_state(state: State) -> MemStorage {
        MemStorage { shared: Arc::new(RankedMutex::new(Rank::StorageRegistry, state)) }
    }

    fn state(&self) -> RankedGuard<'_, State> {
        self.shared.lock()
    }

    /// The state, unless the test kit has stopped everything.
    fn running(&self) -> io::Result<RankedGuard<'_, State>> {
        let state = self.state();
        state.kit.check_running()?;
        Ok(state)
    }

    fn open_file(&self, path: &Path, mode: OpenMode) -> io::Result<MemFile> {
        let mut state = self.running()?;
        let inode = match state.resolve(path) {
            Ok(_) if mode == OpenMode::CreateNew => return Err(io::ErrorKind::AlreadyExists.into()),
            Ok(inode) => inode,
            Err(error) if error.kind() == io::ErrorKind::NotFound && mode.creates() => {
                let at = state.place(path)?;
                state.perform(Call::whole(OperationKind::Create, path), |state| {
                    let created = state.tick();
                    state.create(at, Node::File(FileNode::new(created)))
                })?
            }
            Err(error) => return Err(error),
        };
        let handle = Arc::clone(&state.file(inode)?.handles);
        Ok(MemFile { storage: self.clone(), inode, path: path.to_path_buf(), writable: mode.writes(), _handle: handle })
    }
}

impl fmt::Debug for MemStorage {
    /// How much there is; never the content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemStorage({} files and folders)", self.state().nodes.len())
    }
}

impl OpenMode {
    fn creates(self) -> bool {
        matches!(self, OpenMode::Create | OpenMode::CreateNew)
    }

    fn writes(self) -> bool {
        !matches!(self, OpenMode::Read)
    }
}

impl Storage for MemStorage {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(self.open_file(path, mode)?))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<DirEntry>> {
        let state = self.running()?;
        let entries = state.entries(state.resolve(folder)?)?;
        let entry = |(name, inode): (&std::ffi::OsString, &Inode)| DirEntry {
            name: name.to_string_lossy().into_owned(),
            kind: if state.is_dir(*inode) { EntryKind::Dir } else { EntryKind::File },
        };
        let mut entries: Vec<DirEntry> = entries.iter().map(entry).collect();
        entries.sort_unstable();
        Ok(entries)
    }

    fn create_dir(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.running()?;
        let at = state.place(folder)?;
        if state.target(&at).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.perform(Call::whole(OperationKind::CreateDir, folder), |state| {
            state.create(at, Node::Dir(DirNode::default()));
        })
    }

    fn remove_dir(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.running()?;
        let at = state.place(folder)?;
        let inode = state.target(&at).ok_or(io::ErrorKind::NotFound)?;
        if !state.entries(inode)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let call = Call::whole(OperationKind::RemoveDir, folder);
        state.perform(call, |state| state.edit_entries(EntryEdit::Unlink { at }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.running()?;
        let (from, at) = (state.place(from)?, state.place(to)?);
        let Some(inode) = state.check_rename(&from, &at)? else { return Ok(()) };
        let call = Call::whole(OperationKind::Rename, to);
        state.perform(call, |state| state.edit_entries(EntryEdit::Rename { from, to: at, inode }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.running()?;
        let at = state.place(path)?;
        let inode = state.target(&at).ok_or(io::ErrorKind::NotFound)?;
        if state.is_dir(inode) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let call = Call::whole(OperationKind::Remove, path);
        state.perform(call, |state| state.edit_entries(EntryEdit::Unlink { at }))
    }

    fn sync_dir(&self, folder: &Path) -> io::Result<()> {
        check_sync_allowed();
        let mut state = self.running()?;
        let inode = state.resolve(folder)?;
        state.entries(inode)?;
        let verdict = state.kit.admit(Call::whole(OperationKind::SyncDir, folder));
        if verdict.applies {
            state.sync_entries(inode);
        } else if state.kit.check_running().is_ok() {
            state.fail_sync_entries(inode);
        }
        verdict.error.map_or(Ok(()), Err)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>> {
        let file = self.open_file(path, OpenMode::Create).context("open the lock file", path)?;
        if !self.state().locked.insert(file.inode) {
            return Err(Error::AlreadyOpen { path: parent_of(path), pid: Some(std::process::id()) });
        }
        Ok(Box::new(MemLock { file }))
    }

    fn lock_holder(&self, path: &Path) -> io::Result<Option<u32>> {
        let state = self.running()?;
        match state.resolve(path) {
            Ok(inode) => Ok(state.locked.contains(&inode).then(std::process::id)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn identity(&self, path: &Path) -> io::Result<FileIdentity> {
        Ok(FileIdentity { device: 0, inode: self.running()?.resolve(path)? })
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        let state = self.running()?;
        state.resolve(path)?;
        Ok(state.free())
    }
}

/// An open file.
#[derive(Debug)]
struct MemFile {
    storage: MemStorage,
    inode: Inode,
    path: PathBuf,
    writable: bool,
    /// Keeps the file when its name is removed.
    _handle: Arc<()>,
}

impl MemFile {
    fn call(&self, kind: OperationKind, position: u64, len: u64) -> Call<'_> {
        Call { kind, path: &self.path, position, len }
    }
}

impl StorageFile for MemFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.storage.running()?.file(self.inode)?.live.len() as u64)
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        check_position(position)?;
        let mut state = self.storage.running()?;
        let count = state.kit.admit_transfer(buffer.len())?;
        let buffer = buffer.get_mut(..count).unwrap_or_default();
        let call = self.call(OperationKind::Read, position, count as u64);
        state.perform(call, |state| Ok(state.file(self.inode)?.read(position, buffer)))?
    }

    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<usize> {
        check_position(position)?;
        if !self.writable {
            return Err(not_open_for_writing());
        }
        let mut state = self.storage.running()?;
        let count = state.kit.admit_transfer(bytes.len())?;
        if count == 0 {
            return Ok(0);
        }
        let file = state.file(self.inode)?;
        if file.frozen_len().is_some() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the file is frozen: it must not be written"));
        }
        let len = file.live.len() as u64;
        if position.saturating_add(count as u64) > FILE_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let room = len.saturating_add(state.free()).saturating_sub(position);
        let count = count.min(usize::try_from(room).unwrap_or(usize::MAX));
        let bytes = bytes.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let edit = Edit::Write { position: to_index(position)?, bytes: bytes.to_vec() };
        let call = self.call(OperationKind::Write, position, count as u64);
        state.perform(call, |state| edit_file(state, self.inode, edit))??;
        Ok(count)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        check_position(len)?;
        if !self.writable {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let new_len = to_index(len)?;
        let mut state = self.storage.running()?;
        let file = state.file(self.inode)?;
        if file.frozen_len().is_some_and(|frozen| new_len < frozen) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the file is frozen: it must not be shortened"));
        }
        let growth = len.saturating_sub(file.live.len() as u64);
        if growth > state.free() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let call = self.call(OperationKind::SetLen, 0, len);
        state.perform(call, |state| edit_file(state, self.inode, Edit::SetLen(new_len)))?
    }

    fn metadata(&self) -> io::Result<FileMetadata> {
        let mut state = self.storage.running()?;
        let file = state.file(self.inode)?;
        Ok(FileMetadata { len: file.live.len() as u64, modified: file.modified })
    }

    fn set_modified(&self, time: Timestamp) -> io::Result<()> {
        let mut state = self.storage.running()?;
        state.perform(self.call(OperationKind::SetModified, 0, 0), |state| {
            state.file(self.inode)?.modified = time;
            Ok(())
        })?
    }

    fn hint(&self, hint: Hint) -> io::Result<()> {
        let mut state = self.storage.running()?;
        match hint {
            Hint::Preallocate { len } => {
                let growth = len.saturating_sub(state.file(self.inode)?.live.len() as u64);
                if growth > state.free() {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                state.perform(self.call(OperationKind::Preallocate, 0, len), |_| ())
            }
            Hint::WriteBack { .. } | Hint::WillRead { .. } | Hint::Sequential => Ok(()),
        }
    }

    fn sync(&self, mode: SyncMode) -> io::Result<()> {
        check_sync_allowed();
        let mut state = self.storage.running()?;
        let verdict = state.kit.admit(self.call(OperationKind::Sync, 0, 0));
        if verdict.applies {
            state.file(self.inode)?.sync(mode);
        } else if state.kit.check_running().is_ok() {
            state.file(self.inode)?.fail_sync();
        }
        verdict.error.map_or(Ok(()), Err)
    }

    fn freeze(&self) -> io::Result<FrozenBytes> {
        Ok(FrozenBytes::from(self.storage.running()?.file(self.inode)?.freeze()))
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

/// A lock that is held. Its open file keeps the number of the lock file from being given up.
#[derive(Debug)]
struct MemLock {
    file: MemFile,
}

impl LockGuard for MemLock {
    fn path(&self) -> &Path {
        &self.file.path
    }
}

impl Drop for MemLock {
    fn drop(&mut self) {
        self.file.storage.state().locked.remove(&self.file.inode);
    }
}

fn edit_file(state: &mut State, inode: Inode, edit: Edit) -> io::Result<()> {
    let (sequence, modified) = (state.next_sequence(), state.tick());
    state.file(inode)?.edit(sequence, modified, edit);
    Ok(())
}

/// Positions and lengths are signed to an operating system.
fn check_position(position: u64) -> io::Result<()> {
    if i64::try_from(position).is_ok() { Ok(()) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// A position or length within the largest file.
fn to_index(position: u64) -> io::Result<usize> {
    let index = usize::try_from(position).ok().filter(|_| position <= FILE_BYTES_MAX);
    index.ok_or_else(|| io::ErrorKind::FileTooLarge.into())
}

/// What a write to a file that is open for reading gives: EBADF.
fn not_open_for_writing() -> io::Error {
    if cfg!(unix) { io::Error::from_raw_os_error(9) } else { io::ErrorKind::PermissionDenied.into() }
}
