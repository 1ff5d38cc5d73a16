//! [D] Immutable bytes that readers share: a read-only map of a frozen file, or memory. The only unsafe code here.
//!
//! Invariants kept here: a map never reaches past the end that the file had when it was made, is never writable, and
//! lives until its last clone is gone. That nobody shortens the file meanwhile is the duty of the engine
//! ([`StorageFile::freeze`](super::StorageFile::freeze)). Kafka's counterpart: the mapped buffers of `AbstractIndex`
//! and the file regions of `FileRecords`.
#![allow(unsafe_code, reason = "mapping a file cannot be expressed in safe Rust; every block states why it is sound")]

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use memmap2::{Mmap, MmapOptions};

/// Bytes that never change, shared by reference count: cloning is cheap and copies nothing.
///
/// Made by [`StorageFile::freeze`](super::StorageFile::freeze), or from memory.
///
/// ```
/// use logstead::storage::FrozenBytes;
/// let bytes = FrozenBytes::from(b"sealed".to_vec());
/// assert_eq!(&bytes[..3], b"sea");
/// assert!(!bytes.is_shared());
/// let reader = bytes.clone();
/// assert!(bytes.is_shared());
/// drop(reader);
/// assert!(!bytes.is_shared());
/// ```
#[derive(Clone)]
pub struct FrozenBytes(Source);

#[derive(Clone)]
enum Source {
    Mapped(Arc<Mmap>),
    Memory(Arc<[u8]>),
}

impl FrozenBytes {
    /// Maps the first `len` bytes of a file; nothing is mapped for a length of 0.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file is shorter than `len`: pages behind its end would raise SIGBUS when touched.
    pub(crate) fn map(file: &File, len: u64) -> io::Result<FrozenBytes> {
        if len > file.metadata()?.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if len == 0 {
            return Ok(FrozenBytes::from(Vec::new()));
        }
        let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let mut options = MmapOptions::new();
        options.len(len);
        // SAFETY: a map hands out `&[u8]`, so its bytes must not change and its pages must not go away while it lives.
        // Within the engine the contract of `StorageFile::freeze` guarantees both: a frozen file is neither written nor
        // shortened until the last view is dropped, and replacing or removing its name leaves the mapped inode alone.
        // The exclusive lock of the data folder keeps other instances of the engine out. Somebody else who edits the
        // file against that lock is outside the model: this is the stated price of mapped reads, and why positioned
        // reads are the default. The length was checked against the file just above.
        let map = unsafe { options.map(file) }?;
        Ok(FrozenBytes(Source::Mapped(Arc::new(map))))
    }

    /// Whether another clone exists. While this returns `false`, the caller holds the only one.
    pub fn is_shared(&self) -> bool {
        let count = match &self.0 {
            Source::Mapped(map) => Arc::strong_count(map),
            Source::Memory(memory) => Arc::strong_count(memory),
        };
        // The count is read without ordering, and a clone gives up its share with release order. The fence pairs with
        // that: what the last other reader did with the bytes happens before what the caller does to the file next.
        fence(Ordering::Acquire);
        count > 1
    }
}

impl Deref for FrozenBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Source::Mapped(map) => map,
            Source::Memory(memory) => memory,
        }
    }
}

impl AsRef<[u8]> for FrozenBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Vec<u8>> for FrozenBytes {
    fn from(bytes: Vec<u8>) -> FrozenBytes {
        FrozenBytes(Source::Memory(Arc::from(bytes)))
    }
}

impl From<Arc<[u8]>> for FrozenBytes {
    fn from(bytes: Arc<[u8]>) -> FrozenBytes {
        FrozenBytes(Source::Memory(bytes))
    }
}

impl fmt::Debug for FrozenBytes {
    /// The size and the kind; never the content, which may be a gigabyte of somebody's records.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Source::Mapped(_) => "mapped",
            Source::Memory(_) => "in memory",
        };
        write!(f, "FrozenBytes({} bytes, {kind})", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file_with(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn a_map_shows_the_mapped_prefix() {
        let bytes = FrozenBytes::map(&file_with(b"0123456789"), 4).unwrap();
        assert_eq!(&bytes[..], b"0123");
        assert_eq!(bytes.as_ref().len(), 4);
    }

    #[test]
    fn a_map_outlives_the_file_handle_and_its_first_owner() {
        let bytes = FrozenBytes::map(&file_with(b"abc"), 3).unwrap();
        let reader = bytes.clone();
        drop(bytes);
        let seen = std::thread::spawn(move || reader.to_vec()).join().unwrap();
        assert_eq!(seen, b"abc");
    }

    #[test]
    fn an_empty_file_needs_no_map() {
        let bytes = FrozenBytes::map(&file_with(b""), 0).unwrap();
        assert!(bytes.is_empty());
        assert_eq!(format!("{bytes:?}"), "FrozenBytes(0 bytes, in memory)");
    }

    #[test]
    fn a_map_past_the_end_of_the_file_is_refused() {
        for len in [4, u64::MAX] {
            let error = FrozenBytes::map(&file_with(b"abc"), len).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn sharing_is_seen_for_maps_and_for_memory() {
        let shared: Arc<[u8]> = Arc::from(&b"abc"[..]);
        for bytes in [FrozenBytes::map(&file_with(b"abc"), 3).unwrap(), FrozenBytes::from(shared)] {
            assert!(!bytes.is_shared(), "{bytes:?}");
            let reader = bytes.clone();
            assert!(bytes.is_shared() && reader.is_shared(), "{bytes:?}");
            drop(reader);
            assert!(!bytes.is_shared(), "{bytes:?}");
        }
    }
}
