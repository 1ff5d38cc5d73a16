//! How fast a consumer gives records back from the page cache: scans of one partition through both read modes.
//!
//! The floor walks the same segment files with a hand-written decoder that checks each batch's checksum: over a mapping where
//! the log reads through mappings, otherwise with positioned reads into one buffer. Both sides touch every record's value.
//! The records were written with `Durability::Os`; latencies are of one poll.
//!
//! `cargo bench --bench consume -- [--quick] [--rounds N] [--only TEXT] [FOLDER]`
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark reads the real clock and the real disk, and prints"
)]

mod common;
#[path = "common/decode.rs"]
mod decode;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::{BenchResult, Label, Options, Sample, Scratch, Values, print_heading, run_row, timed};
use decode::{batch_at, check, each_value, touch};
use logstead::cluster::Cluster;
use logstead::config::{Durability, LogConfig, ReadMode, TopicConfig};
use logstead::consumer::{Consumer, OffsetSpec, PollLimits};
use logstead::log::{LogDirectory, SegmentFile};
use logstead::record::{BatchBuilder, BatchOptions};
use logstead::storage::{FrozenBytes, OpenMode, OsStorage, Storage};
use logstead::time::{Clock, SystemClock};
use logstead::types::{LeaderEpoch, TopicPartition};

const TOPIC: &str = "bench";
/// Bytes of one read of the floor.
const FLOOR_READ_BYTES: usize = 256 << 10;

fn main() -> BenchResult<()> {
    let options = Options::from_args()?;
    print_heading("consume", "records of one partition in the page cache; latencies are of one poll", &options);
    for record_bytes in [100, 1024] {
        for kib in [16, 64] {
            let data = Data::write(&options, record_bytes, kib << 10)?;
            for (mode, name) in [(ReadMode::Positioned, "positioned"), (ReadMode::Mapped, "mapped")] {
                let mut subject = Subject::open(&data, mode)?;
                for records in [500, 10_000] {
                    let label = Label { mode: name, record_bytes, batch: format!("{kib}K/{records}"), threads: 1 };
                    let limits = PollLimits { records, bytes: usize::MAX };
                    let Subject { consumer, segments, .. } = &mut subject;
                    let floor = || floor_scan(segments, mode, data.records);
                    run_row(&options, &label, || scan(consumer, limits, data.records), floor)?;
                }
            }
        }
    }
    Ok(())
}

/// A data folder with one partition in a few segments.
struct Data {
    scratch: Scratch,
    records: usize,
    segments: Vec<PathBuf>,
}

impl Data {
    /// All but the newest segment can be mapped, and the newest is a small part of the whole.
    const SEGMENT_BYTES: u64 = 16 << 20;

    fn write(options: &Options, record_bytes: usize, batch_bytes: usize) -> BenchResult<Data> {
        let scratch = Scratch::new(options, "consume")?;
        let (clock, mut values) = (SystemClock::new(), Values::new(record_bytes));
        let mut builder = BatchBuilder::new(BatchOptions::default());
        let count = batch_bytes / (record_bytes + 10);
        let batches = options.amount((128 << 20) / batch_bytes);
        let directory = LogDirectory::options().seed(1).open(scratch.path().join("data"))?;
        let config = Data::config(ReadMode::Positioned);
        let log = directory.open_log(&TopicPartition::new(TOPIC, 0)?, None, config, clock.now())?;
        log.begin_epoch(LeaderEpoch::ZERO)?;
        for _ in 0..batches {
            let now = clock.now();
            for _ in 0..count {
                builder.append(Some(now.wall), None, Some(values.next()), &[])?;
            }
            let mut batch = builder.build()?;
            log.append_as_leader(&mut batch, now)?;
            builder.reuse(batch.into_buffer());
        }
        let segments = log.segments().iter().map(|segment| segment.path(SegmentFile::Log)).collect();
        directory.close()?;
        // The topic that adopts the partition brings an id of its own.
        fs::remove_file(scratch.path().join("data").join(format!("{TOPIC}-0/partition.metadata")))?;
        Ok(Data { records: batches * count, scratch, segments })
    }

    fn config(mode: ReadMode) -> LogConfig {
        LogConfig::new().durability(Durability::Os).read_mode(mode).segment_bytes(Data::SEGMENT_BYTES)
    }
}

/// A consumer in one read mode, and what the floor has of the same records.
struct Subject {
    consumer: Consumer,
    segments: Vec<FloorSegment>,
    cluster: Option<Cluster>,
    metadata: PathBuf,
}

/// A segment's file as the floor reads it.
struct FloorSegment {
    file: File,
    map: FrozenBytes,
    len: usize,
}

impl Subject {
    fn open(data: &Data, mode: ReadMode) -> BenchResult<Subject> {
        let folder = data.scratch.path().join("data");
        let cluster = Cluster::open(&folder)?;
        cluster.create_topic(TOPIC, TopicConfig::new().log(Data::config(mode)))?;
        let consumer = cluster.consumer().topic(TOPIC).build()?;
        let mut segments = Vec::new();
        for path in &data.segments {
            let map = OsStorage::new().open(path, OpenMode::Read)?.freeze()?;
            segments.push(FloorSegment { file: File::open(path)?, len: map.len(), map });
        }
        let metadata = folder.join(format!("{TOPIC}-0/partition.metadata"));
        Ok(Subject { consumer, segments, cluster: Some(cluster), metadata })
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        drop(self.cluster.take());
        // The next subject's topic has another id. Where the file cannot be removed, its open fails and tells.
        let _ = fs::remove_file(&self.metadata);
    }
}

fn scan(consumer: &mut Consumer, limits: PollLimits, expected: usize) -> BenchResult<Sample> {
    consumer.seek_all(OffsetSpec::Beginning)?;
    let (mut count, mut sum, mut latencies) = (0, 0, Vec::new());
    let start = Instant::now();
    loop {
        let records = timed(&mut latencies, || Ok(consumer.poll_with(limits, Duration::ZERO)?))?;
        if records.is_empty() {
            break;
        }
        for record in &records {
            count += 1;
            sum = touch(sum, record.value().unwrap_or_default());
        }
    }
    std::hint::black_box(sum);
    expect_all(count, expected)?;
    Ok(Sample { records: count, elapsed: start.elapsed(), latencies })
}

fn floor_scan(segments: &[FloorSegment], mode: ReadMode, expected: usize) -> BenchResult<Sample> {
    let (mut count, mut sum, mut buffer) = (0, 0, vec![0; FLOOR_READ_BYTES]);
    let start = Instant::now();
    for segment in segments {
        let mut position = 0;
        while position < segment.len {
            let bytes = match mode {
                ReadMode::Mapped => &segment.map[position..],
                ReadMode::Positioned => {
                    let want = FLOOR_READ_BYTES.min(segment.len - position);
                    segment.file.read_exact_at(&mut buffer[..want], position as u64)?;
                    &buffer[..want]
                }
            };
            let mut at = 0;
            while let Some((_, size)) = batch_at(&bytes[at..]) {
                count += each_value(check(&bytes[at..at + size])?, usize::MAX, |value| sum = touch(sum, value));
                at += size;
            }
            position += at;
        }
    }
    std::hint::black_box(sum);
    expect_all(count, expected)?;
    Ok(Sample { records: count, elapsed: start.elapsed(), latencies: Vec::new() })
}

fn expect_all(records: usize, expected: usize) -> BenchResult<()> {
    if records == expected {
        Ok(())
    } else {
        Err(format!("{records} records were read, {expected} were written").into())
    }
}
