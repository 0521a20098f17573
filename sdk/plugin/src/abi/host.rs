//! The twins as the host sees them: back behind the plain traits, and what they return checked.

use std::path::Path;

use abi_stable::{
    library::{LibraryError, RootModuleError, lib_header_from_path},
    sabi_trait,
    sabi_types::RRef,
    std_types::{RResult, RSlice, RVec},
};

use super::{
    Fault, InstanceTwin, PluginModuleRef,
    compress::{self, LayerTaskTwin, TaskTwin},
    fitness::{
        ChunkTwin, ExpectationTwin, FitnessTwin, HeadOpsAbi, HeadOpsAbi_TO, OpsTwin, TargetViewTwin,
    },
    guard::catch,
    method::{MethodTwin, ModelTwin, UnitTwin},
    tensor::{OwnedTwin, ViewTwin},
};
use crate::{
    Chunk, CompressTask, DType, Fitness, GroupBudget, HeadOps, Info, Method, ModelOutline,
    OwnedTensor, PackedWeight, PluginError, PluginKind, Statistics, Target, TargetView, TensorView,
    Unit, check_units,
};

/// A plugin library whose layout has been checked.
pub(crate) struct Module(PluginModuleRef);

/// Why a library's module cannot be used.
pub(crate) enum ModuleError {
    Panicked,
    /// What `abi_stable` has to say about it, possibly at great length.
    Mismatch {
        report: String,
    },
}

impl Module {
    /// Loads the library at `path` for good. Its ABI version has been compared.
    pub(crate) fn open(path: &Path) -> Result<Self, ModuleError> {
        // Not `RootModule::load_from_file`: that remembers one module per type, so every plugin
        // would be the first one.
        let module = lib_header_from_path(path).and_then(|header| header.init_root_module());
        module.map(Module).map_err(|error| match error {
            LibraryError::RootModule {
                err: RootModuleError::Unwound,
                ..
            } => ModuleError::Panicked,
            error => ModuleError::Mismatch {
                report: error.to_string(),
            },
        })
    }

    pub(crate) fn info(&self) -> Result<(Info, PluginKind), Fault> {
        Ok(self.0.info()().into_result()?.into_plain())
    }

    pub(crate) fn create(&self, options: &str) -> Result<InstanceTwin, Fault> {
        self.0.create()(options.into()).into_result()
    }
}

/// A plugin's method, as the host sees it.
pub(crate) struct HostMethod {
    twin: MethodTwin,
    name: String,
    measure: String,
    statistics: Statistics,
}

impl HostMethod {
    pub(crate) fn new(twin: MethodTwin, name: &str) -> Result<Self, Fault> {
        let measure = twin.measure().into_result()?.into_string();
        let statistics = twin.statistics().into_result()?.into();
        Ok(HostMethod {
            twin,
            name: name.to_owned(),
            measure,
            statistics,
        })
    }

    fn explain(&self, fault: Fault) -> PluginError {
        explain(PluginKind::Method, &self.name, fault)
    }
}

impl Method for HostMethod {
    fn units(&self, model: &ModelOutline, target: Option<f64>) -> Result<Vec<Unit>, PluginError> {
        let units = self
            .twin
            .units(&ModelTwin::from(model), target.into())
            .into_result()
            .map_err(|fault| self.explain(fault))?;
        let units: Vec<Unit> = units.iter().map(UnitTwin::to_plain).collect();
        check_units(&units, model).map_err(|error| self.explain(error.into()))?;
        Ok(units)
    }

    fn measure(&self) -> &str {
        &self.measure
    }

    fn budget(
        &self,
        model: &ModelOutline,
        units: &[Unit],
        target: f64,
    ) -> Result<Vec<GroupBudget>, PluginError> {
        let units: Vec<UnitTwin> = units.iter().cloned().map(UnitTwin::from).collect();
        let model = ModelTwin::from(model);
        let budgets = self.twin.budget(&model, units.as_slice().into(), target);
        let budgets = budgets.into_result().map_err(|fault| self.explain(fault))?;
        Ok(budgets.into_iter().map(GroupBudget::from).collect())
    }

    fn statistics(&self) -> Statistics {
        self.statistics
    }

