//! Whatever is written, committed, deleted and looked at in whatever order: only a prefix of whole segments goes.

use std::sync::Arc;
use std::time::Duration;

use logstead::config::{Durability, LogConfig};
use logstead::log::{Log, LogDirectory, ReadIsolation, ReadLimits, RemovedSegment, RetentionClock, RetentionReason};
use logstead::record::{BatchBuilder, BatchHeader, BatchOptions};
use logstead::storage::{CrashModel, MemStorage};
use logstead::time::{Clock, ManualClock};
use logstead::types::{LeaderEpoch, Offset, Timestamp, TopicPartition};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    /// Records whose time is so far behind or ahead of the clock.
    Append {
        count: u8,
        off_ms: i64,
    },
    Flush,
    /// The high watermark moves by this part of what is left.
    Commit {
        part: u8,
    },
    DeleteBefore {
        part: u8,
    },
    Pass {
        ms: u32,
    },
    /// The wall clock alone.
    Jump {
        ms: i64,
    },
    Look,
    Limit {
        time_ms: Option<u16>,
        bytes: Option<u16>,
    },
    /// The process dies, and the next one goes on.
    Crash {
        seed: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..4u8, prop_oneof![4 => -500..500i64, 1 => 4_000_000..9_000_000i64])
            .prop_map(|(count, off_ms)| Step::Append { count, off_ms }),
        2 => Just(Step::Flush),
        3 => any::<u8>().prop_map(|part| Step::Commit { part }),
        1 => any::<u8>().prop_map(|part| Step::DeleteBefore { part }),
        3 => (0..3_000u32).prop_map(|ms| Step::Pass { ms }),
        1 => prop_oneof![Just(-3_600_000i64), Just(3_600_000), Just(315_360_000_000)].prop_map(|ms| Step::Jump { ms }),
        4 => Just(Step::Look),
        1 => (prop::option::of(any::<u16>()), prop::option::of(0..2_000u16))
            .prop_map(|(time_ms, bytes)| Step::Limit { time_ms, bytes }),
        1 => any::<u64>().prop_map(|seed| Step::Crash { seed }),
    ]
}

/// How long the clock must run evenly.
const EVEN: Duration = Duration::from_secs(2);

struct World {
    storage: MemStorage,
    clock: ManualClock,
    retention: RetentionClock,
    config: LogConfig,
    owner: Option<(LogDirectory, Arc<Log>)>,
    /// The bytes of each batch, by its base offset.
    written: Vec<(i64, Vec<u8>)>,
    start: i64,
    synced: i64,
    /// When somebody has looked since the folder was opened, on the monotonic clock, and by how much the other one differed.
    looks: Vec<(Duration, i64)>,
}

impl World {
    fn new() -> World {
        let config = LogConfig::new().segment_bytes(400).timestamp_after_max(None).durability(Durability::Synced);
        let mut world = World {
            storage: MemStorage::new(),
            clock: ManualClock::new(),
            retention: RetentionClock::new(EVEN),
            config: config.retention_time(Some(Duration::from_secs(3))).retention_bytes(Some(1_500)),
            owner: None,
            written: Vec::new(),
            start: 0,
            synced: 0,
            looks: Vec::new(),
        };
        world.open();
        world
    }

    fn open(&mut self) {
        let directory = LogDirectory::options().storage(self.storage.clone()).seed(1).open("/data").unwrap();
        let tp = TopicPartition::new("orders", 0).unwrap();
        let log = directory.open_log(&tp, None, self.config.clone(), self.clock.now()).unwrap();
        assert_eq!(log.recovery_report().damage, []);
        log.begin_epoch(LeaderEpoch::ZERO).unwrap();
        self.owner = Some((directory, log));
    }

    fn log(&self) -> Arc<Log> {
        Arc::clone(&self.owner.as_ref().unwrap().1)
    }

    fn mono(&self) -> Duration {
        Duration::from_nanos(self.clock.now().mono.as_nanos())
    }

    fn run(&mut self, step: &Step) {
        let log = self.log();
        match step {
            Step::Append { count, off_ms } => {
                let time = Timestamp::from_millis(self.clock.now().wall.as_millis() + off_ms);
                let mut builder = BatchBuilder::new(BatchOptions::default());
                for _ in 0..*count {
                    builder.append(Some(time), None, Some(&[7; 30]), &[]).unwrap();
                }
                let mut batch = builder.build().unwrap();
                let info = log.append_as_leader(&mut batch, self.clock.now()).unwrap();
                self.written.push((info.first_offset.get(), batch.bytes().to_vec()));
            }
            Step::Flush => self.synced = log.flush().unwrap().get(),
            Step::Commit { part } => {
                let (low, high) = (log.high_watermark().get(), log.log_end_offset().get());
                log.advance_high_watermark(between(low, high, *part)).unwrap();
            }
            Step::DeleteBefore { part } => {
                let before = between(log.log_start_offset().get(), log.high_watermark().get(), *part);
                self.start = log.delete_before(before).unwrap().get();
            }
            Step::Pass { ms } => self.clock.advance(Duration::from_millis(u64::from(*ms))),
            Step::Jump { ms } => {
                let wall = self.clock.now().wall.as_millis();
                self.clock.set_wall(Timestamp::from_millis(wall + ms));
            }
            Step::Look => self.look(),
            Step::Limit { time_ms, bytes } => {
                let time = time_ms.map(|ms| Duration::from_millis(u64::from(ms)));
                self.config = self.config.clone().retention_time(time).retention_bytes(bytes.map(u64::from));
                log.update_config(self.config.clone()).unwrap();
            }
            Step::Crash { seed } => self.crash(*seed),
        }
    }

