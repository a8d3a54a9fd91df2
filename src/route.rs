//! Stub.
use crate::registry::Instance;
use std::time::Duration;
#[derive(Debug, Clone, PartialEq)]
pub struct Subset;
impl Subset {
    pub fn contains(&self, _: &Instance) -> bool {
        true
    }
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    Any,
    None,
}
#[derive(Debug, Clone, Copy)]
pub struct SubsetChoice<'a> {
    pub id: usize,
    pub subset: &'a Subset,
    pub fallback: Fallback,
}
pub enum NoRoute {
    NoAuthority,
    BadAuthority,
}
pub struct Matched<'a> {
    pub service: &'a str,
    pub subset: Option<usize>,
    pub timeout: Option<Duration>,
}
#[derive(Debug)]
pub struct Router;
impl Router {
    pub fn subset(&self, id: usize) -> SubsetChoice<'_> {
        SubsetChoice { id, subset: &Subset, fallback: Fallback::Any }
    }
    pub fn route<'a>(
        &'a self,
        authority: Option<&'a str>,
        _: &str,
        _: &http::HeaderMap,
    ) -> Result<Matched<'a>, NoRoute> {
        Ok(Matched {
            service: authority.ok_or(NoRoute::NoAuthority)?.split(':').next().unwrap_or(""),
            subset: None,
            timeout: None,
        })
    }
}
