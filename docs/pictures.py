"""
The picture of the README: `python docs/pictures.py` runs chatmark, and needs Chromium.

It shows the main job in a terminal, the page of the job, and the page of the emulator.
"""

import asyncio
import io
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from rich.console import Console
from rich.text import Text

from chatmark import Conversation, ConversationMark, Credentials, MarkSession
from chatmark.emulator import EmulatorThread, Refuse

ROOT = pathlib.Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "images" / "overview.png"
JOB = ["apply", "examples/marks.jsonl", "--local", "--verify", "--show", "user_0001"]
COLUMNS = 134
TOGETHER = """
<style>
  body {{ margin: 0; padding: 20px; background: #dfe4ea; display: flex; gap: 20px; }}
  img {{ width: 640px; height: 800px; object-fit: cover; object-position: top left;
        border-radius: 8px; box-shadow: 0 2px 8px #0005; }}
</style>
{images}
"""
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or "chromium"


def shoot(url: str, target: pathlib.Path, width: int, height: int) -> None:
    """Take a picture of a page."""
    options = ["--headless=new", "--no-sandbox", "--hide-scrollbars", "--timeout=3000"]
    options += [f"--window-size={width},{height}", "--blink-settings=preferredColorScheme=1"]
    subprocess.run(
        [BROWSER, *options, f"--screenshot={target}", url],
        check=True,
        stderr=subprocess.DEVNULL,
        timeout=60,
    )


def run_job(folder: pathlib.Path) -> None:
    """Run the main job; leave its page, and a page with the text of the terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "chatmark", *JOB, "--html", str(folder / "job.html")],
        cwd=ROOT,
        env={**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(COLUMNS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text(f"$ chatmark {' '.join(JOB)}", style="bold"))
    console.print(Text.from_ansi(done.stdout.decode()))
    style = '<body style="padding: 16px; zoom: 0.88">'
    page = console.export_html(inline_styles=True).replace("<body>", style)
    (folder / "terminal.html").write_text(page, "utf-8")


async def use(emulator: EmulatorThread) -> None:
    """Give the emulator something to show."""
    credentials = Credentials(
        sdkappid=emulator.settings.sdkappid,
        identifier=min(emulator.settings.admins),
        secret_key=emulator.settings.secret_key,
    )
    emulator.script.item((2, "team_3"), 51008)
    emulator.script.next(None, Refuse(50004))
    async with MarkSession(credentials, base_url=emulator.url) as session:
        for user, mark in (
            ("amy", ConversationMark.FAVORITE),
            ("bob", ConversationMark.UNREAD | ConversationMark.extension(33)),
            ("eve", ConversationMark.extension(40)),
        ):
            teams = [Conversation.group(f"team_{number}") for number in range(5)]
            await session.mark_many(user, teams, set_mark=mark, custom_mark="call back")
            assert [each async for each in session.marked(user)]


def main() -> None:
    """Make the picture."""
    with tempfile.TemporaryDirectory() as name, EmulatorThread(round_trip=0.03) as emulator:
        folder = pathlib.Path(name)
        run_job(folder)
        asyncio.run(use(emulator))
        pages = {
            "terminal": (folder / "terminal.html").as_uri(),
            "job": (folder / "job.html").as_uri(),
            "emulator": f"{emulator.url}/",
        }
        for each, url in pages.items():
            shoot(url, folder / f"{each}.png", 960, 1200)
        images = "".join(f'<img src="{each}.png">' for each in pages)
        (folder / "together.html").write_text(TOGETHER.format(images=images), "utf-8")
        shoot((folder / "together.html").as_uri(), PICTURE, 2000, 840)


if __name__ == "__main__":
    main()
