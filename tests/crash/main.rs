//! Crash tests of one partition's log: every place where a script can die, every kind of image of the disk, recovery
//! itself included, and every call that can fail.
//!
//! Everything takes hours without optimisation, so that a run is thinned out to a minute of one core;
//! `LOGSTEAD_CRASH_EFFORT=13` tries every image of every crash and every fault, 150 also every crash of every recovery.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and what it indexes it has made itself"
)]

mod check;
mod lying;
mod model;
mod rig;
mod scripts;
mod session;

use logstead::config::Durability;

use lying::Lie;
use rig::{Counts, Effort};
use session::Script;

/// A minute's worth, or as many times that as whoever runs it wants.
#[allow(clippy::disallowed_methods, reason = "how long a test may take is for whoever runs it to say")]
fn effort() -> Effort {
    let times = std::env::var("LOGSTEAD_CRASH_EFFORT").ok().and_then(|times| times.parse().ok()).unwrap_or(1u64);
    let one_of = |stride: u64| (stride / times.max(1)).max(1);
    Effort {
        image_stride: one_of(11),
        rehearsal_stride: one_of(13),
        recovery_stride: one_of(149),
        fault_stride: one_of(7),
    }
}

#[allow(clippy::print_stdout, reason = "the counts are what a run of the rig is worth")]
fn report(name: &str, result: Result<Counts, String>) {
    match result {
        Ok(counts) => println!("crash rig: {name}: {counts}"),
        Err(what) => panic!("{what}"),
    }
}

fn try_everything(script: &Script) {
    let effort = effort();
    let result = rig::crash_everywhere(script, Lie::None, effort).and_then(|mut counts| {
        counts += rig::crash_recovery(script, effort)?;
        counts += rig::fail_everywhere(script, effort)?;
        Ok(counts)
    });
    report(script.name, result);
}

#[test]
fn a_growing_log_survives_every_crash() {
    try_everything(&scripts::growth());
}

#[test]
fn transactions_survive_every_crash() {
    try_everything(&scripts::transactions());
}

#[test]
fn truncation_survives_every_crash() {
    try_everything(&scripts::truncation());
}

#[test]
fn deletion_survives_every_crash() {
    try_everything(&scripts::deletion());
}

#[test]
fn retention_survives_every_crash() {
    try_everything(&scripts::retention());
}

#[test]
fn closing_and_reopening_survive_every_crash() {
    try_everything(&scripts::reopening());
}

#[test]
fn two_logs_survive_every_crash() {
    try_everything(&scripts::two_logs());
}

#[test]
fn a_failed_sync_acknowledges_nothing() {
    try_everything(&scripts::failed_sync());
}

#[test]
fn running_out_of_space_is_undone() {
    try_everything(&scripts::no_space(Durability::Synced));
}

#[test]
fn running_out_of_space_is_undone_in_the_page_cache() {
    try_everything(&scripts::no_space(Durability::Os));
}

/// A rig that cannot fail proves nothing: the same harness must notice a broken promise, and say which.
fn notices(lie: Lie, broken_promise: &str) {
    let what = rig::crash_everywhere(&scripts::growth(), lie, effort()).unwrap_err();
    assert!(what.contains(broken_promise), "{what}");
}

#[test]
fn the_rig_notices_a_disk_that_does_not_sync_files() {
    notices(Lie::Files, "after the last call: log 0: not so");
}

#[test]
fn the_rig_notices_a_disk_that_does_not_sync_names() {
    notices(Lie::Names, "nothing acknowledged is lost");
}

#[test]
fn the_rig_notices_an_acknowledgement_before_the_sync() {
    notices(Lie::Acknowledge, "nothing acknowledged is lost");
}
