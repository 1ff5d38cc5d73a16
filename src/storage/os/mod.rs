//! [D] The storage of the operating system: real files, positioned I/O, folder syncs.
//!
//! Invariants kept here: files are created with mode 0600 and folders with 0700; opening never follows a link and never
//! yields anything but a regular file; no call uses a file cursor, so that handles are shared between threads freely.
//! Linux is the supported platform. macOS builds with fewer hints; Windows builds without file identities.
//! Kafka's counterparts: `FileRecords`, `Utils.flushDir`.
#![allow(clippy::disallowed_methods, reason = "this module is what `Storage` is on a real file system")]

mod lock;

use std::fs::{self, DirBuilder, File, FileTimes, Metadata, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{
    DirEntry, EntryKind, FileIdentity, FileMetadata, FrozenBytes, Hint, LockGuard, OpenMode, Storage, StorageFile,
    SyncMode,
};
use crate::error::Result;
use crate::sync::check_sync_allowed;
use crate::types::Timestamp;

/// The file systems of this machine. It has no state: all values are the same storage.
///
/// Advice that it takes: [`Hint::Preallocate`], [`Hint::WillRead`] and [`Hint::Sequential`] on Linux.
/// [`Hint::WriteBack`] has no effect.
///
/// ```
/// use logstead::storage::{OpenMode, OsStorage, Storage, StorageFile, SyncMode};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("greeting");
/// let file = OsStorage::new().open(&path, OpenMode::CreateNew)?;
/// file.write_all_at(0, b"hello")?;
/// file.sync(SyncMode::Data)?;
/// OsStorage::new().sync_dir(folder.path())?;
/// assert_eq!(file.len()?, 5);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct OsStorage {
    _private: (),
}

impl OsStorage {
    /// The storage of the operating system.
    pub const fn new() -> OsStorage {
        OsStorage { _private: () }
    }
}

impl Storage for OsStorage {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(OsFile { file: open_file(path, mode)?, path: path.to_path_buf() }))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let kind = match entry.file_type() {
                Ok(kind) if kind.is_file() => EntryKind::File,
                Ok(kind) if kind.is_dir() => EntryKind::Dir,
                Ok(_) => EntryKind::Other,
                // Some file systems tell the kind only on a second look, and the entry may be gone by then.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            entries.push(DirEntry { name: entry.file_name().to_string_lossy().into_owned(), kind });
        }
        entries.sort_unstable();
        Ok(entries)
    }

    fn create_dir(&self, folder: &Path) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)
    }

    fn remove_dir(&self, folder: &Path) -> io::Result<()> {
        fs::remove_dir(folder)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, folder: &Path) -> io::Result<()> {
        check_sync_allowed();
        sync_dir(folder)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>> {
        Ok(Box::new(lock::take(path)?))
    }

    fn lock_holder(&self, path: &Path) -> io::Result<Option<u32>> {
        lock::holder(path)
    }

    fn identity(&self, path: &Path) -> io::Result<FileIdentity> {
        identity_of(&fs::symlink_metadata(path)?)
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        free_space(path)
    }
}

/// An open regular file.
#[derive(Debug)]
struct OsFile {
    file: File,
    path: PathBuf,
}

impl StorageFile for OsFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        #[cfg(unix)]
        return std::os::unix::fs::FileExt::read_at(&self.file, buffer, position);
        #[cfg(windows)]
        return std::os::windows::fs::FileExt::seek_read(&self.file, buffer, position);
    }

    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(unix)]
        return std::os::unix::fs::FileExt::write_at(&self.file, bytes, position);
        #[cfg(windows)]
        return std::os::windows::fs::FileExt::seek_write(&self.file, bytes, position);
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn metadata(&self) -> io::Result<FileMetadata> {
        let metadata = self.file.metadata()?;
        Ok(FileMetadata { len: metadata.len(), modified: timestamp_of(metadata.modified()?) })
    }

    fn set_modified(&self, time: Timestamp) -> io::Result<()> {
        let time = system_time_of(time).ok_or(io::ErrorKind::InvalidInput)?;
        self.file.set_times(FileTimes::new().set_modified(time))
    }

    fn hint(&self, hint: Hint) -> io::Result<()> {
        give_hint(&self.file, hint)
    }

    fn sync(&self, mode: SyncMode) -> io::Result<()> {
        check_sync_allowed();
        match mode {
            SyncMode::Data => self.file.sync_data(),
            SyncMode::All => self.file.sync_all(),
        }
    }

    fn freeze(&self) -> io::Result<FrozenBytes> {
        FrozenBytes::map(&self.file, self.len()?)
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

/// Opens a regular file; a link at the end of the path is refused.
fn open_file(path: &Path, mode: OpenMode) -> io::Result<File> {
    let mut options = OpenOptions::new();
    match mode {
        OpenMode::Read => options.read(true),
        OpenMode::Write => options.read(true).write(true),
        OpenMode::Create => options.read(true).write(true).create(true).truncate(false),
        OpenMode::CreateNew => options.read(true).write(true).create_new(true),
    };
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        // Without NONBLOCK, opening a pipe that somebody put there would wait for its other end.
        let flags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits();
        options.mode(0o600).custom_flags(flags.cast_signed());
    }
    let file = match mode {
        OpenMode::Read => open_unnoticed(&options, path)?,
        OpenMode::Write | OpenMode::Create | OpenMode::CreateNew => options.open(path)?,
    };
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !kind.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file)
}

