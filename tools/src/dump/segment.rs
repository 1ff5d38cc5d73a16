//! The batches of `.log` files, and of the tails that recovery has cut off a log (`.cut`).
//!
//! The file is read in pieces, whatever its size. What is printed was checked: the checksum of each batch, and, where it
//! does not reach (base offset, length), that the batch continues the one before and lies in its segment.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use logstead::Error;
use logstead::error::Damage;
use logstead::log::{BatchScanner, Seal, SegmentFile};
use logstead::record::{BATCH_HEADER_LEN, BatchHeader, ControlRecord, RecordBatch};
use logstead::storage::StorageFile;
use logstead::types::Offset;

use super::batch::{Batch, Content};
use super::input;
use super::output::Session;
use super::trouble::{Stop, Trouble};

/// The offsets of a segment lie within 2^31 of its base: its index has 31 bits for them.
const SPAN_MAX: u64 = (1 << 31) - 1;

/// Prints a `.log` up to its end or its first damage.
pub(crate) fn dump_log(session: &mut Session<'_>, path: &Path, base_offset: Offset) -> Result<(), Stop> {
    session.heading(format_args!("Log starting offset: {base_offset}"))?;
    let (file, len) = input::open(path)?;
    let seal = read_seal(session, path, base_offset)?;
    let end = seal.as_ref().map_or(len, |seal| seal.log_len.min(len));
    let mut scanner = BatchScanner::new(Arc::clone(&file), 0, end);
    let mut printer = BatchPrinter::new(path);
    let mut place = Place::first(base_offset, seal.as_ref());
    loop {
        match scanner.next_batch() {
            Ok(None) => break,
            Ok(Some(batch)) => {
                place.check(batch.position, &batch.header)?;
                printer.print(session, batch.position, batch.header, batch.bytes)?;
                place.expected = batch.header.next_offset();
            }
            Err(error @ Error::Io { .. }) => return Err(error.into()),
            Err(error) => {
                // Space that was never written; a finished segment has none.
                if seal.is_none() && scanner.rest_is_zero()? {
                    break;
                }
                let header = header_of_damaged(&file, scanner.position(), end, &error)?;
                if let Some(header) = header.filter(|header| place.check(0, header).is_ok()) {
                    printer.print_invalid(session, scanner.position(), header)?;
                }
                return Err(error.into());
            }
        }
    }
    seal.map_or(Ok(()), |seal| check_length(&file, len, &seal))
}

/// Prints the intact batches of a `.cut`. Recovery keeps one because intact batches follow damage: each piece of damage is
/// told and passed over.
pub(crate) fn dump_cut(session: &mut Session<'_>, path: &Path, base_offset: Offset) -> Result<(), Stop> {
    session.heading(format_args!("Log starting offset: {base_offset}"))?;
    let (file, len) = input::open(path)?;
    let mut scanner = BatchScanner::new(Arc::clone(&file), 0, len);
    let mut printer = BatchPrinter::new(path);
    loop {
        match scanner.next_batch() {
            Ok(None) => return Ok(()),
            Ok(Some(batch)) => printer.print(session, batch.position, batch.header, batch.bytes)?,
            Err(error @ Error::Io { .. }) => return Err(error.into()),
            Err(error) => {
                if scanner.rest_is_zero()? {
                    return Ok(());
                }
                if let Some(header) = header_of_damaged(&file, scanner.position(), len, &error)? {
                    printer.print_invalid(session, scanner.position(), header)?;
                }
                session.report(path, &Trouble::Library(error))?;
                scanner.skip_damage(Offset::ZERO, Offset::MAX)?;
            }
        }
    }
}

/// Where the next batch may lie.
struct Place {
    base_offset: Offset,
    /// The lowest offset that it may start with: compaction leaves gaps.
    expected: Offset,
    /// The offset that no batch may reach, where the seal names one.
    limit: Offset,
}

impl Place {
    fn first(base_offset: Offset, seal: Option<&Seal>) -> Place {
        Place { base_offset, expected: base_offset, limit: seal.map_or(Offset::MAX, |seal| seal.next_offset) }
    }

    fn check(&self, position: u64, header: &BatchHeader) -> Result<(), Trouble> {
        let is_in_place = header.base_offset_or(self.expected) >= self.expected
            && header.last_offset().since(self.base_offset) <= SPAN_MAX
            && header.next_offset() <= self.limit;
        if is_in_place {
            return Ok(());
        }
        let what = Damage::Offset { expected: self.expected, found: header.base_offset().get() };
        Err(Trouble::Damaged { position, what })
    }
}

/// Prints the batches of one file.
struct BatchPrinter<'a> {
    path: &'a Path,
    /// The codecs that stderr has been told about.
    codecs_missed: BTreeSet<&'static str>,
}

