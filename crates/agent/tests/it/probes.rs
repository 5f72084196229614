//! Questions about a host: programs that its owner allows, and no others.

use crate::agent::{Agent, config};
use crate::link_server::{LinkServer, instruction};
use firedrill_agent::{AgentConfig, AllowedCommand};
use firedrill_api::link::{Answer, Order};
use firedrill_model::command::FailureKind;
use firedrill_model::probe::{HostProbe, HostSeen};
use firedrill_model::{CommandFailure, Span};

fn allowed(program: &str, args: &[&str]) -> AllowedCommand {
    AllowedCommand { program: program.into(), args: args.iter().map(|&arg| arg.to_owned()).collect(), user: None }
}

fn command(program: &str, args: &[&str]) -> Order {
    let probe =
        HostProbe::Command { program: program.to_owned(), args: args.iter().map(|&arg| arg.to_owned()).collect() };
    Order::Probe { probe, within: Span::millis(1000) }
}

fn seen(answer: Result<Answer, CommandFailure>) -> HostSeen {
    match answer {
        Ok(Answer::Probe { seen }) => seen,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_program_runs_when_the_owner_names_exactly_that() {
    let dir = tempfile::tempdir().expect("temp dir");
    let server = LinkServer::start().await;
    let commands = vec![
        allowed("/bin/echo", &["one  two", "$HOME"]),
        allowed("/bin/sh", &["-c", "exit 7"]),
        allowed("/bin/sleep", &["30"]),
        allowed("/no/such/program", &[]),
    ];
    let agent = Agent::start(AgentConfig { allowed_commands: commands, ..config(&server, dir.path()) });
    server.connected().await;

    server.send(instruction("echo", 1, command("/bin/echo", &["one  two", "$HOME"])));
    let output = "one  two $HOME\n".to_owned();
    assert_eq!(seen(server.answer("echo", 1).await), HostSeen::Ended { exit: Some(0), output });
    server.send(instruction("seven", 1, command("/bin/sh", &["-c", "exit 7"])));
    assert_eq!(seen(server.answer("seven", 1).await), HostSeen::Ended { exit: Some(7), output: String::new() });
    server.send(instruction("slow", 1, command("/bin/sleep", &["30"])));
    let slow = seen(server.answer("slow", 1).await);
    assert!(matches!(&slow, HostSeen::Failed { problem } if problem.contains("did not end within 800ms")), "{slow:?}");
    server.send(instruction("absent", 1, command("/no/such/program", &[])));
    let absent = seen(server.answer("absent", 1).await);
    assert!(matches!(&absent, HostSeen::Failed { problem } if problem.contains("/no/such/program")), "{absent:?}");

    for (id, program, args) in [
        ("other-arguments", "/bin/sh", vec!["-c", "exit 8"]),
        ("no-arguments", "/bin/sh", vec![]),
        ("other-program", "/bin/cat", vec!["/etc/shadow"]),
    ] {
        server.send(instruction(id, 1, command(program, &args)));
        let failure = server.answer(id, 1).await.expect_err("refused");
        assert_eq!(failure.kind, FailureKind::Invalid, "{failure}");
        assert!(failure.message.contains("allowed_commands"), "{failure}");
    }
    agent.stop().await;
}

#[tokio::test]
async fn nothing_is_allowed_by_default_and_an_answer_is_not_remembered() {
    let dir = tempfile::tempdir().expect("temp dir");
    let server = LinkServer::start().await;
    let agent = Agent::start(config(&server, dir.path()));
    server.connected().await;
    server.send(instruction("p", 1, command("/bin/true", &[])));
    assert!(server.answer("p", 1).await.is_err());
    // The same id is judged anew, as nothing was done; an answer to an order with an effect would come again.
    server.send(instruction("p", 1, Order::Resume));
    assert_eq!(server.answer("p", 2).await, Ok(Answer::Done));
    agent.stop().await;
}
