//! The activations that a build takes through the blocks, behind the compressed ones before.

use evopress_model::{BlockWeights, Context, Stream};
use evopress_source::Corpus;
use evopress_tensor::{ReadOnly, SpilledRows, Weight};
use tch::Tensor;

use crate::build::{BATCH_TOKENS, Build};
use crate::compress::dense_weight;
use crate::decode;
use crate::error::Result;
use crate::file::{LayerFile, file_name};

impl Build<'_> {
    /// The stream before the first block.
    pub(crate) fn embed(&self, corpus: &Corpus, limit_bytes: u64) -> Result<SpilledRows> {
        let (count, length) = (corpus.num_sequences(), corpus.sequence_length());
        let size = [count as i64, length as i64, self.spec().hidden_size];
        let mut activations = SpilledRows::new(&size, limit_bytes, self.entry.path())?;
        for batch in self.batches(count, length) {
            let tokens = corpus.clone();
            let work = move |context: &mut Context, idx: usize| -> Result<Tensor> {
                Ok(context.embed(&[tokens.sequence(idx)])?.snapshot()?)
            };
            let streams = self.engine.pool().map(batch.clone(), work, |_| ())?;
            for (idx, stream) in batch.into_iter().zip(streams) {
                activations.write(idx, &stream)?;
            }
        }
        Ok(activations)
    }

    /// Sequences whose activations are in memory at once.
    pub(crate) fn batches(&self, num_sequences: usize, length: usize) -> Vec<Vec<usize>> {
        let size = (BATCH_TOKENS / length).max(self.engine.num_threads());
        let all: Vec<usize> = (0..num_sequences).collect();
        all.chunks(size).map(<[usize]>::to_vec).collect()
    }

    /// Streams of some sequences, each in memory of its own on the run's device.
    pub(crate) fn streams(
        &self,
        activations: &SpilledRows,
        batch: &[usize],
    ) -> Result<Vec<Stream>> {
        let device = self.engine.device();
        let streams = batch
            .iter()
            .map(|&idx| Ok(Stream::of_sequence(activations.read(idx, device)?)));
        streams.collect()
    }

    /// Runs a block with the weights at the calibration level.
    pub(crate) fn propagate(&self, block_idx: usize, activations: &mut SpilledRows) -> Result<()> {
        let layers = self.spec().layers_of(block_idx);
        let weights = layers.map(|layer_idx| self.calibration_weight(layer_idx));
        let weights = ReadOnly::new(weights.collect::<Result<Vec<Weight>>>()?);
        let size = activations.size();
        for batch in self.batches(size[0] as usize, size[1] as usize) {
            let streams = self.streams(activations, &batch)?;
            let weights = weights.share();
            let work = move |context: &mut Context, mut stream: Stream| -> Result<Stream> {
                let model = &context.model;
                let weights = BlockWeights::of_all_rows(weights.get());
                model.attention(block_idx, &mut stream, &weights, &mut |_| ())?;
                model.mlp(block_idx, &mut stream, &weights, &mut |_| ())?;
                Ok(stream)
            };
            let streams = self.engine.pool().map(streams, work, |_| ())?;
            for (idx, stream) in batch.into_iter().zip(streams) {
                activations.write(idx, stream.residual())?;
            }
        }
        Ok(())
    }

    /// A layer's weight at the level with which calibration goes on.
    fn calibration_weight(&self, layer_idx: usize) -> Result<Weight> {
        let (kind, device) = (self.engine.kind(), self.engine.device());
        let layer = self.of_method(layer_idx);
        let level = layer.and_then(|layer| Some((layer, layer.calibration?)));
        let Some((layer, variant_idx)) = level else {
            let weight = dense_weight(&self.source, self.name(layer_idx))?;
            return self.weight(&weight);
        };
        let of_model = &self.outline.layers[layer_idx];
        let shape = (
            of_model.out_features as usize,
            of_model.in_features as usize,
        );
        let path = self.entry.path().join(file_name(&of_model.name));
        let file = LayerFile::open(&path, shape, &layer.variants)?;
        let weight = decode::weight(&file, variant_idx.into(), kind, device)?;
        Ok(Weight::new(weight)?)
    }
}
