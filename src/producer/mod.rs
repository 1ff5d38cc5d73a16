//! [D] Writing records: batches by partition, filled by any number of threads, appended by the thread that fills them.
//!
//! A record is encoded straight into the open batch of its partition, and that is the only copy of it on this side of the
//! file. A full batch is appended by the thread that found it full; one that is not, when it has lingered
//! ([`linger`](crate::config::ProducerConfig::linger)), when somebody waits for one of its records, or at a flush. Threads
//! that wait for acknowledgements at the same time share one sync.
//!
//! Three ways to send, from the most comfortable to the fastest:
//!
//! | call | gives | who learns of a failure |
//! |---|---|---|
//! | [`Producer::send`] | a [`Delivery`] | its holder; if it was dropped, `flush` and `close` |
//! | [`TopicProducer::send`] | the same, without looking the topic up | the same |
//! | [`TopicProducer::push`] | a [`Ticket`], a number | `flush` and `close` |
//!
//! ```
//! use logstead::cluster::Cluster;
//! use logstead::config::TopicConfig;
//! use logstead::producer::Record;
//! # let folder = tempfile::tempdir()?;
//! let cluster = Cluster::open(folder.path())?;
//! cluster.create_topic("orders", TopicConfig::new().partitions(6))?;
//! let producer = cluster.producer().build()?;
//!
//! let stored = producer.send(Record::to("orders").key("customer-7").value("order 1"))?.wait()?;
//! assert_eq!(stored.offset.map(|offset| offset.get()), Some(0)); // on disk
//!
//! let orders = producer.topic("orders")?;
//! let second = orders.send(b"customer-7", b"order 2")?;
//! orders.push("customer-7", "order 3")?;
//! producer.flush()?; // both are on disk, in this order: a key always goes to the same partition
//! assert_eq!(second.wait()?.offset.map(|offset| offset.get()), Some(1));
//! producer.close()?;
//! cluster.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The producer is not idempotent yet: its batches carry no producer id (Kafka's -1). Nothing is sent twice by itself, since
//! there is no network between it and the log; a record whose delivery failed with
//! [`Written::Maybe`](crate::error::Written::Maybe) and that the caller sends again may be in the log twice.
//!
//! A waker that a future registered is called by whichever thread acknowledges the batch; it must not block.
//!
//! [D]: crate

mod batch;
mod builder;
mod delivery;
mod drain;
mod handle;
mod lane;
mod memory;
mod partitioner;
mod record;
mod shared;
mod timer;
mod topic;

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use crate::error::{Error, Result};

use lane::IfFull;
use shared::Shared;

pub use builder::ProducerBuilder;
pub use delivery::{Delivery, RecordMetadata, Ticket};
pub use handle::TopicProducer;
pub use partitioner::{Keyless, Partitioner};
pub use record::{Payload, Record, Rejected};

/// Sends records to the topics of one cluster. Shared by reference or in an `Arc` among any number of threads.
///
/// Dropping it appends what it holds, without waiting for acknowledgements; [`close`](Producer::close) waits, and tells of
/// failures.
#[derive(Debug)]
pub struct Producer {
    shared: Arc<Shared>,
}

/// What a producer has done, and what it holds. Taken without stopping anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ProducerMetrics {
    /// Records in the batches that were handed to their partitions.
    pub records: u64,
    /// Those batches.
    pub batches: u64,
    /// Records that failed, whoever was told.
    pub failed_records: u64,
    /// Bytes reserved for batches that are not acknowledged yet, the open ones included.
    pub buffered_bytes: u64,
}

impl Producer {
    fn of(shared: Arc<Shared>) -> Producer {
        Producer { shared }
    }

    /// Adds a record to the open batch of its partition. Waits for memory, where need be, up to `max.block.ms`, and makes
    /// some free itself meanwhile.
    ///
    /// # Errors
    /// - [`Error::UnknownTopicOrPartition`], [`Error::InvalidPartition`], [`Error::InvalidRecord`].
    /// - [`Error::RecordTooLarge`]: larger than `max.request.size` or `buffer.memory`.
    /// - [`Error::CallbackPanicked`]: the partitioner did; nothing else is affected.
    /// - [`Error::Timeout`]: there was no memory in time; [`Error::NoProgress`]: nor can there be.
    /// - [`Error::Closed`].
    pub fn send(&self, record: Record<'_>) -> Result<Delivery> {
        self.start(&record, IfFull::Wait)
    }

