//! Folders that nothing is wrong with, closed or at work.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use logstead::time::{Clock, ManualClock};
use logstead::types::{LeaderEpoch, Offset};

use crate::support::{append, files_in, fixtures, open, open_log, run, verify, write_folder};

#[test]
fn what_kafka_wrote_is_without_damage() {
    for (name, notes) in [
        ("plain-0", &[][..]),
        ("segments-0", &[]),
        ("transactions-0", &[]),
        ("appendtime-0", &[]),
        ("compacted-0", &["gap"]),
        ("codecs-0", &[]),
    ] {
        let run = verify(&fixtures().join(name));
        let kinds: Vec<_> = run.found("note", Path::new("")).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!((run.code, kinds), (0, notes.iter().map(|kind| (*kind).to_owned()).collect()), "{name}");
        assert_eq!(run.summary("files"), files_in(&fixtures().join(name)).len() as u64, "{name}");
    }
    let all = verify(&fixtures());
    assert_eq!((all.code, all.summary("partitions"), all.summary("records")), (0, 6, 64));
}

#[test]
fn a_folder_that_the_library_closed_has_neither_damage_nor_notes() {
    let folder = write_folder();
    let run = verify(folder.path());
    assert_eq!(run.stdout.lines().count(), 1, "{}", run.stdout);
    assert_eq!((run.code, run.summary("damage"), run.summary("notes")), (0, 0, 0));
    assert_eq!((run.summary("folders"), run.summary("partitions"), run.summary("batches")), (1, 1, 12));
    assert_eq!(run.summary("records"), 21);
    let bytes: u64 = [folder.path(), &folder.path().join("orders-0")]
        .iter()
        .flat_map(|folder| files_in(folder))
        .filter(|path| path.file_name().unwrap() != ".lock")
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    assert_eq!(run.summary("bytes"), bytes);
}

#[test]
fn a_partition_folder_is_checked_by_itself() {
    let folder = write_folder();
    let run = verify(&folder.path().join("orders-0"));
    assert_eq!(run.stdout.lines().count(), 1, "{}", run.stdout);
    assert_eq!((run.code, run.summary("folders"), run.summary("partitions")), (0, 0, 1));
}

#[test]
fn several_brokers_are_checked_in_order() {
    let (parent, folder) = (tempfile::tempdir().unwrap(), write_folder());
    for name in ["broker.10", "broker.2"] {
        fs::create_dir_all(parent.path().join(name).join("orders-0")).unwrap();
        for path in files_in(folder.path()) {
            fs::copy(&path, parent.path().join(name).join(path.file_name().unwrap())).unwrap();
        }
        for path in files_in(&folder.path().join("orders-0")) {
            fs::copy(&path, parent.path().join(name).join("orders-0").join(path.file_name().unwrap())).unwrap();
        }
    }
    let run = verify(parent.path());
    assert_eq!((run.code, run.summary("folders"), run.summary("partitions")), (0, 2, 2), "{}", run.stdout);
}

#[test]
fn nothing_is_changed() {
    let folder = write_folder();
    let state = || -> Vec<_> {
        let folders = [folder.path().to_path_buf(), folder.path().join("orders-0")];
        let files = folders.iter().flat_map(|folder| files_in(folder));
        files.map(|path| (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().modified().unwrap())).collect()
    };
    let before = state();
    assert_eq!(verify(folder.path()).code, 0);
    assert!(before == state());
}

/// Ends the writer, also when the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_live_owner_is_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let directory = open(folder.path());
    let log = open_log(&directory, &clock);
    log.begin_epoch(LeaderEpoch::ZERO).unwrap();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _writer = scope.spawn(|| {
            for n in 0_i64.. {
                append(&log, &clock, 1000 + n, None);
                if n % 7 == 0 {
                    log.flush().unwrap();
                }
                if n % 50 == 49 {
                    let cut = Offset::new(log.log_end_offset().get() - 9).unwrap();
                    log.truncate_to(cut, clock.now()).unwrap();
                    log.begin_epoch(LeaderEpoch::new(i32::try_from(n).unwrap()).unwrap()).unwrap();
                }
                if is_done.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        let _stop = Stop(&is_done);
        let (mut batches, mut changes) = (0, 0);
        while changes < 40 {
            let run = verify(folder.path());
            assert_eq!(run.code, 0, "{}", run.stdout);
            changes += u64::from(run.summary("batches") != batches);
            batches = run.summary("batches");
        }
    });
    directory.close().unwrap();
}

#[test]
fn an_owner_that_died_leaves_notes_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let directory = open(folder.path());
    let log = open_log(&directory, &clock);
    log.begin_epoch(LeaderEpoch::ZERO).unwrap();
    (0..4).for_each(|n| append(&log, &clock, 1000 + n, None));
    log.flush().unwrap();
    append(&log, &clock, 2000, None);
    drop((log, directory));
    assert_eq!(verify(folder.path()).code, 0);
}

#[test]
fn wrong_usage_is_told_apart_from_damage() {
    let missing = run(&["verify"]);
    assert_eq!((missing.code, missing.stdout.as_str()), (2, ""));
    assert!(missing.stderr.contains("--data <DIR>"), "{}", missing.stderr);
    let nowhere = run(&["verify", "--data", "/nowhere/at/all"]);
    assert_eq!(nowhere.code, 1);
    assert!(nowhere.stderr.contains("/nowhere/at/all"), "{}", nowhere.stderr);
    let empty = tempfile::tempdir().unwrap();
    let run = run(&["verify", "--data", empty.path().to_str().unwrap()]);
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("no data folder"), "{}", run.stderr);
}

#[test]
fn the_text_has_a_line_for_each_finding_and_a_summary() {
    let folder = fixtures().join("compacted-0");
    let folder = folder.to_str().unwrap();
    let run = run(&["--data", folder, "verify"]);
    let expected = format!(
        "note gap {folder}/00000000000000000000.log at 0 offsets 0..4: \
         3 of 4 offsets of the batch hold no record, as after compaction\n\
         summary: folders 0, partitions 1, files 10, batches 4, records 6, bytes 486, damage 0, notes 1\n"
    );
    assert_eq!((run.stdout, run.code), (expected, 0));
}
