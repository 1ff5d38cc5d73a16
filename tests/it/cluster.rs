//! A whole cluster on a hostile disk: every crash, every failing call, many threads, bad folders.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "counts, skips and a hang are for whoever runs it to see"
)]

mod bytes;
#[cfg(unix)]
mod folders;
mod model;
mod rig;
mod scripts;
mod session;
mod threads;

use std::time::Duration;

use rig::{Counts, Watchdog, crash_everywhere, fail_everywhere};
use session::Step;

fn try_it(name: &str, script: &[Step], rig: fn(&[Step]) -> Result<Counts, String>) {
    let _watchdog = Watchdog::start(Duration::from_secs(3_600));
    match rig(script) {
        Ok(counts) => println!("cluster rig: {name}: {counts}"),
        Err(what) => panic!("{name}: {what}"),
    }
}

#[test]
fn growing_topics_survive_every_crash() {
    try_it("growth", &scripts::growth(), crash_everywhere);
}

#[test]
fn a_deleted_topics_records_never_come_back_under_its_successor() {
    try_it("successors", &scripts::successors(), crash_everywhere);
}

#[test]
fn changes_of_durability_survive_every_crash() {
    try_it("durabilities", &scripts::durabilities(), crash_everywhere);
}

#[test]
fn growing_topics_survive_every_failing_call() {
    try_it("growth", &scripts::growth(), fail_everywhere);
}

#[test]
fn successors_survive_every_failing_call() {
    try_it("successors", &scripts::successors(), fail_everywhere);
}

#[test]
fn changes_of_durability_survive_every_failing_call() {
    try_it("durabilities", &scripts::durabilities(), fail_everywhere);
}
