//! [S] Cutting a log at its end: a follower gives up what its leader never had.
//!
//! The order is what makes it safe. Claims go first: the witness and the recovery point are lowered, durably, before a
//! byte is cut, so that no crash makes a cut look like lost data. Then readers stop seeing the part, then files go. Only
//! the maintenance token is held meanwhile; appends are refused, reads go on.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::error::{IoContext, Result};
use crate::log::Log;
use crate::log::active::{ActiveSegment, SegmentFiles};
use crate::log::directory::Claims;
use crate::log::layout::SegmentFile;
use crate::log::recovery::{self, TransactionIndexes, remove_log, remove_segment_files};
use crate::log::segment::{Segment, SegmentBounds};
use crate::log::state::{Availability, DurablePoint};
use crate::storage::{SyncMode, copy_range, remove_published};
use crate::time::Now;
use crate::types::Offset;

/// What a truncation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncated {
    /// Where the log ends now: the target, or the start of the batch that contained it.
    pub log_end: Offset,
    /// The high watermark, if it had to come down: committed records were cut, which a correct replication never does.
    pub lowered_high_watermark: Option<Offset>,
}

/// Where a log is cut.
struct Cut {
    /// Segments that stay whole.
    keep: Vec<Segment>,
    /// The segment that is cut and becomes the active one; `None` when nothing stays and a new one starts at `log_end`.
    cut: Option<(Segment, u64)>,
    /// Segments that go.
    drop: Vec<Segment>,
    log_end: Offset,
}

impl Log {
    /// Cuts the log so that it ends at `target`, or at the start of the batch that contains it. A target at or above the log
    /// end cuts no record, but forgets epochs that begin there. A target below the log start empties the log; the log start
    /// never falls.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io): the log is now offline. [`Error::Corrupt`](crate::Error::Corrupt): the place to cut cannot be found.
    ///
    /// # Examples
    /// ```
    /// # use logstead::{log::LogDirectory, config::LogConfig, types::*, record::*, storage::MemStorage};
    /// # use logstead::time::{Clock, ManualClock};
    /// # let clock = ManualClock::new();
    /// # let directory = LogDirectory::options().storage(MemStorage::new()).open("/data")?;
    /// # let log = directory.open_log(&TopicPartition::new("orders", 0)?, None, LogConfig::new(), clock.now())?;
    /// # log.begin_epoch(LeaderEpoch::ZERO)?;
    /// for value in [b"one", b"two"] {
    ///     let mut builder = BatchBuilder::new(BatchOptions::default());
    ///     builder.append(None, None, Some(value), &[])?;
    ///     log.append_as_leader(&mut builder.build()?, clock.now())?;
    /// }
    /// assert_eq!(log.truncate_to(Offset::from(1), clock.now())?.log_end, Offset::from(1));
    /// # Ok::<(), logstead::Error>(())
    /// ```
    pub fn truncate_to(&self, target: Offset, now: Now) -> Result<Truncated> {
        let _token = self.maintenance.lock();
        let (log_end, log_start, target) = {
            let mut state = self.state.lock();
            state.check_writable(&self.context.tp)?;
            let target = target.max(state.log_start);
            if target < state.log_end() {
                state.availability = Availability::Changing("a truncation is under way");
            }
            (state.log_end(), state.log_start, target)
        };
        if target >= log_end {
            return self.forget_epochs_from(target, log_end);
        }
        let planned = self.plan_cut(target).map(|cut| match cut.log_end < log_start {
            // The batch that holds the log start goes, and what is before it is of no use: the log starts anew.
            true => Cut { keep: Vec::new(), cut: None, drop: self.segments(), log_end: log_start },
            false => cut,
        });
        let result = planned.and_then(|cut| self.cut(cut, log_start, now));
        self.end_change(result)
    }

    /// Empties the log and starts it anew at `offset`: what a follower does whose leader has deleted everything that the
    /// follower holds.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io): the log is now offline.
    pub fn truncate_fully_and_start_at(&self, offset: Offset, now: Now) -> Result<Truncated> {
        let _token = self.maintenance.lock();
        {
            let mut state = self.state.lock();
            state.check_writable(&self.context.tp)?;
            state.availability = Availability::Changing("a truncation is under way");
        }
        let drop = self.segments();
        let cut = Cut { keep: Vec::new(), cut: None, drop, log_end: offset };
        let result = self.cut(cut, offset, now);
        self.end_change(result)
    }

    pub(crate) fn sync_folder(&self) -> Result<()> {
        self.context.storage.sync_dir(&self.context.folder).in_doubt_context("sync", &self.context.folder)
    }

