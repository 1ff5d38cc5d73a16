//! The log of a partition from its first batch to its last: offsets that go on, segments that meet, what was durable.
//!
//! A batch's base offset lies outside its checksum. One that is too high shows only when the next batch starts below
//! its end, so a batch behind a gap is held back until the next one has confirmed it.

use std::path::{Path, PathBuf};

use logstead::record::BatchHeader;
use logstead::types::Offset;

use super::epochs::Epochs;
use super::index::Placed;
use super::producers::Producers;
use super::promise::Promise;
use super::report::{Findings, Spot};

/// The offsets of a segment lie within 2^31 of its base.
const SPAN_MAX: u64 = (1 << 31) - 1;

/// The walk over all segments.
#[derive(Debug)]
pub(crate) struct LogWalk {
    pub(crate) promise: Promise,
    pub(crate) epochs: Epochs,
    pub(crate) producers: Producers,
    /// The offset that the next batch should have; `None` before the first.
    expected: Option<Offset>,
    /// Where the next batch may start as well, behind one that is misplaced: that one may be there twice.
    otherwise: Option<Offset>,
    held: Option<HeldBatch>,
    /// Whether damage was found in the log itself.
    pub(crate) is_damaged: bool,
    /// Damaged offsets of the segment that is walked, end exclusive.
    pub(crate) bad_offsets: Vec<(Offset, Offset)>,
    /// Damaged positions of the segment that is walked, end exclusive.
    pub(crate) bad_positions: Vec<(u64, u64)>,
}

/// A batch behind a gap.
#[derive(Debug)]
struct HeldBatch {
    path: PathBuf,
    from: Offset,
    to: Offset,
    /// Where it stands, and where it ends.
    positions: (u64, u64),
    placed: Placed,
}

/// The bounds of a segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) base: Offset,
    /// Where the next segment starts.
    pub(crate) next_base: Option<Offset>,
}

impl LogWalk {
    pub(crate) fn new(promise: Promise, epochs: Epochs) -> LogWalk {
        LogWalk {
            promise,
            epochs,
            producers: Producers::default(),
            expected: None,
            otherwise: None,
            held: None,
            is_damaged: false,
            bad_offsets: Vec::new(),
            bad_positions: Vec::new(),
        }
    }

    /// Where the log ends so far.
    pub(crate) fn end(&self) -> Option<Offset> {
        self.expected
    }

    /// Enters the segment at `base`.
    pub(crate) fn enter(&mut self, findings: &mut Findings, path: &Path, base: Offset) {
        self.bad_offsets.clear();
        self.bad_positions.clear();
        let log_start = self.promise.witness.as_ref().map(|witness| witness.log_start);
        let expected = *self.expected.get_or_insert_with(|| {
            self.producers.is_complete = base == Offset::ZERO;
            log_start.map_or(base, |start| start.min(base))
        });
        if base > expected {
            self.gap(findings, path, 0, (expected, base));
            self.expected = Some(base);
        }
    }

    /// Leaves a segment: what was held back counts. Returns it. A last batch whose offset alone keeps the log from
    /// ending where it is said to end has the wrong offset.
    pub(crate) fn leave(&mut self, findings: &mut Findings, is_last: bool) -> Option<Placed> {
        let end = |held: &HeldBatch| held.from.plus(held.placed.last_offset.next().since(held.to));
        let promised = self.promise.end;
        if let Some(held) = self.held.take_if(|held| is_last && end(held) == promised) {
            let what = format!(
                "offset {} where {} was expected; {} names {promised} as the log's end",
                held.to, held.from, self.promise.source
            );
            self.misplaced(findings, &held.path, held.positions, (held.from, promised), what);
            self.expected = Some(promised);
        }
        self.settle(findings)
    }

    /// What was held back counts. Returns it.
    fn settle(&mut self, findings: &mut Findings) -> Option<Placed> {
        let held = self.held.take()?;
        self.gap(findings, &held.path, held.positions.0, (held.from, held.to));
        Some(held.placed)
    }

