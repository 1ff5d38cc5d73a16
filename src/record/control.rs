//! [P] Control records: the markers that end transactions, and the kinds that only the metadata log has.
//!
//! A control record's key is a version and a type (two int16), its value depends on the type. Newer versions only
//! append fields, so the known prefix is read and the rest is skipped. A control batch occupies offsets and is never
//! shown to consumers. Kafka's counterparts: `ControlRecordType`, `EndTransactionMarker`.

use super::builder::{BatchBuilder, BatchOptions};
use super::built::BuiltBatch;
use super::codec::Codec;
use super::cursor::{Reader, Writer};
use super::header::ProducerStamp;
use crate::error::{Damage, Error, Result};
use crate::types::{Compression, ProducerEpoch, ProducerId, Timestamp, TimestampType};

/// The version of key and value that is written.
const VERSION: i16 = 0;
const TYPE_ABORT: i16 = 0;
const TYPE_COMMIT: i16 = 1;
const TYPE_LEADER_CHANGE: i16 = 2;
const TYPE_SNAPSHOT_HEADER: i16 = 3;
const TYPE_SNAPSHOT_FOOTER: i16 = 4;
const TYPE_KRAFT_VERSION: i16 = 5;
const TYPE_KRAFT_VOTERS: i16 = 6;

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransactionOutcome {
    /// Its records become visible.
    Commit,
    /// Its records are skipped by consumers that read committed records only.
    Abort,
}

/// What a control record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ControlRecord {
    /// The transaction of the batch's producer ends here.
    EndTransaction {
        /// How it ends.
        outcome: TransactionOutcome,
        /// The epoch of the transaction coordinator that wrote the marker.
        coordinator_epoch: i32,
    },
    /// A metadata log: a new leader.
    LeaderChange,
    /// A metadata snapshot: its start.
    SnapshotHeader,
    /// A metadata snapshot: its end.
    SnapshotFooter,
    /// A metadata log: the version of its protocol.
    KRaftVersion,
    /// A metadata log: its voters.
    KRaftVoters,
    /// A type that is not known here; Kafka ignores it.
    Unknown(i16),
}

impl ControlRecord {
    /// Reads the key and the value of a record in a control batch.
    ///
    /// ```
    /// use logstead::record::{ControlRecord, TransactionOutcome};
    /// let record = ControlRecord::parse(Some(&[0, 0, 0, 1]), Some(&[0, 0, 0, 0, 0, 15]))?;
    /// assert_eq!(
    ///     record,
    ///     ControlRecord::EndTransaction { outcome: TransactionOutcome::Commit, coordinator_epoch: 15 },
    /// );
    /// # Ok::<(), logstead::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the key or the value is missing, too short, or of a negative version. Positions are
    /// relative to the key or the value.
    pub fn parse(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<ControlRecord> {
        let mut key = Reader::new(key.ok_or_else(|| broken("a control record has no key"))?);
        check_version(key.i16()?)?;
        Ok(match key.i16()? {
            TYPE_ABORT => end_transaction(TransactionOutcome::Abort, value)?,
            TYPE_COMMIT => end_transaction(TransactionOutcome::Commit, value)?,
            TYPE_LEADER_CHANGE => ControlRecord::LeaderChange,
            TYPE_SNAPSHOT_HEADER => ControlRecord::SnapshotHeader,
            TYPE_SNAPSHOT_FOOTER => ControlRecord::SnapshotFooter,
            TYPE_KRAFT_VERSION => ControlRecord::KRaftVersion,
            TYPE_KRAFT_VOTERS => ControlRecord::KRaftVoters,
            unknown => ControlRecord::Unknown(unknown),
        })
    }
}

/// The marker that a transaction coordinator writes to every partition of a transaction.
///
/// ```
/// use logstead::record::{EndTransactionMarker, TransactionOutcome};
/// use logstead::types::{ProducerEpoch, ProducerId, Timestamp};
/// let marker = EndTransactionMarker { outcome: TransactionOutcome::Commit, coordinator_epoch: 15 };
/// let batch = marker.to_batch(ProducerId::ZERO, ProducerEpoch::ZERO, Timestamp::from_millis(0));
/// assert!(batch.header().is_control() && batch.header().is_transactional());
/// assert_eq!(batch.size_in_bytes(), 78);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EndTransactionMarker {
    /// How the transaction ends.
    pub outcome: TransactionOutcome,
    /// The epoch of the transaction coordinator; a partition refuses markers of older ones.
    pub coordinator_epoch: i32,
}

impl EndTransactionMarker {
    /// The control batch that carries the marker: one record, always 78 bytes.
    ///
    /// A time before 1970 cannot be stored: such a marker has none.
    pub fn to_batch(self, producer_id: ProducerId, producer_epoch: ProducerEpoch, timestamp: Timestamp) -> BuiltBatch {
        let producer = ProducerStamp { id: producer_id, epoch: producer_epoch, base_sequence: None };
        let mut builder = BatchBuilder::control(BatchOptions {
            timestamp_type: TimestampType::CreateTime,
            producer: Some(producer),
            transactional: true,
            codec: Codec::NONE,
        });
        let mut key = Vec::with_capacity(4);
        let mut writer = Writer::new(&mut key);
        writer.put_i16(VERSION);
        writer.put_i16(match self.outcome {
            TransactionOutcome::Abort => TYPE_ABORT,
            TransactionOutcome::Commit => TYPE_COMMIT,
        });
        let mut value = Vec::with_capacity(6);
        let mut writer = Writer::new(&mut value);
        writer.put_i16(VERSION);
        writer.put_i32(self.coordinator_epoch);
        let timestamp = Some(timestamp).filter(|timestamp| timestamp.as_millis() >= 0);
        // Neither the timestamp nor the size can be refused here.
        let appended = builder.append(timestamp, Some(&key), Some(&value), &[]);
        debug_assert!(appended.is_ok());
        builder.finish(Compression::None)
    }
}

