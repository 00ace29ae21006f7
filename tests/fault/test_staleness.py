"""The judge of harness/staleness.py is itself to be trusted: it must find each kind of violation, and nothing else."""
import pytest

from harness.load import DELETE, FINISH, LOST, POST
from harness.staleness import GET, LIST, TOP, Operation, Range, Seen, find_violations

PAGE = Range(TOP, 3)


def todo(number, is_finished=False):
    return Seen(str(number), float(number), f"todo {number}", is_finished)


def post(number, start, end, status=200, machine=0):
    return Operation(POST, machine, start, end, status, f"todo {number}", todo(number) if status == 200 else None)


def page(start, end, *seen, asked=PAGE, machine=0):
    return Operation(LIST, machine, start, end, 200, asked, seen)


def get(number, start, end, is_finished=False, status=200):
    return Operation(GET, 0, start, end, status, str(number), todo(number, is_finished) if status == 200 else None)


def finish(number, start, end, status=200):
    return Operation(FINISH, 0, start, end, status, str(number), todo(number, True) if status == 200 else None)


def delete(number, start, end, status=200):
    return Operation(DELETE, 0, start, end, status, str(number), None)


# Todos 1 to 5, posted one after the other, each in [n, n + 0.5].
POSTED = [post(number, number, number + 0.5) for number in range(1, 6)]
THREE = todo(5), todo(4), todo(3)


@pytest.mark.parametrize("more", [
    [page(6, 7, *THREE)],
    [page(4.9, 5.1, *THREE), page(4.95, 5.05, todo(4), todo(3), todo(2))],         # both overlap the post of 5
    [page(6, 7, asked=Range(None, 3)), page(6, 7, todo(3), todo(2), asked=Range((4.0, "4"), 2))],
    [page(6, 7, todo(2), todo(1), asked=Range(None, 3))],
    [finish(5, 6, 7), page(6.5, 8, *THREE), page(6.5, 6.6, todo(5, True), todo(4), todo(3)), get(5, 7.5, 8, True)],
    [finish(5, 6, 7), finish(5, 8, 9), get(5, 10, 11, True)],
    [delete(5, 6, 7), page(6.5, 6.9, *THREE), page(7, 8, todo(4), todo(3), todo(2)), get(5, 8, 9, status=404)],
    [delete(5, 6, 7), delete(5, 6.5, 8, status=404), page(9, 10, todo(4), todo(3), todo(2))],
    [delete(5, 6, 7, LOST), page(8, 9, *THREE), page(9.5, 10, todo(4), todo(3), todo(2))],   # takes effect late
    [post(6, 6, 7, 504), page(8, 9, *THREE), page(10, 11, todo(6), todo(5), todo(4)), page(12, 13, todo(6), todo(5), todo(4))],
    [post(6, 6, 7, 503), finish(5, 6, 7, 503), delete(4, 6, 7, 503), page(8, 9, *THREE)],
], ids=range(11))
def test_what_may_be(more):
    assert find_violations(POSTED + more) == []


# What, the operations, and how many violations come of it.
WRONG = {
    "an acknowledged post is missing": [page(6, 7, todo(4), todo(3), todo(2))],
    "... in a short page": [page(6, 7, todo(4), todo(3))],
    "... in an empty page": [page(4.9, 7)],
    "... in the middle": [page(6, 7, todo(5), todo(3), todo(2))],
    "... in a deeper page": [page(6, 7, todo(4), todo(2), asked=Range(None, 3))],
    "... behind a cursor": [page(6, 7, todo(3), todo(2), asked=Range((5.0, "5"), 2))],
    "... of one": [get(5, 6, 7, status=404)],
    "an acknowledged finish is missing": [finish(5, 6, 7), page(8, 9, *THREE)],
    "... of one": [finish(5, 6, 7), get(5, 8, 9)],
    "an acknowledged deletion is missing": [delete(5, 6, 7), page(8, 9, *THREE)],
    "... to a finish": [delete(5, 6, 7), finish(5, 8, 9)],
    "deleted twice": [delete(5, 6, 7), delete(5, 8, 9)],
    "shown, then taken back, while the post is unanswered": [
        post(6, 6, 20), page(7, 8, todo(6), todo(5), todo(4)), page(9, 10, *THREE)],
    "... the finish": [finish(5, 6, 20), get(5, 7, 8, True), page(9, 10, *THREE)],
    "... the deletion": [delete(5, 6, 20), page(7, 8, todo(4), todo(3), todo(2)), page(9, 10, *THREE)],
    "... a post that is never answered": [
        post(6, 6, 7, LOST), page(8, 9, todo(6), todo(5), todo(4)), page(10, 11, *THREE)],
    "gone, and nobody had deleted it": [page(6, 7, *THREE), page(8, 9, todo(5), todo(3), todo(2))],
    "finished, and nobody had asked": [get(5, 6, 7, True)],
    "... since that was refused": [finish(5, 6, 7, 503), get(5, 8, 9, True)],
    "posted by nobody": [page(6, 7, todo(9), todo(5), todo(4))],
    "refused and there": [post(6, 6, 7, 503), page(8, 9, todo(6), todo(5), todo(4))],
    "out of order": [page(6, 7, todo(4), todo(5), todo(3))],
    "twice in a page": [page(6, 7, todo(5), todo(5), todo(4))],
    "changed": [page(6, 7, Seen("5", 5.0, "todo 4", False), todo(4), todo(3))],
}


@pytest.mark.parametrize("more", WRONG.values(), ids=WRONG)
def test_what_may_not_be(more):
    assert find_violations(POSTED + more)


def test_age_and_machines_are_told():
    found, = find_violations([*POSTED[:4], post(5, 5, 5.5, machine=1), page(6, 7, todo(4), todo(3), todo(2))])
    assert (found.cause.machine, found.operation.machine, found.age_s) == (1, 0, 0.5)


def test_across_machines_only_what_was_acknowledged_binds():
    taken_back = [post(6, 6, 20), page(7, 8, todo(6), todo(5), todo(4)), page(9, 10, *THREE)]
    assert find_violations(POSTED + taken_back, reads_bind=False) == []
    assert find_violations(POSTED + [page(6, 7, todo(4), todo(3), todo(2))], reads_bind=False)
