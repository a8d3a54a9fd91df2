//! A key taken apart: which service it is under, and which instance it is there.

use crate::registry::Address;

/// What the parts of a key below the prefix mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Layout {
    /// `<service>/<instance>`, or `<service>` where there is one part and it does not plainly name an instance.
    #[default]
    Auto,
    /// Always `<service>/<instance>`; a single part is an instance whose service the key does not name.
    Instance,
    /// Always `<service>`, which may contain slashes.
    Service,
}

impl Layout {
    /// Every layout with its name.
    pub const ALL: &[(&str, Layout)] =
        &[("auto", Layout::Auto), ("instance", Layout::Instance), ("service", Layout::Service)];
}

/// Where a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place<'a> {
    /// The service; `None` if the key does not name it.
    pub(super) service: Option<&'a str>,
    /// The instance, or the service again where the key names nothing else.
    pub(super) id: &'a str,
    /// The service was taken from a key of one part, so a value that knows better may say so.
    pub(super) guessed: bool,
}

impl<'a> Place<'a> {
    /// Takes `key` apart. Slashes at either end of what follows the prefix say nothing.
    pub(super) fn of(
        key: &'a str,
        prefix: &str,
        service: Option<&'a str>,
        layout: Layout,
        lease: i64,
    ) -> Result<Self, String> {
        let below = key
            .strip_prefix(prefix)
            .filter(|below| prefix.is_empty() || prefix.ends_with('/') || below.starts_with('/'))
            .ok_or("its key is not below the prefix")?
            .trim_matches('/');
        if below.is_empty() {
            return Err("its key names neither a service nor an instance".into());
        }
        let place = |service, id, guessed| Place { service, id, guessed };
        Ok(match (service, layout, below.rsplit_once('/')) {
            (Some(service), _, _) => place(Some(service), below, false),
            (None, Layout::Service, _) => place(Some(below), below, false),
            (None, _, Some((service, id))) => place(Some(service.trim_end_matches('/')), id, false),
            (None, Layout::Auto, None) if !names_an_instance(below, lease) => place(Some(below), below, true),
            (None, _, None) => place(None, below, false),
        })
    }
}

/// Whether no service would be called that.
fn names_an_instance(part: &str, lease: i64) -> bool {
    part.parse::<Address>().is_ok() || (lease != 0 && (part == lease.to_string() || part == format!("{lease:x}")))
}
