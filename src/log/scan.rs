//! [S] Walk a segment file batch by batch: the one reader under recovery, lookups past damage and the dump tool.
//!
//! Kafka's counterpart: `FileLogInputStream` with `LogSegment.recover`. Nothing is trusted: a length is believed only
//! as far as the file reaches, and a batch is given out only after its checksum was verified.

use std::sync::Arc;

use crate::error::{Damage, Error, IoContext, Result};
use crate::record::{BATCH_HEADER_LEN, BatchHeader, DECOMPRESSED_BYTES_MAX, legacy};
use crate::storage::StorageFile;
use crate::types::Offset;

/// Bytes read at a time.
const WINDOW_BYTES: usize = 256 << 10;
/// How often the bytes behind damage may be covered by checksums of would-be batches before a search gives up.
const EFFORT_MAX: u64 = 16;
/// Where the magic byte stands in a batch: the cheapest test of a candidate.
const MAGIC_AT: usize = 16;

/// Walks the batches of one segment file.
///
/// ```
/// use logstead::log::BatchScanner;
/// use logstead::storage::{MemStorage, OpenMode, Storage};
/// let storage = MemStorage::new();
/// let file = storage.open("/empty.log".as_ref(), OpenMode::CreateNew)?;
/// let mut scanner = BatchScanner::new(file, 0, 0);
/// assert!(scanner.next_batch()?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct BatchScanner {
    file: Arc<dyn StorageFile>,
    position: u64,
    end: u64,
    window: Vec<u8>,
    window_start: u64,
    gave_up: bool,
    /// Room for the compressed message sets of magic 0 and 1, which tell their base offset only when decompressed.
    set: Vec<u8>,
    /// Whether messages of magic 0 and 1 were met: only then a search looks for more of them.
    has_legacy: bool,
}

/// One intact batch of a segment file.
#[derive(Debug, Clone, Copy)]
pub struct ScannedBatch<'a> {
    /// Where it starts in the file, in bytes.
    pub position: u64,
    /// Its header. Of a compressed set of magic 0 or 1 that could not be decompressed it tells the last offset only: see
    /// [`is_base_offset_known`](BatchHeader::is_base_offset_known).
    pub header: BatchHeader,
    /// All of it.
    pub bytes: &'a [u8],
}

impl BatchScanner {
    /// Scans `[position, end)` of the file; `position` must be the start of a batch.
    pub fn new(file: Arc<dyn StorageFile>, position: u64, end: u64) -> BatchScanner {
        BatchScanner {
            file,
            position,
            end,
            window: Vec::new(),
            window_start: position,
            gave_up: false,
            set: Vec::new(),
            has_legacy: false,
        }
    }

