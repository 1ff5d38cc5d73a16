//! What the benchmarks share: arguments, a scratch folder, interleaved rounds, and the table.
//!
//! Every row measures the engine and a *floor*, the plainest hand-written loop that moves the same bytes, in turns
//! (A B A B ..). The first round of each warms up and is dropped. Throughput is the median of the rounds; the ratio is the
//! median of the ratios of neighbouring rounds, so that a machine that becomes slower spoils neither side. Only ratios are
//! worth quoting.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, Instant};

use logstead::rng::Rng;

pub(crate) type BenchResult<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What the command line says: `[--quick] [--rounds N] [--only TEXT] [FOLDER]`.
#[derive(Debug)]
pub(crate) struct Options {
    /// Run everything with tiny amounts, to see that it runs.
    pub(crate) quick: bool,
    /// Rounds that count, besides the first.
    rounds: usize,
    /// Only rows whose label contains this.
    only: Option<String>,
    /// Where the scratch folder is made.
    parent: PathBuf,
}

impl Options {
    pub(crate) fn from_args() -> BenchResult<Options> {
        let mut options = Options { quick: false, rounds: 0, only: None, parent: std::env::temp_dir() };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            match arg.as_str() {
                // Cargo adds the first one itself; as a test target, too, a benchmark is only to show that it runs.
                "--bench" => {}
                "--quick" | "--test" => options.quick = true,
                "--rounds" => options.rounds = args.next().ok_or("--rounds needs a number")?.parse()?,
                "--only" => options.only = Some(args.next().ok_or("--only needs a text")?),
                unknown if unknown.starts_with('-') => return Err(format!("unknown option {unknown}").into()),
                folder => options.parent = PathBuf::from(folder),
            }
        }
        if options.rounds == 0 {
            options.rounds = if options.quick { 1 } else { 5 };
        }
        Ok(options)
    }

    /// `full`, or a hundredth of it where only the code is to be tried.
    pub(crate) fn amount(&self, full: usize) -> usize {
        if self.quick { (full / 100).max(2) } else { full }
    }

    /// Whether the row of this label is to be run.
    pub(crate) fn wants(&self, label: &Label) -> bool {
        self.only.as_ref().is_none_or(|only| label.to_string().contains(only.as_str()))
    }
}

/// A folder of one's own that is removed in the end.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    pub(crate) fn new(options: &Options, name: &str) -> BenchResult<Scratch> {
        let path = options.parent.join(format!("logstead-bench-{name}-{}", process::id()));
        fs::create_dir(&path).map_err(|error| format!("cannot create {}: {error}", path.display()))?;
        Ok(Scratch { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A scratch folder that stays behind is a nuisance, not a failure of what was measured.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// What a row is about.
#[derive(Debug, Clone)]
pub(crate) struct Label {
    /// What an acknowledged record survives, or how it is read.
    pub(crate) mode: &'static str,
    /// Bytes of a record's value.
    pub(crate) record_bytes: usize,
    /// Records or bytes of a batch, or what else is moved at a time.
    pub(crate) batch: String,
    pub(crate) threads: usize,
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:<11} {:>7} {:>12} {:>4}", self.mode, self.record_bytes, self.batch, self.threads)
    }
}

/// One round of one side.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    pub(crate) records: usize,
    pub(crate) elapsed: Duration,
    /// Nanoseconds of each call, in any order; empty where a call does not mean anything.
    pub(crate) latencies: Vec<u64>,
}

impl Sample {
    fn records_per_second(&self) -> f64 {
        self.records as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// Times calls one by one: `clock` reads are two a call, on both sides alike.
pub(crate) fn timed<T>(latencies: &mut Vec<u64>, call: impl FnOnce() -> BenchResult<T>) -> BenchResult<T> {
    let start = Instant::now();
    let result = call()?;
    latencies.push(u64::try_from(start.elapsed().as_nanos())?);
    Ok(result)
}

pub(crate) fn print_heading(name: &str, what: &str, options: &Options) {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("{name}: {what}");
    println!(
        "{cores} cores, {} {}; medians of {} interleaved rounds; data in {}{}",
        std::env::consts::OS,
        std::env::consts::ARCH,
        options.rounds,
        options.parent.display(),
        if options.quick { "; QUICK: the figures mean nothing" } else { "" },
    );
    println!(
        "{:<11} {:>7} {:>12} {:>4} {:>12} {:>9} {:>9} {:>9} {:>9} {:>12} {:>6}",
        "mode", "record", "batch", "thr", "records/s", "MiB/s", "p50 us", "p99 us", "p99.9 us", "floor rec/s", "ratio"
    );
}

/// Runs engine and floor in turns and prints the row.
pub(crate) fn run_row(
    options: &Options,
    label: &Label,
    mut engine: impl FnMut() -> BenchResult<Sample>,
    mut floor: impl FnMut() -> BenchResult<Sample>,
) -> BenchResult<()> {
    if !options.wants(label) {
        return Ok(());
    }
    let (mut ours, mut theirs, mut ratios, mut latencies) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..=options.rounds {
        let (mut a, b) = (engine()?, floor()?);
        if a.records != b.records {
            return Err(format!("{label}: {} records against {} of the floor", a.records, b.records).into());
        }
        if round == 0 {
            continue;
        }
        ours.push(a.records_per_second());
        theirs.push(b.records_per_second());
        ratios.push(a.records_per_second() / b.records_per_second());
        latencies.append(&mut a.latencies);
    }
    latencies.sort_unstable();
    let records = median(&mut ours);
    println!(
        "{label} {records:>12.0} {:>9.1} {:>9} {:>9} {:>9} {:>12.0} {:>6.2}",
        records * label.record_bytes as f64 / f64::from(1 << 20),
        percentile(&latencies, 500),
        percentile(&latencies, 990),
        percentile(&latencies, 999),
        median(&mut theirs),
        median(&mut ratios),
    );
    Ok(())
}

/// Bytes without a pattern, from a fixed seed, that values are cut from.
pub(crate) struct Values {
    pool: Vec<u8>,
    record_bytes: usize,
    at: usize,
}

impl Values {
    /// Small enough to stay in a processor's cache: making up data is not what is measured.
    const POOL_BYTES: usize = 32 << 10;

    pub(crate) fn new(record_bytes: usize) -> Values {
        let mut pool = vec![0; Values::POOL_BYTES + record_bytes];
        Rng::from_seed(1).fill(&mut pool);
        Values { pool, record_bytes, at: 0 }
    }

    pub(crate) fn next(&mut self) -> &[u8] {
        self.at = (self.at + self.record_bytes) % Values::POOL_BYTES;
        &self.pool[self.at..self.at + self.record_bytes]
    }
}

pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The value that this many thousandths of the sorted latencies do not exceed, in microseconds.
pub(crate) fn percentile(sorted: &[u64], thousandths: usize) -> String {
    let rank = (sorted.len() * thousandths).div_ceil(1000).saturating_sub(1);
    sorted.get(rank).map_or_else(|| "-".to_owned(), |nanos| format!("{:.1}", *nanos as f64 / 1000.0))
}
