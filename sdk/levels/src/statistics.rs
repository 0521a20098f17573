//! Statistics of the inputs `x` of linear layers over the calibration tokens: `H = mean(x xᵀ)` and
//! the root mean square of each feature.
//!
//! `H` is a sum of products in f32 ([`add_second_moment`]), only above the diagonal until it is
//! finished. The result does not depend on how many compute threads there are.
//!
//! Methods that minimise output errors weigh all tokens alike, but the first token of a sequence is
//! one that all later ones attend to (an attention sink: Xiao et al. 2023; Liu et al. 2024 keep its
//! keys and values whole). What is lost there is lost for all of them, so it may count for more: `H
//! + λ P` with `P = Σ x₀ x₀ᵀ / T`, and `λ` such that first tokens make up a given share of the
//! trace. Where they do so anyway, as in the inputs of the layers that give the first token its
//! large activations, nothing is added: `λ P` would drown the rest.

use evopress_plugin::Statistics as Wanted;
use evopress_tensor::{Pool, add_second_moment};
use tch::{Device, Kind, Tensor};

use crate::error::{LevelsError, Result};

/// What a method asked for, on the run's device.
#[derive(Debug)]
pub(super) struct Statistics {
    pub(super) num_tokens: u64,
    /// Root mean square of each feature, `[K]` f32.
    pub(super) input_norms: Option<Tensor>,
    /// `mean(x xᵀ)`, `[K, K]` f32.
    pub(super) second_moment: Option<Tensor>,
    /// By sequence: `√(λ / T) x₀`, `[S, K]` f32; none where all tokens count alike.
    pub(super) first_tokens: Option<Tensor>,
}

impl Statistics {
    /// Of a method that needs none.
    pub(super) fn none() -> Self {
        Self {
            num_tokens: 0,
            input_norms: None,
            second_moment: None,
            first_tokens: None,
        }
    }

    /// Of layers that calibration never reaches, `width` wide: all features are alike and do not
    /// go together, so that a method goes by the weights alone.
    pub(super) fn of_weights_alone(wanted: Wanted, width: i64, device: Device) -> Result<Self> {
        let options = (Kind::Float, device);
        let is_square = wanted == Wanted::Hessian;
        Ok(Self {
            input_norms: Some(Tensor::f_ones([width], options)?),
            second_moment: match is_square {
                true => Some(Tensor::f_eye(width, options)?),
                false => None,
            },
            ..Self::none()
        })
    }

    /// `H` as a method is to see it.
    pub(super) fn hessian(&self) -> Result<Option<Tensor>> {
        match (&self.second_moment, &self.first_tokens) {
            (Some(moment), Some(first)) => {
                Ok(Some(moment.f_addmm(&first.f_transpose(0, 1)?, first)?))
            }
            (moment, _) => Ok(moment.as_ref().map(Tensor::shallow_clone)),
        }
    }
}

/// What layers read of one sequence.
#[derive(Debug)]
pub(super) struct SequenceInput {
    /// `[L, K]`, or the `[n, K]` of an expert's tokens.
    pub(super) values: Tensor,
    /// Whether the first row is the sequence's first token.
    pub(super) has_first_token: bool,
}

/// Bytes of what a method wants of inputs that are `width` wide.
pub(super) fn wanted_bytes(wanted: Wanted, width: i64) -> u64 {
    let width = width as u64;
    match wanted {
        Wanted::Hessian => 4 * width * width,
        _ => 4 * width,
    }
}

/// Sums over tokens on their way to [`Statistics`].
pub(super) struct Sums {
    wanted: Wanted,
    first_token_share: f64,
    num_tokens: u64,
    sum: Option<Tensor>,
    /// Of each sequence, `[1, K]` f32; none where it counts like the others.
    first_tokens: Vec<Tensor>,
}

impl Sums {
    /// `first_token_share`: what the first tokens of sequences shall make up of a Hessian's trace
    /// at least.
    pub(super) fn new(wanted: Wanted, first_token_share: f64) -> Self {
        Self {
            wanted,
            first_token_share,
            num_tokens: 0,
            sum: None,
            first_tokens: Vec::new(),
        }
    }

