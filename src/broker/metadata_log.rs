//! [S] The metadata log, `__cluster_metadata-0`: replay at open, atomic appends, snapshots that bound it.
//!
//! Invariants kept here:
//! - An image comes from a snapshot and the records behind it; what was appended and not acknowledged is in the image after
//!   a crash or it is not, and one append is one batch, so that it is there whole or not at all.
//! - Nothing is written before everything that is there was understood. Damage is an error, and nothing is cut.
//! - Each opening leads under an epoch of its own, which is durable in `quorum-state` before a record carries it.
//! - After a failed append the log takes no more: what is on disk and the caller's image may differ until it is opened again.
//! - The two newest snapshots stay, and the log from the older one on: if the newest one is damaged, the other one and the
//!   log give the same image.
//!
//! There is no lock here: whoever owns the log serialises its changes. Kafka's counterparts: `KafkaMetadataLog`,
//! `KafkaRaftClient` (with one voter), `MetadataLoader`, `SnapshotGenerator`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::metadata_files::{self, StoredSnapshot};
use crate::config::{Durability, LogConfig};
use crate::controller::control::{LeaderChange, MetadataControl, voters_of};
use crate::controller::elect_leaders;
use crate::controller::image::{ClusterImage, METADATA_VERSION};
use crate::controller::names::METADATA_TOPIC;
use crate::controller::quorum_state::{QuorumState, VoterSource};
use crate::controller::records::{AbortTransactionRecord, FeatureLevelRecord, MetadataRecord, RegisterBrokerRecord};
use crate::controller::replay::Replay;
use crate::controller::snapshot::{SnapshotContent, SnapshotId};
use crate::error::{Damage, Error, Result};
use crate::log::{Log, LogDirectory, ReadIsolation, ReadLimits};
use crate::record::{BatchBuilder, BatchOptions, BuiltBatch};
use crate::rng::Rng;
use crate::storage::publish;
use crate::time::Now;
use crate::types::{BrokerId, LeaderEpoch, Offset, PartitionId, Timestamp, TopicId, TopicPartition};

/// Kafka's id of the metadata log's topic.
const METADATA_TOPIC_ID: TopicId = TopicId::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
/// The level of `metadata.version` of a new cluster: Kafka's 4.0-IV3.
const METADATA_VERSION_LEVEL: i16 = 25;
/// The largest batch, as Kafka's own controller has it (`KafkaRaftClient.MAX_BATCH_SIZE_BYTES`).
const BATCH_BYTES_MAX: u64 = 8 << 20;
/// Segments are small, so that what a snapshot covers can go soon; a batch of the largest size must fit.
const SEGMENT_BYTES: u64 = 16 << 20;
/// Bytes read at a time.
const READ_BYTES: usize = 1 << 20;
/// A snapshot is due when the records since the last one have this many bytes, and ten times the snapshot's size.
const SNAPSHOT_BYTES_MIN: u64 = 1 << 20;
const SNAPSHOT_FACTOR: u64 = 10;
/// Records of the takeover that go into one batch; their number depends on that of the partitions.
const TAKEOVER_RECORDS_MAX: usize = 10_000;

/// The metadata log of a data folder, opened for writing.
#[derive(Debug)]
pub(crate) struct MetadataLog {
    log: Arc<Log>,
    files: metadata_files::MetadataFiles,
    epoch: LeaderEpoch,
    /// The two newest snapshots that are intact, the newest first.
    snapshots: Vec<StoredSnapshot>,
    /// Bytes of the batches behind the newest snapshot.
    bytes_since_snapshot: u64,
    removed: BTreeSet<TopicId>,
    kraft_version: Option<Vec<u8>>,
    voters: Option<Vec<u8>>,
    last_timestamp: Timestamp,
    /// The failure after which nothing is appended any more.
    failure: Option<Arc<Error>>,
}

