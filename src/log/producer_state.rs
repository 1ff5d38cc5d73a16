//! [P] What a partition knows about its producers: epochs, recent batches, open transactions.
//!
//! Two phases: [`check_marker`](ProducerStates::check_marker) decides without changing, and
//! [`update`](ProducerStates::update) changes after the append succeeded and cannot fail. The checks of a client's data
//! batches (duplicates, sequences, epochs, transaction state) belong beside `check_marker`.
//!
//! Invariants: a producer has at most [`BATCHES_MAX`] batches, oldest first; every open transaction is in `ongoing` until
//! [`complete`](ProducerStates::complete) moves it to `unreplicated`, where it stays until its marker is below the high
//! watermark. Kafka: `ProducerStateManager`, `ProducerStateEntry`, `ProducerAppendInfo`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicPartition};

/// How many batches of a producer are remembered: a client has at most five in flight (Kafka: `NUM_BATCHES_TO_RETAIN`).
pub(crate) const BATCHES_MAX: usize = 5;

/// What the producer state needs to know about a batch that carries a producer id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchFacts {
    /// Who wrote it.
    pub(crate) producer_id: ProducerId,
    /// Under which epoch.
    pub(crate) producer_epoch: ProducerEpoch,
    /// The sequence of its first record; none in a control batch.
    pub(crate) base_sequence: Option<Sequence>,
    /// The sequence of its last record; none in a control batch.
    pub(crate) last_sequence: Option<Sequence>,
    /// The offset of its first record.
    pub(crate) base_offset: Offset,
    /// The offset of its last record.
    pub(crate) last_offset: Offset,
    /// Its largest timestamp.
    pub(crate) max_timestamp: Option<Timestamp>,
    /// Whether it belongs to a transaction.
    pub(crate) is_transactional: bool,
    /// What it says if it is a control batch.
    pub(crate) control: Option<ControlFacts>,
}

/// What a control batch says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ControlFacts {
    /// The producer's transaction ends here.
    EndTransaction {
        /// Whether it was aborted rather than committed.
        outcome_is_abort: bool,
        /// The epoch of the transaction coordinator that wrote the marker.
        coordinator_epoch: i32,
    },
    /// Nothing about transactions: another type, or the record was compacted away.
    Other,
}

/// One data batch of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerBatch {
    /// The sequence of its last record.
    pub last_sequence: Sequence,
    /// The offset of its last record.
    pub last_offset: Offset,
    /// How many offsets its last record is after its first, 0 to 2^31 - 1.
    pub offset_delta: i32,
    /// Its largest timestamp.
    pub timestamp: Option<Timestamp>,
}

impl ProducerBatch {
    /// The sequence of its first record.
    ///
    /// ```
    /// use logstead::log::ProducerBatch;
    /// use logstead::types::{Offset, Sequence};
    /// let last_sequence = Sequence::new(41).unwrap();
    /// let batch = ProducerBatch { last_sequence, last_offset: Offset::from(1041), offset_delta: 1, timestamp: None };
    /// assert_eq!(batch.first_sequence().get(), 40);
    /// ```
    pub fn first_sequence(&self) -> Sequence {
        self.last_sequence.minus(self.offset_delta)
    }
}

/// What is known about one producer; [`decode_producer_snapshot`](super::decode_producer_snapshot) reads a file of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerEntry {
    /// The producer.
    pub producer_id: ProducerId,
    /// The epoch it wrote with last.
    pub epoch: Option<ProducerEpoch>,
    /// Its last data batches under that epoch, oldest first, at most five; a file keeps the last one only.
    pub batches: VecDeque<ProducerBatch>,
    /// The largest timestamp of its last batch, markers included.
    pub last_timestamp: Option<Timestamp>,
    /// The epoch of the coordinator that wrote its last marker.
    pub coordinator_epoch: Option<i32>,
    /// Where its open transaction starts.
    pub current_txn_first_offset: Option<Offset>,
}

impl ProducerEntry {
    /// A producer of which nothing is known yet.
    pub(crate) fn new(producer_id: ProducerId) -> ProducerEntry {
        ProducerEntry {
            producer_id,
            epoch: None,
            batches: VecDeque::new(),
            last_timestamp: None,
            coordinator_epoch: None,
            current_txn_first_offset: None,
        }
    }