fn end_transaction(outcome: TransactionOutcome, value: Option<&[u8]>) -> Result<ControlRecord> {
    let mut value = Reader::new(value.ok_or_else(|| broken("a transaction marker has no value"))?);
    check_version(value.i16()?)?;
    Ok(ControlRecord::EndTransaction { outcome, coordinator_epoch: value.i32()? })
}

fn check_version(version: i16) -> Result<()> {
    if version < 0 { Err(broken("a control record has a negative version")) } else { Ok(()) }
}

fn broken(rule: &'static str) -> Error {
    Error::corrupt(0, Damage::Structure(rule))
}

#[cfg(test)]
mod tests {
    use super::super::golden;
    use super::*;
    use crate::record::RecordBatchRef;
    use crate::types::{LeaderEpoch, Offset};

    const COMMIT: EndTransactionMarker =
        EndTransactionMarker { outcome: TransactionOutcome::Commit, coordinator_epoch: 15 };

    fn producer() -> (ProducerId, ProducerEpoch) {
        (ProducerId::new(1).unwrap(), ProducerEpoch::ZERO)
    }

    #[test]
    fn a_commit_marker_is_encoded_as_kafka_does() {
        let (id, epoch) = producer();
        let mut batch = COMMIT.to_batch(id, epoch, Timestamp::from_millis(1_700_000_000_000));
        batch.stamp(Offset::from(5), LeaderEpoch::new(3).unwrap());
        assert_eq!(batch.bytes(), golden::bytes(golden::COMMIT_MARKER));
    }

    #[test]
    fn a_commit_marker_of_kafka_is_read() {
        let bytes = golden::bytes(golden::COMMIT_MARKER);
        let record = RecordBatchRef::from_bytes(&bytes).unwrap().records().next().unwrap();
        assert_eq!(record.offset(), Offset::from(5));
        assert_eq!(
            ControlRecord::parse(record.key(), record.value()).unwrap(),
            ControlRecord::EndTransaction { outcome: TransactionOutcome::Commit, coordinator_epoch: 15 },
        );
    }

    #[test]
    fn an_abort_marker_round_trips() {
        let (id, epoch) = producer();
        let abort = EndTransactionMarker { outcome: TransactionOutcome::Abort, coordinator_epoch: -1 };
        let batch = abort.to_batch(id, epoch, Timestamp::from_millis(0));
        let decoded = batch.decode().unwrap();
        let record = decoded.records().next().unwrap();
        assert_eq!(
            ControlRecord::parse(record.key(), record.value()).unwrap(),
            ControlRecord::EndTransaction { outcome: TransactionOutcome::Abort, coordinator_epoch: -1 },
        );
    }

    #[test]
    fn a_marker_at_a_time_before_1970_has_no_timestamp() {
        let (id, epoch) = producer();
        let batch = COMMIT.to_batch(id, epoch, Timestamp::from_millis(-5));
        assert_eq!((batch.count(), batch.max_timestamp()), (1, None));
    }

    #[test]
    fn the_kinds_of_the_metadata_log_need_no_value() {
        let kinds = [
            (2, ControlRecord::LeaderChange),
            (3, ControlRecord::SnapshotHeader),
            (4, ControlRecord::SnapshotFooter),
            (5, ControlRecord::KRaftVersion),
            (6, ControlRecord::KRaftVoters),
            (7, ControlRecord::Unknown(7)),
        ];
        for (kind, expected) in kinds {
            assert_eq!(ControlRecord::parse(Some(&[0, 0, 0, kind]), None).unwrap(), expected);
        }
    }

    #[test]
    fn fields_that_a_newer_version_appends_are_skipped() {
        let record = ControlRecord::parse(Some(&[0, 9, 0, 1, 77]), Some(&[0, 9, 0, 0, 0, 15, 77])).unwrap();
        assert!(matches!(record, ControlRecord::EndTransaction { coordinator_epoch: 15, .. }));
    }

    #[test]
    fn a_short_or_missing_key_or_value_is_damage() {
        let truncated = |needed, available| Damage::Truncated { needed, available };
        assert_eq!(golden::damage(ControlRecord::parse(Some(&[0, 0, 0]), None)), (2, truncated(2, 1)));
        assert_eq!(golden::damage(ControlRecord::parse(Some(&[0; 4]), Some(&[0; 5]))), (2, truncated(4, 3)));
        assert_eq!(golden::damage(ControlRecord::parse(None, None)).0, 0);
        assert_eq!(golden::damage(ControlRecord::parse(Some(&[0; 4]), None)).0, 0);
    }

    #[test]
    fn a_negative_version_is_damage() {
        let expected = (0, Damage::Structure("a control record has a negative version"));
        assert_eq!(golden::damage(ControlRecord::parse(Some(&[0xff, 0xff, 0, 1]), None)), expected);
        assert_eq!(golden::damage(ControlRecord::parse(Some(&[0, 0, 0, 1]), Some(&[0xff; 6]))), expected);
    }
}
