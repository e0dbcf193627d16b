//! The normal form: one way of writing a checked expression, which is read as the same expression again.

use std::fmt;

use super::expression::{Arithmetic, Condition, Count, Words};
use crate::attributes::schema::{Attribute, Which, PROPERTIES};

fn name(which: Which) -> &'static str {
    Attribute::of(which).map_or("?", |attribute| attribute.name)
}

/// A text in quotes, as CEL reads it.
struct Quoted<'t>(&'t str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

fn list<T>(
    f: &mut fmt::Formatter<'_>,
    items: &[T],
    mut each: impl FnMut(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    f.write_str("[")?;
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            f.write_str(", ")?;
        }
        each(f, item)?;
    }
    f.write_str("]")
}

impl Condition {
    /// With brackets, unless it is read as one thing anyway.
    fn inner(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant(_)
            | Self::Flag(_)
            | Self::Not(_)
            | Self::Part(..)
            | Self::Matches(..) => {
                write!(f, "{self}")
            }
            _ => write!(f, "({self})"),
        }
    }

    fn joined(f: &mut fmt::Formatter<'_>, parts: &[Self], sign: &str) -> fmt::Result {
        for (at, part) in parts.iter().enumerate() {
            if at > 0 {
                f.write_str(sign)?;
            }
            // `&&` and `||` bind weaker than all others.
            match part {
                Self::All(_) | Self::Any(_) => write!(f, "({part})")?,
                other => write!(f, "{other}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant(flag) => flag.fmt(f),
            Self::Flag(flag) => f.write_str(name(Which::Flag(*flag))),
            Self::Not(inner) => {
                f.write_str("!")?;
                inner.inner(f)
            }
            Self::All(parts) => Self::joined(f, parts, " && "),
            Self::Any(parts) => Self::joined(f, parts, " || "),
            Self::Same(same, two) => {
                two.0.inner(f)?;
                f.write_str(if *same { " == " } else { " != " })?;
                two.1.inner(f)
            }
            Self::Numbers(how, two) => write!(f, "{} {} {}", two.0, how.sign(), two.1),
            Self::Texts(how, two) => write!(f, "{} {} {}", two.0, how.sign(), two.1),
            Self::NumberIn(number, items) => {
                write!(f, "{number} in ")?;
                list(f, items, |f, item| item.fmt(f))
            }
            Self::TextIn(text, items) => {
                write!(f, "{text} in ")?;
                list(f, items, |f, item| Quoted(item).fmt(f))
            }
            Self::Part(part, two) => write!(f, "{}.{}({})", two.0, part.name(), two.1),
            Self::Matches(text, filter) => {
                write!(f, "matchesFilter({text}, {})", Quoted(filter.as_str()))
            }
            Self::Has(bit) => {
                let known = PROPERTIES.iter().zip(0_u32..).find(|(_, at)| 1 << at == *bit);
                let name = known.map_or("?", |(name, _)| *name);
                write!(f, "{} in properties", Quoted(name))
            }
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = |f: &mut fmt::Formatter<'_>, count: &Self| match count {
            Self::Of(..) | Self::Minus(_) => write!(f, "({count})"),
            other => other.fmt(f),
        };
        match self {
            Self::Constant(number) => number.fmt(f),
            Self::Attribute(number) => f.write_str(name(Which::Number(*number))),
            Self::Size(text) => write!(f, "size({text})"),
            Self::Minus(count) => {
                f.write_str("-")?;
                match **count {
                    // `-5` would be read as a number.
                    Self::Constant(number) => write!(f, "({number})"),
                    _ => inner(f, count),
                }
            }
            Self::Of(arithmetic, two) => {
                inner(f, &two.0)?;
                f.write_str(match arithmetic {
                    Arithmetic::Plus => " + ",
                    Arithmetic::Minus => " - ",
                    Arithmetic::Times => " * ",
                })?;
                inner(f, &two.1)
            }
        }
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant(text) => Quoted(text).fmt(f),
            Self::Attribute(text) => f.write_str(name(Which::Text(*text))),
        }
    }
}
