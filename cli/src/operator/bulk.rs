//! Import of devices and claims. A file is sent in pieces, each of which may be sent again: its lines are answered with
//! `unchanged` then. Progress goes to the error output.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{json, Value};
use tessera_runtime::clock::{SharedClock, SystemClock};
use tessera_simulators::operator::{tenant_path, OperatorError};

use super::answers::{self, Answers};
use super::claim::{complain_of_lost_codes, show_claims};
use super::source::{Piece, Source};
use super::{words, Call};
use crate::args::Imported;
use crate::error::{Fault, Outcome};
use crate::output;

/// Devices of one call for claims.
const CLAIMS_AT_ONCE: usize = 400;
/// Time for one piece.
const PIECE_TIME: Duration = Duration::from_secs(150);
/// Times that one place is tried again, and the longest wait before.
pub(super) const TRIES: u32 = 8;
const WAIT_MOST: Duration = Duration::from_secs(15);
/// Refused lines that are shown.
const SHOWN: u64 = 20;
/// Time between two words of progress.
const EVERY: Duration = Duration::from_secs(2);

/// Imports from a file.
pub(super) async fn import(what: Imported) -> Outcome {
    let (tenant, mut job, file) = match what {
        Imported::Devices { file, dry_run, from_line, errors, tenant } => {
            let job = Job { kind: "devices", dry_run, from_line, errors, answers: None };
            (tenant, job, file)
        }
        Imported::Claims { file, answers, dry_run, from_line, errors, tenant } => {
            let open = |path: PathBuf| Answers::open(&path, &tenant.tenant, &file, from_line);
            let answers = answers.map(open).transpose()?;
            let begin = answers.as_ref().map_or(1, |answers| answers.next);
            if let Some(refused) =
                answers.as_ref().map(|answers| answers.refused).filter(|n| *n > 0)
            {
                output::complain(&format!(
                    "{refused} lines of a former run were refused: their answers say why. Send them, mended, as a list of its \
                     own with another file of answers"
                ));
            }
            let from_line = from_line.unwrap_or(begin);
            (tenant, Job { kind: "claims", dry_run, from_line, errors, answers }, file)
        }
    };
    let call = Call::of(&tenant.operator)?;
    // A dry run makes no codes: any key will do.
    let key = match (&job.answers, job.kind) {
        (Some(answers), _) => Some(answers.key.clone()),
        (None, "claims") => Some(answers::draw()?),
        _ => None,
    };
    let errors = job.errors.map(|path| Errors::create(&path)).transpose()?;
    let mut source = Source::open(&file)?;
    let answers = job.answers.take();
    if job.from_line > 1 {
        match &answers {
            Some(answers) => answers.pass(&mut source, job.from_line)?,
            None => {
                source.skip(job.from_line - 1, None)?;
            }
        }
        output::complain(&format!("{}: it begins at line {}", file.display(), job.from_line));
    }
    let mut progress = Progress::new(errors, answers, call.json);
    let path = tenant_path(&tenant.tenant, &format!("import/{}", job.kind));
    let resume = |line: u64, fault: Fault| {
        let words = format!(
            "the lines before {line} of {} are done: go on with --from-line {line}",
            file.display()
        );
        match fault.what_next() {
            Some(hint) => {
                let words = format!("{hint}\n  {words}");
                fault.hint(words)
            }
            None => fault.hint(words),
        }
    };
    loop {
        let piece = source.piece()?;
        if piece.lines == 0 {
            break;
        }
        let to = To { path: &path, key: key.as_deref(), dry_run: job.dry_run };
        if let Err((line, fault)) = send(&call, &to, piece, &mut progress).await {
            return Err(resume(line, fault));
        }
        progress.say(&file);
    }
    progress.end(job.dry_run)
}

/// An import as it was asked for.
struct Job {
    kind: &'static str,
    dry_run: bool,
    from_line: u64,
    errors: Option<PathBuf>,
    answers: Option<Answers>,
}

/// Where a piece is sent.
struct To<'a> {
    path: &'a str,
    key: Option<&'a str>,
    dry_run: bool,
}