    fn compress(&self, task: &CompressTask<'_>) -> Result<Vec<Vec<PackedWeight>>, PluginError> {
        let layers: Vec<LayerTaskTwin<'_>> = task.layers.iter().map(LayerTaskTwin::new).collect();
        let packed = self.twin.compress(TaskTwin::new(task, &layers));
        packed
            .into_result()
            .and_then(|packed| compress::receive(packed, task))
            .map_err(|fault| self.explain(fault))
    }
}

/// A plugin's fitness, as the host sees it.
pub(crate) struct HostFitness {
    twin: FitnessTwin,
    name: String,
    needs_target: bool,
}

impl HostFitness {
    pub(crate) fn new(twin: FitnessTwin, name: &str) -> Result<Self, Fault> {
        let needs_target = twin.needs_target().into_result()?;
        Ok(HostFitness {
            twin,
            name: name.to_owned(),
            needs_target,
        })
    }

    fn explain(&self, fault: Fault) -> PluginError {
        explain(PluginKind::Fitness, &self.name, fault)
    }
}

impl Fitness for HostFitness {
    fn target(&self, ops: &dyn HeadOps, dense: &Chunk<'_>) -> Result<Target, PluginError> {
        let ops = HostOps(ops);
        let target = self
            .twin
            .target(ops.twin(), ChunkTwin::new(dense))
            .into_result();
        let target = target.and_then(|twin| {
            let vectors: Result<_, _> = twin
                .vectors
                .into_iter()
                .map(OwnedTwin::into_tensor)
                .collect();
            let scalars = twin.scalars.into_iter().map(RVec::into_vec).collect();
            let target = Target {
                scalars,
                vectors: vectors?,
            };
            check_target(&target, dense.next_tokens.len())?;
            Ok(target)
        });
        target.map_err(|fault| self.explain(fault))
    }

    fn loss(
        &self,
        ops: &dyn HeadOps,
        student: &Chunk<'_>,
        target: &TargetView<'_>,
    ) -> Result<Vec<f32>, PluginError> {
        let ops = HostOps(ops);
        let parts = TargetParts::of(target);
        let losses = self
            .twin
            .loss(ops.twin(), ChunkTwin::new(student), parts.twin())
            .into_result();
        let losses = losses.map_err(|fault| self.explain(fault))?;
        let (expected, found) = (student.next_tokens.len(), losses.len());
        if found != expected {
            let error = PluginError::new(format!(
                "expected a loss for each of {expected} tokens, found {found}"
            ));
            return Err(self.explain(error.into()));
        }
        Ok(losses.into_vec())
    }

    fn gradient(
        &self,
        ops: &dyn HeadOps,
        student: &Chunk<'_>,
        target: &TargetView<'_>,
        own_gradient: &TensorView<'_>,
    ) -> Result<Option<OwnedTensor>, PluginError> {
        let ops = HostOps(ops);
        let parts = TargetParts::of(target);
        let gradient = self.twin.gradient(
            ops.twin(),
            ChunkTwin::new(student),
            parts.twin(),
            ViewTwin::new(own_gradient),
        );
        let gradient = gradient.into_result().and_then(|gradient| {
            let gradient = gradient.into_option().map(OwnedTwin::into_tensor);
            let gradient = gradient.transpose()?;
            if let Some(gradient) = &gradient {
                check_gradient(gradient, own_gradient)?;
            }
            Ok(gradient)
        });
        gradient.map_err(|fault| self.explain(fault))
    }

    fn needs_target(&self) -> bool {
        self.needs_target
    }
}

/// A target's entries as they cross the boundary.
struct TargetParts<'a> {
    scalars: Vec<RSlice<'a, f32>>,
    vectors: Vec<ViewTwin<'a>>,
}

impl<'a> TargetParts<'a> {
    fn of(target: &'a TargetView<'_>) -> Self {
        let scalars = target.scalars.iter();
        TargetParts {
            scalars: scalars.map(|scalars| (*scalars).into()).collect(),
            vectors: target.vectors.iter().map(ViewTwin::new).collect(),
        }
    }

    fn twin(&self) -> TargetViewTwin<'_> {
        TargetViewTwin {
            scalars: self.scalars.as_slice().into(),
            vectors: self.vectors.as_slice().into(),
        }
    }
}

