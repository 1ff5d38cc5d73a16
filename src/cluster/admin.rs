//! [S] Topics: create, list, describe, change, delete (Kafka: `Admin`, `ControllerApis`).
//!
//! Every change is one batch of the metadata log, durable before anything else happens; what follows from it (folders,
//! configurations of open logs) is brought about afterwards, and after a crash at the next open. So each change is there as a
//! whole or not at all. Lock rank: `ClusterAdmin`, a token under which one change is made at a time; whoever waited at a
//! partition that went is told after it is released.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::{Broker, FetchSource, MetadataLog, Released, TopicRoute};
use crate::cluster::topic::{Partition, Topic};
use crate::cluster::{Cluster, ClusterInner};
use crate::config::TopicConfig;
use crate::controller;
use crate::controller::image::{ClusterImage, Placement, TopicImage};
use crate::controller::names;
use crate::controller::records::MetadataRecord;
use crate::error::{Error, Result};
use crate::rng::Rng;
use crate::time::Now;
use crate::types::{Offset, TopicId, TopicPartition};

/// Which records of a partition are to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordsToDelete {
    /// Those below this offset.
    Before(Offset),
    /// All that are committed.
    UpToHighWatermark,
}

/// What the controller of this process knows and writes.
#[derive(Debug)]
pub(super) struct AdminState {
    pub(super) metadata: MetadataLog,
    pub(super) image: ClusterImage,
    pub(super) rng: Rng,
    /// Partitions of deleted topics whose folders still have their names, and how long their files are to stay.
    pub(super) leftovers: Vec<(TopicId, TopicPartition, Duration)>,
}

impl AdminState {
    /// Makes a change durable and takes it over; `records` are what the controller decided.
    pub(super) fn commit(&mut self, records: &[MetadataRecord], now: Now) -> Result<()> {
        let mut next = self.image.clone();
        records.iter().try_for_each(|record| next.apply(record))?;
        self.metadata.append(records, now)?;
        self.image = next;
        // A snapshot that cannot be taken now is tried again with the next change; the log is complete without it.
        let _ = self.metadata.maybe_snapshot(&self.image, now);
        Ok(())
    }

    fn topic(&self, id: TopicId) -> Result<Arc<TopicImage>> {
        let found = self.image.topic_by_id(id).cloned();
        found.ok_or(Error::Internal { invariant: "a topic that was just written is in the image" })
    }

    fn new_topic_id(&mut self) -> TopicId {
        loop {
            let id = TopicId::from_random([self.rng.next_u64(), self.rng.next_u64()]);
            if let Some(id) = id.filter(|id| self.image.topic_by_id(*id).is_none()) {
                return id;
            }
        }
    }

    /// Takes their names from the folders of deleted topics, and lets the metadata forget those that are gone. What cannot be
    /// renamed now is tried again with the next change; the files are removed in the background.
    pub(super) fn remove_leftovers(&mut self, broker: &Broker, now: Now) {
        let directory = &broker.host().directory;
        let (mut gone, mut kept) = (Vec::new(), Vec::new());
        for (topic_id, tp, delay) in std::mem::take(&mut self.leftovers) {
            let deleted = match directory.partition_topic_id(&tp) {
                Ok(Some(id)) if id == topic_id => directory.delete_log_later(&tp, delay),
                Ok(_) => Ok(()),
                Err(error) => Err(error),
            };
            match deleted {
                Ok(()) => gone.push(topic_id),
                Err(_) => kept.push((topic_id, tp, delay)),
            }
        }
        if gone.is_empty() {
            self.leftovers = kept;
            return;
        }
        broker.remove_due(now);
        for topic_id in gone {
            if !kept.iter().any(|(id, ..)| *id == topic_id) {
                self.metadata.on_folders_removed(topic_id);
            }
        }
        self.leftovers = kept;
    }

    /// Refuses a topic whose predecessor of the same name still has a folder, since it would find the predecessor's bytes.
    fn check_no_leftover(&self, name: &str) -> Result<()> {
        let is_in_the_way = self.leftovers.iter().any(|(_, tp, _)| tp.topic.as_str() == name);
        let state = "the folders of its deleted predecessor cannot be removed yet; try again, or open the cluster anew";
        if is_in_the_way { Err(Error::InvalidState { operation: "create the topic", state }) } else { Ok(()) }
    }
}

