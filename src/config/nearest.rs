//! [P] The known word nearest to an unknown one, for error messages.

/// Longer words are compared by their start only: the cost is bounded, and no known word is as long.
const LENGTH_MAX: usize = 64;

/// The candidate with the smallest edit distance, the first of equals; `None` without candidates.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates.into_iter().min_by_key(|candidate| distance(word, candidate))
}

/// Levenshtein's distance: how many characters must be inserted, removed or replaced.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(LENGTH_MAX).collect();
    // The distances from the part of `left` read so far to each prefix of `right`.
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, from) in left.chars().take(LENGTH_MAX).enumerate() {
        let mut diagonal = index;
        let mut before = index + 1;
        let (first, rest) = match row.split_first_mut() {
            Some(parts) => parts,
            None => return 0,
        };
        *first = before;
        for (cell, to) in rest.iter_mut().zip(&right) {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = *cell;
            before = replaced.min(before + 1).min(diagonal + 1);
            *cell = before;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_levenshteins() {
        for (left, right, expected) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("flaw", "lawn", 2), ("a", "a", 0)]
        {
            assert_eq!(distance(left, right), expected, "{left} {right}");
        }
    }

    #[test]
    fn the_nearest_word_is_found_and_the_first_of_equals_wins() {
        assert_eq!(nearest("segmet.byte", ["segment.ms", "segment.bytes"]), Some("segment.bytes"));
        assert_eq!(nearest("x", ["a", "b"]), Some("a"));
        assert_eq!(nearest("x", []), None);
    }

    #[test]
    fn a_very_long_word_costs_no_more_than_a_long_one() {
        assert_eq!(distance(&"x".repeat(1 << 20), "x"), LENGTH_MAX - 1);
    }
}
