//! The checks of an identity token. Pure: keys and the moment come in.
//!
//! OpenID Connect Core 1.0, section 3.1.3.7, and RFC 8725 (best practices for JSON web tokens). Signatures are checked by
//! the cryptography that everything here is checked by; only algorithms with a public and a private key are taken, so
//! that neither an unsigned token nor one that is "signed" with a public value passes.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use firedrill_model::{Span, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value};

/// So far the clocks of this server and of the identity provider may be apart.
const CLOCK_SKEW: Span = Span::secs(60);
/// Longest token; those with hundreds of groups have some ten kilobytes.
const TOKEN_BYTES_MAX: usize = 64 << 10;
/// Longest subject: what the standard allows.
const SUBJECT_CHARS_MAX: usize = 255;

/// A public key of the provider (RFC 7517); what is not known of it is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Key {
    #[serde(default)]
    kid: Option<String>,
    kty: String,
    #[serde(default, rename = "use")]
    usage: Option<String>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
}

/// What a token must say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected<'e> {
    pub(super) issuer: &'e str,
    pub(super) client: &'e str,
    /// What this server gave to the browser that comes back.
    pub(super) nonce: &'e str,
    pub(super) now: Timestamp,
}

/// Why a token is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("the identity token is malformed: {0}")]
    Malformed(&'static str),
    #[error(
        "the identity token is signed with {0:?}, which is not taken; RS256, RS384, RS512, PS256, ES256 and ES384 are"
    )]
    Algorithm(String),
    #[error("the identity token is signed with a key that the provider does not publish")]
    UnknownKey,
    #[error("the signature of the identity token is wrong")]
    Signature,
    #[error("the identity token is from {0:?}, not from the provider that was asked")]
    Issuer(String),
    #[error("the identity token is for another application")]
    Audience,
    #[error("the identity token expired {0} ago; are the clocks of both servers right?")]
    Expired(Span),
    #[error("the identity token is good only from {0} on; are the clocks of both servers right?")]
    NotYet(Span),
    #[error("the identity token belongs to another log-in")]
    Nonce,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crit: Option<Value>,
}

/// What a token that is good says of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claims {
    /// Who, for ever, at this provider.
    pub(super) subject: String,
    all: Map<String, Value>,
}

impl Claims {
    /// A claim that is a text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.all.get(name)?.as_str()
    }

    /// A claim that is a list of texts, or one text.
    pub(super) fn texts(&self, name: &str) -> Vec<&str> {
        match self.all.get(name) {
            Some(Value::String(text)) => vec![text],
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    #[cfg(test)]
    pub(super) fn made(subject: &str, all: Value) -> Self {
        Self { subject: subject.to_owned(), all: all.as_object().cloned().unwrap_or_default() }
    }
}

/// Checks a token.
///
/// # Errors
/// [`Refused::UnknownKey`]: perhaps the keys have changed, and the token is to be checked again with the present ones.
/// Anything else is final.
pub(super) fn check(token: &str, keys: &[Key], expected: Expected<'_>) -> Result<Claims, Refused> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Refused::Malformed("it is too long"));
    }
    let mut parts = token.split('.');
    let (Some(header), Some(body), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refused::Malformed("it has not three parts"));
    };
    let read: Header = json(header)?;
    if read.crit.is_some() {
        return Err(Refused::Malformed("it demands an extension"));
    }
    let algorithm = Algorithm::named(&read.alg).ok_or_else(|| Refused::Algorithm(read.alg.clone()))?;
    let key = find(keys, algorithm, read.kid.as_deref()).ok_or(Refused::UnknownKey)?;
    let signed = &token.as_bytes()[..header.len() + 1 + body.len()];
    algorithm.verify(key, signed, &decode(signature)?).ok_or(Refused::Signature)?;
    claims(json(body)?, expected)
}

