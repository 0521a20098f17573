//! What MLPs of experts are made of: from the numbers of a configuration to a block's MLP.

use evopress_plugin::SubBlock;

use crate::spec::{
    BlockSpec, ExpertsSpec, LayerRole, LayerSpec, MlpSpec, SharedExpertSpec, Stacked,
};

const MAX_EXPERTS: i64 = 1 << 16;
/// Linear layers of the experts of all blocks: some times more than any model has. Each is listed,
/// so a configuration of a few bytes must not ask for any number of them.
const MAX_LAYERS: i64 = 1 << 18;

/// Hugging Face's names of the parts of an MLP of experts, within the block.
#[derive(Debug)]
pub(crate) struct ExpertsForm {
    /// The router.
    pub(crate) router: &'static str,
    /// What the names of an expert's layers begin with, before its number.
    pub(crate) module: &'static str,
    /// The names of gate, up and down.
    pub(crate) layers: [&'static str; 3],
    /// The tensor of gate and up of all experts, and that of down, where there is no tensor for
    /// each layer.
    pub(crate) stacked: Option<[&'static str; 2]>,
    /// What the parts are called in transformers' memory.
    pub(crate) in_memory: NamesInMemory,
    /// Whether all probabilities of a token are always scaled to a sum of 1, whatever the
    /// configuration says.
    pub(crate) is_renormalized: bool,
    /// Whether `intermediate_size` is the width of an expert, and not of a dense MLP.
    pub(crate) has_one_width: bool,
    /// Whether there is a shared expert.
    pub(crate) has_shared: bool,
}

/// transformers' names of an MLP of experts in memory, within the block, from its version 5 on.
#[derive(Debug)]
pub(crate) struct NamesInMemory {
    /// The router.
    pub(crate) router: &'static str,
    /// What the names of the two tensors of all experts begin with.
    pub(crate) experts: &'static str,
}

impl ExpertsForm {
    /// Qwen's.
    pub(crate) const QWEN: Self = Self {
        router: "mlp.gate",
        module: "mlp.experts",
        layers: ["gate_proj", "up_proj", "down_proj"],
        stacked: None,
        in_memory: NamesInMemory {
            router: "mlp.gate",
            experts: "mlp.experts",
        },
        is_renormalized: false,
        has_one_width: false,
        has_shared: false,
    };
}

const SHARED: &str = "mlp.shared_expert";
const SHARED_GATE: &str = "mlp.shared_expert_gate";

/// The numbers that a configuration has of experts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ExpertNumbers {
    /// Experts that a token takes.
    pub(super) num_active: i64,
    /// See [`ExpertsSpec::is_renormalized`].
    pub(super) is_renormalized: bool,
    /// Width of an expert.
    pub(super) width: i64,
    /// Width of the shared expert, if there is one.
    pub(super) shared_width: Option<i64>,
    /// By block: how many experts it has; 0 where its MLP is dense.
    pub(super) blocks: Vec<i64>,
}

impl ExpertNumbers {
    /// What is wrong with the numbers, if anything.
    /// `by_default` says so of a field of `config.json` that has no value there.
    pub(super) fn mistake(
        &self,
        max_extent: i64,
        by_default: &dyn Fn(&str) -> &'static str,
    ) -> Option<String> {
        let counts = self.blocks.iter().filter(|&&count| count != 0);
        let most = counts.clone().max().copied().unwrap_or(1);
        let least = counts.min().copied().unwrap_or(1);
        let active = by_default("num_experts_per_tok");
        let extents = [
            ("number of experts", most, "", MAX_EXPERTS),
            ("number of experts", least, "", MAX_EXPERTS),
            (
                "number of experts that a token takes",
                self.num_active,
                active,
                least,
            ),
            ("width of an expert", self.width, "", max_extent),
            (
                "width of the shared expert",
                self.shared_width.unwrap_or(1),
                "",
                max_extent,
            ),
        ];
        let mut wrong = extents
            .into_iter()
            .filter(|(_, value, _, max)| !(1..=*max).contains(value));
        if let Some((name, value, default, max)) = wrong.next() {
            return Some(format!("{name} is {value}{default}, allowed: 1 to {max}"));
        }
        let num_layers = self.blocks.iter().sum::<i64>() * 3;
        (num_layers > MAX_LAYERS).then(|| {
            format!("the experts of all blocks have {num_layers} layers, allowed: {MAX_LAYERS}")
        })
    }

    /// Puts so many experts in the place of a block's dense MLP, whose layers come last in it.
    pub(super) fn replace_mlp(
        &self,
        block: &mut BlockSpec,
        form: &ExpertsForm,
        (num_experts, hidden): (i64, i64),
    ) {
        let Some(mlp) = &mut block.mlp else {
            return;
        };
        *mlp = self.mlp(mlp, form, num_experts);
        block
            .layers
            .retain(|layer| layer.sub_block != SubBlock::Mlp);
        for expert in 0..num_experts {
            let module = format!("{}.{expert}", form.module);
            let mut layers = gated(&module, form.layers, hidden, self.width);
            if let Some(stacked) = form.stacked {
                self.stack(&mut layers, stacked, (expert, num_experts));
            }
            let layers = layers.map(|layer| layer.of_expert(expert as u32));
            block.layers.extend(layers);
        }
        if let Some(width) = self.shared_width {
            block
                .layers
                .extend(gated(SHARED, ExpertsForm::QWEN.layers, hidden, width));
        }
    }

    fn mlp(&self, dense: &MlpSpec, form: &ExpertsForm, num_experts: i64) -> MlpSpec {
        MlpSpec {
            intermediate_size: self.width,
            activation: dense.activation,
            experts: Some(ExpertsSpec {
                router: form.router.into(),
                num_experts: num_experts as u32,
                num_active: self.num_active as u32,
                is_renormalized: self.is_renormalized,
                shared: self.shared_width.map(|width| SharedExpertSpec {
                    intermediate_size: width,
                    gate: SHARED_GATE.into(),
                }),
            }),
        }
    }

    /// Says where an expert's layers lie in tensors of all experts: `[experts, 2 · width, hidden]`,
    /// gates above ups, and `[experts, hidden, width]`.
    fn stack(
        &self,
        layers: &mut [LayerSpec; 3],
        [inner, outer]: [&str; 2],
        (expert, num_experts): (i64, i64),
    ) {
        let [gate, up, down] = layers;
        let of_inner = |first_row: i64| Stacked {
            name: inner.into(),
            rows: vec![num_experts, 2 * self.width],
            first_row: expert * 2 * self.width + first_row,
        };
        gate.stacked = Some(of_inner(0));
        up.stacked = Some(of_inner(self.width));
        down.stacked = Some(Stacked {
            name: outer.into(),
            rows: vec![num_experts, down.out_features],
            first_row: expert * down.out_features,
        });
    }
}

fn gated(module: &str, names: [&str; 3], hidden: i64, width: i64) -> [LayerSpec; 3] {
    let layer =
        |name: &str, role, shape| LayerSpec::new(&format!("{module}.{name}"), role, shape, false);
    [
        layer(names[0], LayerRole::Gate, [width, hidden]),
        layer(names[1], LayerRole::Up, [width, hidden]),
        layer(names[2], LayerRole::Down, [hidden, width]),
    ]
}
