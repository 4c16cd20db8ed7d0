import os
import signal
import sys
import threading

import pytest

from charnn import interrupts
from charnn.interrupts import deferred_interrupts, handled_by, terminated_like_interrupted

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows sends a process no signal but its end")
HERE = [pytest.param(number, id=signal.Signals(number).name) for number in interrupts.INTERRUPTS]


def handlers():
    return [signal.getsignal(number) for number in interrupts.INTERRUPTS]


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", HERE)
def test_each_ends_a_command_as_ctrl_c_does_and_what_it_replaced_comes_back(number):
    before = handlers()
    with pytest.raises(KeyboardInterrupt), terminated_like_interrupted():
        send(number)
    assert handlers() == before


@pytest.mark.parametrize("number", HERE)
def test_the_first_is_noted_and_the_second_acts(number):
    before = handlers()
    with pytest.raises(KeyboardInterrupt), deferred_interrupts() as interruption:
        assert interruption() is None
        send(number)
        assert interruption() == number
        send(signal.SIGINT)
    assert handlers() == before


def test_another_thread_than_the_main_one_leaves_them_alone():
    before, seen = handlers(), []

    def work():
        with deferred_interrupts() as interruption:
            seen.append((interruption(), handlers()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(None, before)]


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no SIGHUP")
def test_a_hangup_that_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with terminated_like_interrupted():
            send(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_handler_that_python_did_not_set_gives_way_to_the_default(monkeypatch):
    replaced = []
    monkeypatch.setattr(interrupts, "INTERRUPTS", (signal.SIGTERM,))
    monkeypatch.setattr(signal, "getsignal", lambda _number: None)
    monkeypatch.setattr(signal, "signal", lambda _number, handler: replaced.append(handler))
    with handled_by(print):
        pass
    assert replaced == [print, signal.SIG_DFL]
