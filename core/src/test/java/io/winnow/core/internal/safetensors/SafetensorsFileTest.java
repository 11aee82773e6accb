package io.winnow.core.internal.safetensors;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.google.common.primitives.Longs;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.safetensors.Segment.BufferSegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class SafetensorsFileTest {
  @TempDir Path folder;

  @Test
  void readsTheHeaderThatTransformersWrote() {
    SafetensorsFile file =
        SafetensorsFile.open(TestFiles.TINY_MIXTRAL.resolve("model.safetensors"));

    assertThat(file.metadata()).containsExactly(Map.entry("format", "pt"));
    assertThat(file.tensors().keySet()).first().isEqualTo("lm_head.weight");
    TensorInfo info = file.tensors().get("lm_head.weight");
    assertThat(info.type()).isEqualTo(TensorType.BF16);
    assertThat(info.shape()).containsExactly(1024L, 128L);
    assertThat(info.elements()).isEqualTo(1024 * 128);
    assertThat(info.length()).isEqualTo(262_144);
    assertThat(file.tensors().values().stream().map(TensorInfo::offset)).isSorted();
  }

  @Test
  void metadataThatIsNullIsAbsent() {
    Path file =
        TestFiles.safetensors(
            folder.resolve("null.safetensors"),
            "{\"__metadata__\":null,\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}",
            2);

    assertThat(SafetensorsFile.open(file).metadata()).isEmpty();
    assertThat(SafetensorsFile.open(file).tensors()).containsOnlyKeys("a");
  }

  @Test
  void readsTheGoldensIntoArrays() {
    SafetensorsFile file =
        SafetensorsFile.open(TestFiles.RESOURCES.resolve("goldens/mixtral/golden.safetensors"));

    assertThat(Longs.asList(file.readLongs("input_ids")))
        .hasSize(34)
        .allMatch(id -> id >= 0 && id < 100_000, "a token id");
    float[] logits = file.readFloats("logits");
    assertThat(logits).hasSize((int) file.tensors().get("logits").elements());
    assertThat(logits[0]).isNotZero().isBetween(-100f, 100f);
  }

  @Test
  void readsEveryIntegerTypeAsLongs() {
    Path path = folder.resolve("integers.safetensors");
    SafetensorsFile.write(
        path,
        List.of(
            OutputTensor.ofLongs("i64", List.of(2L), new long[] {Long.MIN_VALUE, 7}),
            TestFiles.ofBytes("i32", TensorType.I32, List.of(1L), 0xfe, 0xff, 0xff, 0xff),
            TestFiles.ofBytes("u32", TensorType.U32, List.of(1L), 0xfe, 0xff, 0xff, 0xff),
            TestFiles.ofBytes("i16", TensorType.I16, List.of(1L), 0xfe, 0xff),
            TestFiles.ofBytes("u16", TensorType.U16, List.of(1L), 0xfe, 0xff),
            TestFiles.ofBytes("i8", TensorType.I8, List.of(1L), 0xfe),
            TestFiles.ofBytes("u8", TensorType.U8, List.of(1L), 0xfe),
            TestFiles.ofBytes("bool", TensorType.BOOL, List.of(2L), 0, 1)),
        Map.of());

    SafetensorsFile file = SafetensorsFile.open(path);
    assertThat(file.readLongs("i64")).containsExactly(Long.MIN_VALUE, 7);
    assertThat(file.readLongs("i32")).containsExactly(-2);
    assertThat(file.readLongs("u32")).containsExactly(0xfffffffeL);
    assertThat(file.readLongs("i16")).containsExactly(-2);
    assertThat(file.readLongs("u16")).containsExactly(0xfffe);
    assertThat(file.readLongs("i8")).containsExactly(-2);
    assertThat(file.readLongs("u8")).containsExactly(0xfe);
    assertThat(file.readLongs("bool")).containsExactly(0, 1);
  }

  @Test
  void readsEveryFloatingPointTypeAsFloats() {
    Path path = folder.resolve("floats.safetensors");
    ByteBuffer doubles = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN);
    doubles.putDouble(0, 0.1);
    SafetensorsFile.write(
        path,
        List.of(
            new OutputTensor("f64", TensorType.F64, List.of(), List.of(new BufferSegment(doubles))),
            OutputTensor.ofFloats("f32", List.of(2L), new float[] {1.5f, -0f}),
            TestFiles.ofBytes("bf16", TensorType.BF16, List.of(2L), 0xc0, 0x3f, 0x80, 0xff),
            TestFiles.ofBytes("f16", TensorType.F16, List.of(1L), 0x01, 0xbc)),
        Map.of());

    SafetensorsFile file = SafetensorsFile.open(path);
    assertThat(file.readFloats("f64")).containsExactly(0.1f);
    assertThat(file.readFloats("f32")).containsExactly(1.5f, -0f);
    assertThat(file.readFloats("bf16")).containsExactly(1.5f, Float.NEGATIVE_INFINITY);
    assertThat(file.readFloats("f16")).containsExactly(-1.0009765625f);
  }

  @Test
  void decodesAllKindsOfHalfPrecisionNumbers() {
    assertThat(HalfFloat.toFloat((short) 0x3c00)).isEqualTo(1f);
    assertThat(HalfFloat.toFloat((short) 0xc000)).isEqualTo(-2f);
    assertThat(HalfFloat.toFloat((short) 0x7bff)).isEqualTo(65504f);
    assertThat(HalfFloat.toFloat((short) 0x0400)).isEqualTo(0x1p-14f);
    assertThat(HalfFloat.toFloat((short) 0x0001)).isEqualTo(0x1p-24f);
    assertThat(HalfFloat.toFloat((short) 0x83ff)).isEqualTo(-1023 * 0x1p-24f);
    assertThat(HalfFloat.toFloat((short) 0x8000)).isEqualTo(-0f);
    assertThat(HalfFloat.toFloat((short) 0x7c00)).isEqualTo(Float.POSITIVE_INFINITY);
    assertThat(HalfFloat.toFloat((short) 0xfc00)).isEqualTo(Float.NEGATIVE_INFINITY);
    assertThat(HalfFloat.toFloat((short) 0x7e00)).isNaN();
  }

  @Test
  void readsEveryTypeOfTheFormatAsBytes() {
    for (TensorType type : TensorType.values()) {
      Path path = folder.resolve(type + ".safetensors");
      int length = type.bits() * 8 / 8;
      TestFiles.safetensors(
          path,
          "{\"x\":{\"dtype\":\"%s\",\"shape\":[8],\"data_offsets\":[0,%d]}}"
              .formatted(type, length),
          length);

      assertThat(SafetensorsFile.open(path).read("x").remaining()).as("%s", type).isEqualTo(length);
    }
    assertThat(TensorType.C64.bytes()).isEqualTo(8);
    assertThatThrownBy(TensorType.F4::bytes)
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll("F4", "4 bits");
  }

  @Test
  void readsASingleValueAndAnEmptyTensor() {
    Path path = folder.resolve("small.safetensors");
    SafetensorsFile.write(
        path,
        List.of(
            OutputTensor.ofLongs("empty", List.of(0L, 3L), new long[0]),
            OutputTensor.ofLongs("one", List.of(), new long[] {5}),
            OutputTensor.ofLongs("end", List.of(0L), new long[0])),
        Map.of());

    SafetensorsFile file = SafetensorsFile.open(path);
    assertThat(file.readLongs("empty")).isEmpty();
    assertThat(file.readLongs("one")).containsExactly(5);
    assertThat(file.readLongs("end")).isEmpty();
    assertThat(file.tensors().get("one").elements()).isEqualTo(1);
  }

  @Test
  void givesBytesThatCannotBeChanged() {
    ByteBuffer bytes =
        SafetensorsFile.open(TestFiles.safetensors(folder.resolve("x"), HEADER, 4)).read("a");

    assertThat(bytes.isReadOnly()).isTrue();
    assertThat(bytes.order()).isEqualTo(ByteOrder.LITTLE_ENDIAN);
    assertThat(bytes.getInt(0)).isEqualTo(0x03020100);
  }

  @Test
  void namesTheTensorsThereAreWhenOneIsMissing() {
    SafetensorsFile file =
        SafetensorsFile.open(TestFiles.TINY_MIXTRAL.resolve("model.safetensors"));

    assertThatThrownBy(() -> file.read("input_ids"))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll("model.safetensors", "'input_ids'", "lm_head.weight", "…");
  }

  @Test
  void rejectsReadingATypeAsAnother() {
    SafetensorsFile file =
        SafetensorsFile.open(TestFiles.TINY_MIXTRAL.resolve("model.safetensors"));

    assertThatThrownBy(() -> file.readLongs("lm_head.weight"))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll("'lm_head.weight'", "BF16", "I64");
    SafetensorsFile bytes =
        SafetensorsFile.open(TestFiles.safetensors(folder.resolve("x"), HEADER, 4));
    assertThatThrownBy(() -> bytes.readFloats("a"))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll("'a'", "U8", "F32");
  }

  private static final String HEADER =
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}";

  private static String entry(String name, String shape, String offsets) {
    return "\"%s\":{\"dtype\":\"U8\",\"shape\":%s,\"data_offsets\":%s}"
        .formatted(name, shape, offsets);
  }
}
