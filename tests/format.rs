//! The bytes in a data folder: Kafka's own, file by file; and folders that Kafka wrote.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, copies fixtures on the real disk, and its numbers are small"
)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use logstead::config::LogConfig;
use logstead::log::{Log, LogDirectory, OffsetSpec, ReadIsolation, ReadLimits};
use logstead::record::{
    BatchBuilder, BatchOptions, BuiltBatch, Compression, EndTransactionMarker, Header, ProducerStamp, RecordRef,
    TransactionOutcome,
};
use logstead::storage::{MemStorage, OpenMode, Storage};
use logstead::time::{Clock, ManualClock, Now};
use logstead::types::{
    BrokerId, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, TimestampType, TopicId,
    TopicPartition,
};

const START_MILLIS: i64 = 1_700_000_000_000;
const TOPIC_ID: TopicId = TopicId::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);

fn now() -> Now {
    ManualClock::new().now()
}

fn tp() -> TopicPartition {
    TopicPartition::new("orders", 0).unwrap()
}

fn producer(id: i64, sequence: i32) -> ProducerStamp {
    ProducerStamp {
        id: ProducerId::new(id).unwrap(),
        epoch: ProducerEpoch::ZERO,
        base_sequence: Sequence::new(sequence),
    }
}

/// One record, `after` milliseconds after the start.
fn batch(after: i64, value: &[u8], producer: Option<ProducerStamp>, transactional: bool) -> BuiltBatch {
    let mut builder = BatchBuilder::new(BatchOptions { producer, transactional, ..BatchOptions::default() });
    builder.append(Some(Timestamp::from_millis(START_MILLIS + after)), None, Some(value), &[]).unwrap();
    builder.build().unwrap()
}

/// 68 bytes of batch around nothing, so that 100 bytes of value make 170.
const BATCH_BYTES: u64 = 170;

fn plain(after: i64) -> BuiltBatch {
    let batch = batch(after, &[b'v'; 100], None, false);
    assert_eq!(batch.size_in_bytes() as u64, BATCH_BYTES);
    batch
}

struct Home {
    storage: MemStorage,
    directory: LogDirectory,
    log: Arc<Log>,
}

impl Home {
    fn new(config: LogConfig) -> Home {
        let storage = MemStorage::new();
        let options = LogDirectory::options().storage(storage.clone()).seed(1);
        let directory = options.cluster_id("a cluster").node_id(BrokerId::new(3).unwrap()).open("/data").unwrap();
        let log = directory.open_log(&tp(), Some(TOPIC_ID), config, now()).unwrap();
        log.begin_epoch(LeaderEpoch::ZERO).unwrap();
        Home { storage, directory, log }
    }

    fn append(&self, mut batch: BuiltBatch) {
        self.log.append_as_leader(&mut batch, now()).unwrap();
    }

    fn abort(&self, producer_id: i64) {
        let marker = EndTransactionMarker { outcome: TransactionOutcome::Abort, coordinator_epoch: 7 };
        let id = ProducerId::new(producer_id).unwrap();
        self.append(marker.to_batch(id, ProducerEpoch::ZERO, Timestamp::from_millis(START_MILLIS)));
    }

    fn close(self) -> MemStorage {
        self.directory.close().unwrap();
        self.storage
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        bytes_of(&self.storage, name)
    }
}

