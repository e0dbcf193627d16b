//! Why a text is no rule: the place, the problem, and what to write instead.

use std::fmt;

use tessera_token::topic::TopicError;

use crate::attributes::On;
use crate::limits;

/// A problem at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextError {
    /// The byte of the text where it is.
    pub at: usize,
    /// The problem.
    pub problem: Problem,
}

/// Kinds of problems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There is no text.
    Empty,
    /// More than [`limits::TEXT_BYTES`].
    TooLong,
    /// Brackets or operators nest deeper than [`limits::DEPTH`].
    TooDeep,
    /// More than [`limits::NODES`].
    TooManyNodes,
    /// A list with more than [`limits::LIST_ITEMS`], or with none.
    List(usize),
    /// A character that no word begins with.
    Character(char),
    /// A text without its end, or a bracket without its partner.
    Unclosed(char),
    /// Something of CEL that rules do not have.
    NotInRules {
        /// The thing.
        thing: String,
        /// The words to write in its place.
        instead: &'static str,
    },
    /// No attribute has the name.
    UnknownName {
        /// The name.
        name: String,
        /// The event of the rule.
        on: On,
        /// A name like it.
        like: Option<&'static str>,
    },
    /// The attribute belongs to other events.
    OtherEvent {
        /// The attribute.
        name: &'static str,
        /// The event of the rule.
        on: On,
        /// The events that have it.
        has: &'static [On],
    },
    /// An operator or function with operands that it is not for.
    Type {
        /// The operator or function.
        operator: String,
        /// Its operand or operands.
        found: String,
        /// The operands that it takes.
        takes: &'static str,
    },
    /// A value that the attribute never has.
    Value {
        /// The attribute.
        name: &'static str,
        /// The value.
        value: String,
        /// The values that it can have.
        values: &'static [&'static str],
    },
    /// The filter of `matchesFilter`.
    Filter(TopicError),
    /// A number beyond 64 bits.
    Number,
    /// The words stand in no order of the grammar.
    Grammar(String),
}

impl Problem {
    /// The problem at a byte of the text.
    pub(crate) fn at(self, at: usize) -> TextError {
        TextError { at, problem: self }
    }

    /// The stable name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Empty => "rule_empty",
            Self::TooLong => "rule_too_long",
            Self::TooDeep => "rule_too_deep",
            Self::TooManyNodes => "rule_too_many_nodes",
            Self::List(_) => "rule_list",
            Self::Character(_) | Self::Unclosed(_) | Self::Number | Self::Grammar(_) => {
                "rule_grammar"
            }
            Self::NotInRules { .. } => "rule_not_in_language",
            Self::UnknownName { .. } => "rule_unknown_name",
            Self::OtherEvent { .. } => "rule_other_event",
            Self::Type { .. } => "rule_type",
            Self::Value { .. } => "rule_value",
            Self::Filter(_) => "rule_filter",
        }
    }
}

fn listed(items: impl IntoIterator<Item = impl fmt::Display>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str(
                "the rule has no text: write a condition, or true for all that the selector picks",
            ),
            Self::TooLong => write!(
                f,
                "the text is longer than {} bytes: split the rule in two",
                limits::TEXT_BYTES
            ),
            Self::TooDeep => write!(
                f,
                "brackets and operators nest deeper than {}: split the rule in two",
                limits::DEPTH
            ),
            Self::TooManyNodes => write!(
                f,
                "the rule has more than {} attributes, values and operators: split it in two, or use `in` with a list",
                limits::NODES
            ),
            Self::List(0) => f.write_str("the list is empty: write at least one value"),
            Self::List(items) => write!(
                f,
                "the list has {items} values, and {} are possible: split the rule in two",
                limits::LIST_ITEMS
            ),
            Self::Character(c) => {
                write!(f, "the character {c:?} begins nothing here: texts stand in \"quotes\"")
            }
            Self::Unclosed(quote @ ('"' | '\'')) => {
                write!(f, "the text does not end: close it with {quote} on the same line")
            }
            Self::Unclosed(bracket) => write!(f, "the bracket {bracket} has no partner"),
            Self::NotInRules { thing, instead } => {
                write!(f, "rules have no {thing}: {instead}")
            }
            Self::UnknownName { name, on, like } => {
                write!(f, "no attribute of {on} is called `{name}`")?;
                match like {
                    Some(like) => write!(f, ": did you mean `{like}`?"),
                    None => f.write_str(": docs/rules.md lists them"),
                }
            }
            Self::OtherEvent { name, on, has } => write!(
                f,
                "`{name}` is no attribute of {on}: it belongs to {}; write a rule for that event",
                listed(*has)
            ),
            Self::Type { operator, found, takes } => {
                write!(f, "`{operator}` cannot take {found}: it takes {takes}")
            }
            Self::Value { name, value, values } => {
                write!(f, "`{name}` is never {value:?}: it is one of {}", listed(*values))
            }
            Self::Filter(error) => write!(f, "the filter is not valid: {error}"),
            Self::Number => f.write_str(
                "the number does not fit: numbers lie between -9223372036854775808 and 9223372036854775807",
            ),
            Self::Grammar(words) => f.write_str(words),
        }
    }
}

impl TextError {
    /// Line and column, from 1; the column counts characters.
    pub fn position(&self, text: &str) -> (usize, usize) {
        let before = text.get(..self.at).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        (line, column)
    }

    /// The line of the text with a mark below the place.
    pub fn pointer(&self, text: &str) -> String {
        let (line, column) = self.position(text);
        let shown = text.lines().nth(line - 1).unwrap_or("");
        // A long line is cut around the place, and a tab would move the mark.
        let from = column.saturating_sub(60);
        let shown: String = shown
            .chars()
            .skip(from)
            .take(100)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        format!("{shown}\n{}^", " ".repeat(column - 1 - from))
    }
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

impl std::error::Error for TextError {}
