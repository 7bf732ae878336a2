# SPDX-License-Identifier: Apache-2.0

"""A small vision-language backbone for SmolVLA, made on this machine without a download.

SmolVLA builds its backbone from a folder that holds a SmolVLM configuration, a processor and a tokenizer. The folder
written here describes the same architecture with small layers, and a tokenizer trained on the task sentences
(byte-level, so it can encode any other sentence too). The weights start random and are learnt with the policy.
"""

import argparse
import json
import math
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
from transformers.models.smolvlm.configuration_smolvlm import SmolVLMConfig
from transformers.models.smolvlm.image_processing_smolvlm import SmolVLMImageProcessor
from transformers.models.smolvlm.processing_smolvlm import SmolVLMProcessor
from transformers.models.smolvlm.video_processing_smolvlm import SmolVLMVideoProcessor
from vla_core.errors import VlaError

from vla_policy.training.train_run import say

DEFAULT_SENTENCES = (
    "pick up the block",
    "grasp the block and lift it from the table",
    "pick up the block and place it in the bin",
    "put the red block into the box on the left, then the green one on the right",
    "move the arm to the home position and open the gripper",
    "close the gripper slowly",
)
SPECIAL_TOKENS = {
    "image_token": "<image>",
    "fake_image_token": "<fake_token_around_image>",
    "global_image_token": "<global-img>",
    "end_of_utterance_token": "<end_of_utterance>",
    "video_token": "<video>",
}
BASE_TOKENS = ("<pad>", "<bos>", "<eos>", "<unk>")


