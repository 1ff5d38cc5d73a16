//! Properties: a log against a plain model of it, and every parser against hostile bytes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "a test fails by panicking, and its numbers are small; clippy's exceptions for tests cover only #[test] functions"
)]

mod allocation;
mod bombs;
mod compression;
mod consumer;
mod hostile_bytes;
mod hostile_folder;
mod list_offsets;
mod log_model;
mod model;
mod packed;
mod producer;
mod read_only;
mod retention;

use proptest::test_runner::{Config, RngSeed};

/// How many cases a property gets; `PROPTEST_CASES` overrides it. The seed is fixed, so that a run can be repeated;
/// `PROPTEST_RNG_SEED` takes another. Seeds are not written to files: a case that failed once becomes a test of its own.
fn cases(default: u32) -> Config {
    let config = Config { failure_persistence: None, max_shrink_iters: 4_000, ..Config::default() };
    let rng_seed = match config.rng_seed {
        RngSeed::Random => RngSeed::Fixed(0x1065_7ead),
        given @ RngSeed::Fixed(_) => given,
    };
    let config = Config { rng_seed, ..config };
    let is_given = config.cases != 256;
    Config { cases: if is_given { config.cases } else { default }, ..config }
}
