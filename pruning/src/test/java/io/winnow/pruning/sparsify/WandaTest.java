package io.winnow.pruning.sparsify;

import static io.winnow.pruning.sparsify.Masks.calibration;
import static io.winnow.pruning.sparsify.Masks.mask;
import static io.winnow.pruning.sparsify.Masks.weights;
import static io.winnow.pruning.sparsify.Masks.write;
import static org.assertj.core.api.Assertions.assertThat;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.types.DataType;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.winnow.core.FamilyFixtures;
import io.winnow.core.Fixtures;
import io.winnow.core.ForwardObserver;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import io.winnow.core.Provenance;
import io.winnow.core.RandomCheckpoint;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import io.winnow.core.internal.safetensors.TensorInfo;
import io.winnow.core.internal.safetensors.TensorType;
import io.winnow.core.model.ExpertMatrix;
import io.winnow.core.model.LayerSparsity;
import io.winnow.core.model.MoeModels;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Wanda's masks, and the checkpoints that are written with them. */
class WandaTest {
  /** Layer (1), expert (2) and matrix (3) of Mixtral. */
  private static final Pattern MIXTRAL =
      Pattern.compile("model\\.layers\\.(\\d+)\\..*experts\\.(\\d+)\\.(w[123])\\.weight");

  private static final Pattern EXPERTS =
      Pattern.compile(".*\\.experts\\.\\d+\\..*|.*(input|output)_linear\\.weight");

  @TempDir private Path folder;

  /** The inputs {@code [tokens][hiddenSize]} of every layer. */
  private static Map<Integer, double[][]> inputs(Path source, Calibration calibration) {
    Map<Integer, double[][]> inputs = new HashMap<>();
    try (Model model =
        MoeModels.loader(source).optDevice(Device.cpu()).optDataType(DataType.FLOAT32).load()) {
      MoeModel.of(model)
          .forward(
              calibration.sequences(),
              new ForwardObserver() {
                @Override
                public boolean onInput(MoeLayerView layer, NDArray hidden) {
                  int width = (int) hidden.getShape().get(1);
                  float[] flat = hidden.toFloatArray();
                  double[][] rows = new double[flat.length / width][width];
                  for (int i = 0; i < flat.length; i++) {
                    rows[i / width][i % width] = flat[i];
                  }
                  inputs.put(layer.layerIndex(), rows);
                  return true;
                }
              });
    }
    return inputs;
  }

  private static double[] times(float[] matrix, double[] x) {
    double[] y = new double[matrix.length / x.length];
    for (int i = 0; i < matrix.length; i++) {
      y[i / x.length] += matrix[i] * x[i % x.length];
    }
    return y;
  }

  /** The elements of an expert's matrix that the paper's equation 1 erases, by the book. */
  private static boolean[] expected(
      SafetensorsFile file, double[][] inputs, String name, String pattern) {
    Matcher parts = MIXTRAL.matcher(name);
    assertThat(parts.matches()).isTrue();
    int expert = Integer.parseInt(parts.group(2));
    String moe = "model.layers." + parts.group(1) + ".block_sparse_moe.";
    float[] gate = file.readFloats(moe + "gate.weight");
    float[] w1 = file.readFloats(moe + "experts." + expert + ".w1.weight");
    float[] w3 = file.readFloats(moe + "experts." + expert + ".w3.weight");
    float[] matrix = file.readFloats(name);
    int columns = file.tensors().get(name).shape().get(1).intValue();
    double[] squares = new double[columns];
    for (double[] x : inputs) {
      double[] logits = times(gate, x);
      long better = Arrays.stream(logits).filter(logit -> logit > logits[expert]).count();
      if (better >= 2) {
        continue;
      }
      double[] operand = x;
      if (parts.group(3).equals("w2")) {
        double[] first = times(w1, x);
        double[] third = times(w3, x);
        operand =
            IntStream.range(0, first.length)
                .mapToDouble(i -> first[i] / (1 + Math.exp(-first[i])) * third[i])
                .toArray();
      }
      for (int i = 0; i < columns; i++) {
        squares[i] += operand[i] * operand[i];
      }
    }
    boolean[] zero = new boolean[matrix.length];
    int size = pattern.equals("2:4") ? 4 : columns;
    int count = pattern.equals("2:4") ? 2 : (int) (columns * Double.parseDouble(pattern));
    for (int from = 0; from < matrix.length; from += size) {
      IntStream.range(from, from + size)
          .boxed()
          .sorted(
              Comparator.comparingDouble(
                  i -> Math.abs(matrix[i]) * Math.sqrt(squares[i % columns])))
          .limit(count)
          .forEach(i -> zero[i] = true);
    }
    return zero;
  }

