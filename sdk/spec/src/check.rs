//! In: a spec's text. Out: a plan, or all mistakes at once.

use std::collections::HashMap;

use evopress_core::text::lfs_pointer;

use crate::mistake::{Fault, Mistake};
use crate::place::Position;
use crate::resolve::Resolver;
use crate::roots::Roots;
use crate::structure::Repaired;
use crate::{Plan, resolve, rules, structure, syntax, tree, typed, yaml};

/// The largest file that is read as a spec, in bytes.
pub const MAX_SPEC_BYTES: usize = 1 << 20;
/// At most this many mistakes are reported; further ones are counted.
const MAX_MISTAKES: usize = 100;
/// At most this many mistakes of one kind are reported; further ones are counted.
const MAX_OF_A_KIND: usize = 5;

/// A spec with mistakes.
#[derive(Debug)]
pub struct Wrong {
    /// All mistakes, in the order of the text; at least one.
    pub mistakes: Vec<Mistake>,
    /// What can be told of the plan all the same; stand-ins take the places of what is wrong. None
    /// where the text as a whole cannot be read.
    pub plan: Option<Plan>,
    /// JSON pointers into the spec to what is wrong.
    pub unsure: Vec<String>,
}

/// Mistakes, and the plan as far as it goes.
#[derive(Default)]
struct Faulty {
    faults: Vec<Fault>,
    plan: Option<Plan>,
    unsure: Vec<String>,
}

/// Checks a spec: syntax, fields, types, ranges, files and the rules between fields. The worker
/// checks what only a plugin or the model itself can tell.
///
/// # Errors
/// All mistakes, in the order of the text; at least one.
pub fn check(text: &str, file_name: &str, roots: &Roots) -> Result<Plan, Vec<Mistake>> {
    find(text, roots).map_err(|faulty| in_order(faulty.faults, file_name))
}

/// [`check`] for a file's bytes, which may not even be text.
///
/// # Errors
/// All mistakes, in the order of the text; only one where the bytes are not UTF-8.
pub fn check_bytes(bytes: &[u8], file_name: &str, roots: &Roots) -> Result<Plan, Vec<Mistake>> {
    examine_bytes(bytes, file_name, roots).map_err(|wrong| wrong.mistakes)
}

/// [`check_bytes`], which says of a spec with mistakes what can be checked in it all the same.
///
/// # Errors
/// A spec with mistakes.
pub fn examine_bytes(bytes: &[u8], file_name: &str, roots: &Roots) -> Result<Plan, Wrong> {
    let found = match std::str::from_utf8(bytes) {
        Ok(text) => find(text, roots),
        Err(_) if bytes.len() > MAX_SPEC_BYTES => Err(Faulty::of(too_large(bytes.len()))),
        Err(error) => Err(Faulty::of(not_utf8(bytes, error.valid_up_to()))),
    };
    found.map_err(|faulty| Wrong {
        mistakes: in_order(faulty.faults, file_name),
        plan: faulty.plan,
        unsure: faulty.unsure,
    })
}

/// A mistake that was found elsewhere (by a plugin, by the worker) at a JSON pointer into the spec.
pub fn mistake_at(text: &str, file_name: &str, pointer: &str, message: &str) -> Mistake {
    let (line, column) = locate(text, pointer);
    Fault::new(Position { line, column }, pointer, message).in_file(file_name)
}

/// Line and column (counted from 1) of what a JSON pointer into the spec points to; of the nearest
/// thing around it when the text leaves it out.
pub fn locate(text: &str, pointer: &str) -> (usize, usize) {
    let (tree, _) = tree::read(without_mark(text));
    let at = tree.map_or(Position::START, |tree| match tree.value.pointer(pointer) {
        Some(value) if value.is_object() || value.is_array() => tree.key_at(pointer),
        _ => tree.value_at(pointer),
    });
    (at.line, at.column)
}

