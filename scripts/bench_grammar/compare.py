"""Times of `longhaul grammar bench` beside llguidance and xgrammar, over the same schemas and the same tokens.

    python3 compare.py --batch FILE.jsonl --tokenizer DIR [--longhaul build/longhaul] [--rounds 3] [--limit-s 60]
                       [--passes 1]

FILE.jsonl: lines of `longhaul grammar check --batch`. DIR: a folder with tokenizer.json (scripts/golden/tekken.py makes
one of the family's size). Schema by schema the engines take turns, each in its own process: longhaul replays the valid
instances as its tokenizer cuts them and in seeded random cuts, the others replay the same tokens. xgrammar runs with
strict_mode=False, any_whitespace=True, one thread, no cache; llguidance with its defaults. An engine that needs longer
than --limit-s for a schema is stopped there and the schema counts as "timeout". With --passes 2 each engine does a schema
twice in a row, with a new grammar each time, and the second one counts: an engine that compiles for seconds leaves the
next one cold caches. The times of the Python engines have
the cost of an empty call of the same kind taken off. Ratios are over the schemas that all engines compile and whose
tokens they all accept; median over the rounds.
"""

import argparse
import gc
import json
import multiprocessing
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np


class LLGuidance:
    def __init__(self, folder, vocab_size):
        import llguidance
        import llguidance.numpy as mask
        text = (pathlib.Path(folder) / "tokenizer.json").read_text()
        self.lib, self.mask_lib = llguidance, mask
        self.tokenizer = llguidance.LLTokenizer(text)
        self.bits = mask.allocate_token_bitmask(1, vocab_size)

    def compile(self, schema):
        grammar = self.lib.LLMatcher.grammar_from_json_schema(json.dumps(schema))
        matcher = self.lib.LLMatcher(self.tokenizer, grammar)
        if matcher.is_error():
            raise ValueError(matcher.get_error())
        return matcher

    def start(self, compiled):
        return compiled.deep_copy()

    def mask(self, matcher):
        self.mask_lib.fill_next_token_bitmask(matcher, self.bits, 0)

    def accept(self, matcher, token):
        return matcher.consume_token(token)

    def back(self, matcher, n):
        matcher.rollback(n)

    def nothing(self, matcher):
        matcher.is_error()


class XGrammar:
    def __init__(self, folder, vocab_size):
        import xgrammar
        source = json.loads((pathlib.Path(folder) / "tokenizer.json").read_text())
        keep = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
        table, extra = {}, 0
        for byte in range(256):
            table[chr(byte) if byte in keep else chr(256 + extra)] = byte
            extra += byte not in keep
        special = {entry["id"] for entry in source["added_tokens"] if entry["special"]}
        vocab = [b""] * vocab_size
        for text, token in source["model"]["vocab"].items():
            vocab[token] = text.encode() if token in special else bytes(table[c] for c in text)
        names = {entry["content"]: entry["id"] for entry in source["added_tokens"]}
        stop = [names[name] for name in ("<|im_end|>", "</s>") if name in names][:1]
        self.lib = xgrammar
        self.info = xgrammar.TokenizerInfo(vocab, vocab_type=xgrammar.VocabType.RAW, vocab_size=vocab_size,
                                           stop_token_ids=stop)
        self.compiler = xgrammar.GrammarCompiler(self.info, max_threads=1, cache_enabled=False)
        self.bits = xgrammar.allocate_token_bitmask(1, vocab_size)

    def compile(self, schema):
        return self.compiler.compile_json_schema(json.dumps(schema), any_whitespace=True, strict_mode=False)

    def start(self, compiled):
        return self.lib.GrammarMatcher(compiled, max_rollback_tokens=16)

    def mask(self, matcher):
        matcher.fill_next_token_bitmask(self.bits)

    def accept(self, matcher, token):
        return matcher.accept_token(token)

    def back(self, matcher, n):
        matcher.rollback(n)

    def nothing(self, matcher):
        matcher.is_terminated()


ENGINES = {"llguidance": LLGuidance, "xgrammar": XGrammar}


def serve(name, folder, vocab_size, pipe):
    engine = ENGINES[name](folder, vocab_size)
    clock = time.perf_counter_ns
    gc.disable()
    pipe.send("ready")
    while True:
        try:
            schema, replays = pipe.recv()
        except EOFError:
            return
        answer = {"status": "ok", "mask": [], "accept": [], "back": []}
        try:
            begin = clock()
            compiled = engine.compile(schema)
            answer["compile"] = (clock() - begin) / 1000
            base = []
            matcher = engine.start(compiled)
            for _ in range(100):
                begin = clock()
                engine.nothing(matcher)
                base.append(clock() - begin)
            base = statistics.median(base)
            for tokens in replays:
                matcher = engine.start(compiled)
                for i, token in enumerate(tokens):
                    begin = clock()
                    engine.mask(matcher)
                    middle = clock()
                    ok = engine.accept(matcher, token)
                    end = clock()
                    answer["mask"].append(max(0, middle - begin - base) / 1000)
                    answer["accept"].append(max(0, end - middle - base) / 1000)
                    if not ok:
                        raise ValueError(f"refuses token {token} at {i} of a valid instance")
                if len(tokens) > 8:
                    begin = clock()
                    engine.back(matcher, 8)
                    answer["back"].append(max(0, clock() - begin - base) / 1000)
        except Exception as error:  # the library's own, of many types
            answer = {"status": "refused" if "compile" not in answer else "wrong", "reason": str(error)[:200]}
        pipe.send(answer)


