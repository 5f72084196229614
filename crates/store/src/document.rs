//! Documents: values of the `model` crate as JSON text.

use crate::StoreError;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// As JSON. The types that are stored have string keys and no fallible `Serialize`.
pub(crate) fn write<T: Serialize>(what: &'static str, name: &str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|source| StoreError::Document { what, name: name.to_owned(), source })
}

/// From JSON.
pub(crate) fn read<T: DeserializeOwned>(what: &'static str, name: &str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|source| StoreError::Document { what, name: name.to_owned(), source })
}

/// A word such as `finished`, as the type is written in JSON, for a column of its own.
pub(crate) fn word<T: Serialize>(what: &'static str, value: &T) -> Result<String, StoreError> {
    let text = write(what, "", value)?;
    Ok(text.trim_matches('"').to_owned())
}

/// The reverse of [`word`].
pub(crate) fn from_word<T: DeserializeOwned>(what: &'static str, word: &str) -> Result<T, StoreError> {
    read(what, word, &format!("\"{word}\""))
}
