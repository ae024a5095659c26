// How the scripts of this folder talk to the Go test that runs them: a line
// "ok NAME" or "not ok NAME: WHY" for each case, and "done" at the end, without
// which the test fails.

import assert from "node:assert/strict";

const caseTime = 20000; // milliseconds

/** Runs one case after the other; each ends within its time or has failed. */
export async function run(cases) {
  for (const [name, body] of Object.entries(cases)) {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`not over after ${caseTime} ms`)), caseTime);
    });
    try {
      await Promise.race([body(), late]);
      console.log(`ok ${name}`);
    } catch (e) {
      console.log(`not ok ${name}: ${String(e.message ?? e).replaceAll("\n", " | ")}`);
    } finally {
      clearTimeout(timer);
    }
  }
  console.log("done");
}

/** Resolves with the next event of that name, rejects if the emitter fails first. */
export function next(emitter, event) {
  return new Promise((resolve, reject) => {
    emitter.once("error", reject);
    emitter.once(event, (...args) => {
      emitter.off("error", reject);
      resolve(args);
    });
  });
}

export { assert };
