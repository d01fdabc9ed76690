"""Trains pico on the CPU with two single-threaded processes. See README.md; `python3 train.py --help`.

Parameters live in shared memory. A step: each process adds its gradients into its own shared buffer; each then updates
its share of the parameters from the mean of both (Muon for the matrices of the body, AdamW for the rest).
"""
import argparse
import json
import os
import time

import torch
import torch.multiprocessing as mp

from data import Source
from model import Config, LatentMoE, Pico
from bpe import Tokenizer

BUCKETS = [96, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 1024, 1536, 2048]


def arguments():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--out", required=True, help="folder for checkpoints and log (outside the repository)")
    p.add_argument("--tokenizer", required=True)
    p.add_argument("--minutes", type=float, default=90, help="training time in all, earlier runs of --resume included")
    p.add_argument("--decay", type=float, default=0.5, help="share of the time over which the rate falls to zero")
    p.add_argument("--seed", type=int, default=7)
    p.add_argument("--processes", type=int, default=2)
    p.add_argument("--tokens", type=int, default=2048, help="tokens a step and process")
    p.add_argument("--drills", type=float, nargs=2, default=(0.9e6, 1.8e6),
                   help="tokens after which the first and the second drill phase end")
    p.add_argument("--long-from", type=float, default=0.6, help="share of the time after which long recalls come in")
    p.add_argument("--long-share", type=float, default=0.06, help="share of the batches that are long recalls")
    p.add_argument("--average", type=float, default=0.99, help="decay of the running average of the weights")
    p.add_argument("--lr", type=float, default=3e-3, help="AdamW")
    p.add_argument("--muon-lr", type=float, default=0.02)
    p.add_argument("--balance", type=float, default=0.003)
    p.add_argument("--mtp-rows", type=float, default=0.25, help="share of the rows that the MTP module trains on")
    p.add_argument("--mtp-passes", type=int, default=2)
    p.add_argument("--only-mtp", action="store_true", help="freeze the trunk; --minutes then counts this run alone")
    p.add_argument("--mix", type=json.loads, default=None, help="JSON object: share of each family")
    p.add_argument("--save-every", type=float, default=180, help="seconds")
    p.add_argument("--resume", help="a checkpoint to go on from")
    return p.parse_args()


