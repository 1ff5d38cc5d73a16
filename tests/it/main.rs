//! Behaviour of a log through its public API, one reason to fail each.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test fails by panicking, looks at the real disk behind the library's back, and its numbers are small"
)]

mod append;
mod close;
mod cluster;
mod commit;
mod compression;
mod config;
mod consumer;
mod damage;
mod delete;
mod directory;
mod edges;
mod epochs;
mod errors;
mod faults;
mod kafka;
mod legacy;
mod log_start;
mod lost_indexes;
mod producer;
mod read;
mod read_only;
mod recovery;
mod retention;
mod roll;
mod support;
mod topics;
