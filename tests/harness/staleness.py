"""
Judges a history: what was asked when, and what was shown. Each todo is a register that only moves forward:

    ABSENT -> OPEN (posted) -> FINISHED -> DELETED

so a history is linearizable exactly when, of any two operations of which one ended before the other began, the later
shows at least the state of the earlier, and nothing is shown before somebody asked for it. A list shows the
state of each todo that is in it, and that those are not there which its range would have to contain.

With reads_bind=False only acknowledged writes bind later reads: what is promised across machines.
"""
import bisect
import collections

from harness.load import DELETE, FINISH, POST, UNKNOWN, check_order

LIST, GET = "LIST", "GET"
ABSENT, OPEN, FINISHED, DELETED = range(4)
NAMES = ("absent", "open", "finished", "deleted")

TOP, BOTTOM = (float("inf"), ""), (float("-inf"), "")

# Times are CLOCK_MONOTONIC. key: the content (POST), the Range asked for (LIST), else the id. seen: what came with a 200.
Operation = collections.namedtuple("Operation", "kind machine start end status key seen")
Seen = collections.namedtuple("Seen", "id created_at content is_finished")
# A list ends below `above` (a key, exclusive; TOP: the newest; None: a position, so that the first todo says where it
# begins), and is as long as it may be with `limit` todos.
Range = collections.namedtuple("Range", "above limit")
Violation = collections.namedtuple("Violation", "what operation cause age_s")


def key_of(seen):
    return seen.created_at, seen.id


def bounds(operation):
    """The keys between which every todo is shown, (from, to], or None."""
    seen, (above, limit) = operation.seen, operation.key
    if not seen and above is None:
        return None
    low = key_of(seen[-1]) if len(seen) == limit else BOTTOM
    high = above if above is not None else key_of(seen[0])
    return low, high


class _Todo:
    def __init__(self, post, seen):
        self.post, self.key = post, key_of(seen)
        self.content, self.id = seen.content, seen.id
        self.finish_asked = self.delete_asked = float("inf")
        self.floor = []  # [(end, state, operation)]: known from then on; ends and states ascend

    def state_at(self, time):
        return max((state for end, state, _ in self.floor if end < time), default=ABSENT)

    def cause(self, state):
        """Who first showed more than that."""
        return next(operation for _, known, operation in self.floor if known > state)

    def learn(self, operation, state):
        if state > (self.floor[-1][1] if self.floor else ABSENT):
            self.floor.append((operation.end, state, operation))


