import bz2
import gzip
import io
import lzma
import os
import pathlib
import sys
import threading
import tracemalloc
from collections.abc import Callable

import pytest
from told import read

from chatmark.jobs import ChangeFile
from chatmark.jobs.sources.formats import compression_of, text_of
from chatmark.jobs.sources.row import FileError, Row, RowError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GOOD = b'{"from_account": "a", "to_account": "b", "set_mark": 0}\n'
SKIPPED = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"
EACH = pytest.mark.parametrize(
    ("compress", "ending"),
    [
        (gzip.compress, ".gz"),
        (zstd.compress, ".zst"),
        (bz2.compress, ".bz2"),
        (lambda data: lzma.compress(data, preset=1), ".xz"),
    ],
    ids=["gzip", "zstd", "bzip2", "xz"],
)
Compress = Callable[[bytes], bytes]


def count(data: bytes, name: str) -> int:
    """Return how many good rows a file has, and no others."""
    rows = read(data, name)
    assert all(isinstance(row, Row) for row in rows), rows
    return len(rows)


def last_message(data: bytes, name: str) -> str:
    """Return what the last row is: an error of the file."""
    last = read(data, name)[-1]
    assert isinstance(last, FileError)
    return str(last)


class TestReading:
    @EACH
    def test_read(self, compress: Compress, ending: str) -> None:
        """The name or the first bytes tell that it is compressed; a row may lie in two parts."""
        parts = compress(GOOD * 2 + GOOD[:9]) + compress(GOOD[9:]) + compress(b"") + compress(GOOD)
        table = compress(b"from_account,to_account,set_mark\r\na,b,0\r\n")

        for name in (f"f.jsonl{ending}", "f.jsonl", "-"):
            assert 4 == count(parts, name)
        assert 1 == count(table, f"f.csv{ending}")

    def test_parallel_zstd(self) -> None:
        """Frames that are to be skipped, as parallel compressors write, are skipped."""
        assert 2 == count((SKIPPED + zstd.compress(GOOD)) * 2, "f.jsonl.zst")

    @pytest.mark.parametrize(
        ("compress", "ending"),
        [(gzip.compress, "gz"), (bz2.compress, "bz2"), (lzma.compress, "xz")],
    )
    def test_padded(self, compress: Compress, ending: str) -> None:
        """Zeros at the end, as tapes leave them, are nothing."""
        assert 1 == count(compress(GOOD) + b"\0" * 512, f"f.jsonl.{ending}")

    @EACH
    def test_from_a_pipe(self, compress: Compress, ending: str) -> None:
        """A pipe is read as it fills, whose first byte may come alone."""
        data = compress(GOOD * 3)
        source, sink = os.pipe()

        def write() -> None:
            with os.fdopen(sink, "wb", buffering=0) as writer:
                writer.write(data[:20])
                writer.write(data[20:])

        thread = threading.Thread(target=write)
        thread.start()
        with os.fdopen(source, "rb") as stream:
            rows = list(ChangeFile.of("-").read(stream))
        thread.join()

        assert [Row] * 3 == [type(row) for row in rows]

    @EACH
    def test_a_bomb(self, compress: Compress, ending: str, tmp_path: pathlib.Path) -> None:
        """Blanks that fill no memory when compressed fill none when read."""
        path = tmp_path / f"f.jsonl{ending}"
        path.write_bytes(compress(b" " * 30_000_000) + compress(b"\n" + GOOD))
        tracemalloc.start()
        rows = list(ChangeFile.of(str(path)).rows())
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert [RowError, Row] == [type(row) for row in rows]
        assert peak < 8_000_000


class TestDamage:
    @EACH
    def test_cut(self, compress: Compress, ending: str) -> None:
        """A file that was cut anywhere is said to be so, after the rows that are there."""
        data = compress(b"".join(GOOD.replace(b'"b"', b'"b%d"' % n) for n in range(20)))
        for size in range(6, len(data)):
            message = last_message(data[:size], f"f.jsonl{ending}")

            assert message.startswith(f"f.jsonl{ending}:")
            assert "ends early: the file was cut" in message

    def test_line_of_damage(self) -> None:
        """The rows before the damage are read; its error is that of the file, with the line."""
        rows = read(gzip.compress(GOOD + b"x\n" * 30)[:-8], "f.jsonl.gz")

        assert [Row, *[RowError] * 30, FileError] == [type(row) for row in rows]
        message = "f.jsonl.gz:32: file: the gzip data ends early: the file was cut"
        assert message == str(rows[-1])

    @EACH
    def test_garbage_after(self, compress: Compress, ending: str) -> None:
        """Whatever follows the data is damage."""
        assert " data cannot be read: " in last_message(
            compress(GOOD) + b"garbage", f"a.jsonl{ending}"
        )

    @pytest.mark.parametrize("name", ["f.jsonl.gz", "f.csv.gz"])
    def test_wrong_data(self, name: str) -> None:
        """Data that is not what was compressed is damage, as is damage inside a member."""
        data = gzip.compress(b"from_account,to_account,set_mark\n")
        for wrong in (data[:-5] + bytes([data[-5] ^ 1]) + data[-4:], data[:10] + b"\xff" * 20):
            assert "the gzip data cannot be read: " in last_message(wrong, name)

    @EACH
    @pytest.mark.parametrize(
        ("data", "found"), [(b"", ""), (b"x", ""), (GOOD, ""), (SKIPPED, " but zstd")]
    )
    def test_not_compressed(self, compress: Compress, ending: str, data: bytes, found: str) -> None:
        """A name that promises compression is held to it, and what the data is instead is said."""
        name = compression_of(f"f{ending}")
        if found != f" but {name}":
            message = f"f.csv{ending}:1: file: the name says {name}, the data is none{found}"
            assert message == last_message(data, f"f.csv{ending}")

    def test_without_zstd(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without the library the message says how to have it."""
        monkeypatch.setitem(sys.modules, "compression", None)
        monkeypatch.setitem(sys.modules, "backports", None)

        assert "pip install 'chatmark[zstd]'" in last_message(zstd.compress(GOOD), "f.jsonl.zst")

    def test_greedy_zstd(self) -> None:
        """Data that would take more memory than 128 MiB to unpack is refused."""
        options = {int(zstd.CompressionParameter.window_log): 28}
        compressor = zstd.ZstdCompressor(options=options)
        data = compressor.compress(GOOD) + compressor.flush()

        assert "requires too much memory" in last_message(data, "f.jsonl.zst")

    def test_errors_of_the_disk(self) -> None:
        """What the disk says is passed on as it is."""

        class Broken(io.BytesIO):
            def read1(self, size: int | None = -1, /) -> bytes:
                raise OSError(5, "Input/output error")

        with pytest.raises(OSError, match="Input/output"):
            text_of(Broken(gzip.compress(GOOD)), "-", None)
