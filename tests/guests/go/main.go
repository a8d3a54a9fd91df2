// A filter on the published Go SDK that does one thing at a time, told by its configuration: `MODE ARGUMENT…`, on one line.
// What each mode does stands in ../README.md.
package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tetratelabs/proxy-wasm-go-sdk/proxywasm"
	"github.com/tetratelabs/proxy-wasm-go-sdk/proxywasm/types"
	_ "github.com/tetratelabs/proxy-wasm-go-sdk/proxywasm/wasip1"
)

func main() {}

func init() { proxywasm.SetVMContext(&vm{}) }

type vm struct{ types.DefaultVMContext }

func (*vm) NewPluginContext(uint32) types.PluginContext { return &root{} }

type root struct {
	types.DefaultPluginContext
	mode      string
	arguments []string
	ticks     int
	requests  proxywasm.MetricCounter
}

func (r *root) argument(place int) string {
	if place < len(r.arguments) {
		return r.arguments[place]
	}
	return ""
}

func (r *root) OnPluginStart(int) types.OnPluginStartStatus {
	text, err := proxywasm.GetPluginConfiguration()
	if err != nil && err != types.ErrorStatusNotFound {
		return types.OnPluginStartStatusFailed
	}
	words := strings.Fields(string(text))
	if len(words) == 0 {
		proxywasm.LogError("guest: no mode is configured")
		return types.OnPluginStartStatusFailed
	}
	r.mode, r.arguments = words[0], words[1:]
	switch r.mode {
	case "headers", "body", "local", "http-call", "shared-data", "properties", "panic":
	case "metrics":
		r.requests = proxywasm.DefineCounterMetric("guest_go_requests")
	case "tick":
		millis, _ := strconv.Atoi(r.argument(0))
		if proxywasm.SetTickPeriodMilliSeconds(uint32(millis)) != nil {
			return types.OnPluginStartStatusFailed
		}
	default:
		proxywasm.LogErrorf("guest: no mode is called %q", r.mode)
		return types.OnPluginStartStatusFailed
	}
	return types.OnPluginStartStatusOK
}

func (r *root) OnTick() {
	r.ticks++
	proxywasm.LogInfof("guest go tick %d", r.ticks)
}

func (r *root) NewHttpContext(uint32) types.HttpContext { return &filter{root: r} }

type filter struct {
	types.DefaultHttpContext
	root *root
	// told goes into the response's header x-guest-go.
	told string
}

func (f *filter) OnHttpRequestHeaders(number int, end bool) types.Action {
	switch first := f.root.argument(0); f.root.mode {
	case "headers":
		pairs, err := proxywasm.GetHttpRequestHeaders()
		f.check(err)
		f.check(proxywasm.AddHttpRequestHeader("x-guest-go-pairs", fmt.Sprintf("%d,%d", number, len(pairs))))
		f.check(proxywasm.ReplaceHttpRequestHeader("x-guest-replace", "go"))
		f.check(proxywasm.RemoveHttpRequestHeader("x-guest-remove"))
	case "body":
		f.check(proxywasm.RemoveHttpRequestHeader("content-length"))
	case "local":
		code, _ := strconv.Atoi(first)
		body := []byte(strings.Join(f.root.arguments[1:], " "))
		f.check(proxywasm.SendHttpResponse(uint32(code), [][2]string{{"x-guest-go", "local"}}, body, -1))
		return types.ActionPause
	case "http-call":
		headers := [][2]string{{":method", "GET"}, {":path", f.root.argument(1)}, {":authority", first}}
		if _, err := proxywasm.DispatchHttpCall(first, headers, nil, nil, 1000, f.answered); err != nil {
			f.check(proxywasm.SendHttpResponse(500, [][2]string{{"x-guest-go", err.Error()}}, nil, -1))
		}
		return types.ActionPause
	case "shared-data":
		f.told = f.count(first)
	case "properties":
		value, err := proxywasm.GetProperty(strings.Split(first, "."))
		f.told = string(value)
		if err != nil {
			f.told = err.Error()
		}
	case "metrics":
		f.root.requests.Increment(1)
		f.told = strconv.FormatUint(f.root.requests.Value(), 10)
	case "tick":
		f.told = strconv.Itoa(f.root.ticks)
	case "panic":
		panic("guest go panics")
	}
	return types.ActionContinue
}

// answered lets the request go on after a 200, and refuses it after all else.
func (f *filter) answered(headers, size, _ int) {
	status := "failed"
	pairs, _ := proxywasm.GetHttpCallResponseHeaders()
	for _, pair := range pairs {
		if pair[0] == ":status" {
			status = pair[1]
		}
	}
	body, _ := proxywasm.GetHttpCallResponseBody(0, size)
	if status != "200" {
		f.check(proxywasm.SendHttpResponse(403, [][2]string{{"x-guest-go", status}}, nil, -1))
		return
	}
	f.check(proxywasm.AddHttpRequestHeader("x-guest-go-call", fmt.Sprintf("%s,%d,%s", status, headers, body)))
	f.check(proxywasm.ResumeHttpRequest())
}

func (f *filter) OnHttpRequestBody(size int, end bool) types.Action {
	if f.root.mode != "body" {
		return types.ActionContinue
	}
	if !end {
		return types.ActionPause
	}
	body, err := proxywasm.GetHttpRequestBody(0, size)
	if err != types.ErrorStatusNotFound {
		f.check(err)
	}
	f.check(proxywasm.ReplaceHttpRequestBody([]byte("(" + string(body) + ")")))
	return types.ActionContinue
}

func (f *filter) OnHttpResponseHeaders(int, bool) types.Action {
	switch f.root.mode {
	case "headers":
		f.told = "headers"
	case "body":
		f.check(proxywasm.RemoveHttpResponseHeader("content-length"))
	}
	if f.told != "" {
		f.check(proxywasm.AddHttpResponseHeader("x-guest-go", f.told))
	}
	return types.ActionContinue
}

func (f *filter) OnHttpResponseBody(size int, end bool) types.Action {
	if f.root.mode != "body" {
		return types.ActionContinue
	}
	// Without reading: put before each piece, however many there are.
	f.check(proxywasm.PrependHttpResponseBody([]byte(">")))
	return types.ActionContinue
}

// count adds one to the number under a key, however many instances do so.
func (f *filter) count(key string) string {
	for {
		text, cas, err := proxywasm.GetSharedData(key)
		if err != nil && err != types.ErrorStatusNotFound {
			return err.Error()
		}
		number, _ := strconv.Atoi(string(text))
		next := strconv.Itoa(number + 1)
		switch err := proxywasm.SetSharedData(key, []byte(next), cas); err {
		case nil:
			return next
		case types.ErrorStatusCasMismatch:
		default:
			return err.Error()
		}
	}
}

func (f *filter) check(err error) {
	if err != nil {
		panic(err)
	}
}
