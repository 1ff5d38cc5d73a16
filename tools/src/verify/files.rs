//! Reading files without changing anything, and saying so when that fails.
//!
//! A file that is gone when it is opened was removed by an owner at work: that is a note.

use std::io;
use std::path::Path;
use std::sync::Arc;

use logstead::Error;
use logstead::storage::{DirEntry, OpenMode, OsStorage, Storage, StorageFile};

use super::report::{Findings, Spot};

/// No file but a `.log` or a `.cut` is larger: Kafka counts the bytes of an index in 31 bits.
const WHOLE_FILE_BYTES_MAX: u64 = (1 << 31) - 1;

/// An open file and its length.
pub(crate) struct Opened {
    pub(crate) file: Arc<dyn StorageFile>,
    pub(crate) len: u64,
}

/// The entries of a folder, sorted by name; `None` when it cannot be listed.
pub(crate) fn list(findings: &mut Findings, folder: &Path) -> Option<Vec<DirEntry>> {
    match OsStorage::new().list(folder) {
        Ok(mut entries) => {
            entries.sort();
            Some(entries)
        }
        Err(error) => {
            complain(findings, folder, "list", &error);
            None
        }
    }
}

/// Opens a file for reading; counts it.
pub(crate) fn open(findings: &mut Findings, path: &Path) -> Option<Opened> {
    let opened = OsStorage::new().open(path, OpenMode::Read).and_then(|file| Ok(Opened { len: file.len()?, file }));
    match opened {
        Ok(opened) => {
            findings.tally.files += 1;
            findings.tally.bytes += opened.len;
            Some(opened)
        }
        Err(error) => {
            complain(findings, path, "open", &error);
            None
        }
    }
}

/// All bytes of a file that is not a log; counts it.
pub(crate) fn read(findings: &mut Findings, path: &Path) -> Option<Vec<u8>> {
    let Opened { file, len } = open(findings, path)?;
    let mut bytes = Vec::new();
    let size = usize::try_from(len).ok().filter(|_| len <= WHOLE_FILE_BYTES_MAX);
    let Some(size) = size.filter(|size| bytes.try_reserve_exact(*size).is_ok()) else {
        findings.damage("length", Spot::of(path), format!("{len} bytes are too many for such a file"));
        return None;
    };
    bytes.resize(size, 0);
    match file.read_full_at(0, &mut bytes) {
        Ok(read) => {
            // The file may have been shortened meanwhile.
            bytes.truncate(read);
            Some(bytes)
        }
        Err(error) => {
            complain(findings, path, "read", &error);
            None
        }
    }
}

/// Says that the operating system refused.
pub(crate) fn complain(findings: &mut Findings, path: &Path, operation: &str, error: &io::Error) {
    match error.kind() {
        io::ErrorKind::NotFound => {
            findings.note("vanished", Spot::of(path), "it was removed between listing and opening");
        }
        _ => findings.damage("unreadable", Spot::of(path), format!("cannot {operation} it: {error}")),
    }
}

/// Position and text of what the library says of a whole file.
pub(crate) fn position_and_text(error: &Error) -> (u64, String) {
    match error {
        Error::Corrupt(corrupt) => (corrupt.position, corrupt.what.to_string()),
        other => (0, other.to_string()),
    }
}

/// Reports what the library refused in a whole file.
pub(crate) fn damaged(findings: &mut Findings, kind: &'static str, path: &Path, error: &Error) {
    let (position, what) = position_and_text(error);
    findings.damage(kind, Spot::at(path, position), what);
}
