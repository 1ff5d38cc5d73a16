//! [P] Building a consumer.

use std::sync::Arc;

use crate::broker::Catalog;
use crate::config::{ConsumerConfig, Isolation};
use crate::consumer::Consumer;
use crate::consumer::subscription::{IntoTopicPartition, StartAt};
use crate::error::Result;
use crate::types::TopicPartition;

/// How to read: which partitions, from where, and how much at a time. Nothing is checked before
/// [`build`](Self::build).
#[derive(Debug, Clone)]
pub struct ConsumerBuilder {
    catalog: Arc<dyn Catalog>,
    config: ConsumerConfig,
    start_at: StartAt,
    partitions: Vec<Result<TopicPartition>>,
    topics: Vec<String>,
}

impl ConsumerBuilder {
    pub(crate) fn new(catalog: Arc<dyn Catalog>) -> ConsumerBuilder {
        ConsumerBuilder {
            catalog,
            config: ConsumerConfig::new(),
            start_at: StartAt::default(),
            partitions: Vec::new(),
            topics: Vec::new(),
        }
    }

    /// Everything that can be configured.
    #[must_use]
    pub fn config(mut self, config: ConsumerConfig) -> Self {
        self.config = config;
        self
    }

    /// Which committed records are seen. Default: [`Isolation::ReadCommitted`].
    #[must_use]
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.config = self.config.isolation(isolation);
        self
    }

    /// Reads these partitions too.
    #[must_use]
    pub fn assign<P: IntoTopicPartition>(mut self, partitions: impl IntoIterator<Item = P>) -> Self {
        self.partitions.extend(partitions.into_iter().map(IntoTopicPartition::into_topic_partition));
        self
    }

    /// Reads all partitions that this topic has when the consumer is built too.
    #[must_use]
    pub fn topic(mut self, topic: &str) -> Self {
        self.topics.push(topic.to_owned());
        self
    }

    /// Where to start. Default: [`StartAt::Earliest`]; [`Consumer::seek`] changes it for one partition.
    #[must_use]
    pub fn start_at(mut self, start: StartAt) -> Self {
        self.start_at = start;
        self
    }

    /// The consumer. Its partitions are looked up now; nothing is read yet.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`](crate::Error::InvalidConfig),
    /// [`Error::InvalidTopicName`](crate::Error::InvalidTopicName),
    /// [`Error::InvalidPartition`](crate::Error::InvalidPartition),
    /// [`Error::UnknownTopicOrPartition`](crate::Error::UnknownTopicOrPartition); with a start other than the earliest, also
    /// why a log cannot be opened.
    pub fn build(self) -> Result<Consumer> {
        self.config.validate()?;
        let mut partitions = self.partitions.into_iter().collect::<Result<Vec<_>>>()?;
        for topic in &self.topics {
            partitions.extend(self.catalog.partitions_of(topic)?);
        }
        let mut consumer = Consumer::new(self.catalog, self.config, self.start_at);
        consumer.assign(partitions)?;
        Ok(consumer)
    }
}
