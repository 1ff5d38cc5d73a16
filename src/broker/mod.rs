//! [S] A broker: the partitions that it hosts, who waits for them, and the work in their background.
//!
//! Clients talk to it through the [`Router`](router::Router), which knows the topics. Kafka's counterparts: `ReplicaManager`,
//! `KafkaApis`.

mod background;
mod counters;
mod host;
mod metadata_files;
mod metadata_log;
mod onlooker;
mod partition;
mod purgatory;
mod retention;
mod router;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{LogConfig, ReadMode, StoredConfig};
use crate::controller::image::TopicImage;
use crate::error::{Error, Result};
use crate::sync::{Rank, RankedMutex};
use crate::time::Instant;
use crate::types::{LeaderEpoch, TopicId, TopicPartition};

pub(crate) use background::{Background, Due, Job, TimedClient};
pub(crate) use host::Host;
pub(crate) use metadata_log::MetadataLog;
pub(crate) use onlooker::{Onlooker, WatchedTopic};
pub(crate) use partition::{HostedPartition, Produce, SyncBy};
pub(crate) use purgatory::{Appended, Deadline, Released};
pub(crate) use router::{Router, TopicRoute};
#[cfg(test)]
pub(crate) use source::PartitionOffsets;
pub(crate) use source::{Catalog, FetchSource, Parked};

/// One broker.
#[derive(Debug)]
pub(crate) struct Broker {
    host: Arc<Host>,
    partitions: RankedMutex<BTreeMap<TopicPartition, Arc<HostedPartition>>>,
}

/// What a broker's logs hold that is not durable, and which of them take no writes any more.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LogHealth {
    pub(crate) open_logs: u64,
    pub(crate) unsynced_bytes: u64,
    pub(crate) offline_logs: u64,
}

impl Broker {
    pub(crate) fn new(host: Arc<Host>) -> Broker {
        Broker { host, partitions: RankedMutex::new(Rank::BrokerPartitions, BTreeMap::new()) }
    }

    pub(crate) fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// Hosts a partition. Its log is opened on first use.
    pub(crate) fn host_partition(
        &self,
        tp: TopicPartition,
        topic_id: TopicId,
        epoch: LeaderEpoch,
        config: LogConfig,
    ) -> Arc<HostedPartition> {
        let hosted = HostedPartition::new(Arc::clone(&self.host), tp.clone(), topic_id, epoch, config);
        self.partitions.lock().insert(tp, Arc::clone(&hosted));
        hosted
    }

    /// What clients need of a topic: its partitions, hosted from now on unless they are in `old`. `read_mode` is not in the
    /// metadata.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] when the metadata hold a value that cannot be.
    pub(crate) fn route(
        &self,
        image: &TopicImage,
        old: Option<&TopicRoute>,
        read_mode: ReadMode,
    ) -> Result<TopicRoute> {
        let StoredConfig { log, without_effect } = StoredConfig::from_pairs(&image.configs)?;
        let config = log.read_mode(read_mode);
        let partitions = image.partitions.values().map(|partition| {
            let number = partition.partition_id;
            let hosted = old.and_then(|old| old.partition(number.get()).ok()).cloned();
            hosted.unwrap_or_else(|| {
                let tp = TopicPartition { topic: image.name.clone(), partition: number };
                self.host_partition(tp, image.id, partition.leader_epoch, config.clone())
            })
        });
        let partitions = partitions.collect();
        Ok(TopicRoute { name: image.name.clone(), id: image.id, config, without_effect, partitions })
    }

    /// Gives a partition up. Whoever waits at it is to be told, by the caller once he holds no lock.
    pub(crate) fn retire_partition(&self, tp: &TopicPartition, error: Error) -> Released {
        let retired = self.partitions.lock().remove(tp);
        retired.map(|partition| partition.retire(error)).unwrap_or_default()
    }

    /// Gives all partitions up.
    pub(crate) fn retire_all(&self, error: &Error) -> Vec<Released> {
        let retired = std::mem::take(&mut *self.partitions.lock());
        retired.into_values().map(|partition| partition.retire(error.clone())).collect()
    }

    /// Every partition that it hosts.
    pub(crate) fn partitions(&self) -> Vec<Arc<HostedPartition>> {
        self.partitions.lock().values().cloned().collect()
    }

    /// Does one job of the background.
    pub(crate) fn run(&self, job: &Job) {
        match job {
            // A failure took the partition offline and was told to everybody who waited.
            Job::Sync(partition) => drop(partition.sync()),
            Job::Flush(partition) => drop(partition.on_flush_due()),
            Job::Checkpoint => self.checkpoint(),
            Job::Expire => self.expire(self.host.clock.now().mono),
            Job::Retention => self.apply_retention(self.host.clock.now()),
            Job::Removal => self.remove_due(self.host.clock.now()),
        }
    }

    /// Writes the positions from which recovery starts, and counts what that made durable.
    fn checkpoint(&self) {
        // A log that fails here is offline afterwards, which its partition finds below.
        let _ = self.host.directory.checkpoint();
        for partition in self.partitions() {
            partition.on_checkpoint();
        }
    }

    fn expire(&self, now: Instant) {
        let next = self.partitions().iter().filter_map(|partition| partition.expire(now)).min();
        if let Some(next) = next {
            self.host.background.expire_at(next);
        }
    }

    /// Looks at every open log.
    pub(crate) fn health(&self) -> LogHealth {
        let mut health = LogHealth::default();
        for partition in self.partitions() {
            let Some(log) = partition.opened_log() else { continue };
            health.open_logs += 1;
            health.unsynced_bytes += partition.unsynced_bytes();
            health.offline_logs += u64::from(log.check_online().is_err());
        }
        health
    }
}
