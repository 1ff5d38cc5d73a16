//! Whatever the owner of a log does, a reader beside it sees a prefix of what is committed in the end: in order, once.

use std::sync::Arc;

use logstead::Error;
use logstead::config::{Durability, LogConfig, ReadMode};
use logstead::log::{Log, LogDirectory, ReadIsolation, ReadLimits, ReadOnlyDirectory, ReadOnlyLog};
use logstead::record::{
    BatchBuilder, BatchOptions, BuiltBatch, EndTransactionMarker, ProducerStamp, TransactionOutcome,
};
use logstead::storage::MemStorage;
use logstead::time::{Clock, ManualClock, Now};
use logstead::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TopicPartition};
use proptest::prelude::*;

use crate::cases;

/// One step of the owner or of a reader. Offsets are fractions (in 1/256) of the range that they may come from.
#[derive(Debug, Clone)]
enum Step {
    Append {
        count: u8,
        size: u8,
        producer: Option<u8>,
    },
    EndTransaction {
        producer: u8,
        abort: bool,
    },
    Flush,
    Checkpoint,
    AdvanceHighWatermark {
        at: u8,
    },
    /// Only what is not committed is cut.
    Truncate {
        at: u8,
    },
    DeleteBefore {
        at: u8,
    },
    /// The process dies, and the next one opens the folder.
    Crash,
    Restart,
    Refresh,
    Read {
        bytes_max: u16,
    },
    /// Another reader begins.
    LookAnew,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..4u8, 0..90u8, prop::option::weighted(0.3, 0..2u8))
            .prop_map(|(count, size, producer)| Step::Append { count, size, producer }),
        2 => (0..2u8, any::<bool>()).prop_map(|(producer, abort)| Step::EndTransaction { producer, abort }),
        4 => Just(Step::Flush),
        1 => Just(Step::Checkpoint),
        5 => any::<u8>().prop_map(|at| Step::AdvanceHighWatermark { at }),
        2 => any::<u8>().prop_map(|at| Step::Truncate { at }),
        1 => any::<u8>().prop_map(|at| Step::DeleteBefore { at }),
        1 => Just(Step::Crash),
        1 => Just(Step::Restart),
        6 => Just(Step::Refresh),
        6 => (1..600u16).prop_map(|bytes_max| Step::Read { bytes_max }),
        1 => Just(Step::LookAnew),
    ]
}

/// What one batch is to the model.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Batch {
    base: i64,
    /// The values of its records; empty for a marker.
    values: Vec<Vec<u8>>,
    count: i64,
    transaction: Option<(u8, bool)>,
}

impl Batch {
    fn next(&self) -> i64 {
        self.base + self.count
    }
}

struct Owner {
    storage: MemStorage,
    config: LogConfig,
    directory: Option<LogDirectory>,
    log: Option<Arc<Log>>,
    batches: Vec<Batch>,
    epoch: i32,
    appended: u32,
}

struct Reader {
    log: ReadOnlyLog,
    /// Where the next read starts, and whether it may go by the slice before.
    next: i64,
    last: Option<logstead::log::LogSlice>,
}

fn tp() -> TopicPartition {
    TopicPartition::new("orders", 0).unwrap()
}

fn now() -> Now {
    ManualClock::new().now()
}

fn offset(raw: i64) -> Offset {
    Offset::new(raw).unwrap()
}

/// The offset that is this fraction of the way.
fn between(low: Offset, high: Offset, at: u8) -> Offset {
    let (low, high) = (low.get(), high.get().max(low.get()));
    offset(low + (high - low) * i64::from(at) / 255)
}

impl Owner {
    fn new(config: LogConfig) -> Owner {
        let mut owner = Owner {
            storage: MemStorage::new(),
            config,
            directory: None,
            log: None,
            batches: Vec::new(),
            epoch: -1,
            appended: 0,
        };
        owner.open();
        owner
    }

    fn open(&mut self) {
        let directory = LogDirectory::options().storage(self.storage.clone()).seed(3).open("/data").unwrap();
        let log = directory.open_log(&tp(), None, self.config.clone(), now()).unwrap();
        (self.directory, self.log) = (Some(directory), Some(log));
        self.lead();
    }

