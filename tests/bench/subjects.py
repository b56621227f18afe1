# SPDX-License-Identifier: MIT
"""Who is measured: builds the programs, writes the peers' configurations, starts and stops them.

A subject that can't be built or isn't installed is absent, with the reason: never a pass.
"""

import getpass
import os
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "tests" / "bench"
BUILD = ROOT / "build" / "bench"
EXAMPLES = ROOT / "build" / "examples"
HEADER = ROOT / "uds_http.hpp"
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow"]

# Debian package -> a file that it brings
PACKAGES = {
    "nginx-light": "/usr/sbin/nginx",
    "h2o": "/usr/bin/h2o",
    "libboost-dev": "/usr/include/boost/beast.hpp",
    "libcpp-httplib-dev": "/usr/include/httplib.h",
    "libevent-dev": "/usr/include/event2/http.h",
    "golang-go": "/usr/bin/go",
    "nodejs": "/usr/bin/node",
    "python3-aiohttp": "/usr/lib/python3/dist-packages/aiohttp",
    "libcurl4-openssl-dev": "/usr/include/x86_64-linux-gnu/curl/curl.h",
    "libhttp-parser-dev": "/usr/include/http_parser.h",
    "nghttp2-client": "/usr/bin/h2load",
    "valgrind": "/usr/bin/valgrind",
}
ELSEWHERE = {"libcurl4-openssl-dev": "/usr/include/curl/curl.h"}  # as other architectures have it

# program -> (source, flags, needs the header)
HTTPLIB = ["-DCPPHTTPLIB_OPENSSL_SUPPORT", "-DCPPHTTPLIB_ZLIB_SUPPORT",
           "-DCPPHTTPLIB_BROTLI_SUPPORT", "-lcpp-httplib"]  # pkg-config --cflags --libs
PROGRAMS = {
    "load": ("load.cpp", WARNINGS, False),
    "floor": ("floor.cpp", WARNINGS + ["-pthread"], False),
    "routes": ("routes.cpp", WARNINGS + ["-pthread"], True),
    "bulk": ("bulk.cpp", WARNINGS + ["-pthread"], True),
    "client_uds": ("client_uds.cpp", WARNINGS + ["-pthread"], True),
    "parser": ("parser.cpp", WARNINGS + ["-pthread", "-lhttp_parser"], True),
    "beast_server": ("peers/beast_server.cpp", ["-pthread"], False),
    "beast_client": ("peers/beast_client.cpp", ["-pthread"], False),
    "httplib_server": ("peers/httplib_server.cpp", ["-pthread"] + HTTPLIB, False),
    "httplib_client": ("peers/httplib_client.cpp", ["-pthread"] + HTTPLIB, False),
    "libevent_server": ("peers/libevent_server.cpp", ["-levent"], False),
    "curl_client": ("peers/curl_client.cpp", ["-lcurl"], False),
}


class Absent(Exception):
    """Why a subject can't be measured here."""


SAID = []  # everything printed, for tables.txt


def say(text):
    SAID.append(text)
    print(text, flush=True)


def first_line(text):
    """The line that says what went wrong, without the paths before it."""
    lines = text.splitlines()
    for sign in ("undefined reference", "rror:", ""):
        found = [line for line in lines if sign in line]
        if found:
            return found[0].strip().replace(str(ROOT) + "/", "")[:160]
    return "no message"


# Packages -----------------------------------------------------------------------------------------

def is_there(package):
    return os.path.exists(PACKAGES[package]) or (
        package in ELSEWHERE and os.path.exists(ELSEWHERE[package]))


def install_missing():
    """As root: what is missing is installed. Otherwise it is named, once."""
    missing = [package for package in PACKAGES if not is_there(package)]
    if not missing:
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        say("missing, so their subjects are absent: " + " ".join(missing))
        say("    sudo " + " ".join(command))
        return
    say("installing " + " ".join(missing))
    # policy-rc.d is Debian's way to keep a package from starting its service.
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update"], env=environment, **quiet)
        subprocess.run(command, env=environment, **quiet)
    finally:
        if ours:
            policy.unlink()


