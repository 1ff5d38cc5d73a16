//! `logstead produce`.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::support::Data;

#[test]
fn lines_come_out_as_they_went_in() {
    let cases: &[(&[u8], &[u8])] = &[
        (b"", b""),
        (b"\n", b"\n"),
        (b"\n\n\n", b"\n\n\n"),
        (b"one\ntwo\n", b"one\ntwo\n"),
        (b"no newline at the end", b"no newline at the end\n"),
        (b"a\r\nb\r", b"a\r\nb\r\n"),
        (b"\r\n", b"\r\n"),
        (b"nul \0 in the middle\n\0\n", b"nul \0 in the middle\n\0\n"),
        (b"\xff\xfe not UTF-8 \xc3\x28\n", b"\xff\xfe not UTF-8 \xc3\x28\n"),
        ("\u{2028} is no newline\x0b\x0c here\n".as_bytes(), "\u{2028} is no newline\x0b\x0c here\n".as_bytes()),
        (b"  blanks \t\n", b"  blanks \t\n"),
    ];
    let data = Data::with_topic("lines", 1);
    let mut expected = Vec::new();
    for (input, output) in cases {
        data.produce("lines", input);
        expected.extend_from_slice(output);
        assert_eq!(data.values("lines"), expected, "{input:?}");
    }
}

#[test]
fn a_line_of_a_mebibyte_comes_back_with_a_key_as_well() {
    let data = Data::with_topic("lines", 1);
    let long = vec![b'a'; 1 << 20];
    let mut expected = Vec::new();
    for (key, rest) in [(&b""[..], &b""[..]), (b"key:", b""), (b"", b"b"), (b"key:", b"b")] {
        let line = [key, &long, rest].concat();
        data.run_with(&["produce", "lines", "--key-separator", ":"], &line).assert_silent();
        expected.extend_from_slice(&[&long[..], rest, b"\n"].concat());
        // Not assert_eq: nobody reads megabytes in a message.
        assert!(data.values("lines") == expected, "{} bytes", line.len());
    }
}

#[test]
fn a_file_is_read_like_the_standard_input() {
    let data = Data::with_topic("lines", 1);
    let file = data.path().with_file_name("lines.txt");
    fs::write(&file, b"a\n\nb").unwrap();
    data.run(&["produce", "lines", "--file", file.to_str().unwrap()]).assert_silent();
    assert_eq!(data.values("lines"), b"a\n\nb\n");
    data.run(&["produce", "lines", "--file", "/nowhere/lines.txt"]).assert_error("cannot read /nowhere/lines.txt");
}

#[test]
fn the_separator_splits_key_and_value_at_its_first_place() {
    let data = Data::with_topic("keyed", 1);
    let lines = "k::v\nk::v::w\n::v\nk::\n::\nno separator\n\nk:v\n";
    data.run_with(&["produce", "keyed", "--key-separator", "::"], lines.as_bytes()).assert_silent();
    let records = data.json(&["consume", "keyed", "--format", "json"]);
    let pairs: Vec<_> = records.iter().map(|record| (record["key"].clone(), record["value"].clone())).collect();
    let expected = [
        (json!("k"), json!("v")),
        (json!("k"), json!("v::w")),
        (json!(""), json!("v")),
        (json!("k"), json!("")),
        (json!(""), json!("")),
        (Value::Null, json!("no separator")),
        (Value::Null, json!("")),
        (Value::Null, json!("k:v")),
    ];
    assert_eq!(pairs, expected);
}

#[test]
fn without_a_separator_there_are_no_keys() {
    let data = Data::with_topic("lines", 1);
    data.produce("lines", b"k:v\n");
    let record = data.json(&["consume", "lines", "--format", "json"]).remove(0);
    assert_eq!((&record["key"], &record["value"]), (&Value::Null, &json!("k:v")));
}

#[test]
fn the_topics_limit_alone_says_how_long_a_line_may_be() {
    let data = Data::new();
    let create = ["topics", "create", "wide", "--partitions", "1", "--config", "max.message.bytes=3000000"];
    data.run(&create).assert_silent();
    let mut line = vec![b'x'; 2_900_000];
    line.push(b'\n');
    data.produce("wide", &line);
    assert!(data.values("wide") == line);
}

