//! What the files of a data folder say of its partitions, and which of them may be believed.
//!
//! Our witness and seals count as long as nobody else has owned the folder since: a Kafka broker changes files that the
//! manifest vouches for. A single changed file beside others that are as they were is no broker's work, but damage.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use logstead::log::{
    FORMAT, FileSum, FolderIdentity, MANIFEST_FILE, Manifest, WITNESS_FILE, WITNESS_SLOT_BYTES, Witness,
    decode_clean_shutdown, decode_offset_checkpoint, decode_witness,
};
use logstead::storage::{DirEntry, EntryKind, OsStorage, Storage};
use logstead::types::{Offset, TopicId, TopicPartition};

use super::files;
use super::report::{Findings, Spot};

pub(crate) const IDENTITY_FILE: &str = "meta.properties";
pub(crate) const LOCK_FILE: &str = ".lock";
pub(crate) const CLEAN_FILE: &str = ".kafka_cleanshutdown";
pub(crate) const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
pub(crate) const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
pub(crate) const LOG_STARTS: &str = "log-start-offset-checkpoint";
pub(crate) const CLEANER_OFFSETS: &str = "cleaner-offset-checkpoint";
/// The files of offsets, one line a partition.
pub(crate) const CHECKPOINTS: [&str; 4] = [RECOVERY_POINTS, HIGH_WATERMARKS, LOG_STARTS, CLEANER_OFFSETS];

/// What we write into the mark of a clean shutdown.
const OUR_CLEAN_MARK: &[u8] = br#"{"version":0,"brokerEpoch":-1}"#;

/// What a data folder says.
#[derive(Debug, Default)]
pub(crate) struct FolderFacts {
    pub(crate) path: PathBuf,
    /// Whether its last owner closed it, and nobody has opened it since.
    pub(crate) is_clean: bool,
    /// Whether our own files may speak of a log that is no more.
    pub(crate) is_foreign: bool,
    pub(crate) witness: BTreeMap<TopicPartition, Witness>,
    pub(crate) manifest: Option<Manifest>,
    /// By file name; a file that cannot be believed is not here.
    pub(crate) checkpoints: BTreeMap<&'static str, BTreeMap<TopicPartition, Offset>>,
}

impl FolderFacts {
    /// Reads all of it and checks each file by itself.
    pub(crate) fn load(findings: &mut Findings, folder: &Path, entries: &[DirEntry]) -> FolderFacts {
        let mut loading = Loading { findings, folder, sums: BTreeMap::new(), misfits: BTreeSet::new() };
        let has = |name: &str| entries.iter().any(|entry| entry.name == name && entry.kind == EntryKind::File);
        let is_live = matches!(OsStorage::new().lock_holder(&folder.join(LOCK_FILE)), Ok(Some(_)));
        // The manifest is published before the files that it describes: it is read before them too.
        let manifest = if has(MANIFEST_FILE) { loading.manifest() } else { None };
        // The witness is older than the log that it is compared with, so that the log may only be ahead of it.
        let mut facts = FolderFacts { path: folder.to_path_buf(), ..FolderFacts::default() };
        let witness = if has(WITNESS_FILE) { loading.read(WITNESS_FILE) } else { None };
        facts.is_clean = has(CLEAN_FILE) && loading.clean_mark() && !is_live;
        let identity = if has(IDENTITY_FILE) { loading.identity() } else { None };
        for name in CHECKPOINTS.into_iter().filter(|name| has(name)) {
            if let Some(offsets) = loading.checkpoint(name) {
                facts.checkpoints.insert(name, offsets);
            }
        }
        facts.is_foreign = match &manifest {
            Some(Ok(manifest)) => {
                loading.compare_identity(manifest, identity.as_ref());
                loading.is_foreign(manifest)
            }
            // Damaged, it vouches for nothing, but the folder is ours unless somebody else has closed it.
            Some(Err(())) => facts.is_clean && loading.sums.get(CLEAN_FILE) != Some(&FileSum::of(OUR_CLEAN_MARK)),
            None => witness.is_some(),
        };
        for name in &loading.misfits {
            facts.checkpoints.remove(name.as_str());
        }
        if let Some(bytes) = witness {
            let slots = loading.witness(&bytes, facts.is_clean);
            if !facts.is_foreign {
                facts.witness = slots;
            }
        }
        facts.manifest = manifest.and_then(Result::ok).filter(|_| !facts.is_foreign);
        facts
    }

