//! Everything but the arrows: one function a rule, each from text to offences.

use super::Offence;
use super::scan::{Source, Token, is_word_char};

const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 70;
const STOPGAP_MACROS: [&str; 3] = ["todo", "unimplemented", "dbg"];
const STOPGAP_WORDS: [&str; 3] = ["FIXME", "XXX", "HACK"];
const CATCH_ALL_NAMES: [&str; 6] = ["util", "utils", "helper", "helpers", "misc", "common"];

/// `unsafe` outside the places for it.
pub(crate) fn misplaced_unsafe(path: &str, source: &Source, places: &[&str]) -> Vec<Offence> {
    if !path.starts_with("src/") || places.iter().any(|place| path.starts_with(place)) {
        return Vec::new();
    }
    let remedy = format!("`unsafe` belongs only in {}; call a safe function of those", places.join(", "));
    unsafe_lines(source).into_iter().map(|line| (line, remedy.clone())).collect()
}

/// `unsafe` that does not say who keeps the promise.
pub(crate) fn unexplained_unsafe(source: &Source) -> Vec<Offence> {
    let unexplained = unsafe_lines(source).into_iter().filter(|&line| !is_explained(source, line));
    unexplained
        .map(|line| (line, "`unsafe` without a `// SAFETY:` comment right above; add it".to_owned()))
        .collect()
}

fn unsafe_lines(source: &Source) -> Vec<usize> {
    let mut lines: Vec<usize> =
        source.tokens().into_iter().filter(|token| token.text == "unsafe").map(|token| token.line).collect();
    lines.dedup();
    lines
}

/// Whether the comment above the statement of this line says it; attributes and the statement's own lines may be between.
fn is_explained(source: &Source, line: usize) -> bool {
    for above in (0..line - 1).rev() {
        let (code, comment) = (source.code[above].trim(), &source.comments[above]);
        if code.is_empty() {
            if comment.contains("SAFETY:") || comment.contains("# Safety") {
                return true;
            }
            if comment.is_empty() {
                return false;
            }
        } else if !code.starts_with("#[") && code.ends_with([';', '{', '}', ',']) {
            return false;
        }
    }
    false
}

/// A file that is longer than a reader's patience.
pub(crate) fn long_file(text: &str) -> Vec<Offence> {
    let lines = text.lines().count();
    let long =
        (lines > FILE_LINES).then(|| format!("{lines} lines, more than {FILE_LINES}; split it by subject"));
    long.into_iter().map(|remedy| (1, remedy)).collect()
}

/// Functions that do not fit on a screen.
pub(crate) fn long_functions(source: &Source) -> Vec<Offence> {
    let tokens = source.tokens();
    let mut found = Vec::new();
    for (at, pair) in tokens.windows(2).enumerate() {
        if pair[0].text != "fn" || !pair[1].is_word() {
            continue;
        }
        let lines = body_end(&tokens[at..]).map_or(0, |end| end - pair[0].line + 1);
        if lines > FUNCTION_LINES {
            let name = &pair[1].text;
            found.push((
                pair[0].line,
                format!("`{name}` has {lines} lines, more than {FUNCTION_LINES}; split it into steps"),
            ));
        }
    }
    found
}

/// The line on which the body of the function that begins here ends; none if it has no body.
fn body_end(tokens: &[Token]) -> Option<usize> {
    let (mut brackets, mut braces) = (0_i32, 0_i32);
    for token in tokens {
        match token.text.as_str() {
            "(" | "[" => brackets += 1,
            ")" | "]" => brackets -= 1,
            "{" => braces += 1,
            "}" => {
                braces -= 1;
                if braces == 0 {
                    return Some(token.line);
                }
            }
            ";" if brackets == 0 && braces == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Macros and words that mark unfinished work in Rust source.
pub(crate) fn stopgaps(source: &Source) -> Vec<Offence> {
    let tokens = source.tokens();
    let macros =
        tokens.windows(2).filter(|two| two[1].text == "!" && STOPGAP_MACROS.contains(&two[0].text.as_str()));
    let mut found: Vec<Offence> = macros
        .map(|two| (two[0].line, format!("`{}!` is unfinished work; finish it", two[0].text)))
        .collect();
    found.extend(stopgap_words(&source.comments.join("\n")));
    found
}

/// Words that mark unfinished work in any text.
pub(crate) fn stopgap_words(text: &str) -> Vec<Offence> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for word in line.split(|c| !is_word_char(c)).filter(|word| STOPGAP_WORDS.contains(word)) {
            found.push((index + 1, format!("`{word}` marks unfinished work; finish it, or open an issue")));
        }
    }
    found
}

/// A name that says nothing about what is inside.
pub(crate) fn catch_all_name(path: &str) -> Vec<Offence> {
    let stems = path.split('/').map(|part| part.split('.').next().unwrap_or(part));
    let bad = stems.filter(|stem| CATCH_ALL_NAMES.contains(stem));
    bad.map(|stem| (1, format!("the name `{stem}` says nothing; name it by what it holds"))).collect()
}

/// A module that does not say what lives in it, and what never does. Roots and tests need only say what they are.
pub(crate) fn missing_header(path: &str, text: &str) -> Vec<Offence> {
    let header: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim).collect();
    let is_exempt = path.contains("tests") || matches!(path, "src/lib.rs" | "src/main.rs");
    let (header, begins) = (header.join(" "), !header.is_empty());
    let says = |words| is_exempt || header.contains(words);
    let missing = !begins || !says("Lives here:") || !says("Never here:");
    let remedy =
        "begin with `//!`, and say after `Lives here:` and `Never here:` what does, and what never does";
    missing.then(|| (1, remedy.to_owned())).into_iter().collect()
}

