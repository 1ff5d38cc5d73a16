//! [D] A cluster that another process owns, or nobody: looked at, never changed.

use std::path::Path;
use std::sync::Arc;

use crate::broker::{Catalog, FetchSource, Onlooker, WatchedTopic};
use crate::cluster::Cluster;
use crate::cluster::topic::{Partition, Topic};
use crate::consumer::ConsumerBuilder;
use crate::error::Result;
use crate::log::ReadOnlyDirectory;
use crate::time::SystemClock;
use crate::types::TopicPartition;

/// A data folder that is only looked at: no lock is taken and no byte changed, and its owner may go on writing.
///
/// One who looks sees what is committed, while the owner lives and after it died; only where nothing tells what is
/// committed, as in a folder that Kafka wrote, everything up to the last whole batch.
#[derive(Debug)]
pub struct ReadOnlyCluster {
    onlooker: Arc<Onlooker>,
}

impl Cluster {
    /// Opens a data folder for looking, from this process or another one.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io): no such folder, or not readable. [`Error::InvalidState`](crate::Error::InvalidState): it
    /// is not a data folder. [`Error::UnsupportedFormat`](crate::Error::UnsupportedFormat): a newer version wrote it.
    ///
    /// # Examples
    /// ```
    /// use logstead::cluster::Cluster;
    /// use logstead::config::TopicConfig;
    /// # let folder = tempfile::tempdir()?;
    /// let owner = Cluster::open(folder.path())?;
    /// owner.create_topic("orders", TopicConfig::new())?;
    /// let looked_at = Cluster::open_read_only(folder.path())?; // works beside the owner
    /// assert_eq!(looked_at.topics()?.len(), 1);
    /// assert_eq!(looked_at.owner()?, Some(std::process::id()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<ReadOnlyCluster> {
        let directory = ReadOnlyDirectory::open(path)?;
        let onlooker = Onlooker::new(directory, Arc::new(SystemClock::new()))?;
        Ok(ReadOnlyCluster { onlooker: Arc::new(onlooker) })
    }
}

impl ReadOnlyCluster {
    /// The data folder.
    pub fn path(&self) -> &Path {
        self.onlooker.directory().path()
    }

    /// The process that owns the folder now; `None` when nobody does.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub fn owner(&self) -> Result<Option<u32>> {
        self.onlooker.directory().owner()
    }

    /// Looks for topics that were created, changed or deleted since the last look.
    ///
    /// # Errors
    /// Those of reading the metadata log.
    pub fn refresh(&self) -> Result<()> {
        self.onlooker.refresh()
    }

    /// Every topic, by name, as of the last look.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`](crate::Error::InvalidConfig) when the metadata hold a value that cannot be.
    pub fn topics(&self) -> Result<Vec<Topic>> {
        self.onlooker.topics().iter().map(topic_of).collect()
    }

    /// One topic.
    ///
    /// # Errors
    /// [`Error::UnknownTopicOrPartition`](crate::Error::UnknownTopicOrPartition) with the nearest name.
    pub fn topic(&self, name: &str) -> Result<Topic> {
        topic_of(&self.onlooker.topic(name)?)
    }

    /// A new consumer. It sees what is committed, as the owner goes on; while there is nothing new it looks again after 1 to
    /// 50 ms.
    ///
    /// # Examples
    /// ```
    /// use logstead::{Cluster, TopicConfig};
    /// use std::time::Duration;
    /// # let folder = tempfile::tempdir()?;
    /// let owner = Cluster::open(folder.path())?;
    /// owner.create_topic("orders", TopicConfig::new())?;
    /// let producer = owner.producer().build()?;
    /// producer.topic("orders")?.send("key", "value")?.wait()?;
    /// let looked_at = Cluster::open_read_only(folder.path())?; // usually in another process
    /// let mut consumer = looked_at.consumer().topic("orders").build()?;
    /// assert_eq!(consumer.poll(Duration::from_secs(1))?.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn consumer(&self) -> ConsumerBuilder {
        ConsumerBuilder::new(Arc::clone(&self.onlooker) as Arc<dyn Catalog>)
    }

    pub(super) fn catalog(&self) -> &dyn Catalog {
        &*self.onlooker
    }

    /// Where each partition of a topic stands. One who looks knows of no end but what is committed.
    ///
    /// # Errors
    /// [`Error::UnknownTopicOrPartition`](crate::Error::UnknownTopicOrPartition); those of opening a log.
    pub fn describe_topic(&self, name: &str) -> Result<Vec<Partition>> {
        let topic = self.onlooker.topic(name)?;
        let partitions = topic.partitions.into_iter().map(|(partition, placement)| {
            let tp = TopicPartition { topic: topic.name.clone(), partition };
            let watched = self.onlooker.partition(&tp)?;
            let offsets = watched.offsets()?;
            let segments = watched.log()?.map(|log| log.segments()).unwrap_or_default();
            Ok(Partition {
                topic_partition: tp,
                leader: placement.leader,
                leader_epoch: placement.leader_epoch,
                replicas: placement.replicas,
                in_sync_replicas: placement.in_sync,
                log_start_offset: offsets.log_start,
                last_stable_offset: offsets.last_stable,
                high_watermark: offsets.high_watermark,
                log_end_offset: offsets.high_watermark,
                size_in_bytes: segments.iter().map(|segment| segment.size_in_bytes()).sum(),
                segment_count: segments.len(),
                is_writable: false,
            })
        });
        partitions.collect()
    }
}

fn topic_of(topic: &WatchedTopic) -> Result<Topic> {
    Topic::new(topic.name.clone(), topic.id, topic.partitions.len(), &topic.configs)
}
