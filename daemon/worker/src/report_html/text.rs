//! Words and numbers of the page.

use evopress_spec::Metric;

/// Four significant digits; a dash for what is not a number.
pub(super) fn number(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    match value.abs() {
        0.0 => "0".to_owned(),
        size if !(1e-3..1e7).contains(&size) => format!("{value:.2e}"),
        size if size < 1.0 => format!("{value:.4}"),
        size if size < 10.0 => format!("{value:.3}"),
        size if size < 1000.0 => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    }
}

/// `25.0 %`.
pub(super) fn percent(share: f64) -> String {
    if share.is_finite() {
        format!("{:.1} %", share * 100.0)
    } else {
        "–".to_owned()
    }
}

/// `134,515,008`.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (idx, digit) in digits.chars().enumerate() {
        if idx > 0 && (digits.len() - idx).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `269.0 MB`: powers of ten, as disks and downloads are counted.
pub(super) fn bytes(count: u64) -> String {
    let count = as_f64(count);
    match count {
        c if c < 1e3 => format!("{c:.0} B"),
        c if c < 1e6 => format!("{:.1} kB", c / 1e3),
        c if c < 1e9 => format!("{:.1} MB", c / 1e6),
        c => format!("{:.2} GB", c / 1e9),
    }
}

/// `3 min 05 s`.
pub(super) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "–".to_owned();
    }
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    let minutes = (seconds / 60.0).floor();
    if minutes < 60.0 {
        return format!(
            "{minutes:.0} min {:02.0} s",
            (seconds - minutes * 60.0).floor()
        );
    }
    format!(
        "{:.0} h {:02.0} min",
        (minutes / 60.0).floor(),
        minutes % 60.0
    )
}

/// A metric's name for people.
pub(super) fn metric_words(metric: Metric) -> &'static str {
    match metric {
        Metric::Perplexity => "perplexity",
        Metric::KlDivergence => "KL divergence",
    }
}

/// `part / whole`, not a number for an empty whole.
pub(super) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        f64::NAN
    } else {
        as_f64(part) / as_f64(whole)
    }
}

/// For drawing and rounding only.
#[expect(clippy::cast_precision_loss, reason = "shown with four digits")]
pub(super) fn as_f64(count: u64) -> f64 {
    count as f64
}
