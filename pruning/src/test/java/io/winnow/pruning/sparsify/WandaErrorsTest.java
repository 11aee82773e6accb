package io.winnow.pruning.sparsify;

import static io.winnow.pruning.sparsify.Masks.calibration;
import static io.winnow.pruning.sparsify.Masks.mask;
import static io.winnow.pruning.sparsify.Masks.weights;
import static io.winnow.pruning.sparsify.Masks.write;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.winnow.core.Fixtures;
import io.winnow.core.InvalidInputException;
import io.winnow.core.Provenance;
import io.winnow.core.QuantizedFixtures;
import io.winnow.core.RandomCheckpoint;
import io.winnow.core.internal.safetensors.OutputTensor;
import io.winnow.core.model.ExpertMask;
import io.winnow.core.model.MoeModels;
import io.winnow.pruning.FakeModel;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What Wanda refuses, and what that leaves behind: nothing. */
class WandaErrorsTest {
  @TempDir private Path folder;

  private static List<String> below(Path folder) throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      return files.map(file -> file.getFileName().toString()).sorted().toList();
    }
  }

  @Test
  void anInterruptLeavesNothing() throws IOException {
    Path source = new RandomCheckpoint().write(folder.resolve("source"));
    ExpertMask interrupting =
        (layer, expert, matrix, weights, zero) -> {
          if (layer == 1) {
            Thread.currentThread().interrupt();
          }
        };
    try {
      assertThatThrownBy(
              () ->
                  MoeModels.writeMasked(
                      source,
                      interrupting,
                      new Provenance("test", null, 0, null),
                      folder.resolve("target"),
                      null))
          .isInstanceOf(CancellationException.class);
      assertThatThrownBy(() -> mask(source, "2:4")).isInstanceOf(CancellationException.class);
      assertThat(Thread.currentThread().isInterrupted()).isTrue();
    } finally {
      assertThat(Thread.interrupted()).isTrue();
    }
    assertThat(below(folder)).containsExactly("source");
  }

  @Test
  void aMaskOfAnotherModelIsRefusedAndLeavesNothing() throws IOException {
    WandaMask mask = mask(new RandomCheckpoint().write(folder.resolve("source")), "0.5");
    Map<String, Path> others =
        Map.of(
            "Layer 2 was not calibrated",
            new RandomCheckpoint().set("num_hidden_layers", 3).write(folder.resolve("layers")),
            "Expert 4 of layer 0 was not calibrated",
            new RandomCheckpoint().set("num_local_experts", 5).write(folder.resolve("experts")),
            "have 32 weights, but 24 inputs",
            new RandomCheckpoint().set("intermediate_size", 32).write(folder.resolve("width")));
    List<String> before = below(folder);
    others.forEach(
        (message, other) ->
            assertThatThrownBy(() -> write(other, mask, folder.resolve("target")))
                .isInstanceOf(InvalidInputException.class)
                .hasMessageContaining(message)
                .hasMessageContaining("another model"));
    assertThat(below(folder)).isEqualTo(before);
  }

  @Test
  void damagedWeightsAreRefusedAndLeaveNothing() throws IOException {
    RandomCheckpoint random = new RandomCheckpoint();
    Path source = random.write(folder.resolve("source"));
    WandaMask mask = mask(source, "2:4");
    String name = "model.layers.1.block_sparse_moe.experts.3.w2.weight";
    List<OutputTensor> tensors = new ArrayList<>(random.tensors());
    float[] values = weights(source).readFloats(name);
    values[25] = Float.NaN;
    tensors.replaceAll(
        tensor ->
            tensor.name().equals(name)
                ? OutputTensor.ofFloats(name, List.of(16L, 24L), values)
                : tensor);
    Path damaged = random.write(folder.resolve("damaged"), tensors);
    assertThatThrownBy(() -> write(damaged, mask, folder.resolve("target")))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("Element [1, 1] of '" + name + "' is NaN");
    assertThat(below(folder)).containsExactly("damaged", "source");
    String norm = "model.layers.0.post_attention_layernorm.weight";
    tensors.replaceAll(
        tensor ->
            tensor.name().equals(norm)
                ? OutputTensor.ofFloats(norm, List.of(16L), infinite(16))
                : tensor);
    Path lost = random.write(folder.resolve("lost"), tensors);
    assertThatThrownBy(() -> mask(lost, "2:4"))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("not finite");
  }

  private static float[] infinite(int count) {
    float[] values = new float[count];
    Arrays.fill(values, Float.POSITIVE_INFINITY);
    return values;
  }

  @Test
  void rowsWithoutWholeGroupsAreRefusedWhileCalibrating() throws IOException {
    Path source = new RandomCheckpoint().set("intermediate_size", 22).write(folder.resolve("a"));
    assertThatThrownBy(() -> mask(source, "2:4"))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("Rows of 22 weights");
  }

  @ParameterizedTest
  @ValueSource(strings = {"gpt_oss", "llama4"})
  void transposedExpertsAreRefusedBeforeAnyWork(String family) {
    assertThatThrownBy(() -> MoeModels.checkMaskable(Fixtures.golden(family)))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("stored transposed");
  }

  @Test
  void quantisedExpertsAreRefusedBeforeAnyWork() throws IOException {
    Path quantised =
        QuantizedFixtures.fp8(Fixtures.golden("qwen3_moe"), folder.resolve("fp8"), 16, 16);
    assertThatThrownBy(() -> MoeModels.checkMaskable(quantised))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("quantised (fp8)")
        .hasMessageContaining("BF16");
  }

  @Test
  void routingThatScalesInputsIsRefused() {
    assertThatThrownBy(() -> mask(Fixtures.golden("llama4"), "2:4", calibration(2, 8, 128), true))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("scales the experts' inputs");
  }

  @Test
  void aHostThatDoesNotShowTheInsideOfItsExpertsIsToldWhatToDo() {
    FakeModel model = FakeModel.random(1, 1, 4, 8, 2, true);
    Wanda wanda = Wanda.builder().setPattern(SparsityPattern.TWO_OF_FOUR).build();
    assertThatThrownBy(() -> wanda.calibrate(model, FakeModel.calibration(1, 2, 8)))
        .isInstanceOf(UnsupportedOperationException.class)
        .hasMessageContaining("expertIntermediate");
  }

  @Test
  void aPatternIsNeeded() {
    assertThatThrownBy(() -> Wanda.builder().build())
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("setPattern");
  }

  @Test
  void aTargetThatExistsIsRefused() throws IOException {
    Path source = new RandomCheckpoint().write(folder.resolve("source"));
    WandaMask mask = mask(source, "2:4");
    assertThatThrownBy(() -> write(source, mask, Files.createDirectory(folder.resolve("there"))))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("there");
  }
}
