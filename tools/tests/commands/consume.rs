//! `logstead consume`.

use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use logstead::cluster::Cluster;
use logstead::config::TopicConfig;
use logstead::producer::Record;
use logstead::types::Timestamp;

use crate::support::{Data, Run};

/// Partition 0 holds a0 to a9, at 1,000 ms to 10,000 ms; partition 1 holds b0 to b4, at the same times.
fn two_partitions() -> Data {
    let data = Data::new();
    let cluster = Cluster::open(data.path()).unwrap();
    cluster.create_topic("places", TopicConfig::new().partitions(2)).unwrap();
    let producer = cluster.producer().build().unwrap();
    for (partition, letter, count) in [(0, 'a', 10), (1, 'b', 5)] {
        for number in 0..count {
            let value = format!("{letter}{number}");
            let record = Record::to("places").partition(partition).value(&value);
            producer.send(record.timestamp(Timestamp::from_millis(1000 * (number + 1)))).unwrap();
        }
    }
    producer.close().unwrap();
    cluster.close().unwrap();
    data
}

/// The values that are read, partition by partition.
fn read(data: &Data, options: &[&str]) -> String {
    let printed = data.run(&[&["consume", "places"], options].concat()).stdout_of_success();
    let mut values: Vec<_> = String::from_utf8(printed).unwrap().lines().map(str::to_owned).collect();
    assert!(values.iter().filter(|value| value.starts_with('a')).is_sorted());
    assert!(values.iter().filter(|value| value.starts_with('b')).is_sorted());
    values.sort();
    values.join(" ")
}

#[test]
fn reading_begins_where_it_is_told_to() {
    let data = two_partitions();
    assert_eq!(read(&data, &[]), "a0 a1 a2 a3 a4 a5 a6 a7 a8 a9 b0 b1 b2 b3 b4");
    assert_eq!(read(&data, &["--from-beginning", "--partition", "1"]), "b0 b1 b2 b3 b4");
    assert_eq!(read(&data, &["--offset", "4"]), "a4 a5 a6 a7 a8 a9 b4");
    assert_eq!(read(&data, &["--offset", "5"]), "a5 a6 a7 a8 a9");
    assert_eq!(read(&data, &["--partition", "0", "--offset", "10"]), "");
    assert_eq!(read(&data, &["--last", "2"]), "a8 a9 b3 b4");
    assert_eq!(read(&data, &["--last", "7"]), "a3 a4 a5 a6 a7 a8 a9 b0 b1 b2 b3 b4");
    assert_eq!(read(&data, &["--last", "0"]), "");
    assert_eq!(read(&data, &["--from-time", "4001"]), "a4 a5 a6 a7 a8 a9 b4");
    assert_eq!(read(&data, &["--from-time", "1970-01-01T00:00:09Z"]), "a8 a9");
    assert_eq!(read(&data, &["--from-time", "2026-01-02T03:04:05Z"]), "");
    assert_eq!(read(&data, &["--from-time", "0"]), read(&data, &[]));
}

#[test]
fn an_offset_out_of_range_is_an_error_that_tells_the_range() {
    let data = two_partitions();
    let range = "places-1: offset 6 is out of range; the log holds 0 up to (not including) 5";
    data.run(&["consume", "places", "--offset", "6"]).assert_error(range);
    data.run(&["consume", "places", "--offset", "6", "--partition", "1", "--follow"]).assert_error(range);
    data.run(&["consume", "places", "--partition", "2"]).assert_error("unknown partition 2 of topic places");
}

/// Kafka's partition with a batch of every codec, which becomes a topic when the folder is opened.
fn every_codec() -> Data {
    let data = Data::new();
    let folder = data.path().join("codecs-0");
    fs::create_dir_all(&folder).unwrap();
    fs::write(data.path().join("meta.properties"), "version=1\ncluster.id=the-cluster\nnode.id=1\n").unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/kafka-4.0/codecs-0");
    for entry in fs::read_dir(fixtures).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    let cluster = Cluster::open(data.path()).unwrap();
    // Logs are opened when they are used.
    let mut consumer = cluster.consumer().topic("codecs").build().unwrap();
    assert_eq!(consumer.poll(Duration::ZERO).unwrap().len(), 20);
    cluster.close().unwrap();
    data
}

