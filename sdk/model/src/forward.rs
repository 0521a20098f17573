//! The forward pass: blocks on a residual stream, with the weights of the candidates that share it.

use evopress_search::genotype::Candidate;
use evopress_source::spec::LayerInput;
use evopress_tensor::{add_projection, project, rotary_attention};
use tch::{Kind, Tensor};

use crate::block_weights::{BlockWeights, LeftOut};
use crate::error::Result;
use crate::model::Model;
use crate::observed::{Observer, all_rows};
use crate::runs::Runs;
use crate::stream::Stream;
use crate::sub_block::Ends;

impl Model {
    /// Final hidden states `[L, D]` (after the final norm) of a sequence with the candidate's
    /// weights; its dropped sub-blocks add nothing to the residual stream.
    ///
    /// # Errors
    /// When a weight cannot be read or libtorch refuses an operation.
    pub fn forward(&self, tokens: &[i64], candidate: &Candidate) -> Result<Tensor> {
        let mut stream = self.embed(&[tokens])?;
        for block_idx in 0..self.spec().num_blocks() {
            self.run_block(block_idx, &mut stream, &[candidate])?;
        }
        self.finish(&stream)
    }

    /// Final hidden states `[T, D]` of the stream after the last block.
    ///
    /// # Errors
    /// When libtorch refuses an operation.
    pub fn finish(&self, stream: &Stream) -> Result<Tensor> {
        self.final_norm.of(&stream.residual, self.kind())
    }

