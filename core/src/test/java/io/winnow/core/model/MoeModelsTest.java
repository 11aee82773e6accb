package io.winnow.core.model;

import static io.winnow.core.LoadedModels.load;
import static io.winnow.core.LoadedModels.logits;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import ai.djl.nn.Parameter;
import ai.djl.training.DefaultTrainingConfig;
import ai.djl.training.GradientCollector;
import ai.djl.training.ParameterStore;
import ai.djl.training.Trainer;
import ai.djl.training.loss.SoftmaxCrossEntropyLoss;
import ai.djl.training.optimizer.Optimizer;
import ai.djl.training.tracker.Tracker;
import com.google.gson.JsonObject;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeModel;
import io.winnow.core.Provenance;
import io.winnow.core.RandomCheckpoint;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.decoder.MoeDecoder;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import io.winnow.core.internal.safetensors.TensorInfo;
import io.winnow.core.internal.safetensors.TensorType;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Training and writing of models that were loaded, and where their texts end. */
class MoeModelsTest {
  @TempDir private Path folder;

  @Test
  void theFloat32ModelCanBeTrained() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    DefaultTrainingConfig config =
        new DefaultTrainingConfig(new SoftmaxCrossEntropyLoss("loss", 1, -1, true, true))
            .optOptimizer(Optimizer.adam().optLearningRateTracker(Tracker.fixed(0.01f)).build())
            .optDevices(new Device[] {Device.cpu()});
    try (Model model = load(checkpoint);
        Trainer trainer = model.newTrainer(config);
        NDManager manager = model.getNDManager().newSubManager()) {
      trainer.initialize(new Shape(2, 6));
      NDArray ids =
          manager.create(new long[] {1, 2, 3, 4, 5, 6, 9, 8, 7, 6, 5, 4}, new Shape(2, 6));
      NDArray labels = manager.create(new long[] {2, 3, 4, 5, 6, 7, 8, 7, 6, 5, 4, 3});
      List<Float> losses = new ArrayList<>();
      for (int step = 0; step < 60; step++) {
        try (NDManager scratch = manager.newSubManager();
            GradientCollector collector = trainer.newGradientCollector()) {
          NDArray logits = trainer.forward(new NDList(ids)).singletonOrThrow().reshape(12, 50);
          logits.attach(scratch);
          NDArray loss = trainer.getLoss().evaluate(new NDList(labels), new NDList(logits));
          loss.attach(scratch);
          collector.backward(loss);
          losses.add(loss.getFloat());
        }
        if (step == 0) {
          Map<String, Float> gradients = new HashMap<>();
          for (Parameter parameter : model.getBlock().getParameters().values()) {
            try (NDArray gradient = parameter.getArray().getGradient();
                NDArray sum = gradient.abs().sum()) {
              gradients.put(parameter.getName(), sum.getFloat());
            }
          }
          assertThat(gradients).hasSize(3 + 2 * (5 + 2 + 4 * 3));
          assertThat(gradients.get("model.layers.0.block_sparse_moe.gate.weight")).isPositive();
          assertThat(gradients.get("model.layers.0.self_attn.k_proj.weight")).isPositive();
          assertThat(gradients.get("model.embed_tokens.weight")).isPositive();
          assertThat(
                  gradients.entrySet().stream()
                      .filter(entry -> entry.getKey().contains(".w2.") && entry.getValue() > 0))
              .hasSizeGreaterThan(2);
        }
        trainer.step();
      }
      assertThat(losses.get(59)).isLessThan(losses.get(0) / 10);
      // Inference sees the trained weights.
      float[] fused = logits(model, 1, 2, 3);
      int best = 0;
      for (int i = 0; i < 50; i++) {
        best = fused[100 + i] > fused[100 + best] ? i : best;
      }
      assertThat(best).isEqualTo(4);
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = TensorType.class,
      names = {"F32", "F16", "BF16"})
  void aTrainedModelIsSavedAsItIsNow(TensorType type) throws Exception {
    Path checkpoint = new RandomCheckpoint().type(type).write(folder.resolve("model"));
    Path target = folder.resolve("trained");
    float[] before;
    float[] expected;
    try (Model model = load(checkpoint);
        NDManager manager = model.getNDManager().newSubManager()) {
      before = logits(model, 1, 2, 3);
      MoeModel.of(model).moeLayers().forEach(layer -> layer.retain(1, 2, 3));
      NDArray ids = manager.create(new long[] {1, 2}, new Shape(1, 2));
      model.getBlock().forward(new ParameterStore(manager, false), new NDList(ids), true);
      for (Parameter parameter : model.getBlock().getParameters().values()) {
        parameter.getArray().setRequiresGradient(false);
        parameter.getArray().muli(0.5f); // Exact in every type.
      }
      expected = logits(model, 1, 2, 3);
      MoeModels.save(model, target);
    }
    assertThat(expected).isNotEqualTo(before);
    assertThat(Checkpoint.open(target).tensor("lm_head.weight").type()).isEqualTo(type);
    try (Model model = load(target)) {
      assertThat(MoeModel.of(model).moeLayers().get(0).numExperts()).isEqualTo(3);
      assertThat(logits(model, 1, 2, 3)).containsExactly(expected, within(1e-4f));
    }
  }

