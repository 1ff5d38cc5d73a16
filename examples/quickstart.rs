//! Stores the lines of a text as records of three partitions, reads them back and checks that each is in its place.
//!
//! ```sh
//! cargo run --release --example quickstart [-- TEXT_FILE [DATA_FOLDER]]
//! ```
//!
//! Every line is a record, and its first word is the record's key. A line without a word has no key; it goes to partition
//! 0, where a producer would spread such records over all partitions. Each text is a topic of its own. Run it again, or
//! kill it half-way and run it again: it goes on behind the lines that each partition already holds.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "an example prints and reads the user's file")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use logstead::config::LogConfig;
use logstead::log::{Log, LogDirectory, ReadLimits, Segment};
use logstead::record::{BatchBuilder, BatchOptions};
use logstead::time::{Clock, Now, SystemClock};
use logstead::types::{LeaderEpoch, Offset, TopicPartition};

const PARTITIONS: i32 = 3;
/// Records travel in batches of about this size ..
const BATCH_BYTES: usize = 64 << 10;
/// .. and this many bytes share one sync.
const SYNC_BYTES: usize = 1 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    check_murmur2();
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let text_file = arguments.next();
    let text_file =
        text_file.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/opticks.txt"));
    let folder = arguments.next().unwrap_or_else(|| PathBuf::from("quickstart-data"));
    let text = std::fs::read(&text_file).map_err(|error| format!("cannot read {}: {error}", text_file.display()))?;
    let total = lines_of(&text).count() as u64;
    println!("{}: {total} lines, {} bytes; data folder: {}", text_file.display(), text.len(), folder.display());

    // The folder belongs to this process until it is closed. A line must fit into a segment, hence the two limits;
    // everything else is the default, above all the durability, `Synced`.
    let directory = LogDirectory::open(&folder)?;
    let config = LogConfig::new().segment_bytes(64 << 20).batch_bytes_max(64 << 20);
    let clock = SystemClock::new();
    let mut logs = Vec::new();
    for number in 0..PARTITIONS {
        let tp = TopicPartition::new(&topic_for(&text_file), number)?;
        let log = directory.open_log(&tp, None, config.clone(), clock.now())?;
        // Whoever appends leads, and each leadership has a higher number than the one before.
        log.begin_epoch(next_epoch(&log)?)?;
        logs.push((log, number));
    }

    // What an earlier run has stored must be the beginning of this text; nothing is written before that is known.
    let mut held = Vec::new();
    for (log, number) in &logs {
        commit(log)?;
        held.push(check(log, lines_for(&text, *number))?);
    }

    let start = clock.now();
    let (mut written, mut bytes) = (0, 0);
    for ((log, number), held) in logs.iter().zip(&held) {
        let end = log.log_end_offset();
        bytes += store(log, lines_for(&text, *number).skip(usize::try_from(*held)?), &clock)?;
        written += log.log_end_offset().since(end);
    }
    let took = clock.now().mono.since(start.mono);
    println!("held {} records before", held.iter().sum::<u64>());
    println!("wrote {written} records{}, durability {:?}", rate(written, bytes, took), config.get_durability());
    for (log, _) in &logs {
        let segments = log.segments();
        println!(
            "{}: {} records, {} bytes, {} segment(s), offsets {}..{}",
            log.topic_partition(),
            log.log_end_offset().since(log.log_start_offset()),
            segments.iter().map(Segment::size_in_bytes).sum::<u64>(),
            segments.len(),
            log.log_start_offset(),
            log.log_end_offset(),
        );
    }

    let start = clock.now();
    let mut found = 0;
    for (log, number) in &logs {
        found += check(log, lines_for(&text, *number))?;
    }
    println!("read {found} records{}", rate(found, text.len(), clock.now().mono.since(start.mono)));
    directory.close()?;
    if found != total {
        return Err(format!("{found} of {total} lines are there").into());
    }
    println!("all {total} lines are there, in order");
    Ok(())
}

/// Stores lines in batches and returns how many bytes they have. All of them are on the disk when this returns.
fn store<'a>(log: &Log, lines: impl Iterator<Item = &'a [u8]>, clock: &SystemClock) -> logstead::Result<usize> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let (mut now, mut bytes, mut unsynced) = (clock.now(), 0, 0);
    for line in lines {
        let key = key_of(line);
        if !builder.has_room_for(BATCH_BYTES, key, Some(line), &[]) {
            unsynced += append(log, &mut builder, now)?;
            now = clock.now();
            if unsynced >= SYNC_BYTES {
                commit(log)?;
                unsynced = 0;
            }
        }
        builder.append(Some(now.wall), key, Some(line), &[])?;
        bytes += line.len();
    }
    if !builder.is_empty() {
        append(log, &mut builder, now)?;
    }
    commit(log)?;
    Ok(bytes)
}