    fn lead(&mut self) {
        self.epoch += 1;
        self.log().begin_epoch(LeaderEpoch::new(self.epoch).unwrap()).unwrap();
    }

    fn log(&self) -> &Log {
        self.log.as_ref().unwrap()
    }

    fn append(&mut self, mut batch: BuiltBatch, values: Vec<Vec<u8>>, transaction: Option<(u8, bool)>) {
        let info = self.log().append_as_leader(&mut batch, now()).unwrap();
        let count = info.last_offset.get() - info.first_offset.get() + 1;
        self.batches.push(Batch { base: info.first_offset.get(), values, count, transaction });
    }

    fn append_values(&mut self, count: u8, size: u8, producer: Option<u8>) {
        let stamp = producer.map(|id| ProducerStamp {
            id: ProducerId::new(i64::from(id)).unwrap(),
            epoch: ProducerEpoch::ZERO,
            base_sequence: Sequence::new(i32::try_from(self.appended).unwrap() * 4),
        });
        let options = BatchOptions { producer: stamp, transactional: stamp.is_some(), ..BatchOptions::default() };
        let mut builder = BatchBuilder::new(options);
        let mut values = Vec::new();
        for index in 0..count {
            let mut value = self.appended.to_be_bytes().to_vec();
            value.resize(5 + usize::from(size), index);
            builder.append(Some(now().wall), None, Some(&value), &[]).unwrap();
            values.push(value);
        }
        self.appended += 1;
        self.append(builder.build().unwrap(), values, producer.map(|id| (id, false)));
    }

    fn end_transaction(&mut self, producer: u8, abort: bool) {
        let outcome = if abort { TransactionOutcome::Abort } else { TransactionOutcome::Commit };
        let marker = EndTransactionMarker { outcome, coordinator_epoch: 0 };
        let id = ProducerId::new(i64::from(producer)).unwrap();
        let batch = marker.to_batch(id, ProducerEpoch::ZERO, now().wall);
        self.append(batch, Vec::new(), Some((producer, true)));
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Append { count, size, producer } => self.append_values(count, size, producer),
            Step::EndTransaction { producer, abort } => self.end_transaction(producer, abort),
            Step::Flush => drop(self.log().flush().unwrap()),
            Step::Checkpoint => self.directory.as_ref().unwrap().checkpoint().unwrap(),
            Step::AdvanceHighWatermark { at } => {
                let log = self.log();
                log.advance_high_watermark(between(log.high_watermark(), log.log_end_offset(), at)).unwrap();
            }
            Step::Truncate { at } => {
                let target = between(self.log().high_watermark(), self.log().log_end_offset(), at);
                // A batch that the high watermark is inside of would go as a whole.
                let inside = self.batches.iter().find(|batch| batch.base < target.get() && target.get() < batch.next());
                let target = inside.map_or(target, |batch| offset(batch.next()));
                let cut = self.log().truncate_to(target, now()).unwrap();
                assert_eq!(cut.lowered_high_watermark, None);
                self.batches.retain(|batch| batch.next() <= cut.log_end.get());
                self.lead();
            }
            Step::DeleteBefore { at } => {
                let log = self.log();
                log.delete_before(between(log.log_start_offset(), log.high_watermark(), at)).unwrap();
            }
            Step::Crash => {
                let committed = self.log().high_watermark();
                (self.log, self.directory) = (None, None);
                self.open();
                assert_eq!(self.log().high_watermark(), committed);
            }
            Step::Restart => {
                self.log = None;
                self.directory.take().unwrap().close().unwrap();
                self.open();
            }
            Step::Refresh | Step::Read { .. } | Step::LookAnew => {}
        }
    }

    /// The last stable offset as of a high watermark: what is below belongs to no transaction that is open there.
    fn last_stable(&self, high_watermark: Offset) -> i64 {
        let mut open: Vec<(u8, i64)> = Vec::new();
        for batch in self.batches.iter().take_while(|batch| batch.next() <= high_watermark.get()) {
            match batch.transaction {
                Some((producer, true)) => open.retain(|(other, _)| *other != producer),
                Some((producer, false)) if open.iter().all(|(other, _)| *other != producer) => {
                    open.push((producer, batch.base));
                }
                Some(_) | None => {}
            }
        }
        let start = self.log().log_start_offset().get();
        let first = open.iter().map(|(_, first)| *first).min().unwrap_or(high_watermark.get());
        first.min(high_watermark.get()).max(start)
    }
}