/// Sends a piece, from the first line that is not answered, until all of its lines are. A fault goes with the line to go on
/// from.
async fn send(
    call: &Call,
    to: &To<'_>,
    mut piece: Piece,
    progress: &mut Progress,
) -> Result<(), (u64, Fault)> {
    let (mut tries, mut wait) = (0, Duration::from_millis(250));
    while piece.lines > 0 {
        let path = format!("{}?dry_run={}&first={}", to.path, to.dry_run, piece.first);
        let why = match call.client.lines(&path, piece.bytes.clone(), to.key, PIECE_TIME).await {
            Ok(answer) => {
                let told = progress.take(&answer, &piece).map_err(|fault| (piece.first, fault))?;
                if told.is_whole {
                    return Ok(());
                }
                if told.lines > 0 {
                    tries = 0;
                }
                piece.drop_lines(told.lines);
                told.why
            }
            Err(error) if is_passing(&error) => words(error),
            Err(error) => return Err((piece.first, words(error))),
        };
        tries += 1;
        if tries > TRIES || output::is_closed() {
            return Err((piece.first, why));
        }
        output::complain(&format!("line {}: {why}; it is tried again", piece.first));
        tokio::time::sleep(wait).await;
        wait = wait.saturating_mul(2).min(WAIT_MOST);
    }
    Ok(())
}

pub(super) fn is_passing(error: &OperatorError) -> bool {
    matches!(error, OperatorError::Http(error) if error.is_temporary())
}

pub(super) fn at(path: &Path, error: &io::Error) -> Fault {
    Fault::new(format!("{}: {error}", path.display()))
}

/// The file of refused lines.
struct Errors {
    path: PathBuf,
    file: File,
}

impl Errors {
    fn create(path: &Path) -> Result<Self, Fault> {
        let file = File::create(path).map_err(|error| at(path, &error))?;
        Ok(Self { path: path.to_owned(), file })
    }
}

/// The counts so far.
struct Progress {
    clock: SharedClock,
    began: Duration,
    said: Duration,
    errors: Option<Errors>,
    answers: Option<Answers>,
    json: bool,
    lines: u64,
    imported: u64,
    unchanged: u64,
    refused: u64,
}

/// The part of a piece that is answered.
struct Told {
    /// The service has read all of it.
    is_whole: bool,
    /// Lines of the piece up to the last one that was answered.
    lines: u64,
    why: Fault,
}

impl Progress {
    fn new(errors: Option<Errors>, answers: Option<Answers>, json: bool) -> Self {
        let clock = SystemClock::shared();
        let now = clock.monotonic();
        Self {
            clock,
            began: now,
            said: now,
            errors,
            answers,
            json,
            lines: 0,
            imported: 0,
            unchanged: 0,
            refused: 0,
        }
    }

    /// Counts the answers to a piece.
    fn take(&mut self, answer: &[u8], piece: &Piece) -> Result<Told, Fault> {
        let broken = || Fault::new("the answer broke off").passing(true);
        let mut told = Told { is_whole: false, lines: 0, why: broken() };
        for line in answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let Ok(line) = serde_json::from_slice::<Value>(line) else { break };
            let Some(number) = line.get("line").and_then(Value::as_u64) else {
                told.is_whole = line.get("done") == Some(&Value::Bool(true));
                if let Some(why) = line.get("detail").and_then(Value::as_str) {
                    told.why = Fault::new(why);
                }
                // Empty lines have no answers.
                let next = line.get("next").and_then(Value::as_u64).unwrap_or_default();
                told.lines = told.lines.max(next.saturating_sub(piece.first));
                break;
            };
            told.lines = (number + 1).saturating_sub(piece.first);
            self.lines += 1;
            if let Some(answers) = &mut self.answers {
                answers.keep(&line, piece.mark(number))?;
            }
            match line.get("outcome").and_then(Value::as_str) {
                Some("imported") => self.imported += 1,
                Some("unchanged") => self.unchanged += 1,
                _ => {
                    self.refused += 1;
                    self.tell(&line)?;
                }
            }
        }
        Ok(told)
    }

    /// Tells of a refused line.
    fn tell(&mut self, line: &Value) -> Result<(), Fault> {
        if let Some(Errors { path, file }) = &mut self.errors {
            writeln!(file, "{line}").map_err(|error| at(path, &error))?;
        }
        let text = |name: &str| line.get(name).and_then(Value::as_str);
        match self.refused {
            0..=SHOWN => {
                let number = line.get("line").and_then(Value::as_u64).unwrap_or_default();
                let device =
                    text("device").map(|device| format!(" ({device})")).unwrap_or_default();
                let field = text("field").map(|field| format!("{field}: ")).unwrap_or_default();
                let (code, detail) = (text("code").unwrap_or("?"), text("detail").unwrap_or(""));
                output::complain(&format!("line {number}{device}: {field}{code}: {detail}"));
            }
            refused if refused == SHOWN + 1 => {
                output::complain(
                    "further refused lines are not shown: --errors FILE keeps them all",
                );
            }
            _ => {}
        }
        Ok(())
    }

    fn seconds(&self) -> f64 {
        self.clock.monotonic().saturating_sub(self.began).as_secs_f64()
    }

    fn say(&mut self, file: &Path) {
        let now = self.clock.monotonic();
        if now.saturating_sub(self.said) < EVERY {
            return;
        }
        self.said = now;
        let rate = self.lines as f64 / self.seconds().max(1e-3);
        let Self { lines, refused, .. } = self;
        output::complain(&format!(
            "{}: {lines} lines, {refused} refused, {rate:.0} lines/s",
            file.display()
        ));
    }

    fn end(self, dry_run: bool) -> Outcome {
        let seconds = self.seconds();
        let Self { json, lines, imported, unchanged, refused, .. } = self;
        let would =
            if dry_run { "would be imported (dry run: nothing was written)" } else { "imported" };
        let text = format!(
            "{lines} lines in {seconds:.1} s: {imported} {would}, {unchanged} unchanged, {refused} refused"
        );
        let object = json!({
            "lines": lines, "imported": imported, "unchanged": unchanged, "refused": refused,
            "dry_run": dry_run, "seconds": seconds,
        });
        output::result(json, &text, &object);
        Ok(u8::from(refused > 0))
    }
}

