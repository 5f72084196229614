//! A minimal agent: puts attacks in place, prints their reports, and holds them until it is killed.
//!
//! ```text
//! hold DIR [--rescue] [--crash STEP] [--admin JSON] ATTACK-JSON…    the agent; with --crash it kills itself at that step
//! hold DIR --as-rescue                               its rescue process
//! hold DIR --as-worker JOB                           a worker process of it
//! ```
//!
//! The integration tests crash it at every step of an attack and look at what is left.

use firedrill_engine::Admin;
use firedrill_fault::{Context, Faults, Step, rescue, worker};
use firedrill_host::process::{Signal, Spawn, Stream};
use firedrill_model::AttackSpec;
use firedrill_model::attack::AttackState;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::PathBuf;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("which journal directory?")?);
    let mut context = Context::new("here".parse()?);
    let (program, own) = (std::env::current_exe()?, dir.clone());
    context.worker = Some(Box::new(move || Spawn::new(&program).arg(&own).arg("--as-worker").stderr(Stream::Inherit)));
    let mut attacks: Vec<AttackSpec> = Vec::new();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--as-rescue" => {
                let pipe = std::io::stdin().as_fd().try_clone_to_owned()?;
                rescue(&dir, pipe).await?;
                return Ok(());
            }
            "--as-worker" => {
                worker::work(&arguments.next().ok_or("which job?")?);
                return Ok(());
            }
            "--rescue" => {
                let (program, dir) = (std::env::current_exe()?, dir.clone());
                let spawn = move || Spawn::new(&program).arg(&dir).arg("--as-rescue").stderr(Stream::Inherit);
                context.rescue = Some(Box::new(spawn));
            }
            "--crash" => {
                let wanted = arguments.next().ok_or("at which step?")?;
                context.on_step = Box::new(move |_, step| crash_at(&wanted, step));
            }
            "--admin" => {
                let admin: Admin = serde_json::from_str(&arguments.next().ok_or("which way to a server?")?)?;
                context.admin = Box::new(move |node| (admin.node == *node).then(|| admin.clone()));
            }
            attack => attacks.push(serde_json::from_str(attack)?),
        }
    }
    let (faults, mut reports) = Faults::open(&dir, context).await?;
    for attack in attacks {
        let report = faults.inject(attack).await;
        if report.state != AttackState::Active {
            writeln!(std::io::stderr(), "{}: {:?}: {}", report.id, report.state, report.evidence)?;
        }
    }
    let mut out = std::io::stdout();
    while let Some(report) = reports.recv().await {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    }
    Ok(())
}

fn crash_at(wanted: &str, step: Step) {
    if format!("{step:?}") == wanted {
        // Comes to no return.
        let _dead = nix::sys::signal::raise(Signal::SIGKILL);
    }
}
