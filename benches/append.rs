//! How fast one log takes records: into the page cache and synced, one by one and in batches, from one thread and more.
//!
//! The floor encodes the same batches by hand into a reused buffer, computes their checksums and writes them with one
//! positioned write per 64 KiB (one per batch where a batch is a single record), and, where the row is synced, calls
//! `fdatasync` once a batch on each thread. Both sides append to a new, growing file in each round.
//!
//! `cargo bench --bench append -- [--quick] [--rounds N] [--only TEXT] [FOLDER]`
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark reads the real clock and the real disk, and prints"
)]

mod common;
#[path = "common/encode.rs"]
mod encode;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use common::{BenchResult, Label, Options, Sample, Scratch, Values, print_heading, run_row, timed};
use encode::encode_batch;
use logstead::config::{Durability, LogConfig};
use logstead::log::{Log, LogDirectory};
use logstead::record::{BatchBuilder, BatchOptions};
use logstead::sync::{Committer, CommitterConfig};
use logstead::time::{Clock, SystemClock};
use logstead::types::{LeaderEpoch, TopicPartition};

/// Bytes of one write of the floor, as long as it need not write each batch.
const FLOOR_WRITE_BYTES: usize = 64 << 10;
/// Bytes that a record takes besides its value, at these sizes; good enough to fill a batch of so many bytes.
const RECORD_OVERHEAD: usize = 10;

fn main() -> BenchResult<()> {
    let options = Options::from_args()?;
    print_heading("append", "records into one log; latencies are of encoding and appending one batch", &options);
    let scratch = Scratch::new(&options, "append")?;
    for record_bytes in [100, 1024] {
        for (batch, count) in batches_of(record_bytes) {
            let bytes = if count == 1 { 200_000 * record_bytes.min(512) } else { 128 << 20 };
            let plan = Plan { record_bytes, count, batches: options.amount(bytes / (count * record_bytes)) };
            let label = Label { mode: "page-cache", record_bytes, batch, threads: 1 };
            run_row(&options, &label, || engine_os(&scratch, &plan), || floor_os(&scratch, &plan))?;
        }
    }
    for record_bytes in [100, 1024] {
        for (batch, count) in batches_of(record_bytes) {
            let plan = Plan { record_bytes, count, batches: options.amount(600) };
            let label = Label { mode: "synced", record_bytes, batch, threads: 1 };
            let engine = || engine_synced(&scratch, &plan, 1, Sync::Flush);
            run_row(&options, &label, engine, || floor_synced(&scratch, &plan, 1))?;
        }
    }
    for threads in [1, 4, 8] {
        let plan = Plan { record_bytes: 100, count: 1, batches: options.amount(600) };
        let label = Label { mode: "committer", record_bytes: 100, batch: "1".to_owned(), threads };
        let engine = || engine_synced(&scratch, &plan, threads, Sync::Committer);
        run_row(&options, &label, engine, || floor_synced(&scratch, &plan, threads))?;
    }
    Ok(())
}

/// What is appended in one round by one thread.
#[derive(Debug, Clone, Copy)]
struct Plan {
    record_bytes: usize,
    /// Records in a batch.
    count: usize,
    batches: usize,
}

/// How a synced batch becomes durable.
#[derive(Debug, Clone, Copy)]
enum Sync {
    Flush,
    Committer,
}

/// The batches that a record size is tried in: a label, and how many records.
fn batches_of(record_bytes: usize) -> Vec<(String, usize)> {
    let mut batches = vec![("1".to_owned(), 1)];
    for kib in [16, 64] {
        batches.push((format!("{kib} KiB"), (kib << 10) / (record_bytes + RECORD_OVERHEAD)));
    }
    if record_bytes == 100 {
        batches.push(("1000".to_owned(), 1000));
    }
    batches
}

/// Runs `measure` on a new log in a new data folder, and removes it.
fn with_log(
    scratch: &Scratch,
    durability: Durability,
    measure: impl FnOnce(&Log) -> BenchResult<Sample>,
) -> BenchResult<Sample> {
    let folder = scratch.path().join("engine");
    let sample = {
        let directory = LogDirectory::options().seed(1).open(&folder)?;
        let config = LogConfig::new().durability(durability);
        let log = directory.open_log(&TopicPartition::new("bench", 0)?, None, config, SystemClock::new().now())?;
        log.begin_epoch(LeaderEpoch::ZERO)?;
        log.flush()?;
        measure(&log)?
    };
    fs::remove_dir_all(&folder)?;
    Ok(sample)
}

/// Builds and appends one batch in the builder's own buffer.
fn append(
    log: &Log,
    builder: &mut BatchBuilder,
    values: &mut Values,
    plan: &Plan,
    clock: &SystemClock,
) -> BenchResult<()> {
    let now = clock.now();
    for _ in 0..plan.count {
        builder.append(Some(now.wall), None, Some(values.next()), &[])?;
    }
    let mut batch = builder.build()?;
    log.append_as_leader(&mut batch, now)?;
    builder.reuse(batch.into_buffer());
    Ok(())
}

