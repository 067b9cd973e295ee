#!/usr/bin/env python3
"""Tries the web page in a real browser, as a person would.

usage: page_test.py [--base URL [--token TEXT]] [--pictures FOLDER] [--check NAME]

Needs Debian's chromium, and the Python packages playwright and axe-playwright-python.

Without --base, the page comes from mock_server.py or, if PROXYHERD names the program, from the
first server of a herd of five processes with a walking load (README.md). With --base, from a
server that runs already; checks that kill a server are left out then.

Every wait is for a condition, with a limit of 30 seconds. The exit code is 0 if all is well.
"""

import argparse
import contextlib
import os
import pathlib
import struct
import tempfile
import time
import zlib

from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import sync_playwright

import herds

LIMIT = 30_000
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")

# Notes what the content security policy blocks, from the first moment.
WATCH_CSP = """
window.cspReports = [];
document.addEventListener('securitypolicyviolation', (event) => {
  window.cspReports.push(`${event.violatedDirective} ${event.blockedURI}`);
});
"""


def check(what, holds):
    if not holds:
        raise AssertionError(what)
    print(f"  {what}", flush=True)


# The page.


def pixel_of(png):
    """Returns the colour of an image of one pixel."""
    data, at = b"", 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            data += png[at + 8 : at + 8 + length]
        at += length + 12
    # The first byte is the filter, which changes nothing in the first pixel.
    return tuple(zlib.decompress(data)[1:4])


class Page:
    """A page in the browser, and all that went wrong on it."""

    def __init__(self, browser, herd, *, size=(1280, 800), scheme="light", path="", **more):
        self.context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, **more
        )
        self.context.add_init_script(WATCH_CSP)
        self.herd, self.errors, self.foreign = herd, [], []
        self.page = self.context.new_page()
        self.page.set_default_timeout(LIMIT)
        self.page.on("console", self.note_console)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self.note_request)
        self.page.on("response", self.note_response)
        self.page.goto(herd.base + path)

    def note_console(self, message):
        # The browser itself writes of answers such as 401 and of a server that is gone.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.errors.append(message.text)

    def note_response(self, response):
        if response.status >= 400 and response.status != 401:
            self.errors.append(f"{response.status} for {response.url}")

    def note_request(self, request):
        if not request.url.startswith((self.herd.base, "data:")):
            self.foreign.append(request.url)

    def wait(self, expression, what):
        """Waits until an expression is true. Playwright's own wait needs eval, which is blocked."""
        end = time.monotonic() + LIMIT / 1000
        while not self.evaluate(expression):
            if time.monotonic() > end:
                self.page.screenshot(path=pathlib.Path(tempfile.gettempdir(), "page_test.png"))
                raise AssertionError(f"not within {LIMIT / 1000:.0f} s: {what}; errors: {self.errors}")
            time.sleep(0.05)
        print(f"  {what}", flush=True)

    def evaluate(self, expression):
        """Returns a value, or nothing while the page is being loaded again."""
        try:
            return self.page.evaluate(expression)
        except PlaywrightError as error:
            if "Execution context was destroyed" not in str(error):
                raise
            return None

    def wait_pixel(self, point, colour, what):
        """Waits until a pixel has a colour. A canvas with images of others cannot be read."""
        x, y = point
        end = time.monotonic() + LIMIT / 1000
        while (seen := pixel_of(self.page.screenshot(clip={"x": x, "y": y, "width": 1, "height": 1}))) != colour:
            if time.monotonic() > end:
                raise AssertionError(f"not within {LIMIT / 1000:.0f} s: {what}; the pixel is {seen}")
            time.sleep(0.05)
        print(f"  {what}", flush=True)

    def wait_live(self):
        self.wait("document.getElementById('state').className === 'chip live'", "the page is live")

    def close(self):
        check("no error on the console" + "".join(f"\n{it}" for it in self.errors), not self.errors)
        reports = self.page.evaluate("window.cspReports")
        check(f"no report of the content security policy {reports or ''}", not reports)
        check(f"no request to another origin {self.foreign or ''}", not self.foreign)
        self.context.close()


def sees_clients_move(browser, herd):
    page = Page(browser, herd, path="#map=11/34.05/-118.25")
    page.wait_live()
    page.wait("proxyherd.store.size > 10", "clients are there")
    before = page.page.evaluate("[...proxyherd.store.toX.slice(0, 10)]")
    page.wait(f"proxyherd.store.toX.slice(0, 10).some((x, i) => x !== {before}[i])", "they move")
    page.wait("document.querySelectorAll('#servers tbody tr').length === 5", "five servers are listed")
    page.wait("proxyherd.herdPanel.history.samples.at(-1).rate > 0", "the chart has a rate")
    page.close()