fn bytes_of(storage: &MemStorage, name: &str) -> Vec<u8> {
    let file = storage.open(&Path::new("/data").join(name), OpenMode::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(0, &mut bytes).unwrap();
    bytes
}

fn names(storage: &MemStorage, folder: &str) -> Vec<String> {
    storage.list(folder.as_ref()).unwrap().into_iter().map(|entry| entry.name).collect()
}

/// Index entries as (relative offset, position).
fn index_entries(bytes: &[u8]) -> Vec<(i32, i32)> {
    let number = |bytes: &[u8]| i32::from_be_bytes(bytes.try_into().unwrap());
    assert_eq!(bytes.len() % 8, 0);
    bytes.chunks(8).map(|entry| (number(&entry[..4]), number(&entry[4..]))).collect()
}

/// Time index entries as (milliseconds after the start, relative offset).
fn time_entries(bytes: &[u8]) -> Vec<(i64, i32)> {
    assert_eq!(bytes.len() % 12, 0);
    let entry = |entry: &[u8]| {
        let millis = i64::from_be_bytes(entry[..8].try_into().unwrap());
        (millis - START_MILLIS, i32::from_be_bytes(entry[8..].try_into().unwrap()))
    };
    bytes.chunks(12).map(entry).collect()
}

#[test]
fn a_closed_folder_holds_kafkas_files_and_ours() {
    let home = Home::new(LogConfig::new().segment_bytes(2 * BATCH_BYTES));
    (0..3).for_each(|after| home.append(plain(after)));
    let storage = home.close();
    assert_eq!(
        names(&storage, "/data"),
        [
            ".kafka_cleanshutdown",
            ".lock",
            "log-start-offset-checkpoint",
            "logstead.manifest",
            "logstead.witness",
            "meta.properties",
            "orders-0",
            "recovery-point-offset-checkpoint",
            "replication-offset-checkpoint",
        ]
    );
    assert_eq!(
        names(&storage, "/data/orders-0"),
        [
            "00000000000000000000.index",
            "00000000000000000000.log",
            "00000000000000000000.seal",
            "00000000000000000000.timeindex",
            "00000000000000000002.index",
            "00000000000000000002.log",
            "00000000000000000002.snapshot",
            "00000000000000000002.timeindex",
            "00000000000000000003.snapshot",
            "leader-epoch-checkpoint",
            "partition.metadata",
        ]
    );
}

#[test]
fn partition_metadata_has_no_final_line_feed() {
    let home = Home::new(LogConfig::new());
    assert_eq!(home.bytes("orders-0/partition.metadata"), b"version: 0\ntopic_id: AAECAwQFBgcICQoLDA0ODw");
}

#[test]
fn meta_properties_names_cluster_node_and_folder() {
    let home = Home::new(LogConfig::new());
    let text = String::from_utf8(home.bytes("meta.properties")).unwrap();
    let directory_id = home.directory.identity().directory_id.unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines, ["cluster.id=a cluster", &format!("directory.id={directory_id}"), "node.id=3", "version=1"]);
}

