//! The demo on a terminal: one screen that is drawn again with each piece of news. Layout is a pure function of what is
//! known and of the size.

use std::collections::VecDeque;

use tessera_simulators::report::{render, Report};
use tessera_simulators::scenario::{expectations, Guest, News, Outcome};

use crate::terminal::{cut, Size};

/// Notes that are kept: more than the rows of any terminal.
const NOTES: usize = 200;
/// Rows for notes that are left to the smallest terminal.
const FEW_NOTES: usize = 3;

/// The role of a row, which is its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Title,
    Dim,
    Good,
    Bad,
    Alert,
    Own,
}

impl Tone {
    /// Select Graphic Rendition of ECMA-48.
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Title => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Bad => "1;31",
            Self::Alert => "33",
            Self::Own => "1;36",
        }
    }
}

/// One row of the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) tone: Tone,
    pub(super) text: String,
}

fn row(tone: Tone, text: impl Into<String>) -> Row {
    Row { tone, text: text.into() }
}

fn blank() -> Row {
    row(Tone::Plain, "")
}

/// The state that the screen shows.
pub(super) struct Board {
    /// Where the servers are.
    place: String,
    /// How to connect a device of one's own.
    commands: Vec<String>,
    notes: VecDeque<Row>,
    report: Option<Report>,
    guests: Vec<Guest>,
}

impl Board {
    pub(super) fn new(place: String, commands: Vec<String>) -> Self {
        Self { place, commands, notes: VecDeque::new(), report: None, guests: Vec::new() }
    }

    /// Takes news in.
    pub(super) fn take(&mut self, news: News<'_>) {
        match news {
            News::Note(text) => self.note(Tone::Plain, text.to_owned()),
            News::Alert(text) => self.note(Tone::Alert, format!("alert: {text}")),
            News::Guest(text) => self.note(Tone::Own, format!("yours: {text}")),
            News::Progress(report) => self.report = Some(report.clone()),
            News::Guests(guests) => self.guests = guests.to_vec(),
        }
    }

    fn note(&mut self, tone: Tone, text: String) {
        if self.notes.len() == NOTES {
            self.notes.pop_front();
        }
        self.notes.push_back(row(tone, text));
    }

    /// The screen while the demo runs: how it stands, the latest notes, one's own devices, the commands. One row less
    /// than the terminal has.
    pub(super) fn frame(&self, size: Size) -> Vec<Row> {
        let mut rows = self.head();
        let foot = self.foot();
        let room = (size.rows - 1).saturating_sub(rows.len() + foot.len()).max(FEW_NOTES);
        let skipped = self.notes.len().saturating_sub(room);
        rows.extend(self.notes.iter().skip(skipped).cloned());
        let filled = rows.len() + foot.len();
        rows.extend((filled..size.rows - 1).map(|_| blank()));
        rows.extend(foot);
        rows.truncate(size.rows - 1);
        fitted(rows, size)
    }

    fn head(&self) -> Vec<Row> {
        let Some(report) = &self.report else {
            let title = row(Tone::Title, format!("tessera demo   {}", self.place));
            return vec![title, row(Tone::Plain, "starting"), blank(), blank()];
        };
        let title = format!("tessera demo {:>6.1} s   {}", report.seconds, self.place);
        let [first, second] = render::status(report);
        let tone = if report.failures == 0 { Tone::Good } else { Tone::Bad };
        vec![row(Tone::Title, title), row(tone, first), row(tone, second), blank()]
    }

    fn foot(&self) -> Vec<Row> {
        if self.commands.is_empty() {
            return Vec::new();
        }
        let mut rows = vec![blank()];
        match self.guests.as_slice() {
            [] => rows.push(row(
                Tone::Own,
                "A device of your own, in another terminal (Ctrl-C here ends the demo):",
            )),
            guests => rows.extend(guests.iter().map(|guest| row(Tone::Own, standing(guest)))),
        }
        rows.extend(self.commands.iter().map(|command| row(Tone::Plain, format!("  {command}"))));
        rows
    }
}

/// How a device of the reader stands.
fn standing(guest: &Guest) -> String {
    let connected = match guest.clients.as_slice() {
        [] => "not connected".to_owned(),
        clients => format!("connected as {}", clients.join(", ")),
    };
    let messages = match guest.messages {
        0 => "nothing published".to_owned(),
        1 => format!("1 message: {}", guest.last),
        many => format!("{many} messages, the last one: {}", guest.last),
    };
    let revoked = if guest.revoked { "REVOKED, " } else { "" };
    format!("yours: {} is {revoked}{connected}; {messages}", guest.device)
}

/// The screen after the demo: as much as the terminal has rows for, the most telling first.
pub(super) fn ending(run: &Outcome, verdict: &str, size: Size) -> Vec<Row> {
    let tone = if run.is_good() { Tone::Good } else { Tone::Bad };
    let head = format!("{verdict}   (seed {}, {} s)", run.report.seed, run.report.seconds);
    let mut rows = vec![row(tone, head)];
    let list = expectations::render(&run.expectations);
    rows.extend(list.into_iter().zip(&run.expectations).map(|(line, expectation)| {
        row(if expectation.held { Tone::Plain } else { Tone::Bad }, line)
    }));
    rows.extend(run.guests.iter().map(|guest| row(Tone::Own, standing(guest))));
    rows.extend(render::latencies(&run.report).into_iter().map(|line| row(Tone::Dim, line)));
    rows.extend(numbers(&run.report).map(|line| row(Tone::Plain, line)));
    for (title, counts) in [("refused", &run.report.refusals), ("alerts", &run.report.alerts)] {
        rows.extend(
            counts.iter().map(|(what, n)| row(Tone::Dim, format!("{title} {n:>6}  {what}"))),
        );
    }
    rows.truncate(size.rows - 1);
    fitted(rows, size)
}

/// The counts, in two lines.
fn numbers(report: &Report) -> [String; 2] {
    [
        format!(
            "{} connections ({} lost), {} messages published, {} delivered, {} commands",
            report.connections, report.lost, report.published, report.delivered, report.commands
        ),
        format!(
            "{} tokens refreshed, {} of them over MQTT, {} asked again over REST",
            report.refreshes, report.refreshed_by_mqtt, report.asked_twice
        ),
    ]
}

fn fitted(rows: Vec<Row>, size: Size) -> Vec<Row> {
    // Words of alerts hold names that devices chose.
    let safe = |text: &str| text.replace(char::is_control, "?");
    let fit = |row: Row| Row { text: cut(&safe(&row.text), size.columns), ..row };
    rows.into_iter().map(fit).collect()
}

/// The bytes that draw these rows from the upper left corner, and leave nothing else on the screen.
pub(super) fn drawn(rows: &[Row], colours: bool) -> String {
    let mut text = String::from("\x1b[H");
    for row in rows {
        match colours && row.tone != Tone::Plain {
            true => text.push_str(&format!("\x1b[{}m{}\x1b[0m", row.tone.code(), row.text)),
            false => text.push_str(&row.text),
        }
        text.push_str("\x1b[K\r\n");
    }
    text.push_str("\x1b[J");
    text
}
