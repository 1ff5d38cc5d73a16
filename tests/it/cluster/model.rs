//! What a cluster owes its users after any failure: which topics may be there, and which records must.

use std::collections::{BTreeMap, BTreeSet};

use logstead::config::Durability;
use logstead::types::TopicId;

/// What may be lost, and what may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// The process was killed: everything acknowledged is there.
    Everything,
    /// The power went: everything acknowledged as synced is there.
    Synced,
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Acknowledged at this offset; whether it survives a power cut.
    Acknowledged { offset: i64, is_synced: bool },
    /// It may be in the log.
    Unknown,
    /// Certainly not in the log.
    Refused,
}

/// A record that was handed to a producer.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) value: String,
    pub(super) fate: Fate,
}

/// Which topic of those that had the same name: each creation makes another one.
pub(super) type Incarnation = u32;

/// A topic that exists, or may exist.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) incarnation: Incarnation,
    /// Unknown while the creation is in doubt.
    pub(super) id: Option<TopicId>,
    pub(super) may_be_absent: bool,
    /// More than one where a change is in doubt.
    pub(super) partitions: BTreeSet<u32>,
    pub(super) durabilities: BTreeSet<bool>,
}

impl Known {
    pub(super) fn is_synced(&self) -> bool {
        // Where a change is in doubt the weaker promise counts.
        self.durabilities.iter().all(|is_synced| *is_synced)
    }
}

/// A topic as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) id: TopicId,
    pub(super) is_synced: bool,
    /// The values of the records in each partition.
    pub(super) partitions: Vec<Vec<String>>,
}

/// Everything that was promised.
#[derive(Debug, Clone, Default)]
pub(super) struct Ledger {
    pub(super) topics: BTreeMap<String, Known>,
    pub(super) records: BTreeMap<(String, Incarnation, u32), Vec<Sent>>,
    incarnations: Incarnation,
}

impl Ledger {
    pub(super) fn begin_create(&mut self, name: &str, partitions: u32, durability: Durability) {
        self.incarnations += 1;
        let known = Known {
            incarnation: self.incarnations,
            id: None,
            may_be_absent: true,
            partitions: BTreeSet::from([partitions]),
            durabilities: BTreeSet::from([durability == Durability::Synced]),
        };
        self.topics.insert(name.to_owned(), known);
    }

    /// The records of a topic that is there, in one partition.
    pub(super) fn records_mut(&mut self, name: &str, partition: u32) -> Option<&mut Vec<Sent>> {
        let incarnation = self.topics.get(name)?.incarnation;
        Some(self.records.entry((name.to_owned(), incarnation, partition)).or_default())
    }

    /// A record was acknowledged: a sync covers everything before it, too.
    pub(super) fn acknowledge(&mut self, key: &(String, Incarnation, u32), index: usize, fate: Fate) {
        let sent = self.records.get_mut(key).unwrap();
        sent[index].fate = fate;
        let Fate::Acknowledged { offset: upto, is_synced: true } = fate else { return };
        for earlier in sent {
            if let Fate::Acknowledged { offset, is_synced } = &mut earlier.fate {
                *is_synced |= *offset <= upto;
            }
        }
    }

    /// A clean stop makes everything durable that was acknowledged.
    pub(super) fn on_clean_stop(&mut self) {
        for sent in self.records.values_mut().flatten() {
            if let Fate::Acknowledged { is_synced, .. } = &mut sent.fate {
                *is_synced = true;
            }
        }
    }

    /// Compares what is there with what may and must be.
    pub(super) fn check(&self, found: &BTreeMap<String, Found>, keep: Keep) -> Result<(), String> {
        for name in found.keys() {
            if !self.topics.contains_key(name) {
                return Err(format!("topic {name} was never created, or was deleted"));
            }
        }
        for (name, known) in &self.topics {
            match found.get(name) {
                Some(found) => self.check_topic(name, known, found, keep)?,
                None if known.may_be_absent => {}
                None => return Err(format!("topic {name} is gone")),
            }
        }
        Ok(())
    }

    fn check_topic(&self, name: &str, known: &Known, found: &Found, keep: Keep) -> Result<(), String> {
        if known.id.is_some_and(|id| id != found.id) {
            return Err(format!("topic {name} has another id"));
        }
        let count = u32::try_from(found.partitions.len()).unwrap();
        if !known.partitions.contains(&count) || !known.durabilities.contains(&found.is_synced) {
            return Err(format!("topic {name} is neither as before nor as after: {known:?} {count} {found:?}"));
        }
        for (partition, values) in (0u32..).zip(&found.partitions) {
            let sent = self.records.get(&(name.to_owned(), known.incarnation, partition));
            let sent = sent.map(Vec::as_slice).unwrap_or_default();
            check_partition(sent, values, keep).map_err(|what| format!("{name}-{partition}: {what}"))?;
        }
        Ok(())
    }

    /// What was found is what is owed from here on.
    pub(super) fn settle(&mut self, found: &BTreeMap<String, Found>) {
        self.topics.retain(|name, _| found.contains_key(name));
        for (name, known) in &mut self.topics {
            let found = &found[name];
            known.id = Some(found.id);
            known.may_be_absent = false;
            known.partitions = BTreeSet::from([u32::try_from(found.partitions.len()).unwrap()]);
            known.durabilities = BTreeSet::from([found.is_synced]);
            for (partition, values) in (0u32..).zip(&found.partitions) {
                let key = (name.clone(), known.incarnation, partition);
                let offsets: BTreeMap<&String, i64> = values.iter().zip(0..).collect();
                for sent in self.records.entry(key).or_default() {
                    // Recovery makes durable what it keeps.
                    let fate = offsets.get(&sent.value).map(|offset| (*offset, true));
                    sent.fate =
                        fate.map_or(Fate::Refused, |(offset, is_synced)| Fate::Acknowledged { offset, is_synced });
                }
            }
        }
    }
}

/// The records of a partition are some of those sent, in their order, each once; those that are owed stand where it was said.
fn check_partition(sent: &[Sent], values: &[String], keep: Keep) -> Result<(), String> {
    let mut next = 0;
    for (offset, value) in values.iter().enumerate() {
        let Some(at) = sent[next..].iter().position(|sent| sent.value == *value) else {
            let known = sent.iter().any(|sent| sent.value == *value);
            let what = if known { "out of order or twice" } else { "of another topic or partition" };
            return Err(format!("the record {value} at {offset} is {what}"));
        };
        let found = &sent[next + at];
        match found.fate {
            Fate::Acknowledged { offset: promised, .. } if promised != offset as i64 => {
                return Err(format!("the record {value} was acknowledged at {promised} and is at {offset}"));
            }
            Fate::Refused => return Err(format!("the record {value} at {offset} was refused")),
            Fate::Acknowledged { .. } | Fate::Unknown => {}
        }
        next += at + 1;
    }
    let owed = |sent: &&Sent| match sent.fate {
        Fate::Acknowledged { offset, is_synced } => {
            (is_synced || keep == Keep::Everything) && offset >= values.len() as i64
        }
        Fate::Unknown | Fate::Refused => false,
    };
    match sent.iter().find(owed) {
        Some(lost) => Err(format!("lost, of {} records: {lost:?}", values.len())),
        None => Ok(()),
    }
}
