//! [P] Which partition a record goes to: murmur2 of the key as Kafka's clients place it, or the user's own function.
//!
//! Records without a key go to one partition until about a batch is full, and then to another one at random (KIP-794,
//! without its weighting by load: here the producing threads append their batches themselves, and no queues build up).
//! User code runs without any lock held. Kafka's counterparts: `BuiltInPartitioner`, `RoundRobinPartitioner`, `Partitioner`.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, Result};

/// Chooses a partition for each record that does not name one.
///
/// A closure will do:
///
/// ```
/// use logstead::producer::Partitioner;
/// fn takes(_: impl Partitioner) {}
/// takes(|_topic: &str, _key: Option<&[u8]>, value: Option<&[u8]>, count: u32| {
///     value.map_or(0, |value| value.len() as u32) % count
/// });
/// ```
pub trait Partitioner: Send + Sync {
    /// The partition, below `count`. An answer out of range, or a panic, fails the one call that it was for.
    fn partition(&self, topic: &str, key: Option<&[u8]>, value: Option<&[u8]>, count: u32) -> u32;
}

impl<F> Partitioner for F
where
    F: Fn(&str, Option<&[u8]>, Option<&[u8]>, u32) -> u32 + Send + Sync,
{
    fn partition(&self, topic: &str, key: Option<&[u8]>, value: Option<&[u8]>, count: u32) -> u32 {
        self(topic, key, value, count)
    }
}

/// Where records without a key go. Those with a key go where Kafka's Java client puts them: murmur2 of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Keyless {
    /// To one partition until a batch is full, then to another one at random: large batches, evenly spread. The default.
    #[default]
    Sticky,
    /// To the partitions in turn.
    RoundRobin,
}

/// How a producer chooses.
pub(super) enum Choice {
    BuiltIn(Keyless),
    Own(Box<dyn Partitioner>),
}

impl fmt::Debug for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::BuiltIn(keyless) => f.debug_tuple("BuiltIn").field(keyless).finish(),
            Choice::Own(_) => f.write_str("Own"),
        }
    }
}

/// Asks the user's partitioner. Its answer is not checked here.
///
/// # Errors
/// [`Error::CallbackPanicked`].
pub(super) fn ask(
    own: &dyn Partitioner,
    topic: &str,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    count: u32,
) -> Result<u32> {
    // The partitioner is the user's; whatever state its panic left it in is his to see.
    catch_unwind(AssertUnwindSafe(|| own.partition(topic, key, value, count)))
        .map_err(|panic| Error::CallbackPanicked { callback: "partitioner", message: message_of(panic.as_ref()) })
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}

/// The partition of a key, of `count`, which is not 0.
pub(super) fn for_key(key: &[u8], count: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff).checked_rem(count).unwrap_or_default()
}

/// Kafka's hash of keys: MurmurHash2, 32 bits, with a seed of its own.
fn murmur2(bytes: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const FACTOR: u32 = 0x5bd1_e995;
    // Kafka's arrays are shorter than 2^31.
    let mut hash = SEED ^ u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let (words, tail) = bytes.as_chunks::<4>();
    for word in words {
        let mut word = u32::from_le_bytes(*word).wrapping_mul(FACTOR);
        word = (word ^ (word >> 24)).wrapping_mul(FACTOR);
        hash = hash.wrapping_mul(FACTOR) ^ word;
    }
    if !tail.is_empty() {
        let word = tail.iter().rev().fold(0, |word, byte| (word << 8) | u32::from(*byte));
        hash = (hash ^ word).wrapping_mul(FACTOR);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(FACTOR);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_is_that_of_kafkas_java_client() {
        let vectors = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (key, hash) in vectors {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn the_sign_of_the_hash_is_cut_off_before_the_remainder() {
        let positive = murmur2(b"21") & 0x7fff_ffff;
        assert_eq!(for_key(b"21", 7), positive % 7);
        assert_eq!(for_key(b"21", 1), 0);
    }

    #[test]
    fn a_panic_of_the_users_code_is_an_error_with_its_message() {
        let own = |_: &str, _: Option<&[u8]>, _: Option<&[u8]>, _: u32| -> u32 { panic!("no idea") };
        let refused = ask(&own, "orders", None, None, 3);
        let Err(Error::CallbackPanicked { callback: "partitioner", message }) = refused else { panic!("{refused:?}") };
        assert_eq!(message, "no idea");
    }
}
