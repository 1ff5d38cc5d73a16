//! [P] Crash images of `MemStorage`: what the disk may hold after a power cut, or after the process was killed.
//!
//! Invariants kept here: what was synced is in every image; an image holds nothing but durable state and changes that
//! were pending; the same storage, model and seed give the same image.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::MemStorage;
use super::file::{Edit, FileNode};
use super::kit::Random;
use super::state::{DirNode, EntryChange, Inode, Node, State, View};

/// The unit in which a write is torn, in bytes.
const SECTOR_BYTES: usize = 512;

/// What a crash does to the changes that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CrashModel {
    /// The process was killed: the system keeps everything. The image looks as the storage did, and what was not
    /// durable still is not.
    KeepAll,
    /// A power cut that loses every pending change.
    DropAll,
    /// A power cut that keeps the changes up to a random one, in the order in which they were made.
    Prefix,
    /// A power cut that keeps each change or loses it. Kept writes are torn at 512-byte sectors: each sector of the
    /// written range has its new bytes, its old ones, zeros or garbage. Lengths are kept or lost on their own, so that
    /// a file may end in zeros or miss its end, and so are names. What a failed sync left behind may be there as well.
    Subset,
}

impl MemStorage {
    /// One possible state after a crash now, as a storage of its own: without open files, locks, frozen views, faults
    /// and recorded operations.
    ///
    /// ```
    /// use logstead::storage::{CrashModel, MemStorage, OpenMode, Storage, StorageFile, SyncMode};
    /// use std::path::Path;
    /// let storage = MemStorage::new();
    /// let file = storage.open(Path::new("/a"), OpenMode::Create)?;
    /// file.write_all_at(0, b"synced")?;
    /// file.sync(SyncMode::Data)?;
    /// // The bytes are durable, but the name is not.
    /// assert!(storage.crash_image(&CrashModel::DropAll, 0).list(Path::new("/"))?.is_empty());
    /// storage.sync_dir(Path::new("/"))?;
    /// let image = storage.crash_image(&CrashModel::DropAll, 0);
    /// assert_eq!(image.open(Path::new("/a"), OpenMode::Read)?.len()?, 6);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn crash_image(&self, model: &CrashModel, seed: u64) -> MemStorage {
        let state = self.state();
        let mut image = match model {
            CrashModel::KeepAll => killed(&state),
            CrashModel::DropAll => powered_off(&state, Survivors::None),
            CrashModel::Prefix => powered_off(&state, Survivors::Until(random_change(&state, seed))),
            CrashModel::Subset => powered_off(&state, Survivors::Subset(Random::new(seed), BTreeMap::new())),
        };
        image.capacity = state.capacity;
        image.drop_unreachable();
        MemStorage::with_state(image)
    }
}

/// Which of the pending changes survive.
enum Survivors {
    None,
    /// Those up to this place in their common order.
    Until(u64),
    /// A random subset, and for each folder met so far how many of four changes it keeps.
    Subset(Random, BTreeMap<Inode, u64>),
}

/// The state after the process was killed: all of it, except what belonged to the process.
fn killed(state: &State) -> State {
    let mut nodes = state.nodes.clone();
    for node in nodes.values_mut() {
        if let Node::File(file) = node {
            file.handles = Arc::new(());
            file.frozen.clear();
        }
    }
    let mut image = State::with_nodes(nodes, state.counters);
    image.pending_entries.clone_from(&state.pending_entries);
    image
}

/// The state after a power cut: what is durable, and the survivors among the pending changes.
fn powered_off(state: &State, mut survivors: Survivors) -> State {
    let nodes = state.nodes.iter().map(|(inode, node)| {
        let node = match node {
            Node::File(file) => Node::File(survivors.file(file)),
            Node::Dir(dir) => Node::Dir(DirNode { live: dir.durable.clone(), durable: dir.durable.clone() }),
        };
        (*inode, node)
    });
    let mut image = State::with_nodes(nodes.collect(), state.counters);
    for change in state.pending_entries.iter().filter(|change| survivors.keep_entry(change)) {
        image.apply(&change.edit, View::Live);
        image.apply(&change.edit, View::Durable);
    }
    image
}