fn claims(all: Map<String, Value>, expected: Expected<'_>) -> Result<Claims, Refused> {
    let text = |name: &str| all.get(name).and_then(Value::as_str);
    let issuer = text("iss").unwrap_or_default();
    if issuer != expected.issuer {
        return Err(Refused::Issuer(issuer.chars().take(200).collect()));
    }
    let for_us = |value: &Value| value.as_str() == Some(expected.client);
    let (listed, several) = match all.get("aud") {
        Some(Value::Array(all)) => (all.iter().any(for_us), all.len() > 1),
        Some(one) => (for_us(one), false),
        None => (false, false),
    };
    // For several of them, the one that asked is named.
    let asked_by = text("azp");
    if !listed || asked_by.is_some_and(|azp| azp != expected.client) || (several && asked_by.is_none()) {
        return Err(Refused::Audience);
    }
    let moment = |name: &str| all.get(name).and_then(Value::as_f64).map(|seconds| Timestamp((seconds * 1e6) as i64));
    let expires = moment("exp").ok_or(Refused::Malformed("it does not say when it expires"))?;
    if expected.now >= expires + CLOCK_SKEW {
        return Err(Refused::Expired(expected.now.since(expires)));
    }
    let made = moment("iat").ok_or(Refused::Malformed("it does not say when it was made"))?;
    if let Some(begins) = [Some(made), moment("nbf")].into_iter().flatten().find(|at| *at > expected.now + CLOCK_SKEW) {
        return Err(Refused::NotYet(begins.since(expected.now)));
    }
    let nonce = text("nonce").unwrap_or_default();
    if aws_lc_rs::constant_time::verify_slices_are_equal(nonce.as_bytes(), expected.nonce.as_bytes()).is_err() {
        return Err(Refused::Nonce);
    }
    let subject = text("sub").filter(|subject| !subject.is_empty() && subject.chars().count() <= SUBJECT_CHARS_MAX);
    let subject = subject.ok_or(Refused::Malformed("it does not say who"))?.to_owned();
    Ok(Claims { subject, all })
}

#[derive(Clone, Copy)]
enum Algorithm {
    Rsa(&'static aws_lc_rs::signature::RsaParameters, &'static str),
    Ecdsa(&'static aws_lc_rs::signature::EcdsaVerificationAlgorithm, &'static str, &'static str),
}

impl Algorithm {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rsa(&RSA_PKCS1_2048_8192_SHA256, "RS256"),
            "RS384" => Self::Rsa(&RSA_PKCS1_2048_8192_SHA384, "RS384"),
            "RS512" => Self::Rsa(&RSA_PKCS1_2048_8192_SHA512, "RS512"),
            "PS256" => Self::Rsa(&RSA_PSS_2048_8192_SHA256, "PS256"),
            "ES256" => Self::Ecdsa(&ECDSA_P256_SHA256_FIXED, "ES256", "P-256"),
            "ES384" => Self::Ecdsa(&ECDSA_P384_SHA384_FIXED, "ES384", "P-384"),
            _ => return None,
        })
    }

    /// The key is for signatures of this kind.
    fn fits(self, key: &Key) -> bool {
        let (kty, name, curve) = match self {
            Self::Rsa(_, name) => ("RSA", name, None),
            Self::Ecdsa(_, name, curve) => ("EC", name, Some(curve)),
        };
        key.kty == kty
            && key.usage.as_deref().is_none_or(|usage| usage == "sig")
            && key.alg.as_deref().is_none_or(|alg| alg == name)
            && curve.is_none_or(|curve| key.crv.as_deref() == Some(curve))
    }

    fn verify(self, key: &Key, signed: &[u8], signature: &[u8]) -> Option<()> {
        let part = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref()?).ok();
        match self {
            Self::Rsa(parameters, _) => {
                let (n, e) = (part(&key.n)?, part(&key.e)?);
                RsaPublicKeyComponents { n, e }.verify(parameters, signed, signature).ok()
            }
            Self::Ecdsa(parameters, ..) => {
                // The uncompressed form of a point.
                let point = [vec![4], part(&key.x)?, part(&key.y)?].concat();
                UnparsedPublicKey::new(parameters, point).verify(signed, signature).ok()
            }
        }
    }
}

