//! What was found: damage and notes, how much was looked at, and how both are printed.
//!
//! A file that is damaged all over must not fill the memory: of each file a bounded number of findings is kept.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use logstead::types::Offset;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// Findings of one severity that are kept for a file; the summary counts what was left out.
const KEPT_PER_FILE: u64 = 1000;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// Bytes are not what they must be.
    Damage,
    /// Worth knowing, and nothing is wrong.
    Note,
}

impl Severity {
    const fn name(self) -> &'static str {
        match self {
            Severity::Damage => "damage",
            Severity::Note => "note",
        }
    }
}

/// Where something was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot {
    path: PathBuf,
    position: Option<u64>,
    /// The first offset concerned, and the one behind the last.
    offsets: Option<(Offset, Offset)>,
}

impl Spot {
    /// A whole file or folder.
    pub(crate) fn of(path: &Path) -> Spot {
        Spot { path: path.to_path_buf(), position: None, offsets: None }
    }

    /// A byte position in a file.
    pub(crate) fn at(path: &Path, position: u64) -> Spot {
        Spot { position: Some(position), ..Spot::of(path) }
    }

    /// The offsets from `first` up to, not including, `end`.
    pub(crate) fn offsets(self, first: Offset, end: Offset) -> Spot {
        Spot { offsets: Some((first, end)), ..self }
    }
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    severity: Severity,
    kind: &'static str,
    spot: Spot,
    what: String,
}

impl Finding {
    /// By what a second look recognises it: texts may name numbers that move on.
    fn key(&self) -> (&'static str, &Path, Option<u64>) {
        (self.kind, &self.spot.path, self.spot.position)
    }
}

/// How much was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) folders: u64,
    pub(crate) partitions: u64,
    pub(crate) files: u64,
    pub(crate) batches: u64,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    damage: u64,
    notes: u64,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.folders += other.folders;
        self.partitions += other.partitions;
        self.files += other.files;
        self.batches += other.batches;
        self.records += other.records;
        self.bytes += other.bytes;
        self.damage += other.damage;
        self.notes += other.notes;
    }

    fn fields(&self) -> [(&'static str, u64); 8] {
        [
            ("folders", self.folders),
            ("partitions", self.partitions),
            ("files", self.files),
            ("batches", self.batches),
            ("records", self.records),
            ("bytes", self.bytes),
            ("damage", self.damage),
            ("notes", self.notes),
        ]
    }
}

/// The findings of one look at a folder, in the order in which they were made.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    list: Vec<Finding>,
    per_file: BTreeMap<(Severity, PathBuf), u64>,
    pub(crate) tally: Tally,
}

impl Findings {
    /// Something is damaged.
    pub(crate) fn damage(&mut self, kind: &'static str, spot: Spot, what: impl Into<String>) {
        self.push(Finding { severity: Severity::Damage, kind, spot, what: what.into() });
    }

    /// Something is worth knowing.
    pub(crate) fn note(&mut self, kind: &'static str, spot: Spot, what: impl Into<String>) {
        self.push(Finding { severity: Severity::Note, kind, spot, what: what.into() });
    }

    /// Damage if `is_damage`, else a note.
    pub(crate) fn found(&mut self, is_damage: bool, kind: &'static str, spot: Spot, what: impl Into<String>) {
        let severity = if is_damage { Severity::Damage } else { Severity::Note };
        self.push(Finding { severity, kind, spot, what: what.into() });
    }

    /// Whether a file is so damaged that further damage in it is no longer kept.
    pub(crate) fn is_full(&self, path: &Path) -> bool {
        self.per_file.get(&(Severity::Damage, path.to_path_buf())).is_some_and(|count| *count >= KEPT_PER_FILE)
    }

    /// Pieces of damage so far.
    pub(crate) fn damage_count(&self) -> u64 {
        self.tally.damage
    }

    fn push(&mut self, finding: Finding) {
        match finding.severity {
            Severity::Damage => self.tally.damage += 1,
            Severity::Note => self.tally.notes += 1,
        }
        let count = self.per_file.entry((finding.severity, finding.spot.path.clone())).or_default();
        *count += 1;
        if *count <= KEPT_PER_FILE {
            self.list.push(finding);
        }
    }

    fn damage_keys(&self) -> Vec<(&'static str, &Path, Option<u64>)> {
        let damage = self.list.iter().filter(|finding| finding.severity == Severity::Damage);
        damage.map(Finding::key).collect()
    }

    /// Turns damage into a note that an earlier look did not see: an owner was at work in between.
    fn keep_confirmed(&mut self, earlier: &Findings) {
        let known = earlier.damage_keys();
        for finding in &mut self.list {
            if finding.severity == Severity::Damage && !known.contains(&finding.key()) {
                finding.severity = Severity::Note;
                finding.kind = "changing";
                finding.what = format!("not confirmed while the folder keeps changing: {}", finding.what);
                self.tally.damage = self.tally.damage.saturating_sub(1);
                self.tally.notes += 1;
            }
        }
    }
}

