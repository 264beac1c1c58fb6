"""A cancel at each stage of a job, by another replica, before the worker's next step."""

from __future__ import annotations

from tests.e2e.staged import STAGES, staged
from tests.support.history import assert_whole, kinds, text
from tests.support.stack import Stack


async def test_a_cancel_is_obeyed_at_every_stage_until_all_is_said(stack: Stack) -> None:
    """Two cancels at each stage.

    A leased job that was not claimed never starts; one whose model has sent everything is done.
    """
    with staged(stack) as one:
        await one.hold()
        for stage in STAGES:
            for url in reversed(stack.urls):
                assert (await one.jobs[stage].cancel(url)).status == 202
        one.go(*STAGES)
        for stage, job in one.jobs.items():
            shown = await job.ended()
            log = stack.log_of(job.id)
            assert_whole(log)
            over = stage in ("finishing", "ended")
            assert (shown["status"], shown["attempt"]) == ("done" if over else "cancelled", int(stage != "taken")), (
                stage
            )
            assert job.text.startswith(text(log))
            assert (kinds(log) == ["queued", "cancelled"]) is (stage == "taken"), stage
            await job.model_let_go()
            assert len(stack.generations(job.question)) <= int(stage != "taken"), stage
        await one.is_idle()
