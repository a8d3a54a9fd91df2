//! The admin server: the dashboard, metrics, and whether the process lives and is ready. It reads what others say of
//! themselves.

mod actions;
mod api;
mod assets;
mod dashboard;
mod errors;
mod health;
mod history;
mod host;
mod listener;
mod live;
mod locks;
mod log;
mod members;
mod orders;
mod page;
mod security;
mod session;
mod show;
#[cfg(test)]
mod tests;
pub mod token;
mod ttl;
mod view;

use std::fmt::Write as _;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::watch;

pub use self::dashboard::{InForce, ServiceFacts, Sources};
pub use self::history::Calls;

use self::dashboard::Dashboard;
use crate::config::{self, Section};
use crate::etcd;
use crate::telemetry::Registry;

/// Below which keys the orders of operators stand, for all proxies.
pub const ORDERS: &str = "/waypost/orders/";
/// The name of the etcd client that actions are done with.
pub const OPERATOR: &str = "operator";
/// How long answers under way may take when the server ends.
const GRACE: Duration = Duration::from_secs(5);

/// Where the admin server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `listen`: address and port, default `127.0.0.1:8401`. On a loopback address, only requests for a local name are
    /// answered; on any other, everybody who reaches the port reads the metrics, and the dashboard needs the token.
    pub listen: SocketAddr,
    /// `names`: names under which the server is reached, beside addresses, `localhost` and the machine's own.
    pub names: Vec<String>,
    /// `locks.prefixes`: below which keys locks and elections are looked for, default `/locks/`.
    pub lock_prefixes: Vec<String>,
    /// `locks.client`: the etcd client that is asked for them, default `default`.
    pub lock_client: String,
    /// `token_file`: the file with the token that actions need, made at the first start. Unset: `waypost/token` below
    /// `XDG_STATE_HOME` or `~/.local/state`.
    pub token_file: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        config::defaults(Config::read)
    }
}

impl Config {
    /// Reads the section `admin`.
    pub fn read(section: &mut Section<'_>) -> Self {
        let listen = section.listen("listen", SocketAddr::from((Ipv4Addr::LOCALHOST, 8401)));
        let (lock_prefixes, lock_client) = section.section("locks", |section| {
            let prefixes = section.strings("prefixes", &["/locks/"]);
            if prefixes.iter().any(String::is_empty) {
                section.error("prefixes", "must not hold an empty one: it would be all of etcd");
            }
            (prefixes, section.string("client", etcd::DEFAULT_CLIENT))
        });
        let names = section.strings("names", &[]);
        if let Some(wrong) = names.iter().find(|name| !host::is_name(name)) {
            section.error("names", format!("`{wrong}` is not the name of a host, as waypost.example"));
        }
        Config { listen, names, lock_prefixes, lock_client, token_file: section.optional("token_file") }
    }
}

/// What the server shows.
pub struct State {
    /// The metrics.
    pub registry: Registry,
    /// Asked at each request for `/readyz`; must not block.
    pub readiness: Box<dyn Fn() -> Readiness + Send + Sync>,
    /// What the dashboard shows.
    pub sources: Sources,
    /// The names under which the server is reached, beside its own.
    pub names: Vec<String>,
    /// The file that the token for actions is in.
    pub token_file: Option<String>,
}

/// A server that runs.
struct Running {
    registry: Registry,
    readiness: Box<dyn Fn() -> Readiness + Send + Sync>,
    dashboard: Arc<Dashboard>,
    hub: live::Hub,
    sessions: Arc<session::Sessions>,
    /// Wakes when the server ends.
    ended: watch::Receiver<()>,
}

/// Whether calls can be routed: after the first complete list of every prefix, and from then on, because the last
/// known table serves on when etcd goes away.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Readiness {
    /// Every watched prefix.
    pub prefixes: Vec<PrefixReadiness>,
}

