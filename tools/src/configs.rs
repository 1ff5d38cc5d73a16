//! `logstead configs`: shows and changes the configuration of a topic.
//!
//! Describing only looks: it works on a folder that another process owns. Kafka's counterpart: `kafka-configs`.

use std::io::Write;
use std::path::Path;

use clap::{Args, Subcommand};
use logstead::Cluster;
use logstead::config::ConfigEntry;
use logstead::types::TopicName;

use crate::arguments;
use crate::failure::Failure;
use crate::row::{Cell, Plain, Row};

const EXAMPLES: &str = "\
Examples:
    logstead --data data configs describe orders
    logstead --data data configs describe orders --json | jq -r '[.key, .value, .documentation] | @tsv'
    logstead --data data configs alter orders --config segment.bytes=67108864 --delete-config segment.ms

Exit codes: 0 done, 1 error (told on stderr; nothing is changed then), 2 wrong usage.";

/// Show and change the configuration of a topic.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Configs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Describe(Describe),
    Alter(Alter),
}

/// Show every configuration of a topic: its value, and whether it is set or the default.
#[derive(Debug, Args)]
struct Describe {
    /// The topic.
    topic: TopicName,

    /// Print one JSON object a line, a configuration each: key, value, source (set, default, or without-effect for what is
    /// stored and not implemented), default, accepts, unit, documentation.
    #[arg(long)]
    json: bool,
}

/// Change configurations of a topic, all at once or none.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("change").args(["config", "delete_config"]).required(true).multiple(true))]
struct Alter {
    /// The topic.
    topic: TopicName,

    /// Set a configuration under Kafka's name, such as segment.bytes=67108864; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = arguments::pair)]
    config: Vec<(String, String)>,

    /// Set a configuration back to the library's default; may be given several times.
    #[arg(long, value_name = "KEY", value_parser = arguments::not_empty)]
    delete_config: Vec<String>,
}

impl Configs {
    /// Does it; what is described goes to `out`.
    ///
    /// # Errors
    /// What the library refuses, or `out`.
    pub(crate) fn run(&self, data: &Path, out: &mut dyn Write) -> Result<(), Failure> {
        match &self.action {
            Action::Describe(describe) => describe.run(data, out),
            Action::Alter(alter) => alter.run(data),
        }
    }
}

impl Describe {
    fn run(&self, data: &Path, out: &mut dyn Write) -> Result<(), Failure> {
        for entry in Cluster::open_read_only(data)?.topic(self.topic.as_str())?.configs() {
            match self.json {
                true => row(&entry).write_json(out)?,
                false => writeln!(out, "{}={} {}", Plain(&entry.key), Plain(&entry.value), source(&entry))?,
            }
        }
        Ok(())
    }
}

impl Alter {
    fn run(&self, data: &Path) -> Result<(), Failure> {
        let cluster = arguments::open_existing(data)?;
        let set = self.config.iter().map(|(key, value)| (key, Some(value)));
        let deleted = self.delete_config.iter().map(|key| (key, None));
        cluster.alter_topic(self.topic.as_str(), set.chain(deleted))?;
        Ok(cluster.close()?)
    }
}

fn source(entry: &ConfigEntry) -> &'static str {
    match entry.has_effect {
        false => "without-effect",
        true if entry.is_default() => "default",
        true => "set",
    }
}

fn row(entry: &ConfigEntry) -> Row<'_> {
    let known = |cell: fn(&'static logstead::config::Field) -> Cell<'static>| entry.field.map_or(Cell::Null, cell);
    Row(vec![
        ("key", entry.key.as_str().into()),
        ("value", entry.value.as_str().into()),
        ("source", source(entry).into()),
        ("default", known(|field| field.default.into())),
        ("accepts", known(|field| Cell::text(field.accepts))),
        ("unit", known(|field| if field.unit.is_empty() { Cell::Null } else { field.unit.into() })),
        ("documentation", known(|field| field.doc.into())),
    ])
}
