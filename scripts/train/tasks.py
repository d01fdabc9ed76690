"""Tasks with their oracles: what a user asks, what must lie in notes and files, and how the task is done right.

An oracle is a Python generator: it yields (reasoning, tool, arguments), is sent the tool's result, and returns
(reasoning, answer, strings the answer must contain). Families: single, chain, plan, recover, recall, notool.
"""
from dataclasses import dataclass, field
from typing import Callable

from names import DIRS, EXTENSIONS, Names, number
from phrases import GREETINGS, HELD_SEPARATORS, KINDS, MORE_SEPARATORS, SEPARATORS, choose

PAIRS = [("km", "miles"), ("miles", "km"), ("kg", "pounds"), ("pounds", "kg"), ("meters", "feet"), ("feet", "meters"),
         ("liters", "gallons"), ("gallons", "liters"), ("cm", "inches"), ("inches", "cm"), ("hours", "minutes"),
         ("minutes", "seconds"), ("days", "hours"), ("grams", "ounces"), ("ounces", "grams"), ("meters", "yards"),
         ("minutes", "hours"), ("km", "meters"), ("kg", "grams"), ("yards", "meters")]


@dataclass
class Task:
    family: str
    intent: str
    user: str
    need: list
    oracle: Callable
    notes: dict = field(default_factory=dict)
    files: dict = field(default_factory=dict)
    absent: list = field(default_factory=list)  # tools that must not be declared


