//! [P] Who waits at one partition: producers for the high watermark, consumers for something to read (Kafka:
//! `DelayedOperationPurgatory`, `DelayedProduce`, `DelayedFetch`).
//!
//! Nothing is resolved here: what is due is handed out, and resolved by the caller once he holds no lock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::sync::{Completion, Signal};
use crate::time::Instant;
use crate::types::{Offset, Timestamp};

/// Where a batch went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Appended {
    /// The offset of its first record.
    pub(crate) base_offset: Offset,
    /// The time given to its records, where the topic says `LogAppendTime`.
    pub(crate) log_append_time: Option<Timestamp>,
}

/// A produced batch that is in the log but not committed.
#[derive(Debug)]
pub(crate) struct ParkedProduce {
    /// It is committed once the high watermark is here.
    pub(crate) upto: Offset,
    pub(crate) deadline: Option<Deadline>,
    pub(crate) appended: Appended,
    pub(crate) done: Completion<Appended>,
}

/// When a producer gives up waiting for an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    /// The time that he had allowed, for the error's text.
    pub(crate) allowed: Duration,
}

impl ParkedProduce {
    fn resolve(self, outcome: Result<()>) {
        self.done.complete(outcome.map(|()| self.appended));
    }
}

/// A consumer that has read everything it may see.
#[derive(Debug)]
struct ParkedFetch {
    signal: Arc<Signal>,
}

/// Waiters that are due.
#[must_use = "somebody waits for these"]
#[derive(Debug, Default)]
pub(crate) struct Released {
    produces: Vec<ParkedProduce>,
    fetches: Vec<ParkedFetch>,
}

impl Released {
    /// Tells everybody. The caller holds no lock.
    pub(crate) fn resolve(self, outcome: &Result<()>) {
        for parked in self.produces {
            parked.resolve(outcome.clone());
        }
        for parked in self.fetches {
            parked.signal.raise();
        }
    }
}

/// The waiters of one partition.
#[derive(Debug, Default)]
pub(crate) struct Purgatory {
    /// In the order of their offsets.
    produces: VecDeque<ParkedProduce>,
    fetches: Vec<ParkedFetch>,
    /// The partition is gone: nobody may wait here any more.
    closed: Option<Error>,
}

impl Purgatory {
    /// Lets a producer wait; hands it back, to be resolved with the error, when the partition is gone.
    pub(crate) fn park_produce(&mut self, parked: ParkedProduce) -> Result<(), Box<(ParkedProduce, Error)>> {
        if let Some(error) = &self.closed {
            return Err(Box::new((parked, error.clone())));
        }
        // Appends of several threads may arrive here out of order, by a few places.
        let behind = self.produces.iter().rev().take_while(|other| other.upto > parked.upto).count();
        self.produces.insert(self.produces.len().saturating_sub(behind), parked);
        Ok(())
    }

    /// Lets a consumer wait for the next thing to read. One that waits already is not added again.
    ///
    /// # Errors
    /// Why the partition is gone.
    pub(crate) fn park_fetch(&mut self, signal: &Arc<Signal>) -> Result<()> {
        if let Some(error) = &self.closed {
            return Err(error.clone());
        }
        if !self.fetches.iter().any(|parked| Arc::ptr_eq(&parked.signal, signal)) {
            self.fetches.push(ParkedFetch { signal: Arc::clone(signal) });
        }
        Ok(())
    }

    /// A consumer waits no more.
    pub(crate) fn forget_fetch(&mut self, signal: &Arc<Signal>) {
        self.fetches.retain(|parked| !Arc::ptr_eq(&parked.signal, signal));
    }

    /// Does anybody wait?
    pub(crate) fn is_empty(&self) -> bool {
        self.produces.is_empty() && self.fetches.is_empty()
    }

    /// The high watermark is at `offset` now: the producers up to there are due, and every consumer.
    pub(crate) fn complete_up_to(&mut self, offset: Offset) -> Released {
        Released { fetches: std::mem::take(&mut self.fetches), ..self.complete_produces_up_to(offset) }
    }

    /// The high watermark is at `offset`, which consumers know or are told by whoever moved it: the producers up to there are
    /// due.
    pub(crate) fn complete_produces_up_to(&mut self, offset: Offset) -> Released {
        let due = self.produces.partition_point(|parked| parked.upto <= offset);
        Released { produces: self.produces.drain(..due).collect(), fetches: Vec::new() }
    }

    /// Something was appended that is not committed yet: every consumer is due, to see to its sync.
    pub(crate) fn wake_fetches(&mut self) -> Released {
        Released { produces: Vec::new(), fetches: std::mem::take(&mut self.fetches) }
    }

