//! What many partitions cost: opening a cluster, after a clean stop and after a kill, and letting it stand idle.
//!
//! Each partition holds one batch and is closed. After a clean stop the floor lists the data folder and reads the files
//! that hold something of every partition; after a kill it lists each partition's folder and reads its log as well, which
//! no recovery can do without. A row's "record" is a partition. The kill is a copy of the folder of a cluster that is open,
//! copied anew before each round.
//!
//! `cargo bench --bench open -- [--quick] [--rounds N] [--only TEXT] [FOLDER]`
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark reads the real clock and the real disk, and prints"
)]

#[allow(dead_code, reason = "this benchmark moves no records")]
mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{BenchResult, Label, Options, Sample, Scratch, print_heading, run_row};
use logstead::cluster::Cluster;
use logstead::config::{LogConfig, TopicConfig};
use logstead::log::LogDirectory;
use logstead::producer::Record;
use logstead::record::{BatchBuilder, BatchOptions, BuiltBatch};
use logstead::time::{Clock, SystemClock};
use logstead::types::{LeaderEpoch, TopicId, TopicPartition};

const TOPIC: &str = "bench";
const TOPIC_ID: TopicId = TopicId::from_bytes([0x41; 16]);
const PARTITIONS: usize = 10_000;
/// Each holds three files while its log is open: run it where the process may have some thousands.
const IDLE_PARTITIONS: usize = 1_000;
/// Files that hold something of every partition.
const SHARED_FILES: [&str; 5] = [
    "logstead.manifest",
    "logstead.witness",
    "recovery-point-offset-checkpoint",
    "replication-offset-checkpoint",
    "log-start-offset-checkpoint",
];

fn main() -> BenchResult<()> {
    let options = Options::from_args()?;
    print_heading("open", "opening a folder of many closed partitions; a record is a partition", &options);
    let count = options.amount(PARTITIONS);
    let scratch = Scratch::new(&options, "open")?;
    // First, while the process has no memory left over from anything else.
    stand_idle(&options, &scratch.path().join("idle"))?;
    let data = scratch.path().join("data");
    write(&data, count)?;
    drop(Cluster::open(&data)?); // adopts the partitions
    let label = |mode| Label { mode, record_bytes: 0, batch: format!("{count}"), threads: 1 };
    run_row(&options, &label("directory"), || open_directory(&data, count), || floor_clean(&data, count))?;
    run_row(&options, &label("clean"), || open_cluster(&data, count), || floor_clean(&data, count))?;
    let live = Cluster::open(&data)?;
    let killed = scratch.path().join("killed");
    let engine = || {
        copy_anew(&data, &killed)?;
        open_cluster(&killed, count)
    };
    run_row(&options, &label("killed"), engine, || floor_killed(&data, count))?;
    Ok(live.close()?)
}

/// A folder of closed partitions with a batch each.
fn write(data: &Path, count: usize) -> BenchResult<()> {
    let clock = SystemClock::new();
    let directory = LogDirectory::options().seed(1).open(data)?;
    for number in 0..i32::try_from(count)? {
        let tp = TopicPartition::new(TOPIC, number)?;
        let log = directory.open_log(&tp, Some(TOPIC_ID), LogConfig::new(), clock.now())?;
        log.begin_epoch(LeaderEpoch::ZERO)?;
        log.append_as_leader(&mut batch()?, clock.now())?;
        log.flush()?;
        log.advance_high_watermark(log.log_end_offset())?;
        log.close()?;
    }
    Ok(directory.close()?)
}

fn batch() -> BenchResult<BuiltBatch> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(Some(SystemClock::new().now().wall), None, Some(&[7; 100]), &[])?;
    Ok(builder.build()?)
}

fn open_directory(data: &Path, count: usize) -> BenchResult<Sample> {
    let start = Instant::now();
    let directory = LogDirectory::open(data)?;
    let elapsed = start.elapsed();
    expect_all(directory.partitions()?.len(), count + 1)?; // and the metadata log
    directory.close()?;
    Ok(Sample { records: count, elapsed, latencies: Vec::new() })
}