#[test]
fn the_mark_of_a_clean_stop_is_json() {
    let storage = Home::new(LogConfig::new()).close();
    assert_eq!(bytes_of(&storage, ".kafka_cleanshutdown"), br#"{"version":0,"brokerEpoch":-1}"#);
}

#[test]
fn checkpoints_are_text_with_one_partition_a_line() {
    let home = Home::new(LogConfig::new());
    (0..4).for_each(|after| home.append(plain(after)));
    home.log.flush().unwrap();
    home.log.advance_high_watermark(Offset::from(3)).unwrap();
    home.log.delete_before(Offset::from(1)).unwrap();
    let other = TopicPartition::new("invoices", 12).unwrap();
    let _other = home.directory.open_log(&other, None, LogConfig::new(), now()).unwrap();
    let storage = home.close();
    let text = |name| String::from_utf8(bytes_of(&storage, name)).unwrap();
    assert_eq!(text("recovery-point-offset-checkpoint"), "0\n2\ninvoices 12 0\norders 0 4\n");
    assert_eq!(text("replication-offset-checkpoint"), "0\n2\ninvoices 12 0\norders 0 3\n");
    // Only a log that starts inside a segment is listed.
    assert_eq!(text("log-start-offset-checkpoint"), "0\n1\norders 0 1\n");
}

#[test]
fn the_epoch_checkpoint_lists_epochs_with_their_first_offsets() {
    let home = Home::new(LogConfig::new());
    home.append(plain(0));
    home.log.begin_epoch(LeaderEpoch::new(5).unwrap()).unwrap();
    home.append(plain(1));
    assert_eq!(home.bytes("orders-0/leader-epoch-checkpoint"), b"0\n2\n0 0\n5 1\n");
}

#[test]
fn an_index_entry_names_the_last_offset_and_the_start_of_its_batch() {
    let home = Home::new(LogConfig::new().index_interval_bytes(1));
    let mut builder = BatchBuilder::new(BatchOptions::default());
    (0..3).for_each(|_| _ = builder.append(None, None, Some(b"value"), &[]).unwrap());
    let three = builder.build().unwrap();
    let size = three.size_in_bytes() as i32;
    home.append(three);
    (0..3).for_each(|_| _ = builder.append(None, None, Some(b"value"), &[]).unwrap());
    home.append(builder.build().unwrap());
    let storage = home.close();
    // The first batch of a segment has no entry.
    assert_eq!(index_entries(&bytes_of(&storage, "orders-0/00000000000000000000.index")), [(5, size)]);
}

#[test]
fn an_index_entry_needs_more_bytes_than_the_interval() {
    let entries = |interval_bytes| {
        let home = Home::new(LogConfig::new().index_interval_bytes(interval_bytes));
        (0..6).for_each(|after| home.append(plain(after)));
        index_entries(&bytes_of(&home.close(), "orders-0/00000000000000000000.index"))
    };
    let at = |offset: i32| (offset, offset * BATCH_BYTES as i32);
    assert_eq!(entries(2 * BATCH_BYTES - 1), [at(2), at(4)]);
    assert_eq!(entries(2 * BATCH_BYTES), [at(3)]);
}

#[test]
fn index_files_have_as_many_bytes_as_entries_after_roll_and_close() {
    let config = LogConfig::new().index_interval_bytes(0).segment_bytes(4 * BATCH_BYTES).preallocate(true);
    let home = Home::new(config);
    (0..6).for_each(|after| home.append(plain(after)));
    home.log.flush().unwrap();
    assert_eq!(home.bytes("orders-0/00000000000000000000.index").len(), 3 * 8);
    assert_eq!(home.bytes("orders-0/00000000000000000000.log").len() as u64, 4 * BATCH_BYTES);
    let storage = home.close();
    assert_eq!(bytes_of(&storage, "orders-0/00000000000000000004.index").len(), 8);
    assert_eq!(bytes_of(&storage, "orders-0/00000000000000000004.log").len() as u64, 2 * BATCH_BYTES);
}

#[test]
fn the_time_index_ends_with_the_largest_timestamp_at_roll_and_close() {
    let config = LogConfig::new().index_interval_bytes(BATCH_BYTES).segment_bytes(4 * BATCH_BYTES);
    let home = Home::new(config);
    [10, 20, 15, 30, 50, 40].into_iter().for_each(|after| home.append(plain(after)));
    home.log.flush().unwrap();
    // The entry at the third batch repeats the largest timestamp so far, with the last offset of the batch that has it.
    assert_eq!(time_entries(&home.bytes("orders-0/00000000000000000000.timeindex")), [(20, 1), (30, 3)]);
    let storage = home.close();
    assert_eq!(time_entries(&bytes_of(&storage, "orders-0/00000000000000000004.timeindex")), [(50, 0)]);
}

#[test]
fn a_segment_is_named_by_the_offset_after_the_one_before() {
    let home = Home::new(LogConfig::new().segment_bytes(2 * BATCH_BYTES));
    (0..5).for_each(|after| home.append(plain(after)));
    let logs: Vec<_> =
        names(&home.storage, "/data/orders-0").into_iter().filter(|name| name.ends_with(".log")).collect();
    assert_eq!(logs, ["00000000000000000000.log", "00000000000000000002.log", "00000000000000000004.log"]);
}

#[test]
fn an_aborted_transaction_is_34_bytes_of_transaction_index() {
    let home = Home::new(LogConfig::new());
    home.append(plain(0));
    home.append(batch(1, b"one", Some(producer(9, 0)), true));
    home.append(batch(2, b"two", Some(producer(4, 0)), true));
    home.abort(9);
    let expected = [
        &[0, 0][..],
        &9_i64.to_be_bytes(),
        &1_i64.to_be_bytes(),
        &3_i64.to_be_bytes(),
        // The transaction of producer 4 is still open.
        &2_i64.to_be_bytes(),
    ];
    assert_eq!(home.bytes("orders-0/00000000000000000000.txnindex"), expected.concat());
}

#[test]
fn a_committed_transaction_leaves_no_transaction_index() {
    let home = Home::new(LogConfig::new());
    home.append(batch(1, b"one", Some(producer(9, 0)), true));
    let marker = EndTransactionMarker { outcome: TransactionOutcome::Commit, coordinator_epoch: 7 };
    home.append(marker.to_batch(ProducerId::new(9).unwrap(), ProducerEpoch::ZERO, now().wall));
    assert!(names(&home.close(), "/data/orders-0").iter().all(|name| !name.ends_with(".txnindex")));
}

#[test]
fn snapshots_stand_at_segment_bases_and_at_the_log_end() {
    let home = Home::new(LogConfig::new().segment_bytes(200));
    home.append(batch(0, &[b'v'; 100], Some(producer(7, 41)), false));
    home.append(batch(1, &[b'v'; 100], Some(producer(7, 42)), true));
    let storage = home.close();
    let snapshots: Vec<_> =
        names(&storage, "/data/orders-0").into_iter().filter(|name| name.ends_with(".snapshot")).collect();
    assert_eq!(snapshots, ["00000000000000000001.snapshot", "00000000000000000002.snapshot"]);
    let entry = |sequence: i32, offset: i64, after: i64, transaction: i64| {
        [
            &1_i32.to_be_bytes()[..],
            &7_i64.to_be_bytes(),
            &0_i16.to_be_bytes(),
            &sequence.to_be_bytes(),
            &offset.to_be_bytes(),
            &0_i32.to_be_bytes(),
            &(START_MILLIS + after).to_be_bytes(),
            &(-1_i32).to_be_bytes(),
            &transaction.to_be_bytes(),
        ]
        .concat()
    };
    let snapshot = |checked: Vec<u8>| {
        [&1_i16.to_be_bytes()[..], &logstead::record::crc32c(&checked).to_be_bytes(), &checked].concat()
    };
    assert_eq!(bytes_of(&storage, "orders-0/00000000000000000001.snapshot"), snapshot(entry(41, 0, 0, -1)));
    assert_eq!(bytes_of(&storage, "orders-0/00000000000000000002.snapshot"), snapshot(entry(42, 1, 1, 1)));
}

/// Every kind of record and batch, always the same.
fn golden_log() -> Vec<u8> {
    let home = Home::new(LogConfig::new());
    home.append(plain(0));
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let at = |after| Some(Timestamp::from_millis(START_MILLIS + after));
    builder.append(at(5), Some(b"key"), Some(b"value"), &[]).unwrap();
    builder.append(at(3), None, None, &[Header { key: "trace", value: Some(b"1") }]).unwrap();
    builder.append(None, Some(b""), Some(b""), &[Header { key: "", value: None }]).unwrap();
    home.append(builder.build().unwrap());
    home.append(batch(6, b"in a transaction", Some(producer(7, 2_147_483_647)), true));
    home.log.begin_epoch(LeaderEpoch::new(3).unwrap()).unwrap();
    home.abort(7);
    home.append(batch(7, b"idempotent", Some(producer(8, 0)), false));
    bytes_of(&home.close(), "orders-0/00000000000000000000.log")
}

#[test]
fn the_same_records_give_the_same_bytes_for_ever() {
    assert_eq!(golden_log(), include_bytes!("fixtures/golden/orders-0.log"));
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kafka-4.0")
}

/// Copies a folder that Kafka wrote into a data folder as Kafka leaves it after a clean stop.
fn kafka_folder(partition: &str, clean: bool) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let properties = "#\n#Sat Nov 21 10:00:00 UTC 2026\ncluster.id=MkU3OEVBNTcwNTJENDM2Qg\ndirectory.id=yiZe1jLUT8LNhhRxfvMvHA\nnode.id=1\nversion=1\n";
    std::fs::write(folder.path().join("meta.properties"), properties).unwrap();
    if clean {
        std::fs::write(folder.path().join(".kafka_cleanshutdown"), r#"{"version":0,"brokerEpoch":11}"#).unwrap();
    }
    let target = folder.path().join(partition);
    std::fs::create_dir(&target).unwrap();
    for entry in std::fs::read_dir(fixtures().join(partition)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), target.join(entry.file_name())).unwrap();
    }
    folder
}

