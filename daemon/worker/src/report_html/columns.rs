//! Pictures with a column for each block.

use maud::{Markup, html};

/// Where the first column begins: labels are left of it.
pub(super) const LABEL: f64 = 92.0;
/// Width of a column.
pub(super) const CELL: f64 = 22.0;

/// A picture with a column for each block; their numbers are below what is `drawn`, which reaches
/// down to `bottom`.
pub(super) fn by_block(label: &str, num_blocks: u32, bottom: f64, drawn: &Markup) -> Markup {
    let width = LABEL + f64::from(num_blocks) * CELL + 2.0;
    let min_width = width.min(LABEL + 40.0 * CELL) * 0.8;
    let every = if num_blocks <= 40 { 1 } else { 5 };
    html! {
        div.scroll {
            svg.genotype viewBox={ "0 0 " (width) " " (bottom + 18.0) }
                style={ "max-width:" (width) "px;min-width:" (min_width) "px" }
                role="img" aria-label=(label)
            {
                (drawn)
                @for block_idx in (0..num_blocks).step_by(every) {
                    text.x x=(LABEL + (f64::from(block_idx) + 0.5) * CELL) y=(bottom + 13.0) {
                        (block_idx)
                    }
                }
            }
        }
    }
}
