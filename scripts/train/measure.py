"""Runs evaluation tasks through the program itself, greedy and under the grammar, and counts what came out right.

    python3 eval_tasks.py tasks.jsonl --per-family 100
    python3 measure.py tasks.jsonl --program ../../build/longhaul [--model DIR] [--failures out.jsonl]

A task is right if the notes and files at the end are exactly the oracle's and the last answer holds the required texts.
Only the standard library is needed.
"""
import argparse
import json
import shutil
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path

SYSTEM = "You are a careful assistant. Use the tools to do what is asked, then answer briefly."
TOOLS = ["calc", "kv_put", "kv_get", "list_files", "read_file", "write_file", "search_files", "convert", "clock"]


def lua(text):
    return '"' + "".join(c if c.isalnum() or c in " ._-/" else "".join(f"\\{b:03d}" for b in c.encode()) for c in text) + '"'


def agent(task):
    notes = ", ".join(f"[{lua(k)}] = {lua(v)}" for k, v in task["notes"].items())
    tools = ", ".join(lua(t) for t in TOOLS)
    return (f"return {{ system = {lua(SYSTEM)}, tools = {{ {tools} }}, notes = {{ {notes} }}, "
            f"limits = {{ turns = 14, message_tokens = 200 }} }}\n")


def run(program, arguments):
    done = subprocess.run([program, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return done.returncode, events, done.stderr


def measure(program, model, task, folder):
    store, files = folder / "store", folder / "files"
    files.mkdir(parents=True)
    for path, text in task["files"].items():
        (files / path).parent.mkdir(parents=True, exist_ok=True)
        (files / path).write_text(text)
    (folder / "agent.lua").write_text(agent(task))
    common = ["--json", "--store", str(store), *(["--model", model] if model else [])]
    messages = [*task["earlier"], task["user"]]
    calls, answer, problem = [], "", None
    for i, message in enumerate(messages):
        arguments = (["run", *common, "--session", "s", "--agent", str(folder / "agent.lua"), "--files", str(files), message]
                     if i == 0 else ["resume", *common, "s", message])
        status, events, error = run(program, arguments)
        calls = [[e["name"], e["arguments"]] for e in events if e["event"] == "tool_call"]
        answer = next((e["text"] for e in events if e["event"] == "answer"), "")
        if status != 0:
            problem = f"exit {status}: {error.strip()[:200]}"
            break
    _, shown, _ = run(program, ["sessions", "show", "--json", "--store", str(store), "s"])
    notes = dict(task["notes"])
    if shown:
        notes.update(shown[0].get("notes") or {})
    left = {str(p.relative_to(files)): p.read_text() for p in sorted(files.rglob("*")) if p.is_file()}
    if problem is None and notes != task["expect_notes"]:
        problem = "notes"
    if problem is None and left != task["expect_files"]:
        problem = "files"
    if problem is None and not all(text in answer for text in task["must"]):
        problem = "answer"
    return problem, {"id": task["id"], "problem": problem, "user": task["user"], "calls": calls, "answer": answer,
                     "must": task["must"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks")
    parser.add_argument("--program", required=True)
    parser.add_argument("--model", default="")
    parser.add_argument("--per-family", type=int, default=0, help="at most this many of each family and kind")
    parser.add_argument("--failures", default="")
    given = parser.parse_args()
    right, total = defaultdict(int), defaultdict(int)
    with open(given.failures, "w") if given.failures else tempfile.TemporaryFile("w") as failures:
        for line in open(given.tasks):
            task = json.loads(line)
            key = (task["phrasings"], task["family"])
            if given.per_family and total[key] >= given.per_family:
                continue
            folder = Path(tempfile.mkdtemp(prefix="longhaul-measure-"))
            try:
                problem, report = measure(given.program, given.model, task, folder)
            finally:
                shutil.rmtree(folder)
            total[key] += 1
            right[key] += problem is None
            if problem is not None:
                failures.write(json.dumps(report) + "\n")
                failures.flush()
    for phrasings in sorted({k[0] for k in total}):
        keys = [k for k in total if k[0] == phrasings]
        for key in keys:
            print(f"{phrasings:6} {key[1]:8} {right[key]:4} of {total[key]:4}  {100 * right[key] / total[key]:5.1f} %")
        r, t = sum(right[k] for k in keys), sum(total[k] for k in keys)
        print(f"{phrasings:6} {'all':8} {r:4} of {t:4}  {100 * r / t:5.1f} %")


if __name__ == "__main__":
    main()
