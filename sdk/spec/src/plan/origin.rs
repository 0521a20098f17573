//! Where a model comes from that is not on this machine.

use serde::{Deserialize, Serialize};

use super::address::Address;
use super::publish::{Credentials, Secret};

/// Where a model comes from that is not on this machine, and what proves who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The place.
    pub address: Address,
    /// The server; where it is `None`, the daemon's own setting says, else it is the service's own.
    pub url: Option<String>,
    /// Whether plain http may lead beyond this machine.
    pub plain_http: bool,
    /// How to prove who asks; where it is [`Credentials::None`], the environment says.
    pub credentials: Credentials,
    /// S3: where the access key ID is; where it is `None`, the environment says.
    pub account: Option<Secret>,
    /// S3: where the secret access key is.
    pub key: Option<Secret>,
    /// What the address has come to: a commit, a digest. `None` until the model is fetched.
    pub version: Option<String>,
}

impl Origin {
    /// The secrets that it needs.
    pub fn secrets(&self) -> Vec<&Secret> {
        let mut secrets = self.credentials.secrets();
        secrets.extend(self.account.iter().chain(&self.key));
        secrets
    }
}
