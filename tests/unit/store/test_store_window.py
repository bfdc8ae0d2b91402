"""The memory of all drafts together: who may hold how much, and who waits."""

from __future__ import annotations

import asyncio

import pytest

from relay.store.window import Window

pytestmark = pytest.mark.P6


def a_window() -> Window:
    return Window(100, much=40, little=10)


async def waiting(window: Window, count: int) -> asyncio.Task[bool]:
    task = asyncio.create_task(window.wait(count))
    await asyncio.sleep(0)
    return task


async def test_the_fuller_it_is_the_less_each_draft_may_hold() -> None:
    window = a_window()
    window.take(100)
    assert window.most_in_memory() == 40
    window.take(1)
    assert window.most_in_memory() == 10
    window.take(99)
    assert window.most_in_memory() == 10
    window.take(1)
    assert window.most_in_memory() == 0


async def test_it_is_full_at_twice_its_size() -> None:
    window = a_window()
    window.take(190)
    assert not window.is_full_for(10)
    assert window.is_full_for(11)


async def test_what_is_being_written_is_in_memory_and_nobody_waits_for_it() -> None:
    window = a_window()
    window.take(200)
    window.write(150)
    assert (window.held, window.kept, window.writing) == (200, 50, 150)
    assert window.most_in_memory() == 10
    assert not window.is_full_for(150)
    window.written(150)
    assert (window.held, window.most_in_memory()) == (50, 40)


async def test_who_waits_goes_on_in_the_order_of_coming_as_room_is_made() -> None:
    window = a_window()
    window.begin()
    window.take(200)
    large, small = await waiting(window, 9), await waiting(window, 1)
    window.give_back(5)
    # Whoever comes later may not overtake, though there would be room.
    assert window.is_full_for(1)
    await asyncio.sleep(0)
    assert not large.done()
    assert not small.done()
    window.give_back(4)
    assert await large
    assert not small.done()
    window.give_back(1)
    assert await small
    assert window.kept == 200


async def test_while_a_commit_is_under_way_nobody_is_sent_to_a_file() -> None:
    window = a_window()
    window.begin()
    window.take(200)
    task = await waiting(window, 5)
    assert not task.done()
    window.end()
    assert await task is False


async def test_when_only_clients_hold_memory_the_oldest_goes_on_and_then_the_next() -> None:
    window = a_window()
    window.take(200)
    first, second = await waiting(window, 5), await waiting(window, 5)
    assert await first is False
    assert not second.done()
    window.write(5)
    window.end()
    window.written(5)
    assert await second is False


async def test_a_waiter_that_is_cancelled_takes_nothing_and_stops_nobody() -> None:
    window = a_window()
    window.begin()
    window.take(195)
    first, second = await waiting(window, 6), await waiting(window, 5)
    first.cancel()
    await asyncio.wait([first])
    assert await second
    assert window.kept == 200


async def test_room_made_while_a_waiter_is_being_cancelled_goes_to_the_next() -> None:
    window = a_window()
    window.begin()
    window.take(200)
    first, second = await waiting(window, 5), await waiting(window, 5)
    first.cancel()
    window.give_back(5)
    assert await second
    assert first.cancelled()
    assert window.kept == 200


@pytest.mark.parametrize("fits", [True, False])
async def test_what_was_granted_in_the_moment_of_a_cancellation_is_given_back(
    *, fits: bool
) -> None:
    window = a_window()
    window.begin()
    window.take(200)
    task = await waiting(window, 5)
    if fits:
        window.give_back(5)
    else:
        window.end()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert window.kept == (195 if fits else 200)
    # Nobody is taken to be on the way to a file either.
    if fits:
        window.end()
    window.take(200 - window.kept)
    assert await window.wait(1) is False