    /// Where a batch belongs. Returns the batches whose place is beyond doubt now.
    pub(crate) fn place(
        &mut self,
        findings: &mut Findings,
        path: &Path,
        (position, header): (u64, &BatchHeader),
        bounds: Bounds,
    ) -> Vec<Placed> {
        let by_order = self.expected.unwrap_or(bounds.base);
        let (first, end) = (header.base_offset_or(by_order), header.next_offset());
        let expected = self.expected_before(first).unwrap_or(bounds.base);
        let placed = Placed { position, last_offset: header.last_offset(), max_timestamp: header.max_timestamp() };
        let positions = (position, position.saturating_add(header.size_in_bytes() as u64));
        let span = end.since(first);
        let is_outside = bounds.next_base.is_some_and(|next_base| end > next_base)
            || header.last_offset().since(bounds.base) > SPAN_MAX;
        if is_outside {
            let what = match bounds.next_base.filter(|next_base| end > *next_base) {
                Some(next_base) => {
                    format!("offset {first} where {expected} was expected; the next segment starts at {next_base}")
                }
                None => format!("offset {first} where {expected} was expected; no segment reaches so far"),
            };
            self.misplaced(findings, path, positions, (expected, expected.plus(span)), what);
            self.expected = Some(expected.plus(span));
            return self.settle(findings).into_iter().collect();
        }
        if first < expected {
            if let Some(held) = self.held.take_if(|held| held.from <= first) {
                let what =
                    format!("offset {} where {} was expected; the next batch starts at {first}", held.to, held.from);
                self.misplaced(findings, &held.path, held.positions, (held.from, first), what);
                self.expected = Some(end);
                return vec![placed];
            }
            let what = format!("offset {first} where {expected} was expected");
            self.misplaced(findings, path, positions, (expected, expected.plus(span)), what);
            self.expected = Some(expected.plus(span));
            self.otherwise = Some(expected);
            return self.settle(findings).into_iter().collect();
        }
        let mut certain: Vec<Placed> = self.settle(findings).into_iter().collect();
        self.expected = Some(end);
        if first > expected {
            let path = path.to_path_buf();
            self.held = Some(HeldBatch { path, from: expected, to: first, positions, placed });
        } else {
            certain.push(placed);
        }
        certain
    }

    /// What the batch that starts at `first` should start with.
    fn expected_before(&mut self, first: Offset) -> Option<Offset> {
        let otherwise = self.otherwise.take().filter(|otherwise| *otherwise <= first);
        if self.expected.is_some_and(|expected| first < expected) {
            self.expected = otherwise.or(self.expected);
        }
        self.expected
    }

    /// The batch behind damage: the log goes on there.
    pub(crate) fn resume_at(&mut self, offset: Offset) {
        self.otherwise = None;
        self.expected = Some(offset);
    }

    /// Something in the log of this segment is damaged.
    pub(crate) fn bad(&mut self, positions: (u64, u64), offsets: (Offset, Offset)) {
        self.is_damaged = true;
        self.producers.is_complete = false;
        self.bad_positions.push(positions);
        self.bad_offsets.push(offsets);
    }

    fn misplaced(
        &mut self,
        findings: &mut Findings,
        path: &Path,
        positions: (u64, u64),
        offsets: (Offset, Offset),
        what: String,
    ) {
        findings.damage("offset", Spot::at(path, positions.0).offsets(offsets.0, offsets.1), what);
        self.bad(positions, offsets);
    }

    /// Offsets that no batch holds: normal after compaction, unless the witness says that none is missing.
    fn gap(&mut self, findings: &mut Findings, path: &Path, position: u64, (from, to): (Offset, Offset)) {
        self.producers.is_complete = false;
        let spot = Spot::at(path, position).offsets(from, to);
        if self.promise.has_no_gap_at(from) {
            self.is_damaged = true;
            findings.damage("missing", spot, format!("offsets {from}..{to} were durable by the witness and are gone"));
        } else {
            findings.note("gap", spot, format!("no batch holds the offsets {from}..{to}"));
        }
    }
}
