//! Writes a log.dir with partition folders of every kind, for Kafka's own tools to judge.
//!
//! ```sh
//! cargo run --release --example write_for_kafka -- DIR
//! ```
//!
//! DIR/cluster is a folder of its own: that of a whole cluster, which had several sessions.
//!
//! DIR must be new, empty, or written by an earlier run, which is then replaced. `tests/kafka/judge.sh` runs this and lets
//! `DumpLogSegments` look at each folder. Seed and clock are fixed: every run writes the same bytes.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "an example prints and replaces its own folder")]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use logstead::cluster::{Cluster, Driver};
use logstead::config::{LogConfig, TopicConfig};
use logstead::log::{Log, LogDirectory, ReadIsolation, ReadLimits, SegmentFile};
use logstead::producer::Record;
use logstead::record::{
    BatchBuilder, BatchOptions, EndTransactionMarker, Header, ProducerStamp, TimestampType, TransactionOutcome,
};
use logstead::rng::Rng;
use logstead::storage::{OpenMode, OsStorage, Storage};
use logstead::time::{Clock, ManualClock};
use logstead::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicPartition};

type Outcome = Result<(), Box<dyn Error>>;
type KeyValueHeaders<'a> = (Option<&'a [u8]>, Option<&'a [u8]>, &'a [Header<'a>]);

/// The cluster id by which an earlier run's folder is known.
const CLUSTER_ID: &str = "write-for-kafka";

fn main() -> Outcome {
    let folder = std::env::args_os().nth(1).map(PathBuf::from).ok_or("usage: write_for_kafka DIR")?;
    remove_earlier_run(&folder)?;
    let clock = Arc::new(ManualClock::new());
    let open = || LogDirectory::options().cluster_id(CLUSTER_ID).seed(1).open(&folder);

    // The first owner dies: nothing is closed, and half a batch stands behind the end of one log.
    let directory = open()?;
    Writer::new(&directory, &clock).abandoned()?;
    drop(directory);

    let directory = open()?;
    let mut writer = Writer::new(&directory, &clock);
    writer.recovered()?;
    writer.kinds_of_record()?;
    writer.many_index_entries()?;
    writer.batches_of_many_sizes()?;
    writer.rolled_by_size()?;
    writer.rolled_by_time()?;
    writer.rolled_by_full_index()?;
    writer.append_time()?;
    writer.disordered_timestamps()?;
    writer.no_timestamps()?;
    writer.leader_epochs()?;
    writer.idempotent()?;
    writer.transactions()?;
    writer.deleted()?;
    writer.truncated()?;
    writer.truncated_transactions()?;
    writer.replicated()?;
    writer.high_offsets()?;
    writer.preallocated()?;
    writer.empty()?;
    let logs = std::mem::take(&mut writer.logs);
    directory.close()?;
    for log in logs {
        let (start, end, segments) = (log.log_start_offset(), log.log_end_offset(), log.segments().len());
        println!("{}: offsets {start}..{end}, {segments} segment(s)", log.folder().display());
    }
    for session in 0..3 {
        write_cluster(&folder.join("cluster"), &clock, session)?;
    }
    Ok(())
}

/// One session of a cluster: topics that are created, changed and deleted, and records of all kinds.
fn write_cluster(folder: &Path, clock: &Arc<ManualClock>, session: u64) -> Outcome {
    let shared: Arc<dyn Clock> = Arc::<ManualClock>::clone(clock);
    let cluster = Cluster::builder().clock(shared).driver(Driver::Manual).seed(session).open(folder)?;
    if session == 0 {
        cluster.create_topic("orders", TopicConfig::new().partitions(3).segment_bytes(20_000))?;
        cluster.create_topic("events", TopicConfig::new().log(LogConfig::new().index_interval_bytes(300)))?;
        cluster.create_topic("idle", TopicConfig::new().partitions(2))?;
    }
    cluster.create_topic("passing", TopicConfig::new())?;
    send_all(&cluster, clock, session)?;
    match session {
        0 => drop(cluster.add_partitions("events", 2)?),
        1 => drop(cluster.alter_topic("orders", [("segment.bytes", Some("8000")), ("flush.messages", None)])?),
        _ => drop(cluster.alter_topic("orders", [("segment.bytes", None::<&str>)])?),
    }
    cluster.delete_topic("passing")?;
    send_all(&cluster, clock, session + 10)?;
    for topic in cluster.topics() {
        for partition in cluster.describe_topic(topic.name())? {
            println!("{}: {} records", partition.topic_partition, partition.high_watermark);
        }
    }
    Ok(cluster.close()?)
}

/// Keys, headers and nulls, in batches of several sizes.
fn send_all(cluster: &Cluster, clock: &ManualClock, seed: u64) -> Outcome {
    let mut rng = Rng::from_seed(seed);
    let producer = cluster.producer().batch_bytes(2_000).seed(seed).build()?;
    let topics: Vec<_> = cluster.topics().into_iter().filter(|topic| topic.name() != "idle").collect();
    for number in 0..600 {
        clock.advance(Duration::from_millis(rng.below(3)));
        cluster.poll(clock.now());
        for topic in &topics {
            let (key, value) = (format!("key-{}", rng.below(50)), "v".repeat(usize::try_from(rng.below(120))?));
            let record = Record::to(topic.name());
            drop(match number % 5 {
                0 => producer.send(record.key(&key))?,
                1 => producer.send(record.value(&value).header("trace", &key).header_without_value("none"))?,
                2 => producer.send(record.key(&key).value(&value).header("again", "1").header("again", ""))?,
                _ => producer.send(record.key(&key).value(&value))?,
            });
        }
    }
    Ok(producer.close()?)
}

fn remove_earlier_run(folder: &Path) -> Outcome {
    match fs::read_to_string(folder.join("meta.properties")) {
        Ok(text) if text.lines().any(|line| line == format!("cluster.id={CLUSTER_ID}")) => fs::remove_dir_all(folder)?,
        Ok(_) => return Err(format!("{} belongs to somebody else", folder.display()).into()),
        Err(_) if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) => {
            return Err(format!("{} is not empty", folder.display()).into());
        }
        Err(_) => {}
    }
    Ok(())
}

