//! A log behaves like a `Vec` of batches, whatever is done to it in whatever order.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use logstead::config::{Durability, LogConfig, ReadMode};
use logstead::log::{
    BatchScanner, Log, LogDirectory, LogSlice, ReadIsolation, ReadLimits, Segment, SegmentFile, SegmentPhase,
};
use logstead::record::{
    BatchBuilder, BatchHeader, BatchOptions, BuiltBatch, EndTransactionMarker, Header, ProducerStamp,
    TransactionOutcome,
};
use logstead::storage::{MemStorage, OpenMode, Storage};
use logstead::time::{Clock, ManualClock};
use logstead::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicPartition};
use proptest::prelude::*;

use crate::model::{Model, ModelBatch, ModelRecord, Role, indexes_of};

/// One step. Offsets are fractions of the log (in 1/256) plus a little, so that they stay meaningful while shrinking.
#[derive(Debug, Clone)]
enum Step {
    Append {
        records: Vec<ModelRecord>,
        producer: Option<u8>,
    },
    Replicate {
        batches: Vec<(Vec<ModelRecord>, Option<u8>)>,
        epoch_step: u8,
        gap: u8,
    },
    EndTransaction {
        producer: u8,
        abort: bool,
    },
    BeginEpoch {
        step: u8,
    },
    Flush,
    AdvanceHighWatermark {
        at: u16,
    },
    Truncate {
        at: u16,
    },
    StartAt {
        at: u16,
    },
    DeleteBefore {
        at: u16,
    },
    Read {
        at: u16,
        bytes_max: u16,
        isolation: u8,
        strict: bool,
    },
    Aborted {
        from: u16,
        upper: u16,
    },
    Advance {
        millis: u16,
    },
    Checkpoint,
    /// Close the log and take it up again in the same session, or let go of it without closing.
    Reopen {
        close: bool,
    },
    /// The whole folder: a clean stop, or the death of the process.
    Restart {
        close: bool,
    },
}

#[derive(Debug, Clone)]
struct Setup {
    segment_bytes: u64,
    index_interval_bytes: u64,
    segment_index_bytes: u64,
    segment_millis: u64,
    durability: Durability,
    read_mode: ReadMode,
}

fn setup() -> impl Strategy<Value = Setup> {
    (
        prop_oneof![Just(400u64), Just(1_500), Just(1 << 20)],
        prop_oneof![Just(0u64), Just(150), Just(600)],
        prop_oneof![Just(4u64), Just(24), Just(64), Just(10 << 20)],
        prop_oneof![Just(50u64), Just(604_800_000)],
        prop_oneof![Just(Durability::Synced), Just(Durability::Os)],
        prop_oneof![Just(ReadMode::Positioned), Just(ReadMode::Mapped)],
    )
        .prop_map(
            |(segment_bytes, index_interval_bytes, segment_index_bytes, segment_millis, durability, read_mode)| Setup {
                segment_bytes,
                index_interval_bytes,
                segment_index_bytes,
                segment_millis,
                durability,
                read_mode,
            },
        )
}

fn record() -> impl Strategy<Value = ModelRecord> {
    let text = |len| prop::option::weighted(0.8, prop::collection::vec(any::<u8>(), 0..len));
    (prop::option::weighted(0.9, 0..200i64), text(12), text(60), prop::collection::vec(("[a-z]{0,4}", text(6)), 0..3))
        .prop_map(|(millis, key, value, headers)| ModelRecord {
            timestamp: millis.map(|millis| Timestamp::from_millis(1_700_000_000_000 + millis)),
            key,
            value,
            headers,
        })
}

fn records() -> impl Strategy<Value = Vec<ModelRecord>> {
    prop::collection::vec(record(), 1..5)
}

fn producer() -> impl Strategy<Value = Option<u8>> {
    prop::option::weighted(0.4, 0..3u8)
}

