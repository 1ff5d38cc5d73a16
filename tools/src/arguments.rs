//! Arguments that several commands have, read into the library's types. What is refused here is wrong usage.

use std::path::Path;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use logstead::cluster::Cluster;
use logstead::config::{Acks, Durability, Isolation};
use logstead::types::Compression;

use crate::failure::Failure;

/// Opens a data folder to change what is in it. One that does not exist is not made: its name is more likely mistyped
/// than meant.
///
/// # Errors
/// There is no such folder, or what the library says.
pub(crate) fn open_existing(data: &Path) -> Result<Cluster, Failure> {
    if !data.try_exists().unwrap_or(true) {
        return Err(Failure::Told(format!("there is no data folder {}; topics create makes one", data.display())));
    }
    Ok(Cluster::open(data)?)
}

/// `--acks`: Kafka's words.
pub(crate) fn acks() -> impl TypedValueParser<Value = Acks> {
    word([("0", Acks::None), ("1", Acks::Leader), ("all", Acks::All)])
}

/// `--compression`: Kafka's words. Whether a codec is built in is for the library to say.
pub(crate) fn compression() -> impl TypedValueParser<Value = Compression> {
    word([
        ("none", Compression::None),
        ("gzip", Compression::Gzip),
        ("snappy", Compression::Snappy),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd),
    ])
}

/// `--durability`.
pub(crate) fn durability() -> impl TypedValueParser<Value = Durability> {
    word([("synced", Durability::Synced), ("os", Durability::Os)])
}

/// `--isolation`: Kafka's words.
pub(crate) fn isolation() -> impl TypedValueParser<Value = Isolation> {
    word([Isolation::ReadCommitted, Isolation::ReadUncommitted].map(|isolation| (isolation.as_str(), isolation)))
}

/// `KEY=VALUE`; the value may be empty.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("key=value is expected".to_owned()),
    }
}

/// Text that is not empty.
pub(crate) fn not_empty(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("it must not be empty".to_owned()) } else { Ok(text.to_owned()) }
}

fn word<T, const N: usize>(words: [(&'static str, T); N]) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + 'static,
{
    PossibleValuesParser::new(words.map(|(word, _)| word)).try_map(move |text| {
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        found.ok_or("not one of the words")
    })
}