    fn look(&mut self) {
        let log = self.log();
        let (directory, _) = self.owner.as_ref().unwrap();
        let before: Vec<_> = log.segments();
        let high_watermark = log.high_watermark();
        let mono = self.mono();
        let difference = self.clock.now().wall.as_millis() - i64::try_from(mono.as_millis()).unwrap();
        let same = self.looks.iter().rev().take_while(|(_, was)| *was == difference);
        let is_even = same.map(|(at, _)| *at).last().is_some_and(|since| mono - since >= EVEN);
        self.looks.push((mono, difference));
        let at = self.retention.look(self.clock.now());
        let outcome = log.apply_retention(at).unwrap();
        assert!(is_even || !at.is_confirmed(), "the wall clock has just jumped");
        self.synced = self.synced.max(log.synced_offset().get());
        // A prefix of whole segments.
        let removed: Vec<_> = outcome.removed.iter().map(|gone| gone.base_offset).collect();
        let first: Vec<_> = before.iter().take(removed.len()).map(|segment| segment.base_offset()).collect();
        assert_eq!(removed, first);
        let total: u64 = before.iter().map(|segment| segment.size_in_bytes()).sum();
        let mut left = total;
        for gone in &outcome.removed {
            assert!(gone.next_offset <= high_watermark, "only what is committed goes");
            left -= gone.size_in_bytes;
            match gone.reason {
                RetentionReason::BelowLogStart => assert!(gone.next_offset.get() <= self.start),
                RetentionReason::Size => assert!(left >= self.config.get_retention_bytes().unwrap()),
                RetentionReason::Time => {
                    let limit = i64::try_from(self.config.get_retention_time().unwrap().as_millis()).unwrap();
                    let (wall, largest) = (self.clock.now().wall.as_millis(), self.largest_time(gone));
                    assert!(at.is_confirmed());
                    // Of a date that is far ahead nothing follows.
                    assert!(largest - wall > 3_600_000 || wall - largest > limit, "{largest} {wall} {limit}");
                }
            }
        }
        let expected = outcome.removed.last().map_or(self.start, |last| last.next_offset.get().max(self.start));
        assert_eq!((outcome.log_start.get(), log.log_start_offset().get()), (expected, expected));
        self.start = expected;
        assert_eq!(log.apply_retention(at).unwrap().removed, [], "once is enough");
        if outcome.next.at.is_some_and(|at| at <= self.clock.now().wall) {
            let waits = !at.is_confirmed() || log.segments()[0].next_offset() > high_watermark;
            assert!(waits, "it says when something goes, and it has not gone: {outcome:?}");
        }
        directory.remove_due(self.clock.now()).unwrap();
    }

    fn largest_time(&self, segment: &RemovedSegment) -> i64 {
        let is_in = |base: i64| (segment.base_offset.get()..segment.next_offset.get()).contains(&base);
        let batches = self.written.iter().filter(|(base, _)| is_in(*base));
        let times = batches.map(|(_, bytes)| BatchHeader::parse(bytes).unwrap().max_timestamp().unwrap().as_millis());
        times.max().unwrap()
    }

    fn crash(&mut self, seed: u64) {
        self.owner = None;
        self.storage = self.storage.crash_image(&CrashModel::Subset, seed);
        self.retention = RetentionClock::new(EVEN);
        self.looks.clear();
        self.open();
        let log = self.log();
        assert!(log.log_end_offset().get() >= self.synced);
        let end = log.log_end_offset().get();
        self.written.retain(|(base, _)| *base < end);
        self.synced = end;
    }

    fn check(&self) {
        let log = self.log();
        assert_eq!(log.log_start_offset().get(), self.start, "the log start never falls");
        assert!(log.log_start_offset() <= log.high_watermark());
        let newest = log.segments().pop().unwrap();
        assert!(newest.next_offset() == log.log_end_offset());
        let (mut bytes, mut from) = (Vec::new(), log.log_start_offset());
        while from < log.log_end_offset() {
            let slice = log.read(from, ReadLimits::bytes(1 << 20).isolation(ReadIsolation::LogEnd)).unwrap();
            bytes.extend_from_slice(slice.as_bytes());
            from = slice.next_offset();
        }
        let first = self.written.partition_point(|(base, _)| *base <= self.start).saturating_sub(1);
        let kept = self.written.iter().skip(first).filter(|(base, bytes)| base + count_of(bytes) > self.start);
        let expected: Vec<u8> = kept.flat_map(|(_, bytes)| bytes.iter().copied()).collect();
        assert_eq!(bytes, expected, "what is above the start stays readable");
    }
}

fn count_of(batch: &[u8]) -> i64 {
    i64::from(BatchHeader::parse(batch).unwrap().last_offset_delta()) + 1
}

fn between(low: i64, high: i64, part: u8) -> Offset {
    Offset::new(low + (high - low) * i64::from(part) / 255).unwrap()
}

proptest! {
    #![proptest_config(crate::cases(192))]

    #[test]
    fn only_a_prefix_of_what_may_go_goes(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in &steps {
            world.run(step);
            world.check();
        }
    }
}
