//! What a log must hold: the batches that were written, how far they were acknowledged, and what follows from them.
//!
//! The replay is written from the format's description alone, so that it disagrees when the engine is wrong.

use std::collections::{BTreeMap, BTreeSet};

use logstead::log::AbortedTransaction;
use logstead::record::{BatchHeader, ControlRecord, RecordBatchRef, TransactionOutcome};
use logstead::types::{LeaderEpoch, Offset, ProducerId, TopicId};

/// One batch as it was written.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) header: BatchHeader,
    pub(crate) bytes: Vec<u8>,
}

impl Batch {
    pub(crate) fn parse(bytes: &[u8]) -> Batch {
        Batch { header: BatchHeader::parse(bytes).unwrap(), bytes: bytes.to_vec() }
    }

    pub(crate) fn next(&self) -> i64 {
        self.header.next_offset().get()
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (base, crc) = (self.header.base_offset(), self.header.crc());
        write!(f, "[{base}..{} epoch {:?} {crc:08x}]", self.next(), self.header.leader_epoch().map(LeaderEpoch::get))
    }
}

/// What may be lost, and what may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// The process was killed: everything that a call returned for is there.
    Everything,
    /// The power went: everything that was acknowledged as synced is there.
    Synced,
}

/// What is owed by one log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expected {
    /// Whether opening it was tried: only then it may exist.
    pub(crate) was_opened: bool,
    /// Its topic's id, once opening it succeeded.
    pub(crate) topic_id: Option<TopicId>,
    /// Every batch whose append returned, the deleted ones included, in order.
    pub(crate) history: Vec<Batch>,
    /// Batches whose append did not return, or failed without saying whether it had an effect. They follow `history`.
    pub(crate) attempted: Vec<Batch>,
    /// Everything below was acknowledged as synced, and nobody has asked to cut it since.
    pub(crate) synced: i64,
    /// Everything below was appended, and nobody has asked to cut it since.
    pub(crate) appended: i64,
    /// The log start that is promised, and the one that was asked for last.
    pub(crate) start: (i64, i64),
    /// The high watermark that was returned, and the highest that was asked for.
    pub(crate) high_watermark: (i64, i64),
    /// Whether the log was told to start anew, and the call has not returned: it may be found empty.
    pub(crate) may_be_empty: bool,
    /// Whether the producers of a log that was found empty may be those of before or none.
    pub(crate) unsure_of_producers: bool,
    /// Every epoch that was begun.
    pub(crate) begun: BTreeSet<i32>,
}

impl Expected {
    /// Where the history ends.
    pub(crate) fn end(&self) -> i64 {
        self.history.last().map_or(self.start.0, Batch::next)
    }

    /// The end of the last batch that lies wholly below `target`.
    pub(crate) fn end_below(&self, target: i64) -> i64 {
        self.history.iter().map(Batch::next).take_while(|next| *next <= target).last().unwrap_or(0)
    }

    /// What the log was found to hold is what it owes from here on: recovery makes durable what it keeps.
    pub(crate) fn settle(&mut self, found: &Found) {
        let mut all = std::mem::take(&mut self.history);
        all.append(&mut self.attempted);
        all.retain(|batch| batch.next() <= found.log_end);
        let is_emptied = found.log_start == found.log_end && self.may_be_empty;
        self.unsure_of_producers |= is_emptied;
        self.history = if is_emptied { Vec::new() } else { all };
        self.topic_id = Some(found.topic_id);
        (self.synced, self.appended) = (found.log_end, found.log_end);
        self.start = (found.log_start, found.log_start);
        self.high_watermark = (found.high_watermark, found.high_watermark);
        self.may_be_empty = false;
    }
}

/// What a log was found to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) topic_id: TopicId,
    pub(crate) log_start: i64,
    pub(crate) log_end: i64,
    pub(crate) high_watermark: i64,
    pub(crate) batches: Vec<Batch>,
}

/// What follows from the batches of a log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Replay {
    pub(crate) producers: BTreeMap<i64, ProducerFacts>,
    pub(crate) aborted: Vec<AbortedTransaction>,
    /// First offset and marker of each transaction; no marker while it is open.
    pub(crate) transactions: Vec<(i64, Option<i64>)>,
}

/// One producer's line of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProducerFacts {
    epoch: i16,
    last_sequence: i32,
    last_offset: i64,
    offset_delta: i32,
    timestamp: i64,
    coordinator_epoch: i32,
    transaction: i64,
}

