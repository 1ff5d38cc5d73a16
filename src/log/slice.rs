//! [D] Bytes handed to readers: refcounted, whole batches, valid after their segment is gone.
//!
//! A read copies from the page cache into a pooled buffer once; nothing is copied after that. The buffer returns to its
//! pool when the last slice of it is dropped. Lock rank: `BufferPool`.

use std::fmt;
use std::sync::{Arc, Weak};

use crate::error::Result;
use crate::record::{BatchHeader, RecordBatch};
use crate::storage::FrozenBytes;
use crate::sync::{Rank, RankedMutex};
use crate::types::Offset;

/// Whole record batches, read in one go, and where the log stood at that moment.
///
/// Cheap to clone. The checksums of its batches were verified when they were read.
#[derive(Clone)]
pub struct LogSlice {
    bytes: SliceBytes,
    start: usize,
    end: usize,
    position: SlicePosition,
}

/// Where a slice stands in its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlicePosition {
    /// The offset that was asked for; the first batch may start before it.
    pub fetch_offset: Offset,
    /// The offset to ask for next.
    pub next_offset: Offset,
    /// Base offset of the segment that the bytes come from.
    pub segment_base: Offset,
    /// Where in that segment's `.log` the bytes end.
    pub end_position: u64,
    /// The log start offset at the time of the read.
    pub log_start: Offset,
    /// The high watermark at the time of the read.
    pub high_watermark: Offset,
    /// The last stable offset at the time of the read.
    pub last_stable_offset: Offset,
    /// The log end offset at the time of the read.
    pub log_end: Offset,
}

#[derive(Clone)]
pub(crate) enum SliceBytes {
    Buffer(Arc<PooledBuffer>),
    Frozen(FrozenBytes),
}

impl LogSlice {
    pub(crate) fn new(bytes: SliceBytes, start: usize, end: usize, position: SlicePosition) -> LogSlice {
        LogSlice { bytes, start, end, position }
    }

    /// A slice of no bytes.
    pub(crate) fn empty(position: SlicePosition) -> LogSlice {
        LogSlice { bytes: SliceBytes::Frozen(FrozenBytes::from(Vec::new())), start: 0, end: 0, position }
    }

    /// Where the slice ends, without its bytes: enough to read on from.
    pub(crate) fn without_bytes(&self) -> LogSlice {
        LogSlice::empty(self.position)
    }

    /// Bytes of memory that stay in use as long as the slice does: of a buffer all that it has room for. What is mapped is
    /// counted by what the slice shows of it, since the operating system may take the pages back.
    pub(crate) fn pinned_bytes(&self) -> usize {
        match &self.bytes {
            SliceBytes::Buffer(buffer) => buffer.bytes.capacity(),
            SliceBytes::Frozen(_) => self.len(),
        }
    }

    /// The batches' bytes, as they stand in the segment.
    pub fn as_bytes(&self) -> &[u8] {
        let all = match &self.bytes {
            SliceBytes::Buffer(buffer) => buffer.as_slice(),
            SliceBytes::Frozen(frozen) => frozen,
        };
        all.get(self.start..self.end).unwrap_or_default()
    }

    /// Bytes in the slice.
    pub fn len(&self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// Whether nothing was there to read.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the slice stands in its log.
    pub fn position(&self) -> &SlicePosition {
        &self.position
    }

    /// The offset to ask for next.
    pub fn next_offset(&self) -> Offset {
        self.position.next_offset
    }

    /// The headers of its batches: cheap, no record is looked at.
    pub fn headers(&self) -> impl Iterator<Item = Result<BatchHeader>> + '_ {
        let mut rest = self.as_bytes();
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let header = BatchHeader::parse(rest);
            rest = header.as_ref().ok().and_then(|header| rest.get(header.size_in_bytes()..)).unwrap_or_default();
            Some(header)
        })
    }

    /// Its batches, each with one structural pass over its records, which are decompressed if need be.
    ///
    /// The first batch may begin before the offset that was asked for: skip records below
    /// [`fetch_offset`](SlicePosition::fetch_offset).
    pub fn batches(&self) -> impl Iterator<Item = Result<RecordBatch<'_>>> {
        let mut rest = self.as_bytes();
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let batch = RecordBatch::from_checked_bytes(rest);
            rest = batch.as_ref().ok().and_then(|batch| rest.get(batch.bytes().len()..)).unwrap_or_default();
            Some(batch)
        })
    }
}

impl fmt::Debug for LogSlice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogSlice").field("len", &self.len()).field("position", &self.position).finish_non_exhaustive()
    }
}

/// Reusable read buffers. Taking one neither clears nor allocates it as long as large enough ones come back.
#[derive(Debug)]
pub(crate) struct BufferPool {
    free: RankedMutex<Vec<Vec<u8>>>,
    buffers_max: usize,
}

/// No buffer above this size is kept for reuse.
const POOLED_BYTES_MAX: usize = 4 << 20;

impl BufferPool {
    /// A pool that keeps up to `buffers_max` buffers.
    pub(crate) fn new(buffers_max: usize) -> Arc<BufferPool> {
        Arc::new(BufferPool { free: RankedMutex::new(Rank::BufferPool, Vec::new()), buffers_max })
    }

    /// A buffer of exactly `len` bytes of unspecified content.
    pub(crate) fn take(self: &Arc<Self>, len: usize) -> PooledBuffer {
        let mut bytes = self.free.lock().pop().unwrap_or_default();
        if bytes.len() < len {
            bytes.resize(len, 0);
        }
        PooledBuffer { bytes, len, pool: Arc::downgrade(self) }
    }
}

/// A buffer that goes back to its pool when it is dropped.
pub(crate) struct PooledBuffer {
    bytes: Vec<u8>,
    len: usize,
    pool: Weak<BufferPool>,
}

impl PooledBuffer {
    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.len).unwrap_or_default()
    }

    /// Keeps the first `len` bytes and makes room for more, up to `new_len`.
    pub(crate) fn grow(&mut self, new_len: usize) {
        if self.bytes.len() < new_len {
            self.bytes.resize(new_len, 0);
        }
        self.len = new_len;
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        let Some(pool) = self.pool.upgrade() else { return };
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.len() > POOLED_BYTES_MAX {
            return;
        }
        let mut free = pool.free.lock();
        if free.len() < pool.buffers_max {
            free.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_when_the_last_reader_lets_go() {
        let pool = BufferPool::new(1);
        let first = pool.take(100);
        let address = first.as_slice().as_ptr();
        drop(first);
        assert_eq!(pool.take(50).as_slice().as_ptr(), address);
        assert_eq!(pool.take(50).as_slice().len(), 50);
        drop((pool.take(10), pool.take(10)));
        assert_eq!(pool.free.lock().len(), 1);
    }

    #[test]
    fn giant_buffers_are_not_kept() {
        let pool = BufferPool::new(4);
        drop(pool.take(POOLED_BYTES_MAX + 1));
        assert!(pool.free.lock().is_empty());
    }
}
