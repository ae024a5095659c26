"""The client of python3-websockets against a weft server that echoes.

    /usr/bin/python3 client.py ws://127.0.0.1:8080/gobwas/echo
"""

import asyncio
import os
import sys

import websockets

import report

URL = sys.argv[1]
LIMIT = 16 << 20  # bytes of one message that the server takes

cases = []


def case(f):
    cases.append(f)
    return f


def connect(**options):
    return websockets.connect(URL, max_size=None, **options)


async def echo(ws, data):
    await ws.send(data)
    got = await ws.recv()
    assert type(got) is type(data), f"sent {type(data)}, got {type(got)}"
    assert got == data, f"{len(data)} bytes sent, {len(got)} other ones came back"


@case
async def text():
    """text, empty and beyond ASCII"""
    async with connect() as ws:
        for s in ("hello", "", "Grüße, 世界 🧵"):
            await echo(ws, s)


@case
async def binary():
    """binary, empty and not"""
    async with connect() as ws:
        for b in (b"\x00\xff\xfe", b""):
            await echo(ws, b)


@case
async def lengths():
    """lengths around the forms of the header"""
    async with connect() as ws:
        for n in (1, 125, 126, 127, 65535, 65536):
            await echo(ws, os.urandom(n))
            await echo(ws, "x" * n)


@case
async def mebibyte():
    """1 MiB of each"""
    async with connect() as ws:
        await echo(ws, os.urandom(1 << 20))
        await echo(ws, "ü" * (1 << 19))


@case
async def limit():
    """16 MiB, the limit"""
    async with connect() as ws:
        await echo(ws, os.urandom(LIMIT))


@case
async def over():
    """one byte over the limit"""
    async with connect() as ws:
        try:
            await ws.send(b"x" * (LIMIT + 1))
            await ws.recv()
        except websockets.ConnectionClosed as e:
            assert e.rcvd is not None, "no close frame"
            assert e.rcvd.code == 1009, e.rcvd
        else:
            raise AssertionError("the server took it")


@case
async def fragments():
    """fragments of text and of binary"""
    async with connect() as ws:
        await ws.send(["one ", "", "two ", "three"])
        assert await ws.recv() == "one two three"
        await ws.send([b"\x00", b"\x01", b"\x02"])
        assert await ws.recv() == b"\x00\x01\x02"


@case
async def ping():
    """pings with and without data"""
    async with connect(ping_interval=None) as ws:
        for data in (b"", b"x", b"y" * 125):
            await (await ws.ping(data))
        await ws.pong(b"unasked")
        await echo(ws, "still here")


@case
async def own_keepalive():
    """the client's own keep-alive"""
    async with connect(ping_interval=0.05, ping_timeout=5) as ws:
        for _ in range(5):
            await echo(ws, "alive")
            await asyncio.sleep(0.06)  # the time between the library's own pings


@case
async def closing():
    """close codes and reasons"""
    for code, reason in ((1000, "bye"), (1001, ""), (3000, "library"), (4999, "r" * 123), (4000, "Tschüß 👋")):
        async with connect() as ws:
            await ws.close(code, reason)
            assert ws.close_code == code, (ws.close_code, code)


@case
async def origin():
    """a foreign origin is refused with 403"""
    try:
        async with connect(origin="http://elsewhere.example"):
            pass
    except websockets.InvalidStatusCode as e:
        assert e.status_code == 403, e.status_code
    else:
        raise AssertionError("the server took it")


@case
async def subprotocol():
    """an unknown sub-protocol is refused with 400"""
    try:
        async with connect(subprotocols=["unheard-of"]):
            pass
    except websockets.InvalidStatusCode as e:
        assert e.status_code == 400, e.status_code
    else:
        raise AssertionError("the server took it")


@case
async def order():
    """a thousand messages in order"""
    async with connect() as ws:
        async def send():
            for i in range(1000):
                await ws.send(str(i))

        sender = asyncio.ensure_future(send())
        for i in range(1000):
            assert await ws.recv() == str(i)
        await sender


@case
async def many():
    """fifty clients at once"""
    async def one(i):
        async with connect() as ws:
            for j in range(20):
                await echo(ws, f"client {i}, message {j}")

    await asyncio.gather(*(one(i) for i in range(50)))


asyncio.run(report.run(cases))
