//! Passwords: what is accepted, and how they are kept (argon2id, with the parameters that OWASP's cheat sheet on password
//! storage gives as a minimum: 19 MiB, two passes, one lane).

use super::secrets::{from_hex, hex};
use argon2::{Algorithm, Argon2, Params, Version};

/// Shortest password, in characters: the least that NIST SP 800-63B-4 accepts without a second factor is 15, with one 8.
const CHARS_MIN: usize = 12;
/// Longest, in bytes: far more than anybody types, and no work for whoever sends megabytes.
const BYTES_MAX: usize = 1024;

const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const HASH_BYTES: usize = 32;
/// Random bytes that make two equal passwords different.
pub(super) const SALT_BYTES: usize = 16;
/// No stored hash asks for more, whatever stands there: it is read from a database.
const MEMORY_KIB_MAX: u32 = 256 * 1024;

/// Whether it may be somebody's password.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(password: &str, user: &str) -> Result<(), String> {
    if password.len() > BYTES_MAX {
        return Err(format!("a password has at most {BYTES_MAX} bytes"));
    }
    if password.chars().count() < CHARS_MIN {
        return Err(format!("a password has at least {CHARS_MIN} characters; several words do well"));
    }
    let first = password.chars().next();
    if password.chars().all(|character| Some(character) == first) || password.contains(user) {
        return Err("a password is not one character again and again, and does not hold the user's name".to_owned());
    }
    Ok(())
}

/// What is kept of a password: the parameters, the salt and the hash, in one line.
pub(super) fn hash(password: &str, salt: [u8; SALT_BYTES]) -> String {
    let hash = compute(password, &salt, (MEMORY_KIB, PASSES, LANES)).unwrap_or_default();
    format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${}${}", hex(&salt), hex(&hash))
}

/// Whether the password is the one that is kept. `None` is kept for nobody: the answer is no, after the same time, so
/// that it does not tell which users there are.
pub(super) fn verify(password: &str, kept: Option<&str>) -> bool {
    if password.len() > BYTES_MAX {
        return false;
    }
    let Some((parameters, salt, expected)) = kept.and_then(parse) else {
        // The result does not matter, the time does.
        let _ = compute(password, &[0; SALT_BYTES], (MEMORY_KIB, PASSES, LANES));
        return false;
    };
    let Some(seen) = compute(password, &salt, parameters) else { return false };
    aws_lc_rs::constant_time::verify_slices_are_equal(&seen, &expected).is_ok()
}

fn compute(password: &str, salt: &[u8], (memory, passes, lanes): (u32, u32, u32)) -> Option<Vec<u8>> {
    let params = Params::new(memory, passes, lanes, Some(HASH_BYTES)).ok()?;
    let mut hash = vec![0; HASH_BYTES];
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon.hash_password_into(password.as_bytes(), salt, &mut hash).ok()?;
    Some(hash)
}

type Kept = ((u32, u32, u32), Vec<u8>, Vec<u8>);

fn parse(kept: &str) -> Option<Kept> {
    let rest = kept.strip_prefix("$argon2id$v=19$")?;
    let mut parts = rest.split('$');
    let mut numbers = parts.next()?.split(',').map(|part| part.split_once('=').and_then(|(_, n)| n.parse().ok()));
    let parameters = (numbers.next()??, numbers.next()??, numbers.next()??);
    let (salt, hash) = (from_hex(parts.next()?)?, from_hex(parts.next()?)?);
    (parameters.0 <= MEMORY_KIB_MAX && hash.len() == HASH_BYTES).then_some((parameters, salt, hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_itself_is_accepted() {
        let kept = hash("correct horse battery", [7; SALT_BYTES]);
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$07070707"), "{kept}");
        assert!(verify("correct horse battery", Some(&kept)));
        assert!(!verify("correct horse batterz", Some(&kept)) && !verify("", Some(&kept)));
        assert!(!verify("correct horse battery", None));
        for damaged in ["", "$argon2id$", "$argon2id$v=19$m=1,t=1$aa$bb", "$argon2id$v=19$m=999999999,t=1,p=1$aa$bb"] {
            assert!(!verify("correct horse battery", Some(damaged)), "{damaged}");
        }
    }

    #[test]
    fn what_is_easily_guessed_is_refused() {
        for bad in ["short", "aaaaaaaaaaaaaaaa", "my name is ada!", &"x1".repeat(600)] {
            assert!(check(bad, "ada").is_err(), "{bad}");
        }
        assert!(check("correct horse battery", "ada").is_ok());
    }
}
