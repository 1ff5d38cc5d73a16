//! [S] A data folder that this process only looks at: its topics, and what is committed in its partitions.
//!
//! Topics come from the metadata log; in a folder without one, a Kafka log.dir without its metadata for example, from the
//! folders. Nobody tells an onlooker of changes: he looks again. Lock ranks: `ClusterImage` (the topics),
//! `BrokerPartitions`, `HostedPartition` (one log).

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use crate::broker::metadata_files::MetadataFiles;
use crate::broker::source::{Catalog, FetchSource, Parked, PartitionOffsets};
use crate::controller::image::{ClusterImage, Placement};
use crate::controller::names::METADATA_TOPIC;
use crate::controller::replay::Replay;
use crate::error::{Error, Result};
use crate::log::{
    AbortedTransaction, ListedOffset, LogSlice, OffsetSpec, ReadIsolation, ReadLimits, ReadOnlyDirectory, ReadOnlyLog,
    SlicePosition,
};
use crate::sync::{Rank, RankedMutex, Signal};
use crate::time::Clock;
use crate::types::{Offset, PartitionId, TopicId, TopicName, TopicPartition};

/// Bytes of the metadata log that are read at a time.
const READ_BYTES: usize = 1 << 20;

/// A topic as an onlooker knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WatchedTopic {
    pub(crate) name: TopicName,
    pub(crate) id: TopicId,
    pub(crate) partitions: BTreeMap<PartitionId, Placement>,
    /// Kafka's keys and values, as far as they are not at their default.
    pub(crate) configs: BTreeMap<String, String>,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Onlooker {
    directory: ReadOnlyDirectory,
    clock: Arc<dyn Clock>,
    topics: RankedMutex<Topics>,
    partitions: RankedMutex<BTreeMap<TopicPartition, Arc<WatchedPartition>>>,
}

/// What is known of the topics, and how far the metadata log was read for it.
#[derive(Debug, Default)]
struct Topics {
    by_name: BTreeMap<TopicName, WatchedTopic>,
    metadata: Option<MetadataReader>,
}

#[derive(Debug)]
struct MetadataReader {
    log: ReadOnlyLog,
    replay: Replay,
    next: Offset,
}

impl Onlooker {
    /// Reads the topics of a folder.
    ///
    /// # Errors
    /// Those of reading the metadata log.
    pub(crate) fn new(directory: ReadOnlyDirectory, clock: Arc<dyn Clock>) -> Result<Onlooker> {
        let topics = RankedMutex::new(Rank::ClusterImage, Topics::default());
        let partitions = RankedMutex::new(Rank::BrokerPartitions, BTreeMap::new());
        let onlooker = Onlooker { directory, clock, topics, partitions };
        onlooker.refresh()?;
        Ok(onlooker)
    }

    pub(crate) fn directory(&self) -> &ReadOnlyDirectory {
        &self.directory
    }

    /// Looks for topics that came, went or changed.
    ///
    /// # Errors
    /// Those of reading the metadata log.
    pub(crate) fn refresh(&self) -> Result<()> {
        let mut topics = self.topics.lock();
        if topics.metadata.is_none() {
            topics.metadata = self.open_metadata()?;
        }
        let by_name = match &mut topics.metadata {
            Some(metadata) => {
                metadata.advance(&self.directory)?;
                topics_of(metadata.replay.image())
            }
            None => self.topics_of_folders()?,
        };
        topics.by_name = by_name;
        Ok(())
    }

    /// Every topic, by name, as of the last look.
    pub(crate) fn topics(&self) -> Vec<WatchedTopic> {
        self.topics.lock().by_name.values().cloned().collect()
    }

    /// One topic. Looks again for one that is not known.
    ///
    /// # Errors
    /// [`Error::UnknownTopicOrPartition`] with the nearest name.
    pub(crate) fn topic(&self, name: &str) -> Result<WatchedTopic> {
        if let Some(topic) = self.topics.lock().by_name.get(name) {
            return Ok(topic.clone());
        }
        self.refresh()?;
        let topics = self.topics.lock();
        let known = topics.by_name.get(name).cloned();
        known.ok_or_else(|| Error::unknown_topic(name, topics.by_name.keys().map(TopicName::as_str)))
    }