fn open_kafka(folder: &Path, partition: &str) -> (LogDirectory, Arc<Log>) {
    let directory = LogDirectory::open(folder).unwrap();
    let tp = TopicPartition::from_folder_name(partition).unwrap();
    let log = directory.open_log(&tp, None, LogConfig::new().index_interval_bytes(1), now()).unwrap();
    assert_eq!(log.recovery_report().damage, []);
    assert_eq!(log.recovery_report().cuts, []);
    (directory, log)
}

fn text(bytes: Option<&[u8]>) -> String {
    bytes.map_or("null".to_owned(), |bytes| format!("\"{}\"", std::str::from_utf8(bytes).unwrap()))
}

/// A record as `records.tsv` shows it.
fn line(partition: &str, epoch: LeaderEpoch, kind: TimestampType, record: &RecordRef<'_>) -> String {
    let headers: Vec<String> =
        record.headers().map(|header| format!("{}={}", text(Some(header.key_bytes())), text(header.value()))).collect();
    let mut line = String::new();
    let (offset, timestamp) = (record.offset(), record.timestamp().unwrap());
    write!(line, "{partition}\t{offset}\t{epoch}\t{}\t{timestamp}", kind.as_str()).unwrap();
    write!(line, "\t{}\t{}\t{}", text(record.key()), text(record.value()), headers.join("; ")).unwrap();
    line
}