impl Replay {
    pub(crate) fn of(batches: &[Batch]) -> Replay {
        let mut replay = Replay::default();
        for batch in batches {
            replay.take(batch);
        }
        replay
    }

    fn take(&mut self, batch: &Batch) {
        let header = &batch.header;
        let Some(producer) = header.producer() else { return };
        let fresh = ProducerFacts {
            epoch: producer.epoch.get(),
            last_sequence: -1,
            last_offset: -1,
            offset_delta: 0,
            timestamp: -1,
            coordinator_epoch: -1,
            transaction: -1,
        };
        let facts = self.producers.entry(producer.id.get()).or_insert(fresh);
        facts.timestamp = header.max_timestamp().map_or(-1, |time| time.as_millis());
        if header.is_control() {
            let view = RecordBatchRef::from_bytes(&batch.bytes).unwrap();
            let record = view.records().next().unwrap();
            let ControlRecord::EndTransaction { outcome, coordinator_epoch } =
                ControlRecord::parse(record.key(), record.value()).unwrap()
            else {
                return;
            };
            facts.coordinator_epoch = coordinator_epoch;
            let first = std::mem::replace(&mut facts.transaction, -1);
            self.end(producer.id, first, header.last_offset().get(), outcome);
            return;
        }
        facts.last_sequence = header.last_sequence().unwrap().get();
        facts.last_offset = header.last_offset().get();
        facts.offset_delta = header.last_offset_delta();
        if header.is_transactional() && facts.transaction < 0 {
            facts.transaction = header.base_offset().get();
            self.transactions.push((facts.transaction, None));
        }
    }

    fn end(&mut self, producer_id: ProducerId, first: i64, marker: i64, outcome: TransactionOutcome) {
        let Some(transaction) = self.transactions.iter_mut().find(|(offset, _)| *offset == first) else { return };
        transaction.1 = Some(marker);
        if outcome == TransactionOutcome::Abort {
            let open = self.transactions.iter().filter(|(_, marker)| marker.is_none()).map(|(first, _)| *first);
            let offset = |raw| Offset::new(raw).unwrap();
            self.aborted.push(AbortedTransaction {
                producer_id,
                first_offset: offset(first),
                last_offset: offset(marker),
                last_stable_offset: offset(open.min().unwrap_or(marker + 1)),
            });
        }
    }

    /// The sequence that a producer uses next.
    pub(crate) fn next_sequence(&self, producer_id: i64) -> i32 {
        self.producers.get(&producer_id).map_or(0, |facts| facts.last_sequence + 1)
    }

    /// The least and the greatest last stable offset that are right. A transaction whose marker is not committed yet may
    /// hold it back, as long as the log has not forgotten it.
    pub(crate) fn last_stable(&self, high_watermark: i64) -> (i64, i64) {
        let first = |filter: fn(i64, Option<i64>) -> bool| {
            let undecided = self.transactions.iter().filter(|(_, marker)| filter(high_watermark, *marker));
            undecided.map(|(first, _)| *first).min().unwrap_or(high_watermark).min(high_watermark)
        };
        let unreplicated = first(|high_watermark, marker| marker.is_none_or(|marker| marker >= high_watermark));
        (unreplicated, first(|_, marker| marker.is_none()))
    }
}

/// Reads a producer snapshot: version, checksum, count, then entries of 46 bytes.
pub(crate) fn read_snapshot(bytes: &[u8]) -> BTreeMap<i64, ProducerFacts> {
    let entries = bytes[10..].chunks_exact(46).map(|entry| {
        let facts = ProducerFacts {
            epoch: i16::from_be_bytes(entry[8..10].try_into().unwrap()),
            last_sequence: i32::from_be_bytes(entry[10..14].try_into().unwrap()),
            last_offset: i64::from_be_bytes(entry[14..22].try_into().unwrap()),
            offset_delta: i32::from_be_bytes(entry[22..26].try_into().unwrap()),
            timestamp: i64::from_be_bytes(entry[26..34].try_into().unwrap()),
            coordinator_epoch: i32::from_be_bytes(entry[34..38].try_into().unwrap()),
            transaction: i64::from_be_bytes(entry[38..46].try_into().unwrap()),
        };
        (i64::from_be_bytes(entry[..8].try_into().unwrap()), facts)
    });
    entries.collect()
}
