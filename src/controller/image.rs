//! [P] What the cluster's metadata say as of one offset of the metadata log (Kafka: `MetadataImage`).
//!
//! An image changes by records only, and the records that it gives out build the same image again. It is cheap to clone:
//! topics are shared until they change. A record that changes what does not exist is damage: the log is then not the one
//! that the image was built from. One exception, which Kafka's own snapshots need: configurations of a topic that does not
//! exist say nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::records::{
    BrokerRegistrationChangeRecord, ConfigRecord, FeatureLevelRecord, MetadataRecord, PartitionChangeRecord,
    PartitionRecord, ProducerIdsRecord, RESOURCE_TOPIC, RegisterBrokerRecord, RegisterControllerRecord, TopicRecord,
};
use crate::error::{Damage, Error, Result};
use crate::types::{BrokerId, LeaderEpoch, PartitionId, ProducerId, TopicId, TopicName};

/// The name of the feature that says which records a metadata log may hold.
pub(crate) const METADATA_VERSION: &str = "metadata.version";

/// The cluster's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClusterImage {
    topics: BTreeMap<TopicName, Arc<TopicImage>>,
    names: BTreeMap<TopicId, TopicName>,
    features: BTreeMap<String, i16>,
    brokers: BTreeMap<BrokerId, RegisterBrokerRecord>,
    controllers: BTreeMap<BrokerId, RegisterControllerRecord>,
    /// Configurations of everything but topics, by kind and name.
    other_configs: BTreeMap<(i8, String), BTreeMap<String, String>>,
    next_producer_id: ProducerId,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicImage {
    /// Its name.
    pub(crate) name: TopicName,
    /// Its id.
    pub(crate) id: TopicId,
    /// Its partitions: replicas, in-sync set, leader, epochs.
    pub(crate) partitions: BTreeMap<PartitionId, PartitionRecord>,
    /// Its configurations that are not at Kafka's default, under Kafka's keys.
    pub(crate) configs: BTreeMap<String, String>,
}

/// Who leads a partition and who holds it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Placement {
    /// None where nobody leads it, or where that is not known.
    pub(crate) leader: Option<BrokerId>,
    pub(crate) leader_epoch: Option<LeaderEpoch>,
    pub(crate) replicas: Vec<BrokerId>,
    pub(crate) in_sync: Vec<BrokerId>,
}

impl From<&PartitionRecord> for Placement {
    fn from(record: &PartitionRecord) -> Placement {
        Placement {
            leader: record.leader,
            leader_epoch: Some(record.leader_epoch),
            replicas: record.replicas.clone(),
            in_sync: record.isr.clone(),
        }
    }
}

impl Default for ClusterImage {
    fn default() -> ClusterImage {
        ClusterImage {
            topics: BTreeMap::new(),
            names: BTreeMap::new(),
            features: BTreeMap::new(),
            brokers: BTreeMap::new(),
            controllers: BTreeMap::new(),
            other_configs: BTreeMap::new(),
            next_producer_id: ProducerId::ZERO,
        }
    }
}