    /// As [`send`](Self::send), but never waits. Like `send` it may write a full batch into the page cache.
    ///
    /// # Errors
    /// As `send`, and [`Error::BufferFull`]; each with the record, to be sent again.
    pub fn try_send<'a>(&self, record: Record<'a>) -> Result<Delivery, Rejected<'a>> {
        self.start(&record, IfFull::Refuse).map_err(|error| {
            if matches!(error, Error::BufferFull { .. }) {
                self.shared.want_room(None);
            }
            Rejected::new(record, error)
        })
    }

    /// As [`send`](Self::send), but awaits memory, without a limit in time, instead of blocking for it. The cluster's threads, or
    /// [`Cluster::poll`](crate::cluster::Cluster::poll), make some free meanwhile; no async runtime is needed.
    ///
    /// # Errors
    /// As `send`.
    pub fn send_async<'a>(&'a self, record: Record<'a>) -> impl Future<Output = Result<Delivery>> + Send + 'a {
        let mut chosen = None;
        poll_fn(move |context| {
            let attempt = |chosen: &mut Option<_>| -> Result<Delivery> {
                let topic = self.shared.topic(record.topic())?;
                let fields = record.fields();
                let target = match *chosen {
                    Some(target) => target,
                    None => topic.choose(&self.shared, record.get_partition(), &fields)?,
                };
                *chosen = Some(target);
                topic.append(&self.shared, target, &fields, IfFull::Refuse)
            };
            match attempt(&mut chosen) {
                Err(Error::BufferFull { .. }) => self.shared.want_room(Some(context.waker())),
                outcome => return Poll::Ready(outcome),
            }
            // Memory may have come free before the waker was registered.
            match attempt(&mut chosen) {
                Err(Error::BufferFull { .. }) => Poll::Pending,
                outcome => Poll::Ready(outcome),
            }
        })
    }

    fn start(&self, record: &Record<'_>, if_full: IfFull) -> Result<Delivery> {
        let topic = self.shared.topic(record.topic())?;
        let fields = record.fields();
        let target = topic.choose(&self.shared, record.get_partition(), &fields)?;
        topic.append(&self.shared, target, &fields, if_full)
    }

    /// A handle that sends to one topic without looking it up each time. It sees partitions that are added later, and stays
    /// usable until the producer is closed or dropped.
    ///
    /// # Errors
    /// [`Error::UnknownTopicOrPartition`], [`Error::Closed`].
    pub fn topic(&self, name: &str) -> Result<TopicProducer> {
        Ok(TopicProducer::of(Arc::clone(&self.shared), self.shared.topic(name)?))
    }

    /// Waits until everything sent before is acknowledged, or has failed.
    ///
    /// # Errors
    /// - [`Error::DeliveriesFailed`]: records failed, since the last flush, whose delivery was dropped or that were pushed.
    /// - [`Error::NoProgress`]: with `Driver::Manual`, when waiting would never end.
    /// - [`Error::Closed`].
    pub fn flush(&self) -> Result<()> {
        self.shared.flush()
    }

    /// Flushes, and takes no records any more: [`TopicProducer`]s answer [`Error::Closed`].
    ///
    /// # Errors
    /// As [`flush`](Self::flush); [`Error::Timeout`] where nothing can progress with `Driver::Manual`.
    pub fn close(self) -> Result<()> {
        self.shared.close(None)
    }

    /// As [`close`](Self::close), for `limit` at most: what is not acknowledged then fails with [`Error::Timeout`], although it
    /// may be committed later. Appending itself has no limit.
    ///
    /// # Errors
    /// As `close`, and [`Error::Timeout`].
    pub fn close_timeout(self, limit: Duration) -> Result<()> {
        self.shared.close(Some(limit))
    }

    /// The counters and gauges as of now.
    pub fn metrics(&self) -> ProducerMetrics {
        let counters = &self.shared.metrics;
        ProducerMetrics {
            records: counters.records.load(Ordering::Relaxed),
            batches: counters.batches.load(Ordering::Relaxed),
            failed_records: counters.failed.load(Ordering::Relaxed),
            buffered_bytes: self.shared.memory.reserved(),
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.shared.shut();
        self.shared.forget();
    }
}
