//! Folders that cannot be opened, and folders that others hold.

#![allow(clippy::print_stdout, reason = "a child process talks to its parent, and a test says what it skips")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use logstead::Error;
use logstead::cluster::{Cluster, Driver};
use logstead::config::{LogConfig, TopicConfig};
use logstead::storage::{CrashModel, MemStorage, OpenMode, Storage};

use super::rig::{Stride, Watchdog};
use super::session::look;
use crate::support::{FOLDER, bytes_of, overwrite};

/// Tells a child process which folder to own.
const OWNED: &str = "LOGSTEAD_TEST_OWNED_FOLDER";
const READY: &str = "the folder is owned";

fn on(storage: &MemStorage) -> logstead::Result<Cluster> {
    Cluster::builder().storage(storage.clone()).driver(Driver::Manual).seed(1).open(FOLDER)
}

/// Everything in a folder: names, contents, times of the last change.
fn snapshot(folder: &Path) -> Vec<(PathBuf, Vec<u8>, std::time::SystemTime)> {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    let facts = |path: PathBuf| {
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        let bytes = if path.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        (path, bytes, modified)
    };
    entries.into_iter().map(facts).collect()
}

#[test]
fn what_is_no_data_folder_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "text").unwrap();
    let refused = Cluster::open(&file).unwrap_err();
    assert!(matches!(&refused, Error::Io { path, .. } if *path == file), "{refused:?}");
    let below_a_file = Cluster::open(file.join("data")).unwrap_err();
    assert!(matches!(below_a_file, Error::Io { .. }), "{below_a_file:?}");
    let no_parent = Cluster::open(folder.path().join("missing").join("data")).unwrap_err();
    assert!(matches!(no_parent, Error::Io { .. }), "{no_parent:?}");
    let before = snapshot(folder.path());
    let refused = Cluster::open(folder.path()).unwrap_err();
    assert!(matches!(refused, Error::InvalidState { .. }), "{refused:?}");
    assert_eq!(snapshot(folder.path()), before);
    assert_eq!(fs::read_to_string(&file).unwrap(), "text");
}

#[test]
fn a_folder_that_may_not_be_written_is_an_io_error() {
    let folder = tempfile::tempdir().unwrap();
    let set = |mode| fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
    set(0o555);
    if fs::write(folder.path().join("probe"), "").is_ok() {
        fs::remove_file(folder.path().join("probe")).unwrap();
        set(0o755);
        println!("SKIP: this user may write into every folder, so that permissions prove nothing");
        return;
    }
    let refused = Cluster::open(folder.path()).map(drop);
    let nested = Cluster::open(folder.path().join("data")).map(drop);
    set(0o755);
    for refused in [refused, nested] {
        assert!(
            matches!(&refused, Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::PermissionDenied),
            "{refused:?}"
        );
    }
    Cluster::open(folder.path()).unwrap().close().unwrap();
}

#[test]
fn a_disk_that_is_full_at_open_is_an_error_that_passes() {
    let base = MemStorage::new();
    let cluster = on(&base).unwrap();
    cluster.create_topic("orders", TopicConfig::new().partitions(2)).unwrap();
    let producer = cluster.producer().build().unwrap();
    let record = || logstead::producer::Record::to("orders").partition(1).value("value");
    producer.send(record()).unwrap().wait().unwrap();
    cluster.close().unwrap();
    let mut refused = 0;
    for is_new in [true, false] {
        for capacity in (0..24_000).step_by(97) {
            let storage = if is_new { MemStorage::new() } else { base.crash_image(&CrashModel::KeepAll, 0) };
            storage.set_capacity(Some(capacity));
            match on(&storage) {
                Ok(cluster) => drop(cluster),
                Err(Error::OutOfSpace { .. } | Error::Io { .. }) => refused += 1,
                Err(other) => panic!("{capacity}: {other:?}"),
            }
            storage.set_capacity(None);
            let cluster = on(&storage).unwrap();
            if !is_new {
                assert_eq!(look(&cluster).unwrap()["orders"].partitions, [vec![], vec!["value".to_owned()]]);
            }
            cluster.close().unwrap();
        }
    }
    assert!(refused > 10, "{refused}");
}

