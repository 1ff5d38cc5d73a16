//! [D] Group commit: one sync of a log for everybody who waits for it, leader/follower, without a thread of its own.
//!
//! The first thread that needs a log synced *leads*: it runs one [`Flush::flush`]. Threads that come meanwhile gather in
//! the log's [`CommitLane`]; when the leader is done one of them leads the next flush, which covers them all. Flushes of
//! different lanes run in parallel under a cap.
//!
//! Invariants:
//! - At most one flush of a lane runs at a time, and no lock is held across it.
//! - A *round* is everybody who arrived before its flush began; its outcome, success or error, is for exactly them.
//! - Nobody is told "durable" on the word of a flush that ended before he arrived: a log may have been truncated since.
//! - Whoever leads releases the lead, also by unwinding; a lane without a leader has nobody waiting unnotified.
//!
//! Lock rank: `CommitLane`; while it is held neither the log nor a completion is called. Kafka has no counterpart: its
//! brokers leave syncs to the operating system.

use std::fmt;
use std::mem;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::completion::{Completion, Handle, completion};
use super::ranked::{Condition, Rank, RankedMutex, check_nothing_held, check_sync_allowed};
use crate::error::{Error, Result};
use crate::types::Offset;

/// With fewer threads than this in the last round a hold costs more than it gains (measured: none at 1, +50 % at 8).
const HOLD_EXPECTED_MIN: usize = 4;

/// A log as the [`Committer`] sees it.
pub trait Flush: Send + Sync {
    /// The end of what is durable: every offset below it is.
    fn synced(&self) -> Offset;

    /// Makes everything appended so far durable with one sync, and returns the new durable end. Blocks.
    ///
    /// Called without any lock held and never twice at a time by one [`Committer`]. It must not call the committer.
    ///
    /// # Errors
    /// The failed sync's. From then on the log itself must refuse every further call: a failed sync is never retried.
    fn flush(&self) -> Result<Offset>;

    /// Where this log's waiters queue: one lane per log, always the same.
    fn lane(&self) -> &CommitLane;
}

/// How a [`Committer`] behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitterConfig {
    /// Flushes that run at a time, over all lanes; the others wait. A disk takes several flushes at once up to a point.
    /// 0 means no limit. Default 4.
    pub parallel_syncs_max: usize,
    /// How long a leader waits, at most, for as many threads as there were last time, if those were four or more. Threads
    /// that were just released come back a moment later and would miss the flush otherwise. Zero switches it off. Default
    /// 50 us.
    pub hold: Duration,
}

impl Default for CommitterConfig {
    fn default() -> CommitterConfig {
        CommitterConfig { parallel_syncs_max: 4, hold: Duration::from_micros(50) }
    }
}

/// Groups the syncs of any number of threads on any number of logs. One per disk.
///
/// ```
/// use logstead::sync::{CommitLane, Committer, CommitterConfig, Flush};
/// use logstead::types::Offset;
/// use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
///
/// #[derive(Default)]
/// struct TinyLog { end: AtomicU32, synced: AtomicU32, lane: CommitLane }
///
/// impl Flush for TinyLog {
///     fn synced(&self) -> Offset { self.synced.load(SeqCst).into() }
///     fn flush(&self) -> logstead::Result<Offset> {
///         let end = self.end.load(SeqCst);
///         // ... sync the file here ...
///         self.synced.store(end, SeqCst);
///         Ok(end.into())
///     }
///     fn lane(&self) -> &CommitLane { &self.lane }
/// }
///
/// let committer = Committer::new(CommitterConfig::default());
/// let log = TinyLog::default();
/// std::thread::scope(|scope| {
///     for _ in 0..4 {
///         scope.spawn(|| {
///             let end = log.end.fetch_add(1, SeqCst) + 1; // append one record
///             committer.sync_to(&log, end.into()).unwrap();
///             assert!(log.synced() >= end.into());
///         });
///     }
/// });
/// ```
#[derive(Debug)]
pub struct Committer {
    hold: Duration,
    permits: Permits,
}