    /// Logits `[T, V]` in f32 of all tokens of one sequence: for tests and small inputs.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn logits(&self, tokens: &[i64]) -> Result<Tensor> {
        let hidden = self.forward(tokens, &self.dense())?;
        self.head().logits(&hidden.f_to_kind(Kind::Float)?)
    }

    /// The stream of sequences of one length before the first block.
    ///
    /// # Errors
    /// When a token is not in the vocabulary.
    pub fn embed(&self, sequences: &[&[i64]]) -> Result<Stream> {
        let length = sequences.first().map_or(0, |tokens| tokens.len()) as i64;
        let residual = self.embedding.select(&sequences.concat())?;
        let residual = match self.embedding_scale {
            Some(scale) => residual.f_to_kind(Kind::Float)?.f_mul_scalar(scale)?,
            None => residual,
        };
        // The rows were in memory of their own, so the buffer is the stream's alone even where no conversion happens.
        Ok(Stream {
            residual: residual.f_to_kind(Kind::Float)?,
            length,
        })
    }

    /// Runs one block, or what the candidates leave of it. The stream's rows are divided evenly
    /// among `candidates`.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn run_block(
        &self,
        block_idx: usize,
        stream: &mut Stream,
        candidates: &[&Candidate],
    ) -> Result<()> {
        let has_attention = |candidate: &Candidate| !candidate.dropped.attention[block_idx];
        stream.run_where(candidates, has_attention, |stream, candidates| {
            let weights = self.block_weights(block_idx, stream, candidates);
            self.attention(block_idx, stream, &weights, &mut |_| ())
        })?;
        let has_mlp = |candidate: &Candidate| !candidate.dropped.mlp[block_idx];
        stream.run_where(candidates, has_mlp, |stream, candidates| {
            let weights = self.block_weights(block_idx, stream, candidates);
            self.mlp(block_idx, stream, &weights, &mut |_| ())
        })
    }

    /// Runs a block of one candidate, and shows `observe` what comes by.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn observe_block(
        &self,
        block_idx: usize,
        stream: &mut Stream,
        candidate: &Candidate,
        observe: Observer<'_>,
    ) -> Result<()> {
        let candidates = [candidate];
        let weights = self.block_weights(block_idx, stream, &candidates);
        if !candidate.dropped.attention[block_idx] {
            self.attention(block_idx, stream, &weights, observe)?;
        }
        if !candidate.dropped.mlp[block_idx] {
            self.mlp(block_idx, stream, &weights, observe)?;
        }
        Ok(())
    }

    /// The weights and experts of a block for `candidates`, among whom the stream's rows are
    /// divided evenly.
    fn block_weights<'a>(
        &'a self,
        block_idx: usize,
        stream: &Stream,
        candidates: &'a [&Candidate],
    ) -> BlockWeights<'a> {
        let rows = stream.rows_of_one(candidates);
        let mut weights =
            BlockWeights::new(move |slots| self.runs(block_idx, slots, candidates, rows));
        let left_out = candidates.iter().map(|candidate| LeftOut {
            num_rows: rows,
            experts: &candidate.dropped.experts[block_idx],
        });
        if left_out.clone().any(|it| !it.experts.is_empty()) {
            weights.left_out = left_out.collect();
        }
        weights
    }

    /// The weights of some slots of a block, for `candidates` of so many rows each.
    fn runs(
        &self,
        block_idx: usize,
        slots: &[usize],
        candidates: &[&Candidate],
        rows: i64,
    ) -> Result<Runs> {
        let first = self.first_layer(block_idx);
        let levels = |candidate: &Candidate, slot: usize| candidate.weights[first + slot];
        let agree = |a: &&Candidate, b: &&Candidate| {
            let mut slots = slots.iter();
            slots.all(|&slot| levels(a, slot) == levels(b, slot))
        };
        let runs = candidates.chunk_by(agree).map(|run| {
            let weights = slots.iter();
            let weights = weights.map(|&slot| self.weights.get(first + slot, levels(run[0], slot)));
            Ok((run.len() as i64 * rows, weights.collect::<Result<_>>()?))
        });
        Ok(Runs(runs.collect::<Result<_>>()?))
    }

    /// Adds the attention of a block to the stream; nothing where the block has none.
    ///
    /// # Errors
    /// When a weight cannot be read or libtorch refuses an operation.
    pub fn attention(
        &self,
        block_idx: usize,
        stream: &mut Stream,
        weights: &BlockWeights<'_>,
        observe: Observer<'_>,
    ) -> Result<()> {
        let Some(attention) = &self.blocks[block_idx].attention else {
            return Ok(());
        };
        let normed = attention.ends.input(&stream.residual, self.kind())?;
        observe(all_rows(LayerInput::AttentionInput, &normed));
        let rotation = self.rope_of(block_idx).rows(stream.length)?;
        let heads = attention.heads(stream.length, rotation.as_ref());
        let bias = attention.projection_bias.as_ref();
        let qkv = weights
            .get(&attention.slots[..3])?
            .map(&normed, |weights, input| Ok(project(weights, bias, input)?))?;
        if let Some(factors) = attention.query_factors(stream.length, qkv.device())? {
            let width = attention.query_width();
            let queries = qkv.f_narrow(1, 0, width)?;
            let mut queries = queries.f_view([-1, stream.length, width])?;
            let _ = queries.f_mul_(&factors)?;
        }
        let attended = rotary_attention(qkv, self.kind(), attention.shape, &heads)?;
        observe(all_rows(LayerInput::AttentionHeads, &attended));
        let bias = attention.output_bias.as_ref();
        let output = weights.get(&attention.slots[3..])?;
        add_output(stream, &attention.ends, &output, bias, &attended)
    }
}

/// Adds to the stream what a sub-block's last layer makes of `input [T, K]`.
pub(crate) fn add_output(
    stream: &mut Stream,
    ends: &Ends,
    weights: &Runs,
    bias: Option<&Tensor>,
    input: &Tensor,
) -> Result<()> {
    if ends.adds_output_itself() {
        return weights.add(&mut stream.residual, input, |sum, weights, input| {
            Ok(add_projection(sum, &weights[0], bias, input)?)
        });
    }
    let output = weights.map(input, |weights, input| Ok(project(weights, bias, input)?))?;
    stream.residual = stream.residual.f_add(&ends.added(&output)?)?;
    Ok(())
}
