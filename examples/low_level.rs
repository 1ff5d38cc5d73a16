//! One log from the inside: segments, indexes, epochs, a transaction, reads, a truncation and a recovery.
//!
//! ```sh
//! cargo run --release --example low_level
//! ```
//!
//! It runs on a disk in memory and a clock that stands still, so it leaves nothing behind and prints the same each time.
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use logstead::config::LogConfig;
use logstead::log::{AppendInfo, Log, LogDirectory, ReadIsolation, ReadLimits, SegmentFile, SegmentPhase};
use logstead::record::{
    BatchBuilder, BatchOptions, ControlRecord, EndTransactionMarker, Header, ProducerStamp, RecordRef,
    TransactionOutcome,
};
use logstead::storage::{MemStorage, OpenMode, Storage};
use logstead::time::{Clock, ManualClock};
use logstead::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicPartition};

fn main() -> Result<(), Box<dyn Error>> {
    let storage = MemStorage::new();
    let clock = ManualClock::new();
    let log_of = |directory: &LogDirectory| -> Result<Arc<Log>, Box<dyn Error>> {
        // Segments of 1 KiB, and an index entry for each batch: a few records show everything.
        let config = LogConfig::new().segment_bytes(1024).index_interval_bytes(0);
        Ok(directory.open_log(&TopicPartition::new("orders", 0)?, None, config, clock.now())?)
    };

    let directory = LogDirectory::options().storage(storage.clone()).open("/data")?;
    let log = log_of(&directory)?;
    write_plain(&log, &clock)?;
    write_transaction(&log, &clock)?;
    show_segments(&log)?;
    read(&log)?;
    truncate(&log, &clock)?;

    // The process dies in the middle of a write: nothing was closed, and half a batch stands behind the end.
    let Some(active) = log.segments().pop() else { return Err("a log has at least one segment".into()) };
    let (file, end, log_end) = (active.path(SegmentFile::Log), active.size_in_bytes(), log.log_end_offset());
    drop((log, active, directory));
    tear(&storage, &file, end)?;

    println!("\nafter a crash");
    let directory = LogDirectory::options().storage(storage).open("/data")?;
    let log = log_of(&directory)?;
    let report = log.recovery_report();
    println!("  clean: {}, scanned {} bytes", report.was_clean, report.scanned_bytes);
    for cut in &report.cuts {
        println!("  cut {} bytes at {} of {}", cut.len, cut.position, cut.path.display());
    }
    assert!(!report.was_clean && report.damage.is_empty() && report.cuts.len() == 1);
    assert_eq!(log.log_end_offset(), log_end);
    directory.close()?;
    println!("everything was as it should be");
    Ok(())
}

/// Ten batches of two records: one with headers, one without a key.
fn write_plain(log: &Log, clock: &ManualClock) -> Result<(), Box<dyn Error>> {
    let zero = LeaderEpoch::ZERO;
    assert!(log.append_as_leader(&mut one("too early")?, clock.now()).is_err(), "nobody leads yet");
    log.begin_epoch(zero)?;
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for number in 0..10 {
        clock.advance(Duration::from_secs(1));
        let value = format!("order {number} {:-<60}", "");
        let headers = [Header { key: "trace", value: Some(b"7f") }, Header { key: "empty", value: None }];
        builder.append(Some(clock.now().wall), Some(b"customer-7"), Some(value.as_bytes()), &headers)?;
        builder.append(None, None, Some(b"a record without key and timestamp"), &[])?;
        let mut batch = builder.build()?;
        let AppendInfo { first_offset, last_offset, rolled, .. } = log.append_as_leader(&mut batch, clock.now())?;
        println!("batch of {} bytes: offsets {first_offset} to {last_offset}, rolled: {rolled}", batch.size_in_bytes());
        assert_eq!(last_offset, first_offset.next());
        builder.reuse(batch.into_buffer());
    }
    Ok(())
}

/// A transaction that is aborted, under a new leader.
fn write_transaction(log: &Log, clock: &ManualClock) -> Result<(), Box<dyn Error>> {
    log.begin_epoch(LeaderEpoch::new(4).ok_or("4 is not negative")?)?;
    let (id, epoch) = (ProducerId::ZERO, ProducerEpoch::ZERO);
    let producer = Some(ProducerStamp { id, epoch, base_sequence: Some(Sequence::ZERO) });
    let mut builder = BatchBuilder::new(BatchOptions { producer, transactional: true, ..BatchOptions::default() });
    builder.append(Some(clock.now().wall), Some(b"customer-8"), Some(b"never happened"), &[])?;
    let data = log.append_as_leader(&mut builder.build()?, clock.now())?;

    log.advance_high_watermark(log.flush()?)?;
    assert_eq!(log.last_stable_offset(), data.first_offset, "the transaction is open");
    let marker = EndTransactionMarker { outcome: TransactionOutcome::Abort, coordinator_epoch: 0 };
    let end = log.append_as_leader(&mut marker.to_batch(id, epoch, clock.now().wall), clock.now())?;
    log.advance_high_watermark(log.flush()?)?;
    assert_eq!(log.last_stable_offset(), log.log_end_offset(), "everything is decided");

    let aborted = log.aborted_transactions(Offset::ZERO, log.log_end_offset())?;
    println!("aborted: {aborted:?}");
    let [aborted] = aborted[..] else { return Err("one transaction was aborted".into()) };
    assert_eq!((aborted.first_offset, aborted.last_offset), (data.first_offset, end.last_offset));
    Ok(())
}

