//! Tokenizers that make much of little: normalizers that replace what a text has by longer texts,
//! one after the other, of which a few make gigabytes of a line, and templates that repeat a text.

use serde_json::Value;
use tokenizers::normalizers::replace::Replace;
use tokenizers::{ModelWrapper, NormalizedString, Normalizer, NormalizerWrapper, Tokenizer};

/// Bytes that a byte of a text becomes, at most.
const MOST: usize = 64;
/// Bytes that any text may get in addition.
const SLACK: usize = 1 << 12;
/// Bytes of what a text is replaced by, or gets put before or behind its parts, at most.
const LONGEST: usize = 1 << 12;
/// Bytes of a text that are tried at a time.
const PIECE: usize = 64;

/// What of a tokenizer no text could need, if anything.
pub(super) fn mistake(tokenizer: &Tokenizer) -> Option<String> {
    let texts = normalizers(tokenizer).into_iter().map(|it| match it {
        NormalizerWrapper::Replace(it) => ("normalizer", it.content.len()),
        NormalizerWrapper::Prepend(it) => ("normalizer", it.prepend.len()),
        _ => ("normalizer", 0),
    });
    let of_model = match tokenizer.get_model() {
        ModelWrapper::BPE(bpe) => [
            (
                "model.continuing_subword_prefix",
                &bpe.continuing_subword_prefix,
            ),
            ("model.end_of_word_suffix", &bpe.end_of_word_suffix),
        ]
        .map(|(part, text)| (part, text.as_ref().map_or(0, String::len)))
        .to_vec(),
        _ => Vec::new(),
    };
    let mut long = texts
        .chain(of_model)
        .filter(|(_, length)| *length > LONGEST);
    if let Some((part, length)) = long.next() {
        return Some(format!(
            "its {part} puts a text of {length} bytes into others, allowed: {LONGEST}"
        ));
    }
    let post_processor = serde_json::to_value(tokenizer.get_post_processor()).unwrap_or_default();
    let times = times_of_a_text(&post_processor);
    (times > 1).then(|| format!("its post_processor repeats a text {times} times, expected once"))
}

/// How often the templates of a post-processor have a text, one after the other.
fn times_of_a_text(post_processor: &Value) -> usize {
    let is_text = |piece: &&Value| piece.get("Sequence").is_some();
    let template = post_processor.get("single").and_then(Value::as_array);
    let own = template.map_or(1, |pieces| pieces.iter().filter(is_text).count());
    let parts = post_processor.get("processors").and_then(Value::as_array);
    let parts = parts.map(|parts| parts.iter().map(times_of_a_text));
    parts.map_or(own, |parts| parts.fold(own, usize::saturating_mul))
}

/// Refuses a text of which the normalizers make far more than any text needs. Those that cannot do
/// so are not tried.
///
/// # Errors
/// The first normalizer that does.
pub(super) fn check(tokenizer: &Tokenizer, text: &str) -> Result<(), String> {
    let steps = normalizers(tokenizer);
    let most: f64 = steps.iter().map(|it| ratio(it)).product();
    if most <= MOST as f64 {
        return Ok(());
    }
    let mut rest = text;
    while !rest.is_empty() {
        let mut end = PIECE.min(rest.len());
        while !rest.is_char_boundary(end) {
            end += 1;
        }
        try_piece(&steps, &rest[..end])?;
        rest = &rest[end..];
    }
    Ok(())
}

fn try_piece(steps: &[&NormalizerWrapper], piece: &str) -> Result<(), String> {
    let mut normalized = NormalizedString::from(piece);
    for (idx, step) in steps.iter().enumerate() {
        let done = step.normalize(&mut normalized);
        done.map_err(|cause| cause.to_string())?;
        let length = normalized.get().len();
        if length > MOST * piece.len() + SLACK {
            return Err(format!(
                "normalizer {} of the tokenizer makes {length} bytes of {}, expected no more than {MOST} of one",
                idx + 1,
                piece.len()
            ));
        }
    }
    Ok(())
}

/// The steps of a tokenizer's normalizer.
fn normalizers(tokenizer: &Tokenizer) -> Vec<&NormalizerWrapper> {
    let mut steps = Vec::new();
    let mut open: Vec<&NormalizerWrapper> = tokenizer.get_normalizer().into_iter().collect();
    while let Some(next) = open.pop() {
        match next {
            NormalizerWrapper::Sequence(parts) => open.extend(parts.as_ref().iter().rev()),
            step => steps.push(step),
        }
    }
    steps
}

