//! What the user wrote, turned into what the program uses.
//!
//! Lives here: [`plan`], the values that the relay runs on, and the parsing that leads to them. Never here: I/O; nothing is
//! resolved, opened or bound.

pub mod plan;
