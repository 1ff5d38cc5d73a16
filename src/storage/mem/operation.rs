//! [P] What a call on `MemStorage` is, so that it can be recorded and made to fail.

use std::io;
use std::path::Path;

/// The kinds of calls that change a [`MemStorage`](super::MemStorage), and reads, which can fail too.
#[cfg_attr(not(any(test, feature = "testkit")), allow(unreachable_pub, reason = "public with the test kit only"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum OperationKind {
    /// A file was created by opening it.
    Create,
    /// Bytes were written.
    Write,
    /// A file was shortened or extended.
    SetLen,
    /// A modification time was set.
    SetModified,
    /// Space was to be reserved.
    Preallocate,
    /// A file was synced.
    Sync,
    /// A folder was created.
    CreateDir,
    /// A folder was removed.
    RemoveDir,
    /// A name was changed; the operation's path is the new one.
    Rename,
    /// A file's name was removed.
    Remove,
    /// A folder was synced.
    SyncDir,
    /// Bytes were read. Changes nothing: it is not recorded, and fails only by a fault of this very kind.
    Read,
}

/// A call that is about to take effect.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(any(test, feature = "testkit")), allow(dead_code, reason = "read by the test kit only"))]
pub(super) struct Call<'a> {
    pub(super) kind: OperationKind,
    pub(super) path: &'a Path,
    pub(super) position: u64,
    pub(super) len: u64,
}

impl<'a> Call<'a> {
    /// A call that concerns a name, or a file as a whole.
    pub(super) fn whole(kind: OperationKind, path: &'a Path) -> Call<'a> {
        Call { kind, path, position: 0, len: 0 }
    }
}

/// What becomes of a call: whether it takes effect, and what the caller hears.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) applies: bool,
    pub(super) error: Option<io::Error>,
}

impl Verdict {
    pub(super) const PASS: Verdict = Verdict { applies: true, error: None };
}
