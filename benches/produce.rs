//! How fast a producer takes records: pushed, sent, and acknowledged on the disk one by one.
//!
//! The floor of the page-cache rows encodes the same batches by hand into a reused buffer and writes them with one
//! positioned write per 64 KiB, each thread into a file of its own. The floor of the durable rows is, on each thread, one
//! positioned write and one `fdatasync` for each record, all threads in one file. Both sides write into new files each round.
//!
//! | mode | what is timed |
//! |---|---|
//! | `os push` | `TopicProducer::push`: a ticket for each record, one flush in the end |
//! | `os send` | `TopicProducer::send`, the delivery dropped at once |
//! | `os batch` | as `os send`, and the last delivery of each batch's worth of records waited for |
//! | `durable` | `TopicProducer::send` and `Delivery::wait` for each record, `Durability::Synced` |
//!
//! `cargo bench --bench produce -- [--quick] [--rounds N] [--only TEXT] [FOLDER]`
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
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use common::{BenchResult, Label, Options, Sample, Scratch, Values, print_heading, run_row, timed};
use encode::encode_batch;
use logstead::cluster::Cluster;
use logstead::config::{Durability, TopicConfig};
use logstead::producer::{Partitioner, Producer};

const TOPIC: &str = "bench";
/// Bytes of one write of the floor.
const FLOOR_WRITE_BYTES: usize = 64 << 10;
/// Bytes that a record takes besides its value, at these sizes.
const RECORD_OVERHEAD: usize = 10;

fn main() -> BenchResult<()> {
    let options = Options::from_args()?;
    print_heading("produce", "records through a producer; latencies are of one acknowledged record", &options);
    let scratch = Scratch::new(&options, "produce")?;
    for record_bytes in [100, 1024] {
        for batch_kib in [16, 64] {
            for threads in [1, 2] {
                for (mode, how) in [("os push", How::Push), ("os send", How::Send), ("os batch", How::WaitPerBatch)] {
                    let records = options.amount((128 << 20) / record_bytes);
                    let plan = Plan { record_bytes, batch_bytes: batch_kib << 10, records, threads };
                    let label = Label { mode, record_bytes, batch: format!("{batch_kib} KiB"), threads };
                    run_row(&options, &label, || engine_os(&scratch, &plan, how), || floor_os(&scratch, &plan))?;
                }
            }
        }
    }
    for threads in [1, 8] {
        let plan = Plan { record_bytes: 100, batch_bytes: 16 << 10, records: options.amount(4000 / threads), threads };
        let label = Label { mode: "durable", record_bytes: 100, batch: "1".to_owned(), threads };
        run_row(&options, &label, || engine_durable(&scratch, &plan), || floor_durable(&scratch, &plan))?;
    }
    Ok(())
}

/// What one round does.
#[derive(Debug, Clone, Copy)]
struct Plan {
    record_bytes: usize,
    batch_bytes: usize,
    /// Records of each thread.
    records: usize,
    threads: usize,
}

impl Plan {
    fn records_per_batch(&self) -> usize {
        self.batch_bytes / (self.record_bytes + RECORD_OVERHEAD)
    }
}

#[derive(Debug, Clone, Copy)]
enum How {
    Push,
    Send,
    WaitPerBatch,
}

/// The partition whose number is the key.
struct ByKey;

impl Partitioner for ByKey {
    fn partition(&self, _: &str, key: Option<&[u8]>, _: Option<&[u8]>, _: u32) -> u32 {
        key.and_then(|key| key.first().copied()).unwrap_or_default().into()
    }
}

/// Runs `measure` on a new cluster with one topic, and removes it.
fn with_cluster(
    scratch: &Scratch,
    durability: Durability,
    partitions: u32,
    measure: impl FnOnce(&Cluster) -> BenchResult<Sample>,
) -> BenchResult<Sample> {
    let folder = scratch.path().join("engine");
    let sample = {
        let cluster = Cluster::builder().seed(1).open(&folder)?;
        cluster.create_topic(TOPIC, TopicConfig::new().partitions(partitions).durability(durability))?;
        measure(&cluster)?
    };
    fs::remove_dir_all(&folder)?;
    Ok(sample)
}

fn engine_os(scratch: &Scratch, plan: &Plan, how: How) -> BenchResult<Sample> {
    with_cluster(scratch, Durability::Os, plan.threads as u32, |cluster| {
        let start = Instant::now();
        // One producer a thread, each on a partition of its own.
        let producers = (0..plan.threads).map(|number| {
            let own = move |_: &str, _: Option<&[u8]>, _: Option<&[u8]>, _: u32| number as u32;
            let builder = cluster.producer().batch_bytes(plan.batch_bytes as u64);
            Ok(if plan.threads == 1 { builder.build()? } else { builder.partitioner(own).build()? })
        });
        let producers = producers.collect::<BenchResult<Vec<_>>>()?;
        thread::scope(|scope| {
            let workers: Vec<_> = producers.iter().map(|producer| scope.spawn(|| fill(producer, plan, how))).collect();
            workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a thread panicked")?)
        })?;
        Ok(Sample { records: plan.records * plan.threads, elapsed: start.elapsed(), latencies: Vec::new() })
    })
}

