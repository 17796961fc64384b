//! A reactor's life, as a table: stage × event → stage.
//!
//! ```text
//! Running → Sealing → Sealed → Drained ─────────┐
//!    └─────────┴─────────┴──→ Expiring → Expired ┴→ Closing → Halted
//! ```
//! Lives here: which stage follows which. Never here: what is done in one.

/// Where a reactor is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Takes messages in.
    Running,
    /// Lets nothing new begin, and takes in what was acknowledged.
    Sealing,
    /// Takes nothing in any more, and delivers what it has.
    Sealed,
    /// Sealed, and nothing in flight.
    Drained,
    /// Time is up: counts what it still has as abandoned.
    Expiring,
    /// Sealed, nothing in flight, and something may have been abandoned.
    Expired,
    /// Says goodbye to its sinks.
    Closing,
    /// Nothing is left but the books.
    Halted,
}

/// What moves a reactor on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The coordinator asks for a drain.
    DrainAsked,
    /// The last source link and the last listener are gone.
    IntakeOver,
    /// Sealed, and the last ticket is settled.
    AllSettled,
    /// The deadline passed, or a signal ends the drain now.
    TimeUp,
    /// The coordinator has seen every reactor drained.
    HaltAsked,
    /// The last sink link is closed.
    LinksClosed,
}

impl Stage {
    /// The stage that follows; the same one where the event means nothing to it.
    #[must_use]
    pub fn after(self, event: Event) -> Stage {
        match (self, event) {
            (Stage::Running, Event::DrainAsked) => Stage::Sealing,
            (Stage::Sealing, Event::IntakeOver) => Stage::Sealed,
            (Stage::Sealed, Event::AllSettled) => Stage::Drained,
            (Stage::Running | Stage::Sealing | Stage::Sealed, Event::TimeUp) => Stage::Expiring,
            (Stage::Expiring, Event::AllSettled) => Stage::Expired,
            (Stage::Drained | Stage::Expired, Event::HaltAsked) => Stage::Closing,
            (Stage::Closing, Event::LinksClosed) => Stage::Halted,
            (
                Stage::Running
                | Stage::Sealing
                | Stage::Sealed
                | Stage::Drained
                | Stage::Expiring
                | Stage::Expired
                | Stage::Closing
                | Stage::Halted,
                Event::DrainAsked
                | Event::IntakeOver
                | Event::AllSettled
                | Event::TimeUp
                | Event::HaltAsked
                | Event::LinksClosed,
            ) => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGES: [Stage; 8] = [
        Stage::Running,
        Stage::Sealing,
        Stage::Sealed,
        Stage::Drained,
        Stage::Expiring,
        Stage::Expired,
        Stage::Closing,
        Stage::Halted,
    ];
    const EVENTS: [Event; 6] = [
        Event::DrainAsked,
        Event::IntakeOver,
        Event::AllSettled,
        Event::TimeUp,
        Event::HaltAsked,
        Event::LinksClosed,
    ];

    #[test]
    fn every_stage_and_event() {
        let table: Vec<String> = STAGES
            .iter()
            .map(|stage| {
                let row = EVENTS.map(|event| stage.after(event)).map(|next| match next == *stage {
                    true => "-".to_owned(),
                    false => format!("{next:?}"),
                });
                format!("{stage:?}: {}", row.join(" "))
            })
            .collect();
        let expected = [
            "Running: Sealing - - Expiring - -",
            "Sealing: - Sealed - Expiring - -",
            "Sealed: - - Drained Expiring - -",
            "Drained: - - - - Closing -",
            "Expiring: - - Expired - - -",
            "Expired: - - - - Closing -",
            "Closing: - - - - - Halted",
            "Halted: - - - - - -",
        ];
        assert_eq!(table, expected);
    }
}
