//! `gpu`: tokens a second of candidate evaluation (forward pass and KL divergence) of SmolLM2-135M
//! on a GPU, and the share of the card's own rate of matrix products. `scripts/gpu_check.sh` runs
//! it; where there is no GPU it says so and ends.

use std::path::PathBuf;
use std::sync::{Arc, atomic::AtomicBool};
use std::time::Instant;

use anyhow::{Context, Result};
use evopress::evaluate::Reference;
use evopress::model::Engine;
use evopress::model::Model;
use evopress::source::Corpus;
use evopress::source::Source;
use tch::{Cuda, Device, Kind, Tensor};

const NUM_SEQUENCES: usize = 64;
const REPEATS: usize = 5;
const MATRIX: i64 = 8192;

fn main() -> Result<()> {
    let device = match evopress::device::resolve("cuda") {
        Ok(device) => device,
        Err(error) => {
            println!("{error}");
            return Ok(());
        }
    };
    let data = std::env::var_os("EVOPRESS_DATA").context("EVOPRESS_DATA is not set")?;
    let path = PathBuf::from(data).join("models/SmolLM2-135M-Instruct.gguf");
    let source = Arc::new(Source::open(&path)?);
    let spec = source.spec().clone();
    let head = (spec.vocab_size * spec.hidden_size) as u64;
    let weights = (spec.num_weights() + head) as f64;
    let rate = matrix_rate(device);
    println!(
        "{MATRIX}x{MATRIX} bf16 products: {:.0} TFLOP/s",
        rate / 1e12
    );
    for length in [512, 2048] {
        let model = Model::open(&source, Kind::BFloat16, device, Vec::new(), u64::MAX)?;
        let dense = model.dense();
        let engine = Engine::new(model, 1, length, Arc::new(AtomicBool::new(false)))?;
        let tokens = (0..length * NUM_SEQUENCES).map(|i| (i as i64 * 7919) % spec.vocab_size);
        let corpus = Corpus::from_tokens(tokens.collect(), length);
        let reference = Reference::new(&engine, corpus, |_| ())?;
        reference.measure(&engine, &dense, |_| ())?;
        let began = Instant::now();
        for _ in 0..REPEATS {
            reference.measure(&engine, &dense, |_| ())?;
        }
        let tokens = (REPEATS * NUM_SEQUENCES * length) as f64;
        let per_second = tokens / began.elapsed().as_secs_f64();
        println!(
            "{NUM_SEQUENCES} sequences of {length} tokens: {per_second:.0} tokens/s, {:.1} % of that rate",
            100.0 * per_second * 2.0 * weights / rate
        );
    }
    Ok(())
}

/// Operations a second.
fn matrix_rate(device: Device) -> f64 {
    let matrix = || Tensor::randn([MATRIX, MATRIX], (Kind::Float, device)).to_kind(Kind::BFloat16);
    let (a, b) = (matrix(), matrix());
    for _ in 0..3 {
        drop(a.matmul(&b));
    }
    Cuda::synchronize(0);
    let began = Instant::now();
    for _ in 0..10 {
        drop(a.matmul(&b));
    }
    Cuda::synchronize(0);
    10.0 * 2.0 * (MATRIX as f64).powi(3) / began.elapsed().as_secs_f64()
}
