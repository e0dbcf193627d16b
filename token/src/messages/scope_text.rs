//! A scope as one text (RFC 6749 section 3.3): words with spaces between them, such as `pub:d/a/state sub:d/a/#`.
//!
//! Characters that a word may not have are written as `%` and two digits, as in an address.

use alloc::string::String;
use alloc::vec::Vec;

use crate::encoding::hex;
use crate::limits;
use crate::scope::{Permission, Scope, ScopeEntry};
use crate::topic::TopicFilter;

const FORMS: [(&str, Permission); 3] =
    [("pub:", Permission::Publish), ("sub:", Permission::Subscribe), ("pubsub:", Permission::Both)];

/// Reads it; `None` when it is no such text.
pub fn read(text: &str) -> Option<Scope> {
    let words = text.split(' ').take(limits::SCOPE_ENTRIES + 1);
    let entries: Option<Vec<ScopeEntry>> = words.map(entry).collect();
    Scope::new(entries?).ok()
}

fn entry(word: &str) -> Option<ScopeEntry> {
    let mut forms = FORMS.iter();
    let (topic, permission) =
        forms.find_map(|(form, permission)| Some((word.strip_prefix(form)?, *permission)))?;
    let filter = TopicFilter::parse(&decoded(topic)?).ok()?;
    Some(ScopeEntry { filter, permission })
}

fn decoded(topic: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(topic.len()), topic);
    while let Some((before, behind)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        bytes.extend(hex::decode(behind.get(..2)?)?);
        rest = behind.get(2..)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).ok()
}

/// The text of a scope.
pub fn write(scope: &Scope) -> String {
    let mut text = String::new();
    for entry in scope.entries() {
        if !text.is_empty() {
            text.push(' ');
        }
        let form = FORMS.iter().find(|(_, permission)| *permission == entry.permission);
        text.push_str(form.map_or("", |(form, _)| form));
        for byte in entry.filter.as_str().bytes() {
            match byte {
                b'"' | b'\\' | b'%' | 0..=b' ' | 0x7f.. => {
                    text.push('%');
                    text.push_str(&hex::encode([byte]));
                }
                plain => text.push(char::from(plain)),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_scopes_read_back() {
        for topics in [vec!["a/b"], vec!["a b/%/\"x\\", "d/é/#", "+/c"], Vec::new()] {
            let each = topics.iter().zip(FORMS.iter().cycle());
            let entries = each.map(|(topic, (_, permission))| ScopeEntry {
                filter: TopicFilter::parse(topic).unwrap(),
                permission: *permission,
            });
            let scope = Scope::new(entries.collect()).unwrap();
            let text = write(&scope);
            assert!(text.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{text}");
            match topics.is_empty() {
                true => assert_eq!((text.as_str(), read(&text)), ("", None)),
                false => assert_eq!(read(&text), Some(scope)),
            }
        }
    }

    #[test]
    fn other_texts_are_none() {
        let many = ["pub:a"; limits::SCOPE_ENTRIES + 1].join(" ");
        for text in [
            "",
            "a",
            "pub:",
            "pub:a  sub:b",
            "pub:a%",
            "pub:a%4",
            "pub:a%zz",
            "pub:a%ff",
            "pub:a/#/b",
            &many,
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
