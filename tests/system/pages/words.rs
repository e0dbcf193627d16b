//! The words of comments, of texts that the product shows, and of pages.

use super::{files, pages, read};

/// Words that no comment, text or page uses, and words with which no sentence begins: they hide the subject.
const NEVER: [&str; 5] = ["whoever", "nobody", "somebody", "anybody", "everybody"];
const NO_OPENING: [&str; 3] = ["who", "what", "whose"];

/// The words of a line that belong to a doc comment, or to another comment.
fn comment_of(line: &str, doc: bool) -> Option<&str> {
    let line = line.trim_start();
    let of_doc = line.strip_prefix("//!").or_else(|| line.strip_prefix("///"));
    match (of_doc, doc) {
        (found, true) => found,
        (Some(_), false) => None,
        // Behind code: `//` with a space on both sides, which no text with a URL has.
        (None, false) => {
            let behind = || line.split_once(" // ").map(|(_, words)| words);
            let block = || line.strip_prefix("/* ").or_else(|| line.strip_prefix("* "));
            line.strip_prefix("//").or_else(behind).or_else(block)
        }
    }
}

/// The sentences of the comments of a file, each with the line at which its comment begins.
fn sentences(text: &str, doc: bool) -> Vec<(usize, String)> {
    let (mut found, mut begun, mut comment) = (Vec::new(), 0, String::new());
    for (number, line) in text.lines().chain([""]).enumerate() {
        match comment_of(line, doc) {
            Some(words) => {
                if comment.is_empty() {
                    begun = number + 1;
                }
                comment.push(' ');
                comment.push_str(words.trim());
            }
            None => {
                let parts = comment.split(". ").filter(|words| !words.is_empty());
                found.extend(parts.map(|words| (begun, words.trim().to_owned())));
                comment.clear();
            }
        }
    }
    found
}

/// The sentences of a page, with their lines: no headings, no blocks of code, no words between backticks.
fn sentences_of_page(text: &str) -> Vec<(usize, String)> {
    let mut inside = false;
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            inside = !inside;
        } else if !inside && !line.starts_with('#') {
            let plain: String = line.split('`').step_by(2).collect::<Vec<_>>().join("_");
            let parts = plain.split('|').flat_map(|cell| cell.split(". "));
            let parts = parts.map(|words| words.trim().to_owned());
            found.extend(parts.filter(|words| !words.is_empty()).map(|words| (number + 1, words)));
        }
    }
    found
}

fn hides_its_subject(sentence: &str) -> bool {
    let lower = sentence.to_lowercase();
    let mut words = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let opening = words.clone().next().is_some_and(|first| NO_OPENING.contains(&first));
    opening || words.any(|word| NEVER.contains(&word))
}

/// Those of the sentences that hide their subject, as lines of a report.
fn hidden(file: &str, sentences: Vec<(usize, String)>) -> impl Iterator<Item = String> + '_ {
    let hides = sentences.into_iter().filter(|(_, sentence)| hides_its_subject(sentence));
    hides.map(move |(line, sentence)| {
        format!("{file}:{line}: {}", sentence.chars().take(80).collect::<String>())
    })
}

/// The report about sentences that hide their subject.
fn report(those: &[String]) -> String {
    format!(
        "{} sentences hide their subject ({NEVER:?} anywhere, {NO_OPENING:?} at the beginning); write them with a noun \
         as subject:\n{}",
        those.len(),
        those.join("\n")
    )
}

#[test]
fn comments_name_their_subject() {
    let mut found = Vec::new();
    let sources = [".rs", ".c", ".js", ".py"];
    let files = files();
    for file in files.iter().filter(|file| sources.iter().any(|end| file.ends_with(end))) {
        // The words that are forbidden stand in this one.
        if file == "tests/system/pages/words.rs" {
            continue;
        }
        let text = read(file);
        for doc in [true, false] {
            found.extend(hidden(file, sentences(&text, doc)));
        }
    }
    assert!(found.is_empty(), "{}", report(&found));
}

#[test]
fn pages_name_their_subject() {
    let files = files();
    let mut found = Vec::new();
    for page in pages(&files) {
        // Cells and bullets begin with small letters: those are no sentences, and only words count in them.
        let mut sentences = sentences_of_page(&read(page));
        for (_, sentence) in &mut sentences {
            let text = sentence.trim_start_matches(|c: char| !c.is_alphabetic());
            if text.starts_with(char::is_lowercase) {
                sentence.insert_str(0, "… it ");
            }
        }
        found.extend(hidden(page, sentences));
    }
    assert!(found.is_empty(), "{}", report(&found));
}

/// Crates whose texts a user of the product reads.
const PRODUCT: [&str; 7] =
    ["token/", "runtime/", "agent/", "broker/", "provisioning/", "simulators/", "cli/"];

