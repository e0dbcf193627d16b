//! The checked form of a rule: its types are those of Rust, so a wrong operand cannot be written down.

use tessera_token::topic::TopicFilter;

use crate::attributes::schema::{Attribute, Which};
use crate::attributes::{Flag, Number, Text};
use crate::limits;

/// A statement that is true or false of an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// Always this.
    Constant(bool),
    /// An attribute.
    Flag(Flag),
    /// The opposite.
    Not(Box<Condition>),
    /// All of at least two.
    All(Box<[Condition]>),
    /// One of at least two.
    Any(Box<[Condition]>),
    /// Both true or both false, or with `false` the opposite.
    Same(bool, Box<(Condition, Condition)>),
    /// Two numbers compared.
    Numbers(Comparison, Box<(Count, Count)>),
    /// Two texts compared, by the numbers of their characters.
    Texts(Comparison, Box<(Words, Words)>),
    /// A number in a sorted list.
    NumberIn(Box<Count>, Box<[i64]>),
    /// A text in a sorted list.
    TextIn(Words, Box<[Box<str>]>),
    /// A text at the begin, at the end or inside of another.
    Part(Part, Box<(Words, Words)>),
    /// A text that is matched by a filter.
    Matches(Words, TopicFilter),
    /// A property of a CONNECT: its bit.
    Has(u32),
}

/// A whole number. One that does not fit into 64 bits becomes the least or the greatest.
#[derive(Clone, Debug, PartialEq)]
pub enum Count {
    /// Always this.
    Constant(i64),
    /// An attribute.
    Attribute(Number),
    /// Characters of a text.
    Size(Words),
    /// With the other sign.
    Minus(Box<Count>),
    /// A sum, a difference or a product.
    Of(Arithmetic, Box<(Count, Count)>),
}

/// A text.
#[derive(Clone, Debug, PartialEq)]
pub enum Words {
    /// Always this.
    Constant(Box<str>),
    /// An attribute.
    Attribute(Text),
}

/// Ways to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Comparison {
    Equal,
    Other,
    Less,
    AtMost,
    More,
    AtLeast,
}

impl Comparison {
    /// The comparison with this sign.
    pub(crate) fn of(sign: &str) -> Option<Self> {
        Some(match sign {
            "==" => Self::Equal,
            "!=" => Self::Other,
            "<" => Self::Less,
            "<=" => Self::AtMost,
            ">" => Self::More,
            ">=" => Self::AtLeast,
            _ => return None,
        })
    }

    pub(super) const fn sign(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::Other => "!=",
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::More => ">",
            Self::AtLeast => ">=",
        }
    }
}

/// Where a text is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Part {
    Begin,
    End,
    Inside,
}

impl Part {
    /// The function with this name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "startsWith" => Self::Begin,
            "endsWith" => Self::End,
            "contains" => Self::Inside,
            _ => return None,
        })
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Begin => "startsWith",
            Self::End => "endsWith",
            Self::Inside => "contains",
        }
    }
}

/// Operators of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Arithmetic {
    Plus,
    Minus,
    Times,
}

/// Nodes, depth and the most steps of an evaluation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measure {
    /// Attributes, values, operators and calls.
    pub nodes: usize,
    /// The deepest nesting; 1 for a single value.
    pub depth: usize,
    /// One step for each node, for each comparison with an item of a list, and for each 16 bytes that are read.
    pub cost: u32,
}

impl Measure {
    const LEAF: Self = Self { nodes: 1, depth: 1, cost: 1 };

    /// One node above these, which takes `cost` steps beside its own.
    fn above(parts: impl IntoIterator<Item = Self>, cost: u32) -> Self {
        let start = Self { nodes: 1, depth: 0, cost: 1 + cost };
        let mut sum = parts.into_iter().fold(start, |sum, part| Self {
            nodes: sum.nodes + part.nodes,
            depth: sum.depth.max(part.depth),
            cost: sum.cost.saturating_add(part.cost),
        });
        sum.depth += 1;
        sum
    }
}

/// Steps to read so many bytes.
const fn reading(bytes: u32) -> u32 {
    bytes.div_ceil(limits::STEP_BYTES)
}

/// Steps to find an item among so many.
fn search(items: usize) -> u32 {
    usize::BITS - items.leading_zeros()
}

