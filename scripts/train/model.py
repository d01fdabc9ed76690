"""The built-in model in plain PyTorch: Mamba-2, attention without positions, LatentMoE, and the MTP module.

Parameter names and shapes follow the published checkpoints of the family, so that export is a renaming of prefixes.
The embedding is tied to the output matrix while training; `Pico.export_tensors` writes both.
"""
import math
from dataclasses import asdict, dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F

EPS = 1e-5


@dataclass
class Config:
    vocab: int = 896
    hidden: int = 128
    pattern: str = "MEM*EM*E"
    mtp_pattern: str = "*E"
    mamba_heads: int = 8
    mamba_head_dim: int = 32
    state: int = 32
    groups: int = 1
    conv: int = 4
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    experts: int = 8
    top_k: int = 2
    latent: int = 64
    expert_ffn: int = 128
    shared_ffn: int = 192
    scaling: float = 1.0
    chunk: int = 64

    def as_dict(self):
        return asdict(self)


class RMSNorm(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS) * self.weight


def linear(n_in, n_out, gain=1.0):
    layer = nn.Linear(n_in, n_out, bias=False)
    nn.init.normal_(layer.weight, std=gain / math.sqrt(n_in))
    return layer


def scan_chunked(x, dt, a, b, c, chunk, state=None):
    """The Mamba-2 recurrence S <- exp(dt*a) S + (dt*x) (x) B, y = S C, computed chunk by chunk.

    x [n,T,H,P], dt [n,T,H] > 0, a [H] < 0, b and c [n,T,G,N]; returns y like x and the last state [n,H,P,N].
    """
    n, length, heads, width = x.shape
    groups, size = b.shape[2:]
    per = heads // groups
    pad = -length % chunk
    if pad:
        x, b, c = (F.pad(t, (0, 0, 0, 0, 0, pad)) for t in (x, b, c))
        dt = F.pad(dt, (0, 0, 0, pad))
    count = (length + pad) // chunk
    xd = (x * dt.unsqueeze(-1)).view(n, count, chunk, heads, width).transpose(2, 3)
    cum = (dt * a).view(n, count, chunk, heads).transpose(2, 3).cumsum(-1)
    b = b.view(n, count, chunk, groups, size).transpose(2, 3)
    c = c.view(n, count, chunk, groups, size).transpose(2, 3)
    # Differences are clamped before exp and the upper triangle is pushed to -1e9: inf - inf would be NaN backwards.
    decay = (cum.unsqueeze(-1) - cum.unsqueeze(-2)).clamp(max=0) + upper(chunk, chunk)
    mix = decay.exp().view(n, count, groups, per, chunk, chunk) * (c @ b.transpose(-1, -2)).unsqueeze(3)
    y = mix.view(n, count, heads, chunk, chunk) @ xd
    to_end = (cum[..., -1:] - cum).exp()
    add = (xd * to_end.unsqueeze(-1)).transpose(-1, -2).reshape(n, count, groups, per * width, chunk) @ b
    add = add.view(n, count, heads, width, size)
    keep = cum[..., -1].exp()
    state = x.new_zeros(n, heads, width, size) if state is None else state
    before = []
    for i in range(count):
        before.append(state)
        state = state * keep[:, i, :, None, None] + add[:, i]
    before = torch.stack(before, 1).view(n, count, groups, per * width, size)
    carried = (c @ before.transpose(-1, -2)).view(n, count, groups, chunk, per, width)
    carried = carried.permute(0, 1, 2, 4, 3, 5).reshape(n, count, heads, chunk, width)
    y = y + carried * cum.exp().unsqueeze(-1)
    return y.transpose(2, 3).reshape(n, length + pad, heads, width)[:, :length], state


def keep_as(x, module):
    """Rounds what is kept between steps to its stored type, as the runtime does; set on exported models only."""
    dtype = getattr(module, "stored_dtype", None)
    return x if dtype is None else x.to(dtype).to(x.dtype)


_upper = {}


def upper(rows, cols):
    """-1e9 where a key lies after its query (queries are the last `rows` of `cols` positions), else 0."""
    if (rows, cols) not in _upper:
        _upper[rows, cols] = torch.full((rows, cols), -1e9).triu(cols - rows + 1)
    return _upper[rows, cols]


