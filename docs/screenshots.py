"""Pictures of Prefect's main pages, as the running server shows them, for the documentation: `make screenshots`.

Chromium without a window, steered by chromedriver's own protocol. Both come with Debian's packages chromium and
chromium-driver; the server is that of `make up`.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL
from pydantic import SecretStr

WIDTH_PX, HEIGHT_PX = 1280, 900
TIMEOUT_S = 60.0
FORM_OF = "research-cycle"
PAGES = {
    "runs": ("/runs", "Items per page"),
    "deployments": ("/deployments", "archive-cycle"),  # the first page of many
    "form": ("/deployments/deployment/{form}/run", "preset"),
    "work-pools": ("/work-pools", "arc-gpu"),
    "artifacts": ("/artifacts", "Artifacts"),
}
"""Name of the picture: address below the server's, and a word that is on the page once it is there."""


class NoPicturesError(RuntimeError):
    """What is missing, and the remedy."""


@dataclass(frozen=True)
class Browser:
    """A session of chromedriver."""

    driver: httpx.Client
    session: str

    def ask(self, command: str, content: dict[str, Any] | None = None) -> Any:
        """One command of the WebDriver protocol."""
        path = f"/session/{self.session}/{command}"
        response = self.driver.get(path) if content is None else self.driver.post(path, json=content)
        return response.raise_for_status().json()["value"]

    def run(self, script: str, *arguments: str) -> Any:
        """What a script gives back in the page."""
        return self.ask("execute/sync", {"script": script, "args": list(arguments)})

    def shows(self, word: str) -> bool:
        """True once the page is there and has that word, in whatever case."""
        text = self.run("return document.readyState == 'complete' ? document.body.innerText : ''")
        return word.lower() in str(text).lower()


def main(arguments: Sequence[str] | None = None) -> int:
    """Takes all pictures; 2 and one line where something is missing."""
    parser = argparse.ArgumentParser(prog="docs/screenshots.py", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(__file__).parent / "images")
    folder = parser.parse_args(arguments).folder
    try:
        url, auth = str(PREFECT_API_URL.value() or "").removesuffix("/api"), _auth()
        form = _deployment(url, auth)
        folder.mkdir(parents=True, exist_ok=True)
        with _browser() as browser:
            _log_in(browser, url, auth)
            for name, (path, word) in PAGES.items():
                browser.ask("url", {"url": url + path.format(form=form)})
                _until(lambda word=word: browser.shows(word), f"the page {path} with the word {word!r}")  # type: ignore[misc]
                (folder / f"{name}.png").write_bytes(base64.b64decode(browser.ask("screenshot")))
                sys.stdout.write(f"{folder / name}.png\n")
    except NoPicturesError as error:
        sys.stderr.write(f"No pictures: {error}\n")
        return 2
    return 0


def _auth() -> str:
    """`user:password` of the server; empty where it asks for none."""
    held = PREFECT_API_AUTH_STRING.value()
    return held.get_secret_value() if isinstance(held, SecretStr) else str(held or "")


def _deployment(url: str, auth: str) -> str:
    """Id of the deployment whose form is shown."""
    user, _, password = auth.partition(":")
    try:
        address = f"{url}/api/deployments/name/{FORM_OF}/{FORM_OF}"
        answer = httpx.get(address, auth=(user, password) if auth else None, timeout=TIMEOUT_S)
        return str(answer.raise_for_status().json()["id"])
    except (httpx.HTTPError, ValueError) as error:
        where = url or "any address"
        raise NoPicturesError(f"no server with ARC's deployments at {where} ({error}). Run: make up") from error


def _log_in(browser: Browser, url: str, auth: str) -> None:
    """As a person who typed the password into the page once."""
    browser.ask("url", {"url": url})
    if auth:
        kept = base64.b64encode(auth.encode()).decode()
        browser.run("localStorage.setItem('prefect-password', arguments[0])", kept)


@contextlib.contextmanager
def _browser() -> Iterator[Browser]:
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        raise NoPicturesError("Chromium or its driver is missing. Run: apt-get install chromium chromium-driver")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([chromedriver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=TIMEOUT_S) as driver:
            _until(lambda: _answers(driver), "chromedriver")
            options = ["--headless=new", f"--window-size={WIDTH_PX},{HEIGHT_PX}", "--hide-scrollbars", "--disable-gpu"]
            if os.geteuid() == 0:
                options.append("--no-sandbox")  # Chromium's own does not work for root
            wanted = {"browserName": "chrome", "goog:chromeOptions": {"binary": chromium, "args": options}}
            made = driver.post("/session", json={"capabilities": {"alwaysMatch": wanted}}).raise_for_status().json()
            browser = Browser(driver, made["value"]["sessionId"])
            try:
                yield browser
            finally:
                driver.delete(f"/session/{browser.session}")
    finally:
        process.terminate()
        process.wait()


def _answers(driver: httpx.Client) -> bool:
    try:
        return bool(driver.get("/status").json()["value"]["ready"])
    except httpx.TransportError:
        return False


def _until(question: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not question():
        if time.monotonic() > deadline:
            raise NoPicturesError(f"not within {TIMEOUT_S:.0f} s: {what}")
        time.sleep(0.2)  # between two looks at the thing itself


if __name__ == "__main__":
    sys.exit(main())
