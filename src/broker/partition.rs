//! [S] One partition on the broker that leads it: the log and its role, and who waits for them (Kafka: `Partition`).
//!
//! The log is opened on first use: a cluster of ten thousand partitions holds files open only for those in use.
//! Invariants: batches of one caller are appended in the order of his calls; a parked producer is resolved exactly once,
//! after the high watermark passed his batch or the partition is gone; nobody is resolved while a lock is held.
//! Lock ranks: `PartitionOpening` (a token), `HostedPartition` (the role), `Purgatory`.

use std::sync::{Arc, OnceLock, Weak};

use crate::broker::host::Host;
use crate::broker::purgatory::{Appended, Deadline, ParkedProduce, Purgatory, Released};
use crate::broker::retention::RetentionWatch;
use crate::broker::source::{FetchSource, Parked, PartitionOffsets};
use crate::config::{Acks, Durability, LogConfig};
use crate::error::{Error, Result, Written};
use crate::log::{AbortedTransaction, ListedOffset, Log, LogSlice, OffsetSpec, ReadIsolation, ReadLimits};
use crate::record::{BuiltBatch, Codec};
use crate::replica::{Leader, LeaderEffects, LogEnds};
use crate::sync::{CommitLane, Completion, Flush, Rank, RankedMutex, Signal};
use crate::time::{Instant, Now};
use crate::types::{LeaderEpoch, Offset, TopicId, TopicPartition};

/// Bytes that may be appended without anybody waiting before they are synced in the background, whatever the durability:
/// recovery never has to look at more.
const UNSYNCED_BYTES_MAX: u64 = 64 << 20;

/// A partition that this broker leads.
#[derive(Debug)]
pub(crate) struct HostedPartition {
    this: Weak<HostedPartition>,
    tp: TopicPartition,
    pub(super) topic_id: TopicId,
    epoch: LeaderEpoch,
    pub(super) host: Arc<Host>,
    commit_lane: CommitLane,
    pub(super) opening: RankedMutex<()>,
    /// None until the log is opened, and once it was deleted.
    log: RankedMutex<Option<Arc<Log>>>,
    /// Why it is gone.
    pub(super) retired: OnceLock<Error>,
    pub(super) role: RankedMutex<Role>,
    purgatory: RankedMutex<Purgatory>,
}

/// What changes while the partition is led.
#[derive(Debug)]
pub(super) struct Role {
    pub(super) config: LogConfig,
    /// None until the log is opened, and if it cannot be led because it is damaged.
    pub(super) leader: Option<Leader>,
    /// When the log may next lose something.
    pub(super) retention: RetentionWatch,
    /// Bytes appended since the last sync.
    unsynced_bytes: u64,
    /// Whether the background's timer is armed for this partition: what is appended until it goes off is synced then.
    is_flush_armed: bool,
    /// Why the log could not be opened when somebody wanted it last.
    open_failure: Option<Error>,
}

/// A batch to be appended.
#[derive(Debug)]
pub(crate) struct Produce<'a> {
    pub(crate) batch: &'a mut BuiltBatch,
    pub(crate) acks: Acks,
    /// When the producer stops waiting for the acknowledgement.
    pub(crate) deadline: Option<Deadline>,
    pub(crate) sync_by: SyncBy,
    /// Resolved when the batch is acknowledged, or cannot be.
    pub(crate) done: Completion<Appended>,
}

/// Who syncs what waits to be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SyncBy {
    /// The caller, who goes on to [`HostedPartition::sync_to`].
    Caller,
    /// The background, at once.
    Background,
}

