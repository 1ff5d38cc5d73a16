//! Data folders, and the program run on them.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

/// A folder that does not exist yet, for one test.
pub(crate) struct Data {
    parent: TempDir,
}

/// What a run of the program left.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// A running program, killed at the end of the test.
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<BufReader<ChildStdout>>,
}

impl Data {
    pub(crate) fn new() -> Data {
        Data { parent: tempfile::tempdir().unwrap() }
    }

    /// With a topic in it.
    pub(crate) fn with_topic(name: &str, partitions: u32) -> Data {
        let data = Data::new();
        data.run(&["topics", "create", name, "--partitions", &partitions.to_string()]).assert_silent();
        data
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.parent.path().join("data")
    }

    /// `logstead --data ..`, with arguments.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        command_on(&self.path(), arguments)
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        run_with(self.command(arguments), b"")
    }

    pub(crate) fn run_with(&self, arguments: &[&str], input: &[u8]) -> Run {
        run_with(self.command(arguments), input)
    }

    /// Starts the program, with its input left open.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().map(BufReader::new);
        Running { child, stdin, stdout }
    }

    /// Writes lines to a topic.
    pub(crate) fn produce(&self, topic: &str, lines: &[u8]) {
        self.run_with(&["produce", topic], lines).assert_silent();
    }

    /// Everything in a topic, as text.
    pub(crate) fn values(&self, topic: &str) -> Vec<u8> {
        self.run(&["consume", topic]).stdout_of_success()
    }

    /// What a command prints in JSON, an object a line.
    pub(crate) fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let printed = String::from_utf8(self.run(arguments).stdout_of_success()).unwrap();
        printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Run {
    #[track_caller]
    pub(crate) fn assert_silent(&self) {
        assert_eq!((self.code, self.stdout.as_slice(), self.stderr.as_str()), (0, &b""[..], ""));
    }

    #[track_caller]
    pub(crate) fn stdout_of_success(self) -> Vec<u8> {
        assert_eq!((self.code, self.stderr.as_str()), (0, ""));
        self.stdout
    }

    /// The program must have refused, with a message that contains `part`, and printed nothing.
    #[track_caller]
    pub(crate) fn assert_error(&self, part: &str) {
        assert!(self.code == 1 && self.stdout.is_empty() && self.stderr.contains(part), "{part}: {self:?}");
        assert!(self.stderr.starts_with("error: ") && self.stderr.lines().count() == 1, "{self:?}");
    }
}

impl Running {
    /// Writes to its input.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(bytes).unwrap();
        stdin.flush().unwrap();
    }

    pub(crate) fn take_stdin(&mut self) -> ChildStdin {
        self.stdin.take().unwrap()
    }

    /// Its output, for another thread to read.
    pub(crate) fn take_stdout(&mut self) -> BufReader<ChildStdout> {
        self.stdout.take().unwrap()
    }

    /// The next line of its output; waits for it. Without newline at the end only when the output ends there.
    pub(crate) fn read_line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.as_mut().unwrap().read_line(&mut line).unwrap();
        line
    }

    /// Ends it as nothing can be prevented from ending.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Closes its input and waits for its end.
    pub(crate) fn finish(mut self) -> i32 {
        drop(self.stdin.take());
        let mut rest = Vec::new();
        self.take_stdout().read_to_end(&mut rest).unwrap();
        self.child.wait().unwrap().code().unwrap()
    }

    /// Reads no more of its output, and waits for its end.
    pub(crate) fn finish_unread(mut self) -> i32 {
        drop(self.stdin.take());
        drop(self.stdout.take());
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `logstead --data FOLDER`, with arguments.
pub(crate) fn command_on(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_logstead"));
    command.arg("--data").arg(folder).args(arguments);
    command
}

/// Runs a command to its end, feeding it an input.
pub(crate) fn run_with(mut command: Command, input: &[u8]) -> Run {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = thread::scope(|scope| {
        scope.spawn(move || {
            // A program that refuses its arguments reads nothing.
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().unwrap()
    });
    Run {
        code: output.status.code().unwrap(),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