  @Test
  void trainingAndReferenceInferenceAgreeWithTheFusedModel() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    try (Model model = load(checkpoint);
        NDManager manager = model.getNDManager().newSubManager()) {
      NDArray ids = manager.create(new long[] {1, 2, 3, 4}, new Shape(1, 4));
      ParameterStore store = new ParameterStore(manager, false);
      float[] trained =
          model.getBlock().forward(store, new NDList(ids), true).singletonOrThrow().toFloatArray();
      assertThat(trained).containsExactly(logits(model, 1, 2, 3, 4), within(1e-4f));
    }
    try (Model model =
            MoeModels.loader(checkpoint)
                .optDevice(Device.cpu())
                .optDataType(DataType.BFLOAT16)
                .load();
        NDManager manager = model.getNDManager().newSubManager()) {
      NDArray ids = manager.create(new long[] {1, 2}, new Shape(1, 2));
      assertThatThrownBy(
              () ->
                  model
                      .getBlock()
                      .forward(new ParameterStore(manager, false), new NDList(ids), true))
          .isInstanceOf(IllegalStateException.class)
          .hasMessageContaining("FLOAT32");
      assertThat(model.getBlock().getParameters().isEmpty()).isTrue();
    }
  }

  @Test
  void aSingleLayerIsADjlBlockToo() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    for (boolean training : new boolean[] {true, false}) {
      try (Model model = load(checkpoint);
          NDManager manager = model.getNDManager().newSubManager()) {
        NDArray hidden = manager.randomNormal(new Shape(2, 3, 16));
        NDArray output =
            model
                .getBlock()
                .getChildren()
                .values()
                .get(0)
                .forward(new ParameterStore(manager, false), new NDList(hidden), training)
                .singletonOrThrow();
        assertThat(output.getShape()).isEqualTo(new Shape(2, 3, 16));
        assertThat(output.toFloatArray()).isNotEqualTo(hidden.toFloatArray());
      }
    }
  }

  @Test
  void aSavedModelHoldsTheSameBytesUnderNewNumbers() throws Exception {
    Path checkpoint = new RandomCheckpoint().type(TensorType.BF16).write(folder.resolve("model"));
    Path target = folder.resolve("pruned");
    float[] expected;
    try (Model model = load(checkpoint)) {
      MoeModel.of(model).moeLayers().get(0).retain(1, 2, 3);
      MoeModel.of(model).moeLayers().get(0).retain(0, 2);
      MoeModel.of(model).moeLayers().get(1).retain(0, 2);
      MoeModel.of(model).recordProvenance(new Provenance("by hand", null, 7, "somewhere"));
      expected = logits(model, 1, 2, 3);
      MoeModels.save(model, target);
    }
    Checkpoint source = Checkpoint.open(checkpoint);
    Checkpoint written = Checkpoint.open(target);
    assertThat(bytes(written, "model.layers.0.block_sparse_moe.experts.1.w2.weight"))
        .isEqualTo(bytes(source, "model.layers.0.block_sparse_moe.experts.3.w2.weight"));
    assertThat(bytes(written, "lm_head.weight")).isEqualTo(bytes(source, "lm_head.weight"));
    byte[] gate = bytes(source, "model.layers.0.block_sparse_moe.gate.weight");
    byte[] rows = bytes(written, "model.layers.0.block_sparse_moe.gate.weight");
    assertThat(rows).startsWith(Arrays.copyOfRange(gate, 32, 64));
    assertThat(rows).endsWith(Arrays.copyOfRange(gate, 96, 128));
    JsonObject config = written.config().json();
    assertThat(config.get("num_local_experts").getAsInt()).isEqualTo(2);
    JsonObject winnow = config.getAsJsonObject("winnow");
    assertThat(winnow.get("method").getAsString()).isEqualTo("by hand");
    assertThat(winnow.get("seed").getAsInt()).isEqualTo(7);
    assertThat(winnow.get("version").getAsString()).matches("\\d+\\.\\d+\\.\\d+.*");
    assertThat(winnow.get("source").getAsString()).isEqualTo(source.digest());
    assertThat(winnow.get("retained")).hasToString("{\"0\":[1,3],\"1\":[0,2]}");
    config.remove("winnow");
    config.addProperty("num_local_experts", 4);
    assertThat(config).isEqualTo(source.config().json());
    try (Model model = load(target)) {
      assertThat(logits(model, 1, 2, 3)).containsExactly(expected);
      MoeModels.save(model, folder.resolve("again"));
    }
    JsonObject again = Checkpoint.open(folder.resolve("again")).config().json();
    assertThat(again.getAsJsonObject("winnow").getAsJsonObject("previous")).isEqualTo(winnow);
  }

  private static byte[] bytes(Checkpoint checkpoint, String name) throws Exception {
    TensorInfo info = checkpoint.tensor(name);
    ByteBuffer buffer = SafetensorsFile.open(info.file()).read(name);
    byte[] bytes = new byte[buffer.remaining()];
    buffer.get(bytes);
    return bytes;
  }

  @Test
  void savingOverAFolderIsRefused() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    try (Model model = load(checkpoint)) {
      assertThatThrownBy(() -> MoeModels.save(model, checkpoint))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("exists");
    }
    try (Model other = Model.newInstance("other", Device.cpu(), "PyTorch")) {
      assertThatThrownBy(() -> MoeModels.save(other, folder.resolve("out")))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("other")
          .hasMessageContaining("MoeModels.load");
    }
  }

  @Test
  void djlsOwnFormatIsRefused() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    try (Model model = load(checkpoint)) {
      assertThatThrownBy(() -> model.save(folder.resolve("djl"), "model"))
          .isInstanceOf(UnsupportedOperationException.class)
          .hasMessageContaining("MoeModels.save");
      assertThatThrownBy(() -> model.getBlock().loadParameters(model.getNDManager(), null))
          .isInstanceOf(UnsupportedOperationException.class)
          .hasMessageContaining("MoeModels.load");
    }
  }

  @Test
  void plainOperationsAreForFloat32() throws Exception {
    Path checkpoint = new RandomCheckpoint().write(folder.resolve("model"));
    assertThatThrownBy(
            () ->
                MoeModels.loader(checkpoint)
                    .optDevice(Device.cpu())
                    .optDataType(DataType.BFLOAT16)
                    .optFused(false)
                    .load())
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("float32");
    assertThatThrownBy(
            () ->
                MoeModels.loader(checkpoint)
                    .optDevice(Device.cpu())
                    .optDataType(DataType.INT8)
                    .load())
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("int8");
  }

  @Test
  void endTokensComeFromTheGenerationConfigurationOrElseFromTheModels() throws Exception {
    Path checkpoint = new RandomCheckpoint().set("eos_token_id", 2).write(folder.resolve("model"));
    try (Model model = load(checkpoint)) {
      MoeDecoder decoder = (MoeDecoder) model.getBlock();
      assertThat(decoder.endTokens()).containsExactly(2L);
      Path file = checkpoint.resolve("generation_config.json");
      Files.writeString(file, "{\"eos_token_id\": [3, 4]}");
      assertThat(decoder.endTokens()).containsExactlyInAnyOrder(3L, 4L);
      Files.writeString(file, "{\"eos_token_id\": null}");
      assertThat(decoder.endTokens()).containsExactly(2L);
      Files.writeString(file, "{\"eos_token_id\": \"two\"}");
      assertThatThrownBy(decoder::endTokens)
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("two");
      Files.writeString(file, "[]");
      assertThatThrownBy(decoder::endTokens).isInstanceOf(InvalidInputException.class);
      Files.writeString(file, "{");
      assertThatThrownBy(decoder::endTokens).isInstanceOf(InvalidInputException.class);
    }
  }
}
