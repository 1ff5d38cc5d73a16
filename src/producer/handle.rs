//! [D] The quick way into one topic: no lookup, and without headers no allocation, for each record.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::producer::delivery::{Delivery, RecordMetadata, Ticket};
use crate::producer::lane::{IfFull, Receipt};
use crate::producer::record::{Fields, Payload, Record};
use crate::producer::shared::Shared;
use crate::producer::topic::Topic;
use crate::types::TopicName;

/// Sends to one topic; see [`Producer::topic`](super::Producer::topic). Cheap to clone, and shared by reference.
#[derive(Debug, Clone)]
pub struct TopicProducer {
    shared: Arc<Shared>,
    topic: Arc<Topic>,
}

impl TopicProducer {
    pub(super) fn of(shared: Arc<Shared>, topic: Arc<Topic>) -> TopicProducer {
        TopicProducer { shared, topic }
    }

    /// The topic's name.
    pub fn name(&self) -> &TopicName {
        self.topic.name()
    }

    /// How many partitions the topic has now.
    ///
    /// # Errors
    /// [`Error::UnknownTopicOrPartition`] when it was deleted, [`Error::Closed`].
    pub fn partition_count(&self) -> Result<u32> {
        self.topic.partition_count(&self.shared)
    }

    /// Sends a record with this key and value. `()` and `None` are null.
    ///
    /// # Errors
    /// As [`Producer::send`](super::Producer::send).
    pub fn send(&self, key: impl Payload, value: impl Payload) -> Result<Delivery> {
        self.start(None, &fields(key.payload(), value.payload()))
    }

    /// Sends a record with this key and value, and gives no more than a number for it: nothing is allocated, nothing is
    /// counted up. A failure is told by `flush` and `close`.
    ///
    /// # Errors
    /// As [`Producer::send`](super::Producer::send).
    pub fn push(&self, key: impl Payload, value: impl Payload) -> Result<Ticket> {
        self.start(None, &fields(key.payload(), value.payload()))
    }

    /// Sends a record with everything that a record can have. It has to name this topic.
    ///
    /// # Errors
    /// As [`Producer::send`](super::Producer::send); [`Error::InvalidState`] when it names another topic.
    pub fn send_record(&self, record: &Record<'_>) -> Result<Delivery> {
        self.check_topic(record)?;
        self.start(record.get_partition(), &record.fields())
    }

    /// As [`send_record`](Self::send_record), for a ticket.
    ///
    /// # Errors
    /// As `send_record`.
    pub fn push_record(&self, record: &Record<'_>) -> Result<Ticket> {
        self.check_topic(record)?;
        self.start(record.get_partition(), &record.fields())
    }

    /// Waits for a record that was pushed through a handle to this topic, as [`Delivery::wait`] does.
    ///
    /// # Errors
    /// As `Delivery::wait`; [`Error::InvalidState`] when its batch has had its outcome so long ago that it is not known any
    /// more. Eight batches of a partition are remembered.
    pub fn wait(&self, ticket: Ticket) -> Result<RecordMetadata> {
        let unknown = Error::InvalidState { operation: "wait for the ticket", state: "it is of another topic" };
        let lane = self.topic.lane(ticket.partition().get()).ok_or(unknown)?;
        ticket.wait(lane)
    }

    #[inline]
    fn start<R: Receipt>(&self, partition: Option<i32>, fields: &Fields<'_>) -> Result<R> {
        let target = self.topic.choose(&self.shared, partition, fields)?;
        self.topic.append(&self.shared, target, fields, IfFull::Wait)
    }

    fn check_topic(&self, record: &Record<'_>) -> Result<()> {
        if record.topic() == self.name().as_str() {
            return Ok(());
        }
        Err(Error::InvalidState { operation: "send through a topic's handle", state: "the record names another topic" })
    }
}

fn fields<'a>(key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> Fields<'a> {
    Fields { timestamp: None, key, value, headers: &[] }
}
