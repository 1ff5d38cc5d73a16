//! How fast one log gives records back from the page cache: scans and single records, through both read modes.
//!
//! The floor of a scan walks the same segment files with a hand-written decoder that checks each batch's checksum: over a
//! mapping where the log reads through mappings, otherwise with positioned reads of the same size into one buffer. The
//! floor of a single record knows where its batch stands (a sorted table in memory), reads that batch, checks it and
//! decodes as far as the record. All sides touch every record's value that they return.
//!
//! `cargo bench --bench read -- [--quick] [--rounds N] [--only TEXT] [FOLDER]`
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

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Instant;

use common::{BenchResult, Label, Options, Sample, Scratch, Values, print_heading, run_row, timed};
use decode::{batch_at, check, each_value, touch};
use logstead::config::{Durability, LogConfig, ReadMode};
use logstead::log::{Log, LogDirectory, ReadIsolation, ReadLimits, SegmentFile};
use logstead::record::{BatchBuilder, BatchOptions};
use logstead::rng::Rng;
use logstead::storage::{FrozenBytes, OpenMode, OsStorage, Storage};
use logstead::time::{Clock, SystemClock};
use logstead::types::{LeaderEpoch, Offset, TopicPartition};

fn main() -> BenchResult<()> {
    let options = Options::from_args()?;
    print_heading("read", "records of one log in the page cache; latencies are of one call to the log", &options);
    for record_bytes in [100, 1024] {
        for kib in [16, 64] {
            let data = Data::write(&options, record_bytes, kib << 10)?;
            for (mode, name) in [(ReadMode::Positioned, "positioned"), (ReadMode::Mapped, "mapped")] {
                let subject = Subject::open(&data, mode)?;
                for limit in [64, 256, 1024].into_iter().filter(|limit| kib == 64 || *limit == 256) {
                    let batch = format!("{kib}K/{limit}K");
                    let label = Label { mode: name, record_bytes, batch, threads: 1 };
                    run_row(&options, &label, || scan(&subject, limit << 10), || floor_scan(&subject, limit << 10))?;
                }
                let label = Label { mode: name, record_bytes, batch: format!("{kib}K/point"), threads: 1 };
                let count = options.amount(20_000);
                run_row(&options, &label, || points(&subject, count), || floor_points(&subject, count))?;
            }
        }
    }
    Ok(())
}

/// A data folder with one log in a few segments.
struct Data {
    scratch: Scratch,
    records: usize,
}

impl Data {
    /// All but the newest segment can be mapped, and the newest is a small part of the whole.
    const SEGMENT_BYTES: usize = 16 << 20;

    fn write(options: &Options, record_bytes: usize, batch_bytes: usize) -> BenchResult<Data> {
        let scratch = Scratch::new(options, "read")?;
        let (clock, mut values) = (SystemClock::new(), Values::new(record_bytes));
        let mut builder = BatchBuilder::new(BatchOptions::default());
        let count = batch_bytes / (record_bytes + 10);
        let batches = options.amount((128 << 20) / batch_bytes);
        let data = Data { records: batches * count, scratch };
        let (directory, log) = data.open(ReadMode::Positioned)?;
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
        directory.close()?;
        Ok(data)
    }

    fn open(&self, mode: ReadMode) -> BenchResult<(LogDirectory, Arc<Log>)> {
        let now = SystemClock::new().now();
        let directory = LogDirectory::options().seed(1).open(self.scratch.path().join("data"))?;
        let config =
            LogConfig::new().durability(Durability::Os).read_mode(mode).segment_bytes(Self::SEGMENT_BYTES as u64);
        let log = directory.open_log(&TopicPartition::new("bench", 0)?, None, config, now)?;
        Ok((directory, log))
    }
}

/// A log that is open in one mode, and what the floor has of it.
struct Subject {
    log: Arc<Log>,
    mode: ReadMode,
    records: usize,
    segments: Vec<FloorSegment>,
    /// First offset, segment, position and size of every batch, in offset order.
    batches: Vec<(i64, usize, usize, usize)>,
    _directory: LogDirectory,
}

/// A segment's file as the floor reads it.
struct FloorSegment {
    file: File,
    map: FrozenBytes,
    len: usize,
}

impl Subject {
    fn open(data: &Data, mode: ReadMode) -> BenchResult<Subject> {
        let (directory, log) = data.open(mode)?;
        let mut segments = Vec::new();
        let mut batches = Vec::new();
        for segment in log.segments() {
            let path = segment.path(SegmentFile::Log);
            let map = OsStorage::new().open(&path, OpenMode::Read)?.freeze()?;
            let mut at = 0;
            while let Some((base_offset, size)) = batch_at(&map[at..]) {
                batches.push((base_offset, segments.len(), at, size));
                at += size;
            }
            segments.push(FloorSegment { file: File::open(&path)?, len: map.len(), map });
        }
        Ok(Subject { log, mode, records: data.records, segments, batches, _directory: directory })
    }
}

