//! `logstead configs`.

use serde_json::{Value, json};

use crate::support::Data;

fn describe(data: &Data) -> Vec<Value> {
    data.json(&["configs", "describe", "orders", "--json"])
}

fn entry(data: &Data, key: &str) -> (Value, Value) {
    let entry = describe(data).into_iter().find(|entry| entry["key"] == key).unwrap();
    (entry["value"].clone(), entry["source"].clone())
}

#[test]
fn every_key_is_described_with_its_value_and_where_it_comes_from() {
    let data = Data::with_topic("orders", 1);
    let all = describe(&data);
    assert!(all.len() >= 11 && all.iter().all(|entry| entry.as_object().unwrap().len() == 7), "{all:?}");
    assert!(all.iter().all(|entry| entry["documentation"].as_str().is_some_and(|text| text.ends_with('.'))));
    let segment = all.iter().find(|entry| entry["key"] == "segment.bytes").unwrap();
    assert_eq!((&segment["default"], &segment["unit"]), (&json!("1073741824"), &json!("bytes")));
    assert_eq!(segment["accepts"], "14 to 2147483647");
    assert_eq!(entry(&data, "segment.bytes"), (json!("1073741824"), json!("default")));
    assert_eq!(entry(&data, "flush.messages"), (json!("1"), json!("default")));
    assert_eq!(entry(&data, "retention.ms"), (json!("-1"), json!("default")));
    assert_eq!(entry(&data, "max.message.bytes"), (json!("4194304"), json!("set")));
    let text = String::from_utf8(data.run(&["configs", "describe", "orders"]).stdout_of_success()).unwrap();
    assert_eq!(text.lines().count(), all.len());
    assert!(text.contains("segment.bytes=1073741824 default\n") && text.contains("max.message.bytes=4194304 set\n"));
}

#[test]
fn keys_are_set_and_set_back_all_at_once_or_none() {
    let data = Data::with_topic("orders", 1);
    let alter = |arguments: &[&str]| data.run(&[&["configs", "alter", "orders"], arguments].concat());
    alter(&["--config", "segment.bytes=67108864", "--config", "segment.ms=60000"]).assert_silent();
    assert_eq!(entry(&data, "segment.bytes"), (json!("67108864"), json!("set")));
    alter(&["--config", "segment.bytes=99", "--delete-config", "segment.ms", "--delete-config", "max.message.bytes"])
        .assert_silent();
    assert_eq!(entry(&data, "segment.bytes"), (json!("99"), json!("set")));
    assert_eq!(entry(&data, "segment.ms"), (json!("604800000"), json!("default")));
    assert_eq!(entry(&data, "max.message.bytes"), (json!("1048588"), json!("default")));
    let before = describe(&data);
    alter(&["--config", "segment.ms=5", "--config", "segment.bytes=1"])
        .assert_error("segment.bytes: 1 is out of range");
    alter(&["--config", "segment.ms=5", "--delete-config", "segment.ms"]).assert_error("given more than once");
    alter(&["--delete-config", "segment.byte"]).assert_error("the nearest known key is segment.bytes");
    data.run(&["configs", "alter", "order", "--delete-config", "segment.ms"]).assert_error("is orders");
    data.run(&["configs", "describe", "order"]).assert_error("is orders");
    assert_eq!(describe(&data), before);
}

#[test]
fn configurations_are_described_while_another_process_writes() {
    let data = Data::with_topic("orders", 1);
    let mut owner = data.start(&["produce", "orders", "--print-acks"]);
    owner.write(b"a\n");
    assert_eq!(owner.read_line(), "orders-0@0\n");
    assert!(!describe(&data).is_empty());
    data.run(&["configs", "alter", "orders", "--delete-config", "segment.ms"]).assert_error("is already open");
    assert_eq!(owner.finish(), 0);
}
