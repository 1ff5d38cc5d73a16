//! [S] What the parts of one log have in common: where it lies, and whose it is.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::log::layout::SegmentFile;
use crate::log::seal::SealSubject;
use crate::storage::Storage;
use crate::types::{Offset, TopicId, TopicPartition};

/// What the parts of one log have in common.
#[derive(Debug)]
pub(crate) struct LogContext {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) folder: PathBuf,
    pub(crate) tp: TopicPartition,
    pub(crate) topic_id: TopicId,
    /// Whether a log of this data folder was read through a map since it was opened. Somebody may then hold one still, even
    /// of an earlier opening of this log.
    pub(crate) was_mapped: Arc<AtomicBool>,
}

impl LogContext {
    /// The path of one of the partition's files.
    pub(crate) fn path(&self, kind: SegmentFile, offset: Offset) -> PathBuf {
        kind.path(&self.folder, offset)
    }

    /// What a seal of the segment at this base offset is about.
    pub(crate) fn seal_subject(&self, base_offset: Offset) -> SealSubject {
        SealSubject { topic_id: self.topic_id, partition: self.tp.partition, base_offset }
    }
}
