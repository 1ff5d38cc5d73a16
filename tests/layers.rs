//! Reads the sources and holds the rules that the compiler cannot: layers, kinds of module, sizes and where a crate may
//! be named. Every checker is a plain function over one file, and is itself tested with text that breaks its rule.
#![allow(clippy::disallowed_methods, clippy::expect_used, reason = "the sources are read from the real file system")]

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

/// How modules of one layer may use each other.
#[derive(Clone, Copy, PartialEq)]
enum Neighbours {
    Visible,
    Hidden,
}

/// The layers, bottom first. A module uses what is below it, itself, and its neighbours where they are visible.
const LAYERS: &[(Neighbours, &[&str])] = &[
    (Neighbours::Visible, &["types", "error", "config", "time", "rng", "sync"]),
    (Neighbours::Hidden, &["record", "storage"]),
    (Neighbours::Hidden, &["log", "replica", "controller"]),
    (Neighbours::Visible, &["broker"]),
    (Neighbours::Hidden, &["producer", "consumer"]),
    (Neighbours::Visible, &["cluster"]),
];

/// What lib.rs offers to the modules under the crate's own name, and the module that it comes from.
const ROOT_NAMES: &[(&str, &str)] = &[("Error", "error"), ("Result", "error")];

/// Names that only some files may use. A path that ends with `/` is a folder.
const CONFINED: &[(&str, &[&str])] = &[
    ("unsafe", &["storage/mapping.rs"]),
    ("memmap2", &["storage/mapping.rs"]),
    ("byteorder", &["record/cursor.rs"]),
    ("parking_lot", &["sync/", "storage/"]),
];

/// Names that a pure file has no business with; `storage/` is where the traits themselves are declared.
const IMPURE: &[&str] =
    &["Storage", "StorageFile", "OsStorage", "MemStorage", "SystemClock", "SystemTime", "parking_lot"];

const LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// One source file, with what is not code blanked out and the lines kept.
struct Source {
    /// Relative to `src/`, with `/`.
    path: String,
    text: String,
    /// `text` without comments and the contents of literals.
    code: String,
    /// The index of the first line of the test module at the end; the number of lines when there is none.
    tests_from: usize,
}

impl Source {
    fn new(path: &str, text: &str) -> Source {
        let code = blank_non_code(text);
        let lines: Vec<&str> = code.lines().collect();
        let opens_tests =
            |pair: &[&str]| matches!(pair, ["#[cfg(test)]", item] if item.starts_with("mod ") && item.ends_with('{'));
        let tests_from = lines.windows(2).position(opens_tests).unwrap_or(lines.len());
        let tests_from = if is_test_file(path) { 0 } else { tests_from };
        Source { path: path.to_owned(), text: text.to_owned(), code, tests_from }
    }

    /// The module at the crate's root that the file belongs to; `lib` for lib.rs.
    fn module(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// How many modules below the crate's root the file's own module is.
    fn depth(&self) -> usize {
        let parts = self.path.split('/').count();
        if self.path.ends_with("/mod.rs") || self.path == "lib.rs" { parts - 1 } else { parts }
    }

    fn is_pure(&self) -> bool {
        self.first_line().starts_with("//! [P] ")
    }

    /// The first line; the brackets of a kind may be escaped, since rustdoc takes them for a link in a public module.
    fn first_line(&self) -> String {
        self.text.lines().next().unwrap_or_default().replace('\\', "")
    }

    /// Lines of code outside the test module, numbered from 1.
    fn library_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().take(self.tests_from).enumerate().map(|(index, line)| (index + 1, line))
    }

    fn at(&self, line: usize, message: &str) -> String {
        format!("src/{}:{line}: {message}", self.path)
    }
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// Replaces comments, and the contents of string and character literals, with spaces; line breaks stay.
fn blank_non_code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let blanked = comment_len(rest).or_else(|| literal_len(rest, out.chars().next_back()));
        let len = blanked.unwrap_or(first.len_utf8());
        let (token, after) = rest.split_at(len);
        match blanked {
            Some(_) => out.extend(token.chars().map(|c| if c == '\n' { '\n' } else { ' ' })),
            None => out.push(first),
        }
        rest = after;
    }
    out
}

/// The length of the comment that `text` starts with. Block comments nest.
fn comment_len(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return None;
    }
    let (mut depth, mut at) = (0_usize, 0_usize);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    Some(text.len())
}