class SmallVlmError(VlaError):
    """The backbone folder cannot be made: sizes do not fit each other, or the folder exists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallVlmSize:
    """Sizes of the backbone; layer counts are numbers of transformer blocks, widths are in channels.

    Attributes:
        image: Side of the square image that the vision tower sees [px]; SmolVLA resizes to it.
        patch: Side of one image patch [px].
        scale_factor: The connector joins `scale_factor` x `scale_factor` neighbouring patches into one token.
    """

    image: int = 96
    patch: int = 12
    scale_factor: int = 2
    vision_width: int = 96
    vision_layers: int = 3
    vision_heads: int = 4
    text_width: int = 128
    text_layers: int = 4
    text_heads: int = 4
    text_kv_heads: int = 2
    vocabulary: int = 512

    def check(self) -> None:
        """Raise `SmallVlmError` when the sizes do not fit each other."""
        side = self.image // self.patch
        problems = []
        if self.image % self.patch:
            problems.append(f"image {self.image} px is not a multiple of patch {self.patch} px")
        if side % self.scale_factor:
            problems.append(f"{side} patches per side cannot be joined by scale_factor {self.scale_factor}")
        if self.vision_width % self.vision_heads:
            problems.append(f"vision_width {self.vision_width} is not a multiple of {self.vision_heads} heads")
        if self.text_width % (2 * self.text_heads):
            problems.append(f"text_width {self.text_width} is not a multiple of twice {self.text_heads} heads")
        if self.text_heads % self.text_kv_heads:
            problems.append(f"{self.text_heads} heads cannot share {self.text_kv_heads} key/value heads")
        if problems:
            raise SmallVlmError("small VLM: " + "; ".join(problems) + ". Choose sizes that divide.")

    @property
    def tokens_per_image(self) -> int:
        """Number of tokens that one camera image becomes."""
        return (self.image // self.patch // self.scale_factor) ** 2


def make_small_vlm(output: Path, *, sentences: Sequence[str] = (), size: SmallVlmSize | None = None) -> dict[str, int]:
    """Write a backbone folder that SmolVLA's `vlm_model_name` can point to.

    Args:
        output: Folder to make; it must not exist. It appears complete or not at all.
        sentences: Task instructions to train the tokenizer on, beside the built-in ones.
        size: Layer sizes; the defaults train on two CPU cores.

    Returns:
        What was made: `vocabulary` (tokens) and `tokens_per_image`.

    Raises:
        SmallVlmError: the folder exists, or the sizes do not fit each other.
    """
    size = size or SmallVlmSize()
    size.check()
    if output.exists():
        raise SmallVlmError(f"small VLM: {output} exists already. Name a new folder, or delete this one.")
    output.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        tokenizer = _train_tokenizer([*DEFAULT_SENTENCES, *sentences], size.vocabulary)
        _processor(tokenizer, size).save_pretrained(work)
        _config(tokenizer, size).save_pretrained(work)
        work.chmod(0o755)
        work.rename(output)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return {"vocabulary": len(tokenizer), "tokens_per_image": size.tokens_per_image}


def _train_tokenizer(sentences: Sequence[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE with the special tokens that SmolVLM's processor looks up by name."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=1,
        special_tokens=[*BASE_TOKENS, *SPECIAL_TOKENS.values()],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(sentences, trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=bpe,
        pad_token=BASE_TOKENS[0],
        bos_token=BASE_TOKENS[1],
        eos_token=BASE_TOKENS[2],
        unk_token=BASE_TOKENS[3],
        extra_special_tokens=SPECIAL_TOKENS,
        model_max_length=256,
    )


def _processor(tokenizer: PreTrainedTokenizerFast, size: SmallVlmSize) -> SmolVLMProcessor:
    edge = {"longest_edge": size.image}
    return SmolVLMProcessor(
        SmolVLMImageProcessor(size=edge, max_image_size=edge, do_image_splitting=False),
        tokenizer,
        SmolVLMVideoProcessor(size=edge, max_image_size=edge),
        image_seq_len=size.tokens_per_image,
    )


def spread_of_weights(width: int) -> float:
    """Standard deviation of the first weights of a layer of this width: one that keeps the size of what passes through it.

    The 0.02 of SmolVLM's configuration does so for some thousand channels. In a hundred it all but wipes out what the vision
    tower says and where in the image it is: docs/explanation/data_scaling.md has what that costs.
    """
    return round(math.sqrt(1.0 / width), 4)


def _config(tokenizer: PreTrainedTokenizerFast, size: SmallVlmSize) -> SmolVLMConfig:
    vision = {
        "hidden_size": size.vision_width,
        "intermediate_size": 3 * size.vision_width,
        "num_hidden_layers": size.vision_layers,
        "num_attention_heads": size.vision_heads,
        "image_size": size.image,
        "patch_size": size.patch,
        "initializer_range": spread_of_weights(size.vision_width),
    }
    text = {
        "model_type": "llama",
        "vocab_size": len(tokenizer),
        "hidden_size": size.text_width,
        "intermediate_size": 3 * size.text_width,
        "num_hidden_layers": size.text_layers,
        "num_attention_heads": size.text_heads,
        "num_key_value_heads": size.text_kv_heads,
        "head_dim": size.text_width // size.text_heads,
        "max_position_embeddings": 1024,
        "initializer_range": spread_of_weights(size.text_width),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    config: SmolVLMConfig = SmolVLMConfig.from_dict(
        {
            "vision_config": vision,
            "text_config": text,
            "scale_factor": size.scale_factor,
            "image_token_id": tokenizer.convert_tokens_to_ids(SPECIAL_TOKENS["image_token"]),
            "pad_token_id": tokenizer.pad_token_id,
        }
    )
    return config


def main(argv: Sequence[str] | None = None) -> int:
    """Command line `ros2 run vla_policy make_small_vlm --output DIR`."""
    parser = argparse.ArgumentParser(
        prog="ros2 run vla_policy make_small_vlm",
        description="Make a small, untrained SmolVLM backbone folder for training SmolVLA from scratch, offline.",
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to make; must not exist")
    parser.add_argument("--sentence", action="append", default=[], help="task instruction for the tokenizer; repeat")
    parser.add_argument("--image", type=int, default=SmallVlmSize().image, help="image side [px] (default %(default)s)")
    arguments = parser.parse_args(argv)
    try:
        made = make_small_vlm(arguments.output, sentences=arguments.sentence, size=SmallVlmSize(image=arguments.image))
    except VlaError as error:
        say(f"error: {error}", sys.stderr)
        return 2
    say(f"{arguments.output}: {json.dumps(made)}")
    return 0