/// How an append went.
struct AppendOutcome {
    appended: Appended,
    upto: Offset,
    high_watermark: Offset,
    /// Whether this append committed something.
    has_committed: bool,
    /// Whether the background is to sync it although nobody waits.
    flush: FlushDue,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FlushDue {
    No,
    WithinInterval,
    Now,
}

impl HostedPartition {
    /// A partition whose log is not opened yet.
    pub(crate) fn new(
        host: Arc<Host>,
        tp: TopicPartition,
        topic_id: TopicId,
        epoch: LeaderEpoch,
        config: LogConfig,
    ) -> Arc<HostedPartition> {
        let role = Role {
            config,
            leader: None,
            retention: RetentionWatch::default(),
            unsynced_bytes: 0,
            is_flush_armed: false,
            open_failure: None,
        };
        Arc::new_cyclic(|this| HostedPartition {
            this: Weak::clone(this),
            tp,
            topic_id,
            epoch,
            host,
            commit_lane: CommitLane::new(),
            opening: RankedMutex::new(Rank::PartitionOpening, ()),
            log: RankedMutex::new(Rank::PartitionLog, None),
            retired: OnceLock::new(),
            role: RankedMutex::new(Rank::HostedPartition, role),
            purgatory: RankedMutex::new(Rank::Purgatory, Purgatory::default()),
        })
    }

    /// What batches are stored in now; `None` when the topic leaves it to the producer.
    pub(crate) fn codec(&self) -> Option<Codec> {
        Codec::of_topic(&self.role.lock().config)
    }

    /// The log, if somebody has used it.
    pub(crate) fn opened_log(&self) -> Option<Arc<Log>> {
        self.log.lock().clone()
    }

    /// The log, opened now if need be.
    ///
    /// # Errors
    /// Why the partition is gone, or why its log cannot be opened.
    pub(crate) fn log(&self) -> Result<Arc<Log>> {
        if let Some(error) = self.retired.get() {
            return Err(error.clone());
        }
        self.opened_log().map_or_else(|| self.open_log(), Ok)
    }

    fn open_log(&self) -> Result<Arc<Log>> {
        let _token = self.opening.lock();
        if let Some(error) = self.retired.get() {
            return Err(error.clone());
        }
        if let Some(log) = self.opened_log() {
            return Ok(log);
        }
        let opened = self.open_to_lead();
        self.role.lock().open_failure = opened.as_ref().err().cloned();
        let opened = opened?;
        *self.log.lock() = Some(Arc::clone(&opened));
        Ok(opened)
    }

    /// Lets go of the log's files. The partition is retired and its log was deleted.
    pub(crate) fn forget_log(&self) {
        let forgotten = self.log.lock().take();
        drop(forgotten);
    }

    /// The caller holds the token.
    fn open_to_lead(&self) -> Result<Arc<Log>> {
        let config = self.role.lock().config.clone();
        let log = self.host.directory.open_log(&self.tp, Some(self.topic_id), config, self.host.clock.now())?;
        self.lead(&log).map(|()| log)
    }

