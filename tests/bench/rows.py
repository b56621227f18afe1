# SPDX-License-Identifier: MIT
"""What is measured: one function per row, each prints its table and returns its verdict."""

import json
import math
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from typing import Callable
from urllib.parse import quote

import svg
from harness import (HELLO, PEERS, Failed, Verdict, all_of, median, middle, number, quartiles,
                     ratios)
from subjects import HEADER, HERE, ROOT, Absent, example, installed, is_there, pin, program, say

MIB = 1 << 20


@dataclass
class Row:
    key: str
    work: str
    figure: str
    measure: Callable
    judged: bool = True  # False: shown beside the figures to reach
    verdict: Verdict = field(default_factory=lambda: Verdict(None, ""))


# Server CPU against the floor ---------------------------------------------------------------------

def against_floor(bench, key, title, subjects, start, arguments, limit):
    subjects = bench.wanted(subjects)
    samples, failures = bench.interleave(
        subjects, lambda name: bench.load(start(name), *arguments), ("floor", "hello"))
    spread = {name: ratios(samples, name, "floor", "cpu_us") for name in subjects}
    ratio = {name: median(spread[name]) for name in subjects}
    bench.table(
        ["subject", "CPU us/request", "x floor", "quartiles", "user us", "requests/s", "p50 us",
         "p99 us", "p99.9 us"],
        [[name, number(middle(samples, name, "cpu_us")), number(ratio[name]),
          quartiles(spread[name])]
         + [number(middle(samples, name, figure))
            for figure in ("user_us", "rps", "p50_us", "p99_us", "p999_us")]
         for name in subjects if samples[name]])
    bench.failures(failures)
    bench.save(key, {"title": title, "samples": samples, "ratios": ratio, "absent": failures})
    bench.plot_bars(key, title, "server CPU per request, in multiples of the floor",
                    [(name, ratio[name], f"{number(ratio[name])} x, "
                      f"{number(middle(samples, name, 'cpu_us'))} us") for name in subjects])
    return bench.verdict(failures, ratio.get("hello", math.nan), limit, "hello", "floor")


def keepalive(bench):
    return against_floor(bench, "keepalive", "64 connections, keep-alive, GET /",
                         ["floor", "hello", *PEERS], bench.server,
                         ("--connections", 64, "--request", HELLO), 1.08)


def pipelined(bench):
    say("    cpp-httplib is left out: it drops what it has read beyond one request")
    subjects = ["floor", "hello", *(name for name in PEERS if name != "cpp-httplib")]
    return against_floor(bench, "pipelined", "64 connections, 16 requests pipelined, GET /",
                         subjects, bench.server,
                         ("--connections", 64, "--pipeline", 16, "--request", HELLO), 1.6)


def new_connection(bench):
    return against_floor(bench, "new_connection", "A new connection per request, GET /",
                         ["floor", "hello", *PEERS], bench.server,
                         ("--connections", 64, "--new-connection", "--request", HELLO), 1.10)


def echo(bench):
    verdicts = []
    for size in (1024, 16 * 1024):
        say(f"  {size // 1024} KiB")

        def start(name, size=size):
            return bench.echo_floor(size) if name == "floor" else bench.stage.start(name)

        verdicts.append(against_floor(
            bench, f"echo_{size}", f"64 connections, POST /echo of {size // 1024} KiB",
            ["floor", "hello", "Beast", "cpp-httplib", "libevent", "Go", "Node", "aiohttp"], start,
            ("--connections", 64, "--request", f"POST|/echo|{size}|fill:{size}"), 1.15))
    return all_of(verdicts)


def routes(bench):
    few, many = "/ alone", "/{name} of 1,000"

    def measure(name):
        if name == few:
            return bench.load(bench.stage.start("routes", key="routes/alone"),
                              "--connections", 64, "--request", HELLO)
        server = bench.stage.start("routes", key="routes/1000", operands=["1000"])
        return bench.load(server, "--connections", 64, "--variants", 1000, "--request",
                          "GET|/somebody{}|0|text:Hello somebody{}")

    samples, failures = bench.interleave([few, many], measure, (few, many))
    spread = ratios(samples, many, few, "cpu_us")
    bench.table(["routes", "CPU us/request", "x / alone", "quartiles"],
                [[name, number(middle(samples, name, "cpu_us")),
                  number(median(ratios(samples, name, few, "cpu_us"))),
                  quartiles(ratios(samples, name, few, "cpu_us"))]
                 for name in (few, many) if samples[name]])
    bench.failures(failures)
    bench.save("routes", {"samples": samples, "ratio": median(spread)})
    return bench.verdict(failures, median(spread), 1.10, many, few, what="x / alone")


# Large bodies, by throughput ----------------------------------------------------------------------

