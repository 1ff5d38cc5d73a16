//! How fast compressed batches are produced and consumed: JSON lines through each codec, in batches of 64 KiB.
//!
//! The floor is the codec's own package, called with its state kept from batch to batch: it compresses, or decompresses, the
//! same records in the same pieces, and does nothing else. Durability is `Os`; consuming is from the page cache.
//!
//! `cargo bench --bench codecs -- [--quick] [--rounds N] [--only TEXT] [FOLDER]`
#![allow(
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark reads the real clock and the real disk, and prints"
)]

#[allow(dead_code, reason = "values without a pattern do not compress: these are lines of text")]
mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::{BenchResult, Label, Options, Sample, Scratch, print_heading, run_row, timed};
use logstead::OffsetSpec;
use logstead::cluster::Cluster;
use logstead::config::{Durability, TopicConfig};
use logstead::consumer::{Consumer, PollLimits};
use logstead::producer::Producer;
use logstead::record::{BATCH_HEADER_LEN, BatchBuilder, BatchOptions};
use logstead::rng::Rng;
use logstead::types::Compression;
use zlib_rs::{Deflate, DeflateFlush, Inflate, InflateFlush};

const TOPIC: &str = "bench";
const BATCH_BYTES: usize = 64 << 10;

fn main() -> BenchResult<()> {
    let options = Options::from_args()?;
    print_heading("codecs", "JSON lines, compressed and decompressed; latencies are of one poll", &options);
    let lines = json_lines();
    let record_bytes = lines.iter().map(String::len).sum::<usize>() / lines.len();
    let areas = areas_of(&lines)?;
    let repeats = options.amount(300);
    use Compression::{Gzip, Lz4, None, Snappy, Zstd};
    for codec in [None, Gzip, Snappy, Lz4, Zstd] {
        let name = codec.as_str();
        let label = |what| Label { mode: name, record_bytes, batch: format!("64K {what}"), threads: 1 };
        let records = repeats * lines.len();
        let scratch = Scratch::new(&options, "codecs")?;
        let mut alone = Alone::new(codec);
        run_row(
            &options,
            &label("produce"),
            || produce(&scratch, codec, &lines, repeats),
            || {
                let start = Instant::now();
                for area in areas.iter().cycle().take(repeats * areas.len()) {
                    alone.compress(area)?;
                }
                Ok(Sample { records, elapsed: start.elapsed(), latencies: Vec::new() })
            },
        )?;
        let packed = areas.iter().map(|area| Ok((alone.compress(area)?.to_vec(), area.len())));
        let packed = packed.collect::<BenchResult<Vec<_>>>()?;
        let folder = scratch.path().join("read");
        let cluster = open(&folder)?;
        fill(&cluster.producer().compression(codec).batch_bytes(BATCH_BYTES as u64).build()?, &lines, repeats)?;
        let mut consumer = cluster.consumer().topic(TOPIC).build()?;
        run_row(
            &options,
            &label("consume"),
            || scan(&mut consumer, records),
            || {
                let start = Instant::now();
                for (bytes, len) in packed.iter().cycle().take(repeats * packed.len()) {
                    alone.decompress(bytes, *len)?;
                }
                Ok(Sample { records, elapsed: start.elapsed(), latencies: Vec::new() })
            },
        )?;
    }
    Ok(())
}

/// About half a MiB of lines like those of an application.
fn json_lines() -> Vec<String> {
    let mut rng = Rng::from_seed(1);
    let line = |number: usize| {
        let (customer, cents, shop) = (rng.below(5_000), rng.below(100_000), rng.below(16));
        let state = if cents % 3 == 0 { "paid" } else { "shipped" };
        format!(
            r#"{{"order":{number},"customer":"customer-{customer}","cents":{cents},"currency":"EUR","state":"{state}","shop":"shop-{shop}"}}"#
        )
    };
    (0..4_000).map(line).collect()
}

/// The records as they stand in uncompressed batches.
fn areas_of(lines: &[String]) -> BenchResult<Vec<Vec<u8>>> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let mut areas = Vec::new();
    let mut finish = |builder: &mut BatchBuilder| -> BenchResult<()> {
        areas.push(builder.build()?.into_buffer().split_off(BATCH_HEADER_LEN));
        Ok(())
    };
    for line in lines {
        if !builder.has_room_for(BATCH_BYTES, None, Some(line.as_bytes()), &[]) {
            finish(&mut builder)?;
        }
        builder.append(None, None, Some(line.as_bytes()), &[])?;
    }
    finish(&mut builder)?;
    Ok(areas)
}

