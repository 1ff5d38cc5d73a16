//! `logstead verify` from outside: what is sound passes, what is damaged is named, and nothing makes it panic.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test works on real files and fails by panicking"
)]

#[path = "../support/bomb.rs"]
mod bomb;
mod brokers;
mod damage;
mod flips;
mod hostile;
mod sound;
mod support;
