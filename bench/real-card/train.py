#!/usr/bin/env python3
"""Masked-language-model training of a BERT-base-sized encoder on synthetic tokens, bf16 on CUDA.

    train.py --seconds 60 [--phases] [--json FILE] [--window]

Reads NVML's counter itself before and after the loop, as ZeusMonitor does, so that what `wattune run`
says can be held against it. --phases marks forward, backward and optimizer (with synchronising) through
Wattune's Python door; --window measures the loop with wattune.window() in this process.
"""

import argparse
import contextlib
import json
import sys
import time

import torch
from torch import nn

try:
    import pynvml
except ImportError:
    pynvml = None
try:
    import wattune
except ImportError:
    wattune = None

VOCABULARY, MASK = 30522, 4


class Encoder(nn.Module):
    def __init__(self, layers, hidden, heads, length):
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, hidden)
        nn.init.normal_(self.words.weight, std=0.02)
        self.places = nn.Parameter(torch.randn(length, hidden) * 0.02)
        layer = nn.TransformerEncoderLayer(hidden, heads, 4 * hidden, 0.1, "gelu", batch_first=True)
        self.layers = nn.TransformerEncoder(layer, layers)
        self.head = nn.Sequential(nn.Linear(hidden, hidden), nn.GELU(), nn.LayerNorm(hidden))

    def forward(self, tokens, rows):
        x = self.layers(self.words(tokens) + self.places)
        return self.head(x.flatten(0, 1)[rows]) @ self.words.weight.T


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seq", type=int, default=128)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--hidden", type=int, default=768)
    parser.add_argument("--phases", action="store_true")
    parser.add_argument("--window", action="store_true")
    parser.add_argument("--json")
    args = parser.parse_args()
    is_cuda = torch.cuda.is_available()
    device = "cuda" if is_cuda else "cpu"
    torch.manual_seed(1)
    model = Encoder(args.layers, args.hidden, args.hidden // 64, args.seq).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, **({"fused": True} if is_cuda else {}))
    pool = torch.randint(5, VOCABULARY, (64, args.batch, args.seq), device=device)
    tokens_a_step = args.batch * args.seq
    masked = int(0.15 * tokens_a_step)
    has_door = False  # the first steps are not told of

    def synchronize():
        if is_cuda:
            torch.cuda.synchronize()

    def part(name):
        if args.phases and has_door:  # as it is when called
            return wattune.window(name)
        return contextlib.nullcontext()

    spent = {"forward": 0.0, "backward": 0.0, "optimizer": 0.0}

    @contextlib.contextmanager
    def phase(name):
        begin = time.perf_counter()
        with part(name):
            yield
            if args.phases:
                synchronize()
        spent[name] += time.perf_counter() - begin

    def train_step(i):
        with phase("forward"):
            batch = pool[i % len(pool)]
            rows = torch.randint(0, tokens_a_step, (masked,), device=device)
            inputs = batch.flatten().index_fill(0, rows, MASK).view_as(batch)
            with torch.autocast(device, dtype=torch.bfloat16, enabled=is_cuda):
                loss = nn.functional.cross_entropy(model(inputs, rows), batch.flatten()[rows])
        with phase("backward"):
            loss.backward()
        with phase("optimizer"):
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return loss

    handle = None
    if pynvml:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)

    def counter_mj():
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) if handle else 0

    for i in range(10):
        loss = train_step(i)
    synchronize()
    first = float(loss)
    has_door = wattune is not None and not args.window
    for name in spent:
        spent[name] = 0.0
    steps = 0
    whole = wattune.window("train") if wattune else contextlib.nullcontext()
    before_mj, before_ns = counter_mj(), time.monotonic_ns()
    with whole:
        while time.monotonic_ns() - before_ns < args.seconds * 1e9:
            with wattune.window("step", tokens=tokens_a_step) if has_door else contextlib.nullcontext():
                loss = train_step(steps)
            steps += 1
            if steps % 8 == 0:
                synchronize()
        synchronize()
    after_mj, after_ns = counter_mj(), time.monotonic_ns()
    seconds = (after_ns - before_ns) * 1e-9
    out = {
        "torch": torch.__version__,
        "begin_ns": before_ns,
        "end_ns": after_ns,
        "seconds": seconds,
        "steps": steps,
        "tokens": steps * tokens_a_step,
        "tokens_s": steps * tokens_a_step / seconds,
        "counter_j": (after_mj - before_mj) * 1e-3,
        "first_loss": first,
        "last_loss": float(loss),
        "spent_s": spent,
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    if args.window and wattune:
        r = whole.result
        out["window"] = {"energy_j": r.energy_j, "low_j": r.low_j, "high_j": r.high_j,
                         "seconds": r.seconds, "devices": r.devices}  # fmt: skip
    text = json.dumps(out, indent=1, default=str)
    if args.json:
        with open(args.json, "w") as f:
            f.write(text)
    print(text, file=sys.stderr)


if __name__ == "__main__":
    main()
