//! `Σ x xᵀ` of bf16 rows in f32, at the speed of the packed products and exact in them.
//!
//! Only what is above the diagonal is computed. Tiles are shared out to the compute threads, each
//! summed in the order of the rows, so that the result does not depend on how many threads there
//! are.

use std::sync::Arc;

use half::bf16;
use tch::{Kind, Tensor};

use crate::buffer::{Buffer, slice};
use crate::dispatch::packed_backend;
use crate::error::{Interrupted, Result, TensorError};
use crate::packed::{PackedWeight, TILE};
use crate::pool::Pool;
use crate::read_only::ReadOnly;

/// `sum [K, K] += xᵀ x` for `inputs [T, K]`; below the diagonal tiles the sum stays as it is. `sum`
/// is f32 on the device of `inputs`.
///
/// # Errors
/// When libtorch refuses an operation or the pool was stopped.
pub fn add_second_moment<C, E>(pool: &Pool<C>, inputs: &Tensor, sum: Tensor) -> Result<Tensor, E>
where
    C: Send + 'static,
    E: From<TensorError> + From<Interrupted> + Send + 'static,
{
    let torch = |error: tch::TchError| E::from(TensorError::from(error));
    let backend = packed_backend(inputs.kind(), inputs.device(), inputs.size()[0]);
    let Some(backend) = backend else {
        let inputs = inputs.f_to_kind(Kind::Float).map_err(torch)?;
        let transposed = inputs.f_transpose(0, 1).map_err(torch)?;
        return sum.f_addmm(&transposed, &inputs).map_err(torch);
    };
    let features = inputs.f_transpose(0, 1).and_then(|it| it.f_contiguous());
    let features = features.map_err(torch)?;
    let (num_features, num_tokens) = (features.size()[0] as usize, features.size()[1] as usize);
    let shared = ReadOnly::new((PackedWeight::new(&features, backend)?, features));
    let tiles = Rows::split(Buffer::<f32>::from_tensor(sum)?, TILE * num_features);
    let work = move |_: &mut C, (tile_idx, mut rows): (usize, Rows)| -> Result<Rows, E> {
        let (packed, features) = shared.get();
        let first = tile_idx * TILE * num_tokens;
        let count = rows.get_mut().len() / num_features * num_tokens;
        let input = &slice::<bf16>(features)[first..][..count];
        packed.add_products_from(tile_idx, input, rows.get_mut());
        Ok(rows)
    };
    let items = tiles.into_iter().enumerate().collect();
    let tiles = pool.map(items, work, |_| ())?;
    Ok(Rows::join(tiles).into_tensor())
}

/// Some of a buffer's numbers, which no other `Rows` has.
struct Rows {
    all: Arc<Buffer<f32>>,
    start: *mut f32,
    count: usize,
}

// SAFETY: a `Rows` is the only one with its numbers, so it may be handed to another thread like a vector of them.
unsafe impl Send for Rows {}

impl Rows {
    /// Parts of `count` numbers each, but for the last.
    fn split(mut all: Buffer<f32>, count: usize) -> Vec<Self> {
        let (start, total) = (all.as_mut_ptr(), all.len());
        let all = Arc::new(all);
        let parts = (0..total).step_by(count).map(|first| Self {
            all: Arc::clone(&all),
            start: start.wrapping_add(first),
            count: count.min(total - first),
        });
        parts.collect()
    }

    /// The buffer that all of its parts make up again.
    fn join(parts: Vec<Self>) -> Buffer<f32> {
        let mut parts = parts.into_iter();
        let all = parts.next().expect("a buffer has at least one part").all;
        parts.for_each(drop);
        Arc::into_inner(all).expect("every part of the buffer has come back")
    }

    fn get_mut(&mut self) -> &mut [f32] {
        // SAFETY: `split` made parts that lie within the buffer and do not overlap; while they exist nobody reads the buffer
        // itself, and `all` keeps its memory.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.count) }
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn parts_of_a_buffer_make_it_up_again() {
        let mut parts = Rows::split(Buffer::zeros(&[10]).unwrap(), 4);
        for (idx, part) in parts.iter_mut().enumerate() {
            part.get_mut().fill(idx as f32);
        }
        let whole = Rows::join(parts);
        assert_eq!(*whole, [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0]);
    }

    #[derive(Debug)]
    struct Failure;

    impl From<TensorError> for Failure {
        fn from(_: TensorError) -> Self {
            Self
        }
    }

    impl From<Interrupted> for Failure {
        fn from(_: Interrupted) -> Self {
            Self
        }
    }

    #[test]
    fn sums_above_the_diagonal_agree_with_libtorchs() {
        let pool = Pool::new(vec![(), ()], Arc::default());
        for (num_tokens, width) in [(64, 10), (130, 250), (32, 192)] {
            let inputs = Tensor::randn([num_tokens, width], (Kind::BFloat16, Device::Cpu));
            let zeros = Tensor::zeros([width, width], (Kind::Float, Device::Cpu));
            let found = add_second_moment::<_, Failure>(&pool, &inputs, zeros).unwrap();
            let inputs = inputs.to_kind(Kind::Float);
            let expected = inputs.transpose(0, 1).matmul(&inputs).triu(0);
            let error = (found.triu(0) - expected).abs().max().double_value(&[]);
            assert!(error < 1e-3, "{num_tokens}×{width}: {error}");
        }
    }
}
