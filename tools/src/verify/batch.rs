//! What stands in one intact batch: records, timestamps, control records, attribute bits.

use std::collections::BTreeSet;
use std::path::Path;

use logstead::Error;
use logstead::log::ScannedBatch;
use logstead::record::{BatchHeader, ControlRecord, RecordBatch};
use logstead::types::{Offset, Timestamp, TimestampType};

use super::files;
use super::report::{Findings, Spot};

/// Where the attributes stand in a batch.
const ATTRIBUTES_AT: usize = 21;
/// The attribute bits that have a meaning.
const KNOWN_ATTRIBUTES: u16 = 0x7f;

/// What a look into a batch yields.
#[derive(Debug, Default)]
pub(crate) struct Content {
    /// Its control records, in order.
    pub(crate) controls: Vec<(Offset, ControlRecord)>,
    /// Whether records of it are gone.
    pub(crate) has_gaps: bool,
}

/// Looks into the batches of one file.
#[derive(Debug)]
pub(crate) struct BatchReader<'a> {
    path: &'a Path,
    /// The codecs that have been told about.
    codecs: BTreeSet<&'static str>,
}

impl<'a> BatchReader<'a> {
    pub(crate) fn new(path: &'a Path) -> BatchReader<'a> {
        BatchReader { path, codecs: BTreeSet::new() }
    }

    /// Checks a batch whose checksum is right.
    pub(crate) fn read(&mut self, findings: &mut Findings, batch: &ScannedBatch<'_>) -> Content {
        let header = &batch.header;
        findings.tally.batches += 1;
        findings.tally.records += u64::from(header.record_count());
        let path = self.path;
        let spot = || Spot::at(path, batch.position).offsets(header.base_offset(), header.next_offset());
        let attributes = batch.bytes.get(ATTRIBUTES_AT..).and_then(|bytes| bytes.first_chunk()).copied();
        let unknown = u16::from_be_bytes(attributes.unwrap_or_default()) & !KNOWN_ATTRIBUTES;
        if unknown != 0 && !header.is_legacy() {
            findings.note("attributes", spot(), format!("attribute bits {unknown:#06x} have no meaning here"));
        }
        if header.is_transactional() && header.producer().is_none() {
            findings.note("attributes", spot(), "a transactional batch has no producer id");
        }
        let mut content = Content { controls: Vec::new(), has_gaps: self.note_gaps(findings, batch) };
        match RecordBatch::from_checked_bytes(batch.bytes) {
            Ok(read) => {
                self.check_timestamps(findings, batch.position, &read);
                if header.is_control() {
                    content.controls = self.read_controls(findings, batch.position, &read);
                }
            }
            Err(Error::UnsupportedCodec { codec }) => {
                if self.codecs.insert(codec) {
                    let what = format!(
                        "codec not built in: {codec}; the checksums of such batches are checked, their records are not"
                    );
                    findings.note("codec", spot(), what);
                }
            }
            Err(error @ Error::DecompressedTooLarge { .. }) => {
                findings.damage("decompression limit", spot(), error.to_string());
            }
            Err(error) => {
                let (at, what) = files::position_and_text(&error);
                let spot = Spot::at(self.path, batch.position.saturating_add(at));
                findings.damage("record", spot.offsets(header.base_offset(), header.next_offset()), what);
            }
        }
        content
    }

    fn spot(&self, position: u64, header: &BatchHeader) -> Spot {
        Spot::at(self.path, position).offsets(header.base_offset(), header.next_offset())
    }

    /// Compaction removes records and leaves the batch its offsets.
    fn note_gaps(&self, findings: &mut Findings, batch: &ScannedBatch<'_>) -> bool {
        let header = &batch.header;
        if !header.is_base_offset_known() {
            return false;
        }
        let span = header.next_offset().since(header.base_offset());
        let missing = span.saturating_sub(u64::from(header.record_count()));
        if missing == 0 {
            return false;
        }
        let what = format!("{missing} of {span} offsets of the batch hold no record, as after compaction");
        findings.note("gap", self.spot(batch.position, header), what);
        true
    }

    fn check_timestamps(&self, findings: &mut Findings, position: u64, batch: &RecordBatch<'_>) {
        let header = batch.header();
        if header.timestamp_type() == TimestampType::LogAppendTime || header.record_count() == 0 {
            return;
        }
        let largest = batch.records().filter_map(|record| record.timestamp()).max();
        if largest != header.max_timestamp() {
            let millis = |timestamp: Option<Timestamp>| timestamp.map_or(-1, Timestamp::as_millis);
            let (stored, largest) = (millis(header.max_timestamp()), millis(largest));
            let what = format!("the largest timestamp of its records is {largest}, its header says {stored}");
            findings.damage("timestamp", self.spot(position, header), what);
        }
    }

    fn read_controls(
        &self,
        findings: &mut Findings,
        position: u64,
        batch: &RecordBatch<'_>,
    ) -> Vec<(Offset, ControlRecord)> {
        let header = batch.header();
        let mut controls = Vec::new();
        for record in batch.records() {
            let spot = Spot::at(self.path, position).offsets(record.offset(), record.offset().next());
            match ControlRecord::parse(record.key(), record.value()) {
                Ok(ControlRecord::EndTransaction { .. })
                    if !header.is_transactional() || header.producer().is_none() =>
                {
                    findings.damage("control", spot, "a marker ends the transaction of no producer");
                }
                Ok(control) => {
                    if let ControlRecord::Unknown(number) = control {
                        findings.note("control", spot, format!("control record type {number} is not known here"));
                    }
                    controls.push((record.offset(), control));
                }
                Err(error) => findings.damage("control", spot, files::position_and_text(&error).1),
            }
        }
        controls
    }
}
