//! [S] The one publish primitive: temporary file, write, sync, rename, sync of the folder.
//!
//! Invariants kept here: a published name leads to the whole old content or to the whole new content, whatever call
//! fails and whenever the power goes; after `Ok` it is the new content for good. A temporary file is never written
//! twice: after a failed sync its inode is in doubt for ever, so that a leftover is removed and a fresh one is created.
//! Kafka's counterparts: `CheckpointFile`, `Utils.atomicMoveWithFallback`.

use std::io;
use std::path::{Path, PathBuf};

use super::{OpenMode, Storage, StorageFile, SyncMode, parent_of};
use crate::error::{Damage, Error, IoContext, Result};

/// Bytes copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// Creates or replaces the file at `path` in one step; after `Ok` the new content survives a power cut.
///
/// The content passes through `<path>.tmp`, which one publisher at a time may use.
///
/// # Errors
/// After an error the name leads to the old content (or to nothing, if there was none) or to the new content, and a
/// power cut may still exchange the two.
pub(crate) fn publish(storage: &dyn Storage, path: &Path, bytes: &[u8]) -> Result<()> {
    publish_through(storage, &temporary_path(path), path, bytes)
}

/// As [`publish`], with a name of the caller's for the content until it is complete; in the same folder.
///
/// # Errors
/// As [`publish`].
pub(crate) fn publish_through(storage: &dyn Storage, temporary: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    let renamed = write_temporary(storage, temporary, bytes)
        .and_then(|()| storage.rename(temporary, path).context("publish", path));
    if let Err(error) = renamed {
        // The next publish removes a leftover too: this only spares the folder's readers an unknown file.
        let _ = storage.remove(temporary);
        return Err(error);
    }
    let folder = parent_of(path);
    storage.sync_dir(&folder).in_doubt_context("sync the folder", &folder)
}

/// Removes a published file; after `Ok` it does not come back after a power cut. Returns whether it existed.
///
/// The folder is synced also when the file is gone already: an earlier attempt may have died before its sync, and then
/// the absence that is seen here is not durable yet.
pub(crate) fn remove_published(storage: &dyn Storage, path: &Path) -> Result<bool> {
    let existed = match storage.remove(path) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error).context("remove", path),
    };
    let folder = parent_of(path);
    storage.sync_dir(&folder).in_doubt_context("sync the folder", &folder)?;
    Ok(existed)
}

/// Reads a whole small file; `None` when it does not exist. Allocates no more than its real length.
///
/// # Errors
/// [`Error::Corrupt`] with [`Damage::Length`] when it is longer than `len_max` bytes.
pub(crate) fn read_file(storage: &dyn Storage, path: &Path, len_max: u64) -> Result<Option<Vec<u8>>> {
    let file = match storage.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context("open", path),
    };
    let len = file.len().context("read the length of", path)?;
    let too_long =
        || Error::corrupt(0, Damage::Length { stored: i64::try_from(len).unwrap_or(i64::MAX) }).in_file(path, 0);
    if len > len_max {
        return Err(too_long());
    }
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| too_long())?];
    let read = file.read_full_at(0, &mut bytes).context("read", path)?;
    bytes.truncate(read);
    Ok(Some(bytes))
}

/// Writes and syncs the temporary file, replacing a leftover of an earlier attempt.
fn write_temporary(storage: &dyn Storage, temporary: &Path, bytes: &[u8]) -> Result<()> {
    let file = match storage.open(temporary, OpenMode::CreateNew) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            storage.remove(temporary).context("remove", temporary)?;
            storage.open(temporary, OpenMode::CreateNew)
        }
        opened => opened,
    }
    .context("create", temporary)?;
    file.write_all_at(0, bytes).context("write", temporary)?;
    file.sync(SyncMode::All).in_doubt_context("sync", temporary)
}

/// The name that the new content has until it is complete.
fn temporary_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

