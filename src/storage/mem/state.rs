//! [P] The file system inside `MemStorage`: files and folders by number, live and durable names, space.
//!
//! Invariants kept here: an entry leads to a node that exists; each change of a folder's live names since its last sync
//! is in `pending_entries`, in order; a node is dropped only when no name, no pending change and no handle leads to it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path};

use super::file::FileNode;
use super::kit::Kit;
use super::operation::Call;
use crate::types::Timestamp;

/// The number of a file or folder, stable while it is renamed.
pub(super) type Inode = u64;

/// The folder that every path starts from.
pub(super) const ROOT: Inode = 1;

/// The clock's start, that of `ManualClock`. Each change is one millisecond later than the one before.
const CLOCK_START: i64 = 1_700_000_000_000;

/// Unreachable nodes are looked for only when there are at least this many.
const COLLECT_MIN: usize = 64;

pub(super) type Entries = BTreeMap<OsString, Inode>;

#[derive(Debug)]
pub(super) struct State {
    pub(super) nodes: BTreeMap<Inode, Node>,
    pub(super) pending_entries: Vec<EntryChange>,
    pub(super) locked: BTreeSet<Inode>,
    pub(super) capacity: Option<u64>,
    pub(super) kit: Kit,
    pub(super) counters: Counters,
}

/// What only grows. Crash images continue it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counters {
    inode: Inode,
    sequence: u64,
    clock: i64,
    /// The number of nodes from which on unreachable ones are looked for.
    collect_at: usize,
}

#[derive(Debug, Clone)]
pub(super) enum Node {
    File(FileNode),
    Dir(DirNode),
}

#[derive(Debug, Clone, Default)]
pub(super) struct DirNode {
    pub(super) live: Entries,
    pub(super) durable: Entries,
}

/// A change of names that is not durable yet.
#[derive(Debug, Clone)]
pub(super) struct EntryChange {
    /// Its place in the order of all changes of the storage, files included.
    #[cfg_attr(not(any(test, feature = "testkit")), allow(dead_code, reason = "read by crash images only"))]
    pub(super) sequence: u64,
    /// A sync of it failed; see [`super::file::Change`].
    pub(super) in_doubt: bool,
    pub(super) edit: EntryEdit,
}

#[derive(Debug, Clone)]
pub(super) enum EntryEdit {
    Link { at: Place, inode: Inode },
    Unlink { at: Place },
    Rename { from: Place, to: Place, inode: Inode },
}

/// A name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) folder: Inode,
    pub(super) name: OsString,
}

/// Which of a folder's two sets of names.
#[derive(Debug, Clone, Copy)]
pub(super) enum View {
    Live,
    Durable,
}

impl EntryEdit {
    /// The folders whose names it changes: the same one twice, except for a rename between folders.
    pub(super) fn folders(&self) -> [Inode; 2] {
        match self {
            EntryEdit::Link { at, .. } | EntryEdit::Unlink { at } => [at.folder; 2],
            EntryEdit::Rename { from, to, .. } => [from.folder, to.folder],
        }
    }
}

impl Default for State {
    fn default() -> State {
        let counters = Counters { inode: ROOT, sequence: 0, clock: CLOCK_START, collect_at: COLLECT_MIN };
        State::with_nodes(BTreeMap::from([(ROOT, Node::Dir(DirNode::default()))]), counters)
    }
}

impl State {
    pub(super) fn with_nodes(nodes: BTreeMap<Inode, Node>, counters: Counters) -> State {
        State {
            nodes,
            pending_entries: Vec::new(),
            locked: BTreeSet::new(),
            capacity: None,
            kit: Kit::default(),
            counters,
        }
    }

    // ---- names ------------------------------------------------------------------------------------------------------

