//! Results as bars.
//!
//! Lives here: drawing. Never here: figures.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::cases::{BULK, PACED, STOP_FLOOD};
use crate::results::{CPU, LOST, P99, Results};

const WIDTH: u32 = 900;
const BAR: u32 = 26;
/// Where bars begin: names stand before.
const LEFT: i32 = 330;
const OURS: RGBColor = RGBColor(0, 110, 130);
const OTHERS: RGBColor = RGBColor(160, 165, 170);

/// Draws what README shows.
///
/// Errors: as creating files.
pub fn draw(results: &Results, into: &Path) -> Result<(), Box<dyn Error>> {
    bars(
        &results.each(BULK, CPU),
        "Bulk, 256 B: ns of CPU a message (less is better)",
        &into.join("bulk.svg"),
    )?;
    bars(
        &results.each(PACED, P99),
        "50,000 messages/s: p99 latency in µs (less is better)",
        &into.join("latency.svg"),
    )?;
    bars(
        &results.each(STOP_FLOOD, LOST),
        "SIGTERM in full flow: acknowledged messages lost",
        &into.join("lost.svg"),
    )
}

fn bars(values: &[(&str, f64)], title: &str, file: &Path) -> Result<(), Box<dyn Error>> {
    if values.is_empty() {
        return Ok(());
    }
    let mut values = values.to_vec();
    values.sort_by(|one, other| one.1.total_cmp(&other.1));
    let most = values.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    let area = SVGBackend::new(file, (WIDTH, BAR * (values.len() as u32 + 2))).into_drawing_area();
    area.fill(&WHITE)?;
    let text = ("sans-serif", 15).into_font().color(&BLACK);
    area.draw_text(title, &("sans-serif", 18).into_font().color(&BLACK), (10, 8))?;
    for (row, (name, value)) in values.iter().enumerate() {
        let top = (row as i32 + 2) * BAR as i32 - BAR as i32 / 2;
        let room = WIDTH as i32 - LEFT - 90;
        let right = LEFT + (value / most * f64::from(room)) as i32;
        let color = if name.starts_with("slackwater") { OURS } else { OTHERS };
        area.draw(&Rectangle::new(
            [(LEFT, top), (right.max(LEFT + 1), top + BAR as i32 - 8)],
            color.filled(),
        ))?;
        let before = text.clone().pos(Pos::new(HPos::Right, VPos::Top));
        area.draw_text(name, &before, (LEFT - 8, top + 2))?;
        area.draw_text(&format!("{value:.0}"), &text, (right + 6, top + 2))?;
    }
    Ok(area.present()?)
}
