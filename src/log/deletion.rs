//! [S] Deleting old records: the log start moves, and whole segments below it go (Kafka: `UnifiedLog.deleteRecords`,
//! `deleteOldSegments`, `LocalLog.deleteSegmentFiles`).
//!
//! The order is what makes it safe. The new log start is durable before a name changes. Then the files of a segment get
//! names of Kafka's that end in `.deleted`, durably, and after `file.delete.delay.ms` they are removed: until then whoever
//! has begun to read them goes on, in this process under the new name. Only sealed segments go; nothing here needs space on
//! the disk but the roll of a newest segment that has expired as a whole, which comes last.

use std::io::ErrorKind;
use std::path::PathBuf;

use crate::error::{Error, IoContext, Result};
use crate::log::Log;
use crate::log::directory::Doomed;
use crate::log::layout::SegmentFile;
use crate::log::retention::{
    NextLook, RetentionLimits, RetentionPlan, RetentionReason, RetentionSubject, RetentionTime, SegmentFacts, plan,
};
use crate::log::segment::Segment;
use crate::types::Offset;

/// What a look for expired records did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetentionOutcome {
    /// The segments that were deleted, in offset order.
    pub removed: Vec<RemovedSegment>,
    /// Where the log starts now.
    pub log_start: Offset,
    /// When the next look may find something.
    pub next: NextLook,
}

/// A segment that was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemovedSegment {
    /// Its first offset.
    pub base_offset: Offset,
    /// The offset after its last.
    pub next_offset: Offset,
    /// Bytes of batches in it.
    pub size_in_bytes: u64,
    /// Why it went.
    pub reason: RetentionReason,
}

/// What a look finds.
struct Look {
    /// Where the segments start; they themselves are not held.
    bases: Vec<Offset>,
    facts: Vec<SegmentFacts>,
    /// How many of them, from the oldest on, are sealed.
    sealed: usize,
    is_emptied: bool,
    plan: RetentionPlan,
}

impl Log {
    /// Deletes the records below `offset`: moves the log start there, and deletes the segments that lie wholly below. The
    /// new log start is durable before a file goes. Readers that hold slices of a deleted segment finish undisturbed; the
    /// files are removed by [`LogDirectory::remove_due`](crate::log::LogDirectory::remove_due) when their time has come.
    ///
    /// An offset at or below the log start changes nothing.
    ///
    /// # Errors
    /// [`Error::OffsetOutOfRange`] above the high watermark; [`Error::Io`].
    pub fn delete_before(&self, offset: Offset) -> Result<Offset> {
        let _token = self.maintenance.lock();
        {
            let state = self.state.lock();
            state.check_writable(&self.context.tp)?;
            if offset > state.high_watermark {
                let (start, end) = (state.log_start, state.high_watermark);
                return Err(Error::OffsetOutOfRange { tp: self.context.tp.clone(), requested: offset, start, end });
            }
            if offset <= state.log_start {
                return Ok(state.log_start);
            }
        }
        self.move_start(offset)?;
        Ok(offset)
    }

    /// Deletes the segments that the configuration says are too old (`retention.ms`) or too much (`retention.bytes`), from
    /// the oldest on, as far as they are committed. If nothing is to be kept, the newest segment is rolled and deleted too,
    /// and the log starts at its end. At a time that is not confirmed nothing is deleted for its age; see
    /// [`RetentionClock`](crate::log::RetentionClock).
    ///
    /// A cluster calls this by itself. Doing it twice at the same time is doing it once.
    ///
    /// # Errors
    /// [`Error::OutOfSpace`]: everything went that could go without rolling the newest segment; look again later.
    /// [`Error::Corrupt`], [`Error::Io`] when it cannot be told how old a segment is, or when a file cannot be renamed: then
    /// the log is offline. [`Error::Offline`], [`Error::InvalidState`].
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use logstead::{log::{LogDirectory, RetentionClock}, config::LogConfig, types::*, record::*, storage::MemStorage};
    /// # use logstead::time::{Clock, ManualClock};
    /// # let clock = ManualClock::new();
    /// # let directory = LogDirectory::options().storage(MemStorage::new()).open("/data")?;
    /// let config = LogConfig::new().retention_time(Some(Duration::from_secs(60)));
    /// let log = directory.open_log(&TopicPartition::new("orders", 0)?, None, config, clock.now())?;
    /// # log.begin_epoch(LeaderEpoch::ZERO)?;
    /// # let mut builder = BatchBuilder::new(BatchOptions::default());
    /// # builder.append(Some(clock.now().wall), None, Some(b"value"), &[])?;
    /// log.append_as_leader(&mut builder.build()?, clock.now())?;
    /// log.advance_high_watermark(log.flush()?)?;
    ///
    /// let mut retention = RetentionClock::new(Duration::from_secs(5));
    /// let first = log.apply_retention(retention.look(clock.now()))?;
    /// assert!(first.removed.is_empty() && first.next.at.is_some());
    /// clock.advance(Duration::from_millis(60_001));
    /// let second = log.apply_retention(retention.look(clock.now()))?;
    /// assert_eq!((second.removed.len(), second.log_start), (1, Offset::from(1)));
    /// # Ok::<(), logstead::Error>(())
    /// ```
    pub fn apply_retention(&self, at: RetentionTime) -> Result<RetentionOutcome> {
        let _token = self.maintenance.lock();
        let mut look = self.look_for_expired(at)?;
        let removed = self.remove_expired(&look, at)?;
        if !look.plan.reasons.is_empty() {
            look = self.look_for_expired(at)?;
        }
        let log_start = self.published.lock().log_start;
        Ok(RetentionOutcome { removed, log_start, next: look.plan.next })
    }

