/* onnx-worker: ONNX Runtime's part of bench/peer-train, a word a line as bench/train.
 *
 *     node bench/onnx-worker.js FOLDER MODEL BATCH SEQ THREADS VOCAB
 *     node bench/onnx-worker.js FOLDER MODEL check
 *
 * FOLDER: where `npm install --ignore-scripts onnxruntime-node` was run. MODEL: of
 * bench/onnx-encoder. "encode" answers with nanoseconds, "memory" with the process's peak in bytes;
 * "check" says how far the runtime is from MODEL.hidden, error over norm, and exits 1 above 5 %.
 */
"use strict";
const fs = require("fs");
const path = require("path");
const readline = require("readline");

async function open(folder, model, threads) {
    const ort = require(path.join(path.resolve(folder), "node_modules", "onnxruntime-node"));
    const session = await ort.InferenceSession.create(model, {
        executionProviders: ["cpu"], graphOptimizationLevel: "all", intraOpNumThreads: threads, interOpNumThreads: 1,
    });
    return { ort, session };
}

async function check(folder, model) {
    const { ort, session } = await open(folder, model, 2);
    const words = fs.readFileSync(model + ".tokens");
    const tokens = new Int32Array(words.buffer.slice(words.byteOffset, words.byteOffset + words.length));
    const { hidden } = await session.run({ tokens: new ort.Tensor("int32", tokens, [4, tokens.length / 4]) });
    const bytes = fs.readFileSync(model + ".hidden");
    const truth = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
    let off = 0, norm = 0;
    truth.forEach((v, i) => { off += (hidden.data[i] - v) ** 2; norm += v * v; });
    const error = Math.sqrt(off / norm);
    console.log(`error over norm ${error.toExponential(2)}`);
    process.exit(error <= 0.05 ? 0 : 1);
}

async function serve(folder, model, batch, seq, threads, vocab) {
    const { ort, session } = await open(folder, model, threads);
    const tokens = Int32Array.from({ length: batch * seq }, () => Math.floor(Math.random() * vocab));
    const feeds = { tokens: new ort.Tensor("int32", tokens, [batch, seq]) };
    for await (const line of readline.createInterface({ input: process.stdin })) {
        if (line === "memory") {
            console.log(process.resourceUsage().maxRSS * 1024);
            continue;
        }
        const from = process.hrtime.bigint();
        await session.run(feeds);
        console.log(`${process.hrtime.bigint() - from} 0`);
    }
}

const [folder, model, ...rest] = process.argv.slice(2);
if (rest[0] === "check")
    check(folder, model);
else
    serve(folder, model, ...rest.map(Number));
