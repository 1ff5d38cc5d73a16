//! [P] What an error asks of the caller, and what Kafka calls it.

use std::io;
use std::sync::Arc;

use super::Error;

/// What the caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorClass {
    /// Fix the call or the configuration; the same call fails again.
    Config,
    /// The same call may succeed later.
    Retry,
    /// Give up this attempt (batch, transaction); the next one may go on.
    AbortAndContinue,
    /// Stop using this object; the operator or a newer owner takes over.
    Fatal,
}

/// May the record that the failed call concerned be in the log?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Written {
    /// Certainly not.
    No,
    /// It may or may not be.
    Maybe,
    /// It is in the log, although the call failed.
    Yes,
}

impl Error {
    /// What the caller does next.
    ///
    /// ```
    /// use logstead::error::{Error, ErrorClass, Written};
    /// let error = Error::InvalidRecord { index: None, what: "control batches cannot be produced" };
    /// assert_eq!(error.class(), ErrorClass::Config);
    /// assert_eq!(error.written(), Written::No);
    /// assert_eq!(error.kafka_code(), 87); // INVALID_RECORD
    /// ```
    pub fn class(&self) -> ErrorClass {
        match self {
            Error::InvalidConfig { .. }
            | Error::InvalidTopicName { .. }
            | Error::InvalidTopicId { .. }
            | Error::InvalidPartition { .. }
            | Error::RecordTooLarge { .. }
            | Error::InvalidRecord { .. }
            | Error::InvalidTimestamp { .. }
            | Error::OffsetOutOfRange { .. }
            | Error::UnexpectedAppendOffset { .. }
            | Error::InvalidState { .. }
            | Error::InconsistentTopicId { .. }
            | Error::InconsistentIdentity { .. }
            | Error::UnknownTopicOrPartition { .. }
            | Error::TopicAlreadyExists { .. }
            | Error::InvalidPartitions { .. }
            | Error::InvalidReplicationFactor { .. }
            | Error::NoProgress { .. }
            | Error::CallbackPanicked { .. }
            | Error::DecompressedTooLarge { .. }
            | Error::UnsupportedCodec { .. } => ErrorClass::Config,
            Error::UnreadableBatch { cause, .. } => cause.class(),
            Error::DeliveriesFailed { first, .. } => first.class(),
            Error::OutOfSpace { .. }
            | Error::AlreadyOpen { .. }
            | Error::Timeout { .. }
            | Error::BufferFull { .. }
            | Error::PinnedMemory { .. } => ErrorClass::Retry,
            Error::FencedLeaderEpoch { .. }
            | Error::ProducerFenced { .. }
            | Error::TransactionCoordinatorFenced { .. }
            | Error::Io { .. }
            | Error::Corrupt(_)
            | Error::UnsupportedFormat { .. }
            | Error::UnsupportedMetadataRecord { .. }
            | Error::Offline { .. }
            | Error::Closed
            | Error::Internal { .. } => ErrorClass::Fatal,
        }
    }

    /// May the record be in the log?
    ///
    /// `Maybe` for a failed write or sync: the bytes may have reached the disk although nobody can promise it.
    pub fn written(&self) -> Written {
        match self {
            // Whoever waited in vain goes on, and the record may be acknowledged yet.
            Error::Io { .. } | Error::Closed | Error::Internal { .. } | Error::NoProgress { .. } => Written::Maybe,
            Error::Timeout { written, .. } => *written,
            // The others may have failed for other reasons.
            Error::DeliveriesFailed { count: 1, first } => first.written(),
            Error::DeliveriesFailed { .. } => Written::Maybe,
            Error::InvalidConfig { .. }
            | Error::InvalidTopicName { .. }
            | Error::InvalidTopicId { .. }
            | Error::InvalidPartition { .. }
            | Error::RecordTooLarge { .. }
            | Error::InvalidRecord { .. }
            | Error::InvalidTimestamp { .. }
            | Error::OffsetOutOfRange { .. }
            | Error::UnexpectedAppendOffset { .. }
            | Error::InvalidState { .. }
            | Error::InconsistentTopicId { .. }
            | Error::InconsistentIdentity { .. }
            | Error::UnknownTopicOrPartition { .. }
            | Error::TopicAlreadyExists { .. }
            | Error::InvalidPartitions { .. }
            | Error::InvalidReplicationFactor { .. }
            | Error::CallbackPanicked { .. }
            | Error::BufferFull { .. }
            | Error::PinnedMemory { .. }
            | Error::UnsupportedCodec { .. }
            | Error::DecompressedTooLarge { .. }
            | Error::UnreadableBatch { .. }
            | Error::OutOfSpace { .. }
            | Error::AlreadyOpen { .. }
            | Error::FencedLeaderEpoch { .. }
            | Error::ProducerFenced { .. }
            | Error::TransactionCoordinatorFenced { .. }
            | Error::Corrupt(_)
            | Error::UnsupportedFormat { .. }
            | Error::UnsupportedMetadataRecord { .. }
            | Error::Offline { .. } => Written::No,
        }
    }

    /// The same failure for somebody whose record is in the log, and may become durable yet: what says "certainly not
    /// written" is true of others, whose records were refused because of it.
    pub(crate) fn in_doubt(self) -> Error {
        match self {
            Error::Offline { cause, .. } => Error::clone(&cause).in_doubt(),
            Error::OutOfSpace { operation, path, .. } => {
                Error::Io { operation, path, source: Arc::new(io::ErrorKind::StorageFull.into()) }
            }
            Error::InvalidState { .. } => Error::Closed,
            other => other,
        }
    }

    /// Kafka's number for this error, for those who speak its protocol. -1 (UNKNOWN_SERVER_ERROR) where it has none.
    pub fn kafka_code(&self) -> i16 {
        match self {
            Error::InvalidConfig { .. } => 40,
            Error::InvalidTopicName { .. } => 17,
            Error::InvalidTopicId { .. } | Error::InvalidState { .. } => 42,
            Error::InvalidPartition { .. } | Error::InvalidPartitions { .. } => 37,
            Error::InvalidReplicationFactor { .. } => 38,
            Error::UnknownTopicOrPartition { .. } => 3,
            Error::TopicAlreadyExists { .. } => 36,
            Error::Timeout { .. } => 7,
            Error::RecordTooLarge { .. } | Error::DecompressedTooLarge { .. } => 10,
            Error::InvalidRecord { .. } => 87,
            Error::InvalidTimestamp { .. } => 32,
            Error::OffsetOutOfRange { .. } => 1,
            Error::InconsistentTopicId { .. } => 103,
            Error::UnsupportedCodec { .. } => 76,
            Error::UnreadableBatch { cause, .. } => cause.kafka_code(),
            Error::DeliveriesFailed { first, .. } => first.kafka_code(),
            Error::FencedLeaderEpoch { .. } => 74,
            Error::ProducerFenced { .. } => 90,
            Error::TransactionCoordinatorFenced { .. } => 52,
            Error::Corrupt(_) => 2,
            Error::Io { .. } | Error::OutOfSpace { .. } | Error::Offline { .. } => 56,
            Error::UnexpectedAppendOffset { .. }
            | Error::InconsistentIdentity { .. }
            | Error::UnsupportedFormat { .. }
            | Error::UnsupportedMetadataRecord { .. }
            | Error::AlreadyOpen { .. }
            | Error::NoProgress { .. }
            | Error::CallbackPanicked { .. }
            | Error::BufferFull { .. }
            | Error::PinnedMemory { .. }
            | Error::Closed
            | Error::Internal { .. } => -1,
        }
    }
}
