//! [D] A result that arrives once: resolved by one owner, awaited by any number of threads and futures.
//!
//! Invariants:
//! - The outcome is set exactly once; a [`Completion`] that is dropped unresolved sets [`Error::Closed`]. Nobody hangs.
//! - Waiters register, and look again, under the lock under which the outcome is set: no wake-up is lost.
//! - Threads and wakers are woken after the lock is released, and no user code (waker, clone, drop) runs under it.
//! - Dropping a [`Handle`] forgets its waker and cancels nothing.
//!
//! Lock rank: `Completion`. Kafka's counterpart: `CompletableFuture` and `FutureRecordMetadata`.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::ranked::{Condition, Rank, RankedMutex, check_nothing_held};
use super::wake;
use crate::error::{Error, Result};

/// A new result to come: the end that resolves it and one that awaits it.
///
/// ```
/// use logstead::sync::completion;
/// let (completion, handle) = completion();
/// let other = handle.clone();
/// assert!(handle.try_get().is_none());
/// completion.complete(Ok(42));
/// assert_eq!(handle.wait()?, 42);
/// assert_eq!(other.wait()?, 42);
/// # Ok::<(), logstead::Error>(())
/// ```
pub fn completion<T>() -> (Completion<T>, Handle<T>) {
    let shared = Arc::new(Shared::new());
    (Completion { shared: Arc::clone(&shared) }, Handle::of(shared))
}

/// The end that resolves. Dropping it unresolved resolves its handles with [`Error::Closed`].
pub struct Completion<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Completion<T> {
    /// Resolves every handle and wakes whoever waits.
    ///
    /// # Panics
    /// In debug builds, when the calling thread holds one of this library's locks: wakers run arbitrary code.
    pub fn complete(self, outcome: Result<T>) {
        self.shared.resolve(outcome);
    }

    /// One more handle.
    pub fn handle(&self) -> Handle<T> {
        Handle::of(Arc::clone(&self.shared))
    }
}

impl<T> Drop for Completion<T> {
    fn drop(&mut self) {
        // With no handle left there is nobody to tell, and `complete` has told them already.
        if self.shared.outcome.get().is_none() && Arc::strong_count(&self.shared) > 1 {
            self.shared.resolve(Err(Error::Closed));
        }
    }
}

impl<T> fmt::Debug for Completion<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion").finish_non_exhaustive()
    }
}

/// The end that awaits: block on it, ask it, or `.await` it, in any combination and from any thread.
///
/// Clones are independent handles to the same result. Dropping a handle never cancels the operation.
pub struct Handle<T> {
    shared: Arc<Shared<T>>,
    /// Where this handle's waker is registered; `None` until it is polled the first time.
    slot: Option<u64>,
}

impl<T> Handle<T> {
    /// A handle whose result is already there.
    ///
    /// ```
    /// use logstead::sync::Handle;
    /// assert_eq!(Handle::ready(Ok(7)).wait()?, 7);
    /// # Ok::<(), logstead::Error>(())
    /// ```
    pub fn ready(outcome: Result<T>) -> Handle<T> {
        let shared = Shared { outcome: OnceLock::from(outcome), ..Shared::new() };
        Handle::of(Arc::new(shared))
    }

    fn of(shared: Arc<Shared<T>>) -> Handle<T> {
        Handle { shared, slot: None }
    }
}

impl<T: Clone> Handle<T> {
    /// Blocks until the result is there.
    ///
    /// # Errors
    /// The operation's own; [`Error::Closed`] when its owner went away before it finished.
    ///
    /// # Panics
    /// In debug builds, when the calling thread holds one of this library's locks.
    pub fn wait(&self) -> Result<T> {
        check_nothing_held("wait for a completion");
        loop {
            if let Some(outcome) = self.try_get() {
                return outcome;
            }
            let mut wakers = self.shared.wakers.lock();
            if self.shared.outcome.get().is_none() {
                self.shared.done.wait(&mut wakers);
            }
        }
    }

    /// Blocks until the result is there, for `timeout` at most; `None` when it is still not there then.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Option<Result<T>> {
        check_nothing_held("wait for a completion");
        if self.shared.outcome.get().is_none() {
            let mut wakers = self.shared.wakers.lock();
            self.shared.done.wait_while_timeout(&mut wakers, timeout, |_| self.shared.outcome.get().is_none());
        }
        self.try_get()
    }

    /// The result, if it is there. Never blocks.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn try_get(&self) -> Option<Result<T>> {
        self.shared.outcome.get().cloned()
    }
}

