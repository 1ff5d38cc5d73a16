//! One changed byte anywhere is noticed, and the file that holds it is named.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use crate::support::{PARTITION, copy_of_fixture, files_in, fixtures, verify, with_changed, write_folder};

/// Bytes of a file that are changed, at most; the others are passed over evenly.
const CHANGES_MAX: usize = 90;

/// The bytes of a `partition.metadata` that hold the topic's id.
const TOPIC_ID: Range<usize> = 21..43;

/// By file: the positions of a folder's files whose change leads to no damage in that very file.
fn unnoticed(root: &Path, folder: &Path, mask: u8) -> BTreeMap<String, Vec<usize>> {
    let mut missed: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for file in files_in(folder) {
        let name = file.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let len = fs::metadata(&file).unwrap().len() as usize;
        for at in (0..len).step_by(1 + len / CHANGES_MAX) {
            let run = with_changed(&file, |bytes| bytes[at] ^= mask, || verify(root));
            if run.code != 1 || !run.found("damage", root).iter().any(|(_, path)| *path == name) {
                missed.entry(name.clone()).or_default().push(at);
            }
        }
    }
    missed
}

#[test]
fn every_changed_byte_of_a_closed_data_folder_is_noticed() {
    let folder = write_folder();
    assert_eq!(unnoticed(folder.path(), folder.path(), 0x10), BTreeMap::new());
}

#[test]
fn every_changed_byte_of_its_partition_is_noticed() {
    let folder = write_folder();
    assert_eq!(unnoticed(folder.path(), &folder.path().join(PARTITION), 0x10), BTreeMap::new());
    assert_eq!(verify(folder.path()).code, 0);
}

#[test]
fn every_changed_byte_of_kafkas_folders_is_noticed_but_for_the_topic_id() {
    for (name, mask) in [("segments-0", 0x10), ("transactions-0", 0x02)] {
        let copy = copy_of_fixture(name);
        let folder = copy.path().join(name);
        let mut missed = unnoticed(&folder, &folder, mask);
        // Any 22 characters of base64 are an id, and nothing else in the folder names it.
        if let Some(positions) = missed.get_mut("partition.metadata") {
            positions.retain(|at| !TOPIC_ID.contains(at));
        }
        // "0 0" to "0 2": as if the first two records had been deleted, which a data folder would know.
        if let Some(positions) = missed.get_mut("leader-epoch-checkpoint") {
            positions.retain(|at| (name, *at) != ("transactions-0", 6));
        }
        missed.retain(|_, positions| !positions.is_empty());
        assert_eq!(missed, BTreeMap::new(), "{name}");
    }
}

#[test]
fn every_changed_field_of_a_batch_header_is_noticed() {
    let fields = [0, 7, 8, 11, 12, 15, 16, 17, 20, 21, 22, 23, 26, 27, 34, 35, 42, 43, 50, 51, 52, 53, 56, 57, 60];
    let copy = copy_of_fixture("transactions-0");
    let folder = copy.path().join("transactions-0");
    let log = folder.join("00000000000000000002.log");
    // The first batch, one in the midst and the last one.
    for batch in [0, 327, 806] {
        for (field, mask) in fields.into_iter().flat_map(|field| [1, 0x40, 0x80].map(|mask| (field, mask))) {
            let run = with_changed(&log, |bytes| bytes[batch + field] ^= mask, || verify(&folder));
            let damage = run.found("damage", &folder);
            // What the seven unused attribute bits hold is covered by the checksum all the same.
            assert_eq!(run.code, 1, "byte {field} of the batch at {batch} by {mask:#x}: {}", run.stdout);
            let name = "00000000000000000002.log".to_owned();
            assert!(damage.iter().any(|(_, path)| *path == name), "byte {field} of {batch}: {}", run.stdout);
        }
    }
}

#[test]
fn compressed_batches_are_covered_by_their_checksums() {
    let copy = copy_of_fixture("codecs-0");
    let folder = copy.path().join("codecs-0");
    let log = folder.join("00000000000000000000.log");
    let len = fs::metadata(fixtures().join("codecs-0/00000000000000000000.log")).unwrap().len() as usize;
    for at in (0..len).step_by(97) {
        let run = with_changed(&log, |bytes| bytes[at] ^= 4, || verify(&folder));
        assert!(run.found("damage", &folder).iter().any(|(_, path)| path.ends_with(".log")), "{at}: {}", run.stdout);
    }
}
