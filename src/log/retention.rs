//! [P] Which segments may go, why, and when to look again (Kafka: `UnifiedLog.deleteOldSegments`).
//!
//! Kafka's order: what lies below the log start, then what is too much, then what is too old. Only a prefix goes, and only
//! what is committed. The newest segment is never deleted as it is: if nothing in it is to be kept, it is rolled first.
//!
//! Two rules are ours. A record dated more than an hour ahead of the clock does not keep its segment for ever: until that
//! time has come the segment is as old as its file's last change, so that a wrong date keeps records for at most twice
//! `retention.ms` and an hour. And nothing is deleted for its age because the wall clock has jumped: see [`RetentionClock`].

use std::time::Duration;

use crate::config::LogConfig;
use crate::error::Result;
use crate::time::Now;
use crate::types::{Offset, Timestamp};

/// Up to here a record's date may lie ahead of the clock and still be believed: Kafka's own limit for new records
/// (`message.timestamp.after.max.ms`).
const FUTURE_MAX_MS: i64 = 3_600_000;
/// By so much the wall clock may differ from what the monotonic clock says it should be.
const TOLERANCE_MS: i64 = 60_000;

/// Tells a wall clock that runs evenly from one that was just set.
///
/// Records are deleted for their age only at a time that was *confirmed*: since some earlier look at least `confirm_after`
/// has passed on the monotonic clock, and the wall clock has moved by as much, give or take a minute. A jump, in either
/// direction, or a clock that stands still starts this anew: the first look after it only takes note of the time. So a jump
/// by itself deletes nothing; a time that lasts for `confirm_after` counts, whatever the clock said before.
///
/// ```
/// use logstead::log::RetentionClock;
/// use logstead::time::{Clock, ManualClock};
/// use std::time::Duration;
/// let clock = ManualClock::new();
/// let mut retention = RetentionClock::new(Duration::from_secs(300));
/// assert!(!retention.look(clock.now()).is_confirmed());
/// clock.advance(Duration::from_secs(300));
/// assert!(retention.look(clock.now()).is_confirmed());
/// clock.set_wall(logstead::types::Timestamp::from_millis(4_000_000_000_000));
/// assert!(!retention.look(clock.now()).is_confirmed());
/// ```
#[derive(Debug, Clone)]
pub struct RetentionClock {
    confirm_after: Duration,
    /// Since when the wall clock has run evenly.
    even_since: Option<Now>,
}

/// A time at which expired records are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionTime {
    now: Now,
    is_confirmed: bool,
}

impl RetentionClock {
    /// A clock that has seen nothing yet.
    pub fn new(confirm_after: Duration) -> RetentionClock {
        RetentionClock { confirm_after, even_since: None }
    }

    /// Takes note of the time, and says whether it can be relied on.
    pub fn look(&mut self, now: Now) -> RetentionTime {
        let is_even = |since: &Now| {
            let passed = i64::try_from(now.mono.since(since.mono).as_millis()).unwrap_or(i64::MAX);
            let moved = now.wall.millis_since(since.wall);
            moved.saturating_sub(passed).saturating_abs() <= TOLERANCE_MS
        };
        let since = self.even_since.filter(is_even).unwrap_or(now);
        self.even_since = Some(since);
        let is_confirmed = since != now && now.mono.since(since.mono) >= self.confirm_after;
        RetentionTime { now, is_confirmed }
    }
}

impl RetentionTime {
    /// Whether records may be deleted for their age: see [`RetentionClock`].
    pub fn is_confirmed(&self) -> bool {
        self.is_confirmed
    }

    /// The time itself.
    pub fn now(&self) -> Now {
        self.now
    }
}

/// Why a segment was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetentionReason {
    /// It lies wholly below the log start: its records were deleted before.
    BelowLogStart,
    /// The log is larger than `retention.bytes` even without it.
    Size,
    /// Its newest record is older than `retention.ms`.
    Time,
}

/// What is known of one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentFacts {
    /// Where the next segment begins; the log end for the newest one.
    pub(crate) next: Offset,
    pub(crate) size: u64,
}

/// By which rules segments go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RetentionLimits {
    pub(crate) time: Option<Duration>,
    pub(crate) bytes: Option<u64>,
}

impl RetentionLimits {
    /// The limits of a log; none where its policy is not to delete.
    pub(crate) fn of(config: &LogConfig) -> RetentionLimits {
        if !config.get_cleanup_policy().deletes() {
            return RetentionLimits { time: None, bytes: None };
        }
        RetentionLimits { time: config.get_retention_time(), bytes: config.get_retention_bytes() }
    }

    /// Whether nothing goes by its age or for its size.
    pub(crate) fn is_none(self) -> bool {
        self.time.is_none() && self.bytes.is_none()
    }

