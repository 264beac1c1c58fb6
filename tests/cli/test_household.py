"""Processes as one group: order, deaths, restarts, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from cli import guard
from cli.child import Child
from cli.household import Household
from cli.ports import free_port, why_not
from cli.problem import Problem
from cli.valkey import start_valkey
from tests.cli.processes import members, wait_for
from tests.support.waiting import until

ORDER = ("api", "worker", "valkey")
SLEEPS = "import time; print('up'); time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(60)"


def child(name: str, code: str, *, role: str = "worker", grace: float = 5.0) -> Child:
    return Child(role, name, [sys.executable, "-c", code], {**os.environ, "PYTHONUNBUFFERED": "1"}, grace=grace)


async def up(household: Household, *children: Child) -> None:
    for one in children:
        one.vital = True
        await household.start(one)
    for one in children:
        await asyncio.wait_for(one.line("up"), 100)


def group_of(household: Household) -> int:
    return os.getpgid(household.children[0].pid)


async def test_children_end_role_by_role(tmp_path: Path) -> None:
    """Each role has ended before the next is told; those of one role end together."""
    diary = tmp_path / "diary"
    tell = textwrap.dedent(
        f"""
        import signal, sys, time
        def end(*_):
            open({str(diary)!r}, "a").write(sys.argv[0] + " NAME ")
            time.sleep(0.1)
            open({str(diary)!r}, "a").write("end-NAME ")
            sys.exit(0)
        signal.signal(signal.SIGTERM, end)
        print("up")
        time.sleep(60)
        """
    )
    async with Household(ORDER, lambda _: None) as household:
        names = {"valkey": "valkey", "w": "worker", "api": "api"}
        await up(household, *(child(name, tell.replace("NAME", name), role=role) for name, role in names.items()))
        group = group_of(household)
        assert len(members(group)) == 4  # and the guard
    assert diary.read_text().replace("-c ", "").split() == ["api", "end-api", "w", "end-w", "valkey", "end-valkey"]
    assert members(group) == []


async def test_they_are_not_in_the_group_of_the_terminal() -> None:
    """One group for all, and not the demo's: a Ctrl-C reaches the demo alone."""
    async with Household(ORDER, lambda _: None) as household:
        await up(household, child("a", SLEEPS), child("b", SLEEPS))
        groups = {os.getpgid(one.pid) for one in household.children}
        assert len(groups) == 1
        assert groups != {os.getpgrp()}
        assert {os.getsid(one.pid) for one in household.children} == {os.getsid(0)}


async def test_a_stubborn_child_is_killed_and_named() -> None:
    """What ignores SIGTERM beyond its grace is killed, with a line that says so."""
    said: list[str] = []
    async with Household(ORDER, said.append) as household:
        await up(household, child("stubborn", STUBBORN, grace=0.1))
        pid = household.children[0].pid
    assert said == [f"stubborn (pid {pid}) did not end within 0.1 s and was killed"]


async def test_a_vital_child_that_dies_is_reported_with_its_last_lines() -> None:
    """The reason names the process, its exit code and what it wrote last, control characters made visible."""
    code = "import sys; [print('line', n) for n in range(99)]; print('\\x1b[31mred', file=sys.stderr); sys.exit(3)"
    async with Household(ORDER, lambda _: None) as household:
        one = child("broken", code)
        one.vital = True
        await household.start(one)
        reason = await asyncio.wait_for(household.failed, 100)
    lines = reason.splitlines()
    assert lines[0] == f"broken (pid {one.pid}) exited with code 3"
    assert lines[-2:] == ["  line 98", "  ␛[31mred"]
    assert len(lines) == 13


async def test_a_worker_that_is_killed_is_started_again() -> None:
    """A process that may restart does, under a new pid, and one line says so."""
    said: list[str] = []
    async with Household(ORDER, said.append) as household:
        one = child("worker", SLEEPS)
        one.restarts = True
        await up(household, one)
        household.settled = True
        before = one.pid
        os.kill(before, signal.SIGKILL)
        await until(lambda: said)
        assert said == [f"worker (pid {before}) was killed by SIGKILL; started again as pid {one.pid}"]
        assert one.pid != before
        assert not household.failed.done()


async def test_a_worker_that_dies_at_once_is_not_started_for_ever() -> None:
    """After five restarts in 30 s the next death counts; before everything has started, the first one."""
    said: list[str] = []
    async with Household(ORDER, said.append) as household:
        one = child("worker", "print('no model'); exit(1)")
        one.vital = one.restarts = household.settled = True
        await household.start(one)
        assert "no model" in await asyncio.wait_for(household.failed, 100)
    assert len(said) == 5
    async with Household(ORDER, said.append) as household:
        one = child("worker", "print('no model'); exit(1)")
        one.vital = one.restarts = True
        await household.start(one)
        assert "no model" in await asyncio.wait_for(household.failed, 100)
    assert len(said) == 5


