//! `logstead dump`: prints what the files of a partition folder hold.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;

/// Print what the files of a partition folder hold; the folder is not changed.
#[derive(Debug, Args)]
pub(crate) struct Dump {
    /// The partition folder, `<topic>-<partition>`.
    folder: PathBuf,
}

impl Dump {
    /// Prints to `out`.
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
        let _ = out;
        Err(format!("cannot dump {}: this version does not read partition folders yet", self.folder.display()).into())
    }
}
