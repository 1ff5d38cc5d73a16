//! One `.log`: every batch of it, what follows damage, and how it ends.
//!
//! The file is read in pieces. A bad batch with intact ones behind it is damage, and so is one that was durable; else
//! it is the end of an unfinished write.

use std::path::Path;
use std::sync::Arc;

use logstead::Error;
use logstead::log::{BatchScanner, ScannedBatch};
use logstead::storage::StorageFile;
use logstead::types::Offset;

use super::batch::BatchReader;
use super::files;
use super::index::{Indexes, SegmentExtent};
use super::log::{Bounds, LogWalk};
use super::producers::Aborts;
use super::report::{Findings, Spot};

/// What is checked beside the log of a segment.
pub(crate) struct Beside {
    pub(crate) indexes: Indexes,
    pub(crate) aborts: Aborts,
}

/// Walks one segment.
pub(crate) struct SegmentWalk<'a> {
    findings: &'a mut Findings,
    log: &'a mut LogWalk,
    path: &'a Path,
    bounds: Bounds,
    file: Arc<dyn StorageFile>,
    len: u64,
    reader: BatchReader<'a>,
    beside: Beside,
    /// Damage whose end is not known yet: position, first offset, what is wrong.
    pending: Option<(u64, Offset, String)>,
    /// Where the intact part ends.
    intact_len: u64,
    /// Whether an unfinished tail follows.
    has_tail: bool,
}

/// A call failed: the rest of the file cannot be judged.
type Step<T> = Result<T, std::io::Error>;

/// Checks a segment; its damaged positions stay in `log`.
pub(crate) fn check(findings: &mut Findings, log: &mut LogWalk, path: &Path, bounds: Bounds, beside: Beside) {
    log.enter(findings, path, bounds.base);
    let Some(files::Opened { file, len }) = files::open(findings, path) else { return };
    let mut walk = SegmentWalk {
        findings,
        log,
        path,
        bounds,
        file,
        len,
        reader: BatchReader::new(path),
        beside,
        pending: None,
        intact_len: 0,
        has_tail: false,
    };
    if let Err(error) = walk.run() {
        files::complain(walk.findings, path, "read", &error);
        walk.has_tail = true;
    }
    walk.finish();
}

