//! [P] The configuration of a producer.
//!
//! Kafka's counterpart: `ProducerConfig`, as far as it is implemented.

use super::Accepts;
use super::value::{Value, parse_word};

/// When a record counts as delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Acks {
    /// When every in-sync replica holds it, which with [`Durability::Synced`](super::Durability::Synced) means on disk. The
    /// default.
    #[default]
    All,
    /// When it is in the leader's log file: survives the death of the process, not a power cut.
    Leader,
    /// As soon as its batch is handed on; no offset is known. Errors are counted, and told by `flush` and `close`.
    None,
}

impl Acks {
    /// The value of Kafka's `acks`.
    ///
    /// ```
    /// assert_eq!(logstead::config::Acks::Leader.as_str(), "1");
    /// ```
    pub const fn as_str(self) -> &'static str {
        match self {
            Acks::All => "all",
            Acks::Leader => "1",
            Acks::None => "0",
        }
    }
}

impl Value for Acks {
    fn parse(text: &str, accepts: Accepts) -> Result<Acks, String> {
        // Kafka's other spelling of all.
        let text = if text == "-1" { "all" } else { text };
        parse_word(text, accepts, [Acks::All, Acks::Leader, Acks::None], Acks::as_str)
    }

    fn to_kafka(&self) -> String {
        self.as_str().to_owned()
    }

    fn check(&self, _: Accepts) -> Result<(), String> {
        Ok(())
    }
}
