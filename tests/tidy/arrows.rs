//! The arrows between the modules: who may import whom.

use std::collections::BTreeSet;

use super::scan::{Source, Token};
use super::{Arrows, Offence};

/// Imports and inline paths of one file below `src/` that go against the arrows.
pub(crate) fn offences(path: &str, source: &Source, arrows: Arrows) -> Vec<Offence> {
    let module = module_of(path);
    let Some(own) = module.first().cloned() else { return Vec::new() };
    let Some((_, allowed)) = arrows.iter().find(|(name, _)| *name == own) else {
        return vec![(1, format!("module `{own}` has no arrows; enter it in ARROWS of tests/tidy.rs"))];
    };
    let mut found: Vec<Offence> = Vec::new();
    for (line, target) in targets(&source.tokens(), &module, path.starts_with("src/bin/")) {
        if target == own || allowed.contains(&target.as_str()) {
            continue;
        }
        let known = arrows.iter().any(|(name, _)| *name == target);
        found.push((line, if known { against(&own, &target, allowed) } else { unknown(&target) }));
    }
    found.dedup();
    found
}

fn against(own: &str, target: &str, allowed: &[&str]) -> String {
    let allowed =
        if allowed.is_empty() { "nothing".to_owned() } else { format!("only {}", allowed.join(", ")) };
    format!(
        "`{own}` imports `{target}`, but may import {allowed}; move the code to where the arrows allow it"
    )
}

fn unknown(target: &str) -> String {
    format!("`{target}` is no module in ARROWS of tests/tidy.rs; name the module that defines it")
}

/// Arrows that do not point downwards, and modules that the crate's header does not list in the same order.
pub(crate) fn layer_offences(lib: &Source, arrows: Arrows) -> Vec<Offence> {
    let mut found = Vec::new();
    let place = |name: &str| arrows.iter().position(|(other, _)| *other == name);
    for (index, (name, allowed)) in arrows.iter().enumerate() {
        for target in allowed.iter().filter(|target| place(target).is_none_or(|place| place <= index)) {
            found.push((
                1,
                format!("ARROWS: `{name}` → `{target}` does not point to a lower layer; reorder the table"),
            ));
        }
    }
    let listed = header_modules(lib);
    for (line, name) in declared_modules(lib) {
        if !listed.iter().any(|(_, other)| *other == name) {
            found.push((
                line,
                format!("`{name}` is not in the header's list; add a line `- [`{name}`] …` to it"),
            ));
        }
    }
    for pair in listed.windows(2) {
        if place(&pair[0].1) > place(&pair[1].1) {
            found.push((
                pair[1].0,
                format!("`{}` belongs above `{}` in the header's list", pair[1].1, pair[0].1),
            ));
        }
    }
    found
}

/// Arrows that no file takes: each would let in what nobody has thought about.
pub(crate) fn untaken(files: &[(String, String)], arrows: Arrows) -> Vec<String> {
    let mut taken = BTreeSet::new();
    for (path, text) in files.iter().filter(|(path, _)| path.starts_with("src/") && path.ends_with(".rs")) {
        let module = module_of(path);
        for (_, target) in targets(&Source::new(text).tokens(), &module, path.starts_with("src/bin/")) {
            taken.insert((module.first().cloned().unwrap_or_default(), target));
        }
    }
    let all = arrows.iter().flat_map(|(own, allowed)| allowed.iter().map(move |target| (*own, *target)));
    all.filter(|(own, target)| !taken.contains(&((*own).to_owned(), (*target).to_owned())))
        .map(|(own, target)| format!("ARROWS: nothing takes `{own}` → `{target}`; delete it"))
        .collect()
}

/// Modules in list items of the crate's header: lines that begin with `//! - [` and a name in backticks.
fn header_modules(lib: &Source) -> Vec<(usize, String)> {
    let item = |line: &String| {
        let name = line.trim().strip_prefix("//! - [`")?;
        Some(name.split('`').next()?.to_owned())
    };
    lib.comments.iter().enumerate().filter_map(|(index, line)| Some((index + 1, item(line)?))).collect()
}

