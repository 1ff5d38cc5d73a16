//! [S] From a topic's name to the partitions that lead it (Kafka: the metadata cache).
//!
//! A client resolves a topic once and keeps the [`TopicRoute`]; [`Router::version`] tells it when to look again. Lock rank:
//! `ClusterImage`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::broker::host::Host;
use crate::broker::partition::HostedPartition;
use crate::broker::source::{Catalog, FetchSource};
use crate::config::LogConfig;
use crate::error::{Error, Result};
use crate::sync::{Rank, RankedMutex};
use crate::time::Clock;
use crate::types::{TopicId, TopicName, TopicPartition};

/// One topic, as of one moment.
#[derive(Debug, Clone)]
pub(crate) struct TopicRoute {
    pub(crate) name: TopicName,
    pub(crate) id: TopicId,
    pub(crate) config: LogConfig,
    /// What is stored of the topic's configuration and has no effect here.
    pub(crate) without_effect: BTreeMap<String, String>,
    /// The leaders of its partitions, by number.
    pub(crate) partitions: Arc<[Arc<HostedPartition>]>,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Router {
    host: Arc<Host>,
    may_sleep: bool,
    topics: RankedMutex<BTreeMap<TopicName, Arc<TopicRoute>>>,
    /// Grows with every change of `topics`, after it. Read without the lock: who sees an old value looks again later.
    version: AtomicU64,
}

impl Router {
    /// `may_sleep`: whether threads drive the engine while a client waits.
    pub(crate) fn new(host: Arc<Host>, may_sleep: bool) -> Router {
        let topics = RankedMutex::new(Rank::ClusterImage, BTreeMap::new());
        Router { host, may_sleep, topics, version: AtomicU64::new(0) }
    }

    pub(crate) fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// The topic.
    ///
    /// # Errors
    /// [`Error::UnknownTopicOrPartition`] with the nearest name.
    pub(crate) fn topic(&self, name: &str) -> Result<Arc<TopicRoute>> {
        let topics = self.topics.lock();
        topics.get(name).cloned().ok_or_else(|| Error::unknown_topic(name, topics.keys().map(TopicName::as_str)))
    }

    /// The leader of a partition.
    ///
    /// # Errors
    /// [`Error::UnknownTopicOrPartition`].
    pub(crate) fn leader(&self, tp: &TopicPartition) -> Result<Arc<HostedPartition>> {
        let topic = self.topic(tp.topic.as_str())?;
        topic.partition(tp.partition.get()).cloned()
    }

    /// Every topic, by name.
    pub(crate) fn topics(&self) -> Vec<Arc<TopicRoute>> {
        self.topics.lock().values().cloned().collect()
    }

    /// Grows with every change of the topics.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Adds a topic or replaces it.
    pub(crate) fn insert(&self, route: TopicRoute) {
        self.topics.lock().insert(route.name.clone(), Arc::new(route));
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Removes a topic.
    pub(crate) fn remove(&self, name: &str) {
        self.topics.lock().remove(name);
        self.version.fetch_add(1, Ordering::Release);
    }
}

impl TopicRoute {
    /// The leader of the partition with this number.
    ///
    /// # Errors
    /// [`Error::UnknownTopicOrPartition`].
    pub(crate) fn partition(&self, number: i32) -> Result<&Arc<HostedPartition>> {
        let found = usize::try_from(number).ok().and_then(|index| self.partitions.get(index));
        found.ok_or_else(|| Error::UnknownTopicOrPartition {
            topic: self.name.to_string(),
            partition: Some(number),
            nearest: None,
        })
    }
}

impl Catalog for Router {
    fn source(&self, tp: &TopicPartition) -> Result<Arc<dyn FetchSource>> {
        Ok(self.leader(tp)?)
    }

    fn partitions_of(&self, topic: &str) -> Result<Vec<TopicPartition>> {
        let topic = self.topic(topic)?;
        Ok(topic.partitions.iter().map(|partition| partition.topic_partition().clone()).collect())
    }

    fn clock(&self) -> &Arc<dyn Clock> {
        &self.host.clock
    }

    fn may_sleep(&self) -> bool {
        self.may_sleep
    }
}
