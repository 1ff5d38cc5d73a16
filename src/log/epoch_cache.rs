//! [P] The leader epoch history of a partition: which epoch wrote from which offset on.
//!
//! It decides where a follower's log stops agreeing with its leader's. Invariants: epochs and start offsets both
//! strictly ascend. Kafka: `LeaderEpochFileCache`; its file is `leader-epoch-checkpoint` (see `checkpoint`).

use crate::error::{Damage, Error, Result};
use crate::types::{LeaderEpoch, Offset};

/// One leadership: the first offset that was written under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EpochEntry {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// The first offset written under it.
    pub start_offset: Offset,
}

/// The answer to "where does this epoch end?".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EpochEnd {
    /// The largest epoch of the history that is not above the one asked for.
    pub epoch: LeaderEpoch,
    /// Where that epoch ends, exclusive.
    pub end_offset: Offset,
}

/// The leader epochs of one partition.
///
/// ```
/// use logstead::log::EpochCache;
/// use logstead::types::{LeaderEpoch, Offset};
///
/// let epoch = |raw| LeaderEpoch::new(raw).unwrap();
/// let mut cache = EpochCache::default();
/// assert!(cache.assign(epoch(0), Offset::from(0)));
/// assert!(cache.assign(epoch(4), Offset::from(1000)));
/// assert!(!cache.assign(epoch(4), Offset::from(1007))); // only the first offset of an epoch matters
///
/// let end = cache.end_offset_for(epoch(2), Offset::from(1010)).unwrap();
/// assert_eq!((end.epoch, end.end_offset), (epoch(0), Offset::from(1000)));
/// assert_eq!(cache.epoch_for(Offset::from(999)), Some(epoch(0)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EpochCache {
    entries: Vec<EpochEntry>,
}

impl EpochCache {
    /// A history that was stored.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when epochs or start offsets do not strictly ascend.
    pub fn from_entries(entries: Vec<EpochEntry>) -> Result<EpochCache> {
        let ascend = entries
            .is_sorted_by(|before, after| before.epoch < after.epoch && before.start_offset < after.start_offset);
        if !ascend {
            return Err(Error::corrupt(0, Damage::Structure("leader epochs and their start offsets must ascend")));
        }
        Ok(EpochCache { entries })
    }

    /// All entries, ascending.
    pub fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    /// The newest epoch.
    pub fn latest(&self) -> Option<EpochEntry> {
        self.entries.last().copied()
    }

    /// Notes that `epoch` wrote at `start_offset`; tells whether the history changed.
    ///
    /// Nothing changes when that is the newest epoch and it began at or before this offset. Otherwise what contradicts the
    /// new entry is dropped: every entry with its epoch or a higher one, or with its start offset or a higher one.
    pub fn assign(&mut self, epoch: LeaderEpoch, start_offset: Offset) -> bool {
        if self.latest().is_some_and(|latest| latest.epoch == epoch && latest.start_offset <= start_offset) {
            return false;
        }
        self.entries.retain(|entry| entry.epoch < epoch && entry.start_offset < start_offset);
        self.entries.push(EpochEntry { epoch, start_offset });
        true
    }