    /// Does what a look has decided. The caller holds the token.
    fn remove_expired(&self, look: &Look, at: RetentionTime) -> Result<Vec<RemovedSegment>> {
        let mut removed = Vec::new();
        let wanted = look.plan.reasons.len();
        let ready = wanted.min(look.sealed);
        self.remove_first(look, 0..ready, &mut removed)?;
        if ready < wanted {
            // The rest is not sealed yet, and the newest segment not even rolled.
            let stays = look.is_emptied && !self.roll_expired(look, at)?;
            self.flush()?;
            self.remove_first(look, ready..wanted.saturating_sub(usize::from(stays)), &mut removed)?;
        }
        Ok(removed)
    }

    /// The caller holds the token.
    fn look_for_expired(&self, at: RetentionTime) -> Result<Look> {
        let (segments, sealed, log_start, high_watermark, log_end, limits) = {
            let state = self.state.lock();
            state.check_writable(&self.context.tp)?;
            // Everything before the first segment that is being sealed, and never the active one.
            let unsealed = state.sealing.first().map_or(state.active.base_offset(), |sealing| sealing.base_offset());
            let sealed = state.segments.partition_point(|segment| segment.base_offset() < unsealed);
            let limits = RetentionLimits::of(state.active.config());
            (state.segments.clone(), sealed, state.log_start, state.high_watermark, state.log_end(), limits)
        };
        let nexts = segments.iter().skip(1).map(Segment::base_offset).chain([log_end]);
        let facts = |(segment, next): (&Segment, Offset)| SegmentFacts { next, size: segment.size_in_bytes() };
        let facts: Vec<SegmentFacts> = segments.iter().zip(nexts).map(facts).collect();
        let subject = RetentionSubject { segments: &facts, log_start, high_watermark, limits };
        let plan = plan(subject, at, |place| match segments.get(place) {
            Some(segment) => segment.age(at.now().wall),
            None => Err(Error::Internal { invariant: "retention asks about segments that there are" }),
        })?;
        let is_emptied = subject.is_emptied_by(&plan);
        let bases = segments.iter().map(Segment::base_offset).collect();
        Ok(Look { bases, facts, sealed, is_emptied, plan })
    }

    /// Deletes these of the segments, which are sealed by now.
    fn remove_first(
        &self,
        look: &Look,
        range: std::ops::Range<usize>,
        removed: &mut Vec<RemovedSegment>,
    ) -> Result<()> {
        let chosen = || look.bases.iter().zip(&look.facts).zip(&look.plan.reasons).take(range.end).skip(range.start);
        let Some(((_, last), _)) = chosen().last() else { return Ok(()) };
        self.move_start(last.next)?;
        removed.extend(chosen().map(|((base, facts), reason)| RemovedSegment {
            base_offset: *base,
            next_offset: facts.next,
            size_in_bytes: facts.size,
            reason: *reason,
        }));
        Ok(())
    }

    /// Rolls the newest segment, all of which has expired, unless something was appended to it since: whether it was.
    fn roll_expired(&self, look: &Look, at: RetentionTime) -> Result<bool> {
        let mut state = self.state.lock();
        state.check_writable(&self.context.tp)?;
        let log_end = state.log_end();
        let is_as_seen = look.facts.last().is_some_and(|newest| newest.next == log_end);
        let is_newest = look.bases.last().is_some_and(|newest| *newest == state.active.base_offset());
        if is_as_seen && is_newest { self.roll(&mut state, log_end, at.now()).map(|()| true) } else { Ok(false) }
    }

