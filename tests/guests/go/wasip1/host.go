//go:build wasip1

// Package wasip1 joins the published Go SDK, which is made for TinyGo, to Go's own wasip1 target. The SDK stays as it is: for
// other compilers it hands its host calls to whatever its tests register, and that is here the real host. Go lets only
// packages below the SDK's own path do so, hence this module's name.
package wasip1

import "github.com/tetratelabs/proxy-wasm-go-sdk/proxywasm/internal"

func init() { internal.RegisterMockWasmHost(host{}) }

type host struct{}

// The SDK's names, shortened.
type (
	status = internal.Status
	buffer = internal.BufferType
	header = internal.MapType
	stream = internal.StreamType
)

// output is what a call of the host returns beside its status: where it has put bytes, and how many.
type output struct{ value, size uint32 }

func (o *output) give(code uint32, data **byte, size *int) status {
	if code == 0 {
		*data, *size = (*byte)(at(uintptr(o.value))), int(o.size)
	}
	return status(code)
}

func (host) ProxyLog(level internal.LogLevel, data *byte, size int) status {
	return status(log(uint32(level), at(data), uint32(size)))
}

func (host) ProxyGetProperty(path *byte, size int, value **byte, length *int) status {
	var out output
	return out.give(getProperty(at(path), uint32(size), &out.value, &out.size), value, length)
}

func (host) ProxySetProperty(path *byte, size int, value *byte, length int) status {
	return status(setProperty(at(path), uint32(size), at(value), uint32(length)))
}

func (host) ProxySendLocalResponse(code uint32, details *byte, detailsSize int, body *byte, bodySize int, headers *byte, headersSize int, grpc int32) status {
	return status(sendLocalResponse(code, at(details), uint32(detailsSize), at(body), uint32(bodySize), at(headers), uint32(headersSize), grpc))
}

func (host) ProxyGetSharedData(key *byte, size int, value **byte, length *int, cas *uint32) status {
	var out output
	return out.give(getSharedData(at(key), uint32(size), &out.value, &out.size, cas), value, length)
}

func (host) ProxySetSharedData(key *byte, size int, value *byte, length int, cas uint32) status {
	return status(setSharedData(at(key), uint32(size), at(value), uint32(length), cas))
}

func (host) ProxyRegisterSharedQueue(name *byte, size int, id *uint32) status {
	return status(registerSharedQueue(at(name), uint32(size), id))
}

func (host) ProxyResolveSharedQueue(vm *byte, vmSize int, name *byte, size int, id *uint32) status {
	return status(resolveSharedQueue(at(vm), uint32(vmSize), at(name), uint32(size), id))
}

func (host) ProxyDequeueSharedQueue(id uint32, value **byte, length *int) status {
	var out output
	return out.give(dequeueSharedQueue(id, &out.value, &out.size), value, length)
}

func (host) ProxyEnqueueSharedQueue(id uint32, value *byte, length int) status {
	return status(enqueueSharedQueue(id, at(value), uint32(length)))
}

func (host) ProxyGetHeaderMapValue(kind header, key *byte, size int, value **byte, length *int) status {
	var out output
	return out.give(getHeaderMapValue(uint32(kind), at(key), uint32(size), &out.value, &out.size), value, length)
}

func (host) ProxyAddHeaderMapValue(kind header, key *byte, size int, value *byte, length int) status {
	return status(addHeaderMapValue(uint32(kind), at(key), uint32(size), at(value), uint32(length)))
}

func (host) ProxyReplaceHeaderMapValue(kind header, key *byte, size int, value *byte, length int) status {
	return status(replaceHeaderMapValue(uint32(kind), at(key), uint32(size), at(value), uint32(length)))
}

func (host) ProxyRemoveHeaderMapValue(kind header, key *byte, size int) status {
	return status(removeHeaderMapValue(uint32(kind), at(key), uint32(size)))
}

func (host) ProxyGetHeaderMapPairs(kind header, value **byte, length *int) status {
	var out output
	return out.give(getHeaderMapPairs(uint32(kind), &out.value, &out.size), value, length)
}

func (host) ProxySetHeaderMapPairs(kind header, data *byte, size int) status {
	return status(setHeaderMapPairs(uint32(kind), at(data), uint32(size)))
}

func (host) ProxyGetBufferBytes(kind buffer, start int, most int, value **byte, length *int) status {
	var out output
	return out.give(getBufferBytes(uint32(kind), uint32(start), uint32(most), &out.value, &out.size), value, length)
}

func (host) ProxySetBufferBytes(kind buffer, start int, most int, data *byte, size int) status {
	return status(setBufferBytes(uint32(kind), uint32(start), uint32(most), at(data), uint32(size)))
}

func (host) ProxyContinueStream(kind stream) status { return status(continueStream(uint32(kind))) }

func (host) ProxyCloseStream(kind stream) status { return status(closeStream(uint32(kind))) }

func (host) ProxyHttpCall(upstream *byte, size int, headers *byte, headersSize int, body *byte, bodySize int, trailers *byte, trailersSize int, timeout uint32, id *uint32) status {
	return status(httpCall(at(upstream), uint32(size), at(headers), uint32(headersSize), at(body), uint32(bodySize), at(trailers), uint32(trailersSize), timeout, id))
}

func (host) ProxyCallForeignFunction(name *byte, size int, argument *byte, argumentSize int, value **byte, length *int) status {
	var out output
	return out.give(callForeignFunction(at(name), uint32(size), at(argument), uint32(argumentSize), &out.value, &out.size), value, length)
}

func (host) ProxySetTickPeriodMilliseconds(millis uint32) status {
	return status(setTickPeriod(millis))
}

func (host) ProxySetEffectiveContext(id uint32) status { return status(setEffectiveContext(id)) }

func (host) ProxyDone() status { return status(done()) }

func (host) ProxyDefineMetric(kind internal.MetricType, name *byte, size int, id *uint32) status {
	return status(defineMetric(uint32(kind), at(name), uint32(size), id))
}

func (host) ProxyIncrementMetric(id uint32, offset int64) status {
	return status(incrementMetric(id, offset))
}

func (host) ProxyRecordMetric(id uint32, value uint64) status { return status(recordMetric(id, value)) }

func (host) ProxyGetMetric(id uint32, value *uint64) status { return status(getMetric(id, value)) }