/// The named key; without a name, the only one that fits.
fn find<'k>(keys: &'k [Key], algorithm: Algorithm, kid: Option<&str>) -> Option<&'k Key> {
    let mut fitting = keys.iter().filter(|key| algorithm.fits(key) && (kid.is_none() || key.kid.as_deref() == kid));
    let first = fitting.next()?;
    (kid.is_some() || fitting.next().is_none()).then_some(first)
}

fn decode(part: &str) -> Result<Vec<u8>, Refused> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Refused::Malformed("it is not base64url"))
}

fn json<T: serde::de::DeserializeOwned>(part: &str) -> Result<T, Refused> {
    serde_json::from_slice(&decode(part)?).map_err(|_| Refused::Malformed("it is not JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
    use proptest::prelude::*;
    use serde_json::json;

    const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

    struct Provider(EcdsaKeyPair);

    impl Provider {
        fn new() -> Self {
            Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"))
        }

        fn key(&self, kid: &str) -> Key {
            let point = self.0.public_key().as_ref();
            let part = |bytes: &[u8]| Some(URL_SAFE_NO_PAD.encode(bytes));
            Key {
                kid: Some(kid.to_owned()),
                kty: "EC".to_owned(),
                crv: Some("P-256".to_owned()),
                x: part(&point[1..33]),
                y: part(&point[33..65]),
                ..Key::default()
            }
        }

        fn sign(&self, header: Value, claims: Value) -> String {
            let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
            let signed = format!("{}.{}", part(header), part(claims));
            let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).expect("signed");
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
        }
    }

    fn good() -> Value {
        let now = NOW.0 / 1_000_000;
        json!({"iss": "https://id", "sub": "7", "aud": "us", "exp": now + 300, "iat": now, "nonce": "n"})
    }

    fn with(name: &str, value: Value) -> Value {
        let mut claims = good();
        claims[name] = value;
        claims
    }

    fn expected() -> Expected<'static> {
        Expected { issuer: "https://id", client: "us", nonce: "n", now: NOW }
    }

    #[test]
    fn a_good_token_is_taken_and_each_wrong_one_refused() {
        let provider = Provider::new();
        let keys = [provider.key("1")];
        let now = NOW.0 / 1_000_000;
        let says = |claims| check(&provider.sign(json!({"alg": "ES256", "kid": "1"}), claims), &keys, expected());
        assert_eq!(says(good()).expect("good").subject, "7");
        assert!(says(with("aud", json!(["us"]))).is_ok());
        assert!(says(with("exp", json!(now - 59))).is_ok(), "clocks differ");
        let mut several = with("aud", json!(["us", "them"]));
        assert_eq!(says(several.clone()), Err(Refused::Audience), "nobody says who asked");
        several["azp"] = json!("us");
        assert!(says(several.clone()).is_ok());
        several["azp"] = json!("them");
        assert_eq!(says(several), Err(Refused::Audience));
        assert_eq!(says(with("aud", json!("them"))), Err(Refused::Audience));
        assert_eq!(says(with("aud", Value::Null)), Err(Refused::Audience));
        assert_eq!(says(with("nonce", json!("m"))), Err(Refused::Nonce));
        assert_eq!(says(with("nonce", Value::Null)), Err(Refused::Nonce));
        assert!(matches!(says(with("iss", json!("https://id/"))), Err(Refused::Issuer(_))));
        assert!(matches!(says(with("exp", json!(now - 61))), Err(Refused::Expired(_))));
        assert!(matches!(says(with("exp", Value::Null)), Err(Refused::Malformed(_))));
        assert!(matches!(says(with("iat", json!(now + 61))), Err(Refused::NotYet(_))));
        assert!(matches!(says(with("nbf", json!(now + 61))), Err(Refused::NotYet(_))));
        for nobody in [json!(""), json!(7), json!("x".repeat(256))] {
            assert!(matches!(says(with("sub", nobody)), Err(Refused::Malformed(_))));
        }
    }

    #[test]
    fn only_signatures_by_the_right_key_and_algorithm_count() {
        let (provider, other) = (Provider::new(), Provider::new());
        let keys = [provider.key("1")];
        let says = |token: &str| check(token, &keys, expected());
        let signed = provider.sign(json!({"alg": "ES256", "kid": "1"}), good());
        assert!(says(&signed).is_ok());
        assert_eq!(says(&other.sign(json!({"alg": "ES256", "kid": "1"}), good())), Err(Refused::Signature));
        assert_eq!(says(&provider.sign(json!({"alg": "ES256", "kid": "2"}), good())), Err(Refused::UnknownKey));
        for name in ["none", "None", "HS256", "ES256K", ""] {
            let token = provider.sign(json!({"alg": name, "kid": "1"}), good());
            assert_eq!(says(&token), Err(Refused::Algorithm(name.to_owned())));
            let unsigned = format!("{}.", &token[..token.rfind('.').expect("three parts")]);
            assert!(says(&unsigned).is_err());
        }
        assert_eq!(says(&provider.sign(json!({"alg": "RS256", "kid": "1"}), good())), Err(Refused::UnknownKey));
        assert!(says(&provider.sign(json!({"alg": "ES256", "crit": ["x"]}), good())).is_err());
        // Without a name the only key that fits; of two nobody knows which.
        let unnamed = provider.sign(json!({"alg": "ES256"}), good());
        assert!(says(&unnamed).is_ok());
        assert_eq!(check(&unnamed, &[provider.key("1"), other.key("2")], expected()), Err(Refused::UnknownKey));
        let for_encryption = Key { usage: Some("enc".to_owned()), ..provider.key("1") };
        assert_eq!(check(&signed, &[for_encryption], expected()), Err(Refused::UnknownKey));
    }

    #[test]
    fn signatures_with_rsa_keys_are_checked_too() {
        use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
        use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding};
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        // PKCS #1: a sequence of the modulus (257 bytes, the first of them 0) and the exponent 65537 (3 bytes).
        let der = pair.public_key().as_ref();
        assert_eq!(der.len(), 9 + 256 + 5);
        let part = |bytes: &[u8]| Some(URL_SAFE_NO_PAD.encode(bytes));
        let key = Key { kty: "RSA".to_owned(), n: part(&der[9..265]), e: part(&der[267..]), ..Key::default() };
        let sign = |alg: &str, encoding: &'static dyn RsaEncoding| {
            let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
            let signed = format!("{}.{}", part(json!({ "alg": alg })), part(good()));
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(encoding, &SystemRandom::new(), signed.as_bytes(), &mut signature).expect("signed");
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
        };
        let keys = [key];
        assert!(check(&sign("RS256", &RSA_PKCS1_SHA256), &keys, expected()).is_ok());
        assert!(check(&sign("PS256", &RSA_PSS_SHA256), &keys, expected()).is_ok());
        assert_eq!(check(&sign("RS256", &RSA_PSS_SHA256), &keys, expected()), Err(Refused::Signature));
        assert_eq!(check(&sign("ES256", &RSA_PKCS1_SHA256), &keys, expected()), Err(Refused::UnknownKey));
    }

    proptest! {
        #[test]
        fn nonsense_is_refused_and_does_no_harm(token in "[A-Za-z0-9_.-]{0,300}") {
            prop_assert!(check(&token, &[Provider::new().key("1")], expected()).is_err());
        }

        #[test]
        fn a_token_with_one_character_changed_is_not_taken(at in 0_usize..400, to in "[A-Za-z0-9_-]") {
            let provider = Provider::new();
            let token = provider.sign(json!({"alg": "ES256", "kid": "1"}), good());
            let at = at % token.len();
            let mut changed = token.clone();
            changed.replace_range(at..=at, &to);
            // The last character of each part holds bits that mean nothing.
            let same = changed == token || at + 1 == token.len();
            prop_assert!(same || check(&changed, &[provider.key("1")], expected()).is_err());
        }
    }
}
