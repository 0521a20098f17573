//! A folder with config.json, tokenizer.json and one or several safetensors files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use evopress_core::model_files;
use evopress_plugin::DType;
use serde_json::{Map, Value};

use super::in_memory;
use super::nemotron_nas;
use super::quantized::Quantized;
use super::text;
use super::weight_files::WeightFiles;
use crate::error::SourceError;
use crate::families::{self, Family};
use crate::numbers::{Numbers, TensorInFile};
use crate::reduced::Reduced;
use crate::spec::{ModelSpec, StoredRows, TensorSpec};
use crate::tensor::StoredTensor;

/// A Hugging Face folder, open.
pub(crate) struct ModelFolder {
    pub(super) path: PathBuf,
    pub(super) family: &'static Family,
    pub(super) config: Map<String, Value>,
    /// The configuration as artifacts can hold it: without numbers that are not finite.
    pub(super) finite: Map<String, Value>,
    /// The fields that `finite` is without.
    pub(super) left_out: Vec<String>,
    /// Whether the model is the part for texts of the one that the files hold.
    is_part: bool,
    weights: WeightFiles,
    /// How weights are quantized that are not there as they are.
    quantized: Option<Quantized>,
    /// Where tensors of experts lie that have other names in files.
    in_memory: HashMap<String, StoredRows>,
    /// What there is of its blocks, where they differ.
    reduced: Option<Reduced>,
}

/// Turns a configuration into that of a family where it knows how, and says what the folder's
/// blocks lack.
type Adapt = fn(&mut Map<String, Value>, &Path) -> Result<Option<Reduced>, SourceError>;

impl ModelFolder {
    pub(crate) fn open(path: &Path) -> Result<Self, SourceError> {
        Self::open_with(path, |_, _| Ok(None))
    }

    /// Opens a folder that this project has written: blocks may lack a sub-block.
    pub(crate) fn open_artifact(path: &Path) -> Result<Self, SourceError> {
        Self::open_with(path, |config, file| {
            let is_reduced =
                config.get("model_type").and_then(Value::as_str) == Some(nemotron_nas::MODEL_TYPE);
            is_reduced
                .then(|| nemotron_nas::as_llama(config, file))
                .transpose()
        })
    }

