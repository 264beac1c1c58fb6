"""`import readalong` is quick, and its names work with and without the packages of a server."""

from __future__ import annotations

import subprocess
import sys

import pytest

import readalong
from readalong.core import errors
from tests.support.distributions import base_requirements, closure, normal, server_requirements


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


#: Hides each package that the extra `server` alone brings, as if it were not installed.
WITHOUT_SERVER = """
import sys
from importlib.machinery import PathFinder

class Others(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {extra!r} else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Others
"""


@pytest.fixture(scope="module")
def without_server() -> str:
    extra = {normal(requirement) for requirement in server_requirements()} - closure(base_requirements()).keys()
    return WITHOUT_SERVER.format(extra={name.replace("-", "_") for name in extra})


def test_an_import_of_readalong_imports_no_other_package() -> None:
    """A script that asks for the version does not wait for an HTTP server."""
    code = "import sys; before = set(sys.modules); import readalong; print(*sorted(set(sys.modules) - before))"
    imported = set(run(code).split())
    assert {name.partition(".")[0] for name in imported} - set(sys.stdlib_module_names) == {"readalong"}


def test_every_public_name_is_there() -> None:
    """A name in `__all__` that cannot be imported breaks `from readalong import *`."""
    assert all(getattr(readalong, name) is not None for name in readalong.__all__)
    assert set(readalong.__all__) <= set(dir(readalong))
    tree = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert tree <= set(readalong.__all__)
    assert not hasattr(readalong, "create_apple")


def test_a_client_reads_a_stream_with_the_base_install(without_server: str) -> None:
    """The pure core needs no package of a server."""
    code = """
from readalong import Decoder, Event, Transcript
transcript = Transcript()
for message in Decoder().feed(b'id: 1\\nevent: content\\ndata: {"content":"Hi"}\\n\\n'):
    transcript.add(Event(int(message.id), message.event, message.data))
print(transcript.text())
"""
    assert run(without_server + code) == "Hi\n"


def test_the_client_library_works_with_the_base_install(without_server: str) -> None:
    """All but the streams that need no server: these say what to install."""
    code = """
from readalong.client import ApiConnectionError, Client, ClientOptions, DirectClient
try:
    with Client("http://127.0.0.1:9", options=ClientOptions(give_up=0)) as client:
        client.job("a")
except ApiConnectionError as error:
    print(error.retryable)
try:
    DirectClient()
except ImportError as error:
    print(error)
"""
    assert (
        run(without_server + code)
        == "True\nA direct stream needs the openai package: pip install 'readalong[server]'\n"
    )


@pytest.mark.parametrize("name", ["Settings", "create_app"])
def test_a_missing_extra_is_named(without_server: str, name: str) -> None:
    """The error says what to install."""
    code = f"""
try:
    from readalong import {name}
except ImportError as error:
    print(error)
"""
    assert "pip install 'readalong[server]'" in run(without_server + code)