/// What opening a metadata log found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MetadataReport {
    /// The end of the snapshot that the image comes from; `None` when there is none.
    pub(crate) snapshot: Option<Offset>,
    /// Snapshots that are damaged; an older one, or the log, took their place.
    pub(crate) damaged_snapshots: Vec<PathBuf>,
    /// Records that were read behind the snapshot.
    pub(crate) replayed_records: u64,
    /// Whether the log was empty, so that the cluster begins here.
    pub(crate) is_new: bool,
    /// Whether a transaction of records was open, and was aborted.
    pub(crate) aborted_transaction: bool,
    /// The epoch that this opening leads under.
    pub(crate) epoch: i32,
}

impl MetadataLog {
    /// Opens the metadata log of a data folder, and leads it: replays it, begins the next controller epoch, and adds what is
    /// missing: the features of a new cluster, the broker's registration, leaders of partitions that have none.
    ///
    /// # Errors
    /// [`Error::Corrupt`] and [`Error::UnsupportedMetadataRecord`]: nothing of the log was changed. [`Error::InvalidState`]
    /// when other nodes vote for the log's leader. [`Error::Io`], [`Error::OutOfSpace`]: opening it again takes up where this
    /// attempt ended.
    pub(crate) fn open(
        directory: &LogDirectory,
        broker: BrokerId,
        now: Now,
        rng: &mut Rng,
    ) -> Result<(MetadataLog, ClusterImage, MetadataReport)> {
        let tp = TopicPartition { topic: crate::types::TopicName::new(METADATA_TOPIC)?, partition: PartitionId::ZERO };
        let log = directory.open_log(&tp, Some(METADATA_TOPIC_ID), log_config(), now)?;
        log.check_online()?;
        let files = metadata_files::MetadataFiles::new(Arc::clone(directory.storage()), log.folder());
        let mut report = MetadataReport::default();
        let loaded = Loaded::from_disk(&log, &files, &mut report)?;
        let quorum = files.read_quorum_state(&directory.quorum_state_path())?;
        let voters = settle_voters(quorum.as_ref(), &loaded.replay, broker)?;
        let epoch = next_epoch(quorum.as_ref(), &log)?;
        report.is_new = quorum.is_none() && log.log_end_offset() == Offset::ZERO && loaded.snapshots.is_empty();
        let bootstrap = settle_bootstrap(directory, &files, loaded.replay.image(), report.is_new, now)?;

        let state = QuorumState { leader: Some(broker), leader_epoch: epoch, voters };
        directory.publish_quorum_state(&state.encode())?;
        log.begin_epoch(epoch)?;
        report.epoch = epoch.get();
        report.aborted_transaction = loaded.replay.in_transaction();
        let mut opened = MetadataLog::from_loaded(log, files, epoch, &loaded, now);
        opened.announce_leader(broker, now)?;
        let mut replay = loaded.replay;
        let identity = directory.identity().directory_id;
        opened.take_over(&mut replay, bootstrap, broker, identity, now, rng)?;
        let (image, removed) = replay.into_parts();
        opened.removed = removed;
        Ok((opened, image, report))
    }

