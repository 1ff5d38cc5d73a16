//! [P] The configuration of a consumer.
//!
//! Kafka's counterpart: `ConsumerConfig`, as far as it is implemented.

use super::Accepts;
use super::value::{Value, parse_word};

/// Which committed records a consumer sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Isolation {
    /// Those of no transaction and of committed ones, up to the first transaction that is still open. The default (Kafka's
    /// is the other one).
    #[default]
    ReadCommitted,
    /// All, those of aborted and open transactions included.
    ReadUncommitted,
}

impl Isolation {
    /// The value of Kafka's `isolation.level`.
    ///
    /// ```
    /// assert_eq!(logstead::config::Isolation::ReadCommitted.as_str(), "read_committed");
    /// ```
    pub const fn as_str(self) -> &'static str {
        match self {
            Isolation::ReadCommitted => "read_committed",
            Isolation::ReadUncommitted => "read_uncommitted",
        }
    }
}

impl Value for Isolation {
    fn parse(text: &str, accepts: Accepts) -> Result<Isolation, String> {
        parse_word(text, accepts, [Isolation::ReadCommitted, Isolation::ReadUncommitted], Isolation::as_str)
    }

    fn to_kafka(&self) -> String {
        self.as_str().to_owned()
    }

    fn check(&self, _: Accepts) -> Result<(), String> {
        Ok(())
    }
}
