//! [P] The records of the cluster's metadata log, in Kafka's encoding (`MetadataRecordSerde` and its schemas).
//!
//! A record's value is a frame (its version 1, the record's type, the version of its schema, as unsigned varints) and a
//! flexible body: the fields of that version in order, then the tagged fields. What is written has the lowest version
//! that can say it, so that every Kafka that knows the fields at all can read it.
//!
//! Field by field the table is that of Kafka 4.0. A type or a version that is not in it is
//! [`Error::UnsupportedMetadataRecord`]: skipping it would lose what it says.

use super::wire::{self, Wire};
use crate::error::{Error, Result};
use crate::record::cursor::Reader;
use crate::types::{BrokerId, LeaderEpoch, PartitionId, ProducerId, TopicId};

/// The only version of the frame.
const FRAME_VERSION: u32 = 1;

/// A configuration of a topic, in a [`ConfigRecord`].
pub(crate) const RESOURCE_TOPIC: i8 = 2;

/// Declares record types: number, name and newest version; fields in order, each with the version that brought it and what
/// its absence means; then tagged fields with their tags and defaults.
macro_rules! records {
    ($(
        $(#[doc = $doc:literal])+
        $kind:literal $variant:ident($record:ident) up to $newest:literal {
            $($(#[doc = $field_doc:literal])+ $field:ident: $type:ty [$since:tt $(else $absent:expr)?],)*
            $(tag $tag:literal $(#[doc = $tagged_doc:literal])+ $tagged:ident: $tagged_type:ty [$tagged_since:literal else $default:expr],)*
        }
    )+) => {
        /// One record of the metadata log.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(crate) enum MetadataRecord {
            $($(#[doc = $doc])+ $variant($record),)+
        }

        $(
            $(#[doc = $doc])+
            #[derive(Debug, Clone, PartialEq, Eq)]
            pub(crate) struct $record {
                $($(#[doc = $field_doc])+ pub(crate) $field: $type,)*
                $($(#[doc = $tagged_doc])+ pub(crate) $tagged: $tagged_type,)*
            }

            impl $record {
                /// The lowest version that has every field that says something.
                fn version(&self) -> u32 {
                    #[allow(unused_mut, reason = "some records have one version only")]
                    let mut version = 0_u32;
                    $(records!(@raise version, self.$field, $since $(else $absent)?);)*
                    $(if self.$tagged != $default { version = version.max($tagged_since); })*
                    version
                }

                fn put(&self, version: u32, buffer: &mut Vec<u8>) {
                    $(records!(@put version, buffer, self.$field, $since);)*
                    let _ = version;
                    #[allow(unused_mut, reason = "some records have no tagged fields")]
                    let mut tagged: Vec<(u32, Vec<u8>)> = Vec::new();
                    $(if self.$tagged != $default {
                        let mut value = Vec::new();
                        self.$tagged.put(&mut value);
                        tagged.push(($tag, value));
                    })*
                    wire::put_tagged(buffer, &tagged);
                }

                fn get(version: u32, reader: &mut Reader<'_>) -> Result<$record> {
                    let _ = version;
                    $(let $field = records!(@get version, reader, $since $(else $absent)?);)*
                    $(let mut $tagged: $tagged_type = $default;)*
                    wire::get_tagged(reader, |tag, _value| match tag {
                        $($tag => {
                            $tagged = Wire::get(_value)?;
                            Ok(true)
                        })*
                        _ => Ok(false),
                    })?;
                    Ok($record { $($field,)* $($tagged,)* })
                }
            }
        )+

        impl MetadataRecord {
            /// The number of the record's type, and the version that it is written with.
            pub(crate) fn kind_and_version(&self) -> (u32, u32) {
                match self {
                    $(MetadataRecord::$variant(record) => ($kind, record.version()),)+
                }
            }

            /// The bytes of the record's value.
            pub(crate) fn encode(&self) -> Vec<u8> {
                let mut buffer = Vec::with_capacity(64);
                let (kind, version) = self.kind_and_version();
                for number in [FRAME_VERSION, kind, version] {
                    wire::put_varint(&mut buffer, number);
                }
                match self {
                    $(MetadataRecord::$variant(record) => record.put(version, &mut buffer),)+
                }
                buffer
            }

            fn get(kind: u32, version: u32, reader: &mut Reader<'_>) -> Result<MetadataRecord> {
                match (kind, version) {
                    $(($kind, 0..=$newest) => $record::get(version, reader).map(MetadataRecord::$variant),)+
                    _ => Err(Error::UnsupportedMetadataRecord { record_type: kind, version }),
                }
            }
        }
    };

    (@raise $version:ident, $value:expr, 0) => {};
    (@raise $version:ident, $value:expr, $since:tt else $absent:expr) => {
        if $value != $absent { $version = $version.max($since); }
    };
    (@put $version:ident, $buffer:ident, $value:expr, 0) => { $value.put($buffer) };
    (@put $version:ident, $buffer:ident, $value:expr, $since:tt) => {
        if $version >= $since { $value.put($buffer) }
    };
    (@get $version:ident, $reader:ident, 0) => { Wire::get($reader)? };
    (@get $version:ident, $reader:ident, $since:tt else $absent:expr) => {
        if $version >= $since { Wire::get($reader)? } else { $absent }
    };
}

records! {
    /// A broker runs, under a new incarnation.
    0 RegisterBroker(RegisterBrokerRecord) up to 3 {
        /// The broker.
        broker_id: BrokerId [0],
        /// Whether it came from ZooKeeper.
        is_migrating_zk_broker: bool [2 else false],
        /// Random, new for each run of the broker.
        incarnation_id: TopicId [0],
        /// The offset of this record; later records name it, so that those meant for an older run are inert.
        broker_epoch: i64 [0],
        /// Where clients reach it; none for a broker that is a part of its client.
        end_points: Vec<EndPoint> [0],
        /// What it can do.
        features: Vec<FeatureRange> [0],
        /// Where it stands.
        rack: Option<String> [0],
        /// Whether it must not lead yet.
        fenced: bool [0],
        /// Whether it is about to stop.
        in_controlled_shutdown: bool [1 else false],
        tag 0
        /// The ids of its data folders.
        log_dirs: Vec<TopicId> [3 else Vec::new()],
    }
    /// A broker is gone for good.
    1 UnregisterBroker(UnregisterBrokerRecord) up to 0 {
        /// The broker.
        broker_id: BrokerId [0],
        /// Its epoch.
        broker_epoch: i64 [0],
    }
    /// A topic begins to exist.
    2 Topic(TopicRecord) up to 0 {
        /// Its name.
        name: String [0],
        /// Its id.
        topic_id: TopicId [0],
    }
    /// A partition begins to exist, or is told in full.
    3 Partition(PartitionRecord) up to 2 {
        /// Its number.
        partition_id: PartitionId [0],
        /// Its topic.
        topic_id: TopicId [0],
        /// The brokers that hold it, the preferred leader first.
        replicas: Vec<BrokerId> [0],
        /// Those that have everything that is committed.
        isr: Vec<BrokerId> [0],
        /// Replicas on their way out.
        removing_replicas: Vec<BrokerId> [0],
        /// Replicas on their way in.
        adding_replicas: Vec<BrokerId> [0],
        /// Who leads; `None` when nobody can.
        leader: Option<BrokerId> [0],
        /// Counts the changes of the leader.
        leader_epoch: LeaderEpoch [0],
        /// Counts all changes of the partition.
        partition_epoch: i32 [0],
        /// The data folder of each replica, in the order of `replicas`.
        directories: Vec<TopicId> [1 else Vec::new()],
        tag 0
        /// 1 after a leader from outside the in-sync set was elected, until it has recovered.
        leader_recovery_state: i8 [0 else 0],
        tag 1
        /// Replicas outside the in-sync set that may lead.
        eligible_leader_replicas: Option<Vec<BrokerId>> [2 else None],
        tag 2
        /// The last such replicas that were known.
        last_known_elr: Option<Vec<BrokerId>> [2 else None],
    }
    /// A configuration is set, or goes back to its default.
    4 Config(ConfigRecord) up to 0 {
        /// What kind of thing is configured: 2 a topic, 4 a broker.
        resource_type: i8 [0],
        /// Which one.
        resource_name: String [0],
        /// The key.
        name: String [0],
        /// The value; `None` for the default.
        value: Option<String> [0],
    }
    /// Some fields of a partition change; the others stay.
    5 PartitionChange(PartitionChangeRecord) up to 2 {
        /// Its number.
        partition_id: PartitionId [0],
        /// Its topic.
        topic_id: TopicId [0],
        tag 0
        /// The new in-sync set.
        isr: Option<Vec<BrokerId>> [0 else None],
        tag 1
        /// The new leader, or `Some(None)` for none. The leader epoch rises also when the leader stays.
        leader: Option<Option<BrokerId>> [0 else None],
        tag 2
        /// The new replicas.
        replicas: Option<Vec<BrokerId>> [0 else None],
        tag 3
        /// Replicas on their way out.
        removing_replicas: Option<Vec<BrokerId>> [0 else None],
        tag 4
        /// Replicas on their way in.
        adding_replicas: Option<Vec<BrokerId>> [0 else None],
        tag 5
        /// As in the partition's record; -1 for no change.
        leader_recovery_state: i8 [0 else -1],
        tag 6
        /// As in the partition's record.
        eligible_leader_replicas: Option<Vec<BrokerId>> [2 else None],
        tag 7
        /// As in the partition's record.
        last_known_elr: Option<Vec<BrokerId>> [2 else None],
        tag 8
        /// The data folder of each replica.
        directories: Option<Vec<TopicId>> [1 else None],
    }
    /// A broker must not lead any more.
    7 FenceBroker(FenceBrokerRecord) up to 0 {
        /// The broker.
        id: BrokerId [0],
        /// Its epoch.
        epoch: i64 [0],
    }
    /// A broker may lead.
    8 UnfenceBroker(UnfenceBrokerRecord) up to 0 {
        /// The broker.
        id: BrokerId [0],
        /// Its epoch.
        epoch: i64 [0],
    }
    /// A topic is gone, with its partitions and configurations.
    9 RemoveTopic(RemoveTopicRecord) up to 0 {
        /// The topic.
        topic_id: TopicId [0],
    }
    /// The level of a feature of the whole cluster; 0 removes it.
    12 FeatureLevel(FeatureLevelRecord) up to 0 {
        /// Its name, for example `metadata.version`.
        name: String [0],
        /// Its level.
        feature_level: i16 [0],
    }
    /// A broker takes a block of producer ids.
    15 ProducerIds(ProducerIdsRecord) up to 0 {
        /// The broker, where known.
        broker_id: Option<BrokerId> [0],
        /// Its epoch.
        broker_epoch: i64 [0],
        /// The first id that is still free.
        next_producer_id: ProducerId [0],
    }
    /// Some fields of a broker's registration change.
    17 BrokerRegistrationChange(BrokerRegistrationChangeRecord) up to 2 {
        /// The broker.
        broker_id: BrokerId [0],
        /// Its epoch.
        broker_epoch: i64 [0],
        tag 0
        /// 1 fences, -1 unfences, 0 is no change.
        fenced: i8 [0 else 0],
        tag 1
        /// 1 begins a controlled shutdown, 0 is no change.
        in_controlled_shutdown: i8 [1 else 0],
        tag 2
        /// The new data folders; empty for no change.
        log_dirs: Vec<TopicId> [2 else Vec::new()],
    }
    /// Nothing happens, but the log grows: a sign of life.
    20 NoOp(NoOpRecord) up to 0 {}
    /// What follows takes effect with the record that ends the transaction, or not at all.
    23 BeginTransaction(BeginTransactionRecord) up to 0 {
        tag 0
        /// What it is for.
        name: Option<String> [0 else None],
    }
    /// The transaction takes effect.
    24 EndTransaction(EndTransactionRecord) up to 0 {}
    /// The transaction never was.
    25 AbortTransaction(AbortTransactionRecord) up to 0 {
        tag 0
        /// Why.
        reason: Option<String> [0 else None],
    }
    /// A controller runs.
    27 RegisterController(RegisterControllerRecord) up to 0 {
        /// The controller.
        controller_id: BrokerId [0],
        /// Random, new for each run.
        incarnation_id: TopicId [0],
        /// Whether it can take over from ZooKeeper.
        zk_migration_ready: bool [0],
        /// Where other nodes reach it.
        end_points: Vec<EndPoint> [0],
        /// What it can do.
        features: Vec<FeatureRange> [0],
    }
}

/// Where a node is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EndPoint {
    /// The listener's name.
    pub(crate) name: String,
    /// The host.
    pub(crate) host: String,
    /// The port.
    pub(crate) port: u16,
    /// Kafka's number of the protocol.
    pub(crate) security_protocol: i16,
}

/// The levels of a feature that a node can run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FeatureRange {
    /// The feature.
    pub(crate) name: String,
    /// The lowest level.
    pub(crate) min_supported_version: i16,
    /// The highest level.
    pub(crate) max_supported_version: i16,
}

impl Wire for EndPoint {
    fn put(&self, buffer: &mut Vec<u8>) {
        self.name.put(buffer);
        self.host.put(buffer);
        self.port.put(buffer);
        self.security_protocol.put(buffer);
        wire::put_tagged(buffer, &[]);
    }

    fn get(reader: &mut Reader<'_>) -> Result<EndPoint> {
        let (name, host) = (Wire::get(reader)?, Wire::get(reader)?);
        let (port, security_protocol) = (Wire::get(reader)?, Wire::get(reader)?);
        wire::get_tagged(reader, |_, _| Ok(false))?;
        Ok(EndPoint { name, host, port, security_protocol })
    }
}

impl Wire for FeatureRange {
    fn put(&self, buffer: &mut Vec<u8>) {
        self.name.put(buffer);
        self.min_supported_version.put(buffer);
        self.max_supported_version.put(buffer);
        wire::put_tagged(buffer, &[]);
    }

    fn get(reader: &mut Reader<'_>) -> Result<FeatureRange> {
        let name = Wire::get(reader)?;
        let (min_supported_version, max_supported_version) = (Wire::get(reader)?, Wire::get(reader)?);
        wire::get_tagged(reader, |_, _| Ok(false))?;
        Ok(FeatureRange { name, min_supported_version, max_supported_version })
    }
}

impl MetadataRecord {
    /// Reads the value of a record.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the bytes break the format; [`Error::UnsupportedMetadataRecord`].
    pub(crate) fn decode(bytes: &[u8]) -> Result<MetadataRecord> {
        let mut reader = Reader::new(bytes);
        if wire::get_varint(&mut reader)? != FRAME_VERSION {
            return Err(wire::broken(0, "the frame of a metadata record has an unknown version"));
        }
        let (kind, version) = (wire::get_varint(&mut reader)?, wire::get_varint(&mut reader)?);
        let record = MetadataRecord::get(kind, version, &mut reader)?;
        if reader.remaining() > 0 {
            return Err(wire::broken(reader.position(), "a metadata record goes on behind its end"));
        }
        Ok(record)
    }
}

#[cfg(test)]
pub(crate) mod tests;
