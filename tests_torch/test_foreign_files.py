"""Files that PyTorch and transformers write really: given as a model, each is told for what it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import easy_llama as ez
from easy_llama.errors import ModelFileError, ModelIsDirectoryError


def test_a_checkpoint(tmp_path: Path) -> None:
    for name, is_zip in (("new.bin", True), ("old.pt", False)):
        torch.save({"w": torch.zeros(3)}, tmp_path / name, _use_new_zipfile_serialization=is_zip)
        with pytest.raises(ModelFileError, match="it is a PyTorch checkpoint; load it with transformers"):
            ez.Model(tmp_path / name)


def test_a_folder_and_its_weights(tmp_path: Path) -> None:
    config = LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    with pytest.raises(
        ModelIsDirectoryError, match="it holds a Transformers model; load it with transformers"
    ):
        ez.Model(tmp_path)
    with pytest.raises(ModelFileError, match=r"it is a safetensors file; .*convert_hf_to_gguf\.py"):
        ez.Model(tmp_path / "model.safetensors")
