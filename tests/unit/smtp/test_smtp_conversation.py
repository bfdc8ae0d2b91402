"""A coroutine that the wire wakes."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any

import pytest

from relay.smtp.conversation import Conversation, more

ENDS: list[Exception | None] = []


@pytest.fixture(autouse=True, name="ends")
def _ends() -> list[Exception | None]:
    ENDS.clear()
    return ENDS


def begun(spoken: Coroutine[Any, None, None]) -> Conversation:
    """A conversation that has run to where it first waits."""
    conversation = Conversation(asyncio.get_running_loop(), spoken, ENDS.append)
    assert not conversation.begin()
    return conversation


async def test_who_listens_is_resumed_on_the_spot(ends: list[Exception | None]) -> None:
    done: list[str] = []

    async def listen() -> None:
        done.append("begun")
        await more()
        done.append("heard")
        await more()
        done.append("heard again")

    conversation = begun(listen())
    assert done == ["begun"]
    assert conversation.is_listening
    conversation.heard()
    assert done == ["begun", "heard"]
    conversation.heard()
    assert done == ["begun", "heard", "heard again"]
    assert ends == [None]
    conversation.heard()  # it has ended
    assert not conversation.is_listening


async def test_who_awaits_a_future_is_not_woken_by_the_wire() -> None:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    done: list[str] = []

    async def wait() -> None:
        done.append(await future)

    conversation = begun(wait())
    conversation.heard()
    conversation.interrupt(RuntimeError("not now"))
    assert not done
    future.set_result("kept")
    await asyncio.sleep(0)
    assert done == ["kept"]


@pytest.mark.parametrize("error", [OSError("broken"), asyncio.CancelledError()])
async def test_what_a_future_raises_is_raised_where_it_is_awaited(error: BaseException) -> None:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    raised: list[BaseException] = []

    async def wait() -> None:
        try:
            await future
        except (OSError, asyncio.CancelledError) as told:
            raised.append(told)
        await more()

    conversation = begun(wait())
    if isinstance(error, asyncio.CancelledError):
        conversation.cancel()
    else:
        future.set_exception(error)
    await asyncio.sleep(0)
    assert [type(one) for one in raised] == [type(error)]
    assert conversation.is_listening, "it goes on"


async def test_cancelling_touches_nobody_who_listens() -> None:
    conversation = begun(more())
    conversation.cancel()
    assert conversation.is_listening


async def test_an_interruption_is_raised_where_it_listens() -> None:
    raised: list[str] = []

    async def listen() -> None:
        try:
            await more()
        except RuntimeError as error:
            raised.append(str(error))
        await more()

    conversation = begun(listen())
    conversation.interrupt(RuntimeError("time is up"))
    assert raised == ["time is up"]
    assert conversation.is_listening


async def test_who_sleeps_for_no_time_lets_others_go_first() -> None:
    order: list[str] = []

    async def yield_once() -> None:
        await asyncio.sleep(0)
        order.append("conversation")

    asyncio.get_running_loop().call_soon(order.append, "others")
    begun(yield_once())
    await asyncio.sleep(0)
    assert order == ["others", "conversation"]


async def test_a_fault_ends_it_and_is_handed_on(ends: list[Exception | None]) -> None:
    async def fail() -> None:
        await more()
        raise ValueError("ours")

    conversation = begun(fail())
    conversation.heard()
    assert [str(end) for end in ends] == ["ours"]
    conversation.heard()


async def test_what_ends_at_once_tells_whoever_began_it(ends: list[Exception | None]) -> None:
    async def nothing() -> None:
        pass

    async def fail() -> None:
        raise ValueError("ours")

    loop = asyncio.get_running_loop()
    assert Conversation(loop, nothing(), ends.append).begin()
    with pytest.raises(ValueError, match="ours"):
        Conversation(loop, fail(), ends.append).begin()
    assert not ends


async def test_one_that_is_forgotten_is_collected_in_silence() -> None:
    async def listen() -> None:
        await more()

    begun(listen())
    gc.collect()
