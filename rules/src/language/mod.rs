//! The language: from a text to a tree that cannot fail.
//!
//! In this order: [`scan`] reads the words and holds the bounds before anything recurses, [`parser`] makes the tree of the
//! grammar, [`check`] gives it types, [`expression`] is the checked form, [`evaluate`] its value for an event,
//! [`normal`] its text.

use std::fmt;

use crate::attributes::schema::{Attribute, ATTRIBUTES};
use crate::attributes::{Attributes, On};
use crate::limits;

mod check;
pub mod error;
mod evaluate;
pub mod expression;
mod normal;
mod parser;
mod scan;
#[cfg(test)]
mod tests;

pub use error::{Problem, TextError};
pub use expression::Measure;

/// The version of the language. A reader of another version does not apply a rule, and says so.
pub const VERSION: u64 = 1;

/// A text that was checked for one event.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    on: On,
    condition: expression::Condition,
    measure: Measure,
}

impl Program {
    /// Checks a text for an event.
    ///
    /// # Errors
    /// [`TextError`]: the place in the text, the problem, and what to write instead.
    pub fn compile(text: &str, on: On) -> Result<Self, TextError> {
        scan::scan(text)?;
        let tree = parser::parse(text)?;
        let condition = check::check(&tree, on)?;
        let measure = condition.measure();
        if measure.nodes > limits::NODES {
            return Err(Problem::TooManyNodes.at(0));
        }
        if measure.depth > limits::DEPTH {
            return Err(Problem::TooDeep.at(0));
        }
        Ok(Self { on, condition, measure })
    }

    /// The event that it is for.
    pub fn on(&self) -> On {
        self.on
    }

    /// Nodes, depth and cost.
    pub fn measure(&self) -> Measure {
        self.measure
    }

    /// The attributes that it reads, in the order of the schema.
    pub fn reads(&self) -> Vec<&'static Attribute> {
        let mut read = Vec::new();
        self.condition.reads(&mut |which| read.push(which));
        ATTRIBUTES.iter().filter(|attribute| read.contains(&attribute.which)).collect()
    }

    /// Whether the event fulfils it. Nothing is allocated, and the answer always comes. An event of another kind does not.
    #[inline]
    pub fn holds(&self, attributes: &Attributes<'_>) -> bool {
        self.on == attributes.event.on() && self.condition.holds(attributes)
    }
}

impl fmt::Display for Program {
    /// The normal form: one way of writing what the text says.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.condition.fmt(f)
    }
}
