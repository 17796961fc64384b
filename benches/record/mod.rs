//! What the benchmarks that write into `benches/results` have in common.
//!
//! Lives here: what each can be told, the machine and the commit that it names (`provenance`), the median that it takes. Never here: what is
//! measured, or how a result is shown.

mod provenance;

use std::path::PathBuf;

use clap::Args;
pub use provenance::{commit, machine};

/// What is measured, and where the results go.
#[derive(Args)]
pub struct Choice {
    /// Only what has this in its name.
    #[arg(long, default_value = "")]
    pub only: String,
    /// Folder for the results.
    #[arg(long, default_value = "benches/results")]
    pub into: PathBuf,
    /// `cargo bench` adds this.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The middle one, or of two the greater; `None` of none.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
