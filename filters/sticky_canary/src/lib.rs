//! Sends a part of the users elsewhere, always the same ones. A filter that speaks proxy-wasm and nothing else.
#![doc = include_str!("../README.md")]

mod config;

use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};
use waypost_policy::share;

use config::{Config, Cookie};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}}

#[derive(Default)]
struct Root {
    config: Option<Rc<Config>>,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _: usize) -> bool {
        match Config::read(&self.get_plugin_configuration().unwrap_or_default()) {
            Ok(config) => {
                self.config = Some(Rc::new(config));
                true
            }
            Err(refusal) => {
                log::error!("{refusal}");
                false
            }
        }
    }

    fn create_http_context(&self, context: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Exchange { config: self.config.clone()?, context, given: None }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// One request and its response.
struct Exchange {
    config: Rc<Config>,
    context: u32,
    /// The name that a user without one was given.
    given: Option<String>,
}

impl Context for Exchange {}

impl HttpContext for Exchange {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let Some(user) = self.user() else { return Action::Continue };
        if share::is_among(self.config.percent, user.as_bytes(), &self.config.salt) {
            if let Some(service) = &self.config.service {
                self.set_property(vec!["waypost", "service"], Some(service.as_bytes()));
            }
            if let Some(version) = &self.config.version {
                self.set_property(vec!["waypost", "subset", "version"], Some(version.as_bytes()));
            }
        }
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        if let (Some(given), Some(cookie)) = (self.given.take(), &self.config.cookie) {
            self.add_http_response_header("set-cookie", &cookie.set(&given));
        }
        Action::Continue
    }
}

impl Exchange {
    /// What the user is told by: the header, else the cookie, else a name that is given now.
    fn user(&mut self) -> Option<String> {
        let header = self.config.header.as_ref().and_then(|name| self.get_http_request_header_bytes(name));
        if let Some(value) = header.filter(|value| !value.is_empty()) {
            return Some(String::from_utf8_lossy(&value).into_owned());
        }
        let cookie = self.config.cookie.as_ref()?;
        let known = self.cookie(cookie);
        if known.is_none() {
            self.given = Some(self.new_name());
        }
        known.or_else(|| self.given.clone())
    }

    /// The value of the cookie. HTTP/2 may bring each cookie in a header of its own.
    fn cookie(&self, cookie: &Cookie) -> Option<String> {
        let headers = self.get_http_request_headers_bytes();
        let cookies = headers.iter().filter(|(name, _)| name == "cookie");
        cookies
            .filter_map(|(_, value)| str::from_utf8(value).ok())
            .find_map(|value| cookie.find(value))
            .map(str::to_owned)
    }

    /// A name that no other user has. It is no secret, so it need not be hard to guess.
    fn new_name(&self) -> String {
        let now = self.get_current_time().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos();
        let mut seed = [now.to_le_bytes().as_slice(), &self.context.to_le_bytes()].concat();
        for part in ["address", "port"] {
            seed.extend(self.get_property(vec!["source", part]).unwrap_or_default());
        }
        format!("{:016x}", share::hash(&seed, 0))
    }
}

#[cfg(test)]
mod tests;
