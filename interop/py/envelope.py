"""python3-websockets and python3-msgpack against the envelope endpoint of
interop/server.

    /usr/bin/python3 envelope.py ws://127.0.0.1:8080/gobwas/envelope json|msgpack [peer DESTINATION]

With peer it is the other side of a case in js/envelope.mjs: it answers what comes on
the destination, until its input ends.
"""

import asyncio
import base64
import json
import sys

import msgpack
import websockets

import report

URL, FORM = sys.argv[1:3]

cases = []


def case(f):
    cases.append(f)
    return f


class Client:
    """One session. What comes out of take has no fields that are nil."""

    def __init__(self, ws):
        self.ws = ws

    @classmethod
    async def connect(cls, **fields):
        name = f"v1.{FORM}.weft"
        c = cls(await websockets.connect(URL, subprotocols=[name], max_size=None))
        assert c.ws.subprotocol == name
        await c.put(type="connect", **fields)
        c.connected = await c.take("connected")
        return c

    async def put(self, **m):
        await self.ws.send(json.dumps(m) if FORM == "json" else msgpack.packb(m))

    async def take(self, kind=None):
        data = await self.ws.recv()
        assert isinstance(data, str) == (FORM == "json")
        m = json.loads(data) if FORM == "json" else msgpack.unpackb(data)
        # null is a body in JSON, and nothing in msgpack.
        m = {k: v for k, v in m.items() if v is not None or k == "body" and FORM == "json"}
        assert kind in (None, m["type"]), m
        return m

    async def ask(self, **m):
        await self.put(receipt="r", **m)
        answer = await self.take()
        assert answer["receipt"] == "r", answer
        return answer

    async def closed(self):
        try:
            m = await self.ws.recv()
        except websockets.ConnectionClosed as e:
            return e.rcvd.code if e.rcvd else 1006
        raise AssertionError(f"instead of a close: {m!r}")

    async def end(self):
        await self.put(type="disconnect", receipt="bye")
        assert (await self.take("receipt"))["receipt"] == "bye"
        assert await self.closed() == 1000


def value(v):
    """The fields of a body that is v in the codec that belongs to the form."""
    if FORM == "json":
        return {"body": v}
    return {"contentType": "application/msgpack", "body": msgpack.packb(v)}


def value_of(m):
    """What a codec of the server made of a body."""
    if m.get("contentType") == "application/msgpack":
        return msgpack.unpackb(m["body"])
    return json.loads(bytes_of(m))


def bytes_of(m):
    if FORM == "msgpack":
        return m.get("body", b"")
    if "body" in m:
        return json.dumps(m["body"]).encode()
    if "base64" in m:
        return base64.b64decode(m["base64"], validate=True)
    return m.get("text", "").encode()


@case
async def exchange():
    """connect, reply, disconnect with a receipt"""
    c = await Client.connect(header=[["token", "token of ada"]])
    assert c.connected["version"] == "1"
    assert c.connected["header"] == [["user-name", "ada"]]
    assert value_of(await c.ask(type="send", destination="/app/whoami")) == {"user": "ada"}
    assert value_of(await c.ask(type="send", destination="/app/add", **value({"a": 1, "b": -3}))) == {"sum": -2}
    await c.end()


@case
async def bodies():
    """bodies of all kinds come back"""
    c = await Client.connect()
    for v in (None, True, 0, -1, 1.5, "Grüße 🧵", [], {}, {"a": [{"b": None}]}):
        assert value_of(await c.ask(type="send", destination="/app/echo", **value(v))) == v
    for n in (0, 1, 65535, 65536, 1 << 20):
        b = b"\x00\xff" * (n // 2) + b"\x80" * (n % 2)
        body = {"base64": base64.b64encode(b).decode()} if FORM == "json" else {"body": b}
        m = await c.ask(type="send", destination="/app/echo", contentType="image/x", **body)
        assert m["contentType"] == "image/x"
        assert bytes_of(m) == b, n
    await c.end()


@case
async def publishing():
    """publish and subscribe"""
    a, b = await Client.connect(), await Client.connect()
    destination = f"/topic/{FORM}/python"
    for c in (a, b):
        m = await c.ask(type="subscribe", subscription="s", destination=destination)
        assert m["type"] == "receipt", m
    for i in range(100):
        await a.put(type="send", destination=destination, **value(i))
    for c in (a, b):
        for i in range(100):
            m = await c.take("deliver")
            assert (m["subscription"], m["destination"], value_of(m)) == ("s", destination, i), m
    assert (await b.ask(type="unsubscribe", subscription="s"))["type"] == "receipt"
    await b.end()
    await a.end()


@case
async def errors():
    """errors leave the session alive"""
    c = await Client.connect()
    for code, m in (
        ("not-found", {"type": "send", "destination": "/nowhere"}),
        ("missing-field", {"type": "send"}),
        ("bad-field", {"type": "send", "destination": 1}),
        ("unknown-field", {"type": "send", "destination": "/app/echo", "colour": "red"}),
        ("invalid", {"type": "send", "destination": "/app/add", **value({"a": 1})}),
        ("bad-body", {"type": "send", "destination": "/app/add", **value(["a"])}),
        ("unsupported-content-type", {"type": "send", "destination": "/app/add", **value(1), "contentType": "text/xml"}),
    ):
        e = await c.ask(**m)
        assert (e["type"], e["code"]) == ("error", code), e
        assert not e.get("fatal"), e
    await c.end()


@case
async def transactions():
    """commit and abort"""
    c = await Client.connect()
    destination = f"/topic/{FORM}/python/transaction"
    await c.ask(type="subscribe", subscription="s", destination=destination)
    for verb in ("abort", "commit"):
        assert (await c.ask(type="begin", transaction="t"))["type"] == "receipt"
        await c.put(type="send", destination=destination, transaction="t", **value(verb))
        await c.put(type=verb, transaction="t", receipt="end")
        got = [await c.take()]
        if verb == "commit":
            got.append(await c.take())
            got.sort(key=lambda m: m["type"])
            assert value_of(got.pop(0)) == "commit"
        assert got == [{"type": "receipt", "receipt": "end"}], got
    await c.end()


@case
async def heartbeats():
    """heartbeats"""
    c = await Client.connect(heartbeat=[0, 150])
    for _ in range(3):
        assert await c.take() == {"type": "heartbeat"}
    await c.put(type="heartbeat", answer=True)
    assert await c.take() == {"type": "heartbeat"}
    await c.end()


@case
async def malformed():
    """what is no envelope ends the session"""
    c = await Client.connect()
    await c.ws.send("{" if FORM == "json" else b"\xc1")
    e = await c.take("error")
    assert (e["code"], e["fatal"]) == ("malformed", True), e
    assert await c.closed() == 1002


async def peer(destination):
    c = await Client.connect()
    await c.ask(type="subscribe", subscription="s", destination=destination)
    print("ready", flush=True)
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

    async def answer():
        while True:
            m = await c.take("deliver")
            heard = json.dumps({"heard": json.loads(bytes_of(m))["text"]})
            body = {"text": heard} if FORM == "json" else {"body": heard.encode()}
            await c.put(type="send", destination="/topic/answers", contentType=m["contentType"], **body)

    answering = asyncio.ensure_future(answer())
    await asyncio.wait([answering, ended], return_when=asyncio.FIRST_COMPLETED)
    if answering.done():
        answering.result()
    answering.cancel()
    await c.ws.close()


asyncio.run(peer(sys.argv[4]) if len(sys.argv) > 3 else report.run(cases))
