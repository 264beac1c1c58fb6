"""Processes as one group: their order, their deaths and restarts, and no process left."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from readalong.cli.demo.managed_process import ManagedProcess
from readalong.cli.demo.ports import usable_port
from readalong.cli.demo.process_group import ProcessGroup
from readalong.cli.errors import CliError
from tests.cli.processes import members, wait_for
from tests.support.waiting import until

SLEEPS = "import time; print('up'); time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(600)"


def process(name: str, code: str, *, role: str = "worker", grace: float = 5.0) -> ManagedProcess:
    return ManagedProcess(role, name, [sys.executable, "-u", "-c", code], os.environ, grace)


def group_of(
    said: Callable[[str], None] = lambda _: None, failed: Callable[[str], None] = lambda _: None
) -> ProcessGroup:
    return ProcessGroup(said, failed, lambda _name, _line: None)


async def up(group: ProcessGroup, *processes: ManagedProcess) -> int:
    """Starts the processes, waits until each has printed `up`, and returns the number of their process group."""
    for one in processes:
        await group.start(one)
    await until(lambda: all("up" in one.lines for one in processes))
    return os.getpgid(processes[0].process.pid)


async def test_processes_end_role_by_role_the_last_one_first(tmp_path: Path) -> None:
    """A role gets its SIGTERM when the role before it has ended."""
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
        time.sleep(600)
        """
    )
    async with group_of() as group:
        roles = {"valkey": "valkey", "w": "worker", "api": "api"}
        number = await up(group, *(process(name, tell.replace("NAME", name), role=roles[name]) for name in roles))
        assert len(members(number)) == 4  # and the watchdog
    assert diary.read_text().replace("-c ", "").split() == ["api", "end-api", "w", "end-w", "valkey", "end-valkey"]
    assert members(number) == []


async def test_they_are_not_in_the_group_of_the_terminal() -> None:
    """All are in one group, which is not the demo's: Ctrl-C reaches the demo alone."""
    async with group_of() as group:
        await up(group, process("a", SLEEPS), process("b", SLEEPS))
        pids = [one.process.pid for one in group.processes]
        groups = {os.getpgid(pid) for pid in pids}
        assert len(groups) == 1
        assert groups != {os.getpgrp()}
        assert {os.getsid(pid) for pid in pids} == {os.getsid(0)}


async def test_a_stubborn_process_is_killed_and_named() -> None:
    """A process that ignores SIGTERM is killed after its grace, and a line reports it."""
    said: list[str] = []
    async with group_of(said.append) as group:
        await up(group, *(process(name, STUBBORN, grace=0.1) for name in "ab"))
        lines = [f"{one.name} (pid {one.process.pid}) did not end within 0.1 s: killed" for one in group.processes]
    assert sorted(said) == lines


async def test_a_process_that_ends_before_all_is_up_is_reported_with_its_last_lines() -> None:
    """The reason has the process, its exit code and its last lines, with control characters in visible form."""
    code = (
        "import sys; [print('line', n) for n in range(99)]; print('\x1b[31mred', file=sys.stderr, end=''); sys.exit(3)"
    )
    reasons: list[str] = []
    async with group_of(failed=reasons.append) as group:
        one = process("broken", code)
        await group.start(one)
        await until(lambda: reasons)
    lines = reasons[0].splitlines()
    assert lines[0] == f"broken (pid {one.process.pid}) exited with code 3"
    assert lines[-2:] == ["  line 98", "  ␛[31mred"]
    assert len(lines) == 13


async def test_a_process_that_is_killed_is_started_again() -> None:
    """One line reports the new pid and the loss."""
    said: list[str] = []
    failed: list[str] = []
    async with group_of(said.append, failed.append) as group:
        one = process("worker", SLEEPS)
        one.loss = "; all is lost"
        await up(group, one)
        group.restarts = True
        before = one.process.pid
        os.kill(before, signal.SIGKILL)
        await until(lambda: said)
        now = one.process.pid
        fate = f"worker (pid {before}) was killed by signal {signal.SIGKILL:d} ({signal.strsignal(signal.SIGKILL)})"
        assert said == [f"{fate}; started again as pid {now}; all is lost"]
        assert now != before
    assert failed == []


async def test_a_process_that_dies_at_once_is_not_started_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """After five restarts within the limit the next death is a failure."""
    monkeypatch.setattr("readalong.cli.demo.process_group._RESTARTS_SECONDS", 3600.0)
    said: list[str] = []
    reasons: list[str] = []
    async with group_of(said.append, reasons.append) as group:
        group.restarts = True
        await group.start(process("worker", "print('no model'); exit(1)"))
        await until(lambda: reasons)
    assert "no model" in reasons[0]
    assert len(said) == 5


async def test_grandchildren_end_too() -> None:
    """A process that a managed process has started and left is in the group and is killed with it."""
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]); {SLEEPS}"
    async with group_of() as group:
        number = await up(group, process("parent", code))
        await until(lambda: len(members(number)) == 3)
    assert members(number) == []


async def test_a_watchdog_that_is_killed_is_a_failure() -> None:
    """Without a watchdog the others would outlive a killed demo: the demo ends them now."""
    reasons: list[str] = []
    async with group_of(failed=reasons.append) as group:
        number = await up(group, process("a", SLEEPS))
        os.kill(number, signal.SIGKILL)  # the watchdog leads the group
        await until(lambda: reasons)
        assert "the watchdog" in reasons[0]
    assert members(number) == []


async def test_a_program_that_cannot_be_started_is_one_line() -> None:
    async with group_of() as group:
        with pytest.raises(CliError, match="cannot start ghost: "):
            await group.start(ManagedProcess("worker", "ghost", ["/no/such/program"], {}))


def test_nothing_outlives_a_parent_that_is_killed() -> None:
    """After SIGKILL of the parent the watchdog kills the group and removes the folder."""
    script = textwrap.dedent(
        """
        import asyncio
        from tests.cli.test_process_group import SLEEPS, STUBBORN, group_of, process, up
        async def main():
            async with group_of() as group:
                print(await up(group, process("a", STUBBORN), process("b", SLEEPS)), group.folder, flush=True)
                await asyncio.sleep(600)
        asyncio.run(main())
        """
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        number, folder = parent.stdout.readline().split()
        assert len(members(int(number))) == 3
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
        parent.kill()
    wait_for(lambda: not members(int(number)))
    assert not os.path.exists(folder)


async def test_the_path_of_a_socket_is_short_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The group does not use a temporary folder that is too deep, and removes its own folder."""
    temporary = tmp_path / ("deep" * 25)
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    async with group_of() as group:
        assert len(os.fsencode(f"{group.folder}/redis.sock")) <= 103
    assert os.path.basename(group.folder) not in os.listdir(os.path.dirname(group.folder))


def test_a_taken_port_is_known_beforehand() -> None:
    """A port with a listener is an error, a free port is none."""
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(CliError, match="Address already in use"):
        usable_port("127.0.0.1", server.getsockname()[1])
    port = usable_port("127.0.0.1", 0)
    assert usable_port("127.0.0.1", port) == port
    for host in ("203.0.113.7", "no.such.host.invalid"):
        with pytest.raises(CliError, match=f"cannot listen on {host}:8000"):
            usable_port(host, 8000)
