//! What the benchmarks that write into `benches/results` have in common.
//!
//! Lives here: what each can be told, the machine and the commit that it names (`provenance`), the median that it takes. Never here: what is
//! measured, or how a result is shown.

mod provenance;

use std::fs;
use std::path::PathBuf;

use clap::Args;
pub use provenance::{commit, machine};

/// What is measured, and where the results go.
#[derive(Args)]
pub struct Choice {
    /// Only what has this in its name.
    #[arg(long, default_value = "")]
    pub only: String,
    /// Folder for the results [default: benches/results, of all that is measured].
    #[arg(long)]
    into: Option<PathBuf>,
    /// `cargo bench` adds this.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Choice {
    /// Where the results go, ready to be written to: found out before anything is measured.
    ///
    /// # Errors
    /// That a part would replace the results of everything; as creating a folder and a file.
    pub fn folder(&self) -> Result<PathBuf, String> {
        let folder = match (&self.into, self.only.is_empty()) {
            (Some(folder), _) => folder.clone(),
            (None, true) => PathBuf::from("benches/results"),
            (None, false) => {
                return Err(
                    "--only would replace the results of everything by a part\nremedy: name another folder with --into"
                        .to_owned(),
                );
            }
        };
        let probed = fs::create_dir_all(&folder).and_then(|()| tempfile::tempfile_in(&folder));
        probed.map(|_| folder.clone()).map_err(|error| {
            format!(
                "cannot write into {}: {error}\nremedy: name a folder that may be written to with --into",
                folder.display()
            )
        })
    }
}

/// The middle one, or of two the greater; `None` of none.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
