//! What is typed or stands in a file, to the plan or to the message, as a user meets it.
//!
//! Lives here: whole command lines. Never here: single values (they are met through their parameters).

/// Files, as flags.
mod files;
/// Each mistake to its exact message.
mod mistakes;
/// Each right line to its exact plan.
mod plans;
