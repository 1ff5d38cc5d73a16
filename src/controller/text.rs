//! [P] Metadata records as text, for tools that show a metadata log or snapshot.

use super::control::MetadataControl;
use super::records::MetadataRecord;
use crate::error::Result;

/// One record of a metadata log or snapshot as a line of text: its type and its
/// fields. The text is for people; its form may change.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt) when the value is not a metadata record, and
/// [`Error::UnsupportedMetadataRecord`](crate::Error::UnsupportedMetadataRecord) when it is of a type not known here.
///
/// # Examples
/// ```
/// use logstead::controller::metadata_record_text;
/// let value = b"\x01\x0c\x00\x11metadata.version\x00\x19\x00";
/// let text = metadata_record_text(value)?;
/// assert_eq!(text, r#"FeatureLevel(FeatureLevelRecord { name: "metadata.version", feature_level: 25 })"#);
/// # Ok::<(), logstead::Error>(())
/// ```
pub fn metadata_record_text(value: &[u8]) -> Result<String> {
    MetadataRecord::decode(value).map(|record| format!("{record:?}"))
}

/// One control record of a metadata log or snapshot as a line of text; `None` for a type that only other logs have.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt) when key or value break the format.
///
/// # Examples
/// ```
/// use logstead::controller::control_record_text;
/// let text = control_record_text(Some(&[0, 0, 0, 4]), Some(&[0, 0, 0]))?;
/// assert_eq!(text.as_deref(), Some("SnapshotFooter"));
/// # Ok::<(), logstead::Error>(())
/// ```
pub fn control_record_text(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Option<String>> {
    Ok(MetadataControl::parse(key, value)?.map(|record| format!("{record:?}")))
}
