//! How a record is printed.

use std::io::{self, Write};

use clap::ValueEnum;
use logstead::consumer::ConsumerRecord;
use logstead::types::Timestamp;
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::json::{Form, HeaderJson, put_bytes};

/// The forms that records are printed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

impl Format {
    /// Prints a record and a newline.
    ///
    /// # Errors
    /// What `out` refuses.
    pub(crate) fn write(self, record: &ConsumerRecord<'_>, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Format::Text => out.write_all(record.value().unwrap_or_default())?,
            Format::Json => serde_json::to_writer(&mut *out, &RecordJson(record))?,
        }
        out.write_all(b"\n")
    }
}

struct RecordJson<'a, 'r>(&'a ConsumerRecord<'r>);

impl Serialize for RecordJson<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let record = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("topic", record.topic().as_str())?;
        map.serialize_entry("partition", &record.partition().get())?;
        map.serialize_entry("offset", &record.offset().get())?;
        map.serialize_entry("timestamp", &record.timestamp().map(Timestamp::as_millis))?;
        put_bytes(&mut map, ("key", "key_base64"), record.key(), Form::TextIfPossible)?;
        put_bytes(&mut map, ("value", "value_base64"), record.value(), Form::TextIfPossible)?;
        let headers: Vec<_> = record.headers().map(HeaderJson).collect();
        map.serialize_entry("headers", &headers)?;
        map.end()
    }
}
