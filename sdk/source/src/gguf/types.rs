//! Names of ggml's types, for messages.

use evopress_plugin::GgmlType;

/// The types that are read.
pub(super) const SUPPORTED: &str = "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, \
     IQ4_NL, IQ4_XS";

/// Name of a type by ggml's number, as far as we know it.
pub(super) fn type_name(type_id: u32) -> String {
    if let Some(known) = GgmlType::from_id(type_id) {
        return known.name().into();
    }
    let name = match type_id {
        9 => "Q8_1",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        21 => "IQ3_S",
        22 => "IQ2_S",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        40 => "NVFP4",
        41 => "Q1_0",
        _ => return format!("number {type_id}"),
    };
    name.into()
}
