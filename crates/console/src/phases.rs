//! Operations as bars over time: one lane per operation, one bar per phase.

use firedrill_model::operation::{Operation, Phase};
use firedrill_model::{Span, Timestamp};

/// A drawing of one operation's phases, all lengths in the SVG's own units.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Lane {
    pub(crate) bars: Vec<Bar>,
    pub(crate) height: f64,
    pub(crate) total: Span,
}

/// One phase.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bar {
    pub(crate) label: String,
    pub(crate) length: Span,
    pub(crate) colour: &'static str,
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) width: f64,
    /// Where the label begins: right of the bar, or left of its end near the edge.
    pub(crate) text_x: f64,
    pub(crate) text_anchor: &'static str,
}

/// Width of a drawing.
pub(crate) const WIDTH: f64 = 1000.0;
const ROW: f64 = 22.0;

pub(crate) fn lane(operation: &Operation) -> Option<Lane> {
    let phases = operation.phases();
    let first = phases.iter().map(|(_, began, _)| *began).min()?;
    let last: Timestamp = phases.iter().map(|(_, began, length)| *began + *length).max()?;
    let total = last.since(first);
    let scale = WIDTH / total.duration().as_secs_f64().max(1e-6);
    let bars: Vec<Bar> = phases
        .into_iter()
        .enumerate()
        .map(|(row, (phase, began, length))| {
            let x = began.since(first).duration().as_secs_f64() * scale;
            let width = (length.duration().as_secs_f64() * scale).max(2.0);
            let late = x + width > WIDTH * 0.75;
            #[allow(clippy::cast_precision_loss, reason = "an operation has about a dozen phases")]
            let y = row as f64 * ROW;
            Bar {
                label: phase.to_string(),
                length,
                colour: colour(phase),
                x,
                y,
                width,
                text_x: if late { x - 6.0 } else { x + width + 6.0 },
                text_anchor: if late { "end" } else { "start" },
            }
        })
        .collect();
    #[allow(clippy::cast_precision_loss, reason = "an operation has about a dozen phases")]
    let height = bars.len() as f64 * ROW;
    Some(Lane { bars, height, total })
}

const fn colour(phase: Phase) -> &'static str {
    match phase {
        Phase::Detect | Phase::Confirm => "#a15c00",
        Phase::Fence | Phase::Undo => "#c62a2f",
        Phase::Drain | Phase::CatchUp => "#8e4ec6",
        Phase::Open | Phase::Join | Phase::FirstGoodWrite => "#18794e",
        Phase::Repoint | Phase::Check => "#0b8f9c",
        Phase::Capture | Phase::Copy | Phase::Prepare => "#2457c5",
    }
}
