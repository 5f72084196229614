//! Calls about users, log-in, API tokens, teams and the audit log: one method per line of the table in [`crate::access`].

use super::{Client, ClientError};
use crate::access::{
    AddUser, AuditEntry, ChangePassword, Code, CreateToken, CreatedToken, Grants, LogIn, LoggedIn, Me, SetTeam,
    TeamView, TokenView, TotpKey, UserView, Verified,
};
use crate::http::Done;
use firedrill_model::{TeamName, UserName};
use reqwest::Method;

impl Client {
    /// Begins a session.
    ///
    /// # Errors
    /// [`ClientError`]; name, password or code are wrong, or there were too many tries.
    pub async fn log_in(&self, log_in: &LogIn) -> Result<LoggedIn, ClientError> {
        self.post("/api/v1/login", log_in).await
    }

    /// Ends the session whose secret this client shows.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn log_out(&self) -> Result<Done, ClientError> {
        self.post("/api/v1/logout", &Done {}).await
    }

    /// Who this client acts as.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn me(&self) -> Result<Me, ClientError> {
        self.get("/api/v1/me").await
    }

    /// All users.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn users(&self) -> Result<Vec<UserView>, ClientError> {
        self.get("/api/v1/users").await
    }

    /// Adds a user. The first one must be an admin of everything, and ends the time in which nobody had to log in.
    ///
    /// # Errors
    /// [`ClientError`]; the name is taken, or the password is too short.
    pub async fn add_user(&self, user: &AddUser) -> Result<UserView, ClientError> {
        self.post("/api/v1/users", user).await
    }

    /// Changes what a user may do.
    ///
    /// # Errors
    /// [`ClientError`]; there is no such user, or nobody would be left to manage users.
    pub async fn set_grants(&self, user: &UserName, grants: &Grants) -> Result<UserView, ClientError> {
        self.post(&format!("/api/v1/users/{user}/grants"), grants).await
    }

    /// Changes a password.
    ///
    /// # Errors
    /// [`ClientError`]; the present one is wrong, or the new one is too short.
    pub async fn change_password(&self, user: &UserName, change: &ChangePassword) -> Result<Done, ClientError> {
        self.post(&format!("/api/v1/users/{user}/password"), change).await
    }

    /// Lets a user not log in any more, or again. Their sessions end, and their tokens are not good meanwhile.
    ///
    /// # Errors
    /// [`ClientError`]; there is no such user, or nobody would be left to manage users.
    pub async fn disable_user(&self, user: &UserName, disabled: bool) -> Result<UserView, ClientError> {
        let verb = if disabled { "disable" } else { "enable" };
        self.post(&format!("/api/v1/users/{user}/{verb}"), &Done {}).await
    }

    /// Makes a key for a user's one-time codes; it counts after [`Client::confirm_totp`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn make_totp(&self, user: &UserName) -> Result<TotpKey, ClientError> {
        self.post(&format!("/api/v1/users/{user}/totp"), &Done {}).await
    }

    /// Shows that the key has arrived; from now on a code must be given at log-in.
    ///
    /// # Errors
    /// [`ClientError`]; the code is wrong.
    pub async fn confirm_totp(&self, user: &UserName, code: &Code) -> Result<Done, ClientError> {
        self.post(&format!("/api/v1/users/{user}/totp/confirm"), code).await
    }

    /// Codes are not asked for any more.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove_totp(&self, user: &UserName) -> Result<Done, ClientError> {
        self.post(&format!("/api/v1/users/{user}/totp/remove"), &Done {}).await
    }

    /// All teams.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn teams(&self) -> Result<Vec<TeamView>, ClientError> {
        self.get("/api/v1/teams").await
    }

    /// Makes or changes a team.
    ///
    /// # Errors
    /// [`ClientError`]; a member is no user.
    pub async fn set_team(&self, team: &TeamName, set: &SetTeam) -> Result<TeamView, ClientError> {
        self.put(&format!("/api/v1/teams/{team}"), set).await
    }

    /// Removes a team.
    ///
    /// # Errors
    /// [`ClientError`]; there is no such team.
    pub async fn remove_team(&self, team: &TeamName) -> Result<Done, ClientError> {
        let path = format!("/api/v1/teams/{team}");
        self.send(&path, self.call(Method::DELETE, &path)).await
    }

    /// API tokens: one's own, or everybody's for those who manage users.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn api_tokens(&self) -> Result<Vec<TokenView>, ClientError> {
        self.get("/api/v1/tokens").await
    }

    /// Makes an API token of one's own.
    ///
    /// # Errors
    /// [`ClientError`]; it would be good for more than its owner has, or for too long.
    pub async fn create_token(&self, create: &CreateToken) -> Result<CreatedToken, ClientError> {
        self.post("/api/v1/tokens", create).await
    }

    /// Makes an API token no good any more.
    ///
    /// # Errors
    /// [`ClientError`]; there is no such token.
    pub async fn revoke_token(&self, id: &str) -> Result<Done, ClientError> {
        self.post(&format!("/api/v1/tokens/{id}/revoke"), &Done {}).await
    }

    /// Entries of the audit log after a number, oldest first; without one the newest.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn audit(&self, after: Option<u64>, limit: u32) -> Result<Vec<AuditEntry>, ClientError> {
        let path = "/api/v1/audit";
        let request = self.call(Method::GET, path).query(&[("limit", u64::from(limit))]);
        self.send(path, request.query(&after.map(|after| [("after", after)]))).await
    }

    /// Checks the whole audit log.
    ///
    /// # Errors
    /// [`ClientError`]; a broken log is no error of the call.
    pub async fn verify_audit(&self) -> Result<Verified, ClientError> {
        self.get("/api/v1/audit/verify").await
    }
}
