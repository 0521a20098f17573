//! One block of SmolLM2-135M through the plugins that sweep: `cargo bench -p evopress-obs`.
//!
//! Inputs are made up; the time does not depend on them. One compute thread, as the engine gives a
//! task.

use criterion::Criterion;
use evopress_plugin::{
    CompressTask, Edit, LayerOutline, LayerTask, ModelOutline, SubBlock, TensorView, Variant,
    conformance::{Library, random_values},
};
use serde_json::{Value, json};

/// Layers with the same inputs: input features, and output features of each layer.
const TASKS: [(usize, &[usize]); 4] = [
    (576, &[576, 192, 192]),
    (576, &[576]),
    (576, &[1536, 1536]),
    (1536, &[576]),
];

fn block(criterion: &mut Criterion, plugin: &str, options: &Value) {
    let library = Library::build(&format!("evopress-plugin-{plugin}")).expect("the plugin builds");
    let method = library.method(options).expect("the options are right");
    let layers = (0..).zip(TASKS).flat_map(|(input_idx, (columns, rows))| {
        rows.iter().map(move |rows| LayerOutline {
            name: format!("layer of {rows} × {columns}"),
            block_idx: 0,
            sub_block: SubBlock::Mlp,
            expert_idx: None,
            input_idx,
            out_features: *rows as u64,
            in_features: columns as u64,
            has_bias: false,
        })
    });
    let model = ModelOutline {
        num_blocks: 1,
        layers: layers.collect(),
        bytes_per_weight: 2,
    };
    let units = method.units(&model, Some(0.5)).expect("the model is fine");
    let variants: Vec<Vec<Variant>> = units
        .iter()
        .map(|unit| {
            let edits = unit.levels.iter().flat_map(|level| &level.edits);
            edits
                .filter_map(|edit| match edit {
                    Edit::Replace { variant, .. } => Some(variant.clone()),
                    _ => None,
                })
                .collect()
        })
        .collect();
    let mut group = criterion.benchmark_group(plugin);
    group.sample_size(10);
    let mut first = 0;
    for (columns, rows) in TASKS {
        let (hessian, norms) = (moments(columns), vec![1.0; columns]);
        let hessian =
            TensorView::from_slice(&hessian, &[columns as i64, columns as i64]).expect("square");
        let weights: Vec<Vec<f32>> = rows
            .iter()
            .map(|rows| random_values(rows * columns, 2))
            .collect();
        let of_task = first..first + rows.len();
        first = of_task.end;
        group.bench_function(format!("{columns} inputs, {rows:?} outputs"), |bencher| {
            bencher.iter(|| {
                let layers =
                    of_task
                        .clone()
                        .zip(&weights)
                        .zip(rows)
                        .map(|((idx, weights), rows)| LayerTask {
                            name: &model.layers[idx].name,
                            weight: TensorView::from_slice(
                                weights,
                                &[*rows as i64, columns as i64],
                            )
                            .expect("fits"),
                            variants: &variants[idx],
                        });
                let task = CompressTask {
                    num_tokens: 1,
                    input_norms: Some(&norms),
                    hessian: Some(hessian),
                    layers: layers.collect(),
                };
                method.compress(&task).expect("it compresses")
            });
        });
    }
    group.finish();
}

/// Neighbouring features have much in common.
fn moments(num_features: usize) -> Vec<f32> {
    let places = (0..num_features).flat_map(|i| (0..num_features).map(move |j| i.abs_diff(j)));
    places
        .map(|distance| 0.8_f32.powi(distance as i32))
        .collect()
}

fn benchmarks(criterion: &mut Criterion) {
    tch::set_num_threads(1);
    block(criterion, "gptq", &json!({"group_size": 64}));
    block(
        criterion,
        "gptq",
        &json!({"group_size": 64, "activation_order": true}),
    );
    block(criterion, "sparsegpt", &json!({}));
    block(
        criterion,
        "sparsegpt",
        &json!({"patterns": ["2:4", "4:16"]}),
    );
    block(criterion, "rtn", &json!({"group_size": 64}));
    block(criterion, "wanda", &json!({}));
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    benchmarks(&mut criterion);
    criterion.final_summary();
}
