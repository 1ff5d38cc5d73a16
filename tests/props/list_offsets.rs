//! Offsets by what they stand for are what a scan of all records finds.

use std::path::Path;

use logstead::config::{Durability, LogConfig};
use logstead::log::{
    EpochCache, ListedOffset, Log, LogDirectory, OffsetSpec, ReadIsolation, ReadLimits, ReadOnlyDirectory, ReadOnlyLog,
};
use logstead::record::{
    BatchBuilder, BatchOptions, BuiltBatch, EndTransactionMarker, ProducerStamp, TransactionOutcome,
};
use logstead::storage::{MemStorage, OpenMode, Storage};
use logstead::time::{Clock, ManualClock};
use logstead::types::{
    LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, TimestampType, TopicPartition,
};
use proptest::prelude::*;

const START: i64 = 1_700_000_000_000;
const PARTITION: &str = "/data/orders-0";

#[derive(Debug, Clone)]
struct Case {
    batches: Vec<Batch>,
    log_append_time: bool,
    segment_bytes: u64,
    index_interval_bytes: u64,
    log_start: u16,
    high_watermark: u16,
    /// After which batch the next epoch begins, and after which the folder is closed, harmed and opened again.
    epoch_at: usize,
    reopen_at: usize,
    harm: Harm,
}

#[derive(Debug, Clone)]
enum Batch {
    /// Times of the records; `None` is a record without. They may belong to a producer's transaction.
    Records { times: Vec<Option<i64>>, producer: Option<u8> },
    /// The end of a producer's transaction.
    Marker { producer: u8, abort: bool, time: i64 },
    /// As a follower gets it, with offsets missing before it.
    Replicated { times: Vec<Option<i64>>, gap: u8 },
}

/// What happens to the time indexes while nobody has the folder open.
#[derive(Debug, Clone, Copy)]
enum Harm {
    None,
    Removed,
    Emptied,
    Halved,
    Flipped(u16),
}

fn batch() -> impl Strategy<Value = Batch> {
    let times = || prop::collection::vec(prop::option::weighted(0.8, 0..30i64), 1..5);
    // Some segments have no time at all.
    let timeless = (1..4usize).prop_map(|count| vec![None; count]);
    prop_oneof![
        6 => (times(), prop::option::weighted(0.3, 0..3u8))
            .prop_map(|(times, producer)| Batch::Records { times, producer }),
        2 => timeless.prop_map(|times| Batch::Records { times, producer: None }),
        2 => (0..3u8, any::<bool>(), 0..30i64)
            .prop_map(|(producer, abort, time)| Batch::Marker { producer, abort, time }),
        1 => (times(), 0..4u8).prop_map(|(times, gap)| Batch::Replicated { times, gap }),
    ]
}

fn harm() -> impl Strategy<Value = Harm> {
    let flipped = any::<u16>().prop_map(Harm::Flipped);
    prop_oneof![2 => Just(Harm::None), 1 => Just(Harm::Removed), 1 => Just(Harm::Emptied), 1 => Just(Harm::Halved), 2 => flipped]
}

prop_compose! {
    fn case()(
        batches in prop::collection::vec(batch(), 1..20),
        log_append_time in prop::bool::weighted(0.2),
        segment_bytes in prop_oneof![Just(200u64), Just(500), Just(1 << 20)],
        index_interval_bytes in prop_oneof![Just(0u64), Just(150), Just(4_096)],
        (log_start, high_watermark) in any::<(u16, u16)>(),
        (epoch_at, reopen_at) in (0..20usize, 0..20usize),
        harm in harm(),
    ) -> Case {
        Case { batches, log_append_time, segment_bytes, index_interval_bytes, log_start, high_watermark, epoch_at, reopen_at, harm }
    }
}

/// A log, whoever looks at it.
trait Asked {
    fn bounds(&self) -> (Offset, Offset);
    fn read(&self, from: Offset, limits: ReadLimits) -> logstead::log::LogSlice;
    fn answer(&self, spec: OffsetSpec, isolation: ReadIsolation) -> Option<ListedOffset>;
    fn ends(&self) -> Vec<(ReadIsolation, Offset)>;
}

impl Asked for Log {
    fn bounds(&self) -> (Offset, Offset) {
        (self.log_start_offset(), self.log_end_offset())
    }
    fn read(&self, from: Offset, limits: ReadLimits) -> logstead::log::LogSlice {
        Log::read(self, from, limits).unwrap()
    }
    fn answer(&self, spec: OffsetSpec, isolation: ReadIsolation) -> Option<ListedOffset> {
        self.list_offset(spec, isolation).unwrap()
    }
    fn ends(&self) -> Vec<(ReadIsolation, Offset)> {
        vec![
            (ReadIsolation::LogEnd, self.log_end_offset()),
            (ReadIsolation::HighWatermark, self.high_watermark()),
            (ReadIsolation::LastStable, self.last_stable_offset()),
        ]
    }
}