fn engine_os(scratch: &Scratch, plan: &Plan) -> BenchResult<Sample> {
    with_log(scratch, Durability::Os, |log| {
        let (clock, mut values) = (SystemClock::new(), Values::new(plan.record_bytes));
        let mut builder = BatchBuilder::new(BatchOptions::default());
        let mut latencies = Vec::with_capacity(plan.batches);
        let start = Instant::now();
        for _ in 0..plan.batches {
            timed(&mut latencies, || append(log, &mut builder, &mut values, plan, &clock))?;
        }
        Ok(Sample { records: plan.batches * plan.count, elapsed: start.elapsed(), latencies })
    })
}

fn floor_os(scratch: &Scratch, plan: &Plan) -> BenchResult<Sample> {
    let file = FloorFile::create(scratch)?;
    let least = if plan.count == 1 { 0 } else { FLOOR_WRITE_BYTES };
    let mut values = Values::new(plan.record_bytes);
    let (mut buffer, mut offset, mut position) = (Vec::new(), 0, 0);
    let mut latencies = Vec::with_capacity(plan.batches);
    let start = Instant::now();
    for _ in 0..plan.batches {
        timed(&mut latencies, || {
            encode_batch(&mut buffer, offset, &mut values, plan.count);
            offset += plan.count as i64;
            if buffer.len() >= least {
                for piece in buffer.chunks(FLOOR_WRITE_BYTES) {
                    file.file.write_all_at(piece, position)?;
                    position += piece.len() as u64;
                }
                buffer.clear();
            }
            Ok(())
        })?;
    }
    file.file.write_all_at(&buffer, position)?;
    Ok(Sample { records: plan.batches * plan.count, elapsed: start.elapsed(), latencies })
}

fn engine_synced(scratch: &Scratch, plan: &Plan, threads: usize, sync: Sync) -> BenchResult<Sample> {
    let committer = Committer::new(CommitterConfig::default());
    with_log(scratch, Durability::Synced, |log| {
        on_threads(plan, threads, || {
            let (clock, mut values) = (SystemClock::new(), Values::new(plan.record_bytes));
            let mut builder = BatchBuilder::new(BatchOptions::default());
            let mut latencies = Vec::with_capacity(plan.batches);
            for _ in 0..plan.batches {
                timed(&mut latencies, || {
                    let now = clock.now();
                    for _ in 0..plan.count {
                        builder.append(Some(now.wall), None, Some(values.next()), &[])?;
                    }
                    let mut batch = builder.build()?;
                    let info = log.append_as_leader(&mut batch, now)?;
                    match sync {
                        Sync::Flush => log.flush().map(|_| ())?,
                        Sync::Committer => committer.sync_to(log, info.last_offset.next())?,
                    }
                    builder.reuse(batch.into_buffer());
                    Ok(())
                })?;
            }
            Ok(latencies)
        })
    })
}

/// Each thread writes to the same file behind the others, and syncs it for itself.
fn floor_synced(scratch: &Scratch, plan: &Plan, threads: usize) -> BenchResult<Sample> {
    let file = FloorFile::create(scratch)?;
    file.file.sync_all()?;
    let end = AtomicU64::new(0);
    on_threads(plan, threads, || {
        let (mut buffer, mut values) = (Vec::new(), Values::new(plan.record_bytes));
        let mut latencies = Vec::with_capacity(plan.batches);
        for _ in 0..plan.batches {
            timed(&mut latencies, || {
                buffer.clear();
                encode_batch(&mut buffer, 0, &mut values, plan.count);
                let mut position = end.fetch_add(buffer.len() as u64, Ordering::Relaxed);
                for piece in buffer.chunks(FLOOR_WRITE_BYTES) {
                    file.file.write_all_at(piece, position)?;
                    position += piece.len() as u64;
                }
                Ok(file.file.sync_data()?)
            })?;
        }
        Ok(latencies)
    })
}

/// Runs the same work on so many threads and adds it up.
fn on_threads(
    plan: &Plan,
    threads: usize,
    work: impl Fn() -> BenchResult<Vec<u64>> + std::marker::Sync,
) -> BenchResult<Sample> {
    let start = Instant::now();
    let latencies = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(&work)).collect();
        let joined = workers.into_iter().map(|worker| worker.join().map_err(|_| "a thread panicked")?);
        joined.collect::<BenchResult<Vec<_>>>()
    })?;
    let records = plan.batches * plan.count * threads;
    Ok(Sample { records, elapsed: start.elapsed(), latencies: latencies.concat() })
}

/// The floor's file, removed in the end.
struct FloorFile<'a> {
    file: File,
    scratch: &'a Scratch,
}

impl FloorFile<'_> {
    const NAME: &'static str = "floor";

    fn create(scratch: &Scratch) -> BenchResult<FloorFile<'_>> {
        Ok(FloorFile { file: File::create(FloorFile::path(scratch.path()))?, scratch })
    }

    fn path(folder: &Path) -> std::path::PathBuf {
        folder.join(FloorFile::NAME)
    }
}

impl Drop for FloorFile<'_> {
    fn drop(&mut self) {
        // The scratch folder is removed as a whole in the end.
        let _ = fs::remove_file(FloorFile::path(self.scratch.path()));
    }
}