class Mamba(nn.Module):
    def __init__(self, cfg, gain):
        super().__init__()
        self.cfg = cfg
        self.inner = cfg.mamba_heads * cfg.mamba_head_dim
        self.channels = self.inner + 2 * cfg.groups * cfg.state
        self.in_proj = linear(cfg.hidden, self.inner + self.channels + cfg.mamba_heads)
        self.out_proj = linear(self.inner, cfg.hidden, gain)
        self.conv_weight = nn.Parameter(torch.randn(self.channels, cfg.conv) / math.sqrt(cfg.conv))
        self.conv_bias = nn.Parameter(torch.zeros(self.channels))
        # A grid instead of draws: with eight heads the luck of the draw matters.
        grid = torch.linspace(0, 1, cfg.mamba_heads)
        dt = torch.exp(math.log(0.001) + grid * (math.log(0.1) - math.log(0.001)))
        order = torch.tensor([(3 * i) % cfg.mamba_heads for i in range(cfg.mamba_heads)])
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))
        self.A_log = nn.Parameter((grid * math.log(16.0))[order].clone())
        self.D = nn.Parameter(torch.ones(cfg.mamba_heads))
        self.norm = RMSNorm(self.inner)

    def split(self, x):
        z, xbc, dt = self.in_proj(x).split([self.inner, self.channels, self.cfg.mamba_heads], -1)
        return z, xbc, F.softplus(dt + self.dt_bias)

    def gate(self, y, z):
        cfg = self.cfg
        y = y * F.silu(z)
        g = y.view(*y.shape[:-1], cfg.groups, -1)
        g = g * torch.rsqrt(g.pow(2).mean(-1, keepdim=True) + EPS)
        return self.out_proj(g.reshape(y.shape) * self.norm.weight)

    def forward(self, x):
        cfg = self.cfg
        n, length, _ = x.shape
        z, xbc, dt = self.split(x)
        padded = F.pad(xbc, (0, 0, cfg.conv - 1, 0))
        v = self.conv_bias
        for i in range(cfg.conv):
            v = v + padded[:, i:i + length] * self.conv_weight[:, i]
        xs, b, c = F.silu(v).split([self.inner, cfg.groups * cfg.state, cfg.groups * cfg.state], -1)
        xs = xs.view(n, length, cfg.mamba_heads, cfg.mamba_head_dim)
        y, _ = scan_chunked(xs, dt, -self.A_log.exp(), b.view(n, length, cfg.groups, cfg.state),
                            c.view(n, length, cfg.groups, cfg.state), cfg.chunk)
        y = (y + xs * self.D[:, None]).reshape(n, length, self.inner)
        return self.gate(y, z)

    def step(self, x, st):
        """One token a sequence: x [n, hidden]; st holds the state and the last conv-1 rows before the convolution."""
        cfg = self.cfg
        n = x.shape[0]
        z, xbc, dt = self.split(x)
        if not st:
            st["ssm"] = x.new_zeros(n, cfg.mamba_heads, cfg.mamba_head_dim, cfg.state)
            st["conv"] = x.new_zeros(n, cfg.conv - 1, self.channels)
        xbc = keep_as(xbc, self)
        window = torch.cat([st["conv"], xbc[:, None]], 1)
        st["conv"] = window[:, 1:]
        v = F.silu((window * self.conv_weight.t()).sum(1) + self.conv_bias)
        xs, b, c = v.split([self.inner, cfg.groups * cfg.state, cfg.groups * cfg.state], -1)
        xs = xs.view(n, cfg.mamba_heads, cfg.mamba_head_dim)
        per = cfg.mamba_heads // cfg.groups
        b = b.view(n, cfg.groups, cfg.state).repeat_interleave(per, 1)
        c = c.view(n, cfg.groups, cfg.state).repeat_interleave(per, 1)
        keep = (dt * -self.A_log.exp()).exp()[..., None, None]
        st["ssm"] = st["ssm"] * keep + (dt[..., None] * xs)[..., None] * b[:, :, None]
        y = (st["ssm"] @ c[..., None])[..., 0] + xs * self.D[:, None]
        return self.gate(y.reshape(n, self.inner), z)