#[test]
fn a_newer_format_is_refused_and_nothing_changed() {
    let folder = tempfile::tempdir().unwrap();
    Cluster::open(folder.path()).unwrap().close().unwrap();
    let manifest = folder.path().join("logstead.manifest");
    let text = fs::read_to_string(&manifest).unwrap().replacen("logstead-manifest 1\n", "logstead-manifest 7\n", 1);
    let body = &text[..text.rfind("crc32 ").unwrap()];
    fs::write(&manifest, format!("{body}crc32 {:08x}\n", crc32fast::hash(body.as_bytes()))).unwrap();
    let before = snapshot(folder.path());
    let refused = Cluster::open(folder.path()).unwrap_err();
    assert!(matches!(refused, Error::UnsupportedFormat { found: 7, .. }), "{refused:?}");
    assert_eq!(snapshot(folder.path()), before);
}

#[test]
fn a_folder_is_opened_once_in_a_process_whatever_it_is_called() {
    let root = tempfile::tempdir().unwrap();
    let (folder, link) = (root.path().join("data"), root.path().join("link"));
    let cluster = Cluster::open(&folder).unwrap();
    symlink(&folder, &link).unwrap();
    for name in [&folder, &link, &root.path().join("link/../data"), &root.path().join("./data")] {
        let refused = Cluster::open(name).unwrap_err();
        assert!(
            matches!(refused, Error::AlreadyOpen { pid: Some(pid), .. } if pid == std::process::id()),
            "{refused:?}"
        );
    }
    cluster.create_topic("orders", TopicConfig::new()).unwrap();
    cluster.close().unwrap();
    let cluster = Cluster::open(&link).unwrap();
    assert!(cluster.report().was_clean);
    assert_eq!(cluster.topics().len(), 1);
}

/// Not a test of its own: what the child process of the next test runs.
#[test]
fn a_child_process_owns_a_folder() {
    let Some(folder) = std::env::var_os(OWNED) else { return };
    let _cluster = Cluster::open(folder).unwrap();
    println!("\n{READY}");
    std::io::stdout().flush().unwrap();
    // Until it is killed, or its parent is gone.
    let _ = std::io::stdin().read_line(&mut String::new());
}

fn spawn_owner(folder: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "cluster::folders::a_child_process_owns_a_folder", "--nocapture"]);
    let mut child =
        command.env(OWNED, folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == READY), "the child did not open the folder");
    child
}

#[test]
fn a_folder_that_another_process_owns_is_free_when_that_is_killed() {
    let _watchdog = Watchdog::start(Duration::from_secs(120));
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..5 {
        let mut child = spawn_owner(folder.path());
        let refused = Cluster::open(folder.path()).unwrap_err();
        assert!(matches!(refused, Error::AlreadyOpen { pid: Some(pid), .. } if pid == child.id()), "{refused:?}");
        child.kill().unwrap();
        child.wait().unwrap();
        let cluster = Cluster::open(folder.path()).unwrap();
        assert!(!cluster.report().was_clean);
        cluster.close().unwrap();
    }
}

/// A folder whose metadata log tells of every kind of change.
fn written() -> MemStorage {
    let storage = MemStorage::new();
    let cluster = on(&storage).unwrap();
    cluster.create_topic("orders", TopicConfig::new().partitions(3).segment_bytes(4_096)).unwrap();
    cluster.create_topic("events", TopicConfig::new().log(LogConfig::new().segment_index_bytes(64))).unwrap();
    cluster.create_topic("gone", TopicConfig::new()).unwrap();
    cluster.delete_topic("gone").unwrap();
    cluster.add_partitions("events", 2).unwrap();
    cluster.close().unwrap();
    let cluster = on(&storage).unwrap();
    cluster.alter_topic("orders", [("segment.bytes", Some("8192"))]).unwrap();
    cluster.close().unwrap();
    storage
}

