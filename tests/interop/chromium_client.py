"""chromium_client.py URL NGINX_PID PNG: the page of page/index.html. `ok WHAT` or `FAILED WHAT: WHY`, then `end`."""
import os, signal, sys
from browser import Page

LIST = "[...document.querySelectorAll('#list li')].map((item) => item.textContent)"


def say(what, good, why=""):
    print(f"ok {what}" if good else f"FAILED {what}: {why}")


def expect(what, got, expected):
    say(what, got == expected, repr(got)[:300])


def main(page, nginx, png):
    page.until(f"{LIST}.length >= 3")
    expect("a page", page.value("document.title + ', ' + document.querySelector('h1').textContent"),
           "events, Events of a Unix socket")
    expect("events in the DOM", page.value(f"{LIST}.slice(0, 3)"), ["1: event 1", "2: event 2", "3: event 3"])
    page.screenshot(png)
    expect("fetch GET", page.value("fetch('/hello/w%C3%B6rld').then((res) => res.text())"), "Hello wörld")
    expect("fetch POST of 1 MB", page.value("""(async () => {
        const sent = crypto.getRandomValues(new Uint8Array(65536)), all = new Blob(Array(16).fill(sent));
        const res = await fetch('/hello/echo', {method: 'POST', body: all});
        const got = new Uint8Array(await res.arrayBuffer());
        return got.length === 1 << 20 && got.every((byte, at) => byte === sent[at % 65536]);
    })()"""), True)
    expect("fetch 404", page.value("fetch('/hello/a/b').then((res) => res.status)"), 404)
    expect("fetch of a range", page.value("fetch('/index.html', {headers: {Range: 'bytes=2-8'}})"
                                          ".then(async (res) => [res.status, await res.text()])"), [206, "doctype"])
    before = page.value(f"{LIST}.length")
    os.kill(nginx, signal.SIGHUP)  # new workers take over, the old ones cut their connections
    say("EventSource comes back", page.until("opened >= 2"), page.value("document.getElementById('state').textContent"))
    page.until(f"{LIST}.length >= {before} + 3")
    seen = page.value(LIST)
    expect("and misses nothing (Last-Event-ID)", seen, [f"{n}: event {n}" for n in range(1, len(seen) + 1)])
    print("end")


page = Page(sys.argv[1])
try:
    main(page, int(sys.argv[2]), sys.argv[3])
finally:
    page.close()
