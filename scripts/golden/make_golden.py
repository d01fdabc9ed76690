#!/usr/bin/env python3
"""Makes tests/golden/model: tiny random checkpoints of the family in the published on-disk layout, and what Hugging
Face transformers computes from them.

    python3 -m pip install -r scripts/golden/requirements.txt
    python3 scripts/golden/make_golden.py [--out tests/golden/model]

The reference is a full forward pass in fp32 with the plain PyTorch code (no kernels, eager attention), also for BF16
checkpoints: their weights are exact in fp32. One fault of the reference is patched out, and the script fails if
the patch no longer changes anything: transformers clamps dt from below at time_step_min, a value for
initialisation; the published models are trained and served without that clamp (transformers PR 48989).

transformers ignores the MTP tensors, so `mtp_oracle` computes that module in plain PyTorch from its published
structure. It is written for reading: no cache, no batch, every row attends to all rows before it.
"""
import argparse
import json
import math
import shutil
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import DynamicCache, NemotronHForCausalLM

BASE = dict(
    architectures=["NemotronHForCausalLM"], model_type="nemotron_h", vocab_size=128, hidden_size=48,
    mamba_num_heads=4, mamba_head_dim=16, ssm_state_size=16, n_groups=2, conv_kernel=4, chunk_size=16, expand=2,
    mamba_hidden_act="silu", mamba_proj_bias=False, use_bias=False, use_conv_bias=True,
    time_step_min=0.001, time_step_max=0.1, time_step_floor=0.0001, mamba_ssm_cache_dtype="float32",
    num_attention_heads=4, num_key_value_heads=2, head_dim=16, attention_bias=False, rope_theta=10000,
    partial_rotary_factor=1.0, sliding_window=None, intermediate_size=80, mlp_hidden_act="relu2", mlp_bias=False,
    n_routed_experts=8, num_experts_per_tok=3, moe_intermediate_size=32, n_shared_experts=1,
    moe_shared_expert_intermediate_size=64, n_group=1, topk_group=1, norm_topk_prob=True, routed_scaling_factor=2.5,
    layer_norm_epsilon=1e-5, norm_eps=1e-5, residual_in_fp32=False, tie_word_embeddings=False,
    max_position_embeddings=262144, bos_token_id=1, eos_token_id=2, pad_token_id=0, initializer_range=0.02,
    rescale_prenorm_residual=True, hidden_dropout=0.0, num_logits_to_keep=1, use_mamba_kernels=True, use_cache=True,
)
LETTERS = {"M": "mamba", "E": "moe", "*": "attention", "-": "mlp"}


def pattern(letters):
    return dict(hybrid_override_pattern=letters, num_hidden_layers=len(letters))


def block_list(letters):
    return dict(layers_block_type=[LETTERS[c] for c in letters])


CASES = {
    # Nano: no latent, no MTP. 140 tokens: over a page of 128.
    "nano_f32": dict(schedule="MEM*E", dtype=torch.float32, n_tokens=140, config=pattern("MEM*E")),
    "nano_bf16": dict(schedule="ME*M", dtype=torch.bfloat16, n_tokens=60, config=pattern("ME*M")),
    # Super: latent experts, MTP by pattern, a bare Infinity in the config, two shards.
    "super_bf16": dict(
        schedule="MEM*E", mtp="*E", dtype=torch.bfloat16, n_tokens=60, shards=2,
        config=dict(pattern("MEM*E"), mtp_hybrid_override_pattern="*E", num_nextn_predict_layers=1,
                    moe_latent_size=24, routed_scaling_factor=5.0, time_step_limit=[0.0, math.inf],
                    moe_shared_expert_overlap=False)),
    # Ultra: layer lists, no depth, latent, MTP.
    "ultra_f32": dict(
        schedule="ME*ME", mtp="*E", dtype=torch.float32, n_tokens=60,
        config=dict(block_list("ME*ME"), mtp_layers_block_type=["attention", "moe"], num_nextn_predict_layers=1,
                    moe_latent_size=24, routed_scaling_factor=5.0, time_step_limit=[0.0, 1e308],
                    moe_shared_expert_overlap=False)),
    # The older bases: dense MLPs, other head sizes, 24 states (no multiple of 16 lanes).
    "dense_f32": dict(
        schedule="M-M*-", dtype=torch.float32, n_tokens=50,
        config=dict(pattern("M-M*-"), mamba_head_dim=20, ssm_state_size=24, num_key_value_heads=1, head_dim=24)),
    # Router groups: none is published with more than one; the general rule is tested all the same.
    "groups_f32": dict(schedule="ME*", dtype=torch.float32, n_tokens=40,
                       config=dict(pattern("ME*"), n_group=4, topk_group=2)),
}


