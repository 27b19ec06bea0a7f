import os
import pickle
import signal
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from llmkit.data.drops import Drop
from llmkit.data.readers import sandbox
from llmkit.data.readers.base import ParseLimits, ReadOptions, UnreadableError
from llmkit.data.readers.table import READERS, read_file
from llmkit.errors import RunError
from llmkit.text.document import Document

# What hostile files do to a parser, by the first word in the file. The child imports this by its name.
PARSERS = """
import ctypes, os, time
from llmkit.data.drops import Drop
from llmkit.text.document import Document

def parse(path, media, options):
    for word in path.read_text().split():
        if word == "hang":
            time.sleep(600)
        elif word == "spin":
            while True:
                pass
        elif word == "segfault":
            ctypes.string_at(0)
        elif word == "exit":
            os._exit(3)
        elif word == "allocate":
            bytearray(64 << 30)
        elif word == "print":
            os.write(1, b"noise" * 1000)
            print("more noise", flush=True)
        elif word == "raise":
            raise KeyError("what a parser raises")
        elif word == "huge":
            yield Document(str(path), "x" * 30_000_000)
        elif word == "pid":
            yield Document(str(path), str(os.getpid()))
        elif word == "once" and not os.environ.get("SEEN"):
            os.environ["SEEN"] = "1"
            yield Document(str(path), "fresh")
        elif word == "once":
            os._exit(1)
        else:
            yield Document(str(path), word)
"""


