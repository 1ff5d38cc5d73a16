//! [P] Fetched bytes, counted for as long as somebody holds them.
//!
//! Invariant: a slice is counted once, from its fetch until the last record of it is dropped, whoever holds that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::log::LogSlice;

/// The memory that one consumer's slices keep.
#[derive(Debug, Clone, Default)]
pub(super) struct Pinned {
    // A limit that is looked at now and then and orders nothing, hence `Relaxed`.
    bytes: Arc<AtomicU64>,
}

impl Pinned {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Counts a slice for as long as the result lives.
    pub(super) fn hold(&self, slice: LogSlice) -> Arc<Held> {
        let bytes = slice.pinned_bytes() as u64;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Arc::new(Held { slice, bytes, pinned: self.clone() })
    }
}

/// A slice that is counted.
#[derive(Debug)]
pub(super) struct Held {
    slice: LogSlice,
    bytes: u64,
    pinned: Pinned,
}

impl Held {
    pub(super) fn slice(&self) -> &LogSlice {
        &self.slice
    }

    /// Bytes of the slice; none where it has none.
    pub(super) fn bytes(&self, start: usize, end: usize) -> &[u8] {
        self.slice.as_bytes().get(start..end).unwrap_or_default()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.pinned.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