def tensor_shapes(schedule, mtp, c):
    """Every tensor's name on disk and shape."""
    d, heads, inner = c["hidden_size"], c["mamba_num_heads"], c["mamba_num_heads"] * c["mamba_head_dim"]
    channels = inner + 2 * c["n_groups"] * c["ssm_state_size"]
    q, kv = c["num_attention_heads"] * c["head_dim"], c["num_key_value_heads"] * c["head_dim"]
    io = c.get("moe_latent_size") or d
    shapes = {"backbone.embeddings.weight": (c["vocab_size"], d), "backbone.norm_f.weight": (d,),
              "lm_head.weight": (c["vocab_size"], d)}

    def mixer(at, kind):
        shapes[at + "norm.weight"] = (d,)
        at += "mixer."
        if kind == "M":
            shapes.update({at + "in_proj.weight": (inner + channels + heads, d),
                           at + "conv1d.weight": (channels, 1, c["conv_kernel"]), at + "conv1d.bias": (channels,),
                           at + "A_log": (heads,), at + "D": (heads,), at + "dt_bias": (heads,),
                           at + "norm.weight": (inner,), at + "out_proj.weight": (d, inner)})
        elif kind == "*":
            shapes.update({at + "q_proj.weight": (q, d), at + "k_proj.weight": (kv, d),
                           at + "v_proj.weight": (kv, d), at + "o_proj.weight": (d, q)})
        elif kind == "-":
            shapes.update({at + "up_proj.weight": (c["intermediate_size"], d),
                           at + "down_proj.weight": (d, c["intermediate_size"])})
        else:
            shapes[at + "gate.weight"] = (c["n_routed_experts"], d)
            shapes[at + "gate.e_score_correction_bias"] = (c["n_routed_experts"],)
            for e in range(c["n_routed_experts"]):
                shapes[f"{at}experts.{e}.up_proj.weight"] = (c["moe_intermediate_size"], io)
                shapes[f"{at}experts.{e}.down_proj.weight"] = (io, c["moe_intermediate_size"])
            shared = c["moe_shared_expert_intermediate_size"]
            shapes[at + "shared_experts.up_proj.weight"] = (shared, d)
            shapes[at + "shared_experts.down_proj.weight"] = (d, shared)
            if c.get("moe_latent_size"):
                shapes[at + "fc1_latent_proj.weight"] = (io, d)
                shapes[at + "fc2_latent_proj.weight"] = (d, io)

    for i, kind in enumerate(schedule):
        mixer(f"backbone.layers.{i}.", kind)
    for i, kind in enumerate(mtp):
        mixer(f"mtp.layers.{i}.", kind)
    if mtp:
        shapes.update({"mtp.layers.0.enorm.weight": (d,), "mtp.layers.0.hnorm.weight": (d,),
                       "mtp.layers.0.eh_proj.weight": (d, 2 * d),
                       f"mtp.layers.{len(mtp) - 1}.final_layernorm.weight": (d,)})
    return shapes


def random_weights(shapes, dtype, generator):
    """Values that exercise every path: some dt far below time_step_min, biases that reorder experts."""
    weights = {}
    for name, shape in sorted(shapes.items()):
        w = torch.randn(shape, generator=generator)
        u = torch.rand(shape, generator=generator)
        if name.endswith("A_log"):
            w = torch.log(1 + 15 * u)
        elif name.endswith("dt_bias"):
            dt = torch.exp(math.log(1e-4) + u * math.log(1.0 / 1e-4))
            w = dt + torch.log(-torch.expm1(-dt))  # the inverse of softplus
        elif name.endswith(".D") or name.endswith("norm.weight") or name.endswith("norm_f.weight"):
            w = 1 + 0.2 * w
        elif name.endswith("e_score_correction_bias"):
            weights[name] = 0.2 * w  # F32 in every published checkpoint
            continue
        elif name.endswith("conv1d.weight"):
            w = 0.5 * w
        elif name.endswith("bias"):
            w = 0.1 * w
        elif not name.endswith("embeddings.weight"):
            w = w / math.sqrt(shape[-1])
            if name.endswith("lm_head.weight"):
                w = 2 * w
        weights[name] = w.to(dtype)
    return weights


