//! Names of the files of a GGUF model that llama.cpp's `gguf-split` has spread over several:
//! `NAME-00001-of-00003.gguf` to `NAME-00003-of-00003.gguf`.

use std::path::{Path, PathBuf};

/// What the name of one part says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartName<'a> {
    /// What the names of all parts begin with.
    pub stem: &'a str,
    /// The part, counted from 1.
    pub number: u32,
    /// Number of parts.
    pub count: u32,
}

impl<'a> PartName<'a> {
    /// Reads a file's name; none where it is not that of a part.
    pub fn parse(name: &'a str) -> Option<Self> {
        let (stem, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
        let (stem, number) = stem.rsplit_once('-')?;
        let read = |digits: &str| -> Option<u32> {
            let are_digits = digits.len() >= 5 && digits.bytes().all(|it| it.is_ascii_digit());
            digits.parse().ok().filter(|_| are_digits)
        };
        let (number, count) = (read(number)?, read(count)?);
        let is_part = !stem.is_empty() && (1..=count).contains(&number);
        is_part.then_some(Self {
            stem,
            number,
            count,
        })
    }

    /// The name of another part, counted from 1.
    pub fn of_part(&self, number: u32) -> String {
        format!("{}-{number:05}-of-{:05}.gguf", self.stem, self.count)
    }

    /// The names of all parts.
    pub fn all(&self) -> impl Iterator<Item = String> {
        (1..=self.count).map(|number| self.of_part(number))
    }
}

/// The files of the model at `path`, which is a folder, a file, or the first part of a split model:
/// all parts of that, and else `path` itself.
pub(crate) fn files_of_model(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().and_then(|name| name.to_str());
    match name.and_then(PartName::parse) {
        Some(part) if part.number == 1 && !path.is_dir() => {
            part.all().map(|name| path.with_file_name(name)).collect()
        }
        _ => vec![path.to_path_buf()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_parts() {
        let check = |name: &str, expected: Option<(&str, u32, u32)>| {
            let found = PartName::parse(name).map(|it| (it.stem, it.number, it.count));
            assert_eq!(found, expected, "{name}");
        };
        check("a-00001-of-00003.gguf", Some(("a", 1, 3)));
        check("a-b-00012-of-00012.gguf", Some(("a-b", 12, 12)));
        check("a-00004-of-00003.gguf", None);
        check("a-00000-of-00003.gguf", None);
        check("a-1-of-3.gguf", None);
        check("-00001-of-00003.gguf", None);
        check("a-00001-of-+0003.gguf", None);
        check("a-00001-of-99999999999.gguf", None);
        check("a.gguf", None);
        check("model-00001-of-00003.safetensors", None);
    }

    #[test]
    fn the_first_part_stands_for_all() {
        let files = |path: &str| files_of_model(Path::new(path));
        let all = ["m/a-00001-of-00002.gguf", "m/a-00002-of-00002.gguf"].map(PathBuf::from);
        assert_eq!(files("m/a-00001-of-00002.gguf"), all);
        assert_eq!(files("m/a-00002-of-00002.gguf"), all[1..]);
        assert_eq!(files("m/a.gguf"), [PathBuf::from("m/a.gguf")]);
    }
}
