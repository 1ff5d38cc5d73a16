//! [P] Which partitions a consumer reads, and from where.
//!
//! Kafka's counterparts: the arguments of `assign` and `seek`.

use crate::error::{Error, Result};
use crate::log::OffsetSpec;
use crate::types::{Offset, Timestamp, TopicPartition};

/// A place in a partition that a consumer can be moved to.
///
/// ```
/// use logstead::OffsetSpec;
/// use logstead::consumer::SeekTo;
/// use logstead::types::Offset;
/// assert_eq!(SeekTo::from(Offset::from(7)), SeekTo::Offset(Offset::from(7)));
/// assert_eq!(SeekTo::from(OffsetSpec::Latest), SeekTo::Spec(OffsetSpec::Latest));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeekTo {
    /// This offset. Whether the log has it turns out at the next poll.
    Offset(Offset),
    /// The offset that the spec stands for now; the end when nothing is found. [`OffsetSpec::Earliest`] is the first record
    /// that the log holds when it is read.
    Spec(OffsetSpec),
    /// This many offsets before the end, or the beginning when that is nearer. Transaction markers and aborted records
    /// occupy offsets too, so that fewer records than this may follow.
    Last(u64),
}

impl From<Offset> for SeekTo {
    fn from(offset: Offset) -> SeekTo {
        SeekTo::Offset(offset)
    }
}

impl From<OffsetSpec> for SeekTo {
    fn from(spec: OffsetSpec) -> SeekTo {
        SeekTo::Spec(spec)
    }
}

/// Where a consumer starts in partitions for which nobody said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum StartAt {
    /// With the first record that the log holds. The default of a consumer without a group, who has no stored position.
    #[default]
    Earliest,
    /// With what is appended after the partition was assigned.
    Latest,
    /// With the first record of this time or later; with what is appended next when there is none.
    Timestamp(Timestamp),
}

impl From<StartAt> for SeekTo {
    fn from(start: StartAt) -> SeekTo {
        SeekTo::Spec(match start {
            StartAt::Earliest => OffsetSpec::Earliest,
            StartAt::Latest => OffsetSpec::Latest,
            StartAt::Timestamp(timestamp) => OffsetSpec::Timestamp(timestamp),
        })
    }
}

/// Whatever names a partition: a [`TopicPartition`], or a topic's name and a number.
pub trait IntoTopicPartition {
    /// The partition.
    ///
    /// # Errors
    /// [`Error::InvalidTopicName`], [`Error::InvalidPartition`].
    fn into_topic_partition(self) -> Result<TopicPartition>;
}

impl IntoTopicPartition for TopicPartition {
    fn into_topic_partition(self) -> Result<TopicPartition> {
        Ok(self)
    }
}

impl IntoTopicPartition for &TopicPartition {
    fn into_topic_partition(self) -> Result<TopicPartition> {
        Ok(self.clone())
    }
}

impl IntoTopicPartition for (&str, i32) {
    fn into_topic_partition(self) -> Result<TopicPartition> {
        TopicPartition::new(self.0, self.1)
    }
}

/// The refusal of a partition that the consumer does not read.
pub(super) fn not_assigned(operation: &'static str) -> Error {
    Error::InvalidState { operation, state: "the partition is not assigned to this consumer" }
}
