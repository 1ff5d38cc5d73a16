//! `logstead perf`: what is reported, never how fast.

use serde_json::{Value, json};

use crate::support::Data;

fn fields(report: &Value) -> Vec<&str> {
    let mut names: Vec<_> = report.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

const CONDITIONS: [&str; 11] = [
    "acks",
    "batch_bytes",
    "durability",
    "elapsed_ms",
    "mib_per_second",
    "record_size",
    "records",
    "records_per_second",
    "test",
    "threads",
    "topic",
];
const LATENCIES: [&str; 5] = ["latency_samples", "max_us", "p50_us", "p99_9_us", "p99_us"];

fn with_latencies() -> Vec<&'static str> {
    let mut names = [&CONDITIONS[..], &LATENCIES[..]].concat();
    names.sort_unstable();
    names
}

#[test]
fn what_was_produced_is_there_and_the_conditions_are_reported() {
    let data = Data::new();
    let arguments = ["perf", "produce", "--records", "2001", "--record-size", "100", "--threads", "2", "--json"];
    let report = data.json(&arguments).remove(0);
    assert_eq!(fields(&report), with_latencies());
    for (name, value) in [
        ("test", json!("produce")),
        ("topic", json!("perf-100-1")),
        ("durability", json!("synced")),
        ("acks", json!("all")),
        ("batch_bytes", json!(16384)),
        ("record_size", json!(100)),
        ("threads", json!(2)),
        ("records", json!(2001)),
    ] {
        assert_eq!(report[name], value, "{name}");
    }
    assert!(report["records_per_second"].as_f64().unwrap() > 0.0);
    let quantiles = ["p50_us", "p99_us", "p99_9_us", "max_us"].map(|name| report[name].as_f64().unwrap());
    assert!(quantiles.is_sorted() && quantiles[0] > 0.0, "{quantiles:?}");
    let values = data.values("perf-100-1");
    assert!(values.len() == 2001 * 101 && values.iter().filter(|byte| **byte == b'\n').count() == 2001);
    let partitions = data.json(&["topics", "describe", "perf-100-1", "--json"])[0]["partitions"].clone();
    let ends: Vec<_> =
        partitions.as_array().unwrap().iter().map(|partition| partition["log_end_offset"].clone()).collect();
    assert_eq!(ends, [json!(1001), json!(1000)]);
}

#[test]
fn consuming_reads_the_newest_topic_to_its_end() {
    let data = Data::new();
    data.run(&["topics", "create", "perf-other", "--partitions", "1"]).assert_silent();
    data.run(&["perf", "consume"]).assert_error("perf produce --records 1000000 --record-size 100");
    let produce = |records: &str, size: &str, durability: &str| {
        let arguments = [
            "perf",
            "produce",
            "--records",
            records,
            "--record-size",
            size,
            "--durability",
            durability,
            "--threads",
            "3",
        ];
        data.run(&arguments).stdout_of_success()
    };
    produce("700", "10", "synced");
    produce("900", "0", "os");
    let report = data.json(&["perf", "consume", "--json", "--threads", "2"]).remove(0);
    assert_eq!(fields(&report), CONDITIONS);
    assert_eq!((&report["topic"], &report["records"]), (&json!("perf-0-2"), &json!(900)));
    assert_eq!((&report["durability"], &report["threads"]), (&json!("os"), &json!(2)));
    assert_eq!((&report["acks"], &report["batch_bytes"]), (&Value::Null, &Value::Null));
    let report = data.json(&["perf", "consume", "--json", "--record-size", "10", "--threads", "9"]).remove(0);
    assert_eq!((&report["topic"], &report["records"]), (&json!("perf-10-1"), &json!(700)));
    assert_eq!(report["threads"], 3);
    let report = data.json(&["perf", "consume", "--json", "--records", "50"]).remove(0);
    assert_eq!(report["records"], 50);
    data.run(&["perf", "consume", "--record-size", "11"]).assert_error("--record-size 11");
    let report = data.json(&["perf", "consume", "--json", "--durability", "synced"]).remove(0);
    assert_eq!((&report["topic"], &report["durability"]), (&json!("perf-10-1"), &json!("synced")));
    data.run(&["perf", "consume", "--record-size", "10", "--durability", "os"])
        .assert_error("perf produce --records 1000000 --record-size 10 --durability os");
}

#[test]
fn all_measurements_take_the_same_options() {
    let data = Data::new();
    let load = ["--records", "100", "--record-size", "10", "--batch-bytes", "1000", "--acks", "all"];
    for test in ["produce", "consume", "latency"] {
        let arguments = [&["perf", test][..], &load, &["--durability", "synced", "--threads", "1", "--json"]].concat();
        let report = data.json(&arguments).remove(0);
        assert_eq!((&report["test"], &report["records"]), (&json!(test), &json!(100)));
    }
}

#[test]
fn as_many_records_are_consumed_as_are_asked_for_or_none() {
    let data = Data::new();
    let produce = ["perf", "produce", "--records", "700", "--record-size", "10", "--threads", "3"];
    data.run(&produce).stdout_of_success();
    let consume = |records: &str, threads: &str| {
        data.run(&["perf", "consume", "--json", "--records", records, "--threads", threads])
    };
    for threads in ["1", "2", "3", "9"] {
        for records in ["1", "2", "699", "700"] {
            let report: Value = serde_json::from_slice(&consume(records, threads).stdout_of_success()).unwrap();
            assert_eq!(report["records"].to_string(), records, "{threads} threads");
        }
        consume("701", threads).assert_error(
            "perf-10-1 has 700 records, not 701; run this first: \
             logstead --data DIR perf produce --records 701 --record-size 10",
        );
    }
}

#[test]
fn every_record_on_its_way_to_a_consumer_is_timed() {
    let data = Data::new();
    for (acks, durability) in [("all", "synced"), ("1", "os"), ("0", "synced")] {
        let mut arguments =
            vec!["perf", "latency", "--records", "101", "--record-size", "20", "--threads", "2", "--json"];
        arguments.extend(["--acks", acks, "--durability", durability]);
        let report = data.json(&arguments).remove(0);
        assert_eq!(fields(&report), with_latencies());
        assert_eq!((&report["latency_samples"], &report["test"]), (&json!(101), &json!("latency")), "{acks}");
        assert_eq!((&report["acks"], &report["durability"]), (&json!(acks), &json!(durability)));
    }
}

#[test]
fn without_acknowledgements_producing_has_no_latency() {
    let data = Data::new();
    let arguments = ["perf", "produce", "--records", "100", "--record-size", "10", "--acks", "0", "--json"];
    assert_eq!(fields(&data.json(&arguments)[0]), CONDITIONS);
}

#[test]
fn records_and_batches_may_be_larger_than_the_defaults() {
    let data = Data::new();
    let arguments = ["perf", "produce", "--records", "3", "--record-size", "2000000", "--batch-bytes", "5000000"];
    let text = String::from_utf8(data.run(&arguments).stdout_of_success()).unwrap();
    for line in ["test: produce", "topic: perf-2000000-1", "durability: synced", "batch_bytes: 5000000", "records: 3"] {
        assert!(text.lines().any(|printed| printed == line), "{line}: {text}");
    }
    assert_eq!(data.json(&["perf", "consume", "--json"])[0]["records"], 3);
}
