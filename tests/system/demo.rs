//! `tessera demo` on a terminal of 80 columns and 24 rows: every screen fits, and a device that its reader connects by
//! the commands on the screen is named, from enrolment to the cut after its revocation.

use std::os::unix::process::CommandExt;
use std::process::Command;

use tessera_tests::process::{ok, tessera, Process};

/// Without the sequences that move the cursor or colour the text.
fn plain(line: &str) -> String {
    let mut parts = line.split('\x1b');
    let first = parts.next().unwrap().to_owned();
    let behind = |part: &str| {
        let end = part.find(|c: char| c.is_ascii_alphabetic()).map_or(part.len(), |at| at + 1);
        part[end..].to_owned()
    };
    let text = parts.fold(first, |text, part| text + &behind(part));
    text.trim_end_matches('\r').to_owned()
}

/// The lines of a screen that begin with two spaces: the commands.
fn commands(demo: &mut Process) -> Vec<String> {
    let is = |line: &str, start: &str| plain(line).starts_with(start);
    let mut found = vec![demo.line("the first command", |line| is(line, "  cd "))];
    for next in
        ["  CLAIM=", "  ./tessera device enrol", "  ./tessera device connect", "  ./tessera revoke"]
    {
        found.push(demo.line(next, |line| is(line, next)));
    }
    found.iter().map(|line| plain(line).trim().to_owned()).collect()
}

/// Bash that runs these lines.
fn bash(lines: &[&str]) -> Command {
    let mut command = Command::new("bash");
    command.args(["-ec", &lines.join("\n")]);
    for name in ["TESSERA_OPERATOR_TOKEN", "TESSERA_CAFILE", "TESSERA_DEVICE_DIR"] {
        command.env_remove(name);
    }
    command
}

/// The demo on a terminal, and how it ends.
struct Demo(Process);

impl Demo {
    fn start() -> Self {
        let inner =
            format!("stty cols 80 rows 24; exec {} demo --devices 4 --seed 3", tessera().display());
        let mut command = Command::new("script");
        command.args(["-q", "-e", "-f", "-c", &inner, "/dev/null"]);
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR").process_group(0);
        Self(Process::start(&mut command))
    }

    fn shows(&mut self, text: &str) {
        self.0.line(text, |line| plain(line).contains(text));
    }
}

#[test]
fn demo_on_a_terminal_names_the_readers_device_until_it_is_cut_off() {
    let mut demo = Demo::start();
    let lines = commands(&mut demo.0);
    let [cd, claim, enrol, connect, revoke] = &lines[..] else { panic!("{lines:?}") };
    ok(&mut bash(&[cd, claim, enrol]));
    demo.shows("yours: mine enrolled");
    let mut device = Process::start(&mut bash(&[cd, &format!("exec {connect}")]));
    demo.shows("yours: mine connected with proof");
    device.say("21.5");
    demo.shows("yours: mine published 21.5");
    ok(&mut bash(&[cd, revoke]));
    demo.shows("yours: mine was revoked");
    demo.shows("yours: mine was cut off");
    demo.shows("yours: mine is REVOKED, not connected; 1 message: 21.5");
    assert!(!device.wait().success(), "{}", device.output());
    // Ctrl-C, by the line discipline of the terminal.
    demo.0.say("\x03");
    assert!(demo.0.wait().success());
    let output = demo.0.output();
    assert!(output.contains("\x1b[32m"), "a terminal has colours");
    let screens: Vec<&str> = output.split("\x1b[H").skip(1).collect();
    assert!(screens.len() > 5, "{} screens", screens.len());
    let again = screens.windows(2).filter(|two| two[0] == two[1]).count();
    assert!(again * 10 < screens.len(), "{again} of {} screens show nothing new", screens.len());
    for screen in screens {
        let rows: Vec<String> = screen.split("\x1b[J").next().unwrap().lines().map(plain).collect();
        assert!(rows.len() < 24, "{} rows\n{screen}", rows.len());
        assert!(rows.iter().all(|row| row.chars().count() <= 80), "{rows:?}");
    }
}
