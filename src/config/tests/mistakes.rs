//! Mistakes, and the very text with which each is met.
//!
//! Lives here: the table. Never here: command lines that are valid.

use clap::Parser;

use crate::config::{ConfigError, RunArgs};

/// What is typed after `slackwater run`, a line each.
const LINES: &str = include_str!("../../../tests/fixtures/mistakes.txt");

#[derive(Parser)]
#[command(no_binary_name = true)]
struct Line {
    #[command(flatten)]
    args: RunArgs,
}

fn mistake(line: &str) -> ConfigError {
    let args = Line::try_parse_from(line.split(' ')).expect(line).args;
    args.plan().expect_err(line)
}

fn from(url: &str) -> String {
    let args = RunArgs { from: vec![url.to_owned()], ..RunArgs::default() };
    args.plan().expect_err(url).to_string()
}

#[test]
fn each_mistake_is_shown_with_its_place_and_what_is_right() {
    let shown: Vec<String> = LINES.lines().map(|line| format!("$ {line}\n{}\n", mistake(line))).collect();
    assert!(shown.len() > 100, "only {} cases were found", shown.len());
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn nothing_typed_is_shown_by_one_caret() {
    assert!(from("").starts_with("no scheme in --from\n  \n  ^\na source is tcp://HOST:PORT, "));
}

#[test]
fn a_mistyped_scheme_is_guessed_with_tls_or_without() {
    for (typed, meant) in [
        ("tpc://h:1", "tcp"),
        ("ampq://h/q", "amqp"),
        ("ampqs://h/q", "amqps"),
        ("redis-lists://h/q", "redis-list"),
    ] {
        assert!(from(typed).contains(&format!("did you mean `{meant}`?")), "{}", from(typed));
    }
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let shown = from("tcp://a\u{1b}[31m:514");
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    let decoded = from("tcp://a:514?framing=%1b[31m");
    assert!(!decoded.contains('\u{1b}'), "{decoded:?}");
}

#[test]
fn carets_count_characters_not_bytes() {
    let shown = from("tcp://ü:514");
    assert!(shown.contains("\n  tcp://ü:514\n        ^ "), "{shown}");
}
