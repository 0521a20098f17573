//! Puts a tree together from the events of a YAML parser.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, ScalarStyle, Span};
use serde_json::{Map, Value};

use super::Place;
use crate::mistake::Fault;
use crate::place::{self, Position};
use crate::{words, yaml};

/// The deepest nesting that is read.
const MAX_DEPTH: usize = 32;
/// The largest number of values that is read, aliases written out.
const MAX_VALUES: usize = 100_000;

/// The tree so far.
#[derive(Default)]
pub(super) struct Builder {
    open: Vec<Frame>,
    pub(super) root: Option<Value>,
    num_documents: usize,
    num_values: usize,
    anchors: HashMap<usize, Anchored>,
    pub(super) places: HashMap<String, Place>,
    pub(super) texts: HashMap<String, String>,
    pub(super) faults: Vec<Fault>,
}

/// A collection that is not at its end yet.
struct Frame {
    pointer: String,
    at: Position,
    anchor: usize,
    values_before: usize,
    height: usize,
    items: Items,
}

enum Items {
    List(Vec<Value>),
    Fields {
        fields: Map<String, Value>,
        key: Option<Key>,
    },
}

/// A field's name that waits for its value.
struct Key {
    name: String,
    at: Position,
    again: bool,
}

/// What an anchor (`&name`) stands for.
#[derive(Clone)]
struct Anchored {
    value: Value,
    num_values: usize,
    height: usize,
}