/// Opens without leaving an access time behind: looking at a folder changes nothing in it. Only a file's owner may ask for
/// that; for others the file system's own rule holds.
#[cfg(target_os = "linux")]
fn open_unnoticed(options: &OpenOptions, path: &Path) -> io::Result<File> {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt;
    let flags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOATIME).bits();
    match options.clone().custom_flags(flags.cast_signed()).open(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => options.open(path),
        opened => opened,
    }
}

#[cfg(not(target_os = "linux"))]
fn open_unnoticed(options: &OpenOptions, path: &Path) -> io::Result<File> {
    options.open(path)
}

#[cfg(unix)]
fn sync_dir(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = rustix::fs::OFlags::DIRECTORY.bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(folder)?.sync_all()
}

/// A folder cannot be synced here; the file system journals its entries in order.
#[cfg(not(unix))]
fn sync_dir(folder: &Path) -> io::Result<()> {
    if fs::metadata(folder)?.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

#[cfg(unix)]
fn identity_of(metadata: &Metadata) -> io::Result<FileIdentity> {
    use std::os::unix::fs::MetadataExt;
    Ok(FileIdentity { device: metadata.dev(), inode: metadata.ino() })
}

#[cfg(not(unix))]
fn identity_of(_metadata: &Metadata) -> io::Result<FileIdentity> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(unix)]
fn free_space(path: &Path) -> io::Result<u64> {
    let status = rustix::fs::statvfs(path)?;
    Ok(status.f_bavail.saturating_mul(status.f_frsize))
}

/// Without a portable way to ask, no limit is known: writes still report a full disk.
#[cfg(not(unix))]
fn free_space(path: &Path) -> io::Result<u64> {
    fs::metadata(path).map(|_| u64::MAX)
}

