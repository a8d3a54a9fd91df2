"""A gRPC server that answers every unary call with what it was sent.

anything.py NAME HOST:PORT
"""

import sys
from concurrent import futures

import grpc


class Anything(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(self.answer)

    def answer(self, message, context):
        context.send_initial_metadata((("x-instance", name),))
        return message


name, address = sys.argv[1:]
server = grpc.server(futures.ThreadPoolExecutor(8), [Anything()])
server.add_insecure_port(address)
server.start()
print("ready", flush=True)
server.wait_for_termination()
