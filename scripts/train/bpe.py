"""Trains the byte-level BPE and writes it as tokenizer.json. `python3 bpe.py OUT.json`

Rules: digits stand alone; a space is never glued to a name (so that a name has the same tokens wherever it stands),
only to the closed-class words of the phrasings; the constant parts of the chat layout, up to whole tool declarations,
are added tokens; every piece of a name is trained on as something to copy.
"""
import json
import random
import re
import sys
from collections import Counter

import tokenizers

import chat
import phrases
from names import DIRS, WORDS
from tasks import FAMILIES, KINDS, PAIRS, Maker, Unfit, run_oracle
from world import Tools, World

VOCAB = 896
REASONING = "get store calc read list write convert search clock done add subtract multiply not found no such key tool " \
            "folder recall note matches there result".split()


def byte_alphabet():
    """The printable stand-in of each byte, as byte-level BPE files spell it."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, extra = {}, 0
    for b in range(256):
        if b in keep:
            table[b] = chr(b)
        else:
            table[b] = chr(256 + extra)
            extra += 1
    return table


ALPHABET = byte_alphabet()


def spell(text):
    return "".join(ALPHABET[b] for b in text.encode())


def boilerplate(tools):
    """Texts that are one token each. No token spans a control token, nor a place where a model has a choice to make."""
    first, _, rest = chat.INSTRUCTIONS.partition("<tool_call>")
    example, _, rest = rest.partition("</tool_call>")
    reminder, _, rest = rest.partition("<tool_call>")
    out = [chat.SYSTEM_TEXT, chat.HEADER, "\n</tools>" + first, example, reminder, rest[len("</tool_call>"):],
           "system\n", "user\n", "assistant\n", "\n<function=", ">\n<parameter=", "\n</parameter>\n", "</function>\n",
           "\n</parameter>\n</function>\n", "\n</parameter>\n<parameter=",
           "\n<function>\n<name>", "</name>\n<description>", "</description>\n<parameters>", "\n<parameter>\n<name>",
           "</name>\n<type>string</type>\n</parameter>", "</name>\n<type>number</type>\n</parameter>",
           "\n<additionalProperties>False</additionalProperties>", "\n<required>", "</required>\n</parameters>",
           "\n</parameters>", "\n</function>"]
    for name, spec in tools.specs.items():
        out.append(chat.declaration(spec))
        params = list(spec["parameters"].get("properties", {}))
        out.append(f"{name}>\n<parameter={params[0]}>\n" if params else f"{name}>\n</function>\n")
        out += [f"\n</parameter>\n<parameter={p}>\n" for p in params[1:]]
    return list(dict.fromkeys(out))


def corpus(seed, count):
    """Texts of users, results and answers of `count` tasks, for the merges."""
    rng, tools = random.Random(seed), Tools()
    for _ in range(count):
        maker = Maker(rng, plain=True)
        for _ in range(3):
            note = maker.note()
            yield note.user
        task = maker.make(rng.choice(FAMILIES))
        world = World(task.notes, task.files, "2026-05-17 08:41:36")
        try:
            steps, (reasoning, answer, _) = run_oracle(tools, world, task)
        except Unfit:
            continue
        yield task.user
        for step in steps:
            yield from (step[0], *step[2].values(), step[3])
        yield answer


def merges_for(texts, split, known, count):
    """The usual greedy pair merging over pre-tokens that are not tokens already."""
    freq = Counter()
    for text in texts:
        freq.update(w for w in split.findall(text) if w not in known and not w.isdigit())
    words = [(list(spell(w)), n) for w, n in freq.items()]
    merges, have = [], set()
    while len(have) < count:
        pairs = Counter()
        for word, n in words:
            for pair in zip(word, word[1:]):
                pairs[pair] += n
        if not pairs:
            break
        (a, b), n = max(pairs.items(), key=lambda item: (item[1], item[0]))
        if n < 15:
            break
        merges.append((a, b))
        have.add(a + b)
        for word, _ in words:
            i = 0
            while i + 1 < len(word):
                if word[i] == a and word[i + 1] == b:
                    word[i:i + 2] = [a + b]
                i += 1
    return merges


def build(seed=1, vocab=VOCAB):
    tools = Tools()
    added = boilerplate(tools)
    glued = [w for w, n in sorted(phrases.words().items(), key=lambda item: (-item[1], item[0]))]
    glued = sorted(set(glued) | set("found matches key in the of is under with stored written contains file folder but "
                                    "not exist does says cannot that result no such there".split()))
    glued = [w for w in glued if w not in WORDS and w not in DIRS]  # a name has the same tokens wherever it stands
    alone = set(REASONING) | set(KINDS) | {u for pair in PAIRS for u in pair}
    for lines in phrases.P.values():
        for line in lines[:-phrases.HELD]:
            alone.update(re.findall(r"^[A-Z][a-z]+", line))
            alone.update(re.findall(r"^[a-z]+(?= )", line))
    alone |= {"Stored", "Found", "Files", "Wrote", "Done", "Noted", "There", "No", "Sorry", "ok", "error", "Then"}
    whole = [" " + w for w in glued + sorted((set(KINDS) - set(WORDS)) | {u for pair in PAIRS for u in pair})] + sorted(alone) + ["\n\n"]
    whole = list(dict.fromkeys(w for w in whole if len(w) > 1))
    pattern = (r" (?:" + "|".join(sorted({w[1:] for w in whole if w[0] == " "}, key=lambda w: (-len(w), w))) +
               r")(?![A-Za-z0-9_/])|[A-Za-z]+|[0-9]|[ ]+|\n+|[^A-Za-z0-9 \n]")
    table = list(chat.CONTROL) + [ALPHABET[b] for b in range(256)] + [spell(w) for w in whole]
    room = vocab - len(table) - len(added)
    merges = merges_for(corpus(seed, 6000), re.compile(pattern), set(whole), room)
    for a, b in merges:
        if a + b not in table:
            table.append(a + b)
    while len(table) + len(added) < vocab:  # spare ids, never produced
        table.append(f"<spare_{len(table)}>")
    table = table[:vocab - len(added)]
    ids = {t: i for i, t in enumerate(table)}
    merges = [(a, b) for a, b in merges if a + b in ids]
    entry = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    tokens = [{"id": i, "content": t, **entry, "special": True} for i, t in enumerate(chat.CONTROL)]
    tokens += [{"id": len(table) + i, "content": t, **entry, "special": False} for i, t in enumerate(added)]
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": tokens, "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": True,
                  "vocab": ids, "merges": [list(m) for m in merges]},
    }


class Tokenizer:
    """The exported tokenizer.json behind a cache of pieces; encode gives ids."""

    def __init__(self, path):
        self.inner = tokenizers.Tokenizer.from_file(str(path))
        self.cache = {}
        self.size = self.inner.get_vocab_size()
        self.end = self.inner.token_to_id(chat.END)

    def encode(self, text):
        ids = self.cache.get(text)
        if ids is None:
            ids = self.inner.encode(text, add_special_tokens=False).ids
            if len(self.cache) > 20000:
                self.cache.clear()
            self.cache[text] = ids
        return ids

    def decode(self, ids):
        return self.inner.decode(ids, skip_special_tokens=False)

    def name_pieces(self):
        """Lower-case letter tokens: what names are glued from."""
        return sorted(t for t in self.inner.get_vocab() if t.isascii() and t.isalpha() and t.islower() and len(t) < 8)


if __name__ == "__main__":
    with open(sys.argv[1], "w") as out:
        json.dump(build(), out, ensure_ascii=False, indent=1)
        out.write("\n")
