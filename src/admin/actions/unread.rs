//! Forms and addresses that cannot be read: what is wrong with them, in plain words.

use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{Html, IntoResponse, Response};
use serde::de::DeserializeOwned;

use super::{LONGEST, Refused};
use crate::admin::Running;
use crate::admin::page::{document, render};

/// A form that was sent.
pub(in crate::admin) struct Form<T>(pub(super) T);

/// The same fields in an address.
pub(in crate::admin) struct Address<T>(pub(super) T);

/// The status of the refusal, what the framework says, and whether it is said to somebody who is logged in.
pub(in crate::admin) struct Unread(StatusCode, String, bool);

impl<T: DeserializeOwned> FromRequest<Arc<Running>> for Form<T> {
    type Rejection = Unread;

    async fn from_request(request: Request, state: &Arc<Running>) -> Result<Self, Unread> {
        let is_in = state.sessions.mark(request.headers()).is_some();
        let read = axum::Form::<T>::from_request(request, state).await;
        read.map(|axum::Form(form)| Form(form)).map_err(|error| Unread(error.status(), error.body_text(), is_in))
    }
}

impl<T: DeserializeOwned> FromRequestParts<Arc<Running>> for Address<T> {
    type Rejection = Unread;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<Running>) -> Result<Self, Unread> {
        let is_in = state.sessions.mark(&parts.headers).is_some();
        let read = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        let read = read.map(|axum::extract::Query(fields)| Address(fields));
        read.map_err(|error| Unread(error.status(), error.body_text(), is_in))
    }
}

impl IntoResponse for Unread {
    fn into_response(self) -> Response {
        let main = render(&Refused { why: &words(&self.1), back: "/" });
        (self.0, Html(document("Not done", "", "", "", &main, self.2))).into_response()
    }
}

/// The framework's text begins with the field that is wrong, behind what it could not do.
fn words(text: &str) -> String {
    let field = text.split([':', '.']).nth(1).unwrap_or_default().trim();
    let what = match field {
        "minutes" => format!("The time must be a whole number of minutes, from 1 to {LONGEST}"),
        "weight" => format!("The weight must be a whole number from 0 to {}", u32::MAX),
        "do" => "There is no such action".to_owned(),
        _ => "This form lacks something or cannot be read".to_owned(),
    };
    format!("{what}, so nothing was done. Go back, load the page again, and try again.")
}

#[cfg(test)]
mod tests {
    use axum::http::Uri;

    use super::*;
    use crate::admin::actions::Wish;

    #[test]
    fn what_is_wrong_is_said_in_plain_words() {
        for (query, expected) in [
            ("do=drain&minutes=", "The time must be a whole number of minutes"),
            ("do=weight&weight=-1", "The weight must be a whole number"),
            ("do=dance", "There is no such action"),
            ("do=revoke&lease=x", "This form lacks something or cannot be read"),
            ("", "This form lacks something or cannot be read"),
        ] {
            let uri: Uri = format!("/action?{query}").parse().unwrap();
            let error = axum::extract::Query::<Wish>::try_from_uri(&uri).unwrap_err().body_text();
            let said = words(&error);
            assert!(said.starts_with(expected) && said.contains("nothing was done"), "{query}: {error}: {said}");
        }
    }
}