    /// The producers whose deadline is over, with the time that each had allowed.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<(Completion<Appended>, Duration)> {
        let mut expired = Vec::new();
        let is_due = |parked: &ParkedProduce| parked.deadline.is_some_and(|deadline| deadline.at <= now);
        while let Some(parked) = self.produces.iter().position(is_due).and_then(|at| self.produces.remove(at)) {
            expired.extend(parked.deadline.map(|deadline| (parked.done, deadline.allowed)));
        }
        expired
    }

    /// The earliest deadline of a waiter.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.produces.iter().filter_map(|parked| parked.deadline).map(|deadline| deadline.at).min()
    }

    /// What is in the log and not committed never will be: its producers are due, and every consumer, to hear of it.
    pub(crate) fn fail(&mut self) -> Released {
        Released { produces: self.produces.drain(..).collect(), fetches: std::mem::take(&mut self.fetches) }
    }

    /// The partition is gone: everybody is due, and nobody waits here any more.
    pub(crate) fn close(&mut self, error: Error) -> Released {
        self.closed = Some(error);
        Released { produces: self.produces.drain(..).collect(), fetches: std::mem::take(&mut self.fetches) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{Handle, completion};

    fn park(purgatory: &mut Purgatory, upto: u32, deadline: Option<u64>) -> Handle<Appended> {
        let (done, handle) = completion();
        let appended = Appended { base_offset: Offset::from(upto - 1), log_append_time: None };
        let deadline = deadline.map(|at| Deadline { at: Instant::from_nanos(at), allowed: Duration::from_nanos(at) });
        purgatory.park_produce(ParkedProduce { upto: Offset::from(upto), deadline, appended, done }).unwrap();
        handle
    }

    fn is_done(handle: &Handle<Appended>) -> bool {
        handle.try_get().is_some()
    }

    #[test]
    fn the_high_watermark_releases_those_below_it_whatever_order_they_came_in() {
        let mut purgatory = Purgatory::default();
        let handles = [3, 5, 4, 1].map(|upto| park(&mut purgatory, upto, None));
        purgatory.complete_up_to(Offset::from(4)).resolve(&Ok(()));
        assert_eq!(handles.each_ref().map(is_done), [true, false, true, true]);
        assert_eq!(handles[0].try_get().unwrap().unwrap().base_offset, Offset::from(2));
        purgatory.fail().resolve(&Err(Error::Closed));
        assert!(matches!(handles[1].try_get(), Some(Err(Error::Closed))));
    }

    #[test]
    fn a_reader_is_parked_once_and_woken_by_every_commit() {
        let mut purgatory = Purgatory::default();
        let signal = Arc::new(Signal::new());
        purgatory.park_fetch(&signal).unwrap();
        purgatory.park_fetch(&signal).unwrap();
        let released = purgatory.complete_up_to(Offset::ZERO);
        assert_eq!(released.fetches.len(), 1);
        released.resolve(&Ok(()));
        assert!(signal.take());
        purgatory.park_fetch(&signal).unwrap();
        purgatory.forget_fetch(&signal);
        assert!(purgatory.is_empty());
    }

    #[test]
    fn only_what_is_past_its_deadline_expires() {
        let mut purgatory = Purgatory::default();
        let _handles =
            [park(&mut purgatory, 1, Some(30)), park(&mut purgatory, 2, Some(10)), park(&mut purgatory, 3, None)];
        assert_eq!(purgatory.next_deadline(), Some(Instant::from_nanos(10)));
        let expired = purgatory.expire(Instant::from_nanos(29));
        assert_eq!(expired.iter().map(|(_, allowed)| allowed.as_nanos()).collect::<Vec<_>>(), [10]);
        assert_eq!(purgatory.next_deadline(), Some(Instant::from_nanos(30)));
    }

    #[test]
    fn nobody_waits_at_a_partition_that_is_gone() {
        let mut purgatory = Purgatory::default();
        let waiting = park(&mut purgatory, 1, None);
        let signal = Arc::new(Signal::new());
        purgatory.park_fetch(&signal).unwrap();
        purgatory.close(Error::Closed).resolve(&Err(Error::Closed));
        assert!(is_done(&waiting) && signal.take());
        assert!(matches!(purgatory.park_fetch(&signal), Err(Error::Closed)));
        let (done, _handle) = completion();
        let appended = Appended { base_offset: Offset::ZERO, log_append_time: None };
        let parked = ParkedProduce { upto: Offset::from(1), deadline: None, appended, done };
        let refused = purgatory.park_produce(parked).unwrap_err();
        assert!(matches!(*refused, (_, Error::Closed)));
    }
}
