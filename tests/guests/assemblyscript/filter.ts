// A filter on the published AssemblyScript SDK that does one thing at a time, told by its configuration: `MODE ARGUMENT…`, on
// one line. What each mode does stands in ../README.md.
export * from "@gcoredev/proxy-wasm-sdk-as/assembly/proxy";
import {
  BaseContext,
  BufferTypeValues,
  Context,
  continue_request,
  Counter,
  FilterDataStatusValues,
  FilterHeadersStatusValues,
  get_buffer_bytes,
  get_property,
  get_shared_data,
  log,
  LogLevelValues,
  makeHeaderPair,
  registerRootContext,
  RootContext,
  send_http_response,
  set_buffer_bytes,
  set_shared_data,
  set_tick_period_milliseconds,
  stream_context,
  WasmResultValues,
} from "@gcoredev/proxy-wasm-sdk-as/assembly";
import { clear_route_cache, get_buffer_status, get_header_map_size, HeaderMapTypeValues } from "@gcoredev/proxy-wasm-sdk-as/assembly/runtime";

const MODES = ["headers", "body", "local", "route", "http-call", "shared-data", "property", "metrics", "tick", "abort"];

function text(bytes: ArrayBuffer): string {
  return String.UTF8.decode(bytes);
}

class Root extends RootContext {
  words: string[] = [];
  ticks: u32 = 0;
  requests: u64 = 0;
  counter: Counter | null = null;

  constructor(context_id: u32) {
    super(context_id);
  }

  mode(): string {
    return this.words[0];
  }

  argument(at: i32): string {
    return at + 1 < this.words.length ? this.words[at + 1] : "";
  }

  onConfigure(size: u32): bool {
    super.onConfigure(size);
    this.words = this.getConfiguration().trim().split(" ");
    if (!MODES.includes(this.mode())) {
      log(LogLevelValues.error, "guest as: no mode is called " + this.mode());
      return false;
    }
    if (this.mode() == "metrics") this.counter = new Counter("guest_as_requests");
    if (this.mode() == "tick") set_tick_period_milliseconds(u32.parse(this.argument(0)));
    return true;
  }

  onTick(): void {
    this.ticks++;
    log(LogLevelValues.info, "guest as tick " + this.ticks.toString());
  }

  createContext(context_id: u32): Context {
    return new Filter(context_id, this);
  }
}

class Filter extends Context {
  told: string = "";

  constructor(context_id: u32, root: Root) {
    super(context_id, root);
  }

  root(): Root {
    return this.root_context as Root;
  }

  onRequestHeaders(number: u32, end: bool): FilterHeadersStatusValues {
    const root = this.root();
    const headers = stream_context.headers.request;
    const mode = root.mode();
    if (mode == "headers") {
      const size = get_header_map_size(HeaderMapTypeValues.RequestHeaders);
      headers.add("x-guest-as-pairs", [number, headers.get_headers().length, <u32>size].join(","));
      headers.add("x-guest-as-got", headers.get("x-guest-in"));
      headers.replace("x-guest-replace", "as");
      headers.remove("x-guest-remove");
      this.told = "headers";
    } else if (mode == "body") {
      headers.remove("content-length");
    } else if (mode == "local") {
      const body = String.UTF8.encode(root.words.slice(2).join(" "));
      send_http_response(u32.parse(root.argument(0)), "guest", body, [makeHeaderPair("x-guest-as", "local")]);
      return FilterHeadersStatusValues.StopIteration;
    } else if (mode == "route") {
      headers.replace(root.argument(0), root.argument(1));
      // The call of ABI 0.1.0, not the foreign function.
      this.told = clear_route_cache().toString();
    } else if (mode == "http-call") {
      const call = [
        makeHeaderPair(":method", "GET"),
        makeHeaderPair(":path", root.argument(1)),
        makeHeaderPair(":authority", root.argument(0)),
      ];
      const result = root.httpCall(root.argument(0), call, new ArrayBuffer(0), [], 1000, this, answered);
      if (result != WasmResultValues.Ok) {
        send_http_response(500, "guest", new ArrayBuffer(0), [makeHeaderPair("x-guest-as", result.toString())]);
      }
      return FilterHeadersStatusValues.StopIteration;
    } else if (mode == "shared-data") {
      this.told = count(root.argument(0));
    } else if (mode == "property") {
      // The SDK hands on the path as it is, so its parts are joined here as the ABI has it.
      const value = get_property(root.argument(0).replaceAll(".", "\0"));
      this.told = value.byteLength == 0 ? "(none)" : text(value);
    } else if (mode == "metrics") {
      const counter = root.counter;
      if (counter != null) counter.increment(1);
    } else if (mode == "tick") {
      this.told = root.ticks.toString();
    } else if (mode == "abort") {
      throw new Error("guest as aborts");
    }
    return FilterHeadersStatusValues.Continue;
  }

  onRequestBody(size: usize, end: bool): FilterDataStatusValues {
    if (this.root().mode() != "body") return FilterDataStatusValues.Continue;
    if (!end) return FilterDataStatusValues.StopIterationAndBuffer;
    const length = get_buffer_status(BufferTypeValues.HttpRequestBody).length;
    this.told = size.toString() + "," + length.toString();
    const body = text(get_buffer_bytes(BufferTypeValues.HttpRequestBody, 0, <u32>size));
    set_buffer_bytes(BufferTypeValues.HttpRequestBody, 0, <u32>size, String.UTF8.encode("{" + body + "}"));
    return FilterDataStatusValues.Continue;
  }

  onResponseHeaders(number: u32, end: bool): FilterHeadersStatusValues {
    const headers = stream_context.headers.response;
    if (this.root().mode() == "body") headers.remove("content-length");
    if (this.told != "") headers.add("x-guest-as", this.told);
    return FilterHeadersStatusValues.Continue;
  }

  onResponseBody(size: usize, end: bool): FilterDataStatusValues {
    if (this.root().mode() != "body") return FilterDataStatusValues.Continue;
    if (!end) return FilterDataStatusValues.StopIterationAndBuffer;
    const body = text(get_buffer_bytes(BufferTypeValues.HttpResponseBody, 0, <u32>size));
    set_buffer_bytes(BufferTypeValues.HttpResponseBody, 0, <u32>size, String.UTF8.encode("{" + body + "}"));
    return FilterDataStatusValues.Continue;
  }
}

// Lets the request go on after a 200, and refuses it after all else.
function answered(origin: BaseContext, headers: u32, size: usize, trailers: u32): void {
  const status = headers == 0 ? "failed" : stream_context.headers.http_callback.get(":status");
  const body = text(get_buffer_bytes(BufferTypeValues.HttpCallResponseBody, 0, <u32>size));
  if (status != "200") {
    send_http_response(403, "guest", new ArrayBuffer(0), [makeHeaderPair("x-guest-as", status)]);
    return;
  }
  stream_context.headers.request.add("x-guest-as-call", status + "," + body);
  continue_request();
}

// Adds one to the number under a key, however many instances do so.
function count(key: string): string {
  while (true) {
    const found = get_shared_data(key);
    const bytes = found.value;
    const next = (bytes == null ? 1 : u64.parse(text(bytes)) + 1).toString();
    const result = set_shared_data(key, String.UTF8.encode(next), found.cas);
    if (result == WasmResultValues.Ok) return next;
    if (result != WasmResultValues.CasMismatch) return "status " + result.toString();
  }
}

registerRootContext((context_id: u32) => new Root(context_id), "guest");
