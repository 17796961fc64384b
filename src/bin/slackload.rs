//! slackload: arguments, run, exit code.

fn main() {}