def sndbuf():
    """What the header gives a connection with a large body: the raw loops get the same."""
    text = HEADER.read_text() if HEADER.exists() else ""
    found = re.search(r"sndbuf_bytes = (\d+)(?: << (\d+))?;", text)
    return int(found.group(1)) << int(found.group(2) or 0) if found else MIB


def throughput(bench, key, title, subjects, measure, size):
    """Bytes per second of each subject, and as a part of the first one's, the raw loop."""
    def one(name):
        figures = measure(name)
        moved_gb = (figures["bytes_in"] + figures["bytes_out"]) / 1e9
        return {**figures, "gb_s": size / figures["mean_us"] / 1e3,
                "cpu_ms_gb": figures["cpu_us"] * figures["requests"] / 1e3 / moved_gb}

    base = subjects[0]
    samples, failures = bench.interleave(bench.wanted(subjects), one, subjects[:2])
    spread = {name: ratios(samples, name, base, "gb_s") for name in subjects}
    shown = [name for name in subjects if samples.get(name)]
    bench.table(["subject", "GB/s", "x " + base, "quartiles", "server CPU ms/GB", "x"],
                [[name, number(middle(samples, name, "gb_s")), number(median(spread[name])),
                  quartiles(spread[name]), number(middle(samples, name, "cpu_ms_gb")),
                  number(median(ratios(samples, name, base, "cpu_ms_gb")))] for name in shown])
    bench.failures(failures)
    ratio = {name: median(spread[name]) for name in subjects}
    bench.save(key, {"title": title, "samples": samples, "ratios": ratio, "absent": failures})
    bench.plot_bars(key, title, "GB per second, one connection",
                    [(name, middle(samples, name, "gb_s"),
                      f"{number(middle(samples, name, 'gb_s'))} GB/s") for name in shown])
    return ratio, failures


def memory(bench):
    verdicts = []
    for size in (MIB, 100 * MIB):
        say(f"  {size // MIB} MiB")

        def measure(name, size=size):
            if name == "floor: write":
                server = bench.stage.start("floor", "--write", size, "--sndbuf", sndbuf(),
                                           key=f"floor/write{size}")
            else:
                server = bench.stage.start(name)
            return bench.load(server, "--connections", 1, "--request",
                              f"GET|/memory/{size}|0|fill:{size}")

        ratio, failures = throughput(
            bench, f"memory_{size // MIB}", f"{size // MIB} MiB from memory",
            ["floor: write", "hello: bulk", "cpp-httplib"], measure, size)
        verdicts.append(bench.verdict(failures, ratio["hello: bulk"], 0.9, "hello: bulk",
                                      "floor: write", at_most=False,
                                      what="of the raw write loop"))
    return all_of(verdicts)


def file(bench):
    size = 100 * MIB
    path = bench.stage.big_file(size)

    def measure(name):
        target = f"/{path.name}"
        if name == "floor: sendfile":
            server = bench.stage.start("floor", "--sendfile", path, "--sndbuf", sndbuf(),
                                       key="floor/sendfile")
        elif name == "hello: files":
            server = bench.stage.start(name, operands=[path.parent])
        else:
            server, target = bench.stage.start(name), f"/files/{path.name}"
        return bench.load(server, "--connections", 1, "--request", f"GET|{target}|0|fill:{size}")

    ratio, failures = throughput(bench, "file", "A file of 100 MiB",
                                 ["floor: sendfile", "hello: files", "nginx", "h2o"], measure, size)
    ours = ratio["hello: files"]
    return all_of([
        bench.verdict(failures, ours, 0.85, "hello: files", "floor: sendfile", at_most=False,
                      what="of the raw sendfile loop"),
        bench.verdict(failures, ours / ratio["nginx"], 3, "hello: files", "nginx", at_most=False,
                      what="x nginx")])


def upload(bench):
    size = (64 if bench.quick else 1024) * MIB

    def measure(name):
        if name == "floor: read":
            server, expected = bench.stage.start("floor", "--read", key="floor/read"), "fill:0"
        else:
            server, expected = bench.stage.start(name), f"text:{size}"
        return bench.load(server, "--connections", 1, "--sndbuf", sndbuf(), "--request",
                          f"PUT|/sink|{size}|{expected}", seconds=2 * bench.seconds)

    ratio, failures = throughput(bench, "upload",
                                 f"An upload of {size // MIB} MiB, read and dropped",
                                 ["floor: read", "hello: bulk"], measure, size)
    return bench.verdict(failures, ratio["hello: bulk"], 0.85, "hello: bulk", "floor: read",
                         at_most=False, what="of the raw read loop")


