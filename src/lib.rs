//! Apache Kafka's log as an embeddable library: no server, no network layer, no async runtime, and a data folder whose
//! partition folders are Kafka's own bytes.
//!
//! What exists today is one partition's log, complete: [`log::LogDirectory`] owns a data folder, [`log::Log`] is one
//! partition in it. Topics, producers, consumer groups and replication will stand on it.
//!
//! ```
//! use logstead::config::LogConfig;
//! use logstead::log::{LogDirectory, ReadLimits};
//! use logstead::record::{BatchBuilder, BatchOptions};
//! use logstead::time::{Clock, SystemClock};
//! use logstead::types::{LeaderEpoch, Offset, TopicPartition};
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path();
//! let clock = SystemClock::new();
//! let directory = LogDirectory::open(path)?; // one owner; what a crash left is repaired
//! let log = directory.open_log(&TopicPartition::new("orders", 0)?, None, LogConfig::new(), clock.now())?;
//! log.begin_epoch(LeaderEpoch::ZERO)?;
//!
//! let mut builder = BatchBuilder::new(BatchOptions::default());
//! builder.append(Some(clock.now().wall), Some(b"customer-7"), Some(b"order 1"), &[])?;
//! log.append_as_leader(&mut builder.build()?, clock.now())?; // survives kill -9
//! let durable = log.flush()?; // survives a power cut
//! log.advance_high_watermark(durable)?;
//!
//! let slice = log.read(Offset::ZERO, ReadLimits::bytes(64 << 10))?;
//! for batch in slice.batches() {
//!     for record in batch?.records() {
//!         assert_eq!(record.value(), Some(&b"order 1"[..])); // borrowed from the slice
//!     }
//! }
//! directory.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Guarantees
//!
//! | event | [`Durability::Synced`](config::Durability::Synced) (default) | [`Durability::Os`](config::Durability::Os) |
//! |---|---|---|
//! | the process dies | every append that returned is there | every append that returned is there |
//! | power is cut | everything below [`synced_offset`](log::Log::synced_offset) is there, and so is everything committed | what the operating system had written, a prefix of the log |
//! | a sync fails | nothing is acknowledged on its strength; the log goes offline for writing | the same |
//! | a bit flips below the durable point | a typed [`Error::Corrupt`] with file, position and offsets; nothing is cut, the rest is readable | the same, for what was flushed |
//!
//! # Modules, from the top down
//!
//! [`log`] the log and its files; [`record`] batches and records; [`storage`] the disk as a trait; [`config`], [`error`],
//! [`sync`], [`time`], [`rng`], [`types`] what everybody uses. `ARCHITECTURE.md` tells how they fit together.
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

pub use error::{Error, Result};

/// The code in README.md, compiled by the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