    /// The log itself, for what shows its offsets.
    #[cfg(test)]
    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// The controller epoch that this opening leads under.
    #[cfg(test)]
    pub(crate) fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// Topics that were removed and whose folders may still be there. Each stays listed until
    /// [`on_folders_removed`](Self::on_folders_removed), also over a restart.
    pub(crate) fn removed_topic_ids(&self) -> impl Iterator<Item = TopicId> + '_ {
        self.removed.iter().copied()
    }

    /// No folder carries the id of this removed topic any more, durably. Until then no snapshot is taken: it would forget
    /// that the topic ever was.
    pub(crate) fn on_folders_removed(&mut self, topic_id: TopicId) {
        self.removed.remove(&topic_id);
    }

    /// Whether the caller's image is what is on disk, and changes can be written.
    ///
    /// # Errors
    /// [`Error::Offline`] with the failure since which that is not known.
    pub(crate) fn check_sound(&self) -> Result<()> {
        let tp = || self.log.topic_partition().clone();
        let failure = self.failure.as_ref().map(|cause| Error::Offline { tp: tp(), cause: Arc::clone(cause) });
        failure.map_or(Ok(()), Err)?;
        self.log.check_online()
    }

    /// Appends records as one batch, which is durable when this returns. The caller applies them to its image then.
    ///
    /// # Errors
    /// [`Error::RecordTooLarge`] and [`Error::OutOfSpace`]: nothing was written, and later appends may succeed. Others: the
    /// records may be in the log or not, and every later append fails with [`Error::Offline`]; opening the log again tells.
    pub(crate) fn append(&mut self, records: &[MetadataRecord], now: Now) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let mut builder = BatchBuilder::new(BatchOptions::default());
        for record in records {
            builder.append(Some(now.wall), None, Some(&record.encode()), &[])?;
        }
        self.append_batch(builder.build()?, now)?;
        self.removed.extend(records.iter().filter_map(|record| match record {
            MetadataRecord::RemoveTopic(removal) => Some(removal.topic_id),
            _ => None,
        }));
        Ok(())
    }

    /// Takes a snapshot if the log has grown enough since the last one, and lets go of what two snapshots cover. `image` is
    /// that of the log's end. Returns whether one was taken.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::OutOfSpace`]: the snapshot may be there or not, and the log is complete without it.
    pub(crate) fn maybe_snapshot(&mut self, image: &ClusterImage, now: Now) -> Result<bool> {
        let last_len = self.snapshots.first().map_or(0, |snapshot| snapshot.len);
        let due = SNAPSHOT_BYTES_MIN.max(last_len.saturating_mul(SNAPSHOT_FACTOR));
        if self.bytes_since_snapshot < due || !self.removed.is_empty() || self.failure.is_some() {
            return Ok(false);
        }
        self.snapshot(image, now).map(|()| true)
    }

    fn snapshot(&mut self, image: &ClusterImage, now: Now) -> Result<()> {
        let id = SnapshotId { end_offset: self.log.log_end_offset(), epoch: self.epoch };
        let content = SnapshotContent {
            image,
            kraft_version: self.kraft_version.as_deref(),
            voters: self.voters.as_deref(),
            last_timestamp: self.last_timestamp,
        };
        let written = self.files.write_snapshot(id, &content, now.wall)?;
        self.snapshots.retain(|snapshot| snapshot.id != id);
        self.snapshots.insert(0, written);
        self.snapshots.truncate(2);
        self.bytes_since_snapshot = 0;
        // Of the log goes only what the older of the two covers as well.
        if let [_, older] = self.snapshots.as_slice() {
            self.log.delete_before(older.id.end_offset)?;
        }
        let kept: Vec<SnapshotId> = self.snapshots.iter().map(|snapshot| snapshot.id).collect();
        self.files.remove_snapshots_except(&kept)
    }

    fn from_loaded(
        log: Arc<Log>,
        files: metadata_files::MetadataFiles,
        epoch: LeaderEpoch,
        loaded: &Loaded,
        now: Now,
    ) -> MetadataLog {
        MetadataLog {
            log,
            files,
            epoch,
            snapshots: loaded.snapshots.clone(),
            bytes_since_snapshot: loaded.bytes_behind,
            removed: BTreeSet::new(),
            kraft_version: loaded.replay.kraft_version.clone(),
            voters: loaded.replay.voters.clone(),
            last_timestamp: loaded.replay.last_timestamp.unwrap_or(now.wall),
            failure: None,
        }
    }

    /// The control batch with which a leader's epoch begins.
    fn announce_leader(&mut self, broker: BrokerId, now: Now) -> Result<()> {
        let change = LeaderChange { leader: broker, voters: vec![broker], granting_voters: vec![broker] };
        self.append_batch(MetadataControl::to_batch(&[MetadataControl::LeaderChange(change)], now.wall)?, now)
    }

    /// Appends what this broker needs to go on, and brings the image up to it.
    fn take_over(
        &mut self,
        replay: &mut Replay,
        bootstrap: Vec<MetadataRecord>,
        broker: BrokerId,
        directory_id: Option<TopicId>,
        now: Now,
        rng: &mut Rng,
    ) -> Result<()> {
        let mut records = Vec::new();
        if replay.in_transaction() {
            let reason = Some("the controller that began it is gone".to_owned());
            records.push(MetadataRecord::AbortTransaction(AbortTransactionRecord { reason }));
        }
        records.extend(bootstrap);
        let may_lead = replay.image().broker(broker).is_some_and(|registered| {
            let is_here = directory_id.is_none_or(|directory_id| registered.log_dirs.contains(&directory_id));
            is_here && !registered.fenced && !registered.in_controlled_shutdown
        });
        if !may_lead {
            let at = self.log.log_end_offset().plus(records.len() as u64);
            records.push(registration(broker, at, directory_id, rng));
        }
        records.extend(elect_leaders(replay.image(), broker));
        for chunk in records.chunks(TAKEOVER_RECORDS_MAX) {
            self.append(chunk, now)?;
            chunk.iter().try_for_each(|record| replay.apply(record))?;
        }
        Ok(())
    }

    /// Appends a batch and makes it durable and committed.
    fn append_batch(&mut self, mut batch: BuiltBatch, now: Now) -> Result<()> {
        self.check_sound()?;
        let size = batch.size_in_bytes() as u64;
        let appended = self.log.append_as_leader(&mut batch, now);
        // What was refused, or undone, has left no trace.
        let is_in_doubt =
            |error: &Error| matches!(error, Error::Io { .. } | Error::Offline { .. } | Error::Internal { .. });
        appended.inspect_err(|error| {
            if is_in_doubt(error) {
                self.failure = Some(Arc::new(error.clone()));
            }
        })?;
        let committed = self.log.flush().and_then(|synced| self.log.advance_high_watermark(synced));
        // A sync that fails for want of space leaves the records in the log all the same: they may become durable later.
        let committed = committed.map_err(Error::in_doubt);
        committed.inspect_err(|error| self.failure = Some(Arc::new(error.clone())))?;
        self.bytes_since_snapshot = self.bytes_since_snapshot.saturating_add(size);
        self.last_timestamp = batch.max_timestamp().unwrap_or(self.last_timestamp);
        Ok(())
    }
}

