//! Which way a product takes on a device.

use tch::{Device, Kind};

use crate::gemm::Backend;

/// The back end for packed products of tensors of `kind` on `device` with `depth` numbers a row;
/// none where libtorch's own operators are used.
pub(crate) fn packed_backend(kind: Kind, device: Device, depth: i64) -> Option<Backend> {
    let fits = kind == Kind::BFloat16 && device == Device::Cpu && depth % 2 == 0;
    fits.then(Backend::fastest).flatten()
}

/// Dtype in which libtorch multiplies matrices fastest on `device` for a run in `kind`: bf16 only
/// where there are units for it; without, it takes many times as long as f32.
pub fn product_kind(kind: Kind, device: Device) -> Kind {
    let has_units = Backend::fastest() == Some(Backend::Bf16Units);
    match device.is_cuda() || has_units {
        true => kind,
        false => Kind::Float,
    }
}

/// Whether a GPU multiplies numbers of `kind` and leaves the sums in f32.
pub fn has_wide_sums(kind: Kind, device: Device) -> bool {
    kind == Kind::BFloat16 && device.is_cuda()
}
