//! [S] The files of a data folder: identity, checkpoints, manifest, witness, clean-shutdown mark.
//!
//! The manifest is published before the files that it describes, with their old state and their new one, so that a crash
//! between the two writes never looks like another owner.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, IoContext, Result};
use crate::log::checkpoint::{OffsetCheckpoint, decode_offsets, encode_offsets};
use crate::log::clean_shutdown;
use crate::log::directory::departed::Departure;
use crate::log::directory::departure::find_departed;
use crate::log::directory::{DirectoryReport, PartitionFacts, file_in};
use crate::log::layout::PARTITION_METADATA_FILE;
use crate::log::manifest::{FORMAT, MANIFEST_FILE, Manifest, ManifestPartition};
use crate::log::partition_metadata;
use crate::log::properties::FolderIdentity;
use crate::log::seal::FileSum;
use crate::log::witness::{SLOT_BYTES, WITNESS_FILE, Witness, WitnessSlot, decode_witness, newest_block};
use crate::rng::Rng;
use crate::storage::{
    EntryKind, LockGuard, OpenMode, Storage, StorageFile, SyncMode, publish, read_file, remove_published,
};
use crate::types::{BrokerId, Offset, TopicId, TopicPartition};

/// No text file of a data folder is larger: 100,000 partitions with the longest names need a fifth of it.
pub(crate) const TEXT_BYTES_MAX: u64 = 256 << 20;

pub(crate) const LOCK_FILE: &str = ".lock";
pub(crate) const IDENTITY_FILE: &str = "meta.properties";
const CLEAN_FILE: &str = ".kafka_cleanshutdown";
const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
pub(crate) const LOG_STARTS: &str = "log-start-offset-checkpoint";
const CLEANER_OFFSETS: &str = "cleaner-offset-checkpoint";
pub(crate) const QUORUM_STATE: &str = "__cluster_metadata-0/quorum-state";
/// The records with which an empty metadata log begins.
pub(crate) const BOOTSTRAP_FILE: &str = "bootstrap.checkpoint";

/// The files that a Kafka broker changes when it owns the folder.
const PROOFS: [&str; 7] =
    [IDENTITY_FILE, CLEAN_FILE, RECOVERY_POINTS, HIGH_WATERMARKS, LOG_STARTS, CLEANER_OFFSETS, QUORUM_STATE];

/// What the caller wants the folder to be.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    pub(crate) node_id: Option<BrokerId>,
    pub(crate) cluster_id: Option<String>,
}

/// Reads and writes the files of one data folder.
#[derive(Debug)]
pub(crate) struct FolderFiles {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) path: PathBuf,
    pub(crate) identity: FolderIdentity,
}

/// What the files say.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) report: DirectoryReport,
    /// The partitions that have a folder, sorted.
    pub(crate) folders: Vec<TopicPartition>,
    pub(crate) partitions: BTreeMap<TopicPartition, PartitionFacts>,
    pub(crate) witness_file: Arc<dyn StorageFile>,
    pub(crate) next_slot: u32,
}

/// What stands in a data folder, each sorted.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Partition folders.
    pub(crate) folders: Vec<TopicPartition>,
    /// Folders of partitions that are gone: why, what their name begins with, and the name.
    pub(crate) departed: Vec<(Departure, String, String)>,
    /// Everything that is neither Kafka's nor ours.
    pub(crate) unknown: Vec<String>,
}

impl Listing {
    /// Whether the partition has a folder.
    pub(crate) fn has(&self, tp: &TopicPartition) -> bool {
        self.folders.binary_search(tp).is_ok()
    }
}

