//! Storage faults as attacks: preflight, effect measured, parameters respected, undone, whoever dies.

use crate::crash::until;
use crate::lab::{LocalAgent, Victim, attack, block_on, eventually, id};
use crate::layer::Mounted;
use firedrill_model::attack::AttackState;
use firedrill_model::{AttackSpec, Fault, Span};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

fn fault(mount: &Mounted, kind: &str, parameters: &str) -> Fault {
    let point = mount.layer.point().display();
    let text = format!(r#"{{"kind":"{kind}","mount":"{point}"{parameters}}}"#);
    serde_json::from_str(&text).expect("a fault")
}

/// One attack of each kind that lasts, and a part of what its measurement must say.
fn all_kinds(mount: &Mounted) -> Vec<(AttackSpec, &'static str)> {
    [
        ("storage-latency", r#","delay":"50ms","jitter":"5ms""#, "asked 50ms"),
        ("storage-error", r#","error":"ENOSPC","operations":["write"],"percent":20"#, "Enospc"),
        ("storage-corruption", "", "FlipOnRead"),
        ("storage-corruption", r#","damage":"torn-write""#, "TornWrite"),
        ("lost-sync", "", "syncs were not done"),
    ]
    .into_iter()
    .enumerate()
    .map(|(number, (kind, parameters, says))| (attack(&format!("a{number}"), fault(mount, kind, parameters)), says))
    .collect()
}

#[test]
fn each_kind_is_measured_and_undone_twice() {
    let mount = Mounted::new();
    let local = LocalAgent::new();
    block_on(async {
        let agent = local.open().await;
        for (spec, says) in all_kinds(&mount) {
            let report = agent.faults.inject(spec.clone()).await;
            assert_eq!(report.state, AttackState::Active, "{}: {}", spec.fault.kind, report.evidence);
            assert!(report.evidence.contains(says), "{}", report.evidence);
            for _ in 0..2 {
                let report = agent.faults.undo(&spec.id).await.expect("known");
                assert_eq!(report.state, AttackState::Undone, "{}", report.evidence);
            }
            assert_eq!(mount.layer.status().await.expect("answers").rules, []);
        }
    });
}

#[test]
fn a_disk_that_hangs_is_seen_to_and_comes_back_at_once() {
    let mount = Mounted::new();
    let local = LocalAgent::new();
    block_on(async {
        let agent = local.open().await;
        let hang = fault(&mount, "storage-latency", r#","delay":"1h","operations":["sync"]"#);
        let report = agent.faults.inject(attack("h", hang)).await;
        assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
        let path = mount.path("f");
        let call = tokio::task::spawn_blocking(move || File::create(path).and_then(|file| file.sync_all()));
        let began = Instant::now();
        agent.faults.undo(&id("h")).await.expect("known");
        call.await.expect("no panic").expect("synced after all");
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    });
}

#[test]
fn a_killed_holder_leaves_nothing_at_any_step() {
    const STEPS: [&str; 6] = ["Journalled", "Injected", "Verified", "Undoing", "Undone", "Forgotten"];
    let mount = Mounted::new();
    let local = LocalAgent::new();
    for step in STEPS {
        for (spec, _) in all_kinds(&mount) {
            let spec = until(step, AttackSpec { duration: Span::millis(1500), ..spec });
            crate::lab::local_holder(&local.path(), &["--rescue", "--crash", step], &[spec]).dies();
            // All of it: the next holder must not meet a rescue process that is at work still.
            eventually("the rescue", || mount.status().rules.is_empty() && local.journalled().is_empty());
        }
    }
}

#[test]
fn a_layer_that_is_not_there_is_told() {
    let local = LocalAgent::new();
    block_on(async {
        let agent = local.open().await;
        let fault = serde_json::from_str(r#"{"kind":"power-loss","mount":"/proc"}"#).expect("a fault");
        let report = agent.faults.inject(attack("p", fault)).await;
        assert_eq!(report.state, AttackState::Refused);
        assert!(report.evidence.contains("before the database starts"), "{}", report.evidence);
    });
}

#[test]
fn a_power_loss_takes_what_was_not_synced_and_kills() {
    let mount = Mounted::new();
    let local = LocalAgent::new();
    let script = format!("cd {}; exec sleep 600", mount.layer.point().display());
    let victim = Victim::running(&["-c", &script]);
    let path = mount.path("f");
    std::fs::write(&path, "before").expect("writes");
    block_on(async {
        let agent = local.open().await;
        // It begins to keep, and in its window somebody writes.
        let writing = std::thread::spawn({
            let (layer, path) = (mount.layer.clone(), path.clone());
            move || {
                eventually("keeping", || block_on(layer.status()).is_ok_and(|status| status.keeps));
                File::options().write(true).open(path).expect("opens").write_all_at(b"after!", 0).expect("writes");
            }
        });
        let mut spec = attack("p", fault(&mount, "power-loss", r#","window":"500ms""#));
        spec.duration = Span::ZERO;
        let report = agent.faults.inject(spec).await;
        writing.join().expect("wrote");
        assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
        assert!(report.evidence.contains(&victim.identity().pid.to_string()), "{}", report.evidence);
    });
    eventually("the end", || !victim.identity().alive());
    assert_eq!(std::fs::read_to_string(&path).expect("reads"), "before");
    eventually("the end of keeping", || !mount.status().keeps);
}