fn lines_of(log: &Log, partition: &str) -> Vec<String> {
    let (mut lines, mut from) = (Vec::new(), log.log_start_offset());
    while from < log.log_end_offset() {
        let slice = log.read(from, ReadLimits::bytes(1 << 20).isolation(ReadIsolation::LogEnd)).unwrap();
        for batch in slice.batches() {
            let batch = batch.unwrap();
            let header = batch.header();
            if !header.is_control() {
                let (epoch, kind) = (header.leader_epoch().unwrap(), header.timestamp_type());
                lines.extend(batch.records().map(|record| line(partition, epoch, kind, &record)));
            }
        }
        from = slice.next_offset();
    }
    lines
}

#[test]
fn folders_of_kafka_are_read_record_for_record() {
    let listed = std::fs::read_to_string(fixtures().join("records.tsv")).unwrap();
    for partition in ["plain-0", "codecs-0", "segments-0", "transactions-0", "appendtime-0", "compacted-0"] {
        let expected: Vec<&str> = listed.lines().filter(|line| line.starts_with(&format!("{partition}\t"))).collect();
        assert!(!expected.is_empty());
        for clean in [true, false] {
            let folder = kafka_folder(partition, clean);
            let (_directory, log) = open_kafka(folder.path(), partition);
            assert_eq!(lines_of(&log, partition), expected, "{partition}, clean: {clean}");
        }
    }
}

#[test]
fn a_folder_of_kafka_is_left_as_it_was() {
    for partition in ["plain-0", "codecs-0", "segments-0", "transactions-0", "appendtime-0", "compacted-0"] {
        let folder = kafka_folder(partition, true);
        let (directory, log) = open_kafka(folder.path(), partition);
        let end = log.log_end_offset();
        drop(log);
        directory.close().unwrap();
        for entry in std::fs::read_dir(fixtures().join(partition)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let read = |folder: &Path| std::fs::read(folder.join(&name)).ok();
            let (ours, kafkas) = (read(&folder.path().join(partition)), read(&fixtures().join(partition)));
            // Indexes are rebuilt (Kafka counts the interval per append), and an epoch without a record is forgotten, as
            // Kafka does when it loads a log.
            let is_ours = name.ends_with(".index") || name.ends_with(".timeindex") || name == "leader-epoch-checkpoint";
            assert!(is_ours || ours == kafkas, "{partition}/{name} changed (log end {end})");
        }
    }
}