    /// Moves the log start up to `offset`, and deletes the sealed segments below. The caller holds the token.
    fn move_start(&self, offset: Offset) -> Result<()> {
        let (gone, has_moved, delay) = {
            let mut state = self.state.lock();
            state.check_writable(&self.context.tp)?;
            let has_moved = offset > state.log_start;
            state.log_start = state.log_start.max(offset);
            let log_start = state.log_start;
            let unsealed = state.sealing.first().map_or(state.active.base_offset(), |sealing| sealing.base_offset());
            let is_gone = |segment: &&Segment| segment.next_offset() <= log_start && segment.base_offset() < unsealed;
            let count = state.segments.iter().take_while(is_gone).count();
            let gone: Vec<Segment> = state.segments.drain(..count).collect();
            if has_moved {
                if state.epochs.truncate_from_start(log_start) {
                    state.epochs_version += 1;
                }
                let durable = state.witness.durable();
                state.write_witness(&self.context, durable).inspect_err(|error| state.go_offline(error))?;
            }
            *self.published.lock() = state.publish();
            (gone, has_moved, state.active.config().get_file_delete_delay())
        };
        // The records are gone for readers: the log cannot go on as if the call had not been made.
        let durable = if has_moved { self.sync_witness() } else { Ok(()) };
        let renamed = durable.and_then(|()| self.rename_deleted(&gone));
        let renamed = renamed.inspect_err(|error| self.state.lock().go_offline(error))?;
        let holds = gone.iter().map(Segment::hold).collect();
        // Only those count who held it before.
        drop(gone);
        self.directory.remove_later(Doomed::Files(renamed, holds), delay);
        Ok(())
    }

    /// Gives the files of deleted segments their other names; returns those, the `.log` of each segment first.
    fn rename_deleted(&self, gone: &[Segment]) -> Result<Vec<PathBuf>> {
        const KINDS: [SegmentFile; 6] = [
            SegmentFile::Log,
            SegmentFile::OffsetIndex,
            SegmentFile::TimeIndex,
            SegmentFile::TransactionIndex,
            SegmentFile::Seal,
            SegmentFile::Snapshot,
        ];
        let mut renamed = Vec::new();
        for segment in gone {
            segment.set_deleted();
            for kind in KINDS {
                let (from, to) = (segment.path(kind), segment.deleted_path(kind));
                match self.context.storage.rename(&from, &to) {
                    Ok(()) => renamed.push(to),
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(error).context("rename", &from),
                }
            }
        }
        if !renamed.is_empty() {
            self.sync_folder()?;
        }
        Ok(renamed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{LogDirectory, RetentionClock};
    use crate::record::{BatchBuilder, BatchOptions};
    use crate::storage::MemStorage;
    use crate::time::{Clock, ManualClock};
    use crate::types::{LeaderEpoch, TopicPartition};
    use std::time::Duration;

    #[test]
    fn the_newest_segment_stays_when_something_is_appended_to_it_after_the_look() {
        let now = ManualClock::new().now();
        let directory = LogDirectory::options().seed(1).storage(MemStorage::new()).open("/data").unwrap();
        let config = crate::config::LogConfig::new().segment_bytes(250).retention_bytes(Some(0));
        let log = directory.open_log(&TopicPartition::new("orders", 0).unwrap(), None, config, now).unwrap();
        log.begin_epoch(LeaderEpoch::ZERO).unwrap();
        let append = || {
            let mut builder = BatchBuilder::new(BatchOptions::default());
            builder.append(None, None, Some(&[7; 40]), &[]).unwrap();
            log.append_as_leader(&mut builder.build().unwrap(), now).unwrap();
            log.advance_high_watermark(log.flush().unwrap()).unwrap();
        };
        (0..3).for_each(|_| append());
        let at = RetentionClock::new(Duration::ZERO).look(now);
        let look = log.look_for_expired(at).unwrap();
        assert!(look.is_emptied && look.facts.len() == 2);
        append();
        let removed = log.remove_expired(&look, at).unwrap();
        let removed: Vec<i64> = removed.iter().map(|gone| gone.base_offset.get()).collect();
        // Only whole segments go.
        assert_eq!((removed, log.log_start_offset()), (vec![0], Offset::from(2)));
        assert_eq!(log.segments().len(), 1);
    }
}
