//! A consumer against a plain list of what it should see, under random batches, transactions, limits and seeks.

use std::time::Duration;

use proptest::prelude::*;

use super::{Rig, TOPIC, marker, transactional};
use crate::config::{ConsumerConfig, Durability, Isolation, LogConfig};
use crate::consumer::{Consumer, ConsumerRecords, DetachedRecord, PollLimits, SeekTo};
use crate::error::Error;
use crate::record::TransactionOutcome;
use crate::types::Offset;

const PRODUCERS: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    /// A batch of this many records with values of this size, of a transaction or of none, compressed or not.
    Append {
        partition: usize,
        producer: Option<usize>,
        count: usize,
        value_bytes: usize,
        is_packed: bool,
    },
    /// Ends the open transaction of this producer in this partition.
    End {
        partition: usize,
        producer: usize,
        outcome: TransactionOutcome,
    },
    Poll(PollLimits),
    /// Keeps a record of each poll from now on, or drops those that were kept.
    Keep(bool),
    /// Pauses this partition, or resumes it.
    Pause {
        partition: usize,
        is_paused: bool,
    },
    /// To this offset, or to this many before the end.
    Seek {
        partition: usize,
        offset: u64,
        is_from_end: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let partition = 0..2_usize;
    let outcome = prop_oneof![Just(TransactionOutcome::Commit), Just(TransactionOutcome::Abort)];
    let step = prop_oneof![
        4 => (partition.clone(), prop::option::of(0..PRODUCERS), 1..6_usize, 0..60_usize, any::<bool>()).prop_map(
            |(partition, producer, count, value_bytes, is_packed)| {
                Step::Append { partition, producer, count, value_bytes, is_packed }
            }
        ),
        2 => (partition.clone(), 0..PRODUCERS, outcome)
            .prop_map(|(partition, producer, outcome)| Step::End { partition, producer, outcome }),
        4 => (1..9_usize, prop_oneof![1..200_usize, Just(usize::MAX)])
            .prop_map(|(records, bytes)| Step::Poll(PollLimits { records, bytes })),
        1 => any::<bool>().prop_map(Step::Keep),
        1 => (partition.clone(), any::<bool>()).prop_map(|(partition, is_paused)| Step::Pause { partition, is_paused }),
        1 => (partition, 0..60_u64, any::<bool>())
            .prop_map(|(partition, offset, is_from_end)| Step::Seek { partition, offset, is_from_end }),
    ];
    prop::collection::vec(step, 1..60)
}

/// One offset of a partition.
#[derive(Debug, Clone)]
struct Slot {
    /// None for a marker.
    value: Option<String>,
    transaction: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Open,
    Committed,
    Aborted,
}

#[derive(Debug, Default)]
struct Model {
    slots: Vec<Slot>,
    /// First offset and fate of each transaction.
    transactions: Vec<(usize, Fate)>,
    /// By producer: his open transaction, and his next sequence.
    open: [Option<usize>; PRODUCERS],
    sequences: [usize; PRODUCERS],
    /// Where the reader stands, at least: what follows may be invisible.
    position: usize,
    is_paused: bool,
}

impl Model {
    fn end(&self, isolation: Isolation) -> usize {
        let open = self.transactions.iter().filter(|(_, fate)| *fate == Fate::Open).map(|(first, _)| *first);
        match isolation {
            Isolation::ReadCommitted => open.min().unwrap_or(self.slots.len()),
            Isolation::ReadUncommitted => self.slots.len(),
        }
    }

    fn is_visible(&self, slot: &Slot, isolation: Isolation) -> bool {
        let fate = slot.transaction.map(|index| self.transactions[index].1);
        slot.value.is_some() && (isolation == Isolation::ReadUncommitted || fate != Some(Fate::Aborted))
    }

