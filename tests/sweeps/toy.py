"""A program that behaves towards a sweep as ``ibsuite.fit`` does, in a tenth of a second.

Its total is (x - 3)^2 + 10 + seed bits for eight labels, logged along ``--blocks`` blocks from above.
"""

import sys
import time
from pathlib import Path

from ibsuite import record


def main() -> int:
    given = dict(word[2:].split("=", 1) for word in sys.argv[1:] if "=" in word)
    x, seed, blocks = float(given["x"]), int(given["seed_everything"]), int(given.get("blocks", 1))
    if x == -1:
        print("error: x must not be -1", file=sys.stderr)
        return 2
    if x == -2:
        print("weights is not finite at step 7", file=sys.stderr)
        return 1
    run = Path(given["out"]) / given["experiment"] / f"{seed}-{given['x']}"
    record.announce(run)
    run.mkdir(parents=True, exist_ok=True)
    with (run / "started").open("a") as file:
        file.write("x")
    total = (x - 3) ** 2 + 10 + seed
    rows = []
    for block in range(blocks):
        rows.append({"trainer/global_step": block, "code/total_bits": total + blocks - 1 - block})
        record.write_csv(run / record.METRICS, rows)
        time.sleep(0.0 if blocks == 1 else float(given.get("pause", 0.5)))
    record.write_json(run / record.CODELENGTH, {"schema": record.SCHEMA, "total_bits": total})
    return 0


sys.exit(main())