def write_checkpoint(folder, config, dtype, weights, n_shards):
    folder.mkdir(parents=True)
    full = dict(BASE, **config, torch_dtype=str(dtype).removeprefix("torch."), transformers_version="4.57.6")
    # json.dumps writes a bare Infinity, as the published Super config has it.
    (folder / "config.json").write_text(json.dumps(full, indent=1) + "\n")
    (folder / "generation_config.json").write_text(
        json.dumps(dict(bos_token_id=1, eos_token_id=[2, 11], pad_token_id=0)) + "\n")
    names = sorted(weights)
    if n_shards == 1:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return full
    where = {}
    for shard in range(n_shards):
        part = names[shard * len(names) // n_shards:(shard + 1) * len(names) // n_shards]
        file = f"model-{shard + 1:05d}-of-{n_shards:05d}.safetensors"
        save_file({name: weights[name] for name in part}, folder / file, metadata={"format": "pt"})
        where.update({name: file for name in part})
    total = sum(w.numel() * w.element_size() for w in weights.values())
    (folder / "model.safetensors.index.json").write_text(
        json.dumps(dict(metadata=dict(total_size=total), weight_map=where)) + "\n")
    return full


def reference(folder, schedule, tokens, clamp=False):
    model, info = NemotronHForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager",
                                                       output_loading_info=True)
    model.eval()
    assert not info["missing_keys"] and not info["mismatched_keys"], info
    assert all(name.startswith("mtp.") for name in info["unexpected_keys"]), info
    for layer in model.model.layers:
        if hasattr(layer.mixer, "time_step_limit") and not clamp:
            layer.mixer.time_step_limit = (0.0, math.inf)
    cache = DynamicCache(config=model.config)
    with torch.no_grad():
        hidden = model.model(input_ids=tokens[None], past_key_values=cache, use_cache=True).last_hidden_state
        logits = model.lm_head(hidden)
    out = dict(logits=logits[0], hidden=hidden[0])
    n_mamba = n_attention = 0
    for i, kind in enumerate(schedule):
        if kind == "M":
            out[f"ssm.{n_mamba}"] = cache.layers[i].recurrent_states[0][0]
            # transformers keeps four columns, the current one included; the last three are what a next step needs.
            out[f"conv.{n_mamba}"] = cache.layers[i].conv_states[0][0][:, -3:].T
            n_mamba += 1
        elif kind == "*":
            out[f"keys.{n_attention}"] = cache.layers[i].keys[0]
            out[f"values.{n_attention}"] = cache.layers[i].values[0]
            n_attention += 1
    return out


def rms_norm(x, weight, eps=1e-5):
    return weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps))


