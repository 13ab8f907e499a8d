"""Operations and FLOP of programs in text; excerpts have the form that JAX 0.10 prints."""

from __future__ import annotations

from pytest_metalperf.worker.backends.stablehlo import flop, operations

PROGRAM = """module @jit_step attributes {mhlo.num_partitions = 1 : i32} {
  func.func public @main(%arg0: tensor<8x70x70x3xf32>, %arg1: tensor<7x7x3x64xf32>) -> (tensor<8x10xf32>) {
    %0 = stablehlo.convolution(%arg0, %arg1) dim_numbers = [b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f], window = {stride = [2, 2]} {batch_group_count = 1 : i64, feature_group_count = 1 : i64} : (tensor<8x70x70x3xf32>, tensor<7x7x3x64xf32>) -> tensor<8x32x32x64xf32>
    %1 = call @relu(%0) : (tensor<8x32x32x64xf32>) -> tensor<8x32x32x64xf32>
    %2 = call @relu(%1) : (tensor<8x32x32x64xf32>) -> tensor<8x32x32x64xf32>
    %3 = stablehlo.dot_general %2, %4, contracting_dims = [1] x [0], precision = [DEFAULT, DEFAULT] : (tensor<8x64xf32>, tensor<64x10xf32>) -> tensor<8x10xf32>
    return %3 : tensor<8x10xf32>
  }
  func.func private @relu(%arg0: tensor<8x32x32x64xf32>) -> tensor<8x32x32x64xf32> {
    %cst = stablehlo.constant dense<0.000000e+00> : tensor<f32>
    %0 = stablehlo.maximum %arg0, %cst : tensor<8x32x32x64xf32>
    return %0 : tensor<8x32x32x64xf32>
  }
}
"""  # noqa: E501

FORWARD = 2 * 8 * 32 * 32 * 64 * 7 * 7 * 3
PRODUCT = 2 * 8 * 10 * 64


def test_operations_of_a_called_function_count_with_every_call():
    assert operations(PROGRAM) == {"convolution": 1, "dot_general": 1, "constant": 2, "maximum": 2}


def test_flop_of_convolutions_and_products():
    assert flop(PROGRAM) == FORWARD + PRODUCT


def test_the_gradient_of_a_strided_convolution_costs_what_the_convolution_does():
    before = "(tensor<8x70x70x3xf32>, tensor<7x7x3x64xf32>) -> tensor<8x32x32x64xf32>"
    assert before in PROGRAM
    gradient = PROGRAM.replace(before, "(tensor<8x32x32x64xf32>, tensor<7x7x64x3xf32>) -> tensor<8x70x70x3xf32>")
    assert flop(gradient) == FORWARD + PRODUCT


def test_grouped_convolutions_have_fewer_inputs_for_each_output():
    grouped = PROGRAM.replace("7x7x3x64xf32>)", "7x7x1x64xf32>)")
    assert flop(grouped) == FORWARD / 3 + PRODUCT


def test_places_between_dilated_images_are_no_work():
    dilated = PROGRAM.replace("stride = [2, 2]", "lhs_dilate = [2, 2]")
    assert dilated != PROGRAM
    assert flop(dilated) == FORWARD / 4 + PRODUCT


def test_a_program_without_either_has_no_flop():
    assert flop("func.func public @main() {\n  return\n}\n") is None
    assert flop("") is None
    assert operations("") == {}


LOOP = """module @jit_step {
  func.func public @main(%arg0: tensor<8x64xf32>, %arg1: tensor<64x64xf32>) -> tensor<8x64xf32> {
    %0 = stablehlo.dot_general %arg0, %arg1, contracting_dims = [1] x [0] : (tensor<8x64xf32>, tensor<64x64xf32>) -> tensor<8x64xf32>
    %1:2 = stablehlo.while(%iterArg = %c, %iterArg_0 = %0) : tensor<i32>, tensor<8x64xf32>
    cond {
      %2 = stablehlo.compare LT, %iterArg, %c_1, SIGNED : (tensor<i32>, tensor<i32>) -> tensor<i1>
      stablehlo.return %2 : tensor<i1>
    } do {
      %2 = func.call @body(%iterArg_0) : (tensor<8x64xf32>) -> tensor<8x64xf32>
      stablehlo.return %iterArg, %2 : tensor<i32>, tensor<8x64xf32>
    }
    return %1#1 : tensor<8x64xf32>
  }
  func.func private @body(%arg0: tensor<8x64xf32>) -> tensor<8x64xf32> {
    WHAT
    return %0 : tensor<8x64xf32>
  }
}
"""  # noqa: E501


def test_flop_are_unknown_where_a_product_lies_in_a_loop():
    product = (
        "%0 = stablehlo.dot_general %arg0, %cst, contracting_dims = [1] x [0]"
        " : (tensor<8x64xf32>, tensor<64x64xf32>) -> tensor<8x64xf32>"
    )
    assert flop(LOOP.replace("WHAT", product)) is None
    assert flop(LOOP.replace("WHAT", "%0 = stablehlo.tanh %arg0 : tensor<8x64xf32>")) == 2 * 8 * 64 * 64