def descriptor(bench):
    """A body that is in memory already, until the client's body() has it: as itself, and as bytes."""
    size = (256 if bench.quick else 1024) * MIB
    server = bench.stage.start("hello: fd_pass")
    url = f"http+unix://{quote(server.where, safe='')}/big/{size}"
    flags = {"as bytes": ["--repeat", 1], "as a descriptor": ["--body-fd", "--repeat", 20]}

    def measure(name):
        command = pin(bench.stage.load_core) + [example("fetch"), *flags[name], url]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                              timeout=120)
        figures = re.fullmatch(r"(\d+) ok, 0 failed, p50 (\d+) us, p99 \d+ us\n", done.stdout)
        if not figures or int(figures.group(1)) != flags[name][-1]:
            raise Failed(done.stdout.strip() or done.stderr.strip())
        return {"p50_us": float(figures.group(2))}

    measure("as a descriptor")  # the first one builds the body
    samples, failures = bench.interleave(list(flags), measure, list(flags), rounds=3)
    spread = ratios(samples, "as a descriptor", "as bytes", "p50_us")
    bench.table([f"{size // MIB} MiB", "p50 us", "x as bytes"],
                [[name, number(middle(samples, name, "p50_us")),
                  f"{median(ratios(samples, name, 'as bytes', 'p50_us')):.3g}"] for name in flags])
    bench.failures(failures)
    bench.save("descriptor", {"samples": samples, "ratio": median(spread), "absent": failures})
    bench.stage.stop("hello: fd_pass")  # its memory
    return bench.verdict(failures, median(spread), 1 / 200, *flags, what="of the time of its bytes")


# The client, the parser ---------------------------------------------------------------------------

CLIENTS = {"floor": ["floor", "--client"], "uds_http": ["client_uds"],
           "uds_http, reusing": ["client_uds", "--reuse"], "Beast": ["beast_client"],
           "cpp-httplib": ["httplib_client"], "libcurl": ["curl_client"]}


def user_instructions(bench, name):
    """Of one call, in user space: what two runs of callgrind differ by. Exact, where ticks are not."""
    def count(requests):
        words = CLIENTS[name]
        with tempfile.NamedTemporaryFile() as out:
            subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out.name}",
                            program(words[0]), *words[1:], "--requests", str(requests),
                            bench.floor().where],
                           check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                           timeout=60)
            lines = pathlib.Path(out.name).read_text().splitlines()
        return next(int(line.split()[1]) for line in lines
                    if line.startswith(("summary:", "totals:")))

    # What is counted is also a quarter more calls, for the latency.
    return (count(3_000) - count(1_000)) / 2_500


def client(bench):
    """All of them against the floor's server, so that the server is the same few lines for all."""
    requests = 5_000 if bench.quick else 20_000

    def measure(name):
        words = CLIENTS[name]
        command = pin(bench.stage.load_core) + [program(words[0]), *words[1:], "--requests",
                                                requests, bench.floor().where]
        return bench.figures(command, 60)

    subjects = bench.wanted(CLIENTS) if "uds_http" in bench.wanted(CLIENTS) else list(CLIENTS)
    samples, failures = bench.interleave(subjects, measure, ("floor", "uds_http", "libcurl"))
    spread = {name: ratios(samples, name, "floor", "cpu_us") for name in subjects}
    bench.table(["client", "CPU us/request", "x floor", "quartiles", "user us", "p50 us", "p99 us"],
                [[name, number(middle(samples, name, "cpu_us")), number(median(spread[name])),
                  quartiles(spread[name])]
                 + [number(middle(samples, name, key)) for key in ("user_us", "p50_us", "p99_us")]
                 for name in subjects if samples[name]])
    bench.failures(failures)
    bench.save("client", {"samples": samples, "absent": failures})
    bench.plot_bars("client", "Clients: sequential GET / on one connection",
                    "user CPU per request, us",
                    [(name, max(middle(samples, name, "user_us"), 0.01),
                      f"{number(middle(samples, name, 'user_us'))} us, "
                      f"{number(middle(samples, name, 'cpu_us'))} with the kernel's")
                     for name in subjects])
    # Ticks sample user time coarsely, and give it the way into the kernel and back: the floor, with
    # 60 instructions, is seen at 1 to 2 us. So what is judged is counted.
    ticks = middle(samples, "uds_http", "user_us") / middle(samples, "libcurl", "user_us")
    verdicts = [bench.verdict(failures, median(spread.get("uds_http", [])), 1.08,
                              "uds_http", "floor")]
    try:
        ours, curls = (user_instructions(bench, name) for name in ("uds_http", "libcurl"))
        print(f"user instructions per call: uds_http {ours:.0f}, libcurl {curls:.0f}")
        verdicts.append(bench.verdict(failures, ours / curls, 0.1, "uds_http", "libcurl",
                                      what=f"of libcurl's user instructions (ticks: {ticks:.2f})"))
    except (OSError, subprocess.SubprocessError, StopIteration) as why:
        verdicts.append(Verdict(None, f"valgrind: {why} (ticks: {ticks:.2f} of libcurl's)"))
    return all_of(verdicts)


