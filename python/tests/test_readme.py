"""The pages that users read: their programs run as written, their commands parse, and the client's
page is complete."""
from __future__ import annotations

import argparse
import importlib.metadata
import inspect
import os
import pathlib
import re
import shlex
import subprocess
import sys

import ndring
import numpy as np
import pytest
from ndring import __main__
from ndring._core import settings as _settings
from ndring._core import tls as _tls

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", "bench/README.md", "python/README.md", "docs/python.md"]


def blocks(page: str, language: str) -> list:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def programs(page: str) -> list:
    return blocks(page, "python")


@pytest.mark.parametrize(("page", "number"), [(page, n) for page in PAGES[:4] for n in range(len(programs(page)))])
def test_programs_run_as_they_are_written(page, number, node, monkeypatch):
    # The suite's node does not listen on 7379, so the imported name connects to its port.
    client = ndring.NumPyRedis
    monkeypatch.setattr(ndring, "NumPyRedis", lambda: client(*node))
    names: dict = {"array": np.arange(3)} if page == "python/README.md" else {}
    exec(programs(page)[number], names)
    if "retrieved" in names:
        retrieved = names["retrieved"]
        assert retrieved.dtype == np.float32 and retrieved.tolist() == [[1, 2, 3], [4, 5, 6]]
        assert retrieved.flags.f_contiguous and not retrieved.flags.c_contiguous and not retrieved.flags.writeable
    names["client"].close()


def test_the_readme_has_its_program():
    assert len(programs("README.md")) == 1 and "retrieved" in programs("README.md")[0]


def installed(distribution: str) -> str:
    """Returns the version of a library, empty if it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


@pytest.mark.parametrize("number", range(len(programs("docs/python.md"))))
def test_examples_of_the_client_page(number, node, tmp_path):
    """Each runs after the page's first lines, as a script, because spawned workers import it."""
    example = programs("docs/python.md")[0] + (programs("docs/python.md")[number] if number else "")
    host, port = node
    example = example.replace("NumPyRedis()", f"NumPyRedis({host!r}, {port})")
    example = re.sub(r"(AsyncNumPyRedis\(|NumPyRedis\()(?=on_error=.*retry_for=0.5\)|near_cache)", rf"\1{host!r}, {port}, ", example)
    example = example.replace('["cache-a:7379", "cache-b:7379"]', f'["{host}:{port}", "{host}:{port}"]')
    if "import zarr" in example and installed("zarr") < "3":
        pytest.skip("zarr 3 needs a newer NumPy than this one: make test-numpy2 runs this example")
    if "ndring.contrib.opentelemetry" in example and not installed("opentelemetry-api"):
        example = "import opentelemetry_stand_in\nopentelemetry_stand_in.install()\n" + example
    script = tmp_path / "example.py"
    script.write_text(example)
    run = subprocess.run(
        [sys.executable, "-W", "error", str(script)], capture_output=True, text=True, timeout=100,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'python'}:{ROOT / 'python/tests'}"},
    )  # fmt: skip
    assert run.returncode == 0 and run.stderr == "", f"{run.stderr}\n{example}"


def ndring_commands(line: str) -> list:
    """The arguments of each ``python -m ndring`` in a line of shell."""
    words = shlex.split(line, comments=True) + ["|"]
    starts = [i + 3 for i in range(len(words)) if words[i : i + 3] == ["python", "-m", "ndring"]]
    return [words[i : words.index("|", i)] for i in starts]


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_shell_examples(page):
    parser = __main__.make_parser()
    text = [line for block in blocks(page, "sh") for line in block.splitlines()]
    commands = [words for line in text for words in ndring_commands(line)]
    for words in commands:
        parser.parse_args(words)
    assert any(words[0] == "import" for words in commands)
    lines = [shlex.split(line, comments=True) for line in text]
    for words in lines:
        if words[:2] == ["pip", "install"]:
            assert (ROOT / words[2] / "pyproject.toml").exists()