class Maker:
    """Makes tasks of one conversation; all names in it differ."""

    def __init__(self, rng, held_names=False, held_phrases=False, plain=False):
        self.r, self.held_names, self.held_phrases, self.plain = rng, held_names, held_phrases, plain
        self.names = Names(rng, held_names)
        self.facts = []
        self.dirs = rng.sample(DIRS, len(DIRS))

    def say(self, intent, **values):
        return choose(self.r, intent, self.held_phrases, self.plain).format(**values)

    def folder(self):
        """A folder that no other task of this conversation uses, as long as there are some."""
        return self.dirs.pop() if self.dirs else self.r.choice(DIRS) + str(self.r.randint(2, 99))

    def text(self, low=1, high=3):
        words = [self.names.draw() for _ in range(self.r.randint(low, high))]
        if self.r.random() < 0.5 or not words:
            words.append(str(number(self.r)))
        return " ".join(words)

    def expression(self):
        r = self.r
        q = r.random()
        if q < 0.7:
            op = r.choice("++--**/")
            return f"{number(r)} {op} {number(r)}"
        if q < 0.85:
            return f"{number(r)} {r.choice('+-*')} {number(r)} {r.choice('+-*')} {number(r)}"
        if q < 0.95:
            return f"({number(r)} {r.choice('+-')} {number(r)}) {r.choice('*/')} {number(r)}"
        return f"{number(r)}{r.choice('+-*')}{number(r)}"

    def make(self, family):
        return getattr(self, family)()

    # ------------------------------------------------------------------ one call
    def single(self, kind=None):
        r, draw = self.r, self.names.draw
        kind = kind or r.choice("calc calc put put get get read list list write convert search search clock".split())
        if kind == "calc":
            if r.random() < 0.45:
                expr = self.expression()
                user = self.say("expr", e=expr)
            else:
                intent, op = r.choice((("add", "+"), ("sub", "-"), ("mul", "*"), ("div", "/")))
                a, b = number(r), number(r)
                expr = f"{a} {op} {b}"
                user = self.say(intent, a=a, b=b)

            def oracle():
                v = yield "calc", "calc", {"expression": expr}
                return "done", f"The result is {v}.", [v]
            return Task("single", kind, user, ["calc"], oracle)
        if kind == "put":
            n, v = draw(), str(number(r)) if r.random() < 0.7 else self.text(1, 2)

            def oracle():
                yield "store", "kv_put", {"key": n, "value": v}
                return "done", f"Stored {v} under {n}.", [n]
            return Task("single", kind, self.say("put", n=n, v=v), ["kv_put"], oracle)
        if kind == "get":
            n, v = draw(), str(number(r)) if r.random() < 0.7 else self.text(1, 2)

            def oracle():
                x = yield "get", "kv_get", {"key": n}
                return "done", f"The value of {n} is {x}.", [x]
            return Task("single", kind, self.say("get", n=n), ["kv_get"], oracle, notes={n: v})
        if kind == "read":
            p = self.names.path()
            text = "\n".join(self.text() for _ in range(r.choice((1, 1, 1, 2, 3) if self.plain else (1, 1, 1, 2, 2, 3))))

            def oracle():
                x = yield "read", "read_file", {"path": p}
                return "done", f"The file says: {x}", [x]
            return Task("single", kind, self.say("read", p=p), ["read_file"], oracle, files={p: text})
        if kind == "list":
            d = self.folder()
            files = {self.names.path(folder=d): self.text(1, 1) for _ in range(r.choice((1, 2, 3, 4, 4, 5, 6)))}
            if r.random() < 0.1:
                files[f"{d}/{draw()}/{draw()}.txt"] = self.text(1, 1)

            def oracle():
                x = yield "list", "list_files", {"path": d}
                return "done", f"Files in {d}:\n{x}", x.split("\n")
            return Task("single", kind, self.say("list", d=d), ["list_files"], oracle, files=files)
        if kind == "write":
            p, text = self.names.path(), self.text()

            def oracle():
                yield "write", "write_file", {"path": p, "content": text}
                return "done", f"Wrote {p}.", [p]
            return Task("single", kind, self.say("write", p=p, c=text), ["write_file"], oracle)
        if kind == "search":
            d, w = self.folder(), draw()
            hits = r.choice((0, 1, 1, 2, 2, 3))
            files = {}
            for i in range(hits + r.choice((0, 1, 2)) or 1):
                text = [draw() for _ in range(r.randint(0, 2))] + ([w] if i < hits else [draw()])
                r.shuffle(text)
                files[self.names.path(folder=d)] = " ".join(text)

            def oracle():
                x = yield "search", "search_files", {"path": d, "text": w}
                if x == "no matches":
                    return "no matches", f"No file in {d} contains {w}.", ["No file"]
                return "done", f"Found in:\n{x}", x.split("\n")
            return Task("single", kind, self.say("search", d=d, w=w), ["search_files"], oracle, files=files)
        if kind == "clock":
            def oracle():
                x = yield "clock", "clock", {}
                return "done", f"It is {x}.", [x]
            return Task("single", kind, self.say("clock"), ["clock"], oracle)
        f, t = r.choice(PAIRS)
        a = number(r)

        def oracle():
            v = yield "convert", "convert", {"value": str(a), "from": f, "to": t}
            return "done", f"{a} {f} is {v} {t}.", [v]
        return Task("single", "convert", self.say("convert", a=a, f=f, t=t), ["convert"], oracle)

    # ------------------------------------------------------------------ one sentence, two to four calls
    def sink(self, prefix="sink"):
        """(phrase, tool, oracle step for a value, where it went)"""
        if self.r.random() < 0.65:
            c = self.names.draw()
            return (self.say(prefix + "_put", c=c), "kv_put", lambda v: ("store " + c, "kv_put", {"key": c, "value": v}),
                    f"stored under {c}")
        p = self.names.path()
        return (self.say(prefix + "_write", p=p), "write_file",
                lambda v: ("write " + p, "write_file", {"path": p, "content": v}), f"written to {p}")

    def chain(self):
        r, draw = self.r, self.names.draw
        kind = r.choice("kk kk kk fk fk lit_put conv_put copy_key copy_file file_key clock_put find_read".split())
        if kind in ("kk", "fk"):
            op = r.choice("++-*")
            a, b = draw(), draw()
            va, vb = str(number(r)), str(number(r))
            phrase, tool, step, where = self.sink()
            verb = {"+": "add", "-": "subtract", "*": "multiply"}[op]
            p = self.names.path(name=a)
            if kind == "kk":
                user = self.say({"+": "kk_add", "-": "kk_sub", "*": "kk_mul"}[op], a=a, b=b, sink=phrase)
                notes, files, need = {a: va, b: vb}, {}, ["kv_get", "calc", tool]
            else:
                user = self.say("fk", p=p, b=b, verb=verb, sink=phrase)
                notes, files, need = {b: vb}, {p: va}, ["read_file", "kv_get", "calc", tool]

            def oracle():
                if kind == "kk":
                    x = yield "get " + a, "kv_get", {"key": a}
                else:
                    x = yield "read " + p, "read_file", {"path": p}
                y = yield "get " + b, "kv_get", {"key": b}
                z = yield verb, "calc", {"expression": f"{x} {op} {y}"}
                yield step(z)
                return "done", f"The result {z} is {where}.", [z]
            return Task("chain", kind, user, need, oracle, notes, files)
        if kind in ("lit_put", "conv_put", "clock_put"):
            phrase, tool, step, where = self.sink()
            if kind == "lit_put":
                expr = self.expression()
                user, first = self.say(kind, e=expr, sink=phrase), ("calc", "calc", {"expression": expr})
            elif kind == "conv_put":
                (f, t), a = r.choice(PAIRS), number(r)
                user = self.say(kind, a=a, f=f, t=t, sink=phrase)
                first = ("convert", "convert", {"value": str(a), "from": f, "to": t})
            else:
                user, first = self.say(kind, sink=phrase), ("clock", "clock", {})

            def oracle():
                z = yield first
                yield step(z)
                return "done", f"The result {z} is {where}.", [z]
            return Task("chain", kind, user, [first[1], tool], oracle)
        if kind == "copy_key":
            a, c, v = draw(), draw(), self.text(0, 2)

            def oracle():
                x = yield "get " + a, "kv_get", {"key": a}
                yield "store " + c, "kv_put", {"key": c, "value": x}
                return "done", f"Stored {x} under {c}.", [c]
            return Task("chain", kind, self.say(kind, a=a, c=c), ["kv_get", "kv_put"], oracle, notes={a: v})
        if kind in ("copy_file", "file_key"):
            p, q, c, text = self.names.path(), self.names.path(), draw(), self.text()

            def oracle():
                x = yield "read " + p, "read_file", {"path": p}
                if kind == "copy_file":
                    yield "write " + q, "write_file", {"path": q, "content": x}
                    return "done", f"Wrote {q}.", [q]
                yield "store " + c, "kv_put", {"key": c, "value": x}
                return "done", f"Stored {x} under {c}.", [c]
            return Task("chain", kind, self.say(kind, p=p, q=q, c=c),
                        ["read_file", "write_file" if kind == "copy_file" else "kv_put"], oracle, files={p: text})
        d, w = self.folder(), draw()
        files = {}
        for i in range(r.choice((1, 2, 3, 4))):
            text = [draw() for _ in range(r.randint(0, 2))] + ([w] if i == 0 else [draw()])
            r.shuffle(text)
            files[self.names.path(folder=d)] = " ".join(text)

        def oracle():
            p = yield "search", "search_files", {"path": d, "text": w}
            x = yield "read " + p, "read_file", {"path": p}
            return "done", f"The file {p} says: {x}", [x]
        return Task("chain", "find_read", self.say("find_read", d=d, w=w), ["search_files", "read_file"], oracle,
                    files=files)

    # ------------------------------------------------------------------ steps in a row, three to seven calls
    def plan(self):
        r, draw = self.r, self.names.draw
        notes, files, steps, need = {}, {}, [], []
        value = number(r)
        if r.random() < 0.5:
            a = draw()
            notes[a] = str(value)
            steps.append((self.say("step_key", a=a), "key", a))
        else:
            p = self.names.path()
            files[p] = str(value)
            steps.append((self.say("step_file", p=p), "file", p))
        transforms = r.choice((1, 1, 2, 2, 3))
        for i in range(transforms):
            q = r.random()
            op = r.choice("+-*")
            if q < 0.55:
                v = r.randint(2, 99) if r.random() < 0.8 else r.randint(100, 999)
                steps.append((self.say({"+": "step_add", "-": "step_sub", "*": "step_mul"}[op], v=v), "literal", op, v))
            elif q < 0.85:
                a, op = draw(), r.choice("+-")
                notes[a] = str(number(r))
                steps.append((self.say("step_add_key" if op == "+" else "step_sub_key", a=a), "operand", op, a))
            else:
                f, t = r.choice(PAIRS)
                steps.append((self.say("step_conv", f=f, t=t), "convert", f, t))
                if i + 1 < transforms and r.random() < 0.7:
                    break  # few conversions in mid-plan: their digits make the sums long
        for _ in range(r.choice((1, 1, 2, 2, 3)) if transforms < 3 else r.choice((1, 1, 2))):
            if r.random() < 0.6:
                c = draw()
                steps.append((self.say("step_put", c=c), "put", c))
            else:
                p = self.names.path()
                steps.append((self.say("step_write", p=p), "write", p))
        for step in steps:
            need += {"key": ["kv_get"], "file": ["read_file"], "literal": ["calc"], "operand": ["kv_get", "calc"],
                     "convert": ["convert"], "put": ["kv_put"], "write": ["write_file"]}[step[1]]
        # The text; `spoken` are the phrases as they stand in it, for the reasoning to quote.
        spoken = [s[0] for s in steps]
        q = r.random()
        if q < 0.25:
            mark = r.choice(("{}. ", "{}) ", "{}: ", "- "))
            user = "\n".join(mark.format(i + 1) + s for i, s in enumerate(spoken))
            if r.random() < 0.4:
                user = r.choice(("Do this:\n", "Steps:\n", "Please do these steps:\n")) + user
        else:
            if q < 0.75:
                spoken[0] = spoken[0][0].upper() + spoken[0][1:]
                start = ""
            else:
                start = r.choice(("First ", "Please ", "Start: ", "First, "))
            if self.held_phrases:
                between = [r.choice(HELD_SEPARATORS)] * (len(spoken) - 1)
            else:
                main = r.choice(SEPARATORS if self.plain or r.random() < 0.5 else MORE_SEPARATORS)
                last = r.choice((main, " and ", ", and finally ", " and finally ", ", and "))
                between = [main] * (len(spoken) - 2) + [last]
                if r.random() < 0.2:
                    between = [r.choice(SEPARATORS if self.plain else SEPARATORS + MORE_SEPARATORS) for _ in between]
                # After a full stop a step begins with a capital; the reasoning quotes it so.
                for i, mark in enumerate(between):
                    if mark in (". ", "\n"):
                        spoken[i + 1] = spoken[i + 1][0].upper() + spoken[i + 1][1:]
            user = start + spoken[0] + "".join(b + s for b, s in zip(between, spoken[1:])) + "."

        def oracle():
            v = None
            for i, (step, phrase) in enumerate(zip(steps, spoken), 1):
                kind, mark = step[1], f"{i}: {phrase}"
                if kind == "key":
                    v = yield mark, "kv_get", {"key": step[2]}
                elif kind == "file":
                    v = yield mark, "read_file", {"path": step[2]}
                elif kind == "literal":
                    v = yield mark, "calc", {"expression": f"{v} {step[2]} {step[3]}"}
                elif kind == "operand":
                    y = yield mark + ": get", "kv_get", {"key": step[3]}
                    v = yield mark + ": calc", "calc", {"expression": f"{v} {step[2]} {y}"}
                elif kind == "convert":
                    v = yield mark, "convert", {"value": v, "from": step[2], "to": step[3]}
                elif kind == "put":
                    yield mark, "kv_put", {"key": step[2], "value": v}
                else:
                    yield mark, "write_file", {"path": step[2], "content": v}
            return "done", f"Done. The result is {v}.", [v]
        return Task("plan", f"plan{len(steps)}", user, sorted(set(need)), oracle, notes, files)

    # ------------------------------------------------------------------ something is not there
    def recover(self):
        r, draw = self.r, self.names.draw
        q = r.random()
        if q < 0.25:
            n = draw()

            def oracle():
                yield "get", "kv_get", {"key": n}
                return "no such key", f"There is no key {n}.", ["no key", n]
            return Task("recover", "no_key", self.say("get", n=n), ["kv_get"], oracle)
        if q < 0.32:
            d = self.folder()

            def oracle():
                yield "list", "list_files", {"path": d}
                return "no such folder", f"There is no folder {d}.", ["no folder", d]
            return Task("recover", "no_folder", self.say("list", d=d), ["list_files"], oracle)
        if q < 0.38:
            a = number(r)

            def oracle():
                yield "calc", "calc", {"expression": f"{a} / 0"}
                return "no result", "That cannot be calculated.", ["cannot"]
            return Task("recover", "no_result", self.say("div", a=a, b=0), ["calc"], oracle)
        d = self.folder()
        stem, ext = draw(), r.sample(EXTENSIONS, 2)
        bad, good = f"{d}/{stem}.{ext[0]}", f"{d}/{stem}.{ext[1]}"
        files = {self.names.path(folder=d): self.text(0, 1) for _ in range(r.choice((1, 1, 2, 2, 3, 4)))}
        lost = r.random() < (0.2 if self.plain else 0.3)
        gone = lost and r.random() < 0.5
        if gone:
            files = {}
        elif not lost:
            files[good] = self.text(0, 2)

        def oracle():
            yield "read", "read_file", {"path": bad}
            x = yield "not found, list " + d, "list_files", {"path": d}
            if good not in files:
                return "not there", f"There is no file {bad}.", ["no file", bad]
            x = yield "found " + good, "read_file", {"path": good}
            return "done", f"{bad} does not exist, but {good} says: {x}", [x]
        return Task("recover", "no_file" if lost else "other_ending", self.say("read", p=bad),
                    ["read_file", "list_files"], oracle, files=files)

    # ------------------------------------------------------------------ facts said earlier
    def note(self):
        n, k = self.names.draw(), self.r.choice(KINDS)
        v = str(self.r.randint(10, 99999) if self.r.random() < 0.3 else self.r.randint(1000, 99999))
        self.facts.append((k, n, v))

        def oracle():
            return "note", f"Noted: the {k} of {n} is {v}.", [v]
            yield
        return Task("note", "note", self.say("note", k=k, n=n, v=v), [], oracle)

    def recall(self, fact=None):
        if fact is None:
            fact = self.facts.pop(self.r.randrange(len(self.facts)))
        k, n, v = fact
        if self.r.random() < 0.6:
            def oracle():
                return "recall", f"The {k} of {n} is {v}.", [v]
                yield
            return Task("recall", "ask", self.say("ask", k=k, n=n), [], oracle)
        c = self.names.draw()

        def oracle():
            yield f"recall: the {k} of {n} is {v}", "kv_put", {"key": c, "value": v}
            return "done", f"Stored {v} under {c}.", [v]
        return Task("recall", "ask_put", self.say("ask_put", k=k, n=n, c=c), ["kv_put"], oracle)

    # ------------------------------------------------------------------ no tool helps
    def notool(self):
        r = self.r
        q = r.random()
        if q < (0.25 if self.plain else 0.45) and not self.held_phrases:
            text, answer = r.choice(GREETINGS)

            def oracle():
                return "no tool", answer, [answer]
                yield
            return Task("notool", "greeting", text, [], oracle)

        def oracle():
            return "no tool", "Sorry, I have no tool for that.", ["no tool"]
            yield
        if q < 0.75:
            user = self.say("refuse", n=self.names.draw(), v=number(r), p=self.names.path())
            return Task("notool", "refuse", user, [], oracle)
        task = self.single()
        return Task("notool", "missing_tool", task.user, [], oracle, task.notes, task.files, absent=task.need)


FAMILIES = ["single", "chain", "plan", "recover", "recall", "notool"]


class Unfit(Exception):
    """A tool failed where the oracle did not expect it (a number out of a plugin's range): the task is thrown away."""


def run_oracle(tools, world, task):
    """Runs the oracle against the plugins: ([(reasoning, tool, args, result)], (reasoning, answer, must))."""
    steps, gen = [], task.oracle()
    try:
        reasoning, tool, args = next(gen)
        while True:
            result = tools.call(world, tool, args)
            if result.startswith("error:") and task.family != "recover":
                raise Unfit(result)
            steps.append((reasoning, tool, args, result))
            reasoning, tool, args = gen.send(result)
    except StopIteration as end:
        return steps, end.value
