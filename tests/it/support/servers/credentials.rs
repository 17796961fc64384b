//! Tokens of NATS: an operator vouches for an account, the account for a user, and a credentials file says who that is.
//!
//! Lives here: making them, and what a server is told of them (https://github.com/nats-io/jwt has what a token says). Never here: a
//! server.

use std::fs;
use std::path::PathBuf;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use nkeys::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::process::folder;

/// A user of an account of an operator that nobody else knows.
pub struct Credentials {
    configuration: String,
    seed: String,
    text: String,
    folder: TempDir,
}

impl Credentials {
    /// Makes new ones.
    pub fn new() -> Credentials {
        let (operator, account, user) =
            (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_user());
        let of_user = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 });
        let seed = user.seed().expect("a key pair of ours");
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n",
            token(&account, &user, &of_user)
        );
        let configuration = configuration(&operator, &account);
        let credentials = Credentials { configuration, seed, text, folder: folder() };
        fs::write(credentials.file(), credentials.text()).expect("a file in a temporary folder");
        credentials
    }

    /// The credentials file.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("relay.creds")
    }

    /// What is in it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What of it nobody may see.
    pub fn seed(&self) -> &str {
        &self.seed
    }

    /// Whom a server trusts.
    pub fn configuration(&self) -> &str {
        &self.configuration
    }
}

/// An operator, an account that may do everything, and another for the server itself, without which there is no JetStream.
fn configuration(operator: &KeyPair, account: &KeyPair) -> String {
    let system = KeyPair::new_account();
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "conn": -1,
        "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    });
    let of_account = json!({ "type": "account", "version": 2, "limits": limits });
    let of_system = json!({ "type": "account", "version": 2 });
    format!(
        "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{ {}: {}, {}: {} }}\n",
        token(operator, operator, &json!({ "type": "operator", "version": 2 })),
        system.public_key(),
        system.public_key(),
        token(operator, &system, &of_system),
        account.public_key(),
        token(operator, account, &of_account),
    )
}

/// What one says of another, signed.
fn token(issuer: &KeyPair, subject: &KeyPair, nats: &Value) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let claims = json!({ "iss": issuer.public_key(), "sub": subject.public_key(), "nats": nats });
    let said = format!("{}.{}", part(&header), part(&claims));
    let signature = issuer.sign(said.as_bytes()).expect("a key pair of ours");
    format!("{said}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}
