//! The macro that makes a module of policies.

/// Makes the module: names the policies in it and the kinds of each.
///
/// ```
/// use waypost_policy::{Call, Endpoint, Outcome, Pick, Policy, Results, Snapshot, Weights};
///
/// struct Mine;
/// impl Policy for Mine {
///     fn configure(_: &[u8]) -> Result<Self, String> {
///         Ok(Self)
///     }
/// }
/// impl Pick for Mine {
///     fn pick(&mut self, _: &[Endpoint], _: &Call) -> Option<usize> {
///         None
///     }
/// }
/// impl Results for Mine {
///     fn result(&mut self, _: &[Endpoint], _: usize, _: &Outcome) {}
/// }
///
/// struct Other;
/// impl Policy for Other {
///     fn configure(_: &[u8]) -> Result<Self, String> {
///         Ok(Self)
///     }
/// }
/// impl Weights for Other {
///     fn weights(&mut self, _: &[Endpoint], _: &Snapshot) -> Option<Vec<u32>> {
///         None
///     }
/// }
///
/// waypost_policy::policy!(Mine: Pick + Results, Other: Weights);
/// # fn main() {}
/// ```
///
/// The kinds are [`Pick`](crate::Pick), [`Results`](crate::Results), [`Weights`](crate::Weights),
/// [`Health`](crate::Health) and [`Filter`](crate::Filter); each can be there once in a module. All policies of a module
/// are given the same configuration, and each must accept it. A module has one `policy!`, at the top of its crate, and
/// no `proxy_wasm::main!`. A type that lacks the trait of a kind does not compile:
///
/// ```compile_fail,E0277
/// # use waypost_policy::Policy;
/// struct Mine;
/// impl Policy for Mine {
///     fn configure(_: &[u8]) -> Result<Self, String> {
///         Ok(Self)
///     }
/// }
/// waypost_policy::policy!(Mine: Pick);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! policy {
    ($($policy:ident: $first:ident $(+ $more:ident)*),+ $(,)?) => {
        const _: () = {
            use $crate::export;

            $(impl export::Held for $policy {
                fn held() -> &'static ::std::thread::LocalKey<::std::cell::RefCell<::std::option::Option<Self>>> {
                    ::std::thread_local! {
                        static HELD: ::std::cell::RefCell<::std::option::Option<$policy>> =
                            const { ::std::cell::RefCell::new(::std::option::Option::None) };
                    }
                    &HELD
                }
            })+

            const HOOKS: &[export::Hooks] = &[$(export::Hooks::of::<$policy>()),+];
            const EXCHANGES: &[::std::option::Option<export::Exchange>] = &[
                $($crate::__exchange!($first $policy), $($crate::__exchange!($more $policy),)*)+
            ];

            #[unsafe(no_mangle)]
            extern "C" fn waypost_policy_abi_1() {}

            #[unsafe(no_mangle)]
            unsafe extern "C" fn waypost_endpoints(_context: u32, data: *mut u8, size: usize) {
                // SAFETY: the interface demands of the proxy what the function demands.
                unsafe { export::endpoints(data, size, HOOKS) }
            }

            $(
                $crate::__export!($first $policy);
                $($crate::__export!($more $policy);)*
            )+

            $crate::proxy_wasm::main! {{
                export::Root::start(|_| ::std::boxed::Box::new(export::Root {
                    hooks: HOOKS,
                    exchange: EXCHANGES.iter().copied().flatten().next(),
                }));
            }}
        };
    };
}

/// What a kind exports.
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    (Pick $policy:ident) => {
        #[unsafe(no_mangle)]
        extern "C" fn waypost_pick(_context: u32, hash: u64, random: u64, attempt: u32) -> i32 {
            $crate::export::pick::<$policy>(hash, random, attempt)
        }
    };
    (Results $policy:ident) => {
        #[unsafe(no_mangle)]
        extern "C" fn waypost_result(_context: u32, index: u32, status: i32, micros: u64) {
            $crate::export::result::<$policy>(index, status, micros);
        }
    };
    (Weights $policy:ident) => {
        #[unsafe(no_mangle)]
        unsafe extern "C" fn waypost_weights(_context: u32, data: *mut u8, size: usize) -> *const u32 {
            // SAFETY: the interface demands of the proxy what the function demands.
            unsafe { $crate::export::weights::<$policy>(data, size) }
        }
    };
    (Health $policy:ident) => {
        #[unsafe(no_mangle)]
        unsafe extern "C" fn waypost_health(_context: u32, data: *mut u8, size: usize) -> *const u32 {
            // SAFETY: the interface demands of the proxy what the function demands.
            unsafe { $crate::export::health::<$policy>(data, size) }
        }
    };
    (Filter $policy:ident) => {};
    ($other:ident $policy:ident) => {
        ::std::compile_error!("a policy is of the kinds Pick, Results, Weights, Health and Filter");
    };
}

/// How a kind takes part in exchanges, if it does.
#[doc(hidden)]
#[macro_export]
macro_rules! __exchange {
    (Filter $policy:ident) => {
        ::std::option::Option::Some($crate::export::exchange::<$policy>)
    };
    ($other:ident $policy:ident) => {
        ::std::option::Option::None
    };
}
