//! [`Method`] across the boundary: units and budgets here, weights in [`super::compress`].

use abi_stable::{
    StableAbi, sabi_trait,
    std_types::{RBox, ROption, RResult, RSlice, RString, RVec},
};

use super::{
    Fault,
    compress::{PackedTwin, StatisticsTwin, TaskTwin, VariantTwin},
    guard::Guarded,
    guard::catch,
};
use crate::{
    BlockPart, Edit, GroupBudget, LayerOutline, Level, Method, ModelOutline, SubBlock, Unit,
};

#[sabi_trait]
pub trait MethodAbi: Send + Sync {
    fn units(&self, model: &ModelTwin, target: ROption<f64>) -> RResult<RVec<UnitTwin>, Fault>;
    fn measure(&self) -> RResult<RString, Fault>;
    fn budget(
        &self,
        model: &ModelTwin,
        units: RSlice<'_, UnitTwin>,
        target: f64,
    ) -> RResult<RVec<BudgetTwin>, Fault>;
    fn statistics(&self) -> RResult<StatisticsTwin, Fault>;
    #[sabi(last_prefix_field)]
    fn compress(&self, task: TaskTwin<'_>) -> RResult<RVec<RVec<PackedTwin>>, Fault>;
}

pub(crate) type MethodTwin = MethodAbi_TO<'static, RBox<()>>;

/// The author's method, as it leaves the plugin.
pub(super) fn export(method: Box<dyn Method>) -> MethodTwin {
    MethodAbi_TO::from_value(Guarded::new(method), sabi_trait::TD_Opaque)
}

impl MethodAbi for Guarded<Box<dyn Method>> {
    fn units(&self, model: &ModelTwin, target: ROption<f64>) -> RResult<RVec<UnitTwin>, Fault> {
        catch(|| {
            let units = (**self).units(&model.to_plain(), target.into_option())?;
            Ok(units.into_iter().map(UnitTwin::from).collect())
        })
    }

    fn measure(&self) -> RResult<RString, Fault> {
        catch(|| Ok((**self).measure().into()))
    }

    fn budget(
        &self,
        model: &ModelTwin,
        units: RSlice<'_, UnitTwin>,
        target: f64,
    ) -> RResult<RVec<BudgetTwin>, Fault> {
        catch(|| {
            let units: Vec<Unit> = units.iter().map(UnitTwin::to_plain).collect();
            let budgets = (**self).budget(&model.to_plain(), &units, target)?;
            Ok(budgets.into_iter().map(BudgetTwin::from).collect())
        })
    }

    fn statistics(&self) -> RResult<StatisticsTwin, Fault> {
        catch(|| Ok((**self).statistics().into()))
    }

