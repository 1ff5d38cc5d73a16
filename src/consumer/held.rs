//! [S] Fetched and decompressed bytes, counted for as long as somebody holds them.
//!
//! Invariants: bytes are counted once, from their fetch or decompression until the last record of them is dropped, whoever
//! holds that; memory that held decompressed records is used again, so that reading on allocates nothing for a batch. Lock
//! rank: `BufferPool`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::log::LogSlice;
use crate::record::{BatchHeader, Decompressor, unpack_into};
use crate::sync::{Rank, RankedMutex};

/// Memory for decompressed records that is kept for later: so many bytes, in so many pieces. A poll with the default limits
/// seldom spans more.
const FREE_BYTES_MAX: usize = 8 << 20;
const FREE_MAX: usize = 1_024;

/// The memory that one consumer's records keep, and how much they may.
#[derive(Debug, Clone)]
pub(super) struct Pinned {
    shared: Arc<Shared>,
    bytes_max: u64,
    /// What the records of one batch may take, decompressed.
    decompressed_bytes_max: usize,
}

#[derive(Debug)]
struct Shared {
    // A limit that is looked at now and then and orders nothing, hence `Relaxed`.
    bytes: AtomicU64,
    free: RankedMutex<Free>,
}

/// What nobody holds. None of it counts, nor leads back to here.
#[derive(Debug, Default)]
struct Free {
    areas: Vec<Arc<Held>>,
    bytes: usize,
    /// With what the codecs keep from one batch to the next.
    decompressor: Decompressor,
}

impl Pinned {
    pub(super) fn new(bytes_max: u64, decompressed_bytes_max: usize) -> Pinned {
        let free = RankedMutex::new(Rank::BufferPool, Free::default());
        let shared = Arc::new(Shared { bytes: AtomicU64::new(0), free });
        Pinned { shared, bytes_max, decompressed_bytes_max }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Whether more may be fetched or decompressed for somebody who holds `own` bytes. Those do not count, so that whoever
    /// is alone gets on, however low the limit is.
    pub(super) fn has_room_beside(&self, own: u64) -> bool {
        self.bytes().saturating_sub(own) < self.bytes_max
    }

    /// Counts a slice for as long as a share of it lives.
    pub(super) fn hold(&self, slice: LogSlice) -> Share {
        let mut held = Held { bytes: HeldBytes::Slice(slice), counted: None };
        held.count(&self.shared);
        Share(Some(Arc::new(held)))
    }

    /// Decompresses the records of the batch at the front of `bytes`, and counts them for as long as a share of them lives.
    /// Returns the header that they are read with.
    ///
    /// # Errors
    /// Those of [`unpack_into`].
    pub(super) fn unpack(&self, header: &BatchHeader, bytes: &[u8]) -> Result<(Share, BatchHeader)> {
        let (mut area, mut decompressor) = self.shared.take_free();
        let held = Arc::get_mut(&mut area).ok_or(Error::Internal { invariant: "nobody holds free memory" })?;
        let HeldBytes::Unpacked(records) = &mut held.bytes else {
            return Err(Error::Internal { invariant: "free memory is not that of a slice" });
        };
        let header = unpack_into(&mut decompressor, header, bytes, self.decompressed_bytes_max, records)?;
        self.shared.free.lock().decompressor = decompressor;
        held.count(&self.shared);
        Ok((Share(Some(area)), header))
    }
}

impl Shared {
    fn take_free(&self) -> (Arc<Held>, Decompressor) {
        let mut free = self.free.lock();
        let decompressor = std::mem::take(&mut free.decompressor);
        let Some(area) = free.areas.pop() else {
            return (Arc::new(Held { bytes: HeldBytes::Unpacked(Vec::new()), counted: None }), decompressor);
        };
        free.bytes = free.bytes.saturating_sub(area.size());
        (area, decompressor)
    }

    /// Keeps memory that nobody holds any more, unless there is enough.
    fn put_free(&self, area: Arc<Held>) {
        let mut free = self.free.lock();
        let bytes = free.bytes.saturating_add(area.size());
        if bytes <= FREE_BYTES_MAX && free.areas.len() < FREE_MAX {
            free.bytes = bytes;
            free.areas.push(area);
        }
    }
}

/// Bytes that are counted while somebody holds them.
#[derive(Debug)]
struct Held {
    bytes: HeldBytes,
    /// How much of whose memory it is; none while it is free.
    counted: Option<(u64, Arc<Shared>)>,
}

#[derive(Debug)]
enum HeldBytes {
    Slice(LogSlice),
    /// The records of one batch, decompressed.
    Unpacked(Vec<u8>),
}

impl Held {
    /// The memory that it keeps.
    fn size(&self) -> usize {
        match &self.bytes {
            HeldBytes::Slice(slice) => slice.pinned_bytes(),
            HeldBytes::Unpacked(records) => records.capacity(),
        }
    }

    fn count(&mut self, shared: &Arc<Shared>) {
        let bytes = self.size() as u64;
        shared.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.counted = Some((bytes, Arc::clone(shared)));
    }

    fn uncount(&mut self) -> Option<Arc<Shared>> {
        let (bytes, shared) = self.counted.take()?;
        shared.bytes.fetch_sub(bytes, Ordering::Relaxed);
        Some(shared)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.uncount();
    }
}

/// One of those who hold the same bytes.
#[derive(Debug, Clone)]
// Empty only while it is dropped.
pub(super) struct Share(Option<Arc<Held>>);

impl Share {
    /// A range of the bytes; none where it has none.
    pub(super) fn bytes(&self, start: usize, end: usize) -> &[u8] {
        self.all().get(start..end).unwrap_or_default()
    }

    /// How many bytes there are.
    pub(super) fn len(&self) -> usize {
        self.all().len()
    }

    fn all(&self) -> &[u8] {
        match self.0.as_deref().map(|held| &held.bytes) {
            Some(HeldBytes::Slice(slice)) => slice.as_bytes(),
            Some(HeldBytes::Unpacked(records)) => records,
            None => &[],
        }
    }

    /// What it is counted as.
    pub(super) fn counted(&self) -> u64 {
        self.0.as_deref().and_then(|held| held.counted.as_ref()).map_or(0, |(bytes, _)| *bytes)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some(mut held) = self.0.take_if(|held| matches!(held.bytes, HeldBytes::Unpacked(_))) else { return };
        // Of two that are dropped at once neither may be the last: then the memory goes, which is no more than a pity.
        if let Some(shared) = Arc::get_mut(&mut held).and_then(Held::uncount) {
            shared.put_free(held);
        }
    }
}
