//! [D] Locks with a rank: taking them in the wrong order panics in debug builds, before it can deadlock in production.
//!
//! Invariants:
//! - A thread takes locks in strictly ascending [`Rank`], hence never two of one rank.
//! - It waits on a [`Condition`] while it holds no other ranked lock.
//! - It syncs a file while it holds no lock but tokens ([`Rank::is_token`], [`check_sync_allowed`]).
//!
//! A debug build keeps the ranks that a thread holds in a thread-local list and asserts all three; a release build keeps
//! nothing. Unlike the standard library's locks these are not poisoned: whoever can unwind while it holds one leaves the
//! state valid. Kafka has no counterpart (it relies on monitors and on review).

#![allow(clippy::disallowed_types, reason = "this is the wrapper that everybody else must use")]

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// The lock order: a thread that holds a lock takes only locks of a higher rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// Creating, changing and deleting topics, one at a time. A token: it is held across syncs.
    ClusterAdmin = 5,
    /// One lane of a producer: its open batch and its sealed ones.
    ProducerLane = 10,
    /// A producer's memory, and who waits for some of it.
    ProducerBuffer = 14,
    /// The topics that a client has resolved.
    ClientMetadata = 16,
    /// The cluster's image.
    ClusterImage = 20,
    /// The partitions that a broker hosts.
    BrokerPartitions = 30,
    /// Opening the log of one partition. A token.
    PartitionOpening = 42,
    /// The role of one hosted partition.
    HostedPartition = 45,
    /// The log of one hosted partition, held to take a reference.
    PartitionLog = 47,
    /// Serialises the maintenance of one log. A token rather than a lock: it may be held across a sync.
    LogMaintenance = 48,
    /// Runs the flushes of one log, one at a time. A token as well.
    LogFlush = 50,
    /// Finishes one segment, or writes one log's epoch file. A token as well.
    LogSealing = 51,
    /// Serialises writing the checkpoint files of one data folder. A token as well.
    DirectoryFiles = 52,
    /// One log's state.
    LogState = 54,
    /// The set of logs of one data folder.
    LogDirectory = 55,
    /// The lazily opened index of one segment.
    SegmentIndex = 56,
    /// What the readers of one log see.
    LogPublished = 58,
    /// Who waits at one partition: for an acknowledgement, or for something to read.
    Purgatory = 60,
    /// Who leads and who waits in one lane of the group commit, and its permits.
    CommitLane = 70,
    /// What the background threads have to do, and when.
    Background = 75,
    /// The pool of batch buffers.
    BufferPool = 80,
    /// A flag that one waiter sleeps on.
    Signal = 85,
    /// The waiters of one completion.
    Completion = 90,
    /// What is locked, open or frozen in this process.
    StorageRegistry = 95,
}

impl Rank {
    /// Whether it serialises slow work rather than protecting a state: such a lock may be held across a sync.
    #[cfg(debug_assertions)]
    const fn is_token(self) -> bool {
        matches!(
            self,
            Rank::ClusterAdmin
                | Rank::PartitionOpening
                | Rank::LogMaintenance
                | Rank::LogFlush
                | Rank::LogSealing
                | Rank::DirectoryFiles
        )
    }
}

/// A mutex with a place in the lock order.
pub(crate) struct RankedMutex<T> {
    #[cfg(debug_assertions)]
    rank: Rank,
    mutex: parking_lot::Mutex<T>,
}

impl<T> RankedMutex<T> {
    /// A mutex of this rank.
    pub(crate) const fn new(rank: Rank, value: T) -> RankedMutex<T> {
        #[cfg(not(debug_assertions))]
        let _ = rank;
        RankedMutex {
            #[cfg(debug_assertions)]
            rank,
            mutex: parking_lot::Mutex::new(value),
        }
    }