    /// Adds what the layers read of some sequences.
    pub(super) fn add<C: Send + 'static>(
        &mut self,
        pool: &Pool<C>,
        inputs: &[SequenceInput],
    ) -> Result<()> {
        if inputs.is_empty() {
            return Ok(());
        }
        if self.wanted == Wanted::Hessian && self.first_token_share > 0.0 {
            for input in inputs.iter().filter(|input| input.has_first_token) {
                let first = input.values.f_narrow(0, 0, 1)?.f_to_kind(Kind::Float)?;
                // Not a view, which would keep all of the sequence.
                self.first_tokens.push(first.f_detach_copy()?);
            }
        }
        let values: Vec<&Tensor> = inputs.iter().map(|input| &input.values).collect();
        let inputs = Tensor::f_cat(&values, 0)?;
        let (num_tokens, width) = (inputs.size()[0], inputs.size()[1]);
        self.num_tokens += num_tokens as u64;
        let options = (Kind::Float, inputs.device());
        let is_square = self.wanted == Wanted::Hessian;
        let mut sum = match self.sum.take() {
            Some(sum) => sum,
            None if is_square => Tensor::f_zeros([width, width], options)?,
            None => Tensor::f_zeros([width], options)?,
        };
        if !is_square {
            let squares = inputs.f_to_kind(Kind::Float)?.f_square()?;
            let _ = sum.f_add_(&squares.f_sum_dim_intlist(0i64, false, Kind::Float)?)?;
        } else {
            sum = add_second_moment::<_, LevelsError>(pool, &inputs, sum)?;
        }
        self.sum = Some(sum);
        Ok(())
    }

    /// The means; `layer` names the first layer that reads these inputs, which are `width` wide.
    /// Where no token came by, they are those of [`Statistics::of_weights_alone`] on `device`.
    ///
    /// # Errors
    /// Inputs that are not finite.
    pub(super) fn finish(self, layer: &str, width: i64, device: Device) -> Result<Statistics> {
        let Some(sum) = &self.sum else {
            return Statistics::of_weights_alone(self.wanted, width, device);
        };
        if sum.f_isfinite()?.f_all()?.int64_value(&[]) == 0 {
            return Err(LevelsError::NotFinite {
                layer: layer.to_owned(),
                what: "inputs",
            });
        }
        let mean = sum.f_div_scalar(self.num_tokens as f64)?;
        let (squares, second_moment) = if self.wanted == Wanted::Hessian {
            // Only the upper triangle was summed.
            let upper = mean.f_triu(0)?;
            let whole = upper.f_add(&mean.f_triu(1)?.f_transpose(0, 1)?)?;
            (whole.f_diagonal(0, 0, 1)?.f_contiguous()?, Some(whole))
        } else {
            (mean, None)
        };
        let first_tokens = self.first_tokens(&squares)?;
        Ok(Statistics {
            num_tokens: self.num_tokens,
            input_norms: Some(squares.f_sqrt()?),
            second_moment,
            first_tokens,
        })
    }

    /// [`Statistics::first_tokens`], given the mean squares of all tokens.
    fn first_tokens(&self, squares: &Tensor) -> Result<Option<Tensor>> {
        if self.first_tokens.is_empty() {
            return Ok(None);
        }
        let first = Tensor::f_cat(&self.first_tokens, 0)?;
        let energy = |squares: &Tensor| -> Result<f64> {
            Ok(squares.f_sum(Kind::Double)?.double_value(&[]))
        };
        let num_tokens = self.num_tokens as f64;
        let share = energy(&first.f_square()?)? / num_tokens / energy(squares)?;
        if share.is_nan() || share <= 0.0 || share >= self.first_token_share {
            return Ok(None);
        }
        let factor = (self.first_token_share - share) / (share * (1.0 - self.first_token_share));
        Ok(Some(first.f_mul_scalar((factor / num_tokens).sqrt())?))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use super::*;

    fn sequences(values: &[Tensor]) -> Vec<SequenceInput> {
        let sequences = values.iter().map(|values| SequenceInput {
            values: values.shallow_clone(),
            has_first_token: true,
        });
        sequences.collect()
    }

    fn finish(sums: Sums) -> Statistics {
        sums.finish("layer", 0, Device::Cpu).unwrap()
    }

    #[test]
    fn layers_without_tokens_go_by_their_weights() {
        let sums = Sums::new(Wanted::Hessian, 0.5);
        let found = sums.finish("layer", 3, Device::Cpu).unwrap();
        assert_eq!(found.num_tokens, 0);
        let identity = Tensor::eye(3, (Kind::Float, Device::Cpu));
        assert_eq!(found.hessian().unwrap().unwrap(), identity);
        let sums = Sums::new(Wanted::InputNorms, 0.5);
        let found = sums.finish("layer", 3, Device::Cpu).unwrap();
        assert_eq!(
            found.input_norms.unwrap(),
            identity.sum_dim_intlist(0i64, false, Kind::Float)
        );
        assert!(found.second_moment.is_none());
    }

    #[test]
    fn a_sequence_without_its_first_token_adds_none() {
        let pool = Pool::new(vec![()], Arc::new(AtomicBool::new(false)));
        let values = Tensor::randn([8, 6], (Kind::BFloat16, Device::Cpu));
        let of = |has_first_token: bool| {
            let mut sums = Sums::new(Wanted::Hessian, 0.9);
            let values = values.shallow_clone();
            let input = SequenceInput {
                values,
                has_first_token,
            };
            sums.add(&pool, &[input]).unwrap();
            finish(sums).first_tokens.is_some()
        };
        assert!(of(true) && !of(false));
    }

    #[test]
    fn second_moments_agree_with_libtorchs() {
        let pool = Pool::new(vec![(), ()], Arc::new(AtomicBool::new(false)));
        for (num_tokens, width) in [(64, 10), (130, 250), (32, 192)] {
            let batches: Vec<Tensor> = (0..3)
                .map(|_| Tensor::randn([num_tokens, width], (Kind::BFloat16, Device::Cpu)))
                .collect();
            let mut sums = Sums::new(Wanted::Hessian, 0.0);
            for batch in &batches {
                sums.add(&pool, &sequences(std::slice::from_ref(batch)))
                    .unwrap();
            }
            let found = finish(sums);
            let all = Tensor::cat(&batches, 0).to_kind(Kind::Float);
            let expected = all.transpose(0, 1).matmul(&all) / (3 * num_tokens) as f64;
            let moment = found.second_moment.unwrap();
            assert!((&moment - &expected).abs().max().double_value(&[]) < 1e-4);
            assert_eq!(
                (&moment - moment.transpose(0, 1))
                    .abs()
                    .max()
                    .double_value(&[]),
                0.0
            );

            let mut sums = Sums::new(Wanted::InputNorms, 0.5);
            sums.add(&pool, &sequences(&batches)).unwrap();
            let norms = finish(sums).input_norms.unwrap();
            let error = (norms.square() - expected.diagonal(0, 0, 1)).abs().max();
            assert!(error.double_value(&[]) < 1e-4);
        }
    }

    #[test]
    fn first_tokens_get_their_share_of_the_hessian_alone() {
        let pool = Pool::new(vec![()], Arc::new(AtomicBool::new(false)));
        let values: Vec<Tensor> = (0..3)
            .map(|_| Tensor::randn([8, 6], (Kind::BFloat16, Device::Cpu)))
            .collect();
        let of = |share: f64| {
            let mut sums = Sums::new(Wanted::Hessian, share);
            sums.add(&pool, &sequences(&values)).unwrap();
            finish(sums)
        };
        let first: Vec<Tensor> = values.iter().map(|it| it.narrow(0, 0, 1)).collect();
        let first = Tensor::cat(&first, 0).to_kind(Kind::Float);
        let products = first.transpose(0, 1).matmul(&first);
        let (plain, weighted) = (of(0.0), of(0.75));
        let trace = |it: &Tensor| it.trace().double_value(&[]);
        let differ = |a: &Tensor, b: &Tensor| (a - b).abs().max().double_value(&[]);
        let moment = plain.second_moment.as_ref().unwrap();
        let hessian = weighted.hessian().unwrap().unwrap();
        // What was added is a multiple of the first tokens' products, and as much as makes up the share.
        let added = &hessian - moment;
        let scaled = &products * (trace(&added) / trace(&products));
        assert!(differ(&added, &scaled) < 1e-5);
        let of_first = trace(&added) + trace(&products) / 24.0;
        assert!((of_first / trace(&hessian) - 0.75).abs() < 1e-5);
        // Nothing else sees it, and nothing is added where the share is larger already.
        assert_eq!(
            differ(weighted.second_moment.as_ref().unwrap(), moment),
            0.0
        );
        for share in [0.0, 0.01] {
            assert_eq!(differ(&of(share).hessian().unwrap().unwrap(), moment), 0.0);
        }
    }

    #[test]
    fn inputs_that_overflow_are_reported() {
        let pool = Pool::new(vec![()], Arc::new(AtomicBool::new(false)));
        let mut sums = Sums::new(Wanted::Hessian, 0.0);
        let inputs = Tensor::full([4, 4], f64::INFINITY, (Kind::BFloat16, Device::Cpu));
        sums.add(&pool, &sequences(&[inputs])).unwrap();
        let layer = "model.layers.3.mlp.down_proj";
        let error = sums.finish(layer, 4, Device::Cpu).unwrap_err();
        assert_eq!(
            error.to_string(),
            "layer `model.layers.3.mlp.down_proj`: its inputs contain NaN or infinity"
        );
    }
}
