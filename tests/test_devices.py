"""What llama.cpp computes on: as it says itself, in ``info``, in the warning for GPU layers without a GPU."""

from __future__ import annotations

import llama_cpp
import psutil
import pytest

import easy_llama as ez
from easy_llama.engines.llama import devices, plan
from easy_llama.engines.llama.devices import Build, Device, build
from easy_llama.errors import EasyLlamaWarning
from tests.command import run


def test_the_cpu_is_always_there() -> None:
    found = build()
    assert found.version == llama_cpp.__version__
    assert "CPU" in found.backends
    [cpu] = [device for device in found.devices if device.kind == "CPU"]
    assert cpu.name == "CPU"
    assert cpu.description
    assert cpu.total_bytes == pytest.approx(psutil.virtual_memory().total, rel=0.1)
    gpus = [device for device in found.devices if device.kind in ("GPU", "integrated GPU")]
    assert bool(gpus) == llama_cpp.llama_supports_gpu_offload()


def test_a_device_in_words() -> None:
    assert str(Device("CUDA0", "NVIDIA H200", "GPU", 139 << 30)) == "CUDA0: NVIDIA H200 (GPU, 139.0 GiB)"
    assert str(Device("BLAS", "OpenBLAS", "accelerator", 0)) == "BLAS: OpenBLAS (accelerator)"


def test_a_library_that_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise AttributeError("undefined symbol")

    monkeypatch.setattr(devices, "_function", missing)
    assert build() == Build(llama_cpp.__version__, (), ())


def test_info_says_what_it_would_run_on() -> None:
    done = run("info")
    assert done.stderr == ""
    assert f"{llama_cpp.__version__}, built for" in done.stdout
    assert "CPU: " in done.stdout


@pytest.mark.parametrize(
    ("backends", "words"),
    [
        (("CPU",), "no GPU support; install one with"),
        (("CUDA", "CPU"), "built for CUDA, and no such GPU was found; check the card's driver"),
    ],
)
def test_gpu_layers_without_a_gpu_say_what_is_missing(
    backends: tuple[str, ...], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if llama_cpp.llama_supports_gpu_offload():
        pytest.skip("there is a GPU")
    monkeypatch.setattr(plan, "build", lambda: Build("0", backends, ()))
    with pytest.warns(EasyLlamaWarning, match=words) as caught:
        ez.Model(n_gpu_layers=-1, n_threads=1).unload()
    assert len(caught) == 1
    assert caught[0].filename == __file__
