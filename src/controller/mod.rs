//! [P] The cluster's metadata: Kafka's KRaft records, the image that they build, and what may be done to it.
//!
//! The controller's decisions are pure functions: they look at the image and answer with the records that would bring the
//! change about, or with the reason why it cannot be. Whoever calls them writes the records to the metadata log first and
//! applies them to the image then. Kafka's counterparts: `QuorumController`, `ReplicationControlManager`,
//! `ConfigurationControlManager`.
//!
//! [P]: crate

pub(crate) mod control;
pub(crate) mod image;
pub(crate) mod names;
pub(crate) mod quorum_state;
pub(crate) mod records;
pub(crate) mod replay;
pub(crate) mod snapshot;
mod text;
mod wire;

use std::collections::BTreeMap;

use crate::config::{LogConfig, PARTITIONS_MAX, StoredConfig, TopicConfig};
use crate::error::{Error, Result};
use crate::record::Codec;
use crate::types::{BrokerId, LeaderEpoch, PartitionId, TopicId};

use image::{ClusterImage, TopicImage};
use names::{check_new_name, unknown_topic};
use records::{
    ConfigRecord, MetadataRecord, PartitionChangeRecord, PartitionRecord, RESOURCE_TOPIC, RemoveTopicRecord,
    TopicRecord,
};

pub use text::{control_record_text, metadata_record_text};

/// Kafka's mark for a replica whose data folder is not settled (`DirectoryId.UNASSIGNED`).
const DIRECTORY_UNASSIGNED: TopicId = TopicId::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

/// The records that create a topic: the topic, its configurations, its partitions. `brokers` are those that may hold
/// replicas; the replicas go round among them.
///
/// # Errors
/// [`Error::InvalidTopicName`], [`Error::TopicAlreadyExists`], [`Error::InvalidPartitions`],
/// [`Error::InvalidReplicationFactor`]; [`Error::InvalidConfig`] with every violation; [`Error::UnsupportedCodec`].
pub(crate) fn create_topic(
    image: &ClusterImage,
    name: &str,
    config: &TopicConfig,
    topic_id: TopicId,
    brokers: &[BrokerId],
) -> Result<Vec<MetadataRecord>> {
    let name = check_new_name(image, name)?;
    if image.topic_by_id(topic_id).is_some() || topic_id == TopicId::ZERO {
        return Err(Error::Internal { invariant: "the id of a new topic is unused" });
    }
    check_partitions(image, name.as_str(), 0, config.get_partitions())?;
    let replicas = config.get_replication_factor();
    if replicas == 0 || usize::from(replicas) > brokers.len() {
        return Err(Error::InvalidReplicationFactor {
            topic: name.to_string(),
            requested: u32::from(replicas),
            brokers: u32::try_from(brokers.len()).unwrap_or(u32::MAX),
        });
    }
    config.validate()?;
    check_writable(config.get_log())?;
    let mut records = vec![MetadataRecord::Topic(TopicRecord { name: name.to_string(), topic_id })];
    records.extend(config_changes(name.as_str(), &BTreeMap::new(), &config.to_stored_pairs()));
    let numbers = 0..config.get_partitions();
    records.extend(numbers.map(|number| partition(image, topic_id, number, usize::from(replicas), brokers)));
    Ok(records)
}

/// The records that give a topic more partitions, `total` in all, with as many replicas as the first one has.
///
/// # Errors
/// [`Error::UnknownTopicOrPartition`]; [`Error::InvalidPartitions`] when it would not be more, or too many;
/// [`Error::InvalidReplicationFactor`] when there are fewer brokers than replicas.
pub(crate) fn add_partitions(
    image: &ClusterImage,
    name: &str,
    total: u32,
    brokers: &[BrokerId],
) -> Result<Vec<MetadataRecord>> {
    let topic = existing(image, name)?;
    let current = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
    check_partitions(image, name, current, total)?;
    let replicas = topic.partitions.values().next().map_or(1, |partition| partition.replicas.len());
    if replicas > brokers.len() {
        return Err(Error::InvalidReplicationFactor {
            topic: name.to_owned(),
            requested: u32::try_from(replicas).unwrap_or(u32::MAX),
            brokers: u32::try_from(brokers.len()).unwrap_or(u32::MAX),
        });
    }
    Ok((current..total).map(|number| partition(image, topic.id, number, replicas, brokers)).collect())
}

/// The records that change a topic's configurations: `None` sets one back to its default. Nothing is answered where nothing
/// changes.
///
/// # Errors
/// [`Error::UnknownTopicOrPartition`]; [`Error::InvalidConfig`] with every violation; [`Error::UnsupportedCodec`] when a
/// change names a codec that is not built in.
pub(crate) fn alter_configs(
    image: &ClusterImage,
    name: &str,
    changes: &[(String, Option<String>)],
) -> Result<Vec<MetadataRecord>> {
    let topic = existing(image, name)?;
    let wanted = StoredConfig::altered(&topic.configs, changes)?;
    // A codec that is stored already, by whoever has it built in, does not keep other things from being changed.
    if changes.iter().any(|(key, _)| key == "compression.type") {
        check_writable(&StoredConfig::from_pairs(&wanted)?.log)?;
    }
    Ok(config_changes(topic.name.as_str(), &topic.configs, &wanted))
}

