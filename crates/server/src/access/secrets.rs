//! Random secrets, and the key that encrypts those which must be read again. The key is a file beside the database, so
//! that a copy of the database alone gives nothing away.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const KEY_BYTES: usize = 32;
/// Random bytes of a token or session: nobody guesses 192 bits.
const TOKEN_BYTES: usize = 24;

/// Why the key of the secrets cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("{path} cannot be read or written")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// It is no key.
    #[error("{path} holds no key of 64 hexadecimal digits; put the right file back, from where you keep copies")]
    Malformed {
        /// Which file.
        path: PathBuf,
    },
    /// The operating system gives no random numbers.
    #[error("the operating system gives no random numbers")]
    Random,
}

/// The key.
pub(crate) struct Key(RandomizedNonceKey);

impl Key {
    /// Reads it, or makes it (readable by its owner only) when there is no file.
    pub(crate) fn open(path: &Path) -> Result<Self, KeyError> {
        let file = |source| KeyError::File { path: path.to_owned(), source };
        let malformed = || KeyError::Malformed { path: path.to_owned() };
        if !path.exists() {
            let text = hex(&random::<KEY_BYTES>().ok_or(KeyError::Random)?);
            let mut made =
                std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path).map_err(file)?;
            made.write_all(text.as_bytes()).and_then(|()| made.sync_all()).map_err(file)?;
        }
        let bytes = from_hex(std::fs::read_to_string(path).map_err(file)?.trim()).ok_or_else(malformed)?;
        RandomizedNonceKey::new(&AES_256_GCM, &bytes).map(Self).map_err(|_| malformed())
    }

    /// Encrypts; `of` says whose it is, and must be the same when it is opened.
    pub(crate) fn seal(&self, secret: &[u8], of: &str) -> Option<String> {
        let mut bytes = secret.to_vec();
        let nonce = self.0.seal_in_place_append_tag(Aad::from(of.as_bytes()), &mut bytes).ok()?;
        Some(format!("{}{}", hex(nonce.as_ref()), hex(&bytes)))
    }

    /// The reverse of [`Key::seal`]; `None`: another key, another owner, or changed.
    pub(crate) fn unseal(&self, sealed: &str, of: &str) -> Option<Vec<u8>> {
        let bytes = from_hex(sealed)?;
        let (nonce, rest) = bytes.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut rest = rest.to_vec();
        let secret = self.0.open_in_place(nonce, Aad::from(of.as_bytes()), &mut rest).ok()?;
        Some(secret.to_vec())
    }
}

/// Random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).ok()?;
    Some(bytes)
}

/// A new secret to be shown instead of a password; the beginning says what it is, for those who find one lying about.
pub(crate) fn token(prefix: &str) -> Option<String> {
    Some(format!("{prefix}{}", hex(&random::<TOKEN_BYTES>()?)))
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The reverse of [`hex`].
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_was_sealed_opens_for_the_same_key_and_owner_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("secrets.key");
        let key = Key::open(&path).expect("made");
        let sealed = key.seal(b"a secret", "totp of ada").expect("sealed");
        assert_eq!(std::fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
        let again = Key::open(&path).expect("read");
        assert_eq!(again.unseal(&sealed, "totp of ada").as_deref(), Some(b"a secret".as_slice()));
        assert_eq!(again.unseal(&sealed, "totp of bob"), None);
        let other = Key::open(&dir.path().join("other.key")).expect("made");
        assert_eq!(other.unseal(&sealed, "totp of ada"), None);
        assert_eq!(again.unseal("00", "totp of ada"), None);
        std::fs::write(&path, "not a key").expect("written");
        assert!(matches!(Key::open(&path), Err(KeyError::Malformed { .. })));
    }

    #[test]
    fn hexadecimal_digits_go_there_and_back() {
        assert_eq!(from_hex(&hex(&[0, 9, 255])), Some(vec![0, 9, 255]));
        assert_eq!(from_hex("0"), None);
        assert_eq!(from_hex("äx"), None);
    }
}
