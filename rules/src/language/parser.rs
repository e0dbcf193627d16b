//! The facade of `cel`: it parses, and its tree becomes ours. Nothing of the crate evaluates.

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, SourceInfo};
use cel::parser::{ParseErrors, Parser};

use super::error::{Problem, TextError};
use crate::limits;

/// A node of the grammar, at its byte in the text.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) at: usize,
    pub(super) form: Form,
}

/// Forms that rules can have.
#[derive(Debug)]
pub(super) enum Form {
    Flag(bool),
    Number(i64),
    Text(String),
    Name(String),
    List(Vec<Node>),
    /// An operator with one or two operands.
    Operator(&'static str, Vec<Node>),
    /// A function with its arguments; that on which a method is called is the first.
    Call(String, Vec<Node>),
    /// Something else of CEL.
    Other(&'static str),
}

/// The operators: the name in the tree of the crate, and the sign.
const OPERATORS: [(&str, &str); 14] = [
    ("_&&_", "&&"),
    ("_||_", "||"),
    ("!_", "!"),
    ("-_", "-"),
    ("_==_", "=="),
    ("_!=_", "!="),
    ("_<_", "<"),
    ("_<=_", "<="),
    ("_>_", ">"),
    ("_>=_", ">="),
    ("_+_", "+"),
    ("_-_", "-"),
    ("_*_", "*"),
    ("@in", "in"),
];

/// Parses a text that [`super::scan`] found to be within the bounds.
pub(super) fn parse(text: &str) -> Result<Node, TextError> {
    // Brackets and arguments, each with some levels of the grammar.
    let depth = u16::try_from(4 * limits::DEPTH).unwrap_or(u16::MAX);
    let parser = Parser::new().max_recursion_depth(depth).error_recovery_limit(4);
    let (tree, places) =
        parser.parse_with_source_info(text).map_err(|errors| grammar(text, &errors))?;
    Ok(Walk { places }.node(tree))
}

/// The first complaint of the parser.
fn grammar(text: &str, errors: &ParseErrors) -> TextError {
    let first = errors.errors.first();
    let (line, column) = first.map_or((1, 1), |error| error.pos);
    let words = first.and_then(|error| error.msg.lines().next()).unwrap_or("");
    let words: String = words.trim_start_matches("Syntax error: ").chars().take(120).collect();
    let problem = Problem::Grammar(format!("the text is no expression: {words}"));
    problem.at(byte_of(text, line, column))
}

/// The byte at a line and a column, both from 1; the column counts characters.
fn byte_of(text: &str, line: isize, column: isize) -> usize {
    let before = |place: isize| usize::try_from(place).unwrap_or(1).saturating_sub(1);
    let start: usize = text.split_inclusive('\n').take(before(line)).map(str::len).sum();
    let rest = text.get(start..).unwrap_or("");
    start + rest.chars().take(before(column)).map(char::len_utf8).sum::<usize>()
}

struct Walk {
    places: SourceInfo,
}

impl Walk {
    fn node(&self, tree: IdedExpr) -> Node {
        let at = self.places.offset_for(tree.id).map_or(0, |(start, _)| start as usize);
        let form = match tree.expr {
            Expr::Call(call) => self.call(call),
            Expr::Ident(name) => Form::Name(name),
            Expr::List(list) => {
                Form::List(list.elements.into_iter().map(|item| self.node(item)).collect())
            }
            Expr::Literal(LiteralValue::Boolean(flag)) => Form::Flag(flag.into_inner()),
            Expr::Literal(LiteralValue::Int(number)) => Form::Number(number.into_inner()),
            Expr::Literal(LiteralValue::String(text)) => Form::Text(text.into_inner()),
            Expr::Literal(_) => Form::Other("such values"),
            Expr::Select(_) => Form::Other("members"),
            Expr::Comprehension(_) => Form::Other("loops"),
            Expr::Map(_) | Expr::Struct(_) => Form::Other("maps and messages"),
            Expr::Unspecified => Form::Other("empty expressions"),
        };
        Node { at, form }
    }

    fn call(&self, call: CallExpr) -> Form {
        let CallExpr { func_name, target, args } = call;
        let operands = target.map(|target| *target).into_iter().chain(args);
        let operands: Vec<Node> = operands.map(|operand| self.node(operand)).collect();
        match OPERATORS.iter().find(|(name, _)| *name == func_name) {
            Some((_, sign)) => Form::Operator(sign, operands),
            None if func_name.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                Form::Call(func_name, operands)
            }
            None => Form::Other("access by `[ ]`"),
        }
    }
}
