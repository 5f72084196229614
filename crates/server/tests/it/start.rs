//! What a start says when it cannot be.

use crate::fixture::{Fixture, config};
use firedrill_server::{StartError, start};
use std::os::unix::fs::PermissionsExt;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_second_server_on_the_same_directory_is_told_the_first_ones_pid() {
    let fixture = Fixture::new().await;
    let error = start(config(&fixture.dir), CancellationToken::new()).await.expect_err("in use");
    assert!(matches!(error, StartError::Locked { .. }), "{error}");
    assert!(error.to_string().contains(&format!("pid {}", std::process::id())), "{error}");
}

#[tokio::test]
async fn a_port_in_use_names_the_setting() {
    let fixture = Fixture::new().await;
    for (setting, http) in [("--http", true), ("--link", false)] {
        let dir = tempfile::tempdir().expect("a directory");
        let mut config = config(&dir);
        if http {
            config.http = fixture.running().http;
        } else {
            config.link = fixture.running().link;
        }
        let error = start(config, CancellationToken::new()).await.expect_err("in use");
        assert!(matches!(error, StartError::PortInUse { .. }), "{error}");
        assert!(error.to_string().contains(setting), "{error}");
    }
}

#[tokio::test]
async fn the_api_is_for_this_host_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut config = config(&dir);
    config.http = "0.0.0.0:0".parse().expect("an address");
    let error = start(config, CancellationToken::new()).await.expect_err("open to everybody");
    assert!(matches!(error, StartError::NotLoopback { .. }), "{error}");
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("data"), "a file is in the way").expect("written");
    let error = start(config(&dir), CancellationToken::new()).await.expect_err("a file is in the way");
    assert!(matches!(error, StartError::DataDir { .. }), "{error}");
    assert!(error.to_string().contains("--data-dir"), "{error}");
}

#[tokio::test]
async fn the_directory_is_its_owners_only() {
    let fixture = Fixture::new().await;
    let mode = std::fs::metadata(fixture.dir.path().join("data")).expect("a directory").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test]
async fn pages_and_assets_are_served() {
    let fixture = Fixture::new().await;
    let http = reqwest::Client::builder().tls_certs_only([]).no_proxy();
    firedrill_api::client::install_crypto();
    let http = http.build().expect("a client");
    for (path, media_type) in [("/", "text/html"), ("/assets/console.js", "text/javascript")] {
        let answer = http.get(fixture.http(path)).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{path}");
        let seen = answer.headers()["content-type"].to_str().expect("text").to_owned();
        assert!(seen.starts_with(media_type), "{path}: {seen}");
    }
    let answer = http.post(fixture.http("/halt")).header("origin", "http://evil.example").send().await;
    assert_eq!(answer.expect("an answer").status(), 403);
    assert_eq!(fixture.server().halted(), None);
}
