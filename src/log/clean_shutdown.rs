//! [P] The text of `.kafka_cleanshutdown`, the marker of a folder that was closed in order.
//!
//! JSON: `{"version":0,"brokerEpoch":N}`, where -1 says that no broker epoch is known. The file being there is the
//! message. Kafka: `CleanShutdownFileHandler`.

use crate::error::{Damage, Error, Result};

/// The only version of the text.
const VERSION: i64 = 0;

/// The text of the file.
pub(crate) fn encode(broker_epoch: Option<u64>) -> Vec<u8> {
    // Kafka reads the epoch as int64; one beyond that is as good as none.
    let broker_epoch = broker_epoch.and_then(|epoch| i64::try_from(epoch).ok()).unwrap_or(-1);
    format!("{{\"version\":{VERSION},\"brokerEpoch\":{broker_epoch}}}").into_bytes()
}

/// The broker epoch in a `.kafka_cleanshutdown`, under which the folder was closed, where it is known.
///
/// An empty file is what older versions of Kafka left, without an epoch. Other members with a number are skipped.
///
/// # Errors
/// [`Error::Corrupt`] when the text is not such an object, a member is repeated, or the version is not known.
///
/// # Examples
/// ```
/// use logstead::log::decode_clean_shutdown;
/// assert_eq!(decode_clean_shutdown(br#"{"version":0,"brokerEpoch":17}"#)?, Some(17));
/// assert_eq!(decode_clean_shutdown(br#"{"version":0,"brokerEpoch":-1}"#)?, None);
/// # Ok::<(), logstead::Error>(())
/// ```
pub fn decode(bytes: &[u8]) -> Result<Option<u64>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut json = Json { bytes, position: 0 };
    let (mut version, mut broker_epoch) = (None, None);
    json.expect(b'{')?;
    loop {
        json.expect(b'"')?;
        let name = json.take_while(|byte| byte != b'"' && byte != b'\\');
        json.expect(b'"')?;
        json.expect(b':')?;
        let number = json.number()?;
        let known = match name {
            b"version" => Some(&mut version),
            b"brokerEpoch" => Some(&mut broker_epoch),
            _ => None,
        };
        if known.is_some_and(|known| known.replace(number).is_some()) {
            return Err(json.damaged("a member of the clean shutdown file is repeated"));
        }
        if !json.accept(b',') {
            break;
        }
    }
    json.expect(b'}')?;
    json.skip_space();
    if json.position < bytes.len() {
        return Err(json.damaged("the clean shutdown file goes on after its end"));
    }
    match version {
        Some(VERSION) => {}
        Some(stored) => return Err(Error::corrupt(0, Damage::Magic { stored })),
        None => return Err(Error::corrupt(0, Damage::Structure("the clean shutdown file has no version"))),
    }
    match broker_epoch {
        None | Some(-1) => Ok(None),
        Some(epoch) => {
            let impossible = |_| Error::corrupt(0, Damage::Structure("the broker epoch is negative"));
            u64::try_from(epoch).map(Some).map_err(impossible)
        }
    }
}

/// As much of a JSON reader as one flat object of numbers needs.
struct Json<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Json<'a> {
    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let len = rest.iter().position(|byte| !wanted(*byte)).unwrap_or(rest.len());
        self.position += len;
        rest.get(..len).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        self.take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
    }

    fn accept(&mut self, wanted: u8) -> bool {
        self.skip_space();
        let found = self.bytes.get(self.position) == Some(&wanted);
        self.position += usize::from(found);
        found
    }

    fn expect(&mut self, wanted: u8) -> Result<()> {
        if self.accept(wanted) {
            return Ok(());
        }
        Err(self.damaged("the clean shutdown file is not a JSON object of numbers"))
    }

    fn number(&mut self) -> Result<i64> {
        self.skip_space();
        let digits = self.take_while(|byte| byte.is_ascii_digit() || byte == b'-');
        let number = str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
        number.ok_or_else(|| self.damaged("a member of the clean shutdown file is not a whole number"))
    }

    fn damaged(&self, rule: &'static str) -> Error {
        Error::corrupt(self.position as u64, Damage::Structure(rule))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_text_is_kafkas() {
        assert_eq!(encode(Some(17)), br#"{"version":0,"brokerEpoch":17}"#);
        assert_eq!(encode(None), br#"{"version":0,"brokerEpoch":-1}"#);
    }

    #[test]
    fn spaces_order_and_other_numbers_do_not_matter() {
        let text = b" { \"brokerEpoch\" : 17 ,\n\t\"other\": -3, \"version\":0 } \n";
        assert_eq!(decode(text).unwrap(), Some(17));
    }

    #[test]
    fn an_empty_file_or_a_missing_epoch_says_that_none_is_known() {
        for text in ["", r#"{"version":0}"#, r#"{"version":0,"brokerEpoch":-1}"#] {
            assert_eq!(decode(text.as_bytes()).unwrap(), None, "{text:?}");
        }
    }

    #[test]
    fn anything_else_is_damage() {
        for text in [
            "x",
            "{}",
            "{",
            r#"{"version":0"#,
            r#"{"version":0,}"#,
            r#"{"version":0}x"#,
            r#"{"version":1,"brokerEpoch":1}"#,
            r#"{"brokerEpoch":1}"#,
            r#"{"version":0,"brokerEpoch":-2}"#,
            r#"{"version":0,"brokerEpoch":1.5}"#,
            r#"{"version":0,"brokerEpoch":"1"}"#,
            r#"{"version":0,"brokerEpoch":9223372036854775808}"#,
            r#"{"version":0,"version":0}"#,
        ] {
            assert!(matches!(decode(text.as_bytes()), Err(Error::Corrupt(_))), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn decoding_gives_back_what_was_encoded(broker_epoch in prop::option::of(0..=i64::MAX as u64)) {
            prop_assert_eq!(decode(&encode(broker_epoch)).unwrap(), broker_epoch);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), text in "[{}\":,0-9a-z -]{0,30}") {
            let _ = (decode(&bytes), decode(text.as_bytes()));
        }
    }
}
