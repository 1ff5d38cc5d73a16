//! How long one record takes from a producer to a consumer, both through the public API.
//!
//! A record is sent and waited for (`TopicProducer::send`, `Delivery::wait`), or with `linger 0` pushed; its latency ends when
//! the consumer holds it decoded. Records go one by one: the next is sent once the one before was received.
//!
//! | batch | who consumes |
//! |---|---|
//! | `same thread` | the sender: sends, then polls |
//! | `linger 0` | as `same thread`, with a producer that appends in `TopicProducer::push` |
//! | `spinning` | another thread, `poll(0)` in a loop |
//! | `parked` | another thread, asleep in `poll(1 s)` when the record is sent |
//!
//! The mode is the topic's durability. The floor encodes the batch by hand, writes it with one positioned write, with
//! `synced` calls `fdatasync`, and reads, checks and decodes it with one positioned read: on the same thread, on one that
//! spins on an atomic, or on one that sleeps on a condition variable. Throughput of a row with two threads means nothing.
//!
//! `cargo bench --bench latency -- [--quick] [--rounds N] [--only TEXT] [FOLDER]`
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark reads the real clock and the real disk, and prints"
)]

mod common;
#[path = "common/decode.rs"]
mod decode;
#[path = "common/encode.rs"]
mod encode;

use std::fs::{self, File, OpenOptions};
use std::hint::{black_box, spin_loop};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use common::{BenchResult, Label, Options, Sample, Scratch, Values, median, percentile, print_heading, run_row, timed};
use decode::{batch_at, check, each_value, touch};
use encode::encode_batch;
use logstead::cluster::Cluster;
use logstead::config::{Durability, LogConfig, TopicConfig};
use logstead::consumer::Consumer;
use logstead::producer::{Producer, TopicProducer};

const TOPIC: &str = "bench";
const RECORD_BYTES: usize = 100;
/// Pause before each record to a thread that sleeps: long enough for it to have gone to sleep.
const PAUSE: Duration = Duration::from_micros(200);
/// How long a sleeping consumer sleeps at most.
const NAP: Duration = Duration::from_secs(1);

fn main() -> BenchResult<()> {
    let options = Options::from_args()?;
    print_heading("latency", "one record at a time from a producer to a consumer", &options);
    for (durability, mode) in [(Durability::Os, "os"), (Durability::Synced, "synced")] {
        for (batch, receiver) in [
            ("same thread", Receiver::SameThread),
            ("linger 0", Receiver::Linger0),
            ("spinning", Receiver::Spinning),
            ("parked", Receiver::Parked),
        ] {
            let threads = if receiver.is_a_thread() { 2 } else { 1 };
            let label = Label { mode, record_bytes: RECORD_BYTES, batch: batch.to_owned(), threads };
            if options.wants(&label) && !(durability == Durability::Synced && receiver == Receiver::Linger0) {
                compare(&options, &label, durability, receiver)?;
            }
        }
    }
    Ok(())
}

/// Who receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Receiver {
    SameThread,
    Linger0,
    Spinning,
    Parked,
}

impl Receiver {
    fn is_a_thread(self) -> bool {
        matches!(self, Receiver::Spinning | Receiver::Parked)
    }
}

/// Prints the engine's row and below it the floor's latencies.
fn compare(options: &Options, label: &Label, durability: Durability, receiver: Receiver) -> BenchResult<()> {
    let count = options.amount(match (durability, receiver) {
        (Durability::Os, Receiver::Parked) => 4_000,
        (Durability::Os, _) => 100_000,
        (Durability::Synced, _) => 1_000,
    });
    let scratch = Scratch::new(options, "latency")?;
    let mut engine = Engine::open(&scratch, durability, receiver)?;
    let mut floor = Floor::create(&scratch, durability)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    run_row(
        options,
        label,
        || {
            let sample = engine.round(receiver, count)?;
            ours.push(sample.latencies.clone());
            Ok(sample)
        },
        || {
            let sample = floor.round(receiver, count)?;
            theirs.push(sample.latencies.clone());
            Ok(sample)
        },
    )?;
    // As in the row above, the first round does not count.
    let mut ratios: Vec<_> = ours.iter().zip(&theirs).skip(1).map(|(ours, theirs)| p50(ours) / p50(theirs)).collect();
    let mut all: Vec<_> = theirs.into_iter().skip(1).flatten().collect();
    all.sort_unstable();
    let [p50, p99, p999] = [500, 990, 999].map(|thousandths| percentile(&all, thousandths));
    println!("{:>60} {p50:>9} {p99:>9} {p999:>9} p50 is {:.2} of it", "floor", median(&mut ratios));
    Ok(())
}

