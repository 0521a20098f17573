"""The part of llama.cpp 0.5.0's headers that the GGUF benchmark calls, for ctypes. Structures are filled with llama.cpp's defaults."""

import ctypes
from ctypes import POINTER, c_bool, c_char, c_char_p, c_float, c_int, c_int8, c_int32, c_int64, c_size_t, c_uint32, c_void_p

VERSION = b"0.5.0-dev"
# Whether a tensor is to be seen, and then the tensor.
EvalCallback = ctypes.CFUNCTYPE(c_bool, c_void_p, c_bool, c_void_p)


class Tensor(ctypes.Structure):
    """`ggml_tensor`."""


Tensor._fields_ = [
    ("type", c_int),
    ("buffer", c_void_p),
    ("ne", c_int64 * 4),
    ("nb", c_size_t * 4),
    ("op", c_int),
    ("op_params", c_int32 * 16),
    ("flags", c_int32),
    ("src", POINTER(Tensor) * 10),
    ("view_src", c_void_p),
    ("view_offs", c_size_t),
    ("data", c_void_p),
    ("name", c_char * 64),
]


class Batch(ctypes.Structure):
    """`llama_batch`."""

    _fields_ = [
        ("n_tokens", c_int32),
        ("token", POINTER(c_int32)),
        ("embd", POINTER(c_float)),
        ("pos", POINTER(c_int32)),
        ("n_seq_id", POINTER(c_int32)),
        ("seq_id", POINTER(POINTER(c_int32))),
        ("logits", POINTER(c_int8)),
    ]


class ModelParams(ctypes.Structure):
    """`llama_model_params`."""

    _fields_ = [
        ("pointers", c_void_p * 2),
        ("n_gpu_layers", c_int32),
        ("modes", c_int * 4),
        ("more_pointers", c_void_p * 4),
        ("flags", c_bool * 6),
    ]


class ContextParams(ctypes.Structure):
    """`llama_context_params`."""

    _fields_ = [
        ("n_ctx", c_uint32),
        ("n_batch", c_uint32),
        ("n_ubatch", c_uint32),
        ("counts", c_uint32 * 4),
        ("n_threads", c_int32),
        ("n_threads_batch", c_int32),
        ("types", c_int * 5),
        ("rope", c_float * 8),
        ("cb_eval", EvalCallback),
        ("cb_eval_user_data", c_void_p),
        ("cache_types", c_int * 2),
        ("abort", c_void_p * 2),
        ("flags", c_bool * 6),
        ("samplers", c_void_p),
        ("n_samplers", c_size_t),
        ("ctx_other", c_void_p),
    ]


class Importance(ctypes.Structure):
    """`llama_model_imatrix_data`."""

    _fields_ = [("name", c_char_p), ("data", POINTER(c_float)), ("size", c_size_t)]


class QuantizeParams(ctypes.Structure):
    """`llama_model_quantize_params`."""

    _fields_ = [
        ("nthread", c_int32),
        ("ftype", c_int),
        ("output_tensor_type", c_int),
        ("token_embedding_type", c_int),
        ("allow_requantize", c_bool),
        ("flags", c_bool * 5),
        ("imatrix", POINTER(Importance)),
        ("overrides", c_void_p * 3),
        ("max_buf_size", c_size_t),
    ]


def declare(llama: ctypes.CDLL, ggml: ctypes.CDLL, base: ctypes.CDLL) -> None:
    """Types of the functions, most of which return more than an int or take structures by value."""
    for library, name, result, arguments in (
        (llama, "llama_version", c_char_p, []),
        (llama, "llama_log_set", None, [c_void_p, c_void_p]),
        (llama, "llama_model_default_params", ModelParams, []),
        (llama, "llama_context_default_params", ContextParams, []),
        (llama, "llama_model_quantize_default_params", QuantizeParams, []),
        (llama, "llama_model_quantize", c_uint32, [c_char_p, c_char_p, POINTER(QuantizeParams)]),
        (llama, "llama_model_load_from_file", c_void_p, [c_char_p, ModelParams]),
        (llama, "llama_init_from_model", c_void_p, [c_void_p, ContextParams]),
        (llama, "llama_model_get_vocab", c_void_p, [c_void_p]),
        (llama, "llama_vocab_n_tokens", c_int32, [c_void_p]),
        (llama, "llama_tokenize", c_int32, [c_void_p, c_char_p, c_int32, POINTER(c_int32), c_int32, c_bool, c_bool]),
        (llama, "llama_batch_init", Batch, [c_int32, c_int32, c_int32]),
        (llama, "llama_batch_free", None, [Batch]),
        (llama, "llama_decode", c_int32, [c_void_p, Batch]),
        (llama, "llama_get_logits", POINTER(c_float), [c_void_p]),
        (llama, "llama_get_memory", c_void_p, [c_void_p]),
        (llama, "llama_memory_clear", None, [c_void_p, c_bool]),
        (llama, "llama_free", None, [c_void_p]),
        (llama, "llama_model_free", None, [c_void_p]),
        (base, "gguf_init_from_file", c_void_p, [c_char_p, c_int64, c_void_p]),
        (base, "gguf_get_n_tensors", c_int64, [c_void_p]),
        (base, "gguf_get_tensor_name", c_char_p, [c_void_p, c_int64]),
        (base, "gguf_get_tensor_type", c_int, [c_void_p, c_int64]),
        (base, "gguf_get_tensor_size", c_size_t, [c_void_p, c_int64]),
        (base, "gguf_get_tensor_ne", POINTER(c_int64), [c_void_p, c_int64]),
        (base, "gguf_free", None, [c_void_p]),
        (base, "ggml_op_name", c_char_p, [c_int]),
        (ggml, "ggml_backend_load_all_from_path", None, [c_char_p]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
