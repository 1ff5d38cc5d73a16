//! [S] Stand-ins.
use crate::error::Result;
use crate::log::{Log, ReadIsolation, ReadLimits};
use crate::types::{Offset, Timestamp};

/// Found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) offset: Offset,
}

impl Log {
    pub(crate) fn offset_for_timestamp(&self, timestamp: Timestamp, isolation: ReadIsolation) -> Result<Option<Found>> {
        let mut from = self.log_start_offset();
        loop {
            let slice = self.read(from, ReadLimits::bytes(1 << 20).isolation(isolation))?;
            if slice.is_empty() {
                return Ok(None);
            }
            for batch in slice.batches() {
                for record in batch?.records() {
                    if record.offset() >= from && record.timestamp().is_some_and(|at| at >= timestamp) {
                        return Ok(Some(Found { offset: record.offset() }));
                    }
                }
            }
            from = slice.next_offset();
        }
    }
}
