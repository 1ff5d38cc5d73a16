//! Bytes that nobody wrote: the program says what it finds and ends.

use std::fs;
use std::path::Path;

use crate::support::{PARTITION, files_in, verify, with_changed, write_folder};

/// Pseudo-random bytes (SplitMix64), the same in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next().to_be_bytes()[0]).collect()
    }
}

fn folders(root: &Path) -> [std::path::PathBuf; 2] {
    [root.to_path_buf(), root.join(PARTITION)]
}

#[test]
fn random_bytes_in_any_file_end_in_damage() {
    let folder = write_folder();
    let mut noise = Noise(1);
    for file in folders(folder.path()).iter().flat_map(|folder| files_in(folder)) {
        if file.file_name().unwrap() == ".lock" {
            continue;
        }
        for len in [1, 7, 100, 3000] {
            let bytes = noise.bytes(len);
            let run = with_changed(&file, |content| *content = bytes, || verify(folder.path()));
            assert_eq!(run.code, 1, "{} with {len} random bytes: {}", file.display(), run.stdout);
        }
    }
}

#[test]
fn random_pieces_of_any_file_never_make_it_panic() {
    let folder = write_folder();
    let files: Vec<_> = folders(folder.path()).iter().flat_map(|folder| files_in(folder)).collect();
    let mut noise = Noise(2);
    for _ in 0..150 {
        let file = &files[noise.next() as usize % files.len()];
        let other = fs::read(&files[noise.next() as usize % files.len()]).unwrap();
        let random = noise.next() as usize;
        let change = |bytes: &mut Vec<u8>| match random % 4 {
            0 => bytes.truncate(random % (bytes.len() + 1)),
            1 => bytes.extend(&other),
            2 => *bytes = other.clone(),
            _ => bytes.splice(0..0, other.iter().copied().take(random % 64)).for_each(drop),
        };
        // What it says does not matter here, only that it says it.
        let run = with_changed(file, change, || verify(folder.path()));
        assert!(run.summary("files") > 0);
    }
}

#[test]
fn a_length_that_is_far_too_large_allocates_nothing() {
    let folder = write_folder();
    let log = folder.path().join(PARTITION).join("00000000000000000016.log");
    let change = |bytes: &mut Vec<u8>| bytes[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
    let run = with_changed(&log, change, || verify(folder.path()));
    assert_eq!(run.code, 1);
    assert!(run.stdout.contains("bytes are needed"), "{}", run.stdout);
}

#[test]
fn records_that_become_too_large_are_damage_and_what_follows_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let partition = folder.path().join(PARTITION);
    fs::create_dir(&partition).unwrap();
    let mut second = crate::bomb::bomb(128 << 10);
    second[7] = 1;
    fs::write(partition.join("00000000000000000000.log"), [crate::bomb::bomb(1 << 30), second].concat()).unwrap();
    let run = verify(&partition);
    let kinds: Vec<_> = run.found("damage", &partition).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!((run.code, kinds), (1, vec!["decompression limit".to_owned(), "record".to_owned()]), "{}", run.stdout);
    let lines = run.json_lines();
    let line = lines.iter().find(|line| line["kind"] == "decompression limit").unwrap();
    assert_eq!((&line["position"], &line["firstOffset"], &line["endOffset"]), (&0.into(), &0.into(), &1.into()));
}

#[test]
fn headers_all_over_a_file_do_not_keep_it_busy() {
    let folder = tempfile::tempdir().unwrap();
    let mut header = [0_u8; 61];
    header[8..12].copy_from_slice(&(1_i32 << 20).to_be_bytes());
    header[16] = 2;
    fs::write(folder.path().join("00000000000000000000.log"), header.repeat(50_000)).unwrap();
    let run = verify(folder.path());
    assert_eq!(run.code, 1);
    assert!(run.stdout.contains("given up"), "{}", run.stdout);
}
