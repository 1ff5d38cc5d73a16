//! [S] Appending: check a batch, give it offsets and a time, write it (Kafka: `LogValidator`, `UnifiedLog.append`).
//!
//! A batch in another codec than the topic's is compressed anew, before the lock. Order within an append, all under the log's
//! lock: check that the log takes writes, check the producer, roll if
//! needed, write the bytes, then update indexes, producers and epochs, then publish the new end. Producer state changes
//! only after the write: a failed append leaves no trace.

use std::sync::Arc;

use crate::config::LogConfig;
use crate::error::{Damage, Error, Result};
use crate::log::Log;
use crate::log::active::{ActiveSegment, AppendFailure, Incoming};
use crate::log::producer_snapshot;
use crate::log::producer_state::{BatchFacts, CompletedTransaction, ControlFacts, ProducerStates};
use crate::log::seal::FileSum;
use crate::log::sealing::EndSnapshot;
use crate::log::state::{Availability, LogState};
use crate::log::txn_index::AbortedTransaction;
use crate::record::{BatchHeader, BuiltBatch, Codec, ControlRecord, LEGACY, RecordBatch, TransactionOutcome};
use crate::sync::RankedGuard;
use crate::time::Now;
use crate::types::{LeaderEpoch, Offset, Timestamp, TimestampType};

/// Rolled segments that may wait for a flush; one more, and the append that rolls flushes them itself.
const SEALING_MAX: usize = 2;

/// What an append did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppendInfo {
    /// The offset of the first record.
    pub first_offset: Offset,
    /// The offset of the last record.
    pub last_offset: Offset,
    /// The epoch that the last batch carries.
    pub leader_epoch: Option<LeaderEpoch>,
    /// The largest timestamp of the records.
    pub max_timestamp: Option<Timestamp>,
    /// The time given to every record, where the topic says `LogAppendTime`.
    pub log_append_time: Option<Timestamp>,
    /// The log start offset at the time of the append.
    pub log_start: Offset,
    /// Whether the append began a new segment: the one before becomes durable with the next flush.
    pub rolled: bool,
}

impl Log {
    /// Appends one batch under the current leader epoch, giving its records the next offsets. The batch is stamped in
    /// place and may be inspected, or its buffer reused, afterwards. It is in the log file when this returns, so it
    /// survives the death of this process; it survives a power cut after a [`flush`](Log::flush).
    ///
    /// Our own batches were valid when they were built, and a client's bytes became a [`BuiltBatch`] by passing
    /// [`BuiltBatch::from_foreign`]: nothing is decoded here, unless the topic stores batches in another codec
    /// (`compression.type`). Such a batch is compressed anew on this thread, without holding others up; the limits are those
    /// on what is stored.
    ///
    /// # Errors
    /// - [`Error::InvalidState`] before [`begin_epoch`](Log::begin_epoch), or after close.
    /// - [`Error::FencedLeaderEpoch`] when batches of a newer leader were appended since.
    /// - [`Error::RecordTooLarge`], [`Error::InvalidTimestamp`]: the topic's limits; nothing was written.
    /// - [`Error::UnsupportedCodec`]: the topic's codec, in which the batch is not, is not built in; nothing was written.
    /// - [`Error::ProducerFenced`], [`Error::TransactionCoordinatorFenced`]: a marker from an old incarnation.
    /// - [`Error::OutOfSpace`]: undone; the log goes on taking writes.
    /// - [`Error::Io`]: the log is now offline; the batch may be in it or not.
    /// - [`Error::Offline`]: it was offline before.
    ///
    /// # Examples
    /// ```
    /// # use logstead::{log::LogDirectory, config::LogConfig, types::*, record::*, storage::MemStorage};
    /// # use logstead::time::{Clock, ManualClock};
    /// # let clock = ManualClock::new();
    /// # let directory = LogDirectory::options().storage(MemStorage::new()).open("/data")?;
    /// # let log = directory.open_log(&TopicPartition::new("orders", 0)?, None, LogConfig::new(), clock.now())?;
    /// log.begin_epoch(LeaderEpoch::ZERO)?;
    /// let mut builder = BatchBuilder::new(BatchOptions::default());
    /// builder.append(Some(clock.now().wall), Some(b"key"), Some(b"value"), &[])?;
    /// let mut batch = builder.build()?;
    /// let info = log.append_as_leader(&mut batch, clock.now())?;
    /// assert_eq!((info.first_offset, log.log_end_offset()), (Offset::from(0), Offset::from(1)));
    /// # Ok::<(), logstead::Error>(())
    /// ```
    pub fn append_as_leader(&self, batch: &mut BuiltBatch, now: Now) -> Result<AppendInfo> {
        let mut state = self.lock_for(batch)?;
        let epoch = state
            .leader_epoch
            .ok_or(Error::InvalidState { operation: "append", state: "no leader epoch was begun; call begin_epoch" })?;
        if let Some(latest) = state.epochs.latest().filter(|latest| latest.epoch > epoch) {
            // Batches of a newer leader were taken meanwhile.
            return Err(Error::FencedLeaderEpoch { tp: self.context.tp.clone(), given: epoch, current: latest.epoch });
        }
        // Under the lock, since the limits may change at any time.
        let log_append_time = check_and_date(batch, state.active.config(), now)?;
        let first_offset = state.log_end();
        if first_offset.checked_plus(u64::from(batch.count())).is_none_or(|end| end == Offset::MAX) {
            return Err(Error::InvalidState { operation: "append", state: "the offsets are exhausted" });
        }
        batch.stamp(first_offset, epoch);
        let header = *batch.header();
        let facts = facts_of(&header, batch.bytes())?;
        if let Some(facts) = &facts {
            state.producers.check_marker(&self.context.tp, facts)?;
        }
        let incoming = incoming(&header, 0);
        let rolled = state.active.should_roll(&incoming, now);
        if rolled {
            self.roll(&mut state, first_offset, now)?;
        }
        self.write_batches(&mut state, batch.bytes(), &[header])?;
        self.publish_end(&state);
        let log_start = state.log_start;
        let backlog = state.sealing.len() > SEALING_MAX;
        drop(state);
        if backlog {
            self.flush_backlog();
        }
        Ok(AppendInfo {
            first_offset,
            last_offset: header.last_offset(),
            leader_epoch: Some(epoch),
            max_timestamp: header.max_timestamp(),
            log_append_time,
            log_start,
            rolled,
        })
    }

