"""``call``, ``call_sync``, the decorators and ``protect``."""

from __future__ import annotations

import asyncio
import functools
import inspect

import pytest

from breakers.core.breaker import CircuitBreaker
from breakers.core.config import CircuitBreakerConfig
from breakers.core.errors import CircuitBreakerOpenError
from breakers.core.states import CircuitBreakerState

CLOSED, OPEN, HALF_OPEN = CircuitBreakerState.CLOSED, CircuitBreakerState.OPEN, CircuitBreakerState.HALF_OPEN


async def echo(*args, **kwargs):
    await asyncio.sleep(0)
    return args, kwargs


async def refuse(*args, **kwargs):
    await asyncio.sleep(0)
    raise ConnectionError("refused")


def counts(breaker) -> tuple[int, int, int]:
    view = breaker.get_metrics()
    return view["successes_total"], view["failures_total"], view["ignored_total"]


@pytest.mark.parametrize("timeout", [None, 30.0])
async def test_call_passes_arguments_and_results_in_every_state(make, clock, timeout) -> None:
    breaker = make(failure_threshold=1, success_threshold=2, timeout=timeout)
    assert await breaker.call(echo, 1, self=2, function=3) == ((1,), {"self": 2, "function": 3})
    with pytest.raises(ConnectionError):
        await breaker.call(refuse)
    with pytest.raises(CircuitBreakerOpenError):
        await breaker.call(echo)
    clock.advance(60.0)
    assert await breaker.call(echo, 1, self=2, function=3) == ((1,), {"self": 2, "function": 3})
    assert await breaker.call(echo) == ((), {})
    assert (breaker.state, counts(breaker)) == (CLOSED, (3, 1, 0))


def test_call_sync_passes_arguments_and_results_in_every_state(make, calls, clock) -> None:
    breaker = make(failure_threshold=1, success_threshold=1)

    def echo(*args, **kwargs):
        return args, kwargs

    assert breaker.call_sync(echo, 1, self=2) == ((1,), {"self": 2})
    calls.fail(breaker)
    clock.advance(60.0)
    assert breaker.call_sync(echo, 1, self=2) == ((1,), {"self": 2})
    assert (breaker.state, counts(breaker)) == (CLOSED, (2, 1, 0))


@pytest.mark.parametrize("timeout", [None, 30.0])
async def test_a_failing_call_shows_the_same_exception_in_every_state(make, clock, timeout) -> None:
    breaker = make(failure_threshold=1, timeout=timeout)
    error = ValueError("mine")

    async def failing() -> None:
        raise error

    for _ in range(2):
        with pytest.raises(ValueError, match="mine") as caught:
            await breaker.call(failing)
        assert caught.value is error
        assert breaker.state is OPEN
        clock.advance(60.0)


def test_a_call_needs_no_running_loop_where_it_has_no_timeout(make) -> None:
    async def answer() -> int:
        return 7

    driven = make().call(answer)
    with pytest.raises(StopIteration) as caught:
        driven.send(None)
    assert caught.value.value == 7


@pytest.mark.parametrize("opened", [False, True])
def test_a_limited_call_outside_a_loop_takes_no_slot(make, calls, clock, opened) -> None:
    breaker = make(failure_threshold=1, success_threshold=1, timeout=5.0)
    if opened:
        calls.fail(breaker)
        clock.advance(60.0)
    driven = breaker.call(echo)
    with pytest.raises(RuntimeError, match="event loop"):
        driven.send(None)
    calls.succeed(breaker)
    assert breaker.state is CLOSED


async def test_a_limited_call_outside_a_task_says_so(make) -> None:
    breaker, told = make(timeout=5.0), asyncio.get_running_loop().create_future()

    def outside() -> None:
        try:
            breaker.call(echo).send(None)
        except RuntimeError as error:
            told.set_result(str(error))

    asyncio.get_running_loop().call_soon(outside)
    assert "task" in await told


# -- decorators ------------------------------------------------------------------------------------------------------


def test_a_decorated_function_stays_what_it_was(make) -> None:
    breaker = make()

    @breaker
    def plain(a: int, b: str = "x") -> str:
        """Says something."""
        return b * a

    @breaker
    async def coroutine() -> None: ...

    @breaker
    def generator():
        yield

    @breaker
    async def async_generator():
        yield

    assert (plain.__name__, plain.__doc__, plain(3)) == ("plain", "Says something.", "xxx")
    assert str(inspect.signature(plain)) == "(a: 'int', b: 'str' = 'x') -> 'str'"
    assert not inspect.iscoroutinefunction(plain)
    assert inspect.iscoroutinefunction(coroutine)
    assert inspect.isgeneratorfunction(generator)
    assert inspect.isasyncgenfunction(async_generator)


