//! The index files of a segment: `.index`, `.timeindex`, `.txnindex`.

use std::path::Path;

use logstead::log::{AbortedTransaction, OffsetIndex, OffsetIndexEntry, TimeIndex, TimeIndexEntry, TransactionIndex};
use logstead::types::Offset;
use logstead::{Error, Result};

use super::input;
use super::output::Session;
use super::trouble::Stop;

/// Prints an `.index`.
pub(crate) fn dump_offsets(session: &mut Session<'_>, path: &Path, base_offset: Offset) -> Result<(), Stop> {
    let bytes = input::read_whole(path)?;
    let read = |bytes: &[u8]| OffsetIndex::from_bytes(base_offset, bytes);
    let (index, damage) = up_to_damage(OffsetIndex::trim_zero_tail(&bytes), read)?;
    if index.is_empty() && damage.is_none() {
        session.heading(format_args!("{} is empty.", path.display()))?;
    }
    for OffsetIndexEntry { offset, position } in index.iter() {
        session.row([("offset", offset.get().into()), ("position", position.into())])?;
    }
    damage.map_or(Ok(()), |damage| Err(damage.into()))
}

/// Prints a `.timeindex`.
pub(crate) fn dump_times(session: &mut Session<'_>, path: &Path, base_offset: Offset) -> Result<(), Stop> {
    let bytes = input::read_whole(path)?;
    let read = |bytes: &[u8]| TimeIndex::from_bytes(base_offset, bytes);
    let (index, damage) = up_to_damage(TimeIndex::trim_zero_tail(&bytes), read)?;
    for TimeIndexEntry { timestamp, offset } in index.iter() {
        session.row([("timestamp", timestamp.as_millis().into()), ("offset", offset.get().into())])?;
    }
    damage.map_or(Ok(()), |damage| Err(damage.into()))
}

/// Prints a `.txnindex`.
pub(crate) fn dump_transactions(session: &mut Session<'_>, path: &Path, base_offset: Offset) -> Result<(), Stop> {
    let bytes = input::read_whole(path)?;
    let (index, damage) = up_to_damage(&bytes, |bytes| TransactionIndex::from_bytes(base_offset, bytes))?;
    for entry in index.iter() {
        let AbortedTransaction { producer_id, first_offset, last_offset, last_stable_offset } = entry;
        session.row([
            // The only version that there is.
            ("version", 0_i32.into()),
            ("producerId", producer_id.get().into()),
            ("firstOffset", first_offset.get().into()),
            ("lastOffset", last_offset.get().into()),
            ("lastStableOffset", last_stable_offset.get().into()),
        ])?;
    }
    damage.map_or(Ok(()), |damage| Err(damage.into()))
}

/// Reads an index, or else what stands before its first damaged entry, and that damage.
fn up_to_damage<T>(bytes: &[u8], read: impl Fn(&[u8]) -> Result<T>) -> Result<(T, Option<Error>)> {
    match read(bytes) {
        Ok(index) => Ok((index, None)),
        Err(damage) => {
            let intact = match &damage {
                Error::Corrupt(corrupt) => usize::try_from(corrupt.position).ok().and_then(|len| bytes.get(..len)),
                _ => None,
            };
            Ok((read(intact.unwrap_or_default())?, Some(damage)))
        }
    }
}
