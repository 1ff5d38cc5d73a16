//! [S] Reading: offset to segment to position to slice, within the caller's limits (Kafka: `LocalLog.read`).
//!
//! A read takes the published snapshot and no other lock of the log. Every batch that leaves is checked: its checksum,
//! that it continues the one before, that it lies in its segment, and that its leader epoch is the one that the history
//! gives for its offset (the checksum covers neither offset nor epoch).

use std::sync::Arc;

use crate::config::Isolation;
use crate::error::{Corrupt, Damage, Error, IoContext, Result};
use crate::log::Log;
use crate::log::context::LogContext;
use crate::log::damage::{Found, find_carefully};
use crate::log::segment::{Segment, SegmentBounds};
use crate::log::slice::{BufferPool, LogSlice, PooledBuffer, SliceBytes, SlicePosition};
use crate::log::state::Published;
use crate::log::txn_index::AbortedTransaction;
use crate::record::{BATCH_HEADER_LEN, BatchHeader, legacy};
use crate::storage::{FrozenBytes, StorageFile};
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

impl From<Isolation> for ReadIsolation {
    /// What a consumer of this isolation may see.
    fn from(isolation: Isolation) -> ReadIsolation {
        match isolation {
            Isolation::ReadCommitted => ReadIsolation::LastStable,
            Isolation::ReadUncommitted => ReadIsolation::HighWatermark,
        }
    }
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
    /// The size that the batch at `position` gives itself, as far as somebody has looked.
    batch_size: Option<usize>,
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
    /// # let directory = LogDirectory::options().storage(MemStorage::new()).open("/data")?;
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
        self.read_with_hint(slice.next_offset(), limits, Some(Hint::after(slice)))
    }

    fn read_with_hint(&self, from: Offset, limits: ReadLimits, hint: Option<Hint>) -> Result<LogSlice> {
        let reader = SegmentReader { context: &self.context, pool: &self.pool };
        loop {
            let view = self.published.lock().clone();
            view.check_present()?;
            let result = reader.read(&view, from, limits, hint);
            match result {
                Err(Error::Corrupt(_) | Error::Io { .. }) if self.has_lost_since(&view) => {}
                other => return other.map_err(|error| error.in_partition(&self.context.tp)),
            }
        }
    }
}

impl Log {
    /// Whether a truncation or a deletion may have taken bytes away under the feet of whoever reads by this view: what it saw
    /// then is not damage.
    fn has_lost_since(&self, view: &Published) -> bool {
        let published = self.published.lock();
        (published.generation, published.log_start) != (view.generation, view.log_start)
    }
}

/// Where a slice ended: where what follows it should stand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hint {
    segment_base: Offset,
    position: u64,
}

impl Hint {
    pub(crate) fn after(slice: &LogSlice) -> Hint {
        let end = slice.position();
        Hint { segment_base: end.segment_base, position: end.end_position }
    }
}

/// Reads from the segments of a view, whoever made it: the owner of the log, or somebody who only looks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SegmentReader<'a> {
    pub(crate) context: &'a LogContext,
    pub(crate) pool: &'a Arc<BufferPool>,
}

