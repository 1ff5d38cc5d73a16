//! [P] What stands in for the test kit where it is not built in: nothing is recorded, and nothing is made to fail.

use std::io;

use super::operation::{Call, Verdict};

#[derive(Debug, Default)]
pub(super) struct Kit {}

impl Kit {
    pub(super) fn check_running(&self) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn admit(&mut self, _call: Call<'_>) -> Verdict {
        Verdict::PASS
    }

    pub(super) fn admit_transfer(&mut self, len: usize) -> io::Result<usize> {
        Ok(len)
    }
}
