//! [P] Damage: what [`Error::Corrupt`](super::Error::Corrupt) knows about bytes that are not what they must be.

use std::fmt;
use std::path::PathBuf;

use crate::types::{LeaderEpoch, Offset, TopicPartition};

/// What [`Error::Corrupt`](super::Error::Corrupt) knows about damaged bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Corrupt {
    /// The partition, where known.
    pub tp: Option<TopicPartition>,
    /// The file; `None` for bytes in memory.
    pub path: Option<PathBuf>,
    /// Where the damaged part starts: bytes from the start of the file (or of the bytes in memory).
    pub position: u64,
    /// Which offsets are lost or in doubt, where known.
    pub offsets: Option<DamagedOffsets>,
    /// What is wrong with the bytes.
    pub what: Damage,
}

/// The offsets that damage concerns: everything below `first` is intact, and so is what starts at `next_intact`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DamagedOffsets {
    /// The first offset in doubt: the offset after the last safe one.
    pub first: Offset,
    /// The first offset behind the damage that is readable again; the log end when nothing is.
    pub next_intact: Offset,
}

/// The kinds of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// The stored checksum is not that of the bytes.
    Checksum {
        /// As stored.
        stored: u32,
        /// As computed.
        computed: u32,
    },
    /// A length field is impossible.
    Length {
        /// As stored.
        stored: i64,
    },
    /// The bytes end before the structure does.
    Truncated {
        /// Bytes that the structure needs.
        needed: u64,
        /// Bytes that are there.
        available: u64,
    },
    /// The magic byte or number is not the expected one.
    Magic {
        /// As stored.
        stored: i64,
    },
    /// A batch does not continue the one before, or lies outside its segment.
    Offset {
        /// The lowest offset possible here.
        expected: Offset,
        /// As stored.
        found: i64,
    },
    /// A batch's leader epoch is not the one that the epoch history gives for its offset.
    LeaderEpoch {
        /// By the history; `None` when it has none for this offset.
        expected: Option<LeaderEpoch>,
        /// As stored; `None` for -1.
        found: Option<LeaderEpoch>,
    },
    /// Bytes that were durable are gone: the file ends early, or does not exist.
    Missing {
        /// The length that the file had, in bytes, where known.
        expected: Option<u64>,
        /// The length that it has.
        found: u64,
    },
    /// Compressed bytes break a rule of their codec.
    Compression {
        /// The codec's name, as Kafka's `compression.type` spells it.
        codec: &'static str,
        /// What is wrong.
        rule: &'static str,
    },
    /// A structure breaks a rule of its format.
    Structure(&'static str),
}

impl std::error::Error for Corrupt {}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tp) = &self.tp {
            write!(f, "{tp}: ")?;
        }
        match &self.path {
            Some(path) => write!(f, "{} is damaged at position {}: ", path.display(), self.position)?,
            None => write!(f, "damaged at position {}: ", self.position)?,
        }
        write!(f, "{}", self.what)?;
        if let Some(offsets) = &self.offsets {
            write!(
                f,
                "; offsets {} up to (not including) {} are affected, everything below is safe",
                offsets.first, offsets.next_intact
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Checksum { stored, computed } => {
                write!(f, "the stored checksum is {stored:08x}, that of the bytes is {computed:08x}")
            }
            Damage::Length { stored } => write!(f, "the length {stored} is impossible"),
            Damage::Truncated { needed, available } => {
                write!(f, "{needed} bytes are needed, {available} are there")
            }
            Damage::Magic { stored } => write!(f, "the magic value {stored} is not known"),
            Damage::Offset { expected, found } => write!(f, "offset {found} where {expected} was expected"),
            Damage::LeaderEpoch { expected, found } => {
                write!(f, "leader epoch {} where {} was expected", OrNone(found), OrNone(expected))
            }
            Damage::Missing { expected: Some(expected), found } => {
                write!(f, "the file was {expected} bytes long and is now {found}")
            }
            Damage::Missing { expected: None, found } => {
                write!(f, "bytes that were durable are gone; the file is now {found} bytes long")
            }
            Damage::Compression { codec, rule } => write!(f, "the {codec} stream is damaged: {rule}"),
            Damage::Structure(rule) => f.write_str(rule),
        }
    }
}

/// Prints a value, or `none`.
struct OrNone<'a, T>(&'a Option<T>);

impl<T: fmt::Display> fmt::Display for OrNone<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("none"),
        }
    }
}
