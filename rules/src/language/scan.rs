//! The words of a text, and the bounds that hold before it is parsed.
//!
//! The parser recurses with brackets, prefixes and chains of operators, so these are counted here, in one pass without
//! recursion. Words of CEL that rules do not have are refused here too: the parser never meets a loop or a map.

use super::error::{Problem, TextError};
use crate::limits;

/// A word of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word<'t> {
    /// Its first byte.
    at: usize,
    /// Its kind.
    kind: Kind,
    /// Its bytes.
    text: &'t str,
}

/// Kinds of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A name, `true`, `false` or `in`.
    Name,
    /// Digits.
    Number,
    /// A text in quotes.
    Text,
    /// An operator, a bracket, a dot or a comma.
    Sign,
}

/// Signs, the longer ones first.
const SIGNS: [&str; 17] =
    ["&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "+", "-", "*", "(", ")", "[", "]", ","];

/// Signs of CEL that rules do not have, and what to write.
const REFUSED: [(&str, &str, &str); 9] = [
    ("/", "division", "multiply the other side: `bytes > 10 * 1024`"),
    ("%", "remainder", "compare with `in` and a list of numbers"),
    ("?", "choice with `?`", "write `(a && b) || (!a && c)`"),
    ("{", "maps and messages", "use a list, `in [\"a\", \"b\"]`"),
    ("}", "maps and messages", "use a list, `in [\"a\", \"b\"]`"),
    ("=", "`=`", "write `==`"),
    ("&", "`&`", "write `&&`"),
    ("|", "`|`", "write `||`"),
    ("`", "quoted names", "write the name of an attribute as it is"),
];

/// Names of CEL that rules do not have.
const LOOPS: [&str; 8] =
    ["all", "exists", "exists_one", "existsOne", "map", "filter", "transformList", "transformMap"];

/// Holds the bounds, and refuses what rules do not have.
pub(super) fn scan(text: &str) -> Result<(), TextError> {
    if text.len() > limits::TEXT_BYTES {
        return Err(Problem::TooLong.at(0));
    }
    let mut before: Option<Word<'_>> = None;
    let mut bounds = Bounds::default();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let blank = blank(rest);
        if blank > 0 {
            at += blank;
            continue;
        }
        let word = word(rest, at)?;
        refuse(&word, before.as_ref(), text.get(at + word.text.len()..).unwrap_or(""))?;
        bounds.take(&word, before.as_ref())?;
        at += word.text.len();
        before = Some(word);
    }
    bounds.finish()?;
    before.map(drop).ok_or(Problem::Empty.at(0))
}

/// Bytes of blanks or of a comment at the begin.
fn blank(rest: &str) -> usize {
    match rest.strip_prefix("//") {
        Some(_) => rest.find('\n').unwrap_or(rest.len()),
        None => rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len(),
    }
}

fn word(rest: &str, at: usize) -> Result<Word<'_>, TextError> {
    let first = rest.chars().next().unwrap_or(' ');
    let run = |good: fn(char) -> bool| rest.find(|c| !good(c)).unwrap_or(rest.len());
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (kind, length) = match first {
        'a'..='z' | 'A'..='Z' | '_' => (Kind::Name, run(is_name)),
        '0'..='9' => (Kind::Number, run(|c| c.is_ascii_digit())),
        '"' | '\'' => (Kind::Text, quoted(rest, first).ok_or(Problem::Unclosed(first).at(at))?),
        '.' => (Kind::Sign, 1),
        _ => {
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
            let refused = || REFUSED.iter().find(|(sign, ..)| rest.starts_with(*sign));
            match (sign, refused()) {
                (Some(sign), _) => (Kind::Sign, sign.len()),
                (None, Some((_, thing, instead))) => {
                    return Err(not_in_rules(*thing, instead).at(at));
                }
                (None, None) => return Err(Problem::Character(first).at(at)),
            }
        }
    };
    Ok(Word { at, kind, text: rest.get(..length).unwrap_or(rest) })
}

