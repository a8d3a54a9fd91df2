// Command go-client calls the test service with grpc-go, in every way that a client calls one.
//
// usage: go-client ADDRESS SERVICE [--proxy]
//
// Prints one line of JSON per check and exits with 1 if one fails. With --proxy, a service that nobody registered is
// called too.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	path = "/waypost.test.Echo/"
	big  = 20 * 1000 * 1000
)

// raw is the codec of a service whose messages are bytes, so that nothing is generated.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(message any) ([]byte, error) { return *message.(*[]byte), nil }

func (raw) Unmarshal(data []byte, message any) error {
	*message.(*[]byte) = append([]byte(nil), data...)
	return nil
}

type echo struct{ *grpc.ClientConn }

func dial(address, service string) (echo, error) {
	connection, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithAuthority(service),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDisableRetry(),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{}), grpc.MaxCallRecvMsgSize(2*big), grpc.MaxCallSendMsgSize(2*big)))
	return echo{connection}, err
}

func (e echo) unary(ctx context.Context, method string, message []byte, options ...grpc.CallOption) ([]byte, error) {
	var reply []byte
	err := e.Invoke(ctx, path+method, &message, &reply, options...)
	return reply, err
}

func (e echo) stream(ctx context.Context, method string) (grpc.ClientStream, error) {
	return e.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, path+method)
}

// exchange sends all messages, then reads all that come back.
func (e echo) exchange(ctx context.Context, method string, messages ...[]byte) ([][]byte, error) {
	stream, err := e.stream(ctx, method)
	if err != nil {
		return nil, err
	}
	sent := make(chan error, 1)
	go func() {
		for _, message := range messages {
			if err := stream.SendMsg(&message); err != nil {
				sent <- err
				return
			}
		}
		sent <- stream.CloseSend()
	}()
	var replies [][]byte
	for {
		var reply []byte
		if err := stream.RecvMsg(&reply); err == io.EOF {
			return replies, <-sent
		} else if err != nil {
			return replies, err
		}
		replies = append(replies, reply)
	}
}

func within(limit time.Duration, pairs ...string) (context.Context, context.CancelFunc) {
	return context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), pairs...), limit)
}

func same(got, expected any) error {
	if fmt.Sprint(got) != fmt.Sprint(expected) {
		return fmt.Errorf("%.200v instead of %.200v", got, expected)
	}
	return nil
}

func refused(err error, code codes.Code) error {
	if status.Code(err) != code {
		return fmt.Errorf("%v instead of %v", err, code)
	}
	return nil
}

func first(errors ...error) error {
	for _, err := range errors {
		if err != nil {
			return err
		}
	}
	return nil
}

func unary(e echo) error {
	ctx, done := within(10 * time.Second)
	defer done()
	for _, message := range []string{"hello", ""} {
		reply, err := e.unary(ctx, "Unary", []byte(message))
		if err := first(err, same(string(reply), message)); err != nil {
			return err
		}
	}
	return nil
}

func clientStream(e echo) error {
	ctx, done := within(10 * time.Second)
	defer done()
	replies, err := e.exchange(ctx, "Client", []byte("a"), []byte("bc"), nil)
	return first(err, same(fmt.Sprintf("%s", replies), "[3 3]"))
}

func serverStream(e echo) error {
	ctx, done := within(10*time.Second, "x-count", "5", "x-interval-ms", "10")
	defer done()
	replies, err := e.exchange(ctx, "Server", []byte("m"))
	return first(err, same(fmt.Sprintf("%s", replies), "[m m m m m]"))
}

func bidiStream(e echo) error {
	ctx, done := within(10 * time.Second)
	defer done()
	var sent [][]byte
	for at := range 100 {
		sent = append(sent, bytes.Repeat([]byte{byte(at)}, at))
	}
	replies, err := e.exchange(ctx, "Bidi", sent...)
	return first(err, same(replies, sent))
}

// interleaved sends each message only after the one before it came back.
func interleaved(e echo) error {
	ctx, done := within(20 * time.Second)
	defer done()
	stream, err := e.stream(ctx, "Bidi")
	if err != nil {
		return err
	}
	for at := range 20 {
		message, reply := []byte(strconv.Itoa(at)), []byte{}
		if err := first(stream.SendMsg(&message), stream.RecvMsg(&reply), same(reply, message)); err != nil {
			return err
		}
	}
	return stream.CloseSend()
}

func metadataBothWays(e echo) error {
	all := make([]byte, 256)
	for at := range all {
		all[at] = byte(at)
	}
	ctx, done := within(10*time.Second,
		"x-echo-text", "a b, c", "x-echo-twice", "1", "x-echo-twice", "2", "x-echo-raw-bin", string(all))
	defer done()
	var header metadata.MD
	_, err := e.unary(ctx, "Unary", nil, grpc.Header(&header))
	return first(err,
		same(header["x-echo-text"], []string{"a b, c"}),
		same(header["x-echo-twice"], []string{"1", "2"}),
		same(header["x-echo-raw-bin"], []string{string(all)}))
}

func trailers(e echo) error {
	ctx, done := within(10*time.Second, "x-trailer-text", "t", "x-trailer-raw-bin", "\x00\xff\n")
	defer done()
	var trailer metadata.MD
	_, err := e.unary(ctx, "Unary", nil, grpc.Trailer(&trailer))
	return first(err,
		same(trailer["x-trailer-text"], []string{"t"}),
		same(trailer["x-trailer-raw-bin"], []string{"\x00\xff\n"}))
}