struct Writer<'a> {
    directory: &'a LogDirectory,
    clock: &'a ManualClock,
    rng: Rng,
    logs: Vec<Arc<Log>>,
}

/// The folders, one function each. The first part of a folder's name says what is in it.
impl<'a> Writer<'a> {
    fn new(directory: &'a LogDirectory, clock: &'a ManualClock) -> Writer<'a> {
        Writer { directory, clock, rng: Rng::from_seed(7), logs: Vec::new() }
    }

    /// Nulls, empty values and headers of every kind, in one batch and one by one.
    fn kinds_of_record(&mut self) -> Outcome {
        let log = self.lead("kinds", 0, LogConfig::new())?;
        let header = |key, value| Header { key, value };
        let headers = [header("trace", Some(&b"7f"[..])), header("", Some(b"")), header("null", None)];
        let repeated = [header("again", Some(&b"1"[..])), header("again", Some(b"2"))];
        let long = "x".repeat(20_000);
        let kinds: [KeyValueHeaders<'_>; 9] = [
            (Some(b"key"), Some(b"value"), &[]),
            (None, Some(b"no key"), &[]),
            (Some(b"no value"), None, &[]),
            (None, None, &[]),
            (Some(b""), Some(b""), &[]),
            (Some(b"headers"), Some(b"three"), &headers),
            (None, None, &repeated),
            (Some(&[0xff, 0, 0xfe]), Some(&[0, 1, 2, 0xff]), &[]),
            (Some(b"long"), Some(long.as_bytes()), &repeated),
        ];
        let mut all = BatchBuilder::new(BatchOptions::default());
        for (key, value, headers) in kinds {
            all.append(Some(self.tick(1)), key, value, headers)?;
        }
        self.append(&log, &mut all)?;
        for (key, value, headers) in kinds {
            let mut one = BatchBuilder::new(BatchOptions::default());
            one.append(Some(self.tick(1)), key, value, headers)?;
            self.append(&log, &mut one)?;
        }
        Ok(())
    }

    /// Single-record batches, so that most index entries lie a few batches apart.
    fn many_index_entries(&mut self) -> Outcome {
        let log = self.lead("indexed", 0, LogConfig::new())?;
        self.fill(&log, 1500, 1, 400)?;
        let log = self.lead("indexed", 1, LogConfig::new().index_interval_bytes(0))?;
        self.fill(&log, 300, 1, 40)
    }

    /// From one record to thousands, and up to the largest batch that the defaults allow.
    fn batches_of_many_sizes(&mut self) -> Outcome {
        let log = self.lead("sizes", 0, LogConfig::new())?;
        for records in [1, 2, 63, 64, 127, 128, 1000, 8192, 20_000] {
            self.fill(&log, 2, records, 30)?;
        }
        let value = self.value(1_048_000);
        let mut builder = BatchBuilder::new(BatchOptions::default());
        builder.append(Some(self.tick(1)), None, Some(&value), &[])?;
        self.append(&log, &mut builder)?;
        self.fill(&log, 3, 1, 10)
    }

    fn rolled_by_size(&mut self) -> Outcome {
        let log = self.lead("rolledsize", 0, LogConfig::new().segment_bytes(20_000))?;
        self.fill(&log, 200, 3, 150)?;
        // Each batch is as large as a segment may be.
        let log = self.lead("rolledsize", 1, LogConfig::new().segment_bytes(1_000))?;
        self.fill(&log, 12, 1, 900)
    }

    /// By the distance of the records' own timestamps, and by the wall clock where there are none.
    fn rolled_by_time(&mut self) -> Outcome {
        let config = LogConfig::new().segment_time(Duration::from_secs(60)).segment_jitter(Duration::from_secs(10));
        let log = self.lead("rolledtime", 0, config.clone())?;
        for _ in 0..12 {
            self.fill(&log, 9, 2, 300)?;
            self.clock.advance(Duration::from_secs(50));
        }
        let log = self.lead("rolledtime", 1, config)?;
        for _ in 0..6 {
            self.fill_at(&log, 5, 2, 300, |_| None)?;
            self.clock.advance(Duration::from_secs(50));
        }
        Ok(())
    }

    /// Five offset index entries, or three time index entries, fill an index.
    fn rolled_by_full_index(&mut self) -> Outcome {
        let config = LogConfig::new().segment_index_bytes(40).index_interval_bytes(500);
        let log = self.lead("fullindex", 0, config)?;
        self.fill(&log, 100, 1, 200)
    }

    fn append_time(&mut self) -> Outcome {
        let config = LogConfig::new().timestamp_type(TimestampType::LogAppendTime).segment_bytes(30_000);
        let log = self.lead("appendtime", 0, config.segment_time(Duration::from_secs(5)))?;
        for _ in 0..10 {
            self.fill(&log, 20, 3, 200)?;
            self.clock.advance(Duration::from_secs(1));
        }
        // The clock stands still, and is set back.
        let now = self.clock.now().wall;
        let mut batch = self.batch(4, 100, |_| None)?;
        log.append_as_leader(&mut batch.build()?, self.clock.now())?;
        self.clock.set_wall(Timestamp::from_millis(now.as_millis() - 3_000));
        self.fill(&log, 40, 2, 200)?;
        self.clock.set_wall(now);
        Ok(())
    }

    /// The latest timestamp is neither that of the last record nor in the last batch.
    fn disordered_timestamps(&mut self) -> Outcome {
        let log = self.lead("disorder", 0, LogConfig::new().segment_bytes(40_000))?;
        let mut draws = self.rng.split("disorder");
        self.fill_at(&log, 250, 3, 250, |now| {
            let back = i64::try_from(draws.below(100_000)).unwrap_or_default();
            (back % 5 != 0).then(|| Timestamp::from_millis(now.as_millis() - back))
        })?;
        // Timestamps that only fall, from the same latest one twice down to 1970.
        let log = self.lead("disorder", 1, LogConfig::new().index_interval_bytes(100))?;
        let latest = self.tick(1);
        for back in [0, 0, 1, 10, 1_000_000, latest.as_millis()] {
            self.fill_at(&log, 2, 2, 60, |_| Some(Timestamp::from_millis(latest.as_millis() - back)))?;
        }
        Ok(())
    }

    fn no_timestamps(&mut self) -> Outcome {
        let log = self.lead("untimed", 0, LogConfig::new().segment_bytes(10_000))?;
        self.fill_at(&log, 60, 2, 300, |_| None)?;
        self.fill(&log, 10, 1, 300)?;
        self.fill_at(&log, 10, 2, 300, |_| None)
    }

    fn leader_epochs(&mut self) -> Outcome {
        let log = self.lead("epochs", 0, LogConfig::new().segment_bytes(5_000))?;
        for epoch in [0, 1, 4, 5, 5, 9, 700_000] {
            log.begin_epoch(epoch_of(epoch)?)?;
            self.fill(&log, 7, 2, 120)?;
        }
        // Two leaders that wrote nothing.
        log.begin_epoch(epoch_of(700_001)?)?;
        log.begin_epoch(epoch_of(700_002)?)?;
        Ok(())
    }

    /// Producers with sequences, more batches than are remembered, a sequence that wraps, a new incarnation.
    fn idempotent(&mut self) -> Outcome {
        let log = self.lead("idempotent", 0, LogConfig::new().segment_bytes(2_000))?;
        let last = Sequence::MAX.minus(5);
        let mut producers = [Producer::new(11, 0, Sequence::ZERO), Producer::new(12, 3, last)];
        for round in 0..12 {
            for producer in &mut producers {
                producer.send(self, &log, 1 + round % 4, BatchKind::Idempotent)?;
            }
        }
        Producer::new(11, 1, Sequence::ZERO).send(self, &log, 2, BatchKind::Idempotent)?;
        self.fill(&log, 3, 2, 50)
    }

    fn transactions(&mut self) -> Outcome {
        let log = self.lead("transactions", 0, LogConfig::new().segment_bytes(4_000).index_interval_bytes(500))?;
        self.write_transactions(&log)?;
        // One that is open when the log is closed.
        Producer::new(2_000_000_000_000, 4, Sequence::ZERO).send(self, &log, 2, BatchKind::Transactional)?;
        commit(&log)
    }

    /// Transactions one by one, side by side, across segments, committed and aborted, and a marker that ends nothing.
    fn write_transactions(&mut self, log: &Log) -> Outcome {
        use TransactionOutcome::{Abort, Commit};
        let mut long = Producer::new(100, 0, Sequence::ZERO);
        long.send(self, log, 3, BatchKind::Transactional)?;
        for round in 0..8 {
            let mut first = Producer::new(101 + round, 0, Sequence::ZERO);
            let mut second = Producer::new(201 + round, 7, Sequence::ZERO);
            first.send(self, log, 3, BatchKind::Transactional)?;
            second.send(self, log, 1, BatchKind::Transactional)?;
            first.send(self, log, 5, BatchKind::Transactional)?;
            self.fill(log, 1, 2, 200)?;
            first.end(self, log, if round % 3 == 0 { Commit } else { Abort })?;
            second.end(self, log, if round % 2 == 0 { Abort } else { Commit })?;
            commit(log)?;
        }
        long.send(self, log, 1, BatchKind::Transactional)?;
        long.end(self, log, Abort)?;
        long.send(self, log, 2, BatchKind::Transactional)?;
        long.end(self, log, Commit)?;
        long.end(self, log, Abort)?;
        commit(log)
    }

    /// The log start lies inside a segment, inside a batch; and at the log end, so that nothing is left.
    fn deleted(&mut self) -> Outcome {
        for (number, whole) in [(0, false), (1, true)] {
            let log = self.lead("deleted", number, LogConfig::new().segment_bytes(6_000))?;
            self.write_transactions(&log)?;
            self.fill(&log, 60, 5, 60)?;
            commit(&log)?;
            let target = if whole { log.log_end_offset() } else { Offset::from(203) };
            log.delete_before(target)?;
            if !whole {
                self.fill(&log, 10, 5, 60)?;
            }
        }
        Ok(())
    }

    /// Cut inside a batch of an older segment, and inside the active one; a new leader goes on.
    fn truncated(&mut self) -> Outcome {
        for (number, target) in [(0, 301), (1, 595), (2, 0)] {
            let log =
                self.lead("truncated", number, LogConfig::new().segment_bytes(10_000).index_interval_bytes(300))?;
            self.fill(&log, 200, 3, 60)?;
            commit(&log)?;
            log.truncate_to(Offset::from(target), self.clock.now())?;
            log.begin_epoch(epoch_of(2)?)?;
            self.fill(&log, 20, 2, 60)?;
        }
        Ok(())
    }

    /// Aborted transactions are cut off, one of them between its records and its marker.
    fn truncated_transactions(&mut self) -> Outcome {
        let log = self.lead("truncatedtxn", 0, LogConfig::new())?;
        self.write_transactions(&log)?;
        let aborted = log.aborted_transactions(Offset::ZERO, log.log_end_offset())?;
        let marker = aborted.get(3).ok_or("several transactions were aborted")?.last_offset;
        log.truncate_to(marker, self.clock.now())?;
        log.begin_epoch(epoch_of(1)?)?;
        let mut next = Producer::new(300, 0, Sequence::ZERO);
        next.send(self, &log, 3, BatchKind::Transactional)?;
        next.end(self, &log, TransactionOutcome::Abort)
    }

    /// Followers of the logs above, with segments of another size, fed slice by slice and cut by the bytes.
    fn replicated(&mut self) -> Outcome {
        let leaders = ["transactions-0", "epochs-0", "appendtime-0", "truncatedtxn-0", "disorder-0"];
        for (number, leader) in (0..).zip(leaders) {
            let leader = self.logs.iter().find(|log| log.topic_partition().to_string() == leader);
            let leader = Arc::clone(leader.ok_or("the leader was written before")?);
            let log = self.open("replicated", number, LogConfig::new().segment_bytes(7_000))?;
            let limits = ReadLimits::bytes(3_000).isolation(ReadIsolation::LogEnd);
            let mut slice = leader.read(leader.log_start_offset(), limits)?;
            while !slice.is_empty() {
                log.append_as_follower(slice.as_bytes(), self.clock.now())?;
                slice = leader.read_after(&slice, limits)?;
            }
            commit(&log)?;
        }
        Ok(())
    }

    /// A follower that starts far above 2^32, as one whose leader has deleted everything before.
    fn high_offsets(&mut self) -> Outcome {
        let log = self.open("highoffsets", 0, LogConfig::new().segment_bytes(5_000))?;
        let start = Offset::new(7_000_000_000_123).ok_or("it is not negative")?;
        log.truncate_fully_and_start_at(start, self.clock.now())?;
        log.begin_epoch(epoch_of(2_000_000_000)?)?;
        self.write_transactions(&log)?;
        self.fill(&log, 50, 2, 100)
    }

    fn preallocated(&mut self) -> Outcome {
        let log = self.lead("preallocated", 0, LogConfig::new().segment_bytes(20_000).preallocate(true))?;
        self.fill(&log, 120, 2, 150)
    }

    fn empty(&mut self) -> Outcome {
        self.lead("empty", 0, LogConfig::new()).map(drop)
    }

    /// What the owner that dies leaves behind: a log that was synced half-way, and the beginning of a batch behind it.
    fn abandoned(&mut self) -> Outcome {
        let log = self.lead("recovered", 0, LogConfig::new().segment_bytes(6_000))?;
        self.write_transactions(&log)?;
        commit(&log)?;
        self.fill(&log, 40, 2, 100)?;
        let active = log.segments().pop().ok_or("a log has a segment")?;
        let torn = self.batch(5, 100, Some)?.build()?;
        let half = torn.bytes().get(..torn.size_in_bytes() / 2).unwrap_or_default();
        let file = OsStorage::new().open(&active.path(SegmentFile::Log), OpenMode::Write)?;
        file.write_all_at(active.size_in_bytes(), half)?;
        Ok(())
    }

    /// The next owner recovers it and goes on.
    fn recovered(&mut self) -> Outcome {
        let log = self.open("recovered", 0, LogConfig::new().segment_bytes(6_000))?;
        let report = log.recovery_report();
        if report.was_clean || report.cuts.len() != 1 || !report.damage.is_empty() {
            return Err(format!("half a batch was to be cut: {report:?}").into());
        }
        log.begin_epoch(epoch_of(1)?)?;
        self.fill(&log, 20, 2, 100)
    }
}

