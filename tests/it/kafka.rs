//! Data folders that a Kafka broker wrote: `tests/fixtures/kafka-4.0-broker`, stopped in order and killed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use logstead::cluster::{Cluster, Driver};
use logstead::config::Isolation;
use logstead::consumer::{ConsumerBuilder, ConsumerRecord};
use logstead::log::{ListedOffset, OffsetSpec, ProducerEntry, TransactionIndex, decode_producer_snapshot};
use logstead::time::ManualClock;
use logstead::types::{LeaderEpoch, Offset, Timestamp, TopicPartition};

const ISOLATIONS: [Isolation; 2] = [Isolation::ReadCommitted, Isolation::ReadUncommitted];

fn fixture(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kafka-4.0-broker").join(kind)
}

fn text(kind: &str, name: &str) -> String {
    fs::read_to_string(fixture(kind).join(name)).unwrap()
}

fn is_partition(name: &str) -> bool {
    !name.starts_with("__") && TopicPartition::from_folder_name(name).is_some_and(|tp| tp.to_string() == name)
}

/// A copy of the broker's folder, with a chance to do something to every file of the topics' partitions.
fn copy(kind: &str, change: impl Fn(&Path)) -> tempfile::TempDir {
    let (source, target) = (fixture(kind).join("data"), tempfile::tempdir().unwrap());
    for entry in fs::read_dir(&source).unwrap().map(Result::unwrap) {
        let (name, to) = (entry.file_name(), target.path().join(entry.file_name()));
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to).unwrap();
            continue;
        }
        fs::create_dir(&to).unwrap();
        for file in fs::read_dir(entry.path()).unwrap().map(Result::unwrap) {
            let copied = to.join(file.file_name());
            fs::copy(file.path(), &copied).unwrap();
            if is_partition(name.to_str().unwrap()) {
                change(&copied);
            }
        }
    }
    target
}

fn ends_with(path: &Path, suffixes: &[&str]) -> bool {
    suffixes.iter().any(|suffix| path.to_str().unwrap().ends_with(suffix))
}

/// What the broker said that a question's answer is: offset, timestamp and leader epoch, each -1 where there is none.
struct Answer {
    tp: TopicPartition,
    isolation: Isolation,
    asked: String,
    numbers: [i64; 3],
}

fn answers(kind: &str) -> Vec<Answer> {
    let listed = text(kind, "offsets");
    let answer = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let number = |field: usize| fields[field].parse().unwrap();
        Answer {
            tp: TopicPartition::new(fields[0], fields[1].parse().unwrap()).unwrap(),
            isolation: ISOLATIONS.into_iter().find(|isolation| isolation.as_str() == fields[2]).unwrap(),
            asked: fields[3].to_owned(),
            numbers: [number(4), number(5), number(6)],
        }
    };
    listed.lines().map(answer).collect()
}

fn numbers(found: Option<ListedOffset>) -> [i64; 3] {
    found.map_or([-1; 3], |found| {
        let epoch = found.leader_epoch.map_or(-1, |epoch| epoch.get().into());
        [found.offset.get(), found.timestamp.map_or(-1, Timestamp::as_millis), epoch]
    })
}

fn spec(asked: &str) -> OffsetSpec {
    match asked {
        "earliest" => OffsetSpec::Earliest,
        "latest" => OffsetSpec::Latest,
        "max-timestamp" => OffsetSpec::MaxTimestamp,
        millis => OffsetSpec::Timestamp(Timestamp::from_millis(millis.parse().unwrap())),
    }
}

/// Where records were deleted, Kafka looks for a time in one segment only, and finds the largest time below the log start too
/// (see `Log::list_offset`): log starts are 7 and 20.
fn is_known_difference(tp: &TopicPartition, kafkas: &[i64; 3], ours: &[i64; 3]) -> bool {
    match tp.to_string().as_str() {
        "deleted-0" => kafkas[0] == -1 && ours[0] == 7,
        "deleted-1" => kafkas[0] == 19 && ours[0] == -1,
        _ => false,
    }
}

/// Asks what the broker was asked. The leader epoch of a place that is no record is not compared: the broker, started anew,
/// answers with the epoch under which it leads since.
fn assert_offsets(
    kind: &str,
    what: &str,
    ask: impl Fn(&TopicPartition, OffsetSpec, Isolation) -> Option<ListedOffset>,
) {
    let answers = answers(kind);
    assert!(answers.len() > 500);
    let mut wrong = Vec::new();
    for Answer { tp, isolation, asked, numbers: mut expected } in answers {
        let mut found = numbers(ask(&tp, spec(&asked), isolation));
        if matches!(spec(&asked), OffsetSpec::Earliest | OffsetSpec::Latest) {
            (expected[2], found[2]) = (-1, -1);
        }
        if found != expected && !is_known_difference(&tp, &expected, &found) {
            wrong.push(format!("{tp} {} {asked}: {found:?}, Kafka {expected:?}", isolation.as_str()));
        }
    }
    assert!(wrong.is_empty(), "{kind}, {what}:\n{}", wrong.join("\n"));
}

