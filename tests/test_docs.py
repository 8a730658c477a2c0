"""Tests the documentation: commands, flags, settings, files and links exist, and tables are complete."""

import importlib
import re
import shlex
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from hmmn_jax.cli.arguments import ArgumentParser, override
from hmmn_jax.cli.commands import COMMANDS
from hmmn_jax.cli.main import make_parser
from hmmn_jax.evaluation.benchmarks import benchmark_settings

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md"), *ROOT.glob("data/*/README.md")])
OF_SCRIPTS = {
    "evaluate.py": ("config", "data", "frames", "mask", "checkpoint", "step", "score", "output", "overlays", "movie"),
    "train.py": ("config", "workdir", "distributed", "coordinator", "processes", "process", "compilation_cache", "takeover"),
    "data.preview": ("config", "clips", "first", "out"),
}


def commands(start):
    """Yields the page name and the words of each indented command that begins with `start`.

    A `\\` at the end of a line continues the command on the next line.
    """
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(rf"^ {{4,}}({re.escape(start)} .*)$", text, re.MULTILINE):
            yield page.name, shlex.split(line, comments=True)


def test_commands_of_hmmn_jax():
    found = list(commands("hmmn-jax"))
    assert {words[1] for _, words in found} >= COMMANDS.keys()
    for page, (_, name, *arguments) in found:
        if name not in COMMANDS or "--help" in arguments:
            assert name in ("--version", "COMMAND"), (page, name)
            continue
        options = make_parser(name).parse_args([name, *arguments])
        override(benchmark_settings(getattr(options, "benchmark", "custom")), getattr(options, "assignments", ()))


def test_inline_settings_of_hmmn_jax():
    text = (ROOT / "docs/evaluate.md").read_text(encoding="utf-8")
    settings = re.findall(r"`--set ([^`]*=[^`]*)`", text)
    assert len(settings) > 5
    override(benchmark_settings("custom"), [setting for setting in settings if setting != "NAME=VALUE"])


def flags(words):
    return [word[2:].partition("=")[0] for word in words if word.startswith("--")]


@pytest.mark.parametrize("script", OF_SCRIPTS)
def test_commands_of_scripts(script):
    start = f"python -m {script}" if script == "data.preview" else f"python {script}"
    found = list(commands(start))
    assert found
    for page, words in found:
        config = load(words[words.index("--config") + 1])
        for flag in flags(words):
            if flag.startswith("config."):
                assert holds(config, flag.split(".")[1:]), (page, flag)
            else:
                assert flag in OF_SCRIPTS[script], (page, flag)


def test_fields_of_configs_in_the_text():
    base = load("configs/train/base.py", "base")
    evaluation = benchmark_settings("custom")
    for page in PAGES:
        for name in re.findall(r"`(?:--)?config\.([\w.]+)[=`]", page.read_text(encoding="utf-8")):
            known = holds(base, name.split(".")) or holds(evaluation, name.split("."))
            assert known or name in ("NAME", "json", "optimizer.parts"), (page.name, name)  # optimizer.parts is optional


def load(file, function="get_config"):
    assert (ROOT / file).is_file(), file
    return getattr(importlib.import_module(file.removesuffix(".py").replace("/", ".")), function)()


def holds(config, path):
    for name in path:
        if not isinstance(config, ConfigDict | dict) or name not in config:
            return False
        config = config[name]
    return True


def test_verify_and_other_conversions():
    script = importlib.import_module("convert_weights")
    parser = ArgumentParser(prog="convert_weights.py")
    script.add_verify(script.convert.add_arguments(parser))
    found = list(commands("python convert_weights.py"))
    assert any(words[2] == "verify" for _, words in found)
    for _, words in found:
        parser.parse_args(words[2:])


def test_programs_exist():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for file in re.findall(r"(?<![\w/.])((?:benchmarks|configs|data|hmmn_jax|notebooks|tests|tools)/[\w/]+\.\w+)", text):
            assert (ROOT / file).is_file(), (page.name, file)
        for module in re.findall(r"python -m ((?:data|hmmn_jax|tools)[\w.]+)", text):
            assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), (page.name, module)


def test_links_to_files():
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#:\s]+)[)#]", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), (page.name, link)


def test_targets_of_make():
    rules = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for page in PAGES:
        for line in re.findall(r"(?:^    |`)make ([^`\n]*)", page.read_text(encoding="utf-8"), re.MULTILINE):
            words = [word for word in line.split("#")[0].split() if "=" not in word]
            assert set(words) <= set(rules), (page.name, line)


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_rows_of_tables_are_complete(page):
    """A table row must not be wrapped, because Markdown ends the table at the first line that does not start with |."""
    code, cells, before = False, 0, ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        code ^= line.strip().startswith("```")
        row = not code and line.lstrip().startswith("|")
        bars = len(re.findall(r"(?<!\\)\|", line))
        if row:
            cells = cells or bars
            assert bars == cells, (number, line)
        else:
            assert not cells or not line.strip(), (number, before, line)
            cells = 0
        before = line