impl SegmentReader<'_> {
    /// Whole batches from the one that contains `from` on, as far as the view and the limits allow.
    pub(crate) fn read(
        &self,
        view: &Published,
        from: Offset,
        limits: ReadLimits,
        hint: Option<Hint>,
    ) -> Result<LogSlice> {
        let damage = known_damage(view, from).filter(|_| from >= view.log_start);
        if let Some(damage) = damage {
            // Asked first: damage at the log's end reaches past what is left of it.
            return Err(Error::Corrupt(Box::new(damage.clone())));
        }
        if from < view.log_start || from > view.log_end {
            let tp = self.context.tp.clone();
            return Err(Error::OffsetOutOfRange { tp, requested: from, start: view.log_start, end: view.log_end });
        }
        let upper = view.end_for(limits.isolation);
        let nothing = |next_offset| LogSlice::empty(position_of(view, from, next_offset, from, 0));
        if from >= upper {
            return Ok(nothing(from));
        }
        if let Some(located) = locate_by_hint(view, from, hint) {
            let (bytes, start) = self.fetch(&located, limits)?;
            // The log may have been cut and written anew since the hint was given.
            if BatchHeader::parse(visible(&bytes, start, &located))
                .is_ok_and(|header| header.base_offset_or(from) == from)
            {
                return match accept(view, from, upper, limits, &located, (bytes, start)) {
                    Err(Error::Corrupt(_) | Error::InvalidRecord { .. }) => {
                        self.read_carefully(view, from, upper, limits, located)
                    }
                    other => other,
                };
            }
        }
        let Some(located) = self.locate(view, from)? else { return Ok(nothing(from)) };
        let fetched = self.fetch(&located, limits)?;
        match accept(view, from, upper, limits, &located, fetched) {
            Err(Error::Corrupt(_) | Error::InvalidRecord { .. }) => {
                self.read_carefully(view, from, upper, limits, located)
            }
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
                let located = Located { segment, position, bounds, expected: None, batch_size: None };
                accept(view, from, upper, limits, &located, self.fetch(&located, limits)?)
            }
            Found::Damage(error) => Err(error),
            Found::Nothing => {
                let (base, len) = (segment.base_offset(), bounds.len);
                Ok(LogSlice::empty(position_of(view, from, bounds.next_offset.max(from), base, len)))
            }
        }
    }

    /// Finds the first batch that ends at or above `from`.
    fn locate(&self, view: &Published, from: Offset) -> Result<Option<Located>> {
        let first = view.segments.partition_point(|segment| segment.base_offset() <= from).saturating_sub(1);
        for segment in view.segments.iter().skip(first) {
            let bounds = segment.bounds();
            if bounds.next_offset <= from && segment.base_offset() <= from {
                continue;
            }
            let located = self.walk_to(segment, bounds, from)?;
            if located.is_some() {
                return Ok(located);
            }
        }
        Ok(None)
    }

    /// The first batch of a segment that ends at or above `from`, by index entry and batch headers. What does not look like
    /// a batch is left to the checks of the read.
    fn walk_to(&self, segment: &Segment, bounds: SegmentBounds, from: Offset) -> Result<Option<Located>> {
        let mut headers = Headers::of(*self, segment)?;
        let (mut position, mut expected) = (0, Some(segment.base_offset()));
        if let Some(entry) = segment.index_floor(from)? {
            // The index is derived: it counts only when the batch that it names ends where it says.
            let named = headers.at(entry.position).ok().flatten();
            if named.is_some_and(|header| header.last_offset() == entry.offset) {
                (position, expected) = (entry.position, None);
            }
        }
        while position < bounds.len {
            let header = headers.at(position)?;
            let batch_size = header.map(|header| header.size_in_bytes());
            let end = position.saturating_add(batch_size.unwrap_or_default() as u64);
            match header {
                // A length that leads out of the segment is damaged: going by it would skip what follows.
                Some(header) if header.last_offset() < from && end <= bounds.len => {
                    expected = Some(header.next_offset());
                    position = end;
                }
                _ => return Ok(Some(Located { segment: segment.clone(), position, bounds, expected, batch_size })),
            }
        }
        Ok(None)
    }

    /// The bytes of a read, which begin at the position returned with them.
    fn fetch(&self, located: &Located, limits: ReadLimits) -> Result<(SliceBytes, usize)> {
        match located.segment.map()? {
            Some(map) => Ok((SliceBytes::Frozen(map), usize::try_from(located.position).unwrap_or(usize::MAX))),
            None => Ok((self.read_buffer(located, limits)?, 0)),
        }
    }

    /// Reads up to the byte limit, and as far as the first batch reaches if that is more.
    fn read_buffer(&self, located: &Located, limits: ReadLimits) -> Result<SliceBytes> {
        let file = located.segment.file()?;
        let left = located.bytes_left();
        let first = located.batch_size.filter(|_| limits.at_least_one).unwrap_or(BATCH_HEADER_LEN);
        let want = left.min(limits.bytes_max.max(first));
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

impl Located {
    /// Bytes from here to the end of the segment.
    fn bytes_left(&self) -> usize {
        usize::try_from(self.bounds.len.saturating_sub(self.position)).unwrap_or(usize::MAX)
    }
}

/// The place that an earlier read ended at, as far as the segment reaches so far.
fn locate_by_hint(view: &Published, from: Offset, hint: Option<Hint>) -> Option<Located> {
    let Hint { segment_base, position } = hint?;
    let index = view.segments.binary_search_by_key(&segment_base, Segment::base_offset).ok()?;
    let segment = view.segments.get(index)?.clone();
    let bounds = segment.bounds();
    let is_inside = position.saturating_add(legacy::MESSAGE_BYTES_MIN as u64) <= bounds.len;
    is_inside.then_some(Located { segment, position, bounds, expected: Some(from), batch_size: None })
}

/// What was fetched for a read, without what stands behind the segment's end.
fn visible<'a>(bytes: &'a SliceBytes, start: usize, located: &Located) -> &'a [u8] {
    let whole = match bytes {
        SliceBytes::Buffer(buffer) => buffer.as_slice(),
        SliceBytes::Frozen(frozen) => frozen,
    };
    let available = whole.get(start..).unwrap_or_default();
    available.get(..located.bytes_left()).unwrap_or(available)
}