class _Judge:
    def __init__(self, operations, reads_bind):
        self.operations, self.reads_bind = operations, reads_bind
        self.violations, self.todos = [], {}
        self.posts = {operation.key: operation for operation in operations if operation.kind == POST}
        self.keys = []  # of the todos that may be there, ascending

    def accuse(self, what, operation, cause=None):
        self.violations.append(Violation(what, operation, cause, operation.start - cause.end if cause else 0.0))

    def meet(self, operation, seen):
        todo = self.todos.get(seen.id)
        if todo is None:
            post = self.posts.get(seen.content)
            if post is None:
                return self.accuse(f"{seen} was posted by nobody", operation)
            if post.status not in (200, *UNKNOWN):
                self.accuse(f"{seen} was refused with {post.status}", operation, post)
            todo = self.todos[seen.id] = _Todo(post, seen)
        if (todo.content, todo.key) != (seen.content, key_of(seen)):
            self.accuse(f"{seen} has changed", operation)

    def meet_all(self):
        lists = set()
        for operation in self.operations:
            if operation.status != 200 or operation.seen is None:
                continue
            if operation.kind != LIST:
                self.meet(operation, operation.seen)
            elif id(operation.seen) not in lists:  # shared by who saw the same bytes
                lists.add(id(operation.seen))
                try:
                    check_order([seen._asdict() for seen in operation.seen])
                except AssertionError as failure:
                    self.accuse(str(failure), operation)
                for seen in operation.seen:
                    self.meet(operation, seen)
        for operation in self.operations:
            todo = self.todos.get(operation.key) if operation.kind in (FINISH, DELETE) else None
            # A finish that came to know that its todo was deleted meanwhile may have finished it before.
            if todo and operation.status in (200, *UNKNOWN, *((404,) if operation.kind == FINISH else ())):
                if operation.kind == FINISH:
                    todo.finish_asked = min(todo.finish_asked, operation.start)
                else:
                    todo.delete_asked = min(todo.delete_asked, operation.start)

    # -- one operation and one todo --

    def shows(self, operation, todo, state, most=None, is_write=False):
        """`state` was shown or made, of one that may have been `most` before."""
        if state == FINISHED and todo.finish_asked > operation.end:
            self.accuse(f"{todo.content}: finished, and nobody had asked", operation)
        most = state if most is None else most
        known = todo.state_at(operation.start)
        if known > most:
            self.accuse(f"{todo.content}: {NAMES[most]} after it was {NAMES[known]}", operation, todo.cause(most))
        if is_write or self.reads_bind:
            todo.learn(operation, state)

    def shows_absence(self, operation, todo):
        may_be_deleted = todo.delete_asked < operation.end
        is_deleted = may_be_deleted and todo.state_at(operation.start) > ABSENT
        self.shows(operation, todo, DELETED if is_deleted else ABSENT, DELETED if may_be_deleted else ABSENT)

    def follow_list(self, operation):
        shown = set()
        for seen in operation.seen:
            shown.add(seen.id)
            if todo := self.todos.get(seen.id):
                self.shows(operation, todo, FINISHED if seen.is_finished else OPEN)
        if (limits := bounds(operation)) is not None:
            low, high = bisect.bisect_left(self.keys, limits[0]), bisect.bisect_left(self.keys, limits[1])
            for _, identity in self.keys[low:high]:
                if identity not in shown:
                    self.shows_absence(operation, self.todos[identity])

    def follow(self, operation):
        kind, status = operation.kind, operation.status
        if kind == LIST and status == 200:
            return self.follow_list(operation)
        identity = operation.seen.id if kind == POST and operation.seen else operation.key
        todo = self.todos.get(identity)
        if todo is None:
            return None
        if status == 404:
            return self.shows_absence(operation, todo)
        if status != 200:
            return None
        if kind == POST:
            return self.shows(operation, todo, OPEN, DELETED, is_write=True)
        if kind == DELETE:
            self.forget(todo)
            return self.shows(operation, todo, DELETED, FINISHED, is_write=True)
        return self.shows(operation, todo, FINISHED if operation.seen.is_finished else OPEN, is_write=kind == FINISH)

    def expect(self, todo):
        bisect.insort(self.keys, todo.key)

    def forget(self, todo):
        """Once its deletion is acknowledged, its absence says nothing any more."""
        at = bisect.bisect_left(self.keys, todo.key)
        if at < len(self.keys) and self.keys[at] == todo.key:
            del self.keys[at]

    def run(self):
        self.meet_all()
        events = [(todo.post.start, 0, self.expect, todo) for todo in self.todos.values()]
        events += [(operation.end, 1, self.follow, operation) for operation in self.operations]
        for _, _, act, what in sorted(events, key=lambda event: event[:2]):
            act(what)
        return self.violations


def find_violations(operations, reads_bind=True):
    return _Judge(operations, reads_bind).run()


def describe(violations, show=5):
    lines = [f"{v.what}; {v.age_s * 1000:.1f} ms after; machine {v.operation.machine}"
             + (f", {v.cause.kind} on {v.cause.machine}" if v.cause else "") + f": {v.operation}"
             for v in sorted(violations, key=lambda v: -v.age_s)[:show]]
    return f"{len(violations)} violations\n" + "\n".join(line[:600] for line in lines)