/// Hands a batch to the log, takes its buffer back for the next one, and returns its size.
fn append(log: &Log, builder: &mut BatchBuilder, now: Now) -> logstead::Result<usize> {
    let mut batch = builder.build()?;
    log.append_as_leader(&mut batch, now)?;
    let size = batch.size_in_bytes();
    builder.reuse(batch.into_buffer());
    Ok(size)
}

/// Makes what was appended survive a power cut, and only then lets readers of committed records see it.
fn commit(log: &Log) -> logstead::Result<()> {
    let durable = log.flush()?;
    log.advance_high_watermark(durable)?;
    Ok(())
}

/// Reads a partition from its start up to the high watermark, comparing every record with its line. Returns their number.
fn check<'a>(log: &Log, mut lines: impl Iterator<Item = &'a [u8]>) -> Result<u64, Box<dyn Error>> {
    let limits = ReadLimits::bytes(1 << 20);
    let mut expected = Offset::ZERO;
    let mut slice = log.read(expected, limits)?;
    while !slice.is_empty() {
        for batch in slice.batches() {
            for record in batch?.records() {
                let line = lines.next();
                let is_right = line.is_some() && record.value() == line && record.key() == line.and_then(key_of);
                if !is_right || record.offset() != expected {
                    let (tp, folder) = (log.topic_partition(), log.folder().display());
                    return Err(
                        format!("{tp}, offset {expected}: another text is in {folder}; use another folder").into()
                    );
                }
                expected = expected.next();
            }
        }
        slice = log.read_after(&slice, limits)?;
    }
    Ok(expected.since(Offset::ZERO))
}

fn next_epoch(log: &Log) -> Result<LeaderEpoch, &'static str> {
    let Some(latest) = log.epochs().latest() else { return Ok(LeaderEpoch::ZERO) };
    latest.epoch.get().checked_add(1).and_then(LeaderEpoch::new).ok_or("the leader epochs are exhausted")
}

/// The lines of a text without their `\n`; a last line without one counts as well.
fn lines_of(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    body.split(|byte| *byte == b'\n').take(if text.is_empty() { 0 } else { usize::MAX })
}

/// The lines that belong into one partition.
fn lines_for(text: &[u8], partition: i32) -> impl Iterator<Item = &[u8]> {
    lines_of(text).filter(move |line| partition_for(key_of(line)) == partition)
}

/// A line's first word.
fn key_of(line: &[u8]) -> Option<&[u8]> {
    line.split(u8::is_ascii_whitespace).find(|word| !word.is_empty())
}

/// Where Kafka's Java client puts a record with this key.
fn partition_for(key: Option<&[u8]>) -> i32 {
    key.map_or(0, |key| (murmur2(key) & i32::MAX) % PARTITIONS)
}

/// The file's name, as far as its characters may stand in a topic's.
fn topic_for(text_file: &Path) -> String {
    let name = text_file.file_name().unwrap_or_default().to_string_lossy();
    let legal = |c: char| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '_' };
    name.chars().map(legal).take(200).collect()
}

/// The hash of Kafka's Java client (`Utils.murmur2`).
fn murmur2(bytes: &[u8]) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let (words, tail) = bytes.as_chunks::<4>();
    let mut hash = 0x9747_b28c ^ u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    for word in words {
        let word = u32::from_le_bytes(*word).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ (word ^ word >> 24).wrapping_mul(M);
    }
    if !tail.is_empty() {
        let word = tail.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
        hash = (hash ^ word).wrapping_mul(M);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(M);
    (hash ^ hash >> 15).cast_signed()
}

/// The values that Kafka's own tests expect.
fn check_murmur2() {
    let known = [
        ("21", -973_932_308),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ("abc", 479_470_107),
    ];
    for (key, hash) in known {
        assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
    }
}

fn rate(records: u64, bytes: usize, took: Duration) -> String {
    let seconds = took.as_secs_f64().max(1e-9);
    let (records, mebibytes) = (records as f64 / seconds, bytes as f64 / seconds / f64::from(1 << 20));
    format!(" in {:.1} ms: {records:.0} records/s, {mebibytes:.1} MiB/s", seconds * 1e3)
}
