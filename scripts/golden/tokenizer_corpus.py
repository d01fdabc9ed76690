"""Compares our tokenizer with the `tokenizers` library, id for id, on generated text.

    python3 tokenizer_corpus.py --tool build/tests/tokenizer_lines [--lines 100000] [--seed 1] TOKENIZER.json ...
    python3 tokenizer_corpus.py --tool ... --variants FOLDER SMALL.json     # other patterns, flags and spellings of it
    python3 tokenizer_corpus.py --golden OUT.jsonl SMALL.json [FULL.json]   # what the always-on tests read

Every line goes through encode() (control tokens become their ids) and encode_content() (they are text). For the second
the oracle is the same tokenizer.json without its control tokens. Bytes that are not UTF-8 cannot be given to the
library; for those lines the definition is spelled out here: longest valid runs go to the library one by one, an invalid
run is one pre-token whose bytes are merged by rank, in a loop that is as plain as can be.
"""

import argparse
import base64
import json
import random
import re
import struct
import subprocess
import sys

import tokenizers

ALWAYS_CONTROL = {"<s>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>",
                  "</tool_call>", "<tool_response>", "</tool_response>"}

RANGES = [(0x20, 0x7E), (0xA0, 0x17F), (0x180, 0x24F), (0x250, 0x2FF), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x52F),
          (0x530, 0x58F), (0x590, 0x5FF), (0x600, 0x6FF), (0x700, 0x7FF), (0x800, 0x8FF), (0x900, 0x97F), (0x980, 0xDFF),
          (0xE00, 0xEFF), (0xF00, 0xFFF), (0x1000, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x139F), (0x13A0, 0x18AF),
          (0x1900, 0x1CFF), (0x1D00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x218F), (0x2190, 0x23FF), (0x2400, 0x27BF),
          (0x27C0, 0x2BFF), (0x2C00, 0x2DFF), (0x2E00, 0x303F), (0x3040, 0x30FF), (0x3100, 0x33FF), (0x3400, 0x4DBF),
          (0x4E00, 0x9FFF), (0xA000, 0xA4CF), (0xA4D0, 0xABFF), (0xAC00, 0xD7FF), (0xE000, 0xF8FF), (0xF900, 0xFAFF),
          (0xFB00, 0xFDFF), (0xFE00, 0xFE0F), (0xFE10, 0xFEFF), (0xFF00, 0xFFFF), (0x10000, 0x103FF), (0x10400, 0x10FFF),
          (0x11000, 0x11FFF), (0x12000, 0x16FFF), (0x17000, 0x1B2FF), (0x1BC00, 0x1D1FF), (0x1D200, 0x1D7FF),
          (0x1D800, 0x1EFFF), (0x1F000, 0x1F5FF), (0x1F600, 0x1F64F), (0x1F650, 0x1FAFF), (0x1FB00, 0x1FFFF),
          (0x20000, 0x2A6DF), (0x2A700, 0x33479), (0xE0000, 0xE01EF), (0xF0000, 0xFFFFF), (0x100000, 0x10FFFF)]