/// Makes a claim for each device of a file, and shows the codes of all that were made, also when one call fails.
pub(super) async fn claims(
    call: &Call,
    path: &str,
    mut body: Value,
    (file, plain): (&Path, bool),
) -> Outcome {
    let text = std::fs::read_to_string(file).map_err(|error| at(file, &error))?;
    let ids: Vec<&str> = text.lines().map(str::trim).filter(|id| !id.is_empty()).collect();
    if ids.is_empty() {
        return Err(Fault::new(format!("{}: there is no device id in it", file.display())));
    }
    let (mut made, mut fault) = (Vec::new(), None);
    for some in ids.chunks(CLAIMS_AT_ONCE) {
        if let Some(body) = body.as_object_mut() {
            body.insert("devices".to_owned(), json!(some));
        }
        match call.client.create(path, &body).await {
            Ok(mut answer) => match answer.get_mut("claims").map(Value::take) {
                Some(Value::Array(claims)) => made.extend(claims),
                _ => fault = Some(words(OperatorError::Empty)),
            },
            Err(error) => fault = Some(words(error)),
        }
        if fault.is_some() {
            break;
        }
    }
    let count = made.len();
    let made = json!({ "claims": made });
    show_claims(call, &made, plain);
    if output::is_closed() {
        complain_of_lost_codes(&made);
    }
    match fault {
        None => Ok(0),
        Some(fault) => {
            let next = ids.get(count).copied().unwrap_or_default();
            let done =
                format!("claims were made for {count} devices: go on with those from {next:?} on");
            Err(fault.hint(done))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::tests::source;
    use super::*;

    #[test]
    fn an_answer_that_broke_off_says_where_to_go_on() {
        let mut progress = Progress::new(None, None, true);
        let answer = "{\"line\":1,\"device\":\"a\",\"outcome\":\"imported\"}\n{\"line\":2,\"outcome\":\"unchanged\"}\n{\"li";
        let mut piece = source("a\nb\nc\n\nd\n").piece().unwrap();
        let told = progress.take(answer.as_bytes(), &piece).unwrap();
        assert!(!told.is_whole);
        assert_eq!((told.lines, progress.imported, progress.unchanged), (2, 1, 1));
        piece.drop_lines(told.lines);
        assert_eq!((piece.first, piece.lines, piece.bytes.as_slice()), (3, 3, &b"c\n\nd\n"[..]));
        // It ended early behind an empty line.
        let end = "{\"line\":3,\"outcome\":\"imported\"}\n{\"done\":false,\"next\":5,\"code\":\"not_ready\",\"detail\":\"x\"}\n";
        let told = progress.take(end.as_bytes(), &piece).unwrap();
        assert_eq!((told.is_whole, told.lines, told.why.to_string()), (false, 2, "x".to_owned()));
        piece.drop_lines(told.lines);
        let end = "{\"line\":5,\"outcome\":\"refused\",\"code\":\"role_unknown\"}\n{\"done\":true,\"code\":null,\"detail\":null}\n";
        let told = progress.take(end.as_bytes(), &piece).unwrap();
        assert!(told.is_whole);
        assert_eq!(progress.refused, 1);
    }
}
