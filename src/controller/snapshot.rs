//! [P] The bytes and names of metadata snapshots: `<end offset>-<epoch>.checkpoint` (Kafka: `RecordsSnapshotWriter`).
//!
//! A snapshot is a sequence of batches from offset 0: a control batch with the header (and, where the log has them, the
//! version of the quorum's protocol and its voters), the records that build the image, a control batch with the footer. A
//! file without its footer was not finished and says nothing.

use super::control::MetadataControl;
use super::image::ClusterImage;
use super::records::MetadataRecord;
use super::replay::Replay;
use crate::error::{Damage, Error, Result};
use crate::record::{BatchBuilder, BatchOptions, BuiltBatch, RecordBatchRef};
use crate::types::{LeaderEpoch, Offset, Timestamp};

/// The ending of a snapshot's name.
const EXTENSION: &str = ".checkpoint";
/// Appended to the name of a snapshot that is being written.
pub(crate) const PART_SUFFIX: &str = ".part";
/// A batch of a snapshot is ended when it has this many bytes.
const BATCH_BYTES: usize = 512 << 10;

/// Which part of the log a snapshot stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SnapshotId {
    /// The offset after the last one that it covers.
    pub(crate) end_offset: Offset,
    /// The epoch of the last record that it covers.
    pub(crate) epoch: LeaderEpoch,
}

impl SnapshotId {
    /// The snapshot's file name.
    pub(crate) fn file_name(self) -> String {
        format!("{:020}-{:010}{EXTENSION}", self.end_offset.get(), self.epoch.get())
    }

    /// The snapshot of a file name; `None` for any other name.
    pub(crate) fn from_file_name(name: &str) -> Option<SnapshotId> {
        let (offset, epoch) = name.strip_suffix(EXTENSION)?.split_once('-')?;
        let id = SnapshotId {
            end_offset: Offset::new(offset.parse().ok()?)?,
            epoch: LeaderEpoch::new(epoch.parse().ok()?)?,
        };
        (id.file_name() == name).then_some(id)
    }
}

/// What a snapshot holds.
#[derive(Debug)]
pub(crate) struct SnapshotContent<'a> {
    /// The image.
    pub(crate) image: &'a ClusterImage,
    /// As in [`Replay::kraft_version`].
    pub(crate) kraft_version: Option<&'a [u8]>,
    /// As in [`Replay::voters`].
    pub(crate) voters: Option<&'a [u8]>,
    /// The time of the last record that it covers.
    pub(crate) last_timestamp: Timestamp,
}

/// The bytes of a snapshot; its batches carry the epoch of the last record that it covers, and the time `now`.
///
/// # Errors
/// [`Error::InvalidRecord`] when a record cannot be stored, which no image that was replayed has.
pub(crate) fn encode(content: &SnapshotContent<'_>, epoch: LeaderEpoch, now: Timestamp) -> Result<Vec<u8>> {
    let mut header = vec![MetadataControl::SnapshotHeader { last_contained_log_timestamp: content.last_timestamp }];
    header.extend(content.kraft_version.map(|value| MetadataControl::KRaftVersion(value.to_vec())));
    header.extend(content.voters.map(|value| MetadataControl::Voters(value.to_vec())));
    let mut file = Assembly { bytes: Vec::new(), next_offset: Offset::ZERO, epoch };
    file.push(MetadataControl::to_batch(&header, now)?);
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for record in content.image.to_records() {
        builder.append(Some(now), None, Some(&record.encode()), &[])?;
        if builder.size_in_bytes() >= BATCH_BYTES {
            file.push(builder.build()?);
        }
    }
    if !builder.is_empty() {
        file.push(builder.build()?);
    }
    file.push(MetadataControl::to_batch(&[MetadataControl::SnapshotFooter], now)?);
    Ok(file.bytes)
}

/// The bytes of a snapshot of nothing but these records, which an empty log begins with (`bootstrap.checkpoint`).
///
/// # Errors
/// As [`encode`].
pub(crate) fn encode_bootstrap(records: &[MetadataRecord], now: Timestamp) -> Result<Vec<u8>> {
    let mut image = ClusterImage::default();
    records.iter().try_for_each(|record| image.apply(record))?;
    let last_timestamp = Timestamp::from_millis(0);
    let content = SnapshotContent { image: &image, kraft_version: None, voters: None, last_timestamp };
    encode(&content, LeaderEpoch::ZERO, now)
}

/// Reads a snapshot from its header to its footer.
///
/// # Errors
/// [`Error::Corrupt`] when a checksum is wrong, the header or footer is missing, or a record does not fit the others;
/// [`Error::UnsupportedMetadataRecord`].
pub(crate) fn decode(bytes: &[u8]) -> Result<Replay> {
    let mut replay = Replay::default();
    let (mut rest, mut position, mut expected) = (bytes, 0_u64, Offset::ZERO);
    let mut is_complete = false;
    while !rest.is_empty() {
        let batch = RecordBatchRef::from_bytes(rest).map_err(|error| at(error, position))?;
        let control = boundary(&batch).map_err(|error| at(error, position))?;
        let begins = matches!(control, Some(MetadataControl::SnapshotHeader { .. }));
        if begins != (position == 0) || is_complete {
            return Err(broken(position, "a metadata snapshot is not framed by one header and one footer"));
        }
        if batch.header().base_offset() != expected {
            let found = batch.header().base_offset().get();
            return Err(Error::corrupt(position, Damage::Offset { expected, found }));
        }
        replay.apply_batch(&batch, Offset::ZERO).map_err(|error| at(error, position))?;
        is_complete = matches!(control, Some(MetadataControl::SnapshotFooter));
        expected = batch.header().next_offset();
        let size = batch.bytes().len();
        rest = rest.get(size..).unwrap_or_default();
        position += size as u64;
    }
    if !is_complete {
        return Err(broken(position, "a metadata snapshot ends without its footer"));
    }
    Ok(replay)
}

/// The first record of a control batch.
fn boundary(batch: &RecordBatchRef<'_>) -> Result<Option<MetadataControl>> {
    match batch.records().next().filter(|_| batch.header().is_control()) {
        Some(record) => MetadataControl::parse(record.key(), record.value()),
        None => Ok(None),
    }
}

/// Batches that follow each other from offset 0.
struct Assembly {
    bytes: Vec<u8>,
    next_offset: Offset,
    epoch: LeaderEpoch,
}

impl Assembly {
    fn push(&mut self, mut batch: BuiltBatch) {
        batch.stamp(self.next_offset, self.epoch);
        self.next_offset = batch.header().next_offset();
        self.bytes.extend_from_slice(batch.bytes());
    }
}

/// Damage whose position counts from the start of a batch at `position`.
fn at(error: Error, position: u64) -> Error {
    match error {
        Error::Corrupt(mut corrupt) => {
            corrupt.position = corrupt.position.saturating_add(position);
            Error::Corrupt(corrupt)
        }
        other => other,
    }
}

fn broken(position: u64, rule: &'static str) -> Error {
    Error::corrupt(position, Damage::Structure(rule))
}