impl Builder {
    /// Adds the next event to the tree. After an error nothing more can be read.
    pub(super) fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let at = position(span.start);
        match event {
            Event::DocumentStart(_) => {
                self.num_documents += 1;
                if self.num_documents == 2 {
                    let message = "a second document begins here, and a file holds one pipeline: put it into a file of its own";
                    self.faults.push(Fault::new(at, "", message));
                }
                Ok(())
            }
            _ if self.num_documents > 1 => Ok(()),
            Event::SequenceStart(anchor, tag) => {
                self.open(at, anchor, tag.is_some(), Items::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => self.open(
                at,
                anchor,
                tag.is_some(),
                Items::Fields {
                    fields: Map::new(),
                    key: None,
                },
            ),
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(at, tag.is_some());
                self.scalar(&text, style == ScalarStyle::Plain, at, anchor)
            }
            Event::Alias(anchor) => self.alias(at, anchor),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn open(
        &mut self,
        at: Position,
        anchor: usize,
        tagged: bool,
        items: Items,
    ) -> Result<(), Fault> {
        self.refuse_tag(at, tagged);
        let pointer = self.next_pointer(at)?;
        if self.open.len() >= MAX_DEPTH {
            return Err(Fault::new(
                at,
                &pointer,
                &format!("this is nested deeper than {MAX_DEPTH} levels"),
            ));
        }
        self.remember(&pointer, at);
        let values_before = self.num_values;
        self.open.push(Frame {
            pointer,
            at,
            anchor,
            values_before,
            height: 1,
            items,
        });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fault> {
        let Some(frame) = self.open.pop() else {
            return Ok(());
        };
        let value = match frame.items {
            Items::List(items) => Value::Array(items),
            Items::Fields { fields, .. } => Value::Object(fields),
        };
        let num_values = self.num_values - frame.values_before + 1;
        if frame.anchor > 0 {
            let anchored = Anchored {
                value: value.clone(),
                num_values,
                height: frame.height,
            };
            self.anchors.insert(frame.anchor, anchored);
        }
        self.put(value, 1, frame.height, frame.at)
    }

    fn scalar(
        &mut self,
        text: &str,
        plain: bool,
        at: Position,
        anchor: usize,
    ) -> Result<(), Fault> {
        if self.awaits_key() {
            if anchor > 0 {
                let value = Value::String(text.to_owned());
                self.anchors.insert(
                    anchor,
                    Anchored {
                        value,
                        num_values: 1,
                        height: 0,
                    },
                );
            }
            if plain && !yaml::plain_scalar(text).is_string() {
                self.refuse_name(text, at);
            }
            self.name_field(text, at);
            return Ok(());
        }
        if plain && yaml::is_not_finite(text) {
            let pointer = self.next_pointer(at)?;
            let message = format!("found {text}, which is no number that a pipeline can hold");
            self.faults.push(Fault::new(at, &pointer, &message));
        }
        let value = if plain {
            yaml::plain_scalar(text)
        } else {
            Value::String(text.to_owned())
        };
        if anchor > 0 {
            self.anchors.insert(
                anchor,
                Anchored {
                    value: value.clone(),
                    num_values: 1,
                    height: 0,
                },
            );
        }
        // The parser places a value that is not there at the next thing that is.
        let at = if plain && text.is_empty() {
            self.key_position().unwrap_or(at)
        } else {
            at
        };
        let pointer = self.next_pointer(at)?;
        self.remember(&pointer, at);
        if value.is_number() || value.is_boolean() {
            self.texts.insert(pointer, text.to_owned());
        }
        self.put(value, 1, 0, at)
    }

    fn alias(&mut self, at: Position, anchor: usize) -> Result<(), Fault> {
        let pointer = self
            .open
            .last()
            .map_or("", |frame| frame.pointer.as_str())
            .to_owned();
        let Some(anchored) = self.anchors.get(&anchor).cloned() else {
            return Err(Fault::new(
                at,
                &pointer,
                "this alias stands inside the very thing that it refers to",
            ));
        };
        if self.awaits_key() {
            let Value::String(name) = anchored.value else {
                return Err(Fault::new(at, &pointer, NAME_IS_TEXT));
            };
            self.name_field(&name, at);
            return Ok(());
        }
        if self.open.len() + anchored.height > MAX_DEPTH {
            return Err(Fault::new(
                at,
                &pointer,
                &format!("this is nested deeper than {MAX_DEPTH} levels"),
            ));
        }
        let pointer = self.next_pointer(at)?;
        self.remember(&pointer, at);
        self.put(anchored.value, anchored.num_values, anchored.height, at)
    }

    /// Puts a whole value into the collection that is open.
    fn put(
        &mut self,
        value: Value,
        num_values: usize,
        height: usize,
        at: Position,
    ) -> Result<(), Fault> {
        self.num_values += num_values;
        if self.num_values > MAX_VALUES {
            let message = format!(
                "the file holds more than {MAX_VALUES} values, aliases written out: that is no pipeline"
            );
            return Err(Fault::new(at, "", &message));
        }
        let Some(frame) = self.open.last_mut() else {
            self.root = Some(value);
            return Ok(());
        };
        frame.height = frame.height.max(height + 1);
        match &mut frame.items {
            Items::List(items) => items.push(value),
            Items::Fields { fields, key } => {
                if let Some(key) = key.take().filter(|key| !key.again) {
                    fields.insert(key.name, value);
                }
            }
        }
        Ok(())
    }

    fn name_field(&mut self, name: &str, at: Position) {
        let Some(Frame {
            pointer,
            items: Items::Fields { fields, key },
            ..
        }) = self.open.last_mut()
        else {
            return;
        };
        let again = fields.contains_key(name);
        if again {
            let field = place::child(pointer, name);
            let first = self
                .places
                .get(&field)
                .and_then(|place| place.key)
                .unwrap_or(Position::START);
            let message = format!(
                "`{}` is given twice; the first is on line {}",
                words::clip(name),
                first.line
            );
            self.faults.push(Fault::new(at, &field, &message));
        }
        *key = Some(Key {
            name: name.to_owned(),
            at,
            again,
        });
    }

    fn awaits_key(&self) -> bool {
        matches!(
            self.open.last(),
            Some(Frame {
                items: Items::Fields { key: None, .. },
                ..
            })
        )
    }

    fn key_position(&self) -> Option<Position> {
        match self.open.last() {
            Some(Frame {
                items: Items::Fields { key: Some(key), .. },
                ..
            }) => Some(key.at),
            _ => None,
        }
    }

    /// Where in the tree the value that begins now will be.
    fn next_pointer(&self, at: Position) -> Result<String, Fault> {
        match self.open.last() {
            None => Ok(String::new()),
            Some(Frame {
                pointer,
                items: Items::List(items),
                ..
            }) => Ok(place::child(pointer, &items.len().to_string())),
            Some(Frame {
                pointer,
                items: Items::Fields { key: Some(key), .. },
                ..
            }) => Ok(place::child(pointer, &key.name)),
            Some(Frame { pointer, .. }) => Err(Fault::new(at, pointer, NAME_IS_TEXT)),
        }
    }

    fn remember(&mut self, pointer: &str, at: Position) {
        let key = self.key_position();
        self.places
            .entry(pointer.to_owned())
            .or_insert(Place { key, value: at });
    }

    fn refuse_name(&mut self, name: &str, at: Position) {
        let pointer = self.open.last().map_or("", |frame| frame.pointer.as_str());
        let message = match name {
            "" => "the name of a field is missing before this colon".to_owned(),
            _ => format!(
                "`{}` is not text, and the name of a field is: put it in quotes",
                words::clip(name)
            ),
        };
        self.faults
            .push(Fault::new(at, &place::child(pointer, name), &message));
    }

    fn refuse_tag(&mut self, at: Position, tagged: bool) {
        if tagged {
            let holder = |frame: &Frame| frame.pointer.clone();
            let pointer = self.next_pointer(at);
            let pointer =
                pointer.unwrap_or_else(|_| self.open.last().map(holder).unwrap_or_default());
            self.faults.push(Fault::new(at, &pointer, NO_TAGS));
        }
    }
}

const NO_TAGS: &str = "a YAML tag (a word after `!`) stands here, and specs have none: quote the text if it begins with `!`";
const NAME_IS_TEXT: &str =
    "a list or a mapping stands where the name of a field belongs: a name is text";

fn position(mark: Marker) -> Position {
    Position {
        line: mark.line().max(1),
        column: mark.col() + 1,
    }
}
