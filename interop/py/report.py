"""How the scripts of this folder talk to the Go test that runs them: a line
"ok NAME" or "not ok NAME: WHY" for each case, and "done" at the end."""

import asyncio

CASE_TIME = 20  # seconds


async def run(cases):
    for case in cases:
        name = case.__doc__
        try:
            await asyncio.wait_for(case(), CASE_TIME)
            print(f"ok {name}", flush=True)
        except Exception as e:  # whatever it was, it is this case's failure
            why = f"{type(e).__name__} {e}".replace("\n", " | ")
            print(f"not ok {name}: {why}", flush=True)
    print("done", flush=True)