/// What the folders have in common.
impl Writer<'_> {
    fn open(&mut self, topic: &str, partition: i32, config: LogConfig) -> Result<Arc<Log>, Box<dyn Error>> {
        let tp = TopicPartition::new(topic, partition)?;
        let log = self.directory.open_log(&tp, None, config, self.clock.now())?;
        self.logs.push(Arc::clone(&log));
        Ok(log)
    }

    fn lead(&mut self, topic: &str, partition: i32, config: LogConfig) -> Result<Arc<Log>, Box<dyn Error>> {
        let log = self.open(topic, partition, config)?;
        log.begin_epoch(LeaderEpoch::ZERO)?;
        Ok(log)
    }

    /// Moves the clock on and tells the time.
    fn tick(&self, millis: u64) -> Timestamp {
        self.clock.advance(Duration::from_millis(millis));
        self.clock.now().wall
    }

    /// Text without line breaks: the judge goes by lines.
    fn value(&mut self, len: u64) -> Vec<u8> {
        const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz .,-_=";
        let mut letter = || usize::try_from(self.rng.below(32)).ok().and_then(|index| LETTERS.get(index).copied());
        (0..len).filter_map(|_| letter()).collect()
    }

    /// A batch of records with keys and values of up to `value_len` bytes.
    fn batch(
        &mut self,
        records: u32,
        value_len: u64,
        mut timestamp: impl FnMut(Timestamp) -> Option<Timestamp>,
    ) -> Result<BatchBuilder, Box<dyn Error>> {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        for number in 0..records {
            let now = self.tick(1);
            let len = value_len / 2 + self.rng.below(value_len / 2 + 1);
            let value = self.value(len);
            builder.append(timestamp(now), Some(format!("key-{number}").as_bytes()), Some(&value), &[])?;
        }
        Ok(builder)
    }

    fn fill(&mut self, log: &Log, batches: u32, records: u32, value_len: u64) -> Outcome {
        self.fill_at(log, batches, records, value_len, Some)
    }

    fn fill_at(
        &mut self,
        log: &Log,
        batches: u32,
        records: u32,
        value_len: u64,
        mut timestamp: impl FnMut(Timestamp) -> Option<Timestamp>,
    ) -> Outcome {
        for _ in 0..batches {
            let mut builder = self.batch(records, value_len, &mut timestamp)?;
            self.append(log, &mut builder)?;
        }
        Ok(())
    }

    fn append(&self, log: &Log, builder: &mut BatchBuilder) -> Outcome {
        log.append_as_leader(&mut builder.build()?, self.clock.now())?;
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq)]
enum BatchKind {
    Idempotent,
    Transactional,
}

