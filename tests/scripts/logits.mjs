// What the prebuilt llama.cpp computes with GGUF files.
//
// In on stdin: a JSON list of questions
//     {"file", "ids": [token ids of a sequence]}
// Out on stdout, for each:
//     {"architecture", "logits": [[a number for each token of the vocabulary] after each token of the sequence]}
// The environment's EVOPRESS_TEST_NODE is a folder with node-llama-cpp.

import fs from "node:fs";
import path from "node:path";
import {pathToFileURL} from "node:url";

const tools = path.join(process.env.EVOPRESS_TEST_NODE, "node_modules", "node-llama-cpp", "dist", "index.js");
const {getLlama, LlamaLogLevel} = await import(pathToFileURL(tools).href);
const llama = await getLlama({gpu: false, build: "never", skipDownload: true, logLevel: LlamaLogLevel.error, maxThreads: 2});

async function answer(question) {
    const model = await llama.loadModel({modelPath: question.file, gpuLayers: 0});
    const context = await model.createContext({contextSize: Math.max(question.ids.length, 64), batchSize: 512});
    const sequence = context.getSequence();
    const items = question.ids.map((id) => [id, {generateNext: {logits: true}}]);
    const answers = await sequence.controlledEvaluate(items);
    const logits = answers.map((answer) => {
        const numbers = [];
        answer.next.logits.forEach((logit, token) => (numbers[token] = logit));
        return numbers;
    });
    const architecture = model.fileInfo.metadata.general.architecture;
    await context.dispose();
    await model.dispose();
    return {architecture, logits};
}

const answers = [];
for (const question of JSON.parse(fs.readFileSync(0, "utf8"))) {
    answers.push(await answer(question));
}
process.stdout.write(JSON.stringify(answers), () => process.exit(0));
