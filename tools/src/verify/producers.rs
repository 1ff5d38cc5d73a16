//! Producers of a log as it is read: their sequences, their transactions, and the `.txnindex` files against both.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::{Path, PathBuf};

use logstead::log::{AbortedTransaction, FileSum, ProducerEntry, SegmentFile, TransactionIndex};
use logstead::record::{BatchHeader, ControlRecord, ProducerStamp, TransactionOutcome};
use logstead::types::{Offset, ProducerEpoch, ProducerId, Sequence};

use super::files;
use super::index::up_to_damage;
use super::report::{Findings, Spot};

/// Producers that are followed at the same time; of more, the ones that came first.
const PRODUCERS_MAX: usize = 1 << 20;

/// What is known of the producers so far.
#[derive(Debug, Default)]
pub(crate) struct Producers {
    last: BTreeMap<ProducerId, Last>,
    /// Open transactions: first offset and producer.
    open: BTreeSet<(Offset, ProducerId)>,
    open_of: BTreeMap<ProducerId, Offset>,
    /// Whether the log was read from offset 0 without a gap: then every open transaction is known.
    pub(crate) is_complete: bool,
}

/// What a producer wrote last.
#[derive(Debug, Clone, Copy)]
struct Last {
    epoch: ProducerEpoch,
    /// Last sequence and last offset of its last batch; none since a marker has raised the epoch.
    batch: Option<(Sequence, Offset)>,
}

impl Producers {
    /// A data batch.
    pub(crate) fn on_data(&mut self, findings: &mut Findings, path: &Path, position: u64, header: &BatchHeader) {
        let Some(producer) = header.producer() else { return };
        let spot = || Spot::at(path, position).offsets(header.base_offset(), header.next_offset());
        if let (Some(first), Some(last)) = (header.base_sequence(), header.last_sequence()) {
            if let Some(Last { epoch, batch }) = self.last.get(&producer.id).copied() {
                let expected = batch.map(|(before, _)| before.plus(1)).filter(|_| epoch == producer.epoch);
                if let Some(expected) = expected.filter(|expected| *expected != first) {
                    let what =
                        format!("producer {} goes on with sequence {first} where {expected} was expected", producer.id);
                    findings.note("sequence", spot(), what);
                }
                if producer.epoch < epoch {
                    let what = format!("producer {} writes under epoch {} after {epoch}", producer.id, producer.epoch);
                    findings.note("sequence", spot(), what);
                }
            }
            self.remember(producer.id, Last { epoch: producer.epoch, batch: Some((last, header.last_offset())) });
        }
        let is_new = header.is_transactional() && !self.open_of.contains_key(&producer.id);
        if is_new && self.open_of.len() < PRODUCERS_MAX {
            self.open_of.insert(producer.id, header.base_offset());
            self.open.insert((header.base_offset(), producer.id));
        }
    }

    /// A marker: one that raises the epoch ends the producer's sequences.
    pub(crate) fn on_marker(&mut self, producer: ProducerStamp) {
        let batch = self.last.get(&producer.id).filter(|last| last.epoch == producer.epoch).and_then(|last| last.batch);
        self.remember(producer.id, Last { epoch: producer.epoch, batch });
    }

    fn remember(&mut self, producer: ProducerId, last: Last) {
        if self.last.len() < PRODUCERS_MAX || self.last.contains_key(&producer) {
            self.last.insert(producer, last);
        } else {
            self.is_complete = false;
        }
    }

    /// What is wrong with the producers of a snapshot that was taken here. A broker forgets producers that have not
    /// written for long, but none with an open transaction.
    pub(crate) fn differences(&self, entries: &[ProducerEntry]) -> Vec<String> {
        let listed: BTreeSet<ProducerId> = entries.iter().map(|entry| entry.producer_id).collect();
        let lacking = self.open_of.iter().filter(|(producer, _)| !listed.contains(producer));
        let lacking = lacking
            .map(|(producer, first)| format!("it lacks producer {producer}, whose transaction began at {first}"));
        entries.iter().filter_map(|entry| self.difference(entry)).chain(lacking).collect()
    }

    fn difference(&self, entry: &ProducerEntry) -> Option<String> {
        let producer = entry.producer_id;
        let Some(last) = self.last.get(&producer) else {
            return Some(format!("it names producer {producer}, which has written nothing below"));
        };
        let batch = entry.last_batch().map(|batch| (batch.last_sequence, batch.last_offset));
        let open = self.open_of.get(&producer).copied();
        let what = if entry.epoch != Some(last.epoch) {
            format!("has epoch {}, by the log {}", or_none(entry.epoch), last.epoch)
        } else if batch != last.batch {
            let (sequence, offset) = (or_none(batch.map(|batch| batch.0)), or_none(batch.map(|batch| batch.1)));
            let by_log = (or_none(last.batch.map(|batch| batch.0)), or_none(last.batch.map(|batch| batch.1)));
            format!("wrote sequence {sequence} at {offset} last, by the log {} at {}", by_log.0, by_log.1)
        } else if entry.current_txn_first_offset != open {
            let named = or_none(entry.current_txn_first_offset);
            format!("has a transaction open from {named}, by the log from {}", or_none(open))
        } else {
            return None;
        };
        Some(format!("producer {producer} {what}"))
    }