impl Asked for ReadOnlyLog {
    fn bounds(&self) -> (Offset, Offset) {
        (self.log_start_offset(), self.high_watermark())
    }
    fn read(&self, from: Offset, limits: ReadLimits) -> logstead::log::LogSlice {
        ReadOnlyLog::read(self, from, limits).unwrap()
    }
    fn answer(&self, spec: OffsetSpec, isolation: ReadIsolation) -> Option<ListedOffset> {
        self.list_offset(spec, isolation).unwrap()
    }
    fn ends(&self) -> Vec<(ReadIsolation, Offset)> {
        vec![
            (ReadIsolation::HighWatermark, self.high_watermark()),
            (ReadIsolation::LastStable, self.last_stable_offset()),
        ]
    }
}

/// Every record with a time, from the log start on.
fn scan(log: &impl Asked) -> Vec<ListedOffset> {
    let (start, end) = log.bounds();
    let (mut found, mut from) = (Vec::new(), start);
    while from < end {
        let slice = log.read(from, ReadLimits::bytes(1 << 20).isolation(ReadIsolation::LogEnd));
        for batch in slice.batches() {
            let batch = batch.unwrap();
            let leader_epoch = batch.header().leader_epoch();
            let timed = batch.records().filter(|record| record.timestamp().is_some());
            found.extend(timed.map(|record| ListedOffset {
                offset: record.offset(),
                timestamp: record.timestamp(),
                leader_epoch,
            }));
        }
        assert!(slice.next_offset() > from);
        from = slice.next_offset();
    }
    found.retain(|record| record.offset >= start);
    found
}

fn check(log: &impl Asked, epochs: &EpochCache) {
    let (all, (start, _)) = (scan(log), log.bounds());
    let largest = all.iter().map(|record| record.timestamp).max();
    let largest = all.iter().find(|record| Some(record.timestamp) == largest).copied();
    for (isolation, end) in log.ends() {
        let seen = |found: Option<ListedOffset>| found.filter(|found| found.offset < end);
        for millis in [i64::MIN, -5].into_iter().chain(START - 1..START + 32).chain([i64::MAX]) {
            let timestamp = Timestamp::from_millis(millis);
            let expected = seen(all.iter().find(|record| record.timestamp >= Some(timestamp)).copied());
            assert_eq!(log.answer(OffsetSpec::Timestamp(timestamp), isolation), expected, "{millis} {isolation:?}");
        }
        assert_eq!(log.answer(OffsetSpec::MaxTimestamp, isolation), seen(largest), "{isolation:?}");
        let latest = epochs.latest().map(|entry| entry.epoch);
        for (spec, offset, leader_epoch) in
            [(OffsetSpec::Earliest, start, epochs.epoch_for(start)), (OffsetSpec::Latest, end, latest)]
        {
            let expected = ListedOffset { offset, timestamp: None, leader_epoch };
            assert_eq!(log.answer(spec, isolation), Some(expected), "{spec:?} {isolation:?}");
        }
    }
}

/// What is appended, and where the next sequence of each producer stands.
struct Writer {
    sequences: [u32; 3],
}

impl Writer {
    fn records(&mut self, times: &[Option<i64>], producer: Option<u8>) -> BuiltBatch {
        let stamp = producer.map(|number| {
            let next = &mut self.sequences[usize::from(number)];
            let base = Sequence::new(i32::try_from(*next).unwrap());
            *next += u32::try_from(times.len()).unwrap();
            ProducerStamp { id: producer_id(number), epoch: ProducerEpoch::ZERO, base_sequence: base }
        });
        let options = BatchOptions { producer: stamp, transactional: stamp.is_some(), ..BatchOptions::default() };
        let mut builder = BatchBuilder::new(options);
        for millis in times {
            builder.append(millis.map(|millis| Timestamp::from_millis(START + millis)), None, None, &[]).unwrap();
        }
        builder.build().unwrap()
    }

