//! [P] A compressed stream while it is being read: what is left of it, and where damage is.

use crate::error::{Damage, Error, Result};
use crate::record::Compression;

/// The bytes of one stream. Cheap to clone, to look ahead.
#[derive(Debug, Clone)]
pub(super) struct Input<'a> {
    codec: Compression,
    rest: &'a [u8],
    length: usize,
}

impl<'a> Input<'a> {
    pub(super) const fn new(codec: Compression, bytes: &'a [u8]) -> Input<'a> {
        Input { codec, rest: bytes, length: bytes.len() }
    }

    /// What was not taken yet.
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// How many bytes were taken.
    pub(super) const fn position(&self) -> usize {
        self.length - self.rest.len()
    }

    /// Takes the next `count` bytes; `rule` says what is wrong when there are fewer.
    pub(super) fn take(&mut self, count: usize, rule: &'static str) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(|| self.damaged(rule))?;
        self.rest = rest;
        Ok(taken)
    }

    /// Takes the next `N` bytes; `rule` says what is wrong when there are fewer.
    pub(super) fn array<const N: usize>(&mut self, rule: &'static str) -> Result<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.damaged(rule))?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Damage at the current position.
    #[cold]
    pub(super) fn damaged(&self, rule: &'static str) -> Error {
        damaged(self.codec, self.position(), rule)
    }
}

/// Damage at a position of a stream.
#[cold]
pub(super) fn damaged(codec: Compression, position: usize, rule: &'static str) -> Error {
    Error::corrupt(position as u64, Damage::Compression { codec: codec.as_str(), rule })
}
