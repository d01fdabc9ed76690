"""Task success by running trajectories greedily, without a grammar. `python3 evaluate.py CHECKPOINT|FOLDER ...`

Each user message is one run: the history before it is rendered as the chat template does (reasoning dropped), the
model's own tokens go on from there. A task counts if notes and files equal the oracle's at the end and the answer holds
the required strings. A folder is an exported model: it is read back from its safetensors, rounding included.
"""
import argparse
import json
import random
import time
from collections import Counter, defaultdict
from pathlib import Path

import torch

import chat
from bpe import Tokenizer
from data import Source
from eval_tasks import tasks as make_tasks
from model import Config, Pico
from world import Tools, World

MAX_NEW, MAX_CALLS = 120, 12


def load(path, tokenizer=None):
    """A model and its tokenizer from an exported folder or a training checkpoint (its averaged weights)."""
    path = Path(path)
    if path.is_dir():
        from export import read_folder
        return read_folder(path), Tokenizer(path / "tokenizer.json")
    saved = torch.load(path, weights_only=False)
    model = Pico(Config(**saved["config"]))
    model.load_state_dict(saved["model"])
    model.load_state_dict(saved["ema"], strict=False)
    return model.eval(), Tokenizer(tokenizer)


def encode(tokenizer, pieces):
    return [i for text, _ in pieces for i in tokenizer.encode(text)]


class Run:
    """One user message of one task, from the rendered history to the final answer."""

    def __init__(self, row, text, tokenizer, thinking):
        self.row = row
        self.prompt = chat.THINK_ON if thinking else chat.THINK_OFF
        self.queue = (row["history"] + encode(tokenizer, chat.user(text)) + tokenizer.encode(self.prompt))[::-1]
        self.text, self.steps, self.generated, self.answer, self.problem = text, [], [], None, None

    @property
    def over(self):
        return self.answer is not None or self.problem is not None


@torch.no_grad()
def advance(model, tokenizer, tools, runs, thinking):
    states, active = model.new_states(), list(runs)
    following = [run.queue.pop() for run in active]
    while active:
        h = model.step(torch.tensor(following), states)
        wanted = [i for i, run in enumerate(active) if not run.queue and not run.over]
        picked = dict(zip(wanted, model.logits(h[wanted]).argmax(-1).tolist())) if wanted else {}
        following = []
        for i, run in enumerate(active):
            if run.over:
                following.append(0)
            elif run.queue:
                following.append(run.queue.pop())
            else:
                following.append(picked[i])
                run.generated.append(picked[i])
                if picked[i] == tokenizer.end or len(run.generated) > MAX_NEW:
                    message(tokenizer, tools, run, picked[i] == tokenizer.end)
        live = [i for i, run in enumerate(active) if not run.over]
        if len(live) < 0.75 * len(active):
            index = torch.tensor(live, dtype=torch.long)
            active, following = [active[i] for i in live], [following[i] for i in live]
            for st in states:
                for key in st:
                    st[key] = st[key][index]


def message(tokenizer, tools, run, ended):
    """An assistant message is complete (or too long): run its call or take it as the answer."""
    if not ended:
        run.problem = "endless"
        return
    text = tokenizer.decode(run.generated[:-1])
    run.generated = []
    reasoning, mark, body = text.partition("</think>\n")
    if not mark:
        reasoning, body = "", text
    if run.prompt == chat.THINK_ON and not mark:
        run.problem = "reasoning"
        return
    call = chat.parse_call(body)
    if call is None:
        if "<tool_call>" in body or "<function" in body:
            run.problem = "format"
        else:
            run.answer = body
            run.steps.append((reasoning, None, None, body))
        return
    if len(run.steps) >= MAX_CALLS:
        run.problem = "loop"
        return
    result = tools.call(run.row["world"], *call)
    run.steps.append((reasoning, *call, result))
    run.queue = (tokenizer.encode("\n") + encode(tokenizer, chat.tool_response(result)) +
                 tokenizer.encode(run.prompt))[::-1]


def history(tokenizer, run, thinking):
    """The exchange as it stands once a new user message has come."""
    out = encode(tokenizer, chat.user(run.text))
    for _, tool, args, result in run.steps:
        out += tokenizer.encode(chat.THINK_OFF)
        if tool is None:
            out += tokenizer.encode("\n") if thinking else []
            out += tokenizer.encode(result + chat.END) + tokenizer.encode("\n")
        else:
            out += tokenizer.encode("\n") + tokenizer.encode(chat.call_text(tool, args) + chat.END)
            out += tokenizer.encode("\n") + encode(tokenizer, chat.tool_response(result))
    return out