/// Takes possession of a data folder: lock, identity, ownership, checkpoints; the clean-shutdown mark is removed first of
/// all changes that could need recovery.
pub(crate) fn open(
    storage: Arc<dyn Storage>,
    path: &Path,
    expected: &Expected,
    rng: &mut Rng,
) -> Result<(FolderFiles, Loaded, Box<dyn LockGuard>)> {
    prepare_folder(&*storage, path)?;
    let lock = storage.lock(&file_in(path, LOCK_FILE))?;
    let manifest = read_manifest(&*storage, path)?;
    let identity = settle_identity(&*storage, path, manifest.as_ref(), expected, rng)?;
    let files = FolderFiles { storage, path: path.to_path_buf(), identity };
    let was_clean = files.read_text(CLEAN_FILE)?.is_some_and(|bytes| clean_shutdown::decode(&bytes).is_ok());
    let mut report = DirectoryReport { was_clean, ..DirectoryReport::default() };
    let manifest = files.check_owner(manifest, &mut report)?;
    let listing = files.list()?;
    let mut partitions = files.load_partitions(manifest.as_ref(), &mut report)?;
    let witness_path = file_in(path, WITNESS_FILE);
    if manifest.is_none() {
        remove_published(&*files.storage, &witness_path)?;
    }
    let witness = files.read_text(WITNESS_FILE)?;
    if !report.was_clean {
        // The last owner may have died, or met a failed sync, between writing the witness and making it durable. A new file
        // with the same content is durable beyond doubt.
        publish(&*files.storage, &witness_path, witness.as_deref().unwrap_or_default())?;
    }
    let witness_file = files.storage.open(&witness_path, OpenMode::Create).context("open", &witness_path)?;
    let (slots, damaged) = decode_witness(witness.as_deref().unwrap_or_default());
    let next_slot = add_slots(&mut partitions, &slots, &damaged);
    let departed = find_departed(&files, &listing, &partitions, &slots)?;
    let listed = manifest.iter().flat_map(|manifest| manifest.partitions.keys());
    report.missing_partitions = listed.filter(|tp| !listing.has(tp) && !departed.contains(tp)).cloned().collect();
    // From here on a crash needs recovery. Until the manifest says that the mark may be absent, it must not be.
    if departed.is_empty() {
        files.write_manifest(&partitions, &BTreeMap::from([(CLEAN_FILE, None)]))?;
    } else {
        partitions.retain(|tp, _| !departed.contains(tp));
        silence(&witness_file, slots.iter().filter(|slot| departed.contains(&slot.witness.tp)))?;
        files.write_checkpoints(&partitions)?;
    }
    remove_published(&*files.storage, &file_in(path, CLEAN_FILE))?;
    report.unknown_entries = listing.unknown;
    Ok((files, Loaded { report, folders: listing.folders, partitions, witness_file, next_slot }, lock))
}

/// The last owner died before the witness had forgotten the partitions of these slots.
fn silence<'a>(witness_file: &Arc<dyn StorageFile>, slots: impl Iterator<Item = &'a WitnessSlot>) -> Result<()> {
    for slot in slots {
        clear_slot(witness_file, slot.slot)?;
    }
    witness_file.sync(SyncMode::All).in_doubt_context("sync", witness_file.path())
}

/// Creates the folder, or makes sure that it is a log.dir before anything in it is touched. The folder's own name is durable
/// before the manifest is.
fn prepare_folder(storage: &dyn Storage, path: &Path) -> Result<()> {
    if storage.identity(&file_in(path, MANIFEST_FILE)).is_ok() {
        // Spares a list of thousands of names.
        return Ok(());
    }
    let sync_name = || {
        let parent = crate::storage::parent_of(path);
        storage.sync_dir(&parent).in_doubt_context("sync", &parent)
    };
    let entries = match storage.list(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            storage.create_dir(path).context("create", path)?;
            // A name whose sync failed is in doubt for ever; the next attempt gets a new one.
            return sync_name().inspect_err(|_| drop(storage.remove_dir(path)));
        }
        Err(error) => return Err(error).context("list", path),
    };
    let is_ours = |name: &str| {
        let name = name.strip_suffix(".tmp").unwrap_or(name);
        [LOCK_FILE, IDENTITY_FILE, MANIFEST_FILE, WITNESS_FILE].contains(&name)
    };
    let is_log_dir = entries.iter().any(|entry| entry.name == IDENTITY_FILE || entry.name == MANIFEST_FILE)
        || entries.iter().all(|entry| is_ours(&entry.name));
    if is_log_dir {
        // Whoever created the folder may have died before its name was durable.
        return sync_name();
    }
    Err(Error::InvalidState {
        operation: "open the data folder",
        state: "it is not empty and holds no meta.properties, so it is no data folder; name an empty or a new one",
    })
}

