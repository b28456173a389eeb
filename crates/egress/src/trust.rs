//! Whom TLS of this side's own trusts: certificates of the system.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

/// A client's side of TLS with the system's certificates, or those that SSL_CERT_FILE names, as they are now. Reads files.
///
/// # Errors
///
/// That there are none, with the remedy.
pub fn trusting_the_system() -> Result<Arc<ClientConfig>, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(found.certs);
    if taken == 0 {
        let why = found
            .errors
            .first()
            .map_or_else(String::new, |error| format!(": {error}"));
        return Err(format!(
            "there is no authority's certificate on this machine{why}; install ca-certificates, or name a file of them in SSL_CERT_FILE"
        ));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
