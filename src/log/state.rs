//! [S] What a log knows, behind its one lock, and the snapshot that readers take instead of it.
//!
//! Invariant: `log_start <= last_stable_offset <= high_watermark <= log_end`, and `synced <= log_end`. With
//! [`Durability::Synced`] the high watermark never moves past `synced`: what is committed is on disk. (It may stand there
//! for a while when the configuration has just been changed from [`Durability::Os`].)
//! Lock ranks: `LogState` for [`LogState`], `LogPublished` for [`Published`].

use std::sync::Arc;

use crate::config::{Durability, LogConfig};
use crate::error::{Corrupt, Error, IoContext, Result};
use crate::log::active::ActiveSegment;
use crate::log::checkpoint;
use crate::log::context::LogContext;
use crate::log::epoch_cache::EpochCache;
use crate::log::epoch_file::EpochFile;
use crate::log::index_sums::IndexSums;
use crate::log::producer_state::ProducerStates;
use crate::log::read::ReadIsolation;
use crate::log::sealing::SealingSegment;
use crate::log::segment::Segment;
use crate::log::witness::{Witness, block_position};
use crate::rng::Rng;
use crate::storage::StorageFile;
use crate::types::{LeaderEpoch, Offset, TopicPartition};

/// Everything that changes in a log.
#[derive(Debug)]
pub(crate) struct LogState {
    pub(crate) active: ActiveSegment,
    /// Rolled segments that are not yet all durable, oldest first.
    pub(crate) sealing: Vec<Arc<SealingSegment>>,
    /// Every segment in offset order, the active one last.
    pub(crate) segments: Vec<Segment>,
    pub(crate) log_start: Offset,
    pub(crate) high_watermark: Offset,
    /// The first offset that is not known to be durable.
    pub(crate) synced: Offset,
    /// The first offset that recovery must look at: durable, indexed and covered by a producer snapshot below.
    pub(crate) recovery_point: Offset,
    /// What the indexes say below it, and below which recovery point that was.
    pub(crate) index_sums: Option<(Offset, IndexSums)>,
    /// The offset of the newest producer snapshot.
    pub(crate) snapshot: Offset,
    pub(crate) epochs: EpochCache,
    /// Grows with every change of `epochs`.
    pub(crate) epochs_version: u64,
    /// The epoch that this log leads under; `None` for a follower.
    pub(crate) leader_epoch: Option<LeaderEpoch>,
    pub(crate) producers: ProducerStates,
    /// Counts creations of files in the folder whose names are not durable yet.
    pub(crate) names_created: u64,
    pub(crate) names_synced: u64,
    /// Grows with every truncation: a flush that began before must not count what came after.
    pub(crate) generation: u64,
    pub(crate) bytes_since_checkpoint: u64,
    pub(crate) has_gaps: bool,
    pub(crate) damage: Arc<[Corrupt]>,
    pub(crate) availability: Availability,
    /// Whether it ever went offline: closing it then does not make it sound.
    pub(crate) has_failed: bool,
    pub(crate) witness: WitnessWriter,
    pub(crate) rng: Rng,
}

/// Whether the log takes writes.
#[derive(Debug, Clone)]
pub(crate) enum Availability {
    /// It does.
    Open,
    /// A truncation or an epoch change is under way.
    Changing(&'static str),
    /// Not since this failure.
    Offline(Arc<Error>),
    /// It was closed, or taken out of service; why.
    Closed(&'static str),
}

/// What a reader needs, replaced as a whole under a lock of its own so that readers never wait for a write.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    pub(crate) config: Arc<LogConfig>,
    pub(crate) segments: Arc<[Segment]>,
    pub(crate) epochs: Arc<EpochCache>,
    pub(crate) damage: Arc<[Corrupt]>,
    pub(crate) log_start: Offset,
    pub(crate) last_stable: Offset,
    pub(crate) high_watermark: Offset,
    pub(crate) synced: Offset,
    pub(crate) log_end: Offset,
    pub(crate) generation: u64,
    pub(crate) has_gaps: bool,
    /// Why there is nothing to read any more.
    pub(crate) gone: Option<&'static str>,
}

impl Published {
    /// The end of what a reader may see.
    pub(crate) fn end_for(&self, isolation: ReadIsolation) -> Offset {
        match isolation {
            ReadIsolation::LogEnd => self.log_end,
            ReadIsolation::HighWatermark => self.high_watermark,
            ReadIsolation::LastStable => self.last_stable,
        }
    }

    /// Refuses to read a log whose files are not its own any more.
    pub(crate) fn check_present(&self) -> Result<()> {
        self.gone.map_or(Ok(()), |state| Err(Error::InvalidState { operation: "read the log", state }))
    }
}

impl LogState {
    /// Refuses a write that the log cannot take now.
    pub(crate) fn check_writable(&self, tp: &TopicPartition) -> Result<()> {
        match &self.availability {
            Availability::Open => Ok(()),
            Availability::Changing(state) => Err(Error::InvalidState { operation: "append", state }),
            Availability::Offline(cause) => Err(Error::Offline { tp: tp.clone(), cause: Arc::clone(cause) }),
            Availability::Closed(state) => Err(Error::InvalidState { operation: "use the log", state }),
        }
    }