    /// One partition.
    ///
    /// # Errors
    /// [`Error::UnknownTopicOrPartition`].
    pub(crate) fn partition(&self, tp: &TopicPartition) -> Result<Arc<WatchedPartition>> {
        let topic = self.topic(tp.topic.as_str())?;
        if !topic.partitions.contains_key(&tp.partition) {
            let partition = Some(tp.partition.get());
            return Err(Error::UnknownTopicOrPartition { topic: tp.topic.to_string(), partition, nearest: None });
        }
        let mut partitions = self.partitions.lock();
        if let Some(known) = partitions.get(tp).filter(|known| known.topic_id == topic.id) {
            return Ok(Arc::clone(known));
        }
        let watched = Arc::new(WatchedPartition {
            directory: self.directory.clone(),
            tp: tp.clone(),
            topic_id: topic.id,
            log: OnceLock::new(),
        });
        partitions.insert(tp.clone(), Arc::clone(&watched));
        Ok(watched)
    }

    fn open_metadata(&self) -> Result<Option<MetadataReader>> {
        let topic = TopicName::new(METADATA_TOPIC)?;
        let tp = TopicPartition { topic, partition: PartitionId::ZERO };
        if !self.directory.partitions()?.contains(&tp) {
            return Ok(None);
        }
        let log = self.directory.open_log(&tp)?;
        let mut reader = MetadataReader { log, replay: Replay::default(), next: Offset::ZERO };
        reader.restart(&self.directory)?;
        Ok(Some(reader))
    }

    /// A topic for each name that a folder has.
    fn topics_of_folders(&self) -> Result<BTreeMap<TopicName, WatchedTopic>> {
        let mut topics: BTreeMap<TopicName, WatchedTopic> = BTreeMap::new();
        for tp in self.directory.partitions()? {
            let id = self.directory.topic_id_in(&tp)?.unwrap_or(TopicId::ZERO);
            let topic = topics.entry(tp.topic.clone()).or_insert_with(|| WatchedTopic {
                name: tp.topic.clone(),
                id,
                partitions: BTreeMap::new(),
                configs: BTreeMap::new(),
            });
            topic.partitions.insert(tp.partition, Placement::default());
        }
        Ok(topics)
    }
}

impl MetadataReader {
    /// Begins anew with the newest snapshot.
    fn restart(&mut self, directory: &ReadOnlyDirectory) -> Result<()> {
        let files = MetadataFiles::new(Arc::clone(directory.storage()), self.log.folder());
        let found = files.load_snapshots()?;
        (self.next, self.replay) = match found.newest {
            Some((id, replay)) => (id.end_offset, replay),
            None => (self.log.log_start_offset(), Replay::default()),
        };
        Ok(())
    }

    /// Reads what was committed since the last look.
    fn advance(&mut self, directory: &ReadOnlyDirectory) -> Result<()> {
        self.log.refresh()?;
        if self.next < self.log.log_start_offset() {
            self.restart(directory)?;
        }
        while self.next < self.log.high_watermark() {
            let slice = self.log.read(self.next, ReadLimits::bytes(READ_BYTES))?;
            for batch in slice.batches() {
                self.replay.apply_batch(&batch?.view(), self.next)?;
            }
            if slice.next_offset() <= self.next {
                break;
            }
            self.next = slice.next_offset();
        }
        Ok(())
    }
}

fn topics_of(image: &ClusterImage) -> BTreeMap<TopicName, WatchedTopic> {
    let topics = image.topics().map(|topic| {
        let watched = WatchedTopic {
            name: topic.name.clone(),
            id: topic.id,
            partitions: topic.partitions.iter().map(|(number, record)| (*number, record.into())).collect(),
            configs: topic.configs.clone(),
        };
        (topic.name.clone(), watched)
    });
    topics.collect()
}

impl Catalog for Onlooker {
    fn source(&self, tp: &TopicPartition) -> Result<Arc<dyn FetchSource>> {
        Ok(self.partition(tp)?)
    }

    fn partitions_of(&self, topic: &str) -> Result<Vec<TopicPartition>> {
        let topic = self.topic(topic)?;
        let tp = |partition: &PartitionId| TopicPartition { topic: topic.name.clone(), partition: *partition };
        Ok(topic.partitions.keys().map(tp).collect())
    }

    fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    fn may_sleep(&self) -> bool {
        true
    }
}

