//! Who may act: whoever has the token. A browser gives it once, and has a cookie from then on.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use serde::Deserialize;
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use super::page::{document, render};
use super::{Running, token};

/// How long a session lasts.
const LASTS: Duration = Duration::from_hours(12);
/// Sessions at a time; the oldest ends for a new one.
const SESSIONS: usize = 64;
/// Wrong tokens in a minute; after them none is looked at until the minute is over.
const WRONG: u32 = 10;
const MINUTE: Duration = Duration::from_mins(1);

/// Whoever may act.
#[derive(Debug)]
pub(super) struct Sessions {
    /// The token, or why there is none.
    token: Result<String, String>,
    cookie: String,
    open: Mutex<HashMap<String, Session>>,
    wrong: Mutex<(Option<Instant>, u32)>,
}

#[derive(Debug, Clone)]
struct Session {
    /// A mark that every form of this session has, and no form of another page can have.
    mark: String,
    until: Instant,
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    problem: &'a str,
    unusable: Option<&'a str>,
    /// The mark of the session, if there is one.
    mark: Option<String>,
}

/// A login form.
#[derive(Deserialize)]
pub(super) struct Login {
    token: String,
}

/// A form that has nothing but its mark.
#[derive(Deserialize)]
pub(super) struct Logout {
    mark: String,
}

impl Sessions {
    /// Sessions of the server at this address. Cookies know no ports, so their name has it.
    pub(super) fn new(token: Result<String, String>, local: SocketAddr) -> Self {
        let cookie = format!("waypost-{}", local.port());
        Sessions { token, cookie, open: Mutex::default(), wrong: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, headers: &HeaderMap) -> Option<String> {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(name, _)| *name == self.cookie).map(|(_, value)| value.to_owned())
    }

    /// The mark of the session that a request belongs to; none if there is none.
    pub(super) fn mark(&self, headers: &HeaderMap) -> Option<String> {
        let key = self.key(headers)?;
        let mut open = self.lock();
        open.retain(|_, session| Instant::now() < session.until);
        open.get(&key).map(|session| session.mark.clone())
    }

    /// Whether a form has the mark of its session.
    pub(super) fn is_genuine(&self, headers: &HeaderMap, mark: &str) -> bool {
        self.mark(headers).is_some_and(|own| same(&own, mark))
    }

    /// Whether a request may read where reading needs a token: by a session, or by `Authorization: Bearer`.
    pub(super) fn may_read(&self, headers: &HeaderMap) -> bool {
        self.has_token(headers) || self.mark(headers).is_some()
    }

    /// Whether a request has the token in `Authorization: Bearer`, as programs send it.
    pub(super) fn has_token(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some(given) = given.and_then(|value| value.strip_prefix("Bearer ")) else { return false };
        self.check(given.trim()) == Ok(())
    }

    /// Whether this is the token. Who guesses is slowed down.
    fn check(&self, given: &str) -> Result<(), (StatusCode, &'static str)> {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if wrong.0.is_none_or(|since| now >= since + MINUTE) {
            *wrong = (Some(now), 0);
        }
        if wrong.1 >= WRONG {
            return Err((StatusCode::TOO_MANY_REQUESTS, "Too many wrong tokens; try again in a minute."));
        }
        match &self.token {
            Ok(token) if same(token, given) => Ok(()),
            _ => {
                wrong.1 += 1;
                Err((StatusCode::FORBIDDEN, "This is not the token; `waypost dashboard` prints a link that has it."))
            }
        }
    }

    /// Begins a session. Gives its cookie.
    fn open(&self) -> Result<String, token::TokenError> {
        let (key, mark) = (token::random()?, token::random()?);
        let mut open = self.lock();
        if open.len() >= SESSIONS {
            let oldest = open.iter().min_by_key(|(_, session)| session.until).map(|(key, _)| key.clone());
            oldest.into_iter().for_each(|key| drop(open.remove(&key)));
        }
        let cookie = self.cookie(&key, LASTS);
        open.insert(key, Session { mark, until: Instant::now() + LASTS });
        Ok(cookie)
    }

    fn cookie(&self, value: &str, age: Duration) -> String {
        format!("{}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}", self.cookie, age.as_secs())
    }
}

/// Compares secrets in a time that says nothing of where they differ.
fn same(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

/// The page with the form.
pub(super) async fn page(State(running): State<Arc<Running>>, headers: HeaderMap) -> Html<String> {
    form(&running, "", running.sessions.mark(&headers))
}

fn form(running: &Running, problem: &str, mark: Option<String>) -> Html<String> {
    let unusable = running.sessions.token.as_ref().err().map(String::as_str);
    Html(document("Log in", "/login", "", "", &render(&LoginPage { problem, unusable, mark })))
}

/// Takes a token.
pub(super) async fn login(State(running): State<Arc<Running>>, Form(Login { token }): Form<Login>) -> Response {
    if let Err((status, problem)) = running.sessions.check(token.trim()) {
        return (status, form(&running, problem, None)).into_response();
    }
    match running.sessions.open() {
        Ok(cookie) => ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, form(&running, &error.to_string(), None)).into_response(),
    }
}

/// Ends a session.
pub(super) async fn logout(
    State(running): State<Arc<Running>>,
    headers: HeaderMap,
    Form(Logout { mark }): Form<Logout>,
) -> Response {
    let sessions = &running.sessions;
    if !sessions.is_genuine(&headers, &mark) {
        return (StatusCode::FORBIDDEN, "This form is not of your session; load the page again.\n").into_response();
    }
    sessions.key(&headers).iter().for_each(|key| drop(sessions.lock().remove(key)));
    ([(header::SET_COOKIE, sessions.cookie("", Duration::ZERO))], Redirect::to("/login")).into_response()
}
