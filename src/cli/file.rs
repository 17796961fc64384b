//! The plan, by the flags or by the file that they name.
//!
//! Lives here: reading that file. Never here: what it says.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::config::plan::Plan;
use crate::config::{ConfigError, ConfigFile, RunArgs};
use crate::limits::CONFIG_FILE_MAX;

/// Why there is no plan.
#[derive(Debug, Error)]
pub(super) enum PlanError {
    /// What was written is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The file cannot be read.
    #[error("cannot read {path}: {error}\nremedy: name a file that exists and may be read", path = .0.display(), error = .1)]
    Unreadable(PathBuf, io::Error),
    /// Nobody writes so much by hand.
    #[error(
        "{path} is larger than {most} bytes\nremedy: name the configuration file, not another one",
        path = .0.display(), most = CONFIG_FILE_MAX
    )]
    TooLarge(PathBuf),
    /// TOML is UTF-8.
    #[error("{path}:{line}: bytes that are not UTF-8\nremedy: save the file as UTF-8", path = .0.display(), line = .1)]
    NotText(PathBuf, usize),
}

/// What the relay runs on.
pub(super) fn plan(args: &RunArgs) -> Result<Plan, PlanError> {
    match &args.config {
        None => Ok(args.plan()?),
        Some(path) => Ok(args.plan_of(&ConfigFile::new(path.display().to_string(), read(path)?))?),
    }
}

fn read(path: &Path) -> Result<String, PlanError> {
    let unreadable = |error| PlanError::Unreadable(path.to_owned(), error);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(CONFIG_FILE_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > CONFIG_FILE_MAX {
        return Err(PlanError::TooLarge(path.to_owned()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        PlanError::NotText(path.to_owned(), line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(content: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("slackwater.toml");
        std::fs::write(&path, content).unwrap();
        let args = RunArgs { config: Some(path.clone()), ..RunArgs::default() };
        let text = plan(&args).unwrap_err().to_string();
        text.replace(&path.display().to_string(), "FILE")
    }

    #[test]
    fn a_file_that_is_none_says_so() {
        let args = RunArgs { config: Some("/no/such/file.toml".into()), ..RunArgs::default() };
        let text = plan(&args).unwrap_err().to_string();
        assert!(text.starts_with("cannot read /no/such/file.toml: No such file"), "{text}");
        assert!(refusal(b"# fine\n\xff\n").starts_with("FILE:2: bytes that are not UTF-8\nremedy:"));
        assert!(
            refusal(&[b'#'; CONFIG_FILE_MAX as usize + 1]).starts_with("FILE is larger than 1048576 bytes")
        );
        assert!(refusal(b"core = 2").starts_with("unknown key `core` in FILE:1:1\n"));
    }
}