/// The manifest; `None` when there is none. A damaged one was ours all the same: it says nothing, and vouches for what it
/// cannot name any more, unless the mark of a clean shutdown shows another owner.
pub(crate) fn read_manifest(storage: &dyn Storage, folder: &Path) -> Result<Option<Manifest>> {
    let path = file_in(folder, MANIFEST_FILE);
    let Some(bytes) = read_file(storage, &path, TEXT_BYTES_MAX)? else { return Ok(None) };
    let newer = Manifest::format_of(&bytes).filter(|format| *format > FORMAT && Manifest::is_intact(&bytes));
    if let Some(found) = newer {
        return Err(Error::UnsupportedFormat { path, found, known: FORMAT });
    }
    if let Ok(manifest) = Manifest::from_bytes(&bytes) {
        return Ok(Some(manifest));
    }
    let mut damaged = Manifest::default();
    damaged.files.insert(CLEAN_FILE.to_owned(), vec![None, Some(FileSum::of(&clean_shutdown::encode(None)))]);
    Ok(Some(damaged))
}

/// Reads `meta.properties`, or writes it for a folder that is new or lost it.
fn settle_identity(
    storage: &dyn Storage,
    folder: &Path,
    manifest: Option<&Manifest>,
    expected: &Expected,
    rng: &mut Rng,
) -> Result<FolderIdentity> {
    let path = file_in(folder, IDENTITY_FILE);
    let Some(bytes) = read_file(storage, &path, TEXT_BYTES_MAX)?.filter(|bytes| !bytes.is_empty()) else {
        let known_cluster = manifest.map(|manifest| manifest.cluster_id.clone()).filter(|id| !id.is_empty());
        let identity = FolderIdentity {
            cluster_id: known_cluster
                .or_else(|| expected.cluster_id.clone())
                .unwrap_or_else(|| random_id(rng).to_string()),
            node_id: expected.node_id.unwrap_or(BrokerId::ZERO),
            directory_id: manifest.and_then(|manifest| manifest.directory_id).or_else(|| Some(random_id(rng))),
        };
        publish(storage, &path, &identity.encode())?;
        return Ok(identity);
    };
    let identity = FolderIdentity::decode(&bytes).map_err(|error| error.in_file(&path, 0))?;
    let differs = |field, expected: String, found: String| Error::InconsistentIdentity {
        path: path.clone(),
        field,
        expected,
        found,
    };
    match (&expected.cluster_id, expected.node_id) {
        (Some(cluster_id), _) if *cluster_id != identity.cluster_id => {
            Err(differs("cluster.id", cluster_id.clone(), identity.cluster_id))
        }
        (_, Some(node_id)) if node_id != identity.node_id => {
            Err(differs("node.id", node_id.to_string(), identity.node_id.to_string()))
        }
        _ => Ok(identity),
    }
}

/// What a slot of the witness says now; `None` when it was never written, or nothing in it is valid.
pub(crate) fn read_slot(witness_file: &Arc<dyn StorageFile>, slot: u32) -> Result<Option<Witness>> {
    let mut bytes = [0; SLOT_BYTES];
    let read = witness_file.read_full_at(u64::from(slot) * SLOT_BYTES as u64, &mut bytes);
    let read = read.context("read", witness_file.path())?;
    Ok(newest_block(bytes.get(..read).unwrap_or_default()).0)
}

/// Makes a slot of the witness one that was never written. It is not durable yet.
pub(crate) fn clear_slot(witness_file: &Arc<dyn StorageFile>, slot: u32) -> Result<()> {
    let cleared = witness_file.write_all_at(u64::from(slot) * SLOT_BYTES as u64, &[0; SLOT_BYTES]);
    cleared.in_doubt_context("write the witness", witness_file.path())
}

/// The topic id in a partition's folder; `None` when the folder or the file is missing.
pub(crate) fn read_topic_id(storage: &dyn Storage, folder: &Path) -> Result<Option<TopicId>> {
    let path = folder.join(PARTITION_METADATA_FILE);
    match read_file(storage, &path, TEXT_BYTES_MAX)? {
        // An empty file is a creation that a power cut caught: its rename arrived, its bytes did not.
        Some(bytes) if !bytes.is_empty() => {
            partition_metadata::decode(&bytes).map(Some).map_err(|error| error.in_file(&path, 0))
        }
        Some(_) | None => Ok(None),
    }
}