#[test]
fn compressed_records_are_printed_like_others() {
    let data = every_codec();
    let text = String::from_utf8(data.values("codecs")).unwrap();
    let expected: Vec<_> = ["none", "gzip", "snappy", "lz4", "zstd"]
        .iter()
        .flat_map(|codec| (0..4).map(move |number| format!("{codec} {number}")))
        .collect();
    let ends: Vec<_> = text.lines().map(|line| line.rsplit("; ").next().unwrap()).collect();
    assert_eq!(ends, expected);
    let lines = data.json(&["consume", "codecs", "--format", "json", "--offset", "14"]);
    let keys: Vec<_> = lines.iter().map(|line| line["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["lz4-2", "lz4-3", "zstd-0", "zstd-1", "zstd-2", "zstd-3"]);
    assert_eq!(
        (&lines[0]["timestamp"], &lines[0]["headers"][0]["value"]),
        (&1_700_000_000_002_i64.into(), &"lz4".into())
    );
}

#[test]
fn no_more_than_the_wanted_number_is_read() {
    let data = two_partitions();
    assert_eq!(read(&data, &["--partition", "0", "--max-records", "3"]), "a0 a1 a2");
    assert_eq!(read(&data, &["--max-records", "7"]).split(' ').count(), 7);
    assert_eq!(read(&data, &["--max-records", "0"]), "");
    assert_eq!(read(&data, &["--max-records", "100", "--last", "1"]), "a9 b4");
    let options = ["--partition", "1", "--offset", "1", "--follow", "--max-records", "2"];
    assert_eq!(read(&data, &options), "b1 b2");
}

#[test]
fn a_record_is_json_with_null_apart_from_empty_and_bytes_in_base64() {
    let data = Data::new();
    let cluster = Cluster::open(data.path()).unwrap();
    cluster.create_topic("shapes", TopicConfig::new()).unwrap();
    let producer = cluster.producer().build().unwrap();
    let to = || Record::to("shapes").timestamp(Timestamp::from_millis(1_700_000_000_000));
    producer.send(to().key("k\u{e9}y").value("say \"hi\"\n")).unwrap();
    producer.send(to()).unwrap();
    producer.send(to().key("").value("")).unwrap();
    producer.send(to().key(&[0xff_u8, 0]).value(&[0x80_u8])).unwrap();
    let with_headers = to().header("trace", "1").header_without_value("none").header("raw", &[0xfe_u8]);
    producer.send(with_headers.header("trace", "")).unwrap();
    producer.close().unwrap();
    cluster.close().unwrap();
    let printed = data.run(&["consume", "shapes", "--format", "json"]).stdout_of_success();
    let front = |offset| format!(r#"{{"topic":"shapes","partition":0,"offset":{offset},"timestamp":1700000000000,"#);
    let rests = [
        "\"key\":\"k\u{e9}y\",\"value\":\"say \\\"hi\\\"\\n\",\"headers\":[]}",
        r#""key":null,"value":null,"headers":[]}"#,
        r#""key":"","value":"","headers":[]}"#,
        r#""key_base64":"/wA=","value_base64":"gA==","headers":[]}"#,
        concat!(
            r#""key":null,"value":null,"headers":[{"key":"trace","value":"1"},{"key":"none","value":null},"#,
            r#"{"key":"raw","value_base64":"/g=="},{"key":"trace","value":""}]}"#
        ),
    ];
    let expected: String =
        rests.iter().enumerate().map(|(offset, rest)| format!("{}{rest}\n", front(offset))).collect();
    assert_eq!(String::from_utf8(printed).unwrap(), expected);
    let text = data.run(&["consume", "shapes", "--max-records", "3"]).stdout_of_success();
    assert_eq!(text, b"say \"hi\"\n\n\n\n");
}

#[test]
fn following_shows_records_one_by_one_as_they_come() {
    let data = Data::with_topic("lines", 1);
    let mut producer = data.start(&["produce", "lines", "--print-acks"]);
    producer.write(b"before\n");
    assert_eq!(producer.read_line(), "lines-0@0\n");
    let mut follower = data.start(&["consume", "lines", "--follow", "--from-beginning"]);
    assert_eq!(follower.read_line(), "before\n");
    for number in 1..20 {
        producer.write(format!("{number}\n").as_bytes());
        assert_eq!(producer.read_line(), format!("lines-0@{number}\n"));
        assert_eq!(follower.read_line(), format!("{number}\n"));
    }
    assert_eq!(producer.finish(), 0);
    // The next owner writes, and the follower is still there.
    data.produce("lines", b"next owner\n");
    assert_eq!(follower.read_line(), "next owner\n");
}

#[test]
fn following_without_a_place_begins_at_the_end() {
    let data = Data::with_topic("lines", 1);
    data.produce("lines", b"old\nold\n");
    let mut producer = data.start(&["produce", "lines", "--print-acks"]);
    let mut follower = data.start(&["consume", "lines", "--follow", "--max-records", "1"]);
    let (seen, first_seen) = mpsc::channel();
    let reader = thread::spawn(move || seen.send((follower.read_line(), follower.finish())).unwrap());
    // When the follower has found the end nobody can see; so lines come until it has one.
    let (line, code) = loop {
        producer.write(b"new\n");
        producer.read_line();
        if let Ok(seen) = first_seen.try_recv() {
            break seen;
        }
    };
    reader.join().unwrap();
    assert_eq!((line.as_str(), code), ("new\n", 0));
}

#[test]
fn following_a_topic_takes_in_the_partitions_that_it_gets() {
    let data = Data::with_topic("lines", 1);
    data.produce("lines", b"first\nlast\n");
    let mut from_last = data.start(&["consume", "lines", "--follow", "--last", "1", "--max-records", "4"]);
    let mut from_beginning = data.start(&["consume", "lines", "--follow", "--from-beginning", "--format", "json"]);
    assert_eq!(from_last.read_line(), "last\n");
    assert!(from_beginning.read_line().contains(r#""value":"first""#));
    assert!(from_beginning.read_line().contains(r#""value":"last""#));
    for partition in ["1", "2", "3"] {
        let total = partition.parse::<u32>().unwrap() + 1;
        data.run(&["topics", "alter", "lines", "--partitions", &total.to_string()]).assert_silent();
        let line = format!("in partition {partition}\n");
        data.run_with(&["produce", "lines", "--partition", partition], line.as_bytes()).assert_silent();
        let seen: serde_json::Value = serde_json::from_str(&from_beginning.read_line()).unwrap();
        assert_eq!(seen["partition"].to_string(), partition);
        assert_eq!(seen["offset"], 0);
        assert_eq!(seen["value"].as_str(), line.strip_suffix('\n'));
        assert_eq!(from_last.read_line(), line);
    }
    assert_eq!(from_last.finish(), 0);
}

#[test]
fn following_ends_with_an_error_when_the_topic_is_deleted() {
    for is_made_again in [false, true] {
        let data = Data::with_topic("lines", 1);
        data.produce("lines", b"before\n");
        let mut follower = data.start(&["consume", "lines", "--follow", "--from-beginning"]);
        assert_eq!(follower.read_line(), "before\n");
        data.run(&["topics", "delete", "lines"]).assert_silent();
        if is_made_again {
            data.run(&["topics", "create", "lines", "--partitions", "1"]).assert_silent();
        }
        assert_eq!(follower.read_line(), "");
        assert_eq!(follower.finish(), 1);
    }
}

#[test]
fn whoever_stops_reading_ends_the_command_without_an_error() {
    let data = Data::with_topic("lines", 1);
    let lines: String = (0..50_000).map(|number| format!("line {number}\n")).collect();
    data.produce("lines", lines.as_bytes());
    for format in ["text", "json"] {
        let mut consumer = data.start(&["consume", "lines", "--format", format]);
        assert!(consumer.read_line().contains("line 0"));
        assert_eq!(consumer.finish_unread(), 0, "{format}");
    }
}

#[test]
fn many_records_come_in_order_and_once() {
    let data = Data::with_topic("lines", 1);
    let lines: String = (0..50_000).map(|number| format!("line {number}\n")).collect();
    data.produce("lines", lines.as_bytes());
    assert!(data.values("lines") == lines.as_bytes());
}

#[test]
fn a_folder_that_does_not_exist_is_an_error() {
    let run: Run = Data::new().run(&["consume", "lines"]);
    run.assert_error("data");
}
