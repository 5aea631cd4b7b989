"""What a program runs, on texts made by hand."""

from equikit.plans.targets._operations import Array, Ran, arrays, ran

HLO = """HloModule jit_f, is_scheduled=true

%fused (a: f32[8]) -> f32[8] {
  %a = f32[8]{0} parameter(0)
  ROOT %inner = f32[8]{0} negate(%a)
}

%body (s: (s32[], f32[8])) -> (s32[], f32[8]) {
  %s = (s32[], f32[8]{0}) parameter(0)
  %i = s32[] get-tuple-element(%s), index=0
  %v = f32[8]{0} get-tuple-element(%s), index=1
  %next = s32[] add(%i, %i)
  %w = f32[8]{0} fusion(%v), kind=kLoop, calls=%fused
  ROOT %t = (s32[], f32[8]{0}) tuple(%next, %w)
}

%condition (s: (s32[], f32[8])) -> pred[] {
  %s.1 = (s32[], f32[8]{0}) parameter(0)
  %i.1 = s32[] get-tuple-element(%s.1), index=0
  ROOT %less = pred[] compare(%i.1, %i.1), direction=LT
}

%called (b: f32[8]) -> f32[8] {
  %b = f32[8]{0} parameter(0)
  %c1 = f32[8]{0} copy(%b)
  ROOT %c2 = f32[8]{0} copy(%c1)
}

%small (b: f32[8]) -> f32[8] {
  ROOT %b.1 = f32[8]{0} parameter(0)
}

ENTRY %main (x: f32[8], p: s32[]) -> f32[8] {
  %x = f32[8]{0} parameter(0), metadata={op_name="negate(x)"}
  %p = s32[] parameter(1)
  %one = s32[] constant(1)
  %flat = f32[8]{0} bitcast(%x)
  %start = (f32[8]{0:T(128)S(1)}, f32[8]{0}, u32[]{:S(2)}) copy-start(%flat)
  %done = f32[8]{0:T(128)S(1)} copy-done(%start)
  %init = (s32[], f32[8]{0}) tuple(%one, %done)
  %loop = (s32[], f32[8]{0}) while(%init), condition=%condition, body=%body
  %last = f32[8]{0} get-tuple-element(%loop), index=1
  %call = f32[8]{0} call(%last), to_apply=%called
  %branch = f32[8]{0} conditional(%p, %call, %call), branch_computations={%small, %called}
  %space = f32[8]{0} custom-call(), custom_call_target="AllocateBuffer"
  %pair = (f32[8]{0}, f32[8]{0}) custom-call(%branch, %done), custom_call_target="library", backend_config={}
  %first = f32[8]{0} get-tuple-element(%pair), index=0
  ROOT %fusion = f32[8]{0} fusion(%first), kind=kLoop, calls=%fused
}
"""


def test_operations_are_counted_as_the_documentation_says():
    found = ran(HLO)
    # The copy; in the loop an addition, a fusion and a comparison; two copies called; two in the longer branch; the
    # custom call and the last fusion.
    assert found.kernels == 1 + 3 + 2 + 2 + 1 + 1
    assert found.loops == 1
    assert found.custom_calls == ("library",)
    assert found.custom_bytes == 4 * 8 * 2 + 4 * 8 + 4 * 128  # two results, an operand, and one padded to a tile


def test_bytes_in_on_chip_memory_are_those_of_operands_and_results():
    # XLA counts the copy four times, of which one reads the memory of the device; the custom call reads it once more.
    assert ran(HLO).on_chip == 3 * 4 * 128 + 4 * 128


def test_arrays_are_padded_to_tiles():
    assert arrays("f32[32,64,64,32]{3,2,1,0:T(8,128)}") == (Array(4 * 32 * 64 * 64 * 128, False),)
    assert arrays("bf16[3,130]{0,1:T(8,128)(2,1)S(1)}") == (Array(2 * 136 * 128, True),)
    assert arrays("(s8[5]{0}, pred[], c64[2,3]{1,0}, f8e4m3fn[7])") == tuple(Array(n, False) for n in (5, 1, 48, 7))
    assert arrays("f32[]{:T(128)}") == (Array(512, False),)


def test_an_asynchronous_slice_is_one_operation_that_xla_does_not_count():
    text = """ENTRY %main (x: f32[8]) -> f32[4] {
  %x = f32[8]{0:S(1)} parameter(0)
  %start = ((f32[8]{0:S(1)}), f32[4]{0:S(1)}, s32[]) slice-start(%x), slice={[0:4]}
  ROOT %done = f32[4]{0:S(1)} slice-done(%start)
}
"""
    assert ran(text) == Ran(kernels=1)


def test_a_program_that_runs_nothing():
    assert ran("ENTRY %main (x: f32[8]) -> f32[8] {\n  ROOT %x = f32[8]{0} parameter(0)\n}\n") == Ran()


def test_memory_that_a_library_works_with_is_no_traffic():
    call = '  %y = (f32[8]{0}, s8[4096]{0}) custom-call(%x), custom_call_target="__cublas$gemm"\n'
    text = "ENTRY %main (x: f32[8]) -> f32[8] {\n  %x = f32[8]{0} parameter(0)\n" + call + "}\n"
    assert ran(text) == Ran(kernels=1, custom_calls=("__cublas$gemm",), custom_bytes=2 * 32)