    /// The node that a path leads to.
    pub(super) fn resolve(&self, path: &Path) -> io::Result<Inode> {
        let mut inode = ROOT;
        for name in names(path) {
            inode = *self.entries(inode)?.get(name?).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(inode)
    }

    /// The folder and the name that a path ends in; the folder must exist.
    pub(super) fn place(&self, path: &Path) -> io::Result<Place> {
        let name = match path.components().next_back() {
            Some(Component::Normal(name)) => name.to_owned(),
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path does not end in a name")),
        };
        let folder = self.resolve(path.parent().unwrap_or(Path::new("")))?;
        self.entries(folder)?;
        Ok(Place { folder, name })
    }

    /// The live names of a folder.
    pub(super) fn entries(&self, folder: Inode) -> io::Result<&Entries> {
        match self.nodes.get(&folder) {
            Some(Node::Dir(dir)) => Ok(&dir.live),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// What has the name, if anything.
    pub(super) fn target(&self, at: &Place) -> Option<Inode> {
        self.entries(at.folder).ok()?.get(&at.name).copied()
    }

    pub(super) fn is_dir(&self, inode: Inode) -> bool {
        matches!(self.nodes.get(&inode), Some(Node::Dir(_)))
    }

    /// The folder and all folders above it, up to the root.
    fn with_ancestors(&self, folder: Inode) -> BTreeSet<Inode> {
        let mut found = BTreeSet::from([folder]);
        let mut inode = folder;
        let parent_of = |child| {
            let holds = |node: &Node| matches!(node, Node::Dir(dir) if dir.live.values().any(|inode| *inode == child));
            self.nodes.iter().find(|(_, node)| holds(node)).map(|(inode, _)| *inode)
        };
        while let Some(parent) = parent_of(inode).filter(|parent| found.insert(*parent)) {
            inode = parent;
        }
        found
    }

    /// Whether a rename is legal; `None` when both names lead to the same node, so that nothing is to be done.
    pub(super) fn check_rename(&self, from: &Place, to: &Place) -> io::Result<Option<Inode>> {
        let inode = self.target(from).ok_or(io::ErrorKind::NotFound)?;
        if self.is_dir(inode) && self.with_ancestors(to.folder).contains(&inode) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let Some(target) = self.target(to) else { return Ok(Some(inode)) };
        if target == inode {
            return Ok(None);
        }
        if self.is_dir(target) && self.with_ancestors(from.folder).contains(&target) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        match (self.is_dir(inode), self.entries(target)) {
            (false, Err(_)) => Ok(Some(inode)),
            (false, Ok(_)) => Err(io::ErrorKind::IsADirectory.into()),
            (true, Err(error)) => Err(error),
            (true, Ok(entries)) if entries.is_empty() => Ok(Some(inode)),
            (true, Ok(_)) => Err(io::ErrorKind::DirectoryNotEmpty.into()),
        }
    }

    /// Adds a new node under a name.
    pub(super) fn create(&mut self, at: Place, node: Node) -> Inode {
        self.counters.inode += 1;
        let inode = self.counters.inode;
        self.nodes.insert(inode, node);
        self.edit_entries(EntryEdit::Link { at, inode });
        self.collect();
        inode
    }

    /// Changes names in a way that the next sync of the folder makes durable.
    pub(super) fn edit_entries(&mut self, edit: EntryEdit) {
        self.apply(&edit, View::Live);
        let sequence = self.next_sequence();
        self.pending_entries.push(EntryChange { sequence, in_doubt: false, edit });
    }

    /// Makes an edit in one of the views.
    pub(super) fn apply(&mut self, edit: &EntryEdit, view: View) {
        let mut change = |at: &Place, inode: Option<Inode>| {
            let entries = match (self.nodes.get_mut(&at.folder), view) {
                (Some(Node::Dir(dir)), View::Live) => &mut dir.live,
                (Some(Node::Dir(dir)), View::Durable) => &mut dir.durable,
                (Some(Node::File(_)) | None, _) => return None,
            };
            match inode {
                Some(inode) => entries.insert(at.name.clone(), inode),
                None => entries.remove(&at.name),
            }
        };
        match edit {
            EntryEdit::Link { at, inode } => change(at, Some(*inode)),
            EntryEdit::Unlink { at } => change(at, None),
            EntryEdit::Rename { from, to, inode } => {
                // Where the creation of the old name was lost, another file of that name may still be there: it stays.
                if let Some(other) = change(from, None).filter(|other| other != inode) {
                    change(from, Some(other));
                }
                change(to, Some(*inode))
            }
        };
    }

    /// A folder's changes become durable, except those that an earlier sync failed on. A rename between two folders
    /// stays one step: it takes along what was changed in the other folder before it.
    pub(super) fn sync_entries(&mut self, folder: Inode) {
        let covered = self.take_covered(folder);
        for change in covered.iter().filter(|change| !change.in_doubt) {
            self.apply(&change.edit, View::Durable);
        }
    }

    /// A sync failed: the live names stay, and no later sync makes them durable.
    pub(super) fn fail_sync_entries(&mut self, folder: Inode) {
        let covered = self.take_covered(folder);
        self.pending_entries.extend(covered.into_iter().map(|change| EntryChange { in_doubt: true, ..change }));
        self.pending_entries.sort_by_key(|change| change.sequence);
    }

    /// Takes out the pending changes that a sync of the folder covers, in order.
    fn take_covered(&mut self, folder: Inode) -> Vec<EntryChange> {
        let mut folders = BTreeSet::from([folder]);
        let (mut covered, mut others) = (Vec::new(), Vec::new());
        for change in std::mem::take(&mut self.pending_entries).into_iter().rev() {
            let touched = change.edit.folders();
            if touched.iter().any(|folder| folders.contains(folder)) {
                folders.extend(touched);
                covered.push(change);
            } else {
                others.push(change);
            }
        }
        others.reverse();
        covered.reverse();
        self.pending_entries = others;
        covered
    }

    // ---- files ------------------------------------------------------------------------------------------------------

    /// The file of an open handle.
    pub(super) fn file(&mut self, inode: Inode) -> io::Result<&mut FileNode> {
        match self.nodes.get_mut(&inode) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn next_sequence(&mut self) -> u64 {
        self.counters.sequence += 1;
        self.counters.sequence
    }

    /// The time of a change that is made now.
    pub(super) fn tick(&mut self) -> Timestamp {
        self.counters.clock += 1;
        Timestamp::from_millis(self.counters.clock)
    }

    /// Bytes by which files may still grow.
    pub(super) fn free(&self) -> u64 {
        let Some(capacity) = self.capacity else { return u64::MAX };
        let linked: BTreeSet<Inode> = self
            .nodes
            .values()
            .filter_map(|node| match node {
                Node::Dir(dir) => Some(dir.live.values().copied()),
                Node::File(_) => None,
            })
            .flatten()
            .collect();
        let used = self.nodes.iter().map(|(inode, node)| match node {
            Node::File(file) if file.is_open() || linked.contains(inode) => file.live.len() as u64,
            Node::File(_) | Node::Dir(_) => 0,
        });
        capacity.saturating_sub(used.sum())
    }

    // ---- calls ------------------------------------------------------------------------------------------------------

    /// Makes a change unless a fault prevents it.
    pub(super) fn perform<T>(&mut self, call: Call<'_>, effect: impl FnOnce(&mut State) -> T) -> io::Result<T> {
        let verdict = self.kit.admit(call);
        let outcome = if verdict.applies { Some(effect(self)) } else { None };
        match (verdict.error, outcome) {
            (None, Some(value)) => Ok(value),
            (Some(error), _) => Err(error),
            (None, None) => Err(io::ErrorKind::Other.into()),
        }
    }

    /// Drops the nodes that nothing leads to, now and then.
    fn collect(&mut self) {
        if self.nodes.len() >= self.counters.collect_at {
            self.drop_unreachable();
            self.counters.collect_at = self.nodes.len().saturating_mul(2).max(COLLECT_MIN);
        }
    }

    /// Drops the nodes that no name, no pending change and no handle leads to.
    pub(super) fn drop_unreachable(&mut self) {
        let mut pending: BTreeMap<Inode, Vec<Inode>> = BTreeMap::new();
        for change in &self.pending_entries {
            if let EntryEdit::Link { inode, .. } | EntryEdit::Rename { inode, .. } = &change.edit {
                for folder in change.edit.folders() {
                    pending.entry(folder).or_default().push(*inode);
                }
            }
        }
        let mut found = vec![ROOT];
        found.extend(self.nodes.iter().filter_map(|(inode, node)| match node {
            Node::File(file) if file.is_open() => Some(*inode),
            Node::File(_) | Node::Dir(_) => None,
        }));
        let mut reachable = BTreeSet::new();
        while let Some(inode) = found.pop() {
            if reachable.insert(inode)
                && let Some(Node::Dir(dir)) = self.nodes.get(&inode)
            {
                found.extend(dir.live.values().chain(dir.durable.values()));
                found.extend(pending.get(&inode).into_iter().flatten());
            }
        }
        self.pending_entries.retain(|change| change.edit.folders().iter().any(|folder| reachable.contains(folder)));
        self.nodes.retain(|inode, _| reachable.contains(inode));
    }
}

/// The names that a path consists of. `..` is refused: the engine never needs it.
fn names(path: &Path) -> impl Iterator<Item = io::Result<&OsStr>> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(Ok(name)),
        Component::ParentDir => Some(Err(io::Error::new(io::ErrorKind::InvalidInput, "the path contains '..'"))),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}