fn scan(subject: &Subject, limit: usize) -> BenchResult<Sample> {
    let limits = ReadLimits::bytes(limit).isolation(ReadIsolation::LogEnd);
    let (mut records, mut sum, mut latencies) = (0, 0, Vec::new());
    let start = Instant::now();
    let mut slice = timed(&mut latencies, || Ok(subject.log.read(Offset::ZERO, limits)?))?;
    while !slice.is_empty() {
        for batch in slice.batches() {
            for record in batch?.records() {
                records += 1;
                sum = touch(sum, record.value().unwrap_or_default());
            }
        }
        slice = timed(&mut latencies, || Ok(subject.log.read_after(&slice, limits)?))?;
    }
    std::hint::black_box(sum);
    expect_all(records, subject)?;
    Ok(Sample { records, elapsed: start.elapsed(), latencies })
}

fn floor_scan(subject: &Subject, limit: usize) -> BenchResult<Sample> {
    let (mut records, mut sum, mut buffer) = (0, 0, vec![0; limit]);
    let start = Instant::now();
    for segment in &subject.segments {
        let mut position = 0;
        while position < segment.len {
            let bytes = match subject.mode {
                ReadMode::Mapped => &segment.map[position..],
                ReadMode::Positioned => {
                    let want = limit.min(segment.len - position);
                    segment.file.read_exact_at(&mut buffer[..want], position as u64)?;
                    &buffer[..want]
                }
            };
            let mut at = 0;
            while let Some((_, size)) = batch_at(&bytes[at..]) {
                let batch = check(&bytes[at..at + size])?;
                records += each_value(batch, usize::MAX, |value| sum = touch(sum, value));
                at += size;
            }
            position += at;
        }
    }
    std::hint::black_box(sum);
    expect_all(records, subject)?;
    Ok(Sample { records, elapsed: start.elapsed(), latencies: Vec::new() })
}

fn points(subject: &Subject, count: usize) -> BenchResult<Sample> {
    let limits = ReadLimits::bytes(1).isolation(ReadIsolation::LogEnd);
    let (mut rng, mut sum, mut latencies) = (Rng::from_seed(2), 0, Vec::with_capacity(count));
    let start = Instant::now();
    for _ in 0..count {
        let offset = Offset::new(rng.below(subject.records as u64).cast_signed()).ok_or("an offset below zero")?;
        timed(&mut latencies, || {
            let slice = subject.log.read(offset, limits)?;
            let batch = slice.batches().next().ok_or("nothing was read")??;
            let record = batch.records().find(|record| record.offset() == offset).ok_or("the record is missing")?;
            sum = touch(sum, record.value().unwrap_or_default());
            Ok(())
        })?;
    }
    std::hint::black_box(sum);
    Ok(Sample { records: count, elapsed: start.elapsed(), latencies })
}

fn floor_points(subject: &Subject, count: usize) -> BenchResult<Sample> {
    let (mut rng, mut sum, mut buffer) = (Rng::from_seed(2), 0, Vec::new());
    let mut latencies = Vec::with_capacity(count);
    let start = Instant::now();
    for _ in 0..count {
        let offset = rng.below(subject.records as u64).cast_signed();
        timed(&mut latencies, || {
            let index = subject.batches.partition_point(|(first, ..)| *first <= offset) - 1;
            let (first, segment, at, size) = subject.batches[index];
            let segment = &subject.segments[segment];
            let bytes = match subject.mode {
                ReadMode::Mapped => &segment.map[at..at + size],
                ReadMode::Positioned => {
                    buffer.resize(buffer.len().max(size), 0);
                    segment.file.read_exact_at(&mut buffer[..size], at as u64)?;
                    &buffer[..size]
                }
            };
            let mut last: &[u8] = &[];
            each_value(check(bytes)?, (offset - first) as usize + 1, |value| last = value);
            sum = touch(sum, last);
            Ok(())
        })?;
    }
    std::hint::black_box(sum);
    Ok(Sample { records: count, elapsed: start.elapsed(), latencies })
}

fn expect_all(records: usize, subject: &Subject) -> BenchResult<()> {
    if records == subject.records {
        return Ok(());
    }
    Err(format!("{records} records were read, {} were written", subject.records).into())
}
