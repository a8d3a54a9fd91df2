"""A gRPC service to try Waypost with. Its messages are plain bytes, so that nothing has to be generated.

greeter.py serve NAME PORT       answers as NAME on 127.0.0.1:PORT; or HOST:PORT
greeter.py call SERVICE [TIMES]  calls SERVICE through the proxy at PROXY, or else at 127.0.0.1:8400
"""

import os
import sys
from concurrent import futures

import grpc

HELLO = "/demo.Greeter/Hello"


class Greeter(grpc.GenericRpcHandler):
    def __init__(self, name):
        self.answer = f"hello, I am {name}".encode()

    def service(self, details):
        if details.method == HELLO:
            return grpc.unary_unary_rpc_method_handler(lambda message, context: self.answer)
        return None


def serve(name, address):
    host, _, port = address.rpartition(":")
    server, host = grpc.server(futures.ThreadPoolExecutor(4), [Greeter(name)]), host or "127.0.0.1"
    port = server.add_insecure_port(f"{host}:{port}")
    server.start()
    print(f"{name} listens on {host}:{port}", flush=True)
    server.wait_for_termination()


def call(service, times=1):
    # The connection goes to the proxy; the authority names the service.
    proxy, options = os.environ.get("PROXY", "127.0.0.1:8400"), [("grpc.default_authority", service)]
    with grpc.insecure_channel(proxy, options) as channel:
        for _ in range(int(times)):
            try:
                print(channel.unary_unary(HELLO)(b"", timeout=5).decode())
            except grpc.RpcError as error:
                print(f"{error.code().name}: {error.details()}")


{"serve": serve, "call": call}[sys.argv[1]](*sys.argv[2:])
