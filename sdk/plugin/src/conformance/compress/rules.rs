//! What is asked of the weights that a method returns.

use super::super::Findings;
use super::case::{Case, Change, cases};
use super::decode::{bytes_of, decode};
use crate::{DType, Encoding, Method, ModelOutline, PackedWeight, PluginError, Statistics, Unit};

/// The largest share of the outputs' energy that a layer may lose at its level of highest cost.
const MAX_ERROR: f64 = 0.3;

/// Rules for [`Method::compress`], on the first block's layers.
pub(crate) fn check_compress(
    findings: &mut Findings,
    place: &str,
    method: &dyn Method,
    model: &ModelOutline,
    units: &[Unit],
) {
    for case in cases(model, units) {
        let place = format!("{place}, layers that read what `{}` reads", case.names[0]);
        let packed = match case.compress(method, &Change::default()) {
            Ok(packed) => packed,
            Err(error) => {
                findings.add(format!("{place}: {error}"));
                continue;
            }
        };
        check_same(
            findings,
            &place,
            &packed,
            case.compress(method, &Change::default()),
        );
        check_errors(findings, &place, &case, &packed);
        check_refusals(findings, &place, &case, method);
    }
}

fn check_same(
    findings: &mut Findings,
    place: &str,
    packed: &[Vec<PackedWeight>],
    again: Result<Vec<Vec<PackedWeight>>, PluginError>,
) {
    let bytes = |packed: &[Vec<PackedWeight>]| -> Result<Vec<Vec<u8>>, PluginError> {
        let parts = packed.iter().flatten().flat_map(|weight| &weight.parts);
        parts.map(bytes_of).collect()
    };
    let is_same = again.is_ok_and(|again| bytes(&again) == bytes(packed));
    findings.require(is_same, || {
        format!("{place}: other weights the second time")
    });
}

/// Every variant can be decoded. The one of highest cost is not far off, and no worse than the one
/// of lowest cost.
fn check_errors(findings: &mut Findings, place: &str, case: &Case, packed: &[Vec<PackedWeight>]) {
    for (idx, of_layer) in packed.iter().enumerate() {
        let decoded = of_layer
            .iter()
            .zip(&case.variants[idx])
            .map(|(packed, variant)| {
                decode(packed, &variant.encoding, case.rows[idx], case.columns)
                    .map(|decoded| case.inputs.output_error(&case.weights[idx], &decoded))
                    .map_err(|error| {
                        format!(
                            "{place}, `{}`, variant `{}`: {error}",
                            case.names[idx], variant.name
                        )
                    })
            });
        let errors: Vec<f64> = match decoded.collect::<Result<_, _>>() {
            Ok(errors) => errors,
            Err(finding) => {
                findings.add(finding);
                continue;
            }
        };
        let (Some(highest), Some(lowest)) = (errors.first(), errors.last()) else {
            continue;
        };
        findings.require(*highest <= MAX_ERROR, || {
            format!("{place}, `{}`: {highest:.3} of the outputs is lost at the level of highest cost, more than {MAX_ERROR}", case.names[idx])
        });
        findings.require(highest <= lowest, || {
            format!("{place}, `{}`: {highest:.3} of the outputs is lost at the level of highest cost, but {lowest:.3} at the one of lowest cost", case.names[idx])
        });
    }
}

fn check_refusals(findings: &mut Findings, place: &str, case: &Case, method: &dyn Method) {
    let foreign = match case.variants[0][0].encoding {
        Encoding::Quantized { .. } | Encoding::Ggml { .. } => Encoding::Sparse {
            num_values: case.columns as u64,
            dtype: DType::F32,
        },
        Encoding::Sparse { .. } => Encoding::Quantized {
            bits: 4,
            group_size: case.columns as u32,
            symmetric: false,
        },
    };
    let mut changes = vec![
        (
            "a weight that is not a number",
            Change {
                odd_weight: Some(f32::NAN),
                ..Change::default()
            },
        ),
        (
            "an infinite weight",
            Change {
                odd_weight: Some(f32::INFINITY),
                ..Change::default()
            },
        ),
        (
            "an encoding that is not its own",
            Change {
                encoding: Some(foreign),
                ..Change::default()
            },
        ),
    ];
    if method.statistics() != Statistics::None {
        changes.extend([
            (
                "no statistics",
                Change {
                    no_statistics: true,
                    ..Change::default()
                },
            ),
            (
                "statistics that are not numbers",
                Change {
                    odd_statistics: Some(f32::NAN),
                    ..Change::default()
                },
            ),
            (
                "infinite statistics",
                Change {
                    odd_statistics: Some(f32::INFINITY),
                    ..Change::default()
                },
            ),
            (
                "statistics of fewer features",
                Change {
                    fewer_features: true,
                    ..Change::default()
                },
            ),
        ]);
    }
    for (what, change) in changes {
        match case.compress(method, &change) {
            Ok(_) => findings.add(format!("{place}: {what}: accepted")),
            Err(error) => {
                findings.require(!error.message.contains(" panicked: "), || {
                    format!("{place}: {what}: {error}")
                });
                let names_one = case
                    .names
                    .iter()
                    .any(|name| error.message.contains(name.as_str()));
                findings.require(names_one, || {
                    format!("{place}: {what}: the refusal names no layer: {error}")
                });
            }
        }
    }
}
