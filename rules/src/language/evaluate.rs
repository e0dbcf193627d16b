//! The value of a checked expression for an event. It recurses as deep as the expression, which is bounded, allocates
//! nothing, and has an answer for every input: sums and products stop at the ends of 64 bits.

use super::expression::{Arithmetic, Comparison, Condition, Count, Part, Words};
use crate::attributes::{Attributes, Text};

/// Items up to which a list is searched one by one: equal lengths are rare, so that is faster than by halves.
const FEW: usize = 8;

impl Condition {
    /// Whether it is true of the event.
    pub(crate) fn holds(&self, event: &Attributes<'_>) -> bool {
        match self {
            Self::Constant(flag) => *flag,
            Self::Flag(flag) => event.flag(*flag),
            Self::Not(inner) => !inner.holds(event),
            Self::All(parts) => parts.iter().all(|part| part.holds(event)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(event)),
            Self::Same(same, two) => (two.0.holds(event) == two.1.holds(event)) == *same,
            Self::Numbers(how, two) => how.holds(&two.0.value(event), &two.1.value(event)),
            Self::Texts(how, two) => how.holds(two.0.value(event), two.1.value(event)),
            Self::NumberIn(number, list) => list.binary_search(&number.value(event)).is_ok(),
            Self::TextIn(text, list) => {
                let text = text.value(event);
                if list.len() <= FEW {
                    return list.iter().any(|item| **item == *text);
                }
                list.binary_search_by(|item| (**item).cmp(text)).is_ok()
            }
            Self::Part(part, two) => {
                let (whole, part_of_it) = (two.0.value(event), two.1.value(event));
                match part {
                    Part::Begin => whole.starts_with(part_of_it),
                    Part::End => whole.ends_with(part_of_it),
                    Part::Inside => whole.contains(part_of_it),
                }
            }
            Self::Matches(text, filter) => {
                let topic = text.value(event);
                // An absent topic is matched by no filter, not even by `#`.
                !topic.is_empty()
                    && match text {
                        Words::Attribute(Text::Topic | Text::WillTopic) => {
                            matches_name(filter.as_str(), topic)
                        }
                        // It may have wildcards of its own.
                        _ => filter.matches_str(topic),
                    }
            }
            Self::Has(bit) => event.properties() & bit != 0,
        }
    }
}

impl Count {
    #[inline]
    fn value(&self, event: &Attributes<'_>) -> i64 {
        match self {
            Self::Constant(number) => *number,
            Self::Attribute(number) => event.number(*number),
            Self::Size(text) => {
                i64::try_from(text.value(event).chars().count()).unwrap_or(i64::MAX)
            }
            Self::Minus(count) => count.value(event).saturating_neg(),
            Self::Of(arithmetic, two) => {
                let (left, right) = (two.0.value(event), two.1.value(event));
                match arithmetic {
                    Arithmetic::Plus => left.saturating_add(right),
                    Arithmetic::Minus => left.saturating_sub(right),
                    Arithmetic::Times => left.saturating_mul(right),
                }
            }
        }
    }
}

impl Words {
    #[inline]
    fn value<'v>(&'v self, event: &Attributes<'v>) -> &'v str {
        match self {
            Self::Constant(text) => text,
            Self::Attribute(text) => event.text(*text),
        }
    }
}

impl Comparison {
    #[inline]
    fn holds<T: Ord + ?Sized>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Other => left != right,
            Self::Less => left < right,
            Self::AtMost => left <= right,
            Self::More => left > right,
            Self::AtLeast => left >= right,
        }
    }
}

/// Whether a valid filter matches a topic name, which has no wildcards: [`TopicFilter::matches_str`] in one walk over bytes.
///
/// [`TopicFilter::matches_str`]: tessera_token::topic::TopicFilter::matches_str
pub(super) fn matches_name(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let (mut filter, mut topic) = (filter.as_bytes().iter(), topic.as_bytes().iter());
    loop {
        match filter.next() {
            None => return topic.next().is_none(),
            Some(b'#') => return true,
            // The rest of the level.
            Some(b'+') => {
                while topic.as_slice().first().is_some_and(|byte| *byte != b'/') {
                    topic.next();
                }
            }
            Some(wanted) => match topic.next() {
                Some(byte) if byte == wanted => {}
                // `a/#` matches `a`.
                None => return *wanted == b'/' && filter.as_slice() == b"#",
                Some(_) => return false,
            },
        }
    }
}
