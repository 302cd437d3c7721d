//! The errors of operations on the store, and what each means for the caller.

use lifecycle_core::wire::codec::Malformed;
use lifecycle_core::wire::keys::KeyType;

use crate::deployment::Deployment;
use crate::refusal::{Refusal, said};

/// Why an operation on the store did not happen, or may not have happened. Every operation can fail so, because the store
/// does not answer or refuses; a section "Errors" says only what is particular.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The settings cannot describe a connection. Nothing was tried.
    #[error("redis.url {url:?} cannot be used: {problem}")]
    Configuration {
        /// The URL, without its password.
        url: String,
        /// What is wrong with the settings.
        problem: String,
    },
    /// No server answered within the start-up time. Nothing was written.
    #[error(
        "no store answered at {url} within {seconds} s: start Redis or Valkey there, or set redis.url ({detail})"
    )]
    Unreachable {
        /// The URL, without its password.
        url: String,
        /// How long it was tried, in seconds.
        seconds: u64,
        /// The error of the last attempt.
        detail: String,
    },
    /// The connection broke or timed out. It is not known whether the command ran. Every write is fenced, so trying
    /// again is safe.
    #[error("the store did not answer: {0}")]
    Unavailable(String),
    /// The server could not prove to be the store, or wants a proof of us. Nothing was sent to it.
    #[error("no encrypted connection to the store: {0}; nothing was sent")]
    Untrusted(String),
    /// The store understood and refused. Nothing was written by this command.
    #[error("the store refused: {said}{}", refusal.advice().map(|advice| format!("; {advice}")).unwrap_or_default())]
    Refused {
        /// Why it refused.
        refusal: Refusal,
        /// The server's own words.
        said: String,
    },
    /// A key holds another type than the product keeps under its name. Somebody else put it there.
    #[error(
        "{key} holds {}, not {}: rename or delete it (redis-cli RENAME {key} {key}.old)",
        holds.in_words(), wanted.in_words()
    )]
    WrongType {
        /// The key.
        key: String,
        /// What it holds.
        holds: KeyType,
        /// What the product keeps there.
        wanted: KeyType,
    },
    /// The store is of a kind that is not supported. Nothing was written.
    #[error("{url} is {deployment}")]
    Unsupported {
        /// The URL, without its password.
        url: String,
        /// What kind of store it is.
        deployment: Deployment,
    },
    /// The request makes no sense. The store was not asked.
    #[error("{0}")]
    Invalid(String),
    /// A reply, or a value read from the store, is not what this product writes.
    #[error("the store holds or said something unexpected: {0}")]
    Unexpected(String),
}

impl StoreError {
    /// Whether the same call may succeed later without anybody's help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Unreachable { .. } => true,
            // A replica may be promoted.
            Self::Unsupported { deployment, .. } => deployment.passes(),
            Self::Refused { refusal, .. } => refusal.passes(),
            Self::Configuration { .. }
            | Self::Untrusted(_)
            | Self::WrongType { .. }
            | Self::Invalid(_)
            | Self::Unexpected(_) => false,
        }
    }

    /// Why the store refused, if it did.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(*refusal),
            _ => None,
        }
    }
}

/// Whether a command failed only because its key holds another type.
pub(crate) fn is_wrong_type(error: &fred::error::Error) -> bool {
    Refusal::of(error.details()) == Refusal::WrongType
}

impl StoreError {
    /// Whether a key holds another type than it should. Waiting does not change that.
    #[must_use]
    pub fn is_wrong_type(&self) -> bool {
        matches!(self, Self::WrongType { .. }) || self.refusal() == Some(Refusal::WrongType)
    }
}

impl From<fred::error::Error> for StoreError {
    fn from(error: fred::error::Error) -> Self {
        use fred::error::ErrorKind;
        if let Some(problem) = untrusted(error.details()) {
            return Self::Untrusted(problem);
        }
        let refusal = Refusal::of(error.details());
        match error.kind() {
            // The client has its own kinds for some replies, and turns others into an I/O error by closing the
            // connection.
            _ if refusal != Refusal::Other => Self::Refused { refusal, said: said(error.details()).into() },
            ErrorKind::IO
            | ErrorKind::Timeout
            | ErrorKind::Canceled
            | ErrorKind::Routing
            | ErrorKind::Backpressure => Self::Unavailable(in_words(error.details())),
            ErrorKind::Parse | ErrorKind::Protocol => Self::Unexpected(in_words(error.details())),
            _ => Self::Refused { refusal, said: in_words(error.details()) },
        }
    }
}

/// The client passes on the debug text of an I/O error; people need the message inside.
pub(crate) fn in_words(details: &str) -> String {
    let quoted = ["message: \"", "error: \""].iter().find_map(|name| {
        let (_, rest) = details.split_once(name)?;
        Some(rest.split_once('"')?.0.to_string())
    });
    quoted.unwrap_or_else(|| details.trim_end_matches('.').to_string())
}