impl SegmentWalk<'_> {
    fn run(&mut self) -> Step<()> {
        let mut scanner = self.scanner(0);
        loop {
            if self.findings.is_full(self.path) {
                let what = "too much of the file is damaged: the rest is not looked at";
                self.findings.note("given-up", Spot::at(self.path, scanner.position()), what);
                self.has_tail = true;
                return Ok(());
            }
            match scanner.next_batch() {
                Ok(None) => return Ok(()),
                Ok(Some(batch)) => self.on_batch(&batch),
                Err(Error::Io { source, .. }) => return Err(std::io::Error::new(source.kind(), source.to_string())),
                Err(error) => {
                    if !self.on_damage(&mut scanner, &error)? {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn scanner(&self, position: u64) -> BatchScanner {
        BatchScanner::new(Arc::clone(&self.file), position, self.len)
    }

    fn expected(&self) -> Offset {
        self.log.end().unwrap_or(self.bounds.base)
    }

    fn on_batch(&mut self, batch: &ScannedBatch<'_>) {
        let header = &batch.header;
        let end = batch.position.saturating_add(header.size_in_bytes() as u64);
        self.end_damage(batch.position, header.base_offset_or(self.expected()));
        let content = self.reader.read(self.findings, batch);
        if content.has_gaps {
            self.log.producers.is_complete = false;
        }
        let damage_before = self.log.bad_positions.len();
        for placed in self.log.place(self.findings, self.path, (batch.position, header), self.bounds) {
            self.beside.indexes.on_batch(placed);
        }
        if self.log.bad_positions.len() == damage_before {
            self.log.epochs.on_batch(self.findings, self.path, batch.position, header);
        }
        if header.is_control() {
            self.on_controls(batch, &content.controls);
        } else {
            self.log.producers.on_data(self.findings, self.path, batch.position, header);
        }
        self.check_witness(batch.position, end, header.crc());
        self.intact_len = end;
    }

    fn on_controls(&mut self, batch: &ScannedBatch<'_>, controls: &[(Offset, logstead::record::ControlRecord)]) {
        let Some(producer) = batch.header.producer() else { return };
        let must_be_indexed = self.bounds.next_base.is_some() || self.log.promise.is_closed;
        self.log.producers.on_marker(producer);
        for (offset, control) in controls {
            let (aborts, producers) = (&mut self.beside.aborts, &mut self.log.producers);
            aborts.on_control(self.findings, producers, (producer.id, *offset), *control, must_be_indexed);
        }
    }

    /// The batch that ends where the witness says durable bytes end must be the one that the witness saw.
    fn check_witness(&mut self, position: u64, end: u64, crc: u32) {
        let Some(witness) = &self.log.promise.witness else { return };
        if witness.segment_base != self.bounds.base || witness.last_batch_crc == 0 {
            return;
        }
        let is_last = witness.synced_position == end && witness.last_batch_crc != crc;
        let is_split = (position..end).contains(&witness.synced_position) && witness.synced_position > position;
        if is_last || is_split {
            let what = "the last durable batch is not the one that the witness saw";
            let spot =
                Spot::at(self.path, position).offsets(self.expected(), witness.synced_offset.max(self.expected()));
            self.findings.damage("witness", spot, what);
        }
    }

    /// Intact bytes go on behind damage.
    fn end_damage(&mut self, position: u64, first: Offset) {
        let Some((from_position, from, what)) = self.pending.take() else { return };
        let to = first.max(from);
        self.findings.damage("batch", Spot::at(self.path, from_position).offsets(from, to), what);
        self.log.bad((from_position, position), (from, to));
        self.log.resume_at(to);
    }

    /// What stands at the scanner's position is no intact batch. Returns whether there is more to read.
    fn on_damage(&mut self, scanner: &mut BatchScanner, error: &Error) -> Step<bool> {
        let position = scanner.position();
        let from = self.expected();
        let is_zero = scanner.rest_is_zero().map_err(library)?;
        let limit = self.bounds.next_base.unwrap_or(Offset::MAX);
        if !is_zero && scanner.skip_damage(from, limit).map_err(library)? {
            self.pending.get_or_insert((position, from, text_of(error)));
            return Ok(true);
        }
        if let Some((position, from, what)) = self.pending.take() {
            // Damage that began before: it reaches to the end.
            self.end_of_file(position, from, &what, false, scanner.gave_up());
        } else {
            self.end_of_file(position, from, &text_of(error), is_zero, scanner.gave_up());
        }
        Ok(false)
    }

    /// Nothing intact follows `position`.
    fn end_of_file(&mut self, position: u64, from: Offset, what: &str, is_zero: bool, gave_up: bool) {
        let rest = self.len.saturating_sub(position);
        let promise = &self.log.promise;
        self.has_tail = true;
        let is_last = self.bounds.next_base.is_none();
        let is_lost = if is_zero { from < promise.end } else { promise.covers(from) };
        let may_be_unfinished = if is_last { !is_lost } else { is_zero && promise.may_be_open };
        if may_be_unfinished && !gave_up {
            let (kind, what) = match is_zero {
                true => ("zeros", format!("{rest} bytes of zeros follow the last batch: space that was not used")),
                false => ("tail", format!("an unfinished tail of {rest} bytes: {what}")),
            };
            self.findings.note(kind, Spot::at(self.path, position), what);
            return;
        }
        let to = self.bounds.next_base.unwrap_or(promise.end).max(from);
        let search = if gave_up { "; the search for intact batches behind it was given up" } else { "" };
        let what = format!("no intact batch follows for {rest} bytes: {what}{search}");
        self.findings.damage("batch", Spot::at(self.path, position).offsets(from, to), what);
        self.log.bad((position, self.len), (from, to));
        self.log.resume_at(to);
    }

    /// Judges what depends on the whole segment.
    fn finish(mut self) {
        if let Some((position, from, what)) = self.pending.take() {
            self.end_of_file(position, from, &what, false, false);
        }
        if let Some(placed) = self.log.leave(self.findings, self.bounds.next_base.is_none()) {
            self.beside.indexes.on_batch(placed);
        }
        self.check_length();
        let is_finished = self.bounds.next_base.is_some();
        let next_offset = self.expected();
        let may_lack_tail = !is_finished && (self.has_tail || self.log.promise.may_be_open);
        let extent = SegmentExtent {
            next_offset,
            len: self.intact_len,
            may_lack_tail,
            bad_positions: &self.log.bad_positions,
            bad_offsets: &self.log.bad_offsets,
        };
        self.beside.indexes.finish(self.findings, &extent, is_finished);
        self.beside.aborts.finish(self.findings, next_offset, may_lack_tail, &self.log.bad_offsets);
    }

    /// Nothing that the witness saw may be gone.
    fn check_length(&mut self) {
        let Some(witness) = self.log.promise.witness.as_ref() else { return };
        if witness.segment_base != self.bounds.base || witness.synced_position <= self.len {
            return;
        }
        let (from, to) = (self.expected(), witness.synced_offset.max(self.expected()));
        let what = format!("{} bytes were durable by the witness, the file has {}", witness.synced_position, self.len);
        self.findings.damage("missing", Spot::at(self.path, self.len).offsets(from, to), what);
        self.log.bad((self.len, witness.synced_position), (from, to));
        self.log.resume_at(to);
    }
}

fn text_of(error: &Error) -> String {
    files::position_and_text(error).1
}

/// What the scanner's searches fail with.
fn library(error: Error) -> std::io::Error {
    match error {
        Error::Io { source, .. } => std::io::Error::new(source.kind(), source.to_string()),
        // A file that was shortened while it was read.
        other => std::io::Error::new(std::io::ErrorKind::UnexpectedEof, other.to_string()),
    }
}
