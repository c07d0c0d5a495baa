#!/usr/bin/env python3
"""Masked-language-model training of a BERT-sized encoder in PyTorch, on CUDA where there is one.

What `make run` measures on a real GPU, and an example of the three ways in which a program tells
Wattune of its steps (docs/doors.md). Needs PyTorch and nothing else: the Python and the NVTX package
are used where they are installed. The text is read from --data, tokens are hashed words.

    wattune sweep -- python3 examples/train_torch.py --data FILE.txt --steps 200
    wattune run --progress 'step (\\d+)' -- python3 examples/train_torch.py --data FILE.txt
    wattune run --nvtx --nvtx-step iteration -- python3 examples/train_torch.py --data FILE.txt
"""

import argparse
import contextlib
import re
import sys
import time
import zlib

import torch
from torch import nn

try:
    import wattune
except ImportError:
    wattune = None
try:
    import nvtx
except ImportError:
    nvtx = None

SHAPES = {  # layers, hidden, heads
    "bert-tiny": (2, 128, 2),
    "bert-mini": (4, 256, 4),
    "bert-base": (12, 768, 12),
}
VOCABULARY = 30522
MASK = 4  # the first five ids are special, as in BERT's vocabulary


class Encoder(nn.Module):
    def __init__(self, layers, hidden, heads, length):
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, hidden)
        nn.init.normal_(self.words.weight, std=0.02)
        self.places = nn.Parameter(torch.randn(length, hidden) * 0.02)
        layer = nn.TransformerEncoderLayer(hidden, heads, 4 * hidden, 0.1, "gelu", batch_first=True)
        self.layers = nn.TransformerEncoder(layer, layers)
        self.head = nn.Sequential(nn.Linear(hidden, hidden), nn.GELU(), nn.LayerNorm(hidden))

    def forward(self, tokens, masked):
        x = self.layers(self.words(tokens) + self.places[: tokens.shape[1]])
        return self.head(x[masked]) @ self.words.weight.T


def read_tokens(path):
    words = re.findall(r"\w+|[^\w\s]", open(path, encoding="utf-8").read().lower())
    ids = [5 + zlib.crc32(word.encode()) % (VOCABULARY - 5) for word in words]
    return torch.tensor(ids, dtype=torch.long)


def told(doors, name, range_name, tokens=None):
    """A part of the program, as each door hears of it. Names differ, so that all may listen at once:
    what is told twice under one name counts twice."""
    stack = contextlib.ExitStack()
    if wattune and "python" in doors:
        stack.enter_context(wattune.window(name, tokens=tokens))
    if nvtx and "nvtx" in doors:
        stack.enter_context(nvtx.annotate(range_name))
    return stack


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=SHAPES, default="bert-base")
    parser.add_argument("--data", required=True, help="UTF-8 text to train on")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seq", type=int, default=128)
    parser.add_argument("--device", choices=["cuda", "cpu"], help="default: cuda where there is one")
    parser.add_argument("--doors", default="python,nvtx,stdout",
                        help="how steps are told, of those that are there (default: %(default)s)")  # fmt: skip
    args = parser.parse_args()
    doors = args.doors.split(",")
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")

    torch.manual_seed(1)
    stream = read_tokens(args.data)
    if len(stream) <= args.seq:
        sys.exit(f"{args.data}: {len(stream)} words are too few for sequences of {args.seq}")
    model = Encoder(*SHAPES[args.model], args.seq).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    begin = time.monotonic()

    def train_step():
        starts = torch.randint(len(stream) - args.seq, (args.batch,))
        batch = torch.stack([stream[i : i + args.seq] for i in starts]).to(device)
        masked = torch.rand(batch.shape, device=device) < 0.15
        loss = nn.functional.cross_entropy(
            model(batch.masked_fill(masked, MASK), masked), batch[masked]
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    if "stdout" in doors:
        print("begin training", flush=True)
    with told(doors, "train", "training loop"):
        for step in range(1, args.steps + 1):
            with told(doors, "step", f"iteration {step}", args.batch * args.seq):
                loss = train_step()
            if "stdout" in doors and (step % 10 == 0 or step == args.steps):
                rate = step * args.batch * args.seq / (time.monotonic() - begin)
                print(f"step {step} loss {loss.item():.3f} tokens/s {rate:.0f}", flush=True)
    if "stdout" in doors:
        print("begin end", flush=True)


if __name__ == "__main__":
    main()
