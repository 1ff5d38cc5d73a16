//! Tests of `MemStorage`: the same live view as a real file system, and crash images within the contract.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;

use super::super::OsStorage;
use super::*;
use crate::storage::publish;

const MODELS: [CrashModel; 4] = [CrashModel::KeepAll, CrashModel::DropAll, CrashModel::Prefix, CrashModel::Subset];

fn path(text: &str) -> &Path {
    Path::new(text)
}

fn create(storage: &MemStorage, name: &str) -> Arc<dyn StorageFile> {
    storage.open(path(name), OpenMode::Create).unwrap()
}

/// A file whose name and bytes are durable.
fn durable(storage: &MemStorage, name: &str, bytes: &[u8]) -> Arc<dyn StorageFile> {
    let file = create(storage, name);
    file.write_all_at(0, bytes).unwrap();
    file.sync(SyncMode::All).unwrap();
    storage.sync_dir(&parent_of(path(name))).unwrap();
    file
}

fn content(storage: &dyn Storage, name: &str) -> Option<Vec<u8>> {
    let file = storage.open(path(name), OpenMode::Read).ok()?;
    Some(file.freeze().unwrap().to_vec())
}

fn names(storage: &dyn Storage, folder: &str) -> Vec<String> {
    storage.list(path(folder)).unwrap().into_iter().map(|entry| entry.name).collect()
}

fn images(storage: &MemStorage, model: CrashModel, count: u64) -> impl Iterator<Item = MemStorage> {
    (0..count).map(move |seed| storage.crash_image(&model, seed))
}

// ---- the live view ------------------------------------------------------------------------------------------------

const PATHS: [&str; 9] = ["a", "b", "d", "d/a", "d/b", "d/e", "d/e/a", "a/x", "e"];

