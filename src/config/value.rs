//! [P] How the values of configuration fields are spelled by Kafka, and how they are checked.
//!
//! Kafka's counterpart: `ConfigDef.parseType`.

use std::time::Duration;

use super::Accepts;
use crate::types::TimestampType;

/// The type of a field: spelled as Kafka spells it, checked against what the field accepts.
pub(super) trait Value: Sized {
    /// Reads Kafka's spelling.
    ///
    /// # Errors
    /// The reason, for a person, when the text is not of this type or the value not accepted.
    fn parse(text: &str, accepts: Accepts) -> Result<Self, String>;

    /// Kafka's spelling. [`parse`](Self::parse) reads it back if [`check`](Self::check) accepts the value.
    fn to_kafka(&self) -> String;

    /// As [`to_kafka`](Self::to_kafka), for a type that Kafka spells in two ways, told apart by what the field accepts.
    fn spell(&self, accepts: Accepts) -> String {
        let _ = accepts;
        self.to_kafka()
    }

    /// Whether the value is accepted.
    ///
    /// # Errors
    /// The reason, for a person.
    fn check(&self, accepts: Accepts) -> Result<(), String> {
        // Of a type whose values are all accepted.
        let _ = accepts;
        Ok(())
    }
}

/// Makes a [`Value`] of an enumeration: it is spelled as its `as_str` says.
macro_rules! word_value {
    ($choice:ident, $variants:expr) => {
        impl $crate::config::value::Value for $choice {
            fn parse(text: &str, accepts: $crate::config::Accepts) -> Result<$choice, String> {
                $crate::config::value::parse_word(text, accepts, $variants, $choice::as_str)
            }

            fn to_kafka(&self) -> String {
                self.as_str().to_owned()
            }
        }
    };
}
pub(super) use word_value;

impl Value for u64 {
    fn parse(text: &str, accepts: Accepts) -> Result<u64, String> {
        let number = parse_number(text, accepts)?;
        u64::try_from(number).map_err(|_| out_of_range(number, accepts))
    }

    fn to_kafka(&self) -> String {
        self.to_string()
    }

    fn check(&self, accepts: Accepts) -> Result<(), String> {
        check_number(i128::from(*self), accepts)
    }
}

/// A level of compression, which may be negative.
impl Value for i32 {
    fn parse(text: &str, accepts: Accepts) -> Result<i32, String> {
        let number = parse_number(text, accepts)?;
        i32::try_from(number).map_err(|_| out_of_range(number, accepts))
    }

    fn to_kafka(&self) -> String {
        self.to_string()
    }

    fn check(&self, accepts: Accepts) -> Result<(), String> {
        check_number(i128::from(*self), accepts)
    }
}

impl Value for Duration {
    fn parse(text: &str, accepts: Accepts) -> Result<Duration, String> {
        u64::parse(text, accepts).map(Duration::from_millis)
    }

    fn to_kafka(&self) -> String {
        self.as_millis().to_string()
    }

    fn check(&self, accepts: Accepts) -> Result<(), String> {
        if !self.subsec_nanos().is_multiple_of(1_000_000) {
            return Err(format!("{self:?} is not a whole number of milliseconds"));
        }
        check_number(i128::try_from(self.as_millis()).unwrap_or(i128::MAX), accepts)
    }
}

/// A time with Kafka's "no limit" as `None`: -1 where the field accepts that, 2^63 - 1 ms elsewhere.
impl Value for Option<Duration> {
    fn parse(text: &str, accepts: Accepts) -> Result<Option<Duration>, String> {
        if is_negative_none(accepts) {
            return Ok(Option::<u64>::parse(text, accepts)?.map(Duration::from_millis));
        }
        u64::parse(text, accepts).map(limit_from_millis)
    }

    fn to_kafka(&self) -> String {
        self.map_or_else(|| i64::MAX.to_string(), |time| time.to_kafka())
    }

    fn spell(&self, accepts: Accepts) -> String {
        if is_negative_none(accepts) {
            self.map_or_else(|| "-1".to_owned(), |time| time.to_kafka())
        } else {
            self.to_kafka()
        }
    }

    fn check(&self, accepts: Accepts) -> Result<(), String> {
        let Some(time) = self else { return Ok(()) };
        if is_negative_none(accepts) {
            return time.check(accepts);
        }
        if time.as_millis() == u128::from(i64::MAX.unsigned_abs()) {
            return Err(format!("{time:?} is Kafka's spelling of no limit; say None"));
        }
        time.check(accepts)
    }
}

/// A number with Kafka's -1 for "no limit" as `None`.
impl Value for Option<u64> {
    fn parse(text: &str, accepts: Accepts) -> Result<Option<u64>, String> {
        Ok(u64::try_from(parse_number(text, accepts)?).ok())
    }

    fn to_kafka(&self) -> String {
        self.map_or_else(|| "-1".to_owned(), |number| number.to_string())
    }

    fn check(&self, accepts: Accepts) -> Result<(), String> {
        self.map_or(Ok(()), |number| number.check(accepts))
    }
}

/// Whether -1 is accepted, which then means "no limit".
fn is_negative_none(accepts: Accepts) -> bool {
    matches!(accepts, Accepts::Range { low: ..0, .. })
}

/// Milliseconds, of which 2^63 - 1 are Kafka's "no limit".
pub(super) const fn limit_from_millis(millis: u64) -> Option<Duration> {
    if millis == i64::MAX.unsigned_abs() { None } else { Some(Duration::from_millis(millis)) }
}

