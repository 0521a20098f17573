use evopress_obs::{Factor, Order, batches};
use evopress_plugin::{
    Encoding, GgmlType, LayerTask, OwnedTensor, TensorView, Variant, check_units,
    conformance::{Inputs, decode, llama_outline, random_values},
};

use super::*;
use crate::format::Format;

/// Rounding each weight for itself.
const ALONE: &str = r#"{"error_feedback": false}"#;
const PLAIN: &str = r#"{"error_feedback": false, "importance": "none"}"#;

const TYPES: [GgmlType; 13] = [
    GgmlType::Q2_0,
    GgmlType::Q2K,
    GgmlType::Q3K,
    GgmlType::Q4K,
    GgmlType::Q5K,
    GgmlType::Q6K,
    GgmlType::Q4_0,
    GgmlType::Q4_1,
    GgmlType::Q5_0,
    GgmlType::Q5_1,
    GgmlType::Q8_0,
    GgmlType::Iq4Nl,
    GgmlType::Iq4Xs,
];

fn variant(ggml_type: GgmlType) -> Variant {
    Variant {
        name: ggml_type.name().to_owned(),
        encoding: Encoding::Ggml { ggml_type },
    }
}

/// Two rows, without a second moment of the inputs.
fn compressed(
    options: &str,
    weights: &[f32],
    norms: Option<&[f32]>,
    ggml_type: GgmlType,
) -> Result<Vec<f32>, PluginError> {
    let rows = 2;
    let columns = weights.len() / rows;
    let variants = [variant(ggml_type)];
    let task = CompressTask {
        num_tokens: 8,
        input_norms: norms,
        hessian: None,
        layers: vec![LayerTask {
            name: "l",
            weight: TensorView::from_slice(weights, &[rows as i64, columns as i64])?,
            variants: &variants,
        }],
    };
    let packed = create(options)?.compress(&task)?;
    decode(&packed[0][0], &variants[0].encoding, rows, columns)
}

fn plain(weights: &[f32], ggml_type: GgmlType) -> Vec<f32> {
    compressed(PLAIN, weights, None, ggml_type).unwrap()
}

fn error(weights: &[f32], found: &[f32], importance: impl Fn(usize) -> f32) -> f32 {
    let columns = weights.len() / 2;
    let both = weights.iter().zip(found).enumerate();
    let sum = |of: &dyn Fn(f32, f32) -> f32| -> f32 {
        both.clone()
            .map(|(idx, (w, f))| importance(idx % columns) * of(*w, *f))
            .sum()
    };
    sum(&|w, f| (w - f) * (w - f)) / sum(&|w, _| w * w)
}

/// Weights on a type's own grid come back: every part of its blocks is where it is read from.
#[test]
fn every_type_is_written_as_it_is_read() {
    for ggml_type in TYPES {
        let random = random_values(1024, 3);
        let once = plain(&random, ggml_type);
        let bound = match ggml_type.group() {
            Some((_, 2)) => 0.13,
            Some((_, 3)) => 0.04,
            Some((_, 4)) => 0.009,
            Some((_, 5)) => 0.003,
            _ => 0.0008,
        };
        let lost = error(&random, &once, |_| 1.0);
        assert!(lost < bound, "{ggml_type}: {lost}");
        let again = plain(&once, ggml_type);
        let lost = error(&once, &again, |_| 1.0);
        assert!(lost < bound / 10.0, "{ggml_type} once more: {lost}");
    }
}

/// No group of weights has more values than its codes.
#[test]
fn codes_fit_their_bits() {
    for ggml_type in TYPES {
        let (group, bits) = ggml_type.group().unwrap();
        for group in plain(&random_values(1024, 5), ggml_type).chunks(group) {
            let mut values = group.to_vec();
            values.sort_by(f32::total_cmp);
            values.dedup();
            assert!(values.len() <= 1 << bits, "{ggml_type}: {}", values.len());
        }
    }
}

