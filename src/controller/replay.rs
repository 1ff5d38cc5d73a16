//! [P] Building an image from the batches of a metadata log or snapshot (Kafka: `MetadataLoader`, `MetadataBatchLoader`).
//!
//! Records between the beginning and the end of a transaction take effect together, or not at all. Topics that were
//! removed are kept in mind: folders that still carry such an id may go.

use std::collections::BTreeSet;

use super::control::MetadataControl;
use super::image::ClusterImage;
use super::records::MetadataRecord;
use crate::error::{Damage, Error, Result};
use crate::record::RecordBatchRef;
use crate::types::{Offset, Timestamp, TopicId};

/// An image that is being built.
#[derive(Debug, Clone, Default)]
pub(crate) struct Replay {
    settled: Facts,
    /// What would hold if the open transaction were to end now.
    tentative: Option<Facts>,
    /// The value of the last record that told the version of the quorum's protocol.
    pub(crate) kraft_version: Option<Vec<u8>>,
    /// The value of the last record that told the quorum's voters.
    pub(crate) voters: Option<Vec<u8>>,
    /// The time of the latest batch.
    pub(crate) last_timestamp: Option<Timestamp>,
    /// How many records were read, control records included.
    pub(crate) records: u64,
}

#[derive(Debug, Clone, Default)]
struct Facts {
    image: ClusterImage,
    removed: BTreeSet<TopicId>,
}

impl Replay {
    /// A replay that goes on from an image.
    #[cfg(test)]
    pub(crate) fn from_image(image: ClusterImage) -> Replay {
        Replay { settled: Facts { image, removed: BTreeSet::new() }, ..Replay::default() }
    }

    /// The image, without what belongs to an open transaction.
    pub(crate) fn image(&self) -> &ClusterImage {
        &self.settled.image
    }

    /// Topics that were removed, without what belongs to an open transaction.
    #[cfg(test)]
    pub(crate) fn removed(&self) -> &BTreeSet<TopicId> {
        &self.settled.removed
    }

    /// Whether a transaction has begun and not ended.
    pub(crate) fn in_transaction(&self) -> bool {
        self.tentative.is_some()
    }

    /// Image and removed topics, without what belongs to an open transaction.
    pub(crate) fn into_parts(self) -> (ClusterImage, BTreeSet<TopicId>) {
        (self.settled.image, self.settled.removed)
    }

    /// Takes in one record.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when it does not fit what came before.
    pub(crate) fn apply(&mut self, record: &MetadataRecord) -> Result<()> {
        match record {
            MetadataRecord::BeginTransaction(_) if self.tentative.is_none() => {
                self.tentative = Some(self.settled.clone());
                Ok(())
            }
            MetadataRecord::BeginTransaction(_) => Err(damaged("a metadata transaction begins inside another")),
            MetadataRecord::EndTransaction(_) => {
                self.settled = self.tentative.take().ok_or_else(no_transaction)?;
                Ok(())
            }
            MetadataRecord::AbortTransaction(_) => self.tentative.take().map(|_| ()).ok_or_else(no_transaction),
            other => {
                let facts = self.tentative.as_mut().unwrap_or(&mut self.settled);
                facts.image.apply(other)?;
                if let MetadataRecord::RemoveTopic(removal) = other {
                    facts.removed.insert(removal.topic_id);
                }
                Ok(())
            }
        }
    }

    /// Takes in the records of a batch from `from` on.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the offset of the record that breaks a rule; [`Error::UnsupportedMetadataRecord`].
    pub(crate) fn apply_batch(&mut self, batch: &RecordBatchRef<'_>, from: Offset) -> Result<()> {
        for record in batch.records().filter(|record| record.offset() >= from) {
            let at = record.offset();
            let applied = if batch.header().is_control() {
                self.apply_control(record.key(), record.value())
            } else {
                record
                    .value()
                    .ok_or_else(|| damaged("a metadata record has no value"))
                    .and_then(MetadataRecord::decode)
                    .and_then(|decoded| self.apply(&decoded))
            };
            applied.map_err(|error| error.with_offsets(at, batch.header().next_offset()))?;
            self.records += 1;
        }
        self.last_timestamp = batch.header().max_timestamp().or(self.last_timestamp);
        Ok(())
    }

    fn apply_control(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<()> {
        match MetadataControl::parse(key, value)? {
            Some(MetadataControl::KRaftVersion(value)) => self.kraft_version = Some(value),
            Some(MetadataControl::Voters(value)) => self.voters = Some(value),
            Some(MetadataControl::SnapshotHeader { last_contained_log_timestamp }) => {
                self.last_timestamp = Some(last_contained_log_timestamp);
            }
            Some(MetadataControl::LeaderChange(_) | MetadataControl::SnapshotFooter) | None => {}
        }
        Ok(())
    }
}

fn no_transaction() -> Error {
    damaged("a metadata transaction ends that has not begun")
}

fn damaged(rule: &'static str) -> Error {
    Error::corrupt(0, Damage::Structure(rule))
}