fn p50(latencies: &[u64]) -> f64 {
    median(&mut latencies.iter().map(|nanos| *nanos as f64).collect::<Vec<_>>())
}

/// Sends records to another thread one by one; returns what each took.
fn across(
    receiver: Receiver,
    count: usize,
    mut send: impl FnMut() -> BenchResult<()>,
    mut receive: impl FnMut() -> BenchResult<usize> + Send,
) -> BenchResult<Sample> {
    let (received, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let begin = Instant::now();
    let (sent, times) = thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut times = Vec::with_capacity(count);
            let outcome = (|| {
                while times.len() < count && !is_over.load(Ordering::Relaxed) {
                    for _ in 0..receive()? {
                        times.push(Instant::now());
                    }
                    received.store(times.len(), Ordering::Release);
                }
                Ok(())
            })();
            received.store(count, Ordering::Release);
            outcome.map(|()| times)
        });
        let mut send_one = |done: usize| {
            if receiver == Receiver::Parked {
                thread::sleep(PAUSE);
            }
            while received.load(Ordering::Acquire) < done {
                if receiver == Receiver::Parked { thread::sleep(PAUSE) } else { spin_loop() }
            }
            let now = Instant::now();
            send().map(|()| now)
        };
        let sent = (0..count).map(&mut send_one).collect::<BenchResult<Vec<_>>>();
        if sent.is_err() {
            is_over.store(true, Ordering::Relaxed);
        }
        let times: BenchResult<Vec<Instant>> = thread.join().map_err(|_| "a thread panicked")?;
        BenchResult::Ok((sent?, times?))
    })?;
    let pairs = sent.iter().zip(&times);
    let latencies = pairs.map(|(sent, received)| received.duration_since(*sent).as_nanos() as u64).collect();
    Ok(Sample { records: times.len(), elapsed: begin.elapsed(), latencies })
}

/// What is measured.
struct Engine {
    topic: TopicProducer,
    consumer: Consumer,
    values: Values,
    _producer: Producer,
    _cluster: Cluster,
}

impl Engine {
    fn open(scratch: &Scratch, durability: Durability, receiver: Receiver) -> BenchResult<Engine> {
        let cluster = Cluster::open(scratch.path().join("data"))?;
        cluster.create_topic(TOPIC, TopicConfig::new().log(LogConfig::new().durability(durability)))?;
        let producer = cluster.producer();
        let producer = if receiver == Receiver::Linger0 { producer.linger(Duration::ZERO) } else { producer };
        let producer = producer.build()?;
        let topic = producer.topic(TOPIC)?;
        let consumer = cluster.consumer().topic(TOPIC).build()?;
        Ok(Engine { topic, consumer, values: Values::new(RECORD_BYTES), _producer: producer, _cluster: cluster })
    }

    fn round(&mut self, receiver: Receiver, count: usize) -> BenchResult<Sample> {
        let Engine { topic, consumer, values, .. } = self;
        let mut send = || -> BenchResult<()> {
            if receiver == Receiver::Linger0 {
                topic.push((), values.next())?;
            } else {
                topic.send((), values.next())?.wait()?;
            }
            Ok(())
        };
        let timeout = if receiver == Receiver::Parked { NAP } else { Duration::ZERO };
        let mut receive = || -> BenchResult<usize> {
            let records = consumer.poll(timeout)?;
            black_box(records.iter().fold(0, |sum, record| touch(sum, record.value().unwrap_or_default())));
            Ok(records.len())
        };
        if receiver.is_a_thread() {
            return across(receiver, count, send, receive);
        }
        one_by_one(count, || {
            send()?;
            while receive()? == 0 {}
            Ok(())
        })
    }
}

