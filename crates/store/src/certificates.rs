//! The certificates with which agents prove who they are. One that is not stored is not in force, whoever signed it.

use crate::{Store, StoreError, document};
use firedrill_model::{HostName, Timestamp};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

/// A certificate in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRecord {
    /// SHA-256 of its DER form, hex.
    pub fingerprint: String,
    /// Whose.
    pub host: HostName,
    /// When it was made.
    pub issued: Timestamp,
    /// Until when it is good; `None`: it is of a time when certificates were not renewed, and should be.
    pub expires: Option<Timestamp>,
    /// When the host first came with it; `None`: it has not yet, and the one before it is still good, too.
    pub used: Option<Timestamp>,
}

/// A certificate that was just made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewCertificate<'c> {
    /// SHA-256 of its DER form, hex.
    pub fingerprint: &'c str,
    /// Until when it is good.
    pub expires: Timestamp,
}

/// A host is kept out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Which.
    pub host: HostName,
    /// Since when.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: String,
}

impl Store {
    /// The certificate of that host with that fingerprint, when it is in force.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn certificate(
        &self,
        host: &HostName,
        fingerprint: &str,
    ) -> Result<Option<CertificateRecord>, StoreError> {
        let row = sqlx::query(
            "SELECT fingerprint, host, issued, expires, used FROM certificates WHERE fingerprint = $1 AND host = $2",
        )
        .bind(fingerprint)
        .bind(host.as_str())
        .fetch_optional(&self.readers)
        .await
        .map_err(self.failed("reading a certificate"))?;
        row.as_ref().map(certificate).transpose()
    }

    /// All certificates in force, by host, the older one first where a host has two.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn certificates(&self) -> Result<Vec<CertificateRecord>, StoreError> {
        let rows =
            sqlx::query("SELECT fingerprint, host, issued, expires, used FROM certificates ORDER BY host, issued")
                .fetch_all(&self.readers)
                .await
                .map_err(self.failed("reading the certificates"))?;
        rows.iter().map(certificate).collect()
    }

    /// The host has come with this certificate: from now on it is the only one. `false`: it is not in force any more.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn use_certificate(
        &self,
        host: &HostName,
        fingerprint: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let doing = "taking a certificate into use";
        let mut writer = self.durable().await?;
        let mut transaction = writer.transaction().await.map_err(self.failed(doing))?;
        let taken =
            sqlx::query("UPDATE certificates SET used = COALESCE(used, $3) WHERE fingerprint = $1 AND host = $2")
                .bind(fingerprint)
                .bind(host.as_str())
                .bind(now.0)
                .execute(&mut *transaction)
                .await
                .map_err(self.failed(doing))?;
        if taken.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query("DELETE FROM certificates WHERE host = $1 AND fingerprint <> $2")
            .bind(host.as_str())
            .bind(fingerprint)
            .execute(&mut *transaction)
            .await
            .map_err(self.failed(doing))?;
        transaction.commit().await.map_err(self.failed(doing))?;
        Ok(true)
    }

    /// Keeps a certificate that continues `present`, which stays in force until the new one is used. One that was made
    /// before and never used is forgotten: its key is lost. `false`: `present` is not in force, and nothing was kept.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn renew_certificate(
        &self,
        host: &HostName,
        present: &str,
        new: NewCertificate<'_>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let doing = "renewing a certificate";
        let mut writer = self.durable().await?;
        let mut transaction = writer.transaction().await.map_err(self.failed(doing))?;
        let known = sqlx::query("SELECT fingerprint FROM certificates WHERE fingerprint = $1 AND host = $2")
            .bind(present)
            .bind(host.as_str())
            .fetch_optional(&mut *transaction)
            .await
            .map_err(self.failed(doing))?;
        if known.is_none() {
            return Ok(false);
        }
        sqlx::query("DELETE FROM certificates WHERE host = $1 AND fingerprint <> $2")
            .bind(host.as_str())
            .bind(present)
            .execute(&mut *transaction)
            .await
            .map_err(self.failed(doing))?;
        insert(&mut transaction, host, new, now).await.map_err(self.failed(doing))?;
        transaction.commit().await.map_err(self.failed(doing))?;
        Ok(true)
    }

    /// Takes every certificate of a host out of force, and every enrolment token that was given out for it and not used.
    /// A host that is revoked already keeps its first record.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn revoke_host(&self, revocation: &Revocation) -> Result<(), StoreError> {
        let doing = "revoking a host";
        let Revocation { host, at, by, reason } = revocation;
        let mut writer = self.durable().await?;
        let mut transaction = writer.transaction().await.map_err(self.failed(doing))?;
        sqlx::query("DELETE FROM certificates WHERE host = $1")
            .bind(host.as_str())
            .execute(&mut *transaction)
            .await
            .map_err(self.failed(doing))?;
        sqlx::query("UPDATE tokens SET expires = $2 WHERE host = $1 AND used IS NULL AND expires > $2")
            .bind(host.as_str())
            .bind(at.0 - 1)
            .execute(&mut *transaction)
            .await
            .map_err(self.failed(doing))?;
        sqlx::query(
            "INSERT INTO revocations (host, at, person, reason) VALUES ($1, $2, $3, $4) ON CONFLICT (host) DO NOTHING",
        )
        .bind(host.as_str())
        .bind(at.0)
        .bind(by)
        .bind(reason)
        .execute(&mut *transaction)
        .await
        .map_err(self.failed(doing))?;
        transaction.commit().await.map_err(self.failed(doing))
    }

    /// All hosts that are kept out, by name.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn revocations(&self) -> Result<Vec<Revocation>, StoreError> {
        let rows = sqlx::query("SELECT host, at, person, reason FROM revocations ORDER BY host")
            .fetch_all(&self.readers)
            .await
            .map_err(self.failed("reading which hosts are revoked"))?;
        rows.iter().map(revocation).collect()
    }

    /// Whether a host is kept out.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn revocation(&self, host: &HostName) -> Result<Option<Revocation>, StoreError> {
        let row = sqlx::query("SELECT host, at, person, reason FROM revocations WHERE host = $1")
            .bind(host.as_str())
            .fetch_optional(&self.readers)
            .await
            .map_err(self.failed("reading whether a host is revoked"))?;
        row.as_ref().map(revocation).transpose()
    }
}

