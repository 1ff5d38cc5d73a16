//! [D] The exclusive lock of a data folder: one holder per lock file, in this process and among all processes.
//!
//! A process loses its fcntl lock on a file as soon as it closes *any* descriptor of that file. Therefore a registry by
//! (device, inode) is asked, by `stat`, before the lock file is opened: the owner's process never opens it twice.
//! On Linux an flock is taken as well, which a descriptor keeps and which also holds between a process and its forks.
//! A Java broker sees only the fcntl lock. Elsewhere the two kinds may exclude each other within one process, so that
//! only the fcntl lock is taken. Kafka's counterpart: `FileLock`.
//!
//! Lock rank: the registry's mutex is innermost. It is held over a whole take, look or release, which never wait.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::super::{FileIdentity, LockGuard, OpenMode, parent_of};
use super::{identity_of, open_file};
use crate::error::{Error, IoContext, Result};
use crate::sync::{Rank, RankedMutex};

/// The locks that this process holds, and the process that took each: after a fork that is the parent.
///
/// It is process-wide because fcntl locks are: two `OsStorage` values in one process share them.
static HELD: RankedMutex<BTreeMap<FileIdentity, u32>> = RankedMutex::new(Rank::StorageRegistry, BTreeMap::new());

/// A lock that is held.
#[derive(Debug)]
pub(super) struct OsLock {
    path: PathBuf,
    identity: Option<FileIdentity>,
    /// The process that took it; a fork holds a copy of this value, but not the lock.
    pid: u32,
    /// `None` only while the lock is being released.
    file: Option<File>,
}

