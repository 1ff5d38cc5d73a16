//! One changed byte anywhere is noticed, and the file that holds it is named.

use std::path::Path;

use crate::support::{PARTITION, copy_of_fixture, files_in, verify, with_changed, write_folder};

/// Positions of a file whose change nobody noticed, or for which another file was blamed.
fn unnoticed(folder: &Path, file: &Path, positions: impl IntoIterator<Item = usize>, mask: u8) -> Vec<usize> {
    let name = file.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
    let is_missed = |at: &usize| {
        with_changed(
            file,
            |bytes| bytes[*at] ^= mask,
            || {
                let run = verify(folder);
                let damage = run.found("damage", folder);
                !damage.iter().any(|(_, path)| *path == name)
            },
        )
    };
    positions.into_iter().filter(is_missed).collect()
}
#[test]
fn probe() {
    let folder = write_folder();
    for dir in [folder.path().to_path_buf(), folder.path().join(PARTITION)] {
        for file in files_in(&dir) {
            let len = std::fs::metadata(&file).unwrap().len() as usize;
            let step = 1 + len / 150;
            let missed = unnoticed(folder.path(), &file, (0..len).step_by(step), 0x10);
            eprintln!("{} {len} step {step}: {missed:?}", file.display());
        }
    }
    for name in ["segments-0", "transactions-0", "plain-0"] {
        let folder = copy_of_fixture(name);
        let folder = folder.path().join(name);
        for file in files_in(&folder) {
            let len = std::fs::metadata(&file).unwrap().len() as usize;
            let step = 1 + len / 150;
            let missed = unnoticed(&folder, &file, (0..len).step_by(step), 0x10);
            eprintln!("{} {len} step {step}: {missed:?}", file.display());
        }
    }
}