impl ClusterImage {
    /// The topic of this name.
    pub(crate) fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.topics.get(name)
    }

    /// The topic with this id.
    pub(crate) fn topic_by_id(&self, id: TopicId) -> Option<&Arc<TopicImage>> {
        self.topics.get(self.names.get(&id)?)
    }

    /// Every topic, by name.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.topics.values()
    }

    /// How many partitions all topics have together.
    pub(crate) fn partition_count(&self) -> usize {
        self.topics.values().map(|topic| topic.partitions.len()).sum()
    }

    /// The level of a feature; `None` when the cluster does not have it.
    pub(crate) fn feature(&self, name: &str) -> Option<i16> {
        self.features.get(name).copied()
    }

    /// A broker's registration.
    pub(crate) fn broker(&self, id: BrokerId) -> Option<&RegisterBrokerRecord> {
        self.brokers.get(&id)
    }

    /// Every registered broker, by id.
    #[cfg(test)]
    pub(crate) fn brokers(&self) -> impl Iterator<Item = &RegisterBrokerRecord> {
        self.brokers.values()
    }

    /// The first producer id that nobody has taken.
    #[cfg(test)]
    pub(crate) fn next_producer_id(&self) -> ProducerId {
        self.next_producer_id
    }

    /// Takes in one record. After an error the image is as it was. What begins and ends transactions changes nothing here:
    /// see `Replay`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the record changes what does not exist, or creates what does.
    pub(crate) fn apply(&mut self, record: &MetadataRecord) -> Result<()> {
        match record {
            MetadataRecord::Topic(record) => self.add_topic(record)?,
            MetadataRecord::Partition(record) => {
                let partition = record.clone();
                self.change_topic(record.topic_id)?.partitions.insert(record.partition_id, partition);
            }
            MetadataRecord::PartitionChange(record) => self.change_partition(record)?,
            MetadataRecord::Config(record) => self.change_config(record),
            MetadataRecord::RemoveTopic(record) => {
                let name = self.names.remove(&record.topic_id).ok_or_else(unknown_topic)?;
                self.topics.remove(&name);
            }
            MetadataRecord::FeatureLevel(FeatureLevelRecord { name, feature_level: 0 }) => {
                self.features.remove(name);
            }
            MetadataRecord::FeatureLevel(record) => {
                self.features.insert(record.name.clone(), record.feature_level);
            }
            MetadataRecord::RegisterBroker(record) => {
                self.brokers.insert(record.broker_id, record.clone());
            }
            MetadataRecord::UnregisterBroker(record) => {
                self.brokers.remove(&record.broker_id).ok_or_else(unknown_broker)?;
            }
            MetadataRecord::FenceBroker(record) => self.change_broker(record.id)?.fenced = true,
            MetadataRecord::UnfenceBroker(record) => self.change_broker(record.id)?.fenced = false,
            MetadataRecord::BrokerRegistrationChange(record) => self.change_registration(record)?,
            MetadataRecord::ProducerIds(record) => self.next_producer_id = record.next_producer_id,
            MetadataRecord::RegisterController(record) => {
                self.controllers.insert(record.controller_id, record.clone());
            }
            MetadataRecord::NoOp(_)
            | MetadataRecord::BeginTransaction(_)
            | MetadataRecord::EndTransaction(_)
            | MetadataRecord::AbortTransaction(_) => {}
        }
        Ok(())
    }

    /// The records that build this image from nothing, in the order of Kafka's snapshots.
    pub(crate) fn to_records(&self) -> impl Iterator<Item = MetadataRecord> + '_ {
        let features = self.features.iter().map(|(name, level)| {
            MetadataRecord::FeatureLevel(FeatureLevelRecord { name: name.clone(), feature_level: *level })
        });
        let brokers = self.brokers.values().cloned().map(MetadataRecord::RegisterBroker);
        let controllers = self.controllers.values().cloned().map(MetadataRecord::RegisterController);
        let topics = self.topics.values().flat_map(|topic| topic.to_records());
        let configs = self.other_configs.iter().flat_map(|((resource_type, resource_name), configs)| {
            configs.iter().map(move |(name, value)| config_record(*resource_type, resource_name, name, value))
        });
        let producer_ids = (self.next_producer_id > ProducerId::ZERO).then(|| {
            let next_producer_id = self.next_producer_id;
            MetadataRecord::ProducerIds(ProducerIdsRecord { broker_id: None, broker_epoch: -1, next_producer_id })
        });
        // metadata.version must come first: it says what may follow.
        let (first, others): (Vec<_>, Vec<_>) = features.partition(is_metadata_version);
        first
            .into_iter()
            .chain(others)
            .chain(brokers)
            .chain(controllers)
            .chain(topics)
            .chain(configs)
            .chain(producer_ids)
    }

    fn add_topic(&mut self, record: &TopicRecord) -> Result<()> {
        let name = TopicName::new(&record.name).map_err(|_| damaged("a topic's name is illegal"))?;
        if record.topic_id == TopicId::ZERO {
            return Err(damaged("a topic has the id that means none"));
        }
        if self.names.contains_key(&record.topic_id) || self.topics.contains_key(&name) {
            return Err(damaged("a topic is created that exists already"));
        }
        let topic = TopicImage {
            name: name.clone(),
            id: record.topic_id,
            partitions: BTreeMap::new(),
            configs: BTreeMap::new(),
        };
        self.names.insert(record.topic_id, name.clone());
        self.topics.insert(name, Arc::new(topic));
        Ok(())
    }

    fn change_topic(&mut self, id: TopicId) -> Result<&mut TopicImage> {
        let name = self.names.get(&id).ok_or_else(unknown_topic)?;
        self.topics.get_mut(name).map(Arc::make_mut).ok_or_else(unknown_topic)
    }

    /// Leader and in-sync set change together with their epochs; a field that is absent stays (Kafka:
    /// `PartitionRegistration.merge`).
    fn change_partition(&mut self, change: &PartitionChangeRecord) -> Result<()> {
        let topic = self.change_topic(change.topic_id)?;
        let partition = topic
            .partitions
            .get_mut(&change.partition_id)
            .ok_or_else(|| damaged("a metadata record changes a partition that does not exist"))?;
        let next_epoch = partition
            .partition_epoch
            .checked_add(1)
            .ok_or_else(|| damaged("the epochs of a partition are exhausted"))?;
        if let Some(leader) = change.leader {
            let raised = partition.leader_epoch.get().checked_add(1).and_then(crate::types::LeaderEpoch::new);
            partition.leader_epoch = raised.ok_or_else(|| damaged("the leader epochs of a partition are exhausted"))?;
            partition.leader = leader;
        }
        partition.partition_epoch = next_epoch;
        replace(&mut partition.isr, &change.isr);
        replace(&mut partition.replicas, &change.replicas);
        replace(&mut partition.removing_replicas, &change.removing_replicas);
        replace(&mut partition.adding_replicas, &change.adding_replicas);
        replace(&mut partition.directories, &change.directories);
        for (current, new) in [
            (&mut partition.eligible_leader_replicas, &change.eligible_leader_replicas),
            (&mut partition.last_known_elr, &change.last_known_elr),
        ] {
            if new.is_some() {
                current.clone_from(new);
            }
        }
        if change.leader_recovery_state >= 0 {
            partition.leader_recovery_state = change.leader_recovery_state;
        }
        Ok(())
    }

    fn change_config(&mut self, record: &ConfigRecord) {
        if record.resource_type == RESOURCE_TOPIC {
            if let Some(topic) = self.topics.get_mut(record.resource_name.as_str()) {
                set_or_remove(&mut Arc::make_mut(topic).configs, record);
            }
            return;
        }
        let resource = (record.resource_type, record.resource_name.clone());
        let configs = self.other_configs.entry(resource.clone()).or_default();
        set_or_remove(configs, record);
        if configs.is_empty() {
            self.other_configs.remove(&resource);
        }
    }

    fn change_broker(&mut self, id: BrokerId) -> Result<&mut RegisterBrokerRecord> {
        self.brokers.get_mut(&id).ok_or_else(unknown_broker)
    }

    fn change_registration(&mut self, change: &BrokerRegistrationChangeRecord) -> Result<()> {
        let broker = self.change_broker(change.broker_id)?;
        match change.fenced {
            0 => {}
            fenced => broker.fenced = fenced > 0,
        }
        if change.in_controlled_shutdown > 0 {
            broker.in_controlled_shutdown = true;
        }
        if !change.log_dirs.is_empty() {
            broker.log_dirs.clone_from(&change.log_dirs);
        }
        Ok(())
    }
}

