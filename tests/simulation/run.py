"""One run of a history, and the shortest history that still fails."""

import asyncio
import logging
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import httpx

from crm_api.feed import service as feed
from integration_service.poller import control
from integration_service.targets import http, webhook
from tests.simulation import judge, steps
from tests.simulation.clocks import SimulatedLoop, simulated
from tests.simulation.network import Wire, WirePoster
from tests.simulation.steps import Step
from tests.simulation.webhooks import SECRET, SECRET_NAME
from tests.simulation.world import LOGGERS, Listener, Setup, World, loop_heard

Images = dict[str, bytes]
SHRINKING_RUNS = 300


@dataclass
class Outcome:
    """What came of a run."""

    setup: Setup
    history: Sequence[Step]
    # Each promise that was broken: which, and how.
    findings: list[tuple[str, str]]
    log: list[str]
    # How often each step was taken, and each fault met a request.
    seen: Counter[str]

    @property
    def kinds(self) -> set[str]:
        return {kind for kind, _ in self.findings}

    def __str__(self) -> str:
        shown = [f"{kind}: {what}" for kind, what in dict.fromkeys(self.findings)]
        return "\n".join([str(self.setup), *(f"    {one}" for one in self.history), *shown[:10]])


def run(seed: int, images: Images) -> Outcome:
    return play(steps.draw_setup(seed), steps.draw_history(seed), images)


def play(setup: Setup, history: Sequence[Step], images: Images) -> Outcome:
    """Let a history happen, then all faults end; wait until all is quiet, and judge."""
    loop = SimulatedLoop()
    with tempfile.TemporaryDirectory() as folder:
        world = World(loop, setup, images, Path(folder))
        loop.set_exception_handler(lambda _, context: loop_heard(world, context))
        with _in_place_of_the_real_one(world):
            loop.run_until_complete(_play(world, history))
        loop.close()
    seen = sum((link.seen for link in world.links.values()), world.done)
    return Outcome(setup, history, world.findings, world.log, seen)


@contextmanager
def _in_place_of_the_real_one(world: World) -> Iterator[None]:
    """Put the world's time, chance, network and log where the code looks for them."""
    listener = Listener(world)
    with ExitStack() as stack:
        stack.enter_context(simulated(world.loop, world.chance, world.now))
        stack.enter_context(mock.patch.object(http, "Transport", Wire))
        stack.enter_context(mock.patch.object(webhook, "Poster", WirePoster))
        stack.enter_context(mock.patch.dict(os.environ, {SECRET_NAME: SECRET}))
        # What only looks again in case no news came; it is most of what a quiet second costs.
        stack.enter_context(mock.patch.object(control, "CHECK_SECONDS", 5.0))
        stack.enter_context(mock.patch.object(feed, "RECHECK_SECONDS", 5.0))
        for logger in map(logging.getLogger, LOGGERS):
            stack.callback(logger.setLevel, logger.level)
            stack.callback(setattr, logger, "propagate", logger.propagate)
            stack.callback(logger.removeHandler, listener)
            logger.setLevel(logging.INFO)
            logger.propagate = False
            logger.addHandler(listener)
        yield


async def _play(world: World, history: Sequence[Step]) -> None:
    try:
        world.boot("crm")
        world.boot("inventory")
        await steps.furnish(world)
        for name in world.pollers:
            world.boot(name)
        for step in history:
            await _take(world, step)
        world.note("--- all faults end")
        await judge.wait_until_quiet(world)
        judge.judge(world)
    finally:
        await world.close()


async def _take(world: World, step: Step) -> None:
    world.back_up()
    world.note(f"--- {step}")
    try:
        await steps.KINDS[step.name].act(world, *step.details)
        world.done[step.name] += 1
    except steps.NothingToDo:
        world.note("there is nothing to do")
    except httpx.TransportError:
        world.note("nobody answered")
    await asyncio.sleep(step.pause)
    judge.look(world)


def shrink(failed: Outcome, images: Images) -> Outcome:
    """Leave out of a history all without which it still breaks the same promise.

    Ever smaller parts of it are dropped. Each step holds its own details, so that those that are
    left do what they did.
    """
    kind, _ = failed.findings[0]
    size, runs = max(1, len(failed.history) // 2), 0
    while True:
        at, is_shorter = 0, False
        while at < len(failed.history) and runs < SHRINKING_RUNS:
            runs += 1
            shorter = [*failed.history[:at], *failed.history[at + size :]]
            outcome = play(failed.setup, shorter, images)
            if kind in outcome.kinds:
                failed, is_shorter = outcome, True
            else:
                at += size
        if runs >= SHRINKING_RUNS or (size == 1 and not is_shorter):
            return failed
        size = max(1, size // 2)
