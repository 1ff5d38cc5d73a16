//! The files to dump: what they are by their names, and reading them without changing anything.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use logstead::log::{MANIFEST_FILE, SegmentFile, WITNESS_FILE};
use logstead::storage::{OpenMode, OsStorage, Storage, StorageFile};
use logstead::types::Offset;

use super::trouble::Trouble;

/// No file but a `.log` or a `.cut` is larger: Kafka counts the bytes of an index in 31 bits.
const WHOLE_FILE_BYTES_MAX: u64 = (1 << 31) - 1;

/// A file named on the command line.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    pub(crate) path: PathBuf,
    pub(crate) kind: FileKind,
}

/// What a file is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// One of the files that are named by an offset.
    Segment(SegmentFile, Offset),
    EpochCheckpoint,
    OffsetCheckpoint,
    PartitionMetadata,
    MetaProperties,
    CleanShutdown,
    Witness,
    Manifest,
}

impl Input {
    /// Looks at the name only; whether the file exists shows when it is opened.
    ///
    /// # Errors
    /// The text for the user when the name is none that can be dumped.
    pub(crate) fn new(path: PathBuf) -> Result<Input, String> {
        let kind = path.file_name().and_then(OsStr::to_str).and_then(FileKind::of_name);
        match kind {
            Some(kind) => Ok(Input { path, kind }),
            None => {
                Err("no file of a partition folder or a data folder has such a name (see logstead dump --help)".into())
            }
        }
    }
}

impl FileKind {
    fn of_name(name: &str) -> Option<FileKind> {
        if let Some((kind, offset)) = SegmentFile::parse(name) {
            return Some(FileKind::Segment(kind, offset));
        }
        match name {
            "leader-epoch-checkpoint" => Some(FileKind::EpochCheckpoint),
            "partition.metadata" => Some(FileKind::PartitionMetadata),
            "meta.properties" => Some(FileKind::MetaProperties),
            ".kafka_cleanshutdown" => Some(FileKind::CleanShutdown),
            WITNESS_FILE => Some(FileKind::Witness),
            MANIFEST_FILE => Some(FileKind::Manifest),
            _ => name.ends_with("-offset-checkpoint").then_some(FileKind::OffsetCheckpoint),
        }
    }
}

/// Opens a file for reading and says how long it is.
pub(crate) fn open(path: &Path) -> Result<(Arc<dyn StorageFile>, u64), Trouble> {
    let unreadable = |source| Trouble::Unreadable { operation: "open", source };
    let file = OsStorage::new().open(path, OpenMode::Read).map_err(unreadable)?;
    let len = file.len().map_err(unreadable)?;
    Ok((file, len))
}

/// All bytes of a file that is not a log.
pub(crate) fn read_whole(path: &Path) -> Result<Vec<u8>, Trouble> {
    let (file, len) = open(path)?;
    let too_large = || Trouble::TooLarge { len, max: WHOLE_FILE_BYTES_MAX };
    let size = usize::try_from(len).ok().filter(|_| len <= WHOLE_FILE_BYTES_MAX).ok_or_else(too_large)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size).map_err(|_| too_large())?;
    bytes.resize(size, 0);
    let read = file.read_full_at(0, &mut bytes).map_err(|source| Trouble::Unreadable { operation: "read", source })?;
    // The file may have been shortened meanwhile.
    bytes.truncate(read);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_names() {
        let kind = |name: &str| Input::new(Path::new("/data/orders-0").join(name)).ok().map(|input| input.kind);
        for (name, expected) in [
            ("00000000000000000007.log", FileKind::Segment(SegmentFile::Log, Offset::from(7))),
            ("00000000000000000007.cut", FileKind::Segment(SegmentFile::Cut, Offset::from(7))),
            ("recovery-point-offset-checkpoint", FileKind::OffsetCheckpoint),
            ("logstead.witness", FileKind::Witness),
            (".kafka_cleanshutdown", FileKind::CleanShutdown),
        ] {
            assert_eq!(kind(name), Some(expected), "{name}");
        }
        for name in ["7.log", "00000000000000000007.log.deleted", "notes.txt", "", ".."] {
            assert_eq!(kind(name), None, "{name}");
        }
    }
}