  @ParameterizedTest
  @CsvSource({
    "2:4, F32, true",
    "2:4, F32, false",
    "2:4, BF16, true",
    "0.5, F16, true",
    "0.3, F32, true"
  })
  void theWeightsWithTheLowestProductsOfMagnitudeAndInputNormBecomeZeroAndNothingElse(
      String pattern, TensorType type, boolean fused) throws IOException {
    Path source = new RandomCheckpoint().type(type).write(folder.resolve("source"));
    Path target = folder.resolve("target");
    Calibration calibration = calibration(4, 24, 50);
    write(source, mask(source, pattern, calibration, fused), target);
    Map<Integer, double[][]> inputs = inputs(source, calibration);
    SafetensorsFile before = weights(source);
    SafetensorsFile after = weights(target);
    assertThat(after.tensors().keySet()).isEqualTo(before.tensors().keySet());
    for (String name : before.tensors().keySet()) {
      ByteBuffer wanted = ByteBuffer.allocate((int) before.tensors().get(name).length());
      wanted.put(before.read(name)).flip();
      Matcher parts = MIXTRAL.matcher(name);
      if (parts.matches()) {
        double[][] ofLayer = inputs.get(Integer.valueOf(parts.group(1)));
        boolean[] zero = expected(before, ofLayer, name, pattern);
        for (int i = 0; i < zero.length; i++) {
          for (int b = 0; zero[i] && b < type.bytes(); b++) {
            wanted.put(i * type.bytes() + b, (byte) 0);
          }
        }
      }
      assertThat(after.read(name)).as(name).isEqualTo(wanted);
    }
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "mixtral",
        "qwen2_moe",
        "qwen3_moe",
        "olmoe",
        "phimoe",
        "granitemoe",
        "ernie4_5_moe",
        "deepseek_v2",
        "deepseek_v3",
        "glm4_moe"
      })
  void twoOfEveryFourAreZeroInEveryFamilyWhoseRowsLieTogether(String family) {
    Path source = Fixtures.golden(family);
    Path target = folder.resolve("target");
    WandaMask mask = mask(source, "2:4", calibration(4, 24, 128), true);
    SparsityReport report = mask.report(write(source, mask, target));
    SafetensorsFile before = weights(source);
    SafetensorsFile after = weights(target);
    long masked = 0;
    for (TensorInfo info : before.tensors().values()) {
      if (!EXPERTS.matcher(info.name()).matches()) {
        assertThat(after.read(info.name())).as(info.name()).isEqualTo(before.read(info.name()));
        continue;
      }
      float[] old = before.readFloats(info.name());
      float[] values = after.readFloats(info.name());
      masked += values.length;
      for (int from = 0; from < values.length; from += 4) {
        int zeros = 0;
        for (int i = from; i < from + 4; i++) {
          zeros += values[i] == 0 ? 1 : 0;
          assertThat(values[i]).isIn(0f, old[i]);
        }
        assertThat(zeros).as("%s from %d", info.name(), from).isEqualTo(2);
      }
    }
    assertThat(report.weights()).isEqualTo(masked);
    assertThat(report.zeros()).isEqualTo(masked / 2);
    assertThat(report.denseBytes()).isEqualTo(4 * masked);
    // Half of the values in 4 bytes, and two bits for each of them.
    assertThat(report.compressedBytes()).hasValue(masked / 2 * 4 + masked / 2 / 4);
    try (Model model = MoeModels.load(target, Device.cpu())) {
      assertThat(MoeModel.of(model).moeLayers()).isNotEmpty();
    }
  }

  @Test
  void expertsInAnotherOrderHaveTheSameMasks() throws IOException {
    int[] order = {5, 2, 7, 0, 1, 6, 3, 4};
    Path source = Fixtures.golden("mixtral");
    Path other = FamilyFixtures.reordered("mixtral", folder.resolve("other"), order);
    for (Path path : List.of(source, other)) {
      WandaMask mask = mask(path, "0.5", calibration(4, 24, 128), true);
      write(path, mask, folder.resolve(path == source ? "one" : "two"));
    }
    SafetensorsFile one = weights(folder.resolve("one"));
    SafetensorsFile two = weights(folder.resolve("two"));
    for (int place = 0; place < order.length; place++) {
      for (String matrix : List.of("w1", "w2", "w3")) {
        String name = "model.layers.1.block_sparse_moe.experts.%d." + matrix + ".weight";
        assertThat(two.read(String.format(name, place)))
            .isEqualTo(one.read(String.format(name, order[place])));
      }
    }
  }

  @Test
  void anExpertThatNoTokenSelectsIsMaskedByMagnitude() throws IOException {
    Path source = new RandomCheckpoint().set("num_local_experts", 8).write(folder.resolve("a"));
    // Two tokens select at most four experts.
    WandaMask mask = mask(source, "2:4", calibration(1, 2, 50), true);
    List<LayerSparsity> written = write(source, mask, folder.resolve("b"));
    SparsityReport report = mask.report(written);
    assertThat(mask.unreached(0)).hasSizeBetween(4, 6).isSorted();
    assertThat(report.layers().get(0).unreached()).isEqualTo(mask.unreached(0));
    assertThat(report.zeros()).isEqualTo(report.weights() / 2);
    boolean[] zero = new boolean[16];
    float[] row = {1, -4, 3, -2, 5, 6, -7, 8, 1, 1, 1, 1, -0f, 9, 0, 9};
    mask.mask(0, mask.unreached(0).get(0), ExpertMatrix.GATE, row, zero);
    assertThat(IntStream.range(0, 16).filter(i -> zero[i]))
        .containsExactly(0, 3, 4, 5, 8, 9, 12, 14);
  }

  @Test
  void theFolderSaysHowItWasMade() throws IOException {
    Path source = new RandomCheckpoint().write(folder.resolve("source"));
    WandaMask mask = mask(source, "2:4");
    SparsityReport report = mask.report(write(source, mask, folder.resolve("target")));
    JsonObject config =
        JsonParser.parseString(Files.readString(folder.resolve("target/config.json")))
            .getAsJsonObject();
    JsonObject winnow = config.getAsJsonObject("winnow");
    assertThat(winnow.get("method").getAsString()).isEqualTo("wanda-2:4");
    assertThat(winnow.get("calibration").getAsString()).isEqualTo(calibration(4, 24, 50).digest());
    assertThat(winnow.get("source").getAsString()).isEqualTo(mask.provenance().source());
    assertThat(winnow.get("note").getAsString()).contains("as large as before");
    config.remove("winnow");
    assertThat(config)
        .isEqualTo(JsonParser.parseString(Files.readString(source.resolve("config.json"))));
    Path json = folder.resolve("report.json");
    report.write(json);
    JsonObject read = JsonParser.parseString(Files.readString(json)).getAsJsonObject();
    assertThat(read.keySet()).startsWith("kind", "version");
    assertThat(read.get("kind").getAsString()).isEqualTo("winnow-sparsity-report");
    assertThat(read.get("pattern").getAsString()).isEqualTo("2:4");
    assertThat(read.get("calibration_tokens").getAsLong()).isEqualTo(96);
    assertThat(read.get("zeros").getAsLong()).isEqualTo(report.zeros());
    assertThat(read.getAsJsonArray("layers")).hasSize(2);
  }

  @Test
  void aMaskedCheckpointCanBeMaskedAgainAndPruned() throws IOException {
    Path source = new RandomCheckpoint().write(folder.resolve("source"));
    Map<Integer, List<Integer>> uneven = Map.of(0, List.of(0, 1, 3), 1, List.of(1, 2));
    MoeModels.writePruned(
        source, uneven, new Provenance("test", null, 0, null), folder.resolve("uneven"), null);
    Path pruned = folder.resolve("uneven");
    write(pruned, mask(pruned, "0.5"), folder.resolve("half"));
    Path half = folder.resolve("half");
    WandaMask same = mask(half, "0.5");
    List<LayerSparsity> again = write(half, same, folder.resolve("again"));
    // What is zero has the lowest scores.
    assertThat(
            weights(folder.resolve("again"))
                .read("model.layers.0.block_sparse_moe.experts.0.w1.weight"))
        .isEqualTo(weights(half).read("model.layers.0.block_sparse_moe.experts.0.w1.weight"));
    assertThat(again.get(0).weights()).isEqualTo(3 * 3 * 16 * 24);
    try (Model model = MoeModels.load(folder.resolve("again"), Device.cpu())) {
      assertThat(MoeModel.of(model).moeLayers().get(0).numExperts()).isEqualTo(3);
      assertThat(MoeModel.of(model).moeLayers().get(1).numExperts()).isEqualTo(2);
    }
  }
}
