//! Apache Kafka's log, topics, producers and consumers as one embeddable library: no server, no network layer, no async
//! runtime, and a data folder whose partition folders are Kafka's own bytes.
//!
//! An application opens a directory and has the whole engine in its process:
//!
//! ```
//! use std::time::Duration;
//! use logstead::{Cluster, Record, TopicConfig};
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path();
//! let cluster = Cluster::open(path)?; // one owner; what a crash left is repaired
//! cluster.create_topic("orders", TopicConfig::new().partitions(3))?;
//!
//! let producer = cluster.producer().build()?;
//! let stored = producer.send(Record::to("orders").key("customer-7").value("order 1"))?.wait()?;
//! println!("{stored} survives a power cut");
//! let orders = producer.topic("orders")?; // the fast path: nothing is looked up any more
//! orders.push("customer-7", "order 2")?;
//! producer.flush()?;
//!
//! let mut consumer = cluster.consumer().topic("orders").build()?;
//! let records = consumer.poll(Duration::from_secs(1))?;
//! let values: Vec<_> = records.iter().filter_map(|record| record.value()).collect(); // borrowed, not copied
//! assert_eq!(values, [b"order 1", b"order 2"]);
//! cluster.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Guarantees
//!
//! | event | [`Durability::Synced`] (default) | [`Durability::Os`] |
//! |---|---|---|
//! | the process dies | every acknowledged record is there | every acknowledged record is there |
//! | power is cut | every record acknowledged with [`Acks::All`] is there, and whatever a consumer has seen | what the operating system had written, a prefix of each partition |
//! | a sync fails | nothing is acknowledged on its strength; the partition goes offline for writing | the same |
//! | a bit flips below the durable point | a typed [`Error::Corrupt`] with file, position and offsets; nothing is cut, the rest is readable | the same, for what was flushed |
//!
//! # Three doors
//!
//! - [`Cluster`]: topics, producers, consumers, and the threads that drive them. [`Driver::Manual`] starts no thread, and
//!   with [`storage::MemStorage`] and [`time::ManualClock`] a whole application runs as a simulation.
//! - [`Cluster::open_read_only`]: a look into a folder that another process owns.
//! - [`log::Log`]: one partition's log alone, no thread, no topics.
//!
//! # Modules, from the top down
//!
//! [`cluster`]; [`producer`] and [`consumer`]; [`log`] the log and its files; [`controller`] the metadata records;
//! [`record`] batches and records; [`storage`] the disk as a trait; [`config`], [`error`], [`sync`], [`time`], [`rng`],
//! [`types`] what everybody uses. `ARCHITECTURE.md` tells how they fit together.
//!
//! # Features
//!
//! `testkit`: `storage::MemStorage` can lose power, tear writes and fail calls, for tests of applications.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        clippy::disallowed_methods,
        clippy::disallowed_types
    )
)]

mod broker;
pub mod cluster;
pub mod config;
pub mod consumer;
pub mod controller;
pub mod error;
pub mod log;
pub mod producer;
pub mod record;
mod replica;
pub mod rng;
pub mod storage;
pub mod sync;
pub mod time;
pub mod types;

pub use cluster::{Cluster, ClusterBuilder, Driver, Partition, ReadOnlyCluster, Topic};
pub use config::{Acks, BrokerConfig, ConsumerConfig, Durability, Isolation, ProducerConfig, TopicConfig};
pub use consumer::{Consumer, ConsumerRecord, ConsumerRecords, SeekTo, StartAt};
pub use error::{Error, Result};
pub use log::{ListedOffset, OffsetSpec, Segment};
pub use producer::{Delivery, Partitioner, Producer, Record, RecordMetadata, Ticket, TopicProducer};
pub use record::{Compression, Header};
pub use sync::Handle;
pub use types::{
    BrokerId, LeaderEpoch, Offset, PartitionId, ProducerId, Timestamp, TopicId, TopicName, TopicPartition,
};

/// The code in README.md, compiled by the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