    /// What a checkpoint file says of a partition.
    pub(crate) fn checkpointed(&self, name: &str, tp: &TopicPartition) -> Option<Offset> {
        self.checkpoints.get(name)?.get(tp).copied()
    }

    /// The topic's id by our own files.
    pub(crate) fn topic_id(&self, tp: &TopicPartition) -> Option<TopicId> {
        let by_manifest = || Some(self.manifest.as_ref()?.partitions.get(tp)?.topic_id);
        self.witness.get(tp).map(|witness| witness.topic_id).or_else(by_manifest)
    }
}

/// The files of a folder while they are read.
struct Loading<'a> {
    findings: &'a mut Findings,
    folder: &'a Path,
    /// Length and checksum of each file that was read.
    sums: BTreeMap<String, FileSum>,
    /// Files that are not what the manifest says, and no broker's work.
    misfits: BTreeSet<String>,
}

impl Loading<'_> {
    fn read(&mut self, name: &str) -> Option<Vec<u8>> {
        let bytes = files::read(self.findings, &self.folder.join(name))?;
        self.sums.insert(name.to_owned(), FileSum::of(&bytes));
        Some(bytes)
    }

    /// The inner error: there is a manifest, and it is damaged.
    fn manifest(&mut self) -> Option<Result<Manifest, ()>> {
        let path = self.folder.join(MANIFEST_FILE);
        let bytes = self.read(MANIFEST_FILE)?;
        let manifest = match Manifest::from_bytes(&bytes) {
            Ok(manifest) => manifest,
            Err(error) => {
                files::damaged(self.findings, "manifest", &path, &error);
                return Some(Err(()));
            }
        };
        if let Some(format) = Manifest::format_of(&bytes).filter(|format| *format != FORMAT) {
            let what = format!("format version {format} is not known here (newest known: {FORMAT}); it is not used");
            self.findings.note("manifest", Spot::of(&path), what);
            return None;
        }
        if manifest.to_bytes() != bytes {
            self.findings.damage("manifest", Spot::of(&path), "it is not written as it must be");
            return Some(Err(()));
        }
        Some(Ok(manifest))
    }

    fn clean_mark(&mut self) -> bool {
        let path = self.folder.join(CLEAN_FILE);
        let Some(bytes) = self.read(CLEAN_FILE) else { return false };
        let members = || serde_json::from_slice::<serde_json::Value>(&bytes).ok();
        let has_epoch = || members().is_some_and(|mark| mark.get("brokerEpoch").is_some());
        match decode_clean_shutdown(&bytes) {
            Ok(_) if bytes.is_empty() || has_epoch() => true,
            Ok(_) => {
                self.findings.damage("clean-shutdown", Spot::at(&path, 0), "it names no broker epoch");
                false
            }
            Err(error) => {
                files::damaged(self.findings, "clean-shutdown", &path, &error);
                false
            }
        }
    }

    fn identity(&mut self) -> Option<FolderIdentity> {
        let path = self.folder.join(IDENTITY_FILE);
        let bytes = self.read(IDENTITY_FILE)?;
        FolderIdentity::decode(&bytes).inspect_err(|error| files::damaged(self.findings, "identity", &path, error)).ok()
    }

    fn checkpoint(&mut self, name: &str) -> Option<BTreeMap<TopicPartition, Offset>> {
        let path = self.folder.join(name);
        let bytes = self.read(name)?;
        let (entries, damage) = decode_offset_checkpoint(&bytes);
        if let Some(error) = damage {
            files::damaged(self.findings, "checkpoint", &path, &error);
            return None;
        }
        Some(entries.into_iter().collect())
    }

    fn compare_identity(&mut self, manifest: &Manifest, identity: Option<&FolderIdentity>) {
        let Some(identity) = identity else { return };
        if identity.cluster_id != manifest.cluster_id || identity.directory_id != manifest.directory_id {
            let spot = Spot::of(&self.folder.join(IDENTITY_FILE));
            self.findings.damage("identity", spot, "its ids are not those of the manifest");
        }
    }

    /// Whether somebody else has owned the folder. A file that differs all alone is damaged instead.
    fn is_foreign(&mut self, manifest: &Manifest) -> bool {
        // Files below a partition folder are not read here.
        let known = manifest.files.iter().filter(|(name, _)| !name.contains('/'));
        let differs = |(name, states): &(&String, &Vec<Option<FileSum>>)| {
            !states.contains(&self.sums.get(name.as_str()).copied())
        };
        let different: Vec<String> = known.filter(differs).map(|(name, _)| name.clone()).collect();
        match different.as_slice() {
            [] => false,
            [only] if only != CLEAN_FILE => {
                let spot = Spot::of(&self.folder.join(only));
                self.findings.damage(
                    "checkpoint",
                    spot,
                    "it is not what the manifest says, and no other file has changed",
                );
                self.misfits.insert(only.clone());
                false
            }
            _ => {
                let spot = Spot::of(&self.folder.join(MANIFEST_FILE));
                let what = format!(
                    "somebody else has owned the folder since ({} changed): our own files do not count",
                    different.join(", ")
                );
                self.findings.note("foreign", spot, what);
                true
            }
        }
    }

    fn witness(&mut self, bytes: &[u8], is_clean: bool) -> BTreeMap<TopicPartition, Witness> {
        let path = self.folder.join(WITNESS_FILE);
        if bytes.iter().take(WITNESS_SLOT_BYTES).any(|byte| *byte != 0) {
            self.findings.damage("witness", Spot::at(&path, 0), "the first slot must be empty");
        }
        let (slots, lost) = decode_witness(bytes);
        for slot in lost {
            let position = u64::from(slot).saturating_mul(WITNESS_SLOT_BYTES as u64);
            self.findings.damage("witness", Spot::at(&path, position), format!("slot {slot} has no valid copy"));
        }
        self.check_copies(&path, bytes, is_clean);
        let mut found: BTreeMap<TopicPartition, Witness> = BTreeMap::new();
        for slot in slots {
            let position = u64::from(slot.slot).saturating_mul(WITNESS_SLOT_BYTES as u64);
            let tp = slot.witness.tp.clone();
            if found.insert(tp.clone(), slot.witness).is_some() {
                self.findings.damage("witness", Spot::at(&path, position), format!("a second slot for {tp}"));
            }
        }
        found
    }

    /// A damaged copy beside a valid one is a write that was cut off, or is just being made; in a folder that was
    /// closed it is damage.
    fn check_copies(&mut self, path: &Path, bytes: &[u8], is_clean: bool) {
        let copy_len = WITNESS_SLOT_BYTES / 2;
        for (slot, pair) in (0_u64..).zip(bytes.chunks(WITNESS_SLOT_BYTES)).skip(1) {
            let states: Vec<_> =
                pair.chunks(copy_len).map(|copy| Witness::from_block(copy).map(|found| found.is_some())).collect();
            if !states.iter().any(|state| matches!(state, Ok(true))) {
                continue;
            }
            for (copy, state) in (0_u64..).zip(&states) {
                if let Err(error) = state {
                    let start = slot * WITNESS_SLOT_BYTES as u64 + copy * copy_len as u64;
                    let (position, what) = files::position_and_text(error);
                    let what = format!("one of the two copies of slot {slot} is damaged: {what}");
                    self.findings.found(is_clean, "witness", Spot::at(path, start + position), what);
                }
            }
        }
    }
}