fn find(text: &str, roots: &Roots) -> Result<Plan, Faulty> {
    if text.len() > MAX_SPEC_BYTES {
        return Err(Faulty::of(too_large(text.len())));
    }
    if let Some(sentence) = lfs_pointer(text.as_bytes()) {
        return Err(Faulty::of(Fault::new(Position::START, "", sentence)));
    }
    let text = without_mark(text);
    let (tree, mut faults) = tree::read(text);
    faults.extend(syntax::invisible_characters(text));
    let Some(tree) = tree else {
        if faults.is_empty() {
            faults.push(empty());
        }
        return Err(Faulty::unreadable(faults));
    };
    if tree.value.is_null() {
        faults.push(empty());
        return Err(Faulty::unreadable(faults));
    }
    let Repaired { value, tainted } = structure::check(&tree, &mut faults);
    let spec = serde_json::from_value::<typed::Spec>(value);
    match spec {
        Ok(spec) => {
            let mut resolver = Resolver::new(roots, &tree, &tainted, &mut faults);
            let plan = resolve::resolve(&spec, &mut resolver);
            rules::check(&spec, &plan, &mut resolver);
            if faults.is_empty() {
                confirm(text, &spec).map(|()| plan).map_err(Faulty::of)
            } else {
                let pointers = faults.iter().map(|fault| fault.pointer.clone());
                let pointers = pointers.filter(|pointer| !pointer.is_empty());
                Err(Faulty {
                    unsure: pointers.chain(tainted.into_pointers()).collect(),
                    plan: Some(plan),
                    faults,
                })
            }
        }
        Err(error) if faults.is_empty() => Err(Faulty::of(Fault::new(
            Position::START,
            "",
            &format!("the pipeline cannot be read: {error}"),
        ))),
        Err(_) => Err(Faulty::unreadable(faults)),
    }
}

impl Faulty {
    fn of(fault: Fault) -> Self {
        Self::unreadable(vec![fault])
    }

    fn unreadable(faults: Vec<Fault>) -> Self {
        Self {
            faults,
            ..Self::default()
        }
    }
}

/// Reads the spec a second time with a typed reader, which must find the same values: where two
/// readers of YAML differ, a person may be misled, too.
fn confirm(text: &str, spec: &typed::Spec) -> Result<(), Fault> {
    match yaml::read(text) {
        Ok(read) if read == *spec => Ok(()),
        Ok(_) => {
            let message = "this YAML can be read in two ways: put texts in quotes and write numbers in decimal digits";
            Err(Fault::new(Position::START, "", message))
        }
        Err((at, message)) => Err(Fault::new(at, "", &message)),
    }
}

fn in_order(mut faults: Vec<Fault>, file_name: &str) -> Vec<Mistake> {
    faults.sort_by(|a, b| (a.at, &a.pointer).cmp(&(b.at, &b.pointer)));
    faults.dedup();
    let mut faults = first_of_each_kind(faults);
    let more = faults.len().saturating_sub(MAX_MISTAKES);
    faults.truncate(MAX_MISTAKES);
    if let Some(last) = faults.last_mut().filter(|_| more > 0) {
        last.message.push_str(&format!(
            "; and at least {more} more mistakes after this one"
        ));
    }
    faults
        .into_iter()
        .map(|fault| fault.in_file(file_name))
        .collect()
}

/// The first few faults of each kind; the last of them says how many more there are.
fn first_of_each_kind(faults: Vec<Fault>) -> Vec<Fault> {
    let mut kinds: HashMap<String, (usize, usize)> = HashMap::new();
    let mut kept: Vec<Fault> = Vec::new();
    for fault in faults {
        let (count, last) = kinds.entry(kind(&fault.message)).or_default();
        *count += 1;
        if *count <= MAX_OF_A_KIND {
            *last = kept.len();
            kept.push(fault);
        }
    }
    for (count, last) in kinds.into_values() {
        if count > MAX_OF_A_KIND {
            let more = count - MAX_OF_A_KIND;
            let message = &mut kept[last].message;
            message.push_str(&format!("; and {more} more like this after it"));
        }
    }
    kept
}

/// A message without what differs between two mistakes of one kind: names and numbers.
fn kind(message: &str) -> String {
    let parts = message.split(['`', '"']).step_by(2);
    let is_number = |c: char| c.is_ascii_digit() || c == '.' || c == '-';
    parts.map(|part| part.replace(is_number, "")).collect()
}

fn empty() -> Fault {
    let message =
        "the file is empty: a pipeline begins with `apiVersion: evopress/v1` and `kind: Pipeline`";
    Fault::new(Position::START, "", message)
}

fn too_large(bytes: usize) -> Fault {
    let message =
        format!("the file has {bytes} bytes, and a pipeline has at most {MAX_SPEC_BYTES}");
    Fault::new(Position::START, "", &message)
}

fn not_utf8(bytes: &[u8], valid: usize) -> Fault {
    let before = String::from_utf8_lossy(&bytes[..valid]);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
    let message = if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        "the file is UTF-16: save it as UTF-8".to_owned()
    } else {
        format!(
            "the byte 0x{:02X} here is not UTF-8: save the file as UTF-8",
            bytes.get(valid).copied().unwrap_or(0)
        )
    };
    Fault::new(Position { line, column }, "", &message)
}

/// The text without the byte order mark that some editors put first.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{FEFF}').unwrap_or(text)
}