/// A topic whose batches nobody here can compress would take no records.
fn check_writable(config: &LogConfig) -> Result<()> {
    match Codec::of_topic(config) {
        Some(Codec { compression, .. }) if !compression.is_writable() => {
            Err(Error::UnsupportedCodec { codec: compression.as_str() })
        }
        Some(_) | None => Ok(()),
    }
}

/// The record that deletes a topic.
///
/// # Errors
/// [`Error::UnknownTopicOrPartition`].
pub(crate) fn delete_topic(image: &ClusterImage, name: &str) -> Result<Vec<MetadataRecord>> {
    let topic = existing(image, name)?;
    Ok(vec![MetadataRecord::RemoveTopic(RemoveTopicRecord { topic_id: topic.id })])
}

/// The records with which a broker leads every partition that nobody leads and that it is in sync with: Kafka leaves them so
/// after a clean stop.
pub(crate) fn elect_leaders(image: &ClusterImage, broker: BrokerId) -> Vec<MetadataRecord> {
    let leaderless = image.topics().flat_map(|topic| topic.partitions.values());
    let leaderless = leaderless.filter(|partition| partition.leader.is_none() && partition.isr.contains(&broker));
    let elected = leaderless.map(|partition| {
        MetadataRecord::PartitionChange(PartitionChangeRecord {
            partition_id: partition.partition_id,
            topic_id: partition.topic_id,
            isr: None,
            leader: Some(Some(broker)),
            replicas: None,
            removing_replicas: None,
            adding_replicas: None,
            leader_recovery_state: -1,
            eligible_leader_replicas: None,
            last_known_elr: None,
            directories: None,
        })
    });
    elected.collect()
}

fn existing<'a>(image: &'a ClusterImage, name: &str) -> Result<&'a TopicImage> {
    image.topic(name).map(AsRef::as_ref).ok_or_else(|| unknown_topic(image, name))
}

/// Checks that a topic with `current` partitions may have `total`.
fn check_partitions(image: &ClusterImage, name: &str, current: u32, total: u32) -> Result<()> {
    let refused = |reason| Err(Error::InvalidPartitions { topic: name.to_owned(), requested: total, reason });
    let others = u32::try_from(image.partition_count()).unwrap_or(u32::MAX).saturating_sub(current);
    let most = PARTITIONS_MAX.saturating_sub(others);
    if current == 0 && total == 0 {
        return refused(format!("1 to {most} are accepted"));
    }
    if total <= current {
        return refused(format!(
            "it has {current} already and none can be removed: {} to {most} are accepted",
            current + 1
        ));
    }
    if total > most {
        return refused(format!(
            "all topics together may have {PARTITIONS_MAX}, the others have {others}: up to {most} are accepted"
        ));
    }
    Ok(())
}

/// A new partition: its replicas are the brokers from its own place on, the first one leads.
fn partition(
    image: &ClusterImage,
    topic_id: TopicId,
    number: u32,
    replicas: usize,
    brokers: &[BrokerId],
) -> MetadataRecord {
    let first = usize::try_from(number).unwrap_or_default().checked_rem(brokers.len()).unwrap_or_default();
    let replicas: Vec<BrokerId> = brokers.iter().cycle().skip(first).take(replicas).copied().collect();
    let directories: Vec<TopicId> = replicas.iter().map(|broker| directory_of(image, *broker)).collect();
    let are_known = directories.iter().any(|directory| *directory != DIRECTORY_UNASSIGNED);
    MetadataRecord::Partition(PartitionRecord {
        partition_id: i32::try_from(number).ok().and_then(PartitionId::new).unwrap_or(PartitionId::MAX),
        topic_id,
        isr: replicas.clone(),
        removing_replicas: Vec::new(),
        adding_replicas: Vec::new(),
        leader: replicas.first().copied(),
        replicas,
        leader_epoch: LeaderEpoch::ZERO,
        partition_epoch: 0,
        directories: if are_known { directories } else { Vec::new() },
        leader_recovery_state: 0,
        eligible_leader_replicas: None,
        last_known_elr: None,
    })
}

/// A broker's data folder, if it has exactly one.
fn directory_of(image: &ClusterImage, broker: BrokerId) -> TopicId {
    match image.broker(broker).map(|registered| registered.log_dirs.as_slice()) {
        Some([directory]) => *directory,
        Some(_) | None => DIRECTORY_UNASSIGNED,
    }
}

/// The records that turn one set of configurations into another, by key.
fn config_changes(
    topic: &str,
    current: &BTreeMap<String, String>,
    wanted: &BTreeMap<String, String>,
) -> Vec<MetadataRecord> {
    let record = |name: &str, value: Option<&String>| {
        MetadataRecord::Config(ConfigRecord {
            resource_type: RESOURCE_TOPIC,
            resource_name: topic.to_owned(),
            name: name.to_owned(),
            value: value.cloned(),
        })
    };
    let set = wanted.iter().filter(|(name, value)| current.get(*name) != Some(*value));
    let removed = current.keys().filter(|name| !wanted.contains_key(*name));
    set.map(|(name, value)| record(name, Some(value))).chain(removed.map(|name| record(name, None))).collect()
}

#[cfg(test)]
mod tests;