class Attention(nn.Module):
    def __init__(self, cfg, gain):
        super().__init__()
        self.cfg = cfg
        self.q_proj = linear(cfg.hidden, cfg.heads * cfg.head_dim)
        self.k_proj = linear(cfg.hidden, cfg.kv_heads * cfg.head_dim)
        self.v_proj = linear(cfg.hidden, cfg.kv_heads * cfg.head_dim)
        self.o_proj = linear(cfg.heads * cfg.head_dim, cfg.hidden, gain)

    def qkv(self, x):
        cfg = self.cfg
        n, length, _ = x.shape
        q = self.q_proj(x).view(n, length, cfg.heads, cfg.head_dim).transpose(1, 2)
        k = self.k_proj(x).view(n, length, cfg.kv_heads, cfg.head_dim).transpose(1, 2)
        v = self.v_proj(x).view(n, length, cfg.kv_heads, cfg.head_dim).transpose(1, 2)
        return q, k, v

    def forward(self, x):
        q, k, v = self.qkv(x)
        per = self.cfg.heads // self.cfg.kv_heads
        y = F.scaled_dot_product_attention(q, k.repeat_interleave(per, 1), v.repeat_interleave(per, 1),
                                           is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(x.shape[0], x.shape[1], -1))

    def forward_chain(self, x, cache):
        """A recursive MTP pass: queries see the first pass's keys up to their own position, then their own chain's."""
        q, k, v = self.qkv(x)
        cache.append((k, v))
        n, heads, length, width = q.shape
        kv = self.cfg.kv_heads
        q = q.view(n, kv, heads // kv, length, width) / math.sqrt(width)
        score = torch.einsum("nkgqd,nkjd->nkgqj", q, cache[0][0]) + upper(length, length)
        own = [torch.einsum("nkgqd,nkqd->nkgq", q, key).unsqueeze(-1) for key, _ in cache[1:]]
        p = torch.cat([score] + own, -1).softmax(-1)
        y = torch.einsum("nkgqj,nkjd->nkgqd", p[..., :length], cache[0][1])
        for i, (_, value) in enumerate(cache[1:]):
            y = y + p[..., length + i:length + i + 1] * value[:, :, None]
        return self.o_proj(y.reshape(n, heads, length, width).transpose(1, 2).reshape(n, length, -1))

    def step(self, x, st):
        q, k, v = self.qkv(x[:, None])
        k, v = keep_as(k, self), keep_as(v, self)
        if st:
            k, v = torch.cat([st["k"], k], 2), torch.cat([st["v"], v], 2)
        st["k"], st["v"] = k, v
        per = self.cfg.heads // self.cfg.kv_heads
        score = q @ k.repeat_interleave(per, 1).transpose(-1, -2) / math.sqrt(self.cfg.head_dim)
        y = score.softmax(-1) @ v.repeat_interleave(per, 1)
        return self.o_proj(y.reshape(x.shape[0], -1))


class LatentMoE(nn.Module):
    dense = False

    def __init__(self, cfg, gain):
        super().__init__()
        self.cfg = cfg
        self.gate = linear(cfg.hidden, cfg.experts)
        self.register_buffer("e_score_correction_bias", torch.zeros(cfg.experts))
        self.register_buffer("load", torch.zeros(cfg.experts), persistent=False)
        self.shared_up = linear(cfg.hidden, cfg.shared_ffn)
        self.shared_down = linear(cfg.shared_ffn, cfg.hidden, gain)
        self.fc1_latent_proj = linear(cfg.hidden, cfg.latent)
        self.fc2_latent_proj = linear(cfg.latent, cfg.hidden, gain)
        self.up = nn.Parameter(torch.randn(cfg.experts, cfg.expert_ffn, cfg.latent) / math.sqrt(cfg.latent))
        self.down = nn.Parameter(torch.randn(cfg.experts, cfg.latent, cfg.expert_ffn) / math.sqrt(cfg.expert_ffn))

    def route(self, x):
        score = torch.sigmoid(self.gate(x))
        chosen = (score.detach() + self.e_score_correction_bias).topk(self.cfg.top_k, -1)[1]
        weight = score.gather(1, chosen)
        return chosen, weight / (weight.sum(-1, keepdim=True) + 1e-20) * self.cfg.scaling

    def forward(self, x):
        shape = x.shape
        x = x.reshape(-1, shape[-1])
        chosen, weight = self.route(x)
        latent = self.fc1_latent_proj(x)
        flat = chosen.reshape(-1)
        if self.dense:
            full = torch.zeros(x.shape[0], self.cfg.experts).scatter(1, chosen, weight)
            if self.training:
                self.load += (full.detach() > 0).sum(0)
            e, f, l = self.up.shape
            h = F.relu(latent @ self.up.reshape(e * f, l).t()).square()
            h = (h.view(-1, e, f) * full.unsqueeze(-1)).view(-1, e * f)
            out = h @ self.down.transpose(1, 2).reshape(e * f, l)
        else:
            order = flat.argsort()
            counts = torch.bincount(flat, minlength=self.cfg.experts)
            if self.training:
                self.load += counts
            token = torch.div(order, self.cfg.top_k, rounding_mode="floor")
            rows = latent.index_select(0, token)
            parts, at = [], 0
            for e, m in enumerate(counts.tolist()):
                if m:
                    parts.append(F.relu(rows[at:at + m] @ self.up[e].t()).square() @ self.down[e].t())
                    at += m
            part = torch.cat(parts, 0) * weight.reshape(-1)[order].unsqueeze(-1)
            out = torch.zeros_like(latent).index_add(0, token, part)
        shared = self.shared_down(F.relu(self.shared_up(x)).square())
        return (self.fc2_latent_proj(out) + shared).view(shape)

    def step(self, x, st):
        return self.forward(x)

    @torch.no_grad()
    def balance(self, rate):
        """Loss-free balancing: nudges the choice bias of each expert towards the mean load, and keeps it centred."""
        total = self.load.sum()
        if total > 0:
            self.e_score_correction_bias += rate * torch.sign(self.load.mean() - self.load)
            self.e_score_correction_bias -= self.e_score_correction_bias.mean()
        share = self.load / total.clamp(min=1)
        self.load.zero_()
        return share.max().item()


KINDS = {"M": Mamba, "*": Attention, "E": LatentMoE}


class Stack(nn.Module):
    def __init__(self, cfg, pattern):
        super().__init__()
        gain = 1 / math.sqrt(2 * len(cfg.pattern))
        self.norms = nn.ModuleList(RMSNorm(cfg.hidden) for _ in pattern)
        self.mixers = nn.ModuleList(KINDS[p](cfg, gain) for p in pattern)

    def forward(self, x):
        for norm, mixer in zip(self.norms, self.mixers):
            x = x + mixer(norm(x))
        return x

    def step(self, x, states):
        for norm, mixer, st in zip(self.norms, self.mixers, states):
            x = x + mixer.step(norm(x), st)
        return x


class Mtp(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.enorm, self.hnorm = RMSNorm(cfg.hidden), RMSNorm(cfg.hidden)
        self.eh_proj = linear(2 * cfg.hidden, cfg.hidden)
        self.stack = Stack(cfg, cfg.mtp_pattern)
        self.final_layernorm = RMSNorm(cfg.hidden)

    def forward(self, embedded, hidden, cache):
        """embedded: the next token's embedding; hidden: trunk output after norm_f, or the previous pass's output."""
        x = self.eh_proj(torch.cat([self.enorm(embedded), self.hnorm(hidden)], -1))
        attention, moe = self.stack.mixers
        x = x + attention.forward_chain(self.stack.norms[0](x), cache)
        x = x + moe(self.stack.norms[1](x))
        return self.final_layernorm(x)


class Pico(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.cfg = cfg
        self.embedding = nn.Parameter(torch.randn(cfg.vocab, cfg.hidden) / math.sqrt(cfg.hidden))
        self.scale = 0.7 * math.sqrt(cfg.hidden)
        self.body = Stack(cfg, cfg.pattern)
        self.norm_f = RMSNorm(cfg.hidden)
        self.mtp = Mtp(cfg)

    def embed(self, ids):
        return F.embedding(ids, self.embedding) * self.scale

    def hidden(self, ids):
        """[n,T] ids -> the vectors that feed the output matrix, [n,T,hidden]."""
        return self.norm_f(self.body(self.embed(ids)))

    def logits(self, h):
        return h @ self.embedding.t()

    def loss(self, ids, weight):
        """ids, weight [n, T+1]; weight[:, i] is the weight of predicting ids[:, i]. Returns mean loss and hiddens."""
        h = self.hidden(ids[:, :-1])
        w = weight[:, 1:]
        keep = w > 0
        nll = F.cross_entropy(self.logits(h[keep]), ids[:, 1:][keep], reduction="none")
        w = w[keep]
        return (nll * w).sum() / w.sum(), h

    def mtp_loss(self, ids, weight, h, passes):
        """Recursive drafting under teacher forcing; the trunk's hiddens and the shared matrices get no gradient."""
        h = h.detach()
        table = self.embedding.detach()
        length = h.shape[1] - passes
        state, cache, total, each = h[:, :length], [], 0.0, []
        for k in range(passes):
            nxt = F.embedding(ids[:, 1 + k:1 + k + length], table) * self.scale
            state = self.mtp(nxt, state, cache)
            keep = weight[:, 2 + k:2 + k + length] > 0
            nll = F.cross_entropy(state[keep] @ table.t(), ids[:, 2 + k:2 + k + length][keep])
            total = total + nll
            each.append(nll.item())
        return total / passes, each

    def step(self, ids, states):
        return self.norm_f(self.body.step(self.embed(ids), states))

    def new_states(self):
        return [{} for _ in self.cfg.pattern]