#[derive(Debug, Clone)]
enum Step {
    Open(usize, OpenMode, usize),
    Close(usize),
    Write(usize, u64, u8, usize),
    SetLen(usize, u64),
    Read(usize, u64, usize),
    SetModified(usize, i64),
    Freeze(usize),
    CreateDir(usize),
    RemoveDir(usize),
    Rename(usize, usize),
    Remove(usize),
    List(usize),
    Find(usize),
    Sync(usize),
    SyncDir(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let mode =
        prop_oneof![Just(OpenMode::Read), Just(OpenMode::Write), Just(OpenMode::Create), Just(OpenMode::CreateNew)];
    let path = || 0..PATHS.len();
    let handle = || 0..3usize;
    let position = || prop_oneof![9 => 0..2000u64, 1 => Just(u64::MAX)];
    prop_oneof![
        4 => (path(), mode, handle()).prop_map(|(path, mode, handle)| Step::Open(path, mode, handle)),
        1 => handle().prop_map(Step::Close),
        3 => (handle(), position(), any::<u8>(), 0..600usize).prop_map(|(h, at, byte, len)| Step::Write(h, at, byte, len)),
        1 => (handle(), position()).prop_map(|(handle, len)| Step::SetLen(handle, len)),
        1 => (handle(), position(), 0..600usize).prop_map(|(handle, at, len)| Step::Read(handle, at, len)),
        1 => (handle(), -5..1_000_000i64).prop_map(|(handle, millis)| Step::SetModified(handle, millis)),
        1 => handle().prop_map(Step::Freeze),
        3 => path().prop_map(Step::CreateDir),
        1 => path().prop_map(Step::RemoveDir),
        3 => (path(), path()).prop_map(|(from, to)| Step::Rename(from, to)),
        1 => path().prop_map(Step::Remove),
        1 => path().prop_map(Step::List),
        1 => path().prop_map(Step::Find),
        1 => handle().prop_map(Step::Sync),
        1 => path().prop_map(Step::SyncDir),
    ]
}

/// What every comparison starts from: most calls on an empty storage would only say that there is nothing.
fn planted() -> Vec<Step> {
    let mut steps: Vec<Step> = ["d", "d/e", "e"].map(|folder| Step::CreateDir(index_of(folder))).to_vec();
    for (handle, file) in ["a", "d/a"].into_iter().enumerate() {
        steps.push(Step::Open(index_of(file), OpenMode::Create, handle));
        steps.push(Step::Write(handle, 0, 1, 100));
    }
    steps.push(Step::Open(index_of("a"), OpenMode::Read, 2));
    steps
}

fn index_of(path: &str) -> usize {
    PATHS.iter().position(|known| *known == path).unwrap()
}

/// Every call on names of the planted tree, each to be made on its own.
fn all_calls_on_names() -> Vec<Step> {
    let paths = 0..PATHS.len();
    let modes = [OpenMode::Read, OpenMode::Write, OpenMode::Create, OpenMode::CreateNew];
    let mut steps: Vec<Step> = paths
        .clone()
        .flat_map(|path| {
            let [create, remove_dir] = [Step::CreateDir(path), Step::RemoveDir(path)];
            [create, remove_dir, Step::Remove(path), Step::List(path), Step::Find(path), Step::SyncDir(path)]
        })
        .collect();
    steps.extend(paths.clone().flat_map(|from| paths.clone().map(move |to| Step::Rename(from, to))));
    steps.extend(paths.flat_map(|path| modes.map(|mode| Step::Open(path, mode, 0))));
    steps
}

/// Makes the steps on both kinds of storage and compares each outcome, and all that is seen at the end.
fn compare_with_real(steps: &[Step]) -> Result<(), TestCaseError> {
    let folder = tempfile::tempdir().unwrap();
    let memory = MemStorage::new();
    let mut real = Subject { storage: &OsStorage::new(), root: folder.path().to_path_buf(), handles: BTreeMap::new() };
    let mut model = Subject { storage: &memory, root: PathBuf::from("/"), handles: BTreeMap::new() };
    for step in planted().iter().chain(steps) {
        prop_assert_eq!(real.make(step, false), model.make(step, true), "{:?} of {:?}", step, steps);
    }
    prop_assert_eq!(real.seen(), model.seen(), "after {:?}", steps);
    Ok(())
}

/// A storage with open handles, and what is seen of it as text.
struct Subject<'a> {
    storage: &'a dyn Storage,
    root: PathBuf,
    handles: BTreeMap<usize, Arc<dyn StorageFile>>,
}

impl Subject<'_> {
    /// Makes one step and describes its outcome: what it returned, or the kind of its error.
    fn make(&mut self, step: &Step, syncs: bool) -> String {
        let at = |index: usize| self.root.join(PATHS[index]);
        let outcome = match *step {
            Step::Open(path, mode, handle) => {
                let opened = self.storage.open(&at(path), mode);
                opened.map(|file| self.handles.insert(handle, file)).map(|_| String::new())
            }
            Step::CreateDir(path) => self.storage.create_dir(&at(path)).map(|()| String::new()),
            Step::RemoveDir(path) => self.storage.remove_dir(&at(path)).map(|()| String::new()),
            Step::Rename(from, to) => self.storage.rename(&at(from), &at(to)).map(|()| String::new()),
            Step::Remove(path) => self.storage.remove(&at(path)).map(|()| String::new()),
            Step::List(path) => self.storage.list(&at(path)).map(|entries| format!("{entries:?}")),
            Step::Find(path) => self.storage.identity(&at(path)).map(|_| String::new()),
            // Real syncs take their time and change nothing that is seen here; their errors are compared all the same.
            Step::SyncDir(path) if syncs => self.storage.sync_dir(&at(path)).map(|()| String::new()),
            Step::SyncDir(path) => self.storage.list(&at(path)).map(|_| String::new()),
            Step::Close(handle) => Ok(format!("{}", self.handles.remove(&handle).is_some())),
            Step::Write(handle, ..)
            | Step::SetLen(handle, _)
            | Step::Read(handle, ..)
            | Step::SetModified(handle, _)
            | Step::Freeze(handle)
            | Step::Sync(handle) => match self.handles.get(&handle) {
                Some(file) => use_handle(&**file, step, syncs),
                None => Ok("no handle".to_owned()),
            },
        };
        outcome.unwrap_or_else(|error| format!("{:?}", error.kind()))
    }

    /// All names, lengths and bytes.
    fn seen(&self) -> String {
        let mut seen = String::new();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in self.storage.list(&folder).unwrap() {
                let path = folder.join(&entry.name);
                let shown = path.strip_prefix(&self.root).unwrap().display().to_string();
                match entry.kind {
                    EntryKind::Dir => folders.push(path),
                    EntryKind::File | EntryKind::Other => {
                        let file = self.storage.open(&path, OpenMode::Read).unwrap();
                        seen += &format!("{shown}: {:?}\n", &file.freeze().unwrap()[..]);
                    }
                }
                seen += &format!("{shown} {:?}\n", entry.kind);
            }
        }
        seen
    }
}