/// The file that shows that somebody else has owned the folder since the manifest was written.
pub(crate) fn foreign_file(storage: &dyn Storage, folder: &Path, manifest: &Manifest) -> Result<Option<String>> {
    let states = states(storage, folder)?;
    Ok(manifest.first_foreign_file(|name| states.get(name).copied().flatten()).map(str::to_owned))
}

fn states(storage: &dyn Storage, folder: &Path) -> Result<BTreeMap<&'static str, Option<FileSum>>> {
    let state = |name| read_file(storage, &file_in(folder, name), TEXT_BYTES_MAX);
    PROOFS.into_iter().map(|name| Ok((name, state(name)?.map(|bytes| FileSum::of(&bytes))))).collect()
}

/// Adds the slots that the witness names; returns the first slot that is free.
fn add_slots(partitions: &mut BTreeMap<TopicPartition, PartitionFacts>, slots: &[WitnessSlot], damaged: &[u32]) -> u32 {
    let mut last = damaged.last().copied().unwrap_or(0);
    for found in slots {
        last = last.max(found.slot);
        let facts = partitions.entry(found.witness.tp.clone()).or_default();
        facts.slot = Some(found.slot);
    }
    let listed = partitions.values().filter_map(|facts| facts.slot).max().unwrap_or(0);
    last.max(listed).saturating_add(1)
}

/// A random id of 16 bytes.
pub(crate) fn random_id(rng: &mut Rng) -> TopicId {
    loop {
        if let Some(id) = TopicId::from_random([rng.next_u64(), rng.next_u64()]) {
            return id;
        }
    }
}

impl PartitionFacts {
    fn from_manifest(listed: &ManifestPartition) -> PartitionFacts {
        let ManifestPartition { topic_id, slot, log_start, high_watermark, recovery_point } = *listed;
        let (topic_id, slot) = (Some(topic_id), Some(slot));
        PartitionFacts { topic_id, slot, log_start, starts_inside: false, high_watermark, recovery_point }
    }

    fn to_manifest(&self) -> Option<ManifestPartition> {
        Some(ManifestPartition {
            topic_id: self.topic_id?,
            slot: self.slot?,
            log_start: self.log_start,
            high_watermark: self.high_watermark,
            recovery_point: self.recovery_point,
        })
    }
}

impl FolderFiles {
    /// What stands in the folder.
    pub(crate) fn list(&self) -> Result<Listing> {
        let entries = self.storage.list(&self.path).context("list", &self.path)?;
        let mut listing = Listing::default();
        for entry in entries {
            let name = entry.name;
            let is_dir = entry.kind == EntryKind::Dir;
            if let Some(tp) = TopicPartition::from_folder_name(&name).filter(|_| is_dir) {
                listing.folders.push(tp);
            } else if let Some((departure, stem)) = Departure::parse(&name).filter(|_| is_dir) {
                listing.departed.push((departure, stem.to_owned(), name));
            } else if !PROOFS.contains(&name.as_str())
                && ![LOCK_FILE, MANIFEST_FILE, WITNESS_FILE, BOOTSTRAP_FILE].contains(&name.as_str())
            {
                listing.unknown.push(name);
            }
        }
        listing.folders.sort();
        Ok(listing)
    }

    fn read_text(&self, name: &str) -> Result<Option<Vec<u8>>> {
        read_file(&*self.storage, &file_in(&self.path, name), TEXT_BYTES_MAX)
    }

