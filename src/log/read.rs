//! [S] Reading: offset to segment to position to slice, within the caller's limits (Kafka: `LocalLog.read`).
//!
//! A read takes the published snapshot and no other lock of the log. Every batch that leaves is checked: its checksum,
//! that it continues the one before, that it lies in its segment, and that its leader epoch is the one that the history
//! gives for its offset (the checksum covers neither offset nor epoch).

use std::sync::Arc;

use crate::error::{Corrupt, Damage, Error, IoContext, Result};
use crate::log::Log;
use crate::log::damage::{Found, find_carefully};
use crate::log::segment::{Segment, SegmentBounds};
use crate::log::slice::{LogSlice, SliceBytes, SlicePosition};
use crate::log::state::Published;
use crate::record::{BATCH_HEADER_LEN, BatchHeader};
use crate::types::Offset;

/// How far a read may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ReadIsolation {
    /// Everything that was appended: what followers fetch.
    LogEnd,
    /// What is committed: up to the high watermark.
    #[default]
    HighWatermark,
    /// What is committed and belongs to no open transaction: up to the last stable offset.
    LastStable,
}

/// The limits of a read.
///
/// ```
/// use logstead::log::{ReadIsolation, ReadLimits};
/// let limits = ReadLimits::bytes(64 << 10).isolation(ReadIsolation::LogEnd);
/// assert_eq!(limits.bytes_max(), 65_536);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    bytes_max: usize,
    isolation: ReadIsolation,
    at_least_one: bool,
}

impl ReadLimits {
    /// Up to this many bytes of whole batches, but at least one batch, so that a batch larger than the limit can pass.
    pub const fn bytes(bytes_max: usize) -> ReadLimits {
        ReadLimits { bytes_max, isolation: ReadIsolation::HighWatermark, at_least_one: true }
    }

    /// How far the read may see. Default: the high watermark.
    #[must_use]
    pub const fn isolation(mut self, isolation: ReadIsolation) -> ReadLimits {
        self.isolation = isolation;
        self
    }

    /// Never more than the byte limit, even if that means no batch at all.
    #[must_use]
    pub const fn strict(mut self) -> ReadLimits {
        self.at_least_one = false;
        self
    }

    /// The byte limit.
    pub const fn bytes_max(&self) -> usize {
        self.bytes_max
    }
}

/// Where the bytes of a read begin.
struct Located {
    segment: Segment,
    position: u64,
    bounds: SegmentBounds,
    /// Where the batch at `position` must start, when what stands before it says so.
    expected: Option<Offset>,
}

impl Log {
    /// Reads whole batches from the one that contains `from` on. Empty when nothing is there to see yet.
    ///
    /// # Errors
    /// - [`Error::OffsetOutOfRange`]: below the log start or above the log end.
    /// - [`Error::Corrupt`]: the bytes are damaged; it names the file, the position, and the offset behind the damage
    ///   from which reading can go on. Intact batches before the damage are returned first.
    /// - [`Error::Io`]: the file cannot be read.
    ///
    /// # Examples
    /// ```
    /// # use logstead::{log::*, config::LogConfig, types::*, record::*, storage::MemStorage};
    /// # use logstead::time::{Clock, ManualClock};
    /// # let clock = ManualClock::new();
    /// # let directory = LogDirectory::options().storage(MemStorage::new()).open("/data", clock.now())?;
    /// # let log = directory.open_log(&TopicPartition::new("orders", 0)?, None, LogConfig::new(), clock.now())?;
    /// # log.begin_epoch(LeaderEpoch::ZERO)?;
    /// # let mut builder = BatchBuilder::new(BatchOptions::default());
    /// # builder.append(Some(clock.now().wall), Some(b"key"), Some(b"value"), &[])?;
    /// # log.append_as_leader(&mut builder.build()?, clock.now())?;
    /// let slice = log.read(Offset::ZERO, ReadLimits::bytes(1 << 20).isolation(ReadIsolation::LogEnd))?;
    /// for batch in slice.batches() {
    ///     for record in batch?.records() {
    ///         assert_eq!(record.value(), Some(&b"value"[..]));
    ///     }
    /// }
    /// assert_eq!(slice.next_offset(), Offset::from(1));
    /// # Ok::<(), logstead::Error>(())
    /// ```
    pub fn read(&self, from: Offset, limits: ReadLimits) -> Result<LogSlice> {
        self.read_with_hint(from, limits, None)
    }