/// A host has enrolled: what it had before is out of force, also a revocation.
pub(crate) async fn begin_anew(
    connection: &mut AnyConnection,
    host: &HostName,
    new: NewCertificate<'_>,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM certificates WHERE host = $1").bind(host.as_str()).execute(&mut *connection).await?;
    sqlx::query("DELETE FROM revocations WHERE host = $1").bind(host.as_str()).execute(&mut *connection).await?;
    insert(connection, host, new, now).await
}

async fn insert(
    connection: &mut AnyConnection,
    host: &HostName,
    new: NewCertificate<'_>,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO certificates (fingerprint, host, issued, expires) VALUES ($1, $2, $3, $4)")
        .bind(new.fingerprint)
        .bind(host.as_str())
        .bind(now.0)
        .bind(new.expires.0)
        .execute(connection)
        .await?;
    Ok(())
}

fn certificate(row: &AnyRow) -> Result<CertificateRecord, StoreError> {
    Ok(CertificateRecord {
        fingerprint: row.get("fingerprint"),
        host: document::from_word("certificate's host", row.get("host"))?,
        issued: Timestamp(row.get("issued")),
        expires: row.get::<Option<i64>, _>("expires").map(Timestamp),
        used: row.get::<Option<i64>, _>("used").map(Timestamp),
    })
}

fn revocation(row: &AnyRow) -> Result<Revocation, StoreError> {
    Ok(Revocation {
        host: document::from_word("revoked host", row.get("host"))?,
        at: Timestamp(row.get("at")),
        by: row.get("person"),
        reason: row.get("reason"),
    })
}