/// What the files say.
struct Loaded {
    replay: Replay,
    snapshots: Vec<StoredSnapshot>,
    bytes_behind: u64,
}

impl Loaded {
    /// Replays the newest snapshot that is intact, and the log behind it.
    fn from_disk(log: &Log, files: &metadata_files::MetadataFiles, report: &mut MetadataReport) -> Result<Loaded> {
        let found = files.load_snapshots()?;
        report.damaged_snapshots = found.damaged;
        let (mut replay, start) = match found.newest {
            Some((id, replay)) => (replay, id.end_offset),
            None => (Replay::default(), Offset::ZERO),
        };
        report.snapshot = found.intact.first().map(|snapshot| snapshot.id.end_offset);
        if start < log.log_start_offset() || start > log.log_end_offset() {
            return Err(gap(log, start));
        }
        let before = replay.records;
        let bytes_behind = replay_log(log, start, &mut replay)?;
        report.replayed_records = replay.records - before;
        Ok(Loaded { replay, snapshots: found.intact, bytes_behind })
    }
}

/// Replays the log from an offset to its end; returns how many bytes that was.
fn replay_log(log: &Log, start: Offset, replay: &mut Replay) -> Result<u64> {
    let limits = ReadLimits::bytes(READ_BYTES).isolation(ReadIsolation::LogEnd);
    let (mut from, mut bytes) = (start, 0);
    while from < log.log_end_offset() {
        let slice = log.read(from, limits)?;
        for batch in slice.batches() {
            let batch = batch?;
            let applied = replay.apply_batch(&batch.view(), start);
            applied.map_err(|error| error.in_file(log.folder(), 0).in_partition(log.topic_partition()))?;
            bytes += batch.bytes().len() as u64;
        }
        if slice.next_offset() <= from {
            return Err(Error::Internal { invariant: "a read below the log end makes progress" });
        }
        from = slice.next_offset();
    }
    Ok(bytes)
}

