"""Calls the test service with grpcio, in every way that a client calls one.

usage: scenarios.py ADDRESS SERVICE [--proxy]

Prints one line of JSON per check and exits with 1 if one fails. With --proxy, a service that nobody registered is
called too.
"""

import json
import sys
import threading
import time
import traceback

import grpc

ECHO = "/waypost.test.Echo/"
BIG = 20 * 1000 * 1000


def same(value, expected):
    assert value == expected, f"{value!r:.200} instead of {expected!r:.200}"


def refused(call, code):
    """Runs a call that must end with `code`, and returns the error."""
    try:
        call()
    except grpc.RpcError as error:
        same(error.code(), code)
        return error
    raise AssertionError(f"no error, instead of {code}")


def unary(echo):
    same(echo.unary(b"hello", timeout=10), b"hello")
    same(echo.unary(b"", timeout=10), b"")


def client_stream(echo):
    same(echo.client(iter([b"a", b"bc", b""]), timeout=10), b"3 3")
    same(echo.client(iter([]), timeout=10), b"0 0")


def server_stream(echo):
    metadata = [("x-count", "5"), ("x-interval-ms", "10")]
    same(list(echo.server(b"m", metadata=metadata, timeout=10)), [b"m"] * 5)


def bidi_stream(echo):
    sent = [bytes([at]) * at for at in range(100)]
    same(list(echo.bidi(iter(sent), timeout=10)), sent)


def interleaved(echo):
    """Each message is sent only after the one before it came back."""
    returned = threading.Semaphore(1)

    def requests():
        for at in range(20):
            assert returned.acquire(timeout=5), "the echo of the message before is missing"
            yield str(at).encode()

    for at, message in enumerate(echo.bidi(requests(), timeout=20)):
        same(message, str(at).encode())
        returned.release()


def metadata(echo):
    sent = [("x-echo-text", "a b, c"), ("x-echo-twice", "1"), ("x-echo-twice", "2"), ("x-echo-raw-bin", bytes(range(256)))]
    _, call = echo.unary.with_call(b"", metadata=sent, timeout=10)
    got = [(key, value) for key, value in call.initial_metadata() if key.startswith("x-echo-")]
    same(sorted(got), sorted(sent))


def trailers(echo):
    sent = [("x-trailer-text", "t"), ("x-trailer-raw-bin", b"\0\xff\n")]
    _, call = echo.unary.with_call(b"", metadata=sent, timeout=10)
    same(sorted(item for item in call.trailing_metadata() if item[0].startswith("x-trailer-")), sorted(sent))


def error_status(echo):
    details = b"\x08\x09\x12\x02no"
    sent = [("x-status", "9"), ("x-message", "50%25 of caf%C3%A9"), ("x-details-bin", details), ("x-trailer-more", "1")]
    error = refused(lambda: echo.unary(b"", metadata=sent, timeout=10), grpc.StatusCode.FAILED_PRECONDITION)
    same(error.details(), "50% of café")
    trailing = dict(error.trailing_metadata())
    same((trailing["grpc-status-details-bin"], trailing["x-trailer-more"]), (details, "1"))
    # An error after messages comes in the trailers.
    stream = echo.server(b"m", metadata=[("x-status", "10"), ("x-count", "2")], timeout=10)
    same([next(stream), next(stream)], [b"m", b"m"])
    refused(lambda: next(stream), grpc.StatusCode.ABORTED)


def deadline(echo):
    for call in (
        lambda: echo.unary(b"", metadata=[("x-delay-ms", "20000")], timeout=0.5),
        lambda: list(echo.server(b"", metadata=[("x-count", "9"), ("x-interval-ms", "200")], timeout=0.5)),
    ):
        start = time.monotonic()
        refused(call, grpc.StatusCode.DEADLINE_EXCEEDED)
        took = time.monotonic() - start
        assert 0.4 < took < 3, f"it took {took} s"


def cancel(echo):
    def cancelled():
        return int(echo.cancelled(b"", timeout=10))

    def wait_for(count):
        end = time.monotonic() + 10
        while cancelled() < count:
            assert time.monotonic() < end, "the server doesn't know of it"
            time.sleep(0.01)

    before = cancelled()
    stream = echo.server(b"m", metadata=[("x-count", "1000"), ("x-interval-ms", "100")])
    same(next(stream), b"m")
    stream.cancel()
    wait_for(before + 1)

    started = threading.Event()
    future = echo.unary.future(b"", metadata=[("x-delay-ms", "60000")])
    threading.Timer(0.3, started.set).start()
    started.wait()
    future.cancel()
    wait_for(before + 2)


def big_messages(echo):
    message = bytes(range(256)) * (BIG // 256)
    same(echo.unary(message, timeout=60) == message, True)
    same(list(echo.bidi(iter([message]), timeout=60)) == [message], True)


def parallel(echo):
    calls = [(at, echo.unary.future(str(at).encode(), timeout=30)) for at in range(1000)]
    for at, call in calls:
        same(call.result(), str(at).encode())


def unknown_service(address):
    options = [("grpc.default_authority", "nobody-registered-this"), ("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(address, options) as channel:
        call = channel.unary_unary(ECHO + "Unary")
        error = refused(lambda: call(b"", timeout=10), grpc.StatusCode.UNAVAILABLE)
        assert "nobody-registered-this" in error.details(), error.details()


class Echo:
    """The test service; its messages are bytes, so nothing is generated."""

    def __init__(self, channel):
        self.unary = channel.unary_unary(ECHO + "Unary")
        self.client = channel.stream_unary(ECHO + "Client")
        self.server = channel.unary_stream(ECHO + "Server")
        self.bidi = channel.stream_stream(ECHO + "Bidi")
        self.cancelled = channel.unary_unary(ECHO + "Cancelled")


def main():
    address, service = sys.argv[1:3]
    options = [
        ("grpc.default_authority", service),
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.enable_retries", 0),
        # No proxy of the environment may come between.
        ("grpc.enable_http_proxy", 0),
    ]
    checks = [unary, client_stream, server_stream, bidi_stream, interleaved, metadata, trailers, error_status, deadline]
    checks += [cancel, big_messages, parallel]
    failed = False
    with grpc.insecure_channel(address, options) as channel:
        checks = [(check, Echo(channel)) for check in checks]
        if "--proxy" in sys.argv:
            checks.append((unknown_service, address))
        for check, argument in checks:
            start = time.monotonic()
            line = {"check": check.__name__.replace("_", " "), "ok": True}
            try:
                check(argument)
            except Exception:  # whatever it was: it is told, and the next check runs
                failed = True
                line |= {"ok": False, "error": traceback.format_exc()}
            line["ms"] = round(1000 * (time.monotonic() - start))
            print(json.dumps(line), flush=True)
    sys.exit(failed)


main()