    /// Takes the lock with the batch in the codec that the topic has then.
    fn lock_for(&self, batch: &mut BuiltBatch) -> Result<RankedGuard<'_, LogState>> {
        loop {
            let state = self.state.lock();
            state.check_writable(&self.context.tp)?;
            let wanted = Codec::of_topic(state.active.config()).filter(|codec| batch.differs_from(*codec));
            let Some(codec) = wanted else { return Ok(state) };
            drop(state);
            batch.recompress(codec)?;
        }
    }

    /// Appends batches that a leader gave their offsets and epochs, byte for byte. `bytes` are whole batches; the first
    /// must not start below the log's end.
    ///
    /// # Errors
    /// - [`Error::UnexpectedAppendOffset`]: the bytes do not continue this log.
    /// - [`Error::Corrupt`]: a checksum, offset or epoch is impossible; nothing was written.
    /// - [`Error::OutOfSpace`], [`Error::Io`], [`Error::Offline`]: as for [`append_as_leader`](Log::append_as_leader);
    ///   batches before the failing one stay.
    pub fn append_as_follower(&self, bytes: &[u8], now: Now) -> Result<AppendInfo> {
        let headers = parse_replicated(bytes)?;
        let (Some(first), Some(last)) = (headers.first(), headers.last()) else {
            return Err(Error::InvalidRecord { index: None, what: "there is no batch in the bytes" });
        };
        self.announce_gaps(&headers)?;
        let mut state = self.state.lock();
        state.check_writable(&self.context.tp)?;
        let log_end = state.log_end();
        if first.base_offset() < log_end {
            let tp = self.context.tp.clone();
            return Err(Error::UnexpectedAppendOffset { tp, first: first.base_offset(), log_end });
        }
        check_epochs(&state, &headers)?;
        let written = self.write_replicated(&mut state, bytes, &headers, now);
        // Also after a failure: the batches before the failing one are in the log.
        self.publish_end(&state);
        let rolled = written?;
        let log_start = state.log_start;
        let backlog = state.sealing.len() > SEALING_MAX;
        drop(state);
        if backlog {
            self.flush_backlog();
        }
        Ok(AppendInfo {
            first_offset: first.base_offset(),
            last_offset: last.last_offset(),
            leader_epoch: last.leader_epoch(),
            max_timestamp: headers.iter().filter_map(BatchHeader::max_timestamp).max(),
            log_append_time: None,
            log_start,
            rolled,
        })
    }

    /// That the log has offset gaps is durable before the first batch behind one is written: recovery would take that
    /// batch for a torn tail and cut it.
    fn announce_gaps(&self, headers: &[BatchHeader]) -> Result<()> {
        {
            let mut state = self.state.lock();
            let mut expected = state.log_end();
            let jumps = headers.iter().any(|header| {
                let jumps = header.base_offset() > expected;
                expected = header.next_offset();
                jumps
            });
            if !jumps || state.has_gaps {
                return Ok(());
            }
            state.check_writable(&self.context.tp)?;
            state.has_gaps = true;
            let durable = state.witness.durable();
            state.write_witness(&self.context, durable).inspect_err(|error| state.go_offline(error))?;
        }
        self.sync_witness()
    }

    /// Writes the longest runs of batches that fit a segment, rolling in between.
    fn write_replicated(&self, state: &mut LogState, bytes: &[u8], headers: &[BatchHeader], now: Now) -> Result<bool> {
        let (mut rolled, mut rest, mut waiting) = (false, bytes, headers);
        while let Some(first) = waiting.first() {
            if state.active.should_roll(&incoming(first, 0), now) {
                let base = first.base_offset().max(state.log_end());
                self.roll(state, base, now)?;
                rolled = true;
            }
            let (mut size, mut count) = (first.size_in_bytes(), 1);
            while let Some(next) = waiting.get(count) {
                if state.active.should_roll(&incoming(next, size as u64), now) {
                    break;
                }
                size += next.size_in_bytes();
                count += 1;
            }
            let (run, later) = rest.split_at_checked(size).unwrap_or((rest, &[]));
            let (run_headers, later_headers) = waiting.split_at_checked(count).unwrap_or((waiting, &[]));
            self.write_batches(state, run, run_headers)?;
            (rest, waiting) = (later, later_headers);
        }
        Ok(rolled)
    }

    /// Writes batches to the active segment and takes note of what they say.
    fn write_batches(&self, state: &mut LogState, bytes: &[u8], headers: &[BatchHeader]) -> Result<()> {
        let mut expected = state.log_end();
        match state.active.append(bytes, headers) {
            Ok(()) => {}
            Err(AppendFailure::Undone(error)) => return Err(error),
            Err(AppendFailure::Broken(error)) => {
                state.go_offline(&error);
                return Err(error);
            }
        }
        state.bytes_since_checkpoint = state.bytes_since_checkpoint.saturating_add(bytes.len() as u64);
        let mut rest = bytes;
        for header in headers {
            let (batch, later) = rest.split_at_checked(header.size_in_bytes()).unwrap_or((rest, &[]));
            state.has_gaps |= header.base_offset() != expected;
            expected = header.next_offset();
            self.after_write(state, header, batch).inspect_err(|error| state.go_offline(error))?;
            rest = later;
        }
        Ok(())
    }

    /// Takes note of one written batch: its epoch, and what it means for producers and transactions.
    fn after_write(&self, state: &mut LogState, header: &BatchHeader, batch: &[u8]) -> Result<()> {
        if let Some(epoch) = header.leader_epoch()
            && state.epochs.assign(epoch, header.base_offset())
        {
            state.epochs_version += 1;
        }
        let Some(facts) = facts_of(header, batch)? else { return Ok(()) };
        let Some(completed) = state.producers.update(&facts) else { return Ok(()) };
        if let Some(entry) = aborted_entry(&state.producers, &completed)
            && state.active.append_aborted(entry)?
        {
            state.names_created += 1;
        }
        state.producers.complete(&completed);
        Ok(())
    }

    /// Begins a new segment at `base_offset`. The one before is left to the next flush.
    pub(crate) fn roll(&self, state: &mut LogState, base_offset: Offset, now: Now) -> Result<()> {
        let snapshot = producer_snapshot::encode(&state.producers);
        state.has_gaps |= base_offset != state.log_end();
        let mut fresh = ActiveSegment::create(&self.context, state.active.config(), base_offset, now, &mut state.rng)?;
        fresh.set_snapshot(FileSum::of(&snapshot));
        state.names_created += 1;
        state.segments.push(fresh.segment().clone());
        let finished = std::mem::replace(&mut state.active, fresh);
        let snapshot = EndSnapshot { offset: base_offset, bytes: snapshot };
        let sealing = finished.into_sealing(snapshot).inspect_err(|error| state.go_offline(error))?;
        state.sealing.push(Arc::new(sealing));
        *self.published.lock() = state.publish();
        Ok(())
    }

    /// Flushes because too many rolled segments wait. The append that brought them about has succeeded whatever becomes of
    /// this: a failure is for those to hear who wait for the sync.
    fn flush_backlog(&self) {
        let _ = self.flush();
    }

    /// Lets readers see what was appended. Cheaper than a whole new snapshot.
    fn publish_end(&self, state: &LogState) {
        let last_stable = state.last_stable();
        let mut published = self.published.lock();
        if state.epochs.latest() != published.epochs.latest() {
            published.epochs = Arc::new(state.epochs.clone());
        }
        published.log_end = state.log_end();
        published.last_stable = last_stable;
        published.has_gaps = state.has_gaps;
    }

    /// Whether the log takes writes, and the first failure if it does not.
    pub fn check_online(&self) -> Result<()> {
        let state = self.state.lock();
        match &state.availability {
            Availability::Changing(_) => Ok(()),
            Availability::Open | Availability::Offline(_) | Availability::Closed(_) => {
                state.check_writable(&self.context.tp)
            }
        }
    }
}