def searches_and_opens(browser, herd):
    page = Page(browser, herd)
    page.wait_live()
    page.page.keyboard.press("/")
    page.page.keyboard.type(herd.client[:-1])
    page.page.wait_for_selector("#options li")
    page.page.keyboard.press("ArrowDown")
    page.page.keyboard.press("Enter")
    page.wait("document.querySelectorAll('#client-held tbody tr').length === 5", "the answer is there")
    check(
        "the report of every server is shown", herd.client.startswith(page.page.inner_text("#client-id")[:6])
    )
    page.wait("proxyherd.map.view.zoom > 10.9", "the map moves to the client")
    page.wait("document.getElementById('place-note').textContent.includes('within')", "the answer is there")
    check("places around are listed", page.page.locator("#place-list li").count() > 0)
    check("places are on the map", page.page.evaluate("proxyherd.map.places.length") > 0)
    page.page.click("#client-near")
    page.wait("document.getElementById('near-note').textContent.includes('within')", "the answer is there")
    check("the clients around it are listed", page.page.locator("#near-list li").count() > 0)
    page.page.locator("#near-list button").first.click()
    page.wait("!document.getElementById('panel-client').hidden", "a click opens one")
    page.page.reload()
    page.wait("document.getElementById('client-id').textContent !== ''", "a reload keeps the client")
    page.close()


def draws_a_circle(browser, herd):
    page = Page(browser, herd, path="#map=11/34.05/-118.25")
    page.wait_live()
    page.wait("proxyherd.store.size > 10", "clients are there")
    page.page.keyboard.press("c")
    page.page.mouse.move(400, 400)
    page.page.mouse.down()
    page.page.mouse.move(500, 450, steps=5)
    page.page.mouse.move(620, 520, steps=5)
    page.page.mouse.up()
    page.wait("document.getElementById('near-note').textContent.includes('within')", "the answer is there")
    check("the clients in the circle are listed", page.page.locator("#near-list li").count() > 0)
    page.close()


def works_by_keyboard(browser, herd):
    page = Page(browser, herd, path="#map=5/34.05/-118.25")
    page.wait_live()
    page.page.keyboard.press("m")
    page.page.keyboard.press("+")
    page.wait("Math.abs(proxyherd.map.view.zoom - 6) < 0.01", "plus zooms in")
    x = page.page.evaluate("proxyherd.map.view.x")
    page.page.keyboard.press("ArrowRight")
    page.wait(f"proxyherd.map.view.x > {x} + 0.001", "arrows move the map")
    page.page.focus("#tab-herd")
    for _ in range(3):
        page.page.keyboard.press("ArrowRight")
    page.wait("!document.getElementById('panel-list').hidden", "arrows move between tabs")
    page.wait("document.querySelectorAll('#list tbody tr').length > 0", "the answer is there")
    check("the table has the clients of the map", "client" in page.page.inner_text("#list-note"))
    page.close()


def works_by_touch(browser, herd):
    page = Page(browser, herd, size=(360, 740), path="#map=3/30/20", has_touch=True)
    page.wait_live()
    fingers = page.context.new_cdp_session(page.page)

    def touch(kind, *points):
        fingers.send(
            "Input.dispatchTouchEvent",
            {"type": kind, "touchPoints": [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]},
        )

    x = page.page.evaluate("proxyherd.map.view.x")
    touch("touchStart", (200, 250))
    for step in range(6):
        touch("touchMove", (200 - 20 * step, 250))
    touch("touchEnd")
    page.wait(f"proxyherd.map.view.x > {x} + 0.02", "a finger moves the map")
    touch("touchStart", (150, 250), (210, 250))
    for step in range(6):
        touch("touchMove", (150 - 10 * step, 250), (210 + 10 * step, 250))
    touch("touchEnd")
    page.wait("proxyherd.map.view.zoom > 4", "two fingers zoom it")
    page.close()


def sees_a_server_go_and_come_back(browser, herd):
    page = Page(browser, herd)
    page.wait_live()
    page.wait("document.querySelectorAll('#graph line.up').length === 12", "all links are up")
    herd.kill("Campbell")
    page.wait("document.querySelectorAll('#graph line.down').length >= 2", "the links to Campbell turn")
    page.wait("document.getElementById('news').textContent.includes('Campbell is down')", "the page says so")
    herd.start("Campbell")
    page.wait("document.querySelectorAll('#graph line.up').length === 12", "they turn back")
    page.wait("document.getElementById('news').textContent.includes('Campbell is back')", "the page says so")
    page.close()


