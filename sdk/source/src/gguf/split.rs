//! Models that llama.cpp's `gguf-split` has spread over several files.
//!
//! `NAME-00001-of-00003.gguf` has the metadata, each file some of the tensors under a header of its
//! own, which says which part of how many it is and how many tensors there are in all.

use std::path::Path;

use evopress_core::PartName;

use super::metadata::Metadata;
use super::part::Part;
use crate::error::SourceError;

/// The part that a file is, counted from 0.
const NO: &str = "split.no";
/// Number of parts.
const COUNT: &str = "split.count";
/// Number of tensors of all parts.
const TENSORS: &str = "split.tensors.count";

/// All parts of the model whose first part is at `path`; only that where the model is in one file.
pub(super) fn open(path: &Path) -> Result<Vec<Part>, SourceError> {
    let first = Part::open(path)?;
    let metadata = metadata(&first);
    let Some(count @ 2..) = metadata.optional_i64(COUNT)? else {
        return Ok(vec![first]);
    };
    let number = metadata.optional_i64(NO)?.unwrap_or(0).saturating_add(1);
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.and_then(PartName::parse);
    let name = name.filter(|it| (i64::from(it.number), i64::from(it.count)) == (number, count));
    let Some(name) = name else {
        return Err(metadata.malformed(format!(
            "this is part {number} of {count} of a split model, but its name does not end in \
             -{number:05}-of-{count:05}.gguf, so the other parts cannot be found"
        )));
    };
    if number != 1 {
        let first = path.with_file_name(name.of_part(1));
        return Err(metadata.malformed(format!(
            "this is part {number} of {count} of a split model, name its first part: {}",
            first.display()
        )));
    }
    let expected = metadata.optional_i64(TENSORS)?;
    let mut parts = vec![first];
    for number in 2..=name.count {
        parts.push(open_part(path, &name, number)?);
    }
    let found: usize = parts.iter().map(|part| part.header.tensors.len()).sum();
    match expected {
        Some(expected) if expected != found as i64 => Err(parts[0].map.malformed(format!(
            "the {count} parts of the model have {found} tensors, {TENSORS} is {expected}"
        ))),
        _ => Ok(parts),
    }
}

/// Another part than the first, which is at `first`; parts are counted from 1.
fn open_part(first: &Path, name: &PartName<'_>, number: u32) -> Result<Part, SourceError> {
    let (path, count) = (first.with_file_name(name.of_part(number)), name.count);
    if !path.exists() {
        let what = format!(
            "part {number} of {count} is missing: {} is not there",
            path.display()
        );
        return Err(SourceError::malformed(first, what));
    }
    let part = Part::open(&path)?;
    let metadata = metadata(&part);
    let found = (metadata.optional_i64(NO)?, metadata.optional_i64(COUNT)?);
    let expected = (i64::from(number) - 1, i64::from(count));
    if found == (Some(expected.0), Some(expected.1)) {
        return Ok(part);
    }
    let show = |number: Option<i64>| number.map_or("absent".into(), |number| number.to_string());
    Err(metadata.malformed(format!(
        "{NO} is {} and {COUNT} {}, expected {} and {} by the file's name",
        show(found.0),
        show(found.1),
        expected.0,
        expected.1
    )))
}

fn metadata(part: &Part) -> Metadata<'_> {
    Metadata {
        file: &part.map.path,
        entries: &part.header.metadata,
    }
}