#[test]
fn transactions_of_kafka_are_known() {
    let folder = kafka_folder("transactions-0", true);
    let (_directory, log) = open_kafka(folder.path(), "transactions-0");
    let aborted = log.aborted_transactions(Offset::ZERO, log.log_end_offset()).unwrap();
    let found: Vec<_> = aborted
        .iter()
        .map(|entry| (entry.producer_id.get(), entry.first_offset.get(), entry.last_offset.get()))
        .collect();
    assert_eq!(found, [(1, 3, 8), (2, 9, 10)]);
    log.advance_high_watermark(log.log_end_offset()).unwrap();
    assert_eq!(log.last_stable_offset(), Offset::from(13));
}

#[test]
fn segments_and_epochs_of_kafka_are_known() {
    let folder = kafka_folder("segments-0", true);
    let (_directory, log) = open_kafka(folder.path(), "segments-0");
    let bases: Vec<i64> = log.segments().iter().map(|segment| segment.base_offset().get()).collect();
    assert_eq!(bases, [0, 4, 8, 12, 13]);
    let epochs: Vec<_> =
        log.epochs().entries().iter().map(|entry| (entry.epoch.get(), entry.start_offset.get())).collect();
    assert_eq!(epochs, [(0, 0), (2, 12)]);
}

#[test]
fn batches_of_kafka_name_their_codecs() {
    let folder = kafka_folder("codecs-0", true);
    let (_directory, log) = open_kafka(folder.path(), "codecs-0");
    let limits = ReadLimits::bytes(1 << 20).isolation(ReadIsolation::LogEnd);
    let slice = log.read(Offset::ZERO, limits).unwrap();
    let headers: Vec<_> = slice.headers().map(|header| header.unwrap()).collect();
    let codecs: Vec<_> = headers.iter().map(|header| (header.codec(), header.record_count())).collect();
    assert_eq!(
        codecs,
        [
            (Compression::None, 4),
            (Compression::Gzip, 4),
            (Compression::Snappy, 4),
            (Compression::Lz4, 4),
            (Compression::Zstd, 4)
        ]
    );
    assert_eq!(slice.next_offset(), Offset::from(20));
}

#[test]
fn times_lead_into_compressed_batches_of_kafka() {
    let folder = kafka_folder("codecs-0", true);
    let (_directory, log) = open_kafka(folder.path(), "codecs-0");
    // Every batch has the same times; the log starts in a later one each time.
    for (start, found) in [(0, 2), (3, 3), (4, 6), (7, 7), (8, 10), (11, 11), (12, 14), (15, 15), (16, 18), (19, 19)] {
        log.advance_high_watermark(log.log_end_offset()).unwrap();
        log.delete_before(Offset::from(start)).unwrap();
        let time = Timestamp::from_millis(START_MILLIS + 2);
        let first = log.list_offset(OffsetSpec::Timestamp(time), ReadIsolation::LogEnd).unwrap().unwrap();
        assert_eq!((first.offset, first.timestamp >= Some(time)), (Offset::from(found), true), "from {start}");
        let largest = log.list_offset(OffsetSpec::MaxTimestamp, ReadIsolation::LogEnd).unwrap().unwrap();
        assert_eq!(
            (largest.offset, largest.timestamp.unwrap().as_millis()),
            (Offset::from(start | 3), START_MILLIS + 3)
        );
    }
}

#[test]
fn a_log_of_kafka_goes_on_here() {
    let folder = kafka_folder("segments-0", true);
    let (directory, log) = open_kafka(folder.path(), "segments-0");
    log.begin_epoch(LeaderEpoch::new(3).unwrap()).unwrap();
    let info = log.append_as_leader(&mut plain(0), now()).unwrap();
    assert_eq!(info.first_offset, Offset::from(14));
    directory.close().unwrap();
    let (_directory, log) = open_kafka(folder.path(), "segments-0");
    assert_eq!(log.log_end_offset(), Offset::from(15));
    assert!(log.recovery_report().was_clean && !log.recovery_report().was_foreign);
}
