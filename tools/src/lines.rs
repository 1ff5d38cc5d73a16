//! Lines of bytes: they end at a newline and nowhere else, and need not be text.

use std::io::{self, BufRead, Read};

use crate::failure::Failure;

/// No record is as long: a batch, with its record, is shorter than 2^31 bytes. Beyond it the input is not lines.
const LINE_BYTES_MAX: u64 = i32::MAX.unsigned_abs() as u64;

/// Reads lines.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    input: R,
    /// What the input is, for messages.
    name: String,
    line_bytes_max: u64,
    line: Vec<u8>,
    count: u64,
}

impl<R: BufRead> Lines<R> {
    /// Lines of an input that messages call `name`.
    pub(crate) fn new(input: R, name: String) -> Lines<R> {
        Lines { input, name, line_bytes_max: LINE_BYTES_MAX, line: Vec::new(), count: 0 }
    }

    /// The next line without its newline; the last one may have none. Returns as soon as the line is there.
    ///
    /// # Errors
    /// [`Failure::Input`] when the input cannot be read, or a line does not end.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, Failure> {
        self.line.clear();
        let limit = self.line_bytes_max.saturating_add(1);
        let outcome = self.input.by_ref().take(limit).read_until(b'\n', &mut self.line);
        if outcome.map_err(|source| self.failure(source))? == 0 {
            return Ok(None);
        }
        self.count += 1;
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        } else if self.line.len() as u64 > self.line_bytes_max {
            let message = format!("line {} is longer than {} bytes", self.count, self.line_bytes_max);
            return Err(self.failure(io::Error::other(message)));
        }
        Ok(Some(&self.line))
    }

    fn failure(&self, source: io::Error) -> Failure {
        Failure::Input { name: self.name.clone(), source }
    }
}

/// Splits a line at the first separator into key and value; without one, the whole line is the value and the key null.
pub(crate) fn split<'a>(line: &'a [u8], separator: Option<&str>) -> (Option<&'a [u8]>, &'a [u8]) {
    let Some(separator) = separator.map(str::as_bytes) else { return (None, line) };
    let Some(at) = line.windows(separator.len().max(1)).position(|window| window == separator) else {
        return (None, line);
    };
    let (key, rest) = line.split_at(at);
    (Some(key), rest.strip_prefix(separator).unwrap_or(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(input: &[u8], line_bytes_max: u64) -> Result<Vec<Vec<u8>>, String> {
        let mut lines = Lines { line_bytes_max, ..Lines::new(input, "the input".to_owned()) };
        let mut all = Vec::new();
        while let Some(line) = lines.next().map_err(|failure| failure.to_string())? {
            all.push(line.to_vec());
        }
        Ok(all)
    }

    fn all(input: &[u8]) -> Vec<Vec<u8>> {
        lines_of(input, LINE_BYTES_MAX).unwrap_or_else(|failure| panic!("{failure}"))
    }

    #[test]
    fn lines_end_at_newlines_only_and_the_last_may_have_none() {
        assert_eq!(all(b"a\r\n\n\0\xff\x0b\nlast"), [&b"a\r"[..], b"", b"\0\xff\x0b", b"last"]);
        assert_eq!(all(b"a\n"), [b"a"]);
        assert_eq!(all(b"\n\n"), [b"", b""]);
        assert!(all(b"").is_empty());
    }

    #[test]
    fn a_line_without_an_end_is_refused() {
        assert_eq!(lines_of(b"1234\n12", 4), Ok(vec![b"1234".to_vec(), b"12".to_vec()]));
        assert_eq!(lines_of(b"12\n12345\n", 4), Err("cannot read the input: line 2 is longer than 4 bytes".into()));
        assert_eq!(lines_of(b"1234", 4), Ok(vec![b"1234".to_vec()]));
    }

    #[test]
    fn a_line_is_split_at_the_first_separator() {
        let cases: [(&str, Option<&[u8]>, &str); 7] = [
            ("k::v", Some(b"k"), "v"),
            ("k::v::w", Some(b"k"), "v::w"),
            ("::v", Some(b""), "v"),
            ("k::", Some(b"k"), ""),
            ("::", Some(b""), ""),
            ("k:v", None, "k:v"),
            ("", None, ""),
        ];
        for (line, key, value) in cases {
            assert_eq!(split(line.as_bytes(), Some("::")), (key, value.as_bytes()), "{line}");
        }
        assert_eq!(split(b"k::v", None), (None, &b"k::v"[..]));
    }
}