impl Value for bool {
    fn parse(text: &str, _: Accepts) -> Result<bool, String> {
        let text = trim(text);
        match text {
            _ if text.eq_ignore_ascii_case("true") => Ok(true),
            _ if text.eq_ignore_ascii_case("false") => Ok(false),
            _ => Err(format!("{} is neither true nor false", quoted(text))),
        }
    }

    fn to_kafka(&self) -> String {
        self.to_string()
    }
}

word_value!(TimestampType, [TimestampType::CreateTime, TimestampType::LogAppendTime]);

/// Finds the variant that Kafka spells like this, case included.
pub(super) fn parse_word<T: Copy, const N: usize>(
    text: &str,
    accepts: Accepts,
    variants: [T; N],
    spelling: impl Fn(T) -> &'static str,
) -> Result<T, String> {
    let found = variants.into_iter().find(|variant| spelling(*variant) == text);
    found.ok_or_else(|| format!("{} is not accepted: {accepts} is", quoted(text)))
}

fn parse_number(text: &str, accepts: Accepts) -> Result<i128, String> {
    let text = trim(text);
    let number: i64 = text.parse().map_err(|_| format!("{} is not a whole number of 64 bits", quoted(text)))?;
    let number = i128::from(number);
    check_number(number, accepts)?;
    Ok(number)
}

fn check_number(number: i128, accepts: Accepts) -> Result<(), String> {
    match accepts {
        Accepts::Range { low, high } if (i128::from(low)..=i128::from(high)).contains(&number) => Ok(()),
        Accepts::OneOf(numbers) if numbers.contains(&number.to_string().as_str()) => Ok(()),
        Accepts::Range { .. } | Accepts::OneOf(_) => Err(out_of_range(number, accepts)),
    }
}

fn out_of_range(number: i128, accepts: Accepts) -> String {
    format!("{number} is out of range: {accepts} is accepted")
}

/// As Java's `String.trim`, which Kafka applies to numbers and flags.
fn trim(text: &str) -> &str {
    text.trim_matches(|c| c <= ' ')
}

/// A value as given, in quotes and cut to what fits in a message.
fn quoted(text: &str) -> String {
    let mut start: String = text.chars().take(64).collect();
    if start.len() < text.len() {
        start.push_str("...");
    }
    format!("{start:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: Accepts = Accepts::Range { low: 0, high: i64::MAX };

    #[test]
    fn numbers_are_signed_decimals_that_may_be_surrounded_by_blanks() {
        assert_eq!((u64::parse(" 7\n", ANY), u64::parse("+7", ANY)), (Ok(7), Ok(7)));
        for text in ["", "1.0", "0x10", "1_000", "1k", "9223372036854775808"] {
            assert!(u64::parse(text, ANY).unwrap_err().ends_with("is not a whole number of 64 bits"), "{text}");
        }
        assert_eq!(u64::parse("-1", ANY), Err("-1 is out of range: 0 or more is accepted".into()));
    }

    #[test]
    fn flags_are_true_or_false_in_any_case() {
        assert_eq!(bool::parse(" TRUE", ANY), Ok(true));
        assert_eq!(bool::parse("False", ANY), Ok(false));
        assert_eq!(bool::parse("yes", ANY), Err("\"yes\" is neither true nor false".into()));
    }

    #[test]
    fn words_are_case_sensitive() {
        let accepts = Accepts::OneOf(&["CreateTime", "LogAppendTime"]);
        assert_eq!(TimestampType::parse("LogAppendTime", accepts), Ok(TimestampType::LogAppendTime));
        assert_eq!(
            TimestampType::parse("createtime", accepts),
            Err("\"createtime\" is not accepted: CreateTime or LogAppendTime is".into())
        );
    }

    #[test]
    fn kafkas_largest_number_of_milliseconds_means_no_limit() {
        assert_eq!(Option::<Duration>::parse("9223372036854775807", ANY), Ok(None));
        assert_eq!(None::<Duration>.to_kafka(), "9223372036854775807");
        let ambiguous = Some(Duration::from_millis(i64::MAX.unsigned_abs()));
        assert!(ambiguous.check(ANY).unwrap_err().ends_with("is Kafka's spelling of no limit; say None"));
        assert_eq!(Option::<Duration>::parse("5", ANY), Ok(Some(Duration::from_millis(5))));
    }

    #[test]
    fn where_minus_one_is_accepted_it_means_no_limit() {
        let accepts = Accepts::Range { low: -1, high: i64::MAX };
        assert_eq!(
            (Option::<Duration>::parse("-1", accepts), Option::<u64>::parse("-1", accepts)),
            (Ok(None), Ok(None))
        );
        assert_eq!((None::<Duration>.spell(accepts), None::<u64>.spell(accepts)), ("-1".into(), "-1".into()));
        let longest = Option::<Duration>::parse("9223372036854775807", accepts).unwrap();
        assert_eq!(longest, Some(Duration::from_millis(i64::MAX.unsigned_abs())));
        assert_eq!((longest.check(accepts), longest.spell(accepts)), (Ok(()), "9223372036854775807".into()));
        assert_eq!(Option::<u64>::parse("-2", accepts), Err("-2 is out of range: -1 or more is accepted".into()));
    }

    #[test]
    fn times_that_milliseconds_cannot_express_are_refused_not_rounded() {
        assert_eq!(Duration::from_micros(1500).check(ANY), Err("1.5ms is not a whole number of milliseconds".into()));
        assert!(Duration::from_secs(u64::MAX).check(ANY).unwrap_err().contains("out of range"));
    }

    #[test]
    fn long_values_are_cut_in_messages() {
        assert_eq!(quoted(&"x".repeat(1000)).len(), 64 + 3 + 2);
    }
}
