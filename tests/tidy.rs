//! Reads the sources and says what is out of order, where, and what to do about it.
//!
//! Each rule is a function from text to offences, and has a test with a planted one beside it.

#[path = "tidy/arrows.rs"]
mod arrows;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/scan.rs"]
mod scan;

use std::fs;
use std::path::Path;

use scan::Source;

/// Each module, and which others it may import; itself it always may. In layer order: every arrow points down.
type Arrows = &'static [(&'static str, &'static [&'static str])];

const ARROWS: Arrows = &[
    ("main", &["cli"]),
    ("slackload", &["load", "message"]),
    ("cli", &["doctor", "process", "load", "config", "framing", "message", "limits"]),
    ("embedded", &["process", "config"]),
    ("doctor", &["ring", "config", "limits"]),
    ("process", &["reactor", "socket", "kernel", "ring", "config", "ledger", "framing", "message", "limits"]),
    (
        "reactor",
        &[
            "broker",
            "socket",
            "endpoint",
            "route",
            "ring",
            "kernel",
            "lifecycle",
            "config",
            "ledger",
            "framing",
            "message",
            "limits",
        ],
    ),
    ("load", &["socket", "message", "limits"]),
    ("broker", &["endpoint", "config", "ledger", "backoff", "limits"]),
    (
        "socket",
        &["ring", "kernel", "endpoint", "config", "ledger", "backoff", "framing", "message", "limits"],
    ),
    ("route", &["config", "framing", "message"]),
    ("config", &["kernel", "framing", "message", "limits"]),
    ("ring", &["kernel", "limits"]),
    ("kernel", &["limits"]),
    ("endpoint", &["ledger", "framing", "message", "limits"]),
    ("ledger", &[]),
    ("framing", &["message", "limits"]),
    ("monitor", &[]),
    ("lifecycle", &[]),
    ("backoff", &["limits"]),
    ("message", &[]),
    ("limits", &[]),
];

/// Where `unsafe` may be: what talks to the kernel, or the processor, below the safe crates.
const UNSAFE_PLACES: &[&str] = &["src/ring/", "src/socket/filter.rs", "src/framing/fetch.rs"];

/// Pages whose paths must exist.
const PAGES: &[&str] = &["ARCHITECTURE.md", "README.md"];

/// Folders that are not ours to keep tidy.
const FOREIGN: &[&str] = &["target", ".git", "corpus", "artifacts"];

/// A line, counted from 1, and what to do about it.
type Offence = (usize, String);

#[test]
fn the_sources_are_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(root, "", &mut files);
    assert!(files.iter().any(|(path, _)| path == "src/lib.rs"), "no sources below {}", root.display());
    let mut found: Vec<String> = files.iter().flat_map(|(path, text)| report(root, path, text)).collect();
    found.extend(arrows::untaken(&files, ARROWS));
    assert!(found.is_empty(), "{} offences:\n{}", found.len(), found.join("\n"));
}

/// Every text file below `folder`, by its path from the root.
fn collect(root: &Path, folder: &str, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(root.join(folder)).expect("a readable folder") {
        let entry = entry.expect("a readable entry");
        let name = entry.file_name().into_string().expect("a name in UTF-8");
        if FOREIGN.contains(&name.as_str()) {
            continue;
        }
        let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        if entry.file_type().expect("its type").is_dir() {
            collect(root, &path, files);
        } else if let Ok(text) = fs::read_to_string(entry.path()) {
            files.push((path, text));
        }
    }
}

/// The offences of one file, each as `path:line: what to do`.
fn report(root: &Path, path: &str, text: &str) -> Vec<String> {
    let mut found = rules::machine_paths(text);
    if path.ends_with(".rs") {
        found.extend(rust_offences(path, text));
    } else {
        found.extend(rules::stopgap_words(text));
    }
    if PAGES.contains(&path) {
        found.extend(rules::dead_paths(text, |path| root.join(path).exists()));
    }
    found.sort();
    found.into_iter().map(|(line, what)| format!("{path}:{line}: {what}")).collect()
}

fn rust_offences(path: &str, text: &str) -> Vec<Offence> {
    let source = Source::new(text);
    let mut found = rules::unexplained_unsafe(&source);
    found.extend(rules::misplaced_unsafe(path, &source, UNSAFE_PLACES));
    found.extend(rules::long_file(text));
    found.extend(rules::long_functions(&source));
    found.extend(rules::stopgaps(&source));
    found.extend(rules::catch_all_name(path));
    if path.starts_with("src/") {
        found.extend(arrows::offences(path, &source, ARROWS));
        found.extend(rules::missing_header(path, text));
        found.extend(rules::sleeps(&source));
    }
    if path == "src/lib.rs" {
        found.extend(arrows::layer_offences(&source, ARROWS));
    }
    found
}

#[test]
fn every_rule_reaches_its_files() {
    let planted = format!("use crate::process;\nfn f() {{ thread::sleep(x); unsafe {{ {}!() }} }}", "todo");
    let found = report(Path::new("."), "src/limits.rs", &planted).join("\n");
    for word in ["imports `process`", "`//!`", "thread::sleep", "SAFETY", "belongs only in", "unfinished"] {
        assert!(found.contains(word), "{word} is not in:\n{found}");
    }
    assert_eq!(report(Path::new("."), "ARCHITECTURE.md", "`src/gone.rs`").len(), 1);
    assert_eq!(report(Path::new("."), "src/lib.rs", "//! Head.\npub mod limits;").len(), 1);
}
