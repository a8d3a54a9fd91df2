//! A mapping of the configuration being read.

use std::marker::PhantomData;

/// A mapping of the configuration being read.
pub struct Section<'a>(PhantomData<&'a ()>);
