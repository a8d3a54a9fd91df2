//! The state of each endpoint for people, and what an operator orders.

use std::sync::Arc;
use std::time::Duration;

use axum::extract;
use axum::http::StatusCode;
use axum::response::IntoResponse;

use super::Running;
use super::orders::LONGEST;
use crate::config::{self, File, Layers, Section};
use crate::health::Order;

/// How long an order holds that does not say so.
const FOR: Duration = Duration::from_mins(10);

pub(super) async fn page(extract::State(state): extract::State<Arc<Running>>) -> impl IntoResponse {
    state.dashboard.sources.health.text()
}

/// What a document orders.
struct Ordered {
    service: String,
    endpoint: String,
    order: Option<Order>,
    time: Duration,
}

impl Ordered {
    fn read(section: &mut Section<'_>) -> Self {
        let mut required = |key: &str| {
            let value = section.string(key, "");
            if value.is_empty() {
                section.error(key, "is missing");
            }
            value
        };
        let (service, endpoint) = (required("service"), required("endpoint"));
        let order = match section.optional("order").as_deref() {
            Some("none") => None,
            word => {
                let order = Order::ALL.iter().find(|(name, _)| Some(*name) == word);
                if order.is_none() {
                    section.error("order", "must be drain, healthy, unhealthy, or none to take back another");
                }
                order.map(|(_, order)| *order)
            }
        };
        let time = section.duration("for", FOR, Duration::from_secs(1)..=LONGEST);
        Ordered { service, endpoint, order, time }
    }
}

/// Orders something for an endpoint, as a document in YAML or JSON says.
pub(super) async fn order(extract::State(state): extract::State<Arc<Running>>, document: String) -> impl IntoResponse {
    let file = Some(File { name: "order".to_owned(), text: document });
    let Ordered { service, endpoint, order, time } =
        match config::load(&Layers { file, ..Layers::default() }, Ordered::read) {
            Ok((ordered, _)) => ordered,
            Err(errors) => return (StatusCode::BAD_REQUEST, format!("{errors}\n")),
        };
    match state.dashboard.sources.health.order(&service, &endpoint, order.map(|order| (order, time))).await {
        true => (StatusCode::OK, "done\n".to_owned()),
        false => {
            let text = format!("service `{service}` has no endpoint `{endpoint}`; GET /health lists them\n");
            (StatusCode::NOT_FOUND, text)
        }
    }
}