fn one_by_one(count: usize, mut pass_on: impl FnMut() -> BenchResult<()>) -> BenchResult<Sample> {
    let (start, mut latencies) = (Instant::now(), Vec::with_capacity(count));
    for _ in 0..count {
        timed(&mut latencies, &mut pass_on)?;
    }
    Ok(Sample { records: count, elapsed: start.elapsed(), latencies })
}

/// As little as it takes.
struct Floor {
    path: PathBuf,
    writer: File,
    reader: File,
    durability: Durability,
    end: End,
    written: u64,
    read: u64,
    offset: i64,
    buffer: Vec<u8>,
    values: Values,
}

/// How far the floor's file may be read.
#[derive(Debug, Default)]
struct End {
    spun_on: AtomicU64,
    slept_on: Mutex<u64>,
    moved: Condvar,
}

impl Floor {
    fn create(scratch: &Scratch, durability: Durability) -> BenchResult<Floor> {
        let path = scratch.path().join("floor");
        let writer = OpenOptions::new().write(true).create_new(true).open(&path)?;
        writer.sync_all()?;
        let reader = File::open(&path)?;
        let (end, values) = (End::default(), Values::new(RECORD_BYTES));
        let (written, read, offset, buffer) = (0, 0, 0, Vec::new());
        Ok(Floor { path, writer, reader, durability, end, written, read, offset, buffer, values })
    }

    fn round(&mut self, receiver: Receiver, count: usize) -> BenchResult<Sample> {
        let Floor { writer, reader, durability, end, written, read, offset, buffer, values, .. } = self;
        let mut send = || -> BenchResult<()> {
            buffer.clear();
            encode_batch(buffer, *offset, values, 1);
            *offset += 1;
            writer.write_all_at(buffer, *written)?;
            if *durability == Durability::Synced {
                writer.sync_data()?;
            }
            *written += buffer.len() as u64;
            match receiver {
                Receiver::Parked => end.wake(*written),
                Receiver::SameThread | Receiver::Linger0 | Receiver::Spinning => {
                    end.spun_on.store(*written, Ordering::Release);
                }
            }
            Ok(())
        };
        let mut bytes = [0; 1024];
        let mut receive = || -> BenchResult<usize> {
            let upto = match receiver {
                Receiver::Parked => end.sleep(*read),
                Receiver::SameThread | Receiver::Linger0 | Receiver::Spinning => end.spun_on.load(Ordering::Acquire),
            };
            if upto == *read {
                return Ok(0);
            }
            let bytes = &mut bytes[..(upto - *read) as usize];
            reader.read_exact_at(bytes, *read)?;
            let (_, size) = batch_at(bytes).ok_or("there is no batch")?;
            let mut sum = 0;
            let count = each_value(check(&bytes[..size])?, usize::MAX, |value| sum = touch(sum, value));
            black_box(sum);
            *read += size as u64;
            Ok(count)
        };
        if receiver.is_a_thread() {
            return across(receiver, count, send, receive);
        }
        one_by_one(count, || {
            send()?;
            receive().map(|_| ())
        })
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // The scratch folder is removed as a whole in the end.
        let _ = fs::remove_file::<&Path>(&self.path);
    }
}

impl End {
    fn wake(&self, to: u64) {
        *self.slept_on.lock().unwrap_or_else(PoisonError::into_inner) = to;
        self.moved.notify_one();
    }

    fn sleep(&self, behind: u64) -> u64 {
        let end = self.slept_on.lock().unwrap_or_else(PoisonError::into_inner);
        let slept = self.moved.wait_timeout_while(end, NAP, |end| *end == behind);
        *slept.unwrap_or_else(PoisonError::into_inner).0
    }
}
