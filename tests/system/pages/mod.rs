//! Pages of the documentation against the tree: links, cited files, cited names and metrics; the words of comments,
//! texts and pages are in [`words`]. Settings and commands are compared with their pages in `cli/src/config/tests.rs` and
//! `cli/src/args/tests.rs`, refusal codes in `tests/system/architecture.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use tessera_tests::process::root;

mod words;

/// Folders whose files a page may cite.
const FOLDERS: [&str; 14] = [
    "token",
    "runtime",
    "rules",
    "agent",
    "broker",
    "provisioning",
    "simulators",
    "cli",
    "tests",
    "fuzz",
    "docs",
    "examples",
    "packaging",
    ".ci",
];

/// Folders of a crate.
const CRATES_HAVE: [&str; 5] = ["src", "tests", "benches", "fuzz", "examples"];

/// Names of other standards and systems that pages cite.
const FOREIGN: [&str; 8] = [
    "mosquitto_loop_forever",
    "TCP_QUICKACK",
    "malloc_trim",
    "max_fragment_length",
    "record_size_limit",
    "CONNECTION_REFUSED",
    "O_DIRECT",
    "O_DSYNC",
];

/// Folders that are not part of the tree.
const APART: [&str; 6] = ["target", "node_modules", ".venv", ".git", "artifacts", "corpus"];

/// Every file of the tree, as a path from its root.
fn files() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if APART.contains(&name.as_str()) {
                continue;
            }
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(short(&path)),
            }
        }
    }
    assert!(found.len() > 300, "the tree was not found");
    found.sort();
    found
}

fn short(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The pages: those of `docs/`, and those at the root but for the changelog, which tells of the past.
fn pages(files: &[String]) -> Vec<&String> {
    let page = |file: &&String| {
        file.ends_with(".md")
            && (file.starts_with("docs/") || !file.contains('/'))
            && *file != "CHANGELOG.md"
    };
    files.iter().filter(page).collect()
}

/// The words between single backticks, with its line; blocks of code are left out.
fn cited(text: &str) -> Vec<(usize, &str)> {
    let mut inside = false;
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            inside = !inside;
        } else if !inside {
            found.extend(line.split('`').skip(1).step_by(2).map(|word| (number + 1, word)));
        }
    }
    found
}

/// `a/{b,c}.rs` as its files.
fn expanded(path: &str) -> Vec<String> {
    let Some((head, rest)) = path.split_once('{') else { return vec![path.to_owned()] };
    let Some((names, tail)) = rest.split_once('}') else { return vec![path.to_owned()] };
    names.split(',').map(|name| format!("{head}{name}{tail}")).collect()
}

/// Whether a cited word is a path of the tree: it begins with a folder of it, or ends like a source file.
fn is_path(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-{},*".contains(c);
    let source = [".rs", ".py", ".js", ".c"].iter().any(|end| word.ends_with(end));
    let mut parts = word.split('/');
    let first = parts.next().is_some_and(|first| FOLDERS.contains(&first));
    // `provisioning/keys` is a folder of data, `provisioning/src/keys` one of the tree; `TARGET` stands for a name.
    let second = parts.next().unwrap_or_default();
    let inner = CRATES_HAVE.contains(&second)
        || ["docs", "tests", "fuzz", "examples", "packaging", ".ci"]
            .iter()
            .any(|f| word.starts_with(f));
    let stands_for_others = word.split('/').any(|part| part == "TARGET");
    let known = first && inner && !stands_for_others;
    word.contains('/') && word.chars().all(plain) && (known || source)
}

/// Whether a path is there: as it stands, or as the end of the path of a file. A path in `.gitignore` is made later.
fn is_there(path: &str, files: &[String]) -> bool {
    if read(".gitignore").lines().any(|made| made.strip_prefix('/') == Some(path)) {
        return true;
    }
    if path.contains('*') {
        let head = path.split('*').next().unwrap();
        return files.iter().any(|file| file.starts_with(head));
    }
    let end = format!("/{path}");
    root().join(path).exists() || files.iter().any(|file| file.ends_with(&end))
}

