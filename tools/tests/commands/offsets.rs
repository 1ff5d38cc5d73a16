//! `logstead offsets` and `logstead records`.

use serde_json::{Value, json};

use crate::support::Data;

/// A topic whose partition 1 has three records, and the time of the first.
fn data() -> (Data, i64) {
    let data = Data::with_topic("orders", 2);
    data.run_with(&["produce", "orders", "--partition", "1"], b"a\nb\nc\n").assert_silent();
    let read = data.json(&["consume", "orders", "--format", "json"]);
    let first = read[0]["timestamp"].as_i64().unwrap();
    (data, first)
}

fn at(data: &Data, spec: &str) -> Vec<Value> {
    let all = data.json(&["offsets", "orders", "--at", spec, "--json"]);
    assert!(
        all.iter()
            .enumerate()
            .all(|(number, answer)| answer["partition"] == number && answer.as_object().unwrap().len() == 4)
    );
    all
}

#[test]
fn every_partition_answers_with_its_bounds() {
    let (data, _) = data();
    let (earliest, latest) = (at(&data, "earliest"), at(&data, "latest"));
    assert_eq!((&earliest[0]["offset"], &earliest[1]["offset"]), (&json!(0), &json!(0)));
    assert_eq!((&latest[0]["offset"], &latest[1]["offset"]), (&json!(0), &json!(3)));
    assert!(earliest.iter().chain(&latest).all(|answer| answer["timestamp"].is_null()));
    assert!(earliest[1]["leader_epoch"].is_i64());
    let text = data.run(&["offsets", "orders", "--at", "latest"]).stdout_of_success();
    let expected = format!(
        "partition: 0 offset: 0 timestamp: none leader_epoch: none\n\
         partition: 1 offset: 3 timestamp: none leader_epoch: {}\n",
        latest[1]["leader_epoch"]
    );
    assert_eq!(String::from_utf8(text).unwrap(), expected);
}

#[test]
fn records_are_found_by_time() {
    let (data, first) = data();
    let found = at(&data, &first.to_string());
    assert_eq!(
        (&found[0]["offset"], &found[0]["timestamp"], &found[0]["leader_epoch"]),
        (&json!(null), &json!(null), &json!(null))
    );
    assert_eq!((&found[1]["offset"], &found[1]["timestamp"]), (&json!(0), &json!(first)));
    assert_eq!(at(&data, "1970-01-01T00:00:00Z")[1]["offset"], 0);
    assert_eq!(at(&data, "9223372036854775807")[1]["offset"], json!(null));
    let newest = &at(&data, "max-timestamp")[1];
    let read = data.json(&["consume", "orders", "--format", "json"]);
    let largest = read.iter().map(|record| record["timestamp"].as_i64().unwrap()).max();
    assert_eq!(newest["timestamp"].as_i64(), largest);
    let one = data.json(&["offsets", "orders", "--at", "latest", "--partition", "1", "--json"]);
    assert_eq!((one.len(), &one[0]["partition"], &one[0]["offset"]), (1, &json!(1), &json!(3)));
    data.run(&["offsets", "orders", "--at", "latest", "--partition", "2"])
        .assert_error("unknown partition 2 of topic orders");
    data.run(&["offsets", "order", "--at", "latest"]).assert_error("the nearest existing one is orders");
}

#[test]
fn offsets_are_told_while_another_process_writes() {
    let data = Data::with_topic("orders", 1);
    let mut owner = data.start(&["produce", "orders", "--print-acks"]);
    owner.write(b"a\n");
    assert_eq!(owner.read_line(), "orders-0@0\n");
    assert_eq!(at(&data, "latest")[0]["offset"], 1);
    assert_eq!(at(&data, "max-timestamp")[0]["offset"], 0);
    data.run(&["records", "delete", "orders", "--partition", "0", "--before", "1"]).assert_error("is already open");
    assert_eq!(owner.finish(), 0);
}

#[test]
fn records_are_deleted_up_to_an_offset_or_all_of_them() {
    let (data, _) = data();
    let delete = |before: &str| data.run(&["records", "delete", "orders", "--partition", "1", "--before", before]);
    assert_eq!(delete("1").stdout_of_success(), b"1\n");
    assert_eq!(data.values("orders"), b"b\nc\n");
    assert_eq!(at(&data, "earliest")[1]["offset"], 1);
    assert_eq!(delete("0").stdout_of_success(), b"1\n");
    delete("4").assert_error("4");
    assert_eq!(data.values("orders"), b"b\nc\n");
    assert_eq!(delete("-1").stdout_of_success(), b"3\n");
    assert_eq!(data.values("orders"), b"");
    assert_eq!((&at(&data, "earliest")[1]["offset"], &at(&data, "latest")[1]["offset"]), (&json!(3), &json!(3)));
    data.run(&["records", "delete", "orders", "--partition", "2", "--before", "0"])
        .assert_error("unknown partition 2 of topic orders");
    data.run(&["records", "delete", "order", "--partition", "0", "--before", "0"]).assert_error("is orders");
}
