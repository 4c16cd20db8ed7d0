from charnn.runtime import threads
from charnn.runtime.threads import BlasThreads


class Library:
    """Stands for BLAS: notes how many threads it was given."""

    def __init__(self, num_threads=8):
        self.num_threads = num_threads

    def set_num_threads(self, number):
        self.num_threads = number


def blas_with(monkeypatch, library, seconds_by_threads):
    """Return threads to choose among, and a step whose time depends on them, on a clock of our own."""
    clock = [100.0]
    monkeypatch.setattr(threads.time, "perf_counter", lambda: clock[0])

    class Controller:
        lib_controllers = (library,)

        def select(self, user_api):
            assert user_api == "blas"
            return self

    monkeypatch.setattr("threadpoolctl.ThreadpoolController", Controller)

    def step():
        clock[0] += seconds_by_threads[library.num_threads]

    return BlasThreads(), step, clock


def test_the_fastest_number_of_threads_is_taken(monkeypatch):
    for fastest in (1, 2, 4, 8):
        library = Library()
        seconds = {number: 0.001 if number == fastest else 0.003 for number in (1, 2, 4, 8)}
        blas, step, _ = blas_with(monkeypatch, library, seconds)
        blas.review(step)
        assert library.num_threads == fastest


def test_it_is_asked_again_only_after_a_while(monkeypatch):
    library, seconds = Library(2), {1: 0.002, 2: 0.001}
    blas, step, clock = blas_with(monkeypatch, library, seconds)
    blas.review(step)
    assert library.num_threads == 2
    seconds[1], seconds[2] = 0.001, 0.05
    blas.review(step)
    assert library.num_threads == 2
    clock[0] += threads.SECONDS_BETWEEN
    blas.review(step)
    assert library.num_threads == 1


def test_where_there_is_one_thread_nothing_is_timed(monkeypatch):
    blas, _, _ = blas_with(monkeypatch, Library(1), {1: 0.001})
    blas.review(lambda: 1 / 0)


def test_it_works_on_the_blas_that_numpy_has():
    from threadpoolctl import ThreadpoolController, threadpool_limits

    with threadpool_limits(limits=None):
        steps = []
        BlasThreads().review(lambda: steps.append(1))
        libraries = ThreadpoolController().select(user_api="blas").lib_controllers
        assert all(library.num_threads >= 1 for library in libraries)
