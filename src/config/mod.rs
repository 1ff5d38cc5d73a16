//! [P] Configuration: every field declared once, from which its type, setter, check, Kafka key and documentation come.
//!
//! Rules: a value is rejected, never adjusted; all violations are reported at once; an unknown key is an error that names
//! the nearest known one; Kafka's keys that logstead does not implement yet are an error too, rather than ignored. There are no
//! environment variables and no globals.
//!
//! Kafka's counterparts: `ConfigDef` (the declaration), `LogConfig` (the topic-level keys).
//!
//! [P]: crate

mod broker;
mod compression;
mod consumer;
mod entry;
mod log;
pub(crate) mod nearest;
mod producer;
mod topic;
mod value;

use std::fmt;

use crate::error::{ConfigViolation, Error, Result};

pub use broker::BrokerConfig;
pub use compression::TopicCompression;
pub use consumer::{ConsumerConfig, Isolation};
pub use entry::ConfigEntry;
pub use log::{CleanupPolicy, Durability, LogConfig, ReadMode};
pub use producer::{Acks, ProducerConfig};
pub use topic::TopicConfig;
pub(crate) use topic::{PARTITIONS_MAX, StoredConfig};

/// What is known about one configuration field: a row of the reference table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Field {
    /// The name of its setter; the getter has `get_` in front.
    pub name: &'static str,
    /// Kafka's key; `None` for a field of logstead's own.
    pub key: Option<&'static str>,
    /// The unit of the value in Kafka's spelling; empty where it has none.
    pub unit: &'static str,
    /// The values accepted.
    pub accepts: Accepts,
    /// The default, in Kafka's spelling.
    pub default: &'static str,
    /// What it means.
    pub doc: &'static str,
}

/// The values that a field accepts, in Kafka's spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Accepts {
    /// Whole numbers between two bounds, both included.
    Range {
        /// The smallest.
        low: i64,
        /// The largest.
        high: i64,
    },
    /// One of a few words.
    OneOf(&'static [&'static str]),
}

impl fmt::Display for Accepts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Accepts::Range { low, high: i64::MAX } => write!(f, "{low} or more"),
            Accepts::Range { low, high } => write!(f, "{low} to {high}"),
            Accepts::OneOf(words) => f.write_str(&words.join(" or ")),
        }
    }
}

/// Kafka's topic-level keys that no field here has yet. Rejected by name: a topic that silently kept data for another time
/// than its configuration says would be worse than one that cannot be opened.
const KAFKA_TOPIC_KEYS_NOT_IMPLEMENTED: &[&str] = &[
    "delete.retention.ms",
    "flush.ms",
    "follower.replication.throttled.replicas",
    "leader.replication.throttled.replicas",
    "local.retention.bytes",
    "local.retention.ms",
    "max.compaction.lag.ms",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "min.insync.replicas",
    "remote.log.copy.disable",
    "remote.log.delete.on.disable",
    "remote.storage.enable",
    "unclean.leader.election.enable",
];

/// Why `key`, which no field of `fields` has, is rejected.
fn reject_key(key: &str, fields: &[Field]) -> String {
    const NOT_YET: &str = "a Kafka topic configuration that logstead does not implement yet";
    if KAFKA_TOPIC_KEYS_NOT_IMPLEMENTED.contains(&key) {
        return NOT_YET.to_owned();
    }
    let known = fields.iter().filter_map(|field| field.key).chain(KAFKA_TOPIC_KEYS_NOT_IMPLEMENTED.iter().copied());
    match nearest::nearest(key, known) {
        Some(near) if KAFKA_TOPIC_KEYS_NOT_IMPLEMENTED.contains(&near) => {
            format!("unknown; the nearest known key is {near}, {NOT_YET}")
        }
        Some(near) => format!("unknown; the nearest known key is {near}"),
        None => "unknown".to_owned(),
    }
}

/// Why a configuration is refused, if it is.
fn verdict(violations: Vec<ConfigViolation>) -> Result<()> {
    if violations.is_empty() { Ok(()) } else { Err(Error::InvalidConfig { violations }) }
}

