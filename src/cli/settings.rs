//! The whole configuration, typed. Each module reads its own section; what concerns two of them is checked here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::balance::{Balance, Balancer};
use crate::config::{Section, join, nearest};
use crate::proxy::Services;
use crate::route::Filter;
use crate::table::Prefix;
use crate::telemetry::LogConfig;
use crate::wasm::{Need, Role, Use};
use crate::{admin, etcd, proxy, registry, route, table, wasm};

/// Keys that a running process does not take over, each with all below it: what they stand for is made at its start.
const FIXED: &[&str] = &["proxy.listen", "proxy.workers", "proxy.max_connections", "admin", "log.format", "wasm"];

/// The whole configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Section `proxy`.
    pub proxy: proxy::Config,
    /// Section `admin`.
    pub admin: admin::Config,
    /// Section `etcd`, which is the client `default`, and the further clients in its section `clients`.
    pub etcd: BTreeMap<String, etcd::Config>,
    /// List `prefixes`; each names a client of `etcd`. Never empty.
    pub prefixes: Vec<Prefix>,
    /// Section `registry`.
    pub registry: registry::Config,
    /// Section `table`.
    pub table: table::Config,
    /// Section `routing`.
    pub routing: route::Config,
    /// Section `services`.
    pub services: Services,
    /// List `filters`: those that every exchange passes.
    pub filters: Vec<Filter>,
    /// Section `wasm`.
    pub wasm: wasm::Config,
    /// Section `log`.
    pub log: LogConfig,
}

impl Settings {
    /// Reads the root of the configuration.
    pub fn read(section: &mut Section<'_>) -> Settings {
        let proxy = section.section("proxy", proxy::Config::read);
        let admin = section.section("admin", |section| {
            let admin = admin::Config::read(section);
            if collide(admin.listen, proxy.listen) {
                section.error("listen", format!("must not be the address of proxy.listen, {}", proxy.listen));
            }
            admin
        });
        let etcd = section.section("etcd", etcd::read_clients);
        let prefixes = prefixes(section, &etcd);
        if !etcd.contains_key(&admin.lock_client) {
            let known: Vec<_> = etcd.keys().map(String::as_str).collect();
            let known = known.join(", ");
            let message = format!("locks.client: `{}` is no etcd client; name one of {known}", admin.lock_client);
            section.error("admin", message);
        }
        let settings = Settings {
            proxy,
            admin,
            etcd,
            prefixes,
            registry: section.section("registry", registry::Config::read),
            table: section.section("table", table::Config::read),
            routing: section.section("routing", route::Config::read),
            services: section.section("services", Services::read),
            filters: Filter::read_list(section, "filters"),
            wasm: section.section("wasm", wasm::Config::read),
            log: section.section("log", LogConfig::read),
        };
        for (key, message) in settings.missing() {
            section.error_at(&key, message);
        }
        settings
    }

    /// The modules that it names, with the keys that do.
    pub fn needs(&self) -> Vec<Need> {
        let filter = |key: String, filter: &Filter| {
            let Filter { module, config, .. } = filter;
            Need { key, role: Role::Filter, used: Use { module: module.clone(), config: config.clone() } }
        };
        let chain = |path: &str, filters: &[Filter]| -> Vec<Need> {
            filters.iter().enumerate().map(|(n, f)| filter(format!("{path}[{n}].module"), f)).collect()
        };
        let mut needs = chain("filters", &self.filters);
        for (n, route) in self.routing.routes.iter().enumerate() {
            needs.extend(chain(&format!("routing.routes[{n}].filters"), &route.filters));
        }
        let default = &self.services.default;
        let named = self.services.named.iter().map(|(name, service)| (join("services.named", name), service));
        for (path, service) in std::iter::once(("services.default".to_owned(), default)).chain(named) {
            // What a service takes over from the default is named there.
            let is_own = path == "services.default" || service.balance != default.balance;
            if let Balance::Module(used) = &service.balance
                && is_own
            {
                needs.push(Need { key: format!("{path}.balance"), role: Role::Balance, used: used.clone() });
            }
            let is_own = path == "services.default" || service.health.policy != default.health.policy;
            if let Some(used) = service.health.policy.as_ref().filter(|_| is_own) {
                needs.push(Need { key: format!("{path}.health.policy"), role: Role::Health, used: used.clone() });
            }
        }
        needs
    }

    /// Files of modules that nothing uses, and that no service can name: a native balancer has their name.
    pub(super) fn shadowed(&self) -> Vec<String> {
        let used: BTreeSet<_> = self.needs().into_iter().map(|need| need.used.module).collect();
        let unused = Balancer::ALL.iter().filter(|(name, _)| !used.contains(*name));
        let files = unused.filter_map(|(name, _)| Some((name, self.wasm.file(name).ok()?)));
        files.map(|(name, file)| format!("{} is not used: {}", file.display(), taken(name))).collect()
    }

    /// Modules of which there is no file: the keys that name them, and what is to be said of it.
    fn missing(&self) -> Vec<(String, String)> {
        let missing = |need: Need| {
            let module = &need.used.module;
            let why = self.wasm.file(module).err().filter(|_| !module.is_empty())?;
            let natives = Balancer::ALL.iter().map(|(name, _)| *name);
            let message = match need.role {
                Role::Balance => {
                    let near = nearest(module, natives.clone()).map(|near| format!("; did you mean `{near}`?"));
                    let names = natives.collect::<Vec<_>>().join(", ");
                    format!("`{module}` is not one of {names}, and {why}{}", near.unwrap_or_default())
                }
                Role::Filter | Role::Health if why.starts_with("there is no") => {
                    format!("{why}: put it there, or set wasm.folder")
                }
                Role::Filter | Role::Health => why,
            };
            Some((need.key, message))
        };
        self.needs().into_iter().filter_map(missing).collect()
    }

