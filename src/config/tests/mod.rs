//! What is typed, to the plan or to the message, as a user meets it.
//!
//! Lives here: whole command lines. Never here: single values (they are met through their parameters).

/// Each mistake to its exact message.
mod mistakes;
/// Each right line to its exact plan.
mod plans;
