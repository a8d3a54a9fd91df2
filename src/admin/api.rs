//! Every view as a page and as JSON.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};

use super::dashboard::{Target, Wanted};
use super::page::Page;
use super::{Running, view};

/// Views under `/api/v1/`, with the address of their page.
pub(super) const VIEWS: [(&str, &str); 9] = [
    ("overview", "/"),
    ("services", "/services"),
    ("service", "/service"),
    ("locks", "/locks"),
    ("leases", "/leases"),
    ("filters", "/filters"),
    ("events", "/events"),
    ("routes", "/routes"),
    ("config", "/config"),
];

impl Target {
    /// What a page's address asks for; none if it cannot be read.
    pub(super) fn of(uri: &Uri) -> Option<Target> {
        let Query(query) = Query::<view::Query>::try_from_uri(uri).ok()?;
        Some(Target { path: uri.path().to_owned(), query })
    }
}

/// A page.
pub(super) async fn page(State(running): State<Arc<Running>>, headers: HeaderMap, uri: Uri) -> Response {
    let Some(target) = Target::of(&uri) else {
        return (StatusCode::BAD_REQUEST, "The part of the address behind `?` cannot be read.\n").into_response();
    };
    let mut page = Page::default();
    let Some(status) = running.dashboard.view(&target, Wanted::Page(&mut page)) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let topic = uri.path_and_query().map_or("/", |address| address.as_str());
    let code = if page.missing { StatusCode::NOT_FOUND } else { StatusCode::OK };
    let is_in = running.sessions.mark(&headers).is_some();
    (code, Html(page.document(&status, topic, is_in))).into_response()
}

/// A view as JSON.
pub(super) async fn json(State(running): State<Arc<Running>>, Path(name): Path<String>, uri: Uri) -> Response {
    if name == "openapi.json" {
        return ([(header::CONTENT_TYPE, "application/json")], include_str!("../../static/openapi.json"))
            .into_response();
    }
    let error = |code, text: &str| (code, as_json(&serde_json::json!({ "error": text }))).into_response();
    let Some((_, path)) = VIEWS.iter().find(|(view, _)| *view == name) else {
        return error(StatusCode::NOT_FOUND, "there is no such view; /api/v1/openapi.json lists them");
    };
    let Some(target) = Target::of(&uri) else {
        return error(StatusCode::BAD_REQUEST, "the part of the address behind `?` cannot be read");
    };
    let target = Target { path: (*path).to_owned(), ..target };
    let mut json = serde_json::Value::Null;
    match running.dashboard.view(&target, Wanted::Json(&mut json)) {
        Some(_) if !json.is_null() => as_json(&json).into_response(),
        _ => error(StatusCode::NOT_FOUND, "there is no service of that name; /api/v1/services lists them"),
    }
}

fn as_json(json: &serde_json::Value) -> impl IntoResponse + use<> {
    ([(header::CONTENT_TYPE, "application/json")], json.to_string())
}
