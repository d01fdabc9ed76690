"""Training samples: drills and conversations as token ids with the weight of each token in the loss."""
import random

import chat
import names as naming
from names import number
from tasks import FAMILIES, Maker, Unfit, run_oracle
from world import Tools, World

PAST_WEIGHT = 0.4  # assistant tokens of exchanges before the current one, where they equal what is emitted without thinking
POINTER_WEIGHT = 2.0  # reasoning before a call: which step comes next is the hardest choice
MIX = {"single": 0.22, "chain": 0.13, "plan": 0.28, "recover": 0.09, "recall": 0.20, "notool": 0.08}


class Sample:
    def __init__(self, tokenizer):
        self.tokenizer, self.ids, self.weight = tokenizer, [], []

    def add(self, text, weight=0.0):
        ids = self.tokenizer.encode(text)
        self.ids += ids
        self.weight += [weight] * len(ids)

    def pieces(self, pieces):
        for text, _ in pieces:
            self.add(text)

    def exchange(self, user, steps, final, thinking, past):
        """One exchange; past ones in a thinking conversation stand as the template re-renders them: reasoning dropped."""
        self.pieces(chat.user(user))
        weight = PAST_WEIGHT if past and thinking else 1.0
        show = thinking and not past
        for reasoning, tool, args, result in steps:
            self.add(chat.THINK_ON if show else chat.THINK_OFF)
            if show:
                self.add(reasoning, POINTER_WEIGHT * weight)
                self.add("\n</think>\n" + chat.call_text(tool, args) + chat.END, weight)
            else:
                self.add("\n", 0.0 if past and thinking else weight)
                self.add(chat.call_text(tool, args) + chat.END, weight)
            self.add("\n")
            self.pieces(chat.tool_response(result))
        reasoning, answer, _ = final
        self.add(chat.THINK_ON if show else chat.THINK_OFF)
        if show:
            self.add(f"{reasoning}\n</think>\n{answer}" + chat.END, weight)
        else:
            if past and thinking:
                self.add("\n")
            self.add(answer + chat.END, weight)
        self.add("\n")


