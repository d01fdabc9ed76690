"""Writes unseen evaluation tasks as JSON lines, one task a line. `python3 eval_tasks.py OUT.jsonl [--per-family N]`

Names are held out in all of them; with `"phrasings": "held"` the phrasings are too. A line has: id, family, intent,
phrasings, notes and files (what is there before), earlier (user messages before the one that counts, in their order),
user, expect_notes and expect_files (what must be there at the end, exactly), must (strings the last answer must
contain). The system text is the default agent's and all plugins are declared. Tasks that need the clock or a missing
tool are left out: their outcome depends on the time or on the agent.
"""
import argparse
import json
import random

from names import number
from tasks import FAMILIES, Maker, Unfit, run_oracle
from world import Tools, World


def recall_turns(rng, maker, tokens, count_tokens):
    """Turns before a recall: three facts first, then other turns until about `tokens` tokens lie behind them."""
    tasks = [maker.note() for _ in range(3)]
    fact = maker.facts.pop(rng.randrange(len(maker.facts)))
    size = sum(count_tokens(t) for t in tasks)
    while True:
        if rng.random() < 0.45:
            task = maker.note()
        else:
            task = maker.make(rng.choice(("single", "single", "chain")))
        if {"clock"} & set(task.need):
            continue
        size += count_tokens(task)
        if size > tokens:
            break
        tasks.append(task)
    return tasks, fact


def make(rng, tools, family, held_phrases, recall_tokens):
    while True:
        maker = Maker(rng, held_names=True, held_phrases=held_phrases, plain=True)
        earlier = []
        if family == "recall":
            def count(task):
                return 45 if not task.need else 50 + 30 * len(task.need)
            earlier, fact = recall_turns(rng, maker, rng.randint(recall_tokens // 4, recall_tokens), count)
            task = maker.recall(fact)
        else:
            task = maker.make(family)
        if "clock" in task.need or task.absent:
            continue
        notes, files = {}, {}
        for t in [*earlier, task]:
            notes.update(t.notes)
            files.update(t.files)
        for _ in range(rng.choice((0, 1, 2, 3))):
            notes.setdefault(maker.names.draw(), str(number(rng)))
        world = World(notes, files)
        try:
            for t in earlier:
                run_oracle(tools, world, t)
            steps, (_, answer, must) = run_oracle(tools, world, task)
        except Unfit:
            continue
        return {"family": family, "intent": task.intent, "phrasings": "held" if held_phrases else "known",
                "notes": notes, "files": files, "earlier": [t.user for t in earlier], "user": task.user,
                "expect_notes": world.notes, "expect_files": world.files, "must": must,
                "expect_calls": [[s[1], s[2]] for s in steps], "expect_answer": answer}


def tasks(per_family, seed, held_phrases, recall_tokens=420, families=FAMILIES):
    tools, out = Tools(), []
    for family in families:
        rng = random.Random(f"{seed}/{family}/{held_phrases}/{recall_tokens}")
        for i in range(per_family):
            task = make(rng, tools, family, held_phrases, recall_tokens)
            out.append({"id": f"{family}-{'held' if held_phrases else 'known'}-{i}", **task})
    return out


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("out")
    p.add_argument("--per-family", type=int, default=100)
    p.add_argument("--seed", type=int, default=20261123)
    a = p.parse_args()
    with open(a.out, "w") as out:
        for held in (False, True):
            for task in tasks(a.per_family, a.seed, held):
                out.write(json.dumps(task, ensure_ascii=False) + "\n")