fn declared_modules(lib: &Source) -> Vec<(usize, String)> {
    let tokens = lib.tokens();
    let declared = tokens.windows(3).filter(|three| three[0].text == "mod" && three[2].text == ";");
    declared.map(|three| (three[1].line, three[1].text.clone())).collect()
}

/// The module that a file holds: `src/a/b.rs` is `a::b`. A binary's root counts as a module of its own name.
fn module_of(path: &str) -> Vec<String> {
    let inner = path.trim_start_matches("src/").trim_start_matches("bin/").trim_end_matches(".rs");
    let mut module: Vec<String> = inner.split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| last == "mod" || last == "lib") {
        module.pop();
    }
    module
}

/// The top module of each path of this crate that the code names, with its line.
///
/// In a binary, `crate` is the binary's own root, and the library goes by its name.
fn targets(tokens: &[Token], file: &[String], in_binary: bool) -> Vec<(usize, String)> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut found = Vec::new();
    let mut inline: Vec<(usize, String)> = Vec::new();
    let (mut depth, mut at) = (0, 0);
    while at < tokens.len() {
        match text(at) {
            "mod" if text(at + 2) == "{" => inline.push((depth, text(at + 1).to_owned())),
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                inline.pop_if(|(outer, _)| *outer == depth);
            }
            _ if starts_path(tokens, at) => {
                let here: Vec<String> =
                    file.iter().cloned().chain(inline.iter().map(|(_, name)| name.clone())).collect();
                let mut paths = Vec::new();
                at = expand(tokens, at, &[], &mut paths);
                paths.retain(|(_, path)| !in_binary || path[0] == "slackwater");
                found.extend(paths.iter().filter_map(|(line, path)| Some((*line, resolve(path, &here)?))));
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Whether a path of this crate begins here. `pub(in …)` names a visibility, not a use.
fn starts_path(tokens: &[Token], at: usize) -> bool {
    let text = |at: Option<usize>| at.and_then(|at| tokens.get(at)).map_or("", |token| token.text.as_str());
    matches!(text(Some(at)), "crate" | "slackwater" | "super" | "self")
        && text(Some(at + 1)) == "::"
        && text(at.checked_sub(1)) != "::"
        && !(text(at.checked_sub(1)) == "in" && text(at.checked_sub(2)) == "(")
}

/// Collects the path that begins at `at`, once per leaf of its groups; returns where it ends.
fn expand(
    tokens: &[Token],
    mut at: usize,
    prefix: &[String],
    paths: &mut Vec<(usize, Vec<String>)>,
) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut path = prefix.to_vec();
    let line = tokens[at].line;
    loop {
        if text(at) == "{" {
            at += 1;
            while !matches!(text(at), "}" | "") {
                at = if matches!(text(at), ",") { at + 1 } else { expand(tokens, at, &path, paths) };
            }
            return at + 1;
        }
        path.push(text(at).to_owned());
        at += 1;
        let goes_on = text(at) == "::"
            && tokens.get(at + 1).is_some_and(|next| next.is_word() || "{*".contains(&next.text));
        if !goes_on {
            break;
        }
        at += 1;
    }
    if text(at) == "as" {
        at += 2;
    }
    paths.push((line, path));
    at
}

/// The top module that a path leads to from the module `here`; none if it stays in the crate's root.
fn resolve(path: &[String], here: &[String]) -> Option<String> {
    let mut base = here.to_vec();
    let mut rest = path;
    while let [first, more @ ..] = rest {
        match first.as_str() {
            "crate" | "slackwater" => base.clear(),
            "super" => drop(base.pop()),
            "self" => {}
            _ => break,
        }
        rest = more;
    }
    base.iter().chain(rest).next().cloned()
}

#[cfg(test)]
mod tests {
    use super::super::scan::Source;
    use super::{Arrows, layer_offences, offences, untaken};

    const ARROWS: Arrows = &[("main", &["top"]), ("top", &["low"]), ("side", &[]), ("low", &[])];

    fn lines(path: &str, text: &str) -> Vec<usize> {
        offences(path, &Source::new(text), ARROWS).into_iter().map(|(line, _)| line).collect()
    }

    #[test]
    fn an_arrow_that_nothing_takes_is_found() {
        let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
        let files = [
            file("src/main.rs", "use slackwater::top;"),
            file("src/top/a.rs", "// crate::low"),
            file("tests/a.rs", "use crate::low;"),
        ];
        assert_eq!(untaken(&files, ARROWS), ["ARROWS: nothing takes `top` → `low`; delete it"]);
    }

    #[test]
    fn an_import_with_the_arrows_passes() {
        assert!(
            lines("src/top/a.rs", "use crate::low::X;\nuse super::b;\nuse std::{fmt, io::{self, Read}};")
                .is_empty()
        );
        assert!(
            lines("src/top/a.rs", "pub(crate) fn f() { self::g(); Self::h(); }\nmod tests { use super::*; }")
                .is_empty()
        );
        assert!(
            lines(
                "src/top/mod.rs",
                "pub(in crate::side) fn f() {}\n// crate::side\nconst S: &str = \"crate::side\";"
            )
            .is_empty()
        );
        assert!(lines("src/main.rs", "use slackwater::top::run;").is_empty());
        assert!(
            lines("src/bin/main/part.rs", "use crate::other;\nuse super::side;\nuse slackwater::top;")
                .is_empty()
        );
    }

    #[test]
    fn an_import_against_the_arrows_is_found() {
        assert_eq!(lines("src/low.rs", "\nuse crate::top::X;"), [2]);
        assert_eq!(lines("src/top/a.rs", "use crate::{\n    low::{A, B as C},\n    side::D,\n};"), [3]);
        assert_eq!(lines("src/top/a.rs", "use {std::io, crate::side};"), [1]);
        assert_eq!(lines("src/top/a.rs", "use super::super::side::X;"), [1]);
        assert_eq!(
            lines("src/top/a.rs", "mod tests {\n use super::super::super::side;\n}\nuse super::super::side;"),
            [2, 4]
        );
        assert_eq!(lines("src/top/mod.rs", "use super::side as low;"), [1]);
        assert_eq!(lines("src/bin/main.rs", "fn main() { slackwater::low::f() }"), [1]);
        assert_eq!(lines("src/bin/main/part.rs", "use crate::side;\nuse slackwater::side;"), [2]);
    }

    #[test]
    fn an_inline_path_against_the_arrows_is_found() {
        assert_eq!(lines("src/top/a.rs", "fn f() {\n    for x in crate::side::all() {}\n}"), [2]);
        assert_eq!(lines("src/top/mod.rs", "type T = Vec<super::side::X<crate::low::Y>>;"), [1]);
    }

    #[test]
    fn a_module_without_arrows_is_found() {
        assert_eq!(lines("src/new.rs", ""), [1]);
        assert_eq!(lines("src/top/a.rs", "use crate::Rooted;\nuse crate::*;"), [1, 2]);
    }

    #[test]
    fn a_header_that_is_not_in_layer_order_is_found() {
        let found = |text| layer_offences(&Source::new(text), ARROWS).len();
        assert_eq!(found("//! - [`top`] a\n//! - [`low`] b\npub mod low;\npub mod top;"), 0);
        assert_eq!(found("//! - [`low`] a\n//! - [`top`] b\npub mod low;\npub mod top;"), 1);
        assert_eq!(found("//! - [`top`] a\npub mod low;\npub mod top;"), 1);
    }

    #[test]
    fn an_arrow_that_points_up_is_found() {
        let lib = Source::new("");
        assert_eq!(layer_offences(&lib, &[("a", &["b"]), ("b", &["a"])]).len(), 1);
        assert_eq!(layer_offences(&lib, &[("a", &["gone"])]).len(), 1);
    }
}