def mtp_oracle(weights, config, ids, hidden):
    """Row i: hidden state i (after norm_f) and the id of token i + 1; gives (o, logits) for token i + 2."""
    w = {name: tensor.float() for name, tensor in weights.items()}
    n_heads, n_kv, head_dim = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
    e = rms_norm(w["backbone.embeddings.weight"][ids], w["mtp.layers.0.enorm.weight"])
    g = rms_norm(hidden, w["mtp.layers.0.hnorm.weight"])
    x = torch.cat([e, g], dim=-1) @ w["mtp.layers.0.eh_proj.weight"].T

    y = rms_norm(x, w["mtp.layers.0.norm.weight"])
    at = "mtp.layers.0.mixer."
    n = len(ids)
    q = (y @ w[at + "q_proj.weight"].T).view(n, n_heads, head_dim)
    k = (y @ w[at + "k_proj.weight"].T).view(n, n_kv, head_dim)
    v = (y @ w[at + "v_proj.weight"].T).view(n, n_kv, head_dim)
    mixed = torch.zeros(n, n_heads, head_dim)
    for head in range(n_heads):
        kv_head = head // (n_heads // n_kv)
        scores = q[:, head] @ k[:, kv_head].T / math.sqrt(head_dim)
        scores = scores.masked_fill(torch.triu(torch.ones(n, n, dtype=torch.bool), 1), -math.inf)
        mixed[:, head] = torch.softmax(scores, dim=-1) @ v[:, kv_head]
    x = x + mixed.reshape(n, -1) @ w[at + "o_proj.weight"].T

    y = rms_norm(x, w["mtp.layers.1.norm.weight"])
    at = "mtp.layers.1.mixer."
    scores = torch.sigmoid(y @ w[at + "gate.weight"].T)
    latent = y @ w[at + "fc1_latent_proj.weight"].T
    routed = torch.zeros_like(latent)
    for row in range(n):
        chosen = torch.topk(scores[row] + w[at + "gate.e_score_correction_bias"], config["num_experts_per_tok"]).indices
        total = scores[row][chosen].sum() + 1e-20
        for expert in chosen.tolist():
            up = F.relu(w[f"{at}experts.{expert}.up_proj.weight"] @ latent[row]).square()
            weight = scores[row][expert] / total * config["routed_scaling_factor"]
            routed[row] += weight * (w[f"{at}experts.{expert}.down_proj.weight"] @ up)
    shared = F.relu(y @ w[at + "shared_experts.up_proj.weight"].T).square() @ w[at + "shared_experts.down_proj.weight"].T
    x = x + routed @ w[at + "fc2_latent_proj.weight"].T + shared
    o = rms_norm(x, w["mtp.layers.1.final_layernorm.weight"])
    return o, o @ w["lm_head.weight"].T


def mtp_golden(weights, config, tokens, result, n_drafts=4):
    _, logits = mtp_oracle(weights, config, tokens[1:], result["hidden"][:-1])
    # Drafting: the guess joins the sequence, with the module's own output in place of a hidden state.
    ids, hidden = tokens[1:].tolist() + [int(result["logits"][-1].argmax())], result["hidden"]
    drafts, rows = [], []
    for _ in range(n_drafts):
        o, guess = mtp_oracle(weights, config, torch.tensor(ids), hidden)
        rows.append(guess[-1])
        drafts.append(int(guess[-1].argmax()))
        ids.append(drafts[-1])
        hidden = torch.cat([hidden, o[-1:]])
    return {"mtp.logits": logits, "mtp.drafts": torch.tensor(drafts, dtype=torch.int32),
            "mtp.draft_logits": torch.stack(rows)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[2] / "tests/golden/model")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    clamp_mattered = False
    for index, (name, case) in enumerate(CASES.items()):
        generator = torch.Generator().manual_seed(20260 + index)
        mtp = case.get("mtp", "")
        weights = random_weights(tensor_shapes(case["schedule"], mtp, dict(BASE, **case["config"])), case["dtype"],
                                 generator)
        folder = out / name
        shutil.rmtree(folder, ignore_errors=True)
        config = write_checkpoint(folder, case["config"], case["dtype"], weights, case.get("shards", 1))
        tokens = torch.randint(0, config["vocab_size"], (case["n_tokens"],), generator=generator)
        result = reference(folder, case["schedule"], tokens)
        clamped = reference(folder, case["schedule"], tokens, clamp=True)["logits"]
        moved = float((clamped - result["logits"]).abs().max() / result["logits"].abs().max())
        clamp_mattered |= moved > 1e-3
        if mtp:
            result.update(mtp_golden(weights, config, tokens, result))
        result["tokens"] = tokens.to(torch.int32)
        save_file({key: value.contiguous() for key, value in result.items()}, folder / "golden.st")
        size = sum(file.stat().st_size for file in folder.iterdir())
        print(f"{name}: {size} bytes, logits up to {float(result['logits'].abs().max()):.2f}, "
              f"the reference's dt clamp would move them by {moved:.1e} of that")
    assert clamp_mattered, "the dt clamp changes nothing: is it gone from transformers? Then drop the patch."


if __name__ == "__main__":
    main()
