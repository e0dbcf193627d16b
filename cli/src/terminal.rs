//! The terminal behind standard output: its size, and whether it takes colours.

use std::env;

use crate::output;

/// Columns and rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

/// The size of a terminal that does not tell its own.
const USUAL: Size = Size { columns: 80, rows: 24 };
/// Below it nothing is laid out: what is too long is cut by the terminal.
const LEAST: Size = Size { columns: 40, rows: 10 };

/// The size now.
pub(crate) fn size() -> Size {
    let told = terminal_size::terminal_size();
    told.map_or(USUAL, |(width, height)| Size {
        columns: usize::from(width.0).max(LEAST.columns),
        rows: usize::from(height.0).max(LEAST.rows),
    })
}

/// Whether the cursor can be moved.
pub(crate) fn is_able() -> bool {
    output::is_terminal() && env::var("TERM").is_ok_and(|term| able(&term))
}

/// Whether colours are wanted and understood: see <https://no-color.org>.
pub(crate) fn has_colours() -> bool {
    is_able() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn able(term: &str) -> bool {
    !term.is_empty() && term != "dumb"
}

/// The first `columns` characters; the last one is `…` when there are more.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    text.chars().take(columns.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_by_characters() {
        assert_eq!(cut("µµµ", 3), "µµµ");
        assert_eq!(cut("µµµµ", 3), "µµ…");
        assert_eq!(cut("", 0), "");
    }

    #[test]
    fn a_dumb_terminal_has_no_cursor() {
        assert!(able("xterm-256color"));
        assert!(!able("dumb") && !able(""));
    }
}