impl Committer {
    /// A committer without waiters.
    pub fn new(config: CommitterConfig) -> Committer {
        Committer { hold: config.hold, permits: Permits::new(config.parallel_syncs_max) }
    }

    /// Blocks until the log is durable up to `upto` (exclusive), which the caller has appended: leads a flush, or waits
    /// for the one that covers it.
    ///
    /// # Errors
    /// The error of the flush that was to cover the caller; an earlier or later failure is not his, except that
    /// [`Flush::flush`] tells it. [`Error::InvalidState`] when the log ends before `upto`, because it was truncated.
    ///
    /// # Panics
    /// In debug builds, when the calling thread holds one of this library's locks. A panic of [`Flush::flush`] goes up in
    /// the thread that led; the others elect another leader.
    pub fn sync_to(&self, log: &dyn Flush, upto: Offset) -> Result<()> {
        check_nothing_held("wait for a group commit");
        let mut want = Want::new(upto);
        while log.synced() < upto {
            if let Some(outcome) = self.take_part(log, upto)
                && want.check(outcome?)?
            {
                break;
            }
        }
        Ok(())
    }

    /// Asks for the log to become durable up to `upto` (exclusive) without waiting. The handle's value is the durable end.
    ///
    /// The handle is resolved by whichever thread next completes a flush that covers it. **Somebody has to**: this call
    /// starts nothing, so have a thread call [`drive`](Self::drive), unless others call [`sync_to`](Self::sync_to) anyway.
    /// The handle's errors are those of `sync_to`, and [`Error::Closed`] when the lane is dropped first.
    pub fn submit(&self, log: &dyn Flush, upto: Offset) -> Handle<Offset> {
        let synced = log.synced();
        if synced >= upto {
            return Handle::ready(Ok(synced));
        }
        let (completion, handle) = completion();
        let mut state = log.lane().state.lock();
        let arrival = state.arrive();
        state.submitted.push(Submitted { arrival, want: Want::new(upto), completion });
        handle
    }

    /// Runs one flush that begins after this call, or waits for one that somebody else leads, and returns the durable end.
    /// The handles that were submitted before the call and that the flush covers are resolved by the thread that led.
    ///
    /// # Errors
    /// The flush's.
    ///
    /// # Panics
    /// As [`sync_to`](Self::sync_to).
    pub fn drive(&self, log: &dyn Flush) -> Result<Offset> {
        check_nothing_held("wait for a group commit");
        loop {
            if let Some(outcome) = self.take_part(log, Offset::MAX) {
                return outcome;
            }
        }
    }

    /// Leads or follows one round. `None` when its leader unwound: take part again.
    fn take_part(&self, log: &dyn Flush, upto: Offset) -> Option<Result<Offset>> {
        match log.lane().enter(upto) {
            Turn::Lead(lead) => Some(self.lead(log, lead)),
            Turn::Over(outcome) => outcome,
        }
    }

    fn lead(&self, log: &dyn Flush, mut lead: Lead<'_>) -> Result<Offset> {
        lead.gather(self.hold);
        let permit = self.permits.acquire();
        lead.close_round();
        check_sync_allowed();
        let outcome = log.flush();
        drop(permit);
        lead.finish(log, outcome.clone());
        outcome
    }
}

/// The queue of one log: who leads, who waits. Belongs to the log; used by one [`Committer`].
pub struct CommitLane {
    state: RankedMutex<LaneState>,
    /// Notified when as many threads have gathered as the leader holds for.
    gathered: Condition,
}

struct LaneState {
    leading: bool,
    /// A leader holds for threads to gather.
    holding: bool,
    /// The round that threads join now. Its flush has not begun.
    round: Arc<Round>,
    /// Threads in `round`, its leader included.
    waiting: usize,
    /// No thread in `round` wants less than this.
    lowest: Offset,
    /// Threads that the next round may hope for: those whom the last flush released, and those who waited behind it.
    expected: usize,
    /// Counts joins and submissions, so that a flush can tell who came before a certain moment.
    arrivals: u64,
    /// After the last flush: whoever arrived at or before this and wants no more than this is covered.
    covered: (u64, Offset),
    submitted: Vec<Submitted>,
}

