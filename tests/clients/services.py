"""`python services.py FOLDER ADDRESS…`: at every address gRPC (8051; with TLS 8052) and the beginnings of SMTP (8025).

Prints "ready"; ends when its stdin does.
"""

import asyncio
import os
import sys

import grpc

folder, *addresses = sys.argv[1:]


def read(name):
    with open(os.path.join(folder, name), "rb") as file:
        return file.read()


async def say(request, context):
    return b"the service heard " + request


async def smtp(reader, writer):
    """RFC 5321, as far as EHLO, NOOP and QUIT go."""
    writer.write(b"220 the service is ready\r\n")
    while line := (await reader.readline()).strip().upper():
        writer.write(b"221 bye\r\n" if line == b"QUIT" else b"250 the service heard\r\n")
        await writer.drain()
        if line == b"QUIT":
            break
    writer.close()


async def main():
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(say)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("srt.Test", {"Say": handler})])
    trusted = grpc.ssl_server_credentials([(read("key.pem"), read("cert.pem"))])
    for address in addresses:
        server.add_insecure_port(f"{address}:8051")
        server.add_secure_port(f"{address}:8052", trusted)
        await asyncio.start_server(smtp, address, 8025)
    await server.start()
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    # Whatever is still open need not be waited for.
    os._exit(0)


asyncio.run(main())
