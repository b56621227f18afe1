# SPDX-License-Identifier: MIT
"""How one subject is measured once, how rounds are interleaved, and what becomes of the figures."""

import json
import math
import re
import shutil
import statistics
import subprocess
import time
from dataclasses import dataclass
from typing import Optional

import svg
from subjects import BUILD, HERE, Absent, Stage, connect, first_line, pin, program, say

PEERS = ["nginx", "h2o", "Beast", "cpp-httplib", "libevent", "Go", "Node", "aiohttp"]
HELLO = "GET|/|0|text:Hello Anonymous"


class Failed(Exception):
    """A subject gave wrong answers, or none."""


@dataclass
class Verdict:
    met: Optional[bool]  # None: not measured
    words: str

    def __str__(self):
        return {True: "met", False: "MISSED", None: "not measured"}[self.met]


def all_of(verdicts):
    words = "; ".join(verdict.words for verdict in verdicts)
    if any(verdict.met is False for verdict in verdicts):
        return Verdict(False, words)
    return Verdict(None if any(verdict.met is None for verdict in verdicts) else True, words)


# Figures ------------------------------------------------------------------------------------------

def median(values):
    return statistics.median(values) if values else math.nan


def number(value):
    return "-" if math.isnan(value) else svg.number(value)


def quartiles(values):
    """How far the rounds lie apart: a figure nearer to its limit than this says little."""
    if len(values) < 4:
        return "-"
    low, _, high = statistics.quantiles(values, n=4)
    return f"{low:.2f}-{high:.2f}"


def ratios(samples, name, base, key):
    """name's figure in multiples of base's, round by round."""
    return [one[key] / two[key] for one, two in zip(samples.get(name, []), samples.get(base, []))
            if two[key]]


def middle(samples, name, key):
    return median([one[key] for one in samples.get(name, [])])


