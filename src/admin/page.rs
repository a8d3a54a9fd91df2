//! Pages: a view as HTML. Each page is made of pieces, elements with an id, and a page that is open is kept current by
//! sending the pieces that changed.

use askama::Template;

use super::assets::BUILD;
use super::view::events::{Event, Events};
use super::view::filter::Row;
use super::view::leases::{Lease, Leases};
use super::view::locks::{Locks, Queue};
use super::view::modules::{Module, Modules};
use super::view::overview::Overview;
use super::view::routes::Routes;
use super::view::service::{EndpointRow, Service};
use super::view::services::{Key, ServiceRow, Services};
use super::view::{Query, Rows, Status};
use crate::registry::clip;

/// Every page: its address, its name, and the key that leads to it after a `g`.
const PAGES: [(&str, &str, &str); 9] = [
    ("/", "Overview", "o"),
    ("/services", "Services", "s"),
    ("/locks", "Locks", "l"),
    ("/leases", "Leases", "t"),
    ("/filters", "Filters", "f"),
    ("/routes", "Routes", "r"),
    ("/events", "Events", "e"),
    ("/config", "Config", "c"),
    ("/login", "Log in", "i"),
];

/// Rows that are added each time that somebody asks for more.
const MORE: usize = 100;

/// An element, which is replaced where its id stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) id: String,
    pub(super) html: String,
}

/// A page, as pieces.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) title: String,
    /// The address in the navigation that it belongs to.
    pub(super) here: &'static str,
    pub(super) before: Vec<Piece>,
    pub(super) table: Option<Table>,
    /// What stands in the table. They come and go; the other pieces stay.
    pub(super) rows: Vec<Piece>,
    pub(super) after: Vec<Piece>,
    /// What it should show is not there.
    pub(super) missing: bool,
}

/// What stands around rows.
#[derive(Debug, Clone)]
pub(super) struct Table {
    label: &'static str,
    hint: &'static str,
    query: Query,
    columns: Vec<Column>,
}

#[derive(Debug, Clone)]
struct Column {
    name: &'static str,
    numeric: bool,
    /// Where a click leads; nowhere if it cannot be sorted by.
    link: String,
    sorted: &'static str,
}

#[derive(Template)]
#[template(path = "layout.html")]
struct Layout<'a> {
    title: &'a str,
    topic: &'a str,
    build: &'a str,
    status: &'a str,
    pages: Vec<(&'a str, &'a str, &'a str, bool)>,
    main: &'a str,
}

#[derive(Template)]
#[template(path = "table.html")]
struct Main<'a> {
    path: &'a str,
    label: &'a str,
    hint: &'a str,
    query: &'a Query,
    columns: &'a [Column],
    before: &'a [Piece],
    rows: &'a [Piece],
    after: &'a [Piece],
}

/// Templates that take one thing, under the name of what they show.
macro_rules! pieces {
    ($($name:ident($field:ident: $type:ty) = $path:literal;)*) => {$(
        #[derive(Template)]
        #[template(path = $path)]
        struct $name<'a> {
            $field: &'a $type,
        }
    )*};
}

