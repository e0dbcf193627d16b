//! The output of the demo: the board on a terminal, lines elsewhere.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tessera_runtime::stop::Stop;
use tessera_simulators::scenario::{News, Outcome};

use super::board::{drawn, ending, Board};
use crate::progress::Progress;
use crate::{output, sim, terminal};

pub(super) enum Show {
    Board { board: Box<Mutex<Board>>, colours: bool, stop: Stop },
    Lines(Progress),
}

impl Show {
    /// The board where the cursor can be moved and no log lines are to be read between.
    pub(super) fn new(place: &str, commands: &[String], quiet: bool, stop: &Stop) -> Self {
        if terminal::is_able() && quiet {
            let board = Board::new(place.to_owned(), commands.to_vec());
            // The former content of the terminal is scrolled away, not overwritten.
            output::write(&"\n".repeat(terminal::size().rows));
            let colours = terminal::has_colours();
            return Self::Board { board: Box::new(Mutex::new(board)), colours, stop: stop.clone() };
        }
        output::line(place);
        if !commands.is_empty() {
            output::line(
                "\nA device of your own, in another terminal (Ctrl-C here ends the demo):",
            );
            commands.iter().for_each(|command| output::line(&format!("  {command}")));
            output::line("");
        }
        Self::Lines(Progress::new(stop))
    }

    pub(super) fn show(&self, news: News<'_>) {
        match self {
            Self::Lines(screen) => screen.show(news),
            Self::Board { board, colours, stop } => {
                let mut board = locked(board);
                board.take(news);
                output::write(&drawn(&board.frame(terminal::size()), *colours));
                if output::is_closed() {
                    stop.trigger();
                }
            }
        }
    }

    pub(super) fn end(&self, run: &Outcome, verdict: &str) {
        match self {
            Self::Board { colours, .. } => {
                output::write(&drawn(&ending(run, verdict, terminal::size()), *colours));
            }
            Self::Lines(screen) => {
                screen.done();
                sim::summary(run);
                output::line(&format!("\n{verdict}"));
            }
        }
    }
}

/// A panic elsewhere leaves a board that is still good to draw.
fn locked(board: &Mutex<Board>) -> MutexGuard<'_, Board> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}