impl<T: Clone> Future for Handle<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        if let Some(outcome) = self.try_get() {
            return Poll::Ready(outcome);
        }
        let waker = context.waker().clone();
        let (slot, replaced) = self.shared.register(self.slot, waker);
        self.slot = slot;
        drop(replaced);
        self.try_get().map_or(Poll::Pending, Poll::Ready)
    }
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Handle<T> {
        Handle::of(Arc::clone(&self.shared))
    }
}

impl<T> Drop for Handle<T> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            // The lock is released before the waker is dropped.
            let forgotten = self.shared.wakers.lock().remove(slot);
            drop(forgotten);
        }
    }
}

impl<T> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("resolved", &self.shared.outcome.get().is_some()).finish()
    }
}

struct Shared<T> {
    /// Written once, under the lock of `wakers`; read without it, so that values are cloned outside of any lock.
    outcome: OnceLock<Result<T>>,
    wakers: RankedMutex<Wakers>,
    done: Condition,
}

impl<T> Shared<T> {
    fn new() -> Shared<T> {
        Shared {
            outcome: OnceLock::new(),
            wakers: RankedMutex::new(Rank::Completion, Wakers::default()),
            done: Condition::new(),
        }
    }

    /// Sets the outcome, unless there is one, and wakes everybody.
    fn resolve(&self, outcome: Result<T>) {
        check_nothing_held("resolve a completion");
        let mut wakers = self.wakers.lock();
        let refused = self.outcome.set(outcome);
        let woken = mem::take(&mut wakers.registered);
        drop(wakers);
        drop(refused);
        self.done.notify_all();
        for (_, waker) in woken {
            wake(waker);
        }
    }

    /// Stores a waker in the handle's slot, unless the outcome came in the meantime. Returns the slot, and a waker that
    /// the caller must drop now that no lock is held.
    fn register(&self, slot: Option<u64>, waker: Waker) -> (Option<u64>, Option<Waker>) {
        let mut wakers = self.wakers.lock();
        if self.outcome.get().is_some() {
            return (slot, Some(waker));
        }
        let slot = slot.unwrap_or_else(|| wakers.new_slot());
        let replaced = wakers.insert(slot, waker);
        (Some(slot), replaced)
    }
}

/// The wakers of the handles that are being polled: few, hence a list.
#[derive(Default)]
struct Wakers {
    slots: u64,
    registered: Vec<(u64, Waker)>,
}

impl Wakers {
    fn new_slot(&mut self) -> u64 {
        self.slots = self.slots.wrapping_add(1);
        self.slots
    }

    fn insert(&mut self, slot: u64, waker: Waker) -> Option<Waker> {
        match self.registered.iter_mut().find(|(other, _)| *other == slot) {
            Some((_, registered)) => Some(mem::replace(registered, waker)),
            None => {
                self.registered.push((slot, waker));
                None
            }
        }
    }

    fn remove(&mut self, slot: u64) -> Option<Waker> {
        let index = self.registered.iter().position(|(other, _)| *other == slot)?;
        Some(self.registered.swap_remove(index).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
    use std::thread;

    /// Counts its wake-ups, and unparks the thread that it was made on.
    struct CountingWake {
        count: AtomicUsize,
        thread: thread::Thread,
    }

    impl CountingWake {
        fn new() -> Arc<CountingWake> {
            Arc::new(CountingWake { count: AtomicUsize::new(0), thread: thread::current() })
        }

        fn count(&self) -> usize {
            self.count.load(Ordering::SeqCst)
        }
    }

    impl Wake for CountingWake {
        fn wake(self: Arc<Self>) {
            self.count.fetch_add(1, Ordering::SeqCst);
            self.thread.unpark();
        }
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        let waker = Waker::from(CountingWake::new());
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return output;
            }
            thread::park();
        }
    }

    fn poll_once<T: Clone>(handle: &mut Handle<T>, wake: &Arc<CountingWake>) -> Poll<Result<T>> {
        let waker = Waker::from(Arc::clone(wake));
        Pin::new(handle).poll(&mut Context::from_waker(&waker))
    }

