//! A small identity provider on this machine.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::task::JoinHandle;

/// What it says of the next person.
#[derive(Clone, Default)]
pub(crate) struct Script {
    /// Instead of what is right.
    pub(crate) claims: Value,
    /// With `alg: none`.
    pub(crate) unsigned: bool,
    /// Signed with another key than the published one.
    pub(crate) forged: bool,
    /// It gives no token.
    pub(crate) refuses: bool,
}

impl Script {
    pub(crate) fn of(claims: Value) -> Self {
        Self { claims, ..Self::default() }
    }
}

struct Inside {
    issuer: String,
    secret: String,
    key: (String, EcdsaKeyPair),
    script: Script,
    /// What each code was made for.
    codes: BTreeMap<String, BTreeMap<String, String>>,
    made: usize,
}

type Shared = Arc<Mutex<Inside>>;

pub(crate) struct IdentityProvider {
    inside: Shared,
    serving: JoinHandle<()>,
}

impl Drop for IdentityProvider {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn key(number: usize) -> (String, EcdsaKeyPair) {
    (format!("key-{number}"), EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"))
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl IdentityProvider {
    /// Knows one client, `firedrill`, by that secret.
    pub(crate) async fn start(secret: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let issuer = format!("http://{}/realm", listener.local_addr().expect("an address"));
        let inside = Inside {
            issuer,
            secret: secret.to_owned(),
            key: key(0),
            script: Script::default(),
            codes: BTreeMap::new(),
            made: 0,
        };
        let inside = Arc::new(Mutex::new(inside));
        let router = Router::new()
            .route("/realm/.well-known/openid-configuration", get(description))
            .route("/realm/keys", get(keys))
            .route("/realm/token", post(token))
            .with_state(Arc::clone(&inside));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { inside, serving }
    }

    pub(crate) fn issuer(&self) -> String {
        self.inside.lock().expect("whole").issuer.clone()
    }

    pub(crate) fn says(&self, script: Script) {
        self.inside.lock().expect("whole").script = script;
    }

    /// Another key from now on; the old one is not published any more.
    pub(crate) fn rotate(&self) {
        let mut inside = self.inside.lock().expect("whole");
        inside.made += 1;
        inside.key = key(inside.made);
    }

    /// A person has logged in who was sent with that; the code that they take back.
    pub(crate) fn logs_in(&self, sent: &BTreeMap<String, String>) -> String {
        for (name, value) in [("response_type", "code"), ("client_id", "firedrill"), ("code_challenge_method", "S256")]
        {
            assert_eq!(sent[name], value);
        }
        assert!(sent["scope"].split(' ').any(|scope| scope == "openid"), "{sent:?}");
        let mut inside = self.inside.lock().expect("whole");
        inside.made += 1;
        let code = format!("code-{}", inside.made);
        inside.codes.insert(code.clone(), sent.clone());
        code
    }
}

async fn description(State(shared): State<Shared>) -> Json<Value> {
    let issuer = shared.lock().expect("whole").issuer.clone();
    Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/keys"),
        "token_endpoint_auth_methods_supported": ["client_secret_basic"],
    }))
}

async fn keys(State(shared): State<Shared>) -> Json<Value> {
    let inside = shared.lock().expect("whole");
    let point = inside.key.1.public_key().as_ref();
    let key = json!({
        "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": inside.key.0,
        "x": encode(&point[1..33]), "y": encode(&point[33..65]),
    });
    Json(json!({"keys": [{"kty": "OKP", "crv": "X448"}, key, {"kty": 7}]}))
}

fn fields(body: &str) -> BTreeMap<String, String> {
    let url = reqwest::Url::parse(&format!("http://x/?{body}")).expect("a form");
    url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

async fn token(State(shared): State<Shared>, headers: HeaderMap, body: String) -> (StatusCode, Json<Value>) {
    let refuse = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({ "error": error })));
    let mut inside = shared.lock().expect("whole");
    let basic = headers["authorization"].to_str().expect("text").strip_prefix("Basic ").expect("basic");
    let pair = String::from_utf8(STANDARD.decode(basic).expect("base64")).expect("text");
    let (client, secret) = pair.split_once(':').expect("two");
    let secret = &fields(&format!("secret={secret}"))["secret"];
    if (client, secret.as_str()) != ("firedrill", inside.secret.as_str()) || inside.script.refuses {
        return refuse("invalid_client");
    }
    let asked = fields(&body);
    let Some(sent) = inside.codes.remove(&asked["code"]) else { return refuse("invalid_grant") };
    let right = encode(Sha256::digest(asked["code_verifier"].as_bytes())) == sent["code_challenge"];
    if !right || asked["redirect_uri"] != sent["redirect_uri"] {
        return refuse("invalid_grant");
    }
    let now = firedrill_server::clock::now().0 / 1_000_000;
    let mut claims = json!({
        "iss": inside.issuer, "aud": "firedrill", "exp": now + 300, "iat": now, "nonce": sent["nonce"],
    });
    for (name, value) in inside.script.claims.as_object().cloned().unwrap_or_default() {
        claims[name] = value;
    }
    let alg = if inside.script.unsigned { "none" } else { "ES256" };
    let header = json!({"alg": alg, "kid": inside.key.0});
    let signed = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    let other = key(0).1;
    let signer = if inside.script.forged { &other } else { &inside.key.1 };
    let signature = signer.sign(&SystemRandom::new(), signed.as_bytes()).expect("signed");
    let signature = if inside.script.unsigned { String::new() } else { encode(signature) };
    (StatusCode::OK, Json(json!({"id_token": format!("{signed}.{signature}"), "token_type": "Bearer"})))
}
