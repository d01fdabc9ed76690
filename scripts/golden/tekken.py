"""Writes a Hugging Face tokenizer.json of the family's vocabulary from the Tekken ranks in the package mistral-common.

    python3 tekken.py OUT.json [--ranks N] [--special N]

Ids 0..999 are special slots, id 1000 + rank is the token of that rank; `ignore_merges` is true and the split pattern is
Tekken's. The merges are rebuilt from the ranks: every way to cut a token into two tokens of lower rank is a merge, in
the order of the result's rank and then of the parts', as converters from ranks to merges do. With --ranks only the
first N ranks are taken, with --special only so many special slots (a small vocabulary of the same make, for tests that
are always on: tests/golden/model/tokenizer/tekken_small.json is --ranks 2500 --special 24).
"""

import argparse
import base64
import json
from pathlib import Path

NAMES = {0: "<unk>", 1: "<s>", 2: "</s>", 3: "[INST]", 4: "[/INST]", 5: "[AVAILABLE_TOOLS]", 6: "[/AVAILABLE_TOOLS]",
         7: "[TOOL_RESULTS]", 8: "[/TOOL_RESULTS]", 9: "[TOOL_CALLS]", 10: "<|im_start|>", 11: "<|im_end|>",
         12: "<think>", 13: "</think>", 14: "<tool_call>", 15: "</tool_call>", 16: "<tool_response>",
         17: "</tool_response>"}


def byte_alphabet():
    keep = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table, extra = {}, 0
    for byte in range(256):
        if byte in keep:
            table[byte] = chr(byte)
        else:
            table[byte] = chr(256 + extra)
            extra += 1
    return table


def build(n_ranks=None, n_special=1000):
    import mistral_common
    path = Path(mistral_common.__file__).parent / "data" / "tekken_240718.json"
    source = json.loads(path.read_text())
    n_ranks = n_ranks or source["config"]["default_vocab_size"] - n_special
    alphabet = byte_alphabet()
    ranks = {base64.b64decode(entry["token_bytes"]): entry["rank"] for entry in source["vocab"][:n_ranks]}
    assert sorted(ranks.values()) == list(range(n_ranks))

    def spell(data):
        return "".join(alphabet[b] for b in data)

    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if len(token) == 1:
            continue
        ways = []
        for cut in range(1, len(token)):
            left, right = ranks.get(token[:cut]), ranks.get(token[cut:])
            if left is not None and right is not None:
                ways.append((left, right, cut))
        merges += [[spell(token[:cut]), spell(token[cut:])] for _, _, cut in sorted(ways)]
    vocab = {NAMES.get(i, f"<SPECIAL_{i}>"): i for i in range(n_special)}
    vocab.update({spell(token): n_special + rank for token, rank in ranks.items()})
    added = [{"id": i, "content": NAMES.get(i, f"<SPECIAL_{i}>"), "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": True} for i in range(n_special)]
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": source["config"]["pattern"]}, "behavior": "Isolated",
             "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]},
        "post_processor": {"type": "TemplateProcessing",
                           "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                                      {"Sequence": {"id": "A", "type_id": 0}}],
                           "pair": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                                    {"SpecialToken": {"id": "<s>", "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}],
                           "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": True,
                  "vocab": vocab, "merges": merges},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--ranks", type=int)
    parser.add_argument("--special", type=int, default=1000)
    args = parser.parse_args()
    result = build(args.ranks, args.special)
    Path(args.out).write_text(json.dumps(result, ensure_ascii=False) + "\n")
    print(f"{len(result['model']['vocab'])} tokens, {len(result['model']['merges'])} merges")