fn fill(producer: &Producer, plan: &Plan, how: How) -> BenchResult<()> {
    let topic = producer.topic(TOPIC)?;
    let mut values = Values::new(plan.record_bytes);
    let per_batch = plan.records_per_batch();
    match how {
        How::Push => {
            for _ in 0..plan.records {
                topic.push((), values.next())?;
            }
        }
        How::Send => {
            for _ in 0..plan.records {
                drop(topic.send((), values.next())?);
            }
        }
        How::WaitPerBatch => {
            for index in 1..=plan.records {
                let delivery = topic.send((), values.next())?;
                if index % per_batch == 0 {
                    delivery.wait()?;
                }
            }
        }
    }
    Ok(producer.flush()?)
}

fn floor_os(scratch: &Scratch, plan: &Plan) -> BenchResult<Sample> {
    let start = Instant::now();
    on_threads(plan.threads, |number| {
        let floor = FloorFile::create(scratch, number)?;
        let mut values = Values::new(plan.record_bytes);
        let (mut buffer, mut position, mut left) = (Vec::new(), 0, plan.records);
        while left > 0 {
            let count = left.min(plan.records_per_batch());
            encode_batch(&mut buffer, (plan.records - left) as i64, &mut values, count);
            left -= count;
            if buffer.len() >= FLOOR_WRITE_BYTES || left == 0 {
                floor.file.write_all_at(&buffer, position)?;
                position += buffer.len() as u64;
                buffer.clear();
            }
        }
        Ok(Vec::new())
    })?;
    Ok(Sample { records: plan.records * plan.threads, elapsed: start.elapsed(), latencies: Vec::new() })
}

fn engine_durable(scratch: &Scratch, plan: &Plan) -> BenchResult<Sample> {
    with_cluster(scratch, Durability::Synced, 1, |cluster| {
        let producer = cluster.producer().partitioner(ByKey).build()?;
        producer.topic(TOPIC)?.send([0], "opens the log")?.wait()?;
        let start = Instant::now();
        let latencies = on_threads(plan.threads, |_| {
            let topic = producer.topic(TOPIC)?;
            let (mut values, mut latencies) = (Values::new(plan.record_bytes), Vec::with_capacity(plan.records));
            for _ in 0..plan.records {
                timed(&mut latencies, || Ok(topic.send([0], values.next())?.wait()?))?;
            }
            Ok(latencies)
        })?;
        Ok(Sample { records: plan.records * plan.threads, elapsed: start.elapsed(), latencies })
    })
}

fn floor_durable(scratch: &Scratch, plan: &Plan) -> BenchResult<Sample> {
    let floor = FloorFile::create(scratch, 0)?;
    floor.file.sync_all()?;
    let end = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let latencies = on_threads(plan.threads, |_| {
        let (mut buffer, mut values) = (Vec::new(), Values::new(plan.record_bytes));
        let mut latencies = Vec::with_capacity(plan.records);
        for _ in 0..plan.records {
            timed(&mut latencies, || {
                buffer.clear();
                encode_batch(&mut buffer, 0, &mut values, 1);
                let position = end.fetch_add(buffer.len() as u64, Ordering::Relaxed);
                floor.file.write_all_at(&buffer, position)?;
                Ok(floor.file.sync_data()?)
            })?;
        }
        Ok(latencies)
    })?;
    Ok(Sample { records: plan.records * plan.threads, elapsed: start.elapsed(), latencies })
}

/// Runs the same work on so many threads and collects the latencies.
fn on_threads(threads: usize, work: impl Fn(usize) -> BenchResult<Vec<u64>> + Sync) -> BenchResult<Vec<u64>> {
    let work = &work;
    let latencies = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|number| scope.spawn(move || work(number))).collect();
        let joined = workers.into_iter().map(|worker| worker.join().map_err(|_| "a thread panicked")?);
        joined.collect::<BenchResult<Vec<_>>>()
    })?;
    Ok(latencies.concat())
}

/// A file of the floor, removed in the end.
struct FloorFile {
    file: File,
    path: std::path::PathBuf,
}

impl FloorFile {
    fn create(scratch: &Scratch, number: usize) -> BenchResult<FloorFile> {
        let path = scratch.path().join(format!("floor-{number}"));
        Ok(FloorFile { file: File::create(&path)?, path })
    }
}

impl Drop for FloorFile {
    fn drop(&mut self) {
        // The scratch folder is removed as a whole in the end.
        let _ = fs::remove_file(&self.path);
    }
}
