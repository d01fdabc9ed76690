"""Writes a training checkpoint as a Hugging Face folder of the family. `python3 export.py CHECKPOINT TOKENIZER OUT`

The averaged weights are used. The input embedding takes the factor that training applies to it, so the folder is a plain
Nemotron 3 checkpoint; matrices and vectors are BF16 (or F32 with --dtype float32), the router's choice bias is F32.
"""
import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import chat
from bpe import Tokenizer, boilerplate
from model import Config, LatentMoE, Pico
from world import Tools

TEMPLATE = Path(__file__).with_name("chat_template.jinja")
MIXER = {
    "M": [("in_proj.weight", "in_proj.weight"), ("out_proj.weight", "out_proj.weight"), ("conv_bias", "conv1d.bias"),
          ("dt_bias", "dt_bias"), ("A_log", "A_log"), ("D", "D"), ("norm.weight", "norm.weight")],
    "*": [(f"{x}_proj.weight", f"{x}_proj.weight") for x in "qkvo"],
    "E": [("gate.weight", "gate.weight"), ("e_score_correction_bias", "gate.e_score_correction_bias"),
          ("shared_up.weight", "shared_experts.up_proj.weight"),
          ("shared_down.weight", "shared_experts.down_proj.weight"),
          ("fc1_latent_proj.weight", "fc1_latent_proj.weight"), ("fc2_latent_proj.weight", "fc2_latent_proj.weight")],
}


def stack_names(pattern, ours, theirs, experts):
    """Pairs (name here, name in the checkpoint, expert or None) of a layer stack."""
    for i, kind in enumerate(pattern):
        yield f"{ours}.norms.{i}.weight", f"{theirs}.{i}.norm.weight", None
        for a, b in MIXER[kind]:
            yield f"{ours}.mixers.{i}.{a}", f"{theirs}.{i}.mixer.{b}", None
        if kind == "M":
            yield f"{ours}.mixers.{i}.conv_weight", f"{theirs}.{i}.mixer.conv1d.weight", None
        if kind == "E":
            for e in range(experts):
                yield f"{ours}.mixers.{i}.up", f"{theirs}.{i}.mixer.experts.{e}.up_proj.weight", e
                yield f"{ours}.mixers.{i}.down", f"{theirs}.{i}.mixer.experts.{e}.down_proj.weight", e


def all_names(cfg):
    yield from stack_names(cfg.pattern, "body", "backbone.layers", cfg.experts)
    yield "norm_f.weight", "backbone.norm_f.weight", None
    yield from stack_names(cfg.mtp_pattern, "mtp.stack", "mtp.layers", cfg.experts)
    last = len(cfg.mtp_pattern) - 1
    yield "mtp.enorm.weight", "mtp.layers.0.enorm.weight", None
    yield "mtp.hnorm.weight", "mtp.layers.0.hnorm.weight", None
    yield "mtp.eh_proj.weight", "mtp.layers.0.eh_proj.weight", None
    yield "mtp.final_layernorm.weight", f"mtp.layers.{last}.final_layernorm.weight", None


def tensors(model, dtype):
    state, out = model.state_dict(), {}
    out["backbone.embeddings.weight"] = (state["embedding"] * model.scale).to(dtype)
    out["lm_head.weight"] = state["embedding"].to(dtype)
    for ours, theirs, expert in all_names(model.cfg):
        t = state[ours] if expert is None else state[ours][expert]
        if theirs.endswith("conv1d.weight"):
            t = t.unsqueeze(1)
        out[theirs] = t.to(torch.float32 if theirs.endswith("e_score_correction_bias") else dtype).clone().contiguous()
    return out


def config_json(cfg, end, dtype):
    return {
        "architectures": ["NemotronHForCausalLM"], "model_type": "nemotron_h",
        "hidden_size": cfg.hidden, "vocab_size": cfg.vocab, "num_hidden_layers": len(cfg.pattern),
        "hybrid_override_pattern": cfg.pattern, "mtp_hybrid_override_pattern": cfg.mtp_pattern,
        "num_nextn_predict_layers": 1,
        "mamba_num_heads": cfg.mamba_heads, "mamba_head_dim": cfg.mamba_head_dim, "ssm_state_size": cfg.state,
        "n_groups": cfg.groups, "conv_kernel": cfg.conv, "chunk_size": cfg.chunk, "expand": 2,
        "mamba_hidden_act": "silu", "mamba_proj_bias": False, "use_bias": False, "use_conv_bias": True,
        "time_step_min": 0.001, "time_step_max": 0.1, "time_step_floor": 0.0001, "mamba_ssm_cache_dtype": "float32",
        "num_attention_heads": cfg.heads, "num_key_value_heads": cfg.kv_heads, "head_dim": cfg.head_dim,
        "attention_bias": False, "attention_dropout": 0.0, "sliding_window": None,
        "intermediate_size": cfg.expert_ffn, "mlp_hidden_act": "relu2", "mlp_bias": False,
        "n_routed_experts": cfg.experts, "num_experts_per_tok": cfg.top_k, "moe_intermediate_size": cfg.expert_ffn,
        "moe_latent_size": cfg.latent, "n_shared_experts": 1, "moe_shared_expert_intermediate_size": cfg.shared_ffn,
        "n_group": 1, "topk_group": 1, "norm_topk_prob": True, "routed_scaling_factor": cfg.scaling,
        "layer_norm_epsilon": 1e-5, "norm_eps": 1e-5, "residual_in_fp32": False, "tie_word_embeddings": False,
        "max_position_embeddings": 2048, "initializer_range": 0.02,
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "dtype": dtype, "longhaul_chat_format": "nano",
    }


