//! [P] A file of `MemStorage`: the bytes that the process sees, the durable bytes, and the changes in between.
//!
//! Invariants kept here: `live` is what a process reads; `durable` is what a power cut leaves at least; each change of
//! `live` since the last sync is in `pending`, in order.

use std::sync::{Arc, Weak};

use crate::storage::SyncMode;
use crate::types::Timestamp;

/// The largest file, in bytes: as long as Kafka's largest segment.
pub(super) const FILE_BYTES_MAX: u64 = 0x7fff_ffff;

#[derive(Debug, Clone)]
pub(super) struct FileNode {
    pub(super) live: Vec<u8>,
    pub(super) durable: Vec<u8>,
    pub(super) pending: Vec<Change>,
    pub(super) modified: Timestamp,
    pub(super) modified_durable: Timestamp,
    /// The views that were handed out; dead ones are swept when a new one is made.
    pub(super) frozen: Vec<Weak<[u8]>>,
    /// Each open handle holds a clone.
    pub(super) handles: Arc<()>,
}

/// A change that is not durable yet.
#[derive(Debug, Clone)]
pub(super) struct Change {
    /// Its place in the order of all changes of the storage, folders included.
    #[cfg_attr(not(any(test, feature = "testkit")), allow(dead_code, reason = "read by crash images only"))]
    pub(super) sequence: u64,
    /// A sync of it failed: the system forgot that it has to be written, and later syncs leave it out.
    pub(super) in_doubt: bool,
    pub(super) edit: Edit,
}

#[derive(Debug, Clone)]
pub(super) enum Edit {
    Write { position: usize, bytes: Vec<u8> },
    SetLen(usize),
}

impl Edit {
    /// The length of a file of `len` bytes after this edit.
    pub(super) fn len_after(&self, len: usize) -> usize {
        match self {
            Edit::Write { position, bytes } => len.max(position.saturating_add(bytes.len())),
            Edit::SetLen(len) => *len,
        }
    }

    /// Makes the edit.
    pub(super) fn apply(&self, content: &mut Vec<u8>) {
        content.resize(self.len_after(content.len()), 0);
        if let Edit::Write { position, bytes } = self
            && let Some(range) = content.get_mut(*position..).and_then(|rest| rest.get_mut(..bytes.len()))
        {
            range.copy_from_slice(bytes);
        }
    }
}

impl FileNode {
    pub(super) fn new(modified: Timestamp) -> FileNode {
        FileNode {
            live: Vec::new(),
            durable: Vec::new(),
            pending: Vec::new(),
            modified,
            modified_durable: modified,
            frozen: Vec::new(),
            handles: Arc::new(()),
        }
    }

    /// Makes an edit that the next sync makes durable.
    pub(super) fn edit(&mut self, sequence: u64, modified: Timestamp, edit: Edit) {
        edit.apply(&mut self.live);
        self.modified = modified;
        self.pending.push(Change { sequence, in_doubt: false, edit });
    }

    /// Copies from `position` on; returns how many bytes there were.
    pub(super) fn read(&self, position: u64, buffer: &mut [u8]) -> usize {
        let rest = usize::try_from(position).ok().and_then(|position| self.live.get(position..)).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(target), Some(source)) = (buffer.get_mut(..count), rest.get(..count)) {
            target.copy_from_slice(source);
        }
        count
    }

    /// Everything that is pending becomes durable, except what an earlier sync failed on.
    /// A modification time that was set by hand is metadata, which only a full sync covers.
    pub(super) fn sync(&mut self, mode: SyncMode) {
        for change in self.pending.drain(..).filter(|change| !change.in_doubt) {
            change.edit.apply(&mut self.durable);
        }
        if mode == SyncMode::All {
            self.modified_durable = self.modified;
        }
    }

    /// A sync failed: the live bytes stay, and no later sync makes them durable.
    pub(super) fn fail_sync(&mut self) {
        for change in &mut self.pending {
            change.in_doubt = true;
        }
    }

    /// A view of the bytes as they are now.
    pub(super) fn freeze(&mut self) -> Arc<[u8]> {
        let view: Arc<[u8]> = Arc::from(self.live.as_slice());
        self.frozen.retain(|view| view.strong_count() > 0);
        self.frozen.push(Arc::downgrade(&view));
        view
    }

    /// The length of the longest view that still exists.
    pub(super) fn frozen_len(&self) -> Option<usize> {
        self.frozen.iter().filter_map(Weak::upgrade).map(|view| view.len()).max()
    }

    pub(super) fn is_open(&self) -> bool {
        Arc::strong_count(&self.handles) > 1
    }
}
