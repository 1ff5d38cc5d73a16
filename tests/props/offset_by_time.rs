//! Offsets by time are what a scan of all records finds.

use logstead::config::{Durability, LogConfig};
use logstead::log::{Log, LogDirectory, ReadIsolation, ReadLimits, TimestampedOffset};
use logstead::record::{BatchBuilder, BatchOptions};
use logstead::storage::MemStorage;
use logstead::time::{Clock, ManualClock};
use logstead::types::{LeaderEpoch, Offset, Timestamp, TopicPartition};
use proptest::prelude::*;

const START: i64 = 1_700_000_000_000;

#[derive(Debug, Clone)]
struct Case {
    /// Times of the records of each batch; `None` is a record without.
    batches: Vec<Vec<Option<i64>>>,
    segment_bytes: u64,
    index_interval_bytes: u64,
    log_start: u16,
    high_watermark: u16,
    /// After which batch the next epoch begins, and after which the log is closed and opened again.
    epoch_at: usize,
    reopen_at: usize,
}

fn case() -> impl Strategy<Value = Case> {
    let batch = || prop::collection::vec(prop::option::weighted(0.8, 0..30i64), 1..5);
    (
        prop::collection::vec(batch(), 1..20),
        prop_oneof![Just(200u64), Just(500), Just(1 << 20)],
        prop_oneof![Just(0u64), Just(150), Just(4_096)],
        any::<u16>(),
        any::<u16>(),
        (0..20usize, 0..20usize),
    )
        .prop_map(
            |(batches, segment_bytes, index_interval_bytes, log_start, high_watermark, (epoch_at, reopen_at))| Case {
                batches,
                segment_bytes,
                index_interval_bytes,
                log_start,
                high_watermark,
                epoch_at,
                reopen_at,
            },
        )
}

/// Every record with a time, from the log start to the bound.
fn scan(log: &Log, upper: Offset) -> Vec<TimestampedOffset> {
    let (mut found, mut from) = (Vec::new(), log.log_start_offset());
    while from < log.log_end_offset() {
        let slice = log.read(from, ReadLimits::bytes(1 << 20).isolation(ReadIsolation::LogEnd)).unwrap();
        for batch in slice.batches() {
            let batch = batch.unwrap();
            let leader_epoch = batch.header().leader_epoch();
            let timed = batch.records().filter_map(|record| Some((record.offset(), record.timestamp()?)));
            found.extend(timed.map(|(offset, timestamp)| TimestampedOffset { offset, timestamp, leader_epoch }));
        }
        from = slice.next_offset();
    }
    found.retain(|record| record.offset >= log.log_start_offset() && record.offset < upper);
    found
}

fn check(log: &Log) {
    for (isolation, upper) in [
        (ReadIsolation::LogEnd, log.log_end_offset()),
        (ReadIsolation::HighWatermark, log.high_watermark()),
        (ReadIsolation::LastStable, log.last_stable_offset()),
    ] {
        let (all, visible) = (scan(log, log.log_end_offset()), scan(log, upper));
        for millis in -2..32 {
            let timestamp = Timestamp::from_millis(START + millis);
            let expected = visible.iter().find(|record| record.timestamp >= timestamp).copied();
            assert_eq!(log.offset_for_timestamp(timestamp, isolation).unwrap(), expected, "{millis} {isolation:?}");
        }
        let first = visible.first().copied();
        assert_eq!(log.offset_for_timestamp(Timestamp::from_millis(-5), isolation).unwrap(), first);
        let max = all.iter().map(|record| record.timestamp).max();
        let largest = all.iter().find(|record| Some(record.timestamp) == max).copied();
        let expected = largest.filter(|record| record.offset < upper);
        assert_eq!(log.offset_of_max_timestamp(isolation).unwrap(), expected, "{isolation:?}");
    }
}

proptest! {
    #![proptest_config(crate::cases(96))]

    #[test]
    fn offsets_by_time_are_what_a_scan_finds(case in case()) {
        let clock = ManualClock::new();
        let directory = LogDirectory::options().storage(MemStorage::new()).seed(1).open("/data").unwrap();
        let config = LogConfig::new()
            .segment_bytes(case.segment_bytes)
            .index_interval_bytes(case.index_interval_bytes)
            .durability(Durability::Os);
        let tp = TopicPartition::new("orders", 0).unwrap();
        let open = || directory.open_log(&tp, None, config.clone(), clock.now()).unwrap();
        let mut log = open();
        log.begin_epoch(LeaderEpoch::ZERO).unwrap();
        for (index, times) in case.batches.iter().enumerate() {
            let mut builder = BatchBuilder::new(BatchOptions::default());
            for millis in times {
                builder.append(millis.map(|millis| Timestamp::from_millis(START + millis)), None, None, &[]).unwrap();
            }
            log.append_as_leader(&mut builder.build().unwrap(), clock.now()).unwrap();
            if index % 3 == 0 {
                log.flush().unwrap();
            }
            if index == case.reopen_at {
                log.close().unwrap();
                drop(log);
                log = open();
                check(&log);
            }
            if index == case.epoch_at || index == case.reopen_at {
                log.begin_epoch(LeaderEpoch::new(i32::try_from(index).unwrap() + 1).unwrap()).unwrap();
            }
        }
        let fraction = |part: u16, whole: i64| Offset::new(i64::from(part) * (whole + 1) / 65_536).unwrap();
        let high_watermark = fraction(case.high_watermark, log.log_end_offset().get());
        log.advance_high_watermark(high_watermark).unwrap();
        check(&log);
        log.delete_before(fraction(case.log_start, high_watermark.get())).unwrap();
        check(&log);
        log.flush().unwrap();
        check(&log);
    }
}