def read_folder(path):
    """The model of an exported folder, in fp32, for evaluation."""
    cfg = json.loads((path / "config.json").read_text())
    model = Pico(Config(
        vocab=cfg["vocab_size"], hidden=cfg["hidden_size"], pattern=cfg["hybrid_override_pattern"],
        mtp_pattern=cfg["mtp_hybrid_override_pattern"], mamba_heads=cfg["mamba_num_heads"],
        mamba_head_dim=cfg["mamba_head_dim"], state=cfg["ssm_state_size"], groups=cfg["n_groups"],
        conv=cfg["conv_kernel"], heads=cfg["num_attention_heads"], kv_heads=cfg["num_key_value_heads"],
        head_dim=cfg["head_dim"], experts=cfg["n_routed_experts"], top_k=cfg["num_experts_per_tok"],
        latent=cfg["moe_latent_size"], expert_ffn=cfg["moe_intermediate_size"],
        shared_ffn=cfg["moe_shared_expert_intermediate_size"], scaling=cfg["routed_scaling_factor"]))
    stored = {k: v.float() for k, v in load_file(path / "model.safetensors").items()}
    state = model.state_dict()
    for ours, theirs, expert in all_names(model.cfg):
        t = stored[theirs].squeeze(1) if theirs.endswith("conv1d.weight") else stored[theirs]
        (state[ours] if expert is None else state[ours][expert]).copy_(t)
    state["embedding"].copy_(stored["lm_head.weight"])
    model.load_state_dict(state)
    # The rounded input embedding is not exactly a multiple of the rounded output matrix.
    model.embed = lambda ids: torch.nn.functional.embedding(ids, stored["backbone.embeddings.weight"])
    if cfg["dtype"] == "bfloat16":
        for m in model.modules():
            m.stored_dtype = torch.bfloat16  # keys, values and convolution rows are kept in the checkpoint's type
    return model.eval()


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("checkpoint")
    p.add_argument("tokenizer")
    p.add_argument("out", type=Path)
    p.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    p.add_argument("--mtp", help="checkpoint of `train.py --only-mtp` to take the MTP module from")
    a = p.parse_args()
    tokenizer = Tokenizer(a.tokenizer)
    missing = [t for t in boilerplate(Tools()) if len(tokenizer.encode(t)) != 1]
    if missing:
        raise SystemExit(f"the plugins differ from those the tokenizer was made for; not one token: {missing}")
    saved = torch.load(a.checkpoint, weights_only=False)
    model = Pico(Config(**saved["config"]))
    model.load_state_dict(saved["model"])
    model.load_state_dict(saved["ema"], strict=False)
    if a.mtp:
        head = torch.load(a.mtp, weights_only=False)
        model.load_state_dict({k: v for k, v in head["model"].items() if k.startswith("mtp.")}, strict=False)
        model.load_state_dict({k: v for k, v in head["ema"].items() if k.startswith("mtp.")}, strict=False)
    a.out.mkdir(parents=True, exist_ok=True)
    weights = tensors(model, getattr(torch, a.dtype))
    save_file(weights, a.out / "model.safetensors", metadata={"format": "pt"})
    (a.out / "model.safetensors").chmod(0o644)

    def write(name, value):
        (a.out / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    write("config.json", config_json(model.cfg, tokenizer.end, a.dtype))
    write("generation_config.json", {"bos_token_id": 1, "eos_token_id": [2, tokenizer.end], "pad_token_id": 0,
                                     "do_sample": False})
    write("tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": chat.END, "unk_token": "<unk>",
        "pad_token": "<unk>", "add_bos_token": False, "clean_up_tokenization_spaces": False, "model_max_length": 2048})
    shutil.copy(a.tokenizer, a.out / "tokenizer.json")
    shutil.copy(TEMPLATE, a.out / "chat_template.jinja")
    size = sum(f.stat().st_size for f in a.out.iterdir())
    print(f"{len(weights)} tensors, {sum(w.numel() for w in weights.values())} numbers, {size} bytes in {a.out}; "
          f"step {saved['done']['step']}, {saved['done']['seen']} tokens seen, "
          f"{sum(isinstance(m, LatentMoE) for m in model.modules())} MoE layers")


if __name__ == "__main__":
    main()