    /// Makes what the witness says of this log durable, so that no power cut brings back what it said before. What others
    /// have to say meanwhile waits, since a torn write would spoil the copy that is being synced.
    pub(crate) fn sync_witness(&self) -> Result<()> {
        let generation = self.state.lock().witness.hold();
        let synced = self.directory.sync_witness();
        let mut state = self.state.lock();
        if synced.is_ok() {
            state.witness.on_synced(generation);
        }
        let released = state.witness.release();
        synced.and(released).inspect_err(|error| state.go_offline(error))
    }

    fn remove_segment(&self, base: Offset) -> Result<()> {
        remove_segment_files(&self.context, base)?;
        let snapshot = self.context.path(SegmentFile::Snapshot, base);
        match self.context.storage.remove(&snapshot) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("remove", &snapshot),
            _ => Ok(()),
        }
    }

    fn forget_epochs_from(&self, target: Offset, log_end: Offset) -> Result<Truncated> {
        let (version, bytes) = {
            let mut state = self.state.lock();
            if state.epochs.truncate_from_end(target) {
                state.epochs_version += 1;
            }
            state.leader_epoch = None;
            *self.published.lock() = state.publish();
            state.encoded_epochs()
        };
        self.write_epochs(version, &bytes)?;
        Ok(Truncated { log_end, lowered_high_watermark: None })
    }

    /// Finds where to cut.
    fn plan_cut(&self, target: Offset) -> Result<Cut> {
        // Segments on their way to being sealed finish first, so that there are only sealed ones and the active one.
        let sealing = self.state.lock().sealing.clone();
        for segment in sealing {
            segment.finish()?;
        }
        let mut keep = self.segments();
        let count = keep.partition_point(|segment| segment.base_offset() <= target).max(1);
        let drop = keep.split_off(count);
        let Some(last) = keep.pop() else {
            return Ok(Cut { keep, cut: None, drop, log_end: target });
        };
        let bounds = last.bounds();
        if bounds.next_offset <= target {
            return Ok(Cut { keep, cut: Some((last, bounds.len)), drop, log_end: bounds.next_offset });
        }
        let (position, log_end) = self.batch_start(&last, bounds, target)?;
        Ok(Cut { keep, cut: Some((last, position)), drop, log_end })
    }

    /// Start of the batch that contains `target`, and the end of the batch before it.
    fn batch_start(&self, segment: &Segment, bounds: SegmentBounds, target: Offset) -> Result<(u64, Offset)> {
        let file = segment.file()?;
        let mut scanner = crate::log::scan::BatchScanner::new(Arc::clone(&file), 0, bounds.len);
        let mut end = segment.base_offset();
        while let Some(batch) = scanner.next_batch()? {
            if batch.header.last_offset() >= target {
                return Ok((batch.position, end));
            }
            end = batch.header.next_offset();
        }
        Ok((bounds.len, end))
    }

    fn cut(&self, cut: Cut, log_start: Offset, now: Now) -> Result<Truncated> {
        let lowered_high_watermark = self.lower_claims(&cut, log_start)?;
        if cut.cut.is_none() {
            // What producers did before counts for nothing: their transactions end in records that are not there.
            recovery::remove_snapshots(&self.context)?;
        }
        for segment in cut.drop.iter().rev() {
            segment.release_map();
            remove_log(&self.context, segment.base_offset())?;
        }
        self.sync_folder()?;
        for segment in &cut.drop {
            self.remove_segment(segment.base_offset())?;
        }
        let active = match &cut.cut {
            Some((segment, position)) => self.cut_segment(segment, *position, cut.log_end, now)?,
            None => {
                let mut rng = self.state.lock().rng.split("jitter");
                ActiveSegment::create(&self.context, &self.config(), cut.log_end, now, &mut rng)?
            }
        };
        let mut segments = cut.keep;
        segments.push(active.segment().clone());
        let loaded =
            recovery::load_producers(&self.context, &segments, cut.log_end, TransactionIndexes::InDoubt, None)?;
        // Snapshots of what was cut must not come back either, when the log has grown past them again.
        self.sync_folder()?;
        let mut gate = self.flush_gate.lock();
        let mut state = self.state.lock();
        state.producers = loaded.states;
        state.snapshot = loaded.snapshot;
        let high_watermark = state.high_watermark;
        state.producers.on_high_watermark(high_watermark);
        state.sealing.clear();
        state.names_synced = state.names_created;
        state.active = active;
        state.segments = segments;
        // Readers that began during the cut look again.
        state.generation += 1;
        *gate = Some(state.generation);
        *self.published.lock() = state.publish();
        let (version, bytes) = state.encoded_epochs();
        drop((state, gate));
        self.write_epochs(version, &bytes)?;
        Ok(Truncated { log_end: cut.log_end, lowered_high_watermark })
    }

    /// Takes back every claim about what is about to be cut, durably, and hides it from readers.
    fn lower_claims(&self, cut: &Cut, log_start: Offset) -> Result<Option<Offset>> {
        let (claims, lowered) = {
            // Waits for a flush that runs; one that was begun and has not run yet does nothing any more.
            let mut gate = self.flush_gate.lock();
            let mut state = self.state.lock();
            let log_end = cut.log_end;
            state.generation += 1;
            *gate = Some(state.generation);
            state.leader_epoch = None;
            state.synced = match &cut.cut {
                Some(_) => state.synced.min(log_end),
                // Everything that is left, namely nothing, is durable.
                None => log_end,
            };
            state.log_start = log_start.min(log_end);
            let lowered = (state.high_watermark > log_end).then_some(log_end);
            state.high_watermark = state.high_watermark.min(log_end).max(state.log_start);
            state.recovery_point = state.recovery_point.min(log_end);
            // No epoch has records in an empty log.
            let epochs_end = cut.cut.as_ref().map_or(Offset::ZERO, |_| log_end);
            if state.epochs.truncate_from_end(epochs_end) {
                state.epochs_version += 1;
            }
            let durable = durable_after(cut, state.witness.durable(), state.synced == log_end);
            state.write_witness(&self.context, durable).inspect_err(|error| state.go_offline(error))?;
            let mut published = self.published.lock();
            published.log_end = log_end;
            published.log_start = state.log_start;
            published.high_watermark = state.high_watermark;
            published.last_stable = published.last_stable.min(log_end);
            published.synced = state.synced;
            published.generation = state.generation;
            let claims = Claims {
                log_start: state.log_start,
                high_watermark: state.high_watermark,
                recovery_point: state.recovery_point,
            };
            (claims, lowered)
        };
        self.sync_witness()?;
        self.directory.lower_claims(&self.context.tp, claims)?;
        Ok(lowered)
    }

    /// Shortens a segment's log and takes it up again as the active segment.
    fn cut_segment(&self, segment: &Segment, position: u64, log_end: Offset, now: Now) -> Result<ActiveSegment> {
        let base = segment.base_offset();
        remove_published(&*self.context.storage, &segment.path(SegmentFile::Seal))?;
        let files = SegmentFiles::open(&self.context, base)?;
        crate::log::active::write_index_pages(segment, &files, 0)?;
        if segment.release_map() {
            // A reader may map the file, and a mapped file is never shortened: the kept part moves to a new one.
            self.copy_prefix(segment, position)?;
        } else {
            files.log.set_len(position).context("truncate", files.log.path())?;
            files.log.sync(SyncMode::All).in_doubt_context("sync", files.log.path())?;
        }
        let has_gaps = self.state.lock().has_gaps;
        let recovered = recovery::resume(&self.context, &self.config(), base, log_end, has_gaps)?;
        let mut rng = self.state.lock().rng.split("jitter");
        Ok(ActiveSegment::from_recovered(&self.context, &self.config(), base, recovered, now, &mut rng))
    }

    fn copy_prefix(&self, segment: &Segment, len: u64) -> Result<()> {
        let path = segment.path(SegmentFile::Log);
        let temporary = path.with_extension("log.tmp");
        copy_range(&*self.context.storage, &*segment.file()?, 0, len, &temporary)?;
        self.context.storage.rename(&temporary, &path).context("rename", &temporary)
    }

    /// Opens the log for appends again, or takes it offline when the change failed half-way.
    fn end_change<T>(&self, result: Result<T>) -> Result<T> {
        let mut state = self.state.lock();
        if matches!(state.availability, Availability::Changing(_)) {
            state.availability = Availability::Open;
        }
        result.inspect_err(|error| state.go_offline(error))
    }
}

/// Where durable bytes end after a cut. What was not synced before is not synced now: no position may vouch for it.
fn durable_after(cut: &Cut, before: DurablePoint, all_synced: bool) -> DurablePoint {
    let Some((segment, position)) = &cut.cut else {
        return DurablePoint { segment_base: cut.log_end, position: 0, last_batch_crc: 0 };
    };
    let segment_base = segment.base_offset();
    match before.segment_base.cmp(&segment_base) {
        Ordering::Less if !all_synced => before,
        Ordering::Equal if !all_synced => {
            DurablePoint { segment_base, position: before.position.min(*position), last_batch_crc: 0 }
        }
        Ordering::Less | Ordering::Equal | Ordering::Greater => {
            DurablePoint { segment_base, position: *position, last_batch_crc: 0 }
        }
    }
}
