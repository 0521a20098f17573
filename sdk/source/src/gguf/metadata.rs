//! Metadata of a GGUF file by key, with messages that name file and key.

use std::collections::BTreeMap;
use std::path::Path;

use super::value::Value;
use crate::error::SourceError;

/// The metadata, and the file's name for messages.
pub(crate) struct Metadata<'a> {
    pub(crate) file: &'a Path,
    pub(crate) entries: &'a BTreeMap<String, Value>,
}

impl Metadata<'_> {
    pub(crate) fn malformed(&self, what: String) -> SourceError {
        SourceError::malformed(self.file, what)
    }

    pub(crate) fn tokenizer(&self, what: impl Into<String>) -> SourceError {
        SourceError::Tokenizer {
            file: self.file.to_path_buf(),
            what: what.into(),
        }
    }

    pub(crate) fn unsupported(&self, what: &str, found: String, supported: &str) -> SourceError {
        SourceError::Unsupported {
            file: self.file.to_path_buf(),
            what: what.into(),
            found,
            supported: supported.into(),
        }
    }

    fn optional<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, SourceError> {
        match self.entries.get(key) {
            None => Ok(None),
            Some(value) => match read(value) {
                Some(number) => Ok(Some(number)),
                None => Err(self.malformed(format!(
                    "metadata {key} is {}, expected {expected}",
                    value.describe()
                ))),
            },
        }
    }

    pub(crate) fn optional_str(&self, key: &str) -> Result<Option<&str>, SourceError> {
        self.optional(key, "a string", Value::as_str)
    }

    /// The ID of a token; none where it is negative or no number of 32 bits.
    pub(crate) fn optional_id(&self, key: &str) -> Result<Option<u32>, SourceError> {
        let id = self.optional(key, "a token id", |value| match value {
            Value::Unsigned(id) => Some(u32::try_from(*id).ok()),
            Value::Signed(id) => Some(u32::try_from(*id).ok()),
            _ => None,
        })?;
        Ok(id.flatten())
    }

    pub(crate) fn optional_bool(&self, key: &str) -> Result<Option<bool>, SourceError> {
        self.optional(key, "a boolean", |value| match value {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        })
    }

    pub(crate) fn optional_f64(&self, key: &str) -> Result<Option<f64>, SourceError> {
        self.optional(key, "a number", Value::as_f64)
    }

    pub(crate) fn optional_i64(&self, key: &str) -> Result<Option<i64>, SourceError> {
        self.optional(key, "an integer", Value::as_i64)
    }

    /// An integer that may be given once, or once per block and then the same for all.
    pub(crate) fn uniform(&self, key: &str) -> Result<Option<i64>, SourceError> {
        let Some(numbers) = self.optional(key, "an integer or one per block", Value::to_i64s)?
        else {
            return Ok(None);
        };
        match numbers.split_first() {
            None => Err(self.malformed(format!("metadata {key} is an empty array"))),
            Some((first, rest)) if rest.iter().all(|number| number == first) => Ok(Some(*first)),
            Some(_) => Err(self.unsupported(key, format!("{numbers:?}"), "the same in all blocks")),
        }
    }

    /// A flag for each block: as an array, or as the period of blocks of which the last has it not;
    /// `period` where there is no key.
    pub(crate) fn by_block(
        &self,
        key: &str,
        num_blocks: usize,
        period: usize,
    ) -> Result<Vec<bool>, SourceError> {
        let by_period = |period: usize| {
            let is_last = move |idx: usize| period != 0 && idx % period == period - 1;
            (0..num_blocks).map(|idx| !is_last(idx)).collect()
        };
        let of_blocks = |flags: Vec<bool>| match flags.len() == num_blocks {
            true => Ok(flags),
            false => Err(self.malformed(format!(
                "metadata {key} has {} entries, the model has {num_blocks} blocks",
                flags.len()
            ))),
        };
        match self.entries.get(key) {
            None => Ok(by_period(period)),
            Some(Value::Bools(flags)) => of_blocks(flags.clone()),
            Some(Value::Signeds(numbers)) => of_blocks(numbers.iter().map(|it| *it != 0).collect()),
            Some(Value::Unsigneds(numbers)) => {
                of_blocks(numbers.iter().map(|it| *it != 0).collect())
            }
            Some(value) => match value.as_i64().and_then(|it| usize::try_from(it).ok()) {
                Some(period) => Ok(by_period(period)),
                None => Err(self.malformed(format!(
                    "metadata {key} is {}, expected a period or a flag for each block",
                    value.describe()
                ))),
            },
        }
    }

    pub(crate) fn need<T>(&self, key: &str, value: Option<T>) -> Result<T, SourceError> {
        value.ok_or_else(|| self.malformed(format!("metadata {key} is missing")))
    }

    /// `general.architecture`.
    pub(crate) fn architecture(&self) -> Result<&str, SourceError> {
        const KEY: &str = "general.architecture";
        self.need(KEY, self.optional_str(KEY)?)
    }
}