/// The slice of those batches that are intact and that the reader may see.
fn accept(
    view: &Published,
    from: Offset,
    upper: Offset,
    limits: ReadLimits,
    located: &Located,
    (bytes, start): (SliceBytes, usize),
) -> Result<LogSlice> {
    let check = BatchCheck { view, located, from, upper, limits };
    let (len, next_offset) = check.accept(visible(&bytes, start, located))?;
    let end_position = located.position + len as u64;
    let position = position_of(view, from, next_offset, located.segment.base_offset(), end_position);
    Ok(LogSlice::new(bytes, start, start + len, position))
}

/// The batch headers of a segment, at positions that mostly ascend: from its map, or with as few and as short reads as
/// the size of the batches allows.
struct Headers<'a> {
    reader: SegmentReader<'a>,
    map: Option<FrozenBytes>,
    file: Arc<dyn StorageFile>,
    /// Several headers in one read, for batches smaller than that.
    window: Option<PooledBuffer>,
    window_start: u64,
    window_bytes: usize,
    /// The size of the batch looked at last: the next one's is likely to be the same.
    last_size: usize,
}

impl Headers<'_> {
    fn of<'a>(reader: SegmentReader<'a>, segment: &Segment) -> Result<Headers<'a>> {
        let interval = usize::try_from(segment.index_interval_bytes()).unwrap_or(0);
        Ok(Headers {
            reader,
            map: segment.map()?,
            file: segment.file()?,
            window: None,
            window_start: 0,
            window_bytes: interval.clamp(4 << 10, 16 << 10),
            last_size: usize::MAX,
        })
    }

    /// The header at `position`; `None` when what stands there is none.
    fn at(&mut self, position: u64) -> Result<Option<BatchHeader>> {
        let parsed = if let Some(map) = &self.map {
            BatchHeader::parse(usize::try_from(position).ok().and_then(|at| map.get(at..)).unwrap_or_default())
        } else if let Some(bytes) = self.in_window(position) {
            BatchHeader::parse(bytes)
        } else if self.last_size > self.window_bytes {
            let mut bytes = [0; BATCH_HEADER_LEN];
            let read = self.file.read_full_at(position, &mut bytes).context("read", self.file.path())?;
            BatchHeader::parse(bytes.get(..read).unwrap_or_default())
        } else {
            BatchHeader::parse(self.fill_window(position)?)
        };
        let header = parsed.ok();
        self.last_size = header.map_or(usize::MAX, |header| header.size_in_bytes());
        Ok(header)
    }

    fn in_window(&self, position: u64) -> Option<&[u8]> {
        let at = usize::try_from(position.checked_sub(self.window_start)?).ok()?;
        self.window.as_ref()?.as_slice().get(at..).filter(|bytes| bytes.len() >= BATCH_HEADER_LEN)
    }

    fn fill_window(&mut self, position: u64) -> Result<&[u8]> {
        let len = self.window_bytes + BATCH_HEADER_LEN;
        let window = self.window.get_or_insert_with(|| self.reader.pool.take(len));
        window.grow(len);
        let read = self.file.read_full_at(position, window.as_mut_slice()).context("read", self.file.path())?;
        window.grow(read);
        self.window_start = position;
        Ok(window.as_slice())
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
            let header =
                match BatchHeader::parse(rest).and_then(|header| self.check(&header, expected).map(|()| header)) {
                    Ok(header) => header,
                    Err(_) if len > 0 => break,
                    Err(error) => return Err(error),
                };
            let size = header.size_in_bytes();
            if len == 0 && header.last_offset() < self.from {
                // The walk came no further.
                let needed = size as u64;
                return Err(Error::corrupt(8, Damage::Truncated { needed, available: rest.len() as u64 }));
            }
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
        if header.base_offset_or(self.from) > self.from && expected.is_none() && !self.view.has_gaps {
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
    let found = header.base_offset_or(lowest);
    let misplaced = found < lowest || (exact && !view.has_gaps && found != lowest);
    if misplaced || header.next_offset() > bounds.next_offset.max(view.log_end) {
        return Err(Error::corrupt(0, Damage::Offset { expected: lowest, found: found.get() }));
    }
    let epoch = view.epochs.epoch_for(found);
    if epoch.is_some() && epoch != header.leader_epoch() && !header.is_legacy() {
        return Err(Error::corrupt(12, Damage::LeaderEpoch { expected: epoch, found: header.leader_epoch() }));
    }
    Ok(())
}

/// Aborted transactions that a `read_committed` reader of `[from, upper)` must filter out.
pub(crate) fn aborted_between(segments: &[Segment], from: Offset, upper: Offset) -> Result<Vec<AbortedTransaction>> {
    let first = segments.partition_point(|segment| segment.base_offset() <= from).saturating_sub(1);
    let mut found = Vec::new();
    for segment in segments.iter().skip(first) {
        for entry in segment.aborted_transactions()? {
            if entry.last_offset >= from && entry.first_offset < upper {
                found.push(entry);
            }
            if entry.last_stable_offset >= upper {
                return Ok(found);
            }
        }
    }
    Ok(found)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LogConfig, ReadMode};
    use crate::log::LogDirectory;
    use crate::record::{BatchBuilder, BatchOptions};
    use crate::storage::MemStorage;
    use crate::time::{Clock, ManualClock};
    use crate::types::{LeaderEpoch, TopicPartition};

    const LIMITS: ReadLimits = ReadLimits::bytes(1).isolation(ReadIsolation::LogEnd);

    /// A log in segments of 64 KiB, all but the newest sealed; `sizes` are those of the values, three to a batch.
    fn log_of(mode: ReadMode, sizes: impl Iterator<Item = usize>) -> (LogDirectory, Arc<Log>) {
        let now = ManualClock::new().now();
        let directory = LogDirectory::options().seed(1).storage(MemStorage::new()).open("/data").unwrap();
        let config = LogConfig::new().segment_bytes(64 << 10).read_mode(mode);
        let log = directory.open_log(&TopicPartition::new("orders", 0).unwrap(), None, config, now).unwrap();
        log.begin_epoch(LeaderEpoch::ZERO).unwrap();
        for size in sizes {
            append(&log, size);
        }
        log.flush().unwrap();
        (directory, log)
    }

    fn append(log: &Log, size: usize) {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        for _ in 0..3 {
            builder.append(None, None, Some(&vec![b'v'; size]), &[]).unwrap();
        }
        log.append_as_leader(&mut builder.build().unwrap(), ManualClock::new().now()).unwrap();
    }

    #[test]
    fn every_offset_is_found_whatever_the_sizes_of_the_batches() {
        for mode in [ReadMode::Positioned, ReadMode::Mapped] {
            for sizes in [vec![10], vec![400], vec![7000], vec![10, 7000], vec![10, 10, 10, 1400, 400, 7000]] {
                let (_directory, log) = log_of(mode, sizes.iter().copied().cycle().take(120));
                for offset in 0..360u32 {
                    let slice = log.read(offset.into(), LIMITS).unwrap();
                    let first = slice.headers().next().unwrap().unwrap();
                    assert_eq!(first.base_offset(), Offset::from(offset / 3 * 3), "{mode:?} {sizes:?} {offset}");
                    assert_eq!(slice.next_offset(), first.next_offset());
                }
            }
        }
    }

    #[test]
    fn reading_on_finds_its_place_after_the_log_was_cut_and_written_anew() {
        let (_directory, log) = log_of(ReadMode::Positioned, [100; 20].into_iter());
        let slice = log.read(Offset::from(27), LIMITS).unwrap();
        log.truncate_to(Offset::from(6), ManualClock::new().now()).unwrap();
        log.begin_epoch(LeaderEpoch::new(1).unwrap()).unwrap();
        for _ in 0..20 {
            append(&log, 70);
        }
        let next = log.read_after(&slice, LIMITS).unwrap();
        assert_eq!(next.headers().next().unwrap().unwrap().base_offset(), Offset::from(30));
    }
}
