//! Weights to compress on their way to a method, and packed ones on their way back.

use abi_stable::{
    StableAbi,
    std_types::{ROption, RSlice, RStr, RString, RVec},
};

use super::{
    Fault,
    ggml::GgmlTypeTwin,
    tensor::{OwnedTwin, ViewTwin},
};
use crate::{CompressTask, DType, Encoding, LayerTask, PackedWeight, Statistics, Variant};

#[repr(u8)]
#[derive(StableAbi, Clone, Copy)]
pub enum StatisticsTwin {
    None,
    InputNorms,
    Hessian,
}

#[repr(C)]
#[derive(StableAbi, Clone)]
pub struct VariantTwin {
    name: RString,
    encoding: EncodingTwin,
}

#[repr(C, u8)]
#[derive(StableAbi, Clone, Copy)]
pub enum EncodingTwin {
    Quantized {
        bits: u8,
        group_size: u32,
        symmetric: bool,
    },
    Sparse {
        num_values: u64,
        dtype: DTypeTwin,
    },
    Ggml {
        ggml_type: GgmlTypeTwin,
    },
}

#[repr(u8)]
#[derive(StableAbi, Clone, Copy)]
pub enum DTypeTwin {
    F32,
    F16,
    Bf16,
    I64,
    U8,
}

/// Twin of [`CompressTask`].
#[repr(C)]
#[derive(StableAbi)]
pub struct TaskTwin<'a> {
    num_tokens: u64,
    input_norms: ROption<RSlice<'a, f32>>,
    hessian: ROption<ViewTwin<'a>>,
    pub(super) layers: RSlice<'a, LayerTaskTwin<'a>>,
}

/// Twin of [`LayerTask`].
#[repr(C)]
#[derive(StableAbi)]
pub struct LayerTaskTwin<'a> {
    name: RStr<'a>,
    weight: ViewTwin<'a>,
    variants: RVec<VariantTwin>,
}

/// Twin of [`PackedWeight`].
#[repr(C)]
#[derive(StableAbi)]
pub struct PackedTwin {
    parts: RVec<OwnedTwin>,
}

impl From<Statistics> for StatisticsTwin {
    fn from(statistics: Statistics) -> Self {
        match statistics {
            Statistics::None => StatisticsTwin::None,
            Statistics::InputNorms => StatisticsTwin::InputNorms,
            Statistics::Hessian => StatisticsTwin::Hessian,
        }
    }
}

impl From<StatisticsTwin> for Statistics {
    fn from(twin: StatisticsTwin) -> Self {
        match twin {
            StatisticsTwin::None => Statistics::None,
            StatisticsTwin::InputNorms => Statistics::InputNorms,
            StatisticsTwin::Hessian => Statistics::Hessian,
        }
    }
}

impl From<&Variant> for VariantTwin {
    fn from(variant: &Variant) -> Self {
        let encoding = match variant.encoding {
            Encoding::Quantized {
                bits,
                group_size,
                symmetric,
            } => EncodingTwin::Quantized {
                bits,
                group_size,
                symmetric,
            },
            Encoding::Sparse { num_values, dtype } => EncodingTwin::Sparse {
                num_values,
                dtype: match dtype {
                    DType::F32 => DTypeTwin::F32,
                    DType::F16 => DTypeTwin::F16,
                    DType::Bf16 => DTypeTwin::Bf16,
                    DType::I64 => DTypeTwin::I64,
                    DType::U8 => DTypeTwin::U8,
                },
            },
            Encoding::Ggml { ggml_type } => EncodingTwin::Ggml {
                ggml_type: ggml_type.into(),
            },
        };
        VariantTwin {
            name: variant.name.as_str().into(),
            encoding,
        }
    }
}

impl VariantTwin {
    pub(super) fn to_plain(&self) -> Variant {
        let encoding = match self.encoding {
            EncodingTwin::Quantized {
                bits,
                group_size,
                symmetric,
            } => Encoding::Quantized {
                bits,
                group_size,
                symmetric,
            },
            EncodingTwin::Sparse { num_values, dtype } => Encoding::Sparse {
                num_values,
                dtype: match dtype {
                    DTypeTwin::F32 => DType::F32,
                    DTypeTwin::F16 => DType::F16,
                    DTypeTwin::Bf16 => DType::Bf16,
                    DTypeTwin::I64 => DType::I64,
                    DTypeTwin::U8 => DType::U8,
                },
            },
            EncodingTwin::Ggml { ggml_type } => Encoding::Ggml {
                ggml_type: ggml_type.into(),
            },
        };
        Variant {
            name: self.name.to_string(),
            encoding,
        }
    }
}

