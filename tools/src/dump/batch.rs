//! One batch and its records, as JSON and as text.
//!
//! The names, and -1 for what is absent, are those of kafka-dump-log.

use std::fmt;
use std::io;

use logstead::record::{BatchHeader, ControlRecord, RecordBatch, RecordRef, Records, TransactionOutcome};
use logstead::types::{LeaderEpoch, Sequence, Timestamp};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::output::Session;
use crate::json::{Form, HeaderJson, put_bytes};
use crate::row::{Cell, Plain, Row};

/// A batch to be printed.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    /// Where it starts in the file.
    pub(crate) position: u64,
    pub(crate) header: BatchHeader,
    /// Whether its checksum is right.
    pub(crate) is_valid: bool,
    pub(crate) content: Content<'a>,
}

/// What is known of a batch's records.
#[derive(Debug)]
pub(crate) enum Content<'a> {
    /// Nobody asked.
    Unasked,
    /// They are readable.
    Records(RecordBatch<'a>),
    /// They are not, for this reason.
    Unreadable(String),
}

impl Batch<'_> {
    /// Prints the batch and what was asked of its records.
    pub(crate) fn print(&self, session: &mut Session<'_>) -> io::Result<()> {
        if session.is_json() {
            return session.json(self);
        }
        session.text(format_args!("{}", BatchText(self)))?;
        match &self.content {
            Content::Unasked => Ok(()),
            Content::Records(batch) => {
                let is_control = self.header.is_control();
                let timestamp_type = timestamp_type_of(&self.header);
                // The set was read a moment ago.
                let mut checksums = batch.message_checksums().unwrap_or_default().into_iter();
                batch.records().try_for_each(|record| {
                    let checksum = checksums.next();
                    session.text(format_args!("{}", RecordText { record, is_control, timestamp_type, checksum }))
                })
            }
            Content::Unreadable(why) => session.text(format_args!("| records not shown: {why}")),
        }
    }

    fn row(&self) -> Row<'static> {
        let header = &self.header;
        Row(vec![
            ("baseOffset", if_known(header, header.base_offset().get())),
            ("lastOffset", header.last_offset().get().into()),
            ("count", if_known(header, header.record_count())),
            ("baseSequence", header.base_sequence().map_or(-1, Sequence::get).into()),
            ("lastSequence", header.last_sequence().map_or(-1, Sequence::get).into()),
            ("producerId", header.producer().map_or(-1, |producer| producer.id.get()).into()),
            ("producerEpoch", i32::from(header.producer().map_or(-1, |producer| producer.epoch.get())).into()),
            ("partitionLeaderEpoch", header.leader_epoch().map_or(-1, LeaderEpoch::get).into()),
            ("isTransactional", header.is_transactional().into()),
            ("isControl", header.is_control().into()),
            ("deleteHorizonMs", header.delete_horizon().map_or(Cell::Null, |horizon| horizon.as_millis().into())),
            ("position", self.position.into()),
            ("timestampType", timestamp_type_of(header).into()),
            ("maxTimestamp", millis(header.max_timestamp()).into()),
            ("size", (header.size_in_bytes() as u64).into()),
            ("magic", u32::from(header.magic()).into()),
            ("compression", header.codec().as_str().into()),
            ("crc", header.crc().into()),
            ("isValid", self.is_valid.into()),
        ])
    }
}

impl Serialize for Batch<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, cell) in &self.row().0 {
            map.serialize_entry(name, cell)?;
        }
        match &self.content {
            Content::Unasked => {}
            Content::Records(batch) => {
                let records = RecordsJson { records: batch.records(), is_control: self.header.is_control() };
                map.serialize_entry("records", &records)?;
            }
            Content::Unreadable(why) => {
                map.serialize_entry("records", &())?;
                map.serialize_entry("error", why)?;
            }
        }
        map.end()
    }
}

/// The records of a batch, written one by one: a batch may hold very many.
struct RecordsJson<'a> {
    records: Records<'a>,
    is_control: bool,
}

