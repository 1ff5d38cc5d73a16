//! What may go wrong with a file, and the words for it; the path is printed in front of them.

use std::fmt;
use std::io;

use logstead::Error;
use logstead::error::Damage;

/// What is wrong with a file.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The operating system refused.
    Unreadable { operation: &'static str, source: io::Error },
    /// The file is larger than any of its kind.
    TooLarge { len: u64, max: u64 },
    /// The bytes at a position are not what they must be.
    Damaged { position: u64, what: Damage },
    /// What stands at a position is no damage, but cannot be shown.
    Unshown { position: u64, error: Error },
    /// A slot of the witness has no valid copy.
    DamagedSlot { position: u64, slot: u32 },
    /// What the library said; positions in it count from the start of the file.
    Library(Error),
}

/// Why the dump of a file ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The output takes no more: there is no use in going on with other files.
    Output(io::Error),
    /// Something is wrong with the file.
    File(Trouble),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Unreadable { operation, source } => write!(f, "cannot {operation} the file: {source}"),
            Trouble::TooLarge { len, max } => write!(f, "{len} bytes are too many for such a file (at most {max})"),
            Trouble::Damaged { position, what } => write!(f, "damaged at position {position}: {what}"),
            Trouble::Unshown { position, error } => write!(f, "at position {position}: {error}"),
            Trouble::DamagedSlot { position, slot } => {
                write!(f, "damaged at position {position}: slot {slot} has no valid copy")
            }
            // The path stands in front already.
            Trouble::Library(Error::Corrupt(corrupt)) => {
                write!(f, "damaged at position {}: {}", corrupt.position, corrupt.what)
            }
            Trouble::Library(Error::Io { operation, source, .. }) => write!(f, "cannot {operation} the file: {source}"),
            Trouble::Library(Error::UnsupportedFormat { found, known, .. }) => {
                write!(f, "format version {found} is not known here (newest known: {known}); use a newer logstead")
            }
            Trouble::Library(error) => error.fmt(f),
        }
    }
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Stop {
        Stop::File(trouble)
    }
}

/// What the library refuses is a file's fault.
impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::File(Trouble::Library(error))
    }
}

/// Reading never yields a bare I/O error: it becomes a [`Trouble`] where it happens.
impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Output(error)
    }
}
