//! A metadata value of a GGUF file.

/// Integers are widened, so that a reader need not know which width a writer chose.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    String(String),
    Strings(Vec<String>),
    Signeds(Vec<i64>),
    Unsigneds(Vec<u64>),
    Floats(Vec<f64>),
    Bools(Vec<bool>),
}

impl Value {
    pub(crate) fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Unsigned(number) => i64::try_from(*number).ok(),
            Self::Signed(number) => Some(*number),
            _ => None,
        }
    }

    pub(crate) fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Float(number) => Some(*number),
            Self::Unsigned(number) => Some(*number as f64),
            Self::Signed(number) => Some(*number as f64),
            _ => None,
        }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The integers of an array, or of a scalar as an array of one.
    pub(crate) fn to_i64s(&self) -> Option<Vec<i64>> {
        match self {
            Self::Signeds(numbers) => Some(numbers.clone()),
            Self::Unsigneds(numbers) => numbers
                .iter()
                .map(|&number| i64::try_from(number).ok())
                .collect(),
            _ => Some(vec![self.as_i64()?]),
        }
    }

    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Unsigned(number) => number.to_string(),
            Self::Signed(number) => number.to_string(),
            Self::Float(number) => number.to_string(),
            Self::Bool(flag) => flag.to_string(),
            Self::String(text) => format!("{text:?}"),
            Self::Strings(array) => format!("an array of {} strings", array.len()),
            Self::Signeds(array) => format!("an array of {} integers", array.len()),
            Self::Unsigneds(array) => format!("an array of {} integers", array.len()),
            Self::Floats(array) => format!("an array of {} floats", array.len()),
            Self::Bools(array) => format!("an array of {} booleans", array.len()),
        }
    }
}
