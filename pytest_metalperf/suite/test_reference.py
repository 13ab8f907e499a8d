"""The five models that Apple named for TensorFlow training on the Mac, one test per model and device."""

from pytest_metalperf import MetalBench


def test_resnet50v2(metal_bench: MetalBench) -> None:
    metal_bench("resnet50v2")


def test_resnet50v2_head(metal_bench: MetalBench) -> None:
    metal_bench("resnet50v2-head")


def test_mobilenetv3(metal_bench: MetalBench) -> None:
    metal_bench("mobilenetv3")


def test_densenet121(metal_bench: MetalBench) -> None:
    metal_bench("densenet121")


def test_cyclegan(metal_bench: MetalBench) -> None:
    metal_bench("cyclegan")


def test_style_transfer(metal_bench: MetalBench) -> None:
    metal_bench("style-transfer")