/// The length of the string or character literal that `text` starts with, its prefix included.
fn literal_len(text: &str, previous: Option<char>) -> Option<usize> {
    if !text.starts_with(['"', '\'', 'b', 'c', 'r']) {
        return None;
    }
    let in_word = previous.is_some_and(is_word);
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|prefix| {
        let after = text.strip_prefix(prefix).unwrap_or_default();
        let raw = prefix.ends_with('r') && after.trim_start_matches('#').starts_with('"');
        (prefix.is_empty() || !in_word)
            && (raw || after.starts_with('"') || (after.starts_with('\'') && !prefix.ends_with('r')))
    })?;
    let body = text.get(prefix.len()..)?;
    if prefix.ends_with('r') {
        let hashes = body.len() - body.trim_start_matches('#').len();
        let end = format!("\"{}", "#".repeat(hashes));
        let content = body.get(hashes + 1..)?;
        let close = content.find(&end).map_or(content.len(), |at| at + end.len());
        return Some(prefix.len() + hashes + 1 + close);
    }
    let quote = body.chars().next()?;
    if quote == '\'' && !is_character(body) {
        return None;
    }
    let mut escaped = false;
    for (at, c) in body.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return Some(prefix.len() + at + 1),
            _ => {}
        }
    }
    Some(text.len())
}

/// Tells a character literal from a lifetime.
fn is_character(text: &str) -> bool {
    let mut chars = text.chars().skip(1);
    matches!((chars.next(), chars.next()), (Some('\\'), _) | (Some(_), Some('\'')))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The identifiers and keywords of a line.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c| !is_word(c)).filter(|word| !word.is_empty())
}

/// Names that the file takes from the crate's root, each with its line: `crate::a`, `crate::{a, b::{c}}`, and the same
/// through as many `super` as lead to the root.
fn root_uses(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in source.code.match_indices("crate::").chain(source.code.match_indices("super::")) {
        let (before, path) = source.code.split_at(at);
        // The tail of a longer word, or a later part of a chain that was seen from its start.
        if before.ends_with(is_word) || before.ends_with("super::") || before.ends_with("self::") {
            continue;
        }
        let line = before.matches('\n').count();
        let after_supers = path.trim_start_matches("super::");
        let supers = (path.len() - after_supers.len()) / "super::".len();
        let depth = source.depth() + usize::from(line >= source.tests_from && !is_test_file(&source.path));
        let tail = match path.strip_prefix("crate::") {
            Some(tail) => tail,
            None if supers >= depth => after_supers,
            None => continue,
        };
        found.extend(first_names(tail).into_iter().map(|name| (line + 1, name)));
    }
    found.sort();
    found
}

/// The first segment of a path, or of each path in a braced group.
fn first_names(tail: &str) -> Vec<String> {
    let Some(group) = tail.strip_prefix('{') else {
        return tail.split(|c| !is_word(c)).next().into_iter().map(str::to_owned).collect();
    };
    let (mut names, mut depth, mut item) = (Vec::new(), 0_usize, String::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(std::mem::take(&mut item)),
            _ if depth == 0 => item.push(c),
            _ => {}
        }
    }
    names.push(item);
    names.iter().filter_map(|item| words(item).next().map(str::to_owned)).collect()
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|(_, modules)| modules.contains(&module))
}

fn check_layers(source: &Source) -> Vec<String> {
    let module = source.module();
    if module == "lib" {
        return Vec::new();
    }
    let Some(own) = layer_of(module) else {
        return vec![source.at(1, &format!("module `{module}` is in no layer: give it one in tests/layers.rs"))];
    };
    let mut broken = Vec::new();
    for (line, name) in root_uses(source) {
        let target = ROOT_NAMES.iter().find(|(root, _)| *root == name).map_or(name.as_str(), |(_, home)| home);
        let Some(layer) = layer_of(target) else {
            broken.push(
                source.at(line, &format!("`crate::{name}` is no module of a known layer: name the module it lives in")),
            );
            continue;
        };
        let neighbours = LAYERS.get(own).map(|(neighbours, _)| *neighbours);
        if layer > own {
            broken.push(source.at(line, &format!("`{module}` must not use `{target}`, which is a layer above it")));
        } else if layer == own && target != module && neighbours == Some(Neighbours::Hidden) {
            broken.push(source.at(line, &format!("`{module}` must not see its sibling `{target}`")));
        }
    }
    broken
}

