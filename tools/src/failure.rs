//! Why a command ends early, and the words for it.

use std::fmt;
use std::io;

/// What ends a command.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The output takes no more.
    Output(io::Error),
    /// The input cannot be read.
    Input { name: String, source: io::Error },
    /// What the library says of the record of a line.
    Line { line: u64, source: logstead::Error },
    /// What the library says.
    Library(logstead::Error),
    /// What a command itself found, as a sentence.
    Told(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Output(error) => write!(f, "cannot write the output: {error}"),
            Failure::Input { name, source } => write!(f, "cannot read {name}: {source}"),
            Failure::Line { line, source } => write!(f, "line {line}: {source}"),
            Failure::Library(error) => error.fmt(f),
            Failure::Told(message) => f.write_str(message),
        }
    }
}

/// Reading never yields a bare I/O error: it becomes a [`Failure::Input`] where it happens.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}

impl From<logstead::Error> for Failure {
    fn from(error: logstead::Error) -> Failure {
        Failure::Library(error)
    }
}