fn step() -> impl Strategy<Value = Step> {
    let at = any::<u16>;
    prop_oneof![
        8 => (records(), producer()).prop_map(|(records, producer)| Step::Append { records, producer }),
        4 => (prop::collection::vec((records(), producer()), 1..4), 0..2u8, prop_oneof![19 => Just(0u8), 1 => 1..9u8])
            .prop_map(|(batches, epoch_step, gap)| Step::Replicate { batches, epoch_step, gap }),
        4 => (0..3u8, any::<bool>()).prop_map(|(producer, abort)| Step::EndTransaction { producer, abort }),
        1 => (0..3u8).prop_map(|step| Step::BeginEpoch { step }),
        3 => Just(Step::Flush),
        3 => at().prop_map(|at| Step::AdvanceHighWatermark { at }),
        2 => at().prop_map(|at| Step::Truncate { at }),
        1 => at().prop_map(|at| Step::DeleteBefore { at }),
        1 => at().prop_map(|at| Step::StartAt { at }),
        4 => (at(), 0..600u16, 0..3u8, any::<bool>())
            .prop_map(|(at, bytes_max, isolation, strict)| Step::Read { at, bytes_max, isolation, strict }),
        1 => (at(), at()).prop_map(|(from, upper)| Step::Aborted { from, upper }),
        1 => (0..80u16).prop_map(|millis| Step::Advance { millis }),
        1 => Just(Step::Checkpoint),
        1 => any::<bool>().prop_map(|close| Step::Reopen { close }),
        2 => any::<bool>().prop_map(|close| Step::Restart { close }),
    ]
}

/// The log under test beside its model.
struct World {
    storage: MemStorage,
    clock: ManualClock,
    config: LogConfig,
    directory: Option<LogDirectory>,
    log: Option<Arc<Log>>,
    model: Model,
    epoch: LeaderEpoch,
    /// Whether a reopen may have forgotten which ended transactions are undecided.
    forgot_undecided: bool,
    has_gaps: bool,
    slices: Vec<(LogSlice, Vec<u8>)>,
}

fn tp() -> TopicPartition {
    TopicPartition::new("orders", 0).unwrap()
}

impl World {
    fn new(setup: &Setup) -> World {
        let config = LogConfig::new()
            .segment_bytes(setup.segment_bytes)
            .index_interval_bytes(setup.index_interval_bytes)
            .segment_index_bytes(setup.segment_index_bytes)
            .segment_time(Duration::from_millis(setup.segment_millis))
            .durability(setup.durability)
            .read_mode(setup.read_mode);
        let mut world = World {
            storage: MemStorage::new(),
            clock: ManualClock::new(),
            config,
            directory: None,
            log: None,
            model: Model::default(),
            epoch: LeaderEpoch::ZERO,
            forgot_undecided: false,
            has_gaps: false,
            slices: Vec::new(),
        };
        world.open_directory();
        world.open_log();
        world.log().begin_epoch(world.epoch).unwrap();
        world.model.epochs.assign(world.epoch, Offset::ZERO);
        world
    }

    fn log(&self) -> &Log {
        self.log.as_ref().unwrap()
    }

    fn open_directory(&mut self) {
        let options = LogDirectory::options().storage(self.storage.clone()).seed(1);
        self.directory = Some(options.open("/data").unwrap());
        assert_eq!(self.directory.as_ref().unwrap().report().foreign_file, None);
    }

    fn open_log(&mut self) {
        let directory = self.directory.as_ref().unwrap();
        let log = directory.open_log(&tp(), None, self.config.clone(), self.clock.now()).unwrap();
        let report = log.recovery_report();
        assert_eq!((&report.damage[..], &report.cuts[..]), (&[][..], &[][..]), "nothing was damaged");
        assert!(report.unknown_files.is_empty(), "{:?}", report.unknown_files);
        assert!(!report.was_foreign);
        self.log = Some(log);
    }