# Programs -----------------------------------------------------------------------------------------

def run_or_absent(command, **more):
    done = subprocess.run(command, capture_output=True, text=True, **more)
    if done.returncode != 0:
        raise Absent(first_line(done.stderr))


def newest(paths):
    return max((path.stat().st_mtime for path in paths if path.exists()), default=0)


def program(name):
    """The built program's path. Absent when it doesn't build."""
    source, flags, needs_header = PROGRAMS[name]
    made = BUILD / name
    if needs_header and not HEADER.exists():
        raise Absent("uds_http.hpp is not there")
    inputs = [HERE / source, HERE / "common.hpp", HERE / "client.hpp"]
    if needs_header:
        inputs.append(HEADER)
    if made.exists() and made.stat().st_mtime > newest(inputs):
        return made
    BUILD.mkdir(parents=True, exist_ok=True)
    compiler = os.environ.get("CXX", "g++")
    options = [flag for flag in flags if not flag.startswith("-l")]
    libraries = [flag for flag in flags if flag.startswith("-l")]
    run_or_absent([compiler, "-std=c++17", "-O2", "-I", str(ROOT), *options, str(HERE / source),
                   "-o", str(made), *libraries])
    return made


def example(name):
    """build/examples/NAME, by the Makefile's own rule."""
    if not HEADER.exists():
        raise Absent("uds_http.hpp is not there")
    made = EXAMPLES / name
    if (ROOT / "Makefile").exists():
        run_or_absent(["make", "-s", f"build/examples/{name}"], cwd=ROOT)
        return made
    source = ROOT / "examples" / f"{name}.cpp"
    if not made.exists() or made.stat().st_mtime < newest([HEADER, source]):
        EXAMPLES.mkdir(parents=True, exist_ok=True)
        run_or_absent(["g++", "-std=c++17", "-O2", "-pthread", "-I", str(ROOT),
                       str(source), "-o", str(made)])
    return made


def build_all():
    """Everything at once, before the clock of the run starts. What fails is absent later."""
    builds = [lambda name=name: program(name) for name in PROGRAMS]
    builds += [lambda name=name: example(name) for name in ("hello", "files", "fetch")]
    builds.append(go_program)

    def attempt(build):
        try:
            build()
        except Absent:
            pass

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(attempt, builds))


def go_program():
    if shutil.which("go") is None:
        raise Absent("go is not installed")
    made, source = BUILD / "go_server", HERE / "peers" / "go_server.go"
    if not made.exists() or made.stat().st_mtime < source.stat().st_mtime:
        BUILD.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "GOCACHE": str(BUILD / "go-cache"), "GO111MODULE": "off"}
        run_or_absent(["go", "build", "-o", str(made), str(source)], env=environment)
    return made


def installed(name):
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")
    if found is None:
        raise Absent(f"{name} is not installed")
    return found


# Running servers ----------------------------------------------------------------------------------

def pin(core):
    """The words before a command that keep it on one core; None: anywhere."""
    return [] if core is None else [installed("taskset"), "-c", str(core)]


def raise_descriptor_limit():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connect(where):
    if where.startswith("tcp:"):
        return socket.create_connection(("127.0.0.1", int(where[4:])), timeout=5)
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(5)
    peer.connect(where)
    return peer


