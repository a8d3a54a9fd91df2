//! Errors as whoever asked can read them: a page for people, JSON below `/api/`, else a line of text.

use askama::Template;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use super::page::{document, render};

/// The longest text of an error, in bytes.
const TEXT: usize = 4 << 10;

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    why: &'a str,
}

/// An answer with its error told so, to somebody who is logged in or not. What is no error of the asker's, or told so
/// already, stays as it is.
pub(super) async fn told(path: &str, is_page: bool, is_in: bool, answer: Response) -> Response {
    let is_api = path.starts_with("/api/");
    let wanted = match (is_api, is_page) {
        (true, _) => "application/json",
        (_, true) => "text/html; charset=utf-8",
        _ => "text/plain; charset=utf-8",
    };
    let kind = answer.headers().get(header::CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
    if !answer.status().is_client_error() || kind == wanted.as_bytes() || kind.starts_with(b"text/html") {
        return answer;
    }
    let (mut head, body) = answer.into_parts();
    // What is longer, or breaks off, says less than the status.
    let text = to_bytes(body, TEXT).await.unwrap_or_default();
    let why = sentence(head.status, String::from_utf8_lossy(&text).trim());
    let body = match (is_api, is_page) {
        (true, _) => serde_json::json!({ "error": why }).to_string(),
        (_, true) => {
            let title = head.status.canonical_reason().unwrap_or("Error");
            document(title, "", "", "", &render(&ErrorPage { why: &why }), is_in)
        }
        _ => format!("{why}\n"),
    };
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(wanted));
    Response::from_parts(head, Body::from(body))
}

fn sentence(status: StatusCode, text: &str) -> String {
    match (status, text) {
        (StatusCode::NOT_FOUND, "") => "There is nothing at this address.".to_owned(),
        (StatusCode::METHOD_NOT_ALLOWED, "") => {
            "This address is not used in this way: forms are sent to it.".to_owned()
        }
        (StatusCode::UNPROCESSABLE_ENTITY, _) => {
            "This form lacks something or cannot be read, so nothing was done. Load its page again.".to_owned()
        }
        (status, "") => format!("{}.", status.canonical_reason().unwrap_or("It is refused")),
        (_, text) => text.to_owned(),
    }
}