impl LaneState {
    fn arrive(&mut self) -> u64 {
        self.arrivals = self.arrivals.wrapping_add(1);
        self.arrivals
    }

    fn covers(&self, arrival: u64, upto: Offset) -> bool {
        arrival <= self.covered.0 && upto <= self.covered.1
    }

    /// Makes the calling thread, already counted in `waiting`, the leader, unless there is one.
    fn take_lead(&mut self) -> bool {
        !mem::replace(&mut self.leading, true)
    }
}

/// The threads that one flush is for.
struct Round {
    /// Notified when the outcome is there, or when one of the round is to lead. Belongs to the lane's lock.
    called: Condition,
    /// `None` inside: the leader unwound.
    outcome: OnceLock<Option<Result<Offset>>>,
}

impl Round {
    fn new() -> Arc<Round> {
        Arc::new(Round { called: Condition::new(), outcome: OnceLock::new() })
    }
}

/// One handle given out by [`Committer::submit`].
struct Submitted {
    arrival: u64,
    want: Want,
    completion: Completion<Offset>,
}

/// What [`CommitLane::enter`] decided.
enum Turn<'a> {
    /// Lead a flush.
    Lead(Lead<'a>),
    /// The outcome of a flush that others led; `None` when its leader unwound.
    Over(Option<Result<Offset>>),
}

impl CommitLane {
    /// A lane that nobody waits in.
    pub fn new() -> CommitLane {
        CommitLane {
            state: RankedMutex::new(
                Rank::CommitLane,
                LaneState {
                    leading: false,
                    holding: false,
                    round: Round::new(),
                    waiting: 0,
                    lowest: Offset::MAX,
                    expected: 0,
                    arrivals: 0,
                    covered: (0, Offset::ZERO),
                    submitted: Vec::new(),
                },
            ),
            gathered: Condition::new(),
        }
    }

    /// Joins the gathering round. Returns as its leader if the lane has none, else blocks until its outcome is there, or
    /// the flush before it has proved to cover `upto`, or the caller is the one who leads next.
    fn enter(&self, upto: Offset) -> Turn<'_> {
        let mut state = self.state.lock();
        let arrival = state.arrive();
        state.waiting = state.waiting.saturating_add(1);
        state.lowest = state.lowest.min(upto);
        if state.take_lead() {
            return Turn::Lead(Lead::new(self));
        }
        if state.holding && state.waiting >= state.expected {
            self.gathered.notify_one();
        }
        let round = Arc::clone(&state.round);
        loop {
            round.called.wait(&mut state);
            // The own round's outcome comes first: a later flush, if it was quicker, must not hide its error.
            if let Some(outcome) = round.outcome.get() {
                drop(state);
                return Turn::Over(outcome.clone());
            }
            let gathers = Arc::ptr_eq(&round, &state.round);
            if state.covers(arrival, upto) {
                if gathers {
                    state.waiting = state.waiting.saturating_sub(1);
                }
                return Turn::Over(Some(Ok(state.covered.1)));
            }
            // Once the round's flush has begun its outcome is the caller's, and there is nothing to lead.
            if gathers && state.take_lead() {
                return Turn::Lead(Lead::new(self));
            }
        }
    }
}

impl Default for CommitLane {
    fn default() -> CommitLane {
        CommitLane::new()
    }
}

impl fmt::Debug for CommitLane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommitLane").finish_non_exhaustive()
    }
}

/// The lead of a lane. Dropped before [`finish`](Lead::finish), that is by unwinding, it calls the next leader.
struct Lead<'a> {
    lane: &'a CommitLane,
    /// The closed round and its size; `None` while it still gathers, and once it is finished.
    round: Option<(Arc<Round>, usize)>,
    /// The handles that the flush is for.
    submitted: Vec<Submitted>,
    finished: bool,
}