    /// Reads what follows an earlier slice: like [`read`](Self::read) from its next offset, without looking the position
    /// up again.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_after(&self, slice: &LogSlice, limits: ReadLimits) -> Result<LogSlice> {
        let end = slice.position();
        self.read_with_hint(end.next_offset, limits, Some((end.segment_base, end.end_position)))
    }

    fn read_with_hint(&self, from: Offset, limits: ReadLimits, hint: Option<(Offset, u64)>) -> Result<LogSlice> {
        loop {
            let view = self.published.lock().clone();
            let result = self.read_in(&view, from, limits, hint);
            // A truncation may have cut bytes under this read's feet; what it saw then is not damage.
            let cut_meanwhile = || self.published.lock().generation != view.generation;
            match result {
                Err(Error::Corrupt(_) | Error::Io { .. }) if cut_meanwhile() => {}
                other => return other.map_err(|error| error.in_partition(&self.context.tp)),
            }
        }
    }

    fn read_in(
        &self,
        view: &Published,
        from: Offset,
        limits: ReadLimits,
        hint: Option<(Offset, u64)>,
    ) -> Result<LogSlice> {
        if from < view.log_start || from > view.log_end {
            let tp = self.context.tp.clone();
            return Err(Error::OffsetOutOfRange { tp, requested: from, start: view.log_start, end: view.log_end });
        }
        let upper = match limits.isolation {
            ReadIsolation::LogEnd => view.log_end,
            ReadIsolation::HighWatermark => view.high_watermark,
            ReadIsolation::LastStable => view.last_stable,
        };
        let nothing = |next_offset| LogSlice::empty(position_of(view, from, next_offset, from, 0));
        if from >= upper {
            return Ok(nothing(from));
        }
        if let Some(damage) = known_damage(view, from) {
            return Err(Error::Corrupt(Box::new(damage.clone())));
        }
        let located = match self.locate_by_hint(view, from, hint)? {
            Some(located) => Some(located),
            None => self.locate(view, from)?,
        };
        let Some(located) = located else { return Ok(nothing(from)) };
        match self.read_located(view, from, upper, limits, &located) {
            Err(Error::Corrupt(_)) => self.read_carefully(view, from, upper, limits, located),
            other => other,
        }
    }

    /// The quick way met damage, perhaps only on the way to an offset that is intact: look again, checking every batch
    /// of the segment.
    fn read_carefully(
        &self,
        view: &Published,
        from: Offset,
        upper: Offset,
        limits: ReadLimits,
        located: Located,
    ) -> Result<LogSlice> {
        let Located { segment, bounds, .. } = located;
        match find_carefully(view, &segment, bounds, from)? {
            Found::Batch(position) => {
                let expected = None;
                self.read_located(view, from, upper, limits, &Located { segment, position, bounds, expected })
            }
            Found::Damage(error) => Err(error),
            Found::Nothing => {
                let (base, len) = (segment.base_offset(), bounds.len);
                Ok(LogSlice::empty(position_of(view, from, bounds.next_offset.max(from), base, len)))
            }
        }
    }

    /// The place that an earlier read ended at, if a batch that starts at `from` still stands there.
    fn locate_by_hint(&self, view: &Published, from: Offset, hint: Option<(Offset, u64)>) -> Result<Option<Located>> {
        let Some((segment_base, position)) = hint else { return Ok(None) };
        let Ok(index) = view.segments.binary_search_by_key(&segment_base, Segment::base_offset) else {
            return Ok(None);
        };
        let Some(segment) = view.segments.get(index).cloned() else { return Ok(None) };
        let bounds = segment.bounds();
        if position.saturating_add(BATCH_HEADER_LEN as u64) > bounds.len {
            return Ok(None);
        }
        let file = segment.file()?;
        let mut bytes = [0; BATCH_HEADER_LEN];
        file.read_exact_at(position, &mut bytes).context("read", file.path())?;
        let fits = BatchHeader::parse(&bytes).is_ok_and(|header| header.base_offset() == from);
        Ok(fits.then_some(Located { segment, position, bounds, expected: Some(from) }))
    }

    /// Finds the first batch that ends at or above `from`.
    fn locate(&self, view: &Published, from: Offset) -> Result<Option<Located>> {
        let first = view.segments.partition_point(|segment| segment.base_offset() <= from).saturating_sub(1);
        for segment in view.segments.iter().skip(first) {
            let bounds = segment.bounds();
            if bounds.next_offset <= from && segment.base_offset() <= from {
                continue;
            }
            if let Some((position, expected)) = self.walk_to(segment, bounds, from)? {
                return Ok(Some(Located { segment: segment.clone(), position, bounds, expected }));
            }
        }
        Ok(None)
    }

    /// The first batch of a segment that ends at or above `from`, by index entry and batch headers: its position, and
    /// where it must start, as far as that is known.
    pub(crate) fn walk_to(
        &self,
        segment: &Segment,
        bounds: SegmentBounds,
        from: Offset,
    ) -> Result<Option<(u64, Option<Offset>)>> {
        let start = Some(segment.base_offset());
        let Some(entry) = segment.index_floor(from)? else { return self.walk_from(segment, bounds, 0, start, from) };
        // The index is derived: it counts only when the batch that it names ends where it says.
        let file = segment.file()?;
        let mut bytes = [0; BATCH_HEADER_LEN];
        let is_right = file.read_exact_at(entry.position, &mut bytes).is_ok()
            && BatchHeader::parse(&bytes).is_ok_and(|header| header.last_offset() == entry.offset);
        match is_right {
            true => self.walk_from(segment, bounds, entry.position, None, from),
            false => self.walk_from(segment, bounds, 0, start, from),
        }
    }

    /// Walks batch headers from a batch's start on. What does not look like a batch is left to the checks of the read.
    fn walk_from(
        &self,
        segment: &Segment,
        bounds: SegmentBounds,
        start: u64,
        start_offset: Option<Offset>,
        from: Offset,
    ) -> Result<Option<(u64, Option<Offset>)>> {
        let file = segment.file()?;
        let window =
            usize::try_from(self.context.config.get_index_interval_bytes()).unwrap_or(0).clamp(4 << 10, 16 << 10);
        let mut buffer = self.pool.take(window + BATCH_HEADER_LEN);
        let (mut position, mut filled, mut at, mut expected) = (start, 0usize, 0usize, start_offset);
        while position < bounds.len {
            if filled.saturating_sub(at) < BATCH_HEADER_LEN {
                filled = file.read_full_at(position, buffer.as_mut_slice()).context("read", file.path())?;
                at = 0;
            }
            let bytes = buffer.as_slice().get(at..filled).unwrap_or_default();
            let Ok(header) = BatchHeader::parse(bytes) else { return Ok(Some((position, expected))) };
            if header.last_offset() >= from {
                return Ok(Some((position, expected)));
            }
            expected = Some(header.next_offset());
            position = position.saturating_add(header.size_in_bytes() as u64);
            at = at.saturating_add(header.size_in_bytes()).min(filled);
        }
        Ok(None)
    }

    /// Reads and checks batches from a batch's start on.
    fn read_located(
        &self,
        view: &Published,
        from: Offset,
        upper: Offset,
        limits: ReadLimits,
        located: &Located,
    ) -> Result<LogSlice> {
        let left = usize::try_from(located.bounds.len - located.position.min(located.bounds.len)).unwrap_or(usize::MAX);
        let (bytes, start) = match located.segment.map()? {
            Some(map) => (SliceBytes::Frozen(map), usize::try_from(located.position).unwrap_or(usize::MAX)),
            None => (self.read_buffer(located, limits, left)?, 0),
        };
        let whole = match &bytes {
            SliceBytes::Buffer(buffer) => buffer.as_slice(),
            SliceBytes::Frozen(frozen) => frozen,
        };
        let available = whole.get(start..).unwrap_or_default();
        let available = available.get(..left).unwrap_or(available);
        let check = BatchCheck { view, located, from, upper, limits };
        let (len, next_offset) = check.accept(available)?;
        let end_position = located.position + len as u64;
        let position = position_of(view, from, next_offset, located.segment.base_offset(), end_position);
        Ok(LogSlice::new(bytes, start, start + len, position))
    }

    /// Reads up to the byte limit, and as far as the first batch reaches if that is more.
    fn read_buffer(&self, located: &Located, limits: ReadLimits, left: usize) -> Result<SliceBytes> {
        let file = located.segment.file()?;
        let want = left.min(limits.bytes_max.max(BATCH_HEADER_LEN));
        let mut buffer = self.pool.take(want);
        let mut read = file.read_full_at(located.position, buffer.as_mut_slice()).context("read", file.path())?;
        if let Ok(first) = BatchHeader::parse(buffer.as_slice())
            && first.size_in_bytes() > read
            && limits.at_least_one
        {
            buffer.grow(first.size_in_bytes().min(left));
            read = file.read_full_at(located.position, buffer.as_mut_slice()).context("read", file.path())?;
        }
        buffer.grow(read);
        Ok(SliceBytes::Buffer(Arc::new(buffer)))
    }
}

