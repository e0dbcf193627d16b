//! Types: each node of the grammar becomes a condition, a number or a text, or is refused at its place.

use tessera_token::topic::TopicFilter;

use super::error::{Problem, TextError};
use super::expression::{Arithmetic, Comparison, Condition, Count, Part, Words};
use super::parser::{Form, Node};
use crate::attributes::schema::{property, Attribute, Which, ATTRIBUTES, PROPERTIES};
use crate::attributes::On;
use crate::limits;

/// A node with its type.
enum Typed {
    Condition(Condition),
    Count(Count),
    Words(Words),
    Properties,
}

impl Typed {
    /// For an error.
    fn shown(&self) -> String {
        match self {
            Self::Condition(condition) => format!("the condition `{condition}`"),
            Self::Count(count) => format!("the number `{count}`"),
            Self::Words(words) => format!("the text `{words}`"),
            Self::Properties => "the set `properties`".to_owned(),
        }
    }
}

type Checked<T> = Result<T, TextError>;

/// The condition that the tree is, for this event.
pub(super) fn check(tree: &Node, on: On) -> Checked<Condition> {
    let typed = Check { on }.node(tree)?;
    match typed {
        Typed::Condition(condition) => Ok(condition),
        other => {
            Err(wrong("rule", other.shown(), "a condition, such as `bytes > 1024`").at(tree.at))
        }
    }
}

fn wrong(operator: &str, found: String, takes: &'static str) -> Problem {
    Problem::Type { operator: operator.to_owned(), found, takes }
}

struct Check {
    on: On,
}

impl Check {
    fn node(&self, node: &Node) -> Checked<Typed> {
        let typed = match &node.form {
            Form::Flag(flag) => Typed::Condition(Condition::Constant(*flag)),
            Form::Number(number) => Typed::Count(Count::Constant(*number)),
            Form::Text(text) => Typed::Words(Words::Constant(text.as_str().into())),
            Form::Name(name) => self.name(name, node.at)?,
            Form::List(_) => {
                let problem = Problem::NotInRules {
                    thing: "lists alone".to_owned(),
                    instead: "write `attribute in [...]`",
                };
                return Err(problem.at(node.at));
            }
            Form::Other(thing) => {
                let problem = Problem::NotInRules {
                    thing: (*thing).to_owned(),
                    instead: "use attributes, texts, whole numbers and lists",
                };
                return Err(problem.at(node.at));
            }
            Form::Operator(sign, operands) => match operands.as_slice() {
                [one] => self.prefix(sign, one, node.at)?,
                [left, right] => self.operator(sign, left, right, node.at)?,
                _ => return Err(Problem::Grammar(format!("`{sign}` lacks an operand")).at(node.at)),
            },
            Form::Call(name, operands) => self.call(name, operands, node.at)?,
        };
        Ok(typed)
    }

    fn name(&self, name: &str, at: usize) -> Checked<Typed> {
        let Some(attribute) = Attribute::find(name) else {
            let like = like(name, self.on);
            return Err(Problem::UnknownName { name: name.to_owned(), on: self.on, like }.at(at));
        };
        if !attribute.on.contains(&self.on) {
            let Attribute { name, on: has, .. } = attribute;
            return Err(Problem::OtherEvent { name, on: self.on, has }.at(at));
        }
        Ok(match attribute.which {
            Which::Text(text) => Typed::Words(Words::Attribute(text)),
            Which::Number(number) => Typed::Count(Count::Attribute(number)),
            Which::Flag(flag) => Typed::Condition(Condition::Flag(flag)),
            Which::Properties => Typed::Properties,
        })
    }

    fn prefix(&self, sign: &str, operand: &Node, at: usize) -> Checked<Typed> {
        match (sign, self.node(operand)?) {
            // Two of them are none, as the grammar reads `!!` too.
            ("!", Typed::Condition(Condition::Not(inner))) => Ok(Typed::Condition(*inner)),
            ("!", Typed::Condition(condition)) => {
                Ok(Typed::Condition(Condition::Not(Box::new(condition))))
            }
            ("-", Typed::Count(count)) => Ok(Typed::Count(Count::Minus(Box::new(count)))),
            ("!", other) => Err(wrong("!", other.shown(), "a condition").at(at)),
            (sign, other) => Err(wrong(sign, other.shown(), "a number").at(at)),
        }
    }

