//! [P] A record on its way into a producer: borrowed bytes, and what the caller says about where they go.
//!
//! Kafka's counterpart: `ProducerRecord`.

use std::fmt;

use crate::error::Error;
use crate::record::Header;
use crate::types::Timestamp;

/// A record to be sent. Everything is borrowed; the payload is copied once, into its batch.
///
/// An absent key or value is Kafka's null, which is not the same as an empty one: a null value deletes the key from a
/// compacted topic.
///
/// ```
/// use logstead::producer::Record;
/// let record = Record::to("orders").key("customer-7").value(b"order 1").header("trace", "c0ffee");
/// assert_eq!((record.topic(), record.get_key()), ("orders", Some(&b"customer-7"[..])));
/// let tombstone = Record::to("orders").key("customer-7");
/// assert_eq!(tombstone.get_value(), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    topic: &'a str,
    partition: Option<i32>,
    timestamp: Option<Timestamp>,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: Vec<Header<'a>>,
}

impl<'a> Record<'a> {
    /// A record without key, value and headers.
    pub const fn to(topic: &'a str) -> Record<'a> {
        Record { topic, partition: None, timestamp: None, key: None, value: None, headers: Vec::new() }
    }

    /// The partition that it goes to, whatever the partitioner would say.
    #[must_use]
    pub const fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Its time. Without one it gets the time at which its batch was opened.
    #[must_use]
    pub const fn timestamp(mut self, timestamp: Timestamp) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// Its key.
    #[must_use]
    pub fn key(mut self, key: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.key = Some(key.as_ref());
        self
    }

    /// Its value.
    #[must_use]
    pub fn value(mut self, value: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.value = Some(value.as_ref());
        self
    }

    /// One more header. Keys may repeat. Headers are what makes a record allocate.
    #[must_use]
    pub fn header(mut self, key: &'a str, value: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.headers.push(Header { key, value: Some(value.as_ref()) });
        self
    }

    /// One more header, whose value is null.
    #[must_use]
    pub fn header_without_value(mut self, key: &'a str) -> Self {
        self.headers.push(Header { key, value: None });
        self
    }

    /// The topic.
    pub const fn topic(&self) -> &'a str {
        self.topic
    }

    /// The partition, if one was named.
    pub const fn get_partition(&self) -> Option<i32> {
        self.partition
    }

    /// The time, if one was given.
    pub const fn get_timestamp(&self) -> Option<Timestamp> {
        self.timestamp
    }

    /// The key.
    pub const fn get_key(&self) -> Option<&'a [u8]> {
        self.key
    }

    /// The value.
    pub const fn get_value(&self) -> Option<&'a [u8]> {
        self.value
    }

    /// The headers, in their order.
    pub fn headers(&self) -> &[Header<'a>] {
        &self.headers
    }

    pub(super) fn fields(&self) -> Fields<'_> {
        Fields { timestamp: self.timestamp, key: self.key, value: self.value, headers: &self.headers }
    }
}

/// What goes into the batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    pub(super) timestamp: Option<Timestamp>,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: &'a [Header<'a>],
}

/// A key or a value as [`TopicProducer::send`](super::TopicProducer::send) takes it: anything made of bytes, `()` or a
/// `None` for null.
///
/// ```
/// use logstead::producer::Payload;
/// assert_eq!("text".payload(), Some(&b"text"[..]));
/// assert_eq!([1, 2].payload(), Some(&[1, 2][..]));
/// assert_eq!(().payload(), None);
/// assert_eq!(None::<&str>.payload(), None);
/// ```
pub trait Payload {
    /// The bytes; `None` is null.
    fn payload(&self) -> Option<&[u8]>;
}

impl Payload for [u8] {
    fn payload(&self) -> Option<&[u8]> {
        Some(self)
    }
}

impl<const N: usize> Payload for [u8; N] {
    fn payload(&self) -> Option<&[u8]> {
        Some(self)
    }
}

impl Payload for Vec<u8> {
    fn payload(&self) -> Option<&[u8]> {
        Some(self)
    }
}

impl Payload for str {
    fn payload(&self) -> Option<&[u8]> {
        Some(self.as_bytes())
    }
}

impl Payload for String {
    fn payload(&self) -> Option<&[u8]> {
        Some(self.as_bytes())
    }
}

impl Payload for () {
    fn payload(&self) -> Option<&[u8]> {
        None
    }
}

impl<T: Payload + ?Sized> Payload for &T {
    fn payload(&self) -> Option<&[u8]> {
        (**self).payload()
    }
}

impl<T: Payload> Payload for Option<T> {
    fn payload(&self) -> Option<&[u8]> {
        self.as_ref().and_then(Payload::payload)
    }
}

/// A record that was not taken, and why.
pub struct Rejected<'a>(Box<(Record<'a>, Error)>);

impl<'a> Rejected<'a> {
    pub(super) fn new(record: Record<'a>, error: Error) -> Rejected<'a> {
        Rejected(Box::new((record, error)))
    }

    /// Why it was not taken.
    pub fn error(&self) -> &Error {
        &self.0.1
    }

    /// The record and the error.
    pub fn into_parts(self) -> (Record<'a>, Error) {
        *self.0
    }
}

impl From<Rejected<'_>> for Error {
    fn from(rejected: Rejected<'_>) -> Error {
        rejected.0.1
    }
}

impl fmt::Debug for Rejected<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The payload is not for logs.
        f.debug_struct("Rejected").field("topic", &self.0.0.topic).field("error", self.error()).finish()
    }
}

impl fmt::Display for Rejected<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.error(), f)
    }
}

impl std::error::Error for Rejected<'_> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(self.error())
    }
}
