//! Reading the configuration: layers, positions, and every error at once. What a key means belongs to the module that
//! uses it: each has a `read` that takes its [`Section`].

mod section;

pub use section::Section;
