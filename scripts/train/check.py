"""Checks of the training code that need no trained model. `python3 check.py [TOKENIZER.json]`; silent end means right."""
import hashlib
import json
import random
import sys
from pathlib import Path

import jinja2
import torch

import chat
from bpe import Tokenizer, boilerplate
from data import Source
from evaluate import Run, advance, history
from model import Config, Pico, scan_chunked
from tasks import FAMILIES
from world import Tools, World


def template():
    env = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    env.filters["tojson"] = lambda v: json.dumps(v, ensure_ascii=False)
    return env.from_string(Path(__file__).with_name("chat_template.jinja").read_text())


def check_layout():
    assert len(chat.INSTRUCTIONS.encode()) == 817
    digest = hashlib.sha256(chat.INSTRUCTIONS.encode()).hexdigest()
    assert digest == "c618bf70de036a3337fbf9cfaf7171d7b700d3e116d61b6f4a40511e1ab4e25b", digest
    minimal = chat.system("", []) + "".join(t for t, _ in chat.user("Hi")) + chat.THINK_ON
    assert minimal == "<|im_start|>system\n<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n"
    add = {"name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {
        "a": {"type": "integer", "description": "left"}, "unit": {"type": "string", "enum": ["x", "y"], "default": "x"}},
        "required": ["a"]}}
    full = chat.system("S", [add]) + "".join(t for t, _ in chat.user("U")) + chat.THINK_ON
    assert len(full.encode()) == 1307, len(full.encode())
    assert '<enum>["x", "y"]</enum>\n<default>x</default>\n</parameter>\n<required>["a"]</required>\n</parameters>' in full
    t = template()
    hi = [{"role": "user", "content": "Hi"}]
    assert t.render(messages=hi, add_generation_prompt=True) == minimal
    said = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]
    assert t.render(messages=said, tools=[add], add_generation_prompt=True) == full
    # A tool loop that is going on, and the same once a new user message has come.
    loop = [{"role": "user", "content": "U1"},
            {"role": "assistant", "content": "", "reasoning_content": "R1",
             "tool_calls": [{"function": {"name": "add", "arguments": {"a": 2, "flag": True, "l": [1, "é"]}}}]},
            {"role": "tool", "content": "T1"}, {"role": "tool", "content": "T2"},
            {"role": "assistant", "content": "A1", "reasoning_content": "R2"}]
    call = ("<tool_call>\n<function=add>\n<parameter=a>\n2\n</parameter>\n<parameter=flag>\nTrue\n</parameter>\n"
            "<parameter=l>\n[1, \"é\"]\n</parameter>\n</function>\n</tool_call>\n<|im_end|>\n")
    reply = ("<|im_start|>user\n<tool_response>\nT1\n</tool_response>\n<tool_response>\nT2\n</tool_response>\n<|im_end|>\n"
             "<|im_start|>assistant\n")
    now = t.render(messages=loop)
    assert now.endswith("<|im_start|>assistant\n<think>\nR1\n</think>\n" + call + reply +
                        "<think>\nR2\n</think>\nA1<|im_end|>\n"), now
    later = t.render(messages=loop + [{"role": "user", "content": "U2"}])
    assert "<|im_start|>assistant\n<think></think>\n" + call + reply + "<think></think>\nA1<|im_end|>\n" in later, later


