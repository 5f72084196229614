//! Signatures of webhooks, by the Standard Webhooks specification 1.0: HMAC-SHA256 over id, time and body.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use firedrill_model::message::render::signed_content;

/// The value of the header `webhook-signature`; `None`: the secret is none.
pub(super) fn signature(secret: &str, id: &str, timestamp_seconds: i64, body: &str) -> Option<String> {
    let bytes = STANDARD.decode(secret.strip_prefix("whsec_")?).ok()?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
    let tag = hmac::sign(&key, signed_content(id, timestamp_seconds, body).as_bytes());
    Some(format!("v1,{}", STANDARD.encode(tag.as_ref())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_reference_implementations_comes_out() {
        let signed = signature(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(signed.as_deref(), Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
        assert_eq!(signature("whsec_?", "a", 0, ""), None);
        assert_eq!(signature("MfKQ", "a", 0, ""), None);
    }
}
