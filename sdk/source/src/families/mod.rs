//! Families of models: how a configuration becomes a [`ModelSpec`].

mod dense;

pub(crate) use dense::dense_spec;
