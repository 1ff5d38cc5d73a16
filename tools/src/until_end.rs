//! Reading up to where the log ended at one moment, and no further.

use std::collections::BTreeMap;

use logstead::consumer::{Consumer, ConsumerRecord};
use logstead::types::{Offset, TopicPartition};

use crate::failure::Failure;

/// The ends of the partitions that are not read to their end yet.
#[derive(Debug)]
pub(crate) struct UntilEnd {
    ends: BTreeMap<TopicPartition, Offset>,
}

impl UntilEnd {
    /// The ends, as of now, of all partitions of a consumer.
    ///
    /// # Errors
    /// Why a partition cannot be asked.
    pub(crate) fn of(consumer: &Consumer) -> Result<UntilEnd, Failure> {
        let ends = consumer.assignment().map(|tp| Ok((tp.clone(), consumer.end_offset(tp)?)));
        Ok(UntilEnd { ends: ends.collect::<Result<_, Failure>>()? })
    }

    /// The partitions that are not done, and where they are.
    pub(crate) fn ends(&self) -> impl Iterator<Item = (&TopicPartition, Offset)> {
        self.ends.iter().map(|(tp, end)| (tp, *end))
    }

    /// Whether all is read. Partitions that are done are not read any more.
    ///
    /// # Errors
    /// Why a partition cannot be asked.
    pub(crate) fn is_reached(&mut self, consumer: &mut Consumer) -> Result<bool, Failure> {
        let mut done = Vec::new();
        for (tp, end) in &self.ends {
            if consumer.position(tp)? >= *end {
                done.push(tp.clone());
            }
        }
        for tp in done {
            consumer.pause(&tp)?;
            self.ends.remove(&tp);
        }
        Ok(self.ends.is_empty())
    }

    /// Takes over ends that are nearer now: an owner that recovered from a power cut may have less than it had, and
    /// nothing is to be waited for then.
    ///
    /// # Errors
    /// Why a partition cannot be asked.
    pub(crate) fn lower(&mut self, consumer: &Consumer) -> Result<(), Failure> {
        for (tp, end) in &mut self.ends {
            *end = (*end).min(consumer.end_offset(tp)?);
        }
        Ok(())
    }

    /// Whether a record, which was just read, came before the end.
    pub(crate) fn has(&self, record: &ConsumerRecord<'_>) -> bool {
        self.ends.get(record.topic_partition()).is_some_and(|end| record.offset() < *end)
    }
}
