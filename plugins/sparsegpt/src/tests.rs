//! Against the textbook's numbers (`tests/fixtures/make_obs.py`), simpler methods, and itself by
//! other means.

use evopress_layerwise::{Removal, prune};
use evopress_obs::{Factor, Order, Path, batches};
use evopress_plugin::{
    CompressTask, DType, Encoding, LayerTask, Method, PackedWeight, PluginError, TensorView,
    Variant,
    conformance::{Inputs, decode, random_values},
    half::bf16,
};
use safetensors::SafeTensors;

use crate::{compress::remove, create, removing::Key};

const FIXTURE: &[u8] = include_bytes!("../../../tests/fixtures/obs/obs.safetensors");

fn fixture_f32(name: &str) -> Vec<f32> {
    let tensors = SafeTensors::deserialize(FIXTURE).unwrap();
    let bytes = tensors.tensor(name).unwrap().data();
    let numbers = bytes
        .chunks(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
    numbers.collect()
}

fn variant(name: &str, num_values: usize, dtype: DType) -> Variant {
    Variant {
        name: name.to_owned(),
        encoding: Encoding::Sparse {
            num_values: num_values as u64,
            dtype,
        },
    }
}

/// Layers that share a second moment, `weights [rows, columns]` each.
fn task<'a>(layers: &'a [(Vec<f32>, Vec<Variant>)], inputs: &'a [f32]) -> CompressTask<'a> {
    let columns = inputs.len().isqrt() as i64;
    let layer = |(weights, variants): &'a (Vec<f32>, Vec<Variant>)| LayerTask {
        name: "l",
        weight: TensorView::from_slice(weights, &[weights.len() as i64 / columns, columns])
            .unwrap(),
        variants,
    };
    CompressTask {
        num_tokens: 1,
        input_norms: None,
        hessian: Some(TensorView::from_slice(inputs, &[columns, columns]).unwrap()),
        layers: layers.iter().map(layer).collect(),
    }
}

fn decoded(packed: &PackedWeight, variant: &Variant, columns: usize) -> Vec<f32> {
    let rows = packed.parts[0].view().shape()[0] as usize;
    decode(packed, &variant.encoding, rows, columns).unwrap()
}

#[test]
fn weights_are_the_textbooks() {
    let (weights, hessian) = (fixture_f32("weights"), fixture_f32("hessian"));
    let all = weights.len();
    let cases = [
        (
            "half",
            variant("0.5000", all - 768, DType::F32),
            r#"{"block_size": 32}"#,
        ),
        (
            "most",
            variant("0.7233", all - 1111, DType::F32),
            r#"{"block_size": 64}"#,
        ),
        ("2of4", variant("2of4", all / 2, DType::F32), "{}"),
        ("4of8", variant("4of8", all / 2, DType::F32), "{}"),
    ];
    for (name, variant, options) in cases {
        let layers = [(weights.clone(), vec![variant.clone()])];
        let packed = create(options)
            .unwrap()
            .compress(&task(&layers, &hessian))
            .unwrap();
        let found = decoded(&packed[0][0], &variant, 64);
        let expected = fixture_f32(&format!("sparsegpt.{name}.weights"));
        let num_others = found
            .iter()
            .zip(&expected)
            .filter(|(found, expected)| (**found - **expected).abs() > 1e-4)
            .count();
        assert_eq!(
            num_others, 0,
            "{name}: {num_others} of {all} weights are others"
        );
    }
}

#[test]
fn nothing_removed_is_nothing_changed() {
    let weights = fixture_f32("weights");
    for dtype in [DType::F32, DType::Bf16] {
        let variant = variant("0.0000", weights.len(), dtype);
        let layers = [(weights.clone(), vec![variant.clone()])];
        let hessian = fixture_f32("hessian");
        let packed = create("{}")
            .unwrap()
            .compress(&task(&layers, &hessian))
            .unwrap();
        let found = decoded(&packed[0][0], &variant, 64);
        match dtype {
            DType::F32 => assert_eq!(found, weights),
            // What rounding to bf16 changes is made up for, too: the outputs are closer than with
            // every weight rounded for itself.
            _ => {
                let rounded: Vec<f32> = weights
                    .iter()
                    .map(|&weight| bf16::from_f32(weight).to_f32())
                    .collect();
                let mut inputs = Inputs::random(64, 0);
                inputs.hessian = hessian;
                let (found, rounded) = (
                    inputs.output_error(&weights, &found),
                    inputs.output_error(&weights, &rounded),
                );
                assert!(found < rounded, "{found:e} is not less than {rounded:e}");
            }
        }
    }
}

