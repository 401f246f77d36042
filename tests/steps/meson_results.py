#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""meson_results.py KIND TESTLOG: one line "ok", "not ok" or "skip" for each test in meson's testlog.json."""
import json
import sys


def main():
    kind, path = sys.argv[1:]
    bad = 0
    with open(path, encoding="utf-8") as log:
        for line in log:
            test = json.loads(line)
            name = f"{kind}/{test['name']} ({test['duration']:.1f} s)"
            if test["result"] in ("OK", "EXPECTEDFAIL"):
                print("ok", name)
            elif test["result"] == "SKIP":
                print("skip", name, "# the test says that it cannot run here")
            else:
                bad += 1
                print("not ok", name, test["result"])
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
