//! A module on the way of requests, as the configuration names it. What it is, others know.

use crate::config::Section;

/// A filter of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Filter {
    /// The module's name: that of its file, without `.wasm`.
    pub module: String,
    /// Its configuration, which means something to the module alone.
    pub config: String,
    /// What becomes of exchanges while the module does not work.
    pub on_error: OnError,
}

/// What becomes of an exchange whose filter fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnError {
    /// It is refused: a filter may be there to keep something out.
    #[default]
    Deny,
    /// It goes on without the filter.
    Skip,
}

impl Filter {
    /// Reads the list `key` of a section.
    pub fn read_list(section: &mut Section<'_>, key: &str) -> Vec<Filter> {
        section.list(key, |section| {
            let module = section.string("module", "");
            if module.is_empty() {
                section.error("module", "a filter needs the name of its module: that of its file, without `.wasm`");
            }
            let choices = [("deny", OnError::Deny), ("skip", OnError::Skip)];
            let on_error = section.choice("on_error", &choices, OnError::Deny);
            Filter { module, config: section.document("config"), on_error }
        })
    }
}
