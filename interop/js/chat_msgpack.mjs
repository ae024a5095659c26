// The little msgpack of the chat's page against @msgpack/msgpack.
//
//	node chat_msgpack.mjs ../examples/chat/page/msgpack.js

import { readFileSync } from "node:fs";
import * as theirs from "@msgpack/msgpack";
import { assert, run } from "./report.mjs";

// A file outside of this package is no module to node, but its text is.
const ours = await import(`data:text/javascript,${encodeURIComponent(readFileSync(process.argv[2], "utf8"))}`);

const keys = (n) => Object.fromEntries(Array.from({ length: n }, (_, i) => [`key ${i}`, i]));
const values = {
  "nil and booleans": [null, true, false],
  "whole numbers": [0, 1, 127, 128, 255, 256, 65535, 65536, 2 ** 31, 2 ** 32 - 1],
  "negative numbers": [-1, -32, -33, -128, -129, -32768, -32769, -(2 ** 31)],
  "strings": ["", "a", "ü🧵", "x".repeat(31), "x".repeat(32), "x".repeat(255), "x".repeat(256), "x".repeat(70000)],
  "bytes": [new Uint8Array(), new Uint8Array(255).fill(7), new Uint8Array(256), new Uint8Array(70000)],
  "arrays": [[], [1, [2, [3]]], Array(15).fill(1), Array(16).fill("x"), Array(70000).fill(0)],
  "maps": [{}, { a: { b: [null] } }, keys(15), keys(16), keys(70000)],
  "an envelope": [{ type: "send", receipt: "1", destination: "/app/rooms/lobby/say", body: new Uint8Array([0x81]), heartbeat: [10000, 0] }],
};

const cases = Object.fromEntries(Object.entries(values).map(([name, list]) => [name, () => {
  for (const v of list) {
    assert.deepEqual(theirs.decode(ours.encode(v)), v);
    assert.deepEqual(ours.decode(theirs.encode(v)), v);
    assert.deepEqual(ours.decode(ours.encode(v)), v);
  }
}]));

await run({
  ...cases,
  "numbers that only arrive": () => {
    for (const v of [1.5, -0.25, 2 ** 40, Number.MAX_SAFE_INTEGER, -(2 ** 40)]) {
      assert.equal(ours.decode(theirs.encode(v)), v);
      if (Number.isInteger(v)) assert.equal(ours.decode(theirs.encode(BigInt(v), { useBigInt64: true })), v);
    }
    assert.equal(ours.decode(theirs.encode(1.5, { forceFloat32: true })), 1.5);
    assert.throws(() => ours.encode(1.5), RangeError);
    assert.throws(() => ours.encode(2 ** 32), RangeError);
  },
  "what is cut off or too long": () => {
    const whole = theirs.encode({ a: ["x", 1, 70000, -5000, true, new Uint8Array(3), "y".repeat(300), 2.5] });
    assert.deepEqual(ours.decode(whole).a[0], "x");
    for (let n = 0; n < whole.length; n++) assert.throws(() => ours.decode(whole.slice(0, n)), RangeError, `${n}`);
    assert.throws(() => ours.decode(new Uint8Array([...whole, 0])), RangeError);
    assert.throws(() => ours.decode(new Uint8Array([0xc1])), TypeError);
    assert.throws(() => ours.decode(new Uint8Array([0xdd, 0xff, 0xff, 0xff, 0xff])), RangeError); // a length is not believed
    assert.throws(() => ours.decode(new Uint8Array([0xa1, 0xff])), TypeError); // no UTF-8
  },
});
