"""PyTorch on the batches and from the weights that build/bench/curve wrote; prints both curves.

usage: peer-curve.py FOLDER   (as bench/peer-curve made it)
"""
import json
import math
import os
import struct
import sys

import numpy as np
import torch
import torch.nn.functional as F


def read_safetensors(path):
    with open(path, "rb") as f:
        raw = f.read()
    size = struct.unpack("<Q", raw[:8])[0]
    header, out = json.loads(raw[8:8 + size]), {}
    for name, t in header.items():
        if name != "__metadata__":
            at, to = t["data_offsets"]
            values = np.frombuffer(raw, np.float32, (to - at) // 4, 8 + size + at)
            out[name] = torch.from_numpy(values.reshape(t["shape"]).copy()).requires_grad_()
    return out


class Batches:
    """What curve.c wrote: int32, a header of three, then batch after batch."""

    def __init__(self, path):
        self.raw = np.fromfile(path, np.int32)
        self.count, self.batch, self.seq = (int(x) for x in self.raw[:3])
        self.at = 3

    def take(self, n):
        self.at += n
        return torch.from_numpy(self.raw[self.at - n:self.at].astype(np.int64))

    def __iter__(self):
        for _ in range(self.count):
            rate = float(self.raw[self.at:self.at + 1].view(np.float32)[0])
            self.at += 1
            count, chosen = (int(x) for x in self.take(2))
            tokens = self.take(count * self.seq).view(count, self.seq)
            lengths = self.take(count)
            yield rate, tokens, lengths, self.take(chosen), self.take(chosen)


def loss_of(p, config, tokens, lengths, chosen, targets):
    heads, h = config["num_attention_heads"], config["hidden_size"]
    epsilon, (b, l) = config["layer_norm_eps"], tokens.shape
    linear = lambda name, x: F.linear(x, p[name + ".weight"], p[name + ".bias"])
    norm = lambda name, x: F.layer_norm(x, (h,), p[name + ".weight"], p[name + ".bias"], epsilon)
    split = lambda x: x.view(b, l, heads, h // heads).transpose(1, 2)
    mask = torch.where(torch.arange(l)[None, :] < lengths[:, None], 0.0, -1e30)[:, None, None, :]
    e = "bert.embeddings."
    x = norm(e + "LayerNorm", p[e + "word_embeddings.weight"][tokens] +
             p[e + "position_embeddings.weight"][:l] + p[e + "token_type_embeddings.weight"][0])
    for i in range(config["num_hidden_layers"]):
        n = "bert.encoder.layer.%d." % i
        q, k, v = (split(linear(n + "attention.self." + w, x)) for w in ("query", "key", "value"))
        weights = F.softmax(q @ k.transpose(-1, -2) / math.sqrt(h // heads) + mask, -1)
        context = (weights @ v).transpose(1, 2).reshape(b, l, h)
        x = norm(n + "attention.output.LayerNorm", linear(n + "attention.output.dense", context) + x)
        y = linear(n + "output.dense", F.gelu(linear(n + "intermediate.dense", x)))
        x = norm(n + "output.LayerNorm", y + x)
    x = x.reshape(b * l, h)[chosen]
    x = norm("cls.predictions.transform.LayerNorm",
             F.gelu(linear("cls.predictions.transform.dense", x)))
    logits = x @ p[e + "word_embeddings.weight"].T + p["cls.predictions.bias"]
    return F.cross_entropy(logits, targets)


def held_out(p, config, path):
    total = count = 0
    with torch.no_grad():
        for _, tokens, lengths, chosen, targets in Batches(path):
            total += float(loss_of(p, config, tokens, lengths, chosen, targets)) * len(chosen)
            count += len(chosen)
    return total / count


def main(folder):
    config = json.load(open(os.path.join(folder, "model", "config.json")))
    p = read_safetensors(os.path.join(folder, "model", "model.safetensors"))
    ours = json.load(open(os.path.join(folder, "curve.json")))
    is_plain = lambda name: name.endswith(".bias") or "LayerNorm" in name
    optimizer = torch.optim.AdamW(
        [{"params": [t for n, t in p.items() if not is_plain(n)], "weight_decay": ours["decay"]},
         {"params": [t for n, t in p.items() if is_plain(n)], "weight_decay": 0.0}],
        lr=0.0, betas=(0.9, 0.999), eps=ours["epsilon"])
    every, theirs, curve = ours["every"], [], []
    for step, (rate, *batch) in enumerate(Batches(os.path.join(folder, "train.bin"))):
        if step % every == 0:
            curve.append(held_out(p, config, os.path.join(folder, "held-out.bin")))
        loss = loss_of(p, config, *batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([t for t in p.values() if t.grad is not None], ours["clip"])
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        theirs.append(float(loss.detach()))
    curve.append(held_out(p, config, os.path.join(folder, "held-out.bin")))

    print("step   held out: Wattune  PyTorch  difference")
    for i, (a, b) in enumerate(zip(ours["held_out"], curve)):
        print("%4d            %8.4f %8.4f %+10.5f" % (i * every, a, b, a - b))
    apart = [abs(a - b) for a, b in zip(ours["losses"], theirs)]
    steps = [abs(b - a) for a, b in zip(theirs, theirs[1:])]
    print("loss of a step: apart by %.2g at the median, %.2g at most; from step to step it moves by "
          "%.2g" % (sorted(apart)[len(apart) // 2], max(apart), sorted(steps)[len(steps) // 2]))
    worst = max(abs(a - b) for a, b in zip(ours["held_out"], curve))
    print("held out: apart by %.2g at most, after a fall of %.3f" % (worst, curve[0] - curve[-1]))
    return 0 if worst < 0.02 * (curve[0] - curve[-1]) else 1


sys.exit(main(sys.argv[1]))
