//! Runs a script against a cluster, and notes what it was promised.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use logstead::Error;
use logstead::cluster::{Cluster, Driver};
use logstead::config::{BrokerConfig, Durability, TopicConfig};
use logstead::error::Written;
use logstead::producer::{Delivery, Producer, Record};
use logstead::storage::MemStorage;
use logstead::time::{Clock, ManualClock};

use super::model::{Fate, Found, Incarnation, Keep, Ledger, Sent};
use crate::support::FOLDER;

/// One thing that a user does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Create(&'static str, u32, Durability),
    Delete(&'static str),
    Grow(&'static str, u32),
    Alter(&'static str, Durability),
    /// Sends so many records to a partition, and waits for none.
    Send(&'static str, u32, usize),
    /// Waits for every record that was sent.
    Wait,
    /// Time passes, and what is due is done.
    Tick(u64),
    /// Compares what a consumer sees with what was promised.
    Read,
    /// A clean stop, and the next session.
    Reopen,
    /// A clean stop.
    Close,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnError {
    /// The process is dead.
    Stop,
    /// The user goes on as well as possible.
    GoOn,
}

/// Why a script ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The storage is stopped.
    Dead,
    /// A promise was broken.
    Broken(String),
}

struct Outstanding {
    key: (String, Incarnation, u32),
    index: usize,
    delivery: Delivery,
}

pub(super) struct Session {
    storage: MemStorage,
    clock: Arc<ManualClock>,
    cluster: Option<Cluster>,
    producer: Option<Producer>,
    outstanding: Vec<Outstanding>,
    pub(super) ledger: Ledger,
    on_error: OnError,
    pub(super) refused: usize,
    /// Whether the last session said that it ended cleanly.
    pub(super) closed_cleanly: bool,
    number: usize,
}

pub(super) fn open(storage: &MemStorage, clock: &Arc<ManualClock>) -> logstead::Result<Cluster> {
    let config =
        BrokerConfig::new().checkpoint_interval(Duration::from_millis(40)).flush_interval(Duration::from_millis(3));
    let builder = Cluster::builder().storage(storage.clone()).clock(Arc::clone(clock) as Arc<dyn Clock>);
    builder.driver(Driver::Manual).config(config).seed(7).open(FOLDER)
}

/// Everything that a consumer sees.
pub(super) fn look(cluster: &Cluster) -> Result<BTreeMap<String, Found>, String> {
    let mut all = BTreeMap::new();
    for topic in cluster.topics() {
        let mut partitions = vec![Vec::new(); topic.partition_count() as usize];
        let mut consumer = cluster.consumer().topic(topic.name()).build().map_err(|error| error.to_string())?;
        loop {
            let records = consumer.poll(Duration::ZERO).map_err(|error| format!("{}: {error}", topic.name()))?;
            if records.is_empty() {
                break;
            }
            for record in &records {
                let values: &mut Vec<String> = &mut partitions[record.partition().get() as usize];
                if record.offset().get() != values.len() as i64 {
                    return Err(format!("{}: {} follows {}", topic.name(), record.offset(), values.len()));
                }
                values.push(String::from_utf8(record.value().unwrap().to_vec()).unwrap());
            }
        }
        let is_synced = topic.config().get_durability() == Durability::Synced;
        all.insert(topic.name().to_owned(), Found { id: topic.id(), is_synced, partitions });
    }
    Ok(all)
}

impl Session {
    pub(super) fn new(storage: MemStorage, on_error: OnError) -> Session {
        Session {
            storage,
            clock: Arc::new(ManualClock::new()),
            cluster: None,
            producer: None,
            outstanding: Vec::new(),
            ledger: Ledger::default(),
            on_error,
            refused: 0,
            closed_cleanly: false,
            number: 0,
        }
    }

    pub(super) fn clock(&self) -> &Arc<ManualClock> {
        &self.clock
    }

    pub(super) fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    pub(super) fn run(&mut self, script: &[Step]) -> Result<(), Ended> {
        self.open()?;
        for step in script {
            self.step(*step)?;
            if self.storage.is_stopped() {
                return Err(Ended::Dead);
            }
        }
        Ok(())
    }

    /// What an error means for the script.
    fn refuse(&mut self, what: &str, error: &Error) -> Result<(), Ended> {
        self.refused += 1;
        if matches!(error, Error::Internal { .. }) {
            return Err(Ended::Broken(format!("{what}: {error}")));
        }
        match self.on_error {
            OnError::Stop if self.storage.is_stopped() => Err(Ended::Dead),
            OnError::Stop => Err(Ended::Broken(format!("{what}: {error}"))),
            OnError::GoOn => Ok(()),
        }
    }

    /// Opens the folder; where that fails for once, again.
    fn open(&mut self) -> Result<(), Ended> {
        self.closed_cleanly = false;
        for _ in 0..3 {
            match open(&self.storage, &self.clock) {
                Ok(cluster) => {
                    // Small batches, so that there are many.
                    self.producer = cluster.producer().batch_bytes(200).seed(1).build().ok();
                    self.cluster = Some(cluster);
                    return Ok(());
                }
                Err(error) => self.refuse("open", &error)?,
            }
        }
        Ok(())
    }

    pub(super) fn step(&mut self, step: Step) -> Result<(), Ended> {
        let Some(cluster) = self.cluster.take() else { return Ok(()) };
        let done = self.step_with(&cluster, step);
        match step {
            Step::Reopen | Step::Close if done.is_ok() => {
                self.close(cluster)?;
                if matches!(step, Step::Reopen) { self.reopen() } else { Ok(()) }
            }
            _ => {
                self.cluster = Some(cluster);
                done
            }
        }
    }

    fn step_with(&mut self, cluster: &Cluster, step: Step) -> Result<(), Ended> {
        let what = format!("{step:?}");
        match step {
            Step::Create(name, partitions, durability) => self.create(cluster, name, partitions, durability),
            Step::Delete(name) => {
                self.poll_deliveries();
                let before = self.ledger.topics.get(name).cloned();
                if let Some(known) = self.ledger.topics.get_mut(name) {
                    known.may_be_absent = true;
                }
                match cluster.delete_topic(name) {
                    Ok(()) => drop(self.ledger.topics.remove(name)),
                    Err(error) => {
                        self.undo_if_untouched(name, before, &error);
                        self.refuse(&what, &error)?;
                    }
                }
                self.poll_deliveries();
                Ok(())
            }
            Step::Grow(name, total) => {
                let before = self.ledger.topics.get(name).cloned();
                if let Some(known) = self.ledger.topics.get_mut(name) {
                    known.partitions.insert(total);
                }
                match cluster.add_partitions(name, total) {
                    Ok(topic) => {
                        self.ledger.topics.get_mut(name).unwrap().partitions = [topic.partition_count()].into()
                    }
                    Err(error) => {
                        self.undo_if_untouched(name, before, &error);
                        self.refuse(&what, &error)?;
                    }
                }
                Ok(())
            }
            Step::Alter(name, durability) => self.alter(cluster, name, durability),
            Step::Send(name, partition, count) => self.send(name, partition, count),
            Step::Wait => self.wait(),
            Step::Tick(millis) => {
                self.clock.advance(Duration::from_millis(millis));
                cluster.poll(self.clock.now());
                self.poll_deliveries();
                Ok(())
            }
            Step::Read => self.read(cluster),
            Step::Reopen | Step::Close => Ok(()),
        }
    }

    /// For want of space, or after an earlier failure, nothing was changed.
    fn undo_if_untouched(&mut self, name: &str, before: Option<super::model::Known>, error: &Error) {
        if matches!(error, Error::OutOfSpace { .. } | Error::UnknownTopicOrPartition { .. } | Error::Offline { .. }) {
            match before {
                Some(known) => drop(self.ledger.topics.insert(name.to_owned(), known)),
                None => drop(self.ledger.topics.remove(name)),
            }
        }
    }

    fn create(&mut self, cluster: &Cluster, name: &str, partitions: u32, durability: Durability) -> Result<(), Ended> {
        let before = self.ledger.topics.get(name).cloned();
        if before.is_some() {
            // A deletion failed.
            return Ok(());
        }
        self.ledger.begin_create(name, partitions, durability);
        // Three batches fill a segment.
        let config = TopicConfig::new().partitions(partitions).durability(durability).segment_bytes(600);
        match cluster.create_topic(name, config.index_interval_bytes(200)) {
            Ok(topic) => {
                let known = self.ledger.topics.get_mut(name).unwrap();
                (known.id, known.may_be_absent) = (Some(topic.id()), false);
                Ok(())
            }
            Err(error) => {
                self.undo_if_untouched(name, before, &error);
                self.refuse(&format!("create {name}"), &error)
            }
        }
    }

    fn alter(&mut self, cluster: &Cluster, name: &str, durability: Durability) -> Result<(), Ended> {
        self.poll_deliveries();
        let before = self.ledger.topics.get(name).cloned();
        if let Some(known) = self.ledger.topics.get_mut(name) {
            known.durabilities.insert(durability == Durability::Synced);
        }
        let value = if durability == Durability::Synced { "1" } else { "9223372036854775807" };
        let altered = cluster.alter_topic(name, [("flush.messages", Some(value))]);
        self.poll_deliveries();
        match altered {
            Ok(topic) => {
                assert_eq!(topic.config().get_durability(), durability);
                self.ledger.topics.get_mut(name).unwrap().durabilities = [durability == Durability::Synced].into();
                Ok(())
            }
            Err(error) => {
                self.undo_if_untouched(name, before, &error);
                self.refuse(&format!("alter {name}"), &error)
            }
        }
    }

    fn send(&mut self, name: &str, partition: u32, count: usize) -> Result<(), Ended> {
        for _ in 0..count {
            let Some(known) = self.ledger.topics.get(name) else { return Ok(()) };
            let key = (name.to_owned(), known.incarnation, partition);
            self.number += 1;
            let value = format!("{name}/{}/{partition}/{}/{}", known.incarnation, self.number, ".".repeat(30));
            let Some(producer) = &self.producer else { return Ok(()) };
            let sent = producer.send(Record::to(name).partition(partition as i32).value(&value));
            let list = self.ledger.records_mut(name, partition).unwrap();
            match sent {
                Ok(delivery) => {
                    list.push(Sent { value, fate: Fate::Unknown });
                    self.outstanding.push(Outstanding { key, index: list.len() - 1, delivery });
                }
                Err(error) => {
                    list.push(Sent { value, fate: Fate::Refused });
                    self.refuse(&format!("send to {name}-{partition}"), &error)?;
                }
            }
        }
        Ok(())
    }

    /// Takes note of what was acknowledged meanwhile.
    fn poll_deliveries(&mut self) {
        for mut waiting in std::mem::take(&mut self.outstanding) {
            match waiting.delivery.try_get() {
                Some(outcome) => {
                    self.refused += usize::from(self.note(&waiting.key, waiting.index, outcome).is_some());
                }
                None => self.outstanding.push(waiting),
            }
        }
    }

    fn wait(&mut self) -> Result<(), Ended> {
        for waiting in std::mem::take(&mut self.outstanding) {
            let outcome = waiting.delivery.wait();
            let is_deleted =
                self.ledger.topics.get(&waiting.key.0).is_none_or(|known| known.incarnation != waiting.key.1);
            if let Some(error) = self.note(&waiting.key, waiting.index, outcome)
                && !(is_deleted && matches!(error, Error::UnknownTopicOrPartition { .. }))
            {
                self.refuse("wait", &error)?;
            }
        }
        Ok(())
    }

    fn note(
        &mut self,
        key: &(String, Incarnation, u32),
        index: usize,
        outcome: logstead::Result<logstead::producer::RecordMetadata>,
    ) -> Option<Error> {
        let is_synced = self.ledger.topics.get(&key.0).is_some_and(super::model::Known::is_synced);
        let (fate, error) = match outcome {
            Ok(stored) => (Fate::Acknowledged { offset: stored.offset.unwrap().get(), is_synced }, None),
            Err(error) if error.written() == Written::No => (Fate::Refused, Some(error)),
            Err(error) => (Fate::Unknown, Some(error)),
        };
        self.ledger.acknowledge(key, index, fate);
        error
    }

    /// A consumer of the running cluster sees every record that was acknowledged.
    pub(super) fn read(&mut self, cluster: &Cluster) -> Result<(), Ended> {
        match look(cluster) {
            // A read may fail where an injected failure struck; it must not say anything wrong.
            Err(error) if self.on_error == OnError::GoOn || self.storage.is_stopped() => {
                self.refused += usize::from(!error.is_empty());
                Ok(())
            }
            Err(error) => Err(Ended::Broken(error)),
            Ok(found) => {
                let mut expected = self.ledger.clone();
                // In a session a change that failed has not happened as far as it shows, whatever the next one will find.
                expected.topics.retain(|name, known| found.contains_key(name) || !known.may_be_absent);
                expected.check(&found, Keep::Everything).map_err(|what| Ended::Broken(format!("read: {what}")))
            }
        }
    }

    fn close(&mut self, cluster: Cluster) -> Result<(), Ended> {
        let closed = cluster.close();
        // Everybody who waited has an answer.
        let waiting = std::mem::take(&mut self.outstanding);
        for mut waiting in waiting {
            match waiting.delivery.try_get() {
                Some(outcome) => drop(self.note(&waiting.key, waiting.index, outcome)),
                None => return Err(Ended::Broken("a delivery outlives its cluster without an outcome".to_owned())),
            }
        }
        self.producer = None;
        self.closed_cleanly = closed.is_ok();
        match closed {
            Ok(()) => {
                self.ledger.on_clean_stop();
                Ok(())
            }
            Err(error) => self.refuse("close", &error),
        }
    }

    fn reopen(&mut self) -> Result<(), Ended> {
        self.open()?;
        let Some(cluster) = self.cluster.take() else { return Ok(()) };
        let found = look(&cluster);
        let checked = match found {
            Ok(found) => {
                let checked = self.ledger.check(&found, Keep::Everything);
                self.ledger.settle(&found);
                checked.map_err(|what| Ended::Broken(format!("reopened: {what}")))
            }
            Err(_) if self.on_error == OnError::GoOn || self.storage.is_stopped() => Ok(()),
            Err(error) => Err(Ended::Broken(error)),
        };
        self.cluster = Some(cluster);
        checked
    }
}
