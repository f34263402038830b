#!/usr/bin/env python3
"""Opens reports in headless Chromium, fails where one is broken, and keeps what it looks like.

    results/screenshots/take.py [--propagate PROGRAM] [--runs DIR] [--out DIR] [RUN ...]

Opens the report.html of each RUN (a run's folder), or without any those of the three samples: `propagate
davis|vip|jhmdb --data sample` is run where --runs has none yet. Each is opened as a file, at 1280 and at
390 pixels; it is an error when the console has one, when the page is wider than its window, when it
loads anything, and when a control does not do what it says (sorting, playing, theme). Needs Debian's
chromium and chromium-driver, and nothing for Python beyond its own.
"""

import argparse
import base64
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}
BROWSER = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--force-prefers-reduced-motion",
]
# The longest page that is kept whole; more of it than this says nothing new.
TALLEST = 3200


class Driver:
    """A WebDriver session over plain HTTP."""

    def __init__(self, port, scheme, width):
        self.base = f"http://127.0.0.1:{port}"
        options = {"args": BROWSER + [f"--window-size={width},900"]}
        if scheme == "dark":
            options["args"].append("--force-dark-mode")
        wanted = {
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "goog:chromeOptions": options,
        }
        answer = self.call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.base += f"/session/{answer['sessionId']}"

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, method=method)
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            sys.exit(f"{path}: {json.load(error)['value']['message']}")

    def run(self, script, *arguments):
        return self.call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def devtools(self, command, **parameters):
        body = {"cmd": command, "params": parameters}
        return self.call("POST", "/goog/cdp/execute", body)

    def logged(self, kind):
        return self.call("POST", "/se/log", {"type": kind})

    def close(self):
        self.call("DELETE", "")