fn assert_offsets_in(kind: &str, what: &str, folder: &Path) {
    let cluster = Cluster::open_read_only(folder).unwrap();
    assert_offsets(kind, &format!("{what}, looked at"), |tp, spec, isolation| {
        cluster.list_offsets([(tp.clone(), spec)], isolation).unwrap()[tp]
    });
    drop(cluster);
    let cluster = Cluster::open(folder).unwrap();
    assert_offsets(kind, &format!("{what}, opened"), |tp, spec, isolation| {
        cluster.list_offsets([(tp.clone(), spec)], isolation).unwrap()[tp]
    });
    cluster.close().unwrap();
}

#[test]
fn log_starts_ends_stable_offsets_and_times_are_as_the_broker_lists_them() {
    for kind in ["clean", "killed"] {
        assert_offsets_in(kind, "as it is", copy(kind, |_| ()).path());
    }
}

#[test]
fn what_is_derived_may_be_lost_without_changing_an_offset() {
    let remove = |suffixes: &'static [&str]| {
        move |path: &Path| {
            if ends_with(path, suffixes) {
                fs::remove_file(path).unwrap();
            }
        }
    };
    for kind in ["clean", "killed"] {
        assert_offsets_in(kind, "no snapshots", copy(kind, remove(&[".snapshot"])).path());
        let all = &[".snapshot", ".index", ".timeindex", ".txnindex", "leader-epoch-checkpoint"];
        assert_offsets_in(kind, "nothing but logs", copy(kind, remove(all)).path());
    }
}

#[test]
fn damaged_snapshots_do_not_change_an_offset() {
    let damage = |path: &Path| {
        if ends_with(path, &[".snapshot"]) {
            let mut bytes = fs::read(path).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(path, bytes).unwrap();
        }
    };
    for kind in ["clean", "killed"] {
        assert_offsets_in(kind, "damaged snapshots", copy(kind, damage).path());
    }
}

#[test]
fn a_transaction_that_is_open_when_the_broker_ends_holds_back_committed_readers() {
    for (kind, open) in
        [("clean", [("transactions-0", 14)].as_slice()), ("killed", &[("transactions-0", 14), ("transactions-1", 6)])]
    {
        let folder = copy(kind, |_| ());
        let cluster = Cluster::open(folder.path()).unwrap();
        for (name, first) in open {
            let tp = TopicPartition::from_folder_name(name).unwrap();
            let latest = cluster.list_offsets([(tp.clone(), OffsetSpec::Latest)], Isolation::ReadCommitted).unwrap();
            assert_eq!(latest[&tp].unwrap().offset, Offset::from(*first), "{kind}");
        }
    }
}

/// The files of a kind, with what DumpLogSegments printed of each, a line an entry, as (name, value) pairs.
fn states(kind: &str, suffix: &str) -> BTreeMap<String, Vec<Vec<(String, String)>>> {
    let (mut states, mut current): (BTreeMap<_, Vec<_>>, Option<String>) = (BTreeMap::new(), None);
    for line in text(kind, "states").lines() {
        if let Some(name) = line.strip_prefix("Dumping ") {
            current = name.ends_with(suffix).then(|| name.to_owned());
            states.extend(current.clone().map(|name| (name, Vec::new())));
        } else if let Some(entries) = current.as_ref().and_then(|name| states.get_mut(name)) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let pair = |pair: &[&str]| (pair[0].trim_end_matches(':').to_owned(), pair[1].to_owned());
            entries.push(words.chunks(2).map(pair).collect());
        }
    }
    assert!(states.values().flatten().count() > 3);
    states
}