def parser(bench):
    rounds = 50_000 if bench.quick else 200_000
    try:
        command = pin(bench.stage.load_core) + [program("parser"), "--rounds", rounds]
        samples = [bench.figures(command, 60) for _ in range(bench.rounds)]
    except (Absent, Failed) as why:
        bench.failures({"parser": why})
        return Verdict(None, str(why))
    spread = [one["http_parser_ns"] / one["uds_http_ns"] for one in samples]
    bench.table(["parser", "ns/request", "speed", "quartiles"],
                [["http_parser", number(median([one["http_parser_ns"] for one in samples])), 1,
                  "-"],
                 ["uds_http", number(median([one["uds_http_ns"] for one in samples])),
                  number(median(spread)), quartiles(spread)]])
    bench.save("parser", {"samples": samples, "ratio": median(spread)})
    return bench.verdict({}, median(spread), 8, at_most=False, what="x http_parser's speed")


# Memory, latency, threads -------------------------------------------------------------------------

def idle(bench):
    """What a kept connection costs in user space: RssAnon with and without 9,000 of them.

    Slabs grow in steps, so two figures: over all of them, and over all but the first 1,000. The
    larger one counts.
    """
    held = 2_000 if bench.quick else 9_000
    sizes, failures = {}, {}
    for name in bench.wanted(["floor", "hello", *(["nginx"] if bench.quick else PEERS)]):
        if name == "cpp-httplib":
            continue  # a thread per connection: 9,000 are out of the question
        try:
            sizes[name] = idle_bytes(bench, name, held)
        except (Absent, Failed) as why:
            failures[name] = str(why)
    bench.table(["subject", "bytes each", "after the first 1,000"],
                [[name, f"{whole:,.0f}", f"{later:,.0f}"]
                 for name, (whole, later) in sizes.items()])
    bench.failures(failures)
    bench.save("idle", {"held": held, "bytes": sizes, "absent": failures})
    bench.plot_bars("idle", f"{held:,} idle kept connections", "user-space bytes per connection",
                    [(name, max(*of, 1), f"{max(of):,.0f}") for name, of in sizes.items()])
    return bench.verdict(failures, max(sizes.get("hello", [math.nan])), 200, "hello",
                         what="bytes each")


def idle_bytes(bench, name, held):
    if name == "floor":
        server = bench.stage.start("floor", key="floor/idle")
    else:
        server = bench.stage.start(name, key=f"{name}/idle")
    holders = []
    try:
        # Whatever a server allocates once, at its first requests, is not a connection's.
        bench.load(server, "--connections", 1, "--request", HELLO, seconds=0.2)
        time.sleep(0.2)
        kib = [server.status_kib("RssAnon")]
        for count in (1_000, held - 1_000):
            holders.append(hold(bench, server, count))
            kib.append(server.status_kib("RssAnon"))
        return (kib[2] - kib[0]) * 1024 / held, (kib[2] - kib[1]) * 1024 / (held - 1_000)
    finally:
        for holder in holders:
            holder.communicate()
        bench.stage.stop(f"{name}/idle")


