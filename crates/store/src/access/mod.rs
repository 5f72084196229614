//! Users and teams. What they may do is a document; the rule is elsewhere.

mod audit;
mod credentials;
mod identities;

pub use audit::AuditRow;
pub use credentials::{SessionRecord, TokenRecord};

use crate::{ROWS_MAX, Store, StoreError, document};
use firedrill_model::access::Grant;
use firedrill_model::{TeamName, Timestamp, UserName};
use sqlx::Row;
use sqlx::any::AnyRow;

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRecord {
    /// Who.
    pub name: UserName,
    /// The hash of the password, with salt and parameters.
    pub password: String,
    /// What they may do, apart from what their teams may.
    pub grants: Vec<Grant>,
    /// They may not log in, and their tokens are not good.
    pub disabled: bool,
    /// The key of their one-time codes, encrypted.
    pub totp: Option<String>,
    /// A code must be given at log-in; false while the key has not been tried.
    pub totp_on: bool,
    /// Since when they exist.
    pub created: Timestamp,
    /// When they logged in last.
    pub last_login: Option<Timestamp>,
}

/// A team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TeamRecord {
    /// Which.
    pub name: TeamName,
    /// What its members may do.
    pub grants: Vec<Grant>,
    /// Who is in it, by name.
    pub members: Vec<UserName>,
}

/// A truth value that was read as a number: the driver for both databases knows none of SQLite's.
fn truth(row: &AnyRow, column: &str) -> bool {
    row.get::<i64, _>(column) != 0
}

impl UserRecord {
    fn read(row: &AnyRow) -> Result<Self, StoreError> {
        let name: &str = row.get("name");
        Ok(Self {
            name: document::from_word("user", name)?,
            password: row.get("password"),
            grants: document::read("grants of user", name, row.get("grants"))?,
            disabled: truth(row, "disabled"),
            totp: row.get("totp"),
            totp_on: truth(row, "totp_on"),
            created: Timestamp(row.get("created")),
            last_login: row.get::<Option<i64>, _>("last_login").map(Timestamp),
        })
    }
}