/// Bytes of a text with its quotes.
fn quoted(rest: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if c.is_control() => return None,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn not_in_rules(thing: impl Into<String>, instead: &'static str) -> Problem {
    Problem::NotInRules { thing: thing.into(), instead }
}

/// Refuses words of CEL that rules do not have.
fn refuse(word: &Word<'_>, before: Option<&Word<'_>>, rest: &str) -> Result<(), TextError> {
    let next = rest.chars().next().unwrap_or(' ');
    let is_member = before.is_some_and(|before| before.text == ".");
    let is_call = rest.trim_start().starts_with('(');
    let problem = match (word.kind, word.text) {
        (Kind::Name, _) if matches!(next, '"' | '\'') => {
            not_in_rules("bytes and raw texts", "write the text in plain quotes")
        }
        (Kind::Text, "\"\"" | "''") if matches!(next, '"' | '\'') => {
            not_in_rules("texts in triple quotes", "write the text in plain quotes")
        }
        (Kind::Number, _) if next.is_ascii_alphabetic() || next == '_' => {
            not_in_rules("numbers with letters", "write the number in decimal digits alone")
        }
        (Kind::Number, _) if next == '.' => {
            not_in_rules("fractions", "write whole numbers, for example of bytes or seconds")
        }
        (Kind::Name, name) if is_member && is_call && LOOPS.contains(&name) => {
            not_in_rules(format!("loops such as `{name}`"), "use `in` with a list")
        }
        (Kind::Name, "has") if is_call => {
            not_in_rules("`has`", "every attribute has a value: compare with its default")
        }
        (Kind::Name, "matches") if is_call => not_in_rules(
            "regular expressions",
            "use startsWith, endsWith, contains or matchesFilter(topic, \"d/+/cmd\")",
        ),
        (Kind::Name, "null") => {
            not_in_rules("`null`", "every attribute has a value: compare with its default")
        }
        _ => return Ok(()),
    };
    Err(problem.at(word.at))
}

/// Counts that bound the recursion of the parser and of all that walks its tree.
#[derive(Default)]
struct Bounds {
    /// The open brackets, with their places and the length of the chain that each interrupts.
    open: Vec<(char, usize, usize)>,
    /// Operators in a row, on this level, that lean to the left: neither `&&` nor `||`, which are balanced.
    chain: usize,
    /// Prefixes `!` and `-` in a row.
    prefixes: usize,
    /// Operators, dots and calls: each becomes a node.
    nodes: usize,
    /// Items of the innermost list.
    items: Vec<usize>,
}

impl Bounds {
    fn take(&mut self, word: &Word<'_>, before: Option<&Word<'_>>) -> Result<(), TextError> {
        let is_prefix = matches!(word.text, "!" | "-") && before.is_none_or(leaves_open);
        self.prefixes = if is_prefix { self.prefixes + 1 } else { 0 };
        match (word.kind, word.text) {
            (Kind::Sign, "(" | "[") => {
                let bracket = if word.text == "(" { '(' } else { '[' };
                self.open.push((bracket, word.at, self.chain));
                self.items.push(1);
                self.chain = 0;
            }
            (Kind::Sign, ")" | "]") => {
                let (bracket, wanted) = if word.text == ")" { (')', '(') } else { (']', '[') };
                self.items.pop();
                match self.open.pop() {
                    Some((open, _, chain)) if open == wanted => self.chain = chain,
                    _ => return Err(Problem::Unclosed(bracket).at(word.at)),
                }
            }
            (Kind::Sign, ",") => {
                self.chain = 0;
                if let Some(items) = self.items.last_mut() {
                    *items += 1;
                    if *items > limits::LIST_ITEMS {
                        return Err(Problem::List(*items).at(word.at));
                    }
                }
            }
            (Kind::Sign, "&&" | "||") => {
                self.chain = 0;
                self.nodes += 1;
            }
            (Kind::Sign, _) | (Kind::Name, "in") => {
                // A minus of a negative number in a list is no node, and 256 of them are possible.
                let is_listed = is_prefix && self.open.last().is_some_and(|open| open.0 == '[');
                self.nodes += usize::from(!is_listed);
                self.chain += usize::from(!is_prefix);
            }
            _ => {}
        }
        if self.open.len() > limits::DEPTH
            || self.chain > limits::DEPTH
            || self.prefixes > limits::DEPTH
        {
            return Err(Problem::TooDeep.at(word.at));
        }
        match self.nodes > limits::NODES {
            true => Err(Problem::TooManyNodes.at(word.at)),
            false => Ok(()),
        }
    }

    fn finish(&self) -> Result<(), TextError> {
        match self.open.last() {
            Some((bracket, at, _)) => Err(Problem::Unclosed(*bracket).at(*at)),
            None => Ok(()),
        }
    }
}

/// Whether an operand has to follow the word: then `-` and `!` are prefixes.
fn leaves_open(word: &Word<'_>) -> bool {
    match word.kind {
        Kind::Sign => !matches!(word.text, ")" | "]"),
        Kind::Name => word.text == "in",
        Kind::Number | Kind::Text => false,
    }
}