/// All levels of several layers at once, as one by one.
#[test]
fn a_shared_sweep_changes_nothing() {
    let columns = 96;
    let inputs = Inputs::random(columns, 3);
    let layers: Vec<_> = [(5, 1), (300, 2), (24, 3)]
        .map(|(rows, seed)| {
            let all = rows * columns;
            let variants = vec![
                variant("0.3000", all - all * 3 / 10, DType::Bf16),
                variant("2of4", all / 2, DType::Bf16),
                variant("0.7000", all - all * 7 / 10, DType::Bf16),
                variant("4of8", all / 2, DType::Bf16),
            ];
            (random_values(all, seed), variants)
        })
        .into();
    let method = create(r#"{"block_size": 40}"#).unwrap();
    let together = method.compress(&task(&layers, &inputs.hessian)).unwrap();
    for (layer, together) in layers.iter().zip(&together) {
        for (variant, together) in layer.1.iter().zip(together) {
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

/// The tensor operations that a GPU does, here on the CPU.
#[test]
fn both_paths_agree() {
    let columns = 320;
    let inputs = Inputs::random(columns, 3);
    let all = 270 * columns;
    for (width, by_row, variants, dtype) in [
        (
            128,
            false,
            [("0.5000", all / 2), ("0.8000", all / 5)],
            DType::F32,
        ),
        (300, false, [("0.0000", all), ("1.0000", 0)], DType::Bf16),
        (
            4,
            true,
            [("2of4", all / 2), ("1of4", all / 4 * 3)],
            DType::Bf16,
        ),
    ] {
        let variants = variants
            .map(|(name, num_values)| variant(name, num_values, dtype))
            .to_vec();
        let layers = [(random_values(all, 1), variants.clone())];
        let task = task(&layers, &inputs.hessian);
        let factor = Factor::new(&task.hessian.unwrap(), 0.01, Order::Natural, "l").unwrap();
        let removals: Vec<Removal> = variants
            .iter()
            .map(|variant| Removal::of(variant, 270, columns).unwrap())
            .collect();
        let remove = |path| -> Result<Vec<Vec<f32>>, PluginError> {
            let mut packed = Vec::new();
            batches(
                &task,
                &factor,
                |_, _| (),
                |batch, ()| {
                    packed = remove(
                        path,
                        &batch,
                        &factor,
                        Key {
                            width,
                            by_row,
                            dtype,
                        },
                        &removals,
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
            remove(Path::Slices).unwrap(),
            remove(Path::Tensors).unwrap(),
        );
        for (slices, tensors) in slices.iter().zip(&tensors) {
            let num_others = slices
                .iter()
                .zip(tensors)
                .filter(|(a, b)| (*a - *b).abs() > 0.02)
                .count();
            assert!(
                num_others * 100 < slices.len(),
                "{width} columns: {num_others} of {}",
                slices.len()
            );
            let (a, b) = (
                inputs.output_error(&layers[0].0, slices),
                inputs.output_error(&layers[0].0, tensors),
            );
            assert!((a - b).abs() <= 0.01 * a, "{width} columns: {a} and {b}");
        }
    }
}

/// Mean output errors: error compensation beats Wanda, Wanda beats magnitude.
#[test]
fn outputs_are_closer_than_by_simpler_methods() {
    let (rows, columns) = (48, 128);
    let all = rows * columns;
    for (name, num_values) in [
        ("0.3000", all * 7 / 10),
        ("0.5000", all / 2),
        ("2of4", all / 2),
        ("0.7000", all * 3 / 10),
    ] {
        let variants = vec![variant(name, num_values, DType::F32)];
        let mut sums = [0.0; 3];
        for seed in 0..4 {
            let inputs = Inputs::random(columns, seed);
            let layers = [(random_values(all, seed + 100), variants.clone())];
            let task = task(&layers, &inputs.hessian);
            let found = create("{}").unwrap().compress(&task).unwrap().remove(0);
            let wanda = prune(&task.layers[0], true, |weight, column| {
                weight.abs() * inputs.norms[column]
            })
            .unwrap();
            let magnitude = prune(&task.layers[0], false, |weight, _| weight.abs()).unwrap();
            for (sum, packed) in sums.iter_mut().zip([found, wanda, magnitude]) {
                *sum +=
                    inputs.output_error(&layers[0].0, &decoded(&packed[0], &variants[0], columns));
            }
        }
        let [found, wanda, magnitude] = sums;
        assert!(
            found < 0.8 * wanda && wanda < magnitude,
            "{name}: {found:.4}, {wanda:.4}, {magnitude:.4}"
        );
    }
}

#[test]
fn dead_inputs_lose_their_weights_first() {
    let columns = 64;
    let mut hessian = Inputs::random(columns, 1).hessian;
    for other in 0..columns {
        hessian[7 * columns + other] = 0.0;
        hessian[other * columns + 7] = 0.0;
    }
    let weights: Vec<f32> = random_values(10 * columns, 2)
        .iter()
        .map(|weight| weight.abs() + 0.1)
        .collect();
    let variant = variant("0.1000", 576, DType::F32);
    let layers = [(weights, vec![variant.clone()])];
    let packed = create("{}")
        .unwrap()
        .compress(&task(&layers, &hessian))
        .unwrap();
    let found = decoded(&packed[0][0], &variant, columns);
    assert!(found.chunks(columns).all(|row| row[7] == 0.0));
}

#[test]
fn what_cannot_be_compressed_is_refused() {
    let refuse = |variant: Variant| {
        let layers = [(random_values(8 * 16, 1), vec![variant])];
        let hessian = Inputs::random(16, 1).hessian;
        create("{}")
            .unwrap()
            .compress(&task(&layers, &hessian))
            .unwrap_err()
            .message
    };
    insta::assert_snapshot!(refuse(variant("0.5000", 129, DType::F32)), @"layer `l`: 129 values of 128 weights");
    insta::assert_snapshot!(
        refuse(variant("2of4", 60, DType::F32)),
        @"layer `l`: variant `2of4` is to keep 60 of 8 × 16 weights, which is another pattern"
    );
    insta::assert_snapshot!(
        refuse(variant("3of5", 52, DType::F32)),
        @"layer `l`: variant `3of5` is to keep 52 of 8 × 16 weights, which is another pattern"
    );
    insta::assert_snapshot!(
        refuse(Variant { name: "4bit".to_owned(), encoding: Encoding::Quantized { bits: 4, group_size: 16, symmetric: false } }),
        @"layer `l`: variant `4bit` is to be packed as Quantized { bits: 4, group_size: 16, symmetric: false }, but this method prunes"
    );
    insta::assert_snapshot!(
        create(r#"{"block_size": 0}"#).map(|_| ()).unwrap_err(),
        @"`block_size`: found 0; the smallest allowed value is 1"
    );
}
