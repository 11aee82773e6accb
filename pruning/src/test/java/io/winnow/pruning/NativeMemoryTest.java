package io.winnow.pruning;

import static org.assertj.core.api.Assertions.assertThat;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.ndarray.types.DataType;
import io.winnow.core.Fixtures;
import io.winnow.core.ResidentMemory;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.internal.safetensors.OutputTensor;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import io.winnow.core.internal.safetensors.Segment;
import io.winnow.core.internal.safetensors.TensorType;
import io.winnow.core.model.MoeModels;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;

/** Native memory is not left to the garbage collector, nor kept by a long-lived manager. */
@EnabledOnOs(OS.LINUX)
class NativeMemoryTest {
  private static final long SLACK = 24L << 20;

  private static MoeModels.Loader loader(Path folder) {
    return MoeModels.loader(folder).optDevice(Device.cpu()).optDataType(DataType.FLOAT32);
  }

  private static Calibration calibration() {
    long[][] ids = new long[2][];
    for (int i = 0; i < ids.length; i++) {
      ids[i] = Arrays.copyOf(Fixtures.naeeTokens("calib.code").sequence(i), 16);
    }
    return Calibration.ofTokens(ids);
  }

  @Test
  void loadingPruningAndClosingAModelManyTimesStaysFlat() throws Exception {
    Calibration calibration = calibration();
    ResidentMemory.assertFlat(
        "load, prune, close",
        200,
        SLACK,
        () -> {
          try (Model model = loader(Fixtures.TINY_MIXTRAL).load()) {
            return ExpertPruner.prune(model, calibration, 6);
          }
        });
  }

  @Test
  void loadingInTheStoredTypeToo() throws Exception {
    Calibration calibration = calibration();
    ResidentMemory.assertFlat(
        "load in bfloat16, prune, close",
        60,
        SLACK,
        () -> {
          try (Model model = MoeModels.load(Fixtures.TINY_MIXTRAL, Device.cpu())) {
            return ExpertPruner.prune(model, calibration, 6);
          }
        });
  }

  @Test
  void searchingOneModelManyTimesStaysFlat() throws Exception {
    Calibration calibration = calibration();
    ExpertPruner progressive = ExpertPruner.builder().optProgressive(true).build();
    ExpertPruner layerwise = ExpertPruner.builder().build();
    int[] count = {0};
    try (Model model = loader(Fixtures.TINY_MIXTRAL).load()) {
      ResidentMemory.assertFlat(
          "search",
          200,
          SLACK,
          () -> (count[0]++ % 10 == 0 ? progressive : layerwise).search(model, calibration, 6));
    }
  }

  @Test
  void pruningInPlaceFreesTheDroppedExperts(@TempDir Path folder) throws IOException {
    // More than 32 MB each, so that the C library hands them back whatever it did before.
    int hidden = 1024;
    int intermediate = 8448;
    writeCheckpoint(folder, hidden, intermediate);
    // In another type than the stored one, so that the weights are copies of our own.
    try (Model model = loader(folder).load()) {
      Calibration calibration = FakeModel.calibration(1, 2, 16);
      ExpertPruner.builder().build().search(model, calibration, 1);
      for (int i = 0; i < 3; i++) {
        // So that the heap, which is anonymous memory too, shrinks now and not later.
        System.gc();
      }
      long before = ResidentMemory.bytes("RssAnon");
      long heap = Runtime.getRuntime().totalMemory();
      ExpertPruner.prune(model, calibration, 1);
      long freed = before - ResidentMemory.bytes("RssAnon");
      long byHeap = Math.max(0, heap - Runtime.getRuntime().totalMemory());
      long dropped = 3L * 3 * 4 * hidden * intermediate;
      assertThat(freed - byHeap)
          .as(
              "anonymous memory was %d MB, of which %d MB were freed, %d MB by the Java heap; the"
                  + " dropped experts had %d MB",
              before >> 20, freed >> 20, byHeap >> 20, dropped >> 20)
          .isGreaterThan(dropped * 9 / 10);
    }
  }

  /** One layer of four experts in bfloat16, top-1. */
  private static void writeCheckpoint(Path folder, int hidden, int intermediate)
      throws IOException {
    Files.writeString(
        folder.resolve("config.json"),
        """
        {"model_type": "mixtral", "vocab_size": %d, "hidden_size": %d, "intermediate_size": %d,
         "num_hidden_layers": 1, "num_attention_heads": 8, "num_key_value_heads": 8,
         "num_local_experts": 4, "num_experts_per_tok": 1, "max_position_embeddings": 64,
         "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true}
        """
            .formatted(FakeModel.VOCABULARY, hidden, intermediate));
    // The values do not matter: all tensors are made of the same.
    ByteBuffer values =
        ByteBuffer.allocate(2 * hidden * intermediate).order(ByteOrder.LITTLE_ENDIAN);
    Random random = new Random(8);
    while (values.hasRemaining()) {
      values.putShort((short) (Float.floatToIntBits(0.1f * (random.nextFloat() - 0.5f)) >>> 16));
    }
    List<OutputTensor> tensors = new ArrayList<>();
    tensors.add(tensor(values, "model.embed_tokens.weight", FakeModel.VOCABULARY, hidden));
    tensors.add(tensor(values, "model.norm.weight", hidden));
    String layer = "model.layers.0.";
    tensors.add(tensor(values, layer + "input_layernorm.weight", hidden));
    tensors.add(tensor(values, layer + "post_attention_layernorm.weight", hidden));
    for (String name : List.of("q", "k", "v", "o")) {
      tensors.add(tensor(values, layer + "self_attn." + name + "_proj.weight", hidden, hidden));
    }
    tensors.add(tensor(values, layer + "block_sparse_moe.gate.weight", 4, hidden));
    for (int expert = 0; expert < 4; expert++) {
      String name = layer + "block_sparse_moe.experts." + expert + ".w";
      tensors.add(tensor(values, name + "1.weight", intermediate, hidden));
      tensors.add(tensor(values, name + "3.weight", intermediate, hidden));
      tensors.add(tensor(values, name + "2.weight", hidden, intermediate));
    }
    SafetensorsFile.write(folder.resolve("model.safetensors"), tensors, Map.of("format", "pt"));
  }

  private static OutputTensor tensor(ByteBuffer values, String name, int... shape) {
    int size = Arrays.stream(shape).reduce(1, (a, b) -> a * b);
    return new OutputTensor(
        name,
        TensorType.BF16,
        Arrays.stream(shape).mapToObj(Long::valueOf).toList(),
        List.of(new Segment.BufferSegment(values.duplicate().position(0).limit(2 * size))));
  }
}