class Source:
    def __init__(self, tokenizer, seed, mix=None, off_share=0.25):
        self.r = random.Random(seed)
        self.tokenizer, self.tools, self.mix, self.off_share = tokenizer, Tools(), dict(mix or MIX), off_share
        naming.pieces = tokenizer.name_pieces()

    # ------------------------------------------------------------------ conversations
    def declared(self, need, absent):
        """A random subset and order of the tools, always with those needed and never with those ruled out."""
        r = self.r
        names = [t for t in self.tools.specs if t not in absent]
        if r.random() < 0.4:
            keep = set(r.sample(names, r.randint(1, len(names))))
            names = [t for t in names if t in keep or t in need]
        r.shuffle(names)
        return names

    def plan_exchanges(self, maker, count, family=None):
        """Tasks of one conversation, the last of family `family`. Notes come before what asks for them."""
        r = self.r
        family = family or r.choices(list(self.mix), list(self.mix.values()))[0]
        out = []
        if family == "recall":
            last_fact = None
            for _ in range(r.choice((1, 2, 3, 3, 4, 5))):
                out.append(maker.note())
            last_fact = maker.facts.pop(r.randrange(len(maker.facts)))
            # Distractors between, before and after: other tasks, often short ones.
            for _ in range(r.choice((0, 0, 1, 1, 2, 3))):
                other = maker.make(r.choice(("single", "single", "chain", "recover"))) if r.random() < 0.8 else maker.note()
                out.insert(r.randint(0, len(out)), other)
            out.append(maker.recall(last_fact))
            if r.random() < 0.15:
                out = out[:r.randint(1, len(out))]
            return out
        for _ in range(count - 1):
            q = r.random()
            if q < 0.2:
                out.append(maker.note())
            elif q < 0.4 and maker.facts:
                out.append(maker.recall())
            else:
                out.append(maker.make(r.choices(["single", "chain", "plan", "recover", "notool"],
                                                [.45, .2, .15, .12, .08])[0]))
        out.append(maker.note() if r.random() < 0.03 else maker.make(family))
        return out

    def conversation(self, family=None):
        r = self.r
        while True:
            maker = Maker(r)
            tasks = self.plan_exchanges(maker, r.choice((1, 1, 1, 1, 1, 2, 2, 3, 4)), family)
            absent = {t for task in tasks for t in task.absent}
            need = {t for task in tasks for t in task.need if not task.absent}
            if absent & need:
                continue
            notes, files = {}, {}
            for task in tasks:
                notes.update(task.notes)
                files.update(task.files)
            for _ in range(r.choice((0, 0, 1, 2))):
                notes[maker.names.draw()] = str(number(r))
            now = f"20{r.randint(24, 31)}-{r.randint(1, 12):02}-{r.randint(1, 28):02} " \
                  f"{r.randint(0, 23):02}:{r.randint(0, 59):02}:{r.randint(0, 59):02}"
            world = World(notes, files, now)
            sample = Sample(self.tokenizer)
            text = chat.SYSTEM_TEXT if r.random() < 0.85 else ""
            sample.add(chat.system(text, [self.tools.specs[t] for t in self.declared(need, absent)]))
            thinking = r.random() >= self.off_share
            try:
                for i, task in enumerate(tasks):
                    steps, final = run_oracle(self.tools, world, task)
                    sample.exchange(task.user, steps, final, thinking, past=i + 1 < len(tasks))
            except Unfit:
                continue
            return sample

    # ------------------------------------------------------------------ drills: short, dense copying
    def item(self, maker):
        r = self.r
        q = r.random()
        if q < 0.45:
            return maker.names.draw()
        if q < 0.70:
            return str(number(r))
        if q < 0.88:
            return maker.names.path()
        if q < 0.95:
            return maker.expression()
        return "".join(chr(r.choice((*range(65, 91), *range(97, 123), 95, 45, 46, *range(48, 58))))
                       for _ in range(r.randint(2, 8)))

    def drill(self, length, shares=(0.5, 0.3)):
        """A conversation without tools of about `length` tokens: repeating, looking up in a list, notes, single tools."""
        r = self.r
        sample = Sample(self.tokenizer)
        sample.add(chat.system("", []))
        world = World(now="2027-04-09 16:25:38")
        while len(sample.ids) < length:
            maker = Maker(r)
            q = r.random()
            if q < shares[0]:
                text = " ".join(self.item(maker) for _ in range(r.randint(1, 6)))
                sample.exchange("Repeat: " + text, [], ("repeat", text, []), r.random() < 0.3, False)
            elif q < shares[0] + shares[1] * 0.4:
                keys = [maker.names.draw() for _ in range(r.randint(2, 5))]
                values = [str(number(r)) for _ in keys]
                i, mark = r.randrange(len(keys)), r.choice((" = ", " is ", ": "))
                text = ", ".join(k + mark + v for k, v in zip(keys, values)) + f". {keys[i]}?"
                sample.exchange(text, [], ("recall", values[i], []), r.random() < 0.3, False)
            elif q < shares[0] + shares[1]:
                for task in [maker.note() for _ in range(r.randint(1, 4))] + [maker.recall() for _ in range(2)
                                                                             if maker.facts][:len(maker.facts)]:
                    steps, final = run_oracle(self.tools, world, task)
                    sample.exchange(task.user, steps, final, True, task.family == "note" and r.random() < 0.5)
            else:
                try:
                    task = maker.make(r.choices(["single", "chain", "plan"], [.6, .2, .2])[0])
                    world.notes.update(task.notes)
                    world.files.update(task.files)
                    steps, final = run_oracle(self.tools, world, task)
                    sample.exchange(task.user, steps, final, r.random() < 0.7, False)
                except Unfit:
                    continue
        return sample

    def recall_long(self, low, high):
        """A recall conversation of at least `low` tokens, cut off at none: distractors fill it up to about `high`."""
        r = self.r
        while True:
            maker = Maker(r)
            target = r.randint(low, high - 120)
            tasks, size = [maker.note() for _ in range(r.randint(1, 4))], 60
            fact = maker.facts.pop(r.randrange(len(maker.facts)))
            while size < target:
                if r.random() < 0.45:
                    tasks.append(maker.note())
                    size += 40
                else:
                    task = maker.make(r.choice(("single", "single", "chain", "plan", "recover")))
                    tasks.append(task)
                    size += 60 + 25 * len(task.need)
            r.shuffle(tasks)
            tasks.append(maker.recall(fact))
            notes, files = {}, {}
            for task in tasks:
                notes.update(task.notes)
                files.update(task.files)
            world, sample = World(notes, files, "2028-02-03 04:05:06"), Sample(self.tokenizer)
            names = list(self.tools.specs)
            r.shuffle(names)
            sample.add(chat.system(chat.SYSTEM_TEXT, [self.tools.specs[t] for t in names]))
            try:
                for i, task in enumerate(tasks):
                    steps, final = run_oracle(self.tools, world, task)
                    sample.exchange(task.user, steps, final, True, past=i + 1 < len(tasks))
            except Unfit:
                continue
            if len(sample.ids) <= high:
                return sample
