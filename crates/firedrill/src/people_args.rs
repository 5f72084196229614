//! The grammar of `firedrill user`, `team`, `token`, `login` and `audit`.

use crate::commands::login::Prompt;
use clap::{Args, Subcommand};
use firedrill_model::access::{AttackFamily, Grant, Role};
use firedrill_model::{ClusterName, Span, TeamName, UserName};
use std::path::PathBuf;

/// One grant, or the same role on several clusters.
#[derive(Args)]
pub(crate) struct GrantArgs {
    /// viewer (looks, and stops), operator (starts attacks, promotes), admin (clusters, hosts, people)
    #[arg(long)]
    pub(crate) role: Role,
    /// On this cluster only; may be given again (default: on everything)
    #[arg(long, value_name = "CLUSTER")]
    pub(crate) cluster: Vec<ClusterName>,
    /// Attacks of this family only: state, network, resource, storage, engine; may be given again (default: all)
    #[arg(long, value_name = "FAMILY")]
    pub(crate) family: Vec<AttackFamily>,
}

impl GrantArgs {
    /// One per cluster.
    pub(crate) fn grants(&self) -> Vec<Grant> {
        let on = |cluster| Grant { role: self.role, cluster, families: self.family.clone() };
        match self.cluster.as_slice() {
            [] => vec![on(None)],
            clusters => clusters.iter().cloned().map(Some).map(on).collect(),
        }
    }
}

#[derive(Subcommand)]
pub(crate) enum User {
    /// Add one; the first must be an admin, and from then on everybody has to log in
    Add {
        /// By which they log in
        name: UserName,
        #[command(flatten)]
        grants: GrantArgs,
        #[command(flatten)]
        password: Prompt,
    },
    /// All users
    List,
    /// Let one do more, or other things
    Grant {
        /// Who
        name: UserName,
        #[command(flatten)]
        grants: GrantArgs,
        /// Instead of all that they might before
        #[arg(long)]
        only: bool,
    },
    /// Let one not log in any more; their sessions end, their tokens are not good
    Disable {
        /// Who
        name: UserName,
    },
    /// Let one log in again
    Enable {
        /// Who
        name: UserName,
    },
    /// Change a password; all sessions of that user end
    Password {
        /// Whose (default: one's own)
        name: Option<UserName>,
        #[command(flatten)]
        password: Prompt,
    },
    /// Log in with a one-time code, too
    Totp {
        /// Whose (default: one's own)
        name: Option<UserName>,
        /// Not any more
        #[arg(long)]
        remove: bool,
    },
}

#[derive(Subcommand)]
pub(crate) enum Team {
    /// All teams
    List,
    /// Make or change one
    Set {
        /// Which
        name: TeamName,
        /// Who is in it: all of them
        #[arg(long = "member", value_name = "USER")]
        members: Vec<UserName>,
        #[command(flatten)]
        grants: GrantArgs,
    },
    /// Remove one; its members lose what it gave them
    Remove {
        /// Which
        name: TeamName,
    },
}

#[derive(Subcommand)]
pub(crate) enum Token {
    /// Make one of one's own; it is printed once
    Create {
        /// What it is for
        #[arg(long, value_name = "TEXT")]
        label: String,
        /// Good for this long, a year at most
        #[arg(long, value_name = "DURATION", default_value = "90d")]
        expires: Span,
        #[command(flatten)]
        grants: GrantArgs,
    },
    /// One's own; everybody's for admins
    List,
    /// Make one no good any more
    Revoke {
        /// Its id, as in the list
        id: String,
    },
}

#[derive(Args)]
pub(crate) struct Login {
    /// As whom (default: it is asked for)
    #[arg(long)]
    pub(crate) user: Option<String>,
    #[command(flatten)]
    pub(crate) password: Prompt,
    /// The one-time code of the moment, for those who have switched that on
    #[arg(long)]
    pub(crate) code: Option<String>,
}

#[derive(Subcommand)]
pub(crate) enum Audit {
    /// The newest entries
    List {
        /// So many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Check that no entry was changed, removed or put in
    Verify {
        /// An exported file instead of the server's log
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// The log must still hold this head, which an earlier check has printed
        #[arg(long, value_name = "HASH")]
        head: Option<String>,
    },
    /// Write all entries, one JSON object a line
    Export {
        /// Where to (default: standard output)
        #[arg(long)]
        output: Option<PathBuf>,
    },
}