pieces! {
    StatusLine(view: Status) = "status.html";
    Attention(view: Overview<'a>) = "attention.html";
    Figures(view: Overview<'a>) = "figures.html";
    TopServices(view: Overview<'a>) = "top_services.html";
    TopLocks(view: Overview<'a>) = "top_locks.html";
    Recent(view: Overview<'a>) = "recent.html";
    Members(view: Overview<'a>) = "members.html";
    Prefixes(view: Overview<'a>) = "prefixes.html";
    Empty(view: Services<'a>) = "empty.html";
    ServiceLine(row: ServiceRow<'a>) = "service_row.html";
    Unreadable(keys: [Key]) = "unreadable.html";
    ServiceHead(view: Service<'a>) = "service_head.html";
    EndpointLine(row: EndpointRow<'a>) = "endpoint_row.html";
    Missing(name: str) = "missing.html";
    Acts(are: bool) = "acts.html";
    LocksHead(view: Locks) = "locks_head.html";
    QueueLine(row: Queue) = "queue.html";
    LeaseLine(row: Lease) = "lease_row.html";
    ModuleLine(row: Module) = "module_row.html";
    EventLine(row: Event) = "event_row.html";
    ConfigText(text: str) = "config.html";
    RoutesForm(query: Query) = "routes_form.html";
    RoutesAnswer(view: Routes) = "answer.html";
    RoutesList(view: Routes) = "routes.html";
}

#[derive(Template)]
#[template(path = "more.html")]
struct More {
    shown: usize,
    matching: usize,
    all: usize,
    link: String,
}

/// Renders a template. Templates are checked when they are compiled, and writing to memory does not fail.
pub(super) fn render(template: &impl Template) -> String {
    template.render().unwrap_or_default()
}

impl Piece {
    pub(super) fn new(id: impl Into<String>, template: &impl Template) -> Self {
        Piece { id: id.into(), html: render(template) }
    }
}

/// The line at the top.
pub(super) fn status(view: &Status) -> Piece {
    Piece::new("status", &StatusLine { view })
}

impl Page {
    /// The whole document, for somebody who is logged in or not. `topic` is the address under which its pieces are followed.
    pub(super) fn document(&self, status: &Piece, topic: &str, is_in: bool) -> String {
        let main = match &self.table {
            Some(Table { label, hint, query, columns }) => {
                let path = topic.split('?').next().unwrap_or_default();
                let Page { before, rows, after, .. } = self;
                render(&Main { path, label, hint, query, columns, before, rows, after })
            }
            None => self.before.iter().chain(&self.rows).chain(&self.after).map(|piece| piece.html.as_str()).collect(),
        };
        document(&self.title, self.here, topic, &status.html, &main, is_in)
    }
}

/// A document with this content, for somebody who is logged in or not. Without a topic it is not followed.
pub(super) fn document(title: &str, here: &str, topic: &str, status: &str, main: &str, is_in: bool) -> String {
    let name = |link, name| if is_in && link == "/login" { "Log out" } else { name };
    let pages = PAGES.map(|(link, text, key)| (link, name(link, text), key, link == here)).to_vec();
    render(&Layout { title, topic, build: &BUILD, status, pages, main })
}

impl Table {
    /// `columns` are names, and what each is sorted by; a `#` before a name is for numbers.
    pub(super) fn new(
        label: &'static str,
        hint: &'static str,
        query: &Query,
        columns: &[(&'static str, &'static str)],
    ) -> Self {
        let column = |&(name, key): &(&'static str, &'static str)| {
            let (name, numeric) = name.strip_prefix('#').map_or((name, false), |name| (name, true));
            let (now, backwards) = query.sort.strip_prefix('-').map_or((&*query.sort, false), |now| (now, true));
            let sorted = match (!key.is_empty() && now == key, backwards) {
                (false, _) => "",
                (true, false) => "ascending",
                (true, true) => "descending",
            };
            // Of numbers the large ones are looked for first.
            let next =
                if (sorted.is_empty() && numeric) || sorted == "ascending" { format!("-{key}") } else { key.into() };
            let link = if key.is_empty() { String::new() } else { query.address(&next, None) };
            Column { name, numeric, link, sorted }
        };
        Table { label, hint, query: query.clone(), columns: columns.iter().map(column).collect() }
    }
}

/// How many rows there are, and the way to more of them.
pub(super) fn more<R: Row>(rows: &Rows<R>, query: &Query) -> Piece {
    let (shown, matching, all) = (rows.rows.len(), rows.matching, rows.all);
    Piece::new("more", &More { shown, matching, all, link: query.address(&query.sort, Some(shown + MORE)) })
}

pub(super) fn overview(view: &Overview<'_>) -> Page {
    Page {
        title: "Overview".to_owned(),
        here: "/",
        before: vec![
            Piece::new("attention", &Attention { view }),
            Piece::new("figures", &Figures { view }),
            Piece::new("top-services", &TopServices { view }),
            Piece::new("top-locks", &TopLocks { view }),
            Piece::new("recent", &Recent { view }),
            Piece::new("members", &Members { view }),
            Piece::new("prefixes", &Prefixes { view }),
        ],
        ..Page::default()
    }
}

pub(super) fn services(view: &Services<'_>, query: &Query) -> Page {
    let columns = [
        ("Service", "name"),
        ("State", "state"),
        ("#Healthy", "endpoints"),
        ("#Calls/s", "calls"),
        ("#Failed", "failures"),
        ("#p50, ms", "p50"),
        ("#p99, ms", "p99"),
        ("Last 5 min", ""),
        ("Balancer", "balancer"),
    ];
    Page {
        title: "Services".to_owned(),
        here: "/services",
        before: vec![Piece::new("empty", &Empty { view })],
        table: Some(Table::new("Services", "name, state:healthy, !empty", query, &columns)),
        rows: view.services.rows.iter().map(|row| Piece::new(row.id(), &ServiceLine { row })).collect(),
        after: vec![more(&view.services, query), Piece::new("unreadable", &Unreadable { keys: &view.unreadable })],
        ..Page::default()
    }
}

pub(super) fn service(view: &Service<'_>, query: &Query) -> Page {
    let mut columns = vec![
        ("Endpoint", "address"),
        ("State", "state"),
        ("#Weight", "weight"),
        ("#Share", "share"),
        ("#In flight", "in_flight"),
        ("#Calls/s", "calls"),
        ("#Failures/s", "failures"),
        ("Last 5 min", ""),
        ("Version", "version"),
        ("Zone", "zone"),
        ("Lease", ""),
    ];
    columns.extend(view.acts.then_some(("Actions", "")));
    Page {
        title: view.service.shown(),
        here: "/services",
        before: vec![Piece::new("head", &ServiceHead { view })],
        table: Some(Table::new("Endpoints", "zone:a !healthy", query, &columns)),
        rows: view.endpoints.rows.iter().map(|row| Piece::new(format!("e{}", row.id), &EndpointLine { row })).collect(),
        after: vec![
            more(&view.endpoints, query),
            Piece::new("acts", &Acts { are: &view.acts }),
            Piece::new("unreadable", &Unreadable { keys: &view.unreadable }),
        ],
        ..Page::default()
    }
}

/// The page of a service that is not there.
pub(super) fn missing(name: &str) -> Page {
    let name = clip(name);
    let before = vec![Piece::new("missing", &Missing { name: &name })];
    Page { title: "No such service".to_owned(), here: "/services", before, missing: true, ..Page::default() }
}

pub(super) fn locks(view: &Locks, query: &Query) -> Page {
    Page {
        title: "Locks and elections".to_owned(),
        here: "/locks",
        before: vec![Piece::new("head", &LocksHead { view })],
        table: Some(Table::new("Locks", "name, who:worker-1, state:blocked", query, &[("Queue", "name")])),
        rows: view.locks.rows.iter().map(|row| Piece::new(row.id(), &QueueLine { row })).collect(),
        after: vec![more(&view.locks, query), Piece::new("acts", &Acts { are: &view.acts })],
        ..Page::default()
    }
}

pub(super) fn leases(view: &Leases, query: &Query) -> Page {
    let mut columns =
        vec![("Lease", "id"), ("Left", ""), ("#Granted, s", ""), ("State", ""), ("Keys", "keys"), ("Owner", "owner")];
    columns.extend(view.acts.then_some(("Actions", "")));
    Page {
        title: "Leases".to_owned(),
        here: "/leases",
        table: Some(Table::new("Leases", "id, owner, key:/locks", query, &columns)),
        rows: view.leases.rows.iter().map(|row| Piece::new(format!("t{}", row.hex), &LeaseLine { row })).collect(),
        after: vec![more(&view.leases, query), Piece::new("acts", &Acts { are: &view.acts })],
        ..Page::default()
    }
}

pub(super) fn modules(view: &Modules, query: &Query) -> Page {
    let columns = [
        ("Module", "name"),
        ("Kind", "kind"),
        ("Hash", ""),
        ("State", "state"),
        ("#In force for", ""),
        ("#Calls/s", "calls"),
        ("#Mean, µs", "mean"),
        ("#Failures", "failures"),
        ("Last failure", ""),
        ("File last read", ""),
        ("Used", ""),
        ("Actions", ""),
    ];
    Page {
        title: "Filters and policies".to_owned(),
        here: "/filters",
        table: Some(Table::new("Modules", "name, kind:filter, used:services", query, &columns)),
        rows: view.modules.rows.iter().map(|row| Piece::new(row.id(), &ModuleLine { row })).collect(),
        after: vec![more(&view.modules, query)],
        ..Page::default()
    }
}

pub(super) fn events(view: &Events, query: &Query) -> Page {
    let columns = [("When", "at"), ("Kind", "kind"), ("About", "about"), ("What", "")];
    Page {
        title: "Events".to_owned(),
        here: "/events",
        table: Some(Table::new("Events", "kind:health, level:bad, about:greeter", query, &columns)),
        rows: view.events.rows.iter().map(|row| Piece::new(row.id(), &EventLine { row })).collect(),
        after: vec![more(&view.events, query)],
        ..Page::default()
    }
}

pub(super) fn config(text: &str) -> Page {
    let before = vec![Piece::new("config", &ConfigText { text })];
    Page { title: "Configuration".to_owned(), here: "/config", before, ..Page::default() }
}

pub(super) fn routes(view: &Routes, query: &Query) -> Page {
    let before = vec![
        Piece::new("form", &RoutesForm { query }),
        Piece::new("answer", &RoutesAnswer { view }),
        Piece::new("routes", &RoutesList { view }),
    ];
    Page { title: "Routes".to_owned(), here: "/routes", before, ..Page::default() }
}