    /// The present state of every file that a broker would have changed.
    fn states(&self) -> Result<BTreeMap<&'static str, Option<FileSum>>> {
        states(&*self.storage, &self.path)
    }

    /// The manifest, if nobody else has owned the folder since it was written.
    fn check_owner(&self, manifest: Option<Manifest>, report: &mut DirectoryReport) -> Result<Option<Manifest>> {
        let Some(manifest) = manifest else { return Ok(None) };
        if let Some(name) = foreign_file(&*self.storage, &self.path, &manifest)? {
            report.foreign_file = Some(name);
            return Ok(None);
        }
        Ok(Some(manifest))
    }

    /// What checkpoints and manifest say of each partition. The higher value counts: each was true when it was written, and
    /// what must fall (a truncated log's recovery point) is lowered in both before it does.
    fn load_partitions(
        &self,
        manifest: Option<&Manifest>,
        report: &mut DirectoryReport,
    ) -> Result<BTreeMap<TopicPartition, PartitionFacts>> {
        let listed = manifest.map(|manifest| &manifest.partitions).into_iter().flatten();
        let mut partitions: BTreeMap<_, _> =
            listed.map(|(tp, listed)| (tp.clone(), PartitionFacts::from_manifest(listed))).collect();
        type Field = fn(&mut PartitionFacts) -> &mut Offset;
        let checkpoints: [(&str, Field); 3] = [
            (RECOVERY_POINTS, |facts| &mut facts.recovery_point),
            (HIGH_WATERMARKS, |facts| &mut facts.high_watermark),
            (LOG_STARTS, |facts| &mut facts.log_start),
        ];
        for (name, field) in checkpoints {
            let decoded = self.read_text(name)?.map_or(Ok(OffsetCheckpoint::new()), |bytes| decode_offsets(&bytes));
            let Ok(offsets) = decoded else {
                report.unreadable_files.push(name.to_owned());
                continue;
            };
            for (tp, offset) in offsets {
                let facts = partitions.entry(tp).or_default();
                let value = field(facts);
                *value = offset.max(*value);
                facts.starts_inside |= name == LOG_STARTS;
            }
        }
        Ok(partitions)
    }

    /// Publishes the manifest and then the checkpoint files.
    pub(crate) fn write_checkpoints(&self, partitions: &BTreeMap<TopicPartition, PartitionFacts>) -> Result<()> {
        let offsets = |field: fn(&PartitionFacts) -> Option<Offset>| -> Vec<u8> {
            let listed = partitions.iter().filter_map(|(tp, facts)| Some((tp.clone(), field(facts)?)));
            encode_offsets(&listed.collect())
        };
        let texts = [
            (RECOVERY_POINTS, offsets(|facts| Some(facts.recovery_point))),
            (HIGH_WATERMARKS, offsets(|facts| Some(facts.high_watermark))),
            (LOG_STARTS, offsets(|facts| facts.starts_inside.then_some(facts.log_start))),
        ];
        let next = texts.iter().map(|(name, text)| (*name, Some(FileSum::of(text)))).collect();
        self.write_manifest(partitions, &next)?;
        for (name, text) in &texts {
            publish(&*self.storage, &file_in(&self.path, name), text)?;
        }
        Ok(())
    }

    /// Publishes the quorum state. The manifest says so first, or it would look like another owner's doing.
    pub(crate) fn publish_quorum_state(
        &self,
        partitions: &BTreeMap<TopicPartition, PartitionFacts>,
        bytes: &[u8],
    ) -> Result<()> {
        self.write_manifest(partitions, &BTreeMap::from([(QUORUM_STATE, Some(FileSum::of(bytes)))]))?;
        publish(&*self.storage, &file_in(&self.path, QUORUM_STATE), bytes)
    }

    /// Marks the folder as cleanly shut down: the very last thing.
    pub(crate) fn mark_clean(&self) -> Result<()> {
        publish(&*self.storage, &file_in(&self.path, CLEAN_FILE), &clean_shutdown::encode(None))
    }

    /// Publishes the manifest: each file may be in its present state, in the one that is about to be written, and the
    /// clean-shutdown mark may always be there as we write it.
    fn write_manifest(
        &self,
        partitions: &BTreeMap<TopicPartition, PartitionFacts>,
        next: &BTreeMap<&str, Option<FileSum>>,
    ) -> Result<()> {
        let mut manifest = Manifest {
            cluster_id: self.identity.cluster_id.clone(),
            directory_id: self.identity.directory_id,
            ..Manifest::default()
        };
        for (name, present) in self.states()? {
            let mut states = vec![present];
            states.extend(next.get(name));
            if name == CLEAN_FILE {
                states.extend([None, Some(FileSum::of(&clean_shutdown::encode(None)))]);
            }
            states.sort_by_key(|state| state.map(|sum| (sum.len, sum.crc)));
            states.dedup();
            manifest.files.insert(name.to_owned(), states);
        }
        // Without id and slot, nobody but the checkpoints has said anything of a partition: it is still to be checked.
        let listed = partitions.iter().filter_map(|(tp, facts)| Some((tp.clone(), facts.to_manifest()?)));
        manifest.partitions = listed.collect();
        publish(&*self.storage, &file_in(&self.path, MANIFEST_FILE), &manifest.to_bytes())
    }
}
