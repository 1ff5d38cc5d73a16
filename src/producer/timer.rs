//! [P] When the lanes of one producer are to be looked at.
//!
//! Invariants: a lane has one time at most, the earliest that was asked for; hence the timer is never larger than the number
//! of lanes, however often they are asked for. Kafka's counterpart: `RecordAccumulator.ready`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::producer::lane::Lane;
use crate::time::Instant;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct LaneTimer {
    /// By time, and by the lane's number among those of the same time.
    queue: BTreeMap<(Instant, u64), Arc<Lane>>,
    /// The time of each lane in `queue`.
    times: BTreeMap<u64, Instant>,
}

impl LaneTimer {
    /// Has the lane looked at by `at`. Whether that is earlier than anything before.
    pub(super) fn arm(&mut self, lane: &Arc<Lane>, at: Instant) -> bool {
        match self.times.get(&lane.number) {
            Some(earlier) if *earlier <= at => return false,
            Some(later) => self.queue.remove(&(*later, lane.number)),
            None => None,
        };
        let is_earliest = self.earliest().is_none_or(|earliest| at < earliest);
        self.times.insert(lane.number, at);
        self.queue.insert((at, lane.number), Arc::clone(lane));
        is_earliest
    }

    /// When the next lane is due.
    pub(super) fn earliest(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the next lane whose time has come.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Arc<Lane>> {
        let first = self.queue.first_entry().filter(|first| first.key().0 <= now)?;
        let lane = first.remove();
        self.times.remove(&lane.number);
        Some(lane)
    }

    /// Takes every lane, the next first.
    pub(super) fn take_all(&mut self) -> Vec<Arc<Lane>> {
        self.times.clear();
        std::mem::take(&mut self.queue).into_values().collect()
    }
}