    /// The last data batch.
    pub fn last_batch(&self) -> Option<&ProducerBatch> {
        self.batches.back()
    }

    /// Sequences count anew under each epoch, so the batches of another epoch are forgotten. The last epoch seen counts,
    /// even if it is lower: only a leader's checks may refuse it.
    fn on_epoch(&mut self, epoch: ProducerEpoch) {
        if self.epoch != Some(epoch) {
            self.batches.clear();
            self.epoch = Some(epoch);
        }
    }

    fn on_data(&mut self, facts: &BatchFacts) {
        let Some(last_sequence) = facts.last_sequence else {
            return;
        };
        if self.batches.len() >= BATCHES_MAX {
            self.batches.pop_front();
        }
        self.batches.push_back(ProducerBatch {
            last_sequence,
            last_offset: facts.last_offset,
            offset_delta: i32::try_from(facts.last_offset.since(facts.base_offset)).unwrap_or(i32::MAX),
            timestamp: facts.max_timestamp,
        });
    }
}

/// A transaction whose marker was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the last stable offset does not advance until the transaction is completed"]
pub(crate) struct CompletedTransaction {
    /// Whose transaction it was.
    pub(crate) producer_id: ProducerId,
    /// Its first record.
    pub(crate) first_offset: Offset,
    /// Its marker.
    pub(crate) last_offset: Offset,
    /// Whether it was aborted.
    pub(crate) aborted: bool,
}

/// The producers of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ProducerStates {
    producers: BTreeMap<ProducerId, ProducerEntry>,
    /// Open transactions, by first offset.
    ongoing: BTreeSet<(Offset, ProducerId)>,
    /// Completed transactions whose marker is not below the high watermark yet, with the offset of that marker.
    unreplicated: BTreeMap<(Offset, ProducerId), Offset>,
}

impl ProducerStates {
    /// The state that a snapshot holds: transactions that were open then are open again.
    pub(crate) fn from_snapshot(entries: impl IntoIterator<Item = ProducerEntry>) -> ProducerStates {
        let producers: BTreeMap<_, _> = entries.into_iter().map(|entry| (entry.producer_id, entry)).collect();
        let open = |entry: &ProducerEntry| entry.current_txn_first_offset.map(|first| (first, entry.producer_id));
        let ongoing = producers.values().filter_map(open).collect();
        ProducerStates { producers, ongoing, unreplicated: BTreeMap::new() }
    }

    /// All producers, by ascending id.
    pub(crate) fn entries(&self) -> impl ExactSizeIterator<Item = &ProducerEntry> {
        self.producers.values()
    }

    /// One producer.
    #[cfg(test)]
    fn get(&self, producer_id: ProducerId) -> Option<&ProducerEntry> {
        self.producers.get(&producer_id)
    }