#[test]
fn a_damaged_metadata_log_is_an_error_or_the_same_topics() {
    let base = written();
    let expected = look(&on(&base.crash_image(&CrashModel::KeepAll, 0)).unwrap()).unwrap();
    let folder = Path::new(FOLDER).join("__cluster_metadata-0");
    let names: Vec<_> = base.list(&folder).unwrap().into_iter().map(|entry| entry.name).collect();
    assert!(names.iter().any(|name| name.ends_with(".log")), "{names:?}");
    let (mut refused, mut healed) = (0, 0);
    let mut stride = Stride::one_of(3);
    for is_clean in [true, false] {
        for name in &names {
            let path = folder.join(name);
            let bytes = bytes_of(&base, &path);
            for position in 0..bytes.len() {
                if !stride.takes() {
                    continue;
                }
                let storage = base.crash_image(&CrashModel::KeepAll, 0);
                if !is_clean {
                    storage.remove(&Path::new(FOLDER).join(".kafka_cleanshutdown")).unwrap();
                }
                let mut damaged = bytes.clone();
                damaged[position] ^= 1 << (position % 8);
                overwrite(&storage, &path, &damaged);
                for _ in 0..2 {
                    match on(&storage) {
                        Ok(cluster) => {
                            assert_eq!(look(&cluster).unwrap(), expected, "{name} {position} {is_clean}");
                            healed += 1;
                        }
                        Err(Error::Corrupt(_)) => refused += 1,
                        Err(Error::Offline { cause, .. }) if matches!(*cause, Error::Corrupt(_)) => refused += 1,
                        // Files of text carry no checksum.
                        Err(Error::InconsistentTopicId { .. }) if name == "partition.metadata" => refused += 1,
                        Err(Error::InvalidState { .. }) if name == "quorum-state" => refused += 1,
                        Err(other) => panic!("{name} {position} {is_clean}: {other:?}"),
                    }
                }
            }
        }
    }
    println!("damaged metadata: {refused} refused, {healed} opened with the same topics");
    assert!(refused > 0 && healed > 0);
}

/// Copies a real folder to a memory disk.
fn copy_in(storage: &MemStorage, from: &Path, to: &Path) {
    storage.create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let file = storage.open(&to.join(entry.file_name()), OpenMode::Create).unwrap();
        file.write_all_at(0, &fs::read(entry.path()).unwrap()).unwrap();
    }
}

/// A folder with a snapshot of its metadata, as another owner may have left it.
fn with_snapshot() -> MemStorage {
    let storage = MemStorage::new();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden/__cluster_metadata-0");
    storage.create_dir(Path::new(FOLDER)).unwrap();
    copy_in(&storage, &golden, &Path::new(FOLDER).join("__cluster_metadata-0"));
    let properties = b"version=1\nnode.id=1\ncluster.id=4L6g3nShT-eMCtK--X86sw\n";
    overwrite(&storage, &Path::new(FOLDER).join("meta.properties"), properties);
    storage
}

#[test]
fn a_damaged_metadata_snapshot_is_an_error_or_the_same_topics() {
    let base = with_snapshot();
    let open = |storage: &MemStorage| on(storage).map(|cluster| look(&cluster).unwrap());
    let expected = open(&base.crash_image(&CrashModel::KeepAll, 0)).unwrap();
    assert!(!expected.is_empty());
    let path = Path::new(FOLDER).join("__cluster_metadata-0/00000000000000000012-0000000001.checkpoint");
    let bytes = bytes_of(&base, &path);
    let mut healed = 0;
    for position in 0..bytes.len() {
        let storage = base.crash_image(&CrashModel::KeepAll, 0);
        let mut damaged = bytes.clone();
        damaged[position] ^= 1 << (position % 8);
        overwrite(&storage, &path, &damaged);
        match open(&storage) {
            Ok(found) => {
                assert_eq!(found, expected, "{position}");
                healed += 1;
            }
            Err(Error::Corrupt(_)) => {}
            Err(other) => panic!("{position}: {other:?}"),
        }
    }
    // The log still holds everything that the snapshot does.
    assert_eq!(healed, bytes.len());
}
