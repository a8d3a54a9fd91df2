//! Lets requests pass that carry a known token. A filter that speaks proxy-wasm and nothing else.
#![doc = include_str!("../README.md")]

mod config;

use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};

use config::Config;

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

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Exchange { config: self.config.clone()? }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// One request.
struct Exchange {
    config: Rc<Config>,
}

impl Context for Exchange {}

impl HttpContext for Exchange {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let Some(caller) = self.caller() else { return self.refuse() };
        if !self.config.forward_token {
            self.remove_http_request_header(&self.config.header);
        }
        if let Some(header) = &self.config.caller_header {
            // All that the client sent under that name, and not the first value only.
            self.remove_http_request_header(header);
            self.add_http_request_header(header, &caller);
        }
        Action::Continue
    }
}

impl Exchange {
    /// The name of who calls, if there is one token and it is known. Of two, the endpoint might believe the other one.
    fn caller(&self) -> Option<String> {
        let headers = self.get_http_request_headers_bytes();
        let mut values = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(&self.config.header));
        let (_, value) = values.next()?;
        if values.next().is_some() {
            return None;
        }
        self.config.caller(value).map(str::to_owned)
    }

    fn refuse(&self) -> Action {
        let scheme = self.config.scheme.as_deref().map(|scheme| ("www-authenticate", scheme));
        let headers = scheme.into_iter().chain([("content-type", "text/plain")]).collect();
        let body = format!("a valid token is needed in the header {}\n", self.config.header);
        self.send_http_response(401, headers, Some(body.as_bytes()));
        Action::Pause
    }
}

#[cfg(test)]
mod tests;
