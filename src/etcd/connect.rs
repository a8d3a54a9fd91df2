//! Making a connection to one member: certificates, options, login.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};
use tokio::time::{Instant, timeout};

use super::error::{Cause, Error};
use super::{Config, Metrics, Operation};

/// What a connection needs to know of its client.
#[derive(Debug)]
pub(super) struct Dialer {
    pub(super) client: Arc<str>,
    pub(super) config: Config,
    pub(super) metrics: Metrics,
}

impl Dialer {
    /// Prepares a connection and logs in. Without a user nothing is sent yet. `require_leader` has the member refuse
    /// its service while it has no leader, instead of serving what may be old.
    pub(super) async fn connect(&self, url: &Arc<str>, require_leader: bool) -> Result<etcd_client::Client, Error> {
        let setup = |cause| Error::Setup { client: self.client.clone(), cause };
        let config = &self.config;
        let mut options = ConnectOptions::new()
            .with_connect_timeout(config.dial_timeout)
            .with_keep_alive(config.keep_alive, config.keep_alive_timeout)
            // etcd ends connections that are probed while no call is under way.
            .with_keep_alive_while_idle(false)
            .with_require_leader(require_leader);
        if url.starts_with("https:") {
            options = options.with_tls(self.tls().await.map_err(setup)?);
        }
        let mut client =
            etcd_client::Client::connect([&**url], Some(options)).await.map_err(|error| setup(error.into()))?;
        if let (Some(user), Some(password)) = (&config.user, &config.password) {
            self.login(&mut client, url, user, password.expose()).await?;
        }
        Ok(client)
    }

    async fn login(
        &self,
        client: &mut etcd_client::Client,
        url: &Arc<str>,
        user: &str,
        password: &str,
    ) -> Result<(), Error> {
        let login = client.update_user(Some((user.to_owned(), password.to_owned())));
        match self.call(Operation::Authenticate, url, login).await {
            // The server knows no users yet. It will say so when that changes, and then we log in.
            Err(Error::Call { cause, .. }) if cause.is_auth_not_enabled() => Ok(()),
            Err(Error::Call { member, cause, .. }) => Err(Error::Authenticate { member, user: user.to_owned(), cause }),
            result => result,
        }
    }

    /// Waits for a call as long as calls may take, counts it, and says who failed if it failed.
    pub(super) async fn call<T>(
        &self,
        operation: Operation,
        url: &Arc<str>,
        call: impl Future<Output = Result<T, etcd_client::Error>>,
    ) -> Result<T, Error> {
        self.call_within(self.config.call_timeout, operation, url, call).await
    }

    /// The same with a limit of its own.
    pub(super) async fn call_within<T>(
        &self,
        limit: Duration,
        operation: Operation,
        url: &Arc<str>,
        call: impl Future<Output = Result<T, etcd_client::Error>>,
    ) -> Result<T, Error> {
        let started = Instant::now();
        let result = match timeout(limit, call).await {
            Ok(result) => result.map_err(Cause::from),
            Err(_) => {
                self.metrics.count(operation, "DEADLINE_EXCEEDED", started.elapsed());
                return Err(Error::Timeout { operation, member: url.clone(), limit });
            }
        };
        let status = result.as_ref().map_or_else(Cause::status, |_| "OK");
        self.metrics.count(operation, status, started.elapsed());
        result.map_err(|cause| match cause.is_compacted() {
            true => Error::Compacted { operation, member: url.clone() },
            false => Error::Call { operation, member: url.clone(), cause },
        })
    }

    async fn tls(&self) -> Result<TlsOptions, Cause> {
        let tls = &self.config.tls;
        let mut options = TlsOptions::new();
        if let Some(ca) = &tls.ca {
            options = options.ca_certificate(Certificate::from_pem(read(ca).await?));
        }
        if let (Some(cert), Some(key)) = (&tls.cert, &tls.key) {
            options = options.identity(Identity::from_pem(read(cert).await?, read(key).await?));
        }
        if let Some(name) = &tls.server_name {
            options = options.domain_name(name);
        }
        Ok(options)
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, Cause> {
    let describe = |error| Cause::setup(format!("`{}` cannot be read: {error}", path.display()), error);
    tokio::fs::read(path).await.map_err(describe)
}
