//! [`Method`] across the boundary.

use abi_stable::{
    StableAbi, sabi_trait,
    std_types::{RBox, RResult, RSlice, RString, RVec},
};

use super::{Fault, guard::Guarded, guard::catch};
use crate::{Edit, GroupBudget, LayerOutline, Level, Method, ModelOutline, SubBlock, Unit};

#[sabi_trait]
pub trait MethodAbi: Send + Sync {
    fn units(&self, model: &ModelTwin) -> RResult<RVec<UnitTwin>, Fault>;
    fn measure(&self) -> RResult<RString, Fault>;
    #[sabi(last_prefix_field)]
    fn budget(&self, units: RSlice<'_, UnitTwin>, target: f64) -> RResult<RVec<BudgetTwin>, Fault>;
}

pub(crate) type MethodTwin = MethodAbi_TO<'static, RBox<()>>;

/// The author's method, as it leaves the plugin.
pub(super) fn export(method: Box<dyn Method>) -> MethodTwin {
    MethodAbi_TO::from_value(Guarded::new(method), sabi_trait::TD_Opaque)
}

impl MethodAbi for Guarded<Box<dyn Method>> {
    fn units(&self, model: &ModelTwin) -> RResult<RVec<UnitTwin>, Fault> {
        catch(|| {
            let units = (**self).units(&model.to_plain())?;
            Ok(units.into_iter().map(UnitTwin::from).collect())
        })
    }

    fn measure(&self) -> RResult<RString, Fault> {
        catch(|| Ok((**self).measure().into()))
    }

    fn budget(&self, units: RSlice<'_, UnitTwin>, target: f64) -> RResult<RVec<BudgetTwin>, Fault> {
        catch(|| {
            let units: Vec<Unit> = units.iter().map(UnitTwin::to_plain).collect();
            let budgets = (**self).budget(&units, target)?;
            Ok(budgets.into_iter().map(BudgetTwin::from).collect())
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
    out_features: u64,
    in_features: u64,
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
    levels: RVec<LevelTwin>,
}

#[repr(C)]
#[derive(StableAbi)]
pub struct LevelTwin {
    name: RString,
    cost: u64,
    size_bytes: u64,
    edits: RVec<EditTwin>,
}

#[repr(C, u8)]
#[derive(StableAbi, Clone, Copy)]
pub enum EditTwin {
    DropAttention { block_idx: u32 },
    DropMlp { block_idx: u32 },
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
            out_features: layer.out_features,
            in_features: layer.in_features,
        };
        ModelTwin {
            num_blocks: model.num_blocks,
            layers: model.layers.iter().map(layer).collect(),
            bytes_per_weight: model.bytes_per_weight,
        }
    }
}

impl ModelTwin {
    fn to_plain(&self) -> ModelOutline {
        let layer = |layer: &LayerTwin| LayerOutline {
            name: layer.name.to_string(),
            block_idx: layer.block_idx,
            sub_block: match layer.sub_block {
                SubBlockTwin::Attention => SubBlock::Attention,
                SubBlockTwin::Mlp => SubBlock::Mlp,
            },
            out_features: layer.out_features,
            in_features: layer.in_features,
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
            levels: unit.levels.into_iter().map(LevelTwin::from).collect(),
        }
    }
}

impl UnitTwin {
    pub(super) fn to_plain(&self) -> Unit {
        Unit {
            name: self.name.to_string(),
            group: self.group.to_string(),
            block_idx: self.block_idx,
            levels: self.levels.iter().map(LevelTwin::to_plain).collect(),
        }
    }
}

impl From<Level> for LevelTwin {
    fn from(level: Level) -> Self {
        let edit = |edit: &Edit| match *edit {
            Edit::DropAttention { block_idx } => EditTwin::DropAttention { block_idx },
            Edit::DropMlp { block_idx } => EditTwin::DropMlp { block_idx },
        };
        LevelTwin {
            name: level.name.into(),
            cost: level.cost,
            size_bytes: level.size_bytes,
            edits: level.edits.iter().map(edit).collect(),
        }
    }
}

impl LevelTwin {
    fn to_plain(&self) -> Level {
        let edit = |edit: &EditTwin| match *edit {
            EditTwin::DropAttention { block_idx } => Edit::DropAttention { block_idx },
            EditTwin::DropMlp { block_idx } => Edit::DropMlp { block_idx },
        };
        Level {
            name: self.name.to_string(),
            cost: self.cost,
            size_bytes: self.size_bytes,
            edits: self.edits.iter().map(edit).collect(),
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
