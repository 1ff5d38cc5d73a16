//! [P] The one error type of the library, grouped by what the caller does next.
//!
//! Layers below say what they know (bytes, position), layers above add what they know (file, partition, offsets). Kafka's
//! counterpart: `org.apache.kafka.common.protocol.Errors`.
//!
//! [P]: crate

mod class;
mod damage;
mod text;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::config::nearest::nearest;
use crate::time::Instant;
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp, TopicId, TopicPartition};

use text::{AtIndex, ByPid, Collides, Listed, Missing, Nearest, UntilText};

pub use class::{ErrorClass, Written};
pub use damage::{Corrupt, Damage, DamagedOffsets};

/// The library's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong.
///
/// Match on the variant, or ask [`class`](Error::class) what to do next and [`written`](Error::written) whether the
/// record may be in the log. Cheap to clone: one failed sync is reported to every waiting producer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // ---- fix the call ------------------------------------------------------------------------------------------
    /// One or more configuration values are unknown or out of range; nothing was changed.
    #[error("invalid configuration: {}", Listed(.violations))]
    InvalidConfig {
        /// Every violation found, not only the first.
        violations: Vec<ConfigViolation>,
    },
    /// The text is not a legal topic name.
    #[error("invalid topic name {name:?}: {reason}")]
    InvalidTopicName {
        /// The name as given, cut to 300 characters.
        name: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// The text is not a topic id.
    #[error("invalid topic id {text:?}: 22 characters of URL-safe base64 are expected")]
    InvalidTopicId {
        /// The text as given, cut to 64 characters.
        text: String,
    },
    /// A partition number below zero.
    #[error("invalid partition {partition}: partitions are numbered from 0")]
    InvalidPartition {
        /// The number as given.
        partition: i32,
    },
    /// The batch is larger than `max.message.bytes`, or larger than a whole segment.
    #[error("the batch of {size} bytes is larger than {limit} = {max}; send smaller batches or raise the limit")]
    RecordTooLarge {
        /// Size of the encoded batch in bytes.
        size: u64,
        /// The largest size allowed, in bytes.
        max: u64,
        /// The configuration key that sets the limit.
        limit: &'static str,
    },
    /// A record or batch breaks a rule of the format; nothing of its batch was written.
    #[error("invalid record{}: {what}", AtIndex(.index))]
    InvalidRecord {
        /// The record's index in its batch, where one record is to blame.
        index: Option<u32>,
        /// The rule that it breaks.
        what: &'static str,
    },
    /// A record's timestamp is too far from the wall clock, or of the wrong type for the topic.
    #[error(
        "invalid timestamp {timestamp} ms{}: the topic accepts {earliest} to {latest} ms",
        AtIndex(.index)
    )]
    InvalidTimestamp {
        /// The record's index in its batch, where known.
        index: Option<u32>,
        /// The timestamp as given.
        timestamp: Timestamp,
        /// The earliest timestamp accepted now.
        earliest: Timestamp,
        /// The latest timestamp accepted now.
        latest: Timestamp,
    },
    /// The offset is not in the log.
    #[error("{tp}: offset {requested} is out of range; the log holds {start} up to (not including) {end}")]
    OffsetOutOfRange {
        /// The partition.
        tp: TopicPartition,
        /// The offset asked for.
        requested: Offset,
        /// The first offset in range.
        start: Offset,
        /// The end of the range, exclusive.
        end: Offset,
    },
    /// Replicated bytes do not continue the log.
    #[error("{tp}: cannot append at offset {first}: the log ends at {log_end}")]
    UnexpectedAppendOffset {
        /// The partition.
        tp: TopicPartition,
        /// First offset of the bytes.
        first: Offset,
        /// Where the log ends.
        log_end: Offset,
    },
    /// There is no such topic, or the topic has no such partition.
    #[error("unknown {}{}", Missing(.topic, .partition), Nearest(.nearest))]
    UnknownTopicOrPartition {
        /// The topic as named by the caller, cut to 300 characters.
        topic: String,
        /// The partition asked for, where the topic itself exists.
        partition: Option<i32>,
        /// The existing topic with the most similar name, where the topic is what is missing.
        nearest: Option<String>,
    },
    /// A topic of that name, or of a name that Kafka cannot tell from it, exists already.
    #[error("topic {topic} cannot be created: {existing} exists already{}", Collides(.topic, .existing))]
    TopicAlreadyExists {
        /// The name asked for.
        topic: String,
        /// The topic in the way; it differs from the one asked for in `.` and `_` only.
        existing: String,
    },
    /// The number of partitions is not possible.
    #[error("topic {topic} cannot have {requested} partitions: {reason}")]
    InvalidPartitions {
        /// The topic.
        topic: String,
        /// The number asked for.
        requested: u32,
        /// The rule that it breaks, with the number that would be accepted.
        reason: String,
    },
    /// The number of replicas is not possible.
    #[error("topic {topic} cannot have {requested} replicas: {brokers} brokers run here, and at least 1 is needed")]
    InvalidReplicationFactor {
        /// The topic.
        topic: String,
        /// The number asked for.
        requested: u32,
        /// Brokers there are.
        brokers: u32,
    },
    /// Waiting would never end: nothing drives the engine until the caller does.
    #[error("nothing can progress {}", UntilText(.until))]
    NoProgress {
        /// When the engine has something to do next, on the cluster's clock; `None` when it waits for a call.
        until: Option<Instant>,
    },
    /// Code of the caller that the library called panicked; only that call failed.
    #[error("the {callback} panicked: {message}")]
    CallbackPanicked {
        /// What was called, for example the partitioner.
        callback: &'static str,
        /// The panic's message, where it is text.
        message: String,
    },
    /// The operation is not possible in the present state, for example an append before `begin_epoch`.
    #[error("cannot {operation}: {state}")]
    InvalidState {
        /// What was asked for.
        operation: &'static str,
        /// Why it is not possible now.
        state: &'static str,
    },
    /// The folder belongs to another topic of the same name (deleted and created again), or to another cluster.
    #[error("{tp}: the folder holds topic id {found}, but {expected} was expected")]
    InconsistentTopicId {
        /// The partition.
        tp: TopicPartition,
        /// The id that the caller named.
        expected: TopicId,
        /// The id in `partition.metadata`.
        found: TopicId,
    },
    /// The folder's identity differs from what the caller expects.
    #[error("{}: {field} is {found:?}, but {expected:?} was expected", .path.display())]
    InconsistentIdentity {
        /// The identity file.
        path: PathBuf,
        /// The property, for example `cluster.id`.
        field: &'static str,
        /// The value that the caller named.
        expected: String,
        /// The value in the file.
        found: String,
    },

    // ---- retry --------------------------------------------------------------------------------------------------
    /// It took longer than allowed.
    #[error("timed out after {after:?} waiting for {waiting_for}")]
    Timeout {
        /// What did not happen in time.
        waiting_for: &'static str,
        /// The time allowed.
        after: Duration,
        /// May the record be in the log? `No` where nothing was to be written.
        written: Written,
    },
    /// The producer's memory is full, and the call was not to wait.
    #[error("the producer's buffer is full: {needed} bytes needed, {free} of {max} free")]
    BufferFull {
        /// Bytes that the record's batch needs.
        needed: u64,
        /// Bytes free now.
        free: u64,
        /// The limit, `buffer.memory`.
        max: u64,
    },
    /// Records that nobody holds a delivery of were not delivered.
    #[error("{count} records were not delivered; the first failure: {first}")]
    DeliveriesFailed {
        /// How many, since they were told the last time.
        count: u64,
        /// Why the first of them failed.
        first: Arc<Error>,
    },
    /// Records that the caller holds keep too much memory; drop some and go on.
    #[error("held records keep {pinned} bytes in memory, the limit is {max}; drop some of them and poll again")]
    PinnedMemory {
        /// Bytes kept now.
        pinned: u64,
        /// The limit.
        max: u64,
    },

    // ---- stop, you were replaced --------------------------------------------------------------------------------
    /// A newer leader epoch is known.
    #[error("{tp}: leader epoch {given} is fenced: the current epoch is {current}")]
    FencedLeaderEpoch {
        /// The partition.
        tp: TopicPartition,
        /// The epoch given.
        given: LeaderEpoch,
        /// The epoch known here.
        current: LeaderEpoch,
    },
    /// A newer incarnation of this producer has written.
    #[error("{tp}: producer {producer_id} epoch {given} is fenced: the current epoch is {current}")]
    ProducerFenced {
        /// The partition.
        tp: TopicPartition,
        /// The producer.
        producer_id: ProducerId,
        /// The epoch given.
        given: ProducerEpoch,
        /// The epoch known here.
        current: ProducerEpoch,
    },
    /// A newer transaction coordinator has written a marker for this producer.
    #[error("{tp}: transaction coordinator epoch {given} is fenced: the current epoch is {current}")]
    TransactionCoordinatorFenced {
        /// The partition.
        tp: TopicPartition,
        /// The coordinator epoch given.
        given: i32,
        /// The coordinator epoch known here.
        current: i32,
    },

    // ---- the operator's problem ---------------------------------------------------------------------------------
    /// The operating system refused.
    #[error("cannot {operation} {}: {source}", .path.display())]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// The operating system's answer.
        source: Arc<io::Error>,
    },
    /// The disk is full; the partial append was undone and the log takes writes again once there is space.
    #[error("no space left to {operation} {}: {needed} bytes needed, {free} free", .path.display())]
    OutOfSpace {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// Bytes that were to be written.
        needed: u64,
        /// Bytes free, as far as known.
        free: u64,
    },
    /// Bytes that must be intact are not. Nothing was cut or skipped.
    #[error(transparent)]
    Corrupt(Box<Corrupt>),
    /// The file was written by a newer version; it was left untouched.
    #[error("{}: format version {found} is not known here (newest known: {known}); use a newer logstead", .path.display())]
    UnsupportedFormat {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: i64,
        /// The newest version known.
        known: i64,
    },
    /// The cluster's metadata log has a record that is not known here. Skipping it would lose what it says.
    #[error(
        "metadata records of type {record_type}, version {version} are not known here; the folder uses a feature of Kafka \
         that logstead does not have, or was written by a newer version"
    )]
    UnsupportedMetadataRecord {
        /// The number of the record's type.
        record_type: u32,
        /// The version of its schema.
        version: u32,
    },
    /// The batch is compressed with a codec that is not built in.
    #[error("the batch is compressed with {codec}, a codec that is not built in")]
    UnsupportedCodec {
        /// The codec's name, as Kafka's `compression.type` spells it.
        codec: &'static str,
    },
    /// The records of a batch are larger, decompressed, than the reader allows. Nothing more than the limit was decompressed.
    #[error(
        "the records, compressed with {codec}, are larger than {max} bytes when decompressed, the limit of this reader"
    )]
    DecompressedTooLarge {
        /// The codec's name, as Kafka's `compression.type` spells it.
        codec: &'static str,
        /// The limit in bytes.
        max: u64,
    },
    /// A batch that is intact cannot be read here; what stands before and behind it can.
    #[error(
        "{tp}: the batch at offsets {first} up to (not including) {next} cannot be read: {cause}; seek to {next} to leave it out"
    )]
    UnreadableBatch {
        /// The partition.
        tp: TopicPartition,
        /// The batch's first offset.
        first: Offset,
        /// The first offset behind it.
        next: Offset,
        /// Why, for example [`UnsupportedCodec`](Error::UnsupportedCodec).
        cause: Arc<Error>,
    },
    /// The partition takes no writes since an earlier failure. Reads of what is intact go on.
    #[error("{tp} is offline for writing since: {cause}")]
    Offline {
        /// The partition.
        tp: TopicPartition,
        /// The first failure.
        cause: Arc<Error>,
    },
    /// Another process, or this one, has the folder open for writing.
    #[error("{} is already open{}", .path.display(), ByPid(.pid))]
    AlreadyOpen {
        /// The data folder.
        path: PathBuf,
        /// The process that holds it, where the system tells.
        pid: Option<u32>,
    },
    /// The object was closed or dropped before the operation could finish.
    #[error("closed before the operation finished")]
    Closed,

    // ---- a bug in logstead --------------------------------------------------------------------------------------
    /// An internal invariant does not hold; the partition was taken offline first.
    #[error("internal invariant broken: {invariant}; please report this")]
    Internal {
        /// The invariant.
        invariant: &'static str,
    },
}

