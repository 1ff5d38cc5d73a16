//! Runs a script's steps against a disk and notes what the engine acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use logstead::config::{Durability, LogConfig};
use logstead::error::Written;
use logstead::log::{FlushTicket, Log, LogDirectory, RetentionClock};
use logstead::record::{
    BatchBuilder, BatchOptions, BuiltBatch, EndTransactionMarker, ProducerStamp, TransactionOutcome,
};
use logstead::storage::{Fault, MemStorage, OperationKind};
use logstead::sync::{Committer, CommitterConfig};
use logstead::time::{Clock, ManualClock};
use logstead::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TopicPartition};
use logstead::{Error, Result};

use crate::check::{self, inspect};
use crate::lying::{Disk, Lie};
use crate::model::{Batch, Expected, Keep, Replay};

/// One call, or a few that belong together. The first number is the log.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    OpenDirectory,
    Open(usize),
    Lead(usize, i32),
    /// A batch of this many records without a producer.
    Append(usize, usize),
    /// A batch of the producer with this id.
    Produce(usize, i64),
    /// A batch of a transaction of the producer with this id.
    Transact(usize, i64),
    Commit(usize, i64),
    Abort(usize, i64),
    /// As a follower, this many batches of one leader epoch in one call.
    Follow(usize, i32, usize),
    Flush(usize),
    /// A flush with an append between its beginning and its end.
    FlushAcrossAppend(usize),
    /// The high watermark moves to the end, or as far as it may.
    Advance(usize),
    /// Cuts this many offsets from the end.
    TruncateBy(usize, i64),
    StartAt(usize, i64),
    DeleteBefore(usize, i64),
    /// The oldest segments go, as long as this many bytes are left.
    Retain(usize, u64),
    /// The files of what was deleted go.
    RemoveDue,
    GroupCommit(Vec<usize>),
    Checkpoint,
    Close,
    /// The next call of this kind on a path that ends like this fails, with EIO or for want of space.
    Fail(OperationKind, &'static str, std::io::ErrorKind),
    /// The step inside fails.
    Refused(Box<Step>),
}

/// A script and the configuration that it runs with.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) name: &'static str,
    pub(crate) logs: usize,
    pub(crate) segment_bytes: u64,
    pub(crate) durability: Durability,
    pub(crate) steps: Vec<Step>,
}

impl Script {
    pub(crate) fn config(&self) -> LogConfig {
        LogConfig::new().segment_bytes(self.segment_bytes).index_interval_bytes(100).durability(self.durability)
    }
}

/// What happens when a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnError {
    /// The process is dead.
    Stop,
    /// The owner opens again what went offline, and goes on.
    GoOn,
}

/// A process that runs a script.
pub(crate) struct Session<'a> {
    script: &'a Script,
    pub(crate) disk: MemStorage,
    lie: Lie,
    on_error: OnError,
    clock: ManualClock,
    directory: Option<LogDirectory>,
    logs: BTreeMap<usize, Arc<Log>>,
    /// Whether a sync of a folder is made to fail, which leaves names in doubt for ever.
    pub(crate) names_in_doubt: bool,
    pub(crate) expected: Vec<Expected>,
    written: u64,
}

pub(crate) fn partition(log: usize) -> TopicPartition {
    TopicPartition::new("crash", i32::try_from(log).unwrap()).unwrap()
}

pub(crate) fn open_directory(disk: Disk) -> Result<LogDirectory> {
    LogDirectory::options().storage(disk).seed(7).open("/data")
}

pub(crate) fn offset(raw: i64) -> Offset {
    Offset::new(raw).unwrap()
}

fn epoch(raw: i32) -> LeaderEpoch {
    LeaderEpoch::new(raw).unwrap()
}

fn is_witness_failure(error: &Error) -> bool {
    matches!(error, Error::Io { operation: "sync", path, .. } if path.ends_with("logstead.witness"))
}