def check(driver, page, width):
    """What is wrong with the page that is open."""
    wrong = [f"console: {line['message']}" for line in driver.logged("browser")]
    for line in driver.logged("performance"):
        message = json.loads(line["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            url = message["params"]["request"]["url"]
            if not url.startswith(("data:", "file:")) or (url.startswith("file:") and not url.split("#")[0].endswith(page.name)):
                wrong.append(f"loads {url[:100]}")
    across = driver.run("return document.scrollingElement.scrollWidth")
    if across > width:
        widest = driver.run(
            "return [...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll'))"
            ".filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
            ".slice(0, 5).map(e => e.tagName + '.' + e.className)"
        )
        wrong.append(f"{across} pixels across in a window of {width}: {widest}")
    return wrong + driver.run(WORKS)


# Uses every control once; returns what did not do as it says.
WORKS = """
const wrong = [];
const say = (holds, what) => { if (!holds) wrong.push(what); };
for (const table of document.querySelectorAll('table.sortable')) {
  const heads = [...table.tHead.rows[0].cells];
  const column = heads.findIndex((head) => head.classList.contains('number'));
  const before = [...table.tBodies[0].rows];
  heads[column].querySelector('button').click();
  const values = [...table.tBodies[0].rows].map((row) => row.cells[column])
    .map((cell) => cell.textContent === '' ? -Infinity : Number(cell.dataset.sort ?? cell.textContent));
  say(heads[column].getAttribute('aria-sort') === 'descending', 'aria-sort');
  say(values.every((value, row) => row === 0 || values[row - 1] >= value), 'order of ' + table.caption.textContent);
  heads[column].removeAttribute('aria-sort');
  table.tBodies[0].append(...before);
}
for (const film of document.querySelectorAll('.film')) {
  const shown = () => [...film.querySelectorAll('img')].filter((image) => !image.hidden);
  const press = (key) => film.querySelector('input').dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
  const first = shown()[0];
  say(shown().length === 1, 'one frame shows');
  press('ArrowRight');
  say(shown().length === 1 && shown()[0] !== first, 'an arrow key steps');
  say(shown()[0].naturalWidth > 0, 'the frame decodes');
  press(' ');
  say(film.querySelector('button').textContent === 'Pause', 'Space plays');
  press(' ');
  say(film.querySelector('button').textContent === 'Play', 'Space stops');
  press('ArrowLeft');
  say(shown()[0] === first, 'and back');
  const bar = film.querySelector('input');
  bar.value = bar.max / 2 | 0;
  bar.dispatchEvent(new Event('input'));
  say(film.querySelector('output').textContent.startsWith('frame '), 'the bar tells the frame');
}
const theme = document.querySelector('.theme');
const paper = () => getComputedStyle(document.body).backgroundColor;
const first = paper();
theme.click();
say(paper() !== first, 'the theme changes');
theme.click();
say(paper() === first, 'and back');
say(document.querySelectorAll('h1').length === 1, 'one title');
say([...document.querySelectorAll('img')].every((image) => image.alt), 'pictures have words');
say(new Set([...document.querySelectorAll('[id]')].map((e) => e.id)).size === document.querySelectorAll('[id]').length, 'ids are unique');
window.scrollTo(0, 0);
return wrong;
"""


def picture(driver, path, width, top=0, height=None):
    """A part of the page as a JPEG file of at most 300 kB."""
    whole = driver.run("return document.documentElement.scrollHeight")
    height = min(height or whole, whole - top, TALLEST)
    clip = {"x": 0, "y": top, "width": width, "height": height, "scale": 1}
    for quality in (88, 78, 66, 50):
        data = driver.devtools(
            "Page.captureScreenshot", format="jpeg", quality=quality, clip=clip, captureBeyondViewport=True
        )["data"]
        data = base64.b64decode(data)
        if len(data) <= 300_000:
            break
    path.write_bytes(data)
    print(f"{path.name}: {width}x{height}, {len(data) // 1000} kB")


def sample(program, runs, benchmark):
    """The page of a sample's run, which is made where there is none."""
    run = runs / benchmark
    if not (run / "report.html").exists():
        subprocess.run([program, benchmark, "--data", "sample", "--out", benchmark], cwd=runs, check=True)
    return run / "report.html"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--propagate", default=HERE.parents[1] / "target/release/propagate", type=pathlib.Path)
    parser.add_argument("--runs", type=pathlib.Path, help="where the runs are or go [default: a folder that is removed]")
    parser.add_argument("--out", type=pathlib.Path, default=HERE)
    parser.add_argument("run", nargs="*", type=pathlib.Path, help="folders that hold a report.html [default: the samples]")
    arguments = parser.parse_args()
    for name in ("chromium", "chromedriver"):
        if not shutil.which(name):
            sys.exit(f"{name} is not here; on Debian: apt-get install chromium chromium-driver")
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        pages = {run.name: run.resolve() / "report.html" for run in arguments.run}
        if not pages:
            runs = (arguments.runs or pathlib.Path(scratch)).resolve()
            runs.mkdir(parents=True, exist_ok=True)
            pages = {name: sample(arguments.propagate.resolve(), runs, name) for name in ["davis", "vip", "jhmdb"]}
        port = 9515
        service = subprocess.Popen(
            ["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_for(port)
            wrong = [problem for name, page in pages.items() for problem in look(port, name, page, arguments.out)]
        finally:
            service.terminate()
            service.wait()
    for problem in wrong:
        print(problem, file=sys.stderr)
    sys.exit(1 if wrong else 0)


def wait_for(port):
    for _ in range(100):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=5)
            return
        except OSError:
            time.sleep(0.1)
    sys.exit("chromedriver does not answer")


def look(port, name, page, out):
    size = page.stat().st_size
    wrong = [f"{name}: {size} bytes"] if size > 5_000_000 else []
    schemes = ["light", "dark"] if name == "davis" else ["light"]
    for scheme in schemes:
        for device, (width, height) in WIDTHS.items():
            driver = Driver(port, scheme, width)
            try:
                driver.devtools(
                    "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
                )
                driver.devtools(
                    "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
                )
                driver.call("POST", "/url", {"url": page.as_uri()})
                wrong += [f"{name}, {scheme}, {width}: {problem}" for problem in check(driver, page, width)]
                suffix = "" if scheme == "light" else "-dark"
                picture(driver, out / f"{name}-{device}{suffix}.jpg", width)
                if (name, device, scheme) == ("davis", "desktop", "light"):
                    # what the README shows: down to the end of the first clip
                    end = driver.run("return document.querySelector('.clip').getBoundingClientRect().bottom")
                    picture(driver, out / "report.jpg", width, height=round(end) + 24)
            finally:
                driver.close()
    print(f"{name}: report of {size / 1e6:.2f} MB")
    return wrong


if __name__ == "__main__":
    main()
