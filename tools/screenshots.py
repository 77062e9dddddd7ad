"""Make the pictures of the documentation: ``python tools/screenshots.py [NAME …] [--trained RUN] [--demo RUN]``.

Needs the extra ``app`` and ``pip install playwright``, which drives the Chromium that is already installed. A picture
is one row of :data:`SHOTS`: where the page comes from, what is done on it, and how large the window is.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

DOCS = Path(__file__).resolve().parent.parent / "docs"
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
DESKTOP, PHONE = (1280, 900), (390, 844)
Act = Callable[[Any], None]


class Shot(NamedTuple):
    """``source`` is the command of a page that listens, without ``mirg``, or the path of an HTML file."""

    name: str
    source: tuple[str, ...] | Path
    act: Act
    size: tuple[int, int] = DESKTOP
    dark: bool = False
    whole: bool = True  # the whole page, not only what the window shows


def example(tab: Any, title: str = "Find one object") -> None:
    """Press an example of the page and wait for all answers."""
    tab.get_by_role("button", name=title).click()
    tab.wait_for_selector('#answer-0 [data-status="done"]', timeout=60_000)
    if tab.locator("#answer-1").count():
        tab.wait_for_selector('#answer-1 [data-status="done"]', timeout=60_000)
    tab.wait_for_selector("#board svg")
    tab.wait_for_timeout(500)


def draw_box(tab: Any) -> None:
    """Press an example, then draw a box on its first image with the mouse."""
    example(tab)
    tab.locator("#question textarea").fill("Find this in the other images:")
    place = tab.locator("#board svg[data-image='1'] image").bounding_box()
    tab.mouse.move(place["x"] + 0.28 * place["width"], place["y"] + 0.12 * place["height"])
    tab.mouse.down()
    tab.mouse.move(place["x"] + 0.82 * place["width"], place["y"] + 0.7 * place["height"], steps=5)
    tab.mouse.up()
    tab.wait_for_selector("#board rect.given")
    tab.wait_for_timeout(500)


def see(tab: Any) -> None:
    """Wait for the fonts and images of a page that is a file."""
    tab.wait_for_load_state("networkidle")


def gallery(tab: Any) -> None:
    """Enlarge the first image of the gallery."""
    see(tab)
    tab.locator(".cards .zoom").first.click()
    tab.wait_for_timeout(300)


def shots(trained: str | None, demo: Path | None) -> list[Shot]:
    """The pictures; two models need a ``trained`` run that started from mirg-tiny, the pages a ``demo``."""
    two = [
        Shot("app-two", ("app", trained or "", "--against", "mirg-tiny"), lambda tab: example(tab, "The same object"))
    ]
    page = (demo or Path()) / "report.html"
    pages = [
        Shot("report", page, see, (1100, 895), whole=False),
        Shot("report-phone", page, see, PHONE, dark=True, whole=False),
        Shot("report-zoom", page, gallery, whole=False),
    ]
    return [
        Shot("app", ("app",), example),
        Shot("app-box", ("app",), draw_box),
        Shot("app-dark", ("app",), lambda tab: example(tab, "Find two objects"), dark=True),
        Shot("app-phone", ("app",), example, PHONE),
        *(two if trained else []),
        *(pages if demo else []),
    ]  # type: ignore[list-item]


@contextlib.contextmanager
def opened(source: tuple[str, ...] | Path) -> Iterator[str]:
    """The address of a page, while it is there."""
    if isinstance(source, Path):
        yield source.resolve().as_uri()
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "mirg.cli.main", *source, "--port", "0", "--save", f"{folder}/samples"]
        program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert program.stdout is not None
            yield next(word for line in program.stdout for word in line.split() if word.startswith("http://"))
        finally:
            program.terminate()
            program.wait(30)


def take(shot: Shot, browser: Any, out: Path) -> Path:
    """Open the page, act on it, and write the whole of it as PNG."""
    width, height = shot.size
    scheme = "dark" if shot.dark else "light"
    with opened(shot.source) as address:
        tab = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        tab.goto(address)
        shot.act(tab)
        path = out / f"{shot.name}.png"
        tab.screenshot(path=path, full_page=shot.whole)
        tab.close()
    return path


def main() -> None:
    """Take the named pictures, or all of them."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="pictures to take; default: all")
    parser.add_argument("--trained", help="a run folder, for the picture of two models")
    parser.add_argument("--demo", type=Path, help="the folder of `mirg demo`, for the pictures of its report")
    parser.add_argument("--out", type=Path, default=DOCS)
    given = parser.parse_args()
    table = shots(given.trained, given.demo)
    known = [shot.name for shot in table]
    if unknown := set(given.names) - set(known):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for shot in table:
            if not given.names or shot.name in given.names:
                print(take(shot, browser, given.out))


if __name__ == "__main__":
    main()
