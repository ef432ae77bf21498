import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Generator

import pytest
import trustme
from cli_run import Run, write_lines

from chatmark.cli.commands.serve import _violation_log
from chatmark.emulator import Call
from chatmark.regions import check_base_url

ROW = {"from_account": "amy", "to_account": "bob", "set_mark": [0]}


@contextlib.contextmanager
def serving(
    monkeypatch: pytest.MonkeyPatch, options: str = "", stop: signal.Signals = signal.SIGINT
) -> Generator[dict[str, str]]:
    """Run the server, and set the environment that it prints; "err" is what it said at the end."""
    command = [sys.executable, "-m", "chatmark", "serve", "--port", "0", *options.split()]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        printed: dict[str, str] = {}
        for line in server.stdout:
            if line.startswith("# listening"):
                break
            printed |= dict(re.findall(r"export (\w+)=(\S+)", line))
        for name, value in printed.items():
            monkeypatch.setenv(name, value)
        try:
            yield printed
        finally:
            server.send_signal(stop)
            printed["out"], printed["err"] = server.communicate(timeout=20)
        assert 0 == server.returncode


def test_faults(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """Changes take effect despite faults; SIGTERM ends it cleanly."""
    pathlib.Path("users.txt").write_text("amy\nbob\n")
    names = [{"name": "Status", "status": 502}, "ResetBefore", "ResetAfter", "CutBody"]
    order = {"when": "randomly", "probability": 0.2, "faults": names, "rng": 0}
    pathlib.Path("faults.json").write_text(json.dumps([order]))
    write_lines("marks.jsonl", *(ROW | {"custom_mark": str(number)} for number in range(20)))
    options = "--users users.txt --faults faults.json"
    with serving(monkeypatch, options, signal.SIGTERM) as printed:
        status, out, _ = run("apply marks.jsonl --verify")

    assert 0 == status
    assert "20 took effect" in out
    assert "1 of 1 conversation read back" in out
    assert ("", True) == (printed["err"], "calls" in printed["out"])


def test_log_without_a_reader(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """A log that nothing reads any longer stops no call, and Ctrl-C no page that is open."""
    command = [sys.executable, "-m", "chatmark", "serve", "--port", "0", "--log"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            assert server.stderr is not None
            text = "".join(server.stdout.readline() for _ in range(5))
            server.stderr.close()
            for name, value in re.findall(r"export (\w+)=(\S+)", text):
                monkeypatch.setenv(name, value)
            assert run("show amy").status == 0
            url = f"{os.environ['CHATMARK_BASE_URL']}/_emulator/events"
            with urllib.request.urlopen(url, timeout=20) as events:
                assert events.readline().startswith(b"data: {")
                server.send_signal(signal.SIGINT)
                assert server.wait(timeout=20) == 0
        finally:
            # The end of Popen's block waits for the process, after a failed assertion too.
            server.kill()


def test_settings(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """Options and the client's environment set up all that the emulator has."""
    files = {
        "users": "amy\nbob\nroot\n",
        "groups": '{"red": ["amy"], "blue": null}',
        "faults": '[{"fault": {"name": "Refuse", "code": 60008}, "command": "mark_contact"}]',
        "rows": '{"from_account": "amy", "to_group_id": "blue", "set_mark": ["vip"]}\n',
    }
    for name, text in files.items():
        pathlib.Path(f"{name}.jsonl").write_text(text)
    given = {
        "CHATMARK_SDKAPPID": "1400000009",
        "CHATMARK_IDENTIFIER": "root",
        "CHATMARK_SECRET_KEY": "a-key-of-a-test",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    options = " ".join(f"--{name} {name}.jsonl" for name in files)
    options += " --names vip=32 --log --page-size 1 --calls-per-second 0"
    with serving(monkeypatch, options) as printed:
        shown = run("show amy --names vip=32")
        applied = run("mark amy group_red --set favorite")
        refused = run("mark bob group_red --set favorite")
        url = printed["CHATMARK_BASE_URL"]
        with urllib.request.urlopen(f"{url}/_emulator/reset", b"") as answer:
            assert answer.status == 200
        with urllib.request.urlopen(f"{url}/_emulator/state") as answer:
            after = json.loads(answer.read())

    assert given.items() <= printed.items()
    assert "blue" in shown.out
    assert "vip" in shown.out
    assert (0, 1, True) == (applied.status, refused.status, "51007" in refused.out)
    (user,) = after["users"]
    assert [["vip"]] == [each["marks"] for each in user["conversations"]]
    assert 1 == after["pending"]
    assert re.search(r"mark_contact  amy  60008  conversations=1  \S+ ms  Refuse", printed["err"])
    assert 1 == printed["err"].count("mark_contact  amy  0")


def test_network(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """On all addresses it warns; with a name the printed environment lets chatmark accept it."""
    with serving(monkeypatch, "--host 0.0.0.0") as first:
        assert check_base_url(first["CHATMARK_BASE_URL"]).startswith("http://127.0.0.1:")
        assert 0 == run("show amy").status
    monkeypatch.delenv("CHATMARK_SECRET_KEY")
    with serving(monkeypatch, "--name emu") as second:
        assert "emu" == second["CHATMARK_HTTP_HOSTS"]
        assert check_base_url(second["CHATMARK_BASE_URL"])

    assert first["err"].startswith("warning: 0.0.0.0 is not")
    # Each start has a key of its own.
    assert first["CHATMARK_SECRET_KEY"] != second["CHATMARK_SECRET_KEY"]


def test_tls(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """With a certificate it speaks https to a client that trusts it."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path("ca.pem")
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path("cert.pem")
    issued.private_key_pem.write_to_path("key.pem")
    with serving(monkeypatch, "--tls-cert cert.pem --tls-key key.pem") as printed:
        doubting = run("show amy")
        # A process reads the authorities that it trusts once.
        trusting = subprocess.run(
            [sys.executable, "-m", "chatmark", "show", "amy"],
            env=os.environ | {"SSL_CERT_FILE": "ca.pem"},
            check=False,
            stdout=subprocess.DEVNULL,
        )

    assert printed["CHATMARK_BASE_URL"].startswith("https://")
    assert (0, 3, "") == (trusting.returncode, doubting.status, printed["err"])


def test_violations(capsys: pytest.CaptureFixture[str]) -> None:
    """Without --log acts of no correct client are told, a bounded number of them."""
    log, notes = _violation_log(), ["ver=1 is unknown", "violation: \x1b twice"]
    for number in range(150):
        log(Call(number, "mark_contact", 0.0, notes=notes))
    lines = capsys.readouterr().err.splitlines()

    assert (100, r"call 0 (mark_contact): violation: \x1b twice") == (len(lines), lines[0])


@pytest.mark.parametrize(
    ("options", "text", "reason"),
    [
        ("--groups", '{"red": "amy"}', "several ids are needed"),
        ("--groups", "{", "Expecting"),
        ("--faults", '[{"fault": "Hung"}]', "rows.jsonl: entry 1: 'Hung' is not a fault"),
        (
            "--faults",
            '[{"fault": "Refuse"}]',
            "entry 1: Refuse: missing a required argument: 'code'",
        ),
        ("--round-trip nan --rows", "", "round_trip must be a number of 0 or more"),
        ("--users users.txt --rows", '{"from_account": "amy"', "rows.jsonl"),
        ("--users users.txt --rows", json.dumps(ROW), "rows.jsonl: c2c_bob of amy: 50001"),
        ("--users", "é\n", "rows.jsonl:1: users: has characters other"),
        ("--tls-cert", "no", "--tls-cert"),
        ("--tls-key", "no", "give --tls-cert with --tls-key"),
        ("--sdkappid", "", "--sdkappid"),
        ("--name 'a b' --rows", "", "base_url: has blanks"),
        ("--name console.tim.qq.com --rows", "", "needs --tls-cert"),
    ],
)
def test_wrong(options: str, text: str, reason: str, run: Run) -> None:
    """A wrong setting is one error that names it."""
    pathlib.Path("users.txt").write_text("amy\n")
    pathlib.Path("rows.jsonl").write_text(text)
    status, _, err = run(f"serve {options} rows.jsonl")

    assert (2, True) == (status, reason in err), err


def test_port_is_taken(run: Run) -> None:
    """A taken port is one error line."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        status, _, err = run(f"serve --port {taken.getsockname()[1]}")

    assert (2, 1) == (status, len(err.splitlines()))
    assert "address already in use" in err