def hold(bench, server, count):
    """A process that keeps that many connections, after one request on each."""
    holder = subprocess.Popen(
        pin(bench.stage.load_core) + [str(bench.load_program), "--hold", "--connections",
                                      str(count), "--request", HELLO, server.where],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    errors = json.loads(holder.stdout.readline() or '{"errors": "all"}')["errors"]
    if errors:
        holder.communicate()
        raise Failed(f"{errors} connections without an answer")
    return holder


BUSY_POLL = {"floor": (["floor", "--client"], "floor"),
             "floor, server spins": (["floor", "--client"], "floor spins"),
             "floor, both spin": (["floor", "--client", "--spin"], "floor spins"),
             "blocking": (["client_uds"], "hello"),
             "server spins": (["client_uds"], "hello spins"),
             "the same, client sleeps at once": (["client_uds", "--busy-poll", 0], "hello spins"),
             "both spin": (["client_uds", "--busy-poll", 1_000], "hello spins")}


def busy_poll(bench):
    """The floor says what sleeping costs on this machine: nothing spins better than it."""
    requests = 3_000 if bench.quick else 20_000

    def start(server):
        if server == "floor":
            return bench.floor()
        if server == "hello":
            return bench.stage.start("hello")
        options = ["--spin"] if server == "floor spins" else ["--busy-poll", 1_000]
        return bench.stage.start(server.split()[0], *options, key=server)

    def measure(name):
        words, server = BUSY_POLL[name]
        where = start(server).where
        for other in {"floor spins", "hello spins"} - {server}:
            bench.stage.stop(other)  # it would burn the core that this one is measured on
        command = pin(bench.stage.load_core) + [program(words[0]), *words[1:],
                                                "--requests", requests, where]
        return bench.figures(command, 60)

    names = list(BUSY_POLL)
    samples, failures = bench.interleave(names, measure, names, rounds=min(bench.rounds, 7))

    def ratio(name, to="blocking"):
        return median(ratios(samples, name, to, "p50_us"))

    bench.table(["one connection", "p50 us", "p99 us", "x blocking"],
                [[name, number(middle(samples, name, "p50_us")),
                  number(middle(samples, name, "p99_us")),
                  number(ratio(name, "floor" if "floor" in name else "blocking"))]
                 for name in names if samples[name]])
    bench.failures(failures)
    bench.save("busy_poll", {"samples": samples, "ratio": ratio("both spin")})
    bench.plot_bars("busy_poll", "One connection, sequential GET /", "p50",
                    [(name, middle(samples, name, "p50_us"),
                      f"{number(middle(samples, name, 'p50_us'))} us") for name in names])
    for server in ("floor spins", "hello spins"):
        bench.stage.stop(server)
    both, one = (number(ratio(name, "floor")) for name in ("floor, both spin", "floor, server spins"))
    return all_of([
        bench.verdict(failures, ratio("both spin"), 1 / 7, "both spin", "blocking",
                      what=f"of blocking's p50, {both} without HTTP"),
        bench.verdict(failures, ratio("server spins"), 1 / 3, "server spins", "blocking",
                      what=f"with the server alone, {number(ratio('the same, client sleeps at once'))}"
                           f" where the client sleeps at once, {one} without HTTP")])


def threads(bench):
    """No pinning: server and generator share all cores, as they do on a small machine."""
    mixed = []
    for request in (HELLO, "GET|/somebody|0|text:Hello somebody", "POST|/echo|1024|fill:1024"):
        mixed += ["--request", request]

    def measure(name):
        program, count = name.split(", ")
        server = bench.stage.start(program, "--threads", count[0], key=name, core=None)
        return bench.load(server, "--connections", 64, *(mixed if program == "hello" else []),
                          core=None)

    names = ["hello, 1 thread", "hello, 2 threads", "floor, 1 thread", "floor, 2 threads"]
    samples, failures = bench.interleave(names, measure, names)
    spread = ratios(samples, names[1], names[0], "rps")
    floors = median(ratios(samples, names[3], names[2], "rps"))
    bench.table(["mixed; floor: /", "requests/s", "CPU us/request", "p99 us"],
                [[name] + [number(middle(samples, name, key))
                           for key in ("rps", "cpu_us", "p99_us")]
                 for name in names if samples[name]])
    say(f"    requests/s of 2 threads over 1: quartiles {quartiles(spread)}; "
        f"of 2 floors over 1: {number(floors)}")
    locks = lock_share(bench, mixed) if samples["hello, 2 threads"] else math.nan
    for name in names:
        bench.stage.stop(name)
    bench.failures(failures)
    bench.save("threads", {"samples": samples, "ratio": median(spread), "floors": floors,
                           "locks_percent": locks})
    no_perf = dict(failures)
    if math.isnan(locks):
        no_perf["perf"] = "the profile's locks were not counted"
    return all_of([
        bench.verdict(failures, median(spread), 1, *names, at_most=False,
                      what="x the requests/s of 1 thread"),
        bench.verdict(failures, median(spread) / floors, 1, *names, at_most=False,
                      what="x what a second floor's loop does"),
        bench.verdict(no_perf, locks, 0.1, *names, "perf", what="% of the profile in locks")])


LOCKS = re.compile(r"pthread_(mutex|rwlock|spin|cond)|lll_(lock|unlock)|futex|atomic_wait", re.I)


def lock_share(bench, mixed):
    """Per cent of perf's samples that lie in user-space locks, or in the futexes below them."""
    try:
        perf = installed("perf")
        server = bench.stage.start("hello", "--threads", "2", key="hello, 2 threads", core=None)
    except Absent:
        return math.nan
    data = bench.stage.folder / "perf.data"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    recorder = subprocess.Popen([perf, "record", "-q", "-e", "cpu-clock", "-F", "2000", "-o", data,
                                 "-p", ",".join(map(str, server.pids()))], **quiet)
    try:
        bench.load(server, "--connections", 64, *mixed, seconds=1, core=None)
    finally:
        recorder.send_signal(signal.SIGINT)
        recorder.wait()
    report = subprocess.run(
        [perf, "report", "-i", data, "--stdio", "-g", "none", "--sort", "symbol"],
        capture_output=True, text=True)
    lines = [line.split(None, 1) for line in report.stdout.splitlines()
             if line.strip() and not line.startswith("#")]
    if report.returncode != 0 or not lines:
        return math.nan
    return sum(float(share.rstrip("%")) for share, symbol in lines if LOCKS.search(symbol))


def tail(bench):
    """The same rate for all: half of what the slower of hello and nginx can do."""
    subjects = bench.wanted(["floor", "hello", "nginx", "h2o"])
    load = ("--connections", 64, "--request", HELLO)
    peaks, _ = bench.interleave(subjects, lambda name: bench.load(bench.server(name), *load),
                                subjects, rounds=min(3, bench.rounds))
    known = [middle(peaks, name, "rps") for name in ("hello", "nginx") if peaks.get(name)]
    if not known:
        return Verdict(None, "neither hello nor nginx")
    rate = round(min(known) / 2)
    samples, failures = bench.interleave(
        subjects, lambda name: bench.load(bench.server(name), *load, "--rate", rate,
                                          seconds=0.5 if bench.quick else 1.5),
        ("hello", "nginx"), rounds=min(9, bench.rounds), peer_rounds=min(3, bench.rounds))
    spread = ratios(samples, "hello", "nginx", "p999_us")
    say(f"    open loop, {rate:,} requests per second")
    bench.table(["subject", "p50 us", "p99 us", "p99.9 us", "max us"],
                [[name] + [number(middle(samples, name, key))
                           for key in ("p50_us", "p99_us", "p999_us", "max_us")]
                 for name in subjects if samples[name]])
    say(f"    p99.9 of hello over nginx's: quartiles {quartiles(spread)}")
    bench.failures(failures)
    bench.save("tail", {"rate": rate, "samples": samples, "absent": failures})
    bench.plot_bars("tail", f"Open loop, {rate:,} requests per second",
                    "p99.9 from when a request was due",
                    [(name, middle(samples, name, "p999_us"),
                      f"{number(middle(samples, name, 'p999_us'))} us") for name in subjects])
    return bench.verdict(failures, median(spread), 1, "hello", "nginx", what="x nginx's p99.9")


# What the compiler makes of it --------------------------------------------------------------------

def compile_time(bench):
    try:
        example("hello")
    except Absent as why:
        bench.failures({"hello": why})
        return Verdict(None, str(why))
    standard = bench.stage.folder / "standard.cpp"
    includes = set(re.findall(r"^#include <[a-z_]+>", HEADER.read_text(), re.M))
    elsewhere = {"#include <coroutine>", "#include <arm_neon.h>"}
    standard.write_text("\n".join(sorted(includes - elsewhere)) + "\nint main() {}\n")
    sources = {"standard headers": standard, "hello": ROOT / "examples" / "hello.cpp"}
    if is_there("libboost-dev") and not bench.quick:
        sources["Beast"] = HERE / "peers" / "beast_server.cpp"
    took = {name: [] for name in sources}
    for i in range(1 if bench.quick else 3):
        for name in sources if i == 0 else ("standard headers", "hello"):
            took[name].append(compile_seconds(bench, sources[name]))
    best = {name: min(values) for name, values in took.items()}
    bench.table(["whole compile, -O0", "CPU s", "x the standard headers"],
                [[name, f"{seconds:.2f}", number(seconds / best["standard headers"])]
                 for name, seconds in best.items()])
    bench.save("compile", took)
    # 1.0 s where the standard headers take 0.33 s: as a ratio it holds on any machine.
    return bench.verdict({}, best["hello"] / best["standard headers"], 1.0 / 0.33,
                         what=f"x the standard headers alone, {best['hello']:.2f} s")


def compile_seconds(bench, source):
    """CPU time of compiler, assembler and linker: on a quiet machine that is how long they take."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(["g++", "-std=c++17", "-O0", "-pthread", "-I", ROOT, source, "-o",
                    bench.stage.folder / "compiled"], check=True, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def binary_size(bench):
    sizes, failures = {}, {}
    built = {"hello": lambda: example("hello"), "fetch": lambda: example("fetch"),
             "floor": lambda: program("floor"), "libevent": lambda: program("libevent_server"),
             "Beast": lambda: program("beast_server"),
             "cpp-httplib": lambda: program("httplib_server")}
    for name in bench.wanted(built):
        try:
            copy = bench.stage.folder / "stripped"
            shutil.copy(built[name](), copy)
            subprocess.run(["strip", copy], check=True)
            sizes[name] = copy.stat().st_size / 1024
        except (Absent, OSError, subprocess.CalledProcessError) as why:
            failures[name] = str(why)
    bench.table(["-O2, stripped", "KiB"], [[name, f"{kib:.1f}"] for name, kib in sizes.items()])
    say("    libevent and cpp-httplib, as Debian packs them, are mostly in a library beside this")
    bench.failures(failures)
    bench.save("size", {"kib": sizes, "absent": failures})
    return bench.verdict(failures, sizes.get("hello", math.nan), 96, "hello", what="KiB")


# Beside the figures -------------------------------------------------------------------------------

def tcp(bench):
    """The floor and aiohttp over both kinds of socket, hello beside them."""
    names = ["floor, Unix", "floor, TCP", "hello, Unix", "aiohttp, Unix", "aiohttp, TCP"]

    def measure(name, connections):
        subject, kind = name.split(", ")
        over_tcp = kind == "TCP"
        server = (bench.floor(tcp=over_tcp) if subject == "floor"
                  else bench.stage.start(subject, tcp=over_tcp))
        return bench.load(server, "--connections", connections, "--request", HELLO)

    rounds = bench.peer_rounds
    one, failures = bench.interleave(names, lambda name: measure(name, 1), names, rounds)
    many, more = bench.interleave(names, lambda name: measure(name, 64), names, rounds)
    shown = [name for name in names if one[name] and many[name]]
    bench.table(["subject", "p50 us, 1 connection", "requests/s, 64", "CPU us/request, 64"],
                [[name, number(middle(one, name, "p50_us")), number(middle(many, name, "rps")),
                  number(middle(many, name, "cpu_us"))] for name in shown])
    bench.failures({**failures, **more})
    bench.save("tcp", {"one": one, "many": many})
    bench.plot_bars("tcp_latency", "Unix socket and TCP on localhost: latency",
                    "p50, one connection",
                    [(name, middle(one, name, "p50_us"),
                      f"{number(middle(one, name, 'p50_us'))} us") for name in shown])
    bench.plot_bars("tcp_rate", "Unix socket and TCP on localhost: rate",
                    "requests per second, 64 connections",
                    [(name, middle(many, name, "rps"), f"{number(middle(many, name, 'rps'))}/s")
                     for name in shown])
    words = []
    for name in ("floor", "aiohttp"):
        rate = median(ratios(many, f"{name}, Unix", f"{name}, TCP", "rps"))
        p50 = median(ratios(one, f"{name}, Unix", f"{name}, TCP", "p50_us"))
        words.append(f"{name}: {number(rate)} x TCP's requests/s, {number(p50)} x its p50")
    return Verdict(None, "; ".join(words))


def growth(points):
    """How cost grows over its last decade: the exponent, and its name."""
    usable = [(x, y) for x, y in points if x > 0 and y > 0]
    if len(usable) < 2:
        return "unknown"
    x1, y1 = usable[-1]
    x0, y0 = next(((x, y) for x, y in reversed(usable[:-1]) if x * 10 <= x1), usable[0])
    exponent = math.log(y1 / y0) / math.log(x1 / x0)
    name = "flat" if exponent < 0.2 else "linear" if exponent < 1.15 else "WORSE THAN LINEAR"
    return f"{name} (exponent {exponent:.2f})"


def grow(bench, key, title, x_name, xs, measures):
    """measures: name -> what one x costs; rounds go over all x: a slow minute hits them all."""
    points = {name: {x: [] for x in xs} for name in measures}
    failures = {}
    for _ in range(1 if bench.quick else 3):
        for name, measure in measures.items():
            for x in xs:
                if name in failures or bench.is_late():
                    continue
                try:
                    points[name][x].append(measure(x)["cpu_us"])
                except (Absent, Failed) as why:
                    failures[name] = f"at {x:,}: {why}"
    curves = {name: [(x, median(values)) for x, values in of.items() if values]
              for name, of in points.items()}
    curves = {name: curve for name, curve in curves.items() if curve}
    bench.failures(failures)
    if not curves:
        return f"{key}: not measured"
    bench.table([x_name, *(svg.count(x) for x in xs)],
                [[name, *(number(dict(curve).get(x, math.nan)) for x in xs)]
                 for name, curve in curves.items()])
    said = {name: growth(curve) for name, curve in curves.items()}
    bench.save(f"growth_{key}", {"curves": curves, "growth": said, "absent": failures})
    bench.plot_lines(f"growth_{key}", title, "server CPU per request, us", x_name, curves)
    return f"{key}: " + ", ".join(f"{name} {words}" for name, words in said.items())


def growing(bench):
    span = bench.seconds / 2

    def load(server, *arguments):
        return bench.load(server, *arguments, seconds=span)

    def by_connections(x, name):
        return load(bench.server(name), "--connections", x, "--request", HELLO)

    def by_fields(x, name):
        return load(bench.server(name), "--connections", 64, "--fields", x - 1, "--request", HELLO)

    def by_routes(x):
        server = bench.stage.start("routes", key=f"routes/{x}", operands=[str(x)])
        return load(server, "--connections", 64, "--variants", 1000, "--request",
                    "GET|/somebody{}|0|text:Hello somebody{}")

    def by_size(x):
        return load(bench.stage.start("hello: bulk"), "--connections", 1, "--request",
                    f"GET|/memory/{x}|0|fill:{x}")

    def of_both(measure):
        return {name: lambda x, name=name: measure(x, name)
                for name in bench.wanted(["floor", "hello"])}

    said = [
        grow(bench, "connections", "Cost of a request, by connections", "connections",
             [1, 10, 100, 1_000, 10_000], of_both(by_connections)),
        grow(bench, "fields", "Cost of a request, by its header fields", "fields",
             [1, 3, 10, 30, 100], of_both(by_fields)),
        grow(bench, "routes", "Cost of a request, by routes", "routes",
             [1, 10, 100, 1_000, 10_000], {"hello: routes": by_routes}),
        grow(bench, "body", "Cost of a response, by the size of its body", "body bytes",
             [0, 1024, 32 * 1024, MIB, 10 * MIB, 100 * MIB], {"hello: bulk": by_size}),
    ]
    return Verdict(None, "; ".join(said))


def cross_check(bench):
    """Another generator than the one of this folder should see the same order."""
    try:
        h2load = installed("h2load")
    except Absent as why:
        bench.failures({"h2load": why})
        return Verdict(None, str(why))
    count, shown = (20_000 if bench.quick else 100_000), {}
    for name in bench.wanted(["floor", "hello", "nginx", "h2o", "Beast", "Go"]):
        try:
            server = bench.server(name)
        except Absent:
            continue
        before = server.cpu_seconds()
        done = subprocess.run(
            pin(bench.stage.load_core) + [h2load, "--h1", "-t", "1", "-c", "64", "-n", str(count),
                                          f"--base-uri=unix:{server.where}", "http://localhost/"],
            capture_output=True, text=True)
        cpu_us = (server.cpu_seconds() - before) * 1e6 / count
        rate = re.search(r"([\d.]+) req/s", done.stdout)
        good = re.search(r"(\d+) succeeded", done.stdout)
        if rate and good:
            shown[name] = (float(rate.group(1)), cpu_us, int(good.group(1)))
    bench.table(["h2load --h1, 64 connections", "requests/s", "CPU us/request", "succeeded", "of"],
                [[name, f"{rate:,.0f}", number(cpu_us), good, count]
                 for name, (rate, cpu_us, good) in shown.items()])
    bench.save("cross_check", shown)
    return Verdict(None, ", ".join(f"{name} {number(cpu)} us" for name, (_, cpu, _) in
                                   shown.items()))


ROWS = [
    Row("keepalive", "64 connections, keep-alive, /", "CPU at most 1.08 x floor", keepalive),
    Row("pipelined", "the same, 16 pipelined", "CPU at most 1.6 x floor", pipelined),
    Row("new_connection", "new connection per request", "CPU at most 1.10 x floor",
        new_connection),
    Row("routes", "/{name} among 1,000 routes", "CPU at most 1.10 x / alone", routes),
    Row("echo", "POST /echo 1 KiB, 16 KiB", "CPU at most 1.15 x a floor that echoes", echo),
    Row("memory", "1 MiB and 100 MiB from memory", "at least 0.9 of a raw write loop", memory),
    Row("file", "100 MiB file", "at least 0.85 of raw sendfile, 3 x nginx", file),
    Row("upload", "1 GiB upload, streamed", "at least 0.85 of a raw read loop", upload),
    Row("descriptor", "a 1 GiB body as a descriptor", "body() in 1/200 of the time of its bytes",
        descriptor),
    Row("client", "client, sequential GET", "at most 1.08 x floor, 0.1 of libcurl's user CPU",
        client),
    Row("parser", "parse a 703-byte browser request", "at least 8 x http_parser's speed", parser),
    Row("idle", "9,000 idle kept connections", "at most 200 bytes each", idle),
    Row("busy_poll", "one connection, busy_poll both", "p50 at most 1/7 of blocking", busy_poll),
    Row("threads", "2 threads, 2 cores, mixed load", "no slower than 1 thread, no lock", threads),
    Row("tail", "tail: open loop at half of peak", "p99.9 no worse than nginx's", tail),
    Row("compile", "hello built -O0, whole compile", "at most 1.0 s where std takes 0.33",
        compile_time),
    Row("size", "hello -O2, stripped", "at most 96 KiB", binary_size),
    Row("tcp", "Unix socket beside TCP", "shown", tcp, judged=False),
    Row("growth", "how cost grows", "flat or linear", growing, judged=False),
    Row("cross_check", "h2load --h1", "shown", cross_check, judged=False),
]
