//go:build wasip1

package wasip1

import (
	"unsafe"

	"github.com/tetratelabs/proxy-wasm-go-sdk/proxywasm/internal"
	"github.com/tetratelabs/proxy-wasm-go-sdk/proxywasm/types"
)

// The last blocks that were handed out. Between the host's writing and the SDK's taking nothing else points to a block, and
// the collector must not have it.
var (
	blocks [16][]byte
	next   int
)

//go:wasmexport proxy_on_memory_allocate
func allocate(size uint32) unsafe.Pointer {
	block := make([]byte, max(size, 1))
	blocks[next%len(blocks)] = block
	next++
	return unsafe.Pointer(&block[0])
}

//go:wasmexport proxy_abi_version_0_2_0
func abiVersion() {}

//go:wasmexport proxy_on_context_create
func onContextCreate(context, root uint32) { internal.ProxyOnContextCreate(context, root) }

//go:wasmexport proxy_on_vm_start
func onVMStart(root, size uint32) bool { return bool(internal.ProxyOnVMStart(root, int(size))) }

//go:wasmexport proxy_on_configure
func onConfigure(root, size uint32) bool { return bool(internal.ProxyOnConfigure(root, int(size))) }

//go:wasmexport proxy_on_tick
func onTick(root uint32) { internal.ProxyOnTick(root) }

//go:wasmexport proxy_on_queue_ready
func onQueueReady(root, queue uint32) { internal.ProxyOnQueueReady(root, queue) }

//go:wasmexport proxy_on_done
func onDone(context uint32) bool { return internal.ProxyOnDone(context) }

//go:wasmexport proxy_on_log
func onLog(context uint32) { internal.ProxyOnLog(context) }

//go:wasmexport proxy_on_delete
func onDelete(context uint32) { internal.ProxyOnDelete(context) }

//go:wasmexport proxy_on_request_headers
func onRequestHeaders(context, number uint32, end bool) uint32 {
	return uint32(internal.ProxyOnRequestHeaders(context, int(number), end))
}

//go:wasmexport proxy_on_request_body
func onRequestBody(context, size uint32, end bool) uint32 {
	return uint32(internal.ProxyOnRequestBody(context, int(size), end))
}

//go:wasmexport proxy_on_request_trailers
func onRequestTrailers(context, number uint32) uint32 {
	return uint32(internal.ProxyOnRequestTrailers(context, int(number)))
}

//go:wasmexport proxy_on_response_headers
func onResponseHeaders(context, number uint32, end bool) uint32 {
	return uint32(internal.ProxyOnResponseHeaders(context, int(number), end))
}

//go:wasmexport proxy_on_response_body
func onResponseBody(context, size uint32, end bool) uint32 {
	return uint32(internal.ProxyOnResponseBody(context, int(size), end))
}

//go:wasmexport proxy_on_response_trailers
func onResponseTrailers(context, number uint32) uint32 {
	return uint32(internal.ProxyOnResponseTrailers(context, int(number)))
}

//go:wasmexport proxy_on_http_call_response
func onHTTPCallResponse(root, call, headers, size, trailers uint32) {
	internal.ProxyOnHttpCallResponse(root, call, int(headers), int(size), int(trailers))
}

//go:wasmexport proxy_on_new_connection
func onNewConnection(context uint32) uint32 { return uint32(internal.ProxyOnNewConnection(context)) }

//go:wasmexport proxy_on_downstream_data
func onDownstreamData(context, size uint32, end bool) uint32 {
	return uint32(internal.ProxyOnDownstreamData(context, int(size), end))
}

//go:wasmexport proxy_on_downstream_connection_close
func onDownstreamClose(context, peer uint32) {
	internal.ProxyOnDownstreamConnectionClose(context, types.PeerType(peer))
}

//go:wasmexport proxy_on_upstream_data
func onUpstreamData(context, size uint32, end bool) uint32 {
	return uint32(internal.ProxyOnUpstreamData(context, int(size), end))
}

//go:wasmexport proxy_on_upstream_connection_close
func onUpstreamClose(context, peer uint32) {
	internal.ProxyOnUpstreamConnectionClose(context, types.PeerType(peer))
}