#[cfg(target_os = "linux")]
fn give_hint(file: &File, hint: Hint) -> io::Result<()> {
    use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate};
    use rustix::io::{Errno, retry_on_intr};
    use std::num::NonZeroU64;

    match hint {
        Hint::Preallocate { len: 0 } => Ok(()),
        // Reserving is advice, but learning here that the disk is full spares a torn append later.
        Hint::Preallocate { len } => match retry_on_intr(|| fallocate(file, FallocateFlags::KEEP_SIZE, 0, len)) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            reserved => Ok(reserved?),
        },
        // The system call for this (sync_file_range) cannot be reached without unsafe code.
        Hint::WriteBack { .. } => Ok(()),
        Hint::WillRead { position, len } => {
            // A failed advice changes nothing that a caller could act upon. To the kernel, length 0 means "to the end".
            let _ = NonZeroU64::new(len).map(|len| fadvise(file, position, Some(len), Advice::WillNeed));
            Ok(())
        }
        Hint::Sequential => {
            let _ = fadvise(file, 0, None, Advice::Sequential);
            Ok(())
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn give_hint(_file: &File, _hint: Hint) -> io::Result<()> {
    Ok(())
}

fn timestamp_of(time: SystemTime) -> Timestamp {
    let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(match time.duration_since(UNIX_EPOCH) {
        Ok(since) => millis(since),
        Err(before) => -millis(before.duration()),
    })
}

fn system_time_of(time: Timestamp) -> Option<SystemTime> {
    let distance = Duration::from_millis(time.as_millis().unsigned_abs());
    if time.as_millis() < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const STORAGE: OsStorage = OsStorage::new();

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn files_and_folders_are_for_their_owner_only() {
        let root = folder();
        let (file, sub) = (root.path().join("f"), root.path().join("d"));
        STORAGE.open(&file, OpenMode::Create).unwrap();
        STORAGE.create_dir(&sub).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(&sub)), (0o600, 0o700));
    }

    #[test]
    fn a_link_is_listed_as_other_and_never_opened() {
        let root = folder();
        let (target, link) = (root.path().join("a-target"), root.path().join("b-link"));
        fs::write(&target, b"secret").unwrap();
        symlink(&target, &link).unwrap();
        for mode in [OpenMode::Read, OpenMode::Write, OpenMode::Create, OpenMode::CreateNew] {
            assert!(STORAGE.open(&link, mode).is_err(), "{mode:?}");
        }
        let kinds: Vec<_> = STORAGE.list(root.path()).unwrap().into_iter().map(|entry| entry.kind).collect();
        assert_eq!(kinds, [EntryKind::File, EntryKind::Other]);
        assert_ne!(STORAGE.identity(&link).unwrap(), STORAGE.identity(&target).unwrap());
    }

    #[test]
    fn a_pipe_is_refused_without_waiting() {
        let root = folder();
        let pipe = root.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let error = STORAGE.open(&pipe, OpenMode::Read).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn names_are_listed_in_byte_order() {
        let root = folder();
        for name in ["b", "a-10", "a-9", "B"] {
            STORAGE.open(&root.path().join(name), OpenMode::CreateNew).unwrap();
        }
        let names: Vec<_> = STORAGE.list(root.path()).unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["B", "a-10", "a-9", "b"]);
    }

    #[test]
    fn the_identity_stays_when_a_file_is_renamed() {
        let root = folder();
        let (from, to) = (root.path().join("from"), root.path().join("to"));
        STORAGE.open(&from, OpenMode::Create).unwrap();
        STORAGE.open(&to, OpenMode::Create).unwrap();
        let before = STORAGE.identity(&from).unwrap();
        assert_ne!(before, STORAGE.identity(&to).unwrap());
        STORAGE.rename(&from, &to).unwrap();
        assert_eq!(before, STORAGE.identity(&to).unwrap());
    }

    #[test]
    fn modification_times_before_and_after_1970_round_trip() {
        let root = folder();
        let file = STORAGE.open(&root.path().join("f"), OpenMode::Create).unwrap();
        for millis in [1_700_000_000_123, 0, -5] {
            file.set_modified(Timestamp::from_millis(millis)).unwrap();
            assert_eq!(file.metadata().unwrap().modified.as_millis(), millis);
        }
    }

    #[test]
    fn hints_change_neither_length_nor_content() {
        let root = folder();
        let file = STORAGE.open(&root.path().join("f"), OpenMode::Create).unwrap();
        file.write_all_at(0, b"abc").unwrap();
        for hint in [
            Hint::Preallocate { len: 0 },
            Hint::Preallocate { len: 1 << 16 },
            Hint::WriteBack { position: 0, len: 3 },
            Hint::WillRead { position: 0, len: 0 },
            Hint::WillRead { position: 1, len: 1 << 40 },
            Hint::Sequential,
        ] {
            file.hint(hint).unwrap();
        }
        assert_eq!(&file.freeze().unwrap()[..], b"abc");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn reading_leaves_no_access_time_behind() {
        let root = folder();
        let path = root.path().join("f");
        fs::write(&path, b"abc").unwrap();
        // An access time before the last change is what `relatime` would renew.
        let long_ago = UNIX_EPOCH + Duration::from_secs(1);
        File::open(&path).unwrap().set_times(FileTimes::new().set_accessed(long_ago)).unwrap();
        let mut buffer = [0; 3];
        STORAGE.open(&path, OpenMode::Read).unwrap().read_exact_at(0, &mut buffer).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().accessed().unwrap(), long_ago);
    }

    #[test]
    fn an_open_file_stays_readable_after_its_name_is_gone() {
        let root = folder();
        let path = root.path().join("f");
        let file = STORAGE.open(&path, OpenMode::Create).unwrap();
        file.write_all_at(0, b"abc").unwrap();
        STORAGE.remove(&path).unwrap();
        let mut buffer = [0; 3];
        file.read_exact_at(0, &mut buffer).unwrap();
        assert_eq!(&buffer, b"abc");
        assert_eq!(file.path(), path);
    }

    #[test]
    fn syncing_succeeds_on_files_and_on_folders_only() {
        let root = folder();
        let path = root.path().join("f");
        let file = STORAGE.open(&path, OpenMode::Create).unwrap();
        file.sync(SyncMode::Data).unwrap();
        file.sync(SyncMode::All).unwrap();
        STORAGE.sync_dir(root.path()).unwrap();
        assert_eq!(STORAGE.sync_dir(&path).unwrap_err().kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn free_space_is_asked_of_the_file_system_that_holds_the_path() {
        let root = folder();
        assert!(STORAGE.free_space(root.path()).unwrap() > 0);
        let error = STORAGE.free_space(&root.path().join("missing")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