/// Which batches of a read may go out.
struct BatchCheck<'a> {
    view: &'a Published,
    located: &'a Located,
    from: Offset,
    upper: Offset,
    limits: ReadLimits,
}

impl BatchCheck<'_> {
    /// How many bytes of whole, intact, visible batches `bytes` begins with, and the offset after them.
    fn accept(&self, bytes: &[u8]) -> Result<(usize, Offset)> {
        let (mut len, mut expected) = (0usize, None::<Offset>);
        let mut next_offset = self.from;
        while let Some(rest) = bytes.get(len..).filter(|rest| !rest.is_empty()) {
            if rest.len() < BATCH_HEADER_LEN && len > 0 {
                break;
            }
            let header =
                match BatchHeader::parse(rest).and_then(|header| self.check(&header, expected).map(|()| header)) {
                    Ok(header) => header,
                    Err(_) if len > 0 => break,
                    Err(error) => return Err(error),
                };
            let size = header.size_in_bytes();
            if header.last_offset() >= self.upper {
                break;
            }
            let fits = len.saturating_add(size) <= self.limits.bytes_max;
            if !fits && (len > 0 || !self.limits.at_least_one) {
                break;
            }
            let Some(batch) = rest.get(..size) else {
                if len > 0 {
                    break;
                }
                let what = Damage::Truncated { needed: size as u64, available: rest.len() as u64 };
                return Err(Error::corrupt(0, what));
            };
            match header.verify_crc(batch) {
                Ok(()) => {}
                Err(_) if len > 0 => break,
                Err(error) => return Err(error),
            }
            len += size;
            next_offset = header.next_offset();
            expected = Some(next_offset);
        }
        Ok((len, next_offset.max(self.from)))
    }

    /// What the checksum does not cover.
    fn check(&self, header: &BatchHeader, expected: Option<Offset>) -> Result<()> {
        let base = self.located.segment.base_offset();
        let expected = expected.or(self.located.expected);
        check_place(self.view, self.located.bounds, header, expected.unwrap_or(base), expected.is_some())?;
        if header.base_offset() > self.from && expected.is_none() && !self.view.has_gaps {
            let found = header.base_offset().get();
            return Err(Error::corrupt(0, Damage::Offset { expected: self.from, found }));
        }
        Ok(())
    }
}

