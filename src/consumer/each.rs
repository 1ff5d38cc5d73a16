//! [D] Records one by one, for loops that never end.

use std::time::Duration;

use crate::consumer::{Consumer, DetachedRecord, PollLimits};
use crate::error::Result;

/// Records one by one; see [`Consumer::iter`].
#[derive(Debug)]
pub struct EachRecord<'a> {
    consumer: &'a mut Consumer,
}

impl Consumer {
    /// Records one by one, waiting for the next one as long as it takes. For convenience: a poll for every record, each a
    /// counted one. The position is always behind the last one returned.
    ///
    /// Ends when the consumer is [woken](super::WakeHandle::wake), and where it may not sleep, when there is nothing to read;
    /// it can be used again after that. An error ends nothing: the next call polls again.
    pub fn iter(&mut self) -> EachRecord<'_> {
        EachRecord { consumer: self }
    }
}

impl Iterator for EachRecord<'_> {
    type Item = Result<DetachedRecord>;

    fn next(&mut self) -> Option<Result<DetachedRecord>> {
        let one = PollLimits { records: 1, bytes: usize::MAX };
        match self.consumer.poll_with(one, Duration::MAX) {
            Ok(records) => records.iter().next().map(|record| Ok(record.detach())),
            Err(error) => Some(Err(error)),
        }
    }
}

impl<'a> IntoIterator for &'a mut Consumer {
    type Item = Result<DetachedRecord>;
    type IntoIter = EachRecord<'a>;

    fn into_iter(self) -> EachRecord<'a> {
        self.iter()
    }
}
