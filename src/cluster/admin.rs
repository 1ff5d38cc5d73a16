//! [S] Topics: create, list, describe, change, delete (Kafka: `Admin`, `ControllerApis`).

use crate::cluster::Cluster;
use crate::config::LogConfig;
use crate::error::Result;
use crate::types::{LeaderEpoch, TopicId, TopicName, TopicPartition};

#[derive(Debug, Default)]
pub(super) struct AdminState {
    created: u64,
}

/// A topic as of one moment.
#[derive(Debug, Clone)]
pub struct Topic {
    pub(crate) name: TopicName,
    pub(crate) id: TopicId,
    pub(crate) partitions: Vec<Partition>,
}

/// A partition as of one moment.
#[derive(Debug, Clone)]
pub struct Partition {
    pub(crate) tp: TopicPartition,
}

impl Cluster {
    /// Stand-in until the metadata log is there.
    pub fn create_topic(&self, name: &str, partitions: u32, config: LogConfig) -> Result<()> {
        let name = TopicName::new(name)?;
        let id = {
            let mut admin = self.inner.admin.lock();
            admin.created += 1;
            TopicId::from_random([admin.created, 0x4000_0000_0000_0001]).unwrap_or(TopicId::from_bytes([7; 16]))
        };
        let mut hosted = Vec::new();
        for number in 0..i32::try_from(partitions).unwrap_or(1) {
            let tp = TopicPartition::new(name.as_str(), number)?;
            hosted.push(self.inner.broker.host_partition(tp, id, LeaderEpoch::ZERO, config.clone()));
        }
        let route = crate::broker::TopicRoute { name, id, config, partitions: hosted.into() };
        self.inner.router.insert(route);
        Ok(())
    }
}
