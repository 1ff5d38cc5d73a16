//! [S] How a partition's log is opened in its data folder: its folder and topic id settled, what the files and the witness
//! say of it weighed, its slot of the witness taken (Kafka: `LogManager.getOrCreateLog`).
//!
//! The topic id and the slot's first block are durable before the log takes its first record.

use std::path::Path;
use std::sync::Arc;

use crate::config::LogConfig;
use crate::error::{Error, IoContext, Result};
use crate::log::context::LogContext;
use crate::log::directory::{DirectoryCore, PartitionFacts, files};
use crate::log::layout::{PARTITION_METADATA_FILE, SegmentFile};
use crate::log::recovery::{self, Known};
use crate::log::state::{WitnessCopies, WitnessWriter};
use crate::log::{Log, NewLog, partition_metadata};
use crate::storage::{DirEntry, EntryKind, publish};
use crate::time::Now;
use crate::types::{TopicId, TopicPartition};

impl DirectoryCore {
    pub(super) fn begin_opening(&self, tp: &TopicPartition) -> Result<()> {
        let is_listed = {
            let mut state = self.state.lock();
            if state.logs.get(tp).is_some_and(|log| log.strong_count() > 0) {
                return Err(Error::InvalidState { operation: "open a log", state: "it is open already" });
            }
            state.claim(tp, "open a log", "it is open already")?;
            state.departed.contains(tp)
        };
        if !is_listed {
            return Ok(());
        }
        // What the files say of the partition that had this name must not be taken for this one's.
        let written = self.write_checkpoints(false);
        if written.is_err() {
            self.state.lock().opening.remove(tp);
        }
        written
    }

    pub(super) fn open_log(
        self: &Arc<Self>,
        tp: &TopicPartition,
        topic_id: Option<TopicId>,
        config: LogConfig,
        now: Now,
    ) -> Result<Arc<Log>> {
        let storage = Arc::clone(&self.files.storage);
        let folder = self.files.path.join(tp.to_string());
        let had_log = self.create_folder(&folder)?;
        let topic_id = self.settle_topic_id(tp, &folder, topic_id)?;
        let (facts, slot, mut rng) = {
            let mut state = self.state.lock();
            let facts = state.partitions.get(tp).cloned().unwrap_or_default();
            let free = if facts.slot.is_none() { state.free_slots.pop() } else { None };
            let slot = facts.slot.or(free).unwrap_or(state.next_slot);
            state.next_slot = state.next_slot.max(slot.saturating_add(1));
            // The slot stays this partition's even if opening fails.
            state.partitions.entry(tp.clone()).or_default().slot = Some(slot);
            (facts, slot, state.rng.split("log"))
        };
        let (closed, was_used) = self.begin_reopening(tp)?;
        if was_used && closed.is_none() {
            // The slot was written since the folder was opened; it must be durable before it is built upon.
            self.sync_witness()?;
        }
        let stored = files::read_slot(&self.witness_file, slot)?;
        let is_new_slot = stored.is_none();
        let generation = stored.as_ref().map_or(0, |witness| witness.generation);
        let is_known = facts.topic_id == Some(topic_id);
        // What the files say of another topic, or of a log that is not there, counts for nothing.
        let facts = if is_known || (had_log && facts.topic_id.is_none()) { facts } else { PartitionFacts::default() };
        // The witness is written after every change and synced before every checkpoint: where it speaks, it is newer.
        let witness = stored.filter(|witness| witness.topic_id == topic_id && witness.tp == *tp);
        let known = Known {
            recovery_point: witness.as_ref().map_or(facts.recovery_point, |witness| witness.recovery_point),
            log_start: witness.as_ref().map_or(facts.log_start, |witness| witness.log_start),
            high_watermark: witness.as_ref().map_or(facts.high_watermark, |witness| witness.high_watermark),
            is_clean: closed.is_some() || (self.report.was_clean && !was_used),
            is_foreign: had_log && witness.is_none() && !is_known,
            witness,
        };
        let was_mapped = Arc::clone(&self.was_mapped);
        let copies = WitnessCopies { generation, kept: closed.map_or(generation, |closed| closed.kept) };
        let context = Arc::new(LogContext { storage, folder, tp: tp.clone(), topic_id, was_mapped });
        let opened = recovery::open(&context, &Arc::new(config), &known, now, &mut rng)?;
        let log = Log::start(NewLog {
            context,
            directory: Arc::clone(self),
            pool: Arc::clone(&self.pool),
            opened,
            known,
            witness: WitnessWriter::new(Arc::clone(&self.witness_file), slot, copies),
            rng,
        })?;
        if is_new_slot {
            // The slot's first block: from here on the witness must know the partition even after a power cut.
            let generation = log.witness_generation();
            self.sync_witness()?;
            log.on_witness_synced(generation);
        }
        if !log.is_damaged() {
            // What somebody else left damaged stays somebody else's, to be checked in full each time.
            self.state.lock().partitions.entry(tp.clone()).or_default().topic_id = Some(topic_id);
        }
        Ok(Arc::new(log))
    }

    /// What the log left in the witness if it was closed soundly in this session, and whether it was open before in this
    /// session: then the mark of a clean shutdown says nothing about it.
    fn begin_reopening(&self, tp: &TopicPartition) -> Result<(Option<WitnessCopies>, bool)> {
        let mut state = self.state.lock();
        if let Some(error) = &state.witness_failure {
            return Err(error.clone());
        }
        // If opening fails half-way, it was not closed soundly any more.
        Ok((state.closed_logs.remove(tp), state.logs.contains_key(tp)))
    }

    /// Creates a partition's folder if need be; whether it held a log already.
    fn create_folder(&self, folder: &Path) -> Result<bool> {
        let storage = &*self.files.storage;
        let entries = match storage.list(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                storage.create_dir(folder).context("create", folder)?;
                Vec::new()
            }
            Err(error) => return Err(error).context("list", folder),
        };
        let is_log = |entry: &DirEntry| {
            entry.kind == EntryKind::File && matches!(SegmentFile::parse(&entry.name), Some((SegmentFile::Log, _)))
        };
        let had_log = entries.iter().any(is_log);
        if !had_log {
            // A folder that is already there may have been created by someone who died before its name was durable.
            let synced = storage.sync_dir(&self.files.path).in_doubt_context("sync", &self.files.path);
            // A name whose sync failed is in doubt for ever; the next attempt gets a new one.
            synced.inspect_err(|_| drop(storage.remove_dir(folder)))?;
        }
        Ok(had_log)
    }

    /// Brings `partition.metadata` and the caller's wish together. It is on disk before the first record.
    fn settle_topic_id(&self, tp: &TopicPartition, folder: &Path, wanted: Option<TopicId>) -> Result<TopicId> {
        let storage = &*self.files.storage;
        let known = self.state.lock().partitions.get(tp).and_then(|facts| facts.topic_id);
        let stored = files::read_topic_id(storage, folder).map_err(|error| error.in_partition(tp))?;
        match (stored, wanted) {
            (Some(found), Some(expected)) if found != expected => {
                Err(Error::InconsistentTopicId { tp: tp.clone(), expected, found })
            }
            (Some(found), _) => Ok(found),
            (None, wanted) => {
                let topic_id = wanted.or(known).unwrap_or_else(|| files::random_id(&mut self.state.lock().rng));
                publish(storage, &folder.join(PARTITION_METADATA_FILE), &partition_metadata::encode(topic_id))?;
                Ok(topic_id)
            }
        }
    }
}