def reconnects(browser, herd):
    page = Page(browser, herd)
    page.wait_live()
    herd.kill("Riley")
    page.wait("document.getElementById('state').className === 'chip retrying'", "a lost connection shows")
    herd.start("Riley")
    page.wait_live()
    page.errors.clear()
    page.close()


def starts_again_if_a_module_is_missing(browser, herd):
    page = Page(browser, herd)
    page.wait_live()
    page.page.route("**/net/api.js", lambda route: route.abort(), times=1)
    page.page.reload()
    page.wait("document.getElementById('state').textContent.includes('incomplete')", "the page says so")
    page.wait_live()
    page.close()


def says_that_there_is_no_client(browser, herd):
    # In the ocean south of all cities.
    page = Page(browser, herd, path="#map=7/-70/-130")
    page.wait_live()
    page.wait("!document.getElementById('empty').hidden", "the map says so")
    page.page.click("#tab-list")
    page.wait("document.getElementById('list-note').textContent.includes('No client')", "the list says so")
    page.page.click("#whole-world")
    page.wait("document.getElementById('empty').hidden", "elsewhere there are some")
    page.close()


def asks_for_a_token(browser, herd):
    page = Page(browser, herd)
    page.page.wait_for_selector("#token-dialog[open]")
    page.page.keyboard.press("Escape")
    page.page.wait_for_selector("#token-dialog[open]")
    page.page.fill("#token", "wrong")
    page.page.keyboard.press("Enter")
    page.page.wait_for_selector("#token-problem:not([hidden])")
    check("a wrong token is named", "wrong" in page.page.inner_text("#token-problem"))
    check("nothing is shown", page.page.evaluate("proxyherd.store.size") == 0)
    page.page.fill("#token", herd.token)
    page.page.keyboard.press("Enter")
    page.wait_live()
    page.wait("proxyherd.store.size > 0", "clients are there")
    page.page.reload()
    page.wait_live()
    check("a reload keeps the token", not page.page.locator("#token-dialog").is_visible())
    check("there is no cookie", not page.context.cookies())
    check("the address does not hold it", herd.token not in page.page.url)
    other = page.context.new_page()
    other.goto(herd.base)
    other.wait_for_selector("#token-dialog[open]")
    check("another tab has to give it again", True)
    other.close()
    page.close()


def shows_tiles(browser, herd):
    page = Page(browser, herd, path="#map=3/30/20")
    page.wait_live()
    page.wait("document.getElementById('tiles-credit').textContent !== ''", "a credit is shown")
    check("it is that of the config", herds.CREDIT in page.page.inner_text("#credits"))
    page.wait_pixel((300, 700), herds.TILE_COLOUR, "the tiles are there")
    path, referrer = herd.tiles.requests[0]
    check(f"tiles are requested by zoom, column and row ({path})", path.startswith("/3/"))
    check(f"their server sees no more than the origin ({referrer})", referrer in (None, herd.base))
    foreign = {url for url in page.foreign if not url.startswith(herd.tiles_origin + "/")}
    check("no other origin is asked", not foreign)
    page.foreign.clear()
    page.page.evaluate("new Image().src = 'http://127.0.0.2:9/0/0/0.png'")
    page.wait("cspReports.length > 0", "the policy permits no other origin")
    page.page.evaluate("cspReports.length = 0")
    # The browser writes of that; nothing else may be there.
    page.errors = [it for it in page.errors if "127.0.0.2:9" not in it]
    page.foreign.clear()
    herd.reload_without("tiles")
    page.wait("document.getElementById('tiles-credit').textContent === ''", "without tiles, no credit")
    count = len(herd.tiles.requests)
    page.page.evaluate("proxyherd.map.view.lookAt(-118.25, 34.05, 12); proxyherd.map.pan(0, 0)")
    page.wait("document.getElementById('near-note') && proxyherd.map.view.zoom > 11", "the view is another")
    page.page.reload()
    page.wait_live()
    check("without tiles, no request", len(herd.tiles.requests) == count)
    page.close()


def shows_numbers_where_clients_are_many(browser, herd):
    page = Page(browser, herd)
    page.wait("proxyherd.map.grid !== null", "there is a grid")
    total = page.page.evaluate("proxyherd.map.grid.reduce((sum, it) => sum + it.properties.count, 0)")
    check(f"it counts all clients ({total})", total == herds.CLIENTS)
    page.page.evaluate("proxyherd.map.view.lookAt(-118.25, 34.05, 12); proxyherd.map.pan(0, 0)")
    page.wait("proxyherd.map.grid === null && proxyherd.store.size > 0", "near by, there are clients")
    page.close()