@pytest.fixture
def parser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`READERS["pdf"]` does what the file says."""
    (tmp_path / "hostile_parsers.py").write_text(PARSERS)
    monkeypatch.syspath_prepend(tmp_path)
    import hostile_parsers

    monkeypatch.setitem(READERS, "pdf", hostile_parsers.parse)
    sandbox._POOL.stop()  # those that run know nothing of that module
    yield
    sandbox._POOL.stop()
    sys.modules.pop("hostile_parsers")


def read(tmp_path: Path, words: str, limits: ParseLimits | None = None) -> list[str]:
    """Text or reason of what is read from a PDF that makes its parser do `words`."""
    path = tmp_path / "a.pdf"
    path.write_text(f"%PDF- {words}")
    items = list(read_file(path, ReadOptions(limits=limits or ParseLimits())))
    assert all(item.source == str(path) for item in items)
    return [item.text if isinstance(item, Document) else item.reason for item in items]


@pytest.mark.usefixtures("parser")
class TestSandbox:
    @pytest.mark.parametrize("how", ["hang", "spin"])
    def test_a_parser_that_hangs_costs_one_document(self, tmp_path: Path, how: str) -> None:
        read(tmp_path, "warm")
        assert read(tmp_path, f"before {how} after", ParseLimits(seconds=0.3)) == ["%PDF-", "before", "parser_timeout"]
        assert read(tmp_path, "next") == ["%PDF-", "next"]

    @pytest.mark.parametrize("how", ["segfault", "exit"])
    def test_a_parser_that_crashes_costs_one_document(self, tmp_path: Path, how: str) -> None:
        assert read(tmp_path, f"before {how} after") == ["%PDF-", "before", "parser_crashed"]
        assert read(tmp_path, "next") == ["%PDF-", "next"]

    def test_a_parser_that_takes_all_memory_costs_one_document(self, tmp_path: Path) -> None:
        assert read(tmp_path, "before allocate") == ["%PDF-", "before", "out_of_memory"]
        assert read(tmp_path, "next") == ["%PDF-", "next"]

    def test_what_a_parser_raises_is_the_files_fault(self, tmp_path: Path) -> None:
        assert read(tmp_path, "raise") == ["%PDF-", "parse_error"]

    def test_what_a_parser_prints_is_not_taken_for_its_answer(self, tmp_path: Path) -> None:
        assert read(tmp_path, "print after") == ["%PDF-", "after"]

    def test_documents_larger_than_a_pipe_come_through(self, tmp_path: Path) -> None:
        assert [len(text) for text in read(tmp_path, "huge huge")] == [5, 30_000_000, 30_000_000]

    def test_one_process_reads_many_files(self, tmp_path: Path) -> None:
        assert read(tmp_path, "pid") == read(tmp_path, "pid") != ["%PDF-", str(os.getpid())]

    def test_a_file_fares_the_same_whatever_its_process_read_before(self, tmp_path: Path) -> None:
        import hostile_parsers

        (tmp_path / "a.pdf").write_text("once")
        for _ in range(2):  # the second makes the process of the first exit
            items = sandbox.read_sandboxed(hostile_parsers.parse, tmp_path / "a.pdf", "x", ReadOptions())
            assert [item.text for item in items if isinstance(item, Document)] == ["fresh"]

    def test_two_files_can_be_read_at_once(self, tmp_path: Path) -> None:
        (tmp_path / "a.pdf").write_text("%PDF- 1 2 3")
        (tmp_path / "b.pdf").write_text("%PDF- 4 5 6")
        pairs = zip(read_file(tmp_path / "a.pdf"), read_file(tmp_path / "b.pdf"), strict=True)
        texts = [(a.text, b.text) for a, b in pairs if isinstance(a, Document) and isinstance(b, Document)]
        assert texts == [("%PDF-", "%PDF-"), ("1", "4"), ("2", "5"), ("3", "6")]

    def test_threads_do_not_get_in_one_anothers_way(self, tmp_path: Path) -> None:
        found: dict[int, list[Document | Drop]] = {}

        def one(number: int) -> None:
            (tmp_path / f"{number}.pdf").write_text(f"%PDF- {number}")
            found[number] = list(read_file(tmp_path / f"{number}.pdf"))

        threads = [threading.Thread(target=one, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {n: [item.text for item in items if isinstance(item, Document)][1] for n, items in found.items()} == {
            n: str(n) for n in range(3)
        }

    def test_a_reading_that_is_given_up_ends_its_process(self, tmp_path: Path) -> None:
        (tmp_path / "a.pdf").write_text("pid hang")
        import hostile_parsers

        reading = sandbox.read_sandboxed(hostile_parsers.parse, tmp_path / "a.pdf", "x", ReadOptions())
        first = next(reading)
        assert isinstance(first, Document)
        reading.close()  # type: ignore[attr-defined]
        with pytest.raises(ProcessLookupError):
            os.kill(int(first.text), 0)

    def test_a_process_that_was_killed_while_it_had_nothing_to_do_is_replaced(self, tmp_path: Path) -> None:
        (_, pid) = read(tmp_path, "pid")
        os.kill(int(pid), signal.SIGKILL)
        assert read(tmp_path, "next") == ["%PDF-", "next"]

    def test_a_member_that_crashes_costs_itself(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            for name, content in (("1.pdf", "%PDF- segfault"), ("2.txt", "words"), ("3.pdf", "%PDF- good")):
                archive.writestr(name, content)
        items = list(read_file(tmp_path / "a.zip"))
        assert [item.reason if isinstance(item, Drop) else item.text for item in items] == [
            "%PDF-", "parser_crashed", "words", "%PDF-", "good"
        ]  # fmt: skip


def test_a_daemonic_worker_may_read_in_a_process_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("<html><body><p>Some words of a page.</p></body></html>")
    script = (
        "import sys; from pathlib import Path; from llmkit.data.readers.table import read_file\n"
        "from multiprocessing import get_context\n"
        "def work(path, out):\n    out.put([item.text for item in read_file(Path(path))])\n"
        "if __name__ == '__main__':\n"
        "    context = get_context('fork'); out = context.Queue()\n"
        "    print([item.text for item in read_file(Path(sys.argv[1]))])\n"  # by a child the fork must not use
        "    process = context.Process(target=work, args=(sys.argv[1], out), daemon=True); process.start()\n"
        "    print(out.get(timeout=60)); process.join()\n"
        "    print([item.text for item in read_file(Path(sys.argv[1]))])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a.html")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("['Some words of a page.']\n" * 3, "")


def test_the_process_ends_with_its_parent(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("<html><body><p>Some words of a page.</p></body></html>")
    script = (
        "import os, sys, signal; from pathlib import Path; from llmkit.data.readers import sandbox, table\n"
        "list(table.read_file(Path(sys.argv[1])))\n"
        "print(sandbox._POOL._idle[0]._process.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a.html")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    child = Path(f"/proc/{int(done.stdout)}/cmdline")
    waited = threading.Event()
    for _ in range(100):
        if not child.exists() or b"readers.child" not in child.read_bytes():
            return
        waited.wait(0.05)
    pytest.fail("it is still there")


def test_a_process_that_cannot_start_is_an_error_and_no_drop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox._POOL.stop()
    (tmp_path / "a.html").write_text("<html><body><p>Words.</p></body></html>")
    for program in ("/bin/false", str(tmp_path / "nothing")):
        monkeypatch.setattr(sys, "executable", program)
        with pytest.raises(RunError, match="could be started"):
            list(read_file(tmp_path / "a.html"))


def test_a_refusal_comes_through_as_it_was_raised() -> None:
    error = UnreadableError("no_text", "3 pages are scans", 3)
    again = pickle.loads(pickle.dumps(error))
    assert (again.reason, again.detail, again.pages) == ("no_text", "3 pages are scans", 3)


@pytest.mark.parametrize("sandboxed", [True, False])
def test_a_page_is_read_the_same_in_either_process(tmp_path: Path, sandboxed: bool) -> None:
    (tmp_path / "a.html").write_text("<html><body><p>東京の天気です。</p></body></html>", encoding="utf-8")
    (item,) = read_file(tmp_path / "a.html", ReadOptions(sandbox=sandboxed))
    assert isinstance(item, Document)
    assert item.text.strip() == "東京の天気です。"