    /// May this transaction marker be appended? Anything that is not a marker may.
    ///
    /// Only a leader asks: what is replicated or recovered was decided by the leader of its time.
    ///
    /// # Errors
    /// [`Error::ProducerFenced`] when the producer has a newer epoch; [`Error::TransactionCoordinatorFenced`] when a newer
    /// coordinator has written a marker for it.
    pub(crate) fn check_marker(&self, tp: &TopicPartition, facts: &BatchFacts) -> Result<()> {
        let Some(ControlFacts::EndTransaction { coordinator_epoch: given, .. }) = facts.control else {
            return Ok(());
        };
        let Some(entry) = self.producers.get(&facts.producer_id) else {
            return Ok(());
        };
        match entry.epoch {
            Some(current) if facts.producer_epoch < current => {
                let (producer_id, given) = (facts.producer_id, facts.producer_epoch);
                return Err(Error::ProducerFenced { tp: tp.clone(), producer_id, given, current });
            }
            Some(_) | None => {}
        }
        match entry.coordinator_epoch {
            Some(current) if given < current => {
                Err(Error::TransactionCoordinatorFenced { tp: tp.clone(), given, current })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Takes note of a batch that was appended, in log order.
    ///
    /// A marker that ends an open transaction gives that transaction back: the caller asks for the
    /// [last stable offset after it](Self::last_stable_offset_after) where it was aborted, and then
    /// [completes](Self::complete) it. A marker without an open transaction completes nothing.
    pub(crate) fn update(&mut self, facts: &BatchFacts) -> Option<CompletedTransaction> {
        let producer_id = facts.producer_id;
        if facts.control == Some(ControlFacts::Other) {
            return None;
        }
        let entry = self.producers.entry(producer_id).or_insert_with(|| ProducerEntry::new(producer_id));
        entry.on_epoch(facts.producer_epoch);
        entry.last_timestamp = facts.max_timestamp;
        if let Some(ControlFacts::EndTransaction { outcome_is_abort, coordinator_epoch }) = facts.control {
            // An administrator who ends a hanging transaction writes -1.
            entry.coordinator_epoch = (coordinator_epoch >= 0).then_some(coordinator_epoch);
            let first_offset = entry.current_txn_first_offset.take()?;
            let last_offset = facts.last_offset;
            return Some(CompletedTransaction { producer_id, first_offset, last_offset, aborted: outcome_is_abort });
        }
        entry.on_data(facts);
        if facts.is_transactional && entry.current_txn_first_offset.is_none() {
            entry.current_txn_first_offset = Some(facts.base_offset);
            self.ongoing.insert((facts.base_offset, producer_id));
        }
        None
    }

    /// The last stable offset right after the transaction's marker, replication aside: the first offset of the next
    /// transaction of another producer that is still open, else the offset after the marker.
    pub(crate) fn last_stable_offset_after(&self, completed: &CompletedTransaction) -> Offset {
        let after_marker = completed.last_offset.next();
        let mut others = self.ongoing.iter().filter(|(_, producer_id)| *producer_id != completed.producer_id);
        others.next().map_or(after_marker, |(first_offset, _)| after_marker.min(*first_offset))
    }

    /// The transaction is over, and unstable only until its marker is below the high watermark.
    pub(crate) fn complete(&mut self, completed: &CompletedTransaction) {
        let key = (completed.first_offset, completed.producer_id);
        if self.ongoing.remove(&key) {
            self.unreplicated.insert(key, completed.last_offset);
        }
    }

    /// Where the first transaction starts that is open or not fully below the high watermark; `None` when all records are
    /// decided.
    pub(crate) fn first_unstable_offset(&self) -> Option<Offset> {
        let ongoing = self.ongoing.first().map(|(first_offset, _)| *first_offset);
        let unreplicated = self.unreplicated.first_key_value().map(|((first_offset, _), _)| *first_offset);
        ongoing.into_iter().chain(unreplicated).min()
    }

    /// Completed transactions whose marker is below the high watermark are stable.
    pub(crate) fn on_high_watermark(&mut self, high_watermark: Offset) {
        self.unreplicated.retain(|_, marker| *marker >= high_watermark);
    }

    /// Forgets the producers that have no open transaction and have not written for `after` (Kafka:
    /// `producer.id.expiration.ms`); one whose last batch has no timestamp counts as never heard of.
    pub(crate) fn expire(&mut self, now: Timestamp, after: Duration) {
        let after = i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
        self.producers.retain(|_, entry| {
            entry.current_txn_first_offset.is_some()
                || entry.last_timestamp.is_some_and(|last| now.millis_since(last) < after)
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn offset(raw: i64) -> Offset {
        Offset::new(raw).unwrap()
    }

    fn sequence(raw: i32) -> Option<Sequence> {
        Sequence::new(raw)
    }

    fn producer(raw: i64) -> ProducerId {
        ProducerId::new(raw).unwrap()
    }

    fn epoch(raw: i16) -> ProducerEpoch {
        ProducerEpoch::new(raw).unwrap()
    }

    fn data(producer_id: i64, first: i64, last: i64) -> BatchFacts {
        BatchFacts {
            producer_id: producer(producer_id),
            producer_epoch: epoch(0),
            base_sequence: sequence(first as i32),
            last_sequence: sequence(last as i32),
            base_offset: offset(first),
            last_offset: offset(last),
            max_timestamp: Some(Timestamp::from_millis(1000 + last)),
            is_transactional: true,
            control: None,
        }
    }

    fn marker(producer_id: i64, at: i64, outcome_is_abort: bool) -> BatchFacts {
        let control = Some(ControlFacts::EndTransaction { outcome_is_abort, coordinator_epoch: 15 });
        BatchFacts { base_sequence: None, last_sequence: None, control, ..data(producer_id, at, at) }
    }

    fn tp() -> TopicPartition {
        TopicPartition::new("orders", 0).unwrap()
    }

    /// Appends a marker as the log does; returns the last stable offset for the transaction index.
    fn finish(states: &mut ProducerStates, facts: &BatchFacts) -> Offset {
        let completed = states.update(facts).unwrap();
        let last_stable = states.last_stable_offset_after(&completed);
        states.complete(&completed);
        last_stable
    }

    #[test]
    fn the_unstable_offset_follows_two_overlapping_transactions() {
        let mut states = ProducerStates::default();
        let unstable = |states: &ProducerStates| states.first_unstable_offset().map(Offset::get);
        assert_eq!(states.update(&data(1, 0, 2)), None);
        assert_eq!(states.update(&data(2, 3, 3)), None);
        states.on_high_watermark(offset(4));
        assert_eq!(unstable(&states), Some(0));
        assert_eq!(finish(&mut states, &marker(1, 4, true)), offset(3));
        states.on_high_watermark(offset(4));
        assert_eq!(unstable(&states), Some(0), "the marker is not below the high watermark");
        states.on_high_watermark(offset(5));
        assert_eq!(unstable(&states), Some(3));
        assert_eq!(finish(&mut states, &marker(2, 5, false)), offset(6));
        states.on_high_watermark(offset(6));
        assert_eq!(unstable(&states), None);
    }

    #[test]
    fn a_marker_without_an_open_transaction_completes_nothing() {
        let mut states = ProducerStates::default();
        assert_eq!(states.update(&marker(1, 0, true)), None);
        let entry = states.get(producer(1)).unwrap();
        assert_eq!((entry.epoch, entry.coordinator_epoch, entry.batches.len()), (Some(epoch(0)), Some(15), 0));
    }

    #[test]
    fn other_control_batches_leave_no_trace() {
        let mut states = ProducerStates::default();
        let facts = BatchFacts { control: Some(ControlFacts::Other), ..marker(1, 0, true) };
        assert_eq!(states.update(&facts), None);
        assert_eq!(states, ProducerStates::default());
    }

    #[test]
    fn a_completed_transaction_names_its_records_and_outcome() {
        let mut states = ProducerStates::default();
        assert_eq!(states.update(&data(1, 5, 6)), None);
        assert_eq!(states.update(&data(1, 7, 9)), None);
        let expected = CompletedTransaction {
            producer_id: producer(1),
            first_offset: offset(5),
            last_offset: offset(10),
            aborted: true,
        };
        assert_eq!(states.update(&marker(1, 10, true)), Some(expected));
    }

    #[test]
    fn the_last_five_batches_are_remembered() {
        let mut states = ProducerStates::default();
        for batch in 0..7 {
            assert_eq!(states.update(&data(1, batch * 10, batch * 10 + 9)), None);
        }
        let entry = states.get(producer(1)).unwrap();
        let first: Vec<_> =
            entry.batches.iter().map(|batch| batch.last_sequence.minus(batch.offset_delta).get()).collect();
        assert_eq!(first, [20, 30, 40, 50, 60]);
        assert_eq!(entry.last_batch().unwrap().last_offset, offset(69));
    }

    #[test]
    fn a_new_epoch_forgets_the_batches_of_the_old_one() {
        let mut states = ProducerStates::default();
        assert_eq!(states.update(&data(1, 0, 9)), None);
        assert_eq!(states.update(&BatchFacts { producer_epoch: epoch(1), ..data(1, 10, 19) }), None);
        let entry = states.get(producer(1)).unwrap();
        assert_eq!((entry.epoch, entry.batches.len()), (Some(epoch(1)), 1));
        assert_eq!(entry.current_txn_first_offset, Some(offset(0)));
    }

    #[test]
    fn a_leader_refuses_a_marker_of_an_older_epoch() {
        let mut states = ProducerStates::default();
        assert_eq!(states.update(&BatchFacts { producer_epoch: epoch(2), ..data(1, 0, 9) }), None);
        let stale = BatchFacts { producer_epoch: epoch(1), ..marker(1, 10, false) };
        let refused = states.check_marker(&tp(), &stale);
        assert!(matches!(refused, Err(Error::ProducerFenced { .. })), "{refused:?}");
        for newer in [2, 3] {
            let facts = BatchFacts { producer_epoch: epoch(newer), ..marker(1, 10, false) };
            assert!(states.check_marker(&tp(), &facts).is_ok());
        }
    }

    #[test]
    fn a_leader_refuses_a_marker_of_an_older_coordinator() {
        let mut states = ProducerStates::default();
        assert_eq!(states.update(&marker(1, 0, false)), None);
        let control = Some(ControlFacts::EndTransaction { outcome_is_abort: true, coordinator_epoch: 14 });
        let stale = BatchFacts { control, ..marker(1, 1, true) };
        let refused = states.check_marker(&tp(), &stale);
        assert!(
            matches!(refused, Err(Error::TransactionCoordinatorFenced { given: 14, current: 15, .. })),
            "{refused:?}"
        );
    }

    #[test]
    fn a_leader_takes_a_further_marker_of_the_same_coordinator() {
        let mut states = ProducerStates::default();
        assert_eq!(states.update(&marker(1, 0, false)), None);
        assert!(states.check_marker(&tp(), &marker(1, 1, true)).is_ok());
    }

    #[test]
    fn only_idle_producers_without_an_open_transaction_expire() {
        let mut states = ProducerStates::default();
        assert_eq!(states.update(&data(1, 0, 0)), None);
        assert_eq!(states.update(&BatchFacts { is_transactional: false, ..data(2, 1, 1) }), None);
        assert_eq!(states.update(&BatchFacts { is_transactional: false, ..data(3, 2, 2) }), None);
        states.expire(Timestamp::from_millis(1000 + 1 + 50), Duration::from_millis(50));
        let left: Vec<_> = states.entries().map(|entry| entry.producer_id.get()).collect();
        assert_eq!(left, [1, 3]);
    }

    #[test]
    fn a_snapshot_brings_open_transactions_back() {
        let mut states = ProducerStates::default();
        assert_eq!(states.update(&data(1, 0, 2)), None);
        assert_eq!(states.update(&data(2, 3, 3)), None);
        let mut restored = ProducerStates::from_snapshot(states.entries().cloned());
        assert_eq!(restored, states);
        assert_eq!(finish(&mut restored, &marker(1, 4, true)), offset(3));
    }

    proptest! {
        /// The model is the log itself: what a scan of all batches so far would say.
        #[test]
        fn the_unstable_offset_equals_a_scan_of_the_log(
            steps in prop::collection::vec((0..3i64, 0..4u8, 0..3i64), 0..40),
        ) {
            let mut states = ProducerStates::default();
            let (mut log_end, mut high_watermark) = (0, 0);
            let mut transactions: Vec<(i64, i64, Option<i64>)> = Vec::new(); // producer, first offset, marker
            for (id, action, lag) in steps {
                let open = transactions.iter().position(|(owner, _, marker)| *owner == id && marker.is_none());
                if action == 0 {
                    if let Some(completed) = states.update(&marker(id, log_end, true)) {
                        transactions[open.unwrap()].2 = Some(log_end);
                        let others = transactions.iter().filter(|(_, _, marker)| marker.is_none());
                        let expected = others.map(|(_, first, _)| *first).min().unwrap_or(log_end + 1);
                        prop_assert_eq!(states.last_stable_offset_after(&completed), offset(expected));
                        states.complete(&completed);
                    } else {
                        prop_assert!(open.is_none());
                    }
                } else {
                    prop_assert_eq!(states.update(&data(id, log_end, log_end)), None);
                    if open.is_none() {
                        transactions.push((id, log_end, None));
                    }
                }
                log_end += 1;
                high_watermark = high_watermark.max(log_end - lag);
                states.on_high_watermark(offset(high_watermark));
                let unstable = transactions.iter().filter(|(_, _, marker)| marker.is_none_or(|at| at >= high_watermark));
                prop_assert_eq!(states.first_unstable_offset(), unstable.map(|(_, first, _)| offset(*first)).min());
            }
        }
    }
}