impl<'a> BatchPrinter<'a> {
    fn new(path: &'a Path) -> BatchPrinter<'a> {
        BatchPrinter { path, codecs_missed: BTreeSet::new() }
    }

    /// Prints a batch whose checksum is right.
    fn print(
        &mut self,
        session: &mut Session<'_>,
        position: u64,
        header: BatchHeader,
        bytes: &[u8],
    ) -> Result<(), Stop> {
        let mut batch = Batch { position, header, is_valid: true, content: Content::Unasked };
        if !session.is_deep() {
            return Ok(batch.print(session)?);
        }
        let trouble = match RecordBatch::from_checked_bytes(bytes) {
            Ok(read) => {
                let trouble = check_controls(&read, position);
                batch.content = Content::Records(read);
                trouble
            }
            Err(error) => {
                batch.content = Content::Unreadable(reason(&error));
                Some(at_batch(error, position))
            }
        };
        batch.print(session)?;
        match trouble {
            None => Ok(()),
            // The batch itself is intact: what follows it may be shown.
            Some(trouble @ Trouble::Unshown { .. }) => {
                let is_codec_missing =
                    matches!(trouble, Trouble::Unshown { error: Error::UnsupportedCodec { .. }, .. });
                if !is_codec_missing || self.codecs_missed.insert(header.codec().as_str()) {
                    session.report(self.path, &trouble)?;
                }
                Ok(())
            }
            Some(damage) => Err(damage.into()),
        }
    }

    /// Prints a batch whose checksum is wrong: its header may be right all the same.
    fn print_invalid(&self, session: &mut Session<'_>, position: u64, header: BatchHeader) -> Result<(), Stop> {
        let content = match session.is_deep() {
            true => Content::Unreadable("the checksum is wrong".into()),
            false => Content::Unasked,
        };
        Ok(Batch { position, header, is_valid: false, content }.print(session)?)
    }
}

/// Why the records of a batch cannot be shown, without the position: that stands in the line already.
fn reason(error: &Error) -> String {
    match error {
        Error::Corrupt(corrupt) => corrupt.what.to_string(),
        other => other.to_string(),
    }
}

/// The library speaks of a batch; stderr needs the position in the file.
fn at_batch(error: Error, batch_position: u64) -> Trouble {
    match error {
        Error::Corrupt(corrupt) => {
            Trouble::Damaged { position: batch_position.saturating_add(corrupt.position), what: corrupt.what }
        }
        error => Trouble::Unshown { position: batch_position, error },
    }
}

/// The first control record that says nothing legible.
fn check_controls(batch: &RecordBatch<'_>, position: u64) -> Option<Trouble> {
    if !batch.header().is_control() {
        return None;
    }
    batch.records().find_map(|record| match ControlRecord::parse(record.key(), record.value()) {
        Err(Error::Corrupt(corrupt)) => Some(Trouble::Damaged { position, what: corrupt.what }),
        Err(error) => Some(Trouble::Unshown { position, error }),
        Ok(_) => None,
    })
}

/// The header of the batch that the scanner stumbled over, if the only thing wrong is its checksum.
fn header_of_damaged(
    file: &Arc<dyn StorageFile>,
    position: u64,
    end: u64,
    error: &Error,
) -> Result<Option<BatchHeader>, Trouble> {
    let mut bytes = [0; BATCH_HEADER_LEN];
    let available = usize::try_from(end.saturating_sub(position)).unwrap_or(usize::MAX).min(BATCH_HEADER_LEN);
    let window = bytes.get_mut(..available).unwrap_or_default();
    file.read_full_at(position, window).map_err(|source| Trouble::Unreadable { operation: "read", source })?;
    match (BatchHeader::parse(window), error) {
        (Ok(header), Error::Corrupt(corrupt)) if matches!(corrupt.what, Damage::Checksum { .. }) => Ok(Some(header)),
        _ => Ok(None),
    }
}

/// The seal beside a log, if there is a sound one that belongs to it. An unsound one is told, and the log is printed as
/// if there were none.
fn read_seal(session: &mut Session<'_>, log: &Path, base_offset: Offset) -> Result<Option<Seal>, Stop> {
    let path = log.with_file_name(SegmentFile::Seal.name(base_offset));
    let bytes = match input::read_whole(&path) {
        Ok(bytes) => bytes,
        Err(Trouble::Unreadable { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(trouble) => {
            session.report(&path, &trouble)?;
            return Ok(None);
        }
    };
    match Seal::from_bytes(&bytes) {
        Ok(seal) if seal.subject.base_offset == base_offset => return Ok(Some(seal)),
        Ok(seal) => {
            let what = Damage::Offset { expected: base_offset, found: seal.subject.base_offset.get() };
            session.report(&path, &Trouble::Damaged { position: 0, what })?;
        }
        Err(error) => session.report(&path, &Trouble::Library(error))?,
    }
    Ok(None)
}

/// A finished segment is exactly as long as its seal says; zeros behind its end may be space that was not trimmed.
fn check_length(file: &Arc<dyn StorageFile>, len: u64, seal: &Seal) -> Result<(), Stop> {
    if len < seal.log_len {
        let what = Damage::Missing { expected: Some(seal.log_len), found: len };
        return Err(Trouble::Damaged { position: len, what }.into());
    }
    if BatchScanner::new(Arc::clone(file), seal.log_len, len).rest_is_zero()? {
        return Ok(());
    }
    let what = Damage::Structure("bytes follow the end that the seal names");
    Err(Trouble::Damaged { position: seal.log_len, what }.into())
}
