//! The files that logstead adds to Kafka's: witness, manifest, seals, redo files.

use std::path::Path;

use logstead::Error;
use logstead::log::{
    FORMAT, FileSum, Manifest, SEAL_BLOCK_BYTES, Seal, WITNESS_SLOT_BYTES, decode_redo, decode_witness,
};

use super::input;
use super::output::Session;
use super::trouble::{Stop, Trouble};
use crate::row::{Cell, Row};

/// Prints a witness. Its slots stand for themselves: behind a damaged one the others are printed all the same.
pub(crate) fn dump_witness(session: &mut Session<'_>, path: &Path) -> Result<(), Stop> {
    let (slots, damaged) = decode_witness(&input::read_whole(path)?);
    for slot in &slots {
        let witness = &slot.witness;
        session.row([
            ("slot", slot.slot.into()),
            ("topic", witness.tp.topic.as_str().into()),
            ("partition", witness.tp.partition.get().into()),
            ("topicId", Cell::text(witness.topic_id)),
            ("generation", witness.generation.into()),
            ("logStartOffset", witness.log_start.get().into()),
            ("highWatermark", witness.high_watermark.get().into()),
            ("syncedOffset", witness.synced_offset.get().into()),
            ("segmentBaseOffset", witness.segment_base.get().into()),
            ("syncedPosition", witness.synced_position.into()),
            ("recoveryPoint", witness.recovery_point.get().into()),
            ("lastBatchCrc", witness.last_batch_crc.into()),
            ("hasGaps", witness.has_gaps.into()),
        ])?;
    }
    for slot in damaged {
        let position = u64::from(slot).saturating_mul(WITNESS_SLOT_BYTES as u64);
        session.report(path, &Trouble::DamagedSlot { position, slot })?;
    }
    Ok(())
}

/// Prints a manifest: a line for the folder, one for each file whose state it vouches for, one for each partition.
pub(crate) fn dump_manifest(session: &mut Session<'_>, path: &Path) -> Result<(), Stop> {
    let bytes = input::read_whole(path)?;
    if let Some(found) = Manifest::format_of(&bytes).filter(|format| *format != FORMAT) {
        let error = Error::UnsupportedFormat { path: path.to_path_buf(), found, known: FORMAT };
        return Err(error.into());
    }
    let manifest = Manifest::from_bytes(&bytes)?;
    session.row([
        ("format", FORMAT.into()),
        ("clusterId", manifest.cluster_id.as_str().into()),
        ("directoryId", manifest.directory_id.map_or(Cell::Null, Cell::text)),
    ])?;
    for (name, states) in &manifest.files {
        let states = states.iter().map(|state| file_sum(*state)).collect();
        session.row([("file", name.as_str().into()), ("states", Cell::List(states))])?;
    }
    for (tp, known) in &manifest.partitions {
        session.row([
            ("topic", tp.topic.as_str().into()),
            ("partition", tp.partition.get().into()),
            ("topicId", Cell::text(known.topic_id)),
            ("slot", known.slot.into()),
            ("logStartOffset", known.log_start.get().into()),
            ("highWatermark", known.high_watermark.get().into()),
            ("recoveryPoint", known.recovery_point.get().into()),
        ])?;
    }
    Ok(())
}

/// Prints a seal; its block checksums only on request.
pub(crate) fn dump_seal(session: &mut Session<'_>, path: &Path) -> Result<(), Stop> {
    let seal = Seal::from_bytes(&input::read_whole(path)?)?;
    let mut fields = vec![
        ("topicId", Cell::text(seal.subject.topic_id)),
        ("partition", seal.subject.partition.get().into()),
        ("baseOffset", seal.subject.base_offset.get().into()),
        ("nextOffset", seal.next_offset.get().into()),
        ("logSize", seal.log_len.into()),
        ("offsetIndex", file_sum(Some(seal.offset_index))),
        ("timeIndex", file_sum(Some(seal.time_index))),
        ("transactionIndex", file_sum(seal.transaction_index)),
        ("snapshot", file_sum(seal.snapshot)),
        ("blockSize", (SEAL_BLOCK_BYTES as u64).into()),
        ("blockCount", (seal.blocks.len() as u64).into()),
    ];
    if session.is_deep() {
        fields.push(("blockCrcs", Cell::List(seal.blocks.iter().map(|crc| (*crc).into()).collect())));
    }
    Ok(session.row(fields)?)
}

/// Prints what a redo file is about. Its bytes are those of the log, cut where it suited the disk and not the batches.
pub(crate) fn dump_redo(session: &mut Session<'_>, path: &Path) -> Result<(), Stop> {
    let bytes = input::read_whole(path)?;
    let redo = decode_redo(&bytes)?;
    Ok(session.row([
        ("topicId", Cell::text(redo.topic_id)),
        ("baseOffset", redo.base_offset.get().into()),
        ("position", redo.position.into()),
        ("size", (redo.tail.len() as u64).into()),
    ])?)
}

/// The state of a file: its size and checksum, or null when it must not be there.
fn file_sum(sum: Option<FileSum>) -> Cell<'static> {
    sum.map_or(Cell::Null, |sum| Cell::Object(Row(vec![("size", sum.len.into()), ("crc", sum.crc.into())])))
}