impl<'a> Session<'a> {
    pub(crate) fn new(script: &'a Script, disk: MemStorage, lie: Lie, on_error: OnError) -> Session<'a> {
        Session {
            script,
            disk,
            lie,
            on_error,
            clock: ManualClock::new(),
            directory: None,
            logs: BTreeMap::new(),
            names_in_doubt: false,
            expected: vec![Expected::default(); script.logs],
            written: 0,
        }
    }

    /// Runs the script to its end, or until the process dies. The error is a broken promise.
    pub(crate) fn run(&mut self) -> std::result::Result<(), String> {
        for (index, step) in self.script.steps.iter().enumerate() {
            let place = |what: String| format!("step {index} {step:?}: {what}");
            let result = self.step(step);
            if self.disk.is_stopped() {
                return Ok(());
            }
            match (result, self.on_error) {
                (Ok(()), _) => {}
                (Err(Failure::Broken(what)), _) => return Err(place(what)),
                (Err(Failure::Error(error)), OnError::Stop) => return Err(place(error.to_string())),
                (Err(Failure::Error(error)), OnError::GoOn) => {
                    if matches!(error, Error::Internal { .. } | Error::Corrupt(_)) {
                        return Err(place(format!("a fault showed itself as {error}")));
                    }
                    self.repair(step).map_err(place)?;
                }
            }
        }
        Ok(())
    }

    /// Gives the folder up and opens it and its logs again.
    fn own_anew(&mut self) -> std::result::Result<(), String> {
        let not_repaired = |failure: Failure| format!("not repaired: {failure:?}");
        let opened: Vec<usize> = (0..self.script.logs).filter(|log| self.expected[*log].was_opened).collect();
        let led: BTreeMap<usize, i32> =
            self.logs.iter().filter_map(|(log, open)| Some((*log, open.leader_epoch()?.get()))).collect();
        self.logs.clear();
        self.directory = None;
        self.step(&Step::OpenDirectory).map_err(not_repaired)?;
        for log in opened {
            self.step(&Step::Open(log)).map_err(not_repaired)?;
            let epochs = self.logs[&log].epochs();
            let latest = epochs.latest().map(|latest| latest.epoch.get());
            if let Some(epoch) = led.get(&log).copied().or(latest) {
                self.step(&Step::Lead(log, epoch)).map_err(not_repaired)?;
            }
        }
        Ok(())
    }

    /// After a failure: opens again what is closed or offline, as its owner would.
    fn repair(&mut self, step: &Step) -> std::result::Result<(), String> {
        if self.directory.is_none() {
            self.logs.clear();
            match step {
                Step::Close => return Ok(()),
                _ => self.step(&Step::OpenDirectory).map_err(|failure| format!("not repaired: {failure:?}"))?,
            }
        }
        let offline: Vec<usize> = (0..self.script.logs)
            .filter(|log| self.expected[*log].was_opened)
            .filter(|log| self.logs.get(log).is_none_or(|log| log.check_online().is_err()))
            .collect();
        for log in offline {
            let led = self.logs.remove(&log).and_then(|log| log.leader_epoch());
            match self.step(&Step::Open(log)) {
                Ok(()) => {}
                // The witness, which all logs share, is in doubt: only a new owner of the folder writes it anew.
                Err(Failure::Error(error)) if is_witness_failure(&error) => return self.own_anew(),
                Err(failure) => return Err(format!("not repaired: {failure:?}")),
            }
            if let Some(epoch) = led {
                self.step(&Step::Lead(log, epoch.get())).map_err(|failure| format!("not repaired: {failure:?}"))?;
            }
        }
        if let Step::Lead(log, epoch) = step
            && self.logs[log].leader_epoch().is_none()
        {
            self.step(&Step::Lead(*log, *epoch)).map_err(|failure| format!("not repaired: {failure:?}"))?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> std::result::Result<(), Failure> {
        let now = self.clock.now();
        match step {
            Step::OpenDirectory => {
                let disk = Disk { inner: self.disk.clone(), lie: self.lie };
                let directory = open_directory(disk)?;
                check::directory_report(&directory)?;
                self.directory = Some(directory);
            }
            Step::Open(log) => {
                self.expected[*log].was_opened = true;
                let Some(directory) = &self.directory else { return Ok(()) };
                let opened = directory.open_log(&partition(*log), None, self.script.config(), now)?;
                let found = inspect(&opened, &self.expected[*log], Keep::Everything)?;
                self.expected[*log].settle(&found);
                self.logs.insert(*log, opened);
            }
            Step::Lead(log, raw) => {
                self.expected[*log].begun.insert(*raw);
                self.log(*log).begin_epoch(epoch(*raw))?;
            }
            Step::Append(log, records) => self.append(*log, self.batch(*log, *records, None, false))?,
            Step::Produce(log, id) => self.append(*log, self.batch(*log, 2, Some(*id), false))?,
            Step::Transact(log, id) => self.append(*log, self.batch(*log, 1, Some(*id), true))?,
            Step::Commit(log, id) => self.append(*log, marker(*id, TransactionOutcome::Commit, now.wall))?,
            Step::Abort(log, id) => self.append(*log, marker(*id, TransactionOutcome::Abort, now.wall))?,
            Step::Follow(log, epoch, count) => self.follow(*log, *epoch, *count)?,
            Step::Flush(log) => {
                let upto = self.log(*log).flush()?;
                self.acknowledge(*log, upto)?;
            }
            Step::FlushAcrossAppend(log) => self.flush_across_append(*log)?,
            Step::Advance(log) => {
                let end = self.log(*log).log_end_offset();
                self.expected[*log].high_watermark.1 = end.get();
                let reached = self.log(*log).advance_high_watermark(end)?;
                self.expected[*log].high_watermark.0 = reached.get();
            }
            Step::TruncateBy(log, count) => self.truncate(*log, self.expected[*log].end() - count)?,
            Step::StartAt(log, at) => self.start_at(*log, *at)?,
            Step::DeleteBefore(log, before) => {
                self.expected[*log].start.1 = *before;
                let start = self.log(*log).delete_before(offset(*before))?;
                self.expected[*log].start.0 = start.get();
            }
            Step::Retain(log, bytes) => self.retain(*log, *bytes)?,
            Step::RemoveDue => {
                if let Some(directory) = &self.directory {
                    directory.remove_due(now)?;
                    self.clock.advance(self.script.config().get_file_delete_delay());
                    directory.remove_due(self.clock.now())?;
                }
            }
            Step::GroupCommit(logs) => {
                let committer = Committer::new(CommitterConfig::default());
                for log in logs {
                    let upto = self.log(*log).log_end_offset();
                    committer.sync_to(&*self.log(*log), upto)?;
                    self.acknowledge(*log, upto)?;
                }
            }
            Step::Checkpoint => {
                if let Some(directory) = &self.directory {
                    directory.checkpoint()?;
                }
                for log in 0..self.script.logs {
                    if let Some(upto) = self.logs.get(&log).map(|log| log.synced_offset()) {
                        self.acknowledge(log, upto)?;
                    }
                }
            }
            Step::Close => self.close()?,
            Step::Fail(kind, suffix, error) => {
                let fault = Fault::nth(0).of_kind(*kind).on_paths_ending_with(suffix);
                self.disk.fail(match error {
                    std::io::ErrorKind::Other => fault,
                    other => fault.with_error_kind(*other),
                });
            }
            Step::Refused(step) => match self.step(step) {
                // Another fault may have come first, and what was to fail here has been dealt with.
                Ok(()) if self.on_error == OnError::GoOn => {}
                Ok(()) => return Err(Failure::Broken("it was not refused".into())),
                Err(Failure::Error(_)) => {}
                Err(broken @ Failure::Broken(_)) => return Err(broken),
            },
        }
        Ok(())
    }

    fn retain(&mut self, log: usize, bytes: u64) -> std::result::Result<(), Failure> {
        let target = self.log(log);
        target.update_config(self.script.config().retention_time(None).retention_bytes(Some(bytes)))?;
        // Until the call returns, anything that is committed may be gone.
        self.expected[log].start.1 = target.high_watermark().get();
        let at = RetentionClock::new(Duration::ZERO).look(self.clock.now());
        let start = target.apply_retention(at)?.log_start.get();
        self.expected[log].start = (start, start);
        Ok(())
    }

    fn log(&self, log: usize) -> Arc<Log> {
        Arc::clone(&self.logs[&log])
    }

    fn batch(&self, log: usize, records: usize, producer: Option<i64>, transactional: bool) -> BuiltBatch {
        let sequence = |id| Sequence::new(Replay::of(&self.expected[log].history).next_sequence(id));
        let producer = producer.map(|id| ProducerStamp {
            id: ProducerId::new(id).unwrap(),
            epoch: ProducerEpoch::ZERO,
            base_sequence: sequence(id),
        });
        let mut builder = BatchBuilder::new(BatchOptions { producer, transactional, ..BatchOptions::default() });
        for record in 0..records {
            let value = format!("log {log} batch {} record {record} {:->70}", self.written, "");
            builder.append(Some(self.clock.now().wall), None, Some(value.as_bytes()), &[]).unwrap();
        }
        builder.build().unwrap()
    }

    fn append(&mut self, log: usize, mut batch: BuiltBatch) -> std::result::Result<(), Failure> {
        self.written += 1;
        self.clock.advance(std::time::Duration::from_millis(1));
        let target = self.log(log);
        let at = target.log_end_offset();
        if let Some(epoch) = target.leader_epoch() {
            batch.stamp(at, epoch);
            self.expected[log].attempted = vec![Batch::parse(batch.bytes())];
        }
        let result = target.append_as_leader(&mut batch, self.clock.now());
        self.appended(log, at, result.map(|info| info.last_offset.next()))
    }

    fn follow(&mut self, log: usize, raw: i32, count: usize) -> std::result::Result<(), Failure> {
        let target = self.log(log);
        target.end_epoch();
        let at = target.log_end_offset();
        let (mut bytes, mut next, mut attempted) = (Vec::new(), at, Vec::new());
        for _ in 0..count {
            self.written += 1;
            let mut batch = self.batch(log, 2, None, false);
            batch.stamp(next, epoch(raw));
            next = batch.header().next_offset();
            bytes.extend_from_slice(batch.bytes());
            attempted.push(Batch::parse(batch.bytes()));
        }
        self.expected[log].begun.insert(raw);
        self.expected[log].attempted = attempted;
        let result = target.append_as_follower(&bytes, self.clock.now());
        self.appended(log, at, result.map(|info| info.last_offset.next()))
    }

    /// Notes what an append did. After a definite failure nothing of it is ever seen.
    fn appended(&mut self, log: usize, at: Offset, result: Result<Offset>) -> std::result::Result<(), Failure> {
        let (end, is_leader) = (self.log(log).log_end_offset(), self.log(log).leader_epoch().is_some());
        let expected = &mut self.expected[log];
        match result {
            Ok(next) => {
                expected.history.append(&mut expected.attempted);
                expected.appended = next.get();
                if self.lie == Lie::Acknowledge {
                    expected.synced = next.get();
                }
                check::same("the end after an append", end, next)?;
                Ok(())
            }
            Err(error) => {
                let is_online = self.logs[&log].check_online().is_ok();
                if is_online || error.written() == Written::No {
                    // The log knows where it ends: a follower's batches before the failing one stay, of one batch nothing.
                    expected.attempted.retain(|batch| batch.next() <= end.get());
                    expected.history.append(&mut expected.attempted);
                    expected.appended = end.get();
                    if is_leader {
                        check::same("the end after an append that wrote nothing", end, at)?;
                    }
                }
                Err(error.into())
            }
        }
    }

    fn flush_across_append(&mut self, log: usize) -> std::result::Result<(), Failure> {
        let target = self.log(log);
        let ticket: FlushTicket = target.begin_flush()?;
        self.append(log, self.batch(log, 1, None, false))?;
        let result = ticket.run();
        let upto = target.complete_flush(ticket, result)?;
        self.acknowledge(log, upto)
    }

    fn acknowledge(&mut self, log: usize, upto: Offset) -> std::result::Result<(), Failure> {
        let expected = &mut self.expected[log];
        if upto.get() > expected.end() {
            return Err(Failure::Broken(format!("{upto} is acknowledged in a log that ends at {}", expected.end())));
        }
        expected.synced = expected.synced.max(upto.get());
        Ok(())
    }

    fn truncate(&mut self, log: usize, target: i64) -> std::result::Result<(), Failure> {
        let expected = &mut self.expected[log];
        let end = expected.end_below(target);
        expected.synced = expected.synced.min(end);
        expected.appended = expected.appended.min(end);
        expected.high_watermark.0 = expected.high_watermark.0.min(end);
        let truncated = self.log(log).truncate_to(offset(target), self.clock.now())?;
        check::same("the end after a truncation", truncated.log_end.get(), end)?;
        let expected = &mut self.expected[log];
        expected.attempted.clear();
        expected.history.retain(|batch| batch.next() <= end);
        expected.high_watermark.1 = expected.high_watermark.0;
        Ok(())
    }

    fn start_at(&mut self, log: usize, at: i64) -> std::result::Result<(), Failure> {
        let expected = &mut self.expected[log];
        (expected.synced, expected.appended) = (0, 0);
        expected.high_watermark = (0, at.max(expected.high_watermark.1));
        expected.start = (expected.start.0.min(at), expected.start.1.max(at));
        expected.may_be_empty = true;
        self.log(log).truncate_fully_and_start_at(offset(at), self.clock.now())?;
        let expected = &mut self.expected[log];
        expected.history.clear();
        expected.attempted.clear();
        (expected.synced, expected.appended) = (at, at);
        expected.start = (at, at);
        expected.high_watermark = (at, at);
        expected.may_be_empty = false;
        Ok(())
    }

    fn close(&mut self) -> std::result::Result<(), Failure> {
        let Some(directory) = self.directory.take() else { return Ok(()) };
        let logs = std::mem::take(&mut self.logs);
        let online: Vec<usize> = logs.keys().copied().filter(|log| logs[log].check_online().is_ok()).collect();
        directory.close()?;
        for log in &online {
            let end = self.expected[*log].end();
            self.expected[*log].synced = end;
        }
        if check::is_marked_clean(&self.disk) && !self.names_in_doubt {
            check::nothing_is_pending(&self.disk)?;
        }
        Ok(())
    }
}

/// Why a step did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The engine said so.
    Error(Error),
    /// The engine broke a promise.
    Broken(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Error(error)
    }
}

impl From<String> for Failure {
    fn from(what: String) -> Failure {
        Failure::Broken(what)
    }
}

fn marker(id: i64, outcome: TransactionOutcome, time: logstead::types::Timestamp) -> BuiltBatch {
    EndTransactionMarker { outcome, coordinator_epoch: 3 }.to_batch(
        ProducerId::new(id).unwrap(),
        ProducerEpoch::ZERO,
        time,
    )
}