async def test_decorated_functions_are_guarded(make, clock) -> None:
    breaker = make(failure_threshold=2, success_threshold=2)
    guarded, guarded_refuse = breaker(echo), breaker(refuse)
    assert await guarded(1, a=2) == ((1,), {"a": 2})
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await guarded_refuse()
    with pytest.raises(CircuitBreakerOpenError):
        await guarded()

    @breaker
    def plain(**kwargs):
        return kwargs

    with pytest.raises(CircuitBreakerOpenError):
        plain()
    clock.advance(60.0)
    assert plain(function=1, self=2) == {"function": 1, "self": 2}
    assert await guarded() == ((), {})
    assert counts(breaker) == (3, 2, 0)


async def test_methods_partials_and_objects_can_be_decorated(make) -> None:
    breaker = make()

    class Client:
        @breaker
        async def fetch(self, x: int) -> int:
            return x

        @breaker
        @staticmethod
        def static(x: int) -> int:
            return x

        @breaker
        @classmethod
        def of_class(cls, x: int) -> tuple[type, int]:
            return cls, x

        async def __call__(self, x: int) -> int:
            return x

    client = Client()
    assert await client.fetch(1) == 1
    assert (client.static(2), Client.of_class(3)) == (2, (Client, 3))
    partial = breaker(functools.partial(echo, 1))
    assert inspect.iscoroutinefunction(partial)
    assert await partial(2) == ((1, 2), {})
    assert await breaker(client)(4) == 4
    assert counts(breaker) == (5, 0, 0)
    with pytest.raises(TypeError, match="decorates functions"):
        breaker(5)


async def test_a_class_can_be_decorated_whatever_its_instances_do_when_called(make) -> None:
    class Fetch:
        async def __call__(self) -> int:
            return 1

    breaker = make()
    made = breaker(Fetch)()
    assert isinstance(made, Fetch)
    assert counts(breaker) == (1, 0, 0)


# -- generators ------------------------------------------------------------------------------------------------------


async def test_an_object_whose_call_is_a_generator_function_is_judged_by_its_end(make) -> None:
    class Pages:
        def __call__(self):
            yield 1
            raise ConnectionError

    class AsyncPages:
        async def __call__(self):
            yield 1
            raise ConnectionError

    breaker = make(failure_threshold=9)
    pages = breaker(Pages())()
    assert next(pages) == 1
    assert counts(breaker) == (0, 0, 0)
    with pytest.raises(ConnectionError):
        next(pages)
    with pytest.raises(ConnectionError):
        _ = [page async for page in breaker(AsyncPages())()]
    assert counts(breaker) == (0, 2, 0)


def test_a_generator_is_judged_by_its_end(make, clock) -> None:
    breaker = make(failure_threshold=1)

    @breaker
    def numbers():
        got = yield 1
        try:
            yield got
        except KeyError:
            yield "caught"
        clock.advance(3.0)
        return "result"

    running = numbers()
    assert counts(breaker) == (0, 0, 0)
    assert next(running) == 1
    assert running.send("sent") == "sent"
    assert running.throw(KeyError()) == "caught"
    assert counts(breaker) == (0, 0, 0)
    with pytest.raises(StopIteration) as ended:
        next(running)
    assert ended.value.value == "result"
    assert counts(breaker) == (1, 0, 0)
    assert breaker.get_metrics()["latency"]["p50"] == pytest.approx(3.0, rel=0.15)


def test_a_generator_that_raises_is_a_failure_and_an_open_circuit_rejects_the_first_step(make) -> None:
    breaker = make(failure_threshold=1)

    @breaker
    def numbers():
        yield 1
        raise ConnectionError

    with pytest.raises(ConnectionError):
        list(numbers())
    rejected = numbers()
    with pytest.raises(CircuitBreakerOpenError):
        next(rejected)
    assert counts(breaker) == (0, 1, 0)


def test_a_generator_closed_early_is_neutral(make) -> None:
    breaker, closed = make(), []

    @breaker
    def numbers():
        try:
            yield 1
        finally:
            closed.append(True)

    running = numbers()
    next(running)
    running.close()
    assert (closed, counts(breaker)) == ([True], (0, 0, 1))
    next(numbers())  # dropped and collected
    assert (len(closed), counts(breaker)) == (2, (0, 0, 2))


async def test_an_async_generator_is_judged_by_its_end(make) -> None:
    breaker = make(failure_threshold=1)

    @breaker
    async def numbers(start):
        got = yield start
        await asyncio.sleep(0)
        try:
            yield got
        except KeyError:
            yield "caught"

    running = numbers(5)
    assert await anext(running) == 5
    assert await running.asend("sent") == "sent"
    assert await running.athrow(KeyError()) == "caught"
    assert counts(breaker) == (0, 0, 0)
    with pytest.raises(StopAsyncIteration):
        await anext(running)
    assert counts(breaker) == (1, 0, 0)
    assert [number async for number in numbers(6)] == [6, None]


