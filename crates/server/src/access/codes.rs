//! One-time codes (TOTP, RFC 6238, with the parameters that every application takes: SHA-1, six digits, 30 s).

use aws_lc_rs::hmac;
use firedrill_model::Timestamp;

/// As long as the hash: what RFC 4226, section 4, recommends.
pub(super) const KEY_BYTES: usize = 20;
const STEP_SECONDS: i64 = 30;
const DIGITS: usize = 6;
/// Clocks of telephones are wrong by seconds, and people type for some: one step before and after counts, too.
const STEPS_AROUND: i64 = 1;

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The step of the clock whose code this is; `None`: it is no code of this moment.
pub(super) fn step_of(key: &[u8], code: &str, now: Timestamp) -> Option<i64> {
    let present = now.0.div_euclid(1_000_000).div_euclid(STEP_SECONDS);
    (present - STEPS_AROUND..=present + STEPS_AROUND).find(|step| {
        let right = of_step(key, *step);
        aws_lc_rs::constant_time::verify_slices_are_equal(right.as_bytes(), code.as_bytes()).is_ok()
    })
}

/// The code of one step: dynamic truncation of RFC 4226, section 5.3.
fn of_step(key: &[u8], step: i64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    let at = usize::from(tag[tag.len() - 1] & 0x0f);
    let number = tag[at..at + 4].iter().fold(0_u32, |number, byte| (number << 8) | u32::from(*byte)) & 0x7fff_ffff;
    let all = format!("{number:0DIGITS$}");
    all[all.len() - DIGITS..].to_owned()
}

/// Base 32 without padding (RFC 4648), as applications want the key.
pub(super) fn base32(bytes: &[u8]) -> String {
    let mut text = String::new();
    let (mut bits, mut held) = (0_u32, 0_u32);
    for byte in bytes {
        bits = (bits << 8) | u32::from(*byte);
        held += 8;
        while held >= 5 {
            held -= 5;
            text.push(char::from(ALPHABET[(bits >> held) as usize & 31]));
        }
    }
    if held > 0 {
        text.push(char::from(ALPHABET[(bits << (5 - held)) as usize & 31]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B, the last six of its eight digits.
    const VECTORS: [(i64, &str); 6] = [
        (59, "287082"),
        (1_111_111_109, "081804"),
        (1_111_111_111, "050471"),
        (1_234_567_890, "005924"),
        (2_000_000_000, "279037"),
        (20_000_000_000, "353130"),
    ];
    const KEY: &[u8] = b"12345678901234567890";

    #[test]
    fn codes_are_those_of_the_rfc() {
        for (seconds, code) in VECTORS {
            let now = Timestamp(seconds * 1_000_000);
            assert_eq!(step_of(KEY, code, now), Some(seconds / 30), "{seconds}");
            assert_eq!(step_of(KEY, code, Timestamp(now.0 + 120_000_000)), None);
            assert_eq!(step_of(b"another key, 20 byte", code, now), None);
        }
        assert_eq!(step_of(KEY, "", Timestamp(59_000_000)), None);
    }

    #[test]
    fn keys_are_written_as_in_rfc_4648() {
        for (bytes, text) in [("", ""), ("f", "MY"), ("fo", "MZXQ"), ("foo", "MZXW6"), ("foobar", "MZXW6YTBOI")] {
            assert_eq!(base32(bytes.as_bytes()), text);
        }
    }
}