/// Contents of the string literals of a source file, each with its line. Comments are left out.
fn literals(source: &str) -> Vec<(usize, String)> {
    let (mut found, mut line, mut rest) = (Vec::new(), 1, source);
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '"' => {
                let end = end_of_literal(rest);
                found.push((line, joined(&rest[1..end - 1])));
                end
            }
            // The characters `"` and `\"` are no beginning of a literal.
            '\'' if rest.starts_with("'\"'") => 3,
            '\'' if rest.starts_with("'\\\"'") => 4,
            _ => first.len_utf8(),
        };
        line += rest[..taken].matches('\n').count();
        rest = &rest[taken..];
    }
    found
}

/// Bytes of the literal at the beginning, with both of its quotes.
fn end_of_literal(text: &str) -> usize {
    let (mut end, mut escaped) = (1, false);
    for byte in text.bytes().skip(1) {
        end += 1;
        match byte {
            b'"' if !escaped => break,
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    end
}

/// A literal as it is shown: its lines are joined, and `\n` begins a new sentence.
fn joined(literal: &str) -> String {
    let parts = literal.split("\\\n").map(str::trim_start);
    parts.collect::<String>().replace("\\n", ". ").replace('\n', ". ")
}

/// The sentences of a text that the product shows. A text of one or two words is a name.
fn sentences_of_text(line: usize, text: &str) -> Vec<(usize, String)> {
    // `{name}` stands for a value.
    let plain: String = text.split('{').enumerate().map(placed).collect();
    let parts = plain.split(". ").map(|words| words.trim().to_owned());
    parts.filter(|words| words.split(' ').count() > 2).map(|words| (line, words)).collect()
}

/// A part of a text behind a brace, with `_` for the value that is put there.
fn placed((place, part): (usize, &str)) -> String {
    match part.split_once('}') {
        Some((_, rest)) if place > 0 => format!("_{rest}"),
        _ => part.to_owned(),
    }
}

/// Values of the members of a JSON or YAML file that are read by people, each with its line.
fn members(text: &str) -> Vec<(usize, String)> {
    const READ: [&str; 3] = ["summary:", "description:", "title:"];
    let plain = text.lines().map(|line| line.trim().replace("\":", ":").replace('"', ""));
    let value = |line: String| {
        READ.iter().find_map(|name| line.strip_prefix(name).map(|value| value.trim().to_owned()))
    };
    plain.enumerate().filter_map(|(at, line)| value(line).map(|value| (at + 1, value))).collect()
}

#[test]
fn texts_name_their_subject() {
    let (mut found, mut seen) = (Vec::new(), 0);
    for file in &files() {
        let text = || read(file);
        let product = PRODUCT.iter().any(|crate_| file.starts_with(crate_)) && {
            file.contains("/src/") && !file.contains("tests") && !file.contains("testing")
        };
        let texts = match file.rsplit('.').next() {
            Some("rs") if product => {
                let text = text();
                literals(text.split("#[cfg(test)]\nmod tests {").next().unwrap())
            }
            Some("json") if product => members(&text()),
            Some("yml") if file.starts_with("packaging/") => members(&text()),
            Some("md") if file == "CHANGELOG.md" => {
                let news = text();
                sentences_of_page(news.split("\n## [0.1.0]").next().unwrap())
            }
            _ => continue,
        };
        seen += texts.len();
        for (line, text) in texts {
            found.extend(hidden(file, sentences_of_text(line, &text)));
        }
    }
    assert!(seen > 3_000, "the texts were not found: {seen}");
    assert!(found.is_empty(), "{}", report(&found));
}

#[test]
fn the_test_of_words_sees_what_it_forbids() {
    assert!(hides_its_subject("Who may read along"));
    assert!(hides_its_subject("Refused to nobody"));
    assert!(hides_its_subject("It lets anybody in"));
    assert!(!hides_its_subject("Reads what the file says"));
    assert_eq!(sentences("//! One. Two\n//! more.\nfn x() {}\n", true).len(), 2);
    assert_eq!(sentences("//! One.\nlet x = 1; // Two\n// Three. Four\n", false).len(), 2);
    assert_eq!(sentences("let x = \"http://x/y\";", false), []);
    let page = "# Who\n\n| a | Nobody. What |\n```\nnobody\n```\n`nobody` is";
    assert_eq!(sentences_of_page(page).len(), 4);

    let source = "// \"No text\"\nlet c = '\"';\ncall(\"One \\\n     two three\", \"a\\\"b\");";
    let shown: Vec<_> = literals(source).into_iter().map(|(_, text)| text).collect();
    assert_eq!(shown, ["One two three", "a\\\"b"]);
    assert_eq!(members("\"summary\": \"Who it is\",").first().unwrap().1, "Who it is,");
}