    /// Where a fraction of the log lies: from one below its start to three above its end.
    fn offset(&self, at: u16) -> Offset {
        let low = self.model.log_start.get().saturating_sub(1).max(0);
        let span = self.model.log_end.get() - low + 3;
        Offset::new(low + i64::from(at) * span / 65_536).unwrap()
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Append { records, producer } => {
                let (batch, role) = build(records, *producer);
                self.append(batch, records.clone(), role);
            }
            Step::EndTransaction { producer, abort } => {
                let outcome = if *abort { TransactionOutcome::Abort } else { TransactionOutcome::Commit };
                let marker = EndTransactionMarker { outcome, coordinator_epoch: 1 };
                let id = producer_id(*producer);
                let batch = marker.to_batch(id, ProducerEpoch::ZERO, self.clock.now().wall);
                self.append(batch, Vec::new(), Role::Marker { producer: id, abort: *abort });
            }
            Step::Replicate { batches, epoch_step, gap } => self.replicate(batches, *epoch_step, *gap),
            Step::BeginEpoch { step } => {
                self.begin_epoch(self.later_epoch(*step));
            }
            Step::Flush => {
                assert_eq!(self.log().flush().unwrap(), self.model.log_end);
                self.model.synced = self.model.log_end;
            }
            Step::AdvanceHighWatermark { at } => self.advance_high_watermark(self.offset(*at)),
            Step::Truncate { at } => self.truncate(self.offset(*at)),
            Step::StartAt { at } => {
                let offset = self.offset(*at);
                self.log().truncate_fully_and_start_at(offset, self.clock.now()).unwrap();
                self.model.start_at(offset);
            }
            Step::DeleteBefore { at } => self.delete_before(self.offset(*at)),
            Step::Read { at, bytes_max, isolation, strict } => {
                self.read(self.offset(*at), usize::from(*bytes_max), *isolation, *strict);
            }
            Step::Aborted { from, upper } => self.aborted(self.offset(*from), self.offset(*upper)),
            Step::Advance { millis } => self.clock.advance(Duration::from_millis(u64::from(*millis))),
            Step::Checkpoint => {
                self.directory.as_ref().unwrap().checkpoint().unwrap();
                self.model.synced = self.model.log_end;
                assert_eq!(self.log().recovery_point(), self.model.log_end);
            }
            Step::Reopen { close } => {
                if *close {
                    self.log().close().unwrap();
                    assert!(self.log().flush().is_err());
                }
                self.log = None;
                self.drop_slices_of_a_dead_process(*close);
                self.open_log();
                self.reopened();
            }
            Step::Restart { close } => {
                if *close {
                    self.directory.take().unwrap().close().unwrap();
                    self.check_trimmed_files();
                }
                self.log = None;
                self.directory = None;
                self.drop_slices_of_a_dead_process(*close);
                self.open_directory();
                assert_eq!(self.directory.as_ref().unwrap().report().was_clean, *close);
                self.open_log();
                self.reopened();
            }
        }
    }

    fn append(&mut self, mut batch: BuiltBatch, records: Vec<ModelRecord>, role: Role) {
        if self.log().leader_epoch().is_none() {
            let refused = self.log().append_as_leader(&mut batch, self.clock.now());
            assert!(matches!(refused, Err(logstead::Error::InvalidState { .. })), "{refused:?}");
            self.begin_epoch(self.later_epoch(1));
        }
        if batch.size_in_bytes() as u64 > self.config.get_segment_bytes() {
            let refused = self.log().append_as_leader(&mut batch, self.clock.now());
            assert!(matches!(refused, Err(logstead::Error::RecordTooLarge { .. })), "{refused:?}");
            return;
        }
        let info = self.log().append_as_leader(&mut batch, self.clock.now()).unwrap();
        assert_eq!(info.first_offset, self.model.log_end, "offsets are dense");
        assert_eq!(info.last_offset, batch.header().last_offset());
        assert_eq!(info.leader_epoch, Some(self.epoch));
        assert_eq!(info.log_start, self.model.log_start);
        let header = *batch.header();
        let bytes = batch.bytes().to_vec();
        let (base, next) = (header.base_offset(), header.next_offset());
        self.model.push(ModelBatch { base, next, bytes, records, role }, self.epoch);
        self.note_sealing_flush(info.rolled);
    }

    /// Epochs come from a controller, which never gives out a lower one, whatever became of the records.
    fn later_epoch(&self, step: u8) -> LeaderEpoch {
        LeaderEpoch::new(self.epoch.get() + i32::from(step)).unwrap()
    }

    /// A roll with two segments already waiting to be sealed flushes on its own.
    fn note_sealing_flush(&mut self, rolled: bool) {
        let synced = self.log().synced_offset();
        if rolled && synced == self.model.log_end {
            self.model.synced = synced;
        }
    }

    fn replicate(&mut self, batches: &[(Vec<ModelRecord>, Option<u8>)], epoch_step: u8, gap: u8) {
        self.epoch = self.later_epoch(epoch_step);
        let epoch = self.epoch;
        let mut base = self.model.log_end.plus(u64::from(gap));
        self.has_gaps |= gap > 0;
        let (mut bytes, mut built) = (Vec::new(), Vec::new());
        for (records, producer) in batches {
            let (mut batch, role) = build(records, *producer);
            batch.stamp(base, epoch);
            bytes.extend_from_slice(batch.bytes());
            let next = batch.header().next_offset();
            built.push(ModelBatch { base, next, bytes: batch.bytes().to_vec(), records: records.clone(), role });
            base = next;
        }
        self.log().end_epoch();
        let info = self.log().append_as_follower(&bytes, self.clock.now()).unwrap();
        assert_eq!((info.first_offset, info.last_offset.next()), (built[0].base, base));
        built.into_iter().for_each(|batch| self.model.push(batch, epoch));
        self.note_sealing_flush(info.rolled);
    }

    fn begin_epoch(&mut self, epoch: LeaderEpoch) {
        self.log().begin_epoch(epoch).unwrap();
        self.model.epochs.assign(epoch, self.model.log_end);
        self.epoch = epoch;
    }

    fn advance_high_watermark(&mut self, offset: Offset) {
        let limit = match self.config.get_durability() {
            Durability::Synced => self.model.synced,
            Durability::Os => self.model.log_end,
        };
        let expected = offset.min(limit).max(self.model.high_watermark);
        assert_eq!(self.log().advance_high_watermark(offset).unwrap(), expected);
        self.model.high_watermark = expected;
    }

    fn truncate(&mut self, target: Offset) {
        let before = self.model.high_watermark;
        let bases: Vec<Offset> = self.log().segments().iter().map(Segment::base_offset).collect();
        let truncated = self.log().truncate_to(target, self.clock.now()).unwrap();
        assert_eq!(truncated.log_end, self.model.truncate_to(target, &bases));
        let lowered = (before > truncated.log_end).then_some(truncated.log_end);
        assert_eq!(truncated.lowered_high_watermark, lowered);
        assert_eq!(self.log().leader_epoch(), None);
        // The state of producers is rebuilt from a snapshot, as at a reopen.
        self.forgot_undecided = true;
    }

    fn delete_before(&mut self, offset: Offset) {
        let result = self.log().delete_before(offset);
        if offset > self.model.high_watermark {
            assert!(matches!(result, Err(logstead::Error::OffsetOutOfRange { .. })), "{result:?}");
            return;
        }
        assert_eq!(result.unwrap(), offset.max(self.model.log_start));
        self.model.delete_before(offset);
    }

    fn drop_slices_of_a_dead_process(&mut self, closed: bool) {
        if !closed {
            self.slices.clear();
        }
    }

    fn reopened(&mut self) {
        self.model.reopen();
        self.forgot_undecided = true;
        assert_eq!(self.log().leader_epoch(), None);
    }

    fn read(&mut self, from: Offset, bytes_max: usize, isolation: u8, strict: bool) {
        let log = self.log();
        let (isolation, upper) = match isolation {
            0 => (ReadIsolation::LogEnd, log.log_end_offset()),
            1 => (ReadIsolation::HighWatermark, log.high_watermark()),
            _ => (ReadIsolation::LastStable, log.last_stable_offset()),
        };
        let limits = ReadLimits::bytes(bytes_max).isolation(isolation);
        let limits = if strict { limits.strict() } else { limits };
        let result = log.read(from, limits);
        if from < self.model.log_start || from > self.model.log_end {
            assert!(matches!(result, Err(logstead::Error::OffsetOutOfRange { .. })), "{result:?}");
            return;
        }
        let slice = result.unwrap();
        assert_eq!(slice.position().fetch_offset, from);
        let first = self.model.batch_at(from);
        let visible: Vec<_> = self.model.batches[first..].iter().take_while(|batch| batch.next <= upper).collect();
        if from >= upper || visible.is_empty() {
            assert!(slice.is_empty());
            assert_eq!(slice.next_offset(), from);
            return;
        }
        let expected: Vec<u8> = visible.iter().flat_map(|batch| batch.bytes.iter().copied()).collect();
        assert!(expected.starts_with(slice.as_bytes()), "a read returns the batches that were appended");
        let count = slice.headers().map(Result::unwrap).count();
        assert_eq!(visible[..count].iter().map(|batch| batch.bytes.len()).sum::<usize>(), slice.len());
        assert_eq!(slice.next_offset(), count.checked_sub(1).map_or(from, |last| visible[last].next));
        if strict {
            assert!(slice.len() <= bytes_max);
            assert_eq!(count == 0, visible[0].bytes.len() > bytes_max);
        } else {
            assert!(count >= 1, "at least one batch");
            assert!(slice.len() <= bytes_max.max(visible[0].bytes.len()), "no more than asked for");
        }
        self.check_read_after(&slice, limits);
        self.slices.push((slice.clone(), slice.as_bytes().to_vec()));
    }

    /// Going on from a slice gives what a fresh lookup gives.
    fn check_read_after(&self, slice: &LogSlice, limits: ReadLimits) {
        let next = self.log().read_after(slice, limits).unwrap();
        let fresh = self.log().read(slice.next_offset(), limits).unwrap();
        assert_eq!((next.as_bytes(), next.next_offset()), (fresh.as_bytes(), fresh.next_offset()));
    }

    fn aborted(&self, from: Offset, upper: Offset) {
        let from = from.max(self.model.log_start);
        let all = self.model.transactions().aborted;
        let expected: Vec<_> =
            all.into_iter().filter(|entry| entry.last_offset >= from && entry.first_offset < upper).collect();
        assert_eq!(self.log().aborted_transactions(from, upper).unwrap(), expected, "[{from}, {upper})");
    }

    fn check(&mut self) {
        let (log, model) = (self.log(), &self.model);
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (model.log_start, model.log_end), "bounds");
        assert_eq!(log.high_watermark(), model.high_watermark, "high watermark");
        assert_eq!(log.synced_offset(), model.synced, "synced offset");
        assert_eq!(log.epochs().entries(), model.epoch_entries(), "epochs");
        let transactions = model.transactions();
        let (strict, relaxed) = model.last_stable_bounds(&transactions);
        let stable = log.last_stable_offset();
        if self.forgot_undecided {
            assert!(strict <= stable && stable <= relaxed, "last stable offset: {strict} <= {stable} <= {relaxed}");
        } else {
            assert_eq!(stable, strict, "last stable offset");
        }
        self.aborted(model.log_start, model.log_end);
        self.check_records();
        self.check_segments();
        for (slice, bytes) in &self.slices {
            assert_eq!(slice.as_bytes(), bytes, "a slice never changes");
        }
        if self.slices.len() > 4 {
            self.slices.remove(0);
        }
    }

    /// Reads the whole log record for record.
    fn check_records(&self) {
        let mut from = self.model.log_start;
        let mut expected = self.model.batches[self.model.batch_at(from)..].iter();
        let mut slice: Option<LogSlice> = None;
        // The log may end with offsets that hold nothing: a segment that was emptied behind a gap.
        let end = self.model.batches.last().map_or(Offset::ZERO, |batch| batch.next);
        while from < end {
            let limits = ReadLimits::bytes(2_000).isolation(ReadIsolation::LogEnd);
            let read = match &slice {
                Some(slice) => self.log().read_after(slice, limits).unwrap(),
                None => self.log().read(from, limits).unwrap(),
            };
            assert!(!read.is_empty(), "something is left to read at {from}");
            for batch in read.batches() {
                let (batch, model) = (batch.unwrap(), expected.next().unwrap());
                assert_eq!(batch.bytes(), model.bytes);
                if batch.header().is_control() {
                    continue;
                }
                for ((record, model), offset) in batch.records().zip(&model.records).zip(model.base.get()..) {
                    let headers: Vec<_> = record
                        .headers()
                        .map(|header| (header.key().unwrap().to_owned(), header.value().map(<[u8]>::to_vec)))
                        .collect();
                    assert_eq!(record.offset().get(), offset);
                    assert_eq!(record.timestamp(), model.timestamp);
                    assert_eq!((record.key(), record.value()), (model.key.as_deref(), model.value.as_deref()));
                    assert_eq!(headers, model.headers);
                }
                assert_eq!(batch.records().count(), model.records.len());
            }
            from = read.next_offset();
            slice = Some(read);
        }
        assert!(expected.next().is_none());
    }

    /// Every segment holds the batches of its range, and indexes that say the same as a scan.
    fn check_segments(&self) {
        let segments = self.log().segments();
        let mut batches = self.model.batches.as_slice();
        let first_base = segments[0].base_offset();
        batches = &batches[batches.partition_point(|batch| batch.base < first_base)..];
        let mut end = first_base;
        for (index, segment) in segments.iter().enumerate() {
            let is_last = index + 1 == segments.len();
            assert_eq!(segment.phase() == SegmentPhase::Active, is_last);
            assert!(segment.base_offset() == end || self.has_gaps, "a segment starts where the one before ends");
            let next_base = segments.get(index + 1).map_or(Offset::MAX, Segment::base_offset);
            let scanned = self.scan(segment);
            let (mine, later) = batches.split_at(batches.partition_point(|batch| batch.base < next_base));
            let bytes: Vec<u8> = mine.iter().flat_map(|batch| batch.bytes.iter().copied()).collect();
            assert_eq!(scanned.1, bytes, "segment {}", segment.base_offset());
            assert_eq!(segment.size_in_bytes(), bytes.len() as u64);
            assert_eq!(segment.next_offset(), mine.last().map_or(segment.base_offset(), |batch| batch.next));
            self.check_indexes(segment, &scanned.0);
            if segment.phase() == SegmentPhase::Sealed {
                assert!(segment.verify_seal().unwrap(), "a sealed segment has a seal");
            }
            (batches, end) = (later, segment.next_offset());
        }
        assert!(batches.is_empty());
    }

    fn scan(&self, segment: &Segment) -> (Vec<(u64, BatchHeader)>, Vec<u8>) {
        let path = segment.path(SegmentFile::Log);
        let file = self.storage.open(&path, OpenMode::Read).unwrap();
        let mut scanner = BatchScanner::new(file, 0, segment.size_in_bytes());
        let (mut batches, mut bytes) = (Vec::new(), Vec::new());
        while let Some(batch) = scanner.next_batch().unwrap() {
            batches.push((batch.position, batch.header));
            bytes.extend_from_slice(batch.bytes);
        }
        (batches, bytes)
    }

    fn check_indexes(&self, segment: &Segment, batches: &[(u64, BatchHeader)]) {
        let (mut offsets, mut times, last) = indexes_of(batches, self.config.get_index_interval_bytes());
        let index = segment.offset_index().unwrap();
        let time_index = segment.time_index().unwrap();
        // An active segment has the entry of its last close until the next append.
        if segment.phase() != SegmentPhase::Active || time_index.len() > times.len() {
            times.extend(last);
        }
        let is_full = self.config.get_segment_index_bytes() < 10 << 20;
        if is_full {
            // A full index misses entries of the batches of one append; what it has must be right.
            let last = index.last().map_or(0, |entry| entry.position);
            offsets.retain(|entry| entry.position <= last);
            times.retain(|entry| time_index.iter().any(|found| found == *entry));
        }
        if !is_full || index.len() == offsets.len() {
            assert_eq!(index.iter().collect::<Vec<_>>(), offsets, "offset index of {}", segment.base_offset());
            assert_eq!(time_index.iter().collect::<Vec<_>>(), times, "time index of {}", segment.base_offset());
        }
        for (_, header) in batches {
            let target = header.base_offset();
            let start = index.lookup(target).map_or(0, |entry| entry.position);
            let found = batches.iter().find(|(position, header)| *position >= start && header.last_offset() >= target);
            assert_eq!(found.map(|(_, found)| found.base_offset()), Some(target), "lookup and scan = scan");
        }
        let max = batches.iter().filter_map(|(_, header)| header.max_timestamp()).max();
        assert_eq!(segment.max_timestamp().unwrap().map(|(max, _)| max), max_of(segment, max));
    }

    /// After a clean stop no index file has more bytes than entries, and no `.log` more than batches.
    fn check_trimmed_files(&self) {
        let folder = Path::new("/data/orders-0");
        for segment in self.log().segments() {
            let len = |kind| {
                let path = segment.path(kind);
                assert!(path.starts_with(folder));
                self.storage.open(&path, OpenMode::Read).unwrap().len().unwrap()
            };
            assert_eq!(len(SegmentFile::Log), segment.size_in_bytes());
            assert_eq!(len(SegmentFile::OffsetIndex), 8 * segment.offset_index().unwrap().len() as u64);
            assert_eq!(len(SegmentFile::TimeIndex), 12 * segment.time_index().unwrap().len() as u64);
        }
    }
}

