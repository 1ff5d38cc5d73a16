//! One line of output at a time: a JSON object, or text in the style of kafka-dump-log.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::trouble::Trouble;
use crate::row::{Cell, Row};
use crate::{Outcome, complain};

/// One run of the command: where it prints, how, and whether all went well.
pub(crate) struct Session<'a> {
    out: &'a mut dyn Write,
    is_json: bool,
    is_deep: bool,
    outcome: Outcome,
}

impl<'a> Session<'a> {
    /// Prints to `out`.
    pub(crate) fn new(out: &'a mut dyn Write, is_json: bool, is_deep: bool) -> Session<'a> {
        Session { out, is_json, is_deep, outcome: Outcome::Complete }
    }

    /// Whether the records of a batch are wanted.
    pub(crate) fn is_deep(&self) -> bool {
        self.is_deep
    }

    /// Whether JSON is wanted.
    pub(crate) fn is_json(&self) -> bool {
        self.is_json
    }

    /// How it went so far.
    pub(crate) fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Prints a line that only the text has.
    pub(crate) fn heading(&mut self, line: fmt::Arguments<'_>) -> io::Result<()> {
        if self.is_json { Ok(()) } else { self.text(line) }
    }

    /// Prints a row as an object or as `name: value` pairs.
    pub(crate) fn row<'r>(&mut self, fields: impl Into<Vec<(&'static str, Cell<'r>)>>) -> io::Result<()> {
        let row = Row(fields.into());
        if self.is_json { self.json(&row) } else { self.text(format_args!("{row}")) }
    }

    /// Prints a line of text.
    pub(crate) fn text(&mut self, line: fmt::Arguments<'_>) -> io::Result<()> {
        writeln!(self.out, "{line}")
    }

    /// Prints a line of JSON.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut *self.out, value)?;
        self.out.write_all(b"\n")
    }

    /// Tells stderr what is wrong with a file. What was printed before comes out before.
    pub(crate) fn report(&mut self, path: &Path, trouble: &Trouble) -> io::Result<()> {
        self.outcome = Outcome::Incomplete;
        self.out.flush()?;
        complain(format_args!("{}: {trouble}", path.display()));
        Ok(())
    }
}