/// Where one prefix stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixReadiness {
    /// The prefix, as `/services/`; with several etcd clients, the client's name as well.
    pub name: String,
    /// The revision at which it is known, `None` before the first complete list.
    pub revision: Option<i64>,
    /// The time since etcd last said anything of it; before the first list, since the start.
    pub age: Duration,
    /// Why it is not current or not there yet, for an operator; `None` if nothing is wrong.
    pub problem: Option<String>,
}

impl Readiness {
    fn is_ready(&self) -> bool {
        self.prefixes.iter().all(|prefix| prefix.revision.is_some())
    }

    fn text(&self) -> String {
        let mut text = String::from(if self.is_ready() { "ready\n" } else { "not ready\n" });
        for PrefixReadiness { name, revision, age, problem } in &self.prefixes {
            let age = age.as_secs();
            // Formatting into a String does not fail.
            let _ = match revision {
                Some(revision) => write!(text, "{name}: at revision {revision}, last heard of {age} s ago"),
                None => write!(text, "{name}: not listed yet, waiting for {age} s"),
            };
            text.extend(problem.iter().flat_map(|problem| [": ", problem]));
            text.push('\n');
        }
        text
    }
}

/// Serves until `shutdown` is there; then answers under way have five seconds to end.
///
/// # Errors
/// Only if the listener has no local address. Dropping the future stops accepting; connections that are open then end
/// by themselves.
pub async fn serve(listener: TcpListener, state: State, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let (end, mut ended) = watch::channel(());
    let router = router(state, listener.local_addr()?, ended.clone());
    let server = axum::serve(listener::Limited::new(listener), router)
        .with_graceful_shutdown(async move { ended.changed().await.unwrap_or_default() });
    let grace = async {
        shutdown.await;
        end.send_replace(());
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        outcome = async { server.await } => outcome,
        () = grace => Ok(()),
    }
}

fn router(
    State { registry, readiness, sources, names, token_file }: State,
    local: SocketAddr,
    ended: watch::Receiver<()>,
) -> Router {
    let (dashboard, hub) = (Dashboard::start(sources), live::Hub::default());
    let token = token::path(token_file.as_deref()).and_then(|path| token::read_or_make(&path));
    let token = token.map_err(|error| {
        tracing::warn!(%error, "nobody can log in to the dashboard");
        error.to_string()
    });
    let sessions = Arc::new(session::Sessions::new(token, local));
    let running = Arc::new(Running { registry, readiness, dashboard, hub, sessions: sessions.clone(), ended });
    let pages = api::VIEWS.iter().fold(Router::new(), |router, (_, path)| router.route(path, get(api::page)));
    let router = pages
        .route("/api/v1/{view}", get(api::json))
        .route("/live", get(live::stream))
        .route("/login", get(session::page).post(session::login))
        .route("/logout", post(session::logout))
        .route("/action", get(actions::preview).post(actions::act))
        .route("/static/{name}", get(assets::file))
        .route("/metrics", get(metrics))
        .route("/healthz", get("ok\n"))
        .route("/readyz", get(ready))
        .route("/health", get(health::page).post(health::order))
        .with_state(running);
    let names = host::Names::new(local, &names, crate::registry::host());
    security::guarded(router, local, names, sessions)
}

/// The page is valid in both formats; who does not ask for OpenMetrics gets it under the older name, as does a browser.
async fn metrics(extract::State(state): extract::State<Arc<Running>>, headers: HeaderMap) -> impl IntoResponse {
    let asked = headers.get_all(header::ACCEPT).iter();
    let open =
        asked.filter_map(|value| value.to_str().ok()).any(|value| value.contains("application/openmetrics-text"));
    let kind = if open {
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    } else {
        "text/plain; version=0.0.4; charset=utf-8"
    };
    ([(header::CONTENT_TYPE, kind)], state.registry.encode())
}

async fn ready(extract::State(state): extract::State<Arc<Running>>) -> impl IntoResponse {
    let readiness = (state.readiness)();
    let status = if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, readiness.text())
}
