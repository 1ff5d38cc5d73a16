//! [S] When expired records are looked for, and what that comes to for each partition (Kafka: `LogManager.cleanupLogs`).
//!
//! Nobody looks while nothing can expire. Each look at a log says when the next one may find something: at what time, and
//! after how many appended bytes. The broker looks at the earliest of these times, but never twice within the check
//! interval. Since the wall clock may be set, it does not sleep for longer than an hour while something will expire.
//!
//! Logs that nobody has opened expire as well. Of them only the folder is listed and the oldest segment's time index read,
//! first half a minute after the start; one that has something to lose is opened, and closed again at once, so that a
//! broker of many idle partitions never holds open more than those in use.

use std::time::Duration;

use crate::broker::Broker;
use crate::broker::partition::HostedPartition;
use crate::broker::source::FetchSource;
use crate::error::{Error, Result};
use crate::log::{NextLook, RetentionTime};
use crate::time::Now;
use crate::types::{Offset, Timestamp};

/// A time that is further away is looked at again, in case the clock is set.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// When a partition's log may next lose something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RetentionWatch {
    /// From this wall-clock time on; `None`: not by the passing of time alone.
    due: Option<Timestamp>,
    /// After so many more bytes; `None`: not by appending alone.
    bytes_left: Option<u64>,
    /// Bytes appended since the look began that `bytes_left` will come from.
    appended: u64,
    /// Tells the newest look from those before it, of which nobody wants to hear any more.
    look: u64,
}

/// Before every time that a clock shows.
const NOW: Timestamp = Timestamp::from_millis(i64::MIN);

impl Default for RetentionWatch {
    /// Nobody has looked yet.
    fn default() -> RetentionWatch {
        RetentionWatch { due: Some(NOW), bytes_left: Some(1), appended: 0, look: 0 }
    }
}

impl RetentionWatch {
    /// Whether the append made a look due that was not due before.
    pub(super) fn on_append(&mut self, bytes: u64) -> bool {
        self.appended = self.appended.saturating_add(bytes);
        let Some(left) = self.bytes_left else { return false };
        self.bytes_left = left.checked_sub(bytes).filter(|left| *left > 0);
        if self.bytes_left.is_none() {
            self.due = Some(NOW);
        }
        self.bytes_left.is_none()
    }

    /// By other rules, or after something else was done to the log, what an earlier look has found counts for nothing.
    pub(super) fn look_again(&mut self) {
        *self = RetentionWatch { look: self.look.wrapping_add(1), ..RetentionWatch::default() };
    }

    /// A look begins; returns which.
    fn begin(&mut self) -> u64 {
        (self.appended, self.look) = (0, self.look.wrapping_add(1));
        self.look
    }

    /// What the look has found. What was appended meanwhile it may have missed.
    fn end(&mut self, look: u64, next: NextLook) {
        if look != self.look {
            return;
        }
        self.bytes_left = next.after_bytes.and_then(|bytes| bytes.checked_sub(self.appended)).filter(|left| *left > 0);
        let is_missed = next.after_bytes.is_some() && self.bytes_left.is_none();
        self.due = if is_missed { Some(NOW) } else { next.at };
    }
}

impl HostedPartition {
    /// The wall-clock time from which on a look may find something.
    fn retention_due(&self) -> Option<Timestamp> {
        self.role.lock().retention.due
    }

    /// Deletes what has expired.
    fn apply_retention(&self, at: RetentionTime) {
        let look = self.role.lock().retention.begin();
        let next = self.delete_expired(at).unwrap_or_else(|error| match error {
            // Space may come back by itself.
            Error::OutOfSpace { .. } => NextLook { at: Some(at.now().wall), after_bytes: None },
            // What could not be read may be readable later.
            Error::Io { .. } | Error::Corrupt(_) if !self.is_offline() => {
                let sleep = i64::try_from(SLEEP_MAX.as_millis()).unwrap_or(i64::MAX);
                let wall = at.now().wall.as_millis().saturating_add(sleep);
                NextLook { at: Some(Timestamp::from_millis(wall)), after_bytes: None }
            }
            // It is gone, damaged or offline: nothing more is deleted until it is opened again.
            _ => NextLook::default(),
        });
        self.role.lock().retention.end(look, next);
    }

    fn is_offline(&self) -> bool {
        self.opened_log().is_some_and(|log| log.check_online().is_err())
    }

