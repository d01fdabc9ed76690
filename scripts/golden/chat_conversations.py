"""Renders random conversations with the two oracle templates (chat_nano.jinja, chat_ultra.jinja).

    python3 chat_conversations.py OUT.jsonl [--seed 1] [--bytes 280000]

Environment as Hugging Face's: trim_blocks, lstrip_blocks, tojson without HTML escaping and with non-ASCII kept. The
817-byte instruction block stands as [I] in the output; it is checked by its hash in the C++ test.
"""

import argparse
import json
import random
from pathlib import Path

import jinja2
import jinja2.sandbox

HERE = Path(__file__).parent


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    env.filters["tojson"] = lambda v, **_: json.dumps(v, ensure_ascii=False)
    return env


WORDS = ["file", "naïve", "12", "中文", "x = 1", "😀", "<b>", "don't", "\"q\"", "a\\b", "{k}", "&amp;", "</tool_call>", "<|im_end|>",
         "<tool_response>", "</parameter>", "100%", "[I]nfo", "\u00a0", "tab\there", "two\nlines", "\n\nparagraph"]
BLANKS = ["", "", "", " ", "\n", "\n\n", "  \n", "\t", "\u2003", "\x1f"]
NAMES = ["add", "read_file", "söka", "get weather", "f<1>"]


def text(rng, longest=4, may_be_blank=True):
    if may_be_blank and rng.randrange(8) == 0:
        return rng.choice(BLANKS)
    return rng.choice(BLANKS) + " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, longest))) + rng.choice(BLANKS)


def value(rng, depth=0):
    kind = rng.randrange(11 if depth < 2 else 8)
    if kind < 3:
        return text(rng, 3)
    if kind == 3:
        return rng.choice([0, -7, 2, 10**15, 2**53 + 1, -(2**63)])
    if kind == 4:
        return rng.choice([2.0, 0.1, 1e5, 1e15, 1e16, 123456789012345680.0, 1e22, 1e-4, 1e-5, 1.5e300, -0.0, 3.14159])
    if kind == 5:
        return rng.choice([True, False])
    if kind == 6:
        return None
    if kind == 7:
        return rng.choice(["True", "null", "<think>", "", "é"])
    if kind in (8, 9):
        return [value(rng, depth + 1) for _ in range(rng.randint(0, 3))]
    return {text(rng, 1): value(rng, depth + 1) for _ in range(rng.randint(0, 3))}


def parameter(rng):
    out = {}
    for key in rng.sample(["type", "description", "enum", "default", "minimum", "items", "x-note"], rng.randint(0, 5)):
        if key == "type":
            out[key] = rng.choice(["string", "integer", ["string", "null"], "object"])
        elif key == "description":
            out[key] = text(rng)
        elif key == "enum":
            out[key] = [value(rng, 2) for _ in range(rng.randint(0, 3))]
        else:
            out[key] = value(rng, 1)
    return out


def tool(rng):
    schema = {}
    for key in rng.sample(["type", "properties", "required", "additionalProperties", "$comment"], rng.randint(0, 5)):
        if key == "type":
            schema[key] = "object"
        elif key == "properties":
            schema[key] = {f"p{i}{rng.choice(['', 'ä', '-x'])}": parameter(rng) for i in range(rng.randint(0, 3))}
        elif key == "required":
            schema[key] = [f"p{i}" for i in range(rng.randint(0, 2))]
        else:
            schema[key] = value(rng, 1)
    out = {"name": rng.choice(NAMES), "parameters": schema}
    if rng.randrange(5):
        out["description"] = text(rng)
    if rng.randrange(5) == 0:
        out["strict"] = rng.choice([True, False])
    return {"type": "function", "function": out} if rng.randrange(2) else out


def assistant(rng):
    out = {"role": "assistant", "content": text(rng)}
    kind = rng.randrange(6)
    if kind < 3:
        out["reasoning_content"] = text(rng)
    elif kind == 3:
        out["content"] = rng.choice(["<think>" + text(rng, 2) + "</think>" + text(rng, 2), "a</think>b", "a<think>b",
                                     "</think>x<think>", "<think></think>", "one</think>two</think>three"])
    if rng.randrange(2):
        out["tool_calls"] = []
        for _ in range(rng.randint(1, 2)):
            call = {"name": rng.choice(NAMES), "arguments": {rng.choice("abcdef") + rng.choice(["", "é"]): value(rng)
                                                             for _ in range(rng.randint(0, 3))}}
            out["tool_calls"].append({"id": "1", "type": "function", "function": call} if rng.randrange(2) else call)
    return out


def conversation(rng):
    messages = []
    if rng.randrange(3):
        messages.append({"role": "system", "content": rng.choice(["", "S", text(rng)])})
    for _ in range(rng.randint(0, 6)):
        kind = rng.randrange(10)
        if kind < 3:
            messages.append({"role": "user", "content": text(rng)})
        elif kind < 7:
            messages.append(assistant(rng))
        elif kind < 9:
            messages += [{"role": "tool", "content": text(rng)} for _ in range(rng.randint(1, 3))]
        else:
            messages.append({"role": "system", "content": text(rng)})
    return messages


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bytes", type=int, default=280_000)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    env = environment()
    templates = {name: env.from_string((HERE / f"chat_{name}.jinja").read_text()) for name in ("nano", "ultra")}
    size = count = 0
    with open(args.out, "w") as out:
        while size < args.bytes:
            case = {"messages": conversation(rng), "tools": [tool(rng) for _ in range(rng.choice([0, 0, 0, 1, 2]))],
                    "thinking": rng.randrange(3) > 0, "truncate": rng.randrange(3) > 0, "generate": rng.randrange(4) > 0,
                    "effort": rng.choice(["", "", "low", "efficient"])}
            for name, template in templates.items():
                case[name] = template.render(
                    messages=case["messages"], tools=case["tools"], enable_thinking=case["thinking"],
                    truncate_history_thinking=case["truncate"], add_generation_prompt=case["generate"],
                    effort_text=case["effort"], instructions="[I]")
            if case["ultra"] == case["nano"]:
                del case["ultra"]
            line = json.dumps(case, ensure_ascii=False, separators=(",", ":")) + "\n"
            out.write(line)
            size += len(line.encode())
            count += 1
    print(f"{count} conversations, {size} bytes")


if __name__ == "__main__":
    main()
