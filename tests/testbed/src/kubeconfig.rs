//! Kubeconfigs with everything in them, and clients made from them. A client never goes through a proxy and
//! never repeats a request by itself, so that what the audit log counts is what was asked.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;

use crate::pki::{Authority, Pair, write_secret};

/// Writes `NAME.kubeconfig` for a client of this name and group.
pub fn write(
    folder: &Path,
    server: &str,
    authority: &Authority,
    name: &str,
    group: Option<&str>,
) -> Result<PathBuf> {
    check_name(name)?;
    let pair = authority.client(name, group)?;
    let path = folder.join(format!("{}.kubeconfig", name.replace(':', "_")));
    write_secret(&path, &text(server, authority.certificate(), &pair)?)?;
    Ok(path)
}

/// A kubeconfig is YAML, and JSON is YAML.
fn text(server: &str, authority: &str, pair: &Pair) -> Result<String> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "testbed", "cluster": {
            "server": server,
            "certificate-authority-data": base64(authority.as_bytes()),
        }}],
        "users": [{ "name": "client", "user": {
            "client-certificate-data": base64(pair.certificate.as_bytes()),
            "client-key-data": base64(pair.key.as_bytes()),
        }}],
        "contexts": [{ "name": "testbed", "context": { "cluster": "testbed", "user": "client" }}],
        "current-context": "testbed",
    });
    serde_json::to_string_pretty(&config).context("failed to write a kubeconfig")
}

/// The name becomes a user's and a file's.
fn check_name(name: &str) -> Result<()> {
    let fits = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | '.' | ':');
    if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(fits) {
        bail!("client name {name:?}: use 1 to 64 letters, digits, '-', '.' and ':'");
    }
    Ok(())
}

/// The API server that a kubeconfig speaks of.
pub fn server(path: &Path) -> Result<String> {
    let config = read(path)?;
    let cluster = config.clusters.into_iter().next().and_then(|it| it.cluster);
    cluster
        .and_then(|it| it.server)
        .with_context(|| format!("{} names no API server", path.display()))
}

/// A client as this kubeconfig says.
pub async fn client(path: &Path) -> Result<Client> {
    let config = Config::from_custom_kubeconfig(read(path)?, &KubeConfigOptions::default()).await;
    let mut config = config.with_context(|| format!("failed to use {}", path.display()))?;
    config.proxy_url = None;
    config.default_retry = false;
    Client::try_from(config)
        .with_context(|| format!("failed to make a client from {}", path.display()))
}

fn read(path: &Path) -> Result<Kubeconfig> {
    Kubeconfig::read_from(path).with_context(|| format!("failed to read {}", path.display()))
}

/// Standard base64 with padding.
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let letter =
                LETTERS.get((bits >> (18 - 6 * at) & 63) as usize).copied().unwrap_or(b'=');
            text.push(if at <= group.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_the_standards() {
        for (plain, want) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), want);
        }
        assert_eq!(base64(&[0xff, 0xfe, 0xfd]), "//79");
    }

    #[test]
    fn a_name_is_no_path() {
        for name in ["", "..", "../x", "a/b", "a b", "a\nb", ".hidden", &"x".repeat(65)] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        for name in ["operator-0", "system:kube-scheduler", "loadgen"] {
            assert!(check_name(name).is_ok(), "{name:?}");
        }
    }
}