/// Whether a batch with a good checksum stands where it belongs: it starts at `lowest` (or, unless `exact`, above), ends
/// within its segment, and carries the epoch of its offset.
pub(crate) fn check_place(
    view: &Published,
    bounds: SegmentBounds,
    header: &BatchHeader,
    lowest: Offset,
    exact: bool,
) -> Result<()> {
    let found = header.base_offset();
    let misplaced = found < lowest || (exact && !view.has_gaps && found != lowest);
    if misplaced || header.next_offset() > bounds.next_offset.max(view.log_end) {
        return Err(Error::corrupt(0, Damage::Offset { expected: lowest, found: found.get() }));
    }
    let epoch = view.epochs.epoch_for(found);
    if epoch.is_some() && epoch != header.leader_epoch() {
        return Err(Error::corrupt(12, Damage::LeaderEpoch { expected: epoch, found: header.leader_epoch() }));
    }
    Ok(())
}

fn known_damage(view: &Published, from: Offset) -> Option<&Corrupt> {
    view.damage
        .iter()
        .find(|damage| damage.offsets.is_some_and(|offsets| offsets.first <= from && from < offsets.next_intact))
}

fn position_of(view: &Published, from: Offset, next: Offset, segment_base: Offset, end_position: u64) -> SlicePosition {
    SlicePosition {
        fetch_offset: from,
        next_offset: next,
        segment_base,
        end_position,
        log_start: view.log_start,
        high_watermark: view.high_watermark,
        last_stable_offset: view.last_stable,
        log_end: view.log_end,
    }
}
