//! The command line of logstead: looks into partition folders and changes nothing unless a command says so.
//!
//! Exit codes: 0 done, 1 damage or error (told on stderr), 2 wrong usage.

mod dump;
mod json;
mod row;
mod verify;

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

/// Apache Kafka's log without Kafka.
#[derive(Debug, Parser)]
#[command(name = "logstead", version)]
struct Cli {
    /// The folder to work on: a log.dir, a folder of several (broker.N), or one partition folder.
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Dump(dump::Dump),
    Verify(verify::Verify),
}

impl Cli {
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
    match run(&Cli::parse()) {
        Ok(Outcome::Complete) => ExitCode::SUCCESS,
        Ok(Outcome::Incomplete) => ExitCode::FAILURE,
        // Whoever reads our output, `head` for one, may stop before we do: that is not an error.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("error: cannot write the output: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> io::Result<Outcome> {
    let mut out = BufWriter::new(io::stdout().lock());
    let outcome = match &cli.command {
        Command::Dump(dump) => dump.run(&mut out)?,
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