    /// Takes the lead of a log that was just opened. The caller holds the token.
    pub(super) fn lead(&self, log: &Log) -> Result<()> {
        match log.begin_epoch(self.epoch) {
            Ok(()) => {
                let ends = LogEnds {
                    log_end: log.log_end_offset(),
                    synced: log.synced_offset(),
                    high_watermark: log.high_watermark(),
                };
                let (leader, effects) = Leader::new(log.config().get_durability(), ends);
                apply(log, effects)?;
                self.role.lock().leader = Some(leader);
            }
            // Damaged: what is intact can be read, and appends tell why they are refused.
            Err(Error::Offline { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Appends a batch. How it went is told through `produce.done`, at the latest when the partition is gone.
    pub(crate) fn produce(&self, produce: Produce<'_>, now: Now) {
        let Produce { batch, acks, deadline, sync_by, done } = produce;
        let outcome = match self.append(batch, acks, now) {
            Ok(outcome) => outcome,
            Err(error) => {
                done.complete(Err(self.or_retired(error.clone())));
                self.check_failed(&error);
                return;
            }
        };
        if acks == Acks::All && outcome.high_watermark < outcome.upto {
            self.park(ParkedProduce { upto: outcome.upto, deadline, appended: outcome.appended, done });
            if sync_by == SyncBy::Background {
                self.sync_in_background();
            }
        } else {
            done.complete(Ok(outcome.appended));
        }
        if outcome.has_committed {
            self.on_committed(outcome.high_watermark);
        } else if acks != Acks::All {
            // Nobody syncs on the producer's behalf: a reader who waits does.
            self.wake_readers();
        }
        match outcome.flush {
            FlushDue::No => {}
            FlushDue::WithinInterval => self.flush_within_interval(),
            FlushDue::Now => self.sync_in_background(),
        }
    }

    fn append(&self, batch: &mut BuiltBatch, acks: Acks, now: Now) -> Result<AppendOutcome> {
        let log = self.log()?;
        // Without the role's lock: an append that rolls may have to sync what was rolled before.
        let info = log.append_as_leader(batch, now)?;
        let upto = info.last_offset.next();
        let size = batch.size_in_bytes();
        let mut role = self.role.lock();
        let effects = match &mut role.leader {
            Some(leader) => leader.on_append(upto),
            None => LeaderEffects::default(),
        };
        // From here on the batch is in the log.
        apply(&log, effects).map_err(Error::in_doubt)?;
        role.unsynced_bytes += size as u64;
        let flush = role.flush_due(acks);
        let may_expire = role.retention.on_append(size as u64);
        drop(role);
        if may_expire {
            self.host.background.look_for_expired(now.mono);
        }
        self.host.counters.on_append(batch.count(), size);
        self.host.background.on_append(now.mono);
        Ok(AppendOutcome {
            appended: Appended { base_offset: info.first_offset, log_append_time: info.log_append_time },
            upto,
            high_watermark: effects.high_watermark.unwrap_or_else(|| log.high_watermark()),
            has_committed: effects.high_watermark.is_some(),
            flush,
        })
    }

    fn park(&self, parked: ParkedProduce) {
        if let Some(deadline) = parked.deadline {
            self.host.background.expire_at(deadline.at);
        }
        let refused = self.purgatory.lock().park_produce(parked);
        if let Err(refused) = refused {
            let (parked, error) = *refused;
            parked.done.complete(Err(error));
            return;
        }
        // A sync may have committed the batch between the append and here, and has told the readers; or it has failed.
        if let Some(log) = self.opened_log() {
            let high_watermark = log.high_watermark();
            let released = self.purgatory.lock().complete_produces_up_to(high_watermark);
            released.resolve(&Ok(()));
            if let Err(error) = log.check_online() {
                self.check_failed(&error);
            }
        }
    }

    /// Blocks until everything below `upto`, which was appended, is durable: leads the group commit, or waits for the one
    /// that covers it. Then what waited for it is resolved, or about to be by the thread that led.
    ///
    /// # Errors
    /// The failed sync's.
    pub(crate) fn sync_to(&self, upto: Offset) -> Result<()> {
        self.log()?;
        self.host.committer.sync_to(self, upto)?;
        let synced = self.synced();
        self.on_synced(synced)
    }

    /// Syncs everything that was appended before the call.
    ///
    /// # Errors
    /// The failed sync's.
    pub(crate) fn sync(&self) -> Result<()> {
        let end = self.log()?.log_end_offset();
        self.sync_to(end)
    }

    /// Syncs everything, if anything was ever appended, before the folder is closed.
    ///
    /// # Errors
    /// The failed sync's; also an earlier failure, since which the folder is in no state for a clean stop.
    pub(crate) fn sync_at_last(&self) -> Result<()> {
        let Some(log) = self.opened_log() else { return self.role.lock().open_failure.clone().map_or(Ok(()), Err) };
        self.sync()?;
        log.check_online()
    }

    /// Has the background sync what was appended.
    pub(crate) fn sync_in_background(&self) {
        if let Some(this) = self.this.upgrade() {
            self.host.background.sync(this);
        }
    }

    /// The time has come by which what nobody waits for is synced. The timer is disarmed first: an append that found it armed
    /// came before the sync begins.
    ///
    /// # Errors
    /// The failed sync's.
    pub(crate) fn on_flush_due(&self) -> Result<()> {
        self.role.lock().is_flush_armed = false;
        self.sync()
    }

    fn arm_flush(&self) {
        let was_armed = std::mem::replace(&mut self.role.lock().is_flush_armed, true);
        if !was_armed {
            self.flush_within_interval();
        }
    }

    fn flush_within_interval(&self) {
        if let Some(this) = self.this.upgrade() {
            self.host.background.flush_within_interval(this, self.host.clock.now().mono);
        }
    }

    fn on_synced(&self, synced: Offset) -> Result<()> {
        let Some(log) = self.opened_log() else { return Ok(()) };
        let mut role = self.role.lock();
        let effects = role.leader.as_mut().map(|leader| leader.on_synced(synced)).unwrap_or_default();
        let applied = apply(&log, effects);
        drop(role);
        match applied {
            Ok(()) => {
                if let Some(high_watermark) = effects.high_watermark {
                    self.on_committed(high_watermark);
                }
                Ok(())
            }
            Err(error) => {
                self.check_failed(&error);
                Err(error)
            }
        }
    }

    /// The high watermark is here now.
    fn on_committed(&self, high_watermark: Offset) {
        let released = {
            let mut purgatory = self.purgatory.lock();
            if purgatory.is_empty() {
                return;
            }
            purgatory.complete_up_to(high_watermark)
        };
        released.resolve(&Ok(()));
    }

    /// There is something to read once somebody has synced it.
    fn wake_readers(&self) {
        let released = {
            let mut purgatory = self.purgatory.lock();
            if purgatory.is_empty() {
                return;
            }
            purgatory.wake_fetches()
        };
        released.resolve(&Ok(()));
    }

    /// After a failure: if it took the log out of service, what waits to be committed never will be.
    fn check_failed(&self, error: &Error) {
        let is_offline = self.opened_log().is_some_and(|log| log.check_online().is_err());
        if is_offline {
            let released = self.purgatory.lock().fail();
            released.resolve(&Err(error.clone().in_doubt()));
        }
    }

    /// Why the partition is gone, if it is: its log, taken out of service under a call, only says that it was.
    pub(super) fn or_retired(&self, error: Error) -> Error {
        self.retired.get().cloned().unwrap_or(error)
    }

    /// Resolves what waits past its deadline; returns the next deadline.
    pub(crate) fn expire(&self, now: Instant) -> Option<Instant> {
        let (expired, next) = {
            let mut purgatory = self.purgatory.lock();
            (purgatory.expire(now), purgatory.next_deadline())
        };
        for (done, after) in expired {
            let waiting_for = "the acknowledgement of a batch, which may still be committed";
            done.complete(Err(Error::Timeout { waiting_for, after, written: Written::Maybe }));
        }
        next
    }

    /// The folder's checkpoint has synced the log, or failed to.
    pub(crate) fn on_checkpoint(&self) {
        let Some(log) = self.opened_log() else { return };
        let synced = log.synced_offset();
        let outcome = log.check_online().and_then(|()| self.on_synced(synced));
        let mut role = self.role.lock();
        if log.log_end_offset() <= synced {
            role.unsynced_bytes = 0;
        }
        drop(role);
        if let Err(error) = outcome {
            self.check_failed(&error);
        }
    }

    /// Bytes appended since the last sync began.
    pub(crate) fn unsynced_bytes(&self) -> u64 {
        self.role.lock().unsynced_bytes
    }

    /// Something is wrong in a way that no error told: whoever waits is told `error`, and nothing is appended any more.
    pub(crate) fn fail(&self, error: Error) {
        if let Some(log) = self.opened_log() {
            log.fail(&error);
        }
        let released = self.retire(error.clone());
        released.resolve(&Err(error));
    }

    /// Another configuration from now on. Who is released by that is to be told by the caller, once he holds no lock.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`]; those of the log.
    pub(crate) fn update_config(&self, config: LogConfig) -> Result<Released> {
        config.validate()?;
        let _token = self.opening.lock();
        let mut role = self.role.lock();
        role.config = config.clone();
        role.retention.look_again();
        let Some(log) = self.opened_log() else { return Ok(Released::default()) };
        let durability = config.get_durability();
        log.update_config(config)?;
        let effects = role.leader.as_mut().map(|leader| leader.on_durability(durability)).unwrap_or_default();
        apply(&log, effects)?;
        drop(role);
        Ok(match effects.high_watermark {
            Some(high_watermark) => self.purgatory.lock().complete_up_to(high_watermark),
            None => Released::default(),
        })
    }

    /// Takes the partition out of service: everybody who waits is to be told `error`, by the caller once he holds no lock.
    pub(crate) fn retire(&self, error: Error) -> Released {
        {
            let _token = self.opening.lock();
            // The first reason stays.
            let _ = self.retired.set(error.clone());
        }
        self.purgatory.lock().close(error)
    }
}

impl Role {
    /// Whether the background has to be told of an append.
    fn flush_due(&mut self, acks: Acks) -> FlushDue {
        if self.unsynced_bytes >= UNSYNCED_BYTES_MAX {
            return FlushDue::Now;
        }
        match (self.config.get_durability(), acks) {
            // Somebody waits, and so somebody syncs.
            (Durability::Synced, Acks::All) | (Durability::Os, _) => FlushDue::No,
            (Durability::Synced, Acks::Leader | Acks::None) if self.is_flush_armed => FlushDue::No,
            (Durability::Synced, Acks::Leader | Acks::None) => {
                self.is_flush_armed = true;
                FlushDue::WithinInterval
            }
        }
    }
}

/// Does what an event of the leader entails. The caller holds the role.
fn apply(log: &Log, effects: LeaderEffects) -> Result<()> {
    match effects.high_watermark {
        Some(high_watermark) => log.advance_high_watermark(high_watermark).map(|_moved| ()),
        None => Ok(()),
    }
}

impl Flush for HostedPartition {
    fn synced(&self) -> Offset {
        self.opened_log().map_or(Offset::ZERO, |log| log.synced_offset())
    }

    fn flush(&self) -> Result<Offset> {
        let log = self.log()?;
        self.role.lock().unsynced_bytes = 0;
        let (before, began) = (log.synced_offset(), self.host.clock.now().mono);
        let flushed = log.flush();
        match flushed {
            Ok(synced) => {
                if synced > before {
                    self.host.counters.on_sync(self.host.clock.now().mono.since(began));
                }
                self.on_synced(synced)?;
                Ok(synced)
            }
            Err(error) => {
                self.check_failed(&error);
                if log.check_online().is_ok() {
                    // For want of space: nothing is lost, and whoever waits goes on waiting for the next attempt.
                    self.arm_flush();
                }
                Err(error)
            }
        }
    }

    fn lane(&self) -> &CommitLane {
        &self.commit_lane
    }
}

impl FetchSource for HostedPartition {
    fn topic_partition(&self) -> &TopicPartition {
        &self.tp
    }

    fn offsets(&self) -> Result<PartitionOffsets> {
        let log = self.log()?;
        Ok(PartitionOffsets {
            log_start: log.log_start_offset(),
            last_stable: log.last_stable_offset(),
            high_watermark: log.high_watermark(),
        })
    }

    fn fetch(&self, from: Offset, limits: ReadLimits) -> Result<LogSlice> {
        self.log()?.read(from, limits).map_err(|error| self.or_retired(error))
    }

    fn fetch_after(&self, slice: &LogSlice, limits: ReadLimits) -> Result<LogSlice> {
        self.log()?.read_after(slice, limits).map_err(|error| self.or_retired(error))
    }

    fn aborted_transactions(&self, from: Offset, upper: Offset) -> Result<Vec<AbortedTransaction>> {
        self.log()?.aborted_transactions(from, upper).map_err(|error| self.or_retired(error))
    }

    fn list_offset(&self, spec: OffsetSpec, isolation: ReadIsolation) -> Result<Option<ListedOffset>> {
        self.log()?.list_offset(spec, isolation).map_err(|error| self.or_retired(error))
    }

    fn park(&self, signal: &Arc<Signal>, position: Offset, isolation: ReadIsolation) -> Result<Parked> {
        let log = self.log()?;
        self.purgatory.lock().park_fetch(signal)?;
        // Looked at only now: whatever comes later raises the signal.
        let offsets = self.offsets()?;
        if offsets.end_for(isolation) > position {
            return Ok(Parked::Ready);
        }
        if offsets.high_watermark == log.log_end_offset() {
            return Ok(Parked::Waiting);
        }
        // What is behind the high watermark of a log that failed is never committed: waiting for it would never end.
        log.check_online()?;
        Ok(Parked::Unsynced)
    }

    fn unpark(&self, signal: &Arc<Signal>) {
        self.purgatory.lock().forget_fetch(signal);
    }

    fn make_visible(&self) -> Result<()> {
        self.sync()
    }

    fn make_visible_later(&self) {
        self.sync_in_background();
    }

    fn on_read(&self, records: u64, bytes: u64) {
        self.host.counters.on_read(records, bytes);
    }
}
