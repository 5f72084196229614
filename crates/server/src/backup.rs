//! Copies of the file of a server: taken while it runs, put back while it does not.

use crate::config::DATABASE_FILE;
use crate::error::StartError;
use crate::lock::DataDirLock;
use firedrill_store::{Copied, Store};
use std::path::{Path, PathBuf};

/// Copies the file of the server with that data directory, whether it runs or not, to a file that is not there yet.
///
/// # Errors
/// It cannot be read, or the copy not be written.
pub async fn backup(data_dir: &Path, to: &Path) -> Result<Copied, StartError> {
    Ok(Store::backup(&data_dir.join(DATABASE_FILE), to).await?)
}

/// Puts a copy in the place of the file of the server with that data directory. `moment` becomes a part of the name
/// under which the present file is kept; that name is given back.
///
/// # Errors
/// The server runs, the copy is not good, or the file cannot be replaced; then nothing was changed.
pub async fn restore(data_dir: &Path, copy: &Path, moment: &str) -> Result<(Copied, Option<PathBuf>), StartError> {
    let _nobody_runs = DataDirLock::take(data_dir)?;
    Ok(Store::restore(copy, &data_dir.join(DATABASE_FILE), moment).await?)
}
