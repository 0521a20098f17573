//! The YAML at the head of a model card. What comes from a model is quoted, and a licence is one of
//! the identifiers that the Hugging Face Hub knows: it refuses a commit with another.

use std::fmt::Write;

/// The Hub's identifiers of licences.
const LICENCES: [&str; 78] = [
    "afl-3.0",
    "agpl-3.0",
    "apache-2.0",
    "apple-amlr",
    "apple-ascl",
    "artistic-2.0",
    "bigcode-openrail-m",
    "bigscience-bloom-rail-1.0",
    "bigscience-openrail-m",
    "bsd",
    "bsd-2-clause",
    "bsd-3-clause",
    "bsd-3-clause-clear",
    "bsl-1.0",
    "c-uda",
    "cc",
    "cc-by-2.0",
    "cc-by-2.5",
    "cc-by-3.0",
    "cc-by-4.0",
    "cc-by-nc-2.0",
    "cc-by-nc-3.0",
    "cc-by-nc-4.0",
    "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0",
    "cc-by-nc-sa-2.0",
    "cc-by-nc-sa-3.0",
    "cc-by-nc-sa-4.0",
    "cc-by-nd-4.0",
    "cc-by-sa-3.0",
    "cc-by-sa-4.0",
    "cc0-1.0",
    "cdla-permissive-1.0",
    "cdla-permissive-2.0",
    "cdla-sharing-1.0",
    "creativeml-openrail-m",
    "deepfloyd-if-license",
    "ecl-2.0",
    "epl-1.0",
    "epl-2.0",
    "etalab-2.0",
    "eupl-1.1",
    "eupl-1.2",
    "fair-noncommercial-research-license",
    "gemma",
    "gfdl",
    "gpl",
    "gpl-2.0",
    "gpl-3.0",
    "h-research",
    "intel-research",
    "isc",
    "lgpl",
    "lgpl-2.1",
    "lgpl-3.0",
    "lgpl-lr",
    "llama2",
    "llama3",
    "llama3.1",
    "llama3.2",
    "llama3.3",
    "llama4",
    "lppl-1.3c",
    "mit",
    "mpl-2.0",
    "ms-pl",
    "ncsa",
    "odbl",
    "odc-by",
    "ofl-1.1",
    "openmdw-1.0",
    "openrail",
    "openrail++",
    "osl-3.0",
    "pddl",
    "postgresql",
    "unlicense",
    "wtfpl",
];
/// Identifiers that need no version, or stand for what SPDX tells apart.
const ALSO: [(&str, &str); 5] = [
    ("odbl-1.0", "odbl"),
    ("odc-by-1.0", "odc-by"),
    ("pddl-1.0", "pddl"),
    ("zlib", "zlib"),
    ("unknown", "unknown"),
];

/// The front matter, with the lines around it. `licence` is what the model says of it.
pub(super) fn front_matter(library: &str, licence: Option<&str>, tags: &str) -> String {
    let mut lines = format!("---\nlibrary_name: {library}\n");
    if let Some(licence) = licence.map(str::trim).filter(|it| !it.is_empty()) {
        match identifier(licence) {
            Some(known) => {
                let _ = writeln!(lines, "license: {known}");
            }
            None => {
                lines.push_str("license: other\n");
                let _ = writeln!(lines, "license_name: {:?}", name(licence));
            }
        }
    }
    let _ = writeln!(lines, "tags: [{tags}]\n---\n");
    lines
}

/// The Hub's identifier for a licence of SPDX, if it knows it.
fn identifier(licence: &str) -> Option<&'static str> {
    let lower = licence.to_ascii_lowercase();
    let plain = lower
        .strip_suffix("-only")
        .or_else(|| lower.strip_suffix("-or-later"))
        .unwrap_or(&lower);
    let also = ALSO.iter().find(|(name, _)| *name == plain);
    let known = || LICENCES.iter().find(|name| **name == plain).copied();
    also.map(|(_, known)| *known).or_else(known)
}

/// A licence's name as the Hub takes it: lower-case letters, digits and dots, with hyphens between.
fn name(licence: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '.';
    let lower = licence.to_ascii_lowercase();
    let words = lower
        .split(|c: char| !is_part(c))
        .map(|it| it.trim_matches('.'));
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    match words.is_empty() {
        true => "other".to_owned(),
        false => words.join("-").chars().take(80).collect(),
    }
}

/// A text of a model as it may stand in Markdown: on one line, and without a meaning there.
pub(super) fn in_markdown(text: &str) -> String {
    const MAX: usize = 200;
    let mut plain = String::new();
    for c in text.trim().chars().take(MAX) {
        match c {
            c if c.is_control() => plain.push(' '),
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|' => plain.extend(['\\', c]),
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn licence(text: &str) -> String {
        let head = front_matter("gguf", Some(text), "evopress");
        let lines = head.lines().filter(|line| line.starts_with("license"));
        lines.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn licences_are_the_hubs() {
        let check = |text: &str, expected: &str| assert_eq!(licence(text), expected, "{text}");
        check("apache-2.0", "license: apache-2.0");
        check("Apache-2.0", "license: apache-2.0");
        check(" MIT\n", "license: mit");
        check("GPL-3.0-or-later", "license: gpl-3.0");
        check("ODbL-1.0", "license: odbl");
        check("llama3.2", "license: llama3.2");
        check(
            "MIT OR Apache-2.0",
            r#"license: other; license_name: "mit-or-apache-2.0""#,
        );
        check(
            "other: see LICENSE file",
            r#"license: other; license_name: "other-see-license-file""#,
        );
        check("no", r#"license: other; license_name: "no""#);
        check("a\n---\nb: \"c", r#"license: other; license_name: "a-b-c""#);
        check("…", r#"license: other; license_name: "other""#);
        check("", "");
    }

    #[test]
    fn the_front_matter_is_yaml() {
        let expected = "---\nlibrary_name: gguf\nlicense: mit\ntags: [evopress]\n---\n\n";
        assert_eq!(front_matter("gguf", Some("mit"), "evopress"), expected);
        assert!(!front_matter("gguf", None, "evopress").contains("license"));
    }

    #[test]
    fn names_have_no_meaning_in_markdown() {
        assert_eq!(in_markdown("Tiny *1*\n# x_y"), r"Tiny \*1\* \# x\_y");
        assert_eq!(in_markdown("SmolLM2 1.7B"), "SmolLM2 1.7B");
    }
}
