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
use tokio::time::{Instant, sleep};

use super::page::{document, render};
use super::{Running, token};

/// How long a session lasts.
const LASTS: Duration = Duration::from_hours(12);
/// Sessions at a time; the oldest ends for a new one.
const SESSIONS: usize = 64;
/// Wrong tokens in a minute that are answered as such; after them whoever sends a wrong one is told to wait.
const WRONG: u32 = 10;
/// How long the answer to a wrong token takes, at first and later.
const SLOW: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];
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

/// What is wrong with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    Token,
    /// So were too many before it; how long until that is forgotten.
    TooOften(Duration),
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

    /// Whether a request has the token in `Authorization: Bearer`, as programs send it; none if it has no such header.
    pub(super) async fn bearer(&self, headers: &HeaderMap) -> Option<Result<(), Wrong>> {
        let (scheme, given) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        Some(self.check(given.trim()).await)
    }

    /// Whether this is the token. The right one is taken at once, however many others guess; who guesses is slowed down.
    async fn check(&self, given: &str) -> Result<(), Wrong> {
        if self.token.as_ref().is_ok_and(|token| same(token, given)) {
            return Ok(());
        }
        let now = Instant::now();
        let (count, since) = {
            let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
            let since = wrong.0.filter(|since| now < *since + MINUTE).unwrap_or(now);
            let count = if since == now { 1 } else { wrong.1.saturating_add(1) };
            *wrong = (Some(since), count);
            (count, since)
        };
        let often = count > WRONG;
        sleep(SLOW[usize::from(often)]).await;
        Err(if often { Wrong::TooOften(since + MINUTE - now) } else { Wrong::Token })
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

impl Wrong {
    fn text(self) -> String {
        match self {
            Wrong::Token => "This is not the token; `waypost dashboard` prints a link that has it.".to_owned(),
            Wrong::TooOften(wait) => {
                let wait = wait.as_secs() + 1;
                format!(
                    "There were too many wrong tokens; after a wrong one, wait {wait} s. The right one is always taken."
                )
            }
        }
    }

    /// An answer with this body: `status` for a wrong token, and for too many of them when the next may be sent.
    fn answer(self, status: StatusCode, body: impl IntoResponse) -> Response {
        match self {
            Wrong::Token => (status, body).into_response(),
            Wrong::TooOften(wait) => {
                let wait = [(header::RETRY_AFTER, (wait.as_secs() + 1).to_string())];
                (StatusCode::TOO_MANY_REQUESTS, wait, body).into_response()
            }
        }
    }
}

impl IntoResponse for Wrong {
    /// To a program.
    fn into_response(self) -> Response {
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
        self.answer(StatusCode::UNAUTHORIZED, (challenge, format!("{}\n", self.text())))
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
    let (title, is_in) = if mark.is_some() { ("Log out", true) } else { ("Log in", false) };
    Html(document(title, "/login", "", "", &render(&LoginPage { problem, unusable, mark }), is_in))
}

/// Takes a token.
pub(super) async fn login(State(running): State<Arc<Running>>, Form(Login { token }): Form<Login>) -> Response {
    if let Err(wrong) = running.sessions.check(token.trim()).await {
        return wrong.answer(StatusCode::FORBIDDEN, form(&running, &wrong.text(), None));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_scheme_has_no_case() {
        let sessions = Sessions::new(Ok("right".to_owned()), ([127, 0, 0, 1], 1).into());
        for (value, expected) in [("Bearer right", true), ("bearer  right", true), ("Basic right", false)] {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
            assert_eq!(sessions.bearer(&headers).await, expected.then_some(Ok(())), "{value}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_right_token_is_taken_whatever_others_guess() {
        let sessions = Sessions::new(Ok("right".to_owned()), ([127, 0, 0, 1], 1).into());
        let start = Instant::now();
        for _ in 0..WRONG {
            assert_eq!(sessions.check("guess").await, Err(Wrong::Token));
        }
        assert_eq!(start.elapsed(), SLOW[0] * WRONG);
        let Err(Wrong::TooOften(wait)) = sessions.check("guess").await else { panic!("it was told to wait") };
        assert_eq!(wait, MINUTE - SLOW[0] * WRONG);
        let now = Instant::now();
        assert_eq!((sessions.check("right").await, now.elapsed()), (Ok(()), Duration::ZERO));
        let answer = Wrong::TooOften(wait).into_response();
        assert_eq!((answer.status().as_u16(), &answer.headers()[header::RETRY_AFTER]), (429, &"60".parse().unwrap()));
        sleep(wait).await;
        assert_eq!(sessions.check("guess").await, Err(Wrong::Token), "a minute later it is forgotten");
    }
}