    fn delete_expired(&self, at: RetentionTime) -> Result<NextLook> {
        let opening = self.opening.lock();
        if let Some(error) = self.retired.get() {
            return Err(error.clone());
        }
        if let Some(log) = self.opened_log() {
            drop(opening);
            return log.apply_retention(at).map(|outcome| outcome.next);
        }
        // The token keeps everybody else from opening the log meanwhile.
        let config = self.role.lock().config.clone();
        if let Some(next) = self.host.directory.next_look_unopened(self.topic_partition(), &config, at)? {
            return Ok(next);
        }
        let opening = (config, self.host.clock.now());
        let next = self.host.directory.with_log(self.topic_partition(), self.topic_id, opening, |log| {
            self.lead(log)?;
            log.apply_retention(at).map(|outcome| outcome.next)
        });
        self.role.lock().leader = None;
        next
    }

    /// Deletes the records below an offset, or all that are committed; returns where the log starts then.
    ///
    /// # Errors
    /// Those of [`Log::delete_before`](crate::log::Log::delete_before), and of opening the log.
    pub(crate) fn delete_records(&self, before: Option<Offset>) -> Result<Offset> {
        let log = self.log()?;
        let deleted = log.delete_before(before.unwrap_or_else(|| log.high_watermark()));
        let start = deleted.map_err(|error| self.or_retired(error))?;
        // Segments that were not sealed yet go with the next look.
        self.role.lock().retention.look_again();
        self.host.background.look_for_expired(self.host.clock.now().mono);
        Ok(start)
    }
}

impl Broker {
    /// Deletes what has expired, and says when to look again.
    pub(super) fn apply_retention(&self, now: Now) {
        let at = self.host.background.retention_time(now);
        let mut next: Option<Timestamp> = None;
        for partition in self.partitions() {
            if partition.retention_due().is_some_and(|due| due <= now.wall) {
                partition.apply_retention(at);
            }
            next = next.into_iter().chain(partition.retention_due()).min();
        }
        if let Some(due) = next {
            let wait = u64::try_from(due.millis_since(now.wall)).map_or(Duration::ZERO, Duration::from_millis);
            self.host.background.look_for_expired_after(wait.min(SLEEP_MAX), now.mono);
        }
        self.remove_due(now);
    }

    /// Removes the files of what was deleted a while ago, and says when to do so again.
    pub(crate) fn remove_due(&self, now: Now) {
        let next = match self.host.directory.remove_due(now) {
            Ok(next) => next,
            // What could not be removed waits for another delay; it does not keep the rest waiting.
            Err(_) => self.host.directory.remove_due(now).unwrap_or_else(|_| Some(now.mono.after(SLEEP_MAX))),
        };
        if let Some(next) = next {
            self.host.background.remove_at(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_look_is_due_once_enough_was_appended_and_not_before() {
        let mut watch = RetentionWatch::default();
        assert!(watch.on_append(5), "the first append to a log that nobody has looked at");
        assert!(!watch.on_append(5), "that look is still to come");
        let look = watch.begin();
        watch.end(look, NextLook { at: Some(time(9)), after_bytes: Some(10) });
        assert_eq!(watch.due, Some(time(9)));
        assert!(!watch.on_append(9));
        assert!(watch.on_append(1));
        assert_eq!(watch.due, Some(NOW));
    }

    #[test]
    fn what_is_appended_during_a_look_counts() {
        for (appended, due) in [(9, None), (10, Some(NOW)), (11, Some(NOW))] {
            let mut watch = RetentionWatch::default();
            watch.on_append(1);
            let look = watch.begin();
            watch.on_append(appended);
            watch.end(look, NextLook { at: None, after_bytes: Some(10) });
            assert_eq!(watch.due, due, "{appended}");
        }
    }

    #[test]
    fn what_a_look_has_found_by_rules_that_were_changed_meanwhile_does_not_count() {
        let mut watch = RetentionWatch::default();
        let look = watch.begin();
        watch.look_again();
        watch.end(look, NextLook::default());
        assert_eq!(watch.due, Some(NOW), "nobody has looked by the new rules yet");
        // Of two looks at once the one that began later has seen more.
        let (first, second) = (watch.begin(), watch.begin());
        watch.end(second, NextLook { at: Some(time(9)), after_bytes: Some(10) });
        watch.end(first, NextLook { at: None, after_bytes: Some(100) });
        assert_eq!((watch.due, watch.bytes_left), (Some(time(9)), Some(10)));
    }

    #[test]
    fn nothing_is_due_where_nothing_can_expire() {
        let mut watch = RetentionWatch::default();
        let look = watch.begin();
        watch.end(look, NextLook::default());
        assert!(!watch.on_append(u64::MAX));
        assert_eq!(watch.due, None);
    }
}