class Worker:
    def __init__(self, name, folder, vocab_size, limit_s):
        self.arguments, self.limit_s = (name, folder, vocab_size), limit_s
        self.start()

    def start(self):
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=serve, args=(*self.arguments, other), daemon=True)
        self.process.start()
        other.close()
        self.pipe.recv()

    def run(self, schema, replays):
        self.pipe.send((schema, replays))
        try:
            if self.pipe.poll(self.limit_s):
                return self.pipe.recv()
            status = "timeout"
        except EOFError:
            status = "crash"
        self.process.kill()
        self.process.join()
        self.start()
        return {"status": status}


class Longhaul:
    def __init__(self, program, folder, seed, n_random):
        self.replays = tempfile.NamedTemporaryFile("r", suffix=".jsonl")
        self.process = subprocess.Popen(
            [program, "grammar", "bench", "--json", "--batch", "-", "--tokenizer", folder, "--replays",
             self.replays.name, "--seed", str(seed), "--random", str(n_random)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        row = json.loads(self.process.stdout.readline())
        rows = [json.loads(text) for text in self.replays]
        if row["status"] != "ok":
            return {"status": row["status"], "reason": row.get("reason")}, []
        answer = {"status": "ok", "compile": row["compile_us"], "mask": [], "accept": [], "back": [],
                  "bytes": row["table_bytes"] + row["mask_bytes"]}
        for one in rows:
            answer["mask"] += one["mask_us"][:-1]
            answer["accept"] += one["accept_us"]
        return answer, [one["tokens"] for one in rows]

    def close(self):
        self.process.stdin.close()
        return json.loads(self.process.stdout.readline())["summary"]


def points(values):
    if not values:
        return dict.fromkeys(("p50", "p99", "p99.9", "max", "mean"), float("nan"))
    return {"p50": float(np.percentile(values, 50)), "p99": float(np.percentile(values, 99)),
            "p99.9": float(np.percentile(values, 99.9)), "max": max(values), "mean": float(np.mean(values))}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--longhaul", default="build/longhaul")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit-s", type=float, default=60)
    parser.add_argument("--random", type=int, default=3)
    parser.add_argument("--passes", type=int, default=1)
    parser.add_argument("--engines", default="llguidance,xgrammar")
    arguments = parser.parse_args()
    lines = [line for line in pathlib.Path(arguments.batch).read_text().splitlines() if line.strip()]
    source = json.loads((pathlib.Path(arguments.tokenizer) / "tokenizer.json").read_text())
    vocab_size = 1 + max([*source["model"]["vocab"].values(), *(a["id"] for a in source["added_tokens"])])
    names = [name for name in arguments.engines.split(",") if name]
    workers = {name: Worker(name, arguments.tokenizer, vocab_size, arguments.limit_s) for name in names}
    status = {name: {} for name in ["longhaul", *names]}
    rounds = []
    given_up = {name: set() for name in names}
    for round_number in range(arguments.rounds):
        ours = Longhaul(arguments.longhaul, arguments.tokenizer, round_number + 1, arguments.random)
        results = {name: {} for name in ["longhaul", *names]}
        for number, line in enumerate(lines):
            schema = json.loads(line)["schema"]
            for _ in range(arguments.passes):
                results["longhaul"][number], replays = ours.run(line)
            for name in names:
                if number in given_up[name]:
                    continue
                for _ in range(arguments.passes):
                    results[name][number] = workers[name].run(schema, replays)
                    if results[name][number]["status"] in ("timeout", "crash"):
                        given_up[name].add(number)
                        break
            for name in results:
                if number in results[name]:
                    status[name].setdefault(number, results[name][number]["status"])
        summary = ours.close()
        rounds.append(results)
        print(f"round {round_number + 1} of {arguments.rounds} done", file=sys.stderr)
    for name in status:
        counts = {}
        for value in status[name].values():
            counts[value] = counts.get(value, 0) + 1
        print(f"{name}: {counts}")
    common = [number for number in range(len(lines))
              if all(status[name].get(number) == "ok" for name in status)
              and all(r[name].get(number, {"status": ""})["status"] == "ok" for r in rounds for name in r)]
    print(f"{len(common)} of {len(lines)} schemas taken by all; vocabulary of {vocab_size}; microseconds, ratios to "
          "longhaul in brackets")
    for kind in ("compile", "mask", "accept", "back"):
        table = {}
        for name in status:
            per_round = []
            for results in rounds:
                values = []
                for number in common:
                    value = results[name][number][kind]
                    values += value if isinstance(value, list) else [value]
                per_round.append(points(values))
            table[name] = {key: statistics.median(p[key] for p in per_round) for key in per_round[0]}
        if kind == "back":
            table["longhaul"] = {"p50": summary["rollback_us"]["p50"], "p99": summary["rollback_us"]["p99"],
                                 "p99.9": summary["rollback_us"]["p999"], "max": summary["rollback_us"]["max"],
                                 "mean": summary["rollback_us"]["mean"]}
        for name, values in table.items():
            cells = []
            for key, value in values.items():
                cell = f"{key} {value:.3f}"
                if name != "longhaul" and table["longhaul"][key] > 0:
                    cell += f" ({value / table['longhaul'][key]:.1f}x)"
                cells.append(cell)
            print(f"{kind:8} {name:12} " + "  ".join(cells))


if __name__ == "__main__":
    main()
