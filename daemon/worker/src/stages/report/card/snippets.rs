//! Code that loads an artifact, as a reader of the model card copies it. Tests run it where the
//! runtime is installed.

/// For transformers. `import` and `dtype` are what the artifact's weights need, `trust` is what the
/// artifact's own code needs.
pub(super) fn transformers(place: &str, import: &str, dtype: &str, trust: &str) -> String {
    format!(
        "```python\n{import}from transformers import AutoModelForCausalLM, AutoTokenizer\n\n\
         model = AutoModelForCausalLM.from_pretrained(\"{place}\"{dtype}{trust})\n\
         tokenizer = AutoTokenizer.from_pretrained(\"{place}\"{trust})\n\
         ids = tokenizer(\"Once upon a time\", return_tensors=\"pt\").input_ids\n\
         print(tokenizer.decode(model.generate(ids, max_new_tokens=64)[0]))\n```\n\n"
    )
}

/// For vLLM, with `settings` beside the place.
pub(super) fn vllm(place: &str, settings: &str) -> String {
    format!(
        "With vLLM:\n\n```python\nfrom vllm import LLM\n\nmodel = LLM(\"{place}\"{settings})\n\
         print(model.generate(\"Once upon a time\")[0].outputs[0].text)\n```\n\n"
    )
}

/// For GPTQModel.
pub(super) fn gptqmodel(place: &str) -> String {
    format!(
        "With GPTQModel:\n\n```python\nfrom gptqmodel import GPTQModel\n\nmodel = GPTQModel.load(\"{place}\")\n```\n\n"
    )
}

/// For llama.cpp, on the command line and in Node.js.
pub(super) fn llama_cpp(place: &str) -> String {
    format!(
        "With llama.cpp:\n\n```sh\nllama-cli -m {place} -p \"Once upon a time\" -n 64 --temp 0\n```\n\n\
         In Node.js, with node-llama-cpp:\n\n```js\nimport {{getLlama, LlamaCompletion}} from \"node-llama-cpp\";\n\n\
         const llama = await getLlama();\n\
         const model = await llama.loadModel({{modelPath: \"{place}\"}});\n\
         const context = await model.createContext();\n\
         const completion = new LlamaCompletion({{contextSequence: context.getSequence()}});\n\
         console.log(await completion.generateCompletion(\"Once upon a time\", {{maxTokens: 64}}));\n```\n\n"
    )
}
