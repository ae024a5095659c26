// Values between weft and @msgpack/msgpack, or the JSON of this JavaScript engine.
//
//   node msgpack_codec.mjs msgpack|json OURS THEIRS
//
// OURS is a list of cases as weft made them; THEIRS is written: the same cases,
// encoded here.

import { readFileSync, writeFileSync } from "node:fs";
import {
  decode, decodeTimestampToTimeSpec, encode, encodeTimeSpecToTimestamp, EXT_TIMESTAMP, ExtensionCodec,
} from "@msgpack/msgpack";
import { assert, run } from "./report.mjs";

const [format, ours, theirs] = process.argv.slice(2);

/** A time to the nanosecond, which Date does not have. */
class Time {
  constructor(sec, nsec) {
    Object.assign(this, { sec, nsec });
  }
}

const extensionCodec = new ExtensionCodec();
extensionCodec.register({
  type: EXT_TIMESTAMP,
  encode: (v) => (v instanceof Time ? encodeTimeSpecToTimestamp(v) : null),
  decode: (data) => {
    const { sec, nsec } = decodeTimestampToTimeSpec(data);
    return new Time(sec, nsec);
  },
});

const formats = {
  msgpack: {
    decode: (data) => decode(data, { extensionCodec, useBigInt64: true }),
    // With useBigInt64 a number beyond 32 bits would be written as a float.
    encode: (v) => Buffer.from(encode(v, { extensionCodec, useBigInt64: typeof v === "bigint" })),
  },
  json: {
    decode: (data) => JSON.parse(data.toString("utf8")),
    encode: (v) => Buffer.from(JSON.stringify(v)),
  },
};
const codec = formats[format];

const hex = (bytes) => Buffer.from(bytes).toString("hex");

function describe(v) {
  if (v === null) return ["nil"];
  switch (typeof v) {
    case "boolean":
      return ["bool", v];
    case "string":
      return ["str", v];
    case "bigint":
      return ["int", String(v)];
    case "number": {
      if (Number.isSafeInteger(v)) return ["int", String(v)];
      const bits = Buffer.alloc(8);
      bits.writeDoubleBE(v);
      return ["float", hex(bits)];
    }
  }
  if (v instanceof Uint8Array) return ["bin", hex(v)];
  if (v instanceof Time) return ["time", String(v.sec), String(v.nsec)];
  if (Array.isArray(v)) return ["list", ...v.map(describe)];
  // In the order of UTF-8, which is that of the code points.
  const names = Object.keys(v).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  return ["map", ...names.map((name) => [name, describe(v[name])])];
}

function build([kind, ...rest]) {
  switch (kind) {
    case "nil":
      return null;
    case "bool":
    case "str":
      return rest[0];
    case "int":
      return Number.isSafeInteger(Number(rest[0])) ? Number(rest[0]) : BigInt(rest[0]);
    case "float":
      return Buffer.from(rest[0], "hex").readDoubleBE();
    case "bin":
      return new Uint8Array(Buffer.from(rest[0], "hex"));
    case "time":
      return new Time(Number(rest[0]), Number(rest[1]));
    case "list":
      return rest.map(build);
    case "map":
      return Object.fromEntries(rest.map(([name, v]) => [name, build(v)]));
  }
  throw new Error(`no such kind: ${kind}`);
}

const cases = JSON.parse(readFileSync(ours, "utf8"));
const out = cases.map(({ name, value }) => ({ name, data: hex(codec.encode(build(value))) }));
writeFileSync(theirs, JSON.stringify(out));

await run(Object.fromEntries(cases.map(({ name, value, data }) => [name, async () => {
  const bytes = Buffer.from(data, "hex");
  assert.deepEqual(describe(codec.decode(bytes)), value);
  if (value[0] === "time") {
    // Without an extension of its own the library makes a Date, in milliseconds.
    const date = decode(bytes);
    assert.ok(date instanceof Date);
    assert.ok(Math.abs(date.getTime() - (Number(value[1]) * 1e3 + Number(value[2]) / 1e6)) <= 1);
  }
}])));