/// One configuration value that was rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigViolation {
    /// The key as given.
    pub field: String,
    /// Why it was rejected, and what would be accepted.
    pub reason: String,
}

impl Error {
    /// There is no topic of this name among those that exist.
    pub(crate) fn unknown_topic<'a>(name: &str, existing: impl IntoIterator<Item = &'a str>) -> Error {
        let nearest = nearest(name, existing).map(str::to_owned);
        Error::UnknownTopicOrPartition { topic: name.chars().take(300).collect(), partition: None, nearest }
    }

    /// Damage in bytes whose file is not known here; layers above add it.
    pub(crate) fn corrupt(position: u64, what: Damage) -> Error {
        Error::Corrupt(Box::new(Corrupt { tp: None, path: None, position, offsets: None, what }))
    }

    /// Adds the file to damage that does not name one yet; `start` is where the examined bytes begin in that file.
    #[must_use]
    pub(crate) fn in_file(self, path: &Path, start: u64) -> Error {
        match self {
            Error::Corrupt(mut corrupt) if corrupt.path.is_none() => {
                corrupt.path = Some(path.to_path_buf());
                corrupt.position = corrupt.position.saturating_add(start);
                Error::Corrupt(corrupt)
            }
            other => other,
        }
    }

    /// Adds the partition to damage that does not name one yet.
    #[must_use]
    pub(crate) fn in_partition(self, tp: &TopicPartition) -> Error {
        match self {
            Error::Corrupt(mut corrupt) if corrupt.tp.is_none() => {
                corrupt.tp = Some(tp.clone());
                Error::Corrupt(corrupt)
            }
            other => other,
        }
    }

    /// Adds the damaged offsets to damage that does not name them yet.
    #[must_use]
    pub(crate) fn with_offsets(self, first: Offset, next_intact: Offset) -> Error {
        match self {
            Error::Corrupt(mut corrupt) if corrupt.offsets.is_none() => {
                corrupt.offsets = Some(DamagedOffsets { first, next_intact });
                Error::Corrupt(corrupt)
            }
            other => other,
        }
    }
}

/// Turns the operating system's errors into ours, with what was tried and where.
pub(crate) trait IoContext<T> {
    /// Names the operation (a verb phrase that fits "cannot ... PATH") and the file.
    fn context(self, operation: &'static str, path: &Path) -> Result<T>;

    /// The same where a failure leaves something in doubt, such as a sync: always [`Error::Io`]. A sync that fails for want
    /// of space may have lost bytes like any other, and must not pass for one that can be tried again.
    fn in_doubt_context(self, operation: &'static str, path: &Path) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn context(self, operation: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Error::OutOfSpace { operation, path: path.to_path_buf(), needed: 0, free: 0 }
            }
            _ => Error::Io { operation, path: path.to_path_buf(), source: Arc::new(source) },
        })
    }

    fn in_doubt_context(self, operation: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Io { operation, path: path.to_path_buf(), source: Arc::new(source) })
    }
}
