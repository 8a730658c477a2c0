"""Tests that files are opened, written, moved and deleted only in `hmmn_jax/io`, which handles paths in buckets."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
# These folders are not checked, because their modules only handle local paths. The modules call functions such as
# `os.path.isfile`, because these functions return False instead of raising an error.
NOT_YET = ("datasets",)
MODULES = {"fcntl", "glob", "msvcrt", "shutil", "tempfile"}
OF_OS = {"PathLike", "cpu_count", "environ", "fspath", "getpid"}  # members of `os` that all modules may use
METHODS = {"hardlink_to", "open", "rename", "rmdir", "rmtree", "symlink_to", "touch", "write_bytes", "write_text"}
CALLS = {"open", "Path", "PosixPath"}  # Path("gs://b/x") would be the local path gs:/b/x
EXCEPTIONS = {
    "hmmn_jax/cli/program.py": {"os._exit", "os.devnull", "os.dup2", "os.open", "os.O_WRONLY"},  # for output to a closed pipe
    "hmmn_jax/cli/supervisor.py": {  # starts a process, and reads its errors from a pipe
        *(
            "os._exit",
            "os.close",
            "os.dup2",
            "os.fdopen",
            "os.fork",
            "os.kill",
            "os.pipe",
            "os.read",
            "os.setpgid",
            "os.waitpid",
        ),
        *("os.waitstatus_to_exitcode", "os.write", "os.WNOHANG", ".write_bytes"),
    },
    "hmmn_jax/cli/together.py": {"os._exit"},
    "hmmn_jax/evaluation/protocols/mose2.py": {".open"},  # opens an image
    "hmmn_jax/session/pictures.py": {".open"},  # opens an archive
    # Sessions and projects are always in local folders.
    "hmmn_jax/session/store.py": {".open", "os.SEEK_END"},
    "hmmn_jax/paint/folder.py": {".open", "Path"},
    "hmmn_jax/paint/opening.py": {"Path"},
    "hmmn_jax/paint/app.py": {"Path"},  # the path of a folder in the package
    "hmmn_jax/paint/server.py": {".open"},  # opens a browser
}


def found_in(source: str) -> set[str]:
    """Returns the names of all imports, attributes and calls in a module that are allowed only in `hmmn_jax/io`."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found |= {alias.name for alias in names} & MODULES
            case ast.ImportFrom(module=module, names=names):
                found |= {module} & MODULES
                found |= {f"os.{alias.name}" for alias in names if module in ("os", "os.path") and alias.name not in OF_OS}
            case ast.Attribute(value=ast.Name(id="os"), attr=name) if name not in OF_OS:
                found.add(f"os.{name}")
            case ast.Call(func=ast.Attribute(value=value, attr=name)) if name in METHODS and ast.unparse(value) != "os":
                found.add(f".{name}")
            case ast.Call(func=ast.Name(id=name)) if name in CALLS:
                found.add(name)
    return found


def test_files_are_handled_in_one_place():
    found = {}
    for path in sorted((ROOT / "hmmn_jax").rglob("*.py")):
        room = path.relative_to(ROOT).parts[1]
        if room not in ("io", *NOT_YET) and (names := found_in(path.read_text(encoding="utf-8"))):
            found[path.relative_to(ROOT).as_posix()] = names
    assert found == EXCEPTIONS


def test_what_is_looked_for():
    assert found_in("import shutil, os\nfrom os import replace\nos.path.isdir(x)") == {"shutil", "os.replace", "os.path"}
    assert found_in("open(x); x.open(); Path(x); p.write_text('')") == {"open", ".open", "Path", ".write_text"}
    assert found_in("import os\nos.fspath(x); x.read_bytes(); 'a'.replace('a', 'b'); config.replace(a=1); x.iterdir()") == set()