/// A producer with an id, which counts its records.
struct Producer {
    stamp: ProducerStamp,
    next: Sequence,
}

impl Producer {
    fn new(id: i64, epoch: i16, next: Sequence) -> Producer {
        let (id, epoch) = (ProducerId::new(id).unwrap_or_default(), ProducerEpoch::new(epoch).unwrap_or_default());
        Producer { stamp: ProducerStamp { id, epoch, base_sequence: None }, next }
    }

    fn send(&mut self, writer: &mut Writer<'_>, log: &Log, records: i32, kind: BatchKind) -> Outcome {
        let producer = Some(ProducerStamp { base_sequence: Some(self.next), ..self.stamp });
        let transactional = kind == BatchKind::Transactional;
        let mut builder = BatchBuilder::new(BatchOptions { producer, transactional, ..BatchOptions::default() });
        for _ in 0..records {
            let (now, value) = (writer.tick(1), writer.value(60));
            builder.append(Some(now), Some(b"producer"), Some(&value), &[])?;
        }
        self.next = self.next.plus(records);
        writer.append(log, &mut builder)
    }

    fn end(&mut self, writer: &Writer<'_>, log: &Log, outcome: TransactionOutcome) -> Outcome {
        let marker = EndTransactionMarker { outcome, coordinator_epoch: 2 };
        let mut marker = marker.to_batch(self.stamp.id, self.stamp.epoch, writer.tick(1));
        log.append_as_leader(&mut marker, writer.clock.now())?;
        Ok(())
    }
}

/// Everything is durable, and readers of committed records may see it.
fn commit(log: &Log) -> Outcome {
    log.advance_high_watermark(log.flush()?)?;
    Ok(())
}

fn epoch_of(raw: i32) -> Result<LeaderEpoch, Box<dyn Error>> {
    Ok(LeaderEpoch::new(raw).ok_or("leader epochs are not negative")?)
}
