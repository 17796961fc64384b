//! The names of sources and sinks: each once.
//!
//! Lives here: the choice between a given name and a default. Never here: what is named.

use super::error::{ConfigError, Mistake};
use super::settings::Settings;
use crate::limits::NAME_MAX;

/// The names that are taken, of the sources or of the sinks.
#[derive(Default)]
pub(super) struct Names {
    taken: Vec<String>,
}

impl Names {
    /// The option `name` if it is given, else `default` with a number behind it if it is taken.
    pub(super) fn choose(&mut self, settings: &Settings<'_>, default: &str) -> Result<String, ConfigError> {
        let given = settings.get("name", |text| self.given(text))?;
        let name = given.unwrap_or_else(|| self.free(default));
        self.taken.push(name.clone());
        Ok(name)
    }

    fn given(&self, text: &str) -> Result<String, Mistake> {
        // A comma divides names in a URL.
        let spoils_a_log_line = |c: char| c.is_whitespace() || c.is_control() || c == ',';
        if text.len() > NAME_MAX || text.contains(spoils_a_log_line) {
            let hint = format!("at most {NAME_MAX} bytes, none of them a space or a comma");
            return Err(Mistake::new("an unfit name").hint(hint));
        }
        if self.is_taken(text) {
            return Err(Mistake::new(format!("name `{text}` twice")).hint("choose another"));
        }
        Ok(text.to_owned())
    }

    fn free(&self, default: &str) -> String {
        let numbered = (2..).map(|number: usize| format!("{default}-{number}"));
        let mut names = std::iter::once(default.to_owned()).chain(numbered);
        names.find(|name| !self.is_taken(name)).unwrap_or_default()
    }

    fn is_taken(&self, name: &str) -> bool {
        self.taken.iter().any(|taken| taken == name)
    }
}