fn check_first_line(source: &Source) -> Vec<String> {
    let first = source.first_line();
    let any_kind = source.path == "lib.rs" || is_test_file(&source.path);
    let kinds: &[&str] = if any_kind { &["//! "] } else { &["//! [P] ", "//! [S] ", "//! [D] "] };
    if kinds.iter().any(|kind| first.len() > kind.len() && first.starts_with(kind)) {
        return Vec::new();
    }
    vec![
        source.at(
            1,
            "say the file's kind and its one responsibility first: `//! [P] ...`, `//! [S] ...` or `//! [D] ...`",
        ),
    ]
}

fn check_file_length(source: &Source) -> Vec<String> {
    let lines = source.tests_from;
    if lines <= LINES_MAX {
        return Vec::new();
    }
    vec![
        source.at(1, &format!("{lines} lines without tests, more than {LINES_MAX}: split it along its responsibility")),
    ]
}

/// Measures functions by indentation, which rustfmt guarantees: from the line with `fn` to the brace under it.
fn check_function_length(source: &Source) -> Vec<String> {
    let lines: Vec<(usize, &str)> = source.library_lines().collect();
    let mut broken = Vec::new();
    for (index, (number, line)) in lines.iter().enumerate() {
        let declaration = line.trim_start();
        let one_line = declaration.trim_end().ends_with([';', '}']);
        if one_line || !words(declaration).take(6).any(|word| word == "fn") || declaration.starts_with("macro_rules") {
            continue;
        }
        let indent = line.len() - declaration.len();
        let close = lines.iter().skip(index + 1).find(|(_, later)| {
            let content = later.trim_start();
            later.len() - content.len() == indent && (content.trim_end() == "}" || content.trim_end().ends_with(';'))
        });
        let length = close.map_or(0, |(end, _)| end - number + 1);
        if length > FUNCTION_LINES_MAX {
            let text = format!("a function of {length} lines, more than {FUNCTION_LINES_MAX}: give its steps names");
            broken.push(source.at(*number, &text));
        }
    }
    broken
}

fn check_confined_names(source: &Source) -> Vec<String> {
    let mut broken = Vec::new();
    for (name, homes) in CONFINED {
        let at_home =
            homes.iter().any(|home| source.path == *home || (home.ends_with('/') && source.path.starts_with(home)));
        if at_home {
            continue;
        }
        for (index, line) in source.code.lines().enumerate() {
            if words(line).any(|word| word == *name) {
                broken.push(source.at(index + 1, &format!("`{name}` belongs to {} only", homes.join(", "))));
            }
        }
    }
    broken
}

/// Outside `sync/`, a bare lock needs an allow that says why it has no rank.
fn check_bare_locks(source: &Source) -> Vec<String> {
    let uses = words(&source.code).any(|word| word == "parking_lot");
    let flat: String = source.code.split_whitespace().collect();
    let reasoned = flat.contains("allow(clippy::disallowed_types,reason=");
    if !uses || reasoned || source.path.starts_with("sync/") {
        return Vec::new();
    }
    vec![source.at(1, "a bare lock of parking_lot needs `#[allow(clippy::disallowed_types, reason = ...)]`")]
}

fn check_purity(source: &Source) -> Vec<String> {
    if !source.is_pure() || source.module() == "storage" {
        return Vec::new();
    }
    let mut broken = Vec::new();
    for (number, line) in source.library_lines() {
        for word in words(line).filter(|word| IMPURE.contains(word)) {
            broken
                .push(source.at(number, &format!("a [P] file must not know `{word}`: pass the bytes or the value in")));
        }
        for path in ["std::fs", "std::thread", "std::time::Instant", "std::env"] {
            if line.contains(path) {
                broken.push(source.at(number, &format!("a [P] file must not use `{path}`")));
            }
        }
    }
    broken
}

fn check_text(source: &Source) -> Vec<String> {
    let mut broken = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        if !line.is_ascii() {
            broken.push(source.at(index + 1, "not plain ASCII: escape the character"));
        }
        for marker in ["TODO", "FIXME", "unimplemented!", "todo!"] {
            if line.contains(marker) {
                broken.push(
                    source.at(index + 1, &format!("`{marker}`: finish it, or leave it out and say so in the docs")),
                );
            }
        }
    }
    broken
}

/// All files below `folder`, as `Source`s with paths relative to `src/`, sorted.
fn read_sources(folder: &Path, prefix: &str, sources: &mut Vec<Source>) {
    let mut entries: Vec<_> =
        fs::read_dir(folder).expect("src is readable").map(|entry| entry.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a UTF-8 name");
        if path.is_dir() {
            read_sources(&path, &format!("{prefix}{name}/"), sources);
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).expect("a UTF-8 source file");
            sources.push(Source::new(&format!("{prefix}{name}"), &text));
        }
    }
}