    #[test]
    fn every_waiting_thread_gets_the_result() {
        let (completion, handle) = completion::<String>();
        thread::scope(|scope| {
            let waiters: Vec<_> = (0..8)
                .map(|index| {
                    let handle = handle.clone();
                    scope.spawn(move || match index % 3 {
                        0 => handle.wait(),
                        1 => handle.wait_timeout(Duration::MAX).unwrap(),
                        _ => block_on(handle),
                    })
                })
                .collect();
            completion.complete(Ok("stored".into()));
            for waiter in waiters {
                assert_eq!(waiter.join().unwrap().unwrap(), "stored");
            }
        });
    }

    #[test]
    fn every_waiting_thread_gets_the_error() {
        let (completion, handle) = completion::<()>();
        completion.complete(Err(Error::Internal { invariant: "test" }));
        assert!(matches!(handle.clone().wait(), Err(Error::Internal { .. })));
        assert!(matches!(block_on(handle), Err(Error::Internal { .. })));
    }

    #[test]
    fn a_dropped_completion_resolves_its_handles_as_closed() {
        let (completion, handle) = completion::<()>();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| handle.wait());
            drop(completion);
            assert!(matches!(waiter.join().unwrap(), Err(Error::Closed)));
        });
        assert!(matches!(block_on(handle), Err(Error::Closed)));
    }

    #[test]
    fn an_unresolved_handle_has_no_result_and_times_out() {
        let (_completion, handle) = completion::<u8>();
        assert!(handle.try_get().is_none());
        assert!(handle.wait_timeout(Duration::from_nanos(1)).is_none());
        assert_eq!(format!("{handle:?}"), "Handle { resolved: false }");
    }

    #[test]
    fn dropping_a_handle_cancels_nothing() {
        let (completion, handle) = completion();
        drop(handle.clone());
        drop(handle);
        let late = completion.handle();
        completion.complete(Ok(1));
        assert_eq!(late.wait().unwrap(), 1);
    }

    #[test]
    fn the_waker_of_a_handle_that_is_polled_again_is_replaced() {
        let (completion, mut handle) = completion::<u8>();
        let (old, new) = (CountingWake::new(), CountingWake::new());
        assert!(poll_once(&mut handle, &old).is_pending());
        assert!(poll_once(&mut handle, &new).is_pending());
        assert!(poll_once(&mut handle, &new).is_pending());
        assert_eq!(Arc::strong_count(&old), 1, "the replaced waker is dropped");
        completion.complete(Ok(5));
        assert_eq!((old.count(), new.count()), (0, 1));
        assert!(matches!(poll_once(&mut handle, &new), Poll::Ready(Ok(5))));
    }

    #[test]
    fn each_polled_handle_is_woken_once() {
        let (completion, mut first) = completion::<u8>();
        let mut second = first.clone();
        let wakes = [CountingWake::new(), CountingWake::new()];
        assert!(poll_once(&mut first, &wakes[0]).is_pending());
        assert!(poll_once(&mut second, &wakes[1]).is_pending());
        completion.complete(Ok(5));
        assert_eq!(wakes.each_ref().map(|wake| wake.count()), [1, 1]);
    }

    #[test]
    fn a_dropped_handle_is_not_woken_and_its_waker_is_dropped() {
        let (completion, mut handle) = completion::<u8>();
        let _other = handle.clone();
        let wake = CountingWake::new();
        assert!(poll_once(&mut handle, &wake).is_pending());
        drop(handle);
        assert_eq!(Arc::strong_count(&wake), 1);
        completion.complete(Ok(5));
        assert_eq!(wake.count(), 0);
    }

    #[test]
    fn a_waker_may_use_the_handle_that_it_was_registered_with() {
        struct Reenter(Handle<u8>);
        impl Wake for Reenter {
            fn wake(self: Arc<Self>) {
                assert_eq!(self.0.wait().unwrap(), 5);
            }
        }
        let (completion, mut handle) = completion::<u8>();
        let waker = Waker::from(Arc::new(Reenter(handle.clone())));
        assert!(Pin::new(&mut handle).poll(&mut Context::from_waker(&waker)).is_pending());
        completion.complete(Ok(5));
    }

    #[cfg(debug_assertions)]
    #[test]
    #[should_panic(expected = "cannot resolve a completion while holding LogState")]
    fn resolving_under_a_lock_panics_in_debug_builds() {
        let lock = RankedMutex::new(Rank::LogState, ());
        let (completion, _handle) = completion::<u8>();
        let _guard = lock.lock();
        completion.complete(Ok(5));
    }
}