impl Serialize for RecordsJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_control = self.is_control;
        serializer.collect_seq(self.records.clone().map(|record| RecordJson { record, is_control }))
    }
}

struct RecordJson<'a> {
    record: RecordRef<'a>,
    is_control: bool,
}

impl Serialize for RecordJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let RecordJson { record, is_control } = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("offset", &record.offset().get())?;
        map.serialize_entry("timestamp", &millis(record.timestamp()))?;
        map.serialize_entry("sequence", &record.sequence().map_or(-1, Sequence::get))?;
        let form = if *is_control { Form::Base64 } else { Form::TextIfPossible };
        put_bytes(&mut map, ("key", "key_base64"), record.key(), form)?;
        put_bytes(&mut map, ("value", "value_base64"), record.value(), form)?;
        let headers: Vec<_> = record.headers().map(HeaderJson).collect();
        map.serialize_entry("headers", &headers)?;
        if *is_control {
            map.serialize_entry("control", &control_cell(record))?;
        }
        map.end()
    }
}

/// What a control record says; null when it cannot be read.
fn control_cell(record: &RecordRef<'_>) -> Cell<'static> {
    let Ok(control) = ControlRecord::parse(record.key(), record.value()) else { return Cell::Null };
    let mut fields = vec![("type", control_name(control).into())];
    match control {
        ControlRecord::EndTransaction { coordinator_epoch, .. } => {
            fields.push(("coordinatorEpoch", coordinator_epoch.into()));
        }
        ControlRecord::Unknown(number) => fields.push(("typeId", i32::from(number).into())),
        _ => {}
    }
    Cell::Object(Row(fields))
}

fn control_name(control: ControlRecord) -> &'static str {
    match control {
        ControlRecord::EndTransaction { outcome: TransactionOutcome::Commit, .. } => "COMMIT",
        ControlRecord::EndTransaction { outcome: TransactionOutcome::Abort, .. } => "ABORT",
        ControlRecord::LeaderChange => "LEADER_CHANGE",
        ControlRecord::SnapshotHeader => "SNAPSHOT_HEADER",
        ControlRecord::SnapshotFooter => "SNAPSHOT_FOOTER",
        ControlRecord::KRaftVersion => "KRAFT_VERSION",
        ControlRecord::KRaftVoters => "KRAFT_VOTERS",
        // Types that this program does not know: new ones in the library included.
        _ => "UNKNOWN",
    }
}

/// What only the messages of a compressed set of magic 0 or 1 tell.
fn if_known<'a>(header: &BatchHeader, value: impl Into<Cell<'a>>) -> Cell<'a> {
    if header.is_base_offset_known() { value.into() } else { Cell::Null }
}

/// The name that Kafka has for it; messages of magic 0 have no timestamps at all.
fn timestamp_type_of(header: &BatchHeader) -> &'static str {
    if header.magic() == 0 { "NoTimestampType" } else { header.timestamp_type().as_str() }
}

fn millis(timestamp: Option<Timestamp>) -> i64 {
    timestamp.map_or(-1, Timestamp::as_millis)
}

/// Fields that Kafka does not print of a message set of magic 0 or 1.
const UNKNOWN_TO_LEGACY: [&str; 10] = [
    "baseOffset",
    "count",
    "baseSequence",
    "lastSequence",
    "producerId",
    "producerEpoch",
    "partitionLeaderEpoch",
    "isTransactional",
    "isControl",
    "deleteHorizonMs",
];

/// Kafka's text of a batch: as the JSON, but for three fields that it spells differently.
struct BatchText<'a>(&'a Batch<'a>);