    /// Takes the log offline for writing, for good; the first cause is kept.
    pub(crate) fn go_offline(&mut self, cause: &Error) {
        self.has_failed = true;
        if matches!(self.availability, Availability::Open | Availability::Changing(_)) {
            self.availability = Availability::Offline(Arc::new(cause.clone()));
        }
    }

    /// Where the log ends: the offset of the next record.
    pub(crate) fn log_end(&self) -> Offset {
        self.active.next_offset()
    }

    /// Whether a flush would find nothing to do.
    pub(crate) fn is_flushed(&self, epoch_file: &EpochFile) -> bool {
        matches!(self.availability, Availability::Open) && self.is_durable(epoch_file)
    }

    /// Whether a checkpoint would find nothing to do.
    pub(crate) fn is_checkpointed(&self, epoch_file: &EpochFile) -> bool {
        let log_end = self.log_end();
        self.recovery_point == log_end && self.snapshot == log_end && self.is_durable(epoch_file)
    }

    fn is_durable(&self, epoch_file: &EpochFile) -> bool {
        self.synced == self.log_end()
            && self.sealing.is_empty()
            && self.names_created == self.names_synced
            && !epoch_file.is_behind(self.epochs_version)
    }

    /// How far the high watermark may go.
    pub(crate) fn high_watermark_limit(&self) -> Offset {
        match self.active.config().get_durability() {
            Durability::Synced => self.synced.min(self.log_end()),
            Durability::Os => self.log_end(),
        }
    }

    /// What a `read_committed` reader may see: nothing from the first open transaction on.
    pub(crate) fn last_stable(&self) -> Offset {
        let stable = self.producers.first_unstable_offset().unwrap_or(self.high_watermark);
        stable.min(self.high_watermark).max(self.log_start)
    }

    /// The epoch history as its file holds it, and its version.
    pub(crate) fn encoded_epochs(&self) -> (u64, Vec<u8>) {
        (self.epochs_version, checkpoint::encode_epochs(self.epochs.entries()))
    }

    /// The snapshot for readers.
    pub(crate) fn publish(&self) -> Published {
        Published {
            config: Arc::clone(self.active.config()),
            segments: self.segments.as_slice().into(),
            epochs: Arc::new(self.epochs.clone()),
            damage: Arc::clone(&self.damage),
            log_start: self.log_start,
            last_stable: self.last_stable(),
            high_watermark: self.high_watermark,
            synced: self.synced,
            log_end: self.log_end(),
            generation: self.generation,
            has_gaps: self.has_gaps,
            gone: None,
        }
    }

    /// What the indexes say below the recovery point, as far as anybody knows.
    pub(crate) fn index_sums_of(&self, witnessed: Option<IndexSums>) -> Option<(Offset, IndexSums)> {
        let at = self.recovery_point;
        let found = self.segments.iter().rfind(|segment| segment.base_offset() < at);
        let found = found.and_then(|segment| segment.index_sums(at));
        found.or(witnessed).map(|sums| (at, sums))
    }

    /// Writes the witness: `synced_position` bytes of the segment at `segment_base` are durable and end with a batch of
    /// this checksum.
    pub(crate) fn write_witness(&mut self, context: &LogContext, durable: DurablePoint) -> Result<()> {
        let witness = Witness {
            generation: 0,
            tp: context.tp.clone(),
            topic_id: context.topic_id,
            log_start: self.log_start,
            high_watermark: self.high_watermark,
            synced_offset: self.synced,
            segment_base: durable.segment_base,
            synced_position: durable.position,
            recovery_point: self.recovery_point,
            last_batch_crc: durable.last_batch_crc,
            has_gaps: self.has_gaps,
            index_sums: self.index_sums.filter(|(at, _)| *at == self.recovery_point).map(|(_, sums)| sums),
        };
        self.witness.write(witness, durable)
    }
}

/// Where durable bytes end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DurablePoint {
    pub(crate) segment_base: Offset,
    pub(crate) position: u64,
    pub(crate) last_batch_crc: u32,
}

/// What a slot of the witness holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WitnessCopies {
    /// The newest generation.
    pub(crate) generation: u64,
    /// The newest generation that is known to be durable.
    pub(crate) kept: u64,
}

/// Writes one partition's slot of the witness.
///
/// Invariant: of the two copies, the newest that is known to be durable is never overwritten. A power cut may then spoil
/// the other one, or take it back, and what remains is true, if old; a claim that was taken back durably stays so.
#[derive(Debug)]
pub(crate) struct WitnessWriter {
    file: Arc<dyn StorageFile>,
    slot: u32,
    generation: u64,
    /// The newest generation that is known to be durable.
    kept: u64,
    durable: DurablePoint,
    /// Whether a sync is under way that must find the copy as it is, and what is to be written after it.
    is_held: bool,
    /// Whether the slot is this log's no more.
    is_retired: bool,
    waiting: Option<Witness>,
}