    /// A marker that ends a producer's transaction; the aborted transaction that the index must name, if any.
    fn on_end(&mut self, producer: ProducerId, at: Offset, outcome: TransactionOutcome) -> Option<AbortedTransaction> {
        let first_offset = self.open_of.remove(&producer)?;
        self.open.remove(&(first_offset, producer));
        if outcome == TransactionOutcome::Commit {
            return None;
        }
        let last_stable_offset = self.open.first().map_or(at.next(), |(first, _)| at.next().min(*first));
        Some(AbortedTransaction { producer_id: producer, first_offset, last_offset: at, last_stable_offset })
    }
}

fn or_none(value: Option<impl Display>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

/// The transaction index of one segment.
#[derive(Debug)]
pub(crate) struct Aborts {
    path: PathBuf,
    /// By marker offset, with the position in the file.
    entries: BTreeMap<Offset, (u64, AbortedTransaction)>,
    pub(crate) sum: Option<FileSum>,
    is_damaged: bool,
}

impl Aborts {
    /// Reads the file, if it is there.
    pub(crate) fn load(findings: &mut Findings, folder: &Path, base: Offset, has_file: bool) -> Aborts {
        let path = folder.join(SegmentFile::TransactionIndex.name(base));
        let bytes = if has_file { files::read(findings, &path) } else { None };
        let sum = bytes.as_deref().map(FileSum::of);
        let bytes = bytes.unwrap_or_default();
        let damage_before = findings.damage_count();
        let read = |bytes: &[u8]| TransactionIndex::from_bytes(base, bytes).map(|index| index.iter().collect());
        let entries: Vec<AbortedTransaction> = up_to_damage(findings, &path, &bytes, read);
        let positions = (0_u64..).step_by(TransactionIndex::ENTRY_BYTES);
        let entries = positions.zip(entries).map(|(at, entry)| (entry.last_offset, (at, entry))).collect();
        Aborts { path, entries, sum, is_damaged: findings.damage_count() > damage_before }
    }

    /// A control record in this segment.
    pub(crate) fn on_control(
        &mut self,
        findings: &mut Findings,
        producers: &mut Producers,
        (producer, offset): (ProducerId, Offset),
        control: ControlRecord,
        must_be_indexed: bool,
    ) {
        let ControlRecord::EndTransaction { outcome, .. } = control else { return };
        let expected = producers.on_end(producer, offset, outcome);
        let entry = match outcome {
            TransactionOutcome::Abort => self.entries.remove(&offset),
            TransactionOutcome::Commit => None,
        };
        match (expected, entry) {
            (Some(expected), None) if !self.is_damaged => {
                let spot = Spot::of(&self.path).offsets(expected.first_offset, offset.next());
                let what = format!("the transaction that producer {producer} aborted at {offset} is not in it");
                findings.found(must_be_indexed && producers.is_complete, "index", spot, what);
            }
            (expected, Some((at, entry))) => self.compare(findings, producers, producer, (expected, at, entry)),
            (_, None) => {}
        }
    }

    fn compare(
        &self,
        findings: &mut Findings,
        producers: &Producers,
        producer: ProducerId,
        (expected, at, entry): (Option<AbortedTransaction>, u64, AbortedTransaction),
    ) {
        let what = if entry.producer_id != producer {
            format!(
                "it names producer {}; the marker at {} is of producer {producer}",
                entry.producer_id, entry.last_offset
            )
        } else if let Some(expected) = expected.filter(|expected| producers.is_complete && *expected != entry) {
            format!(
                "first offset {} and last stable offset {}, by the log {} and {}",
                entry.first_offset, entry.last_stable_offset, expected.first_offset, expected.last_stable_offset
            )
        } else if entry.last_stable_offset > entry.last_offset.next() {
            format!("the last stable offset {} is behind the marker", entry.last_stable_offset)
        } else {
            return;
        };
        let spot = Spot::at(&self.path, at).offsets(entry.first_offset, entry.last_offset.next());
        findings.damage("index", spot, what);
    }

    /// The entries that no marker came for.
    pub(crate) fn finish(
        self,
        findings: &mut Findings,
        log_end: Offset,
        may_lack_tail: bool,
        bad: &[(Offset, Offset)],
    ) {
        for (at, entry) in self.entries.into_values() {
            if bad.iter().any(|(from, to)| (*from..*to).contains(&entry.last_offset)) {
                continue;
            }
            let is_beyond = entry.last_offset >= log_end && may_lack_tail;
            let spot = Spot::at(&self.path, at).offsets(entry.first_offset, entry.last_offset.next());
            let what =
                format!("no marker at {} aborts a transaction of producer {}", entry.last_offset, entry.producer_id);
            findings.found(!is_beyond, "index", spot, what);
        }
    }
}
