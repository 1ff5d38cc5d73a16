//! `logstead topics`.

use serde_json::json;

use crate::support::Data;

#[test]
fn topics_are_listed_by_name() {
    let data = Data::with_topic("orders", 2);
    data.run(&["topics", "create", "customers", "--partitions", "1"]).assert_silent();
    assert_eq!(data.run(&["topics", "list"]).stdout_of_success(), b"customers\norders\n");
    let listed = data.json(&["topics", "list", "--json"]);
    assert_eq!((&listed[0]["name"], &listed[0]["partitions"]), (&json!("customers"), &json!(1)));
    assert_eq!((&listed[1]["name"], &listed[1]["partitions"]), (&json!("orders"), &json!(2)));
    let ids: Vec<_> = listed.iter().map(|topic| topic["topic_id"].as_str().unwrap()).collect();
    assert!(ids.iter().all(|id| id.len() == 22) && ids[0] != ids[1], "{ids:?}");
    assert!(listed.iter().all(|topic| topic.as_object().unwrap().len() == 3));
}

#[test]
fn a_topic_is_described_with_what_was_configured_and_where_its_partitions_stand() {
    let data = Data::new();
    let create = ["topics", "create", "orders", "--partitions", "2", "--config", "max.message.bytes=2000"];
    data.run(&create).assert_silent();
    data.run_with(&["produce", "orders", "--partition", "1"], b"a\nb\nc\n").assert_silent();
    let described = data.json(&["topics", "describe", "orders", "--json"]);
    assert_eq!(described.len(), 1);
    assert_eq!(described[0]["name"], "orders");
    assert_eq!(described[0]["configs"], json!({"max.message.bytes": "2000"}));
    let partitions = described[0]["partitions"].as_array().unwrap();
    assert_eq!((partitions.len(), &partitions[0]["partition"], &partitions[1]["partition"]), (2, &json!(0), &json!(1)));
    for name in ["high_watermark", "last_stable_offset", "log_end_offset"] {
        assert_eq!((&partitions[0][name], &partitions[1][name]), (&json!(0), &json!(3)), "{name}");
    }
    assert_eq!(partitions[1]["log_start_offset"], 0);
    assert_eq!(partitions[1]["segment_count"], 1);
    assert!(partitions[1]["size_in_bytes"].as_u64().unwrap() > 61);
    let text = String::from_utf8(data.run(&["topics", "describe", "orders"]).stdout_of_success()).unwrap();
    assert!(text.starts_with("topic: orders topic_id: ") && text.lines().count() == 4, "{text}");
    assert!(text.contains("  config: max.message.bytes=2000\n"), "{text}");
    let size = partitions[1]["size_in_bytes"].as_u64().unwrap();
    let line = format!(
        "  partition: 1 leader: 0 leader_epoch: {} replicas: 0 in_sync_replicas: 0 log_start_offset: 0 \
         high_watermark: 3 last_stable_offset: 3 log_end_offset: 3 size_in_bytes: {size} segment_count: 1\n",
        partitions[1]["leader_epoch"]
    );
    assert!(text.ends_with(&line), "{text}");
}

#[test]
fn describing_without_a_name_describes_all() {
    let data = Data::with_topic("orders", 1);
    data.run(&["topics", "create", "customers", "--partitions", "3"]).assert_silent();
    let described = data.json(&["topics", "describe", "--json"]);
    let of =
        |index: usize| (described[index]["name"].clone(), described[index]["partitions"].as_array().unwrap().len());
    assert_eq!((of(0), of(1), described.len()), ((json!("customers"), 3), (json!("orders"), 1), 2));
}

#[test]
fn a_topic_that_nobody_wrote_to_is_described_and_read_as_empty() {
    let data = Data::with_topic("orders", 2);
    let described = data.json(&["topics", "describe", "orders", "--json"]);
    let partitions = described[0]["partitions"].as_array().unwrap();
    assert!(partitions.len() == 2 && partitions.iter().all(|partition| partition["log_end_offset"] == 0));
    assert_eq!(data.values("orders"), b"");
}

#[test]
fn altering_sets_and_resets_a_configuration_and_adds_partitions() {
    let data = Data::with_topic("orders", 1);
    let describe = || data.json(&["topics", "describe", "orders", "--json"]).remove(0);
    let set = ["topics", "alter", "orders", "--config", "max.message.bytes=2000", "--config", "segment.ms=60000"];
    data.run(&set).assert_silent();
    assert_eq!(describe()["configs"], json!({"max.message.bytes": "2000", "segment.ms": "60000"}));
    data.run(&["topics", "alter", "orders", "--config", "segment.ms=", "--partitions", "3"]).assert_silent();
    assert_eq!(describe()["configs"], json!({"max.message.bytes": "2000"}));
    assert_eq!(describe()["partitions"].as_array().unwrap().len(), 3);
    data.run(&["topics", "alter", "orders", "--partitions", "2"]).assert_error("cannot have 2 partitions");
    data.run(&["topics", "alter", "orders", "--config", "segment.sm=1"]).assert_error("segment.ms");
    assert_eq!(describe()["configs"], json!({"max.message.bytes": "2000"}));
}

