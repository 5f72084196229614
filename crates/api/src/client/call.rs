//! How one call is made: of which server, in whose name, and what its answer comes to.

use super::{Client, ClientError};
use crate::guards::PERSON_HEADER;
use crate::http::Problem;
use reqwest::{Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Longest wait for an ordinary answer; a fingerprint of a large cluster and a halt take longest.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(120);
/// The code of a server that stands by while another one acts.
const STANDING_BY: &str = "S017";

impl ClientError {
    /// It was not done, because the server that was asked is not there or stands by.
    fn asks_elsewhere(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Problem(problem) => problem.code == STANDING_BY,
            _ => false,
        }
    }
}

impl Client {
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.servers.current())
    }

    pub(super) fn call(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, self.url(path));
        let request = match &self.person {
            Some(person) => request.header(PERSON_HEADER, person),
            None => request,
        };
        match &self.credential {
            Some(secret) => request.bearer_auth(secret),
            None => request,
        }
    }

    pub(super) async fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, ClientError> {
        self.send(path, self.call(Method::GET, path)).await
    }

    pub(super) async fn post<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        path: &str,
        body: &Q,
    ) -> Result<A, ClientError> {
        self.send(path, self.call(Method::POST, path).json(body)).await
    }

    pub(super) async fn put<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        path: &str,
        body: &Q,
    ) -> Result<A, ClientError> {
        self.send(path, self.call(Method::PUT, path).json(body)).await
    }

    pub(super) async fn send<A: DeserializeOwned>(
        &self,
        path: &str,
        request: RequestBuilder,
    ) -> Result<A, ClientError> {
        let response = self.answer(path, request.timeout(ANSWER_WITHIN)).await?;
        let body = response.bytes().await.map_err(|source| self.broken(path, source))?;
        serde_json::from_slice(&body)
            .map_err(|error| ClientError::NotUnderstood { url: self.url(path), seen: error.to_string() })
    }

    /// The answer when it is a good one; otherwise the problem that it carries. What cannot be asked of one server, the next
    /// one is asked, for as long as a take-over lasts: of a call that may have happened nobody else is asked.
    pub(super) async fn answer(&self, path: &str, request: RequestBuilder) -> Result<Response, ClientError> {
        let mut search = self.servers.search();
        let mut request = request;
        loop {
            // A body that can be sent only once goes to one server.
            let again = request.try_clone();
            let error = match self.answer_of_one(path, request).await {
                Err(error) if error.asks_elsewhere() => error,
                answer => return answer,
            };
            let (Some(again), Some(wait)) = (again, search.next()) else { return Err(error) };
            tokio::time::sleep(wait).await;
            let (client, built) = again.build_split();
            let mut built = built.map_err(|source| self.broken(path, source))?;
            self.servers.redirect(built.url_mut());
            request = RequestBuilder::from_parts(client, built);
        }
    }

    async fn answer_of_one(&self, path: &str, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|source| {
            if source.is_connect() {
                ClientError::Unreachable { url: self.servers.current().to_owned(), source }
            } else {
                self.broken(path, source)
            }
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.bytes().await.map_err(|source| self.broken(path, source))?;
        Err(serde_json::from_slice::<Problem>(&body).map_or_else(
            |_| ClientError::NotUnderstood { url: self.url(path), seen: status.to_string() },
            ClientError::Problem,
        ))
    }

    pub(super) fn broken(&self, path: &str, source: reqwest::Error) -> ClientError {
        ClientError::Broken { url: self.url(path), source }
    }
}