    fn time_ms(&self) -> Option<i64> {
        self.time.map(|time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A log as retention sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetentionSubject<'a> {
    /// Every segment in offset order, the one that takes appends last.
    pub(crate) segments: &'a [SegmentFacts],
    pub(crate) log_start: Offset,
    pub(crate) high_watermark: Offset,
    pub(crate) limits: RetentionLimits,
}

/// When a segment was written, as far as can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentAge {
    /// The largest timestamp of its records, if one has any.
    pub(crate) largest: Option<Timestamp>,
    /// The last change of its file.
    pub(crate) modified: Timestamp,
}

impl SegmentAge {
    /// The age of a segment whose records tell it, so that nobody has to look at its file.
    pub(crate) fn of_records(largest: Option<Timestamp>, now: Timestamp) -> Option<SegmentAge> {
        let largest = largest.filter(|largest| largest.millis_since(now) <= FUTURE_MAX_MS)?;
        Some(SegmentAge { largest: Some(largest), modified: largest })
    }

    /// The time from which the segment's age counts.
    fn newest(self, now: Timestamp) -> Timestamp {
        match self.largest {
            Some(largest) if largest.millis_since(now) <= FUTURE_MAX_MS => largest,
            Some(largest) => largest.min(self.modified),
            None => self.modified,
        }
    }
}

/// When something may expire that has not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NextLook {
    /// The wall-clock time from which on a look may find something; `None`: not by the passing of time alone.
    pub at: Option<Timestamp>,
    /// How many bytes have to be appended before a look may find something; `None`: not by appending alone.
    pub after_bytes: Option<u64>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RetentionPlan {
    /// Why each segment of the prefix goes.
    pub(crate) reasons: Vec<RetentionReason>,
    pub(crate) next: NextLook,
}

impl RetentionSubject<'_> {
    /// Whether the plan takes everything, so that the newest segment is to be rolled first.
    pub(crate) fn is_emptied_by(&self, plan: &RetentionPlan) -> bool {
        plan.reasons.len() == self.segments.len()
    }
}

/// Decides. `age_of` is asked for the segments, told by their place, that only their age can decide about.
///
/// # Errors
/// Those of `age_of`.
pub(crate) fn plan(
    subject: RetentionSubject<'_>,
    at: RetentionTime,
    mut age_of: impl FnMut(usize) -> Result<SegmentAge>,
) -> Result<RetentionPlan> {
    let RetentionSubject { segments, log_start, high_watermark, limits } = subject;
    let mut reasons = Vec::new();
    let mut left: u64 = segments.iter().fold(0, |sum, segment| sum.saturating_add(segment.size));
    let wall = at.now.wall;
    let (mut next, mut remains) = (NextLook::default(), false);
    for (place, segment) in segments.iter().enumerate() {
        let is_newest = place + 1 == segments.len();
        let excess = limits.bytes.and_then(|bytes| left.checked_sub(bytes));
        if is_newest && segment.size == 0 {
            break;
        }
        let reason = if !is_newest && segment.next <= log_start {
            Some(RetentionReason::BelowLogStart)
        } else if excess.is_some_and(|excess| excess >= segment.size) {
            Some(RetentionReason::Size)
        } else {
            expires_at(limits, || age_of(place), wall)?.and_then(|expiry| {
                next.at = Some(expiry);
                (wall >= expiry && at.is_confirmed).then_some(RetentionReason::Time)
            })
        };
        match reason {
            Some(reason) if segment.next <= high_watermark => {
                reasons.push(reason);
                left = left.saturating_sub(segment.size);
                next = NextLook::default();
            }
            Some(_) => {
                // It goes once it is committed.
                (next.at, remains) = (Some(wall), true);
                break;
            }
            None => {
                remains = true;
                next.after_bytes =
                    limits.bytes.map(|bytes| bytes.saturating_add(segment.size).saturating_sub(left).max(1));
                break;
            }
        }
    }
    if !remains && (limits.time.is_some() || limits.bytes.is_some()) {
        // Nothing is left: whatever comes next begins an age and a size.
        next.after_bytes = Some(1);
    }
    Ok(RetentionPlan { reasons, next })
}

/// From when on a segment is too old; `None` when it never is.
fn expires_at(
    limits: RetentionLimits,
    age: impl FnOnce() -> Result<SegmentAge>,
    now: Timestamp,
) -> Result<Option<Timestamp>> {
    let Some(time) = limits.time_ms() else { return Ok(None) };
    let newest = age()?.newest(now);
    // Kafka's `now - largest > retention.ms`.
    let expiry = newest.as_millis().saturating_add(time).saturating_add(1);
    Ok((expiry < i64::MAX).then(|| Timestamp::from_millis(expiry)))
}

#[cfg(test)]
mod tests;