/// Checks a batch against the topic's limits, and stamps it with the time where the topic says so.
fn check_and_date(batch: &mut BuiltBatch, config: &LogConfig, now: Now) -> Result<Option<Timestamp>> {
    let size = batch.size_in_bytes() as u64;
    let limits = [(config.get_batch_bytes_max(), "max.message.bytes"), (config.get_segment_bytes(), "segment.bytes")];
    if let Some((max, limit)) = limits.into_iter().find(|(max, _)| size > *max) {
        return Err(Error::RecordTooLarge { size, max, limit });
    }
    match config.get_timestamp_type() {
        TimestampType::LogAppendTime if !batch.header().is_control() => {
            batch.stamp_log_append_time(now.wall);
            Ok(Some(now.wall))
        }
        TimestampType::LogAppendTime | TimestampType::CreateTime => check_timestamps(batch, config, now).map(|()| None),
    }
}

/// A record's own time must be within the topic's distance from the wall clock (`message.timestamp.*.max.ms`).
fn check_timestamps(batch: &BuiltBatch, config: &LogConfig, now: Now) -> Result<()> {
    if batch.header().is_control() {
        return Ok(());
    }
    if batch.header().timestamp_type() == TimestampType::LogAppendTime {
        let what = "the batch is stamped with an append time, but the topic keeps create times";
        return Err(Error::InvalidRecord { index: None, what });
    }
    let millis = |limit: Option<std::time::Duration>| {
        limit.map_or(i64::MAX, |limit| i64::try_from(limit.as_millis()).unwrap_or(i64::MAX))
    };
    let wall = now.wall.as_millis();
    let earliest = Timestamp::from_millis(wall.saturating_sub(millis(config.get_timestamp_before_max())));
    let latest = Timestamp::from_millis(wall.saturating_add(millis(config.get_timestamp_after_max())));
    let bounds = [batch.min_timestamp(), batch.max_timestamp()];
    match bounds.into_iter().flatten().find(|timestamp| *timestamp < earliest || *timestamp > latest) {
        Some(timestamp) => Err(Error::InvalidTimestamp { index: None, timestamp, earliest, latest }),
        None => Ok(()),
    }
}

