//! Played agents, connected to the server of a test.

use crate::fixture::{Fixture, WITHIN, until};
use firedrill_api::http::Problem;
use firedrill_api::link::{Hello, Order, Welcome};
pub(crate) use firedrill_played::{Identity, Link, Script, hello, obliging};
use firedrill_played::{Refused, Setting};
use reqwest::{Certificate, StatusCode};
use std::ops::Deref;
use std::sync::Arc;

/// A client that trusts the authority in the server's directory.
pub(crate) fn anonymous(fixture: &Fixture) -> reqwest::Client {
    https(authority(fixture).as_bytes(), None)
}

fn authority(fixture: &Fixture) -> String {
    std::fs::read_to_string(fixture.dir.path().join("data/authority/authority.pem")).expect("an authority")
}

fn https(authority: &[u8], identity: Option<&str>) -> reqwest::Client {
    firedrill_api::client::install_crypto();
    let root = Certificate::from_pem(authority).expect("a certificate");
    let builder = reqwest::Client::builder().tls_certs_only([root]).no_proxy().tcp_nodelay(true);
    let builder = match identity {
        Some(pem) => builder.identity(reqwest::Identity::from_pem(pem.as_bytes()).expect("an identity")),
        None => builder,
    };
    builder.build().expect("a client")
}

/// Enrols a host; the refusal with its status when it is refused.
pub(crate) async fn enrol(fixture: &Fixture, host: &str, token: &str) -> Result<Identity, (StatusCode, Problem)> {
    let host = host.parse().expect("a name");
    let enrolled = firedrill_played::enrol(fixture.running().link, &authority(fixture), &host, token).await;
    enrolled.map_err(|error| {
        let Refused { status, problem } = error.downcast().expect("a refusal");
        (status, problem)
    })
}

pub(crate) fn identified(identity: &Identity) -> reqwest::Client {
    https(identity.authority.as_bytes(), Some(&identity.pem))
}

/// Says hello only.
pub(crate) async fn say_hello(
    fixture: &Fixture,
    identity: &Identity,
    hello: &Hello,
) -> Result<Welcome, (StatusCode, Problem)> {
    let sent = identified(identity).post(fixture.link("/link/v1/hello")).json(hello).send().await;
    let answer = sent.expect("an answer");
    let status = answer.status();
    if status.is_success() {
        Ok(answer.json().await.expect("a welcome"))
    } else {
        Err((status, answer.json().await.expect("a problem")))
    }
}

/// A connected agent. Dropped, its connections close.
pub(crate) struct Agent(firedrill_played::Agent);

impl Deref for Agent {
    type Target = firedrill_played::Agent;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Agent {
    /// Enrols, says hello, holds the stream, reports every 200 ms, and answers by the script.
    pub(crate) async fn connect(fixture: &Fixture, host: &str, script: Script) -> Self {
        let identity = fixture.enrolled(host).await;
        let greeting = hello(&identity.host);
        Self::connect_as(fixture, identity, greeting, script).await
    }

    pub(crate) async fn connect_as(fixture: &Fixture, identity: Identity, hello: Hello, script: Script) -> Self {
        let setting = Setting::new(fixture.running().link);
        let agent = firedrill_played::Agent::connect(&setting, identity, &hello, script).await.expect("connected");
        let (name, server) = (agent.host().clone(), Arc::clone(fixture.server()));
        until("the agent is connected", async || server.fleet.connected().contains(&name).then_some(())).await;
        Self(agent)
    }

    /// From now on nothing comes from it, while its connections stay open.
    pub(crate) fn fall_silent(&mut self) {
        self.0.fall_silent();
    }

    /// Resolves when the server has closed the stream.
    pub(crate) async fn cut_off(mut self) {
        tokio::time::timeout(WITHIN, self.0.cut_off()).await.expect("cut off in time");
    }

    /// The first order that fits, once it has come.
    pub(crate) async fn told<T>(&self, what: &str, fits: impl Fn(&Order) -> Option<T>) -> T {
        until(what, async || {
            self.instructions.lock().expect("whole").iter().find_map(|instruction| fits(&instruction.order))
        })
        .await
    }
}