fn open_cluster(data: &Path, count: usize) -> BenchResult<Sample> {
    let start = Instant::now();
    let cluster = Cluster::open(data)?;
    let elapsed = start.elapsed();
    expect_all(cluster.topic(TOPIC)?.partition_count() as usize, count)?;
    if !cluster.report().damage.is_empty() {
        return Err("there is damage".into());
    }
    cluster.close()?;
    Ok(Sample { records: count, elapsed, latencies: Vec::new() })
}

fn floor_clean(data: &Path, count: usize) -> BenchResult<Sample> {
    let start = Instant::now();
    let entries = fs::read_dir(data)?.count();
    let mut bytes = 0;
    for name in SHARED_FILES {
        bytes += fs::read(data.join(name))?.len();
    }
    std::hint::black_box((entries, bytes));
    Ok(Sample { records: count, elapsed: start.elapsed(), latencies: Vec::new() })
}

fn floor_killed(data: &Path, count: usize) -> BenchResult<Sample> {
    let start = Instant::now();
    let mut sample = floor_clean(data, count)?;
    for number in 0..count {
        let folder = data.join(format!("{TOPIC}-{number}"));
        let entries = fs::read_dir(&folder)?.count();
        let bytes = fs::read(folder.join("00000000000000000000.log"))?;
        std::hint::black_box((entries, bytes));
    }
    sample.elapsed = start.elapsed();
    Ok(sample)
}

fn expect_all(found: usize, expected: usize) -> BenchResult<()> {
    if found == expected { Ok(()) } else { Err(format!("{found} partitions, {expected} were written").into()) }
}

fn copy_anew(from: &Path, to: &Path) -> BenchResult<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    copy_tree(from, to)
}

fn copy_tree(from: &Path, to: &Path) -> BenchResult<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// What partitions cost that were all used once and are left alone since.
fn stand_idle(options: &Options, data: &Path) -> BenchResult<()> {
    let count = options.amount(IDLE_PARTITIONS);
    let cluster = Cluster::open(data)?;
    cluster.create_topic(TOPIC, TopicConfig::new().partitions(u32::try_from(count)?))?;
    let before = Usage::now()?;
    let producer = cluster.producer().build()?;
    for number in 0..i32::try_from(count)? {
        producer.send(Record::to(TOPIC).partition(number).value("once"))?;
    }
    producer.flush()?;
    let used = Usage::now()?;
    // What the records left to do is done by then.
    std::thread::sleep(Duration::from_secs(if options.quick { 0 } else { 5 }));
    let (first, watched) = (Usage::now()?, Duration::from_millis(if options.quick { 100 } else { 5_000 }));
    std::thread::sleep(watched);
    let last = Usage::now()?;
    // The watching thread sleeps once itself.
    let wakeups = last.switches.saturating_sub(first.switches).saturating_sub(1);
    println!(
        "idle: {count} partitions used once: {} threads, {:.1} wake-ups/s, {:.1} KiB resident a partition, {} descriptors",
        last.threads,
        wakeups as f64 / watched.as_secs_f64(),
        used.resident_kib.saturating_sub(before.resident_kib) as f64 / count as f64,
        last.descriptors.saturating_sub(before.descriptors),
    );
    producer.close()?;
    Ok(cluster.close()?)
}

/// What this process uses, as the kernel tells it.
#[derive(Debug)]
struct Usage {
    resident_kib: u64,
    threads: u64,
    descriptors: u64,
    /// How often any thread went to sleep of its own accord.
    switches: u64,
}

impl Usage {
    fn now() -> BenchResult<Usage> {
        let status = PathBuf::from("/proc/self/status");
        let mut switches = 0;
        for task in fs::read_dir("/proc/self/task")? {
            switches += field(&task?.path().join("status"), "voluntary_ctxt_switches:")?;
        }
        Ok(Usage {
            resident_kib: field(&status, "VmRSS:")?,
            threads: field(&status, "Threads:")?,
            descriptors: fs::read_dir("/proc/self/fd")?.count() as u64,
            switches,
        })
    }
}

/// The number behind a keyword.
fn field(path: &Path, keyword: &str) -> BenchResult<u64> {
    let text = fs::read_to_string(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix(keyword));
    let word = line.and_then(|rest| rest.split_whitespace().next()).ok_or_else(|| format!("no {keyword}"))?;
    Ok(word.parse()?)
}