    fn open_with(path: &Path, adapt: Adapt) -> Result<Self, SourceError> {
        let config_file = path.join("config.json");
        if !config_file.is_file() {
            return Err(SourceError::NotAModel {
                path: path.to_path_buf(),
                found: "a folder without config.json".into(),
            });
        }
        let object = text::object(&text::read(&config_file)?, &config_file)?;
        let mut config = object.map;
        let reduced = adapt(&mut config, &config_file)?;
        let quantized = Quantized::take(&mut config, &config_file)?;
        let mut finite = object.finite;
        finite.retain(|name, _| config.contains_key(name));
        let part = families::text_part(&config);
        let finite = families::text_part(&finite).unwrap_or(finite);
        let (is_part, config) = (part.is_some(), part.unwrap_or(config));
        // The family comes first: a folder of another one may have no safetensors files at all.
        let family = families::of_config(&config, &config_file)?;
        Ok(Self {
            path: path.to_path_buf(),
            family,
            config,
            finite,
            left_out: object.left_out,
            is_part,
            weights: WeightFiles::open(path)?,
            quantized,
            in_memory: HashMap::new(),
            reduced,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn family(&self) -> &'static Family {
        self.family
    }

    pub(super) fn config_file(&self) -> PathBuf {
        self.path.join("config.json")
    }

    /// The model as the configuration has it, all blocks whole.
    pub(crate) fn spec(&self) -> Result<ModelSpec, SourceError> {
        families::spec_of_config(self.family, &self.config, &self.config_file())
    }

    /// What who else reads the configuration would stumble over: a sentence each.
    pub(crate) fn notes(&self, spec: &ModelSpec, has_codes: bool) -> Vec<String> {
        let taken = families::to_config(self.family, spec, Map::new());
        let activation_field = self.family.form.activation_field;
        let mut notes = families::notes_on_nulls(&self.config, activation_field, &taken);
        if let (Some(quantized), false) = (&self.quantized, has_codes) {
            notes.push(quantized.without_codes());
        }
        notes
    }

    /// Whether the configuration says for how long sequences the model was made.
    pub(crate) fn says_context(&self) -> bool {
        let field = self.config.get("max_position_embeddings");
        field.is_some_and(|value| !value.is_null())
    }

    /// Finds the tensors of the experts of the model, which is that of [`ModelFolder::spec`].
    pub(crate) fn find_experts(&mut self, spec: &ModelSpec) {
        if let Some(experts) = self.family.form.experts {
            self.in_memory = in_memory::places(&self.weights, &experts.in_memory, spec);
        }
    }

    /// What there is of the blocks, where they differ.
    pub(crate) fn reduced(&self) -> Option<&Reduced> {
        self.reduced.as_ref()
    }

    /// Whether the model is the part for texts of the one that the files hold.
    pub(crate) fn is_part(&self) -> bool {
        self.is_part
    }

    /// The names of all tensors of the files.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.weights.names()
    }

    /// The weight that a tensor is a part of, where weights are quantized.
    pub(crate) fn quantized_weight_of(&self, part: &str) -> Option<String> {
        let quantized = self.quantized.as_ref();
        quantized.and_then(|_| Quantized::weight_of(part))
    }

    /// Whether a tensor is there for quantized activations alone, which are not computed here.
    pub(crate) fn is_of_activations(&self, name: &str) -> bool {
        self.quantized.is_some() && Quantized::is_of_activations(name)
    }

    /// Whether two tensors of floats have equal numbers.
    pub(crate) fn are_equal(&self, one: &str, other: &str) -> bool {
        let (one, other) = (&self.name_in_files(one), &self.name_in_files(other));
        match (self.weights.raw(one), self.weights.raw(other)) {
            (Some(one), Some(other)) if one.0 == other.0 => one == other,
            (Some((_, one_shape, _)), Some((_, other_shape, _))) if one_shape == other_shape => {
                let floats = |name: &str| self.weights.tensor(name, one_shape).ok();
                let floats = |name: &str| floats(name).map(|tensor| tensor.to_floats());
                matches!((floats(one), floats(other)), (Some(one), Some(other)) if one == other)
            }
            _ => false,
        }
    }

    /// Whether a tensor holds nothing but zeros.
    pub(crate) fn is_zero(&self, name: &str) -> bool {
        let raw = self.weights.raw(name);
        raw.is_some_and(|(_, _, bytes)| bytes.iter().all(|byte| *byte == 0))
    }

    /// Whether the files have a tensor as it is.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.weights.has(&self.name_in_files(name))
    }

    /// The name that the files have for a tensor.
    pub(crate) fn name_in_files(&self, name: &str) -> String {
        let names = families::names_in_whole(name);
        let mut candidates = names.into_iter().filter(|_| self.is_part);
        let quantized = self.quantized.is_some();
        let has_codes = |it: &str| quantized && Quantized::codes_of(&self.weights, it).is_some();
        let found = candidates.find(|it| self.weights.has(it) || has_codes(it));
        found.unwrap_or_else(|| name.to_owned())
    }

    /// Checks that a tensor is there as it must be. Returns whether it is quantized.
    pub(crate) fn check(&self, expected: &TensorSpec) -> Result<bool, SourceError> {
        let whole = self.whole(expected);
        let is_quantized = self.quantized_type(expected)?.is_some();
        if !is_quantized {
            let plain = self.weights.tensor(&whole.name, &whole.shape);
            plain.map_err(|error| self.explained(error, &whole.name))?;
        }
        Ok(is_quantized)
    }

