"""The prebuilt llama.cpp of node-llama-cpp, called by ctypes: its own quantizations of a model, and what GGUF files are worth to it."""

import ctypes
import time
from ctypes import POINTER, c_char_p, c_float, c_int, c_int32, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator

import numpy as np

from .llama_h import VERSION, EvalCallback, Importance, Tensor, declare

# llama.h's numbers of whole-file types, those that need no importance matrix first.
FILE_TYPES = {
    "Q2_K": 10, "Q3_K_S": 11, "Q3_K_M": 12, "Q3_K_L": 13, "Q4_K_S": 14, "Q4_K_M": 15, "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18,
    "Q4_0": 2, "Q4_1": 3, "Q5_0": 8, "Q5_1": 9, "Q8_0": 7, "IQ4_NL": 25, "IQ4_XS": 30, "IQ3_S": 26, "IQ3_M": 27, "Q2_0": 41,
    "Q2_K_S": 21, "IQ2_XXS": 19, "IQ2_XS": 20, "IQ2_S": 28, "IQ2_M": 29, "IQ3_XXS": 23, "IQ3_XS": 22,
}  # fmt: skip
NEED_IMPORTANCE = ("Q2_K_S", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "IQ3_XS")


@dataclass
class Size:
    """What a GGUF file weighs."""

    file_bytes: int
    layer_bytes: int
    num_weights: int

    @property
    def bits_per_weight(self) -> float:
        """Of the blocks' linear layers, scales included."""
        return self.layer_bytes * 8 / self.num_weights