/// The log does not begin or end where its snapshot does: the records in between are lost.
fn gap(log: &Log, snapshot_end: Offset) -> Error {
    let (first, next_intact) = (snapshot_end.min(log.log_end_offset()), log.log_start_offset().max(snapshot_end));
    Error::corrupt(0, Damage::Offset { expected: log.log_start_offset(), found: snapshot_end.get() })
        .in_file(log.folder(), 0)
        .in_partition(log.topic_partition())
        .with_offsets(first, next_intact)
}

fn log_config() -> LogConfig {
    let config = LogConfig::new().segment_bytes(SEGMENT_BYTES).batch_bytes_max(BATCH_BYTES_MAX);
    // Snapshots say what may go, not its age; and nobody waits with a clock until it does.
    config.durability(Durability::Synced).retention_time(None).file_delete_delay(Duration::ZERO)
}

/// Checks that this broker is the only voter, and says where that is written.
fn settle_voters(quorum: Option<&QuorumState>, replay: &Replay, broker: BrokerId) -> Result<VoterSource> {
    let configured = VoterSource::Configured(vec![broker]);
    let (voters, source) = match (&replay.voters, quorum.map(|state| &state.voters)) {
        (Some(value), _) => (voters_of(value)?, VoterSource::Log),
        (None, Some(VoterSource::Configured(voters))) if !voters.is_empty() => (voters.clone(), configured),
        (None, Some(VoterSource::Configured(_) | VoterSource::Log) | None) => return Ok(configured),
    };
    if voters != [broker] {
        return Err(Error::InvalidState {
            operation: "lead the metadata log",
            state: "other nodes vote in its quorum; it can be opened here once this broker is the only voter",
        });
    }
    Ok(source)
}

/// The epoch after every one that was ever seen here.
fn next_epoch(quorum: Option<&QuorumState>, log: &Log) -> Result<LeaderEpoch> {
    let voted = quorum.map_or(0, |state| state.leader_epoch.get());
    let led = log.epochs().latest().map_or(0, |entry| entry.epoch.get());
    let exhausted = Error::InvalidState { operation: "lead the metadata log", state: "the epochs are exhausted" };
    voted.max(led).checked_add(1).and_then(LeaderEpoch::new).ok_or(exhausted)
}

/// The records with which a cluster without a `metadata.version` begins: those of `bootstrap.checkpoint`, which is written
/// for a new cluster that was not formatted by Kafka.
fn settle_bootstrap(
    directory: &LogDirectory,
    files: &metadata_files::MetadataFiles,
    image: &ClusterImage,
    is_new: bool,
    now: Now,
) -> Result<Vec<MetadataRecord>> {
    if image.feature(METADATA_VERSION).is_some() {
        return Ok(Vec::new());
    }
    let path = directory.bootstrap_path();
    if let Some(replay) = files.read_checkpoint(&path)? {
        return Ok(replay.image().to_records().collect());
    }
    let level = FeatureLevelRecord { name: METADATA_VERSION.to_owned(), feature_level: METADATA_VERSION_LEVEL };
    let records = vec![MetadataRecord::FeatureLevel(level)];
    if is_new {
        let bytes = crate::controller::snapshot::encode_bootstrap(&records, now.wall)?;
        publish(&**directory.storage(), &path, &bytes)?;
    }
    Ok(records)
}

/// The broker's registration, at the offset that becomes its epoch.
fn registration(broker: BrokerId, at: Offset, directory_id: Option<TopicId>, rng: &mut Rng) -> MetadataRecord {
    let incarnation_id = loop {
        if let Some(id) = TopicId::from_random([rng.next_u64(), rng.next_u64()]) {
            break id;
        }
    };
    MetadataRecord::RegisterBroker(RegisterBrokerRecord {
        broker_id: broker,
        is_migrating_zk_broker: false,
        incarnation_id,
        broker_epoch: at.get(),
        end_points: Vec::new(),
        features: Vec::new(),
        rack: None,
        fenced: false,
        in_controlled_shutdown: false,
        log_dirs: directory_id.into_iter().collect(),
    })
}

#[cfg(test)]
mod tests;
