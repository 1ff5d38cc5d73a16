//! What is known of a log beside its own bytes: how far it reached, and where it starts.

use logstead::log::Witness;
use logstead::types::{Offset, TopicPartition};

use super::facts::{FolderFacts, LOG_STARTS, RECOVERY_POINTS};

/// What a log must hold.
#[derive(Debug, Clone, Default)]
pub(crate) struct Promise {
    /// Everything below was durable.
    pub(crate) end: Offset,
    /// Who says so.
    pub(crate) source: &'static str,
    /// Whether the log was closed in order: nothing in it is unfinished, and it ends where it says.
    pub(crate) is_closed: bool,
    /// Whether the log may have been left in the midst of things, or is written just now.
    pub(crate) may_be_open: bool,
    /// The first offset that may be read, where known.
    pub(crate) log_start: Option<Offset>,
    pub(crate) witness: Option<Witness>,
}

impl Promise {
    /// What a data folder promises of one of its partitions.
    pub(crate) fn of_folder(facts: &FolderFacts, tp: &TopicPartition) -> Promise {
        let witness = facts.witness.get(tp).cloned();
        let listed = facts.manifest.as_ref().and_then(|manifest| manifest.partitions.get(tp));
        let (end, source) = match (&witness, listed) {
            (Some(witness), _) => (Some(witness.synced_offset), "the witness"),
            (None, Some(listed)) => (Some(listed.recovery_point), "the manifest"),
            (None, None) => (facts.checkpointed(RECOVERY_POINTS, tp), "the recovery point"),
        };
        let log_start = witness.as_ref().map(|witness| witness.log_start);
        Promise {
            end: end.unwrap_or(Offset::ZERO),
            source,
            is_closed: facts.is_clean && end.is_some(),
            may_be_open: !facts.is_clean,
            log_start: log_start.or_else(|| facts.checkpointed(LOG_STARTS, tp)),
            witness,
        }
    }

    /// What a partition folder promises by itself: a producer snapshot was taken at an offset that the log had reached.
    pub(crate) fn of_snapshots(newest: Option<Offset>) -> Promise {
        Promise { end: newest.unwrap_or(Offset::ZERO), source: "a producer snapshot", ..Promise::default() }
    }

    /// Whether what starts at `offset` was durable: then a bad batch is damage, and no unfinished write.
    pub(crate) fn covers(&self, offset: Offset) -> bool {
        self.is_closed || offset < self.end
    }

    /// Whether our witness says that no offset is missing from `from` on.
    pub(crate) fn has_no_gap_at(&self, from: Offset) -> bool {
        self.witness
            .as_ref()
            .is_some_and(|witness| !witness.has_gaps && from >= witness.log_start && from < witness.synced_offset)
    }
}