impl<'a> Lead<'a> {
    fn new(lane: &'a CommitLane) -> Lead<'a> {
        Lead { lane, round: None, submitted: Vec::new(), finished: false }
    }

    /// Waits, `hold` at most, until as many threads as expected are there; not at all where few are.
    fn gather(&mut self, hold: Duration) {
        let mut state = self.lane.state.lock();
        if state.expected < HOLD_EXPECTED_MIN || state.waiting >= state.expected || hold.is_zero() {
            return;
        }
        state.holding = true;
        self.lane.gathered.wait_while_timeout(&mut state, hold, |state| state.waiting < state.expected);
        state.holding = false;
    }

    /// From here on new arrivals belong to the next round: the flush may begin before they have appended.
    fn close_round(&mut self) {
        let next = Round::new();
        let mut state = self.lane.state.lock();
        self.submitted = mem::take(&mut state.submitted);
        state.lowest = Offset::MAX;
        let round = mem::replace(&mut state.round, next);
        self.round = Some((round, mem::take(&mut state.waiting)));
    }

    /// Hands the outcome to the round, calls the next leader, and resolves handles.
    fn finish(mut self, log: &dyn Flush, outcome: Result<Offset>) {
        // Who came during the flush may be covered as well. The log's own word counts, read after they came.
        let late = self.lane.state.lock().arrivals;
        let covered = outcome.as_ref().ok().map(|_| (late, log.synced()));

        let mut resolved: Vec<(Completion<Offset>, Result<Offset>)> = Vec::new();
        let mut state = self.lane.state.lock();
        for mut submitted in mem::take(&mut self.submitted) {
            match outcome.clone().and_then(|end| Ok(submitted.want.check(end)?.then_some(end))) {
                Ok(Some(end)) => resolved.push((submitted.completion, Ok(end))),
                Ok(None) => state.submitted.push(submitted),
                Err(error) => resolved.push((submitted.completion, Err(error))),
            }
        }
        if let Some(covered) = covered {
            state.covered = covered;
            let (arrivals, end) = covered;
            let done = state.submitted.extract_if(.., |late| late.arrival <= arrivals && late.want.upto <= end);
            resolved.extend(done.map(|late| (late.completion, Ok(end))));
        }
        let (round, size) = self.round.take().unwrap_or_else(|| (Round::new(), 0));
        state.expected = size.saturating_add(state.waiting);
        state.leading = false;
        self.finished = true;
        // Set under the lock under which the round waits, so that nobody misses it.
        let _ = round.outcome.set(Some(outcome));
        let next = Arc::clone(&state.round);
        let next_is_covered = covered.is_some_and(|(_, end)| state.lowest <= end);
        drop(state);

        // The next leader first: the disk is idle until it runs. One wake-up is enough, and a wake-up is expensive, unless
        // somebody of the next round is covered already: then each must look whether it is he.
        if next_is_covered {
            next.called.notify_all()
        } else {
            next.called.notify_one()
        }
        round.called.notify_all();
        for (completion, outcome) in resolved {
            completion.complete(outcome);
        }
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let mut state = self.lane.state.lock();
        state.leading = false;
        state.holding = false;
        state.submitted.append(&mut self.submitted);
        let next = Arc::clone(&state.round);
        let closed = self.round.take();
        match &closed {
            Some((round, _)) => {
                let _ = round.outcome.set(None);
            }
            // The round still gathers, and the leader is one of it no more.
            None => state.waiting = state.waiting.saturating_sub(1),
        }
        drop(state);
        if let Some((round, _)) = closed {
            round.called.notify_all();
        }
        next.called.notify_one();
    }
}

/// An offset that somebody wants durable.
#[derive(Debug, Clone, Copy)]
struct Want {
    upto: Offset,
    /// The durable end after the last flush that ought to have covered it and did not.
    seen: Option<Offset>,
}

impl Want {
    fn new(upto: Offset) -> Want {
        Want { upto, seen: None }
    }