#[test]
fn unless_somebody_says_otherwise_a_topic_is_synced() {
    let data = Data::with_topic("orders", 1);
    data.run(&["topics", "create", "fast", "--partitions", "1", "--config", "flush.messages=2"])
        .assert_error("flush.messages");
    let no_sync = ["topics", "create", "fast", "--partitions", "1", "--config", "flush.messages=9223372036854775807"];
    data.run(&no_sync).assert_silent();
    let described = data.json(&["topics", "describe", "--json"]);
    let configs = |index: usize| described[index]["configs"].as_object().unwrap();
    assert_eq!(configs(0)["flush.messages"], "9223372036854775807");
    assert!(!configs(1).contains_key("flush.messages"));
}

#[test]
fn unless_somebody_says_otherwise_a_topic_takes_batches_of_4_mib_and_shows_it() {
    let data = Data::with_topic("orders", 1);
    let kafkas = ["topics", "create", "plain", "--partitions", "1", "--config", "max.message.bytes=1048588"];
    data.run(&kafkas).assert_silent();
    let configs = || {
        let described = data.json(&["topics", "describe", "--json"]);
        (described[0]["configs"].clone(), described[1]["configs"].clone())
    };
    assert_eq!(configs(), (json!({"max.message.bytes": "4194304"}), json!({})));
    data.run(&["topics", "alter", "orders", "--config", "max.message.bytes="]).assert_silent();
    assert_eq!(configs(), (json!({}), json!({})));
}

#[test]
fn an_alteration_that_is_refused_changes_nothing() {
    let data = Data::with_topic("orders", 2);
    let before = data.run(&["topics", "describe", "orders"]).stdout_of_success();
    for (config, partitions) in [
        ("segment.bytes=67108864", "1"),
        ("segment.bytes=67108864", "2"),
        ("segment.bytes=-1", "3"),
        ("segment.byte=", "3"),
        ("segment.byte=1", "3"),
    ] {
        let run = data.run(&["topics", "alter", "orders", "--config", config, "--partitions", partitions]);
        assert_eq!(run.code, 1, "{config} {partitions}");
        let after = data.run(&["topics", "describe", "orders"]).stdout_of_success();
        assert!(after == before, "{config} {partitions}: {}", String::from_utf8_lossy(&after));
    }
}

#[test]
fn a_deleted_topic_is_gone_and_its_name_free() {
    let data = Data::with_topic("orders", 1);
    data.produce("orders", b"old\n");
    let id = |data: &Data| data.json(&["topics", "list", "--json"])[0]["topic_id"].clone();
    let old = id(&data);
    data.run(&["topics", "delete", "orders"]).assert_silent();
    assert_eq!(data.run(&["topics", "list"]).stdout_of_success(), b"");
    data.run(&["consume", "orders"]).assert_error("unknown topic \"orders\"");
    data.run(&["topics", "delete", "orders"]).assert_error("unknown topic \"orders\"");
    data.run(&["topics", "create", "orders", "--partitions", "1"]).assert_silent();
    assert_ne!(id(&data), old);
    assert_eq!(data.values("orders"), b"");
}

#[test]
fn what_the_library_refuses_is_told_and_nothing_is_made() {
    let data = Data::with_topic("orders.new", 1);
    let create =
        |name: &str, config: &str| data.run(&["topics", "create", name, "--partitions", "1", "--config", config]);
    create("orders.new", "segment.ms=60000").assert_error("orders.new exists already");
    create("orders_new", "segment.ms=60000").assert_error("orders.new exists already");
    create("other", "segmet.ms=60000").assert_error("the nearest known key is segment.ms");
    create("other", "segment.ms=-5").assert_error("segment.ms: -5 is out of range");
    create("other", "segment.ms=").assert_error("segment.ms");
    data.run(&["topics", "create", "other", "--partitions", "2000000000"]).assert_error("2000000000");
    assert_eq!(data.run(&["topics", "list"]).stdout_of_success(), b"orders.new\n");
}

#[test]
fn an_unknown_topic_comes_with_the_nearest_name() {
    let data = Data::with_topic("orders", 1);
    for arguments in [
        &["topics", "describe", "order"][..],
        &["topics", "alter", "order", "--partitions", "2"],
        &["topics", "delete", "order"],
        &["produce", "order"],
        &["consume", "order"],
    ] {
        data.run(arguments).assert_error("unknown topic \"order\"; the nearest existing one is orders");
    }
}

#[test]
fn while_one_process_owns_the_folder_others_may_look_but_not_change() {
    let data = Data::with_topic("orders", 1);
    let mut owner = data.start(&["produce", "orders", "--print-acks"]);
    owner.write(b"a\n");
    assert_eq!(owner.read_line(), "orders-0@0\n");
    assert_eq!(data.run(&["topics", "list"]).stdout_of_success(), b"orders\n");
    assert_eq!(data.json(&["topics", "describe", "--json"])[0]["partitions"][0]["high_watermark"], 1);
    assert_eq!(data.values("orders"), b"a\n");
    for arguments in [
        &["topics", "create", "other", "--partitions", "1"][..],
        &["topics", "delete", "orders"],
        &["produce", "orders"],
        &["perf", "produce", "--records", "1", "--record-size", "1"],
    ] {
        data.run(arguments).assert_error("is already open");
    }
    owner.write(b"b\n");
    assert_eq!(owner.read_line(), "orders-0@1\n");
    assert_eq!(owner.finish(), 0);
    assert_eq!(data.values("orders"), b"a\nb\n");
}
