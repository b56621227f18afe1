#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The benchmark: every figure beside its floor and its peers, in one run.

    tests/bench/run.py [--quick] [--only ROW[,ROW]] [--rounds N] [--subjects A,B] [--publish]

README.md beside this file has the method.
"""

import argparse
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True  # nothing but sources in this folder

from harness import Bench, Failed, Verdict
from rows import ROWS
from subjects import PACKAGES, SAID, Absent, build_all, install_missing, say


def versions():
    """Package -> version, of the peers."""
    found = {}
    if shutil.which("dpkg-query"):
        for package in PACKAGES:
            asked = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package],
                                   capture_output=True, text=True)
            found[package] = asked.stdout if asked.returncode == 0 else "absent"
    return found


def machine():
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory_kib = int(re.search(r"MemTotal: *(\d+)", Path("/proc/meminfo").read_text()).group(1))
    compiler = subprocess.run(["g++", "--version"], capture_output=True, text=True).stdout
    return {"cpu": model.group(1) if model else platform.machine(),
            "cores": len(os.sched_getaffinity(0)), "memory_gib": round(memory_kib / (1 << 20)),
            "kernel": platform.release(), "compiler": compiler.splitlines()[0],
            "wmem_max": int(Path("/proc/sys/net/core/wmem_max").read_text()),
            "packages": versions(), "date": time.strftime("%Y-%m-%d"),
            "load_average": os.getloadavg()[0]}


def parse_options():
    keys = [row.key for row in ROWS]
    options = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    options.add_argument("--quick", action="store_true", help="at most 2 minutes, rough")
    options.add_argument("--only", default="", help="rows, of " + ", ".join(keys))
    options.add_argument("--rounds", type=int, help="of the subjects that a verdict needs")
    options.add_argument("--subjects", default="", help="beside the floor: hello, nginx, ...")
    options.add_argument("--budget", type=float, help="seconds")
    options.add_argument("--publish", action="store_true", help="copy to tests/bench/results/")
    chosen = options.parse_args()
    chosen.only = [key for key in chosen.only.split(",") if key]
    chosen.subjects = [name for name in chosen.subjects.split(",") if name]
    unknown = sorted(set(chosen.only) - set(keys))
    if unknown:
        options.error("no such row: " + ", ".join(unknown))
    return chosen


def measure(bench, row):
    say(f"\n{row.work}: {row.figure}")
    if bench.time_left() < 0:
        row.verdict = Verdict(None, "out of time")
    else:
        try:
            row.verdict = row.measure(bench)
        except (Absent, Failed) as why:
            row.verdict = Verdict(None, str(why))
    say(f"    => {row.verdict if row.judged else 'shown'}: {row.verdict.words}")


def shortened(words):
    return words if len(words) <= 120 else words[:117] + "..."


def summarise(bench, rows, about):
    judged = [row for row in rows if row.judged]
    say("\nVerdicts")
    bench.table(["work", "figure", "verdict", "measured"],
                [[row.work, row.figure, row.verdict, shortened(row.verdict.words)]
                 for row in judged])
    bench.save("summary", {"machine": about, "verdicts": {
        row.key: {"work": row.work, "figure": row.figure,
                  "verdict": str(row.verdict) if row.judged else "shown",
                  "measured": row.verdict.words} for row in rows}})
    say(f"\n{time.monotonic() - bench.started:.0f} s; tables, JSON and plots in build/bench")
    bench.write("tables.txt", "\n".join(SAID) + "\n")


def main():
    options = parse_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that servers are stopped, too
    install_missing()
    about = machine()
    say(f"{about['cpu']}, {about['cores']} cores, Linux {about['kernel']}, {about['compiler']}")
    if about["cores"] < 2:
        say("one core only: server and generator share it, so rates and latencies mean little")
    if about["load_average"] > 0.5:
        say(f"load average {about['load_average']:.1f}: others are working here too")
    rows = [row for row in ROWS if not options.only or row.key in options.only]
    if not options.only:
        say("building")
        build_all()
    try:
        bench = Bench(options)
    except Absent as why:
        return f"bench: {why}"
    try:
        for i, row in enumerate(rows):
            bench.begin_row(len(rows) - i)
            measure(bench, row)
    finally:
        bench.stage.close()
    summarise(bench, rows, about)
    if options.publish:
        bench.publish()
    return 0


if __name__ == "__main__":
    sys.exit(main())
