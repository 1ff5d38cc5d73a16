//! [P] The values of the metadata log's control records: who leads, and where a snapshot begins and ends.
//!
//! Their keys are those of every control record (a version and a type, two int16); their values are flexible messages
//! without a frame that begin with their own version. Kafka's counterpart: `ControlRecordUtils`.

use super::wire::{self, Wire};
use crate::error::{Error, Result};
use crate::record::cursor::{Reader, Writer};
use crate::record::{BatchBuilder, BatchOptions, BuiltBatch};
use crate::types::{BrokerId, Timestamp};

/// The only version of the keys.
const KEY_VERSION: i16 = 0;

const TYPE_LEADER_CHANGE: i16 = 2;
const TYPE_SNAPSHOT_HEADER: i16 = 3;
const TYPE_SNAPSHOT_FOOTER: i16 = 4;
const TYPE_KRAFT_VERSION: i16 = 5;
const TYPE_VOTERS: i16 = 6;

/// A control record of the metadata log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MetadataControl {
    /// A controller leads from here on.
    LeaderChange(LeaderChange),
    /// A snapshot begins.
    SnapshotHeader {
        /// The time of the last record that the snapshot covers.
        last_contained_log_timestamp: Timestamp,
    },
    /// A snapshot is complete.
    SnapshotFooter,
    /// The version of the quorum's protocol: the value as it is, handed on unchanged.
    KRaftVersion(Vec<u8>),
    /// The quorum's voters: the value as it is, handed on unchanged.
    Voters(Vec<u8>),
}

/// Who leads the metadata log, and by whose votes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeaderChange {
    /// The leader.
    pub(crate) leader: BrokerId,
    /// Who may vote.
    pub(crate) voters: Vec<BrokerId>,
    /// Who voted for the leader.
    pub(crate) granting_voters: Vec<BrokerId>,
}

impl MetadataControl {
    /// The key of the control record.
    pub(crate) fn key(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(4);
        let mut writer = Writer::new(&mut key);
        writer.put_i16(KEY_VERSION);
        writer.put_i16(match self {
            MetadataControl::LeaderChange(_) => TYPE_LEADER_CHANGE,
            MetadataControl::SnapshotHeader { .. } => TYPE_SNAPSHOT_HEADER,
            MetadataControl::SnapshotFooter => TYPE_SNAPSHOT_FOOTER,
            MetadataControl::KRaftVersion(_) => TYPE_KRAFT_VERSION,
            MetadataControl::Voters(_) => TYPE_VOTERS,
        });
        key
    }

    /// The value of the control record, of version 0 where it is ours to say.
    pub(crate) fn value(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(32);
        match self {
            MetadataControl::LeaderChange(change) => change.put(&mut value),
            MetadataControl::SnapshotHeader { last_contained_log_timestamp } => {
                0_i16.put(&mut value);
                last_contained_log_timestamp.as_millis().put(&mut value);
                wire::put_tagged(&mut value, &[]);
            }
            MetadataControl::SnapshotFooter => {
                0_i16.put(&mut value);
                wire::put_tagged(&mut value, &[]);
            }
            MetadataControl::KRaftVersion(bytes) | MetadataControl::Voters(bytes) => value.extend_from_slice(bytes),
        }
        value
    }

    /// Reads a control record; `None` for a type that says nothing to the metadata log. Fields that newer versions append
    /// are skipped.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when key or value are missing or too short.
    pub(crate) fn parse(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Option<MetadataControl>> {
        let mut key = Reader::new(key.ok_or_else(|| wire::broken(0, "a control record has no key"))?);
        let (_version, kind) = (key.i16()?, key.i16()?);
        let value = || value.ok_or_else(|| wire::broken(0, "a control record has no value"));
        Ok(match kind {
            TYPE_LEADER_CHANGE => Some(MetadataControl::LeaderChange(LeaderChange::get(value()?)?)),
            TYPE_SNAPSHOT_HEADER => {
                let mut reader = Reader::new(value()?);
                let (_version, millis) = (reader.i16()?, reader.i64()?);
                let last_contained_log_timestamp = Timestamp::from_millis(millis);
                Some(MetadataControl::SnapshotHeader { last_contained_log_timestamp })
            }
            TYPE_SNAPSHOT_FOOTER => Some(MetadataControl::SnapshotFooter),
            TYPE_KRAFT_VERSION => Some(MetadataControl::KRaftVersion(value()?.to_vec())),
            TYPE_VOTERS => Some(MetadataControl::Voters(value()?.to_vec())),
            _ => None,
        })
    }

    /// One control batch with these records.
    ///
    /// # Errors
    /// [`Error::InvalidRecord`] when there is no record, or the time is before 1970.
    pub(crate) fn to_batch(records: &[MetadataControl], timestamp: Timestamp) -> Result<BuiltBatch, Error> {
        let mut builder = BatchBuilder::control(BatchOptions::default());
        for record in records {
            builder.append(Some(timestamp), Some(&record.key()), Some(&record.value()), &[])?;
        }
        builder.build()
    }
}

impl LeaderChange {
    fn put(&self, buffer: &mut Vec<u8>) {
        0_i16.put(buffer);
        self.leader.put(buffer);
        for voters in [&self.voters, &self.granting_voters] {
            wire::put_varint(buffer, u32::try_from(voters.len()).unwrap_or(u32::MAX - 1).saturating_add(1));
            for voter in voters {
                voter.put(buffer);
                wire::put_tagged(buffer, &[]);
            }
        }
        wire::put_tagged(buffer, &[]);
    }