fn show_segments(log: &Log) -> Result<(), Box<dyn Error>> {
    println!("\nsegments");
    let segments = log.segments();
    for segment in &segments {
        let (base, next) = (segment.base_offset(), segment.next_offset());
        println!("  {:?}, offsets {base}..{next}, {} bytes", segment.phase(), segment.size_in_bytes());
        for entry in segment.offset_index()?.iter() {
            println!("    the batch at {} ends with offset {}", entry.position, entry.offset);
            assert!(base <= entry.offset && entry.offset < next && entry.position < segment.size_in_bytes());
        }
        for entry in segment.time_index()?.iter() {
            println!("    {} is the latest timestamp up to offset {}", entry.timestamp, entry.offset);
        }
        // The flush has made the finished segments immutable and sealed them.
        assert_eq!(segment.verify_seal()?, segment.phase() == SegmentPhase::Sealed);
    }
    assert!(segments.is_sorted_by(|before, after| before.next_offset() == after.base_offset()));
    for entry in log.epochs().entries() {
        println!("  epoch {} starts at {}", entry.epoch, entry.start_offset);
    }
    assert_eq!(log.epochs().latest().map(|entry| entry.start_offset), Some(Offset::from(20)));
    Ok(())
}

/// Reads piece by piece: `read` looks the offset up, `read_after` goes on where a slice ended.
fn read(log: &Log) -> Result<(), Box<dyn Error>> {
    println!("\nrecords");
    let limits = ReadLimits::bytes(512).isolation(ReadIsolation::LogEnd);
    let mut expected = Offset::ZERO;
    let mut slice = log.read(expected, limits)?;
    while !slice.is_empty() {
        assert!(slice.len() <= limits.bytes_max());
        for batch in slice.batches() {
            let batch = batch?;
            for record in batch.records() {
                assert_eq!(record.offset(), expected);
                expected = expected.next();
                println!("  {}", describe(&record, batch.header().is_control())?);
            }
        }
        slice = log.read_after(&slice, limits)?;
    }
    assert_eq!(expected, log.log_end_offset());
    assert!(log.read(expected.next(), limits).is_err(), "above the end");
    Ok(())
}

fn describe(record: &RecordRef<'_>, is_control: bool) -> Result<String, Box<dyn Error>> {
    let offset = record.offset();
    if is_control {
        return Ok(format!("{offset}: {:?}", ControlRecord::parse(record.key(), record.value())?));
    }
    let key = record.key().map(String::from_utf8_lossy);
    let time = record.timestamp().map(Timestamp::as_millis);
    let headers: Vec<_> = record.headers().filter_map(|header| header.key()).collect();
    Ok(format!("{offset}: key {key:?}, timestamp {time:?}, headers {headers:?}"))
}

/// Cuts in the middle of a batch: the whole batch goes.
fn truncate(log: &Log, clock: &ManualClock) -> Result<(), Box<dyn Error>> {
    let truncated = log.truncate_to(Offset::from(15), clock.now())?;
    println!("\n{truncated:?}");
    assert_eq!((truncated.log_end, log.log_end_offset()), (Offset::from(14), Offset::from(14)));
    assert_eq!(log.epochs().latest().map(|entry| entry.epoch), Some(LeaderEpoch::ZERO));
    log.begin_epoch(LeaderEpoch::new(5).ok_or("5 is not negative")?)?;
    let info = log.append_as_leader(&mut one("the new fifteenth")?, clock.now())?;
    assert_eq!(info.first_offset, Offset::from(14));
    Ok(())
}

fn one(value: &str) -> logstead::Result<logstead::record::BuiltBatch> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(None, None, Some(value.as_bytes()), &[])?;
    builder.build()
}

fn tear(storage: &MemStorage, path: &Path, end: u64) -> Result<(), Box<dyn Error>> {
    let batch = one("only half of this was written")?;
    let half = batch.bytes().get(..batch.size_in_bytes() / 2).unwrap_or_default();
    storage.open(path, OpenMode::Write)?.write_all_at(end, half)?;
    Ok(())
}