class Server:
    """One started subject. Only processes started here are ever ended, by their pid."""

    def __init__(self, name, command, where, core):
        self.name, self.where, self.warm_for = name, where, set()
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            pin(core) + [str(word) for word in command], stdin=subprocess.DEVNULL,
            stdout=self.log, stderr=self.log, preexec_fn=raise_descriptor_limit)
        self.wait_until_live()

    def wait_until_live(self):
        end = time.monotonic() + 10
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                connect(self.where).close()
                return
            except OSError:
                time.sleep(0.01)
        self.stop()
        self.log.seek(0)
        raise Absent(f"{self.name} doesn't start: "
                     + first_line(self.log.read().decode(errors="replace")))

    def end(self):
        """How the process has ended; None: it hasn't."""
        code = self.process.poll()
        if code is None:
            return None
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"

    def pids(self):
        """The process and its descendants."""
        found, at = [self.process.pid], 0
        while at < len(found):
            for task in Path(f"/proc/{found[at]}/task").glob("*/children"):
                found += [int(pid) for pid in task.read_text().split()]
            at += 1
        return found

    def status_kib(self, key):
        total = 0
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith(key + ":"):
                    total += int(line.split()[1])
        return total

    def cpu_seconds(self):
        """From the CPU clocks of the processes, as clock_getcpuclockid(3) numbers them."""
        return sum(time.clock_gettime((~pid << 3) | 2) for pid in self.pids())

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Stage:
    """The folder, the cores, and the servers that run at the moment."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="udsb-"))
        cores = sorted(os.sched_getaffinity(0))
        self.server_core = cores[0]
        self.load_core = cores[1] if len(cores) > 1 else cores[0]
        self.servers = {}
        self.absent = {}
        (self.folder / "files").mkdir()
        (self.folder / "hello").mkdir()
        (self.folder / "hello" / "index.html").write_text("Hello Anonymous")

    def close(self):
        for server in self.servers.values():
            server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def big_file(self, size):
        path = self.folder / "files" / f"{size}.bin"
        if not path.exists():
            with open(path, "wb") as out:
                block = b"x" * (1 << 20)
                for _ in range(size >> 20):
                    out.write(block)
        return path

    def configuration(self, name, where):
        text = (HERE / "peers" / name).read_text()
        for key, value in {"FOLDER": self.folder, "SOCKET": where, "USER": getpass.getuser(),
                           "FILES": f"{self.folder}/files/", "HELLO": f"{self.folder}/hello",
                           }.items():
            text = text.replace(f"@{key}@", str(value))
        path = self.folder / name
        path.write_text(text)
        return path

    def command(self, subject, where):
        """How each subject is started on an address."""
        peers = HERE / "peers"
        if subject == "nginx":
            return [installed("nginx"), "-e", self.folder / "nginx.log", "-c",
                    self.configuration("nginx.conf", where)]
        if subject == "h2o":
            return [installed("h2o"), "-c", self.configuration("h2o.conf", where)]
        if subject == "Go":
            return [go_program(), where]
        if subject == "Node":
            return [installed("node"), peers / "node_server.js", where]
        if subject == "aiohttp":
            if not is_there("python3-aiohttp"):
                raise Absent("python3-aiohttp is not installed")
            return ["/usr/bin/python3", peers / "aiohttp_server.py", where]
        built = {"floor": "floor", "Beast": "beast_server", "cpp-httplib": "httplib_server",
                 "libevent": "libevent_server", "routes": "routes", "hello: bulk": "bulk"}
        if subject in built:
            return [program(built[subject]), where]
        return [example(subject.removeprefix("hello: ")), where]

    def start(self, subject, *options, key=None, tcp=False, operands=(), core="server"):
        """A server that runs already is used again: idle ones cost no CPU. Raises Absent."""
        key = key or subject + ("/tcp" if tcp else "")
        if key in self.absent:
            raise Absent(self.absent[key])
        if key in self.servers:
            return self.servers[key]
        name = "".join(c if c.isalnum() else "-" for c in key)
        where = f"tcp:{free_port()}" if tcp else str(self.folder / f"{name}.sock")
        core = self.server_core if core == "server" else core
        try:
            words = self.command(subject, where)
            command = [words[0], *options, *words[1:], *operands]
            self.servers[key] = Server(subject, command, where, core)
        except Absent as why:
            self.absent[key] = str(why)
            raise
        return self.servers[key]

    def stop(self, key):
        if key in self.servers:
            self.servers.pop(key).stop()