async def test_grandchildren_end_too() -> None:
    """What a child has started and left behind is in the group and is killed with it."""
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]); {SLEEPS}"
    async with Household(ORDER, lambda _: None) as household:
        await up(household, child("parent", code))
        group = group_of(household)
        await until(lambda: len(members(group)) == 3)
    assert members(group) == []


async def test_a_grandchild_that_left_the_group_is_not_waited_for() -> None:
    """It holds the pipe that its parent wrote to. The household ends all the same, and reads the pipe no more."""
    code = (
        "import subprocess, sys, time; "
        f"print(subprocess.Popen([sys.executable, '-c', {SLEEPS!r}], start_new_session=True).pid); "
        "print('up'); time.sleep(60)"
    )
    async with Household(ORDER, lambda _: None) as household:
        await up(household, child("parent", code))
        group = group_of(household)
        grandchild = int(household.children[0].lines[0])
    assert members(group) == []
    os.kill(grandchild, signal.SIGKILL)


async def test_a_guard_that_is_killed_is_a_failure() -> None:
    """Without the guard nobody would end the others: the demo ends while it can, and ends them itself."""
    async with Household(ORDER, lambda _: None) as household:
        await up(household, child("a", SLEEPS))
        group = group_of(household)
        os.kill(group, signal.SIGKILL)  # the guard leads the group
        assert "the guard" in await asyncio.wait_for(household.failed, 100)
    assert members(group) == []


async def test_a_program_that_is_not_there_is_one_line() -> None:
    """A command that cannot be started is a Problem that names it."""
    async with Household(ORDER, lambda _: None) as household:
        with pytest.raises(Problem, match="cannot start ghost"):
            await household.start(Child("worker", "ghost", ["/no/such/program"], {}))


@pytest.mark.parametrize("grace", [pytest.param(0.0, marks=pytest.mark.slow), 5.0])
def test_nothing_outlives_a_parent_that_is_killed(tmp_path: Path, grace: float) -> None:
    """SIGKILL of the parent: the guard ends the group, with SIGTERM first where there is a grace."""
    diary = tmp_path / "diary"
    polite = (
        "import signal, sys, time; "
        f"signal.signal(signal.SIGTERM, lambda *_: (open({str(diary)!r}, 'w').write('bye'), sys.exit(0))); "
        "print('up'); time.sleep(60)"
    )
    script = textwrap.dedent(
        f"""
        import asyncio, os
        from tests.cli.test_household import ORDER, SLEEPS, Household, child, up
        async def main():
            async with Household(ORDER, print, orphan_grace={grace}) as household:
                await up(household, child("a", {polite!r}), child("b", SLEEPS))
                print(os.getpgid(household.children[0].pid), flush=True)
                await asyncio.sleep(60)
        asyncio.run(main())
        """
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        group = int(parent.stdout.readline())
        assert len(members(group)) == 3
        parent.kill()
    wait_for(lambda: not members(group))
    assert diary.exists() == (grace > 0)


def test_the_guard_never_kills_the_group_of_its_caller() -> None:
    """Started as no group's leader, it refuses: it would kill whoever started it."""
    words = [sys.executable, str(guard.__file__), "0", "0", "/no/such/folder"]
    ended = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert ended.returncode == 1
    assert b"not the leader" in ended.stderr


@pytest.mark.parametrize("deep", [False, True], ids=["usual", "deep"])
async def test_valkey_is_reached_by_its_user_alone_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deep: bool
) -> None:
    """No port; a socket, and what is saved by hand, for its user alone, in a folder of the same kind that goes with it.
    A temporary folder too deep for the path of a socket is not used."""
    temporary = tmp_path / ("deep" * 25 if deep else "t")
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    async with Household(ORDER, lambda _: None) as household:
        _, path = await start_valkey(household, os.environ)
        folder = Path(household.folder)
        assert Path(path).parent == folder
        assert len(os.fsencode(path)) <= 103
        assert not (deep and folder.is_relative_to(temporary))
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"CONFIG GET port\r\nSET a 1\r\nSAVE\r\n")
        said = [await reader.readline() for _ in range(7)]
        assert said[4:] == [b"0\r\n", b"+OK\r\n", b"+OK\r\n"]
        writer.close()
        await writer.wait_closed()
        names = ("", *sorted(os.listdir(folder)))
        modes = {name: stat.S_IMODE(os.stat(folder / name).st_mode) for name in names}
        assert modes == {"": 0o700, "dump.rdb": 0o600, "redis.sock": 0o700}
    assert folder.name not in os.listdir(folder.parent)


async def test_a_taken_port_is_known_beforehand() -> None:
    """A port with a listener has a reason, a free one has none."""
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        assert why_not("127.0.0.1", server.sockets[0].getsockname()[1]) == "Address already in use"
    assert why_not("127.0.0.1", free_port()) is None
    assert why_not("203.0.113.7", 8000) is not None
    assert why_not("no.such.host.invalid", 8000) is not None