def test_the_session_of_the_client_page(tool, tmp_path, monkeypatch):
    """Its commands print what the page shows, apart from times, versions and addresses."""

    def same(text):
        text = re.sub(r"(version:|memory:) +.*|\d+\.\d\d ms|127\.0\.0\.1:\d+", "", text)
        return text.replace("3599", "3600").replace("59m59s", "1h")

    monkeypatch.chdir(tmp_path)
    (session,) = blocks("docs/python.md", "console")
    steps = re.findall(r"^\$ (.*)\n((?:[^$].*\n|\n)*)", session, re.MULTILINE)
    assert len(steps) == session.count("$ ") == 6
    for line, expected in steps:
        words = shlex.split(line)
        if words[1] == "-c":
            exec(words[2], {})
            continue
        code, out, err = tool(*words[3:])
        assert (code, err) == (0, "") and same(out.decode()) == same(expected), line
    assert (tmp_path / "copy.npy").read_bytes() == (tmp_path / "saw.npy").read_bytes()


def test_the_command_line_is_complete():
    text = (ROOT / "docs/python.md").read_text()
    section = text[text.index("## The command line") : text.index("## Retries and deadlines")]
    (commands,) = (action for action in __main__.make_parser()._actions if isinstance(action, argparse._SubParsersAction))
    for name, parser in commands.choices.items():
        assert f"| `{name}" in section
        for action in parser._actions if name != "import" else []:
            spellings = action.option_strings or ["-h"]
            assert "-h" in spellings or any(re.search(rf"[`\[]{spelling}\b", section) for spelling in spellings), (name, spellings)


def test_the_client_page_is_complete():
    text = (ROOT / "docs/python.md").read_text()
    named = set(re.findall(r"\w+", text))
    options = {name for name in inspect.signature(ndring.NumPyRedis).parameters if name != "options"}
    options |= set(_settings.Settings._fields) - {"path", "tls", "readonly"} | set(_settings._NO_EFFECT) | set(_settings._REFUSED) | {"ssl"}
    assert options <= named, f"options: {options - named}"
    methods = {name for name in vars(ndring.NumPyRedis) if not name.startswith("_")}
    assert methods <= named, f"methods: {methods - named}"
    errors = {name for name in ndring.__all__ if name.endswith(("Error", "Write"))}
    assert errors <= named, f"exceptions: {errors - named}"
    fields = set(ndring.Meta.__dataclass_fields__)
    assert fields <= named, f"fields of Meta: {fields - named}"
    assert all(name.startswith("ssl_") for name in _tls.TLS_OPTIONS)  # the page does not list them one by one


@pytest.mark.parametrize("page", PAGES)
def test_targets_exist(page):
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = (ROOT / page).read_text()
    named = set(re.findall(r"`make ([a-z0-9-]+)[^`]*`", text)) | set(re.findall(r"^make ([a-z0-9-]+)", text, re.MULTILINE))
    assert named or page in ("python/README.md", "docs/python.md")
    assert named <= targets, f"{page} names {named - targets}"


def headings(page: pathlib.Path) -> set:
    """The anchors that GitHub makes of a page's headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    titles = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title) for title in re.findall(r"^#+ +(.*?) *$", text, re.MULTILINE)]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def dead_links(page: pathlib.Path) -> list:
    """Links to files that do not exist, and to headings that their page does not have."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if re.match(r"\w+:", link):
            continue
        if not target.exists() or (anchor and anchor not in headings(target)):
            dead.append(link)
    return dead


def test_links_between_the_pages():
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/**/*.md"), *ROOT.glob("python/*.md")]
    assert len(pages) > 20
    assert {str(page.relative_to(ROOT)): dead for page in pages if (dead := dead_links(page))} == {}


def test_dead_links_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Two words\n[a](#two-words) [b](#three) [c](page.md#two-words) [d](gone.md) [e](https://x.y/z)\n```\n[f](g)\n# H\n```\n[i](#h)\n")
    assert dead_links(page) == ["#three", "gone.md", "#h"]


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) <= 700
