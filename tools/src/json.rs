//! Keys and values in JSON: text where they are text, base64 under another name where they are not.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use logstead::record::HeaderRef;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// How bytes are written.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    TextIfPossible,
    Base64,
}

/// Writes bytes under the first name as text, or under the second as base64; null stays null, under the first.
pub(crate) fn put_bytes<M: SerializeMap>(
    map: &mut M,
    (as_text, as_base64): (&'static str, &'static str),
    bytes: Option<&[u8]>,
    form: Form,
) -> Result<(), M::Error> {
    let Some(bytes) = bytes else { return map.serialize_entry(as_text, &()) };
    match (form, str::from_utf8(bytes)) {
        (Form::TextIfPossible, Ok(text)) => map.serialize_entry(as_text, text),
        (Form::TextIfPossible, Err(_)) | (Form::Base64, _) => map.serialize_entry(as_base64, &BASE64.encode(bytes)),
    }
}

/// A header of a record.
pub(crate) struct HeaderJson<'a>(pub(crate) HeaderRef<'a>);

impl Serialize for HeaderJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        put_bytes(&mut map, ("key", "key_base64"), Some(self.0.key_bytes()), Form::TextIfPossible)?;
        put_bytes(&mut map, ("value", "value_base64"), self.0.value(), Form::TextIfPossible)?;
        map.end()
    }
}
