//! The fields of one line of output: a JSON object whose fields keep their order, or `name: value` pairs for people.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};

use serde::ser::{Serialize, SerializeMap, Serializer};

/// The fields of one line, in the order in which they are printed.
#[derive(Debug)]
pub(crate) struct Row<'a>(pub(crate) Vec<(&'static str, Cell<'a>)>);

impl Row<'_> {
    /// Writes it as JSON, on a line of its own.
    ///
    /// # Errors
    /// Those of `out`.
    pub(crate) fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        out.write_all(b"\n")
    }
}

/// The value of a field.
#[derive(Debug)]
pub(crate) enum Cell<'a> {
    Null,
    Flag(bool),
    Number(i64),
    Size(u64),
    /// Printed with one decimal.
    Decimal(f64),
    Text(Cow<'a, str>),
    List(Vec<Cell<'a>>),
    Object(Row<'a>),
}

impl<'a> Cell<'a> {
    /// Anything that has a text.
    pub(crate) fn text(value: impl fmt::Display) -> Cell<'a> {
        Cell::Text(value.to_string().into())
    }
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(text: &'a str) -> Cell<'a> {
        Cell::Text(text.into())
    }
}

impl From<i64> for Cell<'_> {
    fn from(number: i64) -> Self {
        Cell::Number(number)
    }
}

impl From<i32> for Cell<'_> {
    fn from(number: i32) -> Self {
        Cell::Number(number.into())
    }
}

impl From<u64> for Cell<'_> {
    fn from(size: u64) -> Self {
        Cell::Size(size)
    }
}

impl From<u32> for Cell<'_> {
    fn from(size: u32) -> Self {
        Cell::Size(size.into())
    }
}

impl From<bool> for Cell<'_> {
    fn from(flag: bool) -> Self {
        Cell::Flag(flag)
    }
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, cell) in &self.0 {
            map.serialize_entry(name, cell)?;
        }
        map.end()
    }
}

impl Serialize for Cell<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Cell::Null => serializer.serialize_unit(),
            Cell::Flag(flag) => serializer.serialize_bool(*flag),
            Cell::Number(number) => serializer.serialize_i64(*number),
            Cell::Size(size) => serializer.serialize_u64(*size),
            Cell::Decimal(number) => serializer.serialize_f64((number * 10.0).round() / 10.0),
            Cell::Text(text) => serializer.serialize_str(text),
            Cell::List(cells) => serializer.collect_seq(cells),
            Cell::Object(row) => row.serialize(serializer),
        }
    }
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, cell)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { " " };
            write!(f, "{separator}{name}: {cell}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Cell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cell::Null => f.write_str("none"),
            Cell::Flag(flag) => flag.fmt(f),
            Cell::Number(number) => number.fmt(f),
            Cell::Size(size) => size.fmt(f),
            Cell::Decimal(number) => write!(f, "{number:.1}"),
            Cell::Text(text) => Plain(text).fmt(f),
            Cell::List(cells) if cells.is_empty() => f.write_str("none"),
            Cell::List(cells) => {
                for (index, cell) in cells.iter().enumerate() {
                    let separator = if index == 0 { "" } else { "," };
                    write!(f, "{separator}{cell}")?;
                }
                Ok(())
            }
            Cell::Object(row) => write!(f, "{{{row}}}"),
        }
    }
}

/// Text from a file, for a terminal: control characters are escaped, so that a line stays one and no terminal obeys it.
pub(crate) struct Plain<'a>(pub(crate) &'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in self.0.split_inclusive(char::is_control) {
            match piece.chars().next_back().filter(|last| last.is_control()) {
                Some(last) => {
                    let text = piece.strip_suffix(last).unwrap_or(piece);
                    write!(f, "{text}{}", last.escape_default())?;
                }
                None => f.write_str(piece)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_order_in_both_formats() {
        let row = Row(vec![("z", 1_u64.into()), ("a", Cell::Null), ("m", Cell::List(vec![true.into(), "x".into()]))]);
        assert_eq!(serde_json::to_string(&row).ok().as_deref(), Some(r#"{"z":1,"a":null,"m":[true,"x"]}"#));
        assert_eq!(row.to_string(), "z: 1 a: none m: true,x");
        assert_eq!(Row(vec![("m", Cell::List(Vec::new()))]).to_string(), "m: none");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(Plain("a\nb\u{1b}[2J\u{e9}").to_string(), "a\\nb\\u{1b}[2J\u{e9}");
    }
}
