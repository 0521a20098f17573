//! Against the textbook's numbers (`tests/fixtures/make_obs.py`), rounding to nearest, and itself
//! by other means.

use evopress_layerwise::Grid;
use evopress_obs::{Factor, Order, Path, batches};
use evopress_plugin::{
    CompressTask, Encoding, LayerTask, Method, PackedWeight, PluginError, TensorView, Variant,
    conformance::{Inputs, decode, random_values},
};
use safetensors::SafeTensors;

use crate::{compress::quantize, create, rounding::Key};

const FIXTURE: &[u8] = include_bytes!("../../../tests/fixtures/obs/obs.safetensors");
const ROWS: usize = 24;
const COLUMNS: usize = 64;

fn fixture_f32(name: &str) -> Vec<f32> {
    let tensors = SafeTensors::deserialize(FIXTURE).unwrap();
    let bytes = tensors.tensor(name).unwrap().data();
    let numbers = bytes
        .chunks(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
    numbers.collect()
}

fn variant(bits: u8, group_size: usize, symmetric: bool) -> Variant {
    Variant {
        name: format!("{bits}bit"),
        encoding: Encoding::Quantized {
            bits,
            group_size: group_size as u32,
            symmetric,
        },
    }
}

/// Layers that share a second moment, `weights [rows, columns]` each.
fn task<'a>(layers: &'a [(Vec<f32>, Vec<Variant>)], hessian: &'a [f32]) -> CompressTask<'a> {
    let columns = hessian.len().isqrt() as i64;
    let layer = |(weights, variants): &'a (Vec<f32>, Vec<Variant>)| LayerTask {
        name: "l",
        weight: TensorView::from_slice(weights, &[weights.len() as i64 / columns, columns])
            .unwrap(),
        variants,
    };
    CompressTask {
        num_tokens: 1,
        input_norms: None,
        hessian: Some(TensorView::from_slice(hessian, &[columns, columns]).unwrap()),
        layers: layers.iter().map(layer).collect(),
    }
}

fn decoded(packed: &PackedWeight, variant: &Variant, columns: usize) -> Vec<f32> {
    let rows = packed.parts[0].view().shape()[0] as usize;
    decode(packed, &variant.encoding, rows, columns).unwrap()
}

#[test]
fn weights_are_the_textbooks() {
    let weights = fixture_f32("weights");
    let cases = [
        ("row", variant(3, COLUMNS, false), "{}"),
        ("symmetric", variant(4, COLUMNS, true), "{}"),
        ("groups", variant(2, 16, false), "{}"),
        ("symmetric-groups", variant(3, 32, true), "{}"),
        (
            "activation-order",
            variant(3, 16, false),
            r#"{"activation_order": true}"#,
        ),
    ];
    for (name, variant, options) in cases {
        let layers = [(weights.clone(), vec![variant.clone()])];
        let hessian = fixture_f32("hessian");
        let packed = create(options)
            .unwrap()
            .compress(&task(&layers, &hessian))
            .unwrap();
        let found = decoded(&packed[0][0], &variant, COLUMNS);
        let expected = fixture_f32(&format!("gptq.{name}.weights"));
        let num_others = found
            .iter()
            .zip(&expected)
            .filter(|(found, expected)| (**found - **expected).abs() > 1e-4)
            .count();
        assert_eq!(
            num_others,
            0,
            "{name}: {num_others} of {} weights are others",
            ROWS * COLUMNS
        );
    }
}

/// All bit widths and group sizes of several layers at once, as one by one.
#[test]
fn a_shared_sweep_changes_nothing() {
    let columns = 96;
    let inputs = Inputs::random(columns, 3);
    let variants = vec![
        variant(2, 32, false),
        variant(4, 96, false),
        variant(3, 32, true),
        variant(6, 32, false),
    ];
    let layers: Vec<_> = [(5, 1), (300, 2), (24, 3)]
        .map(|(rows, seed)| (random_values(rows * columns, seed), variants.clone()))
        .into();
    for options in ["{}", r#"{"activation_order": true}"#] {
        let method = create(options).unwrap();
        let together = method.compress(&task(&layers, &inputs.hessian)).unwrap();
        for (layer, together) in layers.iter().zip(&together) {
            for (variant, together) in variants.iter().zip(together) {
                let alone = [(layer.0.clone(), vec![variant.clone()])];
                let alone = method.compress(&task(&alone, &inputs.hessian)).unwrap();
                assert_eq!(
                    decoded(together, variant, columns),
                    decoded(&alone[0][0], variant, columns),
                    "{variant:?}"
                );
            }
        }
    }
}

