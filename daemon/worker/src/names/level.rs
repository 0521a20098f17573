//! Levels by their names: how strong a level is.
//!
//! Methods name their levels as they like. People and plots need an order, and numbers where there
//! are some.

use std::cmp::Ordering;

use evopress_plugin::GgmlType;
use indexmap::IndexMap;

/// A level's name, read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Level<'a> {
    /// The method that it is of, where the name says so: `gptq:4bit`.
    pub(crate) method: Option<&'a str>,
    /// The rest of the name: `4bit`.
    pub(crate) name: &'a str,
    /// What it means.
    pub(crate) meaning: Meaning,
}

/// What a level does to a unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Meaning {
    /// The unit is as it was.
    Kept,
    /// The unit is left out.
    Dropped,
    /// So many bits a weight.
    Bits(f64),
    /// So large a share of zeros.
    Sparsity(f64),
    /// Something else.
    Other,
}

impl<'a> Level<'a> {
    /// Reads a name: `keep`, `drop`, `4bit`, `Q4_K`, `0.4167`, `2:4`, or one of these after
    /// `METHOD:`.
    pub(crate) fn read(name: &'a str) -> Self {
        let whole = Meaning::of(name);
        match name.split_once(':') {
            Some((method, rest)) if whole == Meaning::Other => Self {
                method: Some(method),
                name: rest,
                meaning: Meaning::of(rest),
            },
            _ => Self {
                method: None,
                name,
                meaning: whole,
            },
        }
    }

    /// How it is written where there is room for two or three letters; empty if that tells nothing.
    pub(crate) fn short(&self) -> String {
        match self.meaning {
            Meaning::Bits(bits) if bits.fract() == 0.0 => format!("{bits}"),
            Meaning::Bits(bits) => format!("{bits:.1}"),
            Meaning::Sparsity(_) if self.name.contains(':') => self.name.to_owned(),
            Meaning::Sparsity(share) => format!("{:.0}", share * 100.0),
            _ => String::new(),
        }
    }

    /// From what is left out to what is kept; then by name.
    pub(crate) fn cmp(&self, other: &Self) -> Ordering {
        let left = |level: &Self| level.meaning.share_left();
        self.method
            .cmp(&other.method)
            .then(left(self).total_cmp(&left(other)))
            .then(self.name.cmp(other.name))
    }
}

/// Bits of a weight that is kept as it was, for means over levels.
const KEPT_BITS: f64 = 16.0;

impl Meaning {
    fn of(name: &str) -> Self {
        let ratio = |(kept, of): (&str, &str)| Some((kept.parse().ok()?, of.parse().ok()?));
        if let Some(ggml_type) = GgmlType::from_name(name) {
            return Self::Bits(ggml_type.bits_per_weight());
        }
        match name {
            "keep" | "dense" => return Self::Kept,
            // "dropped": the levels of layers in a sub-block that is left out.
            "drop" | "dropped" => return Self::Dropped,
            _ => {}
        }
        if name.contains('/') {
            return Self::of_tied(name);
        }
        let number = name
            .find("bit")
            .and_then(|at| name[..at].trim().parse().ok());
        if let Some(bits) = number.filter(|bits: &f64| bits.is_finite()) {
            return Self::Bits(bits);
        }
        if let Some((kept, of)) = name.split_once(':').and_then(ratio) {
            let (kept, of): (u32, u32) = (kept, of);
            if kept <= of && of > 0 {
                return Self::Sparsity(1.0 - f64::from(kept) / f64::from(of));
            }
        }
        match name.parse::<f64>() {
            Ok(share) if (0.0..=1.0).contains(&share) => Self::Sparsity(share),
            _ => Self::Other,
        }
    }

    /// Layers that are tied together may differ a little in sparsity: `0.4167/0.4171`.
    #[expect(clippy::cast_precision_loss, reason = "few layers are tied")]
    fn of_tied(name: &str) -> Self {
        let share = |part| match Self::of(part) {
            Self::Sparsity(share) => Some(share),
            _ => None,
        };
        let shares: Option<Vec<f64>> = name.split('/').map(share).collect();
        match shares {
            Some(shares) => Self::Sparsity(shares.iter().sum::<f64>() / shares.len() as f64),
            None => Self::Other,
        }
    }

    /// How much of a unit is left, roughly, to put levels in order.
    pub(crate) fn share_left(self) -> f64 {
        match self {
            Self::Kept => 1.0,
            Self::Dropped => 0.0,
            Self::Bits(bits) => bits / KEPT_BITS,
            Self::Sparsity(share) => 1.0 - share,
            Self::Other => 0.5,
        }
    }

    /// In bits, for a mean over levels that all have some.
    pub(crate) fn bits(self) -> Option<f64> {
        match self {
            Self::Bits(bits) => Some(bits),
            Self::Kept => Some(KEPT_BITS),
            Self::Dropped => Some(0.0),
            _ => None,
        }
    }

    /// As a share of zeros, for a mean over levels that all have one.
    pub(crate) fn sparsity(self) -> Option<f64> {
        match self {
            Self::Sparsity(share) => Some(share),
            Self::Kept => Some(0.0),
            Self::Dropped => Some(1.0),
            _ => None,
        }
    }
}

/// Whether the genotype only says what is left out.
pub(crate) fn only_drops(genotype: &IndexMap<String, String>) -> bool {
    genotype.values().all(|level| {
        let meaning = Level::read(level).meaning;
        matches!(meaning, Meaning::Kept | Meaning::Dropped)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_from_their_names() {
        let check = |name: &str, method: Option<&str>, meaning: Meaning| {
            let level = Level::read(name);
            assert_eq!((level.method, level.meaning), (method, meaning), "{name}");
        };
        check("keep", None, Meaning::Kept);
        check("drop:drop", Some("drop"), Meaning::Dropped);
        check("4bit", None, Meaning::Bits(4.0));
        check("gptq:2.5bit", Some("gptq"), Meaning::Bits(2.5));
        check("Q4_K", None, Meaning::Bits(4.5));
        check("kquant:Q2_K", Some("kquant"), Meaning::Bits(2.625));
        check("0.4167", None, Meaning::Sparsity(0.4167));
        check("2:4", None, Meaning::Sparsity(0.5));
        check("sparsegpt:2:4", Some("sparsegpt"), Meaning::Sparsity(0.5));
        check("0.25/0.75", None, Meaning::Sparsity(0.5));
        check("4bit/8bit", None, Meaning::Other);
        check("dropped", None, Meaning::Dropped);
        check("4:2", Some("4"), Meaning::Other);
        check("gptq:rank 16", Some("gptq"), Meaning::Other);
        check("NaNbit", None, Meaning::Other);
    }

    #[test]
    fn levels_go_from_gone_to_kept() {
        let mut names = ["8bit", "keep", "2bit", "drop", "3bit"];
        names.sort_by(|a, b| Level::read(a).cmp(&Level::read(b)));
        assert_eq!(names, ["drop", "2bit", "3bit", "8bit", "keep"]);
        let mut names = ["0.25", "0.0", "0.75"];
        names.sort_by(|a, b| Level::read(a).cmp(&Level::read(b)));
        assert_eq!(names, ["0.75", "0.25", "0.0"]);
    }
}