    fn operator(&self, sign: &str, left: &Node, right: &Node, at: usize) -> Checked<Typed> {
        if sign == "in" {
            return self.membership(left, right, at).map(Typed::Condition);
        }
        let (typed, other) = (self.node(left)?, self.node(right)?);
        if let Some(how) = Comparison::of(sign) {
            return comparison(how, sign, typed, other, at).map(Typed::Condition);
        }
        match (sign, typed, other) {
            ("&&", Typed::Condition(left), Typed::Condition(right)) => Ok(Typed::Condition(
                Condition::All(flat(left, right, |condition| match condition {
                    Condition::All(parts) => Ok(parts),
                    other => Err(other),
                })),
            )),
            ("||", Typed::Condition(left), Typed::Condition(right)) => Ok(Typed::Condition(
                Condition::Any(flat(left, right, |condition| match condition {
                    Condition::Any(parts) => Ok(parts),
                    other => Err(other),
                })),
            )),
            ("+" | "-" | "*", Typed::Count(left), Typed::Count(right)) => {
                let arithmetic = match sign {
                    "+" => Arithmetic::Plus,
                    "-" => Arithmetic::Minus,
                    _ => Arithmetic::Times,
                };
                Ok(Typed::Count(Count::Of(arithmetic, Box::new((left, right)))))
            }
            ("+", Typed::Words(_), Typed::Words(_)) => {
                let problem = Problem::NotInRules {
                    thing: "texts that are put together".to_owned(),
                    instead: "compare the parts: startsWith, contains, endsWith",
                };
                Err(problem.at(at))
            }
            (sign, typed, other) => {
                let takes =
                    if matches!(sign, "&&" | "||") { "two conditions" } else { "two numbers" };
                let found = format!("{} and {}", typed.shown(), other.shown());
                Err(wrong(sign, found, takes).at(at))
            }
        }
    }

    fn membership(&self, left: &Node, right: &Node, at: usize) -> Checked<Condition> {
        let Form::List(items) = &right.form else {
            let set = self.node(right)?;
            return match (&left.form, &set) {
                (Form::Text(name), Typed::Properties) => {
                    property(name).map(Condition::Has).ok_or_else(|| {
                        let value = name.clone();
                        Problem::Value { name: "properties", value, values: &PROPERTIES }
                            .at(left.at)
                    })
                }
                _ => Err(wrong("in", set.shown(), "a list of values on its right").at(at)),
            };
        };
        if items.is_empty() || items.len() > limits::LIST_ITEMS {
            return Err(Problem::List(items.len()).at(right.at));
        }
        match self.node(left)? {
            Typed::Count(count) => {
                let number = |item: &Node| match item.form {
                    Form::Number(number) => Ok(number),
                    _ => Err(wrong(
                        "in",
                        "another value".into(),
                        "a list of numbers beside a number",
                    )
                    .at(item.at)),
                };
                let list = items.iter().map(number).collect::<Checked<Vec<_>>>()?;
                Ok(Condition::NumberIn(Box::new(count), sorted(list)))
            }
            Typed::Words(words) => {
                let text = |item: &Node| match &item.form {
                    Form::Text(text) => {
                        possible(&words, text, item.at)?;
                        Ok(Box::<str>::from(text.as_str()))
                    }
                    _ => Err(wrong("in", "another value".into(), "a list of texts beside a text")
                        .at(item.at)),
                };
                let list = items.iter().map(text).collect::<Checked<Vec<_>>>()?;
                Ok(Condition::TextIn(words, sorted(list)))
            }
            other => Err(wrong("in", other.shown(), "a text or a number on its left").at(at)),
        }
    }

