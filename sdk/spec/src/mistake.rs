//! A mistake in a spec: where it is and what would be right.

use std::fmt;

use evopress_core::text::shortened;
use serde::{Deserialize, Serialize};

use crate::place::{Position, yaml_path};

/// One mistake of a spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mistake {
    /// The spec's file, as its user knows it.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// The place as a YAML path: `$.search.stages[0].tokens`.
    pub path: String,
    /// A whole sentence: what was found, what is allowed, and the nearest right name.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mistake {
            file,
            line,
            column,
            path,
            message,
        } = self;
        write!(f, "{file}:{line}:{column}: {path}: {message}")
    }
}

/// A mistake of a text that has no name yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at: Position,
    pub(crate) pointer: String,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn new(at: Position, pointer: &str, message: &str) -> Fault {
        Fault {
            at,
            pointer: pointer.to_owned(),
            message: message.to_owned(),
        }
    }

    pub(crate) fn in_file(self, file_name: &str) -> Mistake {
        Mistake {
            file: file_name.to_owned(),
            line: self.at.line,
            column: self.at.column,
            path: shortened(&yaml_path(&self.pointer)).into_owned(),
            message: crate::words::one_line(&self.message),
        }
    }
}