async def test_an_async_generator_that_raises_is_a_failure(make) -> None:
    breaker = make(failure_threshold=1)

    @breaker
    async def numbers():
        yield 1
        raise ConnectionError("refused")

    with pytest.raises(ConnectionError, match="refused"):
        async for _ in numbers():
            pass
    with pytest.raises(CircuitBreakerOpenError):
        await anext(numbers())
    assert counts(breaker) == (0, 1, 0)


async def test_an_exception_thrown_into_an_async_generator_passes_through_it(make) -> None:
    breaker = make()

    @breaker
    async def numbers():
        yield 1

    running = numbers()
    await anext(running)
    with pytest.raises(ConnectionError):
        await running.athrow(ConnectionError())
    assert counts(breaker) == (0, 1, 0)


async def test_an_async_generator_closed_early_is_neutral_and_closes_its_source(make) -> None:
    breaker, closed = make(), []

    @breaker
    async def numbers():
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            closed.append(True)

    running = numbers()
    await anext(running)
    await running.aclose()
    assert (closed, counts(breaker)) == ([True], (0, 0, 1))
    await numbers().aclose()  # never begun
    assert counts(breaker) == (0, 0, 1)


async def test_an_async_generator_whose_step_is_cancelled_is_neutral(make) -> None:
    breaker, waiting = make(), asyncio.Event()

    @breaker
    async def numbers():
        waiting.set()
        await asyncio.Event().wait()
        yield 1

    task = asyncio.ensure_future(anext(numbers()))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert counts(breaker) == (0, 0, 1)


# -- fallback --------------------------------------------------------------------------------------------------------


async def test_a_fallback_answers_for_any_exception(make) -> None:
    breaker = make(failure_threshold=1)

    def described(error: Exception) -> str:
        return type(error).__name__

    async def described_later(error: Exception) -> str:
        return type(error).__name__

    for fallback in (described, described_later):
        guarded = breaker.protect(fallback=fallback)(refuse)
        assert inspect.iscoroutinefunction(guarded)
        breaker.reset()
        assert await guarded() == "ConnectionError"
        assert await guarded() == "CircuitBreakerOpenError"
    assert await breaker.protect(fallback=described)(echo)() == "CircuitBreakerOpenError"
    breaker.reset()
    assert await breaker.protect(fallback=described)(echo)(1) == ((1,), {})
    assert counts(breaker) == (1, 2, 0)


def test_a_fallback_of_a_plain_function(make) -> None:
    breaker = make(failure_threshold=1)

    @breaker.protect(fallback=lambda error: repr(error))
    def quote(price: int) -> str:
        if price < 0:
            raise ValueError(price)
        return str(price)

    assert (quote(5), quote(-5)) == ("5", "ValueError(-5)")
    assert quote.__name__ == "quote"
    assert breaker.state is OPEN
    assert quote(5).startswith("CircuitBreakerOpenError")


async def test_a_fallback_answers_for_methods_of_every_kind(make) -> None:
    breaker = make(failure_threshold=0)
    answered = breaker.protect(fallback=lambda error: "answered")

    class Client:
        @answered
        async def fetch(self) -> str:
            raise ConnectionError

        @answered
        @staticmethod
        async def static() -> str:
            raise ConnectionError

        @answered
        @classmethod
        def of_class(cls) -> str:
            raise ConnectionError(cls)

    assert [await Client().fetch(), await Client.static(), Client.of_class()] == ["answered"] * 3
    assert counts(breaker) == (0, 3, 0)


async def test_a_fallback_never_answers_a_cancellation(make) -> None:
    @make().protect(fallback=lambda error: "answered")
    async def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await cancelled()


async def test_protect_without_a_fallback_is_the_plain_decorator(make) -> None:
    breaker = make()
    assert await breaker.protect()(echo)(1) == ((1,), {})
    with pytest.raises(ConnectionError):
        await breaker.protect()(refuse)()
    assert counts(breaker) == (1, 1, 0)


def test_a_fallback_that_could_not_answer_is_refused_at_once(make) -> None:
    async def later(error: Exception) -> None: ...

    def generator():
        yield

    async def async_generator():
        yield

    breaker = make()
    with pytest.raises(TypeError, match="plain function"):
        breaker.protect(fallback=later)(lambda: None)
    with pytest.raises(TypeError, match="'cached'"):
        breaker.protect(fallback="cached")(later)
    for function in (generator, async_generator):
        with pytest.raises(TypeError, match="generator"):
            breaker.protect(fallback=print)(function)


def test_one_breaker_without_a_config_is_the_table() -> None:
    breaker = CircuitBreaker()
    assert breaker.config == CircuitBreakerConfig()
    assert breaker.name == "default"
    with pytest.raises(TypeError, match="CircuitBreakerConfig"):
        CircuitBreaker("api")
