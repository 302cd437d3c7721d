//! TLS to the store: which server is trusted, and what is wrong when one is not.
//!
//! The server always has to prove its identity; no setting turns that off. It is trusted when its certificate was
//! signed by the authority in `redis.tls.ca`. Without that setting, an authority that this machine trusts may have
//! signed it.

use fred::types::config::Config;
use lifecycle_core::settings::Redis;

/// Scheme of a URL with TLS, and of the same server without it.
const SCHEMES: [(&str, &str); 2] = [("rediss://", "redis://"), ("valkeys://", "valkey://")];

/// Reads the URL; with TLS if its scheme asks for it.
///
/// # Errors
/// What is wrong, in words and without the URL.
pub(crate) fn config(redis: &Redis) -> Result<Config, String> {
    // The client's own TLS configuration fails on a machine that has one bad certificate among its trusted ones. So it
    // gets the URL without TLS, and a configuration of ours.
    let bare =
        SCHEMES.iter().find_map(|(scheme, bare)| Some(format!("{bare}{}", redis.url.strip_prefix(scheme)?)));
    let mut config = Config::from_url(bare.as_deref().unwrap_or(&redis.url)).map_err(|error| {
        format!(
            "{}; write redis://host:port, redis://:password@host:port/db or redis+unix:///path",
            error.details().trim_end_matches('.')
        )
    })?;
    match (bare, &redis.tls.ca) {
        (Some(_), _) => encrypt(&mut config, redis)?,
        // Somebody who names an authority expects the connection to be encrypted.
        (None, Some(_)) => {
            return Err("redis.tls.ca is set, but this URL asks for no TLS: write rediss://".into());
        }
        (None, None) => {}
    }
    Ok(config)
}

#[cfg(not(feature = "tls"))]
fn encrypt(_: &mut Config, _: &Redis) -> Result<(), String> {
    // The client would accept the scheme, and send the password in the clear.
    Err("this program was built without TLS, and nothing was sent: use one built with it (the default features), or \
         redis:// over a network that you trust"
        .into())
}

#[cfg(feature = "tls")]
fn encrypt(config: &mut Config, redis: &Redis) -> Result<(), String> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(trusted(redis.tls.ca.as_deref())?)
        .with_no_client_auth();
    config.tls = Some(fred::types::config::TlsConnector::from(tls).into());
    Ok(())
}

/// The authorities whose signature is trusted.
#[cfg(feature = "tls")]
fn trusted(ca: Option<&std::path::Path>) -> Result<rustls::RootCertStore, String> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    let mut roots = rustls::RootCertStore::empty();
    if let Some(path) = ca {
        let wrong = |problem: &dyn std::fmt::Display| format!("redis.tls.ca {}: {problem}", path.display());
        let certificates =
            CertificateDer::pem_file_iter(path).map_err(|error| wrong(&pem_problem(&error)))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| wrong(&pem_problem(&error)))?;
            roots.add(certificate).map_err(|error| wrong(&error))?;
        }
        if roots.is_empty() {
            return Err(wrong(&"there is no certificate in PEM form in this file"));
        }
        return Ok(roots);
    }
    // One certificate that cannot be read is no reason to distrust the others.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err("this machine trusts no certificate authority: set redis.tls.ca to the one of the store, or install \
                    ca-certificates"
            .into());
    }
    Ok(roots)
}

#[cfg(feature = "tls")]
fn pem_problem(error: &rustls::pki_types::pem::Error) -> String {
    match error {
        rustls::pki_types::pem::Error::Io(error) => error.to_string(),
        other => format!("this is no PEM file: {other:?}"),
    }
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use super::*;

    #[test]
    fn a_url_with_tls_gets_it_and_one_without_does_not() {
        for (url, tls) in
            [("rediss://h", true), ("valkeys://h", true), ("redis://h", false), ("valkey://h", false)]
        {
            let redis = Redis { url: url.into(), ..Redis::default() };
            assert_eq!(config(&redis).unwrap().uses_tls(), tls, "{url}");
        }
    }
}

// Runs under `cargo test -p lifecycle-redis --no-default-features`, as in `cargo xtask ci`: the whole workspace has
// TLS.
#[cfg(all(test, not(feature = "tls")))]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use lifecycle_core::settings::Settings;

    use super::*;
    use crate::{Store, StoreError};

    #[tokio::test]
    async fn a_build_without_tls_refuses_its_schemes_and_sends_nothing() {
        for scheme in ["rediss", "valkeys"] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("{scheme}://:s3cret@{}", listener.local_addr().unwrap());
            let start_timeout = Duration::from_millis(300);
            let settings =
                Settings { redis: Redis { url, start_timeout, ..Redis::default() }, ..Settings::default() };
            let Err(error) = Store::connect(&settings).await else { panic!("{scheme} was taken") };
            assert!(matches!(error, StoreError::Configuration { .. }), "{error}");
            let said = error.to_string();
            assert!(
                said.contains("without TLS") && !said.contains("s3cret") && said.lines().count() == 1,
                "{said}"
            );
            listener.set_nonblocking(true).unwrap();
            assert!(listener.accept().is_err(), "nobody came");
        }
    }
}
