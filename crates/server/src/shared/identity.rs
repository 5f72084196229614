//! Servers of one store must have the same authority and the same key: agents trust the one, secrets are encrypted with
//! the other. Both are files that people copy; neither is in the database.

use crate::access::Key;
use crate::authority::{Authority, sha256_hex};
use crate::config::ServerConfig;
use crate::error::StartError;
use firedrill_store::Acting;

/// A hash over both, by which servers recognise each other. They are made when this is the first server of its store.
///
/// # Errors
/// Others are there, and have other ones.
pub(super) fn of(config: &ServerConfig, others: Option<&Acting>) -> Result<String, StartError> {
    let authority = config.data_dir.join("authority");
    let secrets = config.data_dir.join("secrets.key");
    let refused = |others: &Acting| StartError::OtherKeys {
        data_dir: config.data_dir.clone(),
        other: others.server.http.clone(),
    };
    if let Some(others) = others
        && !(authority.join("authority.pem").exists() && secrets.exists())
    {
        return Err(refused(others));
    }
    let authority =
        Authority::open(&authority).map_err(|source| StartError::Authority { path: authority.clone(), source })?;
    Key::open(&secrets).map_err(StartError::Secrets)?;
    let key = std::fs::read_to_string(&secrets).map_err(|source| StartError::data_dir(&secrets, source))?;
    let identity = sha256_hex(format!("firedrill servers\n{}\n{}", authority.fingerprint(), key.trim()).as_bytes());
    match others {
        Some(others) if others.server.identity != identity => Err(refused(others)),
        _ => Ok(identity),
    }
}
