// What the prebuilt llama.cpp makes of GGUF files.
//
// In on stdin: a JSON list of questions
//     {"file", "text": FILE, "tokens", "sequence_length", "prompt": tokens of the text to continue, "greedy": how many tokens}
//     and perhaps "bos", the id of a token that is put before the text of every sequence and of the prompt
// Out on stdout, for each:
//     {"blocks", "perplexity", "ids": the text's first token ids, "greedy": the ids of the continuation}
// The environment's EVOPRESS_TEST_NODE is a folder with node-llama-cpp.

import fs from "node:fs";
import path from "node:path";
import {pathToFileURL} from "node:url";

const tools = path.join(process.env.EVOPRESS_TEST_NODE, "node_modules", "node-llama-cpp", "dist", "index.js");
const {getLlama, LlamaLogLevel} = await import(pathToFileURL(tools).href);
const llama = await getLlama({gpu: false, build: "never", skipDownload: true, logLevel: LlamaLogLevel.error, maxThreads: 2});

/** All logits after each token of a sequence. */
async function logits(sequence, ids) {
    await sequence.clearHistory();
    const items = ids.map((id) => [id, {generateNext: {logits: true}}]);
    const answers = await sequence.controlledEvaluate(items);
    return answers.map((answer) => answer.next.logits);
}

/** −log p of `next` where these are the logits before it. */
function loss(logits, next) {
    const most = logits.get(argmax(logits));
    let sum = 0;
    logits.forEach((value) => (sum += Math.exp(value - most)));
    return most + Math.log(sum) - logits.get(next);
}

function argmax(logits) {
    let [best, most] = [undefined, -Infinity];
    logits.forEach((value, token) => {
        if (value > most) {
            [best, most] = [token, value];
        }
    });
    return best;
}

async function answer(question) {
    const model = await llama.loadModel({modelPath: question.file, gpuLayers: 0});
    const text = fs.readFileSync(question.text, "utf8").slice(0, question.tokens * 12);
    const ids = [...model.tokenize(text, false)].slice(0, question.tokens);
    const context = await model.createContext({contextSize: Math.max(question.sequence_length, 64), batchSize: 512});
    const sequence = context.getSequence();
    const bos = question.bos === undefined ? [] : [question.bos];
    const length = question.sequence_length - bos.length;
    let total = 0;
    let count = 0;
    for (let start = 0; start < ids.length; start += length) {
        const part = [...bos, ...ids.slice(start, start + length)];
        const found = await logits(sequence, part);
        for (let at = 0; at + 1 < part.length; at++) {
            total += loss(found[at], part[at + 1]);
            count++;
        }
    }
    const greedy = [];
    for (let step = 0; step < question.greedy; step++) {
        const found = await logits(sequence, [...bos, ...ids.slice(0, question.prompt), ...greedy]);
        greedy.push(argmax(found.at(-1)));
    }
    // The head counts as a layer there.
    const blocks = model.fileInsights.totalLayers - 1;
    await context.dispose();
    await model.dispose();
    return {blocks, perplexity: Math.exp(total / count), ids, greedy};
}

const answers = [];
for (const question of JSON.parse(fs.readFileSync(0, "utf8"))) {
    answers.push(await answer(question));
}
fs.writeSync(1, JSON.stringify(answers));
process.exit(0);
