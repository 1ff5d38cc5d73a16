//! The command line of logstead: looks into partition folders and changes nothing unless a command says so.
//!
//! Exit codes: 0 done, 1 damage or error (told on stderr), 2 wrong usage.

mod dump;

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Apache Kafka's log without Kafka.
#[derive(Debug, Parser)]
#[command(name = "logstead", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Dump(dump::Dump),
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
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
