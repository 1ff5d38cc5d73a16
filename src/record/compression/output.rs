//! [P] Where a codec writes to: the end of a vector, up to a limit.
//!
//! A codec asks for a chunk, fills a part of it and says how much. Chunks are zeroed before a codec sees them; what it left
//! unused stays zeroed and is given out again, so that each byte is zeroed once however small the steps are. Contents that
//! are to be replaced are not zeroed again: they are gone over, and what is left of them is cut off.

use crate::error::{Error, Result};
use crate::record::Compression;

/// Appends to a vector.
#[derive(Debug)]
pub(super) struct Output<'a> {
    codec: Compression,
    bytes: &'a mut Vec<u8>,
    /// Where the vector ended before.
    start: usize,
    /// Where what the codec wrote ends; the vector itself may be longer.
    end: usize,
    limit: usize,
}

impl<'a> Output<'a> {
    /// Takes up to `limit` bytes behind those that the vector has.
    pub(super) fn new(codec: Compression, bytes: &'a mut Vec<u8>, limit: usize) -> Output<'a> {
        let start = bytes.len();
        Output { codec, bytes, start, end: start, limit }
    }

    /// Takes up to `limit` bytes in place of those that the vector has.
    pub(super) fn replacing(codec: Compression, bytes: &'a mut Vec<u8>, limit: usize) -> Output<'a> {
        Output { codec, bytes, start: 0, end: 0, limit }
    }

    /// How many bytes were written.
    pub(super) const fn written(&self) -> usize {
        self.end - self.start
    }

    /// How many bytes may still be written.
    pub(super) const fn room(&self) -> usize {
        self.limit - self.written()
    }

    /// The next `wanted` bytes to write to, or fewer where the limit is nearer.
    pub(super) fn chunk(&mut self, wanted: usize) -> &mut [u8] {
        let end = self.end.saturating_add(wanted.min(self.room()));
        if end > self.bytes.len() {
            // Doubling, as `Vec` does, but never beyond the limit.
            let most = self.start.saturating_add(self.limit);
            if end > self.bytes.capacity() {
                let capacity = self.bytes.capacity().saturating_mul(2).min(most).max(end);
                self.bytes.reserve_exact(capacity - self.bytes.len());
            }
            self.bytes.resize(end, 0);
        }
        self.bytes.get_mut(self.end..end).unwrap_or_default()
    }

    /// Takes note that the first `count` bytes of the last chunk were written, and returns them.
    pub(super) fn wrote(&mut self, count: usize) -> &[u8] {
        let from = self.end;
        self.end = (from + count).min(self.bytes.len());
        self.bytes.get(from..self.end).unwrap_or_default()
    }

    /// Writes `bytes`.
    ///
    /// # Errors
    /// [`Error::DecompressedTooLarge`] when they do not fit.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.len() > self.room() {
            return Err(self.too_large());
        }
        self.chunk(bytes.len()).copy_from_slice(bytes);
        self.wrote(bytes.len());
        Ok(())
    }

    /// What the codec wrote so far.
    #[cfg(all(feature = "zstd-read", any(test, not(feature = "zstd"))))]
    pub(super) fn written_from(&self, from: usize) -> &[u8] {
        self.bytes.get(self.start + from..self.end).unwrap_or_default()
    }

    /// More would come out than may.
    #[cold]
    pub(super) fn too_large(&self) -> Error {
        Error::DecompressedTooLarge { codec: self.codec.as_str(), max: self.limit as u64 }
    }

    /// Leaves the vector with what was written, or with what it was to keep when the codec failed.
    pub(super) fn finish(self, result: Result<()>) -> Result<()> {
        self.bytes.truncate(if result.is_ok() { self.end } else { self.start });
        result
    }
}