/// What is wrong with the TLS connection, if that is the cause. The client passes on only the debug text of rustls's
/// errors.
fn untrusted(details: &str) -> Option<String> {
    const STRANGER: &str =
        "is signed by nobody we trust: set redis.tls.ca to the store's certificate authority";
    const CERTIFICATE: [(&str, &str); 7] = [
        ("UnknownIssuer", STRANGER),
        // Signed by another authority of the same name.
        ("BadSignature", STRANGER),
        ("CaUsedAsEndEntity", "is an authority's own: give the store one that is signed by it"),
        ("NotValidForName", "is for another name: redis.url must have a name that it is made out to"),
        ("Expired", "has expired"),
        ("NotValidYet", "is not valid yet: is this machine's clock right?"),
        ("Revoked", "was revoked"),
    ];
    if let Some((_, reason)) = details.split_once("InvalidCertificate(") {
        // CaUsedAsEndEntity comes wrapped: `Other(OtherError(CaUsedAsEndEntity))`.
        let known = CERTIFICATE.iter().find(|(name, _)| reason.contains(name)).map(|(_, words)| *words);
        return Some(match known {
            Some(words) => format!("its certificate {words}"),
            None => format!("its certificate cannot be used ({})", reason.trim_end_matches([' ', '}', ')'])),
        });
    }
    if details.contains("InvalidMessage(InvalidContentType") {
        return Some(
            "it does not speak TLS at this port: use its TLS port, or redis:// if you trust the network"
                .into(),
        );
    }
    let (_, alert) = details.split_once("AlertReceived(")?;
    Some(match alert.split_once(')').map_or(alert, |(alert, _)| alert) {
        "CertificateRequired" => {
            "it wants a certificate of us, which we cannot give: set tls-auth-clients no".into()
        }
        alert => format!("it refused ours ({alert})"),
    })
}

impl From<Malformed> for StoreError {
    fn from(error: Malformed) -> Self {
        Self::Unexpected(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_store_passes_and_says_what_to_do_and_a_missing_right_does_not_pass() {
        let refused = |reply: &str| {
            StoreError::from(fred::error::Error::new(fred::error::ErrorKind::Unknown, reply.to_string()))
        };
        let full =
            refused("OOM command not allowed when used memory > 'maxmemory'. script: 97, on @user_script:1.");
        assert!(full.is_transient() && full.to_string().contains("raise maxmemory"), "{full}");
        assert!(!full.to_string().contains("user_script"), "{full}");
        let denied = refused("NOPERM this user has no permissions to run the 'hset' command");
        assert!(!denied.is_transient() && denied.to_string().contains("ACL SETUSER"), "{denied}");
        assert_eq!(denied.refusal(), Some(Refusal::NotPermitted));
    }

    #[test]
    fn a_wrong_type_names_the_key_and_the_way_out() {
        let error =
            StoreError::WrongType { key: "agents:log".into(), holds: KeyType::List, wanted: KeyType::Stream };
        assert_eq!(
            error.to_string(),
            "agents:log holds a list, not a stream: rename or delete it (redis-cli RENAME agents:log agents:log.old)"
        );
        assert!(!error.is_transient());
    }

    #[test]
    fn what_is_wrong_with_tls_is_told_in_words_and_is_not_tried_again() {
        for (details, words) in [
            ("Custom { kind: InvalidData, error: InvalidCertificate(UnknownIssuer) }", "nobody we trust"),
            (
                "Custom { kind: InvalidData, error: InvalidCertificate(ExpiredContext { time: 1 }) }",
                "has expired",
            ),
            ("InvalidCertificate(Other(OtherError(CaUsedAsEndEntity)))", "an authority's own"),
            ("InvalidCertificate(UnhandledCriticalExtension)", "cannot be used (UnhandledCriticalExtension)"),
            ("Custom { kind: InvalidData, error: InvalidMessage(InvalidContentType) }", "does not speak TLS"),
            (
                "Custom { kind: InvalidData, error: AlertReceived(CertificateRequired) }",
                "tls-auth-clients no",
            ),
            ("AlertReceived(HandshakeFailure)", "(HandshakeFailure)"),
        ] {
            let error =
                StoreError::from(fred::error::Error::new(fred::error::ErrorKind::IO, details.to_string()));
            assert!(error.to_string().contains(words) && !error.is_transient(), "{details}: {error}");
        }
        assert_eq!(untrusted("Connection refused"), None);
    }

    #[test]
    fn an_io_error_is_told_in_words() {
        let refused = r#"Os { code: 111, kind: ConnectionRefused, message: "Connection refused" }"#;
        assert_eq!(in_words(refused), "Connection refused");
        let custom = r#"Custom { kind: Uncategorized, error: "failed to lookup address" }"#;
        assert_eq!(in_words(custom), "failed to lookup address");
        assert_eq!(in_words("Request timed out."), "Request timed out");
    }
}