#[test]
fn cited_files_exist() {
    let files = files();
    let mut missing = Vec::new();
    for page in pages(&files) {
        for (line, word) in cited(&read(page)) {
            for path in expanded(word).iter().filter(|path| is_path(path)) {
                if !is_there(path.trim_end_matches('/'), &files) {
                    missing.push(format!("{page}:{line}: {path}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "cited and not there:\n{}", missing.join("\n"));
}

/// The targets of the links of a page, as paths from the root.
fn links(page: &str) -> Vec<String> {
    let text = read(page);
    let folder = Path::new(page).parent().unwrap();
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let local = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    local.map(|target| plain(&folder.join(target.split('#').next().unwrap()))).collect()
}

/// The path without `..`.
fn plain(path: &Path) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.to_str().unwrap().split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => {}
            name => parts.push(name),
        }
    }
    parts.join("/")
}

#[test]
fn links_lead_somewhere_and_every_page_is_in_an_index() {
    let files = files();
    let mut faults = Vec::new();
    for page in pages(&files) {
        for target in links(page) {
            if !root().join(&target).exists() {
                faults.push(format!("{page} links {target}, which is not there"));
            }
        }
    }
    let indexed: BTreeSet<String> =
        ["docs/README.md", "docs/decisions/README.md"].iter().flat_map(|i| links(i)).collect();
    for page in pages(&files).into_iter().filter(|page| page.starts_with("docs/")) {
        if page != "docs/README.md" && !indexed.contains(page) {
            faults.push(format!("{page} is in no index: docs/README.md lists every page"));
        }
    }
    let front = links("README.md");
    for page in ["docs/README.md", "docs/glossary.md", "ARCHITECTURE.md"] {
        if !front.iter().any(|link| link == page) {
            faults.push(format!("README.md does not link {page}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Every word of the sources that could be a name.
fn names(files: &[String]) -> BTreeSet<String> {
    const SOURCES: [&str; 7] = [".rs", ".txt", ".py", ".js", ".c", ".json", ".toml"];
    let mut names = BTreeSet::new();
    let sources = files.iter().filter(|file| SOURCES.iter().any(|end| file.ends_with(end)));
    for file in sources.filter(|file| !file.starts_with("tests/system/pages/")) {
        let text = String::from_utf8_lossy(&fs::read(root().join(file)).unwrap()).into_owned();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        names.extend(words.filter(|word| word.contains('_')).map(str::to_owned));
    }
    names
}

#[test]
fn cited_tests_and_names_exist() {
    let files = files();
    let names = names(&files);
    let metrics = registered(&files);
    let mut missing = Vec::new();
    for page in pages(&files) {
        for (line, word) in cited(&read(page)) {
            let is_name = word.contains('_')
                && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                && !word.starts_with('_')
                && !word.ends_with('_');
            // Pages leave the prefix of a metric out.
            let metric = metrics.iter().any(|metric| metric.ends_with(word));
            if is_name && !metric && !names.contains(word) && !FOREIGN.contains(&word) {
                missing.push(format!("{page}:{line}: {word}"));
            }
        }
    }
    assert!(missing.is_empty(), "cited, and no test or name of the code:\n{}", missing.join("\n"));
}

/// The metrics that the servers register, read from the calls.
fn registered(files: &[String]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let product = |file: &&String| {
        file.ends_with(".rs") && file.contains("/src/") && !file.contains("/tests") && {
            ["agent/", "broker/", "provisioning/", "runtime/", "cli/"]
                .iter()
                .any(|crate_| file.starts_with(crate_))
        }
    };
    for file in files.iter().filter(product) {
        let text = read(file);
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for kind in ["counter(", "gauge(", "histogram("] {
            for call in code.split(kind).skip(1) {
                let Some(name) = call.split('"').nth(1) else { continue };
                let before = call.split('"').next().unwrap().trim();
                let by_server = before == "&format!(";
                if let Some(part) = name.strip_prefix("{prefix}_").filter(|_| by_server) {
                    let servers = ["tessera_broker", "tessera_agent", "tessera_provisioning"];
                    found.extend(servers.map(|server| format!("{server}_{part}")));
                } else if before == "&n(" {
                    found.insert(format!("tessera_broker_{name}"));
                } else if before.is_empty() && name.starts_with("tessera_") {
                    found.insert(name.to_owned());
                }
            }
        }
    }
    found
}

/// All metrics of the servers.
pub(super) fn registered_metrics() -> BTreeSet<String> {
    let mut found = registered(&files());
    let process = read("runtime/src/metrics/process.rs");
    let names = process.split('"').filter(|text| text.starts_with("process_"));
    found.extend(names.map(str::to_owned));
    found
}

#[test]
fn metrics_and_their_page_are_the_same() {
    let page = read("docs/metrics.md");
    let rows: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(str::to_owned)
        .collect();
    let registered = registered_metrics();
    assert!(registered.len() > 50, "the registrations were not found: {registered:?}");
    let unexplained: Vec<_> = registered.difference(&rows).collect();
    let gone: Vec<_> = rows.difference(&registered).collect();
    assert!(unexplained.is_empty(), "docs/metrics.md has no row for {unexplained:?}");
    assert!(gone.is_empty(), "docs/metrics.md explains metrics that do not exist: {gone:?}");
}

#[test]
fn the_index_lists_each_page_once() {
    let mut listed: BTreeMap<String, usize> = BTreeMap::new();
    for row in read("docs/README.md").lines().filter(|line| line.starts_with("| [")) {
        let target = row.split("](").nth(1).unwrap().split(')').next().unwrap();
        *listed.entry(target.to_owned()).or_default() += 1;
    }
    assert!(listed.len() > 30, "the rows were not found: {listed:?}");
    listed.retain(|_, times| *times > 1);
    assert!(listed.is_empty(), "docs/README.md lists twice: {listed:?}");
}

/// README.md names each package that `tests/run` installs, and no other.
#[test]
fn the_readme_says_what_the_tests_install() {
    let script = read("tests/run");
    let installed: BTreeSet<&str> =
        script.split("MISSING+=(").skip(1).map(|rest| rest.split(')').next().unwrap()).collect();
    assert!(installed.len() > 10, "the packages were not found: {installed:?}");
    let readme = read("README.md");
    let list = readme.split("It installs Debian packages").nth(1).expect("the list of packages");
    let list = list.split(". It installs").next().unwrap();
    let named: BTreeSet<&str> =
        list.split('`').skip(1).step_by(2).filter(|word| *word != "sudo").collect();
    assert_eq!(named, installed);
}