class Bench:
    """Options, the stage with its servers, and the clock of the whole run."""

    def __init__(self, options):
        self.options = options
        self.quick = options.quick
        self.started = time.monotonic()
        self.budget = options.budget or (115 if self.quick else 880)
        self.rounds = options.rounds or (3 if self.quick else 15)
        self.peer_rounds = min(self.rounds, 1 if self.quick else 5)
        self.seconds = 0.2 if self.quick else 0.4
        self.saved = []
        self.row_end = math.inf
        self.load_program = program("load")
        self.stage = Stage()

    def time_left(self):
        return self.budget - (time.monotonic() - self.started)

    def begin_row(self, rows_left):
        """A row that takes twice its share gives up rounds, so that the later ones get theirs."""
        self.row_end = time.monotonic() + 2 * self.time_left() / rows_left

    def is_late(self):
        return time.monotonic() > self.row_end or self.time_left() < 0

    def wanted(self, subjects):
        chosen = self.options.subjects
        return [name for name in subjects
                if not chosen or name.split(":")[0] in [*chosen, "floor"]]

    # One measurement ------------------------------------------------------------------------------

    def load(self, server, *arguments, seconds=None, core="load"):
        core = self.stage.load_core if core == "load" else core
        span = seconds or self.seconds
        # Compilers at run time and first allocations need longer, once for each kind of work.
        warmup = span / 4
        if arguments not in server.warm_for:
            warmup = self.seconds / 2 if server.warm_for else max(self.seconds, 0.4)
        server.warm_for.add(arguments)
        command = pin(core) + [
            self.load_program, "--seconds", f"{span:.3f}", "--warmup", f"{warmup:.3f}",
            "--watch", ",".join(map(str, server.pids())), *arguments, server.where]
        try:
            result = self.figures(command, span + warmup + 20)
        except Failed:
            if server.end():
                raise Failed(server.end()) from None
            raise
        if server.end():
            raise Failed(server.end())
        return result

    def figures(self, command, limit):
        try:
            done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                                  timeout=limit, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired as late:
            raise Failed(f"no result within {limit:.0f} s") from late
        lines = done.stdout.splitlines()
        if not lines:
            raise Failed(first_line(done.stderr))
        result = json.loads(lines[-1])
        if result.get("errors"):
            raise Failed(f"{result['errors']} wrong: {result.get('first_error', '')}")
        if result.get("requests") == 0:
            raise Failed("no answer in time")
        return result

    def interleave(self, subjects, measure, first, rounds=None, peer_rounds=None):
        """name -> [figures per round], and name -> why it is absent or failed.

        Those in `first` take part in every round, the others in the first few.
        """
        samples, failures = {name: [] for name in subjects}, {}
        peer_rounds = self.peer_rounds if peer_rounds is None else peer_rounds
        for i in range(rounds or self.rounds):
            for name in subjects if i % 2 == 0 else subjects[::-1]:
                if name in failures or (i >= peer_rounds and name not in first):
                    continue
                if self.is_late() and (i > 0 or name not in first):
                    if not samples[name]:
                        failures[name] = "out of time"
                    continue
                try:
                    samples[name].append(measure(name))
                except (Absent, Failed) as why:
                    failures[name] = str(why)
        return samples, failures

    # Subjects that have to agree on something first -----------------------------------------------

    def exchange(self, server, request):
        with connect(server.where) as peer:
            peer.sendall(request)
            answer = b""
            while b"\r\n\r\n" not in answer:
                piece = peer.recv(65536)
                if not piece:
                    raise Failed(f"{server.name}: closed without an answer")
                answer += piece
            size = int(re.search(rb"(?i)content-length: *(\d+)", answer).group(1))
            head, _, body = answer.partition(b"\r\n\r\n")
            while len(body) < size:
                body += peer.recv(65536)
            return head + b"\r\n\r\n", body

    def floor(self, tcp=False):
        """The floor sends exactly the bytes that hello sends."""
        options = []
        try:
            head, body = self.exchange(self.stage.start("hello"),
                                       b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            path = self.stage.folder / "answer"
            path.write_bytes(head + body)
            options = ["--answer", path]
        except (Absent, OSError):
            pass
        return self.stage.start("floor", *options, tcp=tcp)

    def echo_floor(self, size):
        """It echoes below a head as long as hello's."""
        head_bytes = 120
        try:
            request = f"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n"
            head, _ = self.exchange(self.stage.start("hello"), request.encode() + b"x" * size)
            head_bytes = len(head)
        except (Absent, OSError):
            pass
        return self.stage.start("floor", "--echo", head_bytes, key=f"floor/echo{size}")

    def server(self, name):
        return self.floor() if name == "floor" else self.stage.start(name)

    # Output ---------------------------------------------------------------------------------------

    def table(self, header, rows):
        rows = [[str(cell) for cell in row] for row in [header, *rows]]
        widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
        for i, row in enumerate(rows):
            figures = [not re.match(r"[-\d]", cell) and i > 0 for cell in row]
            cells = [cell.ljust(width) if j == 0 or figures[j] else cell.rjust(width)
                     for j, (cell, width) in enumerate(zip(row, widths))]
            say("    " + "  ".join(cells).rstrip())
            if i == 0:
                say("    " + "  ".join("-" * width for width in widths))

    def failures(self, failures):
        for name, why in failures.items():
            say(f"    {name}: absent ({why})")

    def write(self, name, text):
        BUILD.mkdir(parents=True, exist_ok=True)
        (BUILD / name).write_text(text)
        self.saved.append(BUILD / name)

    def save(self, key, data):
        self.write(f"{key}.json", json.dumps(data, indent=1) + "\n")

    def plot_bars(self, key, title, subtitle, rows):
        """rows: (name, value, words); without what wasn't measured."""
        rows = [row for row in rows if not math.isnan(row[1])]
        if rows:
            self.write(f"{key}.svg", svg.bars(title, subtitle, rows))

    def plot_lines(self, key, title, subtitle, x_name, curves):
        self.write(f"{key}.svg", svg.lines(title, subtitle, x_name, curves))

    def publish(self):
        results = HERE / "results"
        results.mkdir(exist_ok=True)
        for path in self.saved:
            shutil.copy(path, results)

    def verdict(self, failures, ratio, limit, *names, at_most=True, what="x floor"):
        """`names`: without whom, all rounds long, there is no verdict."""
        reasons = [f"{name}: {failures[name]}" for name in names if name in failures]
        if reasons or math.isnan(ratio):
            return Verdict(None, reasons[0] if reasons else "not chosen, or out of time")
        met = ratio <= limit if at_most else ratio >= limit
        return Verdict(met, f"{ratio:.3g} {what} ({'at most' if at_most else 'at least'} "
                       f"{limit:.3g})")