class Batches:
    """Samples wait in a pool by length until a batch of about `tokens` tokens of one length is full."""

    def __init__(self, args, tokenizer, rank, salt):
        self.args = args
        self.source = Source(tokenizer, args.seed * 1000003 + 7919 * rank + salt, args.mix)
        self.pool = {b: [] for b in BUCKETS}

    def draw(self, seen, progress):
        r, phase1, phase2 = self.source.r, *self.args.drills
        if seen < phase1:
            return self.source.drill(124)
        if seen < phase2:
            return self.source.drill(250) if r.random() < 0.8 else self.source.conversation()
        return self.source.drill(124, (0.4, 0.4)) if r.random() < 0.08 else self.source.conversation()

    def next(self, seen, progress):
        if progress > self.args.long_from and self.source.r.random() < self.args.long_share:
            size = self.source.r.choice((1024, 1024, 1536, 2048))
            rows = [self.source.recall_long(size - 400, size) for _ in range(max(1, self.args.tokens // size))]
            return self.stack(rows, size)
        while True:
            sample = self.draw(seen, progress)
            size = next((b for b in BUCKETS if len(sample.ids) <= b + 1), None)
            if size is None or size > 1024:
                continue
            rows = self.pool[size]
            rows.append(sample)
            if len(rows) >= max(1, self.args.tokens // size):
                self.pool[size] = []
                return self.stack(rows, size)

    @staticmethod
    def stack(rows, size):
        ids = torch.zeros(len(rows), size + 1, dtype=torch.long)
        weight = torch.zeros(len(rows), size + 1)
        for i, row in enumerate(rows):
            n = min(len(row.ids), size + 1)
            ids[i, :n] = torch.tensor(row.ids[:n])
            weight[i, :n] = torch.tensor(row.weight[:n])
        return ids, weight


def orthogonal(g):
    """Newton-Schulz: pushes all singular values of each matrix towards one."""
    x = g / (g.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.transpose(-1, -2)
    for _ in range(5):
        a = x @ x.transpose(-1, -2)
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
    return x.transpose(-1, -2) if tall else x


def kind(name, p):
    if p.dim() >= 2 and ("mixers" in name or "eh_proj" in name) and "gate" not in name and "conv" not in name:
        return "muon"
    return "decay" if p.dim() >= 2 and "conv" not in name else "plain"


class Optimiser:
    """Updates one process's share of the parameters."""

    def __init__(self, args, named, rank):
        self.args = args
        loads = [0.0] * args.processes
        self.mine = []
        for name, p in sorted(named, key=lambda item: -item[1].numel()):
            cost = p.numel() * (8 if kind(name, p) == "muon" else 1)
            owner = loads.index(min(loads))
            loads[owner] += cost
            if owner == rank:
                self.mine.append((name, p))
        self.state = {name: {} for name, _ in self.mine}
        self.count = 0

    @torch.no_grad()
    def step(self, factor):
        a = self.args
        self.count += 1
        for name, p in self.mine:
            st, g, how = self.state[name], p.grad, kind(name, p)
            if how == "muon":
                m = st.setdefault("m", torch.zeros_like(p))
                m.mul_(0.95).add_(g)
                update = orthogonal(g + 0.95 * m)
                p.mul_(1 - a.muon_lr * factor * 0.05)
                p.add_(update, alpha=-a.muon_lr * factor * max(1.0, p.shape[-2] / p.shape[-1]) ** 0.5)
                continue
            m, v = st.setdefault("m", torch.zeros_like(p)), st.setdefault("v", torch.zeros_like(p))
            st["t"] = st.get("t", 0) + 1
            m.lerp_(g, 0.1)
            v.lerp_(g * g, 0.05)
            if how == "decay":
                p.mul_(1 - a.lr * factor * 0.05)
            p.addcdiv_(m / (1 - 0.9 ** st["t"]), (v / (1 - 0.95 ** st["t"])).sqrt_().add_(1e-8), value=-a.lr * factor)


def work(rank, args, flat, grads, loads, clock, barrier):
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    tokenizer = Tokenizer(args.tokenizer)
    torch.manual_seed(args.seed)
    model = Pico(Config(vocab=tokenizer.size))
    done = {"step": 0, "seen": 0, "elapsed": 0.0}
    optimiser_state, ema = None, None
    if args.resume:
        saved = torch.load(args.resume, weights_only=False)
        model.load_state_dict(saved["model"])
        ema = saved["ema"]
        if args.only_mtp:
            model.load_state_dict(ema, strict=False)
        done = saved["done"]
        optimiser_state = saved["optimiser"]
    named, at = list(model.named_parameters()), 0
    for name, p in named:
        n = p.numel()
        if rank == 0:
            flat[at:at + n] = p.detach().view(-1)
        p.data = flat[at:at + n].view(p.shape)
        p.grad = grads[rank, at:at + n].view(p.shape)
        at += n
    barrier.wait()
    trained = [(n, p) for n, p in named if not args.only_mtp or n.startswith("mtp.")]
    if args.only_mtp:
        for n, p in named:
            p.requires_grad_(n.startswith("mtp."))
        done = {"step": 0, "seen": done["seen"], "elapsed": 0.0}
        args.mtp_rows = 1.0
    optimiser = Optimiser(args, trained, rank)
    if optimiser_state and not args.only_mtp:
        for name, _ in optimiser.mine:
            optimiser.state[name] = optimiser_state.get(name, {})
    moes = [m for m in model.modules() if isinstance(m, LatentMoE)]
    if ema is None:
        ema = {n: p.detach().clone() for n, p in named}
    model.train()
    batches = Batches(args, tokenizer, rank, done["step"])
    log = open(os.path.join(args.out, "train.log"), "a") if rank == 0 else None
    begin = time.time() - done["elapsed"]
    shared_state = os.path.join(args.out, f"optimiser{rank}.pt")

    def save():
        torch.save(optimiser.state, shared_state)
        barrier.wait()
        if rank == 0:
            state = {}
            for i in range(args.processes):
                state.update(torch.load(os.path.join(args.out, f"optimiser{i}.pt"), weights_only=False))
            path = os.path.join(args.out, "mtp.pt" if args.only_mtp else "checkpoint.pt")
            torch.save({"config": model.cfg.as_dict(), "model": {k: v.clone() for k, v in model.state_dict().items()},
                        "ema": ema, "done": done, "optimiser": state, "arguments": vars(args)}, path + ".new")
            os.replace(path + ".new", path)
        barrier.wait()

    if rank == 0:
        print(json.dumps({"parameters": sum(p.numel() for _, p in named), "arguments": vars(args)}), file=log, flush=True)
    sums, last, last_save = [], time.time(), time.time()
    last_seen = done["seen"]
    while True:
        if rank == 0:
            clock[0] = time.time() - begin
        barrier.wait()
        elapsed = float(clock[0])
        progress = elapsed / (args.minutes * 60)
        if progress >= 1:
            break
        done["elapsed"] = elapsed
        ids, weight = batches.next(done["seen"], 1.0 if args.only_mtp else progress)
        grads[rank].zero_()
        rows = max(1, int(ids.shape[0] * args.mtp_rows))
        if args.only_mtp:
            with torch.no_grad():
                h = model.hidden(ids[:, :-1])
            loss = torch.zeros(())
        else:
            loss, h = model.loss(ids, weight)
        mtp, each = model.mtp_loss(ids[:rows], weight[:rows], h[:rows], args.mtp_passes)
        total = loss + mtp
        if torch.isfinite(total):
            total.backward()
        loads[rank] = torch.stack([m.load for m in moes])
        barrier.wait()
        mean = grads.mean(0)
        norm = mean.norm()
        scale = min(1.0, 1.0 / (norm.item() + 1e-6))
        load = loads.sum(0)
        at, place = 0, {}
        for name, p in named:
            place[name] = at
            at += p.numel()
        # The optimiser reads p.grad; only this process touches these stretches of its own row from here on.
        own = [(p, mean[place[n]:place[n] + p.numel()].view(p.shape)) for n, p in optimiser.mine]
        barrier.wait()
        for p, g in own:
            p.grad.copy_(g).mul_(scale)
        warm = min(1.0, (done["step"] + 1) / 60)
        left = min(1.0, (1 - progress) / args.decay) if args.decay > 0 else 1.0
        factor = warm * max(0.0, left)
        optimiser.step(factor)
        heaviest = []
        for i, m in enumerate(moes):
            m.load.copy_(load[i])
            heaviest.append(m.balance(args.balance * max(factor, 0.05)))
        barrier.wait()
        done["step"] += 1
        done["seen"] += args.processes * ids.shape[0] * (ids.shape[1] - 1)
        if rank == 0:
            keep = min(args.average, done["step"] / (done["step"] + 20))
            with torch.no_grad():
                for n, p in trained:
                    ema[n].lerp_(p, 1 - keep)
            sums.append([float(loss.detach()), *each])
            if done["step"] % 50 == 0:
                columns = list(zip(*sums))
                entry = {"step": done["step"], "tokens": done["seen"], "seconds": round(elapsed),
                         "loss": round(sum(columns[0]) / len(sums), 4),
                         "mtp": [round(sum(c) / len(sums), 4) for c in columns[1:]], "norm": round(norm.item(), 3),
                         "rate": round(factor, 3), "load": [round(x, 2) for x in heaviest],
                         "tokens_per_second": round((done["seen"] - last_seen) / (time.time() - last))}
                print(json.dumps(entry), file=log, flush=True)
                sums, last, last_seen = [], time.time(), done["seen"]
        if (rank == 0 and time.time() - last_save > args.save_every):
            clock[1] = 1.0
        barrier.wait()
        if clock[1] > 0:
            save()
            if rank == 0:
                last_save, clock[1] = time.time(), 0.0
            barrier.wait()
    save()
    if rank == 0:
        print(json.dumps({"end": done}), file=log, flush=True)


def main():
    args = arguments()
    os.makedirs(args.out, exist_ok=True)
    torch.set_num_threads(1)
    model = Pico(Config(vocab=Tokenizer(args.tokenizer).size))
    size = sum(p.numel() for p in model.parameters())
    moes = sum(isinstance(m, LatentMoE) for m in model.modules())
    flat = torch.zeros(size).share_memory_()
    grads = torch.zeros(args.processes, size).share_memory_()
    loads = torch.zeros(args.processes, moes, model.cfg.experts).share_memory_()
    clock = torch.zeros(2, dtype=torch.float64).share_memory_()
    barrier = mp.get_context("spawn").Barrier(args.processes)
    mp.spawn(work, (args, flat, grads, loads, clock, barrier), nprocs=args.processes)


if __name__ == "__main__":
    main()