BLANKS = [" ", "  ", "   ", "\t", "\n", "\r", "\r\n", "\n\n", "\v", "\f", "\x1c", "\x1f", "\x85", "\u00a0", "\u1680", "\u180e",
          "\u2000", "\u2003", "\u200a", "\u200b", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\ufeff"]
WORDS = """the of and to in is that for it as was with be by on not he his but at are this have from or had an they which
one you were her all their there would we him been has when who will more no if out so said what up its about into than
them can only other time new some could these two may then do first any my now such like our over man even most made
after also did many before must through back years where much your way well down should because each just those people
Nemotron Mamba tokenizer attention quantisation don't I'm we've they'll you'd it's HELLO World camelCase snake_case
XMLHttpRequest naïve façade Straße Ærøskøbing Ελληνικά русский язык українська עברית العربية हिन्दी ไทย 中文 日本語 한국어
ǅungla ﬁnish Ⅷ ½ ² ٣ १२ ㊙ ℵ ª º""".split()
CODE = ["if (x == {n}) {{", "    return self.{w}[{n}:];", "\tfor (int i = 0; i < {n}; ++i)", "def {w}({w}, *args, **kwargs) -> None:",
        "#include <{w}.h>", "SELECT {w} FROM {w} WHERE id = {n};", '{{"{w}": [{n}, null, true], "{w}": "{w}"}}',
        "<div class=\"{w}\">{w}</div>", "https://{w}.example.org/{w}/{n}?q={w}&x={n}#{w}", "$ {w} --{w}={n} | {w} > /dev/null 2>&1",
        "x = {n}.{n}e-{n}; // {w}", "    }}\n  }}\n}}\n", "/* {w} */ #define {w} ({n} << {n})", "\\frac{{{n}}}{{{w}}} \\in \\mathbb{{R}}",
        "{w}::{w}<{w}, {n}>&& {w} = *{w}->{w};", "- [ ] {w}\n- [x] {w}\n\n---\n", "{n}/{n}/{n} {n}:{n}:{n}", "!@#$%^&*()_+-=[]{{}};':\",./<>?"]
EMOJI = ["😀", "👍🏽", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "1️⃣", "❤️", "🧑🏿‍🚀", "☺", "✈︎", "👨‍⚕️", "🫠", "🪿", "\U0001FAE9"]


def character(rng):
    low, high = rng.choice(RANGES)
    return chr(rng.randint(low, high))


def word(rng):
    kind = rng.randrange(8)
    if kind < 4:
        return rng.choice(WORDS)
    if kind == 4:
        return rng.choice(WORDS).upper()
    if kind == 5:
        return rng.choice(WORDS).capitalize() + rng.choice(WORDS).capitalize()
    if kind == 6:
        return "".join(rng.choice("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(rng.randint(1, 14)))
    low, high = rng.choice(RANGES)
    return "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 8)))


def number(rng):
    return str(rng.randrange(10 ** rng.randint(1, 12)))


def piece(rng, names):
    kind = rng.randrange(14)
    if kind < 3:
        return " ".join(word(rng) for _ in range(rng.randint(1, 8))) + rng.choice(["", ".", ", ", "!\n", "?", ":", "…", " —"])
    if kind == 3:
        return re.sub(r"\{(w|n)\}", lambda m: rng.choice(WORDS) if m.group(1) == "w" else number(rng),
                      rng.choice(CODE)).replace("{{", "{").replace("}}", "}")
    if kind == 4:
        return "".join(rng.choice(BLANKS) for _ in range(rng.randint(1, 10)))
    if kind == 5:
        return number(rng) + rng.choice(["", ".", ",", "%", " "]) + number(rng)
    if kind == 6:
        return "".join(rng.choice(EMOJI) for _ in range(rng.randint(1, 4)))
    if kind == 7:
        return "".join(character(rng) for _ in range(rng.randint(1, 12)))
    if kind == 8:
        return rng.choice("aeiou") + "".join(chr(rng.randint(0x300, 0x36F)) for _ in range(rng.randint(1, 5)))
    if kind == 9:
        return "".join(chr(rng.randrange(0x20)) for _ in range(rng.randint(1, 4))) + chr(rng.choice([0x7F, 0x80, 0x9F, 0]))
    if kind == 10:
        return rng.choice(names)
    if kind == 11:
        name = rng.choice(names)
        cut = rng.randrange(len(name) + 1)
        return name[:cut] + rng.choice(["", " ", "x"]) + name[cut:]
    if kind == 12:
        return rng.choice([" ", "a", "A", "0", ".", "\n", "é", "中", "=", "-", "😀", character(rng)]) * rng.randint(1, 60)
    return rng.choice(BLANKS) + word(rng)


def line(rng, names):
    text = "".join(piece(rng, names) for _ in range(rng.randint(1, 5)))
    data = text.encode("utf-8", "surrogatepass")
    if rng.randrange(10) == 0:  # make it invalid
        data = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data) + 1)
            change = rng.randrange(4)
            if change == 0:
                data[at:at] = bytes([rng.randrange(0x80, 0x100)])
            elif change == 1:
                data[at:at] = rng.choice([b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xf0\x9f\x98", b"\xff\xfe"])
            elif change == 2 and at < len(data):
                del data[at]
            elif at < len(data):
                data[at] ^= 0x80
        data = bytes(data)
    return data


class Oracle:
    def __init__(self, path, content):
        source = json.loads(open(path).read())
        if content:
            # Control tokens of the model's vocabulary keep their ids without being listed. Others give their id to a
            # text that does not occur, because the library numbers added tokens itself, one after the other.
            kept = []
            for token in source["added_tokens"]:
                if not (token["special"] or token["content"] in ALWAYS_CONTROL or
                        re.fullmatch(r"<SPECIAL_\d+>", token["content"])):
                    kept.append(token)
                elif token["content"] not in source["model"]["vocab"]:
                    kept.append({**token, "content": f"\U0010fffe\U0010ffff{token['id']}", "normalized": False})
            source["added_tokens"] = kept
        self.inner = tokenizers.Tokenizer.from_str(json.dumps(source, ensure_ascii=False))
        keep = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
        spelled, extra = {}, 0
        for byte in range(256):
            spelled[byte] = chr(byte) if byte in keep else chr(256 + extra)
            extra += byte not in keep
        vocab = source["model"]["vocab"]
        self.byte_ids = [vocab[spelled[b]] for b in range(256)]
        self.rank = {}
        for i, pair in enumerate(source["model"]["merges"]):
            left, right = pair.split(" ") if isinstance(pair, str) else pair
            self.rank[vocab[left], vocab[right]] = (i, vocab[left + right])
        self.whole = {}
        if source["model"].get("ignore_merges"):
            back = {c: b for b, c in spelled.items()}
            for token, i in vocab.items():
                if all(c in back for c in token):
                    self.whole[bytes(back[c] for c in token)] = i

    def invalid_run(self, data):
        if data in self.whole:
            return [self.whole[data]]
        ids = [self.byte_ids[b] for b in data]
        while True:
            best = min(((*self.rank[pair], i) for i, pair in enumerate(zip(ids, ids[1:])) if pair in self.rank),
                       default=None, key=lambda found: (found[0], found[2]))
            if best is None:
                return ids
            ids[best[2]:best[2] + 2] = [best[1]]

    def encode(self, data):
        out = []
        while data:
            try:
                text, rest = data.decode("utf-8"), b""
            except UnicodeDecodeError as error:
                text, rest = data[:error.start].decode("utf-8"), data[error.start:]
            if text:
                out += self.inner.encode(text, add_special_tokens=False).ids
            # What cannot be decoded: bytes that begin no character, one after the other.
            n = 0
            while n < len(rest):
                try:
                    rest[n:].decode("utf-8")
                    break
                except UnicodeDecodeError as error:
                    if error.start > 0:
                        break
                    n += max(1, error.end - error.start)
            if n:
                out += self.invalid_run(rest[:n])
            data = rest[n:]
        return out


def ours(tool, path, content, lines, lossy):
    command = [tool, path] + (["content-lossy" if lossy else "content"] if content else [])
    result = subprocess.run(command, input=b"".join(struct.pack("<I", len(d)) + d for d in lines), stdout=subprocess.PIPE,
                            check=True).stdout
    at, out = 0, []
    for _ in lines:
        (n,) = struct.unpack_from("<I", result, at)
        out.append(list(struct.unpack_from(f"<{n}I", result, at + 4)))
        at += 4 + 4 * n
    assert at == len(result)
    return out


def names_of(path):
    names = [t["content"] for t in json.loads(open(path).read())["added_tokens"]]
    return names[:30] + names[-20:]


def variants(path, folder):
    """The same vocabulary under other settings that files in use have."""
    def write(name, change):
        source = json.loads(open(path).read())
        change(source)
        out = f"{folder}/{name}.json"
        with open(out, "w") as file:
            json.dump(source, file, ensure_ascii=False)
        return out

    def pattern(regex, behavior="Isolated", invert=False):
        def change(source):
            source["model"]["ignore_merges"] = False
            source["pre_tokenizer"]["pretokenizers"][0] = {"type": "Split", "pattern": {"Regex": regex},
                                                           "behavior": behavior, "invert": invert}
        return change

    def gpt2(source):
        source["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
        source["model"]["ignore_merges"] = False
        source["model"]["merges"] = [" ".join(pair) for pair in source["model"]["merges"]]

    def added(source):
        vocab = source["model"]["vocab"]
        last = max(vocab.values())
        flags = ["single_word", "lstrip", "rstrip", "normalized"]
        # No blanks: the library itself ends in a panic where a token swallows the blank that another one is.
        for i, content in enumerate(["the", "of", "{", "=", "é", "e", "中", "->", "x =", "()", "is", "Straße", "_", "not", "a",
                                     "for", "don't", "😀", "½", "0"]):
            fresh = content not in vocab
            last += fresh
            entry = {"id": last if fresh else vocab[content], "content": content, "special": fresh and i % 3 == 0}
            entry.update({flag: bool(i >> bit & 1) for bit, flag in enumerate(flags)})
            source["added_tokens"].append(entry)

    return [
        write("merges", pattern(json.loads(open(path).read())["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"])),
        write("gpt2", gpt2), write("added", added),
        write("cl100k", pattern(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
                                r"|\s*[\r\n]+|\s+(?!\S)|\s+")),
        write("words", pattern(r"\w+|\d|[^\w\s]+|\s+")), write("negated", pattern(r"\W+|\S|\P{L}{2}|\p{^Lu}+|\D")),
        write("removed", pattern(r"\s+", "Removed")), write("kept", pattern(r"\p{L}+|\p{P}+", "Removed", True)),
    ]


def compare(args):
    failed = 0
    if args.variants:
        args.tokenizers = [v for path in args.tokenizers for v in variants(path, args.variants)]
    for path in args.tokenizers:
        rng = random.Random(args.seed)
        names = names_of(path)
        lines = [line(rng, names) for _ in range(args.lines)]
        n_invalid = 0
        for data in lines:
            try:
                data.decode("utf-8")
            except UnicodeDecodeError:
                n_invalid += 1
        for content in (False, True):
            oracle = Oracle(path, content)
            n_ids = n_wrong = 0
            for data, ids in zip(lines, ours(args.tool, path, content, lines, bool(args.variants))):
                expected = oracle.encode(data)
                n_ids += len(expected)
                if ids != expected:
                    n_wrong += 1
                    if n_wrong <= 5:
                        print("  differs:", data, "\n    ours", ids, "\n    theirs", expected)
            failed += n_wrong
            print(f"{path} {'content' if content else 'encode'}: {len(lines)} lines ({n_invalid} not UTF-8), "
                  f"{sum(map(len, lines))} bytes, {n_ids} ids, {n_wrong} lines differ (seed {args.seed})", flush=True)
    return 1 if failed else 0


def packed(ids):
    """Ids as base64 of their base-128 digits, lowest first, the last one of each without the high bit."""
    data = bytearray()
    for i in ids:
        while i >= 128:
            data.append(i & 127 | 128)
            i >>= 7
        data.append(i)
    return base64.b64encode(data).decode()


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def golden(args):
    small = args.tokenizers[0]
    rng = random.Random(args.seed)
    oracles = {"s": Oracle(small, False), "c": Oracle(small, True)}
    if len(args.tokenizers) > 1:
        oracles["f"] = Oracle(args.tokenizers[1], False)
    names = names_of(small)
    size, count = 0, 0
    with open(args.golden, "w") as out:
        # Which tokenizer the ids are of, so that a changed one is told from a wrong id.
        out.write(json.dumps({"fnv1a": fnv1a(open(small, "rb").read())}) + "\n")
        while size < args.bytes:
            data = line(rng, names)
            if len(data) > 160:
                continue
            entry = {"b": base64.b64encode(data).decode()}
            entry.update({key: packed(oracle.encode(data)) for key, oracle in oracles.items()})
            if entry["c"] == entry["s"]:
                del entry["c"]
            text = json.dumps(entry, separators=(",", ":")) + "\n"
            out.write(text)
            size += len(text)
            count += 1
    print(f"{count} lines, {size} bytes")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("tokenizers", nargs="+")
    parser.add_argument("--tool")
    parser.add_argument("--golden")
    parser.add_argument("--variants")
    parser.add_argument("--bytes", type=int, default=200_000)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    sys.exit(golden(arguments) if arguments.golden else compare(arguments))