impl LockGuard for OsLock {
    fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for OsLock {
    fn drop(&mut self) {
        let mut held = HELD.lock();
        // The file is closed before the entry goes, or the next owner's fcntl lock would be lost with it. Closing alone
        // would leave the flock to a child process that was just forked and has not yet closed its copies.
        if let Some(file) = self.file.take()
            && self.pid == std::process::id()
        {
            let _ = file.unlock();
        }
        if let Some(identity) = self.identity {
            held.remove(&identity);
        }
    }
}

/// Takes the lock without waiting. The lock file is created if need be, and stays when the lock is released.
pub(super) fn take(path: &Path) -> Result<OsLock> {
    let already_open = |pid| Error::AlreadyOpen { path: parent_of(path), pid };
    let mut held = HELD.lock();
    if let Some(pid) = holder_here(&held, path).context("examine", path)? {
        return Err(already_open(Some(pid)));
    }
    let file = open_file(path, OpenMode::Create).context("open the lock file", path)?;
    match try_lock(&file).context("lock", path)? {
        Attempt::Held(pid) => return Err(already_open(pid)),
        Attempt::Taken => {}
    }
    let identity = identity_here(&file, path).context("lock", path)?;
    let pid = std::process::id();
    if let Some(identity) = identity {
        held.insert(identity, pid);
    }
    Ok(OsLock { path: path.to_path_buf(), identity, pid, file: Some(file) })
}

/// The process that holds the lock, by the registry or else by the lock itself.
pub(super) fn holder(path: &Path) -> io::Result<Option<u32>> {
    let held = HELD.lock();
    if let Some(pid) = holder_here(&held, path)? {
        return Ok(Some(pid));
    }
    match open_file(path, OpenMode::Read) {
        Ok(file) => holder_elsewhere(&file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

enum Attempt {
    Taken,
    Held(Option<u32>),
}

/// What the registry says, without opening the lock file.
fn holder_here(held: &BTreeMap<FileIdentity, u32>, path: &Path) -> io::Result<Option<u32>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(identity_of(&metadata).ok().and_then(|identity| held.get(&identity).copied())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The identity of the locked file; `None` where files have none. A lock on a file that no longer has the name would
/// exclude nobody.
fn identity_here(file: &File, path: &Path) -> io::Result<Option<FileIdentity>> {
    let Ok(identity) = identity_of(&file.metadata()?) else { return Ok(None) };
    if identity_of(&fs::symlink_metadata(path)?)? == identity {
        Ok(Some(identity))
    } else {
        Err(io::Error::other("the lock file was replaced while it was being locked"))
    }
}

fn try_lock(file: &File) -> io::Result<Attempt> {
    #[cfg(any(target_os = "linux", not(unix)))]
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Ok(Attempt::Held(holder_elsewhere(file)?)),
        Err(fs::TryLockError::Error(error)) => return Err(error),
    }
    #[cfg(unix)]
    {
        use rustix::io::Errno;
        match rustix::fs::fcntl_lock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::AGAIN | Errno::ACCESS) => return Ok(Attempt::Held(holder_elsewhere(file)?)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Attempt::Taken)
}

/// The other process that holds the fcntl lock; `None` when nobody does, or when the system does not tell.
#[cfg(unix)]
fn holder_elsewhere(file: &File) -> io::Result<Option<u32>> {
    use rustix::process::{Flock, FlockType, fcntl_getlk};
    let conflict = fcntl_getlk(file, &Flock::from(FlockType::WriteLock))?;
    Ok(conflict.and_then(|lock| lock.pid).and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok()))
}

#[cfg(not(unix))]
fn holder_elsewhere(_file: &File) -> io::Result<Option<u32>> {
    Ok(None)
}

#[cfg(all(test, unix))]
mod tests {
    use super::super::OsStorage;
    use super::*;
    use crate::storage::Storage;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::process::{Child, ChildStdout, Command, Stdio};

    const STORAGE: OsStorage = OsStorage::new();
    const CHILD_PATH: &str = "LOGSTEAD_TEST_LOCK_PATH";
    const CHILD_KIND: &str = "LOGSTEAD_TEST_LOCK_KIND";

    /// What another process makes of the lock: it tries to take it, reports, and keeps it until its input ends.
    struct Other {
        process: Child,
        report: String,
        /// Kept open, or the other process fails when it prints the rest.
        _output: BufReader<ChildStdout>,
    }

    impl Other {
        fn start(path: &Path) -> Other {
            Other::start_with(path, "both")
        }

        /// A process that takes the fcntl lock alone, as a Java broker does.
        fn start_broker(path: &Path) -> Other {
            Other::start_with(path, "fcntl")
        }

        fn start_with(path: &Path, kind: &str) -> Other {
            let mut process = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "storage::os::lock::tests::in_the_other_process", "--nocapture"])
                .env(CHILD_PATH, path)
                .env(CHILD_KIND, kind)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut output = BufReader::new(process.stdout.take().unwrap());
            let report = output.by_ref().lines().map(Result::unwrap).find_map(|line| {
                let (_, report) = line.split_once("report: ")?;
                Some(report.to_owned())
            });
            Other { process, report: report.unwrap(), _output: output }
        }

        fn pid(&self) -> Option<u32> {
            Some(self.process.id())
        }

        fn end(mut self) -> String {
            drop(self.process.stdin.take());
            assert!(self.process.wait().unwrap().success());
            self.report
        }
    }

    /// Not a test of its own: the body of [`Other`], and empty in an ordinary run.
    #[test]
    fn in_the_other_process() {
        let Some(path) = std::env::var_os(CHILD_PATH).map(PathBuf::from) else { return };
        let before = STORAGE.lock_holder(&path).unwrap();
        if std::env::var(CHILD_KIND).unwrap() == "fcntl" {
            let file = open_file(&path, OpenMode::Create).unwrap();
            rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
            return report_and_wait("taken as a broker does");
        }
        let lock = STORAGE.lock(&path);
        let outcome = match &lock {
            Ok(_) => "taken".to_owned(),
            Err(Error::AlreadyOpen { pid, .. }) => format!("refused for {pid:?}"),
            Err(error) => error.to_string(),
        };
        report_and_wait(&format!("holder {before:?}, {outcome}"));
    }

    fn report_and_wait(report: &str) {
        let mut output = io::stdout().lock();
        writeln!(output, "\nreport: {report}").unwrap();
        output.flush().unwrap();
        io::stdin().read_line(&mut String::new()).unwrap();
    }

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".lock");
        (folder, path)
    }

    fn refused_pid(path: &Path) -> Option<u32> {
        match STORAGE.lock(path) {
            Err(Error::AlreadyOpen { path: refused, pid }) => {
                assert_eq!(refused, parent_of(path));
                pid
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_second_lock_in_the_same_process_is_refused() {
        let (_folder, path) = folder();
        let guard = STORAGE.lock(&path).unwrap();
        assert_eq!(guard.path(), path);
        assert_eq!(refused_pid(&path), Some(std::process::id()));
        assert_eq!(STORAGE.lock_holder(&path).unwrap(), Some(std::process::id()));
    }

    #[test]
    fn a_second_lock_through_a_linked_folder_is_refused() {
        let (folder, path) = folder();
        let other = tempfile::tempdir().unwrap();
        let alias = other.path().join("alias");
        std::os::unix::fs::symlink(folder.path(), &alias).unwrap();
        let _guard = STORAGE.lock(&path).unwrap();
        assert_eq!(refused_pid(&alias.join(".lock")), Some(std::process::id()));
    }

    #[test]
    fn the_lock_is_free_after_drop_and_its_file_stays() {
        let (_folder, path) = folder();
        drop(STORAGE.lock(&path).unwrap());
        assert_eq!(STORAGE.lock_holder(&path).unwrap(), None);
        assert!(path.exists());
        drop(STORAGE.lock(&path).unwrap());
    }

    #[test]
    fn asking_for_the_holder_of_a_missing_lock_file_creates_nothing() {
        let (_folder, path) = folder();
        assert_eq!(STORAGE.lock_holder(&path).unwrap(), None);
        assert!(!path.exists());
    }

    #[test]
    fn a_linked_lock_file_is_refused() {
        let (folder, path) = folder();
        fs::write(folder.path().join("target"), b"").unwrap();
        std::os::unix::fs::symlink(folder.path().join("target"), &path).unwrap();
        assert!(matches!(STORAGE.lock(&path), Err(Error::Io { .. })));
    }

    #[test]
    fn another_process_keeps_the_lock_until_it_ends() {
        let (_folder, path) = folder();
        let other = Other::start(&path);
        assert_eq!(other.report, "holder None, taken");
        assert_eq!(refused_pid(&path), other.pid());
        assert_eq!(STORAGE.lock_holder(&path).unwrap(), other.pid());
        other.end();
        drop(STORAGE.lock(&path).unwrap());
    }

    #[test]
    fn a_holder_of_the_fcntl_lock_alone_is_respected_and_named() {
        let (_folder, path) = folder();
        let broker = Other::start_broker(&path);
        assert_eq!(refused_pid(&path), broker.pid());
        assert_eq!(STORAGE.lock_holder(&path).unwrap(), broker.pid());
        broker.end();
        drop(STORAGE.lock(&path).unwrap());
    }

    #[test]
    fn the_lock_of_a_killed_process_is_free() {
        let (_folder, path) = folder();
        let mut other = Other::start(&path);
        other.process.kill().unwrap();
        other.process.wait().unwrap();
        assert_eq!(STORAGE.lock_holder(&path).unwrap(), None);
        drop(STORAGE.lock(&path).unwrap());
    }

    #[test]
    fn a_refused_second_lock_does_not_cost_the_first_one_its_lock() {
        let (_folder, path) = folder();
        let _guard = STORAGE.lock(&path).unwrap();
        refused_pid(&path);
        STORAGE.lock_holder(&path).unwrap();
        let own = Some(std::process::id());
        assert_eq!(Other::start(&path).end(), format!("holder {own:?}, refused for {own:?}"));
    }

    #[test]
    fn of_many_threads_one_takes_the_lock() {
        let (_folder, path) = folder();
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let path = path.clone();
                std::thread::spawn(move || STORAGE.lock(&path).ok())
            })
            .collect();
        let guards: Vec<_> = threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(guards.len(), 1);
    }
}
