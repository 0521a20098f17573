//! The scale of a drawing's axis.

/// An axis with round ticks that covers a range.
pub(super) struct Axis {
    pub(super) low: f64,
    high: f64,
    pub(super) ticks: Vec<f64>,
}

impl Axis {
    /// About `num_ticks` ticks over a range from low to high.
    pub(super) fn over((low, high): (f64, f64), num_ticks: u32) -> Self {
        let span = if high > low {
            high - low
        } else {
            high.abs().max(1e-9)
        };
        let rough = span / f64::from(num_ticks);
        let scale = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|it| it * scale)
            .find(|it| *it >= rough)
            .unwrap_or(rough);
        let low = (low / step).floor() * step;
        let high = (high / step).ceil() * step;
        let high = if high > low { high } else { low + step };
        // Counted from whole steps, so that the sum's rounding never shows.
        let ticks = (0..=32u32)
            .map(|idx| low + f64::from(idx) * step)
            .take_while(|it| *it <= high + step / 2.0)
            .collect();
        Self { low, high, ticks }
    }

    /// Where a value is on the axis: 0 at its low end, 1 at its high end.
    pub(super) fn share(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }
}

/// `1.5M`, `20`, `0.75`.
pub(super) fn tick_words(value: f64) -> String {
    let (value, unit) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, "G"),
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = format!("{value:.4}");
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    format!("{}{unit}", if digits == "-0" { "0" } else { digits })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover_the_range() {
        let check = |range, expected: &[&str]| {
            let axis = Axis::over(range, 5);
            let ticks: Vec<String> = axis.ticks.iter().map(|it| tick_words(*it)).collect();
            assert_eq!(ticks, expected);
            assert!(axis.share(range.0) >= 0.0 && axis.share(range.1) <= 1.0);
        };
        check((0.0, 40.0), &["0", "10", "20", "30", "40"]);
        check((0.72, 1.31), &["0.6", "0.8", "1", "1.2", "1.4"]);
        check((7.0, 7.0), &["6", "8"]);
    }

    #[test]
    fn ticks_are_written_short() {
        let words = [1_500_000.0, 20.0, 0.75, -0.0, 12_000.0].map(tick_words);
        assert_eq!(words, ["1.5M", "20", "0.75", "0", "12k"]);
    }
}