#[test]
fn importance_lowers_the_error_that_counts() {
    let weights = random_values(1024, 7);
    let norms: Vec<f32> = random_values(512, 8).iter().map(|it| it.exp2()).collect();
    let square = |column: usize| norms[column] * norms[column];
    for ggml_type in TYPES {
        let weighted = compressed(ALONE, &weights, Some(&norms), ggml_type).unwrap();
        let (with, without) = (
            error(&weights, &weighted, square),
            error(&weights, &plain(&weights, ggml_type), square),
        );
        assert!(
            with < without,
            "{ggml_type}: {with} with, {without} without"
        );
    }
}

#[test]
fn weights_at_the_ends_of_the_numbers_stay_finite() {
    for ggml_type in TYPES {
        for value in [0.0, 1e-30, -1e-30, 1e30, -1e30] {
            let mut weights = vec![0.0; 1024];
            weights[..300].fill(value);
            assert!(plain(&weights, ggml_type).iter().all(|it| it.is_finite()));
            let found = compressed(ALONE, &weights, Some(&[0.0; 512]), ggml_type).unwrap();
            assert!(found.iter().all(|it| it.is_finite()));
        }
        let constant = plain(&[0.5; 1024], ggml_type);
        let lost = error(&[0.5; 1024], &constant, |_| 1.0);
        assert!(lost < 1e-5, "{ggml_type} of a constant: {lost}");
    }
}

/// What a method needs of the inputs is what its options call for.
#[test]
fn statistics_follow_the_options() {
    let needs = |options| create(options).unwrap().statistics();
    assert_eq!(needs("{}"), Statistics::Hessian);
    assert_eq!(needs(r#"{"importance": "none"}"#), Statistics::Hessian);
    assert_eq!(needs(ALONE), Statistics::InputNorms);
    assert_eq!(needs(PLAIN), Statistics::None);
}

const COLUMNS: usize = 512;

/// Layers of [`COLUMNS`] inputs.
fn task<'a>(
    layers: &'a [(Vec<f32>, Vec<Variant>)],
    inputs: &'a Inputs,
) -> Result<CompressTask<'a>, PluginError> {
    let columns = COLUMNS as i64;
    let layer = |(weights, variants): &'a (Vec<f32>, Vec<Variant>)| {
        let shape = [weights.len() as i64 / columns, columns];
        Ok(LayerTask {
            name: "l",
            weight: TensorView::from_slice(weights, &shape)?,
            variants,
        })
    };
    Ok(CompressTask {
        num_tokens: inputs.num_tokens as u64,
        input_norms: Some(&inputs.norms),
        hessian: Some(TensorView::from_slice(&inputs.hessian, &[columns; 2])?),
        layers: layers
            .iter()
            .map(layer)
            .collect::<Result<_, PluginError>>()?,
    })
}

/// One layer with one variant, decoded.
fn fed_back(options: &str, weights: &[f32], inputs: &Inputs, ggml_type: GgmlType) -> Vec<f32> {
    let layers = [(weights.to_vec(), vec![variant(ggml_type)])];
    let method = create(options).unwrap();
    let packed = method.compress(&task(&layers, inputs).unwrap()).unwrap();
    let encoding = Encoding::Ggml { ggml_type };
    decode(&packed[0][0], &encoding, weights.len() / COLUMNS, COLUMNS).unwrap()
}

