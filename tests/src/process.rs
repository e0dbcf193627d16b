//! A child process whose output is read line by line, with a deadline.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{sync_channel, Receiver, RecvTimeoutError};
use std::time::Duration;

/// How long anything may take before the test says that the product is broken: `bench wear` says nothing for a minute.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// Lines of output that wait to be read.
const LINES: usize = 100_000;

/// The workspace.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The built `tessera`, beside the test binary.
pub fn tessera() -> PathBuf {
    let mut folder = std::env::current_exe().unwrap();
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    let binary = folder.join("tessera");
    assert!(binary.exists(), "{} is not built: run tests/run", binary.display());
    binary
}

/// The Python of the project's own virtual environment.
pub fn python() -> PathBuf {
    let python = root().join("tests/.venv/bin/python");
    assert!(python.exists(), "{} is not there: run tests/run", python.display());
    python
}

/// One line of output, or the end of a stream.
enum Output {
    Line(String),
    End,
}

/// A running child. It is killed when it goes out of scope.
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<Output>,
    seen: Vec<String>,
    open: usize,
    name: String,
}

impl Process {
    /// Starts a command; both of its output streams are read.
    pub fn start(command: &mut Command) -> Self {
        let name = format!("{command:?}");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{name}: {e}"));
        let (send, lines) = sync_channel(LINES);
        let errors = send.clone();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let forward = |stream: Box<dyn BufRead + Send>, to: std::sync::mpsc::SyncSender<Output>| {
            std::thread::spawn(move || {
                for line in stream.split(b'\n').map_while(Result::ok) {
                    let line = String::from_utf8_lossy(&line).into_owned();
                    if to.send(Output::Line(line)).is_err() {
                        return;
                    }
                }
                let _ = to.send(Output::End);
            });
        };
        forward(Box::new(stdout), send);
        forward(Box::new(stderr), errors);
        let input = child.stdin.take();
        Self { child, input, lines, seen: Vec::new(), open: 2, name }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to its input.
    pub fn say(&mut self, line: &str) {
        let input = self.input.as_mut().expect("the input is open");
        writeln!(input, "{line}").unwrap();
        input.flush().unwrap();
    }

    /// The next line for which `wanted` is true; lines before it are kept in [`Self::output`].
    pub fn line(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(Output::Line(line)) => {
                    self.seen.push(line.clone());
                    if wanted(&line) {
                        return line;
                    }
                }
                Ok(Output::End) => {
                    self.open -= 1;
                    assert!(self.open > 0, "{} ended before {what}\n{}", self.name, self.output());
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("{}: no {what} in {PATIENCE:?}\n{}", self.name, self.output())
                }
            }
        }
    }

    /// Waits for a line with each of `wanted`, in any order: its output and its errors are two
    /// pipes, and the order between them is not set.
    pub fn lines_with(&mut self, wanted: &[&str]) {
        let mut left = wanted.to_vec();
        while !left.is_empty() {
            let line = self.line(&format!("line with one of {left:?}"), |line| {
                left.iter().any(|w| line.contains(w))
            });
            left.retain(|wanted| !line.contains(wanted));
        }
    }

    /// Everything it has printed as far as it was read.
    pub fn output(&self) -> String {
        self.seen.join("\n")
    }

    /// Waits for its end and reads the rest of its output.
    pub fn wait(&mut self) -> ExitStatus {
        drop(self.input.take());
        while self.open > 0 {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(Output::Line(line)) => self.seen.push(line),
                Ok(Output::End) => self.open -= 1,
                Err(_) => panic!("{} does not end\n{}", self.name, self.output()),
            }
        }
        self.child.wait().unwrap()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// A signal by its name.
    pub fn signal(&self, name: &str) {
        let status =
            Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a command to its end: whether it succeeded, and all it printed.
pub fn run(command: &mut Command) -> (bool, String) {
    let mut process = Process::start(command);
    let status = process.wait();
    (status.success(), process.output())
}

/// Runs a command that must succeed.
#[track_caller]
pub fn ok(command: &mut Command) -> String {
    let name = format!("{command:?}");
    let (good, output) = run(command);
    assert!(good, "{name} failed:\n{output}");
    output
}
