"""Drawing in several processes: the same results in their order, whatever becomes of the others."""

import os
import signal
import sys
import time
from functools import partial

import pytest
from kept_texts import keep_texts
from report_study import GRID, write_full_study

from mlx_prune.report.figures.draw import FIGURES
from mlx_prune.report.figures.drawn import draw_figures
from mlx_prune.report.figures.side_by_side import all_of, processes_to_draw, started
from mlx_prune.report.write import report_tables

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere one process draws alone")
HERE = os.getpid()


def slowly(number):
    time.sleep(0.02)
    return number, os.getpid()


def only_here(number):
    """Ends a fork without a word."""
    time.sleep(0.02)
    if os.getpid() != HERE:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def leave_trace(folder, number):
    (folder / str(number)).touch()
    return os.getpid()


def refused(number):
    time.sleep(0.02)
    if number == 5:
        raise ValueError("five")
    return number


def test_results_come_in_order_from_several_processes():
    begun = []
    found = all_of([partial(slowly, number) for number in range(20)], 3, begun.append)
    assert [number for number, _ in found] == list(range(20))
    assert len({process for _, process in found}) > 1
    assert begun == [number for number, process in found if process == HERE]


def test_others_work_while_this_process_does_something_else(tmp_path):
    begun = []
    with started([partial(leave_trace, tmp_path, number) for number in range(4)], 2, begun.append) as finish:
        for _ in range(3000):
            if len(list(tmp_path.iterdir())) == 4:
                break
            time.sleep(0.01)
        processes = finish()
    assert len(processes) == 4
    assert HERE not in processes
    assert begun == []


def test_what_a_process_that_was_ended_had_taken_is_done_here():
    assert all_of([partial(only_here, number) for number in range(6)], 2, lambda _: None) == list(range(6))


def test_what_goes_wrong_in_whichever_process_is_raised_here():
    for _ in range(3):
        with pytest.raises(ValueError, match="five"):
            all_of([partial(refused, number) for number in range(8)], 2, lambda _: None)


def test_a_method_of_this_process_is_known_to_its_forks(monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "HERE", "told")
    assert set(all_of([lambda: HERE] * 4, 2, lambda _: None)) == {"told"}


def test_one_task_is_done_by_one_process():
    assert processes_to_draw(1) == 1
    assert processes_to_draw(0) == 1


def test_several_processes_draw_what_one_draws(tmp_path, monkeypatch):
    monkeypatch.setattr("mlx_prune.report.figures.draw.FIGURES", FIGURES[:2])
    folder = write_full_study(tmp_path, items=12, grid=(*GRID[:1], *GRID[7:8]))
    keep_texts(folder)
    tables = report_tables(folder)
    alone, together = (draw_figures(tables, processes=count) for count in (1, 2))
    assert alone == together
    assert len(alone) == 2
