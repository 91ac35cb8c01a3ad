"""A WebSocket server that echoes, and a client of it, both by the library `websockets`.

`websocket.py serve ADDRESS PORT`, or `websocket.py ask URL`, which exits with 0 when every echo was right.
"""

import asyncio
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

LARGEST = 1 << 20


async def echo(connection):
    async for message in connection:
        await connection.send(message)


async def run_server(address, port):
    async with serve(echo, address, int(port), max_size=LARGEST) as server:
        await server.serve_forever()


async def converse(url, number):
    async with connect(url, max_size=LARGEST) as connection:
        for length in (0, 1, 125, 126, 65_535, 65_536, LARGEST):
            for message in ("x" * length, bytes([number]) * length):
                await connection.send(message)
                assert await connection.recv() == message
        for at in range(100):
            await connection.send(f"{number} {at}")
        for at in range(100):
            assert await connection.recv() == f"{number} {at}"
        pong = await connection.ping()
        await pong
    assert connection.close_code == 1000, connection.close_code


async def run_clients(url):
    await asyncio.gather(*(converse(url, number) for number in range(20)))


if sys.argv[1] == "serve":
    asyncio.run(run_server(*sys.argv[2:]))
else:
    asyncio.run(run_clients(sys.argv[2]))
