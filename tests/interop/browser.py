"""A page in headless Chromium, driven over its DevTools pipe (--remote-debugging-pipe: JSON that ends
with NUL, in on descriptor 3, out on 4). It speaks to loopback only."""
import base64, json, os, select, subprocess, tempfile, time

FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --disable-default-apps --disable-extensions --disable-dev-shm-usage
    --remote-debugging-pipe --window-size=800,600""".split()
ONLY_LOOPBACK = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


class Page:
    def __init__(self, url, seconds=60):
        self.deadline = time.monotonic() + seconds  # of everything together
        self.number, self.buffer, self.session = 0, b"", None
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_read, self.writes = os.pipe()
        self.reads, to_write = os.pipe()
        # The shell puts the pipe's ends where Chromium looks for them.
        command = f'exec "$@" 3<&{to_read} 4>&{to_write}'
        self.process = subprocess.Popen(
            ["bash", "-c", command, "-", "chromium", *FLAGS, ONLY_LOOPBACK, f"--user-data-dir={self.profile.name}"],
            pass_fds=(to_read, to_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_read), os.close(to_write)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")
        self.call("Page.navigate", url=url)

    def receive(self):
        while b"\0" not in self.buffer:
            left = self.deadline - time.monotonic()
            if left <= 0 or not select.select([self.reads], [], [], left)[0]:
                raise TimeoutError("the browser is silent")
            piece = os.read(self.reads, 65536)
            if not piece:
                raise ConnectionError("the browser has ended")
            self.buffer += piece
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.writes, json.dumps(message).encode() + b"\0")
        while (answer := self.receive()).get("id") != self.number:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def value(self, expression):
        """Of a JavaScript expression; a promise is waited for."""
        got = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in got:
            return "exception: " + got["exceptionDetails"].get("exception", {}).get("description", "?")
        return got["result"].get("value")

    def until(self, expression):
        """Waits until it is true; False when time is over."""
        while not (got := self.value(expression)) or isinstance(got, str):
            if time.monotonic() > self.deadline:
                return False
            time.sleep(0.05)
        return True

    def screenshot(self, path):
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        with open(path, "wb") as file:
            file.write(data)
        return len(data)

    def close(self):
        try:
            self.session = None
            self.call("Browser.close")
            self.process.wait(10)
        except (OSError, RuntimeError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self.profile.cleanup()
