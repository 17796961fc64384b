//! How late messages came.
//!
//! Lives here: the histogram, and what is told of it. Never here: clocks, messages.

use hdrhistogram::Histogram;

use super::report::Latency;

/// Three digits tell a thousandth of each figure.
const DIGITS: u8 = 3;

/// A histogram that takes no memory until something is recorded.
#[derive(Debug, Default)]
pub(super) struct Latencies(Option<Histogram<u64>>);

impl Latencies {
    pub(super) fn record(&mut self, nanos: u64) {
        let histogram =
            self.0.get_or_insert_with(|| Histogram::new(DIGITS).expect("up to five digits can be had"));
        // It grows as far as a value needs: no u64 is too large for it.
        let _ = histogram.record(nanos);
    }

    pub(super) fn summary(&self) -> Option<Latency> {
        let histogram = self.0.as_ref()?;
        Some(Latency {
            messages: histogram.len(),
            p50_nanos: histogram.value_at_quantile(0.5),
            p90_nanos: histogram.value_at_quantile(0.9),
            p99_nanos: histogram.value_at_quantile(0.99),
            p999_nanos: histogram.value_at_quantile(0.999),
            max_nanos: histogram.max(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.summary(), None);
        (1..=1000).for_each(|nanos| latencies.record(nanos));
        let Latency { messages, p50_nanos, p90_nanos, p99_nanos, p999_nanos, max_nanos } =
            latencies.summary().unwrap();
        assert_eq!(
            [messages, p50_nanos, p90_nanos, p99_nanos, p999_nanos, max_nanos],
            [1000, 500, 900, 990, 999, 1000]
        );
    }
}