    /// Where `epoch` ends in a log that ends at `log_end`.
    ///
    /// - The newest epoch ends at the log end.
    /// - Any other ends where the next higher epoch starts; the answer names the largest epoch that is not above it.
    /// - An epoch below the oldest one (all its records are deleted) ends where the oldest starts, under its own name.
    /// - `None` for an epoch above the newest one: this log knows nothing about it.
    pub fn end_offset_for(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<EpochEnd> {
        if self.latest()?.epoch == epoch {
            return Some(EpochEnd { epoch, end_offset: log_end });
        }
        let higher = self.entries.partition_point(|entry| entry.epoch <= epoch);
        let end_offset = self.entries.get(higher)?.start_offset;
        let floor = higher.checked_sub(1).and_then(|index| self.entries.get(index));
        Some(EpochEnd { epoch: floor.map_or(epoch, |entry| entry.epoch), end_offset })
    }

    /// The epoch under which `offset` was, or would be, written; `None` below the first entry.
    pub fn epoch_for(&self, offset: Offset) -> Option<LeaderEpoch> {
        let not_above = self.entries.partition_point(|entry| entry.start_offset <= offset);
        self.entries.get(not_above.checked_sub(1)?).map(|entry| entry.epoch)
    }

    /// Forgets the epochs that start at or above `end`, the new log end; tells whether the history changed.
    pub fn truncate_from_end(&mut self, end: Offset) -> bool {
        let kept = self.entries.partition_point(|entry| entry.start_offset < end);
        let changed = kept < self.entries.len();
        self.entries.truncate(kept);
        changed
    }

    /// Forgets the epochs that end at or below `start`, the new log start; the one that holds `start` starts there now.
    /// Tells whether the history changed.
    pub fn truncate_from_start(&mut self, start: Offset) -> bool {
        let not_above = self.entries.partition_point(|entry| entry.start_offset <= start);
        let Some(dropped) = not_above.checked_sub(1) else {
            return false;
        };
        self.entries.drain(..dropped);
        match self.entries.first_mut() {
            Some(first) if dropped > 0 || first.start_offset < start => {
                first.start_offset = start;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn epoch(raw: i32) -> LeaderEpoch {
        LeaderEpoch::new(raw).unwrap()
    }

    fn offset(raw: i64) -> Offset {
        Offset::new(raw).unwrap()
    }

    fn cache(entries: &[(i32, i64)]) -> EpochCache {
        let entry = |&(e, start)| EpochEntry { epoch: epoch(e), start_offset: offset(start) };
        EpochCache::from_entries(entries.iter().map(entry).collect()).unwrap()
    }

    #[test]
    fn only_the_first_offset_of_an_epoch_is_kept() {
        let mut cache = cache(&[(0, 0), (4, 1000)]);
        let before = cache.clone();
        assert!(!cache.assign(epoch(4), offset(1000)));
        assert!(!cache.assign(epoch(4), offset(2000)));
        assert_eq!(cache, before);
    }

    #[test]
    fn an_assignment_drops_the_entries_that_contradict_it() {
        let history = [(0, 0), (4, 1000), (7, 2000)];
        let assigned = |e, start| {
            let mut cache = cache(&history);
            assert!(cache.assign(epoch(e), offset(start)));
            cache
        };
        assert_eq!(assigned(4, 1500), cache(&[(0, 0), (4, 1500)]));
        assert_eq!(assigned(9, 500), cache(&[(0, 0), (9, 500)]));
        assert_eq!(assigned(9, 1000), cache(&[(0, 0), (9, 1000)]));
        assert_eq!(assigned(7, 1500), cache(&[(0, 0), (4, 1000), (7, 1500)]));
    }

    #[test]
    fn the_end_of_an_epoch_follows_the_history() {
        let cache = cache(&[(2, 100), (4, 1000), (7, 2000)]);
        let end = |e| {
            let end = cache.end_offset_for(epoch(e), offset(2500))?;
            Some((end.epoch.get(), end.end_offset.get()))
        };
        assert_eq!(end(7), Some((7, 2500)), "the newest epoch ends at the log end");
        assert_eq!(end(4), Some((4, 2000)));
        assert_eq!(end(6), Some((4, 2000)), "an epoch without records ends with the one before");
        assert_eq!(end(1), Some((1, 100)), "all records of the epoch are deleted");
        assert_eq!(end(8), None, "the epoch is from the future");
        assert_eq!(EpochCache::default().end_offset_for(epoch(0), offset(0)), None);
    }

    #[test]
    fn truncation_at_the_end_drops_epochs_that_start_there() {
        let mut truncated = cache(&[(0, 0), (4, 1000), (7, 2000)]);
        assert!(!truncated.truncate_from_end(offset(2001)));
        assert!(truncated.truncate_from_end(offset(1000)));
        assert_eq!(truncated, cache(&[(0, 0)]));
    }

    #[test]
    fn truncation_at_the_start_moves_the_epoch_that_holds_the_new_start() {
        let mut truncated = cache(&[(0, 10), (4, 1000), (7, 2000)]);
        assert!(!truncated.truncate_from_start(offset(5)));
        assert!(!truncated.truncate_from_start(offset(10)));
        assert!(truncated.truncate_from_start(offset(1500)));
        assert_eq!(truncated, cache(&[(4, 1500), (7, 2000)]));
        assert!(truncated.truncate_from_start(offset(2000)));
        assert_eq!(truncated, cache(&[(7, 2000)]));
    }

    #[test]
    fn a_history_that_does_not_ascend_is_damage() {
        for [first, second] in [[(1, 0), (1, 5)], [(1, 5), (2, 5)], [(2, 0), (1, 5)]] {
            let entries = [first, second].map(|(e, start)| EpochEntry { epoch: epoch(e), start_offset: offset(start) });
            assert!(matches!(EpochCache::from_entries(entries.to_vec()), Err(Error::Corrupt(_))), "{entries:?}");
        }
    }

    /// The epoch of each offset, as a log of one record an offset would tell it.
    #[derive(Debug, Clone)]
    enum Step {
        Append { epoch_step: i32, records: i64 },
        TruncateEnd(i64),
        TruncateStart(i64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..3i32, 1..5i64).prop_map(|(epoch_step, records)| Step::Append { epoch_step, records }),
            (0..30i64).prop_map(Step::TruncateEnd),
            (0..30i64).prop_map(Step::TruncateStart),
        ]
    }

    proptest! {
        #[test]
        fn the_history_equals_the_epochs_of_the_records(steps in prop::collection::vec(step(), 0..20)) {
            let (mut log_start, mut records, mut current) = (0_i64, Vec::<i32>::new(), 0);
            let mut cache = EpochCache::default();
            for step in steps {
                let log_end = log_start + records.len() as i64;
                match step {
                    Step::Append { epoch_step, records: count } => {
                        current += epoch_step;
                        cache.assign(epoch(current), offset(log_end));
                        records.extend((0..count).map(|_| current));
                    }
                    Step::TruncateEnd(to) => {
                        let to = to.clamp(log_start, log_end);
                        records.truncate((to - log_start) as usize);
                        cache.truncate_from_end(offset(to));
                    }
                    Step::TruncateStart(to) if to < log_end => {
                        let to = to.max(log_start);
                        records.drain(..(to - log_start) as usize);
                        log_start = to;
                        cache.truncate_from_start(offset(to));
                    }
                    Step::TruncateStart(_) => {}
                }
                EpochCache::from_entries(cache.entries().to_vec()).unwrap();
                for (index, record) in records.iter().enumerate() {
                    prop_assert_eq!(cache.epoch_for(offset(log_start + index as i64)), Some(epoch(*record)));
                }
                let log_end = offset(log_start + records.len() as i64);
                for asked in 0..=current {
                    let Some(newest) = records.last().copied().filter(|newest| asked <= *newest) else { continue };
                    let below_or_equal = records.iter().filter(|record| **record <= asked).count();
                    let end_offset = offset(log_start + below_or_equal as i64);
                    let floor = below_or_equal.checked_sub(1).map_or(asked, |last| records[last]);
                    prop_assert!(asked < newest || end_offset == log_end);
                    let expected = EpochEnd { epoch: epoch(floor), end_offset };
                    prop_assert_eq!(cache.end_offset_for(epoch(asked), log_end), Some(expected));
                }
            }
        }
    }
}
