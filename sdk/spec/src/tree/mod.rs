//! In: the text of a spec. Out: its values as JSON, where each of them stands, and the mistakes
//! that YAML itself finds. Unlike a typed reader it continues after a mistake wherever it can.

mod builder;

use std::collections::HashMap;

use saphyr_parser::Parser;
use serde_json::Value;

use crate::mistake::Fault;
use crate::place::{self, Position};
use crate::syntax;
use builder::Builder;

/// The values of a spec and their places.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) value: Value,
    places: HashMap<String, Place>,
    /// How numbers and truth values were typed.
    texts: HashMap<String, String>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    key: Option<Position>,
    value: Position,
}

impl Tree {
    /// Where the value stands, or the nearest thing around it that is in the text.
    pub(crate) fn value_at(&self, pointer: &str) -> Position {
        match self.places.get(pointer) {
            Some(place) => place.value,
            None => self.around(pointer),
        }
    }

    /// How a number or a truth value was typed.
    pub(crate) fn text_at(&self, pointer: &str) -> Option<&str> {
        self.texts.get(pointer).map(String::as_str)
    }

    /// Where the field's name stands, or the value where it has none.
    pub(crate) fn key_at(&self, pointer: &str) -> Position {
        match self.places.get(pointer) {
            Some(place) => place.key.unwrap_or(place.value),
            None => self.around(pointer),
        }
    }

    fn around(&self, pointer: &str) -> Position {
        place::split(pointer).map_or(Position::START, |(parent, _)| self.key_at(parent))
    }
}

/// Reads the first document of a text. There is no tree when nothing can be said about the rest.
pub(crate) fn read(text: &str) -> (Option<Tree>, Vec<Fault>) {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let outcome = match event {
            Ok((event, span)) => builder.take(event, span),
            Err(error) => Err(syntax::explain(&error, text)),
        };
        if let Err(fault) = outcome {
            builder.faults.push(fault);
            return (None, builder.faults);
        }
    }
    let tree = builder.root.map(|value| Tree {
        value,
        places: builder.places,
        texts: builder.texts,
    });
    (tree, builder.faults)
}
