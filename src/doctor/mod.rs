//! What this machine has of what the relay needs: what is missing, what that costs, and the command that mends it.
//!
//! Facts are read first (`facts`), then judged without another look (`judgement`). Lives here: both, and the text that the user
//! reads. Never here: any change to the machine.

mod facts;
mod judgement;

use std::fmt;

pub use facts::Facts;
pub use judgement::{Demand, Finding, Verdict, judge};

/// All findings, as the user reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis(Vec<Finding>);

impl Diagnosis {
    /// Of this machine, for a relay that demands so much.
    pub fn of(facts: &Facts, demand: &Demand) -> Diagnosis {
        Diagnosis(judge(facts, demand))
    }

    /// Whether the relay can run.
    pub fn is_healthy(&self) -> bool {
        self.0.iter().all(|finding| !matches!(finding.verdict, Verdict::Missing { .. }))
    }

    fn count(&self, wanted: impl Fn(&Verdict) -> bool) -> usize {
        self.0.iter().filter(|finding| wanted(&finding.verdict)).count()
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|finding| finding.what.chars().count()).max().unwrap_or(0);
        for Finding { what, value, verdict } in &self.0 {
            let (mark, advice) = match verdict {
                Verdict::Fine => ("ok     ", None),
                Verdict::Limits { cost, remedy } => ("limits ", Some((cost, remedy))),
                Verdict::Missing { cost, remedy } => ("MISSING", Some((cost, remedy))),
            };
            writeln!(f, "{mark}  {what:width$}  {value}")?;
            if let Some((cost, remedy)) = advice {
                writeln!(f, "{:9}cost: {cost}\n{:9}mend: {remedy}", "", "")?;
            }
        }
        let missing = self.count(|verdict| matches!(verdict, Verdict::Missing { .. }));
        let limits = self.count(|verdict| matches!(verdict, Verdict::Limits { .. }));
        match (missing, limits) {
            (0, 0) => write!(f, "\nThe relay can run here, without a limit that matters to it."),
            (0, _) => write!(f, "\nThe relay can run here; {limits} of the above limit it."),
            (_, _) => write!(f, "\nThe relay cannot run here: {missing} of the above is missing."),
        }
    }
}
