//! `cargo bench --bench candidate`: seconds to evaluate one candidate (a genotype that drops a
//! quarter of SmolLM2-135M, 512 tokens, bf16, forward pass and KL divergence), against plain
//! PyTorch doing the same in the same run, and against the matrix products alone.
//!
//! Ours is throughput: each of the two compute threads has a candidate of its own, as in a search.
//! PyTorch runs one candidate on two threads, once with glibc's malloc as it is and once tuned to
//! keep large blocks.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Barrier, atomic::AtomicBool};
use std::time::Instant;

use anyhow::{Context, Result};
use evopress::evaluate::Reference;
use evopress::genotype::Candidate;
use evopress::model::Engine;
use evopress::model::Model;
use evopress::source::Corpus;
use evopress::source::Source;
use tch::{Device, Kind, Tensor};

const THREADS: usize = 2;
const LENGTH: usize = 512;
const REPEATS: usize = 7;
const MALLOC_TUNING: &[(&str, &str)] = &[
    ("MALLOC_MMAP_THRESHOLD_", "1073741824"),
    ("MALLOC_TRIM_THRESHOLD_", "2147483647"),
    ("MALLOC_TOP_PAD_", "67108864"),
];

fn main() -> Result<()> {
    evopress::device::tune_allocator();
    let source = Arc::new(Source::open(&model_path()?)?);
    let spec = source.spec().clone();
    let model = Model::open(&source, Kind::BFloat16, Device::Cpu, Vec::new(), u64::MAX)?;
    let mut candidate = model.dense();
    candidate.dropped.attention[12..19].fill(true);
    candidate.dropped.mlp[12..19].fill(true);
    let blocks = forward_seconds(&model, &candidate)?;
    let engine = Engine::new(model, THREADS, LENGTH, Arc::new(AtomicBool::new(false)))?;
    let num_sequences = 2 * THREADS;
    let tokens = (0..LENGTH * num_sequences)
        .map(|i| (i as i64 * 7919) % spec.vocab_size)
        .collect();
    let reference = Reference::new(&engine, Corpus::from_tokens(tokens, LENGTH), |_| ())?;
    let ours = || -> Result<f64> {
        let began = Instant::now();
        reference.measure(&engine, &candidate, |_| ())?;
        Ok(began.elapsed().as_secs_f64() / num_sequences as f64)
    };
    ours()?;
    let mut seconds = Vec::new();
    let (mut default_malloc, mut tuned_malloc) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        for _ in 0..REPEATS {
            seconds.push(ours()?);
        }
        default_malloc.push(pytorch(&[])?);
        tuned_malloc.push(pytorch(MALLOC_TUNING)?);
    }
    let (ours, default_malloc, tuned_malloc) = (
        median(seconds),
        median(default_malloc),
        median(tuned_malloc),
    );

    let width = spec.hidden_size as f64;
    let intermediate = spec.first_mlp().map_or(0, |mlp| mlp.intermediate_size);
    let body = 23.0 * width * (2.0 * width + 2.0 * 192.0 + 3.0 * intermediate as f64);
    let head = spec.vocab_size as f64 * width;
    let flops = |weights: f64| 2.0 * LENGTH as f64 * weights;
    let rate = matrix_rate(Kind::BFloat16).max(matrix_rate(Kind::Float));
    println!("one candidate of {LENGTH} tokens, {THREADS} threads, bf16");
    println!("  evopress                        {ours:.4} s");
    for (part, seconds, weights) in [
        ("blocks", blocks, body),
        ("head and KL divergence", ours - blocks, head),
    ] {
        let floor = flops(weights) / rate;
        println!(
            "    {part:<30}{seconds:.4} s   share of its products {:.0} %",
            100.0 * floor / seconds
        );
    }
    println!(
        "  PyTorch, default malloc         {default_malloc:.4} s   ratio {:.2}",
        default_malloc / ours
    );
    println!(
        "  PyTorch, tuned malloc           {tuned_malloc:.4} s   ratio {:.2}",
        tuned_malloc / ours
    );
    let flops = flops(body + head);
    println!(
        "  matrix products alone           {:.4} s   share {:.0} % ({:.0} GFLOP at {:.0} GFLOP/s)",
        flops / rate,
        100.0 * flops / rate / ours,
        flops / 1e9,
        rate / 1e9
    );
    Ok(())
}

fn model_path() -> Result<PathBuf> {
    let data = std::env::var_os("EVOPRESS_DATA")
        .map(PathBuf::from)
        .or_else(|| {
            let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
            let cache =
                cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
            Some(cache.join("evopress/data"))
        });
    Ok(data
        .context("neither EVOPRESS_DATA nor HOME is set")?
        .join("models/SmolLM2-135M-Instruct.gguf"))
}

/// Median seconds that the script beside this file prints.
fn pytorch(environment: &[(&str, &str)]) -> Result<f64> {
    let packages = std::env::var("EVOPRESS_TEST_PYTHONPATH")
        .context("run `make bench`, which sets up PyTorch")?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/candidate.py");
    let output = Command::new("python3")
        .args([script, &THREADS.to_string(), &REPEATS.to_string()])
        .env("PYTHONPATH", packages)
        .envs(environment.iter().copied())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim()
        .parse()
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Seconds of a forward pass through the blocks, each thread with one of its own.
fn forward_seconds(model: &Model, candidate: &Candidate) -> Result<f64> {
    let mut model = model.share();
    model.prepare_length(LENGTH)?;
    let vocab_size = model.spec().vocab_size;
    Ok(all_at_once(REPEATS, || {
        let (model, candidate) = (model.share(), candidate.clone());
        let tokens: Vec<i64> = (0..LENGTH)
            .map(|i| (i as i64 * 7919) % vocab_size)
            .collect();
        move || {
            let hidden = model.forward(&tokens, &candidate);
            drop(hidden.expect("a forward pass"));
        }
    }) / THREADS as f64)
}

/// Operations a second of the MLP's products by libtorch, all threads at once: cores may share
/// their matrix units. CPUs without bf16 units multiply in f32.
fn matrix_rate(kind: Kind) -> f64 {
    const PRODUCTS: usize = 50;
    let seconds = all_at_once(REPEATS, || {
        let shape = |rows: i64, columns: i64| {
            Tensor::rand([rows, columns], (Kind::Float, Device::Cpu)).to_kind(kind)
        };
        let (input, weight) = (shape(LENGTH as i64, 576), shape(3072, 576));
        move || (0..PRODUCTS).for_each(|_| drop(input.linear::<&Tensor>(&weight, None)))
    });
    2.0 * LENGTH as f64 * 576.0 * 3072.0 * (PRODUCTS * THREADS) as f64 / seconds
}

/// Median seconds of `work` while every thread does it.
fn all_at_once<W: FnMut() + Send + 'static>(repeats: usize, work: impl Fn() -> W) -> f64 {
    let all_ready = Arc::new(Barrier::new(THREADS));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (mut work, all_ready) = (work(), Arc::clone(&all_ready));
            std::thread::spawn(move || {
                let _no_grad = tch::no_grad_guard();
                work();
                let times = (0..repeats).map(|_| {
                    all_ready.wait();
                    let began = Instant::now();
                    work();
                    began.elapsed().as_secs_f64()
                });
                times.collect::<Vec<_>>()
            })
        })
        .collect();
    median(
        threads
            .into_iter()
            .filter_map(|thread| thread.join().ok())
            .flatten()
            .collect(),
    )
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