/// How much longer a normalizer makes a text, at most.
fn ratio(normalizer: &NormalizerWrapper) -> f64 {
    match normalizer {
        NormalizerWrapper::Replace(it) => ratio_of(it),
        // Each part of a text between added tokens gets it.
        NormalizerWrapper::Prepend(it) => 1.0 + it.prepend.len() as f64,
        _ => 1.0,
    }
}

fn ratio_of(replace: &Replace) -> f64 {
    let content = replace.content.len() as f64;
    let described = serde_json::to_value(replace).unwrap_or_default();
    match described["pattern"].get("String").and_then(Value::as_str) {
        Some(pattern) if !pattern.is_empty() => (content / pattern.len() as f64).max(1.0),
        // A regular expression may match between any two characters.
        _ => 1.0 + content,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokenizers::PostProcessorWrapper;

    use super::*;

    fn tokenizer(normalizer: &Value, suffix: usize) -> Tokenizer {
        let described = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": normalizer,
            "pre_tokenizer": null, "post_processor": null, "decoder": null,
            "model": {"type": "BPE", "vocab": {"a": 0}, "merges": [], "unk_token": "a",
                      "end_of_word_suffix": "b".repeat(suffix)},
        });
        described.to_string().parse().unwrap()
    }

    fn doubling(times: usize) -> Value {
        let double = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
        json!({"type": "Sequence", "normalizers": vec![double; times]})
    }

    #[test]
    fn a_text_is_refused_before_it_fills_the_memory() {
        let sixty = tokenizer(&doubling(60), 0);
        let refused = check(&sixty, &"a".repeat(1000)).unwrap_err();
        let expected = "normalizer 8 of the tokenizer makes 16384 bytes of 64, expected no more than 64 of one";
        assert_eq!(refused, expected);
        assert_eq!(mistake(&sixty), None);
        // Nothing grows of a text without it, wherever it is.
        assert_eq!(check(&sixty, "The sun in June"), Ok(()));
        let late = format!("{}a{}", "b".repeat(999), "b".repeat(999));
        assert!(check(&sixty, &late).is_err());
        let usual = tokenizer(&doubling(6), 0);
        assert_eq!(check(&usual, &"a".repeat(1000)), Ok(()));
        let empty =
            json!({"type": "Replace", "pattern": {"Regex": ""}, "content": "b".repeat(4000)});
        assert!(check(&tokenizer(&empty, 0), &"a".repeat(100)).is_err());
    }

    #[test]
    fn a_text_is_there_once() {
        let template = |times: usize| {
            let text = json!({"Sequence": {"id": "A", "type_id": 0}});
            json!({"type": "TemplateProcessing", "single": vec![text; times], "pair": [], "special_tokens": {}})
        };
        assert_eq!(times_of_a_text(&template(1)), 1);
        assert_eq!(times_of_a_text(&Value::Null), 1);
        let several = json!({"type": "Sequence", "processors": [template(3), {"type": "ByteLevel"}, template(4)]});
        assert_eq!(times_of_a_text(&several), 12);
        let mut repeating = tokenizer(&Value::Null, 0);
        let processor = serde_json::from_value(template(3)).unwrap();
        repeating.with_post_processor(Some::<PostProcessorWrapper>(processor));
        let expected = "its post_processor repeats a text 3 times, expected once";
        assert_eq!(mistake(&repeating).as_deref(), Some(expected));
    }

    #[test]
    fn what_is_put_into_texts_is_short() {
        let prepend = json!({"type": "Prepend", "prepend": "a".repeat(5000)});
        let long = mistake(&tokenizer(&prepend, 0));
        let expected = "its normalizer puts a text of 5000 bytes into others, allowed: 4096";
        assert_eq!(long.as_deref(), Some(expected));
        let long = mistake(&tokenizer(&Value::Null, 4097)).unwrap();
        assert!(
            long.starts_with("its model.end_of_word_suffix puts a text of 4097 bytes"),
            "{long}"
        );
        assert_eq!(mistake(&tokenizer(&Value::Null, 4)), None);
    }
}
