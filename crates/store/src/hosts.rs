//! Hosts, and how their agents prove who they are.

use crate::certificates::{self, NewCertificate};
use crate::{Store, StoreError, document};
use firedrill_model::{AllowList, ClusterName, HostName, NodeName, RegionName, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::Row;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A host as its agent introduced itself last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    /// Its name.
    pub name: HostName,
    /// By which other hosts reach it.
    pub address: IpAddr,
    /// Its region.
    pub region: Option<RegionName>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// The agent's package version.
    pub agent_version: String,
    /// The kernel's boot id.
    pub boot_id: String,
    /// Database nodes on it.
    pub nodes: Vec<(ClusterName, NodeName)>,
    /// The cluster whose gateway runs on it.
    pub gateway_of: Option<ClusterName>,
    /// What its owner allows there; `None`: everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<AllowList>,
}

/// What became of a try to use an enrolment token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenUse {
    /// It was good, and is used up now.
    Accepted,
    /// Nobody gave out such a token.
    Unknown,
    /// It was given out for another host.
    OtherHost(HostName),
    /// Its time is over.
    Expired(HostName, Timestamp),
    /// Somebody used it before.
    Used(HostName, Timestamp),
}

impl Store {
    /// Keeps how a host introduced itself.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn save_host(&self, host: &HostRecord, seen: Timestamp) -> Result<(), StoreError> {
        let text = document::write("host", host.name.as_str(), host)?;
        sqlx::query(
            "INSERT INTO hosts (name, last_seen, document) VALUES ($1, $2, $3)
             ON CONFLICT (name) DO UPDATE SET last_seen = excluded.last_seen, document = excluded.document",
        )
        .bind(host.name.as_str())
        .bind(seen.0)
        .bind(text)
        .execute(&mut *self.ordinary().await?)
        .await
        .map_err(self.failed("storing a host"))?;
        Ok(())
    }

    /// Keeps when a host was last heard of.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn host_seen(&self, host: &HostName, at: Timestamp) -> Result<(), StoreError> {
        sqlx::query("UPDATE hosts SET last_seen = $2 WHERE name = $1")
            .bind(host.as_str())
            .bind(at.0)
            .execute(&mut *self.ordinary().await?)
            .await
            .map_err(self.failed("storing when a host was seen"))?;
        Ok(())
    }

    /// All hosts by name, with the last sign of each. A server that forgot one would not halt it: there is no most.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn hosts(&self) -> Result<Vec<(HostRecord, Option<Timestamp>)>, StoreError> {
        let rows = sqlx::query("SELECT name, last_seen, document FROM hosts ORDER BY name")
            .fetch_all(&self.readers)
            .await
            .map_err(self.failed("reading the hosts"))?;
        rows.iter()
            .map(|row| {
                let host = document::read("host", row.get("name"), row.get("document"))?;
                Ok((host, row.get::<Option<i64>, _>("last_seen").map(Timestamp)))
            })
            .collect()
    }

    /// Keeps a token (its hash only) for one host. Tokens that ran out before `now` are removed.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn add_token(
        &self,
        hash: &str,
        host: &HostName,
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let doing = "storing an enrolment token";
        let mut writer = self.durable().await?;
        let mut transaction = writer.transaction().await.map_err(self.failed(doing))?;
        // A used token is kept as long as it would have been good, to say "used" and not "unknown".
        sqlx::query("DELETE FROM tokens WHERE expires < $1")
            .bind(now.0 - TOKEN_REMEMBERED_MICROS)
            .execute(&mut *transaction)
            .await
            .map_err(self.failed(doing))?;
        sqlx::query("INSERT INTO tokens (hash, host, expires) VALUES ($1, $2, $3)")
            .bind(hash)
            .bind(host.as_str())
            .bind(expires.0)
            .execute(&mut *transaction)
            .await
            .map_err(self.failed(doing))?;
        transaction.commit().await.map_err(self.failed(doing))
    }

    /// Uses a token up, and keeps the certificate that was made for it: both or neither. Earlier certificates of the
    /// host, and a revocation, are gone then. Of two that try at once one is accepted.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn use_token(
        &self,
        hash: &str,
        host: &HostName,
        certificate: NewCertificate<'_>,
        now: Timestamp,
    ) -> Result<TokenUse, StoreError> {
        let doing = "using an enrolment token";
        let mut writer = self.durable().await?;
        let mut transaction = writer.transaction().await.map_err(self.failed(doing))?;
        let row = sqlx::query("SELECT host, expires, used FROM tokens WHERE hash = $1")
            .bind(hash)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(self.failed(doing))?;
        let Some(row) = row else { return Ok(TokenUse::Unknown) };
        let owner: HostName = document::from_word("enrolment token's host", row.get("host"))?;
        let (expires, used) = (Timestamp(row.get("expires")), row.get::<Option<i64>, _>("used").map(Timestamp));
        if let Some(used) = used {
            return Ok(TokenUse::Used(owner, used));
        } else if owner != *host {
            return Ok(TokenUse::OtherHost(owner));
        } else if expires < now {
            return Ok(TokenUse::Expired(owner, expires));
        }
        sqlx::query("UPDATE tokens SET used = $2 WHERE hash = $1")
            .bind(hash)
            .bind(now.0)
            .execute(&mut *transaction)
            .await
            .map_err(self.failed(doing))?;
        certificates::begin_anew(&mut transaction, host, certificate, now).await.map_err(self.failed(doing))?;
        transaction.commit().await.map_err(self.failed(doing))?;
        Ok(TokenUse::Accepted)
    }
}

/// For so long after its end a token is remembered, so that a late use is told why it is refused: a week.
const TOKEN_REMEMBERED_MICROS: i64 = 7 * 24 * 3600 * 1_000_000;