impl TopicImage {
    fn to_records(&self) -> impl Iterator<Item = MetadataRecord> + '_ {
        let topic = TopicRecord { name: self.name.to_string(), topic_id: self.id };
        let configs =
            self.configs.iter().map(|(name, value)| config_record(RESOURCE_TOPIC, self.name.as_str(), name, value));
        let partitions = self.partitions.values().cloned().map(MetadataRecord::Partition);
        std::iter::once(MetadataRecord::Topic(topic)).chain(configs).chain(partitions)
    }
}

fn is_metadata_version(record: &MetadataRecord) -> bool {
    matches!(record, MetadataRecord::FeatureLevel(feature) if feature.name == METADATA_VERSION)
}

fn config_record(resource_type: i8, resource_name: &str, name: &str, value: &str) -> MetadataRecord {
    MetadataRecord::Config(ConfigRecord {
        resource_type,
        resource_name: resource_name.to_owned(),
        name: name.to_owned(),
        value: Some(value.to_owned()),
    })
}

fn set_or_remove(configs: &mut BTreeMap<String, String>, record: &ConfigRecord) {
    match &record.value {
        Some(value) => configs.insert(record.name.clone(), value.clone()),
        None => configs.remove(&record.name),
    };
}

fn replace<T: Clone>(current: &mut Vec<T>, new: &Option<Vec<T>>) {
    if let Some(new) = new {
        current.clone_from(new);
    }
}

fn unknown_topic() -> Error {
    damaged("a metadata record changes a topic that does not exist")
}

fn unknown_broker() -> Error {
    damaged("a metadata record changes a broker that does not exist")
}

fn damaged(rule: &'static str) -> Error {
    Error::corrupt(0, Damage::Structure(rule))
}
