//! [P] Randomness as a value: seeded, split into one stream per concern, the same on every machine.
//!
//! Whoever draws takes `&mut Rng` as an argument; a run is repeated by repeating its seed. The generator is xoshiro256**
//! (Blackman and Vigna), its state filled by splitmix64 as its authors advise. It is fast and well distributed and
//! **not** for secrets. Kafka has no counterpart.
//!
//! [P]: crate

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// A stream of random numbers.
///
/// ```
/// use logstead::rng::Rng;
/// let mut root = Rng::from_seed(7);
/// let mut jitter = root.split("segment jitter");
/// let mut faults = root.split("disk faults");
/// assert_ne!(jitter.next_u64(), faults.next_u64());
/// assert_eq!(Rng::from_seed(7).split("segment jitter").next_u64(), Rng::from_seed(7).split("segment jitter").next_u64());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rng {
    /// Never all zero: from there the generator yields zeros for ever.
    state: [u64; 4],
}

impl Rng {
    /// The stream that belongs to a seed. Every seed is good, 0 included.
    pub fn from_seed(seed: u64) -> Rng {
        // Four consecutive outputs of splitmix64 are never all zero: it is a bijection of a counter.
        let mut counter = seed;
        Rng { state: std::array::from_fn(|_| splitmix64(&mut counter)) }
    }

    /// A stream that nobody can foresee or repeat, for uses where no seed is given.
    ///
    /// The seed is the operating system's randomness, taken through the keys of the standard library's hasher, which is
    /// the one source of it that needs neither unsafe code nor another dependency.
    pub fn from_entropy() -> Rng {
        let state = std::array::from_fn(|word| {
            let mut hasher = RandomState::new().build_hasher();
            hasher.write_usize(word);
            hasher.finish()
        });
        if state == [0; 4] { Rng::from_seed(0) } else { Rng { state } }
    }

    /// A new stream for one concern, independent of this one and of every other stream split from it.
    ///
    /// The child depends on this stream's state and on the name, and the call advances this stream by one draw: the same
    /// splits in the same order give the same children, and splitting twice under one name gives two streams. How much
    /// one concern draws therefore never changes what another one sees.
    #[must_use]
    pub fn split(&mut self, concern: &str) -> Rng {
        Rng::from_seed(self.next_u64() ^ fnv1a(concern.as_bytes()))
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let output = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        output
    }

    /// A number in `0..bound`, each equally likely; 0 when `bound` is 0.
    ///
    /// ```
    /// use logstead::rng::Rng;
    /// let mut rng = Rng::from_seed(1);
    /// assert!((0..100).all(|_| rng.below(6) < 6));
    /// ```
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        // Below `skip` lie the 2^64 mod bound draws that would make small results more likely than large ones.
        let skip = bound.wrapping_neg() % bound;
        loop {
            let draw = self.next_u64();
            if draw >= skip {
                return draw % bound;
            }
        }
    }

    /// True with probability `numerator / denominator`; always from 1 on, never when `denominator` is 0.
    ///
    /// ```
    /// use logstead::rng::Rng;
    /// let mut rng = Rng::from_seed(1);
    /// assert!(rng.chance(3, 3) && !rng.chance(0, 3));
    /// ```
    pub fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        denominator != 0 && self.below(denominator) < numerator
    }

    /// Fills a buffer with random bytes.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            for (byte, random) in chunk.iter_mut().zip(self.next_u64().to_le_bytes()) {
                *byte = random;
            }
        }
    }
}

/// The next output of splitmix64 (Steele, Lea and Flood).
fn splitmix64(counter: &mut u64) -> u64 {
    *counter = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *counter;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The 64-bit FNV-1a hash: a stable number for a name.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_xoshiro256_star_star() {
        // The authors' reference implementation, started from the state 1, 2, 3, 4.
        let mut rng = Rng { state: [1, 2, 3, 4] };
        let first: [u64; 6] = std::array::from_fn(|_| rng.next_u64());
        assert_eq!(
            first,
            [11520, 0, 1_509_978_240, 1_215_971_899_390_074_240, 1_216_172_134_540_287_360, 607_988_272_756_665_600]
        );
    }

    #[test]
    fn the_state_comes_from_splitmix64() {
        assert_eq!(
            Rng::from_seed(0).state,
            [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f, 0xf88b_b8a8_724c_81ec]
        );
    }

    #[test]
    fn the_first_outputs_of_a_seed_never_change() {
        let mut rng = Rng::from_seed(0);
        let first: [u64; 3] = std::array::from_fn(|_| rng.next_u64());
        assert_eq!(first, [0x99ec_5f36_cb75_f2b4, 0xbf6e_1f78_4956_452a, 0x1a5f_849d_4933_e6e0]);
    }

    #[test]
    fn names_hash_as_fnv_1a() {
        assert_eq!((fnv1a(b""), fnv1a(b"a")), (0xcbf2_9ce4_8422_2325, 0xaf63_dc4c_8601_ec8c));
    }

    #[test]
    fn streams_of_different_concerns_differ_and_do_not_disturb_each_other() {
        let mut root = Rng::from_seed(3);
        let (mut first, mut second) = (root.split("a"), root.split("b"));
        first.fill(&mut [0; 1000]);
        let mut again = Rng::from_seed(3);
        let (untouched, mut same) = (again.split("a"), again.split("b"));
        assert_eq!(second.next_u64(), same.next_u64());
        assert_ne!(first, untouched);
        assert_ne!(Rng::from_seed(3).split("a"), Rng::from_seed(3).split("b"));
    }

    #[test]
    fn splitting_twice_under_one_name_gives_two_streams() {
        let mut root = Rng::from_seed(3);
        assert_ne!(root.split("a"), root.split("a"));
    }

    #[test]
    fn bounded_draws_are_spread_evenly() {
        let mut rng = Rng::from_seed(42);
        let mut counts = [0u32; 6];
        for _ in 0..60_000 {
            counts[usize::try_from(rng.below(6)).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_bound_of_three_quarters_of_the_range_is_not_biased() {
        // A plain remainder would land in the lowest third of this bound half the time.
        let bound = 3 << 62;
        let mut rng = Rng::from_seed(42);
        let low = (0..30_000).filter(|_| rng.below(bound) < bound / 3).count();
        assert!((9_500..10_500).contains(&low), "{low}");
    }

    #[test]
    fn bounds_and_chances_at_the_edges() {
        let mut rng = Rng::from_seed(1);
        assert_eq!((rng.below(0), rng.below(1)), (0, 0));
        assert!(rng.below(u64::MAX) < u64::MAX);
        assert!(rng.chance(5, 4) && !rng.chance(5, 0) && !rng.chance(0, 1));
    }

    #[test]
    fn filled_bytes_are_the_draws_in_little_endian() {
        let mut buffer = [0; 11];
        Rng::from_seed(9).fill(&mut buffer);
        let mut rng = Rng::from_seed(9);
        assert_eq!(buffer[..8], rng.next_u64().to_le_bytes());
        assert_eq!(buffer[8..], rng.next_u64().to_le_bytes()[..3]);
    }

    #[test]
    fn entropy_differs_from_draw_to_draw() {
        assert_ne!(Rng::from_entropy(), Rng::from_entropy());
    }
}