/// Waiting for a time instead of an event.
pub(crate) fn sleeps(source: &Source) -> Vec<Offence> {
    let tokens = source.tokens();
    let lines =
        tokens.iter().enumerate().filter(|(at, token)| token.text == "sleep" && is_a_threads(&tokens[..*at]));
    lines.map(|(_, token)| (token.line, "`thread::sleep`; wait for the event itself".to_owned())).collect()
}

/// Whether `thread::` or `thread::{…,` comes right before.
fn is_a_threads(before: &[Token]) -> bool {
    let path = before
        .iter()
        .rev()
        .skip_while(|token| token.is_word() || matches!(token.text.as_str(), "{" | "," | "::"));
    let path = &before[path.count()..];
    path.windows(2).any(|two| two[0].text == "thread" && two[1].text == "::")
}

/// Paths that exist on one machine only.
pub(crate) fn machine_paths(text: &str) -> Vec<Offence> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for root in ["work", "root", "tmp"].map(|name| format!("/{name}/")) {
            if line.match_indices(&root).any(|(at, _)| names_a_place(line, at, root.len())) {
                found.push((
                    index + 1,
                    format!("`{root}…` is one machine's path; use a relative one, or a temporary folder"),
                ));
            }
        }
    }
    found
}

/// Whether an absolute path begins here and goes on by a name.
fn names_a_place(line: &str, at: usize, length: usize) -> bool {
    let continues = |c: char| is_word_char(c) || matches!(c, '.' | '-' | '}' | ')' | '~');
    let starts = !line[..at].chars().next_back().is_some_and(continues);
    starts && line[at + length..].chars().next().is_some_and(|c| c.is_alphabetic() || c == '.')
}

/// Paths that a page names in backticks, but that are not there. `{a,b}` means each, `*` whatever is in the folder.
pub(crate) fn dead_paths(page: &str, exists: impl Fn(&str) -> bool) -> Vec<Offence> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (index, line) in page.lines().enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        let quoted = line.split('`').skip(1).step_by(2).filter(|_| !fenced);
        for path in quoted
            .filter_map(|quoted| quoted.split([' ', ':']).next())
            .filter(|path| is_repository_path(path))
        {
            let dead = alternatives(path).into_iter().filter(|path| !exists(fixed_part(path)));
            found
                .extend(dead.map(|path| (index + 1, format!("`{path}` does not exist; name what is there"))));
        }
    }
    found
}

fn is_repository_path(path: &str) -> bool {
    ["src/", "tests/", "benches/", "scripts/"].iter().any(|folder| path.starts_with(folder))
}

fn alternatives(path: &str) -> Vec<String> {
    let Some((before, rest)) = path.split_once('{') else { return vec![path.to_owned()] };
    let (inner, after) = rest.split_once('}').unwrap_or((rest, ""));
    inner.split(',').flat_map(|one| alternatives(&format!("{before}{}{after}", one.trim()))).collect()
}

