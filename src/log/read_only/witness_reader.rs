//! [S] Following one partition's slot of the witness while its owner writes it.
//!
//! A block that is half written fails its checksum, and the older one beside it counts until it is read again. A slot is
//! believed only as far as it names the partition and the topic. The file itself is replaced when an owner takes the
//! folder over after a crash; its identity tells.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Damage, Error, IoContext, Result};
use crate::log::directory::files::TEXT_BYTES_MAX;
use crate::log::witness::{SLOT_BYTES, WITNESS_FILE, Witness, decode_witness, newest_block};
use crate::storage::{FileIdentity, OpenMode, Storage, StorageFile};
use crate::types::{TopicId, TopicPartition};

/// How often a slot with a block that fails its checksum is read before the other block counts: a write of 512 bytes is
/// over long before.
const READS_MAX: u32 = 4;

/// Reads one partition's slot.
#[derive(Debug)]
pub(crate) struct WitnessReader {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    open: Option<OpenWitness>,
}

#[derive(Debug)]
struct OpenWitness {
    file: Arc<dyn StorageFile>,
    identity: FileIdentity,
    slot: Option<u32>,
    /// The newest generation that was seen in the slot.
    generation: u64,
}

impl WitnessReader {
    /// For the witness of a data folder.
    pub(crate) fn new(storage: Arc<dyn Storage>, data_folder: &Path) -> WitnessReader {
        WitnessReader { storage, path: data_folder.join(WITNESS_FILE), open: None }
    }

    /// What the witness says of the partition now; `None` when it says nothing, or nothing newer is readable than what
    /// was given out before. One positioned read when the slot is known.
    pub(crate) fn read(&mut self, tp: &TopicPartition, topic_id: Option<TopicId>) -> Result<Option<Witness>> {
        if !self.reopen()? {
            return Ok(None);
        }
        let Some(open) = &mut self.open else { return Ok(None) };
        let is_ours = |found: &Witness| found.tp == *tp && topic_id.is_none_or(|id| id == found.topic_id);
        let mut found = match open.slot {
            Some(slot) => read_slot(&*open.file, slot)?.filter(is_ours),
            None => None,
        };
        if found.is_none() {
            let slots = decode_witness(&read_whole(&*open.file)?).0;
            let newest =
                slots.into_iter().filter(|slot| is_ours(&slot.witness)).max_by_key(|slot| slot.witness.generation);
            open.slot = newest.as_ref().map(|slot| slot.slot);
            open.generation = 0;
            found = newest.map(|slot| slot.witness);
        }
        let generation = open.generation;
        let newer = found.filter(|witness| witness.generation >= generation);
        open.generation = newer.as_ref().map_or(generation, |witness| witness.generation);
        Ok(newer)
    }

    /// Opens the file, and opens it again when another one has taken its place; `false` when there is none.
    fn reopen(&mut self) -> Result<bool> {
        let missing = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
        // Before the file is opened: if it is replaced in between, the next look notices.
        let identity = match self.storage.identity(&self.path) {
            Ok(identity) => identity,
            Err(error) if missing(&error) => {
                self.open = None;
                return Ok(false);
            }
            Err(error) => return Err(error).context("look at", &self.path),
        };
        if self.open.as_ref().is_some_and(|open| open.identity == identity) {
            return Ok(true);
        }
        let file = match self.storage.open(&self.path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if missing(&error) => {
                self.open = None;
                return Ok(false);
            }
            Err(error) => return Err(error).context("open", &self.path),
        };
        self.open = Some(OpenWitness { file, identity, slot: None, generation: 0 });
        Ok(true)
    }
}

fn read_slot(file: &dyn StorageFile, slot: u32) -> Result<Option<Witness>> {
    let mut bytes = [0; SLOT_BYTES];
    let mut newest = None;
    for _ in 0..READS_MAX {
        let read = file.read_full_at(u64::from(slot) * SLOT_BYTES as u64, &mut bytes).context("read", file.path())?;
        let (found, is_damaged) = newest_block(bytes.get(..read).unwrap_or_default());
        newest = found;
        if !is_damaged {
            break;
        }
    }
    Ok(newest)
}

fn read_whole(file: &dyn StorageFile) -> Result<Vec<u8>> {
    let len = file.len().context("read the length of", file.path())?;
    let too_long = || {
        let stored = i64::try_from(len).unwrap_or(i64::MAX);
        Error::corrupt(0, Damage::Length { stored }).in_file(file.path(), 0)
    };
    if len > TEXT_BYTES_MAX {
        return Err(too_long());
    }
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| too_long())?];
    let read = file.read_full_at(0, &mut bytes).context("read", file.path())?;
    bytes.truncate(read);
    Ok(bytes)
}
