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
from typing import Any

import pytest
import trustme
from cli_run import Run

from chatmark.regions import check_base_url


@contextlib.contextmanager
def serving(*options: object, **environment: str) -> Generator[dict[str, str]]:
    """Run the server, and give the environment that it prints; its key is "err" after the end."""
    command = [sys.executable, "-m", "chatmark", "serve", "--port", "0", *map(str, options)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | environment,
    ) as server:  # fmt: skip
        assert server.stdout is not None
        printed: dict[str, str] = {}
        for line in server.stdout:
            if line.startswith("# listening"):
                break
            printed |= dict(re.findall(r"export (\w+)=(\S+)", line))
        try:
            yield printed
        finally:
            server.send_signal(signal.SIGINT)
            printed["out"], printed["err"] = server.communicate(timeout=20)


def client(environment: dict[str, str], *command: str, stdin: str = "") -> Any:
    """Run a command with the environment of a server, and return the end of the process."""
    return subprocess.run(
        [sys.executable, "-m", "chatmark", *command], env=os.environ | environment, input=stdin,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


class TestServe:
    def test_log_without_a_reader(self) -> None:
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
                environment = dict(re.findall(r"export (\w+)=(\S+)", text))
                assert client(environment, "show", "amy").returncode == 0
                url = f"{environment['CHATMARK_BASE_URL']}/_emulator/events"
                with urllib.request.urlopen(url, timeout=20) as events:
                    assert events.readline().startswith(b"data: {")
                    server.send_signal(signal.SIGINT)
                    assert server.wait(timeout=20) == 0
            finally:
                # The end of Popen's block waits for the process, after a failed assertion too.
                server.kill()

    @pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
    def test_serves(self, stop: signal.Signals, tmp_path: pathlib.Path) -> None:
        """The printed environment lets a change take effect despite faults; the end is clean."""
        users = tmp_path / "users.txt"
        users.write_text("amy\nbob\n")
        faults = tmp_path / "faults.json"
        names = [{"name": "Status", "status": 502}, "ResetBefore", "ResetAfter", "CutBody"]
        order = {"when": "randomly", "probability": 0.2, "faults": names, "rng": 0}
        faults.write_text(json.dumps([order]))
        options = ["--port", "0", "--users", str(users), "--faults", str(faults)]
        server = subprocess.Popen(
            [sys.executable, "-m", "chatmark", "serve", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert server.stdout is not None
        lines = [server.stdout.readline() for _ in range(5)]
        environment = dict(re.findall(r"export (\w+)=(\S+)", "".join(lines)))
        marks = tmp_path / "marks.jsonl"
        row = '{"from_account": "amy", "to_account": "bob", "custom_mark": "%d"}\n'
        marks.write_text("".join(row % number for number in range(20)))
        client = subprocess.run(
            [sys.executable, "-m", "chatmark", "apply", marks, "--verify"],
            env=os.environ | environment,
            capture_output=True,
            check=False,
        )
        server.send_signal(stop)
        out, err = server.communicate(timeout=20)

        assert "# listening on http://127.0.0.1:" in lines[-1]
        assert b"20 took effect" in client.stdout
        assert b"1 of 1 conversation read back" in client.stdout
        assert (0, 0, "") == (client.returncode, server.returncode, err)
        assert "calls" in out

    def test_port_is_taken(self, run: Run) -> None:
        """A taken port is one error line."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            status, _, err = run(["serve", "--port", str(taken.getsockname()[1])])

        assert 2 == status
        assert "address already in use" in err
        assert 1 == len(err.splitlines())

    def test_bad_users(self, tmp_path: pathlib.Path, run: Run) -> None:
        """An impossible user id is wrong input."""
        users = tmp_path / "users.txt"
        users.write_text("é\n", encoding="utf-8")

        status, _, err = run(["serve", "--users", str(users)])

        assert 2 == status
        assert "users.txt:1: users: has characters other" in err

    def test_settings(self, tmp_path: pathlib.Path) -> None:
        """Options and the client's environment set up all that the emulator has."""
        files = {
            "users": "amy\nbob\nroot\n",
            "groups": '{"red": ["amy"], "blue": null}',
            "faults": '[{"fault": {"name": "Refuse", "code": 60008}, "command": "mark_contact"}]',
            "rows": '{"from_account": "amy", "to_group_id": "blue", "set_mark": ["vip"]}\n',
        }
        paths = {name: tmp_path / f"{name}.jsonl" for name in files}
        for name, text in files.items():
            paths[name].write_text(text)
        options: list[object] = [
            word for name, path in paths.items() for word in (f"--{name}", path)
        ]
        options += ["--names", "vip=32", "--log", "--page-size", "1", "--calls-per-second", "0"]
        given = {
            "CHATMARK_SDKAPPID": "1400000009",
            "CHATMARK_IDENTIFIER": "root",
            "CHATMARK_SECRET_KEY": "a-key-of-a-test",
        }
        row = '{"from_account": "amy", "to_group_id": "%s", "set_mark": ["favorite"]}\n'
        with serving(*options, **given) as printed:
            assert given.items() <= printed.items()
            url = printed["CHATMARK_BASE_URL"]
            shown = client(printed, "show", "amy", "--names", "vip=32")
            applied = client(printed, "apply", "-", stdin=row % "red")
            refused = client(printed, "apply", "-", stdin=(row % "red").replace("amy", "bob"))
            with urllib.request.urlopen(f"{url}/_emulator/reset", b"") as answer:
                assert answer.status == 200
            with urllib.request.urlopen(f"{url}/_emulator/state") as answer:
                after = json.loads(answer.read())

        assert "blue" in shown.stdout
        assert "vip" in shown.stdout
        assert (applied.returncode, refused.returncode) == (0, 1)
        assert "51007" in refused.stdout
        (user,) = after["users"]
        assert [each["marks"] for each in user["conversations"]] == [["vip"]]
        assert after["pending"] == 1
        assert re.search(
            r"mark_contact  amy  60008  conversations=1  \S+ ms  Refuse", printed["err"]
        )
        assert printed["err"].count("mark_contact  amy  0") == 1

    def test_own_key(self) -> None:
        """Each start has a key of its own, and the URL is one that chatmark accepts."""
        with serving() as first, serving("--host", "0.0.0.0") as second:
            keys = {printed["CHATMARK_SECRET_KEY"] for printed in (first, second)}
            assert len(keys) == 2
            assert client(second, "show", "amy").returncode == 0
        assert check_base_url(second["CHATMARK_BASE_URL"]).startswith("http://127.0.0.1:")
        assert (first["err"], second["err"].startswith("warning: 0.0.0.0 is not")) == ("", True)

    def test_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """With the printed environment chatmark accepts the name of a private network."""
        with serving("--name", "emu") as printed:
            assert printed["CHATMARK_HTTP_HOSTS"] == "emu"
        monkeypatch.setenv("CHATMARK_HTTP_HOSTS", "emu")

        assert check_base_url(printed["CHATMARK_BASE_URL"])

    def test_tls(self, tmp_path: pathlib.Path) -> None:
        """With a certificate it speaks https to a client that trusts it."""
        authority = trustme.CA()
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        issued = authority.issue_cert("127.0.0.1")
        issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
        issued.private_key_pem.write_to_path(tmp_path / "key.pem")
        with serving("--tls-cert", tmp_path / "cert.pem", "--tls-key", tmp_path / "key.pem") as at:
            trusting = client(at | {"SSL_CERT_FILE": str(tmp_path / "ca.pem")}, "show", "amy")
            doubting = client(at, "show", "amy")

        assert at["CHATMARK_BASE_URL"].startswith("https://")
        assert (trusting.returncode, doubting.returncode) == (0, 3)
        assert at["err"] == ""

    @pytest.mark.parametrize(
        ("options", "text", "reason"),
        [
            (["--groups"], '{"red": "amy"}', "each with an array of users or null"),
            (["--groups"], "{", "Expecting"),
            (["--faults"], '[{"fault": "Hung"}]', "rows.jsonl: entry 1: 'Hung' is not a fault"),
            (["--faults"], '[{"fault": "Refuse"}]',
             "rows.jsonl: entry 1: Refuse: missing a required argument: 'code'"),
            (["--round-trip", "nan", "--rows"], "", "round_trip must be a number of 0 or more"),
            (["--users", "users.txt", "--rows"], '{"from_account": "amy", "to_account": "bob"',
             "rows.jsonl"),
            (["--tls-cert"], "no", "--tls-cert"),
            (["--tls-key"], "no", "give --tls-cert with --tls-key"),
            (["--sdkappid"], "", "must be a number"),
            (["--name", "a b", "--rows"], "", "base_url: has blanks"),
            (["--name", "console.tim.qq.com", "--rows"], "", "needs --tls-cert"),
        ],
    )  # fmt: skip
    def test_wrong(
        self,
        options: list[str],
        text: str,
        reason: str,
        tmp_path: pathlib.Path,
        monkeypatch: pytest.MonkeyPatch,
        run: Run,
    ) -> None:
        """A wrong setting is one error that names it."""
        monkeypatch.chdir(tmp_path)
        pathlib.Path("users.txt").write_text("amy\n")
        pathlib.Path("rows.jsonl").write_text(text)
        status, _, err = run(["serve", *options, "rows.jsonl"])

        assert 2 == status
        assert reason in err

    def test_row_of_a_stranger(
        self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, run: Run
    ) -> None:
        """A row that the emulator would refuse is refused at the start."""
        monkeypatch.chdir(tmp_path)
        pathlib.Path("users.txt").write_text("amy\n")
        row = {"from_account": "amy", "to_account": "bob", "set_mark": [0]}
        pathlib.Path("rows.jsonl").write_text(json.dumps(row))
        status, _, err = run(["serve", "--users", "users.txt", "--rows", "rows.jsonl"])

        assert (2, True) == (status, "rows.jsonl: c2c_bob of amy: 50001" in err)
