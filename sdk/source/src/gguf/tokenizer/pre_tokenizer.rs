//! How byte-level tokenizers cut a text into words before they merge.
//!
//! Each regex in turn cuts every piece that the ones before left; matches and the text between them
//! become pieces. Checked against llama.cpp, whose contractions know no Unicode case folding
//! (`(?i:'s)` would also match `'ſ`).

/// The rules that a value of `tokenizer.ggml.pre` stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PreTokenizer {
    pub(super) regexes: &'static [&'static str],
    /// A word that is a token is that token, whatever the merges say.
    pub(super) whole_words: bool,
    /// Begins a text with a token unless the file says otherwise.
    pub(super) adds_bos: bool,
}

pub(super) const GPT_2: &str =
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA_3: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN_2: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{L}--[a-z]]*[\p{L}--[A-Z]]+|[^\r\n\p{L}\p{N}]?[\p{L}--[a-z]]+[\p{L}--[A-Z]]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const GPT_4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{L}--[a-z]]*[\p{L}--[A-Z]]+(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|[^\r\n\p{L}\p{N}]?[\p{L}--[a-z]]+[\p{L}--[A-Z]]*(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

struct Named {
    names: &'static [&'static str],
    rules: PreTokenizer,
}

const fn plain(regexes: &'static [&'static str]) -> PreTokenizer {
    PreTokenizer {
        regexes,
        whole_words: false,
        adds_bos: false,
    }
}

const KNOWN: &[Named] = &[
    Named {
        names: &["default"],
        rules: plain(&[r"[\p{P}\$\+<=>\^~\|]+", GPT_2, r"\p{N}+", "[0-9][0-9][0-9]"]),
    },
    Named {
        names: &[
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "exaone4",
        ],
        rules: plain(&[GPT_2]),
    },
    Named {
        names: &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
        ],
        rules: plain(&[r"\p{N}", GPT_2]),
    },
    Named {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral"],
        rules: PreTokenizer {
            regexes: &[LLAMA_3],
            whole_words: true,
            adds_bos: true,
        },
    },
    Named {
        names: &["dbrx", "smaug-bpe"],
        rules: plain(&[LLAMA_3]),
    },
    Named {
        names: &["qwen2", "stablelm2", "hunyuan", "deepseek-r1-qwen"],
        rules: plain(&[QWEN_2]),
    },
    Named {
        names: &["gpt-4o", "llama4"],
        rules: plain(&[GPT_4O]),
    },
    Named {
        names: &["tekken"],
        rules: PreTokenizer {
            regexes: &[TEKKEN],
            whole_words: true,
            adds_bos: true,
        },
    },
    Named {
        names: &["falcon"],
        rules: plain(&[r"[\p{P}\$\+<=>\^~\|`]+", GPT_2, "[0-9][0-9][0-9]"]),
    },
    Named {
        names: &["deepseek-coder"],
        rules: plain(&[
            r"[\r\n]",
            r"\s?\p{L}+",
            r"\s?\p{P}+",
            // White space beyond ASCII is in none of llama.cpp's ranges.
            r"[[一-龥ࠀ-一가-퟿]&&[^\s]]+",
            r"\p{N}",
        ]),
    },
];

impl PreTokenizer {
    /// The rules by their name in a GGUF file.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        KNOWN
            .iter()
            .find(|known| known.names.contains(&name))
            .map(|known| &known.rules)
    }

    /// The first name of the rules that cut by these regexes.
    pub(super) fn name_of(regexes: &[String], whole_words: bool) -> Option<&'static str> {
        let is_same = |known: &&Named| {
            let rules = &known.rules;
            rules.whole_words == whole_words
                && rules.regexes.len() == regexes.len()
                && (rules.regexes.iter().zip(regexes)).all(|(a, b)| plain_case(a) == plain_case(b))
        };
        KNOWN.iter().find(is_same).map(|known| known.names[0])
    }

    /// All names, for messages.
    pub(super) fn supported() -> String {
        let names: Vec<&str> = KNOWN
            .iter()
            .flat_map(|known| known.names)
            .copied()
            .collect();
        names.join(", ")
    }
}

/// Contractions are written in two ways that differ only for letters that fold to ASCII ones (`ſ`).
fn plain_case(regex: &str) -> String {
    regex.replace(
        "(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])",
    )
}
