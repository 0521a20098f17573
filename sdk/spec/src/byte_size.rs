//! Sizes as people type them.

use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

/// A number of bytes: `50GiB`, `1.5 TB`, `123456`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 9] = [
    ("", 1),
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "found \"{}\", expected a size such as 50GiB, 500MB or 0",
                text.escape_debug()
            )
        };
        let digits = text.trim();
        let end = digits
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(digits.len());
        let (number, unit) = digits.split_at(end);
        let unit = unit.trim().to_lowercase();
        let (_, factor) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(wrong)?;
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(*factor).map(Self).ok_or_else(wrong);
        }
        let number: f64 = number.parse().map_err(|_| wrong())?;
        #[expect(clippy::cast_precision_loss, reason = "a unit is a small power")]
        let bytes = number * *factor as f64;
        if !(0.0..9e18).contains(&bytes) {
            return Err(wrong());
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked above"
        )]
        Ok(Self(bytes as u64))
    }
}

impl JsonSchema for ByteSize {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["integer", "string"],
            "minimum": 0,
            "pattern": "^ *[0-9]+([.][0-9]+)? *([bB]|[kKmMgGtT][bB]|[mMgGtT][iI][bB])? *$",
            "patternErrorMessage": "a number of bytes, or a text with a unit such as 50GiB",
            "examples": ["50GiB"]
        })
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Typed {
            Bytes(u64),
            Text(String),
        }
        match Typed::deserialize(from) {
            Ok(Typed::Bytes(bytes)) => Ok(Self(bytes)),
            Ok(Typed::Text(text)) => text.parse().map_err(serde::de::Error::custom),
            Err(_) => Err(serde::de::Error::custom(
                "expected a size: a number of bytes, or a text such as 50GiB",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        let check = |text: &str, bytes: Option<u64>| {
            assert_eq!(text.parse().ok(), bytes.map(ByteSize), "{text}");
        };
        check("0", Some(0));
        check("123456", Some(123_456));
        check("50GiB", Some(50 << 30));
        check("1.5 TB", Some(1_500_000_000_000));
        check(" 10 mib ", Some(10 << 20));
        for wrong in [
            "",
            "GiB",
            "-1",
            "ten",
            "5 apples",
            "1e3",
            "1..5GB",
            "99999999999TiB",
            "9999999.9TiB",
        ] {
            check(wrong, None);
        }
    }
}
