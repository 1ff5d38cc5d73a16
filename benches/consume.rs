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
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{BenchResult, Label, Options, Sample, Scratch, Values, print_heading, run_row, timed};
use decode::{batch_at, check, each_value, touch};
use logstead::OffsetSpec;
use logstead::cluster::Cluster;
use logstead::config::{Durability, LogConfig, ReadMode, TopicConfig};
use logstead::consumer::{Consumer, PollLimits};
use logstead::storage::{FrozenBytes, OpenMode, OsStorage, Storage};

const TOPIC: &str = "bench";
/// Bytes of one read of the floor.
const FLOOR_READ_BYTES: usize = 256 << 10;

fn main() -> BenchResult<()> {
    let options = Options::from_args()?;
    print_heading("consume", "records of one partition in the page cache; latencies are of one poll", &options);
    for record_bytes in [100, 1024] {
        for kib in [16, 64] {
            for (mode, name) in [(ReadMode::Positioned, "positioned"), (ReadMode::Mapped, "mapped")] {
                let labels = [500, 10_000].map(|records| {
                    (records, Label { mode: name, record_bytes, batch: format!("{kib}K/{records}"), threads: 1 })
                });
                if !labels.iter().any(|(_, label)| options.wants(label)) {
                    continue;
                }
                let mut subject = Subject::write(&options, mode, record_bytes, kib << 10)?;
                for (records, label) in labels {
                    let limits = PollLimits { records, bytes: usize::MAX };
                    let Subject { consumer, segments, records, .. } = &mut subject;
                    let floor = || floor_scan(segments, mode, *records);
                    run_row(&options, &label, || scan(consumer, limits, *records), floor)?;
                }
            }
        }
    }
    Ok(())
}

/// A consumer of one partition in a few segments, and what the floor has of the same records.
struct Subject {
    consumer: Consumer,
    segments: Vec<FloorSegment>,
    records: usize,
    // The cluster before its folder.
    _cluster: Cluster,
    _scratch: Scratch,
}

/// A segment's file as the floor reads it.
struct FloorSegment {
    file: File,
    map: FrozenBytes,
    len: usize,
}

impl Subject {
    /// All but the newest segment can be mapped, and the newest is a small part of the whole.
    const SEGMENT_BYTES: u64 = 16 << 20;

    fn write(options: &Options, mode: ReadMode, record_bytes: usize, batch_bytes: usize) -> BenchResult<Subject> {
        let scratch = Scratch::new(options, "consume")?;
        let folder = scratch.path().join("data");
        let cluster = Cluster::open(&folder)?;
        let config = LogConfig::new().durability(Durability::Os).read_mode(mode).segment_bytes(Subject::SEGMENT_BYTES);
        cluster.create_topic(TOPIC, TopicConfig::new().log(config))?;
        let records = options.amount((128 << 20) / batch_bytes) * (batch_bytes / (record_bytes + 10));
        let producer = cluster.producer().batch_bytes(batch_bytes as u64).linger(Duration::from_secs(60)).build()?;
        let (topic, mut values) = (producer.topic(TOPIC)?, Values::new(record_bytes));
        for _ in 1..records {
            topic.push((), values.next())?;
        }
        // A sync: only what is rolled and durable is mapped.
        cluster.alter_topic(TOPIC, [("flush.messages", Some("1"))])?;
        topic.send((), values.next())?.wait()?;
        let segments = FloorSegment::all_of(&folder.join(format!("{TOPIC}-0")))?;
        let consumer = cluster.consumer().topic(TOPIC).build()?;
        Ok(Subject { consumer, segments, records, _cluster: cluster, _scratch: scratch })
    }
}

impl FloorSegment {
    /// Those of a partition's folder, oldest first.
    fn all_of(folder: &Path) -> BenchResult<Vec<FloorSegment>> {
        let entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
        let mut paths: Vec<_> = entries.iter().map(fs::DirEntry::path).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        paths.sort();
        let open = |path: &PathBuf| {
            let map = OsStorage::new().open(path, OpenMode::Read)?.freeze()?;
            Ok(FloorSegment { file: File::open(path)?, len: map.len(), map })
        };
        paths.iter().map(open).collect()
    }
}

fn scan(consumer: &mut Consumer, limits: PollLimits, expected: usize) -> BenchResult<Sample> {
    consumer.seek_all(OffsetSpec::Earliest)?;
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
