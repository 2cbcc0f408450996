//! A bolt with a setting that is a secret.

use std::fs;
use std::path::PathBuf;

use squall::prelude::*;

/// Settings of [`Login`].
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct LoginSettings {
    /// Who logs in. Only shown.
    #[expect(dead_code, reason = "only `Debug` reads it")]
    user: String,
    /// With what.
    password: Secret,
    /// A directory: each task makes a file there whose name is the hash of the password.
    proofs: PathBuf,
}

/// Shows that it has the password, without showing it.
struct Login(LoginSettings);

/// What a password is recognized by.
pub fn proof_of(password: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, password.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Bolt for Login {
    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        let password = context.secret(&self.0.password)?;
        let proof = proof_of(password.reveal());
        // What a careless bolt logs.
        slog::info!(context.logger(), "logged in"; "settings" => format!("{:?} {password:?}", self.0));
        let file = self.0.proofs.join(format!("{proof}-{}-{}", std::process::id(), context.task()));
        fs::write(file, "").map_err(|error| TaskError::new(error.to_string()))
    }

    fn execute(&mut self, _input: Input<'_>, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        Ok(())
    }
}

/// Everything the cases run.
pub fn registry() -> Registry {
    let mut registry = Registry::with_standard();
    registry.bolt("login", "Shows that it has a password.", |settings: &LoginSettings| {
        Ok(Login(settings.clone()))
    });
    registry
}