impl WitnessWriter {
    /// `copies` is what is in the slot.
    pub(crate) fn new(file: Arc<dyn StorageFile>, slot: u32, copies: WitnessCopies) -> WitnessWriter {
        let WitnessCopies { generation, kept } = copies;
        let durable = DurablePoint { segment_base: Offset::ZERO, position: 0, last_batch_crc: 0 };
        WitnessWriter { file, slot, generation, kept, durable, is_held: false, is_retired: false, waiting: None }
    }

    pub(crate) fn slot(&self) -> u32 {
        self.slot
    }

    /// What is in the slot now.
    pub(crate) fn copies(&self) -> WitnessCopies {
        WitnessCopies { generation: self.generation, kept: self.kept }
    }

    /// The generation that was written last.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// The durable point that was written last.
    pub(crate) fn durable(&self) -> DurablePoint {
        self.durable
    }

    fn write(&mut self, witness: Witness, durable: DurablePoint) -> Result<()> {
        self.durable = durable;
        if self.is_held {
            self.waiting = Some(witness);
            return Ok(());
        }
        self.write_block(witness)
    }

    /// The slot is given up: nothing is written to it any more.
    pub(crate) fn retire(&mut self) {
        self.is_retired = true;
    }

    fn write_block(&mut self, mut witness: Witness) -> Result<()> {
        if self.is_retired {
            return Ok(());
        }
        self.generation += 1;
        if block_position(self.slot, self.generation) == block_position(self.slot, self.kept) {
            self.generation += 1;
        }
        witness.generation = self.generation;
        let position = block_position(self.slot, self.generation);
        self.file.write_all_at(position, &witness.to_block()).in_doubt_context("write the witness", self.file.path())
    }

    /// The generation in the file, for a sync during which nothing is written.
    pub(crate) fn hold(&mut self) -> u64 {
        self.is_held = true;
        self.generation
    }

    /// The sync is over, well or not: writes what has waited for it.
    pub(crate) fn release(&mut self) -> Result<()> {
        self.is_held = false;
        self.waiting.take().map_or(Ok(()), |witness| self.write_block(witness))
    }

    /// A sync that began when `generation` was the last one written has succeeded.
    pub(crate) fn on_synced(&mut self, generation: u64) {
        if self.generation == generation {
            self.kept = generation;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::witness::decode_witness;
    use crate::storage::{CrashModel, MemStorage, OpenMode, Storage, SyncMode, read_file};
    use crate::types::TopicId;

    const PATH: &str = "/witness";

    fn witness(synced: u32) -> Witness {
        Witness {
            generation: 0,
            tp: TopicPartition::new("t", 0).unwrap(),
            topic_id: TopicId::from_bytes([1; 16]),
            log_start: Offset::ZERO,
            high_watermark: Offset::ZERO,
            synced_offset: Offset::from(synced),
            segment_base: Offset::ZERO,
            synced_position: 0,
            recovery_point: Offset::ZERO,
            last_batch_crc: 0,
            has_gaps: false,
            index_sums: None,
        }
    }

    fn write(writer: &mut WitnessWriter, synced: u32) {
        let durable = writer.durable();
        writer.write(witness(synced), durable).unwrap();
    }

    fn read(storage: &MemStorage) -> Option<u32> {
        let bytes = read_file(storage, PATH.as_ref(), 1 << 20).unwrap().unwrap_or_default();
        let slots = decode_witness(&bytes).0;
        slots.first().map(|found| u32::try_from(found.witness.synced_offset.get()).unwrap())
    }

    fn writer(storage: &MemStorage) -> WitnessWriter {
        let file = storage.open(PATH.as_ref(), OpenMode::Create).unwrap();
        storage.sync_dir("/".as_ref()).unwrap();
        WitnessWriter::new(file, 1, WitnessCopies { generation: 0, kept: 0 })
    }

    #[test]
    fn no_power_cut_takes_back_a_synced_witness() {
        let storage = MemStorage::new();
        let mut writer = writer(&storage);
        for synced in [7, 8, 9, 3] {
            write(&mut writer, synced);
        }
        let generation = writer.hold();
        writer.file.sync(SyncMode::Data).unwrap();
        writer.on_synced(generation);
        writer.release().unwrap();
        for synced in [4, 5, 6] {
            write(&mut writer, synced);
            for seed in 0..100 {
                let found = read(&storage.crash_image(&CrashModel::Subset, seed));
                assert!(found.is_some_and(|found| (3..=synced).contains(&found)), "{found:?}, seed {seed}");
            }
        }
        assert_eq!(read(&storage), Some(6));
    }

    #[test]
    fn what_is_written_during_a_sync_waits_for_its_end() {
        let storage = MemStorage::new();
        let mut writer = writer(&storage);
        write(&mut writer, 1);
        let generation = writer.hold();
        write(&mut writer, 2);
        write(&mut writer, 3);
        assert_eq!((read(&storage), writer.generation()), (Some(1), generation));
        writer.on_synced(generation);
        writer.release().unwrap();
        assert_eq!(read(&storage), Some(3));
    }
}