fn incoming(header: &BatchHeader, bytes_before: u64) -> Incoming {
    Incoming {
        bytes_before,
        size: header.size_in_bytes() as u64,
        last_offset: header.last_offset(),
        max_timestamp: header.max_timestamp(),
    }
}

/// The headers of replicated batches, each checked as far as it can be without the log.
fn parse_replicated(bytes: &[u8]) -> Result<Vec<BatchHeader>> {
    let (mut headers, mut rest, mut position) = (Vec::new(), bytes, 0u64);
    let mut expected = Offset::ZERO;
    while !rest.is_empty() {
        let at = |error: Error| match error {
            Error::Corrupt(mut corrupt) => {
                corrupt.position = corrupt.position.saturating_add(position);
                Error::Corrupt(corrupt)
            }
            other => other,
        };
        let header = BatchHeader::parse(rest).map_err(at)?;
        if header.is_legacy() {
            return Err(Error::InvalidRecord { index: None, what: LEGACY });
        }
        let (batch, later) = rest.split_at_checked(header.size_in_bytes()).ok_or_else(|| {
            let needed = header.size_in_bytes() as u64;
            Error::corrupt(position, Damage::Truncated { needed, available: rest.len() as u64 })
        })?;
        header.verify_crc(batch).map_err(at)?;
        if header.base_offset() < expected {
            let found = header.base_offset().get();
            return Err(Error::corrupt(position, Damage::Offset { expected, found }));
        }
        // A marker that cannot be understood must not get into the log.
        facts_of(&header, batch).map_err(at)?;
        expected = header.next_offset();
        position += batch.len() as u64;
        headers.push(header);
        rest = later;
    }
    Ok(headers)
}

