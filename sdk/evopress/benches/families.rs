//! `families FOLDER THREADS LENGTH`: seconds to evaluate one candidate of a model, beside whatever
//! else a program that asks measures (`scripts/bench_families.py`). It prints the model's
//! perplexity on the benchmark's token ids, then for each line on stdin the seconds of a candidate:
//! `candidate` (forward pass and KL divergence) or `blocks` (forward pass alone).
//!
//! Seconds are throughput: each compute thread has a candidate of its own, as in a search.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use evopress::evaluate::Reference;
use evopress::genotype::Candidate;
use evopress::model::{Context, Engine, Model, ModelError};
use evopress::source::{Corpus, Source};
use tch::{Device, Kind};

/// Candidates of each thread in a measurement.
const ROUNDS: usize = 2;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, num_threads, length] = arguments.as_slice() else {
        println!("families FOLDER THREADS LENGTH: `make bench-families` runs it for each family");
        return Ok(());
    };
    let (num_threads, length) = (num_threads.parse()?, length.parse()?);
    evopress::device::tune_allocator();
    let bench = Bench::new(Path::new(folder), num_threads, length)?;
    println!("{}", bench.reference.perplexity);
    for line in std::io::stdin().lines() {
        let began = Instant::now();
        match line?.as_str() {
            "candidate" => drop(
                bench
                    .reference
                    .measure(&bench.engine, &bench.dense, |_| ())?,
            ),
            "blocks" => bench.forward()?,
            other => bail!("expected `candidate` or `blocks`, found {other:?}"),
        }
        println!(
            "{}",
            began.elapsed().as_secs_f64() / bench.num_candidates() as f64
        );
    }
    Ok(())
}

struct Bench {
    engine: Engine,
    /// Its weights are the model's own: which ones a candidate has changes no time.
    dense: Candidate,
    reference: Reference,
    corpus: Arc<Corpus>,
}

impl Bench {
    fn new(folder: &Path, num_threads: usize, length: usize) -> Result<Self> {
        let source = Arc::new(Source::open(folder)?);
        let vocab_size = source.spec().vocab_size;
        let model = Model::open(&source, Kind::BFloat16, Device::Cpu, Vec::new(), u64::MAX)?;
        let engine = Engine::new(model, num_threads, length, Arc::default())?;
        let tokens = (0..length as i64).map(|idx| idx * 7919 % vocab_size);
        let sequence: Vec<i64> = tokens.collect();
        let corpus = Corpus::from_tokens(sequence.repeat(ROUNDS * num_threads), length);
        let reference = Reference::new(&engine, corpus.clone(), |_| ())?;
        Ok(Self {
            dense: engine.dense().clone(),
            engine,
            reference,
            corpus: Arc::new(corpus),
        })
    }

    fn num_candidates(&self) -> usize {
        self.corpus.num_sequences()
    }

    /// The forward pass of every candidate.
    fn forward(&self) -> Result<()> {
        let (corpus, candidate) = (Arc::clone(&self.corpus), self.dense.clone());
        let work = move |context: &mut Context, idx: usize| -> Result<(), ModelError> {
            context.hidden(corpus.sequence(idx), &candidate).map(drop)
        };
        let all = (0..self.num_candidates()).collect();
        self.engine
            .pool()
            .map(all, work, |_| ())
            .map(drop)
            .context("a forward pass failed")
    }
}