/// An entry of a snapshot, as DumpLogSegments prints it.
fn shown(entry: &ProducerEntry) -> Vec<(String, String)> {
    let or_minus = |number: Option<i64>| number.unwrap_or(-1).to_string();
    let transaction = entry.current_txn_first_offset;
    let mut shown = vec![
        ("producerId", entry.producer_id.to_string()),
        ("producerEpoch", or_minus(entry.epoch.map(|epoch| epoch.get().into()))),
        ("coordinatorEpoch", or_minus(entry.coordinator_epoch.map(Into::into))),
        (
            "currentTxnFirstOffset",
            transaction.map_or("OptionalLong.empty".to_owned(), |first| format!("OptionalLong[{first}]")),
        ),
        ("lastTimestamp", or_minus(entry.last_timestamp.map(Timestamp::as_millis))),
    ];
    if let Some(batch) = entry.last_batch() {
        shown.extend([
            ("firstSequence", batch.first_sequence().to_string()),
            ("lastSequence", batch.last_sequence.to_string()),
            ("lastOffset", batch.last_offset.to_string()),
            ("offsetDelta", batch.offset_delta.to_string()),
            ("timestamp", or_minus(batch.timestamp.map(Timestamp::as_millis))),
        ]);
    }
    shown.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[test]
fn producer_snapshots_say_what_kafkas_tool_reads_in_them() {
    for kind in ["clean", "killed"] {
        for (name, expected) in states(kind, ".snapshot") {
            let entries = decode_producer_snapshot(&fs::read(fixture(kind).join("data").join(&name)).unwrap()).unwrap();
            let found: Vec<_> = entries.iter().map(shown).collect();
            assert_eq!(found, expected, "{kind}/{name}");
        }
    }
}

#[test]
fn transaction_indexes_say_what_kafkas_tool_reads_in_them() {
    for kind in ["clean", "killed"] {
        for (name, expected) in states(kind, ".txnindex") {
            let bytes = fs::read(fixture(kind).join("data").join(&name)).unwrap();
            let index = TransactionIndex::from_bytes(base_of(&name), &bytes).unwrap();
            let entry = |entry: logstead::log::AbortedTransaction| {
                let numbers = [
                    ("version", 0),
                    ("producerId", entry.producer_id.get()),
                    ("firstOffset", entry.first_offset.get()),
                    ("lastOffset", entry.last_offset.get()),
                    ("lastStableOffset", entry.last_stable_offset.get()),
                ];
                numbers.map(|(name, number)| (name.to_owned(), number.to_string())).to_vec()
            };
            assert_eq!(index.iter().map(entry).collect::<Vec<_>>(), expected, "{kind}/{name}");
        }
    }
}

fn base_of(name: &str) -> Offset {
    let file = Path::new(name).file_stem().unwrap().to_str().unwrap();
    Offset::from(file.parse::<u32>().unwrap())
}

/// Opening a folder of which nothing but the logs is left rebuilds, to the byte, what the broker had written for itself: at
/// the end of each log after a clean stop.
#[test]
fn producer_state_that_is_rebuilt_from_the_log_is_the_brokers() {
    let folder = copy("clean", |path| {
        if ends_with(path, &[".snapshot"]) {
            fs::remove_file(path).unwrap();
        }
    });
    // At the time of the records: a day later the producers would be forgotten.
    let clock = Arc::new(ManualClock::new());
    let cluster = Cluster::builder().clock(clock).driver(Driver::Manual).open(folder.path()).unwrap();
    let partitions: Vec<_> = cluster.topics().iter().flat_map(|topic| topic.partitions().collect::<Vec<_>>()).collect();
    let partitions: Vec<_> = partitions.into_iter().filter(|tp| is_partition(&tp.to_string())).collect();
    assert!(partitions.len() > 15);
    for tp in &partitions {
        cluster.list_offsets([(tp.clone(), OffsetSpec::Latest)], Isolation::ReadCommitted).unwrap();
    }
    cluster.close().unwrap();
    for tp in partitions {
        let newest = |folder: &Path| {
            let names = fs::read_dir(folder.join(tp.to_string())).unwrap().map(|entry| entry.unwrap().path());
            names.filter(|path| ends_with(path, &[".snapshot"])).max().map(|path| {
                (path.file_name().unwrap().to_owned(), decode_producer_snapshot(&fs::read(path).unwrap()).unwrap())
            })
        };
        let kafkas = newest(&fixture("clean").join("data"));
        assert_eq!(newest(folder.path()), kafkas, "{tp}");
    }
}

#[test]
fn a_killed_brokers_epochs_go_on_from_what_it_had_led() {
    let folder = copy("killed", |_| ());
    let cluster = Cluster::open(folder.path()).unwrap();
    let tp = TopicPartition::new("segments", 0).unwrap();
    let latest = cluster.list_offsets([(tp.clone(), OffsetSpec::MaxTimestamp)], Isolation::ReadCommitted).unwrap();
    let found = latest[&tp].unwrap();
    assert_eq!((found.offset, found.leader_epoch), (Offset::from(12), LeaderEpoch::new(2)));
}

/// Bytes as `logstead consume --format json` writes them: text in quotes, base64 under a longer name where they are no text.
fn put_bytes(line: &mut String, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(|bytes| (bytes, str::from_utf8(bytes))) {
        None => write!(line, "\"{name}\":null"),
        Some((_, Ok(text))) => write!(line, "\"{name}\":\"{}\"", escaped(text)),
        Some((bytes, Err(_))) => write!(line, "\"{name}_base64\":\"{}\"", base64(bytes)),
    }
    .unwrap();
}

fn escaped(text: &str) -> String {
    let mut all = String::new();
    for c in text.chars() {
        match c {
            '"' | '\\' => all.extend(['\\', c]),
            '\u{8}' => all.push_str("\\b"),
            '\u{c}' => all.push_str("\\f"),
            '\n' => all.push_str("\\n"),
            '\r' => all.push_str("\\r"),
            '\t' => all.push_str("\\t"),
            c if c < ' ' => write!(all, "\\u{:04x}", u32::from(c)).unwrap(),
            c => all.push(c),
        }
    }
    all
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut all = String::new();
    for three in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, at| (bits << 8) | u32::from(three.get(at).copied().unwrap_or(0)));
        for digit in 0..4 {
            let known = digit <= three.len();
            all.push(if known { DIGITS[((bits >> (18 - 6 * digit)) & 63) as usize].into() } else { '=' });
        }
    }
    all
}

