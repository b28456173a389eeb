"""`python client.py HOW URL`: asks for a URL by one of Python's clients, or says hello to a service."""

import asyncio
import os
import smtplib
import sys
import urllib.parse
import urllib.request

how, url = sys.argv[1:]
parts = urllib.parse.urlsplit(url)


def by_urllib():
    return urllib.request.urlopen(url, timeout=20).read().decode()


def by_requests():
    import requests

    answer = requests.get(url, timeout=20)
    answer.raise_for_status()
    return answer.text


def by_httpx():
    import httpx

    return httpx.get(url, timeout=20).raise_for_status().text


def by_httpx_async():
    import httpx

    async def get():
        async with httpx.AsyncClient() as client:
            return (await client.get(url, timeout=20)).raise_for_status().text

    return asyncio.run(get())


def by_aiohttp(**options):
    import ssl

    import aiohttp

    async def get():
        # aiohttp has its own idea of certificates' files: none.
        trusted = ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE"))
        connector = aiohttp.TCPConnector(ssl=trusted)
        async with aiohttp.ClientSession(connector=connector, **options) as session:
            async with session.get(url) as answer:
                answer.raise_for_status()
                return await answer.text()

    return asyncio.run(get())


def by_websockets(**options):
    import websockets

    async def hear():
        async with websockets.connect(url, **options) as socket:
            await socket.send("hello")
            return await socket.recv()

    return asyncio.run(hear())


def by_grpc():
    import grpc

    if parts.scheme == "https":
        with open(os.environ["SSL_CERT_FILE"], "rb") as file:
            trusted = grpc.ssl_channel_credentials(file.read())
        channel = grpc.secure_channel(parts.netloc, trusted)
    else:
        channel = grpc.insecure_channel(parts.netloc)
    with channel:
        # Whatever the messages are: bytes, here.
        return channel.unary_unary("/srt.Test/Say")(b"hello", timeout=20).decode()


def by_smtp():
    # Here the server speaks first.
    with smtplib.SMTP(parts.hostname, parts.port, timeout=20) as client:
        code, said = client.noop()
        return f"{code} {said.decode()}"


WAYS = {
    "urllib": by_urllib,
    "requests": by_requests,
    "httpx": by_httpx,
    "httpx-async": by_httpx_async,
    "aiohttp": by_aiohttp,
    "aiohttp-proxy": lambda: by_aiohttp(trust_env=True),
    "websockets": by_websockets,
    "websockets-straight": lambda: by_websockets(proxy=None),
    "grpc": by_grpc,
    "smtp": by_smtp,
}
print(WAYS[how]())
