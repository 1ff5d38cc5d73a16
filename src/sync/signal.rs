//! [D] A flag that one thread, or one future, sleeps on until somebody raises it.
//!
//! Raising is cheap while nobody sleeps: no system call, no wake-up. A signal that was raised before the wait began ends
//! the wait at once, so that nothing is missed between looking and sleeping. Lock rank: `Signal`. Kafka's counterpart: the
//! wake-up of `KafkaConsumer` and of a delayed fetch.

use std::task::Waker;
use std::time::Duration;

use super::ranked::{Condition, Rank, RankedMutex, check_nothing_held};
use super::wake;

/// See the [module documentation](self).
#[derive(Debug)]
pub(crate) struct Signal {
    state: RankedMutex<SignalState>,
    raised: Condition,
}

#[derive(Debug, Default)]
struct SignalState {
    is_raised: bool,
    sleepers: usize,
    waker: Option<Waker>,
}

impl Signal {
    /// A signal that is not raised.
    pub(crate) fn new() -> Signal {
        Signal { state: RankedMutex::new(Rank::Signal, SignalState::default()), raised: Condition::new() }
    }

    /// Raises the flag and wakes whoever waits for it. The caller holds no lock: a waker runs arbitrary code.
    pub(crate) fn raise(&self) {
        check_nothing_held("raise a signal");
        let (has_sleepers, waker) = {
            let mut state = self.state.lock();
            state.is_raised = true;
            (state.sleepers > 0, state.waker.take())
        };
        if has_sleepers {
            self.raised.notify_all();
        }
        if let Some(waker) = waker {
            wake(waker);
        }
    }

    /// Takes the flag down; whether it was up.
    #[cfg(test)]
    pub(crate) fn take(&self) -> bool {
        std::mem::take(&mut self.state.lock().is_raised)
    }

    /// Sleeps until the flag is up, `timeout` at most (`None`: without limit), and takes it down. Whether it was up.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> bool {
        check_nothing_held("wait for a signal");
        let mut state = self.state.lock();
        if !state.is_raised && timeout != Some(Duration::ZERO) {
            state.sleepers += 1;
            match timeout {
                Some(timeout) => {
                    self.raised.wait_while_timeout(&mut state, timeout, |state| !state.is_raised);
                }
                None => {
                    while !state.is_raised {
                        self.raised.wait(&mut state);
                    }
                }
            }
            state.sleepers -= 1;
        }
        std::mem::take(&mut state.is_raised)
    }

    /// For futures: `true` when the flag was up (it is taken down), else `waker` is woken when it is raised next.
    pub(crate) fn poll(&self, waker: &Waker) -> bool {
        let mut state = self.state.lock();
        if std::mem::take(&mut state.is_raised) {
            return true;
        }
        let replaced = state.waker.replace(waker.clone());
        drop(state);
        drop(replaced);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread;

    #[test]
    fn a_signal_raised_before_the_wait_is_not_missed() {
        let signal = Signal::new();
        assert!(!signal.wait(Some(Duration::ZERO)));
        signal.raise();
        assert!(signal.wait(None));
        assert!(!signal.take());
    }

    #[test]
    fn raising_wakes_a_thread_that_sleeps() {
        let signal = Arc::new(Signal::new());
        let sleeper = Arc::clone(&signal);
        let thread = thread::spawn(move || sleeper.wait(None));
        signal.raise();
        assert!(thread.join().unwrap());
    }

    #[test]
    fn raising_wakes_a_future_once() {
        struct Count(std::sync::atomic::AtomicUsize);
        impl std::task::Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
        }
        let count = Arc::new(Count(0.into()));
        let signal = Signal::new();
        assert!(!signal.poll(&Arc::clone(&count).into()));
        signal.raise();
        signal.raise();
        assert_eq!(count.0.load(std::sync::atomic::Ordering::SeqCst), 1);
        assert!(signal.poll(&Arc::clone(&count).into()));
    }
}
