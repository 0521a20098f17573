//! Secrets: read when they are needed, kept out of every text.

use base64::Engine as _;
use evopress_spec::{Credentials, Secret};

use super::PublishError;

/// What stands in a text where a secret was.
const HIDDEN: &str = "[secret]";

/// The secrets of one publication, so that they can be taken out of what servers and libraries say.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Vec<String>);

/// How a request proves who sends it.
#[derive(Clone, Default)]
pub(crate) enum Auth {
    /// Not at all.
    #[default]
    None,
    /// `Authorization: Bearer …`.
    Bearer(String),
    /// `Authorization: Basic …`.
    Basic(String, String),
}

impl Secrets {
    /// The value of a secret, without the white space around it that files tend to have.
    ///
    /// # Errors
    /// The variable is not set, the file cannot be read, or there is nothing in it.
    pub(crate) fn read(&mut self, secret: &Secret) -> Result<String, PublishError> {
        let missing = |why: String| PublishError::Secret {
            secret: secret.to_string(),
            why,
        };
        let text = match secret {
            Secret::Env(name) => {
                std::env::var(name).map_err(|_| missing("it is not set".to_owned()))?
            }
            Secret::File(path) => {
                std::fs::read_to_string(path).map_err(|error| missing(error.to_string()))?
            }
        };
        let value = text.trim().to_owned();
        if value.is_empty() {
            return Err(missing("it is empty".to_owned()));
        }
        self.remember(&value);
        Ok(value)
    }

    /// Reads the secrets of credentials.
    ///
    /// # Errors
    /// See [`read`](Self::read).
    pub(crate) fn auth(&mut self, credentials: &Credentials) -> Result<Auth, PublishError> {
        Ok(match credentials {
            Credentials::None => Auth::None,
            Credentials::Bearer { token } => Auth::Bearer(self.read(token)?),
            Credentials::Basic { username, password } => {
                let password = self.read(password)?;
                let pair = format!("{username}:{password}");
                self.remember(&base64::engine::general_purpose::STANDARD.encode(pair));
                Auth::Basic(username.clone(), password)
            }
        })
    }

    /// Removes every secret from a text.
    pub(crate) fn scrub(&self, text: &str) -> String {
        self.0
            .iter()
            .fold(text.to_owned(), |text, secret| text.replace(secret, HIDDEN))
    }

    /// Adds a secret that was not read but received.
    pub(crate) fn remember(&mut self, value: &str) {
        self.0.push(value.to_owned());
        // The longest first, so that one which holds another goes as a whole.
        self.0.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_trimmed_and_taken_out_of_texts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "s3cr3t\n").unwrap();
        let mut secrets = Secrets::default();
        let credentials = Credentials::Basic {
            username: "ada".to_owned(),
            password: Secret::File(path),
        };
        assert!(matches!(
            secrets.auth(&credentials),
            Ok(Auth::Basic(_, password)) if password == "s3cr3t"
        ));
        assert_eq!(
            secrets.scrub("user ada, key s3cr3t, header Basic YWRhOnMzY3IzdA=="),
            "user ada, key [secret], header Basic [secret]"
        );
    }

    #[test]
    fn a_missing_secret_is_named() {
        let mut secrets = Secrets::default();
        let of_env = secrets.read(&Secret::Env("EVOPRESS_NO_SUCH_VARIABLE".to_owned()));
        assert_eq!(
            of_env.unwrap_err().to_string(),
            "the secret in the environment variable EVOPRESS_NO_SUCH_VARIABLE cannot be used: it is not set"
        );
    }
}