    /// What it amounts to, in one line.
    pub(super) fn summary(&self) -> String {
        let count = |n: usize, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
        format!(
            "proxy on {}, admin on {}; {}, {}, {}",
            self.proxy.listen,
            self.admin.listen,
            count(self.etcd.len(), "etcd client", "etcd clients"),
            count(self.prefixes.len(), "prefix", "prefixes"),
            count(self.services.named.len(), "service with settings of its own", "services with settings of their own"),
        )
    }
}

fn prefixes(section: &mut Section<'_>, clients: &BTreeMap<String, etcd::Config>) -> Vec<Prefix> {
    let mut seen = BTreeSet::new();
    section.list_of_one("prefixes", |section| {
        let prefix = Prefix::read(section);
        if !clients.contains_key(&prefix.client) {
            let known: Vec<_> = clients.keys().map(String::as_str).collect();
            let message = format!("is no etcd client; add it to etcd.clients, or name one of {}", known.join(", "));
            section.error("client", format!("`{}` {message}", prefix.client));
        }
        if !seen.insert((prefix.client.clone(), prefix.path().to_owned())) {
            section.error("prefix", format!("`{}` is listed twice for this client; remove one", prefix.path()));
        }
        prefix
    })
}

/// What is to be said of a module with the name of a native balancer.
pub(super) fn taken(name: &str) -> String {
    format!("`{name}` as a balance is the native balancer of that name; rename the file")
}

/// Whether a change of this key waits for a restart.
pub(super) fn is_fixed(key: &str) -> bool {
    FIXED.iter().any(|fixed| key.strip_prefix(fixed).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

/// Whether two listeners cannot both have what they ask for.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let errors = config::parse(text, Settings::read).err();
        let errors: Vec<_> = errors.iter().flat_map(|errors| errors.iter()).map(ToString::to_string).collect();
        let errors: Vec<_> = errors.iter().map(|e| e.trim_start_matches("config:")).collect();
        assert_eq!(errors, expected, "{text}");
    }

    #[test]
    fn nothing_configured_is_a_proxy_beside_a_local_etcd() {
        let settings = config::defaults(Settings::read);
        assert_eq!(settings.proxy.listen.to_string(), "127.0.0.1:8400");
        assert_eq!(settings.admin.listen.to_string(), "127.0.0.1:8401");
        assert_eq!(settings.etcd.keys().collect::<Vec<_>>(), ["default"]);
        assert_eq!(settings.etcd["default"].endpoints, ["http://127.0.0.1:2379"]);
        assert_eq!(settings.prefixes, [Prefix::new("default", "/services/")]);
        // Each module's own default is what reading an empty section gives.
        assert_eq!(settings.proxy, proxy::Config::default());
        assert_eq!(settings.admin, admin::Config::default());
        assert_eq!(settings.etcd["default"], etcd::Config::default());
        assert_eq!(settings.table, table::Config::default());
        assert_eq!(settings.routing, route::Config::default());
        assert_eq!(settings.services, Services::default());
        assert_eq!(settings.log, LogConfig::default());
    }

    #[test]
    fn sections_must_fit_together() {
        for (text, expected) in [
            (
                "admin: {listen: '127.0.0.1:8400'}",
                "1:9: admin.listen: must not be the address of proxy.listen, 127.0.0.1:8400",
            ),
            (
                "admin: {listen: '0.0.0.0:8400'}",
                "1:9: admin.listen: must not be the address of proxy.listen, 127.0.0.1:8400",
            ),
            (
                "prefixes: [{client: othr}]\netcd: {clients: {other: {}}}",
                "1:13: prefixes[0].client: `othr` is no etcd client; add it to etcd.clients, or name one of default, other",
            ),
            (
                "prefixes:\n- prefix: /a/\n- {client: default, prefix: /a}",
                "3:21: prefixes[1].prefix: `/a/` is listed twice for this client; remove one",
            ),
            (
                "prefixes: [{}, {}]",
                "1:16: prefixes[1].prefix: `/services/` is listed twice for this client; remove one",
            ),
            (
                "etcd: {clients: {default: {}}}",
                "1:18: etcd.clients.default: is the client that the etcd section itself describes; name this one otherwise",
            ),
        ] {
            check(text, &[expected]);
        }
        check("{proxy: {listen: '127.0.0.1:0'}, admin: {listen: '127.0.0.1:0'}}", &[]);
        check("{prefixes: [{prefix: /a/}, {client: b, prefix: /a/}], etcd: {clients: {b: {}}}}", &[]);
    }

    #[test]
    fn only_what_is_made_at_the_start_waits_for_a_restart() {
        for (key, fixed) in [
            ("proxy.listen", true),
            ("proxy.listening", false),
            ("proxy.grace", false),
            ("admin.listen", true),
            ("log.format", true),
            ("log.level", false),
            ("wasm.folder", true),
            ("filters", false),
            ("etcd.endpoints", false),
        ] {
            assert_eq!(is_fixed(key), fixed, "{key}");
        }
    }
}
