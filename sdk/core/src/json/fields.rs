//! Objects as typed fields.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Number, Value};

/// The fields of an object. Those that the type does not have may hold anything. A whole number may
/// be written as a float.
///
/// # Errors
/// The text is no object, or a field is not what it must be: a sentence that names the field and
/// not the file.
pub fn fields<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    fields_of(&super::object(text)?.map)
}

/// The fields of an object that is read already, as [`fields`].
///
/// # Errors
/// As [`fields`].
pub fn fields_of<T: DeserializeOwned>(map: &Map<String, Value>) -> Result<T, String> {
    let mut value = Value::Object(map.clone());
    whole_numbers(&mut value);
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let cause = in_words(&error.into_inner().to_string());
        match path.as_str() {
            "." => cause,
            _ => format!("{path}: {cause}"),
        }
    })
}

/// Writes floats without a fraction as the integers that they are.
fn whole_numbers(value: &mut Value) {
    /// Beyond it a float does not tell one whole number from the next.
    const MAX_EXACT: f64 = 9_007_199_254_740_991.0;
    match value {
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().filter(|it| it.abs() <= MAX_EXACT);
            if let Some(float) = float.filter(|it| it.fract() == 0.0) {
                *number = Number::from(float as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(fields) => fields.values_mut().for_each(whole_numbers),
        _ => {}
    }
}

/// A mistake that names types as people do.
fn in_words(cause: &str) -> String {
    const TYPES: [(&str, &str); 7] = [
        ("i64", "a whole number"),
        ("u32", "a whole number that is not negative"),
        ("u64", "a whole number that is not negative"),
        ("usize", "a whole number that is not negative"),
        ("f64", "a number"),
        ("a boolean", "true or false"),
        ("a sequence", "a list"),
    ];
    let Some((found, expected)) = cause.rsplit_once("expected ") else {
        return cause.to_owned();
    };
    let words = TYPES.iter().find(|(name, _)| *name == expected);
    match words {
        Some((_, words)) => format!("{found}expected {words}"),
        None => cause.to_owned(),
    }
}

/// For `deserialize_with`, beside `default`: the ID of a token, none where it is null or negative.
///
/// # Errors
/// The value is no whole number.
pub fn token_id<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    let id: Option<i64> = Option::deserialize(from)?;
    Ok(id.and_then(|id| u32::try_from(id).ok()))
}

/// For `deserialize_with`, beside `default`: the IDs of tokens, one or a list of them; null and
/// negative ones are left out.
///
/// # Errors
/// A value is no whole number.
pub fn token_ids<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected the ID of a token, or a list of them")]
    enum OneOrMany {
        One(Option<i64>),
        Many(Vec<Option<i64>>),
    }
    let ids = match OneOrMany::deserialize(from)? {
        OneOrMany::One(id) => vec![id],
        OneOrMany::Many(ids) => ids,
    };
    let ids = ids.into_iter().flatten();
    Ok(ids.filter_map(|id| u32::try_from(id).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    struct Config {
        hidden_size: i64,
        eps: Option<f64>,
        bias: Option<bool>,
        #[serde(default, deserialize_with = "token_id")]
        pad: Option<u32>,
        #[serde(default, deserialize_with = "token_ids")]
        eos: Vec<u32>,
    }

    #[test]
    fn fields_are_read_as_python_reads_them() {
        let read = |text: &str| fields::<Config>(text).unwrap();
        let config = |pad, eos: &[u32]| Config {
            hidden_size: 256,
            pad,
            eos: eos.to_vec(),
            ..Config::default()
        };
        assert_eq!(read(r#"{"hidden_size": 256.0}"#), config(None, &[]));
        let text = r#"{"hidden_size": 1, "hidden_size": 256, "bias": null, "pad": -1, "eos": null, "x": NaN}"#;
        assert_eq!(read(text), config(None, &[]));
        let text = r#"{"hidden_size": 256, "pad": 7, "eos": [2, -1, 3]}"#;
        assert_eq!(read(text), config(Some(7), &[2, 3]));
        let text = r#"{"hidden_size": 256, "eos": 4}"#;
        assert_eq!(read(text), config(None, &[4]));
    }

    #[test]
    fn a_wrong_field_is_named() {
        let check = |text: &str, expected: &str| {
            assert_eq!(fields::<Config>(text).unwrap_err(), expected);
        };
        check(
            r#"{"hidden_size": "wide"}"#,
            "hidden_size: invalid type: string \"wide\", expected a whole number",
        );
        check(
            r#"{"hidden_size": 1, "eps": NaN}"#,
            "eps: invalid type: string \"NaN\", expected a number",
        );
        check(
            r#"{"hidden_size": 1.5}"#,
            "hidden_size: invalid type: floating point `1.5`, expected a whole number",
        );
        check("{}", "missing field `hidden_size`");
        check(
            r#"{"hidden_size": 1, "eos": "x"}"#,
            "eos: expected the ID of a token, or a list of them",
        );
    }
}