#[test]
fn a_line_over_the_limit_is_refused_and_what_came_before_it_stays() {
    let data = Data::new();
    let create = ["topics", "create", "narrow", "--partitions", "1", "--config", "max.message.bytes=1000"];
    data.run(&create).assert_silent();
    let long = "x".repeat(1001);
    let run = data.run_with(&["produce", "narrow", "--print-acks"], format!("a\nb\n{long}\n").as_bytes());
    assert_eq!((run.code, run.stdout.as_slice()), (1, &b"narrow-0@0\nnarrow-0@1\n"[..]));
    assert!(run.stderr.starts_with("error: line 3: ") && run.stderr.contains("max.message.bytes = 1000"), "{run:?}");
    assert_eq!(data.values("narrow"), b"a\nb\n");
}

#[test]
fn a_key_keeps_its_partition_and_its_order() {
    let data = Data::with_topic("keyed", 4);
    let lines: String = (0..5000).map(|number| format!("key-{}:{number}\n", number % 13)).collect();
    let arguments = ["produce", "keyed", "--key-separator", ":", "--batch-bytes", "300"];
    data.run_with(&arguments, lines.as_bytes()).assert_silent();
    let mut by_key: BTreeMap<String, Vec<(i64, i64)>> = BTreeMap::new();
    let mut next_offsets: BTreeMap<i64, i64> = BTreeMap::new();
    for record in data.json(&["consume", "keyed", "--format", "json"]) {
        let partition = record["partition"].as_i64().unwrap();
        let next = next_offsets.entry(partition).or_default();
        assert_eq!(record["offset"].as_i64(), Some(*next), "partition {partition}");
        *next += 1;
        let number = record["value"].as_str().unwrap().parse().unwrap();
        by_key.entry(record["key"].as_str().unwrap().to_owned()).or_default().push((partition, number));
    }
    assert_eq!((by_key.len(), by_key.values().map(Vec::len).sum::<usize>()), (13, 5000));
    assert!(next_offsets.len() > 1, "one partition has them all");
    for (key, records) in by_key {
        assert!(records.iter().all(|(partition, _)| *partition == records[0].0), "{key}");
        assert!(records.windows(2).all(|pair| pair[0].1 < pair[1].1), "{key}");
    }
}

#[test]
fn a_partition_can_be_chosen_and_must_exist() {
    let data = Data::with_topic("lines", 3);
    let run = data.run_with(&["produce", "lines", "--partition", "2", "--print-acks"], b"a\nb\n");
    assert_eq!(run.stdout_of_success(), b"lines-2@0\nlines-2@1\n");
    let run = data.run_with(&["produce", "lines", "--partition", "3"], b"a\n");
    run.assert_error("unknown partition 3 of topic lines");
}

#[test]
fn acknowledgements_are_printed_for_every_line_in_the_order_of_the_input() {
    let data = Data::with_topic("lines", 3);
    let lines: String = (0..20_000).map(|number| format!("{number}\n")).collect();
    let arguments = ["produce", "lines", "--print-acks", "--key-separator", "1"];
    let printed = data.run_with(&arguments, lines.as_bytes()).stdout_of_success();
    let printed = String::from_utf8(printed).unwrap();
    let mut placed = BTreeMap::new();
    for record in data.json(&["consume", "lines", "--format", "json"]) {
        let place = format!("lines-{}@{}", record["partition"], record["offset"]);
        let line = match record["key"].as_str() {
            Some(key) => format!("{key}1{}", record["value"].as_str().unwrap()),
            None => record["value"].as_str().unwrap().to_owned(),
        };
        placed.insert(place, line);
    }
    assert_eq!((printed.lines().count(), placed.len()), (20_000, 20_000));
    for (place, line) in printed.lines().zip(lines.lines()) {
        assert_eq!(placed.get(place).map(String::as_str), Some(line), "{place}");
    }
}