fn open(folder: &std::path::Path) -> BenchResult<Cluster> {
    let cluster = Cluster::builder().seed(1).open(folder)?;
    cluster.create_topic(TOPIC, TopicConfig::new().durability(Durability::Os))?;
    Ok(cluster)
}

fn produce(scratch: &Scratch, codec: Compression, lines: &[String], repeats: usize) -> BenchResult<Sample> {
    let folder = scratch.path().join("write");
    let elapsed = {
        let cluster = open(&folder)?;
        let producer = cluster.producer().compression(codec).batch_bytes(BATCH_BYTES as u64).build()?;
        let start = Instant::now();
        fill(&producer, lines, repeats)?;
        start.elapsed()
    };
    fs::remove_dir_all(&folder)?;
    Ok(Sample { records: repeats * lines.len(), elapsed, latencies: Vec::new() })
}

fn fill(producer: &Producer, lines: &[String], repeats: usize) -> BenchResult<()> {
    let topic = producer.topic(TOPIC)?;
    for line in lines.iter().cycle().take(repeats * lines.len()) {
        topic.push((), line.as_str())?;
    }
    Ok(producer.flush()?)
}

fn scan(consumer: &mut Consumer, records: usize) -> BenchResult<Sample> {
    consumer.seek_all(OffsetSpec::Earliest)?;
    let limits = PollLimits { records: 10_000, bytes: usize::MAX };
    let (mut count, mut bytes, mut latencies) = (0, 0, Vec::new());
    let start = Instant::now();
    while count < records {
        let polled = timed(&mut latencies, || Ok(consumer.poll_with(limits, Duration::ZERO)?))?;
        if polled.is_empty() {
            return Err(format!("{count} of {records} records were read").into());
        }
        for record in &polled {
            count += 1;
            bytes += record.value().unwrap_or_default().len();
        }
    }
    std::hint::black_box(bytes);
    Ok(Sample { records: count, elapsed: start.elapsed(), latencies })
}

/// A codec without anything around it.
struct Alone {
    codec: Compression,
    deflate: Deflate,
    inflate: Inflate,
    snappy: (snap::raw::Encoder, snap::raw::Decoder),
    zstd: (zstd::zstd_safe::CCtx<'static>, zstd::zstd_safe::DCtx<'static>),
    out: Vec<u8>,
}

impl Alone {
    fn new(codec: Compression) -> Alone {
        Alone {
            codec,
            deflate: Deflate::new(-1, false, 15),
            inflate: Inflate::new(false, 15),
            snappy: (snap::raw::Encoder::new(), snap::raw::Decoder::new()),
            zstd: (zstd::zstd_safe::CCtx::create(), zstd::zstd_safe::DCtx::create()),
            out: vec![0; 2 * BATCH_BYTES],
        }
    }

    fn compress(&mut self, plain: &[u8]) -> BenchResult<&[u8]> {
        let out = &mut self.out;
        let len = match self.codec {
            Compression::None => copy(plain, out),
            Compression::Gzip => {
                self.deflate.reset();
                let status = self.deflate.compress(plain, out, DeflateFlush::Finish);
                status.map_err(|error| format!("{error:?}"))?;
                self.deflate.total_out() as usize
            }
            Compression::Snappy => self.snappy.0.compress(plain, out)?,
            Compression::Lz4 => lz4_flex::block::compress_into(plain, out)?,
            Compression::Zstd => {
                self.zstd.0.compress(&mut out[..], plain, 3).map_err(zstd::zstd_safe::get_error_name)?
            }
        };
        Ok(out.get(..len).unwrap_or_default())
    }

    fn decompress(&mut self, packed: &[u8], expected: usize) -> BenchResult<()> {
        let out = &mut self.out;
        let len = match self.codec {
            Compression::None => copy(packed, out),
            Compression::Gzip => {
                self.inflate.reset(false);
                let status = self.inflate.decompress(packed, out, InflateFlush::Finish);
                status.map_err(|error| format!("{error:?}"))?;
                self.inflate.total_out() as usize
            }
            Compression::Snappy => self.snappy.1.decompress(packed, out)?,
            Compression::Lz4 => lz4_flex::block::decompress_into(packed, out)?,
            Compression::Zstd => {
                self.zstd.1.decompress(&mut out[..], packed).map_err(zstd::zstd_safe::get_error_name)?
            }
        };
        if len == expected { Ok(()) } else { Err(format!("{len} bytes instead of {expected}").into()) }
    }
}

fn copy(from: &[u8], to: &mut [u8]) -> usize {
    if let Some(to) = to.get_mut(..from.len()) {
        to.copy_from_slice(from);
    }
    from.len()
}
