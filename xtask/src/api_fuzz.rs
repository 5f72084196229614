//! The stage that plays with the HTTP API: a property-based fuzzer reads the description and sends what it allows and
//! what it does not. No answer may be a failure of the server, and each is what the description says.

use crate::shell;
use anyhow::{Context, Result, bail};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// The fuzzer, from the Python Package Index.
const FUZZER: &str = "schemathesis==4.32.5";
/// Where it is kept.
const FUZZER_DIR: &str = "target/tools/schemathesis";
/// What it knows of the server that it plays with.
const SETTINGS: &str = "xtask/api/schemathesis.toml";
/// Tries for each call; more are for a long night.
const TRIES: &str = "40";
/// A server is up within this many looks, a tenth of a second apart.
const LOOKS_MAX: u32 = 100;

/// A server on loopback that ends with this.
struct Server {
    child: Child,
    url: String,
    _data: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, which the stage has said by then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the stage.
///
/// # Errors
/// An answer was not what it should be; or the server or the fuzzer cannot be run.
pub(crate) fn run() -> Result<()> {
    obtain()?;
    shell::run("cargo", &["build", "--locked", "--quiet", "--package", "firedrill"])?;
    let server = start()?;
    furnish(&server.url)?;
    let document = format!("{}/api/v1/openapi.json", server.url);
    let arguments = [
        ["-m", "schemathesis.cli", "--config-file", SETTINGS].as_slice(),
        &["run", &document, "--url", &server.url, "--no-color", "--seed", "1", "--max-examples", TRIES],
        &["--checks", "not_a_server_error,content_type_conformance,response_schema_conformance"],
        &["--phases", "examples,coverage,fuzzing", "--request-timeout", "10"],
        // The live stream does not end.
        &["--exclude-path", "/api/v1/events"],
    ]
    .concat();
    shell::run_with("python3", &arguments, &[("PYTHONPATH", FUZZER_DIR)])?;
    alive(&server.url).context("the server does not answer any more")
}

fn obtain() -> Result<()> {
    let stamp = Path::new(FUZZER_DIR).join(format!("{FUZZER}.stamp"));
    if stamp.exists() {
        return Ok(());
    }
    let arguments = ["-m", "pip", "install", "--quiet", "--upgrade", "--target", FUZZER_DIR, FUZZER];
    shell::run("python3", &arguments).context("the fuzzer is missing; `make setup` installs pip")?;
    std::fs::write(&stamp, "").with_context(|| format!("cannot write {}", stamp.display()))
}

fn start() -> Result<Server> {
    let data = tempfile::tempdir().context("a directory for the server")?;
    let (http, link) = (free_port()?, free_port()?);
    let mut command = Command::new("target/debug/firedrill");
    command.args(["server", "--http", &http.to_string(), "--link", &link.to_string(), "--data-dir"]).arg(data.path());
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("cannot start the server")?;
    let server = Server { child, url: format!("http://{http}"), _data: data };
    for _ in 0..LOOKS_MAX {
        if alive(&server.url).is_ok() {
            return Ok(server);
        }
        sleep(Duration::from_millis(100));
    }
    bail!("the server at {} does not answer", server.url)
}

/// One that was free just now.
fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn alive(url: &str) -> Result<()> {
    shell::output("target/debug/firedrill", &["--server", url, "cluster", "list"]).map(drop)
}

/// Puts something into the server that calls can be about.
fn furnish(url: &str) -> Result<()> {
    let firedrill = |arguments: &[&str]| {
        shell::output("target/debug/firedrill", &[&["--server", url], arguments].concat()).map(drop)
    };
    firedrill(&["cluster", "register", "xtask/api/cluster.yaml"])?;
    firedrill(&["template", "save", "xtask/api/template.yaml"])?;
    firedrill(&["schedule", "add", "weekly", "kill-replica", "--cluster", "shop", "--cron", "0 10 * * 1"])
}
