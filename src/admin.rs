//! The admin server: metrics, and whether the process lives and is ready. It reads what others say of themselves and
//! changes nothing.

mod health;
mod host;
mod listener;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{self, Request};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::config::Section;
use crate::health::Health;
use crate::telemetry::Registry;

/// How long answers under way may take when the server ends.
const GRACE: Duration = Duration::from_secs(5);

/// Where the admin server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `listen`: address and port, default `127.0.0.1:8401`. On a loopback address, only requests for a local name are
    /// answered; on any other, everybody who reaches the port reads the metrics.
    pub listen: SocketAddr,
}

impl Default for Config {
    fn default() -> Self {
        Config { listen: (Ipv4Addr::LOCALHOST, 8401).into() }
    }
}

impl Config {
    /// Reads the section `admin`.
    pub fn read(section: &mut Section<'_>) -> Self {
        Config { listen: section.listen("listen", Config::default().listen) }
    }
}

/// What the server shows.
pub struct State {
    /// The metrics.
    pub registry: Registry,
    /// Asked at each request for `/readyz`; must not block.
    pub readiness: Box<dyn Fn() -> Readiness + Send + Sync>,
    /// What `/health` shows, and who takes orders.
    pub health: Health,
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
    let router = router(state, listener.local_addr()?);
    let (end, mut ended) = watch::channel(());
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

fn router(state: State, local: SocketAddr) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/healthz", get("ok\n"))
        .route("/readyz", get(ready))
        .route("/health", get(health::page).post(health::order))
        .with_state(Arc::new(state))
        .layer(middleware::from_fn(move |request, next| guard(local, request, next)))
}

/// What holds for every request, whatever its path.
async fn guard(local: SocketAddr, request: Request, next: Next) -> Response {
    if !host::is_ours(&request, local) {
        let text = "This server answers only to localhost and loopback addresses, so that no web page can read it.\n";
        return (StatusCode::MISDIRECTED_REQUEST, text).into_response();
    }
    let acts = *request.method() == Method::POST && request.uri().path() == "/health";
    if !acts && !matches!(*request.method(), Method::GET | Method::HEAD) {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")]).into_response();
    }
    // A page in a browser names where it comes from. There is none of ours yet that acts.
    if acts && request.headers().contains_key(header::ORIGIN) {
        return (StatusCode::FORBIDDEN, "Pages in a browser may not give orders here.\n").into_response();
    }
    let mut response = next.run(request).await;
    // All that is here is of this moment, and none of it is a page that a browser should guess the type of.
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    response
}

async fn index() -> &'static str {
    concat!(
        "Waypost ",
        env!("CARGO_PKG_VERSION"),
        "\n\n",
        "/metrics  metrics for Prometheus\n",
        "/healthz  200 as long as the process lives\n",
        "/readyz   200 once every prefix was listed, with what is known of each\n",
        "/health   the state of each endpoint, and why; orders are POSTed here\n",
    )
}

/// The page is valid in both formats; who does not ask for OpenMetrics gets it under the older name, as does a browser.
async fn metrics(extract::State(state): extract::State<Arc<State>>, headers: HeaderMap) -> impl IntoResponse {
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

async fn ready(extract::State(state): extract::State<Arc<State>>) -> impl IntoResponse {
    let readiness = (state.readiness)();
    let status = if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, readiness.text())
}