    fn append(&mut self, log: &Log, batch: &Batch, epoch: LeaderEpoch, clock: &ManualClock) {
        match batch {
            Batch::Records { times, producer } => {
                log.append_as_leader(&mut self.records(times, *producer), clock.now()).unwrap();
            }
            Batch::Marker { producer, abort, time } => {
                let outcome = if *abort { TransactionOutcome::Abort } else { TransactionOutcome::Commit };
                let marker = EndTransactionMarker { outcome, coordinator_epoch: 0 };
                let time = Timestamp::from_millis(START + time);
                let mut batch = marker.to_batch(producer_id(*producer), ProducerEpoch::ZERO, time);
                log.append_as_leader(&mut batch, clock.now()).unwrap();
            }
            Batch::Replicated { times, gap } => {
                let mut batch = self.records(times, None);
                batch.stamp(log.log_end_offset().plus(u64::from(*gap)), epoch);
                log.end_epoch();
                log.append_as_follower(batch.bytes(), clock.now()).unwrap();
                log.begin_epoch(epoch).unwrap();
            }
        }
    }
}

fn producer_id(number: u8) -> ProducerId {
    ProducerId::new(i64::from(number)).unwrap()
}

fn harm_time_indexes(storage: &MemStorage, harm: Harm) {
    for entry in storage.list(Path::new(PARTITION)).unwrap() {
        let path = Path::new(PARTITION).join(&entry.name);
        if path.extension().is_none_or(|extension| extension != "timeindex") {
            continue;
        }
        if let Harm::Removed = harm {
            storage.remove(&path).unwrap();
            continue;
        }
        // Of the segment that takes appends no seal tells which of its entries are missing.
        if storage.identity(&path.with_extension("seal")).is_err() {
            continue;
        }
        let file = storage.open(&path, OpenMode::Write).unwrap();
        let len = file.len().unwrap();
        match harm {
            Harm::None | Harm::Removed => {}
            Harm::Emptied => file.set_len(0).unwrap(),
            Harm::Halved => file.set_len(len / 2).unwrap(),
            Harm::Flipped(at) if len > 0 => {
                let (mut byte, at) = ([0], u64::from(at) % len);
                file.read_at(at, &mut byte).unwrap();
                file.write_at(at, &[byte[0] ^ 1 << (at % 8)]).unwrap();
            }
            Harm::Flipped(_) => {}
        }
    }
}

proptest! {
    #![proptest_config(crate::cases(128))]

    #[test]
    fn offsets_are_what_a_scan_finds(case in case()) {
        let (clock, storage) = (ManualClock::new(), MemStorage::new());
        let timestamp_type = if case.log_append_time { TimestampType::LogAppendTime } else { TimestampType::CreateTime };
        let config = LogConfig::new()
            .segment_bytes(case.segment_bytes)
            .index_interval_bytes(case.index_interval_bytes)
            .timestamp_type(timestamp_type)
            .durability(Durability::Os);
        let tp = TopicPartition::new("orders", 0).unwrap();
        let open_directory = || LogDirectory::options().storage(storage.clone()).seed(1).open("/data").unwrap();
        let mut directory = open_directory();
        let open = |directory: &LogDirectory| directory.open_log(&tp, None, config.clone(), clock.now()).unwrap();
        let mut log = open(&directory);
        let mut epoch = LeaderEpoch::ZERO;
        log.begin_epoch(epoch).unwrap();
        let mut writer = Writer { sequences: [0; 3] };
        let mut ends = vec![Offset::ZERO];
        for (index, batch) in case.batches.iter().enumerate() {
            clock.advance(std::time::Duration::from_millis(index as u64 % 3));
            writer.append(&log, batch, epoch, &clock);
            ends.push(log.log_end_offset());
            if index % 3 == 0 {
                log.flush().unwrap();
            }
            if index == case.reopen_at {
                log.close().unwrap();
                drop(log);
                directory.close().unwrap();
                harm_time_indexes(&storage, case.harm);
                directory = open_directory();
                log = open(&directory);
                check(&*log, &log.epochs());
            }
            if index == case.epoch_at || index == case.reopen_at {
                epoch = LeaderEpoch::new(i32::try_from(index).unwrap() + 1).unwrap();
                log.begin_epoch(epoch).unwrap();
            }
        }
        let fraction = |part: u16, whole: i64| Offset::new(i64::from(part) * (whole + 1) / 65_536).unwrap();
        let high_watermark = ends[usize::from(case.high_watermark) % ends.len()];
        log.advance_high_watermark(high_watermark).unwrap();
        check(&*log, &log.epochs());
        log.delete_before(fraction(case.log_start, high_watermark.get())).unwrap();
        check(&*log, &log.epochs());
        let onlooker = ReadOnlyDirectory::options().storage(storage.clone()).open("/data").unwrap();
        check(&onlooker.open_log(&tp).unwrap(), &log.epochs());
        log.flush().unwrap();
        check(&*log, &log.epochs());
    }
}