    /// Whether a flush that began after the want and ended with this durable end covers it.
    ///
    /// # Errors
    /// [`Error::InvalidState`] when two such flushes made no progress: what is wanted is not in the log, and waiting for
    /// it would flush for ever.
    fn check(&mut self, end: Offset) -> Result<bool> {
        if end >= self.upto {
            return Ok(true);
        }
        if self.seen.is_some_and(|seen| end <= seen) {
            return Err(Error::InvalidState { operation: "make the offset durable", state: "the log ends before it" });
        }
        self.seen = Some(end);
        Ok(false)
    }
}

/// A counting semaphore.
#[derive(Debug)]
struct Permits {
    /// `None`: no limit.
    free: Option<RankedMutex<usize>>,
    returned: Condition,
}

/// One permit, given back when dropped.
struct Permit<'a>(&'a Permits);

impl Permits {
    fn new(max: usize) -> Permits {
        let free = (max > 0).then(|| RankedMutex::new(Rank::CommitLane, max));
        Permits { free, returned: Condition::new() }
    }

    fn acquire(&self) -> Permit<'_> {
        if let Some(free) = &self.free {
            let mut free = free.lock();
            while *free == 0 {
                self.returned.wait(&mut free);
            }
            *free = free.saturating_sub(1);
        }
        Permit(self)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if let Some(free) = &self.0.free {
            let mut free = free.lock();
            *free = free.saturating_add(1);
            drop(free);
            self.0.returned.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
    use std::sync::{Barrier, Condvar, Mutex};
    use std::thread;

    const HOUR: Duration = Duration::from_secs(3600);

    /// What one flush of a [`FakeLog`] does instead of succeeding.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Mishap {
        Fail,
        Unwind,
    }

    /// Each flush takes one token, waiting for it, and then makes durable what is appended at that moment.
    struct FakeLog {
        end: AtomicU32,
        synced: AtomicU32,
        flushes: AtomicUsize,
        tokens: Mutex<usize>,
        granted: Condvar,
        mishaps: Vec<(usize, Mishap)>,
        /// Take what is durable before waiting for the token.
        early: bool,
        lane: CommitLane,
    }

    impl FakeLog {
        fn new(tokens: usize) -> FakeLog {
            FakeLog {
                end: AtomicU32::new(0),
                synced: AtomicU32::new(0),
                flushes: AtomicUsize::new(0),
                tokens: Mutex::new(tokens),
                granted: Condvar::new(),
                mishaps: Vec::new(),
                early: true,
                lane: CommitLane::new(),
            }
        }

        fn append(&self) -> Offset {
            Offset::from(self.end.fetch_add(1, SeqCst) + 1)
        }

        fn truncate(&self, end: u32) {
            self.end.store(end, SeqCst);
            self.synced.fetch_min(end, SeqCst);
        }

        fn grant(&self, tokens: usize) {
            *self.tokens.lock().unwrap() += tokens;
            self.granted.notify_all();
        }

        fn flushes(&self) -> usize {
            self.flushes.load(SeqCst)
        }

        fn await_flush(&self, number: usize) {
            until(|| self.flushes() == number);
        }

        fn await_waiting(&self, threads: usize) {
            until(|| self.lane.state.lock().waiting == threads);
        }
    }

    impl Flush for FakeLog {
        fn synced(&self) -> Offset {
            self.synced.load(SeqCst).into()
        }

        fn flush(&self) -> Result<Offset> {
            let appended = self.end.load(SeqCst);
            let number = self.flushes.fetch_add(1, SeqCst) + 1;
            let tokens = self.tokens.lock().unwrap();
            *self.granted.wait_while(tokens, |tokens| *tokens == 0).unwrap() -= 1;
            match self.mishaps.iter().find(|(flush, _)| *flush == number) {
                Some((_, Mishap::Fail)) => return Err(Error::Internal { invariant: "planted" }),
                Some((_, Mishap::Unwind)) => std::panic::resume_unwind(Box::new("planted")),
                None => {}
            }
            let end = if self.early { appended } else { self.end.load(SeqCst) };
            self.synced.fetch_max(end, SeqCst);
            Ok(end.into())
        }

