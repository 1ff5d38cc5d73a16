//! [P] The parts of error texts that depend on what is known.

use std::fmt;

use super::ConfigViolation;
use crate::time::Instant;

/// Prints configuration violations as one sentence.
pub(super) struct Listed<'a>(pub(super) &'a [ConfigViolation]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, violation) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", violation.field, violation.reason)?;
        }
        Ok(())
    }
}

/// Prints ` at index N`, or nothing.
pub(super) struct AtIndex<'a>(pub(super) &'a Option<u32>);

impl fmt::Display for AtIndex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(index) => write!(f, " at index {index} of its batch"),
            None => Ok(()),
        }
    }
}

/// Prints what is unknown: a topic, or a partition of one.
pub(super) struct Missing<'a>(pub(super) &'a String, pub(super) &'a Option<i32>);

impl fmt::Display for Missing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(partition) => write!(f, "partition {partition} of topic {}", self.0),
            None => write!(f, "topic {:?}", self.0),
        }
    }
}

/// Prints the name that may have been meant, or nothing.
pub(super) struct Nearest<'a>(pub(super) &'a Option<String>);

impl fmt::Display for Nearest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, "; the nearest existing one is {name}"),
            None => Ok(()),
        }
    }
}

/// Prints why another name is in the way, or nothing.
pub(super) struct Collides<'a>(pub(super) &'a String, pub(super) &'a String);

impl fmt::Display for Collides<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == self.1 { Ok(()) } else { f.write_str(", and names that differ in '.' and '_' only collide") }
    }
}

/// Prints when there is something to do.
pub(super) struct UntilText<'a>(pub(super) &'a Option<Instant>);

impl fmt::Display for UntilText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(until) => write!(f, "before {} ns on the cluster's clock; poll the cluster then", until.as_nanos()),
            None => f.write_str("until another call is made"),
        }
    }
}

/// Prints ` by process N`, or nothing.
pub(super) struct ByPid<'a>(pub(super) &'a Option<u32>);

impl fmt::Display for ByPid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(pid) => write!(f, " by process {pid}"),
            None => Ok(()),
        }
    }
}