fn sources() -> &'static [Source] {
    static SOURCES: OnceLock<Vec<Source>> = OnceLock::new();
    SOURCES.get_or_init(|| {
        let mut sources = Vec::new();
        read_sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut sources);
        sources
    })
}

#[track_caller]
fn assert_everywhere(check: fn(&Source) -> Vec<String>) {
    let broken: Vec<String> = sources().iter().flat_map(check).collect();
    assert!(broken.is_empty(), "{} places break the rule:\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn modules_use_only_what_lies_below_them() {
    assert_everywhere(check_layers);
}

#[test]
fn every_module_of_the_table_exists() {
    let sources = sources();
    for module in LAYERS.iter().flat_map(|(_, modules)| *modules) {
        assert!(sources.iter().any(|source| source.module() == *module), "`{module}` is in the table but not in src/");
    }
}

#[test]
fn every_file_states_its_kind_first() {
    assert_everywhere(check_first_line);
}

#[test]
fn no_file_is_too_long() {
    assert_everywhere(check_file_length);
}

#[test]
fn no_function_is_too_long() {
    assert_everywhere(check_function_length);
}

#[test]
fn unsafe_code_and_wrapped_crates_stay_in_their_files() {
    assert_everywhere(check_confined_names);
}

#[test]
fn a_lock_without_rank_says_why() {
    assert_everywhere(check_bare_locks);
}

#[test]
fn pure_files_do_no_io_and_take_no_locks() {
    assert_everywhere(check_purity);
}

#[test]
fn sources_are_ascii_and_finished() {
    assert_everywhere(check_text);
}

/// The checkers must be able to fail: each is fed text that breaks its rule, and text that nearly does.
mod checkers {
    use super::*;

    fn broken(check: fn(&Source) -> Vec<String>, path: &str, text: &str) -> usize {
        check(&Source::new(path, text)).len()
    }

    #[test]
    fn a_path_upward_is_found() {
        assert_eq!(broken(check_layers, "record/view.rs", "use crate::log::Log;\n"), 1);
        assert_eq!(broken(check_layers, "error.rs", "fn f() -> crate::record::View {}\n"), 1);
        assert_eq!(broken(check_layers, "types.rs", "use crate::{error::Error, log::{a, b}, storage};\n"), 2);
        assert_eq!(broken(check_layers, "log/mod.rs", "use crate::{error, record::{view, x}, storage::Storage};\n"), 0);
    }

    #[test]
    fn a_path_upward_is_found_in_tests_and_through_super() {
        assert_eq!(broken(check_layers, "rng.rs", "#[cfg(test)]\nmod tests {\n    use crate::log::Log;\n}\n"), 1);
        assert_eq!(broken(check_layers, "rng.rs", "#[cfg(test)]\nmod tests {\n    use super::log;\n}\n"), 0);
        assert_eq!(broken(check_layers, "rng.rs", "use super::log::Log;\n"), 1);
        assert_eq!(broken(check_layers, "storage/os/lock.rs", "use super::super::LockGuard;\n"), 0);
        assert_eq!(broken(check_layers, "storage/os/lock.rs", "use super::super::super::log::Log;\n"), 1);
    }

    #[test]
    fn siblings_of_the_codec_layer_are_hidden_and_base_modules_are_not() {
        assert_eq!(broken(check_layers, "record/view.rs", "use crate::storage::Storage;\n"), 1);
        assert_eq!(broken(check_layers, "record/view.rs", "use crate::record::header;\n"), 0);
        assert_eq!(broken(check_layers, "types.rs", "use crate::error::Error;\n"), 0);
    }

    #[test]
    fn unknown_modules_and_names_are_found() {
        assert_eq!(broken(check_layers, "gossip/mod.rs", ""), 1);
        assert_eq!(broken(check_layers, "log/mod.rs", "use crate::Offset;\n"), 1);
        assert_eq!(broken(check_layers, "log/mod.rs", "use crate::{Error, Result};\n"), 0);
    }

    #[test]
    fn comments_and_literals_are_not_code() {
        let text = "// use crate::log;\n/* crate::log /* nested */ crate::log */\n\
                    let a = \"crate::log \\\" crate::log\";\n\
                    let b = r#\"crate::log \" \"#; let c = '\"'; let d: &'static str = b\"crate::log\";\n";
        assert_eq!(broken(check_layers, "rng.rs", text), 0);
        assert_eq!(broken(check_layers, "rng.rs", &format!("{text}use crate::log;\n")), 1);
        assert_eq!(blank_non_code(text).lines().count(), text.lines().count());
    }

    #[test]
    fn a_missing_kind_is_found() {
        assert_eq!(broken(check_first_line, "rng.rs", "//! Random numbers.\n"), 1);
        assert_eq!(broken(check_first_line, "rng.rs", "//! [P] \n"), 1);
        assert_eq!(broken(check_first_line, "rng.rs", "//! [P] Random numbers.\n"), 0);
        assert_eq!(broken(check_first_line, "rng.rs", "//! \\[P\\] Random numbers.\n"), 0);
        assert_eq!(broken(check_first_line, "lib.rs", "//! A log.\n"), 0);
        assert_eq!(broken(check_first_line, "storage/mem/tests.rs", "//! Tests.\n"), 0);
    }

    #[test]
    fn a_long_file_is_found_and_its_tests_do_not_count() {
        let code = "fn f() {}\n";
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", code.repeat(LINES_MAX));
        assert_eq!(broken(check_file_length, "rng.rs", &code.repeat(LINES_MAX + 1)), 1);
        assert_eq!(broken(check_file_length, "rng.rs", &format!("{}{tests}", code.repeat(LINES_MAX))), 0);
    }

    #[test]
    fn a_long_function_is_found() {
        let body = |lines: usize| {
            let calls = "        g();\n".repeat(lines);
            format!("impl A {{\n    pub(crate) async fn f(\n        a: u8,\n    ) {{\n{calls}    }}\n}}\n")
        };
        assert_eq!(broken(check_function_length, "rng.rs", &body(FUNCTION_LINES_MAX - 3)), 1);
        assert_eq!(broken(check_function_length, "rng.rs", &body(FUNCTION_LINES_MAX - 4)), 0);
        let constants = "    const A: u8 = 0;\n".repeat(80);
        let declarations = format!("trait A {{\n    fn f(\n        a: u8,\n    );\n{constants}\n}}\n");
        assert_eq!(broken(check_function_length, "rng.rs", &declarations), 0);
    }

    #[test]
    fn confined_names_are_found_elsewhere() {
        assert_eq!(broken(check_confined_names, "log/mod.rs", "unsafe { f() }\n"), 1);
        assert_eq!(broken(check_confined_names, "lib.rs", "#![deny(unsafe_code)]\n"), 0);
        assert_eq!(broken(check_confined_names, "storage/mapping.rs", "unsafe { memmap2::f() }\n"), 0);
        assert_eq!(broken(check_confined_names, "record/view.rs", "use byteorder::BigEndian;\n"), 1);
        assert_eq!(broken(check_confined_names, "sync/ranked.rs", "use parking_lot::Mutex;\n"), 0);
        assert_eq!(broken(check_confined_names, "log/mod.rs", "use parking_lot::Mutex;\n"), 1);
    }

    #[test]
    fn a_bare_lock_without_reason_is_found() {
        let reasoned =
            "#[allow(\n    clippy::disallowed_types,\n    reason = \"a leaf\"\n)]\ntype A = parking_lot::Mutex<u8>;\n";
        assert_eq!(broken(check_bare_locks, "storage/os/lock.rs", "type A = parking_lot::Mutex<u8>;\n"), 1);
        assert_eq!(broken(check_bare_locks, "storage/os/lock.rs", reasoned), 0);
        assert_eq!(broken(check_bare_locks, "sync/ranked.rs", "type A = parking_lot::Mutex<u8>;\n"), 0);
    }

    #[test]
    fn an_impure_pure_file_is_found() {
        assert_eq!(broken(check_purity, "log/slice.rs", "//! [P] A.\nuse crate::storage::Storage;\n"), 1);
        assert_eq!(broken(check_purity, "log/slice.rs", "//! [P] A.\nuse std::fs::File;\n"), 1);
        assert_eq!(broken(check_purity, "log/slice.rs", "//! [P] A.\nuse crate::storage::FrozenBytes;\n"), 0);
        assert_eq!(broken(check_purity, "log/read.rs", "//! [S] A.\nuse crate::storage::Storage;\n"), 0);
    }

    #[test]
    fn foreign_characters_and_markers_are_found() {
        assert_eq!(broken(check_text, "rng.rs", "// na\u{ef}ve\n"), 1);
        assert_eq!(broken(check_text, "rng.rs", &format!("// {} later\n", ["TO", "DO"].concat())), 1);
        assert_eq!(broken(check_text, "rng.rs", "// naive\n"), 0);
    }
}