        fn lane(&self) -> &CommitLane {
            &self.lane
        }
    }

    fn until(reached: impl Fn() -> bool) {
        while !reached() {
            thread::yield_now();
        }
    }

    fn committer() -> Committer {
        Committer::new(CommitterConfig { hold: Duration::ZERO, ..CommitterConfig::default() })
    }

    fn is_planted<T>(outcome: &Result<T>) -> bool {
        matches!(outcome, Err(Error::Internal { invariant: "planted" }))
    }

    #[test]
    fn what_is_durable_already_costs_no_flush() {
        let log = FakeLog::new(0);
        committer().sync_to(&log, Offset::ZERO).unwrap();
        assert_eq!(committer().submit(&log, Offset::ZERO).wait().unwrap(), Offset::ZERO);
        assert_eq!(log.flushes(), 0);
    }

    #[test]
    fn one_flush_covers_everybody_who_gathered_during_the_one_before() {
        let (log, committer) = (FakeLog::new(0), committer());
        thread::scope(|scope| {
            scope.spawn(|| committer.sync_to(&log, log.append()).unwrap());
            log.await_flush(1);
            for _ in 0..8 {
                scope.spawn(|| {
                    let end = log.append();
                    committer.sync_to(&log, end).unwrap();
                    assert!(log.synced() >= end);
                });
            }
            log.await_waiting(8);
            log.grant(9);
        });
        assert_eq!(log.flushes(), 2);
    }

    #[test]
    fn who_arrives_during_a_flush_that_proves_to_cover_him_needs_no_other() {
        let (log, committer) = (FakeLog { early: false, ..FakeLog::new(0) }, committer());
        thread::scope(|scope| {
            scope.spawn(|| committer.sync_to(&log, log.append()).unwrap());
            log.await_flush(1);
            for _ in 0..3 {
                scope.spawn(|| committer.sync_to(&log, log.append()).unwrap());
            }
            log.await_waiting(3);
            log.grant(1);
        });
        assert_eq!((log.flushes(), log.lane.state.lock().waiting), (1, 0));
    }

    #[test]
    fn an_error_goes_to_exactly_the_round_of_the_failed_flush() {
        let (log, committer) = (FakeLog { mishaps: vec![(2, Mishap::Fail)], ..FakeLog::new(0) }, committer());
        thread::scope(|scope| {
            let sync = || committer.sync_to(&log, log.append());
            let before = scope.spawn(sync);
            log.await_flush(1);
            let failed: Vec<_> = (0..4).map(|_| scope.spawn(sync)).collect();
            log.await_waiting(4);
            let handle = committer.submit(&log, log.append());
            log.grant(1);
            log.await_flush(2);
            let after = scope.spawn(sync);
            log.await_waiting(1);
            let late = committer.submit(&log, log.append());
            log.grant(2);
            before.join().unwrap().unwrap();
            assert!(failed.into_iter().all(|waiter| is_planted(&waiter.join().unwrap())));
            assert!(is_planted(&handle.wait()));
            after.join().unwrap().unwrap();
            late.wait().unwrap();
        });
        assert_eq!(log.flushes(), 3);
    }

    #[test]
    fn after_a_leader_unwound_the_others_elect_another() {
        let (log, committer) = (FakeLog { mishaps: vec![(2, Mishap::Unwind)], ..FakeLog::new(0) }, committer());
        let handle = thread::scope(|scope| {
            let sync = || committer.sync_to(&log, log.append());
            let mut threads = vec![scope.spawn(sync)];
            log.await_flush(1);
            threads.extend((0..4).map(|_| scope.spawn(sync)));
            log.await_waiting(4);
            let handle = committer.submit(&log, log.append());
            log.grant(9);
            let outcomes: Vec<_> = threads.into_iter().map(|waiter| waiter.join()).collect();
            assert_eq!(outcomes.iter().filter(|outcome| outcome.is_err()).count(), 1);
            assert!(outcomes.into_iter().flatten().all(|outcome| outcome.is_ok()));
            handle
        });
        assert_eq!(handle.wait().unwrap(), Offset::from(6));
    }

