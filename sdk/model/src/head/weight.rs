//! The head's weight, read when it is first used: packed where the CPU multiplies packed weights,
//! else as a tensor.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use evopress_source::{ModelSpec, Source};
use evopress_tensor::{PackedWeight, ReadOnly, Weight};
use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::read::read_weight;
use crate::row_store::RowStore;

/// The head on its device; sharing is cheap.
pub struct Head {
    source: Arc<Source>,
    /// Of its tensor, which is the embedding's where they are tied.
    name: Arc<str>,
    size: [i64; 2],
    kind: Kind,
    device: Device,
    pub(super) cap: Option<f64>,
    loaded: Arc<Loaded>,
}

#[derive(Default)]
struct Loaded {
    weight: OnceLock<HeadWeight>,
    /// Held by whoever loads it, so that it is not there twice for a moment.
    loading: Mutex<()>,
}

/// `W [V, D]`.
pub(super) enum HeadWeight {
    Plain(ReadOnly<Tensor>),
    Packed {
        products: PackedWeight,
        /// Single rows as the file has them: in a packed weight their numbers lie far apart.
        rows: RowStore,
    },
}

impl Head {
    /// The head of a model. Nothing is read before it is used.
    pub(crate) fn new(source: &Arc<Source>, kind: Kind, device: Device) -> Self {
        let spec = source.spec();
        Self {
            source: Arc::clone(source),
            name: format!("{}.weight", tensor_name(spec)).into(),
            size: [spec.vocab_size, spec.hidden_size],
            kind,
            device,
            cap: spec.head.cap,
            loaded: Arc::default(),
        }
    }

    /// Another handle to the same head, for another thread.
    pub fn share(&self) -> Self {
        Self {
            source: Arc::clone(&self.source),
            name: Arc::clone(&self.name),
            loaded: Arc::clone(&self.loaded),
            ..*self
        }
    }

    /// Reads the weight, where that has not been done.
    ///
    /// # Errors
    /// When it cannot be read or there is no memory for it.
    pub fn load(&self) -> Result<()> {
        self.weight().map(drop)
    }

    /// V.
    pub(crate) fn vocab_size(&self) -> i64 {
        self.size[0]
    }

    /// D.
    pub(crate) fn width(&self) -> i64 {
        self.size[1]
    }

    pub(super) fn device(&self) -> Device {
        self.device
    }

    /// The weight for products of packed weights, where the head is one and `hidden` fits it.
    pub(super) fn packed_for(&self, hidden: &Tensor) -> Result<Option<&PackedWeight>> {
        Ok(match self.weight()? {
            HeadWeight::Packed { products, .. } if hidden.kind() == Kind::BFloat16 => {
                Some(products)
            }
            _ => None,
        })
    }

    /// The weight as a tensor, where it is one.
    pub(super) fn plain(&self) -> Result<Option<&Tensor>> {
        Ok(match self.weight()? {
            HeadWeight::Plain(weight) => Some(weight.get()),
            HeadWeight::Packed { .. } => None,
        })
    }

    /// At most `count` rows from row `first` on, `[n, D]` in f32.
    ///
    /// # Errors
    /// When the head cannot be read or there is no memory for them.
    pub fn rows(&self, first: i64, count: i64) -> Result<Tensor> {
        match self.weight()? {
            HeadWeight::Packed { products, .. } => {
                Ok(products.rows(first as usize, count as usize)?)
            }
            HeadWeight::Plain(weight) => {
                let count = count.min(self.vocab_size() - first);
                Ok(weight
                    .get()
                    .f_narrow(0, first, count)?
                    .f_to_kind(Kind::Float)?)
            }
        }
    }

    /// `W[token_t]`, `[T, D]` in f32.
    pub(super) fn token_rows(&self, tokens: &[i64]) -> Result<Tensor> {
        let rows = match self.weight()? {
            HeadWeight::Packed { rows, .. } => rows.select(tokens)?,
            HeadWeight::Plain(weight) => {
                let ids = Tensor::f_from_slice(tokens)?.f_to_device(self.device)?;
                weight.get().f_index_select(0, &ids)?
            }
        };
        Ok(rows.f_to_kind(Kind::Float)?)
    }

    fn weight(&self) -> Result<&HeadWeight> {
        if let Some(weight) = self.loaded.weight.get() {
            return Ok(weight);
        }
        let loading = &self.loaded.loading;
        let _first = loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(weight) = self.loaded.weight.get() {
            return Ok(weight);
        }
        let weight = read_weight(&self.source, &self.name, self.kind, self.device)?;
        let weight = match weight {
            Weight::Packed(products) => HeadWeight::Packed {
                products,
                rows: RowStore::open(&self.source, &self.name, self.kind, self.device)?,
            },
            Weight::Plain(weight) => HeadWeight::Plain(ReadOnly::new(weight)),
        };
        Ok(self.loaded.weight.get_or_init(|| weight))
    }
}

fn tensor_name(spec: &ModelSpec) -> &str {
    match spec.head.tied {
        true => &spec.embedding.name,
        false => &spec.head.name,
    }
}

#[cfg(test)]
impl Head {
    /// A head of `weight`, packed for `backend` if there is one.
    pub(super) fn of(
        source: &Arc<Source>,
        weight: Tensor,
        backend: Option<evopress_tensor::Backend>,
        cap: Option<f64>,
    ) -> Self {
        let size = weight.size();
        let kind = weight.kind();
        let weight = match backend {
            Some(backend) => HeadWeight::Packed {
                products: PackedWeight::new(&weight, backend).unwrap(),
                rows: RowStore::Tensor(ReadOnly::new(weight)),
            },
            None => HeadWeight::Plain(ReadOnly::new(weight)),
        };
        Self {
            size: [size[0], size[1]],
            cap,
            loaded: Arc::new(Loaded {
                weight: weight.into(),
                loading: Mutex::default(),
            }),
            ..Self::new(source, kind, Device::Cpu)
        }
    }
}
