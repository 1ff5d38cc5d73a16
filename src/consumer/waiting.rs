//! [D] Waiting for something to read: asleep, never spinning, until it is there, the time is over, or somebody wakes the consumer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::sync::Signal;
use crate::time::Clock;

/// How long a consumer sleeps before it looks again where nobody tells it.
const BACKOFF_MIN: Duration = Duration::from_millis(1);
const BACKOFF_MAX: Duration = Duration::from_millis(50);

/// What a consumer sleeps on.
#[derive(Debug, Clone)]
pub(super) struct Alarm {
    pub(super) signal: Arc<Signal>,
    is_woken: Arc<AtomicBool>,
}

impl Alarm {
    pub(super) fn new() -> Alarm {
        Alarm { signal: Arc::new(Signal::new()), is_woken: Arc::new(AtomicBool::new(false)) }
    }

    /// Whether somebody asked the consumer to stop waiting; he did once.
    pub(super) fn take_wake(&self) -> bool {
        // Read first: nearly every poll finds nothing, and need not write.
        self.is_woken.load(Ordering::Acquire) && self.is_woken.swap(false, Ordering::AcqRel)
    }
}

/// Wakes a consumer from any thread; see [`Consumer::wake_handle`](super::Consumer::wake_handle).
#[derive(Debug, Clone)]
pub struct WakeHandle {
    pub(super) alarm: Alarm,
}

impl WakeHandle {
    /// Ends the wait that the consumer is in, or the next one that it would begin: that poll returns no records. Several
    /// calls before it counts are one. Does nothing once the consumer is gone.
    pub fn wake(&self) {
        // Released before the signal, which whoever wakes up takes first.
        self.alarm.is_woken.store(true, Ordering::Release);
        self.alarm.signal.raise();
    }
}

/// The time that a poll may wait.
#[derive(Debug)]
pub(super) struct Patience {
    left: Duration,
    backoff: Duration,
}

/// Who ends a sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sleep {
    /// The signal.
    UntilRaised,
    /// The sleeper, who has to look for himself.
    LookAgain,
}

impl Patience {
    pub(super) fn new(timeout: Duration) -> Patience {
        Patience { left: timeout, backoff: BACKOFF_MIN }
    }

    pub(super) fn is_over(&self) -> bool {
        self.left.is_zero()
    }

    /// Counts the time that `work` takes.
    pub(super) fn spend<T>(&mut self, clock: &dyn Clock, work: impl FnOnce() -> T) -> T {
        let before = clock.now().mono;
        let result = work();
        self.left = self.left.saturating_sub(clock.now().mono.since(before));
        result
    }

    /// Sleeps until the signal is raised or the time is over.
    pub(super) fn sleep(&mut self, signal: &Signal, clock: &dyn Clock, sleep: Sleep) {
        let nap = match sleep {
            Sleep::UntilRaised => self.left,
            Sleep::LookAgain => self.left.min(self.backoff),
        };
        let before = clock.now().mono;
        let is_raised = signal.wait(Some(nap));
        // A nap that went to its end took that long, also where the clock is one that stands still.
        let slept = if is_raised { clock.now().mono.since(before) } else { nap };
        self.left = self.left.saturating_sub(slept);
        if sleep == Sleep::LookAgain {
            self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        }
    }
}