    #[test]
    fn flushes_of_two_lanes_run_at_the_same_time() {
        struct Log<'a>(&'a Barrier, CommitLane);
        impl Flush for Log<'_> {
            fn synced(&self) -> Offset {
                Offset::ZERO
            }
            fn flush(&self) -> Result<Offset> {
                self.0.wait();
                Ok(Offset::from(1))
            }
            fn lane(&self) -> &CommitLane {
                &self.1
            }
        }
        let (meeting, committer) = (Barrier::new(2), committer());
        let logs = [Log(&meeting, CommitLane::new()), Log(&meeting, CommitLane::new())];
        thread::scope(|scope| {
            for log in &logs {
                scope.spawn(|| committer.sync_to(log, Offset::from(1)).unwrap());
            }
        });
    }

    #[test]
    fn no_more_flushes_run_than_the_cap_allows() {
        let logs: Vec<_> = (0..4).map(|_| FakeLog::new(0)).collect();
        let committer = Committer::new(CommitterConfig { parallel_syncs_max: 2, hold: Duration::ZERO });
        let running = || logs.iter().filter(|log| log.flushes() == 1 && log.synced() == Offset::ZERO).count();
        thread::scope(|scope| {
            for log in &logs {
                scope.spawn(|| committer.sync_to(log, log.append()).unwrap());
            }
            until(|| logs.iter().all(|log| log.lane.state.lock().leading) && running() == 2);
            for log in &logs {
                assert!(running() <= 2);
                log.grant(1);
            }
        });
        assert_eq!(logs.iter().map(FakeLog::flushes).collect::<Vec<_>>(), [1; 4]);
    }

    #[test]
    fn a_cap_of_zero_is_no_cap() {
        let committer = Committer::new(CommitterConfig { parallel_syncs_max: 0, hold: Duration::ZERO });
        let log = FakeLog::new(1);
        committer.sync_to(&log, log.append()).unwrap();
    }

    #[test]
    fn a_leader_holds_until_as_many_have_come_as_there_were() {
        let log = FakeLog::new(0);
        let committer = Committer::new(CommitterConfig { hold: HOUR, ..CommitterConfig::default() });
        thread::scope(|scope| {
            scope.spawn(|| {
                committer.sync_to(&log, log.append()).unwrap();
                // The four others wait for this one to come back.
                committer.sync_to(&log, log.append()).unwrap();
            });
            log.await_flush(1);
            for _ in 0..4 {
                scope.spawn(|| committer.sync_to(&log, log.append()).unwrap());
            }
            log.await_waiting(4);
            log.grant(2);
        });
        assert_eq!((log.flushes(), log.lane.state.lock().expected), (2, 5));
    }

    #[test]
    fn a_hold_in_vain_ends_and_is_not_repeated_for_few() {
        let log = FakeLog::new(2);
        log.lane.state.lock().expected = 9;
        let short = Committer::new(CommitterConfig { hold: Duration::from_nanos(1), ..CommitterConfig::default() });
        short.sync_to(&log, log.append()).unwrap();
        let long = Committer::new(CommitterConfig { hold: HOUR, ..CommitterConfig::default() });
        long.sync_to(&log, log.append()).unwrap();
    }

    #[test]
    fn a_submitted_handle_is_resolved_by_the_next_flush_that_anybody_completes() {
        let (log, committer) = (FakeLog::new(2), committer());
        let first = committer.submit(&log, log.append());
        assert!(first.try_get().is_none());
        assert_eq!(committer.drive(&log).unwrap(), Offset::from(1));
        assert_eq!(first.try_get().unwrap().unwrap(), Offset::from(1));
        let second = committer.submit(&log, log.append());
        committer.sync_to(&log, log.append()).unwrap();
        assert_eq!(second.try_get().unwrap().unwrap(), Offset::from(3));
    }

    #[test]
    fn a_handle_submitted_during_a_flush_that_covers_it_is_resolved_by_it() {
        let (log, committer) = (FakeLog { early: false, ..FakeLog::new(0) }, committer());
        thread::scope(|scope| {
            let driver = scope.spawn(|| committer.drive(&log));
            log.await_flush(1);
            let handle = committer.submit(&log, log.append());
            log.grant(1);
            assert_eq!(driver.join().unwrap().unwrap(), Offset::from(1));
            assert_eq!(handle.try_get().unwrap().unwrap(), Offset::from(1));
        });
    }

    #[test]
    fn a_handle_that_a_flush_does_not_cover_waits_for_the_next() {
        let (log, committer) = (FakeLog::new(0), committer());
        thread::scope(|scope| {
            let driver = scope.spawn(|| committer.drive(&log));
            log.await_flush(1);
            let handle = committer.submit(&log, log.append());
            log.grant(1);
            assert_eq!(driver.join().unwrap().unwrap(), Offset::ZERO);
            assert!(handle.try_get().is_none());
            log.grant(1);
            committer.drive(&log).unwrap();
            assert_eq!(handle.try_get().unwrap().unwrap(), Offset::from(1));
        });
    }

    #[test]
    fn what_is_not_in_the_log_is_refused_instead_of_awaited_for_ever() {
        let (log, committer) = (FakeLog::new(9), committer());
        let missing = log.append().next();
        assert!(matches!(committer.sync_to(&log, missing), Err(Error::InvalidState { .. })));
        assert_eq!(log.flushes(), 2);
        let handle = committer.submit(&log, missing);
        committer.drive(&log).unwrap();
        assert!(handle.try_get().is_none());
        committer.drive(&log).unwrap();
        assert!(matches!(handle.wait(), Err(Error::InvalidState { .. })));
    }

    #[test]
    fn a_flush_before_a_truncation_proves_nothing_about_what_was_appended_after_it() {
        let (log, committer) = (FakeLog::new(2), committer());
        for _ in 0..9 {
            log.append();
        }
        committer.sync_to(&log, Offset::from(9)).unwrap();
        log.truncate(5);
        committer.sync_to(&log, log.append()).unwrap();
        assert_eq!((log.flushes(), log.synced()), (2, Offset::from(6)));
    }

    #[test]
    fn a_dropped_lane_closes_the_handles_submitted_to_it() {
        let (log, committer) = (FakeLog::new(0), committer());
        let handle = committer.submit(&log, log.append());
        drop(log);
        assert!(matches!(handle.wait(), Err(Error::Closed)));
    }

    #[test]
    fn many_threads_on_many_logs_all_see_their_records_durable() {
        let logs: Vec<_> = (0..3).map(|_| FakeLog::new(usize::MAX / 2)).collect();
        let committer = Committer::new(CommitterConfig { parallel_syncs_max: 2, ..CommitterConfig::default() });
        thread::scope(|scope| {
            for index in 0..9 {
                let (log, committer) = (&logs[index % 3], &committer);
                scope.spawn(move || {
                    for round in 0..100 {
                        let end = log.append();
                        if round % 5 == 0 {
                            let handle = committer.submit(log, end);
                            committer.drive(log).unwrap();
                            assert!(handle.wait().unwrap() >= end);
                        } else {
                            committer.sync_to(log, end).unwrap();
                        }
                        assert!(log.synced() >= end);
                    }
                });
            }
        });
        for log in &logs {
            let state = log.lane.state.lock();
            assert!(!state.leading && state.waiting == 0 && state.submitted.is_empty());
        }
    }

    #[cfg(debug_assertions)]
    #[test]
    #[should_panic(expected = "cannot wait for a group commit while holding LogState")]
    fn syncing_under_a_lock_panics_in_debug_builds() {
        let (log, lock) = (FakeLog::new(1), RankedMutex::new(Rank::LogState, ()));
        let _guard = lock.lock();
        let _ = committer().sync_to(&log, log.append());
    }
}