    fn get(bytes: &[u8]) -> Result<LeaderChange> {
        let mut reader = Reader::new(bytes);
        let version = reader.i16()?;
        let leader = <BrokerId as Wire>::get(&mut reader)?;
        let (voters, granting_voters) = (get_voters(version, &mut reader)?, get_voters(version, &mut reader)?);
        Ok(LeaderChange { leader, voters, granting_voters })
    }
}

/// Voters of version 1 and above also name their data folder.
fn get_voters(version: i16, reader: &mut Reader<'_>) -> Result<Vec<BrokerId>> {
    let mut voters = Vec::new();
    for _ in 1..wire::get_varint(reader)? {
        voters.push(<BrokerId as Wire>::get(reader)?);
        if version >= 1 {
            reader.array::<16>()?;
        }
        wire::get_tagged(reader, |_, _| Ok(false))?;
    }
    Ok(voters)
}

/// The voters in the value of a `Voters` record. What follows each voter's id is read over.
///
/// # Errors
/// [`Error::Corrupt`] when the value breaks the format.
pub(crate) fn voters_of(value: &[u8]) -> Result<Vec<BrokerId>> {
    let mut reader = Reader::new(value);
    let _version = reader.i16()?;
    let mut voters = Vec::new();
    for _ in 1..wire::get_varint(&mut reader)? {
        voters.push(<BrokerId as Wire>::get(&mut reader)?);
        reader.array::<16>()?;
        for _ in 1..wire::get_varint(&mut reader)? {
            let _listener = (String::get(&mut reader)?, String::get(&mut reader)?, u16::get(&mut reader)?);
            wire::get_tagged(&mut reader, |_, _| Ok(false))?;
        }
        let _supported = (i16::get(&mut reader)?, i16::get(&mut reader)?);
        wire::get_tagged(&mut reader, |_, _| Ok(false))?;
        wire::get_tagged(&mut reader, |_, _| Ok(false))?;
    }
    Ok(voters)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broker(id: i32) -> BrokerId {
        BrokerId::new(id).unwrap()
    }

    #[test]
    fn a_leader_change_is_encoded_as_kafka_does() {
        // Offset 0 of a metadata log of Kafka 4.0: node 1 elects itself.
        let kafka = [0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 1, 0, 2, 0, 0, 0, 1, 0, 0];
        let change = LeaderChange { leader: broker(1), voters: vec![broker(1)], granting_voters: vec![broker(1)] };
        let control = MetadataControl::LeaderChange(change);
        assert_eq!(control.value(), kafka);
        assert_eq!(MetadataControl::parse(Some(&[0, 0, 0, 2]), Some(&kafka)).unwrap(), Some(control));
    }

    #[test]
    fn a_leader_change_of_version_1_is_read() {
        let mut value = vec![0, 1, 0, 0, 0, 3, 2, 0, 0, 0, 3];
        value.extend([7; 16]);
        value.extend([0, 1, 0]);
        let parsed = MetadataControl::parse(Some(&[0, 0, 0, 2]), Some(&value)).unwrap();
        let expected = LeaderChange { leader: broker(3), voters: vec![broker(3)], granting_voters: vec![] };
        assert_eq!(parsed, Some(MetadataControl::LeaderChange(expected)));
    }

    #[test]
    fn the_ends_of_a_snapshot_are_encoded_as_kafka_does() {
        let header =
            MetadataControl::SnapshotHeader { last_contained_log_timestamp: Timestamp::from_millis(0x0102_0304_0506) };
        assert_eq!(header.value(), [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 0]);
        assert_eq!(MetadataControl::SnapshotFooter.value(), [0, 0, 0]);
        for control in [header, MetadataControl::SnapshotFooter, MetadataControl::KRaftVersion(vec![0, 0, 0, 1, 0])] {
            let parsed = MetadataControl::parse(Some(&control.key()), Some(&control.value())).unwrap();
            assert_eq!(parsed, Some(control));
        }
    }

    #[test]
    fn voters_are_found_among_what_is_known_of_them() {
        let mut value = vec![0, 0, 2, 0, 0, 0, 5];
        value.extend([9; 16]);
        value.extend([2, 2, b'C', 2, b'h', 0x23, 0x84, 0]); // one listener
        value.extend([0, 0, 0, 1, 0, 0, 0]); // supported versions, and three ends
        assert_eq!(voters_of(&value).unwrap(), [broker(5)]);
        assert!(voters_of(&value[..20]).is_err());
    }

    #[test]
    fn a_control_record_without_a_key_or_a_value_is_damage() {
        assert!(matches!(MetadataControl::parse(None, None), Err(Error::Corrupt(_))));
        assert!(matches!(MetadataControl::parse(Some(&[0, 0, 0, 3]), None), Err(Error::Corrupt(_))));
        assert_eq!(MetadataControl::parse(Some(&[0, 0, 0, 99]), None).unwrap(), None);
    }
}