    /// Blocks until the mutex is free and takes it.
    ///
    /// # Panics
    /// In debug builds, when this thread holds a lock of the same or a higher rank.
    pub(crate) fn lock(&self) -> RankedGuard<'_, T> {
        RankedGuard {
            #[cfg(debug_assertions)]
            held: held::Held::new(self.rank),
            guard: self.mutex.lock(),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for RankedMutex<T> {
    /// Shows the value, or that it is locked; never blocks.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.mutex.fmt(f)
    }
}

/// Access to the value of a [`RankedMutex`] until dropped. Guards may be dropped in any order.
pub(crate) struct RankedGuard<'a, T> {
    guard: parking_lot::MutexGuard<'a, T>,
    #[cfg(debug_assertions)]
    held: held::Held,
}

impl<T> Deref for RankedGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for RankedGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

impl<T: fmt::Debug> fmt::Debug for RankedGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// A condition variable. All its waiters use one mutex. It does not wake up without a notification.
#[derive(Debug, Default)]
pub(crate) struct Condition(parking_lot::Condvar);

impl Condition {
    /// A condition that nobody waits on.
    pub(crate) const fn new() -> Condition {
        Condition(parking_lot::Condvar::new())
    }

    /// Unlocks, blocks until notified, and locks again.
    ///
    /// # Panics
    /// In debug builds, when this thread holds another ranked lock.
    pub(crate) fn wait<T>(&self, guard: &mut RankedGuard<'_, T>) {
        guard.check_alone();
        self.0.wait(&mut guard.guard);
    }

    /// Blocks until notified, for `timeout` at most.
    pub(crate) fn wait_timeout<T>(&self, guard: &mut RankedGuard<'_, T>, timeout: Duration) {
        guard.check_alone();
        let _ = self.0.wait_for(&mut guard.guard, timeout);
    }

    /// Blocks while `waiting` says so, for `timeout` in all; returns whether it still said so at the end.
    pub(crate) fn wait_while_timeout<T>(
        &self,
        guard: &mut RankedGuard<'_, T>,
        timeout: Duration,
        mut waiting: impl FnMut(&mut T) -> bool,
    ) -> bool {
        guard.check_alone();
        // The answer at the moment of the timeout counts, not that the time ran out: both may come together.
        let _ = self.0.wait_while_for(&mut guard.guard, &mut waiting, timeout);
        waiting(guard)
    }

    /// Wakes one waiter.
    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes every waiter.
    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

impl<T> RankedGuard<'_, T> {
    fn check_alone(&self) {
        #[cfg(debug_assertions)]
        held::check_alone(&self.held);
    }
}

/// Asserts, in debug builds, that this thread may sync a file: it holds no ranked lock but tokens.
pub(crate) fn check_sync_allowed() {
    #[cfg(debug_assertions)]
    held::check_none("sync a file", |rank| !rank.is_token());
}

/// Asserts, in debug builds, that this thread holds no ranked lock; `doing` is the verb phrase of the message.
pub(crate) fn check_nothing_held(doing: &'static str) {
    #[cfg(debug_assertions)]
    held::check_none(doing, |_| true);
    #[cfg(not(debug_assertions))]
    let _ = doing;
}

/// What this thread holds. A thread that is already unwinding is never stopped: a second panic would abort the process
/// and hide the first.
#[cfg(debug_assertions)]
mod held {
    use std::cell::RefCell;

    use super::Rank;

    thread_local! {
        /// Ascending, since that is what is asserted.
        static HELD: RefCell<Vec<Rank>> = const { RefCell::new(Vec::new()) };
    }

    /// The entry of one guard.
    pub(super) struct Held(Rank);

    impl Held {
        pub(super) fn new(rank: Rank) -> Held {
            let highest = with(|held| held.iter().copied().max());
            assert!(
                highest.is_none_or(|highest| highest < rank) || std::thread::panicking(),
                "lock order: {rank:?} taken while holding {:?}",
                highest.unwrap_or(rank)
            );
            with(|held| held.push(rank));
            Held(rank)
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            with(|held| {
                if let Some(index) = held.iter().rposition(|&rank| rank == self.0) {
                    held.remove(index);
                }
            });
        }
    }

    pub(super) fn check_alone(own: &Held) {
        let other = with(|held| held.iter().copied().find(|&rank| rank != own.0));
        assert!(
            other.is_none() || std::thread::panicking(),
            "lock order: waiting with {:?} while holding {:?}",
            own.0,
            other.unwrap_or(own.0)
        );
    }

