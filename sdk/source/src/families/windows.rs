//! Which blocks attend within a window, by `config.json`.

use super::config_rope::Kind;
use super::dense::BlockNumbers;
use super::from_config::Config;
use crate::error::SourceError;
use crate::spec::Rope;

impl Config<'_> {
    /// The blocks with what `rope` says of a block's number and kind; those that are windowed see
    /// `window`. Which these are says `layer_types` where it is there, else `is_windowed` of a
    /// block's number.
    pub(super) fn blocks_by_kind(
        &self,
        is_windowed: impl Fn(usize) -> bool,
        window: Option<i64>,
        rope: impl Fn(usize, Kind) -> Option<Rope>,
    ) -> Result<Vec<BlockNumbers>, SourceError> {
        let kinds = self.kinds(is_windowed)?.into_iter().enumerate();
        let blocks = kinds.map(|(block_idx, kind)| {
            Ok(BlockNumbers {
                rope: rope(block_idx, kind),
                window: self.window_of(kind, window)?,
            })
        });
        blocks.collect()
    }

    fn kinds(&self, is_windowed: impl Fn(usize) -> bool) -> Result<Vec<Kind>, SourceError> {
        let num_blocks = self.num_blocks()?;
        let kind = |is_windowed| match is_windowed {
            true => Kind::Windowed,
            false => Kind::Full,
        };
        let Some(types) = &self.fields.layer_types else {
            return Ok((0..num_blocks).map(|idx| kind(is_windowed(idx))).collect());
        };
        if types.len() != num_blocks {
            return Err(self.malformed(format!(
                "layer_types has {} entries, num_hidden_layers is {num_blocks}",
                types.len()
            )));
        }
        let kinds = [Kind::Full, Kind::Windowed];
        let find = |name: &String| kinds.into_iter().find(|kind| kind.name() == name.as_str());
        let parsed = types.iter().map(|name| {
            find(name).ok_or_else(|| {
                let supported = "full_attention, sliding_attention";
                self.unsupported("layer_types", format!("{name:?}"), supported)
            })
        });
        parsed.collect()
    }

    /// The window of the blocks of a kind; `window` is that of windowed ones.
    fn window_of(&self, kind: Kind, window: Option<i64>) -> Result<Option<i64>, SourceError> {
        match (kind, window) {
            (Kind::Full, _) => Ok(None),
            (Kind::Windowed, Some(window)) => Ok(Some(window)),
            (Kind::Windowed, None) => Err(self
                .malformed("layer_types has sliding_attention, but no sliding_window is in use")),
        }
    }

    /// `sliding_window`, where `use_sliding_window` does not switch it off.
    pub(super) fn switched_window(&self) -> Option<i64> {
        let is_used = self.fields.use_sliding_window.unwrap_or(false);
        self.fields.sliding_window.filter(|_| is_used)
    }
}
