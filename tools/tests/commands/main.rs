//! The commands that make topics, write, read and measure, from outside: the built program, its output and its exit
//! codes.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test works on real files and processes and fails by panicking"
)]

mod configs;
mod consume;
mod crash;
mod offsets;
mod perf;
mod produce;
mod support;
mod topics;
mod usage;