fn use_handle(file: &dyn StorageFile, step: &Step, syncs: bool) -> io::Result<String> {
    match *step {
        Step::Write(_, position, byte, len) => file.write_at(position, &vec![byte; len]).map(|n| n.to_string()),
        Step::SetLen(_, len) => file.set_len(len).map(|()| String::new()),
        Step::Read(_, position, len) => {
            let mut buffer = vec![0; len];
            let read = file.read_at(position, &mut buffer)?;
            Ok(format!("{:?}", &buffer[..read]))
        }
        Step::SetModified(_, millis) => {
            file.set_modified(Timestamp::from_millis(millis))?;
            file.metadata().map(|metadata| format!("{metadata:?}"))
        }
        Step::Freeze(_) => file.freeze().map(|view| format!("{:?}", &view[..])),
        Step::Sync(_) if syncs => file.sync(SyncMode::Data).map(|()| String::new()),
        _ => Ok(String::new()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[cfg(target_os = "linux")]
    #[test]
    fn the_live_view_is_that_of_a_real_file_system(steps in prop::collection::vec(step(), 1..60)) {
        compare_with_real(&steps)?;
    }

    #[test]
    fn a_killed_process_leaves_the_live_view(steps in prop::collection::vec(step(), 1..60)) {
        let memory = MemStorage::new();
        let mut subject = Subject { storage: &memory, root: PathBuf::from("/"), handles: BTreeMap::new() };
        for step in planted().iter().chain(&steps) {
            subject.make(step, true);
        }
        let image = memory.crash_image(&CrashModel::KeepAll, 0);
        let survivor = Subject { storage: &image, root: PathBuf::from("/"), handles: BTreeMap::new() };
        prop_assert_eq!(subject.seen(), survivor.seen());
    }

    #[test]
    fn what_is_synced_is_in_every_image(steps in prop::collection::vec(step(), 1..60), seed in any::<u64>()) {
        let memory = MemStorage::new();
        let mut subject = Subject { storage: &memory, root: PathBuf::from("/"), handles: BTreeMap::new() };
        for step in planted().iter().chain(&steps) {
            subject.make(step, true);
        }
        sync_all(&memory, Path::new("/"));
        let expected = subject.seen();
        for model in MODELS {
            let image = memory.crash_image(&model, seed);
            let survivor = Subject { storage: &image, root: PathBuf::from("/"), handles: BTreeMap::new() };
            prop_assert_eq!(&survivor.seen(), &expected, "{:?}", model);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_image(steps in prop::collection::vec(step(), 1..60), seed in any::<u64>()) {
        let memory = MemStorage::new();
        let mut subject = Subject { storage: &memory, root: PathBuf::from("/"), handles: BTreeMap::new() };
        for step in planted().iter().chain(&steps) {
            subject.make(step, true);
        }
        for model in MODELS {
            let [first, second] = [0, 1].map(|_| {
                let image = memory.crash_image(&model, seed);
                Subject { storage: &image, root: PathBuf::from("/"), handles: BTreeMap::new() }.seen()
            });
            prop_assert_eq!(first, second, "{:?}", model);
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn every_single_call_ends_as_on_a_real_file_system() {
    for step in all_calls_on_names() {
        compare_with_real(&[step]).unwrap();
    }
}

fn sync_all(storage: &MemStorage, folder: &Path) {
    for entry in storage.list(folder).unwrap() {
        let path = folder.join(&entry.name);
        match entry.kind {
            EntryKind::Dir => sync_all(storage, &path),
            EntryKind::File | EntryKind::Other => {
                storage.open(&path, OpenMode::Read).unwrap().sync(SyncMode::All).unwrap();
            }
        }
    }
    storage.sync_dir(folder).unwrap();
}

#[test]
fn an_open_file_stays_readable_after_its_name_is_gone() {
    let storage = MemStorage::new();
    let file = durable(&storage, "/a", b"abc");
    storage.remove(path("/a")).unwrap();
    storage.sync_dir(path("/")).unwrap();
    for index in 0..500 {
        create(&storage, "/b").write_all_at(0, &[1]).unwrap();
        storage.remove(path("/b")).unwrap();
        storage.sync_dir(path("/")).unwrap();
        assert_eq!(&file.freeze().unwrap()[..], b"abc", "after {index} other files");
    }
    assert!(storage.state().nodes.len() < 200, "files that nothing leads to are given up");
}

#[test]
fn the_identity_stays_when_a_file_is_renamed() {
    let storage = MemStorage::new();
    durable(&storage, "/a", b"");
    durable(&storage, "/b", b"");
    let before = storage.identity(path("/a")).unwrap();
    assert_ne!(before, storage.identity(path("/b")).unwrap());
    storage.rename(path("/a"), path("/b")).unwrap();
    assert_eq!(before, storage.identity(path("/b")).unwrap());
}

#[test]
fn breaches_of_a_frozen_view_are_refused_while_it_exists() {
    let storage = MemStorage::new();
    let file = durable(&storage, "/a", b"abc");
    let view = file.freeze().unwrap();
    assert_eq!(file.write_at(0, b"x").unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert_eq!(file.set_len(2).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    file.set_len(5).unwrap();
    assert_eq!(&view[..], b"abc");
    drop(view);
    file.set_len(2).unwrap();
    file.write_all_at(0, b"x").unwrap();
}

#[test]
fn a_second_lock_is_refused_until_the_first_is_dropped() {
    let storage = MemStorage::new();
    storage.create_dir(path("/data")).unwrap();
    let lock = path("/data/.lock");
    assert_eq!(storage.lock_holder(lock).unwrap(), None);
    let guard = storage.lock(lock).unwrap();
    match storage.clone().lock(lock) {
        Err(Error::AlreadyOpen { path: folder, pid }) => {
            assert_eq!((folder.as_path(), pid), (path("/data"), Some(std::process::id())));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(storage.lock_holder(lock).unwrap(), Some(std::process::id()));
    drop(storage.crash_image(&CrashModel::KeepAll, 0).lock(lock).unwrap());
    drop(guard);
    assert_eq!(storage.lock_holder(lock).unwrap(), None);
    drop(storage.lock(lock).unwrap());
}

#[test]
fn a_full_storage_cuts_a_write_short_and_then_refuses() {
    let storage = MemStorage::new();
    storage.set_capacity(Some(10));
    let file = create(&storage, "/a");
    assert_eq!(file.write_at(0, &[1; 8]).unwrap(), 8);
    assert_eq!(file.write_at(8, &[1; 8]).unwrap(), 2);
    assert_eq!(file.write_at(10, &[1; 8]).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.set_len(11).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.hint(Hint::Preallocate { len: 11 }).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.write_at(0, &[2; 10]).unwrap(), 10);
    assert_eq!(storage.free_space(path("/")).unwrap(), 0);
}

#[test]
fn space_comes_back_when_a_removed_file_is_closed() {
    let storage = MemStorage::new();
    storage.set_capacity(Some(10));
    let file = create(&storage, "/a");
    file.write_all_at(0, &[1; 10]).unwrap();
    storage.remove(path("/a")).unwrap();
    assert_eq!(storage.free_space(path("/")).unwrap(), 0);
    drop(file);
    assert_eq!(storage.free_space(path("/")).unwrap(), 10);
}

#[test]
fn modification_times_grow_without_a_clock() {
    let storage = MemStorage::new();
    let file = create(&storage, "/a");
    let created = file.metadata().unwrap().modified;
    file.write_all_at(0, b"x").unwrap();
    assert!(file.metadata().unwrap().modified > created);
}

// ---- crash images -------------------------------------------------------------------------------------------------

#[test]
fn a_power_cut_loses_unsynced_names_and_bytes_on_their_own() {
    let storage = MemStorage::new();
    durable(&storage, "/named", b"").write_all_at(0, b"lost").unwrap();
    let file = create(&storage, "/unnamed");
    file.write_all_at(0, b"kept").unwrap();
    file.sync(SyncMode::Data).unwrap();
    let image = storage.crash_image(&CrashModel::DropAll, 0);
    assert_eq!(names(&image, "/"), ["named"]);
    assert_eq!(content(&image, "/named").unwrap(), b"");
    assert_eq!(content(&storage, "/named").unwrap(), b"lost");
}

#[test]
fn a_folder_that_is_not_synced_vanishes_with_all_that_is_in_it() {
    let storage = MemStorage::new();
    storage.create_dir(path("/d")).unwrap();
    durable(&storage, "/d/a", b"abc");
    assert!(names(&storage.crash_image(&CrashModel::DropAll, 0), "/").is_empty());
    storage.sync_dir(path("/")).unwrap();
    assert_eq!(content(&storage.crash_image(&CrashModel::DropAll, 0), "/d/a").unwrap(), b"abc");
}

#[test]
fn after_a_kill_a_power_cut_still_loses_what_was_not_synced() {
    let storage = MemStorage::new();
    durable(&storage, "/a", b"").write_all_at(0, b"abc").unwrap();
    let killed = storage.crash_image(&CrashModel::KeepAll, 0);
    assert_eq!(content(&killed, "/a").unwrap(), b"abc");
    assert_eq!(content(&killed.crash_image(&CrashModel::DropAll, 0), "/a").unwrap(), b"");
    killed.open(path("/a"), OpenMode::Write).unwrap().sync(SyncMode::Data).unwrap();
    assert_eq!(content(&killed.crash_image(&CrashModel::DropAll, 0), "/a").unwrap(), b"abc");
}

#[test]
fn an_image_after_a_power_cut_is_durable_and_independent() {
    let storage = MemStorage::new();
    durable(&storage, "/a", b"").write_all_at(0, &[7; 2000]).unwrap();
    for image in images(&storage, CrashModel::Subset, 20) {
        let found = content(&image, "/a").unwrap();
        assert_eq!(content(&image.crash_image(&CrashModel::DropAll, 0), "/a").unwrap(), found);
        image.remove(path("/a")).unwrap();
    }
    assert_eq!(content(&storage, "/a").unwrap(), [7; 2000]);
}

#[test]
fn prefix_images_are_the_states_that_the_storage_went_through() {
    let storage = MemStorage::new();
    let file = create(&storage, "/a");
    let mut states = BTreeSet::from([(vec![], None), (vec!["a".to_owned()], Some(vec![]))]);
    for byte in 0..4 {
        file.write_all_at(byte, &[byte as u8]).unwrap();
        states.insert((names(&storage, "/"), content(&storage, "/a")));
    }
    let found: BTreeSet<_> =
        images(&storage, CrashModel::Prefix, 200).map(|image| (names(&image, "/"), content(&image, "/a"))).collect();
    assert_eq!(found, states);
}

#[test]
fn subset_images_tear_writes_at_sectors_and_only_within_their_range() {
    let storage = MemStorage::new();
    let file = durable(&storage, "/a", &[1; 2048]);
    file.write_all_at(700, &[2; 1000]).unwrap();
    let mut fates = BTreeSet::new();
    for image in images(&storage, CrashModel::Subset, 300) {
        let found = content(&image, "/a").unwrap();
        assert_eq!(found.len(), 2048);
        assert!(found[..700].iter().chain(&found[1700..]).all(|byte| *byte == 1));
        for sector in [&found[700..1024], &found[1024..1536], &found[1536..1700]] {
            let uniform = sector.iter().all(|byte| *byte == sector[0]).then_some(sector[0]);
            fates.insert(uniform);
        }
    }
    assert_eq!(fates, BTreeSet::from([None, Some(0), Some(1), Some(2)]));
}

#[test]
fn subset_images_tear_at_the_sectors_of_the_file_not_of_the_write() {
    let storage = MemStorage::new();
    let file = durable(&storage, "/a", &[1; 2048]);
    file.write_all_at(700, &[2; 1000]).unwrap();
    let mut seams = BTreeSet::new();
    for image in images(&storage, CrashModel::Subset, 300) {
        let found = content(&image, "/a").unwrap();
        let old_then_new = |at: &usize| found[at - 20..*at] == [1; 20] && found[*at..at + 20] == [2; 20];
        seams.extend((701..1680).filter(old_then_new));
    }
    assert_eq!(seams, BTreeSet::from([1024, 1536]));
}

#[test]
fn subset_images_may_keep_a_length_and_lose_every_sector_of_it() {
    let storage = MemStorage::new();
    let file = durable(&storage, "/a", b"");
    // So many sectors that tearing alone would never turn all of them into zeros.
    file.write_all_at(0, &[1; 40 * 512]).unwrap();
    assert!(images(&storage, CrashModel::Subset, 100).any(|image| content(&image, "/a").unwrap() == [0; 40 * 512]));
}

#[test]
fn subset_images_may_have_a_length_without_its_bytes_and_bytes_without_their_length() {
    let storage = MemStorage::new();
    let file = durable(&storage, "/a", b"");
    file.write_all_at(0, &[1; 100]).unwrap();
    file.write_all_at(100, &[2; 100]).unwrap();
    let found: BTreeSet<_> =
        images(&storage, CrashModel::Subset, 300).map(|image| content(&image, "/a").unwrap()).collect();
    assert!(found.contains(&vec![0; 200]), "length without bytes");
    assert!(found.contains(&vec![]), "neither");
    assert!(found.contains(&vec![1; 100]), "the first write alone");
    assert!(found.contains(&[[1; 100], [2; 100]].concat()), "both");
    assert!(found.contains(&[[0; 100], [2; 100]].concat()), "the second write alone");
}

#[test]
fn a_rename_is_kept_or_lost_as_a_whole() {
    let storage = MemStorage::new();
    durable(&storage, "/old", b"old");
    durable(&storage, "/new", b"new");
    storage.rename(path("/new"), path("/old")).unwrap();
    let found: BTreeSet<_> = images(&storage, CrashModel::Subset, 50)
        .map(|image| (content(&image, "/old").unwrap(), content(&image, "/new")))
        .collect();
    assert_eq!(found, BTreeSet::from([(b"old".to_vec(), Some(b"new".to_vec())), (b"new".to_vec(), None)]));
}

#[test]
fn a_rename_between_folders_is_made_durable_by_either_of_them() {
    for synced in ["/", "/d"] {
        let storage = MemStorage::new();
        storage.create_dir(path("/d")).unwrap();
        durable(&storage, "/a", b"abc");
        storage.rename(path("/a"), path("/d/a")).unwrap();
        storage.sync_dir(path(synced)).unwrap();
        let image = storage.crash_image(&CrashModel::DropAll, 0);
        assert_eq!((names(&image, "/"), names(&image, "/d")), (vec!["d".to_owned()], vec!["a".to_owned()]), "{synced}");
    }
}

// ---- the test kit -------------------------------------------------------------------------------------------------

#[test]
fn every_change_is_recorded_and_nothing_else() {
    let storage = MemStorage::new();
    storage.create_dir(path("/d")).unwrap();
    let file = create(&storage, "/d/a");
    file.write_all_at(3, b"abc").unwrap();
    file.read_at(0, &mut [0; 3]).unwrap();
    file.set_len(9).unwrap();
    file.sync(SyncMode::Data).unwrap();
    storage.rename(path("/d/a"), path("/d/b")).unwrap();
    storage.remove(path("/d/a")).unwrap_err();
    storage.open(path("/d/b"), OpenMode::Create).unwrap();
    storage.sync_dir(path("/d")).unwrap();
    storage.remove(path("/d/b")).unwrap();
    storage.remove_dir(path("/d")).unwrap();
    let operations = storage.operations();
    let kinds: Vec<_> = operations.iter().map(|operation| operation.kind).collect();
    use OperationKind::*;
    assert_eq!(kinds, [CreateDir, Create, Write, SetLen, Sync, Rename, SyncDir, Remove, RemoveDir]);
    assert_eq!(storage.operation_count(), 9);
    let write = Operation { index: 2, kind: Write, path: PathBuf::from("/d/a"), position: 3, len: 3 };
    assert_eq!(operations[2], write);
    assert_eq!(operations[5].path, path("/d/b"));
}

#[test]
fn a_failed_sync_leaves_bytes_that_no_later_sync_makes_durable() {
    let storage = MemStorage::new();
    let file = durable(&storage, "/a", b"old");
    file.write_all_at(0, b"new").unwrap();
    storage.fail(Fault::nth(0).of_kind(OperationKind::Sync));
    assert_eq!(file.sync(SyncMode::Data).unwrap_err().raw_os_error(), Some(5));
    assert_eq!(content(&storage, "/a").unwrap(), b"new");
    let found: BTreeSet<_> =
        images(&storage, CrashModel::Subset, 100).map(|image| content(&image, "/a").unwrap()).collect();
    assert!(found.contains(b"new".as_slice()) && found.contains(b"old".as_slice()), "anything may have happened");
    file.write_all_at(3, b"er").unwrap();
    file.sync(SyncMode::Data).unwrap();
    assert_eq!(content(&storage, "/a").unwrap(), b"newer");
    for model in [CrashModel::DropAll, CrashModel::Prefix, CrashModel::Subset] {
        assert_eq!(content(&storage.crash_image(&model, 0), "/a").unwrap(), b"older", "{model:?}");
    }
}

#[test]
fn a_failed_folder_sync_leaves_names_that_no_later_sync_makes_durable() {
    let storage = MemStorage::new();
    create(&storage, "/a");
    storage.fail(Fault::nth(0).of_kind(OperationKind::SyncDir));
    storage.sync_dir(path("/")).unwrap_err();
    create(&storage, "/b");
    storage.sync_dir(path("/")).unwrap();
    assert_eq!(names(&storage, "/"), ["a", "b"]);
    assert_eq!(names(&storage.crash_image(&CrashModel::DropAll, 0), "/"), ["b"]);
}

#[test]
fn a_fault_strikes_the_chosen_call_once() {
    let storage = MemStorage::new();
    let (log, other) = (create(&storage, "/a.log"), create(&storage, "/a.index"));
    let full = Fault::nth(1).of_kind(OperationKind::Write).on_paths_ending_with(".log");
    storage.fail(full.with_error_kind(io::ErrorKind::StorageFull));
    log.write_at(0, b"0").unwrap();
    other.write_at(0, b"0").unwrap();
    log.set_len(1).unwrap();
    assert_eq!(log.write_at(1, b"1").unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(log.len().unwrap(), 1);
    log.write_at(1, b"1").unwrap();
}

#[test]
fn a_sticky_fault_strikes_until_it_is_cleared() {
    let storage = MemStorage::new();
    let file = create(&storage, "/a");
    storage.fail(Fault::nth(1).with_os_error(28).sticky());
    file.write_at(0, b"0").unwrap();
    for _ in 0..3 {
        assert_eq!(file.write_at(1, b"1").unwrap_err().raw_os_error(), Some(28));
        assert_eq!(storage.remove(path("/a")).unwrap_err().raw_os_error(), Some(28));
    }
    storage.clear_faults();
    file.write_at(1, b"1").unwrap();
}

#[test]
fn a_fault_may_take_effect_all_the_same() {
    let storage = MemStorage::new();
    durable(&storage, "/a", b"abc");
    storage.fail(Fault::nth(0).taking_effect());
    storage.rename(path("/a"), path("/b")).unwrap_err();
    assert_eq!(names(&storage, "/"), ["b"]);
}

#[test]
fn reads_fail_only_by_a_fault_of_their_own() {
    let storage = MemStorage::new();
    let file = durable(&storage, "/a", b"abc");
    storage.fail(Fault::nth(0).sticky());
    file.read_exact_at(0, &mut [0; 3]).unwrap();
    storage.fail(Fault::nth(0).of_kind(OperationKind::Read));
    file.read_exact_at(0, &mut [0; 3]).unwrap_err();
    file.read_exact_at(0, &mut [0; 3]).unwrap();
}

#[test]
fn short_and_interrupted_transfers_are_transparent_to_the_exact_helpers() {
    let storage = MemStorage::new();
    storage.set_short_transfers(7);
    let file = create(&storage, "/a");
    let bytes: Vec<u8> = (0..5000).map(|i| i as u8).collect();
    for (index, part) in bytes.chunks(500).enumerate() {
        file.write_all_at(index as u64 * 500, part).unwrap();
    }
    let mut buffer = vec![0; 5000];
    file.read_exact_at(0, &mut buffer).unwrap();
    assert_eq!(buffer, bytes);
    assert!(storage.operation_count() > 11, "at least one of the ten writes was short");
}

#[test]
fn a_stop_takes_the_call_with_it_or_not_and_ends_everything() {
    for (point, expected) in [(StopPoint::Before(1), &b""[..]), (StopPoint::After(1), b"abc")] {
        let storage = MemStorage::new();
        storage.stop_at(point);
        let file = create(&storage, "/a");
        file.write_at(0, b"abc").unwrap_err();
        assert!(storage.is_stopped());
        file.read_at(0, &mut [0; 1]).unwrap_err();
        storage.list(path("/")).unwrap_err();
        assert!(matches!(storage.lock(path("/.lock")), Err(Error::Io { .. })));
        let image = storage.crash_image(&CrashModel::KeepAll, 0);
        assert_eq!(content(&image, "/a").unwrap(), expected, "{point:?}");
    }
}

#[test]
fn a_sync_that_was_never_made_leaves_nothing_in_doubt() {
    let storage = MemStorage::new();
    let file = durable(&storage, "/a", b"");
    file.write_all_at(0, b"abc").unwrap();
    storage.stop_at(StopPoint::Before(storage.operation_count()));
    file.sync(SyncMode::Data).unwrap_err();
    let killed = storage.crash_image(&CrashModel::KeepAll, 0);
    killed.open(path("/a"), OpenMode::Write).unwrap().sync(SyncMode::Data).unwrap();
    assert_eq!(content(&killed.crash_image(&CrashModel::DropAll, 0), "/a").unwrap(), b"abc");
}

#[test]
fn the_same_workload_makes_the_same_operations() {
    let run = || {
        let storage = MemStorage::new();
        storage.set_short_transfers(3);
        for round in 0..5u8 {
            publish(&storage, path("/a"), &[round; 3000]).unwrap();
        }
        storage.operations()
    };
    assert_eq!(run(), run());
}
