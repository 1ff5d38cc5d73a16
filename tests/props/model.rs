//! What a log should hold, as a `Vec` of batches: everything is recomputed from it, nothing is kept up to date.

use logstead::log::{AbortedTransaction, EpochCache, EpochEntry, OffsetIndexEntry, TimeIndexEntry};
use logstead::record::BatchHeader;
use logstead::types::{LeaderEpoch, Offset, ProducerId, Timestamp};

/// One record as a reader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModelRecord {
    pub(crate) timestamp: Option<Timestamp>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

/// What a batch means for transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Plain,
    /// Data of a transaction of this producer.
    Data(ProducerId),
    /// The marker that ends the producer's transaction.
    Marker {
        producer: ProducerId,
        abort: bool,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct ModelBatch {
    pub(crate) base: Offset,
    pub(crate) next: Offset,
    pub(crate) bytes: Vec<u8>,
    pub(crate) records: Vec<ModelRecord>,
    pub(crate) role: Role,
}

/// The whole log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    pub(crate) batches: Vec<ModelBatch>,
    pub(crate) epochs: EpochCache,
    pub(crate) log_start: Offset,
    pub(crate) log_end: Offset,
    pub(crate) high_watermark: Offset,
    pub(crate) synced: Offset,
}

/// What the transactions in the log come to.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    pub(crate) aborted: Vec<AbortedTransaction>,
    /// First offsets of open transactions.
    pub(crate) open: Vec<(ProducerId, Offset)>,
    /// First offset and marker of those that were ended.
    ended: Vec<(Offset, Offset)>,
}

impl Model {
    pub(crate) fn push(&mut self, batch: ModelBatch, epoch: LeaderEpoch) {
        assert!(batch.base >= self.log_end);
        self.log_end = batch.next;
        self.epochs.assign(epoch, batch.base);
        self.batches.push(batch);
    }

    /// Cuts the log as `truncate_to` promises; returns where it ends then. A segment that loses all its batches stays,
    /// empty, at its base offset.
    pub(crate) fn truncate_to(&mut self, target: Offset, segment_bases: &[Offset]) -> Offset {
        let target = target.max(self.log_start);
        if target >= self.log_end {
            self.epochs.truncate_from_end(target);
            return self.log_end;
        }
        let kept = self.batches.partition_point(|batch| batch.next <= target);
        self.batches.truncate(kept);
        let base = segment_bases.iter().rfind(|base| **base <= target).unwrap_or(&segment_bases[0]);
        let log_end = self.batches.last().map_or(*base, |batch| batch.next.max(*base));
        if log_end < self.log_start {
            self.start_at(self.log_start);
            return self.log_start;
        }
        self.log_end = log_end;
        self.high_watermark = self.high_watermark.min(self.log_end).max(self.log_start);
        self.synced = self.synced.min(self.log_end);
        self.epochs.truncate_from_end(self.log_end);
        self.log_end
    }

    /// Empties the log.
    pub(crate) fn start_at(&mut self, offset: Offset) {
        self.batches.clear();
        (self.log_start, self.log_end, self.high_watermark, self.synced) = (offset, offset, offset, offset);
        self.epochs = EpochCache::default();
    }

    pub(crate) fn delete_before(&mut self, offset: Offset) {
        if offset > self.log_start {
            self.log_start = offset;
            self.epochs.truncate_from_start(offset);
        }
    }

    /// What a reopen changes: everything in the log counts as durable, and an epoch without records is forgotten.
    pub(crate) fn reopen(&mut self) {
        self.synced = self.log_end;
        self.epochs.truncate_from_end(self.log_end);
        self.epochs.truncate_from_start(self.log_start);
    }

    /// The first batch that a read from `from` may return.
    pub(crate) fn batch_at(&self, from: Offset) -> usize {
        self.batches.partition_point(|batch| batch.next <= from)
    }

    pub(crate) fn transactions(&self) -> Transactions {
        let mut found = Transactions::default();
        for batch in &self.batches {
            match batch.role {
                Role::Plain => {}
                Role::Data(producer) => {
                    if found.open.iter().all(|(open, _)| *open != producer) {
                        found.open.push((producer, batch.base));
                    }
                }
                Role::Marker { producer, abort } => {
                    let Some(at) = found.open.iter().position(|(open, _)| *open == producer) else { continue };
                    let (_, first_offset) = found.open.remove(at);
                    found.ended.push((first_offset, batch.base));
                    let others = found.open.iter().map(|(_, first)| *first).min();
                    let last_stable_offset = others.unwrap_or(Offset::MAX).min(batch.next);
                    if abort {
                        found.aborted.push(AbortedTransaction {
                            producer_id: producer,
                            first_offset,
                            last_offset: batch.base,
                            last_stable_offset,
                        });
                    }
                }
            }
        }
        found
    }

    /// The lowest and the highest last stable offset that may be seen. They differ only by transactions whose marker is
    /// not below the high watermark: a snapshot does not tell them, so after a reopen they may count as decided.
    pub(crate) fn last_stable_bounds(&self, transactions: &Transactions) -> (Offset, Offset) {
        let bound =
            |first: Option<Offset>| first.unwrap_or(self.high_watermark).min(self.high_watermark).max(self.log_start);
        let open = transactions.open.iter().map(|(_, first)| *first).min();
        let undecided = transactions.ended.iter().filter(|(_, marker)| *marker >= self.high_watermark);
        let undecided = undecided.map(|(first, _)| *first).min();
        let strict = open.into_iter().chain(undecided).min();
        (bound(strict), bound(open))
    }

    pub(crate) fn epoch_entries(&self) -> &[EpochEntry] {
        self.epochs.entries()
    }
}

/// The indexes that Kafka's rules give for the batches of a segment, from scratch.
pub(crate) fn indexes_of(
    batches: &[(u64, BatchHeader)],
    interval_bytes: u64,
) -> (Vec<OffsetIndexEntry>, Vec<TimeIndexEntry>, Option<TimeIndexEntry>) {
    let (mut offsets, mut times, mut max) = (Vec::new(), Vec::<TimeIndexEntry>::new(), None::<TimeIndexEntry>);
    let mut since_entry = 0;
    for (position, header) in batches {
        if let Some(timestamp) = header.max_timestamp()
            && max.is_none_or(|max| timestamp > max.timestamp)
        {
            max = Some(TimeIndexEntry { timestamp, offset: header.last_offset() });
        }
        if since_entry > interval_bytes {
            offsets.push(OffsetIndexEntry { offset: header.last_offset(), position: *position });
            if let Some(max) = max.filter(|max| times.last().is_none_or(|last| max.timestamp > last.timestamp)) {
                times.push(max);
            }
            since_entry = 0;
        }
        since_entry += header.size_in_bytes() as u64;
    }
    let last = max.filter(|max| times.last().is_none_or(|last| max.timestamp > last.timestamp));
    (offsets, times, last)
}
