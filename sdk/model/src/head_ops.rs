//! The head as fitness plugins see it.

use evopress_plugin::{Expectation, HeadOps, OwnedTensor, PluginError, TensorView};
use evopress_plugin_tch::with_tensor;
use tch::{Kind, Tensor};

use crate::error::{ModelError, Result};
use crate::head::Head;

impl HeadOps for Head {
    fn log_sum_exp(&self, hidden: &TensorView<'_>) -> Result<Vec<f32>, PluginError> {
        self.with_hidden(hidden, |hidden| {
            self.log_sum_exp(hidden).map_err(to_plugin_error)
        })
    }

    fn expectation(&self, hidden: &TensorView<'_>) -> Result<Expectation, PluginError> {
        let (negative_entropy, summary) = self.with_hidden(hidden, |hidden| {
            self.expectation(hidden).map_err(to_plugin_error)
        })?;
        Ok(Expectation {
            negative_entropy,
            summary: evopress_plugin_tch::into_owned(summary)?,
        })
    }

    fn expected_logits(
        &self,
        hidden: &TensorView<'_>,
        summary: &TensorView<'_>,
    ) -> Result<Vec<f32>, PluginError> {
        check_pair("expected logits", hidden, summary)?;
        self.with_hidden(hidden, |hidden| {
            with_tensor(summary, |summary| self.expected_logits(hidden, summary))?
                .map_err(to_plugin_error)
        })
    }

    fn expected_gradient(
        &self,
        hidden: &TensorView<'_>,
        summary: &TensorView<'_>,
    ) -> Result<OwnedTensor, PluginError> {
        check_pair("expected gradients", hidden, summary)?;
        let gradient = self.with_hidden(hidden, |hidden| {
            with_tensor(summary, |summary| {
                // In memory of its own: what goes to a plugin has no other handle.
                Ok(self.expected_gradient(hidden, summary)?.f_detach_copy()?)
            })?
            .map_err(to_plugin_error)
        })?;
        evopress_plugin_tch::into_owned(gradient)
    }

    fn token_logits(
        &self,
        hidden: &TensorView<'_>,
        tokens: &[i64],
    ) -> Result<Vec<f32>, PluginError> {
        self.with_hidden(hidden, |hidden| {
            check_one_each(hidden, tokens)?;
            self.check_tokens(tokens, -1)?;
            self.token_logits(hidden, tokens).map_err(to_plugin_error)
        })
    }

    fn logits(&self, hidden: &TensorView<'_>) -> Result<OwnedTensor, PluginError> {
        let logits = self.with_hidden(hidden, |hidden| {
            self.logits(hidden).map_err(to_plugin_error)
        })?;
        evopress_plugin_tch::into_owned(logits)
    }

    fn difference(
        &self,
        a: &TensorView<'_>,
        b: &TensorView<'_>,
    ) -> Result<OwnedTensor, PluginError> {
        check_pair("difference", a, b)?;
        let difference = |a: &Tensor, b: &Tensor| -> Result<Tensor> {
            Ok(a.f_to_kind(Kind::Float)?
                .f_sub(&b.f_to_kind(Kind::Float)?)?)
        };
        let difference = with_tensor(a, |a| with_tensor(b, |b| difference(a, b)))??;
        evopress_plugin_tch::into_owned(difference.map_err(to_plugin_error)?)
    }

    fn token_gradients(
        &self,
        hidden: &TensorView<'_>,
        tokens: &[i64],
    ) -> Result<OwnedTensor, PluginError> {
        let gradients = self.with_hidden(hidden, |hidden| {
            check_one_each(hidden, tokens)?;
            self.check_tokens(tokens, 0)?;
            self.token_gradients(hidden, tokens)
                .map_err(to_plugin_error)
        })?;
        evopress_plugin_tch::into_owned(gradients)
    }
}

impl Head {
    fn check_tokens(&self, tokens: &[i64], least: i64) -> Result<(), PluginError> {
        let vocab_size = self.vocab_size();
        let is_known = |token: &&i64| (least..vocab_size).contains(*token);
        match tokens.iter().find(|token| !is_known(token)) {
            None => Ok(()),
            Some(token) => Err(PluginError::new(format!(
                "token {token} is not in the vocabulary of {vocab_size}"
            ))),
        }
    }

    /// Hidden states `[T, D]` as a tensor, for `work`.
    fn with_hidden<R>(
        &self,
        view: &TensorView<'_>,
        work: impl FnOnce(&Tensor) -> Result<R, PluginError>,
    ) -> Result<R, PluginError> {
        let width = self.width();
        match view.shape() {
            [_, found] if *found == width => with_tensor(view, work)?,
            found => Err(PluginError::new(format!(
                "hidden states are {found:?}, expected [T, {width}]"
            ))),
        }
    }
}

fn check_one_each(hidden: &Tensor, tokens: &[i64]) -> Result<(), PluginError> {
    if hidden.size()[0] == tokens.len() as i64 {
        return Ok(());
    }
    Err(PluginError::new(format!(
        "{} tokens for hidden states {:?}",
        tokens.len(),
        hidden.size()
    )))
}

fn check_pair(what: &str, a: &TensorView<'_>, b: &TensorView<'_>) -> Result<(), PluginError> {
    if a.shape() == b.shape() {
        return Ok(());
    }
    Err(PluginError::new(format!(
        "{what} of {:?} and {:?}: expected two equal shapes",
        a.shape(),
        b.shape()
    )))
}

// Taken by value so that it can be handed to `map_err`.
#[expect(clippy::needless_pass_by_value)]
fn to_plugin_error(error: ModelError) -> PluginError {
    PluginError::new(error.to_string())
}
