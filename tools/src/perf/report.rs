//! What was measured, and under which conditions: a number without its durability says nothing.

use std::io::{self, Write};
use std::time::Duration;

use logstead::config::{Acks, Durability};

use super::histogram::Histogram;
use crate::row::{Cell, Row};

const MIB: f64 = (1_u64 << 20) as f64;

/// One measurement.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) test: &'static str,
    pub(crate) topic: String,
    pub(crate) durability: Durability,
    /// `None` where nothing was written.
    pub(crate) acks: Option<Acks>,
    pub(crate) batch_bytes: Option<u64>,
    pub(crate) record_size: u64,
    pub(crate) threads: u32,
    pub(crate) records: u64,
    /// Of keys and values.
    pub(crate) bytes: u64,
    pub(crate) elapsed: Duration,
    /// `None` where it was not measured.
    pub(crate) latency: Option<Histogram>,
}

impl Report {
    /// Prints it, as one JSON object or a line for each number.
    ///
    /// # Errors
    /// What `out` refuses.
    pub(crate) fn print(&self, is_json: bool, out: &mut dyn Write) -> io::Result<()> {
        let row = self.row();
        if is_json {
            serde_json::to_writer(&mut *out, &row)?;
            return out.write_all(b"\n");
        }
        let mut told = row.0.iter().filter(|(_, cell)| !matches!(cell, Cell::Null));
        told.try_for_each(|(name, cell)| writeln!(out, "{name}: {cell}"))
    }

    fn row(&self) -> Row<'_> {
        // A run that is too short for the clock took a nanosecond.
        let seconds = self.elapsed.max(Duration::from_nanos(1)).as_secs_f64();
        let mut fields: Vec<(&'static str, Cell<'_>)> = vec![
            ("test", self.test.into()),
            ("topic", self.topic.as_str().into()),
            ("durability", durability_word(self.durability).into()),
            ("acks", self.acks.map_or(Cell::Null, |acks| acks.as_str().into())),
            ("batch_bytes", self.batch_bytes.map_or(Cell::Null, Cell::Size)),
            ("record_size", self.record_size.into()),
            ("threads", self.threads.into()),
            ("records", self.records.into()),
            ("elapsed_ms", Cell::Decimal(seconds * 1000.0)),
            ("records_per_second", Cell::Decimal(self.records as f64 / seconds)),
            ("mib_per_second", Cell::Decimal(self.bytes as f64 / MIB / seconds)),
        ];
        if let Some(latency) = &self.latency {
            fields.push(("latency_samples", latency.total().into()));
            for (name, per_mille) in [("p50_us", 500), ("p99_us", 990), ("p99_9_us", 999)] {
                fields.push((name, micros(latency.quantile(per_mille))));
            }
            fields.push(("max_us", micros(latency.max())));
        }
        Row(fields)
    }
}

fn micros(latency: Duration) -> Cell<'static> {
    Cell::Decimal(latency.as_secs_f64() * 1e6)
}

pub(super) fn durability_word(durability: Durability) -> &'static str {
    match durability {
        Durability::Synced => "synced",
        Durability::Os => "os",
    }
}