/// The place of a random pending change, or 0 for "before them all".
fn random_change(state: &State, seed: u64) -> u64 {
    let of_files = state.nodes.values().flat_map(|node| match node {
        Node::File(file) => file.pending.as_slice(),
        Node::Dir(_) => &[],
    });
    let mut places: Vec<u64> = of_files.filter(|change| !change.in_doubt).map(|change| change.sequence).collect();
    places.extend(state.pending_entries.iter().filter(|change| !change.in_doubt).map(|change| change.sequence));
    places.push(0);
    places.sort_unstable();
    let index = Random::new(seed).below_len(places.len());
    places.get(index).copied().unwrap_or(0)
}

impl Survivors {
    fn keep_entry(&mut self, change: &EntryChange) -> bool {
        match self {
            Survivors::None => false,
            Survivors::Until(last) => !change.in_doubt && change.sequence <= *last,
            Survivors::Subset(random, folders) => {
                let [folder, _] = change.edit.folders();
                let odds = *folders.entry(folder).or_insert_with(|| random_odds(random));
                random.below(4) < odds
            }
        }
    }

    /// The file that is found after the power cut.
    fn file(&mut self, file: &FileNode) -> FileNode {
        let mut found = FileNode::new(file.modified_durable);
        found.durable = file.durable.clone();
        match self {
            Survivors::None => {}
            Survivors::Until(last) => {
                for change in file.pending.iter().filter(|change| !change.in_doubt && change.sequence <= *last) {
                    change.edit.apply(&mut found.durable);
                }
            }
            Survivors::Subset(random, _) => {
                if random.coin() {
                    found.modified = file.modified;
                    found.modified_durable = file.modified;
                }
                keep_subset(file, &mut found.durable, random);
            }
        }
        found.live = found.durable.clone();
        found
    }
}

/// How many of four changes survive: none, half or all of them. Drawn once per file or folder, since independent draws
/// alone would hardly ever keep, or lose, all changes of one file.
fn random_odds(random: &mut Random) -> u64 {
    random.below(3).saturating_mul(2)
}

/// Applies a random subset of a file's pending changes, torn, and picks a length that it had at some time since.
fn keep_subset(file: &FileNode, content: &mut Vec<u8>, random: &mut Random) {
    let odds = random_odds(random);
    let torn = random.coin();
    let mut len = content.len();
    let mut lengths = vec![len];
    for change in &file.pending {
        len = change.edit.len_after(len);
        lengths.push(len);
        if random.below(4) >= odds {
            continue;
        }
        match &change.edit {
            Edit::Write { position, bytes } if torn => tear(content, *position, bytes, random),
            edit @ (Edit::Write { .. } | Edit::SetLen(_)) => edit.apply(content),
        }
    }
    if random.coin() {
        let index = random.below_len(lengths.len());
        content.resize(lengths.get(index).copied().unwrap_or(len), 0);
    }
}

/// Writes `bytes` as a power cut may leave them: each sector of the range new, old, zero or garbage.
fn tear(content: &mut Vec<u8>, position: usize, bytes: &[u8], random: &mut Random) {
    let end = position.saturating_add(bytes.len());
    if content.len() < end {
        content.resize(end, 0);
    }
    let mut start = position;
    let mut rest = bytes;
    while !rest.is_empty() {
        let in_sector = SECTOR_BYTES - start % SECTOR_BYTES;
        let (new, behind) = rest.split_at(in_sector.min(rest.len()));
        let sector = content.get_mut(start..).and_then(|tail| tail.get_mut(..new.len())).unwrap_or_default();
        match random.below(6) {
            0..=2 => sector.copy_from_slice(new),
            3 => {}
            4 => sector.fill(0),
            _ => sector.fill_with(|| random.next().to_le_bytes()[0]),
        }
        start += new.len();
        rest = behind;
    }
}