    /// Where the next batch starts.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next batch, or `None` at the end.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when what stands here is not an intact batch; the scanner stays where it is.
    /// [`Error::Io`] when the file cannot be read.
    pub fn next_batch(&mut self) -> Result<Option<ScannedBatch<'_>>> {
        let position = self.position;
        if position >= self.end {
            return Ok(None);
        }
        match self.batch_size_at(position)? {
            Ok((header, size)) => {
                self.position = position + size as u64;
                let bytes = self.view(position, size);
                Ok(Some(ScannedBatch { position, header, bytes }))
            }
            Err(damage) => Err(damage.in_file(self.file.path(), position)),
        }
    }

    /// The base offset of the intact batch that stands here, if one does; the scanner stays where it is.
    pub(crate) fn peek_offset(&mut self) -> Result<Option<Offset>> {
        if self.position >= self.end {
            return Ok(None);
        }
        Ok(self.batch_size_at(self.position)?.ok().map(|(header, _)| header.base_offset()))
    }

    /// Whether only zeros stand between here and the end: space that was never written.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read.
    pub fn rest_is_zero(&mut self) -> Result<bool> {
        let mut position = self.position;
        while position < self.end {
            let len = self.fill(position, 1)?;
            if self.view(position, len).iter().any(|&byte| byte != 0) {
                return Ok(false);
            }
            position += len.max(1) as u64;
        }
        Ok(true)
    }

    /// Moves to the next intact batch behind damage whose base offset lies in `[lowest, limit)`; `false`, and the
    /// position at the end, when there is none. Looks at every byte, since a damaged length tells nothing. Bytes made to
    /// look like batch headers can make that long: after a bounded effort it gives up, and [`gave_up`](Self::gave_up) says so.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read.
    pub fn skip_damage(&mut self, lowest: Offset, limit: Offset) -> Result<bool> {
        let expects_legacy = self.expects_legacy()?;
        let mut found = self.search((lowest, limit), self.end, expects_legacy)?;
        if !expects_legacy {
            // The damage may hide what the file begins with. Bytes that only look like messages are no reason to doubt.
            let gave_up = self.gave_up;
            found = self.search((lowest, limit), found.unwrap_or(self.end), true)?.or(found);
            self.gave_up = gave_up;
        }
        self.position = found.unwrap_or(self.end);
        Ok(found.is_some())
    }

    /// The first intact batch between here and `until`, or message of magic 0 or 1 if those are looked for as well, whose
    /// offset lies in the range.
    fn search(&mut self, (lowest, limit): (Offset, Offset), until: u64, with_legacy: bool) -> Result<Option<u64>> {
        let mut position = self.position + 1;
        let mut effort = self.end.saturating_sub(position).saturating_mul(EFFORT_MAX);
        let least = if with_legacy { legacy::MESSAGE_BYTES_MIN } else { BATCH_HEADER_LEN };
        while position < until && position + least as u64 <= self.end {
            let len = self.fill(position, BATCH_HEADER_LEN)?;
            // What does not reach its header's end is looked at with the next window, unless there is none.
            let is_last = position + len as u64 >= self.end;
            let candidates = len.saturating_sub(if is_last { least } else { BATCH_HEADER_LEN } - 1);
            if candidates == 0 {
                break;
            }
            let window = self.view(position, len);
            let found = (0..candidates).find_map(|at| {
                let header = candidate(window.get(at..)?, least)?;
                let may_be_it = header.last_offset() >= lowest && header.base_offset_or(lowest) < limit;
                (may_be_it && header.base_offset_or(lowest) >= lowest).then_some((at, header))
            });
            let Some((at, header)) = found else {
                position += candidates as u64;
                continue;
            };
            position += at as u64;
            if position >= until {
                break;
            }
            // What reaches past the end is refused without a look at its bytes.
            let claimed = header.size_in_bytes() as u64;
            effort = effort.saturating_sub(if claimed <= self.end - position { claimed } else { 0 });
            if effort == 0 {
                self.gave_up = true;
                break;
            }
            if self.batch_size_at(position)?.is_ok_and(|(header, _)| header.base_offset_or(lowest) >= lowest) {
                return Ok(Some(position));
            }
            position += 1;
        }
        Ok(None)
    }

    /// Whether messages of magic 0 or 1 are likely here. Nearly any bytes look like the header of one, so that the search for them
    /// is left out where none were met, and the file does not begin with one either.
    fn expects_legacy(&mut self) -> Result<bool> {
        let mut magic = [u8::MAX];
        let read = self.file.read_full_at(MAGIC_AT as u64, &mut magic).context("read", self.file.path())?;
        Ok(self.has_legacy || (read > 0 && magic.iter().all(|magic| *magic < 2)))
    }

    /// Whether a search for intact batches ended before the end of the file: some may have been missed.
    pub fn gave_up(&self) -> bool {
        self.gave_up
    }

    /// The header and size of the intact batch at `position`, with all of it in the window; the inner error is damage,
    /// relative to `position`.
    #[allow(clippy::type_complexity, reason = "I/O errors and damage are two answers that callers treat differently")]
    fn batch_size_at(&mut self, position: u64) -> Result<Result<(BatchHeader, usize)>> {
        let available = self.end - position;
        // Messages of magic 0 and 1 may be shorter than the header of a batch.
        let len = self.fill(position, BATCH_HEADER_LEN)?.min(BATCH_HEADER_LEN);
        let bytes = self.view(position, len);
        if len < BATCH_HEADER_LEN && bytes.get(MAGIC_AT).is_none_or(|magic| *magic > 1) {
            let needed = BATCH_HEADER_LEN as u64;
            return Ok(Err(Error::corrupt(0, Damage::Truncated { needed, available })));
        }
        let header = match BatchHeader::parse(bytes) {
            Ok(header) => header,
            Err(damage) => return Ok(Err(damage)),
        };
        let size = header.size_in_bytes();
        if size as u64 > available {
            return Ok(Err(Error::corrupt(8, Damage::Truncated { needed: size as u64, available })));
        }
        self.fill(position, size)?;
        if let Err(damage) = header.verify_crc(self.view(position, size)) {
            return Ok(Err(damage));
        }
        self.has_legacy |= header.is_legacy();
        if header.is_base_offset_known() {
            return Ok(Ok((header, size)));
        }
        // A set that cannot be read is no damage of the log: it is taken by its last offset.
        let mut set = std::mem::take(&mut self.set);
        let resolved = legacy::resolve(&header, self.view(position, size), DECOMPRESSED_BYTES_MAX, &mut set);
        self.set = set;
        Ok(Ok((resolved.unwrap_or(header), size)))
    }

    /// Makes at least `[position, position + len)` available in the window, or as much as the file has; returns how much
    /// of the window lies from `position` on.
    fn fill(&mut self, position: u64, len: usize) -> Result<usize> {
        let have = self.in_window(position);
        if have >= len {
            return Ok(have);
        }
        let left = usize::try_from(self.end - position).unwrap_or(usize::MAX);
        let want = left.min(len.max(WINDOW_BYTES));
        self.window.resize(want, 0);
        self.window_start = position;
        let read = self.file.read_full_at(position, &mut self.window).context("read", self.file.path())?;
        self.window.truncate(read);
        if read < len.min(left) {
            let damage = Damage::Truncated { needed: len as u64, available: read as u64 };
            return Err(Error::corrupt(0, damage).in_file(self.file.path(), position));
        }
        Ok(read)
    }

    fn in_window(&self, position: u64) -> usize {
        let Some(skip) = position.checked_sub(self.window_start).and_then(|skip| usize::try_from(skip).ok()) else {
            return 0;
        };
        self.window.len().saturating_sub(skip)
    }

    fn view(&self, position: u64, len: usize) -> &[u8] {
        let start = position.checked_sub(self.window_start).and_then(|skip| usize::try_from(skip).ok());
        start.and_then(|start| self.window.get(start..)?.get(..len)).unwrap_or_default()
    }
}