    /// What is to be read from the position on.
    fn pending(&self, isolation: Isolation) -> Vec<(usize, String)> {
        let slots = self.slots.iter().enumerate().take(self.end(isolation)).skip(self.position);
        let visible = slots.filter(|(_, slot)| self.is_visible(slot, isolation));
        visible.map(|(offset, slot)| (offset, slot.value.clone().unwrap())).collect()
    }
}

struct Run {
    rig: Rig,
    isolation: Isolation,
    consumer: Consumer,
    models: [Model; 2],
    /// Little memory may be pinned, so that a poll may return less than there is.
    is_tight: bool,
    is_keeping: bool,
    /// Records of earlier polls, with their values.
    kept: Vec<(DetachedRecord, String)>,
}

impl Run {
    fn new(isolation: Isolation, partition_bytes: u64, pinned_bytes: u64) -> Run {
        let config = LogConfig::new().durability(Durability::Os).segment_bytes(700).index_interval_bytes(100);
        let rig = Rig::with(2, config, true);
        let config = ConsumerConfig::new()
            .isolation(isolation)
            .partition_fetch_bytes_max(partition_bytes)
            .pinned_bytes_max(pinned_bytes);
        let consumer = rig.builder().topic(TOPIC).config(config).build().unwrap();
        Run {
            rig,
            isolation,
            consumer,
            models: Default::default(),
            is_tight: pinned_bytes == 1,
            is_keeping: false,
            kept: Vec::new(),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Append { partition, producer, count, value_bytes, is_packed } => {
                self.append(partition, producer, (count, value_bytes), is_packed);
            }
            Step::End { partition, producer, outcome } => self.end(partition, producer, outcome),
            Step::Poll(limits) => {
                self.poll(limits);
            }
            Step::Keep(is_keeping) => {
                self.is_keeping = is_keeping;
                self.kept.clear();
            }
            Step::Pause { partition, is_paused } => {
                let tp = super::tp(partition as i32);
                let change = if is_paused { Consumer::pause } else { Consumer::resume };
                change(&mut self.consumer, &tp).unwrap();
                self.models[partition].is_paused = is_paused;
            }
            Step::Seek { partition, offset, is_from_end } => self.seek(partition, offset, is_from_end),
        }
    }

    fn append(
        &mut self,
        partition: usize,
        producer: Option<usize>,
        (count, value_bytes): (usize, usize),
        is_packed: bool,
    ) {
        let model = &mut self.models[partition];
        let base = model.slots.len();
        let values: Vec<_> =
            (0..count).map(|index| format!("{partition}/{}/{:value_bytes$}", base + index, "")).collect();
        let texts: Vec<_> = values.iter().map(String::as_str).collect();
        let transaction = producer.map(|producer| {
            *model.open[producer].get_or_insert_with(|| {
                model.transactions.push((base, Fate::Open));
                model.transactions.len() - 1
            })
        });
        let batch = match producer {
            Some(producer) => {
                let sequence = model.sequences[producer];
                model.sequences[producer] += count;
                transactional(producer as i64, sequence as i32, &texts)
            }
            None => super::batch(&texts),
        };
        model.slots.extend(values.into_iter().map(|value| Slot { value: Some(value), transaction }));
        match is_packed {
            true => self.rig.append_packed(partition, batch),
            false => self.rig.append(partition, batch),
        }
        self.rig.partitions[partition].sync().unwrap();
    }

    fn end(&mut self, partition: usize, producer: usize, outcome: TransactionOutcome) {
        let model = &mut self.models[partition];
        let Some(transaction) = model.open[producer].take() else { return };
        model.transactions[transaction].1 = match outcome {
            TransactionOutcome::Commit => Fate::Committed,
            TransactionOutcome::Abort => Fate::Aborted,
        };
        model.slots.push(Slot { value: None, transaction: None });
        self.rig.append(partition, marker(producer as i64, outcome));
        self.rig.partitions[partition].sync().unwrap();
    }