def check_samples(tokenizer):
    """Every sample is text of the layout; the evaluation's history of a run has the ids that training shows."""
    source = Source(tokenizer, 5)
    t = template()
    for family in FAMILIES * 3:
        sample = source.conversation(family)
        text = tokenizer.decode(sample.ids)
        assert tokenizer.encode(text) == sample.ids or "\n\n" in text, text
        turns, rest = [], text.split("<|im_start|>")[1:]
        head = rest.pop(0)
        for part in rest:
            role, _, body = part.partition("\n")
            assert body.endswith("<|im_end|>\n"), part
            turns.append((role, body[:-len("<|im_end|>\n")]))
        assert head.startswith("system\n") and turns[0][0] == "user" and turns[-1][0] == "assistant"
        messages = []
        for role, body in turns:
            if role == "user" and body.startswith("<tool_response>"):
                messages.append({"role": "tool", "content": body[len("<tool_response>\n"):-len("\n</tool_response>\n")]})
            elif role == "user":
                messages.append({"role": "user", "content": body})
            else:
                reasoning, _, said = body.partition("</think>")
                entry = {"role": "assistant", "content": said}
                if reasoning.strip() != "<think>":
                    entry.update(reasoning_content=reasoning[len("<think>\n"):-1], content=said[1:])
                call = chat.parse_call(said)
                if call:
                    entry.update(content="" if "reasoning_content" in entry else "\n",
                                 tool_calls=[{"function": {"name": call[0], "arguments": call[1]}}])
                elif "reasoning_content" not in entry:
                    entry["content"] = "<think></think>" + said
                messages.append(entry)
        body = t.render(messages=messages, truncate_history_thinking=False)
        body = body[body.index("<|im_end|>\n") + len("<|im_end|>\n"):]
        ours = text[text.index("<|im_end|>\n") + len("<|im_end|>\n"):]
        assert body == ours, f"{body}\n----\n{ours}"
    for token in boilerplate(Tools()):
        assert len(tokenizer.encode(token)) == 1, token
        assert not any(c in token for c in chat.CONTROL), token


def check_model():
    torch.manual_seed(0)
    n, length, heads, width, groups, size = 2, 150, 4, 8, 2, 6
    x, dt, a = torch.randn(n, length, heads, width), torch.rand(n, length, heads), -torch.rand(heads) * 8
    b, c = torch.randn(n, length, groups, size), torch.randn(n, length, groups, size)
    y, last = scan_chunked(x, dt, a, b, c, 64)
    state, want = torch.zeros(n, heads, width, size).double(), []
    for t in range(length):
        bt, ct = (v[:, t].repeat_interleave(heads // groups, 1).double() for v in (b, c))
        state = state * (dt[:, t].double() * a).exp()[..., None, None] + \
            (dt[:, t].double()[..., None] * x[:, t])[..., None] * bt[:, :, None]
        want.append((state @ ct[..., None])[..., 0])
    assert (torch.stack(want, 1) - y).abs().max() < 1e-3 and (state - last).abs().max() < 1e-4
    model = Pico(Config(vocab=96)).eval()
    ids = torch.randint(0, 96, (2, 100))
    with torch.no_grad():
        full, states = model.hidden(ids), model.new_states()
        steps = torch.stack([model.step(ids[:, t], states) for t in range(100)], 1)
    assert (full - steps).abs().max() < 1e-3, (full - steps).abs().max()


def check_oracle_tokens(tokenizer):
    """Evaluation feeds the tokens that training showed: replaying an oracle's text gives the same prefix."""
    tools, rng = Tools(), random.Random(3)
    del rng
    run = Run({"history": [], "world": World()}, "Note: the PIN of kodu is 481.", tokenizer, True)
    run.steps = [("note", None, None, "Noted: the PIN of kodu is 481.")]
    text = tokenizer.decode(history(tokenizer, run, True))
    assert text == ("<|im_start|>user\nNote: the PIN of kodu is 481.<|im_end|>\n<|im_start|>assistant\n<think></think>\n"
                    "Noted: the PIN of kodu is 481.<|im_end|>\n"), text
    model = Pico(Config(vocab=tokenizer.size)).eval()
    advance(model, tokenizer, tools, [run], True)
    assert run.over


if __name__ == "__main__":
    default = Path(__file__).resolve().parents[2] / "model" / "pico" / "tokenizer.json"
    tokenizer = Tokenizer(sys.argv[1] if len(sys.argv) > 1 else default)
    check_layout()
    check_samples(tokenizer)
    check_model()
    check_oracle_tokens(tokenizer)