/// Looks until two looks in a row agree on the damage: a live owner may have truncated, rolled or published between two
/// reads of one look. What does not come back is no damage.
pub(crate) fn steadily<T>(mut look: impl FnMut(&mut Findings) -> T) -> (Findings, T) {
    const LOOKS_MAX: u32 = 4;
    let mut findings = Findings::default();
    let mut result = look(&mut findings);
    for remaining in (1..LOOKS_MAX).rev() {
        if findings.tally.damage == 0 {
            break;
        }
        let mut again = Findings::default();
        result = look(&mut again);
        let agrees = again.damage_keys() == findings.damage_keys();
        if !agrees && remaining == 1 {
            again.keep_confirmed(&findings);
        }
        findings = again;
        if agrees {
            break;
        }
    }
    (findings, result)
}

/// Prints the report.
pub(crate) struct Report<'a> {
    out: &'a mut dyn Write,
    is_json: bool,
    total: Tally,
}

impl<'a> Report<'a> {
    /// Prints to `out`.
    pub(crate) fn new(out: &'a mut dyn Write, is_json: bool) -> Report<'a> {
        Report { out, is_json, total: Tally::default() }
    }

    /// Prints findings and counts what was looked at.
    pub(crate) fn print(&mut self, findings: &Findings) -> io::Result<()> {
        for finding in &findings.list {
            if self.is_json {
                self.json(finding)?;
            } else {
                writeln!(self.out, "{finding}")?;
            }
        }
        self.total.add(findings.tally);
        Ok(())
    }

    /// Prints the last line; returns how much damage there is.
    pub(crate) fn finish(mut self) -> io::Result<u64> {
        if self.is_json {
            self.json(&Summary(self.total))?;
        } else {
            let mut line = String::from("summary:");
            for (name, count) in self.total.fields() {
                let separator = if line.ends_with(':') { "" } else { "," };
                // Writing to a String cannot fail.
                let _ = write!(line, "{separator} {name} {count}");
            }
            writeln!(self.out, "{line}")?;
        }
        Ok(self.total.damage)
    }

    fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut *self.out, value)?;
        self.out.write_all(b"\n")
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spot { path, position, offsets } = &self.spot;
        write!(f, "{} {} {}", self.severity.name(), self.kind, Plain(&path.display().to_string()))?;
        if let Some(position) = position {
            write!(f, " at {position}")?;
        }
        if let Some((first, end)) = offsets {
            write!(f, " offsets {first}..{end}")?;
        }
        write!(f, ": {}", Plain(&self.what))
    }
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("severity", self.severity.name())?;
        map.serialize_entry("kind", self.kind)?;
        map.serialize_entry("file", &self.spot.path.display().to_string())?;
        map.serialize_entry("position", &self.spot.position)?;
        map.serialize_entry("firstOffset", &self.spot.offsets.map(|(first, _)| first.get()))?;
        map.serialize_entry("endOffset", &self.spot.offsets.map(|(_, end)| end.get()))?;
        map.serialize_entry("what", &self.what)?;
        map.end()
    }
}

/// The last line in JSON.
struct Summary(Tally);

impl Serialize for Summary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Counts(Tally);
        impl Serialize for Counts {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.0.fields())
            }
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("summary", &Counts(self.0))?;
        map.end()
    }
}

/// Text from a file system, for a terminal: control characters are escaped.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character.is_control() {
            true => write!(f, "{}", character.escape_default()),
            false => f.write_char(character),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_that_does_not_come_back_is_none() {
        let mut looks = 0_u64;
        let (findings, ()) = steadily(|findings| {
            looks += 1;
            findings.damage("batch", Spot::at(Path::new("a.log"), looks), "moves on");
            findings.damage("batch", Spot::at(Path::new("b.log"), 7), "stays");
        });
        assert_eq!(looks, 4);
        assert_eq!((findings.tally.damage, findings.tally.notes), (1, 1));
    }

    #[test]
    fn damage_that_is_seen_twice_is_told_once() {
        let (findings, ()) = steadily(|findings| findings.damage("batch", Spot::of(Path::new("a.log")), "bad"));
        assert_eq!(findings.list.len(), 1);
        assert_eq!(findings.list.first().map(ToString::to_string).as_deref(), Some("damage batch a.log: bad"));
    }

    #[test]
    fn a_file_that_is_damaged_all_over_costs_bounded_memory() {
        let mut findings = Findings::default();
        let path = Path::new("a.log");
        for position in 0..3 * KEPT_PER_FILE {
            findings.damage("batch", Spot::at(path, position), "bad");
        }
        assert!(findings.is_full(path));
        assert_eq!(findings.list.len() as u64, KEPT_PER_FILE);
        assert_eq!(findings.tally.damage, 3 * KEPT_PER_FILE);
    }
}
