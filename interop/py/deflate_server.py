"""Servers on python3-websockets with permessage-deflate for weft's dialers to talk to.

    /usr/bin/python3 deflate_server.py OPTIONS...

There is one server for each OPTIONS, the options of the extension as JSON, and for
each it prints "listening on ADDRESS", in order. Of each connection it prints "answer
HEADER", and "closed CODE" at its end. The servers send back what comes, on /fragments
in three pieces.
"""

import asyncio
import json
import sys

import websockets
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory


async def connection(ws):
    print("answer", ws.response_headers.get("Sec-WebSocket-Extensions", ""), flush=True)
    try:
        async for data in ws:
            if ws.path == "/fragments":
                size = len(data) // 3 + 1
                await ws.send([data[i:i + size] for i in range(0, len(data), size)] or [data])
            else:
                await ws.send(data)
    except websockets.ConnectionClosed:
        pass
    await ws.wait_closed()
    print("closed", ws.close_rcvd.code if ws.close_rcvd else 1006, flush=True)


async def main():
    servers = []
    for options in sys.argv[1:]:
        server = await websockets.serve(
            connection, "127.0.0.1", 0, max_size=32 << 20, compression=None,
            extensions=[ServerPerMessageDeflateFactory(**json.loads(options))])
        host, port = server.sockets[0].getsockname()
        print(f"listening on {host}:{port}", flush=True)
        servers.append(server)
    # The parent that goes away takes the servers along.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for server in servers:
        server.close()


asyncio.run(main())