/// The path up to the folder that holds the first `*`.
fn fixed_part(path: &str) -> &str {
    path.find('*').map_or(path, |star| &path[..path[..star].rfind('/').unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(found: Vec<Offence>) -> Vec<usize> {
        found.into_iter().map(|(line, _)| line).collect()
    }

    #[test]
    fn unsafe_outside_its_places_is_found() {
        let found = |path| {
            lines(misplaced_unsafe(
                path,
                &Source::new("// unsafe\nf(\"unsafe\");\nunsafe { g() }"),
                &["src/ring/"],
            ))
        };
        assert_eq!(found("src/socket/stream.rs"), [3]);
        assert_eq!(found("src/ring/slots.rs"), [0; 0]);
        assert_eq!(found("tests/it/fault.rs"), [0; 0]);
    }

    #[test]
    fn unsafe_without_a_reason_is_found() {
        let found = |text| lines(unexplained_unsafe(&Source::new(text)));
        assert_eq!(found("// SAFETY: it is.\nunsafe { f() }"), [0; 0]);
        assert_eq!(found("// SAFETY: it is,\n// as said.\n#[cold]\nlet x =\n    unsafe { f() };"), [0; 0]);
        assert_eq!(found("/// # Safety\n/// Keep `x`.\npub unsafe fn f() {}"), [0; 0]);
        assert_eq!(found("unsafe { f() }"), [1]);
        assert_eq!(found("// SAFETY: of g.\ng();\nunsafe { f() }"), [3]);
        assert_eq!(found("// SAFETY: far away.\n\nunsafe { f() }"), [3]);
    }

    #[test]
    fn a_long_file_is_found() {
        assert_eq!(lines(long_file(&"\n".repeat(FILE_LINES))), [0; 0]);
        assert_eq!(lines(long_file(&"\n".repeat(FILE_LINES + 1))), [1]);
    }

    #[test]
    fn a_long_function_is_found() {
        let function = |inner| {
            format!("trait T {{ fn g(x: [u8; 3]); }}\nfn f() {{{}}}\nfn h() {{}}", "\n".repeat(inner))
        };
        assert_eq!(lines(long_functions(&Source::new(&function(FUNCTION_LINES - 1)))), [0; 0]);
        assert_eq!(lines(long_functions(&Source::new(&function(FUNCTION_LINES)))), [2]);
    }

    #[test]
    fn unfinished_work_is_found() {
        let [macros, words] = [STOPGAP_MACROS, STOPGAP_WORDS];
        for name in macros {
            assert_eq!(lines(stopgaps(&Source::new(&format!("\nlet x = {name}!();")))), [2]);
        }
        for word in words {
            assert_eq!(lines(stopgaps(&Source::new(&format!("a\n// {word}: later")))), [2]);
            assert_eq!(lines(stopgap_words(&format!("a\n# {word}: later, {word}X never"))), [2]);
        }
        assert_eq!(lines(stopgaps(&Source::new("let todo = \"todo!\"; assert!(todo);"))), [0; 0]);
    }

    #[test]
    fn a_name_that_says_nothing_is_found() {
        for path in ["src/util.rs", "src/socket/helpers.rs", "tests/common/mod.rs"] {
            assert_eq!(lines(catch_all_name(path)), [1]);
        }
        assert_eq!(lines(catch_all_name("src/socket/utility_pole.rs")), [0; 0]);
    }

    #[test]
    fn a_file_without_a_header_is_found() {
        let found = |path, text| lines(missing_header(path, text));
        assert_eq!(found("src/a.rs", "//! Is a.\n//! Lives here: a. Never\n//! here: b.\n"), [0; 0]);
        assert_eq!(found("src/a.rs", "//! Lives here: a.\n"), [1]);
        assert_eq!(found("src/a.rs", "// Lives here: a. Never here: b.\n"), [1]);
        assert_eq!(found("src/a/tests.rs", "//! Says it.\n"), [0; 0]);
        assert_eq!(found("src/main.rs", ""), [1]);
    }

    #[test]
    fn a_sleep_is_found() {
        let found = |text| lines(sleeps(&Source::new(text)));
        assert_eq!(found("use std::{\n    io, thread::{self, sleep},\n};"), [2]);
        assert_eq!(found("\nstd::thread::sleep(x);"), [2]);
        assert_eq!(found("thread::spawn(f); timer.sleep(x); // thread::sleep"), [0; 0]);
    }

    #[test]
    fn a_path_of_one_machine_is_found() {
        for root in ["work", "root", "tmp"] {
            assert_eq!(lines(machine_paths(&format!("a\ncd /{root}/x"))), [2]);
            assert_eq!(lines(machine_paths(&format!("\"/{root}/.x\""))), [1]);
            assert_eq!(
                lines(machine_paths(&format!(
                    "a/{root}/x http://b.c/{root}/x $(d)/{root}/x /{root} /{root}/"
                ))),
                [0; 0]
            );
        }
    }

    #[test]
    fn a_dead_path_is_found() {
        let exists = |path: &str| matches!(path, "src/a.rs" | "src/b.rs" | "src/ring" | "scripts/test");
        let found = |page| lines(dead_paths(page, exists));
        assert_eq!(
            found(
                "`src/a.rs` `src/{a,b}.rs`\n`src/ring/*.rs` `scripts/test --all` `src/a.rs:12` src/c.rs `crate::x`"
            ),
            [0; 0]
        );
        assert_eq!(found("`x` and `src/c.rs`\n`src/{a,c}.rs`\n`tests/it/*.rs`"), [1, 2, 3]);
        assert_eq!(found("```\n`src/c.rs`\n```\n`src/c.rs`"), [4]);
    }
}