/// An active segment tells the largest timestamp that its index knows; a finished one that of its batches.
fn max_of(segment: &Segment, max: Option<Timestamp>) -> Option<Timestamp> {
    match segment.phase() {
        SegmentPhase::Active => segment.max_timestamp().unwrap().map(|(max, _)| max),
        SegmentPhase::Sealing | SegmentPhase::Sealed => max,
    }
}

fn producer_id(number: u8) -> ProducerId {
    ProducerId::new(i64::from(number)).unwrap()
}

fn build(records: &[ModelRecord], producer: Option<u8>) -> (BuiltBatch, Role) {
    let stamp = producer.map(|number| ProducerStamp {
        id: producer_id(number),
        epoch: ProducerEpoch::ZERO,
        base_sequence: Some(Sequence::ZERO),
    });
    let options = BatchOptions { producer: stamp, transactional: stamp.is_some(), ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    for record in records {
        let headers: Vec<_> =
            record.headers.iter().map(|(key, value)| Header { key, value: value.as_deref() }).collect();
        builder.append(record.timestamp, record.key.as_deref(), record.value.as_deref(), &headers).unwrap();
    }
    let role = producer.map_or(Role::Plain, |number| Role::Data(producer_id(number)));
    (builder.build().unwrap(), role)
}

proptest! {
    #![proptest_config(crate::cases(96))]

    #[test]
    fn a_log_is_a_vec_of_batches(setup in setup(), steps in prop::collection::vec(step(), 1..40)) {
        let mut world = World::new(&setup);
        for step in &steps {
            world.run(step);
            world.check();
        }
    }
}