/// The tensor operations that a GPU does, here on the CPU.
#[test]
fn both_paths_agree() {
    let columns = 320;
    let inputs = Inputs::random(columns, 3);
    for (group_size, symmetric, order) in [
        (320, false, Order::Natural),
        (64, true, Order::Natural),
        (160, false, Order::Natural),
        (8, false, Order::Natural),
        (20, false, Order::FallingDiagonal),
    ] {
        let variants = vec![
            variant(3, group_size, symmetric),
            variant(5, group_size, symmetric),
        ];
        let layers = [(random_values(270 * columns, 1), variants.clone())];
        let task = task(&layers, &inputs.hessian);
        let factor = Factor::new(&task.hessian.unwrap(), 0.01, order, "l").unwrap();
        let quantize = |path| -> Result<Vec<Vec<f32>>, PluginError> {
            let mut packed = Vec::new();
            batches(
                &task,
                &factor,
                |_, _| (),
                |batch, ()| {
                    packed = quantize(
                        path,
                        &batch,
                        &factor,
                        Key {
                            group_size,
                            symmetric,
                        },
                        &[3, 5],
                    )?;
                    Ok(())
                },
            )?;
            Ok(packed
                .iter()
                .zip(&variants)
                .map(|(packed, variant)| decoded(packed, variant, columns))
                .collect())
        };
        let (slices, tensors) = (
            quantize(Path::Slices).unwrap(),
            quantize(Path::Tensors).unwrap(),
        );
        for (slices, tensors) in slices.iter().zip(&tensors) {
            // Sums in another order may tip a weight to the other side of a tie, and what follows
            // in its row.
            let num_others = slices
                .iter()
                .zip(tensors)
                .filter(|(a, b)| (*a - *b).abs() > 1e-4)
                .count();
            assert!(
                num_others * 100 < slices.len(),
                "groups of {group_size}: {num_others} of {}",
                slices.len()
            );
            let (a, b) = (
                inputs.output_error(&layers[0].0, slices),
                inputs.output_error(&layers[0].0, tensors),
            );
            assert!(
                (a - b).abs() < 0.01 * a,
                "groups of {group_size}: {a} and {b}"
            );
        }
    }
}

#[test]
fn independent_inputs_leave_rounding_to_nearest() {
    let columns = 64;
    let mut hessian = vec![0.0; columns * columns];
    hessian
        .iter_mut()
        .step_by(columns + 1)
        .for_each(|moment| *moment = 2.0);
    let weights = random_values(40 * columns, 9);
    for (bits, group_size, symmetric) in
        [(2, 64, false), (3, 16, true), (8, 1, false), (4, 32, false)]
    {
        let variant = variant(bits, group_size, symmetric);
        let layers = [(weights.clone(), vec![variant.clone()])];
        let packed = create("{}")
            .unwrap()
            .compress(&task(&layers, &hessian))
            .unwrap();
        let expected: Vec<f32> = weights
            .chunks(group_size)
            .flat_map(|group| {
                let grid = Grid::fit(group, bits, symmetric);
                group
                    .iter()
                    .map(move |&weight| grid.value(grid.code(weight, bits)))
            })
            .collect();
        assert_eq!(decoded(&packed[0][0], &variant, columns), expected);
    }
}

#[test]
fn outputs_are_closer_than_by_rounding_to_nearest() {
    let columns = 128;
    for seed in 0..4 {
        let inputs = Inputs::random(columns, seed);
        let weights = random_values(48 * columns, seed + 100);
        for bits in [2, 3, 4, 6] {
            for group_size in [32, 128] {
                let variant = variant(bits, group_size, false);
                let layers = [(weights.clone(), vec![variant.clone()])];
                let packed = create("{}")
                    .unwrap()
                    .compress(&task(&layers, &inputs.hessian))
                    .unwrap();
                let found =
                    inputs.output_error(&weights, &decoded(&packed[0][0], &variant, columns));
                let rounded: Vec<f32> = weights
                    .chunks(group_size)
                    .flat_map(|group| {
                        let grid = Grid::fit(group, bits, false);
                        group
                            .iter()
                            .map(move |&weight| grid.value(grid.code(weight, bits)))
                    })
                    .collect();
                let rounded = inputs.output_error(&weights, &rounded);
                assert!(
                    found < 0.8 * rounded,
                    "{bits} bits, groups of {group_size}: {found:e}, rounded {rounded:e}"
                );
            }
        }
    }
}

#[test]
fn odd_second_moments() {
    let columns = 32;
    let weights = random_values(8 * columns, 1);
    let layers = [(weights.clone(), vec![variant(4, 32, false)])];
    let compress = |hessian: &[f32]| create("{}").unwrap().compress(&task(&layers, hessian));
    // Nothing ever comes in: all weights are of dead inputs.
    let packed = compress(&vec![0.0; columns * columns]).unwrap();
    assert!(
        decoded(&packed[0][0], &layers[0].1[0], columns)
            .iter()
            .all(|weight| *weight == 0.0)
    );
    // One token, seen in f32: as singular as can be.
    let token = random_values(columns, 4);
    let singular: Vec<f32> = token
        .iter()
        .flat_map(|a| token.iter().map(move |b| a * b))
        .collect();
    assert!(compress(&singular).is_ok());
    let refuse = |change: &dyn Fn(&mut Vec<f32>)| {
        let mut hessian = Inputs::random(columns, 1).hessian;
        change(&mut hessian);
        compress(&hessian).unwrap_err().message
    };
    insta::assert_snapshot!(refuse(&|hessian| hessian[40] = f32::INFINITY), @"inputs of `l`: the second moment is not finite");
    insta::assert_snapshot!(
        refuse(&|hessian| { hessian[1] = 1e6; hessian[columns] = 1e6; }),
        @"inputs of `l`: the second moment is not positive definite, not even with a damping of 10 of its mean diagonal"
    );
}

#[test]
fn options_are_read() {
    let method = create(r#"{"activation_order": true, "damping": 0.1, "bits": [3, 8]}"#).unwrap();
    assert!(method.activation_order && method.damping == 0.1 && method.widths.bits == [8, 3]);
    insta::assert_snapshot!(create(r#"{"damping": -1}"#).map(|_| ()).unwrap_err(), @"`damping`: found -1; allowed are values from 0 to 1");
    insta::assert_snapshot!(
        create(r#"{"dampening": 1}"#).map(|_| ()).unwrap_err(),
        @"unknown field `dampening`, expected one of `bits`, `group_size`, `symmetric`, `activation_order`, `damping`, `calibration_bits` at line 1 column 12"
    );
}