impl fmt::Display for BatchText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = &self.0.header;
        let row = self.0.row().0;
        let shown = row.iter().filter(|(name, _)| !header.is_legacy() || !UNKNOWN_TO_LEGACY.contains(name));
        for (index, (name, cell)) in shown.enumerate() {
            let separator = if index == 0 { "" } else { " " };
            match (*name, cell) {
                ("lastOffset", offset) if header.is_legacy() => write!(f, "{separator}offset: {offset}")?,
                ("deleteHorizonMs", Cell::Null) => write!(f, "{separator}{name}: {}", OptionalLong(None))?,
                ("deleteHorizonMs", Cell::Number(at)) => write!(f, "{separator}{name}: {}", OptionalLong(Some(*at)))?,
                // The type of the timestamp is the name of its field.
                ("timestampType", _) => {
                    write!(f, "{separator}{}: {}", timestamp_type_of(header), millis(header.max_timestamp()))?
                }
                ("maxTimestamp", _) => {}
                ("compression", codec) => write!(f, "{separator}compresscodec: {codec}")?,
                ("isValid", is_valid) => write!(f, "{separator}isvalid: {is_valid}")?,
                (name, cell) => write!(f, "{separator}{name}: {cell}")?,
            }
        }
        Ok(())
    }
}

/// Java's text of a number that may be absent.
pub(crate) struct OptionalLong(pub(crate) Option<i64>);

impl fmt::Display for OptionalLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(number) => write!(f, "OptionalLong[{number}]"),
            None => f.write_str("OptionalLong.empty"),
        }
    }
}

/// Kafka's text of a record.
struct RecordText<'a> {
    record: RecordRef<'a>,
    is_control: bool,
    timestamp_type: &'static str,
    /// Its own, in a message set of magic 0 or 1.
    checksum: Option<u32>,
}

impl fmt::Display for RecordText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RecordText { record, is_control, timestamp_type, checksum } = self;
        write!(
            f,
            "| offset: {} {timestamp_type}: {} keySize: {} valueSize: {}",
            record.offset(),
            millis(record.timestamp()),
            SizeOf(record.key()),
            SizeOf(record.value()),
        )?;
        match checksum {
            // The brace is Kafka's.
            Some(checksum) => write!(f, " isValid: true crc: {checksum}}}")?,
            None => write_sequence_and_headers(f, record)?,
        }
        if *is_control {
            return write_control(f, record);
        }
        if let Some(key) = record.key() {
            write!(f, " key: {}", Lossy(key))?;
        }
        if let Some(value) = record.value() {
            write!(f, " payload: {}", Lossy(value))?;
        }
        Ok(())
    }
}

fn write_sequence_and_headers(f: &mut fmt::Formatter<'_>, record: &RecordRef<'_>) -> fmt::Result {
    write!(f, " sequence: {} headerKeys: [", record.sequence().map_or(-1, Sequence::get))?;
    for (index, header) in record.headers().enumerate() {
        let separator = if index == 0 { "" } else { "," };
        write!(f, "{separator}{}", Lossy(header.key_bytes()))?;
    }
    f.write_str("]")
}

fn write_control(f: &mut fmt::Formatter<'_>, record: &RecordRef<'_>) -> fmt::Result {
    match ControlRecord::parse(record.key(), record.value()) {
        Ok(control @ ControlRecord::EndTransaction { coordinator_epoch, .. }) => {
            write!(f, " endTxnMarker: {} coordinatorEpoch: {coordinator_epoch}", control_name(control))
        }
        Ok(ControlRecord::Unknown(number)) => write!(f, " controlType: UNKNOWN({number})"),
        Ok(control) => write!(f, " controlType: {}", control_name(control)),
        Err(_) => f.write_str(" controlType: unreadable"),
    }
}

/// A length in bytes, -1 for null.
struct SizeOf<'a>(Option<&'a [u8]>);

impl fmt::Display for SizeOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(bytes) => bytes.len().fmt(f),
            None => f.write_str("-1"),
        }
    }
}

/// Bytes as text; what is not UTF-8 is replaced, as Java does.
struct Lossy<'a>(&'a [u8]);

impl fmt::Display for Lossy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Plain(&String::from_utf8_lossy(self.0)).fmt(f)
    }
}