impl Cluster {
    /// Creates a topic. It is there for good when this returns; the folders of its partitions appear as they are used.
    ///
    /// # Errors
    /// - [`Error::InvalidTopicName`], [`Error::TopicAlreadyExists`] (also for a name that differs in `.` and `_` only).
    /// - [`Error::InvalidPartitions`], [`Error::InvalidReplicationFactor`], [`Error::InvalidConfig`].
    /// - [`Error::UnsupportedCodec`]: the topic's codec is not built in for writing.
    /// - [`Error::OutOfSpace`]: nothing was created. [`Error::Io`]: opening the cluster again tells whether it was.
    ///
    /// # Examples
    /// ```
    /// use logstead::cluster::Cluster;
    /// use logstead::config::TopicConfig;
    /// # let folder = tempfile::tempdir()?;
    /// let cluster = Cluster::open(folder.path())?;
    /// let orders = cluster.create_topic("orders", TopicConfig::new().partitions(6))?;
    /// assert_eq!((orders.name(), orders.partition_count()), ("orders", 6));
    /// assert!(cluster.create_topic("orders", TopicConfig::new()).is_err());
    /// cluster.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create_topic(&self, name: &str, config: TopicConfig) -> Result<Topic> {
        self.inner.administer(|inner, admin, now, _| {
            let topic_id = admin.new_topic_id();
            let brokers = [inner.broker.host().broker_id];
            let records = controller::create_topic(&admin.image, name, &config, topic_id, &brokers)?;
            admin.remove_leftovers(&inner.broker, now);
            admin.check_no_leftover(name)?;
            admin.commit(&records, now)?;
            let image = admin.topic(topic_id)?;
            let route = inner.broker.route(&image, None, config.get_log().get_read_mode())?;
            Ok(inner.publish(route))
        })
    }

    /// Every topic, by name. Opens no log.
    pub fn topics(&self) -> Vec<Topic> {
        self.inner.router.topics().iter().map(|route| Topic::of(route)).collect()
    }

    /// One topic. Opens no log.
    ///
    /// # Errors
    /// [`Error::UnknownTopicOrPartition`] with the nearest name.
    pub fn topic(&self, name: &str) -> Result<Topic> {
        Ok(Topic::of(&*self.inner.router.topic(name)?))
    }

    /// Where each partition of a topic stands. Opens their logs.
    ///
    /// # Errors
    /// [`Error::UnknownTopicOrPartition`]; those of opening a log.
    pub fn describe_topic(&self, name: &str) -> Result<Vec<Partition>> {
        let route = self.inner.router.topic(name)?;
        let image = self.inner.admin.lock().as_ref().and_then(|admin| admin.image.topic_by_id(route.id).cloned());
        let partitions = route.partitions.iter().map(|partition| {
            let number = partition.topic_partition().partition;
            let record = image.as_ref().and_then(|image| image.partitions.get(&number));
            Partition::of(partition, record.map(Placement::from).unwrap_or_default())
        });
        partitions.collect()
    }

    /// Gives a topic more partitions, `total` in all. Keys may go to other partitions from then on.
    ///
    /// # Errors
    /// [`Error::UnknownTopicOrPartition`]; [`Error::InvalidPartitions`] when that is not more than there are; as for
    /// [`create_topic`](Self::create_topic).
    pub fn add_partitions(&self, name: &str, total: u32) -> Result<Topic> {
        let broker = &self.inner.broker;
        self.change(name, |image| controller::add_partitions(image, name, total, &[broker.host().broker_id]))
    }

    /// Changes configurations of a topic, under Kafka's keys and with its values; `None` sets one back to its default. They
    /// hold from the next append on.
    ///
    /// # Errors
    /// [`Error::UnknownTopicOrPartition`]; [`Error::InvalidConfig`] with every violation, and then nothing is changed;
    /// [`Error::UnsupportedCodec`] for a `compression.type` that is not built in; as for
    /// [`create_topic`](Self::create_topic).
    ///
    /// # Examples
    /// ```
    /// # use logstead::{cluster::Cluster, config::TopicConfig, storage::MemStorage};
    /// # let cluster = Cluster::builder().storage(MemStorage::new()).open("/data")?;
    /// cluster.create_topic("orders", TopicConfig::new())?;
    /// let orders = cluster.alter_topic("orders", [("segment.bytes", Some("67108864"))])?;
    /// assert_eq!(orders.config().get_segment_bytes(), 64 << 20);
    /// assert!(cluster.alter_topic("orders", [("segment.byte", Some("1"))]).is_err());
    /// # Ok::<(), logstead::Error>(())
    /// ```
    pub fn alter_topic<K: Into<String>, V: Into<String>>(
        &self,
        name: &str,
        changes: impl IntoIterator<Item = (K, Option<V>)>,
    ) -> Result<Topic> {
        let changes: Vec<_> = changes.into_iter().map(|(key, value)| (key.into(), value.map(Into::into))).collect();
        self.change(name, |image| controller::alter_configs(image, name, &changes))
    }

    /// Deletes the oldest records of a partition, and returns where it starts from then on. That is durable when this returns.
    /// Their files go with the next look for expired records, as far as whole segments are concerned.
    ///
    /// An offset at or below the start changes nothing. A consumer that stands below the new start gets
    /// [`Error::OffsetOutOfRange`], and says itself where it goes on; one that has yet to begin at the beginning begins here.
    ///
    /// # Errors
    /// [`Error::UnknownTopicOrPartition`]; [`Error::OffsetOutOfRange`] above the high watermark;
    /// [`Error::InvalidTopicName`] for a topic that belongs to the engine; [`Error::InvalidState`] where Kafka compacts the
    /// topic; those of opening a log; [`Error::Io`], [`Error::Offline`].
    ///
    /// # Examples
    /// ```
    /// # use logstead::{cluster::{Cluster, RecordsToDelete}, config::TopicConfig, storage::MemStorage, types::*};
    /// # use logstead::producer::Record;
    /// # let cluster = Cluster::builder().storage(MemStorage::new()).open("/data")?;
    /// cluster.create_topic("orders", TopicConfig::new())?;
    /// let producer = cluster.producer().build()?;
    /// for value in ["one", "two", "three"] {
    ///     producer.send(Record::to("orders").value(value))?.wait()?;
    /// }
    /// let partition = TopicPartition::new("orders", 0)?;
    /// let start = cluster.delete_records(&partition, RecordsToDelete::Before(Offset::from(2)))?;
    /// assert_eq!(start, Offset::from(2));
    /// assert_eq!(cluster.delete_records(&partition, RecordsToDelete::UpToHighWatermark)?, Offset::from(3));
    /// # Ok::<(), logstead::Error>(())
    /// ```
    pub fn delete_records(&self, partition: &TopicPartition, records: RecordsToDelete) -> Result<Offset> {
        names::check_not_internal(&partition.topic)?;
        let route = self.inner.router.topic(partition.topic.as_str())?;
        if !route.config.get_cleanup_policy().deletes() {
            let state = "the topic's cleanup.policy is compact: its records are not deleted by offset";
            return Err(Error::InvalidState { operation: "delete records", state });
        }
        let before = match records {
            RecordsToDelete::Before(offset) => Some(offset),
            RecordsToDelete::UpToHighWatermark => None,
        };
        let start = route.partition(partition.partition.get())?.delete_records(before)?;
        self.inner.broker.remove_due(self.inner.broker.host().clock.now());
        Ok(start)
    }

    /// Deletes a topic and its records. Whoever waits at one of its partitions gets [`Error::UnknownTopicOrPartition`];
    /// records that were read stay readable. Its folders lose their names at once; their files go after
    /// `file.delete.delay.ms`, or when the cluster is closed or opened. A topic that is created under the same name has another id and begins empty.
    ///
    /// # Errors
    /// [`Error::UnknownTopicOrPartition`]; [`Error::OutOfSpace`], [`Error::Io`]: as for [`create_topic`](Self::create_topic).
    pub fn delete_topic(&self, name: &str) -> Result<()> {
        let error = Error::UnknownTopicOrPartition { topic: name.to_owned(), partition: None, nearest: None };
        self.inner.administer(|inner, admin, now, notices| {
            let records = controller::delete_topic(&admin.image, name)?;
            let route = inner.router.topic(name)?;
            admin.commit(&records, now)?;
            inner.router.remove(name);
            for partition in &*route.partitions {
                let tp = partition.topic_partition();
                notices.push((inner.broker.retire_partition(tp, error.clone()), Err(error.clone())));
                admin.leftovers.push((route.id, tp.clone(), route.config.get_file_delete_delay()));
            }
            // The topic is gone; folders that cannot be removed now are removed later, at the latest at the next open.
            admin.remove_leftovers(&inner.broker, now);
            route.partitions.iter().for_each(|partition| partition.forget_log());
            Ok(())
        })
    }

    /// Makes a change to an existing topic.
    fn change(&self, name: &str, decide: impl FnOnce(&ClusterImage) -> Result<Vec<MetadataRecord>>) -> Result<Topic> {
        self.inner.administer(|inner, admin, now, notices| {
            let records = decide(&admin.image)?;
            let old = inner.router.topic(name)?;
            admin.commit(&records, now)?;
            let image = admin.topic(old.id)?;
            let route = inner.broker.route(&image, Some(&old), old.config.get_read_mode())?;
            // The change is made: a log that cannot follow it has failed, which is told, and the topic is as it is said to be.
            let mut followed = Ok(());
            for partition in &*old.partitions {
                match partition.update_config(route.config.clone()) {
                    Ok(released) => notices.push((released, Ok(()))),
                    Err(error) => followed = followed.and(Err(error)),
                }
            }
            let topic = inner.publish(route);
            // What was kept until now may be too old, or too much, from now on.
            inner.broker.host().background.look_for_expired(now.mono);
            admin.remove_leftovers(&inner.broker, now);
            followed.map(|()| topic)
        })
    }
}

impl ClusterInner {
    /// Runs one administrative change, alone, and then tells those who waited for what it brought about.
    fn administer<T>(
        &self,
        change: impl FnOnce(&ClusterInner, &mut AdminState, Now, &mut Vec<Notice>) -> Result<T>,
    ) -> Result<T> {
        let now = self.broker.host().clock.now();
        let mut notices = Vec::new();
        let outcome = {
            let mut admin = self.admin.lock();
            admin.as_mut().ok_or(Error::Closed).and_then(|admin| {
                // After a change of which nobody knows whether it was made, the image is no base for another.
                admin.metadata.check_sound()?;
                change(self, admin, now, &mut notices)
            })
        };
        for (released, told) in notices {
            released.resolve(&told);
        }
        outcome
    }

    /// Makes a topic visible.
    fn publish(&self, route: TopicRoute) -> Topic {
        let topic = Topic::of(&route);
        self.router.insert(route);
        topic
    }
}

/// Who waited, and what to tell them.
type Notice = (Released, Result<()>);
