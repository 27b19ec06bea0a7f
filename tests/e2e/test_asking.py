"""`llmkit ask` with a model by the real command line: citations, tasks, conversations, pictures, Ctrl-C."""

from __future__ import annotations

import base64
import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from typing import Any

import pytest
from support.chat_server import ChatServer
from support.tiny import tiny_model

ZOO = """# Tickets

A ticket costs 12 euros for adults and 6 euros for children. On Sundays children enter free of charge.

# Animals

The okapi is a relative of the giraffe. It eats leaves and fruit. The okapi lives in the rain forest of the Congo.
"""
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def reply(messages: list[dict[str, Any]]) -> str:
    """What a good model, and a bad one, might say."""
    last = messages[-1]["content"]
    if isinstance(last, list):
        return f"I see {len(last) - 1} picture."
    if "Rewrite the user's last question" in messages[0]["content"]:
        return "Let me think about that."
    if "<passage-" in last:
        return "It eats leaves and fruit [1]. It flies to the moon [1]. It sings [7]. \x1b]8;;http://evil.example/\x07click"
    return "Well. " + last


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from .conftest import Cli

    folder = tmp_path_factory.mktemp("zoo")
    (folder / "docs").mkdir()
    (folder / "docs" / "zoo.md").write_text(ZOO)
    cli = Cli(folder, folder / "home")
    cli.ok("index", "docs", "--name", "kb")
    tiny_model(folder / "tiny", "gpt2", ZOO.split(), sequence_length=512)
    return cli


def test_a_worded_answer_has_checked_citations_and_marks(zoo: Any) -> None:
    with ChatServer(reply) as server:
        said = zoo.ok("ask", "What does the okapi eat?", "--index", "kb", "--model", server.ref)
        ran = zoo("ask", "What does the okapi eat?", "--index", "kb", "--model", server.ref)
    (citation,) = said["citations"]
    assert "It eats leaves and fruit" in citation["quote"] and citation["source"] == "docs/zoo.md"
    assert ZOO[citation["start"] : citation["end"]] == citation["quote"]
    assert said["invented"] == [7] and "It flies to the moon." in said["unsupported"]
    assert "It eats leaves and fruit [1]. It flies to the moon. [unsupported]" in said["answer"]
    assert "\x1b" not in ran.out and "\x07" not in ran.out and "the model cites [7]" in ran.out
    system, user = server.requests[0]["messages"]
    assert "never an instruction" in system["content"] and user["content"].endswith("What does the okapi eat?")


def test_passages_that_do_not_fit_are_told(zoo: Any) -> None:
    with ChatServer(reply, context=220) as server:
        said = zoo.ok(
            "ask", "What does the okapi eat?", "--index", "kb", "--model", server.ref, "--max-tokens", 40, "--k", 5
        )
    assert re.search(r"passage was cut to \d of its \d sentences: the model reads 220 tokens", said["notes"][0])
    tiny = zoo.ok("ask", "What does the okapi eat?", "--index", "kb", "--model", "./tiny", "--max-tokens", 8)
    assert any("the model reads 512 tokens" in note or "cut after 8" in note for note in tiny["notes"])


def test_a_conversation_from_a_pipe(zoo: Any) -> None:
    words = zoo.command("ask", "--chat", "--index", "kb", "--json")
    typed = "What does the okapi eat?\nWhere does it live?\n/quit\nnever\n"
    ran = subprocess.run(
        words, cwd=zoo.folder, env=zoo.environment, input=typed, capture_output=True, text=True, timeout=300
    )
    first, second = (json.loads(line) for line in ran.stdout.splitlines())
    assert (ran.returncode, first["searched"], second["searched"]) == (0, None, "Where does the okapi live?")
    assert second["question"] == "Where does it live?" and "rain forest of the Congo" in second["answer"]
    with ChatServer(reply) as server:
        words = zoo.command("ask", "--chat", "--index", "kb", "--model", server.ref)
        ran = subprocess.run(
            words, cwd=zoo.folder, env=zoo.environment, input=typed, capture_output=True, text=True, timeout=300
        )
    assert "understood as: Where does the okapi live?" in ran.stdout  # the model's was none, so by the rules
    assert [turn["role"] for turn in server.requests[-1]["messages"]] == ["system", "user", "assistant", "user"]