/// A gradient has the shape of the hidden states, in f32.
fn check_gradient(gradient: &OwnedTensor, hidden: &TensorView<'_>) -> Result<(), PluginError> {
    let view = gradient.view();
    if view.shape() != hidden.shape() || view.dtype() != DType::F32 {
        return Err(PluginError::new(format!(
            "expected a gradient of shape {:?} in f32, found {:?} in {}",
            hidden.shape(),
            view.shape(),
            view.dtype()
        )));
    }
    Ok(())
}

/// A fault with the name of the plugin that it comes from.
fn explain(kind: PluginKind, name: &str, fault: Fault) -> PluginError {
    let said = if fault.panicked { " panicked" } else { "" };
    PluginError::new(format!("{kind} `{name}`{said}: {}", fault.message))
}

/// Every entry of a target has a row for each token, so that the engine can cut it.
fn check_target(target: &Target, num_tokens: usize) -> Result<(), PluginError> {
    for (index, scalars) in target.scalars.iter().enumerate() {
        if scalars.len() != num_tokens {
            let found = scalars.len();
            return Err(PluginError::new(format!(
                "scalar {index} of the target: expected a number for each of {num_tokens} tokens, found {found}"
            )));
        }
    }
    for (index, vector) in target.vectors.iter().enumerate() {
        let view = vector.view();
        if view.matrix_shape()?.0 != num_tokens {
            let found = view.shape();
            return Err(PluginError::new(format!(
                "vector {index} of the target: expected a tensor of shape [{num_tokens}, D], found {found:?}"
            )));
        }
    }
    Ok(())
}

/// The host's operations, as they leave the host.
struct HostOps<'a>(&'a dyn HeadOps);

impl HostOps<'_> {
    fn twin(&self) -> OpsTwin<'_> {
        HeadOpsAbi_TO::from_ptr(RRef::new(self), sabi_trait::TD_Opaque)
    }
}

impl HeadOpsAbi for HostOps<'_> {
    fn log_sum_exp(&self, hidden: ViewTwin<'_>) -> RResult<RVec<f32>, Fault> {
        catch(|| Ok(self.0.log_sum_exp(&hidden.view()?)?.into()))
    }

    fn expectation(&self, hidden: ViewTwin<'_>) -> RResult<ExpectationTwin, Fault> {
        catch(|| {
            let expectation = self.0.expectation(&hidden.view()?)?;
            Ok(ExpectationTwin {
                negative_entropy: expectation.negative_entropy.into(),
                summary: expectation.summary.into(),
            })
        })
    }

    fn expected_logits(
        &self,
        hidden: ViewTwin<'_>,
        summary: ViewTwin<'_>,
    ) -> RResult<RVec<f32>, Fault> {
        catch(|| {
            let logits = self.0.expected_logits(&hidden.view()?, &summary.view()?)?;
            Ok(logits.into())
        })
    }

    fn expected_gradient(
        &self,
        hidden: ViewTwin<'_>,
        summary: ViewTwin<'_>,
    ) -> RResult<OwnedTwin, Fault> {
        catch(|| {
            let (hidden, summary) = (hidden.view()?, summary.view()?);
            Ok(self.0.expected_gradient(&hidden, &summary)?.into())
        })
    }

    fn token_logits(
        &self,
        hidden: ViewTwin<'_>,
        tokens: RSlice<'_, i64>,
    ) -> RResult<RVec<f32>, Fault> {
        catch(|| {
            Ok(self
                .0
                .token_logits(&hidden.view()?, tokens.as_slice())?
                .into())
        })
    }

    fn logits(&self, hidden: ViewTwin<'_>) -> RResult<OwnedTwin, Fault> {
        catch(|| Ok(self.0.logits(&hidden.view()?)?.into()))
    }

    fn difference(&self, a: ViewTwin<'_>, b: ViewTwin<'_>) -> RResult<OwnedTwin, Fault> {
        catch(|| Ok(self.0.difference(&a.view()?, &b.view()?)?.into()))
    }

    fn token_gradients(
        &self,
        hidden: ViewTwin<'_>,
        tokens: RSlice<'_, i64>,
    ) -> RResult<OwnedTwin, Fault> {
        catch(|| {
            let hidden = hidden.view()?;
            Ok(self.0.token_gradients(&hidden, tokens.as_slice())?.into())
        })
    }
}
