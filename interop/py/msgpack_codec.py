"""Values between weft and python3-msgpack, or Python's json.

    /usr/bin/python3 msgpack_codec.py msgpack|json OURS THEIRS

OURS is a list of cases as weft made them; THEIRS is written: the same cases,
encoded here. (A file called msgpack.py would hide the module of that name.)
"""

import asyncio
import json
import struct
import sys

import msgpack

import report

FORMAT, OURS, THEIRS = sys.argv[1:]

if FORMAT == "msgpack":
    decode, encode = msgpack.unpackb, msgpack.packb
else:
    def decode(data):
        return json.loads(data.decode())

    def encode(v):
        return json.dumps(v).encode()  # with escapes for all that is not ASCII


def describe(v):
    if v is None:
        return ["nil"]
    if isinstance(v, bool):
        return ["bool", v]
    if isinstance(v, int) and -(1 << 63) <= v < 1 << 64:
        return ["int", str(v)]
    if isinstance(v, (int, float)):
        return ["float", struct.pack(">d", v).hex()]
    if isinstance(v, str):
        return ["str", v]
    if isinstance(v, bytes):
        return ["bin", v.hex()]
    if isinstance(v, msgpack.Timestamp):
        return ["time", str(v.seconds), str(v.nanoseconds)]
    if isinstance(v, list):
        return ["list", *map(describe, v)]
    if isinstance(v, dict):
        return ["map", *([name, describe(v[name])] for name in sorted(v))]
    raise TypeError(f"no description of {type(v)}")


def build(value):
    kind, *rest = value
    if kind == "nil":
        return None
    if kind in ("bool", "str"):
        return rest[0]
    if kind == "int":
        return int(rest[0])
    if kind == "float":
        return struct.unpack(">d", bytes.fromhex(rest[0]))[0]
    if kind == "bin":
        return bytes.fromhex(rest[0])
    if kind == "time":
        return msgpack.Timestamp(int(rest[0]), int(rest[1]))
    if kind == "list":
        return [build(v) for v in rest]
    if kind == "map":
        return {name: build(v) for name, v in rest}
    raise ValueError(f"no such kind: {kind}")


with open(OURS, encoding="utf-8") as f:
    all_cases = json.load(f)


def case(name, value, data):
    async def check():
        got = describe(decode(bytes.fromhex(data)))
        assert got == value, f"{str(got)[:200]} is not {str(value)[:200]}"

    check.__doc__ = name
    return check


with open(THEIRS, "w", encoding="utf-8") as f:
    json.dump([{"name": c["name"], "data": encode(build(c["value"])).hex()} for c in all_cases], f)

asyncio.run(report.run([case(**c) for c in all_cases]))
