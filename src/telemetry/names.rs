//! The names of all metrics, in one place, so that nobody gives a second name to a thing.
//!
//! All are times in seconds or plain counts. Counters appear with `_total` behind the name that stands here. Labels
//! are given with each name; a label's value comes from configuration, from etcd, or from a closed list, never from a
//! caller, who could otherwise make series without end.

/// The value of `service` for calls to services that etcd does not know. All of them share it. No registered service
/// can have this name, because it is not a host.
pub const UNKNOWN_SERVICE: &str = "(unknown)";

/// Calls to etcd, counter. Labels: `operation` (`range`, `watch`, `lease_grant`, ..), `status` (a gRPC status, as `OK`).
pub const ETCD_OPERATIONS: &str = "etcd_operations";
/// How long calls to etcd took, histogram. Label: `operation`.
pub const ETCD_OPERATION_DURATION: &str = "etcd_operation_duration_seconds";

/// The etcd revision that the table stands at, gauge. Labels: `client`, `prefix`.
pub const TABLE_REVISION: &str = "waypost_table_revision";
/// The time since etcd last said anything of this prefix, gauge. Labels: `client`, `prefix`.
pub const TABLE_AGE: &str = "waypost_table_age_seconds";
/// Complete lists read after the first, counter. Labels: `client`, `prefix`, `reason`.
pub const TABLE_RELISTS: &str = "waypost_table_relists";
/// Watches that ended and were started again, counter. Labels: `client`, `prefix`.
pub const TABLE_WATCH_RESTARTS: &str = "waypost_table_watch_restarts";
/// Instances in the table, gauge. Labels: `client`, `prefix`.
pub const TABLE_INSTANCES: &str = "waypost_table_instances";
/// Keys whose value can't be read, gauge. Labels: `client`, `prefix`.
pub const TABLE_UNREADABLE: &str = "waypost_table_unreadable";
/// Instances that are kept although their keys vanished together with most others, gauge. Labels: `client`, `prefix`.
pub const TABLE_DOUBTED: &str = "waypost_table_doubted";
/// Services whose endpoints were replaced, counter.
pub const TABLE_SLOT_CHANGES: &str = "waypost_table_slot_changes";

/// Finished exchanges, counter. Labels: `service`, `outcome` (`answered`, or why Waypost answered itself).
pub const EXCHANGES: &str = "waypost_exchanges";
/// From the request's head to the response's end, histogram. Label: `service`.
pub const EXCHANGE_DURATION: &str = "waypost_exchange_duration_seconds";
/// Answers of endpoints, counter. Labels: `service`, `endpoint`, `protocol` (`grpc`, `http`), `status` (`OK`, `5xx`).
pub const ENDPOINT_RESPONSES: &str = "waypost_endpoint_responses";
/// Exchanges under way at an endpoint, gauge. Labels: `service`, `endpoint`.
pub const ENDPOINT_IN_FLIGHT: &str = "waypost_endpoint_in_flight";
/// 1 for each endpoint that could not be connected to and is tried again, gauge. Labels: `service`, `endpoint`.
pub const ENDPOINT_UNREACHABLE: &str = "waypost_endpoint_unreachable";
/// 1 for each endpoint that is not healthy, gauge. Labels: `service`, `endpoint`, `state` (`unhealthy`, `ejected`,
/// `draining`).
pub const ENDPOINT_UNHEALTHY: &str = "waypost_endpoint_unhealthy";
/// 1 for each service with so few healthy endpoints that all are used, gauge. Label: `service`.
pub const SERVICE_PANIC: &str = "waypost_service_panic";
/// Endpoints that went into a state, counter. Labels: `service`, `state`.
pub const HEALTH_TRANSITIONS: &str = "waypost_health_transitions";
/// Probes, counter. Label: `result` (`good`, `bad`, or `nothing` if the endpoint was just ending its connections).
pub const PROBES: &str = "waypost_probes";
/// Probes that are due and wait because as many as may be are under way, gauge. Label: `limit` (`service`, `all`).
pub const PROBES_OVERDUE: &str = "waypost_probes_overdue";
/// Tries after the first, counter. Label: `service`.
pub const RETRIES: &str = "waypost_retries";
/// Pickers brought up to date because their service changed, counter, counted per worker. Label: `service`.
pub const PICKER_REBUILDS: &str = "waypost_picker_rebuilds";
/// Endpoints that a filter asked for and that were not there, counter. Label: `service`.
pub const ENDPOINT_OVERRIDES_MISSED: &str = "waypost_endpoint_overrides_missed";
/// Open connections from clients, gauge. Label: `worker`.
pub const CLIENT_CONNECTIONS: &str = "waypost_client_connections";

/// Modules in force, gauge: 0 for one that was set aside, or of which no instance is up. Labels: `module`, `hash`.
pub const MODULE_UP: &str = "waypost_module_up";
/// Instances of modules that can be called, gauge. Labels: `module`, `hash`.
pub const MODULE_INSTANCES: &str = "waypost_module_instances";
/// Calls into modules, counter. Label: `module`.
pub const MODULE_CALLS: &str = "waypost_module_calls";
/// Those of them that were timed, one in 61, counter. Label: `module`.
pub const MODULE_TIMED_CALLS: &str = "waypost_module_timed_calls";
/// What the timed ones took, counter. Label: `module`.
pub const MODULE_TIMED_SECONDS: &str = "waypost_module_timed_seconds";
/// What went wrong in modules, counter. Labels: `module`, `reason` (`trap`, `time`, `exit`, `answer`, `allocator`, ...).
pub const MODULE_FAILURES: &str = "waypost_module_failures";
/// Module files that were loaded, or refused with the old one staying in force, counter. Labels: `module`, `result`.
pub const MODULE_LOADS: &str = "waypost_module_loads";

/// Times the configuration was read again, by `result`: `applied` or `rejected`.
pub const CONFIG_RELOADS: &str = "waypost_config_reloads";