    pub(crate) fn tensor(&self, expected: &TensorSpec) -> Result<StoredTensor<'_>, SourceError> {
        let whole = self.whole(expected);
        let (name, shape) = (&whole.name, &whole.shape);
        let quantized = match &self.quantized {
            Some(quantized) => quantized.tensor(&self.weights, name, shape)?,
            None => None,
        };
        let tensor = match quantized {
            Some(weight) => weight,
            None => self.weights.tensor(name, shape)?,
        };
        Ok(match self.stored(expected) {
            Some(stored) => tensor.rows(stored, &expected.shape),
            None => tensor,
        })
    }

    /// What is wrong with a tensor, with what the configuration has to do with it.
    fn explained(&self, error: SourceError, name: &str) -> SourceError {
        let codes = Quantized::codes_of(&self.weights, name);
        if let Some(codes) = codes.filter(|_| self.quantized.is_none()) {
            let what = format!("tensor {codes} is quantized, but there is no quantization_config");
            return SourceError::malformed(&self.config_file(), what);
        }
        let mut error = error;
        if let SourceError::Shape { by_default, .. } = &mut error {
            *by_default = families::sizes_by_default(self.family.defaults, &self.config).into();
        }
        error
    }

    /// The names of the tensors of the files that an expected one is, lies in, or is coded by.
    pub(crate) fn names_of(&self, expected: &TensorSpec) -> Vec<String> {
        let name = self.name_of(expected);
        let mut names = match &self.quantized {
            Some(_) => Quantized::parts_of(&name),
            None => Vec::new(),
        };
        names.insert(0, name);
        names
    }

    /// A tensor of the files, if it holds floats.
    pub(crate) fn in_file(&self, name: &str) -> Option<TensorInFile<'_>> {
        let (dtype, shape, bytes) = self.weights.raw(name)?;
        Some(TensorInFile {
            file: self.weights.file_of_tensor(name)?,
            name: name.to_owned(),
            shape: shape.to_vec(),
            numbers: match dtype {
                "F32" => Numbers::Floats(DType::F32, bytes),
                "F16" => Numbers::Floats(DType::F16, bytes),
                "BF16" => Numbers::Floats(DType::Bf16, bytes),
                "F8_E4M3" => Numbers::Float8(bytes),
                _ => return None,
            },
        })
    }

    /// The tensor of the files that an expected one is, or lies in.
    fn whole(&self, expected: &TensorSpec) -> TensorSpec {
        let shape = self.stored(expected).map(|stored| &stored.shape);
        TensorSpec {
            name: self.name_of(expected),
            shape: shape.unwrap_or(&expected.shape).clone(),
            part: expected.part,
            stored: None,
        }
    }

    /// The rows of a tensor of the files that an expected one is, if it is not one of its own.
    fn stored<'a>(&'a self, expected: &'a TensorSpec) -> Option<&'a StoredRows> {
        let in_memory = self.in_memory.get(&expected.name);
        in_memory.or(expected.stored.as_ref())
    }

    /// The name of the tensor of the files that an expected one is, or lies in.
    pub(crate) fn name_of(&self, expected: &TensorSpec) -> String {
        let stored = self.stored(expected);
        self.name_in_files(stored.map_or(&expected.name, |it| &it.name))
    }

    /// The method that `quantization_config` names.
    pub(crate) fn quantization_method(&self) -> Option<&str> {
        self.quantized.as_ref().map(Quantized::method)
    }

    /// What the codes of a weight are, if it is quantized.
    pub(crate) fn quantized_type(
        &self,
        weight: &TensorSpec,
    ) -> Result<Option<String>, SourceError> {
        let whole = self.whole(weight);
        match &self.quantized {
            Some(quantized) => quantized.type_of(&self.weights, &whole.name, &whole.shape),
            None => Ok(None),
        }
    }

    /// Bytes of the files with the weights.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.weights.size_bytes()
    }

    /// All that an artifact of this model depends on.
    /// Takes what was read of the weights out of memory.
    pub(crate) fn release(&self) {
        self.weights.release();
    }

    pub(crate) fn digest_files(&self) -> Vec<PathBuf> {
        model_files(&self.path)
    }
}
