//! Two real servers on one real PostgreSQL: whichever acts is killed, the other takes over, and the killed one comes back
//! to stand by.

use crate::postgres::Postgres;
use crate::process::{Restarted, Server};
use crate::until;
use anyhow::Context;
use firedrill_api::client::Client;
use std::net::SocketAddr;
use std::path::Path;

/// Both servers, and their database.
#[derive(Debug)]
pub(crate) struct Pair {
    servers: [Server; 2],
    /// Which of them acts.
    acting: usize,
    /// Dropped after the servers.
    _database: Postgres,
}

impl Pair {
    /// The first acts, the second stands by.
    pub(crate) async fn start(program: &Path, dir: &Path) -> anyhow::Result<Self> {
        let database = Postgres::start()?;
        let store = database.database("firedrill")?;
        let homes = [dir.join("one"), dir.join("two")];
        homes.iter().try_for_each(std::fs::create_dir_all)?;
        let first = Server::spawn(program, &homes[0], Some(store.clone()))?;
        first.answers().await?;
        // What a person does who adds a server.
        let data = homes[1].join("data");
        std::fs::create_dir_all(data.join("authority"))?;
        for file in ["authority/authority.pem", "authority/authority.key", "secrets.key"] {
            std::fs::copy(first.data().join(file), data.join(file)).with_context(|| format!("no {file}"))?;
        }
        let second = Server::spawn(program, &homes[1], Some(store))?;
        let pair = Self { servers: [first, second], acting: 0, _database: database };
        pair.stands_by().await?;
        Ok(pair)
    }

    pub(crate) fn links(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(Server::link).collect()
    }

    pub(crate) fn acting(&self) -> &Server {
        &self.servers[self.acting]
    }

    /// Which of them it is.
    pub(crate) fn acting_number(&self) -> usize {
        self.acting
    }

    /// SIGKILL for the one that acts.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.servers[self.acting].kill()
    }

    /// Waits until the other one acts, and starts the killed one again.
    pub(crate) async fn take_over(&mut self) -> anyhow::Result<Restarted> {
        let killed = self.acting;
        self.acting = 1 - killed;
        self.acting().answers().await?;
        let seen = Restarted::seen(&self.acting().client()?).await?;
        self.servers[killed].spawn_again()?;
        Ok(seen)
    }

    /// Waits until the other one stands by: only then may the one that acts be killed again.
    pub(crate) async fn stands_by(&self) -> anyhow::Result<()> {
        let url = format!("http://{}", self.servers[1 - self.acting].http());
        let standing = Client::new(&url)?;
        until("the other server stands by", || async {
            let refused = standing.status().await.err();
            Ok(refused.filter(|error| error.to_string().contains("stands by; ")).map(drop))
        })
        .await
    }

    /// One for each of them.
    pub(crate) fn clients(&self) -> anyhow::Result<Vec<Client>> {
        self.servers.iter().map(Server::client).collect()
    }
}