    fn compress(&self, task: TaskTwin<'_>) -> RResult<RVec<RVec<PackedTwin>>, Fault> {
        catch(|| {
            let variants = task.layers.iter().map(|layer| layer.variants());
            let variants: Vec<_> = variants.collect();
            let packed = (**self).compress(&task.to_plain(&variants)?)?;
            let of_layer = |packed: Vec<_>| packed.into_iter().map(PackedTwin::from).collect();
            Ok(packed.into_iter().map(of_layer).collect())
        })
    }
}

#[repr(C)]
#[derive(StableAbi)]
pub struct ModelTwin {
    num_blocks: u32,
    layers: RVec<LayerTwin>,
    bytes_per_weight: u32,
}

#[repr(C)]
#[derive(StableAbi)]
pub struct LayerTwin {
    name: RString,
    block_idx: u32,
    sub_block: SubBlockTwin,
    expert_idx: ROption<u32>,
    input_idx: u32,
    out_features: u64,
    in_features: u64,
    has_bias: bool,
}

#[repr(u8)]
#[derive(StableAbi, Clone, Copy)]
pub enum SubBlockTwin {
    Attention,
    Mlp,
}

#[repr(C)]
#[derive(StableAbi)]
pub struct UnitTwin {
    name: RString,
    group: RString,
    block_idx: u32,
    layer_idxs: RVec<u32>,
    levels: RVec<LevelTwin>,
    calibration_level: u32,
}

#[repr(C)]
#[derive(StableAbi)]
pub struct LevelTwin {
    name: RString,
    cost: u64,
    edits: RVec<EditTwin>,
}

#[repr(C, u8)]
#[derive(StableAbi)]
pub enum EditTwin {
    Drop {
        block_idx: u32,
        part: BlockPartTwin,
    },
    Replace {
        layer_idx: u32,
        variant: VariantTwin,
    },
}

/// Twin of [`BlockPart`].
#[repr(C, u8)]
#[derive(StableAbi, Clone, Copy)]
pub enum BlockPartTwin {
    Attention,
    Mlp,
    Expert { expert_idx: u32 },
}

#[repr(C)]
#[derive(StableAbi)]
pub struct BudgetTwin {
    group: RString,
    max_cost: u64,
}

impl From<&ModelOutline> for ModelTwin {
    fn from(model: &ModelOutline) -> Self {
        let layer = |layer: &LayerOutline| LayerTwin {
            name: layer.name.as_str().into(),
            block_idx: layer.block_idx,
            sub_block: match layer.sub_block {
                SubBlock::Attention => SubBlockTwin::Attention,
                SubBlock::Mlp => SubBlockTwin::Mlp,
            },
            expert_idx: layer.expert_idx.into(),
            input_idx: layer.input_idx,
            out_features: layer.out_features,
            in_features: layer.in_features,
            has_bias: layer.has_bias,
        };
        ModelTwin {
            num_blocks: model.num_blocks,
            layers: model.layers.iter().map(layer).collect(),
            bytes_per_weight: model.bytes_per_weight,
        }
    }
}

impl ModelTwin {
    pub(super) fn to_plain(&self) -> ModelOutline {
        let layer = |layer: &LayerTwin| LayerOutline {
            name: layer.name.to_string(),
            block_idx: layer.block_idx,
            sub_block: match layer.sub_block {
                SubBlockTwin::Attention => SubBlock::Attention,
                SubBlockTwin::Mlp => SubBlock::Mlp,
            },
            expert_idx: layer.expert_idx.into_option(),
            input_idx: layer.input_idx,
            out_features: layer.out_features,
            in_features: layer.in_features,
            has_bias: layer.has_bias,
        };
        ModelOutline {
            num_blocks: self.num_blocks,
            layers: self.layers.iter().map(layer).collect(),
            bytes_per_weight: self.bytes_per_weight,
        }
    }
}

impl From<Unit> for UnitTwin {
    fn from(unit: Unit) -> Self {
        UnitTwin {
            name: unit.name.into(),
            group: unit.group.into(),
            block_idx: unit.block_idx,
            layer_idxs: unit.layer_idxs.into(),
            levels: unit.levels.into_iter().map(LevelTwin::from).collect(),
            calibration_level: unit.calibration_level,
        }
    }
}

impl UnitTwin {
    pub(super) fn to_plain(&self) -> Unit {
        Unit {
            name: self.name.to_string(),
            group: self.group.to_string(),
            block_idx: self.block_idx,
            layer_idxs: self.layer_idxs.to_vec(),
            levels: self.levels.iter().map(LevelTwin::to_plain).collect(),
            calibration_level: self.calibration_level,
        }
    }
}

impl From<Level> for LevelTwin {
    fn from(level: Level) -> Self {
        let edit = |edit: &Edit| match edit {
            &Edit::Drop { block_idx, part } => EditTwin::Drop {
                block_idx,
                part: part.into(),
            },
            Edit::Replace { layer_idx, variant } => EditTwin::Replace {
                layer_idx: *layer_idx,
                variant: variant.into(),
            },
        };
        LevelTwin {
            name: level.name.into(),
            cost: level.cost,
            edits: level.edits.iter().map(edit).collect(),
        }
    }
}

impl LevelTwin {
    fn to_plain(&self) -> Level {
        let edit = |edit: &EditTwin| match edit {
            &EditTwin::Drop { block_idx, part } => Edit::Drop {
                block_idx,
                part: part.into(),
            },
            EditTwin::Replace { layer_idx, variant } => Edit::Replace {
                layer_idx: *layer_idx,
                variant: variant.to_plain(),
            },
        };
        Level {
            name: self.name.to_string(),
            cost: self.cost,
            edits: self.edits.iter().map(edit).collect(),
        }
    }
}

impl From<BlockPart> for BlockPartTwin {
    fn from(part: BlockPart) -> Self {
        match part {
            BlockPart::Attention => BlockPartTwin::Attention,
            BlockPart::Mlp => BlockPartTwin::Mlp,
            BlockPart::Expert { expert_idx } => BlockPartTwin::Expert { expert_idx },
        }
    }
}

impl From<BlockPartTwin> for BlockPart {
    fn from(twin: BlockPartTwin) -> Self {
        match twin {
            BlockPartTwin::Attention => BlockPart::Attention,
            BlockPartTwin::Mlp => BlockPart::Mlp,
            BlockPartTwin::Expert { expert_idx } => BlockPart::Expert { expert_idx },
        }
    }
}

impl From<GroupBudget> for BudgetTwin {
    fn from(budget: GroupBudget) -> Self {
        BudgetTwin {
            group: budget.group.into(),
            max_cost: budget.max_cost,
        }
    }
}

impl From<BudgetTwin> for GroupBudget {
    fn from(budget: BudgetTwin) -> Self {
        GroupBudget {
            group: budget.group.into(),
            max_cost: budget.max_cost,
        }
    }
}