/// What the bytes would be the header of, where they look like one; `least` bytes of them are there.
fn candidate(bytes: &[u8], least: usize) -> Option<BatchHeader> {
    match bytes.get(MAGIC_AT)? {
        2 if bytes.len() >= BATCH_HEADER_LEN => BatchHeader::parse(bytes).ok(),
        0 | 1 if least < BATCH_HEADER_LEN => {
            BatchHeader::parse(bytes).ok().filter(|header| legacy::is_plausible(header, bytes))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{MemStorage, OpenMode, Storage};

    fn scan(bytes: &[u8]) -> Error {
        let file = MemStorage::new().open("/0.log".as_ref(), OpenMode::Create).unwrap();
        file.write_all_at(0, bytes).unwrap();
        BatchScanner::new(file, 0, bytes.len() as u64).next_batch().unwrap_err()
    }

    /// Offset 0, size 60, checksum, magic, attributes and 54 bytes of key and value.
    fn message(magic: u8) -> Vec<u8> {
        let mut bytes = vec![0; 12 + 60];
        bytes[11] = 60;
        bytes[16] = magic;
        let crc = crc32fast::hash(&bytes[16..]);
        bytes[12..16].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    #[test]
    fn headers_that_claim_more_than_there_is_do_not_end_the_search() {
        let mut header = [0; BATCH_HEADER_LEN];
        header[8..12].copy_from_slice(&(1_i32 << 30).to_be_bytes());
        header[MAGIC_AT] = 2;
        let mut builder = crate::record::BatchBuilder::new(crate::record::BatchOptions::default());
        builder.append(None, None, Some(b"intact"), &[]).unwrap();
        let bytes = [&header.repeat(100)[..], builder.build().unwrap().bytes()].concat();
        let file = MemStorage::new().open("/0.log".as_ref(), OpenMode::Create).unwrap();
        file.write_all_at(0, &bytes).unwrap();
        let mut scanner = BatchScanner::new(file, 0, bytes.len() as u64);
        assert!(scanner.skip_damage(Offset::ZERO, Offset::MAX).unwrap());
        assert_eq!((scanner.position(), scanner.gave_up()), (100 * BATCH_HEADER_LEN as u64, false));
    }

    #[test]
    fn an_old_message_is_read_but_torn_bytes_that_look_like_one_are_damage() {
        for magic in [0, 1] {
            let mut bytes = message(magic);
            let file = MemStorage::new().open("/0.log".as_ref(), OpenMode::Create).unwrap();
            file.write_all_at(0, &bytes).unwrap();
            let mut scanner = BatchScanner::new(file, 0, bytes.len() as u64);
            assert_eq!(scanner.next_batch().unwrap().unwrap().header.magic(), magic);
            bytes[40] ^= 1;
            assert!(matches!(scan(&bytes), Error::Corrupt(_)));
            assert!(matches!(scan(&bytes[..65]), Error::Corrupt(_)));
        }
    }
}