impl Reader {
    fn new(storage: &MemStorage) -> Reader {
        let directory = ReadOnlyDirectory::options().storage(storage.clone()).open("/data").unwrap();
        let log = directory.open_log(&tp()).unwrap();
        let next = log.log_start_offset().get();
        Reader { log, next, last: None }
    }

    fn refresh(&self, owner: &Owner) {
        let before = self.log.high_watermark();
        self.log.refresh().unwrap();
        let (found, expected) = (self.log.high_watermark(), owner.log().high_watermark());
        assert!(found >= before);
        assert_eq!((found, self.log.log_end_offset()), (expected, expected));
        assert_eq!(self.log.log_start_offset(), owner.log().log_start_offset());
        assert_eq!(self.log.last_stable_offset().get(), owner.last_stable(found));
    }

    /// Reads on; what comes is what the owner has committed at those offsets.
    fn read(&mut self, owner: &Owner, bytes_max: usize) -> bool {
        let limits = ReadLimits::bytes(bytes_max).isolation(ReadIsolation::LogEnd);
        let slice = match &self.last {
            Some(slice) => self.log.read_after(slice, limits),
            None => self.log.read(offset(self.next), limits),
        };
        let slice = match slice {
            Ok(slice) => slice,
            Err(Error::OffsetOutOfRange { start, .. }) => {
                assert!(start.get() > self.next, "only deleted records may be out of range");
                (self.next, self.last) = (start.get(), None);
                return true;
            }
            Err(other) => panic!("{other:?}"),
        };
        for batch in slice.batches() {
            let batch = batch.unwrap();
            let at = owner.batches.iter().find(|known| known.base == batch.header().base_offset().get()).unwrap();
            assert!(at.next() <= owner.log().high_watermark().get(), "what is not committed was seen");
            assert!(at.base <= self.next && self.next < at.next(), "batches come in order, and once");
            if !batch.header().is_control() {
                let values: Vec<_> = batch.records().map(|record| record.value().unwrap().to_vec()).collect();
                assert_eq!(values, at.values);
            }
            self.next = at.next();
        }
        assert_eq!(slice.next_offset().get(), self.next);
        let is_empty = slice.is_empty();
        self.last = Some(slice);
        !is_empty
    }
}

fn run(config: LogConfig, steps: &[Step]) {
    let mut owner = Owner::new(config);
    let mut readers = vec![Reader::new(&owner.storage)];
    for step in steps {
        owner.step(step);
        match step {
            Step::Refresh => readers.iter().for_each(|reader| reader.refresh(&owner)),
            Step::Read { bytes_max } => readers.iter_mut().for_each(|reader| {
                reader.read(&owner, usize::from(*bytes_max));
            }),
            Step::LookAnew if readers.len() < 4 => readers.push(Reader::new(&owner.storage)),
            _ => {}
        }
    }
    let log = owner.log();
    log.flush().unwrap();
    log.advance_high_watermark(log.log_end_offset()).unwrap();
    readers.push(Reader::new(&owner.storage));
    for reader in &mut readers {
        reader.refresh(&owner);
        while reader.read(&owner, 300) {}
        assert_eq!(reader.next, owner.log().log_end_offset().get(), "everything committed is read");
    }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn readers_beside_an_owner_see_a_prefix_of_what_is_committed(
        segment_bytes in prop_oneof![Just(450u64), Just(1_000), Just(1 << 20)],
        index_interval_bytes in prop_oneof![Just(0u64), Just(200), Just(4_096)],
        durability in prop_oneof![Just(Durability::Synced), Just(Durability::Os)],
        read_mode in prop_oneof![Just(ReadMode::Positioned), Just(ReadMode::Mapped)],
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let config = LogConfig::new()
            .segment_bytes(segment_bytes)
            .index_interval_bytes(index_interval_bytes)
            .durability(durability)
            .read_mode(read_mode);
        run(config, &steps);
    }
}