class LlamaCpp:
    """The libraries in `node_tools`, a folder that scripts/setup.py makes."""

    def __init__(self, node_tools: Path, threads: int):
        folder = node_tools / "node_modules" / "@node-llama-cpp" / "linux-x64" / "bins" / "linux-x64"
        load = lambda name: ctypes.CDLL(str(next(folder.glob(name))), mode=ctypes.RTLD_GLOBAL)  # noqa: E731
        self.base, self.ggml, self.llama = load("libggml-base.so"), load("libggml.v*.so"), load("libllama.v*.so")
        self.threads = threads
        declare(self.llama, self.ggml, self.base)
        if self.llama.llama_version() != VERSION:
            raise SystemExit(f"{folder} has llama.cpp {self.llama.llama_version().decode()}; these structures are {VERSION.decode()}'s")
        self.silence = ctypes.CFUNCTYPE(None, c_int, c_char_p, c_void_p)(lambda *_: None)
        self.llama.llama_log_set(self.silence, None)
        self.ggml.ggml_backend_load_all_from_path(str(folder).encode())
        self.llama.llama_backend_init()

    def tensors(self, file: Path) -> dict[str, tuple[int, int, int]]:
        """ggml's type, bytes and weights of each tensor by name."""
        # `gguf_init_params` is two words: no_alloc, and where to put data.
        gguf = self.base.gguf_init_from_file(str(file).encode(), 1, None)
        found = {}
        for idx in range(self.base.gguf_get_n_tensors(gguf)):
            extents = self.base.gguf_get_tensor_ne(gguf, idx)
            num_weights = extents[0] * extents[1] * extents[2] * extents[3]
            name = self.base.gguf_get_tensor_name(gguf, idx).decode()
            found[name] = (self.base.gguf_get_tensor_type(gguf, idx), self.base.gguf_get_tensor_size(gguf, idx), num_weights)
        self.base.gguf_free(gguf)
        return found

    def size(self, file: Path) -> Size:
        """The file, and its linear layers: what is in blocks and not a norm."""
        tensors = self.tensors(file).items()
        layers = [tensor for name, tensor in tensors if name.startswith("blk.") and "norm" not in name]
        return Size(file.stat().st_size, sum(size for _, size, _ in layers), sum(count for *_, count in layers))

    def quantize(self, source: Path, file: Path, file_type: str, importance: dict[str, np.ndarray] | None) -> None:
        """Makes one of llama.cpp's own quantizations. The token embedding stays as it is."""
        params = self.llama.llama_model_quantize_default_params()
        params.nthread, params.ftype, params.allow_requantize = self.threads, FILE_TYPES[file_type], True
        params.token_embedding_type = self.tensors(source)["token_embd.weight"][0]
        if importance:
            # The list ends with an entry without a name; ctypes keeps what the entries point to alive only in Python.
            entries = (Importance * (len(importance) + 1))()
            kept = {name: np.ascontiguousarray(values, np.float32) for name, values in importance.items()}
            for entry, (name, values) in zip(entries, kept.items()):
                entry.name, entry.size = name.encode(), values.size
                entry.data = values.ctypes.data_as(POINTER(c_float))
            params.imatrix = entries
        partial = file.with_suffix(".part")
        if self.llama.llama_model_quantize(str(source).encode(), str(partial).encode(), ctypes.byref(params)) != 0:
            raise SystemExit(f"llama.cpp could not make {file.name}")
        partial.rename(file)

    def tokens(self, file: Path, text: str, count: int) -> list[int]:
        """The text's first tokens."""
        model = self.load(file)
        encoded = text[: count * 12].encode()
        ids = (c_int32 * len(encoded))()
        found = self.llama.llama_tokenize(self.llama.llama_model_get_vocab(model), encoded, len(encoded), ids, len(encoded), False, False)
        self.llama.llama_model_free(model)
        return list(ids[: min(found, count)])

    def perplexity(self, file: Path, ids: list[int], sequence_length: int) -> float:
        """`exp` of the mean loss of every token but the first of each sequence."""
        losses = []
        for part, logits in self.evaluate(file, ids, sequence_length):
            logits = logits[:-1].astype(np.float64)
            most = logits.max(axis=1)
            chosen = logits[np.arange(len(part) - 1), part[1:]]
            losses.extend(most + np.log(np.exp(logits - most[:, None]).sum(axis=1)) - chosen)
        return float(np.exp(np.mean(losses)))

    def evaluate(
        self, file: Path, ids: list[int], sequence_length: int, watch: Callable[[str, np.ndarray], None] | None = None
    ) -> Iterator[tuple[list[int], np.ndarray]]:
        """Each sequence and its logits. `watch` is shown the inputs `[tokens, features]` of each linear layer of a block, by tensor name."""
        model, context, batch = self.open(file, sequence_length, watch)
        width = self.llama.llama_vocab_n_tokens(self.llama.llama_model_get_vocab(model))
        for start in range(0, len(ids), sequence_length):
            part = ids[start : start + sequence_length]
            self.decode(context, batch, part, 0)
            yield part, np.ctypeslib.as_array(self.llama.llama_get_logits(context), (len(part), width))
        self.close(model, context, batch)

    def generation_speed(self, file: Path, prompt: list[int], count: int) -> float:
        """Tokens per second, one after another behind a prompt."""
        model, context, batch = self.open(file, len(prompt) + count)
        self.decode(context, batch, prompt, 0)
        start = time.perf_counter()
        for at in range(count):
            self.decode(context, batch, prompt[at : at + 1], len(prompt) + at)
        elapsed = time.perf_counter() - start
        self.close(model, context, batch)
        return count / elapsed

    def open(self, file: Path, num_tokens: int, watch: Callable[[str, np.ndarray], None] | None = None) -> tuple:
        """A model, a context of so many tokens and a batch for all of them."""
        model = self.load(file)
        params = self.llama.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = num_tokens
        params.n_threads = params.n_threads_batch = self.threads
        self.callback = self.inputs_of_layers(watch) if watch else EvalCallback()
        params.cb_eval = self.callback
        return model, self.llama.llama_init_from_model(model, params), self.llama.llama_batch_init(num_tokens, 0, 1)

    def decode(self, context: int, batch, ids: list[int], position: int) -> None:
        """Evaluates tokens from a position on, with the logits of all; at position 0 the context begins anew."""
        batch.n_tokens = len(ids)
        for at, token in enumerate(ids):
            batch.token[at], batch.pos[at], batch.n_seq_id[at], batch.logits[at] = token, position + at, 1, 1
            batch.seq_id[at][0] = 0
        if position == 0:
            self.llama.llama_memory_clear(self.llama.llama_get_memory(context), True)
        if self.llama.llama_decode(context, batch) != 0:
            raise SystemExit("llama.cpp could not evaluate a model")

    def close(self, model: int, context: int, batch) -> None:
        self.llama.llama_batch_free(batch)
        self.llama.llama_free(context)
        self.llama.llama_model_free(model)

    def inputs_of_layers(self, watch: Callable[[str, np.ndarray], None]) -> EvalCallback:
        """A callback that shows the second operand of products with weights of blocks."""

        def see(address: int, is_question: bool, _: object) -> bool:
            tensor = Tensor.from_address(address)
            if self.base.ggml_op_name(tensor.op) != b"MUL_MAT":
                return not is_question
            weight, inputs = tensor.src[0].contents, tensor.src[1].contents
            name = weight.name.decode()
            if is_question or not name.startswith("blk."):
                return not is_question or name.startswith("blk.")
            shape = (inputs.ne[1], inputs.ne[0])
            watch(name, np.ctypeslib.as_array(ctypes.cast(inputs.data, POINTER(c_float)), shape))
            return True

        return EvalCallback(see)

    def load(self, file: Path) -> int:
        params = self.llama.llama_model_default_params()
        params.n_gpu_layers = 0
        model = self.llama.llama_model_load_from_file(str(file).encode(), params)
        if not model:
            raise SystemExit(f"llama.cpp does not load {file}")
        return model