func errorStatus(e echo) error {
	details := "\x08\x09\x12\x02no"
	ctx, done := within(10*time.Second,
		"x-status", "9", "x-message", "50%25 of caf%C3%A9", "x-details-bin", details, "x-trailer-more", "1")
	defer done()
	var trailer metadata.MD
	_, err := e.unary(ctx, "Unary", nil, grpc.Trailer(&trailer))
	if err := first(refused(err, codes.FailedPrecondition),
		same(trailer["grpc-status-details-bin"], []string{details}),
		same(trailer["x-trailer-more"], []string{"1"})); err != nil {
		return err
	}
	// With details, grpc-go takes code and message from them.
	ctx, done = within(10*time.Second, "x-status", "9", "x-message", "50%25 of caf%C3%A9")
	defer done()
	_, err = e.unary(ctx, "Unary", nil)
	if err := first(refused(err, codes.FailedPrecondition), same(status.Convert(err).Message(), "50% of café")); err != nil {
		return err
	}
	// An error after messages comes in the trailers.
	ctx, done = within(10*time.Second, "x-status", "10", "x-count", "2")
	defer done()
	replies, err := e.exchange(ctx, "Server", []byte("m"))
	return first(refused(err, codes.Aborted), same(len(replies), 2))
}

func deadline(e echo) error {
	calls := []func() error{
		func() error {
			ctx, done := within(500*time.Millisecond, "x-delay-ms", "20000")
			defer done()
			_, err := e.unary(ctx, "Unary", nil)
			return err
		},
		func() error {
			ctx, done := within(500*time.Millisecond, "x-count", "9", "x-interval-ms", "200")
			defer done()
			_, err := e.exchange(ctx, "Server", nil)
			return err
		},
	}
	for _, call := range calls {
		start := time.Now()
		if err := refused(call(), codes.DeadlineExceeded); err != nil {
			return err
		}
		if took := time.Since(start); took < 400*time.Millisecond || took > 3*time.Second {
			return fmt.Errorf("it took %v", took)
		}
	}
	return nil
}

func cancel(e echo) error {
	cancelled := func() (int, error) {
		ctx, done := within(10 * time.Second)
		defer done()
		reply, err := e.unary(ctx, "Cancelled", nil)
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(string(reply))
	}
	waitFor := func(count int) error {
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if now, err := cancelled(); err != nil || now >= count {
				return err
			}
		}
		return fmt.Errorf("the server doesn't know of it")
	}
	before, err := cancelled()
	if err != nil {
		return err
	}

	ctx, stop := within(time.Minute, "x-count", "1000", "x-interval-ms", "100")
	defer stop()
	stream, err := e.stream(ctx, "Server")
	if err != nil {
		return err
	}
	message, reply := []byte("m"), []byte{}
	if err := first(stream.SendMsg(&message), stream.CloseSend(), stream.RecvMsg(&reply)); err != nil {
		return err
	}
	stop()
	if err := first(refused(stream.RecvMsg(&reply), codes.Canceled), waitFor(before+1)); err != nil {
		return err
	}

	ctx, stop = within(time.Minute, "x-delay-ms", "60000")
	time.AfterFunc(300*time.Millisecond, stop)
	_, err = e.unary(ctx, "Unary", nil)
	return first(refused(err, codes.Canceled), waitFor(before+2))
}

func bigMessages(e echo) error {
	ctx, done := within(time.Minute)
	defer done()
	message := bytes.Repeat([]byte("w"), big)
	reply, err := e.unary(ctx, "Unary", message)
	if err := first(err, same(bytes.Equal(reply, message), true)); err != nil {
		return err
	}
	replies, err := e.exchange(ctx, "Bidi", message)
	return first(err, same(len(replies) == 1 && bytes.Equal(replies[0], message), true))
}

func parallel(e echo) error {
	ctx, done := within(30 * time.Second)
	defer done()
	errors := make([]error, 1000)
	var calls sync.WaitGroup
	for at := range errors {
		calls.Add(1)
		go func() {
			defer calls.Done()
			message := []byte(strconv.Itoa(at))
			reply, err := e.unary(ctx, "Unary", message)
			errors[at] = first(err, same(reply, message))
		}()
	}
	calls.Wait()
	return first(errors...)
}

func unknownService(address string) func(echo) error {
	return func(echo) error {
		other, err := dial(address, "nobody-registered-this")
		if err != nil {
			return err
		}
		defer other.Close()
		ctx, done := within(10 * time.Second)
		defer done()
		_, err = other.unary(ctx, "Unary", nil)
		if !strings.Contains(status.Convert(err).Message(), "nobody-registered-this") {
			return fmt.Errorf("not told what is unknown: %v", err)
		}
		return refused(err, codes.Unavailable)
	}
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: go-client ADDRESS SERVICE [--proxy]")
		os.Exit(2)
	}
	address, service := os.Args[1], os.Args[2]
	e, err := dial(address, service)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	checks := []struct {
		name string
		run  func(echo) error
	}{
		{"unary", unary}, {"client stream", clientStream}, {"server stream", serverStream}, {"bidi stream", bidiStream},
		{"interleaved", interleaved}, {"metadata", metadataBothWays}, {"trailers", trailers},
		{"error status", errorStatus}, {"deadline", deadline}, {"cancel", cancel}, {"big messages", bigMessages},
		{"parallel", parallel},
	}
	if len(os.Args) > 3 && os.Args[3] == "--proxy" {
		checks = append(checks, struct {
			name string
			run  func(echo) error
		}{"unknown service", unknownService(address)})
	}
	failed := false
	for _, check := range checks {
		start := time.Now()
		line := map[string]any{"check": check.name, "ok": true}
		if err := check.run(e); err != nil {
			failed = true
			line["ok"], line["error"] = false, err.Error()
		}
		line["ms"] = time.Since(start).Milliseconds()
		text, _ := json.Marshal(line)
		fmt.Println(string(text))
	}
	if failed {
		os.Exit(1)
	}
}
