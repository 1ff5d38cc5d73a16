//! [P] A topic and its partitions, as shown to the embedder (Kafka: `TopicDescription`).

use std::collections::BTreeMap;

use crate::broker::{FetchSource, HostedPartition, TopicRoute};
use crate::config::{ConfigEntry, LogConfig, StoredConfig};
use crate::controller::image::Placement;
use crate::error::Result;
use crate::types::{BrokerId, LeaderEpoch, Offset, PartitionId, TopicId, TopicName, TopicPartition};

/// A topic as of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    name: TopicName,
    id: TopicId,
    partition_count: u32,
    config: LogConfig,
    without_effect: BTreeMap<String, String>,
}

impl Topic {
    pub(super) fn new(
        name: TopicName,
        id: TopicId,
        partitions: usize,
        configs: &BTreeMap<String, String>,
    ) -> Result<Topic> {
        let partition_count = u32::try_from(partitions).unwrap_or(u32::MAX);
        let StoredConfig { log: config, without_effect } = StoredConfig::from_pairs(configs)?;
        Ok(Topic { name, id, partition_count, config, without_effect })
    }

    pub(super) fn of(route: &TopicRoute) -> Topic {
        Topic {
            name: route.name.clone(),
            id: route.id,
            partition_count: u32::try_from(route.partitions.len()).unwrap_or(u32::MAX),
            config: route.config.clone(),
            without_effect: route.without_effect.clone(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Its id, which no other topic ever has, of this name or another.
    pub fn id(&self) -> TopicId {
        self.id
    }

    /// How many partitions it has.
    pub fn partition_count(&self) -> u32 {
        self.partition_count
    }

    /// How the log of each partition is kept.
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Every configuration under Kafka's keys, with its default and documentation, and then what is stored of keys that have
    /// no effect here.
    pub fn configs(&self) -> Vec<ConfigEntry> {
        ConfigEntry::all(&self.config, &self.without_effect)
    }

    /// Its partitions, by number.
    pub fn partitions(&self) -> impl Iterator<Item = TopicPartition> + '_ {
        let numbers = (0..self.partition_count).filter_map(|number| PartitionId::new(i32::try_from(number).ok()?));
        numbers.map(|partition| TopicPartition { topic: self.name.clone(), partition })
    }
}

/// Where a partition stands, as of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Partition {
    /// The partition.
    pub topic_partition: TopicPartition,
    /// The broker that leads it; `None` where nobody does, or where no metadata tell.
    pub leader: Option<BrokerId>,
    /// The epoch that the leader writes under; `None` where no metadata tell.
    pub leader_epoch: Option<LeaderEpoch>,
    /// The brokers that hold it, the preferred leader first.
    pub replicas: Vec<BrokerId>,
    /// Those of them that hold everything that is committed.
    pub in_sync_replicas: Vec<BrokerId>,
    /// The first offset that may be read.
    pub log_start_offset: Offset,
    /// The end of what belongs to no open transaction.
    pub last_stable_offset: Offset,
    /// The end of what is committed.
    pub high_watermark: Offset,
    /// The offset of the next record.
    pub log_end_offset: Offset,
    /// Bytes in its segments' logs.
    pub size_in_bytes: u64,
    /// How many segments it has.
    pub segment_count: usize,
    /// Whether it takes writes: not with damage, and not after a failed write or sync.
    pub is_writable: bool,
}

impl Partition {
    pub(super) fn of(hosted: &HostedPartition, placement: Placement) -> Result<Partition> {
        let log = hosted.log()?;
        let segments = log.segments();
        Ok(Partition {
            topic_partition: hosted.topic_partition().clone(),
            leader: placement.leader,
            leader_epoch: placement.leader_epoch,
            replicas: placement.replicas,
            in_sync_replicas: placement.in_sync,
            log_start_offset: log.log_start_offset(),
            last_stable_offset: log.last_stable_offset(),
            high_watermark: log.high_watermark(),
            log_end_offset: log.log_end_offset(),
            size_in_bytes: segments.iter().map(|segment| segment.size_in_bytes()).sum(),
            segment_count: segments.len(),
            is_writable: log.check_online().is_ok(),
        })
    }
}
