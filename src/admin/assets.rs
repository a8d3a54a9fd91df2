//! What pages need besides themselves: a style sheet, scripts, an icon. All of it is in the binary, so that no page asks
//! another host for anything.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

use axum::extract::{Path, RawQuery};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

const FILES: [(&str, &str, &str); 4] = [
    ("style.css", "text/css; charset=utf-8", include_str!("../../static/style.css")),
    ("app.js", "text/javascript; charset=utf-8", include_str!("../../static/app.js")),
    ("live.js", "text/javascript; charset=utf-8", include_str!("../../static/live.js")),
    ("icon.svg", "image/svg+xml", include_str!("../../static/icon.svg")),
];

/// Names these very files, so that a browser keeps them until they change.
pub(super) static BUILD: LazyLock<String> = LazyLock::new(|| {
    let mut hasher = DefaultHasher::new();
    FILES.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
});

pub(super) async fn file(Path(name): Path<String>, RawQuery(build): RawQuery) -> Response {
    let Some((_, kind, text)) = FILES.iter().find(|(file, ..)| *file == name) else {
        return (StatusCode::NOT_FOUND, "There is no such file.\n").into_response();
    };
    let keep = if build.as_ref() == Some(&*BUILD) { "max-age=31536000, immutable" } else { "no-store" };
    ([(header::CONTENT_TYPE, *kind), (header::CACHE_CONTROL, keep)], *text).into_response()
}
