//go:build wasip1

package wasip1

import "unsafe"

// at is where bytes lie; the compiler passes it as 32 bits. What is returned goes into 32 bits as well, where the SDK has a
// Go pointer and an int of 64.
type at = unsafe.Pointer

//go:wasmimport env proxy_log
func log(level uint32, data at, size uint32) uint32

//go:wasmimport env proxy_get_property
func getProperty(path at, size uint32, value, length *uint32) uint32

//go:wasmimport env proxy_set_property
func setProperty(path at, size uint32, value at, length uint32) uint32

//go:wasmimport env proxy_send_local_response
func sendLocalResponse(code uint32, details at, detailsSize uint32, body at, bodySize uint32, headers at, headersSize uint32, grpc int32) uint32

//go:wasmimport env proxy_get_shared_data
func getSharedData(key at, size uint32, value, length, cas *uint32) uint32

//go:wasmimport env proxy_set_shared_data
func setSharedData(key at, size uint32, value at, length, cas uint32) uint32

//go:wasmimport env proxy_register_shared_queue
func registerSharedQueue(name at, size uint32, id *uint32) uint32

//go:wasmimport env proxy_resolve_shared_queue
func resolveSharedQueue(vm at, vmSize uint32, name at, size uint32, id *uint32) uint32

//go:wasmimport env proxy_dequeue_shared_queue
func dequeueSharedQueue(id uint32, value, length *uint32) uint32

//go:wasmimport env proxy_enqueue_shared_queue
func enqueueSharedQueue(id uint32, value at, length uint32) uint32

//go:wasmimport env proxy_get_header_map_value
func getHeaderMapValue(kind uint32, key at, size uint32, value, length *uint32) uint32

//go:wasmimport env proxy_add_header_map_value
func addHeaderMapValue(kind uint32, key at, size uint32, value at, length uint32) uint32

//go:wasmimport env proxy_replace_header_map_value
func replaceHeaderMapValue(kind uint32, key at, size uint32, value at, length uint32) uint32

//go:wasmimport env proxy_remove_header_map_value
func removeHeaderMapValue(kind uint32, key at, size uint32) uint32

//go:wasmimport env proxy_get_header_map_pairs
func getHeaderMapPairs(kind uint32, value, length *uint32) uint32

//go:wasmimport env proxy_set_header_map_pairs
func setHeaderMapPairs(kind uint32, data at, size uint32) uint32

//go:wasmimport env proxy_get_buffer_bytes
func getBufferBytes(kind, start, most uint32, value, length *uint32) uint32

//go:wasmimport env proxy_set_buffer_bytes
func setBufferBytes(kind, start, most uint32, data at, size uint32) uint32

//go:wasmimport env proxy_continue_stream
func continueStream(kind uint32) uint32

//go:wasmimport env proxy_close_stream
func closeStream(kind uint32) uint32

//go:wasmimport env proxy_http_call
func httpCall(upstream at, size uint32, headers at, headersSize uint32, body at, bodySize uint32, trailers at, trailersSize, timeout uint32, id *uint32) uint32

//go:wasmimport env proxy_call_foreign_function
func callForeignFunction(name at, size uint32, argument at, argumentSize uint32, value, length *uint32) uint32

//go:wasmimport env proxy_set_tick_period_milliseconds
func setTickPeriod(millis uint32) uint32

//go:wasmimport env proxy_set_effective_context
func setEffectiveContext(id uint32) uint32

//go:wasmimport env proxy_done
func done() uint32

//go:wasmimport env proxy_define_metric
func defineMetric(kind uint32, name at, size uint32, id *uint32) uint32

//go:wasmimport env proxy_increment_metric
func incrementMetric(id uint32, offset int64) uint32

//go:wasmimport env proxy_record_metric
func recordMetric(id uint32, value uint64) uint32

//go:wasmimport env proxy_get_metric
func getMetric(id uint32, value *uint64) uint32