/// Copies `[from, to)` of an open file to a file of its own at `target` and makes its bytes durable; the name is left to the
/// caller.
pub(crate) fn copy_range(
    storage: &dyn Storage,
    source: &dyn StorageFile,
    from: u64,
    to: u64,
    target: &Path,
) -> Result<()> {
    let copy = storage.open(target, OpenMode::Create).context("create", target)?;
    copy.set_len(0).context("truncate", target)?;
    let mut buffer = vec![0; COPY_BYTES];
    let mut position = from;
    while position < to {
        let len = usize::try_from(to - position).unwrap_or(usize::MAX).min(COPY_BYTES);
        let piece = buffer.get_mut(..len).unwrap_or_default();
        source.read_exact_at(position, piece).context("read", source.path())?;
        copy.write_all_at(position - from, piece).context("write", target)?;
        position += len as u64;
    }
    copy.sync(SyncMode::All).in_doubt_context("sync", target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{CrashModel, Fault, MemStorage, OperationKind, OsStorage, StopPoint};

    const FOLDER: &str = "/data";
    const PATH: &str = "/data/checkpoint";
    const OLD: &[u8] = b"the old content";

    fn path() -> &'static Path {
        Path::new(PATH)
    }

    fn new_content() -> Vec<u8> {
        (0..1500u32).map(|i| i as u8).collect()
    }

    /// A folder that is durable, with the old content published in it if asked for.
    fn storage(old: bool) -> MemStorage {
        let storage = MemStorage::new();
        storage.create_dir(Path::new(FOLDER)).unwrap();
        storage.sync_dir(Path::new("/")).unwrap();
        if old {
            publish(&storage, path(), OLD).unwrap();
        }
        storage
    }

    fn read(storage: &dyn Storage) -> Option<Vec<u8>> {
        read_file(storage, path(), 1 << 20).unwrap()
    }

    fn names(storage: &dyn Storage) -> Vec<String> {
        storage.list(Path::new(FOLDER)).unwrap().into_iter().map(|entry| entry.name).collect()
    }

    /// All ways to die during `work`, each with many images of what is left.
    fn for_each_crash(old: bool, work: fn(&MemStorage) -> Result<()>, check: impl Fn(&MemStorage, &str)) {
        let reference = storage(old);
        let first = reference.operation_count();
        work(&reference).unwrap();
        for index in first..reference.operation_count() {
            for point in [StopPoint::Before(index), StopPoint::After(index)] {
                let storage = storage(old);
                storage.stop_at(point);
                work(&storage).unwrap_err();
                assert!(storage.is_stopped());
                for model in [CrashModel::KeepAll, CrashModel::DropAll, CrashModel::Prefix, CrashModel::Subset] {
                    for seed in 0..16 {
                        check(&storage.crash_image(&model, seed), &format!("{point:?}, {model:?}, seed {seed}"));
                    }
                }
            }
        }
    }

    #[test]
    fn publishing_writes_syncs_renames_and_syncs_the_folder() {
        let storage = storage(false);
        let first = usize::try_from(storage.operation_count()).unwrap();
        publish(&storage, path(), b"abc").unwrap();
        let kinds: Vec<_> = storage.operations()[first..].iter().map(|operation| operation.kind).collect();
        use OperationKind::*;
        assert_eq!(kinds, [Create, Write, Sync, Rename, SyncDir]);
        assert_eq!(names(&storage), ["checkpoint"]);
    }

    #[test]
    fn a_crash_at_any_step_leaves_the_old_or_the_new_content() {
        let check = |image: &MemStorage, case: &str| {
            let found = read(image).unwrap_or_else(|| panic!("{case}: neither old nor new"));
            assert!(found == OLD || found == new_content(), "{case}: {} bytes", found.len());
        };
        for_each_crash(true, |storage| publish(storage, path(), &new_content()), check);
    }

    #[test]
    fn a_crash_while_a_file_is_created_leaves_nothing_or_all_of_it() {
        let check = |image: &MemStorage, case: &str| {
            assert!(read(image).is_none_or(|found| found == new_content()), "{case}");
        };
        for_each_crash(false, |storage| publish(storage, path(), &new_content()), check);
    }

    #[test]
    fn publishing_again_after_any_crash_succeeds_for_good() {
        let check = |image: &MemStorage, case: &str| {
            publish(image, path(), b"newest").unwrap();
            let after = image.crash_image(&CrashModel::DropAll, 0);
            assert_eq!(read(&after).unwrap(), b"newest", "{case}");
            assert_eq!(names(&after), ["checkpoint"], "{case}");
        };
        for_each_crash(true, |storage| publish(storage, path(), &new_content()), check);
    }

    #[test]
    fn what_is_published_survives_every_power_cut() {
        let storage = storage(true);
        publish(&storage, path(), &new_content()).unwrap();
        for model in [CrashModel::DropAll, CrashModel::Prefix, CrashModel::Subset] {
            for seed in 0..32 {
                assert_eq!(read(&storage.crash_image(&model, seed)).unwrap(), new_content(), "{model:?}, {seed}");
            }
        }
    }

    #[test]
    fn an_error_at_any_call_leaves_the_old_or_the_new_content_and_no_temporary_file() {
        for nth in 0..5 {
            for fault in [Fault::nth(nth), Fault::nth(nth).taking_effect()] {
                let storage = storage(true);
                storage.fail(fault.clone());
                publish(&storage, path(), &new_content()).unwrap_err();
                let found = read(&storage).unwrap();
                assert!(found == OLD || found == new_content(), "{fault:?}");
                assert_eq!(names(&storage), ["checkpoint"], "{fault:?}");
            }
        }
    }

    #[test]
    fn a_full_disk_is_reported_as_such_and_costs_nothing() {
        let storage = storage(true);
        storage.set_capacity(Some(100));
        let error = publish(&storage, path(), &new_content()).unwrap_err();
        assert!(matches!(error, Error::OutOfSpace { .. }), "{error}");
        assert_eq!((read(&storage).unwrap(), names(&storage)), (OLD.to_vec(), vec!["checkpoint".to_owned()]));
    }

    #[test]
    fn a_temporary_file_whose_sync_failed_is_never_written_again() {
        let storage = storage(true);
        storage.fail(Fault::nth(0).of_kind(OperationKind::Sync));
        storage.fail(Fault::nth(0).of_kind(OperationKind::Remove));
        publish(&storage, path(), &new_content()).unwrap_err();
        let leftover = storage.identity(&temporary_path(path())).unwrap();
        publish(&storage, path(), &new_content()).unwrap();
        assert_ne!(storage.identity(path()).unwrap(), leftover);
        assert_eq!(read(&storage.crash_image(&CrashModel::DropAll, 0)).unwrap(), new_content());
    }

    #[test]
    fn a_removed_file_does_not_come_back() {
        let storage = storage(true);
        assert!(remove_published(&storage, path()).unwrap());
        for seed in 0..16 {
            assert_eq!(read(&storage.crash_image(&CrashModel::Subset, seed)), None);
        }
        assert!(!remove_published(&storage, path()).unwrap());
    }

    #[test]
    fn removing_again_after_any_crash_is_for_good() {
        let check = |image: &MemStorage, case: &str| {
            assert!(read(image).is_none_or(|found| found == OLD), "{case}");
            remove_published(image, path()).unwrap();
            assert_eq!(read(&image.crash_image(&CrashModel::DropAll, 0)), None, "{case}");
        };
        for_each_crash(true, |storage| remove_published(storage, path()).map(drop), check);
    }

    #[test]
    fn a_file_that_is_too_long_is_damaged() {
        let storage = storage(true);
        let len = OLD.len() as u64;
        assert_eq!(read_file(&storage, path(), len).unwrap().unwrap(), OLD);
        match read_file(&storage, path(), len - 1) {
            Err(Error::Corrupt(corrupt)) => {
                assert_eq!(corrupt.path.as_deref(), Some(path()));
                assert_eq!(corrupt.what, Damage::Length { stored: 15 });
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_missing_file_is_no_error_and_an_unreadable_one_is() {
        let storage = storage(true);
        assert_eq!(read_file(&storage, Path::new("/data/other"), 9).unwrap(), None);
        assert!(matches!(read_file(&storage, Path::new(FOLDER), 9), Err(Error::Io { .. })));
        storage.fail(Fault::nth(0).of_kind(OperationKind::Read));
        assert!(matches!(read_file(&storage, path(), 99), Err(Error::Io { operation: "read", .. })));
    }

    #[test]
    fn publishing_works_on_real_files() {
        let folder = tempfile::tempdir().unwrap();
        let (storage, path) = (OsStorage::new(), folder.path().join("checkpoint"));
        for content in [OLD, b"newer"] {
            publish(&storage, &path, content).unwrap();
            assert_eq!(read_file(&storage, &path, 99).unwrap().unwrap(), content);
        }
        assert!(remove_published(&storage, &path).unwrap());
        assert_eq!(read_file(&storage, &path, 99).unwrap(), None);
    }
}
