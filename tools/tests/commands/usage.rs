//! Wrong usage, and folders that are not what they should be.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{Data, command_on, run_with};

#[test]
fn wrong_usage_is_exit_code_2_and_touches_nothing() {
    let data = Data::new();
    let cases: &[&[&str]] = &[
        &[],
        &["nothing"],
        &["topics"],
        &["topics", "create"],
        &["topics", "create", "orders"],
        &["topics", "create", "orders", "--partitions", "0"],
        &["topics", "create", "orders", "--partitions", "-1"],
        &["topics", "create", "orders", "--partitions", "many"],
        &["topics", "create", "a/b", "--partitions", "1"],
        &["topics", "create", "..", "--partitions", "1"],
        &["topics", "create", "", "--partitions", "1"],
        &["topics", "create", "orders", "--partitions", "1", "--config", "segment.bytes"],
        &["topics", "create", "orders", "--partitions", "1", "--config", "=1"],
        &["topics", "create", "one", "two", "--partitions", "1"],
        &["topics", "list", "orders"],
        &["topics", "alter", "orders"],
        &["topics", "alter", "orders", "--partitions", "0"],
        &["topics", "delete"],
        &["configs"],
        &["configs", "describe"],
        &["configs", "alter", "orders"],
        &["configs", "alter", "orders", "--config", "segment.bytes"],
        &["configs", "alter", "orders", "--delete-config", ""],
        &["offsets", "orders"],
        &["offsets", "orders", "--at", "newest"],
        &["offsets", "orders", "--at", "-1"],
        &["offsets", "orders", "--at", "latest", "--partition", "-1"],
        &["records"],
        &["records", "delete", "orders", "--before", "1"],
        &["records", "delete", "orders", "--partition", "0"],
        &["records", "delete", "orders", "--partition", "0", "--before", "-2"],
        &["records", "delete", "orders", "--partition", "0", "--before", "high"],
        &["produce"],
        &["produce", "a b"],
        &["produce", "orders", "--acks", "2"],
        &["produce", "orders", "--acks", "0", "--print-acks"],
        &["produce", "orders", "--compression", "brotli"],
        &["produce", "orders", "--key-separator", ""],
        &["produce", "orders", "--partition", "-1"],
        &["produce", "orders", "--batch-bytes", "-1"],
        &["produce", "orders", "--linger-ms", "soon"],
        &["produce", "orders", "--file"],
        &["consume"],
        &["consume", "orders", "--from-beginning", "--offset", "0"],
        &["consume", "orders", "--offset", "0", "--last", "1"],
        &["consume", "orders", "--last", "1", "--from-time", "0"],
        &["consume", "orders", "--offset", "-1"],
        &["consume", "orders", "--offset", "9223372036854775808"],
        &["consume", "orders", "--from-time", "yesterday"],
        &["consume", "orders", "--from-time", "2026-02-30T00:00:00Z"],
        &["consume", "orders", "--last", "-1"],
        &["consume", "orders", "--max-records", "-1"],
        &["consume", "orders", "--format", "xml"],
        &["perf"],
        &["perf", "produce"],
        &["perf", "produce", "--records", "10"],
        &["perf", "produce", "--records", "0", "--record-size", "10"],
        &["perf", "produce", "--records", "10", "--record-size", "9223372036854775807"],
        &["perf", "produce", "--records", "10", "--record-size", "10", "--threads", "0"],
        &["perf", "produce", "--records", "10", "--record-size", "10", "--durability", "perhaps"],
        &["perf", "latency", "--records", "10", "--record-size", "10", "--acks", "most"],
        &["perf", "consume", "--threads", "0"],
        &["perf", "consume", "--acks", "most"],
        &["perf", "consume", "--durability", "perhaps"],
        &["perf", "consume", "--batch-bytes", "-1"],
    ];
    for arguments in cases {
        let run = data.run(arguments);
        assert!(run.code == 2 && run.stdout.is_empty() && run.stderr.contains("help"), "{arguments:?}: {run:?}");
    }
    assert!(!data.path().exists());
}

#[test]
fn a_command_that_needs_a_folder_says_so() {
    for arguments in [
        &["topics", "list"][..],
        &["topics", "create", "orders", "--partitions", "1"],
        &["produce", "orders"],
        &["consume", "orders"],
        &["perf", "consume"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_logstead"));
        command.args(arguments);
        let run = run_with(command, b"");
        assert!(run.code == 2 && run.stderr.contains("--data"), "{arguments:?}: {run:?}");
    }
}

#[test]
fn the_folder_may_stand_behind_the_command() {
    let data = Data::with_topic("orders", 1);
    let mut command = Command::new(env!("CARGO_BIN_EXE_logstead"));
    command.args(["topics", "list", "--data"]).arg(data.path());
    assert_eq!(run_with(command, b"").stdout_of_success(), b"orders\n");
}

/// Every command that works on a folder.
const COMMANDS: &[&[&str]] = &[
    &["topics", "create", "orders", "--partitions", "1"],
    &["topics", "list"],
    &["topics", "describe"],
    &["topics", "alter", "orders", "--partitions", "2"],
    &["topics", "delete", "orders"],
    &["produce", "orders"],
    &["consume", "orders"],
    &["perf", "produce", "--records", "1", "--record-size", "1"],
    &["perf", "consume"],
    &["perf", "latency", "--records", "1", "--record-size", "1"],
];

#[test]
fn a_file_is_no_folder_and_stays_as_it_is() {
    let data = Data::new();
    fs::write(data.path(), "not a folder").unwrap();
    for arguments in COMMANDS {
        data.run(arguments).assert_error(data.path().to_str().unwrap());
    }
    assert_eq!(fs::read(data.path()).unwrap(), b"not a folder");
}

#[test]
fn a_folder_of_something_else_is_refused_and_stays_as_it_is() {
    let data = Data::new();
    fs::create_dir(data.path()).unwrap();
    fs::write(data.path().join("thesis.txt"), "years of work").unwrap();
    for arguments in COMMANDS {
        let run = data.run(arguments);
        assert!(run.code == 1 && run.stderr.starts_with("error: ") && run.stdout.is_empty(), "{arguments:?}: {run:?}");
    }
    let names: Vec<_> = fs::read_dir(data.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["thesis.txt"]);
}

#[test]
fn only_what_makes_topics_makes_a_folder() {
    for arguments in COMMANDS {
        let data = Data::new();
        let run = data.run(arguments);
        let makes_topics = matches!(arguments, ["topics", "create", ..] | ["perf", "produce" | "latency", ..]);
        assert_eq!((run.code == 0, data.path().exists()), (makes_topics, makes_topics), "{arguments:?}: {run:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_folder_that_cannot_be_made_is_an_error() {
    // Nobody, not even root, makes folders there.
    let folder = Path::new("/proc/self/logstead");
    let run = run_with(command_on(folder, &["topics", "create", "orders", "--partitions", "1"]), b"");
    run.assert_error("/proc/self/logstead");
}

#[test]
fn looking_changes_no_byte() {
    let data = Data::with_topic("orders", 2);
    data.produce("orders", b"a\nb\nc\n");
    let before = contents(&data.path());
    for arguments in [&["topics", "list"][..], &["topics", "describe"], &["consume", "orders"]] {
        data.run(arguments).stdout_of_success();
    }
    assert_eq!(contents(&data.path()), before);
}

fn contents(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut contents(&path));
        } else {
            let bytes = fs::read(&path).unwrap();
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}
