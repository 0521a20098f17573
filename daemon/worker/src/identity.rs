//! What decides the result of a search: two attempts with the same identity find the same genotype.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Digests and versions of all that goes into a search.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// SHA-256 of the resolved plan.
    pub(crate) plan_digest: String,
    /// SHA-256 by path of the model's files and of the texts.
    pub(crate) inputs: BTreeMap<String, String>,
    /// SHA-256 by plugin name.
    pub(crate) plugins: BTreeMap<String, String>,
    /// Version by program.
    pub(crate) versions: BTreeMap<String, String>,
}

impl Identity {
    /// What has changed since `before`, in words; empty if nothing has.
    pub(crate) fn changes_since(&self, before: &Self) -> Vec<String> {
        let plan = (self.plan_digest != before.plan_digest).then(|| "the plan".to_owned());
        let inputs = changed(&self.inputs, &before.inputs);
        let plugins = changed(&self.plugins, &before.plugins);
        let versions = changed(&self.versions, &before.versions);
        plan.into_iter()
            .chain(inputs.map(ToOwned::to_owned))
            .chain(plugins.map(|name| format!("plugin `{name}`")))
            .chain(versions.map(|name| format!("the version of {name}")))
            .collect()
    }
}

/// Keys whose values differ, or that only one side has.
fn changed<'a>(
    now: &'a BTreeMap<String, String>,
    before: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = &'a str> {
    let gone = before.keys().filter(|key| !now.contains_key(*key));
    let other = now
        .iter()
        .filter(|(key, value)| before.get(*key) != Some(value));
    other.map(|(key, _)| key).chain(gone).map(String::as_str)
}

#[cfg(test)]
pub(crate) fn example() -> Identity {
    let map = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    Identity {
        plan_digest: "1a".to_owned(),
        inputs: map("/texts/calibration.txt", "2b"),
        plugins: map("gptq", "3c"),
        versions: map("evopressd", "0.1.0"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_changed_is_named() {
        let before = example();
        assert_eq!(before.changes_since(&before), Vec::<String>::new());
        let mut now = before.clone();
        now.plan_digest = "4d".to_owned();
        now.inputs = BTreeMap::from([("/texts/database.txt".to_owned(), "5e".to_owned())]);
        now.plugins.insert("gptq".to_owned(), "6f".to_owned());
        now.versions.clear();
        assert_eq!(
            now.changes_since(&before),
            [
                "the plan",
                "/texts/database.txt",
                "/texts/calibration.txt",
                "plugin `gptq`",
                "the version of evopressd"
            ]
        );
    }
}
