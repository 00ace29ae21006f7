"""The oracle of harness/load.py is itself to be trusted: it must find each kind of damage."""
import copy

import pytest

from harness.load import DELETE, FINISH, LOST, POST, Event, check_order, judge


class Ended:
    """A load that has ended: three posts acknowledged, the second finished, the third deleted; one refused, one
    unknown."""
    run = "run"

    def __init__(self):
        self.todos = [{"id": str(i), "content": f"run {i}", "created_at": float(i), "is_finished": False, "finished_at": None}
                      for i in range(3)]
        self.events = [Event(POST, todo["content"], 200, 0.1, copy.deepcopy(todo), float(i)) for i, todo in enumerate(self.todos)]
        self.todos[1].update(is_finished=True, finished_at=9.0)
        self.events += [Event(FINISH, "1", 200, 0.1, copy.deepcopy(self.todos[1]), 4.0), Event(DELETE, "2", 200, 0.1, {"id": "2"}, 5.0),
                        Event(POST, "run refused", 503, 0.1, None, 6.0), Event(POST, "run unknown", 504, 0.1, None, 7.0),
                        Event(POST, "run lost", LOST, 0.1, None, 8.0)]
        self.listed = [self.todos[1], self.todos[0]]


def extra(identity, content, at):
    return {"id": identity, "content": content, "created_at": at, "is_finished": False, "finished_at": None}


@pytest.mark.parametrize("more", [[], [extra("7", "run unknown", 7.0)], [extra("8", "run lost", 8.0), extra("7", "run unknown", 7.0)]])
def test_what_may_be(more):
    load = Ended()
    assert "3 posts acknowledged" in judge(load, more + load.listed)


def lose(load):
    load.listed.pop()


def double(load):
    load.listed.insert(0, extra("3", "run 0", 3.0))


def store_what_was_refused(load):
    load.listed.insert(0, extra("6", "run refused", 6.0))


def store_unknown_twice(load):
    load.listed[:0] = [extra("8", "run unknown", 8.0), extra("7", "run unknown", 7.0)]


def keep_what_was_deleted(load):
    load.listed.insert(0, extra("2", "run 2", 2.0))


def unfinish(load):
    load.listed[0].update(is_finished=False, finished_at=None)


def finish_later(load):
    load.listed[0]["finished_at"] = 10.0


def finish_unasked(load):
    load.listed[1].update(is_finished=True, finished_at=9.0)


def change_content(load):
    load.listed[1]["content"] = "run x"


def change_time(load):
    load.listed[1]["created_at"] = 0.5


def swap(load):
    load.listed.reverse()


def invent(load):
    load.listed.insert(0, extra("9", "run 9", 9.0))


def answer_500(load):
    load.events.append(Event(POST, "run 500", 500, 0.1, None, 10.0))


def forget_on_finish(load):
    load.events.append(Event(FINISH, "0", 404, 0.1, None, 10.0))


def change_the_first_finish(load):
    load.events.append(Event(FINISH, "1", 200, 0.1, {**load.todos[1], "finished_at": 10.0}, 10.0))


@pytest.mark.parametrize("damage", [lose, double, store_what_was_refused, store_unknown_twice, keep_what_was_deleted, unfinish, finish_later,
                                    finish_unasked, change_content, change_time, swap, invent, answer_500, forget_on_finish,
                                    change_the_first_finish], ids=lambda damage: damage.__name__)
def test_what_may_not_be(damage):
    load = Ended()
    damage(load)
    with pytest.raises(AssertionError):
        judge(load, load.listed)


@pytest.mark.parametrize("keys", [[(1.0, "a"), (2.0, "a")], [(1.0, "a"), (1.0, "b")], [(1.0, "a"), (1.0, "a")]])
def test_order(keys):
    with pytest.raises(AssertionError):
        check_order([{"created_at": at, "id": identity} for at, identity in keys])
