//! `firedrill login` and `logout`, and asking for secrets.

use crate::args::Connect;
use crate::exit::Outcome;
use crate::people_args::Login;
use crate::{connect, credentials, output};
use anyhow::{Context, bail};
use firedrill_api::access::LogIn;
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;

/// Longest line that is read as a secret, in bytes: more is a mistake.
const LINE_BYTES_MAX: u64 = 4096;

/// Where a password comes from.
#[derive(clap::Args, Clone, Default)]
pub(crate) struct Prompt {
    /// Read the password from the first line of this file (default: it is asked for, or read from standard input)
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl Prompt {
    /// A secret: from the file, the terminal without showing it, or a line of standard input.
    pub(crate) fn secret(&self, question: &str) -> anyhow::Result<String> {
        if let Some(path) = &self.password_file {
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            return Ok(text.lines().next().unwrap_or_default().to_owned());
        }
        let stdin = std::io::stdin();
        let hidden = if stdin.is_terminal() { Some(Hidden::begin()?) } else { None };
        let line = self.line(question);
        if hidden.is_some() {
            eprintln!();
        }
        line
    }

    /// A line that is shown.
    pub(crate) fn line(&self, question: &str) -> anyhow::Result<String> {
        let stdin = std::io::stdin();
        if stdin.is_terminal() {
            eprint!("{question}");
            std::io::stderr().flush()?;
        }
        let mut line = String::new();
        // Without a buffer of its own, so that the next question finds the next line.
        let read = std::io::Read::take(stdin.lock(), LINE_BYTES_MAX).read_line(&mut line)?;
        if read == 0 {
            bail!("standard input has ended before an answer to {:?}", question.trim_end_matches([':', ' ']));
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }
}

/// A terminal that does not show what is typed, until this is dropped.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> anyhow::Result<Self> {
        let before = tcgetattr(std::io::stdin()).context("cannot ask the terminal how it is set")?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(std::io::stdin(), SetArg::TCSAFLUSH, &silent).context("cannot keep the terminal from showing it")?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // There is nothing to be done when it fails, and the terminal says so itself.
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSAFLUSH, &self.0);
    }
}

/// A new password: asked for twice at a terminal.
pub(crate) fn new_password(prompt: &Prompt) -> anyhow::Result<String> {
    let password = prompt.secret("New password: ")?;
    let asked = prompt.password_file.is_none() && std::io::stdin().is_terminal();
    if asked && prompt.secret("Once more: ")? != password {
        bail!("the two are not the same; nothing was changed");
    }
    Ok(password)
}

pub(crate) async fn login(login: Login, connect: &Connect) -> anyhow::Result<Outcome> {
    let client = connect::anonymous(connect).await?;
    let user = match login.user {
        Some(user) => user,
        None => login.password.line("Name: ")?,
    };
    let password = login.password.secret("Password: ")?;
    let session = client.log_in(&LogIn { user, password, code: login.code }).await?;
    let path = credentials::keep(client.base_url(), Some(&session.token))?;
    eprintln!(
        "logged in as {} until {}; the session is in {}",
        session.user,
        output::moment(session.expires),
        path.display()
    );
    Ok(Outcome::done())
}

pub(crate) async fn logout(connect: &Connect) -> anyhow::Result<Outcome> {
    let client = connect::client(connect).await?;
    let ended = client.log_out().await;
    credentials::keep(client.base_url(), None)?;
    ended?;
    Ok(Outcome::done())
}