impl Condition {
    /// Nodes, depth and cost.
    pub(crate) fn measure(&self) -> Measure {
        match self {
            Self::Constant(_) | Self::Flag(_) => Measure::LEAF,
            // The name, the operator and the set.
            Self::Has(_) => Measure { nodes: 3, depth: 2, cost: 1 },
            Self::Not(inner) => Measure::above([inner.measure()], 0),
            Self::All(parts) | Self::Any(parts) => {
                let mut sum = Measure::above(parts.iter().map(Self::measure), 0);
                // As it is written: an operator between each two.
                sum.nodes += parts.len().saturating_sub(2);
                sum
            }
            Self::Same(_, two) => Measure::above([two.0.measure(), two.1.measure()], 0),
            Self::Numbers(_, two) => Measure::above([two.0.measure(), two.1.measure()], 0),
            Self::Texts(_, two) => both(two.0.bound().min(two.1.bound())),
            Self::NumberIn(number, list) => {
                Measure::above([number.measure(), Measure::LEAF], search(list.len()))
            }
            Self::TextIn(text, list) => {
                let longest = list.iter().map(|item| bytes(item)).max().unwrap_or(0);
                let each = reading(longest.min(text.bound())).max(1);
                Measure::above([Measure::LEAF, Measure::LEAF], search(list.len()) * each)
            }
            Self::Part(Part::Inside, two) => both(two.0.bound()),
            Self::Part(_, two) => both(two.0.bound().min(two.1.bound())),
            Self::Matches(text, _) => {
                Measure::above([Measure::LEAF, Measure::LEAF], reading(text.bound()))
            }
        }
    }
}

impl Count {
    fn measure(&self) -> Measure {
        match self {
            Self::Constant(_) | Self::Attribute(_) => Measure::LEAF,
            Self::Size(text) => Measure::above([Measure::LEAF], reading(text.bound())),
            Self::Minus(inner) => Measure::above([inner.measure()], 0),
            Self::Of(_, two) => Measure::above([two.0.measure(), two.1.measure()], 0),
        }
    }
}

impl Condition {
    /// Tells each attribute that is read, as often as it stands there.
    pub(crate) fn reads(&self, tell: &mut dyn FnMut(Which)) {
        match self {
            Self::Constant(_) => {}
            Self::Flag(flag) => tell(Which::Flag(*flag)),
            Self::Not(inner) => inner.reads(tell),
            Self::All(parts) | Self::Any(parts) => parts.iter().for_each(|part| part.reads(tell)),
            Self::Same(_, two) => {
                two.0.reads(tell);
                two.1.reads(tell);
            }
            Self::Numbers(_, two) => {
                two.0.reads(tell);
                two.1.reads(tell);
            }
            Self::Texts(_, two) | Self::Part(_, two) => {
                two.0.reads(tell);
                two.1.reads(tell);
            }
            Self::NumberIn(number, _) => number.reads(tell),
            Self::TextIn(text, _) | Self::Matches(text, _) => text.reads(tell),
            Self::Has(_) => tell(Which::Properties),
        }
    }
}

impl Count {
    fn reads(&self, tell: &mut dyn FnMut(Which)) {
        match self {
            Self::Constant(_) => {}
            Self::Attribute(number) => tell(Which::Number(*number)),
            Self::Size(text) => text.reads(tell),
            Self::Minus(inner) => inner.reads(tell),
            Self::Of(_, two) => {
                two.0.reads(tell);
                two.1.reads(tell);
            }
        }
    }
}

impl Words {
    fn reads(&self, tell: &mut dyn FnMut(Which)) {
        if let Self::Attribute(text) = self {
            tell(Which::Text(*text));
        }
    }
}

fn bytes(text: &str) -> u32 {
    u32::try_from(text.len()).unwrap_or(u32::MAX)
}

impl Words {
    /// Bytes of its longest value.
    fn bound(&self) -> u32 {
        match self {
            Self::Constant(text) => bytes(text),
            Self::Attribute(text) => {
                Attribute::of(Which::Text(*text)).map_or(0, |attribute| attribute.most_bytes)
            }
        }
    }
}

/// An operator on two texts that reads so many bytes.
fn both(read: u32) -> Measure {
    Measure::above([Measure::LEAF, Measure::LEAF], reading(read))
}