/// Leader epochs never fall.
fn check_epochs(state: &LogState, headers: &[BatchHeader]) -> Result<()> {
    let mut latest = state.epochs.latest().map(|entry| entry.epoch);
    for header in headers {
        let found = header.leader_epoch();
        if found < latest {
            return Err(Error::corrupt(12, Damage::LeaderEpoch { expected: latest, found }));
        }
        latest = found;
    }
    Ok(())
}

/// What the transaction index says of a transaction whose marker was just seen; `None` for a committed one. Ask before the
/// transaction is completed in `producers`.
pub(crate) fn aborted_entry(
    producers: &ProducerStates,
    completed: &CompletedTransaction,
) -> Option<AbortedTransaction> {
    completed.aborted.then(|| AbortedTransaction {
        producer_id: completed.producer_id,
        first_offset: completed.first_offset,
        last_offset: completed.last_offset,
        last_stable_offset: producers.last_stable_offset_after(completed),
    })
}

/// What the producer state must know of a batch; `None` for a batch without a producer.
pub(crate) fn facts_of(header: &BatchHeader, batch: &[u8]) -> Result<Option<BatchFacts>> {
    let Some(producer) = header.producer() else { return Ok(None) };
    let control = if header.is_control() { end_transaction(batch)? } else { None };
    Ok(Some(BatchFacts {
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        base_sequence: header.base_sequence(),
        last_sequence: header.last_sequence(),
        base_offset: header.base_offset(),
        last_offset: header.last_offset(),
        max_timestamp: header.max_timestamp(),
        is_transactional: header.is_transactional(),
        control,
    }))
}

/// The marker in a control batch; `None` for control records that end no transaction.
fn end_transaction(batch: &[u8]) -> Result<Option<ControlFacts>> {
    // Kafka does not compress markers, but reads those that are.
    let batch = RecordBatch::from_checked_bytes(batch)?;
    let Some(record) = batch.records().next() else { return Ok(Some(ControlFacts::Other)) };
    let control = ControlRecord::parse(record.key(), record.value())?;
    Ok(match control {
        ControlRecord::EndTransaction { outcome, coordinator_epoch } => Some(ControlFacts::EndTransaction {
            outcome_is_abort: outcome == TransactionOutcome::Abort,
            coordinator_epoch,
        }),
        _ => Some(ControlFacts::Other),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Compression, EndTransactionMarker};
    use crate::types::{ProducerEpoch, ProducerId};

    #[test]
    fn a_marker_says_the_same_when_it_is_compressed() {
        let marker = EndTransactionMarker { outcome: TransactionOutcome::Abort, coordinator_epoch: 7 };
        let mut marker = marker.to_batch(ProducerId::ZERO, ProducerEpoch::ZERO, Timestamp::from_millis(5));
        let plain = facts_of(marker.header(), marker.bytes()).unwrap().unwrap();
        assert!(matches!(plain.control, Some(ControlFacts::EndTransaction { outcome_is_abort: true, .. })));
        marker.recompress(Compression::Gzip.into()).unwrap();
        assert_eq!(facts_of(marker.header(), marker.bytes()).unwrap(), Some(plain));
    }
}
