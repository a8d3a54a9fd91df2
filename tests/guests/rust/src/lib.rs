//! A filter that does one thing at a time, told by its configuration: `MODE ARGUMENT…`, on one line. What each mode does
//! stands in ../README.md; the tests rely on every word of it.

mod body;
mod calls;
mod filter;
mod maps;
mod root;
mod state;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(proxy_wasm::types::LogLevel::Trace);
    proxy_wasm::set_root_context(|_| Box::new(root::Root::default()));
}}

/// The configuration, split into words.
#[derive(Default)]
pub struct Config {
    mode: String,
    arguments: Vec<String>,
}

impl Config {
    fn parse(text: &str) -> Self {
        let mut words = text.split_whitespace().map(str::to_owned);
        Self { mode: words.next().unwrap_or_default(), arguments: words.collect() }
    }

    /// An argument by its place; empty if it isn't there.
    fn argument(&self, at: usize) -> &str {
        self.arguments.get(at).map_or("", String::as_str)
    }

    /// An argument as a number; 0 if it isn't one.
    fn number(&self, at: usize) -> u32 {
        self.argument(at).parse().unwrap_or(0)
    }

    /// The arguments from a place on, joined again.
    fn rest(&self, from: usize) -> String {
        self.arguments.get(from..).unwrap_or_default().join(" ")
    }
}