def evaluate(model, tokenizer, tasks, thinking=True, seed=1, all_tools=True):
    """Adds `ok`, `fail`, `trace` and `context` (tokens) to each task."""
    tools, rng = Tools(), random.Random(seed)
    for task in tasks:
        names = sorted(tools.specs)
        if not all_tools:
            need = {c[0] for c in task["expect_calls"]}
            names = [n for n in names if n in need or rng.random() < 0.5]
            rng.shuffle(names)
        task["world"] = World(task["notes"], task["files"])
        task["history"] = tokenizer.encode(chat.system(chat.SYSTEM_TEXT, [tools.specs[n] for n in names]))
        task["trace"] = []
    for turn in range(max(len(t["earlier"]) for t in tasks) + 1):
        runs = []
        for task in tasks:
            texts = [*task["earlier"], task["user"]]
            if turn < len(texts):
                runs.append(Run(task, texts[turn], tokenizer, thinking))
        advance(model, tokenizer, tools, runs, thinking)
        for run in runs:
            task = run.row
            task["trace"].append([run.text, run.steps, run.problem])
            task["context"] = len(task["history"])
            task["history"] = task["history"] + history(tokenizer, run, thinking)
            if turn == len(task["earlier"]):
                task["run"] = run
    for task in tasks:
        run, world = task.pop("run"), task.pop("world")
        good_state = world.notes == task["expect_notes"] and world.files == task["expect_files"]
        task["ok"] = run.problem is None and good_state and all(m in run.answer for m in task["must"])
        task["exact"] = task["ok"] and run.answer == task["expect_answer"]
        task["fail"] = None if task["ok"] else run.problem or ("answer" if good_state else "state")
        task.pop("history")
    return tasks


def report(tasks, title):
    by = defaultdict(list)
    for task in tasks:
        by[task["family"]].append(task["ok"])
    rates = {f: round(100 * sum(v) / len(v), 1) for f, v in by.items()}
    out = {"what": title, "n": len(tasks), "all": round(100 * sum(t["ok"] for t in tasks) / len(tasks), 1), **rates,
           "failures": dict(Counter(f"{t['family']}:{t['intent']}:{t['fail']}" for t in tasks
                                    if not t["ok"]).most_common(8))}
    print(json.dumps(out), flush=True)
    return out


@torch.no_grad()
def drafts(model, tokenizer, count=40, depth=3, seed=11):
    """Share of positions in assistant text where the MTP module's first k drafts are all what was said, k = 1..depth."""
    source, hits, seen = Source(tokenizer, seed), [0] * depth, [0] * depth
    for _ in range(count):
        sample = source.conversation()
        ids = torch.tensor([sample.ids])
        said = torch.tensor([sample.weight]) > 0
        length = ids.shape[1] - depth - 1
        state, cache, following = model.hidden(ids)[:, :length], [], ids[:, 1:1 + length]
        right = inside = torch.ones(1, length, dtype=torch.bool)
        for k in range(depth):
            state = model.mtp(model.embed(following), state, cache)
            following = model.logits(state).argmax(-1)
            inside = inside & said[:, 2 + k:2 + k + length]
            right = right & (following == ids[:, 2 + k:2 + k + length])
            hits[k] += int((right & inside).sum())
            seen[k] += int(inside.sum())
    out = {"what": "drafts", "all_right": [round(h / max(1, n), 3) for h, n in zip(hits, seen)]}
    print(json.dumps(out), flush=True)
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("model")
    p.add_argument("--tokenizer", help="tokenizer.json, for a training checkpoint")
    p.add_argument("--per-family", type=int, default=100)
    p.add_argument("--seed", type=int, default=20261123)
    p.add_argument("--what", default="known,held,off,subset", help="which of known, held, off, subset, long, drafts")
    p.add_argument("--show", type=int, default=0, help="failed trajectories to print of each")
    p.add_argument("--threads", type=int, default=1)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    model, tokenizer = load(a.model, a.tokenizer)
    for what in a.what.split(","):
        begin = time.time()
        if what == "drafts":
            drafts(model, tokenizer)
            continue
        if what == "long":
            tasks = make_tasks(max(10, a.per_family // 2), a.seed, False, 1400, ["recall"])
        else:
            tasks = make_tasks(a.per_family, a.seed, what == "held")
        evaluate(model, tokenizer, tasks, thinking=what != "off", all_tools=what != "subset")
        report(tasks, what)
        recall = [t for t in tasks if t["family"] == "recall"]
        if recall:
            near = [t["ok"] for t in recall if t["context"] <= 512]
            print(json.dumps({"recall_within_512": round(100 * sum(near) / max(1, len(near)), 1), "n": len(near),
                              "mean_context": round(sum(t["context"] for t in recall) / len(recall)),
                              "seconds": round(time.time() - begin)}), flush=True)
        for task in [t for t in tasks if not t["ok"]][:a.show]:
            print(json.dumps({k: task[k] for k in ("id", "intent", "fail", "user", "expect_calls", "expect_answer")}),
                  json.dumps(task["trace"][-1][1:]), flush=True)


if __name__ == "__main__":
    main()