#[test]
fn a_line_is_acknowledged_while_the_input_stays_open() {
    let data = Data::with_topic("lines", 1);
    let mut producer = data.start(&["produce", "lines", "--print-acks", "--linger-ms", "50"]);
    for number in 0..20 {
        producer.write(format!("{number}\n").as_bytes());
        assert_eq!(producer.read_line(), format!("lines-0@{number}\n"));
    }
    producer.write(b"no newline");
    assert_eq!(producer.finish(), 0);
    assert!(data.values("lines").ends_with(b"19\nno newline\n"));
}

#[test]
fn a_line_is_written_after_its_linger_although_nobody_asks_for_it() {
    let data = Data::with_topic("lines", 1);
    let mut producer = data.start(&["produce", "lines", "--linger-ms", "1"]);
    let mut follower = data.start(&["consume", "lines", "--follow", "--from-beginning"]);
    for number in 0..5 {
        producer.write(format!("{number}\n").as_bytes());
        assert_eq!(follower.read_line(), format!("{number}\n"));
    }
    assert_eq!(producer.finish(), 0);
}

#[test]
fn lines_share_a_batch_while_they_linger_and_the_end_of_the_input_ends_that() {
    let data = Data::with_topic("lines", 1);
    let mut producer = data.start(&["produce", "lines", "--linger-ms", "3600000"]);
    let lines: Vec<_> = (0..300).map(|number| format!("{number}\n")).collect();
    for line in &lines {
        producer.write(line.as_bytes());
    }
    assert_eq!(producer.finish(), 0);
    assert_eq!(data.values("lines"), lines.concat().as_bytes());
    let log = data.path().join("lines-0/00000000000000000000.log");
    let batches = data.json(&["dump", "--json", log.to_str().unwrap()]);
    assert_eq!(batches.iter().map(|batch| batch["count"].clone()).collect::<Vec<_>>(), [json!(300)]);
}

#[test]
fn nobody_who_stops_reading_acknowledgements_stops_the_records() {
    let data = Data::with_topic("lines", 1);
    let mut producer = data.start(&["produce", "lines", "--print-acks"]);
    producer.write(b"0\n");
    assert_eq!(producer.read_line(), "lines-0@0\n");
    let mut stdin = producer.take_stdin();
    let lines: String = (1..30_000).map(|number| format!("{number}\n")).collect();
    let code = std::thread::scope(|scope| {
        scope.spawn(move || std::io::Write::write_all(&mut stdin, lines.as_bytes()).unwrap());
        producer.finish_unread()
    });
    assert_eq!(code, 0);
    assert!(data.values("lines").ends_with(b"\n29998\n29999\n"));
}

#[test]
fn every_kind_of_acknowledgement_delivers() {
    let data = Data::with_topic("lines", 1);
    let lines: String = (0..3000).map(|number| format!("{number}\n")).collect();
    for (round, acks) in (1..).zip(["0", "1", "all"]) {
        data.run_with(&["produce", "lines", "--acks", acks], lines.as_bytes()).assert_silent();
        assert_eq!(data.values("lines"), lines.repeat(round).as_bytes(), "{acks}");
    }
}

#[test]
fn every_codec_works() {
    let data = Data::with_topic("lines", 1);
    let mut expected = Vec::new();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let line = format!("compressed with {codec}\n");
        data.run_with(&["produce", "lines", "--compression", codec], line.as_bytes()).assert_silent();
        expected.extend_from_slice(line.as_bytes());
        assert_eq!(data.values("lines"), expected, "{codec}");
    }
}

#[test]
fn a_topics_own_codec_wins() {
    let data = Data::with_topic("lines", 1);
    data.run(&["topics", "alter", "lines", "--config", "compression.type=zstd"]).assert_silent();
    data.run_with(&["produce", "lines", "--compression", "gzip"], b"value\n").assert_silent();
    assert_eq!(data.values("lines"), b"value\n");
    let file = data.path().join("lines-0/00000000000000000000.log");
    let batches = data.json(&["dump", file.to_str().unwrap(), "--json"]);
    let codecs: Vec<_> = batches.iter().filter_map(|batch| batch["compression"].as_str()).collect();
    assert_eq!(codecs, ["zstd"]);
}