    fn call(&self, name: &str, operands: &[Node], at: usize) -> Checked<Typed> {
        if let Some(part) = Part::of(name) {
            let [whole, piece] = operands else {
                return Err(wrong(name, given(operands), "`text.startsWith(\"a\")`").at(at));
            };
            return match (self.node(whole)?, self.node(piece)?) {
                (Typed::Words(whole), Typed::Words(piece)) => {
                    Ok(Typed::Condition(Condition::Part(part, Box::new((whole, piece)))))
                }
                (whole, piece) => {
                    let found = format!("{} and {}", whole.shown(), piece.shown());
                    Err(wrong(name, found, "two texts").at(at))
                }
            };
        }
        match (name, operands) {
            ("size", [text]) => match self.node(text)? {
                Typed::Words(words) => Ok(Typed::Count(Count::Size(words))),
                other => Err(wrong(name, other.shown(), "a text").at(at)),
            },
            ("matchesFilter", [topic, filter]) => {
                let (Typed::Words(words), Form::Text(text)) = (self.node(topic)?, &filter.form)
                else {
                    let takes =
                        "a topic and a filter in quotes: `matchesFilter(topic, \"d/+/cmd\")`";
                    return Err(wrong(name, "these".into(), takes).at(at));
                };
                let filter =
                    TopicFilter::parse(text).map_err(|e| Problem::Filter(e).at(filter.at))?;
                Ok(Typed::Condition(Condition::Matches(words, filter)))
            }
            ("size" | "matchesFilter", _) => {
                let takes = "one text in `size(topic)`, two in `matchesFilter(topic, \"d/+/cmd\")`";
                Err(wrong(name, given(operands), takes).at(at))
            }
            _ => {
                let problem = Problem::NotInRules {
                    thing: format!("function `{name}`"),
                    instead: "there are startsWith, endsWith, contains, size and matchesFilter",
                };
                Err(problem.at(at))
            }
        }
    }
}

fn given(operands: &[Node]) -> String {
    format!("{} operands", operands.len())
}

/// `a && (b && c)` and the like as one list.
fn flat(
    left: Condition,
    right: Condition,
    parts: fn(Condition) -> Result<Box<[Condition]>, Condition>,
) -> Box<[Condition]> {
    let mut all = Vec::new();
    for side in [left, right] {
        match parts(side) {
            Ok(parts) => all.extend(parts),
            Err(one) => all.push(one),
        }
    }
    all.into()
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Box<[T]> {
    list.sort();
    list.dedup();
    list.into()
}

fn comparison(
    how: Comparison,
    sign: &str,
    left: Typed,
    right: Typed,
    at: usize,
) -> Checked<Condition> {
    let is_equality = matches!(how, Comparison::Equal | Comparison::Other);
    match (left, right) {
        (Typed::Count(left), Typed::Count(right)) => {
            Ok(Condition::Numbers(how, Box::new((left, right))))
        }
        (Typed::Words(left), Typed::Words(right)) => {
            if let (Words::Attribute(_), Words::Constant(text)) = (&left, &right) {
                possible(&left, text, at)?;
            }
            if let (Words::Constant(text), Words::Attribute(_)) = (&left, &right) {
                possible(&right, text, at)?;
            }
            Ok(Condition::Texts(how, Box::new((left, right))))
        }
        (Typed::Condition(left), Typed::Condition(right)) if is_equality => {
            Ok(Condition::Same(how == Comparison::Equal, Box::new((left, right))))
        }
        (left, right) => {
            let found = format!("{} and {}", left.shown(), right.shown());
            let takes = if is_equality {
                "two texts, two numbers or two conditions"
            } else {
                "two texts or two numbers"
            };
            Err(wrong(sign, found, takes).at(at))
        }
    }
}

/// Refuses a value that an attribute with few values never has: a slip of the pen would make a rule that never speaks.
fn possible(words: &Words, value: &str, at: usize) -> Checked<()> {
    let Words::Attribute(text) = words else { return Ok(()) };
    match Attribute::of(Which::Text(*text)) {
        Some(Attribute { name, values, .. }) if !values.is_empty() && !values.contains(&value) => {
            Err(Problem::Value { name, value: value.to_owned(), values }.at(at))
        }
        _ => Ok(()),
    }
}

/// The attribute of the event whose name is most like this one, when one is.
fn like(name: &str, on: On) -> Option<&'static str> {
    let known = ATTRIBUTES.iter().filter(|attribute| attribute.on.contains(&on));
    let near = known.map(|attribute| (distance(name, attribute.name), attribute.name)).min()?;
    (near.0 <= 1 + near.1.len() / 4).then_some(near.1)
}

/// Letters to insert, remove or replace between two names.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(32).collect();
    let mut row: Vec<usize> = (0..=a.len()).collect();
    for (line, c) in b.chars().enumerate() {
        let mut corner = line;
        let mut left = line + 1;
        let mut next = vec![left];
        for (letter, above) in a.iter().zip(row.iter().skip(1)) {
            let cost = corner + usize::from(*letter != c);
            left = cost.min(above + 1).min(left + 1);
            corner = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
