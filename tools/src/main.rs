//! The command line of logstead: makes topics, writes and reads records, measures, and looks into partition folders.
//!
//! Exit codes: 0 done, 1 damage or error (told on stderr), 2 wrong usage.

mod arguments;
mod configs;
mod consume;
mod dump;
mod failure;
mod json;
mod lines;
mod moment;
mod offsets;
mod perf;
mod produce;
mod progress;
mod records;
mod row;
mod topics;
mod until_end;
mod verify;

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use failure::Failure;

/// Apache Kafka's log without Kafka.
#[derive(Debug, Parser)]
#[command(name = "logstead", version)]
struct Cli {
    /// The folder to work on: a log.dir; for verify also a folder of several (broker.N), or one partition folder.
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Topics(topics::Topics),
    Configs(configs::Configs),
    Produce(produce::Produce),
    Consume(consume::Consume),
    Offsets(offsets::Offsets),
    Records(records::Records),
    Perf(perf::Perf),
    Dump(dump::Dump),
    Verify(verify::Verify),
}

impl Cli {
    /// What arguments may not stand together beyond what clap itself can tell.
    fn check(&self) -> Result<(), &'static str> {
        match &self.command {
            Command::Produce(produce) => produce.check(),
            Command::Topics(_) | Command::Configs(_) | Command::Offsets(_) | Command::Records(_) => Ok(()),
            Command::Consume(_) | Command::Perf(_) | Command::Dump(_) | Command::Verify(_) => Ok(()),
        }
    }

    /// The folder that a command works on; without one the program ends as clap ends it for any missing argument.
    fn data(&self) -> &Path {
        let missing = || Cli::command().error(ErrorKind::MissingRequiredArgument, "this command needs --data <DIR>");
        self.data.as_deref().unwrap_or_else(|| missing().exit())
    }
}

/// How a command ended that could write its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It did all that it was asked to do.
    Complete,
    /// Something is missing from the output, or damaged; stderr says what.
    Incomplete,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(message) = cli.check() {
        Cli::command().error(ErrorKind::ArgumentConflict, message).exit();
    }
    match run(&cli) {
        Ok(Outcome::Complete) => ExitCode::SUCCESS,
        Ok(Outcome::Incomplete) => ExitCode::FAILURE,
        // Whoever reads our output, `head` for one, may stop before we do: that is not an error.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            complain(format_args!("error: {failure}"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<Outcome, Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    let outcome = match &cli.command {
        Command::Dump(dump) => dump.run(&mut out)?,
        Command::Topics(topics) => topics.run(cli.data(), &mut out).map(|()| Outcome::Complete)?,
        Command::Configs(configs) => configs.run(cli.data(), &mut out).map(|()| Outcome::Complete)?,
        Command::Offsets(offsets) => offsets.run(cli.data(), &mut out).map(|()| Outcome::Complete)?,
        Command::Records(records) => records.run(cli.data(), &mut out).map(|()| Outcome::Complete)?,
        Command::Produce(produce) => produce.run(cli.data(), &mut out).map(|()| Outcome::Complete)?,
        Command::Consume(consume) => consume.run(cli.data(), &mut out).map(|()| Outcome::Complete)?,
        Command::Perf(perf) => perf.run(cli.data(), &mut out).map(|()| Outcome::Complete)?,
        Command::Verify(verify) => verify.run(cli.data(), &mut out)?,
    };
    out.flush()?;
    Ok(outcome)
}

/// Writes a line to stderr. Nobody is left to tell when that fails, so it is not an error either.
fn complain(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