impl<'a> LayerTaskTwin<'a> {
    #[cfg(feature = "host")]
    pub(super) fn new(layer: &'a LayerTask<'_>) -> Self {
        LayerTaskTwin {
            name: layer.name.into(),
            weight: ViewTwin::new(&layer.weight),
            variants: layer.variants.iter().map(VariantTwin::from).collect(),
        }
    }

    pub(super) fn variants(&self) -> Vec<Variant> {
        self.variants.iter().map(VariantTwin::to_plain).collect()
    }
}

impl<'a> TaskTwin<'a> {
    #[cfg(feature = "host")]
    pub(super) fn new(task: &'a CompressTask<'_>, layers: &'a [LayerTaskTwin<'a>]) -> Self {
        TaskTwin {
            num_tokens: task.num_tokens,
            input_norms: task.input_norms.map(RSlice::from).into(),
            hessian: task.hessian.as_ref().map(ViewTwin::new).into(),
            layers: layers.into(),
        }
    }

    /// `variants` are those of the layers, in their order.
    pub(super) fn to_plain<'b>(
        &'b self,
        variants: &'b [Vec<Variant>],
    ) -> Result<CompressTask<'b>, Fault> {
        let layers = self.layers.iter().zip(variants);
        let layers: Result<_, Fault> = layers
            .map(|(layer, variants)| {
                Ok(LayerTask {
                    name: layer.name.as_str(),
                    weight: layer.weight.view()?,
                    variants,
                })
            })
            .collect();
        let hessian = self.hessian.as_ref().map(ViewTwin::view).into_option();
        Ok(CompressTask {
            num_tokens: self.num_tokens,
            input_norms: self
                .input_norms
                .as_ref()
                .map(RSlice::as_slice)
                .into_option(),
            hessian: hessian.transpose()?,
            layers: layers?,
        })
    }
}

impl From<PackedWeight> for PackedTwin {
    fn from(packed: PackedWeight) -> Self {
        PackedTwin {
            parts: packed.parts.into_iter().map(OwnedTwin::from).collect(),
        }
    }
}

/// What a method returned, with every part checked against its encoding.
#[cfg(feature = "host")]
pub(super) fn receive(
    packed: RVec<RVec<PackedTwin>>,
    task: &CompressTask<'_>,
) -> Result<Vec<Vec<PackedWeight>>, Fault> {
    use crate::PluginError;

    let count = |what: &str, found: usize, expected: usize| match found == expected {
        true => Ok(()),
        false => Err(PluginError::new(format!(
            "expected {expected} {what}, found {found}"
        ))),
    };
    count("layers", packed.len(), task.layers.len())?;
    let mut received = Vec::with_capacity(packed.len());
    for (of_layer, layer) in packed.into_iter().zip(&task.layers) {
        let (rows, columns) = layer.weight.matrix_shape()?;
        let place = |what: &str| format!("{what} of layer `{}`", layer.name);
        count(&place("variants"), of_layer.len(), layer.variants.len())?;
        let mut weights = Vec::with_capacity(of_layer.len());
        for (twin, variant) in of_layer.into_iter().zip(layer.variants) {
            let expected = variant.encoding.parts(rows as u64, columns as u64);
            let place = place(&format!("parts of variant `{}`", variant.name));
            count(&place, twin.parts.len(), expected.len())?;
            let mut parts = Vec::with_capacity(expected.len());
            for (part, expected) in twin.parts.into_iter().zip(&expected) {
                let part = part.into_tensor()?;
                let view = part.view();
                let shape: Vec<u64> = view.shape().iter().map(|&extent| extent as u64).collect();
                let is_plain = view.is_contiguous() && view.device() == crate::Device::Cpu;
                if view.dtype() != expected.dtype || shape != expected.shape || !is_plain {
                    let message = format!(
                        "{place}: `{}` is {}{shape:?} on {}, expected {}{:?}, contiguous on cpu",
                        expected.name,
                        view.dtype(),
                        view.device(),
                        expected.dtype,
                        expected.shape
                    );
                    return Err(PluginError::new(message).into());
                }
                parts.push(part);
            }
            weights.push(PackedWeight { parts });
        }
        received.push(weights);
    }
    Ok(received)
}
