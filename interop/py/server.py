"""A server on python3-websockets for weft's dialer to talk to.

It prints "listening on ADDRESS" when it is ready, and "closed CODE REASON" for each
connection that ended. The paths are those of js/server.mjs.
"""

import asyncio
import http
import sys
from urllib.parse import parse_qs, urlsplit

import websockets


async def echo(ws, query):
    async for data in ws:
        await ws.send(data)


async def fragments(ws, query):
    async for data in ws:
        pieces = [data[i:i + 5] for i in range(0, len(data), 5)]

        async def with_pings():
            for i, piece in enumerate(pieces):
                if i > 0:
                    await ws.ping(f"between {i}")
                yield piece

        await ws.send(with_pings())


async def close(ws, query):
    await ws.recv()
    if "code" in query:
        await ws.close(int(query["code"][0]), query.get("reason", [""])[0])
    else:
        # The library always sends a code; a frame without one is its own parts put together.
        await ws.write_close_frame(websockets.frames.Close(1005, ""), b"")
        await ws.wait_closed()


async def ping(ws, query):
    async for data in ws:
        await (await ws.ping(data))
        await ws.send(f"pong {data}")


paths = {"/echo": echo, "/fragments": fragments, "/close": close, "/ping": ping}


async def connection(ws):
    url = urlsplit(ws.path)
    try:
        await paths[url.path](ws, parse_qs(url.query))
    except websockets.ConnectionClosed:
        pass
    await ws.wait_closed()
    got = ws.close_rcvd
    print(f"closed {got.code} {got.reason}" if got else "closed 1006 ", flush=True)


async def handshake(path, headers):
    if path.startswith("/refuse"):
        return http.HTTPStatus.FORBIDDEN, [], b"not today"
    return None


async def main():
    server = await websockets.serve(
        connection, "127.0.0.1", 0, max_size=32 << 20, subprotocols=["second"], process_request=handshake)
    host, port = server.sockets[0].getsockname()
    print(f"listening on {host}:{port}", flush=True)
    # The parent that goes away takes the server along.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


asyncio.run(main())