/// Declares a configuration struct. Each field is one entry (both names, since a macro cannot make one from the other):
///
/// ```text
/// /// What it means.
/// setter / get_setter: Kind("kafka.key" or none, "unit", [low..=high] or [low..] or [words], default[, absent = value])
/// ```
///
/// | kind | Rust type | default is written as |
/// |---|---|---|
/// | `Bytes` | `u64` | a number |
/// | `Millis` | `Duration` | milliseconds |
/// | `MillisLimit` | `Option<Duration>` | milliseconds; 2^63 - 1, Kafka's "no limit", is `None` |
/// | `MillisUnlessNegative` | `Option<Duration>` | milliseconds or `none`; -1, Kafka's other "no limit", is `None` |
/// | `BytesUnlessNegative` | `Option<u64>` | a number or `none`; -1, Kafka's "no limit", is `None` |
/// | `Flag` | `bool` | `true` or `false` |
/// | `Level` | `i32` | a number in parentheses |
/// | an enumeration with `Value` | itself | a variant; its `as_str` gives Kafka's spelling |
///
/// `absent` is the value that `from_pairs` gives to a field whose key does not occur, where that is not the default.
macro_rules! config {
    (
        $(#[$struct_doc:meta])*
        pub struct $config:ident {
            $(
                #[doc = $doc:literal]
                $(#[doc = $more:literal])*
                $name:ident / $getter:ident: $kind:ident($key:tt, $unit:literal, $accepts:tt, $default:tt $(, absent = $absent:tt)?)
            ),+ $(,)?
        }
    ) => {
        $(#[$struct_doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $config {
            $($name: config!(@type $kind),)+
        }

        impl $config {
            /// Every field, in the order of declaration: the reference table, ready to be printed.
            pub const FIELDS: &'static [$crate::config::Field] = &[$(
                $crate::config::Field {
                    name: stringify!($name),
                    key: config!(@key $key),
                    unit: $unit,
                    accepts: config!(@accepts $accepts),
                    default: config!(@default_text $kind $default),
                    doc: concat!($doc $(, $more)*).trim_ascii_start(),
                },
            )+];

            /// Every field at its default.
            pub fn new() -> $config {
                $config { $($name: config!(@default $kind $default),)+ }
            }

            $(
                #[doc = $doc]
                $(#[doc = $more])*
                ///
                #[doc = config!(@rules $key, $unit, $accepts, $default)]
                #[must_use]
                pub fn $name(mut self, $name: config!(@type $kind)) -> $config {
                    self.$name = $name;
                    self
                }

                #[doc = $doc]
                $(#[doc = $more])*
                ///
                #[doc = config!(@rules $key, $unit, $accepts, $default)]
                pub fn $getter(&self) -> config!(@type $kind) {
                    self.$name
                }
            )+

            /// Checks every field.
            ///
            /// # Errors
            /// [`Error::InvalidConfig`](crate::Error::InvalidConfig) with every violation. Nothing is adjusted.
            pub fn validate(&self) -> $crate::Result<()> {
                let mut violations = Vec::new();
                $(
                    if let Err(reason) = $crate::config::value::Value::check(&self.$name, config!(@accepts $accepts)) {
                        let field = config!(@key $key).unwrap_or(stringify!($name)).to_owned();
                        violations.push($crate::error::ConfigViolation { field, reason });
                    }
                )+
                $crate::config::verdict(violations)
            }

            /// Reads Kafka's keys and values; fields whose key does not occur keep their default, except as said at the field.
            ///
            /// Values are spelled as Kafka spells them: signed decimal numbers, `true` and `false` in any case, the words of
            /// enumerations exactly. The result is valid.
            ///
            /// # Errors
            /// [`Error::InvalidConfig`](crate::Error::InvalidConfig) with every violation: values that do not parse or are out
            /// of range, unknown keys, keys that occur twice, and Kafka's keys that are not implemented yet.
            pub fn from_pairs<K: AsRef<str>, V: AsRef<str>>(
                pairs: impl IntoIterator<Item = (K, V)>,
            ) -> $crate::Result<$config> {
                let mut config = $config::absent();
                let mut violations = Vec::new();
                let mut seen: Vec<&'static str> = Vec::new();
                for (key, value) in pairs {
                    let outcome = config.set_pair(key.as_ref(), value.as_ref(), &mut seen);
                    if let Err(reason) = outcome {
                        let field = key.as_ref().to_owned();
                        violations.push($crate::error::ConfigViolation { field, reason });
                    }
                }
                $crate::config::verdict(violations)?;
                Ok(config)
            }

            /// What no key at all means.
            #[allow(unused_mut)]
            pub(crate) fn absent() -> $config {
                let mut config = $config::new();
                $($(config.$name = config!(@default $kind $absent);)?)+
                config
            }

            fn set_pair(&mut self, key: &str, value: &str, seen: &mut Vec<&'static str>) -> Result<(), String> {
                let Some(known) = Self::FIELDS.iter().filter_map(|field| field.key).find(|known| *known == key) else {
                    return Err($crate::config::reject_key(key, Self::FIELDS));
                };
                if seen.contains(&known) {
                    return Err("given more than once".to_owned());
                }
                seen.push(known);
                $(
                    if config!(@key $key) == Some(known) {
                        self.$name = $crate::config::value::Value::parse(value, config!(@accepts $accepts))?;
                    }
                )+
                Ok(())
            }

            /// Every field that has a key of Kafka's, as a pair that [`from_pairs`](Self::from_pairs) reads back.
            pub fn to_pairs(&self) -> Vec<(&'static str, String)> {
                let mut pairs = Vec::new();
                $(
                    if let Some(key) = config!(@key $key) {
                        pairs.push((key, $crate::config::value::Value::spell(&self.$name, config!(@accepts $accepts))));
                    }
                )+
                pairs
            }
        }

        impl Default for $config {
            fn default() -> $config {
                $config::new()
            }
        }
    };

    (@type Bytes) => { u64 };
    (@type Millis) => { ::std::time::Duration };
    (@type MillisLimit) => { Option<::std::time::Duration> };
    (@type MillisUnlessNegative) => { Option<::std::time::Duration> };
    (@type BytesUnlessNegative) => { Option<u64> };
    (@type Flag) => { bool };
    (@type Level) => { i32 };
    (@type $choice:ident) => { $choice };

    (@default Bytes $number:tt) => { $number };
    (@default Millis $number:tt) => { ::std::time::Duration::from_millis($number) };
    (@default MillisLimit $number:tt) => { $crate::config::value::limit_from_millis($number) };
    (@default MillisUnlessNegative none) => { None };
    (@default MillisUnlessNegative $number:tt) => { Some(::std::time::Duration::from_millis($number)) };
    (@default BytesUnlessNegative none) => { None };
    (@default Flag $flag:tt) => { $flag };
    (@default Level ($number:literal)) => { $number };
    (@default $choice:ident $variant:tt) => { $choice::$variant };

    (@default_text Bytes $number:tt) => { concat!($number) };
    (@default_text Millis $number:tt) => { concat!($number) };
    (@default_text MillisLimit $number:tt) => { concat!($number) };
    (@default_text MillisUnlessNegative none) => { "-1" };
    (@default_text MillisUnlessNegative $number:tt) => { concat!($number) };
    (@default_text BytesUnlessNegative none) => { "-1" };
    (@default_text Flag $flag:tt) => { stringify!($flag) };
    (@default_text Level ($number:literal)) => { concat!($number) };
    (@default_text $choice:ident $variant:tt) => { $choice::$variant.as_str() };

    (@key none) => { None::<&'static str> };
    (@key $key:tt) => { Some($key) };

    (@rules none, $unit:literal, $accepts:tt, $default:tt) => {
        concat!("Accepts ", config!(@accepts_text $accepts), $unit, "; default ", config!(@plain $default), ". No key of Kafka's.")
    };
    (@rules $key:tt, $unit:literal, $accepts:tt, $default:tt) => {
        concat!(
            "Kafka's `", $key, "`: ", config!(@accepts_text $accepts), $unit, "; default ", config!(@plain $default), "."
        )
    };

    (@plain ($number:literal)) => { stringify!($number) };
    (@plain $default:tt) => { stringify!($default) };

    (@accepts_text [$low:literal..]) => { concat!(stringify!($low), " or more ") };
    (@accepts_text [$low:literal..=$high:literal]) => { concat!(stringify!($low), " to ", stringify!($high), " ") };
    (@accepts_text [$first:literal $(| $word:literal)*]) => { concat!("`", $first, "`" $(, " or `", $word, "`")*) };

    (@accepts [$low:literal..]) => { $crate::config::Accepts::Range { low: $low, high: i64::MAX } };
    (@accepts [$low:literal..=$high:literal]) => { $crate::config::Accepts::Range { low: $low, high: $high } };
    (@accepts [$($word:literal)|+]) => { $crate::config::Accepts::OneOf(&[$($word),+]) };
}
pub(crate) use config;
