//! What Kafka writes beside the segments: producer snapshots, checkpoints, identities, the mark of a clean shutdown.

use std::path::Path;

use logstead::log::{
    EpochEntry, FolderIdentity, ProducerEntry, decode_clean_shutdown, decode_epoch_checkpoint,
    decode_offset_checkpoint, decode_partition_metadata, decode_producer_snapshot,
};
use logstead::types::{Offset, ProducerEpoch, Timestamp};

use super::batch::OptionalLong;
use super::input;
use super::output::Session;
use super::trouble::Stop;
use crate::row::Cell;

/// Prints a `.snapshot`. Kafka's text has more fields than the file, and spells them differently.
pub(crate) fn dump_snapshot(session: &mut Session<'_>, path: &Path) -> Result<(), Stop> {
    for entry in decode_producer_snapshot(&input::read_whole(path)?)? {
        if session.is_json() {
            session.row(producer_fields(&entry))?;
        } else {
            print_producer(session, &entry)?;
        }
    }
    Ok(())
}

fn producer_fields(entry: &ProducerEntry) -> [(&'static str, Cell<'static>); 8] {
    let batch = entry.last_batch();
    [
        ("producerId", entry.producer_id.get().into()),
        ("producerEpoch", producer_epoch(entry).into()),
        ("lastSequence", batch.map_or(-1, |batch| batch.last_sequence.get()).into()),
        ("lastOffset", batch.map_or(-1, |batch| batch.last_offset.get()).into()),
        ("offsetDelta", batch.map_or(0, |batch| batch.offset_delta).into()),
        ("lastTimestamp", entry.last_timestamp.map_or(-1, Timestamp::as_millis).into()),
        ("coordinatorEpoch", entry.coordinator_epoch.unwrap_or(-1).into()),
        ("currentTxnFirstOffset", entry.current_txn_first_offset.map_or(-1, Offset::get).into()),
    ]
}

fn print_producer(session: &mut Session<'_>, entry: &ProducerEntry) -> std::io::Result<()> {
    let batch = entry.last_batch().map(|batch| {
        format!(
            "firstSequence: {} lastSequence: {} lastOffset: {} offsetDelta: {} timestamp: {}",
            batch.first_sequence(),
            batch.last_sequence,
            batch.last_offset,
            batch.offset_delta,
            batch.timestamp.map_or(-1, Timestamp::as_millis),
        )
    });
    session.text(format_args!(
        "producerId: {} producerEpoch: {} coordinatorEpoch: {} currentTxnFirstOffset: {} lastTimestamp: {} {}",
        entry.producer_id,
        producer_epoch(entry),
        entry.coordinator_epoch.unwrap_or(-1),
        OptionalLong(entry.current_txn_first_offset.map(Offset::get)),
        entry.last_timestamp.map_or(-1, Timestamp::as_millis),
        batch.unwrap_or_default(),
    ))
}

fn producer_epoch(entry: &ProducerEntry) -> i32 {
    entry.epoch.map_or(-1, ProducerEpoch::get).into()
}

/// Prints a `leader-epoch-checkpoint`.
pub(crate) fn dump_epochs(session: &mut Session<'_>, path: &Path) -> Result<(), Stop> {
    let (entries, damage) = decode_epoch_checkpoint(&input::read_whole(path)?);
    for EpochEntry { epoch, start_offset } in entries {
        session.row([("epoch", epoch.get().into()), ("startOffset", start_offset.get().into())])?;
    }
    damage.map_or(Ok(()), |damage| Err(damage.into()))
}

/// Prints an offset checkpoint.
pub(crate) fn dump_offsets(session: &mut Session<'_>, path: &Path) -> Result<(), Stop> {
    let (entries, damage) = decode_offset_checkpoint(&input::read_whole(path)?);
    for (tp, offset) in &entries {
        session.row([
            ("topic", tp.topic.as_str().into()),
            ("partition", tp.partition.get().into()),
            ("offset", offset.get().into()),
        ])?;
    }
    damage.map_or(Ok(()), |damage| Err(damage.into()))
}

/// Prints a `partition.metadata`.
pub(crate) fn dump_partition_metadata(session: &mut Session<'_>, path: &Path) -> Result<(), Stop> {
    let topic_id = decode_partition_metadata(&input::read_whole(path)?)?;
    // The only version that there is.
    Ok(session.row([("version", 0_i32.into()), ("topicId", Cell::text(topic_id))])?)
}

/// Prints a `meta.properties`.
pub(crate) fn dump_meta_properties(session: &mut Session<'_>, path: &Path) -> Result<(), Stop> {
    let identity = FolderIdentity::decode(&input::read_whole(path)?)?;
    Ok(session.row([
        ("clusterId", identity.cluster_id.as_str().into()),
        ("nodeId", identity.node_id.get().into()),
        ("directoryId", identity.directory_id.map_or(Cell::Null, Cell::text)),
    ])?)
}

/// Prints a `.kafka_cleanshutdown`.
pub(crate) fn dump_clean_shutdown(session: &mut Session<'_>, path: &Path) -> Result<(), Stop> {
    let broker_epoch = decode_clean_shutdown(&input::read_whole(path)?)?;
    // The only version that there is.
    Ok(session.row([("version", 0_i32.into()), ("brokerEpoch", broker_epoch.map_or(Cell::Number(-1), Cell::from))])?)
}