/// A partition that this process only looks at.
#[derive(Debug)]
pub(crate) struct WatchedPartition {
    directory: ReadOnlyDirectory,
    tp: TopicPartition,
    topic_id: TopicId,
    /// Empty until the owner has used the partition for the first time, which is when its folder appears.
    log: OnceLock<ReadOnlyLog>,
}

impl WatchedPartition {
    /// The log, once there is one.
    pub(crate) fn log(&self) -> Result<Option<&ReadOnlyLog>> {
        if let Some(log) = self.log.get() {
            return Ok(Some(log));
        }
        let stored = self.directory.topic_id_in(&self.tp)?;
        // Of a topic that was deleted and created again the old folder may still be there. Where there are no metadata to
        // tell the topic's id, the folder is the topic.
        if stored != Some(self.topic_id) && self.topic_id != TopicId::ZERO {
            return Ok(None);
        }
        let log = self.directory.open_log(&self.tp)?;
        Ok(Some(self.log.get_or_init(|| log)))
    }

    /// The log as it is now.
    fn refreshed(&self) -> Result<Option<&ReadOnlyLog>> {
        let log = self.log()?;
        if let Some(log) = log {
            log.refresh()?;
        }
        Ok(log)
    }
}

impl FetchSource for WatchedPartition {
    fn topic_partition(&self) -> &TopicPartition {
        &self.tp
    }

    fn offsets(&self) -> Result<PartitionOffsets> {
        Ok(match self.refreshed()? {
            Some(log) => PartitionOffsets {
                log_start: log.log_start_offset(),
                last_stable: log.last_stable_offset(),
                high_watermark: log.high_watermark(),
            },
            None => {
                PartitionOffsets { log_start: Offset::ZERO, last_stable: Offset::ZERO, high_watermark: Offset::ZERO }
            }
        })
    }

    fn fetch(&self, from: Offset, limits: ReadLimits) -> Result<LogSlice> {
        match self.log()? {
            // What was committed since the last look counts as well.
            Some(log) => match log.read(from, limits) {
                Err(Error::OffsetOutOfRange { end, .. }) if from > end => {
                    log.refresh()?;
                    log.read(from, limits)
                }
                other => other,
            },
            None if from == Offset::ZERO => Ok(LogSlice::empty(nothing_yet())),
            None => {
                let (start, end) = (Offset::ZERO, Offset::ZERO);
                Err(Error::OffsetOutOfRange { tp: self.tp.clone(), requested: from, start, end })
            }
        }
    }

    fn fetch_after(&self, slice: &LogSlice, limits: ReadLimits) -> Result<LogSlice> {
        match self.log()? {
            Some(log) => log.read_after(slice, limits),
            None => self.fetch(slice.next_offset(), limits),
        }
    }

    fn aborted_transactions(&self, from: Offset, upper: Offset) -> Result<Vec<AbortedTransaction>> {
        self.log()?.map_or(Ok(Vec::new()), |log| log.aborted_transactions(from, upper))
    }

    fn list_offset(&self, spec: OffsetSpec, isolation: ReadIsolation) -> Result<Option<ListedOffset>> {
        match self.refreshed()? {
            Some(log) => log.list_offset(spec, isolation),
            None => Ok(match spec {
                OffsetSpec::Earliest | OffsetSpec::Latest => {
                    Some(ListedOffset { offset: Offset::ZERO, timestamp: None, leader_epoch: None })
                }
                OffsetSpec::MaxTimestamp | OffsetSpec::Timestamp(_) => None,
            }),
        }
    }

    fn park(&self, _: &Arc<Signal>, position: Offset, isolation: ReadIsolation) -> Result<Parked> {
        let end = self.offsets()?.end_for(isolation);
        Ok(if end > position { Parked::Ready } else { Parked::LookAgain })
    }

    fn unpark(&self, _: &Arc<Signal>) {}

    fn make_visible(&self) -> Result<()> {
        Ok(())
    }

    fn make_visible_later(&self) {}

    fn on_read(&self, _: u64, _: u64) {}
}

/// Where a log stands that nobody has written to.
fn nothing_yet() -> SlicePosition {
    SlicePosition {
        fetch_offset: Offset::ZERO,
        next_offset: Offset::ZERO,
        segment_base: Offset::ZERO,
        end_position: 0,
        log_start: Offset::ZERO,
        high_watermark: Offset::ZERO,
        last_stable_offset: Offset::ZERO,
        log_end: Offset::ZERO,
    }
}