#[test]
fn outputs_are_closer_with_error_feedback() {
    let inputs = Inputs::random(COLUMNS, 3);
    let weights = random_values(24 * COLUMNS, 4);
    for ggml_type in TYPES {
        let error = |options| {
            inputs.output_error(&weights, &fed_back(options, &weights, &inputs, ggml_type))
        };
        let (with, without) = (error("{}"), error(ALONE));
        assert!(
            with < 0.7 * without,
            "{ggml_type}: {with:e} with, {without:e} without"
        );
        let by_norms = error(r#"{"importance": "input-norms"}"#);
        assert!(
            by_norms < 0.8 * without,
            "{ggml_type}: {by_norms:e} with, {without:e} without"
        );
    }
}

/// Inputs that have nothing to do with each other take over no errors.
#[test]
fn independent_inputs_leave_rounding_alone() {
    let mut inputs = Inputs::random(COLUMNS, 3);
    for (at, moment) in inputs.hessian.iter_mut().enumerate() {
        *moment = if at % (COLUMNS + 1) == 0 { 2.0 } else { 0.0 };
    }
    let weights = random_values(2 * COLUMNS, 9);
    for ggml_type in TYPES {
        let found = fed_back(r#"{"importance": "none"}"#, &weights, &inputs, ggml_type);
        assert_eq!(found, plain(&weights, ggml_type), "{ggml_type}");
    }
}

/// What the sweep made of the weights, and passed the errors of on, is what the blocks say; no
/// group has more values than its codes.
#[test]
fn blocks_hold_what_the_sweep_fixed() {
    let inputs = Inputs::random(COLUMNS, 5);
    for ggml_type in TYPES {
        let layers = [(random_values(300 * COLUMNS, 6), vec![variant(ggml_type)])];
        let task = task(&layers, &inputs).unwrap();
        let factor = Factor::new(&task.hessian.unwrap(), 0.01, Order::Natural, "l").unwrap();
        let each = |batch: evopress_obs::Batch, ()| -> Result<(), PluginError> {
            let importance = vec![1.0; COLUMNS];
            let format = Format::of(ggml_type);
            let grids_br = feedback::sweep_batch(&batch, &factor, format, &importance)?;
            let swept = Vec::<f32>::try_from(batch.weights.tr().contiguous().flatten(0, -1));
            let swept = swept.unwrap();
            let mut packed = Vec::new();
            for (row, weights) in swept.chunks(COLUMNS).enumerate() {
                let grids: Vec<_> = grids_br[row..].iter().step_by(300).copied().collect();
                layout::push_row(&format, &grids, weights, &mut packed);
            }
            let shape = [300, packed.len() as i64 / 300];
            let packed = PackedWeight {
                parts: vec![OwnedTensor::from_vec(packed, &shape)?],
            };
            let decoded = decode(&packed, &Encoding::Ggml { ggml_type }, 300, COLUMNS)?;
            assert!(decoded == swept, "{ggml_type}");
            let (group, bits) = ggml_type.group().unwrap();
            for group in decoded.chunks(group) {
                let mut values = group.to_vec();
                values.sort_by(f32::total_cmp);
                values.dedup();
                assert!(values.len() <= 1 << bits, "{ggml_type}: {}", values.len());
            }
            Ok(())
        };
        batches(&task, &factor, |_, _| (), each).unwrap();
    }
}

/// Weights on a type's own grid stay there, beside others that feedback serves better.
#[test]
fn rows_on_a_grid_stay_there() {
    let inputs = Inputs::random(COLUMNS, 11);
    for ggml_type in [GgmlType::Q4_1, GgmlType::Q5K] {
        let on_grid = plain(&random_values(2 * COLUMNS, 12), ggml_type);
        let weights = [on_grid.clone(), random_values(2 * COLUMNS, 13)].concat();
        let found = fed_back("{}", &weights, &inputs, ggml_type);
        let (kept, moved) = found.split_at(2 * COLUMNS);
        let lost = inputs.output_error(&on_grid, kept);
        let lost_elsewhere = inputs.output_error(&weights[2 * COLUMNS..], moved);
        assert!(
            lost < 0.2 * lost_elsewhere,
            "{ggml_type}: {lost:e}, elsewhere {lost_elsewhere:e}"
        );
        let alone = fed_back(ALONE, &weights[2 * COLUMNS..], &inputs, ggml_type);
        let lost_alone = inputs.output_error(&weights[2 * COLUMNS..], &alone);
        assert!(
            lost_elsewhere < 0.7 * lost_alone,
            "{ggml_type}: {lost_elsewhere:e}, alone {lost_alone:e}"
        );
    }
}

/// All types of several layers at once, as one by one: not to the bit, since sums in another order
/// may tip a scale.
#[test]
fn a_shared_sweep_is_as_good_as_one_for_each() {
    let inputs = Inputs::random(COLUMNS, 7);
    let variants = TYPES.map(variant).to_vec();
    let layers = [(24, 1), (260, 2)]
        .map(|(rows, seed)| (random_values(rows * COLUMNS, seed), variants.clone()));
    let method = create("{}").unwrap();
    let together = method.compress(&task(&layers, &inputs).unwrap()).unwrap();
    for ((weights, _), together) in layers.iter().zip(&together) {
        for (ggml_type, together) in TYPES.into_iter().zip(together) {
            let encoding = Encoding::Ggml { ggml_type };
            let together = decode(together, &encoding, weights.len() / COLUMNS, COLUMNS).unwrap();
            let alone = fed_back("{}", weights, &inputs, ggml_type);
            let errors = [&together, &alone].map(|it| inputs.output_error(weights, it));
            assert!(
                (errors[0] - errors[1]).abs() < 0.01 * errors[1],
                "{ggml_type}: {errors:?}"
            );
        }
    }
}

/// Weights of inputs that are always zero are rounded like others and take nothing over.
#[test]
fn dead_inputs_take_no_errors_over() {
    let mut inputs = Inputs::random(COLUMNS, 3);
    let is_dead = |column: usize| column % 3 == 1;
    for (at, moment) in inputs.hessian.iter_mut().enumerate() {
        if is_dead(at / COLUMNS) || is_dead(at % COLUMNS) {
            *moment = 0.0;
        }
    }
    let weights = random_values(2 * COLUMNS, 8);
    let found = fed_back("{}", &weights, &inputs, GgmlType::Q6K);
    for (at, (weight, found)) in weights.iter().zip(found).enumerate() {
        if is_dead(at % COLUMNS) {
            assert!((weight - found).abs() < 0.1, "{weight} became {found}");
        }
    }
    inputs.hessian.fill(0.0);
    assert!(
        fed_back("{}", &weights, &inputs, GgmlType::Q4K)
            .iter()
            .all(|it| it.is_finite())
    );
}

fn units(options: &str, model: &ModelOutline) -> Result<Vec<Unit>, PluginError> {
    create(options)?.units(model, None)
}

#[test]
fn levels_follow_the_widths() {
    let mut model = llama_outline(1);
    for layer in &mut model.layers {
        layer.in_features = if layer.in_features == 64 { 576 } else { 1536 };
    }
    let found = units("{}", &model).unwrap();
    check_units(&found, &model).unwrap();
    let levels = |unit: &Unit| {
        let num_weights = model.layers[unit.layer_idxs[0] as usize].num_weights() as f64;
        let text = |level: &evopress_plugin::Level| {
            format!("{} {}", level.name, level.cost as f64 / num_weights)
        };
        let text: Vec<String> = unit.levels.iter().map(text).collect();
        format!(
            "{}; {}",
            text.join(", "),
            unit.levels[unit.calibration_level as usize].name
        )
    };
    insta::assert_snapshot!(levels(&found[0]), @"Q8_0 8.5, Q5_1 6, Q5_0 5.5, Q4_1 5, IQ4_NL 4.5; IQ4_NL");
    insta::assert_snapshot!(levels(&found[6]), @"Q6_K 6.5625, Q5_K 5.5, Q4_K 4.5, IQ4_XS 4.25, Q3_K 3.4375, Q2_K 2.625; Q4_K");
    let mixed =
        r#"{"types": ["Q2_K", "Q8_0"], "fallback": ["Q4_0", "Q8_0"], "calibration_type": "Q8_0"}"#;
    insta::assert_snapshot!(levels(&units(mixed, &model).unwrap()[6]), @"Q8_0 8.5, Q2_K 2.625; Q8_0");
    let refuse = |options| units(options, &model).unwrap_err().message;
    insta::assert_snapshot!(refuse(r#"{"types": ["Q2_K", "Q8_0"]}"#), @"`types`: blocks of Q2_K do not divide the input features (576) of 6 of 7 layers: `model.layers.0.self_attn.q_proj`, `model.layers.0.self_attn.k_proj`, `model.layers.0.self_attn.v_proj` and 3 more; `fallback` with two or more of IQ4_NL, Q4_1, Q5_0, Q5_1, Q8_0 would fit");
    model.layers[2].in_features = 40;
    insta::assert_snapshot!(units("{}", &model).unwrap_err().message, @"`types`: blocks of Q2_K, Q3_K, IQ4_XS, Q4_K, Q5_K, Q6_K do not divide the input features (40) of 1 of 7 layers: `model.layers.0.self_attn.v_proj`; no type of llama.cpp with fewer than 16 bits fits");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refuse = |options| create(options).map(|_| ()).unwrap_err().message;
    insta::assert_snapshot!(refuse(r#"{"types": ["Q4_K"]}"#), @r#"`types`: ["Q4_K"] leaves nothing to choose; at least two types are needed"#);
    insta::assert_snapshot!(refuse(r#"{"types": ["Q4_K", "Q4_K"]}"#), @"`types`: Q4_K is there twice");
    insta::assert_snapshot!(refuse(r#"{"types": ["Q4_K", "Q4_0"]}"#), @"`types`: Q4_K and Q4_0 both have 4.5 bits a weight, so that nothing tells their levels apart");
    insta::assert_snapshot!(refuse(r#"{"types": ["Q4_K", "F16"]}"#), @r#"`types`: found "F16"; allowed are Q2_0, Q4_0, IQ4_NL, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, IQ4_XS, Q4_K, Q5_K, Q6_K"#);
    insta::assert_snapshot!(refuse(r#"{"fallback": ["Q4_K", "Q8_0"]}"#), @"`fallback`: Q4_K has blocks of 256; allowed are Q2_0, Q4_0, IQ4_NL, Q4_1, Q5_0, Q5_1, Q8_0");
    insta::assert_snapshot!(refuse(r#"{"calibration_type": "Q9"}"#), @"`calibration_type`: Q9 is not one of the types to choose from");
    insta::assert_snapshot!(refuse(r#"{"importance": "all"}"#), @"unknown variant `all`, expected one of `residual`, `input-norms`, `none` at line 1 column 20");
    insta::assert_snapshot!(refuse(r#"{"importance": "residual", "error_feedback": false}"#), @"`importance`: `residual` is for `error_feedback: true`; allowed without it are `input-norms` and `none`");
    insta::assert_snapshot!(refuse(r#"{"damping": 2}"#), @"`damping`: found 2; allowed are values from 0 to 1");
    let compress = |norms: Option<&[f32]>, ggml_type| {
        compressed(ALONE, &[1.0; 128], norms, ggml_type)
            .unwrap_err()
            .message
    };
    insta::assert_snapshot!(compressed("{}", &[1.0; 128], None, GgmlType::Q4_0).unwrap_err(), @"`l`: there is no second moment of the inputs");
    insta::assert_snapshot!(compress(None, GgmlType::Q4_0), @"`l`: there are no input norms");
    insta::assert_snapshot!(compress(Some(&[1.0]), GgmlType::Q4_0), @"layer `l` has 64 input features, but there are 1 input norms");
    insta::assert_snapshot!(compress(Some(&[f32::NAN; 64]), GgmlType::Q4_0), @"`l`: an input norm is negative or not finite");
    insta::assert_snapshot!(compress(Some(&[1.0; 64]), GgmlType::Q4K), @"layer `l`: variant `Q4_K` is to be packed as Ggml { ggml_type: Q4K }, but this method makes ggml's blocks that divide 64 columns");
}