def test_pictures_go_to_an_endpoint(zoo: Any) -> None:
    (zoo.folder / "a.png").write_bytes(base64.b64decode(PNG))
    with ChatServer(reply) as server:
        said = zoo.ok("ask", "What is this?", "--model", server.ref, "--image", "a.png")
    assert said["answer"] == "I see 1 picture."
    refused = zoo("ask", "What is this?", "--model", "./tiny", "--image", "a.png")
    assert refused.code == 2 and "local model reads text only" in refused.err


def test_tasks_take_their_text_from_where_it_is(zoo: Any) -> None:
    summary = zoo.ok("ask", "--task", "summarize", "--file", "docs/zoo.md")
    assert summary["answer"] and all(quote["quote"] in ZOO for quote in summary["citations"])
    with ChatServer(reply) as server:
        said = zoo.ok("ask", "Hello.", "--task", "translate", "--to", "ja", "--model", server.ref)
        assert "Hello." in said["answer"] and "to Japanese" in server.requests[-1]["messages"][0]["content"]
        assert server.requests[-1]["temperature"] == 0
        zoo.ok("ask", "A poem.", "--task", "write", "--model", server.ref)
        assert server.requests[-1]["temperature"] == 0.7
    assert isinstance(zoo.ok("ask", "A ticket", "--task", "complete", "--model", "./tiny")["answer"], str)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("Hi", "--task", "translate", "--to", "ja"), 2, "needs a model"),
        (("Hi", "--task", "sentiment"), 2, "finetune-lora --task classify"),
        (("Hi", "--task", "sumarize"), 2, "did you mean 'summarize'"),
        (("--chat", "--batch", "q.txt"), 2, "a chat takes no --batch"),
        (("Hi", "--file", "docs/zoo.md"), 2, "belongs to a --task"),
        (("Hi", "--model", "openai:http://127.0.0.1:9/v1#m"), 5, "nothing answers"),
    ],
)
def test_what_cannot_be_done_is_said_with_the_way_out(zoo: Any, words: tuple[str, ...], code: int, said: str) -> None:
    ran = zoo("ask", *words)
    assert ran.code == code and said in ran.err and "hint:" in ran.err, ran.err


def test_ctrl_c_keeps_what_was_said(zoo: Any) -> None:
    with ChatServer(lambda messages: "word " * 400, pause=0.02) as server:
        running = zoo.start("ask", "Tell me everything.", "--model", server.ref)
        while not server.requests:
            time.sleep(0.02)
        time.sleep(0.5)
        os.killpg(running.pid, signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "word word" in out and "this is what was said until then" in out
    assert err.count("error:") == 1 and "interrupted in the middle of an answer" in err


def test_words_appear_on_a_terminal_as_they_are_made(zoo: Any) -> None:
    with ChatServer(lambda messages: "alpha beta gamma omega", pause=0.4) as server:
        seen = _on_a_terminal(zoo, "ask", "Say letters.", "--model", server.ref)
    assert seen.find("alpha") < seen.find("omega")
    frames = re.split(r"\x1b\[2K", seen)
    assert any("alpha" in frame and "omega" not in frame for frame in frames), "a part was seen before the whole"
    assert "alpha beta gamma omega" in frames[-1]


def _on_a_terminal(cli: Any, *words: object) -> str:
    """What the command writes to a terminal of its own."""
    master, slave = pty.openpty()
    environment = {**cli.environment, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    running = subprocess.Popen(
        cli.command(*words), cwd=cli.folder, env=environment, stdin=slave, stdout=slave, stderr=slave, close_fds=True
    )
    os.close(slave)
    seen = b""
    while select.select([master], [], [], 60)[0]:
        try:
            piece = os.read(master, 65536)
        except OSError:  # how Linux says that the other side is closed
            break
        if not piece:
            break
        seen += piece
    os.close(master)
    assert running.wait(60) == 0, seen
    return seen.decode("utf-8", "replace")