    pub(super) fn check_none(doing: &str, forbidden: impl Fn(Rank) -> bool) {
        let found = with(|held| held.iter().copied().find(|&rank| forbidden(rank)));
        if let Some(rank) = found {
            assert!(std::thread::panicking(), "lock order: cannot {doing} while holding {rank:?}");
        }
    }

    /// Runs on the thread's list; on an empty one while the thread is being torn down.
    fn with<R>(run: impl Fn(&mut Vec<Rank>) -> R) -> R {
        HELD.try_with(|held| run(&mut held.borrow_mut())).unwrap_or_else(|_| run(&mut Vec::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn pair() -> (RankedMutex<u32>, RankedMutex<u32>) {
        (RankedMutex::new(Rank::LogState, 1), RankedMutex::new(Rank::CommitLane, 2))
    }

    #[test]
    fn ascending_ranks_may_be_held_together() {
        let (low, high) = pair();
        let mut first = low.lock();
        let second = high.lock();
        *first += *second;
        drop((first, second));
        assert_eq!(*low.lock(), 3);
    }

    #[test]
    fn guards_may_be_dropped_in_any_order() {
        let (low, high) = pair();
        let first = low.lock();
        let second = high.lock();
        drop(first);
        drop(second);
        drop((low.lock(), high.lock()));
    }

    #[test]
    fn a_value_that_is_locked_can_be_printed() {
        let (low, _) = pair();
        let guard = low.lock();
        assert_eq!((format!("{low:?}"), format!("{guard:?}")), ("Mutex { data: <locked> }".into(), "1".into()));
    }

    #[test]
    fn a_wait_that_nobody_ends_times_out() {
        let (low, _) = pair();
        let condition = Condition::new();
        let mut guard = low.lock();
        assert!(condition.wait_while_timeout(&mut guard, Duration::from_nanos(1), |value| *value == 1));
        assert!(!condition.wait_while_timeout(&mut guard, Duration::MAX, |value| *value == 0));
    }

    #[test]
    fn a_notification_ends_a_wait() {
        let shared = Arc::new((RankedMutex::new(Rank::LogState, false), Condition::new()));
        let other = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            *other.0.lock() = true;
            other.1.notify_all();
        });
        let mut guard = shared.0.lock();
        while !*guard {
            shared.1.wait(&mut guard);
        }
        drop(guard);
        thread.join().unwrap();
    }

    #[cfg(debug_assertions)]
    mod in_debug_builds {
        use super::*;

        #[test]
        #[should_panic(expected = "lock order: LogState taken while holding CommitLane")]
        fn descending_ranks_panic() {
            let (low, high) = pair();
            let _second = high.lock();
            let _first = low.lock();
        }

        #[test]
        #[should_panic(expected = "lock order: LogState taken while holding LogState")]
        fn two_locks_of_one_rank_panic() {
            let ((first, _), (second, _)) = (pair(), pair());
            let _first = first.lock();
            let _second = second.lock();
        }

        #[test]
        #[should_panic(expected = "lock order: waiting with CommitLane while holding LogState")]
        fn waiting_with_another_lock_panics() {
            let (low, high) = pair();
            let _low = low.lock();
            Condition::new().wait_while_timeout(&mut high.lock(), Duration::from_nanos(1), |_| true);
        }

        #[test]
        #[should_panic(expected = "lock order: cannot sync a file while holding LogState")]
        fn syncing_with_a_lock_panics() {
            let (low, _) = pair();
            let _low = low.lock();
            check_sync_allowed();
        }

        #[test]
        fn the_maintenance_token_may_be_held_across_a_sync_but_not_across_a_wait() {
            let token = RankedMutex::new(Rank::LogMaintenance, ());
            let _token = token.lock();
            check_sync_allowed();
            let waiting = std::panic::catch_unwind(|| check_nothing_held("wait"));
            assert!(waiting.is_err());
        }

        #[test]
        fn a_refused_lock_is_neither_taken_nor_remembered() {
            let (low, high) = pair();
            let guard = high.lock();
            let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(low.lock())));
            assert!(refused.is_err());
            drop(guard);
            drop((low.lock(), high.lock()));
        }
    }
}
