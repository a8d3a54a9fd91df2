//! What a policy may ask the proxy beyond proxy-wasm. In native tests `testing` answers.

#[cfg(target_family = "wasm")]
#[expect(unsafe_code, reason = "what the proxy provides is known to the compiler by its declaration only")]
mod imports {
    #[link(wasm_import_module = "waypost")]
    unsafe extern "C" {
        pub(super) safe fn in_flight(index: u32) -> i32;
        pub(super) safe fn is_tried(index: u32) -> i32;
        pub(super) fn set_reason(index: u32, text: *const u8, size: usize);
    }
}

#[cfg(target_family = "wasm")]
pub(crate) fn in_flight(index: usize) -> u32 {
    u32::try_from(imports::in_flight(index as u32)).unwrap_or(0)
}

#[cfg(target_family = "wasm")]
pub(crate) fn is_tried(index: usize) -> bool {
    imports::is_tried(index as u32) != 0
}

#[cfg(target_family = "wasm")]
#[expect(unsafe_code, reason = "a text is passed as pointer and size")]
pub(crate) fn set_reason(index: usize, text: &str) {
    // SAFETY: pointer and size are those of a text that lives until the proxy has read it.
    unsafe { imports::set_reason(index as u32, text.as_ptr(), text.len()) };
}

#[cfg(not(target_family = "wasm"))]
pub(crate) use crate::testing::{in_flight, is_tried, set_reason};
