//! [D] Time as values: a `Clock` is asked once, at the edge, and `Now` is passed down as an argument.
//!
//! [`SystemClock`] is the only reader of the operating system's time in the library.
//!
//! [D]: crate

use std::fmt::Debug;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::types::Timestamp;

/// A point on the monotonic clock: nanoseconds since an arbitrary start. Only differences mean anything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Instant(u64);

impl Instant {
    /// From nanoseconds since the clock's start.
    pub const fn from_nanos(nanos: u64) -> Instant {
        Instant(nanos)
    }

    /// Nanoseconds since the clock's start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The point that lies `by` after this one; the end of the clock's range when that is nearer.
    pub fn after(self, by: Duration) -> Instant {
        // The clock's range is 584 years.
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        Instant(self.0.saturating_add(nanos))
    }

    /// The time from `earlier` to `self`; zero when `earlier` is later.
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Both clocks, read together: `mono` for deadlines, `wall` for timestamps in records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// The monotonic clock.
    pub mono: Instant,
    /// The wall clock, which may jump.
    pub wall: Timestamp,
}

/// Where time comes from.
///
/// ```
/// use logstead::time::{Clock, ManualClock};
/// use std::time::Duration;
/// let clock = ManualClock::new();
/// let before = clock.now();
/// clock.advance(Duration::from_millis(5));
/// assert_eq!(clock.now().wall.millis_since(before.wall), 5);
/// assert_eq!(clock.now().mono.since(before.mono), Duration::from_millis(5));
/// ```
pub trait Clock: Debug + Send + Sync {
    /// The time now, on both clocks.
    fn now(&self) -> Now;
}

/// The operating system's clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: std::time::Instant,
}

impl SystemClock {
    /// A clock whose monotonic reading starts now.
    #[allow(clippy::disallowed_methods, reason = "this type is where the operating system's time enters")]
    pub fn new() -> SystemClock {
        SystemClock { start: std::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this type is where the operating system's time enters")]
    fn now(&self) -> Now {
        let nanos = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let wall = match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |millis| -millis),
        };
        Now { mono: Instant(nanos), wall: Timestamp::from_millis(wall) }
    }
}

/// A clock that moves only when told to: for tests and simulations.
///
/// Its wall clock starts at 1,700,000,000,000 ms (2023-11-14T22:13:20Z).
#[derive(Debug)]
pub struct ManualClock {
    mono: AtomicU64,
    wall: AtomicI64,
}

impl ManualClock {
    /// A clock at its fixed start.
    pub fn new() -> ManualClock {
        ManualClock { mono: AtomicU64::new(0), wall: AtomicI64::new(1_700_000_000_000) }
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        // The two clocks are separate counters and nothing is published through them: relaxed order is enough.
        self.mono.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.wall.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Sets the wall clock alone, as an operator or a time server may.
    pub fn set_wall(&self, wall: Timestamp) {
        self.wall.store(wall.as_millis(), Ordering::Relaxed);
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        ManualClock::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Now {
        Now {
            mono: Instant(self.mono.load(Ordering::Relaxed)),
            wall: Timestamp::from_millis(self.wall.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_never_goes_back_when_the_wall_clock_does() {
        let clock = ManualClock::new();
        let before = clock.now();
        clock.set_wall(Timestamp::from_millis(0));
        assert_eq!(clock.now().mono, before.mono);
        assert!(clock.now().wall < before.wall);
    }

    #[test]
    fn the_system_clock_knows_this_century() {
        let clock = SystemClock::new();
        let (first, second) = (clock.now(), clock.now());
        assert!(second.mono >= first.mono);
        assert!(first.wall > Timestamp::from_millis(1_600_000_000_000));
    }
}
