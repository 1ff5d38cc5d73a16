//! [P] The names of a partition folder's files (Kafka: `LogFileUtils`, `LocalLog`).

use std::path::{Path, PathBuf};

use crate::types::Offset;

/// The leader-epoch history.
pub(crate) const EPOCH_FILE: &str = "leader-epoch-checkpoint";
/// The topic id.
pub(crate) const PARTITION_METADATA_FILE: &str = "partition.metadata";
/// Appended to the name of a file that is logically gone.
pub(crate) const DELETED_SUFFIX: &str = ".deleted";
/// Appended to the name of a file that is being published.
pub(crate) const TEMPORARY_SUFFIX: &str = ".tmp";

/// The kinds of file that are named by an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SegmentFile {
    /// `.log`: record batches.
    Log,
    /// `.index`: offset to position.
    OffsetIndex,
    /// `.timeindex`: timestamp to offset.
    TimeIndex,
    /// `.txnindex`: aborted transactions.
    TransactionIndex,
    /// `.snapshot`: producer state as of the offset in its name (exclusive).
    Snapshot,
    /// `.seal`: checksums of a finished segment (ours).
    Seal,
    /// `.redo`: the tail of a log that is being written again after a crash (ours).
    Redo,
    /// `.cut`: bytes that recovery cut off although intact batches followed (ours).
    Cut,
}

impl SegmentFile {
    /// Every kind.
    pub const ALL: [SegmentFile; 8] = [
        SegmentFile::Log,
        SegmentFile::OffsetIndex,
        SegmentFile::TimeIndex,
        SegmentFile::TransactionIndex,
        SegmentFile::Snapshot,
        SegmentFile::Seal,
        SegmentFile::Redo,
        SegmentFile::Cut,
    ];

    /// The file name's ending, without the dot.
    pub const fn extension(self) -> &'static str {
        match self {
            SegmentFile::Log => "log",
            SegmentFile::OffsetIndex => "index",
            SegmentFile::TimeIndex => "timeindex",
            SegmentFile::TransactionIndex => "txnindex",
            SegmentFile::Snapshot => "snapshot",
            SegmentFile::Seal => "seal",
            SegmentFile::Redo => "redo",
            SegmentFile::Cut => "cut",
        }
    }

    /// The file's name: the offset as 20 digits and the extension.
    ///
    /// ```
    /// use logstead::log::SegmentFile;
    /// use logstead::types::Offset;
    /// assert_eq!(SegmentFile::Log.name(Offset::from(123)), "00000000000000000123.log");
    /// assert_eq!(SegmentFile::parse("00000000000000000123.log"), Some((SegmentFile::Log, Offset::from(123))));
    /// assert_eq!(SegmentFile::parse("123.log"), None);
    /// ```
    pub fn name(self, offset: Offset) -> String {
        format!("{:020}.{}", offset.get(), self.extension())
    }

    /// The kind and offset of a file name; `None` for any other name.
    pub fn parse(name: &str) -> Option<(SegmentFile, Offset)> {
        let (digits, extension) = name.split_at_checked(20)?;
        let kind = Self::ALL.into_iter().find(|kind| extension.strip_prefix('.') == Some(kind.extension()))?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some((kind, Offset::new(digits.parse().ok()?)?))
    }

    /// The file's path in a partition folder.
    pub(crate) fn path(self, folder: &Path, offset: Offset) -> PathBuf {
        folder.join(self.name(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_nothing_else_parses() {
        for kind in SegmentFile::ALL {
            assert_eq!(SegmentFile::parse(&kind.name(Offset::MAX)), Some((kind, Offset::MAX)));
        }
        for name in [
            "",
            "0.log",
            "00000000000000000000.log.deleted",
            "00000000000000000000log",
            "-0000000000000000001.log",
            "99999999999999999999.log",
            "leader-epoch-checkpoint",
        ] {
            assert_eq!(SegmentFile::parse(name), None, "{name}");
        }
    }
}
