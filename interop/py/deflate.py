"""python3-websockets with permessage-deflate against a weft server that echoes.

    /usr/bin/python3 deflate.py ws://127.0.0.1:8080/gobwas/echo gobwas|takeover|gorilla
"""

import asyncio
import os
import sys

import websockets
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

import report

URL, KIND = sys.argv[1:3]

OFFERS = (
    {},
    {"client_max_window_bits": None},
    {"server_no_context_takeover": True},
    {"client_no_context_takeover": True},
    {"server_no_context_takeover": True, "client_no_context_takeover": True},
    {"client_max_window_bits": 10},
    {"server_max_window_bits": 10},
    {"server_max_window_bits": 12, "client_max_window_bits": 12},
)
SENTENCE = "The quick brown fox jumps over the lazy dog. Falsches Üben von Xylophonmusik. "


def answer_to(offer):
    """What the tables of the packages say."""
    if KIND == "gorilla":
        if offer.get("server_max_window_bits"):
            return None
        return "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    words = ["permessage-deflate"]
    for name in ("server_no_context_takeover", "client_no_context_takeover"):
        if KIND != "takeover" or offer.get(name):
            words.append(name)
    for name in ("server_max_window_bits", "client_max_window_bits"):
        if offer.get(name):
            words.append(f"{name}={offer[name]}")
    return "; ".join(words)


async def echo(ws, data, pieces=1):
    if pieces == 1:
        await ws.send(data)
    else:
        size = -(-len(data) // pieces)
        await ws.send([data[i:i + size] for i in range(0, len(data), size)])
    got = await ws.recv()
    assert type(got) is type(data), f"sent {type(data)}, got {type(got)}"
    assert got == data, f"{len(data)} sent, {len(got)} other ones came back"


def case(offer):
    async def run():
        async with websockets.connect(
                URL, max_size=None, compression=None, extensions=[ClientPerMessageDeflateFactory(**offer)]) as ws:
            answer = ws.response_headers.get("Sec-WebSocket-Extensions")
            assert answer == answer_to(offer), f"answer {answer}"
            assert len(ws.extensions) == (answer is not None)
            for n in (0, 1, 125, 126, 511, 512, 65535, 65536, 1 << 20):
                text = (SENTENCE * (n // len(SENTENCE) + 1))[:n]
                for data in (text, text.encode(), os.urandom(n), bytes(n)):
                    await echo(ws, data)
            for pieces in (2, 3, 10):
                await echo(ws, SENTENCE * 1000, pieces)
                await echo(ws, os.urandom(70000), pieces)
    run.__doc__ = str(offer)
    return run


async def by_default():
    """the library's own offer"""
    async with websockets.connect(URL) as ws:
        assert ws.response_headers.get("Sec-WebSocket-Extensions") == answer_to({})
        await echo(ws, SENTENCE * 100)


asyncio.run(report.run([by_default] + [case(o) for o in OFFERS]))