def has_no_serious_accessibility_issue(browser, herd):
    from axe_playwright_python.sync_playwright import Axe

    for size, scheme in [((1280, 800), "light"), ((1280, 800), "dark"), ((360, 740), "light")]:
        page = Page(browser, herd, size=size, scheme=scheme, bypass_csp=True, path="#map=10/34.05/-118.25")
        page.wait_live()
        page.wait("document.querySelectorAll('#servers tbody tr').length === 5", "servers are listed")
        for tab in ["herd", "list", "near", "client"]:
            page.page.click(f"#tab-{tab}")
            violations = Axe().run(page.page).response["violations"]
            bad = [it for it in violations if it["impact"] in ("serious", "critical")]
            text = "".join(
                f"\n{it['id']}: {it['nodes'][0]['html'][:200]}: {it['nodes'][0]['failureSummary']}"
                for it in bad
            )
            check(f"axe finds nothing serious at {size[0]} px, {scheme}, tab {tab}{text}", not bad)
        width = page.page.evaluate("document.documentElement.scrollWidth")
        check(f"nothing is wider than the window ({width} px)", width <= size[0])
        page.close()


def draws_frames(browser, herd):
    """Measures how many frames a second the page draws if each is a new picture."""
    for size in [(1280, 800), (3840, 2160)]:
        page = Page(browser, herd, size=size, path="#map=2/25/20")
        page.wait_live()
        page.wait("proxyherd.store.size > 0", "clients are there")
        figures = page.page.evaluate("""async () => {
            const { map, store } = proxyherd;
            const [frames, start] = [map.frames, performance.now()];
            while (performance.now() - start < 5000) {
              map.redrawTop();
              await new Promise(requestAnimationFrame);
            }
            return [store.size, (map.frames - frames) / ((performance.now() - start) / 1000)];
        }""")
        print(
            f"  {figures[0]} clients at {size[0]} x {size[1]}: {figures[1]:.0f} frames a second", flush=True
        )
        page.close()


def takes_pictures(browser, herd, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name, size, scheme, path in [
        ("page", (1280, 800), "light", "#map=11.3/34.05/-118.3&client=" + (herd.client or "")),
        ("page-dark", (1280, 800), "dark", "#map=4/48/10"),
        ("page-phone", (360, 740), "light", ""),
        ("page-4k", (3840, 2160), "dark", ""),
    ]:
        page = Page(browser, herd, size=size, scheme=scheme, path=path)
        page.wait_live()
        page.wait("proxyherd.herdPanel.history.samples.length >= 5", "there is something to see")
        page.page.screenshot(path=folder / f"{name}.png")
        page.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base")
    parser.add_argument("--pictures", type=pathlib.Path)
    parser.add_argument("--check", help="only the check with this name")
    options = parser.parse_args()
    program = os.environ.get("PROXYHERD")

    def herd():
        if options.base:
            return contextlib.nullcontext(herds.Running(options.base))
        return herds.processes(program) if program else herds.mock(())

    is_mock = not options.base and not program
    common = [
        sees_clients_move,
        draws_a_circle,
        works_by_keyboard,
        works_by_touch,
        starts_again_if_a_module_is_missing,
        says_that_there_is_no_client,
        has_no_serious_accessibility_issue,
        draws_frames,
    ]
    killing = [searches_and_opens, sees_a_server_go_and_come_back, reconnects]
    plan = [(common + ([] if options.base else killing), herd)]
    if is_mock:
        plan += [
            ([asks_for_a_token], lambda: herds.mock(("--token", herds.TOKEN))),
            ([shows_numbers_where_clients_are_many], lambda: herds.mock(("--limit", "2000"))),
        ]
    elif program:
        plan += [
            ([asks_for_a_token], lambda: herds.with_token(program)),
            ([shows_tiles], lambda: herds.with_tiles(program)),
        ]
    count = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--headless=new", "--no-sandbox", "--disable-gpu"]
        )
        for checks, herd in plan:
            wanted = [it for it in checks if options.check in (None, it.__name__)]
            if not wanted and not (options.pictures and checks is plan[0][0]):
                continue
            with herd() as running:
                for it in wanted:
                    print(it.__name__.replace("_", " "), flush=True)
                    it(browser, running)
                    count += 1
                if options.pictures and checks is plan[0][0]:
                    takes_pictures(browser, running, options.pictures)
        browser.close()
    print(f"{count} passed, 0 failed")


if __name__ == "__main__":
    main()
