import gzip
import io

import pytest

from chatmark.jobs.sources.row import RowError
from chatmark.jobs.sources.users import UserList, read_users


def read(data: bytes, name: str = "users", column: str = "from_account") -> list[str]:
    """Return the users of a file's bytes."""
    return list(read_users(io.BytesIO(data), name, None, column))


class TestReadUsers:
    @pytest.mark.parametrize(
        ("name", "data"),
        [
            ("users", b"\xef\xbb\xbfamy\r\n\n eve \namy"),
            ("users.txt.gz", gzip.compress(b"amy\neve\namy\n", mtime=0)),
            ("users.csv", b"x,from_account\n1,amy\n,\nx,from_account\n2, eve \n3,amy\n"),
            ("users.csv", b"sep=;\r\nx;from_account\r\n1;amy\r\n2;eve\r\n"),
            ("users", "amy\reve\r".replace("\r", "\r\n").encode("utf-16")),
            ("users.json", b'["amy",\n"eve"]'),
            ("users.json", b'[{"from_account": "amy"}, {"from_account": "eve"}]'),
            ("users.jsonl", b'{"from_account":"amy"}\n\n{"From_Account":"eve"}\n'),
            ("users.JSONL.gz", gzip.compress(b'{"from_account":"amy","y":1}\n', mtime=0)),
        ],
    )
    def test_forms(self, name: str, data: bytes) -> None:
        """Users are ids, one a line, or a column; the file may be compressed."""
        users = read(data, name)

        assert ["amy", "eve", "amy"][: len(users)] == users
        assert users

    def test_column(self) -> None:
        """The column may have another name."""
        assert ["amy"] == read(b"uid\namy\n", "users.csv", "uid")
        assert ["amy"] == read(b'{"uid":"amy"}', "users.jsonl", "uid")

    @pytest.mark.parametrize(
        ("name", "data", "message"),
        [
            ("users", b"amy\n\xff\n", r"^users:2: row: is not UTF-8"),
            ("users", b"amy\n" + b"x" * 33, r"^users:2: from_account: has 33 bytes"),
            ("u.csv", b"user\namy\n", r"^u.csv:1: from_account: is not a column of the header"),
            ("u.csv", b"", r"^u.csv:1: from_account: is not a column of the header"),
            ("u.csv", b"a,from_account\nx\n", r"^u.csv:2: from_account: is empty"),
            ("u.csv", b'from_account\n"amy', r"^u.csv:2: row: is not CSV"),
            ("u.jsonl", b'{"to_account":"amy"}', r"^u.jsonl:1: from_account: is missing"),
            ("u.jsonl", b'{"from_account":5.5}', r"^u.jsonl:1: from_account: must be text, not"),
            ("u.jsonl", b"\n[1]", r"^u.jsonl:2: row: must be a JSON object or an id"),
            ("users", b"amy\nNaN", r"^users:2: from_account: is a word for no value"),
            ("users", b"amy,eve", r"^users:1: from_account: has a comma"),
            ("u.jsonl", b"amy", r"^u.jsonl:1: row: is not JSON"),
            ("u.gz", b"amy", r"^u.gz:1: file: the name says gzip"),
        ],
    )
    def test_bad(self, name: str, data: bytes, message: str) -> None:
        """What names no user is an error of its line."""
        with pytest.raises(RowError, match=message):
            read(data, name)


class TestUserList:
    def test_once_each(self) -> None:
        """Each user stands once, where it was named first, and reading may begin anywhere."""
        named = [f"user_{number % 2_500}" for number in range(6_000)]
        with UserList(named) as users:
            assert 2_500 == len(users)
            assert named[:2_500] == list(users.read())
            assert named[2_400:2_500] == list(users.read(2_400))

    def test_digest(self) -> None:
        """Other users, or another order, have another digest; repeats have not."""
        digests: list[str] = []
        for named in ("ab", "aba", "ba", "a", ["ab"]):
            with UserList(named) as users:
                digests.append(users.digest)

        assert digests[0] == digests[1]
        assert 4 == len(set(digests))