impl Store {
    /// Whether there is any user, disabled ones included.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn has_users(&self) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT 1 FROM users LIMIT 1").fetch_optional(&self.readers).await;
        Ok(row.map_err(self.failed("looking for users"))?.is_some())
    }

    /// All users by name; at most [`ROWS_MAX`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn users(&self) -> Result<Vec<UserRecord>, StoreError> {
        let rows = sqlx::query(
            "SELECT name, password, grants, CAST(disabled AS INTEGER) AS disabled, totp,
                 CAST(totp_on AS INTEGER) AS totp_on, created, last_login
             FROM users
             ORDER BY name LIMIT $1",
        )
        .bind(i64::from(ROWS_MAX))
        .fetch_all(&self.readers)
        .await
        .map_err(self.failed("reading the users"))?;
        rows.iter().map(UserRecord::read).collect()
    }

    /// One user.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn user(&self, name: &UserName) -> Result<Option<UserRecord>, StoreError> {
        let row = sqlx::query(
            "SELECT name, password, grants, CAST(disabled AS INTEGER) AS disabled, totp,
                 CAST(totp_on AS INTEGER) AS totp_on, created, last_login
             FROM users WHERE name = $1",
        )
        .bind(name.as_str())
        .fetch_optional(&self.readers)
        .await
        .map_err(self.failed("reading a user"))?;
        row.as_ref().map(UserRecord::read).transpose()
    }

    /// Keeps a new user. False: there is one of that name, who stays as they are.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn add_user(&self, user: &UserRecord) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "INSERT INTO users (name, password, grants, disabled, totp, totp_on, totp_step, created)
             VALUES ($1, $2, $3, $4, $5, $6, 0, $7) ON CONFLICT DO NOTHING",
        )
        .bind(user.name.as_str())
        .bind(&user.password)
        .bind(document::write("grants of user", user.name.as_str(), &user.grants)?)
        .bind(user.disabled)
        .bind(&user.totp)
        .bind(user.totp_on)
        .bind(user.created.0)
        .execute(&mut *self.durable().await?)
        .await
        .map_err(self.failed("storing a user"))?;
        Ok(done.rows_affected() == 1)
    }

    /// Changes a user: all but name, beginning and last log-in. Nothing happens when there is none of that name.
    /// Whatever was changed, their sessions end.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn save_user(&self, user: &UserRecord) -> Result<(), StoreError> {
        let doing = "changing a user";
        let mut writer = self.durable().await?;
        let mut transaction = writer.transaction().await.map_err(self.failed(doing))?;
        sqlx::query(
            "UPDATE users SET password = $2, grants = $3, disabled = $4, totp = $5, totp_on = $6 WHERE name = $1",
        )
        .bind(user.name.as_str())
        .bind(&user.password)
        .bind(document::write("grants of user", user.name.as_str(), &user.grants)?)
        .bind(user.disabled)
        .bind(&user.totp)
        .bind(user.totp_on)
        .execute(&mut *transaction)
        .await
        .map_err(self.failed(doing))?;
        sqlx::query("DELETE FROM sessions WHERE owner = $1")
            .bind(user.name.as_str())
            .execute(&mut *transaction)
            .await
            .map_err(self.failed(doing))?;
        transaction.commit().await.map_err(self.failed(doing))
    }

    /// Keeps the key of a user's one-time codes, encrypted, and whether a code must be given; `None`: there are none.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn set_totp(&self, user: &UserName, sealed: Option<&str>, on: bool) -> Result<(), StoreError> {
        sqlx::query("UPDATE users SET totp = $2, totp_on = $3 WHERE name = $1")
            .bind(user.as_str())
            .bind(sealed)
            .bind(on)
            .execute(&mut *self.durable().await?)
            .await
            .map_err(self.failed("storing the key of one-time codes"))?;
        Ok(())
    }

    /// Uses a one-time code up. False: this step of the clock, or a later one, was used before.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn use_totp_step(&self, user: &UserName, step: i64) -> Result<bool, StoreError> {
        let done = sqlx::query("UPDATE users SET totp_step = $2 WHERE name = $1 AND totp_step < $2")
            .bind(user.as_str())
            .bind(step)
            .execute(&mut *self.durable().await?)
            .await
            .map_err(self.failed("using a one-time code"))?;
        Ok(done.rows_affected() == 1)
    }

    /// All teams by name; at most [`ROWS_MAX`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn teams(&self) -> Result<Vec<TeamRecord>, StoreError> {
        let doing = "reading the teams";
        let rows = sqlx::query("SELECT name, grants FROM teams ORDER BY name LIMIT $1")
            .bind(i64::from(ROWS_MAX))
            .fetch_all(&self.readers)
            .await
            .map_err(self.failed(doing))?;
        let mut teams = Vec::with_capacity(rows.len());
        for row in &rows {
            let name: &str = row.get("name");
            let members = sqlx::query("SELECT member FROM team_members WHERE team = $1 ORDER BY member LIMIT $2")
                .bind(name)
                .bind(i64::from(ROWS_MAX))
                .fetch_all(&self.readers)
                .await
                .map_err(self.failed(doing))?;
            let member = |row: &AnyRow| document::from_word("member of a team", row.get("member"));
            teams.push(TeamRecord {
                name: document::from_word("team", name)?,
                grants: document::read("grants of team", name, row.get("grants"))?,
                members: members.iter().map(member).collect::<Result<_, _>>()?,
            });
        }
        Ok(teams)
    }

    /// Keeps a team, new or changed, with its members.
    ///
    /// # Errors
    /// The store cannot be written; a member is no user.
    pub async fn save_team(&self, team: &TeamRecord) -> Result<(), StoreError> {
        let doing = "storing a team";
        let mut writer = self.durable().await?;
        let mut transaction = writer.transaction().await.map_err(self.failed(doing))?;
        sqlx::query("INSERT INTO teams (name, grants) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET grants = $2")
            .bind(team.name.as_str())
            .bind(document::write("grants of team", team.name.as_str(), &team.grants)?)
            .execute(&mut *transaction)
            .await
            .map_err(self.failed(doing))?;
        sqlx::query("DELETE FROM team_members WHERE team = $1")
            .bind(team.name.as_str())
            .execute(&mut *transaction)
            .await
            .map_err(self.failed(doing))?;
        for member in &team.members {
            sqlx::query("INSERT INTO team_members (team, member) VALUES ($1, $2) ON CONFLICT DO NOTHING")
                .bind(team.name.as_str())
                .bind(member.as_str())
                .execute(&mut *transaction)
                .await
                .map_err(self.failed(doing))?;
        }
        transaction.commit().await.map_err(self.failed(doing))
    }

    /// Removes a team; its members lose what it gave them. False: there is none of that name.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn remove_team(&self, team: &TeamName) -> Result<bool, StoreError> {
        let done = sqlx::query("DELETE FROM teams WHERE name = $1")
            .bind(team.as_str())
            .execute(&mut *self.durable().await?)
            .await;
        Ok(done.map_err(self.failed("removing a team"))?.rows_affected() == 1)
    }

    /// What the teams of a user give them.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn grants_by_teams(&self, user: &UserName) -> Result<Vec<Grant>, StoreError> {
        let rows = sqlx::query(
            "SELECT name, grants FROM teams JOIN team_members ON team = name WHERE member = $1 ORDER BY name LIMIT $2",
        )
        .bind(user.as_str())
        .bind(i64::from(ROWS_MAX))
        .fetch_all(&self.readers)
        .await
        .map_err(self.failed("reading the teams of a user"))?;
        let mut grants = Vec::new();
        for row in &rows {
            grants.extend(document::read::<Vec<Grant>>("grants of team", row.get("name"), row.get("grants"))?);
        }
        Ok(grants)
    }
}
