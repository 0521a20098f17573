//! The two columns of the final table that say how small a model is: what is left of it where parts
//! are left out; what it reaches in the target's measure, and its packed size, where its weights
//! are written down shorter.

use evopress_spec::{Achieved, Report};

use super::format::{as_f64, grouped, megabytes, number};

/// The two columns that a report has.
#[derive(Clone, Copy)]
pub(super) enum Columns {
    /// Parameters, and the size as written.
    Parameters,
    /// The target's measure, and the size as a database packs it.
    Packed(Measure),
}

#[derive(Clone, Copy)]
pub(super) enum Measure {
    Sparsity,
    BitsPerWeight,
    Compression,
}

impl Columns {
    pub(super) fn of(report: &Report) -> Self {
        match report.achieved.measure.as_str() {
            _ if report.achieved.packed_bytes == 0 => Self::Parameters,
            "sparsity" => Self::Packed(Measure::Sparsity),
            "bits_per_weight" => Self::Packed(Measure::BitsPerWeight),
            // A size in bytes is what the last column says.
            "compression" | "size_bytes" => Self::Packed(Measure::Compression),
            _ => Self::Parameters,
        }
    }

    pub(super) fn heads(self) -> [&'static str; 2] {
        match self {
            Self::Parameters => ["parameters", "size"],
            Self::Packed(Measure::Sparsity) => ["sparsity", "packed size"],
            Self::Packed(Measure::BitsPerWeight) => ["bits a weight", "packed size"],
            Self::Packed(Measure::Compression) => ["compression", "packed size"],
        }
    }

    pub(super) fn dense(self, achieved: &Achieved) -> [String; 2] {
        let bits =
            as_f64(achieved.dense_size_bytes) * 8.0 / as_f64(achieved.dense_parameters.max(1));
        let size = megabytes(achieved.dense_size_bytes);
        match self {
            Self::Parameters => [grouped(achieved.dense_parameters), size],
            Self::Packed(Measure::Sparsity) => [number(Some(0.0), 4), size],
            Self::Packed(Measure::BitsPerWeight) => [number(Some(bits), 2), size],
            Self::Packed(Measure::Compression) => [number(Some(1.0), 2), size],
        }
    }

    pub(super) fn ours(self, achieved: &Achieved) -> [String; 2] {
        match self {
            Self::Parameters => [grouped(achieved.parameters), megabytes(achieved.size_bytes)],
            Self::Packed(measure) => measure.row(achieved, achieved.value, achieved.packed_bytes),
        }
    }

    pub(super) fn baseline(self, report: &Report, name: &str) -> [String; 2] {
        let achieved = &report.achieved;
        let found = report.baselines.iter().find(|it| it.name == name);
        match self {
            Self::Parameters => {
                let parameters = found.map_or(achieved.parameters, |it| it.parameters);
                [
                    grouped(parameters),
                    megabytes(written(parameters, achieved)),
                ]
            }
            Self::Packed(measure) => {
                let (value, bytes) =
                    found.map_or((f64::NAN, 0), |it| (it.achieved, it.packed_bytes));
                measure.row(achieved, value, bytes)
            }
        }
    }
}

impl Measure {
    fn row(self, achieved: &Achieved, value: f64, packed_bytes: u64) -> [String; 2] {
        let much = match self {
            Self::Sparsity => number(Some(value), 4),
            Self::BitsPerWeight => number(Some(value), 2),
            Self::Compression => number(
                Some(as_f64(achieved.dense_size_bytes) / as_f64(packed_bytes)),
                2,
            ),
        };
        let size = if packed_bytes == 0 {
            "-".to_owned()
        } else {
            megabytes(packed_bytes)
        };
        [much, size]
    }
}

/// A baseline is not written; its size follows from its parameters.
fn written(parameters: u64, achieved: &Achieved) -> u64 {
    let removed = achieved.dense_parameters.saturating_sub(parameters);
    let bytes_each = achieved
        .dense_size_bytes
        .checked_div(achieved.dense_parameters)
        .unwrap_or(0);
    achieved
        .dense_size_bytes
        .saturating_sub(removed * bytes_each)
}