    /// Returns how many records came.
    fn poll(&mut self, limits: PollLimits) -> usize {
        let records = match self.consumer.poll_with(limits, Duration::ZERO) {
            Err(Error::PinnedMemory { pinned, max: 1 }) if !self.kept.is_empty() && pinned > 0 => return 0,
            other => other.unwrap(),
        };
        let bytes: usize = records.iter().map(|record| record.size_in_bytes()).sum();
        assert!(records.len() <= limits.records);
        assert!(bytes <= limits.bytes || records.len() == 1);
        assert_eq!((records.iter().count(), records.size_in_bytes()), (records.len(), bytes as u64));
        let mut left = 0;
        for (partition, model) in self.models.iter_mut().enumerate() {
            let tp = super::tp(partition as i32);
            let pending = model.pending(self.isolation);
            let came: Vec<_> = records
                .by_partition(&tp)
                .map(|record| (record.offset().get() as usize, std::str::from_utf8(record.value().unwrap()).unwrap()))
                .collect();
            let expected: Vec<_> = pending.iter().map(|(offset, value)| (*offset, value.as_str())).collect();
            assert_eq!(came, expected[..came.len().min(expected.len())], "{tp}");
            if let Some((offset, _)) = came.last() {
                model.position = offset + 1;
            }
            assert!(came.is_empty() || !model.is_paused, "{tp} is paused");
            left += if model.is_paused { 0 } else { expected.len() - came.len() };
            let position = self.consumer.position(&tp).unwrap().get() as usize;
            let next =
                pending.get(came.len()).map_or(model.end(self.isolation).max(model.position), |(offset, _)| *offset);
            assert!((model.position..=next).contains(&position), "{tp}: {position} not in {}..={next}", model.position);
        }
        // It stops for a limit, not for anything else.
        let is_full = records.len() == limits.records || bytes + 200 > limits.bytes;
        assert!(left == 0 || is_full || (self.is_tight && !records.is_empty()), "{left} left, {limits:?}");
        self.check_kept(&records);
        records.len()
    }

    /// Whatever was read since, records that are kept are as they were; and all memory is given back with the last of them.
    fn check_kept(&mut self, records: &ConsumerRecords) {
        let value = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
        if self.is_keeping {
            let last = records.iter().last().map(|record| (record.detach(), value(record.value())));
            self.kept.extend(last);
        }
        assert!(self.kept.iter().all(|(record, expected)| value(record.value()) == *expected));
    }

    fn seek(&mut self, partition: usize, offset: u64, is_from_end: bool) {
        let (model, tp) = (&mut self.models[partition], super::tp(partition as i32));
        if is_from_end {
            model.position = model.end(self.isolation).saturating_sub(offset as usize);
            self.consumer.seek(&tp, SeekTo::Last(offset)).unwrap();
        } else {
            model.position = (offset as usize).min(model.slots.len());
            self.consumer.seek(&tp, Offset::from(model.position as u32)).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]
    #[test]
    fn a_consumer_sees_what_it_should_once_and_in_order(
        steps in steps(),
        isolation in prop_oneof![Just(Isolation::ReadCommitted), Just(Isolation::ReadUncommitted)],
        partition_bytes in prop_oneof![Just(0_u64), 1..400_u64, Just(1 << 20)],
        pinned_bytes in prop_oneof![Just(1_u64), Just(64 << 20)],
    ) {
        let mut run = Run::new(isolation, partition_bytes, pinned_bytes);
        steps.into_iter().for_each(|step| run.step(step));
        run.step(Step::Keep(false));
        (0..2).for_each(|partition| run.step(Step::Pause { partition, is_paused: false }));
        while run.poll(PollLimits { records: 7, bytes: usize::MAX }) > 0 {}
        for (partition, model) in run.models.iter().enumerate() {
            prop_assert_eq!(model.pending(isolation), []);
            let lag = run.consumer.lag(&super::tp(partition as i32)).unwrap();
            prop_assert_eq!(lag, 0);
        }
        prop_assert_eq!(run.consumer.pinned_bytes(), 0);
    }
}