fn line(record: &ConsumerRecord<'_>) -> String {
    let timestamp = record.timestamp().map_or("null".to_owned(), |timestamp| timestamp.as_millis().to_string());
    let mut line = format!(
        "{{\"topic\":\"{}\",\"partition\":{},\"offset\":{},\"timestamp\":{timestamp},",
        record.topic(),
        record.partition(),
        record.offset()
    );
    put_bytes(&mut line, "key", record.key());
    line.push(',');
    put_bytes(&mut line, "value", record.value());
    line.push_str(",\"headers\":[");
    for (nth, header) in record.headers().enumerate() {
        line.push_str(if nth == 0 { "{" } else { ",{" });
        put_bytes(&mut line, "key", Some(header.key_bytes()));
        line.push(',');
        put_bytes(&mut line, "value", header.value());
        line.push('}');
    }
    line + "]}"
}

/// Everything that consumers see of the broker's topics, a line a record, partition after partition.
fn records(isolation: Isolation, tps: &[TopicPartition], consumer: impl Fn() -> ConsumerBuilder) -> Vec<String> {
    let mut lines = Vec::new();
    for tp in tps {
        let mut consumer = consumer().isolation(isolation).assign([tp]).build().unwrap();
        let end = consumer.end_offset(tp).unwrap();
        for _ in 0..10_000 {
            if consumer.position(tp).unwrap() == end {
                break;
            }
            lines.extend(consumer.poll(Duration::from_millis(1)).unwrap().iter().map(|record| line(&record)));
        }
        assert_eq!(consumer.position(tp).unwrap(), end, "{tp}");
    }
    lines
}

/// What Kafka's consumer has read of the same folder.
fn assert_records(kind: &str, what: &str, consumer: impl Fn() -> ConsumerBuilder) {
    let tps: BTreeSet<_> = answers(kind).into_iter().map(|answer| answer.tp).collect();
    let tps: Vec<_> = tps.into_iter().collect();
    assert!(tps.len() > 15);
    for isolation in ISOLATIONS {
        let expected = text(kind, &format!("records.{}", isolation.as_str()));
        let found = records(isolation, &tps, &consumer);
        assert!(found.len() > 150, "{kind}: {}", found.len());
        for (found, expected) in found.iter().zip(expected.lines()) {
            assert_eq!(found, expected, "{kind}, {what}, {}", isolation.as_str());
        }
        assert_eq!(found.len(), expected.lines().count(), "{kind}, {what}, {}", isolation.as_str());
    }
}

#[test]
fn consumers_see_every_record_that_kafkas_consumer_has_seen() {
    for kind in ["clean", "killed"] {
        let folder = copy(kind, |_| ());
        let cluster = Cluster::open_read_only(folder.path()).unwrap();
        assert_records(kind, "looked at", || cluster.consumer());
        drop(cluster);
        let cluster = Cluster::open(folder.path()).unwrap();
        assert_records(kind, "opened", || cluster.consumer());
        cluster.close().unwrap();
        let cluster = Cluster::open(folder.path()).unwrap();
        assert_records(kind, "opened again", || cluster.consumer());
    }
}

#[test]
fn records_are_read_as_well_when_nothing_but_the_logs_is_left() {
    let all = &[".snapshot", ".index", ".timeindex", ".txnindex", "leader-epoch-checkpoint"];
    for kind in ["clean", "killed"] {
        let folder = copy(kind, |path| {
            if ends_with(path, all) {
                fs::remove_file(path).unwrap();
            }
        });
        let cluster = Cluster::open(folder.path()).unwrap();
        assert_records(kind, "nothing but logs", || cluster.consumer());
    }
}
