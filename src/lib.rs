//! Apache Kafka's log as an embeddable library: no server, no network layer, no async runtime.
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

pub mod config;
pub mod error;
pub mod log;
pub mod record;
pub mod rng;
pub mod storage;
pub mod sync;
pub mod time;
pub mod types;

pub use error::{Error, Result};
