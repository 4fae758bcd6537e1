//! Settings of /metrics: plain HTTP never leaves the machine, and HTTPS is for those whom the API server lets read.

use std::{net::SocketAddr, path::PathBuf};

use clap::{ArgAction, Args};

use super::address;
use crate::tls::Files;

/// Metrics.
#[derive(Clone, Debug, Default, Args)]
pub struct Metrics {
    /// Address of /metrics; 0: off. Beyond loopback it is HTTPS, for callers with a token of somebody who may `get /metrics`;
    /// on loopback it is plain HTTP, unless --metrics-secure.
    #[arg(long, default_value = "0", value_name = "ADDRESS")]
    pub metrics_bind_address: String,
    /// HTTPS with authentication, on loopback too; `false` is taken on loopback alone.
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub metrics_secure: Option<bool>,
    /// Folder of a certificate and key of /metrics; unset: it has the webhooks' certificate.
    #[arg(long, value_name = "FOLDER")]
    pub metrics_cert_path: Option<PathBuf>,
    /// File of the certificate chain in --metrics-cert-path; unset: tls.crt.
    #[arg(long, value_name = "FILE")]
    pub metrics_cert_name: Option<String>,
    /// File of the key in --metrics-cert-path; unset: tls.key.
    #[arg(long, value_name = "FILE")]
    pub metrics_cert_key: Option<String>,
}

/// How /metrics is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Serving {
    Not,
    /// Plain, on loopback.
    Plain(SocketAddr),
    /// With these files, or with what the webhooks present.
    Secure(SocketAddr, Option<Files>),
}

impl Metrics {
    /// How it is served; or why it can't be as asked.
    pub fn serving(&self) -> Result<Serving, String> {
        let files = self.files()?;
        let at = address(&self.metrics_bind_address)
            .map_err(|why| format!("--metrics-bind-address: {why}"))?;
        let Some(at) = at else { return Ok(Serving::Not) };
        let secure = self.metrics_secure.unwrap_or(!at.ip().is_loopback());
        if secure {
            Ok(Serving::Secure(at, files))
        } else if !at.ip().is_loopback() {
            Err("--metrics-secure=false: everybody who reaches the pod could read them; leave it out, or bind \
                 --metrics-bind-address to 127.0.0.1:PORT"
                .into())
        } else if files.is_some() {
            Err("--metrics-cert-path: on loopback metrics are plain HTTP, without a certificate; add --metrics-secure, or \
                 leave it out"
                .into())
        } else {
            Ok(Serving::Plain(at))
        }
    }

    /// The files that were asked for. An empty word is the original's for none.
    fn files(&self) -> Result<Option<Files>, String> {
        let set = |it: &Option<String>| it.clone().filter(|it| !it.is_empty());
        let (name, key) = (set(&self.metrics_cert_name), set(&self.metrics_cert_key));
        match self.metrics_cert_path.as_ref().filter(|it| !it.as_os_str().is_empty()) {
            Some(folder) => Ok(Some(Files {
                certificate: folder.join(name.unwrap_or_else(|| "tls.crt".into())),
                key: folder.join(key.unwrap_or_else(|| "tls.key".into())),
            })),
            None if name.is_none() && key.is_none() => Ok(None),
            None => Err("--metrics-cert-name, --metrics-cert-key: they name files in the folder --metrics-cert-path; set \
                         that as well, or leave them out"
                .into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(address: &str, secure: Option<bool>) -> Metrics {
        Metrics {
            metrics_bind_address: address.into(),
            metrics_secure: secure,
            ..Metrics::default()
        }
    }

    #[test]
    fn plain_http_never_leaves_the_machine() {
        let table = [
            ("0", None, Some("Not"), "off"),
            ("0", Some(true), Some("Not"), "off all the same"),
            ("127.0.0.1:8080", None, Some("Plain"), "of this machine alone"),
            ("127.0.0.1:8080", Some(false), Some("Plain"), "said so"),
            ("127.0.0.1:8080", Some(true), Some("Secure"), "asked for"),
            ("[::1]:8080", None, Some("Plain"), "the other loopback"),
            (":8443", None, Some("Secure"), "the original's default"),
            (":8443", Some(true), Some("Secure"), "the same, said"),
            (":8443", Some(false), None, "everybody could read"),
            ("here", None, None, "no address"),
        ];
        for (address, secure, want, because) in table {
            let got = metrics(address, secure).serving();
            let name = got.as_ref().ok().map(|it| match it {
                Serving::Not => "Not",
                Serving::Plain(_) => "Plain",
                Serving::Secure(..) => "Secure",
            });
            assert_eq!(name, want, "{because}: {got:?}");
        }
    }

    #[test]
    fn a_certificate_is_named_whole_or_not_at_all() {
        let of = |path: &str, name: Option<&str>, key: Option<&str>| Metrics {
            metrics_cert_path: Some(path.into()),
            metrics_cert_name: name.map(Into::into),
            metrics_cert_key: key.map(Into::into),
            ..metrics(":8443", None)
        };
        let files = |it: Metrics| match it.serving() {
            Ok(Serving::Secure(_, files)) => Ok(files.map(|it| (it.certificate, it.key))),
            other => Err(format!("{other:?}")),
        };
        let pair = |one: &str, other: &str| Ok(Some((one.into(), other.into())));
        assert_eq!(files(of("/c", None, None)), pair("/c/tls.crt", "/c/tls.key"));
        assert_eq!(files(of("/c", Some("a"), Some("b"))), pair("/c/a", "/c/b"));
        assert_eq!(files(of("", None, None)), Ok(None), "the webhooks' own");
        for lone in [of("", Some("a"), None), of("", None, Some("b"))] {
            let why = lone.serving().unwrap_err();
            assert!(why.contains("--metrics-cert-path"), "{why}");
        }
        let plain = Metrics { metrics_bind_address: "127.0.0.1:1".into(), ..of("/c", None, None) };
        assert!(plain.serving().unwrap_err().contains("--metrics-secure"), "it would not be used");
    }
}
