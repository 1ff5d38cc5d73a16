//! [S] Finding one's way around damage: which offsets are lost, and where intact batches go on.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::log::read::check_place;
use crate::log::scan::BatchScanner;
use crate::log::segment::{Segment, SegmentBounds};
use crate::log::state::Published;
use crate::types::Offset;

/// What stands at an offset.
#[derive(Debug)]
pub(crate) enum Found {
    /// An intact batch that ends at or above the offset starts at this position.
    Batch(u64),
    /// The offset lies in damage, which the error describes in full.
    Damage(Error),
    /// The segment is intact and ends below the offset.
    Nothing,
}

/// Looks for an offset in a segment without trusting index, lengths or offsets: every batch from the segment's start is
/// checked. Slow, and only used once something is known to be wrong.
pub(crate) fn find_carefully(
    view: &Published,
    segment: &Segment,
    bounds: SegmentBounds,
    from: Offset,
) -> Result<Found> {
    let file = segment.file()?;
    let mut scanner = BatchScanner::new(Arc::clone(&file), 0, bounds.len);
    let mut expected = segment.base_offset();
    let mut damage: Option<Error> = None;
    loop {
        let step = match scanner.next_batch() {
            Ok(None) => break,
            Ok(Some(batch)) => check_place(view, bounds, &batch.header, expected, damage.is_none())
                .map(|()| (batch.position, batch.header))
                .map_err(|error| (error.in_file(file.path(), batch.position), true)),
            Err(error @ Error::Corrupt(_)) => Err((error, false)),
            Err(other) => return Err(other),
        };
        match step {
            Ok((position, header)) => {
                if let Some(error) = damage.take()
                    && header.base_offset_or(from) > from
                {
                    return Ok(Found::Damage(error.with_offsets(expected, header.base_offset())));
                }
                if header.last_offset() >= from {
                    return Ok(Found::Batch(position));
                }
                expected = header.next_offset();
            }
            // A misplaced batch has a good checksum, hence a good length: the next one follows it.
            Err((error, has_good_length)) => {
                damage.get_or_insert(error);
                if !has_good_length && !scanner.skip_damage(expected, bounds.next_offset)? {
                    break;
                }
            }
        }
    }
    Ok(match damage {
        Some(error) => Found::Damage(error.with_offsets(expected, bounds.next_offset)),
        None => Found::Nothing,
    })
}
